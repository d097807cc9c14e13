//! What the node answers, in no dialect.
//!
//! A reply borrows the value from the cache's own entry: the codec copies it once, into the connection's output. Reports (stats, ring,
//! peers) are rare and own what they say.

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
    /// Not written: the condition (add, replace, append, prepend) did not hold.
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
        number: u64,
        /// The version the write was given.
        version: Version,
    },
    /// The expiry was set.
    Touched,
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
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Increment or decrement of something that is no decimal number below 2^64.
    NotANumber,
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
    /// An admin request that cannot be done, and why.
    Refused(String),
}

impl Failure {
    /// Is it the client who has to do something else?
    #[must_use]
    pub fn is_the_clients(&self) -> bool {
        matches!(self, Failure::NotANumber)
    }

    /// The reason, for a person. The texts that memcached has too are memcached's.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Failure::NotANumber => "cannot increment or decrement non-numeric value",
            Failure::TooLarge => "object too large for cache",
            Failure::OutOfMemory => "out of memory storing object",
            Failure::Unreachable => "the owner of this key cannot be reached",
            Failure::OutcomeUnknown => "outcome unknown: the owner of this key was lost before it answered",
            Failure::Overloaded => "too many requests are waiting for other nodes",
            Failure::Refused(why) => why,
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
        /// The `node_id` of each mirror, in the order of the ring.
        mirrors: Vec<String>,
    },
    /// The members of the ring.
    Ring(Vec<RingLine>),
    /// The other nodes.
    Peers(Vec<PeerLine>),
    /// Names and values, in the order to be shown.
    Stats(Vec<(String, String)>),
    /// The state of node and pool.
    Status(Box<Status>),
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
    /// Does it take part, or has the pool been told to treat it as dead?
    pub serving: bool,
    /// The members of the ring.
    pub ring: Vec<RingLine>,
    /// The other nodes.
    pub peers: Vec<PeerLine>,
    /// The counters, as in `stats`.
    pub stats: Vec<(String, String)>,
}
