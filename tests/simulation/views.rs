//! The views that nodes have acted on, and what must be true of them whatever happens.
//!
//! One epoch of a lineage has one content, ever and everywhere; a process never goes back to an older one. The newest view is the one that
//! was acted on last for the first time, unless that comes before it in its lineage: by it the world knows where copies are. What each step to a newest view was, a takeover or a return
//! or a start, is counted, so that a night of runs shows whether it has lived through everything.

use std::collections::BTreeMap;

use spydercache::topology::membership::Card;
use spydercache::topology::view::{Standing, View};

use crate::finding::Finding;

/// How it came that somebody is not in a view any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Its process has ended, and its machine says so.
    Refused,
    /// It says nothing.
    Silent,
}

/// How often what has happened.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    pub changes: u64,
    pub by_refusal: u64,
    pub by_silence: u64,
    pub handovers: u64,
    /// A lease ran out, or a node stopped for a proposal.
    pub lease_expiries: u64,
    pub cold_starts: u64,
    pub warm_starts: u64,
    /// How long the pool took to be whole again, after each storm.
    pub whole_after_us: Vec<u64>,
}

/// All views that were acted on.
#[derive(Debug, Default)]
pub struct Views {
    seen: BTreeMap<(u64, u64), View>,
    newest: Option<(u64, u64)>,
    /// Where each host's present process stands: its life, its view, and whether it served when it was last looked at.
    at: BTreeMap<usize, (u64, (u64, u64), bool)>,
    pub passed: Passed,
}

impl Views {
    /// The newest view.
    pub fn newest(&self) -> Option<&View> {
        self.seen.get(self.newest.as_ref()?)
    }

    /// A process acts on this view. True if it is the newest now.
    pub fn on_view(&mut self, host: usize, life: u64, view: &View, departure: impl Fn(&Card) -> Departure) -> Result<bool, Finding> {
        let number = (view.lineage, view.epoch);
        let before = self.at.insert(host, (life, number, false));
        match before {
            Some((same_life, before, serves)) if same_life == life && before == number => {
                self.at.insert(host, (life, number, serves));
                return Ok(false);
            }
            Some((same_life, before, _)) if same_life == life && before.0 == number.0 && before.1 > number.1 => {
                let what = format!("node {} goes back from epoch {} to {}", host + 1, before.1, number.1);
                return Err(Finding { what, key: None });
            }
            _ => {}
        }
        match self.seen.get(&number) {
            Some(seen) if seen != view => {
                let what = format!("epoch {} has two contents, at node {}:\n{view:?}\nand before:\n{seen:?}", number.1, host + 1);
                Err(Finding { what, key: None })
            }
            Some(_) => Ok(false),
            None => {
                self.count(view, departure);
                self.seen.insert(number, view.clone());
                let is_passed = self.newest.is_some_and(|newest| newest.0 == number.0 && newest.1 > number.1);
                self.newest = if is_passed { self.newest } else { Some(number) };
                Ok(!is_passed)
            }
        }
    }

    /// Does the host's process serve? It is counted when it stops within a view.
    pub fn on_serving(&mut self, host: usize, serves: bool) {
        if let Some((_, _, served)) = self.at.get_mut(&host) {
            self.passed.lease_expiries += u64::from(*served && !serves);
            *served = serves;
        }
    }

    fn count(&mut self, view: &View, departure: impl Fn(&Card) -> Departure) {
        self.passed.changes += 1;
        let Some(before) = self.newest() else { return };
        if before.lineage != view.lineage {
            let starts = if view.first_only { &mut self.passed.warm_starts } else { &mut self.passed.cold_starts };
            *starts += 1;
            return;
        }
        let gone =
            before.up().map(|seat| &before.seats[seat]).filter(|seat| view.seat_up(&seat.card.name, seat.card.incarnation).is_none());
        let (mut refused, mut silent, mut left) = (0, 0, 0);
        for seat in gone {
            match departure(&seat.card) {
                _ if seat.standing == Standing::Leaving => left += 1,
                Departure::Refused => refused += 1,
                Departure::Silent => silent += 1,
            }
        }
        self.passed.by_refusal += refused;
        self.passed.by_silence += silent;
        self.passed.handovers += left;
    }
}

impl Passed {
    /// Those of another run besides.
    pub fn add(&mut self, other: &Passed) {
        self.changes += other.changes;
        self.by_refusal += other.by_refusal;
        self.by_silence += other.by_silence;
        self.handovers += other.handovers;
        self.lease_expiries += other.lease_expiries;
        self.cold_starts += other.cold_starts;
        self.warm_starts += other.warm_starts;
        self.whole_after_us.extend(&other.whole_after_us);
    }

    /// In a line.
    pub fn line(&self) -> String {
        let Passed { changes, by_refusal, by_silence, handovers, lease_expiries, cold_starts, warm_starts, .. } = self;
        let (half, most) = (self.whole_after_ms(50), self.whole_after_ms(99));
        format!(
            "{changes} views, takeovers: {by_refusal} by refusal, {by_silence} by silence; {handovers} handed over, {lease_expiries} times a node stopped serving, \
             {cold_starts} cold and {warm_starts} warm starts; whole again after p50 {half} ms, p99 {most} ms"
        )
    }

    fn whole_after_ms(&self, percent: usize) -> u64 {
        let mut sorted = self.whole_after_us.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default() / crate::options::MS
    }
}
