//! A command's life elsewhere: sent to the key's owner, and answered whatever becomes of that owner.
//!
//! A request is parked before it leaves. Then one of these happens, and each ends in an answer:
//!
//! 1. The owner answers: the answer goes to the client.
//! 2. The owner dies before the request left, or it is a read: it goes to the next owner, which may be this node.
//! 3. The owner dies when a write had left: it may have been carried out. It is not repeated, since between the two executions another
//!    client's acknowledged write could be buried; the client is told that the outcome is unknown.
//! 4. The deadline passes: the client is told that the owner cannot be reached, or that the outcome is unknown.

use super::command::Command;
use super::message::{Message, Outcome, RequestId};
use super::reply::{Failure, Reply};
use super::requests::{Forwarded, Parked, Waiting};
use super::{Node, Origin, Outputs, answer, tally};
use crate::hash::KeyHash;
use crate::time::{Mono, Now};
use crate::topology::MemberId;
use crate::topology::peers::LinkId;

impl Node {
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
        let waiting = Waiting::Owner(Forwarded { command: command.to_owned(), hash, owner, sent: link.is_some() });
        let deadline = now.mono.plus(self.settings.request_timeout_ms);
        let id = self.requests.park(Parked { origin, deadline, waiting });
        if let Some(link) = link {
            out.send(link, &Message::Request { id, command: command.clone() });
        }
    }

    /// The owner's link has opened: what waited for it leaves.
    pub(super) fn send_waiting(&mut self, member: MemberId, link: LinkId, out: &mut dyn Outputs) {
        for id in self.requests.select(|parked| is_for(parked, member) && !was_sent(parked)) {
            let Some(Parked { waiting: Waiting::Owner(forwarded), .. }) = self.requests.get_mut(id) else { continue };
            forwarded.sent = true;
            out.send(link, &Message::Request { id, command: forwarded.command.clone() });
        }
    }

    /// A link has closed: what had left on it will never be answered. Reads wait for the next link or the next owner.
    pub(super) fn on_requests_lost(&mut self, member: MemberId, out: &mut dyn Outputs) {
        for id in self.requests.select(|parked| is_for(parked, member) && was_sent(parked)) {
            let Some(Parked { waiting: Waiting::Owner(forwarded), .. }) = self.requests.get_mut(id) else { continue };
            if forwarded.command.is_read() {
                forwarded.sent = false;
            } else if let Some(parked) = self.requests.take(id) {
                self.give_up(parked, out);
            }
        }
    }

    /// Reroutes if the membership has changed since that was last done: in who is up, or by a new member, name or weight.
    pub(super) fn reroute_if_moved(&mut self, now: Now, out: &mut dyn Outputs) {
        if self.routed_by != self.membership.changes() {
            self.routed_by = self.membership.changes();
            self.reroute(now, out);
        }
    }

    /// Keys have changed hands: what waits for a member that no longer owns its key goes to the one that does.
    fn reroute(&mut self, now: Now, out: &mut dyn Outputs) {
        let moved = |parked: &Parked| match &parked.waiting {
            Waiting::Owner(forwarded) => !forwarded.sent && self.membership.owner(forwarded.hash.place) != Some(forwarded.owner),
            Waiting::Flush { .. } | Waiting::Connect { .. } | Waiting::Reconstruct => false,
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
                out.send(link, &Message::Request { id, command: forwarded.command.clone() });
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
    pub(super) fn on_answer(&mut self, link: LinkId, id: RequestId, outcome: &Outcome<'_>, out: &mut dyn Outputs) {
        let Some(member) = self.member_dialled(link) else { return out.hang_up(link) };
        match self.requests.get_mut(id).map(|parked| &mut parked.waiting) {
            Some(Waiting::Owner(forwarded)) if forwarded.owner == member => {
                let Some(Parked { origin, waiting: Waiting::Owner(forwarded), .. }) = self.requests.take(id) else { return };
                let (command, reply) = (&forwarded.command, outcome.reply());
                tally::count(&mut self.stats, &command.action, &reply);
                answer(out, origin, &command.key, &reply);
            }
            Some(Waiting::Flush { outstanding, .. }) => {
                outstanding.retain(|waited_for| *waited_for != member);
                self.end_flush_if_done(id, out);
            }
            Some(Waiting::Owner(_) | Waiting::Connect { .. } | Waiting::Reconstruct) | None => {}
        }
    }

    /// Whose deadline has passed is told so.
    pub(super) fn answer_overdue(&mut self, now: Mono, out: &mut dyn Outputs) {
        while let Some(parked) = self.requests.take_overdue(now) {
            self.give_up(parked, out);
        }
    }

    /// Ends a request that cannot be carried out, or of which nobody knows whether it was.
    pub(super) fn give_up(&mut self, parked: Parked, out: &mut dyn Outputs) {
        match &parked.waiting {
            Waiting::Owner(forwarded) => {
                let unknown = forwarded.sent && !forwarded.command.is_read();
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
            Waiting::Reconstruct => self.fail(parked.origin, b"", &Failure::Refused("the journal was not read".into()), out),
        }
    }

    /// Tells whoever asked that it was not done, and why.
    pub(super) fn fail(&self, origin: Origin, key: &[u8], failure: &Failure, out: &mut dyn Outputs) {
        answer(out, origin, key, &Reply::Failed(failure));
    }

    fn fail_forwarded(&mut self, origin: Origin, key: &[u8], failure: &Failure, out: &mut dyn Outputs) {
        self.stats.forward_failures += 1;
        self.fail(origin, key, failure, out);
    }
}

fn is_for(parked: &Parked, member: MemberId) -> bool {
    matches!(&parked.waiting, Waiting::Owner(forwarded) if forwarded.owner == member)
}

fn was_sent(parked: &Parked) -> bool {
    matches!(&parked.waiting, Waiting::Owner(forwarded) if forwarded.sent)
}
