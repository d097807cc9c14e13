//! A new view, and what follows from it: who owns what from now on, what is made equal, what is given up.
//!
//! The new owner of a key has it already: it was a complete holder. What may differ between holders are the last changes of an owner that is no
//! more. So, as soon as this node holds a lease in the new view, it says again, to all holders, every key of its own that is in doubt: those of its
//! own changes that were under way, and those that came from an owner that has gone without saying that all have them. Until all have confirmed
//! one, nobody is told of it. Keys in doubt that another node owns now are told to that node, which does the same.
//!
//! Nothing is streamed, applied or forgotten on the strength of a view before its owner holds a lease in it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use log::{info, warn};

use super::filling::put_of;
use super::message::{Change, Message};
use super::mirroring::{Delayed, Pool};
use super::pact::{Pact, Route};
use super::reply::{Failure, Reply};
use super::requests::{Parked, Waiting};
use super::sweeping::Shares;
use super::walking::Walks;
use super::{Node, Origin, Outputs, answer};
use crate::caching::Version;
use crate::caching::cache::Cache;
use crate::caching::record::Record;
use crate::hash::KeyHash;
use crate::time::{Mono, Now};
use crate::topology::MemberId;
use crate::topology::membership::{Card, Member, Standing};
use crate::topology::peers::LinkId;
use crate::topology::placement::Placement;
use crate::topology::view::{Seat, Standing as SeatStanding, View, ViewId};

/// Most keys in one message about doubts.
const DOUBTS_A_MESSAGE: usize = 1_000;
/// Most bytes of them: the longest keys fit a frame too, whatever the largest value is.
const DOUBTFUL_BYTES: usize = 512 << 10;
/// How often doubts are told again, in case the first word was lost.
const TELL_DOUBTS_EVERY_MS: u64 = 500;
type Keys = BTreeSet<Box<[u8]>>;

/// What is left to do after a view was adopted.
#[derive(Debug, Default)]
pub struct Aftermath {
    /// When doubts are told again.
    doubts_at: Mono,
    /// Views adopted since the start.
    pub views: u64,
    /// Arcs that began empty here since the start, all their holders being gone.
    pub cold_arcs: u64,
}

/// The view before.
struct Former {
    placement: Placement,
    me: Option<usize>,
    is_whole: bool,
    view: Option<View>,
    id: ViewId,
}

impl Node {
    /// Takes a view for its own.
    pub(super) fn adopt(&mut self, now: Now, view: View, out: &mut dyn Outputs) {
        let seats: Vec<MemberId> = view.seats.iter().map(|seat| self.membership.learn(&seat.card, now.mono)).collect();
        self.link_new_members(now.mono);
        self.note_knowers(Some(&view));
        let Some(pact) = &mut self.pact else { return };
        let before = Former {
            placement: std::mem::take(&mut pact.placement),
            me: pact.me,
            is_whole: pact.is_whole,
            view: pact.view.take(),
            id: pact.id,
        };
        for (seat, member) in seats.iter().enumerate() {
            let was_up =
                before.view.as_ref().and_then(|old| old.seat(&view.seats[seat].card.name).map(|at| old.seats[at].is_up())).unwrap_or(false);
            if was_up && !view.seats[seat].is_up() {
                pact.tie(*member).dropped_at = Some(now.mono);
            }
        }
        pact.enter(view, seats, self.membership.me().card.incarnation, now.mono);
        self.aftermath.views += 1;
        self.say_what_changed(before.view.as_ref());
        self.keep_view(out);
        self.forget_what_does_not_count(now, &before);
        self.begin_versions();
        self.bring_over(now, before.view.as_ref(), out);
        self.filling.end();
        self.note_moved(&before);
        self.drop_granted_wants();
        self.forget_declarations(now, out);
        self.pay_pongs(now, out);
        self.ping_all(now.mono, out);
        self.end_waits_for_views(out);
        self.unsend_to_the_gone();
        self.reconsider_parked(now, out);
        self.activate_if_serving(now, out);
        self.hear_early_prepare(now, out);
    }

    fn note_moved(&mut self, before: &Former) {
        let Some(pact) = &self.pact else { return };
        let Former { placement, me, is_whole, view, .. } = before;
        let shares = view.as_ref().map(|_| Shares { placement, me: *me, is_whole: *is_whole });
        self.sweep.note_moved(shares, pact.shares());
    }

    /// No version is given twice: a former owner may have given some that nobody here has heard of, and may come back with them. So every view
    /// has an epoch of versions of its own.
    fn begin_versions(&mut self) {
        let Some(view) = self.pact.as_ref().and_then(|pact| pact.view.as_ref()) else { return };
        self.version = self.version.end_of_epoch().max(Version::start_of(view.versions));
    }

    /// It has no part in any view from now on.
    pub(super) fn lose_seat(&mut self, now: Now, out: &mut dyn Outputs) {
        self.note_knowers(None);
        let Some(pact) = &mut self.pact else { return };
        pact.leave_view(now.mono);
        self.filling.end();
        self.sweep.end();
        self.bring_over(now, None, out);
        self.mirroring.forget_doubts();
    }

    /// Holds a lease for the first time in this view: what was waited for begins.
    pub(super) fn activate_if_serving(&mut self, now: Now, out: &mut dyn Outputs) {
        let Some(pact) = self.pact.as_mut().filter(|pact| pact.me.is_some() && pact.is_serving(now.mono)) else { return };
        if pact.was_active {
            if self.is_waiting_for_lease {
                self.is_waiting_for_lease = false;
                self.reconsider_parked(now, out);
            }
            return;
        }
        pact.was_active = true;
        self.is_waiting_for_lease = false;
        let Some(pact) = &self.pact else { return };
        self.filling.begin(pact, now.mono);
        for member in self.filling.members().collect::<Vec<_>>() {
            self.mirroring.want_stream(member);
        }
        self.restate_doubts(now, out);
        self.run_streams(now, out);
        self.reconsider_parked(now, out);
    }

    /// What a tick does for the copies.
    pub(super) fn tick_mirroring(&mut self, now: Now, out: &mut dyn Outputs) {
        let Some(pact) = &self.pact else { return };
        self.is_waiting_for_lease |= !pact.is_serving(now.mono);
        let view = pact.id;
        self.run_streams(now, out);
        self.work_a_little(now, out);
        let (patience, timeout_ms) = (&self.patience, self.settings.request_timeout_ms);
        let overdue = self.mirroring.take_overdue(now.mono, |member| patience.until(member, timeout_ms));
        self.give_up_delayed(overdue, false, out);
        if now.mono >= self.aftermath.doubts_at {
            self.aftermath.doubts_at = now.mono.plus(TELL_DOUBTS_EVERY_MS);
            self.tell_doubts(out);
        }
        for (link, number) in self.mirroring.take_confirmations() {
            out.send(link, &Message::Mirrored { view, number });
        }
    }

    /// Opens the streams that can run, and says again on them what was not confirmed.
    pub(super) fn run_streams(&mut self, now: Now, out: &mut dyn Outputs) {
        let Some(pact) = self.pact.as_ref().filter(|pact| pact.was_active) else { return };
        let pool = Pool { pact, peers: &self.peers };
        for (member, link, numbers) in self.mirroring.open_streams(&pool) {
            self.filling.on_interrupted(member, pact);
            for number in numbers {
                let Some((key, hash)) = self.mirroring.key_of(number) else { continue };
                let change = state_of(&self.cache, key, hash, self.version, now.mono);
                self.mirroring.say_again(&pool, link, number, &change, out);
            }
        }
    }

    /// A holder has confirmed.
    pub(super) fn on_mirrored(&mut self, now: Now, link: LinkId, view: ViewId, number: u64, out: &mut dyn Outputs) {
        let Some(member) = self.member_dialled(link) else { return out.hang_up(link) };
        if self.pact.as_ref().is_none_or(|pact| pact.id != view) {
            return;
        }
        self.filling.on_confirmed(member, number);
        let (mirroring, walks) = (&mut self.mirroring, &mut self.walks);
        mirroring.on_confirmed(member, number, |delayed| tell(walks, delayed, out));
        self.pay_promise(now, out);
        self.advance_proposal(now, out);
    }

    /// An owner says what becomes of a key, or of many.
    pub fn on_mirror(&mut self, now: Now, link: LinkId, hash: KeyHash, message: &Message<'_>, out: &mut dyn Outputs) {
        let Message::Mirror { view, number, done, tag, change } = message else { return };
        let Some(owner) = self.greeted.get(&link).copied() else { return out.hang_up(link) };
        let fits = self.pact.as_ref().is_some_and(|pact| pact.me.is_some() && (pact.id == *view || self.mistakes().no_fence));
        if !fits {
            return;
        }
        let key = change.key().filter(|_| !matches!(change, Change::Keep { .. }));
        if !self.mirroring.on_change(owner, link, *number, *done, key) {
            return;
        }
        let entry_node = tag.as_ref().and_then(|tag| self.pact.as_ref()?.seats.get(usize::from(tag.seat)).map(|member| (*member, tag)));
        if let (Some((entry_node, tag)), Some(key)) = (entry_node, key) {
            self.mirroring.remembered.note(entry_node, tag.serial, self.hasher.hash(key), tag.outcome.clone().into_owned());
        }
        self.apply(now, hash, change);
    }

    /// Another holder does not know whether all have these keys as it has them.
    pub(super) fn on_doubts(&mut self, now: Now, link: LinkId, view: ViewId, keys: &[Cow<'_, [u8]>], out: &mut dyn Outputs) {
        let fits = self.pact.as_ref().is_some_and(|pact| pact.id == view && pact.was_active);
        if !self.greeted.contains_key(&link) || !fits {
            return;
        }
        for key in keys {
            self.restate(now, key, out);
        }
    }

    /// Answers what waited for changes that are everywhere now.
    pub(super) fn answer_delayed(&mut self, delayed: Vec<Delayed>, out: &mut dyn Outputs) {
        delayed.into_iter().for_each(|delayed| tell(&mut self.walks, delayed, out));
    }

    /// Says every key in doubt again that this node owns, and tells the others' owners of theirs.
    fn restate_doubts(&mut self, now: Now, out: &mut dyn Outputs) {
        if self.mistakes().no_restate {
            return;
        }
        let Some(pact) = &self.pact else { return };
        let keys = std::mem::take(&mut self.mirroring.orphaned);
        let (ours, theirs): (Keys, Keys) = keys.into_iter().partition(|key| pact.owns(self.hasher.hash(key).place));
        // Of a key that this node holds no more, nobody tells it that all have it: those who do hold it have doubts of their own.
        self.mirroring.orphaned = theirs.into_iter().filter(|key| pact.holds(self.hasher.hash(key).place)).collect();
        for key in ours {
            self.restate(now, &key, out);
        }
        self.aftermath.doubts_at = now.mono;
    }

    fn restate(&mut self, now: Now, key: &[u8], out: &mut dyn Outputs) {
        let hash = self.hasher.hash(key);
        let Some(pact) = self.pact.as_ref().filter(|pact| pact.owns(hash.place)) else { return };
        let pool = Pool { pact, peers: &self.peers };
        let change = state_of(&self.cache, key, hash, self.version, now.mono);
        self.mirroring.change(&pool, hash, &change, None, out);
    }

    fn tell_doubts(&mut self, out: &mut dyn Outputs) {
        let Some(pact) = self.pact.as_ref().filter(|pact| pact.me.is_some() && !self.mirroring.orphaned.is_empty()) else { return };
        let mut told: std::collections::BTreeMap<LinkId, Vec<Cow<'_, [u8]>>> = std::collections::BTreeMap::new();
        for key in told_at_once(self.mirroring.orphaned.iter().map(|key| &key[..])) {
            let owner = pact.placement.owner(self.hasher.hash(key).place).map(|seat| pact.seats[seat]);
            if let Some(link) = owner.and_then(|owner| self.peers[owner.index()].link()) {
                told.entry(link).or_default().push(Cow::Borrowed(key));
            }
        }
        for (link, keys) in told {
            out.send(link, &Message::Doubts { view: pact.id, keys });
        }
    }

    /// What was under way under the former view: changes of keys that are still this node's wait for the holders of now, the others' answers are
    /// given up.
    fn bring_over(&mut self, now: Now, before: Option<&View>, out: &mut dyn Outputs) {
        let Some(pact) = &self.pact else { return };
        let pool = Pool { pact, peers: &self.peers };
        let (free, lost) = self.mirroring.enter_view(&pool, |hash| pact.owns(hash.place));
        // A new life in the old seat does not bring to an end what the former one has begun.
        let lives_on = |card: &Card| before.is_none_or(|before| before.seat_up(&card.name, card.incarnation).is_some());
        let card = |seat: usize| pact.view.as_ref().map(|view| &view.seats[seat].card);
        self.mirroring.part_with_owners(|member| pact.seat_of(member).and_then(card).is_some_and(lives_on));
        self.answer_delayed(free, out);
        self.give_up_delayed(lost, true, out);
        self.is_waiting_for_lease |= !self.is_serving(now.mono);
    }

    /// Answers that cannot be given: nobody knows whether all holders have what they tell. Another node's client asks elsewhere, unless it has
    /// waited for too long already.
    pub(super) fn give_up_delayed(&mut self, lost: Vec<Delayed>, elsewhere: bool, out: &mut dyn Outputs) {
        for Delayed { origin, key, is_of_change, .. } in lost {
            let failure = match origin {
                Origin::Peer { .. } if elsewhere && is_of_change => Failure::Undecided,
                Origin::Peer { .. } | Origin::Walk(_) if elsewhere => Failure::Elsewhere,
                _ if is_of_change => Failure::OutcomeUnknown,
                _ => Failure::Unreachable,
            };
            self.fail(origin, &key, &failure, out);
        }
    }

    /// What this node has and may not show: everything, if the pool begins empty or has forgotten; its cold arcs, if it did not own them before.
    fn forget_what_does_not_count(&mut self, now: Now, before: &Former) {
        let Former { placement: old_placement, me: old_me, view: old_view, id: old_id, .. } = before;
        let Some((pact, view)) = self.pact.as_ref().and_then(Pact::with_view) else { return };
        let Some(me) = pact.me else { return };
        let is_new = old_id.lineage != view.lineage && (old_me.is_none() || old_view.is_none());
        let begins_empty = is_new && view.epoch == view.began && !view.first_only;
        let has_flushed = old_id.lineage == view.lineage && old_view.as_ref().is_some_and(|old| old.flushes < view.flushes);
        if begins_empty || has_flushed {
            self.mirroring.forget_doubts();
            return self.flush(now);
        }
        let owned_before = |place: u32| old_me.is_some() && old_placement.owner(place) == *old_me && old_view.is_some();
        let cold: Vec<(u32, u32)> =
            pact.placement.spans().filter(|(_, _, arc)| arc.is_cold && arc.owner() == Some(me)).map(|(from, to, _)| (from, to)).collect();
        self.aftermath.cold_arcs += cold.iter().filter(|(from, _)| !owned_before(*from)).count() as u64;
        if cold.is_empty() {
            return;
        }
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        for (hash, entry) in self.cache.in_places(0, u32::MAX) {
            let is_cold = pact.arc(hash.place).is_some_and(|arc| arc.is_cold && arc.owner() == Some(me));
            if is_cold && !owned_before(hash.place) {
                keys.push(entry.key().into());
            }
        }
        warn!("{} arcs of the ring have lost all their holders: they begin empty here", cold.len());
        keys.iter().for_each(|key| self.drop_copy(key));
    }

    /// The node ends: it serves nothing any more, and grants nobody anything.
    pub fn retire(&mut self, now: Now, out: &mut dyn Outputs) {
        self.leave();
        if let Some(pact) = &mut self.pact {
            pact.has_retired = true;
        }
        self.lose_seat(now, out);
        self.ping_all(now.mono, out);
    }

    /// The node is to end: others are to have its keys first.
    pub fn leave(&mut self) {
        if let Some(pact) = &mut self.pact {
            pact.wants.leaves = true;
        }
    }

    /// Has it nothing left that others have to have first?
    #[must_use]
    pub fn has_left(&self) -> bool {
        let Some(pact) = &self.pact else { return true };
        // What a former life said of itself its next one, not met yet, has not said.
        let leaves = |id: MemberId| pact.pulse_from(id, self.membership.get(id).card.incarnation).is_some_and(|pulse| pulse.leaves);
        // Who has greeted us is there, and so is who takes part in our view, or in the first one that we have accepted, even if our own dial has
        // not reached that life yet.
        let has_greeted = |id: MemberId| self.greeted.values().any(|greeted| *greeted == id);
        let is_to_begin = |name: &str| {
            let takes_part = |view: &View| view.seat(name).is_some_and(|seat| view.seats[seat].is_up());
            pact.view.is_none() && pact.acceptor.accepted().is_some_and(|(_, view)| takes_part(view))
        };
        let takes_part = |id: MemberId| pact.seat_of(id).is_some_and(|seat| !pact.has_ended(seat, &self.membership));
        let is_there = |(id, member): (MemberId, &Member)| member.standing == Standing::Up || has_greeted(id);
        let is_gone = |(id, member): (MemberId, &Member)| {
            member.standing.is_away() && !has_greeted(id) && !takes_part(id) && !is_to_begin(&member.card.name)
        };
        // The view that it has promised to help with may seat somebody who stays.
        let is_agreeing = pact.me.is_some() && pact.acceptor.is_frozen();
        if self.membership.others().all(|other| is_gone(other) || (leaves(other.0) && !is_agreeing)) {
            return true;
        }
        match (&pact.view, pact.me) {
            // Those who are there may need its journal to begin with.
            (None, _) => !pact.may_be_missed() && (pact.kept.is_none() || !self.membership.others().any(is_there)),
            // Who has given up the seat that it has by this view still counts to the others as a holder.
            (Some(view), None) => view.seat_up(&self.me().name, self.me().incarnation).is_none() && self.is_view_known(),
            (Some(view), Some(me)) => self.mistakes().ends_unrelieved && view.is_dispensable(me) && self.is_view_known(),
        }
    }

    /// Has everybody in the view it, as far as they live? Who has not could go on from the one before, in which this node has a seat.
    fn is_view_known(&self) -> bool {
        let Some((pact, view)) = self.pact.as_ref().and_then(Pact::with_view) else { return true };
        let has_it = |seat: usize| pact.pulse_of(pact.seats[seat]).is_some_and(|pulse| pulse.view == pact.id);
        view.up().all(|seat| Some(seat) == pact.me || has_it(seat) || pact.has_ended(seat, &self.membership))
    }

    /// Removes a key that is not this node's to keep.
    pub(super) fn drop_copy(&mut self, key: &[u8]) {
        let hash = self.hasher.hash(key);
        self.cache.remove(key, hash, Mono(0));
        let version = self.version;
        if let Some(journal) = &mut self.journal {
            journal.append(&Record::Delete { key, version });
        }
    }

    fn keep_view(&self, out: &mut dyn Outputs) {
        let Some(view) = self.pact.as_ref().filter(|pact| pact.me.is_some()).and_then(|pact| pact.view.as_ref()) else { return };
        let mut bytes = Vec::new();
        view.write(&mut bytes);
        out.keep(&bytes);
    }

    fn drop_granted_wants(&mut self) {
        let Some(pact) = &mut self.pact else { return };
        let Some(view) = &pact.view else { return };
        let is_banned = |name: &String| view.is_banned(name);
        pact.wants.bans.retain(|name| view.seat(name).is_some() && !is_banned(name));
        pact.wants.pardons.retain(is_banned);
        pact.reconsider_flush();
    }

    /// Answers the requests that waited for a view like this one.
    fn end_waits_for_views(&mut self, out: &mut dyn Outputs) {
        let Some((pact, view)) = self.pact.as_ref().and_then(Pact::with_view) else { return };
        let is_met = |parked: &Parked| match &parked.waiting {
            Waiting::Flushed { by } => by.is_some_and(|by| by.is_reached(view)),
            Waiting::Seated { member, seated } => pact.seat_of(*member).is_some() == *seated,
            _ => false,
        };
        for id in self.requests.select(is_met) {
            if let Some(parked) = self.requests.take(id) {
                answer(out, parked.origin, b"", &Reply::Done);
            }
        }
    }

    /// One line that a person understands.
    fn say_what_changed(&self, before: Option<&View>) {
        let Some((pact, view)) = self.pact.as_ref().and_then(Pact::with_view) else { return };
        let standing_in = |view: Option<&View>, card: &Card| {
            let seat = view.and_then(|view| Some(&view.seats[view.seat_up(&card.name, card.incarnation)?]));
            seat.map(|seat| seat.standing)
        };
        let names = |view: &View, is_meant: &dyn Fn(&Seat) -> bool| -> Vec<String> {
            view.up().map(|seat| &view.seats[seat]).filter(|seat| is_meant(seat)).map(|seat| seat.card.node_id.clone()).collect()
        };
        let came = names(view, &|seat| standing_in(before, &seat.card).is_none());
        let is_leaving = |standing: Option<SeatStanding>| standing == Some(SeatStanding::Leaving);
        let leaves = names(view, &|seat| is_leaving(Some(seat.standing)) && !is_leaving(standing_in(before, &seat.card)));
        let went = before.map(|before| names(before, &|seat| standing_in(Some(view), &seat.card).is_none())).unwrap_or_default();
        let mut parts: Vec<String> = Vec::new();
        for (list, word) in [(&came, "comes"), (&leaves, "is about to leave"), (&went, "goes")] {
            if !list.is_empty() {
                parts.push(format!("node {} {word}", list.join(", ")));
            }
        }
        let lost = pact.placement.lost_redundancy();
        parts.push(format!("{} of {} nodes up", view.up().count(), view.seats.len()));
        parts.push(if lost == 0 { "every key has its copies".into() } else { format!("{lost} arcs are short of copies") });
        if pact.me.is_none() {
            parts.push(if pact.wants.leaves { "this node has left" } else { "this node has no seat yet" }.into());
        }
        info!("view {}: {}", view.epoch, parts.join("; "));
    }

    pub(super) fn route(&self, hash: KeyHash, now: Mono) -> Route {
        self.pact.as_ref().map_or(Route::Here, |pact| pact.route(hash.place, now))
    }
}

/// Answers what has waited for a change: a walk of this node's own as well as whoever has asked from without.
fn tell(walks: &mut Walks, Delayed { origin, key, outcome, .. }: Delayed, out: &mut dyn Outputs) {
    match origin {
        Origin::Walk(id) => walks.on_scanned(id, outcome),
        Origin::Client(_) | Origin::Peer { .. } => answer(out, origin, &key, &outcome.reply()),
    }
}

/// A change that makes a key what it is here now.
fn state_of<'k>(cache: &'k Cache, key: &'k [u8], hash: KeyHash, version: Version, now: Mono) -> Change<'k> {
    let gone = Change::Delete { key: Cow::Borrowed(key), version };
    cache.peek(key, hash, now).map_or(gone, |entry| put_of(entry, now))
}

/// As many of these keys as one message about doubts may name.
fn told_at_once<'k>(keys: impl Iterator<Item = &'k [u8]>) -> impl Iterator<Item = &'k [u8]> {
    let mut bytes = 0;
    keys.take(DOUBTS_A_MESSAGE).take_while(move |key| {
        bytes += key.len();
        bytes <= DOUBTFUL_BYTES
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caching::entry::MAX_KEY;
    use crate::communication::peer;

    #[test]
    fn a_message_about_doubts_fits_a_frame_however_long_the_keys_are() {
        for length in [1, 100, 1_024, MAX_KEY] {
            let key = vec![b'k'; length];
            let keys: Vec<Cow<'_, [u8]>> = told_at_once(std::iter::repeat(&key[..])).map(Cow::Borrowed).collect();
            assert!(!keys.is_empty() && keys.len() <= DOUBTS_A_MESSAGE);
            let mut bytes = Vec::new();
            peer::compose(&Message::Doubts { view: ViewId::default(), keys }, &mut bytes);
            assert!(bytes.len() < peer::max_message(1), "{length}: {}", bytes.len());
        }
    }
}
