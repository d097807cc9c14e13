//! The scripts of `utils/`, with the original's arguments, against nodes that run and against one that does not.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::node::{Folder, Node, PROGRAM, Setup, free_ports};
use crate::harness::pool::{Pool, await_up};

/// What a script needs beside a shell, without nc.
const WITHOUT_NC: [&str; 14] =
    ["sh", "bash", "cat", "head", "tail", "wc", "mktemp", "rm", "tr", "awk", "dirname", "timeout", "printf", "env"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn script(name: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new("sh");
    command.arg(root().join("utils").join(name)).args(args);
    command
}

/// Its exit code and what it printed.
fn outcome(command: &mut Command) -> (i32, Vec<u8>, String) {
    let Output { status, stdout, stderr } = command.output().expect("the script runs");
    (status.code().expect("it ends by itself"), stdout, String::from_utf8_lossy(&stderr).into_owned())
}

fn run(name: &str, args: &[&str]) -> (i32, String) {
    let (code, out, err) = outcome(&mut script(name, args));
    assert!(code == 0 || !err.is_empty() || !out.is_empty(), "{name} {args:?} fails without a word");
    (code, String::from_utf8(out).expect("text"))
}

fn place(node: &Node) -> [String; 2] {
    [node.address().ip().to_string(), node.address().port().to_string()]
}

fn ok(line: &str) -> (i32, String) {
    (0, format!("{line}\n"))
}

#[test]
fn put_get_and_delete_work_through_any_node() {
    let pool = Pool::start();
    let [one, two, three] = pool.nodes.each_ref().map(place);
    for (key, value) in [
        ("greeting", "hello, world"),
        ("path", "a/b/c"),
        ("empty", ""),
        ("letters", "grün, 茶"),
        ("lines", "a\nb\n"),
        ("percent", "100%s\\n"),
    ] {
        assert_eq!(run("put.sh", &[key, value, &one[0], &one[1]]), ok("STORED"));
        assert_eq!(run("get.sh", &[key, &two[0], &two[1]]), (0, value.into()), "{key}");
        assert_eq!(run("delete.sh", &[key, &three[0], &three[1]]), ok("DELETED"));
        assert_eq!(run("get.sh", &[key, &one[0], &one[1]]), (1, "--null--\n".into()));
        assert_eq!(run("delete.sh", &[key, &two[0], &two[1]]), (1, "NOT_FOUND\n".into()));
    }
}

#[test]
fn connect_and_fake_death_change_the_pool() {
    let pool = Pool::start();
    let [port] = free_ports();
    let fourth = Setup::new().port(port).set("local.node_id=4").start();
    let ([one, two, three], four) = (pool.nodes.each_ref().map(place), place(&fourth));
    assert_eq!(run("connect.sh", &[&one[0], &one[1], &four[0], &four[1]]), ok("OK"));
    pool.nodes.iter().chain([&fourth]).for_each(|node| await_up(node, 4));
    assert_eq!(run("fake_death.sh", &[&two[0], &two[1], &three[0], &three[1]]), ok("OK"));
    pool.nodes.iter().chain([&fourth]).for_each(|node| await_up(node, 3));
    assert_eq!(run("fake_death.sh", &[&two[0], &two[1], "127.0.0.1", "9"]).0, 1);
    assert_eq!(run("connect.sh", &[&one[0], &one[1], &three[0], &three[1]]), ok("OK"));
    pool.nodes.iter().chain([&fourth]).for_each(|node| await_up(node, 4));
}

#[test]
fn reconstruct_reads_the_journal_again() {
    let node = Setup::new().start();
    let place = place(&node);
    assert_eq!(node.client().set("k", "v"), "STORED");
    assert_eq!(run("reconstruct.sh", &[&place[0], &place[1]]), ok("OK"));
    assert_eq!(node.client().get("k"), Some(b"v".to_vec()));
}

#[test]
fn the_monitor_says_who_is_dead() {
    let mut pool = Pool::start();
    let names: Vec<String> = pool.nodes.iter().map(|node| node.name.clone()).collect();
    let args: Vec<&str> = names.iter().map(String::as_str).collect();
    let (code, out) = run("monitor.sh", &args);
    assert_eq!((code, out.matches(" alive node ").count()), (0, 3), "{out}");
    pool.nodes[0].kill();
    let (code, out) = run("monitor.sh", &args);
    assert_eq!((code, out.lines().next()), (1, Some(format!("{} dead", names[0]).as_str())), "{out}");
}

#[test]
fn wrong_arguments_are_answered_with_the_usage_and_2() {
    let wrong: [(&str, &[&str]); 15] = [
        ("put.sh", &["k", "v", "127.0.0.1"]),
        ("put.sh", &["two words", "v", "127.0.0.1", "8001"]),
        ("put.sh", &["k", "v", "127.0.0.1", "http"]),
        ("get.sh", &[]),
        ("get.sh", &["k", "127.0.0.1", "0"]),
        ("get.sh", &["a\nflush_all", "127.0.0.1", "8001"]),
        ("get.sh", &["", "127.0.0.1", "8001"]),
        ("delete.sh", &["k", "127.0.0.1", "8001", "more"]),
        ("delete.sh", &["k", "127.0.0.1", "70000"]),
        ("connect.sh", &["127.0.0.1", "8001", "127.0.0.1"]),
        ("fake_death.sh", &["127.0.0.1", "8001", "127.0.0.1", ""]),
        ("reconstruct.sh", &["127.0.0.1"]),
        ("cluster.sh", &[]),
        ("cluster.sh", &["kill", "4"]),
        ("cluster.sh", &["dance"]),
    ];
    for (name, args) in wrong {
        let (code, out, err) = outcome(&mut script(name, args));
        assert!(code == 2 && out.is_empty() && err.contains(name), "{name} {args:?}: {code} {err}");
    }
}

#[test]
fn a_node_that_is_down_is_told_and_ends_with_1() {
    let [port] = free_ports();
    let port = port.to_string();
    let there = ["127.0.0.1", port.as_str()];
    for (name, args) in [
        ("put.sh", [&["k", "v"], &there[..]].concat()),
        ("get.sh", [&["k"], &there[..]].concat()),
        ("delete.sh", [&["k"], &there[..]].concat()),
        ("connect.sh", [&there[..], &there].concat()),
        ("fake_death.sh", [&there[..], &there].concat()),
        ("reconstruct.sh", there.to_vec()),
    ] {
        let (code, out, err) = outcome(&mut script(name, &args));
        assert!(code == 1 && out.is_empty() && err.contains("no answer from"), "{name}: {code} {err}");
    }
}

#[test]
fn where_there_is_no_nc_bash_does() {
    let node = Setup::new().start();
    let [ip, port] = place(&node);
    let folder = Folder::new();
    for tool in WITHOUT_NC {
        if let Some(path) = ["/bin", "/usr/bin"].iter().map(|dir| Path::new(dir).join(tool)).find(|path| path.exists()) {
            std::os::unix::fs::symlink(path, folder.path().join(tool)).expect("a link");
        }
    }
    if !folder.path().join("bash").exists() {
        return;
    }
    let run = |name, args: &[&str]| {
        let mut command = script(name, args);
        let (code, out, err) = outcome(command.env("PATH", folder.path()));
        assert_eq!(err, "", "{name}");
        (code, String::from_utf8(out).expect("text"))
    };
    assert_eq!(run("put.sh", &["k", "by bash", &ip, &port]), ok("STORED"));
    assert_eq!(run("get.sh", &["k", &ip, &port]), (0, "by bash".into()));
}

/// The sample pool on ports and in a folder of its own; ended whatever happens.
struct Cluster {
    folder: Folder,
    base: u16,
}

impl Cluster {
    fn new() -> Cluster {
        let base = std::iter::from_fn(|| Some(free_ports::<3>())).find(|ports| ports[1] == ports[0] + 1 && ports[2] == ports[0] + 2);
        Cluster { folder: Folder::new(), base: base.expect("three ports in a row")[0] }
    }

    fn call(&self, args: &[&str]) -> (i32, String) {
        let mut command = script("cluster.sh", args);
        command.env("BASE_PORT", self.base.to_string()).env("CLUSTER_DIR", self.folder.path()).env("SPYDERCACHE", PROGRAM);
        let (code, out, err) = outcome(&mut command);
        (code, String::from_utf8_lossy(&out).into_owned() + &err)
    }

    fn pid(&self, number: usize) -> Option<String> {
        fs::read_to_string(self.folder.path().join(format!("node{number}.pid"))).ok()
    }

    fn client(&self, number: u16) -> Client {
        Client::connect(([127, 0, 0, 1], self.base + number - 1).into())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.call(&["clean"]);
    }
}

#[test]
fn the_sample_pool_starts_whole_survives_and_stops() {
    let cluster = Cluster::new();
    let (code, said) = cluster.call(&["start"]);
    assert!(code == 0 && said.starts_with("The pool is whole"), "{code} {said}");
    let pids = [1, 2, 3].map(|number| cluster.pid(number));
    assert_eq!(cluster.call(&["start"]).0, 0);
    assert_eq!(pids, [1, 2, 3].map(|number| cluster.pid(number)), "who runs is left running");
    assert_eq!(cluster.client(1).set("kept", "v"), "STORED");
    assert_eq!(cluster.client(3).get("kept"), Some(b"v".to_vec()));

    assert_eq!(cluster.call(&["kill", "2"]).0, 0);
    let (code, said) = cluster.call(&["status"]);
    assert!(code == 1 && said.lines().any(|line| line.starts_with("node 2 ") && line.ends_with("not running")), "{said}");
    assert_eq!(cluster.call(&["kill", "2"]).0, 1, "it does not run");
    let (code, said) = cluster.call(&["revive", "2"]);
    assert_eq!(code, 0, "{said}");
    eventually("the pool is whole again", || cluster.call(&["status"]).0 == 0);

    assert_eq!(cluster.call(&["stop"]).0, 0);
    assert_eq!([1, 2, 3].map(|number| cluster.pid(number)), [None, None, None]);
    assert_eq!(cluster.call(&["stop"]).0, 0, "to stop what does not run is no mistake");
    assert_eq!(cluster.call(&["start"]).0, 0);
    assert_eq!(cluster.client(2).get("kept"), Some(b"v".to_vec()), "the journals stay");
    assert_eq!(cluster.call(&["clean"]).0, 0);
}

#[test]
fn no_process_is_taken_for_a_node_that_is_none() {
    let cluster = Cluster::new();
    let node = Setup::new().start();
    fs::write(cluster.folder.path().join("node1.pid"), node.pid().to_string()).expect("a file");
    assert_eq!(cluster.call(&["kill", "1"]).0, 1);
    assert_eq!(cluster.call(&["stop"]).0, 0);
    assert_eq!(node.client().ask("alive"), "ALIVE 0");
}
