//! Several nodes that know each other.

use super::eventually;
use super::node::{Node, Setup, free_ports};

/// A pool of three nodes: 1, 2 and 3.
pub struct Pool {
    /// Its nodes.
    pub nodes: [Node; 3],
}

impl Pool {
    /// A pool with the defaults of a configuration, whole.
    pub fn start() -> Pool {
        Pool::start_with(|setup| setup)
    }

    /// A pool whose nodes are set up further by `adjust`, whole.
    pub fn start_with(adjust: impl Fn(Setup) -> Setup) -> Pool {
        let ports = free_ports::<3>();
        let peers: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let setup = |number: usize| {
            let setup = Setup::new().port(ports[number]).set(format!("local.node_id={}", number + 1));
            adjust(setup.set(format!("network.peers={}", peers.join(","))))
        };
        let mut nodes = [0, 1, 2].map(|number| setup(number).launch());
        nodes.iter_mut().for_each(Node::await_ready);
        let pool = Pool { nodes };
        pool.await_whole();
        pool
    }

    /// Waits until every node sees all three.
    pub fn await_whole(&self) {
        for node in &self.nodes {
            await_up(node, 3);
        }
    }

    /// The number of the node that owns a key, 0 to 2, as the first that runs says.
    pub fn owner(&self, key: &str) -> usize {
        owner_by(&self.nodes[0], key)
    }

    /// A key that begins with `prefix` and that this node owns.
    pub fn key_of(&self, number: usize, prefix: &str) -> String {
        let mut asked = self.nodes[(number + 1) % 3].client();
        (0..1_000).map(|n| format!("{prefix}{n}")).find(|key| asked.owner(key) == (number + 1).to_string()).expect("a fair share")
    }
}

/// The number of the node that owns a key, 0 to 2, as this node says.
pub fn owner_by(node: &Node, key: &str) -> usize {
    let id: usize = node.client().owner(key).parse().expect("the nodes are numbered");
    id - 1
}

/// Waits until `node` sees so many nodes up, itself included.
pub fn await_up(node: &Node, count: u64) {
    eventually(&format!("{} sees {count} nodes", node.name), || node.stat("nodes_up") == count);
}
