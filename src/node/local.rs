//! A command's life here: carried out on this node's cache, journaled, answered.
//!
//! Each verb is a method: it looks, decides, writes, and answers from what it has in hand, so that a reply borrows the entry and nothing
//! is copied twice. A write gives the key a new version, appends a record, and then makes room: whatever is evicted is journaled as
//! removed, so that it does not come back from the journal.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::command::{Action, Command, Expiry, Store, StoreMode};
use super::filling::{is_in_one_partition, put_of};
use super::message::{Change, Outcome};
use super::mirroring::{Delayed, Mirroring, Pool};
use super::remembered::Known;
use super::reply::{Failure, Reply, Value};
use super::{Node, Origin, Outputs, answer, tally};
use crate::caching::cache::Cache;
use crate::caching::entry::{Entry, Parts};
use crate::caching::journal::Journal;
use crate::caching::record::Record;
use crate::caching::{Version, entry};
use crate::hash::{KeyHash, digest_of};
use crate::stats::Stats;
use crate::time::{Mono, Now};
use crate::topology::MemberId;

/// The most digits of a decimal number below 2^64.
const MAX_DIGITS: usize = 20;
/// Most entries evicted for one write: who has just taken over keys may be far over its limits.
const EVICT_AT_ONCE: usize = 64;

/// A key with its two numbers and whom to answer about it: what every verb needs.
struct Task<'a> {
    now: Now,
    origin: Origin,
    command: &'a Command<'a>,
    hash: KeyHash,
    deadline: Mono,
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
    fn key(&self) -> &[u8] {
        &self.command.key
    }
}

/// What to do with a write, once its condition has been looked at.
enum Verdict {
    Write,
    Answer(Reply<'static>),
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
            Known::Late => return,
            Known::Unknown => return self.fail(origin, &command.key, &Failure::OutcomeUnknown, out),
            Known::Answered(_) if matches!(command.action, Action::GetAndTouch(_)) => return self.get(&task, out),
            Known::Answered(outcome) => return conclude(&mut self.stats, &mut self.mirroring, &task, &outcome.reply(), out),
        }
        if self.mirroring.is_full() && !command.is_read() {
            return self.fail(origin, &command.key, &Failure::Overloaded, out);
        }
        match &command.action {
            Action::Get => self.get(&task, out),
            Action::GetAndTouch(expiry) => self.get_and_touch(&task, *expiry, out),
            Action::Store(store) => self.store(&task, store, out),
            Action::Delete { want_old } => self.delete(&task, *want_old, out),
            Action::Increment(delta) => self.add_to_number(&task, |number| number.wrapping_add(*delta), out),
            Action::Decrement(delta) => self.add_to_number(&task, |number| number.saturating_sub(*delta), out),
            Action::Touch(expiry) => self.touch(&task, *expiry, out),
        }
    }

    fn get(&mut self, task: &Task<'_>, out: &mut dyn Outputs) {
        let entry = self.cache.get(task.key(), task.hash, task.now.mono);
        let reply = entry.map_or(Reply::Miss, |entry| Reply::Value(value_of(entry, task.now.mono)));
        conclude(&mut self.stats, &mut self.mirroring, task, &reply, out);
    }

    fn get_and_touch(&mut self, task: &Task<'_>, expiry: Expiry, out: &mut dyn Outputs) {
        let entry = renew(&mut self.cache, self.journal.as_mut(), task, expiry);
        if let (Some(entry), Some(pact)) = (entry, &self.pact) {
            let pool = Pool { pact, peers: &self.peers };
            let change = put_of(entry, task.now.mono);
            self.mirroring.latest = self.mirroring.change(&pool, task.hash, &change, tag_of(task, Outcome::Touched), out);
        }
        let reply = entry.map_or(Reply::Miss, |entry| Reply::Value(value_of(entry, task.now.mono)));
        conclude(&mut self.stats, &mut self.mirroring, task, &reply, out);
        self.make_room(out);
    }

    fn touch(&mut self, task: &Task<'_>, expiry: Expiry, out: &mut dyn Outputs) {
        let entry = renew(&mut self.cache, self.journal.as_mut(), task, expiry);
        if let (Some(entry), Some(pact)) = (entry, &self.pact) {
            let pool = Pool { pact, peers: &self.peers };
            let change = put_of(entry, task.now.mono);
            self.mirroring.latest = self.mirroring.change(&pool, task.hash, &change, tag_of(task, Outcome::Touched), out);
        }
        let reply = if entry.is_some() { Reply::Touched } else { Reply::Miss };
        conclude(&mut self.stats, &mut self.mirroring, task, &reply, out);
        self.make_room(out);
    }

    fn store(&mut self, task: &Task<'_>, store: &Store<'_>, out: &mut dyn Outputs) {
        if let Verdict::Answer(reply) = self.judge_store(task, store) {
            return conclude(&mut self.stats, &mut self.mirroring, task, &reply, out);
        }
        let Some(expires) = moment_of(store.expiry, task.now) else { return self.store_nothing(task, store.want_old, out) };
        let version = self.next_version();
        let value: &[u8] = &store.value;
        let entry = match (store.mode, self.cache.peek(task.key(), task.hash, task.now.mono)) {
            (StoreMode::Append, Some(old)) => Entry::joined(Parts { version, second: value, ..old.parts() }),
            (StoreMode::Prepend, Some(old)) => Entry::joined(Parts { version, first: value, second: old.value(), ..old.parts() }),
            _ => Entry::new(task.key(), value, store.flags, expires, version),
        };
        let old = self.write(task, entry, Outcome::Stored { version, old: None }, out);
        let old = old.as_ref().filter(|_| store.want_old).map(Entry::value);
        conclude(&mut self.stats, &mut self.mirroring, task, &Reply::Stored { version, old }, out);
    }

    /// Looks at a write's condition and at its size.
    fn judge_store(&self, task: &Task<'_>, store: &Store<'_>) -> Verdict {
        let present = self.cache.peek(task.key(), task.hash, task.now.mono);
        let (size, extra_len) = match (store.mode, present) {
            (StoreMode::Append | StoreMode::Prepend, Some(old)) => (old.value().len() + store.value.len(), old.extra().len()),
            _ => (store.value.len(), 0),
        };
        let refusal = match (store.mode, present) {
            (StoreMode::Add, Some(_)) => Some(Reply::NotStored),
            (StoreMode::Replace | StoreMode::Append | StoreMode::Prepend, None) => Some(Reply::NotStored),
            (StoreMode::Cas(_), None) => Some(Reply::Miss),
            (StoreMode::Cas(version), Some(entry)) if entry.version() != version => Some(Reply::Exists),
            (StoreMode::Set | StoreMode::Add, _) => None,
            (StoreMode::Replace | StoreMode::Append | StoreMode::Prepend | StoreMode::Cas(_), Some(_)) => None,
        };
        if let Some(reply) = refusal {
            return Verdict::Answer(reply);
        }
        if size > self.settings.max_value {
            return Verdict::Answer(Reply::Failed(&Failure::TooLarge));
        }
        let bounds = self.cache.bounds();
        if bounds.max_bytes > 0 && entry::footprint_of(task.key().len(), size, extra_len) as u64 > bounds.max_bytes {
            return Verdict::Answer(Reply::Failed(&Failure::OutOfMemory));
        }
        Verdict::Write
    }

    /// A write whose time is already over leaves nothing, not even what was there.
    fn store_nothing(&mut self, task: &Task<'_>, want_old: bool, out: &mut dyn Outputs) {
        let version = self.next_version();
        let old = self.remove(task, Outcome::Stored { version, old: None }, out);
        let old = old.as_ref().filter(|_| want_old).map(Entry::value);
        conclude(&mut self.stats, &mut self.mirroring, task, &Reply::Stored { version, old }, out);
    }

    fn delete(&mut self, task: &Task<'_>, want_old: bool, out: &mut dyn Outputs) {
        let removed = self.remove(task, Outcome::Deleted { old: None }, out);
        let reply = removed.as_ref().map_or(Reply::Miss, |entry| Reply::Deleted { old: want_old.then(|| entry.value()) });
        conclude(&mut self.stats, &mut self.mirroring, task, &reply, out);
    }

    fn add_to_number(&mut self, task: &Task<'_>, change: impl Fn(u64) -> u64, out: &mut dyn Outputs) {
        let Some(present) = self.cache.peek(task.key(), task.hash, task.now.mono) else {
            return conclude(&mut self.stats, &mut self.mirroring, task, &Reply::Miss, out);
        };
        let Some(number) = number_in(present.value()) else {
            return conclude(&mut self.stats, &mut self.mirroring, task, &Reply::Failed(&Failure::NotANumber), out);
        };
        let number = change(number);
        let (flags, expires) = (present.flags(), present.expires());
        let version = self.next_version();
        let mut digits = itoa::Buffer::new();
        let entry = Entry::new(task.key(), digits.format(number).as_bytes(), flags, expires, version);
        self.write(task, entry, Outcome::Number { number, version }, out);
        conclude(&mut self.stats, &mut self.mirroring, task, &Reply::Number { number, version }, out);
    }

    /// Puts an entry in, journals it, sends it to its mirrors and makes room. Returns what it replaced.
    fn write(&mut self, task: &Task<'_>, entry: Entry, outcome: Outcome<'static>, out: &mut dyn Outputs) -> Option<Entry> {
        if let Some(journal) = &mut self.journal {
            journal.append(&record_of(&entry, task.now));
        }
        self.mirror(task, &put_of(&entry, task.now.mono), outcome, out);
        self.stats.total_items += 1;
        let old = self.cache.put(task.hash, entry, task.now.mono);
        self.make_room(out);
        old
    }

    fn remove(&mut self, task: &Task<'_>, outcome: Outcome<'static>, out: &mut dyn Outputs) -> Option<Entry> {
        let entry = self.cache.remove(task.key(), task.hash, task.now.mono)?;
        let version = self.journal_removal(task.key());
        self.mirror(task, &Change::Delete { key: Cow::Borrowed(task.key()), version }, outcome, out);
        self.note_removed(task.key());
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

    /// Does what another node says of a key that it owns.
    pub(super) fn apply(&mut self, now: Now, change: &Change<'_>) {
        match change {
            Change::Put { key, value, flags, extra, ttl_ms, version } => {
                let expires = ttl_ms.map_or(Mono::NEVER, |ms| now.mono.plus(ms));
                let entry = Entry::joined(Parts { key, first: value, second: b"", flags: *flags, extra, expires, version: *version });
                if let Some(journal) = &mut self.journal {
                    journal.append(&record_of(&entry, now));
                }
                self.cache.put_copy(self.hasher.hash(key), entry, now.mono);
                self.version = self.version.max(*version);
            }
            Change::Delete { key, version } => {
                self.cache.remove(key, self.hasher.hash(key), now.mono);
                self.version = self.version.max(*version);
                self.journal_removal(key);
            }
            Change::Keep { key, version, ttl_ms } => {
                let hash = self.hasher.hash(key);
                let expires = ttl_ms.map_or(Mono::NEVER, |ms| now.mono.plus(ms));
                if let Some(entry) = self.cache.set_expiry(key, hash, expires, now.mono)
                    && let Some(journal) = &mut self.journal
                {
                    debug_assert_eq!(entry.version(), *version);
                    journal.append(&record_of(entry, now));
                }
            }
            Change::Drop { from, to, digests } => self.drop_listed(*from, *to, digests),
        }
    }

    /// The owner does not have these.
    fn drop_listed(&mut self, from: u32, to: u32, digests: &[u64]) {
        if self.mistakes().keep_unlisted || !is_in_one_partition((from, to)) {
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
fn conclude(stats: &mut Stats, mirroring: &mut Mirroring, task: &Task<'_>, reply: &Reply<'_>, out: &mut dyn Outputs) {
    match task.origin {
        Origin::Client(_) => tally::count(stats, &task.command.action, reply),
        Origin::Peer { member, serial: serial @ 1.., .. } => {
            let outcome = if let Reply::Value(_) = reply { Outcome::Touched } else { Outcome::of(reply).into_owned() };
            mirroring.remembered.note(member, serial, outcome);
        }
        Origin::Peer { .. } => {}
    }
    let is_of_change = mirroring.latest.is_some() || task.was_done;
    match mirroring.take_awaited(task.hash) {
        None => answer(out, task.origin, task.key(), reply),
        Some(number) => {
            let outcome = Outcome::of(reply).into_owned();
            let (origin, key, deadline) = (task.origin, task.key().into(), task.deadline);
            mirroring.delay(number, Delayed { origin, key, outcome, is_of_change, deadline });
        }
    }
}

/// The forwarded request that a change answers, and how.
fn tag_of(task: &Task<'_>, outcome: Outcome<'static>) -> Option<(MemberId, u64, Outcome<'static>)> {
    match task.origin {
        Origin::Peer { member, serial: serial @ 1.., .. } => Some((member, serial, outcome)),
        Origin::Peer { .. } | Origin::Client(_) => None,
    }
}

/// Gives the key a new expiry and journals the entry as it is now. A moment that has passed removes it later, as any expiry does: the
/// caller still sees the value once, as memcached's clients do.
fn renew<'c>(cache: &'c mut Cache, journal: Option<&mut Journal>, task: &Task<'_>, expiry: Expiry) -> Option<&'c Entry> {
    let expires = moment_of(expiry, task.now).unwrap_or(task.now.mono);
    let entry = cache.set_expiry(task.key(), task.hash, expires, task.now.mono)?;
    if let Some(journal) = journal {
        journal.append(&record_of(entry, task.now));
    }
    Some(entry)
}

/// An entry as an answer.
fn value_of(entry: &Entry, now: Mono) -> Value<'_> {
    let expires = entry.expires();
    let ttl_ms = (expires != Mono::NEVER).then(|| expires.since(now));
    Value { bytes: entry.value(), flags: entry.flags(), version: entry.version(), ttl_ms }
}

/// An entry as a record.
fn record_of(entry: &Entry, now: Now) -> Record<'_> {
    let expires = entry.expires();
    let expiry = (expires != Mono::NEVER).then(|| now.wall_at(expires));
    let (key, value, flags, extra, version) = (entry.key(), entry.value(), entry.flags(), entry.extra(), entry.version());
    Record::Put { key, value, flags, extra, expiry, version }
}

/// The moment a client means; `None` if it is over.
fn moment_of(expiry: Expiry, now: Now) -> Option<Mono> {
    match expiry {
        Expiry::Never => Some(Mono::NEVER),
        Expiry::InMs(0) => None,
        Expiry::InMs(ms) => Some(now.mono.plus(ms)),
        Expiry::AtWallMs(ms) if ms <= now.wall.0 => None,
        Expiry::AtWallMs(ms) => Some(now.mono.plus(ms - now.wall.0)),
    }
}

/// The decimal number that a value holds; blanks behind it are no part of it.
fn number_in(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii_end();
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[test]
    fn numbers_are_decimal_and_below_two_to_the_sixty_four() {
        assert_eq!(number_in(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number_in(b"18446744073709551616"), None);
        assert_eq!(number_in(b"0012 "), Some(12));
        for bad in [&b""[..], b" ", b"-1", b"1.0", b"1a", b"hi", b" 1", b"000000000000000000001"] {
            assert_eq!(number_in(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_expiry_in_each_of_its_senses() {
        let now = Now { mono: Mono(1_000), wall: Wall(50_000) };
        assert_eq!(moment_of(Expiry::Never, now), Some(Mono::NEVER));
        assert_eq!(moment_of(Expiry::InMs(0), now), None);
        assert_eq!(moment_of(Expiry::InMs(7), now), Some(Mono(1_007)));
        assert_eq!(moment_of(Expiry::AtWallMs(49_999), now), None);
        assert_eq!(moment_of(Expiry::AtWallMs(50_300), now), Some(Mono(1_300)));
    }
}
