//! A client's bytes played to a dialect, whole and in parts.
//!
//! The promises of any dialect: it takes no more than there is; it goes on or says that it waits; what it understands does not depend on
//! how the bytes happened to arrive; nothing gets past it that is larger than the limits; and of a stranger it takes no more than memory
//! for a login.

use spydercache::caching::Version;
use spydercache::communication::access::Access;
use spydercache::communication::protocol::{Dialect, Group, Parsed, Sniffed, sniff};
use spydercache::config::{Config, Limits};
use spydercache::node::command::{Action, Request};
use spydercache::node::reply::{Details, Failure, Reply, Value};

/// A command that begins again whenever others get in its way takes no more pieces than so.
const MOST_STEPS: usize = 400;

/// What a dialect made of some bytes, without where one piece of silence ended and the next began.
#[derive(Debug, PartialEq)]
enum Piece {
    Request(String),
    Login(Vec<u8>),
    Answer(Vec<u8>, Group),
    Close(Vec<u8>),
}

/// Limits that are soon reached. Lines are not limited below 2,048 bytes: so many are looked at for a verb that says how long its line
/// may be.
#[must_use]
pub fn narrow_limits() -> Limits {
    Limits { max_key: 100, max_value: 200, max_line: 2_048, ..Config::default().limits }
}

/// Plays `data` to fresh parsers of a dialect, where there is no password and where there is: whole, byte by byte, and in parts of the length
/// that the first byte draws.
pub fn check(data: &[u8], dialect: impl Fn() -> Dialect) {
    let limits = narrow_limits();
    for access in [Access::Open, Access::Stranger] {
        let whole = play(data, data.len().max(1), dialect(), &limits, access);
        for part in [1, 2 + usize::from(data.first().copied().unwrap_or_default()) % 61] {
            let parted = play(data, part, dialect(), &limits, access);
            assert_eq!(parted, whole, "in parts of {part} bytes, {access:?}");
        }
    }
}

/// The first bytes tell a dialect once, and more of them do not tell another.
pub fn check_sniffing(data: &[u8]) {
    let mut told = Sniffed::NotYet;
    for end in 0..=data.len().min(64) {
        let sniffed = sniff(&data[..end]);
        assert!(told == Sniffed::NotYet || sniffed == told, "{told:?} became {sniffed:?} after {end} bytes");
        told = sniffed;
    }
    assert!(told != Sniffed::NotYet || data.len() < 64, "64 bytes tell");
}

fn play(data: &[u8], part: usize, mut dialect: Dialect, limits: &Limits, mut access: Access) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut at, mut arrived) = (0, 0);
    while arrived < data.len() {
        arrived = data.len().min(arrived + part);
        let mut standing = 0;
        loop {
            let input = &data[at..arrived];
            let consumed = match dialect.next(input, limits, access) {
                Parsed::Incomplete { .. } => break,
                Parsed::Request { consumed, request, form } => {
                    check_limits(&request, limits);
                    let heard = form.heard(&reply(pieces.len()));
                    pieces.push(Piece::Request(format!("{request:?}")));
                    heard.into_iter().for_each(|heard| dialect.hear(heard));
                    consumed
                }
                Parsed::Login { consumed, password, .. } => {
                    access = if *password == *b"secret" { Access::Granted } else { Access::Stranger };
                    pieces.push(Piece::Login(password.into_owned()));
                    consumed
                }
                Parsed::Answer { consumed, bytes, group } => {
                    pieces.push(Piece::Answer(bytes.into_owned(), group));
                    consumed
                }
                Parsed::Skip { consumed } => consumed,
                Parsed::Close { bytes } => {
                    pieces.push(Piece::Close(bytes.into_owned()));
                    return pieces;
                }
            };
            assert!(consumed <= input.len(), "{consumed} of {} bytes consumed", input.len());
            // An answer may come before its bytes are taken (100 Continue, a login), or long after (what MULTI has queued, a command that begins
            // again), but not for ever.
            standing = if consumed == 0 { standing + 1 } else { 0 };
            assert!(standing < MOST_STEPS * (1 + data.len()), "it neither goes on nor waits");
            at += consumed;
        }
    }
    pieces
}

/// What becomes of a request, for a parser that wants to know: each thing that may, by turns.
fn reply(number: usize) -> Reply<'static> {
    match number % 7 {
        0 | 3 => Reply::Value(Value { bytes: b"value", flags: 0, version: Version(7), ttl_ms: Some(9), details: Details::default() }),
        1 | 4 => Reply::Stored { version: Version(8), old: None },
        2 => Reply::Miss,
        5 => Reply::NotStored,
        _ => Reply::Failed(&Failure::Unreachable),
    }
}

fn check_limits(request: &Request<'_>, limits: &Limits) {
    let Request::Key(command) = request else { return };
    assert!(!command.key.is_empty() && command.key.len() <= limits.max_key.max(250), "a key of {} bytes", command.key.len());
    if let Action::Store(store) = &command.action {
        assert!(store.value.len() <= limits.max_value.max(limits.max_line), "a value of {} bytes", store.value.len());
    }
}
