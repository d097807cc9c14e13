//! `SETRANGE`, `SETBIT`, `BITFIELD` and `BITOP`: values that are changed in a part, or put together from others.
//!
//! The value is read, changed here, and written back if it is still the one that was read; else it is read again.

use std::borrow::Cow;

use super::bits::{self, BitOperation};
use super::commands::{Call, Handled, Refusal, Step, refuse};
use super::compose::{Kind, TOO_LARGE};
use super::fields;
use super::session::Session;
use super::steps::{MOST_TRIES, Next, Plan, TOO_BUSY};
use super::strings::{integer, syntax};
use crate::communication::protocol::{Kept, Told};
use crate::node::command::{Action, Command, Expiry, Removal, Store, StoreMode, Terms};

/// A change of a part of a value.
#[derive(Debug)]
pub(super) struct Patch {
    key: Vec<u8>,
    change: Change,
    /// What is to be answered, once the value is being written.
    answer: Option<Vec<u8>>,
    tries: u32,
}

#[derive(Debug)]
pub(super) enum Change {
    /// These bytes come to stand at this place.
    Range { at: usize, bytes: Vec<u8> },
    /// This bit becomes so.
    Bit { at: u64, on: bool },
    /// These numbers are read and written.
    Fields { tasks: Vec<fields::Task>, resp3: bool },
}

impl Change {
    /// Changes `value`, which grows by zeros to where the change is, and tells what is answered.
    fn apply(&self, value: &mut Vec<u8>) -> Vec<u8> {
        let end = self.end();
        if value.len() < end {
            value.resize(end, 0);
        }
        let number = match self {
            Change::Range { at, bytes } => {
                value[*at..end].copy_from_slice(bytes);
                value.len() as i64
            }
            Change::Bit { at, on } => i64::from(bits::replace(value, *at, *on)),
            Change::Fields { tasks, resp3 } => return fields::apply(tasks, *resp3, value),
        };
        format!(":{number}\r\n").into_bytes()
    }

    /// The bytes that a value has at least, when it is changed.
    fn end(&self) -> usize {
        match self {
            Change::Range { at, bytes } => at.saturating_add(bytes.len()),
            Change::Bit { at, .. } => (at / 8) as usize + 1,
            Change::Fields { tasks, .. } => tasks.iter().map(fields::Task::end).max().unwrap_or(0),
        }
    }

    fn held(&self) -> usize {
        match self {
            Change::Range { bytes, .. } => bytes.len(),
            Change::Bit { .. } => 0,
            Change::Fields { tasks, .. } => size_of_val(&tasks[..]),
        }
    }
}

impl Plan for Patch {
    fn next(&mut self, told: Told) -> Next {
        match (&mut self.answer, told) {
            (_, Told::Failed(why)) => Next::Say(Cow::Owned(why)),
            (None, Told::Value(kept)) => self.write(StoreMode::Cas(kept.version), kept),
            (None, Told::Nothing) => self.write(StoreMode::Add, Kept::default()),
            (Some(answer), Told::Done(_)) => Next::Say(Cow::Owned(std::mem::take(answer))),
            (Some(_), Told::Refused | Told::Nothing) if self.tries < MOST_TRIES => {
                (self.answer, self.tries) = (None, self.tries + 1);
                Next::ask(&self.key, Action::Get)
            }
            (Some(_), Told::Refused | Told::Nothing) => Next::Say(Cow::Borrowed(TOO_BUSY)),
            _ => Next::confused(),
        }
    }

    fn held(&self) -> usize {
        self.key.len() + self.change.held()
    }
}

impl Patch {
    fn write(&mut self, mode: StoreMode, mut kept: Kept) -> Next {
        let answer = self.change.apply(&mut kept.bytes);
        if self.change.end() == 0 {
            return Next::Say(Cow::Owned(answer));
        }
        self.answer = Some(answer);
        let expiry = if mode == StoreMode::Add { Expiry::Never } else { Expiry::Keep };
        let terms = Terms { media: Cow::Owned(kept.media), pieced: true, ..Terms::default() };
        let (value, flags) = (Cow::Owned(kept.bytes), kept.flags);
        Next::ask(&self.key, Action::Store(Store { mode, value, flags, expiry, want_old: false, terms: Some(Box::new(terms)) }))
    }

    /// Reads the value.
    pub(super) fn begin<'a>(session: &Session, key: &[u8], change: Change) -> Handled<'a> {
        if change.end() > session.max_value {
            return Err(refuse(TOO_LARGE));
        }
        let key = session.owned_key(session.database, key)?;
        let first = Command { key: Cow::Owned(key.clone()), action: Action::Get };
        Ok(Step::Course(first, Box::new(Patch { key, change, answer: None, tries: 0 })))
    }
}

/// `SETRANGE k offset bytes`
pub(super) fn setrange<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key, at, bytes] = call.words()?;
    let at = usize::try_from(integer(at)?).map_err(|_| refuse("ERR offset is out of range"))?;
    if bytes.is_empty() {
        return session.ask(key, Action::Look, Kind::Length);
    }
    Patch::begin(session, key, Change::Range { at, bytes: bytes.to_vec() })
}

/// `SETBIT k offset 0|1`
pub(super) fn setbit<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key, at, bit] = call.words()?;
    let at = bit_offset(at)?;
    let on = match bit {
        b"0" => false,
        b"1" => true,
        _ => return Err(refuse("ERR bit is not an integer or out of range")),
    };
    Patch::begin(session, key, Change::Bit { at: at.into(), on })
}

/// The place of a bit.
pub(super) fn bit_offset(word: &[u8]) -> Result<u32, Refusal> {
    let place = integer(word).ok().and_then(|place| u32::try_from(place).ok());
    place.ok_or_else(|| refuse("ERR bit offset is not an integer or out of range"))
}

/// Values that are joined bit by bit, one after the other, under a key of their own.
#[derive(Debug)]
struct Joining {
    operation: BitOperation,
    to: Vec<u8>,
    /// The keys still to be read, the last one first.
    left: Vec<Vec<u8>>,
    joined: Option<Vec<u8>>,
    is_writing: bool,
}

impl Plan for Joining {
    fn next(&mut self, told: Told) -> Next {
        let value = match told {
            Told::Failed(why) => return Next::Say(Cow::Owned(why)),
            _ if self.is_writing => return Next::number(self.joined.as_ref().map_or(0, Vec::len) as i64),
            Told::Value(kept) => kept.bytes,
            Told::Nothing => Vec::new(),
            Told::Done(_) | Told::Refused => return Next::confused(),
        };
        self.joined = Some(self.operation.join(self.joined.take(), value));
        match self.left.pop() {
            Some(key) => Next::ask(&key, Action::Get),
            None => self.write(),
        }
    }

    fn held(&self) -> usize {
        self.left.iter().map(Vec::len).sum::<usize>() + self.joined.as_ref().map_or(0, Vec::len)
    }
}

impl Joining {
    /// What is empty is not kept.
    fn write(&mut self) -> Next {
        self.is_writing = true;
        let joined = self.joined.clone().unwrap_or_default();
        if joined.is_empty() {
            return Next::ask(&self.to, Action::Delete(Removal::default()));
        }
        let terms = Some(Box::new(Terms { pieced: true, ..Terms::default() }));
        Next::ask(&self.to, Action::Store(Store { terms, ..Store::of(joined) }))
    }
}

/// `BITOP AND|OR|XOR|NOT to k...`
pub(super) fn bitop<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [operation, to] = call.words()?;
    let operation = BitOperation::of(operation).ok_or_else(syntax)?;
    let keys = call.behind(2);
    if operation == BitOperation::Not && keys.len() != 1 {
        return Err(refuse("ERR BITOP NOT must be called with a single source key."));
    }
    let to = session.owned_key(session.database, to)?;
    let mut left = keys.map(|key| session.owned_key(session.database, key)).collect::<Result<Vec<_>, _>>()?;
    left.reverse();
    let first = Command { key: Cow::Owned(left.pop().unwrap_or_default()), action: Action::Get };
    Ok(Step::Course(first, Box::new(Joining { operation, to, left, joined: None, is_writing: false })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caching::Version;

    fn value(bytes: &[u8], version: u64) -> Told {
        Told::Value(Kept { bytes: bytes.to_vec(), version: Version(version), ..Kept::default() })
    }

    fn written(next: Next) -> (StoreMode, Vec<u8>, Expiry) {
        let Next::Ask(Command { action: Action::Store(store), .. }) = next else { panic!("{next:?}") };
        (store.mode, store.value.into_owned(), store.expiry)
    }

    fn said(next: Next) -> String {
        let Next::Say(bytes) = next else { panic!("{next:?}") };
        String::from_utf8(bytes.into_owned()).unwrap()
    }

    fn patch(change: Change) -> Patch {
        Patch { key: b"k".to_vec(), change, answer: None, tries: 0 }
    }

    #[test]
    fn a_part_is_replaced_in_what_is_there_and_nowhere_else() {
        let mut plan = patch(Change::Range { at: 1, bytes: b"XY".to_vec() });
        assert_eq!(written(plan.next(value(b"abcd", 7))), (StoreMode::Cas(Version(7)), b"aXYd".to_vec(), Expiry::Keep));
        assert!(matches!(plan.next(Told::Refused), Next::Ask(Command { action: Action::Get, .. })), "it is another by now");
        assert_eq!(written(plan.next(value(b"a", 8))).1, b"aXY");
        assert!(matches!(plan.next(Told::Nothing), Next::Ask(Command { action: Action::Get, .. })), "it has gone");
        assert_eq!(written(plan.next(Told::Nothing)), (StoreMode::Add, b"\0XY".to_vec(), Expiry::Never));
        assert_eq!(said(plan.next(Told::Done(Version(9)))), ":3\r\n");
    }

    #[test]
    fn a_bit_is_told_as_it_was() {
        let mut plan = patch(Change::Bit { at: 6, on: true });
        assert_eq!(written(plan.next(value(b"1", 7))).1, b"3");
        assert_eq!(said(plan.next(Told::Done(Version(9)))), ":0\r\n");
        let mut plan = patch(Change::Bit { at: 7, on: false });
        assert_eq!(written(plan.next(value(b"1", 7))).1, b"0");
        assert_eq!(said(plan.next(Told::Done(Version(9)))), ":1\r\n");
    }

    #[test]
    fn who_is_always_too_late_is_told_so() {
        let mut plan = patch(Change::Bit { at: 6, on: true });
        for _ in 0..=MOST_TRIES {
            plan.next(value(b"1", 7));
            if let Next::Say(bytes) = plan.next(Told::Refused) {
                return assert_eq!(&bytes[..], TOO_BUSY);
            }
        }
        panic!("it goes on for ever");
    }

    #[test]
    fn what_is_joined_from_nothing_is_removed() {
        let (operation, to) = (BitOperation::And, b"to".to_vec());
        let mut plan = Joining { operation, to, left: vec![b"b".to_vec()], joined: None, is_writing: false };
        assert!(matches!(plan.next(Told::Nothing), Next::Ask(Command { action: Action::Get, .. })));
        assert!(matches!(plan.next(Told::Nothing), Next::Ask(Command { action: Action::Delete(_), .. })));
        assert_eq!(said(plan.next(Told::Nothing)), ":0\r\n");
    }
}
