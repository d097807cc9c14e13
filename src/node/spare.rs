//! What a node does besides serving: to answer who fills it, to fill others, and to sweep. A little of it in a turn, and all within one
//! [`Allowance`], however much of it there is: clients feel the longest turn, not the mean one.
//!
//! The kinds take turns. Whichever has had the last of the allowance comes last when there is some again, so that none waits for the end of
//! another. What others ask for, in [`filling`](super::filling), is heard at once and looked into here: that several nodes ask in one
//! moment makes no turn longer.

use super::allowance::{Allowance, Demand};
use super::{Node, Outputs};
use crate::time::{Mono, Now};

/// Entries looked at in a millisecond: while clients ask, who hardly notice, and while they do not.
const BESIDE_CLIENTS: u32 = 120;
const AT_REST: u32 = 1_000;

/// The time that clients leave, and whose turn it is.
#[derive(Debug, Default)]
pub struct Spare {
    /// How much may be done at once.
    pub allowance: Allowance,
    next: usize,
}

impl Spare {
    fn renew(&mut self, now: Mono, demand: &mut Demand) {
        self.allowance.renew(now, if demand.is_there(now) { BESIDE_CLIENTS } else { AT_REST });
    }
}

type Work = fn(&mut Node, Now, &mut dyn Outputs);

/// In the order of their turns.
const KINDS: [Work; 3] = [Node::look_into_heard, Node::step_filling, |node, now, _| node.sweep_a_little(now)];

impl Node {
    /// Does as much of everything as there is time for.
    pub(super) fn work_a_little(&mut self, now: Now, out: &mut dyn Outputs) {
        self.spare.renew(now.mono, &mut self.demand);
        let first = self.spare.next;
        for kind in (first..first + KINDS.len()).map(|kind| kind % KINDS.len()) {
            let before = self.spare.allowance;
            KINDS[kind](self, now, out);
            if self.spare.allowance != before {
                self.spare.next = (kind + 1) % KINDS.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::message::{Digest, Message};
    use super::super::reply::Reply;
    use super::super::testing::{at, card, settings};
    use super::super::{ClientId, Settings};
    use super::*;
    use crate::caching::Version;
    use crate::caching::entry::Entry;
    use crate::hash::KeyHash;
    use crate::topology::MemberId;
    use crate::topology::peers::LinkId;
    use crate::topology::view::{Mirrors, ViewId};

    /// Counts what is said.
    #[derive(Default)]
    struct Said(usize);

    impl Outputs for Said {
        fn reply(&mut self, _client: ClientId, _key: &[u8], _reply: &Reply<'_>) {}
        fn send(&mut self, _link: LinkId, _message: &Message<'_>) {
            self.0 += 1;
        }
        fn dial(&mut self, _member: MemberId, _address: SocketAddr) {}
        fn hang_up(&mut self, _link: LinkId) {}
        fn replay(&mut self) {}
        fn keep(&mut self, _view: &[u8]) {}
    }

    /// A node with so many entries in its first partition.
    fn node(entries: u32) -> Node {
        let settings = Settings { mirrors: Mirrors::Next(1), ..settings(card(8001, 1)) };
        let mut node = Node::new(settings, None, None, at(1_000));
        node.greeted.insert(LinkId(1), MemberId::ME);
        for number in 0..u64::from(entries) {
            let entry = Entry::new(&number.to_be_bytes(), b"", 0, Mono::NEVER, Version(number));
            node.cache.put(KeyHash { place: 0, table: number }, entry, Mono(1_000));
        }
        node
    }

    #[test]
    fn however_many_ask_at_once_a_turn_answers_no_more_than_the_allowance_begins() {
        let (mut node, mut said) = (node(AT_REST), Said::default());
        (0..10).for_each(|place| node.on_survey(LinkId(1), ViewId::default(), (place, place), Digest::default()));
        assert_eq!(said.0, 0, "to be asked costs nothing yet");
        for turn in 1..=10 {
            node.work_a_little(at(1_000 + 2 * turn), &mut said);
            assert_eq!(said.0 as u64, turn, "one piece is as much as a turn has time for");
        }
        assert!(!node.has_filling_to_do());
    }
}
