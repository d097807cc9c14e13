//! Keys by their places: what one owner has of them, and a walk over the whole pool.
//!
//! ```text
//!   places of the ring   0 ──────────────────────────────────────────────────────────▶ 2^32
//!   1,024ths             │           │           │           │           │           │
//!   arcs, by owner       ├──A────┬──────B────────┬───A──┬────C────┬──────B──────┬──A─┤
//!   pieces               ├───────┼───┼───────────┼──────┼────┼────┼──────┼──────┼────┤
//! ```
//!
//! A *scan* is carried out by the owner of the place where it begins, and looks at one *piece* of the ring: up to the end of the owner's arc or of
//! its 1,024th of the ring, whichever comes first. It names the keys in the order of their places and says where the next piece begins. It
//! tells, as a read does, nothing that is not everywhere yet: its answer waits for the changes under way in its piece. What it removes is removed
//! like any key, each for itself.
//!
//! A *walk* is carried out by the node that is asked: it scans piece after piece, here or at the owners, until it has enough keys or the ring
//! has come to its end. Where the next walk is to begin is all that the client has to remember; no node remembers anything of a walk
//! between two calls, and so none is ever out of date.
//!
//! **What is promised.** A key that is there from the beginning to the end of a walk, from place 0 to where no next place is named, is listed: once,
//! whoever owns it meanwhile, as its place is passed once. What comes, goes or is changed during the walk may be listed or not. What is listed
//! was there at some moment of the walk. A count, and a removal, are a walk like any: they are not one moment. If the owner of a piece cannot
//! be reached in time, the walk fails and does not leave its keys out.
//!
//! Each turn takes only so many steps of all walks. Over a slow network a page ends after half the time of a request with what it has, nothing
//! perhaps; a walk that wants all keys at once takes the time it needs.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use super::command::{Action, Command, Scan, ScanFor, Walk};
use super::local::Task;
use super::message::Outcome;
use super::mirroring::Delayed;
use super::reply::{Failure, Page, Reply};
use super::{Node, Origin, Outputs, answer};
use crate::caching::cache::Cache;
use crate::glob;
use crate::hash::KeyHash;
use crate::time::{Mono, Now};
use crate::topology::MemberId;

/// Steps of walks begun in one turn, and the entries looked at after which no other is begun.
const STEPS_A_TURN: usize = 128;
const ENTRIES_A_TURN: usize = 4_000;
/// Places of a 1,024th of the ring. A scan is about one of these at most.
const PLACES_A_SCAN: u32 = 1 << 22;
/// Walks that have a step under way elsewhere; the others wait for their turn.
const WALKS_AT_ONCE: usize = 16;
/// Most walks; past it, clients are told that it is too much.
const MOST_WALKS: usize = 1_000;
/// Bytes of keys in the answer to one scan: it fits in a frame, whatever the largest value is.
const BYTES_A_SCAN: usize = 32 << 10;
/// What a key costs besides its bytes.
const KEY_OVERHEAD: usize = 5;
/// Bytes of keys after which a walk ends its page.
const BYTES_A_PAGE: usize = 1 << 20;
/// The same, if all keys are wanted at once.
const BYTES_AT_ONCE: usize = 32 << 20;
/// Most keys that one scan removes.
const REMOVALS_A_SCAN: usize = 1_000;

/// The number of a walk; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WalkId(u64);

/// The walks that clients of this node wait for.
#[derive(Debug, Default)]
pub struct Walks {
    walks: BTreeMap<WalkId, Walking>,
    /// Those that can go on.
    ready: VecDeque<WalkId>,
    last: u64,
    /// Entries that scans have looked at in this turn.
    looked_at: usize,
}

/// A walk, how far it is, and what it has found.
#[derive(Debug)]
struct Walking {
    origin: Origin,
    walk: Walk<'static>,
    /// Its page ends then.
    ends_at: Mono,
    page: Page,
    bytes: usize,
    /// It has come to the last place and gone on with the first.
    is_round: bool,
    failure: Option<Failure>,
}

/// What a piece has of what a scan is for.
struct Found<'c> {
    keys: Vec<(KeyHash, &'c [u8])>,
    next: Option<u32>,
}

impl Walks {
    /// Does nobody wait?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.walks.is_empty()
    }

    /// Can any go on?
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.ready.is_empty() && self.walks.len() - self.ready.len() < WALKS_AT_ONCE
    }

    fn is_full(&self) -> bool {
        self.walks.len() >= MOST_WALKS
    }

    fn begin(&mut self, origin: Origin, walk: Walk<'static>, ends_at: Mono) {
        self.last += 1;
        let page = Page { next: Some(walk.from), ..Page::default() };
        self.walks.insert(WalkId(self.last), Walking { origin, walk, ends_at, page, bytes: 0, is_round: false, failure: None });
        self.ready.push_back(WalkId(self.last));
    }

    /// A step of a walk has come to this.
    pub fn on_scanned(&mut self, id: WalkId, outcome: Outcome<'static>) {
        if let Some(walking) = self.walks.get_mut(&id) {
            walking.take_in(outcome);
            self.ready.push_back(id);
        }
    }

    fn next_ready(&mut self) -> Option<WalkId> {
        if self.has_work() { self.ready.pop_front() } else { None }
    }
}

impl Walking {
    /// The next scan; none if the walk is at its end.
    fn next_scan(&self, now: Mono) -> Option<Scan<'static>> {
        let left = u64::from(self.walk.most.max(1)).saturating_sub(self.page.count);
        let room = if self.walk.most == u32::MAX { BYTES_AT_ONCE } else { BYTES_A_PAGE };
        let is_late = now >= self.ends_at && self.page.next != Some(self.walk.from);
        let is_enough = left == 0 || self.bytes >= room || self.failure.is_some() || is_late;
        let from = self.page.next.filter(|_| !is_enough)?;
        let (prefix, pattern) = (self.walk.prefix.clone(), self.walk.pattern.clone());
        Some(Scan { from, most: left as u32, prefix, pattern, what: self.walk.what })
    }

    fn take_in(&mut self, outcome: Outcome<'static>) {
        match outcome {
            Outcome::Page(mut part) if part.next.is_none() || part.next > self.page.next => {
                if self.is_round {
                    self.leave_out_known(&mut part);
                }
                self.bytes += part.keys.iter().map(|key| KEY_OVERHEAD + key.len()).sum::<usize>();
                self.page.keys.extend(part.keys);
                self.page.count += part.count;
                self.page.next = part.next;
                self.go_round();
            }
            // Its answer was given up with a view: the same piece is scanned again.
            Outcome::Failed(Failure::Elsewhere) => {}
            Outcome::Failed(failure) => self.failure = Some(failure),
            _ => self.failure = Some(Failure::Refused("the owner of some keys answers what makes no sense".into())),
        }
    }

    /// Behind the last place comes the first, for a walk that is to go all round; it ends where it began.
    fn go_round(&mut self) {
        let from = self.walk.from;
        match self.page.next {
            None if self.walk.all_round && !self.is_round && from > 0 => (self.is_round, self.page.next) = (true, Some(0)),
            Some(next) if self.is_round && next >= from => self.page.next = None,
            _ => {}
        }
    }

    /// The piece in which it began is scanned twice.
    fn leave_out_known(&self, part: &mut Page) {
        let before = part.keys.len();
        part.keys.retain(|key| !self.page.keys.contains(key));
        part.count -= (before - part.keys.len()) as u64;
    }
}

impl Node {
    /// The two numbers by which a command finds its owner: its key's, or of a scan the place where it begins.
    #[must_use]
    pub fn hash_of(&self, command: &Command<'_>) -> KeyHash {
        match &command.action {
            Action::Scan(scan) => KeyHash { place: scan.from, table: scan.from.into() },
            _ => self.hash(&command.key),
        }
    }

    /// Goes through the keys of the whole pool. The first step is taken before the turn ends.
    pub(super) fn walk(&mut self, now: Mono, origin: Origin, walk: &Walk<'_>, out: &mut dyn Outputs) {
        if self.walks.is_full() {
            return self.fail(origin, b"", &Failure::Overloaded, out);
        }
        let is_all_at_once = walk.most == u32::MAX || walk.all_round;
        let ends_at = if is_all_at_once { Mono::NEVER } else { now.plus(self.settings.request_timeout_ms / 2) };
        self.walks.begin(origin, walk.to_owned(), ends_at);
    }

    /// Takes steps of the walks that can go on.
    pub(super) fn step_walks(&mut self, now: Now, out: &mut dyn Outputs) {
        for _ in 0..STEPS_A_TURN {
            let Some(id) = self.walks.next_ready() else { break };
            self.step_walk(now, id, out);
            if self.walks.looked_at > ENTRIES_A_TURN {
                break;
            }
        }
        self.walks.looked_at = 0;
    }

    fn step_walk(&mut self, now: Now, id: WalkId, out: &mut dyn Outputs) {
        let Some(walking) = self.walks.walks.get(&id) else { return };
        if let Some(scan) = walking.next_scan(now.mono) {
            let command = Command { key: Cow::Borrowed(b""), action: Action::Scan(scan) };
            return self.carry_out(now, Origin::Walk(id), self.hash_of(&command), &command, out);
        }
        let Some(Walking { origin, page, failure, .. }) = self.walks.walks.remove(&id) else { return };
        let reply = failure.as_ref().map_or(Reply::Page(&page), Reply::Failed);
        answer(out, origin, b"", &reply);
    }

    /// Carries out a scan of the keys that this node owns.
    pub(super) fn scan(&mut self, task: &Task<'_>, scan: &Scan<'_>, out: &mut dyn Outputs) {
        let piece = (scan.from, self.piece_end(scan.from));
        self.walks.looked_at += self.cache.len_around(piece.0, piece.1);
        let Found { keys, next } = find(&self.cache, piece, scan, task.now.mono);
        let count = keys.len() as u64;
        let owned = |keys: &[(KeyHash, &[u8])]| keys.iter().map(|(_, key)| key.to_vec()).collect();
        let page = match scan.what {
            ScanFor::Keys => Page { keys: owned(&keys), count, next },
            ScanFor::Count => Page { keys: Vec::new(), count, next },
            ScanFor::Removal => {
                let removed: Vec<(KeyHash, Box<[u8]>)> = keys.into_iter().map(|(hash, key)| (hash, key.into())).collect();
                let page = Page { keys: Vec::new(), count, next };
                self.remove_all(task, &removed, &page, out);
                page
            }
        };
        if let Origin::Peer { member, serial: serial @ 1.., .. } = task.origin {
            self.mirroring.remembered.note(member, serial, task.hash, Outcome::Page(page.clone()));
        }
        self.answer_scan(task, scan, Outcome::Page(page), out);
    }

    /// The last of the changes carries the answer, for who owns the piece next: whoever has it has the others too.
    fn remove_all(&mut self, task: &Task<'_>, keys: &[(KeyHash, Box<[u8]>)], page: &Page, out: &mut dyn Outputs) {
        for (at, (hash, key)) in keys.iter().enumerate() {
            let tag = match task.origin {
                Origin::Peer { member, serial: serial @ 1.., .. } if at + 1 == keys.len() => {
                    Some((member, serial, Outcome::Page(page.clone())))
                }
                _ => None,
            };
            self.remove_key(task.now, key, *hash, tag, out);
        }
    }

    /// Answers once everything is everywhere that was changed in the piece. All its keys have the same holders, who get changes in their order.
    pub(super) fn answer_scan(&mut self, task: &Task<'_>, scan: &Scan<'_>, outcome: Outcome<'static>, out: &mut dyn Outputs) {
        let piece = (scan.from, self.piece_end(scan.from));
        self.mirroring.latest = None;
        match self.mirroring.last_among(piece) {
            None => self.tell(task.origin, b"", &outcome.reply(), out),
            Some(number) => {
                let is_of_change = scan.what == ScanFor::Removal;
                let delayed = Delayed { origin: task.origin, key: Box::default(), outcome, is_of_change, deadline: task.deadline };
                self.mirroring.delay(number, delayed);
            }
        }
    }

    /// The last place of the piece that begins here.
    fn piece_end(&self, from: u32) -> u32 {
        let furthest = from | (PLACES_A_SCAN - 1);
        if let Some(pact) = &self.pact {
            return pact.placement.end_of(from).min(furthest);
        }
        let mut end = self.membership.end_of(from);
        while end < furthest && self.membership.owner(end + 1) == Some(MemberId::ME) {
            end = self.membership.end_of(end + 1);
        }
        end.min(furthest)
    }
}

/// The live keys of a piece that a scan is for, as many as it may have, in the order of their places.
fn find<'c>(cache: &'c Cache, (from, to): (u32, u32), scan: &Scan<'_>, now: Mono) -> Found<'c> {
    let fits = |key: &[u8]| key.starts_with(&scan.prefix) && (scan.pattern.is_empty() || glob::fits(&scan.pattern, key));
    let fitting = cache.in_places(from, to).filter(|(_, entry)| entry.is_live(now) && fits(entry.key()));
    let mut keys: Vec<(KeyHash, &[u8])> = fitting.map(|(hash, entry)| (hash, entry.key())).collect();
    keys.sort_unstable_by_key(|(hash, key)| (hash.place, *key));
    let taken = how_many(&keys, scan);
    let next = keys.get(taken).map(|(hash, _)| hash.place).or(to.checked_add(1));
    keys.truncate(taken);
    Found { keys, next }
}

/// How many of these keys are answered: as many as are wanted and fit, those of one place together, and one place at least.
fn how_many(keys: &[(KeyHash, &[u8])], scan: &Scan<'_>) -> usize {
    let (most, room) = match scan.what {
        ScanFor::Keys => (scan.most as usize, BYTES_A_SCAN),
        ScanFor::Count => (scan.most as usize, usize::MAX),
        ScanFor::Removal => (REMOVALS_A_SCAN.min(scan.most as usize), usize::MAX),
    };
    let (mut taken, mut bytes) = (0, 0);
    for of_place in keys.chunk_by(|(one, _), (other, _)| one.place == other.place) {
        bytes += of_place.iter().map(|(_, key)| KEY_OVERHEAD + key.len()).sum::<usize>();
        if taken > 0 && (taken + of_place.len() > most || bytes > room) {
            break;
        }
        taken += of_place.len();
    }
    taken
}

#[cfg(test)]
mod tests;
