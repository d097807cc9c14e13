//! How much of its time a node gives to work that nobody waits for.
//!
//! Such work is counted in entries that are looked at; a core looks at two or three in a microsecond. Each millisecond brings an allowance of
//! them, a small one while clients ask for something and a large one while they do not. What is not used is not saved; and since a step cannot always
//! be cut small enough, the milliseconds after it pay for what it took beyond what was left. So the share of the time stays the same however much
//! there is to be done, and however large its pieces are.
//!
//! It reads no clock and does not know what the work is: whoever does it says what it has cost.

use crate::time::Mono;

/// Nobody asks for anything if nobody has for so long: a load has its pauses, not least when it waits for this node or another one.
const QUIET_MS: u64 = 250;

/// What is left of a millisecond's work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    left: i64,
    renewed_at: Mono,
}

/// When somebody asked for something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demand {
    has_come: bool,
    busy_until: Mono,
}

impl Demand {
    /// Somebody asks.
    #[inline]
    pub fn note(&mut self) {
        self.has_come = true;
    }

    /// Has somebody asked of late?
    pub fn is_there(&mut self, now: Mono) -> bool {
        if std::mem::take(&mut self.has_come) {
            self.busy_until = now.plus(QUIET_MS);
        }
        now < self.busy_until
    }
}

impl Allowance {
    /// Time has passed: each millisecond brings so much, and no more than that is ever left.
    pub fn renew(&mut self, now: Mono, each_ms: u32) {
        let passed = i64::try_from(now.since(self.renewed_at)).unwrap_or(i64::MAX);
        self.renewed_at = now;
        let each_ms = i64::from(each_ms);
        self.left = self.left.saturating_add(passed.saturating_mul(each_ms)).min(each_ms);
    }

    /// May something be done?
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.left > 0
    }

    /// Something was done.
    pub fn spend(&mut self, cost: usize) {
        self.left = self.left.saturating_sub_unsigned(cost as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_took_too_much_is_paid_for_by_the_time_after_it() {
        let mut allowance = Allowance::default();
        allowance.renew(Mono(1_000), 100);
        assert!(allowance.is_left());
        allowance.spend(1_050);
        let waited = (1_001..).find(|ms| {
            allowance.renew(Mono(*ms), 100);
            allowance.is_left()
        });
        assert_eq!(waited, Some(1_010));
    }

    #[test]
    fn what_is_not_used_is_not_saved() {
        let mut allowance = Allowance::default();
        allowance.renew(Mono(1_000), 100);
        allowance.renew(Mono(9_000), 100);
        allowance.spend(100);
        assert!(!allowance.is_left());
        allowance.renew(Mono(9_000), 100);
        assert!(!allowance.is_left(), "the same millisecond brings nothing more");
    }

    #[test]
    fn there_is_demand_for_a_while_after_somebody_has_asked() {
        let mut demand = Demand::default();
        assert!(!demand.is_there(Mono(1_000)));
        demand.note();
        assert!(demand.is_there(Mono(1_000)) && demand.is_there(Mono(1_000 + QUIET_MS - 1)));
        assert!(!demand.is_there(Mono(1_000 + QUIET_MS)));
    }
}
