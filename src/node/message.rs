//! All that nodes say to each other.
//!
//! A link begins with [`Message::Hello`] from the one who dialled, answered by `Welcome` or by `Refused` with the reason. After that the
//! dialler pings and asks, the other pongs and answers. Requests carry an id, so many can be in flight; the id carries the asker's
//! generation, so that an answer that comes late fits nothing.

use std::borrow::Cow;

use super::command::Command;
use super::reply::{Failure, Reply, Value};
use crate::caching::Version;
use crate::topology::membership::Card;

/// The version of this vocabulary. Nodes that differ refuse each other.
pub const PROTOCOL_VERSION: u32 = 1;

/// The number of a parked request: its place in the asker's table and the generation of that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What one node says to another.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// Who I am, and whom I know. The first word on a link.
    Hello(Introduction<'a>),
    /// You fit; this is who I am, and whom I know.
    Welcome(Introduction<'a>),
    /// You do not fit.
    Refused {
        /// Why, for a person.
        reason: Cow<'a, str>,
    },
    /// Are you there?
    Ping {
        /// To be repeated in the pong.
        number: u64,
    },
    /// I am.
    Pong {
        /// The ping's.
        number: u64,
    },
    /// Carry this out: to my knowledge the key is yours.
    Request {
        /// To be repeated in the answer.
        id: RequestId,
        /// What to carry out.
        command: Command<'a>,
    },
    /// What came of a request.
    Answer {
        /// The request's.
        id: RequestId,
        /// What came of it.
        outcome: Outcome<'a>,
    },
    /// Forget every key you hold.
    Flush {
        /// To be repeated in the answer.
        id: RequestId,
        /// Milliseconds from now.
        delay_ms: u64,
    },
    /// These nodes are in the pool.
    Members(Vec<Card>),
    /// Treat this life of this node as dead, or, if `dead` is false, no longer so.
    Declare {
        /// The node's name.
        name: Cow<'a, str>,
        /// Which of its lives.
        incarnation: u64,
        /// Dead, or back.
        dead: bool,
    },
}

/// Who a node is, and whom it knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Introduction<'a> {
    /// [`PROTOCOL_VERSION`] of the one who speaks.
    pub protocol: u32,
    /// The pool's name.
    pub pool: Cow<'a, str>,
    /// Who speaks.
    pub me: Card,
    /// Whom it knows besides.
    pub others: Vec<Card>,
}

/// A [`Reply`] as it travels: without the reports, which never leave their node.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// The key's value.
    Value {
        /// The bytes.
        bytes: Cow<'a, [u8]>,
        /// The client's own 32 bits.
        flags: u32,
        /// The version.
        version: Version,
        /// Milliseconds it has left; `None` is for ever.
        ttl_ms: Option<u64>,
    },
    /// There is no such key.
    Miss,
    /// Written.
    Stored {
        /// The version the write was given.
        version: Version,
        /// The value that was replaced, if it was asked for.
        old: Option<Cow<'a, [u8]>>,
    },
    /// The condition did not hold.
    NotStored,
    /// The version was another.
    Exists,
    /// Removed.
    Deleted {
        /// The value that was removed, if it was asked for.
        old: Option<Cow<'a, [u8]>>,
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
    /// Done.
    Done,
    /// Not done.
    Failed(Failure),
}

impl<'a> Outcome<'a> {
    /// The reply in the form that travels; a report has none.
    #[must_use]
    pub fn of(reply: &Reply<'a>) -> Outcome<'a> {
        match reply {
            Reply::Value(value) => {
                Outcome::Value { bytes: Cow::Borrowed(value.bytes), flags: value.flags, version: value.version, ttl_ms: value.ttl_ms }
            }
            Reply::Miss => Outcome::Miss,
            Reply::Stored { version, old } => Outcome::Stored { version: *version, old: old.map(Cow::Borrowed) },
            Reply::NotStored => Outcome::NotStored,
            Reply::Exists => Outcome::Exists,
            Reply::Deleted { old } => Outcome::Deleted { old: old.map(Cow::Borrowed) },
            Reply::Number { number, version } => Outcome::Number { number: *number, version: *version },
            Reply::Touched => Outcome::Touched,
            Reply::Done => Outcome::Done,
            Reply::Report(_) => Outcome::Failed(Failure::Refused("a report does not travel between nodes".into())),
            Reply::Failed(failure) => Outcome::Failed((*failure).clone()),
        }
    }

    /// The outcome as a reply to the client who asked.
    #[must_use]
    pub fn reply(&self) -> Reply<'_> {
        match self {
            Outcome::Value { bytes, flags, version, ttl_ms } => {
                Reply::Value(Value { bytes, flags: *flags, version: *version, ttl_ms: *ttl_ms })
            }
            Outcome::Miss => Reply::Miss,
            Outcome::Stored { version, old } => Reply::Stored { version: *version, old: old.as_deref() },
            Outcome::NotStored => Reply::NotStored,
            Outcome::Exists => Reply::Exists,
            Outcome::Deleted { old } => Reply::Deleted { old: old.as_deref() },
            Outcome::Number { number, version } => Reply::Number { number: *number, version: *version },
            Outcome::Touched => Reply::Touched,
            Outcome::Done => Reply::Done,
            Outcome::Failed(failure) => Reply::Failed(failure),
        }
    }
}
