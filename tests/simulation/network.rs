//! The network between the machines: TCP as its users know it, with delays, silences and resets.
//!
//! ```text
//!   dial ──SYN──▶ nobody listens: refused       the pipe of each direction keeps its order; what meets a cut is
//!             └─▶ the kernel accepts: dialled   held, and sent again when the cut is healed, as TCP would
//! ```
//!
//! If values are large, a pipe has two lanes: what is urgent overtakes what is long under way, as between the pieces of a large message.
//!
//! It is driven like everything else here: `dial`, `send`, `close` put something in, [`Network::next_at`] says when something arrives and
//! [`Network::pop`] hands it over. It knows machines by their number and processes by their life, and nothing of what is said.

use std::collections::{BTreeMap, VecDeque};

use spydercache::prng::Prng;
use spydercache::topology::peers::LinkId;

use crate::options::{LATE_US, MS, Options};

/// TCP's first wait before it sends something again.
const RESEND_US: u64 = 200 * MS;

/// One end of a connection: which process holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub host: usize,
    pub life: u64,
}

/// What travels in a pipe.
#[derive(Clone, Debug)]
enum Parcel {
    Syn,
    /// The dialled kernel has accepted.
    SynAck,
    /// Nobody listens.
    Refusal,
    Bytes(Vec<u8>),
    /// A frame that overtakes.
    Urgent(Vec<u8>),
    /// The sender has closed, in order.
    End,
    /// The connection is no more.
    Reset,
}

/// What happens at a machine.
#[derive(Debug)]
pub enum Arrival {
    /// Somebody wants a connection; to be answered by [`Network::accept`] or [`Network::refuse`], or not at all.
    Knock,
    Dialled,
    Refused,
    Bytes(Vec<u8>),
    Closed,
}

/// Where it happens.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub holder: Holder,
    /// The connection, as its holder knows it.
    pub link: LinkId,
}

struct Connection {
    ends: [Holder; 2],
    pipes: [Pipe; 2],
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    last_at: u64,
    /// The same of what is urgent.
    urgent_at: u64,
    /// Put in at, and what; the first of it has met a cut.
    held: VecDeque<(u64, Parcel)>,
}

/// All connections, and what is on its way.
pub struct Network {
    connections: BTreeMap<u64, Connection>,
    dialled: u64,
    /// By time and order: the connection, the end it arrives at, when it was put in.
    in_flight: BTreeMap<(u64, u64), (u64, usize, u64, Parcel)>,
    sent: u64,
    cut: Vec<Vec<bool>>,
    delay_us: (u64, u64),
    loss_per_mille: u64,
    is_bulky: bool,
    prng: Prng,
    /// Are packets lost at all, now?
    pub is_lossy: bool,
    /// Hand a pipe's parcels over in any order: a planted mistake.
    pub disorderly: bool,
}

impl Network {
    pub fn new(options: &Options) -> Network {
        Network {
            connections: BTreeMap::new(),
            dialled: 0,
            in_flight: BTreeMap::new(),
            sent: 0,
            cut: vec![vec![false; options.nodes]; options.nodes],
            delay_us: options.delay_us,
            loss_per_mille: options.loss_per_mille,
            is_bulky: options.is_bulky,
            prng: Prng::new(options.seed ^ 0x006e_6574),
            is_lossy: false,
            disorderly: false,
        }
    }

    /// Begins a connection; its link's number at the dialling end.
    pub fn dial(&mut self, from: Holder, to: usize, now: u64) -> LinkId {
        self.dialled += 1;
        let ends = [from, Holder { host: to, life: 0 }];
        self.connections.insert(self.dialled, Connection { ends, pipes: Default::default() });
        self.put(self.dialled, 1, Parcel::Syn, now);
        LinkId(self.dialled << 1)
    }

    /// The knocked-at process takes the connection.
    pub fn accept(&mut self, place: Place, now: u64) {
        let Some(connection) = self.connections.get_mut(&(place.link.0 >> 1)) else { return };
        connection.ends[1] = place.holder;
        self.put(place.link.0 >> 1, 0, Parcel::SynAck, now);
    }

    /// Nobody listens there.
    pub fn refuse(&mut self, link: LinkId, now: u64) {
        self.put(link.0 >> 1, 0, Parcel::Refusal, now);
    }

    /// Says something at this end of a link.
    pub fn send(&mut self, link: LinkId, bytes: Vec<u8>, is_urgent: bool, now: u64) {
        let parcel = if is_urgent && self.is_bulky { Parcel::Urgent(bytes) } else { Parcel::Bytes(bytes) };
        self.put(link.0 >> 1, other_end(link), parcel, now);
    }

    /// Closes this end of a link, behind all that was said on it.
    pub fn close(&mut self, link: LinkId, now: u64) {
        self.put(link.0 >> 1, other_end(link), Parcel::End, now);
    }

    /// A machine has gone on without the process that held this end, and says so.
    pub fn reset(&mut self, link: LinkId, now: u64) {
        self.put(link.0 >> 1, other_end(link), Parcel::Reset, now);
    }

    /// The process ends; its kernel closes what it held.
    pub fn close_all(&mut self, holder: Holder, now: u64) {
        for link in self.links_of(holder) {
            self.close(link, now);
        }
    }

    /// Resets a connection drawn at random, at both ends. False if there is none.
    pub fn reset_one(&mut self, now: u64) -> bool {
        let Some(number) = self.connections.keys().nth(self.prng.below(self.connections.len() as u64) as usize).copied() else {
            return false;
        };
        for end in [0, 1] {
            self.in_flight.retain(|_, (connection, to, _, _)| (*connection, *to) != (number, end));
            self.put(number, end, Parcel::Reset, now);
        }
        true
    }

    /// Lets nothing pass from one machine to another.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut[from][to] = true;
    }

    /// Lets everything pass again; what was held is sent again.
    pub fn heal(&mut self, now: u64) {
        self.cut.iter_mut().flatten().for_each(|cut| *cut = false);
        let pipes = self.connections.keys().flat_map(|number| [(*number, 0), (*number, 1)]);
        for (number, end) in pipes.collect::<Vec<_>>() {
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            let held = std::mem::take(&mut connection.pipes[end].held);
            if held.is_empty() {
                continue;
            }
            let resent_at = now + self.prng.below(RESEND_US);
            let behind = self.recall(number, end);
            for (put_in, parcel) in held.into_iter().chain(behind) {
                self.fly(number, end, put_in, parcel, resent_at);
            }
        }
    }

    /// Takes back what is in flight in a pipe, in order: nothing overtakes what is sent again.
    fn recall(&mut self, number: u64, end: usize) -> Vec<(u64, Parcel)> {
        let fits = |(connection, to, _, _): &(u64, usize, u64, Parcel)| (*connection, *to) == (number, end);
        let flying: Vec<(u64, u64)> = self.in_flight.iter().filter(|(_, flight)| fits(flight)).map(|(key, _)| *key).collect();
        flying.into_iter().filter_map(|key| self.in_flight.remove(&key)).map(|(_, _, put_in, parcel)| (put_in, parcel)).collect()
    }

    /// When the oldest of what is on its way was put in.
    pub fn oldest(&self) -> u64 {
        let held = self.connections.values().flat_map(|connection| &connection.pipes).filter_map(|pipe| pipe.held.front());
        let in_flight = self.in_flight.values().map(|(_, _, put_in, _)| *put_in);
        held.map(|(put_in, _)| *put_in).chain(in_flight).min().unwrap_or(u64::MAX)
    }

    /// When something arrives next.
    pub fn next_at(&self) -> u64 {
        self.in_flight.first_key_value().map_or(u64::MAX, |((at, _), _)| *at)
    }

    /// What arrives now, unless it meets a cut.
    pub fn pop(&mut self, now: u64) -> Option<(Place, Arrival)> {
        let ((at, _), (number, end, put_in, parcel)) = self.in_flight.pop_first()?;
        assert!(at <= now, "the network was asked too early");
        let connection = self.connections.get_mut(&number)?;
        let (from, to) = (connection.ends[1 - end].host, connection.ends[end]);
        let pipe = &mut connection.pipes[end];
        if self.cut[from][to.host] || !pipe.held.is_empty() {
            pipe.held.push_back((put_in, parcel));
            return None;
        }
        let place = Place { holder: to, link: LinkId(number << 1 | end as u64) };
        let arrival = match parcel {
            Parcel::Syn => Arrival::Knock,
            Parcel::SynAck => Arrival::Dialled,
            Parcel::Bytes(bytes) | Parcel::Urgent(bytes) => Arrival::Bytes(bytes),
            Parcel::Refusal => Arrival::Refused,
            Parcel::End | Parcel::Reset => Arrival::Closed,
        };
        if matches!(arrival, Arrival::Refused | Arrival::Closed) {
            self.forget_if_done(number, end);
        }
        Some((place, arrival))
    }

    /// The links whose ends a process holds.
    fn links_of(&self, holder: Holder) -> Vec<LinkId> {
        let ends =
            self.connections.iter().flat_map(|(number, connection)| [(number, 0, connection.ends[0]), (number, 1, connection.ends[1])]);
        ends.filter(|(_, _, end)| *end == holder).map(|(number, end, _)| LinkId(number << 1 | end)).collect()
    }

    /// Nothing more will be said to this end. If nothing is on its way to the other one either, nobody will ask for the connection again.
    fn forget_if_done(&mut self, number: u64, end: usize) {
        let other = 1 - end;
        let is_empty = |connection: &Connection| connection.pipes[other].held.is_empty();
        let in_flight = self.in_flight.values().any(|(connection, to, _, _)| (*connection, *to) == (number, other));
        if !in_flight && self.connections.get(&number).is_some_and(is_empty) {
            self.connections.remove(&number);
        }
    }

    fn put(&mut self, number: u64, end: usize, parcel: Parcel, now: u64) {
        if let Parcel::Bytes(bytes) = &parcel
            && bytes.len() > 1
            && !self.is_bulky
            && self.prng.chance(1, 8)
        {
            let (front, back) = bytes.split_at(1 + self.prng.below(bytes.len() as u64 - 1) as usize);
            self.fly(number, end, now, Parcel::Bytes(front.to_vec()), now);
            return self.fly(number, end, now, Parcel::Bytes(back.to_vec()), now);
        }
        self.fly(number, end, now, parcel, now);
    }

    fn fly(&mut self, number: u64, end: usize, put_in: u64, parcel: Parcel, now: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let (least, most) = self.delay_us;
        let mut delay = least + self.prng.below(most - least + 1);
        if self.is_lossy && self.prng.chance(self.loss_per_mille, 1_000) {
            delay += RESEND_US << self.prng.below(2);
        }
        if self.is_bulky && self.is_lossy && matches!(parcel, Parcel::Bytes(_)) && self.prng.chance(1, 50) {
            delay += self.prng.below(LATE_US);
        }
        let pipe = &mut connection.pipes[end];
        let at = match parcel {
            _ if self.disorderly => now + delay,
            Parcel::Urgent(_) => pipe.urgent_at.max(now + delay),
            Parcel::Bytes(_) => pipe.last_at.max(now + delay),
            _ => pipe.last_at.max(pipe.urgent_at).max(now + delay),
        };
        let last = if let Parcel::Urgent(_) = parcel { &mut pipe.urgent_at } else { &mut pipe.last_at };
        *last = at;
        self.sent += 1;
        self.in_flight.insert((at, self.sent), (number, end, put_in, parcel));
    }
}

fn other_end(link: LinkId) -> usize {
    1 - (link.0 & 1) as usize
}
