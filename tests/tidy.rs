//! The house rules, read off the source text: which part may know which, who may touch the world, and how large things may grow.
//!
//! Each rule is a test, and each exception is a line in a table with its reason. The rules look at code only: comments, texts and the tests
//! at a file's end are cut away first by [`source`]. To break a rule on purpose is to change it here, where the next person reads why.

#[path = "tidy/source.rs"]
mod source;

use std::fs;
use std::path::Path;

use source::{Source, has_word, root, sources};

/// What each part may use of the others. A part knows itself; parts not named here know nobody.
const KNOWS: [(&str, &[&str]); 21] = [
    ("time", &[]),
    ("prng", &[]),
    ("stats", &[]),
    ("hash", &[]),
    ("glob", &[]),
    ("msgpack", &[]),
    ("config", &["topology::view::Mirrors"]),
    ("topology", &["hash", "msgpack", "time"]),
    ("caching", &["hash", "prng", "time"]),
    ("node", &["topology", "caching", "glob", "hash", "prng", "stats", "time"]),
    // The dialects know what is asked and answered, in whose names, and within which limits.
    (
        "communication/memcached",
        &[
            "communication::protocol",
            "communication::admin",
            "communication::base64",
            "node::command",
            "node::reply",
            "caching::Version",
            "config::Limits",
        ],
    ),
    (
        "communication/http",
        &[
            "communication::protocol",
            "communication::access",
            "communication::base64",
            "node::command",
            "node::reply",
            "caching::Version",
            "config::Limits",
            "stats",
        ],
    ),
    (
        "communication/resp",
        &["communication::protocol", "communication::access", "node::command", "node::reply", "caching::Version", "config::Limits", "glob"],
    ),
    (
        "communication",
        &[
            "node::command",
            "node::reply",
            "node::message",
            "caching::Version",
            "topology::membership",
            "topology::view",
            "msgpack",
            "config::Limits",
        ],
    ),
    // For tests alone.
    ("communication/damage", &["prng"]),
    ("communication/event_loop", &["communication", "node", "topology", "caching", "config", "disk", "hash", "prng", "stats", "time"]),
    // Implements what the journal writes to.
    ("disk", &["caching"]),
    ("tools", &["config", "disk", "prng"]),
    // Reads as a node does.
    ("tools/journal", &["tools", "caching", "disk", "time"]),
    ("main", &["communication::event_loop", "config", "disk", "tools"]),
    ("lib", &[]),
];

/// What touches the world, and where that is allowed.
const WORLD: [(&str, &[&str]); 13] = [
    ("mio", &["communication/event_loop", "tools/bench"]),
    ("TcpStream", &["communication/event_loop", "tools"]),
    ("TcpListener", &["communication/event_loop"]),
    ("UdpSocket", &[]),
    ("fs", &["disk"]),
    ("File", &["disk"]),
    ("Instant", &["communication/event_loop", "tools"]),
    ("SystemTime", &["communication/event_loop"]),
    ("thread", &["disk", "tools"]),
    ("RandomState", &["communication/event_loop"]),
    ("std::env", &["main", "tools/password"]),
    ("signal_hook", &["communication/event_loop"]),
    ("println", &[]),
];

/// Words that never stand in code outside of tests, and the files that may hold them all the same.
const NEVER: [(&str, &[&str]); 8] = [
    ("todo!", &[]),
    ("unimplemented!", &[]),
    ("dbg!", &[]),
    (".unwrap()", &[]),
    // An entry is one allocation behind a thin pointer: the file says why it is sound, and Miri looks at it.
    ("unsafe", &["caching/entry"]),
    ("use super::*", &[]),
    // Maps and sets of the standard library give their keys in an order that differs from run to run. This set is only asked, never
    // gone through.
    ("HashSet", &["node/reconstruction"]),
    ("HashMap", &[]),
];

/// A file without a noun attracts everything.
const NO_NOUNS: [&str; 6] = ["util", "utils", "types", "common", "helpers", "misc"];

const MOST_LINES_OF_CODE: usize = 600;
const MOST_LINES_OF_A_FUNCTION: usize = 60;

#[test]
fn every_part_knows_only_those_below_it() {
    for source in sources("src") {
        let allowed = KNOWS.iter().filter(|(part, _)| source.is_in(part)).max_by_key(|(part, _)| part.len());
        let (part, allowed) = allowed.unwrap_or_else(|| panic!("{}: a part that tests/tidy.rs does not know", source.path));
        for used in source.uses() {
            let own = part.replace('/', "::");
            let known = [own.as_str()].iter().chain(*allowed).any(|known| used == **known || used.starts_with(&format!("{known}::")));
            assert!(known && !is_the_loop_from_outside(&source, &used), "{}: {part} must not know {used}", source.path);
        }
        let climbs = if source.is_root_of_a_part() { "super::" } else { "super::super::" };
        assert!(!source.code.contains(climbs), "{}: names another part by {climbs}; say crate::", source.path);
    }
}

/// The dialects are driven by the loop; they do not know it.
fn is_the_loop_from_outside(source: &Source, used: &str) -> bool {
    used.starts_with("communication::event_loop") && source.is_in("communication") && !source.is_in("communication/event_loop")
}

#[test]
fn the_world_is_touched_where_it_is_meant_to_be() {
    for source in sources("src") {
        for (word, places) in WORLD {
            let allowed = places.iter().any(|place| source.is_in(place));
            assert!(allowed || !has_word(&source.code, word), "{}: {word} belongs to {places:?}", source.path);
        }
    }
}

#[test]
fn some_words_never_stand_outside_of_tests() {
    for source in sources("src") {
        for (word, exceptions) in NEVER {
            let allowed = exceptions.iter().any(|place| source.is_in(place));
            assert!(allowed || !has_word(&source.code, word), "{}: {word}", source.path);
        }
    }
}

#[test]
fn no_rule_has_an_exception_that_nobody_needs() {
    let all = sources("src");
    for (word, places) in WORLD.iter().chain(&NEVER) {
        for place in *places {
            assert!(all.iter().any(|source| source.is_in(place) && has_word(&source.code, word)), "{place} does without {word}");
        }
    }
}

#[test]
fn every_file_opens_with_what_it_is() {
    for source in [sources("src"), sources("tests"), sources("fuzz")].concat() {
        assert!(source.text.starts_with("//! "), "{}: begins without its page", source.path);
    }
}

#[test]
fn files_and_functions_stay_small() {
    for source in [sources("src"), sources("tests"), sources("fuzz")].concat() {
        let lines = source.code.lines().count();
        assert!(lines <= MOST_LINES_OF_CODE, "{}: {lines} lines before its tests: two ideas?", source.path);
        for (name, lines) in source.functions() {
            assert!(lines <= MOST_LINES_OF_A_FUNCTION, "{}: fn {name} has {lines} lines", source.path);
        }
    }
}

#[test]
fn every_file_is_named_for_something() {
    for source in [sources("src"), sources("tests"), sources("fuzz")].concat() {
        let stem = Path::new(&source.path).file_stem().expect("a file").to_string_lossy().into_owned();
        assert!(!NO_NOUNS.contains(&stem.as_str()), "{}: a file without a noun", source.path);
    }
}

#[test]
fn tests_wait_for_conditions_and_not_for_time() {
    // Where conditions are waited for; where a load is paced; and the program of measured runs, whose faults last as long as they are said to.
    const PLACES: [&str; 3] = ["tests/server/harness/mod.rs", "tests/server/harness/load/worker.rs", "tests/chaos/runs.rs"];
    for source in sources("tests") {
        assert!(PLACES.contains(&source.path.as_str()) || !source.code.contains("thread::sleep"), "{}: a test that sleeps", source.path);
    }
}

#[test]
fn every_dependency_is_used() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let dependencies = manifest.split("[dependencies]").nth(1).and_then(|rest| rest.split("\n[").next()).expect("dependencies");
    let names = dependencies.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.trim());
    let all = sources("src");
    for name in names.filter(|name| !name.starts_with('#')) {
        // Two crates are known in code by other names than in the manifest.
        let word = match name {
            "md-5" => "md5".to_owned(),
            // simplelog's format_description! expands to it.
            "time" => "format_description".to_owned(),
            name => name.replace('-', "_"),
        };
        assert!(all.iter().any(|source| has_word(&source.code, &word)), "{name} is not used");
    }
}

#[test]
fn nothing_names_a_folder_of_somebodys_machine() {
    let mut texts: Vec<Source> = [sources("src"), sources("fuzz")].concat();
    for folder in ["docs", "conf", "utils", ".", "tests/transcripts"] {
        texts.extend(source::texts(folder));
    }
    for Source { path, text, .. } in texts {
        for folder in ["/home/", "/root/", "/Users/", "/mnt/"] {
            assert!(!text.contains(folder), "{path}: names {folder}");
        }
    }
}
