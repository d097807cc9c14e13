//! `RENAME`, `RENAMENX`, `COPY` and `MOVE`: a value that comes to stand under another key, with its time to live.
//!
//! Both keys may have owners of their own. First the value is written under its new name, then it is removed under the old one, if it is
//! still what was written: so a value may be seen under both names for a moment, and under none never.

use std::borrow::Cow;

use super::commands::{Call, Handled, Refusal, Step, refuse};
use super::compose::OK;
use super::database::{DATABASES, Database};
use super::session::Session;
use super::steps::{MOST_TRIES, Next, Plan, TOO_BUSY};
use super::strings::{integer, syntax};
use crate::caching::Version;
use crate::communication::protocol::{Kept, Told};
use crate::node::command::{Action, Command, Expiry, Guard, Removal, Store, StoreMode, Terms};

const SAME: &str = "ERR source and destination objects are the same";

/// A value on its way to another key.
#[derive(Debug)]
struct Transfer {
    from: Vec<u8>,
    to: Vec<u8>,
    /// Only if there is nothing under the new name.
    only_if_free: bool,
    /// The old name keeps the value too.
    copies: bool,
    /// What is said of a value that is not there, and of one that was moved.
    words: (&'static [u8], &'static [u8]),
    stage: Stage,
    tries: u32,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Reading,
    /// The value of this version is being written under its new name.
    Writing(Version),
    /// Removing the old name; the new one has been given this version.
    Removing(Version),
}

const NO_SUCH_KEY: &[u8] = b"-ERR no such key\r\n";
const NO: &[u8] = b":0\r\n";
const YES: &[u8] = b":1\r\n";

impl Plan for Transfer {
    fn next(&mut self, told: Told) -> Next {
        match (self.stage, told) {
            (_, Told::Failed(why)) => Next::Say(Cow::Owned(why)),
            (Stage::Reading, Told::Value(kept)) => self.write(kept, None),
            (Stage::Reading, Told::Nothing) => Next::Say(Cow::Borrowed(self.words.0)),
            (Stage::Writing(_), Told::Done(_)) if self.copies => Next::Say(Cow::Borrowed(YES)),
            (Stage::Writing(read), Told::Done(written)) => self.remove(read, written),
            (Stage::Writing(_), Told::Refused) if self.tries == 0 => Next::Say(Cow::Borrowed(NO)),
            // It was there, and others have replaced it by now, after which their value under the old name is none of ours.
            (Stage::Writing(_), Told::Refused | Told::Nothing) => Next::Say(Cow::Borrowed(self.words.1)),
            (Stage::Removing(_), Told::Done(_) | Told::Nothing) => Next::Say(Cow::Borrowed(self.words.1)),
            // It has another value by now, which is to be moved.
            (Stage::Removing(_), Told::Refused) if self.tries >= MOST_TRIES => Next::Say(Cow::Borrowed(TOO_BUSY)),
            (Stage::Removing(_), Told::Refused) => self.read_again(),
            (Stage::Removing(written), Told::Value(kept)) => self.write(kept, Some(written)),
            _ => Next::confused(),
        }
    }

    fn held(&self) -> usize {
        self.from.len() + self.to.len()
    }
}

impl Transfer {
    fn write(&mut self, kept: Kept, written: Option<Version>) -> Next {
        self.stage = Stage::Writing(kept.version);
        let mode = match written {
            Some(version) => StoreMode::Cas(version),
            None if self.only_if_free => StoreMode::Add,
            None => StoreMode::Set,
        };
        let expiry = kept.ttl_ms.map_or(Expiry::Never, Expiry::InMs);
        let terms = (!kept.media.is_empty()).then(|| Box::new(Terms { media: Cow::Owned(kept.media), ..Terms::default() }));
        let store = Store { mode, value: Cow::Owned(kept.bytes), flags: kept.flags, expiry, want_old: false, terms };
        Next::ask(&self.to, Action::Store(store))
    }

    fn remove(&mut self, read: Version, written: Version) -> Next {
        self.stage = Stage::Removing(written);
        let terms = Terms { only: Some(Guard::Version(read)), ..Terms::default() };
        Next::ask(&self.from, Action::Delete(Removal { want_old: false, terms: Some(Box::new(terms)) }))
    }

    fn read_again(&mut self) -> Next {
        self.tries += 1;
        Next::ask(&self.from, Action::Get)
    }

    fn begin<'a>(self) -> Handled<'a> {
        let first = Command { key: Cow::Owned(self.from.clone()), action: Action::Get };
        Ok(Step::Course(first, Box::new(self)))
    }
}

/// `RENAME k new`
pub(super) fn rename<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    rename_to(session, call, false)
}

/// `RENAMENX k new`
pub(super) fn renamenx<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    rename_to(session, call, true)
}

fn rename_to<'a>(session: &Session, call: &Call<'a>, only_if_free: bool) -> Handled<'a> {
    let [from, to] = call.words()?;
    let words = (NO_SUCH_KEY, if only_if_free { YES } else { OK });
    let (from, to) = (session.owned_key(session.database, from)?, session.owned_key(session.database, to)?);
    if from == to {
        let command = Command { key: Cow::Owned(from), action: Action::Look };
        return Ok(Step::Course(command, Box::new(InPlace(if only_if_free { NO } else { OK }))));
    }
    Transfer { from, to, only_if_free, copies: false, words, stage: Stage::Reading, tries: 0 }.begin()
}

/// A value that is where it is to go: this is said, if it is there.
#[derive(Debug)]
struct InPlace(&'static [u8]);

impl Plan for InPlace {
    fn next(&mut self, told: Told) -> Next {
        match told {
            Told::Failed(why) => Next::Say(Cow::Owned(why)),
            Told::Nothing => Next::Say(Cow::Borrowed(NO_SUCH_KEY)),
            _ => Next::Say(Cow::Borrowed(self.0)),
        }
    }

    fn held(&self) -> usize {
        0
    }
}

/// `COPY k new [DB n] [REPLACE]`
pub(super) fn copy<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [from, to] = call.words()?;
    let (mut database, mut only_if_free) = (session.database, true);
    let mut options = call.behind(2);
    while let Some(option) = options.next() {
        match options.len() {
            _ if option.eq_ignore_ascii_case(b"REPLACE") => only_if_free = false,
            1.. if option.eq_ignore_ascii_case(b"DB") => database = database_of(options.next().unwrap_or_default())?,
            _ => return Err(syntax()),
        }
    }
    let (from, to) = (session.owned_key(session.database, from)?, session.owned_key(database, to)?);
    if from == to {
        return Err(refuse(SAME));
    }
    Transfer { from, to, only_if_free, copies: true, words: (NO, YES), stage: Stage::Reading, tries: 0 }.begin()
}

/// `MOVE k n`
pub(super) fn move_to<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key, number] = call.words()?;
    let database = database_of(number)?;
    let (from, to) = (session.owned_key(session.database, key)?, session.owned_key(database, key)?);
    if from == to {
        return Err(refuse(SAME));
    }
    Transfer { from, to, only_if_free: true, copies: false, words: (NO, YES), stage: Stage::Reading, tries: 0 }.begin()
}

fn database_of(word: &[u8]) -> Result<Database, Refusal> {
    let number = u8::try_from(integer(word)?).ok().filter(|number| *number < DATABASES);
    number.map(Database).ok_or_else(|| refuse("ERR DB index is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renaming(only_if_free: bool) -> Transfer {
        let (from, to) = (b"a".to_vec(), b"b".to_vec());
        Transfer { from, to, only_if_free, copies: false, words: (NO_SUCH_KEY, OK), stage: Stage::Reading, tries: 0 }
    }

    fn value(version: u64) -> Told {
        Told::Value(Kept { bytes: b"v".to_vec(), flags: 9, version: Version(version), ttl_ms: Some(50), media: b"text/plain".to_vec() })
    }

    fn asked(next: Next) -> (Vec<u8>, Action<'static>) {
        let Next::Ask(Command { key, action }) = next else { panic!("{next:?}") };
        (key.into_owned(), action)
    }

    fn said(next: Next) -> Vec<u8> {
        let Next::Say(bytes) = next else { panic!("{next:?}") };
        bytes.into_owned()
    }

    #[test]
    fn a_value_takes_along_all_that_belongs_to_it() {
        let (key, action) = asked(renaming(true).next(value(7)));
        let terms = Terms { media: Cow::Borrowed(b"text/plain"), ..Terms::default() };
        let (value, expiry) = (Cow::Borrowed(&b"v"[..]), Expiry::InMs(50));
        let store = Store { mode: StoreMode::Add, value, flags: 9, expiry, want_old: false, terms: Some(Box::new(terms)) };
        assert_eq!((key, action), (b"b".to_vec(), Action::Store(store)));
    }

    #[test]
    fn what_came_under_the_old_name_meanwhile_is_not_lost_but_moved() {
        let mut plan = renaming(false);
        asked(plan.next(value(7)));
        let (key, action) = asked(plan.next(Told::Done(Version(20))));
        let Action::Delete(Removal { terms: Some(terms), .. }) = action else { panic!("{action:?}") };
        assert_eq!((key, terms.only), (b"a".to_vec(), Some(Guard::Version(Version(7)))));
        assert_eq!(asked(plan.next(Told::Refused)), (b"a".to_vec(), Action::Get));
        let (key, action) = asked(plan.next(value(8)));
        let Action::Store(store) = action else { panic!("{action:?}") };
        assert_eq!((key, store.mode), (b"b".to_vec(), StoreMode::Cas(Version(20))), "and what others write there stays");
        asked(plan.next(Told::Done(Version(21))));
        assert_eq!(said(plan.next(Told::Done(Version(0)))), OK);
    }

    #[test]
    fn nothing_is_moved_over_what_is_there_and_a_key_that_changes_all_the_time_is_given_up() {
        let mut plan = renaming(true);
        asked(plan.next(value(7)));
        assert_eq!(said(plan.next(Told::Refused)), NO);
        let mut plan = renaming(false);
        asked(plan.next(value(7)));
        for number in 0..u64::from(MOST_TRIES) {
            asked(plan.next(Told::Done(Version(20))));
            asked(plan.next(Told::Refused));
            asked(plan.next(value(8 + number)));
        }
        asked(plan.next(Told::Done(Version(20))));
        assert_eq!(said(plan.next(Told::Refused)), TOO_BUSY);
    }
}
