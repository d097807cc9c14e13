//! `spydercache journal`: prints what a journal holds, says where it is damaged, and repairs it.
//!
//! It reads as a node does, with the same judgement ([`replay`](crate::caching::replay)), and prints each intact record on a line of its
//! own: so what it shows is what a node would get back. The original project's files are read too.
//!
//! To repair is to make the damage go away, not to bring back what it hid. A torn tail is cut off. A segment with damage elsewhere is
//! written anew without it: the checksums depend on a record's place, so each is composed again, and the new file takes the old one's
//! name at one stroke. In the original's files nothing tells an intact record from what only looks like one: there only the tail is cut.
//! A segment is repaired under its folder's lock: never below a node that runs.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use getopts::Options;

use super::{CLEAN, FAILED, USAGE, complain, finish, json, read_args};
use crate::caching::record::{Format, Record};
use crate::caching::replay::{Damage, FileReplay, Step, What};
use crate::disk::{self, Folder, JournalFile};
use crate::time::Wall;

/// Bytes read before it is looked whether anybody still reads what is printed.
const STEP_BYTES: usize = 1 << 20;
/// Bytes of a value that a line shows without `--full`.
const SHOWN_BYTES: usize = 60;
/// The name under which it complains.
const WHO: &str = "spydercache journal";

const USAGE_TEXT: &str = "Usage: spydercache journal [options] FILE...

Prints each record of segments (journal-*.msgpack) or of the original's journal files. Damage is told on standard error with its offset,
and by the exit code 1. JSON has whole values; keys and values that are not UTF-8 become key_hex and value_hex. An extra is what a value
carries for the dialect that it was written in; few have one.";

/// Runs the tool.
pub fn run(args: &[String]) -> i32 {
    let mut options = Options::new();
    options.optflag("", "full", "whole values, however long");
    options.optflag("", "json", "one JSON object a record");
    options.optflag("", "repair", "print nothing; cut torn tails, and write damaged segments anew with every intact record");
    options.optflag("h", "help", "print this");
    let matches = match read_args(&options, USAGE_TEXT, args) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    let (full, json, repairing) = (matches.opt_present("full"), matches.opt_present("json"), matches.opt_present("repair"));
    if matches.free.is_empty() || (repairing && (full || json)) {
        complain(WHO, if repairing { "--repair takes files, and prints no records" } else { "no file named; see --help" });
        return USAGE;
    }
    if repairing {
        return matches.free.iter().map(|file| repair_and_tell(file)).max().unwrap_or(CLEAN);
    }
    let show = if json {
        as_json
    } else if full {
        as_whole_line
    } else {
        as_line
    };
    print_files(&matches.free, show, !json && matches.free.len() > 1)
}

fn print_files(files: &[String], show: Show, headings: bool) -> i32 {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut code = CLEAN;
    for file in files {
        let heading = if headings { writeln!(out, "==> {file} <==") } else { Ok(()) };
        let printed = heading.and_then(|()| {
            let sound = print_file(file, show, &mut out)?;
            code = if sound { code } else { FAILED };
            out.flush()
        });
        if printed.is_err() {
            return finish(printed, code);
        }
    }
    code
}

/// Prints a file's records and says on standard error what is wrong with it. Is it sound? `Err` is that nothing can be printed.
fn print_file(path: &str, show: Show, out: &mut dyn Write) -> io::Result<bool> {
    let mut printed = Ok(());
    let read = read_file(path, &mut |offset, record| {
        printed = out.write_all(show(path, offset, record).as_bytes());
        printed.is_ok()
    });
    printed?;
    match read {
        Ok(reading) => {
            reading.damages.iter().for_each(|damage| complain(WHO, &format!("{path}: {}", describe(damage))));
            Ok(reading.damages.is_empty())
        }
        Err(error) => {
            complain(WHO, &error.to_string());
            Ok(false)
        }
    }
}

/// What was found in a file.
struct Reading {
    format: Format,
    length: u64,
    records: u64,
    damages: Vec<Damage>,
}

/// Reads a file to its end, or until `on_record` has had enough.
fn read_file(path: &str, on_record: &mut dyn FnMut(u64, &Record) -> bool) -> io::Result<Reading> {
    let mut file = JournalFile::open(Path::new(path))?;
    let (format, length) = (file.format(), file.length());
    let mut replay = FileReplay::new(format, length);
    let mut go_on = true;
    while go_on {
        let mut read = |offset: u64, into: &mut [u8]| file.read(offset, into);
        let step = replay.step(&mut read, STEP_BYTES, &mut |offset, record| go_on = go_on && on_record(offset, record));
        go_on = go_on && step == Step::More;
    }
    Ok(Reading { format, length, records: replay.progress().records, damages: replay.damages().to_vec() })
}

fn describe(damage: &Damage) -> String {
    let Damage { offset, length, tail, what } = damage;
    format!("{length} bytes at offset {offset}{}: {what}", if *tail { ", to the end" } else { "" })
}

/// A record at an offset of a file, as it is printed.
type Show = fn(&str, u64, &Record) -> String;

fn as_line(_: &str, _: u64, record: &Record) -> String {
    line(record, SHOWN_BYTES)
}

fn as_whole_line(_: &str, _: u64, record: &Record) -> String {
    line(record, usize::MAX)
}

fn line(record: &Record, most: usize) -> String {
    let (command, key) = (record.command(), record.key().escape_ascii());
    match record {
        Record::Put { value, flags, extra, expiry, version, .. } => {
            let shown = value[..value.len().min(most)].escape_ascii();
            // A real one would have been escaped.
            let more = if value.len() > most { "…" } else { "" };
            let (length, expires, version) = (value.len(), expiry.map_or_else(|| "never".into(), date), version.0);
            let extra = if extra.is_empty() { String::new() } else { format!(" extra=\"{}\"", extra.escape_ascii()) };
            format!("{command} \"{key}\" ({length} bytes) \"{shown}{more}\" flags={flags}{extra} expires={expires} version={version}\n")
        }
        Record::Delete { version, .. } => format!("{command} \"{key}\" version={}\n", version.0),
        Record::Flush { version } => format!("{command} version={}\n", version.0),
    }
}

fn as_json(path: &str, offset: u64, record: &Record) -> String {
    let (file, command) = (json::quoted(path), record.command());
    let fields = match record {
        Record::Put { key, value, flags, extra, expiry, version } => {
            let (key, length, value) = (json::bytes_field("key", key), value.len(), json::bytes_field("value", value));
            let expires = expiry.map_or_else(|| "null".into(), |expiry| expiry.0.to_string());
            let extra = if extra.is_empty() { String::new() } else { format!(",{}", json::bytes_field("extra", extra)) };
            format!("{key},\"bytes\":{length},{value},\"flags\":{flags}{extra},\"expires_ms\":{expires},\"version\":\"{}\"", version.0)
        }
        Record::Delete { key, version } => format!("{},\"version\":\"{}\"", json::bytes_field("key", key), version.0),
        Record::Flush { version } => format!("\"version\":\"{}\"", version.0),
    };
    format!("{{\"file\":{file},\"offset\":{offset},\"command\":\"{command}\",{fields}}}\n")
}

/// A moment as a person reads it, in UTC.
fn date(Wall(ms): Wall) -> String {
    let (seconds, days) = (ms / 1000 % 86_400, ms / 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

/// The date of the day so many days after 1970-01-01, by Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day is
/// the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = days + 719_468; // since 0000-03-01
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next_year, month, day_of_month)
}

fn repair_and_tell(path: &str) -> i32 {
    match repair(path) {
        Ok(Repaired { dropped: 0, records }) => finish(writeln!(io::stdout(), "{path}: sound, {records} records"), CLEAN),
        Ok(Repaired { dropped, records }) => {
            finish(writeln!(io::stdout(), "{path}: repaired, {records} records kept, {dropped} bytes dropped"), CLEAN)
        }
        Err(why) => {
            complain(WHO, &format!("{path}: not repaired: {why}"));
            FAILED
        }
    }
}

/// What became of a file.
#[derive(Debug, PartialEq)]
struct Repaired {
    records: u64,
    dropped: u64,
}

fn repair(path: &str) -> Result<Repaired, String> {
    let _lock = lock(path)?;
    let reading = read_file(path, &mut |_, _| true).map_err(|error| error.to_string())?;
    reading.damages.iter().for_each(|damage| complain(WHO, &format!("{path}: {}", describe(damage))));
    let records = reading.records;
    let kept = match remedy(&reading)? {
        Remedy::None => reading.length,
        Remedy::Cut(length) => disk::truncate_file(Path::new(path), length).map(|()| length).map_err(|error| error.to_string())?,
        Remedy::Rewrite { salt } => rewrite(path, salt, records).map_err(|error| error.to_string())?,
    };
    Ok(Repaired { records, dropped: reading.length - kept })
}

/// The folder of a segment, taken for as long as it is repaired. An original file has none.
fn lock(path: &str) -> Result<Option<Folder>, String> {
    let path = Path::new(path);
    let segment = JournalFile::open(path).map_err(|error| error.to_string())?.format() != Format::Original;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if segment { Folder::open(folder).map(Some).map_err(|error| error.to_string()) } else { Ok(None) }
}

/// What is to be done with a file.
#[derive(Debug, PartialEq)]
enum Remedy {
    None,
    Cut(u64),
    Rewrite { salt: u32 },
}

fn remedy(reading: &Reading) -> Result<Remedy, String> {
    let damages = &reading.damages;
    if damages.iter().any(|damage| matches!(damage.what, What::Unreadable(_) | What::Missing)) {
        return Err("the disk does not give all of it; copy it to a sound disk first".into());
    }
    let corrupt = damages.iter().any(|damage| damage.what == What::Corrupt);
    if reading.records == 0 && corrupt {
        return Err("it holds no record; is this the name under which it was written?".into());
    }
    match (damages.as_slice(), reading.format) {
        ([], _) => Ok(Remedy::None),
        ([damage], _) if damage.tail => Ok(Remedy::Cut(damage.offset)),
        (_, Format::Segment { salt }) => Ok(Remedy::Rewrite { salt }),
        (_, Format::Original) => {
            Err("damaged before its end, and without checksums nothing tells which records behind that are whole".into())
        }
    }
}

/// Writes the segment anew with its intact records, and returns its new length. They must be as many as were counted before.
fn rewrite(path: &str, salt: u32, expected: u64) -> io::Result<u64> {
    let mut length = 0;
    disk::replace_file(Path::new(path), |file| {
        let mut bytes = Vec::new();
        let mut written = Ok(());
        let reading = read_file(path, &mut |_, record| {
            bytes.clear();
            record.compose(salt, length, &mut bytes);
            length += bytes.len() as u64;
            written = file.write_all(&bytes);
            written.is_ok()
        })?;
        written?;
        if reading.records == expected { Ok(()) } else { Err(io::Error::other("it changed while it was read")) }
    })?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caching::Version;

    const SALT: u32 = 0x9f3c_2ab1;

    fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Record<'a> {
        put_with(key, value, b"")
    }

    fn put_with<'a>(key: &'a [u8], value: &'a [u8], extra: &'a [u8]) -> Record<'a> {
        Record::Put { key, value, flags: 7, extra, expiry: None, version: Version(9) }
    }

    /// A segment of three records in a folder of its own, spoilt by `spoil`, which is told where the records begin.
    fn segment(name: &str, spoil: impl FnOnce(&mut Vec<u8>, &[usize])) -> String {
        let folder = std::env::temp_dir().join(format!("spydercache-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let (mut bytes, mut begins) = (Vec::new(), Vec::new());
        for key in [b"a", b"b", b"c"] {
            begins.push(bytes.len());
            put(key, &[b'v'; 100]).compose(SALT, bytes.len() as u64, &mut bytes);
        }
        spoil(&mut bytes, &begins);
        let path = folder.join(format!("journal-{:020}-{SALT:08x}.msgpack", 3));
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn keys(path: &str) -> Vec<u8> {
        let mut keys = Vec::new();
        let reading = read_file(path, &mut |_, record| {
            keys.extend(record.key());
            true
        });
        assert_eq!(reading.unwrap().damages, []);
        keys
    }

    fn remove(path: &str) {
        std::fs::remove_dir_all(Path::new(path).parent().unwrap()).unwrap();
    }

    #[test]
    fn a_record_is_a_line_that_a_person_can_read_and_no_byte_of_it_escapes() {
        let line = as_line("f", 0, &put(b"a \"b\"\n", b"\x1b[2J\xff"));
        assert_eq!(line, "put \"a \\\"b\\\"\\n\" (5 bytes) \"\\x1b[2J\\xff\" flags=7 expires=never version=9\n");
        let line = as_line("f", 0, &put_with(b"k", b"v", b"text/plain\x1b"));
        assert_eq!(line, "put \"k\" (1 bytes) \"v\" flags=7 extra=\"text/plain\\x1b\" expires=never version=9\n");
        assert_eq!(as_line("f", 0, &Record::Delete { key: b"k", version: Version(1) }), "delete \"k\" version=1\n");
        assert_eq!(as_line("f", 0, &Record::Flush { version: Version(1) }), "flush version=1\n");
    }

    #[test]
    fn a_long_value_is_shortened_unless_it_is_asked_for_in_full() {
        let value = [b'x'; 100];
        assert!(as_line("f", 0, &put(b"k", &value)).contains(&format!("(100 bytes) \"{}…\"", "x".repeat(60))));
        assert!(as_whole_line("f", 0, &put(b"k", &value)).contains(&format!("\"{}\"", "x".repeat(100))));
    }

    #[test]
    fn the_json_form_has_the_whole_record() {
        let expiry = Some(Wall(1_700_000_000_123));
        let record = Record::Put { key: b"k", value: b"\xff", flags: 1, extra: b"", expiry, version: Version(u64::MAX) };
        let json = "{\"file\":\"f\",\"offset\":5,\"command\":\"put\",\"key\":\"k\",\"bytes\":1,\"value_hex\":\"ff\",\"flags\":1,\
                    \"expires_ms\":1700000000123,\"version\":\"18446744073709551615\"}\n";
        assert_eq!(as_json("f", 5, &record), json);
        assert!(as_json("f", 5, &put_with(b"k", b"v", b"text")).contains(",\"flags\":7,\"extra\":\"text\",\"expires_ms\":null,"));
        let json = "{\"file\":\"f\",\"offset\":5,\"command\":\"flush\",\"version\":\"2\"}\n";
        assert_eq!(as_json("f", 5, &Record::Flush { version: Version(2) }), json);
    }

    #[test]
    fn dates_are_right_on_the_days_that_calendars_get_wrong() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(date(Wall(ms)), expected);
        }
    }

    #[test]
    fn a_sound_file_is_left_alone() {
        let path = segment("sound", |_, _| {});
        let before = std::fs::read(&path).unwrap();
        assert_eq!(repair(&path), Ok(Repaired { records: 3, dropped: 0 }));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        remove(&path);
    }

    #[test]
    fn a_torn_tail_is_cut_off_and_every_whole_record_stays() {
        let path = segment("torn", |bytes, _| bytes.truncate(bytes.len() - 10));
        let dropped = repair(&path).unwrap().dropped;
        assert!(dropped > 100, "{dropped}");
        assert_eq!(keys(&path), b"ab");
        remove(&path);
    }

    #[test]
    fn damage_in_the_middle_costs_the_record_it_is_in_and_no_other() {
        for (name, at) in [("first", 0), ("second", 1)] {
            let path = segment(name, |bytes, begins| bytes[begins[at] + 60] ^= 1);
            assert_eq!(repair(&path).unwrap().records, 2);
            assert_eq!(keys(&path), if at == 0 { b"bc" } else { b"ac" });
            assert_eq!(repair(&path).unwrap().dropped, 0);
            remove(&path);
        }
        let path = segment("both", |bytes, begins| {
            bytes[begins[0] + 60] ^= 1;
            bytes.extend([0; 40]);
        });
        assert_eq!(repair(&path).unwrap().records, 2);
        assert_eq!(keys(&path), b"bc");
        remove(&path);
    }

    #[test]
    fn a_folder_that_a_node_uses_is_not_touched() {
        let path = segment("used", |bytes, _| bytes.truncate(50));
        let node = Folder::open(Path::new(&path).parent().unwrap()).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(repair(&path).unwrap_err().contains("another node uses this folder"));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        drop(node);
        remove(&path);
    }

    #[test]
    fn a_segment_under_a_wrong_name_is_not_emptied() {
        let path = segment("renamed", |_, _| {});
        let renamed = path.replace("9f3c2ab1", "00000001");
        std::fs::rename(&path, &renamed).unwrap();
        assert!(repair(&renamed).unwrap_err().contains("no record"));
        remove(&renamed);
    }

    #[test]
    fn the_original_s_files_are_read_and_only_their_tail_is_cut() {
        let folder = segment("original", |_, _| {});
        let path = Path::new(&folder).with_file_name("events_journal").to_str().unwrap().to_owned();
        let record = b"\x93\xa3put\xa1k\xa1v";
        std::fs::write(&path, [&record[..], b"\x93\xa6delete\xa1k\xc0", &record[..5]].concat()).unwrap();
        assert_eq!(repair(&path), Ok(Repaired { records: 2, dropped: 5 }));
        assert_eq!(keys(&path), b"kk");
        std::fs::write(&path, [&record[..], b"\x00\x01", &record[..]].concat()).unwrap();
        assert!(repair(&path).unwrap_err().contains("without checksums"));
        remove(&folder);
    }

    #[test]
    fn a_file_that_is_not_there_is_a_failure_and_no_file_is_wrong_usage() {
        assert_eq!(run(&["/nowhere/journal".into()]), FAILED);
        assert_eq!(run(&["--repair".into(), "/nowhere/journal".into()]), FAILED);
        assert_eq!(run(&[]), USAGE);
        assert_eq!(run(&["--repair".into(), "--json".into(), "f".into()]), USAGE);
    }
}
