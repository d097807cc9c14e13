//! Sweeping: after a view, the entries are gone through for what they are to this node now.
//!
//! What it owns is counted anew, since bounds are for that; and once everything is where it is to be, what it holds no more is dropped. Only the
//! partitions with places that have changed hands are gone through, a few entries at a time and beside the clients: nobody waits for it. A
//! view that moves nothing, such as one that a node joins with empty hands, leaves nothing to do.
//!
//! Nothing is dropped before the view is safe from a power cut: by the view before it may be all there is of a key.

use std::collections::BTreeSet;

use super::Node;
use super::allowance::Allowance;
use crate::caching::cache::{PARTITIONS, Whose, partition_of};
use crate::time::Now;
use crate::topology::placement::{Arc, Placement};

/// Entries looked at in a millisecond: while clients ask, who do not notice, and while they do not.
const SWEPT_BESIDE_CLIENTS: u32 = 100;
const SWEPT_AT_REST: u32 = 500;
/// What it costs to drop an entry, in entries looked at.
const DROP_COST: usize = 4;

/// What the places of the circle are to a node, by a view.
#[derive(Clone, Copy, Debug)]
pub struct Shares<'a> {
    /// Where the keys are.
    pub placement: &'a Placement,
    /// The node's seat, if it takes part.
    pub me: Option<usize>,
    /// Everything is where it is to be.
    pub is_whole: bool,
}

/// What is left to be gone through.
#[derive(Debug, Default)]
pub struct Sweep {
    partitions: BTreeSet<usize>,
    /// How much of it may be done at once.
    allowance: Allowance,
    /// The view is safe from a power cut.
    is_safe: bool,
}

impl<'a> Shares<'a> {
    /// What a place is to the node. Nothing is foreign before everything is where it is to be.
    #[must_use]
    pub fn whose(&self, place: u32) -> Whose {
        self.whose_arc(self.placement.arc(place))
    }

    fn whose_arc(&self, arc: Option<&Arc>) -> Whose {
        let held = arc.zip(self.me).filter(|(arc, me)| arc.is_held_by(*me));
        match held {
            Some((arc, me)) if arc.owner() == Some(me) => Whose::Owned,
            None if self.is_whole => Whose::Foreign,
            Some(_) | None => Whose::Copy,
        }
    }

    /// The last place of each part of the circle, and what it is.
    fn parts(self) -> impl Iterator<Item = (u32, Whose)> + 'a {
        self.placement.spans().map(move |(_, last, arc)| (last, self.whose_arc(Some(arc))))
    }
}

impl Sweep {
    /// A view follows another: what is something else to the node now is to be gone through, and everything if there was no view.
    pub fn note_moved(&mut self, before: Option<Shares<'_>>, after: Shares<'_>) {
        match before {
            Some(before) => self.partitions.extend(moved(before, after)),
            None => self.partitions.extend(0..PARTITIONS),
        }
        self.is_safe = false;
    }

    /// Nothing is to be done before there is another view.
    pub fn end(&mut self) {
        self.partitions.clear();
    }

    fn is_due(&self) -> bool {
        self.is_safe && !self.partitions.is_empty()
    }
}

/// The partitions with a place that was something else before. What was foreign and may be kept now is counted as it was.
fn moved(before: Shares<'_>, after: Shares<'_>) -> BTreeSet<usize> {
    let (mut old, mut new) = (before.parts(), after.parts());
    let (mut was, mut is) = (old.next(), new.next());
    let (mut first, mut partitions) = (0, BTreeSet::new());
    while let (Some((old_end, old_whose)), Some((new_end, new_whose))) = (was, is) {
        let last = old_end.min(new_end);
        if old_whose != new_whose && (old_whose, new_whose) != (Whose::Foreign, Whose::Copy) {
            partitions.extend(partition_of(first)..=partition_of(last));
        }
        first = last.wrapping_add(1);
        was = if old_end == last { old.next() } else { was };
        is = if new_end == last { new.next() } else { is };
    }
    partitions
}

impl Node {
    /// Goes through a few of the partitions that are left.
    pub(super) fn sweep_a_little(&mut self, now: Now) {
        let Some(pact) = self.pact.as_ref().filter(|pact| self.sweep.is_due() && pact.is_serving(now.mono)) else { return };
        let Sweep { partitions, allowance, .. } = &mut self.sweep;
        allowance.renew(now.mono, if self.demand.is_there(now.mono) { SWEPT_BESIDE_CLIENTS } else { SWEPT_AT_REST });
        let (shares, mut foreign) = (pact.shares(), Vec::new());
        while allowance.is_left() {
            let Some(partition) = partitions.pop_first() else { break };
            let dropped = self.cache.recount(partition, |place| shares.whose(place));
            allowance.spend(1 + self.cache.partition_len(partition) + DROP_COST * dropped.len());
            foreign.extend(dropped);
        }
        foreign.iter().for_each(|key| self.drop_copy(key));
    }

    /// Is there something left over of a former view, and may it go?
    pub(super) fn has_to_sweep(&self) -> bool {
        self.sweep.is_due()
    }

    /// Is the view that was last given to [`Outputs::keep`](super::Outputs::keep) safe from a power cut?
    pub fn on_view_safe(&mut self, is_safe: bool) {
        self.sweep.is_safe = is_safe;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::card;
    use crate::topology::view::{Change, Past, View};

    /// A view, and where the keys are by it.
    struct Known(View, Placement);

    impl Known {
        fn new(view: View) -> Known {
            let placement = Placement::new(&view);
            Known(view, placement)
        }

        fn next(&self, change: Change) -> Known {
            Known::new(self.0.next(&change))
        }

        fn shares(&self, me: usize) -> Shares<'_> {
            Shares { placement: &self.1, me: Some(me), is_whole: self.0.is_whole() }
        }
    }

    fn three() -> Known {
        let cards = [card(8001, 1), card(8002, 1), card(8003, 1)];
        let first = View::first((1, 1), 2, &cards, &[], Past::Lost);
        Known::new(first).next(Change { stays: vec![true; 3], settles: true, ..Change::default() })
    }

    #[test]
    fn a_node_that_joins_with_empty_hands_leaves_the_others_nothing_to_do_until_it_is_filled() {
        let before = three();
        let joined = before.next(Change { stays: vec![true; 3], joins: Some(card(8004, 1)), ..Change::default() });
        let settled = joined.next(Change { stays: vec![true; 4], settles: true, ..Change::default() });
        assert_eq!([before.0.is_whole(), joined.0.is_whole(), settled.0.is_whole()], [true, false, true]);
        for me in 0..3 {
            assert!(moved(before.shares(me), joined.shares(me)).is_empty());
            assert!((1..PARTITIONS).contains(&moved(joined.shares(me), settled.shares(me)).len()));
        }
    }

    #[test]
    fn every_place_that_is_something_else_lies_in_a_partition_that_is_gone_through() {
        let before = three();
        let died = before.next(Change { stays: vec![true, true, false], ..Change::default() });
        let filled = died.next(Change { stays: vec![true; 3], settles: true, ..Change::default() });
        for (old, new) in [(&before, &died), (&died, &filled), (&filled, &before)] {
            for (old, new) in (0..2).map(|me| (old.shares(me), new.shares(me))) {
                let partitions = moved(old, new);
                for place in (0..4_000u32).map(|step| step.wrapping_mul(2_654_435_761)) {
                    let (was, is) = (old.whose(place), new.whose(place));
                    let is_gone_through = partitions.contains(&partition_of(place));
                    assert!(was == is || is_gone_through || (was, is) == (Whose::Foreign, Whose::Copy), "{place:#x}: {was:?}, {is:?}");
                }
            }
        }
        assert!(moved(before.shares(0), before.shares(0)).is_empty());
    }
}
