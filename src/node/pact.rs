//! What a node of a pool with mirrors knows of its view: who is in it, whether it may serve by it, and what it has heard of the others.
//!
//! **Leases.** A node serves only while enough seats of its view ([`View::decides`]) have granted it that, in pongs. A grant counts from the
//! moment when the ping was *sent*, for [`Pact::lease_ms`]; who has granted one waits nearly twice as long before it helps to go on without the
//! other. So a process that was stopped or cut off finds its lease gone before it can say anything old, whatever its clock shows. Leases are
//! Gray and Cheriton's (1989).
//!
//! **Witnessed deaths.** A refused connection, or a greeting from its next life, proves that a process is gone. If that is known
//! before it could have stopped waiting after its last grant to us, it cannot have helped anyone to go on without us; such a seat no longer
//! counts in what decides.
//!
//! Nothing here sends anything: the messages are in [`agreement`](super::agreement), what follows from a new view in [`takeover`](super::takeover).

use std::collections::VecDeque;

use crate::node::message::Pulse;
use crate::node::sweeping::Shares;
use crate::time::Mono;
use crate::topology::MemberId;
use crate::topology::agreement::{Acceptor, Ballot, Proposal};
use crate::topology::membership::Membership;
use crate::topology::peers::LinkId;
use crate::topology::placement::{Arc, Placement};
use crate::topology::view::{Past, View, ViewId};

/// A lease is this part of the time of silence.
const LEASE_PART: u64 = 2;
/// Who has granted a lease waits for so many tenths of it. More than the twelve that keep it safe: the longer it is, the later a death may be
/// noticed and still be witnessed.
const WAIT_TENTHS: u64 = 19;
/// A death is witnessed within so many hundredths of that: less by what two clocks may differ.
const WITNESS_HUNDREDTHS: u64 = 90;
/// Pings whose pongs may still come.
const PINGS_REMEMBERED: usize = 32;

/// Where a key's command is to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// By this node.
    Here,
    /// By this member.
    There(MemberId),
    /// By this node, or nobody knows by whom: not before something has changed.
    Later,
}

/// What this node knows of another one besides its standing.
#[derive(Clone, Debug, Default)]
pub struct Tie {
    /// Pings on their way: their number and when they were sent.
    pings: VecDeque<(u64, Mono)>,
    /// When the ping was sent that it last granted a lease for, in this view.
    pub granted: Option<Mono>,
    /// When it was last granted one, in this view.
    pub grants: Option<Mono>,
    /// Its seat's life has ended while its grant was running.
    pub is_witnessed: bool,
    /// The life that was known when it was last dialled.
    pub dialled_life: u64,
    /// The last life that is known to have ended.
    pub ended_life: u64,
    /// How it said it was.
    pub pulse: Pulse,
    /// When it was last left out of a view.
    pub dropped_at: Option<Mono>,
    /// It has said that it takes part in the present view.
    pub has_sat: bool,
}

/// A view that somebody has asked to accept. Until that is done it binds nobody: it cannot have been acted on.
#[derive(Debug)]
pub struct OwedAcceptance {
    /// On which link it was asked; on none if this node itself did.
    pub link: Option<LinkId>,
    /// In which proposal.
    pub ballot: Ballot,
    /// The view.
    pub view: View,
    /// It is accepted when no lease of these seats can run any more.
    pub silent: Vec<u16>,
}

/// Is the next view to forget everything?
///
/// Views count their flushes. Which one answers a request is known only to a node that serves by its view: then nobody has acted on a later one.
/// Who does not serve may know an old view, and one that others have flushed since is not what its client has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// No.
    #[default]
    NotWanted,
    /// By a view after the one that stands when this node serves again.
    Wanted,
    /// By the view that makes the count this.
    By(FlushCount),
}

/// So many flushes in a succession of views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushCount {
    /// The succession.
    pub lineage: u64,
    /// How many.
    pub count: u64,
}

impl FlushCount {
    /// Has this view, or one before it, flushed?
    #[must_use]
    pub fn is_reached(self, view: &View) -> bool {
        self.lineage == view.lineage && view.flushes >= self.count
    }
}

/// What somebody here wants the next view to do.
#[derive(Clone, Debug, Default)]
pub struct Wants {
    /// Forget everything.
    pub flush: Flush,
    /// Keep these out.
    pub bans: Vec<String>,
    /// Let these in again.
    pub pardons: Vec<String>,
    /// Relieve this node.
    pub leaves: bool,
}

/// A view, and this node's part in it.
#[derive(Debug)]
pub struct Pact {
    /// How many nodes hold a key; 0 if they are named.
    pub copies: u32,
    /// Go on without the silent, if they are too many.
    pub serves_on_silence: bool,
    /// The view.
    pub view: Option<View>,
    /// Which it is; zeros if there is none.
    pub id: ViewId,
    /// The last one in which this life has given up its seat.
    given_up: ViewId,
    /// This life ends, and takes no seat any more: it listens no longer, and that tells the others that it is gone.
    pub has_retired: bool,
    /// By it, everything is where it is to be.
    pub is_whole: bool,
    /// Where the keys are by it.
    pub placement: Placement,
    /// The member of each seat.
    pub seats: Vec<MemberId>,
    /// This node's seat, if it takes part.
    pub me: Option<usize>,
    /// The last view this node took part in.
    pub kept: Option<View>,
    /// It took part in that view in this life.
    pub has_survived: bool,
    /// What it has promised about the next view.
    pub acceptor: Acceptor,
    /// What it proposes.
    pub proposal: Option<Proposal>,
    /// How often it has proposed to begin a succession of views.
    pub lineages_begun: u64,
    /// The highest ballot it has seen.
    pub ballot_seen: Ballot,
    /// One for each member.
    pub ties: Vec<Tie>,
    /// It serves until then.
    pub lease_until: Mono,
    /// It has held a lease in this view.
    pub was_active: bool,
    /// Who asked for a promise that waits for writes under way, and until when; no link if this node itself did.
    pub owed_promise: Option<(Option<LinkId>, Ballot, Mono)>,
    /// What is to be accepted later.
    pub owed_acceptance: Option<OwedAcceptance>,
    /// Who asked for a promise about what follows a view that this node does not know yet, and by which ballot: the highest.
    pub early_prepare: Option<(LinkId, ViewId, Ballot)>,
    /// Pings in a view that this node does not know yet.
    pub owed_pongs: Vec<(LinkId, u64, ViewId)>,
    /// What is wanted of the next view.
    pub wants: Wants,
    /// Since when there is a reason for another view.
    pub reason_since: Option<Mono>,
    /// No proposal before then.
    pub propose_at: Mono,
    /// Since when it has been without a seat, and everybody whom it hears.
    pub seatless_since: Mono,
    /// Planted for tests.
    pub ignores_leases: bool,
    silence_ms: u64,
}

impl Pact {
    /// A node that takes part in no view.
    #[must_use]
    pub fn new(copies: u32, serves_on_silence: bool, silence_ms: u64, kept: Option<View>, now: Mono) -> Pact {
        Pact {
            copies,
            serves_on_silence,
            view: None,
            id: ViewId::default(),
            given_up: ViewId::default(),
            has_retired: false,
            is_whole: false,
            placement: Placement::default(),
            seats: Vec::new(),
            me: None,
            kept,
            has_survived: false,
            acceptor: Acceptor::default(),
            proposal: None,
            lineages_begun: 0,
            ballot_seen: 0,
            ties: Vec::new(),
            lease_until: Mono(0),
            was_active: false,
            owed_promise: None,
            owed_acceptance: None,
            early_prepare: None,
            owed_pongs: Vec::new(),
            wants: Wants::default(),
            reason_since: None,
            propose_at: now,
            seatless_since: now,
            ignores_leases: false,
            silence_ms,
        }
    }

    /// How long a grant counts.
    #[must_use]
    pub fn lease_ms(&self) -> u64 {
        self.silence_ms / LEASE_PART
    }

    /// How long who has granted one waits before it helps to go on without the other.
    #[must_use]
    pub fn wait_ms(&self) -> u64 {
        self.lease_ms() * WAIT_TENTHS / 10 + 1
    }

    /// Without a view: may there be keys that others have to have from this node? If it has lived on with them; or has accepted a first view,
    /// by which they may be its own.
    #[must_use]
    pub fn may_be_missed(&self) -> bool {
        self.has_survived || self.acceptor.accepted().is_some()
    }

    /// May it serve by its view?
    #[inline]
    #[must_use]
    pub fn is_serving(&self, now: Mono) -> bool {
        (now < self.lease_until || self.ignores_leases) && !self.acceptor.is_frozen()
    }

    /// Is the next view to flush? Then it is the one that is wanted.
    #[must_use]
    pub fn wants_flush(&self) -> bool {
        let is_next =
            |view: &View| matches!(self.wants.flush, Flush::By(wanted) if wanted.lineage == view.lineage && !wanted.is_reached(view));
        self.view.as_ref().is_some_and(is_next)
    }

    /// The flush that is wanted gets its count, if this node serves.
    pub fn count_flush(&mut self, now: Mono) -> Option<FlushCount> {
        let view = self.view.as_ref().filter(|_| self.wants.flush == Flush::Wanted && self.me.is_some() && self.is_serving(now))?;
        let counted = FlushCount { lineage: view.lineage, count: view.flushes + 1 };
        self.wants.flush = Flush::By(counted);
        Some(counted)
    }

    /// After a new view: the flush that was wanted is done, or is to be counted anew.
    pub fn reconsider_flush(&mut self) {
        let (Flush::By(wanted), Some(view)) = (self.wants.flush, &self.view) else { return };
        if wanted.is_reached(view) {
            self.wants.flush = Flush::NotWanted;
        } else if wanted.lineage != view.lineage {
            self.wants.flush = Flush::Wanted;
        }
    }

    /// Where is a place's command to be carried out?
    #[inline]
    #[must_use]
    pub fn route(&self, place: u32, now: Mono) -> Route {
        // Who has left asks on for its clients until it ends.
        let owner = self.placement.owner(place).filter(|_| self.me.is_some() || self.wants.leaves);
        match owner {
            Some(owner) if self.seats[owner] != MemberId::ME => {
                if self.is_succeeded(owner) {
                    Route::Later
                } else {
                    Route::There(self.seats[owner])
                }
            }
            Some(_) if self.me.is_some() && self.is_serving(now) => Route::Here,
            _ => Route::Later,
        }
    }

    /// Is the life in this seat known to have ended? Its member's next life has no part in this view, and does not know what was done in it.
    fn is_succeeded(&self, seat: usize) -> bool {
        let ended = self.ties.get(self.seats[seat].index()).map_or(0, |tie| tie.ended_life);
        self.view.as_ref().is_some_and(|view| view.seats[seat].card.incarnation <= ended)
    }

    /// The pact with its view, if there is one.
    #[must_use]
    pub fn with_view(&self) -> Option<(&Pact, &View)> {
        Some((self, self.view.as_ref()?))
    }

    /// The arc of a place.
    #[must_use]
    pub fn arc(&self, place: u32) -> Option<&Arc> {
        self.placement.arc(place)
    }

    /// Does this node own the place by its view, whether it may serve or not?
    #[must_use]
    pub fn owns(&self, place: u32) -> bool {
        self.me.is_some() && self.placement.owner(place) == self.me
    }

    /// Does this node hold the place, or is it filled with it?
    #[must_use]
    pub fn holds(&self, place: u32) -> bool {
        self.me.is_some_and(|me| self.arc(place).is_some_and(|arc| arc.is_held_by(me)))
    }

    /// What the places are to this node.
    #[must_use]
    pub fn shares(&self) -> Shares<'_> {
        Shares { placement: &self.placement, me: self.me, is_whole: self.is_whole }
    }

    /// The seat of a member in this view, if it takes part in the life that is seated.
    #[must_use]
    pub fn seat_of(&self, member: MemberId) -> Option<usize> {
        let seat = self.place_of(member)?;
        self.view.as_ref().filter(|view| view.seats[seat].is_up()).map(|_| seat)
    }

    /// The seat of a member in this view, whether it takes part or not.
    #[must_use]
    pub fn place_of(&self, member: MemberId) -> Option<usize> {
        self.seats.iter().position(|seated| *seated == member)
    }

    /// The tie of a member.
    pub fn tie(&mut self, member: MemberId) -> &mut Tie {
        if self.ties.len() <= member.index() {
            self.ties.resize_with(member.index() + 1, Tie::default);
        }
        &mut self.ties[member.index()]
    }

    /// What a member has said of itself last.
    #[must_use]
    pub fn pulse_of(&self, member: MemberId) -> Option<&Pulse> {
        self.ties.get(member.index()).map(|tie| &tie.pulse)
    }

    /// The same, if it was this life of the member that said it.
    #[must_use]
    pub fn pulse_from(&self, member: MemberId, life: u64) -> Option<&Pulse> {
        self.pulse_of(member).filter(|pulse| pulse.life == life)
    }

    /// Is the life in this seat known to have ended?
    #[must_use]
    pub fn has_ended(&self, seat: usize, membership: &Membership) -> bool {
        let (Some(view), member) = (&self.view, self.seats[seat]) else { return false };
        let life = view.seats[seat].card.incarnation;
        member != MemberId::ME && (self.is_succeeded(seat) || membership.get(member).card.incarnation > life)
    }

    /// Has the life in this seat given it up, or gone over to another succession of views? It does not come back by itself.
    #[must_use]
    pub fn has_departed(&self, seat: usize) -> bool {
        let has_sat = self.ties.get(self.seats[seat].index()).is_some_and(|tie| tie.has_sat);
        let is_elsewhere = |pulse: &Pulse| pulse.view.lineage != self.id.lineage && (pulse.takes_part || has_sat);
        self.has_given_up(seat) || self.pulse_in(seat).is_some_and(is_elsewhere)
    }

    /// Does the life in this seat know the view, and say that it takes no part in it? Then it waits for a seat in the next one.
    #[must_use]
    pub fn has_given_up(&self, seat: usize) -> bool {
        let pulse = self.pulse_in(seat).filter(|_| Some(seat) != self.me);
        pulse.is_some_and(|pulse| pulse.view == self.id && !pulse.takes_part)
    }

    /// What the life in this seat has said of itself last.
    fn pulse_in(&self, seat: usize) -> Option<&Pulse> {
        self.pulse_from(self.seats[seat], self.view.as_ref()?.seats[seat].card.incarnation)
    }

    /// Has it ended while its grant was running?
    #[must_use]
    pub fn is_witnessed(&self, seat: usize) -> bool {
        self.ties.get(self.seats[seat].index()).is_some_and(|tie| tie.is_witnessed)
    }

    /// The deaths of these were witnessed before anybody acted on this view.
    pub fn stay_witnessed(&mut self, members: &[MemberId]) {
        members.iter().for_each(|member| self.tie(*member).is_witnessed = true);
        self.count_grants();
    }

    /// The life of this member is known to have ended: was a grant of it running?
    pub fn witness(&mut self, member: MemberId, now: Mono) {
        let within_ms = self.wait_ms() * WITNESS_HUNDREDTHS / 100;
        let is_seated = self.seat_of(member).is_some();
        let tie = self.tie(member);
        tie.is_witnessed |= is_seated && tie.granted.is_some_and(|sent| now < sent.plus(within_ms));
        self.count_grants();
    }

    /// A ping leaves.
    pub fn on_pinged(&mut self, member: MemberId, number: u64, now: Mono) {
        let pings = &mut self.tie(member).pings;
        pings.push_back((number, now));
        if pings.len() > PINGS_REMEMBERED {
            pings.pop_front();
        }
    }

    /// A link to it has opened: pings begin anew.
    pub fn on_linked(&mut self, member: MemberId) {
        self.tie(member).pings.clear();
    }

    /// A pong has come that grants a lease in this view.
    pub fn on_granted(&mut self, member: MemberId, number: u64) {
        let tie = self.tie(member);
        let Some(sent) = tie.pings.iter().find(|(ping, _)| *ping == number).map(|(_, sent)| *sent) else { return };
        tie.pings.retain(|(ping, _)| *ping > number);
        tie.granted = tie.granted.max(Some(sent));
        self.count_grants();
    }

    /// Until when do those who have granted a lease decide?
    fn count_grants(&mut self) {
        self.lease_until = Mono(0);
        let (Some(view), Some(me)) = (&self.view, self.me) else { return };
        let lease_ms = self.lease_ms();
        let until = |seat: usize| {
            let granted = self.ties.get(self.seats[seat].index()).and_then(|tie| tie.granted);
            if seat == me { Mono::NEVER } else { granted.map_or(Mono(0), |sent| sent.plus(lease_ms)) }
        };
        let mut ends: Vec<Mono> = view.up().map(until).collect();
        ends.sort_unstable();
        let holds_until = |end: &Mono| view.decides(|seat| until(seat) >= *end, |seat| self.is_witnessed(seat));
        self.lease_until = ends.iter().rev().find(|end| **end > Mono(0) && holds_until(end)).copied().unwrap_or(Mono(0));
    }

    /// Takes a view for its own, in this life. The seats' members are given.
    pub fn enter(&mut self, view: View, seats: Vec<MemberId>, life: u64, now: Mono) {
        // Who has given up its seat has forgotten what it promised there: it does not sit down again before the next view.
        let is_given_up = view.lineage == self.given_up.lineage && view.epoch <= self.given_up.epoch;
        let is_mine = |seat: &usize| !is_given_up && view.seats[*seat].is_up() && view.seats[*seat].card.incarnation == life;
        self.me = seats.iter().position(|member| *member == MemberId::ME).filter(|seat| is_mine(seat) && !self.has_retired);
        self.id = view.id();
        self.is_whole = view.is_whole();
        self.placement = Placement::new(&view);
        self.seats = seats;
        self.acceptor = Acceptor::default();
        self.proposal = None;
        self.was_active = false;
        self.owed_promise = None;
        self.owed_acceptance = None;
        self.reason_since = None;
        self.seatless_since = now;
        for tie in &mut self.ties {
            (tie.granted, tie.grants, tie.is_witnessed, tie.has_sat) = (None, None, false, false);
        }
        if self.me.is_some() {
            self.kept = Some(view.clone());
            self.has_survived = true;
        }
        self.view = Some(view);
        self.count_grants();
    }

    /// May it have a say in a first view?
    #[must_use]
    pub fn may_begin(&self) -> bool {
        !self.has_retired && (!self.wants.leaves || self.may_be_missed() || self.kept.is_some())
    }

    /// Did this life give up its seat in a later view of the same succession? Old words may come late.
    #[must_use]
    pub fn has_passed(&self, view: &View) -> bool {
        view.lineage == self.given_up.lineage && view.epoch < self.given_up.epoch
    }

    /// It has no part in any view from now on: those who have could not be found again.
    pub fn leave_view(&mut self, now: Mono) {
        if self.view.is_some() {
            self.given_up = self.id;
        }
        self.enter(View::first((0, 0), self.copies, &[], &[], Past::Lost), Vec::new(), 0, now);
        self.view = None;
        self.id = ViewId::default();
    }
}
