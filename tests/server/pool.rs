//! A pool: any node answers for any key, nodes join while it runs, and what operators say holds everywhere.

use crate::harness::eventually;
use crate::harness::http::Http;
use crate::harness::node::{Node, Setup, free_ports};
use crate::harness::pool::{Pool, await_up, owner_by};

#[test]
fn what_is_put_through_one_node_is_read_through_every_other_in_both_dialects() {
    let pool = Pool::start();
    for number in 0..30 {
        let (key, value) = (format!("any{number}"), format!("value {number}"));
        let [writer, others @ ..] = [0, 1, 2].map(|step| &pool.nodes[(number + step) % 3]);
        if number % 2 == 0 {
            assert_eq!(writer.client().ask(&format!("put {key} {value}")), "STORED");
        } else {
            assert_eq!(Http::connect(writer).ask_with("PUT", &format!("/{key}"), value.as_bytes()).brief(), (201, "--saved--".into()));
        }
        for reader in others {
            assert_eq!(reader.client().get(&key), Some(value.clone().into_bytes()), "{key}");
            assert_eq!(Http::connect(reader).ask("GET", &format!("/{key}")).brief(), (200, value.clone()), "{key}");
        }
        assert_eq!(Http::connect(others[0]).ask("DELETE", &format!("/{key}")).brief(), (200, value));
        assert_eq!((writer.client().get(&key), others[1].client().get(&key)), (None, None));
    }
    assert!(pool.nodes.iter().all(|node| node.stat("forwarded") > 0 && node.stat("served_for_peers") > 0));
}

#[test]
fn a_line_of_keys_of_several_owners_is_answered_in_its_order() {
    let pool = Pool::start();
    let keys: Vec<String> = (0..300).map(|number| format!("many{number}")).collect();
    let mut writer = pool.nodes[0].client();
    keys.iter().step_by(2).for_each(|key| assert_eq!(writer.set(key, key), "STORED"));
    let present: Vec<String> = keys.iter().step_by(2).flat_map(|key| [format!("VALUE {key} 0 {}", key.len()), key.clone()]).collect();
    for node in &pool.nodes {
        assert_eq!(node.client().list(&format!("get {}", keys.join(" "))), present, "through {}", node.name);
    }
}

#[test]
fn a_pipeline_over_several_owners_is_answered_in_its_order() {
    let pool = Pool::start();
    let mut client = pool.nodes[1].client();
    let lines: String = (0..500).map(|n| format!("set pipe{n} 0 0 4\r\n{n:04}\r\nget pipe{n}\r\ndelete pipe{n}\r\n")).collect();
    client.send(lines);
    for number in 0..500 {
        let said: Vec<String> = (0..5).map(|_| client.line()).collect();
        assert_eq!(said, ["STORED", &format!("VALUE pipe{number} 0 4"), &format!("{number:04}"), "END", "DELETED"]);
    }
}

#[test]
fn all_nodes_agree_on_the_owners_and_on_the_shares() {
    let pool = Pool::start();
    for key in (0..50).map(|number| format!("owned{number}")) {
        let named: Vec<usize> = pool.nodes.iter().map(|node| owner_by(node, &key)).collect();
        assert_eq!(named, [named[0]; 3], "{key}");
        let by_http = Http::connect(&pool.nodes[0]).ask("GET", &format!("/-/owner/{key}")).brief();
        assert_eq!(by_http, (200, format!("{{\"owner\":\"{}\",\"mirrors\":[]}}\n", named[0] + 1)));
    }
    let rings = [0, 1, 2].map(|number| {
        let mut lines = pool.nodes[number].client().list("ring");
        lines.sort();
        lines
    });
    assert_eq!((&rings[0], &rings[0]), (&rings[1], &rings[2]));
    for (line, node) in rings[0].iter().zip(&pool.nodes) {
        assert!(line.contains(&format!(" {} up weight 1 share ", node.name)), "{line}");
    }
    for node in &pool.nodes {
        let peers = node.client().list("peers");
        assert_eq!(peers.iter().filter(|line| line.starts_with("PEER ") && line.contains(" up for ")).count(), 2, "{peers:?}");
    }
}

#[test]
fn an_owner_stores_what_it_owns_and_nothing_else() {
    let pool = Pool::start();
    let keys: Vec<String> = (0..60).map(|number| format!("placed{number}")).collect();
    let mut writer = pool.nodes[0].client();
    keys.iter().for_each(|key| assert_eq!(writer.set(key, "v"), "STORED"));
    for (number, node) in pool.nodes.iter().enumerate() {
        let owned = keys.iter().filter(|key| pool.owner(key) == number).count() as u64;
        assert_eq!(node.stat("curr_items"), owned, "node {}", number + 1);
    }
}

#[test]
fn flush_all_through_one_node_empties_all() {
    let pool = Pool::start();
    let keys: Vec<String> = (0..3).map(|number| pool.key_of(number, "flushed")).collect();
    keys.iter().for_each(|key| assert_eq!(pool.nodes[0].client().set(key, "v"), "STORED"));
    assert_eq!(pool.nodes[2].client().ask("flush_all"), "OK");
    for node in &pool.nodes {
        assert!(keys.iter().all(|key| node.client().get(key).is_none()));
    }
}

/// A node by itself that nobody knows.
fn stranger(node_id: &str) -> Node {
    let [port] = free_ports();
    Setup::new().port(port).set(format!("local.node_id={node_id}")).start()
}

#[test]
fn a_pool_that_is_told_of_a_node_takes_it_in_everywhere() {
    let pool = Pool::start();
    let fourth = stranger("4");
    assert_eq!(pool.nodes[1].client().ask(&format!("connect {}", fourth.name)), "OK");
    pool.nodes.iter().chain([&fourth]).for_each(|node| await_up(node, 4));
    let key = (0..1_000).map(|n| format!("moved{n}")).find(|key| fourth.client().owner(key) == "4").expect("a fair share");
    assert_eq!(pool.nodes[0].client().set(&key, "here"), "STORED");
    assert_eq!(fourth.stat("curr_items"), 1);
    assert_eq!(pool.nodes[2].client().get(&key), Some(b"here".to_vec()));
}

#[test]
fn a_node_that_is_told_of_a_pool_joins_it_everywhere() {
    let pool = Pool::start();
    let fourth = stranger("4");
    assert_eq!(Http::connect(&fourth).ask("HEAD", &format!("/connect/{}", pool.nodes[0].name)).status, 200);
    pool.nodes.iter().chain([&fourth]).for_each(|node| await_up(node, 4));
    assert_eq!(fourth.client().set("k", "v"), "STORED");
    assert_eq!(pool.nodes[2].client().get("k"), Some(b"v".to_vec()));
}

#[test]
fn to_connect_again_changes_nothing() {
    let pool = Pool::start();
    let [first, others @ ..] = &pool.nodes;
    for node in others {
        assert_eq!(first.client().ask(&format!("connect {}", node.name)), "OK");
    }
    let itself = format!("connect {}", first.name);
    assert_eq!(first.client().ask(&itself), format!("SERVER_ERROR {} is this node itself", first.name));
    assert!(pool.nodes.iter().all(|node| node.stat("nodes") == 3));
}

#[test]
fn a_node_of_another_pool_is_refused_and_both_sides_say_why() {
    let pool = Pool::start();
    let [port] = free_ports();
    let other = Setup::new().port(port).set("network.pool=other").start();
    let said = other.client().ask(&format!("connect {}", pool.nodes[0].name));
    assert!(said.starts_with("SERVER_ERROR "), "{said}");
    let reason = "this node is of the pool \"spyder\", not \"other\"";
    eventually("both logs say why", || pool.nodes[0].log().contains(reason) && other.log().contains(reason));
    assert_eq!((pool.nodes[0].stat("nodes_up"), other.stat("nodes_up")), (3, 1));
    assert!(pool.nodes.iter().all(|node| node.stat("nodes") == 3), "it has become no member");
}

#[test]
fn an_address_where_nobody_listens_is_refused_and_forgotten() {
    let node = Setup::new().start();
    let [port] = free_ports();
    let said = node.client().ask(&format!("connect 127.0.0.1:{port}"));
    assert!(said.starts_with(&format!("SERVER_ERROR 127.0.0.1:{port} cannot be reached")), "{said}");
    let response = Http::connect(&node).ask("HEAD", &format!("/connect/127.0.0.1:{port}"));
    assert!(response.status >= 400 && response.header("X-Reason").is_some(), "{response:?}");
    assert_eq!((node.stat("nodes"), node.client().list("peers").len()), (1, 0));
    assert_eq!(node.client().set("k", "v"), "STORED");
}

#[test]
fn a_node_that_is_declared_dead_is_dead_everywhere_until_it_is_connected() {
    let pool = Pool::start();
    let key = pool.key_of(2, "declared");
    assert_eq!(pool.nodes[0].client().set(&key, "before"), "STORED");
    assert_eq!(pool.nodes[0].client().ask(&format!("dead {}", pool.nodes[2].name)), "OK");
    for node in &pool.nodes {
        await_up(node, 2);
        assert_ne!(owner_by(node, &key), 2, "as {} sees it", node.name);
    }
    // Its keys are served by the next node, cold; itself it still answers clients, through the others.
    assert_eq!(pool.nodes[1].client().get(&key), None);
    assert_eq!(pool.nodes[2].client().set(&key, "meanwhile"), "STORED");
    assert_eq!(pool.nodes[0].client().get(&key), Some(b"meanwhile".to_vec()));
    let states = pool.nodes[1].client().list("ring");
    assert!(states.iter().any(|line| line.contains(&format!(" {} down ", pool.nodes[2].name))), "{states:?}");

    assert_eq!(pool.nodes[1].client().ask(&format!("connect {}", pool.nodes[2].name)), "OK");
    pool.await_whole();
    assert!(pool.nodes.iter().all(|node| owner_by(node, &key) == 2));
}

#[test]
fn a_node_that_was_declared_dead_is_alive_again_when_it_restarts() {
    let mut pool = Pool::start();
    let name = pool.nodes[1].name.clone();
    assert_eq!(Http::connect(&pool.nodes[2]).ask("HEAD", &format!("/dead/{name}")).status, 200);
    pool.nodes.iter().for_each(|node| await_up(node, 2));
    assert!(pool.nodes[1].terminate().success());
    pool.nodes[1].start();
    pool.await_whole();
}

#[test]
fn nobody_can_be_declared_dead_who_is_no_member() {
    let pool = Pool::start();
    assert_eq!(pool.nodes[0].client().ask("dead 127.0.0.1:9"), "SERVER_ERROR 127.0.0.1:9 is no member of this pool");
    let itself = format!("dead {}", pool.nodes[0].name);
    assert_eq!(pool.nodes[0].client().ask(&itself), "SERVER_ERROR this node cannot declare itself dead");
    let response = Http::connect(&pool.nodes[0]).ask("HEAD", "/dead/127.0.0.1:9");
    assert!(response.status >= 400 && response.header("X-Reason").is_some(), "{response:?}");
    assert!(pool.nodes.iter().all(|node| node.stat("nodes_up") == 3));
}
