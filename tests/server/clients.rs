//! Real clients: the `memcache` crate through every node of a pool, and HTTP.
//!
//! Reads, writes and counters go through different nodes by turns, so that hardly any is asked of a key's owner.

use memcache::{CommandError, MemcacheError};

use crate::harness::http::Http;
use crate::harness::node::{Node, Setup};
use crate::harness::pool::Pool;

/// memcached's two protocols, as the crate names them.
const PROTOCOLS: [&str; 2] = ["ascii", "binary"];

fn connect(node: &Node, protocol: &str) -> memcache::Client {
    memcache::connect(format!("memcache://{}?protocol={protocol}&timeout=20&tcp_nodelay=true", node.name)).expect("a client")
}

/// Plays a test to a pool in each protocol, and through its nodes by turns: what is written in the one is read in the other besides.
fn in_each_protocol(test: fn([memcache::Client; 3])) {
    let pool = Pool::start();
    for protocol in PROTOCOLS {
        test(pool.nodes.each_ref().map(|node| connect(node, protocol)));
    }
    let [one, two, three] = &pool.nodes;
    test([connect(one, PROTOCOLS[0]), connect(two, PROTOCOLS[1]), connect(three, PROTOCOLS[0])]);
}

fn is_missing<T>(result: &Result<T, MemcacheError>) -> bool {
    matches!(result, Err(MemcacheError::CommandError(CommandError::KeyNotFound)))
}

#[test]
fn a_number_that_is_counted_keeps_the_type_of_its_content() {
    let node = Setup::new().start();
    let mut http = node.client();
    http.send("PUT /n HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n41");
    assert_eq!(http.line(), "HTTP/1.1 201 Created");
    assert_eq!(node.client().ask("incr n 1"), "42");
    let counted = Http::connect(&node).ask("GET", "/n");
    assert_eq!((counted.header("Content-Type"), &counted.body[..]), (Some("text/plain"), &b"42"[..]));
}

#[test]
fn a_memcached_client_reads_and_writes_through_every_node() {
    in_each_protocol(|[one, two, three]| {
        for number in 0..20 {
            let key = format!("crate{number}");
            one.set(&key, "first", 0).expect("set");
            assert_eq!(two.get::<String>(&key).expect("get"), Some("first".into()));
            two.append(&key, " and last").expect("append");
            three.prepend(&key, "the ").expect("prepend");
            assert_eq!(one.get::<String>(&key).expect("get"), Some("the first and last".into()));
            // The crate does not tell NOT_STORED from STORED here: what is read decides.
            let _ = three.add(&key, "again", 0);
            assert_eq!(two.get::<String>(&key).expect("get"), Some("the first and last".into()));
            two.replace(&key, "other", 0).expect("replace");
            assert_eq!(three.get::<String>(&key).expect("get"), Some("other".into()));
            assert!(one.delete(&key).expect("delete") && !two.delete(&key).expect("delete"));
            let _ = three.replace(&key, "gone", 0);
            assert_eq!(three.get::<String>(&key).expect("get"), None);
        }
    });
}

#[test]
fn a_memcached_client_gets_many_keys_at_once() {
    in_each_protocol(|[one, two, three]| {
        let keys: Vec<String> = (0..100).map(|number| format!("multi{number}")).collect();
        keys.iter().for_each(|key| one.set(key, key.as_str(), 0).expect("set"));
        let names: Vec<&str> = keys.iter().map(String::as_str).chain(["missing"]).collect();
        for client in [&one, &two, &three] {
            let found = client.gets::<String>(&names).expect("gets");
            assert!(found.len() == 100 && keys.iter().all(|key| found.get(key) == Some(key)));
        }
    });
}

#[test]
fn a_memcached_client_counts_and_compares() {
    in_each_protocol(|[one, two, three]| {
        for number in 0..20 {
            let key = format!("count{number}");
            one.set(&key, 10, 0).expect("set");
            assert_eq!(two.increment(&key, 5).expect("incr"), 15);
            assert_eq!(three.decrement(&key, 100).expect("decr"), 0);

            let (_, _, version) = one.gets::<(Vec<u8>, u32, Option<u64>)>(&[&key]).expect("gets").remove(&key).expect("present");
            let version = version.expect("a version");
            assert!(three.cas(&key, "compared", 0, version).expect("cas"));
            assert!(!two.cas(&key, "too late", 0, version).expect("cas"));
            assert_eq!(one.get::<String>(&key).expect("get"), Some("compared".into()));
        }
    });
}

#[test]
fn a_count_of_nothing_makes_a_number_only_where_the_protocol_says_so() {
    let node = Setup::new().start();
    let [text, binary] = PROTOCOLS.map(|protocol| connect(&node, protocol));
    assert!(is_missing(&text.increment("count", 5)));
    assert_eq!(binary.increment("count", 5).expect("made"), 0, "the crate says 0 for the first number");
    assert_eq!(text.increment("count", 5).expect("there"), 5);
}

#[test]
fn a_memcached_client_touches_and_flushes() {
    in_each_protocol(|[one, two, three]| {
        one.set("brief", "v", 1_000).expect("set");
        assert!(two.touch("brief", 0).expect("touch") && !two.touch("nobody", 0).expect("touch"));
        assert_eq!(three.get::<String>("brief").expect("get"), Some("v".into()));
        two.flush().expect("flush");
        assert_eq!(one.get::<String>("brief").expect("get"), None);
        one.set("ends", "v", 1).expect("set");
        crate::harness::eventually("its time has come", || two.get::<String>("ends").expect("get").is_none());
        for client in [&one, &two, &three] {
            assert!(client.version().expect("version").iter().all(|(_, version)| version.starts_with("1.6.")));
        }
    });
}

#[test]
fn binary_values_of_every_size_pass_unharmed() {
    let pool = Pool::start();
    let [one, two, three] = pool.nodes.each_ref().map(|node| connect(node, PROTOCOLS[1]));
    for size in [0, 1, 250, 4_096, 65_535, 65_536, 300_000, 1 << 20] {
        let (key, value) = (format!("size{size}"), (0..size).map(|n| (n * 31 % 251) as u8).collect::<Vec<u8>>());
        one.set(&key, value.as_slice(), 0).expect("set");
        assert!([&two, &three].iter().all(|client| client.get::<Vec<u8>>(&key).expect("get").as_ref() == Some(&value)), "{size} bytes");
        let mut http = Http::connect(&pool.nodes[size % 3]);
        assert!(http.ask("GET", &format!("/{key}")).body == value, "{size} bytes by HTTP");
        let old = http.ask_with("PUT", &format!("/{key}"), &value[..size / 2]);
        let expected = if size <= 8 << 10 { (200, value.as_slice()) } else { (204, &[][..]) };
        assert!((old.status, old.body.as_slice()) == expected, "the old value of {size} bytes");
        assert!(http.ask("DELETE", &format!("/{key}")).body == value[..size / 2]);
    }
}

#[test]
fn the_originals_urls_work_through_every_node() {
    let pool = Pool::start();
    let [mut one, mut two, mut three] = pool.nodes.each_ref().map(Http::connect);
    for number in 0..20 {
        let path = format!("/url{number}");
        assert_eq!(one.ask("GET", &path).brief(), (404, "--null--".into()));
        assert_eq!(two.ask("PUT", &format!("{path}/first")).brief(), (201, "--saved--".into()));
        assert_eq!(three.ask("PUT", &format!("{path}/second")).brief(), (200, "first".into()));
        assert_eq!(one.ask("GET", &path).brief(), (200, "second".into()));
        assert_eq!(two.ask("HEAD", &path).header("Content-Length"), Some("6"));
        assert_eq!(three.ask("DELETE", &path).brief(), (200, "second".into()));
        assert_eq!(one.ask("DELETE", &path).brief(), (404, "--null--".into()));
    }
    assert_eq!(one.ask("HEAD", "/").status, 200);
}

#[test]
fn programs_learn_how_a_node_is() {
    let node = Setup::new().start();
    let mut http = Http::connect(&node);
    assert_eq!(http.ask("GET", "/-/healthy").status, 200);
    assert_eq!(http.ask("GET", "/-/ready").status, 200);
    let metrics = http.ask("GET", "/metrics").brief().1;
    for line in metrics.lines() {
        let sample = line.split(' ').collect::<Vec<_>>();
        assert!(line.starts_with("# ") || sample.len() == 2 && sample[1].parse::<f64>().is_ok(), "{line}");
    }
    assert!(metrics.contains("curr_items") && metrics.contains("# TYPE "), "{metrics}");
    let status = http.ask("GET", "/-/status").brief().1;
    assert!(status.contains(&format!("\"name\":\"{}\"", node.name)), "{status}");
}
