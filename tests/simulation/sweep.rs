//! One seed after another, and what is said when one of them fails.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use crate::finding::{Check, Finding, found};
use crate::options::{Fault, MS, Options};
use crate::planted::Mistake;
use crate::views::Passed;
use crate::world::World;

/// What of a run is compared with its repetition.
const FIRST_PART_US: u64 = 3_000 * MS;

thread_local! {
    /// Are panics of this thread looked for?
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What has been lived through.
#[derive(Default)]
struct Tally {
    seeds: u64,
    steps: u64,
    simulated_us: u64,
    requests: u64,
    explained: u64,
    unclear: u64,
    failures: u64,
    faults: BTreeMap<Fault, u64>,
    mirrored: u64,
    passed: Passed,
}

/// A number from the environment.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not \"{text}\"")))
}

/// Runs these seeds.
pub fn seeds(seeds: Range<u64>) {
    run_while(seeds, |_| true);
}

/// Runs seeds for so many minutes.
pub fn for_minutes(from: u64, minutes: u64) {
    let end = Duration::from_secs(60 * minutes);
    run_while(from..u64::MAX, |began| began.elapsed() < end);
}

/// Runs one seed, and tells its options and how it ends.
pub fn replay(seed: u64) {
    let mut world = World::new(Options::draw(seed), None, true);
    if let Err(finding) = live(&mut world) {
        panic!("{}", tell(&world, &finding));
    }
    let mut tally = Tally::default();
    tally.add(&world);
    println!("{} and its hash is {:016x}\n{}", tally.line(Duration::ZERO), world.hash, tally.passed.line());
}

/// The hash of the first part of a seed's story.
pub fn first_part(seed: u64) -> u64 {
    let mut world = World::new(Options::draw(seed), None, false);
    world.storm.begin(0);
    world.run_for(FIRST_PART_US).expect("the beginning of a sound seed");
    world.hash
}

/// Runs the pools in which mistakes are looked for, without any.
pub fn pools_of_mistakes(mistakes: impl Iterator<Item = Mistake>, seeds: Range<u64>) {
    for mistake in mistakes {
        for seed in seeds.clone() {
            let mut world = World::new(mistake.options(seed), None, false);
            if quietly(|| live(&mut world)).is_err() {
                let mut told = World::new(mistake.options(seed), None, true);
                let finding = live(&mut told).expect_err("a seed ends as it ended before");
                panic!("in a pool drawn for {mistake:?}: {}", tell(&told, &finding));
            }
        }
    }
}

/// The mistake, if it is not found within so many seeds. A seed that fails without it as well proves nothing, and is told.
pub fn miss(mistake: Mistake, within: u64) -> Option<Mistake> {
    for seed in number("FROM").unwrap_or(0)..within {
        let mut world = World::new(mistake.options(seed), Some(mistake), false);
        let Err(finding) = quietly(|| live(&mut world)) else { continue };
        let mut sound = World::new(mistake.options(seed), None, true);
        match quietly(|| live(&mut sound)) {
            Ok(()) => {
                println!("{mistake:?} is found by seed {seed}: {}", finding.what);
                return None;
            }
            Err(finding) => println!("not {mistake:?}, but something else is found by its seed {seed}: {}", tell(&sound, &finding)),
        }
    }
    Some(mistake)
}

fn run_while(seeds: Range<u64>, go_on: impl Fn(Instant) -> bool) {
    let began = Instant::now();
    let mut tally = Tally::default();
    for seed in seeds {
        let mut world = World::new(Options::draw(seed), None, false);
        if live(&mut world).is_err() {
            replay(seed); // once more, to be told
        }
        tally.add(&world);
        if !go_on(began) {
            break;
        }
    }
    println!("{}\n{} seeds with mirrors: {}", tally.line(began.elapsed()), tally.mirrored, tally.passed.line());
    for (fault, times) in &tally.faults {
        println!("  {times:>9} {fault:?}");
    }
}

/// A broken invariant of a node is a finding like any other.
fn live(world: &mut World) -> Check {
    catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        found(format!("a node panicked: {}", text.unwrap_or_default()))
    })
}

/// Without the panics that are looked for being told.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                hook(panic)
            }
        }));
    });
    IS_QUIET.set(true);
    let result = work();
    IS_QUIET.set(false);
    result
}

fn tell(world: &World, finding: &Finding) -> String {
    let story = world.story.as_ref().map_or_else(String::new, |story| story.tell(finding.key));
    let (options, seed, step, ms) = (&world.options, world.options.seed, world.steps, world.now / MS);
    format!("\n{options:#?}\n{story}\n\nseed {seed}, step {step}, at {ms} ms: {}\n  make sim SEED={seed}\n", finding.what)
}

impl Tally {
    fn add(&mut self, world: &World) {
        let checked = &world.checker.checked;
        self.seeds += 1;
        self.steps += world.steps;
        self.simulated_us += world.now;
        self.requests += checked.requests;
        self.explained += checked.explained;
        self.unclear += checked.unclear;
        self.failures += checked.failures;
        if world.options.is_mirrored() {
            self.mirrored += 1;
            self.passed.add(&world.views.passed);
        }
        for (fault, times) in &world.storm.struck {
            *self.faults.entry(*fault).or_default() += times;
        }
    }

    fn line(&self, real: Duration) -> String {
        let simulated_s = self.simulated_us as f64 / 1e6;
        format!(
            "{} seeds, {:.2} simulated hours, {} steps, {} faults, {} requests ({} failed), {} answers explained exactly, {} unclear, {:.0} times real time",
            self.seeds,
            simulated_s / 3_600.0,
            self.steps,
            self.faults.values().sum::<u64>(),
            self.requests,
            self.failures,
            self.explained,
            self.unclear,
            simulated_s / real.as_secs_f64().max(1e-9)
        )
    }
}
