//! A pool that holds a copy of each key on a second node, and what its clients see while its nodes are killed, stopped and restarted.
//!
//! The promises: nothing acknowledged is lost, nothing stale is read, no live key is missed, and nodes that nobody has touched answer
//! without an error. Each test does something to a pool under a small load, and [`load`](crate::harness::load) judges every answer. The long
//! and measured runs are in `tests/chaos`.

use crate::harness::eventually;
use crate::harness::load::judge::Breach;
use crate::harness::load::tally::Verdict;
use crate::harness::load::{Load, Plan};
use crate::harness::mirrored::{Mirrored, await_redundant, lose_disk};
use crate::harness::node::{Node, Setup};
use crate::harness::pool::{Pool, await_up};

/// Operations a second: few enough for the program unoptimised, and for a machine that has other work.
const RATE: u64 = 2_000;
/// Requests for each node's keys that are enough to see that a load goes on.
const SOME: u64 = 150;

/// Does something to a pool under load, sees that the load goes on, and reads everything through every node that runs.
fn under_load(pool: &mut Mirrored, happen: impl FnOnce(&Load, &mut Mirrored)) -> Verdict {
    let load = Load::start(Plan::on(&pool.nodes, RATE));
    load.await_more(SOME);
    happen(&load, pool);
    load.await_more(SOME);
    load.finish(pool.running())
}

#[test]
fn what_is_acknowledged_is_on_two_nodes() {
    let mut pool = Mirrored::start(3);
    let keys: Vec<String> = (0..1_000).map(|number| format!("two{number}")).filter(|key| pool.owner(0, key) == 2).take(100).collect();
    let mut writer = pool.nodes[0].client();
    keys.iter().for_each(|key| assert_eq!(writer.set(key, key), "STORED"));
    pool.nodes[2].kill();
    for reader in [&pool.nodes[0], &pool.nodes[1]] {
        let mut reader = reader.client();
        keys.iter().for_each(|key| assert_eq!(reader.get(key), Some(key.clone().into_bytes()), "{key}"));
    }
}

#[test]
fn owner_names_the_mirror_which_is_the_next_owner() {
    let mut pool = Mirrored::start(3);
    let key = (0..1_000).map(|number| format!("named{number}")).find(|key| pool.owner(0, key) == 2).expect("a fair share");
    let lines = pool.nodes[0].client().list(&format!("owner {key}"));
    let mirror = lines.get(1).and_then(|line| line.strip_prefix("MIRROR ")).unwrap_or_else(|| panic!("{lines:?}"));
    let mirror = mirror.split(' ').next().and_then(|id| id.parse::<usize>().ok()).expect("a number") - 1;
    assert_eq!(lines.len(), 2, "{lines:?}");
    pool.nodes[2].kill();
    pool.await_redundant();
    assert_eq!((pool.owner(0, &key), pool.owner(1, &key)), (mirror, mirror));
}

#[test]
fn the_death_of_an_owner_loses_nothing_and_is_no_error_at_other_nodes() {
    let mut pool = Mirrored::start(3);
    let verdict = under_load(&mut pool, |load, pool| {
        load.excuse(2);
        pool.nodes[2].kill();
        load.await_more(SOME);
        pool.await_redundant();
    });
    verdict.assert_kept();
}

#[test]
fn two_deaths_one_after_the_other_lose_nothing_once_the_first_is_made_good() {
    let mut pool = Mirrored::start(3);
    let verdict = under_load(&mut pool, |load, pool| {
        for victim in [0, 2] {
            load.excuse(victim);
            pool.nodes[victim].kill();
            load.await_more(SOME);
            if victim == 0 {
                pool.await_redundant();
            }
        }
    });
    verdict.assert_kept();
}

#[test]
fn an_owner_that_is_stopped_and_goes_on_answers_nothing_from_its_memory() {
    let mut pool = Mirrored::start(3);
    let verdict = under_load(&mut pool, |load, pool| {
        load.excuse(2);
        pool.nodes[2].signal("STOP");
        pool.await_up_without(2, 2);
        // Its workers wait for it, and ask it again the moment it wakes.
        [0, 1, 2].into_iter().for_each(|group| load.await_more_of(group, SOME));
        pool.nodes[2].signal("CONT");
        pool.await_redundant();
        load.hold(2);
        load.await_more(SOME);
    });
    verdict.assert_kept();
}

/// Kills each node in turn, does something to its disk, starts it again, and waits until the pool is redundant.
fn killed_and_restarted(adjust: fn(Setup) -> Setup, disk: fn(&Node)) -> Verdict {
    let mut pool = Mirrored::start_with(3, adjust);
    under_load(&mut pool, |load, pool| {
        for victim in [2, 0, 1] {
            load.excuse(victim);
            pool.nodes[victim].kill();
            disk(&pool.nodes[victim]);
            pool.nodes[victim].start();
            load.hold(victim);
            pool.await_redundant();
            load.await_more(SOME);
        }
    })
}

#[test]
fn nodes_killed_and_restarted_with_their_journals_miss_no_key() {
    killed_and_restarted(|setup| setup, |_| {}).assert_kept();
}

#[test]
fn nodes_killed_and_restarted_without_their_journals_miss_no_key() {
    killed_and_restarted(|setup| setup, lose_disk).assert_kept();
}

#[test]
fn nodes_that_keep_no_journal_miss_no_key_either() {
    killed_and_restarted(|setup| setup.set("journal.enabled=false"), |_| {}).assert_kept();
}

/// Takes a fourth node in, and lets it go again.
fn grows_and_shrinks(join: impl FnOnce(&Mirrored) -> Node) {
    let mut pool = Mirrored::start(3);
    let verdict = under_load(&mut pool, |load, pool| {
        let mut fourth = join(pool);
        await_redundant(pool.running().chain([&fourth]));
        let owns = || (0..1_000).any(|number| pool.owner(0, &format!("grown{number}")) == 3);
        eventually("the fourth owns its share", owns);
        load.await_more(SOME);
        assert_eq!(fourth.terminate().code(), Some(0));
        pool.await_redundant();
    });
    verdict.assert_kept();
}

#[test]
fn a_node_that_knows_the_pool_comes_and_goes_without_a_miss() {
    grows_and_shrinks(Mirrored::newcomer);
}

#[test]
fn a_node_that_the_pool_is_told_of_comes_and_goes_without_a_miss() {
    grows_and_shrinks(|pool| {
        let fourth = pool.stranger();
        assert_eq!(pool.nodes[1].client().ask(&format!("connect {}", fourth.name)), "OK");
        fourth
    });
}

#[test]
fn all_but_one_may_be_told_to_end_at_once() {
    let mut pool = Mirrored::start(4);
    let verdict = under_load(&mut pool, |load, pool| {
        (1..4).for_each(|node| load.excuse(node));
        std::thread::scope(|scope| {
            for node in &mut pool.nodes[1..] {
                scope.spawn(|| assert_eq!(node.terminate().code(), Some(0)));
            }
        });
        load.await_more(SOME);
    });
    verdict.assert_kept();
}

#[test]
fn all_nodes_restarted_one_after_the_other_miss_no_key_and_answer_no_error() {
    let mut pool = Mirrored::start(3);
    let verdict = under_load(&mut pool, |load, pool| {
        for victim in 0..3 {
            load.excuse(victim);
            assert_eq!(pool.nodes[victim].terminate().code(), Some(0));
            pool.nodes[victim].start();
            load.hold(victim);
            pool.await_redundant();
        }
    });
    verdict.assert_kept();
}

/// Kills all nodes at once, and starts them again on their journals.
fn dies_as_a_whole(adjust: fn(Setup) -> Setup) {
    let mut pool = Mirrored::start_with(3, adjust);
    let verdict = under_load(&mut pool, |load, pool| {
        (0..3).for_each(|node| load.excuse(node));
        pool.kill_and_restart_all();
        pool.await_redundant();
        (0..3).for_each(|node| load.hold(node));
    });
    verdict.assert_kept();
}

#[test]
fn a_pool_that_dies_as_a_whole_loses_nothing_when_every_write_is_synced() {
    dies_as_a_whole(|setup| setup.set("journal.sync=always"));
}

#[test]
fn a_pool_whose_processes_die_as_a_whole_loses_nothing_that_the_system_still_writes() {
    dies_as_a_whole(|setup| setup.set("journal.sync=everysec"));
}

/// The value goes with the answer: the next owner, which is asked again, has neither.
#[test]
fn who_reads_a_value_and_ends_it_is_not_told_by_the_next_owner_that_there_was_none() {
    for command in ["gat -1 KEY", "mg KEY v T-1"] {
        let mut pool = Mirrored::start_with(3, |setup| setup.set("network.silence_ms=10000").set("limits.request_timeout_ms=10000"));
        let mut client = pool.nodes[0].client();
        let is_fit = |key: &String| pool.nodes[0].client().list(&format!("owner {key}"))[..2] == ["OWNER 2", "MIRROR 3"];
        let key = (0..1_000).map(|number| format!("k{number}")).find(is_fit).expect("a key of the second node, mirrored by the third");
        assert_eq!(client.set(&key, "v"), "STORED");
        pool.nodes[2].signal("STOP");
        client.send(format!("{}\r\n", command.replace("KEY", &key)));
        eventually("the change is on its way to the mirror", || pool.nodes[1].stat("mirrored_under_way") == 1);
        pool.nodes[1].kill();
        pool.nodes[2].signal("CONT");
        assert!(client.line().starts_with("SERVER_ERROR outcome unknown"), "{command}");
        assert_eq!(client.get(&key), None, "{command}");
        assert_eq!(client.ask(&command.replace("KEY", "missing")).get(..2), Some("EN"));
    }
}

#[test]
fn of_two_nodes_either_goes_on_when_the_other_dies() {
    for victim in 0..2 {
        let mut pool = Mirrored::start(2);
        let verdict = under_load(&mut pool, |load, pool| {
            load.excuse(victim);
            pool.nodes[victim].kill();
            load.await_more(SOME);
            pool.nodes[victim].start();
            load.hold(victim);
            pool.await_redundant();
        });
        verdict.assert_kept();
    }
}

/// Stops one of two nodes, until `then` has seen what the other does.
fn one_of_two_is_stopped(setting: fn(Setup) -> Setup, victim: impl FnOnce(&[Node]) -> usize, then: impl FnOnce(&Load, &[Node], usize)) {
    let mut pool = Mirrored::start_with(2, setting);
    let verdict = under_load(&mut pool, |load, pool| {
        let victim = victim(&pool.nodes);
        (0..2).for_each(|node| load.excuse(node));
        pool.nodes[victim].signal("STOP");
        then(load, &pool.nodes, 1 - victim);
        pool.nodes[victim].signal("CONT");
        pool.await_redundant();
        (0..2).for_each(|node| load.hold(node));
    });
    verdict.assert_kept();
}

/// Of two nodes the one whose name comes last: it does not speak for both.
fn the_later(nodes: &[Node]) -> usize {
    usize::from(nodes[1].name > nodes[0].name)
}

#[test]
fn of_two_nodes_the_first_by_name_goes_on_when_the_other_is_silent() {
    one_of_two_is_stopped(|setup| setup, the_later, |_, nodes, other| await_up(&nodes[other], 1));
}

#[test]
fn of_two_nodes_the_second_waits_for_the_first_and_nothing_is_lost() {
    one_of_two_is_stopped(
        |setup| setup.set("limits.request_timeout_ms=300"),
        |nodes| 1 - the_later(nodes),
        |_, nodes, other| {
            let mut client = nodes[other].client();
            eventually("it says that it does not serve", || client.set("waits", "v").starts_with("SERVER_ERROR "));
        },
    );
}

#[test]
fn of_two_nodes_that_are_to_serve_on_either_does_when_the_other_is_silent() {
    one_of_two_is_stopped(
        |setup| setup.set("network.on_silence=serve"),
        |nodes| 1 - the_later(nodes),
        |_, nodes, other| {
            let mut client = nodes[other].client();
            eventually("it serves on", || client.set("serves", "v") == "STORED");
        },
    );
}

#[test]
fn what_is_flushed_is_forgotten_at_every_node_and_comes_back_from_none() {
    let mut pool = Mirrored::start(3);
    let keys: Vec<String> = (0..100).map(|number| format!("flushed{number}")).collect();
    let mut client = pool.nodes[0].client();
    keys.iter().for_each(|key| assert_eq!(client.set(key, "v"), "STORED"));
    assert_eq!(pool.nodes[1].client().ask("flush_all"), "OK");
    let forgotten = |pool: &Mirrored| {
        pool.running().all(|node| {
            let mut client = node.client();
            keys.iter().all(|key| client.get(key).is_none())
        })
    };
    assert!(forgotten(&pool), "right after the answer");
    assert_eq!(pool.nodes[0].client().set("after", "v"), "STORED");
    pool.nodes[2].kill();
    assert!(forgotten(&pool), "at the mirrors");
    pool.nodes[2].start();
    pool.await_redundant();
    assert!(forgotten(&pool), "in the journal of one");
    pool.kill_and_restart_all();
    pool.await_redundant();
    assert!(forgotten(&pool), "in all journals");
    assert_eq!(pool.nodes[2].client().get("after"), Some(b"v".to_vec()));
}

#[test]
fn a_node_that_is_declared_dead_is_replaced_and_taken_back_without_a_miss() {
    let mut pool = Mirrored::start(3);
    let verdict = under_load(&mut pool, |load, pool| {
        load.excuse(2);
        assert_eq!(pool.nodes[0].client().ask(&format!("dead {}", pool.nodes[2].name)), "OK");
        await_redundant(&pool.nodes[..2]);
        load.await_more(SOME);
        assert_eq!(pool.nodes[1].client().ask(&format!("connect {}", pool.nodes[2].name)), "OK");
        pool.await_redundant();
        load.hold(2);
    });
    verdict.assert_kept();
}

#[test]
fn the_judge_sees_what_a_pool_without_mirrors_loses() {
    let mut pool = Pool::start();
    let load = Load::start(Plan::on(&pool.nodes, RATE));
    load.await_more(SOME);
    load.so_far().assert_kept();
    load.excuse(2);
    pool.nodes[2].kill();
    pool.nodes[..2].iter().for_each(|node| await_up(node, 2));
    load.await_more(SOME);
    assert!(load.so_far().count(Breach::Cold) > 0, "{}", load.so_far());
    pool.nodes[2].start();
    pool.await_whole();
    load.hold(2);
    load.await_more(SOME);
    let verdict = load.finish(&pool.nodes);
    assert!(verdict.count(Breach::Stale) > 0 && verdict.count(Breach::Lost) > 0, "{verdict}");
}
