//! The peer channel: what nodes say to each other, as bytes.
//!
//! ```text
//!   ┌──────────────┬───────────────────────────────────────────┐
//!   │ length (u32, │ msgpack array: [kind, field, field, ...]  │
//!   │ big endian)  │                                           │
//!   └──────────────┴───────────────────────────────────────────┘
//! ```
//!
//! The length counts the array. It is below 2^24 on a first frame (a greeting), so the first byte of a peer's connection is 0, which
//! begins no client's dialect. A frame over the limit, or one that is not exactly one message, ends its link: a peer that cannot be
//! understood once cannot be trusted to be in step afterwards.

use std::borrow::Cow;
use std::net::SocketAddr;

use rmp::decode::bytes::{Bytes, BytesReadError};
use rmp::{Marker, decode, encode};

use crate::caching::Version;
use crate::node::command::{Action, Command, Expiry, Store, StoreMode};
use crate::node::message::{Introduction, Message, Outcome, RequestId};
use crate::node::reply::Failure;
use crate::topology::membership::{Card, MAX_MEMBERS, MAX_WEIGHT};

/// Bytes of the length before a frame.
const LENGTH_BYTES: usize = 4;
/// What a frame may hold besides one key and one value.
const FRAME_SLACK: usize = 64 << 10;
/// The largest greeting: its first byte must be 0.
pub const MAX_GREETING: usize = (1 << 24) - 1;
/// Most members in one message.
const MAX_CARDS: usize = MAX_MEMBERS;

/// What the front of a link's input is.
#[derive(Debug, PartialEq)]
pub enum Frame<'a> {
    /// Not whole yet.
    Incomplete,
    /// A message, and how many bytes it took.
    Whole {
        /// Bytes of the input that are done with.
        consumed: usize,
        /// What was said.
        message: Message<'a>,
    },
    /// Nothing that a peer says.
    Invalid(&'static str),
}

/// The largest frame between nodes whose values are at most `max_value`.
#[must_use]
pub fn max_frame(max_value: usize) -> usize {
    max_value.saturating_add(FRAME_SLACK + usize::from(u16::MAX))
}

/// Takes the next message off the front of `input`.
#[must_use]
pub fn next_frame(input: &[u8], max_frame: usize) -> Frame<'_> {
    let Some((length, rest)) = input.split_first_chunk::<LENGTH_BYTES>() else { return Frame::Incomplete };
    let length = u32::from_be_bytes(*length) as usize;
    if length > max_frame {
        return Frame::Invalid("a frame is larger than any message");
    }
    let Some(body) = rest.get(..length) else { return Frame::Incomplete };
    match parse(body) {
        Ok(message) => Frame::Whole { consumed: LENGTH_BYTES + length, message },
        Err(Malformed) => Frame::Invalid("a frame is no message of this protocol"),
    }
}

/// Writes a message, with its length, behind `output`.
pub fn compose(message: &Message<'_>, output: &mut Vec<u8>) {
    let start = output.len();
    output.extend_from_slice(&[0; LENGTH_BYTES]);
    Writer(output).message(message);
    let length = u32::try_from(output.len() - start - LENGTH_BYTES).expect("values are limited to 512 MiB");
    output[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// The first field of every message.
mod kind {
    pub const HELLO: u64 = 1;
    pub const WELCOME: u64 = 2;
    pub const REFUSED: u64 = 3;
    pub const PING: u64 = 4;
    pub const PONG: u64 = 5;
    pub const REQUEST: u64 = 6;
    pub const ANSWER: u64 = 7;
    pub const FLUSH: u64 = 8;
    pub const MEMBERS: u64 = 9;
    pub const DECLARE: u64 = 10;
}

/// Writes fields. Writing into a vector cannot fail, so the results are `expect`ed.
struct Writer<'o>(&'o mut Vec<u8>);

const INFALLIBLE: &str = "a vector takes every byte";

impl Writer<'_> {
    fn message(&mut self, message: &Message<'_>) {
        match message {
            Message::Hello(introduction) => self.array(5).number(kind::HELLO).introduction(introduction),
            Message::Welcome(introduction) => self.array(5).number(kind::WELCOME).introduction(introduction),
            Message::Refused { reason } => self.array(2).number(kind::REFUSED).text(reason),
            Message::Ping { number } => self.array(2).number(kind::PING).number(*number),
            Message::Pong { number } => self.array(2).number(kind::PONG).number(*number),
            Message::Request { id, command } => {
                self.array(4).number(kind::REQUEST).number(id.0).bytes(&command.key).action(&command.action)
            }
            Message::Answer { id, outcome } => self.array(3).number(kind::ANSWER).number(id.0).outcome(outcome),
            Message::Flush { id, delay_ms } => self.array(3).number(kind::FLUSH).number(id.0).number(*delay_ms),
            Message::Members(cards) => self.array(2).number(kind::MEMBERS).cards(cards),
            Message::Declare { name, incarnation, dead } => {
                self.array(4).number(kind::DECLARE).text(name).number(*incarnation).number(u64::from(*dead))
            }
        };
    }

    fn introduction(&mut self, introduction: &Introduction<'_>) -> &mut Self {
        self.number(introduction.protocol.into()).text(&introduction.pool).card(&introduction.me).cards(&introduction.others)
    }

    fn cards(&mut self, cards: &[Card]) -> &mut Self {
        self.array(cards.len());
        for card in cards {
            self.card(card);
        }
        self
    }

    fn card(&mut self, card: &Card) -> &mut Self {
        let Card { name, node_id, address, weight, incarnation } = card;
        self.array(5).text(name).text(node_id).text(&address.to_string()).number((*weight).into()).number(*incarnation)
    }

    fn action(&mut self, action: &Action<'_>) -> &mut Self {
        match action {
            Action::Get => self.array(1).number(0),
            Action::GetAndTouch(expiry) => self.array(3).number(1).expiry(*expiry),
            Action::Store(store) => {
                let (mode, version) = match store.mode {
                    StoreMode::Set => (0, 0),
                    StoreMode::Add => (1, 0),
                    StoreMode::Replace => (2, 0),
                    StoreMode::Append => (3, 0),
                    StoreMode::Prepend => (4, 0),
                    StoreMode::Cas(version) => (5, version.0),
                };
                self.array(8).number(2).number(mode).number(version).bytes(&store.value).number(store.flags.into());
                self.expiry(store.expiry).number(store.want_old.into())
            }
            Action::Delete { want_old } => self.array(2).number(3).number((*want_old).into()),
            Action::Increment(delta) => self.array(2).number(4).number(*delta),
            Action::Decrement(delta) => self.array(2).number(5).number(*delta),
            Action::Touch(expiry) => self.array(3).number(6).expiry(*expiry),
        }
    }

    fn expiry(&mut self, expiry: Expiry) -> &mut Self {
        match expiry {
            Expiry::Never => self.number(0).number(0),
            Expiry::InMs(ms) => self.number(1).number(ms),
            Expiry::AtWallMs(ms) => self.number(2).number(ms),
        }
    }

    fn outcome(&mut self, outcome: &Outcome<'_>) -> &mut Self {
        match outcome {
            Outcome::Value { bytes, flags, version, ttl_ms } => {
                self.array(5).number(0).bytes(bytes).number((*flags).into()).number(version.0).optional_number(*ttl_ms)
            }
            Outcome::Miss => self.array(1).number(1),
            Outcome::Stored { version, old } => self.array(3).number(2).number(version.0).optional_bytes(old.as_deref()),
            Outcome::NotStored => self.array(1).number(3),
            Outcome::Exists => self.array(1).number(4),
            Outcome::Deleted { old } => self.array(2).number(5).optional_bytes(old.as_deref()),
            Outcome::Number { number, version } => self.array(3).number(6).number(*number).number(version.0),
            Outcome::Touched => self.array(1).number(7),
            Outcome::Done => self.array(1).number(8),
            Outcome::Failed(failure) => self.array(3).number(9).failure(failure),
        }
    }

    fn failure(&mut self, failure: &Failure) -> &mut Self {
        let (code, why) = match failure {
            Failure::NotANumber => (0, ""),
            Failure::TooLarge => (1, ""),
            Failure::OutOfMemory => (2, ""),
            Failure::Unreachable => (3, ""),
            Failure::OutcomeUnknown => (4, ""),
            Failure::Overloaded => (5, ""),
            Failure::Refused(why) => (6, why.as_str()),
        };
        self.number(code).text(why)
    }

    fn array(&mut self, length: usize) -> &mut Self {
        let length = u32::try_from(length).expect("lists are limited far below 2^32");
        encode::write_array_len(self.0, length).expect(INFALLIBLE);
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        encode::write_uint(self.0, number).expect(INFALLIBLE);
        self
    }

    fn optional_number(&mut self, number: Option<u64>) -> &mut Self {
        match number {
            Some(number) => self.number(number),
            None => self.nil(),
        }
    }

    fn text(&mut self, text: &str) -> &mut Self {
        encode::write_str(self.0, text).expect(INFALLIBLE);
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        encode::write_bin(self.0, bytes).expect(INFALLIBLE);
        self
    }

    fn optional_bytes(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self.nil(),
        }
    }

    fn nil(&mut self) -> &mut Self {
        encode::write_nil(self.0).expect(INFALLIBLE);
        self
    }
}

/// The bytes are no message. What is wrong with them matters to nobody: the link ends.
struct Malformed;

impl<E> From<decode::ValueReadError<E>> for Malformed
where
    E: decode::RmpReadErr,
{
    fn from(_: decode::ValueReadError<E>) -> Malformed {
        Malformed
    }
}

impl From<decode::NumValueReadError<BytesReadError>> for Malformed {
    fn from(_: decode::NumValueReadError<BytesReadError>) -> Malformed {
        Malformed
    }
}

type Parse<T> = Result<T, Malformed>;

fn parse(body: &[u8]) -> Parse<Message<'_>> {
    let mut reader = Reader { rest: Bytes::new(body) };
    let fields = reader.array()?;
    let message = reader.message(fields)?;
    if reader.rest.remaining_slice().is_empty() { Ok(message) } else { Err(Malformed) }
}

/// Reads fields. Bytes and texts are borrowed from the input, and their lengths are checked against what is there before use.
struct Reader<'a> {
    rest: Bytes<'a>,
}

impl<'a> Reader<'a> {
    fn message(&mut self, fields: usize) -> Parse<Message<'a>> {
        Ok(match (self.number()?, fields) {
            (kind::HELLO, 5) => Message::Hello(self.introduction()?),
            (kind::WELCOME, 5) => Message::Welcome(self.introduction()?),
            (kind::REFUSED, 2) => Message::Refused { reason: Cow::Borrowed(self.text()?) },
            (kind::PING, 2) => Message::Ping { number: self.number()? },
            (kind::PONG, 2) => Message::Pong { number: self.number()? },
            (kind::REQUEST, 4) => {
                let id = RequestId(self.number()?);
                let key = Cow::Borrowed(self.bytes()?);
                Message::Request { id, command: Command { key, action: self.action()? } }
            }
            (kind::ANSWER, 3) => Message::Answer { id: RequestId(self.number()?), outcome: self.outcome()? },
            (kind::FLUSH, 3) => Message::Flush { id: RequestId(self.number()?), delay_ms: self.number()? },
            (kind::MEMBERS, 2) => Message::Members(self.cards()?),
            (kind::DECLARE, 4) => {
                let name = Cow::Borrowed(self.text()?);
                Message::Declare { name, incarnation: self.number()?, dead: self.flag()? }
            }
            _ => return Err(Malformed),
        })
    }

    fn introduction(&mut self) -> Parse<Introduction<'a>> {
        let protocol = self.number_u32()?;
        let pool = Cow::Borrowed(self.text()?);
        Ok(Introduction { protocol, pool, me: self.card()?, others: self.cards()? })
    }

    fn cards(&mut self) -> Parse<Vec<Card>> {
        let count = self.array()?;
        if count > MAX_CARDS {
            return Err(Malformed);
        }
        (0..count).map(|_| self.card()).collect()
    }

    fn card(&mut self) -> Parse<Card> {
        self.array_of(5)?;
        let name = self.text()?.to_string();
        let node_id = self.text()?.to_string();
        let address: SocketAddr = self.text()?.parse().map_err(|_| Malformed)?;
        let weight = self.number_u32()?;
        if weight > MAX_WEIGHT {
            return Err(Malformed);
        }
        Ok(Card { name, node_id, address, weight, incarnation: self.number()? })
    }

    fn action(&mut self) -> Parse<Action<'a>> {
        let fields = self.array()?;
        Ok(match (self.number()?, fields) {
            (0, 1) => Action::Get,
            (1, 3) => Action::GetAndTouch(self.expiry()?),
            (2, 8) => Action::Store(self.store()?),
            (3, 2) => Action::Delete { want_old: self.flag()? },
            (4, 2) => Action::Increment(self.number()?),
            (5, 2) => Action::Decrement(self.number()?),
            (6, 3) => Action::Touch(self.expiry()?),
            _ => return Err(Malformed),
        })
    }

    fn store(&mut self) -> Parse<Store<'a>> {
        let (mode, version) = (self.number()?, Version(self.number()?));
        let mode = match mode {
            0 => StoreMode::Set,
            1 => StoreMode::Add,
            2 => StoreMode::Replace,
            3 => StoreMode::Append,
            4 => StoreMode::Prepend,
            5 => StoreMode::Cas(version),
            _ => return Err(Malformed),
        };
        let value = Cow::Borrowed(self.bytes()?);
        Ok(Store { mode, value, flags: self.number_u32()?, expiry: self.expiry()?, want_old: self.flag()? })
    }

    fn expiry(&mut self) -> Parse<Expiry> {
        Ok(match (self.number()?, self.number()?) {
            (0, _) => Expiry::Never,
            (1, ms) => Expiry::InMs(ms),
            (2, ms) => Expiry::AtWallMs(ms),
            _ => return Err(Malformed),
        })
    }

    fn outcome(&mut self) -> Parse<Outcome<'a>> {
        let fields = self.array()?;
        Ok(match (self.number()?, fields) {
            (0, 5) => {
                let bytes = Cow::Borrowed(self.bytes()?);
                let (flags, version) = (self.number_u32()?, Version(self.number()?));
                Outcome::Value { bytes, flags, version, ttl_ms: self.optional_number()? }
            }
            (1, 1) => Outcome::Miss,
            (2, 3) => Outcome::Stored { version: Version(self.number()?), old: self.optional_bytes()? },
            (3, 1) => Outcome::NotStored,
            (4, 1) => Outcome::Exists,
            (5, 2) => Outcome::Deleted { old: self.optional_bytes()? },
            (6, 3) => Outcome::Number { number: self.number()?, version: Version(self.number()?) },
            (7, 1) => Outcome::Touched,
            (8, 1) => Outcome::Done,
            (9, 3) => Outcome::Failed(self.failure()?),
            _ => return Err(Malformed),
        })
    }

    fn failure(&mut self) -> Parse<Failure> {
        Ok(match (self.number()?, self.text()?) {
            (0, _) => Failure::NotANumber,
            (1, _) => Failure::TooLarge,
            (2, _) => Failure::OutOfMemory,
            (3, _) => Failure::Unreachable,
            (4, _) => Failure::OutcomeUnknown,
            (5, _) => Failure::Overloaded,
            (6, why) => Failure::Refused(why.to_string()),
            _ => return Err(Malformed),
        })
    }

    fn array(&mut self) -> Parse<usize> {
        Ok(decode::read_array_len(&mut self.rest)? as usize)
    }

    fn array_of(&mut self, fields: usize) -> Parse<()> {
        if self.array()? == fields { Ok(()) } else { Err(Malformed) }
    }

    fn number(&mut self) -> Parse<u64> {
        Ok(decode::read_int(&mut self.rest)?)
    }

    fn number_u32(&mut self) -> Parse<u32> {
        u32::try_from(self.number()?).map_err(|_| Malformed)
    }

    fn flag(&mut self) -> Parse<bool> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    fn text(&mut self) -> Parse<&'a str> {
        let length = decode::read_str_len(&mut self.rest)? as usize;
        std::str::from_utf8(self.take(length)?).map_err(|_| Malformed)
    }

    fn bytes(&mut self) -> Parse<&'a [u8]> {
        let length = decode::read_bin_len(&mut self.rest)? as usize;
        self.take(length)
    }

    fn optional_bytes(&mut self) -> Parse<Option<Cow<'a, [u8]>>> {
        if self.skip_nil() { Ok(None) } else { Ok(Some(Cow::Borrowed(self.bytes()?))) }
    }

    fn optional_number(&mut self) -> Parse<Option<u64>> {
        if self.skip_nil() { Ok(None) } else { Ok(Some(self.number()?)) }
    }

    fn skip_nil(&mut self) -> bool {
        let rest = self.rest.remaining_slice();
        let nil = rest.first() == Some(&Marker::Null.to_u8());
        if nil {
            self.rest = Bytes::new(&rest[1..]);
        }
        nil
    }

    fn take(&mut self, length: usize) -> Parse<&'a [u8]> {
        let (taken, rest) = self.rest.remaining_slice().split_at_checked(length).ok_or(Malformed)?;
        self.rest = Bytes::new(rest);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    const MAX: usize = 1 << 20;

    fn samples() -> Vec<Message<'static>> {
        let card = |port: u16| Card {
            name: format!("n{port}"),
            node_id: port.to_string(),
            incarnation: 1 << 40,
            weight: 3,
            ..Card::of_address(([127, 0, 0, 1], port).into())
        };
        let introduction = Introduction { protocol: 1, pool: "spyder".into(), me: card(8001), others: vec![card(8002), card(8003)] };
        let expiries = [Expiry::Never, Expiry::InMs(5), Expiry::AtWallMs(u64::MAX)];
        let modes = [StoreMode::Set, StoreMode::Add, StoreMode::Replace, StoreMode::Append, StoreMode::Prepend, StoreMode::Cas(Version(9))];
        let mut actions = vec![
            Action::Get,
            Action::GetAndTouch(Expiry::InMs(1)),
            Action::Delete { want_old: true },
            Action::Increment(u64::MAX),
            Action::Decrement(0),
            Action::Touch(Expiry::Never),
        ];
        actions.extend(modes.into_iter().enumerate().map(|(index, mode)| {
            let value = Cow::Owned(vec![index as u8; index * 1_000]);
            Action::Store(Store { mode, value, flags: u32::MAX, expiry: expiries[index % 3], want_old: index % 2 == 0 })
        }));
        let failures = [
            Failure::NotANumber,
            Failure::TooLarge,
            Failure::OutOfMemory,
            Failure::Unreachable,
            Failure::OutcomeUnknown,
            Failure::Overloaded,
            Failure::Refused("because".into()),
        ];
        let mut outcomes = vec![
            Outcome::Value { bytes: Cow::Borrowed(b"v\0\xff"), flags: 7, version: Version(u64::MAX), ttl_ms: None },
            Outcome::Value { bytes: Cow::Borrowed(b""), flags: 0, version: Version(1), ttl_ms: Some(0) },
            Outcome::Miss,
            Outcome::Stored { version: Version(2), old: None },
            Outcome::Stored { version: Version(2), old: Some(Cow::Borrowed(b"")) },
            Outcome::NotStored,
            Outcome::Exists,
            Outcome::Deleted { old: Some(Cow::Borrowed(b"x")) },
            Outcome::Number { number: 3, version: Version(4) },
            Outcome::Touched,
            Outcome::Done,
        ];
        outcomes.extend(failures.into_iter().map(Outcome::Failed));
        let mut messages = vec![
            Message::Hello(introduction.clone()),
            Message::Welcome(introduction),
            Message::Refused { reason: "no".into() },
            Message::Ping { number: 0 },
            Message::Pong { number: u64::MAX },
            Message::Flush { id: RequestId(1), delay_ms: 2 },
            Message::Members(Vec::new()),
            Message::Declare { name: "n".into(), incarnation: 1, dead: true },
        ];
        messages.extend(
            actions
                .into_iter()
                .map(|action| Message::Request { id: RequestId(77), command: Command { key: Cow::Borrowed(b"key"), action } }),
        );
        messages.extend(outcomes.into_iter().map(|outcome| Message::Answer { id: RequestId(5), outcome }));
        messages
    }

    #[test]
    fn every_message_comes_back_as_it_was_and_never_before_it_is_whole() {
        for message in samples() {
            let mut bytes = Vec::new();
            compose(&message, &mut bytes);
            for cut in 0..bytes.len() {
                assert_eq!(next_frame(&bytes[..cut], MAX), Frame::Incomplete);
            }
            bytes.extend_from_slice(b"next");
            assert_eq!(next_frame(&bytes, MAX), Frame::Whole { consumed: bytes.len() - 4, message });
        }
    }

    #[test]
    fn a_greeting_begins_with_a_zero_byte() {
        let mut bytes = Vec::new();
        compose(&samples()[0], &mut bytes);
        assert_eq!(bytes[0], 0);
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_anything_is_kept_for_it() {
        assert!(matches!(next_frame(&[0xff, 0xff, 0xff, 0xff], MAX), Frame::Invalid(_)));
        assert!(matches!(next_frame(&((MAX + 1) as u32).to_be_bytes(), MAX), Frame::Invalid(_)));
    }

    #[test]
    fn damaged_frames_are_refused_and_never_crash() {
        let mut prng = Prng::new(5);
        for message in samples() {
            let mut whole = Vec::new();
            compose(&message, &mut whole);
            for _ in 0..200 {
                let mut bytes = whole.clone();
                let at = LENGTH_BYTES + prng.below((bytes.len() - LENGTH_BYTES) as u64) as usize;
                bytes[at] = prng.next_u64() as u8;
                let _ = next_frame(&bytes, MAX);
            }
            let mut longer = whole.clone();
            longer.push(0);
            longer[..LENGTH_BYTES].copy_from_slice(&((whole.len() - LENGTH_BYTES + 1) as u32).to_be_bytes());
            assert!(matches!(next_frame(&longer, MAX), Frame::Invalid(_)), "bytes behind a message");
        }
    }

    #[test]
    fn a_weight_that_would_upset_the_ring_is_refused() {
        let mut bytes = Vec::new();
        compose(&Message::Members(vec![Card { weight: MAX_WEIGHT + 1, ..Card::of_address(([127, 0, 0, 1], 1).into()) }]), &mut bytes);
        assert!(matches!(next_frame(&bytes, MAX), Frame::Invalid(_)));
    }
}
