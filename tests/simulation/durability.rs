//! The commit of a simulated turn: the event loop's, with a disk that takes its time.
//!
//! The rules are those of `communication::event_loop::durability`, in the same order: write the turn's records, or some of them; hear of syncs
//! that have ended; hold what the turn said until its records are written and, with `always`, on disk; ask for the next sync. One is under way
//! at a time.

use std::collections::VecDeque;

use spydercache::node::Node;
use spydercache::prng::Prng;
use spydercache::time::{Mono, Now};

use crate::disk::{Disk, Syncing};
use crate::host::Said;
use crate::options::{Options, Sync};
use crate::planted::Mistake;

const SYNC_EVERY_MS: u64 = 1_000;

/// What waits for the disk.
#[derive(Debug)]
pub struct Durability {
    policy: Sync,
    /// How long a sync takes at most.
    sync_us: u64,
    /// Until the journal is safe up to there, this is not said: what is in order, and what is urgent.
    held: [VecDeque<(u64, Vec<Said>)>; 2],
    /// Records are written in steps.
    is_bulky: bool,
    /// A view that is acted on in this turn.
    pub view: Option<Vec<u8>>,
    sync_at: Mono,
    under_way: Option<UnderWay>,
    /// The view that is being synced, and until when.
    view_under_way: Option<(u64, Vec<u8>)>,
    /// The first segment of this life: what is older was not written by it, and is not synced by it.
    first_segment: u64,
}

#[derive(Debug)]
struct UnderWay {
    ticket: u64,
    ends_at: u64,
    fails: bool,
    syncing: Syncing,
}

impl Durability {
    pub fn new(options: &Options, disk: &Disk) -> Durability {
        let first_segment = disk.segments().last().map_or(0, |(name, _)| name.number) + 1;
        let (policy, sync_us) = (options.sync, options.sync_us);
        Durability {
            policy,
            sync_us,
            held: Default::default(),
            is_bulky: options.is_bulky,
            view: None,
            sync_at: Mono::NEVER,
            under_way: None,
            view_under_way: None,
            first_segment,
        }
    }

    /// When there is something to do for the disk: in true time, and by the node's clock.
    pub fn wake_at(&self) -> (u64, Mono) {
        let journal_at = self.under_way.as_ref().map_or(u64::MAX, |sync| sync.ends_at);
        let view_at = self.view_under_way.as_ref().map_or(u64::MAX, |(ends_at, _)| *ends_at);
        (journal_at.min(view_at), self.sync_at)
    }

    /// Has everything been said?
    pub fn is_idle(&self) -> bool {
        self.held.iter().all(VecDeque::is_empty)
    }

    /// Writes the turn's records, and returns what may be said now.
    pub fn commit(&mut self, turn: Commit<'_>) -> Vec<Said> {
        let Commit { node, disk, said, now, true_us, prng, syncs_fail, mistake } = turn;
        let view = self.view.take();
        let most = if self.is_bulky && view.is_none() { share_of(node, prng) } else { usize::MAX };
        node.flush_some(now, disk, most);
        if let Some(view) = view {
            self.keep(view, disk, syncs_fail);
        }
        if node.journal_mut().is_none() {
            disk.on_view_synced(disk.kept.clone());
            node.on_view_safe(true);
            return said;
        }
        self.hear_of_sync(node, disk, true_us);
        let said = if mistake == Some(Mistake::ReplyBeforeSync) { said } else { self.hold(node, said) };
        let ends_at = true_us + 1 + prng.below(self.sync_us);
        self.ask_for_sync(node, disk, now.mono, ends_at, syncs_fail);
        self.sync_view(disk, true_us, ends_at);
        node.on_view_safe(disk.unsynced_view().is_none());
        said
    }

    /// Behind the records of the turn, and with `always` once they are on disk.
    fn keep(&self, view: Vec<u8>, disk: &mut Disk, syncs_fail: bool) {
        if self.policy == Sync::Always && !syncs_fail {
            let syncing = disk.begin_sync(self.first_segment);
            disk.end_sync(syncing);
        }
        disk.keep(view);
    }

    /// With `always` the turn waits for it; else it is synced beside everything else, one view at a time.
    fn sync_view(&mut self, disk: &mut Disk, true_us: u64, ends_at: u64) {
        if self.policy == Sync::Always {
            return disk.on_view_synced(disk.kept.clone());
        }
        if let Some((_, view)) = self.view_under_way.take_if(|(ends_at, _)| *ends_at <= true_us) {
            disk.on_view_synced(Some(view));
        }
        if self.view_under_way.is_none() {
            self.view_under_way = disk.unsynced_view().map(|view| (ends_at, view));
        }
    }

    fn hear_of_sync(&mut self, node: &mut Node, disk: &mut Disk, true_us: u64) {
        let Some(sync) = self.under_way.take_if(|sync| sync.ends_at <= true_us) else { return };
        let Some(journal) = node.journal_mut() else { return };
        if sync.fails {
            journal.on_sync_failed();
        } else {
            disk.end_sync(sync.syncing);
            journal.on_synced(sync.ticket);
        }
    }

    fn hold(&mut self, node: &mut Node, said: Vec<Said>) -> Vec<Said> {
        let Some(journal) = node.journal_mut() else { return said };
        let safe = match self.policy {
            _ if !journal.is_ok() => u64::MAX,
            Sync::Always => journal.synced(),
            Sync::No | Sync::Everysec => journal.written(),
        };
        let overtakes = |said: &Said| self.is_bulky && matches!(said, Said::Urgent(..));
        let (urgent, ordered): (Vec<Said>, Vec<Said>) = said.into_iter().partition(overtakes);
        let mut free = Vec::new();
        for (line, position, said) in [(1, journal.written(), urgent), (0, journal.appended(), ordered)] {
            let line = &mut self.held[line];
            if !said.is_empty() {
                line.push_back((position, said));
            }
            while line.front().is_some_and(|(position, _)| *position <= safe) {
                free.extend(line.pop_front().into_iter().flat_map(|(_, said)| said));
            }
        }
        free
    }

    fn ask_for_sync(&mut self, node: &mut Node, disk: &Disk, now: Mono, ends_at: u64, fails: bool) {
        let Some(journal) = node.journal_mut() else { return };
        let owed = self.policy != Sync::No && journal.is_ok() && journal.synced() < journal.written();
        if !owed || self.under_way.is_some() {
            self.sync_at = Mono::NEVER;
        } else if self.policy == Sync::Everysec && self.sync_at == Mono::NEVER {
            self.sync_at = now.plus(SYNC_EVERY_MS);
        } else if self.policy == Sync::Always || now >= self.sync_at {
            self.sync_at = Mono::NEVER;
            let syncing = disk.begin_sync(self.first_segment);
            self.under_way = Some(UnderWay { ticket: journal.written(), ends_at, fails, syncing });
        }
    }
}

/// How many bytes of records a turn writes: about one record, if not many more wait.
fn share_of(node: &mut Node, prng: &mut Prng) -> usize {
    let waiting = node.journal_mut().map_or(0, |journal| journal.unwritten());
    (50 + prng.below(300)).max(waiting / 16) as usize
}

/// What a commit needs of its turn.
pub struct Commit<'a> {
    pub node: &'a mut Node,
    pub disk: &'a mut Disk,
    pub said: Vec<Said>,
    pub now: Now,
    pub true_us: u64,
    pub prng: &'a mut Prng,
    pub syncs_fail: bool,
    pub mistake: Option<Mistake>,
}
