//! One of the cache's partitions: a hashlink map of entries in the order of use, and what it weighs.
//!
//! Look-ups use the hash that the caller has already computed, by the map's raw-entry interface. The map itself must know hashes when it
//! grows; it gets them from the entries, which keep 32 bits each: to hash ten thousand keys again with MD5 would stall a turn for
//! milliseconds.
//!
//! The map keeps a list node that it has freed, and the table's size, for later. So a partition counts the most nodes and slots it has
//! had, and gives them back when three quarters lie idle. It knows no clock, no limit and no other partition.

use std::hash::{BuildHasher, Hash, Hasher};

use hashlink::LinkedHashMap;
use hashlink::linked_hash_map::{RawEntryMut, RawOccupiedEntryMut};

use crate::caching::entry::{Entry, heap_bytes};
use crate::time::Mono;

/// The entries, least recently used first.
pub(super) type Map = LinkedHashMap<Listed, (), KeptHash>;

/// An entry's place in a map, where it can be read, changed and moved.
pub(super) type Found<'a> = RawOccupiedEntryMut<'a, Listed, (), KeptHash>;

/// Partition's size is a cache line, and it lies on one: a look-up misses once before it reaches the table.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Partition {
    map: Map,
    bytes: u64,
    nodes: u32,
    slots: u32,
}

const _: () = assert!(size_of::<Partition>() == 64);

/// What a partition adds to the sums of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// Entries.
    pub len: usize,
    /// Bytes of the entries.
    pub bytes: u64,
    /// Bytes of list nodes and table slots, in use or kept for later.
    pub overhead: u64,
}

/// An entry as the map's key. It counts as equal by its key, which is not how entries in general compare: hence a type of its own.
pub(super) struct Listed(pub Entry);

/// Hashes a [`Listed`] by the hash its entry keeps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeptHash;

/// See [`KeptHash`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeptHasher(u64);

/// Which entry it is: its hash and where its list node lies, until it is removed. No key is compared, and nothing is read through it.
pub(super) type Identity = (u32, *const Entry);

/// Which of a partition's entries this one is.
pub(super) fn identity_of(entry: &Entry) -> Identity {
    (entry.hash(), std::ptr::from_ref(entry))
}

/// A partition is shrunk when its entries are no more than one in so many of the nodes it has.
const IDLE_NODES: usize = 4;

/// So many entries are on their way from memory while another is looked at.
const FETCHED_AHEAD: usize = 8;

impl Partition {
    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn weight(&self) -> Weight {
        Weight { len: self.map.len(), bytes: self.bytes, overhead: self.overhead() }
    }

    /// The entry under `hash` that `is_it` accepts.
    #[inline]
    pub fn find(&self, hash: u32, is_it: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        self.map.raw_entry().from_hash(spread(hash), |listed| is_it(&listed.0)).map(|(listed, ())| &listed.0)
    }

    /// The same, to be changed or moved. What is changed must keep key, hash and footprint.
    #[inline]
    pub fn find_mut(&mut self, hash: u32, is_it: impl Fn(&Entry) -> bool) -> Option<Found<'_>> {
        match self.map.raw_entry_mut().from_hash(spread(hash), |listed| is_it(&listed.0)) {
            RawEntryMut::Occupied(found) => Some(found),
            RawEntryMut::Vacant(_) => None,
        }
    }

    /// Puts `entry` at the back, in place of the one with its key, which is returned.
    pub fn put(&mut self, entry: Entry) -> Option<Entry> {
        let hash = spread(entry.hash());
        self.bytes += entry.footprint() as u64;
        let old = match self.map.raw_entry_mut().from_hash(hash, |listed| listed.0.key() == entry.key()) {
            RawEntryMut::Occupied(mut found) => {
                found.to_back();
                Some(found.replace_key(Listed(entry)).0)
            }
            RawEntryMut::Vacant(vacant) => {
                vacant.insert_hashed_nocheck(hash, Listed(entry), ());
                None
            }
        };
        match &old {
            Some(old) => self.bytes -= old.footprint() as u64,
            None => self.note_growth(),
        }
        old
    }

    /// Gives an entry another expiry, in place or in a larger or smaller block, and does not move it.
    pub fn set_expiry(&mut self, hash: u32, key: &[u8], expires: Mono) {
        let Some(mut found) = self.find_mut(hash, |entry| entry.key() == key) else { return };
        if found.key_mut().0.set_expiry(expires) {
            return;
        }
        let packed = found.key().0.with_expiry(expires);
        let after = packed.footprint() as u64;
        let before = found.replace_key(Listed(packed)).0.footprint() as u64;
        self.bytes = self.bytes + after - before;
    }

    /// Removes the entry under `hash` that `is_it` accepts.
    pub fn remove(&mut self, hash: u32, is_it: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let (Listed(entry), ()) = self.find_mut(hash, is_it)?.remove_entry();
        self.note_removal(&entry);
        Some(entry)
    }

    /// Removes the least recently used entry.
    pub fn pop_front(&mut self) -> Option<Entry> {
        let (Listed(entry), ()) = self.map.pop_front()?;
        self.note_removal(&entry);
        Some(entry)
    }

    /// The very entry that [`identity_of`] was asked about, to be changed or moved as by [`find_mut`](Partition::find_mut).
    pub fn identified(&mut self, (hash, at): Identity) -> Option<Found<'_>> {
        self.find_mut(hash, |entry| std::ptr::eq(entry, at))
    }

    /// The least recently used entry.
    pub fn front(&self) -> Option<&Entry> {
        self.map.front().map(|(listed, ())| &listed.0)
    }

    /// The least recently used entry's stamp.
    pub fn front_stamp(&self) -> Option<u64> {
        self.front().map(Entry::stamp)
    }

    /// The entries, least recently used first.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.map.keys().map(|listed| &listed.0)
    }

    /// The same, each brought near some time before its turn: who goes through all of them waits for memory, and little else.
    pub fn iter_fetched(&self) -> impl Iterator<Item = &Entry> {
        let mut ahead = self.iter();
        ahead.by_ref().take(FETCHED_AHEAD).for_each(Entry::prefetch);
        self.iter().inspect(move |_| ahead.next().into_iter().for_each(Entry::prefetch))
    }

    /// Leaves the partition empty and returns what it held, to be freed in steps.
    pub fn take_map(&mut self) -> Map {
        std::mem::take(self).map
    }

    /// Has it nothing, and has it given back what it had?
    pub fn is_untouched(&self) -> bool {
        self.map.is_empty() && (self.bytes, self.nodes, self.slots) == (0, 0, 0)
    }

    /// Asserts that the sums are those of the entries.
    pub fn check_invariants(&self) {
        assert_eq!(self.bytes, self.iter().map(|entry| entry.footprint() as u64).sum::<u64>(), "the bytes are the entries'");
        assert_eq!(self.iter().count(), self.len(), "list and table hold the same entries");
        assert!(
            self.len() <= self.nodes as usize && self.map.capacity() <= self.slots as usize,
            "nodes and slots are the most there have been"
        );
        assert!(self.len() > self.nodes as usize / IDLE_NODES || self.nodes == 0, "idle nodes are given back");
        assert!(self.iter().is_sorted_by(|a, b| a.stamp() < b.stamp()), "the list is in the order of use");
    }

    fn overhead(&self) -> u64 {
        if self.nodes == 0 {
            return 0;
        }
        // The list has one node more, which joins its ends.
        let nodes = (self.nodes as usize + 1) * heap_bytes(NODE);
        (nodes + table_bytes(self.slots as usize)) as u64
    }

    /// Capacity less what tombstones hide is what the map tells; right after a growth there are none, so the most it told is right.
    fn note_growth(&mut self) {
        self.nodes = self.nodes.max(self.map.len() as u32);
        self.slots = self.slots.max(self.map.capacity() as u32);
    }

    fn note_removal(&mut self, removed: &Entry) {
        self.bytes -= removed.footprint() as u64;
        if self.map.is_empty() {
            self.take_map();
        } else if self.map.len() <= self.nodes as usize / IDLE_NODES {
            self.map.shrink_to_fit();
            self.nodes = self.map.len() as u32;
            self.slots = self.map.capacity() as u32;
        }
    }
}

impl PartialEq for Listed {
    fn eq(&self, other: &Listed) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for Listed {}

impl Hash for Listed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(spread(self.0.hash()));
    }
}

impl BuildHasher for KeptHash {
    type Hasher = KeptHasher;

    fn build_hasher(&self) -> KeptHasher {
        KeptHasher::default()
    }
}

impl Hasher for KeptHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a Listed hashes by one write_u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The table takes its slot from the lower bits and its seven-bit tag from the upper ones: 32 bits, put in both halves, serve a partition
/// of up to 2^25 entries without an overlap.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// A list node: the entry, and the nodes before and after.
const NODE: usize = 3 * size_of::<usize>();

/// What a table that can hold `capacity` entries takes from the heap: a power of two of slots, at most 7/8 of them used (all but one in
/// the smallest), and a control byte for each, sixteen of them repeated at the end.
fn table_bytes(capacity: usize) -> usize {
    const REPEATED: usize = 16;
    let slots = match capacity {
        0 => return 0,
        1..4 => 4,
        4..8 => 8,
        8..15 => 16,
        _ => (capacity * 8 / 7).next_power_of_two(),
    };
    heap_bytes(slots * (size_of::<usize>() + 1) + REPEATED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caching::Version;
    use crate::prng::Prng;

    fn entry(number: u64, stamp: u64) -> Entry {
        let mut entry = Entry::new(&number.to_le_bytes(), b"value", 0, Mono::NEVER, Version(stamp));
        entry.set_hash(Prng::new(number).next_u64() as u32);
        entry.set_stamp(stamp);
        entry
    }

    #[test]
    fn a_partition_that_grows_and_shrinks_pays_for_what_it_holds_and_ends_with_nothing() {
        let mut partition = Partition::default();
        for number in 0..10_000 {
            assert!(partition.put(entry(number, number)).is_none());
        }
        let full = partition.weight();
        assert_eq!((full.len, full.overhead), (10_000, 10_001 * 32 + heap_bytes(16_384 * 9 + 16) as u64));
        for number in 0..9_990_u64 {
            assert_eq!(partition.pop_front().expect("it is there").key(), number.to_le_bytes());
            if number % 500 == 0 {
                partition.check_invariants();
            }
        }
        assert!(partition.weight().overhead < 50 * 50, "{:?}", partition.weight());
        for number in 9_990..10_000 {
            let wanted = entry(number, 0);
            assert!(partition.remove(wanted.hash(), |entry| entry.key() == wanted.key()).is_some());
        }
        assert_eq!(partition.weight(), Weight::default());
    }

    #[test]
    fn slots_hidden_by_tombstones_are_still_counted() {
        let mut partition = Partition::default();
        for number in 0..1_700 {
            partition.put(entry(number, number));
        }
        let full = partition.weight().overhead;
        for number in 1_700..1_740 {
            partition.pop_front();
            partition.put(entry(number, number));
            assert!(partition.map.capacity() <= 1_792, "the table has not grown");
            assert_eq!(partition.weight().overhead, full);
        }
        assert!(partition.map.capacity() < 1_792, "there are tombstones");
        partition.check_invariants();
    }
}
