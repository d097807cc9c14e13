//! The commit: one write of a turn's records, and what may leave after it.
//!
//! Whether a reply may leave is a question of numbers. The journal counts the bytes written and the bytes known to be on disk; a reply that
//! was composed when so many bytes were written may leave when that many are on disk (`always`), or at once (`everysec`, `no`). Syncing is
//! done by a helper thread that owns nothing; one sync is under way at a time, and everything that arrives meanwhile shares the next:
//!
//! ```text
//!   turn 1: write 100 bytes, ask for a sync to 100 ── replies of turn 1 wait for 100
//!   turn 2: write  50 bytes                        ── replies of turn 2 wait for 150
//!   turn 3: synced to 100: turn 1's replies leave; ask for a sync to 150
//! ```
//!
//! A large value's record is written over several turns, so that none of them is long. What was said since waits until it is written; but for
//! what is urgent between nodes and tells of no record: that waits for what was written, and with `always` synced, when it was said, and so
//! a disk that stands still is heard of as silence.
//!
//! The view of the pool is written before anything of its turn leaves, and synced by the helper at once; only with `always` does the turn
//! itself wait for that, since only then is anything else on disk that soon.
//!
//! A disk that fails holds up nobody: the node says so, aloud, and goes on without a journal until a new segment can be written.

use std::collections::VecDeque;
use std::io;

use log::{error, info, warn};

use super::sockets::{Socket, Table, TokenSet};
use crate::caching::record::Record;
use crate::caching::replay::{Replay, Step};
use crate::communication::connection::Output;
use crate::config::Sync;
use crate::disk::{Folder, Syncer};
use crate::node::Node;
use crate::time::{Mono, Now};

/// Time between two syncs of the policy `everysec`.
const SYNC_EVERY_MS: u64 = 1_000;
/// Time between two attempts to keep a view.
const KEEP_EVERY_MS: u64 = 1_000;
/// Most bytes of records written in one turn; but of what waits at least a sixteenth, so that it does not grow without end.
const WRITE_A_TURN: u64 = 4 << 20;
const WRITE_PART: u64 = 16;
/// The ticket of a view's sync: no position of the journal.
const VIEW_TICKET: u64 = u64::MAX;

/// A connection's output that may leave up to a position, once the journal is safe up to another.
#[derive(Clone, Copy, Debug)]
struct Held {
    token: usize,
    name: u64,
    output: u64,
    journal: u64,
}

/// Outputs that wait for the journal, in the order of its positions.
type Line = VecDeque<Held>;

/// A node's folder on disk, with what waits for it.
pub(super) struct Durability {
    disk: Option<(Folder, Syncer)>,
    policy: Sync,
    held: Line,
    /// The same for what is urgent.
    held_urgent: Line,
    sync_at: Mono,
    was_ok: bool,
    /// The view to be kept.
    view: Vec<u8>,
    /// A view is acted on in this turn: before it is kept, all is written that was done by the one before, and by it.
    is_view_new: bool,
    /// When to keep it again; never, if that has gone well.
    keep_at: Mono,
    /// The helper syncs a view.
    is_view_syncing: bool,
}

impl Durability {
    /// A node without a journal.
    pub(super) fn none() -> Durability {
        Durability {
            disk: None,
            policy: Sync::No,
            held: Line::new(),
            held_urgent: Line::new(),
            sync_at: Mono::NEVER,
            was_ok: true,
            view: Vec::new(),
            is_view_new: false,
            keep_at: Mono::NEVER,
            is_view_syncing: false,
        }
    }

    /// A node with a folder for its journal.
    pub(super) fn new(folder: Folder, syncer: Syncer, policy: Sync) -> Durability {
        Durability { disk: Some((folder, syncer)), policy, ..Durability::none() }
    }

    /// When there is something to do for the disk.
    pub(super) fn wake_at(&self) -> Mono {
        self.sync_at.min(self.keep_at)
    }

    /// Writes the turn's records, and releases the outputs that wait for nothing more. Returns the connections to be flushed.
    pub(super) fn commit(&mut self, node: &mut Node, table: &mut Table, dirty: &mut TokenSet, now: Now) -> Vec<usize> {
        let tokens = dirty.take();
        let Some((folder, _)) = &mut self.disk else {
            node.on_view_safe(true);
            tokens.iter().for_each(|token| release(*token, table));
            return tokens;
        };
        let is_view_new = std::mem::take(&mut self.is_view_new);
        let most = if is_view_new { usize::MAX } else { share_of(node) };
        let flushed = node.flush_some(now, folder, most);
        if node.has_unwritten() {
            node.on_moved(now.mono);
        }
        // What the view has made of the entries is not to be missing, should the next life begin with it.
        if is_view_new && self.policy == Sync::Always && flushed.failed.is_none() {
            let synced = folder.syncable().and_then(|files| files.iter().try_for_each(|file| file.sync_data()));
            synced.unwrap_or_else(|why| warn!("the journal could not be synced: {why}"));
        }
        if is_view_new || now.mono >= self.keep_at {
            self.keep_view(now.mono);
        }
        self.note_health(node, flushed.failed);
        self.take_reports(node, now.mono);
        let flush = self.release_safe(tokens, node, table);
        self.ask_for_sync(node, now.mono);
        self.ask_for_sync_of_view(now.mono);
        node.on_view_safe(self.is_view_safe());
        flush
    }

    /// Does what is urgent wait for nothing?
    pub(super) fn lets_urgent_leave(&self) -> bool {
        self.disk.is_none() || self.policy != Sync::Always
    }

    /// Is the view on disk?
    fn is_view_safe(&self) -> bool {
        let is_waiting = |(folder, _): &(Folder, Syncer)| folder.has_unsynced_view() || self.is_view_syncing || self.keep_at != Mono::NEVER;
        !self.disk.as_ref().is_some_and(is_waiting)
    }

    /// Keeps the view for the next life, with the turn's records. Without a folder there is no next life to remember it.
    pub(super) fn keep(&mut self, view: Vec<u8>) {
        if self.disk.is_some() {
            self.is_view_new = true;
            self.view = view;
        }
    }

    fn keep_view(&mut self, now: Mono) {
        let Some((folder, _)) = &mut self.disk else { return };
        let mut kept = folder.write_view(&self.view);
        if self.policy == Sync::Always {
            let sync = |()| folder.syncable_view()?.map_or(Ok(()), |file| file.sync_data());
            kept = kept.and_then(sync);
        }
        let was_kept = std::mem::replace(&mut self.keep_at, Mono::NEVER) == Mono::NEVER;
        match kept {
            Ok(()) if was_kept => {}
            Ok(()) => info!("the view of the pool is kept again"),
            Err(why) => self.keep_again(&why, now.plus(KEEP_EVERY_MS)),
        }
    }

    fn keep_again(&mut self, why: &io::Error, at: Mono) {
        error!("the view of the pool is not kept until the disk takes it: {why}");
        self.keep_at = at;
        if let Some((folder, _)) = &mut self.disk {
            folder.on_view_sync_failed();
        }
    }

    /// Writes and syncs what is left.
    pub(super) fn finish(&mut self, node: &mut Node, now: Now) -> io::Result<()> {
        let Some((folder, _)) = &mut self.disk else { return Ok(()) };
        if let Some(error) = node.flush_journal(now, folder).failed {
            return Err(error);
        }
        if std::mem::take(&mut self.is_view_new) {
            folder.write_view(&self.view)?;
        }
        folder.syncable()?.iter().chain(&folder.syncable_view()?).try_for_each(|file| file.sync_data())
    }

    /// A reading of the journal up to what is written by now.
    pub(super) fn replay(&mut self) -> Option<Replay> {
        self.disk.as_ref().and_then(|(folder, _)| folder.segments().ok()).map(Replay::new)
    }

    /// Reads on. True if there is more.
    pub(super) fn step(&mut self, replay: &mut Replay, budget: usize, mut on_record: impl FnMut(&Record<'_>)) -> bool {
        let Some((folder, _)) = &mut self.disk else { return false };
        matches!(replay.step(folder, budget, &mut |record| on_record(record)), Step::More)
    }

    /// Says once that the journal has failed, and once that it is well again.
    fn note_health(&mut self, node: &mut Node, failed: Option<io::Error>) {
        let is_ok = node.journal_mut().is_none_or(|journal| journal.is_ok());
        match (self.was_ok, is_ok, failed) {
            (true, _, Some(why)) => error!("the journal cannot be written, and is not kept until it can be: {why}"),
            (true, false, None) => error!("the journal could not be synced: a new segment is begun"),
            (false, true, _) => info!("the journal is kept again; everything that lives is being restated"),
            _ => {}
        }
        self.was_ok = is_ok;
    }

    /// Hears what the helper thread has synced.
    fn take_reports(&mut self, node: &mut Node, now: Mono) {
        while let Some(report) = self.disk.as_mut().and_then(|(_, syncer)| syncer.report()) {
            if report.ticket == VIEW_TICKET {
                self.is_view_syncing = false;
                report.result.unwrap_or_else(|why| self.keep_again(&why, now));
                continue;
            }
            node.stats.journal_syncs += 1;
            let Some(journal) = node.journal_mut() else { return };
            match report.result {
                Ok(()) => journal.on_synced(report.ticket),
                Err(why) => {
                    warn!("the journal could not be synced: {why}");
                    journal.on_sync_failed();
                    node.stats.journal_failures += 1;
                }
            }
        }
    }

    /// Releases the outputs whose records are safe: written, and with `always` on disk. Without a working journal nothing waits for it.
    fn release_safe(&mut self, mut tokens: Vec<usize>, node: &mut Node, table: &mut Table) -> Vec<usize> {
        let Some(journal) = node.journal_mut() else { return tokens };
        let (appended, written) = (journal.appended(), journal.written());
        let safe = match self.policy {
            _ if !journal.is_ok() => u64::MAX,
            Sync::Always => journal.synced(),
            Sync::Everysec | Sync::No => written,
        };
        if self.held.is_empty() && appended <= safe {
            tokens.iter().for_each(|token| release(*token, table));
            return tokens;
        }
        for token in tokens.iter().copied() {
            let Some(Socket { name, .. }) = table.sockets.get(token) else { continue };
            let (name, output) = (*name, &table.outputs[token]);
            self.held.push_back(Held { token, name, output: output.position(), journal: appended });
            self.held_urgent.push_back(Held { token, name, output: output.urgent_position(), journal: written });
        }
        for (line, release) in [(&mut self.held, Output::release as fn(&mut Output, u64)), (&mut self.held_urgent, Output::release_urgent)]
        {
            while let Some(held) = line.front().copied().filter(|held| held.journal <= safe) {
                line.pop_front();
                if table.token_of(held.name) == Some(held.token) {
                    release(&mut table.outputs[held.token], held.output);
                    tokens.push(held.token);
                }
            }
        }
        tokens
    }

    /// Asks for a sync if one is owed and none is under way.
    fn ask_for_sync(&mut self, node: &mut Node, now: Mono) {
        let Some((folder, syncer)) = &mut self.disk else { return };
        let Some(journal) = node.journal_mut() else { return };
        let owed = self.policy != Sync::No && journal.is_ok() && journal.synced() < journal.written();
        if !owed || syncer.in_flight() > usize::from(self.is_view_syncing) {
            self.sync_at = Mono::NEVER;
        } else if self.policy == Sync::Everysec && self.sync_at == Mono::NEVER {
            self.sync_at = now.plus(SYNC_EVERY_MS);
        } else if self.policy == Sync::Always || now >= self.sync_at {
            self.sync_at = Mono::NEVER;
            match folder.syncable() {
                Ok(files) => syncer.request(files, journal.written()),
                Err(why) => {
                    warn!("the journal cannot be synced: {why}");
                    journal.on_sync_failed();
                }
            }
        }
    }

    /// A view is synced as soon as the one before is.
    fn ask_for_sync_of_view(&mut self, now: Mono) {
        let Some((folder, syncer)) = self.disk.as_mut().filter(|_| !self.is_view_syncing) else { return };
        match folder.syncable_view() {
            Ok(None) => {}
            Ok(Some(file)) => {
                self.is_view_syncing = true;
                syncer.request(vec![file], VIEW_TICKET);
            }
            Err(why) => self.keep_again(&why, now.plus(KEEP_EVERY_MS)),
        }
    }
}

/// How many bytes of records this turn writes.
fn share_of(node: &mut Node) -> usize {
    let waiting = node.journal_mut().map_or(0, |journal| journal.unwritten());
    usize::try_from(WRITE_A_TURN.max(waiting / WRITE_PART)).unwrap_or(usize::MAX)
}

/// All that was said to this connection may leave.
fn release(token: usize, table: &mut Table) {
    let output = &mut table.outputs[token];
    output.release(output.position());
    output.release_urgent(output.urgent_position());
}
