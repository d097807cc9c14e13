//! The members of the pool, and the standing of each as this node sees it.
//!
//! A member is known by its name, the one that is on the ring. It is first heard of by an address (in the configuration, or from
//! `connect`) or from another member; its own hello then says its name, its weight and its incarnation. Members are never taken off the
//! list: who is down is skipped on the ring, so that its keys come back to it with it.
//!
//! Each node judges for itself who is up. Agreed views, which make that safe for mirrored data, replace this judgement later; what is
//! here is what an agreement is made from.

use std::net::SocketAddr;

use super::MemberId;
use super::ring::Ring;
use crate::msgpack::{Malformed, Parse, Reader, Writer};
use crate::time::Mono;

/// Most members of a pool. What names more is turned away, or not listened to.
pub const MAX_MEMBERS: usize = 1_024;
/// The largest weight. The sum of all weights stays far below 2^32.
pub const MAX_WEIGHT: u32 = 1_000;
/// Most nodes that a node may name to stand by for it.
pub const MAX_STAND_INS: usize = 15;

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its name on the ring.
    pub name: String,
    /// Its `node_id`, for people.
    pub node_id: String,
    /// Where it is dialled.
    pub address: SocketAddr,
    /// Its share of the ring, relative to the others'.
    pub weight: u32,
    /// Which of its lives this is; 0 when it has not said yet.
    pub incarnation: u64,
    /// The nodes that keep copies of its keys, if it names them.
    pub stand_ins: Vec<SocketAddr>,
}

/// How a member stands with this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing has been heard of it, and nothing against it: it keeps its place on the ring, and its requests wait.
    Unknown,
    /// It takes part.
    Up,
    /// It does not.
    Down(Reason),
}

impl Standing {
    /// Is nobody there, or nobody who would have us? Who is only silent may be.
    #[must_use]
    pub fn is_away(self) -> bool {
        matches!(self, Standing::Down(Reason::Refused | Reason::Declared | Reason::Unfit | Reason::Unmet))
    }
}

/// Why a member is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its host refused a connection: the process is gone.
    Refused,
    /// It did not answer in time.
    Silent,
    /// It would not have us: another pool, another protocol.
    Unfit,
    /// `connect` has named its address and nobody has answered there yet.
    Unmet,
    /// Somebody said `dead`. It stays so until `connect` names it or it begins a new life.
    Declared,
}

/// A member of the pool.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it says of itself.
    pub card: Card,
    /// How it stands.
    pub standing: Standing,
    /// Since when.
    pub since: Mono,
}

/// All members; the first is this node.
#[derive(Debug)]
pub struct Membership {
    members: Vec<Member>,
    ring: Ring,
    changes: u64,
}

impl Standing {
    /// Does it keep its keys?
    #[must_use]
    pub fn owns(self) -> bool {
        matches!(self, Standing::Up | Standing::Unknown)
    }

    /// One word for people and scripts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Standing::Unknown => "dialling",
            Standing::Up => "up",
            Standing::Down(Reason::Refused) => "refused",
            Standing::Down(Reason::Silent) => "silent",
            Standing::Down(Reason::Unfit) => "unfit",
            Standing::Down(Reason::Unmet) => "unmet",
            Standing::Down(Reason::Declared) => "dead",
        }
    }
}

impl Card {
    /// A member of which only the address is known: its name is its address until it says otherwise.
    #[must_use]
    pub fn of_address(address: SocketAddr) -> Card {
        Card { name: address.to_string(), node_id: address.to_string(), address, weight: 1, incarnation: 0, stand_ins: Vec::new() }
    }
}

impl Membership {
    /// A pool of this node alone.
    #[must_use]
    pub fn new(me: Card, now: Mono) -> Membership {
        let mut membership =
            Membership { members: vec![Member { card: me, standing: Standing::Up, since: now }], ring: Ring::default(), changes: 0 };
        membership.rebuild();
        membership
    }

    /// The member of this id.
    #[must_use]
    pub fn get(&self, id: MemberId) -> &Member {
        &self.members[id.index()]
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> &Member {
        self.get(MemberId::ME)
    }

    /// All members, this node first.
    pub fn all(&self) -> impl Iterator<Item = (MemberId, &Member)> {
        self.members.iter().enumerate().map(|(index, member)| (MemberId(index as u16), member))
    }

    /// All members but this node.
    pub fn others(&self) -> impl Iterator<Item = (MemberId, &Member)> {
        self.all().skip(1)
    }

    /// How many take part.
    #[must_use]
    pub fn count_up(&self) -> usize {
        self.members.iter().filter(|member| member.standing == Standing::Up).count()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Is this node all there is?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.len() == 1
    }

    /// How often the standing of a member or the ring has changed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Has every other member been heard of, for good or ill?
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.others().all(|(_, member)| member.standing != Standing::Unknown)
    }

    /// The member at this address, or of this name.
    #[must_use]
    pub fn find(&self, address_or_name: &str) -> Option<MemberId> {
        let address: Option<SocketAddr> = address_or_name.parse().ok();
        self.all().find(|(_, member)| member.card.name == address_or_name || Some(member.card.address) == address).map(|(id, _)| id)
    }

    /// The owner of a place.
    #[must_use]
    pub fn owner(&self, place: u32) -> Option<MemberId> {
        self.ring.owner(place, |id| self.owns(id))
    }

    /// The last place that has the same owner as this one for certain.
    #[must_use]
    pub fn end_of(&self, place: u32) -> u32 {
        self.ring.end_of(place)
    }

    /// The owner of a place and the members that follow it, at most `most` in all.
    #[must_use]
    pub fn holders(&self, place: u32, most: usize) -> Vec<MemberId> {
        self.ring.holders(place, most, |id| self.owns(id))
    }

    /// The part of the ring that a member owns now.
    #[must_use]
    pub fn share(&self, id: MemberId) -> f64 {
        self.ring.share(id, |id| self.owns(id))
    }

    /// Gives a member another standing. True if that is a change.
    pub fn judge(&mut self, id: MemberId, standing: Standing, now: Mono) -> bool {
        let member = &mut self.members[id.index()];
        if member.standing == standing {
            return false;
        }
        member.standing = standing;
        member.since = now;
        self.changes += 1;
        true
    }

    /// Takes a member in, by its address, if it is not there yet. From the configuration it is `Unknown`: it keeps its place on the ring
    /// until it is known to be down. From `connect` it is `Down(Unmet)`: a wrong address must not hold up any key.
    pub fn add_address(&mut self, address: SocketAddr, standing: Standing, now: Mono) -> MemberId {
        self.find(&address.to_string()).unwrap_or_else(|| {
            let id = self.push(Card::of_address(address), standing, now);
            self.rebuild();
            id
        })
    }

    /// Takes in what a member says of itself, or what another says of it. An older life's card says nothing about a newer one.
    pub fn learn(&mut self, card: &Card, now: Mono) -> MemberId {
        let (id, ring_differs) = self.take_in(card, now);
        if ring_differs {
            self.rebuild();
        }
        id
    }

    /// Takes in what another member says of others, as far as there is room for them. The ring is built once.
    pub fn learn_all(&mut self, cards: &[Card], now: Mono) {
        let mut ring_differs = false;
        for card in cards {
            ring_differs |= self.has_room_for(card) && self.take_in(card, now).1;
        }
        if ring_differs {
            self.rebuild();
        }
    }

    /// Is it a member, or may it become one?
    #[must_use]
    pub fn has_room_for(&self, card: &Card) -> bool {
        self.len() < MAX_MEMBERS || self.known(card).is_some()
    }

    fn known(&self, card: &Card) -> Option<MemberId> {
        self.find(&card.name).or_else(|| self.find(&card.address.to_string()))
    }

    /// The member of this card, and whether the ring has to be built again.
    fn take_in(&mut self, card: &Card, now: Mono) -> (MemberId, bool) {
        let Some(id) = self.known(card) else { return (self.push(card.clone(), Standing::Unknown, now), true) };
        let mut ring_differs = false;
        let present = &mut self.members[id.index()].card;
        if id != MemberId::ME && card.incarnation >= present.incarnation && present != card {
            ring_differs = present.name != card.name || present.weight != card.weight;
            // A node that listens everywhere cannot say where it is dialled: the address it was met at stands.
            let address = if card.address.ip().is_unspecified() { present.address } else { card.address };
            *present = Card { address, ..card.clone() };
        }
        (id, ring_differs)
    }

    fn owns(&self, id: MemberId) -> bool {
        self.members[id.index()].standing.owns()
    }

    /// Takes the newest member off again, if it was never heard of: its address was wrong.
    pub fn forget_unmet(&mut self, id: MemberId) -> bool {
        let unmet = id != MemberId::ME && id.index() + 1 == self.members.len() && self.get(id).card.incarnation == 0;
        if unmet {
            self.members.pop();
            self.rebuild();
        }
        unmet
    }

    fn push(&mut self, card: Card, standing: Standing, now: Mono) -> MemberId {
        let id = MemberId(u16::try_from(self.members.len()).expect("whoever adds a member has asked whether there is room"));
        self.members.push(Member { card, standing, since: now });
        id
    }

    /// The order of names decides among equal places, so that every node builds the same ring whatever it heard of first.
    fn rebuild(&mut self) {
        let mut members: Vec<_> = self.all().map(|(id, member)| (id, member.card.name.as_str(), member.card.weight)).collect();
        members.sort_by(|a, b| a.1.cmp(b.1));
        self.ring = Ring::new(members);
        self.changes += 1;
    }
}

impl Writer<'_> {
    /// Several cards.
    pub fn cards(&mut self, cards: &[Card]) -> &mut Self {
        self.array(cards.len());
        for card in cards {
            self.card(card);
        }
        self
    }

    /// A card.
    pub fn card(&mut self, card: &Card) -> &mut Self {
        let Card { name, node_id, address, weight, incarnation, stand_ins } = card;
        self.array(6).text(name).text(node_id).text(&address.to_string()).number((*weight).into()).number(*incarnation);
        self.array(stand_ins.len());
        for stand_in in stand_ins {
            self.text(&stand_in.to_string());
        }
        self
    }
}

impl Reader<'_> {
    /// Several cards.
    pub fn cards(&mut self) -> Parse<Vec<Card>> {
        let count = self.array_up_to(MAX_MEMBERS)?;
        (0..count).map(|_| self.card()).collect()
    }

    /// A card.
    pub fn card(&mut self) -> Parse<Card> {
        self.array_of(6)?;
        let name = self.text()?.to_string();
        let node_id = self.text()?.to_string();
        let address = self.address()?;
        let weight = self.number_u32()?;
        if weight > MAX_WEIGHT {
            return Err(Malformed);
        }
        let incarnation = self.number()?;
        let stand_ins = self.array_up_to(MAX_STAND_INS)?;
        let stand_ins = (0..stand_ins).map(|_| self.address()).collect::<Parse<_>>()?;
        Ok(Card { name, node_id, address, weight, incarnation, stand_ins })
    }

    fn address(&mut self) -> Parse<SocketAddr> {
        self.text()?.parse().map_err(|_| Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(port: u16, incarnation: u64) -> Card {
        let address: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
        Card { node_id: port.to_string(), incarnation, ..Card::of_address(address) }
    }

    fn pool_of(ports: &[u16]) -> Membership {
        let mut membership = Membership::new(card(ports[0], 1), Mono(0));
        for port in &ports[1..] {
            membership.learn(&card(*port, 1), Mono(0));
        }
        membership
    }

    #[test]
    fn every_node_builds_the_same_ring_whatever_it_heard_of_first() {
        let (one, two) = (pool_of(&[8001, 8002, 8003]), pool_of(&[8003, 8001, 8002]));
        for step in 0..1_000u32 {
            let place = step << 22;
            let name = |membership: &Membership| membership.owner(place).map(|id| membership.get(id).card.name.clone());
            assert_eq!(name(&one), name(&two));
        }
    }

    #[test]
    fn a_hello_gives_a_configured_address_its_name() {
        let mut membership = Membership::new(card(8001, 1), Mono(0));
        let id = membership.add_address("127.0.0.1:8002".parse().expect("an address"), Standing::Unknown, Mono(0));
        let named = Card { name: "two".into(), weight: 3, ..card(8002, 7) };
        assert_eq!(membership.learn(&named, Mono(1)), id);
        assert_eq!(membership.get(id).card.name, "two");
        assert_eq!((membership.find("two"), membership.find("127.0.0.1:8002")), (Some(id), Some(id)));
        assert_eq!(membership.len(), 2);
    }

    #[test]
    fn hearsay_fills_the_list_to_its_limit_and_no_further() {
        let mut membership = pool_of(&[8001]);
        let cards: Vec<Card> = (10_000..13_000).map(|port| card(port, 1)).collect();
        membership.learn_all(&cards, Mono(0));
        assert_eq!(membership.len(), MAX_MEMBERS);
        assert!(membership.has_room_for(&cards[0]) && !membership.has_room_for(&card(9_000, 1)));
    }

    #[test]
    fn hearsay_about_a_former_life_changes_nothing() {
        let mut membership = pool_of(&[8001, 8002]);
        let newer = Card { weight: 5, ..card(8002, 9) };
        let id = membership.learn(&newer, Mono(1));
        membership.learn(&card(8002, 3), Mono(2));
        assert_eq!(membership.get(id).card, newer);
    }

    #[test]
    fn who_is_down_owns_nothing_and_who_is_unknown_keeps_its_place() {
        let mut membership = pool_of(&[8001, 8002]);
        let other = MemberId(1);
        assert!(membership.share(other) > 0.2);
        assert!(!membership.is_settled());
        assert!(membership.judge(other, Standing::Down(Reason::Refused), Mono(5)));
        assert!(!membership.judge(other, Standing::Down(Reason::Refused), Mono(6)));
        assert_eq!(membership.share(other), 0.0);
        assert_eq!(membership.get(other).since, Mono(5));
        assert!(membership.is_settled());
        assert_eq!(membership.count_up(), 1);
    }
}
