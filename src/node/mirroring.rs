//! Copies: every change of a key goes to all its holders, and is acknowledged when all have it.
//!
//! ```text
//!   owner:   change, numbered ──▶ one stream a holder, in order ──▶ applied, journaled
//!            its answer waits ◀── "I hold everything up to here" ◀─ once a turn
//! ```
//!
//! A stream runs on the link that the owner has dialled, and only while both ends are in the same view: a change that is said in another
//! view counts for nothing, which is what keeps an owner that was replaced from writing on. When a link is lost, what was not confirmed is said
//! again on the next one, from the cache as it is then: what counts is that a holder ends up with the owner's state, not by which steps.
//!
//! Until a change is everywhere, nobody is told of it: reads of its key wait with it, and so do the refusals of conditional writes.
//!
//! Each holder remembers the keys of which it does not know whether all have them (*doubts*, trimmed by the owner's word of how far it is),
//! and the answers to writes that were forwarded ([`Remembered`](super::remembered::Remembered)). So whoever owns the keys next can make them equal everywhere, and answer what was done
//! instead of doing it again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::key_queue::{KeyQueue, Place};
use super::message::{Change, Message, Outcome, Tag};
use super::pact::Pact;
use super::remembered::Remembered;
use super::{Mistakes, Origin, Outputs};
use crate::hash::KeyHash;
use crate::time::Mono;
use crate::topology::MemberId;
use crate::topology::peers::{LinkId, Peer};
use crate::topology::placement::Arc;

/// Most changes under way to mirrors; past it, writes are refused.
pub const MAX_UNDER_WAY: usize = 100_000;
/// Most changes in line, those counted that are everywhere and wait behind one that is not; past it, writes are refused.
pub const MAX_IN_LINE: usize = 4 * MAX_UNDER_WAY;
/// Most bytes under way to one mirror, or twice the largest value, if that is more; past it, writes of keys that it holds are refused.
pub const MAX_BYTES_UNDER_WAY: usize = 64 << 20;
/// What a change takes besides its key and its value.
const CHANGE_OVERHEAD: usize = 64;

/// An answer that waits for a change to be everywhere.
#[derive(Clone, Debug)]
pub struct Delayed {
    /// Whom to answer.
    pub origin: Origin,
    /// The key, if the answer shows it.
    pub key: Box<[u8]>,
    /// What to answer.
    pub outcome: Outcome<'static>,
    /// It answers the change itself, not only what depends on it.
    pub is_of_change: bool,
    /// When to give up waiting.
    pub deadline: Mono,
}

/// The answers that wait for one change. It is mostly its own alone, which takes no memory of its own.
#[derive(Debug, Default)]
struct Answers {
    first: Option<Delayed>,
    more: Vec<Delayed>,
}

/// A change that is not everywhere yet, or waits behind one that is not.
#[derive(Debug)]
pub struct Operation {
    /// The key it changes; of none, if it fills a holder.
    key: Place,
    /// The key's two numbers.
    pub hash: KeyHash,
    /// How many holders have not confirmed it: those with its number in their stream.
    missing: usize,
    /// The request that it answers.
    tag: Option<(MemberId, u64, Outcome<'static>)>,
    delayed: Answers,
    /// What it takes on its way.
    bytes: usize,
    /// It fills a holder: nobody waits for it, and after an interruption the filling begins again.
    is_filling: bool,
}

/// The changes on their way to one holder.
#[derive(Debug, Default)]
struct Stream {
    /// The numbers of the changes, and what each takes.
    unconfirmed: VecDeque<(u64, usize)>,
    /// What all of these take.
    bytes: usize,
    /// The link on which it runs.
    open: Option<LinkId>,
}

impl Stream {
    fn push(&mut self, number: u64, bytes: usize) {
        self.unconfirmed.push_back((number, bytes));
        self.bytes += bytes;
    }

    /// Does it wait for this change to be confirmed?
    fn awaits(&self, number: u64) -> bool {
        self.unconfirmed.binary_search_by_key(&number, |(number, _)| *number).is_ok()
    }

    /// Takes the first of those not confirmed, if it is not beyond this one.
    fn next_up_to(&mut self, number: u64) -> Option<u64> {
        let (first, bytes) = self.unconfirmed.front().copied().filter(|(first, _)| *first <= number)?;
        self.unconfirmed.pop_front();
        self.bytes -= bytes;
        Some(first)
    }
}

/// What comes from one owner.
#[derive(Debug, Default)]
struct Inbound {
    /// The newest link it comes on. What is left on an older one was said again on this one.
    link: Option<LinkId>,
    last: u64,
    owed: Option<LinkId>,
    doubts: Doubts,
}

/// The keys of an owner's changes of which it is not known that all have them.
#[derive(Debug, Default)]
struct Doubts {
    numbers: VecDeque<(u64, Place)>,
    keys: KeyQueue,
}

impl Doubts {
    fn note(&mut self, number: u64, key: &[u8]) {
        let place = self.keys.push(key);
        self.numbers.push_back((number, place));
    }

    fn end_up_to(&mut self, done: u64) {
        while let Some((_, place)) = self.numbers.front().copied().filter(|(number, _)| *number <= done) {
            self.numbers.pop_front();
            self.keys.drop_to(place);
        }
    }

    fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.numbers.iter().map(|(_, place)| self.keys.get(*place))
    }
}

/// What a change needs to know of the pool.
pub struct Pool<'a> {
    /// The view.
    pub pact: &'a Pact,
    /// The links.
    pub peers: &'a [Peer],
}

/// The changes of this node's keys on their way, and those of others' keys here.
#[derive(Debug, Default)]
pub struct Mirroring {
    operations: VecDeque<Operation>,
    keys: KeyQueue,
    /// The number of the first of them.
    first: u64,
    streams: BTreeMap<MemberId, Stream>,
    inbound: BTreeMap<MemberId, Inbound>,
    /// The last change under way of each key, by the key's hash in the table.
    pending: BTreeMap<u64, u64>,
    /// The change that the command now carried out has made.
    pub latest: Option<u64>,
    under_way: usize,
    /// When answers are overdue, and the change that they wait for; in the order of time.
    deadlines: VecDeque<(Mono, u64)>,
    /// Keys that an owner has left in doubt who is no more.
    pub orphaned: BTreeSet<Box<[u8]>>,
    /// The answers to forwarded writes.
    pub remembered: Remembered,
    /// Changes confirmed by all since the start.
    pub mirrored: u64,
    most_bytes: usize,
    /// Planted for tests.
    mistakes: Mistakes,
}

impl Answers {
    fn push(&mut self, delayed: Delayed) {
        if self.first.is_none() {
            self.first = Some(delayed);
        } else {
            self.more.push(delayed);
        }
    }

    fn take_overdue(&mut self, now: Mono) -> impl Iterator<Item = Delayed> {
        let first = self.first.take_if(|delayed| delayed.deadline <= now);
        first.into_iter().chain(self.more.extract_if(.., move |delayed| delayed.deadline <= now))
    }
}

impl IntoIterator for Answers {
    type Item = Delayed;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Delayed>, std::vec::IntoIter<Delayed>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.more)
    }
}

impl Pool<'_> {
    /// The members besides this one that get a key's changes.
    fn holders(&self, place: u32) -> impl Iterator<Item = MemberId> {
        let seats = self.pact.arc(place).into_iter().flat_map(Arc::holders);
        seats.filter(|seat| Some(*seat) != self.pact.me).map(|seat| self.pact.seats[seat])
    }

    /// The link to a member on which changes may be said: it is known to be in this view.
    fn way(&self, member: MemberId) -> Option<LinkId> {
        let pulse = self.pact.pulse_of(member)?;
        self.peers.get(member.index())?.link().filter(|_| pulse.view == self.pact.id && pulse.takes_part)
    }
}

impl Mirroring {
    /// Nothing is under way, in a pool whose values are so large at most.
    #[must_use]
    pub fn new(max_value: usize, mistakes: Mistakes) -> Mirroring {
        Mirroring { most_bytes: MAX_BYTES_UNDER_WAY.max(2 * max_value), mistakes, ..Mirroring::default() }
    }

    /// Is there no room for another change of a key in this place?
    #[must_use]
    pub fn is_full(&self, pool: &Pool<'_>, place: u32) -> bool {
        let is_crowded = |stream: &Stream| stream.bytes >= self.most_bytes;
        let has_crowd = |member: MemberId| self.streams.get(&member).is_some_and(is_crowded);
        self.has_too_many() || (self.streams.values().any(is_crowded) && pool.holders(place).any(has_crowd))
    }

    fn has_too_many(&self) -> bool {
        self.under_way >= MAX_UNDER_WAY || self.operations.len() >= MAX_IN_LINE
    }

    /// Is no client's change under way?
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        !self.waits_for_any(|_| true)
    }

    /// Does a client's change under way wait for a holder like this?
    pub fn waits_for_any(&self, fits: impl Fn(MemberId) -> bool) -> bool {
        let is_of_client = |(number, _): &(u64, usize)| self.operation(*number).is_some_and(|operation| !operation.is_filling);
        self.streams.iter().any(|(member, stream)| fits(*member) && stream.unconfirmed.iter().any(is_of_client))
    }

    /// How many changes are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// All holders have everything up to here.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.first.saturating_sub(1)
    }

    /// A change of a key that this node owns, just made or about to be: it goes to all holders. With none, it is everywhere already.
    pub fn change(
        &mut self,
        pool: &Pool<'_>,
        hash: KeyHash,
        change: &Change<'_>,
        answers: Option<(MemberId, u64, Outcome<'static>)>,
        out: &mut dyn Outputs,
    ) -> Option<u64> {
        pool.holders(hash.place).next()?;
        let operation = Operation {
            key: self.keys.push(change.key()?),
            hash,
            missing: 0,
            tag: answers,
            delayed: Answers::default(),
            bytes: bytes_of(change),
            is_filling: false,
        };
        let number = self.enter(operation);
        self.pending.insert(hash.table, number);
        for member in pool.holders(hash.place) {
            self.say(pool, member, number, change, out);
        }
        Some(number)
    }

    /// Something for one holder that is being filled.
    pub fn fill(&mut self, pool: &Pool<'_>, member: MemberId, hash: KeyHash, change: &Change<'_>, out: &mut dyn Outputs) -> u64 {
        let (key, bytes) = (self.keys.push(b""), bytes_of(change));
        let operation = Operation { key, hash, missing: 0, tag: None, delayed: Answers::default(), bytes, is_filling: true };
        let number = self.enter(operation);
        self.say(pool, member, number, change, out);
        number
    }

    fn enter(&mut self, operation: Operation) -> u64 {
        let number = self.first.max(1) + self.operations.len() as u64;
        self.first = self.first.max(1);
        self.under_way += 1;
        self.operations.push_back(operation);
        number
    }

    /// A change waits for this holder from now on, and is said to it if its stream runs.
    fn say(&mut self, pool: &Pool<'_>, member: MemberId, number: u64, change: &Change<'_>, out: &mut dyn Outputs) {
        self.wait_for(member, number);
        if let Some(link) = self.streams.get(&member).and_then(|stream| stream.open) {
            self.say_again(pool, link, number, change, out);
        }
    }

    fn wait_for(&mut self, member: MemberId, number: u64) {
        let Some(operation) = self.operation_mut(number) else { return };
        operation.missing += 1;
        let bytes = operation.bytes;
        self.streams.entry(member).or_default().push(number, bytes);
    }

    fn message<'m>(&self, pool: &Pool<'_>, number: u64, operation: &Operation, change: &Change<'m>) -> Message<'m> {
        let tag = operation.tag.as_ref().and_then(|(member, serial, outcome)| {
            // Who is out may come back while it still waits for the answer.
            Some(Tag { seat: pool.pact.place_of(*member)? as u16, serial: *serial, outcome: outcome.clone() })
        });
        Message::Mirror { view: pool.pact.id, number, done: self.done(), tag, change: change.clone() }
    }

    /// The change of a key that an answer about it has to wait for: the one just made, or the last one under way.
    pub fn take_awaited(&mut self, hash: KeyHash) -> Option<u64> {
        let latest = self.latest.take();
        if self.mistakes.ack_before_mirrors || self.pending.is_empty() {
            return None;
        }
        if self.mistakes.read_pending {
            return latest;
        }
        latest.or_else(|| self.pending.get(&hash.table).copied())
    }

    /// The last change under way of a key with a place from the first to the second, both included. If all of them have the same holders, everything
    /// before it is everywhere when it is.
    #[must_use]
    pub fn last_among(&self, (from, to): (u32, u32)) -> Option<u64> {
        let is_among = |operation: &Operation| !operation.is_filling && (from..=to).contains(&operation.hash.place);
        let is_under_way = |operation: &Operation| operation.missing > 0 && is_among(operation);
        let at = self.operations.iter().rposition(is_under_way).filter(|_| !self.mistakes.ack_before_mirrors)?;
        Some(self.first + at as u64)
    }

    /// An answer waits for a change.
    pub fn delay(&mut self, number: u64, delayed: Delayed) {
        // Nearly all wait equally long, so nearly all belong at the end.
        if self.deadlines.back().is_none_or(|(last, _)| *last <= delayed.deadline) {
            self.deadlines.push_back((delayed.deadline, number));
        } else {
            let place = self.deadlines.partition_point(|(earlier, _)| *earlier <= delayed.deadline);
            self.deadlines.insert(place, (delayed.deadline, number));
        }
        if let Some(operation) = self.operation_mut(number) {
            operation.delayed.push(delayed);
        }
    }

    /// The answers whose deadline has passed. One that waits for nobody but members who say `until` when has another deadline.
    pub fn take_overdue(&mut self, now: Mono, until: impl Fn(MemberId) -> Mono) -> Vec<Delayed> {
        let mut overdue = Vec::new();
        while let Some((_, number)) = self.deadlines.front().copied().filter(|(deadline, _)| *deadline <= now) {
            self.deadlines.pop_front();
            let missing = self.streams.iter().filter(|(_, stream)| stream.awaits(number)).map(|(member, _)| until(*member));
            let later = missing.min().filter(|later| *later > now);
            let Some(operation) = self.operation_mut(number) else { continue };
            let due: Vec<Delayed> = operation.delayed.take_overdue(now).collect();
            match later {
                Some(deadline) => due.into_iter().for_each(|delayed| self.delay(number, Delayed { deadline, ..delayed })),
                None => overdue.extend(due),
            }
        }
        overdue
    }

    /// When the next answer is overdue.
    #[must_use]
    pub fn wake_at(&self) -> Mono {
        self.deadlines.front().map_or(Mono::NEVER, |(deadline, _)| *deadline)
    }

    /// The streams that can run and do not: each is opened, and the numbers of what was not confirmed are returned, to be said again. What
    /// filled its holder is dropped from it.
    pub fn open_streams(&mut self, pool: &Pool<'_>) -> Vec<(MemberId, LinkId, Vec<u64>)> {
        let mut opened = Vec::new();
        let moved =
            self.streams.iter().map(|(member, stream)| (*member, stream.open, pool.way(*member))).filter(|(_, open, way)| open != way);
        for (member, _, way) in moved.collect::<Vec<_>>() {
            let stream = self.streams.entry(member).or_default();
            stream.open = way;
            if let Some(link) = way {
                stream.bytes = 0;
                let unconfirmed = std::mem::take(&mut stream.unconfirmed);
                let kept = self.drop_filling(unconfirmed);
                let stream = self.streams.entry(member).or_default();
                kept.iter().for_each(|(number, bytes)| stream.push(*number, *bytes));
                opened.push((member, link, kept.into_iter().map(|(number, _)| number).collect()));
            }
        }
        opened
    }

    /// Makes sure that there is a stream to a member, for [`open_streams`](Mirroring::open_streams) to open.
    pub fn want_stream(&mut self, member: MemberId) {
        self.streams.entry(member).or_default();
    }

    /// Is there a stream that does not run?
    #[must_use]
    pub fn has_waiting_streams(&self) -> bool {
        self.streams.values().any(|stream| stream.open.is_none() && !stream.unconfirmed.is_empty())
    }

    /// Does the stream to this member run?
    #[must_use]
    pub fn is_open(&self, member: MemberId) -> bool {
        self.streams.get(&member).is_some_and(|stream| stream.open.is_some())
    }

    fn drop_filling(&mut self, unconfirmed: VecDeque<(u64, usize)>) -> Vec<(u64, usize)> {
        let is_filling = |(number, _): &(u64, usize)| self.operation(*number).is_some_and(|operation| operation.is_filling);
        let (filling, kept): (Vec<_>, Vec<_>) = unconfirmed.into_iter().partition(is_filling);
        for (number, _) in filling {
            self.confirm_one(number, |_| ());
        }
        self.pop_finished();
        kept
    }

    /// Says a change again, as its key is now.
    pub fn say_again(&self, pool: &Pool<'_>, link: LinkId, number: u64, change: &Change<'_>, out: &mut dyn Outputs) {
        if let Some(operation) = self.operation(number) {
            out.send(link, &self.message(pool, number, operation, change));
        }
    }

    /// The key of a change under way.
    #[must_use]
    pub fn key_of(&self, number: u64) -> Option<(&[u8], KeyHash)> {
        self.operation(number).map(|operation| (self.keys.get(operation.key), operation.hash))
    }

    /// A holder has everything up to here. `free` takes the answers that waited for nothing else.
    pub fn on_confirmed(&mut self, member: MemberId, number: u64, mut free: impl FnMut(Delayed)) {
        while let Some(confirmed) = self.streams.get_mut(&member).and_then(|stream| stream.next_up_to(number)) {
            self.confirm_one(confirmed, &mut free);
        }
        self.pop_finished();
    }

    fn confirm_one(&mut self, number: u64, free: impl FnMut(Delayed)) {
        let Some(operation) = self.operation_mut(number) else { return };
        operation.missing -= 1;
        if operation.missing == 0 {
            self.finish(number).into_iter().for_each(free);
        }
    }

    /// A change is everywhere.
    fn finish(&mut self, number: u64) -> Answers {
        let Some(operation) = self.operation_mut(number) else { return Answers::default() };
        let (delayed, table) = (std::mem::take(&mut operation.delayed), operation.hash.table);
        if !operation.is_filling {
            self.mirrored += 1;
            if self.pending.get(&table) == Some(&number) {
                self.pending.remove(&table);
            }
        }
        self.under_way -= 1;
        delayed
    }

    fn pop_finished(&mut self) {
        while let Some(Operation { key, missing: 0, .. }) = self.operations.front() {
            self.keys.drop_to(*key);
            self.operations.pop_front();
            self.first += 1;
        }
        while self.deadlines.front().is_some_and(|(_, number)| *number < self.first) {
            self.deadlines.pop_front();
        }
    }

    /// A new view: streams begin anew. Changes of keys that `owns` says are still this node's wait for the holders of now; the answers to the
    /// others are returned, and so are those that wait for nobody any more.
    pub fn enter_view(&mut self, pool: &Pool<'_>, owns: impl Fn(KeyHash) -> bool) -> (Vec<Delayed>, Vec<Delayed>) {
        self.streams.clear();
        let (mut free, mut lost) = (Vec::new(), Vec::new());
        for index in 0..self.operations.len() {
            let number = self.first + index as u64;
            let Some(operation) = self.operation(number) else { continue };
            if operation.missing == 0 {
                continue;
            }
            let (hash, is_filling) = (operation.hash, operation.is_filling);
            let is_ours = !is_filling && owns(hash);
            if !is_ours && !is_filling {
                self.orphaned.insert(self.keys.get(operation.key).into());
            }
            if let Some(operation) = self.operation_mut(number) {
                operation.missing = 0;
            }
            for member in pool.holders(hash.place).filter(|_| is_ours) {
                self.wait_for(member, number);
            }
            if self.operation(number).is_some_and(|operation| operation.missing == 0) {
                let delayed = self.finish(number);
                if is_ours { free.extend(delayed) } else { lost.extend(delayed) }
            }
        }
        self.pop_finished();
        (free, lost)
    }

    /// A new view: streams begin anew. What came from owners that are still there is theirs to bring to an end, and stays in mind, since they
    /// may go before they have said it again; what came from the others is in doubt.
    pub fn part_with_owners(&mut self, is_there: impl Fn(MemberId) -> bool) {
        for (member, Inbound { doubts, .. }) in std::mem::take(&mut self.inbound) {
            if is_there(member) {
                self.inbound.insert(member, Inbound { doubts, ..Inbound::default() });
            } else {
                self.orphaned.extend(doubts.keys().map(Box::from));
            }
        }
    }

    /// Everything is forgotten: no key is in doubt.
    pub fn forget_doubts(&mut self) {
        self.inbound.values_mut().for_each(|inbound| inbound.doubts = Doubts::default());
        self.orphaned.clear();
    }

    /// A change has come from an owner. False if it is known already.
    pub fn on_change(&mut self, owner: MemberId, link: LinkId, number: u64, done: u64, key: Option<&[u8]>) -> bool {
        let inbound = self.inbound.entry(owner).or_default();
        if inbound.link > Some(link) {
            return false;
        }
        inbound.link = Some(link);
        inbound.owed = Some(link);
        if number <= inbound.last {
            return false;
        }
        inbound.last = number;
        if let Some(key) = key {
            if !self.orphaned.is_empty() {
                self.orphaned.remove(key);
            }
            inbound.doubts.note(number, key);
        }
        self.on_done(owner, done);
        true
    }

    /// All holders have an owner's changes up to here.
    pub fn on_done(&mut self, owner: MemberId, done: u64) {
        if let Some(inbound) = self.inbound.get_mut(&owner) {
            inbound.doubts.end_up_to(done);
        }
    }

    /// The confirmations of this turn: to whom, on which link, up to where.
    pub fn take_confirmations(&mut self) -> Vec<(LinkId, u64)> {
        self.inbound.values_mut().filter_map(|inbound| inbound.owed.take().map(|link| (link, inbound.last))).collect()
    }

    fn operation(&self, number: u64) -> Option<&Operation> {
        self.operations.get(number.checked_sub(self.first)? as usize)
    }

    fn operation_mut(&mut self, number: u64) -> Option<&mut Operation> {
        self.operations.get_mut(number.checked_sub(self.first)? as usize)
    }
}

/// What a change takes on its way.
fn bytes_of(change: &Change<'_>) -> usize {
    let content = match change {
        Change::Put { key, value, .. } => key.len() + value.len(),
        Change::Delete { key, .. } | Change::Keep { key, .. } => key.len(),
        Change::Drop { digests, .. } => size_of_val(&digests[..]),
    };
    CHANGE_OVERHEAD + content
}

#[cfg(test)]
mod tests {
    use super::super::testing::Nowhere;
    use super::*;
    use crate::caching::Version;
    use crate::topology::membership::Card;
    use crate::topology::view::{Past, View};

    const OWNER: MemberId = MemberId(1);

    fn with_a_doubt() -> Mirroring {
        let mut mirroring = Mirroring::new(0, Mistakes::default());
        assert!(mirroring.on_change(OWNER, LinkId(7), 5, 4, Some(b"key")));
        mirroring
    }

    #[test]
    fn what_an_owner_has_not_brought_to_an_end_is_in_doubt_in_whichever_view_it_goes() {
        let mut mirroring = with_a_doubt();
        mirroring.part_with_owners(|_| true);
        assert!(mirroring.orphaned.is_empty());
        mirroring.part_with_owners(|_| false);
        assert_eq!(mirroring.orphaned.iter().map(|key| &**key).collect::<Vec<_>>(), [b"key"]);
    }

    #[test]
    fn what_an_owner_has_brought_to_an_end_is_in_no_doubt() {
        let mut mirroring = with_a_doubt();
        mirroring.part_with_owners(|_| true);
        assert!(mirroring.on_change(OWNER, LinkId(8), 5, 4, Some(b"key")), "streams begin anew");
        mirroring.on_done(OWNER, 5);
        mirroring.part_with_owners(|_| false);
        assert!(mirroring.orphaned.is_empty());
    }

    #[test]
    fn what_was_done_for_a_node_that_is_out_is_remembered_for_when_it_is_back() {
        let card = |port: u16| Card { incarnation: 1, ..Card::of_address(([127, 0, 0, 1], port).into()) };
        let view = View::first((1, 1), 2, &[card(8001), card(8002)], &[card(8003)], Past::Lost);
        let mut pact = Pact::new(2, false, 500, None, Mono(0));
        pact.enter(view, vec![MemberId::ME, OWNER, MemberId(2)], 1, Mono(0));
        let (pool, mut mirroring) = (Pool { pact: &pact, peers: &[] }, Mirroring::new(0, Mistakes::default()));
        let change = Change::Delete { key: b"key".into(), version: Version(1) };
        let number = mirroring.change(&pool, KeyHash::default(), &change, Some((MemberId(2), 7, Outcome::Done)), &mut Nowhere);
        let number = number.expect("there is a mirror");
        let operation = mirroring.operation(number).expect("it is under way");
        let Message::Mirror { tag, .. } = mirroring.message(&pool, number, operation, &change) else { panic!("it is a change") };
        assert_eq!(tag.map(|tag| (tag.seat, tag.serial)), Some((2, 7)));
    }

    const OTHER: MemberId = MemberId(2);

    /// A change begins its way to a holder.
    fn enter_for(mirroring: &mut Mirroring, member: MemberId, bytes: usize) -> u64 {
        let (key, hash) = (mirroring.keys.push(b"key"), KeyHash::default());
        let number = mirroring.enter(Operation { key, hash, missing: 0, tag: None, delayed: Answers::default(), bytes, is_filling: false });
        mirroring.wait_for(member, number);
        number
    }

    #[test]
    fn bytes_under_way_are_counted_for_each_holder_until_it_confirms_them() {
        let mut mirroring = Mirroring::new(0, Mistakes::default());
        let first = enter_for(&mut mirroring, OWNER, MAX_BYTES_UNDER_WAY - 1);
        enter_for(&mut mirroring, OTHER, 1);
        let bytes = |mirroring: &Mirroring| (mirroring.streams[&OWNER].bytes, mirroring.streams[&OTHER].bytes);
        let second = enter_for(&mut mirroring, OWNER, 1);
        assert_eq!(bytes(&mirroring), (MAX_BYTES_UNDER_WAY, 1));
        mirroring.on_confirmed(OWNER, first, |_| ());
        assert_eq!(bytes(&mirroring), (1, 1));
        mirroring.on_confirmed(OWNER, second, |_| ());
        assert_eq!(bytes(&mirroring), (0, 1));
    }

    #[test]
    fn changes_that_wait_behind_one_that_is_under_way_are_not_endless() {
        let mut mirroring = Mirroring::new(0, Mistakes::default());
        let first = enter_for(&mut mirroring, OTHER, 1);
        for _ in 1..MAX_IN_LINE {
            assert!(!mirroring.has_too_many());
            let number = enter_for(&mut mirroring, OWNER, 1);
            mirroring.on_confirmed(OWNER, number, |_| ());
        }
        assert!(mirroring.has_too_many() && mirroring.under_way() == 1);
        mirroring.on_confirmed(OTHER, first, |_| ());
        assert!(!mirroring.has_too_many());
    }
}
