//! The only user of `std::fs`: a node's folder, and the helper thread that syncs.
//!
//! A folder belongs to one node: a lock file sees to that for as long as the process lives, however it ends. It holds the segments of the
//! journal, the number of the node's present life, the [`views`] of the pool that it took part in, and nothing else that is looked
//! at.
//!
//! Writes go to the page cache and return at once, unless the disk is in trouble. A sync may take milliseconds, and seconds on a bad day;
//! so it is done by the [`Syncer`], one thread that owns nothing: it gets duplicates of file handles and a number, and reports the number
//! back. What depends on a sync is decided by whoever asked for it.
//!
//! Creating a segment syncs the folder, or a power cut might take the whole file along. Removing does not: a segment that comes back
//! after a power cut is outdated and harmless, as long as the file system keeps the order of removals, as journaling ones do.

mod views;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use self::views::Views;
use crate::caching::journal::{SegmentName, SegmentStore};
use crate::caching::record::Format;

/// The file whose lock says that the folder is taken.
const LOCK: &str = "lock";
/// The file that says which life of the node this is.
const INCARNATION: &str = "incarnation";
/// Left segments that may wait for their sync; past it, the oldest is synced on the spot. Without syncs it bounds the open files.
const MAX_UNSYNCED: usize = 8;

/// A node's folder, taken.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Holds the lock until it is dropped, or the process ends.
    _lock: File,
    /// The segment appended to.
    current: Option<File>,
    /// Something was appended to it since it was last handed out to be synced.
    current_unsynced: bool,
    /// Segments left before they were handed out to be synced.
    left_unsynced: Vec<File>,
    /// The segment read last.
    reading: Option<(SegmentName, File)>,
    views: Views,
}

impl Folder {
    /// Takes the folder, which is created if need be. The error says which folder it is, and why not.
    pub fn open(path: &Path) -> io::Result<Folder> {
        fs::create_dir_all(path).map_err(|error| about(path, "cannot be created", error))?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(path.join(LOCK));
        let lock = lock.map_err(|error| about(path, "cannot be written to", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::new(io::ErrorKind::ResourceBusy, in_use(path))),
            Err(TryLockError::Error(error)) => return Err(about(path, "cannot be locked", error)),
        }
        let (path, views) = (path.to_owned(), Views::new(path));
        Ok(Folder { path, _lock: lock, current: None, current_unsynced: false, left_unsynced: Vec::new(), reading: None, views })
    }

    /// The segments in the folder with their lengths, oldest first.
    pub fn segments(&self) -> io::Result<Vec<(SegmentName, u64)>> {
        let mut segments = Vec::new();
        for file in fs::read_dir(&self.path).map_err(|error| about(&self.path, "cannot be listed", error))? {
            let file = file?;
            if let Some(name) = file.file_name().to_str().and_then(SegmentName::parse) {
                segments.push((name, file.metadata()?.len()));
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    /// The life of the node that was written last; `None` before the first.
    pub fn read_incarnation(&self) -> io::Result<Option<u64>> {
        let path = self.path.join(INCARNATION);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(about(&path, "cannot be read", error)),
        };
        match text.trim().parse() {
            Ok(incarnation) => Ok(Some(incarnation)),
            Err(error) => Err(about(&path, "holds no number", io::Error::new(io::ErrorKind::InvalidData, error))),
        }
    }

    /// Writes down which life of the node this is. When this returns, a power cut does not undo it; at no moment is there half a number.
    pub fn write_incarnation(&self, incarnation: u64) -> io::Result<()> {
        write_whole(&self.path.join(INCARNATION), format!("{incarnation}\n").as_bytes()).map(drop)
    }

    /// The view that was kept last; none if there is none that can be read.
    pub fn read_view(&self) -> Option<Vec<u8>> {
        self.views.last()
    }

    /// Begins the file of this process's views with the one that was kept last, so that none of them has to wait for the disk.
    pub fn begin_views(&mut self, kept: Option<&[u8]>) -> io::Result<()> {
        self.views.begin(kept).map_err(|error| about(&self.path, "no view can be written", error))
    }

    /// Keeps a view in place of the one before: for whoever is asked after the end of this process, and once it is synced for whoever is
    /// asked after a power cut.
    pub fn write_view(&mut self, view: &[u8]) -> io::Result<()> {
        self.views.append(view).map_err(|error| about(&self.path, "no view can be written", error))
    }

    /// A handle of the file with the views, if the last one is still to be synced; handed out once.
    pub fn syncable_view(&mut self) -> io::Result<Option<File>> {
        self.views.syncable()
    }

    /// Is the last view still to be handed out to be synced?
    #[must_use]
    pub fn has_unsynced_view(&self) -> bool {
        self.views.is_unsynced()
    }

    /// A sync has failed: nobody knows what is on disk of the views, and the next one begins a new file.
    pub fn on_view_sync_failed(&mut self) {
        self.views.on_sync_failed();
    }

    /// Handles of every segment appended to since this was last asked: what a sync has to cover. Usually one.
    pub fn syncable(&mut self) -> io::Result<Vec<File>> {
        let current = match &self.current {
            Some(file) if self.current_unsynced => Some(file.try_clone()?),
            Some(_) | None => None,
        };
        self.current_unsynced = false;
        let mut files = std::mem::take(&mut self.left_unsynced);
        files.extend(current);
        Ok(files)
    }

    /// Syncs all segments. What a former life has written may be in the page cache only: once it was read back and shown, it must not go
    /// with the power.
    pub fn sync_segments(&self) -> io::Result<()> {
        self.segments()?.into_iter().try_for_each(|(name, _)| File::open(self.path_of(name))?.sync_data())
    }

    fn path_of(&self, name: SegmentName) -> PathBuf {
        self.path.join(name.file_name())
    }

    fn leave_current(&mut self) -> io::Result<()> {
        if let Some(file) = self.current.take()
            && self.current_unsynced
        {
            self.left_unsynced.push(file);
        }
        self.current_unsynced = false;
        if self.left_unsynced.len() > MAX_UNSYNCED {
            self.left_unsynced.remove(0).sync_data()?;
        }
        Ok(())
    }
}

impl SegmentStore for Folder {
    fn create(&mut self, name: SegmentName) -> io::Result<()> {
        self.leave_current()?;
        let path = self.path_of(name);
        let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        if let Err(error) = sync_names(&self.path) {
            let _ = fs::remove_file(&path); // a file that may not be there tomorrow is better not there today
            return Err(error);
        }
        self.current = Some(file);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.current.as_mut().ok_or(io::ErrorKind::NotFound)?;
        self.current_unsynced = true;
        let written = file.write_all(bytes);
        if written.is_err() {
            self.current = None; // not to be synced either: nobody relies on it any more
            self.current_unsynced = false;
        }
        written
    }

    fn read(&mut self, name: SegmentName, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let file = match self.reading.take() {
            Some((open, file)) if open == name => file,
            _ => File::open(self.path_of(name))?,
        };
        let (_, file) = self.reading.insert((name, file));
        read_at(file, offset, into)
    }

    fn truncate(&mut self, name: SegmentName, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path_of(name))?;
        file.set_len(length)?;
        file.sync_data()
    }

    fn remove(&mut self, name: SegmentName) -> io::Result<()> {
        self.reading.take_if(|(open, _)| *open == name); // or the space is not given back
        fs::remove_file(self.path_of(name))
    }
}

/// Any journal file, to be read only: one of our segments, or the original's.
#[derive(Debug)]
pub struct JournalFile {
    file: File,
    length: u64,
    format: Format,
}

impl JournalFile {
    /// Opens it. Its name says its format: what is not named like a segment is the original's.
    pub fn open(path: &Path) -> io::Result<JournalFile> {
        let file = File::open(path).map_err(|error| about(path, "cannot be read", error))?;
        let length = file.metadata()?.len();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(SegmentName::parse);
        let format = name.map_or(Format::Original, |name| Format::Segment { salt: name.salt });
        Ok(JournalFile { file, length, format })
    }

    /// Its length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// What kind of records it holds.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Reads up to the length of `into` from `offset`, fewer only at the end.
    pub fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        read_at(&mut self.file, offset, into)
    }
}

/// How a sync ended.
#[derive(Debug)]
pub struct SyncReport {
    /// The number it was asked with.
    pub ticket: u64,
    /// Whether everything is on disk.
    pub result: io::Result<()>,
}

/// The helper thread that syncs. Dropping it waits for what it was asked to do.
#[derive(Debug)]
pub struct Syncer {
    /// Taken only when dropped.
    requests: Option<Sender<(Vec<File>, u64)>>,
    reports: Receiver<SyncReport>,
    thread: Option<JoinHandle<()>>,
    in_flight: usize,
}

impl Syncer {
    /// Starts the thread. It calls `wake` after each report, to be picked up with [`report`](Syncer::report).
    pub fn start(wake: Box<dyn Fn() + Send>) -> io::Result<Syncer> {
        let (requests, inbox) = channel::<(Vec<File>, u64)>();
        let (outbox, reports) = channel();
        let thread = thread::Builder::new().name("sync".into()).spawn(move || {
            for (files, ticket) in inbox {
                let result = files.iter().try_for_each(File::sync_data);
                if outbox.send(SyncReport { ticket, result }).is_err() {
                    return; // nobody is left to hear it
                }
                wake();
            }
        })?;
        Ok(Syncer { requests: Some(requests), reports, thread: Some(thread), in_flight: 0 })
    }

    /// Asks for these files to be synced. Requests are carried out, and reported, in their order.
    pub fn request(&mut self, files: Vec<File>, ticket: u64) {
        let requests = self.requests.as_ref().expect("taken only when dropped");
        requests.send((files, ticket)).expect("the thread ends only after this end of the channel is gone");
        self.in_flight += 1;
    }

    /// The next report, if there is one.
    pub fn report(&mut self) -> Option<SyncReport> {
        let report = self.reports.try_recv().ok()?;
        self.in_flight -= 1;
        Some(report)
    }

    /// Requests not reported yet. Whoever asks only while it is 0 has a queue that does not grow, however slow the disk.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.requests = None; // ends the thread's loop
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it has nothing to say but what it has reported
        }
    }
}

fn read_at(file: &mut File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    file.seek(SeekFrom::Start(offset))?;
    let mut got = 0;
    while got < into.len() {
        match file.read(&mut into[got..]) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// Replaces a small file, and returns the new one: at no moment is there half of it.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let unfinished = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        sync_names(path.parent().unwrap_or(path))?;
        Ok(file)
    };
    write().map_err(|error| about(path, "cannot be written", error))
}

/// Makes the names in a folder survive a power cut.
fn sync_names(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn about(path: &Path, what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {what}: {error}", path.display()))
}

fn in_use(path: &Path) -> String {
    format!("{}: another node uses this folder; give each node its own ([journal] dir)", path.display())
}

/// A file's text.
pub fn read_text(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

/// A file to append to, created if need be.
pub fn append_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Cuts a file down to `length` bytes, on disk when this returns.
pub fn truncate_file(path: &Path, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

/// Replaces a file by what `write` writes: the old one stays until the new one is whole and on disk.
pub fn replace_file(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let new = path.with_extension("new");
    let written = File::create(&new).and_then(|mut file| write(&mut file).and_then(|()| file.sync_all()));
    if let Err(error) = written.and_then(|()| fs::rename(&new, path)) {
        // What is left of the attempt is of no use; the old file is whole.
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// What the process takes of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes it occupies.
    pub resident_bytes: u64,
    /// CPU time in its own code, in microseconds.
    pub user_us: u64,
    /// CPU time in the kernel for it, in microseconds.
    pub system_us: u64,
}

/// What the process takes of the machine, as Linux tells in `/proc`; zeros elsewhere. See proc_pid_stat(5).
#[must_use]
pub fn process_usage() -> Usage {
    const PAGE_BYTES: u64 = 4_096;
    const US_A_TICK: u64 = 10_000;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses and may hold blanks; the fields counted here follow it.
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |number: usize| behind_name.split_ascii_whitespace().nth(number - 3).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    Usage { resident_bytes: field(24) * PAGE_BYTES, user_us: field(14) * US_A_TICK, system_us: field(15) * US_A_TICK }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::caching::Version;
    use crate::caching::journal::Journal;
    use crate::caching::record::Record;
    use crate::caching::replay::{FileReplay, Replay, Step};
    use crate::prng::Prng;
    use crate::time::Mono;

    /// A path that no other test has, removed with all that is in it.
    pub(super) struct TempPath(PathBuf);

    impl TempPath {
        pub(super) fn new() -> TempPath {
            static COUNTER: AtomicU64 = AtomicU64::new(0);
            let name = format!("spydercache-disk-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
            TempPath(std::env::temp_dir().join(name))
        }

        pub(super) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for TempPath {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const NAME: SegmentName = SegmentName { number: 1, salt: 7 };

    #[test]
    fn a_folder_is_created_and_belongs_to_one_node() {
        let path = TempPath::new();
        let below = path.0.join("data/1");
        let folder = Folder::open(&below).unwrap();
        let error = Folder::open(&below).unwrap_err().to_string();
        assert!(error.contains("another node uses this folder") && error.contains("data/1"), "{error}");
        drop(folder);
        Folder::open(&below).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_says_which_and_why() {
        let path = TempPath::new();
        fs::write(&path.0, "a file").unwrap();
        let error = Folder::open(&path.0.join("data")).unwrap_err().to_string();
        assert!(error.contains(path.0.to_str().unwrap()) && error.contains("cannot be created"), "{error}");
        fs::remove_file(&path.0).unwrap();
    }

    #[test]
    fn the_incarnation_is_read_back_and_a_broken_one_is_an_error() {
        let path = TempPath::new();
        let folder = Folder::open(&path.0).unwrap();
        assert_eq!(folder.read_incarnation().unwrap(), None);
        for incarnation in [1, u64::MAX] {
            folder.write_incarnation(incarnation).unwrap();
            assert_eq!(folder.read_incarnation().unwrap(), Some(incarnation));
        }
        fs::write(path.0.join(INCARNATION), "").unwrap();
        assert_eq!(folder.read_incarnation().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn segments_are_created_appended_read_cut_and_removed() {
        let path = TempPath::new();
        let mut folder = Folder::open(&path.0).unwrap();
        fs::write(path.0.join("events_journal"), "a stranger").unwrap();
        assert!(folder.append(b"nowhere").is_err());
        folder.create(NAME).unwrap();
        assert_eq!(folder.create(NAME).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(folder.append(b"the one before is left, and this one was not created").is_err());
        let second = SegmentName { number: 2, ..NAME };
        folder.create(second).unwrap();
        folder.append(b"hello ").unwrap();
        folder.append(b"world").unwrap();
        assert_eq!(folder.segments().unwrap(), [(NAME, 0), (second, 11)]);
        let mut into = [0; 8];
        assert_eq!(folder.read(second, 6, &mut into).unwrap(), 5);
        assert_eq!(&into[..5], b"world");
        assert_eq!(folder.read(second, 100, &mut into).unwrap(), 0);
        folder.truncate(second, 5).unwrap();
        folder.remove(NAME).unwrap();
        assert_eq!(folder.segments().unwrap(), [(second, 5)]);
        assert_eq!(folder.read(NAME, 0, &mut into).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_a_sync_has_to_cover_is_handed_out_once_and_left_segments_are_not_forgotten() {
        let path = TempPath::new();
        let mut folder = Folder::open(&path.0).unwrap();
        assert_eq!(folder.syncable().unwrap().len(), 0);
        for number in 1..=3 {
            folder.create(SegmentName { number, ..NAME }).unwrap();
            folder.append(b"x").unwrap();
        }
        assert_eq!(folder.syncable().unwrap().len(), 3);
        assert_eq!(folder.syncable().unwrap().len(), 0);
        folder.append(b"x").unwrap();
        assert_eq!(folder.syncable().unwrap().len(), 1);
        for number in 4..=30 {
            folder.create(SegmentName { number, ..NAME }).unwrap();
            folder.append(b"x").unwrap();
        }
        assert_eq!(folder.syncable().unwrap().len(), MAX_UNSYNCED + 1, "without syncs the open files are bounded");
    }

    #[test]
    fn the_helper_reports_each_request_in_order_and_wakes() {
        let path = TempPath::new();
        let mut folder = Folder::open(&path.0).unwrap();
        folder.create(NAME).unwrap();
        let (woken, wakes) = mpsc::channel();
        let mut syncer = Syncer::start(Box::new(move || woken.send(()).unwrap())).unwrap();
        for ticket in 1..=3 {
            folder.append(b"x").unwrap();
            syncer.request(folder.syncable().unwrap(), ticket);
        }
        assert_eq!(syncer.in_flight(), 3);
        for ticket in 1..=3 {
            wakes.recv().unwrap();
            let report = syncer.report().unwrap();
            assert_eq!((report.ticket, report.result.is_ok()), (ticket, true));
        }
        assert_eq!(syncer.in_flight(), 0);
        assert!(syncer.report().is_none());
    }

    #[test]
    fn a_journal_goes_to_disk_and_comes_back() {
        let path = TempPath::new();
        let mut folder = Folder::open(&path.0).unwrap();
        let mut journal = Journal::new(1000, folder.segments().unwrap(), Prng::new(1));
        for n in 0..100u64 {
            journal.append(&Record::Put {
                key: &n.to_be_bytes(),
                value: &[1; 50],
                flags: 0,
                extra: b"",
                expiry: None,
                version: Version(n),
            });
            assert!(journal.flush(&mut folder, Mono(n)).failed.is_none());
        }
        let segments = folder.segments().unwrap();
        assert_eq!(segments, journal.segments());
        assert!(segments.len() >= 5);
        drop(folder);

        let mut folder = Folder::open(&path.0).unwrap();
        let mut replay = Replay::new(folder.segments().unwrap());
        let mut keys = Vec::new();
        while replay.step(&mut folder, 300, &mut |record| keys.push(record.key().to_vec())) == Step::More {}
        assert!(keys.iter().eq((0..100u64).map(|n| n.to_be_bytes().to_vec()).collect::<Vec<_>>().iter()));
        assert_eq!(replay.damages(), []);

        let mut file = JournalFile::open(&path.0.join(segments[0].0.file_name())).unwrap();
        assert_eq!((file.length(), file.format()), (segments[0].1, Format::Segment { salt: segments[0].0.salt }));
        let (mut replay, mut found) = (FileReplay::new(file.format(), file.length()), 0);
        while replay.step(&mut |offset, into| file.read(offset, into), 300, &mut |_, _| found += 1) == Step::More {}
        assert!(found > 5 && replay.damages().is_empty());
    }

    #[test]
    fn a_file_of_another_name_is_the_originals() {
        let path = TempPath::new();
        let _folder = Folder::open(&path.0).unwrap();
        let journal = path.0.join("events_journal");
        fs::write(&journal, b"\x93\xa3put\xa1a\xa11").unwrap();
        let mut file = JournalFile::open(&journal).unwrap();
        let mut replay = FileReplay::new(file.format(), file.length());
        let mut keys = Vec::new();
        replay.step(&mut |offset, into| file.read(offset, into), 300, &mut |_, record| keys.push(record.key().to_vec()));
        assert_eq!(keys, [b"a"]);
    }
}
