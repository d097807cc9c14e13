//! The journal's reader: what it finds does not depend on the steps in which it reads, every byte of a file is a record's or a damage's,
//! what was composed is found again whatever lies around it, and what lies around it is never taken for a record.
//!
//! Of random bytes nothing is a record, since there is a checksum. So the input also says, after its first byte, which records to compose.

use spydercache::caching::Version;
use spydercache::caching::record::{Format, Parsed, Record};
use spydercache::caching::replay::{FileReplay, Step};
use spydercache::time::Wall;

const SALT: u32 = 0x5eed_0001;
const SEGMENT: Format = Format::Segment { salt: SALT };

/// Records as they were found: where, and what.
type Found = Vec<(u64, String)>;

/// Holds the reader to its promises.
pub fn run(data: &[u8]) {
    for format in [SEGMENT, Format::Original] {
        let whole = read(data, format, usize::MAX);
        assert_eq!(read(data, format, 1), whole, "in small steps");
    }
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let (noise, told) = rest.split_at(rest.len() * usize::from(*first) / 256);
    check_recovery(noise, told);
}

/// Noise between records hides none of them.
fn check_recovery(noise: &[u8], told: &[u8]) {
    let mut file = Vec::new();
    let mut composed = Found::new();
    for part in told.chunks(24) {
        let record = record_of(part);
        composed.push((file.len() as u64, format!("{record:?}")));
        record.compose(SALT, file.len() as u64, &mut file);
        file.extend_from_slice(noise);
    }
    let (found, _) = read(&file, SEGMENT, usize::MAX);
    assert_eq!(found, composed);
}

fn record_of(part: &[u8]) -> Record<'_> {
    let (key, value) = part.split_at(part.len() / 2);
    let number = part.iter().fold(0u64, |number, byte| number.wrapping_mul(257).wrapping_add(u64::from(*byte)));
    match number % 4 {
        0 => Record::Delete { key, version: Version(number) },
        1 => Record::Flush { version: Version(number) },
        kind => {
            let (flags, extra, expiry) = (number as u32, if kind == 3 { key } else { b"" }, (kind == 2).then_some(Wall(number >> 20)));
            Record::Put { key, value, flags, extra, expiry, version: Version(number) }
        }
    }
}

/// The records of a file and how many bytes belong to none.
fn read(file: &[u8], format: Format, budget: usize) -> (Found, u64) {
    let mut replay = FileReplay::new(format, file.len() as u64);
    let mut found = Found::new();
    let mut covered = 0;
    loop {
        let mut source = |offset: u64, into: &mut [u8]| {
            let rest = &file[offset as usize..];
            let count = rest.len().min(into.len());
            into[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        };
        let step = replay.step(&mut source, budget, &mut |offset, record| {
            found.push((offset, format!("{record:?}")));
            if let Parsed::Complete { length, .. } = format.parse(&file[offset as usize..], offset) {
                covered += length as u64;
            }
        });
        if step == Step::Done {
            break;
        }
    }
    let damaged: u64 = replay.damages().iter().map(|damage| damage.length).sum();
    assert!(covered + damaged == file.len() as u64 || replay.damages().len() >= 100, "{covered} and {damaged} of {} bytes", file.len());
    (found, damaged)
}
