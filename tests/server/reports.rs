//! What the nodes of a pool with mirrors say of it: to people with netcat, to programs, and to the monitor.
//!
//! The promises: all nodes say the same of a view; a node that may not serve says so; and what scripts read of pools without mirrors
//! stands in the same places.

use std::process::Command;

use crate::harness::eventually;
use crate::harness::http::Http;
use crate::harness::mirrored::Mirrored;
use crate::harness::node::Node;

/// The lines of a list that begin with this word.
fn lines(node: &Node, verb: &str, word: &str) -> Vec<String> {
    node.client().list(verb).into_iter().filter(|line| line.split(' ').next() == Some(word)).collect()
}

fn status_of(node: &Node, path: &str) -> u16 {
    Http::connect(node).ask("GET", path).status
}

#[test]
fn all_nodes_say_the_same_of_the_ring_and_each_of_its_own_lease() {
    let pool = Mirrored::start(3);
    let rings = || -> Vec<Vec<String>> { pool.nodes.iter().map(|node| node.client().list("ring")).collect() };
    eventually("all know the same view", || rings().iter().all(|ring| *ring == rings()[0]));
    let rings = rings();
    let view = format!("VIEW epoch {} lineage ", pool.nodes[0].stat("epoch"));
    assert!(rings[0][3].starts_with(&view) && rings[0][3].ends_with(" up 3 of 3 lost_redundancy 0"), "{rings:?}");
    for (number, node) in pool.nodes.iter().enumerate() {
        let line = lines(node, "ring", "NODE").into_iter().find(|line| line.contains(&node.name)).expect("a seat");
        assert!(line.contains(" up weight 1 share ") && line.ends_with(" seat up"), "{line}");
        let (own, peers) = (lines(node, "peers", "SELF"), lines(node, "peers", "PEER"));
        assert!(own.len() == 1 && own[0].starts_with(&format!("SELF {} serving epoch ", number + 1)), "{own:?}");
        assert!(peers.len() == 2 && peers.iter().all(|line| line.contains(" up for ") && line.contains(" seat up epoch ")), "{peers:?}");
        assert_eq!((node.stat("seated"), node.stat("serving"), node.stat("filling_nodes"), status_of(node, "/-/ready")), (1, 1, 0, 200));
    }
}

#[test]
fn a_seat_that_is_down_is_shown_and_a_key_has_two_whole_holders_among_those_left() {
    let mut pool = Mirrored::start(3);
    let gone = pool.nodes[2].name.clone();
    pool.nodes[2].kill();
    pool.await_redundant();
    for node in pool.running() {
        let line = lines(node, "ring", "NODE").into_iter().find(|line| line.contains(&gone)).expect("a seat");
        assert!(line.contains(" down weight 1 share 0.0% holds 0.0% seat down"), "{line}");
        assert_eq!((node.stat("nodes"), node.stat("seats_down"), node.stat("cold_arcs")), (3, 1, 0));
        let why = Http::connect(node).ask("GET", "/-/why/any").brief().1;
        assert!(why.matches("\"is_complete\":true").count() == 2 && why.contains("\"lacks_redundancy\":false"), "{why}");
        let owner = node.client().list("owner any");
        assert!(owner.len() == 2 && owner[0].starts_with("OWNER ") && owner[1].starts_with("MIRROR "), "{owner:?}");
    }
}

#[test]
fn a_node_that_may_not_serve_is_not_ready_until_it_may() {
    let pool = Mirrored::start(2);
    let (first, second) = if pool.nodes[0].name < pool.nodes[1].name { (0, 1) } else { (1, 0) };
    pool.nodes[first].signal("STOP");
    eventually("it says that it does not serve", || status_of(&pool.nodes[second], "/-/ready") == 503);
    assert_eq!(status_of(&pool.nodes[second], "/-/healthy"), 200);
    pool.nodes[first].signal("CONT");
    eventually("it serves again", || status_of(&pool.nodes[second], "/-/ready") == 200);
}

#[test]
fn the_monitor_shows_views_and_leases_and_what_is_lost() {
    let pool = Mirrored::start(2);
    let names = pool.nodes.iter().map(|node| node.name.as_str());
    let look = |args: &[&str]| {
        let monitor = Command::new(env!("CARGO_BIN_EXE_spydercache")).arg("monitor").arg("--once").args(args).args(names.clone()).output();
        String::from_utf8(monitor.expect("the monitor").stdout).expect("UTF-8")
    };
    let view = format!("\"epoch\":{},\"part\":\"serving\",\"lease_ms\":", pool.nodes[0].stat("epoch"));
    let json = look(&["--json"]);
    assert_eq!((json.matches(&view).count(), json.matches("\"lost_redundancy\":0,\"filling_nodes\":0,").count()), (2, 2), "{json}");
    assert!(look(&[]).starts_with("NODE  ADDRESS") && look(&[]).contains("  VIEW "), "{}", look(&[]));
}
