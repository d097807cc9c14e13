//! Bad input: whoever sends it gets an error or is closed, and nobody else notices.
//!
//! Beside each attack another client is asked to be served, and it must be; memory is looked at where an attack is about memory. The
//! bounds are wide: they tell a leak of megabytes from none, not one allocator from another.

use std::thread;

use spydercache::communication::peer::{self, Frame};
use spydercache::node::command::{Action, Command, Store};
use spydercache::node::message::{Introduction, Message, PROTOCOL_VERSION, RequestId};
use spydercache::prng::Prng;
use spydercache::topology::membership::Card;
use spydercache::topology::view::ViewId;

use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::http::Http;
use crate::harness::node::{Node, Setup};
use crate::harness::pool::Pool;

const MIB: u64 = 1 << 20;

/// A node with a key that no attack may change.
fn with_canary(setup: Setup) -> Node {
    let node = setup.set("journal.enabled=false").start();
    assert_eq!(node.client().set("canary", "alive"), "STORED");
    node
}

fn canary_lives(node: &Node) {
    assert_eq!(node.client().get("canary"), Some(b"alive".to_vec()));
}

/// Bytes of memory that the node has come to occupy beyond `before`.
fn growth(node: &Node, before: u64) -> u64 {
    node.resident_bytes().saturating_sub(before)
}

/// Random bytes, or words of the dialects in a senseless order.
fn garbage(prng: &mut Prng) -> Vec<u8> {
    const WORDS: [&str; 14] = [
        "set ",
        "get ",
        "cas ",
        "k ",
        "0 ",
        "-1 ",
        "99999999999 ",
        "\r\n",
        "\n",
        "PUT /",
        " HTTP/1.1\r\n",
        "Content-Length: ",
        "\0\0\0",
        "noreply",
    ];
    let mut bytes = Vec::new();
    let words = prng.chance(1, 2);
    for _ in 0..1 + prng.below(40) {
        if words {
            bytes.extend_from_slice(WORDS[prng.below(WORDS.len() as u64) as usize].as_bytes());
        } else {
            bytes.extend_from_slice(&prng.next_u64().to_le_bytes());
        }
    }
    bytes
}

#[test]
fn ten_thousand_connections_of_garbage_leave_nothing_behind() {
    let node = with_canary(Setup::new());
    let before = node.resident_bytes();
    let mut prng = Prng::new(1);
    for batch in 0..100 {
        let mut clients: Vec<Client> = (0..100).map(|_| node.client()).collect();
        for client in &mut clients {
            // The server may have closed by the time that all is sent.
            let _ = client.try_send(garbage(&mut prng));
        }
        if batch % 2 == 0 {
            clients.iter_mut().for_each(|client| client.half_close().unwrap_or_default());
            clients.iter_mut().for_each(|client| drop(client.rest()));
        }
        canary_lives(&node);
    }
    eventually("all of them are gone", || node.stat("curr_connections") <= 2);
    assert!(growth(&node, before) < 32 * MIB, "{} bytes more", growth(&node, before));
}

#[test]
fn thousands_of_resets_harm_nobody() {
    let node = with_canary(Setup::new());
    for _ in 0..20 {
        let mut clients: Vec<Client> = (0..100).map(|_| node.client()).collect();
        clients.iter_mut().for_each(|client| client.send("version\r\nset k 0 0 100\r\n"));
        // Closing a socket with an answer unread in it sends a reset.
        clients.into_iter().for_each(Client::reset);
        canary_lives(&node);
    }
    eventually("all of them are gone", || node.stat("curr_connections") <= 2);
}

#[test]
fn half_a_command_and_then_silence_is_told_and_closed() {
    let node = with_canary(Setup::new().set("limits.stall_timeout_s=1"));
    let mut idle = node.client();
    assert_eq!(idle.ask("verbosity 1"), "OK");
    let halves = [
        "set k 0 0 10\r\nabc",
        "get k",
        "set k 0 0 10",
        "gets a b c",
        "GET /k HTTP/1.1\r\nHost: localhost\r\n",
        "PUT /k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab",
    ];
    let mut clients: Vec<Client> = halves.iter().map(|_| node.client()).collect();
    clients.iter_mut().zip(halves).for_each(|(client, half)| client.send(half));
    for (client, half) in clients.iter_mut().zip(halves) {
        let last = String::from_utf8(client.rest()).expect("text");
        let told =
            if half.contains("HTTP") { last.starts_with("HTTP/1.1 408 ") } else { last == "CLIENT_ERROR command not finished in time\r\n" };
        assert!(told, "{half:?}: {last:?}");
    }
    assert_eq!(idle.ask("verbosity 1"), "OK", "who is between two commands is not meant");
    canary_lives(&node);
}

#[test]
fn a_client_that_never_reads_is_not_read_from_and_then_closed() {
    let node = with_canary(Setup::new().set("limits.stall_timeout_s=1"));
    assert_eq!(node.client().set("big", vec![b'x'; 1 << 20]), "STORED");
    let before = node.resident_bytes();
    let mut clients: Vec<Client> = (0..8).map(|_| node.client()).collect();
    clients.iter_mut().for_each(|client| client.send("get big\r\n".repeat(1_000)));
    canary_lives(&node);
    eventually("they are closed", || {
        canary_lives(&node);
        assert!(growth(&node, before) < 64 * MIB, "{} bytes more", growth(&node, before));
        node.stat("closed_not_reading") == 8
    });
}

#[test]
fn a_client_that_reads_late_gets_every_answer() {
    let node = with_canary(Setup::new());
    const COMMANDS: usize = 100_000;
    const ANSWER: &[u8] = b"VALUE canary 0 5\r\nalive\r\nEND\r\n";
    let mut client = node.client();
    let mut writer = client.sender();
    thread::scope(|scope| {
        scope.spawn(move || writer.send("get canary\r\n".repeat(COMMANDS)));
        canary_lives(&node);
        for _ in 0..COMMANDS {
            assert_eq!(client.bytes(ANSWER.len()), ANSWER);
        }
    });
}

#[test]
fn a_line_of_a_hundred_thousand_keys_is_refused_and_a_long_one_within_the_limit_is_answered() {
    let node = with_canary(Setup::new());
    let before = node.resident_bytes();
    let keys: String = (0..100_000).map(|number| format!(" k{number}")).collect();
    let mut client = node.client();
    // The server may close before it has all of it.
    let _ = client.try_send(format!("get{keys}\r\n"));
    canary_lives(&node);
    assert_eq!(client.rest(), b"CLIENT_ERROR line too long\r\n");

    let long: String = (0..30_000).map(|number| format!(" k{number}")).collect();
    let mut client = node.client();
    client.send(format!("get canary{long} canary\r\n"));
    canary_lives(&node);
    let lines = [client.line(), client.line(), client.line(), client.line(), client.line()];
    assert_eq!(lines, ["VALUE canary 0 5", "alive", "VALUE canary 0 5", "alive", "END"]);
    assert!(growth(&node, before) < 32 * MIB, "{} bytes more", growth(&node, before));
}

#[test]
fn a_line_without_an_end_is_cut() {
    let node = with_canary(Setup::new());
    let before = node.resident_bytes();
    for beginning in ["get ", "nonsense", "", "GET /", "PUT /k HTTP/1.1\r\nHost: localhost\r\nX: "] {
        let mut client = node.client();
        let endless = vec![b'a'; 1 << 20];
        let _ = client.try_send([beginning.as_bytes(), &endless].concat());
        for _ in 0..20 {
            let _ = client.try_send(&endless);
        }
        drop(client.rest());
        canary_lives(&node);
    }
    assert!(growth(&node, before) < 32 * MIB, "{} bytes more", growth(&node, before));
}

#[test]
fn a_value_of_two_megabytes_is_refused_and_the_stream_stays_in_step() {
    let pool = Pool::start();
    for node in &pool.nodes {
        let mut client = node.client();
        assert_eq!(client.set("large", "small"), "STORED");
        assert_eq!(client.set("large", vec![b'x'; 2 << 20]), "SERVER_ERROR object too large for cache");
        assert_eq!(client.set("small", "v"), "STORED");
        assert_eq!(client.get("large"), None);
        let mut http = Http::connect(node);
        assert_eq!(http.ask_with("PUT", "/large", &vec![b'x'; 2 << 20]).status, 413);
        assert_eq!((node.stat("cmd_set"), node.stat("delete_hits"), node.stat("delete_misses")), (3, 0, 0), "no delete was asked for");
    }
}

#[test]
fn memory_is_reserved_for_what_has_arrived_and_not_for_what_was_declared() {
    let node = with_canary(Setup::new());
    let before = node.resident_bytes();
    let mut clients: Vec<Client> = (0..200).map(|_| node.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(if number % 2 == 0 {
            "set k 0 0 1048576\r\n0123456789abcdef"
        } else {
            "PUT /k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n0123456789abcdef"
        });
    }
    canary_lives(&node);
    assert!(growth(&node, before) < 16 * MIB, "{} bytes more", growth(&node, before));
}

#[test]
fn connections_that_are_silent_cost_next_to_nothing() {
    let node = with_canary(Setup::new());
    let before = node.resident_bytes();
    let mut clients: Vec<Client> = (0..2_000).map(|_| node.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("verbosity 1"), "OK"));
    assert!(growth(&node, before) < 2_000 * 2_048, "{} bytes more", growth(&node, before));
}

#[test]
fn what_may_be_a_value_is_never_carried_out() {
    let node = with_canary(Setup::new());
    for length in ["-1", "abc", "1e3", "2147483647", "4294967296", "18446744073709551615", ""] {
        let mut client = node.client();
        client.send(format!("set k 0 0 {length}\r\ndelete canary\r\nflush_all\r\n"));
        let said = String::from_utf8(client.rest()).expect("text");
        assert!(said.starts_with("CLIENT_ERROR ") || said.starts_with("ERROR"), "{length}: {said}");
        canary_lives(&node);
    }
    let mut client = node.client();
    client.send(format!("set {} 0 0 13\r\ndelete canary\r\nset k\x01 0 0 13\r\ndelete canary\r\nversion\r\n", "k".repeat(251)));
    let said = [client.line(), client.line(), client.line()];
    assert!(said[0].starts_with("CLIENT_ERROR ") && said[1].starts_with("CLIENT_ERROR ") && said[2].starts_with("VERSION "), "{said:?}");
    canary_lives(&node);
}

#[test]
fn the_body_of_a_request_is_never_carried_out() {
    let node = with_canary(Setup::new());
    let commands = b"delete canary\r\nflush_all\r\n";
    assert_eq!(Http::connect(&node).ask_with("POST", "/other", commands).status, 201);
    canary_lives(&node);
    for head in [
        "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /k HTTP/1.1\r\n\r\n",
        "version\r\nPOST / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /k\r\n",
    ] {
        let mut client = node.client();
        let _ = client.try_send([head.as_bytes(), commands].concat());
        let _ = client.half_close();
        drop(client.rest());
        canary_lives(&node);
    }
}

#[test]
fn a_hundred_commands_and_a_half_close_get_a_hundred_answers() {
    let pool = Pool::start();
    for node in &pool.nodes {
        let mut client = node.client();
        client.send((0..100).map(|number| format!("incr nobody{number} 1\r\n")).collect::<String>());
        client.half_close().expect("the connection stands");
        assert_eq!(client.rest(), "NOT_FOUND\r\n".repeat(100).into_bytes());
    }
}

#[test]
fn an_end_that_comes_together_with_the_last_bytes_is_seen() {
    let node = with_canary(Setup::new());
    for (bytes, answer) in [("version\r\n", "VERSION 1.6.45\r\n"), ("get k", ""), ("P", ""), ("set k 0 0 9\r\nab", ""), ("\0", "")] {
        let mut client = node.client();
        canary_lives(&node);
        // While the node is stopped both arrive, and it learns of them at once when it goes on.
        node.signal("STOP");
        client.send(bytes);
        client.half_close().expect("the connection stands");
        node.signal("CONT");
        assert_eq!(client.rest(), answer.as_bytes(), "{bytes:?}");
    }
}

#[test]
fn one_connection_too_many_is_told_so_and_the_others_stay() {
    let node = Setup::new().set("limits.max_connections=10").start();
    let mut clients: Vec<Client> = (0..10).map(|_| node.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("verbosity 1"), "OK"));
    assert!(clients[0].stat("curr_connections") >= 10, "they are counted as soon as they are there");
    let mut late = node.client();
    late.send("get canary\r\n");
    assert_eq!(late.rest(), b"ERROR Too many open connections\r\n");
    assert_eq!(node.client().rest(), b"ERROR Too many open connections\r\n", "and so is who says nothing");
    assert_eq!(clients[0].stat("rejected_connections"), 2);
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("verbosity 1"), "OK"));
    clients.pop();
    eventually("there is room again", || node.client().try_ask("alive").is_ok_and(|line| line.starts_with("ALIVE")));
}

#[test]
fn without_file_descriptors_nobody_is_served_worse_who_is_there() {
    let node = Setup::new().descriptors(64).set("journal.segment_size=4KiB").set("journal.sync=no").start();
    let mut first = node.client();
    assert_eq!(first.set("canary", "alive"), "STORED");
    let crowd: Vec<Client> = (0..200).map(|_| node.client()).collect();
    for number in 0..200 {
        assert_eq!(first.set(&format!("k{number}"), [b'v'; 100]), "STORED");
        assert_eq!(first.get("canary"), Some(b"alive".to_vec()));
    }
    assert_eq!(first.stat("journal_ok"), 1, "the journal has kept its descriptors");
    drop(crowd);
    eventually("there is room again", || {
        Client::try_connect(node.address()).is_ok_and(|mut client| client.try_ask("alive").is_ok_and(|line| line.starts_with("ALIVE")))
    });
}

/// Says something on the peer channel.
fn say(client: &mut Client, message: &Message<'_>) {
    let mut bytes = Vec::new();
    assert!(peer::compose(message, &mut bytes).is_none(), "it goes in one frame");
    client.send(bytes);
}

/// A large message as if it were a small one: not in pieces.
fn in_one_frame(message: &Message<'_>) -> Vec<u8> {
    let (mut pieces, mut body) = (Vec::new(), Vec::new());
    let mut large = peer::compose(message, &mut Vec::new()).expect("it is large");
    while !large.cut(&mut pieces) {}
    let mut rest = &pieces[..];
    while let Frame::Piece { consumed, bytes, .. } = peer::next_frame(rest) {
        body.extend_from_slice(bytes);
        rest = &rest[consumed..];
    }
    [&u32::try_from(body.len()).expect("it is not that large").to_be_bytes()[..], &body].concat()
}

/// What the node answers on the peer channel before it closes.
fn hear(client: &mut Client) -> Vec<Message<'static>> {
    let bytes = client.rest();
    let Frame::Whole { message: Message::Refused { reason }, .. } = peer::next_frame(&bytes) else { return Vec::new() };
    vec![Message::Refused { reason: reason.into_owned().into() }]
}

fn hello(protocol: u32, name: &str) -> Message<'static> {
    let me = Card {
        name: name.into(),
        node_id: "x".into(),
        address: "127.0.0.1:9".parse().expect("an address"),
        weight: 1,
        incarnation: 7,
        stand_ins: Vec::new(),
    };
    Message::Hello(Introduction { protocol, pool: "spyder".into(), me, others: Vec::new(), copies: 1 })
}

#[test]
fn a_peer_that_does_not_fit_is_refused_with_the_reason() {
    let node = with_canary(Setup::new());
    for (hello, reason) in [(hello(PROTOCOL_VERSION + 1, "127.0.0.1:9"), "version"), (hello(PROTOCOL_VERSION, &node.name), "name")] {
        let mut link = node.client();
        say(&mut link, &hello);
        let heard = hear(&mut link);
        assert!(matches!(&heard[..], [Message::Refused { reason: why }] if why.contains(reason)), "{heard:?}");
    }
    assert_eq!(node.stat("nodes"), 1);
}

#[test]
fn a_peer_that_makes_no_sense_or_does_not_greet_is_closed() {
    let node = with_canary(Setup::new());
    for frame in [&b"\0\0\0\x01\x90"[..], b"\0\0\0\0", b"\0\xff\xff\xff\x90", b"\0\0\0\x03\x92\x04\x01", b"\0\0\0\x09garbage!!"] {
        let mut link = node.client();
        link.send(frame);
        let heard = link.rest();
        assert!(heard.is_empty(), "{}: {}", frame.escape_ascii(), heard.escape_ascii());
        canary_lives(&node);
    }
}

#[test]
fn a_peer_that_names_a_key_of_which_no_entry_can_be_is_closed_and_the_log_says_why() {
    let node = with_canary(Setup::new());
    let mut link = node.client();
    let command = Command { key: vec![b'k'; 65_536].into(), action: Action::Store(Store::of(&b"v"[..])) };
    link.send(in_one_frame(&Message::Request { id: RequestId(1), view: ViewId::default(), serial: 1, command }));
    assert!(link.rest().is_empty());
    eventually("the log tells", || node.log().contains("a frame has a key of more than 65,535 bytes"));
    canary_lives(&node);
}
