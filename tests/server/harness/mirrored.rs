//! Several nodes that hold copies for each other.
//!
//! Such a pool is *redundant* when all of its nodes that run are in one view and every key has its copy: only then may the next node
//! be lost. What the nodes say of it is asked for again and again, never waited for by a clock.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::node::{Node, Setup, free_ports};
use super::{PATIENCE, comes_true_every};

/// The pause between two looks at all nodes: a load that is measured does not feel them.
pub const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A pool with one mirror for each key: its nodes are 1, 2, 3 and so on.
pub struct Mirrored {
    /// Its nodes.
    pub nodes: Vec<Node>,
    adjust: fn(Setup) -> Setup,
}

impl Mirrored {
    /// A pool with the defaults of a configuration, redundant.
    pub fn start(count: usize) -> Mirrored {
        Mirrored::start_with(count, |setup| setup)
    }

    /// A pool whose nodes are set up further by `adjust`, redundant.
    pub fn start_with(count: usize, adjust: fn(Setup) -> Setup) -> Mirrored {
        let names: Vec<String> = (0..count).map(|_| free_name()).collect();
        Mirrored::start_on(&names, adjust, |_, setup| setup)
    }

    /// A pool whose nodes have these addresses, each set up further by `place`, redundant.
    pub fn start_on(names: &[String], adjust: fn(Setup) -> Setup, place: impl Fn(usize, Setup) -> Setup) -> Mirrored {
        let setup = |number: usize| place(number, adjust(mirrored(number + 1, &names[number], names)));
        let mut pool = Mirrored { nodes: (0..names.len()).map(|number| setup(number).launch()).collect(), adjust };
        pool.nodes.iter_mut().for_each(Node::await_ready);
        pool.await_redundant();
        pool
    }

    /// One more node, which knows the others. They do not know it.
    pub fn newcomer(&self) -> Node {
        let names: Vec<String> = self.nodes.iter().map(|node| node.name.clone()).collect();
        (self.adjust)(mirrored(self.nodes.len() + 1, &free_name(), &names)).start()
    }

    /// One more node. It knows nobody, and nobody knows it.
    pub fn stranger(&self) -> Node {
        (self.adjust)(mirrored(self.nodes.len() + 1, &free_name(), &[])).start()
    }

    /// Waits until the nodes that run agree on a view of themselves, in which nothing is held less often than it should be.
    pub fn await_redundant(&self) {
        await_redundant(self.running());
    }

    /// Waits until all nodes that run, except this one, see so many up.
    pub fn await_up_without(&self, without: usize, count: u64) {
        let without = self.nodes[without].name.as_str();
        for node in self.running().filter(|node| node.name != without) {
            super::pool::await_up(node, count);
        }
    }

    /// The nodes that run.
    pub fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_started())
    }

    /// kill -9 of all nodes, as fast as it can be said; then they are started again.
    pub fn kill_and_restart_all(&mut self) {
        self.nodes.iter().for_each(|node| node.signal("KILL"));
        self.nodes.iter_mut().for_each(Node::kill);
        self.nodes.iter_mut().for_each(Node::launch);
        self.nodes.iter_mut().for_each(Node::await_ready);
    }

    /// The number of the node, from 0, that owns a key, as this one says.
    pub fn owner(&self, asked: usize, key: &str) -> usize {
        super::pool::owner_by(&self.nodes[asked], key)
    }
}

/// Waits until these nodes, and no others, are in one view in which nothing is held less often than it should be.
pub fn await_redundant<'a>(nodes: impl IntoIterator<Item = &'a Node>) {
    let nodes: Vec<&Node> = nodes.into_iter().collect();
    let mut states = Vec::new();
    let redundant = comes_true_every(LOOK_EVERY, PATIENCE, || {
        states = nodes.iter().map(|node| state(node)).collect();
        states.iter().all(|state| *state == [nodes.len() as u64, 0, states[0][2]])
    });
    assert!(redundant, "not redundant: [nodes_up, lost_redundancy, epoch] are {states:?}");
}

/// Nodes that are up, what is held less often than it should be, and the number of the view; as this node says.
fn state(node: &Node) -> [u64; 3] {
    let lines = node.client().list("stats");
    ["nodes_up", "lost_redundancy", "epoch"].map(|name| {
        let value = lines.iter().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no stat {name}"))
    })
}

/// Removes all that a node has kept, as if its disk had been lost.
pub fn lose_disk(node: &Node) {
    let data: PathBuf = node.data();
    fs::remove_dir_all(&data).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
}

fn free_name() -> String {
    let [port] = free_ports::<1>();
    format!("127.0.0.1:{port}")
}

fn mirrored(number: usize, name: &str, peers: &[String]) -> Setup {
    let port = name.rsplit(':').next().and_then(|port| port.parse().ok()).expect("IP:PORT");
    let setup = Setup::new().port(port).set(format!("local.node_id={number}")).set("network.mirrors=1");
    setup.set(format!("network.peers={}", peers.join(",")))
}
