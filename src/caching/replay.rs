//! Reads the journal back, around whatever damage there is.
//!
//! Nothing that may stand in a file stops the reading, and nothing that was not written here comes out of it: a record counts when its
//! checksum does. Where none stands, the reader searches the next mark that begins one which counts, and what lies between is a
//! [`Damage`]: the caller logs it. So a flipped bit costs the record it is in; a torn tail, zeros or garbage (what a power cut leaves)
//! cost themselves; a length that lies is found out by the checksum, and the records it claimed are read after all. What cannot be
//! read from the disk is taken for zeros, and a file that is gone for an empty one.
//!
//! [`scan`] is the whole judgement, and pure: bytes in, one finding out. [`FileReplay`] feeds it one file in bounded steps, and
//! [`Replay`] one segment after another, oldest first. A record may be larger than a step; memory is reserved only for lengths that
//! the file can hold.
//!
//! What this does not do: it cannot know what a lost record said. If it was an overwrite or a delete, the older value stands again.
//! That is why a node of a pool compares what it read with its peers before it answers with it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;

use crate::caching::journal::{SegmentName, SegmentStore};
use crate::caching::record::{Format, MAX_MARK, Parsed, Record};

/// Bytes asked of the disk at a time.
const BLOCK: usize = 256 << 10;
/// Buffer kept between records; one that a larger record needed is given back.
const BUFFER_KEPT: usize = 4 * BLOCK;
/// Damages kept for the log; of more, only the bytes are counted.
const MAX_DAMAGES: usize = 100;

/// What stands at a place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// An intact record, and its length.
    Record {
        /// The record.
        record: Record<'a>,
        /// Its length in bytes.
        length: usize,
    },
    /// No record begins in the next so many bytes.
    Damaged {
        /// At least 1.
        length: usize,
        /// It began like a record whose end lies behind the end of the file.
        torn: bool,
    },
    /// Not decided before so many bytes are there.
    Needs {
        /// More than there were, and no more than the file has.
        length: usize,
    },
}

/// What stands at the beginning of `bytes`, which begin at `offset` of a file that has `remaining` bytes from there to its end.
#[must_use]
pub fn scan(bytes: &[u8], format: Format, offset: u64, remaining: u64) -> Found<'_> {
    let torn = match format.parse(bytes, offset) {
        Parsed::Complete { record, length } => return Found::Record { record, length },
        Parsed::Incomplete { needs } if needs as u64 <= remaining => return Found::Needs { length: needs },
        Parsed::Incomplete { .. } => true,
        Parsed::Invalid => false,
    };
    let all = bytes.len() as u64 >= remaining;
    let unsearched = if all { 0 } else { MAX_MARK - 1 }; // a mark may begin there and end in what is not here yet
    match format.find_mark(bytes.get(1..).unwrap_or_default()) {
        Some(at) => Found::Damaged { length: 1 + at, torn },
        None => Found::Damaged { length: bytes.len().saturating_sub(unsearched).max(1), torn },
    }
}

/// A part of a file that holds no intact record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// It reaches to the end of the file.
    pub tail: bool,
    /// What is known of it.
    pub what: What,
}

/// What is known of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A record that was not written to its end.
    Torn,
    /// Nothing but zeros.
    Zeros,
    /// Anything else.
    Corrupt,
    /// The disk did not give it.
    Unreadable(io::ErrorKind),
    /// The file is not there, or shorter than it was.
    Missing,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Torn => f.write_str("a record that was not written to its end"),
            What::Zeros => f.write_str("zeros"),
            What::Corrupt => f.write_str("corrupt"),
            What::Unreadable(why) => write!(f, "unreadable ({why})"),
            What::Missing => f.write_str("missing"),
        }
    }
}

/// Is there more to read?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Come again.
    More,
    /// That was all.
    Done,
}

/// How far a reading is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes judged.
    pub bytes: u64,
    /// Bytes there are.
    pub total: u64,
    /// Records found.
    pub records: u64,
}

impl Progress {
    /// The part that is done, 0 to 100.
    #[must_use]
    pub fn percent(&self) -> u64 {
        (self.bytes * 100).checked_div(self.total).unwrap_or(100)
    }
}

/// Reads up to a slice's length from an offset of a file; fewer only at its end.
pub type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> io::Result<usize> + 'a;

/// The reading of one file.
#[derive(Debug)]
pub struct FileReplay {
    format: Format,
    length: u64,
    /// The file's offset of the first byte not judged yet, which is `buffer[judged]`.
    offset: u64,
    buffer: Vec<u8>,
    judged: usize,
    records: u64,
    open: Option<OpenDamage>,
    unreadable: Option<(Range<u64>, io::ErrorKind)>,
    damages: Vec<Damage>,
    damaged_bytes: u64,
}

/// A damage whose end is not found yet.
#[derive(Debug)]
struct OpenDamage {
    offset: u64,
    torn: bool,
    zeros: bool,
}

impl FileReplay {
    /// A reading of a file of `length` bytes, from its beginning.
    #[must_use]
    pub fn new(format: Format, length: u64) -> FileReplay {
        FileReplay {
            format,
            length,
            offset: 0,
            buffer: Vec::new(),
            judged: 0,
            records: 0,
            open: None,
            unreadable: None,
            damages: Vec::new(),
            damaged_bytes: 0,
        }
    }

    /// Reads about `budget` bytes on, and gives each intact record with its offset to `on_record`.
    pub fn step(&mut self, read: &mut ReadAt, budget: usize, on_record: &mut dyn FnMut(u64, &Record)) -> Step {
        let mut left = budget.max(1);
        while self.offset < self.length {
            match scan(&self.buffer[self.judged..], self.format, self.offset, self.length - self.offset) {
                Found::Record { record, length } => {
                    on_record(self.offset, &record);
                    self.records += 1;
                    self.close_damage(false);
                    self.advance(length);
                }
                Found::Damaged { length, torn } => self.extend_damage(length, torn),
                Found::Needs { .. } if left == 0 => return Step::More,
                Found::Needs { length } => left = left.saturating_sub(self.fill(read, length, left)),
            }
        }
        self.close_damage(true);
        Step::Done
    }

    /// The first damages found, at most a hundred of them.
    #[must_use]
    pub fn damages(&self) -> &[Damage] {
        &self.damages
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { bytes: self.offset, total: self.length, records: self.records }
    }

    fn advance(&mut self, length: usize) {
        self.judged += length;
        self.offset += length as u64;
    }

    /// Reads on, towards having `needed` bytes, at most `most` and a block at a time. Returns how many it tried to read.
    fn fill(&mut self, read: &mut ReadAt, needed: usize, most: usize) -> usize {
        self.buffer.drain(..self.judged);
        self.judged = 0;
        if needed > BUFFER_KEPT {
            self.buffer.reserve_exact(needed.saturating_sub(self.buffer.len())); // once, not by doubling: it may be half a gigabyte
        } else if self.buffer.capacity() > BUFFER_KEPT {
            self.buffer.shrink_to(BUFFER_KEPT);
        }
        let had = self.buffer.len();
        let at = self.offset + had as u64;
        let asked = (self.length - at).min(most.clamp(MAX_MARK, BLOCK) as u64) as usize;
        self.buffer.resize(had + asked, 0);
        match read(at, &mut self.buffer[had..]) {
            Ok(got) if got >= asked => {}
            Ok(got) => self.end_at(had + got),
            Err(why) if why.kind() == io::ErrorKind::NotFound => self.end_at(had),
            Err(why) => self.take_for_zeros(at, asked, why.kind()),
        }
        asked
    }

    /// The file ends after `have` bytes of the buffer, although it was said to be longer.
    fn end_at(&mut self, have: usize) {
        self.buffer.truncate(have);
        let end = self.offset + have as u64;
        self.note(Damage { offset: end, length: self.length - end, tail: true, what: What::Missing });
        self.length = end;
    }

    fn take_for_zeros(&mut self, at: u64, length: usize, why: io::ErrorKind) {
        let filled = self.buffer.len();
        self.buffer[filled - length..].fill(0);
        let begin = match &self.unreadable {
            Some((range, _)) if range.end == at => range.start,
            _ => at,
        };
        self.unreadable = Some((begin..at + length as u64, why));
    }

    fn extend_damage(&mut self, length: usize, torn: bool) {
        let zeros = self.buffer[self.judged..self.judged + length].iter().all(|byte| *byte == 0);
        let open = self.open.get_or_insert(OpenDamage { offset: self.offset, torn, zeros: true });
        open.zeros &= zeros;
        self.advance(length);
    }

    fn close_damage(&mut self, tail: bool) {
        let Some(open) = self.open.take() else { return };
        let unreadable = self.unreadable.as_ref().filter(|(range, _)| range.start < self.offset && open.offset < range.end);
        let what = match unreadable {
            Some((_, why)) => What::Unreadable(*why),
            None if open.zeros => What::Zeros,
            None if open.torn && tail => What::Torn,
            None => What::Corrupt,
        };
        self.note(Damage { offset: open.offset, length: self.offset - open.offset, tail, what });
    }

    fn note(&mut self, damage: Damage) {
        self.damaged_bytes += damage.length;
        if self.damages.len() < MAX_DAMAGES || damage.tail {
            self.damages.push(damage);
        }
    }
}

/// The reading of a whole journal.
#[derive(Debug)]
pub struct Replay {
    waiting: VecDeque<(SegmentName, u64)>,
    current: Option<(SegmentName, FileReplay)>,
    damages: Vec<(SegmentName, Damage)>,
    damaged_bytes: u64,
    torn_tail: Option<(SegmentName, u64)>,
    /// Of the segments that are done, and the total.
    progress: Progress,
}

impl Replay {
    /// A reading of these segments, with their lengths in bytes, in the order of their numbers.
    #[must_use]
    pub fn new(mut segments: Vec<(SegmentName, u64)>) -> Replay {
        segments.sort_unstable();
        let total = segments.iter().map(|(_, length)| length).sum();
        Replay {
            waiting: segments.into(),
            current: None,
            damages: Vec::new(),
            damaged_bytes: 0,
            torn_tail: None,
            progress: Progress { total, ..Progress::default() },
        }
    }

    /// Reads about `budget` bytes on, and gives each intact record to `on_record`, in the order they were written.
    pub fn step(&mut self, store: &mut dyn SegmentStore, budget: usize, on_record: &mut dyn FnMut(&Record)) -> Step {
        let Some((name, mut file)) = self.current.take().or_else(|| self.next_file()) else { return Step::Done };
        let mut read = |offset: u64, into: &mut [u8]| store.read(name, offset, into);
        match file.step(&mut read, budget, &mut |_, record| on_record(record)) {
            Step::More => self.current = Some((name, file)),
            Step::Done => self.conclude(name, file),
        }
        if self.current.is_none() && self.waiting.is_empty() { Step::Done } else { Step::More }
    }

    /// The first damages found, at most a hundred of them and the tails.
    #[must_use]
    pub fn damages(&self) -> &[(SegmentName, Damage)] {
        &self.damages
    }

    /// How many bytes hold no intact record, so far.
    #[must_use]
    pub fn damaged_bytes(&self) -> u64 {
        self.damaged_bytes
    }

    /// When done: the last segment and the length to which it should be cut, if it ends in something torn. Cutting is tidiness, so that
    /// the next start does not report it again: nothing is ever appended to a segment that was read.
    #[must_use]
    pub fn torn_tail(&self) -> Option<(SegmentName, u64)> {
        self.torn_tail
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let current = self.current.as_ref().map(|(_, file)| file.progress()).unwrap_or_default();
        Progress { bytes: self.progress.bytes + current.bytes, records: self.progress.records + current.records, ..self.progress }
    }

    fn next_file(&mut self) -> Option<(SegmentName, FileReplay)> {
        let (name, length) = self.waiting.pop_front()?;
        Some((name, FileReplay::new(Format::Segment { salt: name.salt }, length)))
    }

    fn conclude(&mut self, name: SegmentName, file: FileReplay) {
        let missing = file.damages.iter().filter(|damage| damage.what == What::Missing).map(|damage| damage.length).sum::<u64>();
        self.progress.bytes += file.length + missing;
        self.progress.records += file.records;
        self.damaged_bytes += file.damaged_bytes;
        if self.waiting.is_empty() {
            self.torn_tail = file.damages.last().and_then(cut_before).map(|length| (name, length));
        }
        for damage in file.damages {
            if self.damages.len() < MAX_DAMAGES || damage.tail {
                self.damages.push((name, damage));
            }
        }
    }
}

/// Where to cut a file that ends in this damage, if that loses nothing.
fn cut_before(damage: &Damage) -> Option<u64> {
    let cut = match damage.what {
        What::Torn | What::Zeros => true,
        What::Corrupt => damage.offset > 0, // a file in which nothing counts may only have got another name
        What::Unreadable(_) | What::Missing => false,
    };
    (cut && damage.tail).then_some(damage.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caching::Version;
    use crate::caching::journal::MemoryStore;
    use crate::prng::Prng;

    const SALT: u32 = 0x9f3c_2ab1;
    const OURS: Format = Format::Segment { salt: SALT };

    /// A record, kept: command, key, value, version.
    type Kept = (&'static str, Vec<u8>, Vec<u8>, u64);

    fn keep(record: &Record) -> Kept {
        let (value, version) = match *record {
            Record::Put { value, version, .. } => (value, version),
            Record::Delete { version, .. } | Record::Flush { version } => (&b""[..], version),
        };
        (record.command(), record.key().to_vec(), value.to_vec(), version.0)
    }

    fn name(number: u64) -> SegmentName {
        SegmentName { number, salt: SALT }
    }

    /// `count` records of all kinds as a file's bytes, and where each ends.
    fn file_of(count: u64) -> (Vec<u8>, Vec<Kept>, Vec<usize>) {
        let (mut bytes, mut records, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..count {
            let (key, value, version) = (format!("key {n}"), format!("value {n}").repeat(n as usize), Version(n + 1));
            let record = match n % 5 {
                3 => Record::Delete { key: key.as_bytes(), version },
                4 => Record::Flush { version },
                _ => Record::Put { key: key.as_bytes(), value: value.as_bytes(), flags: 0, extra: b"", expiry: None, version },
            };
            record.compose(SALT, bytes.len() as u64, &mut bytes);
            records.push(keep(&record));
            ends.push(bytes.len());
        }
        (bytes, records, ends)
    }

    fn reader(bytes: &[u8]) -> impl FnMut(u64, &mut [u8]) -> io::Result<usize> {
        move |offset, into| {
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            let got = rest.len().min(into.len());
            into[..got].copy_from_slice(&rest[..got]);
            Ok(got)
        }
    }

    fn replay_file(format: Format, bytes: &[u8], budget: usize) -> (Vec<(u64, Kept)>, Vec<Damage>) {
        let mut file = FileReplay::new(format, bytes.len() as u64);
        let mut records = Vec::new();
        while file.step(&mut reader(bytes), budget, &mut |offset, record| records.push((offset, keep(record)))) == Step::More {}
        assert_eq!(file.progress().bytes, bytes.len() as u64);
        assert_eq!(file.progress().records, records.len() as u64);
        (records, file.damages().to_vec())
    }

    fn kept_of(bytes: &[u8]) -> Vec<Kept> {
        replay_file(OURS, bytes, 1 << 20).0.into_iter().map(|(_, record)| record).collect()
    }

    fn replay_all(store: &mut MemoryStore, segments: Vec<(SegmentName, u64)>) -> (Vec<Kept>, Replay) {
        let mut replay = Replay::new(segments);
        let mut records = Vec::new();
        while replay.step(store, 100, &mut |record| records.push(keep(record))) == Step::More {}
        assert_eq!((replay.progress().percent(), replay.progress().records), (100, records.len() as u64));
        (records, replay)
    }

    fn store_of(files: &[&[u8]]) -> MemoryStore {
        let mut store = MemoryStore::default();
        for (number, bytes) in files.iter().enumerate() {
            store.create(name(number as u64)).unwrap();
            store.append(bytes).unwrap();
        }
        store
    }

    #[test]
    fn an_intact_file_comes_back_whole_whatever_the_steps() {
        let (bytes, records, _) = file_of(20);
        for budget in [0, 1, 7, 64, 1000, 1 << 20] {
            let (found, damages) = replay_file(OURS, &bytes, budget);
            assert!(found.iter().map(|(_, record)| record).eq(&records), "budget {budget}");
            assert_eq!(damages, []);
        }
    }

    #[test]
    fn a_step_reads_no_more_than_its_budget() {
        let (bytes, ..) = file_of(40);
        let mut file = FileReplay::new(OURS, bytes.len() as u64);
        let mut steps = 1;
        loop {
            let mut asked = 0;
            let mut read = |offset: u64, into: &mut [u8]| {
                asked += into.len();
                reader(&bytes)(offset, into)
            };
            let step = file.step(&mut read, 500, &mut |_, _| {});
            assert!(asked <= 500 + MAX_MARK, "{asked}");
            if step == Step::Done {
                break;
            }
            steps += 1;
        }
        assert!(steps >= bytes.len() / 508);
    }

    #[test]
    fn one_flipped_bit_anywhere_loses_the_record_it_is_in_and_nothing_else() {
        let (bytes, records, ends) = file_of(8);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let touched = ends.iter().position(|end| bit / 8 < *end).unwrap();
            let mut expected = records.clone();
            expected.remove(touched);
            let (found, damages) = replay_file(OURS, &damaged, 1 << 20);
            assert!(found.into_iter().map(|(_, record)| record).eq(expected), "bit {bit}");
            let begin = if touched == 0 { 0 } else { ends[touched - 1] };
            let place = (damages[0].offset, damages[0].length, damages.len());
            assert_eq!(place, (begin as u64, (ends[touched] - begin) as u64, 1), "bit {bit}");
        }
    }

    #[test]
    fn a_file_cut_anywhere_keeps_every_record_that_is_whole() {
        let (bytes, records, ends) = file_of(8);
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let (found, damages) = replay_file(OURS, &bytes[..cut], 33);
            assert!(found.iter().map(|(_, record)| record).eq(&records[..whole]), "cut {cut}");
            let begin = if whole == 0 { 0 } else { ends[whole - 1] };
            let torn = Damage { offset: begin as u64, length: (cut - begin) as u64, tail: true, what: What::Torn };
            assert!(damages.iter().eq((begin < cut).then_some(&torn)), "cut {cut}: {damages:?}");
        }
    }

    /// What happened to the middle one of three segments or the last, which records that costs, and what is said about it.
    #[test]
    fn ten_damages_cost_what_they_touch() {
        let (bytes, records, ends) = file_of(8);
        let mut prng = Prng::new(3);
        let garbage: Vec<u8> = (0..700).map(|_| prng.next_u64() as u8).collect();
        let middle = ends[3] - 3..ends[4] + 3; // touches records 3, 4 and 5
        let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = bytes.clone();
            change(&mut bytes);
            bytes
        };
        let without_middle = [&records[..3], &records[6..]].concat();
        let cases = [
            ("none", bytes.clone(), records.clone(), None),
            ("torn last record", damaged(&|b| b.truncate(ends[7] - 9)), records[..7].to_vec(), Some(What::Torn)),
            ("zeros at the end", damaged(&|b| b.extend([0; 700])), records.clone(), Some(What::Zeros)),
            ("garbage at the end", damaged(&|b| b.extend(&garbage)), records.clone(), Some(What::Corrupt)),
            ("zeros in the middle", damaged(&|b| b[middle.clone()].fill(0)), without_middle.clone(), Some(What::Corrupt)),
            (
                "garbage in the middle",
                damaged(&|b| b[middle.clone()].copy_from_slice(&garbage[..middle.len()])),
                without_middle,
                Some(What::Corrupt),
            ),
            ("garbage pushed in", damaged(&|b| drop(b.splice(0..0, garbage.clone()))), Vec::new(), Some(What::Corrupt)),
            ("empty", Vec::new(), Vec::new(), None),
        ];
        for (what, file, expected, said) in cases {
            for (at, files) in [[&bytes[..], &file, &bytes], [&bytes, &bytes, &file]].iter().enumerate() {
                let mut store = store_of(files);
                let segments = store.segments();
                let (found, replay) = replay_all(&mut store, segments);
                let whole = match at {
                    0 => [&records[..], &expected, &records].concat(),
                    _ => [&records[..], &records, &expected].concat(),
                };
                assert!(found == whole, "{what} ({at})");
                assert_eq!(replay.damages().iter().map(|(_, damage)| damage.what).next(), said, "{what} ({at})");
            }
        }
    }

    #[test]
    fn a_segment_that_is_gone_or_cannot_be_read_costs_itself_alone() {
        let (bytes, records, _) = file_of(8);
        let twice = [&records[..], &records].concat();

        let mut store = store_of(&[&bytes, &bytes, &bytes]);
        let segments = store.segments();
        store.make_unreadable(name(1));
        let (found, replay) = replay_all(&mut store, segments.clone());
        assert_eq!(found, twice);
        let what = What::Unreadable(io::ErrorKind::PermissionDenied);
        assert_eq!(replay.damages(), [(name(1), Damage { offset: 0, length: bytes.len() as u64, tail: true, what })]);
        assert_eq!(replay.damaged_bytes(), bytes.len() as u64);

        store.remove(name(1)).unwrap();
        let (found, replay) = replay_all(&mut store, segments);
        assert_eq!(found, twice);
        assert_eq!(replay.damages()[0].1.what, What::Missing);

        let segments = store.segments();
        let (found, replay) = replay_all(&mut store, segments);
        assert_eq!((found, replay.damages().len()), (twice, 0));
    }

    #[test]
    fn what_the_disk_does_not_give_costs_the_records_in_it() {
        let (bytes, records, ends) = file_of(200);
        let bad = ends[80] as u64..ends[80] as u64 + 100;
        let mut file = FileReplay::new(OURS, bytes.len() as u64);
        let mut found = Vec::new();
        let mut read = |offset: u64, into: &mut [u8]| {
            if offset < bad.end && bad.start < offset + into.len() as u64 {
                Err(io::Error::other("bad sector"))
            } else {
                reader(&bytes)(offset, into)
            }
        };
        while file.step(&mut read, 512, &mut |_, record| found.push(keep(record))) == Step::More {}
        assert!(found.starts_with(&records[..79]) && found.ends_with(&records[82..]));
        assert_eq!(file.damages().len(), 1);
        assert_eq!(file.damages()[0].what, What::Unreadable(io::ErrorKind::Other));
    }

    #[test]
    fn a_file_that_is_shorter_than_listed_says_so() {
        let (bytes, records, _) = file_of(4);
        let mut store = store_of(&[&bytes]);
        let (found, replay) = replay_all(&mut store, vec![(name(0), bytes.len() as u64 + 1000)]);
        assert_eq!(found, records);
        assert_eq!(replay.damages(), [(name(0), Damage { offset: bytes.len() as u64, length: 1000, tail: true, what: What::Missing })]);
        assert_eq!(replay.torn_tail(), None);
    }

    #[test]
    fn a_record_inside_a_value_never_comes_out_of_it() {
        let evil = Record::Put { key: b"victim", value: b"evil", flags: 0, extra: b"", expiry: None, version: Version(u64::MAX) };
        let (mut same_file, mut same_place) = (Vec::new(), Vec::new());
        evil.compose(SALT, 0, &mut same_file); // copied from elsewhere in this file
        for offset in 0..64 {
            evil.compose(SALT ^ 1, offset, &mut same_place); // the place guessed, the salt not
        }
        for value in [same_file, same_place] {
            let mut bytes = Vec::new();
            Record::Delete { key: b"before", version: Version(1) }.compose(SALT, 0, &mut bytes);
            let (begin, version) = (bytes.len(), Version(2));
            Record::Put { key: b"k", value: &value, flags: 0, extra: b"", expiry: None, version }.compose(SALT, begin as u64, &mut bytes);
            let end = bytes.len();
            Record::Delete { key: b"after", version: Version(3) }.compose(SALT, end as u64, &mut bytes);
            for at in begin..end {
                let mut damaged = bytes.clone();
                damaged[at] = !damaged[at];
                let keys: Vec<Vec<u8>> = kept_of(&damaged).into_iter().map(|(_, key, ..)| key).collect();
                assert_eq!(keys, [b"before".to_vec(), b"after".to_vec()], "byte {at}");
            }
        }
    }

    #[test]
    fn a_length_that_lies_hides_no_record() {
        let mut bytes = Vec::new();
        let version = Version(1);
        Record::Put { key: b"k", value: &[b'v'; 300], flags: 0, extra: b"", expiry: None, version }.compose(SALT, 0, &mut bytes);
        let first = bytes.len();
        for n in 0..100u8 {
            let offset = bytes.len() as u64;
            Record::Put { key: &[n], value: b"v", flags: 0, extra: b"", expiry: None, version }.compose(SALT, offset, &mut bytes);
        }
        for length in [0, 200, 301, 1500, u16::MAX] {
            bytes[10..12].copy_from_slice(&length.to_be_bytes()); // the value's
            let (found, damages) = replay_file(OURS, &bytes, 50);
            assert_eq!((found.len(), damages.len()), (100, 1));
            assert_eq!((damages[0].length, damages[0].what), (first as u64, What::Corrupt));
        }
    }

    #[test]
    fn a_record_larger_than_a_step_is_read_and_its_room_given_back() {
        let value: Vec<u8> = (0..5 * BLOCK).map(|n| (n / 7) as u8).collect();
        let mut bytes = Vec::new();
        for version in 1..=3 {
            let offset = bytes.len() as u64;
            Record::Put { key: b"k", value: &value, flags: 0, extra: b"", expiry: None, version: Version(version) }
                .compose(SALT, offset, &mut bytes);
        }
        (0..2 * BLOCK).for_each(|_| bytes.push(0));
        let mut file = FileReplay::new(OURS, bytes.len() as u64);
        let mut found = 0;
        while file.step(&mut reader(&bytes), 10_000, &mut |_, record| found += usize::from(keep(record).2 == value)) == Step::More {}
        assert_eq!(found, 3);
        assert!(file.buffer.capacity() <= BUFFER_KEPT, "{}", file.buffer.capacity());
    }

    #[test]
    fn only_the_torn_tail_of_the_last_segment_is_to_be_cut() {
        let (bytes, _, ends) = file_of(8);
        let torn = &bytes[..ends[7] - 1];
        for (files, expected) in [
            ([&bytes[..], torn], Some((name(1), ends[6] as u64))),
            ([torn, &bytes], None),
            ([&bytes, &bytes[..3]], Some((name(1), 0))),
            ([&bytes, &bytes[1..]], None), // nothing in it counts: perhaps it has another's name
            ([&bytes, b""], None),
        ] {
            let mut store = store_of(&files);
            let segments = store.segments();
            let (before, replay) = replay_all(&mut store, segments);
            assert_eq!(replay.torn_tail(), expected);
            if let Some((name, length)) = replay.torn_tail() {
                store.truncate(name, length).unwrap();
                let segments = store.segments();
                let (after, replay) = replay_all(&mut store, segments);
                assert_eq!((after, replay.damages().len()), (before, 0));
            }
        }
    }

    #[test]
    fn the_originals_file_is_read_around_its_damages() {
        let mut bytes = b"\x93\xa3put\xa1a\xa11\x93\xa3put\xa1b\xa12\x93\xa6delete\xa1a\xa11".to_vec();
        let put = |key: &[u8], value: &[u8]| ("put", key.to_vec(), value.to_vec(), 0);
        let delete = ("delete", b"a".to_vec(), Vec::new(), 0);
        let (found, damages) = replay_file(Format::Original, &bytes, 1);
        assert_eq!(found, [(0, put(b"a", b"1")), (9, put(b"b", b"2")), (18, delete.clone())]);
        assert_eq!(damages, []);
        bytes[9] = 0;
        bytes.push(0x93);
        let (found, damages) = replay_file(Format::Original, &bytes, 1);
        assert_eq!(found, [(0, put(b"a", b"1")), (18, delete)]);
        assert_eq!(damages.iter().map(|d| (d.offset, d.length, d.what)).collect::<Vec<_>>(), [(9, 9, What::Corrupt), (30, 1, What::Torn)]);
    }

    #[test]
    fn of_countless_damages_the_first_are_kept_and_all_are_counted() {
        let mut bytes = Vec::new();
        for n in 0..500u64 {
            bytes.push(b'?');
            let offset = bytes.len() as u64;
            Record::Flush { version: Version(n) }.compose(SALT, offset, &mut bytes);
        }
        let mut store = store_of(&[&bytes, &bytes]);
        let segments = store.segments();
        let (found, replay) = replay_all(&mut store, segments);
        assert_eq!((found.len(), replay.damages().len(), replay.damaged_bytes()), (1000, MAX_DAMAGES, 1000));
    }

    #[test]
    fn random_files_of_random_damages_give_only_what_was_written() {
        for seed in 0..300 {
            let mut prng = Prng::new(seed);
            let (mut bytes, records, _) = file_of(12);
            for _ in 0..=prng.below(4) {
                let at = prng.below(bytes.len() as u64) as usize;
                let end = (at + prng.below(60) as usize).min(bytes.len());
                match prng.below(4) {
                    0 => drop(bytes.drain(at..end)),
                    1 => bytes[at..end].fill(0),
                    2 => bytes[at..end].iter_mut().for_each(|byte| *byte = prng.next_u64() as u8),
                    _ => {
                        let copy = bytes[at..end].to_vec();
                        drop(bytes.splice(at..at, copy));
                    }
                }
            }
            let mut written = records.iter();
            for record in kept_of(&bytes) {
                assert!(written.any(|one| *one == record), "seed {seed}: {record:?} was not written, or not there");
            }
        }
    }
}
