//! How replies are written in the binary protocol.

use super::{HEADER, StoreMode};
use crate::communication::protocol::Composed;
use crate::node::command::Number;
use crate::node::reply::{Failure, Reply, Report, Value};

/// The first byte of every response.
const MAGIC: u8 = 0x81;

/// How the reply to a request is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub(super) opcode: u8,
    pub(super) opaque: u32,
    pub(super) kind: Kind,
    pub(super) quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A read.
    Read { with_key: bool, with_value: bool },
    /// A write: what it means that it was not done depends on its condition.
    Store(StoreMode),
    /// Another change, or an order.
    Change,
    /// The removal of a key whose new value was refused: whatever comes of it, the refusal is what the client has to know.
    TooLarge,
    /// A login.
    Login,
    /// A response for each statistic, and one without a key.
    Stats,
}

/// What came of a request, as a number and a text for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    NotFound,
    Exists,
    TooLarge,
    Invalid,
    NotStored,
    NotANumber,
    AuthFailure,
    UnknownCommand,
    OutOfMemory,
    Internal,
    Temporary,
}

impl Status {
    fn code(self) -> u16 {
        match self {
            Status::NotFound => 0x01,
            Status::Exists => 0x02,
            Status::TooLarge => 0x03,
            Status::Invalid => 0x04,
            Status::NotStored => 0x05,
            Status::NotANumber => 0x06,
            Status::AuthFailure => 0x20,
            Status::UnknownCommand => 0x81,
            Status::OutOfMemory => 0x82,
            Status::Internal => 0x84,
            Status::Temporary => 0x86,
        }
    }

    /// memcached's texts.
    fn text(self) -> &'static str {
        match self {
            Status::NotFound => "Not found",
            Status::Exists => "Data exists for key.",
            Status::TooLarge => "Too large.",
            Status::Invalid => "Invalid arguments",
            Status::NotStored => "Not stored.",
            Status::NotANumber => "Non-numeric server-side value for incr or decr",
            Status::AuthFailure => "Auth failure.",
            Status::UnknownCommand => "Unknown command",
            Status::OutOfMemory => "Out of memory",
            Status::Internal => "Internal error",
            Status::Temporary => "Temporary failure",
        }
    }
}

/// What stands behind a header.
#[derive(Clone, Copy, Default)]
struct Body<'a> {
    status: u16,
    cas: u64,
    extras: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
}

impl Form {
    /// Writes `reply`, about `key`, behind `output`.
    pub fn compose(&self, key: &[u8], reply: &Reply<'_>, output: &mut Vec<u8>) -> Composed {
        let failed = matches!(reply, Reply::Failed(_)) || self.kind == Kind::TooLarge;
        match (self.kind, reply) {
            (Kind::Login, Reply::Done) => output.extend(self.said(b"Authenticated")),
            (Kind::TooLarge, _) => output.extend(self.error(Status::TooLarge)),
            (_, Reply::Failed(failure)) => self.push_failure(failure, output),
            (Kind::Read { with_key, with_value }, Reply::Value(value)) => {
                let key = if with_key { key } else { b"" };
                self.push_value(key, Value { bytes: if with_value { value.bytes } else { b"" }, ..*value }, output);
            }
            (_, Reply::Miss) => self.push_miss(key, output),
            (Kind::Store(mode), Reply::NotStored) => output.extend(self.error(refusal_of(mode))),
            (_, Reply::NotStored | Reply::Exists) => output.extend(self.error(Status::Exists)),
            (_, Reply::Stored { version, .. }) => self.push_done(version.0, b"", output),
            (_, Reply::Number { number, version, .. }) => self.push_done(version.0, &natural(*number).to_be_bytes(), output),
            (Kind::Stats, Reply::Report(report)) => self.push_stats(report, output),
            (_, Reply::Deleted { .. } | Reply::Touched | Reply::Done) => self.push_done(0, b"", output),
            (_, Reply::Value(_) | Reply::Page(_) | Reply::Report(_)) => output.extend(self.error(Status::Internal)),
        }
        Composed { failed, close: false }
    }

    /// A response without anything that was asked for, but a text.
    pub(super) fn error(&self, status: Status) -> Vec<u8> {
        let mut output = Vec::with_capacity(HEADER + status.text().len());
        self.push(&Body { status: status.code(), value: status.text().as_bytes(), ..Body::default() }, &mut output);
        output
    }

    /// A response of what needs no node.
    pub(super) fn said(&self, value: &[u8]) -> Vec<u8> {
        let mut output = Vec::with_capacity(HEADER + value.len());
        self.push(&Body { value, ..Body::default() }, &mut output);
        output
    }

    fn push_value(&self, key: &[u8], value: Value<'_>, output: &mut Vec<u8>) {
        let extras = value.flags.to_be_bytes();
        self.push(&Body { status: 0, cas: value.version.0, extras: &extras, key, value: value.bytes }, output);
    }

    /// A quiet read says nothing of what it does not find. A read that shows keys shows it even then.
    fn push_miss(&self, key: &[u8], output: &mut Vec<u8>) {
        let status = Status::NotFound;
        match self.kind {
            Kind::Read { .. } if self.quiet => {}
            Kind::Read { with_key: true, .. } => self.push(&Body { status: status.code(), key, ..Body::default() }, output),
            _ => output.extend(self.error(status)),
        }
    }

    fn push_done(&self, cas: u64, value: &[u8], output: &mut Vec<u8>) {
        if !self.quiet {
            self.push(&Body { cas, value, ..Body::default() }, output);
        }
    }

    fn push_stats(&self, report: &Report, output: &mut Vec<u8>) {
        let Report::Stats(stats) = report else { return output.extend(self.error(Status::Internal)) };
        for (name, value) in stats {
            self.push(&Body { key: name.as_bytes(), value: value.as_bytes(), ..Body::default() }, output);
        }
        self.push(&Body::default(), output);
    }

    /// What memcached never has to say has a number of its own, and our text.
    fn push_failure(&self, failure: &Failure, output: &mut Vec<u8>) {
        let status = match failure {
            Failure::NotANumber | Failure::Overflow => Status::NotANumber,
            Failure::TooLarge => Status::TooLarge,
            Failure::OutOfMemory => Status::OutOfMemory,
            Failure::Unreachable | Failure::Overloaded | Failure::Elsewhere => Status::Temporary,
            Failure::OutcomeUnknown | Failure::Undecided | Failure::Refused(_) | Failure::Forbidden => Status::Internal,
            Failure::Unauthenticated | Failure::WrongPassword => Status::AuthFailure,
            Failure::NoPassword => Status::UnknownCommand,
        };
        let is_ours = matches!(status, Status::Temporary | Status::Internal);
        let text = if is_ours { failure.text() } else { status.text() };
        self.push(&Body { status: status.code(), value: text.as_bytes(), ..Body::default() }, output);
    }

    fn push(&self, body: &Body<'_>, output: &mut Vec<u8>) {
        let Body { status, cas, extras, key, value } = *body;
        let length = u32::try_from(extras.len() + key.len() + value.len()).expect("values are limited to 512 MiB");
        let key_length = u16::try_from(key.len()).expect("keys and names are short");
        output.reserve(HEADER + length as usize);
        output.extend_from_slice(&[MAGIC, self.opcode]);
        output.extend_from_slice(&key_length.to_be_bytes());
        output.extend_from_slice(&[extras.len() as u8, 0]);
        output.extend_from_slice(&status.to_be_bytes());
        output.extend_from_slice(&length.to_be_bytes());
        output.extend_from_slice(&self.opaque.to_be_bytes());
        output.extend_from_slice(&cas.to_be_bytes());
        [extras, key, value].iter().for_each(|part| output.extend_from_slice(part));
    }
}

/// Why a write was not done, by its condition.
fn refusal_of(mode: StoreMode) -> Status {
    match mode {
        StoreMode::Add => Status::Exists,
        StoreMode::Replace => Status::NotFound,
        StoreMode::Set | StoreMode::Append | StoreMode::Prepend | StoreMode::Cas(_) => Status::NotStored,
    }
}

/// Counts of this protocol are natural numbers.
fn natural(number: Number) -> u64 {
    match number {
        Number::Natural(number) => number,
        Number::Signed(number) => number.cast_unsigned(),
        Number::Float(number) => number as u64,
    }
}
