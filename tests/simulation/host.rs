//! A machine, and the process on it: a node with its clock, its disk and its end of the network.
//!
//! [`Host::turn`] is the event loop's turn, on the very same [`Node`]: what has arrived goes in through the node's doors, links in any order
//! but each link in its own; then the tick, the orders, the commit; and what may leave is returned. A crash can come in the middle of
//! the commit: then some of the turn's records are written, and nothing leaves.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use spydercache::caching::journal::{Journal, SegmentStore};
use spydercache::caching::replay::{Replay, Step};
use spydercache::communication::peer::{self, Frame};
use spydercache::node::command::Request;
use spydercache::node::message::Message;
use spydercache::node::reply::Reply;
use spydercache::node::{Asked, ClientId, Mistakes, Node, Outputs, Secret, Settings};
use spydercache::prng::Prng;
use spydercache::time::{Mono, Now, Wall};
use spydercache::topology::MemberId;
use spydercache::topology::membership::Card;
use spydercache::topology::peers::LinkId;
use spydercache::topology::view::Mirrors;

use crate::answer::Answer;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::durability::{Commit, Durability};
use crate::network::{Arrival, Holder};
use crate::options::{MS, Options, Sync, pick};
use crate::planted::Mistake;

pub const MAX_VALUE: usize = 1 << 20;
const POOL: &str = "simulated";
/// Incarnations count milliseconds from here, as `startup` has it.
const EPOCH_BEGAN_MS: u64 = 1_577_836_800_000;
/// Bytes of the journal read in one turn while a node serves, and at once before it does.
const REPLAY_A_TURN: usize = 1 << 10;
/// A node that has left ends this much later at the latest.
const LONGEST_FAREWELL_MS: u64 = 1_000;
/// Between an arrival and the turn that takes it.
const TURN_US: u64 = 50;
/// The event loop looks after its connections so often, whatever happens.
const SWEEP_EVERY_US: u64 = 1_000 * MS;

/// A machine.
pub struct Host {
    pub index: usize,
    pub disk: Disk,
    pub clock: Clock,
    /// Is the machine on? A machine without a process refuses connections; one that is off says nothing.
    pub is_on: bool,
    pub is_paused: bool,
    /// What a turn takes.
    pub turn_us: u64,
    pub syncs_fail: bool,
    /// The process ends when it is the first to act on a view, before it has said so.
    pub ends_at_view: bool,
    /// When its process begins, if it has none.
    pub start_at: u64,
    pub process: Option<Process>,
    pub mistake: Option<Mistake>,
    life: u64,
    prng: Prng,
}

/// A node at work.
pub struct Process {
    pub life: u64,
    pub node: Node,
    links: BTreeMap<LinkId, Link>,
    inbox: Vec<(u64, Input)>,
    /// When the next turn is.
    pub turn_at: u64,
    durability: Durability,
    /// The journal is to be read from the next turn on.
    replay_ordered: bool,
    replay: Option<Replay>,
    orders: Vec<Order>,
    turns: u64,
    inspect_every: u64,
    pub leaving_since: Option<u64>,
    /// It has left and finishes what it owes until then. Nobody is taken in meanwhile.
    farewell: Option<u64>,
}

/// A link's end.
struct Link {
    /// It is being dialled, for this member.
    dialling: Option<MemberId>,
    input: Vec<u8>,
}

/// What arrives at a process.
#[derive(Debug)]
pub enum Input {
    FromNetwork(LinkId, Arrival),
    Request(ClientId, Request<'static>),
}

/// What leaves it.
#[derive(Debug)]
pub enum Said {
    Reply(ClientId, Vec<u8>, Answer),
    Frame(LinkId, Vec<u8>),
    Urgent(LinkId, Vec<u8>),
    HangUp(LinkId),
}

#[derive(Debug)]
enum Order {
    Dial(MemberId, SocketAddr),
    HangUp(LinkId),
    Replay,
    Keep(Vec<u8>),
}

/// What came of a turn.
#[derive(Debug, Default)]
pub struct Turn {
    pub said: Vec<Said>,
    pub dials: Vec<(MemberId, usize)>,
    /// The process ended in the middle of it.
    pub crashed: bool,
    /// The node has left the pool and begins to finish what it owes.
    pub retired: bool,
    /// It has finished: the process ends.
    pub left: bool,
}

/// Where a node listens.
pub fn address_of(host: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + host as u8], 8_000))
}

/// The node at an address.
pub fn host_at(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(address) => usize::from(address.ip().octets()[3]) - 1,
        SocketAddr::V6(_) => unreachable!("no host has one"),
    }
}

impl Host {
    pub fn new(index: usize, options: &Options, mistake: Option<Mistake>) -> Host {
        let mut prng = Prng::new(options.seed ^ (index as u64 + 1) << 32);
        let fast_ppm = prng.below(2 * options.drift_ppm + 1) as i64 - options.drift_ppm as i64;
        let clock = Clock::new(fast_ppm, prng.below(4_000) as i64 - 2_000);
        Host {
            index,
            disk: Disk::default(),
            clock,
            is_on: true,
            is_paused: false,
            turn_us: TURN_US,
            syncs_fail: false,
            ends_at_view: false,
            start_at: prng.below(100 * MS),
            process: None,
            mistake,
            life: 0,
            prng,
        }
    }

    /// Who holds what the present process holds.
    pub fn holder(&self) -> Option<Holder> {
        self.process.as_ref().map(|process| Holder { host: self.index, life: process.life })
    }

    /// When this host does something by itself.
    pub fn next_at(&self) -> u64 {
        match &self.process {
            None => self.start_at,
            Some(_) if self.is_paused => u64::MAX,
            Some(process) => process.turn_at,
        }
    }

    /// A process begins: it reads its journal, then it listens.
    pub fn start(&mut self, options: &Options, now: u64) {
        self.start_at = u64::MAX;
        self.life += 1;
        self.clock.begin_process(now);
        let read = self.read_clock(now);
        let settings = self.settings(options, read);
        let segments = self.disk.segments();
        let durability = Durability::new(options, &self.disk);
        let journal = options.journal.then(|| Journal::new(options.segment_size, segments, Prng::new(self.prng.next_u64())));
        let mut node = Node::new(settings, journal, self.disk.kept.as_deref(), read);
        if options.journal {
            recover(&mut node, &mut self.disk, read, self.mistake);
        }
        self.disk.on_view_synced(self.disk.kept.clone());
        if options.sync != Sync::No {
            self.disk.sync_all();
        }
        node.open_cleaning();
        self.process = Some(Process {
            life: self.life,
            node,
            links: BTreeMap::new(),
            inbox: Vec::new(),
            turn_at: now,
            durability,
            replay_ordered: false,
            replay: None,
            orders: Vec::new(),
            turns: 0,
            inspect_every: options.inspect_every,
            leaving_since: None,
            farewell: None,
        });
    }

    /// The process ends.
    pub fn stop(&mut self) -> Option<Process> {
        self.is_paused = false;
        self.ends_at_view = false;
        self.disk.lose_process();
        self.process.take()
    }

    /// The machine's clocks.
    pub fn read_clock(&self, now: u64) -> Now {
        let read = self.clock.read(now);
        if self.mistake == Some(Mistake::ExpiryByWall) { Now { mono: Mono(read.wall.0), ..read } } else { read }
    }

    /// A paused process goes on, with all that has arrived meanwhile.
    pub fn resume(&mut self, now: u64) {
        self.is_paused = false;
        if let Some(process) = &mut self.process {
            process.turn_at = now;
        }
    }

    /// Do turns take long?
    pub fn is_slow(&self) -> bool {
        self.turn_us > TURN_US
    }

    /// An operator asks the process to end, in order.
    pub fn leave(&mut self, now: u64) {
        if let Some(process) = &mut self.process {
            process.node.leave();
            process.leaving_since.get_or_insert(now);
            process.turn_at = process.turn_at.min(now + self.turn_us);
        }
    }

    /// A process that ends in order syncs what it has written.
    pub fn finish(&mut self) {
        if !self.syncs_fail {
            self.disk.sync_all();
            self.disk.on_view_synced(self.disk.kept.clone());
        }
    }

    /// Turns take no time worth mentioning again.
    pub fn hurry(&mut self, now: u64) {
        self.turn_us = TURN_US;
        if let Some(process) = &mut self.process {
            process.turn_at = process.turn_at.min(now + TURN_US);
        }
    }

    /// Something arrives at the process.
    pub fn put(&mut self, input: Input, now: u64) {
        let turn_us = self.turn_us;
        let Some(process) = &mut self.process else { return };
        process.inbox.push((now, input));
        process.turn_at = process.turn_at.min(now + turn_us);
    }

    /// One round of the event loop.
    pub fn turn(&mut self, now: u64) -> Turn {
        let read = self.read_clock(now);
        let Some(process) = &mut self.process else { return Turn::default() };
        let mut said = Vec::new();
        let retired = process.retire_when_left(now, read, &mut self.prng, &mut said);
        for input in process.take_inputs(&mut self.prng) {
            process.take(input, read, &mut said);
        }
        process.with_node(&mut said, |node, sink| node.on_tick(read, sink));
        process.read_journal(read, &mut self.disk, &mut said);
        let dials = process.carry_out_orders(&mut said);
        process.turns += 1;
        if process.turns % process.inspect_every == 0 {
            process.node.check_invariants();
        }
        if self.mistake == Some(Mistake::ReplyBeforeWrite) && self.disk.torn_per_mille.is_some() {
            return Turn { said, dials, crashed: true, ..Turn::default() };
        }
        let commit = Commit {
            node: &mut process.node,
            disk: &mut self.disk,
            said,
            now: read,
            true_us: now,
            prng: &mut self.prng,
            syncs_fail: self.syncs_fail,
            mistake: self.mistake,
        };
        let said = process.durability.commit(commit);
        if self.disk.torn_per_mille.is_some() {
            return Turn { crashed: true, ..Turn::default() };
        }
        for said in &said {
            if let Said::HangUp(link) = said {
                process.links.remove(link);
            }
        }
        let is_idle = process.durability.is_idle() && !process.node.has_unwritten();
        let left = process.farewell.is_some_and(|until| now >= until) && is_idle;
        self.sleep(read.mono, now);
        Turn { said, dials, crashed: false, retired, left }
    }

    /// A dial has been begun, on this link. It ends the one before, if that has come to nothing.
    pub fn on_dialling(&mut self, member: MemberId, link: LinkId) {
        if let Some(process) = &mut self.process {
            process.links.retain(|_, link| link.dialling != Some(member));
            process.links.insert(link, Link { dialling: Some(member), input: Vec::new() });
        }
    }

    /// When is the next turn, if nothing arrives?
    fn sleep(&mut self, mono: Mono, now: u64) {
        let Some(process) = &mut self.process else { return };
        let (disk_at, sync_at) = process.durability.wake_at();
        let node_at = process.node.wake_at(mono).min(sync_at);
        let at = if self.mistake == Some(Mistake::NoTimer) && process.node.owes_answers() {
            now + SWEEP_EVERY_US
        } else {
            self.clock.when(node_at)
        };
        let is_owed = process.replay_ordered || process.replay.is_some() || process.node.has_unwritten();
        let at = if is_owed { now } else { at.min(disk_at) }.min(process.farewell.unwrap_or(u64::MAX));
        process.turn_at = at.max(now + self.turn_us).min(now + SWEEP_EVERY_US);
    }

    fn settings(&mut self, options: &Options, now: Now) -> Settings {
        let address = address_of(self.index);
        let founders = options.nodes - options.joiners;
        let known = if self.index < founders { 0..founders } else { 0..usize::from(options.joiners_know) };
        let me = Card { node_id: (1 + self.index).to_string(), incarnation: self.begin_life(now.wall), ..Card::of_address(address) };
        Settings {
            me,
            pool: POOL.into(),
            peers: known.filter(|peer| *peer != self.index).map(address_of).collect(),
            mirrors: Mirrors::Next(options.mirrors),
            serve_on_silence: options.serve_on_silence,
            boot_wait_ms: options.boot_wait_ms,
            mistakes: self.mistake.map_or_else(Mistakes::default, Mistake::of_the_core),
            bounds: options.bounds,
            max_value: MAX_VALUE,
            pace: options.pace,
            request_timeout_ms: options.request_timeout_ms,
            sync_matters: options.sync != Sync::No,
            seed: self.prng.next_u64(),
            secret: Secret::new(if options.has_secret { "a secret" } else { "" }),
            shown: Vec::new(),
        }
    }

    /// The number of a life: greater than that of any life before it, as far as the disk remembers.
    fn begin_life(&mut self, wall: Wall) -> u64 {
        let by_clock = wall.0.saturating_sub(EPOCH_BEGAN_MS).max(1);
        let incarnation = by_clock.max(self.disk.incarnation.unwrap_or(0) + 1);
        self.disk.incarnation = Some(incarnation);
        incarnation
    }
}

/// Reads the journal into a node that serves nobody yet.
fn recover(node: &mut Node, disk: &mut Disk, now: Now, mistake: Option<Mistake>) {
    let mut segments = disk.segments();
    if mistake == Some(Mistake::SegmentForgotten) {
        segments.pop();
    }
    if mistake == Some(Mistake::ReplayBackwards) {
        for segment in segments.into_iter().rev() {
            read_all(Replay::new(vec![segment]), node, disk, now);
        }
        return;
    }
    let replay = read_all(Replay::new(segments), node, disk, now);
    if let Some((segment, length)) = replay.torn_tail() {
        disk.truncate(segment, length).expect("a segment that was read can be cut");
    }
}

fn read_all(mut replay: Replay, node: &mut Node, disk: &mut Disk, now: Now) -> Replay {
    while replay.step(disk, REPLAY_A_TURN, &mut |record| node.on_record(now, record)) == Step::More {}
    replay
}

impl Process {
    /// For how long has it been leaving?
    pub fn leaving_for(&self, now: u64) -> u64 {
        self.leaving_since.map_or(0, |since| now - since)
    }

    /// Is anybody taken in who dials it?
    pub fn listens(&self) -> bool {
        self.farewell.is_none()
    }

    fn retire_when_left(&mut self, now: u64, read: Now, prng: &mut Prng, said: &mut Vec<Said>) -> bool {
        if self.leaving_since.is_none() || self.farewell.is_some() || !self.node.has_left() {
            return false;
        }
        let most = pick(prng, &[0, 10, LONGEST_FAREWELL_MS]);
        self.farewell = Some(now + prng.below(most + 1) * MS);
        self.with_node(said, |node, sink| node.retire(read, sink));
        true
    }

    /// When the oldest of what has arrived did so.
    pub fn oldest_input(&self) -> u64 {
        self.inbox.first().map_or(u64::MAX, |(at, _)| *at)
    }

    /// What has arrived, in an order that poll might tell: each link's in its own, the links mixed. What has come of dials is first, as in the
    /// event loop: before anything that is said can order the next.
    fn take_inputs(&mut self, prng: &mut Prng) -> Vec<Input> {
        let mut queues: BTreeMap<u64, VecDeque<Input>> = BTreeMap::new();
        for (_, input) in self.inbox.drain(..) {
            let source = match &input {
                Input::FromNetwork(link, _) => link.0 << 1,
                Input::Request(client, _) => client.connection << 1 | 1,
            };
            queues.entry(source).or_default().push_back(input);
        }
        let mut sources: Vec<VecDeque<Input>> = queues.into_values().collect();
        let mut inputs = Vec::new();
        while !sources.is_empty() {
            inputs.extend(sources.swap_remove(prng.below(sources.len() as u64) as usize));
        }
        inputs.sort_by_key(|input| !matches!(input, Input::FromNetwork(_, Arrival::Dialled | Arrival::Refused)));
        inputs
    }

    fn take(&mut self, input: Input, now: Now, said: &mut Vec<Said>) {
        match input {
            Input::Request(client, request) => {
                let hash = match &request {
                    Request::Key(command) => self.node.hash_of(command),
                    Request::Admin(_) => spydercache::hash::KeyHash::default(),
                };
                self.node.prefetch(hash);
                self.with_node(said, |node, sink| node.on_request(now, client, hash, &request, sink));
            }
            Input::FromNetwork(link, Arrival::Knock) => drop(self.links.insert(link, Link { dialling: None, input: Vec::new() })),
            Input::FromNetwork(link, Arrival::Dialled) => self.on_dialled(link, now, said),
            Input::FromNetwork(link, Arrival::Bytes(bytes)) => self.on_bytes(link, &bytes, now, said),
            Input::FromNetwork(link, Arrival::Refused) => self.on_closed(link, true, now, said),
            Input::FromNetwork(link, Arrival::Closed) => self.on_closed(link, false, now, said),
        }
    }

    fn on_dialled(&mut self, link: LinkId, now: Now, said: &mut Vec<Said>) {
        let Some(member) = self.links.get_mut(&link).and_then(|link| link.dialling.take()) else { return };
        self.with_node(said, |node, sink| node.on_dialled(now, member, link, sink));
    }

    fn on_closed(&mut self, link: LinkId, refused: bool, now: Now, said: &mut Vec<Said>) {
        let Some(closed) = self.links.remove(&link) else { return };
        self.with_node(said, |node, sink| match closed.dialling {
            Some(member) => node.on_dial_failed(now, member, refused, sink),
            None => node.on_closed(now, link, sink),
        });
    }

    fn on_bytes(&mut self, link: LinkId, bytes: &[u8], now: Now, said: &mut Vec<Said>) {
        let Some(open) = self.links.get_mut(&link) else { return };
        let mut input = std::mem::take(&mut open.input);
        input.extend_from_slice(bytes);
        let mut taken = 0;
        loop {
            match peer::next_frame(&input[taken..]) {
                Frame::Incomplete => break,
                Frame::Whole { consumed, message } => {
                    taken += consumed;
                    self.on_message(link, &message, now, said);
                }
                Frame::Piece { .. } | Frame::Taken { .. } => unreachable!("values here are small"),
                Frame::Invalid(_) => return self.on_closed(link, false, now, said),
            }
        }
        input.drain(..taken);
        if let Some(open) = self.links.get_mut(&link) {
            open.input = input;
        }
    }

    fn on_message(&mut self, link: LinkId, message: &Message<'_>, now: Now, said: &mut Vec<Said>) {
        self.with_node(said, |node, sink| match message {
            Message::Request { id, view, serial, command } => {
                let (hash, asked) = (node.hash_of(command), Asked { link, id: *id, view: *view, serial: *serial });
                node.on_peer_command(now, asked, hash, command, sink);
            }
            message => node.on_message(now, link, message, sink),
        });
    }

    fn with_node(&mut self, said: &mut Vec<Said>, call: impl FnOnce(&mut Node, &mut Sink<'_>)) {
        call(&mut self.node, &mut Sink { said, orders: &mut self.orders });
    }

    fn read_journal(&mut self, now: Now, disk: &mut Disk, said: &mut Vec<Said>) {
        if self.replay_ordered && !self.node.has_unwritten() {
            self.replay_ordered = false;
            let is_complete = self.node.journal_mut().is_some_and(|journal| !journal.needs_restating());
            if !is_complete {
                return self.with_node(said, |node, sink| node.on_replay_failed(sink));
            }
            self.replay = Some(Replay::new(disk.segments()));
        }
        let Some(mut replay) = self.replay.take() else { return };
        if replay.step(disk, REPLAY_A_TURN, &mut |record| self.node.on_record(now, record)) == Step::More {
            self.replay = Some(replay);
        } else {
            self.node.on_replayed();
        }
    }

    fn carry_out_orders(&mut self, said: &mut Vec<Said>) -> Vec<(MemberId, usize)> {
        let mut dials = Vec::new();
        for order in std::mem::take(&mut self.orders) {
            match order {
                Order::Dial(member, address) => dials.push((member, host_at(address))),
                Order::HangUp(link) => said.push(Said::HangUp(link)),
                Order::Replay => self.replay_ordered = true,
                Order::Keep(view) => self.durability.view = Some(view),
            }
        }
        dials
    }
}

/// Gathers what leaves the node in a turn.
struct Sink<'a> {
    said: &'a mut Vec<Said>,
    orders: &'a mut Vec<Order>,
}

impl Outputs for Sink<'_> {
    fn reply(&mut self, client: ClientId, key: &[u8], reply: &Reply<'_>) {
        self.said.push(Said::Reply(client, key.to_vec(), Answer::of(reply)));
    }

    fn send(&mut self, link: LinkId, message: &Message<'_>) {
        let mut bytes = Vec::new();
        assert!(peer::compose(message, &mut bytes).is_none(), "values here are small");
        self.said.push(if message.is_urgent() { Said::Urgent(link, bytes) } else { Said::Frame(link, bytes) });
    }

    fn dial(&mut self, member: MemberId, address: SocketAddr) {
        self.orders.push(Order::Dial(member, address));
    }

    fn hang_up(&mut self, link: LinkId) {
        self.orders.push(Order::HangUp(link));
    }

    fn replay(&mut self) {
        self.orders.push(Order::Replay);
    }

    fn keep(&mut self, view: &[u8]) {
        self.orders.push(Order::Keep(view.to_vec()));
    }
}
