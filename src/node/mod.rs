//! The core that joins who and what. It does no I/O and reads no clock.
//!
//! ```text
//!               on_request, on_command ──▶ ┌──────┐ ──▶ Outputs::reply
//!   its driver: on_message, on_dialled ──▶ │ Node │ ──▶ Outputs::send, dial, hang_up, replay
//!   (mio loop,  on_tick               ──▶ │      │ ──▶ flush_journal, once a turn, before anything leaves
//!    simulator) on_record             ──▶ └──────┘
//! ```
//!
//! Its driver hands in what happened, with the time, through the doors of this file; whatever is to be done in the world leaves through
//! [`Outputs`], in order. A local read copies its value once: the reply borrows the entry, and the driver composes it straight into the
//! connection's output.
//!
//! How the work is divided: [`driver`] is the contract with who drives it; [`local`] carries a command out on this node's cache; [`requests`]
//! is the table of those that wait for another node; [`forwarding`] sends them there and sees that each is answered,
//! after the [`patience`] that is due; [`proving`] hears nobody
//! who does not know the pool's secret; [`links`] greets the peers, keeps their heartbeats and judges who is up; [`admin`] is what operators
//! ask; [`reconstruction`] takes in what the journal says; [`report`] says how things stand, and [`tally`] counts. The words are in [`command`], [`reply`] and [`message`].
//!
//! In a pool with mirrors, [`pact`] is the view and whether this node may serve by it; [`reasons`] says when another one is wanted,
//! [`agreement`] is how it comes about, and [`beginning`] the first; [`takeover`] what follows from it; [`mirroring`] keeps the copies,
//! [`filling`] makes them, [`sweeping`] is rid of those that are left over, both in the [`spare`] time that clients leave them, by an
//! [`allowance`], and [`remembered`] sees that nothing is done twice.

pub mod admin;
pub mod agreement;
mod allowance;
pub mod beginning;
mod claiming;
pub mod command;
mod counting;
mod driver;
mod extras;
pub mod filling;
pub mod forwarding;
pub mod key_queue;
pub mod links;
pub mod local;
pub mod message;
pub mod mirroring;
mod mistakes;
pub mod pact;
mod patience;
mod proving;
pub mod reasons;
pub mod reconstruction;
pub mod remembered;
pub mod reply;
pub mod report;
pub mod requests;
mod spare;
mod storing;
mod sweeping;
pub mod takeover;
mod tally;
#[cfg(test)]
mod testing;
mod walking;

use std::collections::{BTreeMap, BTreeSet};

use log::warn;

use self::allowance::Demand;
use self::command::{Command, Request};
pub use self::driver::{Asked, ClientId, Outputs, Settings};
use self::filling::Filling;
use self::message::{Message, Outcome, RequestId};
use self::mirroring::Mirroring;
pub use self::mistakes::Mistakes;
use self::pact::{Pact, Route};
use self::patience::Patience;
use self::proving::Proving;
pub use self::proving::Secret;
use self::reconstruction::Reconstruction;
use self::reply::{Failure, Reply};
use self::report::Gauges;
use self::requests::Requests;
use self::spare::Spare;
use self::sweeping::Sweep;
use self::takeover::Aftermath;
use self::walking::{WalkId, Walks};
use crate::caching::Version;
use crate::caching::cache::Cache;
use crate::caching::cleaning::Cleaner;
use crate::caching::journal::{Flushed, Journal, SegmentStore};
use crate::hash::{Hasher, KeyHash};
use crate::stats::Stats;
use crate::time::{Mono, Now};
use crate::topology::MemberId;
use crate::topology::membership::{Card, Membership, Standing};
use crate::topology::peers::{LinkId, Peer};
use crate::topology::view::{self, Mirrors, View};

/// Most expired entries freed in one tick.
const EXPIRE_A_TICK: usize = 256;
/// Most entries of a flushed cache freed in one tick.
const RECLAIM_A_TICK: usize = 1_024;
/// Most bytes appended to the journal in one tick to keep it small.
const RESTATE_A_TICK: usize = 256 << 10;
/// How soon the node wants to be called again while long work is under way.
const LONG_WORK_EVERY_MS: u64 = 1;
/// Bits of a serial, and of a pulse's number, below the incarnation: lives do not share them.
const SERIAL_BITS: u32 = 24;

/// Whom to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client of this node.
    Client(ClientId),
    /// Another node, on behalf of a client of its own.
    Peer {
        /// The link it asked on.
        link: LinkId,
        /// Its number for the request.
        id: RequestId,
        /// The node.
        member: MemberId,
        /// The request's number among the writes it forwards; 0 for what may be done twice.
        serial: u64,
    },
    /// This node itself, for a walk.
    Walk(WalkId),
}

/// A node: its cache, its journal, its view of the pool and the requests that wait.
pub struct Node {
    settings: Settings,
    hasher: Hasher,
    cache: Cache,
    journal: Option<Journal>,
    cleaner: Cleaner,
    version: Version,
    flush_at: Mono,
    membership: Membership,
    /// The link this node dials, for each member; the one for itself is never used.
    peers: Vec<Peer>,
    /// The links that others have dialled and greeted on.
    greeted: BTreeMap<LinkId, MemberId>,
    /// What was proven on which link.
    proving: Proving,
    requests: Requests,
    patience: Patience,
    reconstruction: Option<Reconstruction>,
    /// The view of the pool, if nodes agree on views.
    pact: Option<Pact>,
    mirroring: Mirroring,
    filling: Filling,
    aftermath: Aftermath,
    sweep: Sweep,
    walks: Walks,
    /// Whether anybody asks about keys.
    demand: Demand,
    /// What is left of the time besides.
    spare: Spare,
    /// The last serial of a write that was, or may be, forwarded.
    last_serial: u64,
    /// The number of the last pulse.
    last_pulse: u64,
    /// No write below this serial waits any more.
    serials_done: u64,
    /// Keys of which some request waits. Only looked up.
    held_keys: BTreeSet<u64>,
    /// Some request waits until this node serves, or until a key's owner is known.
    is_waiting_for_lease: bool,
    /// When those who were told that a key has another owner ask again.
    ask_again_at: Mono,
    /// When those who wait were looked through last.
    reconsidered_at: Mono,
    /// When the next eager ping is due.
    eager_at: Mono,
    started: Now,
    /// When the last tick asked for the next; never, before the first.
    last_wake: Mono,
    /// The membership that the waiting requests were routed by.
    routed_by: u64,
    /// What is counted; the driver counts its own part in it.
    pub stats: Stats,
    /// What is measured by the driver.
    pub gauges: Gauges,
}

impl Node {
    /// A node with an empty cache. A journal, if it keeps one, begins a new segment. `kept` is what its last life gave to [`Outputs::keep`].
    #[must_use]
    pub fn new(settings: Settings, journal: Option<Journal>, kept: Option<&[u8]>, now: Now) -> Node {
        let hasher = Hasher::new(settings.seed);
        let kept = kept.and_then(|bytes| View::read(bytes).ok());
        let copies = copies_of(&settings.mirrors);
        let silence_ms = settings.pace.silence_ms;
        let mut pact = (copies != 1).then(|| Pact::new(copies, settings.serve_on_silence, silence_ms, kept, now.mono));
        pact.iter_mut().for_each(|pact| pact.ignores_leases = settings.mistakes.no_lease);
        let mut node = Node {
            cache: Cache::new(settings.bounds, hasher.clone()),
            hasher,
            journal,
            cleaner: Cleaner::new(),
            version: Version::start_of(epoch_of(settings.me.incarnation)),
            flush_at: Mono::NEVER,
            membership: Membership::new(settings.me.clone(), now.mono),
            peers: vec![Peer::new(now.mono)],
            greeted: BTreeMap::new(),
            proving: Proving::new(settings.secret.clone(), settings.seed, settings.me.incarnation),
            requests: Requests::of_values_up_to(settings.max_value),
            patience: Patience::default(),
            reconstruction: None,
            pact,
            mirroring: Mirroring::new(settings.max_value, settings.mistakes),
            filling: Filling::default(),
            aftermath: Aftermath::default(),
            sweep: Sweep::default(),
            walks: Walks::default(),
            demand: Demand::default(),
            spare: Spare::default(),
            last_serial: settings.me.incarnation << SERIAL_BITS,
            last_pulse: settings.me.incarnation << SERIAL_BITS,
            serials_done: settings.me.incarnation << SERIAL_BITS,
            held_keys: BTreeSet::new(),
            is_waiting_for_lease: false,
            ask_again_at: Mono::NEVER,
            reconsidered_at: Mono(0),
            eager_at: now.mono,
            started: now,
            last_wake: Mono::NEVER,
            routed_by: 0,
            stats: Stats::default(),
            gauges: Gauges::default(),
            settings,
        };
        for address in node.settings.peers.clone() {
            node.add_address(address, Standing::Unknown, now.mono);
        }
        node.remember_members(now.mono);
        node
    }

    /// Whom the last view knew is known, even if no configuration names it: it may have gone on without this node, or begun anew.
    fn remember_members(&mut self, now: Mono) {
        let kept = self.pact.as_ref().and_then(|pact| pact.kept.as_ref());
        let seats = kept.into_iter().flat_map(|view| &view.seats);
        let is_known = |seat: &&view::Seat| seat.standing != view::Standing::Banned && seat.card.incarnation > 0;
        let cards: Vec<Card> = seats.filter(is_known).map(|seat| seat.card.clone()).collect();
        self.membership.learn_all(&cards, now);
        self.link_new_members(now);
    }

    /// The two numbers of a key, for [`Node::prefetch`] and [`Node::on_command`].
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        self.hasher.hash(key)
    }

    /// Fetches what a look-up of this key will need. A turn's commands are prefetched together, so that their cache misses overlap.
    pub fn prefetch(&self, hash: KeyHash) {
        self.cache.prefetch(hash);
    }

    /// A client asks. A key's command goes to its owner; the rest concerns this node or the pool.
    pub fn on_request(&mut self, now: Now, client: ClientId, hash: KeyHash, request: &Request<'_>, out: &mut dyn Outputs) {
        match request {
            Request::Key(command) => self.on_command(now, client, hash, command, out),
            Request::Admin(admin) => self.on_admin(now, Origin::Client(client), admin, out),
        }
    }

    /// A client asks about a key.
    pub fn on_command(&mut self, now: Now, client: ClientId, hash: KeyHash, command: &Command<'_>, out: &mut dyn Outputs) {
        self.demand.note();
        self.carry_out(now, Origin::Client(client), hash, command, out);
    }

    /// Another node says something on a link. Requests about keys and changes of them have doors of their own, [`Node::on_peer_command`] and
    /// [`Node::on_mirror`], for drivers that have hashed the key.
    pub fn on_message(&mut self, now: Now, link: LinkId, message: &Message<'_>, out: &mut dyn Outputs) {
        if !self.is_believed(now, link, message, out) {
            return;
        }
        match message {
            Message::Hello(introduction) => self.on_hello(now, link, introduction, out),
            Message::Welcome(introduction) => self.on_welcome(now, link, introduction, out),
            Message::Refused { reason } => self.on_refused(now, link, reason, out),
            Message::Ping { number, pulse } => self.on_ping(now, link, *number, pulse, out),
            Message::Pong { number, grant, pulse } => self.on_pong(now, link, *number, *grant, pulse, out),
            Message::Request { id, view, serial, command } => {
                let asked = Asked { link, id: *id, view: *view, serial: *serial };
                self.on_peer_command(now, asked, self.hash_of(command), command, out);
            }
            Message::Answer { id, outcome } => self.on_answer(now, link, *id, outcome, out),
            Message::Flush { id, delay_ms } => self.on_peer_flush(now, link, *id, *delay_ms, out),
            Message::Members(_) | Message::Declare { .. } if !self.knows(link) => out.hang_up(link),
            Message::Members(cards) => self.on_members(now.mono, cards, out),
            Message::Declare { name, incarnation, dead } => self.on_declare(now, name, *incarnation, *dead, out),
            message => self.on_pool_message(now, link, message, out),
        }
    }

    /// What is said in pools whose nodes agree on views.
    fn on_pool_message(&mut self, now: Now, link: LinkId, message: &Message<'_>, out: &mut dyn Outputs) {
        match message {
            Message::Prepare { base, ballot } => self.on_prepare(now, link, *base, *ballot, out),
            Message::Promise(promise) => self.on_promise(now, link, promise, out),
            Message::Outbid { base, ballot } => self.on_outbid(now, link, *base, *ballot),
            Message::Accept { base, ballot, view, silent } => self.on_accept(now, link, (*base, *ballot), view, silent, out),
            Message::Accepted { base, ballot } => self.on_accepted(now, link, *base, *ballot, out),
            Message::Commit(view) => self.on_commit(now, link, view, out),
            Message::Mirrored { view, number } => self.on_mirrored(now, link, *view, *number, out),
            Message::Doubts { view, keys } => self.on_doubts(now, link, *view, keys, out),
            Message::Survey { view, from, to, digest } => self.on_survey(link, *view, (*from, *to), *digest),
            Message::Holdings { view, from, to, list } => self.on_holdings(link, *view, (*from, *to), list.as_deref()),
            message => {
                let key = if let Message::Mirror { change, .. } = message { change.key() } else { None };
                self.on_mirror(now, link, key.map_or_else(KeyHash::default, |key| self.hash(key)), message, out);
            }
        }
    }

    /// Another node asks, on behalf of a client of its own. Without views it is carried out here whatever this node thinks of the owner: the entry
    /// node has chosen, so no request travels further than one hop and none in a circle. With views only the owner carries it out, once.
    pub fn on_peer_command(&mut self, now: Now, asked: Asked, hash: KeyHash, command: &Command<'_>, out: &mut dyn Outputs) {
        let Asked { link, id, view, serial } = asked;
        let Some(member) = self.greeted.get(&link).copied() else { return out.hang_up(link) };
        self.stats.served_for_peers += 1;
        self.demand.note();
        let origin = Origin::Peer { link, id, member, serial };
        match self.route_in_turn(now, hash, out) {
            _ if self.pact.is_none() => self.execute(now, origin, hash, command, out),
            Route::Here => self.execute_for_peer(now, origin, hash, command, now.mono.plus(self.settings.request_timeout_ms), out),
            // By an older view than the asker's: the newer one is on its way here.
            Route::There(_) if self.pact.as_ref().is_none_or(|pact| pact.id >= view) => {
                self.fail(origin, &command.key, &Failure::Elsewhere, out)
            }
            Route::There(_) | Route::Later => self.keep_for_later(now, origin, hash, command, out),
        }
    }

    /// Time has passed. Does what is due, and a bounded step of each long work.
    pub fn on_tick(&mut self, now: Now, out: &mut dyn Outputs) {
        self.forgive_if_late(now.mono);
        self.tick_peers(now, out);
        if now.mono >= self.flush_at {
            self.flush_pool(now);
        }
        self.tick_pact(now, out);
        self.tick_mirroring(now, out);
        self.ping_eagerly(now.mono, out);
        self.ask_again_if_due(now, out);
        self.reroute_if_moved(now, out);
        self.answer_overdue(now.mono, out);
        self.step_walks(now, out);
        self.free_expired(now);
        self.cache.reclaim(RECLAIM_A_TICK);
        self.step_reconstruction(now, out);
        self.clean_journal(now);
        self.last_wake = self.wake_at(now.mono);
    }

    /// When [`Node::on_tick`] has something to do at the earliest.
    #[must_use]
    pub fn wake_at(&self, now: Mono) -> Mono {
        if self.has_long_work(now) {
            return now.plus(LONG_WORK_EVERY_MS);
        }
        let peers = self.peers.iter().skip(1).map(|peer| peer.wake_at(self.settings.pace)).min().unwrap_or(Mono::NEVER);
        let pool = self.pact_wakes_at(now).min(self.ask_again_at).min(self.mirroring.wake_at());
        peers.min(self.requests.wake_at()).min(self.flush_at).min(self.cache.next_expiry()).min(pool)
    }

    /// Writes the turn's records. The driver calls it before anything of the turn leaves.
    pub fn flush_journal(&mut self, now: Now, store: &mut dyn SegmentStore) -> Flushed {
        self.flush_some(now, store, usize::MAX)
    }

    /// The same, but for what is beyond so many bytes, which the next turns write. Until then nothing leaves that is not
    /// [urgent](Message::is_urgent).
    pub fn flush_some(&mut self, now: Now, store: &mut dyn SegmentStore, most: usize) -> Flushed {
        let Some(journal) = &mut self.journal else { return Flushed::default() };
        let flushed = journal.flush_some(store, now.mono, most);
        self.stats.journal_records += flushed.records;
        self.stats.journal_bytes += flushed.bytes;
        self.stats.journal_failures += u64::from(flushed.failed.is_some());
        // Who reads the journal has its segments in order: if the next one went meanwhile, a delete in it would be missed.
        if self.reconstruction.is_none()
            && let Err(error) = self.cleaner.finish(journal, store, self.settings.sync_matters, now.mono)
        {
            warn!("an outdated segment of the journal cannot be removed: {error}");
        }
        flushed
    }

    /// The journal has been read, or is not to be: from now on it may be kept small.
    pub fn open_cleaning(&mut self) {
        self.cleaner.open();
    }

    /// This node, as it introduces itself.
    #[must_use]
    pub fn me(&self) -> &Card {
        &self.membership.me().card
    }

    /// The members of the pool.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The entries.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Are records waiting to be written?
    #[must_use]
    pub fn has_unwritten(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::has_pending)
    }

    /// The journal, if one is kept.
    pub fn journal_mut(&mut self) -> Option<&mut Journal> {
        self.journal.as_mut()
    }

    /// The view that this node knows, if nodes agree on views.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        self.pact.as_ref()?.view.as_ref()
    }

    /// Does this node speak for a place, now?
    #[must_use]
    pub fn owns(&self, place: u32, now: Mono) -> bool {
        self.pact.as_ref().is_some_and(|pact| pact.route(place, now) == Route::Here)
    }

    /// May it serve? Without views, always.
    #[must_use]
    pub fn is_serving(&self, now: Mono) -> bool {
        self.pact.as_ref().is_none_or(|pact| pact.me.is_some() && pact.is_serving(now))
    }

    /// The members that hold a place, the owner first, and how many of them have everything.
    #[must_use]
    pub fn holders(&self, place: u32) -> (Vec<MemberId>, usize) {
        let Some((pact, arc)) = self.pact.as_ref().and_then(|pact| Some((pact, pact.arc(place)?))) else {
            let holders = self.membership.holders(place, 1);
            return (holders, 1);
        };
        (arc.holders().map(|seat| pact.seats[seat]).collect(), arc.complete().count())
    }

    /// How many arcs of the ring have fewer complete holders than are asked for.
    #[must_use]
    pub fn lost_redundancy(&self) -> usize {
        self.pact.as_ref().map_or(0, |pact| if pact.view.is_some() { pact.placement.lost_redundancy() } else { 1 })
    }

    /// Is everybody heard of, for good or ill, and does this node serve?
    #[must_use]
    pub fn is_ready(&self, now: Mono) -> bool {
        if self.pact.is_some() { self.is_serving(now) } else { self.membership.is_settled() }
    }

    /// How many nodes take part.
    #[must_use]
    pub fn nodes_up(&self) -> usize {
        self.view().map_or_else(|| self.membership.count_up(), |view| view.up().count())
    }

    /// How many copies of a key are asked for, besides its owner's.
    #[must_use]
    pub fn mirrors(&self) -> usize {
        match &self.settings.mirrors {
            Mirrors::Next(mirrors) => *mirrors as usize,
            Mirrors::Named(named) => named.len(),
        }
    }

    /// What the journal says is not all that was written: others' copies are to be believed instead.
    pub fn distrust_journal(&mut self) {
        let me = &self.membership.me().card.name;
        let kept = self.pact.as_mut().and_then(|pact| pact.kept.as_mut());
        // The view itself is remembered: nobody may go on from an older one, of which this node's keys are not.
        for own in kept.into_iter().flat_map(|kept| &mut kept.settled).filter(|settled| settled.card.name == *me) {
            own.role = view::Role::Gone;
        }
    }

    /// Does any request wait for another node?
    #[must_use]
    pub fn owes_answers(&self) -> bool {
        !self.requests.is_empty() || !self.walks.is_empty()
    }

    /// Asserts what must hold between any two inputs. Slow: for tests and the simulator.
    pub fn check_invariants(&self) {
        self.cache.check_invariants();
        assert_eq!(self.peers.len(), self.membership.len(), "every member has its link");
        assert!(self.requests.len() <= requests::MAX_PARKED, "the table of waiting requests is bounded");
    }

    fn copies(&self) -> u32 {
        copies_of(&self.settings.mirrors)
    }

    fn mistakes(&self) -> Mistakes {
        self.settings.mistakes
    }

    fn has_long_work(&self, now: Mono) -> bool {
        self.cache.next_expiry() <= now
            || self.cache.unreclaimed() > 0
            || self.has_to_sweep()
            || self.has_filling_to_do()
            || self.walks.has_work()
            || self.reconstruction.as_ref().is_some_and(Reconstruction::is_merging)
            || self.journal.as_ref().is_some_and(|journal| self.cleaner.due(journal, &self.cache))
    }

    fn clean_journal(&mut self, now: Now) {
        if let Some(journal) = &mut self.journal
            && self.cleaner.due(journal, &self.cache)
        {
            self.cleaner.step(&self.cache, journal, now, RESTATE_A_TICK);
        }
    }

    fn free_expired(&mut self, now: Now) {
        for _ in 0..EXPIRE_A_TICK {
            let Some(entry) = self.cache.expire(now.mono) else { break };
            self.stats.expirations += 1;
            self.note_removed(entry.key());
        }
    }
}

/// Answers who has asked from without. A walk asks for scans, which [`Node::tell`] answers.
fn answer(out: &mut dyn Outputs, origin: Origin, key: &[u8], reply: &Reply<'_>) {
    match origin {
        Origin::Client(client) => out.reply(client, key, reply),
        Origin::Peer { link, id, .. } => out.send(link, &Message::Answer { id, outcome: Outcome::of(reply) }),
        Origin::Walk(_) => unreachable!("a walk asks for nothing but scans"),
    }
}

/// How many nodes hold a key; 0 if they are named.
fn copies_of(mirrors: &Mirrors) -> u32 {
    match mirrors {
        Mirrors::Next(mirrors) => 1 + mirrors,
        Mirrors::Named(_) => 0,
    }
}

/// The epoch of a life's versions: its incarnation, which is a clock's milliseconds, in seconds.
fn epoch_of(incarnation: u64) -> u32 {
    u32::try_from(incarnation / 1_000).unwrap_or(u32::MAX)
}
