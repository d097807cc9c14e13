//! A command's life here: carried out on this node's cache, journaled, answered.
//!
//! Each verb is a method: it looks, decides, writes, and answers from what it has in hand, so that a reply borrows the entry and nothing
//! is copied twice. A write gives the key a new version, appends a record, and then makes room: whatever is evicted is journaled as
//! removed, so that it does not come back from the journal.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::command::{Action, Command, Expiry, Guard, Removal, Renewal, Terms, When};
use super::extras::Extras;
use super::filling::{is_unit, put_of};
use super::message::{Change, Outcome};
use super::mirroring::{Delayed, Mirroring, Pool};
use super::remembered::Known;
use super::reply::{Claimed, Details, Failure, Reply, Value};
use super::{Node, Origin, Outputs, answer, tally};
use crate::caching::Version;
use crate::caching::cache::Cache;
use crate::caching::entry::{Entry, Parts};
use crate::caching::journal::Journal;
use crate::caching::record::Record;
use crate::hash::{KeyHash, digest_of};
use crate::stats::Stats;
use crate::time::{Mono, Now};
use crate::topology::MemberId;

/// Most entries evicted for one write: who has just taken over keys may be far over its limits.
const EVICT_AT_ONCE: usize = 64;

/// Longest old value that mirrors remember for who has asked for it.
const MOST_REPEATED: usize = 16 << 10;

type Old = Option<Cow<'static, [u8]>>;

/// A key with its two numbers and whom to answer about it: what every verb needs.
pub(super) struct Task<'a> {
    pub now: Now,
    pub origin: Origin,
    command: &'a Command<'a>,
    pub hash: KeyHash,
    pub deadline: Mono,
    /// It was carried out before, and what it changed may not be everywhere yet.
    was_done: bool,
}

/// What is known of a request before it is carried out.
pub(super) struct Attempt {
    /// What came of it, if it was carried out before.
    pub known: Known,
    /// When its client is told that nobody knows.
    pub deadline: Mono,
}

impl Task<'_> {
    pub fn key(&self) -> &[u8] {
        &self.command.key
    }
}

impl Node {
    /// Carries out a command on this node's cache.
    pub(super) fn execute(&mut self, now: Now, origin: Origin, hash: KeyHash, command: &Command<'_>, out: &mut dyn Outputs) {
        let deadline = now.mono.plus(self.settings.request_timeout_ms);
        self.execute_once(now, origin, hash, command, Attempt { known: Known::New, deadline }, out);
    }

    /// The same, unless it is known what came of it.
    pub(super) fn execute_once(
        &mut self,
        now: Now,
        origin: Origin,
        hash: KeyHash,
        command: &Command<'_>,
        attempt: Attempt,
        out: &mut dyn Outputs,
    ) {
        let was_done = matches!(attempt.known, Known::Answered(_));
        let task = Task { now, origin, command, hash, deadline: attempt.deadline, was_done };
        match attempt.known {
            Known::New => {}
            Known::Unknown if command.is_read() => {}
            Known::Late => return,
            Known::Unknown => return self.fail(origin, &command.key, &Failure::OutcomeUnknown, out),
            Known::Answered(outcome) if matches!(command.action, Action::GetAndTouch(_)) => return self.repeat_touch(&task, &outcome, out),
            Known::Answered(outcome) if matches!(command.action, Action::Claim(_)) => return self.repeat_claim(&task, &outcome, out),
            Known::Answered(outcome) => return self.answer_again(&task, outcome, out),
        }
        if !command.is_read() && self.has_too_much_under_way(hash) {
            return self.fail(origin, &command.key, &Failure::Overloaded, out);
        }
        match &command.action {
            Action::Get => self.get(&task, out),
            Action::Look => self.look(&task, out),
            Action::GetAndTouch(expiry) => self.get_and_touch(&task, *expiry, out),
            Action::Store(store) => self.store(&task, store, out),
            Action::Claim(claim) => self.claim(&task, claim, out),
            Action::Delete(removal) => self.delete(&task, removal, out),
            Action::Count(count) => self.count(&task, count, out),
            Action::Touch(renewal) => self.touch(&task, renewal, out),
            Action::Scan(scan) => self.scan(&task, scan, out),
        }
    }

    /// It was carried out before, and this was the answer.
    fn answer_again(&mut self, task: &Task<'_>, outcome: Outcome<'static>, out: &mut dyn Outputs) {
        match &task.command.action {
            Action::Scan(scan) => self.answer_scan(task, scan, outcome, out),
            _ => conclude(&mut self.stats, &mut self.mirroring, task, &outcome.reply(), out),
        }
    }

    pub(super) fn has_too_much_under_way(&self, hash: KeyHash) -> bool {
        self.pact.as_ref().is_some_and(|pact| self.mirroring.is_full(&Pool { pact, peers: &self.peers }, hash.place))
    }

    fn get(&mut self, task: &Task<'_>, out: &mut dyn Outputs) {
        let entry = self.cache.get(task.key(), task.hash, task.now.mono);
        let reply = entry.map_or(Reply::Miss, |entry| Reply::Value(value_of(entry, task.now.mono)));
        conclude(&mut self.stats, &mut self.mirroring, task, &reply, out);
    }

    fn look(&mut self, task: &Task<'_>, out: &mut dyn Outputs) {
        let entry = self.cache.get(task.key(), task.hash, task.now.mono);
        let reply = entry.map_or(Reply::Miss, |entry| Reply::Value(value_of(entry, task.now.mono).without_bytes()));
        conclude(&mut self.stats, &mut self.mirroring, task, &reply, out);
    }

    /// It was carried out before: the same is answered again, from what the key is now.
    fn repeat_touch(&mut self, task: &Task<'_>, outcome: &Outcome<'_>, out: &mut dyn Outputs) {
        let entry = self.cache.get(task.key(), task.hash, task.now.mono);
        let reply = entry.map_or_else(|| gone(task, outcome), |entry| Reply::Value(value_of(entry, task.now.mono)));
        conclude(&mut self.stats, &mut self.mirroring, task, &reply, out);
    }

    fn get_and_touch(&mut self, task: &Task<'_>, expiry: Expiry, out: &mut dyn Outputs) {
        let pool = self.pact.as_ref().map(|pact| Pool { pact, peers: &self.peers });
        let entry = renew(&mut self.cache, self.journal.as_mut(), &mut self.mirroring, pool, (task, expiry), out);
        let reply = entry.map_or(Reply::Miss, |entry| Reply::Value(value_of(entry, task.now.mono)));
        conclude(&mut self.stats, &mut self.mirroring, task, &reply, out);
        self.make_room(out);
    }

    fn touch(&mut self, task: &Task<'_>, renewal: &Renewal<'_>, out: &mut dyn Outputs) {
        let present = self.cache.peek(task.key(), task.hash, task.now.mono);
        if let Some(refusal) = present.and_then(|entry| refusal_of(renewal, entry, task.now)) {
            return self.answer(task, &refusal, out);
        }
        let pool = self.pact.as_ref().map(|pact| Pool { pact, peers: &self.peers });
        let entry = renew(&mut self.cache, self.journal.as_mut(), &mut self.mirroring, pool, (task, renewal.expiry), out);
        let reply = if entry.is_some() { Reply::Touched } else { Reply::Miss };
        self.answer(task, &reply, out);
        self.make_room(out);
    }

    fn delete(&mut self, task: &Task<'_>, removal: &Removal<'_>, out: &mut dyn Outputs) {
        if let Some(terms) = removal.terms.as_deref() {
            let Some(present) = self.cache.peek(task.key(), task.hash, task.now.mono) else { return self.answer(task, &Reply::Miss, out) };
            if let Some(refusal) = guarded(terms.only.as_ref(), present) {
                return self.answer(task, &refusal, out);
            }
            if terms.stale || terms.empties {
                return self.leave_something(task, terms, out);
            }
        }
        let outcome = self.with_old(task, removal.want_old, |old| Outcome::Deleted { old });
        let removed = self.remove(task, outcome, out);
        let reply = removed.as_ref().map_or(Reply::Miss, |entry| Reply::Deleted { old: removal.want_old.then(|| entry.value()) });
        conclude(&mut self.stats, &mut self.mirroring, task, &reply, out);
    }

    /// What a forwarded request is answered that may ask for the old value, for who owns the key next and is asked again: the value is gone by
    /// then. Of a large one it is only known that it cannot be told.
    pub(super) fn with_old(&self, task: &Task<'_>, want_old: bool, outcome: impl FnOnce(Old) -> Outcome<'static>) -> Outcome<'static> {
        let is_forwarded = matches!(task.origin, Origin::Peer { serial: 1.., .. });
        let present = if want_old && is_forwarded { self.cache.peek(task.key(), task.hash, task.now.mono) } else { None };
        match present.map(Entry::value) {
            Some(old) if old.len() > MOST_REPEATED => Outcome::Failed(Failure::OutcomeUnknown),
            old => outcome(old.map(|old| Cow::Owned(old.to_vec()))),
        }
    }

    /// A removal that leaves the key: its value marked as stale, or an empty one, or both.
    fn leave_something(&mut self, task: &Task<'_>, terms: &Terms<'_>, out: &mut dyn Outputs) {
        let version = self.next_version();
        let Some(old) = self.cache.peek(task.key(), task.hash, task.now.mono) else { return };
        let expires = terms.expiry.map_or(Some(old.expires()), |expiry| moment_of(expiry, task.now, Some(old.expires())));
        let media = if terms.empties { b"" } else { Extras::of(old.extra()).media };
        let extra = Extras { is_stale: terms.stale, seen_version: terms.seen_version, media, ..Extras::default() }.bytes();
        let (first, flags) = if terms.empties { (&b""[..], 0) } else { (old.value(), old.flags()) };
        let expires = expires.unwrap_or(task.now.mono);
        let entry = Entry::joined(Parts { key: task.key(), first, second: b"", flags, extra: &extra, expires, version });
        self.write(task, entry, Outcome::Deleted { old: None }, out);
        self.answer(task, &Reply::Deleted { old: None }, out);
    }

    /// Puts an entry in as a new item, as [`rewrite`](Node::rewrite) does, and makes room. Returns what it replaced.
    pub(super) fn write(&mut self, task: &Task<'_>, entry: Entry, outcome: Outcome<'static>, out: &mut dyn Outputs) -> Option<Entry> {
        self.stats.total_items += 1;
        let old = self.rewrite(task, entry, outcome, out);
        self.make_room(out);
        old
    }

    /// Puts an entry in, journals it and sends it to its mirrors. Another state of the same value is no new item; room is made by who calls.
    pub(super) fn rewrite(&mut self, task: &Task<'_>, entry: Entry, outcome: Outcome<'static>, out: &mut dyn Outputs) -> Option<Entry> {
        if let Some(journal) = &mut self.journal {
            append_to(journal, &entry, task.now);
        }
        self.mirror(task, &put_of(&entry, task.now.mono), outcome, out);
        self.cache.put(task.hash, entry, task.now.mono)
    }

    pub(super) fn remove(&mut self, task: &Task<'_>, outcome: Outcome<'static>, out: &mut dyn Outputs) -> Option<Entry> {
        self.remove_key(task.now, task.key(), task.hash, tag_of(task, outcome), out)
    }

    /// Removes a key here, in the journal and at its mirrors. `answers` is the forwarded request that is answered by it, and how.
    pub(super) fn remove_key(
        &mut self,
        now: Now,
        key: &[u8],
        hash: KeyHash,
        answers: Option<(MemberId, u64, Outcome<'static>)>,
        out: &mut dyn Outputs,
    ) -> Option<Entry> {
        let entry = self.cache.remove(key, hash, now.mono)?;
        let version = self.journal_removal(key);
        if let Some(pact) = &self.pact {
            let pool = Pool { pact, peers: &self.peers };
            let change = Change::Delete { key: Cow::Borrowed(key), version };
            self.mirroring.latest = self.mirroring.change(&pool, hash, &change, answers, out);
        }
        self.note_removed(key);
        Some(entry)
    }

    fn mirror(&mut self, task: &Task<'_>, change: &Change<'_>, outcome: Outcome<'static>, out: &mut dyn Outputs) {
        if let Some(pact) = &self.pact {
            let pool = Pool { pact, peers: &self.peers };
            self.mirroring.latest = self.mirroring.change(&pool, task.hash, change, tag_of(task, outcome), out);
        }
    }

    /// Evicts until the cache keeps to its limits again. What is evicted is evicted everywhere.
    pub(super) fn make_room(&mut self, out: &mut dyn Outputs) {
        for _ in 0..if self.pact.is_some() { EVICT_AT_ONCE } else { usize::MAX } {
            let evicted = match &self.pact {
                None => self.cache.evict(),
                Some(pact) => self.cache.evict_owned(|place| pact.owns(place)),
            };
            let Some(evicted) = evicted else { return };
            self.stats.evictions += 1;
            let version = self.journal_removal(evicted.key());
            self.note_removed(evicted.key());
            if let Some(pact) = &self.pact {
                let pool = Pool { pact, peers: &self.peers };
                let hash = self.hasher.hash(evicted.key());
                self.mirroring.change(&pool, hash, &Change::Delete { key: Cow::Borrowed(evicted.key()), version }, None, out);
            }
        }
    }

    /// Does what another node says of a key that it owns; the key's numbers are given.
    pub(super) fn apply(&mut self, now: Now, hash: KeyHash, change: &Change<'_>) {
        match change {
            Change::Put { key, value, flags, extra, ttl_ms, version } => {
                let expires = ttl_ms.map_or(Mono::NEVER, |ms| now.mono.plus(ms));
                let entry = Entry::joined(Parts { key, first: value, second: b"", flags: *flags, extra, expires, version: *version });
                if let Some(journal) = &mut self.journal {
                    append_to(journal, &entry, now);
                }
                self.cache.put_copy(hash, entry, now.mono);
                self.version = self.version.max(*version);
            }
            Change::Delete { key, version } => {
                self.cache.remove(key, hash, now.mono);
                self.version = self.version.max(*version);
                self.journal_removal(key);
            }
            Change::Keep { key, version, ttl_ms } => {
                let expires = ttl_ms.map_or(Mono::NEVER, |ms| now.mono.plus(ms));
                if let Some(entry) = self.cache.set_expiry(key, hash, expires, now.mono)
                    && let Some(journal) = &mut self.journal
                {
                    debug_assert_eq!(entry.version(), *version);
                    append_to(journal, entry, now);
                }
            }
            Change::Drop { from, to, digests } => self.drop_listed(*from, *to, digests),
        }
    }

    /// The owner does not have these.
    fn drop_listed(&mut self, from: u32, to: u32, digests: &[u64]) {
        if self.mistakes().keep_unlisted || !is_unit((from, to)) {
            return;
        }
        let wanted: BTreeSet<u64> = digests.iter().copied().collect();
        let listed = |entry: &&Entry| wanted.contains(&digest_of(entry.key()).1);
        let keys: Vec<Box<[u8]>> =
            self.cache.in_places(from, to).map(|(_, entry)| entry).filter(listed).map(|entry| Box::from(entry.key())).collect();
        keys.iter().for_each(|key| self.drop_copy(key));
    }

    /// Forgets everything, at once.
    pub(super) fn flush(&mut self, _now: Now) {
        self.flush_at = Mono::NEVER;
        self.cache.flush();
        self.reconstruction_is_void();
        let version = self.next_version();
        if let Some(journal) = &mut self.journal {
            journal.append(&Record::Flush { version });
        }
    }

    /// The next version: greater than any this node has given or read.
    pub(super) fn next_version(&mut self) -> Version {
        self.version = self.version.next();
        self.version
    }

    fn journal_removal(&mut self, key: &[u8]) -> Version {
        let version = self.next_version();
        if let Some(journal) = &mut self.journal {
            journal.append(&Record::Delete { key, version });
        }
        version
    }
}

/// Answers whoever asked, once what the answer tells is everywhere; a client's request is counted with it.
pub(super) fn conclude(stats: &mut Stats, mirroring: &mut Mirroring, task: &Task<'_>, reply: &Reply<'_>, out: &mut dyn Outputs) {
    match task.origin {
        Origin::Client(_) => tally::count(stats, &task.command.action, reply),
        Origin::Peer { member, serial: serial @ 1.., .. } => {
            let is_won = matches!(reply, Reply::Value(value) if value.details.claim == Claimed::ByYou);
            let outcome = match reply {
                _ if is_won => Outcome::Done,
                Reply::Value(_) => Outcome::Touched,
                reply => Outcome::of(reply).into_owned(),
            };
            // What has only looked, or has only seen what was in its way, may look again: nothing need be remembered of it.
            let has_seen = matches!((&task.command.action, reply), (Action::Store(_), Reply::Value(_)));
            if is_won || !(task.command.is_read() || has_seen) {
                mirroring.remembered.note(member, serial, task.hash, outcome);
            }
        }
        Origin::Peer { .. } | Origin::Walk(_) => {}
    }
    let is_of_change = mirroring.latest.is_some() || task.was_done;
    match mirroring.take_awaited(task.hash) {
        None => answer(out, task.origin, task.key(), reply),
        Some(number) => {
            let outcome = Outcome::of(reply).into_owned();
            let (origin, deadline) = (task.origin, task.deadline);
            let key = if let Origin::Client(_) = origin { task.key().into() } else { Box::default() };
            mirroring.delay(number, Delayed { origin, key, outcome, is_of_change, deadline });
        }
    }
}

/// What is answered again of a key that is not there. If it was there, it may have gone by this very request, by a new expiry that is over:
/// that nothing was found would be wrong, and what was found nobody knows any more.
pub(super) fn gone(task: &Task<'_>, outcome: &Outcome<'_>) -> Reply<'static> {
    let is_the_same = *outcome == Outcome::Miss || task.command.is_read();
    if is_the_same { Reply::Miss } else { Reply::Failed(&Failure::OutcomeUnknown) }
}

/// The forwarded request that a change answers, and how.
fn tag_of(task: &Task<'_>, outcome: Outcome<'static>) -> Option<(MemberId, u64, Outcome<'static>)> {
    match task.origin {
        Origin::Peer { member, serial: serial @ 1.., .. } => Some((member, serial, outcome)),
        Origin::Peer { .. } | Origin::Client(_) | Origin::Walk(_) => None,
    }
}

/// Gives the key a new expiry, journals and mirrors the entry as it is now. A moment that has passed removes it later, as any expiry does:
/// the caller still sees the value once, as memcached's clients do.
fn renew<'c>(
    cache: &'c mut Cache,
    journal: Option<&mut Journal>,
    mirroring: &mut Mirroring,
    pool: Option<Pool<'_>>,
    (task, expiry): (&Task<'_>, Expiry),
    out: &mut dyn Outputs,
) -> Option<&'c Entry> {
    let kept = cache.peek(task.key(), task.hash, task.now.mono)?.expires();
    let expires = moment_of(expiry, task.now, Some(kept)).unwrap_or(task.now.mono);
    let entry = cache.set_expiry(task.key(), task.hash, expires, task.now.mono)?;
    if let Some(journal) = journal {
        append_to(journal, entry, task.now);
    }
    if let Some(pool) = pool {
        let change = put_of(entry, task.now.mono);
        mirroring.latest = mirroring.change(&pool, task.hash, &change, tag_of(task, Outcome::Touched), out);
    }
    Some(entry)
}

/// An entry as an answer.
pub(super) fn value_of(entry: &Entry, now: Mono) -> Value<'_> {
    let extras = Extras::of(entry.extra());
    let details = Details { media: extras.media, is_stale: extras.is_stale, is_pieced: extras.is_pieced, ..Details::default() };
    let version = extras.seen_version.unwrap_or(entry.version());
    Value { bytes: entry.value(), flags: entry.flags(), version, ttl_ms: ttl_of(entry.expires(), now), details }
}

/// The version that clients see.
pub(super) fn seen_version(entry: &Entry) -> Version {
    Extras::of(entry.extra()).seen_version.unwrap_or(entry.version())
}

/// What is left of its time; `None` is for ever.
pub(super) fn ttl_of(expires: Mono, now: Mono) -> Option<u64> {
    (expires != Mono::NEVER).then(|| expires.since(now))
}

/// The answer to who wants something else than this entry.
pub(super) fn guarded(only: Option<&Guard<'_>>, entry: &Entry) -> Option<Reply<'static>> {
    match only? {
        Guard::Version(version) => (seen_version(entry) != *version).then_some(Reply::Exists),
        Guard::Value(value) => (entry.value() != &value[..]).then_some(Reply::NotStored),
    }
}

/// The answer to a new expiry that is not to be given to this entry.
fn refusal_of(renewal: &Renewal<'_>, entry: &Entry, now: Now) -> Option<Reply<'static>> {
    let present = entry.expires();
    let new = moment_of(renewal.expiry, now, Some(present)).unwrap_or(now.mono);
    let holds = match renewal.when {
        When::Always => true,
        When::HasNone => present == Mono::NEVER,
        When::HasOne => present != Mono::NEVER,
        When::Later => new > present,
        When::Sooner => new < present,
        When::SoonerIfOne => present != Mono::NEVER && new < present,
    };
    let only = renewal.terms.as_ref().and_then(|terms| terms.only.as_ref());
    guarded(only, entry).or((!holds).then_some(Reply::NotStored))
}

/// Journals an entry, without copying a large value.
fn append_to(journal: &mut Journal, entry: &Entry, now: Now) {
    journal.append_shared(&record_of(entry, now), entry.block());
}

/// An entry as a record.
fn record_of(entry: &Entry, now: Now) -> Record<'_> {
    let expires = entry.expires();
    let expiry = (expires != Mono::NEVER).then(|| now.wall_at(expires));
    let (key, value, flags, extra, version) = (entry.key(), entry.value(), entry.flags(), entry.extra(), entry.version());
    Record::Put { key, value, flags, extra, expiry, version }
}

/// The moment a client means, for a value that would else end at `present`; `None` if it is over.
pub(super) fn moment_of(expiry: Expiry, now: Now, present: Option<Mono>) -> Option<Mono> {
    match expiry {
        Expiry::Never => Some(Mono::NEVER),
        Expiry::InMs(0) => None,
        Expiry::InMs(ms) => Some(now.mono.plus(ms)),
        Expiry::AtWallMs(ms) if ms <= now.wall.0 => None,
        Expiry::AtWallMs(ms) => Some(now.mono.plus(ms - now.wall.0)),
        Expiry::Keep => Some(present.unwrap_or(Mono::NEVER)),
        Expiry::Longer(ms) => Some(present.filter(|end| *end != Mono::NEVER).map_or(Mono::NEVER, |end| end.plus(ms))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[test]
    fn an_expiry_in_each_of_its_senses() {
        let now = Now { mono: Mono(1_000), wall: Wall(50_000) };
        assert_eq!(moment_of(Expiry::Never, now, None), Some(Mono::NEVER));
        assert_eq!(moment_of(Expiry::InMs(0), now, None), None);
        assert_eq!(moment_of(Expiry::InMs(7), now, None), Some(Mono(1_007)));
        assert_eq!(moment_of(Expiry::AtWallMs(49_999), now, None), None);
        assert_eq!(moment_of(Expiry::AtWallMs(50_300), now, None), Some(Mono(1_300)));
        assert_eq!(moment_of(Expiry::Keep, now, Some(Mono(1_400))), Some(Mono(1_400)));
        assert_eq!(moment_of(Expiry::Keep, now, None), Some(Mono::NEVER));
        assert_eq!(moment_of(Expiry::Longer(5), now, Some(Mono(1_400))), Some(Mono(1_405)));
        assert_eq!(moment_of(Expiry::Longer(5), now, Some(Mono::NEVER)), Some(Mono::NEVER));
    }
}
