//! The loop that drives a node: one thread, one poll, and the only part that touches sockets.
//!
//! A turn has a fixed order, and the order is the argument for durability:
//!
//! ```text
//!   poll ─▶ read the clock, once
//!        ─▶ events      who can be read, who can be written, who was dialled, who is new
//!        ─▶ fill        every ready connection is read once
//!        ─▶ parse       at most so many commands a connection; keys hashed           ┐ a turn's work in passes,
//!        ─▶ prefetch    what the look-ups will need                                  │ so that the cache misses of
//!        ─▶ execute     in order; replies are composed into the outputs              ┘ many commands overlap
//!        ─▶ tick        what is due in the node
//!        ─▶ commit      one write of all records of the turn
//!        ─▶ flush       one write a connection
//! ```
//!
//! No byte that acknowledges a write leaves before the write's record is written; with `sync = "always"`, before it is on disk.
//!
//! [`sockets`] is the table of connections; [`turn`] has the passes from events to execution; [`durability`] the commit; [`startup`] makes a
//! node out of a configuration and its journal. Polling is edge-triggered: whoever leaves a socket half read, or half parsed, remembers
//! it in `ready`, since no event will come for it.

mod durability;
mod sockets;
mod startup;
mod turn;

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::{error, info, warn};
use mio::net::{TcpListener, UnixStream};
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::signal::{SIGINT, SIGTERM};

use self::durability::Durability;
use self::sockets::{Order, Overdue, Sink, Table, TokenSet};
use self::turn::{Item, Speaker};
use crate::caching::replay::Replay;
use crate::communication::access::Gate;
use crate::communication::http::Hosts;
use crate::config::Config;
use crate::disk;
use crate::node::Node;
use crate::time::{Mono, Now, Wall};

const LISTENER: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);
const WAKER: Token = Token(usize::MAX - 3);

/// Events taken from one poll.
const EVENTS_A_TURN: usize = 1_024;
/// Connections accepted in one turn.
const ACCEPTS_A_TURN: usize = 256;
/// How long the listener pauses when there are no file descriptors left.
const ACCEPT_PAUSE_MS: u64 = 100;
/// How often the log says so while that lasts.
const COMPLAIN_EVERY_MS: u64 = 10_000;
/// How often idle and stalled connections are looked for, and the gauges are read.
const SWEEP_EVERY_MS: u64 = 1_000;
/// How long a node that was told to end waits for what it owes.
const FAREWELL_MS: u64 = 5_000;
/// How long it may take before that to hand its keys over.
const LEAVE_MS: u64 = 60_000;
/// Bytes of the journal read in one turn while the node serves.
const REPLAY_A_TURN: usize = 1 << 20;

/// Runs a node until it is told to end.
///
/// # Errors
/// Says why the node cannot start, or what failed.
pub fn run(config: Config) -> Result<(), String> {
    let mut event_loop = startup::start(config)?;
    event_loop.run().map_err(|error| format!("the event loop failed: {error}"))?;
    std::mem::forget(event_loop.node);
    Ok(())
}

/// Reads both clocks. The monotonic one begins high enough that "before the start" can be said.
struct Clock {
    origin: Instant,
    /// By how many milliseconds the wall clock is ahead of the monotonic one.
    ahead_ms: Cell<i64>,
}

impl Clock {
    const ORIGIN_MS: u64 = 1 << 32;
    /// By how many microseconds the clocks may disagree about that before it is measured anew.
    const PLAY_US: i64 = 1_500;

    fn new() -> Clock {
        Clock { origin: Instant::now(), ahead_ms: Cell::new(0) }
    }

    fn read(&self) -> Now {
        self.at(Instant::now())
    }

    fn at(&self, instant: Instant) -> Now {
        let wall_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
        self.with_wall(Self::ORIGIN_MS * 1_000 + instant.duration_since(self.origin).as_micros() as u64, wall_us)
    }

    /// Both clocks in whole milliseconds. Cut off each by itself, they would disagree by one more or less each time, and a moment on the
    /// wall clock that became one of the other would come back as its neighbour. So the one is told by the other, for as long as that is
    /// as good as true.
    fn with_wall(&self, mono_us: u64, wall_us: i64) -> Now {
        let ahead_us = wall_us - mono_us as i64;
        if (ahead_us - self.ahead_ms.get() * 1_000).abs() > Self::PLAY_US {
            self.ahead_ms.set(ahead_us.div_euclid(1_000));
        }
        let mono = Mono(mono_us / 1_000);
        Now { mono, wall: Wall(mono.0.saturating_add_signed(self.ahead_ms.get())) }
    }
}

/// A node with its sockets, its disk and its clock.
struct EventLoop {
    config: Config,
    /// What opens to the password, if there is one.
    gate: Gate,
    /// The names under which HTTP clients may address this node.
    hosts: Arc<Hosts>,
    clock: Clock,
    poll: Poll,
    listener: Option<TcpListener>,
    signals: UnixStream,
    _signal_senders: Vec<signal_hook::SigId>,
    node: Node,
    table: Table,
    durability: Durability,
    /// The journal is to be read from the next turn on.
    replay_ordered: bool,
    replay: Option<Replay>,
    /// Connections to be read or parsed in this turn, whatever poll says.
    ready: TokenSet,
    /// Connections whose output has grown.
    dirty: TokenSet,
    orders: Vec<Order>,
    /// A turn's work: empty between turns, kept for its memory.
    batch: Vec<Item<'static>>,
    /// When to go on accepting without being told by poll; never, mostly.
    accept_at: Mono,
    /// When the log may say again that nobody can be accepted.
    complain_at: Mono,
    sweep_at: Mono,
    announced: bool,
    /// When to have handed the keys over at the latest, once the node has been told to end.
    leaves_by: Option<Mono>,
    /// When to end at the latest, once it has.
    farewell: Option<Mono>,
}

impl EventLoop {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_A_TURN);
        let mut now = self.clock.read();
        while !self.is_over(now.mono) {
            match self.poll.poll(&mut events, Some(self.patience(now.mono))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let began = Instant::now();
            now = self.clock.at(began);
            self.take_events(&events, now);
            self.serve(now);
            // What was read may have come long after the turn began, if the process was stopped meanwhile: no lease counts by the time before it.
            now = self.clock.read();
            self.with_node(|node, sink| node.on_tick(now, sink));
            self.say_farewell_when_left(now);
            self.read_journal(now);
            self.carry_out_orders(now);
            self.commit_and_flush(now);
            if now.mono >= self.sweep_at {
                self.sweep(now);
            }
            self.announce_when_ready(now);
            self.count_turn(began);
        }
        self.end()
    }

    /// How long poll may wait.
    fn patience(&self, now: Mono) -> Duration {
        // What the end of a turn has brought up, a link's end above all, is done in the next one, and at once.
        let is_owed = !self.ready.is_empty() || !self.orders.is_empty() || !self.dirty.is_empty() || self.node.has_unwritten();
        if is_owed || self.replay_ordered || self.replay.is_some() {
            return Duration::ZERO;
        }
        let wake_at = self.node.wake_at(now).min(self.sweep_at).min(self.durability.wake_at()).min(self.accept_at);
        Duration::from_millis(wake_at.since(now))
    }

    fn take_events(&mut self, events: &Events, now: Now) {
        for event in events {
            match event.token() {
                LISTENER => self.accept(now),
                SIGNALS => self.on_signal(now),
                WAKER => {}
                token => self.on_socket_event(token.0, event, now),
            }
        }
        if self.accept_at <= now.mono {
            self.accept(now);
        }
        self.node.gauges.curr_connections = self.table.clients() as u64;
    }

    /// Calls the node with a sink for what leaves it.
    fn with_node<T>(&mut self, call: impl FnOnce(&mut Node, &mut Sink<'_>) -> T) -> T {
        let mut sink = Sink { table: self.table.outputs_and_names(), dirty: &mut self.dirty, orders: &mut self.orders };
        call(&mut self.node, &mut sink)
    }

    /// Takes in new connections. Without file descriptors the listener pauses; nobody else suffers.
    fn accept(&mut self, now: Now) {
        self.accept_at = Mono::NEVER;
        for _ in 0..ACCEPTS_A_TURN {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, from)) => self.welcome(stream, from.ip(), now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    if now.mono >= self.complain_at {
                        warn!("cannot accept connections at the moment: {error}");
                        self.complain_at = now.mono.plus(COMPLAIN_EVERY_MS);
                    }
                    self.accept_at = now.mono.plus(ACCEPT_PAUSE_MS);
                    self.node.stats.listen_disabled_num += 1;
                    return;
                }
            }
        }
        self.accept_at = now.mono;
    }

    fn welcome(&mut self, stream: mio::net::TcpStream, from: IpAddr, now: Now) {
        self.node.stats.total_connections += 1;
        if self.table.is_crowded(&self.config.limits) {
            self.node.stats.rejected_connections += 1;
            sockets::refuse(stream);
            return;
        }
        match self.table.open(stream, None, &self.poll, now.mono) {
            Ok(token) => {
                self.table.speakers[token] = Speaker::with(self.gate.admit(from.to_canonical().is_loopback()));
                self.ready.insert(token);
            }
            Err(error) => warn!("cannot watch a new connection: {error}"),
        }
    }

    /// The node hands its keys over, then ends; told a second time, it ends at once.
    fn on_signal(&mut self, now: Now) {
        let mut bytes = [0; 16];
        while matches!(self.signals.read(&mut bytes), Ok(count) if count > 0) {}
        match self.leaves_by {
            None => {
                self.leaves_by = Some(now.mono.plus(LEAVE_MS));
                self.node.leave();
            }
            Some(_) => self.leaves_by = Some(now.mono),
        }
    }

    /// Once it has handed over, it reads no client any more; and once it owes no answer, it is retired. In between it is a node like the
    /// others: what its clients have asked last is answered by the owners. As long as it serves it listens, since a refused connection
    /// tells the others that it is gone.
    fn say_farewell_when_left(&mut self, now: Now) {
        let Some(latest) = self.leaves_by.filter(|_| self.listener.is_some()) else { return };
        let is_late = now.mono >= latest;
        if !is_late && !self.node.has_left() {
            return;
        }
        if self.farewell.is_none() {
            info!("told to end: finishing what is owed");
            self.farewell = Some(now.mono.plus(FAREWELL_MS));
        }
        if is_late || !self.node.owes_answers() {
            self.with_node(|node, sink| node.retire(now, sink));
            self.listener = None;
        }
    }

    fn is_over(&self, now: Mono) -> bool {
        let owes = self.node.owes_answers() || self.node.has_unwritten() || self.table.is_sending() || !self.ready.is_empty();
        let is_retired = self.listener.is_none();
        self.farewell.is_some_and(|latest| now >= latest || (is_retired && !owes))
    }

    /// Hangs up before it waits for the disk: the others are not to wait with it. What was in memory is left to the system, to be freed in one
    /// piece.
    fn end(&mut self) -> io::Result<()> {
        self.table = Table::default();
        let synced = self.durability.finish(&mut self.node, self.clock.read());
        if let Err(error) = &synced {
            error!("the journal could not be synced at the end: {error}");
        }
        info!("node {} has ended", self.config.local.node_id);
        synced
    }

    /// Reads on in the journal while the node serves, if somebody asked for it.
    fn read_journal(&mut self, now: Now) {
        if self.replay_ordered && !self.node.has_unwritten() {
            self.replay_ordered = false;
            self.begin_replay();
        }
        let Some(mut replay) = self.replay.take() else { return };
        if self.durability.step(&mut replay, REPLAY_A_TURN, |record| self.node.on_record(now, record)) {
            self.replay = Some(replay);
        } else {
            startup::log_damages(&replay);
            self.node.on_replayed();
        }
    }

    /// Begins in the turn after the order: then the deletes of that turn are in what is read. If the disk would not take them, what was
    /// deleted would come back.
    fn begin_replay(&mut self) {
        let is_complete = self.node.journal_mut().is_some_and(|journal| !journal.needs_restating());
        self.replay = if is_complete { self.durability.replay() } else { None };
        if self.replay.is_none() {
            self.with_node(|node, sink| node.on_replay_failed(sink));
        }
    }

    /// Does what the node has ordered, until it orders nothing more.
    fn carry_out_orders(&mut self, now: Now) {
        while !self.orders.is_empty() {
            for order in std::mem::take(&mut self.orders) {
                match order {
                    Order::Dial(member, address) => self.dial(member, address, now),
                    Order::HangUp(link) => self.table.hang_up(link, &mut self.dirty),
                    Order::Replay => self.replay_ordered = true,
                    Order::Keep(view) => self.durability.keep(view),
                }
            }
        }
    }

    /// A dial that the node has given up may hang for minutes in the kernel: the next one ends it.
    fn dial(&mut self, member: crate::topology::MemberId, address: std::net::SocketAddr, now: Now) {
        if let Some(given_up) = self.table.dialling(member) {
            self.close(given_up, now);
        }
        let dialled = mio::net::TcpStream::connect(address).and_then(|stream| self.table.open(stream, Some(member), &self.poll, now.mono));
        if let Err(error) = dialled {
            let refused = error.kind() == ErrorKind::ConnectionRefused;
            self.with_node(|node, sink| node.on_dial_failed(now, member, refused, sink));
        }
    }

    /// Writes the turn's records, then sends what may leave.
    fn commit_and_flush(&mut self, now: Now) {
        for token in self.durability.commit(&mut self.node, &mut self.table, &mut self.dirty, now) {
            self.flush(token, now);
        }
    }

    fn flush(&mut self, token: usize, now: Now) {
        let limits = &self.config.limits;
        let flushed = self.table.flush(token, limits, now.mono);
        self.node.stats.bytes_written += flushed.bytes as u64;
        if flushed.again {
            self.ready.insert(token);
            self.dirty.insert(token);
        }
        if flushed.too_slow {
            self.node.stats.closed_not_reading += 1;
        }
        if flushed.after_last_word {
            self.close_after_last_word(token, now);
        } else if flushed.close {
            self.close(token, now);
        }
    }

    /// Closes a connection as soon as its client has had the time to hear what was said last.
    fn close_after_last_word(&mut self, token: usize, now: Now) {
        if self.table.linger(token, now.mono) {
            self.ready.insert(token);
        } else {
            self.close(token, now);
        }
    }

    /// Closes a connection; the node hears of it if it was a link.
    fn close(&mut self, token: usize, now: Now) {
        if let Some(link) = self.table.close(token) {
            self.with_node(|node, sink| node.on_closed(now, link, sink));
        }
    }

    /// Closes who has been silent for too long, in a command or between two; reads the gauges.
    fn sweep(&mut self, now: Now) {
        self.sweep_at = now.mono.plus(SWEEP_EVERY_MS);
        for (token, why) in self.table.overdue(&self.config.limits, self.config.network.silence_ms, now.mono) {
            match why {
                Overdue::Lingering => {}
                Overdue::NotReading => self.node.stats.closed_not_reading += 1,
                Overdue::TooMany => self.node.stats.rejected_connections += 1,
                Overdue::Idle | Overdue::Unfinished => self.node.stats.closed_idle += 1,
            }
            if let Some(word) = why.word(self.table.speakers[token].dialect()) {
                self.table.say_last(token, word);
                self.close_after_last_word(token, now);
            } else {
                self.close(token, now);
            }
        }
        self.table.shrink_pools();
        let gauges = &mut self.node.gauges;
        gauges.buffer_bytes = self.table.buffer_bytes() as u64;
        let usage = disk::process_usage();
        gauges.resident_bytes = usage.resident_bytes;
        gauges.cpu_us = (usage.user_us, usage.system_us);
    }

    /// Says once that the node is ready: it serves, and every peer has been heard of, for good or ill.
    fn announce_when_ready(&mut self, now: Now) {
        if self.announced || !self.node.is_ready(now.mono) {
            return;
        }
        self.announced = true;
        let (me, nodes, mirrors) = (self.node.me(), self.node.nodes_up(), self.node.mirrors());
        // Whoever started the node may have stopped listening to it.
        let _ = writeln!(io::stdout(), "ready {} as node {}: {nodes} nodes, {mirrors} mirrors", me.name, me.node_id);
    }

    fn count_turn(&mut self, began: Instant) {
        let stats = &mut self.node.stats;
        stats.loop_turns += 1;
        stats.longest_turn_us = stats.longest_turn_us.max(began.elapsed().as_micros() as u64);
    }
}

/// Registers a pipe that becomes readable when the process is told to end.
fn watch_signals(poll: &Poll) -> io::Result<(UnixStream, Vec<signal_hook::SigId>)> {
    let (mut receiver, sender) = UnixStream::pair()?;
    poll.registry().register(&mut receiver, SIGNALS, Interest::READABLE)?;
    let sender = std::os::unix::net::UnixStream::from(std::os::fd::OwnedFd::from(sender));
    let ids = [SIGTERM, SIGINT]
        .into_iter()
        .map(|signal| signal_hook::low_level::pipe::register(signal, sender.try_clone()?))
        .collect::<io::Result<_>>()?;
    Ok((receiver, ids))
}

/// What the helper thread of the journal calls to wake the loop.
fn waker(poll: &Poll) -> io::Result<Box<dyn Fn() + Send>> {
    let waker = Waker::new(poll.registry(), WAKER)?;
    Ok(Box::new(move || {
        // A wake that fails is made up for by the sweep, which comes every second.
        let _ = waker.wake();
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_on_the_wall_clock_comes_back_as_itself_whenever_it_is_asked_for() {
        let (clock, ends) = (Clock::new(), Wall(1_790_000_100_000));
        let mono_us = |us: u64| (1 << 42) + us;
        let expires = clock.with_wall(mono_us(0), 1_790_000_000_000_600).mono_at(ends);
        for us in (0..3_000_000).step_by(377) {
            // The clocks drift apart by a part in ten thousand.
            let now = clock.with_wall(mono_us(us), 1_790_000_000_000_600 + (us + us / 10_000) as i64);
            assert_eq!(now.wall_at(expires), ends, "after {us} us");
        }
    }

    #[test]
    fn a_jump_of_the_wall_clock_is_followed_at_once() {
        let clock = Clock::new();
        for wall_us in [5_000_000, 9_000_000, 1_000_000] {
            assert_eq!(clock.with_wall(4_000_000_000, wall_us).wall, Wall(wall_us.cast_unsigned() / 1_000));
        }
    }
}
