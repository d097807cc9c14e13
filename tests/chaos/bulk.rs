//! Many keys at once, to give a node something to fill: written and read in pipelines, each answer checked.

use crate::harness::client::Client;
use crate::harness::node::Node;

/// Keys asked for together.
const BATCH: u64 = 500;
/// Bytes of padding behind each value.
const PADDING: usize = 80;

/// Writes so many keys, through all of these nodes in turn.
pub fn write(nodes: &[Node], count: u64) {
    let mut clients: Vec<Client> = nodes.iter().map(Node::client).collect();
    let turns = clients.len();
    for (turn, start) in (0..count).step_by(BATCH as usize).enumerate() {
        let client = &mut clients[turn % turns];
        let numbers = start..count.min(start + BATCH);
        let command = |number: u64| {
            let value = value(number);
            format!("set {} 0 0 {}\r\n{value}\r\n", key(number), value.len())
        };
        client.send(numbers.clone().map(command).collect::<String>());
        numbers.for_each(|number| assert_eq!(client.line(), "STORED", "{}", key(number)));
    }
}

/// How many of these keys this node does not answer with their values.
pub fn missing(node: &Node, count: u64) -> u64 {
    let mut client = node.client();
    let mut missing = 0;
    for start in (0..count).step_by(BATCH as usize) {
        let numbers = start..count.min(start + BATCH);
        client.send(numbers.clone().map(|number| format!("get {}\r\n", key(number))).collect::<String>());
        let is_missing = |number: &u64| client.try_value().expect("the node stands") != Ok(Some(value(*number).into_bytes()));
        missing += numbers.filter(is_missing).count() as u64;
    }
    missing
}

fn key(number: u64) -> String {
    format!("bulk-{number}")
}

fn value(number: u64) -> String {
    format!("{number} {}", ".".repeat(PADDING))
}
