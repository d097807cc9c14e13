//! `WATCH`: an `EXEC` that does nothing if a key has changed since it was looked at.
//!
//! A watched key is remembered by its version, which never repeats, or as missing. `EXEC` asks for the versions again, waits until all are
//! told, and lets the commands begin only if they are the same:
//!
//! ```text
//!   WATCH k          get k ─▶ owner      version 7                    the reply is heard, and OK is said
//!   MULTI .. EXEC    get k ─▶ owner      version 7: carry them out    any other: nothing, and the null reply
//!                    SET k v, if its version is 7 ─▶ owner
//! ```
//!
//! The keys may have several owners, so other clients may come between the second look and the commands. What would be lost by that is not:
//! the first command of the `EXEC` that writes a watched key carries its version as a condition, and is answered with an error if it does not
//! hold any more. Not seen is a write, in that moment, of a key that is watched and only read.

use super::commands::{Refusal, refuse};
use crate::communication::protocol::Sighting;
use crate::node::command::{Action, Command, Guard, Request, StoreMode};

/// Most keys that a connection watches.
const MOST_WATCHED: usize = 1024;

/// The keys that a connection watches.
#[derive(Debug, Default)]
pub(super) struct Watch {
    keys: Vec<Watched>,
    /// The number of the next look: it tells what is heard of this one from what is heard of earlier ones.
    next: u32,
    /// The keys have been found unchanged, and the commands are on their way.
    guards: bool,
}

#[derive(Debug)]
struct Watched {
    /// As it stands in the pool.
    key: Vec<u8>,
    /// What was seen first, and when the commands were to begin.
    looks: [Look; 2],
}

/// A look at a key, by its number, and what was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    number: u32,
    seen: Option<Sighting>,
}

impl Watch {
    /// May so many more be watched?
    pub(super) fn check_room(&self, more: usize) -> Result<(), Refusal> {
        if self.keys.len() + more <= MOST_WATCHED { Ok(()) } else { Err(refuse("ERR too many watched keys")) }
    }

    /// Watches one more: the number of the first look at it.
    pub(super) fn add(&mut self, key: &[u8]) -> u32 {
        let first = Look { number: self.number(), seen: None };
        self.keys.push(Watched { key: key.to_vec(), looks: [first, Look::default()] });
        first.number
    }

    /// The memory that the keys take.
    pub(super) fn held(&self) -> usize {
        self.keys.iter().map(|watched| watched.key.capacity()).sum()
    }

    /// How many are watched.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Looks again at the key that is the last but so many: it, and the number of the look.
    pub(super) fn look_again(&mut self, behind: usize) -> (Vec<u8>, u32) {
        let number = self.number();
        let index = self.keys.len() - 1 - behind;
        self.keys[index].looks[1] = Look { number, seen: None };
        (self.keys[index].key.clone(), number)
    }

    /// What came of a look. What nobody waits for any more is not listened to.
    pub(super) fn hear(&mut self, number: u32, seen: Sighting) {
        let looks = self.keys.iter_mut().flat_map(|watched| &mut watched.looks);
        if let Some(look) = looks.into_iter().find(|look| look.number == number) {
            look.seen = Some(seen);
        }
    }

    /// Has everything been heard that was asked twice?
    pub(super) fn has_heard_all(&self) -> bool {
        self.keys.iter().all(|watched| watched.looks.iter().all(|look| look.seen.is_some()))
    }

    /// Is everything as it was? What could not be looked at may have changed.
    pub(super) fn is_unchanged(&self) -> bool {
        let same = |watched: &Watched| match watched.looks.map(|look| look.seen) {
            [Some(first), Some(again)] => first == again && first != Sighting::Unknown,
            _ => false,
        };
        self.keys.iter().all(same)
    }

    /// The commands begin: what is known of the keys is their condition.
    pub(super) fn guard(&mut self) {
        self.guards = true;
    }

    /// Nothing is watched any more.
    pub(super) fn forget(&mut self) {
        *self = Watch { next: self.next, ..Watch::default() };
    }

    /// The same, if it was for the commands that have been carried out by now.
    pub(super) fn forget_guards(&mut self) {
        if self.guards {
            self.forget();
        }
    }

    /// Gives the first write of a watched key its condition. True if it has one now.
    pub(super) fn restrain(&mut self, request: &mut Request<'_>) -> bool {
        let Request::Key(Command { key, action }) = request else { return false };
        // A new time to live leaves the version as it is.
        if !self.guards || !matches!(action, Action::Store(_) | Action::Delete(_) | Action::Count(_)) {
            return false;
        }
        let Some(index) = self.keys.iter().position(|watched| watched.key == **key) else { return false };
        let seen = self.keys[index].looks[0].seen;
        self.keys.retain(|watched| watched.key != **key);
        restrained(action, seen)
    }

    fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1).max(1);
        self.next
    }
}

/// Makes a write conditional, if it is not by itself.
fn restrained(action: &mut Action<'_>, seen: Option<Sighting>) -> bool {
    let terms = match (action, seen) {
        (Action::Store(store), Some(Sighting::Nothing)) if store.mode == StoreMode::Set => {
            store.mode = StoreMode::Add;
            return true;
        }
        (Action::Store(store), Some(Sighting::Version { .. })) if store.mode != StoreMode::Add => &mut store.terms,
        (Action::Delete(removal), Some(Sighting::Version { .. })) => &mut removal.terms,
        (Action::Count(count), Some(Sighting::Version { .. })) => &mut count.terms,
        _ => return false,
    };
    let Some(Sighting::Version { version, .. }) = seen else { return false };
    let terms = terms.get_or_insert_default();
    // What a command of several steps has read is its condition too; but then the key is as it was first seen, or is not to be written.
    if !matches!(terms.only, Some(Guard::Value(_))) {
        terms.only = Some(Guard::Version(version));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caching::Version;
    use crate::node::command::Store;

    fn write() -> Request<'static> {
        Request::Key(Command { key: b"k".into(), action: Action::Store(Store::of(b"v".to_vec())) })
    }

    fn seen(number: u64) -> Sighting {
        Sighting::Version { version: Version(number), ends: false }
    }

    /// One key that was seen so, and then so.
    fn watching(first: Sighting, again: Sighting) -> Watch {
        let mut watch = Watch::default();
        let number = watch.add(b"k");
        watch.hear(number, first);
        assert!(!watch.has_heard_all());
        let (key, number) = watch.look_again(0);
        assert_eq!(key, b"k");
        watch.hear(number, again);
        assert!(watch.has_heard_all());
        watch
    }

    #[test]
    fn only_what_was_seen_twice_alike_is_unchanged() {
        let [seven, eight] = [seen(7), seen(8)];
        let ending = Sighting::Version { version: Version(7), ends: true };
        for (first, again, unchanged) in [
            (seven, seven, true),
            (Sighting::Nothing, Sighting::Nothing, true),
            (seven, eight, false),
            (seven, ending, false),
            (seven, Sighting::Nothing, false),
            (Sighting::Nothing, seven, false),
            (Sighting::Unknown, Sighting::Unknown, false),
        ] {
            assert_eq!(watching(first, again).is_unchanged(), unchanged, "{first:?} {again:?}");
        }
        assert!(Watch::default().is_unchanged() && Watch::default().has_heard_all());
    }

    #[test]
    fn the_first_write_of_a_watched_key_and_no_other_has_its_version_as_a_condition() {
        let mut watch = watching(seen(7), seen(7));
        let mut request = write();
        assert!(!watch.restrain(&mut request), "not before the commands begin");
        watch.guard();
        assert!(watch.restrain(&mut request));
        let Request::Key(Command { action: Action::Store(store), .. }) = &request else { panic!("{request:?}") };
        assert_eq!(store.terms.as_ref().and_then(|terms| terms.only.clone()), Some(Guard::Version(Version(7))));
        assert!(!watch.restrain(&mut write()), "by then it has another version");
    }

    #[test]
    fn a_write_of_a_key_that_was_missing_does_not_replace_one_that_has_come() {
        let mut watch = watching(Sighting::Nothing, Sighting::Nothing);
        watch.guard();
        let mut request = write();
        assert!(watch.restrain(&mut request));
        let Request::Key(Command { action: Action::Store(store), .. }) = &request else { panic!("{request:?}") };
        assert_eq!(store.mode, StoreMode::Add);
    }

    #[test]
    fn what_is_heard_of_a_key_that_is_not_watched_any_more_is_not_listened_to() {
        let mut watch = Watch::default();
        let number = watch.add(b"old");
        watch.forget();
        watch.add(b"new");
        watch.hear(number, Sighting::Nothing);
        assert!(!watch.has_heard_all());
    }
}
