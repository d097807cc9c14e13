//! The file that holds the views of the pool that a node took part in; the last one counts.
//!
//! ```text
//!  ┌──────────────┬──────────────┬──────┬─────────────┐
//!  │ length (u32) │ crc32 of the │ view │ the next one│ ...
//!  │              │ length, view │      │             │
//!  └──────────────┴──────────────┴──────┴─────────────┘
//! ```
//!
//! A view is appended in one write, which outlives the process, and is on disk when a sync of the file has ended: so a new view holds up
//! nobody for as long as the disk takes, and whoever cannot do with less waits for the sync. What a power cut leaves half written fails its
//! checksum, and the view before it counts.
//!
//! Each process begins with a new file, and so does one whose file has grown too long or could not be synced: after that nobody knows what
//! is on disk. A new file takes the old one's place as a whole. It is synced on the spot, which takes milliseconds: a process begins its own
//! before it serves.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crc32fast::Hasher;

use super::write_whole;

/// The file's name.
const NAME: &str = "views";
/// A file that is longer is begun anew.
const MOST_BYTES: u64 = 1 << 20;

/// The file, as far as this process has written it.
#[derive(Debug)]
pub(super) struct Views {
    path: PathBuf,
    file: Option<File>,
    /// What is written well. An append that fails half way is overwritten by the next.
    length: u64,
    is_unsynced: bool,
}

impl Views {
    /// The file in a folder, which need not be there.
    pub(super) fn new(folder: &Path) -> Views {
        Views { path: folder.join(NAME), file: None, length: 0, is_unsynced: false }
    }

    /// The last view in the file, which is on disk when this returns: what a former life has written may be in the page cache only. None if
    /// there is none that can be read.
    pub(super) fn last(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = File::open(&self.path).ok()?;
        file.sync_data().and_then(|()| file.read_to_end(&mut bytes)).ok()?;
        let (mut rest, mut last) = (&bytes[..], None);
        while let Some((view, behind)) = split_first(rest) {
            (last, rest) = (Some(view.to_vec()), behind);
        }
        last
    }

    /// Begins this process's file, with the last view of the former ones.
    pub(super) fn begin(&mut self, last: Option<&[u8]>) -> io::Result<()> {
        self.begin_with(&last.map(record_of).unwrap_or_default())
    }

    fn begin_with(&mut self, record: &[u8]) -> io::Result<()> {
        self.file = None;
        self.file = Some(write_whole(&self.path, record)?);
        (self.is_unsynced, self.length) = (false, record.len() as u64);
        Ok(())
    }

    /// Appends a view. The end of the process does not undo it when this returns; a power cut may, until it is synced.
    pub(super) fn append(&mut self, view: &[u8]) -> io::Result<()> {
        let record = record_of(view);
        match &self.file {
            Some(file) if self.length < MOST_BYTES => {
                file.write_all_at(&record, self.length)?;
                self.is_unsynced = true;
                self.length += record.len() as u64;
            }
            _ => self.begin_with(&record)?,
        }
        Ok(())
    }

    /// Is what was appended still to be handed out?
    pub(super) fn is_unsynced(&self) -> bool {
        self.is_unsynced
    }

    /// A handle of the file, if what was appended is still to be synced; handed out once.
    pub(super) fn syncable(&mut self) -> io::Result<Option<File>> {
        let file = self.file.as_ref().filter(|_| self.is_unsynced).map(File::try_clone).transpose()?;
        self.is_unsynced = false;
        Ok(file)
    }

    /// A sync has failed: the next view begins a new file.
    pub(super) fn on_sync_failed(&mut self) {
        self.file = None;
    }
}

fn record_of(view: &[u8]) -> Vec<u8> {
    let length = (view.len() as u32).to_be_bytes();
    [&length[..], &checksum(length, view).to_be_bytes(), view].concat()
}

/// The first view of these bytes and what is behind it, if it is whole.
fn split_first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let (view, behind) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    (checksum(*length, view) == u32::from_be_bytes(*sum)).then_some((view, behind))
}

fn checksum(length: [u8; 4], view: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&length);
    hasher.update(view);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::TempPath;
    use super::*;

    /// What stands before a view.
    const HEAD_BYTES: usize = 8;

    fn folder() -> TempPath {
        let path = TempPath::new();
        fs::create_dir_all(path.path()).unwrap();
        path
    }

    #[test]
    fn the_last_view_counts_in_this_life_and_the_next() {
        let path = folder();
        for life in 0..3 {
            let mut views = Views::new(path.path());
            for view in 0..5 {
                let view = format!("view {view} of life {life}").into_bytes();
                views.append(&view).unwrap();
                assert_eq!(Views::new(path.path()).last(), Some(view));
            }
        }
    }

    #[test]
    fn a_life_begins_with_the_last_view_of_the_former_one_and_its_own_are_synced_beside_the_requests() {
        let path = folder();
        let mut views = Views::new(path.path());
        views.begin(None).unwrap();
        assert_eq!(views.last(), None);
        views.append(b"of the former life").unwrap();
        let mut views = Views::new(path.path());
        let last = views.last();
        views.begin(last.as_deref()).unwrap();
        assert_eq!(Views::new(path.path()).last().unwrap(), b"of the former life");
        views.append(b"of this one").unwrap();
        assert!(views.syncable().unwrap().is_some(), "it is not synced on the spot");
        assert_eq!(Views::new(path.path()).last().unwrap(), b"of this one");
    }

    #[test]
    fn a_view_that_is_half_written_does_not_count_and_the_one_before_does() {
        let path = folder();
        let mut views = Views::new(path.path());
        views.append(b"the first").unwrap();
        views.append(b"the second").unwrap();
        let whole = fs::read(path.path().join(NAME)).unwrap();
        let second = whole.len() - HEAD_BYTES - b"the second".len();
        for cut in second..whole.len() {
            fs::write(path.path().join(NAME), &whole[..cut]).unwrap();
            assert_eq!(views.last().unwrap(), b"the first", "cut at {cut}");
            let zeros = [&whole[..cut], &vec![0; whole.len() - cut]].concat();
            fs::write(path.path().join(NAME), zeros).unwrap();
            assert_eq!(views.last().unwrap(), b"the first", "zeros from {cut}");
        }
    }

    #[test]
    fn an_append_that_has_failed_half_way_is_overwritten_by_the_next() {
        let path = folder();
        let mut views = Views::new(path.path());
        views.append(b"the first").unwrap();
        let half = record_of(b"the second, of which only a part was written");
        views.file.as_ref().unwrap().write_all_at(&half[..30], views.length).unwrap();
        views.append(b"the third").unwrap();
        assert_eq!(Views::new(path.path()).last().unwrap(), b"the third");
    }

    #[test]
    fn what_is_to_be_synced_is_handed_out_once() {
        let path = folder();
        let mut views = Views::new(path.path());
        views.append(b"a new file is synced at once").unwrap();
        assert!(views.syncable().unwrap().is_none());
        views.append(b"not synced").unwrap();
        assert!(views.syncable().unwrap().is_some());
        assert!(views.syncable().unwrap().is_none());
        views.on_sync_failed();
        views.append(b"a new file is synced at once").unwrap();
        assert!(views.syncable().unwrap().is_none());
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let path = folder();
        let mut views = Views::new(path.path());
        let view = vec![7; MOST_BYTES as usize / 3];
        for _ in 0..10 {
            views.append(&view).unwrap();
            assert!(fs::metadata(path.path().join(NAME)).unwrap().len() <= MOST_BYTES + record_of(&view).len() as u64);
        }
        assert_eq!(views.last(), Some(view));
    }
}
