//! The long runs: real pools under load, hurt in every way that a machine allows, and a table of what their clients saw.
//!
//! ```text
//!   main ──▶ runs ─┬─▶ harness (nodes, load, judge: those of tests/server)
//!                  ├─▶ network: namespaces, and cuts between them     ──▶ figures: a line a run
//!                  └─▶ bulk: many keys, written and read in pipelines
//! ```
//!
//! `make chaos` runs all; `make chaos RUNS="kill stop"` some. `RATE` is operations a second, `NODES` those of a pool, `KEYS` the keys that
//! fill it, `TIMES` how often a node is killed in the run of that name. It fails if a promise was broken. What it measures are times on
//! the machine it runs on, beside whatever else runs there: they are printed, and nothing is decided by them. The short form of these
//! runs, with a verdict only, is `tests/server/mirrors.rs`.

mod bulk;
mod figures;
#[path = "../server/harness/mod.rs"]
#[allow(dead_code, reason = "tests/server uses the rest")]
mod harness;
mod network;
mod runs;

use std::env;
use std::fmt::Debug;
use std::panic::{self, AssertUnwindSafe};
use std::str::FromStr;

use crate::figures::Figures;
use crate::runs::{RUNS, Run, Scale};

#[test]
#[ignore = "takes minutes, and the machine for itself: make chaos"]
fn pools_keep_their_promises_while_they_are_hurt() {
    let scale = Scale {
        rate: number("RATE").unwrap_or(10_000),
        times: number("TIMES").unwrap_or(20),
        nodes: number("NODES").unwrap_or(3),
        keys: number("KEYS").unwrap_or(100_000),
    };
    let names = env::var("RUNS").unwrap_or_default();
    let names: Vec<&str> = names.split_whitespace().collect();
    for name in &names {
        assert!(RUNS.iter().any(|run| run.name == *name), "no run {name}; there are\n{}", all_runs());
    }
    let chosen = RUNS.iter().filter(|run| names.is_empty() || names.contains(&run.name));
    let broken: Vec<&str> = chosen.filter(|run| !carry_out(run, &scale)).map(|run| run.name).collect();
    assert!(broken.is_empty(), "promises were broken in {broken:?}");
}

/// A number from the environment, if it is there.
fn number<T: FromStr<Err: Debug>>(name: &str) -> Option<T> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error:?}")))
}

fn all_runs() -> String {
    RUNS.iter().map(|run| format!("    {:12} {}\n", run.name, run.what)).collect()
}

/// Carries out a run and prints its line. Were all promises kept?
fn carry_out(run: &Run, scale: &Scale) -> bool {
    println!("\n{}: {}", run.name, run.what);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut figures = Figures::default();
        (run.carry_out)(scale, &mut figures).map(|()| figures)
    }));
    match outcome {
        Ok(Ok(figures)) => {
            print!("{figures}");
            figures.is_kept()
        }
        Ok(Err(reason)) => {
            println!("    skipped: {reason}");
            true
        }
        // The panic has said its reason, and the logs of the nodes with it.
        Err(_) => {
            println!("    FAILED: it did not come to its end");
            false
        }
    }
}
