//! The entries of a node: found by hash, bounded, and evicted in the order of use.
//!
//! # Partitions
//!
//! The cache is 4,096 maps. A key's partition is the upper twelve bits of its place on the ring, the same at every node. Small maps grow one
//! at a time, so no single write waits while millions of entries move to a larger table; and what two nodes must compare or hand over is
//! already divided into equal parts: with a million entries, a tenth of a millisecond's work each.
//!
//! # The order of use
//!
//! It is one order for the whole cache. A clock counts the moves in it, and an entry carries the stamp of its last one. A write moves its
//! entry to the back of its partition's list. A read does so only if more than a quarter of the cache has moved since the entry last
//! did: a hot key does not rewrite a list at each read, which costs two cache misses for the neighbours, and yet the entry that is evicted
//! is always among the oldest third. Up to 1,024 entries each read moves, and the order is exact. Who evicts takes the partition whose
//! front has the oldest stamp; `oldest` finds it. `ages` knows when the clock showed what, so that a stamp tells how long ago it was given;
//! for its sake, once a second, a read moves its entry in any case.
//!
//! # Whose the entries are
//!
//! In a mirrored pool a node holds the entries of keys that it owns and copies of keys that others own. The bounds are for the first; what
//! becomes of the second their owners decide. So copies are counted apart: an entry carries one bit, set by [`Cache::put_copy`]. (To take
//! the owned share of the ring for the owned share of the entries looks cheaper and is wrong: a node whose neighbours hold more than it
//! does would see itself over its bounds, and evict its own down to nothing.) With a view what is owned changes for millions of entries at
//! once; [`Cache::recount`] follows, a partition a call. So the bit serves to count and is believed nowhere else: whether a victim is
//! owned, [`Cache::evict_owned`] asks its caller. It passes over copies, as nobody reads them here and they would stand first whatever
//! their worth: they go to the back, and the order of use goes round among them.
//!
//! # What leaves is told
//!
//! Nobody is called back: [`Cache::evict`] and [`Cache::expire`] return one entry at a time, for the caller to record and to bound the
//! loop. A put may leave the cache over its bounds until then. An entry whose time has come is absent for every reader at once and is
//! freed by whichever comes first of expire, evict, or a write to its key. A flush forgets everything at once and frees it in steps.
//!
//! The cache reads no clock, hashes no key on its way (the caller has) and iterates over nothing whose order depends on chance.

mod ages;
mod graveyard;
mod oldest;
mod partition;

use crate::caching::entry::{Entry, MAX_STAMP};
use crate::caching::expiry::{ExpiryIndex, Mark};
use crate::hash::{Hasher, KeyHash, digest_of};
use crate::time::Mono;

use ages::Ages;
use graveyard::Graveyard;
use oldest::Oldest;
use partition::{Identity, Listed, Partition, identity_of};

/// How many parts the cache has.
pub const PARTITIONS: usize = 1 << PARTITION_BITS;

const PARTITION_BITS: u32 = 12;

/// A read moves its entry if more than one in so many of all entries has moved since.
const LAZY_SHARE: u64 = 4;

/// Up to so many entries every read moves its entry, and the order of use is exact.
const EXACT_UP_TO: usize = 1_024;

/// Most copies that one call of [`Cache::evict_owned`] passes over. A node that owns half of what it holds passes over one, on average.
const MOST_PASSED_OVER: usize = 64;

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
    ages: Ages,
    len: usize,
    bytes: u64,
    overhead: u64,
    copies: Copies,
}

/// What an entry is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The node owns its key.
    Owned,
    /// Another node owns its key.
    Copy,
    /// It is not this node's to keep.
    Foreign,
}

/// What is counted as copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Copies {
    len: usize,
    bytes: u64,
}

/// The partition of a key with this place on the ring.
#[inline]
#[must_use]
pub fn partition_of(place: u32) -> usize {
    (place >> (u32::BITS - PARTITION_BITS)) as usize
}

/// The last place of the partition that a place lies in.
#[must_use]
pub fn end_of_partition(place: u32) -> u32 {
    place | (u32::MAX >> PARTITION_BITS)
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
            ages: Ages::default(),
            len: 0,
            bytes: 0,
            overhead: 0,
            copies: Copies::default(),
        }
    }

    /// What it may hold of its own.
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

    /// How many of the entries count as the node's own: `max_keys` bounds them.
    #[must_use]
    pub fn owned_len(&self) -> usize {
        self.len - self.copies.len
    }

    /// The bytes of the entries that count as the node's own, with their part of the overhead: `max_bytes` bounds them.
    #[must_use]
    pub fn owned_bytes(&self) -> u64 {
        let overhead = self.overhead_bytes();
        if self.copies.len == 0 {
            return self.bytes + overhead;
        }
        let part = u128::from(overhead) * self.owned_len() as u128 / self.len as u128;
        self.bytes - self.copies.bytes + part as u64
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

    /// The live entry of `key`; it counts as used and as read. What it counted as before, [`peek`](Cache::peek) tells.
    #[inline]
    pub fn get(&mut self, key: &[u8], hash: KeyHash, now: Mono) -> Option<&Entry> {
        let mut found = self.partitions[partition_of(hash.place)].find_mut(kept(hash), |entry| entry.key() == key)?;
        let Listed(entry) = found.key_mut();
        if !entry.is_live(now) {
            return None;
        }
        let lazy = if self.len > EXACT_UP_TO { self.len as u64 / LAZY_SHARE } else { 0 };
        entry.set_read();
        if self.clock - entry.stamp() > lazy || self.ages.is_due(now) {
            self.clock = tick(self.clock);
            self.ages.note(self.clock, now);
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

    /// How many milliseconds ago one of its entries was last used, as exactly as the order of use knows it: up to 1,024 entries within a
    /// second, or a fiftieth of what has passed. In a larger cache a read does not move its entry before a quarter of the cache has moved,
    /// and what did not move it is not known here: then this tells more than is true. An entry from the journal counts as used when it was
    /// taken in, and a copy when it was passed over.
    #[must_use]
    pub fn idle_ms(&self, entry: &Entry, now: Mono) -> u64 {
        self.ages.moment_of(entry.stamp()).map_or(0, |moment| now.since(moment))
    }

    /// As [`put`](Cache::put), of a key that another node owns.
    pub fn put_copy(&mut self, hash: KeyHash, mut entry: Entry, now: Mono) -> Option<Entry> {
        entry.set_copy(true);
        self.insert(hash, entry, now)
    }

    /// Puts an entry in, in place of the one with its key, which is returned if it was live. `hash` must be that of the entry's key.
    pub fn put(&mut self, hash: KeyHash, mut entry: Entry, now: Mono) -> Option<Entry> {
        entry.set_copy(false);
        self.insert(hash, entry, now)
    }

    /// Removes the entry of `key`; returns it if it was live.
    pub fn remove(&mut self, key: &[u8], hash: KeyHash, now: Mono) -> Option<Entry> {
        let hash_kept = kept(hash);
        let entry = self.take(partition_of(hash.place), |partition| partition.remove(hash_kept, |entry| entry.key() == key))?;
        entry.is_live(now).then_some(entry)
    }

    /// Gives the live entry of `key` another expiry and no other version; it counts as used and as read. The entry may take more room than
    /// before.
    pub fn set_expiry(&mut self, key: &[u8], hash: KeyHash, expires: Mono, now: Mono) -> Option<&Entry> {
        let entry = self.get(key, hash, now)?;
        let (old, is_copy) = (entry.expires(), entry.is_copy());
        let (partition, hash) = (partition_of(hash.place), kept(hash));
        if old != expires {
            let before = self.bytes;
            self.change(partition, |partition| partition.set_expiry(hash, key, expires));
            if is_copy {
                self.copies.bytes = self.copies.bytes + self.bytes - before;
            }
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

    /// As [`evict`](Cache::evict), but only what the node owns: `owns` says it of a key's place. Copies go to the back of the order of use,
    /// up to 64 a call; after that `None`, and the cache may stay over a bound until it is called again.
    pub fn evict_owned(&mut self, owns: impl Fn(u32) -> bool) -> Option<Entry> {
        // None is tried twice: a cache of copies alone keeps its order.
        for _ in 0..MOST_PASSED_OVER.min(self.len) {
            if !self.is_over() {
                return None;
            }
            let partition = self.oldest_partition()?;
            let front = self.partitions[partition].front()?;
            if owns(self.hasher.hash(front.key()).place) {
                return self.take(partition, Partition::pop_front);
            }
            self.pass_over(partition, identity_of(front));
        }
        None
    }

    /// Counts a partition's entries anew, as owned or copies: `whose` says it of a key's place. Returns the keys of those that are foreign, which
    /// count as copies until they are removed. Hashes each key again.
    pub fn recount(&mut self, partition: usize, whose: impl Fn(u32) -> Whose) -> Vec<Box<[u8]>> {
        let (mut wrong, mut foreign): (Vec<Identity>, Vec<Box<[u8]>>) = (Vec::new(), Vec::new());
        for entry in self.partitions[partition].iter_fetched() {
            let whose = whose(self.hasher.hash(entry.key()).place);
            if (whose == Whose::Owned) == entry.is_copy() {
                wrong.push(identity_of(entry));
            }
            if whose == Whose::Foreign {
                foreign.push(entry.key().into());
            }
        }
        for identity in wrong {
            let Some(mut found) = self.partitions[partition].identified(identity) else { continue };
            let Listed(entry) = found.key_mut();
            self.copies.subtract(entry);
            entry.set_copy(!entry.is_copy());
            self.copies.add(entry);
        }
        foreign
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
        (self.len, self.bytes, self.overhead, self.copies) = (0, 0, 0, Copies::default());
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
        self.partitions[partition].iter_fetched().filter(move |entry| entry.hash() % slices == slice)
    }

    /// The entries, dead ones too, whose places lie from `from` to `to`, both included, with their hashes; of each partition the least recently
    /// used first. Looks at each entry of the partitions that the places lie in.
    ///
    /// # Panics
    /// If the places are not in this order.
    pub fn in_places(&self, from: u32, to: u32) -> impl Iterator<Item = (KeyHash, &Entry)> {
        let hashed = self.around(from, to).iter().flat_map(Partition::iter_fetched).map(|entry| (self.hasher.hash(entry.key()), entry));
        hashed.filter(move |(hash, _)| (from..=to).contains(&hash.place))
    }

    /// The entries of the places from one to another, each with the bits that stand for its key between nodes.
    pub fn digests_in(&self, from: u32, to: u32) -> impl Iterator<Item = (u64, &Entry)> {
        let digested = self.around(from, to).iter().flat_map(Partition::iter_fetched).map(|entry| (digest_of(entry.key()), entry));
        digested.filter(move |((place, _), _)| (from..=to).contains(place)).map(|((_, digest), entry)| (digest, entry))
    }

    /// How many entries are looked at to find those of these places.
    #[must_use]
    pub fn len_around(&self, from: u32, to: u32) -> usize {
        self.around(from, to).iter().map(Partition::len).sum()
    }

    fn around(&self, from: u32, to: u32) -> &[Partition] {
        &self.partitions[partition_of(from)..=partition_of(to)]
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
            if partition.is_untouched() {
                self.oldest.check_invariants(number, None);
                continue;
            }
            partition.check_invariants();
            self.oldest.check_invariants(number, partition.front_stamp());
            let weight = partition.weight();
            (len, bytes, overhead) = (len + weight.len, bytes + weight.bytes, overhead + weight.overhead);
            let with_expiry = partition.iter().filter(|entry| entry.expires() != Mono::NEVER);
            marks.extend(with_expiry.map(|entry| mark_of(number, entry.hash(), entry.expires())));
            assert!(partition.iter().all(|entry| entry.stamp() <= self.clock), "no stamp is of the future");
        }
        assert_eq!((self.len, self.bytes, self.overhead), (len, bytes, overhead), "the sums are the partitions' together");
        let mut copies = Copies::default();
        self.partitions.iter().flat_map(Partition::iter).for_each(|entry| copies.add(entry));
        assert_eq!(self.copies, copies, "the copies are those that carry the bit");
        assert!(self.expiry.iter().eq(marks), "the marks are those of the entries that have an expiry");
    }

    fn is_over(&self) -> bool {
        let Bounds { max_keys, max_bytes } = self.bounds;
        (max_keys != 0 && self.owned_len() as u64 > max_keys) || (max_bytes != 0 && self.owned_bytes() > max_bytes)
    }

    /// A victim was not owned: it is a copy, and goes to the back.
    fn pass_over(&mut self, partition: usize, copy: Identity) {
        self.clock = tick(self.clock);
        let Some(mut found) = self.partitions[partition].identified(copy) else { return };
        let Listed(entry) = found.key_mut();
        self.copies.subtract(entry);
        entry.set_copy(true);
        self.copies.add(entry);
        entry.set_stamp(self.clock);
        found.to_back();
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

    /// Puts an entry in, counted as it says.
    #[inline]
    fn insert(&mut self, hash: KeyHash, mut entry: Entry, now: Mono) -> Option<Entry> {
        let (partition, hash) = (partition_of(hash.place), kept(hash));
        self.clock = tick(self.clock);
        self.ages.note(self.clock, now);
        entry.set_stamp(self.clock);
        entry.set_hash(hash);
        let expires = entry.expires();
        self.copies.add(&entry);
        let old = self.change(partition, |partition| partition.put(entry));
        if self.partitions[partition].len() == 1 {
            self.oldest.set(partition, Some(self.clock));
        }
        if let Some(old) = &old {
            self.copies.subtract(old);
            self.unmark(partition, old.hash(), old.expires());
        }
        self.mark(partition, hash, expires);
        old.filter(|old| old.is_live(now))
    }

    /// Takes an entry out of a partition, and its mark and the partition's bound with it.
    fn take(&mut self, partition: usize, removal: impl FnOnce(&mut Partition) -> Option<Entry>) -> Option<Entry> {
        let entry = self.change(partition, removal)?;
        self.copies.subtract(&entry);
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

impl Copies {
    /// Counts an entry, if it is a copy.
    fn add(&mut self, entry: &Entry) {
        if entry.is_copy() {
            self.len += 1;
            self.bytes += entry.footprint() as u64;
        }
    }

    /// An entry goes, or changes.
    fn subtract(&mut self, entry: &Entry) {
        if entry.is_copy() {
            self.len -= 1;
            self.bytes -= entry.footprint() as u64;
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

    /// The key's place lies in the lower half of the ring.
    fn in_lower_half(place: u32) -> bool {
        place < 1 << 31
    }

    fn place_of(cache: &Cache, key: &str) -> u32 {
        cache.hasher().hash(key.as_bytes()).place
    }

    fn held(cache: &Cache) -> Vec<&Entry> {
        (0..PARTITIONS).flat_map(|partition| cache.walk(partition, 0, 1)).collect()
    }

    fn put_by_place(cache: &mut Cache, key: &str, value: &[u8], expires: Mono, owns: impl Fn(u32) -> bool) {
        let hash = cache.hasher().hash(key.as_bytes());
        let entry = Entry::new(key.as_bytes(), value, 0, expires, Version(1));
        if owns(hash.place) {
            cache.put(hash, entry, NOW)
        } else {
            cache.put_copy(hash, entry, NOW)
        };
    }

    #[test]
    fn what_a_node_owns_fills_its_bounds_however_many_copies_lie_beside_it() {
        for (bounds, thousandths) in [((1_000, 0), 500), ((1_000, 0), 50), ((0, 300_000), 500), ((0, 300_000), 900)] {
            let owns = |place: u32| u64::from(place) * 1_000 < thousandths << 32;
            let mut cache = cache(bounds.0, bounds.1);
            let mut copies = 0;
            for number in 0..30_000 {
                let key = number.to_string();
                copies += usize::from(!owns(place_of(&cache, &key)));
                put_by_place(&mut cache, &key, &[1; 50], Mono::NEVER, owns);
                while cache.evict_owned(owns).is_some() {}
            }
            while cache.evict_owned(owns).is_some() || cache.is_over() {}
            let owned = held(&cache).into_iter().filter(|entry| owns(place_of(&cache, &name_of(entry)))).count();
            assert_eq!((owned, cache.len()), (cache.owned_len(), owned + copies), "no copy has left");
            if bounds.0 > 0 {
                assert_eq!(owned as u64, bounds.0);
            } else {
                assert!((299_500..=300_000).contains(&cache.owned_bytes()), "{}", cache.owned_bytes());
            }
            cache.check_invariants();
        }
    }

    #[test]
    fn two_nodes_that_hold_the_same_and_own_unequal_parts_both_stay_full() {
        let (few, many) = (|place: u32| place < 1 << 30, |place: u32| place >= 1 << 30);
        let mut nodes = [cache(500, 0), cache(500, 0)];
        for number in 0..20_000 {
            let key = number.to_string();
            put_by_place(&mut nodes[0], &key, b"v", Mono::NEVER, few);
            put_by_place(&mut nodes[1], &key, b"v", Mono::NEVER, many);
            while let Some(gone) = nodes[0].evict_owned(few) {
                let hash = nodes[1].hasher().hash(gone.key());
                assert!(nodes[1].remove(gone.key(), hash, NOW).is_some());
            }
            while let Some(gone) = nodes[1].evict_owned(many) {
                let hash = nodes[0].hasher().hash(gone.key());
                assert!(nodes[0].remove(gone.key(), hash, NOW).is_some());
            }
        }
        for node in &nodes {
            assert_eq!((node.owned_len(), node.len()), (500, 1_000));
            node.check_invariants();
        }
    }

    #[test]
    fn copies_are_counted_through_every_change_and_recounted_when_others_own() {
        let mut cache = cache(0, 0);
        let mut prng = Prng::new(11);
        for step in 0..20_000 {
            let key = prng.below(3_000).to_string();
            let hash = cache.hasher().hash(key.as_bytes());
            let expires = if prng.chance(1, 2) { Mono::NEVER } else { Mono(2_000 + prng.below(100)) };
            match prng.below(100) {
                // Now and then somebody is wrong about whose it is.
                0..60 => put_by_place(&mut cache, &key, &[1; 20], expires, |place| in_lower_half(place) != (step % 50 == 0)),
                60..75 => drop(cache.remove(key.as_bytes(), hash, NOW)),
                75..90 => drop(cache.set_expiry(key.as_bytes(), hash, expires, NOW)),
                90..95 => drop(cache.expire(Mono(2_000 + prng.below(100)))),
                _ => drop(cache.recount(partition_of(hash.place), |place| if place % 3 == 0 { Whose::Owned } else { Whose::Copy })),
            }
            if step % 1_000 == 0 {
                cache.check_invariants();
            }
        }
        let whose = |place| if in_lower_half(place) { Whose::Owned } else { Whose::Foreign };
        let foreign: Vec<Box<[u8]>> = (0..PARTITIONS).flat_map(|partition| cache.recount(partition, whose)).collect();
        cache.check_invariants();
        let owned = held(&cache).into_iter().filter(|entry| in_lower_half(place_of(&cache, &name_of(entry)))).count();
        assert_eq!((cache.owned_len(), foreign.len()), (owned, cache.len() - owned));
        assert!(foreign.iter().all(|key| !in_lower_half(cache.hasher().hash(key).place)));
        assert!(owned > 500 && cache.owned_bytes() < cache.bytes() + cache.overhead_bytes());
        (0..PARTITIONS).for_each(|partition| assert!(cache.recount(partition, |_| Whose::Owned).is_empty()));
        assert_eq!((cache.owned_len(), cache.owned_bytes()), (cache.len(), cache.bytes() + cache.overhead_bytes()));
        (0..PARTITIONS).for_each(|partition| assert!(cache.recount(partition, |_| Whose::Copy).is_empty()));
        assert_eq!((cache.owned_len(), cache.owned_bytes()), (0, 0));
        cache.flush();
        cache.check_invariants();
    }

    #[test]
    fn a_copy_that_left_and_is_put_again_counts_as_it_is_put() {
        let mut cache = cache(0, 0);
        put_by_place(&mut cache, "a", b"v", Mono::NEVER, |_| false);
        let hash = cache.hasher().hash(b"a");
        let entry = cache.remove(b"a", hash, NOW).expect("it is there");
        cache.put(hash, entry, NOW);
        assert_eq!(cache.owned_len(), 1);
        cache.check_invariants();
    }

    #[test]
    fn copies_are_no_reason_to_evict() {
        let mut cache = cache(3, 1_000);
        for number in 0..100 {
            put_by_place(&mut cache, &number.to_string(), &[1; 100], Mono::NEVER, |_| false);
            assert!(cache.evict().is_none() && cache.evict_owned(|_| true).is_none());
        }
        assert_eq!(cache.len(), 100);
        cache.check_invariants();
    }

    #[test]
    fn copies_that_were_counted_as_owned_are_counted_as_copies_once_they_are_passed_over() {
        let mut cache = cache(100, 0);
        for number in 0..400 {
            put(&mut cache, &number.to_string(), b"", Mono::NEVER);
        }
        for _ in 0..10 {
            assert!(cache.evict_owned(|_| false).is_none());
        }
        assert_eq!((cache.len(), cache.owned_len(), cache.is_over()), (400, 100, false));
        cache.check_invariants();
    }

    #[test]
    fn what_is_evicted_is_owned_and_leaves_in_the_order_of_use() {
        let mut cache = cache(300, 0);
        let keys: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
        keys.iter().for_each(|key| put_by_place(&mut cache, key, b"", Mono::NEVER, in_lower_half));
        keys[..100].iter().for_each(|key| drop(get(&mut cache, key, NOW)));
        let in_order = [&keys[100..], &keys[..100]].concat();
        let owned: Vec<String> = in_order.into_iter().filter(|key| in_lower_half(place_of(&cache, key))).collect();
        let evicted: Vec<String> = std::iter::from_fn(|| cache.evict_owned(in_lower_half).map(|entry| name_of(&entry))).collect();
        assert!(evicted.len() > 100);
        assert_eq!((evicted.as_slice(), cache.owned_len()), (&owned[..owned.len() - 300], 300));
        cache.check_invariants();
    }

    #[test]
    fn the_order_goes_round_among_copies_that_are_passed_over() {
        let mut cache = cache(1, 0);
        let keys: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        keys.iter().for_each(|key| put_by_place(&mut cache, key, b"", Mono::NEVER, in_lower_half));
        while cache.evict_owned(in_lower_half).is_some() {}
        let copies: Vec<String> = keys.into_iter().filter(|key| !in_lower_half(place_of(&cache, key))).collect();
        let mut left = held(&cache);
        left.sort_by_key(|entry| entry.stamp());
        let mut left: Vec<String> = left.into_iter().filter(|entry| entry.is_copy()).map(name_of).collect();
        let first = left.iter().position(|key| *key == copies[0]).expect("no copy has left");
        left.rotate_left(first);
        assert_eq!(left, copies);
    }

    #[test]
    fn a_call_passes_over_a_bounded_number_of_copies_and_the_next_goes_on_from_there() {
        let mut cache = cache(1, 0);
        let tried = std::cell::Cell::new(0);
        let tried_by = |cache: &mut Cache, owns: &dyn Fn(u32) -> bool| {
            tried.set(0);
            let evicted = cache.evict_owned(|place| {
                tried.set(tried.get() + 1);
                owns(place)
            });
            (evicted.map(|entry| name_of(&entry)), tried.get())
        };
        for number in 0..201 {
            put_by_place(&mut cache, &number.to_string(), b"", Mono::NEVER, |_| number >= 199);
        }
        let last = place_of(&cache, "199");
        let mut calls: Vec<_> = (0..4).map(|_| tried_by(&mut cache, &|place| place == last)).collect();
        assert_eq!(calls.pop(), Some((Some("199".into()), 200 - 3 * MOST_PASSED_OVER)));
        assert_eq!(calls, vec![(None, MOST_PASSED_OVER); 3]);
        cache.check_invariants();
        assert_eq!(tried_by(&mut cache, &|_| true), (None, 0), "a cache that is not over tries none");
    }

    #[test]
    fn a_cache_that_owns_all_evicts_as_if_there_were_no_copies() {
        let (mut plain, mut mirrored) = (cache(50, 0), cache(50, 0));
        for number in 0..200 {
            for cache in [&mut plain, &mut mirrored] {
                put(cache, &number.to_string(), b"", Mono::NEVER);
            }
            assert_eq!(plain.evict().map(|entry| name_of(&entry)), mirrored.evict_owned(|_| true).map(|entry| name_of(&entry)));
        }
    }

    #[test]
    fn the_intervals_of_a_partition_hold_each_of_its_entries_once_under_its_hash() {
        let mut cache = cache(0, 0);
        for number in 0..100_000 {
            put(&mut cache, &number.to_string(), b"v", if number % 2 == 0 { Mono(10) } else { Mono::NEVER });
        }
        let (first, last) = (3 << 20, end_of_partition(3 << 20));
        let (cut, mut seen) = (first + 123_456, BTreeMap::new());
        for (from, to) in [(first, cut - 1), (cut, cut), (cut + 1, last)] {
            for (hash, entry) in cache.in_places(from, to) {
                assert_eq!(hash, cache.hasher().hash(entry.key()));
                assert!((from..=to).contains(&hash.place));
                seen.insert(name_of(entry), entry.is_live(NOW));
            }
        }
        assert_eq!((seen.len(), seen.len()), (cache.partition_len(3), cache.len_around(cut, last)));
        assert!(seen.values().any(|live| *live) && seen.values().any(|live| !live), "the dead are the caller's to leave out");
        let (hash, entry) = cache.in_places(first, last).next().expect("the partition is not empty");
        let (place, key) = (hash.place, entry.key());
        assert_eq!(cache.in_places(place, place).map(|(_, entry)| entry.key()).collect::<Vec<_>>(), [key], "both ends are included");
        assert_eq!(cache.in_places(0, end_of_partition(0)).count(), cache.partition_len(0));
        let of_three = (2..5).map(|partition| cache.partition_len(partition)).sum::<usize>();
        assert_eq!(cache.in_places(2 << 20, end_of_partition(4 << 20)).count(), of_three, "and so do those of several");
        assert_eq!(cache.len_around(last, last + 1), cache.partition_len(3) + cache.partition_len(4));
        assert_eq!(cache.digests_in(0, u32::MAX).count(), cache.len());
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
            let moved = ((partition * 5 + slice as usize) % 20_000).to_string();
            put(&mut cache, &moved, b"w", Mono::NEVER);
        }
        assert_eq!((seen.len(), seen.values().all(|times| *times == 1)), (20_000, true));
        assert_eq!((0..PARTITIONS).map(|partition| cache.partition_len(partition)).sum::<usize>(), cache.len());
        assert_eq!((0..PARTITIONS).map(|partition| cache.partition_bytes(partition)).sum::<u64>(), cache.bytes());
    }

    #[test]
    fn partitions_are_equal_parts_of_the_ring() {
        assert_eq!((partition_of(0), partition_of(u32::MAX)), (0, PARTITIONS - 1));
        assert_eq!((partition_of((1 << 20) - 1), partition_of(1 << 20)), (0, 1));
        assert_eq!((end_of_partition(0), end_of_partition(3 << 20)), ((1 << 20) - 1, (4 << 20) - 1));
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

    /// Whether the key was read, and how long it has been idle, before anybody asks for it.
    fn looked_at(cache: &Cache, key: &str, now: Mono) -> (bool, u64) {
        let entry = cache.peek(key.as_bytes(), cache.hasher().hash(key.as_bytes()), now).expect("it is there");
        (entry.was_read(), cache.idle_ms(entry, now))
    }

    #[test]
    fn a_value_is_fresh_until_it_is_read_and_to_look_at_it_is_not_to_read_it() {
        let mut cache = cache(0, 0);
        put(&mut cache, "a", b"1", Mono::NEVER);
        assert!((0..2).all(|_| !looked_at(&cache, "a", NOW).0));
        let hash = cache.hasher().hash(b"a");
        assert!(cache.get(b"a", hash, NOW).expect("it is there").was_read());
        assert!(looked_at(&cache, "a", NOW).0);
        for expires in [Mono(2_000), Mono::NEVER] {
            assert!(cache.set_expiry(b"a", hash, expires, NOW).expect("it is there").was_read());
        }
        put(&mut cache, "a", b"2", Mono::NEVER);
        assert!(!looked_at(&cache, "a", NOW).0, "another value, which nobody has read");
        cache.check_invariants();
    }

    #[test]
    fn how_long_an_entry_was_idle_is_told_to_a_second_and_never_too_short() {
        let mut cache = cache(0, 0);
        let mut prng = Prng::new(9);
        let mut used: BTreeMap<String, Mono> = BTreeMap::new();
        let mut now = NOW;
        for _ in 0..5_000 {
            let key = prng.below(100).to_string();
            let hash = cache.hasher().hash(key.as_bytes());
            if prng.chance(1, 2) || !used.contains_key(&key) {
                cache.put(hash, Entry::new(key.as_bytes(), b"", 0, Mono::NEVER, Version(1)), now);
            } else {
                assert!(cache.get(key.as_bytes(), hash, now).is_some());
            }
            used.insert(key, now);
            now = now.plus(prng.below(700));
            let key = used.keys().nth(prng.below(used.len() as u64) as usize).expect("it is not empty").clone();
            let (truth, (_, told)) = (now.since(used[&key]), looked_at(&cache, &key, now));
            assert!((truth..truth + 1_000).contains(&told), "{key}: {truth}, not {told}");
        }
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
