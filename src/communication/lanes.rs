//! The two lanes of a link: what is urgent overtakes the rest, between two frames.
//!
//! ```text
//!   ordered:  ──sent──▶│ rest of a frame │ piece │ piece │ small │ small │ piece ...
//!   urgent:                              ▲ ping, pong
//! ```
//!
//! The frames of the ordered lane lie in the connection's [`Output`](super::connection::Output); this file knows the urgent lane, where in the
//! other one a frame ends, and what waits behind a large message. That one is cut into [pieces](super::peer::pieces) as they may leave, so
//! that it is in memory no more often than before it was said. A frame that has begun is finished first, in either lane.

use std::collections::VecDeque;

use super::peer::pieces::{Large, WINDOW, measure};

/// What is to be written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// So many bytes of the ordered lane.
    Ordered(usize),
    /// What may leave of the urgent one.
    Urgent,
}

/// The urgent lane, and what has to be known of the ordered one.
#[derive(Debug, Default)]
pub struct Lanes {
    urgent: Vec<u8>,
    sent: usize,
    /// How many bytes left before `urgent[0]`.
    base: u64,
    released: u64,
    /// What is unsent of the ordered lane's frame that has begun.
    rest: usize,
    /// The first large message, and what was said behind it.
    backlog: VecDeque<Waiting>,
    /// What the frames of the backlog take.
    backlog_bytes: usize,
    /// Bytes of pieces that were cut off, and that the other side does not say it has taken.
    ahead: usize,
}

/// What waits until a large message is cut.
#[derive(Debug)]
enum Waiting {
    Large(Large),
    Frames(Vec<u8>),
}

impl Lanes {
    /// The urgent lane, to be added to.
    pub fn urgent(&mut self) -> &mut Vec<u8> {
        &mut self.urgent
    }

    /// Adds a large message to the ordered lane.
    pub fn add_large(&mut self, large: Large) {
        self.backlog_bytes += large.bytes();
        self.backlog.push_back(Waiting::Large(large));
    }

    /// Adds frames to the ordered lane, if a large message waits there.
    pub fn frames_behind(&mut self, add: impl FnOnce(&mut Vec<u8>)) {
        if !matches!(self.backlog.back(), Some(Waiting::Frames(_))) {
            self.backlog.push_back(Waiting::Frames(Vec::new()));
        }
        if let Some(Waiting::Frames(frames)) = self.backlog.back_mut() {
            let before = frames.len();
            add(frames);
            self.backlog_bytes += frames.len() - before;
        }
    }

    /// Does a large message wait in the ordered lane?
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// What the frames of the backlog take on their way.
    #[must_use]
    pub fn backlog_bytes(&self) -> usize {
        self.backlog_bytes
    }

    /// The memory of the backlog that nothing shares.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        let own = |waiting: &Waiting| match waiting {
            Waiting::Large(large) => large.own_bytes(),
            Waiting::Frames(frames) => frames.capacity(),
        };
        self.backlog.iter().map(own).sum::<usize>() + self.urgent.capacity()
    }

    /// Moves the next of the backlog behind `output`: a piece, if it may leave, or the frames behind a message. False if nothing may.
    pub fn advance(&mut self, output: &mut Vec<u8>) -> bool {
        let before = output.len();
        let is_done = match self.backlog.front_mut() {
            None => return false,
            Some(Waiting::Large(_)) if self.ahead >= WINDOW => return false,
            Some(Waiting::Large(large)) => large.cut(output),
            Some(Waiting::Frames(frames)) => {
                output.append(frames);
                true
            }
        };
        let moved = output.len() - before;
        self.backlog_bytes -= moved;
        if matches!(self.backlog.front(), Some(Waiting::Large(_))) {
            self.ahead += moved;
        }
        if is_done {
            self.backlog.pop_front();
        }
        true
    }

    /// The other side has taken so many bytes of pieces.
    pub fn on_taken(&mut self, bytes: usize) {
        self.ahead = self.ahead.saturating_sub(bytes);
    }

    /// Does the ordered lane wait for that?
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.has_backlog() && self.ahead >= WINDOW
    }

    /// Unsent bytes of the urgent lane.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.urgent.len() - self.sent
    }

    /// The urgent lane's bytes so far, sent or not.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.base + self.urgent.len() as u64
    }

    /// What is urgent and before `position` may leave.
    pub fn release(&mut self, position: u64) {
        self.released = self.released.max(position);
    }

    /// The bytes of the urgent lane that may leave.
    #[must_use]
    pub fn sendable(&self) -> &[u8] {
        let end = (self.released - self.base) as usize;
        &self.urgent[self.sent..end.max(self.sent)]
    }

    /// What comes next, if this is what may leave of the ordered lane?
    #[must_use]
    pub fn next(&self, ordered: &[u8]) -> Next {
        let has_urgent = !self.sendable().is_empty();
        if has_urgent && (self.rest == 0 || self.sent > 0) {
            Next::Urgent
        } else if has_urgent {
            Next::Ordered(self.rest.min(ordered.len()))
        } else {
            Next::Ordered(ordered.len())
        }
    }

    /// `count` bytes of the urgent lane have left.
    pub fn on_urgent_sent(&mut self, count: usize) {
        self.sent += count;
        if self.sendable().is_empty() {
            self.base += self.sent as u64;
            self.urgent.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// `count` bytes have left of the ordered lane, which began with these.
    pub fn on_ordered_sent(&mut self, ordered: &[u8], count: usize) {
        let mut at = 0;
        while at < count {
            if self.rest == 0 {
                self.rest = measure(&ordered[at..]);
            }
            let passed = self.rest.min(count - at);
            self.rest -= passed;
            at += passed;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use crate::caching::Version;
    use crate::communication::connection::Output;
    use crate::communication::peer::pieces::{Assembled, Assembly, WINDOW};
    use crate::communication::peer::{self, Frame};
    use crate::node::message::{Change, Content, Message, Pulse};
    use crate::topology::view::ViewId;

    fn ping(number: u64) -> Message<'static> {
        Message::Ping { number, pulse: Pulse::default() }
    }

    fn mirror(number: u64, length: usize) -> Message<'static> {
        let (key, value) = (Cow::Borrowed(&b"k"[..]), Content::Shared(vec![number as u8; length].into()));
        let change = Change::Put { key, value, flags: 0, extra: Cow::Borrowed(b""), ttl_ms: None, version: Version(1) };
        Message::Mirror { view: ViewId::default(), number, done: 0, tag: None, change }
    }

    fn mirrored(number: u64) -> Message<'static> {
        Message::Mirrored { view: ViewId::default(), number }
    }

    fn release(output: &mut Output) {
        output.release(output.position());
        output.release_urgent(output.urgent_position());
    }

    /// A link's other end: what it has heard, in words.
    #[derive(Default)]
    struct Listener {
        input: Vec<u8>,
        assembly: Assembly,
        heard: Vec<String>,
        pieces: usize,
    }

    impl Listener {
        /// Takes what the socket takes at once; false if there is nothing.
        fn take(&mut self, output: &mut Output, most: usize) -> bool {
            output.advance();
            let count = output.sendable().len().min(most);
            self.input.extend_from_slice(&output.sendable()[..count]);
            output.sent(count);
            self.read();
            count > 0
        }

        fn read(&mut self) {
            loop {
                let consumed = match peer::next_frame(&self.input) {
                    Frame::Whole { consumed, message } => {
                        self.heard.push(word(&message));
                        consumed
                    }
                    Frame::Piece { consumed, bytes, is_last } => {
                        self.pieces += consumed;
                        if let Some(Assembled::Whole(bytes)) = self.assembly.take(bytes, is_last, usize::MAX) {
                            self.heard.push(word(&peer::read(&bytes).expect("a message")));
                        }
                        consumed
                    }
                    Frame::Incomplete => return,
                    frame => panic!("{frame:?}"),
                };
                self.input.drain(..consumed);
            }
        }
    }

    fn word(message: &Message<'_>) -> String {
        match message {
            Message::Ping { number, .. } => format!("ping {number}"),
            Message::Mirror { number, .. } => format!("mirror {number}"),
            Message::Mirrored { number, .. } => format!("mirrored {number}"),
            message => panic!("{message:?}"),
        }
    }

    #[test]
    fn what_is_urgent_goes_between_two_pieces_and_everything_else_keeps_its_order() {
        for most in [1_000, 70_000, usize::MAX] {
            let (mut output, mut listener) = (Output::default(), Listener::default());
            for message in [mirrored(1), mirror(2, 3 << 20), mirrored(3), mirror(4, 200_000), mirrored(5), mirrored(6)] {
                output.send(&message);
            }
            release(&mut output);
            for _ in 0..50 {
                listener.take(&mut output, most);
            }
            assert_eq!(listener.heard, ["mirrored 1"], "the large one waits to be taken");
            output.send(&ping(7));
            output.send(&ping(8));
            release(&mut output);
            while listener.take(&mut output, most) {}
            assert_eq!(listener.heard, ["mirrored 1", "ping 7", "ping 8"]);
            while let Some(taken) = listener.assembly.tell() {
                output.on_taken(taken);
                while listener.take(&mut output, most) {}
            }
            assert_eq!(listener.heard[3..], ["mirror 2", "mirrored 3", "mirror 4", "mirrored 5", "mirrored 6"]);
            assert_eq!((output.unsent(), output.is_ahead()), (0, false));
        }
    }

    #[test]
    fn a_sender_is_no_further_ahead_than_the_receiver_has_room_for() {
        let (mut output, mut listener) = (Output::default(), Listener::default());
        output.send(&mirror(1, 8 << 20));
        release(&mut output);
        let mut taken = 0;
        while listener.heard.is_empty() {
            while listener.take(&mut output, usize::MAX) {}
            assert!(listener.pieces - taken <= WINDOW + (WINDOW >> 3), "{} bytes", listener.pieces - taken);
            assert!(output.is_ahead() || !listener.heard.is_empty());
            assert!(output.capacity() < 2 * WINDOW, "the value is not copied as a whole");
            let told = listener.assembly.tell().expect("it has taken some");
            output.on_taken(told);
            taken += told;
        }
    }

    #[test]
    fn what_is_not_released_stays_also_behind_a_large_message() {
        let (mut output, mut listener) = (Output::default(), Listener::default());
        output.send(&mirror(1, 100_000));
        let position = output.position();
        output.send(&mirrored(2));
        output.send(&ping(3));
        output.release(position);
        while listener.take(&mut output, usize::MAX) {}
        assert_eq!(listener.heard, ["mirror 1"]);
        output.release_urgent(output.urgent_position());
        while listener.take(&mut output, usize::MAX) {}
        output.release(output.position());
        while listener.take(&mut output, usize::MAX) {}
        assert_eq!(listener.heard, ["mirror 1", "ping 3", "mirrored 2"]);
    }
}
