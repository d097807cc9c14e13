//! Writes of a value: the condition, the size, and what comes to be.

use super::command::{Store, StoreMode, Terms};
use super::extras::Extras;
use super::local::{Task, conclude, guarded, moment_of, seen_version, value_of};
use super::message::Outcome;
use super::reply::{Failure, Reply};
use super::{Node, Outputs};
use crate::caching::Version;
use crate::caching::entry::{self, Entry, MAX_EXTRA, Parts};

/// What to do with a write, once its condition has been looked at.
enum Verdict {
    Write,
    /// It comes too late, and is better than nothing.
    WriteStale,
    Answer(Reply<'static>),
}

impl Node {
    pub(super) fn store(&mut self, task: &Task<'_>, store: &Store<'_>, out: &mut dyn Outputs) {
        match self.judge_store(task, store) {
            Verdict::Answer(Reply::NotStored) if store.want_old => self.answer_with_present(task, out),
            Verdict::Answer(reply) => self.answer(task, &reply, out),
            Verdict::Write => self.store_as(task, store, false, out),
            Verdict::WriteStale => self.store_as(task, store, true, out),
        }
    }

    fn store_as(&mut self, task: &Task<'_>, store: &Store<'_>, is_stale: bool, out: &mut dyn Outputs) {
        let version = self.next_version();
        let present = self.cache.peek(task.key(), task.hash, task.now.mono);
        let Some((entry, seen)) = made(task, store, is_stale, present, version) else {
            return self.store_nothing(task, store.want_old, out);
        };
        let outcome = self.with_old(task, store.want_old, |old| Outcome::Stored { version: seen, old });
        let old = self.write(task, entry, outcome, out);
        let old = old.as_ref().filter(|_| store.want_old).map(Entry::value);
        conclude(&mut self.stats, &mut self.mirroring, task, &Reply::Stored { version: seen, old }, out);
    }

    /// Looks at a write's condition and at its size.
    fn judge_store(&self, task: &Task<'_>, store: &Store<'_>) -> Verdict {
        let present = self.cache.peek(task.key(), task.hash, task.now.mono);
        let size = match (store.mode, present) {
            (StoreMode::Append | StoreMode::Prepend, Some(old)) => old.value().len() + store.value.len(),
            _ => store.value.len(),
        };
        let verdict = judge_condition(store, present);
        if let Verdict::Answer(_) = verdict {
            return verdict;
        }
        if size > self.settings.max_value {
            return Verdict::Answer(Reply::Failed(&Failure::TooLarge));
        }
        let bounds = self.cache.bounds();
        let extra_len = if store.terms.is_some() { MAX_EXTRA } else { 0 };
        if bounds.max_bytes > 0 && entry::footprint_of(task.key().len(), size, extra_len) as u64 > bounds.max_bytes {
            return Verdict::Answer(Reply::Failed(&Failure::OutOfMemory));
        }
        verdict
    }

    /// A write whose time is already over leaves nothing, not even what was there.
    fn store_nothing(&mut self, task: &Task<'_>, want_old: bool, out: &mut dyn Outputs) {
        let version = self.next_version();
        let outcome = self.with_old(task, want_old, |old| Outcome::Stored { version, old });
        let old = self.remove(task, outcome, out);
        let old = old.as_ref().filter(|_| want_old).map(Entry::value);
        conclude(&mut self.stats, &mut self.mirroring, task, &Reply::Stored { version, old }, out);
    }

    /// What was in the way, or that nothing was.
    fn answer_with_present(&mut self, task: &Task<'_>, out: &mut dyn Outputs) {
        let entry = self.cache.peek(task.key(), task.hash, task.now.mono);
        let reply = entry.map_or(Reply::NotStored, |entry| Reply::Value(value_of(entry, task.now.mono)));
        conclude(&mut self.stats, &mut self.mirroring, task, &reply, out);
    }
}

fn judge_condition(store: &Store<'_>, present: Option<&Entry>) -> Verdict {
    let terms = store.terms.as_deref();
    let only = terms.and_then(|terms| terms.only.as_ref());
    let refusal = match (store.mode, present) {
        (StoreMode::Add, Some(_)) => Some(Reply::NotStored),
        (StoreMode::Append | StoreMode::Prepend, None) if terms.is_some_and(|terms| terms.create.is_some()) => None,
        (StoreMode::Replace | StoreMode::Append | StoreMode::Prepend, None) => Some(Reply::NotStored),
        (StoreMode::Cas(_), None) => Some(Reply::Miss),
        (StoreMode::Cas(version), Some(entry)) if seen_version(entry) != version => {
            // Version 0 is none at all.
            let is_late = (1..seen_version(entry).0).contains(&version.0) && terms.is_some_and(|terms| terms.stale);
            return if is_late { Verdict::WriteStale } else { Verdict::Answer(Reply::Exists) };
        }
        (StoreMode::Set | StoreMode::Add, None) => None,
        (StoreMode::Set | StoreMode::Replace | StoreMode::Append | StoreMode::Prepend | StoreMode::Cas(_), Some(entry)) => {
            guarded(only, entry)
        }
    };
    refusal.map_or(Verdict::Write, Verdict::Answer)
}

/// The entry that a write makes, and the version that clients see of it; nothing if its time is over.
fn made(task: &Task<'_>, store: &Store<'_>, is_stale: bool, present: Option<&Entry>, version: Version) -> Option<(Entry, Version)> {
    let none = Terms::default();
    let terms = store.terms.as_deref().unwrap_or(&none);
    let kept = present.map(Entry::expires);
    let joins = matches!(store.mode, StoreMode::Append | StoreMode::Prepend);
    let expires = match (present, joins) {
        (Some(old), true) => old.expires(),
        (Some(old), false) if is_stale => old.expires(),
        (None, true) => moment_of(terms.create.unwrap_or(store.expiry), task.now, None)?,
        (_, false) => moment_of(store.expiry, task.now, kept)?,
    };
    let of_old = present.map(|old| Extras::of(old.extra())).unwrap_or_default();
    let is_claimed = is_stale && of_old.is_claimed;
    let media = if joins { of_old.media } else { &terms.media };
    let is_pieced = terms.pieced || joins && present.is_some();
    let extra = Extras { is_stale, is_claimed, is_pieced, seen_version: terms.seen_version, media }.bytes();
    let value: &[u8] = &store.value;
    let (first, second, flags) = match (store.mode, present) {
        (StoreMode::Append, Some(old)) => (old.value(), value, old.flags()),
        (StoreMode::Prepend, Some(old)) => (value, old.value(), old.flags()),
        _ => (value, &b""[..], store.flags),
    };
    let entry = Entry::joined(Parts { key: task.key(), first, second, flags, extra: &extra, expires, version });
    Some((entry, terms.seen_version.unwrap_or(version)))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::net::SocketAddr;

    use super::*;
    use crate::node::command::{Action, Command};
    use crate::node::message::{Message, RequestId};
    use crate::node::testing::{card, settings};
    use crate::node::{ClientId, Origin};
    use crate::time::{Mono, Now};
    use crate::topology::MemberId;
    use crate::topology::peers::LinkId;

    /// Keeps what another node is answered.
    #[derive(Default)]
    struct Told(Vec<Outcome<'static>>);

    impl Outputs for Told {
        fn reply(&mut self, _client: ClientId, _key: &[u8], _reply: &Reply<'_>) {}
        fn send(&mut self, _link: LinkId, message: &Message<'_>) {
            if let Message::Answer { outcome, .. } = message {
                self.0.push(outcome.clone().into_owned());
            }
        }
        fn dial(&mut self, _member: MemberId, _address: SocketAddr) {}
        fn hang_up(&mut self, _link: LinkId) {}
        fn replay(&mut self) {}
        fn keep(&mut self, _view: &[u8]) {}
    }

    fn node() -> Node {
        Node::new(settings(card(8001, 1)), None, None, Now::default())
    }

    /// What another node's client is answered, whose write has this serial.
    fn answer(node: &mut Node, serial: u64, store: Store<'_>) -> Outcome<'static> {
        let command = Command { key: Cow::Borrowed(b"key"), action: Action::Store(store) };
        let origin = Origin::Peer { link: LinkId(1), id: RequestId(serial), member: MemberId(1), serial };
        let mut told = Told::default();
        node.execute_for_peer(Now::default(), origin, node.hash_of(&command), &command, Mono(1_000), &mut told);
        told.0.pop().expect("an answer")
    }

    #[test]
    fn who_asks_again_what_was_in_the_way_is_shown_it_again() {
        let mut node = node();
        answer(&mut node, 1, Store::of(&b"first"[..]));
        let second = Store { mode: StoreMode::Add, want_old: true, ..Store::of(&b"second"[..]) };
        for _ in 0..2 {
            let Outcome::Value { bytes, .. } = answer(&mut node, 2, second.clone()) else { panic!("no value") };
            assert_eq!(&bytes[..], b"first");
        }
    }
}
