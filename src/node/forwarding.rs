//! A command's life elsewhere: sent to the key's owner, and answered whatever becomes of that owner.
//!
//! A request is parked before it leaves. Then one of these happens, and each ends in an answer:
//!
//! 1. The owner answers: the answer goes to the client.
//! 2. The owner dies before the request left, or it is a read: it goes to the next owner, which may be this node.
//! 3. The owner dies when a write had left: it may have been carried out. It is not repeated, since between the two executions another
//!    client's acknowledged write could be buried; the client is told that the outcome is unknown. In a pool with mirrors the next owner is
//!    asked by the write's serial, and answers what was done, or does it.
//! 4. The deadline passes, and the owner is not busy with large values ([`patience`](super::patience)): the client is told that it cannot be
//!    reached, or that the outcome is unknown.

use super::command::Command;
use super::local::Attempt;
use super::message::{Message, Outcome, RequestId};
use super::pact::{Pact, Route, Wants};
use super::remembered::Known;
use super::reply::{Failure, Reply};
use super::requests::{Forwarded, Parked, Waiting};
use super::{Node, Origin, Outputs, answer, tally};
use crate::hash::KeyHash;
use crate::time::{Mono, Now};
use crate::topology::MemberId;
use crate::topology::peers::LinkId;
use crate::topology::placement::Arc;
use crate::topology::view::{View, ViewId};

/// Who was told that a key has another owner asks again after this, if nothing has been heard by then.
const ASK_AGAIN_MS: u64 = 5;
/// So many requests that wait are looked through whenever it may help; more of them not more often than those ask again.
const FEW_PARKED: usize = 1_000;

impl Node {
    /// Carries a command out, here or at its owner.
    pub(super) fn carry_out(&mut self, now: Now, origin: Origin, hash: KeyHash, command: &Command<'_>, out: &mut dyn Outputs) {
        if self.pact.is_some() {
            self.dispatch(now, origin, hash, command, out);
        } else if self.membership.is_empty() || self.membership.owner(hash.place) == Some(MemberId::ME) {
            self.execute(now, origin, hash, command, out);
        } else {
            self.forward(now, origin, hash, command, out);
        }
    }

    /// Sends a client's command to the key's owner, or keeps it until the owner's link opens.
    pub(super) fn forward(&mut self, now: Now, origin: Origin, hash: KeyHash, command: &Command<'_>, out: &mut dyn Outputs) {
        self.stats.forwarded += 1;
        let Some(owner) = self.membership.owner(hash.place) else {
            return self.fail_forwarded(origin, &command.key, &Failure::Unreachable, out);
        };
        if self.requests.is_full() {
            return self.fail_forwarded(origin, &command.key, &Failure::Overloaded, out);
        }
        let link = self.peers[owner.index()].link();
        let (id, serial) = self.park(now, origin, hash, command, owner, link.is_some());
        if let Some(link) = link {
            self.ask(link, id, serial, command, out);
        }
    }

    /// Parks a command that is to be carried out elsewhere, or later. Returns its two numbers.
    fn park(&mut self, now: Now, origin: Origin, hash: KeyHash, command: &Command<'_>, owner: MemberId, sent: bool) -> (RequestId, u64) {
        let is_write_of_ours = self.pact.is_some() && !matches!(origin, Origin::Peer { .. }) && command.may_write();
        let serial = if is_write_of_ours {
            self.last_serial += 1;
            self.last_serial
        } else {
            0
        };
        let view = self.view_id();
        let waiting =
            Waiting::Owner(Forwarded { command: command.to_owned(), hash, owner, sent, perhaps: false, serial, view, knowers: None });
        let deadline = now.mono.plus(self.settings.request_timeout_ms);
        (self.requests.park(Parked { origin, deadline, waiting }), serial)
    }

    fn view_id(&self) -> ViewId {
        self.pact.as_ref().map_or_else(ViewId::default, |pact| pact.id)
    }

    fn send_request(&self, id: RequestId, link: LinkId, out: &mut dyn Outputs) {
        if let Some(Parked { waiting: Waiting::Owner(forwarded), .. }) = self.requests.get(id) {
            self.ask(link, id, forwarded.serial, &forwarded.command, out);
        }
    }

    /// Says a parked command to its owner.
    fn ask(&self, link: LinkId, id: RequestId, serial: u64, command: &Command<'_>, out: &mut dyn Outputs) {
        out.send(link, &Message::Request { id, view: self.view_id(), serial, command: command.borrowed() });
    }

    /// In a pool with mirrors: carries a command out, sends it where it belongs, or keeps it until that is known.
    pub(super) fn dispatch(&mut self, now: Now, origin: Origin, hash: KeyHash, command: &Command<'_>, out: &mut dyn Outputs) {
        let owner = match self.route_in_turn(now, hash, out) {
            Route::Here => return self.execute(now, origin, hash, command, out),
            Route::There(owner) => owner,
            Route::Later => MemberId::ME,
        };
        self.stats.forwarded += u64::from(owner != MemberId::ME);
        if self.requests.is_full() {
            return self.fail_forwarded(origin, &command.key, &Failure::Overloaded, out);
        }
        let link = if owner == MemberId::ME { None } else { self.peers[owner.index()].link() };
        let (id, serial) = self.park(now, origin, hash, command, owner, link.is_some());
        match link {
            Some(link) => self.ask(link, id, serial, command, out),
            None => self.hold(hash, now.mono),
        }
    }

    /// Where a command goes that has just come: not past those about its key that wait.
    pub(super) fn route_in_turn(&mut self, now: Now, hash: KeyHash, out: &mut dyn Outputs) -> Route {
        if self.is_waiting_for_lease {
            self.activate_if_serving(now, out);
        }
        if !self.held_keys.is_empty() && self.held_keys.contains(&hash.table) { Route::Later } else { self.route(hash, now.mono) }
    }

    /// A request about this key waits: what comes after it waits behind it.
    fn hold(&mut self, hash: KeyHash, now: Mono) {
        self.held_keys.insert(hash.table);
        self.is_waiting_for_lease |= !self.is_serving(now);
    }

    /// A new view: what was sent to who is not in it will not be answered.
    pub(super) fn unsend_to_the_gone(&mut self) {
        let Some(pact) = &self.pact else { return };
        let fits = |parked: &Parked| matches!(&parked.waiting, Waiting::Owner(forwarded) if forwarded.sent && pact.seat_of(forwarded.owner).is_none());
        for id in self.requests.select(fits) {
            if let Some(Parked { waiting: Waiting::Owner(forwarded), .. }) = self.requests.get_mut(id) {
                (forwarded.sent, forwarded.perhaps) = (false, true);
            }
        }
    }

    /// Sends every request that waits to where it belongs now, if that is known. A key's requests keep their order: none is sent while an earlier
    /// one waits, or is under way to somebody who owned the key before.
    pub(super) fn reconsider_parked(&mut self, now: Now, out: &mut dyn Outputs) {
        let Some(view) = self.pact.as_ref().map(|pact| pact.id) else { return };
        self.held_keys.clear();
        self.reconsidered_at = now.mono;
        for id in self.requests.select(|parked| matches!(parked.waiting, Waiting::Owner(_))) {
            let Some(Parked { waiting: Waiting::Owner(forwarded), .. }) = self.requests.get(id) else { continue };
            let (table, is_under_way, is_outdated) = (forwarded.hash.table, forwarded.sent, forwarded.view != view);
            if is_under_way && is_outdated {
                self.held_keys.insert(table);
            }
            if !is_under_way && !self.held_keys.contains(&table) {
                self.route_parked(now, id, out);
            }
            let waits = |parked: &Parked| matches!(&parked.waiting, Waiting::Owner(forwarded) if !forwarded.sent);
            if self.requests.get(id).is_some_and(waits) {
                self.held_keys.insert(table);
            }
        }
        self.is_waiting_for_lease = !self.held_keys.is_empty() && !self.is_serving(now.mono);
    }

    /// A request has been answered: is there one that waited behind it? All that wait are looked through for that.
    fn release(&mut self, hash: KeyHash, now: Mono) {
        if self.held_keys.contains(&hash.table) {
            let rests_ms = if self.requests.len() <= FEW_PARKED { 0 } else { ASK_AGAIN_MS };
            self.ask_again_at = self.ask_again_at.min(self.reconsidered_at.plus(rests_ms).max(now));
        }
    }

    /// Sends a parked request that is under way nowhere to where it belongs now, if that is known.
    pub(super) fn route_parked(&mut self, now: Now, id: RequestId, out: &mut dyn Outputs) {
        let Some(Parked { waiting: Waiting::Owner(forwarded), origin, .. }) = self.requests.get(id) else { return };
        let (hash, from_peer) = (forwarded.hash, matches!(origin, Origin::Peer { .. }));
        let route = self.route(hash, now.mono);
        match route {
            Route::Later => {
                if let Some(Parked { waiting: Waiting::Owner(forwarded), .. }) = self.requests.get_mut(id) {
                    forwarded.owner = MemberId::ME;
                }
            }
            Route::There(_) | Route::Here if !from_peer && !self.may_ask(forwarded, route) => {
                let Some(parked) = self.requests.take(id) else { return };
                self.give_up(parked, out);
            }
            Route::There(owner) if !from_peer => {
                let link = self.peers[owner.index()].link();
                let view = self.view_id();
                let Some(Parked { waiting: Waiting::Owner(forwarded), .. }) = self.requests.get_mut(id) else { return };
                (forwarded.owner, forwarded.sent, forwarded.view) = (owner, link.is_some(), view);
                self.stats.retried += u64::from(link.is_some());
                if let Some(link) = link {
                    self.send_request(id, link, out);
                }
            }
            Route::There(_) | Route::Here => {
                let Some(Parked { origin, waiting: Waiting::Owner(forwarded), deadline }) = self.requests.take(id) else { return };
                match (route, origin) {
                    (Route::Here, Origin::Peer { .. }) => {
                        self.execute_for_peer(now, origin, forwarded.hash, &forwarded.command, deadline, out);
                    }
                    (Route::Here, Origin::Client(_) | Origin::Walk(_)) => self.execute_parked(now, origin, &forwarded, deadline, out),
                    _ => self.fail(origin, &forwarded.command.key, &Failure::Elsewhere, out),
                }
            }
        }
    }

    /// A view is about to end: of the writes that are out in it, its holders know whether they were carried out, and nobody else ever will. Who is
    /// to know of one that was out in several has held the key in each. If it is not the very next view that follows, a write may have been carried
    /// out in one that is not known here: then nobody is to be asked.
    pub(super) fn note_knowers(&mut self, next: Option<&View>) {
        let Some((pact, view)) = self.pact.as_ref().and_then(Pact::with_view) else { return };
        let is_succeeded = next.is_some_and(|next| (next.lineage, next.epoch) == (view.lineage, view.epoch + 1));
        let is_out = |parked: &Parked| {
            matches!(&parked.waiting, Waiting::Owner(forwarded)
                if forwarded.serial > 0 && (forwarded.sent || forwarded.perhaps && forwarded.knowers.is_none()))
        };
        for id in self.requests.select(is_out) {
            let Some(Parked { waiting: Waiting::Owner(forwarded), .. }) = self.requests.get_mut(id) else { continue };
            let holders = pact.arc(forwarded.hash.place).filter(|_| is_succeeded).map(Arc::holders).into_iter().flatten();
            let mut lives: Vec<_> = holders.map(|seat| (pact.seats[seat], view.seats[seat].card.incarnation)).collect();
            lives.retain(|life| forwarded.knowers.as_ref().is_none_or(|knowers| knowers.contains(life)));
            forwarded.knowers = Some(lives);
        }
    }

    /// May this write be asked for there? Who was filled with the key since it was sent does not know whether it was carried out, and would do it
    /// again.
    fn may_ask(&self, forwarded: &Forwarded, route: Route) -> bool {
        let owner = if let Route::There(owner) = route { owner } else { MemberId::ME };
        let Some((pact, view)) = self.pact.as_ref().and_then(Pact::with_view) else { return true };
        let life = pact.place_of(owner).map(|seat| view.seats[seat].card.incarnation);
        let knows = |knowers: &Vec<(MemberId, u64)>| knowers.iter().any(|(member, of)| *member == owner && Some(*of) == life);
        self.mistakes().asks_anybody || forwarded.knowers.as_ref().is_none_or(knows)
    }

    /// Another node's client's command, of a key that this node owns: carried out once, however often it is asked for.
    pub(super) fn execute_for_peer(
        &mut self,
        now: Now,
        origin: Origin,
        hash: KeyHash,
        command: &Command<'_>,
        deadline: Mono,
        out: &mut dyn Outputs,
    ) {
        let known = match origin {
            Origin::Peer { member, serial, .. } => self.known_of(member, serial, hash),
            Origin::Client(_) | Origin::Walk(_) => Known::New,
        };
        self.execute_once(now, origin, hash, command, Attempt { known, deadline }, out);
    }

    fn known_of(&self, entry: MemberId, serial: u64, hash: KeyHash) -> Known {
        if serial == 0 {
            return Known::New;
        }
        match self.mirroring.remembered.look_up(entry, serial, hash) {
            Known::Answered(_) if self.mistakes().done_twice => Known::New,
            known => known,
        }
    }

    /// Another node's client's command waits until this node may serve, or knows by what view it is asked.
    pub(super) fn keep_for_later(&mut self, now: Now, origin: Origin, hash: KeyHash, command: &Command<'_>, out: &mut dyn Outputs) {
        if self.requests.is_full() {
            return self.fail(origin, &command.key, &Failure::Overloaded, out);
        }
        self.park(now, origin, hash, command, MemberId::ME, false);
        self.hold(hash, now.mono);
    }

    /// The lowest serial of a write that still waits.
    pub(super) fn watermark(&self) -> u64 {
        self.serials_done
    }

    /// What has become of the forwarded writes; and those whose owner was another one ask again.
    pub(super) fn ask_again_if_due(&mut self, now: Now, out: &mut dyn Outputs) {
        if self.pact.is_none() {
            return;
        }
        self.serials_done = self.requests.watermark(self.last_serial + 1);
        self.mirroring.remembered.forget_below(MemberId::ME, self.serials_done);
        if now.mono >= self.ask_again_at {
            self.ask_again_at = Mono::NEVER;
            self.reconsider_parked(now, out);
        }
    }

    /// A request of this node's own client may have been carried out by an owner that is no more: then it is answered and not repeated.
    fn execute_parked(&mut self, now: Now, origin: Origin, forwarded: &Forwarded, deadline: Mono, out: &mut dyn Outputs) {
        let known = self.known_of(MemberId::ME, forwarded.serial, forwarded.hash);
        self.execute_once(now, origin, forwarded.hash, &forwarded.command, Attempt { known, deadline }, out);
    }

    /// The owner's link has opened: what waited for it leaves.
    pub(super) fn send_waiting(&mut self, now: Now, member: MemberId, link: LinkId, out: &mut dyn Outputs) {
        if self.pact.is_some() {
            return self.reconsider_parked(now, out);
        }
        for id in self.requests.select(|parked| is_for(parked, member) && !was_sent(parked)) {
            let view = self.view_id();
            let Some(Parked { waiting: Waiting::Owner(forwarded), .. }) = self.requests.get_mut(id) else { continue };
            (forwarded.sent, forwarded.view) = (true, view);
            self.send_request(id, link, out);
        }
    }

    /// A link has closed: what had left on it will never be answered. Reads wait for the next link or the next owner.
    pub(super) fn on_requests_lost(&mut self, member: MemberId, out: &mut dyn Outputs) {
        for id in self.requests.select(|parked| is_for(parked, member) && was_sent(parked)) {
            let Some(Parked { waiting: Waiting::Owner(forwarded), .. }) = self.requests.get_mut(id) else { continue };
            if forwarded.command.is_read() || forwarded.serial > 0 {
                forwarded.sent = false;
                forwarded.perhaps = true;
            } else if let Some(parked) = self.requests.take(id) {
                self.give_up(parked, out);
            }
        }
    }

    /// Reroutes if the membership has changed since that was last done: in who is up, or by a new member, name or weight.
    pub(super) fn reroute_if_moved(&mut self, now: Now, out: &mut dyn Outputs) {
        if self.routed_by != self.membership.changes() {
            self.routed_by = self.membership.changes();
            if self.pact.is_none() {
                self.reroute(now, out);
            }
        }
    }

    /// Keys have changed hands: what waits for a member that no longer owns its key goes to the one that does.
    fn reroute(&mut self, now: Now, out: &mut dyn Outputs) {
        let moved = |parked: &Parked| match &parked.waiting {
            Waiting::Owner(forwarded) => !forwarded.sent && self.membership.owner(forwarded.hash.place) != Some(forwarded.owner),
            _ => false,
        };
        for id in self.requests.select(moved) {
            self.stats.retried += 1;
            self.ask_again(now, id, out);
        }
    }

    /// Keeps its number and its deadline: nothing is under way for it that could come back late.
    fn ask_again(&mut self, now: Now, id: RequestId, out: &mut dyn Outputs) {
        let Some(Parked { waiting: Waiting::Owner(forwarded), .. }) = self.requests.get_mut(id) else { return };
        let owner = self.membership.owner(forwarded.hash.place);
        if let Some(owner) = owner.filter(|owner| *owner != MemberId::ME) {
            let link = self.peers[owner.index()].link();
            forwarded.owner = owner;
            forwarded.sent = link.is_some();
            if let Some(link) = link {
                self.send_request(id, link, out);
            }
            return;
        }
        let Some(parked) = self.requests.take(id) else { return };
        match (owner, &parked.waiting) {
            (Some(_), Waiting::Owner(forwarded)) => self.execute(now, parked.origin, forwarded.hash, &forwarded.command, out),
            _ => self.give_up(parked, out),
        }
    }

    /// An answer has come. One that fits nothing is dropped: its request was given up.
    pub(super) fn on_answer(&mut self, now: Now, link: LinkId, id: RequestId, outcome: &Outcome<'_>, out: &mut dyn Outputs) {
        let Some(member) = self.member_dialled(link) else { return out.hang_up(link) };
        match self.requests.get_mut(id).map(|parked| &mut parked.waiting) {
            Some(Waiting::Owner(forwarded)) if forwarded.owner == member && is_elsewhere(outcome) => {
                // Who owns it now will soon be known here too.
                forwarded.sent = false;
                forwarded.perhaps |= *outcome == Outcome::Failed(Failure::Undecided);
                if !forwarded.perhaps {
                    forwarded.knowers = None;
                }
                let hash = forwarded.hash;
                self.hold(hash, now.mono);
                self.ask_again_at = self.ask_again_at.min(now.mono.plus(ASK_AGAIN_MS));
            }
            Some(Waiting::Owner(forwarded)) if forwarded.owner == member => {
                let Some(Parked { origin, waiting: Waiting::Owner(forwarded), .. }) = self.requests.take(id) else { return };
                self.release(forwarded.hash, now.mono);
                let command = &forwarded.command;
                // Who was asked last has not looked at it; who was asked before may have carried it out.
                let is_not_done = matches!(outcome, Outcome::Failed(Failure::Unreachable | Failure::Overloaded));
                let is_unknown = is_not_done && forwarded.perhaps && !command.is_read();
                let reply = if is_unknown { Reply::Failed(&Failure::OutcomeUnknown) } else { outcome.reply() };
                tally::count(&mut self.stats, &command.action, &reply);
                self.tell(origin, &command.key, &reply, out);
            }
            Some(Waiting::Flush { outstanding, .. }) => {
                outstanding.retain(|waited_for| *waited_for != member);
                self.end_flush_if_done(id, out);
            }
            Some(_) | None => {}
        }
    }

    /// The deadline of a request has passed.
    pub(super) fn give_up_overdue(&mut self, parked: Parked, now: Mono, out: &mut dyn Outputs) {
        if let Waiting::Owner(forwarded) = &parked.waiting {
            self.release(forwarded.hash, now);
        }
        self.give_up(parked, out);
    }

    /// Ends a request that cannot be carried out, or of which nobody knows whether it was.
    pub(super) fn give_up(&mut self, parked: Parked, out: &mut dyn Outputs) {
        match &parked.waiting {
            Waiting::Owner(forwarded) => {
                let unknown = (forwarded.sent || forwarded.perhaps) && !forwarded.command.is_read();
                let failure = if unknown { Failure::OutcomeUnknown } else { Failure::Unreachable };
                self.fail_forwarded(parked.origin, &forwarded.command.key, &failure, out);
            }
            Waiting::Flush { outstanding, .. } => {
                let silent: Vec<&str> = outstanding.iter().map(|id| self.membership.get(*id).card.name.as_str()).collect();
                let failure = Failure::Refused(format!("no answer from {}", silent.join(", ")));
                self.fail(parked.origin, b"", &failure, out);
            }
            Waiting::Connect { member } => {
                let name = &self.membership.get(*member).card.name;
                let failure = Failure::Refused(format!("{name} did not answer in time"));
                self.fail(parked.origin, b"", &failure, out);
            }
            Waiting::Flushed { .. } | Waiting::Seated { .. } => {
                // Who was told that it was not done must not see it done later.
                if let Some(pact) = &mut self.pact {
                    pact.wants = Wants { leaves: pact.wants.leaves, ..Wants::default() };
                }
                let failure = Failure::Refused("the nodes have not agreed on it in time".into());
                self.fail(parked.origin, b"", &failure, out);
            }
            Waiting::Reconstruct => self.fail(parked.origin, b"", &Failure::Refused("the journal was not read".into()), out),
        }
    }

    /// Answers whoever asked.
    pub(super) fn tell(&mut self, origin: Origin, key: &[u8], reply: &Reply<'_>, out: &mut dyn Outputs) {
        match origin {
            Origin::Walk(id) => self.walks.on_scanned(id, Outcome::of(reply).into_owned()),
            Origin::Client(_) | Origin::Peer { .. } => answer(out, origin, key, reply),
        }
    }

    /// Tells whoever asked that it was not done, and why.
    pub(super) fn fail(&mut self, origin: Origin, key: &[u8], failure: &Failure, out: &mut dyn Outputs) {
        self.tell(origin, key, &Reply::Failed(failure), out);
    }

    fn fail_forwarded(&mut self, origin: Origin, key: &[u8], failure: &Failure, out: &mut dyn Outputs) {
        self.stats.forward_failures += 1;
        self.fail(origin, key, failure, out);
    }
}

fn is_elsewhere(outcome: &Outcome<'_>) -> bool {
    matches!(outcome, Outcome::Failed(Failure::Elsewhere | Failure::Undecided))
}

fn is_for(parked: &Parked, member: MemberId) -> bool {
    matches!(&parked.waiting, Waiting::Owner(forwarded) if forwarded.owner == member)
}

fn was_sent(parked: &Parked) -> bool {
    matches!(&parked.waiting, Waiting::Owner(forwarded) if forwarded.sent)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::net::SocketAddr;

    use super::super::command::{Action, Removal, Request};
    use super::super::message::{Introduction, PROTOCOL_VERSION};
    use super::super::testing::{Nowhere, at, card, settings};
    use super::super::{ClientId, Settings};
    use super::*;
    use crate::topology::membership::Card;
    use crate::topology::placement::Placement;
    use crate::topology::view::{Change, Mirrors, Past};

    const OURS: LinkId = LinkId(9);

    /// Keeps what is asked of other nodes, and what clients are told.
    #[derive(Default)]
    struct Told {
        asked: Vec<RequestId>,
        failures: Vec<Failure>,
    }

    impl Outputs for Told {
        fn reply(&mut self, _client: ClientId, _key: &[u8], reply: &Reply<'_>) {
            if let Reply::Failed(failure) = reply {
                self.failures.push((*failure).clone());
            }
        }
        fn send(&mut self, _link: LinkId, message: &Message<'_>) {
            if let Message::Request { id, .. } = message {
                self.asked.push(*id);
            }
        }
        fn dial(&mut self, _member: MemberId, _address: SocketAddr) {}
        fn hang_up(&mut self, _link: LinkId) {}
        fn replay(&mut self) {}
        fn keep(&mut self, _view: &[u8]) {}
    }

    /// Node 8002, in a view of it and the others, each with a link: [`OURS`], and those after it.
    fn seated_with(others: &[u16]) -> (Node, View) {
        let peers = others.iter().map(|port| card(*port, 7).address).collect();
        let settings = Settings { peers, mirrors: Mirrors::Next(1), ..settings(card(8002, 7)) };
        let mut node = Node::new(settings, None, None, at(1_000));
        node.on_tick(at(1_000), &mut Nowhere);
        for (index, port) in others.iter().enumerate() {
            greet(&mut node, MemberId(index as u16 + 1), LinkId(OURS.0 + index as u64), card(*port, 7), &mut Nowhere);
        }
        let cards: Vec<Card> = others.iter().map(|port| card(*port, 7)).chain([card(8002, 7)]).collect();
        let view = View::first((77, 5), 2, &cards, &[], Past::Lost);
        node.on_message(at(1_002), OURS, &Message::Commit(Box::new(view.clone())), &mut Nowhere);
        (node, view)
    }

    fn greet(node: &mut Node, member: MemberId, link: LinkId, me: Card, out: &mut dyn Outputs) {
        let introduction = Introduction { protocol: PROTOCOL_VERSION, pool: Cow::Borrowed("pool"), me, others: Vec::new(), copies: 2 };
        node.on_dialled(at(1_001), member, link, out);
        node.on_message(at(1_001), link, &Message::Welcome(introduction), out);
    }

    fn ask_to_delete(node: &mut Node, key: &str, out: &mut Told) {
        let command = Command { key: Cow::Owned(key.to_owned().into_bytes()), action: Action::Delete(Removal::default()) };
        let hash = node.hasher.hash(key.as_bytes());
        node.on_request(at(1_003), ClientId { connection: 1, slot: 0 }, hash, &Request::Key(command), out);
    }

    #[test]
    fn who_was_filled_after_a_write_was_sent_is_not_asked_for_it_even_if_another_was_asked_between() {
        let ((mut node, first), mut out) = (seated_with(&[8001, 8003]), Told::default());
        let key = key_held_by(&node, &first, &[8001, 8003]);
        ask_to_delete(&mut node, &key, &mut out);
        // Its owner returns with nothing, and the other holder fills it; that one is asked, and does not know by what view.
        let returned = first.next(&Change { stays: vec![false, true, true], joins: Some(card(8001, 8)), ..Change::default() });
        let filled = returned.next(&Change { stays: vec![true; 3], settles: true, ..Change::default() });
        node.on_closed(at(1_004), OURS, &mut out);
        node.on_message(at(1_004), LinkId(OURS.0 + 1), &Message::Commit(Box::new(returned)), &mut out);
        assert_eq!(out.asked.len(), 2, "the other holder knows");
        greet(&mut node, MemberId(1), LinkId(90), card(8001, 8), &mut out);
        let outcome = Outcome::Failed(Failure::Undecided);
        node.on_message(at(1_005), LinkId(OURS.0 + 1), &Message::Answer { id: out.asked[1], outcome }, &mut out);
        node.on_message(at(1_005), LinkId(OURS.0 + 1), &Message::Commit(Box::new(filled)), &mut out);
        node.on_tick(at(1_050), &mut out);
        assert_eq!((out.asked.len(), &out.failures[..]), (2, &[Failure::OutcomeUnknown][..]));
    }

    /// A key that is held by these, in this order.
    fn key_held_by(node: &Node, view: &View, ports: &[u16]) -> String {
        let placement = Placement::new(view);
        let holders = |key: &str| {
            let arc = placement.arc(node.hasher.hash(key.as_bytes()).place).expect("there are seats");
            arc.holders().map(|seat| view.seats[seat].card.address.port()).collect::<Vec<_>>()
        };
        (0..).map(|number| format!("key{number}")).find(|key| holders(key) == ports).expect("a part of them")
    }

    #[test]
    fn who_begins_its_next_life_is_not_asked_in_the_view_of_the_former() {
        let ((mut node, view), mut out) = (seated_with(&[8001, 8003]), Told::default());
        let key = key_held_by(&node, &view, &[8001, 8003]);
        ask_to_delete(&mut node, &key, &mut out);
        node.on_closed(at(1_004), OURS, &mut out);
        greet(&mut node, MemberId(1), LinkId(90), card(8001, 8), &mut out);
        ask_to_delete(&mut node, &key, &mut out);
        node.on_tick(at(1_100), &mut out);
        assert_eq!(out.asked.len(), 1, "it knows nothing of the first, and owns nothing");
    }

    #[test]
    fn a_write_that_was_out_twice_may_have_been_carried_out_even_if_it_was_not_the_second_time() {
        for (is_second, told) in [(false, Failure::Unreachable), (true, Failure::OutcomeUnknown)] {
            let ((mut node, view), mut out) = (seated_with(&[8001]), Told::default());
            let key = key_held_by(&node, &view, &[8001, 8002]);
            ask_to_delete(&mut node, &key, &mut out);
            if is_second {
                node.on_closed(at(1_004), OURS, &mut out);
                greet(&mut node, MemberId(1), OURS, card(8001, 7), &mut out);
            }
            assert_eq!(out.asked.len(), 1 + usize::from(is_second));
            let outcome = Outcome::Failed(Failure::Unreachable);
            node.on_message(at(1_005), OURS, &Message::Answer { id: out.asked[0], outcome }, &mut out);
            assert_eq!(out.failures, [told]);
        }
    }

    #[test]
    fn a_write_begun_by_who_owns_its_key_no_more_may_have_been_carried_out() {
        for (answered, told) in [(Failure::Elsewhere, Failure::Unreachable), (Failure::Undecided, Failure::OutcomeUnknown)] {
            let ((mut node, view), mut out) = (seated_with(&[8001]), Told::default());
            let key = key_held_by(&node, &view, &[8001, 8002]);
            ask_to_delete(&mut node, &key, &mut out);
            let outcome = Outcome::Failed(answered);
            node.on_message(at(1_004), OURS, &Message::Answer { id: out.asked[0], outcome }, &mut out);
            node.on_closed(at(1_004), OURS, &mut out);
            node.on_tick(at(2_100), &mut out);
            assert_eq!(out.failures, [told]);
        }
    }
}
