//! `BITFIELD`: whole numbers of any width, side by side in a value.
//!
//! ```text
//!   BITFIELD k  GET u8 #1  OVERFLOW SAT  INCRBY i5 100 1  SET u4 0 15       what was or is there, in this order; nothing if it overflowed
//! ```

use super::commands::{Call, Handled, Refusal, refuse};
use super::compose::{null, push_number};
use super::frame::push_header;
use super::patching::{Change, Patch, bit_offset};
use super::session::Session;
use super::strings::{integer, syntax};

const BAD_TYPE: &str = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";

/// A number in a value: where its bits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    is_signed: bool,
    width: u32,
    at: u32,
}

/// What is done with a number that does not fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    /// It comes round.
    Wrap,
    /// It stays at the end of the range.
    Saturate,
    /// Nothing is done.
    Fail,
}

/// One of the things that are done, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Get(Field),
    /// Answers what was there.
    Set(Field, i64, Overflow),
    /// Answers the sum.
    Add(Field, i64, Overflow),
}

impl Task {
    fn field(&self) -> Field {
        match self {
            Task::Get(field) | Task::Set(field, ..) | Task::Add(field, ..) => *field,
        }
    }

    pub(super) fn writes(&self) -> bool {
        !matches!(self, Task::Get(_))
    }

    /// The bytes that a value has at least, when this is done.
    pub(super) fn end(&self) -> usize {
        if self.writes() { (u64::from(self.field().at) + u64::from(self.field().width)).div_ceil(8) as usize } else { 0 }
    }

    /// Does it, and tells what is answered.
    fn apply(&self, value: &mut [u8]) -> Option<i128> {
        let field = self.field();
        let present = field.read(value);
        match *self {
            Task::Get(_) => Some(present),
            Task::Set(_, number, overflow) => {
                // As Redis reads a negative number for a field without sign: as a very large one.
                let number = if field.is_signed { number.into() } else { number.cast_unsigned().into() };
                field.write(value, field.fitted(number, overflow)?);
                Some(present)
            }
            Task::Add(_, by, overflow) => {
                let sum = field.fitted(present + i128::from(by), overflow)?;
                field.write(value, sum);
                Some(sum)
            }
        }
    }
}

impl Field {
    fn range(self) -> (i128, i128) {
        let all = (1i128 << self.width) - 1;
        if self.is_signed { (-(all / 2) - 1, all / 2) } else { (0, all) }
    }

    fn fitted(self, number: i128, overflow: Overflow) -> Option<i128> {
        let (least, most) = self.range();
        match overflow {
            Overflow::Wrap => Some((number - least).rem_euclid(1 << self.width) + least),
            Overflow::Saturate => Some(number.clamp(least, most)),
            Overflow::Fail => (least..=most).contains(&number).then_some(number),
        }
    }

    fn places(self) -> impl Iterator<Item = u64> {
        let at = u64::from(self.at);
        at..at + u64::from(self.width)
    }

    /// The number; bits behind the value are clear.
    fn read(self, value: &[u8]) -> i128 {
        let is_set = |place: u64| value.get((place / 8) as usize).is_some_and(|byte| byte & 0x80 >> (place % 8) != 0);
        let bits = self.places().fold(0, |bits: i128, place| bits << 1 | i128::from(is_set(place)));
        let (_, most) = self.range();
        if bits > most { bits - (1 << self.width) } else { bits }
    }

    fn write(self, value: &mut [u8], number: i128) {
        for (place, behind) in self.places().zip((0..self.width).rev()) {
            super::bits::replace(value, place, number >> behind & 1 == 1);
        }
    }
}

/// Does all that is asked of `value`, which is long enough: the array of what is answered.
pub(super) fn apply(tasks: &[Task], resp3: bool, value: &mut [u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    push_header(b'*', tasks.len(), &mut answer);
    for task in tasks {
        match task.apply(value) {
            Some(number) => push_number(number as i64, &mut answer),
            None => answer.extend_from_slice(null(resp3)),
        }
    }
    answer
}

/// `BITFIELD k [GET type offset | [OVERFLOW WRAP | SAT | FAIL] SET type offset number | INCRBY type offset number]...`
pub(super) fn bitfield<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let tasks = tasks_of(call)?;
    let [key] = call.words()?;
    Patch::begin(session, key, Change::Fields { tasks, resp3: session.resp3 })
}

/// `BITFIELD_RO k [GET type offset]...`
pub(super) fn bitfield_ro<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    if tasks_of(call)?.iter().any(Task::writes) {
        return Err(refuse("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    bitfield(session, call)
}

fn tasks_of(call: &Call<'_>) -> Result<Vec<Task>, Refusal> {
    let (mut words, mut overflow, mut tasks) = (call.behind(1), Overflow::Wrap, Vec::new());
    while let Some(verb) = words.next() {
        let verb = verb.to_ascii_uppercase();
        if verb == b"OVERFLOW" {
            overflow = overflow_of(words.next().ok_or_else(syntax)?)?;
            continue;
        }
        if !matches!(&verb[..], b"GET" | b"SET" | b"INCRBY") {
            return Err(syntax());
        }
        let (Some(kind), Some(place)) = (words.next(), words.next()) else { return Err(syntax()) };
        let field = field_of(kind, place)?;
        tasks.push(match &verb[..] {
            b"GET" => Task::Get(field),
            b"SET" => Task::Set(field, integer(words.next().ok_or_else(syntax)?)?, overflow),
            _ => Task::Add(field, integer(words.next().ok_or_else(syntax)?)?, overflow),
        });
    }
    Ok(tasks)
}

fn overflow_of(word: &[u8]) -> Result<Overflow, Refusal> {
    match &word.to_ascii_uppercase()[..] {
        b"WRAP" => Ok(Overflow::Wrap),
        b"SAT" => Ok(Overflow::Saturate),
        b"FAIL" => Ok(Overflow::Fail),
        _ => Err(refuse("ERR Invalid OVERFLOW type specified")),
    }
}

/// `u8`, `i16` ..., and the place of the first bit, or behind a `#` of how many fields.
fn field_of(kind: &[u8], place: &[u8]) -> Result<Field, Refusal> {
    let (is_signed, width) = match kind.split_first() {
        Some((b'i', width)) => (true, integer(width)),
        Some((b'u', width)) => (false, integer(width)),
        _ => return Err(refuse(BAD_TYPE)),
    };
    let most = if is_signed { 64 } else { 63 };
    let width = width.ok().filter(|width| (1..=most).contains(width)).ok_or_else(|| refuse(BAD_TYPE))? as u32;
    let at = match place.strip_prefix(b"#") {
        None => bit_offset(place)?,
        Some(number) => bit_offset(number)?.checked_mul(width).ok_or_else(|| refuse("ERR bit offset is not an integer or out of range"))?,
    };
    Ok(Field { is_signed, width, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: &str, place: &str) -> Field {
        field_of(kind.as_bytes(), place.as_bytes()).unwrap()
    }

    #[test]
    fn a_number_is_read_as_it_was_written_wherever_it_lies() {
        for (kind, numbers) in
            [("u1", vec![0, 1]), ("i5", vec![-16, -1, 0, 15]), ("u63", vec![0, (1 << 63) - 1]), ("i64", vec![i64::MIN.into(), -1])]
        {
            for place in [0, 3, 8, 13] {
                let field = field(kind, &place.to_string());
                let mut value = vec![0xa5; 12];
                let around = value.clone();
                for number in &numbers {
                    field.write(&mut value, *number);
                    assert_eq!(field.read(&value), *number, "{kind} at {place}");
                }
                field.write(&mut value, field.read(&around));
                assert_eq!(value, around, "nothing else was touched");
            }
        }
        assert_eq!(field("u8", "#2").read(b"\0\0"), 0, "behind the value");
    }

    #[test]
    fn what_does_not_fit_wraps_or_stays_or_is_not_done() {
        for (kind, number, wrapped, saturated) in [
            ("u8", 256, 0, 255),
            ("u8", -1, 255, 0),
            ("i8", 128, -128, 127),
            ("i8", -129, 127, -128),
            ("i64", 1 << 63, i64::MIN.into(), i64::MAX.into()),
        ] {
            let field = field(kind, "0");
            assert_eq!(field.fitted(number, Overflow::Wrap), Some(wrapped), "{kind} {number}");
            assert_eq!(field.fitted(number, Overflow::Saturate), Some(saturated), "{kind} {number}");
            assert_eq!(field.fitted(number, Overflow::Fail), None, "{kind} {number}");
        }
    }

    #[test]
    fn a_field_has_a_width_and_a_place_that_there_can_be() {
        assert_eq!(field("i7", "#3"), Field { is_signed: true, width: 7, at: 21 });
        for (kind, place) in
            [("u64", "0"), ("i65", "0"), ("u0", "0"), ("x8", "0"), ("", "0"), ("u8", "-1"), ("u8", "#x"), ("u32", "#4294967295")]
        {
            assert!(field_of(kind.as_bytes(), place.as_bytes()).is_err(), "{kind} {place}");
        }
    }
}
