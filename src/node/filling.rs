//! Filling: a holder that is new, or has come back, is given what it lacks, beside the live writes and never at their cost.
//!
//! ```text
//!   owner                                         holder that is filling
//!     │  Survey: places a to b, and a digest of mine  ──▶ compares with what its journal or a former view left it
//!     │  ◀── Holdings: equal, or a list (digest of key, version and mark)
//!     │  Drop what is not mine, Keep what is right, Put what differs ──▶ on the stream of changes, in order
//! ```
//!
//! What a returning node's journal says is not trusted but compared: of a key that is still right only sixteen bytes travel. What the owner does
//! not have is dropped, so nobody has to remember deletions. Everything runs on the owner's stream of changes, in one order with the live
//! writes; and by the time it is said, it is said as it is then. Few surveys and few bytes are under way at once, so filling takes its turn
//! beside the clients.
//!
//! A holder that is filled says nothing: the owner knows, by the confirmations, and says so in its pulse. When all owners do, the next view settles.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::extras::Extras;
use super::local::ttl_of;
use super::message::{Change, Digest, Message};
use super::mirroring::Pool;
use super::pact::Pact;
use super::{Node, Outputs};
use crate::caching::cache::{Cache, end_of_partition, partition_of};
use crate::caching::entry::Entry;
use crate::time::{Mono, Now};
use crate::topology::MemberId;
use crate::topology::peers::LinkId;
use crate::topology::placement::Arc;
use crate::topology::view::ViewId;

/// Surveys under way to one holder, and the entries that they are about: whoever is asked looks at as many of its own, twice, and several owners
/// ask at once. One is always allowed.
const SURVEYS_AT_ONCE: usize = 128;
const SURVEYED_AT_ONCE: usize = 500;
/// Bytes under way to one holder that it has not confirmed.
const BYTES_AT_ONCE: usize = 64 << 10;
/// Changes under way to one holder that it has not confirmed.
const CHANGES_AT_ONCE: usize = 128;
/// What it costs to say something, in entries looked at: a message by itself, and so many bytes of it as much as an entry.
const MESSAGE_COST: usize = 4;
const BYTES_A_COST: usize = 512;
/// A survey is about a partition of the cache at least, and about its neighbours as long as they have so few entries together. The holder may
/// have more there, so there is an end to that.
const COMPARED_TOGETHER: usize = 128;
const MOST_PARTITIONS: usize = 16;
/// Keys that wait to be said to one holder, before more of it is surveyed.
const QUEUED_AT_MOST: usize = 4_000;
/// Most keys that a holder lists of one survey; what it has beyond them it forgets.
const MOST_LISTED: usize = 50_000;
/// A key that ends sooner than this is not kept but sent again: the owner may have given it more time, under the same version.
const KEPT_AT_LEAST_MS: u64 = 60_000;
/// What a change costs besides key and value.
const CHANGE_OVERHEAD: usize = 64;

/// A part of the circle.
type Unit = (u32, u32);

/// Something to be said of a key when its turn comes.
#[derive(Debug)]
enum Todo {
    Put(Box<[u8]>),
    Keep(Box<[u8]>),
}

/// The filling of one holder.
#[derive(Debug, Default)]
struct Job {
    /// Not asked about yet.
    units: VecDeque<Unit>,
    all_places: u64,
    /// Asked about and not answered yet, and how many entries were looked at for each.
    surveyed: BTreeMap<Unit, usize>,
    entries_surveyed: usize,
    queue: VecDeque<Todo>,
    /// Not confirmed: the number of the change and its bytes.
    under_way: VecDeque<(u64, usize)>,
    bytes_under_way: usize,
    /// By its last answer it lacks more than half of what it is to have: the next one will hardly be the same, and no digest is made for it.
    has_little: bool,
    keys: u64,
    bytes: u64,
    began: Mono,
}

/// How far the filling of a holder is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Of the places to be compared, so many percent are.
    pub percent: f64,
    /// Keys sent.
    pub keys: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Since when.
    pub for_ms: u64,
}

/// What another node has said about a unit of this view, to be looked into when there is time.
#[derive(Debug)]
enum Heard {
    /// Its owner's digest.
    Survey(Digest),
    /// What a holder has, unless it is the same.
    Holdings(Option<Vec<(u64, u64)>>),
}

/// All that this node has to fill, and what it has heard from those that fill it.
#[derive(Debug, Default)]
pub struct Filling {
    jobs: BTreeMap<MemberId, Job>,
    heard: VecDeque<(LinkId, Unit, Heard)>,
    /// Holders that were filled in this view.
    pub filled: u64,
}

impl Job {
    fn new(units: VecDeque<Unit>, now: Mono) -> Job {
        Job { all_places: units.iter().copied().map(places_of).sum(), units, began: now, ..Job::default() }
    }

    /// What is to be asked about next, and how many entries that are.
    fn next_unit(&mut self, cache: &Cache) -> Option<(Unit, usize)> {
        let (from, to) = self.units.pop_front()?;
        let mut last = end_of_partition(from).min(to);
        let mut entries = cache.len_around(from, last);
        while last < to && is_unit((from, last + 1)) {
            let next = end_of_partition(last + 1).min(to);
            let more = cache.len_around(last + 1, next);
            if entries + more > COMPARED_TOGETHER {
                break;
            }
            (last, entries) = (next, entries + more);
        }
        if last < to {
            self.units.push_front((last + 1, to));
        }
        Some(((from, last), entries))
    }

    fn is_done(&self) -> bool {
        self.units.is_empty() && self.surveyed.is_empty() && self.queue.is_empty() && self.under_way.is_empty()
    }

    fn may_survey(&self) -> bool {
        self.surveyed.len() < SURVEYS_AT_ONCE && self.entries_surveyed < SURVEYED_AT_ONCE && self.queue.len() < QUEUED_AT_MOST
    }

    fn on_surveyed(&mut self, unit: Unit, entries: usize) {
        self.surveyed.insert(unit, entries);
        self.entries_surveyed += entries;
    }

    /// A survey is answered: how many entries were looked at for it, if it was asked.
    fn on_answered(&mut self, unit: Unit) -> Option<usize> {
        let entries = self.surveyed.remove(&unit);
        self.entries_surveyed -= entries.unwrap_or_default();
        entries
    }

    fn has_room(&self) -> bool {
        self.bytes_under_way < BYTES_AT_ONCE && self.under_way.len() < CHANGES_AT_ONCE
    }

    fn on_confirmed(&mut self, number: u64) {
        while let Some((first, bytes)) = self.under_way.front().copied()
            && first <= number
        {
            self.under_way.pop_front();
            self.bytes_under_way -= bytes;
        }
    }

    fn note_said(&mut self, number: u64, bytes: usize, is_value: bool) {
        self.under_way.push_back((number, bytes));
        self.bytes_under_way += bytes;
        self.bytes += bytes as u64;
        self.keys += u64::from(is_value);
    }

    /// The stream was interrupted: what was not confirmed is found again by the surveys.
    fn begin_again(&mut self, units: VecDeque<Unit>) {
        let (keys, bytes, began) = (self.keys, self.bytes, self.began);
        *self = Job { keys, bytes, ..Job::new(units, began) };
    }
}

impl Filling {
    /// Is everybody filled?
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Who is being filled, and how far that is.
    pub fn progress(&self, now: Mono) -> impl Iterator<Item = (MemberId, Progress)> {
        self.jobs.iter().map(move |(member, job)| {
            let left: u64 = job.units.iter().chain(job.surveyed.keys()).copied().map(places_of).sum();
            let percent = 100.0 * (1.0 - left as f64 / job.all_places.max(1) as f64);
            (*member, Progress { percent, keys: job.keys, bytes: job.bytes, for_ms: now.since(job.began) })
        })
    }

    /// A new view, in which this node has a lease: what is there to fill?
    pub fn begin(&mut self, pact: &Pact, now: Mono) {
        self.jobs.clear();
        self.filled = 0;
        let Some(view) = &pact.view else { return };
        for seat in view.up().filter(|seat| Some(*seat) != pact.me) {
            let units = units_of(pact, seat);
            if !units.is_empty() {
                self.jobs.insert(pact.seats[seat], Job::new(units, now));
            }
        }
    }

    /// A new view: nothing is to be said of the old one.
    pub fn end(&mut self) {
        self.jobs.clear();
        self.heard.clear();
    }

    /// The holders to be filled.
    pub fn members(&self) -> impl Iterator<Item = MemberId> {
        self.jobs.keys().copied()
    }

    /// The stream to a holder was interrupted.
    pub fn on_interrupted(&mut self, member: MemberId, pact: &Pact) {
        if let Some(job) = self.jobs.get_mut(&member)
            && let Some(seat) = pact.seat_of(member)
        {
            job.begin_again(units_of(pact, seat));
        }
    }

    /// A holder has confirmed changes up to here.
    pub fn on_confirmed(&mut self, member: MemberId, number: u64) {
        if let Some(job) = self.jobs.get_mut(&member) {
            job.on_confirmed(number);
        }
    }
}

impl Node {
    /// Is there anything to be said at once?
    pub(super) fn has_filling_to_do(&self) -> bool {
        let has_heard = !self.filling.heard.is_empty();
        has_heard
            || self.filling.jobs.iter().any(|(member, job)| {
                let surveys = !job.units.is_empty() && job.may_survey();
                self.mirroring.is_open(*member) && (surveys || job.is_done() || (!job.queue.is_empty() && job.has_room()))
            })
    }

    /// A step of the filling of everybody who is to be filled.
    pub(super) fn step_filling(&mut self, now: Now, out: &mut dyn Outputs) {
        let mut has_ended = false;
        for member in self.filling.members().collect::<Vec<_>>() {
            if self.mirroring.is_open(member) {
                self.say_what_differs(member, now, out);
                self.survey(member, now, out);
            }
            if self.filling.jobs.get(&member).is_some_and(Job::is_done) {
                self.filling.jobs.remove(&member);
                self.filling.filled += 1;
                has_ended = true;
            }
        }
        if has_ended && self.filling.is_done() {
            self.ping_all(now.mono, out);
        }
    }

    fn survey(&mut self, member: MemberId, now: Now, out: &mut dyn Outputs) {
        let Some(pact) = &self.pact else { return };
        let Some(link) = self.peers[member.index()].link() else { return };
        let allowance = &mut self.spare.allowance;
        let Some(job) = self.filling.jobs.get_mut(&member) else { return };
        while job.may_survey() && allowance.is_left() {
            let Some(((from, to), entries)) = job.next_unit(&self.cache) else { return };
            job.on_surveyed((from, to), entries);
            allowance.spend(MESSAGE_COST + if job.has_little { 0 } else { entries });
            let digest = if job.has_little { NO_DIGEST } else { digest_in(&self.cache, (from, to), now.mono) };
            out.send(link, &Message::Survey { view: pact.id, from, to, digest });
        }
    }

    /// An owner asks what this node has.
    pub(super) fn on_survey(&mut self, link: LinkId, view: ViewId, unit: Unit, digest: Digest) {
        let fits = self.pact.as_ref().is_some_and(|pact| pact.id == view) && is_unit(unit);
        if fits {
            self.filling.heard.push_back((link, unit, Heard::Survey(digest)));
        }
    }

    /// A holder has said what it has.
    pub(super) fn on_holdings(&mut self, link: LinkId, view: ViewId, unit: Unit, list: Option<&[(u64, u64)]>) {
        let asked = self.member_dialled(link).and_then(|member| self.filling.jobs.get(&member));
        let fits = self.pact.as_ref().is_some_and(|pact| pact.id == view);
        if fits && asked.is_some_and(|job| job.surveyed.contains_key(&unit)) {
            self.filling.heard.push_back((link, unit, Heard::Holdings(list.map(Into::into))));
        }
    }

    /// Looks into what others have said, as far as there is time. That it has waited is as if it had come later.
    pub(super) fn look_into_heard(&mut self, now: Now, out: &mut dyn Outputs) {
        while self.spare.allowance.is_left() {
            let Some((link, unit, heard)) = self.filling.heard.pop_front() else { return };
            match heard {
                Heard::Survey(digest) => self.answer_survey(now, link, unit, digest, out),
                Heard::Holdings(list) => self.compare_holdings(now, link, unit, list, out),
            }
        }
    }

    fn answer_survey(&mut self, now: Now, link: LinkId, unit: Unit, digest: Digest, out: &mut dyn Outputs) {
        let Some(view) = self.pact.as_ref().map(|pact| pact.id).filter(|_| self.greeted.contains_key(&link)) else { return };
        let (from, to) = unit;
        self.spare.allowance.spend(MESSAGE_COST + self.cache.len_around(from, to));
        let is_equal = digest.count != UNCOMPARABLE && digest_in(&self.cache, unit, now.mono) == digest;
        let list = (!is_equal).then(|| self.list(unit, now.mono));
        out.send(link, &Message::Holdings { view, from, to, list });
    }

    /// What this node has in a unit; forgets what is too much to be told.
    fn list(&mut self, unit: Unit, now: Mono) -> Vec<(u64, u64)> {
        let mut excess: Vec<Box<[u8]>> = Vec::new();
        let mut list = Vec::new();
        for (digest, entry) in self.cache.digests_in(unit.0, unit.1) {
            if list.len() < MOST_LISTED {
                // What may be gone before the owner's word about it comes is listed as something else, to be sent whole.
                let state = match entry.expires() {
                    Mono::NEVER => state_of(entry),
                    expires if expires <= now.plus(KEPT_AT_LEAST_MS) => 0,
                    _ => state_of(entry) | ENDS,
                };
                list.push((digest, state));
            } else {
                excess.push(entry.key().into());
            }
        }
        for key in excess {
            self.drop_copy(&key);
        }
        list
    }

    fn compare_holdings(&mut self, now: Now, link: LinkId, unit: Unit, list: Option<Vec<(u64, u64)>>, out: &mut dyn Outputs) {
        let (Some(member), Some(pact)) = (self.member_dialled(link), &self.pact) else { return };
        let Some(job) = self.filling.jobs.get_mut(&member) else { return };
        let Some(entries) = job.on_answered(unit) else { return };
        let Some(list) = list else {
            job.has_little = false;
            return;
        };
        self.spare.allowance.spend(entries + list.len());
        let mut theirs: BTreeMap<u64, u64> = BTreeMap::new();
        let mut ambiguous: BTreeSet<u64> = BTreeSet::new();
        for (digest, version) in list {
            if theirs.insert(digest, version).is_some() {
                ambiguous.insert(digest);
            }
        }
        // Two keys of one digest, which chance does not bring about: both go, and what is right comes anew.
        theirs.retain(|digest, _| !ambiguous.contains(digest));
        let (queued, mut all) = (job.queue.len(), 0);
        for (digest, entry) in self.cache.digests_in(unit.0, unit.1).filter(|(_, entry)| entry.is_live(now.mono)) {
            let (theirs, state) = (theirs.remove(&digest), state_of(entry));
            match theirs {
                Some(listed) if listed == state && entry.expires() == Mono::NEVER => {}
                Some(listed) if listed & !ENDS == state => job.queue.push_back(Todo::Keep(entry.key().into())),
                _ => job.queue.push_back(Todo::Put(entry.key().into())),
            }
            all += 1;
        }
        job.has_little &= all == 0;
        job.has_little |= (job.queue.len() - queued) * 2 > all;
        if !theirs.is_empty() || !ambiguous.is_empty() {
            let (from, to) = unit;
            let change = Change::Drop { from, to, digests: theirs.into_keys().chain(ambiguous).collect() };
            let pool = Pool { pact, peers: &self.peers };
            let hash = crate::hash::KeyHash { place: from, table: 0 };
            let number = self.mirroring.fill(&pool, member, hash, &change, out);
            job.note_said(number, CHANGE_OVERHEAD, false);
        }
    }

    fn say_what_differs(&mut self, member: MemberId, now: Now, out: &mut dyn Outputs) {
        let Some(pact) = &self.pact else { return };
        let allowance = &mut self.spare.allowance;
        let Some(job) = self.filling.jobs.get_mut(&member) else { return };
        let pool = Pool { pact, peers: &self.peers };
        while job.has_room() && allowance.is_left() {
            let Some(todo) = job.queue.pop_front() else { return };
            let (Todo::Put(key) | Todo::Keep(key)) = &todo;
            let hash = self.hasher.hash(key);
            let entry = self.cache.peek(key, hash, now.mono);
            let value = entry.filter(|_| matches!(todo, Todo::Put(_)));
            let change = match (value, entry) {
                (Some(entry), _) => put_of(entry, now.mono),
                (None, Some(entry)) => keep_of(entry, now.mono),
                // Its time has ended meanwhile: that nobody says, and what the other has of it may have no end.
                (None, None) => Change::Delete { key: key.as_ref().into(), version: self.version },
            };
            let is_value = value.is_some();
            let bytes = CHANGE_OVERHEAD + key.len() + value.map_or(0, |entry| entry.value().len() + entry.extra().len());
            let number = self.mirroring.fill(&pool, member, hash, &change, out);
            allowance.spend(MESSAGE_COST + bytes / BYTES_A_COST);
            job.note_said(number, bytes, is_value);
        }
    }
}

/// A change that says a key as it is.
pub(super) fn put_of(entry: &Entry, now: Mono) -> Change<'_> {
    Change::Put {
        key: entry.key().into(),
        value: entry.content(),
        flags: entry.flags(),
        extra: entry.extra().into(),
        ttl_ms: ttl_of(entry.expires(), now),
        version: entry.version(),
    }
}

fn keep_of(entry: &Entry, now: Mono) -> Change<'_> {
    Change::Keep { key: entry.key().into(), version: entry.version(), ttl_ms: ttl_of(entry.expires(), now) }
}

/// What two nodes that have the same of a key, its time aside, have in common: its version, and whether somebody was told to make it anew,
/// which is marked under the same version, since clients must not see it in theirs.
fn state_of(entry: &Entry) -> u64 {
    let version = entry.version().0;
    if Extras::of(entry.extra()).is_claimed { version ^ CLAIMED } else { version }
}

/// Turns a version into one of 34 years before or after it: epochs are seconds.
const CLAIMED: u64 = 1 << 62;
/// Marks the version of a key whose time ends, in a list. No version reaches it: epochs are seconds.
const ENDS: u64 = 1 << 63;
/// No digest is equal to one with keys whose time ends: two nodes' clocks cannot be compared.
const UNCOMPARABLE: u64 = u64::MAX;
const NO_DIGEST: Digest = Digest { count: UNCOMPARABLE, sum: 0 };

/// What there is in a unit, in two numbers.
fn digest_in(cache: &Cache, unit: Unit, now: Mono) -> Digest {
    let mut digest = Digest::default();
    for (key, entry) in cache.digests_in(unit.0, unit.1).filter(|(_, entry)| entry.is_live(now)) {
        if entry.expires() != Mono::NEVER {
            return NO_DIGEST;
        }
        digest.count += 1;
        digest.sum = digest.sum.wrapping_add(mix(key, state_of(entry)));
    }
    digest
}

/// A key's and a state's bits, all over the word: sums of these are equal for equal sets, and for others hardly ever.
fn mix(key: u64, state: u64) -> u64 {
    let product = u128::from(key ^ 0x9e37_79b9_7f4a_7c15) * u128::from(state.wrapping_mul(0xd6e8_feb8_6659_fd93) | 1);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The parts that this node owns and a seat is filled with.
fn units_of(pact: &Pact, seat: usize) -> VecDeque<Unit> {
    let is_filled = |arc: &Arc| arc.owner().is_some() && arc.owner() == pact.me && arc.filling().any(|filled| filled == seat);
    pact.placement.spans().filter(|(_, _, arc)| is_filled(arc)).map(|(from, to, _)| (from, to)).collect()
}

/// May a survey be about these places?
pub(super) fn is_unit((from, to): Unit) -> bool {
    from <= to && partition_of(to) - partition_of(from) < MOST_PARTITIONS
}

fn places_of((from, to): Unit) -> u64 {
    u64::from(to - from) + 1
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::super::message::{Introduction, PROTOCOL_VERSION, Pulse};
    use super::super::testing::{Overheard, at, card, settings};
    use super::*;
    use crate::caching::Version;
    use crate::caching::cache::Bounds;
    use crate::caching::entry::Parts;
    use crate::hash::Hasher;
    use crate::topology::view::{self, Mirrors, Past, View};

    /// The key that is said to be no more.
    fn deleted(message: &Message<'_>) -> Option<Vec<u8>> {
        if let Message::Mirror { change: Change::Delete { key, .. }, .. } = message { Some(key.to_vec()) } else { None }
    }

    #[test]
    fn neighbours_with_few_entries_are_asked_about_together() {
        let hasher = Hasher::new(7);
        let mut cache = Cache::new(Bounds::default(), hasher.clone());
        let partition = |number: u32| (number << 20, end_of_partition(number << 20));
        let keys = |wanted: u32| {
            let hasher = hasher.clone();
            let hashed = (0u32..).map(move |number| (hasher.hash(&number.to_be_bytes()), number.to_be_bytes()));
            hashed.filter(move |(hash, _)| hash.place >> 20 == wanted)
        };
        for (wanted, number) in [(20, COMPARED_TOGETHER / 2), (21, COMPARED_TOGETHER / 2), (22, 1), (23, 2 * COMPARED_TOGETHER)] {
            for (hash, key) in keys(wanted).take(number) {
                let parts = Parts { key: &key, first: b"", second: b"", flags: 0, extra: b"", expires: Mono::NEVER, version: Version(1) };
                cache.put(hash, Entry::joined(parts), Mono(0));
            }
        }
        let mut job = Job::new([(5, partition(23).1 + 7), (partition(30).0, partition(30).1 + 1)].into(), Mono(0));
        let units: Vec<(Unit, usize)> = std::iter::from_fn(|| job.next_unit(&cache)).collect();
        let expected = [
            ((5, partition(15).1), 0),
            ((partition(16).0, partition(21).1), COMPARED_TOGETHER),
            ((partition(22).0, partition(22).1), 1),
            ((partition(23).0, partition(23).1), 2 * COMPARED_TOGETHER),
            ((partition(24).0, partition(23).1 + 7), 0),
            ((partition(30).0, partition(30).1 + 1), 0),
        ];
        assert_eq!(units, expected);
        assert!(units.iter().all(|(unit, _)| is_unit(*unit)) && !is_unit((5, partition(16).0)) && !is_unit((6, 5)));
    }

    #[test]
    fn what_has_ended_before_it_could_be_said_is_said_to_have_ended() {
        let (me, other, link) = (card(8001, 7), card(8002, 8), LinkId(9));
        let settings = Settings { peers: vec![other.address], mirrors: Mirrors::Next(1), ..settings(me.clone()) };
        let (mut node, mut said) = (Node::new(settings, None, None, at(1_000)), Overheard(Vec::new(), deleted));
        let introduction =
            Introduction { protocol: PROTOCOL_VERSION, pool: "pool".into(), me: other.clone(), others: Vec::new(), copies: 2 };
        node.on_tick(at(1_000), &mut said);
        node.on_dialled(at(1_001), MemberId(1), link, &mut said);
        node.on_message(at(1_001), link, &Message::Welcome(introduction), &mut said);
        let alone = View::first((77, 5), 2, &[me], &[], Past::Lost);
        node.adopt(at(1_002), alone.next(&view::Change { stays: vec![true], joins: Some(other), ..view::Change::default() }), &mut said);
        let view = node.view().expect("it has one").id();
        let pulse = Pulse { life: 8, number: 1, view, takes_part: true, ..Pulse::default() };
        node.on_message(at(1_003), link, &Message::Pong { number: 1, grant: None, pulse }, &mut said);
        node.on_tick(at(1_010), &mut said);
        let job = node.filling.jobs.get_mut(&MemberId(1)).expect("it owns all, and fills the other");
        job.queue.push_back(Todo::Put(b"key".as_slice().into()));
        node.on_tick(at(1_020), &mut said);
        assert_eq!(said.0, [b"key"]);
    }

    #[test]
    fn a_holder_is_asked_about_so_many_entries_at_once_and_about_one_unit_however_large() {
        let mut job = Job::new(VecDeque::new(), Mono(0));
        job.on_surveyed((0, 1), 10 * SURVEYED_AT_ONCE);
        assert!(!job.may_survey());
        assert_eq!([job.on_answered((0, 1)), job.on_answered((0, 1))], [Some(10 * SURVEYED_AT_ONCE), None]);
        (0..4).for_each(|place| job.on_surveyed((place, place), SURVEYED_AT_ONCE / 4));
        assert!(!job.may_survey());
        assert!(job.on_answered((3, 3)).is_some() && job.may_survey());
    }
}
