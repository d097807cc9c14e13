//! When another view is wanted, and by whom it is proposed.
//!
//! Any seat may propose; the lowest that is heard does it at once, the others each a while later, so that proposals rarely meet. Reasons are: a seat's
//! life has ended or it is silent; somebody is there who has no seat; everyone is filled, or a node that leaves has nothing left that others do not
//! have; an operator, or a node that wants to leave, asks for it; or a promise was given and nothing came of it. How a proposal goes on is in [`agreement`](super::agreement).

use super::agreement::{PATIENCE_MS, QUIET_MS, RANK_MS};
use super::pact::Pact;
use super::{Node, Outputs};
use crate::time::{Mono, Now};
use crate::topology::MemberId;
use crate::topology::agreement::proposer_of;
use crate::topology::membership::{Card, Standing};
use crate::topology::view::Standing as SeatStanding;

/// Before a view that leaves keys without any holder, somebody may come back, or this node go as well.
const LAST_COPY_MS: u64 = 2_000;
/// A promise of which nothing came is a reason for a proposal after this.
const FROZEN_MS: u64 = 400;
/// Who was left out in its present life is not taken in again before this.
const REST_MS: u64 = 2_000;

impl Node {
    /// Is there a reason for another view, and may it be this node that proposes it?
    pub(super) fn consider(&mut self, now: Now, out: &mut dyn Outputs) {
        let Some(pact) = &self.pact else { return };
        if pact.proposal.is_some() || now.mono < pact.propose_at {
            return;
        }
        if pact.me.is_none() {
            return self.consider_a_first_view(now, out);
        }
        let wanted = self.is_wanted_here();
        let reason = wanted || self.has_reason(now.mono);
        let rank = self.rank();
        let Some(pact) = &mut self.pact else { return };
        if !reason {
            pact.reason_since = None;
            return;
        }
        pact.reason_since.get_or_insert(now.mono);
        if self.is_put_off(now.mono, |seat| self.hears(seat)) {
            return;
        }
        let Some(since) = self.pact.as_ref().and_then(|pact| pact.reason_since) else { return };
        if (wanted || now.mono >= since.plus(rank * RANK_MS))
            && !self.leaves_it_to_another(now.mono)
            && self.decides(|seat| self.hears(seat))
        {
            self.propose(now, out);
        }
    }

    /// Is another's proposal under way, whose proposer is heard? It may have to wait until leases have ended, and who proposes against it
    /// meanwhile begins a duel that nobody wins.
    fn leaves_it_to_another(&self, now: Mono) -> bool {
        let Some(pact) = self.pact.as_ref().filter(|pact| pact.acceptor.is_frozen() && pact.view.is_some()) else { return false };
        let proposer = proposer_of(pact.acceptor.promised());
        let until = pact.acceptor.since().plus(QUIET_MS + PATIENCE_MS + pact.wait_ms() + RANK_MS);
        Some(proposer) != pact.me && proposer < pact.seats.len() && self.hears(proposer) && now < until
    }

    /// Would a view of those that stay begin without some keys? If all are going down, the journals of all know better: so that is put off for a
    /// moment.
    pub(super) fn is_put_off(&self, now: Mono, stays: impl Fn(usize) -> bool) -> bool {
        let Some((pact, view)) = self.pact.as_ref().and_then(Pact::with_view) else { return false };
        pact.reason_since.is_none_or(|since| now < since.plus(LAST_COPY_MS)) && view.may_lose_keys(stays)
    }

    /// How many seats that are heard come before this one.
    pub(super) fn rank(&self) -> u64 {
        let Some((view, me)) = self.pact.as_ref().and_then(|pact| Some((pact.view.as_ref()?, pact.me?))) else { return 0 };
        view.up().filter(|seat| *seat < me && self.hears(*seat)).count() as u64
    }

    /// Does an operator here, or this node itself, want another view?
    fn is_wanted_here(&self) -> bool {
        let Some((pact, view, me)) = self.pact.as_ref().and_then(|pact| Some((pact, pact.view.as_ref()?, pact.me?))) else { return false };
        let is_banned = |name: &String| view.is_banned(name);
        let is_to_leave = pact.wants.leaves && view.seats[me].standing == SeatStanding::Up && view.up().count() > 1;
        is_to_leave || pact.wants_flush() || pact.wants.bans.iter().any(|name| !is_banned(name)) || pact.wants.pardons.iter().any(is_banned)
    }

    fn has_reason(&self, now: Mono) -> bool {
        let Some((pact, view)) = self.pact.as_ref().and_then(Pact::with_view) else { return false };
        let is_down = |seat: usize| matches!(self.membership.get(pact.seats[seat]).standing, Standing::Down(_));
        let is_lost = |seat: usize| pact.has_ended(seat, &self.membership) || is_down(seat) || pact.has_given_up(seat);
        let is_stale = pact.acceptor.is_frozen() && now >= pact.acceptor.since().plus(FROZEN_MS);
        let is_filled = || !pact.is_whole && self.are_all_filled(now);
        let is_relieved = |seat: usize| pact.is_whole && view.is_dispensable(seat) && !self.mistakes().ends_unrelieved;
        is_stale
            || view.up().any(|seat| (Some(seat) != pact.me && is_lost(seat)) || is_relieved(seat))
            || self.newcomer(now).is_some()
            || is_filled()
    }

    /// Has every owner filled whom it has to fill?
    fn are_all_filled(&self, now: Mono) -> bool {
        let Some((pact, view)) = self.pact.as_ref().and_then(Pact::with_view) else { return false };
        let own = self.pulse(now);
        view.up().all(|seat| {
            let pulse = if Some(seat) == pact.me { Some(&own) } else { pact.pulse_of(pact.seats[seat]) };
            pulse.is_some_and(|pulse| pulse.view == pact.id && pulse.has_filled)
        })
    }

    /// Somebody who is there and knows the view, and has no seat in it.
    pub(super) fn newcomer(&self, now: Mono) -> Option<Card> {
        let (pact, view) = self.pact.as_ref().and_then(Pact::with_view)?;
        let fits = |id: MemberId, card: &Card| {
            let pulse = pact.pulse_from(id, card.incarnation);
            // Whom others have told of has not said anything itself yet.
            let is_met = pact.ties.get(id.index()).is_some_and(|tie| tie.ended_life + 1 == card.incarnation);
            let rests = pact.ties.get(id.index()).and_then(|tie| tie.dropped_at).is_some_and(|dropped| now < dropped.plus(REST_MS));
            let seat = view.seat(&card.name).map(|seat| &view.seats[seat]);
            let is_barred = seat.is_some_and(|seat| {
                let same_life = seat.card.incarnation >= card.incarnation;
                same_life && (seat.is_up() || seat.standing == SeatStanding::Banned || rests)
            });
            pulse.is_some_and(|pulse| pulse.view == pact.id && !pulse.takes_part && !pulse.leaves) && is_met && !is_barred
        };
        let mut others = self.membership.others().filter(|(_, member)| member.standing == Standing::Up && member.card.incarnation > 0);
        others.find(|(id, member)| fits(*id, &member.card)).map(|(_, member)| member.card.clone())
    }
}
