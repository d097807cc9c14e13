//! Requests that wait: for another node's answer, for a link to open, for several nodes to be done.
//!
//! ```text
//!   client ─▶ entry node: parked, with a number and a deadline ──Request──▶ owner
//!                │                                                            │
//!                ◀── answered ── the number finds the request ◀───Answer──────┘
//! ```
//!
//! Whoever parks a request owes its client an answer: from the owner, from the next owner if this one dies and it is safe to ask again, or
//! a plain error when the deadline has passed. A number names a place in the table and its generation, so that an answer for a request that
//! is gone fits nothing. How many requests and bytes may wait is limited: past it the client is told so at once.

use std::collections::VecDeque;

use slab::Slab;

use super::Origin;
use super::command::Command;
use super::message::RequestId;
use super::pact::FlushCount;
use crate::hash::KeyHash;
use crate::time::Mono;
use crate::topology::MemberId;
use crate::topology::view::ViewId;

/// Most requests that may wait.
pub const MAX_PARKED: usize = 100_000;
/// Most bytes of keys and values that may wait with them; or twice the largest value, if that is more.
pub const MAX_PARKED_BYTES: usize = 256 << 20;

/// A request that waits.
#[derive(Debug)]
pub struct Parked {
    /// Whom to answer.
    pub origin: Origin,
    /// When to give up.
    pub deadline: Mono,
    /// What for.
    pub waiting: Waiting,
}

/// What a request waits for.
#[derive(Debug)]
pub enum Waiting {
    /// For the owner of a key.
    Owner(Forwarded),
    /// For these members to have forgotten everything.
    Flush {
        /// Who has not answered yet.
        outstanding: Vec<MemberId>,
        /// When they are to forget.
        at: Mono,
    },
    /// For a view by which everything is forgotten.
    Flushed {
        /// Which it is, once that is known.
        by: Option<FlushCount>,
    },
    /// For a view in which a member takes part, or does not.
    Seated {
        /// The member.
        member: MemberId,
        /// Takes part.
        seated: bool,
    },
    /// For a member to be reached, or not.
    Connect {
        /// The member.
        member: MemberId,
    },
    /// For the journal to be read.
    Reconstruct,
}

/// A command on its way to a key's owner.
#[derive(Debug)]
pub struct Forwarded {
    /// The command.
    pub command: Command<'static>,
    /// Its key's two numbers.
    pub hash: KeyHash,
    /// To whom.
    pub owner: MemberId,
    /// Has it left? Then it may have been carried out.
    pub sent: bool,
    /// It was sent to somebody who never answered: it may have been carried out.
    pub perhaps: bool,
    /// Its number among the writes that this node forwards; 0 for what may be done twice.
    pub serial: u64,
    /// The view by which it was sent.
    pub view: ViewId,
    /// Where it may have been carried out, the lives that would know. None as long as that is the present view's.
    pub knowers: Option<Vec<(MemberId, u64)>>,
}

/// The table of requests that wait.
#[derive(Debug, Default)]
pub struct Requests {
    table: Slab<(u32, Parked)>,
    generation: u32,
    /// In the order of time. Nearly all wait equally long, so nearly all belong at the end. Who is answered earlier leaves a number here that fits
    /// nothing, until those before it have gone.
    deadlines: VecDeque<(Mono, RequestId)>,
    /// The forwarded writes, in the order of their serials. Who is answered leaves a number here that fits nothing.
    serials: VecDeque<(u64, RequestId)>,
    bytes: usize,
    most_bytes: usize,
}

impl Parked {
    fn bytes(&self) -> usize {
        if let Waiting::Owner(forwarded) = &self.waiting { forwarded.command.bytes() } else { 0 }
    }
}

impl Requests {
    /// No requests yet, in a pool whose values are so large at most.
    #[must_use]
    pub fn of_values_up_to(max_value: usize) -> Requests {
        Requests { most_bytes: MAX_PARKED_BYTES.max(2 * max_value), ..Requests::default() }
    }

    /// Is there no room for another one?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.table.len() >= MAX_PARKED || self.bytes >= self.most_bytes
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Does nobody wait?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Parks a request. One without a deadline waits for as long as it takes.
    pub fn park(&mut self, parked: Parked) -> RequestId {
        self.generation = self.generation.wrapping_add(1);
        self.bytes += parked.bytes();
        let deadline = parked.deadline;
        let place = self.table.insert((self.generation, parked));
        let id = RequestId(u64::from(self.generation) << 32 | place as u64);
        if let Some((_, Parked { waiting: Waiting::Owner(Forwarded { serial: serial @ 1.., .. }), .. })) = self.table.get(place) {
            self.serials.push_back((*serial, id));
        }
        if deadline != Mono::NEVER {
            self.note_deadline(deadline, id);
        }
        id
    }

    fn note_deadline(&mut self, deadline: Mono, id: RequestId) {
        if self.deadlines.back().is_none_or(|(last, _)| *last <= deadline) {
            return self.deadlines.push_back((deadline, id));
        }
        let place = self.deadlines.partition_point(|(earlier, _)| *earlier <= deadline);
        self.deadlines.insert(place, (deadline, id));
    }

    /// The request of this number, if it still waits.
    pub fn get_mut(&mut self, id: RequestId) -> Option<&mut Parked> {
        match self.table.get_mut(place_of(id)) {
            Some((generation, parked)) if *generation == generation_of(id) => Some(parked),
            _ => None,
        }
    }

    /// The request of this number, if it still waits.
    #[must_use]
    pub fn get(&self, id: RequestId) -> Option<&Parked> {
        self.table.get(place_of(id)).filter(|(generation, _)| *generation == generation_of(id)).map(|(_, parked)| parked)
    }

    /// Takes the request of this number out, if it still waits.
    pub fn take(&mut self, id: RequestId) -> Option<Parked> {
        self.get_mut(id)?;
        let (_, parked) = self.table.remove(place_of(id));
        self.bytes -= parked.bytes();
        while self.deadlines.front().is_some_and(|(_, id)| self.get(*id).is_none()) {
            self.deadlines.pop_front();
        }
        Some(parked)
    }

    /// Takes out the requests whose deadline has passed. Those that may wait `until` a later moment have another deadline.
    pub fn take_overdue(&mut self, now: Mono, until: impl Fn(&Parked) -> Mono) -> Vec<Parked> {
        let mut overdue = Vec::new();
        while let Some((_, id)) = self.deadlines.front().copied().filter(|(deadline, _)| *deadline <= now) {
            self.deadlines.pop_front();
            let Some(parked) = self.get_mut(id) else { continue };
            let later = until(parked);
            if later > now {
                parked.deadline = later;
                self.note_deadline(later, id);
            } else {
                overdue.extend(self.take(id));
            }
        }
        overdue
    }

    /// The lowest serial that still waits, or else the next one.
    pub fn watermark(&mut self, next: u64) -> u64 {
        while let Some((serial, id)) = self.serials.front().copied() {
            if self.get_mut(id).is_some() {
                return serial;
            }
            self.serials.pop_front();
        }
        next
    }

    /// When the next deadline is.
    #[must_use]
    pub fn wake_at(&self) -> Mono {
        self.deadlines.front().map_or(Mono::NEVER, |(deadline, _)| *deadline)
    }

    /// The numbers of the requests that `fit`, oldest first.
    pub fn select(&self, fit: impl Fn(&Parked) -> bool) -> Vec<RequestId> {
        let mut selected: Vec<RequestId> = self
            .table
            .iter()
            .filter(|(_, (_, parked))| fit(parked))
            .map(|(place, (generation, _))| RequestId(u64::from(*generation) << 32 | place as u64))
            .collect();
        selected.sort_unstable();
        selected
    }
}

fn place_of(id: RequestId) -> usize {
    (id.0 & u64::from(u32::MAX)) as usize
}

fn generation_of(id: RequestId) -> u32 {
    (id.0 >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::ClientId;
    use crate::node::command::Action;
    use std::borrow::Cow;

    fn parked(client: u64, deadline: Mono) -> Parked {
        let command = Command { key: Cow::Borrowed(&b"key"[..]), action: Action::Get };
        let waiting = Waiting::Owner(Forwarded {
            command,
            hash: KeyHash::default(),
            owner: MemberId(1),
            sent: true,
            perhaps: false,
            knowers: None,
            serial: 0,
            view: ViewId::default(),
        });
        Parked { origin: Origin::Client(ClientId { connection: client, slot: 0 }), deadline, waiting }
    }

    fn overdue(requests: &mut Requests, now: u64) -> Vec<Mono> {
        requests.take_overdue(Mono(now), |_| Mono(0)).iter().map(|parked| parked.deadline).collect()
    }

    #[test]
    fn a_late_answer_does_not_fit_the_next_request_in_the_same_place() {
        let mut requests = Requests::default();
        let first = requests.park(parked(1, Mono(10)));
        assert!(requests.take(first).is_some());
        let second = requests.park(parked(2, Mono(20)));
        assert_eq!(place_of(first), place_of(second));
        assert!(requests.take(first).is_none());
        assert!(requests.take(second).is_some());
        assert_eq!((requests.len(), requests.bytes), (0, 0));
    }

    #[test]
    fn a_long_wait_does_not_hold_up_the_shorter_ones_behind_it() {
        let mut requests = Requests::default();
        requests.park(parked(1, Mono(99)));
        requests.park(parked(2, Mono(20)));
        assert_eq!(requests.wake_at(), Mono(20));
        assert_eq!(overdue(&mut requests, 20), [Mono(20)]);
        assert_eq!(overdue(&mut requests, 20), []);
    }

    #[test]
    fn deadlines_come_in_order_and_skip_who_was_answered() {
        let mut requests = Requests::default();
        let ids: Vec<_> = (0..3).map(|n| requests.park(parked(n, Mono(10 + n)))).collect();
        requests.take(ids[0]);
        assert_eq!(overdue(&mut requests, 9), []);
        assert_eq!(overdue(&mut requests, 99), [Mono(11), Mono(12)]);
        assert_eq!(overdue(&mut requests, 99), []);
    }
}
