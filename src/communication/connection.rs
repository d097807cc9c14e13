//! What a connection is owed, in the order in which it was asked.
//!
//! Most requests are answered while they are carried out: their reply goes straight into the output. A request that another node has to
//! answer leaves a hole, and everything behind it waits its turn in a queue, so that pipelined replies keep their order:
//!
//! ```text
//!   asked:   get a   get b        get c   get d
//!   owed:    sent    ┌─ hole ──┐  ready   ready
//!                    b's owner ─▶ fills it, and all three leave
//! ```
//!
//! Pieces of a group (`get a b c`) are bound together: if one fails, its error takes the place of the rest of the group. Where that would leave
//! half of an array (`MGET a b c`), the pieces are held back until all are there, and the error takes the place of all of them. What is held
//! back cannot leave, however fast its client reads: past a limit of its own, an error takes its place.
//!
//! The output counts its bytes from the connection's beginning. With `sync = "always"` only the part before `released` may leave: what
//! acknowledges a write waits until the write is on disk.

use std::collections::VecDeque;

use super::lanes::{Lanes, Next};
use super::peer;
use super::protocol::{Composed, Form, Group, Heard};
use crate::node::message::Message;
use crate::node::reply::{Failure, Reply};

/// Unsent bytes past which a connection is asked no more and read from no more.
pub const HIGH_WATER: usize = 1 << 20;
/// The capacity up to which an output buffer is kept for the next reply.
const KEPT_CAPACITY: usize = 64 << 10;
/// The same for a link, which keeps its own: what all clients have asked in a turn goes over it.
const KEPT_BY_LINK: usize = 256 << 10;
/// Pieces of large messages are cut until so much of them, and of what is said behind them, can be sent.
const CUT_AHEAD: usize = 256 << 10;
/// Most empty output buffers kept for the next reply.
const POOLED: usize = 256;

/// The bytes on their way to a client or a peer, and the replies that are still owed before more may be added.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
    /// How many bytes left before `bytes[0]`.
    base: u64,
    released: u64,
    replies: Replies,
    /// Of a link.
    lanes: Option<Box<Lanes>>,
    /// What the parser has not yet been told.
    heard: Vec<Heard>,
}

/// The replies owed to a client.
#[derive(Debug, Default)]
struct Replies {
    owed: VecDeque<Piece>,
    owed_bytes: usize,
    /// The number of the next request of this connection.
    next: u64,
    /// The form of the request that is being carried out, until it is answered.
    current: Option<Form>,
    /// An error has taken the place of the rest of a group, or of all of it.
    dropping: bool,
    /// Pieces of a group that leave together, once all are there.
    held: Vec<u8>,
    /// Most bytes of them.
    most_held: Option<usize>,
    /// The connection closes once everything owed so far is sent; nothing is added any more.
    closing: bool,
}

#[derive(Debug)]
struct Piece {
    group: Group,
    composed: Composed,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting(Form),
    Ready(Vec<u8>),
}

/// What is said in place of a reply of which too much would wait for its rest.
const TOO_MUCH: &str = "the reply would be larger than limits.max_output";

const PLAIN: Composed = Composed { failed: false, close: false };

impl Output {
    /// What waits for the rest of its group takes no more than so many bytes.
    pub fn limit_held(&mut self, most: usize) {
        self.replies.most_held = Some(most);
    }

    /// A request is about to be carried out; its replies carry the number returned.
    pub fn begin(&mut self, form: Form) -> u64 {
        self.replies.current = Some(form);
        self.replies.next
    }

    /// The request has been carried out: if it was not answered, it is owed from now on.
    pub fn end(&mut self) {
        if let Some(form) = self.replies.current.take()
            && !self.replies.closing
        {
            let state = State::Waiting(form);
            self.replies.owed.push_back(Piece { group: form.group(), composed: PLAIN, state });
        }
        self.replies.next += 1;
    }

    /// The reply to the request of this number.
    pub fn answer(&mut self, number: u64, key: &[u8], reply: &Reply<'_>) {
        let Some((form, index)) = self.replies.asked(number) else { return };
        self.heard.extend(form.heard(reply));
        if self.replies.is_too_much(form, reply) {
            return self.answer_in(form, index, key, &Reply::Failed(&Failure::Refused(TOO_MUCH.into())));
        }
        self.answer_in(form, index, key, reply);
    }

    /// The reply to a request: to the one that is being carried out, or to one that is owed.
    fn answer_in(&mut self, form: Form, index: Option<usize>, key: &[u8], reply: &Reply<'_>) {
        let Some(index) = index else {
            self.replies.current = None;
            return self.add(form.group(), |output| form.compose(key, reply, output));
        };
        if index == 0 {
            self.replies.owed.pop_front();
            self.put(form.group(), |output| form.compose(key, reply, output));
            return self.drain();
        }
        let mut bytes = Vec::new();
        let piece = &mut self.replies.owed[index];
        piece.composed = form.compose(key, reply, &mut bytes);
        self.replies.owed_bytes += bytes.len();
        piece.state = State::Ready(bytes);
    }

    /// What has come of requests that a parser wants to hear of, since the last time.
    pub fn take_heard(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.heard)
    }

    /// Adds what the dialect answers by itself; it takes a number like any reply.
    pub fn say(&mut self, bytes: &[u8], group: Group) {
        self.add(group, |output| {
            output.extend_from_slice(bytes);
            PLAIN
        });
        self.replies.next += 1;
    }

    /// Adds a last word; the connection closes once it is sent.
    pub fn say_last(&mut self, bytes: &[u8]) {
        self.add(Group::Alone, |output| {
            output.extend_from_slice(bytes);
            Composed { failed: false, close: true }
        });
        self.replies.next += 1;
    }

    /// Adds what is said to a peer, in its lane.
    pub fn send(&mut self, message: &Message<'_>) {
        let lanes = self.lanes.get_or_insert_default();
        if message.is_urgent() {
            peer::compose(message, lanes.urgent());
            return;
        }
        let mut large = None;
        if lanes.has_backlog() {
            lanes.frames_behind(|frames| large = peer::compose(message, frames));
        } else {
            large = peer::compose(message, &mut self.bytes);
        }
        if let Some(large) = large {
            lanes.add_large(large);
        }
    }

    /// Cuts so much of large messages that something can leave, if it may.
    pub fn advance(&mut self) {
        while let Some(lanes) = &mut self.lanes
            && self.bytes.len() - self.sent < CUT_AHEAD
            && lanes.advance(&mut self.bytes)
        {}
    }

    /// Tells a peer that so many bytes of its pieces were taken.
    pub fn tell_taken(&mut self, bytes: usize) {
        let lanes = self.lanes.get_or_insert_default();
        lanes.urgent().extend_from_slice(&peer::pieces::taken(bytes));
    }

    /// A peer has taken so many bytes of the pieces that were sent to it.
    pub fn on_taken(&mut self, bytes: usize) {
        self.lanes.get_or_insert_default().on_taken(bytes);
    }

    /// Is there something to send, and nothing of it may leave before the peer has taken what was sent?
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.lanes.as_ref().is_some_and(|lanes| lanes.is_ahead()) && self.sendable().is_empty()
    }

    /// Does the connection close once everything owed is sent?
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.replies.closing
    }

    /// Is a reply owed that is not there yet?
    #[must_use]
    pub fn owes(&self) -> bool {
        !self.replies.owed.is_empty()
    }

    /// How many replies are owed.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.replies.owed.len()
    }

    /// Bytes that are composed and not sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        let lanes = self.lanes.as_ref().map_or(0, |lanes| lanes.unsent() + lanes.backlog_bytes());
        self.bytes.len() - self.sent + lanes + self.replies.owed_bytes
    }

    /// Bytes that wait for the rest of their group. They do not count as unsent: who is not asked for more would wait for ever.
    #[must_use]
    pub fn held(&self) -> usize {
        self.replies.held.len()
    }

    /// Bytes this output occupies.
    #[must_use]
    pub fn capacity(&self) -> usize {
        let lanes = self.lanes.as_ref().map_or(0, |lanes| lanes.own_bytes());
        self.bytes.capacity() + lanes + self.replies.owed_bytes + self.replies.held.capacity()
    }

    /// The connection's bytes so far, sent or not.
    #[must_use]
    pub fn position(&self) -> u64 {
        let backlog = self.lanes.as_ref().map_or(0, |lanes| lanes.backlog_bytes());
        self.base + (self.bytes.len() + backlog) as u64
    }

    /// Everything before `position` may leave.
    pub fn release(&mut self, position: u64) {
        self.released = self.released.max(position);
    }

    /// The bytes so far of what overtakes, sent or not.
    #[must_use]
    pub fn urgent_position(&self) -> u64 {
        self.lanes.as_ref().map_or(0, |lanes| lanes.position())
    }

    /// What overtakes and is before `position` may leave.
    pub fn release_urgent(&mut self, position: u64) {
        if let Some(lanes) = &mut self.lanes {
            lanes.release(position);
        }
    }

    /// The bytes that leave next, if they may.
    #[must_use]
    pub fn sendable(&self) -> &[u8] {
        let ordered = self.ordered();
        let Some(lanes) = &self.lanes else { return ordered };
        match lanes.next(ordered) {
            Next::Urgent => lanes.sendable(),
            Next::Ordered(count) => &ordered[..count],
        }
    }

    /// What was [released](Output::release) of the bytes that keep their order.
    fn ordered(&self) -> &[u8] {
        &self.bytes[self.sent..self.released_end()]
    }

    /// Where that ends. What was released and waits in the backlog is not here yet.
    fn released_end(&self) -> usize {
        ((self.released - self.base) as usize).clamp(self.sent, self.bytes.len())
    }

    /// `count` bytes of what was sendable have left.
    pub fn sent(&mut self, count: usize) {
        assert!(count <= self.sendable().len(), "more was sent than there was");
        let ordered = &self.bytes[self.sent..self.released_end()];
        if let Some(lanes) = &mut self.lanes {
            if lanes.next(ordered) == Next::Urgent {
                return lanes.on_urgent_sent(count);
            }
            lanes.on_ordered_sent(ordered, count);
        }
        self.sent += count;
        // A client that always leaves a rest must not cost what it has read. Moving the rest pays when it is the smaller part.
        if 2 * self.sent >= self.bytes.len() {
            self.base += self.sent as u64;
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Gets an empty buffer from the pool of its kind, if it has none; [`Output::rest`] gives it back.
    pub fn wake(&mut self, pool: &mut Vec<Vec<u8>>) {
        if self.bytes.capacity() == 0
            && let Some(bytes) = pool.pop()
        {
            self.bytes = bytes;
        }
    }

    /// Gives the buffer back if it is empty, and its memory if it has grown.
    pub fn rest(&mut self, pool: &mut Vec<Vec<u8>>) {
        if self.bytes.is_empty() && self.bytes.capacity() > 0 {
            let bytes = std::mem::take(&mut self.bytes);
            if bytes.capacity() <= KEPT_CAPACITY && pool.len() < POOLED {
                pool.push(bytes);
            }
        }
    }

    /// Lets go of the buffer only if it is empty and has grown beyond what the next turn will need.
    pub fn keep_room(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BY_LINK {
            self.bytes = Vec::new();
        }
    }

    /// Adds a piece: to the output if nothing is owed before it, else to the queue.
    fn add(&mut self, group: Group, compose: impl FnOnce(&mut Vec<u8>) -> Composed) {
        if self.replies.closing {
            return;
        }
        if self.replies.owed.is_empty() {
            return self.put(group, compose);
        }
        let mut bytes = Vec::new();
        let composed = compose(&mut bytes);
        self.replies.owed_bytes += bytes.len();
        self.replies.owed.push_back(Piece { group, composed, state: State::Ready(bytes) });
    }

    /// Moves what is ready from the front of the queue to the output.
    fn drain(&mut self) {
        while let Some(Piece { state: State::Ready(_), .. }) = self.replies.owed.front() {
            let Some(Piece { group, composed, state: State::Ready(bytes) }) = self.replies.owed.pop_front() else { return };
            self.replies.owed_bytes -= bytes.len();
            self.put(group, |output| {
                output.extend_from_slice(&bytes);
                composed
            });
        }
    }

    /// Puts a piece that nothing is owed before where it belongs, unless an error has taken its place.
    fn put(&mut self, group: Group, compose: impl FnOnce(&mut Vec<u8>) -> Composed) {
        match group {
            Group::Member | Group::Part if self.replies.dropping => {}
            Group::Last if self.replies.dropping => self.replies.dropping = false,
            Group::Alone | Group::Member | Group::Last => {
                let composed = compose(&mut self.bytes);
                self.replies.note(group, composed);
            }
            Group::Part => self.replies.hold(compose),
            Group::Whole | Group::Sum => self.end_held(group, compose),
        }
    }

    /// What was held back leaves: all of it, or how much it was, or the error that took its place.
    fn end_held(&mut self, group: Group, compose: impl FnOnce(&mut Vec<u8>) -> Composed) {
        let mut held = std::mem::take(&mut self.replies.held);
        let failed = std::mem::take(&mut self.replies.dropping);
        if failed || group == Group::Whole {
            self.bytes.extend_from_slice(&held);
        }
        if !failed {
            let composed = compose(&mut self.bytes);
            if group == Group::Sum {
                self.bytes.extend_from_slice(itoa::Buffer::new().format(held.len()).as_bytes());
                self.bytes.extend_from_slice(b"\r\n");
            }
            self.replies.note(group, composed);
        }
        if held.capacity() <= KEPT_CAPACITY {
            held.clear();
            self.replies.held = held;
        }
    }
}

impl Replies {
    /// How the reply to the request of this number is to be written, if nobody has answered it, and its place among what is owed; none for the
    /// one that is being carried out.
    fn asked(&self, number: u64) -> Option<(Form, Option<usize>)> {
        if number == self.next {
            return self.current.map(|form| (form, None));
        }
        let index = self.owed.len().checked_sub((self.next - number) as usize)?;
        match self.owed.get(index)?.state {
            State::Waiting(form) => Some((form, Some(index))),
            State::Ready(_) => None,
        }
    }

    /// Would this reply be held back, beside too much?
    fn is_too_much(&self, form: Form, reply: &Reply<'_>) -> bool {
        let Reply::Value(value) = reply else { return false };
        form.group() == Group::Part && self.most_held.is_some_and(|most| self.held.len() + self.owed_bytes + value.bytes.len() > most)
    }

    /// Holds a piece back until its group is whole. An error takes the place of all that is held.
    fn hold(&mut self, compose: impl FnOnce(&mut Vec<u8>) -> Composed) {
        let before = self.held.len();
        let composed = compose(&mut self.held);
        if composed.failed {
            self.held.drain(..before);
            self.dropping = true;
        }
    }

    /// A piece has been added to the output: what does it mean for those behind it? Behind a last word nothing is owed.
    fn note(&mut self, group: Group, composed: Composed) {
        self.dropping = composed.failed && group == Group::Member;
        self.closing |= composed.close;
        if self.closing {
            self.owed.clear();
            self.owed_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caching::Version;
    use crate::communication::access::Access;
    use crate::communication::protocol::{Dialect, Parsed};
    use crate::communication::{memcached, resp};
    use crate::config::Config;
    use crate::node::reply::{Details, Value};

    /// The forms of a `get` line's pieces: one for each key, then the bytes that end the group.
    fn forms(line: &str) -> (Vec<Form>, Vec<u8>) {
        let limits = Config::default().limits;
        let mut dialect = Dialect::Memcached(memcached::Parser::default());
        let (mut at, mut forms) = (0, Vec::new());
        loop {
            match dialect.next(&line.as_bytes()[at..], &limits, Access::Open) {
                Parsed::Request { consumed, form, .. } => {
                    at += consumed;
                    forms.push(form);
                }
                Parsed::Answer { bytes, group: Group::Last, .. } => return (forms, bytes.into_owned()),
                _ => return (forms, Vec::new()),
            }
        }
    }

    fn value(bytes: &[u8]) -> Reply<'_> {
        Reply::Value(Value { bytes, flags: 0, version: Version(1), ttl_ms: None, details: Details::default() })
    }

    fn text(output: &mut Output) -> String {
        output.release(output.position());
        String::from_utf8(output.sendable().to_vec()).expect("the replies are text")
    }

    #[test]
    fn replies_keep_the_order_of_the_requests_whenever_they_come() {
        let mut output = Output::default();
        let form = forms("get k\r\n").0[0];
        let numbers: Vec<u64> = (0..4)
            .map(|index| {
                let number = output.begin(form);
                if index % 2 == 1 {
                    output.answer(number, b"k", &value(b"here"));
                }
                output.end();
                number
            })
            .collect();
        assert_eq!(text(&mut output), "");
        output.answer(numbers[2], b"k", &value(b"third"));
        assert_eq!(text(&mut output), "");
        output.answer(numbers[0], b"k", &value(b"first"));
        let whole: String = ["first", "here", "third", "here"].iter().map(|v| format!("VALUE k 0 {}\r\n{v}\r\nEND\r\n", v.len())).collect();
        assert_eq!(text(&mut output), whole);
        assert!(!output.owes());
        output.answer(numbers[1], b"k", &value(b"again"));
        assert_eq!(text(&mut output), whole, "a request is answered once");
    }

    #[test]
    fn an_error_takes_the_place_of_the_rest_of_its_group() {
        let mut output = Output::default();
        let (pieces, last) = forms("get a b c\r\n");
        assert_eq!(pieces.len(), 3);
        let numbers: Vec<u64> = pieces
            .iter()
            .map(|form| {
                let number = output.begin(*form);
                output.end();
                number
            })
            .collect();
        output.say(&last, Group::Last);
        output.say(b"next\r\n", Group::Alone);
        output.answer(numbers[2], b"c", &value(b"3"));
        output.answer(numbers[1], b"b", &Reply::Failed(&Failure::Unreachable));
        output.answer(numbers[0], b"a", &value(b"1"));
        let said = text(&mut output);
        assert!(said.starts_with("VALUE a 0 1\r\n1\r\nSERVER_ERROR "), "{said}");
        assert!(said.ends_with("\r\nnext\r\n") && !said.contains("END") && !said.contains("VALUE c"), "{said}");
    }

    /// What is said, in order, and the answers that come later.
    fn said_in_group(last: Group, pieces: &[(&[u8], bool)]) -> String {
        let mut output = Output::default();
        for (bytes, failed) in pieces {
            output.add(Group::Part, |held| {
                held.extend_from_slice(bytes);
                Composed { failed: *failed, close: false }
            });
            assert_eq!(text(&mut output), "", "nothing leaves before all are there");
        }
        output.say(b":", last);
        output.say(b"next", Group::Alone);
        text(&mut output)
    }

    #[test]
    fn what_is_held_back_leaves_whole_or_as_its_error_or_as_its_sum() {
        assert_eq!(said_in_group(Group::Whole, &[(b"a", false), (b"b", false)]), "ab:next");
        assert_eq!(said_in_group(Group::Whole, &[(b"a", false), (b"-no", true), (b"b", false)]), "-nonext");
        assert_eq!(said_in_group(Group::Sum, &[(b"1", false), (b"", false), (b"1", false)]), ":2\r\nnext");
        assert_eq!(said_in_group(Group::Sum, &[(b"1", false), (b"-no", true)]), "-nonext");
        assert_eq!(said_in_group(Group::Sum, &[]), ":0\r\nnext");
    }

    #[test]
    fn what_is_held_back_is_bounded_whether_answered_here_or_elsewhere() {
        let limits = Config::default().limits;
        let input = b"*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n";
        for elsewhere in [false, true] {
            let mut dialect = Dialect::Resp(Box::new(resp::Parser::new(1, None)));
            let (mut output, mut at, mut owed) = (Output::default(), 0, Vec::new());
            output.limit_held(25);
            loop {
                match dialect.next(&input[at..], &limits, Access::Open) {
                    Parsed::Request { consumed, form, .. } => {
                        at += consumed;
                        owed.push(output.begin(form));
                        if !elsewhere {
                            output.answer(owed.pop().expect("it was asked"), b"", &value(b"ten bytes."));
                        }
                        output.end();
                    }
                    Parsed::Answer { consumed, bytes, group } => {
                        at += consumed;
                        output.say(&bytes, group);
                    }
                    _ => break,
                }
            }
            owed.iter().rev().for_each(|number| output.answer(*number, b"", &value(b"ten bytes.")));
            output.say(b"+PONG\r\n", Group::Alone);
            assert_eq!(text(&mut output), "-ERR the reply would be larger than limits.max_output\r\n+PONG\r\n");
            assert_eq!((output.held(), output.owes()), (0, false));
        }
    }

    #[test]
    fn nothing_follows_a_last_word() {
        let mut output = Output::default();
        output.say(b"one\r\n", Group::Alone);
        output.say_last(b"last\r\n");
        output.say(b"more\r\n", Group::Alone);
        assert_eq!(text(&mut output), "one\r\nlast\r\n");
        assert!(output.is_closing());
    }

    #[test]
    fn behind_a_last_word_nothing_is_owed() {
        let mut output = Output::default();
        let form = forms("get k\r\n").0[0];
        let first = output.begin(form);
        output.end();
        output.say_last(b"last\r\n");
        let behind = output.begin(form);
        output.end();
        output.say(b"more\r\n", Group::Alone);
        output.answer(first, b"k", &Reply::Miss);
        output.answer(behind, b"k", &Reply::Miss);
        assert_eq!(text(&mut output), "END\r\nlast\r\n");
        assert_eq!((output.owes(), output.unsent()), (false, 11), "it can close");
    }

    #[test]
    fn a_client_that_always_leaves_a_rest_costs_only_the_rest() {
        let mut output = Output::default();
        output.say(&[b'x'; 1_000], Group::Alone);
        for _ in 0..1_000 {
            output.say(&[b'x'; 1_000], Group::Alone);
            output.release(output.position());
            output.sent(1_000);
        }
        assert_eq!((output.unsent(), output.position()), (1_000, 1_001_000));
        assert!(output.capacity() < 10_000, "{}", output.capacity());
    }

    #[test]
    fn only_what_is_released_may_leave() {
        let mut output = Output::default();
        output.say(b"first", Group::Alone);
        let synced = output.position();
        output.say(b"second", Group::Alone);
        assert_eq!(output.sendable(), b"");
        output.release(synced);
        assert_eq!(output.sendable(), b"first");
        output.sent(5);
        output.release(output.position());
        assert_eq!(output.sendable(), b"second");
        output.sent(6);
        assert_eq!((output.unsent(), output.position()), (0, 11));
    }
}
