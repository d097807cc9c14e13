//! What a run came to, in figures.

use std::fmt;
use std::time::Duration;

use crate::harness::load::judge::Breach;
use crate::harness::load::tally::Verdict;

/// The figures of a run.
#[derive(Default)]
pub struct Figures {
    /// What the judge says.
    pub verdict: Verdict,
    /// The longest silences after each fault: for the keys of the node that was hurt.
    pub own: Vec<Duration>,
    /// For all other keys.
    pub others: Vec<Duration>,
    /// How long it took to have every copy twice, after each change.
    pub redundant: Vec<Duration>,
    /// Bulk keys that were missed or wrong in the end.
    pub bulk_lost: u64,
    /// What else is to be said.
    pub notes: Vec<String>,
}

impl Figures {
    /// Were all promises kept?
    pub fn is_kept(&self) -> bool {
        self.verdict.breaches.is_empty() && self.verdict.errors.is_empty() && self.bulk_lost == 0
    }

    /// The longest silences since they were taken last, after something was done to this node.
    pub fn silences(&mut self, taken: &[Duration], victim: usize) {
        self.own.push(taken[victim]);
        let others = taken.iter().enumerate().filter(|(group, _)| *group != victim);
        self.others.push(others.map(|(_, silence)| *silence).max().unwrap_or_default());
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { operations, errors, excused, lowest_hit_ratio, examples, took_us, .. } = &self.verdict;
        let count = |breach| self.verdict.count(breach);
        let [lost, stale, cold] = [Breach::Lost, Breach::Stale, Breach::Cold].map(count);
        let [wrong, repeated] = [Breach::Wrong, Breach::Repeated].map(count);
        let lost = lost + self.bulk_lost;
        let failed: u64 = errors.values().sum();
        let state = if self.is_kept() { "kept" } else { "BROKEN" };
        writeln!(f, "    {state}: lost {lost}  stale {stale}  cold {cold}  wrong {wrong}  repeated {repeated}  errors {failed}")?;
        writeln!(f, "    {operations} operations, {excused} excused; hit ratio of any 100 ms at least {:.2} %", lowest_hit_ratio * 100.0)?;
        write_times(f, "silence of its keys", &self.own)?;
        write_times(f, "silence of other keys", &self.others)?;
        write_times(f, "redundant after", &self.redundant)?;
        for (phase, took) in took_us.iter().enumerate().filter(|(_, took)| !took.is_empty()) {
            let [p50, p99] = [0.5, 0.99].map(|quantile| took.value_at_quantile(quantile));
            writeln!(f, "    requests, phase {phase}: p50 {p50} us, p99 {p99} us, longest {} us", took.max())?;
        }
        errors.iter().try_for_each(|(text, count)| writeln!(f, "    {count} x {text}"))?;
        self.notes.iter().chain(examples).try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// `what: median 12 ms, max 40 ms (20)`
fn write_times(f: &mut fmt::Formatter<'_>, what: &str, times: &[Duration]) -> fmt::Result {
    let mut sorted = times.to_vec();
    sorted.sort();
    let Some(longest) = sorted.last() else { return Ok(()) };
    let median = (sorted[sorted.len() / 2] + sorted[(sorted.len() - 1) / 2]) / 2;
    writeln!(f, "    {what}: median {:.1} ms, longest {:.1} ms, of {}", millis(median), millis(*longest), sorted.len())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
