//! A pool's beginning, when nobody has a seat anywhere; and how a node comes to be without one.
//!
//! A node without a seat waits to be given one. If nobody holds a lease anywhere, and every member is either there without a seat or its host
//! refuses connections, the lowest of those present proposes a first view, which all present must accept. It starts from those who have lived
//! on and from the journals of the others, if every seat of the last view is back; otherwise, after a wait, from nothing: a missing node may
//! have gone on without those that are present. Two first views at a time there cannot be: whoever is there is asked, and who is not there
//! has refused the asker, which listens already.

use super::agreement::epochs_apart;
use super::pact::Pact;
use super::{Node, Outputs};
use crate::time::Now;
use crate::topology::MemberId;
use crate::topology::agreement::{Proposal, ballot_above};
use crate::topology::membership::{Card, Reason, Standing};
use crate::topology::view::{Past, Role, Standing as Seated, View, ViewId};

/// A node that knows of no former view does not wait longer for others than this.
const FRESH_WAIT_MS: u64 = 2_000;
/// Who is missing may have gone on by so many views, each with an epoch of versions of its own.
const MISSED_VIEWS: u32 = 1 << 16;

impl Node {
    /// A seat of a view of which so many lives have ended that the others can never decide again has no use for it.
    pub(super) fn lose_seat_if_stuck(&mut self, now: Now, out: &mut dyn Outputs) {
        let Some((pact, view)) = self.pact.as_ref().filter(|pact| pact.me.is_some()).and_then(Pact::with_view) else {
            return;
        };
        let lives = |seat: usize| Some(seat) == pact.me || !(pact.has_ended(seat, &self.membership) || pact.has_departed(seat));
        if !view.decides(lives, |seat| self.is_excused(seat)) {
            let (epoch, wait_ms) = (pact.id.epoch, self.settings.boot_wait_ms);
            log::warn!(
                "too many nodes of view {epoch} have ended for the others to decide: this node waits for them, {wait_ms} ms before it begins \
                empty; `dead` of those who have done nothing alone makes it go on with what it has"
            );
            self.lose_seat(now, out);
        }
    }

    /// Nobody has a seat: is it time for a first view, and is it this node that proposes it?
    pub(super) fn consider_a_first_view(&mut self, now: Now, out: &mut dyn Outputs) {
        let Some(pact) = self.pact.as_ref().filter(|pact| pact.may_begin()) else { return };
        let others: Vec<(MemberId, Standing)> = self.membership.others().map(|(id, member)| (id, member.standing)).collect();
        let patience = if pact.kept.is_some() { self.settings.boot_wait_ms } else { self.settings.boot_wait_ms.min(FRESH_WAIT_MS) };
        let is_over = now.mono >= pact.seatless_since.plus(patience);
        let pulse_of = |id: MemberId| pact.pulse_from(id, self.membership.get(id).card.incarnation);
        let is_there = |id: MemberId, standing: Standing| standing == Standing::Up && pulse_of(id).is_some_and(|pulse| !pulse.takes_part);
        // An older life than is known speaks there: its clock was set back.
        let is_of_old = |id: MemberId, standing: Standing| is_over && standing == Standing::Up && pulse_of(id).is_none();
        let is_dispensable = |id: MemberId, standing: Standing| standing != Standing::Up && self.was_out(id);
        let is_accounted_for = others.iter().all(|(id, standing)| {
            is_there(*id, *standing) || standing.is_away() || is_dispensable(*id, *standing) || is_of_old(*id, *standing)
        });
        let is_complete = others.iter().all(|(id, standing)| {
            is_there(*id, *standing) || matches!(standing, Standing::Down(Reason::Declared | Reason::Unfit | Reason::Unmet))
        });
        if self.mistakes().own_journal && pact.kept.is_some() && is_accounted_for {
            return self.propose_first(now, Vec::new(), out);
        }
        if !is_accounted_for || !(is_complete || is_over) {
            return;
        }
        let present: Vec<MemberId> = others.iter().filter(|(id, standing)| is_there(*id, *standing)).map(|(id, _)| *id).collect();
        let name = &self.me().name;
        // Whom an operator has declared dead does not take the place of the others when they end.
        let is_banned = pact.view.as_ref().is_some_and(|view| view.is_banned(name));
        if is_banned && present.is_empty() {
            return;
        }
        if present.iter().all(|id| self.membership.get(*id).card.name > *name) {
            self.propose_first(now, present, out);
        }
    }

    /// Had this member no part in the last view, and does only that view tell of it? Its machine may be long gone.
    fn was_out(&self, id: MemberId) -> bool {
        let card = &self.membership.get(id).card;
        let kept = self.pact.as_ref().and_then(|pact| pact.kept.as_ref());
        let is_out = |view: &View| view.seat(&card.name).is_some_and(|seat| view.seats[seat].standing == Seated::Down);
        kept.is_some_and(is_out) && !self.settings.peers.contains(&card.address)
    }

    fn propose_first(&mut self, now: Now, mut asked: Vec<MemberId>, out: &mut dyn Outputs) {
        let mut names: Vec<&str> = self.membership.all().map(|(_, member)| member.card.name.as_str()).collect();
        names.sort_unstable();
        let rank = names.iter().position(|name| *name == self.me().name).unwrap_or(0);
        let ballot = ballot_above(self.pact.as_ref().map_or(0, |pact| pact.ballot_seen), rank as u16);
        asked.push(MemberId::ME);
        self.ask_for_promises(now, ViewId::default(), ballot, asked, out);
    }

    /// What a life that has ended promised binds nobody, and what it had its next one may not have.
    pub(super) fn is_promised_by_the_living(&self, proposal: &Proposal) -> bool {
        proposal.promises.iter().all(|(member, promised)| {
            let ended = self.pact.as_ref().and_then(|pact| pact.ties.get(member.index())).map_or(0, |tie| tie.ended_life);
            promised.life == self.membership.get(*member).card.incarnation && promised.life > ended
        })
    }

    /// The first view of those who have promised: from the journals of the last one, if all of its seats are there.
    pub(super) fn first_view(&self, proposal: &Proposal) -> View {
        let kept = proposal.promises.iter().filter_map(|(id, promise)| promise.kept.as_ref().map(|view| (*id, view, promise.has_survived)));
        let newest: Option<&View> = kept.clone().map(|(_, view, _)| view).max_by_key(|view| (view.epoch, view.lineage));
        // A journal may have been cut off. As long as somebody has lived on, what only journals hold counts as lost rather than as true.
        let is_told = |id: MemberId, view: &View| {
            let goes_on = |newest: &View| !self.mistakes().newest_only && newest.goes_on_from(view, &self.membership.get(id).card.name);
            newest.is_some_and(|newest| newest.id() == view.id() || goes_on(newest))
        };
        let survivor = kept.clone().any(|(id, view, has_survived)| has_survived && is_told(id, view));
        let role = |has_survived: bool| match (has_survived, survivor) {
            (true, _) => Role::Here,
            (false, true) => Role::Gone,
            (false, false) => Role::Written,
        };
        // Whose journal is damaged says of itself that it is gone.
        let is_sound = |id: MemberId, view: &View| {
            !view.settled.iter().any(|settled| settled.card.name == self.membership.get(id).card.name && settled.role == Role::Gone)
        };
        let witnesses: Vec<(String, Role)> = kept
            .filter(|(id, view, _)| is_told(*id, view) && is_sound(*id, view))
            .map(|(id, _, has_survived)| (self.membership.get(id).card.name.clone(), role(has_survived)))
            .collect();
        let is_declared = |name: &str| {
            let member = self.membership.find(name).map(|id| self.membership.get(id).standing);
            member == Some(Standing::Down(Reason::Declared))
        };
        let is_present = |name: &str| proposal.promises.keys().any(|id| self.membership.get(*id).card.name == name);
        let is_back =
            |view: &View| view.up().all(|seat| is_present(&view.seats[seat].card.name) || is_declared(&view.seats[seat].card.name));
        let warm = newest.filter(|view| self.mistakes().own_journal || (is_back(view) && view.copies == self.copies()));
        if newest.is_some() && warm.is_none() {
            log::warn!(
                "not all nodes of the last view are back: the pool starts empty, since a missing one may have gone on without the others"
            );
        }
        let present: Vec<Card> = proposal.promises.keys().map(|id| self.membership.get(*id).card.clone()).collect();
        let epoch = newest.map_or(0, |view| view.epoch + 1).max(u64::from(super::epoch_of(self.me().incarnation)));
        let past = match (newest, warm) {
            (None, _) => Past::Unknown,
            (Some(_), None) => Past::Lost,
            (Some(_), Some(kept)) => Past::Kept(kept, &witnesses),
        };
        let mut view = View::first((self.new_lineage(), epoch), self.copies(), &present, &self.known_cards(), past);
        let room = newest.map_or(0, |_| MISSED_VIEWS);
        view.begin_versions_after(self.versions_given(proposal).max(view.versions).saturating_add(room + epochs_apart(view.lineage)));
        view
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::super::testing::{Nowhere, at, card, settings};
    use super::*;
    use crate::time::Mono;
    use crate::topology::view::{Change, Mirrors};

    /// Begins again with the journal of a view of three, in which the second had gone and the third was declared dead. No configuration names
    /// another node.
    fn restarted() -> Node {
        let three = View::first((77, 5), 2, &[card(8001, 7), card(8002, 7), card(8003, 7)], &[], Past::Lost);
        let bans = vec![card(8003, 7).name];
        let kept = three.next(&Change { stays: vec![true, false, false], bans, ..Change::default() });
        let mut bytes = Vec::new();
        kept.write(&mut bytes);
        let settings = Settings { mirrors: Mirrors::Next(1), ..settings(card(8001, 8)) };
        Node::new(settings, None, Some(&bytes), at(1_000))
    }

    #[test]
    fn who_was_out_of_the_last_view_is_asked_for_before_a_pool_begins() {
        let mut node = restarted();
        let others: Vec<String> = node.membership.others().map(|(_, member)| member.card.name.clone()).collect();
        assert_eq!(others, [card(8002, 7).name], "not who was declared dead");
        node.on_tick(at(1_001), &mut Nowhere);
        assert!(!node.is_serving(Mono(1_001)), "it may have begun a pool of its own");
    }

    #[test]
    fn a_machine_that_only_the_last_view_tells_of_and_that_is_silent_is_not_waited_for_any_longer_than_others() {
        let mut node = restarted();
        for ms in (1_001..12_000).step_by(100) {
            node.on_tick(at(ms), &mut Nowhere);
        }
        let view = node.view().expect("it begins");
        assert_eq!((view.seats.len(), view.up().count()), (2, 1));
    }
}
