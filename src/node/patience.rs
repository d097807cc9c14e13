//! How long a request waits for another node: for as long as that one is busy with large values.
//!
//! A value of many megabytes may be longer on its way than `request_timeout_ms`, and what is behind it on a link or in the journal waits with
//! it. So a node says with its pulse that bytes of large values *move* there, and who waits for an answer of such a node counts the timeout
//! from when it has last said so; and so does who waits for this one. Bytes that move come to an end, and those of a link that hangs do
//! not move: everybody is answered.
//!
//! The driver tells what has moved; heartbeats overtake what moves, so the word of it is not late. Nothing but patience rests on it:
//! neither a lease nor who is held for silent.

use super::message::Pulse;
use super::requests::{Parked, Waiting};
use super::{Node, Outputs};
use crate::time::Mono;
use crate::topology::MemberId;

/// What has moved within so many heartbeats moves.
const HEARTBEATS: u64 = 3;

/// Who has said when that bytes move.
#[derive(Debug, Default)]
pub struct Patience {
    /// When they did here.
    moved_at: Option<Mono>,
    /// When each member last said so.
    heard: Vec<Option<Mono>>,
}

impl Patience {
    fn hear(&mut self, member: MemberId, now: Mono) {
        if self.heard.len() <= member.index() {
            self.heard.resize(member.index() + 1, None);
        }
        self.heard[member.index()] = Some(now);
    }

    /// Until when a request that takes so long at most waits for this member, from what it has said.
    #[must_use]
    pub fn until(&self, member: MemberId, timeout_ms: u64) -> Mono {
        let heard = self.heard.get(member.index()).copied().flatten();
        let moved = if member == MemberId::ME { self.moved_at } else { heard };
        moved.map_or(Mono(0), |moved| moved.plus(timeout_ms))
    }
}

impl Node {
    /// Bytes of a large value have moved on a link, to or from this node, or to its journal.
    pub fn on_moved(&mut self, now: Mono) {
        self.patience.moved_at = Some(now);
    }

    /// Do bytes move here?
    pub(super) fn moves(&self, now: Mono) -> bool {
        let within_ms = HEARTBEATS * self.settings.pace.every_ms;
        self.patience.moved_at.is_some_and(|moved| now.since(moved) < within_ms)
    }

    pub(super) fn hear_of_moves(&mut self, member: MemberId, pulse: &Pulse, now: Mono) {
        if pulse.moves {
            self.patience.hear(member, now);
        }
    }

    /// Whose deadline has passed is told so, unless bytes move where it waits.
    pub(super) fn answer_overdue(&mut self, now: Mono, out: &mut dyn Outputs) {
        let (patience, timeout_ms) = (&self.patience, self.settings.request_timeout_ms);
        let until = |parked: &Parked| match &parked.waiting {
            Waiting::Owner(forwarded) => patience.until(if forwarded.sent { forwarded.owner } else { MemberId::ME }, timeout_ms),
            _ => Mono(0),
        };
        for parked in self.requests.take_overdue(now, until) {
            self.give_up_overdue(parked, now, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::KeyHash;
    use crate::node::command::{Command, Request};
    use crate::node::message::{Introduction, Message, PROTOCOL_VERSION};
    use crate::node::reply::Reply;
    use crate::node::testing::{at, card, settings};
    use crate::node::{ClientId, Settings};
    use crate::time::Now;
    use crate::topology::peers::LinkId;
    use std::net::SocketAddr;

    #[derive(Default)]
    struct Told(Vec<String>);

    impl Outputs for Told {
        fn reply(&mut self, _client: ClientId, _key: &[u8], reply: &Reply<'_>) {
            self.0.push(format!("{reply:?}"));
        }
        fn send(&mut self, _link: LinkId, _message: &Message<'_>) {}
        fn dial(&mut self, _member: MemberId, _address: SocketAddr) {}
        fn hang_up(&mut self, _link: LinkId) {}
        fn replay(&mut self) {}
        fn keep(&mut self, _view: &[u8]) {}
    }

    /// Two nodes, not mirrored, of which this one is linked to the other; and the hash of a key that the other owns.
    fn linked(out: &mut Told) -> (Node, KeyHash) {
        let settings = Settings { peers: vec![card(8002, 0).address], ..settings(card(8001, 1)) };
        let mut node = Node::new(settings, None, None, at(1_000));
        node.on_tick(at(1_000), out);
        node.on_dialled(at(1_000), MemberId(1), LinkId(9), out);
        let introduction =
            Introduction { protocol: PROTOCOL_VERSION, pool: "pool".into(), me: card(8002, 7), others: Vec::new(), copies: node.copies() };
        node.on_message(at(1_000), LinkId(9), &Message::Welcome(introduction), out);
        let hash = (0..1_000u32).map(|n| node.hash(&n.to_be_bytes())).find(|hash| node.membership.owner(hash.place) == Some(MemberId(1)));
        (node, hash.expect("it has its share"))
    }

    fn hear(node: &mut Node, now: Now, moves: bool, out: &mut Told) {
        let pulse = Pulse { life: 7, number: now.mono.0, moves, ..Pulse::default() };
        node.on_message(now, LinkId(9), &Message::Pong { number: 0, grant: None, pulse }, out);
        node.on_tick(now, out);
    }

    #[test]
    fn who_waits_for_a_node_on_whose_links_bytes_move_is_answered_a_timeout_after_they_have_stopped() {
        let mut out = Told::default();
        let (mut node, hash) = linked(&mut out);
        let get = Request::Key(Command { key: b"key".as_slice().into(), action: crate::node::command::Action::Get });
        node.on_request(at(1_001), ClientId { connection: 1, slot: 0 }, hash, &get, &mut out);
        for ms in (1_100..=5_000).step_by(100) {
            hear(&mut node, at(ms), true, &mut out);
            assert_eq!(out.0.len(), 0, "at {ms}");
        }
        for ms in (5_100..6_000).step_by(100) {
            hear(&mut node, at(ms), false, &mut out);
            assert_eq!(out.0.len(), 0, "at {ms}");
        }
        hear(&mut node, at(6_000), false, &mut out);
        assert_eq!(out.0.len(), 1);
    }

    #[test]
    fn a_node_says_that_bytes_move_for_as_long_as_they_do() {
        let (mut node, _) = linked(&mut Told::default());
        assert!(!node.say_pulse(Mono(2_000)).moves);
        node.on_moved(Mono(2_000));
        assert!(node.say_pulse(Mono(2_100)).moves);
        assert!(!node.say_pulse(Mono(2_400)).moves);
    }
}
