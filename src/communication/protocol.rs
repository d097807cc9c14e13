//! The contract that every dialect fulfils, and how a connection's first bytes tell which one it speaks.
//!
//! A dialect is a parser with little state and a composer with none. The parser is shown all bytes not yet consumed and takes one piece
//! off the front: a [`Request`], a login, an answer that needs no node, bytes to skip, or nothing yet. "Not yet" is not an error. It remembers
//! how far it has searched, so that a slow client's bytes are not searched again. The composer is given the [`Form`] that the parser left
//! with the request: how this client wants this reply written.
//!
//! ```text
//!   bytes ──sniff──▶ memcached::Parser ─┬─▶ Parsed::Request { request, form } ──▶ node ──Reply──▶ compose(form, key, reply) ──▶ bytes
//!                    http::Parser ──────┴─▶ Parsed::Answer ─────────────────────────────────────────────────────────▶ bytes
//! ```
//!
//! Whether a request may be asked is not the dialect's affair but the gate's, [`access`](super::access). The parser is told what its client
//! may do, for two reasons: what it answers by itself passes no gate, so to a stranger it must refuse by itself all but what a login needs;
//! and in some dialects a login has the shape of another command.
//!
//! Several pieces may belong to one reply (`get a b c` is three requests and an `END`): they form a [`Group`]. If one piece of a group
//! fails, its error is sent in its place and the rest of the group is left out, so that the client sees one error and stays in step.

use std::borrow::Cow;

use super::access::Access;
use super::{binary, http, memcached, resp};
use crate::caching::Version;
use crate::config::Limits;
use crate::node::command::Request;
use crate::node::reply::Reply;

/// What a parser took off the front of its input.
#[derive(Debug, PartialEq)]
pub enum Parsed<'a> {
    /// There is nothing whole yet. `in_command` tells a command begun from silence between two.
    Incomplete {
        /// Some bytes of a command have arrived.
        in_command: bool,
    },
    /// A request for the node.
    Request {
        /// Bytes of the input that are done with.
        consumed: usize,
        /// What is asked.
        request: Request<'a>,
        /// How its reply is to be written.
        form: Form,
    },
    /// The client shows a password. The outcome is composed like a reply about no key: `Done`, or `Failed` with
    /// [`Failure::WrongPassword`](crate::node::reply::Failure) or, where there is none to be shown, with `NoPassword`. From the next piece on
    /// the parser is told the client's new [`Access`]. An empty password is none: so a client is made a stranger again (RESP's RESET).
    Login {
        /// Bytes of the input that are done with; may be 0, if the request itself follows.
        consumed: usize,
        /// What is shown. There are no users: names beside it mean nothing.
        password: Cow<'a, [u8]>,
        /// How the outcome is to be written; `None` if nothing is said of it.
        form: Option<Form>,
    },
    /// Something the dialect answers by itself: an error, a version, the `END` of a group.
    Answer {
        /// Bytes of the input that are done with.
        consumed: usize,
        /// What to send; empty sends nothing.
        bytes: Cow<'static, [u8]>,
        /// Its place in a group.
        group: Group,
    },
    /// Bytes to be passed over in silence: the value of a refused write, empty lines.
    Skip {
        /// Bytes of the input that are done with; at least one.
        consumed: usize,
    },
    /// The stream ends here: send `bytes` after everything owed, then close.
    Close {
        /// A last word; may be empty.
        bytes: Cow<'static, [u8]>,
    },
}

/// How a reply is to be written: decided when the request is parsed, used when the reply is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// memcached's text protocol.
    Memcached(memcached::Form),
    /// memcached's binary protocol.
    Binary(binary::Form),
    /// HTTP/1.x.
    Http(http::Form),
    /// Redis's protocol.
    Resp(resp::Form),
}

/// A piece's place in a reply of several pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// A reply by itself.
    Alone,
    /// One of several pieces.
    Member,
    /// The last of several pieces.
    Last,
    /// One of several pieces that are held back until all are there: an error in one of them takes the place of all.
    Part,
    /// The last of those.
    Whole,
    /// The last of those, each of which is a byte or none: in their place it is written how many there are, behind its own bytes.
    Sum,
}

/// What a reply does to its connection and to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Composed {
    /// The reply is an error: the rest of its group is left out.
    pub failed: bool,
    /// The connection is closed once this reply is sent.
    pub close: bool,
}

/// What a parser wants to know of a reply, beside what its client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// How a key was found.
    Sighting {
        /// The number by which it was asked.
        number: u32,
        /// What the reply says of its key.
        seen: Sighting,
    },
    /// What came of a step, for a command of which the next step depends on it.
    Step(Told),
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// The key has this value.
    Value(Kept),
    /// There is no such key.
    Nothing,
    /// Done; a write was given this version.
    Done(Version),
    /// Not done: its condition did not hold.
    Refused,
    /// Not done, and why, as the client is to hear it.
    Failed(Vec<u8>),
}

/// A value that a parser keeps until the next step, with what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The bytes; none, if nobody wanted them.
    pub bytes: Vec<u8>,
    /// The client's own 32 bits.
    pub flags: u32,
    /// The version.
    pub version: Version,
    /// Milliseconds it has left; `None` is for ever.
    pub ttl_ms: Option<u64>,
    /// The type of the content; empty if nobody has said it.
    pub media: Vec<u8>,
}

/// How a key was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// With this version.
    Version {
        /// The version.
        version: Version,
        /// The value will end by itself.
        ends: bool,
    },
    /// Not at all.
    Nothing,
    /// Nobody could say.
    Unknown,
}

impl Form {
    /// The place in its group of a reply in this form.
    #[must_use]
    pub fn group(&self) -> Group {
        match self {
            Form::Memcached(form) => form.group(),
            Form::Binary(_) | Form::Http(_) => Group::Alone,
            Form::Resp(form) => form.group(),
        }
    }

    /// Does every reply in this form say nothing that a stranger may not know?
    #[must_use]
    pub fn tells_no_secret(&self) -> bool {
        match self {
            Form::Memcached(_) | Form::Binary(_) | Form::Resp(_) => false,
            Form::Http(form) => form.tells_no_secret(),
        }
    }

    /// What the parser is to hear of `reply`.
    #[must_use]
    pub fn heard(&self, reply: &Reply<'_>) -> Option<Heard> {
        match self {
            Form::Resp(form) => form.heard(reply),
            Form::Memcached(_) | Form::Binary(_) | Form::Http(_) => None,
        }
    }

    /// Writes `reply`, about `key`, behind `output`.
    pub fn compose(&self, key: &[u8], reply: &Reply<'_>, output: &mut Vec<u8>) -> Composed {
        match self {
            Form::Memcached(form) => form.compose(key, reply, output),
            Form::Binary(form) => form.compose(key, reply, output),
            Form::Http(form) => form.compose(key, reply, output),
            Form::Resp(form) => form.compose(key, reply, output),
        }
    }
}

/// The dialect of a client's connection, with the parser's state.
#[derive(Debug, Default)]
pub enum Dialect {
    /// No byte has told yet.
    #[default]
    Unknown,
    /// memcached's text protocol, and the verbs for people.
    Memcached(memcached::Parser),
    /// memcached's binary protocol.
    Binary(binary::Parser),
    /// HTTP/1.x.
    Http(http::Parser),
    /// Redis's protocol.
    Resp(Box<resp::Parser>),
}

/// What the first bytes of a connection tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// Too few bytes to tell.
    NotYet,
    /// memcached's text protocol: whatever is nothing else.
    Memcached,
    /// memcached's binary protocol.
    Binary,
    /// An upper-case method and a path.
    Http,
    /// Redis's protocol: an array, or one of its commands in capitals.
    Resp,
    /// A peer: its frames begin with a length below 2^24.
    Peer,
}

/// Tells a dialect by the first bytes of a connection. The server never speaks first.
///
/// A first byte tells peers, memcached's binary protocol and Redis's arrays and strings. What is left are lines, and their first word tells whose they are.
/// In small letters it is memcached's. In capitals, as people type it too:
///
/// - a command of Redis that is no method of HTTP (`KEYS *`, `DEL /x`, `SET http://x v`) is Redis's, whatever follows it;
/// - `GET`, which is both, and any other word (`PUT`, `BREW`) are HTTP's, if a path or a URL follows;
/// - `GET key` is Redis's then, and what nobody knows is memcached's.
#[must_use]
pub fn sniff(input: &[u8]) -> Sniffed {
    let Some(first) = input.first() else { return Sniffed::NotYet };
    match *first {
        0 => Sniffed::Peer,
        binary::MAGIC => Sniffed::Binary,
        b'*' | b'$' => Sniffed::Resp,
        _ => match (resp::sniff(input), http::sniff(input)) {
            (Sniffed::Resp, _) if !input.starts_with(b"GET ") => Sniffed::Resp,
            (told, Sniffed::Memcached) | (_, told) => told,
        },
    }
}

impl Dialect {
    /// The last word to a client that has begun a command and not finished it.
    #[must_use]
    pub fn unfinished(&self) -> &'static [u8] {
        match self {
            Dialect::Unknown | Dialect::Memcached(_) => memcached::UNFINISHED,
            Dialect::Binary(_) => b"",
            Dialect::Http(_) => http::UNFINISHED,
            Dialect::Resp(_) => resp::UNFINISHED,
        }
    }

    /// The last word to a client that has come when there are too many.
    #[must_use]
    pub fn too_many(&self) -> &'static [u8] {
        match self {
            Dialect::Unknown | Dialect::Memcached(_) | Dialect::Binary(_) | Dialect::Http(_) => memcached::TOO_MANY,
            Dialect::Resp(_) => resp::TOO_MANY,
        }
    }

    /// What comes next has come at this moment of the wall clock, in milliseconds since 1970.
    pub fn set_clock(&mut self, now_ms: u64) {
        if let Dialect::Resp(parser) = self {
            parser.set_clock(now_ms);
        }
    }

    /// What a request asked for itself has come to this.
    pub fn hear(&mut self, heard: Heard) {
        if let Dialect::Resp(parser) = self {
            parser.hear(heard);
        }
    }

    /// Can nothing be taken off the input before a reply was heard?
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self, Dialect::Resp(parser) if parser.is_waiting())
    }

    /// The last word to a client for whose command there is no room.
    #[must_use]
    pub fn crowded(&self) -> &'static [u8] {
        match self {
            Dialect::Unknown | Dialect::Memcached(_) => memcached::CROWDED,
            Dialect::Binary(_) => b"",
            Dialect::Http(_) => http::CROWDED,
            Dialect::Resp(_) => resp::CROWDED,
        }
    }

    /// The memory that a command on its way takes in the parser, beside the bytes not yet consumed.
    #[must_use]
    pub fn held(&self) -> usize {
        match self {
            Dialect::Http(parser) => parser.held(),
            Dialect::Resp(parser) => parser.held(),
            Dialect::Unknown | Dialect::Memcached(_) | Dialect::Binary(_) => 0,
        }
    }

    /// Takes the next piece off the front of `input`, for a client who may do so much. Not for `Unknown`, which has nothing to say.
    pub fn next<'a>(&mut self, input: &'a [u8], limits: &Limits, access: Access) -> Parsed<'a> {
        match self {
            Dialect::Unknown => Parsed::Incomplete { in_command: !input.is_empty() },
            Dialect::Memcached(_) if access == Access::Stranger => memcached::next_of_stranger(input),
            Dialect::Memcached(parser) => parser.next(input, limits),
            Dialect::Binary(parser) => parser.next(input, limits, access),
            Dialect::Http(parser) => parser.next_for(access, input, limits),
            Dialect::Resp(parser) => parser.next(input, limits, access),
        }
    }
}
