//! A worker of a load: a thread with one connection to one node, which asks for the keys of one group, one request at a time.
//!
//! A worker has a *home*, the node it prefers. When the home leaves it, it goes to the next node that is not excused, and returns as soon
//! as the home is held to its promises again. A connection remembers how often its node had been excused when it was made: what happens to
//! one that is older than the last excuse is excused as well.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use spydercache::prng::Prng;

use super::Shared;
use super::judge::{Breach, Key, Kind};
use crate::harness::client::Client;

/// Of a hundred requests, so many are reads.
const READS: u64 = 60;
/// A worker that is further behind than this does not hurry after.
const MOST_BEHIND: Duration = Duration::from_millis(20);

/// A worker.
pub(super) struct Worker {
    shared: Arc<Shared>,
    home: usize,
    group: usize,
    /// Its own keys that it still writes.
    written: Vec<usize>,
    connection: Option<Connection>,
    /// The node it tries next when it has no connection.
    next: usize,
    dice: Prng,
    interval: Duration,
    due: Instant,
    took_us: Vec<Histogram<u64>>,
}

struct Connection {
    client: Client,
    node: usize,
    /// How often the node had been excused.
    excuses: u64,
}

/// What came of a request that was not answered as it was meant to be.
enum Failure {
    /// The server's word that it cannot.
    Refused(String),
    /// No answer.
    Lost(io::Error),
}

/// No times yet, of up to a minute.
pub(super) fn no_times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("good bounds")
}

impl Worker {
    /// The worker of this number: its group counts fastest.
    pub(super) fn new(shared: Arc<Shared>, number: usize) -> Worker {
        let nodes = shared.plan.nodes.len();
        let own = shared.keys.len() / (nodes * nodes);
        let interval =
            Duration::from_secs(1) * u32::try_from(nodes * nodes).expect("few") / u32::try_from(shared.plan.rate).expect("a rate");
        Worker {
            home: number / nodes,
            group: number % nodes,
            written: (number * own..(number + 1) * own).collect(),
            connection: None,
            next: number / nodes,
            dice: Prng::new(number as u64 + 1),
            interval,
            due: Instant::now(),
            took_us: Vec::new(),
            shared,
        }
    }

    /// Works until the load ends. How long requests took, for each phase.
    pub(super) fn run(&mut self) -> Vec<Histogram<u64>> {
        let shared = Arc::clone(&self.shared);
        while !shared.stop.load(Ordering::SeqCst) {
            self.pace();
            if let Some(connection) = self.connection() {
                let outcome = if self.dice.below(100) < READS { self.read(&shared) } else { self.write(&shared) };
                self.account(outcome, connection);
            }
        }
        std::mem::take(&mut self.took_us)
    }

    /// Waits for its turn: the rate is what was asked for, not what the pool can bear.
    fn pace(&mut self) {
        self.due = self.due.max(Instant::now().checked_sub(MOST_BEHIND).expect("the clock runs for longer")) + self.interval;
        thread::sleep(self.due.saturating_duration_since(Instant::now()));
    }

    /// The node it is connected to, and the excuses of that node when it connected, if it can be.
    fn connection(&mut self) -> Option<(usize, u64)> {
        self.go_home();
        if self.connection.is_none() {
            self.connect();
        }
        self.connection.as_ref().map(|connection| (connection.node, connection.excuses))
    }

    /// Leaves a connection for a better one: home, if that may be relied on, and no connection from before something was done to it.
    fn go_home(&mut self) {
        let away = |connection: &Connection| connection.node != self.home || connection.excuses != self.excuses(self.home);
        if !self.shared.is_excused(self.home) && self.connection.as_ref().is_some_and(away) {
            (self.connection, self.next) = (None, self.home);
        }
    }

    fn connect(&mut self) {
        let nodes = self.shared.plan.nodes.len();
        let node = (self.next..self.next + nodes).map(|node| node % nodes).find(|node| !self.shared.is_excused(*node));
        let Some(node) = node else { return self.shared.tally.excuse() };
        let excuses = self.excuses(node);
        match Client::try_connect_for(self.shared.plan.nodes[node], self.shared.plan.patience) {
            Ok(client) => self.connection = Some(Connection { client, node, excuses }),
            Err(error) => {
                self.next = node + 1;
                self.count_failure(Failure::Lost(error), (node, excuses));
            }
        }
    }

    fn excuses(&self, node: usize) -> u64 {
        self.shared.excuses[node].load(Ordering::SeqCst)
    }

    fn account(&mut self, outcome: Result<Duration, Failure>, (node, excuses): (usize, u64)) {
        match outcome {
            Ok(took) => {
                self.shared.tally.operation();
                if self.excuses(node) == excuses {
                    self.shared.tally.answered(self.group);
                    self.note_time(took);
                }
            }
            Err(failure) => self.count_failure(failure, (node, excuses)),
        }
    }

    fn count_failure(&mut self, failure: Failure, (node, excuses): (usize, u64)) {
        let text = match failure {
            Failure::Refused(text) => text,
            Failure::Lost(error) => {
                (self.connection, self.next) = (None, node + 1);
                match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer in time".to_owned(),
                    kind => format!("connection lost: {kind}"),
                }
            }
        };
        if self.shared.is_excused(node) || self.excuses(node) != excuses {
            self.shared.tally.excuse();
        } else {
            self.shared.tally.error(&text, &format!("at node {}, for a key of node {}", node + 1, self.group + 1));
        }
    }

    fn note_time(&mut self, took: Duration) {
        let phase = self.shared.phase.load(Ordering::Relaxed);
        while self.took_us.len() <= phase {
            self.took_us.push(no_times());
        }
        self.took_us[phase].saturating_record(took.as_micros() as u64);
    }

    fn client(&mut self) -> &mut Client {
        &mut self.connection.as_mut().expect("it is connected").client
    }

    /// Reads a key of its group, whoever writes it.
    fn read(&mut self, shared: &Shared) -> Result<Duration, Failure> {
        let key = self.any_key(shared);
        let known = key.known();
        let began = Instant::now();
        let value = self.client().try_get(&key.name)??;
        let took = began.elapsed();
        let judged = key.judge(known, value.as_deref());
        if !key.is_absent_after(known) {
            shared.tally.read(!matches!(judged, Err((Breach::Cold, _))));
        }
        judged.unwrap_or_else(|(breach, what)| self.breach(shared, breach, key, &what));
        Ok(took)
    }

    /// A key of its group that somebody has written, if a few draws find one.
    fn any_key<'a>(&mut self, shared: &'a Shared) -> &'a Key {
        let groups = shared.plan.nodes.len();
        let own = shared.keys.len() / (groups * groups);
        let mut draw = || {
            let worker = self.dice.below(groups as u64) as usize * groups + self.group;
            &shared.keys[worker * own + self.dice.below(own as u64) as usize]
        };
        let first = draw();
        (0..8).map(|_| draw()).find(|key| key.is_issued()).unwrap_or(first)
    }

    /// Does the next thing to one of its own keys. After a failure nobody knows what has become of it: it is left alone from then on.
    fn write(&mut self, shared: &Shared) -> Result<Duration, Failure> {
        if self.written.is_empty() {
            return self.read(shared);
        }
        let place = self.dice.below(self.written.len() as u64) as usize;
        let key = &shared.keys[self.written[place]];
        let event = key.issue();
        let began = Instant::now();
        let answer = self.carry_out(key, event);
        let took = began.elapsed();
        if answer.is_err() || key.is_done() {
            self.written.swap_remove(place);
        }
        match answer? {
            None => key.know(event),
            Some((breach, what)) => {
                self.written.retain(|own| !std::ptr::eq(&shared.keys[*own], key));
                self.breach(shared, breach, key, &what);
            }
        }
        Ok(took)
    }

    /// Asks for an event of a key, and judges the answer: what the one writer has done before is no secret to it.
    fn carry_out(&mut self, key: &Key, event: u64) -> Result<Option<(Breach, String)>, Failure> {
        let (expected, answer) = match key.kind {
            Kind::Counted if event > 1 => (event.to_string(), self.client().try_ask(&format!("incr {} 1", key.name))?),
            Kind::Deleted if key.is_absent_after(event) => ("DELETED".into(), self.client().try_ask(&format!("delete {}", key.name))?),
            Kind::Overwritten | Kind::Once | Kind::Deleted | Kind::Counted => {
                ("STORED".into(), self.client().try_set(&key.name, key.value(event))?)
            }
        };
        if answer == expected {
            return Ok(None);
        }
        let what = format!("event {event} was answered {answer}");
        match answer.parse::<u64>() {
            Ok(number) if number > event => Ok(Some((Breach::Repeated, what))),
            Ok(_) => Ok(Some((Breach::Stale, what))),
            Err(_) if answer == "NOT_FOUND" => Ok(Some((Breach::Cold, what))),
            Err(_) => Err(Failure::Refused(answer)),
        }
    }

    fn breach(&self, shared: &Shared, breach: Breach, key: &Key, what: &str) {
        let node = self.connection.as_ref().map_or(self.home, |connection| connection.node);
        shared.tally.breach(breach, &format!("{} of node {}, at node {}: {what}", key.name, self.group + 1, node + 1));
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Lost(error)
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Failure {
        Failure::Refused(text)
    }
}
