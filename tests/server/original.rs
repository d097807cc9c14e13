//! What the original spyderCache offered, row by row, and where the test of each row is.
//!
//! | what it offered | tested in |
//! | --- | --- |
//! | one config file a node, with these names | here |
//! | a standalone node without a config: id 0, 127.0.0.1:8080 | `tools` (not started: the port may be taken) |
//! | any node answers for any key | `pool`, `clients`, and every transcript through each node |
//! | GET, PUT, DELETE, HEAD / | here, `clients`, `transcripts/http/original.txt` |
//! | `HEAD /connect/ip:port`, `HEAD /dead/ip:port`, `HEAD /reconstruct` | here, `pool`, `faults` |
//! | the journal, and its reader | `faults`, `tools` |
//! | mirrors | `defects`, number 3: with the next release |
//! | a node dies: the others take its keys; it returns | `faults`, `defects`, numbers 4 to 7 |
//! | the heartbeat monitor | `tools`, `scripts` |
//! | LRU by number of keys | `defects`, number 2 |
//! | logs | `tools` |
//! | scripts | `scripts` |
//! | tests by hand: loadData, evictTest, mixedTest | `tools`: the presets of `bench` |

use std::fs;
use std::process::Command;

use crate::harness::http::Http;
use crate::harness::node::{Folder, PROGRAM, Setup, free_ports};
use crate::harness::pool::{Pool, await_up};

/// The sample file of the original, in the words of TOML.
fn sample(folder: &Folder, port: u16, peer: u16) -> String {
    let file = folder.path().join("node.toml");
    let text = format!(
        "[local]\nnode_id = 1\nnode_port = {port}\nreconstruct = false\ncache_size = 2\n\n\
         [network]\npeers = \"127.0.0.1:{peer}, 127.0.0.1:{port}\"\nmirrors = [\"127.0.0.1:{peer}\"]\n"
    );
    fs::write(&file, text).expect("a file");
    file.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_configuration_with_the_originals_sections_and_keys_is_understood() {
    let (folder, [port, peer]) = (Folder::new(), free_ports());
    let file = sample(&folder, port, peer);
    let output = Command::new(PROGRAM).args(["--check-config", &file]).output().expect("the program runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("good: node 1 is 127.0.0.1:{port}\n"));
}

#[test]
fn a_node_with_such_a_configuration_joins_its_peer_and_keeps_to_its_size() {
    let (folder, [port, peer]) = (Folder::new(), free_ports());
    let node = Setup::new().file(sample(&folder, port, peer)).port(port).start();
    let other = Setup::new().port(peer).set("local.node_id=2").set("network.mirrors=[]").start();
    assert_eq!(other.client().ask(&format!("connect {}", node.name)), "OK");
    await_up(&node, 2);
    assert_eq!(node.client().ask("alive"), "ALIVE 1");
    (0..20).for_each(|number| assert_eq!(other.client().set(&format!("k{number}"), "v"), "STORED"));
    assert_eq!(node.stat("curr_items"), 2);
}

#[test]
fn operators_speak_http() {
    let pool = Pool::start();
    let mut http = Http::connect(&pool.nodes[0]);
    let name = &pool.nodes[2].name;
    assert_eq!(http.ask("HEAD", "/").status, 200);
    assert_eq!(http.ask("HEAD", &format!("/dead/{name}")).status, 200);
    pool.nodes.iter().for_each(|node| await_up(node, 2));
    assert_eq!(http.ask("HEAD", &format!("/connect/{name}")).status, 200);
    pool.await_whole();
    assert_eq!(http.ask("HEAD", "/reconstruct").status, 200);
    for wrong in ["/connect/nowhere", "/dead/nowhere", "/dead/"] {
        let response = http.ask("HEAD", wrong);
        assert!(response.status >= 400 && response.header("X-Reason").is_some(), "{wrong}: {response:?}");
    }
}
