//! What happens to a node, and what its clients and its pool see of it.
//!
//! The promises: every request is answered, with a value, a miss or a plain error; nobody else falls; who returns is taken back by
//! itself; and what was acknowledged is in the journal, whatever ended the process.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::http::Http;
use crate::harness::node::{Node, Setup, free_ports};
use crate::harness::pool::{Pool, await_up};

/// Puts and gets keys of every owner through a node until told to stop, and counts the answers. Panics if one does not come, or is
/// neither an answer nor a plain error.
fn load(address: SocketAddr, name: &str, stop: &AtomicBool, answered: &AtomicU64) {
    let mut client = Client::connect(address);
    for round in (0u64..).take_while(|_| !stop.load(Ordering::Relaxed)) {
        let key = format!("{name}{}", round % 100);
        let stored = client.set(&key, round.to_string());
        assert!(stored == "STORED" || stored.starts_with("SERVER_ERROR "), "set {key}: {stored}");
        match client.try_get(&key).expect("the entry node stands") {
            Ok(None) => {}
            Ok(Some(value)) => assert!(value.iter().all(u8::is_ascii_digit), "get {key}: {}", value.escape_ascii()),
            Err(error) => assert!(error.starts_with("SERVER_ERROR "), "get {key}: {error}"),
        }
        answered.fetch_add(2, Ordering::Relaxed);
    }
}

/// Lets `happen` what is to happen to the third node while clients load the two others, and sees that the load runs on.
fn under_load(pool: &mut Pool, happen: impl FnOnce([&Node; 2], &mut Node)) {
    let [first, second, third] = &mut pool.nodes;
    let survivors = [&*first, &*second];
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let more = |what: &str| {
        let before = answered.load(Ordering::Relaxed);
        eventually(what, || answered.load(Ordering::Relaxed) > before + 1_000);
    };
    thread::scope(|scope| {
        let (stop, answered) = (&stop, &answered);
        // Ends the load even if something panics here: the scope waits for it.
        let _guard = StopOnDrop(stop);
        for number in 0..4 {
            let address = survivors[number % 2].address();
            scope.spawn(move || load(address, &format!("load{number}-"), stop, answered));
        }
        more("the load runs");
        happen(survivors, third);
        more("the load runs on");
    });
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_node_killed_under_load_leaves_no_request_without_an_answer_and_returns_by_itself() {
    let mut pool = Pool::start();
    under_load(&mut pool, |survivors, third| {
        for _ in 0..3 {
            third.kill();
            survivors.iter().for_each(|node| await_up(node, 2));
            third.start();
            survivors.iter().for_each(|node| await_up(node, 3));
        }
    });
    assert!(pool.nodes.iter_mut().all(|node| !node.has_ended()));
    pool.await_whole();
}

#[test]
fn a_node_that_is_stopped_under_load_is_passed_over_and_taken_back_when_it_goes_on() {
    let mut pool = Pool::start();
    under_load(&mut pool, |survivors, third| {
        third.signal("STOP");
        survivors.iter().for_each(|node| await_up(node, 2));
        third.signal("CONT");
        survivors.iter().for_each(|node| await_up(node, 3));
    });
    pool.await_whole();
}

#[test]
fn a_node_that_is_told_to_end_under_load_ends_cleanly() {
    let mut pool = Pool::start();
    under_load(&mut pool, |survivors, third| {
        assert_eq!(third.terminate().code(), Some(0));
        survivors.iter().for_each(|node| await_up(node, 2));
    });
}

#[test]
fn requests_for_a_node_that_is_silent_are_answered_before_anybody_knows_that_it_is() {
    let pool = Pool::start_with(|setup| setup.set("network.silence_ms=600000").set("limits.request_timeout_ms=200"));
    let key = pool.key_of(2, "silent");
    assert_eq!(pool.nodes[0].client().set(&key, "v"), "STORED");
    pool.nodes[2].signal("STOP");
    let mut client = pool.nodes[0].client();
    let (written, read) = (client.set(&key, "w"), client.ask(&format!("get {key}")));
    assert!(written.starts_with("SERVER_ERROR outcome unknown"), "{written}");
    assert!(read.starts_with("SERVER_ERROR "), "{read}");
    let own = pool.key_of(0, "own");
    assert_eq!(client.set(&own, "v"), "STORED");
    assert_eq!(Http::connect(&pool.nodes[0]).ask("GET", &format!("/{key}")).status / 100, 5);
    pool.nodes[2].signal("CONT");
    eventually("the node that goes on answers", || matches!(client.try_get(&key), Ok(Ok(Some(_)))));
}

/// What clients were told about their writes: for each key the last value acknowledged, or that it was deleted, and the one that was
/// under way when the connection broke.
#[derive(Default)]
struct Acknowledged {
    keys: BTreeMap<String, Option<String>>,
    in_doubt: Option<String>,
}

/// Writes until the connection breaks.
fn write_until_the_end(address: SocketAddr, name: &str, written: &AtomicU64) -> Acknowledged {
    let mut client = Client::connect(address);
    let mut done = Acknowledged::default();
    for round in 0u64.. {
        let key = format!("{name}{}", round * 7 % 1_000);
        let deletes = round % 5 == 4;
        let (command, expected) =
            if deletes { (format!("delete {key}"), "DELETED") } else { (format!("set {key} 0 0 {}\r\n{round}", digits(round)), "STORED") };
        done.in_doubt = Some(key.clone());
        match client.try_ask(&command) {
            Ok(answer) if answer == expected || deletes && answer == "NOT_FOUND" => {}
            Ok(answer) => panic!("{command}: {answer}"),
            Err(_) => return done,
        }
        done.keys.insert(key, (!deletes).then(|| round.to_string()));
        written.fetch_add(1, Ordering::Relaxed);
    }
    done
}

fn digits(number: u64) -> usize {
    number.to_string().len()
}

/// Ends a node by `end` while four clients write, starts it again, and asks for everything that was acknowledged.
fn nothing_acknowledged_is_lost(setup: Setup, end: impl FnOnce(&mut Node)) {
    let mut node = setup.start();
    let written = AtomicU64::new(0);
    let all: Vec<Acknowledged> = thread::scope(|scope| {
        let (address, written) = (node.address(), &written);
        let writers: Vec<_> =
            (0..4).map(|number| scope.spawn(move || write_until_the_end(address, &format!("w{number}-"), written))).collect();
        eventually("enough is written", || written.load(Ordering::Relaxed) > 8_000);
        end(&mut node);
        writers.into_iter().map(|writer| writer.join().expect("answers in their order")).collect()
    });
    node.start();
    let mut client = node.client();
    for Acknowledged { keys, in_doubt } in all {
        for (key, value) in keys.into_iter().filter(|(key, _)| in_doubt.as_ref() != Some(key)) {
            assert_eq!(client.get(&key), value.map(String::into_bytes), "{key}");
        }
    }
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    nothing_acknowledged_is_lost(Setup::new(), Node::kill);
}

#[test]
fn kill_9_loses_nothing_while_the_journal_is_being_cleaned() {
    nothing_acknowledged_is_lost(Setup::new().set("journal.segment_size=16KiB").set("journal.sync=no"), Node::kill);
}

#[test]
fn kill_9_loses_nothing_when_every_write_is_synced() {
    nothing_acknowledged_is_lost(Setup::new().set("journal.sync=always"), Node::kill);
}

#[test]
fn sigterm_ends_with_0_and_everything_acknowledged_on_disk() {
    nothing_acknowledged_is_lost(Setup::new(), |node| assert_eq!(node.terminate().code(), Some(0)));
}

#[test]
fn sigint_ends_with_0_as_well() {
    let mut node = Setup::new().start();
    node.signal("INT");
    assert_eq!(node.await_end().code(), Some(0));
}

#[test]
fn a_pool_that_dies_as_a_whole_comes_back_with_everything() {
    let mut pool = Pool::start();
    let keys: Vec<String> = (0..200).map(|number| format!("whole{number}")).collect();
    let mut client = pool.nodes[1].client();
    keys.iter().for_each(|key| assert_eq!(client.set(key, key), "STORED"));
    pool.nodes.iter_mut().for_each(Node::kill);
    pool.nodes.iter_mut().for_each(Node::launch);
    pool.nodes.iter_mut().for_each(Node::await_ready);
    pool.await_whole();
    let mut client = pool.nodes[2].client();
    assert!(keys.iter().all(|key| client.get(key) == Some(key.clone().into_bytes())));
}

#[test]
fn the_journal_brings_back_flags_and_time_to_live_and_nothing_that_is_gone() {
    let mut node = Setup::new().start();
    let mut client = node.client();
    client.send("set flags 7 0 1\r\nv\r\nset lives 0 1000 1\r\nv\r\nset touched 0 0 1\r\nv\r\ntouch touched 1000\r\n");
    client.send("set number 0 0 1\r\n9\r\nincr number 1\r\nset gone 0 0 1\r\nv\r\ndelete gone\r\nset ended 0 -1 1\r\nv\r\n");
    let said: Vec<String> = (0..9).map(|_| client.line()).collect();
    assert_eq!(said, ["STORED", "STORED", "STORED", "TOUCHED", "STORED", "10", "STORED", "DELETED", "STORED"]);
    node.kill();
    node.start();
    let mut client = node.client();
    let lines = client.list("get flags lives touched number gone ended");
    let expected = ["VALUE flags 7 1", "v", "VALUE lives 0 1", "v", "VALUE touched 0 1", "v", "VALUE number 0 2", "10"];
    assert_eq!(lines, expected);
    assert!(node.log().contains("reading the journal: "), "progress is told:\n{}", node.log());

    assert_eq!(client.ask("flush_all"), "OK");
    node.kill();
    node.start();
    assert_eq!(node.stat("curr_items"), 0, "what was flushed stays away");
}

#[test]
fn a_node_that_does_not_reconstruct_at_its_start_does_so_when_it_is_told() {
    let mut node = Setup::new().start();
    (0..100).for_each(|number| assert_eq!(node.client().set(&format!("old{number}"), "v"), "STORED"));
    node.kill();
    for by_http in [false, true] {
        let mut node = restarted_without_reconstruction(&node);
        assert_eq!(node.stat("curr_items"), 0);
        assert_eq!(node.client().set("old1", "newer"), "STORED");
        if by_http {
            assert_eq!(Http::connect(&node).ask("HEAD", "/reconstruct").status, 200);
        } else {
            assert_eq!(node.client().ask("reconstruct"), "OK");
        }
        assert_eq!((node.client().get("old1"), node.client().get("old2")), (Some(b"newer".to_vec()), Some(b"v".to_vec())));
        assert_eq!(node.stat("curr_items"), 100);
        node.kill();
    }
}

/// A node on a copy of another's journal that begins empty.
fn restarted_without_reconstruction(node: &Node) -> Node {
    let mut copy = Setup::new().set("local.reconstruct=false").start();
    copy.kill();
    for path in node.segments() {
        fs::copy(&path, copy.data().join(path.file_name().expect("a file"))).expect("a copy");
    }
    copy.start();
    copy
}

#[test]
fn a_damaged_journal_keeps_no_node_from_starting_and_brings_no_wrong_value() {
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 8] = [
        ("nothing", |_| {}),
        ("a torn end", |path| change(path, |file, length| file.set_len(length - 5))),
        ("zeros at the end", |path| change(path, |file, length| file.set_len(length + 10_000))),
        ("garbage at the end", |path| change(path, |file, length| write_at(file, length, &[0xa5; 999]))),
        ("a flipped bit", |path| change(path, |file, length| write_at(file, length / 2, &[0xff]))),
        ("zeros in the middle", |path| change(path, |file, length| write_at(file, length / 2, &[0; 300]))),
        ("no content", |path| change(path, |file, _| file.set_len(0))),
        ("no file", |path| fs::remove_file(path).expect("a file")),
    ];
    let mut node = Setup::new().start();
    for number in 0..200 {
        assert_eq!(node.client().set(&format!("d{number}"), format!("value {number}")), "STORED");
    }
    node.kill();
    let whole: Vec<(PathBuf, Vec<u8>)> = node.segments().into_iter().map(|path| (path.clone(), fs::read(path).expect("a file"))).collect();
    for (what, damage) in damages {
        node.segments().iter().for_each(|path| fs::remove_file(path).expect("a file"));
        whole.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("a file"));
        let (largest, _) = whole.iter().max_by_key(|(_, bytes)| bytes.len()).expect("a segment");
        damage(largest);
        node.start();
        let mut client = node.client();
        let kept = (0..200).filter(|number| match client.get(&format!("d{number}")) {
            Some(value) => value == format!("value {number}").into_bytes() || panic!("{what}: a wrong value"),
            None => false,
        });
        let kept = kept.count();
        let least = if what.starts_with("no ") { 0 } else { 180 };
        assert!(kept >= least && (what != "nothing" || kept == 200), "{what}: {kept} of 200 keys");
        assert_eq!(client.set("after", "v"), "STORED");
        node.kill();
    }
}

fn change(path: &Path, change: impl FnOnce(&mut File, u64) -> io::Result<()>) {
    let mut file = OpenOptions::new().write(true).open(path).expect("a file");
    let length = file.metadata().expect("a file").len();
    change(&mut file, length).expect("a damage");
}

fn write_at(file: &mut File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

#[test]
fn a_port_that_is_taken_ends_the_start_with_1_and_the_reason() {
    let node = Setup::new().start();
    let mut second = Setup::new().port(node.address().port()).launch();
    assert_eq!(second.await_end().code(), Some(1));
    assert!(second.log().contains(&format!("cannot listen on {}", node.name)), "{}", second.log());
}

#[test]
fn a_node_whose_peers_are_all_away_serves_and_takes_them_in_when_they_come() {
    let ports = free_ports::<2>();
    let setup = |own: usize| {
        let peer = ports[1 - own];
        Setup::new().port(ports[own]).set(format!("local.node_id={own}")).set(format!("network.peers=127.0.0.1:{peer}"))
    };
    let first = setup(0).start();
    assert_eq!(first.client().set("alone", "v"), "STORED");
    let second = setup(1).start();
    [&first, &second].iter().for_each(|node| await_up(node, 2));
}
