//! The journal being written: a turn's records are gathered, and go to disk in one write; very many bytes in several turns' writes.
//!
//! The journal is a row of *segments*, files that are only ever appended to; their numbers are the order of their records. A segment
//! that has reached its size is left, and the next record begins a new one. A process begins with a new segment and never appends to
//! one it found: so nothing is written behind a tail that some power cut may have torn.
//!
//! ```text
//!            append, append, append          flush (once a turn)           sync, now and then
//!  records ─────────────────────────▶ pending ────────────────▶ segment 18 ──────────────────▶ disk
//!                                                                segment 17, 16 ...: only read, and removed by the cleaning
//! ```
//!
//! When the disk fails (full, or broken), the cache must go on. The journal is then *broken*: it forgets what was pending, takes nothing,
//! and tries again once a second, with a new segment: after a failed write or sync nobody knows what a file holds, and a second
//! sync that succeeds proves nothing ("Can Applications Recover from fsync Failures?", USENIX ATC 2020). What was missed meanwhile is
//! in no segment, so the journal then *needs restating*: [`cleaning`](super::cleaning) appends the cache's whole content, and only
//! then do the older segments go.
//!
//! Nothing here does I/O: the driver hands in a [`SegmentStore`], which is a folder or, in the simulator, a [`MemoryStore`]. When to sync
//! is the driver's decision too; positions ([`Journal::written`], [`Journal::synced`]) say what a sync has covered.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use crate::caching::content::Block;
use crate::caching::record::{Around, Record};
use crate::prng::Prng;
use crate::time::Mono;

/// Time between two attempts at a disk that failed.
pub const RETRY_MS: u64 = 1000;
/// Pending buffer kept from turn to turn; what a larger turn needed is given back.
const PENDING_KEPT: usize = 1 << 20;
/// Highest number taken from a file's name, so that there is always a next one.
const MAX_NUMBER: u64 = u64::MAX >> 1;

/// A segment: its place in the row, and what its checksums begin with. Both stand in the file's name, where damage to the file's content
/// cannot reach them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// Its place in the row.
    pub number: u64,
    /// Drawn at random.
    pub salt: u32,
}

impl SegmentName {
    /// The name as a file has it: `journal-00000000000000000017-9f3c2ab1.msgpack`.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("journal-{:020}-{:08x}.msgpack", self.number, self.salt)
    }

    /// The segment that a file of this name is, if it is one.
    #[must_use]
    pub fn parse(file_name: &str) -> Option<SegmentName> {
        let (number, salt) = file_name.strip_prefix("journal-")?.strip_suffix(".msgpack")?.split_once('-')?;
        let name = SegmentName { number: number.parse().ok()?, salt: u32::from_str_radix(salt, 16).ok()? };
        (name.number <= MAX_NUMBER && name.file_name() == file_name).then_some(name)
    }
}

/// The door to the disk.
pub trait SegmentStore {
    /// Creates a segment, which must not exist, and makes it the one appended to.
    fn create(&mut self, name: SegmentName) -> io::Result<()>;
    /// Appends all of `bytes` to the segment created last. After an error nobody knows how many of them are there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Reads from a segment's `offset`, up to the length of `into`, fewer only at its end.
    fn read(&mut self, name: SegmentName, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Cuts a segment to `length` bytes.
    fn truncate(&mut self, name: SegmentName, length: u64) -> io::Result<()>;
    /// Removes a segment.
    fn remove(&mut self, name: SegmentName) -> io::Result<()>;
}

/// What a flush did.
#[derive(Debug, Default)]
pub struct Flushed {
    /// Bytes written.
    pub bytes: u64,
    /// Records written.
    pub records: u64,
    /// Why the journal is broken now. It is news if [`Journal::is_ok`] said yes before.
    pub failed: Option<io::Error>,
}

/// The journal's state in memory.
#[derive(Debug)]
pub struct Journal {
    segment_size: u64,
    /// The segments on disk, oldest first, with their lengths.
    segments: Vec<(SegmentName, u64)>,
    /// Where pending bytes will go.
    current: SegmentName,
    /// `current` is on disk, and the last of `segments`.
    created: bool,
    /// What is to be written, from `begun` on, but for large values.
    pending: Vec<u8>,
    begun: usize,
    /// The large values, each with its place in `pending`.
    larges: VecDeque<Large>,
    /// Bytes of both that are not written.
    unwritten: u64,
    pending_records: u64,
    /// Positions: bytes written and synced since the start of the process.
    written: u64,
    synced: u64,
    state: State,
    /// How often it broke: whoever needs an unbroken journal for a while compares this.
    failures: u64,
    needs_restating: bool,
    now: Mono,
    prng: Prng,
}

/// A large value that is to be written.
#[derive(Debug)]
struct Large {
    around: Around,
    block: Block,
    /// How much of it is.
    written: usize,
}

/// How the disk is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing failed, or it works again.
    Sound,
    /// It failed; nothing is taken until the time has come.
    Broken { until: Mono },
    /// It failed, records are taken again, and none is written yet.
    Trying,
}

impl Journal {
    /// A journal behind the `existing` segments, with their lengths. `prng` draws the salts: its seed must not be known outside.
    #[must_use]
    pub fn new(segment_size: u64, mut existing: Vec<(SegmentName, u64)>, prng: Prng) -> Journal {
        existing.sort_unstable();
        let last = existing.last().map_or(0, |(name, _)| name.number);
        let mut journal = Journal {
            segment_size,
            segments: existing,
            current: SegmentName { number: last, salt: 0 },
            created: false,
            pending: Vec::new(),
            begun: 0,
            larges: VecDeque::new(),
            unwritten: 0,
            pending_records: 0,
            written: 0,
            synced: 0,
            state: State::Sound,
            failures: 0,
            needs_restating: false,
            now: Mono::default(),
            prng,
        };
        journal.begin_segment();
        journal
    }

    /// Adds a record to the next flush. A broken journal drops it: the restatement will say what it said.
    pub fn append(&mut self, record: &Record) {
        self.append_shared(record, None);
    }

    /// The same, with a share in the record's value, if it is large: then it is not copied.
    pub fn append_shared(&mut self, record: &Record, value: Option<Block>) {
        if !self.takes_records() {
            return;
        }
        self.leave_full_segment();
        let (begin, offset) = (self.pending.len(), self.current_length() + self.unwritten);
        if let Some(block) = value {
            let around = record.compose_around(self.current.salt, offset, &mut self.pending);
            self.unwritten += block.len() as u64;
            self.larges.push_back(Large { around, block, written: 0 });
        } else {
            record.compose(self.current.salt, offset, &mut self.pending);
        }
        self.unwritten += (self.pending.len() - begin) as u64;
        self.pending_records += 1;
    }

    /// Writes what is pending, in one write. To be called once a turn, also if nothing is pending: a broken journal heals here.
    pub fn flush(&mut self, store: &mut dyn SegmentStore, now: Mono) -> Flushed {
        self.flush_some(store, now, usize::MAX)
    }

    /// The same, but for what is beyond so many bytes, which the next turns write.
    pub fn flush_some(&mut self, store: &mut dyn SegmentStore, now: Mono, most: usize) -> Flushed {
        self.now = now;
        if matches!(self.state, State::Broken { until } if now >= until) {
            self.state = State::Trying;
        }
        if !self.has_pending() {
            return Flushed::default();
        }
        match self.write(store, most.max(1)) {
            Ok(bytes) => self.on_written(bytes),
            Err(error) => {
                self.drop_empty_segment(store);
                self.break_off();
                Flushed { failed: Some(error), ..Flushed::default() }
            }
        }
    }

    /// A sync failed: what was written since the last good one may be gone, and the file must not be trusted again.
    pub fn on_sync_failed(&mut self) {
        self.break_off();
    }

    /// A sync succeeded that was begun when [`written`](Journal::written) was `position`.
    pub fn on_synced(&mut self, position: u64) {
        self.synced = self.synced.max(position);
    }

    /// The cache could not hold all that the segments say: what it has let go must not come back from them.
    pub fn on_outgrown(&mut self) {
        self.needs_restating = true;
    }

    /// Does the journal get everything that happens?
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.state == State::Sound
    }

    /// Are records waiting for the next flush?
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.unwritten > 0
    }

    /// How many bytes wait for it.
    #[must_use]
    pub fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// Bytes in all segments, and pending.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.segments.iter().map(|(_, length)| length).sum::<u64>() + self.unwritten()
    }

    /// The segments on disk with their lengths, oldest first.
    #[must_use]
    pub fn segments(&self) -> &[(SegmentName, u64)] {
        &self.segments
    }

    /// The size at which a segment is left.
    #[must_use]
    pub fn segment_size(&self) -> u64 {
        self.segment_size
    }

    /// The position behind the last byte written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The position up to which everything written is known to be on disk.
    #[must_use]
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// The position behind the last byte pending.
    #[must_use]
    pub fn appended(&self) -> u64 {
        self.written + self.unwritten()
    }

    pub(super) fn takes_records(&self) -> bool {
        !matches!(self.state, State::Broken { .. })
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// Was something dropped, and is still to be said by a restatement?
    #[must_use]
    pub fn needs_restating(&self) -> bool {
        self.needs_restating
    }

    /// The number of the segment in which the next record will be.
    pub(super) fn next_number(&mut self) -> u64 {
        self.leave_full_segment();
        self.current.number
    }

    /// The cache's whole content is written behind the last failure, and what is older is gone.
    pub(super) fn on_restated(&mut self) {
        self.needs_restating = false;
        if self.state == State::Trying && !self.has_pending() {
            self.state = State::Sound; // there was nothing to state, so nothing is missing
        }
    }

    /// The oldest segment before number `keep_from`.
    pub(super) fn oldest_before(&self, keep_from: u64) -> Option<SegmentName> {
        self.segments.first().map(|(name, _)| *name).filter(|name| name.number < keep_from)
    }

    pub(super) fn forget_oldest(&mut self) {
        self.segments.remove(0);
    }

    fn current_length(&self) -> u64 {
        if self.created { self.segments.last().map_or(0, |(_, length)| *length) } else { 0 }
    }

    /// Between two turns, since what is pending knows its place already.
    fn leave_full_segment(&mut self) {
        if !self.has_pending() && self.current_length() >= self.segment_size {
            self.begin_segment();
        }
    }

    /// Its file is created by the flush that has something for it.
    fn begin_segment(&mut self) {
        self.current = SegmentName { number: self.current.number + 1, salt: self.prng.next_u64() as u32 };
        self.created = false;
    }

    /// Writes so many bytes, or all there are.
    fn write(&mut self, store: &mut dyn SegmentStore, most: usize) -> io::Result<u64> {
        if !self.created {
            store.create(self.current)?;
            self.segments.push((self.current, 0));
            self.created = true;
        }
        let mut written = 0;
        while written < most && self.unwritten > written as u64 {
            written += self.write_next(store, most - written)?;
        }
        Ok(written as u64)
    }

    /// Writes on up to the next large value, or in it.
    fn write_next(&mut self, store: &mut dyn SegmentStore, most: usize) -> io::Result<usize> {
        let Some(large) = self.larges.front_mut().filter(|large| large.around.value_at == self.begun) else {
            let end = self.larges.front().map_or(self.pending.len(), |large| large.around.value_at);
            let end = end.min(self.begun.saturating_add(most));
            store.append(&self.pending[self.begun..end])?;
            return Ok(end - std::mem::replace(&mut self.begun, end));
        };
        let end = large.block.len().min(large.written.saturating_add(most));
        let part = &large.block[large.written..end];
        store.append(part)?;
        large.around.update(part);
        let count = part.len();
        large.written = end;
        if large.written == large.block.len()
            && let Some(large) = self.larges.pop_front()
        {
            large.around.seal(&mut self.pending[self.begun..]);
        }
        Ok(count)
    }

    /// So much of what is pending is written. Its records count when the last of them is.
    fn on_written(&mut self, bytes: u64) -> Flushed {
        self.unwritten -= bytes;
        let is_all = self.unwritten == 0;
        let flushed = Flushed { bytes, records: if is_all { self.pending_records } else { 0 }, failed: None };
        if let Some((_, length)) = self.segments.last_mut() {
            *length += flushed.bytes;
        }
        self.written += flushed.bytes;
        self.state = State::Sound;
        if is_all {
            self.forget_pending();
        } else if self.begun > self.pending.len() / 2 {
            self.pending.drain(..self.begun);
            self.larges.iter_mut().for_each(|large| large.around.value_at -= self.begun);
            self.begun = 0;
        }
        flushed
    }

    fn break_off(&mut self) {
        self.forget_pending();
        self.state = State::Broken { until: self.now.plus(RETRY_MS) };
        self.failures += 1;
        self.needs_restating = true;
        self.begin_segment();
    }

    /// A disk that stays full would otherwise collect an empty file a second.
    fn drop_empty_segment(&mut self, store: &mut dyn SegmentStore) {
        if self.created && self.current_length() == 0 && store.remove(self.current).is_ok() {
            self.segments.pop();
        }
    }

    fn forget_pending(&mut self) {
        self.pending.clear();
        self.pending.shrink_to(PENDING_KEPT);
        self.begun = 0;
        self.larges.clear();
        self.unwritten = 0;
        self.pending_records = 0;
    }
}

/// A disk in memory, for tests and the simulator: it knows what a power cut would leave, and fails when told.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    files: BTreeMap<SegmentName, MemoryFile>,
    current: Option<SegmentName>,
    failing: u32,
    calls: u64,
}

/// A file of a [`MemoryStore`].
#[derive(Clone, Debug, Default)]
struct MemoryFile {
    bytes: Vec<u8>,
    synced: usize,
    unreadable: bool,
}

/// What a power cut leaves of the bytes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// Nothing.
    Nothing,
    /// Some of the first.
    Torn,
    /// As many zeros.
    Zeros,
    /// As many bytes of something else.
    Garbage,
}

impl MemoryStore {
    /// The segments and their lengths, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<(SegmentName, u64)> {
        self.files.iter().map(|(name, file)| (*name, file.bytes.len() as u64)).collect()
    }

    /// How many times anything was created, appended, cut or removed.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Everything written so far survives a power cut.
    pub fn sync(&mut self) {
        self.files.values_mut().for_each(|file| file.synced = file.bytes.len());
    }

    /// Lets the next `times` creations and appends fail, as a full disk does: of an append half is written. 0 ends it.
    pub fn fail(&mut self, times: u32) {
        self.failing = times;
    }

    /// The power goes, and comes back.
    pub fn lose_power(&mut self, leftover: Leftover, prng: &mut Prng) {
        self.current = None;
        for file in self.files.values_mut() {
            let unsynced = file.bytes.split_off(file.synced);
            match leftover {
                Leftover::Nothing => {}
                Leftover::Torn => file.bytes.extend(&unsynced[..prng.below(unsynced.len() as u64) as usize]),
                Leftover::Zeros => file.bytes.resize(file.synced + unsynced.len(), 0),
                Leftover::Garbage => file.bytes.extend(unsynced.iter().map(|_| prng.next_u64() as u8)),
            }
            file.synced = file.bytes.len();
        }
    }

    /// Lets every read of a segment fail.
    pub fn make_unreadable(&mut self, name: SegmentName) {
        if let Some(file) = self.files.get_mut(&name) {
            file.unreadable = true;
        }
    }

    /// A segment's bytes, to be damaged.
    pub fn bytes_mut(&mut self, name: SegmentName) -> Option<&mut Vec<u8>> {
        self.files.get_mut(&name).map(|file| &mut file.bytes)
    }

    fn has_failed(&mut self) -> bool {
        self.calls += 1;
        let failed = self.failing > 0;
        self.failing = self.failing.saturating_sub(1);
        failed
    }

    fn file(&mut self, name: SegmentName) -> io::Result<&mut MemoryFile> {
        self.files.get_mut(&name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl SegmentStore for MemoryStore {
    fn create(&mut self, name: SegmentName) -> io::Result<()> {
        if self.has_failed() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.files.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.files.insert(name, MemoryFile::default());
        self.current = Some(name);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let failed = self.has_failed();
        let current = self.current.ok_or(io::ErrorKind::NotFound)?;
        let file = self.file(current)?;
        if failed {
            file.bytes.extend(&bytes[..bytes.len() / 2]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.bytes.extend(bytes);
        Ok(())
    }

    fn read(&mut self, name: SegmentName, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let file = self.file(name)?;
        if file.unreadable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let rest = file.bytes.get(offset as usize..).unwrap_or_default();
        let got = rest.len().min(into.len());
        into[..got].copy_from_slice(&rest[..got]);
        Ok(got)
    }

    fn truncate(&mut self, name: SegmentName, length: u64) -> io::Result<()> {
        self.calls += 1;
        let file = self.file(name)?;
        file.bytes.truncate(length as usize);
        file.synced = file.synced.min(file.bytes.len());
        Ok(())
    }

    fn remove(&mut self, name: SegmentName) -> io::Result<()> {
        self.calls += 1;
        self.files.remove(&name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caching::Version;
    use crate::caching::replay::{Replay, Step};

    const TURN: Mono = Mono(10);

    fn journal(segment_size: u64, store: &MemoryStore) -> Journal {
        Journal::new(segment_size, store.segments(), Prng::new(11))
    }

    fn put(journal: &mut Journal, key: &str) {
        journal.append(&Record::Put { key: key.as_bytes(), value: b"value", flags: 0, extra: b"", expiry: None, version: Version(1) });
    }

    fn keys(store: &MemoryStore) -> Vec<String> {
        let mut replay = Replay::new(store.segments());
        let mut keys = Vec::new();
        let mut on_record = |record: &Record| keys.push(String::from_utf8_lossy(record.key()).into_owned());
        while replay.step(&mut store.clone(), 1000, &mut on_record) == Step::More {}
        keys
    }

    #[test]
    fn a_segments_name_is_its_files_and_no_other_file_is_one() {
        let name = SegmentName { number: 17, salt: 0x9f3c_2ab1 };
        assert_eq!(name.file_name(), "journal-00000000000000000017-9f3c2ab1.msgpack");
        assert_eq!(SegmentName::parse(&name.file_name()), Some(name));
        for stranger in [
            "events_journal",
            "journal-17-9f3c2ab1.msgpack",
            "journal-00000000000000000017-9F3C2AB1.msgpack",
            "journal-00000000000000000017-9f3c2ab1.msgpack.bak",
            "journal-+0000000000000000017-9f3c2ab1.msgpack",
            "journal-18446744073709551615-9f3c2ab1.msgpack",
            "journal--.msgpack",
        ] {
            assert_eq!(SegmentName::parse(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn a_turn_is_one_write_and_a_quiet_turn_none() {
        let mut store = MemoryStore::default();
        let mut journal = journal(1 << 20, &store);
        journal.flush(&mut store, TURN);
        assert_eq!((store.calls(), journal.total_bytes()), (0, 0), "not even a file before there is something for it");
        for (turn, calls) in [(1, 2), (2, 3), (3, 4)] {
            put(&mut journal, "a");
            put(&mut journal, "b");
            assert!(journal.has_pending());
            let flushed = journal.flush(&mut store, TURN);
            assert_eq!((flushed.records, store.calls()), (2, calls), "turn {turn}");
            assert_eq!(journal.written(), flushed.bytes * turn);
            assert_eq!(journal.flush(&mut store, TURN).bytes, 0);
        }
        assert_eq!(keys(&store), ["a", "b", "a", "b", "a", "b"]);
        assert_eq!(journal.segments(), store.segments());
    }

    #[test]
    fn what_is_written_over_several_turns_is_what_was_pending() {
        let (mut store, mut journal) = (MemoryStore::default(), journal(1, &MemoryStore::default()));
        let (mut expected, mut records) = (Vec::new(), 0);
        for turn in 0..400 {
            // More comes than is written, for a while; then the rest is.
            for n in 0..if turn < 100 { turn % 5 } else { 0 } {
                let (key, value) = (format!("{turn}/{n}"), [n as u8; 50]);
                let record = Record::Put { key: key.as_bytes(), value: &value, flags: 7, extra: b"x", expiry: None, version: Version(1) };
                journal.append_shared(&record, (turn % 3 == n % 3).then(|| Block::from(&value[..])));
                expected.push(key);
            }
            let (before, unwritten) = (journal.appended(), journal.unwritten());
            let flushed = journal.flush_some(&mut store, TURN, 70);
            assert_eq!((flushed.bytes, journal.appended()), (unwritten.min(70), before));
            records += flushed.records;
            assert_eq!(journal.segments(), store.segments());
        }
        assert_eq!((keys(&store), records), (expected.clone(), expected.len() as u64));
        assert_eq!((journal.has_pending(), journal.segments().len()), (false, 1));
        put(&mut journal, "more");
        journal.flush(&mut store, TURN);
        assert_eq!(journal.segments().len(), 2, "segments are left where nothing is pending");
    }

    #[test]
    fn a_full_segment_is_left_between_two_turns() {
        let mut store = MemoryStore::default();
        let mut journal = journal(100, &store);
        for turn in 0..20 {
            for n in 0..turn {
                put(&mut journal, &format!("{turn}/{n}"));
            }
            journal.flush(&mut store, TURN);
        }
        assert!(journal.segments().len() > 10);
        assert_eq!(journal.segments(), store.segments());
        let expected: Vec<String> = (0..20).flat_map(|turn| (0..turn).map(move |n| format!("{turn}/{n}"))).collect();
        assert_eq!(keys(&store), expected);
    }

    #[test]
    fn a_new_process_appends_to_no_segment_it_found() {
        let mut store = MemoryStore::default();
        for life in 1..=3 {
            let mut journal = journal(1 << 20, &store);
            put(&mut journal, &format!("life {life}"));
            journal.flush(&mut store, TURN);
            assert_eq!(store.segments().len(), life);
            store.lose_power(Leftover::Garbage, &mut Prng::new(life as u64));
            store.sync();
        }
        let numbers: Vec<u64> = store.segments().iter().map(|(name, _)| name.number).collect();
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn a_disk_that_fails_breaks_the_journal_until_a_new_segment_takes_a_write() {
        let mut store = MemoryStore::default();
        let mut journal = journal(1 << 20, &store);
        put(&mut journal, "before");
        journal.flush(&mut store, TURN);

        store.fail(2);
        put(&mut journal, "short write");
        assert!(journal.flush(&mut store, TURN).failed.is_some());
        assert!(!journal.is_ok() && journal.needs_restating() && !journal.has_pending());

        put(&mut journal, "dropped");
        assert!(!journal.has_pending());
        assert!(journal.flush(&mut store, TURN.plus(RETRY_MS - 1)).failed.is_none());
        assert!(!journal.takes_records());

        let retry = TURN.plus(RETRY_MS);
        journal.flush(&mut store, retry);
        put(&mut journal, "still failing");
        assert!(journal.flush(&mut store, retry).failed.is_some());
        assert!(!journal.is_ok());

        journal.flush(&mut store, retry.plus(RETRY_MS));
        put(&mut journal, "after");
        assert!(!journal.is_ok(), "not before something is written");
        assert!(journal.flush(&mut store, retry.plus(RETRY_MS)).failed.is_none());
        assert!(journal.is_ok() && journal.needs_restating());
        assert_eq!(keys(&store), ["before", "after"]);
        assert_eq!(store.segments().len(), 2);
    }

    #[test]
    fn a_disk_that_stays_full_collects_no_files() {
        let mut store = MemoryStore::default();
        let mut journal = journal(1 << 20, &store);
        for attempt in 0..100 {
            store.fail(0);
            journal.flush(&mut store, Mono(attempt * RETRY_MS));
            put(&mut journal, "k");
            if attempt % 2 == 0 {
                store.fail(1); // the creation fails
            } else {
                let mut full = Full(&mut store);
                assert!(journal.flush(&mut full, Mono(attempt * RETRY_MS)).failed.is_some());
            }
            journal.flush(&mut store, Mono(attempt * RETRY_MS));
        }
        assert_eq!((store.segments(), journal.segments()), (Vec::new(), &[][..]));
    }

    /// A disk with room for names but not for bytes.
    struct Full<'a>(&'a mut MemoryStore);

    impl SegmentStore for Full<'_> {
        fn create(&mut self, name: SegmentName) -> io::Result<()> {
            self.0.create(name)
        }
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.fail(1);
            self.0.append(bytes)
        }
        fn read(&mut self, name: SegmentName, offset: u64, into: &mut [u8]) -> io::Result<usize> {
            self.0.read(name, offset, into)
        }
        fn truncate(&mut self, name: SegmentName, length: u64) -> io::Result<()> {
            self.0.truncate(name, length)
        }
        fn remove(&mut self, name: SegmentName) -> io::Result<()> {
            self.0.remove(name)
        }
    }

    #[test]
    fn a_sync_that_fails_breaks_the_journal_and_the_file_is_left() {
        let mut store = MemoryStore::default();
        let mut journal = journal(1 << 20, &store);
        put(&mut journal, "written, and perhaps gone");
        journal.flush(&mut store, TURN);
        journal.on_sync_failed();
        assert!(!journal.is_ok() && journal.needs_restating());
        journal.flush(&mut store, TURN.plus(RETRY_MS));
        put(&mut journal, "after");
        journal.flush(&mut store, TURN.plus(RETRY_MS));
        assert!(journal.is_ok());
        assert_eq!(store.segments().len(), 2);
        journal.on_synced(journal.written());
        journal.on_synced(1);
        assert_eq!(journal.synced(), journal.written(), "an older report takes nothing back");
    }

    #[test]
    fn a_power_cut_leaves_what_was_synced_and_nothing_false() {
        for (seed, leftover) in
            (0..100).flat_map(|seed| [Leftover::Nothing, Leftover::Torn, Leftover::Zeros, Leftover::Garbage].map(|l| (seed, l)))
        {
            let mut store = MemoryStore::default();
            let mut journal = journal(200, &store);
            let synced = seed as usize % 7;
            for n in 0..10 {
                put(&mut journal, &format!("{n}"));
                journal.flush(&mut store, TURN);
                if n + 1 == synced {
                    store.sync();
                }
            }
            store.lose_power(leftover, &mut Prng::new(seed));
            let keys = keys(&store);
            assert!(keys.len() >= synced && (leftover == Leftover::Torn || keys.len() == synced), "{keys:?}");
            assert!(keys[..synced].iter().enumerate().all(|(n, key)| *key == n.to_string()));
        }
    }
}
