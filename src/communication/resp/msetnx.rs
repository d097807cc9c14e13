//! `MSETNX`: all of several keys, or none.
//!
//! The keys may have several owners, no two of which act as one. So first all are looked at, and if one is there, nothing is written. Then
//! each is written if it is still missing; if one is not any more, those before it are removed again, each only as it was written. Of two
//! clients that want some of the same keys, one at most gets its own. But others may see some of the keys before all are written, and if
//! an owner cannot be reached in the middle of it, some may stay.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::commands::{Call, Handled, Refusal, Step};
use super::compose::Kind;
use super::session::Session;
use super::steps::{Next, Plan};
use crate::caching::Version;
use crate::communication::protocol::Told;
use crate::node::command::{Action, Command, Expiry, Guard, Removal, Store, StoreMode, Terms};

/// Keys, and their values.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Keys that are to come to be together.
#[derive(Debug)]
struct AllOrNone {
    /// Each of them once, with its value.
    pairs: Pairs,
    stage: Stage,
    /// The versions of those that were written, in their order.
    written: Vec<Version>,
}

#[derive(Debug)]
enum Stage {
    /// So many are known to be missing.
    Looking(usize),
    Writing,
    /// What was written is removed again, the last first; then this is the answer.
    Removing(Cow<'static, [u8]>),
}

const NO: &[u8] = b":0\r\n";

impl Plan for AllOrNone {
    fn next(&mut self, told: Told) -> Next {
        match (&mut self.stage, told) {
            (Stage::Removing(_), Told::Failed(why)) => {
                self.stage = Stage::Removing(Cow::Owned(why));
                self.remove_last()
            }
            (Stage::Removing(_), _) => self.remove_last(),
            (Stage::Looking(_), Told::Failed(why)) => Next::Say(Cow::Owned(why)),
            (Stage::Looking(_), Told::Value(_)) => Next::Say(Cow::Borrowed(NO)),
            (Stage::Looking(known), _) => {
                *known += 1;
                match self.pairs.get(*known) {
                    Some((key, _)) => Next::ask(key, Action::Look),
                    None => self.write_next(),
                }
            }
            (Stage::Writing, Told::Done(version)) => {
                self.written.push(version);
                self.write_next()
            }
            (Stage::Writing, Told::Failed(why)) => self.give_up(Cow::Owned(why)),
            (Stage::Writing, _) => self.give_up(Cow::Borrowed(NO)),
        }
    }

    fn held(&self) -> usize {
        self.pairs.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

impl AllOrNone {
    fn write_next(&mut self) -> Next {
        self.stage = Stage::Writing;
        let Some((key, value)) = self.pairs.get_mut(self.written.len()) else { return Next::number(1) };
        let store = Store { mode: StoreMode::Add, expiry: Expiry::Never, ..Store::of(std::mem::take(value)) };
        Next::ask(key, Action::Store(store))
    }

    fn give_up(&mut self, answer: Cow<'static, [u8]>) -> Next {
        self.stage = Stage::Removing(answer);
        self.remove_last()
    }

    fn remove_last(&mut self) -> Next {
        let Stage::Removing(answer) = &mut self.stage else { return Next::confused() };
        let Some(version) = self.written.pop() else { return Next::Say(std::mem::take(answer)) };
        let terms = Terms { only: Some(Guard::Version(version)), ..Terms::default() };
        let removal = Removal { want_old: false, terms: Some(Box::new(terms)) };
        Next::ask(&self.pairs[self.written.len()].0, Action::Delete(removal))
    }
}

/// `MSETNX k v...`
pub(super) fn msetnx<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    if call.args.len() % 2 == 1 {
        return Err(call.wrong_number());
    }
    if let (2, [key, value]) = (call.args.len(), call.words()?) {
        return session.ask(key, Action::Store(Store { mode: StoreMode::Add, ..Store::of(value) }), Kind::Flag);
    }
    let pairs = pairs_of(session, call)?;
    let first = Command { key: Cow::Owned(pairs[0].0.clone()), action: Action::Look };
    Ok(Step::Course(first, Box::new(AllOrNone { pairs, stage: Stage::Looking(0), written: Vec::new() })))
}

/// Each key once, in the order of the keys, with the last value that is said for it.
fn pairs_of(session: &Session, call: &Call<'_>) -> Result<Pairs, Refusal> {
    let mut pairs = BTreeMap::new();
    let mut words = call.args;
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        session.check_value(value)?;
        pairs.insert(session.owned_key(session.database, key)?, value.to_vec());
    }
    Ok(pairs.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::communication::protocol::Kept;

    fn three() -> AllOrNone {
        let pairs = ["a", "b", "c"].map(|key| (key.into(), b"v".to_vec())).to_vec();
        AllOrNone { pairs, stage: Stage::Looking(0), written: Vec::new() }
    }

    /// What the plan says in the end, and what it has asked: `?` looks, `+` writes, `-` removes.
    fn played(told: &[Told]) -> (String, String) {
        let (mut plan, mut asked) = (three(), "?a".to_owned());
        for told in told {
            match plan.next(told.clone()) {
                Next::Say(bytes) => return (asked, String::from_utf8(bytes.into_owned()).unwrap()),
                Next::Ask(Command { key, action }) => {
                    asked += match action {
                        Action::Look => "?",
                        Action::Store(Store { mode: StoreMode::Add, .. }) => "+",
                        Action::Delete(Removal { terms: Some(terms), .. }) if terms.only.is_some() => "-",
                        other => panic!("{other:?}"),
                    };
                    asked += std::str::from_utf8(&key).unwrap();
                }
            }
        }
        panic!("it goes on: {asked}")
    }

    #[test]
    fn all_are_looked_at_before_one_is_written_and_none_stays_if_one_has_come() {
        let (nothing, done, refused) = (Told::Nothing, Told::Done(Version(5)), Told::Refused);
        let (n, d) = (|| nothing.clone(), || done.clone());
        let said = |asked: &str, said: &str| (asked.to_owned(), said.to_owned());
        assert_eq!(played(&[n(), n(), n(), d(), d(), d()]), said("?a?b?c+a+b+c", ":1\r\n"));
        assert_eq!(played(&[n(), Told::Value(Kept::default())]), said("?a?b", ":0\r\n"));
        assert_eq!(played(&[n(), n(), n(), d(), d(), refused, d(), d()]), said("?a?b?c+a+b+c-b-a", ":0\r\n"));
        let failed = || Told::Failed(b"-ERR no\r\n".to_vec());
        assert_eq!(played(&[n(), n(), n(), d(), failed(), d()]), said("?a?b?c+a+b-a", "-ERR no\r\n"));
        assert_eq!(played(&[n(), failed()]), said("?a?b", "-ERR no\r\n"));
    }
}
