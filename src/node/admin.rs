//! What operators ask of a node or of the pool.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::command::{Admin, Expiry};
use super::message::{Message, Outcome, RequestId};
use super::pact::{Flush, FlushCount};
use super::reply::{Failure, Reply};
use super::requests::{Parked, Waiting};
use super::{Node, Origin, Outputs, answer};
use crate::time::{Mono, Now};
use crate::topology::MemberId;
use crate::topology::membership::{Card, MAX_MEMBERS, Reason, Standing};
use crate::topology::peers::LinkId;

impl Node {
    /// Carries out what concerns the node or the pool.
    pub(super) fn on_admin(&mut self, now: Now, origin: Origin, admin: &Admin<'_>, out: &mut dyn Outputs) {
        let may_wait = matches!(admin, Admin::Flush { .. } | Admin::Connect(_) | Admin::Reconstruct);
        if may_wait && self.requests.is_full() {
            return self.fail(origin, b"", &Failure::Overloaded, out);
        }
        match admin {
            Admin::Flush { when } => self.on_flush(now, origin, delay_of(*when, now), out),
            Admin::Connect(address) => self.on_connect(now, origin, address, out),
            Admin::Dead(address) => self.on_dead(now, origin, address, out),
            Admin::Reconstruct => self.on_reconstruct(origin, out),
            Admin::ResetStats => self.reset_stats(origin, out),
            Admin::Alive => answer(out, origin, b"", &Reply::Report(&self.report_alive())),
            Admin::Owner(key) => self.on_owner(origin, key, out),
            Admin::Why(key) => answer(out, origin, key, &Reply::Report(&self.report_why(key, now))),
            Admin::Ring => answer(out, origin, b"", &Reply::Report(&self.report_ring())),
            Admin::Peers => answer(out, origin, b"", &Reply::Report(&self.report_peers(now))),
            Admin::Stats => answer(out, origin, b"", &Reply::Report(&self.report_stats(now))),
            Admin::Settings => answer(out, origin, b"", &Reply::Report(&self.report_settings())),
            Admin::Walk(walk) => self.walk(now.mono, origin, walk, out),
            Admin::Status => answer(out, origin, b"", &Reply::Report(&self.report_status(now))),
        }
    }

    /// Forgets everything here and asks every node that holds keys to do the same; the client is answered when all have. A node whose
    /// link is not open is asked as soon as it is, or is found to be down.
    fn on_flush(&mut self, now: Now, origin: Origin, delay_ms: u64, out: &mut dyn Outputs) {
        self.schedule_flush(now, delay_ms);
        if self.pact.is_some() {
            return self.wait_for_flush(now, origin, delay_ms, out);
        }
        let outstanding: Vec<MemberId> = self.membership.others().filter(|(_, member)| member.standing.owns()).map(|(id, _)| id).collect();
        let links: Vec<LinkId> = outstanding.iter().filter_map(|id| self.peers[id.index()].link()).collect();
        let deadline = now.mono.plus(self.settings.request_timeout_ms);
        let waiting = Waiting::Flush { outstanding, at: now.mono.plus(delay_ms) };
        let id = self.requests.park(Parked { origin, deadline, waiting });
        for link in links {
            out.send(link, &Message::Flush { id, delay_ms });
        }
        self.end_flush_if_done(id, out);
    }

    /// The link of a member has opened: what it was to forget, it is told now; twice does no harm as long as nobody was answered.
    pub(super) fn send_flushes(&mut self, now: Now, member: MemberId, link: LinkId, out: &mut dyn Outputs) {
        let waits = |parked: &Parked| matches!(&parked.waiting, Waiting::Flush { outstanding, .. } if outstanding.contains(&member));
        for id in self.requests.select(waits) {
            let Some(Parked { waiting: Waiting::Flush { at, .. }, .. }) = self.requests.get_mut(id) else { continue };
            out.send(link, &Message::Flush { id, delay_ms: at.since(now.mono) });
        }
    }

    /// Another node's client has asked the pool to forget everything.
    pub(super) fn on_peer_flush(&mut self, now: Now, link: LinkId, id: RequestId, delay_ms: u64, out: &mut dyn Outputs) {
        if !self.greeted.contains_key(&link) {
            return out.hang_up(link);
        }
        self.schedule_flush(now, delay_ms);
        out.send(link, &Message::Answer { id, outcome: Outcome::Done });
    }

    fn schedule_flush(&mut self, now: Now, delay_ms: u64) {
        self.stats.cmd_flush += 1;
        if delay_ms == 0 {
            self.flush_pool(now);
        } else {
            self.flush_at = now.mono.plus(delay_ms);
        }
    }

    /// Forgets everything. In a pool with mirrors the next view does, everywhere at one moment.
    pub(super) fn flush_pool(&mut self, now: Now) {
        self.flush_at = Mono::NEVER;
        match &mut self.pact {
            None => self.flush(now),
            Some(pact) => pact.wants.flush = Flush::Wanted,
        }
    }

    /// Says which view a flush is to come by, as soon as that can be known.
    pub(super) fn count_flush(&mut self, now: Mono) {
        let Some(counted) = self.pact.as_mut().and_then(|pact| pact.count_flush(now)) else { return };
        let waits = |by: &Option<FlushCount>| by.is_none_or(|by| by.lineage != counted.lineage);
        for id in self.requests.select(|parked| matches!(&parked.waiting, Waiting::Flushed { by } if waits(by))) {
            if let Some(Parked { waiting: Waiting::Flushed { by }, .. }) = self.requests.get_mut(id) {
                *by = Some(counted);
            }
        }
    }

    /// The client is answered when a view says so; of a flush that is to come later, at once.
    fn wait_for_flush(&mut self, now: Now, origin: Origin, delay_ms: u64, out: &mut dyn Outputs) {
        if delay_ms > 0 {
            return answer(out, origin, b"", &Reply::Done);
        }
        let deadline = now.mono.plus(self.settings.request_timeout_ms);
        self.requests.park(Parked { origin, deadline, waiting: Waiting::Flushed { by: None } });
        self.tick_pact(now, out);
    }

    pub(super) fn end_flush_if_done(&mut self, id: RequestId, out: &mut dyn Outputs) {
        let Some(Parked { waiting: Waiting::Flush { outstanding, .. }, .. }) = self.requests.get_mut(id) else { return };
        if outstanding.is_empty()
            && let Some(parked) = self.requests.take(id)
        {
            answer(out, parked.origin, b"", &Reply::Done);
        }
    }

    /// Who is down has nothing to forget: what its process held is gone with it, and its journal is compared when it returns.
    pub(super) fn end_flushes_without(&mut self, member: MemberId, standing: Standing, out: &mut dyn Outputs) {
        if standing.owns() {
            return;
        }
        for id in self.requests.select(|parked| matches!(parked.waiting, Waiting::Flush { .. })) {
            if let Some(Parked { waiting: Waiting::Flush { outstanding, .. }, .. }) = self.requests.get_mut(id) {
                outstanding.retain(|waited_for| *waited_for != member);
            }
            self.end_flush_if_done(id, out);
        }
    }

    fn on_connect(&mut self, now: Now, origin: Origin, address: &str, out: &mut dyn Outputs) {
        let Ok(address) = address.parse::<SocketAddr>() else {
            return self.fail(origin, b"", &Failure::Refused(format!("\"{address}\" is no address: IP:PORT is wanted")), out);
        };
        if !self.membership.has_room_for(&Card::of_address(address)) {
            return self.fail(origin, b"", &Failure::Refused(format!("a pool has at most {MAX_MEMBERS} members")), out);
        }
        let member = self.add_address(address, Standing::Down(Reason::Unmet), now.mono);
        if member == MemberId::ME {
            return self.fail(origin, b"", &Failure::Refused(format!("{address} is this node itself")), out);
        }
        if self.pact.is_some() {
            return self.wait_to_be_seated(now, origin, member, out);
        }
        self.declare(now, member, false, out);
        if self.membership.get(member).standing == Standing::Up && self.peers[member.index()].link().is_some() {
            return answer(out, origin, b"", &Reply::Done);
        }
        let deadline = now.mono.plus(self.settings.request_timeout_ms.max(2 * self.settings.pace.silence_ms));
        self.requests.park(Parked { origin, deadline, waiting: Waiting::Connect { member } });
        self.peers[member.index()].hurry(now.mono);
        self.tick_peers(now, out);
    }

    fn on_dead(&mut self, now: Now, origin: Origin, address: &str, out: &mut dyn Outputs) {
        match self.membership.find(address) {
            None => self.fail(origin, b"", &Failure::Refused(format!("{address} is no member of this pool")), out),
            Some(MemberId::ME) => self.fail(origin, b"", &Failure::Refused("this node cannot declare itself dead".into()), out),
            Some(member) if self.pact.as_ref().is_some_and(|pact| pact.me.is_some()) => self.ban(now, origin, member, out),
            Some(member) if self.is_heard_to_take_part(member) => {
                let why = format!("{address} answers and has a seat, which this node has not: say it to a node that has one");
                self.fail(origin, b"", &Failure::Refused(why), out);
            }
            Some(member) => {
                self.declare(now, member, true, out);
                answer(out, origin, b"", &Reply::Done);
            }
        }
    }

    /// The next view takes a member in; the client is answered when it does.
    fn wait_to_be_seated(&mut self, now: Now, origin: Origin, member: MemberId, out: &mut dyn Outputs) {
        let deadline = now.mono.plus(self.settings.request_timeout_ms.max(2 * self.settings.pace.silence_ms));
        let name = self.membership.get(member).card.name.clone();
        let Some(pact) = &mut self.pact else { return };
        if pact.seat_of(member).is_some() {
            return answer(out, origin, b"", &Reply::Done);
        }
        pact.wants.bans.retain(|banned| *banned != name);
        pact.wants.pardons.push(name);
        pact.tie(member).dropped_at = None;
        self.requests.park(Parked { origin, deadline, waiting: Waiting::Seated { member, seated: true } });
        self.peers[member.index()].hurry(now.mono);
        self.tick_peers(now, out);
        self.tick_pact(now, out);
    }

    /// The next view leaves a member out, until `connect` names it or it begins a new life.
    fn ban(&mut self, now: Now, origin: Origin, member: MemberId, out: &mut dyn Outputs) {
        let name = self.membership.get(member).card.name.clone();
        let Some(pact) = &mut self.pact else { return };
        pact.wants.pardons.retain(|pardoned| *pardoned != name);
        pact.wants.bans.push(name);
        if pact.seat_of(member).is_none() {
            answer(out, origin, b"", &Reply::Done);
        } else {
            let deadline = now.mono.plus(self.settings.request_timeout_ms);
            self.requests.park(Parked { origin, deadline, waiting: Waiting::Seated { member, seated: false } });
        }
        self.tick_pact(now, out);
    }

    /// Declares a member dead, or no longer so, here and everywhere.
    fn declare(&mut self, now: Now, member: MemberId, dead: bool, out: &mut dyn Outputs) {
        let card = self.membership.get(member).card.clone();
        if card.incarnation > 0 || dead {
            self.broadcast(&Message::Declare { name: Cow::Borrowed(&card.name), incarnation: card.incarnation, dead }, out);
        }
        self.on_declare(now, &card.name, card.incarnation, dead, out);
    }

    fn on_owner(&mut self, origin: Origin, key: &[u8], out: &mut dyn Outputs) {
        match self.report_owner(self.hasher.hash(key).place) {
            Some(report) => answer(out, origin, key, &Reply::Report(&report)),
            None => self.fail(origin, key, &Failure::Unreachable, out),
        }
    }
}

/// How long a flush is to wait. A moment that has passed is now.
fn delay_of(when: Expiry, now: Now) -> u64 {
    match when {
        Expiry::Never | Expiry::Keep | Expiry::Longer(_) => 0,
        Expiry::InMs(ms) => ms,
        Expiry::AtWallMs(ms) => ms.saturating_sub(now.wall.0),
    }
}
