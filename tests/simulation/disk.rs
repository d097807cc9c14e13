//! A machine's disk: the page cache, what is beneath it, and all that can happen between the two.
//!
//! What a process writes is in the page cache at once: it survives the process. It survives the machine only when a sync that was *begun*
//! after it was written has ended. A file's creation is on disk when it returns, as `disk.rs` syncs the folder; a removal is on disk with
//! the next creation, and until then the last removed files may come back.

use std::collections::BTreeMap;
use std::io;

use spydercache::caching::journal::{SegmentName, SegmentStore};
use spydercache::prng::Prng;

use crate::options::pick;

/// The files of a node's folder.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<SegmentName, File>,
    current: Option<SegmentName>,
    /// Removed, and not yet for good; in the order of removal.
    removed: Vec<(SegmentName, File)>,
    /// Every creation and append fails.
    pub full: bool,
    /// The process ends in the middle of its next commit: so many bytes in a thousand of its next append are written, and if it is by far more
    /// than all, the view behind it as well.
    pub torn_per_mille: Option<u64>,
    /// The number of the node's last life, if it ever wrote one.
    pub incarnation: Option<u64>,
    /// The view that the node keeps. It is replaced as a whole, and a full disk does not harm it.
    pub kept: Option<Vec<u8>>,
    /// The last one that a power cut does not undo.
    kept_synced: Option<Vec<u8>>,
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    synced: usize,
}

/// What the bytes that were not synced become when the power goes.
#[derive(Clone, Copy, Debug)]
enum Leftover {
    All,
    Nothing,
    Torn,
    Zeros,
    Garbage,
}

/// A sync under way: the length that each file had when it began.
#[derive(Clone, Debug)]
pub struct Syncing(Vec<(SegmentName, usize)>);

impl Disk {
    /// An empty one, on which at most the number of the last life is remembered.
    pub fn new(incarnation: Option<u64>) -> Disk {
        Disk { incarnation, ..Disk::default() }
    }

    /// The segments and their lengths, oldest first.
    pub fn segments(&self) -> Vec<(SegmentName, u64)> {
        self.files.iter().map(|(name, file)| (*name, file.bytes.len() as u64)).collect()
    }

    /// Bytes in all segments.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes.len() as u64).sum()
    }

    /// Syncs everything: at a start, since what was read from the page cache will be shown, and must not go with the power afterwards; and at an
    /// end in order.
    pub fn sync_all(&mut self) {
        self.files.values_mut().for_each(|file| file.synced = file.bytes.len());
    }

    /// The view that is not synced yet.
    pub fn unsynced_view(&self) -> Option<Vec<u8>> {
        self.kept.clone().filter(|_| self.kept != self.kept_synced)
    }

    /// The view is written, unless the process ends before.
    pub fn keep(&mut self, view: Vec<u8>) {
        if self.torn_per_mille.is_none_or(|per_mille| per_mille > 1_500) {
            self.kept = Some(view);
        }
    }

    /// A sync of this view has ended well.
    pub fn on_view_synced(&mut self, view: Option<Vec<u8>>) {
        self.kept_synced = view;
    }

    /// Begins to sync everything that `since` and the like of it left unsynced.
    pub fn begin_sync(&self, since: u64) -> Syncing {
        let ours = self.files.iter().filter(|(name, file)| name.number >= since && file.synced < file.bytes.len());
        Syncing(ours.map(|(name, file)| (*name, file.bytes.len())).collect())
    }

    /// The sync has ended well.
    pub fn end_sync(&mut self, syncing: Syncing) {
        for (name, length) in syncing.0 {
            if let Some(file) = self.files.get_mut(&name) {
                file.synced = file.synced.max(length.min(file.bytes.len()));
            }
        }
    }

    /// The process is gone; the machine is not.
    pub fn lose_process(&mut self) {
        self.current = None;
        self.torn_per_mille = None;
    }

    /// The machine goes out and comes back.
    pub fn lose_power(&mut self, prng: &mut Prng) {
        self.lose_process();
        if self.unsynced_view().is_some() && prng.below(2) == 0 {
            self.kept = self.kept_synced.take();
        }
        self.kept_synced = self.kept.clone();
        let back = prng.below(self.removed.len() as u64 + 1) as usize;
        let kept = self.removed.len() - back;
        self.files.extend(self.removed.split_off(kept));
        self.removed.clear();
        let leftover = pick(prng, &[Leftover::All, Leftover::Nothing, Leftover::Torn, Leftover::Zeros, Leftover::Garbage]);
        self.files.values_mut().for_each(|file| file.lose_unsynced(leftover, prng));
    }

    /// May removed segments come back with the power?
    pub fn may_bring_back(&self) -> bool {
        !self.removed.is_empty()
    }

    /// Changes one byte of what is there. False if nothing is.
    pub fn rot(&mut self, prng: &mut Prng) -> bool {
        let mut at = prng.below(self.bytes()) as usize;
        for file in self.files.values_mut() {
            if let Some(byte) = file.bytes.get_mut(at) {
                *byte ^= 1 << prng.below(8);
                return true;
            }
            at -= file.bytes.len();
        }
        false
    }

    fn file(&mut self, name: SegmentName) -> io::Result<&mut File> {
        self.files.get_mut(&name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl File {
    fn lose_unsynced(&mut self, leftover: Leftover, prng: &mut Prng) {
        let lost = self.bytes.split_off(self.synced);
        match leftover {
            Leftover::All => self.bytes.extend(lost),
            Leftover::Nothing => {}
            Leftover::Torn => self.bytes.extend(&lost[..prng.below(lost.len() as u64) as usize]),
            Leftover::Zeros => self.bytes.extend(lost.iter().map(|_| 0)),
            Leftover::Garbage => self.bytes.extend(lost.iter().map(|_| prng.next_u64() as u8)),
        }
        self.synced = self.bytes.len();
    }
}

impl SegmentStore for Disk {
    fn create(&mut self, name: SegmentName) -> io::Result<()> {
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.files.insert(name, File::default()).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.removed.clear();
        self.current = Some(name);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (full, torn) = (self.full, self.torn_per_mille);
        let current = self.current.ok_or(io::ErrorKind::NotFound)?;
        let file = self.file(current)?;
        let written = match torn {
            Some(per_mille) => bytes.len() * per_mille.min(1_000) as usize / 1_000,
            None if full => bytes.len() / 2,
            None => bytes.len(),
        };
        file.bytes.extend(&bytes[..written]);
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read(&mut self, name: SegmentName, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let rest = self.file(name)?.bytes.get(offset as usize..).unwrap_or_default();
        let got = rest.len().min(into.len());
        into[..got].copy_from_slice(&rest[..got]);
        Ok(got)
    }

    fn truncate(&mut self, name: SegmentName, length: u64) -> io::Result<()> {
        let file = self.file(name)?;
        file.bytes.truncate(length as usize);
        file.synced = file.synced.min(file.bytes.len());
        Ok(())
    }

    fn remove(&mut self, name: SegmentName) -> io::Result<()> {
        let file = self.files.remove(&name).ok_or(io::ErrorKind::NotFound)?;
        self.removed.push((name, file));
        Ok(())
    }
}
