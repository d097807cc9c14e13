//! The command line: options, exit codes, and the tools against nodes that run.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::eventually;
use crate::harness::node::{Folder, PROGRAM, Setup};
use crate::harness::pool::Pool;

/// What a run of the program came to.
struct Run {
    code: i32,
    out: String,
    err: String,
}

fn run(args: &[&str]) -> Run {
    run_with(args, &[])
}

fn run_with(args: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = Command::new(PROGRAM);
    let output = command.args(args).env_remove("SPYDERCACHE_PASSWORD").envs(variables.iter().copied()).output();
    let Output { status, stdout, stderr } = output.expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Run { code: status.code().expect("it ends by itself"), out: text(stdout), err: text(stderr) }
}

fn of_the_project(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_bare_node_is_node_0_on_port_8080_of_this_machine() {
    let folder = Folder::new();
    let empty = folder.path().join("empty.toml");
    fs::write(&empty, "").expect("a file");
    for file in [empty.to_str().expect("UTF-8"), &of_the_project("conf/spydercache.toml")] {
        let Run { code, out, .. } = run(&["--check-config", file]);
        assert_eq!((code, out.as_str()), (0, "good: node 0 is 127.0.0.1:8080\n"));
    }
}

#[test]
fn the_files_of_the_sample_pool_are_good() {
    for number in 1..=3 {
        let Run { code, out, .. } = run(&["--check-config", &of_the_project(&format!("conf/node{number}.toml"))]);
        assert_eq!((code, out), (0, format!("good: node {number} is 127.0.0.1:800{number}\n")));
    }
}

#[test]
fn a_mistake_in_a_file_is_told_with_its_place_and_ends_with_2() {
    let folder = Folder::new();
    let file = folder.path().join("wrong.toml");
    let path = file.to_str().expect("UTF-8");
    for (text, words) in [
        ("[local]\nnode_prot = 8001\n", &["line 2", "local.node_port"][..]),
        ("[local]\nnode_port = \"many\"\n", &["line 2", "many", "65535"]),
        ("[lokal]\n", &["line 1", "[local]"]),
        ("[local\n", &["line 1"]),
    ] {
        fs::write(&file, text).expect("a file");
        for args in [&["--check-config", path][..], &[path]] {
            let Run { code, err, .. } = run(args);
            assert_eq!(code, 2, "{text:?}: {err}");
            assert!(words.iter().all(|word| err.contains(word)), "{text:?}: {err}");
        }
    }
    assert_eq!(run(&["--check-config", "/does/not/exist.toml"]).code, 2);
}

#[test]
fn usage_is_2_and_help_is_0_for_the_program_and_for_each_tool() {
    for args in [
        &["--nonsense"][..],
        &["a.toml", "b.toml"],
        &["--port", "many"],
        &["--set", "no.such=1"],
        &["monitor"],
        &["journal"],
        &["bench", "--depth", "0"],
    ] {
        let Run { code, out, err } = run(args);
        assert!(code == 2 && out.is_empty() && err.starts_with("spydercache"), "{args:?}: {code} {err}");
    }
    for args in [&["--help"][..], &["monitor", "--help"], &["journal", "--help"], &["bench", "--help"]] {
        let Run { code, out, err } = run(args);
        assert!(code == 0 && out.starts_with("Usage: spydercache") && err.is_empty(), "{args:?}: {code} {err}");
    }
    let Run { code, out, .. } = run(&["--version"]);
    assert_eq!((code, out), (0, concat!("spydercache ", env!("CARGO_PKG_VERSION"), "\n").into()));
}

#[test]
fn the_monitor_tells_the_living_from_the_dead() {
    let mut pool = Pool::start();
    let names: Vec<String> = pool.nodes.iter().map(|node| node.name.clone()).collect();
    let args: Vec<&str> = ["monitor", "--once", "--json"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let whole = run(&args);
    assert!(whole.code == 0 && whole.out.starts_with("{\"alive\":3,\"dead\":0,\"nodes\":["), "{}{}", whole.out, whole.err);
    assert_eq!(whole.out.matches("\"nodes_up\":3").count(), 3, "{}", whole.out);

    pool.nodes[1].kill();
    let broken = run(&args);
    assert!(broken.code == 1 && broken.out.starts_with("{\"alive\":2,\"dead\":1,"), "{}{}", broken.out, broken.err);
    let folder = Folder::new();
    let list = folder.path().join("nodes");
    fs::write(&list, format!("# the pool\n{}\n", names.join("\n"))).expect("a file");
    let table = run(&["monitor", "--once", list.to_str().expect("UTF-8")]);
    let states: Vec<&str> = table.out.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!((table.code, states), (1, vec!["alive", "dead", "alive"]), "{}", table.out);
}

#[test]
fn monitor_and_bench_show_a_password_from_a_file_the_environment_or_the_configuration() {
    let node = Setup::new().set("security.password=open sesame").set("journal.enabled=false").start();
    let folder = Folder::new();
    let written = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.into_os_string().into_string().expect("UTF-8")
    };
    let port = node.address().port();
    let config = written("node.toml", &format!("[local]\nnode_port = {port}\n[security]\npassword = \"open sesame\"\n"));
    let (right, wrong) = (written("right", "open sesame\n"), written("wrong", "sesame\n"));
    let name = node.name.as_str();
    let bench = ["bench", "--quiet", "--json", "--requests", "200", "--connections", "3"];
    for tool in [&["monitor", "--once"][..], &bench] {
        let with = |more: &[&str], variable: &str| run_with(&[tool, more].concat(), &[("SPYDERCACHE_PASSWORD", variable)]);
        for (arguments, variable) in [(&["--password-file", &right, name][..], "ignored"), (&[name], "open sesame")] {
            let Run { code, out, err } = with(arguments, variable);
            assert!(code == 0 && !out.contains("unauthenticated"), "{tool:?} {arguments:?}: {out}{err}");
        }
        for (arguments, variable) in [(&["--password-file", &wrong, name][..], "open sesame"), (&[name], "sesame")] {
            let Run { code, out, err } = with(arguments, variable);
            assert!(code == 1 && format!("{out}{err}").contains("has another password"), "{tool:?} {arguments:?}: {out}{err}");
        }
        assert_ne!(with(&["--password-file", "/does/not/exist", name], "").code, 0);
    }
    assert_eq!(run(&["monitor", "--once", &config]).code, 0);
    let Run { code, out, .. } = run(&["monitor", "--once", name]);
    assert!(code == 1 && out.contains("wants a password"), "{out}");
    let open = Setup::new().set("journal.enabled=false").start();
    assert_eq!(run(&[&bench[..], &["--mix", "1:0", "--password-file", &right, &open.name]].concat()).code, 0);
    assert_eq!((open.stat("curr_items"), open.stat("cmd_set")), (0, 0), "who wants no password is not told it");
}

#[test]
fn the_journal_of_a_node_that_has_ended_can_be_read() {
    let mut node = Setup::new().start();
    let mut client = node.client();
    assert_eq!(client.ask("put greeting hello, world"), "STORED");
    assert_eq!(client.ask("delete greeting"), "DELETED");
    assert!(node.terminate().success());
    let segments = node.segments();
    let files: Vec<&str> = segments.iter().map(|path| path.to_str().expect("UTF-8")).collect();
    let plain = run(&[&["journal"], &files[..]].concat());
    assert_eq!(plain.code, 0, "{}", plain.err);
    assert!(plain.out.contains("put \"greeting\" (12 bytes) \"hello, world\" flags=0 expires=never"), "{}", plain.out);
    assert!(plain.out.contains("delete \"greeting\""), "{}", plain.out);
    let json = run(&[&["journal", "--json"], &files[..]].concat());
    assert!(json.code == 0 && json.out.contains("\"command\":\"put\",\"key\":\"greeting\""), "{}", json.out);
}

#[test]
fn a_damaged_journal_is_told_and_can_be_repaired_but_not_below_a_running_node() {
    let mut node = Setup::new().start();
    (0..50).for_each(|number| assert_eq!(node.client().set(&format!("k{number}"), "v"), "STORED"));
    node.kill();
    let longest = |paths: Vec<std::path::PathBuf>| paths.into_iter().max_by_key(|path| length(path)).expect("a segment");
    let segment = longest(node.segments());
    let path = segment.to_str().expect("UTF-8");
    let bytes = fs::read(&segment).expect("a file");
    fs::write(&segment, &bytes[..bytes.len() - 3]).expect("a file");
    assert_eq!(run(&["journal", path]).code, 1);
    assert_eq!(run(&["journal", "--repair", path]).code, 0);
    assert_eq!(run(&["journal", path]).code, 0);
    node.start();
    assert_eq!(node.stat("curr_items"), 49);
    assert_eq!(run(&["journal", "--repair", path]).code, 1, "a node uses the folder");
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[test]
fn a_journal_of_the_original_can_be_read() {
    let folder = Folder::new();
    let file = folder.path().join("events_journal");
    // msgpack arrays of three: ["put", "city", "Paris"], ["delete", "city", nil]
    fs::write(&file, b"\x93\xa3put\xa4city\xa5Paris\x93\xa6delete\xa4city\xc0").expect("a file");
    let Run { code, out, err } = run(&["journal", file.to_str().expect("UTF-8")]);
    assert!(code == 0 && out.contains("put \"city\" (5 bytes) \"Paris\"") && out.contains("delete \"city\""), "{out}{err}");
}

#[test]
fn the_load_generator_measures_a_pool_and_finds_no_wrong_value() {
    let pool = Pool::start();
    let names: Vec<String> = pool.nodes.iter().map(|node| node.name.clone()).collect();
    let options =
        ["bench", "--json", "--quiet", "--load", "--check", "--keys", "500", "--connections", "6", "--depth", "4", "--requests", "5000"];
    let args: Vec<&str> = options.into_iter().chain(names.iter().map(String::as_str)).collect();
    let Run { code, out, err } = run(&args);
    assert!(code == 0 && out.starts_with('{') && out.contains("\"p99\""), "{code} {out}{err}");
    assert!(out.contains("\"wrong\":0"), "{out}");
    for preset in ["load", "evict", "mixed"] {
        let Run { code, out, err } = run(&["bench", "--preset", preset, "--keys", "300", "--quiet", "--json", &names[0]]);
        assert!(code == 0 && out.starts_with('{'), "{preset}: {code} {out}{err}");
    }
    let total: u64 = pool.nodes.iter().map(|node| node.stat("cmd_get")).sum();
    assert!(total > 0);
}

#[test]
fn the_load_generator_fails_where_nobody_listens() {
    let [port] = crate::harness::node::free_ports();
    assert_eq!(run(&["bench", "--requests", "10", "--quiet", &format!("127.0.0.1:{port}")]).code, 1);
}

#[test]
fn a_node_logs_to_a_file_as_well_and_never_its_password() {
    let folder = Folder::new();
    let file = folder.path().join("node.log");
    let node = Setup::new().set(format!("log.file={}", file.display())).set("security.password=unspeakable").start();
    let both = || [node.log(), fs::read_to_string(&file).unwrap_or_default()];
    eventually("the line is in both", || both().iter().all(|log| log.contains("listens on")));
    assert!(both().iter().all(|log| !log.contains("unspeakable")));
}
