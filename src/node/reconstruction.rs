//! Taking in what the journal says: at the start, and when an operator says `reconstruct`.
//!
//! At the start nobody is served yet, so each record is applied to the cache as it is read: the last one for a key wins.
//!
//! A node that serves must not show half a story: an old record of a key that a later record removes. So the records are gathered in
//! a cache of their own and merged when the journal has been read to its end, a few partitions a tick. What happened meanwhile is
//! newer than anything in the journal's past: a key that is present is left alone, and a key that was removed while the reading went on
//! stays removed.

use std::collections::HashSet;

use super::reply::{Failure, Reply};
use super::requests::{Parked, Waiting};
use super::{Node, Origin, Outputs, answer};
use crate::caching::cache::{Bounds, Cache, PARTITIONS};
use crate::caching::entry::{Entry, Parts};
use crate::caching::journal::Journal;
use crate::caching::record::Record;
use crate::hash::Hasher;
use crate::time::{Mono, Now};

/// Partitions merged in one tick.
const MERGE_A_TICK: usize = 32;

/// A reading of the journal while the node serves.
pub struct Reconstruction {
    gathered: Cache,
    /// Keys that were removed since the reading began. Only looked up, never iterated.
    removed: HashSet<Box<[u8]>>,
    /// The next partition to merge, once everything is read.
    merging: Option<usize>,
    /// Everything was forgotten since the reading began: nothing that is read counts.
    void: bool,
}

impl Reconstruction {
    fn new(hasher: Hasher) -> Reconstruction {
        Reconstruction { gathered: Cache::new(Bounds::default(), hasher), removed: HashSet::new(), merging: None, void: false }
    }

    /// Has everything been read?
    #[must_use]
    pub fn is_merging(&self) -> bool {
        self.merging.is_some()
    }
}

impl Node {
    /// Somebody says `reconstruct`.
    pub(super) fn on_reconstruct(&mut self, origin: Origin, out: &mut dyn Outputs) {
        let Some(journal) = &self.journal else {
            return self.fail(origin, b"", &Failure::Refused("this node keeps no journal".into()), out);
        };
        if self.pact.is_some() {
            // Whatever the journal knows this node has, or others have it newer: keys are kept equal between nodes, not by journals.
            return answer(out, origin, b"", &Reply::Done);
        }
        if journal.needs_restating() {
            // A delete that the disk did not take is not in it: what was deleted would come back.
            return self.fail(origin, b"", &Failure::Refused("the journal has missed something and is being written anew".into()), out);
        }
        self.requests.park(Parked { origin, deadline: Mono::NEVER, waiting: Waiting::Reconstruct });
        if self.reconstruction.is_none() {
            self.reconstruction = Some(Reconstruction::new(self.hasher.clone()));
            out.replay();
        }
    }

    /// A record was read.
    pub fn on_record(&mut self, now: Now, record: &Record<'_>) {
        match &mut self.reconstruction {
            Some(reconstruction) if reconstruction.void => {}
            Some(reconstruction) => apply(&mut reconstruction.gathered, &self.hasher, record, now, false),
            None => {
                apply(&mut self.cache, &self.hasher, record, now, self.pact.is_some());
                while self.cache.evict().is_some() {
                    self.stats.evictions += 1;
                    // Which of them a later record brings back is not known yet: so no deletes, the journal is written anew.
                    self.journal.iter_mut().for_each(Journal::on_outgrown);
                }
            }
        }
        self.version = self.version.max(record.version());
    }

    /// The journal has been read to its end.
    pub fn on_replayed(&mut self) {
        if let Some(reconstruction) = &mut self.reconstruction {
            reconstruction.merging = Some(0);
        }
    }

    /// The journal cannot be read: whoever asked for it is told so.
    pub fn on_replay_failed(&mut self, out: &mut dyn Outputs) {
        self.reconstruction = None;
        for id in self.requests.select(|parked| matches!(parked.waiting, Waiting::Reconstruct)) {
            if let Some(parked) = self.requests.take(id) {
                self.give_up(parked, out);
            }
        }
    }

    /// Merges a few partitions, if everything is read; answers who asked when all are merged.
    pub(super) fn step_reconstruction(&mut self, now: Now, out: &mut dyn Outputs) {
        let Some(Reconstruction { merging: Some(first), .. }) = self.reconstruction else { return };
        let Some(mut reconstruction) = self.reconstruction.take() else { return };
        let end = (first + MERGE_A_TICK).min(PARTITIONS);
        for partition in first..end {
            self.merge(&reconstruction, partition, now, out);
        }
        if end < PARTITIONS {
            reconstruction.merging = Some(end);
            self.reconstruction = Some(reconstruction);
            return;
        }
        for id in self.requests.select(|parked| matches!(parked.waiting, Waiting::Reconstruct)) {
            if let Some(parked) = self.requests.take(id) {
                answer(out, parked.origin, b"", &Reply::Done);
            }
        }
    }

    fn merge(&mut self, reconstruction: &Reconstruction, partition: usize, now: Now, out: &mut dyn Outputs) {
        for entry in reconstruction.gathered.walk(partition, 0, 1) {
            let hash = self.hasher.hash(entry.key());
            let is_news = self.cache.peek(entry.key(), hash, now.mono).is_none() && !reconstruction.removed.contains(entry.key());
            if is_news && entry.expires() > now.mono {
                self.cache.put(hash, Entry::joined(entry.parts()), now.mono);
                self.make_room(out);
            }
        }
    }

    /// A key was removed: whatever the journal's past says of it no longer counts.
    pub(super) fn note_removed(&mut self, key: &[u8]) {
        if let Some(reconstruction) = &mut self.reconstruction {
            reconstruction.removed.insert(key.into());
        }
    }

    /// Everything was forgotten, the journal's past with it.
    pub(super) fn reconstruction_is_void(&mut self) {
        if let Some(reconstruction) = &mut self.reconstruction {
            let merging = reconstruction.merging;
            *reconstruction = Reconstruction { merging, void: true, ..Reconstruction::new(self.hasher.clone()) };
        }
    }
}

/// Applies a record to a cache.
fn apply(cache: &mut Cache, hasher: &Hasher, record: &Record<'_>, now: Now, is_copy: bool) {
    match record {
        Record::Put { key, value, flags, extra, expiry, version } => {
            let hash = hasher.hash(key);
            let expires = expiry.map_or(Mono::NEVER, |wall| now.mono_at(wall));
            if expires <= now.mono {
                cache.remove(key, hash, now.mono);
            } else {
                let entry = Entry::joined(Parts { key, first: value, second: b"", flags: *flags, extra, expires, version: *version });
                // Whose it is, a view will say.
                if is_copy {
                    cache.put_copy(hash, entry, now.mono)
                } else {
                    cache.put(hash, entry, now.mono)
                };
            }
        }
        Record::Delete { key, .. } => {
            cache.remove(key, hasher.hash(key), now.mono);
        }
        Record::Flush { .. } => {
            cache.flush();
            cache.reclaim(usize::MAX);
        }
    }
}
