//! memcached's binary protocol, as memcached 1.6 speaks it: old, and the only one that some clients know.
//!
//! ```text
//!   ┌───────┬────────┬─────────┬────────────┬───────────┬────────┬──────┬────────┬─────┬────────┬─────┬───────┐
//!   │ magic │ opcode │ key len │ extras len │ data type │ status │ body │ opaque │ cas │ extras │ key │ value │
//!   │   1   │   1    │    2    │     1      │     1     │   2    │  4   │   4    │  8  │   …    │  …  │   …   │
//!   └───────┴────────┴─────────┴────────────┴───────────┴────────┴──────┴────────┴─────┴────────┴─────┴───────┘
//! ```
//!
//! Each request says how long it is, so one that cannot be carried out is passed over and answered with an error: the connection stays in
//! step. Only lengths that contradict each other end it, and a first byte that begins no request. A quiet request is answered if it fails,
//! and a quiet read if it finds something; a `NOOP` behind it tells its client that all has been said.
//!
//! The sources are memcached's `proto_bin.c` and its page on the binary protocol. `compose` writes replies. Not here: the range commands
//! (`RGET` ...), which memcached does not know either.

mod compose;

use std::borrow::Cow;

use self::compose::{Kind, Status};
use super::access::Access;
use super::memcached::{MAX_KEY, expiry_of};
use super::protocol::{self, Group, Parsed};
use crate::caching::Version;
use crate::config::Limits;
use crate::node::command::{Action, Admin, Command, Count, Delta, Expiry, Guard, Number, Removal, Request, Store, StoreMode, Terms};
use crate::node::reply::MEMCACHED_VERSION;

pub use self::compose::Form;

/// The first byte of every request.
pub const MAGIC: u8 = 0x80;

/// Bytes of a header.
const HEADER: usize = 24;
/// Extras of a write: flags and exptime.
const STORE_EXTRAS: usize = 8;
/// Extras of a count: delta, first number, exptime.
const COUNT_EXTRAS: usize = 20;
/// Extras that are one exptime, or one delay, or one level.
const TIME_EXTRAS: usize = 4;
/// The exptime of a count that makes no number.
const NO_FIRST: u32 = u32::MAX;

/// The one SASL mechanism.
const PLAIN: &[u8] = b"PLAIN";
/// Longest user and password together.
const MAX_TOKENS: usize = 1024;

/// The parser of one connection.
#[derive(Debug, Default)]
pub struct Parser {
    /// Bytes of a body that are passed over.
    refused: usize,
}

/// What a request asks.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Read { with_key: bool, touches: bool, with_value: bool },
    Store(StoreMode),
    Join(StoreMode),
    Delete,
    Count(fn(u64) -> Delta),
    Quit,
    Flush,
    Noop,
    Version,
    Stats,
    Verbosity,
    Mechanisms,
    Login,
    LoginStep,
}

/// A header that makes sense.
#[derive(Clone, Copy, Debug)]
struct Header {
    opcode: u8,
    key: usize,
    extras: usize,
    body: usize,
    opaque: u32,
    cas: u64,
}

/// A whole request.
#[derive(Clone, Copy, Debug)]
struct Frame<'a> {
    header: Header,
    quiet: bool,
    extras: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
}

impl Parser {
    /// Takes the next piece off the front of `input`.
    pub fn next<'a>(&mut self, input: &'a [u8], limits: &Limits, access: Access) -> Parsed<'a> {
        if self.refused > 0 {
            return self.pass_over(input);
        }
        let Some(bytes) = input.first_chunk() else {
            let is_one = input.first().is_none_or(|magic| *magic == MAGIC);
            return if is_one { Parsed::Incomplete { in_command: !input.is_empty() } } else { close(Vec::new()) };
        };
        let Some(header) = Header::parse(bytes) else { return close(Vec::new()) };
        if header.extras + header.key > header.body {
            return close(header.form(Kind::Change, false).error(Status::Invalid));
        }
        let known = verb_of(header.opcode).filter(|(verb, _)| access != Access::Open || !verb.is_login());
        let Some((verb, quiet)) = known else { return self.refuse(header, Status::UnknownCommand) };
        if access == Access::Stranger && !verb.is_login() && !matches!(verb, Verb::Quit | Verb::Version) {
            return self.refuse(header, Status::AuthFailure);
        }
        let value = header.body - header.extras - header.key;
        let longest = match verb {
            Verb::Store(_) | Verb::Join(_) => limits.max_value,
            Verb::Login => MAX_TOKENS,
            _ => 0,
        };
        if value > longest {
            return self.refuse_value(header, verb, input);
        }
        let Some(body) = input[HEADER..].get(..header.body) else { return Parsed::Incomplete { in_command: true } };
        let (extras, rest) = body.split_at(header.extras);
        let (key, value) = rest.split_at(header.key);
        Frame { header, quiet, extras, key, value }.parse(verb)
    }

    fn pass_over<'a>(&mut self, input: &'a [u8]) -> Parsed<'a> {
        let consumed = self.refused.min(input.len());
        if consumed == 0 {
            return Parsed::Incomplete { in_command: true };
        }
        self.refused -= consumed;
        Parsed::Skip { consumed }
    }

    /// Answers with an error and passes the body over.
    fn refuse(&mut self, header: Header, status: Status) -> Parsed<'static> {
        self.refused = header.body;
        answer(HEADER, header.form(Kind::Change, false).error(status))
    }

    /// A value that is too large, or that has no business here. As in memcached, a `SET` that is too large takes the old value with it: a
    /// client that ignores the error must not go on reading what it meant to replace.
    fn refuse_value<'a>(&mut self, header: Header, verb: Verb, input: &'a [u8]) -> Parsed<'a> {
        match verb {
            Verb::Store(StoreMode::Set) if is_key_length(header.key) && header.extras == STORE_EXTRAS => {
                let begin = HEADER + header.extras;
                let Some(key) = input.get(begin..begin + header.key) else { return Parsed::Incomplete { in_command: true } };
                self.refused = header.body - header.extras - header.key;
                let request = Request::Key(Command { key: Cow::Borrowed(key), action: Action::Store(Store::of_nothing()) });
                Parsed::Request { consumed: begin + header.key, request, form: header.form(Kind::TooLarge, false).into() }
            }
            Verb::Store(_) | Verb::Join(_) => self.refuse(header, Status::TooLarge),
            _ => self.refuse(header, Status::Invalid),
        }
    }
}

impl Verb {
    /// Is it for those who show a password? Where there is none, memcached does not know it either.
    fn is_login(self) -> bool {
        matches!(self, Verb::Mechanisms | Verb::Login | Verb::LoginStep)
    }
}

impl Header {
    fn parse(bytes: &[u8; HEADER]) -> Option<Header> {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let cas = u64::from(word(16)) << 32 | u64::from(word(20));
        let key = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        let header = Header { opcode: bytes[1], key, extras: bytes[4].into(), body: word(8) as usize, opaque: word(12), cas };
        (bytes[0] == MAGIC).then_some(header)
    }

    fn form(self, kind: Kind, quiet: bool) -> Form {
        Form { opcode: self.opcode, opaque: self.opaque, kind, quiet }
    }

    fn version(self) -> Option<Version> {
        (self.cas != 0).then_some(Version(self.cas))
    }
}

impl<'a> Frame<'a> {
    fn parse(self, verb: Verb) -> Parsed<'a> {
        match verb {
            Verb::Read { with_key, touches, with_value } => self.read(Kind::Read { with_key, with_value }, touches),
            Verb::Store(mode) => self.store(mode),
            Verb::Join(mode) => self.join(mode),
            Verb::Delete => self.delete(),
            Verb::Count(delta) => self.count(delta),
            Verb::Quit => close(if self.quiet { Vec::new() } else { self.done() }),
            Verb::Flush => self.flush(),
            Verb::Noop => self.say(self.is_bare(), b""),
            Verb::Version => self.say(self.is_bare(), MEMCACHED_VERSION.as_bytes()),
            Verb::Stats => self.stats(),
            Verb::Verbosity => self.say(self.has(TIME_EXTRAS, false), b""),
            Verb::Mechanisms => self.say(self.is_bare(), PLAIN),
            Verb::Login => self.login(),
            Verb::LoginStep => answer(self.whole(), self.form(Kind::Change).error(Status::AuthFailure)),
        }
    }

    fn read(self, kind: Kind, touches: bool) -> Parsed<'a> {
        if !self.has(if touches { TIME_EXTRAS } else { 0 }, true) {
            return self.invalid();
        }
        let action = if touches { Action::GetAndTouch(self.expiry_at(0)) } else { Action::Get };
        self.ask(action, kind)
    }

    fn store(self, mode: StoreMode) -> Parsed<'a> {
        if !self.has(STORE_EXTRAS, true) {
            return self.invalid();
        }
        let by_version = self.header.version().map_or(mode, StoreMode::Cas);
        let (value, flags, expiry) = (Cow::Borrowed(self.value), self.number_at(0), self.expiry_at(4));
        self.ask(Action::Store(Store { mode: by_version, value, flags, expiry, want_old: false, terms: None }), Kind::Store(mode))
    }

    fn join(self, mode: StoreMode) -> Parsed<'a> {
        if !self.has(0, true) {
            return self.invalid();
        }
        let store = Store { mode, terms: self.terms(), ..Store::of(self.value) };
        self.ask(Action::Store(store), Kind::Store(mode))
    }

    fn delete(self) -> Parsed<'a> {
        if !self.has(0, true) {
            return self.invalid();
        }
        self.ask(Action::Delete(Removal { want_old: false, terms: self.terms() }), Kind::Change)
    }

    fn count(self, delta: fn(u64) -> Delta) -> Parsed<'a> {
        if !self.has(COUNT_EXTRAS, true) {
            return self.invalid();
        }
        let (by, first) = (self.long_at(0), Number::Natural(self.long_at(8)));
        let only = self.header.version().map(Guard::Version);
        let create = (self.number_at(16) != NO_FIRST).then(|| self.expiry_at(16));
        let terms = (only.is_some() || create.is_some()).then(|| Box::new(Terms { only, create, first, ..Terms::default() }));
        self.ask(Action::Count(Count { by: delta(by), terms }), Kind::Change)
    }

    fn flush(self) -> Parsed<'a> {
        let when = match self.extras.len() {
            0 => Expiry::InMs(0),
            TIME_EXTRAS => match self.expiry_at(0) {
                Expiry::Never => Expiry::InMs(0),
                when => when,
            },
            _ => return self.invalid(),
        };
        if self.key.is_empty() { self.order(Admin::Flush { when }, Kind::Change) } else { self.invalid() }
    }

    fn stats(self) -> Parsed<'a> {
        match self.key {
            _ if !self.extras.is_empty() => self.invalid(),
            b"" => self.order(Admin::Stats, Kind::Stats),
            b"settings" => self.order(Admin::Settings, Kind::Stats),
            b"reset" => self.order(Admin::ResetStats, Kind::Stats),
            b"items" | b"slabs" | b"sizes" | b"conns" | b"detail on" | b"detail off" | b"detail dump" => self.say(true, b""),
            _ => answer(self.whole(), self.form(Kind::Change).error(Status::NotFound)),
        }
    }

    /// SASL's PLAIN (RFC 4616): whom to act for, the user and the password, parted by zeros. There are no users.
    fn login(self) -> Parsed<'a> {
        let failure = || answer(self.whole(), self.form(Kind::Change).error(Status::AuthFailure));
        let mut parts = self.value.splitn(3, |byte| *byte == 0);
        match (self.key == PLAIN, parts.nth(2)) {
            (true, Some(password)) if !password.is_empty() => {
                let (password, form) = (Cow::Borrowed(password), Some(self.form(Kind::Login).into()));
                Parsed::Login { consumed: self.whole(), password, form }
            }
            _ => failure(),
        }
    }

    fn terms(&self) -> Option<Box<Terms<'a>>> {
        self.header.version().map(|version| Box::new(Terms { only: Some(Guard::Version(version)), ..Terms::default() }))
    }

    fn ask(self, action: Action<'a>, kind: Kind) -> Parsed<'a> {
        let request = Request::Key(Command { key: Cow::Borrowed(self.key), action });
        Parsed::Request { consumed: self.whole(), request, form: self.form(kind).into() }
    }

    fn order(self, admin: Admin<'a>, kind: Kind) -> Parsed<'a> {
        Parsed::Request { consumed: self.whole(), request: Request::Admin(admin), form: self.form(kind).into() }
    }

    /// Answers by itself, if the request is what it should be.
    fn say(self, is_right: bool, value: &[u8]) -> Parsed<'a> {
        if is_right { answer(self.whole(), self.form(Kind::Change).said(value)) } else { self.invalid() }
    }

    fn invalid(self) -> Parsed<'a> {
        answer(self.whole(), self.form(Kind::Change).error(Status::Invalid))
    }

    fn done(self) -> Vec<u8> {
        self.form(Kind::Change).said(b"")
    }

    fn form(self, kind: Kind) -> Form {
        self.header.form(kind, self.quiet)
    }

    fn whole(self) -> usize {
        HEADER + self.header.body
    }

    fn has(self, extras: usize, key: bool) -> bool {
        self.extras.len() == extras && if key { is_key_length(self.key.len()) } else { self.key.is_empty() }
    }

    fn is_bare(self) -> bool {
        self.has(0, false)
    }

    /// The 32 bits at an offset of the extras, which are there.
    fn number_at(self, at: usize) -> u32 {
        self.extras[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
    }

    fn long_at(self, at: usize) -> u64 {
        u64::from(self.number_at(at)) << 32 | u64::from(self.number_at(at + 4))
    }

    fn expiry_at(self, at: usize) -> Expiry {
        expiry_of(self.number_at(at).into())
    }
}

impl From<Form> for protocol::Form {
    fn from(form: Form) -> protocol::Form {
        protocol::Form::Binary(form)
    }
}

/// A key may be any bytes, but not so many.
fn is_key_length(length: usize) -> bool {
    (1..=MAX_KEY).contains(&length)
}

/// What an opcode asks, and whether quietly.
fn verb_of(opcode: u8) -> Option<(Verb, bool)> {
    let read = |with_key, touches, with_value| Verb::Read { with_key, touches, with_value };
    Some(match opcode {
        0x00 => (read(false, false, true), false),
        0x09 => (read(false, false, true), true),
        0x0c => (read(true, false, true), false),
        0x0d => (read(true, false, true), true),
        0x1c => (read(false, true, false), false),
        0x1d => (read(false, true, true), false),
        0x1e => (read(false, true, true), true),
        0x23 => (read(true, true, true), false),
        0x24 => (read(true, true, true), true),
        0x01 | 0x11 => (Verb::Store(StoreMode::Set), opcode == 0x11),
        0x02 | 0x12 => (Verb::Store(StoreMode::Add), opcode == 0x12),
        0x03 | 0x13 => (Verb::Store(StoreMode::Replace), opcode == 0x13),
        0x04 | 0x14 => (Verb::Delete, opcode == 0x14),
        0x05 | 0x15 => (Verb::Count(Delta::Up), opcode == 0x15),
        0x06 | 0x16 => (Verb::Count(Delta::Down), opcode == 0x16),
        0x07 | 0x17 => (Verb::Quit, opcode == 0x17),
        0x08 | 0x18 => (Verb::Flush, opcode == 0x18),
        0x0e | 0x19 => (Verb::Join(StoreMode::Append), opcode == 0x19),
        0x0f | 0x1a => (Verb::Join(StoreMode::Prepend), opcode == 0x1a),
        0x0a => (Verb::Noop, false),
        0x0b => (Verb::Version, false),
        0x10 => (Verb::Stats, false),
        0x1b => (Verb::Verbosity, false),
        0x20 => (Verb::Mechanisms, false),
        0x21 => (Verb::Login, false),
        0x22 => (Verb::LoginStep, false),
        _ => return None,
    })
}

fn answer(consumed: usize, bytes: Vec<u8>) -> Parsed<'static> {
    Parsed::Answer { consumed, bytes: Cow::Owned(bytes), group: Group::Alone }
}

fn close(bytes: Vec<u8>) -> Parsed<'static> {
    Parsed::Close { bytes: Cow::Owned(bytes) }
}

#[cfg(test)]
mod tests;
