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
//! begins no client's dialect. A message with a large value goes in several frames, its [`pieces`]. A frame over the limit, or one that is
//! not exactly one message, ends its link: a peer that cannot be understood once cannot be trusted to be in step afterwards.

mod commands;
pub mod pieces;

use std::borrow::Cow;

use self::pieces::{Header, LENGTH_BYTES, Large, PIECE};
use crate::caching::Version;
use crate::msgpack::{Malformed, Parse, Reader, Writer};
use crate::node::command::Command;
use crate::node::message::{
    Block, Change, Content, Digest, Introduction, MAX_EXTRA, MAX_KEY, Message, Outcome, Promise, Promised, Pulse, RequestId, Tag,
};
use crate::topology::membership::MAX_MEMBERS;
use crate::topology::view::{View, ViewId};

/// What a message may hold besides one key and one value, and how large one frame is at most.
const FRAME_SLACK: usize = 1 << 20;
/// A key's digest and its version.
const HOLDING_BYTES: usize = 16;
/// The largest greeting: its first byte must be 0.
pub const MAX_GREETING: usize = (1 << 24) - 1;

/// The largest message of who has not proven yet to know the pool's secret: room for a proof and the greeting right behind it.
pub const MAX_UNPROVEN: usize = FRAME_SLACK;

/// What the front of a link's input is. One lives at a time, on the stack: its size costs nothing.
#[allow(clippy::large_enum_variant)]
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
    /// A piece of a message, for [`pieces::Assembly`].
    Piece {
        /// Bytes of the input that are done with.
        consumed: usize,
        /// The piece.
        bytes: &'a [u8],
        /// The message is whole with it.
        is_last: bool,
    },
    /// The other side says how many bytes of pieces it has taken.
    Taken {
        /// Bytes of the input that are done with.
        consumed: usize,
        /// So many.
        count: usize,
    },
    /// Nothing that a peer says.
    Invalid(&'static str),
}

/// The largest message between nodes whose values are at most `max_value`, in however many pieces.
#[must_use]
pub fn max_message(max_value: usize) -> usize {
    max_value.saturating_add(FRAME_SLACK + usize::from(u16::MAX))
}

/// Takes the next frame off the front of `input`.
#[must_use]
pub fn next_frame(input: &[u8]) -> Frame<'_> {
    let Some(header) = Header::read(input) else { return Frame::Incomplete };
    let (length, most) = match header {
        Header::Whole(length) => (length, FRAME_SLACK),
        Header::Piece { length, .. } => (length, PIECE),
        Header::Taken(count) => return Frame::Taken { consumed: LENGTH_BYTES, count },
    };
    if length > most {
        return Frame::Invalid("a frame is larger than any");
    }
    let consumed = LENGTH_BYTES + length;
    let Some(body) = input.get(LENGTH_BYTES..consumed) else { return Frame::Incomplete };
    if let Header::Piece { is_last, .. } = header {
        return Frame::Piece { consumed, bytes: body, is_last };
    }
    read(body).map_or_else(Frame::Invalid, |message| Frame::Whole { consumed, message })
}

/// Reads a message that has arrived whole, or was put together.
///
/// # Errors
/// Says why it is none.
pub fn read(body: &[u8]) -> Result<Message<'_>, &'static str> {
    match parse(body) {
        Ok(message) if longest_key(&message) > MAX_KEY => Err("a frame has a key of more than 65,535 bytes, which no node takes"),
        Ok(message) => Ok(message),
        Err(Malformed) => Err("a frame is no message of this protocol"),
    }
}

/// The length of the longest key in a message: an entry has no room for more than [`MAX_KEY`], and whoever lets one in ends there.
fn longest_key(message: &Message<'_>) -> usize {
    match message {
        Message::Request { command, .. } => command.key.len(),
        Message::Mirror { change, .. } => change.key().map_or(0, <[u8]>::len),
        Message::Doubts { keys, .. } => keys.iter().map(|key| key.len()).max().unwrap_or(0),
        Message::Answer { outcome: Outcome::Page(page), .. } => page.keys.iter().map(Vec::len).max().unwrap_or(0),
        _ => 0,
    }
}

/// Writes a message, with its length, behind `output`. One that is large is not written: it is to go in pieces, which are returned.
pub fn compose(message: &Message<'_>, output: &mut Vec<u8>) -> Option<Large> {
    if message.value_len() > PIECE && !output.is_empty() {
        return compose(message, &mut Vec::new());
    }
    let start = output.len();
    output.extend_from_slice(&[0; LENGTH_BYTES]);
    Writer(output).message(message);
    let length = output.len() - start - LENGTH_BYTES;
    let block = shared_value(message);
    if block.is_none() && (length <= PIECE || !message.is_of_values()) {
        output[start..start + LENGTH_BYTES].copy_from_slice(&Header::Whole(length).bytes());
        return None;
    }
    let rest = block.map_or(0, |(_, behind)| behind);
    let behind = output.split_off(output.len() - rest);
    // A value that was copied here is not copied again.
    let before = if start == 0 { std::mem::take(output) } else { output.split_off(start) };
    Some(Large::new(before, block.map(|(block, _)| Block::clone(block)), behind))
}

/// The value of a message that is shared and not written with it, and how many bytes come behind it.
fn shared_value<'m>(message: &'m Message<'_>) -> Option<(&'m Block, usize)> {
    let Message::Mirror { change: change @ Change::Put { value, .. }, .. } = message else { return None };
    let block = value.block()?;
    let mut behind = Vec::new();
    Writer(&mut behind).behind_value(change);
    Some((block, behind.len()))
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
    pub const PREPARE: u64 = 11;
    pub const PROMISE: u64 = 12;
    pub const OUTBID: u64 = 13;
    pub const ACCEPT: u64 = 14;
    pub const ACCEPTED: u64 = 15;
    pub const COMMIT: u64 = 16;
    pub const MIRROR: u64 = 17;
    pub const MIRRORED: u64 = 18;
    pub const DOUBTS: u64 = 19;
    pub const SURVEY: u64 = 20;
    pub const HOLDINGS: u64 = 21;
    pub const CHALLENGE: u64 = 22;
    pub const PROOF: u64 = 23;
}

impl Writer<'_> {
    fn message(&mut self, message: &Message<'_>) {
        match message {
            Message::Hello(introduction) => self.array(6).number(kind::HELLO).introduction(introduction),
            Message::Welcome(introduction) => self.array(6).number(kind::WELCOME).introduction(introduction),
            Message::Refused { reason } => self.array(2).number(kind::REFUSED).text(reason),
            Message::Challenge { nonce, name } => self.array(3).number(kind::CHALLENGE).bytes(nonce).text(name),
            Message::Proof(proof) => self.array(2).number(kind::PROOF).bytes(proof),
            Message::Ping { number, pulse } => self.array(3).number(kind::PING).number(*number).pulse(pulse),
            Message::Pong { number, grant, pulse } => {
                self.array(4).number(kind::PONG).number(*number).view_id(grant.unwrap_or_default()).pulse(pulse)
            }
            Message::Request { id, view, serial, command } => {
                self.array(6).number(kind::REQUEST).number(id.0).view_id(*view).number(*serial).bytes(&command.key).action(&command.action)
            }
            Message::Answer { id, outcome } => self.array(3).number(kind::ANSWER).number(id.0).outcome(outcome),
            Message::Flush { id, delay_ms } => self.array(3).number(kind::FLUSH).number(id.0).number(*delay_ms),
            Message::Members(cards) => self.array(2).number(kind::MEMBERS).cards(cards),
            Message::Declare { name, incarnation, dead } => {
                self.array(4).number(kind::DECLARE).text(name).number(*incarnation).number(u64::from(*dead))
            }
            Message::Prepare { base, ballot } => self.array(3).number(kind::PREPARE).view_id(*base).number(*ballot),
            Message::Promise(promise) => self.array(9).number(kind::PROMISE).promise(promise),
            Message::Outbid { base, ballot } => self.array(3).number(kind::OUTBID).view_id(*base).number(*ballot),
            Message::Accept { base, ballot, view, silent } => {
                self.array(5).number(kind::ACCEPT).view_id(*base).number(*ballot).view(view).seats(silent)
            }
            Message::Accepted { base, ballot } => self.array(3).number(kind::ACCEPTED).view_id(*base).number(*ballot),
            Message::Commit(view) => self.array(2).number(kind::COMMIT).view(view),
            Message::Mirror { view, number, done, tag, change } => {
                self.array(6).number(kind::MIRROR).view_id(*view).number(*number).number(*done).tag(tag.as_ref()).change(change)
            }
            Message::Mirrored { view, number } => self.array(3).number(kind::MIRRORED).view_id(*view).number(*number),
            Message::Doubts { view, keys } => {
                self.array(3).number(kind::DOUBTS).view_id(*view).array(keys.len());
                keys.iter().fold(self, |writer, key| writer.bytes(key))
            }
            Message::Survey { view, from, to, digest } => {
                self.array(6).number(kind::SURVEY).view_id(*view).number((*from).into()).number((*to).into());
                self.number(digest.count).number(digest.sum)
            }
            Message::Holdings { view, from, to, list } => {
                self.array(5).number(kind::HOLDINGS).view_id(*view).number((*from).into()).number((*to).into()).list(list.as_deref())
            }
        };
    }

    fn view_id(&mut self, id: ViewId) -> &mut Self {
        self.array(2).number(id.lineage).number(id.epoch)
    }

    fn view(&mut self, view: &View) -> &mut Self {
        let mut bytes = Vec::new();
        view.write(&mut bytes);
        self.bytes(&bytes)
    }

    fn optional_view(&mut self, view: Option<&View>) -> &mut Self {
        match view {
            Some(view) => self.view(view),
            None => self.nil(),
        }
    }

    fn pulse(&mut self, pulse: &Pulse) -> &mut Self {
        let Pulse { life, number, view, takes_part, is_active, has_filled, leaves, parent, size, watermark, done, moves } = pulse;
        let flags = [*takes_part, *is_active, *has_filled, *leaves, *moves];
        let flags = flags.iter().enumerate().map(|(bit, flag)| u64::from(*flag) << bit).sum();
        self.array(8).number(*life).number(*number).view_id(*view).number(flags);
        self.number(*parent).number(*size).number(*watermark).number(*done)
    }

    fn seats(&mut self, seats: &[u16]) -> &mut Self {
        self.array(seats.len());
        seats.iter().fold(self, |writer, seat| writer.number((*seat).into()))
    }

    fn promise(&mut self, promise: &Promise) -> &mut Self {
        let Promise { base, ballot, promised } = promise;
        let Promised { life, accepted, is_quiet, has_filled, leaves, kept, has_survived, versions } = promised;
        let flags = [*is_quiet, *has_filled, *leaves, *has_survived].iter().enumerate().map(|(bit, flag)| u64::from(*flag) << bit).sum();
        self.view_id(*base).number(*ballot).number(*life).number(accepted.as_ref().map_or(0, |(ballot, _)| *ballot));
        self.optional_view(accepted.as_ref().map(|(_, view)| view)).number(flags).optional_view(kept.as_ref()).number((*versions).into())
    }

    fn tag(&mut self, tag: Option<&Tag<'_>>) -> &mut Self {
        match tag {
            Some(Tag { seat, serial, outcome }) => self.array(3).number((*seat).into()).number(*serial).outcome(outcome),
            None => self.array(0),
        }
    }

    fn change(&mut self, change: &Change<'_>) -> &mut Self {
        match change {
            Change::Put { key, value, .. } => self.array(7).number(0).bytes(key).content(value).behind_value(change),
            Change::Delete { key, version } => self.array(3).number(1).bytes(key).number(version.0),
            Change::Keep { key, version, ttl_ms } => self.array(4).number(2).bytes(key).number(version.0).optional_number(*ttl_ms),
            Change::Drop { from, to, digests } => {
                self.array(4).number(3).number((*from).into()).number((*to).into()).array(digests.len());
                digests.iter().fold(self, |writer, digest| writer.number(*digest))
            }
        }
    }

    /// A value; of one that is shared, what comes before its bytes.
    fn content(&mut self, content: &Content<'_>) -> &mut Self {
        match content {
            Content::Borrowed(bytes) => self.bytes(bytes),
            Content::Shared(block) => self.bytes_length(block.len()),
        }
    }

    /// What comes behind the value of a put.
    fn behind_value(&mut self, change: &Change<'_>) -> &mut Self {
        let Change::Put { flags, extra, ttl_ms, version, .. } = change else { return self };
        self.number((*flags).into()).bytes(extra).optional_number(*ttl_ms).number(version.0)
    }

    fn list(&mut self, list: Option<&[(u64, u64)]>) -> &mut Self {
        let Some(list) = list else { return self.nil() };
        let mut bytes = Vec::with_capacity(list.len() * HOLDING_BYTES);
        for (digest, version) in list {
            bytes.extend(digest.to_be_bytes());
            bytes.extend(version.to_be_bytes());
        }
        self.bytes(&bytes)
    }

    fn introduction(&mut self, introduction: &Introduction<'_>) -> &mut Self {
        self.number(introduction.protocol.into()).text(&introduction.pool).card(&introduction.me).cards(&introduction.others);
        self.number(introduction.copies.into())
    }
}

fn parse(body: &[u8]) -> Parse<Message<'_>> {
    let mut reader = Reader::new(body);
    let fields = reader.array()?;
    let message = reader.message(fields)?;
    if reader.is_at_end() { Ok(message) } else { Err(Malformed) }
}

impl<'a> Reader<'a> {
    fn message(&mut self, fields: usize) -> Parse<Message<'a>> {
        Ok(match (self.number()?, fields) {
            (kind::HELLO, 6) => Message::Hello(self.introduction()?),
            (kind::WELCOME, 6) => Message::Welcome(self.introduction()?),
            (kind::REFUSED, 2) => Message::Refused { reason: Cow::Borrowed(self.text()?) },
            (kind::CHALLENGE, 3) => {
                let nonce = self.bytes()?.try_into().map_err(|_| Malformed)?;
                Message::Challenge { nonce, name: Cow::Borrowed(self.text()?) }
            }
            (kind::PROOF, 2) => Message::Proof(self.bytes()?.try_into().map_err(|_| Malformed)?),
            (kind::PING, 3) => Message::Ping { number: self.number()?, pulse: self.pulse()? },
            (kind::PONG, 4) => {
                let (number, grant) = (self.number()?, self.view_id()?);
                Message::Pong { number, grant: (grant != ViewId::default()).then_some(grant), pulse: self.pulse()? }
            }
            (kind::REQUEST, 6) => {
                let (id, view, serial) = (RequestId(self.number()?), self.view_id()?, self.number()?);
                let key = Cow::Borrowed(self.bytes()?);
                Message::Request { id, view, serial, command: Command { key, action: self.action()? } }
            }
            (kind::ANSWER, 3) => Message::Answer { id: RequestId(self.number()?), outcome: self.outcome()? },
            (kind::FLUSH, 3) => Message::Flush { id: RequestId(self.number()?), delay_ms: self.number()? },
            (kind::MEMBERS, 2) => Message::Members(self.cards()?),
            (kind::DECLARE, 4) => {
                let name = Cow::Borrowed(self.text()?);
                Message::Declare { name, incarnation: self.number()?, dead: self.flag()? }
            }
            (kind, fields) => return self.message_of_a_mirrored_pool(kind, fields),
        })
    }

    fn message_of_a_mirrored_pool(&mut self, kind: u64, fields: usize) -> Parse<Message<'a>> {
        Ok(match (kind, fields) {
            (kind::PREPARE, 3) => Message::Prepare { base: self.view_id()?, ballot: self.number()? },
            (kind::PROMISE, 9) => Message::Promise(Box::new(self.promise()?)),
            (kind::OUTBID, 3) => Message::Outbid { base: self.view_id()?, ballot: self.number()? },
            (kind::ACCEPT, 5) => {
                let (base, ballot, view) = (self.view_id()?, self.number()?, Box::new(self.view()?));
                Message::Accept { base, ballot, view, silent: self.seats()? }
            }
            (kind::ACCEPTED, 3) => Message::Accepted { base: self.view_id()?, ballot: self.number()? },
            (kind::COMMIT, 2) => Message::Commit(Box::new(self.view()?)),
            (kind::MIRROR, 6) => {
                let (view, number, done) = (self.view_id()?, self.number()?, self.number()?);
                Message::Mirror { view, number, done, tag: self.tag()?, change: self.change()? }
            }
            (kind::MIRRORED, 3) => Message::Mirrored { view: self.view_id()?, number: self.number()? },
            (kind::DOUBTS, 3) => {
                let view = self.view_id()?;
                let keys = (0..self.array()?).map(|_| Ok(Cow::Borrowed(self.bytes()?))).collect::<Parse<_>>()?;
                Message::Doubts { view, keys }
            }
            (kind::SURVEY, 6) => {
                let (view, from, to) = (self.view_id()?, self.number_u32()?, self.number_u32()?);
                Message::Survey { view, from, to, digest: Digest { count: self.number()?, sum: self.number()? } }
            }
            (kind::HOLDINGS, 5) => {
                let (view, from, to) = (self.view_id()?, self.number_u32()?, self.number_u32()?);
                Message::Holdings { view, from, to, list: self.list()? }
            }
            _ => return Err(Malformed),
        })
    }

    fn view_id(&mut self) -> Parse<ViewId> {
        self.array_of(2)?;
        Ok(ViewId { lineage: self.number()?, epoch: self.number()? })
    }

    fn view(&mut self) -> Parse<View> {
        View::read(self.bytes()?)
    }

    fn optional_view(&mut self) -> Parse<Option<View>> {
        self.optional_bytes()?.map(|bytes| View::read(&bytes)).transpose()
    }

    fn pulse(&mut self) -> Parse<Pulse> {
        self.array_of(8)?;
        let (life, number, view, flags) = (self.number()?, self.number()?, self.view_id()?, self.number()?);
        let (parent, size, watermark, done) = (self.number()?, self.number()?, self.number()?, self.number()?);
        let [takes_part, is_active, has_filled, leaves, moves] = [0, 1, 2, 3, 4].map(|bit| flags >> bit & 1 == 1);
        Ok(Pulse { life, number, view, takes_part, is_active, has_filled, leaves, parent, size, watermark, done, moves })
    }

    fn seats(&mut self) -> Parse<Vec<u16>> {
        let count = self.array_up_to(MAX_MEMBERS)?;
        (0..count).map(|_| u16::try_from(self.number()?).map_err(|_| Malformed)).collect()
    }

    fn promise(&mut self) -> Parse<Promise> {
        let (base, ballot, life, accepted_in) = (self.view_id()?, self.number()?, self.number()?, self.number()?);
        let accepted = self.optional_view()?.map(|view| (accepted_in, view));
        let (flags, kept, versions) = (self.number()?, self.optional_view()?, self.number_u32()?);
        let [is_quiet, has_filled, leaves, has_survived] = [0, 1, 2, 3].map(|bit| flags >> bit & 1 == 1);
        Ok(Promise { base, ballot, promised: Promised { life, accepted, is_quiet, has_filled, leaves, kept, has_survived, versions } })
    }

    fn tag(&mut self) -> Parse<Option<Tag<'a>>> {
        Ok(match self.array()? {
            0 => None,
            3 => {
                let seat = u16::try_from(self.number()?).map_err(|_| Malformed)?;
                Some(Tag { seat, serial: self.number()?, outcome: self.outcome()? })
            }
            _ => return Err(Malformed),
        })
    }

    fn change(&mut self) -> Parse<Change<'a>> {
        let fields = self.array()?;
        Ok(match (self.number()?, fields) {
            (0, 7) => {
                let (key, value) = (Cow::Borrowed(self.bytes()?), Content::Borrowed(self.bytes()?));
                let (flags, extra, ttl_ms) = (self.number_u32()?, self.extra()?, self.optional_number()?);
                Change::Put { key, value, flags, extra, ttl_ms, version: Version(self.number()?) }
            }
            (1, 3) => Change::Delete { key: Cow::Borrowed(self.bytes()?), version: Version(self.number()?) },
            (2, 4) => {
                let (key, version) = (Cow::Borrowed(self.bytes()?), Version(self.number()?));
                Change::Keep { key, version, ttl_ms: self.optional_number()? }
            }
            (3, 4) => {
                let (from, to) = (self.number_u32()?, self.number_u32()?);
                let digests = (0..self.array()?).map(|_| self.number()).collect::<Parse<_>>()?;
                Change::Drop { from, to, digests }
            }
            _ => return Err(Malformed),
        })
    }

    /// What travels with a value: an entry takes no more of it than it can hold.
    fn extra(&mut self) -> Parse<Cow<'a, [u8]>> {
        let extra = self.bytes()?;
        if extra.len() <= MAX_EXTRA { Ok(Cow::Borrowed(extra)) } else { Err(Malformed) }
    }

    fn list(&mut self) -> Parse<Option<Vec<(u64, u64)>>> {
        let Some(bytes) = self.optional_bytes()? else { return Ok(None) };
        let (pairs, rest) = bytes.as_chunks::<HOLDING_BYTES>();
        let number = |half: &[u8]| half.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let list = pairs.iter().map(|pair| (number(&pair[..8]), number(&pair[8..]))).collect();
        if rest.is_empty() { Ok(Some(list)) } else { Err(Malformed) }
    }

    fn introduction(&mut self) -> Parse<Introduction<'a>> {
        let protocol = self.number_u32()?;
        let pool = Cow::Borrowed(self.text()?);
        Ok(Introduction { protocol, pool, me: self.card()?, others: self.cards()?, copies: self.number_u32()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::command::{
        Action, Claim, Count, Delta, Expiry, Guard, Number, Removal, Renewal, Scan, ScanFor, Store, StoreMode, Terms, Trace, When,
    };
    use crate::node::reply::{Failure, Page};
    use crate::prng::Prng;
    use crate::topology::membership::{Card, MAX_WEIGHT};
    use crate::topology::view::Past;

    fn samples() -> Vec<Message<'static>> {
        let card = |port: u16| Card {
            name: format!("n{port}"),
            node_id: port.to_string(),
            incarnation: 1 << 40,
            weight: 3,
            ..Card::of_address(([127, 0, 0, 1], port).into())
        };
        let introduction =
            Introduction { protocol: 1, pool: "spyder".into(), me: card(8001), others: vec![card(8002), card(8003)], copies: 2 };
        let expiries = [Expiry::Never, Expiry::InMs(5), Expiry::AtWallMs(u64::MAX)];
        let modes = [StoreMode::Set, StoreMode::Add, StoreMode::Replace, StoreMode::Append, StoreMode::Prepend, StoreMode::Cas(Version(9))];
        let terms = Box::new(Terms {
            only: Some(Guard::Value(Cow::Borrowed(b"token"))),
            seen_version: Some(Version(5)),
            stale: true,
            empties: false,
            create: Some(Expiry::InMs(9)),
            first: Number::Float(0.25),
            expiry: Some(Expiry::Never),
            pieced: true,
            media: Cow::Borrowed(b"text/plain"),
        });
        let mut actions = vec![
            Action::Get,
            Action::Look,
            Action::GetAndTouch(Expiry::InMs(1)),
            Action::Claim(Claim::default()),
            Action::Claim(Claim {
                create: Some(Expiry::Never),
                renew_below_ms: Some(0),
                touch: Some(Expiry::InMs(3)),
                seen_version: Some(Version(3)),
                trace: Trace::None,
            }),
            Action::Delete(Removal { want_old: true, terms: None }),
            Action::Delete(Removal { want_old: false, terms: Some(terms.clone()) }),
            Action::Count(Count::by(Delta::Up(u64::MAX))),
            Action::Count(Count::by(Delta::Down(0))),
            Action::Count(Count::by(Delta::Signed(i64::MIN))),
            Action::Count(Count { by: Delta::Float(-1.5), terms: Some(terms.clone()) }),
            Action::Touch(Renewal::to(Expiry::Longer(7))),
            Action::Touch(Renewal { expiry: Expiry::Keep, when: When::Sooner, terms: Some(terms) }),
            Action::Scan(Scan {
                from: u32::MAX,
                most: 10,
                prefix: Cow::Borrowed(b"p"),
                pattern: Cow::Borrowed(b"*q"),
                what: ScanFor::Removal,
            }),
        ];
        actions.extend(modes.into_iter().enumerate().map(|(index, mode)| {
            let value = Cow::Owned(vec![index as u8; index * 1_000]);
            Action::Store(Store { mode, value, flags: u32::MAX, expiry: expiries[index % 3], want_old: index % 2 == 0, terms: None })
        }));
        let failures = [
            Failure::NotANumber,
            Failure::Overflow,
            Failure::TooLarge,
            Failure::OutOfMemory,
            Failure::Unreachable,
            Failure::OutcomeUnknown,
            Failure::Overloaded,
            Failure::Elsewhere,
            Failure::Undecided,
            Failure::Refused("because".into()),
        ];
        let mut outcomes = vec![
            Outcome::Value {
                bytes: Cow::Borrowed(b"v\0\xff"),
                flags: 7,
                version: Version(u64::MAX),
                ttl_ms: None,
                media: Cow::Borrowed(b""),
                marks: 0,
                left_out: 0,
            },
            Outcome::Value {
                bytes: Cow::Borrowed(b""),
                flags: 0,
                version: Version(1),
                ttl_ms: Some(0),
                media: Cow::Borrowed(b"a/b"),
                marks: 515,
                left_out: 512 << 20,
            },
            Outcome::Page(Page { keys: vec![b"a".to_vec(), Vec::new()], count: 2, next: Some(u32::MAX) }),
            Outcome::Miss,
            Outcome::Stored { version: Version(2), old: None },
            Outcome::Stored { version: Version(2), old: Some(Cow::Borrowed(b"")) },
            Outcome::NotStored,
            Outcome::Exists,
            Outcome::Deleted { old: Some(Cow::Borrowed(b"x")) },
            Outcome::Number { number: Number::Signed(-3), version: Version(4), ttl_ms: Some(1) },
            Outcome::Touched,
            Outcome::Done,
        ];
        outcomes.extend(failures.into_iter().map(Outcome::Failed));
        let id = ViewId { lineage: 9 << 40, epoch: 7 };
        let view = View::first((9 << 40, 7), 2, &[card(8001), card(8002)], &[card(8003)], Past::Lost);
        let pulse = Pulse {
            life: 8 << 30,
            number: 9,
            view: id,
            takes_part: true,
            has_filled: true,
            size: 3,
            watermark: 4,
            done: 5,
            moves: true,
            ..Pulse::default()
        };
        let promised = Promised {
            life: 8 << 30,
            accepted: Some((4, view.clone())),
            is_quiet: true,
            has_filled: false,
            leaves: true,
            kept: Some(view.clone()),
            has_survived: true,
            versions: 6,
        };
        let promise = |promised| Message::Promise(Box::new(Promise { base: id, ballot: 5, promised }));
        let mirror = |tag, change| Message::Mirror { view: id, number: 70_000, done: 69_999, tag, change };
        let key = Cow::Borrowed(&b"key"[..]);
        let put = |extra: &'static [u8]| {
            let (value, extra) = (Content::Borrowed(b"v\0"), Cow::Borrowed(extra));
            Change::Put { key: key.clone(), value, flags: 7, extra, ttl_ms: Some(5), version: Version(8) }
        };
        let tag = Tag { seat: 2, serial: 99, outcome: Outcome::Stored { version: Version(8), old: None } };
        let mut messages = vec![
            Message::Prepare { base: ViewId::default(), ballot: 1 << 40 },
            promise(promised.clone()),
            promise(Promised { accepted: None, kept: None, ..promised }),
            Message::Outbid { base: id, ballot: 2 },
            Message::Accept { base: id, ballot: 3, view: Box::new(view.clone()), silent: vec![0, 700] },
            Message::Accepted { base: id, ballot: 3 },
            Message::Commit(Box::new(view)),
            mirror(Some(tag), put(b"")),
            mirror(None, put(&[9; MAX_EXTRA])),
            mirror(None, Change::Delete { key: key.clone(), version: Version(9) }),
            mirror(None, Change::Keep { key: key.clone(), version: Version(2), ttl_ms: None }),
            mirror(None, Change::Drop { from: 0, to: u32::MAX, digests: vec![0, u64::MAX] }),
            Message::Mirrored { view: id, number: 70_000 },
            Message::Doubts { view: id, keys: vec![key.clone(), key] },
            Message::Survey { view: id, from: 0, to: u32::MAX, digest: Digest { count: 3, sum: u64::MAX } },
            Message::Holdings { view: id, from: 0, to: 9, list: None },
            Message::Holdings { view: id, from: 0, to: 9, list: Some(vec![(u64::MAX, 1), (2, 3)]) },
            Message::Hello(introduction.clone()),
            Message::Welcome(introduction),
            Message::Refused { reason: "no".into() },
            Message::Challenge { nonce: [7; 16], name: "n".into() },
            Message::Proof([9; 32]),
            Message::Ping { number: 0, pulse },
            Message::Pong { number: u64::MAX, grant: None, pulse: Pulse::default() },
            Message::Pong { number: 3, grant: Some(id), pulse },
            Message::Flush { id: RequestId(1), delay_ms: 2 },
            Message::Members(Vec::new()),
            Message::Declare { name: "n".into(), incarnation: 1, dead: true },
        ];
        messages.extend(actions.into_iter().map(|action| Message::Request {
            id: RequestId(77),
            view: id,
            serial: 3,
            command: Command { key: Cow::Borrowed(b"key"), action },
        }));
        messages.extend(outcomes.into_iter().map(|outcome| Message::Answer { id: RequestId(5), outcome }));
        messages
    }

    #[test]
    fn every_message_comes_back_as_it_was_and_never_before_it_is_whole() {
        for message in samples() {
            let mut bytes = Vec::new();
            compose(&message, &mut bytes);
            for cut in 0..bytes.len() {
                assert_eq!(next_frame(&bytes[..cut]), Frame::Incomplete);
            }
            bytes.extend_from_slice(b"next");
            assert_eq!(next_frame(&bytes), Frame::Whole { consumed: bytes.len() - 4, message });
        }
    }

    /// What is behind the first value of MessagePack.
    fn behind_value(mut bytes: &[u8]) -> &[u8] {
        use rmp::Marker;
        let marker = rmp::decode::read_marker(&mut bytes).expect("a value is there");
        let length = |bytes: &mut &[u8], size: usize| {
            let (length, rest) = bytes.split_at(size);
            *bytes = rest;
            length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        };
        let (skipped, values) = match marker {
            Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => (0, 0),
            Marker::U8 | Marker::I8 => (1, 0),
            Marker::U16 | Marker::I16 => (2, 0),
            Marker::U32 | Marker::I32 => (4, 0),
            Marker::U64 | Marker::I64 => (8, 0),
            Marker::FixStr(length) => (length.into(), 0),
            Marker::Bin8 | Marker::Str8 => (length(&mut bytes, 1), 0),
            Marker::Bin16 | Marker::Str16 => (length(&mut bytes, 2), 0),
            Marker::Bin32 | Marker::Str32 => (length(&mut bytes, 4), 0),
            Marker::FixArray(count) => (0, count.into()),
            Marker::Array16 => (0, length(&mut bytes, 2)),
            other => panic!("{other:?} is not used"),
        };
        (0..values).fold(&bytes[skipped..], |rest, _| behind_value(rest))
    }

    #[test]
    fn every_message_is_one_array_of_messagepack() {
        for message in samples() {
            let mut bytes = Vec::new();
            compose(&message, &mut bytes);
            assert_eq!(behind_value(&bytes[LENGTH_BYTES..]), b"", "{message:?}");
        }
    }

    #[test]
    fn a_large_value_goes_in_pieces_and_what_it_was_said_with_comes_with_it() {
        let command = Command { key: Cow::Borrowed(b"key"), action: Action::Store(Store::of(vec![7; 5 * PIECE])) };
        let message = Message::Request { id: RequestId(1), view: ViewId::default(), serial: 2, command };
        assert_eq!(read(&put_together(&message)), Ok(message));
    }

    #[test]
    fn a_shared_value_arrives_as_if_it_had_been_copied() {
        let (key, value, extra) = (Cow::Borrowed(&b"k"[..]), Content::Shared(vec![7; 3 * PIECE].into()), Cow::Borrowed(&b"x"[..]));
        let change = Change::Put { key, value, flags: 9, extra, ttl_ms: Some(8), version: Version(1) };
        let message = Message::Mirror { view: ViewId::default(), number: 1, done: 0, tag: None, change };
        assert_eq!(read(&put_together(&message)), Ok(message));
    }

    /// What arrives of a message that goes in pieces.
    fn put_together(message: &Message<'_>) -> Vec<u8> {
        let (mut before, mut assembly) = (b"frame".to_vec(), pieces::Assembly::default());
        let mut large = compose(message, &mut before).expect("it is large");
        assert_eq!(before, b"frame");
        loop {
            let mut output = Vec::new();
            large.cut(&mut output);
            let Frame::Piece { consumed, bytes, is_last } = next_frame(&output) else { panic!("it is a piece") };
            assert_eq!((next_frame(&output[..consumed - 1]), output.len()), (Frame::Incomplete, consumed));
            if let Some(pieces::Assembled::Whole(whole)) = assembly.take(bytes, is_last, max_message(5 * PIECE)) {
                return whole;
            }
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
        assert!(matches!(next_frame(&[0xff, 0xff, 0xff, 0xff]), Frame::Invalid(_)));
        assert!(matches!(next_frame(&((FRAME_SLACK + 1) as u32).to_be_bytes()), Frame::Invalid(_)));
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
                let _ = next_frame(&bytes);
            }
            let mut longer = whole.clone();
            longer.push(0);
            longer[..LENGTH_BYTES].copy_from_slice(&((whole.len() - LENGTH_BYTES + 1) as u32).to_be_bytes());
            assert!(matches!(next_frame(&longer), Frame::Invalid(_)), "bytes behind a message");
        }
    }

    #[test]
    fn an_extra_that_no_entry_can_hold_is_refused() {
        let (key, value, extra) = (Cow::Borrowed(&b"k"[..]), Content::Borrowed(b"v"), Cow::Owned(vec![0; MAX_EXTRA + 1]));
        let change = Change::Put { key, value, flags: 0, extra, ttl_ms: None, version: Version(1) };
        let mut bytes = Vec::new();
        compose(&Message::Mirror { view: ViewId::default(), number: 1, done: 0, tag: None, change }, &mut bytes);
        assert!(matches!(next_frame(&bytes), Frame::Invalid(_)));
    }

    #[test]
    fn a_key_that_no_entry_can_hold_is_refused_wherever_it_stands() {
        let messages = |length: usize| {
            let key: Cow<'static, [u8]> = Cow::Owned(vec![b'k'; length]);
            let put = Change::Put {
                key: key.clone(),
                value: Content::Borrowed(b"v"),
                flags: 0,
                extra: Cow::Borrowed(b""),
                ttl_ms: None,
                version: Version(1),
            };
            let change = |change| Message::Mirror { view: ViewId::default(), number: 1, done: 0, tag: None, change };
            let command = Command { key: key.clone(), action: Action::Get };
            let page = Page { keys: vec![Vec::new(), key.to_vec()], count: 2, next: None };
            [
                change(put),
                change(Change::Delete { key: key.clone(), version: Version(1) }),
                change(Change::Keep { key: key.clone(), version: Version(1), ttl_ms: None }),
                Message::Request { id: RequestId(1), view: ViewId::default(), serial: 0, command },
                Message::Doubts { view: ViewId::default(), keys: vec![key] },
                Message::Answer { id: RequestId(1), outcome: Outcome::Page(page) },
            ]
        };
        for (length, is_taken) in [(MAX_KEY, true), (MAX_KEY + 1, false)] {
            for message in messages(length) {
                match read(&put_together(&message)) {
                    Ok(_) => assert!(is_taken, "{length}"),
                    Err(why) => assert!(!is_taken && why.contains("key"), "{length}: {why}"),
                }
            }
        }
    }

    #[test]
    fn a_weight_that_would_upset_the_ring_is_refused() {
        let mut bytes = Vec::new();
        compose(&Message::Members(vec![Card { weight: MAX_WEIGHT + 1, ..Card::of_address(([127, 0, 0, 1], 1).into()) }]), &mut bytes);
        assert!(matches!(next_frame(&bytes), Frame::Invalid(_)));
    }
}
