//! How the next view is agreed on. Why there is to be one, and who proposes it, is in [`reasons`](super::reasons).
//!
//! ```text
//!   proposer ── Prepare ──▶ stops serving, lets its own writes come to an end ── Promise ──▶
//!            ── Accept  ──▶ waits until no lease that it granted can still run ── Accepted ──▶
//!            ── Commit  ──▶ everyone
//! ```

use super::message::{Message, Promise, Pulse};
use super::pact::{OwedAcceptance, Pact, Tie};
use super::{Node, Outputs};
use crate::time::{Mono, Now};
use crate::topology::MemberId;
use crate::topology::agreement::{Ballot, Promised, Proposal, ballot_above};
use crate::topology::membership::{Card, Reason, Standing};
use crate::topology::peers::LinkId;
use crate::topology::view::{Change, Role, Settled, View, ViewId};

/// A promise waits so long for writes under way.
pub(super) const QUIET_MS: u64 = 300;
/// So long a proposer waits for those who have not promised, once enough have.
pub(super) const PATIENCE_MS: u64 = 400;
/// A proposal is given up after this.
const PROPOSAL_MS: u64 = 1_000;
/// The next in line proposes so much later.
pub(super) const RANK_MS: u64 = 150;
/// Bits of a lineage below the life that began it: which of its lineages, and who.
const LINEAGE_BITS: u32 = 24;
const NAME_BITS: u32 = 16;

impl Node {
    /// How it is with this node.
    pub(super) fn pulse(&self, now: Mono) -> Pulse {
        let Some(pact) = &self.pact else { return Pulse::default() };
        Pulse {
            life: self.me().incarnation,
            view: pact.id,
            takes_part: pact.me.is_some(),
            is_active: pact.me.is_some() && pact.is_serving(now),
            has_filled: pact.was_active && self.filling.is_done(),
            leaves: pact.wants.leaves,
            parent: pact.view.as_ref().map_or(0, |view| view.parent),
            size: pact.view.as_ref().map_or(0, |view| view.up().count() as u64),
            watermark: self.watermark(),
            done: self.mirroring.done(),
            ..Pulse::default()
        }
    }

    /// The same, to be sent.
    pub(super) fn say_pulse(&mut self, now: Mono) -> Pulse {
        self.last_pulse += 1;
        Pulse { number: self.last_pulse, moves: self.moves(now), ..self.pulse(now) }
    }

    /// Another node has said how it is.
    pub(super) fn on_pulse(&mut self, now: Now, member: MemberId, pulse: &Pulse, out: &mut dyn Outputs) {
        self.hear_of_moves(member, pulse, now.mono);
        let Some(pact) = &mut self.pact else { return };
        let is_same = pulse.view == pact.id;
        let tie = pact.tie(member);
        // A link of a life that has ended may still hold what it said; and of two links, one what was said before.
        if pulse.life <= tie.ended_life || pulse.number < tie.pulse.number {
            return;
        }
        tie.pulse = *pulse;
        tie.has_sat |= is_same && pulse.takes_part;
        if pulse.takes_part && pact.me.is_none() {
            pact.seatless_since = now.mono; // not everybody is
        }
        self.mirroring.remembered.forget_below(member, pulse.watermark);
        if is_same {
            self.mirroring.on_done(member, pulse.done);
        }
        let yields = pact.me.is_some()
            && pulse.is_active
            && !is_same
            && pulse.view.lineage != pact.id.lineage
            && self.is_outranked_by(now.mono, pulse);
        if pulse.takes_part && self.membership.get(member).standing == Standing::Down(Reason::Declared) {
            self.judge(now, member, Standing::Unknown, out); // who has a seat is not dead
        }
        if yields {
            log::warn!("{} serves another pool of this name: this node joins it", self.membership.get(member).card.name);
            self.lose_seat(now, out);
        }
    }

    /// Of two pools that meet, the smaller joins the larger, and of equals the younger the older. One that cannot serve joins nobody by this.
    fn is_outranked_by(&self, now: Mono, pulse: &Pulse) -> bool {
        let Some(pact) = self.pact.as_ref().filter(|pact| pact.is_serving(now)) else { return false };
        let size = pact.view.as_ref().map_or(0, |view| view.up().count() as u64);
        let parent = pact.view.as_ref().map_or(0, |view| view.parent);
        // One went on without the other, with `on_silence = "serve"`: what it has is newer, unless the other went on as well.
        if pulse.parent == pact.id.lineage {
            return pulse.view.epoch > pact.id.epoch;
        }
        if parent == pulse.view.lineage {
            return pulse.view.epoch >= pact.id.epoch;
        }
        (pulse.size, std::cmp::Reverse(pulse.view.lineage)) > (size, std::cmp::Reverse(pact.id.lineage))
    }

    /// Tells who is behind what the view is. Only who serves by a view may tell it to somebody without a seat.
    pub(super) fn tell_view(&self, now: Mono, member: MemberId, pulse: &Pulse, out: &mut dyn Outputs) {
        let Some((pact, view)) = self.pact.as_ref().and_then(Pact::with_view) else { return };
        let card = &self.membership.get(member).card;
        // Who has been given a seat and has not heard of it may be the one without whom nobody serves.
        let has_seat = view.seat_up(&card.name, card.incarnation).is_some();
        let is_new = pulse.view == ViewId::default() && pulse.life == card.incarnation && has_seat;
        let is_same = pulse.view.lineage == pact.id.lineage && (pulse.takes_part || has_seat);
        let is_parent = pulse.view.lineage == view.parent && pulse.view != ViewId::default() && !pulse.takes_part && has_seat;
        let is_behind = is_new || (is_same || is_parent) && pulse.view.epoch < pact.id.epoch;
        let is_outside = !pulse.takes_part && pulse.view != pact.id && pact.is_serving(now);
        if let Some(link) = self.peers[member.index()].link().filter(|_| is_behind || (is_outside && pact.me.is_some())) {
            out.send(link, &Message::Commit(Box::new(view.clone())));
        }
    }

    /// The view in which this node grants another one a lease, if it does.
    pub(super) fn grant(&mut self, now: Mono, member: MemberId, pulse: &Pulse) -> Option<ViewId> {
        let life = self.membership.get(member).card.incarnation;
        let pact = self.pact.as_mut().filter(|pact| pact.me.is_some() && !pact.acceptor.is_frozen() && pulse.view == pact.id)?;
        let seat = pact.seat_of(member)?;
        let is_its = pact.view.as_ref()?.seats[seat].card.incarnation == life && pulse.takes_part;
        let tie = pact.tie(member);
        if !is_its || tie.ended_life >= life {
            return None;
        }
        tie.grants = Some(now);
        Some(pact.id)
    }

    /// A life of a member is known to have ended.
    pub(super) fn on_life_ended(&mut self, now: Mono, member: MemberId, life: u64) {
        let Some(pact) = &mut self.pact else { return };
        let tie: &mut Tie = pact.tie(member);
        if tie.ended_life < life {
            // What it said of itself its next life does not say.
            (tie.ended_life, tie.pulse) = (life, Pulse::default());
        }
        let seated = pact.seat_of(member).and_then(|seat| pact.view.as_ref().map(|view| view.seats[seat].card.incarnation));
        if seated.is_some_and(|seated| seated <= life) {
            pact.witness(member, now);
        }
    }

    /// Everything about views that time brings.
    pub(super) fn tick_pact(&mut self, now: Now, out: &mut dyn Outputs) {
        if self.pact.is_none() {
            return;
        }
        self.count_flush(now.mono);
        self.pay_promise(now, out);
        self.pay_acceptance(now, out);
        self.advance_proposal(now, out);
        self.advance_acceptance(now, out);
        self.lose_seat_if_stuck(now, out);
        self.consider(now, out);
        self.activate_if_serving(now, out);
    }

    /// When [`Node::tick_pact`] has something to do at the earliest.
    pub(super) fn pact_wakes_at(&self, now: Mono) -> Mono {
        let Some(pact) = &self.pact else { return Mono::NEVER };
        let acceptance = pact.owed_acceptance.as_ref().map(|owed| self.when_leases_end(&owed.silent, now));
        let owed = pact.owed_promise.map(|(_, _, until)| until).into_iter().chain(acceptance);
        let proposal = pact.proposal.as_ref().map(|proposal| proposal.give_up.min(proposal.began.plus(PATIENCE_MS)).max(now.plus(1)));
        let is_restless = pact.reason_since.is_some() || pact.me.is_none() || !pact.is_serving(now) || self.mirroring.has_waiting_streams();
        let restless = is_restless.then(|| now.plus(super::links::EAGER_MS));
        owed.chain(proposal).chain(restless).min().unwrap_or(Mono::NEVER).min(if pact.is_serving(now) {
            pact.lease_until
        } else {
            Mono::NEVER
        })
    }

    /// The view that a proposal of this node would follow.
    fn base(&self) -> ViewId {
        self.pact.as_ref().filter(|pact| pact.me.is_some()).map_or_else(ViewId::default, |pact| pact.id)
    }

    /// Is this seat's life there, and heard, and does it take part?
    pub(super) fn hears(&self, seat: usize) -> bool {
        let Some(pact) = &self.pact else { return false };
        let member = pact.seats[seat];
        let is_there = || self.membership.get(member).standing == Standing::Up && !pact.has_ended(seat, &self.membership);
        member == MemberId::ME || (is_there() && !pact.has_given_up(seat))
    }

    /// May a seat be left out of what decides?
    pub(super) fn is_excused(&self, seat: usize) -> bool {
        let Some(pact) = &self.pact else { return false };
        let is_ended = pact.has_ended(seat, &self.membership);
        pact.is_witnessed(seat) || (self.mistakes().any_death_shrinks && is_ended) || (pact.serves_on_silence && !self.hears(seat))
    }

    pub(super) fn decides(&self, yes: impl Fn(usize) -> bool) -> bool {
        let view = self.pact.as_ref().and_then(|pact| pact.view.as_ref());
        self.mistakes().no_majority || view.is_some_and(|view| view.decides(yes, |seat| self.is_excused(seat)))
    }

    pub(super) fn propose(&mut self, now: Now, out: &mut dyn Outputs) {
        let base = self.base();
        let Some((pact, view)) = self.pact.as_ref().and_then(Pact::with_view) else { return };
        let asked: Vec<MemberId> = view.up().filter(|seat| self.hears(*seat)).map(|seat| pact.seats[seat]).collect();
        let ballot = ballot_above(pact.ballot_seen, pact.me.unwrap_or(0) as u16);
        self.ask_for_promises(now, base, ballot, asked, out);
    }

    pub(super) fn ask_for_promises(&mut self, now: Now, base: ViewId, ballot: Ballot, asked: Vec<MemberId>, out: &mut dyn Outputs) {
        let Some(pact) = &mut self.pact else { return };
        pact.ballot_seen = ballot;
        pact.acceptor.promise(ballot, now.mono);
        pact.owed_promise = Some((None, ballot, now.mono.plus(QUIET_MS)));
        for link in asked.iter().filter_map(|member| self.peers[member.index()].link()) {
            out.send(link, &Message::Prepare { base, ballot });
        }
        pact.proposal = Some(Proposal::new(base, ballot, asked, now.mono, PROPOSAL_MS));
        self.pay_promise(now, out);
        self.advance_proposal(now, out);
    }

    /// Somebody wants to propose the next view.
    pub(super) fn on_prepare(&mut self, now: Now, link: LinkId, base: ViewId, ballot: Ballot, out: &mut dyn Outputs) {
        let own = self.base();
        let Some(member) = self.greeted.get(&link).copied() else { return out.hang_up(link) };
        let Some(pact) = self.pact.as_mut().filter(|pact| !pact.has_retired) else { return };
        if base.lineage == pact.id.lineage && base.epoch > pact.id.epoch {
            // Who has committed that view says so on another link. Unheard, this node would be left out for being slow.
            if pact.early_prepare.is_none_or(|(_, known, highest)| (known.epoch, highest) < (base.epoch, ballot)) {
                pact.early_prepare = Some((link, base, ballot));
            }
            return;
        }
        if base != own {
            let pulse = Pulse { view: base, takes_part: true, ..Pulse::default() };
            return self.tell_view(now.mono, member, &pulse, out);
        }
        pact.ballot_seen = pact.ballot_seen.max(ballot);
        if !pact.acceptor.promise(ballot, now.mono) {
            return out.send(link, &Message::Outbid { base, ballot: pact.acceptor.promised() });
        }
        pact.proposal.take_if(|proposal| proposal.ballot < ballot);
        pact.owed_acceptance.take_if(|owed| owed.ballot < ballot);
        pact.owed_promise = Some((Some(link), ballot, now.mono.plus(QUIET_MS)));
        self.pay_promise(now, out);
    }

    /// A view has been learned: what was asked about the one after it is heard now.
    pub(super) fn hear_early_prepare(&mut self, now: Now, out: &mut dyn Outputs) {
        let own = self.base();
        let early = self.pact.as_mut().and_then(|pact| pact.early_prepare.take_if(|(_, base, _)| *base == own || base.epoch <= own.epoch));
        if let Some((link, base, ballot)) = early.filter(|(link, base, _)| *base == own && self.greeted.contains_key(link)) {
            self.on_prepare(now, link, base, ballot, out);
        }
    }

    /// Gives the promise that is owed, once nothing of this node is on its way to who could confirm it, or it has waited long enough. Whose link
    /// is lost may be no more, and others may know it by now.
    pub(super) fn pay_promise(&mut self, now: Now, out: &mut dyn Outputs) {
        if self.pact.as_ref().is_none_or(|pact| pact.owed_promise.is_none()) {
            return;
        }
        let base = self.base();
        let (is_quiet, forgets, versions) = (self.mirroring.is_quiet(), self.mistakes().forget_accepted, self.version.epoch());
        let is_up = |member: MemberId| self.membership.get(member).standing == Standing::Up && self.peers[member.index()].link().is_some();
        let waits_for_nobody = is_quiet || !self.mirroring.waits_for_any(is_up);
        let (has_filled, is_first) = (self.pulse(now.mono).has_filled, base == ViewId::default());
        let life = self.me().incarnation;
        let Some(pact) = &mut self.pact else { return };
        let Some((link, ballot, _)) = pact.owed_promise.take_if(|(_, _, until)| waits_for_nobody || now.mono >= *until) else { return };
        // A first view that is known here, and by which this node has no part, has been acted on: it is not to be finished, but followed.
        let accepted = pact.acceptor.accepted().filter(|(_, view)| !forgets && view.id() != pact.id).cloned();
        let kept = pact.kept.clone().filter(|_| is_first);
        let (leaves, has_survived) = (pact.wants.leaves, pact.has_survived);
        let promised = Promised { life, accepted, is_quiet, has_filled, leaves, kept, has_survived, versions };
        match link {
            Some(link) => out.send(link, &Message::Promise(Box::new(Promise { base, ballot, promised }))),
            None => {
                if let Some(proposal) = pact.proposal.as_mut().filter(|proposal| proposal.ballot == ballot) {
                    proposal.promises.insert(MemberId::ME, promised);
                }
            }
        }
    }

    /// Somebody has promised.
    pub(super) fn on_promise(&mut self, now: Now, link: LinkId, promise: &Promise, out: &mut dyn Outputs) {
        let Some(member) = self.member_dialled(link) else { return out.hang_up(link) };
        let proposal = self.pact.as_mut().and_then(|pact| pact.proposal.as_mut());
        let Some(proposal) = proposal.filter(|proposal| (proposal.base, proposal.ballot) == (promise.base, promise.ballot)) else { return };
        if proposal.view.is_none() && proposal.asked.contains(&member) {
            proposal.promises.insert(member, promise.promised.clone());
        }
        self.advance_proposal(now, out);
    }

    /// Somebody has promised more to another.
    pub(super) fn on_outbid(&mut self, now: Now, link: LinkId, base: ViewId, ballot: Ballot) {
        if self.member_dialled(link).is_none() || base != self.base() {
            return;
        }
        let patience = (1 + self.rank()) * RANK_MS;
        let Some(pact) = &mut self.pact else { return };
        pact.ballot_seen = pact.ballot_seen.max(ballot);
        if pact.proposal.take_if(|proposal| proposal.ballot < ballot).is_some() {
            pact.propose_at = now.mono.plus(patience);
        }
    }

    /// Goes on with a proposal: from promises to a view, when enough have promised.
    pub(super) fn advance_proposal(&mut self, now: Now, out: &mut dyn Outputs) {
        let patience = (1 + self.rank()) * RANK_MS;
        let Some(pact) = &mut self.pact else { return };
        if pact.proposal.take_if(|proposal| now.mono >= proposal.give_up).is_some() {
            pact.propose_at = now.mono.plus(patience);
        }
        let Some(proposal) = pact.proposal.clone().filter(|proposal| proposal.view.is_none()) else { return };
        let has_promised = |seat: usize| self.pact.as_ref().is_some_and(|pact| proposal.promises.contains_key(&pact.seats[seat]));
        let is_first = proposal.base == ViewId::default();
        let waits_for =
            |member: &MemberId| !proposal.promises.contains_key(member) && self.membership.get(*member).standing == Standing::Up;
        let is_heard = !proposal.asked.iter().any(waits_for) || (!is_first && now.mono >= proposal.began.plus(PATIENCE_MS));
        let enough = if is_first {
            proposal.is_heard() && self.is_promised_by_the_living(&proposal)
        } else {
            is_heard && self.decides(has_promised)
        };
        if !enough {
            return;
        }
        let view = match proposal.unfinished() {
            Some(view) => view.clone(),
            None if is_first => self.first_view(&proposal),
            None if self.leaves_nobody(&proposal) => return,
            // Somebody has ended who was there when this was begun.
            None if !self.mistakes().no_last_wait && self.is_put_off(now.mono, |seat| self.stays(&proposal, seat)) => return,
            None => self.next_view(&proposal, now.mono),
        };
        self.ask_to_accept(now, proposal, view, out);
    }

    /// Is a seat's life there, and has promised?
    fn stays(&self, proposal: &Proposal, seat: usize) -> bool {
        let has_promised = |pact: &Pact| proposal.promises.contains_key(&pact.seats[seat]) && !pact.has_ended(seat, &self.membership);
        self.pact.as_ref().is_some_and(has_promised)
    }

    /// Are all who stay such as leave, and have handed over what they had? Then who has it is waited for: without it, they have nothing.
    fn leaves_nobody(&self, proposal: &Proposal) -> bool {
        let Some((_, view)) = self.pact.as_ref().and_then(Pact::with_view) else { return false };
        view.up().all(|seat| view.is_dispensable(seat) || !self.stays(proposal, seat))
    }

    /// What comes after the present view, by what was promised.
    fn next_view(&self, proposal: &Proposal, now: Mono) -> View {
        let (pact, view) = self.pact.as_ref().and_then(Pact::with_view).expect("who proposes the next view has one");
        let promise = |seat: usize| proposal.promises.get(&pact.seats[seat]);
        let stays: Vec<bool> = (0..view.seats.len()).map(|seat| self.stays(proposal, seat) && !view.is_dispensable(seat)).collect();
        let all_stay = view.up().all(|seat| stays[seat]);
        let is_ready = |promise: &Promised| promise.has_filled && promise.is_quiet;
        let settles = all_stay && view.up().all(|seat| promise(seat).is_some_and(is_ready));
        let change = Change {
            settles: (settles || self.mistakes().complete_at_once) && !view.is_whole(),
            leaves: (0..view.seats.len()).map(|seat| promise(seat).is_some_and(|promise| promise.leaves)).collect(),
            joins: self.newcomer(now),
            bans: pact.wants.bans.clone(),
            pardons: pact.wants.pardons.clone(),
            flushes: pact.wants_flush(),
            known: self.known_cards(),
            versions: self.versions_given(proposal),
            stays,
        };
        let mut next = view.next(&change);
        if let Some(joined) = change.joins.filter(|_| self.mistakes().trust_journal) {
            let believed = next.settled.iter_mut().filter(|settled| settled.card.name == joined.name);
            believed.for_each(|settled| *settled = Settled { card: joined.clone(), role: Role::Here });
        }
        let by_right = view.decides(|seat| promise(seat).is_some(), |seat| pact.is_witnessed(seat));
        if !by_right {
            // Somebody silent may do the same: what both make of it must not be taken for one.
            (next.parent, next.lineage) = (view.lineage, self.new_lineage());
            next.begin_versions_after(next.versions.saturating_add(epochs_apart(next.lineage)));
        }
        next
    }

    /// The last epoch of which those who have promised, or whoever lives, may have given a version.
    pub(super) fn versions_given(&self, proposal: &Proposal) -> u32 {
        let promised = proposal.promises.values().map(|promise| promise.versions);
        let lives = self.membership.all().map(|(_, member)| super::epoch_of(member.card.incarnation));
        promised.chain(lives).max().unwrap_or(0)
    }

    /// The members that are known by what they said, or by the configuration.
    pub(super) fn known_cards(&self) -> Vec<Card> {
        let is_known = |standing: Standing| !matches!(standing, Standing::Down(Reason::Unfit | Reason::Unmet));
        self.membership.all().filter(|(_, member)| is_known(member.standing)).map(|(_, member)| member.card.clone()).collect()
    }

    fn ask_to_accept(&mut self, now: Now, proposal: Proposal, view: View, out: &mut dyn Outputs) {
        let (base, ballot) = (proposal.base, proposal.ballot);
        let silent = self.silent_seats(&proposal);
        let promised: Vec<MemberId> = proposal.promises.keys().copied().filter(|member| *member != MemberId::ME).collect();
        let Some(pact) = &mut self.pact else { return };
        pact.lineages_begun += u64::from(view.lineage != pact.id.lineage);
        if !pact.acceptor.promise(ballot, now.mono) {
            pact.proposal = None;
            return;
        }
        pact.owed_acceptance = Some(OwedAcceptance { link: None, ballot, view: view.clone(), silent: silent.clone() });
        for link in promised.iter().filter_map(|member| self.peers[member.index()].link()) {
            out.send(link, &Message::Accept { base, ballot, view: Box::new(view.clone()), silent: silent.clone() });
        }
        let give_up = now.mono.plus(PROPOSAL_MS);
        pact.proposal = Some(Proposal { view: Some(view), give_up, ..proposal });
        self.pay_acceptance(now, out);
    }

    /// The seats that may believe that they still serve.
    fn silent_seats(&self, proposal: &Proposal) -> Vec<u16> {
        let Some((pact, view)) = self.pact.as_ref().and_then(Pact::with_view) else { return Vec::new() };
        if proposal.base == ViewId::default() {
            return Vec::new();
        }
        let is_silent = |seat: &usize| !proposal.promises.contains_key(&pact.seats[*seat]) && !pact.has_ended(*seat, &self.membership);
        view.up().filter(is_silent).map(|seat| seat as u16).collect()
    }

    /// When no lease can run any more that this node has granted to one of these seats; of one that has ended or departed meanwhile, none does.
    fn when_leases_end(&self, silent: &[u16], now: Mono) -> Mono {
        let Some(pact) = self.pact.as_ref().filter(|_| !self.mistakes().no_lease_wait) else { return now };
        let granted = |seat: &u16| {
            let seat = usize::from(*seat);
            let member = pact.seats.get(seat).filter(|_| !pact.has_ended(seat, &self.membership) && !pact.has_departed(seat))?;
            pact.ties.get(member.index())?.grants
        };
        silent.iter().filter_map(granted).map(|granted| granted.plus(pact.wait_ms())).max().map_or(now, |end| end.max(now))
    }

    /// Somebody proposes the next view.
    pub(super) fn on_accept(
        &mut self,
        now: Now,
        link: LinkId,
        number: (ViewId, Ballot),
        view: &View,
        silent: &[u16],
        out: &mut dyn Outputs,
    ) {
        let (base, ballot) = number;
        if !self.greeted.contains_key(&link) {
            return out.hang_up(link);
        }
        let own = self.base();
        let Some(pact) = self.pact.as_mut().filter(|pact| base == own && !pact.has_retired) else { return };
        if !pact.acceptor.promise(ballot, now.mono) {
            return out.send(link, &Message::Outbid { base, ballot: pact.acceptor.promised() });
        }
        pact.owed_acceptance = Some(OwedAcceptance { link: Some(link), ballot, view: view.clone(), silent: silent.to_vec() });
        self.pay_acceptance(now, out);
    }

    /// Is there nobody any more who would hear of the acceptance that is owed? Whose link is lost may be dead, and if it is not, it asks again.
    fn is_acceptance_for_nobody(&self) -> bool {
        let Some(pact) = &self.pact else { return false };
        let Some(link) = pact.owed_acceptance.as_ref().and_then(|owed| owed.link) else { return false };
        let seat = |member: MemberId| pact.seat_of(member).filter(|_| pact.me.is_some());
        let has_ended = |member: MemberId| seat(member).is_some_and(|seat| pact.has_ended(seat, &self.membership));
        self.greeted.get(&link).is_none_or(|member| has_ended(*member))
    }

    /// Accepts a view and says so, once no lease can run any more that it takes away.
    fn pay_acceptance(&mut self, now: Now, out: &mut dyn Outputs) {
        let base = self.base();
        let is_for_nobody = self.is_acceptance_for_nobody();
        let Some(pact) = &mut self.pact else { return };
        pact.owed_acceptance.take_if(|_| is_for_nobody);
        let owed = self.pact.as_ref().and_then(|pact| pact.owed_acceptance.as_ref());
        if owed.is_none_or(|owed| now.mono < self.when_leases_end(&owed.silent, now.mono)) {
            return;
        }
        let Some(pact) = &mut self.pact else { return };
        let Some(OwedAcceptance { link, ballot, view, .. }) = pact.owed_acceptance.take() else { return };
        if !pact.acceptor.accept(ballot, &view, now.mono) {
            return; // it has promised more meanwhile
        }
        match link {
            Some(link) => out.send(link, &Message::Accepted { base, ballot }),
            None => self.note_accepted(now, MemberId::ME, ballot, out),
        }
    }

    /// Somebody has accepted.
    pub(super) fn on_accepted(&mut self, now: Now, link: LinkId, base: ViewId, ballot: Ballot, out: &mut dyn Outputs) {
        let Some(member) = self.member_dialled(link) else { return out.hang_up(link) };
        if base == self.base() {
            self.note_accepted(now, member, ballot, out);
        }
    }

    fn note_accepted(&mut self, now: Now, member: MemberId, ballot: Ballot, out: &mut dyn Outputs) {
        let proposal = self.pact.as_mut().and_then(|pact| pact.proposal.as_mut());
        let Some(proposal) = proposal.filter(|proposal| proposal.ballot == ballot && proposal.asked.contains(&member)) else { return };
        proposal.accepted.insert(member);
        self.commit_if_decided(now, out);
    }

    /// A view stands when those who decide have accepted it, and everyone who has promised and may still propose: it would not find it otherwise,
    /// once those who have accepted are dead, for nobody has waited until their grants to it could not run any more.
    fn commit_if_decided(&mut self, now: Now, out: &mut dyn Outputs) {
        let Some((pact, proposal)) = self.pact.as_ref().and_then(|pact| Some((pact, pact.proposal.as_ref()?))) else { return };
        let has_accepted = |seat: usize| proposal.accepted.contains(&pact.seats[seat]);
        let is_first = proposal.base == ViewId::default();
        let stands = if is_first {
            proposal.asked.iter().all(|asked| proposal.accepted.contains(asked))
        } else {
            self.decides(has_accepted) && (self.mistakes().commit_early || self.who_owes_acceptance(proposal).is_empty())
        };
        if let Some(view) = proposal.view.clone().filter(|_| stands) {
            let never_acting = self.never_to_act(proposal, &view);
            self.broadcast(&Message::Commit(Box::new(view.clone())), out);
            self.adopt(now, view, out);
            if let Some(pact) = &mut self.pact {
                pact.stay_witnessed(&never_acting);
            }
            self.activate_if_serving(now, out);
        }
    }

    /// All others who have promised, if their ends were witnessed before this view, the proposer's own, was acted on anywhere. They were not
    /// told of it; and whoever went on without this node needed one of them, who would have waited until its grant to this node could not run
    /// any more.
    fn never_to_act(&self, proposal: &Proposal, view: &View) -> Vec<MemberId> {
        let Some(pact) = &self.pact else { return Vec::new() };
        let is_own = proposal.unfinished().is_none() && view.lineage == proposal.base.lineage;
        let others: Vec<MemberId> = proposal.promises.keys().copied().filter(|member| *member != MemberId::ME).collect();
        let is_alone = others.iter().all(|member| pact.seat_of(*member).is_some_and(|seat| pact.is_witnessed(seat)));
        if is_own && is_alone { others } else { Vec::new() }
    }

    /// The seats that have promised and not accepted, and may still propose.
    fn who_owes_acceptance(&self, proposal: &Proposal) -> Vec<usize> {
        let Some((pact, view)) = self.pact.as_ref().and_then(Pact::with_view) else { return Vec::new() };
        let may_propose = |seat: usize| !pact.has_ended(seat, &self.membership) && !pact.has_departed(seat);
        view.up().filter(|seat| proposal.is_owed_by(pact.seats[*seat]) && may_propose(*seat)).collect()
    }

    /// A view is proposed, and waits to be accepted. Who fell silent meanwhile is left out by a proposal of the same view, which waits for its lease.
    fn advance_acceptance(&mut self, now: Now, out: &mut dyn Outputs) {
        let proposal = self.pact.as_ref().and_then(|pact| pact.proposal.as_ref()).filter(|proposal| proposal.view.is_some());
        let Some(proposal) = proposal.filter(|proposal| proposal.base != ViewId::default()) else { return };
        let has_lost_one = self.who_owes_acceptance(proposal).iter().any(|seat| !self.hears(*seat));
        if !has_lost_one {
            return self.commit_if_decided(now, out);
        }
        if let Some(pact) = &mut self.pact {
            (pact.proposal, pact.propose_at) = (None, now.mono);
        }
    }

    /// A link has opened: what was asked of its member on the one before may be lost.
    pub(super) fn ask_again_to_accept(&self, member: MemberId, link: LinkId, out: &mut dyn Outputs) {
        let Some(proposal) = self.pact.as_ref().and_then(|pact| pact.proposal.as_ref()) else { return };
        if let Some(view) = proposal.view.clone().filter(|_| proposal.is_owed_by(member)) {
            let silent = self.silent_seats(proposal);
            out.send(link, &Message::Accept { base: proposal.base, ballot: proposal.ballot, view: Box::new(view), silent });
        }
    }

    /// Somebody says what the view is.
    pub(super) fn on_commit(&mut self, now: Now, link: LinkId, view: &View, out: &mut dyn Outputs) {
        if !self.knows(link) {
            return out.hang_up(link);
        }
        let Some(pact) = &self.pact else { return };
        let is_next = pact.id.lineage == view.lineage && pact.id.epoch < view.epoch;
        let is_first = pact.me.is_none() && pact.id.lineage != view.lineage && !pact.has_passed(view);
        let has_forked = pact.view.as_ref().is_some_and(|own| own.epoch + 1 == view.epoch)
            && pact.acceptor.accepted().is_some_and(|(_, accepted)| accepted == view);
        if is_next || is_first || has_forked {
            self.adopt(now, view.clone(), out);
        }
    }

    /// The name of a succession of views that this node begins: nobody begins another one of this name, not even this life.
    pub(super) fn new_lineage(&self) -> u64 {
        let name = u64::from(self.hasher.hash(self.me().name.as_bytes()).place) & 0xffff;
        let begun = self.pact.as_ref().map_or(0, |pact| pact.lineages_begun) & 0xff;
        self.me().incarnation << LINEAGE_BITS | begun << NAME_BITS | name
    }
}

/// So many epochs of versions a lineage leaves out at its beginning. Another one that began from the same view, and that nobody here has heard
/// of, was begun by a node of another name: its versions are others.
pub(super) fn epochs_apart(lineage: u64) -> u32 {
    (lineage & ((1 << NAME_BITS) - 1)) as u32
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::super::command::{Admin, Expiry, Request};
    use super::super::driver::ClientId;
    use super::super::message::{Introduction, PROTOCOL_VERSION};
    use super::super::pact::Flush;
    use super::super::testing::{self, Nowhere, Overheard, at, settings};
    use super::*;
    use crate::caching::Version;
    use crate::topology::view::{Mirrors, Past};

    /// Keeps the promises that are sent.
    fn promises_sent() -> Overheard<Promise> {
        Overheard(Vec::new(), |message| if let Message::Promise(promise) = message { Some((**promise).clone()) } else { None })
    }

    /// What comes with the promise of a node that has accepted nothing.
    fn promised() -> Promised {
        Promised { life: 7, accepted: None, is_quiet: true, has_filled: true, leaves: false, kept: None, has_survived: true, versions: 0 }
    }

    /// Keeps the views that are told.
    fn views_told() -> Overheard<ViewId> {
        Overheard(Vec::new(), |message| if let Message::Commit(view) = message { Some(view.id()) } else { None })
    }

    /// The node's links to the other, and from it.
    const OURS: LinkId = LinkId(9);
    const THEIRS: LinkId = LinkId(5);

    fn card(port: u16) -> Card {
        testing::card(port, 7)
    }

    fn node(me: u16, other: u16) -> Node {
        let settings = Settings { peers: vec![card(other).address], mirrors: Mirrors::Next(1), ..settings(card(me)) };
        Node::new(settings, None, None, at(1_000))
    }

    fn introduction(port: u16, copies: u32) -> Introduction<'static> {
        Introduction { protocol: PROTOCOL_VERSION, pool: "pool".into(), me: card(port), others: Vec::new(), copies }
    }

    /// One of two nodes that have met.
    fn connected(me: u16, other: u16) -> Node {
        let mut node = node(me, other);
        node.on_tick(at(1_000), &mut Nowhere);
        node.on_dialled(at(1_001), MemberId(1), OURS, &mut Nowhere);
        node.on_message(at(1_001), OURS, &Message::Welcome(introduction(other, 2)), &mut Nowhere);
        node.on_message(at(1_001), THEIRS, &Message::Hello(introduction(other, 2)), &mut Nowhere);
        node
    }

    fn view_of_both() -> View {
        View::first((77, 5), 2, &[card(8001), card(8002)], &[], Past::Lost)
    }

    /// One of two nodes, in a view of both.
    fn seated(me: u16, other: u16) -> (Node, ViewId) {
        let (mut node, view) = (connected(me, other), view_of_both());
        let id = view.id();
        node.on_message(at(1_002), OURS, &Message::Commit(Box::new(view)), &mut Nowhere);
        assert_eq!(node.view().map(View::id), Some(id));
        (node, id)
    }

    /// The third of three nodes, in a view of all at 1002, with the first's lease; the second has its own from 1010 on, and is cut off then.
    /// The first's links are the usual ones.
    fn third_of_three() -> (Node, ViewId) {
        let settings =
            Settings { peers: [8001, 8002].map(|port| card(port).address).into(), mirrors: Mirrors::Next(2), ..settings(card(8003)) };
        let (mut node, seconds) = (Node::new(settings, None, None, at(1_000)), [LinkId(19), LinkId(15)]);
        node.on_tick(at(1_000), &mut Nowhere);
        for (port, member, [ours, theirs]) in [(8001, MemberId(1), [OURS, THEIRS]), (8002, MemberId(2), seconds)] {
            node.on_dialled(at(1_001), member, ours, &mut Nowhere);
            node.on_message(at(1_001), ours, &Message::Welcome(introduction(port, 3)), &mut Nowhere);
            node.on_message(at(1_001), theirs, &Message::Hello(introduction(port, 3)), &mut Nowhere);
        }
        let view = View::first((77, 5), 3, &[8001, 8002, 8003].map(card), &[], Past::Lost);
        let id = view.id();
        let mut pings = Overheard(Vec::new(), |message| if let Message::Ping { number, .. } = message { Some(*number) } else { None });
        node.on_message(at(1_002), OURS, &Message::Commit(Box::new(view)), &mut pings);
        let pulse = || Pulse { life: 7, number: 1, view: id, takes_part: true, ..Pulse::default() };
        for number in pings.0 {
            node.on_message(at(1_003), OURS, &Message::Pong { number, grant: Some(id), pulse: pulse() }, &mut Nowhere);
        }
        node.on_message(at(1_010), seconds[1], &Message::Ping { number: 1, pulse: pulse() }, &mut Nowhere);
        seconds.into_iter().for_each(|link| node.on_closed(at(1_011), link, &mut Nowhere));
        for ms in [1_012, 1_100] {
            node.on_tick(at(ms), &mut Nowhere);
            node.on_dial_failed(at(ms), MemberId(2), false, &mut Nowhere);
        }
        (node, id)
    }

    #[test]
    fn a_view_that_still_waits_to_be_accepted_binds_nobody() {
        let ((mut node, base), mut promises) = (third_of_three(), promises_sent());
        let next = node.view().expect("it has one").next(&Change { stays: vec![true, false, true], ..Change::default() });
        for (round, until, is_accepted) in [(1, 1_120, false), (3, 1_600, true)] {
            let accept = Message::Accept { base, ballot: round << 16, view: Box::new(next.clone()), silent: vec![1] };
            node.on_message(at(1_115), THEIRS, &accept, &mut promises);
            node.on_tick(at(until), &mut promises);
            node.on_message(at(until), THEIRS, &Message::Prepare { base, ballot: (round + 1) << 16 }, &mut promises);
            node.on_tick(at(until + 1_000), &mut promises);
            assert_eq!(promises.0.pop().expect("it promises").promised.accepted.is_some(), is_accepted);
        }
    }

    #[test]
    fn who_has_asked_to_accept_and_lost_its_link_has_to_ask_again_and_who_has_ended_hears_of_nothing() {
        for (is_lost, has_ended) in [(false, false), (true, false), (false, true)] {
            let ((mut node, base), mut promises) = (third_of_three(), promises_sent());
            let next = node.view().expect("it has one").next(&Change { stays: vec![true, false, true], ..Change::default() });
            let accept = Message::Accept { base, ballot: 1 << 16, view: Box::new(next), silent: vec![1] };
            node.on_message(at(1_115), THEIRS, &accept, &mut promises);
            if is_lost {
                node.on_closed(at(1_116), THEIRS, &mut promises);
                node.on_tick(at(1_117), &mut promises);
                node.on_message(at(1_118), THEIRS, &Message::Hello(introduction(8001, 3)), &mut promises);
            }
            if has_ended {
                let returned = Introduction { me: testing::card(8001, 8), ..introduction(8001, 3) };
                node.on_message(at(1_116), LinkId(THEIRS.0 + 1), &Message::Hello(returned), &mut promises);
            }
            node.on_tick(at(1_600), &mut promises);
            node.on_message(at(1_601), THEIRS, &Message::Prepare { base, ballot: 2 << 16 }, &mut promises);
            node.on_tick(at(2_600), &mut promises);
            assert_eq!(promises.0.pop().expect("it promises").promised.accepted.is_none(), is_lost || has_ended);
        }
    }

    #[test]
    fn who_proposes_a_view_and_sees_another_end_before_it_stands_goes_on_without_it() {
        let (mut node, base) = third_of_three();
        node.propose(at(1_115), &mut Nowhere);
        let ballot = node.pact.as_ref().and_then(|pact| pact.proposal.as_ref()).expect("it proposes").ballot;
        node.on_message(at(1_116), OURS, &Message::Promise(Box::new(Promise { base, ballot, promised: promised() })), &mut Nowhere);
        node.on_message(at(1_117), OURS, &Message::Accepted { base, ballot }, &mut Nowhere);
        [OURS, THEIRS].into_iter().for_each(|link| node.on_closed(at(1_118), link, &mut Nowhere));
        node.on_tick(at(1_119), &mut Nowhere);
        node.on_dial_failed(at(1_120), MemberId(1), true, &mut Nowhere);
        assert_eq!(node.view().map(View::id), Some(base), "it waits for the lease of the second");
        (1_200..2_000).step_by(100).for_each(|ms| node.on_tick(at(ms), &mut Nowhere));
        assert!(node.is_serving(Mono(2_000)));
        assert_eq!(node.view().map(|view| (view.epoch, view.up().count())), Some((base.epoch + 2, 1)));
    }

    #[test]
    fn what_was_said_before_does_not_count_behind_what_was_said_later() {
        let (mut node, view) = seated(8002, 8001);
        let later = Pulse { life: 7, number: 2, view, takes_part: true, ..Pulse::default() };
        let before = Pulse { life: 7, number: 1, ..Pulse::default() };
        node.on_message(at(1_003), THEIRS, &Message::Ping { number: 1, pulse: later }, &mut Nowhere);
        node.on_message(at(1_003), OURS, &Message::Pong { number: 1, grant: None, pulse: before }, &mut Nowhere);
        node.on_tick(at(1_003), &mut Nowhere);
        assert_eq!(node.view().map(View::id), Some(view), "it has not lost its seat");
    }

    #[test]
    fn what_a_life_said_before_it_ended_is_not_taken_for_what_its_next_one_says() {
        let ((mut node, view), theirs_again) = (seated(8001, 8002), LinkId(THEIRS.0 + 1));
        let introduction = Introduction { me: testing::card(8002, 8), ..introduction(8002, 2) };
        node.on_message(at(1_003), theirs_again, &Message::Hello(introduction), &mut Nowhere);
        let outside = |life| Pulse { life, number: 9, view, takes_part: false, ..Pulse::default() };
        node.on_message(at(1_003), OURS, &Message::Pong { number: 1, grant: None, pulse: outside(7) }, &mut Nowhere);
        assert_eq!(node.newcomer(Mono(1_003)), None, "it may not know the view");
        node.on_message(at(1_004), theirs_again, &Message::Ping { number: 1, pulse: outside(8) }, &mut Nowhere);
        assert_eq!(node.newcomer(Mono(1_004)).map(|card| card.incarnation), Some(8));
    }

    #[test]
    fn who_is_asked_about_a_view_that_it_learns_a_moment_later_promises_then() {
        let ((mut node, view), mut promises) = (seated(8002, 8001), promises_sent());
        let next = view_of_both().next(&Change { stays: vec![true; 2], ..Change::default() });
        let prepare = |base: ViewId| Message::Prepare { base, ballot: 1 << 16 };
        node.on_message(at(1_003), THEIRS, &prepare(next.id()), &mut promises);
        assert!(promises.0.is_empty() && node.view().map(View::id) == Some(view));
        node.on_message(at(1_004), OURS, &Message::Commit(Box::new(next.clone())), &mut promises);
        assert_eq!(promises.0.pop().map(|promise| promise.base), Some(next.id()));
    }

    #[test]
    fn who_is_given_a_seat_by_a_view_that_begins_a_lineage_is_told_of_it_by_who_cannot_serve_without_it() {
        let (mut node, _) = seated(8002, 8001);
        let base = view_of_both();
        let joins = Some(testing::card(8001, 8));
        let mut forked = base.next(&Change { stays: vec![false, true], joins, ..Change::default() });
        (forked.parent, forked.lineage) = (base.lineage, 78);
        node.adopt(at(1_003), forked.clone(), &mut Nowhere);
        assert!(!node.is_serving(Mono(1_003)), "the first of two has to grant it a lease");
        let life = node.membership.learn(&testing::card(8001, 8), Mono(1_003));
        let (nothing, other) = (ViewId::default(), ViewId { lineage: 99, epoch: 1 });
        for (knows, says, is_told) in
            [(base.id(), 8, true), (forked.id(), 8, false), (other, 8, false), (nothing, 8, true), (nothing, 7, false)]
        {
            let mut commits = views_told();
            node.tell_view(Mono(1_004), life, &Pulse { life: says, view: knows, ..Pulse::default() }, &mut commits);
            assert_eq!(commits.0 == [forked.id()], is_told);
        }
    }

    #[test]
    fn a_life_that_has_ended_is_granted_no_lease() {
        for has_ended in [false, true] {
            let (mut node, view) = seated(8001, 8002);
            if has_ended {
                node.on_life_ended(Mono(1_003), MemberId(1), 7);
            }
            let mut grants = Overheard(Vec::new(), |message| if let Message::Pong { grant, .. } = message { *grant } else { None });
            let pulse = Pulse { life: 7, number: 1, view, takes_part: true, ..Pulse::default() };
            node.on_message(at(1_004), THEIRS, &Message::Ping { number: 1, pulse }, &mut grants);
            assert_eq!(grants.0.is_empty(), has_ended);
        }
    }

    #[test]
    fn what_a_life_has_said_is_not_said_of_the_next_one_in_its_seat() {
        let (mut node, _) = seated(8001, 8002);
        let elsewhere = Pulse { life: 7, number: 1, view: ViewId { lineage: 99, epoch: 1 }, takes_part: true, ..Pulse::default() };
        node.on_message(at(1_003), THEIRS, &Message::Ping { number: 1, pulse: elsewhere }, &mut Nowhere);
        let has_departed = |node: &Node| node.pact.as_ref().is_some_and(|pact| pact.has_departed(1));
        assert!(has_departed(&node));
        let returned = view_of_both().next(&Change { stays: vec![true, false], joins: Some(testing::card(8002, 8)), ..Change::default() });
        node.on_message(at(1_004), OURS, &Message::Commit(Box::new(returned)), &mut Nowhere);
        assert!(node.view().is_some_and(|view| view.seats[1].card.incarnation == 8) && !has_departed(&node));
    }

    #[test]
    fn who_knows_the_view_and_has_no_part_in_it_gives_way_to_the_next_view() {
        let (mut node, view) = seated(8001, 8002);
        let pulse = Pulse { life: 7, number: 1, view, takes_part: false, ..Pulse::default() };
        node.on_message(at(1_003), THEIRS, &Message::Ping { number: 1, pulse }, &mut Nowhere);
        node.on_tick(at(1_003), &mut Nowhere);
        let next = node.view().expect("it goes on");
        assert_eq!((next.epoch, next.up().count()), (view.epoch + 1, 1));
    }

    #[test]
    fn no_pool_begins_without_who_is_heard_to_have_a_seat_whatever_is_said_of_it() {
        let ping = |takes_part| {
            let pulse = Pulse { life: 7, number: 1, view: view_of_both().id(), takes_part, ..Pulse::default() };
            Message::Ping { number: 1, pulse }
        };
        for (takes_part, says_first) in [(false, false), (true, false), (true, true)] {
            let mut node = connected(8002, 8001);
            let declare = |node: &mut Node| node.on_declare(at(1_003), "127.0.0.1:8001", 7, true, &mut Nowhere);
            if says_first {
                node.on_message(at(1_003), THEIRS, &ping(takes_part), &mut Nowhere);
                declare(&mut node);
            } else {
                declare(&mut node);
                node.on_message(at(1_003), THEIRS, &ping(takes_part), &mut Nowhere);
            }
            node.on_tick(at(1_004), &mut Nowhere);
            assert_eq!(node.view().is_none(), takes_part);
        }
    }

    #[test]
    fn a_wait_for_a_first_view_begins_when_nobody_is_heard_to_have_a_seat() {
        let (mut node, view) = seated(8002, 8001);
        node.lose_seat(at(1_003), &mut Nowhere);
        for (number, takes_part, since) in [(1, true, 2_001), (2, true, 2_002), (3, false, 2_002)] {
            let pulse = Pulse { life: 7, number, view, takes_part, ..Pulse::default() };
            node.on_message(at(2_000 + number), THEIRS, &Message::Ping { number, pulse }, &mut Nowhere);
            assert_eq!(node.pact.as_ref().map(|pact| pact.seatless_since), Some(Mono(since)));
        }
    }

    #[test]
    fn a_first_view_is_not_made_of_what_a_former_life_has_promised() {
        for returns in [false, true] {
            let mut node = connected(8001, 8002);
            let pulse = Pulse { life: 7, number: 1, ..Pulse::default() };
            node.on_message(at(1_002), THEIRS, &Message::Ping { number: 1, pulse }, &mut Nowhere);
            let mut asked =
                Overheard(Vec::new(), |message| if let Message::Prepare { ballot, .. } = message { Some(*ballot) } else { None });
            node.on_tick(at(1_003), &mut asked);
            if returns {
                let introduction = Introduction { me: testing::card(8002, 8), ..introduction(8002, 2) };
                node.on_message(at(1_004), LinkId(THEIRS.0 + 1), &Message::Hello(introduction), &mut Nowhere);
            }
            let mut views =
                Overheard(Vec::new(), |message| if let Message::Accept { view, .. } = message { Some(view.id()) } else { None });
            let promise = Promise { base: ViewId::default(), ballot: asked.0[0], promised: promised() };
            node.on_message(at(1_005), OURS, &Message::Promise(Box::new(promise)), &mut views);
            assert_eq!(views.0.is_empty(), returns);
        }
    }

    #[test]
    fn a_pool_begins_without_who_speaks_as_an_older_life_than_is_known() {
        for life in [7, 5] {
            let mut node = connected(8001, 8002);
            for ms in (1_010..5_000).step_by(10) {
                let mut pings =
                    Overheard(Vec::new(), |message| if let Message::Ping { number, .. } = message { Some(*number) } else { None });
                node.on_tick(at(ms), &mut pings);
                for number in pings.0 {
                    let pulse = Pulse { life, number, ..Pulse::default() };
                    node.on_message(at(ms), OURS, &Message::Pong { number, grant: None, pulse }, &mut Nowhere);
                }
            }
            assert_eq!(node.view().map(|view| view.up().count()), (life < 7).then_some(1), "a present one has to promise");
        }
    }

    #[test]
    fn who_has_retired_has_no_say_in_a_first_view() {
        let mut promises = promises_sent();
        for retires in [false, true] {
            let mut node = connected(8002, 8001);
            if retires {
                node.retire(at(1_002), &mut Nowhere);
            }
            node.on_message(at(1_003), THEIRS, &Message::Prepare { base: ViewId::default(), ballot: 1 << 16 }, &mut promises);
            assert_eq!(promises.0.pop().is_some(), !retires);
            let commit = Message::Commit(Box::new(view_of_both()));
            node.on_message(at(1_004), OURS, &commit, &mut Nowhere);
            assert_eq!(node.pact.as_ref().expect("it has mirrors").me.is_some(), !retires);
        }
    }

    #[test]
    fn who_leaves_and_may_be_missed_still_begins_a_pool() {
        let mut node = connected(8001, 8002);
        node.leave();
        let may_begin = |node: &Node| node.pact.as_ref().expect("it has mirrors").may_begin();
        assert!(!may_begin(&node), "it has nothing, and ends");
        let accept = Message::Accept { base: ViewId::default(), ballot: 1 << 16, view: Box::new(view_of_both()), silent: Vec::new() };
        node.on_message(at(1_002), THEIRS, &accept, &mut Nowhere);
        assert!(may_begin(&node) && !node.has_left(), "by that view it may have keys");
    }

    #[test]
    fn who_leaves_ends_when_all_know_a_view_without_its_seat() {
        let (mut node, _) = seated(8002, 8001);
        node.leave();
        let leaves = || Change { stays: vec![true; 2], leaves: vec![false, true], ..Change::default() };
        let settled = view_of_both().next(&leaves()).next(&Change { settles: true, ..leaves() });
        assert!(settled.is_dispensable(1) && !settled.is_dispensable(0));
        let relieved = settled.next(&Change { stays: vec![true, false], ..Change::default() });
        let mut pulse = Pulse { life: 7, number: 1, view: settled.id(), takes_part: true, ..Pulse::default() };
        for (view, ends) in [(settled, false), (relieved, true)] {
            pulse = Pulse { number: pulse.number + 1, ..pulse };
            node.on_message(at(1_003), OURS, &Message::Commit(Box::new(view.clone())), &mut Nowhere);
            node.on_message(at(1_004), THEIRS, &Message::Ping { number: 1, pulse }, &mut Nowhere);
            assert!(!node.has_left(), "the other has not heard of it");
            pulse = Pulse { number: pulse.number + 1, view: view.id(), ..pulse };
            node.on_message(at(1_005), THEIRS, &Message::Ping { number: 1, pulse }, &mut Nowhere);
            assert_eq!(node.has_left(), ends);
        }
    }

    fn asked_to_flush(mut node: Node) -> Node {
        let request = Request::Admin(Admin::Flush { when: Expiry::InMs(0) });
        node.on_request(at(1_003), ClientId { connection: 1, slot: 0 }, node.hasher.hash(b""), &request, &mut Nowhere);
        node
    }

    #[test]
    fn a_flush_before_it_was_asked_for_does_not_answer_it() {
        let (node, view) = seated(8002, 8001);
        let mut node = asked_to_flush(node);
        let flush = Change { flushes: true, stays: vec![true; 2], ..Change::default() };
        let flushed_before = node.view().expect("it has one").next(&flush);
        node.on_message(at(1_004), OURS, &Message::Commit(Box::new(flushed_before)), &mut Nowhere);
        assert_eq!(node.view().map(|view| view.epoch), Some(view.epoch + 1));
        assert_eq!(node.pact.as_ref().expect("it has mirrors").wants.flush, Flush::Wanted, "it was behind when it was asked");
    }

    #[test]
    fn a_view_stands_when_everyone_who_has_promised_has_accepted_it_or_ended() {
        for ends in [false, true] {
            let (node, view) = seated(8001, 8002);
            let mut node = asked_to_flush(node);
            let ballot = node.pact.as_ref().and_then(|pact| pact.proposal.as_ref()).expect("it decides alone").ballot;
            node.on_message(
                at(1_004),
                OURS,
                &Message::Promise(Box::new(Promise { base: view, ballot, promised: promised() })),
                &mut Nowhere,
            );
            node.on_tick(at(1_005), &mut Nowhere);
            assert_eq!(node.view().map(View::id), Some(view), "the other one could still go on from this view");
            if ends {
                node.on_life_ended(Mono(1_006), MemberId(1), 7);
                node.on_tick(at(1_006), &mut Nowhere);
            } else {
                node.on_message(at(1_006), OURS, &Message::Accepted { base: view, ballot }, &mut Nowhere);
            }
            let next = node.view().expect("it goes on");
            assert!(next.epoch > view.epoch && next.flushes == 1);
        }
    }

    #[test]
    fn who_has_accepted_a_first_view_does_not_leave_before_it_takes_part() {
        let mut node = connected(8002, 8001);
        node.leave();
        assert!(node.has_left(), "it has nothing that others have to have");
        let view = Box::new(view_of_both());
        let accept = Message::Accept { base: ViewId::default(), ballot: 1 << 16, view, silent: Vec::new() };
        node.on_message(at(1_002), THEIRS, &accept, &mut Nowhere);
        assert!(!node.has_left());
    }

    #[test]
    fn who_has_accepted_a_first_view_counts_on_those_in_it_whom_it_has_not_met() {
        let mut node = connected(8002, 8001);
        let view = View::first((77, 5), 2, &[card(8001), card(8002), card(8003)], &[], Past::Lost);
        let stranger = node.membership.learn(&card(8003), Mono(1_001));
        node.link_new_members(Mono(1_001));
        node.leave();
        let accept = Message::Accept { base: ViewId::default(), ballot: 1 << 16, view: Box::new(view), silent: Vec::new() };
        node.on_message(at(1_002), THEIRS, &accept, &mut Nowhere);
        [OURS, THEIRS].into_iter().for_each(|link| node.on_closed(at(1_003), link, &mut Nowhere));
        for member in [MemberId(1), stranger] {
            node.on_tick(at(2_000), &mut Nowhere);
            node.on_dial_failed(at(2_000), member, true, &mut Nowhere);
        }
        let are_refused = node.membership.others().all(|(_, member)| member.standing == Standing::Down(Reason::Refused));
        assert!(are_refused && !node.has_left(), "they may take part by now");
    }

    #[test]
    fn who_leaves_with_a_journal_that_others_need_to_begin_helps_them_to_begin() {
        for has_kept in [false, true] {
            let (mut node, mut bytes) = (connected(8002, 8001), Vec::new());
            view_of_both().write(&mut bytes);
            if has_kept {
                node.pact.as_mut().expect("it has mirrors").kept = View::read(&bytes).ok();
            }
            node.leave();
            let may_begin = node.pact.as_ref().expect("it has mirrors").may_begin();
            assert_eq!((node.has_left(), may_begin), (!has_kept, has_kept));
            [OURS, THEIRS].into_iter().for_each(|link| node.on_closed(at(1_003), link, &mut Nowhere));
            node.on_tick(at(1_100), &mut Nowhere);
            node.on_dial_failed(at(1_100), MemberId(1), true, &mut Nowhere);
            assert!(node.has_left(), "nobody is there who needs it");
        }
    }

    #[test]
    fn who_leaves_counts_on_a_life_in_its_view_that_it_has_not_met() {
        for is_new_life in [false, true] {
            let (mut node, _) = seated(8002, 8001);
            node.leave();
            [OURS, THEIRS].into_iter().for_each(|link| node.on_closed(at(1_003), link, &mut Nowhere));
            node.on_tick(at(1_100), &mut Nowhere);
            node.on_dial_failed(at(1_100), MemberId(1), true, &mut Nowhere);
            if is_new_life {
                let joins = Some(testing::card(8001, 8));
                let returned = view_of_both().next(&Change { stays: vec![false, true], joins, ..Change::default() });
                node.adopt(at(1_101), returned, &mut Nowhere);
            }
            assert_eq!(node.membership.get(MemberId(1)).standing, Standing::Down(Reason::Refused));
            assert_eq!(node.has_left(), !is_new_life);
        }
    }

    #[test]
    fn who_leaves_with_all_others_waits_for_the_view_that_it_has_promised_to_help_with() {
        let (mut node, view) = seated(8001, 8002);
        node.leave();
        let pulse = Pulse { life: 7, number: 1, view, takes_part: true, leaves: true, ..Pulse::default() };
        node.on_message(at(1_003), THEIRS, &Message::Ping { number: 1, pulse }, &mut Nowhere);
        assert!(node.has_left(), "nobody stays");
        node.on_message(at(1_004), THEIRS, &Message::Prepare { base: view, ballot: 1 << 20 }, &mut Nowhere);
        assert!(!node.has_left(), "somebody may have come");
    }

    #[test]
    fn who_leaves_does_not_take_a_former_life_for_the_one_that_it_has_not_met() {
        for is_new_life in [false, true] {
            let (mut node, view) = seated(8001, 8002);
            node.leave();
            let pulse = Pulse { life: 7, number: 1, view, takes_part: true, leaves: true, ..Pulse::default() };
            node.on_message(at(1_003), THEIRS, &Message::Ping { number: 1, pulse }, &mut Nowhere);
            if is_new_life {
                node.membership.learn(&testing::card(8002, 8), Mono(1_004));
            }
            assert_eq!(node.has_left(), !is_new_life);
        }
    }

    #[test]
    fn who_has_handed_over_what_it_had_does_not_go_on_without_who_has_it() {
        for leaves in [false, true] {
            let (mut node, _) = seated(8001, 8002);
            let both = view_of_both();
            let mut handed_over = both.next(&Change { stays: vec![true; 2], leaves: vec![leaves, false], ..Change::default() });
            handed_over =
                handed_over.next(&Change { stays: vec![true; 2], leaves: vec![leaves, false], settles: true, ..Change::default() });
            node.on_message(at(1_003), OURS, &Message::Commit(Box::new(handed_over.clone())), &mut Nowhere);
            assert!(handed_over.is_dispensable(0) == leaves && node.view() == Some(&handed_over));
            [OURS, THEIRS].into_iter().for_each(|link| node.on_closed(at(1_004), link, &mut Nowhere));
            for ms in (1_010..9_000).step_by(100) {
                node.on_tick(at(ms), &mut Nowhere);
                node.on_dial_failed(at(ms), MemberId(1), false, &mut Nowhere);
            }
            assert_eq!(node.view().map(|view| view.epoch > handed_over.epoch), Some(!leaves));
        }
    }

    #[test]
    fn who_has_given_up_its_seat_does_not_leave_before_a_view_without_it() {
        let (mut node, view) = seated(8002, 8001);
        node.leave();
        node.lose_seat(at(1_003), &mut Nowhere);
        let commit = |view: View| Message::Commit(Box::new(view));
        node.on_message(at(1_004), OURS, &commit(view_of_both()), &mut Nowhere);
        assert_eq!((node.view().map(View::id), node.has_left()), (Some(view), false));
        let without_it = view_of_both().next(&Change { stays: vec![true, false], ..Change::default() });
        let pulse = Pulse { life: 7, number: 1, view: without_it.id(), takes_part: true, ..Pulse::default() };
        node.on_message(at(1_005), OURS, &commit(without_it), &mut Nowhere);
        node.on_message(at(1_006), THEIRS, &Message::Ping { number: 1, pulse }, &mut Nowhere);
        assert!(node.has_left());
    }

    #[test]
    fn a_first_view_that_was_acted_on_and_given_up_is_not_finished_again() {
        let mut promises = promises_sent();
        let (base, first, second) = (ViewId::default(), 1 << 16, 2 << 16);
        let accept = || Message::Accept { base, ballot: first, view: Box::new(view_of_both()), silent: Vec::new() };
        let mut node = connected(8002, 8001);
        node.on_message(at(1_002), THEIRS, &accept(), &mut promises);
        node.on_message(at(1_003), THEIRS, &Message::Prepare { base, ballot: second }, &mut promises);
        assert!(promises.0.pop().expect("it promises").promised.accepted.is_some(), "somebody may have acted on it");
        let (mut node, _) = seated(8002, 8001);
        node.lose_seat(at(1_003), &mut promises);
        node.on_message(at(1_004), OURS, &Message::Commit(Box::new(view_of_both())), &mut promises);
        node.on_message(at(1_005), THEIRS, &accept(), &mut promises);
        node.on_message(at(1_006), THEIRS, &Message::Prepare { base, ballot: second }, &mut promises);
        assert_eq!(promises.0.pop().expect("it promises").promised.accepted, None);
    }

    #[test]
    fn who_has_given_up_its_seat_does_not_go_back_to_a_view_before() {
        let (mut node, view) = seated(8002, 8001);
        let commit = |view: View| Message::Commit(Box::new(view));
        let later = view_of_both().next(&Change { stays: vec![true, true], ..Change::default() });
        node.on_message(at(1_003), OURS, &commit(later), &mut Nowhere);
        assert_eq!(node.view().map(|view| view.epoch), Some(view.epoch + 1));
        node.lose_seat(at(1_004), &mut Nowhere);
        node.on_message(at(1_005), OURS, &commit(view_of_both()), &mut Nowhere);
        assert_eq!(node.view().map(View::id), None);
    }

    #[test]
    fn who_has_given_up_its_seat_and_ends_does_not_go_back_to_a_view_before() {
        let (mut node, view) = seated(8002, 8001);
        let later = view_of_both().next(&Change { stays: vec![true, true], ..Change::default() });
        node.on_message(at(1_003), OURS, &Message::Commit(Box::new(later)), &mut Nowhere);
        node.lose_seat(at(1_004), &mut Nowhere);
        node.retire(at(1_005), &mut Nowhere);
        node.on_message(at(1_006), OURS, &Message::Commit(Box::new(view_of_both())), &mut Nowhere);
        assert_ne!(node.view().map(View::id), Some(view));
    }

    #[test]
    fn a_view_gives_versions_after_all_that_who_promises_knows() {
        let (mut node, view) = seated(8001, 8002);
        let given = node.view().expect("it has one").versions;
        node.version = Version::start_of(given + 5);
        let pulse = Pulse { life: 7, number: 1, view, takes_part: false, ..Pulse::default() };
        node.on_message(at(1_003), THEIRS, &Message::Ping { number: 1, pulse }, &mut Nowhere);
        node.on_tick(at(1_003), &mut Nowhere);
        assert_eq!(node.view().map(|view| view.versions), Some(given + 6));
        assert_eq!(node.version, Version::start_of(given + 6));
    }

    #[test]
    fn who_was_declared_dead_begins_no_pool_of_its_own_when_the_others_end() {
        for is_banned in [false, true] {
            let (mut node, _) = seated(8002, 8001);
            let bans = if is_banned { vec![card(8002).name] } else { Vec::new() };
            let without_it = view_of_both().next(&Change { stays: vec![true, false], bans, ..Change::default() });
            node.on_message(at(1_003), OURS, &Message::Commit(Box::new(without_it)), &mut Nowhere);
            node.on_closed(at(1_004), OURS, &mut Nowhere);
            node.on_closed(at(1_004), THEIRS, &mut Nowhere);
            for ms in (1_010..20_000).step_by(100) {
                node.on_tick(at(ms), &mut Nowhere);
                node.on_dial_failed(at(ms), MemberId(1), true, &mut Nowhere);
            }
            assert_eq!(node.is_serving(Mono(20_000)), !is_banned);
        }
    }

    #[test]
    fn two_that_begin_from_one_view_without_each_other_give_other_versions() {
        let versions = |me: u16, other: u16| {
            let (mut node, view) = seated(me, other);
            node.lose_seat(at(1_003), &mut Nowhere);
            [OURS, THEIRS].into_iter().for_each(|link| node.on_closed(at(1_004), link, &mut Nowhere));
            for ms in (1_010..20_000).step_by(100) {
                node.on_tick(at(ms), &mut Nowhere);
                node.on_dial_failed(at(ms), MemberId(1), true, &mut Nowhere);
            }
            let begun = node.view().expect("it begins alone");
            assert_ne!(begun.lineage, view.lineage);
            begun.versions
        };
        let [first, second] = [versions(8001, 8002), versions(8002, 8001)];
        assert!(first.abs_diff(second) > 10 && first.min(second) > view_of_both().versions + 1_000, "{first} {second}");
    }

    #[test]
    fn no_life_begins_two_lineages_of_one_name() {
        let mut node = node(8001, 8002);
        let first = node.new_lineage();
        node.pact.as_mut().expect("it has mirrors").lineages_begun += 1;
        assert_ne!(node.new_lineage(), first);
    }
}
