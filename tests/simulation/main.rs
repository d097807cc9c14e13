//! The simulation: whole pools, with everything that can go wrong, on virtual time and from one seed.
//!
//! The very same [`Node`](spydercache::node::Node) that the event loop drives is driven here, through the same doors, by a world that can
//! be run again: no socket, no file, no clock, no thread. A seed draws the pool, its load and its faults ([`options`]); the [`world`]
//! carries them out; the [`checker`] judges what clients see. What it does not do: it does not test the dialects nor the event loop;
//! `tests/server` does, on real processes.
//!
//! ```text
//!   options ─▶ world ─┬─ hosts (host: node, clock, disk, durability)      checker ─▶ history ─▶ model
//!                     ├─ network                                             ▲         └▶ ways
//!                     ├─ storm                                               │ what was asked, what was answered, what may be lost
//!                     ├─ clients ────────────────────────────────────────────┤
//!                     └─ mirrored: views, losses ────────────────────────────┘
//! ```
//!
//! Walks over the keys of a pool are one look, or one removal, in the history of each key that they reach ([`walks`]).
//!
//! Pools without mirrors are judged while they agree; mirrored ones always, and from within besides: [`mirrored`] looks at [`views`], leases
//! and copies, and [`losses`] says what may be lost.
//!
//! `make sim` sweeps as many seeds as a few minutes allow; `SEEDS=5000` says how many, `FROM=100` which is the first, `SEED=17` replays one, with its
//! last events, or with `TOLD=9999` of them. `make test`
//! runs a fixed few, and [`planted`] mistakes to see that they are found; `MISTAKE=NoLease` plants that one alone. `make sim-scale` kills one of fifty nodes.

mod answer;
mod checker;
mod clients;
mod clock;
mod disk;
mod durability;
mod finding;
mod history;
mod host;
mod losses;
mod mirrored;
mod model;
mod network;
mod options;
mod planted;
mod scale;
mod storm;
mod sweep;
mod views;
mod walks;
mod ways;
mod world;

use crate::planted::Mistake;

/// Seeds of a plain `cargo test`.
const FEW: u64 = 40;

#[test]
fn no_pool_breaks_its_promises_whatever_happens_to_it() {
    let from = sweep::number("FROM").unwrap_or(0);
    match (sweep::number("SEED"), sweep::number("SEEDS")) {
        (Some(seed), _) => sweep::replay(seed),
        (None, Some(seeds)) => sweep::seeds(from..from + seeds),
        (None, None) if cfg!(debug_assertions) => sweep::seeds(0..FEW),
        (None, None) => sweep::for_minutes(from, 3),
    }
}

#[test]
fn a_seed_tells_the_same_story_every_time() {
    for seed in 0..5 {
        let (one, two) = (sweep::first_part(seed), sweep::first_part(seed));
        assert_eq!(one, two, "seed {seed}");
    }
}

#[test]
fn planted_mistakes_of_drivers_are_found() {
    find_all(&Mistake::OF_DRIVERS);
}

#[test]
fn planted_mistakes_of_the_core_are_found() {
    find_all(&Mistake::OF_THE_CORE);
}

#[test]
#[ignore = "takes minutes: SEEDS=... from FROM=... of MISTAKE=..., or of all"]
fn pools_drawn_for_planted_mistakes_keep_their_promises_without_them() {
    let from = sweep::number("FROM").unwrap_or(0);
    let only = std::env::var("MISTAKE").unwrap_or_default();
    let all = Mistake::OF_THE_CORE.iter().map(|(mistake, _)| *mistake);
    let mistakes = all.filter(|mistake| only.is_empty() || only == format!("{mistake:?}"));
    sweep::pools_of_mistakes(mistakes, from..from + sweep::number("SEEDS").unwrap_or(100));
}

fn find_all(mistakes: &[(Mistake, u64)]) {
    let only = std::env::var("MISTAKE").unwrap_or_default();
    let named = |(mistake, _): &&(Mistake, u64)| only == format!("{mistake:?}");
    let looked_for = mistakes.iter().filter(|mistake| only.is_empty() || named(mistake));
    let missed: Vec<Mistake> = looked_for.filter_map(|(mistake, within)| sweep::miss(*mistake, *within)).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
