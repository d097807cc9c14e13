//! A key and its value in one allocation, behind one thin pointer.
//!
//! A cache is mostly memory, and reading it is mostly cache misses. So an [`Entry`] is 8 bytes in the table's node, and all else lies in
//! one block that one miss brings near: a header of fixed size, then only those optional parts that this entry has, then key and value.
//!
//! ```text
//!   Entry ──▶ ┌─────────┬───────────┬──────┬─────────┬─────────┬────────────┬──────────┬─────────┬──────────┬─────┬───────┐
//!             │ version │ stamp low │ hash │ lengths │ key_len │ stamp high │ (expiry) │ (flags) │ (extra)  │ key │ value │
//!             │    8    │     4     │  4   │    4    │    2    │     2      │ 0 or 8   │ 0 or 4  │ 0 or 1+… │  …  │   …   │
//!             └─────────┴───────────┴──────┴─────────┴─────────┴────────────┴──────────┴─────────┴──────────┴─────┴───────┘
//! ```
//!
//! `lengths` is the value's length in its lower 30 bits, and in the upper two whether there is room for an expiry, and for flags. The
//! *extra* is a few bytes that travel with the value and mean nothing here: a byte that says how many, and they. Few entries have one.
//!
//! A value of more than [`MOST_INLINE`] bytes lies in a [`Block`] of its own, which the journal and the links may [share](Entry::content)
//! while they write and send it; in its place stands the pointer to it.
//!
//! Stamp and hash belong to the cache: when the entry last moved in the order of use, in 45 bits (a 32-bit count of moves comes round
//! within two hours on a busy node, and what is oldest then looks newest; this one lasts for a year of a million moves a second, and then
//! stands still), and 32 bits of the key's hash, so that a table that grows reads four bytes an entry and does not hash each key again.
//! The three bits above the stamp say how the cache counts the entry, as its node's own or as a copy; whether it was ever read; and
//! whether there is an extra.
//!
//! An entry does not know where it is kept, does not count itself, and is not changed once it is made, but for expiry, stamp, hash, how it
//! is counted and that it was read.
//!
//! # Why this is sound
//!
//! This is the one module that may use `unsafe`. What it relies on, and what nothing outside can break, as `start` is private:
//!
//! 1. `start` comes from `alloc` with the layout `layout_of` gives for the header's `size()`, and is freed once, in `drop`, with the
//!    same layout: no length (the extra's own byte is one) and no `has` bit is ever changed after [`Entry::joined`] has written them.
//!    One `has` bit lies beside the stamp: what sets the stamp or a mark writes under a mask that leaves it alone.
//! 2. `joined` writes each of these bytes before the entry exists, and the header has no padding: nothing uninitialised is ever read.
//! 3. The block is aligned to 8 and its parts come in the order of their alignment (header and expiry 8, flags 4, extra, key and value 1):
//!    every access is aligned.
//! 4. Where the value's length is more than `MOST_INLINE`, and nowhere else, `build` has written what `Block::into_raw` gave, unaligned:
//!    that share is the entry's until `drop` gives it back, once.
//! 5. All pointers derive from `start`, which may access the whole block. Shared references are handed out for as long as `&self` is
//!    borrowed, and whatever writes takes `&mut self`: nobody holds a reference to what is being written.

#![allow(unsafe_code)]

use std::alloc::{self, Layout};
use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};
use std::slice;

use crate::caching::Version;
use crate::caching::content::{Block, Content};
use crate::time::Mono;

/// The longest value that lies in its entry.
pub const MOST_INLINE: usize = 64 << 10;

/// The longest key, in bytes.
pub const MAX_KEY: usize = u16::MAX as usize;

/// The longest value, in bytes.
pub const MAX_VALUE: usize = 512 << 20;

/// The longest extra, in bytes: its length is one.
pub const MAX_EXTRA: usize = u8::MAX as usize;

/// Stamps count to this, which a million moves a second reach in a year.
pub(super) const MAX_STAMP: u64 = (1 << 45) - 1;

/// Above the upper half of the stamp.
const IS_COPY: u16 = 1 << 15;
const WAS_READ: u16 = 1 << 14;
const HAS_EXTRA: u16 = 1 << 13;
const STAMP_HIGH: u16 = HAS_EXTRA - 1;

const HAS_EXPIRY: u32 = 1 << 31;
const HAS_FLAGS: u32 = 1 << 30;
const VALUE_LEN: u32 = HAS_FLAGS - 1;

const ALIGN: usize = mem::align_of::<Header>();
const EXPIRY_AT: usize = mem::size_of::<Header>();

const _: () = assert!(mem::size_of::<Header>() == 24 && ALIGN == 8 && MAX_VALUE <= VALUE_LEN as usize);
const _: () = assert!(mem::size_of::<Option<Entry>>() == 8);
const _: () = assert!(MAX_STAMP >> 32 == STAMP_HIGH as u64);

/// The heap bytes of an entry of these lengths, with flags and expiry.
#[must_use]
pub fn footprint_of(key_len: usize, value_len: usize, extra_len: usize) -> usize {
    let inline =
        heap_bytes(EXPIRY_AT + mem::size_of::<u64>() + mem::size_of::<u32>() + extra_size(extra_len) + key_len + room_of(value_len));
    inline + block_bytes(value_len)
}

/// What an entry is made of.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The beginning of the value.
    pub first: &'a [u8],
    /// The rest of it: append and prepend need no value in between.
    pub second: &'a [u8],
    /// The client's own 32 bits.
    pub flags: u32,
    /// What travels with the value; empty is none.
    pub extra: &'a [u8],
    /// When the entry ends; `Mono::NEVER` if it does not.
    pub expires: Mono,
    /// The version of the write.
    pub version: Version,
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
    /// An entry of copies of `key` and `value`, without an extra. `Mono::NEVER` is no expiry.
    ///
    /// # Panics
    /// If the key is longer than [`MAX_KEY`] or the value than [`MAX_VALUE`]: the limits of the configuration are below them.
    #[must_use]
    pub fn new(key: &[u8], value: &[u8], flags: u32, expires: Mono, version: Version) -> Entry {
        Entry::joined(Parts { key, first: value, second: &[], flags, extra: &[], expires, version })
    }

    /// An entry of copies of these parts, whose value is `first` followed by `second`.
    ///
    /// # Panics
    /// As [`Entry::new`], and if the extra is longer than [`MAX_EXTRA`].
    #[must_use]
    pub fn joined(parts: Parts<'_>) -> Entry {
        let is_inline = parts.first.len() + parts.second.len() <= MOST_INLINE;
        let block = match parts.second {
            _ if is_inline => None,
            [] => Some(Block::from(parts.first)),
            second => Some(Block::from([parts.first, second].concat())),
        };
        Entry::build(parts, block)
    }

    /// An entry of these parts, whose value is in `block` if it is too long to lie in the entry.
    fn build(parts: Parts<'_>, block: Option<Block>) -> Entry {
        let Parts { key, first, second, flags, extra, expires, .. } = parts;
        let header = Header::new(&parts);
        let extra_size = extra_size(extra.len());
        let layout = layout_of(header.size(extra_size));
        // SAFETY: the layout is not empty, it has at least the header's size.
        let Some(start) = NonNull::new(unsafe { alloc::alloc(layout) }) else { alloc::handle_alloc_error(layout) };
        let (flags_at, extra_at, header_value_len) = (header.flags_at(), header.extra_at(), header.value_len());
        let (key_at, value_at) = (header.key_at(extra_size), header.value_at(extra_size));
        // SAFETY: the block is new, so nothing overlaps it, and `size()` is the sum of the parts written here, in the order of their
        // offsets and without a gap. Header and expiry lie at multiples of 8, flags at one of 4.
        unsafe {
            if header.has(HAS_EXPIRY) {
                start.add(EXPIRY_AT).cast::<u64>().write(expires.0);
            }
            if header.has(HAS_FLAGS) {
                start.add(flags_at).cast::<u32>().write(flags);
            }
            if header.has_extra() {
                start.add(extra_at).write(extra.len() as u8);
                copy_to(start.add(extra_at + 1), extra);
            }
            start.cast::<Header>().write(header);
            copy_to(start.add(key_at), key);
            if let Some(block) = block {
                assert!(block.len() == header_value_len && header_value_len > MOST_INLINE, "only a large value is shared");
                start.add(value_at).cast::<*const u8>().write_unaligned(Block::into_raw(block).cast());
            } else {
                assert!(header_value_len <= MOST_INLINE, "a large value is shared");
                copy_to(start.add(value_at), first);
                copy_to(start.add(value_at + first.len()), second);
            }
        }
        Entry { start }
    }

    /// What it is made of: for an entry that differs in some of it.
    #[must_use]
    pub fn parts(&self) -> Parts<'_> {
        let (key, first, flags, extra) = (self.key(), self.value(), self.flags(), self.extra());
        Parts { key, first, second: &[], flags, extra, expires: self.expires(), version: self.version() }
    }

    /// The key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        let header = self.header();
        self.bytes(header.key_at(self.extra_size()), header.key_len())
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> &[u8] {
        let header = self.header();
        let value_at = header.value_at(self.extra_size());
        if header.value_len() <= MOST_INLINE {
            return self.bytes(value_at, header.value_len());
        }
        // SAFETY: the entry's share keeps the block for as long as `&self` is borrowed, and nobody writes to it.
        unsafe { &*self.raw_block() }
    }

    /// The value, to be written or sent later: a share, if it is large.
    #[must_use]
    pub fn content(&self) -> Content<'_> {
        self.block().map_or_else(|| Content::Borrowed(self.value()), Content::Shared)
    }

    /// A share in the value, if it is large.
    #[must_use]
    pub fn block(&self) -> Option<Block> {
        if self.header().value_len() <= MOST_INLINE {
            return None;
        }
        // SAFETY: it came from `into_raw`, and its share stays the entry's: it is not dropped here.
        let own = ManuallyDrop::new(unsafe { Block::from_raw(self.raw_block()) });
        Some(Block::clone(&own))
    }

    /// What travels with the value; empty if nothing does.
    #[inline]
    #[must_use]
    pub fn extra(&self) -> &[u8] {
        match self.extra_size() {
            0 => &[],
            size => self.bytes(self.header().extra_at() + 1, size - 1),
        }
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

    /// Was it read since it was written? A write makes a new entry, so this is of the value and not of the key.
    #[inline]
    #[must_use]
    pub fn was_read(&self) -> bool {
        self.header().stamp_high & WAS_READ != 0
    }

    /// The bytes it takes from the heap, with what malloc adds. The node and the slot that refer to it are counted by the cache.
    #[inline]
    #[must_use]
    pub fn footprint(&self) -> usize {
        heap_bytes(self.header().size(self.extra_size())) + block_bytes(self.header().value_len())
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

    /// The same entry, with the same version, extra, hash, stamp and marks, but for its expiry.
    pub(super) fn with_expiry(&self, expires: Mono) -> Entry {
        let mut entry = Entry::build(Parts { expires, ..self.parts() }, self.block());
        entry.set_hash(self.hash());
        entry.set_stamp(self.stamp());
        entry.mark(IS_COPY, self.is_copy());
        entry.mark(WAS_READ, self.was_read());
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
        u64::from(header.stamp_high & STAMP_HIGH) << 32 | u64::from(header.stamp_low)
    }

    /// Notes that it moved at `stamp`.
    #[inline]
    pub(super) fn set_stamp(&mut self, stamp: u64) {
        debug_assert!(stamp <= MAX_STAMP, "stamp {stamp} is out of range");
        let header = self.header_mut();
        header.stamp_low = stamp as u32;
        header.stamp_high = header.stamp_high & !STAMP_HIGH | (stamp >> 32) as u16 & STAMP_HIGH;
    }

    /// Does the cache count it as a copy? If not, as its node's own, which all are until the cache says otherwise.
    #[inline]
    pub(super) fn is_copy(&self) -> bool {
        self.header().stamp_high & IS_COPY != 0
    }

    /// Counts it as a copy, or as its node's own.
    pub(super) fn set_copy(&mut self, is_copy: bool) {
        self.mark(IS_COPY, is_copy);
    }

    /// Notes that it was read. Writes only the first time: a read leaves the entry's cache line as it is.
    #[inline]
    pub(super) fn set_read(&mut self) {
        if !self.was_read() {
            self.mark(WAS_READ, true);
        }
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

    /// Sets or takes away one of the marks beside the stamp, which the layout does not depend on.
    #[inline]
    fn mark(&mut self, mark: u16, is_set: bool) {
        debug_assert!(mark == IS_COPY || mark == WAS_READ, "{mark:#x} is no mark");
        let mark = mark & (IS_COPY | WAS_READ);
        let header = self.header_mut();
        header.stamp_high = header.stamp_high & !mark | if is_set { mark } else { 0 };
    }

    /// What the extra takes, with the byte of its length.
    #[inline]
    fn extra_size(&self) -> usize {
        let header = self.header();
        if !header.has_extra() {
            return 0;
        }
        // SAFETY: the bit says that `joined` has written the length there, which is one byte and lies in the block.
        extra_size(usize::from(unsafe { self.start.add(header.extra_at()).read() }))
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

    /// The block of a value that is too long to lie in the entry.
    fn raw_block(&self) -> *const [u8] {
        let header = self.header();
        assert!(header.value_len() > MOST_INLINE, "the value lies in the entry");
        // SAFETY: by its length, `build` has written the block's pointer there; it is of as many bytes as the value is long.
        let start = unsafe { self.start.add(header.value_at(self.extra_size())).cast::<*const u8>().read_unaligned() };
        ptr::slice_from_raw_parts(start, header.value_len())
    }

    /// `len` bytes from offset `at`: extra, key or value.
    #[inline]
    fn bytes(&self, at: usize, len: usize) -> &[u8] {
        // SAFETY: all callers take offset and length from the header and the extra's length, by which `joined` has laid out and written
        // the block.
        unsafe { slice::from_raw_parts(self.start.add(at).as_ptr(), len) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.header().value_len() > MOST_INLINE {
            // SAFETY: the share that `build` has taken over, given back once.
            drop(unsafe { Block::from_raw(self.raw_block()) });
        }
        let layout = layout_of(self.header().size(self.extra_size()));
        // SAFETY: allocated in `joined` with this very layout, for neither lengths nor `has` bits have changed since.
        unsafe { alloc::dealloc(self.start.as_ptr(), layout) };
    }
}

/// Says how long key, value and extra are, never what they are: logs are read by people who may not read the cache.
impl fmt::Debug for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Entry")
            .field("key_len", &self.key().len())
            .field("value_len", &self.value().len())
            .field("extra_len", &self.extra().len())
            .field("flags", &self.flags())
            .field("expires", &self.expires())
            .field("version", &self.version())
            .finish()
    }
}

impl Header {
    fn new(parts: &Parts<'_>) -> Header {
        let (key_len, value_len, extra_len) = (parts.key.len(), parts.first.len() + parts.second.len(), parts.extra.len());
        assert!(key_len <= MAX_KEY, "a key of {key_len} bytes");
        assert!(value_len <= MAX_VALUE, "a value of {value_len} bytes");
        assert!(extra_len <= MAX_EXTRA, "an extra of {extra_len} bytes");
        let (has_expiry, has_flags, has_extra) = (parts.expires != Mono::NEVER, parts.flags != 0, extra_len != 0);
        let bits = if has_expiry { HAS_EXPIRY } else { 0 } | if has_flags { HAS_FLAGS } else { 0 };
        let lengths = value_len as u32 | bits;
        let stamp_high = if has_extra { HAS_EXTRA } else { 0 };
        Header { version: parts.version.0, stamp_low: 0, hash: 0, lengths, key_len: key_len as u16, stamp_high }
    }

    #[inline]
    fn has(&self, bit: u32) -> bool {
        self.lengths & bit != 0
    }

    #[inline]
    fn has_extra(&self) -> bool {
        self.stamp_high & HAS_EXTRA != 0
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
    fn extra_at(&self) -> usize {
        self.flags_at() + if self.has(HAS_FLAGS) { mem::size_of::<u32>() } else { 0 }
    }

    #[inline]
    fn key_at(&self, extra_size: usize) -> usize {
        self.extra_at() + extra_size
    }

    #[inline]
    fn value_at(&self, extra_size: usize) -> usize {
        self.key_at(extra_size) + self.key_len()
    }

    #[inline]
    fn size(&self, extra_size: usize) -> usize {
        self.value_at(extra_size) + room_of(self.value_len())
    }
}

/// What a value takes in its entry.
#[inline]
fn room_of(value_len: usize) -> usize {
    if value_len <= MOST_INLINE { value_len } else { mem::size_of::<*const u8>() }
}

/// The heap bytes of a value's own block, with the two counts of its shares.
#[inline]
fn block_bytes(value_len: usize) -> usize {
    if value_len <= MOST_INLINE { 0 } else { heap_bytes(2 * mem::size_of::<usize>() + value_len) }
}

/// What an extra of so many bytes takes: one more for its length, or nothing if there is none.
#[inline]
fn extra_size(extra_len: usize) -> usize {
    if extra_len == 0 { 0 } else { 1 + extra_len }
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

    /// An entry with an extra.
    fn with_extra(key: &[u8], value: &[u8], flags: u32, extra: &[u8], expires: Mono) -> Entry {
        Entry::joined(Parts { key, first: value, second: b"", flags, extra, expires, version: Version(3) })
    }

    #[test]
    fn what_goes_in_comes_out_for_every_shape_of_entry() {
        let expiries = [Mono::NEVER, Mono(0), Mono(1), Mono(u64::MAX - 1)];
        let extras = [0, 1, 2, 5, MAX_EXTRA].map(|len| pattern(len, 3));
        for key_len in [0, 1, 7, 255, MAX_KEY] {
            for value_len in [0, 1, 9, 100, 70_000] {
                let (key, value) = (pattern(key_len, 1), pattern(value_len, 2));
                for (flags, expires) in expiries.iter().flat_map(|at| [(0, *at), (1, *at), (u32::MAX, *at)]) {
                    for extra in &extras {
                        let entry = with_extra(&key, &value, flags, extra, expires);
                        assert_eq!((entry.key(), entry.value(), entry.extra()), (&key[..], &value[..], &extra[..]));
                        assert_eq!((entry.flags(), entry.expires(), entry.version()), (flags, expires, Version(3)));
                        assert!(entry.footprint() <= footprint_of(key_len, value_len, extra.len()));
                    }
                }
            }
        }
    }

    #[test]
    fn a_joined_value_is_the_first_part_and_then_the_second() {
        for (first, second) in [(&b"ab"[..], &b"cde"[..]), (b"", b"x"), (b"x", b""), (b"", b"")] {
            let entry = Entry::joined(Parts { key: b"k", first, second, flags: 3, extra: b"", expires: Mono(9), version: Version(1) });
            assert_eq!(entry.value(), [first, second].concat());
            assert_eq!((entry.key(), entry.flags(), entry.expires()), (&b"k"[..], 3, Mono(9)));
        }
    }

    #[test]
    fn a_large_value_is_shared_and_outlives_its_entry() {
        for (first, second) in [(MOST_INLINE, 0), (MOST_INLINE, 1), (0, MOST_INLINE + 1), (200_000, 0)] {
            let (first, second) = (pattern(first, 1), pattern(second, 2));
            let value = [&first[..], &second].concat();
            let parts =
                Parts { key: b"k", first: &first, second: &second, flags: 3, extra: b"x", expires: Mono::NEVER, version: Version(1) };
            let entry = Entry::joined(parts);
            let is_large = value.len() > MOST_INLINE;
            assert_eq!((entry.value() == value, entry.block().is_some()), (true, is_large));
            let (content, again) = (entry.content().block().cloned(), entry.with_expiry(Mono(9)));
            assert_eq!(content.as_ref().map(Block::strong_count), is_large.then_some(3));
            drop(entry);
            assert!(again.value() == value && again.expires() == Mono(9));
            drop(again);
            assert!(content.is_none_or(|block| Block::strong_count(&block) == 1 && block[..] == value));
        }
    }

    #[test]
    fn stamp_hash_and_marks_change_nothing_else() {
        for (extra, was_read) in [(&b""[..], false), (b"", true), (b"extra", false), (b"extra", true)] {
            let mut entry = with_extra(b"key", b"value", 7, extra, Mono(5));
            (0..2).filter(|_| was_read).for_each(|_| entry.set_read());
            for stamp in [0, 1, 0xffff_ffff, 0x1_0000_0000, MAX_STAMP] {
                entry.set_stamp(stamp);
                entry.set_hash(!(stamp as u32));
                for is_copy in [true, false] {
                    entry.set_copy(is_copy);
                    entry.set_stamp(stamp);
                    assert_eq!((entry.stamp(), entry.hash(), entry.is_copy()), (stamp, !(stamp as u32), is_copy));
                    assert_eq!((entry.was_read(), entry.extra()), (was_read, extra));
                }
            }
            assert_eq!((entry.key(), entry.value(), entry.flags()), (&b"key"[..], &b"value"[..], 7));
            assert_eq!((entry.expires(), entry.version()), (Mono(5), Version(3)));
        }
    }

    #[test]
    fn an_entry_is_read_from_its_first_read_on() {
        let mut entry = Entry::new(b"key", b"value", 0, Mono::NEVER, Version(1));
        assert!(!entry.was_read());
        entry.set_read();
        assert!(entry.was_read());
    }

    #[test]
    fn an_expiry_changes_in_place_where_there_is_room_and_in_a_copy_where_there_is_not() {
        let mut roomy = with_extra(b"key", b"value", 7, b"extra", Mono(5));
        for expires in [Mono(6), Mono::NEVER, Mono(7)] {
            assert!(roomy.set_expiry(expires));
            assert_eq!((roomy.expires(), roomy.flags(), roomy.value(), roomy.extra()), (expires, 7, &b"value"[..], &b"extra"[..]));
        }
        let mut tight = with_extra(b"key", b"value", 7, b"extra", Mono::NEVER);
        assert!(!tight.with_expiry(Mono(6)).was_read());
        tight.set_stamp(11);
        tight.set_hash(12);
        tight.set_copy(true);
        tight.set_read();
        assert!(tight.set_expiry(Mono::NEVER));
        assert!(!tight.set_expiry(Mono(6)));
        assert_eq!(tight.expires(), Mono::NEVER);
        let copy = tight.with_expiry(Mono(6));
        assert_eq!((copy.key(), copy.value(), copy.flags(), copy.extra()), (&b"key"[..], &b"value"[..], 7, &b"extra"[..]));
        assert_eq!((copy.expires(), copy.version(), copy.stamp(), copy.hash()), (Mono(6), Version(3), 11, 12));
        assert!(copy.is_copy() && copy.was_read());
    }

    #[test]
    fn an_entry_lives_until_the_moment_of_its_expiry() {
        let entry = Entry::new(b"k", b"", 0, Mono(10), Version(1));
        assert!(entry.is_live(Mono(9)) && !entry.is_live(Mono(10)));
        assert!(Entry::new(b"k", b"", 0, Mono::NEVER, Version(1)).is_live(Mono::NEVER));
    }

    #[test]
    fn parts_that_are_not_there_take_no_room() {
        let size = |flags, extra, expires| {
            let entry = with_extra(b"", b"", flags, extra, expires);
            entry.header().size(entry.extra_size())
        };
        assert_eq!(size(0, b"", Mono::NEVER), 24);
        assert_eq!(size(1, b"", Mono::NEVER), 28);
        assert_eq!(size(0, b"", Mono(1)), 32);
        assert_eq!(size(1, b"", Mono(1)), 36);
        assert_eq!(size(0, b"x", Mono::NEVER), 26);
        assert_eq!(size(1, b"extra", Mono(1)), 42);
        assert_eq!((heap_bytes(0), heap_bytes(24), heap_bytes(25), heap_bytes(40), heap_bytes(1_000)), (32, 32, 48, 48, 1_008));
    }

    #[test]
    fn debug_output_keeps_key_and_value_to_itself() {
        let text = format!("{:?}", with_extra(b"secret-key", b"secret-value", 1, b"secret", Mono(2)));
        assert!(!text.contains("secret") && text.contains("key_len: 10") && text.contains("value_len: 12"), "{text}");
    }

    #[test]
    #[should_panic(expected = "a key of 65536 bytes")]
    fn a_key_over_the_limit_is_refused() {
        drop(Entry::new(&[0; MAX_KEY + 1], b"", 0, Mono::NEVER, Version(1)));
    }

    #[test]
    #[should_panic(expected = "an extra of 256 bytes")]
    fn an_extra_over_the_limit_is_refused() {
        drop(with_extra(b"", b"", 0, &[0; MAX_EXTRA + 1], Mono::NEVER));
    }
}
