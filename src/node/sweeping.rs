//! Sweeping: after a view, the entries are gone through for what they are to this node now.
//!
//! What it owns is counted anew, since bounds are for that; and once everything is where it is to be, what it holds no more is dropped. Only the
//! partitions with places that have changed hands are gone through, a few entries at a time and beside the clients: nobody waits for it. A
//! view that moves nothing, such as one that a node joins with empty hands, leaves nothing to do.
//!
//! Nothing is dropped before the view is safe from a power cut: by the view before it may be all there is of a key.

use std::collections::{BTreeSet, VecDeque};

use super::Node;
use crate::caching::cache::{PARTITIONS, Whose, partition_of};
use crate::time::Now;
use crate::topology::placement::{Arc, Placement};

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
    /// What is to be dropped of the partition that was gone through last, and which that is.
    foreign: VecDeque<Box<[u8]>>,
    last: usize,
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
        // What was foreign may be this node's now: it is looked at again.
        if !self.foreign.is_empty() {
            self.foreign.clear();
            self.partitions.insert(self.last);
        }
        self.is_safe = false;
    }

    /// Nothing is to be done before there is another view.
    pub fn end(&mut self) {
        self.partitions.clear();
        self.foreign.clear();
    }

    fn is_due(&self) -> bool {
        self.is_safe && !(self.partitions.is_empty() && self.foreign.is_empty())
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
    /// Goes through a few of the partitions that are left, and drops what is foreign in one before it goes on to the next.
    pub(super) fn sweep_a_little(&mut self, now: Now) {
        if !self.sweep.is_due() || !self.is_serving(now.mono) {
            return;
        }
        while self.spare.allowance.is_left() {
            if let Some(key) = self.sweep.foreign.pop_front() {
                self.spare.allowance.spend(DROP_COST);
                self.drop_copy(&key);
            } else if !self.sweep_a_partition() {
                return;
            }
        }
    }

    /// Goes through a partition. False if none is left.
    fn sweep_a_partition(&mut self) -> bool {
        let (Some(pact), Sweep { partitions, foreign, last, .. }) = (&self.pact, &mut self.sweep) else { return false };
        let Some(partition) = partitions.pop_first() else { return false };
        let shares = pact.shares();
        foreign.extend(self.cache.recount(partition, |place| shares.whose(place)));
        *last = partition;
        self.spare.allowance.spend(1 + self.cache.partition_len(partition));
        true
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
    fn what_was_foreign_and_is_not_dropped_yet_is_looked_at_again_after_another_view() {
        let view = three();
        let mut sweep = Sweep { foreign: [Box::from(&b"key"[..])].into(), last: 7, ..Sweep::default() };
        sweep.note_moved(Some(view.shares(0)), view.shares(0));
        assert_eq!((sweep.foreign.len(), sweep.partitions.pop_first()), (0, Some(7)));
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
