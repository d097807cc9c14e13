//! When the clock of the order of use showed what: so a stamp, which every entry has, tells how long ago it was given.
//!
//! A moment in each entry would be eight bytes more. Here is instead one bounded log of samples for all of them, at most one a second:
//! from this stamp on, at this moment. Who asks about a stamp is told the moment of the last sample that is not above it, found by binary
//! search. That is never later than the truth, and earlier by less than a second.
//!
//! A log that is full is thinned, the more the longer ago: of what lies within a fiftieth of its age one sample is enough. So what was
//! long ago is known to two in a hundred, and 4,096 samples last for ever. (To drop every second one, old or new, looks simpler: but each
//! time halves all that is old again, and after some hours nothing is left of it.)
//!
//! It knows stamps and moments. What a stamp means, and that not every use gives one, is the cache's.

use crate::time::Mono;

/// Most samples: 64 KiB of them.
const MOST_SAMPLES: usize = 4_096;
/// Samples are at least so far apart.
const APART_MS: u64 = 1_000;
/// Thinned samples are at most one in so many of their age apart. Of 2^64 ms no more than 3,500 are left.
const PRECISION: u64 = 50;

/// Which stamps were given when.
#[derive(Default)]
pub(super) struct Ages {
    samples: Vec<Sample>,
}

/// Stamps from this one on were given at this moment or later.
#[derive(Clone, Copy)]
struct Sample {
    stamp: u64,
    moment: Mono,
}

impl Ages {
    /// The clock shows `stamp` from now on. Stamps only grow; one that is not told of here counts as given when the last one told was.
    #[inline]
    pub fn note(&mut self, stamp: u64, now: Mono) {
        if self.is_due(now) {
            self.sample(stamp, now);
        }
    }

    /// Is the last sample so long ago that the next stamp will be one? Until then the newest stamp is also right for what is used now.
    #[inline]
    pub fn is_due(&self, now: Mono) -> bool {
        self.samples.last().is_none_or(|last| now.since(last.moment) >= APART_MS)
    }

    /// The moment at which this stamp was given; `None` before the first.
    pub fn moment_of(&self, stamp: u64) -> Option<Mono> {
        let later = self.samples.partition_point(|sample| sample.stamp <= stamp);
        self.samples[..later].last().map(|sample| sample.moment)
    }

    fn sample(&mut self, stamp: u64, moment: Mono) {
        if self.samples.len() == MOST_SAMPLES {
            self.thin(moment);
        }
        self.samples.push(Sample { stamp, moment });
    }

    /// Drops each sample without which its neighbours are still near to each other for their age.
    fn thin(&mut self, now: Mono) {
        let mut kept = 1;
        for at in 1..self.samples.len() {
            let gap = self.samples.get(at + 1).map(|next| (next.moment.since(self.samples[kept - 1].moment), now.since(next.moment)));
            if gap.is_none_or(|(gap, age)| gap > age / PRECISION) {
                self.samples[kept] = self.samples[at];
                kept += 1;
            }
        }
        self.samples.truncate(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    #[test]
    fn a_stamp_is_as_old_as_it_is_within_a_second_or_a_fiftieth_however_long_ago() {
        for (seed, longest_ms) in [(1, 100), (2, 3_000), (3, 3_000_000)] {
            let mut prng = Prng::new(seed);
            let (mut ages, mut truth, mut now) = (Ages::default(), Vec::new(), Mono(5));
            for stamp in 1..60_000 {
                now = now.plus(prng.below(longest_ms));
                ages.note(stamp, now);
                truth.push((stamp, now));
                assert!(ages.samples.len() <= MOST_SAMPLES);
            }
            for (stamp, moment) in truth {
                let told = ages.moment_of(stamp).expect("it is not before the first");
                let allowed = (now.since(moment) / PRECISION).max(APART_MS - 1);
                assert!(told <= moment && moment.since(told) <= allowed, "stamp {stamp}: {moment:?}, not {told:?}, at {now:?}");
            }
        }
    }

    #[test]
    fn a_full_log_has_room_again_after_it_was_thinned() {
        let mut ages = Ages::default();
        for second in 0..200_000 {
            let before = ages.samples.len();
            ages.note(second, Mono(second * APART_MS));
            assert!(ages.samples.len() > before || ages.samples.len() < MOST_SAMPLES / 2, "{before}");
        }
    }

    #[test]
    fn before_the_first_stamp_there_is_no_moment() {
        let mut ages = Ages::default();
        assert_eq!(ages.moment_of(7), None);
        ages.note(7, Mono(3));
        assert_eq!((ages.moment_of(6), ages.moment_of(7), ages.moment_of(u64::MAX)), (None, Some(Mono(3)), Some(Mono(3))));
    }
}
