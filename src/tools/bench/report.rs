//! What a phase came to: counted while it runs, shown each second, told at its end to people or to scripts.
//!
//! Latencies go into HDR histograms, one a kind of operation, with three significant digits. Operations that have no answer when the
//! time is up are in them with the time they had waited by then: a server that hangs cannot look fast. Refused and lost ones are not: a
//! quick error is no quick answer.

use std::fmt::{self, Write};

use hdrhistogram::Histogram;

use super::schedule::{Kind, Operation};
use super::wire::Outcome;
use crate::tools::json::quoted;

const NS_PER_US: f64 = 1_000.0;
const NS_PER_SECOND: f64 = 1e9;
/// Longer latencies count as this one.
const LONGEST_NS: u64 = 3_600 * 1_000_000_000;
const DIGITS: u8 = 3;
/// What is shown of each histogram beside the mean and the maximum.
const PERCENTILES: [(&str, f64); 4] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// The counts of one phase.
#[derive(Clone, Debug)]
pub struct Tally {
    latencies: [Histogram<u64>; 3],
    answered: [u64; 3],
    hits: u64,
    misses: u64,
    /// Values that were not what was written.
    wrong: u64,
    /// Operations that the server answered with an error.
    refused: u64,
    /// Operations under way on a connection that was lost.
    lost: u64,
    lost_connections: u64,
    /// Operations without an answer when the time was up.
    unanswered: u64,
    /// Operations that were due and could not be sent in time.
    unsent: u64,
    first_error: Option<String>,
}

impl Tally {
    /// Nothing yet.
    pub fn new() -> Tally {
        let empty = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("the bounds are constants that the histogram accepts");
        Tally {
            latencies: [empty.clone(), empty.clone(), empty],
            answered: [0; 3],
            hits: 0,
            misses: 0,
            wrong: 0,
            refused: 0,
            lost: 0,
            lost_connections: 0,
            unanswered: 0,
            unsent: 0,
            first_error: None,
        }
    }

    /// An operation was answered.
    pub fn on_outcome(&mut self, operation: &Operation, outcome: Outcome, now_ns: u64) {
        match outcome {
            Outcome::Hit => self.hits += 1,
            Outcome::Miss => self.misses += 1,
            Outcome::Done => {}
            Outcome::Wrong => {
                self.wrong += 1;
                self.note(|| format!("a wrong value for key {}", operation.key));
            }
            Outcome::Refused(words) => {
                self.refused += 1;
                return self.note(|| words);
            }
        }
        self.answered[operation.kind as usize] += 1;
        self.waited(operation.kind, now_ns.saturating_sub(operation.start_ns), 1);
    }

    /// A connection was lost with so many operations under way.
    pub fn on_lost(&mut self, operations: usize, why: &str) {
        self.lost_connections += 1;
        self.lost += operations as u64;
        self.note(|| why.to_owned());
    }

    /// An operation was still under way when the time was up.
    pub fn on_unanswered(&mut self, operation: &Operation, now_ns: u64) {
        self.unanswered += 1;
        self.waited(operation.kind, now_ns.saturating_sub(operation.start_ns), 1);
    }

    /// So many operations were due from `due_ns` on and never sent.
    pub fn on_unsent(&mut self, kind: Kind, due_ns: u64, number: u64, now_ns: u64) {
        self.unsent += number;
        self.waited(kind, now_ns.saturating_sub(due_ns), number);
    }

    /// Operations that were carried out.
    pub fn answered(&self) -> u64 {
        self.answered.iter().sum()
    }

    /// Operations that failed, whatever the reason, wrong values apart.
    pub fn errors(&self) -> u64 {
        self.refused + self.lost + self.unanswered + self.unsent
    }

    fn waited(&mut self, kind: Kind, ns: u64, times: u64) {
        self.latencies[kind as usize].saturating_record_n(ns.max(1), times);
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        self.first_error.get_or_insert_with(what);
    }
}

/// The line that is shown each second.
#[derive(Debug)]
pub struct Progress {
    last: (u64, u64, u64),
    last_ns: u64,
}

impl Progress {
    /// Begins now, with an empty tally.
    pub fn new(now_ns: u64) -> Progress {
        Progress { last: (0, 0, 0), last_ns: now_ns }
    }

    /// Is it time for the next line?
    pub fn is_due(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) >= NS_PER_SECOND as u64
    }

    /// What happened since the last line; the errors are those of the whole phase.
    pub fn line(&mut self, phase: &str, tally: &Tally, elapsed_ns: u64, percent: Option<f64>, now_ns: u64) -> String {
        let seconds = now_ns.saturating_sub(self.last_ns) as f64 / NS_PER_SECOND;
        let (answered, hits, gets) = (tally.answered() - self.last.0, tally.hits - self.last.1, tally.hits + tally.misses - self.last.2);
        self.last = (tally.answered(), tally.hits, tally.hits + tally.misses);
        self.last_ns = now_ns;
        let mut line = format!("{phase} {:>4.0} s", elapsed_ns as f64 / NS_PER_SECOND);
        let done = percent.map_or(String::new(), |percent| format!("  {percent:>5.1} %"));
        let hit = if gets > 0 { format!("  hits {:>5.1} %", share(hits, gets)) } else { String::new() };
        // Writing to a String cannot fail.
        let _ = write!(line, "{done}  {:>9.0} ops/s{hit}  errors {}", answered as f64 / seconds, tally.errors() + tally.wrong);
        line
    }
}

/// A phase that is over.
#[derive(Debug)]
pub struct Report {
    /// The phase's name.
    pub name: &'static str,
    /// From its begin to its last answer, or to when it was given up.
    pub elapsed_ns: u64,
    /// Was it given up because the server had fallen silent?
    pub is_stalled: bool,
    /// What it came to.
    pub tally: Tally,
}

impl Report {
    fn seconds(&self) -> f64 {
        self.elapsed_ns.max(1) as f64 / NS_PER_SECOND
    }

    fn rate(&self) -> f64 {
        self.tally.answered() as f64 / self.seconds()
    }

    /// All of it as `"name":{...}`, for scripts; latencies in microseconds, p99.9 under the name p99_9.
    pub fn json(&self) -> String {
        let tally = &self.tally;
        let [get, set, delete] = tally.answered;
        let first_error = tally.first_error.as_deref().map_or_else(|| "null".into(), quoted);
        let latencies: Vec<String> =
            Kind::ALL.iter().map(|&kind| format!("\"{}\":{}", kind.name(), json_latencies(&tally.latencies[kind as usize]))).collect();
        format!(
            "\"{}\":{{\"seconds\":{:.3},\"operations\":{},\"operations_per_second\":{:.1},\"gets\":{get},\"sets\":{set},\
             \"deletes\":{delete},\"hits\":{},\"misses\":{},\"wrong\":{},\"errors\":{},\"refused\":{},\"lost\":{},\"unanswered\":{},\
             \"unsent\":{},\"lost_connections\":{},\"first_error\":{first_error},\"latency_us\":{{{}}}}}",
            self.name,
            self.seconds(),
            tally.answered(),
            self.rate(),
            tally.hits,
            tally.misses,
            tally.wrong,
            tally.errors(),
            tally.refused,
            tally.lost,
            tally.unanswered,
            tally.unsent,
            tally.lost_connections,
            latencies.join(","),
        )
    }

    /// What makes the whole run a failure, if anything does.
    pub fn failure(&self) -> Option<String> {
        let name = self.name;
        if self.is_stalled {
            return Some(format!("{name}: given up, the server has fallen silent"));
        }
        if self.tally.wrong > 0 {
            return Some(format!("{name}: {} wrong values", self.tally.wrong));
        }
        (self.tally.answered() == 0).then(|| format!("{name}: not one operation was carried out"))
    }

    fn table(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tally.latencies.iter().all(Histogram::is_empty) {
            return Ok(());
        }
        write!(out, "  latency, us{:>12}", "mean")?;
        PERCENTILES.iter().try_for_each(|(name, _)| write!(out, "{name:>12}"))?;
        writeln!(out, "{:>12}", "max")?;
        for kind in Kind::ALL {
            let latencies = &self.tally.latencies[kind as usize];
            if latencies.is_empty() {
                continue;
            }
            write!(out, "  {:<11}", kind.name())?;
            each_figure(latencies).iter().try_for_each(|(_, us)| write!(out, "{us:>12.1}"))?;
            writeln!(out)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        let [get, set, delete] = tally.answered;
        writeln!(out, "{}: {} operations in {:.2} s, {:.0} a second", self.name, tally.answered(), self.seconds(), self.rate())?;
        writeln!(out, "  gets {get}, sets {set}, deletes {delete}")?;
        if get > 0 {
            let hit_share = share(tally.hits, tally.hits + tally.misses);
            writeln!(out, "  hits {}, misses {} ({hit_share:.2} % hits), wrong values {}", tally.hits, tally.misses, tally.wrong)?;
        }
        write!(out, "  errors {}", tally.errors())?;
        if tally.errors() + tally.lost_connections > 0 {
            let Tally { refused, lost, unanswered, unsent, lost_connections, .. } = tally;
            write!(out, ": refused {refused}, lost {lost} with {lost_connections} connections, ")?;
            write!(out, "unanswered at the end {unanswered}, not sent in time {unsent}")?;
        }
        writeln!(out)?;
        if let Some(first) = &tally.first_error {
            writeln!(out, "  first error: {first}")?;
        }
        self.table(out)
    }
}

/// Mean, percentiles and maximum with their names, in microseconds.
fn each_figure(latencies: &Histogram<u64>) -> Vec<(&'static str, f64)> {
    let percentiles = PERCENTILES.iter().map(|&(name, percent)| (name, latencies.value_at_percentile(percent) as f64 / NS_PER_US));
    let mut figures = vec![("mean", latencies.mean() / NS_PER_US)];
    figures.extend(percentiles);
    figures.push(("max", latencies.max() as f64 / NS_PER_US));
    figures
}

fn json_latencies(latencies: &Histogram<u64>) -> String {
    if latencies.is_empty() {
        return "null".into();
    }
    let figures: Vec<String> = each_figure(latencies).iter().map(|(name, us)| format!("\"{}\":{us:.1}", name.replace('.', "_"))).collect();
    format!("{{\"count\":{},{}}}", latencies.len(), figures.join(","))
}

fn share(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;

    fn get(start_ns: u64) -> Operation {
        Operation { kind: Kind::Get, key: 4, value_bytes: 0, start_ns }
    }

    /// Gets that took 1, 2, ... 1000 us, every tenth of them a miss.
    fn known() -> Tally {
        let mut tally = Tally::new();
        for us in 1..=1_000u64 {
            let outcome = if us.is_multiple_of(10) { Outcome::Miss } else { Outcome::Hit };
            tally.on_outcome(&get(50), outcome, 50 + us * US);
        }
        tally
    }

    fn figures(tally: &Tally) -> Vec<(&'static str, f64)> {
        each_figure(&tally.latencies[Kind::Get as usize])
    }

    #[test]
    fn percentiles_of_known_data_are_right_to_three_digits() {
        let expected = [("mean", 500.5), ("p50", 500.0), ("p90", 900.0), ("p99", 990.0), ("p99.9", 999.0), ("max", 1_000.0)];
        for (seen, expected) in figures(&known()).into_iter().zip(expected) {
            assert_eq!(seen.0, expected.0);
            // One unit of the third digit, and one for the rank, which the histogram rounds up.
            assert!((seen.1 - expected.1).abs() <= 2.0 * expected.1 / 1_000.0, "{seen:?}, not {expected:?}");
        }
    }

    #[test]
    fn what_waits_at_the_end_is_in_the_percentiles_and_among_the_errors() {
        let mut tally = known();
        tally.on_unanswered(&get(0), 2_000_000 * US);
        tally.on_unsent(Kind::Get, 0, 99, 1_000_000 * US);
        assert_eq!((tally.answered(), tally.errors()), (1_000, 100));
        let figures = figures(&tally);
        assert!(figures[3].1 > 990_000.0 && figures[5].1 > 1_990_000.0, "{figures:?}");
    }

    #[test]
    fn a_quick_refusal_is_no_quick_answer() {
        let mut tally = Tally::new();
        tally.on_outcome(&get(0), Outcome::Refused("SERVER_ERROR no".into()), 10);
        tally.on_lost(3, "reset");
        assert_eq!((tally.answered(), tally.errors()), (0, 4));
        assert!(tally.latencies[0].is_empty());
        assert_eq!(tally.first_error.as_deref(), Some("SERVER_ERROR no"));
    }

    #[test]
    fn a_wrong_value_silence_or_no_answer_at_all_make_the_run_a_failure() {
        let report = |tally, is_stalled| Report { name: "run", elapsed_ns: 1, is_stalled, tally };
        assert_eq!(report(known(), false).failure(), None);
        assert!(report(known(), true).failure().is_some());
        assert!(report(Tally::new(), false).failure().is_some());
        let mut wrong = known();
        wrong.on_outcome(&get(0), Outcome::Wrong, 10);
        assert_eq!(report(wrong, false).failure().as_deref(), Some("run: 1 wrong values"));
    }

    #[test]
    fn the_text_says_what_was_counted() {
        let text = Report { name: "run", elapsed_ns: 500_000_000, is_stalled: false, tally: known() }.to_string();
        assert!(text.starts_with("run: 1000 operations in 0.50 s, 2000 a second\n  gets 1000, sets 0, deletes 0\n"), "{text}");
        assert!(text.contains("  hits 900, misses 100 (90.00 % hits), wrong values 0\n  errors 0\n"), "{text}");
        assert_eq!(text.lines().last().unwrap().split_whitespace().count(), 7, "{text}");
    }

    #[test]
    fn the_json_says_the_same_and_quotes_what_servers_say() {
        let mut tally = known();
        tally.on_outcome(&get(0), Outcome::Refused("ERROR \"\\\u{1}".into()), 10);
        let json = Report { name: "run", elapsed_ns: 500_000_000, is_stalled: false, tally }.json();
        assert!(
            json.starts_with("\"run\":{\"seconds\":0.500,\"operations\":1000,\"operations_per_second\":2000.0,\"gets\":1000,"),
            "{json}"
        );
        assert!(json.contains("\"hits\":900,\"misses\":100,\"wrong\":0,\"errors\":1,\"refused\":1,"), "{json}");
        assert!(json.contains(r#""first_error":"ERROR \"\\\u0001","latency_us":{"get":{"count":1000,"mean":500."#), "{json}");
        assert!(json.ends_with("\"set\":null,\"delete\":null}}"), "{json}");
    }

    #[test]
    fn a_progress_line_tells_of_its_own_second() {
        let mut progress = Progress::new(0);
        assert!(!progress.is_due(999_999_999) && progress.is_due(1_000_000_000));
        let mut tally = known();
        let line = progress.line("load", &tally, 1_000_000_000, Some(25.0), 1_000_000_000);
        assert_eq!(line, "load    1 s   25.0 %       1000 ops/s  hits  90.0 %  errors 0");
        tally.on_lost(2, "reset");
        let line = progress.line("run", &tally, 3_000_000_000, None, 3_000_000_000);
        assert_eq!(line, "run    3 s          0 ops/s  errors 2");
    }
}
