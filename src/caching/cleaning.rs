//! Keeps the journal as small as what lives, by *restating* the cache.
//!
//! A journal grows with every write; of what it says, ever more is outdated. When it is more than twice what a journal of the living
//! would be, the [`Cleaner`] walks through the cache in bounded steps, a few slices a turn, and appends each entry as a fresh put, between
//! the turn's own records. When the walk is done and its last byte is on disk, every segment older than the one in which the walk
//! began is removed. Nothing is read from disk, nothing is forked, and no turn does more than its budget. The rejected alternative, to
//! read the oldest segment back and append what in it still lives, reads from disk on the loop's thread, keeps deletes for as long as
//! an older put may lurk, and does not help against a segment that cannot be trusted. A restatement does: it is also how a journal
//! heals after the disk failed.
//!
//! # Why nothing is lost and nothing comes back
//!
//! Every change of the cache is appended in the turn it happens in, and a restated put says what the cache says at that moment. So *the
//! records of a key, in the order of the journal, are its states in the order of time*, some of them said twice. Replay goes in that
//! order (by segment number, then by offset) and ends with the last. In particular:
//!
//! 1. An entry restated, then overwritten or deleted: the change's record stands behind the restated put.
//! 2. An entry deleted before the walk reaches it: the walk does not find it; the delete stands behind every older put.
//! 3. An entry put during the walk: it is found or not; its own record says it anyway.
//! 4. A crash during the walk: the old segments are all there, with a part of the restatement behind them that repeats what they say.
//! 5. A crash, or a disk that refuses, during the removals: segments go oldest first and one by one, so what remains is always the
//!    journal from some moment on. For a key with a record in it, the last one is the last one. A key with none was not changed since that
//!    moment, so it was not alive during the walk, or the walk would have stated it: it is absent, and that is right.
//! 6. The journal breaks during the walk or before its bytes are safe: records were dropped, so the walk begins again.
//!
//! What this cannot mend: of deletes that a broken journal dropped, the older puts stand until their segments are removed. A crash before
//! that brings them back, at this node; a pool compares before it answers.
//!
//! The segment in which the walk begins stays, with its part from before: by 5 that does no harm, and it saves a rotation.
//! All this needs the walk to meet every entry that lives throughout it: an entry's partition and slice depend on its key alone, and
//! the number of slices of a partition is fixed when the walk enters it.
//!
//! And it needs the cache to hold all that the old segments say, which is not so before they are read back: a cleaner does nothing until
//! [`open`](Cleaner::open) tells it so.

use std::io;

use crate::caching::cache::{Cache, PARTITIONS};
use crate::caching::entry::Entry;
use crate::caching::journal::{Journal, RETRY_MS, SegmentName, SegmentStore};
use crate::caching::record::{RECORD_OVERHEAD, Record};
use crate::time::{Mono, Now};

/// What visiting a slice takes from a step's budget, in bytes, even if the slice is empty.
const SLICE_COST: u64 = 64;

/// Restates the cache when the journal has grown too long, or has missed something.
#[derive(Debug, Default)]
pub struct Cleaner {
    opened: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Idle,
    Walking(Walk),
    Removing(Removal),
}

/// A walk through the cache.
#[derive(Clone, Copy, Debug)]
struct Walk {
    /// The number of the segment in which it began.
    keep_from: u64,
    /// How often the journal had failed when it began.
    failures: u64,
    partition: usize,
    slice: u32,
    slices: u32,
}

/// What is left to do after a walk.
#[derive(Clone, Copy, Debug)]
struct Removal {
    keep_from: u64,
    failures: u64,
    /// The position behind the walk's last byte.
    position: u64,
    retry_at: Mono,
}

impl Cleaner {
    /// A cleaner that does nothing until it is opened.
    #[must_use]
    pub fn new() -> Cleaner {
        Cleaner::default()
    }

    /// From now on the cache holds everything that the journal says, or what it does not hold is not wanted any more.
    pub fn open(&mut self) {
        self.opened = true;
    }

    /// Is there a step to take?
    #[must_use]
    pub fn due(&self, journal: &Journal, cache: &Cache) -> bool {
        if !self.opened || !journal.takes_records() {
            return false;
        }
        match self.state {
            State::Idle => journal.needs_restating() || journal.total_bytes() > worthwhile_bytes(journal, cache),
            State::Walking(_) => true,
            State::Removing(removal) => removal.failures != journal.failures(),
        }
    }

    /// Restates a part of the cache, about `budget_bytes` of it; begins if nothing is begun. True if there is more to restate.
    pub fn step(&mut self, cache: &Cache, journal: &mut Journal, now: Now, budget_bytes: usize) -> bool {
        if !journal.takes_records() {
            return false;
        }
        let mut walk = match self.state {
            State::Walking(walk) if walk.failures == journal.failures() => walk,
            State::Walking(_) | State::Idle | State::Removing(_) => Walk::begin(journal),
        };
        let more = walk.advance(cache, journal, now, budget_bytes as u64);
        self.state = if more { State::Walking(walk) } else { State::Removing(walk.end(journal)) };
        more
    }

    /// Removes one outdated segment, the oldest, once everything restated is written; synced as well, if `sync_matters`. To be called
    /// after the turn's flush. One a turn, as a large file takes the disk milliseconds. An error is tried again after a second.
    pub fn finish(
        &mut self,
        journal: &mut Journal,
        store: &mut dyn SegmentStore,
        sync_matters: bool,
        now: Mono,
    ) -> io::Result<Option<SegmentName>> {
        let State::Removing(removal) = &mut self.state else { return Ok(None) };
        let safe = if sync_matters { journal.synced() } else { journal.written() };
        if removal.failures != journal.failures() || safe < removal.position || now < removal.retry_at {
            return Ok(None);
        }
        let Some(name) = journal.oldest_before(removal.keep_from) else {
            journal.on_restated();
            self.state = State::Idle;
            return Ok(None);
        };
        match store.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                removal.retry_at = now.plus(RETRY_MS);
                Err(error)
            }
            Ok(()) | Err(_) => {
                journal.forget_oldest();
                Ok(Some(name))
            }
        }
    }

    /// How much of the cache the walk has restated, 0 to 100; `None` if there is no walk.
    #[must_use]
    pub fn progress_percent(&self) -> Option<u64> {
        match self.state {
            State::Idle => None,
            State::Walking(walk) => Some(walk.percent()),
            State::Removing(_) => Some(100),
        }
    }
}

impl Walk {
    fn begin(journal: &mut Journal) -> Walk {
        Walk { keep_from: journal.next_number(), failures: journal.failures(), partition: 0, slice: 0, slices: 0 }
    }

    fn end(self, journal: &Journal) -> Removal {
        Removal { keep_from: self.keep_from, failures: self.failures, position: journal.appended(), retry_at: Mono::default() }
    }

    fn advance(&mut self, cache: &Cache, journal: &mut Journal, now: Now, budget: u64) -> bool {
        let begin = journal.appended();
        let mut visited = 0;
        while self.partition < PARTITIONS && journal.appended() - begin + visited * SLICE_COST < budget.max(1) {
            if self.slice == 0 {
                self.slices = slices_of(cache.partition_bytes(self.partition), budget);
            }
            cache.walk(self.partition, self.slice, self.slices).for_each(|entry| restate(entry, journal, now));
            self.leave_slice();
            visited += 1;
        }
        self.partition < PARTITIONS
    }

    fn leave_slice(&mut self) {
        self.slice += 1;
        if self.slice >= self.slices {
            self.slice = 0;
            self.partition += 1;
        }
    }

    fn percent(&self) -> u64 {
        self.partition as u64 * 100 / PARTITIONS as u64
    }
}

/// A length at which a restatement pays: it writes at most half of what it removes. Two segments more, so that a small cache is left in
/// peace and the segment that stays is not counted.
fn worthwhile_bytes(journal: &Journal, cache: &Cache) -> u64 {
    let living = cache.bytes() + cache.len() as u64 * RECORD_OVERHEAD as u64; // rather too much: too little would never end
    2 * (living + journal.segment_size())
}

/// So many that a slice is about a step.
fn slices_of(bytes: u64, budget: u64) -> u32 {
    u32::try_from(bytes / budget.max(1) + 1).unwrap_or(u32::MAX)
}

/// What has ended is not said again: replay would drop it.
fn restate(entry: &Entry, journal: &mut Journal, now: Now) {
    let expires = entry.expires();
    if expires <= now.mono {
        return;
    }
    let expiry = (expires != Mono::NEVER).then(|| now.wall_at(expires));
    let (key, value, flags, extra, version) = (entry.key(), entry.value(), entry.flags(), entry.extra(), entry.version());
    journal.append_shared(&Record::Put { key, value, flags, extra, expiry, version }, entry.block());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::caching::Version;
    use crate::caching::cache::Bounds;
    use crate::caching::entry::Parts;
    use crate::caching::journal::{Leftover, MemoryStore};
    use crate::caching::replay::{Replay, Step};
    use crate::hash::Hasher;
    use crate::prng::Prng;
    use crate::time::Wall;

    const SEGMENT_SIZE: u64 = 4096;
    const BUDGET: usize = 16 << 10;

    /// What a cache holds, or a journal says: key to value, extra, expiry, version.
    type Content = BTreeMap<Vec<u8>, (Vec<u8>, Vec<u8>, Option<Wall>, Version)>;

    /// A cache, its journal, and the disk below.
    struct Node {
        cache: Cache,
        journal: Journal,
        store: MemoryStore,
        cleaner: Cleaner,
        now: Now,
        version: u64,
    }

    impl Node {
        fn start(store: MemoryStore) -> Node {
            let mut cleaner = Cleaner::new();
            cleaner.open();
            let journal = Journal::new(SEGMENT_SIZE, store.segments(), Prng::new(5));
            let now = Now { mono: Mono(1_000), wall: Wall(1_000_000) };
            Node { cache: Cache::new(Bounds::default(), Hasher::new(1)), journal, store, cleaner, now, version: 0 }
        }

        fn next_version(&mut self) -> Version {
            self.version += 1;
            Version(self.version)
        }

        fn put(&mut self, key: &[u8], value: &[u8], expires: Mono) {
            let version = self.next_version();
            let expiry = (expires != Mono::NEVER).then(|| self.now.wall_at(expires));
            let extra = if value.len() % 3 == 1 { key } else { b"" };
            let entry = Entry::joined(Parts { key, first: value, second: b"", flags: 9, extra, expires, version });
            self.cache.put(self.cache.hasher().hash(key), entry, self.now.mono);
            self.journal.append(&Record::Put { key, value, flags: 9, extra, expiry, version });
        }

        fn delete(&mut self, key: &[u8]) {
            let version = self.next_version();
            if self.cache.remove(key, self.cache.hasher().hash(key), self.now.mono).is_some() {
                self.journal.append(&Record::Delete { key, version });
            }
        }

        fn flush_all(&mut self) {
            let version = self.next_version();
            self.cache.flush();
            self.journal.append(&Record::Flush { version });
        }

        /// A random change.
        fn change(&mut self, prng: &mut Prng) {
            let key = format!("key {}", prng.below(60));
            match prng.below(20) {
                0..12 => {
                    let value = vec![prng.next_u64() as u8; prng.below(200) as usize];
                    self.put(key.as_bytes(), &value, if prng.chance(1, 4) { self.now.mono.plus(1 << 30) } else { Mono::NEVER });
                }
                12..19 => self.delete(key.as_bytes()),
                _ if prng.chance(1, 10) => self.flush_all(),
                _ => {}
            }
        }

        /// A step of cleaning, if one is due, and the turn's write.
        fn turn(&mut self, budget: usize) {
            if self.cleaner.due(&self.journal, &self.cache) {
                self.cleaner.step(&self.cache, &mut self.journal, self.now, budget);
            }
            self.journal.flush(&mut self.store, self.now.mono);
        }

        fn finish(&mut self, sync_matters: bool) -> Option<SegmentName> {
            self.cleaner.finish(&mut self.journal, &mut self.store, sync_matters, self.now.mono).unwrap()
        }

        fn sync(&mut self) {
            self.store.sync();
            self.journal.on_synced(self.journal.written());
        }

        /// Turns until there is nothing left to clean.
        fn settle(&mut self) {
            for _ in 0..10_000 {
                self.turn(BUDGET);
                if self.finish(false).is_none()
                    && !self.cleaner.due(&self.journal, &self.cache)
                    && self.cleaner.progress_percent().is_none()
                {
                    return;
                }
            }
            panic!("the cleaning does not end");
        }

        fn content(&self) -> Content {
            let entries =
                (0..PARTITIONS).flat_map(|partition| self.cache.walk(partition, 0, 1)).filter(|entry| entry.is_live(self.now.mono));
            let expiry = |entry: &Entry| (entry.expires() != Mono::NEVER).then(|| self.now.wall_at(entry.expires()));
            let content = |entry: &Entry| (entry.value().to_vec(), entry.extra().to_vec(), expiry(entry), entry.version());
            entries.map(|entry| (entry.key().to_vec(), content(entry))).collect()
        }
    }

    /// What a new process would read from this disk.
    fn replayed(store: &MemoryStore) -> Content {
        let mut content = Content::new();
        let mut replay = Replay::new(store.segments());
        let mut on_record = |record: &Record| match *record {
            Record::Put { key, value, extra, expiry, version, .. } => {
                content.insert(key.to_vec(), (value.to_vec(), extra.to_vec(), expiry, version));
            }
            Record::Delete { key, .. } => drop(content.remove(key)),
            Record::Flush { .. } => content.clear(),
        };
        while replay.step(&mut store.clone(), 1 << 20, &mut on_record) == Step::More {}
        content
    }

    #[test]
    fn an_overgrown_journal_shrinks_to_what_lives() {
        let mut node = Node::start(MemoryStore::default());
        for n in 0..3_000 {
            node.put(format!("key {}", n % 50).as_bytes(), &[n as u8; 100], Mono::NEVER);
            node.turn(BUDGET);
            node.finish(false);
        }
        node.settle();
        assert!(replayed(&node.store) == node.content());
        assert!(node.journal.total_bytes() <= worthwhile_bytes(&node.journal, &node.cache));
        assert!(node.store.segments().len() <= 8, "{}", node.store.segments().len());
        assert_eq!(node.journal.segments(), node.store.segments());
    }

    #[test]
    fn nothing_is_cleaned_before_the_journal_is_read_back() {
        let mut node = Node::start(MemoryStore::default());
        for _ in 0..1_000 {
            node.put(b"k", &[0; 100], Mono::NEVER);
        }
        node.turn(BUDGET);
        assert!(node.cleaner.due(&node.journal, &node.cache));
        let restarted = Node::start(node.store.clone());
        assert!(!Cleaner::new().due(&restarted.journal, &restarted.cache));
        assert!(restarted.cleaner.due(&restarted.journal, &restarted.cache));
    }

    #[test]
    fn a_step_keeps_to_its_budget() {
        let mut node = Node::start(MemoryStore::default());
        for n in 0..20_000u32 {
            node.put(&n.to_be_bytes(), &[7; 50], Mono::NEVER);
        }
        node.journal.flush(&mut node.store, node.now.mono);
        let mut last = 0;
        let mut steps = 0;
        let most_of_a_partition = 60 * 100; // some 20 entries each; a slice is never split
        while node.cleaner.step(&node.cache, &mut node.journal, node.now, 2_000) {
            let written = node.journal.flush(&mut node.store, node.now.mono).bytes;
            assert!(written <= 2_000 + most_of_a_partition, "{written}");
            let percent = node.cleaner.progress_percent().unwrap();
            assert!(percent >= last && percent <= 100);
            last = percent;
            steps += 1;
        }
        assert!(steps > 100);
    }

    #[test]
    fn a_crash_in_any_turn_of_any_restatement_loses_nothing_and_brings_nothing_back() {
        for seed in 0..20 {
            let mut prng = Prng::new(seed);
            let mut node = Node::start(MemoryStore::default());
            let mut removed = 0;
            for _ in 0..400 {
                for _ in 0..prng.below(8) {
                    node.change(&mut prng);
                }
                node.turn(BUDGET);
                assert!(replayed(&node.store) == node.content(), "seed {seed}");
                if node.finish(false).is_some() {
                    removed += 1;
                    assert!(replayed(&node.store) == node.content(), "seed {seed}, after a removal");
                }
            }
            assert!(removed > 3, "seed {seed}: {removed}");
        }
    }

    #[test]
    fn a_power_cut_in_any_turn_leaves_what_the_last_sync_covered() {
        for seed in 0..20 {
            let mut prng = Prng::new(seed);
            let mut node = Node::start(MemoryStore::default());
            let (mut synced, mut removed) = (Content::new(), 0);
            for _ in 0..300 {
                for _ in 0..prng.below(8) {
                    node.change(&mut prng);
                }
                node.turn(BUDGET);
                if prng.chance(1, 5) {
                    node.sync();
                    synced = node.content();
                }
                removed += usize::from(node.finish(true).is_some());
                for leftover in [Leftover::Nothing, Leftover::Zeros, Leftover::Garbage] {
                    let mut disk = node.store.clone();
                    disk.lose_power(leftover, &mut prng);
                    assert!(replayed(&disk) == synced, "seed {seed}, {leftover:?}");
                }
            }
            assert!(removed > 3, "seed {seed}: {removed}");
        }
    }

    #[test]
    fn a_journal_that_missed_something_says_it_all_after_healing() {
        for seed in 0..50 {
            let mut prng = Prng::new(seed);
            let mut node = Node::start(MemoryStore::default());
            for turn in 0..150 {
                for _ in 0..prng.below(8) {
                    node.change(&mut prng);
                }
                if prng.chance(1, 15) {
                    node.store.fail(1 + prng.below(3) as u32);
                }
                if prng.chance(1, 40) {
                    node.journal.on_sync_failed();
                }
                node.turn(BUDGET);
                node.finish(false);
                node.now.mono = Mono(node.now.mono.0 + 100);
                node.now.wall = Wall(node.now.wall.0 + 100);
                if node.journal.is_ok() && !node.journal.needs_restating() {
                    assert!(replayed(&node.store) == node.content(), "seed {seed}, turn {turn}");
                }
            }
            node.store.fail(0);
            node.now.mono = node.now.mono.plus(RETRY_MS);
            node.now.wall = Wall(node.now.wall.0 + RETRY_MS);
            node.turn(BUDGET);
            node.settle();
            assert!(node.journal.is_ok() && !node.journal.needs_restating());
            assert!(replayed(&node.store) == node.content(), "seed {seed}");
        }
    }

    #[test]
    fn a_journal_that_breaks_during_the_walk_makes_it_begin_again() {
        let mut node = Node::start(MemoryStore::default());
        for n in 0..1_000u32 {
            node.put(&n.to_be_bytes(), &[7; 50], Mono::NEVER);
        }
        node.turn(BUDGET);
        assert!(node.cleaner.step(&node.cache, &mut node.journal, node.now, 20_000));
        node.turn(BUDGET);
        node.journal.on_sync_failed();
        assert!(!node.cleaner.due(&node.journal, &node.cache), "there is no point in walking now");
        node.now.mono = node.now.mono.plus(RETRY_MS);
        node.journal.flush(&mut node.store, node.now.mono);
        assert!(node.cleaner.due(&node.journal, &node.cache));
        assert!(node.cleaner.step(&node.cache, &mut node.journal, node.now, 1));
        assert_eq!(node.cleaner.progress_percent(), Some(0));
        node.settle();
        assert!(replayed(&node.store) == node.content());
        assert!(node.journal.is_ok());
    }

    #[test]
    fn an_empty_cache_heals_too_and_leaves_no_old_segment() {
        let mut node = Node::start(MemoryStore::default());
        node.put(b"k", b"v", Mono::NEVER);
        node.turn(BUDGET);
        node.journal.on_sync_failed();
        node.delete(b"k");
        node.now.mono = node.now.mono.plus(RETRY_MS);
        node.settle();
        assert!(node.journal.is_ok());
        assert_eq!(node.store.segments(), []);
    }

    #[test]
    fn nothing_is_removed_before_the_restatement_is_written_or_synced() {
        let mut node = Node::start(MemoryStore::default());
        for _ in 0..1_000 {
            node.put(b"k", &[0; 100], Mono::NEVER);
        }
        node.journal.flush(&mut node.store, node.now.mono);
        node.put(b"k", b"last", Mono::NEVER);
        while node.cleaner.step(&node.cache, &mut node.journal, node.now, 1 << 20) {}
        assert_eq!(node.finish(false), None, "not written");
        node.journal.flush(&mut node.store, node.now.mono);
        assert_eq!(node.finish(true), None, "not synced");
        node.sync();
        assert!(node.finish(true).is_some());
    }

    #[test]
    fn what_has_ended_is_not_said_again_and_what_will_end_keeps_its_end() {
        let mut node = Node::start(MemoryStore::default());
        node.put(b"ends", b"v", Mono(1_500));
        node.put(b"ended", b"v", Mono(1_100));
        node.turn(BUDGET);
        node.now = Now { mono: Mono(1_200), wall: Wall(1_000_200) };
        while node.cleaner.step(&node.cache, &mut node.journal, node.now, BUDGET) {}
        assert_eq!(node.journal.flush(&mut node.store, node.now.mono).records, 1);
        assert_eq!(replayed(&node.store)[&b"ends"[..]].2, Some(Wall(1_000_500)));
    }

    #[test]
    fn a_segment_that_cannot_be_removed_is_tried_again_and_keeps_the_later_ones() {
        let mut node = Node::start(MemoryStore::default());
        for n in 0..200u32 {
            node.put(&n.to_be_bytes(), &[0; 100], Mono::NEVER);
            node.journal.flush(&mut node.store, node.now.mono);
        }
        (0..200u32).for_each(|n| node.delete(&n.to_be_bytes()));
        node.turn(1 << 20);
        let before = node.store.segments();
        let (cleaner, journal) = (&mut node.cleaner, &mut node.journal);
        assert!(cleaner.finish(journal, &mut Stubborn, false, node.now.mono).is_err());
        assert!(cleaner.finish(journal, &mut Stubborn, false, node.now.mono).unwrap().is_none(), "not at once again");
        assert_eq!(node.store.segments(), before);
        node.now.mono = node.now.mono.plus(RETRY_MS);
        assert_eq!(node.finish(false), Some(before[0].0));
        node.store.remove(before[1].0).unwrap();
        assert_eq!(node.finish(false), Some(before[1].0), "removed by somebody else is removed");
    }

    /// A disk that removes nothing.
    struct Stubborn;

    impl SegmentStore for Stubborn {
        fn create(&mut self, _: SegmentName) -> io::Result<()> {
            unreachable!("nothing is written here")
        }
        fn append(&mut self, _: &[u8]) -> io::Result<()> {
            unreachable!("nothing is written here")
        }
        fn read(&mut self, _: SegmentName, _: u64, _: &mut [u8]) -> io::Result<usize> {
            unreachable!("nothing is read here")
        }
        fn truncate(&mut self, _: SegmentName, _: u64) -> io::Result<()> {
            unreachable!("nothing is cut here")
        }
        fn remove(&mut self, _: SegmentName) -> io::Result<()> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }
    }
}
