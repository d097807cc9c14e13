//! The clients: pipelined, impatient, and each value they write is one of a kind.
//!
//! A client has one connection to one node and keeps up to so many requests under way on it; like any connection's, its answers are handed
//! over in the order of its requests. When its node is gone it begins a new connection, to any node that has a process. A value says
//! the key it was written to and a number that is never used twice, so an answer can be judged by itself; what is appended is such a
//! piece too. A key of eight is a counter: its value begins as a number of its own, times a million.

use std::borrow::Cow;
use std::collections::VecDeque;

use spydercache::caching::Version;
use spydercache::node::ClientId;
use spydercache::node::command::{
    Action, Admin, Command, Count, Delta, Expiry, Removal, Renewal, Request, ScanFor, Store, StoreMode, Walk,
};
use spydercache::prng::Prng;

use crate::answer::Answer;
use crate::network::Holder;
use crate::options::{Options, pick};

/// The longest time to live that is asked for.
pub const LONGEST_TTL_MS: u64 = 3_000;

/// A counter begins at its number times this.
pub const COUNTER_STEP: u64 = 1_000_000;
const COUNTERS_ONE_IN: u64 = 8;
const WALKS_ONE_IN: u64 = 200;
const LONGEST_PADDING: u64 = 200;

/// A connection of a client to a node.
#[derive(Clone, Debug)]
pub struct Connection {
    pub holder: Option<Holder>,
    number: u64,
    next_slot: u64,
    /// Asked and not handed over yet.
    waiting: VecDeque<(u64, Option<Answer>)>,
}

/// A client.
struct Client {
    connection: Connection,
    act_at: u64,
}

/// All clients, and what they have written.
pub struct Clients {
    clients: Vec<Client>,
    /// One operator at each host.
    operators: Vec<Connection>,
    connections: u64,
    /// The key of each value's number.
    values: Vec<u64>,
    /// The version of each key that somebody has seen last.
    seen: Vec<u64>,
    keys: u64,
    depth: usize,
    think_us: u64,
    ttl_one_in: u64,
    prng: Prng,
    /// Draws the walks.
    walks: Prng,
}

impl Connection {
    fn new(number: u64) -> Connection {
        Connection { holder: None, number, next_slot: 0, waiting: VecDeque::new() }
    }

    fn ask(&mut self) -> ClientId {
        let id = ClientId { connection: self.number, slot: self.next_slot };
        self.waiting.push_back((id.slot, None));
        self.next_slot += 1;
        id
    }

    /// Hands over what can be, in order.
    fn on_reply(&mut self, id: ClientId, answer: Answer) -> Vec<(ClientId, Answer)> {
        if let Some((_, place)) = self.waiting.iter_mut().find(|(slot, _)| *slot == id.slot) {
            *place = Some(answer);
        }
        let mut handed = Vec::new();
        while let Some((slot, Some(_))) = self.waiting.front() {
            let slot = *slot;
            let Some((_, Some(answer))) = self.waiting.pop_front() else { break };
            handed.push((ClientId { slot, ..id }, answer));
        }
        handed
    }

    /// The process at the other end is gone. Returns what will never be answered.
    fn lose(&mut self, number: u64) -> Vec<ClientId> {
        let connection = self.number;
        let lost = self.waiting.drain(..).map(|(slot, _)| ClientId { connection, slot }).collect();
        *self = Connection::new(number);
        lost
    }
}

impl Clients {
    pub fn new(options: &Options) -> Clients {
        let mut prng = Prng::new(options.seed ^ 0x00c1_1e47);
        let mut connections = 0;
        let mut connection = || {
            connections += 1;
            Connection::new(connections)
        };
        let clients = (0..options.clients).map(|_| Client { connection: connection(), act_at: prng.below(options.think_us) }).collect();
        let operators = (0..options.nodes).map(|_| connection()).collect();
        Clients {
            clients,
            operators,
            connections,
            values: Vec::new(),
            seen: vec![0; options.keys as usize],
            keys: options.keys,
            depth: options.depth,
            think_us: options.think_us,
            ttl_one_in: options.ttl_one_in,
            prng,
            walks: Prng::new(options.seed ^ 0x3a1c),
        }
    }

    /// When the next client acts.
    pub fn next_at(&self) -> u64 {
        self.clients.iter().map(|client| client.act_at).min().unwrap_or(u64::MAX)
    }

    /// The client whose turn it is asks something, at one of these processes.
    pub fn act(&mut self, now: u64, processes: &[Holder]) -> Option<(Holder, Vec<(ClientId, Request<'static>)>)> {
        let index = (0..self.clients.len()).min_by_key(|index| self.clients[*index].act_at)?;
        let batch = 1 + self.prng.below(self.depth as u64) as usize;
        let client = &mut self.clients[index];
        client.act_at = now + 1 + self.prng.below(2 * self.think_us);
        if processes.is_empty() {
            return None;
        }
        let holder = *client.connection.holder.get_or_insert_with(|| pick(&mut self.prng, processes));
        let room = self.depth.saturating_sub(client.connection.waiting.len());
        let ids: Vec<ClientId> = (0..batch.min(room)).map(|_| client.connection.ask()).collect();
        Some((holder, ids.into_iter().map(|id| (id, self.request())).collect()))
    }

    /// The operator at a host asks something.
    pub fn operate(&mut self, holder: Holder) -> ClientId {
        let operator = &mut self.operators[holder.host];
        operator.holder = Some(holder);
        operator.ask()
    }

    /// A node has answered. Returns what its client gets to see by that.
    pub fn on_reply(&mut self, id: ClientId, answer: Answer) -> Vec<(ClientId, Answer)> {
        match self.connection_mut(id.connection) {
            Some(connection) => connection.on_reply(id, answer),
            None => Vec::new(),
        }
    }

    /// A process is gone. Returns what it will never answer.
    pub fn on_lost(&mut self, holder: Holder) -> Vec<ClientId> {
        let mut lost = Vec::new();
        let all = self.clients.iter_mut().map(|client| &mut client.connection).chain(&mut self.operators);
        for connection in all.filter(|connection| connection.holder == Some(holder)) {
            self.connections += 1;
            lost.extend(connection.lose(self.connections));
        }
        lost
    }

    /// Somebody has seen this version of a key.
    pub fn saw(&mut self, key: u64, version: u64) {
        self.seen[key as usize] = version;
    }

    /// Was every piece of this value written to this key?
    pub fn wrote(&self, key: u64, value: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(value) else { return false };
        let is_ours = |number: u64| self.values.get(number as usize) == Some(&key);
        if is_counter(key) {
            return text.parse::<u64>().is_ok_and(|number| is_ours(number / COUNTER_STEP));
        }
        let Some(pieces) = text.strip_suffix(';') else { return false };
        let numbers: Option<Vec<u64>> = pieces.split(';').map(|piece| number_of(key, piece)).collect();
        numbers.is_some_and(|mut numbers| {
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            numbers.len() == count && numbers.into_iter().all(is_ours)
        })
    }

    /// A read of a key.
    pub fn read_of(key: u64) -> Request<'static> {
        Request::Key(Command { key: Cow::Owned(name_of(key)), action: Action::Get })
    }

    fn connection_mut(&mut self, number: u64) -> Option<&mut Connection> {
        let all = self.clients.iter_mut().map(|client| &mut client.connection).chain(&mut self.operators);
        all.into_iter().find(|connection| connection.number == number)
    }

    fn request(&mut self) -> Request<'static> {
        if self.walks.chance(1, WALKS_ONE_IN) {
            return Request::Admin(Admin::Walk(self.walk()));
        }
        let key = self.prng.below(self.keys);
        let action = if is_counter(key) { self.counting(key) } else { self.action(key) };
        Request::Key(Command { key: Cow::Owned(name_of(key)), action })
    }

    /// A walk over a part of the ring. Now and then it removes what it finds.
    fn walk(&mut self) -> Walk<'static> {
        let what = if self.walks.chance(1, 8) { ScanFor::Removal } else { ScanFor::Keys };
        let (from, most) = (self.walks.next_u64() as u32, 1 + self.walks.below(6) as u32);
        Walk { from, most, prefix: Cow::Borrowed(b"key-"), pattern: Cow::Borrowed(b""), what, all_round: false }
    }

    fn action(&mut self, key: u64) -> Action<'static> {
        match self.prng.below(100) {
            0..45 => Action::Get,
            45..50 => Action::GetAndTouch(self.expiry()),
            50..53 => Action::Touch(Renewal::to(self.expiry())),
            53..63 => Action::Delete(Removal { want_old: self.prng.chance(1, 2), terms: None }),
            63..66 => self.store(key, StoreMode::Append),
            66..68 => self.store(key, StoreMode::Prepend),
            68..73 => self.store(key, StoreMode::Add),
            73..76 => self.store(key, StoreMode::Replace),
            76..82 => self.store(key, StoreMode::Cas(Version(self.seen[key as usize]))),
            _ => self.store(key, StoreMode::Set),
        }
    }

    fn counting(&mut self, key: u64) -> Action<'static> {
        match self.prng.below(10) {
            0..3 => Action::Get,
            3..7 => Action::Count(Count::by(Delta::Up(1 + self.prng.below(5)))),
            7 => Action::Count(Count::by(Delta::Down(0))),
            8 => Action::Delete(Removal { want_old: false, terms: None }),
            _ => {
                let value = Cow::Owned((self.new_value(key) * COUNTER_STEP).to_string().into_bytes());
                let mode = pick(&mut self.prng, &[StoreMode::Set, StoreMode::Add]);
                Action::Store(Store { mode, value, flags: key as u32, expiry: self.expiry(), want_old: false, terms: None })
            }
        }
    }

    fn store(&mut self, key: u64, mode: StoreMode) -> Action<'static> {
        let number = self.new_value(key);
        let padding = if self.prng.chance(1, 4) { self.prng.below(LONGEST_PADDING) as usize } else { 0 };
        let want_old = self.prng.chance(1, 4) && mode == StoreMode::Set;
        let value = Cow::Owned(format!("{key}:{number}{};", ".".repeat(padding)).into_bytes());
        Action::Store(Store { mode, value, flags: number as u32, expiry: self.expiry(), want_old, terms: None })
    }

    fn expiry(&mut self) -> Expiry {
        if self.ttl_one_in > 0 && self.prng.chance(1, self.ttl_one_in) {
            Expiry::InMs(1 + self.prng.below(LONGEST_TTL_MS))
        } else {
            Expiry::Never
        }
    }

    fn new_value(&mut self, key: u64) -> u64 {
        self.values.push(key);
        self.values.len() as u64 - 1
    }
}

/// The key of this number.
pub fn name_of(key: u64) -> Vec<u8> {
    format!("key-{key}").into_bytes()
}

/// The number of a key.
pub fn key_of(request: &Request<'_>) -> Option<u64> {
    let name = match request {
        Request::Key(command) => &command.key,
        Request::Admin(Admin::Owner(key)) => key,
        Request::Admin(_) => return None,
    };
    std::str::from_utf8(name).ok()?.strip_prefix("key-")?.parse().ok()
}

fn is_counter(key: u64) -> bool {
    key % COUNTERS_ONE_IN == COUNTERS_ONE_IN - 1
}

/// The number in a piece of a value, if it is a piece of this key's.
fn number_of(key: u64, piece: &str) -> Option<u64> {
    let (owner, number) = piece.trim_end_matches('.').split_once(':')?;
    if owner.parse() == Ok(key) { number.parse().ok() } else { None }
}
