//! Which partition holds the least recently used entry.
//!
//! Stamps only grow, so a partition's front never gets older: whatever its stamp was once is a lower bound of what it is now. That lets
//! this register be lazy. Reads, writes and removals do not touch it; who evicts takes the partition with the least bound, looks at its
//! front, and if that is younger raises the bound and asks again. A partition that becomes empty or stops being empty must be told of, as
//! nothing else would lower a bound.
//!
//! The bounds are a tree: groups of 16 with the least of each beside them, and the least of 16 of these. To find one and to raise one are five
//! scans of 16 numbers, not two of 4,096.

use super::PARTITIONS;

/// A partition without entries.
const EMPTY: u64 = u64::MAX;

const GROUP: usize = 16;

const _: () = assert!(GROUP * GROUP * GROUP == PARTITIONS);

/// A lower bound of the front's stamp, for each partition.
pub(super) struct Oldest {
    bounds: [u64; PARTITIONS],
    least: [u64; PARTITIONS / GROUP],
    least_of_all: [u64; GROUP],
}

impl Oldest {
    pub fn new() -> Oldest {
        Oldest { bounds: [EMPTY; PARTITIONS], least: [EMPTY; PARTITIONS / GROUP], least_of_all: [EMPTY; GROUP] }
    }

    /// The partition with the least bound, and the bound; of several the first. None if all are empty.
    pub fn first(&self) -> Option<(usize, u64)> {
        let (at, bound) = least_of(&self.least_of_all);
        if bound == EMPTY {
            return None;
        }
        let group = at * GROUP + least_of(group_of(&self.least, at)).0;
        Some((group * GROUP + least_of(group_of(&self.bounds, group)).0, bound))
    }

    /// The partition's front has this stamp; `None` if it has no front.
    pub fn set(&mut self, partition: usize, front: Option<u64>) {
        self.bounds[partition] = front.unwrap_or(EMPTY);
        let group = partition / GROUP;
        self.least[group] = least_of(group_of(&self.bounds, group)).1;
        self.least_of_all[group / GROUP] = least_of(group_of(&self.least, group / GROUP)).1;
    }

    /// Asserts that this partition's bound fits its front.
    pub fn check_invariants(&self, partition: usize, front: Option<u64>) {
        let bound = self.bounds[partition];
        match front {
            Some(stamp) => assert!(bound <= stamp, "partition {partition}: the bound {bound} is over the front's stamp {stamp}"),
            None => assert_eq!(bound, EMPTY, "partition {partition} is empty"),
        }
        let group = partition / GROUP;
        assert!(self.least[group] <= bound, "partition {partition}: its group's least is over its bound");
        assert!(self.least_of_all[group / GROUP] <= bound, "partition {partition}: the least of its groups is over its bound");
    }
}

fn group_of(numbers: &[u64], group: usize) -> &[u64] {
    &numbers[group * GROUP..(group + 1) * GROUP]
}

fn least_of(numbers: &[u64]) -> (usize, u64) {
    let mut least = (0, EMPTY);
    for (at, &number) in numbers.iter().enumerate() {
        if number < least.1 {
            least = (at, number);
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    #[test]
    fn the_first_is_always_the_least_of_all() {
        let mut oldest = Oldest::new();
        let mut plain = [None; PARTITIONS];
        let mut prng = Prng::new(5);
        assert_eq!(oldest.first(), None);
        for _ in 0..20_000 {
            let partition = prng.below(PARTITIONS as u64) as usize;
            plain[partition] = prng.chance(1, 3).then(|| prng.below(1_000));
            oldest.set(partition, plain[partition]);
            let expected = (0..PARTITIONS).filter_map(|at| plain[at].map(|stamp| (at, stamp))).min_by_key(|(_, stamp)| *stamp);
            assert_eq!(oldest.first(), expected);
        }
    }
}
