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
//! How the work is divided: [`local`] carries a command out on this node's cache; [`requests`] is the table of those that wait for another
//! node; [`forwarding`] sends them there and sees that each is answered; [`links`] greets the peers, keeps their heartbeats and judges who
//! is up; [`admin`] is what operators ask; [`reconstruction`] takes in what the journal says; [`report`] says how things stand,
//! and [`tally`] counts. The words are in [`command`], [`reply`] and [`message`].

pub mod admin;
pub mod command;
pub mod forwarding;
pub mod links;
pub mod local;
pub mod message;
pub mod reconstruction;
pub mod reply;
pub mod report;
pub mod requests;
mod tally;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use log::warn;

use self::command::{Command, Request};
use self::message::{Message, Outcome, RequestId};
use self::reconstruction::Reconstruction;
use self::reply::Reply;
use self::report::Gauges;
use self::requests::Requests;
use crate::caching::Version;
use crate::caching::cache::{Bounds, Cache};
use crate::caching::cleaning::Cleaner;
use crate::caching::journal::{Flushed, Journal, SegmentStore};
use crate::hash::{Hasher, KeyHash};
use crate::stats::Stats;
use crate::time::{Mono, Now};
use crate::topology::MemberId;
use crate::topology::heartbeat::Pace;
use crate::topology::membership::{Card, Membership, Standing};
use crate::topology::peers::{LinkId, Peer};

/// Most expired entries freed in one tick.
const EXPIRE_A_TICK: usize = 256;
/// Most entries of a flushed cache freed in one tick.
const RECLAIM_A_TICK: usize = 1_024;
/// Most bytes appended to the journal in one tick to keep it small.
const RESTATE_A_TICK: usize = 256 << 10;
/// How soon the node wants to be called again while long work is under way.
const LONG_WORK_EVERY_MS: u64 = 1;

/// A client's request that is owed an answer: the connection, which is never numbered twice, and which of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId {
    /// The connection.
    pub connection: u64,
    /// The request, in the order of the connection.
    pub slot: u64,
}

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
    },
}

/// What leaves the node. The driver carries it out in this order.
pub trait Outputs {
    /// Answer a client. `key` is the one it asked about.
    fn reply(&mut self, client: ClientId, key: &[u8], reply: &Reply<'_>);
    /// Say something to another node.
    fn send(&mut self, link: LinkId, message: &Message<'_>);
    /// Dial another node, and say how it went through [`Node::on_dialled`] or [`Node::on_dial_failed`].
    fn dial(&mut self, member: MemberId, address: SocketAddr);
    /// Close a link once everything said on it has left. [`Node::on_closed`] may follow, and changes nothing that counts.
    fn hang_up(&mut self, link: LinkId);
    /// Read the journal from its beginning to its present end, through [`Node::on_record`], then call [`Node::on_replayed`];
    /// or [`Node::on_replay_failed`], if that cannot be begun.
    fn replay(&mut self);
}

/// What a node needs to know of its configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who it is.
    pub me: Card,
    /// The pool's name.
    pub pool: String,
    /// Whom it knows from the start.
    pub peers: Vec<SocketAddr>,
    /// How many copies of a key are asked for.
    pub mirrors: usize,
    /// Its limits.
    pub bounds: Bounds,
    /// The largest value.
    pub max_value: usize,
    /// The pace of heartbeats.
    pub pace: Pace,
    /// How long a request may wait for another node.
    pub request_timeout_ms: u64,
    /// Must segments be on disk before those they replace are removed?
    pub sync_matters: bool,
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// What `stats settings` shows.
    pub shown: Vec<(String, String)>,
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
    requests: Requests,
    reconstruction: Option<Reconstruction>,
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
    /// A node with an empty cache. A journal, if it keeps one, begins a new segment.
    #[must_use]
    pub fn new(settings: Settings, journal: Option<Journal>, now: Now) -> Node {
        let hasher = Hasher::new(settings.seed);
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
            requests: Requests::default(),
            reconstruction: None,
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
        node
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
        let origin = Origin::Client(client);
        if self.membership.is_empty() || self.membership.owner(hash.place) == Some(MemberId::ME) {
            self.execute(now, origin, hash, command, out);
        } else {
            self.forward(now, origin, hash, command, out);
        }
    }

    /// Another node says something on a link. Requests about keys have a door of their own, [`Node::on_peer_command`].
    pub fn on_message(&mut self, now: Now, link: LinkId, message: &Message<'_>, out: &mut dyn Outputs) {
        match message {
            Message::Hello(introduction) => self.on_hello(now, link, introduction, out),
            Message::Welcome(introduction) => self.on_welcome(now, link, introduction, out),
            Message::Refused { reason } => self.on_refused(now, link, reason, out),
            Message::Ping { number } => self.on_ping(link, *number, out),
            Message::Pong { number } => self.on_pong(now.mono, link, *number),
            Message::Request { id, command } => self.on_peer_command(now, link, *id, self.hash(&command.key), command, out),
            Message::Answer { id, outcome } => self.on_answer(link, *id, outcome, out),
            Message::Flush { id, delay_ms } => self.on_peer_flush(now, link, *id, *delay_ms, out),
            Message::Members(_) | Message::Declare { .. } if !self.knows(link) => out.hang_up(link),
            Message::Members(cards) => self.on_members(now.mono, cards, out),
            Message::Declare { name, incarnation, dead } => self.on_declare(now, name, *incarnation, *dead, out),
        }
    }

    /// Another node asks, on behalf of a client of its own. It is carried out here whatever this node thinks of the owner: the entry
    /// node has chosen, so no request travels further than one hop and none in a circle.
    pub fn on_peer_command(&mut self, now: Now, link: LinkId, id: RequestId, hash: KeyHash, command: &Command<'_>, out: &mut dyn Outputs) {
        if !self.greeted.contains_key(&link) {
            return out.hang_up(link);
        }
        self.stats.served_for_peers += 1;
        self.execute(now, Origin::Peer { link, id }, hash, command, out);
    }

    /// Time has passed. Does what is due, and a bounded step of each long work.
    pub fn on_tick(&mut self, now: Now, out: &mut dyn Outputs) {
        self.forgive_if_late(now.mono);
        self.tick_peers(now, out);
        self.reroute_if_moved(now, out);
        self.answer_overdue(now.mono, out);
        if now.mono >= self.flush_at {
            self.flush(now);
        }
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
        peers.min(self.requests.wake_at()).min(self.flush_at).min(self.cache.next_expiry())
    }

    /// Writes the turn's records. The driver calls it before anything of the turn leaves.
    pub fn flush_journal(&mut self, now: Now, store: &mut dyn SegmentStore) -> Flushed {
        let Some(journal) = &mut self.journal else { return Flushed::default() };
        let flushed = journal.flush(store, now.mono);
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

    /// The journal, if one is kept.
    pub fn journal_mut(&mut self) -> Option<&mut Journal> {
        self.journal.as_mut()
    }

    /// Does any request wait for another node?
    #[must_use]
    pub fn owes_answers(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Asserts what must hold between any two inputs. Slow: for tests and the simulator.
    pub fn check_invariants(&self) {
        self.cache.check_invariants();
        assert_eq!(self.peers.len(), self.membership.len(), "every member has its link");
        assert!(self.requests.len() <= requests::MAX_PARKED, "the table of waiting requests is bounded");
    }

    fn has_long_work(&self, now: Mono) -> bool {
        self.cache.next_expiry() <= now
            || self.cache.unreclaimed() > 0
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

/// Answers whoever asked.
fn answer(out: &mut dyn Outputs, origin: Origin, key: &[u8], reply: &Reply<'_>) {
    match origin {
        Origin::Client(client) => out.reply(client, key, reply),
        Origin::Peer { link, id } => out.send(link, &Message::Answer { id, outcome: Outcome::of(reply) }),
    }
}

/// The epoch of a life's versions: its incarnation, which is a clock's seconds, in 32 bits.
fn epoch_of(incarnation: u64) -> u32 {
    u32::try_from(incarnation).unwrap_or(u32::MAX)
}
