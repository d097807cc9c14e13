//! The keys of the whole pool: listed by any node, each once, while nodes come and go.

use std::collections::BTreeSet;

use crate::harness::mirrored::Mirrored;
use crate::harness::node::{Node, Setup};
use crate::harness::pool::{Pool, await_up};

const COUNT: usize = 600;

/// Writes keys of two kinds through a node: those that begin with `user`, and as many others.
fn write_keys(node: &Node) -> BTreeSet<String> {
    let users: BTreeSet<String> = (0..COUNT).map(|number| format!("user{number}")).collect();
    let others = (0..COUNT).map(|number| format!("other{number}"));
    let mut client = node.client();
    let lines: String = others.chain(users.iter().cloned()).map(|key| format!("set {key} 0 0 1\r\nx\r\n")).collect();
    client.send(lines);
    (0..2 * COUNT).for_each(|_| assert_eq!(client.line(), "STORED"));
    users
}

/// What a node lists, each key once.
fn listed(node: &Node, command: &str) -> BTreeSet<String> {
    let lines = node.client().list(command);
    let keys: BTreeSet<String> =
        lines.iter().map(|line| line.strip_prefix("KEY ").unwrap_or_else(|| panic!("{line}")).to_owned()).collect();
    assert_eq!(keys.len(), lines.len(), "{command}: a key is listed twice");
    keys
}

#[test]
fn every_node_of_a_pool_lists_all_its_keys_once() {
    let pool = Pool::start();
    assert!(pool.nodes.iter().all(|node| listed(node, "keys").is_empty()));
    let users = write_keys(&pool.nodes[0]);
    for node in &pool.nodes {
        assert_eq!(listed(node, "keys user 10000"), users, "{}", node.name);
    }
    let lines = pool.nodes[1].client().list("keys user 10");
    assert_eq!((lines.len(), lines[10].as_str()), (11, "MORE"));
}

#[test]
fn copies_are_not_listed_and_no_key_is_missed_after_a_node_was_killed() {
    let mut pool = Mirrored::start(3);
    let users = write_keys(&pool.nodes[0]);
    for node in &pool.nodes {
        assert_eq!(listed(node, "keys user 10000"), users, "{}", node.name);
    }
    pool.nodes[2].kill();
    for node in &pool.nodes[..2] {
        assert_eq!(listed(node, "keys user 10000"), users, "{}", node.name);
    }
}

#[test]
fn a_walk_goes_on_at_the_next_owner_when_a_node_is_killed_in_its_middle() {
    let mut pool = Mirrored::start(3);
    let users = write_keys(&pool.nodes[0]);
    // A node that is stopped answers nothing: the walk has begun, and stands at the first of its keys.
    pool.nodes[2].signal("STOP");
    let mut walker = pool.nodes[0].client();
    walker.send("keys user 10000\r\n");
    pool.nodes[2].kill();
    let keys: BTreeSet<String> = (0..COUNT).map(|_| walker.line().strip_prefix("KEY ").expect("a key").to_owned()).collect();
    assert_eq!((keys, walker.line()), (users, "END".to_owned()));
}

#[test]
fn a_walk_goes_on_when_what_it_has_waited_for_is_everywhere() {
    let patient = |setup: Setup| setup.set("network.silence_ms=10000").set("limits.request_timeout_ms=10000");
    let pool = Mirrored::start_with(2, patient);
    let users = write_keys(&pool.nodes[0]);
    // Keys are listed in the order of their places: the walk's first wait is for a write to this one, at its owner.
    let first = pool.nodes[0].client().list("keys")[0].strip_prefix("KEY ").expect("a key").to_owned();
    let owner = pool.owner(0, &first);
    let (mut walker, mut other) = (pool.nodes[owner].client(), pool.nodes[owner].client());
    pool.nodes[1 - owner].signal("STOP");
    walker.send(format!("set {first} 0 0 1 noreply\r\ny\r\nkeys user 10000\r\n"));
    assert!(other.ask("alive").starts_with("ALIVE "), "what came before has been carried out");
    pool.nodes[1 - owner].signal("CONT");
    let keys: BTreeSet<String> = (0..COUNT).map(|_| walker.line().strip_prefix("KEY ").expect("a key").to_owned()).collect();
    assert_eq!((keys, walker.line()), (users, "END".to_owned()));
}

#[test]
fn without_mirrors_a_walk_names_what_the_living_own() {
    let mut pool = Pool::start();
    let users = write_keys(&pool.nodes[0]);
    let theirs: BTreeSet<String> = users.iter().filter(|key| pool.owner(key) == 2).cloned().collect();
    pool.nodes[2].kill();
    pool.nodes[..2].iter().for_each(|node| await_up(node, 2));
    for node in &pool.nodes[..2] {
        assert_eq!(listed(node, "keys user 10000"), &users - &theirs, "{}", node.name);
    }
}
