//! Large values over HTTP: they go in and come out whole, and what they take of memory is bounded.

use std::fs;

use crate::harness::client::Client;
use crate::harness::http::Http;
use crate::harness::node::{Node, Setup};

const MIB: usize = 1 << 20;

/// So many bytes, no two of 256 in a row the same everywhere.
fn large(length: usize) -> Vec<u8> {
    (0..length as u32).map(|number| (number ^ number >> 8 ^ number >> 16) as u8).collect()
}

/// The most memory that the node has occupied since it was started.
fn peak(node: &Node) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("the state of the process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a line about memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number of KiB") << 10
}

fn with_room(journal: bool) -> Node {
    Setup::new().set("limits.max_value=64MiB").set(format!("journal.enabled={journal}")).start()
}

#[test]
fn sixty_four_megabytes_go_in_and_out_and_are_held_no_more_often_than_needed() {
    let node = with_room(false);
    let (mut http, value, idle) = (Http::connect(&node), large(64 * MIB), peak(&node));
    for _ in 0..2 {
        assert_eq!(http.ask_with("PUT", "/large", &value).brief(), (204, String::new()));
    }
    // The entry, the body before it is one, and the entry that it replaces.
    assert!(peak(&node) - idle < (3 * 64 + 24) * MIB, "{} MiB", (peak(&node) - idle) / MIB);
    assert!(http.ask("GET", "/large").body == value);
    assert!(peak(&node) - idle < (3 * 64 + 24) * MIB, "{} MiB", (peak(&node) - idle) / MIB);
    let head = http.ask("HEAD", "/large");
    assert_eq!(head.header("Content-Length"), Some((64 * MIB).to_string().as_str()));
}

#[test]
fn a_large_body_may_come_in_chunks_and_lives_through_a_restart() {
    let mut node = with_room(true);
    let value = large(20 * MIB + 7);
    let mut client = node.client();
    client.send("PUT /large HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in value.chunks(MIB - 1) {
        client.send([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.line(), "HTTP/1.1 204 No Content");
    node.kill();
    node.start();
    assert!(Http::connect(&node).ask("GET", "/large").body == value);
}

#[test]
fn a_body_that_is_only_announced_costs_nothing() {
    let node = Setup::new().set("limits.max_value=512MiB").set("limits.max_output=512MiB").set("journal.enabled=false").start();
    let before = peak(&node);
    let mut clients: Vec<Client> = (0..50).map(|_| node.client()).collect();
    for client in &mut clients {
        client.send(format!("PUT /k HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", 512 * MIB));
        assert_eq!((client.line().as_str(), client.line().as_str()), ("HTTP/1.1 100 Continue", ""));
        client.send("abc");
    }
    let mut late = node.client();
    late.send(format!("PUT /k HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", 512 * MIB + 1));
    assert_eq!(late.line(), "HTTP/1.1 413 Content Too Large");
    assert!(peak(&node) - before < 8 * MIB, "{} MiB", (peak(&node) - before) / MIB);
}

#[test]
fn many_slow_uploads_take_no_more_than_they_may_and_the_others_are_served() {
    let node = Setup::new().set("limits.max_value=4MiB").set("limits.max_input=16MiB").set("journal.enabled=false").start();
    let before = peak(&node);
    let (begun, rest) = (large(3 * MIB), large(MIB));
    let mut clients: Vec<Client> = (0..40).map(|_| node.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("PUT /slow{number} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", 4 * MIB));
        // Who is told that there is no room may be closed before it has sent all.
        let _ = client.try_send(&begun);
    }
    assert_eq!(node.client().set("canary", "alive"), "STORED");
    let mut answers = Vec::new();
    for client in &mut clients {
        let _ = client.try_send(&rest);
        answers.push(client.try_line().unwrap_or_default());
    }
    let count = |answer: &str| answers.iter().filter(|line| *line == answer).count();
    assert!(count("HTTP/1.1 204 No Content") >= 2, "{answers:?}");
    assert!(count("HTTP/1.1 503 Service Unavailable") > 0, "{answers:?}");
    assert!(node.stat("closed_crowded") > 0);
    assert!(peak(&node) - before < (2 * 16 + 40 * 4) * MIB, "{} MiB", (peak(&node) - before) / MIB);
    let mut late = Http::connect(&node);
    assert_eq!(late.ask_with("PUT", "/late", &begun).status, 204);
}

#[test]
fn a_reader_that_does_not_read_holds_one_large_value_and_no_more() {
    let node = with_room(false);
    assert_eq!(Http::connect(&node).ask_with("PUT", "/large", &large(16 * MIB)).status, 204);
    let before = peak(&node);
    let mut client = node.client();
    client.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50));
    assert_eq!(client.line(), "HTTP/1.1 200 OK");
    assert_eq!(node.client().set("canary", "alive"), "STORED");
    assert!(peak(&node) - before < 40 * MIB, "{} MiB", (peak(&node) - before) / MIB);
}
