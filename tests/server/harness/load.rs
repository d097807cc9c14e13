//! A load on a pool, and a judge of every answer: what the pool's promises are held against while things happen to its nodes.
//!
//! ```text
//!   Plan ──▶ Load ──▶ worker × (nodes × groups) ──▶ a node each
//!                        │  one connection, one request at a time, paced
//!                        ▼
//!                      judge (what is known of each key) ──▶ tally ──▶ Verdict
//! ```
//!
//! Keys are sorted into *groups* by the node that owns them at first, and each worker keeps to one group and to one node: while the keys of
//! a killed node wait, nobody who asks for other keys waits with them, so that both silences can be told apart. Each key is written by one
//! worker and read by all of its group.
//!
//! What is done to a node is announced to the load: [`Load::excuse`] before, [`Load::hold`] when the node must keep its promises
//! again. Meanwhile its workers go to other nodes as soon as it leaves them. Nothing here decides by a clock whether a test has passed.

pub mod judge;
pub mod tally;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hdrhistogram::Histogram;

use self::judge::{Breach, Key, Kind};
use self::tally::{Tally, Verdict};
use self::worker::Worker;
use super::client::Client;
use super::eventually;
use super::node::Node;

/// Requests sent together where nothing is measured.
const BATCH: usize = 64;

/// What the load is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The nodes, in the order of their ids, which begin with 1.
    pub nodes: Vec<SocketAddr>,
    /// Operations a second, of all workers together. What a wait has cost is not caught up.
    pub rate: u64,
    /// Keys of each kind that each worker writes.
    pub keys: usize,
    /// How long a worker waits for an answer before it calls the connection lost.
    pub patience: Duration,
}

/// A load that runs until it is finished or dropped.
pub struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<Vec<Histogram<u64>>>>,
}

/// What all workers see.
struct Shared {
    plan: Plan,
    keys: Vec<Key>,
    tally: Tally,
    stop: AtomicBool,
    phase: AtomicUsize,
    /// For each node how often it was excused: odd while it is.
    excuses: Vec<AtomicU64>,
}

impl Plan {
    /// A load on these nodes.
    pub fn on(nodes: &[Node], rate: u64) -> Plan {
        Plan { nodes: nodes.iter().map(Node::address).collect(), rate, keys: 40, patience: Duration::from_secs(10) }
    }
}

impl Load {
    /// Learns who owns which key, and begins.
    pub fn start(plan: Plan) -> Load {
        let groups = plan.nodes.len();
        let keys = grouped_keys(&plan);
        let tally = Tally::new(groups);
        let excuses = plan.nodes.iter().map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared { plan, keys, tally, stop: AtomicBool::new(false), phase: AtomicUsize::new(0), excuses });
        let worker = |number: usize| {
            let mut worker = Worker::new(Arc::clone(&shared), number);
            thread::spawn(move || worker.run())
        };
        let workers = (0..groups * groups).map(worker).collect();
        let load = Load { shared, workers };
        load.await_more(200);
        load
    }

    /// What goes wrong at this node from now on is somebody's doing.
    pub fn excuse(&self, node: usize) {
        let before = self.shared.excuses[node].fetch_add(1, Ordering::SeqCst);
        assert!(before.is_multiple_of(2), "it is excused already");
    }

    /// From now on the node is held to its promises again. Its workers return to it.
    pub fn hold(&self, node: usize) {
        let before = self.shared.excuses[node].fetch_add(1, Ordering::SeqCst);
        assert!(!before.is_multiple_of(2), "it was not excused");
    }

    /// Requests that take long from now on are counted apart.
    pub fn next_phase(&self) {
        self.shared.phase.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until so many more requests are answered well, for the keys of each node.
    pub fn await_more(&self, count: u64) {
        (0..self.shared.plan.nodes.len()).for_each(|group| self.await_more_of(group, count));
    }

    /// Waits until so many more requests are answered well, for keys that this node owned at first.
    pub fn await_more_of(&self, group: usize, count: u64) {
        let enough = self.shared.tally.answers(group) + count;
        eventually("the load goes on", || self.shared.tally.answers(group) >= enough || self.has_panicked());
        assert!(!self.has_panicked(), "a worker has panicked");
    }

    /// The longest times that no key of each node's was answered, since this was asked last.
    pub fn take_silences(&self) -> Vec<Duration> {
        self.shared.tally.take_silences()
    }

    /// How it stands.
    pub fn so_far(&self) -> Verdict {
        self.shared.tally.verdict()
    }

    /// Ends the load, and reads every key through each of these nodes.
    pub fn finish<'a>(mut self, nodes: impl IntoIterator<Item = &'a Node>) -> Verdict {
        let took_us = self.end();
        nodes.into_iter().for_each(|node| self.shared.read_all(node));
        Verdict { took_us, ..self.shared.tally.verdict() }
    }

    fn end(&mut self) -> Vec<Histogram<u64>> {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut all: Vec<Histogram<u64>> = Vec::new();
        for worker in self.workers.drain(..) {
            let phases = worker.join().expect("a worker does not panic");
            while all.len() < phases.len() {
                all.push(worker::no_times());
            }
            all.iter_mut().zip(phases).for_each(|(sum, one)| sum.add(one).expect("the same bounds"));
        }
        all
    }

    fn has_panicked(&self) -> bool {
        self.workers.iter().any(JoinHandle::is_finished)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // A test that has failed says its own reason.
        self.workers.drain(..).for_each(|worker| drop(worker.join()));
    }
}

impl Shared {
    fn is_excused(&self, node: usize) -> bool {
        !self.excuses[node].load(Ordering::SeqCst).is_multiple_of(2)
    }

    /// The last look: what was acknowledged is at every node.
    fn read_all(&self, node: &Node) {
        let mut client = node.client();
        let keys: Vec<&Key> = self.keys.iter().filter(|key| key.is_issued()).collect();
        for keys in keys.chunks(BATCH) {
            let known: Vec<u64> = keys.iter().map(|key| key.known()).collect();
            client.send(keys.iter().map(|key| format!("get {}\r\n", key.name)).collect::<String>());
            for (key, known) in keys.iter().zip(known) {
                match client.try_value().expect("the node stands") {
                    Ok(value) => self.judge_last(key, known, value.as_deref(), &node.name),
                    Err(text) => self.tally.error(&text, &format!("at {}, in the end", node.name)),
                }
            }
        }
    }

    fn judge_last(&self, key: &Key, known: u64, value: Option<&[u8]>, at: &str) {
        if let Err((breach, what)) = key.judge(known, value) {
            let breach = if breach == Breach::Wrong { breach } else { Breach::Lost };
            self.tally.breach(breach, &format!("{} at {at}, in the end: {what}", key.name));
        }
    }
}

/// The keys of all workers: those of one worker stand together, kind by kind. A worker of group g has keys that node g owns.
fn grouped_keys(plan: &Plan) -> Vec<Key> {
    const KINDS: [Kind; 4] = [Kind::Overwritten, Kind::Once, Kind::Deleted, Kind::Counted];
    let groups = plan.nodes.len();
    let mut names = names_by_owner(plan.nodes[0], groups, groups * KINDS.len() * plan.keys);
    let mut keys = Vec::new();
    for number in 0..groups * groups {
        for kind in KINDS {
            let own = names[number % groups].drain(..plan.keys);
            keys.extend(own.map(|name| Key::new(name, kind)));
        }
    }
    keys
}

/// So many names for each owner, as this node says. No two loads of a process share one.
fn names_by_owner(asked: SocketAddr, owners: usize, count: usize) -> Vec<Vec<String>> {
    static LOADS: AtomicU64 = AtomicU64::new(0);
    let load = LOADS.fetch_add(1, Ordering::Relaxed);
    let mut client = Client::connect(asked);
    let mut names: Vec<Vec<String>> = vec![Vec::new(); owners];
    for start in (0..).step_by(BATCH) {
        if names.iter().all(|names| names.len() >= count) {
            break;
        }
        let batch: Vec<String> = (start..start + BATCH).map(|number| format!("load{load}-{number}")).collect();
        client.send(batch.iter().map(|name| format!("owner {name}\r\n")).collect::<String>());
        for name in batch {
            let owner = client.line();
            let id: usize = owner.strip_prefix("OWNER ").and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("{owner}"));
            while client.line() != "END" {}
            names[id - 1].push(name);
        }
    }
    names
}
