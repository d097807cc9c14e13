//! Redis's protocol through any node of a pool: what is of several owners is answered as one.

use std::collections::BTreeSet;

use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::http::Http;
use crate::harness::mirrored::Mirrored;
use crate::harness::node::{Node, Setup};
use crate::harness::pool::Pool;

/// A reply, as text: `OK`, `:1`, `"value"`, `nil`, `[a, b]`, `-ERR ...`.
pub fn reply(client: &mut Client) -> String {
    let line = client.line();
    let (mark, rest) = line.split_at(1);
    let length = || rest.parse::<usize>().unwrap_or_else(|_| panic!("a length: {line}"));
    match mark {
        "+" => rest.to_owned(),
        "$" if rest == "-1" => "nil".to_owned(),
        "$" => {
            let bytes = client.bytes(length() + 2);
            format!("\"{}\"", bytes[..bytes.len() - 2].escape_ascii())
        }
        "*" => format!("[{}]", list(client, length()).join(", ")),
        "_" => "nil".to_owned(),
        _ => line,
    }
}

fn list(client: &mut Client, count: usize) -> Vec<String> {
    (0..count).map(|_| reply(client)).collect()
}

/// The reply to a command.
pub fn ask(client: &mut Client, command: &str) -> String {
    client.send(format!("{command}\r\n"));
    reply(client)
}

/// The elements of an array.
fn asked_list(client: &mut Client, command: &str) -> Vec<String> {
    client.send(format!("{command}\r\n"));
    let header = client.line();
    let count = header.strip_prefix('*').and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("an array: {header}"));
    list(client, count)
}

#[test]
fn who_takes_a_value_away_is_given_it_by_the_next_owner_too() {
    for (command, taken) in [("GETDEL", "\"old\""), ("GETSET new", "\"old\""), ("APPEND new", ":6")] {
        let mut pool = Mirrored::start_with(3, |setup| setup.set("network.silence_ms=10000").set("limits.request_timeout_ms=10000"));
        let mut client = pool.nodes[0].client();
        let is_fit = |key: &String| pool.nodes[0].client().list(&format!("owner {key}"))[..2] == ["OWNER 2", "MIRROR 3"];
        let key =
            (0..1_000).map(|number| format!("k{number}")).find(is_fit).expect("a key of the second node with its mirror at the third");
        assert_eq!(ask(&mut client, &format!("SET {key} old")), "OK");
        pool.nodes[2].signal("STOP");
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        client.send(format!("{verb} {key} {rest}\r\n"));
        eventually("the change is on its way to the mirror", || pool.nodes[1].stat("mirrored_under_way") == 1);
        pool.nodes[1].kill();
        pool.nodes[2].signal("CONT");
        assert_eq!(reply(&mut client), taken, "{command}");
    }
}

#[test]
fn what_is_watched_at_one_node_is_seen_to_change_at_another() {
    let pool = Pool::start();
    let (mut watching, mut writing) = (pool.nodes[0].client(), pool.nodes[1].client());
    let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
    let watch = format!("WATCH {}", keys.join(" "));
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(ask(&mut watching, &watch), "OK");
        assert_eq!(ask(&mut writing, &format!("SET {key} {number}")), "OK");
        watching.send(format!("MULTI\r\nSET {key} lost\r\nEXEC\r\n"));
        assert_eq!(list(&mut watching, 2), ["OK", "QUEUED"]);
        assert_eq!(watching.line(), "*-1", "{key}");
        assert_eq!(ask(&mut watching, &format!("GET {key}")), format!("\"{number}\""));
    }
    watching.send(format!("{watch}\r\nMULTI\r\nINCR k1\r\nINCR k2\r\nGET k3\r\nEXEC\r\nGET k2\r\n"));
    assert_eq!(list(&mut watching, 7), ["OK", "OK", "QUEUED", "QUEUED", "QUEUED", "[:2, :3, \"3\"]", "\"3\""]);
}

#[test]
fn no_increment_is_lost_between_a_watch_and_its_exec() {
    let pool = Pool::start();
    assert_eq!(ask(&mut pool.nodes[0].client(), "SET sum 0"), "OK");
    let mut clients: Vec<Client> = pool.nodes.iter().map(Node::client).collect();
    let mut done = 0;
    for _ in 0..100 {
        for client in &mut clients {
            assert_eq!(ask(client, "WATCH sum"), "OK");
        }
        let seen = ask(&mut clients[0], "GET sum");
        let next = seen.trim_matches('"').parse::<u64>().expect("a number") + 1;
        // All of them at once: whoever comes second has looked at a value that is no more.
        clients.iter_mut().for_each(|client| client.send(format!("MULTI\r\nSET sum {next}\r\nEXEC\r\n")));
        for client in &mut clients {
            assert_eq!(list(client, 2), ["OK", "QUEUED"]);
            let header = client.line();
            done += usize::from(header == "*1" && reply(client) == "OK");
        }
    }
    assert_eq!(ask(&mut clients[1], "GET sum"), format!("\"{done}\""));
}

/// All keys that `SCAN` tells, page by page, through the nodes by turns.
fn scanned(nodes: &[Node], options: &str, prepare: &str) -> Vec<String> {
    let mut clients: Vec<Client> = nodes.iter().map(Node::client).collect();
    clients.iter_mut().for_each(|client| assert!(!ask(client, prepare).starts_with('-')));
    let (mut keys, mut cursor) = (Vec::new(), "0".to_owned());
    for turn in 0..10_000 {
        let client = &mut clients[turn % nodes.len()];
        client.send(format!("SCAN {cursor} {options}\r\n"));
        assert_eq!(client.line(), "*2");
        cursor = reply(client).trim_matches('"').to_owned();
        let count = client.line()[1..].parse().expect("a count");
        keys.extend(list(client, count));
        if cursor == "0" {
            return keys;
        }
    }
    panic!("the cursor comes to no end");
}

#[test]
fn several_keys_of_several_owners_are_answered_as_one() {
    let pool = Pool::start();
    let keys: Vec<String> = (0..300).map(|number| format!("several{number}")).collect();
    let pairs: Vec<String> = keys.iter().map(|key| format!("{key} {key}")).collect();
    let [mut one, mut two, mut three] = pool.nodes.each_ref().map(Node::client);
    assert_eq!(ask(&mut one, &format!("MSET {}", pairs.join(" "))), "OK");
    let expected: Vec<String> = keys.iter().map(|key| format!("\"{key}\"")).chain(["nil".to_owned()]).collect();
    assert_eq!(asked_list(&mut two, &format!("MGET {} missing", keys.join(" "))), expected);
    assert_eq!(ask(&mut three, &format!("EXISTS {} missing", keys.join(" "))), ":300");
    assert_eq!(ask(&mut three, &format!("DEL {} missing", keys[..100].join(" "))), ":100");
    assert_eq!(ask(&mut one, &format!("UNLINK {}", keys.join(" "))), ":200");
}

#[test]
fn an_mget_of_more_than_the_output_limit_is_an_error_and_the_connection_stays() {
    let pool = Pool::start_with(|setup| setup.set("limits.max_value=64KiB").set("limits.max_output=256KiB"));
    let mut client = pool.nodes[0].client();
    let keys: Vec<String> = (0..30).map(|number| format!("large{number}")).collect();
    keys.iter().for_each(|key| assert_eq!(client.set(key, vec![b'v'; 60_000]), "STORED"));
    let mut client = pool.nodes[0].client();
    assert_eq!(asked_list(&mut client, &format!("MGET {}", keys[..3].join(" "))).len(), 3);
    assert_eq!(ask(&mut client, &format!("MGET {}", keys.join(" "))), "-ERR the reply would be larger than limits.max_output");
    assert_eq!(ask(&mut client, "PING"), "PONG");
}

/// A string may be as long as a line, and a value only as long as a value: between nodes a frame has room for that and the longest key.
#[test]
fn the_longest_key_with_the_largest_value_travels_through_the_pool_and_a_larger_one_is_an_error() {
    let pool = Mirrored::start_with(3, |setup| {
        setup.set("limits.max_key=65535").set("limits.max_value=100000").set("limits.max_line=16MiB").set("journal.enabled=false")
    });
    let value = vec![b'v'; 100_000];
    for (number, letter) in (0..9).map(|number| (number, char::from(b'a' + number))) {
        let key = letter.to_string().repeat(65_535);
        let mut client = pool.nodes[usize::from(number) % 3].client();
        let mut ask = |command: &str, value: &[u8]| {
            let value = [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat();
            let words = format!("*3\r\n${}\r\n{command}\r\n$65535\r\n{key}\r\n", command.len());
            client.send([words.as_bytes(), &value].concat());
            reply(&mut client)
        };
        assert_eq!(ask("SET", &value), "OK");
        assert_eq!(ask("GETSET", &value).len(), value.len() + 2, "and back");
        assert_eq!(ask("SET", &[b'v'; 4 << 20]), "-ERR string exceeds maximum allowed size (limits.max_value)");
        assert_eq!(ask("APPEND", b"v"), "-ERR string exceeds maximum allowed size (limits.max_value)");
    }
    assert!(pool.nodes.iter().all(|node| !node.log().contains("closed the link")));
}

#[test]
fn who_asks_only_about_a_value_does_not_make_it_travel_between_nodes() {
    let pool = Pool::start();
    let mut client = pool.nodes[0].client();
    let (here, there) = (pool.key_of(0, "large"), pool.key_of(1, "large"));
    for key in [&here, &there] {
        assert_eq!(client.set(key, vec![b'v'; 1_000_000]), "STORED");
    }
    let mut client = pool.nodes[0].client();
    let before = pool.nodes[0].stat("bytes_read");
    for key in [&here, &there] {
        for (command, answer) in
            [("EXISTS", ":1"), ("TTL", ":-1"), ("PTTL", ":-1"), ("STRLEN", ":1000000"), ("TYPE", "string"), ("TOUCH", ":1")]
        {
            assert_eq!(ask(&mut client, &format!("{command} {key}")), answer, "{command}");
        }
        let mut http = Http::connect(&pool.nodes[0]);
        assert_eq!(http.ask("HEAD", &format!("/{key}")).header("Content-Length"), Some("1000000"));
    }
    assert_eq!(ask(&mut client, &format!("EXISTS {here} {there} missing")), ":2");
    let read = pool.nodes[0].stat("bytes_read") - before;
    assert!(read < 100_000, "{read} bytes came in");
}

#[test]
fn what_is_written_by_redis_clients_is_read_by_memcacheds_and_the_other_way_round() {
    let pool = Pool::start();
    let [mut redis, mut memcached, _] = pool.nodes.each_ref().map(Node::client);
    for number in 0..30 {
        let (key, other) = (format!("crossing{number}"), format!("back{number}"));
        assert_eq!(ask(&mut redis, &format!("SET {key} value EX 100")), "OK");
        assert_eq!(memcached.get(&key), Some(b"value".to_vec()));
        assert_eq!(memcached.set(&other, "5"), "STORED");
        assert_eq!(ask(&mut redis, &format!("INCRBY {other} -7")), ":-2");
    }
}

#[test]
fn a_transaction_over_several_owners_is_answered_in_order() {
    let pool = Pool::start();
    let mut client = pool.nodes[1].client();
    assert_eq!(ask(&mut client, "SET text x"), "OK");
    let commands: Vec<String> = (0..50).flat_map(|n| [format!("INCRBY t{n} {n}"), "INCR text".into(), format!("MGET t{n} none")]).collect();
    client.send(format!("MULTI\r\n{}\r\nEXEC\r\n", commands.join("\r\n")));
    assert_eq!(reply(&mut client), "OK");
    assert!(list(&mut client, commands.len()).iter().all(|line| line == "QUEUED"));
    let error = "-ERR value is not an integer or out of range";
    let expected: Vec<String> = (0..50).flat_map(|n| [format!(":{n}"), error.to_owned(), format!("[\"{n}\", nil]")]).collect();
    assert_eq!(client.line(), "*150");
    assert_eq!(list(&mut client, 150), expected);
}

#[test]
fn every_key_is_scanned_once_whichever_nodes_are_asked() {
    let pool = Pool::start();
    let mut client = pool.nodes[0].client();
    for number in 0..500 {
        client.send(format!("SET scan:{number} v\r\nSET else:{number} v\r\n"));
    }
    assert!(list(&mut client, 1_000).iter().all(|line| line == "OK"));
    let wanted: BTreeSet<String> = (0..500).map(|number| format!("\"scan:{number}\"")).collect();
    for options in ["MATCH scan:*", "MATCH scan:* COUNT 100", "COUNT 1000 MATCH *c?n:*"] {
        let keys = scanned(&pool.nodes, options, "PING");
        assert_eq!((keys.len(), &keys.into_iter().collect::<BTreeSet<_>>()), (500, &wanted), "{options}");
    }
    assert_eq!(scanned(&pool.nodes, "COUNT 100", "PING").len(), 1_000);
    assert_eq!(scanned(&pool.nodes, "TYPE list", "PING").len(), 0);
    assert_eq!(asked_list(&mut client, "KEYS else:*").len(), 500);
    assert_eq!(ask(&mut client, "DBSIZE"), ":1000");
    assert!(ask(&mut client, "RANDOMKEY").contains(':'));
}

/// The keys that come of so many draws.
fn drawn(client: &mut Client, times: usize) -> BTreeSet<String> {
    (0..times).map(|_| ask(client, "RANDOMKEY")).collect()
}

#[test]
fn any_key_may_be_the_one_that_is_drawn() {
    let node = Setup::new().set("journal.enabled=false").start();
    let mut client = node.client();
    assert_eq!(ask(&mut client, "RANDOMKEY"), "nil");
    (0..3).for_each(|number| assert_eq!(ask(&mut client, &format!("SET few{number} v")), "OK"));
    let few = drawn(&mut client, 100);
    assert_eq!(few.len(), 3, "{few:?}");
    client.send((0..1_000).map(|number| format!("SET many{number} v\r\n")).collect::<String>());
    (0..1_000).for_each(|_| assert_eq!(reply(&mut client), "OK"));
    let many = drawn(&mut client, 400).len();
    assert!(many > 200, "only {many} of 1,003 keys were drawn in 400 times");
}

#[test]
fn a_key_is_drawn_whichever_node_has_it() {
    let pool = Pool::start();
    let key = pool.key_of(2, "only");
    assert_eq!(ask(&mut pool.nodes[0].client(), &format!("SET {key} v")), "OK");
    for node in &pool.nodes {
        assert_eq!(drawn(&mut node.client(), 3), BTreeSet::from([format!("\"{key}\"")]));
    }
}

#[test]
fn info_tells_the_entries_of_the_node_that_is_asked_and_dbsize_the_keys_of_the_pool() {
    let pool = Mirrored::start_with(3, |setup| setup.set("journal.enabled=false"));
    (0..30).for_each(|number| assert_eq!(pool.nodes[0].client().set(&format!("k{number}"), "v"), "STORED"));
    for node in &pool.nodes {
        let mut client = node.client();
        let held = client.stat("curr_items");
        let mut client = node.client();
        let told = ask(&mut client, "INFO keyspace");
        assert!(told.contains(&format!("db0:keys={held},")) && held < 30, "{told} {held}");
        assert_eq!(ask(&mut client, "DBSIZE"), ":30");
    }
}

#[test]
fn databases_are_apart_and_are_flushed_apart() {
    let pool = Pool::start();
    let [mut zero, mut three, mut plain] = pool.nodes.each_ref().map(Node::client);
    assert_eq!(ask(&mut three, "SELECT 3"), "OK");
    for number in 0..40 {
        assert_eq!(ask(&mut zero, &format!("SET k{number} zero")), "OK");
        assert_eq!(ask(&mut three, &format!("SET k{number} three")), "OK");
    }
    assert_eq!((ask(&mut zero, "DBSIZE"), ask(&mut three, "DBSIZE")), (":40".into(), ":40".into()));
    let keys: BTreeSet<String> = asked_list(&mut three, "KEYS k*").into_iter().collect();
    assert_eq!(keys, (0..40).map(|number| format!("\"k{number}\"")).collect());
    assert_eq!(scanned(&pool.nodes, "COUNT 7", "SELECT 3").len(), 40);
    assert_eq!(plain.get("k7"), Some(b"zero".to_vec()));
    assert_eq!(ask(&mut three, "FLUSHDB"), "OK");
    assert_eq!((ask(&mut zero, "DBSIZE"), ask(&mut three, "DBSIZE")), (":40".into(), ":0".into()));
    assert_eq!(ask(&mut three, "SET k three"), "OK");
    assert_eq!(ask(&mut zero, "FLUSHDB"), "OK");
    assert_eq!((ask(&mut zero, "DBSIZE"), ask(&mut three, "GET k")), (":0".into(), "\"three\"".into()));
    assert_eq!(ask(&mut zero, "FLUSHALL"), "OK");
    assert_eq!(ask(&mut three, "GET k"), "nil");
}

#[test]
fn a_lock_is_released_by_its_holder_alone_whichever_node_is_asked() {
    const RELEASE: &str = "EVALSHA c3f8721cbb97f72bc19e972846bd7aaf91901658 1";
    let pool = Pool::start();
    let [mut one, mut two, mut three] = pool.nodes.each_ref().map(Node::client);
    for number in 0..20 {
        let lock = format!("lock{number}");
        assert_eq!(ask(&mut one, &format!("SET {lock} mine NX PX 100000")), "OK");
        assert_eq!(ask(&mut two, &format!("SET {lock} theirs NX PX 100000")), "nil");
        assert_eq!(ask(&mut two, &format!("{RELEASE} {lock} theirs")), ":0");
        assert_eq!(ask(&mut three, &format!("{RELEASE} {lock} mine")), ":1");
        assert_eq!(ask(&mut two, &format!("EXISTS {lock}")), ":0");
    }
}

#[test]
fn a_dead_node_of_a_mirrored_pool_costs_redis_clients_no_key() {
    let mut pool = Mirrored::start(3);
    pool.await_redundant();
    let mut client = pool.nodes[0].client();
    let keys: Vec<String> = (0..200).map(|number| format!("kept{number}")).collect();
    let pairs: Vec<String> = keys.iter().map(|key| format!("{key} {key}")).collect();
    assert_eq!(ask(&mut client, &format!("MSET {}", pairs.join(" "))), "OK");
    assert_eq!(ask(&mut client, "WAIT 1 0"), ":1");
    pool.nodes[2].kill();
    let expected: Vec<String> = keys.iter().map(|key| format!("\"{key}\"")).collect();
    assert_eq!(asked_list(&mut client, &format!("MGET {}", keys.join(" "))), expected);
    assert_eq!(ask(&mut client, "DBSIZE"), ":200");
}
