//! One line of the journal, in bytes: a [`Record`] is one msgpack array.
//!
//! ```text
//!  0x97  0xa3 "put"     bin key    bin value   flags   expiry ms | nil   version   0xce crc32
//!  0x97  0xa6 "delete"  bin key    nil         0       nil               version   0xce crc32
//!  0x97  0xa5 "flush"   bin ""     nil         0       nil               version   0xce crc32
//!  └──── mark ───────┘                                                             └── always five bytes, always last
//! ```
//!
//! A put whose value has an *extra*, a few bytes that travel with it, has the array `[flags, bin extra]` in the place of its flags.
//!
//! The first three elements are the original project's whole record, so whatever read its journal can read the beginning of ours. The
//! *mark* is what a reader searches for to find its way again after damage.
//!
//! A client may store a value that looks like a record, and a file may hold an old record in a new place. Neither must ever be taken for
//! a record that was written here: so the checksum covers, before the record's own bytes, the *salt* of its segment (drawn at random,
//! kept in the file's name) and the record's offset in the file. Who chooses a value knows neither. The checksum is a guard against
//! accidents and against guessing from outside; it is none against somebody who can write the file.
//!
//! The original's records, `[command, key, value]`, are parsed too, as [`Format::Original`]. They have no checksum, and nothing here
//! writes them.

use std::io;

use crc32fast::Hasher;
use rmp::{Marker, encode};

use crate::caching::Version;
use crate::time::Wall;

/// Longest key that is believed; more than any dialect can name.
pub const MAX_KEY: usize = u16::MAX as usize;
/// Largest value that is believed; what `limits.max_value` may be at most.
pub const MAX_VALUE: usize = 512 << 20;
/// Longest extra that is believed.
pub const MAX_EXTRA: usize = u8::MAX as usize;
/// More than what a record takes beside its key, its value and its extra.
pub const RECORD_OVERHEAD: usize = 48;
/// The longest mark, in bytes: that of a delete.
pub const MAX_MARK: usize = 8;

/// How the records of a segment begin.
const MARKS: [&[u8]; 3] = [b"\x97\xa3put", b"\x97\xa6delete", b"\x97\xa5flush"];
/// How the records of an original file begin.
const ORIGINAL_MARKS: [&[u8]; 2] = [b"\x93\xa3put", b"\x93\xa6delete"];
/// The longest command, in bytes.
const MAX_COMMAND: usize = 6;
/// Elements of our array, and of the original's.
const ELEMENTS: u8 = 7;
const ORIGINAL_ELEMENTS: u8 = 3;
/// Elements of the array that stands for the flags if there is an extra.
const FLAGS_AND_EXTRA: u8 = 2;

/// A change of the cache, as the journal keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// From now on the key has this value.
    Put {
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
        /// The client's own 32 bits.
        flags: u32,
        /// What travels with the value; empty is none.
        extra: &'a [u8],
        /// When the value ends; `None` is never.
        expiry: Option<Wall>,
        /// The version of the write; 0 in the original's files.
        version: Version,
    },
    /// From now on there is no such key.
    Delete {
        /// The key.
        key: &'a [u8],
        /// The version of the write; 0 in the original's files.
        version: Version,
    },
    /// From now on there are no keys at all.
    Flush {
        /// The version of the write.
        version: Version,
    },
}

/// Which kind of file a record stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A segment of our journal, with the salt that its name says.
    Segment {
        /// What the checksums of this file begin with.
        salt: u32,
    },
    /// The one file of the original project.
    Original,
}

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A record, and how many bytes it takes.
    Complete {
        /// The record.
        record: Record<'a>,
        /// Its length in bytes.
        length: usize,
    },
    /// Not decided before so many bytes are there, counted from the beginning.
    Incomplete {
        /// More than there were.
        needs: usize,
    },
    /// Not a record.
    Invalid,
}

impl<'a> Record<'a> {
    /// The command's name, as it stands in the file.
    #[must_use]
    pub fn command(&self) -> &'static str {
        match self {
            Record::Put { .. } => "put",
            Record::Delete { .. } => "delete",
            Record::Flush { .. } => "flush",
        }
    }

    /// The key it concerns; empty for a flush.
    #[must_use]
    pub fn key(&self) -> &'a [u8] {
        match self {
            Record::Put { key, .. } | Record::Delete { key, .. } => key,
            Record::Flush { .. } => b"",
        }
    }

    /// The version of the write it tells of.
    #[must_use]
    pub fn version(&self) -> Version {
        match self {
            Record::Put { version, .. } | Record::Delete { version, .. } | Record::Flush { version } => *version,
        }
    }

    /// Appends the record's bytes to `out`; they will stand at `offset` in the segment with this `salt`.
    pub fn compose(&self, salt: u32, offset: u64, out: &mut Vec<u8>) {
        let begin = out.len();
        self.compose_elements(out).expect("writing to a Vec does not fail");
        let crc = checksum(salt, offset, &out[begin..]);
        encode::write_u32(out, crc).expect("writing to a Vec does not fail");
    }

    /// Appends the record's bytes without its value's, which stand elsewhere. What comes before and behind them is told, and the checksum is
    /// to be [made up](Around::seal) when they are known.
    pub fn compose_around(&self, salt: u32, offset: u64, out: &mut Vec<u8>) -> Around {
        let begin = out.len();
        let value_at = self.compose_parts(out, false).expect("writing to a Vec does not fail");
        let mut crc = Hasher::new();
        crc.update(&salt.to_le_bytes());
        crc.update(&offset.to_le_bytes());
        crc.update(&out[begin..value_at]);
        let crc_at = out.len();
        encode::write_u32(out, 0).expect("writing to a Vec does not fail");
        Around { value_at, behind: crc_at - value_at, crc }
    }

    fn compose_elements(&self, out: &mut Vec<u8>) -> io::Result<()> {
        self.compose_parts(out, true).map(drop)
    }

    /// With the value's bytes or without them, but for their length. Where they end, or are left out.
    fn compose_parts(&self, out: &mut Vec<u8>, has_value: bool) -> io::Result<usize> {
        debug_assert!(self.key().len() <= MAX_KEY, "a longer key would be written and not be read back");
        let (flags, extra, expiry, version) = match *self {
            Record::Put { flags, extra, expiry, version, .. } => (flags, extra, expiry, version),
            Record::Delete { version, .. } | Record::Flush { version } => (0, &[][..], None, version),
        };
        debug_assert!(extra.len() <= MAX_EXTRA, "a longer extra would be written and not be read back");
        encode::write_array_len(out, u32::from(ELEMENTS))?;
        encode::write_str(out, self.command())?;
        encode::write_bin(out, self.key())?;
        match self {
            Record::Put { value, .. } if has_value => encode::write_bin(out, value)?,
            Record::Put { value, .. } => drop(encode::write_bin_len(out, value.len() as u32)?),
            Record::Delete { .. } | Record::Flush { .. } => encode::write_nil(out)?,
        }
        let value_end = out.len();
        if !extra.is_empty() {
            encode::write_array_len(out, u32::from(FLAGS_AND_EXTRA))?;
        }
        encode::write_uint(out, u64::from(flags))?;
        if !extra.is_empty() {
            encode::write_bin(out, extra)?;
        }
        match expiry {
            Some(Wall(ms)) => drop(encode::write_uint(out, ms)?),
            None => encode::write_nil(out)?,
        }
        encode::write_uint(out, version.0)?;
        Ok(value_end)
    }
}

/// A record whose value stands elsewhere.
#[derive(Debug)]
pub struct Around {
    /// Where the value belongs.
    pub value_at: usize,
    /// Bytes of the record behind it, before the checksum.
    behind: usize,
    crc: Hasher,
}

impl Around {
    /// The next bytes of the value.
    pub fn update(&mut self, value: &[u8]) {
        self.crc.update(value);
    }

    /// The whole value is known: makes up the checksum, in the bytes that `rest` begins with.
    pub fn seal(mut self, rest: &mut [u8]) {
        self.crc.update(&rest[..self.behind]);
        let crc_at = self.behind + 1; // behind its mark
        rest[crc_at..crc_at + 4].copy_from_slice(&self.crc.finalize().to_be_bytes());
    }
}

impl Format {
    /// The record at the beginning of `bytes`, which stand at `offset` in the file.
    #[must_use]
    pub fn parse<'a>(&self, bytes: &'a [u8], offset: u64) -> Parsed<'a> {
        let mut cursor = Cursor { bytes, at: 0 };
        let record = match self {
            Format::Segment { salt } => cursor.record(*salt, offset),
            Format::Original => cursor.original_record(),
        };
        match record {
            Ok(record) => Parsed::Complete { record, length: cursor.at },
            Err(Stop::Short { needs }) => Parsed::Incomplete { needs },
            Err(Stop::Invalid) => Parsed::Invalid,
        }
    }

    /// Where the next thing that begins like a record is, in `bytes`.
    #[must_use]
    pub fn find_mark(&self, bytes: &[u8]) -> Option<usize> {
        // All marks of a format share their first byte, which is rare in text and one in 256 in binary: memchr finds it at memory speed.
        let marks = self.marks();
        memchr::memchr_iter(marks[0][0], bytes).find(|&at| marks.iter().any(|mark| bytes[at..].starts_with(mark)))
    }

    fn marks(&self) -> &'static [&'static [u8]] {
        match self {
            Format::Segment { .. } => &MARKS,
            Format::Original => &ORIGINAL_MARKS,
        }
    }
}

/// The checksum of a record's bytes before the checksum itself.
fn checksum(salt: u32, offset: u64, bytes: &[u8]) -> u32 {
    let mut crc = Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.update(bytes);
    crc.finalize()
}

/// Why a record could not be read to its end.
enum Stop {
    Short { needs: usize },
    Invalid,
}

/// Reads msgpack from a slice, and can say how many bytes more it would need: `rmp::decode` cannot.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn record(&mut self, salt: u32, offset: u64) -> Result<Record<'a>, Stop> {
        self.array(ELEMENTS)?;
        let command = self.string(MAX_COMMAND)?;
        if !MARKS.iter().any(|mark| &mark[2..] == command) {
            return Err(Stop::Invalid); // before its lengths are believed
        }
        let key = self.string(MAX_KEY)?;
        let value = self.string_or_nil(MAX_VALUE)?;
        let (flags, extra) = self.flags_and_extra()?;
        let expiry = self.number_or_nil()?.map(Wall);
        let version = Version(self.number()?);
        let end = self.at;
        if self.crc()? != checksum(salt, offset, &self.bytes[..end]) {
            return Err(Stop::Invalid);
        }
        match (command, value) {
            (b"put", Some(value)) => Ok(Record::Put { key, value, flags, extra, expiry, version }),
            (b"delete", None) => Ok(Record::Delete { key, version }),
            (b"flush", None) => Ok(Record::Flush { version }),
            _ => Err(Stop::Invalid),
        }
    }

    fn original_record(&mut self) -> Result<Record<'a>, Stop> {
        self.array(ORIGINAL_ELEMENTS)?;
        let command = self.string(MAX_COMMAND)?;
        if !ORIGINAL_MARKS.iter().any(|mark| &mark[2..] == command) {
            return Err(Stop::Invalid);
        }
        let key = self.string(MAX_KEY)?;
        let value = self.string_or_nil(MAX_VALUE)?;
        match (command, value) {
            (b"put", Some(value)) => Ok(Record::Put { key, value, flags: 0, extra: b"", expiry: None, version: Version(0) }),
            (b"delete", _) => Ok(Record::Delete { key, version: Version(0) }),
            _ => Err(Stop::Invalid),
        }
    }

    /// A number, or an array of a number and what is beside it.
    fn flags_and_extra(&mut self) -> Result<(u32, &'a [u8]), Stop> {
        let begin = self.at;
        let has_extra = matches!(self.marker()?, Marker::FixArray(FLAGS_AND_EXTRA));
        if !has_extra {
            self.at = begin;
        }
        let flags = u32::try_from(self.number()?).map_err(|_| Stop::Invalid)?;
        Ok((flags, if has_extra { self.string(MAX_EXTRA)? } else { &[] }))
    }

    fn array(&mut self, elements: u8) -> Result<(), Stop> {
        match self.marker()? {
            Marker::FixArray(n) if n == elements => Ok(()),
            _ => Err(Stop::Invalid),
        }
    }

    fn string(&mut self, limit: usize) -> Result<&'a [u8], Stop> {
        self.string_or_nil(limit)?.ok_or(Stop::Invalid)
    }

    /// The bytes of a bin or a str. The original's msgpack had only "raw", which is str today.
    fn string_or_nil(&mut self, limit: usize) -> Result<Option<&'a [u8]>, Stop> {
        let length = match self.marker()? {
            Marker::Null => return Ok(None),
            Marker::FixStr(length) => u64::from(length),
            Marker::Str8 | Marker::Bin8 => self.integer(1)?,
            Marker::Str16 | Marker::Bin16 => self.integer(2)?,
            Marker::Str32 | Marker::Bin32 => self.integer(4)?,
            _ => return Err(Stop::Invalid),
        };
        if length > limit as u64 {
            return Err(Stop::Invalid);
        }
        self.take(length as usize).map(Some)
    }

    fn number(&mut self) -> Result<u64, Stop> {
        self.number_or_nil()?.ok_or(Stop::Invalid)
    }

    fn number_or_nil(&mut self) -> Result<Option<u64>, Stop> {
        match self.marker()? {
            Marker::Null => Ok(None),
            Marker::FixPos(number) => Ok(Some(u64::from(number))),
            Marker::U8 => self.integer(1).map(Some),
            Marker::U16 => self.integer(2).map(Some),
            Marker::U32 => self.integer(4).map(Some),
            Marker::U64 => self.integer(8).map(Some),
            _ => Err(Stop::Invalid),
        }
    }

    fn crc(&mut self) -> Result<u32, Stop> {
        match self.marker()? {
            Marker::U32 => Ok(self.integer(4)? as u32),
            _ => Err(Stop::Invalid),
        }
    }

    fn marker(&mut self) -> Result<Marker, Stop> {
        Ok(Marker::from_u8(self.take(1)?[0]))
    }

    /// The next `size` bytes as a big-endian number.
    fn integer(&mut self, size: usize) -> Result<u64, Stop> {
        Ok(self.take(size)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let end = self.at + length;
        let taken = self.bytes.get(self.at..end).ok_or(Stop::Short { needs: end })?;
        self.at = end;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    const OURS: Format = Format::Segment { salt: 0x9f3c_2ab1 };

    fn composed(record: &Record, offset: u64) -> Vec<u8> {
        let mut out = Vec::new();
        record.compose(0x9f3c_2ab1, offset, &mut out);
        out
    }

    fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Record<'a> {
        Record::Put { key, value, flags: 7, extra: b"", expiry: Some(Wall(1_700_000_000_000)), version: Version(5 << 32 | 1) }
    }

    fn put_with<'a>(key: &'a [u8], value: &'a [u8], extra: &'a [u8]) -> Record<'a> {
        Record::Put { key, value, flags: 7, extra, expiry: None, version: Version(9) }
    }

    #[test]
    fn the_bytes_of_a_record_are_the_documented_ones() {
        let bytes = composed(&put(b"k", b"v"), 0);
        assert!(bytes.starts_with(b"\x97\xa3put\xc4\x01k\xc4\x01v\x07\xcf"));
        assert_eq!(bytes[bytes.len() - 5], 0xce);
        let bytes = composed(&put_with(b"k", b"v", b"ex"), 0);
        assert!(bytes.starts_with(b"\x97\xa3put\xc4\x01k\xc4\x01v\x92\x07\xc4\x02ex\xc0\x09\xce"));
        let bytes = composed(&Record::Delete { key: b"k", version: Version(9) }, 0);
        assert!(bytes.starts_with(b"\x97\xa6delete\xc4\x01k\xc0\x00\xc0\x09\xce"));
        let bytes = composed(&Record::Flush { version: Version(9) }, 0);
        assert!(bytes.starts_with(b"\x97\xa5flush\xc4\x00\xc0\x00\xc0\x09\xce"));
    }

    #[test]
    fn what_is_composed_is_parsed_back_whatever_its_size() {
        let mut prng = Prng::new(1);
        for size in [0, 1, 31, 32, 255, 256, 65_535, 65_536, 200_000] {
            let value: Vec<u8> = (0..size).map(|_| prng.next_u64() as u8).collect();
            let key = &value[..size.min(MAX_KEY)];
            let (version, offset) = (Version(prng.next_u64()), prng.next_u64());
            let expiry = (size % 2 == 0).then(|| Wall(prng.next_u64()));
            for record in [
                Record::Put { key, value: &value, flags: prng.next_u64() as u32, extra: b"", expiry, version },
                Record::Put { key, value: &value, flags: prng.next_u64() as u32, extra: &value[..size.min(MAX_EXTRA)], expiry, version },
                Record::Delete { key, version },
                Record::Flush { version },
            ] {
                let bytes = composed(&record, offset);
                assert_eq!(OURS.parse(&bytes, offset), Parsed::Complete { record, length: bytes.len() });
                let extra_len = if let Record::Put { extra, .. } = record { extra.len() } else { 0 };
                assert!(bytes.len() <= key.len() + value.len() + extra_len + RECORD_OVERHEAD);
            }
        }
    }

    #[test]
    fn a_record_cut_anywhere_asks_for_more_and_never_for_too_much() {
        for record in [put(b"some key", &[1; 300]), put_with(b"some key", &[1; 300], &[2; 255])] {
            let bytes = composed(&record, 40);
            for cut in 0..bytes.len() {
                match OURS.parse(&bytes[..cut], 40) {
                    Parsed::Incomplete { needs } => assert!(needs > cut && needs <= bytes.len(), "{cut}: {needs}"),
                    other => panic!("{cut}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_is_no_record() {
        for record in [put(b"some key", b"some value"), put_with(b"some key", b"some value", b"some extra")] {
            let bytes = composed(&record, 40);
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(!matches!(OURS.parse(&damaged, 40), Parsed::Complete { .. }), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_record_in_another_place_or_another_file_is_no_record() {
        let bytes = composed(&put(b"k", b"v"), 40);
        assert_eq!(OURS.parse(&bytes, 41), Parsed::Invalid);
        assert_eq!(Format::Segment { salt: 1 }.parse(&bytes, 40), Parsed::Invalid);
    }

    #[test]
    fn lengths_beyond_the_limits_are_not_waited_for() {
        assert_eq!(OURS.parse(b"\x97\xa3put\xc6\x00\x01\x00\x00", 0), Parsed::Invalid);
        assert_eq!(OURS.parse(b"\x97\xa3put\xc4\x01k\xc6\x20\x00\x00\x01", 0), Parsed::Invalid);
        assert_eq!(OURS.parse(b"\x97\xa3put\xc4\x01k\xc6\x20\x00\x00\x00", 0), Parsed::Incomplete { needs: 13 + MAX_VALUE });
        assert_eq!(OURS.parse(b"\x97\xa3put\xc4\x01k\xc4\x01v\x92\x07\xc5\x01\x00", 0), Parsed::Invalid);
        assert_eq!(OURS.parse(b"\x97\xa3put\xc4\x01k\xc4\x01v\x93\x07\xc4\x01", 0), Parsed::Invalid);
    }

    #[test]
    fn marks_are_found_where_they_are() {
        assert_eq!(OURS.find_mark(b"\x97\x97\xa3pu\x97\xa3put"), Some(5));
        assert_eq!(OURS.find_mark(b"..\x97\xa6delete"), Some(2));
        assert_eq!(OURS.find_mark(b"..\x97\xa5flush"), Some(2));
        assert_eq!(OURS.find_mark(b"\x93\xa3put"), None);
        assert_eq!(Format::Original.find_mark(b".\x93\xa3put"), Some(1));
    }

    #[test]
    fn the_originals_records_are_read_raw_or_bin() {
        let put = Record::Put { key: b"k", value: b"v", flags: 0, extra: b"", expiry: None, version: Version(0) };
        for bytes in [&b"\x93\xa3put\xa1k\xa1v"[..], b"\x93\xa3put\xd9\x01k\xda\x00\x01v", b"\x93\xc4\x03put\xc4\x01k\xc4\x01v"] {
            assert_eq!(Format::Original.parse(bytes, 3), Parsed::Complete { record: put, length: bytes.len() });
        }
        let delete = Record::Delete { key: b"k", version: Version(0) };
        for bytes in [&b"\x93\xa6delete\xa1k\xc0"[..], b"\x93\xa6delete\xa1k\xa0", b"\x93\xa6delete\xa1k\xa1v"] {
            assert_eq!(Format::Original.parse(bytes, 0), Parsed::Complete { record: delete, length: bytes.len() });
        }
        assert_eq!(Format::Original.parse(b"\x93\xa3put\xa1k\xc0", 0), Parsed::Invalid);
        assert_eq!(Format::Original.parse(b"\x93\xa5flush\xa1k\xc0", 0), Parsed::Invalid);
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut prng = Prng::new(2);
        for _ in 0..20_000 {
            let mut bytes = MARKS[prng.below(3) as usize].to_vec();
            bytes.extend((0..prng.below(40)).map(|_| prng.next_u64() as u8));
            assert!(!matches!(OURS.parse(&bytes, 0), Parsed::Complete { .. }));
            let _ = Format::Original.parse(&bytes[1..], 0);
        }
    }
}
