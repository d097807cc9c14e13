//! The entries of a node: found by hash, bounded, and evicted in the order of use.
//!
//! # Partitions
//!
//! The cache is 1,024 maps. A key's partition is the upper ten bits of its place on the ring, the same at every node. Small maps grow one
//! at a time, so no single write waits while millions of entries move to a larger table; and what two nodes must compare or hand over is
//! already divided into equal parts that both name alike.
//!
//! # The order of use
//!
//! It is one order for the whole cache. A clock counts the moves in it, and an entry carries the stamp of its last one. A write moves its
//! entry to the back of its partition's list. A read does so only if more than a quarter of the cache has moved since the entry last
//! did: a hot key does not rewrite a list at each read, which costs two cache misses for the neighbours, and yet the entry that is evicted
//! is always among the oldest third. Up to 1,024 entries each read moves, and the order is exact. Who evicts takes the partition whose
//! front has the oldest stamp; `oldest` finds it.
//!
//! # What leaves is told
//!
//! Nobody is called back: [`Cache::evict`] and [`Cache::expire`] return one entry at a time, for the caller to record and to bound the
//! loop. A put may leave the cache over its bounds until then. An entry whose time has come is absent for every reader at once and is
//! freed by whichever comes first of expire, evict, or a write to its key. A flush forgets everything at once and frees it in steps.
//!
//! The cache reads no clock, hashes no key on its way (the caller has) and iterates over nothing whose order depends on chance.

mod graveyard;
mod oldest;
mod partition;

use crate::caching::entry::{Entry, MAX_STAMP};
use crate::caching::expiry::{ExpiryIndex, Mark};
use crate::hash::{Hasher, KeyHash};
use crate::time::Mono;

use graveyard::Graveyard;
use oldest::Oldest;
use partition::{Listed, Partition};

/// How many parts the cache has.
pub const PARTITIONS: usize = 1 << PARTITION_BITS;

const PARTITION_BITS: u32 = 10;

/// A read moves its entry if more than one in so many of all entries has moved since.
const LAZY_SHARE: u64 = 4;

/// Up to so many entries every read moves its entry, and the order of use is exact.
const EXACT_UP_TO: usize = 1_024;

/// What the cache may hold; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Most keys.
    pub max_keys: u64,
    /// Most bytes: entries and overhead, as malloc counts them.
    pub max_bytes: u64,
}

/// The entries of a node.
pub struct Cache {
    partitions: Box<[Partition]>,
    oldest: Box<Oldest>,
    expiry: ExpiryIndex,
    graveyard: Graveyard,
    bounds: Bounds,
    hasher: Hasher,
    clock: u64,
    len: usize,
    bytes: u64,
    overhead: u64,
}

/// The partition of a key with this place on the ring.
#[inline]
#[must_use]
pub fn partition_of(place: u32) -> usize {
    (place >> (u32::BITS - PARTITION_BITS)) as usize
}

impl Cache {
    /// An empty cache. `hasher` is the one whose hashes the callers bring along.
    #[must_use]
    pub fn new(bounds: Bounds, hasher: Hasher) -> Cache {
        Cache {
            partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
            oldest: Box::new(Oldest::new()),
            expiry: ExpiryIndex::default(),
            graveyard: Graveyard::default(),
            bounds,
            hasher,
            clock: 0,
            len: 0,
            bytes: 0,
            overhead: 0,
        }
    }

    /// What it may hold.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The hasher whose hashes the callers bring along.
    #[must_use]
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// How many entries there are, counting those whose time has come and that are not freed yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes that the entries take from the heap.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes that list nodes, table slots and expiry marks take from the heap, in use or kept for later. What a flush has left and
    /// [`reclaim`](Cache::reclaim) has not freed is not among them: to evict would not make room for it.
    #[must_use]
    pub fn overhead_bytes(&self) -> u64 {
        self.overhead + self.expiry.bytes()
    }

    /// How many entries a partition holds.
    #[must_use]
    pub fn partition_len(&self, partition: usize) -> usize {
        self.partitions[partition].len()
    }

    /// The bytes that a partition's entries take from the heap.
    #[must_use]
    pub fn partition_bytes(&self, partition: usize) -> u64 {
        self.partitions[partition].weight().bytes
    }

    /// Brings the table slot, the list node and the entry's first bytes near, for a look-up that will follow. Done for a whole batch of
    /// keys before the first is looked up, their cache misses overlap.
    #[inline]
    pub fn prefetch(&self, hash: KeyHash) {
        // The first slot with a fitting tag is nearly always the right one; to compare keys would be to wait for the entry.
        self.partitions[partition_of(hash.place)].find(kept(hash), |entry| {
            entry.prefetch();
            true
        });
    }

    /// The live entry of `key`; it counts as used.
    #[inline]
    pub fn get(&mut self, key: &[u8], hash: KeyHash, now: Mono) -> Option<&Entry> {
        let mut found = self.partitions[partition_of(hash.place)].find_mut(kept(hash), |entry| entry.key() == key)?;
        let Listed(entry) = found.key_mut();
        if !entry.is_live(now) {
            return None;
        }
        let lazy = if self.len > EXACT_UP_TO { self.len as u64 / LAZY_SHARE } else { 0 };
        if self.clock - entry.stamp() > lazy {
            self.clock = tick(self.clock);
            entry.set_stamp(self.clock);
            found.to_back();
        }
        Some(&found.into_key().0)
    }

    /// The live entry of `key`, without using it.
    #[inline]
    #[must_use]
    pub fn peek(&self, key: &[u8], hash: KeyHash, now: Mono) -> Option<&Entry> {
        self.partitions[partition_of(hash.place)].find(kept(hash), |entry| entry.key() == key).filter(|entry| entry.is_live(now))
    }

    /// Puts an entry in, in place of the one with its key, which is returned if it was live. `hash` must be that of the entry's key.
    pub fn put(&mut self, hash: KeyHash, mut entry: Entry, now: Mono) -> Option<Entry> {
        let (partition, hash) = (partition_of(hash.place), kept(hash));
        self.clock = tick(self.clock);
        entry.set_stamp(self.clock);
        entry.set_hash(hash);
        let expires = entry.expires();
        let old = self.change(partition, |partition| partition.put(entry));
        if self.partitions[partition].len() == 1 {
            self.oldest.set(partition, Some(self.clock));
        }
        if let Some(old) = &old {
            self.unmark(partition, old.hash(), old.expires());
        }
        self.mark(partition, hash, expires);
        old.filter(|old| old.is_live(now))
    }

    /// Removes the entry of `key`; returns it if it was live.
    pub fn remove(&mut self, key: &[u8], hash: KeyHash, now: Mono) -> Option<Entry> {
        let hash_kept = kept(hash);
        let entry = self.take(partition_of(hash.place), |partition| partition.remove(hash_kept, |entry| entry.key() == key))?;
        entry.is_live(now).then_some(entry)
    }

    /// Gives the live entry of `key` another expiry and no other version; it counts as used. The entry may take more room than before.
    pub fn set_expiry(&mut self, key: &[u8], hash: KeyHash, expires: Mono, now: Mono) -> Option<&Entry> {
        let old = self.get(key, hash, now)?.expires();
        let (partition, hash) = (partition_of(hash.place), kept(hash));
        if old != expires {
            self.change(partition, |partition| partition.set_expiry(hash, key, expires));
            self.unmark(partition, hash, old);
            self.mark(partition, hash, expires);
        }
        self.partitions[partition].find(hash, |entry| entry.key() == key)
    }

    /// Removes and returns the least recently used entry if the cache is over a bound. To be called until it returns `None`.
    pub fn evict(&mut self) -> Option<Entry> {
        if !self.is_over() {
            return None;
        }
        let partition = self.oldest_partition()?;
        self.take(partition, Partition::pop_front)
    }

    /// Removes and returns an entry whose time has come, if there is one. To be called until it returns `None`, or often.
    pub fn expire(&mut self, now: Mono) -> Option<Entry> {
        let Mark { expires, partition, hash } = self.expiry.due(now)?;
        let entry = self.take(usize::from(partition), |partition| partition.remove(hash, |entry| is_marked(entry, hash, expires)));
        assert!(entry.is_some(), "a mark without an entry: it leaves with the last that it stands for");
        entry
    }

    /// When [`expire`](Cache::expire) will next have something to return; `Mono::NEVER` if not until another write.
    #[must_use]
    pub fn next_expiry(&self) -> Mono {
        self.expiry.next_expiry()
    }

    /// Forgets every entry and returns how many there were. [`reclaim`](Cache::reclaim) frees them.
    pub fn flush(&mut self) -> u64 {
        let flushed = self.len as u64;
        for (number, partition) in self.partitions.iter_mut().enumerate().filter(|(_, partition)| partition.len() > 0) {
            self.graveyard.bury_map(partition.take_map());
            self.oldest.set(number, None);
        }
        self.graveyard.bury_marks(std::mem::take(&mut self.expiry));
        (self.len, self.bytes, self.overhead) = (0, 0, 0);
        flushed
    }

    /// Frees up to `most` things (entries, then expiry marks) that a flush has left; returns how many, 0 when nothing is left.
    pub fn reclaim(&mut self, most: usize) -> usize {
        self.graveyard.reclaim(most)
    }

    /// How many things [`reclaim`](Cache::reclaim) has still to free.
    #[must_use]
    pub fn unreclaimed(&self) -> usize {
        self.graveyard.waiting()
    }

    /// Those entries of a partition, dead ones too, that belong to slice `slice` of `slices`; least recently used first. Which slice an
    /// entry belongs to never changes while the process lives, so a long partition can be walked in several turns, with writes between
    /// them.
    pub fn walk(&self, partition: usize, slice: u32, slices: u32) -> impl Iterator<Item = &Entry> {
        assert!(slice < slices, "slice {slice} of {slices}");
        self.partitions[partition].iter().filter(move |entry| entry.hash() % slices == slice)
    }

    /// Asserts, slowly, what must hold between any two calls.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        self.check_sums();
        for (number, partition) in self.partitions.iter().enumerate() {
            for entry in partition.iter() {
                let hash = self.hasher.hash(entry.key());
                assert_eq!((number, entry.hash()), (partition_of(hash.place), kept(hash)), "an entry is kept under its key's hash");
                assert!(partition.find(entry.hash(), |other| std::ptr::eq(other, entry)).is_some(), "an entry in the list is found");
            }
        }
    }

    /// The part of the invariants that does not depend on what the hashes are.
    fn check_sums(&self) {
        let mut marks = std::collections::BTreeSet::new();
        let (mut len, mut bytes, mut overhead) = (0, 0, 0);
        for (number, partition) in self.partitions.iter().enumerate() {
            partition.check_invariants();
            self.oldest.check_invariants(number, partition.front_stamp());
            let weight = partition.weight();
            (len, bytes, overhead) = (len + weight.len, bytes + weight.bytes, overhead + weight.overhead);
            let with_expiry = partition.iter().filter(|entry| entry.expires() != Mono::NEVER);
            marks.extend(with_expiry.map(|entry| mark_of(number, entry.hash(), entry.expires())));
            assert!(partition.iter().all(|entry| entry.stamp() <= self.clock), "no stamp is of the future");
        }
        assert_eq!((self.len, self.bytes, self.overhead), (len, bytes, overhead), "the sums are the partitions' together");
        assert!(self.expiry.iter().eq(marks), "the marks are those of the entries that have an expiry");
    }

    fn is_over(&self) -> bool {
        let Bounds { max_keys, max_bytes } = self.bounds;
        (max_keys != 0 && self.len as u64 > max_keys) || (max_bytes != 0 && self.bytes + self.overhead_bytes() > max_bytes)
    }

    /// The partition whose front is the least recently used of all. Each round that does not find it raises a bound to what it bounds, so
    /// there are at most as many as partitions; nearly always there are one or two.
    fn oldest_partition(&mut self) -> Option<usize> {
        loop {
            let (partition, bound) = self.oldest.first()?;
            let front = self.partitions[partition].front_stamp();
            if front == Some(bound) {
                return Some(partition);
            }
            self.oldest.set(partition, front);
        }
    }

    /// Changes a partition and keeps the sums right: the only way in which anything is added or removed.
    fn change<T>(&mut self, partition: usize, work: impl FnOnce(&mut Partition) -> T) -> T {
        let partition = &mut self.partitions[partition];
        let before = partition.weight();
        let result = work(partition);
        let after = partition.weight();
        self.len = self.len + after.len - before.len;
        self.bytes = self.bytes + after.bytes - before.bytes;
        self.overhead = self.overhead + after.overhead - before.overhead;
        result
    }

    /// Takes an entry out of a partition, and its mark and the partition's bound with it.
    fn take(&mut self, partition: usize, removal: impl FnOnce(&mut Partition) -> Option<Entry>) -> Option<Entry> {
        let entry = self.change(partition, removal)?;
        self.unmark(partition, entry.hash(), entry.expires());
        if self.partitions[partition].len() == 0 {
            self.oldest.set(partition, None);
        }
        Some(entry)
    }

    fn mark(&mut self, partition: usize, hash: u32, expires: Mono) {
        self.expiry.insert(mark_of(partition, hash, expires));
    }

    /// An entry with this hash and expiry is gone: so is its mark, unless it stands for another entry as well.
    fn unmark(&mut self, partition: usize, hash: u32, expires: Mono) {
        if expires != Mono::NEVER && self.partitions[partition].find(hash, |entry| is_marked(entry, hash, expires)).is_none() {
            self.expiry.remove(mark_of(partition, hash, expires));
        }
    }
}

/// Says how much it holds, not what.
impl std::fmt::Debug for Cache {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Cache").field("len", &self.len).field("bytes", &self.bytes).field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// The part of a key's hash that entries, tables and marks use.
#[inline]
fn kept(hash: KeyHash) -> u32 {
    hash.table as u32
}

fn mark_of(partition: usize, hash: u32, expires: Mono) -> Mark {
    Mark { expires, partition: partition as u16, hash }
}

fn is_marked(entry: &Entry, hash: u32, expires: Mono) -> bool {
    entry.hash() == hash && entry.expires() == expires
}

fn tick(clock: u64) -> u64 {
    (clock + 1).min(MAX_STAMP)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::caching::Version;
    use crate::prng::Prng;

    const NOW: Mono = Mono(1_000);

    fn cache(max_keys: u64, max_bytes: u64) -> Cache {
        Cache::new(Bounds { max_keys, max_bytes }, Hasher::new(7))
    }

    fn put(cache: &mut Cache, key: &str, value: &[u8], expires: Mono) -> Option<Entry> {
        let hash = cache.hasher().hash(key.as_bytes());
        cache.put(hash, Entry::new(key.as_bytes(), value, 0, expires, Version(1)), NOW)
    }

    fn get(cache: &mut Cache, key: &str, now: Mono) -> Option<Vec<u8>> {
        let hash = cache.hasher().hash(key.as_bytes());
        cache.prefetch(hash);
        let peeked = cache.peek(key.as_bytes(), hash, now).map(|entry| entry.value().to_vec());
        let got = cache.get(key.as_bytes(), hash, now).map(|entry| entry.value().to_vec());
        assert_eq!(peeked, got, "peek and get see the same");
        got
    }

    fn evict_all(cache: &mut Cache) -> Vec<String> {
        std::iter::from_fn(|| cache.evict().map(|entry| name_of(&entry))).collect()
    }

    fn name_of(entry: &Entry) -> String {
        String::from_utf8(entry.key().to_vec()).expect("the tests' keys are text")
    }

    #[test]
    fn what_was_put_is_found_until_it_is_replaced_or_removed() {
        let mut cache = cache(0, 0);
        assert_eq!(get(&mut cache, "a", NOW), None);
        assert!(put(&mut cache, "a", b"1", Mono::NEVER).is_none());
        assert_eq!(put(&mut cache, "a", b"22", Mono::NEVER).expect("it was there").value(), b"1");
        assert_eq!(get(&mut cache, "a", NOW).as_deref(), Some(&b"22"[..]));
        let hash = cache.hasher().hash(b"a");
        assert_eq!(cache.remove(b"a", hash, NOW).expect("it is there").value(), b"22");
        assert!(cache.remove(b"a", hash, NOW).is_none());
        assert_eq!((cache.len(), cache.bytes(), cache.overhead_bytes()), (0, 0, 0));
        cache.check_invariants();
    }

    #[test]
    fn the_least_recently_used_leaves_first_and_only_when_a_bound_is_passed() {
        let mut cache = cache(3, 0);
        for key in ["a", "b", "c"] {
            put(&mut cache, key, b"", Mono::NEVER);
        }
        assert!(cache.evict().is_none());
        get(&mut cache, "a", NOW);
        put(&mut cache, "b", b"new", Mono::NEVER);
        put(&mut cache, "d", b"", Mono::NEVER);
        put(&mut cache, "e", b"", Mono::NEVER);
        assert_eq!(evict_all(&mut cache), ["c", "a"]);
        cache.check_invariants();
    }

    #[test]
    fn a_peek_is_not_a_use() {
        let mut cache = cache(2, 0);
        put(&mut cache, "a", b"", Mono::NEVER);
        put(&mut cache, "b", b"", Mono::NEVER);
        let hash = cache.hasher().hash(b"a");
        assert!(cache.peek(b"a", hash, NOW).is_some());
        put(&mut cache, "c", b"", Mono::NEVER);
        assert_eq!(evict_all(&mut cache), ["a"]);
    }

    #[test]
    fn the_bytes_of_entries_and_of_what_finds_them_are_bounded_together() {
        let mut cache = cache(0, 300_000);
        let mut prng = Prng::new(3);
        for number in 0..5_000 {
            let expires = if prng.chance(1, 2) { Mono(5_000) } else { Mono::NEVER };
            put(&mut cache, &number.to_string(), &vec![1; prng.below(2_000) as usize], expires);
            evict_all(&mut cache);
            assert!(cache.bytes() + cache.overhead_bytes() <= 300_000);
        }
        assert!(cache.bytes() > 150_000, "{cache:?}");
        put(&mut cache, "larger than all", &[0; 300_000], Mono::NEVER);
        assert_eq!(evict_all(&mut cache).last().map(String::as_str), Some("larger than all"));
        assert_eq!((cache.len(), cache.bytes(), cache.overhead_bytes()), (0, 0, 0));
        cache.check_invariants();
    }

    #[test]
    fn what_has_expired_is_absent_at_once_and_freed_when_asked() {
        let mut cache = cache(0, 0);
        for (key, expires) in [("late", Mono(3_000)), ("soon", Mono(2_000)), ("never", Mono::NEVER)] {
            put(&mut cache, key, b"v", expires);
        }
        assert_eq!(cache.next_expiry(), Mono(2_000));
        assert!(cache.expire(Mono(1_999)).is_none() && get(&mut cache, "soon", Mono(1_999)).is_some());
        assert_eq!((get(&mut cache, "soon", Mono(2_000)), cache.len()), (None, 3));
        assert_eq!(cache.expire(Mono(2_000)).map(|entry| name_of(&entry)).as_deref(), Some("soon"));
        assert!(cache.expire(Mono(2_000)).is_none());
        let hash = cache.hasher().hash(b"late");
        assert!(cache.remove(b"late", hash, Mono(4_000)).is_none(), "it was not live");
        assert_eq!((cache.len(), cache.next_expiry()), (1, Mono::NEVER), "but it is freed");
        cache.check_invariants();
    }

    #[test]
    fn replacing_an_expired_entry_returns_nothing_and_leaves_no_mark() {
        let mut cache = cache(0, 0);
        put(&mut cache, "a", b"old", Mono(10));
        assert!(put(&mut cache, "a", b"new", Mono::NEVER).is_none());
        assert_eq!((cache.next_expiry(), cache.len()), (Mono::NEVER, 1));
        cache.check_invariants();
    }

    #[test]
    fn an_expiry_can_be_given_moved_and_taken_away_and_the_version_stays() {
        let mut cache = cache(0, 0);
        put(&mut cache, "a", b"value", Mono::NEVER);
        let hash = cache.hasher().hash(b"a");
        for expires in [Mono(5_000), Mono(9_000), Mono::NEVER, Mono(7_000)] {
            let entry = cache.set_expiry(b"a", hash, expires, NOW).expect("it is live");
            assert_eq!((entry.value(), entry.version(), entry.expires()), (&b"value"[..], Version(1), expires));
            assert_eq!(cache.next_expiry(), expires);
            cache.check_invariants();
        }
        assert!(cache.set_expiry(b"a", hash, Mono::NEVER, Mono(7_000)).is_none(), "what is dead stays dead");
        assert!(cache.set_expiry(b"b", cache.hasher().hash(b"b"), Mono::NEVER, NOW).is_none());
    }

    #[test]
    fn keys_that_share_hash_and_moment_are_each_freed_in_time() {
        let mut cache = cache(0, 0);
        let hash = KeyHash { place: 5, table: 6 };
        for key in [b"a", b"b", b"c", b"d"] {
            cache.put(hash, Entry::new(key, key, 0, Mono(2_000), Version(1)), NOW);
        }
        cache.put(hash, Entry::new(b"a", b"again", 0, Mono(3_000), Version(2)), NOW);
        cache.set_expiry(b"b", hash, Mono::NEVER, NOW);
        cache.check_sums();
        assert_eq!(cache.get(b"c", hash, NOW).map(Entry::value), Some(&b"c"[..]));
        let mut freed: Vec<String> = std::iter::from_fn(|| cache.expire(Mono(2_000))).map(|entry| name_of(&entry)).collect();
        freed.sort();
        assert_eq!((freed, cache.len(), cache.next_expiry()), (vec!["c".into(), "d".into()], 2, Mono(3_000)));
        cache.check_sums();
    }

    #[test]
    fn a_flush_is_at_once_for_everybody_and_is_paid_for_in_steps() {
        let mut cache = cache(0, 0);
        for number in 0..5_000 {
            put(&mut cache, &number.to_string(), b"v", if number % 2 == 0 { Mono(2_000) } else { Mono::NEVER });
        }
        assert_eq!(cache.flush(), 5_000);
        assert_eq!((cache.len(), cache.bytes(), cache.overhead_bytes(), cache.next_expiry()), (0, 0, 0, Mono::NEVER));
        assert_eq!((get(&mut cache, "17", NOW), cache.unreclaimed()), (None, 7_500));
        put(&mut cache, "17", b"new", Mono::NEVER);
        cache.check_invariants();
        let steps: Vec<usize> = std::iter::from_fn(|| Some(cache.reclaim(1_000)).filter(|freed| *freed > 0)).collect();
        assert_eq!((steps, cache.unreclaimed(), cache.reclaim(1)), ([vec![1_000; 7], vec![500]].concat(), 0, 0));
        assert_eq!(get(&mut cache, "17", NOW).as_deref(), Some(&b"new"[..]));
        assert_eq!((cache.flush(), cache.flush()), (1, 0));
    }

    #[test]
    fn the_slices_of_a_walk_cover_each_entry_exactly_once_even_with_writes_between() {
        let mut cache = cache(0, 0);
        for number in 0..20_000 {
            put(&mut cache, &number.to_string(), b"v", Mono::NEVER);
        }
        let mut seen = BTreeMap::new();
        for (partition, slice) in (0..PARTITIONS).flat_map(|partition| (0..5).map(move |slice| (partition, slice))) {
            for entry in cache.walk(partition, slice, 5) {
                *seen.entry(name_of(entry)).or_insert(0) += 1;
            }
            let moved = (partition * 5 + slice as usize).to_string();
            put(&mut cache, &moved, b"w", Mono::NEVER);
        }
        assert_eq!((seen.len(), seen.values().all(|times| *times == 1)), (20_000, true));
        assert_eq!((0..PARTITIONS).map(|partition| cache.partition_len(partition)).sum::<usize>(), cache.len());
        assert_eq!((0..PARTITIONS).map(|partition| cache.partition_bytes(partition)).sum::<u64>(), cache.bytes());
    }

    #[test]
    fn partitions_are_equal_parts_of_the_ring() {
        assert_eq!((partition_of(0), partition_of(u32::MAX)), (0, PARTITIONS - 1));
        assert_eq!((partition_of((1 << 22) - 1), partition_of(1 << 22)), (0, 1));
    }

    /// The cache as one would explain it: a list, least recently used first.
    #[derive(Default)]
    struct Model {
        entries: Vec<(String, Vec<u8>, u32, Mono, Version)>,
    }

    impl Model {
        fn at(&self, key: &str) -> Option<usize> {
            self.entries.iter().position(|entry| entry.0 == key)
        }

        /// The key's place after it has moved to the back, if it is live.
        fn touch(&mut self, key: &str, now: Mono) -> Option<usize> {
            let at = self.at(key).filter(|at| self.entries[*at].3 > now)?;
            let entry = self.entries.remove(at);
            self.entries.push(entry);
            Some(self.entries.len() - 1)
        }

        fn take(&mut self, key: &str, now: Mono) -> Option<Vec<u8>> {
            let (_, value, _, expires, _) = self.at(key).map(|at| self.entries.remove(at))?;
            (expires > now).then_some(value)
        }

        fn assert_same(&self, key: &str, entry: Option<&Entry>, at: Option<usize>) {
            let found = entry.map(|entry| (name_of(entry), entry.value().to_vec(), entry.flags(), entry.expires(), entry.version()));
            assert_eq!(found, at.map(|at| self.entries[at].clone()), "{key}");
        }
    }

    fn random_expiry(prng: &mut Prng, now: Mono) -> Mono {
        if prng.chance(1, 2) { Mono::NEVER } else { now.plus(prng.below(60)) }
    }

    #[test]
    fn a_small_cache_is_an_exact_lru_with_expiry() {
        for seed in 0..12 {
            run_against_model(seed, 6_000);
        }
    }

    fn run_against_model(seed: u64, steps: u64) {
        let mut prng = Prng::new(seed);
        let most = 1 + prng.below(14);
        let (mut cache, mut model, mut now) = (cache(most, 0), Model::default(), NOW);
        for step in 0..steps {
            let key = prng.below(30).to_string();
            let hash = cache.hasher().hash(key.as_bytes());
            match prng.below(100) {
                0..40 => {
                    let at = model.touch(&key, now);
                    model.assert_same(&key, cache.get(key.as_bytes(), hash, now), at);
                }
                40..70 => {
                    let value = vec![step as u8; prng.below(300) as usize];
                    let (flags, expires, version) = (prng.below(2) as u32, random_expiry(&mut prng, now), Version(step));
                    let old = cache.put(hash, Entry::new(key.as_bytes(), &value, flags, expires, version), now);
                    assert_eq!(old.map(|entry| entry.value().to_vec()), model.take(&key, now));
                    model.entries.push((key, value, flags, expires, version));
                }
                70..80 => {
                    let old = cache.remove(key.as_bytes(), hash, now).map(|entry| entry.value().to_vec());
                    assert_eq!(old, model.take(&key, now));
                }
                80..90 => {
                    let expires = random_expiry(&mut prng, now);
                    let at = model.touch(&key, now);
                    at.inspect(|at| model.entries[*at].3 = expires);
                    model.assert_same(&key, cache.set_expiry(key.as_bytes(), hash, expires, now), at);
                }
                90..94 => {
                    let mut freed: Vec<String> = std::iter::from_fn(|| cache.expire(now)).map(|entry| name_of(&entry)).collect();
                    let mut due: Vec<String> = model.entries.iter().filter(|entry| entry.3 <= now).map(|entry| entry.0.clone()).collect();
                    model.entries.retain(|entry| entry.3 > now);
                    freed.sort();
                    due.sort();
                    assert_eq!(freed, due);
                }
                94..99 => now = now.plus(prng.below(20)),
                _ if prng.chance(1, 5) => {
                    assert_eq!(cache.flush(), model.entries.len() as u64);
                    model.entries.clear();
                }
                _ => drop(cache.reclaim(5)),
            }
            let over = model.entries.len().saturating_sub(most as usize);
            let expected: Vec<String> = model.entries.drain(..over).map(|entry| entry.0).collect();
            assert_eq!(evict_all(&mut cache), expected, "seed {seed}, step {step}");
            assert_eq!(cache.next_expiry(), model.entries.iter().map(|entry| entry.3).min().unwrap_or(Mono::NEVER));
            assert_eq!(cache.len(), model.entries.len());
            if step % 50 == 0 {
                cache.check_invariants();
            }
        }
    }

    /// Reads and writes with a skew; calls back with each evicted key, and returns them all in order.
    fn churn(seed: u64, steps: u64, bounds: Bounds, mut check: impl FnMut(&mut BTreeMap<String, (u64, Vec<u8>)>, &str)) -> Vec<String> {
        const KEYS: u64 = 12_000;
        let mut prng = Prng::new(seed);
        let mut cache = cache(bounds.max_keys, bounds.max_bytes);
        let mut uses: BTreeMap<String, (u64, Vec<u8>)> = BTreeMap::new();
        let mut evicted = Vec::new();
        for step in 0..steps {
            let range = 1 + prng.below(KEYS);
            let key = prng.below(range).to_string();
            if prng.chance(1, 2) {
                let value = vec![step as u8; prng.below(400) as usize];
                put(&mut cache, &key, &value, Mono::NEVER);
                uses.insert(key, (step, value));
            } else {
                let used = uses.get_mut(&key);
                assert_eq!(get(&mut cache, &key, NOW).as_ref(), used.as_ref().map(|used| &used.1));
                used.into_iter().for_each(|used| used.0 = step);
            }
            for key in evict_all(&mut cache) {
                check(&mut uses, &key);
                assert!(uses.remove(&key).is_some());
                evicted.push(key);
            }
            assert_eq!(cache.len(), uses.len());
        }
        cache.check_invariants();
        evicted
    }

    #[test]
    fn what_a_large_cache_evicts_is_among_the_oldest_third() {
        let mut evictions = 0;
        churn(1, 60_000, Bounds { max_keys: 3_000, max_bytes: 0 }, |uses, key| {
            evictions += 1;
            if evictions % 16 == 0 {
                let used = uses[key].0;
                let older = uses.values().filter(|other| other.0 < used).count();
                assert!(older * 3 <= uses.len(), "{older} of {} were older", uses.len());
            }
        });
        assert!(evictions > 5_000, "{evictions}");
    }

    #[test]
    fn the_same_calls_evict_the_same_keys_in_the_same_order() {
        let bounds = Bounds { max_keys: 2_000, max_bytes: 700_000 };
        let first = churn(2, 30_000, bounds, |_, _| ());
        assert!(first.len() > 2_000);
        assert_eq!(first, churn(2, 30_000, bounds, |_, _| ()));
    }
}
