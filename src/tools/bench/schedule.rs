//! What is asked next, and when.
//!
//! In a *closed loop* each connection asks again as soon as it has an answer: the server sets the pace, and a server that stalls is
//! simply asked less. In an *open loop* operation number i is due at begin + i / rate, whatever the server does, and its latency is
//! counted from that moment, not from the one at which it could at last be sent. This is what keeps the percentiles free of coordinated
//! omission: a stall of a second is seen by every operation that was due in it.
//!
//! The schedule keeps no queue. Operations that are due and not sent are the numbers between the next one and the clock; a server that
//! hangs for an hour costs no memory. Nothing here reads a clock: the driver says how late it is, in nanoseconds.

use super::keys::Keys;
use crate::prng::Prng;

const NS_PER_SECOND: u64 = 1_000_000_000;
/// The operations that were never sent enter the percentiles in at most about so many groups, so that the end of a run stays quick.
const UNSENT_GROUPS: u64 = 4_096;

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Read it.
    Get,
    /// Write it.
    Set,
    /// Remove it.
    Delete,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Kind; 3] = [Kind::Get, Kind::Set, Kind::Delete];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Get => "get",
            Kind::Set => "set",
            Kind::Delete => "delete",
        }
    }
}

/// One thing to ask of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What to do.
    pub kind: Kind,
    /// With which key.
    pub key: u64,
    /// How many bytes to write, where it writes.
    pub value_bytes: u32,
    /// When it should begin; its latency counts from here.
    pub start_ns: u64,
}

/// The shares of gets, sets and deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Parts that read.
    pub get: u32,
    /// Parts that write.
    pub set: u32,
    /// Parts that remove.
    pub delete: u32,
}

impl Mix {
    fn draw(self, prng: &mut Prng) -> Kind {
        let (get, set, delete) = (u64::from(self.get), u64::from(self.set), u64::from(self.delete));
        let drawn = prng.below(get + set + delete);
        if drawn < get {
            Kind::Get
        } else if drawn < get + set {
            Kind::Set
        } else {
            Kind::Delete
        }
    }
}

/// Where the operations come from.
#[derive(Clone, Debug)]
pub enum Work {
    /// The same with each key, in order.
    EachKey(Kind),
    /// Drawn at random.
    Mixed(Mix, Keys),
}

/// Who sets the pace, and when it ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Operations a second; `None` is a closed loop.
    pub rate: Option<u64>,
    /// The last operation's number and one; `None` is without end.
    pub operations: Option<u64>,
    /// After how long no operation begins any more.
    pub duration_ns: Option<u64>,
}

/// The operations of one phase, handed out one by one.
#[derive(Clone, Debug)]
pub struct Schedule {
    work: Work,
    pace: Pace,
    /// The smallest and the largest value.
    value_bytes: (u32, u32),
    prng: Prng,
    begin_ns: u64,
    issued: u64,
}

impl Schedule {
    /// A schedule that begins at zero.
    pub fn new(work: Work, pace: Pace, value_bytes: (u32, u32), seed: u64) -> Schedule {
        Schedule { work, pace, value_bytes, prng: Prng::new(seed), begin_ns: 0, issued: 0 }
    }

    /// Lets it begin now.
    pub fn begin(&mut self, now_ns: u64) {
        self.begin_ns = now_ns;
    }

    /// The next operation, if one may begin by now.
    pub fn next(&mut self, now_ns: u64) -> Option<Operation> {
        let start_ns = self.due_ns(self.issued).unwrap_or(now_ns);
        if self.is_over(now_ns) || start_ns > now_ns {
            return None;
        }
        let (kind, key) = self.draw();
        let value_bytes = if kind == Kind::Set { self.draw_size() } else { 0 };
        self.issued += 1;
        Some(Operation { kind, key, value_bytes, start_ns })
    }

    /// Will no operation begin any more?
    pub fn is_over(&self, now_ns: u64) -> bool {
        self.pace.operations.is_some_and(|limit| self.issued >= limit) || self.end_ns().is_some_and(|end| now_ns >= end)
    }

    /// When no operation begins any more, if time decides that.
    pub fn end_ns(&self) -> Option<u64> {
        Some(self.begin_ns.saturating_add(self.pace.duration_ns?))
    }

    /// When the driver has to be back here, answers or not: for the next operation, or for the end.
    pub fn wake_ns(&self) -> Option<u64> {
        self.due_ns(self.issued).into_iter().chain(self.end_ns()).min()
    }

    /// How far it has come, in percent, if the number of operations decides that.
    pub fn percent(&self) -> Option<f64> {
        self.pace.operations.map(|limit| 100.0 * self.issued as f64 / limit.max(1) as f64)
    }

    /// The operations that were due before `now_ns` and the end, and are not sent: groups of (kind, due, number). Ends the schedule.
    ///
    /// A group has the time of its oldest operation and one kind, drawn from the mix.
    pub fn give_up(&mut self, now_ns: u64) -> Vec<(Kind, u64, u64)> {
        let mut unsent = Vec::new();
        let until = self.due_before(now_ns.min(self.end_ns().unwrap_or(u64::MAX)));
        let group = until.saturating_sub(self.issued).div_ceil(UNSENT_GROUPS);
        while self.issued < until {
            let number = group.min(until - self.issued);
            let due_ns = self.due_ns(self.issued).unwrap_or(now_ns);
            unsent.push((self.draw().0, due_ns, number));
            self.issued += number;
        }
        unsent
    }

    /// When operation `number` is due; `None` in a closed loop.
    fn due_ns(&self, number: u64) -> Option<u64> {
        // Each from its number, not from the one before: nothing adds up.
        let after = u128::from(number) * u128::from(NS_PER_SECOND) / u128::from(self.pace.rate?);
        Some(self.begin_ns.saturating_add(u64::try_from(after).unwrap_or(u64::MAX)))
    }

    /// How many operations are due before `now_ns`; in a closed loop none is due that is not issued.
    fn due_before(&self, now_ns: u64) -> u64 {
        let Some(rate) = self.pace.rate else { return self.issued };
        let elapsed = u128::from(now_ns.saturating_sub(self.begin_ns));
        let due = (elapsed * u128::from(rate)).div_ceil(u128::from(NS_PER_SECOND));
        u64::try_from(due).unwrap_or(u64::MAX).min(self.pace.operations.unwrap_or(u64::MAX))
    }

    fn draw(&mut self) -> (Kind, u64) {
        match &self.work {
            Work::EachKey(kind) => (*kind, self.issued),
            Work::Mixed(mix, keys) => (mix.draw(&mut self.prng), keys.draw(&mut self.prng)),
        }
    }

    fn draw_size(&mut self) -> u32 {
        let (least, most) = self.value_bytes;
        least + self.prng.below(u64::from(most - least) + 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Shape;
    use super::*;

    const MIX: Mix = Mix { get: 6, set: 3, delete: 1 };

    fn mixed(pace: Pace) -> Schedule {
        Schedule::new(Work::Mixed(MIX, Keys::new(10, Shape::Uniform)), pace, (5, 9), 3)
    }

    fn starts(schedule: &mut Schedule, now_ns: u64) -> Vec<u64> {
        std::iter::from_fn(|| schedule.next(now_ns)).map(|operation| operation.start_ns).collect()
    }

    #[test]
    fn an_open_loop_hands_out_what_is_due_with_its_intended_start() {
        let mut schedule = mixed(Pace { rate: Some(1_000_000), ..Pace::default() });
        schedule.begin(500);
        assert_eq!(starts(&mut schedule, 499), Vec::<u64>::new());
        assert_eq!(starts(&mut schedule, 500), [500]);
        assert_eq!(schedule.wake_ns(), Some(1_500));
        // The driver was away for three periods: three operations, each from when it should have begun.
        assert_eq!(starts(&mut schedule, 4_400), [1_500, 2_500, 3_500]);
        assert_eq!(starts(&mut schedule, 4_499), Vec::<u64>::new());
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_does_not_drift() {
        let mut schedule = mixed(Pace { rate: Some(3), ..Pace::default() });
        let seen = starts(&mut schedule, 1_000 * NS_PER_SECOND);
        assert_eq!(seen.len(), 3_001);
        assert_eq!((seen[1], seen[3], seen[3_000]), (333_333_333, NS_PER_SECOND, 1_000 * NS_PER_SECOND));
    }

    #[test]
    fn an_open_loop_ends_with_its_time_and_knows_what_it_did_not_send() {
        let mut schedule = mixed(Pace { rate: Some(1_000), duration_ns: Some(NS_PER_SECOND), ..Pace::default() });
        assert_eq!(schedule.next(0).map(|operation| operation.start_ns), Some(0));
        assert!(!schedule.is_over(NS_PER_SECOND - 1));
        assert!(schedule.is_over(NS_PER_SECOND));
        assert_eq!(schedule.next(2 * NS_PER_SECOND), None);
        let unsent = schedule.give_up(2 * NS_PER_SECOND);
        assert_eq!(unsent.iter().map(|(_, _, number)| number).sum::<u64>(), 999);
        assert_eq!((unsent[0].1, unsent[998].1), (1_000_000, 999_000_000));
        assert_eq!(schedule.give_up(3 * NS_PER_SECOND), []);
    }

    #[test]
    fn what_was_not_sent_comes_in_few_groups_however_much_it_is() {
        let mut schedule = mixed(Pace { rate: Some(1_000_000), ..Pace::default() });
        let unsent = schedule.give_up(100 * NS_PER_SECOND);
        assert!(unsent.len() as u64 <= UNSENT_GROUPS);
        assert_eq!(unsent.iter().map(|(_, _, number)| number).sum::<u64>(), 100_000_000);
    }

    #[test]
    fn a_closed_loop_starts_at_once_until_the_number_or_the_time_is_up() {
        let mut schedule = mixed(Pace { operations: Some(3), duration_ns: Some(100), ..Pace::default() });
        schedule.begin(1_000);
        assert_eq!(schedule.next(1_007).map(|operation| operation.start_ns), Some(1_007));
        assert!(schedule.clone().is_over(1_100));
        assert_eq!(starts(&mut schedule, 1_050), [1_050, 1_050]);
        assert!(schedule.is_over(1_050));
        assert_eq!(schedule.give_up(2_000), []);
    }

    #[test]
    fn each_key_comes_once_and_in_order() {
        let pace = Pace { operations: Some(4), ..Pace::default() };
        let mut schedule = Schedule::new(Work::EachKey(Kind::Set), pace, (7, 7), 1);
        let keys: Vec<_> = std::iter::from_fn(|| schedule.next(0)).map(|each| (each.kind, each.key, each.value_bytes)).collect();
        assert_eq!(keys, [(Kind::Set, 0, 7), (Kind::Set, 1, 7), (Kind::Set, 2, 7), (Kind::Set, 3, 7)]);
        assert_eq!(schedule.percent(), Some(100.0));
    }

    #[test]
    fn the_mix_and_the_sizes_are_those_asked_for_and_the_seed_repeats_them() {
        let mut schedule = mixed(Pace { operations: Some(100_000), ..Pace::default() });
        let mut again = schedule.clone();
        let (mut kinds, mut sizes) = ([0u32; 3], [0u32; 10]);
        while let Some(operation) = schedule.next(0) {
            assert_eq!(again.next(0), Some(operation));
            kinds[operation.kind as usize] += 1;
            if operation.kind == Kind::Set {
                sizes[operation.value_bytes as usize] += 1;
            }
        }
        for (seen, expected) in kinds.into_iter().zip([60_000u32, 30_000, 10_000]) {
            assert!(seen.abs_diff(expected) < 1_000, "{seen}");
        }
        assert!(sizes[..5].iter().all(|&n| n == 0) && sizes[5..].iter().all(|&n| n.abs_diff(6_000) < 500), "{sizes:?}");
    }
}
