//! What a mirrored pool may lose, read off its newest view and the lives of its processes.
//!
//! The promise: with N mirrors nothing is lost as long as at most N copies are lost before the pool is whole again. The view's settled layout
//! says where the copies are. One is lost when its process has ended or the view has thrown it out. So the losses are counted anew from
//! the newest view at any time, and nothing has to be remembered but what the disks went through.
//!
//! It does not ask which key was where: more losses than mirrors excuse any key's miss. An old value they never excuse; that only a start
//! of the whole pool from a journal does whose end was lost.

use std::collections::BTreeSet;

use spydercache::topology::membership::Card;
use spydercache::topology::view::{Role, View};

/// What is asked of the pool's answers just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Allowance {
    /// Every acknowledged write is there.
    Nothing,
    /// A key may be gone.
    Misses,
    /// A key may be gone, and what is there may be what a journal says of a time before: each further loss may bring another journal's word.
    Relapses { lost: usize },
}

/// The losses since the pool was last whole.
#[derive(Debug, Default)]
pub struct Losses {
    /// Hosts whose journals do not say all that was acknowledged there.
    tainted: BTreeSet<usize>,
    /// The whole pool went down in order: if it is left alone, it comes back with everything.
    is_orderly_outage: bool,
}

impl Losses {
    /// A journal has lost something, or something is wrong with it.
    pub fn taint(&mut self, host: usize) {
        self.tainted.insert(host);
        self.is_orderly_outage = false;
    }

    /// All processes are about to end with all they know on disk.
    pub fn begin_orderly_outage(&mut self) {
        self.is_orderly_outage = true;
    }

    /// Something else happens meanwhile.
    pub fn disturb(&mut self) {
        self.is_orderly_outage = false;
    }

    /// The pool is whole, and these hosts' journals are in order.
    pub fn on_whole(&mut self, sound: impl Fn(usize) -> bool) {
        self.is_orderly_outage = false;
        self.tainted.retain(|host| !sound(*host));
    }

    /// What is allowed from now on. `host_of` says where a member's life is, or was; `lives` whether it still does.
    pub fn allowance(&self, newest: &View, host_of: impl Fn(&Card) -> usize, lives: impl Fn(&Card) -> bool) -> Allowance {
        let holders = || newest.settled.iter().filter(|settled| settled.role != Role::Skipped);
        let is_here = |role: Role, card: &Card| role.has_keys() && lives(card);
        let left = holders().filter(|settled| is_here(settled.role, &settled.card)).count();
        let lost = holders().count() - left;
        let copies = if newest.first_only { 1 } else { (newest.copies as usize).min(holders().count()) };
        let from_journals = || holders().any(|settled| settled.role.has_keys() && self.tainted.contains(&host_of(&settled.card)));
        if lost < copies || self.is_orderly_outage {
            Allowance::Nothing
        } else if newest.first_only || (left == 0 && from_journals()) {
            // Of journals that were cut off at different moments, the first is believed; if it goes before all are filled from it, the next is.
            Allowance::Relapses { lost }
        } else {
            Allowance::Misses
        }
    }
}

/// Does `newest` begin with nothing although somebody lives who took part in the view `before`? That is right if those who have ended since
/// may have gone on by themselves, in a pool of two the one with the lower name, and not all of them are back.
pub fn begins_in_doubt(newest: &View, before: &View, lives: impl Fn(&Card) -> bool) -> bool {
    let begins = newest.lineage != before.lineage && newest.epoch == newest.began && newest.parent == 0 && !newest.first_only;
    let has_ended = |seat: usize| !lives(&before.seats[seat].card);
    let is_back = |seat: usize| newest.seat(&before.seats[seat].card.name).is_some_and(|seat| newest.seats[seat].is_up());
    let may_have_gone_on = before.decides(has_ended, |_| false) && before.up().any(|seat| has_ended(seat) && !is_back(seat));
    begins && may_have_gone_on && !before.up().all(has_ended)
}

#[cfg(test)]
mod tests {
    use spydercache::topology::view::{Change, Past, View};

    use super::*;
    use crate::host::{address_of, host_at};

    fn card(host: usize) -> Card {
        Card { incarnation: 1, ..Card::of_address(address_of(host)) }
    }

    fn pool(hosts: usize, mirrors: u32) -> View {
        let cards: Vec<Card> = (0..hosts).map(card).collect();
        View::first((1, 1), 1 + mirrors, &cards, &[], Past::Lost)
    }

    fn allowed(losses: &Losses, view: &View, dead: &[usize]) -> Allowance {
        losses.allowance(view, |card| host_at(card.address), |card| !dead.contains(&host_at(card.address)))
    }

    #[test]
    fn as_many_may_end_as_there_are_mirrors() {
        let losses = Losses::default();
        for mirrors in 1..3 {
            let view = pool(4, mirrors);
            let dead: Vec<usize> = (0..mirrors as usize).collect();
            assert_eq!(allowed(&losses, &view, &dead), Allowance::Nothing);
            assert_eq!(allowed(&losses, &view, &[dead, vec![3]].concat()), Allowance::Misses);
        }
    }

    #[test]
    fn who_was_thrown_out_counts_as_lost_until_the_view_settles() {
        let view = pool(4, 1);
        let out = view.next(&Change { stays: vec![false, true, true, true], ..Change::default() });
        assert_eq!(allowed(&Losses::default(), &out, &[]), Allowance::Nothing);
        assert_eq!(allowed(&Losses::default(), &out, &[1]), Allowance::Misses);
        let settled = out.next(&Change { stays: vec![true; 4], settles: true, ..Change::default() });
        assert_eq!(allowed(&Losses::default(), &settled, &[1]), Allowance::Nothing);
    }

    #[test]
    fn who_is_left_begins_with_nothing_only_if_the_others_may_have_gone_on_by_themselves() {
        let before = pool(2, 1);
        let empty = View::first((2, 2), 2, &[card(1)], &[], Past::Lost);
        for (begins, alive, right) in [(&empty, 1, true), (&empty, 0, false), (&before, 1, false)] {
            assert_eq!(begins_in_doubt(begins, &before, |card| host_at(card.address) == alive), right);
        }
        assert!(!begins_in_doubt(&empty, &before, |_| false), "nobody is left");
        let both = View::first((2, 2), 2, &[card(0), card(1)], &[], Past::Lost);
        assert!(!begins_in_doubt(&both, &before, |card| host_at(card.address) == 1), "the other is back");
        let warm = View::first((2, 2), 2, &[card(1)], &[], Past::Unknown);
        assert!(!begins_in_doubt(&warm, &before, |card| host_at(card.address) == 1), "it does not begin with nothing");
    }

    #[test]
    fn an_old_state_is_allowed_only_when_all_are_down_and_a_journal_has_lost_something() {
        let (view, mut losses) = (pool(2, 1), Losses::default());
        losses.begin_orderly_outage();
        assert_eq!(allowed(&losses, &view, &[0, 1]), Allowance::Nothing);
        losses.taint(1);
        assert_eq!(allowed(&losses, &view, &[1]), Allowance::Nothing);
        assert_eq!(allowed(&losses, &view, &[0, 1]), Allowance::Relapses { lost: 2 });
        losses.on_whole(|_| true);
        assert_eq!(allowed(&losses, &view, &[0, 1]), Allowance::Misses);
    }
}
