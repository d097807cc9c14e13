//! A key and its value in one allocation, behind one thin pointer.
//!
//! A cache is mostly memory, and reading it is mostly cache misses. So an [`Entry`] is 8 bytes in the table's node, and all else lies in
//! one block that one miss brings near: a header of fixed size, then only those optional parts that this entry has, then key and value.
//!
//! ```text
//!   Entry ──▶ ┌─────────┬───────────┬──────┬─────────┬─────────┬────────────┬──────────┬─────────┬─────┬───────┐
//!             │ version │ stamp low │ hash │ lengths │ key_len │ stamp high │ (expiry) │ (flags) │ key │ value │
//!             │    8    │     4     │  4   │    4    │    2    │     2      │ 0 or 8   │ 0 or 4  │  …  │   …   │
//!             └─────────┴───────────┴──────┴─────────┴─────────┴────────────┴──────────┴─────────┴─────┴───────┘
//! ```
//!
//! `lengths` is the value's length in its lower 30 bits, and in the upper two whether there is room for an expiry, and for flags. Stamp
//! and hash belong to the cache: when the entry last moved in the order of use, in 47 bits (a 32-bit count of moves comes round within
//! two hours on a busy node, and what is oldest then looks newest; this one takes years), and 32 bits of the key's hash, so that a table
//! that grows reads four bytes an entry and does not hash each key again. The top bit of the stamp says how the cache counts the entry:
//! as its node's own, or as a copy.
//!
//! An entry does not know where it is kept, does not count itself, and is not changed once it is made, but for expiry, stamp, hash and how it is counted.
//!
//! # Why this is sound
//!
//! This is the one module that may use `unsafe`. What it relies on, and what nothing outside can break, as `start` is private:
//!
//! 1. `start` comes from `alloc` with the layout `layout_of` gives for the header's `size()`, and is freed once, in `drop`, with the
//!    same layout: neither length nor either `has` bit is ever changed after [`Entry::joined`] has written the header.
//! 2. `joined` writes each of these bytes before the entry exists, and the header has no padding: nothing uninitialised is ever read.
//! 3. The block is aligned to 8 and its parts come in the order of their alignment (header and expiry 8, flags 4, bytes 1): every access
//!    is aligned.
//! 4. All pointers derive from `start`, which may access the whole block. Shared references are handed out for as long as `&self` is
//!    borrowed, and whatever writes takes `&mut self`: nobody holds a reference to what is being written.

#![allow(unsafe_code)]

use std::alloc::{self, Layout};
use std::fmt;
use std::mem;
use std::ptr::{self, NonNull};
use std::slice;

use crate::caching::Version;
use crate::time::Mono;

/// The longest key, in bytes.
pub const MAX_KEY: usize = u16::MAX as usize;

/// The longest value, in bytes.
pub const MAX_VALUE: usize = 512 << 20;

/// Stamps count to this, which a million moves a second reach in four years.
pub(super) const MAX_STAMP: u64 = (1 << 47) - 1;

/// In the upper half of the stamp.
const IS_COPY: u16 = 1 << 15;

const HAS_EXPIRY: u32 = 1 << 31;
const HAS_FLAGS: u32 = 1 << 30;
const VALUE_LEN: u32 = HAS_FLAGS - 1;

const ALIGN: usize = mem::align_of::<Header>();
const EXPIRY_AT: usize = mem::size_of::<Header>();

const _: () = assert!(mem::size_of::<Header>() == 24 && ALIGN == 8 && MAX_VALUE <= VALUE_LEN as usize);
const _: () = assert!(mem::size_of::<Option<Entry>>() == 8);

/// The heap bytes of an entry of these lengths, with flags and expiry.
#[must_use]
pub fn footprint_of(key_len: usize, value_len: usize) -> usize {
    heap_bytes(EXPIRY_AT + mem::size_of::<u64>() + mem::size_of::<u32>() + key_len + value_len)
}

/// A key, its value and what belongs to them.
pub struct Entry {
    start: NonNull<u8>,
}

/// The fixed part. Its fields are ordered so that there is no padding.
#[repr(C)]
struct Header {
    version: u64,
    stamp_low: u32,
    hash: u32,
    lengths: u32,
    key_len: u16,
    stamp_high: u16,
}

// SAFETY: an entry owns its block alone, and the block holds plain bytes and numbers.
unsafe impl Send for Entry {}
// SAFETY: through `&Entry` the block is only read.
unsafe impl Sync for Entry {}

impl Entry {
    /// An entry of copies of `key` and `value`. `Mono::NEVER` is no expiry.
    ///
    /// # Panics
    /// If the key is longer than [`MAX_KEY`] or the value than [`MAX_VALUE`]: the limits of the configuration are below them.
    #[must_use]
    pub fn new(key: &[u8], value: &[u8], flags: u32, expires: Mono, version: Version) -> Entry {
        Entry::joined(key, value, &[], flags, expires, version)
    }

    /// An entry whose value is `first` followed by `second`: append and prepend need no value in between.
    ///
    /// # Panics
    /// As [`Entry::new`].
    #[must_use]
    pub fn joined(key: &[u8], first: &[u8], second: &[u8], flags: u32, expires: Mono, version: Version) -> Entry {
        let header = Header::new(key.len(), first.len() + second.len(), flags != 0, expires != Mono::NEVER, version);
        let layout = layout_of(header.size());
        // SAFETY: the layout is not empty, it has at least the header's size.
        let Some(start) = NonNull::new(unsafe { alloc::alloc(layout) }) else { alloc::handle_alloc_error(layout) };
        let (flags_at, key_at, value_at) = (header.flags_at(), header.key_at(), header.value_at());
        // SAFETY: the block is new, so nothing overlaps it, and `size()` is the sum of the parts written here, in the order of their
        // offsets and without a gap. Header and expiry lie at multiples of 8, flags at one of 4.
        unsafe {
            if header.has(HAS_EXPIRY) {
                start.add(EXPIRY_AT).cast::<u64>().write(expires.0);
            }
            if header.has(HAS_FLAGS) {
                start.add(flags_at).cast::<u32>().write(flags);
            }
            start.cast::<Header>().write(header);
            copy_to(start.add(key_at), key);
            copy_to(start.add(value_at), first);
            copy_to(start.add(value_at + first.len()), second);
        }
        Entry { start }
    }

    /// The key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        let header = self.header();
        self.bytes(header.key_at(), header.key_len())
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> &[u8] {
        let header = self.header();
        self.bytes(header.value_at(), header.value_len())
    }

    /// The client's own 32 bits.
    #[inline]
    #[must_use]
    pub fn flags(&self) -> u32 {
        let header = self.header();
        if !header.has(HAS_FLAGS) {
            return 0;
        }
        // SAFETY: the bit says that `joined` has written flags there.
        unsafe { self.start.add(header.flags_at()).cast::<u32>().read() }
    }

    /// When the entry ends; `Mono::NEVER` if it does not.
    #[inline]
    #[must_use]
    pub fn expires(&self) -> Mono {
        if !self.header().has(HAS_EXPIRY) {
            return Mono::NEVER;
        }
        // SAFETY: the bit says that `joined` has written an expiry there.
        Mono(unsafe { self.start.add(EXPIRY_AT).cast::<u64>().read() })
    }

    /// Is it there for a reader at `now`?
    #[inline]
    #[must_use]
    pub fn is_live(&self, now: Mono) -> bool {
        let expires = self.expires();
        expires == Mono::NEVER || expires > now
    }

    /// The version of the write that made it.
    #[inline]
    #[must_use]
    pub fn version(&self) -> Version {
        Version(self.header().version)
    }

    /// The bytes it takes from the heap, with what malloc adds. The node and the slot that refer to it are counted by the cache.
    #[inline]
    #[must_use]
    pub fn footprint(&self) -> usize {
        heap_bytes(self.header().size())
    }

    /// Gives it another expiry in place. False, and nothing changed, if it has no room for one: then it takes
    /// [`with_expiry`](Entry::with_expiry).
    pub(super) fn set_expiry(&mut self, expires: Mono) -> bool {
        if !self.header().has(HAS_EXPIRY) {
            return expires == Mono::NEVER;
        }
        // SAFETY: the bit says that there are eight aligned bytes for an expiry, and `&mut self` that nobody reads them now.
        unsafe { self.start.add(EXPIRY_AT).cast::<u64>().write(expires.0) };
        true
    }

    /// The same entry, with the same version, hash, stamp and count, but for its expiry.
    pub(super) fn with_expiry(&self, expires: Mono) -> Entry {
        let mut entry = Entry::new(self.key(), self.value(), self.flags(), expires, self.version());
        entry.set_hash(self.hash());
        entry.set_stamp(self.stamp());
        entry.set_copy(self.is_copy());
        entry
    }

    /// The part of the key's hash that the cache keeps; 0 until it has set it.
    #[inline]
    pub(super) fn hash(&self) -> u32 {
        self.header().hash
    }

    /// Keeps a part of the key's hash.
    #[inline]
    pub(super) fn set_hash(&mut self, hash: u32) {
        self.header_mut().hash = hash;
    }

    /// When it last moved in the order of use; 0 until the cache has set it.
    #[inline]
    pub(super) fn stamp(&self) -> u64 {
        let header = self.header();
        u64::from(header.stamp_high & !IS_COPY) << 32 | u64::from(header.stamp_low)
    }

    /// Notes that it moved at `stamp`.
    #[inline]
    pub(super) fn set_stamp(&mut self, stamp: u64) {
        debug_assert!(stamp <= MAX_STAMP, "stamp {stamp} is out of range");
        let header = self.header_mut();
        header.stamp_low = stamp as u32;
        header.stamp_high = header.stamp_high & IS_COPY | (stamp >> 32) as u16;
    }

    /// Does the cache count it as a copy? If not, as its node's own, which all are until the cache says otherwise.
    #[inline]
    pub(super) fn is_copy(&self) -> bool {
        self.header().stamp_high & IS_COPY != 0
    }

    /// Counts it as a copy, or as its node's own.
    pub(super) fn set_copy(&mut self, is_copy: bool) {
        let header = self.header_mut();
        header.stamp_high = header.stamp_high & !IS_COPY | if is_copy { IS_COPY } else { 0 };
    }

    /// Asks the processor for the entry's first two cache lines, and does not wait for them.
    #[inline]
    pub(super) fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            const CACHE_LINE: usize = 64;
            let start = self.start.as_ptr().cast_const().cast::<i8>();
            // SAFETY: a prefetch is a hint: it reads nothing that the program can see and cannot fault, not even where the second line
            // lies beyond the block; hence `wrapping_add`, which may leave it.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(start);
                _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(CACHE_LINE));
            }
        }
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: `joined` has written a header there, and while `&self` is borrowed nobody writes.
        unsafe { self.start.cast::<Header>().as_ref() }
    }

    /// For hash, stamp and count alone: what the lengths say must stay true.
    #[inline]
    fn header_mut(&mut self) -> &mut Header {
        // SAFETY: as in `header`, and `&mut self` is the only reference.
        unsafe { self.start.cast::<Header>().as_mut() }
    }

    /// `len` bytes from offset `at`: key or value.
    #[inline]
    fn bytes(&self, at: usize, len: usize) -> &[u8] {
        // SAFETY: both callers take offset and length from the header, by which `joined` has laid out and written the block.
        unsafe { slice::from_raw_parts(self.start.add(at).as_ptr(), len) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let layout = layout_of(self.header().size());
        // SAFETY: allocated in `joined` with this very layout, for neither lengths nor bits have changed since.
        unsafe { alloc::dealloc(self.start.as_ptr(), layout) };
    }
}

/// Says how long key and value are, never what they are: logs are read by people who may not read the cache.
impl fmt::Debug for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Entry")
            .field("key_len", &self.key().len())
            .field("value_len", &self.value().len())
            .field("flags", &self.flags())
            .field("expires", &self.expires())
            .field("version", &self.version())
            .finish()
    }
}

impl Header {
    fn new(key_len: usize, value_len: usize, has_flags: bool, has_expiry: bool, version: Version) -> Header {
        assert!(key_len <= MAX_KEY, "a key of {key_len} bytes");
        assert!(value_len <= MAX_VALUE, "a value of {value_len} bytes");
        let bits = if has_expiry { HAS_EXPIRY } else { 0 } | if has_flags { HAS_FLAGS } else { 0 };
        let lengths = value_len as u32 | bits;
        Header { version: version.0, stamp_low: 0, hash: 0, lengths, key_len: key_len as u16, stamp_high: 0 }
    }

    #[inline]
    fn has(&self, bit: u32) -> bool {
        self.lengths & bit != 0
    }

    #[inline]
    fn key_len(&self) -> usize {
        usize::from(self.key_len)
    }

    #[inline]
    fn value_len(&self) -> usize {
        (self.lengths & VALUE_LEN) as usize
    }

    #[inline]
    fn flags_at(&self) -> usize {
        EXPIRY_AT + if self.has(HAS_EXPIRY) { mem::size_of::<u64>() } else { 0 }
    }

    #[inline]
    fn key_at(&self) -> usize {
        self.flags_at() + if self.has(HAS_FLAGS) { mem::size_of::<u32>() } else { 0 }
    }

    #[inline]
    fn value_at(&self) -> usize {
        self.key_at() + self.key_len()
    }

    #[inline]
    fn size(&self) -> usize {
        self.value_at() + self.value_len()
    }
}

/// What a block of `size` bytes takes from the heap: malloc (glibc's) adds 8 bytes, rounds up to 16, and gives no less than 32. Blocks
/// that it maps by themselves are rounded to pages instead; they are so large that it does not matter.
#[inline]
#[must_use]
pub(super) fn heap_bytes(size: usize) -> usize {
    const ADDED: usize = 8;
    const STEP: usize = 16;
    const LEAST: usize = 32;
    (size + ADDED).next_multiple_of(STEP).max(LEAST)
}

fn layout_of(size: usize) -> Layout {
    Layout::from_size_align(size, ALIGN).expect("the limits on key and value keep an entry far below isize::MAX bytes")
}

/// # Safety
/// `to` must be valid for writing `bytes.len()` bytes that do not overlap `bytes`.
unsafe fn copy_to(to: NonNull<u8>, bytes: &[u8]) {
    // SAFETY: `bytes` is valid for reading its length; the rest is the caller's promise.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(len: usize, salt: u8) -> Vec<u8> {
        (0..len).map(|at| (at as u8).wrapping_mul(31) ^ salt).collect()
    }

    #[test]
    fn what_goes_in_comes_out_for_every_shape_of_entry() {
        let expiries = [Mono::NEVER, Mono(0), Mono(1), Mono(u64::MAX - 1)];
        for key_len in [0, 1, 7, 255, MAX_KEY] {
            for value_len in [0, 1, 9, 100, 70_000] {
                for (flags, expires) in expiries.iter().flat_map(|at| [(0, *at), (1, *at), (u32::MAX, *at)]) {
                    let (key, value) = (pattern(key_len, 1), pattern(value_len, 2));
                    let entry = Entry::new(&key, &value, flags, expires, Version(u64::MAX - 5));
                    assert_eq!((entry.key(), entry.value()), (&key[..], &value[..]));
                    assert_eq!((entry.flags(), entry.expires(), entry.version()), (flags, expires, Version(u64::MAX - 5)));
                }
            }
        }
    }

    #[test]
    fn a_joined_value_is_the_first_part_and_then_the_second() {
        for (first, second) in [(&b"ab"[..], &b"cde"[..]), (b"", b"x"), (b"x", b""), (b"", b"")] {
            let entry = Entry::joined(b"k", first, second, 3, Mono(9), Version(1));
            assert_eq!(entry.value(), [first, second].concat());
            assert_eq!((entry.key(), entry.flags(), entry.expires()), (&b"k"[..], 3, Mono(9)));
        }
    }

    #[test]
    fn stamp_hash_and_count_change_nothing_else() {
        let mut entry = Entry::new(b"key", b"value", 7, Mono(5), Version(3));
        for stamp in [0, 1, 0xffff_ffff, 0x1_0000_0000, MAX_STAMP] {
            entry.set_stamp(stamp);
            entry.set_hash(!(stamp as u32));
            for is_copy in [true, false] {
                entry.set_copy(is_copy);
                entry.set_stamp(stamp);
                assert_eq!((entry.stamp(), entry.hash(), entry.is_copy()), (stamp, !(stamp as u32), is_copy));
            }
        }
        assert_eq!((entry.key(), entry.value(), entry.flags()), (&b"key"[..], &b"value"[..], 7));
        assert_eq!((entry.expires(), entry.version()), (Mono(5), Version(3)));
    }

    #[test]
    fn an_expiry_changes_in_place_where_there_is_room_and_in_a_copy_where_there_is_not() {
        let mut roomy = Entry::new(b"key", b"value", 7, Mono(5), Version(3));
        for expires in [Mono(6), Mono::NEVER, Mono(7)] {
            assert!(roomy.set_expiry(expires));
            assert_eq!((roomy.expires(), roomy.flags(), roomy.value()), (expires, 7, &b"value"[..]));
        }
        let mut tight = Entry::new(b"key", b"value", 7, Mono::NEVER, Version(3));
        tight.set_stamp(11);
        tight.set_hash(12);
        tight.set_copy(true);
        assert!(tight.set_expiry(Mono::NEVER));
        assert!(!tight.set_expiry(Mono(6)));
        assert_eq!(tight.expires(), Mono::NEVER);
        let copy = tight.with_expiry(Mono(6));
        assert_eq!((copy.key(), copy.value(), copy.flags()), (&b"key"[..], &b"value"[..], 7));
        assert_eq!((copy.expires(), copy.version(), copy.stamp(), copy.hash()), (Mono(6), Version(3), 11, 12));
        assert!(copy.is_copy());
    }

    #[test]
    fn an_entry_lives_until_the_moment_of_its_expiry() {
        let entry = Entry::new(b"k", b"", 0, Mono(10), Version(1));
        assert!(entry.is_live(Mono(9)) && !entry.is_live(Mono(10)));
        assert!(Entry::new(b"k", b"", 0, Mono::NEVER, Version(1)).is_live(Mono::NEVER));
    }

    #[test]
    fn parts_that_are_not_there_take_no_room() {
        let size = |flags, expires| Entry::new(b"", b"", flags, expires, Version(1)).header().size();
        assert_eq!(size(0, Mono::NEVER), 24);
        assert_eq!(size(1, Mono::NEVER), 28);
        assert_eq!(size(0, Mono(1)), 32);
        assert_eq!(size(1, Mono(1)), 36);
        assert_eq!((heap_bytes(0), heap_bytes(24), heap_bytes(25), heap_bytes(40), heap_bytes(1_000)), (32, 32, 48, 48, 1_008));
    }

    #[test]
    fn debug_output_keeps_key_and_value_to_itself() {
        let text = format!("{:?}", Entry::new(b"secret-key", b"secret-value", 1, Mono(2), Version(3)));
        assert!(!text.contains("secret") && text.contains("key_len: 10") && text.contains("value_len: 12"), "{text}");
    }

    #[test]
    #[should_panic(expected = "a key of 65536 bytes")]
    fn a_key_over_the_limit_is_refused() {
        drop(Entry::new(&[0; MAX_KEY + 1], b"", 0, Mono::NEVER, Version(1)));
    }
}
