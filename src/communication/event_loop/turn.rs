//! The passes of a turn, from what poll says to the commands' execution.
//!
//! A turn's commands are collected before the first is carried out, from all ready connections: parse and hash them all, then, a
//! flock at a time, prefetch what their look-ups will need and execute in order. The look-ups of a flock then wait for memory together and
//! not one after the other.
//!
//! A connection gives at most so many commands a turn. If its client does not read, its commands are held back with bytes of their own, and
//! nothing more is read from it until it does: the memory it can take is bounded, and the others do not notice. Of a peer that does not take
//! its answers only the requests are held back ([`links`]).

mod links;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use log::warn;
use mio::event::Event;

use self::links::{MOST_HELD_BYTES, collect_messages, hear, hear_first};
use super::EventLoop;
use super::sockets::{Kind, Order, PROGRESS_BYTES, Sink, Socket, has_room, send_urgent};
use crate::communication::access::{Gate, Pass};
use crate::communication::buffer::{Buffer, Filled};
use crate::communication::connection::HIGH_WATER;
use crate::communication::peer;
use crate::communication::peer::pieces::{Assembly, PIECE};
use crate::communication::protocol::{self, Dialect, Form, Group, Parsed, Sniffed};
use crate::communication::{binary, http, memcached, resp};
use crate::config::Limits;
use crate::hash::KeyHash;
use crate::node::command::Request;
use crate::node::message::Message;
use crate::node::reply::{Failure, Reply};
use crate::node::{ClientId, Node};
use crate::time::{Mono, Now};
use crate::topology::peers::LinkId;

/// Most pieces taken from one client in one turn.
const PIECES_A_TURN: usize = 128;
/// Pieces of work whose memory is kept for the next turn.
const KEPT_ITEMS: usize = 4_096;
/// Commands whose look-ups are prefetched together: enough for their misses to overlap, few enough that what was fetched for the last is
/// still near when its turn comes.
const PREFETCHED_TOGETHER: usize = 32;

/// Who speaks on a connection, and how far they have been heard.
#[derive(Debug, Default)]
pub(super) struct Speaker {
    dialect: Dialect,
    /// What its client may do.
    pass: Pass,
    /// What was parsed and could not be carried out, since its client does not read.
    held: VecDeque<Work<'static>>,
    /// Bytes of a peer's requests that are held.
    held_bytes: usize,
    /// The message that a peer is sending in pieces.
    assembly: Assembly,
    /// Bytes of the input that this turn has taken.
    taken: usize,
    /// Is the parser waiting for more than has arrived?
    hungry: bool,
    /// The dialect has said its last word: nothing more is parsed.
    ended: bool,
    /// Since when a command is begun and not finished, and how much of it was there.
    begun: Option<(Mono, usize)>,
    /// Bytes of that command that are not in the input any more.
    passed: usize,
    /// What the table counts of its unfinished command.
    pub(super) counted: usize,
}

/// A piece of work for the node or for an output.
#[derive(Debug)]
enum Work<'a> {
    Request(Request<'a>, Form),
    /// A request that goes no further than the gate.
    Denied(Form, Failure),
    /// What came of a login, and how it is written.
    Login(Option<Form>, Result<(), Failure>),
    Answer(Cow<'static, [u8]>, Group),
    LastWord(Cow<'static, [u8]>),
    /// What a peer says.
    Message(Message<'a>),
    /// A message of a peer that came in pieces.
    Assembled(Vec<u8>),
}

/// A piece of work, whose it is, and its key's two numbers if it has a key.
#[derive(Debug)]
pub(super) struct Item<'a> {
    token: usize,
    hash: KeyHash,
    work: Work<'a>,
}

impl Speaker {
    /// A speaker who may do so much.
    pub(super) fn with(pass: Pass) -> Speaker {
        Speaker { pass, ..Speaker::default() }
    }

    /// Since when a command is begun and not finished.
    pub(super) fn begun(&self) -> Option<Mono> {
        self.begun.map(|(since, _)| since)
    }

    /// The dialect that is spoken.
    pub(super) fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// The memory that a peer's unfinished message takes.
    pub(super) fn assembly_bytes(&self) -> usize {
        self.assembly.held()
    }

    /// Are commands held back?
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Has everything that arrived been carried out, as far as it is whole?
    pub(super) fn is_finished(&self) -> bool {
        self.held.is_empty() && (self.hungry || self.ended)
    }

    /// The memory that an unfinished command takes, with what of it is `pending`.
    pub(super) fn unfinished_bytes(&self, pending: usize) -> usize {
        self.dialect.held() + if self.hungry { pending } else { 0 }
    }

    /// Nothing more is heard, and what was begun is forgotten.
    pub(super) fn end(&mut self) {
        self.dialect = Dialect::Unknown;
        self.ended = true;
        self.begun = None;
    }

    /// A whole piece of so many bytes was taken: what is begun after it begins now.
    fn on_piece(&mut self, consumed: usize) {
        self.taken += consumed;
        self.passed = 0;
        self.begun = None;
    }

    /// A request of a peer waits until it takes its answers.
    fn hold(&mut self, request: Work<'static>, bytes: usize) {
        self.held.push_back(request);
        self.held_bytes += bytes;
    }

    /// So many bytes of a peer's input were a frame.
    fn on_frame(&mut self, consumed: usize) {
        self.taken += consumed;
        self.begun = None;
    }

    /// Notes whether a command is begun; what grows steadily is not stalled.
    fn note_begun(&mut self, in_command: bool, pending: usize, now: Mono) {
        self.begun = match self.begun {
            _ if !in_command => None,
            Some((since, at)) if pending < at + PROGRESS_BYTES => Some((since, at)),
            _ => Some((now, pending)),
        };
    }
}

impl Item<'_> {
    /// Does it take long to carry out?
    fn is_long(&self) -> bool {
        match &self.work {
            Work::Request(Request::Key(command), _) => command.bytes() > PIECE,
            Work::Assembled(_) => true,
            _ => false,
        }
    }

    fn is_urgent(&self) -> bool {
        matches!(&self.work, Work::Message(message) if message.is_urgent())
    }
}

impl Work<'_> {
    fn to_owned(&self) -> Work<'static> {
        match self {
            Work::Request(request, form) => Work::Request(request.to_owned(), *form),
            Work::Denied(form, failure) => Work::Denied(*form, failure.clone()),
            Work::Login(form, outcome) => Work::Login(*form, outcome.clone()),
            Work::Answer(bytes, group) => Work::Answer(bytes.clone(), *group),
            Work::LastWord(bytes) => Work::LastWord(bytes.clone()),
            Work::Message(_) | Work::Assembled(_) => unreachable!("a peer's requests are held by themselves"),
        }
    }

    /// The two numbers of the key it is about.
    fn hash(&self, node: &Node) -> KeyHash {
        match self {
            Work::Request(Request::Key(command), _) | Work::Message(Message::Request { command, .. }) => node.hash_of(command),
            Work::Message(Message::Mirror { change, .. }) => change.key().map_or_else(KeyHash::default, |key| node.hash(key)),
            Work::Request(Request::Admin(_), _) | Work::Denied(..) | Work::Login(..) => KeyHash::default(),
            Work::Answer(..) | Work::LastWord(_) | Work::Message(_) | Work::Assembled(_) => KeyHash::default(),
        }
    }
}

impl EventLoop {
    /// Poll says something about a connection.
    pub(super) fn on_socket_event(&mut self, token: usize, event: &Event, now: Now) {
        let Some(socket) = self.table.sockets.get_mut(token) else { return };
        if let Kind::Dialling(_) = socket.kind {
            return self.on_dial_event(token, now);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            socket.readable = true;
            socket.ending |= event.is_read_closed();
            self.ready.insert(token);
        }
        if event.is_writable() {
            self.table.unblock(token);
            self.dirty.insert(token);
        }
    }

    /// A dial has come to something, or not yet.
    fn on_dial_event(&mut self, token: usize, now: Now) {
        let Some(socket) = self.table.sockets.get_mut(token) else { return };
        let Kind::Dialling(member) = socket.kind else { return };
        let failed = match (socket.stream.take_error(), socket.stream.peer_addr()) {
            (Ok(Some(error)) | Err(error), _) => Some(error.kind()),
            (Ok(None), Ok(_)) => None,
            (Ok(None), Err(error)) if error.kind() == ErrorKind::NotConnected => return,
            (Ok(None), Err(error)) => Some(error.kind()),
        };
        if let Some(kind) = failed {
            self.table.close(token);
            let refused = kind == ErrorKind::ConnectionRefused; // a reset proves nothing about the process
            return self.with_node(|node, sink| node.on_dial_failed(now, member, refused, sink));
        }
        let link = LinkId(socket.name);
        socket.readable = true;
        self.table.is_link(token);
        self.ready.insert(token);
        self.with_node(|node, sink| node.on_dialled(now, member, link, sink));
    }

    /// Reads, parses and executes for every connection that is ready.
    pub(super) fn serve(&mut self, now: Now) {
        let ready = self.ready.take();
        let mut serving = Vec::with_capacity(ready.len());
        for token in ready {
            if self.fill(token, now) {
                serving.push(token);
            }
        }
        // What was read came before this moment, however long the process was stopped meanwhile: no lease is looked at earlier than what it answers.
        let now = if serving.is_empty() { now } else { self.clock.read() };
        let closing = self.parse_and_execute(&serving, now);
        for token in serving {
            self.settle(token);
        }
        for token in closing {
            self.close(token, now);
        }
    }

    /// Reads a connection once, if it may be read. False if there is nothing to parse.
    fn fill(&mut self, token: usize, now: Now) -> bool {
        let Some(socket) = self.table.sockets.get_mut(token) else { return false };
        if let Kind::Lingering { .. } = socket.kind {
            self.discard(token, now);
            return false;
        }
        let speaker = &mut self.table.speakers[token];
        let output = &self.table.outputs[token];
        let is_link = socket.kind == Kind::Link;
        if matches!(socket.kind, Kind::Dialling(_)) || self.farewell.is_some() && !is_link {
            return false;
        }
        // Answers are always taken, or two nodes would wait for each other; and heartbeats are always heard.
        let is_full = if is_link { speaker.held_bytes > MOST_HELD_BYTES } else { !has_room(output, &self.config.limits) };
        let waits = speaker.dialect.is_waiting() && output.owes();
        if is_full || waits {
            socket.paused = true;
            return false;
        }
        let wants_more = speaker.hungry || self.table.buffers[token].pending().is_empty();
        if socket.readable && !socket.ended && wants_more {
            match self.table.buffers[token].fill(&mut socket.stream, &mut self.table.read_pool) {
                Ok(filled) => {
                    let (count, more, ended) = match filled {
                        Filled::Drained(count) => (count, false, false),
                        Filled::More(count) => (count, true, false),
                        Filled::Ended(count) => (count, false, true),
                    };
                    socket.ended |= ended;
                    socket.readable = more || (socket.ending && !socket.ended);
                    socket.last_read = now.mono;
                    self.node.stats.bytes_read += count as u64;
                }
                Err(_) => {
                    self.close(token, now);
                    return false;
                }
            }
        }
        self.recognise(token, now.mono)
    }

    /// Reads a client that was told the last word, to no purpose but that it hears it.
    fn discard(&mut self, token: usize, now: Now) {
        match self.table.discard(token) {
            None => self.close(token, now),
            Some(true) => self.ready.insert(token),
            Some(false) => {}
        }
    }

    /// Tells by the first bytes who is at the other end. False as long as that cannot be told.
    fn recognise(&mut self, token: usize, now: Mono) -> bool {
        let socket = &mut self.table.sockets[token];
        let Kind::New { spare } = socket.kind else { return true };
        let sniffed = protocol::sniff(self.table.buffers[token].pending());
        let speaker = &mut self.table.speakers[token];
        speaker.dialect = match sniffed {
            Sniffed::Peer => {
                self.table.is_link(token);
                return true;
            }
            Sniffed::NotYet => {
                speaker.hungry = true;
                speaker.note_begun(!self.table.buffers[token].pending().is_empty(), 0, now);
                self.table.buffers[token].release(&mut self.table.read_pool);
                if socket.readable {
                    self.ready.insert(token);
                }
                if socket.ended {
                    speaker.ended = true;
                    self.dirty.insert(token);
                } else if !spare {
                    self.table.mark_spare(token, &self.config.limits);
                }
                return false;
            }
            Sniffed::Memcached => Dialect::Memcached(memcached::Parser::default()),
            Sniffed::Binary => Dialect::Binary(binary::Parser::default()),
            Sniffed::Http => Dialect::Http(http::Parser::new(visitor(socket, &self.hosts))),
            Sniffed::Resp => Dialect::Resp(Box::new(resp::Parser::new(socket.name, addresses(socket)))),
        };
        socket.kind = Kind::Client;
        self.table.outputs[token].limit_held(self.config.limits.max_output);
        if self.table.clients() > self.config.limits.max_connections {
            self.node.stats.rejected_connections += 1;
            let speaker = &mut self.table.speakers[token];
            self.table.outputs[token].say_last(speaker.dialect.too_many());
            speaker.ended = true;
            self.dirty.insert(token);
            return false;
        }
        true
    }

    /// The passes: parse all, prefetch all, execute all. Returns the links that made no sense.
    fn parse_and_execute(&mut self, serving: &[usize], now: Now) -> Vec<usize> {
        let table = &mut self.table;
        let mut broken = Vec::new();
        let mut batch = emptied(std::mem::take(&mut self.batch));
        for token in serving.iter().copied() {
            let (speaker, buffer) = (&mut table.speakers[token], &table.buffers[token]);
            if table.sockets[token].kind == Kind::Link {
                let is_trusted = self.node.trusts(LinkId(table.sockets[token].name));
                let max_message = if is_trusted { peer::max_message(self.config.limits.max_value) } else { peer::MAX_UNPROVEN };
                match collect_messages((token, now.mono), speaker, buffer, &mut table.outputs[token], max_message, &mut batch) {
                    Ok(false) => {}
                    Ok(true) => {
                        // What has been taken is told, or pieces that waited for that leave.
                        self.node.on_moved(now.mono);
                        self.dirty.insert(token);
                    }
                    Err(why) => {
                        warn!("closed the link with {}: {why}", other_end(&table.sockets[token]));
                        broken.push(token);
                    }
                }
            } else {
                speaker.dialect.set_clock(now.wall.0);
                table.outputs[token].take_heard().into_iter().for_each(|heard| speaker.dialect.hear(heard));
                collect_pieces(token, speaker, buffer, (&self.config.limits, &self.gate), now.mono, &mut batch);
            }
        }
        let mut has_long = false;
        for item in &mut batch {
            item.hash = item.work.hash(&self.node);
            has_long |= item.is_long();
        }
        let mut sink =
            Sink { table: (&mut table.outputs, &table.sockets, &mut table.write_pool), dirty: &mut self.dirty, orders: &mut self.orders };
        if has_long {
            let (urgent, rest) = batch.into_iter().partition(Item::is_urgent);
            batch = rest;
            let tokens = hear_first(urgent, &mut self.node, &mut table.speakers, &mut sink, now);
            if self.durability.lets_urgent_leave() && !self.orders.iter().any(|order| matches!(order, Order::Keep(_))) {
                tokens.iter().for_each(|token| send_urgent(&mut table.sockets[*token], &mut table.outputs[*token], now.mono));
            }
        }
        let mut sink =
            Sink { table: (&mut table.outputs, &table.sockets, &mut table.write_pool), dirty: &mut self.dirty, orders: &mut self.orders };
        let mut items = batch.drain(..);
        while !items.as_slice().is_empty() {
            let flock = items.len().min(PREFETCHED_TOGETHER);
            items.as_slice()[..flock].iter().for_each(|item| self.node.prefetch(item.hash));
            for item in items.by_ref().take(flock) {
                execute(item, &mut self.node, &mut table.speakers, &mut sink, now);
            }
        }
        drop(items);
        self.batch = emptied(batch);
        broken
    }

    /// Gives back what a connection no longer needs, and remembers it if it is not done.
    fn settle(&mut self, token: usize) {
        if !self.table.sockets.contains(token) {
            return;
        }
        let speaker = &mut self.table.speakers[token];
        let buffer = &mut self.table.buffers[token];
        buffer.consume(std::mem::take(&mut speaker.taken));
        if self.table.sockets[token].kind == Kind::Link {
            buffer.keep_room();
        } else {
            buffer.release(&mut self.table.read_pool);
        }
        if self.table.count_input(token, &self.config.limits) {
            self.node.stats.closed_crowded += 1;
            self.table.end_crowded(token);
            self.dirty.insert(token);
        }
        let (socket, speaker) = (&self.table.sockets[token], &self.table.speakers[token]);
        let may_have_more = !speaker.ended && (!speaker.hungry || socket.readable);
        let is_holding = speaker.is_holding();
        if may_have_more || is_holding && socket.kind != Kind::Link {
            self.node.stats.conn_yields += 1;
            self.ready.insert(token);
        }
        self.table.sockets[token].paused |= is_holding;
        let socket = &self.table.sockets[token];
        if socket.ended {
            self.dirty.insert(token);
        }
    }
}

/// A batch without items, in the memory of one that is done with: to collect in place keeps it.
fn emptied<'b>(mut batch: Vec<Item<'_>>) -> Vec<Item<'b>> {
    batch.clear();
    batch.shrink_to(KEPT_ITEMS);
    batch.into_iter().map(|_| -> Item<'b> { unreachable!("the batch is empty") }).collect()
}

/// Who has dialled whom.
fn addresses(socket: &Socket) -> Option<(SocketAddr, SocketAddr)> {
    socket.stream.peer_addr().ok().zip(socket.stream.local_addr().ok())
}

/// Who speaks HTTP on this socket.
fn visitor(socket: &Socket, hosts: &Arc<http::Hosts>) -> http::Visitor {
    let ip = |address: std::io::Result<SocketAddr>| address.ok().map(|address| address.ip());
    http::Visitor::new(Arc::clone(hosts), ip(socket.stream.peer_addr()), ip(socket.stream.local_addr()))
}

/// Parses what a client has sent, up to the turn's share.
fn collect_pieces<'a>(
    token: usize,
    speaker: &mut Speaker,
    buffer: &'a Buffer,
    (limits, gate): (&Limits, &Gate),
    now: Mono,
    batch: &mut Vec<Item<'a>>,
) {
    let mut add = |work| batch.push(Item { token, hash: KeyHash::default(), work });
    let held = std::mem::take(&mut speaker.held);
    let share = PIECES_A_TURN.saturating_sub(held.len());
    for work in held {
        add(work);
    }
    speaker.hungry = false;
    for _ in 0..share {
        if speaker.ended || speaker.dialect.is_waiting() {
            break;
        }
        let input = &buffer.pending()[speaker.taken..];
        match speaker.dialect.next(input, limits, speaker.pass.access()) {
            Parsed::Incomplete { in_command } => {
                speaker.hungry = true;
                speaker.note_begun(in_command, speaker.passed + input.len(), now);
                return;
            }
            Parsed::Request { consumed, request, form } => {
                speaker.on_piece(consumed);
                add(match speaker.pass.check(&request, &form) {
                    Ok(()) => Work::Request(request, form),
                    Err(failure) => Work::Denied(form, failure),
                });
            }
            Parsed::Login { .. } if speaker.pass.is_spent() => {
                speaker.ended = true;
                add(Work::LastWord(Cow::Borrowed(b"")));
            }
            Parsed::Login { consumed, password, form } => {
                speaker.on_piece(consumed);
                add(Work::Login(form, gate.log_in(&mut speaker.pass, &password)));
            }
            Parsed::Answer { consumed, bytes, group } => {
                speaker.on_piece(consumed);
                add(Work::Answer(bytes, group));
            }
            Parsed::Skip { consumed } => {
                speaker.taken += consumed;
                speaker.passed += consumed;
            }
            Parsed::Close { bytes } => {
                speaker.ended = true;
                add(Work::LastWord(bytes));
            }
        }
    }
    speaker.begun = None;
}

/// The address at the other end, for the log.
fn other_end(socket: &Socket) -> String {
    socket.stream.peer_addr().map_or_else(|_| "a peer that has gone".into(), |address| address.to_string())
}

/// Carries out one piece of work, or holds it back if its client does not read.
fn execute(item: Item<'_>, node: &mut Node, speakers: &mut [Speaker], sink: &mut Sink<'_>, now: Now) {
    let Item { token, hash, work } = item;
    let connection = sink.table.1[token].name;
    if matches!(work, Work::Message(_) | Work::Assembled(_)) {
        return hear(token, hash, work, node, speakers, sink, now);
    }
    if speakers[token].is_holding() || sink.table.0[token].unsent() >= HIGH_WATER {
        return speakers[token].held.push_back(work.to_owned());
    }
    sink.wake(token);
    match work {
        Work::Request(request, form) => {
            let slot = sink.table.0[token].begin(form);
            node.on_request(now, ClientId { connection, slot }, hash, &request, sink);
            sink.table.0[token].end();
        }
        Work::Denied(form, failure) => answer(token, form, &Reply::Failed(&failure), sink),
        Work::Login(form, outcome) => {
            node.stats.auth_cmds += 1;
            node.stats.auth_errors += u64::from(outcome.is_err());
            if let Some(form) = form {
                answer(token, form, &outcome.as_ref().map_or_else(Reply::Failed, |()| Reply::Done), sink);
            }
        }
        Work::Answer(bytes, group) => sink.table.0[token].say(&bytes, group),
        Work::LastWord(bytes) => sink.table.0[token].say_last(&bytes),
        Work::Message(_) | Work::Assembled(_) => {}
    }
}

/// Answers, in its turn, what the node was not asked.
fn answer(token: usize, form: Form, reply: &Reply<'_>, sink: &mut Sink<'_>) {
    let output = &mut sink.table.0[token];
    let slot = output.begin(form);
    output.answer(slot, b"", reply);
    output.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_upload_is_stalled_only_when_it_does_not_go_on() {
        let limits = Limits { max_value: 1 << 20, ..Config::default().limits };
        let gate = Gate::new("");
        let mut speaker = Speaker { dialect: Dialect::Http(http::Parser::default()), ..Speaker::with(gate.admit(true)) };
        let (mut buffer, mut pool) = (Buffer::default(), crate::communication::buffer::Pool::default());
        let mut hear = |mut bytes: &[u8], at: u64| {
            buffer.fill(&mut bytes, &mut pool).expect("a slice does not fail");
            collect_pieces(0, &mut speaker, &buffer, (&limits, &gate), Mono(at), &mut Vec::new());
            buffer.consume(std::mem::take(&mut speaker.taken));
            speaker.begun()
        };
        let head = b"PUT /k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
        assert_eq!(hear(head, 1), Some(Mono(1)));
        assert_eq!(hear(&[b'x'; 1_000], 2), Some(Mono(1)), "a trickle is no progress");
        assert_eq!(hear(&[b'x'; PROGRESS_BYTES], 3), Some(Mono(3)));
        assert_eq!(hear(&[b'x'; 1_000], 4), Some(Mono(3)));
    }
}
