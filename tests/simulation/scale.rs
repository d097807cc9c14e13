//! A large pool: fifty nodes, one of them is killed, and all its keys have their copies again within a second of simulated time.
//!
//! It takes longer than a test should, most of it for fifty nodes that hear of each other; `make sim-scale` runs it.

use crate::options::{MS, Options};
use crate::world::World;

const NODES: usize = 50;
const VICTIM: usize = 17;
const WITHIN_US: u64 = 1_000 * MS;

#[test]
#[ignore = "long: make sim-scale"]
fn fifty_nodes_are_whole_again_within_a_second_of_a_kill() {
    let mut world = World::new(fifty(), None, false);
    let result = world.live_calmly().and_then(|()| world.kill_for_good(VICTIM));
    result.unwrap_or_else(|finding| panic!("{}", finding.what));
    let killed_at = world.now;
    while let Err(finding) = world.check_whole_without(VICTIM) {
        assert!(world.now <= killed_at + WITHIN_US, "after {} ms: {}", (world.now - killed_at) / MS, finding.what);
        world.run_for(5 * MS).unwrap_or_else(|finding| panic!("{}", finding.what));
    }
    println!("{NODES} nodes, one killed: whole again after {} ms of simulated time", (world.now - killed_at) / MS);
}

fn fifty() -> Options {
    let calm =
        (0..).map(Options::draw).find(|options| options.is_judged_always() && options.joiners == 0).expect("two in three are mirrored");
    Options {
        nodes: NODES,
        mirrors: 1,
        journal: false,
        bounds: Default::default(),
        delay_us: (50, 500),
        loss_per_mille: 0,
        clients: 5,
        depth: 8,
        keys: 200,
        think_us: 5 * MS,
        inspect_every: u64::MAX,
        calm_ms: 2_000,
        ..calm
    }
}
