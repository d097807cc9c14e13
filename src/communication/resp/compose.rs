//! How replies are written in RESP2 and RESP3.
//!
//! The two differ here in two things: what is not there is `$-1` in RESP2 and `_` in RESP3, and a map is a plain array in RESP2. The
//! [`Form`] says what a command's reply is in Redis; the words of errors are Redis's, since clients look at them.

use super::database::Database;
use super::frame::{push_header, push_string};
use super::info;
use crate::communication::protocol::{Composed, Group, Heard, Sighting};
use crate::node::reply::{Failure, Page, Reply, Report, Value};

pub(super) const OK: &[u8] = b"+OK\r\n";
pub(super) const QUEUED: &[u8] = b"+QUEUED\r\n";
pub(super) const PONG: &[u8] = b"+PONG\r\n";

/// How the reply to a command is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub(super) kind: Kind,
    pub(super) resp3: bool,
    pub(super) group: Group,
    /// It is only done if a watched key is as it was.
    pub(super) guarded: bool,
}

/// What a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The value, or nothing.
    Bulk,
    /// The same as the only one of an array.
    BulkAlone,
    /// What `RESET` says.
    Reset,
    /// Nothing but an error.
    Nothing,
    /// The same, and the parser hears of the key by this number.
    Watched(u32),
    /// Nothing at all: it is for the parser alone.
    Seen(u32),
    /// A part of the value, by its first and last place; below 0 counts from the end.
    Range(i32, i32),
    /// A step of a command of several: it is for the parser alone.
    Step,
    /// The value's length.
    Length,
    /// The length of a value to which so many bytes were added.
    Appended(u32),
    /// OK, or nothing if a condition did not hold.
    Ok,
    /// The value that was there before.
    Old,
    /// 1 if something was there, or was done.
    Flag,
    /// The same as a byte, or none, for the sum of a group.
    Mark,
    /// A number.
    Number,
    /// A number as a string.
    Text,
    /// What is left of a value's time.
    Ttl(Ttl),
    /// `string` or `none`.
    Type,
    /// What `OBJECT` tells of a value.
    Object(Object),
    /// Bytes that a value occupies, about.
    Usage { key: u32 },
    /// Keys of a database.
    Keys(Database),
    /// Keys of a database, and where to go on.
    Scan(Database),
    /// One key of a database, by a number that nobody chose.
    AnyKey(Database, u32),
    /// How many keys there are.
    Count,
    /// How many copies a write has besides the first.
    Copies,
    /// What `INFO` tells.
    Info(info::Sections),
    /// A number, or nothing if there is no value to count with.
    NumberIfAny,
}

/// In which unit, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ttl {
    pub(super) in_ms: bool,
    /// The moment at which the command came, in milliseconds since 1970, if the end is wanted; 0 if what is left is.
    pub(super) since_ms: u64,
}

/// What `OBJECT` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Encoding,
    IdleTime,
    References,
    Frequency,
}

pub(super) const RESET: &[u8] = b"+RESET\r\n";
pub(super) const NO_AUTH: &[u8] = b"-NOAUTH Authentication required.\r\n";
pub(super) const WRONG_PASSWORD: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
pub(super) const HELLO_NO_AUTH: &[u8] =
    b"-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
    <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time\r\n";
const NO_PASSWORD: &[u8] = b"-ERR AUTH <password> called without any password configured for the default user. Are you sure your \
    configuration is correct?\r\n";

pub(super) const CHANGED: &[u8] = b"-ERR a watched key was changed while EXEC began: this command was not carried out\r\n";

const PLAIN: Composed = Composed { failed: false, close: false };

impl Form {
    /// The place in its group of a reply in this form.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// What the parser is to hear of `reply`.
    pub fn heard(&self, reply: &Reply<'_>) -> Option<Heard> {
        let number = match self.kind {
            Kind::Step => return Some(Heard::Step(self.told(reply))),
            Kind::Watched(number) | Kind::Seen(number) => number,
            _ => return None,
        };
        let seen = match reply {
            Reply::Value(value) => Sighting::Version { version: value.version, ends: value.ttl_ms.is_some() },
            Reply::Miss => Sighting::Nothing,
            _ => Sighting::Unknown,
        };
        Some(Heard::Sighting { number, seen })
    }

    /// Writes `reply` behind `output`.
    pub fn compose(&self, _key: &[u8], reply: &Reply<'_>, output: &mut Vec<u8>) -> Composed {
        if self.kind == Kind::Reset {
            output.extend_from_slice(RESET);
            return PLAIN;
        }
        if let Kind::Seen(_) | Kind::Step = self.kind {
            return PLAIN;
        }
        if self.guarded && is_refused(reply) {
            output.extend_from_slice(CHANGED);
            return Composed { failed: true, close: false };
        }
        if let Reply::Failed(failure) = reply {
            push_failure(failure, self.kind, output);
            return Composed { failed: true, close: false };
        }
        match reply {
            Reply::Value(value) => self.push_value(value, output),
            Reply::Page(page) => self.push_page(page, output),
            Reply::Report(report) => self.push_report(report, output),
            Reply::Number { number, .. } => match self.kind {
                Kind::Text => push_string(number.digits().as_bytes(), output),
                _ => push_line(b':', number.digits().as_bytes(), output),
            },
            Reply::Stored { old, .. } => self.push_stored(*old, output),
            Reply::Deleted { old: Some(old) } if self.kind != Kind::Flag && self.kind != Kind::Mark => push_string(old, output),
            Reply::Deleted { .. } | Reply::Touched => self.push_done(true, output),
            Reply::Miss | Reply::NotStored | Reply::Exists => self.push_done(false, output),
            Reply::Done => output.extend_from_slice(OK),
            Reply::Failed(_) => {}
        }
        PLAIN
    }

    fn push_value(&self, value: &Value<'_>, output: &mut Vec<u8>) {
        match self.kind {
            Kind::Range(from, to) => push_string(range(value.bytes, from, to), output),
            Kind::Length => push_number(value.length() as i64, output),
            Kind::Ttl(ttl) => push_number(ttl.left(value.ttl_ms), output),
            Kind::Type => output.extend_from_slice(b"+string\r\n"),
            Kind::Object(object) => object.push(value, output),
            Kind::Usage { key } => push_number((value.length() + key as usize + ENTRY_OVERHEAD) as i64, output),
            Kind::Watched(_) => {}
            Kind::Flag | Kind::Mark => self.push_done(true, output),
            Kind::BulkAlone => {
                output.extend_from_slice(b"*1\r\n");
                push_string(value.bytes, output);
            }
            _ => push_string(value.bytes, output),
        }
    }

    fn push_stored(&self, old: Option<&[u8]>, output: &mut Vec<u8>) {
        match (self.kind, old) {
            (Kind::Ok, _) => output.extend_from_slice(OK),
            (Kind::Appended(added), old) => push_number((old.map_or(0, <[u8]>::len) + added as usize) as i64, output),
            (Kind::Old, Some(old)) => push_string(old, output),
            (Kind::Old, None) => push_null(self.resp3, output),
            _ => self.push_done(true, output),
        }
    }

    /// Something was there, or was done; or not.
    fn push_done(&self, done: bool, output: &mut Vec<u8>) {
        match (self.kind, done) {
            (Kind::Mark, true) => output.push(b'1'),
            (Kind::Mark, false) => {}
            (Kind::Range(..), false) => push_string(b"", output),
            (Kind::Ttl(_), false) => output.extend_from_slice(b":-2\r\n"),
            (Kind::Type, false) => output.extend_from_slice(b"+none\r\n"),
            (Kind::Ok, true) => output.extend_from_slice(OK),
            (Kind::Nothing | Kind::Watched(_), _) => {}
            (Kind::BulkAlone, false) => {
                output.extend_from_slice(b"*1\r\n");
                push_null(self.resp3, output);
            }
            (Kind::Bulk | Kind::Old | Kind::Ok | Kind::Object(_) | Kind::Usage { .. } | Kind::NumberIfAny, false) => {
                push_null(self.resp3, output);
            }
            (_, done) => push_number(done.into(), output),
        }
    }

    fn push_page(&self, page: &Page, output: &mut Vec<u8>) {
        match self.kind {
            // A part of them would be taken for all.
            Kind::Keys(_) if page.next.is_some() => output.extend_from_slice(b"-ERR too many keys for one answer: use SCAN\r\n"),
            Kind::Keys(database) => push_keys(page, database, output),
            Kind::Scan(database) => {
                output.extend_from_slice(b"*2\r\n");
                push_string(itoa::Buffer::new().format(page.next.unwrap_or(0)).as_bytes(), output);
                push_keys(page, database, output);
            }
            Kind::AnyKey(database, dice) => {
                let keys: Vec<&[u8]> = page.keys.iter().filter_map(|key| database.shown(key)).collect();
                match keys.len() as u32 {
                    0 => push_null(self.resp3, output),
                    count => push_string(keys[(dice % count) as usize], output),
                }
            }
            Kind::Ok => output.extend_from_slice(OK),
            _ => push_number(page.count as i64, output),
        }
    }

    fn push_report(&self, report: &Report, output: &mut Vec<u8>) {
        match (self.kind, report) {
            (Kind::Info(sections), Report::Status(status)) => {
                let text = info::text(sections, status);
                if self.resp3 {
                    push_header(b'=', text.len() + 4, output);
                    output.extend_from_slice(b"txt:");
                    output.extend_from_slice(text.as_bytes());
                    output.extend_from_slice(b"\r\n");
                } else {
                    push_string(text.as_bytes(), output);
                }
            }
            (Kind::Copies, Report::Owner { mirrors, .. }) => push_number(mirrors.len() as i64, output),
            _ => output.extend_from_slice(b"-ERR the answer does not fit the command\r\n"),
        }
    }
}

/// What an entry costs besides its key and its value, about.
const ENTRY_OVERHEAD: usize = 48;

impl Ttl {
    /// -1 for ever; else what is left, or when it ends.
    fn left(self, ttl_ms: Option<u64>) -> i64 {
        let Some(left) = ttl_ms else { return -1 };
        let ms = self.since_ms.saturating_add(left);
        // As Redis rounds: half a second more is a second more.
        (if self.in_ms { ms } else { ms.saturating_add(500) / 1_000 }).min(i64::MAX as u64) as i64
    }
}

/// Did the condition of a guarded write not hold?
pub(super) fn is_refused(reply: &Reply<'_>) -> bool {
    matches!(reply, Reply::Exists | Reply::NotStored | Reply::Miss)
}

impl Object {
    fn push(self, value: &Value<'_>, output: &mut Vec<u8>) {
        match self {
            Object::Encoding if value.details.is_pieced => push_string(b"raw", output),
            Object::Encoding => push_string(encoding(value.bytes), output),
            Object::IdleTime => push_number((value.details.idle_ms / 1_000) as i64, output),
            Object::References => push_number(1, output),
            Object::Frequency => push_number(value.details.was_read.into(), output),
        }
    }
}

/// The encoding that Redis would have chosen.
fn encoding(value: &[u8]) -> &'static [u8] {
    let is_number = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse::<i64>().ok())
        .is_some_and(|number| itoa::Buffer::new().format(number).as_bytes() == value);
    match value.len() {
        _ if is_number => b"int",
        0..=44 => b"embstr",
        _ => b"raw",
    }
}

/// The bytes from one place to another, both included.
fn range(bytes: &[u8], from: i32, to: i32) -> &[u8] {
    let length = bytes.len() as i32; // a value has 512 MiB at most
    let place = |place: i32| if place < 0 { place.saturating_add(length) } else { place };
    let (from_end, to_end) = (place(from).max(0), place(to).max(0).min(length - 1));
    // Redis: two places before the beginning, the wrong way round, are nothing.
    if length == 0 || from_end > to_end || (from < 0 && to < 0 && from > to) {
        return b"";
    }
    &bytes[from_end as usize..=to_end as usize]
}

fn push_keys(page: &Page, database: Database, output: &mut Vec<u8>) {
    let keys: Vec<&[u8]> = page.keys.iter().filter_map(|key| database.shown(key)).collect();
    push_header(b'*', keys.len(), output);
    keys.iter().for_each(|key| push_string(key, output));
}

/// What a client hears whose value is too long.
pub(super) const TOO_LARGE: &str = "ERR string exceeds maximum allowed size (limits.max_value)";

fn push_failure(failure: &Failure, kind: Kind, output: &mut Vec<u8>) {
    output.extend_from_slice(&failure_line(failure, kind));
}

/// A failure as its client hears it.
pub(super) fn failure_line(failure: &Failure, kind: Kind) -> Vec<u8> {
    let text = match (failure, kind) {
        (Failure::NotANumber, Kind::Text) => "ERR value is not a valid float",
        (Failure::NotANumber, _) => "ERR value is not an integer or out of range",
        (Failure::Overflow, Kind::Text) => "ERR increment would produce NaN or Infinity",
        (Failure::Overflow, _) => "ERR increment or decrement would overflow",
        (Failure::TooLarge, _) => TOO_LARGE,
        (Failure::OutOfMemory, _) => "OOM command not allowed when used memory > 'maxmemory'.",
        (Failure::Unauthenticated, _) => return NO_AUTH.to_vec(),
        (Failure::WrongPassword, _) => return WRONG_PASSWORD.to_vec(),
        (Failure::NoPassword, _) => return NO_PASSWORD.to_vec(),
        (failure @ Failure::Forbidden, _) => return error(&format!("NOPERM {}", failure.text())),
        (failure, _) => return error(&format!("ERR {}", failure.text())),
    };
    error(text)
}

/// An error, whose text must not end its line.
pub(super) fn error(text: &str) -> Vec<u8> {
    let mut line = vec![b'-'];
    line.extend(text.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
    line.extend_from_slice(b"\r\n");
    line
}

/// What is not there.
pub(super) fn null(resp3: bool) -> &'static [u8] {
    if resp3 { b"_\r\n" } else { b"$-1\r\n" }
}

fn push_null(resp3: bool, output: &mut Vec<u8>) {
    output.extend_from_slice(null(resp3));
}

/// Adds a number.
pub(super) fn push_number(number: i64, output: &mut Vec<u8>) {
    push_line(b':', itoa::Buffer::new().format(number).as_bytes(), output);
}

fn push_line(mark: u8, text: &[u8], output: &mut Vec<u8>) {
    output.push(mark);
    output.extend_from_slice(text);
    output.extend_from_slice(b"\r\n");
}

/// A map's header: a plain array of twice as many in RESP2.
pub(super) fn push_map(resp3: bool, pairs: usize, output: &mut Vec<u8>) {
    if resp3 { push_header(b'%', pairs, output) } else { push_header(b'*', 2 * pairs, output) }
}
