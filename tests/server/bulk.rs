//! Large values in a pool with mirrors: nobody is held for dead because of them, and small requests go on beside them.
//!
//! Everything has its default here but what a value may be: silence is noticed after half a second, and requests time out after one.

use crate::harness::http::Http;
use crate::harness::load::{Load, Plan};
use crate::harness::mirrored::Mirrored;
use crate::harness::node::Node;

const MIB: usize = 1 << 20;

/// So many bytes that are not the same everywhere.
fn large(length: usize, salt: u32) -> Vec<u8> {
    (0..length as u32).map(|number| (number ^ number >> 8 ^ number >> 16 ^ salt) as u8).collect()
}

/// The number of the view, which all nodes agree on.
fn epoch(pool: &Mirrored) -> u64 {
    let epochs: Vec<u64> = pool.nodes.iter().map(|node| node.stat("epoch")).collect();
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
    epochs[0]
}

/// Writes a value of so many bytes through each node, and reads it through each.
fn write_and_read_everywhere(nodes: &[Node], key: &str, length: usize) {
    for (salt, writer) in (1..).zip(nodes) {
        let value = large(length, salt);
        assert!(matches!(Http::connect(writer).ask_with("PUT", key, &value).status, 201 | 204));
        for reader in nodes {
            let response = Http::connect(reader).ask("GET", key);
            assert!(response.status == 200 && response.body == value, "{}: {}", reader.name, response.status);
        }
    }
}

#[test]
fn large_values_go_through_every_node_beside_small_ones_and_nobody_is_held_for_dead() {
    let pool = Mirrored::start_with(3, |setup| setup.set("limits.max_value=24MiB"));
    let before = epoch(&pool);
    let load = Load::start(Plan::on(&pool.nodes, 300));
    for key in ["/large/0", "/large/1", "/large/2"] {
        write_and_read_everywhere(&pool.nodes, key, 24 * MIB);
    }
    load.await_more(50);
    assert_eq!(epoch(&pool), before, "the view has changed");
    load.finish(pool.running()).assert_kept();
}
