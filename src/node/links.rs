//! Greeting the other nodes, keeping their heartbeats, and judging who is up.
//!
//! A node is up when it has welcomed us on the link we dialled and keeps answering our pings there; it is down when its host refuses a
//! connection (at once), or when it has been silent for too long. A link that merely closes proves nothing: it is dialled again at once,
//! and what that brings decides. A node that returns greets us by itself, so nobody has to wait for a back-off, nor for a person.
//!
//! A greeting carries the cards of those one knows to be up; new ones are dialled and told to the others, and so is who comes up again.
//! So the pool learns a new node from the one it was connected to, and the new node learns the pool.

use std::borrow::Cow;
use std::net::SocketAddr;

use log::{info, warn};

use super::message::{Introduction, Message, PROTOCOL_VERSION, Pulse};
use super::reply::{Failure, Reply};
use super::requests::{Parked, Waiting};
use super::{Node, Outputs, answer};
use crate::time::{Mono, Now};
use crate::topology::MemberId;
use crate::topology::membership::{Card, MAX_MEMBERS, Reason, Standing};
use crate::topology::peers::{LinkId, Peer, Step};
use crate::topology::view::ViewId;

/// A tick that comes this part of the silence time late means that this node itself was away.
const LATE_PART: u64 = 2;
/// Who has no lease pings so often.
pub(super) const EAGER_MS: u64 = 10;
/// Most pings that wait for a view to be learned.
const MAX_OWED_PONGS: usize = 1_024;

impl Node {
    /// The driver has reached the member it was told to dial.
    pub fn on_dialled(&mut self, now: Now, member: MemberId, link: LinkId, out: &mut dyn Outputs) {
        let Some(peer) = self.peers.get_mut(member.index()) else { return out.hang_up(link) };
        if !peer.on_dialled(link, self.settings.pace, now.mono) {
            return out.hang_up(link);
        }
        self.greet(link, out);
    }

    /// The driver has not reached it. `refused` if its host said that nobody listens there.
    pub fn on_dial_failed(&mut self, now: Now, member: MemberId, refused: bool, out: &mut dyn Outputs) {
        let Some(peer) = self.peers.get_mut(member.index()) else { return };
        if !refused && peer.retry_soon(now.mono) {
            return; // a process that ends resets whom it has not taken in yet: the next dial will tell
        }
        if !peer.on_dial_failed(now.mono) {
            return;
        }
        if refused && let Some(pact) = &mut self.pact {
            let life = pact.tie(member).dialled_life;
            self.on_life_ended(now.mono, member, life);
        }
        let reason = if refused { Reason::Refused } else { Reason::Silent };
        self.judge(now, member, Standing::Down(reason), out);
        self.end_connects(member, Some(reason), out);
    }

    /// A link has closed, whoever dialled it.
    pub fn on_closed(&mut self, now: Now, link: LinkId, out: &mut dyn Outputs) {
        self.forget_proof(link);
        if self.greeted.remove(&link).is_some() {
            return;
        }
        let Some(member) = self.member_dialled(link) else { return };
        if self.peers[member.index()].on_closed(link, now.mono) {
            self.on_requests_lost(member, out);
            self.tick_peers(now, out);
        }
    }

    pub(super) fn on_hello(&mut self, now: Now, link: LinkId, introduction: &Introduction<'_>, out: &mut dyn Outputs) {
        if let Some(reason) = self.misfit(introduction) {
            warn!("refused {} at {}: {reason}", introduction.me.name, introduction.me.address);
            out.send(link, &Message::Refused { reason: Cow::Owned(reason) });
            return out.hang_up(link);
        }
        let member = self.meet(now, &introduction.me);
        self.greeted.insert(link, member);
        self.peers[member.index()].hurry(now.mono);
        out.send(link, &Message::Welcome(self.introduction()));
        self.on_members(now.mono, &introduction.others, out);
        self.tick_peers(now, out);
    }

    pub(super) fn on_welcome(&mut self, now: Now, link: LinkId, introduction: &Introduction<'_>, out: &mut dyn Outputs) {
        let Some(dialled) = self.member_dialled(link) else { return out.hang_up(link) };
        let itself = introduction.me.name == self.me().name || !self.membership.has_room_for(&introduction.me);
        let member = if itself { MemberId::ME } else { self.meet(now, &introduction.me) };
        if member != dialled {
            // Another address of a node that is known already, or of this one.
            self.peers[dialled.index()].on_refused(now.mono);
            self.judge(now, dialled, Standing::Down(Reason::Unfit), out);
            out.hang_up(link);
            return self.end_connects(dialled, Some(Reason::Unfit), out);
        }
        if !self.peers[member.index()].on_welcome(link, now.mono) {
            return;
        }
        if self.pact.is_some() || self.membership.get(member).standing != Standing::Down(Reason::Declared) {
            self.judge(now, member, Standing::Up, out);
        }
        self.on_members(now.mono, &introduction.others, out);
        self.send_flushes(now, member, link, out);
        self.send_waiting(now, member, link, out);
        self.ask_again_to_accept(member, link, out);
        if let Some(pact) = &mut self.pact {
            pact.on_linked(member);
        } else {
            self.end_connects(member, None, out);
        }
        self.tick_peers(now, out);
    }

    pub(super) fn on_refused(&mut self, now: Now, link: LinkId, reason: &str, out: &mut dyn Outputs) {
        let Some(member) = self.member_dialled(link) else { return out.hang_up(link) };
        warn!("{} would not have this node: {reason}", self.membership.get(member).card.name);
        self.peers[member.index()].on_refused(now.mono);
        out.hang_up(link);
        self.on_requests_lost(member, out);
        self.judge(now, member, Standing::Down(Reason::Unfit), out);
        self.end_connects(member, Some(Reason::Unfit), out);
    }

    pub(super) fn on_ping(&mut self, now: Now, link: LinkId, number: u64, pulse: &Pulse, out: &mut dyn Outputs) {
        let Some(member) = self.greeted.get(&link).copied() else { return out.hang_up(link) };
        self.on_pulse(now, member, pulse, out);
        let grant = self.grant(now.mono, member, pulse);
        if grant.is_none()
            && let Some(pact) = self.pact.as_mut().filter(|pact| pulse.view > pact.id && pact.owed_pongs.len() < MAX_OWED_PONGS)
        {
            pact.owed_pongs.push((link, number, pulse.view));
        }
        let own = self.say_pulse(now.mono);
        out.send(link, &Message::Pong { number, grant, pulse: own });
        self.tell_view(now.mono, member, pulse, out);
    }

    pub(super) fn on_pong(&mut self, now: Now, link: LinkId, number: u64, grant: Option<ViewId>, pulse: &Pulse, out: &mut dyn Outputs) {
        let Some(member) = self.member_dialled(link) else { return };
        self.peers[member.index()].on_pong(link, number, now.mono);
        self.on_pulse(now, member, pulse, out);
        if let Some(pact) = self.pact.as_mut().filter(|pact| grant == Some(pact.id)) {
            pact.on_granted(member, number);
            self.activate_if_serving(now, out);
        }
    }

    /// A view has been learned: who pinged in it before is granted its lease now.
    pub(super) fn pay_pongs(&mut self, now: Now, out: &mut dyn Outputs) {
        let Some(pact) = &mut self.pact else { return };
        for (link, number, view) in std::mem::take(&mut pact.owed_pongs) {
            let Some(member) = self.greeted.get(&link).copied() else { continue };
            let pulse = Pulse { view, takes_part: true, ..Pulse::default() };
            if let Some(grant) = self.grant(now.mono, member, &pulse) {
                let pulse = self.say_pulse(now.mono);
                out.send(link, &Message::Pong { number, grant: Some(grant), pulse });
            }
        }
    }

    /// Pings everybody, due or not: something has changed that all should know, or a lease is wanted at once.
    pub(super) fn ping_all(&mut self, now: Mono, out: &mut dyn Outputs) {
        if self.pact.is_none() {
            return;
        }
        for index in 1..self.peers.len() {
            if let Some((link, number)) = self.peers[index].ping(self.settings.pace, now) {
                self.ping(MemberId(index as u16), link, number, now, out);
            }
        }
        self.eager_at = now.plus(EAGER_MS);
    }

    fn ping(&mut self, member: MemberId, link: LinkId, number: u64, now: Mono, out: &mut dyn Outputs) {
        let pulse = self.say_pulse(now);
        if let Some(pact) = &mut self.pact {
            pact.on_pinged(member, number, now);
        }
        out.send(link, &Message::Ping { number, pulse });
    }

    /// Somebody says who is in the pool. What is news is dialled, and told to the others.
    pub(super) fn on_members(&mut self, now: Mono, cards: &[Card], out: &mut dyn Outputs) {
        let before = self.membership.len();
        self.membership.learn_all(cards, now);
        self.link_new_members(now);
        if self.membership.len() > before {
            self.broadcast(&Message::Members(self.cards()), out);
        }
    }

    /// Somebody has said `dead` or `connect` about a member, or about this node.
    pub(super) fn on_declare(&mut self, now: Now, name: &str, incarnation: u64, dead: bool, out: &mut dyn Outputs) {
        let Some(member) = self.membership.find(name) else { return };
        if self.pact.as_ref().is_some_and(|pact| pact.me.is_some()) {
            return; // who has a seat goes by what is agreed
        }
        let known = self.membership.get(member);
        if dead && self.is_heard_to_take_part(member) {
            warn!("{name} is said to be dead, but it answers and has a seat: that can be taken from it at a node that has one");
        } else if dead && known.card.incarnation <= incarnation {
            self.judge(now, member, Standing::Down(Reason::Declared), out);
        } else if !dead && known.standing == Standing::Down(Reason::Declared) {
            let reachable = member == MemberId::ME || self.peers[member.index()].link().is_some();
            self.judge(now, member, if reachable { Standing::Up } else { Standing::Unknown }, out);
            self.peers[member.index()].hurry(now.mono);
        }
    }

    /// Does this member answer, and has it a seat? Without it no pool may begin, whatever an operator says of it.
    pub(super) fn is_heard_to_take_part(&self, member: MemberId) -> bool {
        let takes_part = self.pact.as_ref().and_then(|pact| pact.pulse_of(member)).is_some_and(|pulse| pulse.takes_part);
        takes_part && self.membership.get(member).standing == Standing::Up
    }

    /// There is a view: who was declared dead before, and is not banned by it, is judged anew.
    pub(super) fn forget_declarations(&mut self, now: Now, out: &mut dyn Outputs) {
        let is_declared = |standing: Standing| standing == Standing::Down(Reason::Declared);
        let declared: Vec<MemberId> = self.membership.all().filter(|(_, member)| is_declared(member.standing)).map(|(id, _)| id).collect();
        for member in declared {
            let reachable = member == MemberId::ME || self.peers[member.index()].link().is_some();
            self.judge(now, member, if reachable { Standing::Up } else { Standing::Unknown }, out);
            self.peers[member.index()].hurry(now.mono);
        }
    }

    /// Takes an address in as a member, with a link to be dialled.
    pub(super) fn add_address(&mut self, address: SocketAddr, standing: Standing, now: Mono) -> MemberId {
        let member = self.membership.add_address(address, standing, now);
        self.link_new_members(now);
        member
    }

    /// Does for every link what is due.
    pub(super) fn tick_peers(&mut self, now: Now, out: &mut dyn Outputs) {
        for index in 1..self.peers.len() {
            let member = MemberId(index as u16);
            match self.peers[index].tick(self.settings.pace, now.mono) {
                Step::Nothing => {}
                Step::Dial => {
                    let card = &self.membership.get(member).card;
                    if let Some(pact) = &mut self.pact {
                        pact.tie(member).dialled_life = card.incarnation;
                    }
                    out.dial(member, card.address);
                }
                Step::DialAgain => out.dial(member, self.membership.get(member).card.address),
                Step::Ping(link, number) => self.ping(member, link, number, now.mono, out),
                Step::Silent(link) => {
                    if let Some(link) = link {
                        out.hang_up(link);
                    }
                    self.on_requests_lost(member, out);
                    self.judge(now, member, Standing::Down(Reason::Silent), out);
                    self.end_connects(member, Some(Reason::Silent), out);
                }
            }
        }
    }

    /// Without a lease pings are not spared.
    pub(super) fn ping_eagerly(&mut self, now: Mono, out: &mut dyn Outputs) {
        let is_eager = self.pact.as_ref().is_some_and(|pact| !pact.is_serving(now) || self.mirroring.has_waiting_streams());
        if is_eager && now >= self.eager_at {
            self.ping_all(now, out);
        }
    }

    /// Whoever was away itself cannot blame the others for their silence.
    pub(super) fn forgive_if_late(&mut self, now: Mono) {
        let late_ms = now.since(self.last_wake);
        if self.last_wake != Mono::NEVER && late_ms > self.settings.pace.silence_ms / LATE_PART {
            warn!("this node was away for {late_ms} ms; the silence of others until now proves nothing");
            for peer in &mut self.peers {
                peer.forgive(self.settings.pace, now);
            }
        }
    }

    /// The member whose link, dialled by this node, this is.
    pub(super) fn member_dialled(&self, link: LinkId) -> Option<MemberId> {
        self.peers.iter().position(|peer| peer.uses(link)).map(|index| MemberId(index as u16))
    }

    /// Is there a member at the other end of this link?
    pub(super) fn knows(&self, link: LinkId) -> bool {
        self.greeted.contains_key(&link) || self.member_dialled(link).is_some()
    }

    /// Says something to everyone whose link is open.
    pub(super) fn broadcast(&self, message: &Message<'_>, out: &mut dyn Outputs) {
        for link in self.peers.iter().filter_map(Peer::link) {
            out.send(link, message);
        }
    }

    /// Gives a member another standing; what that moves is sent where it now belongs. A declared death is ended by `connect` or by a new
    /// life only, not by what its links do.
    pub(super) fn judge(&mut self, now: Now, member: MemberId, standing: Standing, out: &mut dyn Outputs) {
        let before = self.membership.get(member).standing;
        let stays_declared = before == Standing::Down(Reason::Declared) && matches!(standing, Standing::Down(_));
        if stays_declared || !self.membership.judge(member, standing, now.mono) {
            return;
        }
        self.stats.membership_changes += 1;
        let card = &self.membership.get(member).card;
        let (up, all) = (self.membership.count_up(), self.membership.len());
        info!("{} (node {}) is {}, it was {}: {up} of {all} nodes up", card.name, card.node_id, standing.word(), before.word());
        if standing == Standing::Up && self.pact.is_none() {
            // Who greeted us while it was down has not heard of it; a view tells of it by itself.
            let news = Message::Members(vec![card.clone()]);
            let others = self.peers.iter().enumerate().filter(|(index, _)| *index != member.index());
            others.filter_map(|(_, peer)| peer.link()).for_each(|link| out.send(link, &news));
        }
        self.reroute_if_moved(now, out);
        self.end_flushes_without(member, standing, out);
    }

    /// Takes in a node that speaks for itself. A new life ends a declared death.
    fn meet(&mut self, now: Now, card: &Card) -> MemberId {
        let known = self.membership.find(&card.name).map(|id| self.membership.get(id).card.incarnation);
        let member = self.membership.learn(card, now.mono);
        self.link_new_members(now.mono);
        let newer = known.is_none_or(|incarnation| incarnation < card.incarnation);
        // Others may have told of this life before: that it is not the one that was met is still news to the pact.
        if card.incarnation > 0 {
            self.on_life_ended(now.mono, member, card.incarnation - 1);
        }
        if newer && self.membership.get(member).standing == Standing::Down(Reason::Declared) {
            self.membership.judge(member, Standing::Unknown, now.mono);
        }
        member
    }

    /// Why a node that greets does not fit, if it does not.
    fn misfit(&self, introduction: &Introduction<'_>) -> Option<String> {
        let me = self.me();
        if introduction.protocol != PROTOCOL_VERSION {
            return Some(format!("this node speaks version {PROTOCOL_VERSION} of the peer protocol, not {}", introduction.protocol));
        }
        if introduction.copies != self.copies() {
            return Some(format!(
                "this node keeps {} of each key, not {}",
                copies_in_words(self.copies()),
                copies_in_words(introduction.copies)
            ));
        }
        if introduction.pool != self.settings.pool {
            return Some(format!("this node is of the pool \"{}\", not \"{}\"", self.settings.pool, introduction.pool));
        }
        if !self.membership.has_room_for(&introduction.me) {
            return Some(format!("a pool has at most {MAX_MEMBERS} members"));
        }
        if introduction.me.name == me.name && introduction.me.incarnation != me.incarnation {
            return Some(format!("the name {} is this node's own", me.name));
        }
        (introduction.me.name == me.name).then(|| format!("{} is this node itself", me.name))
    }

    pub(super) fn introduction(&self) -> Introduction<'static> {
        let pool = Cow::Owned(self.settings.pool.clone());
        Introduction { protocol: PROTOCOL_VERSION, pool, me: self.me().clone(), others: self.cards(), copies: self.copies() }
    }

    /// The cards of the others that are up.
    fn cards(&self) -> Vec<Card> {
        self.membership.others().filter(|(_, member)| member.standing == Standing::Up).map(|(_, member)| member.card.clone()).collect()
    }

    pub(super) fn link_new_members(&mut self, now: Mono) {
        self.peers.resize_with(self.membership.len(), || Peer::new(now));
    }

    /// Answers who has said `connect` about a member that is now reached, or is not. An address where nobody ever answered is forgotten.
    fn end_connects(&mut self, member: MemberId, failed: Option<Reason>, out: &mut dyn Outputs) {
        let waits = |parked: &Parked| matches!(parked.waiting, Waiting::Connect { member: waited_for } if waited_for == member);
        for id in self.requests.select(waits) {
            let Some(parked) = self.requests.take(id) else { continue };
            match failed {
                None => answer(out, parked.origin, b"", &Reply::Done),
                Some(reason) => {
                    let address = self.membership.get(member).card.address;
                    let why = Failure::Refused(format!("{address} cannot be reached: {}", Standing::Down(reason).word()));
                    self.fail(parked.origin, b"", &why, out);
                }
            }
        }
        let unmet = self.membership.get(member).standing == Standing::Down(Reason::Unmet) || self.was_connected_in_vain(member);
        if failed.is_some() && unmet && self.membership.forget_unmet(member) {
            self.peers.truncate(self.membership.len());
        }
    }

    /// Was this member added by `connect`, and never heard of?
    fn was_connected_in_vain(&self, member: MemberId) -> bool {
        let card = &self.membership.get(member).card;
        card.incarnation == 0 && !self.settings.peers.contains(&card.address)
    }
}

fn copies_in_words(copies: u32) -> String {
    match copies {
        0 => "copies with named nodes".into(),
        1 => "1 copy".into(),
        copies => format!("{copies} copies"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::{at, card, settings};
    use crate::node::{ClientId, Settings};

    /// Keeps count of what a node orders.
    #[derive(Default)]
    struct Orders {
        dialled: Vec<(MemberId, SocketAddr)>,
        hung_up: Vec<LinkId>,
        replies: Vec<(u64, String)>,
        flushes: Vec<(LinkId, crate::node::message::RequestId)>,
        told: Vec<(LinkId, String)>,
    }

    impl Outputs for Orders {
        fn reply(&mut self, client: ClientId, _key: &[u8], reply: &Reply<'_>) {
            self.replies.push((client.connection, format!("{reply:?}")));
        }
        fn send(&mut self, link: LinkId, message: &Message<'_>) {
            if let Message::Flush { id, .. } = message {
                self.flushes.push((link, *id));
            }
            if let Message::Members(cards) = message {
                self.told.extend(cards.iter().map(|card| (link, card.name.clone())));
            }
        }
        fn dial(&mut self, member: MemberId, address: SocketAddr) {
            self.dialled.push((member, address));
        }
        fn hang_up(&mut self, link: LinkId) {
            self.hung_up.push(link);
        }
        fn replay(&mut self) {}
        fn keep(&mut self, _view: &[u8]) {}
    }

    fn node(peers: &[u16]) -> Node {
        let settings = Settings { peers: peers.iter().map(|port| card(*port, 0).address).collect(), ..settings(card(8001, 1)) };
        Node::new(settings, None, None, at(1_000))
    }

    fn introduction(me: Card) -> Introduction<'static> {
        Introduction { protocol: PROTOCOL_VERSION, pool: "pool".into(), me, others: Vec::new(), copies: 1 }
    }

    #[test]
    fn a_dial_that_was_given_up_says_nothing_about_the_link_that_came_after_it() {
        let (mut node, mut out) = (node(&[8002]), Orders::default());
        for ms in (1_000..=1_560).step_by(10) {
            node.on_tick(at(ms), &mut out);
        }
        assert_eq!(out.dialled.len(), 6, "five were silent, the last is under way");
        let (member, link) = (MemberId(1), LinkId(9));
        node.on_dialled(at(1_561), member, link, &mut out);
        node.on_message(at(1_562), link, &Message::Welcome(introduction(card(8002, 7))), &mut out);
        node.on_dial_failed(at(1_563), member, false, &mut out);
        assert_eq!(node.membership().get(member).standing, Standing::Up);
    }

    #[test]
    fn who_greeted_while_another_was_down_hears_of_it_when_it_is_up() {
        let (mut node, mut out) = (node(&[8002, 8003]), Orders::default());
        node.on_tick(at(1_000), &mut out);
        node.on_dialled(at(1_001), MemberId(1), LinkId(9), &mut out);
        node.on_message(at(1_002), LinkId(9), &Message::Welcome(introduction(card(8002, 7))), &mut out);
        node.on_dialled(at(1_003), MemberId(2), LinkId(10), &mut out);
        node.on_message(at(1_004), LinkId(10), &Message::Welcome(introduction(card(8003, 7))), &mut out);
        assert!(out.told.contains(&(LinkId(9), card(8003, 7).name)), "{:?}", out.told);
    }

    #[test]
    fn a_refusal_says_nothing_of_a_life_that_was_heard_of_after_the_first_dial() {
        let (mut node, mut out) = (node(&[8002]), Orders::default());
        node.pact = Some(crate::node::pact::Pact::new(2, false, 500, None, Mono(1_000)));
        node.on_tick(at(1_000), &mut out);
        node.on_members(Mono(1_010), &[card(8002, 7)], &mut out);
        node.on_tick(at(1_020), &mut out);
        assert_eq!(out.dialled.len(), 2, "it is dialled again");
        node.on_dial_failed(at(1_021), MemberId(1), true, &mut out);
        assert_eq!(node.membership().get(MemberId(1)).card.incarnation, 7);
        assert!(node.pact.as_ref().is_some_and(|pact| pact.ties[1].ended_life < 7));
    }

    #[test]
    fn connect_to_another_address_of_a_known_node_is_answered_at_once() {
        use crate::node::command::{Admin, Request};
        let (mut node, mut out) = (node(&[8002]), Orders::default());
        node.on_tick(at(1_000), &mut out);
        node.on_dialled(at(1_001), MemberId(1), LinkId(9), &mut out);
        node.on_message(at(1_002), LinkId(9), &Message::Welcome(introduction(card(8002, 7))), &mut out);
        let connect = Request::Admin(Admin::Connect("127.0.0.2:8002".into()));
        node.on_request(at(1_003), ClientId { connection: 1, slot: 0 }, crate::hash::KeyHash::default(), &connect, &mut out);
        node.on_dialled(at(1_004), MemberId(2), LinkId(10), &mut out);
        node.on_message(at(1_005), LinkId(10), &Message::Welcome(introduction(card(8002, 7))), &mut out);
        assert_eq!(out.replies.len(), 1, "{:?}", out.replies);
        assert_eq!((node.membership().len(), out.hung_up.as_slice()), (2, &[LinkId(10)][..]));
        node.check_invariants();
    }

    #[test]
    fn a_flush_waits_for_a_node_that_is_still_being_dialled() {
        use crate::node::command::{Admin, Expiry, Request};
        use crate::node::message::Outcome;
        let (mut node, mut out) = (node(&[8002]), Orders::default());
        node.on_tick(at(1_000), &mut out);
        let flush = Request::Admin(Admin::Flush { when: Expiry::Never });
        node.on_request(at(1_001), ClientId { connection: 1, slot: 0 }, crate::hash::KeyHash::default(), &flush, &mut out);
        assert!(out.replies.is_empty());
        node.on_dialled(at(1_002), MemberId(1), LinkId(9), &mut out);
        node.on_message(at(1_003), LinkId(9), &Message::Welcome(introduction(card(8002, 7))), &mut out);
        let [(LinkId(9), id)] = out.flushes[..] else { panic!("{:?}", out.flushes) };
        node.on_message(at(1_004), LinkId(9), &Message::Answer { id, outcome: Outcome::Done }, &mut out);
        assert_eq!(out.replies, [(1, "Done".to_string())]);
    }
}
