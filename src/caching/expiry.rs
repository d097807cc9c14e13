//! Whose time comes next.
//!
//! An index in the order of time, beside the cache, of the entries that have an expiry and of no others. A mark says when, in which
//! partition and under what hash: enough to find the entry, and no more to keep than sixteen bytes. The cache sets a mark with each entry
//! that it takes and removes it with each that leaves, so the index never grows with overwrites and whatever is due is really there.
//!
//! Two keys may share a hash and a moment; they then share a mark. The cache, which can look, removes a mark only when no entry is left
//! under it.
//!
//! A sorted set costs a logarithm where a timer wheel costs none; but most writes give their entries about the same time to live, so
//! they arrive in order, at the end of the set, where it is warm. And "the next moment" is the first mark, without turning any wheel.

use std::collections::BTreeSet;

use crate::time::Mono;

/// An entry with an expiry, or several that share both hash and moment. Ordered by the moment first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// When its time has come.
    pub expires: Mono,
    /// The partition it is kept in.
    pub partition: u16,
    /// The part of its key's hash that the cache keeps.
    pub hash: u32,
}

/// What a mark costs: the sorted set's leaves hold eleven each in 208 bytes, and are hardly more than half full when filled in order.
const MARK_BYTES: usize = 40;

/// The marks, in the order of time.
#[derive(Debug, Default)]
pub struct ExpiryIndex {
    marks: BTreeSet<Mark>,
}

impl ExpiryIndex {
    /// Sets a mark. Setting it twice is setting it once; `Mono::NEVER` is not a time, and leaves none.
    pub fn insert(&mut self, mark: Mark) {
        if mark.expires != Mono::NEVER {
            self.marks.insert(mark);
        }
    }

    /// Removes a mark, if it is there.
    pub fn remove(&mut self, mark: Mark) {
        self.marks.remove(&mark);
    }

    /// The earliest mark, if its time has come.
    #[must_use]
    pub fn due(&self, now: Mono) -> Option<Mark> {
        self.marks.first().copied().filter(|mark| mark.expires <= now)
    }

    /// When the next mark comes due; `Mono::NEVER` if there is none.
    #[must_use]
    pub fn next_expiry(&self) -> Mono {
        self.marks.first().map_or(Mono::NEVER, |mark| mark.expires)
    }

    /// Removes the earliest mark, due or not.
    pub fn pop(&mut self) -> Option<Mark> {
        self.marks.pop_first()
    }

    /// How many marks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// The marks, earliest first.
    pub fn iter(&self) -> impl Iterator<Item = Mark> {
        self.marks.iter().copied()
    }

    /// About how many bytes it takes from the heap.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.marks.len() * MARK_BYTES) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(expires: u64, hash: u32) -> Mark {
        Mark { expires: Mono(expires), partition: 3, hash }
    }

    #[test]
    fn what_is_due_comes_in_the_order_of_time_and_not_before() {
        let mut index = ExpiryIndex::default();
        for (expires, hash) in [(30, 1), (10, 9), (20, 5)] {
            index.insert(mark(expires, hash));
        }
        assert_eq!((index.next_expiry(), index.due(Mono(9))), (Mono(10), None));
        for expected in [mark(10, 9), mark(20, 5), mark(30, 1)] {
            assert_eq!(index.due(Mono(30)), Some(expected));
            index.remove(expected);
        }
        assert_eq!((index.next_expiry(), index.due(Mono(u64::MAX - 1)), index.bytes()), (Mono::NEVER, None, 0));
    }

    #[test]
    fn never_leaves_no_mark_and_a_mark_is_set_only_once() {
        let mut index = ExpiryIndex::default();
        index.insert(mark(u64::MAX, 1));
        assert!(index.is_empty());
        index.insert(mark(5, 1));
        index.insert(mark(5, 1));
        assert_eq!((index.len(), index.pop(), index.pop()), (1, Some(mark(5, 1)), None));
    }

    #[test]
    fn a_mark_is_sixteen_bytes() {
        assert_eq!(std::mem::size_of::<Mark>(), 16);
    }
}
