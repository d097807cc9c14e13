//! The table of connections: their sockets, their buffers, and what they are owed.
//!
//! The parts of a connection lie in arrays beside each other, by the connection's token: a turn's commands borrow the input buffers of many
//! connections while parsers, outputs and the node change. A connection also has a name that is never used twice, so that what comes
//! back late for a former connection fits nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Poll, Token};
use slab::Slab;

use super::turn::Speaker;
use crate::communication::buffer::{Buffer, Pool};
use crate::communication::connection::{HIGH_WATER, Output};
use crate::communication::memcached;
use crate::communication::protocol::Dialect;
use crate::config::Limits;
use crate::node::message::Message;
use crate::node::reply::Reply;
use crate::node::{ClientId, Outputs};
use crate::time::Mono;
use crate::topology::MemberId;
use crate::topology::peers::LinkId;

/// Connections over the limit that are let in for a moment, to show whether they are peers.
pub(super) const SPARE_CONNECTIONS: usize = 128;
/// How long such a connection has for that.
const SPARE_MS: u64 = 1_000;
/// Links that do not count as clients. Whoever only begins like a peer takes no more than these beyond the limit.
const UNCOUNTED_LINKS: usize = 128;
/// A link that brings nothing for so many times the time of silence is dead, whoever dialled it: a living peer pings.
const SILENCES_OF_A_LINK: u64 = 10;
/// How long a client that was told the last word may take to hear it, and how much of what it still sends is thrown away meanwhile.
const LINGER_MS: u64 = 2_000;
const LINGER_BYTES: usize = 64 << 20;
/// Bytes thrown away in one reading, and readings in one turn.
const DISCARD_BYTES: usize = 16 << 10;
const DISCARDS_A_TURN: usize = 16;
/// Most bytes sent to one connection in one turn.
const WRITE_A_TURN: usize = 4 << 20;
/// Input that counts as progress within one long command.
pub(super) const PROGRESS_BYTES: usize = 64 << 10;
/// Unfinished commands up to this are not counted: there may be one of each connection.
const UNCOUNTED_INPUT: usize = 64 << 10;

/// A socket with what the loop knows of it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    /// Never used twice: the serial number above, the token below.
    pub(super) name: u64,
    pub(super) kind: Kind,
    /// This node has dialled it: what comes on it was asked for.
    pub(super) dialled: bool,
    /// There may be something to read.
    pub(super) readable: bool,
    /// Poll has said that the other side will send nothing more: no event will come again, so it is read to its end.
    pub(super) ending: bool,
    /// The other side will send nothing more.
    pub(super) ended: bool,
    /// It was passed over, since its client does not read or is owed too much: the flush that makes room calls it again.
    pub(super) paused: bool,
    /// The socket took less than was offered; an event tells when it takes more.
    blocked: bool,
    /// Close once everything is sent.
    hung_up: bool,
    pub(super) last_read: Mono,
    last_progress: Mono,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing has been heard yet. `spare` if it came when there were too many.
    New { spare: bool },
    /// A client.
    Client,
    /// Another node.
    Link,
    /// This member, once it is reached.
    Dialling(MemberId),
    /// A client that was told the last word. To close now, with bytes of its own unread, would make the kernel reset the connection, and
    /// the reset overtakes the word. So nothing more is said, and at most `left` bytes are thrown away until it closes too.
    Lingering { left: usize },
}

/// Why a connection is closed without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    Idle,
    Unfinished,
    NotReading,
    TooMany,
    Lingering,
}

/// What came of a flush.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flushed {
    pub(super) bytes: usize,
    /// There is something to do for it in the next turn.
    pub(super) again: bool,
    pub(super) close: bool,
    /// It closes after a last word that its client should be able to hear.
    pub(super) after_last_word: bool,
    pub(super) too_slow: bool,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) sockets: Slab<Socket>,
    pub(super) buffers: Vec<Buffer>,
    pub(super) speakers: Vec<Speaker>,
    pub(super) outputs: Vec<Output>,
    pub(super) read_pool: Pool,
    pub(super) write_pool: Vec<Vec<u8>>,
    serial: u32,
    links: usize,
    /// How many may come over the limit.
    spare_connections: usize,
    /// Bytes of large unfinished commands, of all clients.
    input_bytes: u64,
}

/// Tokens, each once, in the order of their coming. One whose connection has closed meanwhile is passed over by whoever takes it.
#[derive(Debug, Default)]
pub(super) struct TokenSet {
    tokens: Vec<usize>,
    marks: Vec<bool>,
}

/// What the node orders from the world besides bytes.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Dial(MemberId, SocketAddr),
    HangUp(LinkId),
    Replay,
    Keep(Vec<u8>),
}

/// Where the node's outputs go: replies and messages into the connections' outputs, the rest into a list of orders.
pub(super) struct Sink<'a> {
    pub(super) table: (&'a mut [Output], &'a Slab<Socket>, &'a mut Vec<Vec<u8>>),
    pub(super) dirty: &'a mut TokenSet,
    pub(super) orders: &'a mut Vec<Order>,
}

impl Overdue {
    /// What a client hears of it.
    pub(super) fn word(self, dialect: &Dialect) -> Option<&'static [u8]> {
        match self {
            Overdue::Unfinished => Some(dialect.unfinished()),
            Overdue::TooMany => Some(dialect.too_many()),
            Overdue::Idle | Overdue::NotReading | Overdue::Lingering => None,
        }
    }
}

impl TokenSet {
    pub(super) fn insert(&mut self, token: usize) {
        if self.marks.len() <= token {
            self.marks.resize(token + 1, false);
        }
        if !std::mem::replace(&mut self.marks[token], true) {
            self.tokens.push(token);
        }
    }

    pub(super) fn take(&mut self) -> Vec<usize> {
        for token in &self.tokens {
            self.marks[*token] = false;
        }
        // The next turn is mostly like this one.
        let room = Vec::with_capacity(self.tokens.len());
        std::mem::replace(&mut self.tokens, room)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

impl Table {
    /// No connections yet; so many may come over the limit.
    pub(super) fn with_spare(spare_connections: usize) -> Table {
        Table { spare_connections, ..Table::default() }
    }

    /// Takes a connection in: one that was accepted, or one that dials a member.
    pub(super) fn open(&mut self, mut stream: TcpStream, dialling: Option<MemberId>, poll: &Poll, now: Mono) -> io::Result<usize> {
        let entry = self.sockets.vacant_entry();
        let token = entry.key();
        poll.registry().register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        // A socket that does not take the option works all the same, only later.
        let _ = stream.set_nodelay(true);
        self.serial = self.serial.wrapping_add(1);
        let name = u64::from(self.serial) << 32 | token as u64;
        let kind = dialling.map_or(Kind::New { spare: false }, Kind::Dialling);
        let readable = dialling.is_none();
        entry.insert(Socket {
            stream,
            name,
            kind,
            dialled: dialling.is_some(),
            readable,
            ending: false,
            ended: false,
            paused: false,
            blocked: false,
            hung_up: false,
            last_read: now,
            last_progress: now,
        });
        if self.buffers.len() <= token {
            self.buffers.resize_with(token + 1, Buffer::default);
            self.speakers.resize_with(token + 1, Speaker::default);
            self.outputs.resize_with(token + 1, Output::default);
        }
        Ok(token)
    }

    /// Is there no room, not even for a peer?
    pub(super) fn is_crowded(&self, limits: &Limits) -> bool {
        self.clients() >= limits.max_connections + self.spare_connections
    }

    /// Marks a new connection that has come over the limit.
    pub(super) fn mark_spare(&mut self, token: usize, limits: &Limits) -> bool {
        let spare = self.clients() > limits.max_connections;
        if let Some(Socket { kind, .. }) = self.sockets.get_mut(token)
            && let Kind::New { spare: marked } = kind
        {
            *marked = spare;
        }
        spare
    }

    /// The connection has shown itself to be a peer's.
    pub(super) fn is_link(&mut self, token: usize) {
        self.sockets[token].kind = Kind::Link;
        self.links += 1;
    }

    /// The connection that still dials this member, if there is one.
    pub(super) fn dialling(&self, member: MemberId) -> Option<usize> {
        self.sockets.iter().find(|(_, socket)| socket.kind == Kind::Dialling(member)).map(|(token, _)| token)
    }

    /// Closes a connection. Its name, if it was a link: the node hears of it, even if it has hung up itself.
    pub(super) fn close(&mut self, token: usize) -> Option<LinkId> {
        let socket = self.sockets.try_remove(token)?;
        let was_link = socket.kind == Kind::Link;
        self.links -= usize::from(was_link);
        self.forget_input(token);
        self.outputs[token] = Output::default();
        was_link.then_some(LinkId(socket.name))
    }

    fn forget_input(&mut self, token: usize) {
        self.input_bytes -= self.speakers[token].counted as u64;
        self.buffers[token] = Buffer::default();
        self.speakers[token] = Speaker::default();
    }

    /// Counts what a client's unfinished command takes. True if it has grown, and all of them together are too much.
    pub(super) fn count_input(&mut self, token: usize, limits: &Limits) -> bool {
        let speaker = &mut self.speakers[token];
        let bytes = speaker.unfinished_bytes(self.buffers[token].pending().len());
        let is_counted = bytes > UNCOUNTED_INPUT && self.sockets[token].kind == Kind::Client;
        let before = std::mem::replace(&mut speaker.counted, if is_counted { bytes } else { 0 });
        self.input_bytes = self.input_bytes - before as u64 + speaker.counted as u64;
        speaker.counted > before && self.input_bytes > limits.max_input.max(2 * limits.max_value as u64)
    }

    /// Ends a connection for whose command there is no room, and gives the room back.
    pub(super) fn end_crowded(&mut self, token: usize) {
        let speaker = &mut self.speakers[token];
        self.outputs[token].say_last(speaker.dialect().crowded());
        speaker.end();
        self.input_bytes -= std::mem::take(&mut speaker.counted) as u64;
        self.buffers[token] = Buffer::default();
    }

    /// Connections that are not links, or are more links than any pool needs.
    pub(super) fn clients(&self) -> usize {
        self.sockets.len() - self.links.min(UNCOUNTED_LINKS)
    }

    /// The token of a connection's name, if it is still that connection's.
    pub(super) fn token_of(&self, name: u64) -> Option<usize> {
        let token = token_in(name);
        self.sockets.get(token).is_some_and(|socket| socket.name == name).then_some(token)
    }

    /// Has any connection something to send?
    pub(super) fn is_sending(&self) -> bool {
        self.sockets.iter().any(|(token, socket)| matches!(socket.kind, Kind::Client | Kind::Link) && self.outputs[token].unsent() > 0)
    }

    /// Gives back, step by step, what a burst has left in the pools.
    pub(super) fn shrink_pools(&mut self) {
        self.read_pool.shrink();
        self.write_pool.truncate(self.write_pool.len() / 2);
    }

    /// Bytes that buffers and outputs occupy.
    pub(super) fn buffer_bytes(&self) -> usize {
        let pieces: usize = self.speakers.iter().map(Speaker::assembly_bytes).sum();
        let buffers: usize = pieces + self.buffers.iter().map(Buffer::capacity).sum::<usize>();
        let outputs: usize = self.outputs.iter().map(Output::capacity).sum();
        let pooled: usize = self.write_pool.iter().map(Vec::capacity).sum();
        buffers + outputs + pooled + self.read_pool.bytes()
    }

    /// The parts that a [`Sink`] needs.
    pub(super) fn outputs_and_names(&mut self) -> (&mut [Output], &Slab<Socket>, &mut Vec<Vec<u8>>) {
        (&mut self.outputs, &self.sockets, &mut self.write_pool)
    }

    /// The node wants no more of this link.
    pub(super) fn hang_up(&mut self, link: LinkId, dirty: &mut TokenSet) {
        if let Some(token) = self.token_of(link.0) {
            self.sockets[token].hung_up = true;
            dirty.insert(token);
        }
    }

    /// The socket takes bytes again.
    pub(super) fn unblock(&mut self, token: usize) {
        self.sockets[token].blocked = false;
    }

    /// Sends what may leave of a connection's output.
    pub(super) fn flush(&mut self, token: usize, limits: &Limits, now: Mono) -> Flushed {
        let Some(socket) = self.sockets.get_mut(token) else { return Flushed::default() };
        if matches!(socket.kind, Kind::Dialling(_) | Kind::Lingering { .. }) {
            return Flushed { close: socket.hung_up, ..Flushed::default() };
        }
        let output = &mut self.outputs[token];
        let mut flushed = send(socket, output, now);
        let (unsent, held) = (output.unsent(), self.speakers[token].is_holding());
        let all_sent = output.sendable().is_empty() && unsent == 0;
        let finished = output.is_closing() || (socket.ended && !output.owes() && self.speakers[token].is_finished());
        // A peer that does not read is silent, and judged by that: what a closed link had said is all said again on the next one.
        flushed.too_slow =
            unsent + output.held() > limits.max_output.max(2 * limits.max_value) && !(socket.dialled && socket.kind == Kind::Link);
        let is_stuck = socket.blocked || output.is_ahead();
        flushed.close |= flushed.too_slow || (socket.hung_up && (all_sent || is_stuck)) || (finished && all_sent && !held);
        flushed.after_last_word = flushed.close && all_sent && output.is_closing() && !socket.ended;
        flushed.again |= socket.paused && has_room(output, limits);
        socket.paused &= !flushed.again;
        if socket.kind == Kind::Link {
            output.keep_room();
        } else {
            output.rest(&mut self.write_pool);
        }
        flushed
    }

    /// Who has been silent for too long, and in what. Peers are held for down after `silence_ms`.
    pub(super) fn overdue(&self, limits: &Limits, silence_ms: u64, now: Mono) -> Vec<(usize, Overdue)> {
        let stall_ms = limits.stall_timeout_s.saturating_mul(1_000);
        let idle_ms = limits.idle_timeout_s.saturating_mul(1_000);
        let late = |since: Mono, ms: u64| ms > 0 && now.since(since) >= ms;
        let judge = |token: usize, socket: &Socket| match socket.kind {
            Kind::New { spare: true } if late(socket.last_read, SPARE_MS) => Some(Overdue::TooMany),
            Kind::Dialling(_) => None,
            Kind::Lingering { .. } => late(socket.last_read, LINGER_MS).then_some(Overdue::Lingering),
            Kind::Link => {
                let unfinished = self.speakers[token].begun().is_some_and(|since| late(since, stall_ms));
                let silent = late(socket.last_read, silence_ms.saturating_mul(SILENCES_OF_A_LINK));
                (unfinished || silent).then_some(Overdue::Idle)
            }
            Kind::New { .. } | Kind::Client => {
                let begun = self.speakers[token].begun();
                let unsent = self.outputs[token].unsent() > 0 && socket.blocked;
                if unsent && late(socket.last_progress, stall_ms) {
                    Some(Overdue::NotReading)
                } else if begun.is_some_and(|since| late(since, stall_ms)) {
                    Some(Overdue::Unfinished)
                } else {
                    (!unsent && !self.outputs[token].owes() && late(socket.last_read, idle_ms)).then_some(Overdue::Idle)
                }
            }
        };
        self.sockets.iter().filter_map(|(token, socket)| judge(token, socket).map(|why| (token, why))).collect()
    }

    /// A last word, if the socket takes it, to a client that is about to be closed.
    pub(super) fn say_last(&mut self, token: usize, word: &[u8]) {
        if let Some(socket) = self.sockets.get_mut(token) {
            let _ = socket.stream.write(word);
        }
    }

    /// Lets a client hear the last word. False if there is nothing to wait for: it is to be closed at once.
    pub(super) fn linger(&mut self, token: usize, now: Mono) -> bool {
        let Some(socket) = self.sockets.get_mut(token) else { return false };
        if socket.ended || socket.kind == Kind::Link || socket.stream.shutdown(Shutdown::Write).is_err() {
            return false;
        }
        socket.kind = Kind::Lingering { left: LINGER_BYTES };
        socket.last_read = now;
        self.forget_input(token);
        true
    }

    /// Throws away what a lingering client still sends. `None` if it is to be closed, else whether there may be more.
    pub(super) fn discard(&mut self, token: usize) -> Option<bool> {
        let socket = self.sockets.get_mut(token)?;
        let Kind::Lingering { left } = &mut socket.kind else { return None };
        let mut scratch = [0; DISCARD_BYTES];
        for _ in 0..DISCARDS_A_TURN {
            match socket.stream.read(&mut scratch) {
                Ok(count) if count > 0 && count < *left => *left -= count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return None,
            }
        }
        Some(true)
    }
}

impl Outputs for Sink<'_> {
    fn reply(&mut self, client: ClientId, key: &[u8], reply: &Reply<'_>) {
        if let Some(token) = self.token_of(client.connection) {
            self.wake(token);
            self.table.0[token].answer(client.slot, key, reply);
        }
    }

    fn send(&mut self, link: LinkId, message: &Message<'_>) {
        if let Some(token) = self.token_of(link.0) {
            self.wake(token);
            self.table.0[token].send(message);
        }
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

impl Sink<'_> {
    /// The output of this token will grow.
    pub(super) fn wake(&mut self, token: usize) {
        self.table.0[token].wake(self.table.2);
        self.dirty.insert(token);
    }

    fn token_of(&self, name: u64) -> Option<usize> {
        let token = token_in(name);
        self.table.1.get(token).is_some_and(|socket| socket.name == name).then_some(token)
    }
}

/// May a client ask for more?
pub(super) fn has_room(output: &Output, limits: &Limits) -> bool {
    output.unsent() < HIGH_WATER && output.owed() < limits.max_pipelined
}

/// Tells a client that there are too many, without taking it in.
pub(super) fn refuse(mut stream: TcpStream) {
    // The socket is new and its buffer empty: the line fits, or nobody is there to read it.
    let _ = stream.write(memcached::TOO_MANY);
}

fn token_in(name: u64) -> usize {
    (name & u64::from(u32::MAX)) as usize
}

/// Sends what is urgent before the turn is over, if nothing is in its way.
pub(super) fn send_urgent(socket: &mut Socket, output: &mut Output, now: Mono) {
    output.release_urgent(output.urgent_position());
    // What fails is met again at the end of the turn.
    send(socket, output, now);
}

/// Writes until everything that may leave has left, the socket takes no more, or the turn's share is used up.
fn send(socket: &mut Socket, output: &mut Output, now: Mono) -> Flushed {
    let mut flushed = Flushed::default();
    output.advance();
    while !socket.blocked && !output.sendable().is_empty() {
        if flushed.bytes >= WRITE_A_TURN {
            flushed.again = true;
            break;
        }
        match socket.stream.write(output.sendable()) {
            Ok(0) => socket.blocked = true,
            Ok(count) => {
                output.sent(count);
                output.advance();
                flushed.bytes += count;
                socket.last_progress = now;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // The time until now was spent on others, not on a client that does not read.
                socket.last_progress = if flushed.bytes > 0 { now } else { socket.last_progress };
                socket.blocked = true;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => {
                flushed.close = true;
                break;
            }
        }
    }
    if !socket.blocked {
        socket.last_progress = now;
    }
    flushed
}
