//! Bits of a value: `GETBIT`, `BITCOUNT`, `BITPOS`, and what `BITOP` does to several values.
//!
//! The first bit is the highest of the first byte. A value is followed by zeros without end.

use std::borrow::Cow;

use super::commands::{Call, Handled, Refusal, Step, refuse};
use super::patching::bit_offset;
use super::session::Session;
use super::steps::{Next, Plan};
use super::strings::{integer, syntax};
use crate::communication::protocol::Told;
use crate::node::command::{Action, Command};

/// A part of a value, by its first and last place, of bytes or of bits; below 0 counts from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: i64,
    last: i64,
    in_bits: bool,
    /// The last place was said, and did not follow from the value.
    has_end: bool,
}

const WHOLE: Span = Span { first: 0, last: -1, in_bits: false, has_end: false };

impl Span {
    /// The places of the first bit and behind the last one, in a value of so many bytes; none if they are the wrong way round.
    fn bits(self, bytes: usize) -> Option<(usize, usize)> {
        let total = (bytes * if self.in_bits { 8 } else { 1 }) as i64;
        if self.first < 0 && self.last < 0 && self.first > self.last {
            return None;
        }
        let place = |place: i64| if place < 0 { place.saturating_add(total).max(0) } else { place };
        let (first, last) = (place(self.first), place(self.last).min(total - 1));
        let unit = if self.in_bits { 1 } else { 8 };
        (first <= last).then(|| (first as usize * unit, (last as usize + 1) * unit))
    }
}

/// What is wanted of a value's bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bits {
    /// The one at this place.
    At(u32),
    /// How many are set.
    Count(Span),
    /// Where the first one is that is so.
    First(bool, Span),
}

impl Plan for Bits {
    fn next(&mut self, told: Told) -> Next {
        match told {
            Told::Value(kept) => Next::number(self.of(&kept.bytes)),
            Told::Nothing => Next::number(self.of(b"")),
            Told::Failed(why) => Next::Say(Cow::Owned(why)),
            Told::Done(_) | Told::Refused => Next::confused(),
        }
    }

    fn held(&self) -> usize {
        0
    }
}

impl Bits {
    fn of_key<'a>(self, session: &Session, key: &[u8]) -> Handled<'a> {
        let key = Cow::Owned(session.owned_key(session.database, key)?);
        Ok(Step::Course(Command { key, action: Action::Get }, Box::new(self)))
    }

    /// The answer, of this value; a missing one has no bytes.
    fn of(self, value: &[u8]) -> i64 {
        match self {
            Bits::At(place) => i64::from(bit(value, place as usize)),
            Bits::Count(span) => span.bits(value.len()).map_or(0, |(from, to)| count(value, from, to)),
            Bits::First(is_set, span) => first(value, is_set, span),
        }
    }
}

fn bit(value: &[u8], place: usize) -> bool {
    value.get(place / 8).is_some_and(|byte| byte & 0x80 >> (place % 8) != 0)
}

fn count(value: &[u8], from: usize, to: usize) -> i64 {
    let ragged = |from: usize, to: usize| (from..to).filter(|place| bit(value, *place)).count();
    let (whole_from, whole_to) = (from.next_multiple_of(8).min(to), (to / 8 * 8).max(from));
    if whole_from >= whole_to {
        return ragged(from, to) as i64;
    }
    let whole: u32 = value[whole_from / 8..whole_to / 8].iter().map(|byte| byte.count_ones()).sum();
    (ragged(from, whole_from) + ragged(whole_to, to)) as i64 + i64::from(whole)
}

fn first(value: &[u8], is_set: bool, span: Span) -> i64 {
    if value.is_empty() {
        return if is_set { -1 } else { 0 };
    }
    let Some((from, to)) = span.bits(value.len()) else { return -1 };
    let skipped = if is_set { 0 } else { 0xff };
    let mut place = from;
    while place < to {
        if place.is_multiple_of(8) && to - place >= 8 && value[place / 8] == skipped {
            place += 8;
        } else if bit(value, place) == is_set {
            return place as i64;
        } else {
            place += 1;
        }
    }
    // Behind the value all bits are clear, but who has said an end wants none from there.
    if is_set || span.has_end { -1 } else { to as i64 }
}

/// Makes a bit, which the value has, so; tells how it was.
pub(super) fn replace(value: &mut [u8], place: u64, on: bool) -> bool {
    let byte = &mut value[(place / 8) as usize];
    let mask = 0x80 >> (place % 8);
    let was = *byte & mask != 0;
    *byte = if on { *byte | mask } else { *byte & !mask };
    was
}

/// How `BITOP` joins values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BitOperation {
    And,
    Or,
    Xor,
    Not,
}

impl BitOperation {
    pub(super) fn of(word: &[u8]) -> Option<BitOperation> {
        Some(match &word.to_ascii_uppercase()[..] {
            b"AND" => BitOperation::And,
            b"OR" => BitOperation::Or,
            b"XOR" => BitOperation::Xor,
            b"NOT" => BitOperation::Not,
            _ => return None,
        })
    }

    /// What was joined so far, joined with one more value; the shorter of them is followed by zeros.
    pub(super) fn join(self, joined: Option<Vec<u8>>, mut value: Vec<u8>) -> Vec<u8> {
        let Some(mut joined) = joined else {
            if self == BitOperation::Not {
                value.iter_mut().for_each(|byte| *byte = !*byte);
            }
            return value;
        };
        let length = joined.len().max(value.len());
        joined.resize(length, 0);
        value.resize(length, 0);
        for (byte, other) in joined.iter_mut().zip(value) {
            match self {
                BitOperation::And => *byte &= other,
                BitOperation::Or => *byte |= other,
                BitOperation::Xor => *byte ^= other,
                BitOperation::Not => {}
            }
        }
        joined
    }
}

/// `GETBIT k offset`
pub(super) fn getbit<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key, place] = call.words()?;
    Bits::At(bit_offset(place)?).of_key(session, key)
}

/// `BITCOUNT k [first last [BYTE | BIT]]`
pub(super) fn bitcount<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key] = call.words()?;
    if call.args.len() == 2 {
        return Err(syntax());
    }
    Bits::Count(span(call, 1)?).of_key(session, key)
}

/// `BITPOS k 0|1 [first [last [BYTE | BIT]]]`
pub(super) fn bitpos<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key, bit] = call.words()?;
    let is_set = match integer(bit)? {
        0 => false,
        1 => true,
        _ => return Err(refuse("ERR The bit argument must be 1 or 0.")),
    };
    Bits::First(is_set, span(call, 2)?).of_key(session, key)
}

/// The span that is said behind so many words.
fn span(call: &Call<'_>, words: usize) -> Result<Span, Refusal> {
    let mut rest = call.behind(words);
    let first = rest.next().map(integer).transpose()?;
    let last = rest.next().map(integer).transpose()?;
    let in_bits = match rest.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"BYTE") => false,
        Some(word) if word.eq_ignore_ascii_case(b"BIT") => true,
        Some(_) => return Err(syntax()),
    };
    if rest.next().is_some() {
        return Err(syntax());
    }
    Ok(Span { first: first.unwrap_or(WHOLE.first), last: last.unwrap_or(WHOLE.last), in_bits, has_end: last.is_some() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span_of(first: i64, last: i64, in_bits: bool) -> Span {
        Span { first, last, in_bits, has_end: true }
    }

    #[test]
    fn bits_are_counted_from_the_highest_of_the_first_byte() {
        let places: Vec<usize> = (0..24).filter(|place| bit(b"\x80\x01", *place)).collect();
        assert_eq!(places, [0, 15]);
        let mut value = b"\0\0".to_vec();
        assert!(!replace(&mut value, 9, true) && replace(&mut value, 9, true));
        assert_eq!(value, b"\0\x40");
    }

    /// The counts and the places are those of Redis 7's documentation and of its own tests.
    #[test]
    fn a_span_is_of_bytes_or_of_bits_and_may_count_from_the_end() {
        for (span, counted) in [
            (WHOLE, 26),
            (span_of(0, 0, false), 4),
            (span_of(1, 1, false), 6),
            (span_of(1, 1, true), 1),
            (span_of(5, 30, true), 17),
            (span_of(-2, -1, false), 7),
            (span_of(-1, -2, false), 0),
            (span_of(4, 9, false), 7),
            (span_of(9, 12, false), 0),
            (span_of(i64::MIN, i64::MAX, true), 26),
        ] {
            assert_eq!(Bits::Count(span).of(b"foobar"), counted, "{span:?}");
        }
        assert_eq!(Bits::Count(WHOLE).of(b""), 0);
    }

    #[test]
    fn the_first_clear_bit_may_lie_behind_the_value_unless_an_end_was_said() {
        let to_the_end = |first| Span { first, ..WHOLE };
        for (value, is_set, span, place) in [
            (&b"\xff\xf0\x00"[..], false, WHOLE, 12),
            (b"\x00\xff\xf0", true, WHOLE, 8),
            (b"\x00\xff\xf0", true, to_the_end(2), 16),
            (b"\x00\x00\x00", true, WHOLE, -1),
            (b"\xff\xff\xff", false, WHOLE, 24),
            (b"\xff\xff\xff", false, span_of(0, -1, false), -1),
            (b"\xff\xff\xff", false, to_the_end(3), -1),
            (b"\x00\xff\xf0", true, span_of(7, 15, true), 8),
            (b"\x00\xff\xf0", false, span_of(9, 21, true), 20),
            (b"", false, WHOLE, 0),
            (b"", true, WHOLE, -1),
        ] {
            assert_eq!(Bits::First(is_set, span).of(value), place, "{} {is_set} {span:?}", value.escape_ascii());
        }
    }

    #[test]
    fn values_of_different_lengths_are_joined_as_if_zeros_followed() {
        let join = |operation: BitOperation| operation.join(Some(operation.join(None, b"\xf0\xff".to_vec())), b"\x3c".to_vec());
        assert_eq!(join(BitOperation::And), b"\x30\x00");
        assert_eq!(join(BitOperation::Or), b"\xfc\xff");
        assert_eq!(join(BitOperation::Xor), b"\xcc\xff");
        assert_eq!(BitOperation::Not.join(None, b"\x0f".to_vec()), b"\xf0");
    }
}
