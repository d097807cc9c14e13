//! The runs: what is done to a pool, and what is measured of it.

use std::fs::{self, OpenOptions};
use std::thread;
use std::time::{Duration, Instant};

use crate::bulk;
use crate::figures::Figures;
use crate::harness::load::{Load, Plan};
use crate::harness::mirrored::{LOOK_EVERY, Mirrored, await_redundant, lose_disk};
use crate::harness::node::{Node, Setup};
use crate::harness::{PATIENCE, comes_true_every};
use crate::network::{Cut, Network};

/// How large the runs are.
pub struct Scale {
    /// Operations a second.
    pub rate: u64,
    /// How often a node is killed.
    pub times: u64,
    /// Nodes of a pool.
    pub nodes: usize,
    /// Keys that a node is filled with.
    pub keys: u64,
}

/// A run.
pub struct Run {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is done.
    pub what: &'static str,
    /// Does it, or says why it cannot be done here.
    pub carry_out: fn(&Scale, &mut Figures) -> Result<(), String>,
}

/// All runs.
pub const RUNS: &[Run] = &[
    Run { name: "kill", what: "kill -9 of each node in turn, and its return", carry_out: kill },
    Run { name: "stop", what: "SIGSTOP of a node for 6 s, then SIGCONT", carry_out: stop },
    Run { name: "cut", what: "a node cut off from the others for 7 s", carry_out: |scale, figures| cut(scale, figures, Cut::Both) },
    Run { name: "cut-out", what: "a node that is not heard for 7 s", carry_out: |scale, figures| cut(scale, figures, Cut::Outward) },
    Run { name: "cut-in", what: "a node that hears nothing for 7 s", carry_out: |scale, figures| cut(scale, figures, Cut::Inward) },
    Run { name: "restart", what: "kill -9 and restart with the journal", carry_out: |scale, figures| restart(scale, figures, |_| {}) },
    Run { name: "fresh", what: "kill -9 and restart without a journal", carry_out: |scale, figures| restart(scale, figures, lose_disk) },
    Run { name: "damaged", what: "kill -9 and restart with half the journal", carry_out: |scale, figures| restart(scale, figures, halve) },
    Run { name: "grow", what: "one node more, and one less", carry_out: grow },
    Run { name: "rolling", what: "SIGTERM and restart of each node in turn", carry_out: rolling },
    Run { name: "whole", what: "kill -9 of all nodes, sync = everysec", carry_out: |scale, figures| whole(scale, figures, |setup| setup) },
    Run {
        name: "whole-sync",
        what: "kill -9 of all nodes, sync = always",
        carry_out: |scale, figures| whole(scale, figures, |setup| setup.set("journal.sync=always")),
    },
    Run { name: "pair", what: "kill -9 of either of two nodes, and its return", carry_out: pair },
];

/// Keys of each kind of each worker.
const KEYS: usize = 300;
/// Requests for each node's keys that are enough to see that a load goes on.
const SOME: u64 = 500;
/// How long a pool is left alone before something is done to it.
const CALM: Duration = Duration::from_secs(2);
/// The port of every node that has an address to itself.
const PORT: u16 = 8080;

fn load_on(pool: &Mirrored, scale: &Scale) -> Load {
    let load = Load::start(Plan { keys: KEYS, ..Plan::on(&pool.nodes, scale.rate) });
    thread::sleep(CALM);
    load.take_silences();
    load.next_phase();
    load
}

/// Ends the load: the last words.
fn finish(load: Load, pool: &Mirrored, figures: &mut Figures) -> Result<(), String> {
    load.await_more(SOME);
    figures.verdict = load.finish(pool.running());
    Ok(())
}

/// Waits until the pool is redundant, and notes how long that took.
fn until_redundant(pool: &Mirrored, since: Instant, figures: &mut Figures) {
    pool.await_redundant();
    figures.redundant.push(since.elapsed());
}

fn kill(scale: &Scale, figures: &mut Figures) -> Result<(), String> {
    kill_in_turn(&mut Mirrored::start(scale.nodes), scale, scale.times, figures)
}

fn pair(scale: &Scale, figures: &mut Figures) -> Result<(), String> {
    // The one that is left is as redundant as it can be only when the other has returned.
    kill_in_turn(&mut Mirrored::start(2), scale, 4, figures)
}

fn kill_in_turn(pool: &mut Mirrored, scale: &Scale, times: u64, figures: &mut Figures) -> Result<(), String> {
    let load = load_on(pool, scale);
    for victim in (0..pool.nodes.len()).cycle().take(usize::try_from(times).expect("a few")) {
        load.excuse(victim);
        load.take_silences();
        let killed = Instant::now();
        pool.nodes[victim].kill();
        load.await_more(SOME);
        figures.silences(&load.take_silences(), victim);
        if pool.nodes.len() > 2 {
            until_redundant(pool, killed, figures);
        }
        let started = Instant::now();
        pool.nodes[victim].start();
        load.hold(victim);
        until_redundant(pool, started, figures);
        load.await_more(SOME);
    }
    finish(load, pool, figures)
}

fn stop(scale: &Scale, figures: &mut Figures) -> Result<(), String> {
    let pool = Mirrored::start(scale.nodes);
    let load = load_on(&pool, scale);
    let victim = scale.nodes - 1;
    load.excuse(victim);
    pool.nodes[victim].signal("STOP");
    thread::sleep(Duration::from_secs(6));
    figures.silences(&load.take_silences(), victim);
    pool.nodes[victim].signal("CONT");
    until_redundant(&pool, Instant::now(), figures);
    load.await_more(SOME);
    figures.silences(&load.take_silences(), victim);
    load.hold(victim);
    finish(load, &pool, figures)
}

fn cut(scale: &Scale, figures: &mut Figures, cut: Cut) -> Result<(), String> {
    let network = Network::new(scale.nodes)?;
    let names: Vec<String> = (0..scale.nodes).map(|node| format!("{}:{PORT}", network.address(node))).collect();
    let place =
        |node: usize, setup: Setup| setup.set(format!("local.node_address={}", network.address(node))).within(network.namespace(node));
    let pool = Mirrored::start_on(&names, |setup| setup, place);
    let load = load_on(&pool, scale);
    for victim in [0, scale.nodes - 1] {
        load.excuse(victim);
        load.take_silences();
        network.cut(victim, cut);
        thread::sleep(Duration::from_secs(7));
        figures.silences(&load.take_silences(), victim);
        network.heal(victim, cut);
        until_redundant(&pool, Instant::now(), figures);
        load.hold(victim);
        load.await_more(SOME);
    }
    finish(load, &pool, figures)
}

/// A node with many keys is killed and comes back; then another dies for good, so that what the first has got is all there is.
fn restart(scale: &Scale, figures: &mut Figures, disk: fn(&Node)) -> Result<(), String> {
    let mut pool = Mirrored::start(scale.nodes);
    bulk::write(&pool.nodes, scale.keys);
    let load = load_on(&pool, scale);
    let victim = scale.nodes - 1;
    load.excuse(victim);
    pool.nodes[victim].kill();
    disk(&pool.nodes[victim]);
    let started = Instant::now();
    pool.nodes[victim].start();
    load.hold(victim);
    until_redundant(&pool, started, figures);
    load.await_more(SOME);
    figures.silences(&load.take_silences(), victim);
    load.excuse(0);
    pool.nodes[0].kill();
    load.await_more(SOME);
    figures.silences(&load.take_silences(), 0);
    finish(load, &pool, figures)?;
    figures.bulk_lost = pool.running().map(|node| bulk::missing(node, scale.keys)).max().unwrap_or_default();
    Ok(())
}

/// A power cut that has taken half of what a node wrote to its journal.
fn halve(node: &Node) {
    for path in node.segments() {
        let length = fs::metadata(&path).expect("a segment").len();
        let file = OpenOptions::new().write(true).open(&path).expect("a segment");
        file.set_len(length / 2).expect("a shorter segment");
    }
}

fn grow(scale: &Scale, figures: &mut Figures) -> Result<(), String> {
    let pool = Mirrored::start(scale.nodes);
    bulk::write(&pool.nodes, scale.keys);
    let load = load_on(&pool, scale);
    let started = Instant::now();
    let mut newcomer = pool.newcomer();
    await_redundant(pool.running().chain([&newcomer]));
    assert!(comes_true_every(LOOK_EVERY, PATIENCE, || owns_any(&pool.nodes[0], scale.nodes)), "the newcomer owns nothing");
    figures.redundant.push(started.elapsed());
    load.await_more(SOME);
    load.next_phase();
    let told = Instant::now();
    assert!(newcomer.terminate().success(), "it does not end well");
    figures.notes.push(format!("the newcomer was drained in {} ms", told.elapsed().as_millis()));
    until_redundant(&pool, told, figures);
    figures.silences(&load.take_silences(), 0);
    finish(load, &pool, figures)?;
    figures.bulk_lost = bulk::missing(&pool.nodes[0], scale.keys);
    Ok(())
}

/// Does a node own any of a few keys, as another one says?
fn owns_any(asked: &Node, number: usize) -> bool {
    let mut client = asked.client();
    (0..40).any(|key| client.owner(&format!("grown{key}")) == (number + 1).to_string())
}

fn rolling(scale: &Scale, figures: &mut Figures) -> Result<(), String> {
    let mut pool = Mirrored::start(scale.nodes);
    bulk::write(&pool.nodes, scale.keys);
    let load = load_on(&pool, scale);
    for victim in 0..scale.nodes {
        load.excuse(victim);
        let told = Instant::now();
        assert!(pool.nodes[victim].terminate().success(), "it does not end well");
        figures.notes.push(format!("node {} was drained in {} ms", victim + 1, told.elapsed().as_millis()));
        let started = Instant::now();
        pool.nodes[victim].start();
        load.hold(victim);
        until_redundant(&pool, started, figures);
        figures.silences(&load.take_silences(), victim);
    }
    finish(load, &pool, figures)?;
    figures.bulk_lost = bulk::missing(&pool.nodes[0], scale.keys);
    Ok(())
}

fn whole(scale: &Scale, figures: &mut Figures, adjust: fn(Setup) -> Setup) -> Result<(), String> {
    let mut pool = Mirrored::start_with(scale.nodes, adjust);
    bulk::write(&pool.nodes, scale.keys);
    let load = load_on(&pool, scale);
    (0..scale.nodes).for_each(|node| load.excuse(node));
    let killed = Instant::now();
    pool.kill_and_restart_all();
    until_redundant(&pool, killed, figures);
    (0..scale.nodes).for_each(|node| load.hold(node));
    load.await_more(SOME);
    figures.silences(&load.take_silences(), 0);
    finish(load, &pool, figures)?;
    figures.bulk_lost = bulk::missing(&pool.nodes[0], scale.keys);
    Ok(())
}
