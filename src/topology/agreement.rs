//! Agreeing on the next view: single-decree Paxos for "the view after this one".
//!
//! The acceptors are the seats that are up in the view to be followed, its *base*. A proposer outbids all others with a ballot; who promises
//! it stops serving in the base and says what it has accepted before; if anything was, the proposer must finish that; otherwise it proposes a
//! view of its own. What enough seats have accepted stands ([`View::decides`]), and is told to everyone.
//!
//! A process that restarts does not return to its seat: it is a member's next life and another acceptor. So there is nothing to be kept on
//! disk about ballots: whoever forgets what it promised is never asked again. (Lamport, "Paxos Made Simple", 2001; with the configuration
//! decided by the one before, as in Lamport, Malkhi, Zhou, "Vertical Paxos and Primary-Backup Replication", 2009.)
//!
//! This file holds the two roles' memories; who is asked, and when, is the node's.

use std::collections::{BTreeMap, BTreeSet};

use super::MemberId;
use super::view::{View, ViewId};
use crate::time::Mono;

/// The number of a proposal: a round, and in its lower bits the seat of the proposer, so that no two are equal.
pub type Ballot = u64;

/// Bits of a ballot that say whose it is.
const PROPOSER_BITS: u32 = 16;

/// What a node has promised and accepted about the view after its own.
#[derive(Clone, Debug, Default)]
pub struct Acceptor {
    promised: Ballot,
    accepted: Option<(Ballot, View)>,
    since: Mono,
}

/// What came of asking for promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    /// Who says it: its life.
    pub life: u64,
    /// What it had accepted, and in which proposal.
    pub accepted: Option<(Ballot, View)>,
    /// Nothing it owns is on its way to a mirror.
    pub is_quiet: bool,
    /// All are filled that it has to fill.
    pub has_filled: bool,
    /// It wants to leave.
    pub leaves: bool,
    /// At a pool's beginning: the view that its journal is of.
    pub kept: Option<View>,
    /// It took part in that view in its present life: it has all it had.
    pub has_survived: bool,
    /// The epoch of the last version that it knows of.
    pub versions: u32,
}

/// A proposal under way.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The view to be followed.
    pub base: ViewId,
    /// Its number.
    pub ballot: Ballot,
    /// Who was asked.
    pub asked: Vec<MemberId>,
    /// Who has promised.
    pub promises: BTreeMap<MemberId, Promised>,
    /// What is proposed, once that is decided.
    pub view: Option<View>,
    /// Who has accepted it.
    pub accepted: BTreeSet<MemberId>,
    /// When it was begun.
    pub began: Mono,
    /// When it is given up.
    pub give_up: Mono,
}

impl Acceptor {
    /// Has it promised anything? Then it no longer serves in its view.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.promised > 0
    }

    /// Since when.
    #[must_use]
    pub fn since(&self) -> Mono {
        self.since
    }

    /// The highest ballot it has promised.
    #[must_use]
    pub fn promised(&self) -> Ballot {
        self.promised
    }

    /// What it has accepted.
    #[must_use]
    pub fn accepted(&self) -> Option<&(Ballot, View)> {
        self.accepted.as_ref()
    }

    /// Promises to heed no lower ballot. False if it has promised more.
    pub fn promise(&mut self, ballot: Ballot, now: Mono) -> bool {
        if ballot < self.promised {
            return false;
        }
        if ballot > self.promised {
            self.since = now;
        }
        self.promised = ballot;
        true
    }

    /// Accepts a view. False if it has promised more.
    pub fn accept(&mut self, ballot: Ballot, view: &View, now: Mono) -> bool {
        if !self.promise(ballot, now) {
            return false;
        }
        self.accepted = Some((ballot, view.clone()));
        true
    }
}

impl Proposal {
    /// A proposal that nobody has answered yet.
    #[must_use]
    pub fn new(base: ViewId, ballot: Ballot, asked: Vec<MemberId>, now: Mono, patience_ms: u64) -> Proposal {
        Proposal {
            base,
            ballot,
            asked,
            promises: BTreeMap::new(),
            view: None,
            accepted: BTreeSet::new(),
            began: now,
            give_up: now.plus(patience_ms),
        }
    }

    /// Have all promised who were asked?
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.asked.iter().all(|member| self.promises.contains_key(member))
    }

    /// Has a member promised, and not accepted what came of it?
    #[must_use]
    pub fn is_owed_by(&self, member: MemberId) -> bool {
        self.promises.contains_key(&member) && !self.accepted.contains(&member)
    }

    /// The view that must be finished: what was accepted in the highest ballot.
    #[must_use]
    pub fn unfinished(&self) -> Option<&View> {
        let accepted = self.promises.values().filter_map(|promise| promise.accepted.as_ref());
        accepted.max_by_key(|(ballot, _)| *ballot).map(|(_, view)| view)
    }
}

/// The lowest ballot of this proposer above `seen`.
#[must_use]
pub fn ballot_above(seen: Ballot, proposer: u16) -> Ballot {
    ((seen >> PROPOSER_BITS) + 1) << PROPOSER_BITS | u64::from(proposer)
}

/// The seat whose proposal a ballot is.
#[must_use]
pub fn proposer_of(ballot: Ballot) -> usize {
    (ballot & ((1 << PROPOSER_BITS) - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::view::Past;

    fn view(epoch: u64) -> View {
        View::first((1, epoch), 2, &[], &[], Past::Lost)
    }

    #[test]
    fn ballots_grow_and_differ_between_proposers() {
        let first = ballot_above(0, 7);
        assert_eq!(proposer_of(first), 7);
        assert!(ballot_above(first, 2) > first && ballot_above(0, 8) != first);
        assert!(first > 0);
    }

    #[test]
    fn who_has_promised_more_accepts_no_less_and_reports_what_it_accepted_last() {
        let mut acceptor = Acceptor::default();
        assert!(!acceptor.is_frozen());
        assert!(acceptor.promise(10, Mono(5)) && acceptor.accept(10, &view(1), Mono(6)));
        assert!(acceptor.promise(20, Mono(7)) && !acceptor.accept(10, &view(2), Mono(8)) && !acceptor.promise(19, Mono(8)));
        assert_eq!(acceptor.accepted().map(|(ballot, view)| (*ballot, view.epoch)), Some((10, 1)));
        assert_eq!((acceptor.is_frozen(), acceptor.since()), (true, Mono(7)));
    }

    #[test]
    fn what_was_accepted_in_the_highest_ballot_is_finished() {
        let mut proposal = Proposal::new(ViewId::default(), 30, vec![MemberId(0), MemberId(1)], Mono(0), 100);
        let promised = |accepted| Promised {
            life: 7,
            accepted,
            is_quiet: true,
            has_filled: true,
            leaves: false,
            kept: None,
            has_survived: false,
            versions: 0,
        };
        proposal.promises.insert(MemberId(0), promised(Some((10, view(1)))));
        assert!(!proposal.is_heard());
        proposal.promises.insert(MemberId(1), promised(Some((20, view(2)))));
        assert!(proposal.is_heard());
        assert_eq!(proposal.unfinished().map(|view| view.epoch), Some(2));
    }
}
