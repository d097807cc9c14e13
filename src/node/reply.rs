//! What the node answers, in no dialect.
//!
//! A reply borrows the value from the cache's own entry: the codec copies it once, into the connection's output. Reports (stats, ring,
//! peers) are rare and own what they say.

use super::command::Number;
use crate::caching::Version;

/// The version of memcached whose text protocol is spoken: clients compare it to learn what they may send.
pub const MEMCACHED_VERSION: &str = "1.6.45";

/// The answer to a [`Request`](super::command::Request).
#[derive(Clone, Debug, PartialEq)]
pub enum Reply<'a> {
    /// The key's value.
    Value(Value<'a>),
    /// There is no such key.
    Miss,
    /// Written. `old` is the value that was there, if it was asked for.
    Stored {
        /// The version the write was given.
        version: Version,
        /// The value that was replaced.
        old: Option<&'a [u8]>,
    },
    /// Not done: the condition (of add, replace, append, prepend, of a value or an expiry) did not hold.
    NotStored,
    /// Not written: the key has another version than the one named.
    Exists,
    /// Removed. `old` is the value that was there, if it was asked for.
    Deleted {
        /// The value that was removed.
        old: Option<&'a [u8]>,
    },
    /// The number after an increment or a decrement.
    Number {
        /// The new number.
        number: Number,
        /// The version the write was given.
        version: Version,
        /// Milliseconds it has left; `None` is for ever.
        ttl_ms: Option<u64>,
    },
    /// The expiry was set.
    Touched,
    /// A part of the pool's keys.
    Page(&'a Page),
    /// Done; there is nothing more to say.
    Done,
    /// What was asked about node or pool.
    Report(&'a Report),
    /// Not done, and why.
    Failed(&'a Failure),
}

/// A value with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The client's own 32 bits.
    pub flags: u32,
    /// The version: memcached's cas unique, HTTP's ETag.
    pub version: Version,
    /// Milliseconds it has left; `None` is for ever.
    pub ttl_ms: Option<u64>,
    /// What few ask for.
    pub details: Details<'a>,
}

/// What is known of a value besides. What claims, reads and idle times are is said only to who claims it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details<'a> {
    /// The type of the content; empty if nobody has said it.
    pub media: &'a [u8],
    /// Somebody has said that it is out of date.
    pub is_stale: bool,
    /// It was put together from pieces.
    pub is_pieced: bool,
    /// Is it to be made anew, and by whom?
    pub claim: Claimed,
    /// Has it been read before?
    pub was_read: bool,
    /// For how many milliseconds nobody has used it.
    pub idle_ms: u64,
    /// How many bytes the value has that are not here, since nobody wants them.
    pub left_out: usize,
}

/// Whether a value is to be made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Claimed {
    /// It is not.
    #[default]
    No,
    /// It is, by who asks.
    ByYou,
    /// It is, by another who has asked before.
    ByAnother,
}

/// A part of the pool's keys: the answer to a scan and to a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys, if they were asked for.
    pub keys: Vec<Vec<u8>>,
    /// How many there were.
    pub count: u64,
    /// Where the next part begins; `None` behind the last.
    pub next: Option<u32>,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Increment or decrement of something that is no decimal number below 2^64.
    NotANumber,
    /// The sum is no number that can be kept.
    Overflow,
    /// The value is, or would become, larger than `limits.max_value`.
    TooLarge,
    /// There is no room for it, even with everything else evicted.
    OutOfMemory,
    /// The owner did not answer in time; the command was certainly not carried out.
    Unreachable,
    /// The owner may or may not have carried it out.
    OutcomeUnknown,
    /// Too many requests are waiting for other nodes.
    Overloaded,
    /// Between nodes: the key is not this node's by the view it knows; certainly not carried out.
    Elsewhere,
    /// Between nodes: it was begun here, and the key has got another owner before all holders had it. That one knows what has become of it.
    Undecided,
    /// An admin request that cannot be done, and why.
    Refused(String),
    /// There is a password, and this client has not shown it.
    Unauthenticated,
    /// The password that was shown is not the right one.
    WrongPassword,
    /// A password was shown where there is none.
    NoPassword,
    /// An order to node or pool, from another host and without a password.
    Forbidden,
}

/// Bits of packed details; the idle time stands behind them.
const STALE: u64 = 1;
const WAS_READ: u64 = 2;
const WON: u64 = 4;
const LOST: u64 = 8;
const PIECED: u64 = 16;
const IDLE_SHIFT: u32 = 8;

impl<'a> Value<'a> {
    /// The same without its bytes.
    #[must_use]
    pub fn without_bytes(self) -> Value<'a> {
        Value { bytes: b"", details: Details { left_out: self.length(), ..self.details }, ..self }
    }

    /// How many bytes it has, here or not.
    #[must_use]
    pub fn length(&self) -> usize {
        self.bytes.len() + self.details.left_out
    }
}

impl<'a> Details<'a> {
    /// All but the media type and what is left out, in one number.
    #[must_use]
    pub fn packed(&self) -> u64 {
        let bit = |is_set: bool, bit: u64| if is_set { bit } else { 0 };
        let marks = bit(self.is_stale, STALE) | bit(self.was_read, WAS_READ) | bit(self.is_pieced, PIECED);
        marks | bit(self.claim == Claimed::ByYou, WON) | bit(self.claim == Claimed::ByAnother, LOST) | self.idle_ms << IDLE_SHIFT
    }

    /// What was packed.
    #[must_use]
    pub fn unpacked(media: &'a [u8], marks: u64) -> Details<'a> {
        let claim = match marks & (WON | LOST) {
            0 => Claimed::No,
            WON => Claimed::ByYou,
            _ => Claimed::ByAnother,
        };
        let (is_stale, was_read, is_pieced) = (marks & STALE != 0, marks & WAS_READ != 0, marks & PIECED != 0);
        Details { media, is_stale, is_pieced, claim, was_read, idle_ms: marks >> IDLE_SHIFT, left_out: 0 }
    }
}

impl Failure {
    /// Is it the client who has to do something else?
    #[must_use]
    pub fn is_the_clients(&self) -> bool {
        match self {
            Failure::NotANumber | Failure::Overflow => true,
            Failure::Unauthenticated | Failure::WrongPassword | Failure::NoPassword | Failure::Forbidden => true,
            Failure::TooLarge | Failure::OutOfMemory | Failure::Unreachable | Failure::OutcomeUnknown => false,
            Failure::Overloaded | Failure::Elsewhere | Failure::Undecided | Failure::Refused(_) => false,
        }
    }

    /// The reason, for a person. The texts that memcached has too are memcached's.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Failure::NotANumber => "cannot increment or decrement non-numeric value",
            Failure::Overflow => "increment or decrement would overflow",
            Failure::TooLarge => "object too large for cache",
            Failure::OutOfMemory => "out of memory storing object",
            Failure::Unreachable => "the owner of this key cannot be reached",
            Failure::OutcomeUnknown => "outcome unknown: the owner of this key was lost before it answered",
            Failure::Overloaded => "too many requests are waiting for other nodes",
            Failure::Elsewhere => "this key has another owner now",
            Failure::Undecided => "this key has got another owner while it was changed",
            Failure::Refused(why) => why,
            Failure::Unauthenticated => "unauthenticated",
            Failure::WrongPassword => "authentication failure",
            Failure::NoPassword => "no password is set here: none is wanted",
            Failure::Forbidden => "not allowed from another host without security.password",
        }
    }
}

/// What was asked about node or pool.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// This node's id.
    Alive {
        /// Its `node_id`.
        node_id: String,
    },
    /// A key's owner, then its other holders.
    Owner {
        /// The owner's `node_id`.
        owner: String,
        /// The `node_id` of each mirror that has the key's arc whole, in the order in which they would follow.
        mirrors: Vec<String>,
        /// The `node_id` of each node that gets the arc's writes and is still being filled with what was there before.
        filling: Vec<String>,
    },
    /// Why a key is where it is.
    Why(Box<Why>),
    /// The members of the ring, and the view they are of, if nodes agree on views.
    Ring(Vec<RingLine>, Option<ViewLine>),
    /// The other nodes, and this one's part in the view, if nodes agree on views.
    Peers(Vec<PeerLine>, Option<SelfLine>),
    /// Names and values, in the order to be shown.
    Stats(Vec<(String, String)>),
    /// The state of node and pool.
    Status(Box<Status>),
}

/// A view: the same at all nodes that know it.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewLine {
    /// Its succession of views.
    pub lineage: u64,
    /// Its number; 0 if no view is known.
    pub epoch: u64,
    /// How many seats are up.
    pub up: usize,
    /// How many seats there are.
    pub seats: usize,
    /// How many arcs have fewer whole copies than are asked for.
    pub lost_redundancy: usize,
}

/// A node's part in its view, as it says itself.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfLine {
    /// Its `node_id`.
    pub node_id: String,
    /// The view's number; 0 if it knows none.
    pub epoch: u64,
    /// Whether it serves.
    pub part: Part,
    /// For how many milliseconds it may go on without hearing from the others.
    pub lease_ms: u64,
}

/// What part a node has in its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It has a seat and a lease: it answers for its keys.
    Serving,
    /// It has a seat and no lease, or has promised to await another view.
    Waiting,
    /// It takes part in no view.
    Seatless,
}

/// A member of the ring.
#[derive(Clone, Debug, PartialEq)]
pub struct RingLine {
    /// Its `node_id`.
    pub node_id: String,
    /// Its name on the ring.
    pub name: String,
    /// Its weight.
    pub weight: u32,
    /// The part of the ring it owns now, in percent; 0 while it is down.
    pub share_percent: f64,
    /// Does it take part?
    pub up: bool,
    /// Its seat, if nodes agree on views.
    pub seat: Option<SeatLine>,
}

/// A seat of a view.
#[derive(Clone, Debug, PartialEq)]
pub struct SeatLine {
    /// `up`, `leaving`, `down`, `banned` or `gone`: one word.
    pub standing: &'static str,
    /// The part of the ring whose writes it gets, in percent: what it owns and what it mirrors.
    pub held_percent: f64,
    /// The part of the ring that it is still being filled with, in percent.
    pub lacked_percent: f64,
}

/// Another node, as this one sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerLine {
    /// Its `node_id`; its name until it has said hello.
    pub node_id: String,
    /// Its name on the ring.
    pub name: String,
    /// Where it is dialled.
    pub address: String,
    /// `up`, `dialling`, `silent`, `refused`, `dead` ...: one word.
    pub state: &'static str,
    /// Since how many milliseconds.
    pub for_ms: u64,
    /// The last round trip of a heartbeat, in milliseconds.
    pub round_trip_ms: u64,
    /// What binds it to this node, if nodes agree on views.
    pub tie: Option<TieLine>,
}

/// What binds another node to this one in a view.
#[derive(Clone, Debug, PartialEq)]
pub struct TieLine {
    /// How its seat stands, in one word; `none` if it has no seat.
    pub seat: &'static str,
    /// The view it said it knows, by its number; 0 if it has not said.
    pub epoch: u64,
    /// For how many milliseconds more this node may count on it.
    pub lease_ms: u64,
    /// Has it others to fill?
    pub fills_others: bool,
    /// How far this node is in filling it.
    pub filling: Option<FillingLine>,
}

/// How far the filling of a holder is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FillingLine {
    /// How much of it was compared.
    pub percent: f64,
    /// Keys sent.
    pub keys: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Bytes sent in a second, from its beginning on.
    pub bytes_per_s: u64,
    /// How long it will take at this pace; unknown at its very beginning.
    pub left_ms: Option<u64>,
}

/// Why a key is where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// The `node_id` of the node that says so.
    pub node_id: String,
    /// The reason, for a person.
    pub because: String,
    /// Where the key stands on the ring.
    pub place: u32,
    /// The first and the last place of its arc, if nodes agree on views.
    pub arc: Option<(u32, u32)>,
    /// Who holds it, the owner first.
    pub holders: Vec<HolderLine>,
    /// Have fewer nodes its arc than are asked for?
    pub lacks_redundancy: bool,
    /// Had all that held its arc gone, so that it began empty?
    pub is_cold: bool,
    /// What this node itself has of it.
    pub copy: Option<CopyLine>,
    /// The view, if nodes agree on views.
    pub view: Option<ViewLine>,
    /// This node's part in it.
    pub part: Option<SelfLine>,
}

/// Who holds a key.
#[derive(Clone, Debug, PartialEq)]
pub struct HolderLine {
    /// Its `node_id`.
    pub node_id: String,
    /// Its name on the ring.
    pub name: String,
    /// Has it everything, or is it still being filled?
    pub is_complete: bool,
    /// How it stands with the node that says so, in one word.
    pub state: &'static str,
}

/// What a node has of a key, its value aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyLine {
    /// The value's length.
    pub bytes: usize,
    /// Its version.
    pub version: Version,
    /// Milliseconds it has left; `None` is for ever.
    pub ttl_ms: Option<u64>,
}

/// The state of node and pool, for programs.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// This node's `node_id`.
    pub node_id: String,
    /// This node's name on the ring.
    pub name: String,
    /// The pool's name.
    pub pool: String,
    /// The program's version.
    pub version: &'static str,
    /// Which life of the node this is.
    pub incarnation: u64,
    /// Since the node's start.
    pub uptime_ms: u64,
    /// Does it answer for its keys? Not while it has no lease, nor when the pool has been told to treat it as dead.
    pub serving: bool,
    /// The view, if nodes agree on views.
    pub view: Option<ViewLine>,
    /// This node's part in it.
    pub part: Option<SelfLine>,
    /// The members of the ring.
    pub ring: Vec<RingLine>,
    /// The other nodes.
    pub peers: Vec<PeerLine>,
    /// The counters, as in `stats`.
    pub stats: Vec<(String, String)>,
}

impl Part {
    /// One word for people and scripts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Part::Serving => "serving",
            Part::Waiting => "waiting",
            Part::Seatless => "seatless",
        }
    }
}
