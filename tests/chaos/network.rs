//! Nodes on a network of their own that can be cut.
//!
//! Each node lives in a network namespace, and all of them hang on one bridge, from which the clients reach every node at any time. A cut
//! is a wrong neighbour: the one side is told a hardware address for the other that nobody has. Its packets leave and are never heard of
//! again, without any error, in this direction only: as on a network that is broken, and not as on one that refuses.
//!
//! Needs root and iproute2. What was made is removed when the network goes out of scope.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Which packets are lost.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Those to the node, and those from it.
    Both,
    /// Only those that it sends.
    Outward,
    /// Only those that it would get.
    Inward,
}

/// A network of so many nodes.
pub struct Network {
    tag: u32,
    nodes: usize,
}

/// An address of hardware that is nobody's.
const NOBODY: &str = "02:00:00:00:00:ff";

impl Network {
    /// A network whose parts are all connected, or why there can be none.
    pub fn new(nodes: usize) -> Result<Network, String> {
        // A namespace that is removed takes its time to go: no two networks share a name.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let tag = (std::process::id() * 10 + NUMBER.fetch_add(1, Ordering::Relaxed)) % 1_000_000;
        let network = Network { tag, nodes };
        let bridge = network.bridge();
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("addr add {}/24 dev {bridge}", network.address(253)))?;
        ip(&format!("link set {bridge} up"))?;
        for node in 0..nodes {
            let (namespace, outside) = (network.namespace(node), format!("v{}x{node}", network.tag));
            ip(&format!("netns add {namespace}"))?;
            ip(&format!("link add {outside} type veth peer name eth0 netns {namespace}"))?;
            ip(&format!("link set {outside} master {bridge} up"))?;
            ip(&format!("-n {namespace} addr add {}/24 dev eth0", network.address(node)))?;
            ip(&format!("-n {namespace} link set lo up"))?;
            ip(&format!("-n {namespace} link set eth0 up"))?;
        }
        Ok(network)
    }

    /// The namespace of a node.
    pub fn namespace(&self, node: usize) -> String {
        format!("chaos{}-{node}", self.tag)
    }

    /// The address of a node.
    pub fn address(&self, node: usize) -> String {
        format!("10.203.{}.{}", self.tag % 250, node + 1)
    }

    /// Cuts a node off from all others.
    pub fn cut(&self, node: usize, cut: Cut) {
        self.for_each_lost(node, cut, |from, to| format!("-n {from} neigh replace {to} lladdr {NOBODY} dev eth0 nud permanent"));
    }

    /// Undoes the cut.
    pub fn heal(&self, node: usize, cut: Cut) {
        self.for_each_lost(node, cut, |from, to| format!("-n {from} neigh del {to} dev eth0"));
    }

    fn for_each_lost(&self, node: usize, cut: Cut, command: impl Fn(String, String) -> String) {
        let (outward, inward) = (!matches!(cut, Cut::Inward), !matches!(cut, Cut::Outward));
        for other in (0..self.nodes).filter(|other| *other != node) {
            for (from, to) in
                [(node, other), (other, node)].into_iter().zip([outward, inward]).filter_map(|(way, lost)| lost.then_some(way))
            {
                ip(&command(self.namespace(from), self.address(to))).expect("a neighbour");
            }
        }
    }

    fn bridge(&self) -> String {
        format!("chaos{}", self.tag)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Whatever of it was made. The links end with their namespaces.
        (0..self.nodes).for_each(|node| drop(ip(&format!("netns del {}", self.namespace(node)))));
        drop(ip(&format!("link del {}", self.bridge())));
    }
}

/// Runs `ip` with these words.
fn ip(words: &str) -> Result<(), String> {
    let ran = Command::new("ip").args(words.split(' ')).stdout(Stdio::null()).output();
    let output = ran.map_err(|error| format!("ip cannot be run: {error}"))?;
    let said = || format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim());
    if output.status.success() { Ok(()) } else { Err(said()) }
}
