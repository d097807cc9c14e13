//! Where each key is, by a view: its owner, who else has it, and who is being filled with it.
//!
//! The points of two rings, of the layout that is settled and of the one that is aimed at, cut the circle into arcs within which every key
//! has the same holders. For an arc:
//!
//! - the settled layout names the holders that have everything: its first so many members clockwise (or a node and its stand-ins), less those that
//!   are gone. These are *complete*, and the first of them is the *owner*;
//! - the target names those that are to have it; whoever of them is not complete is *filling*;
//! - if all that had it are gone, the arc is *cold*: the next member of the settled layout owns it and begins empty.
//!
//! Writes go to all holders. Looking a key up is a binary search and allocates nothing. It is all the same at every node.
//!
//! All arcs are drawn anew for each view, while nobody serves: so the two layouts share a ring if they can, and what is looked up for one arc is
//! in the memory of the one before.

use std::rc::Rc;

use super::MemberId;
use super::ring::Ring;
use super::view::{Role, Settled, View};

/// The places of the circle.
const PLACES: u64 = 1 << 32;

/// A part of the circle, up to and including its last place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arc {
    last: u32,
    holders: Vec<u16>,
    complete: u16,
    wanted: u16,
    /// All that had its keys are gone: its owner began empty.
    pub is_cold: bool,
}

/// The arcs of a view.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    arcs: Vec<Arc>,
}

/// A layout on its ring.
struct Layout<'v> {
    view: &'v View,
    members: &'v [Settled],
    ring: Rc<Ring>,
    /// How many members there are to hold a place, at most.
    most: usize,
    /// The members that stand by for each, and nobody else.
    groups: Vec<Vec<usize>>,
    /// Takes part under this seat, for each member that has what it is to hold.
    seats: Vec<Option<u16>>,
}

impl Arc {
    /// The seat that speaks for its keys; none if nobody is up.
    #[must_use]
    pub fn owner(&self) -> Option<usize> {
        self.holders.first().map(|seat| usize::from(*seat))
    }

    /// The seats that get its writes, the owner first, those that are filling last.
    pub fn holders(&self) -> impl Iterator<Item = usize> {
        self.holders.iter().map(|seat| usize::from(*seat))
    }

    /// The seats that have all its keys, the owner first.
    pub fn complete(&self) -> impl Iterator<Item = usize> {
        self.holders().take(self.complete.into())
    }

    /// The seats that are being filled with its keys.
    pub fn filling(&self) -> impl Iterator<Item = usize> {
        self.holders().skip(self.complete.into())
    }

    /// Does this seat hold its keys, or some of them?
    #[must_use]
    pub fn is_held_by(&self, seat: usize) -> bool {
        self.holders().any(|holder| holder == seat)
    }

    /// Have fewer nodes its keys than are asked for?
    #[must_use]
    pub fn lacks_redundancy(&self) -> bool {
        self.complete < self.wanted
    }
}

impl Placement {
    /// The arcs of a view.
    #[must_use]
    pub fn new(view: &View) -> Placement {
        let target = view.target();
        let settled = Layout::new(view, &view.settled, None);
        let target = Layout::new(view, &target, Some(&settled));
        let places = ends_of(&settled.ring, &target.ring);
        let mut arcs: Vec<Arc> = Vec::with_capacity(places.len());
        let (mut arc, mut window) = (Arc::default(), Vec::new());
        for place in places {
            arc.draw(&settled, &target, place, &mut window);
            match arcs.last_mut() {
                Some(last) if last.is_alike(&arc) => last.last = place,
                _ => arcs.push(arc.clone()),
            }
        }
        Placement { arcs }
    }

    /// The arc of a place; none if there is no ring at all.
    #[inline]
    #[must_use]
    pub fn arc(&self, place: u32) -> Option<&Arc> {
        let at = self.arcs.partition_point(|arc| arc.last < place);
        self.arcs.get(at).or_else(|| self.arcs.first())
    }

    /// The last place of the arc of a place, or of the ring.
    #[must_use]
    pub fn end_of(&self, place: u32) -> u32 {
        self.arcs.get(self.arcs.partition_point(|arc| arc.last < place)).map_or(u32::MAX, |arc| arc.last)
    }

    /// The seat that speaks for a place.
    #[inline]
    #[must_use]
    pub fn owner(&self, place: u32) -> Option<usize> {
        self.arc(place)?.owner()
    }

    /// Does nobody have to be filled, and is nothing cold?
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.arcs.iter().all(|arc| usize::from(arc.complete) == arc.holders.len() && !arc.is_cold)
    }

    /// The arcs, each with the places it has: the first place, the last, and the arc. One that wraps comes in two parts.
    pub fn spans(&self) -> impl Iterator<Item = (u32, u32, &Arc)> {
        let mut first = 0u64;
        let own = self.arcs.iter().map(move |arc| {
            let from = first as u32;
            first = u64::from(arc.last) + 1;
            (from, arc.last, arc)
        });
        let wrapped = self.arcs.first().zip(self.arcs.last()).filter(|(_, last)| last.last < u32::MAX);
        own.chain(wrapped.map(|(first, last)| (last.last + 1, u32::MAX, first)))
    }

    /// How many arcs have fewer complete holders than are asked for.
    #[must_use]
    pub fn lost_redundancy(&self) -> usize {
        self.arcs.iter().filter(|arc| arc.lacks_redundancy()).count()
    }

    /// The parts of the circle that a seat owns and holds, between 0 and 1.
    #[must_use]
    pub fn shares(&self, seat: usize) -> (f64, f64) {
        let (mut owned, mut held) = (0u64, 0u64);
        for (from, to, arc) in self.spans() {
            let length = u64::from(to) - u64::from(from) + 1;
            owned += if arc.owner() == Some(seat) { length } else { 0 };
            held += if arc.is_held_by(seat) { length } else { 0 };
        }
        (owned as f64 / PLACES as f64, held as f64 / PLACES as f64)
    }
}

impl Arc {
    /// Becomes the arc that ends at this place.
    fn draw(&mut self, settled: &Layout<'_>, target: &Layout<'_>, place: u32, window: &mut Vec<usize>) {
        settled.window_at(place, window);
        self.holders.clear();
        for role in [Role::Here, Role::Written] {
            let in_role = window.iter().filter(|index| settled.members[**index].role == role);
            self.holders.extend(in_role.filter_map(|index| settled.seats[*index]));
        }
        self.holders.truncate(if settled.view.first_only { 1 } else { usize::MAX });
        self.is_cold = self.holders.is_empty();
        target.window_at(place, window);
        let aimed_at = || window.iter().filter_map(|index| target.seats[*index]);
        if self.is_cold {
            self.holders.extend(settled.first_left(place).or_else(|| aimed_at().next()));
        }
        (self.last, self.complete, self.wanted) = (place, self.holders.len() as u16, target.wanted(place) as u16);
        for seat in aimed_at() {
            if !self.holders.contains(&seat) {
                self.holders.push(seat);
            }
        }
    }

    fn is_alike(&self, other: &Arc) -> bool {
        (&self.holders, self.complete, self.wanted, self.is_cold) == (&other.holders, other.complete, other.wanted, other.is_cold)
    }
}

impl<'v> Layout<'v> {
    /// A layout of a view. It takes over the ring of another one that has the same members.
    fn new(view: &'v View, members: &'v [Settled], other: Option<&Layout<'v>>) -> Layout<'v> {
        let is_named = view.copies == 0;
        let at = |address| members.iter().position(|member| member.card.address == address);
        let groups: Vec<Vec<usize>> =
            members.iter().map(|member| member.card.stand_ins.iter().copied().filter_map(at).filter(|_| is_named).collect()).collect();
        // Who stands by for others and names nobody itself owns nothing; nodes that name each other all own.
        let stands_in = |index: &usize| members[*index].card.stand_ins.is_empty() && groups.iter().any(|group| group.contains(index));
        let on_ring = (0..members.len()).filter(|index| !stands_in(index));
        let is_alike = |other: &&Layout<'v>| members.iter().map(|member| &member.card).eq(other.members.iter().map(|member| &member.card));
        let point = |index: usize| (MemberId(index as u16), members[index].card.name.as_str(), members[index].card.weight);
        let ring = other.filter(is_alike).map_or_else(|| Rc::new(Ring::new(on_ring.map(point))), |other| Rc::clone(&other.ring));
        let most = members.iter().filter(|member| member.role != Role::Skipped).count().min(view.copies as usize);
        let seat = |member: &Settled| view.seat_up(&member.card.name, member.card.incarnation).filter(|_| member.role.has_keys());
        let seats = members.iter().map(|member| seat(member).map(|seat| seat as u16)).collect();
        Layout { view, members, ring, most, groups, seats }
    }

    /// The members that hold a place by this layout, gone ones included, in their order.
    fn window_at(&self, place: u32, window: &mut Vec<usize>) {
        window.clear();
        let counts = |index: &usize| self.members[*index].role != Role::Skipped;
        let first = self.ring.first_at(place);
        if self.view.copies == 0 {
            let groups = self.ring.clockwise(first).map(|member| self.group(member.index()).filter(counts).collect::<Vec<usize>>());
            return window.extend(groups.into_iter().find(|group| !group.is_empty()).unwrap_or_default());
        }
        let mut around = self.ring.onward(first).map(MemberId::index).filter(counts);
        while window.len() < self.most {
            let Some(index) = around.next() else { return };
            if !window.contains(&index) {
                window.push(index);
            }
        }
    }

    fn group(&self, index: usize) -> impl Iterator<Item = usize> {
        std::iter::once(index).chain(self.groups[index].iter().copied())
    }

    /// The first member clockwise that takes part.
    fn first_left(&self, place: u32) -> Option<u16> {
        self.ring.clockwise(self.ring.first_at(place)).flat_map(|member| self.group(member.index())).find_map(|index| self.seats[index])
    }

    /// How many nodes are to hold a place.
    fn wanted(&self, place: u32) -> usize {
        if self.view.copies > 0 {
            return self.view.copies as usize;
        }
        let first = self.ring.clockwise(self.ring.first_at(place)).next();
        first.map_or(1, |member| self.group(member.index()).count())
    }
}

/// The last places of the arcs: the points of both rings, in order.
fn ends_of(settled: &Rc<Ring>, target: &Rc<Ring>) -> Vec<u32> {
    let mut places: Vec<u32> = settled.points().map(|(place, _)| place).collect();
    if !Rc::ptr_eq(settled, target) {
        places.extend(target.points().map(|(place, _)| place));
        places.sort_unstable();
    }
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::prng::Prng;
    use crate::topology::membership::Card;
    use crate::topology::view::{Change, Past};

    fn card(port: u16, incarnation: u64) -> Card {
        Card { incarnation, ..Card::of_address(SocketAddr::from(([127, 0, 0, 1], port))) }
    }

    fn pool(ports: &[u16], copies: u32) -> View {
        let cards: Vec<Card> = ports.iter().map(|port| card(*port, 1)).collect();
        View::first((1, 10), copies, &cards, &[], Past::Lost)
    }

    fn staying(view: &View, out: &[usize]) -> Change {
        Change { stays: (0..view.seats.len()).map(|index| !out.contains(&index)).collect(), ..Change::default() }
    }

    fn places() -> impl Iterator<Item = u32> {
        (0..4_096u32).map(|step| step << 20 | 0x5_1234)
    }

    #[test]
    fn a_whole_pool_places_keys_as_the_ring_does() {
        let view = pool(&[8001, 8002, 8003], 2);
        let ring = Ring::new(view.seats.iter().enumerate().map(|(index, seat)| (MemberId(index as u16), seat.card.name.as_str(), 1)));
        let placement = Placement::new(&view);
        for place in places() {
            let expected: Vec<usize> = ring.holders(place, 2, |_| true).into_iter().map(MemberId::index).collect();
            let arc = placement.arc(place).expect("an arc");
            assert_eq!(arc.holders().collect::<Vec<_>>(), expected);
            assert_eq!(arc.complete().count(), 2);
        }
        assert_eq!(placement.lost_redundancy(), 0);
    }

    #[test]
    fn when_an_owner_goes_its_mirror_owns_and_the_next_is_filled() {
        let whole = pool(&[8001, 8002, 8003], 2);
        let before = Placement::new(&whole);
        let view = whole.next(&staying(&whole, &[0]));
        let after = Placement::new(&view);
        for place in places() {
            let (old, new) = (before.arc(place).expect("an arc"), after.arc(place).expect("an arc"));
            let left: Vec<usize> = old.complete().filter(|seat| *seat != 0).collect();
            assert_eq!(new.complete().collect::<Vec<_>>(), left);
            assert_eq!(new.holders().count(), 2);
            assert!(!new.is_cold);
        }
        assert!(after.lost_redundancy() > 0 && !after.is_filled());
    }

    #[test]
    fn who_returns_is_filled_and_owns_nothing_until_the_pool_has_settled() {
        let whole = pool(&[8001, 8002, 8003], 2);
        let two = whole.next(&staying(&whole, &[0]));
        let two = two.next(&Change { settles: true, ..staying(&two, &[]) });
        let back = two.next(&Change { joins: Some(card(8001, 2)), ..staying(&two, &[]) });
        let placement = Placement::new(&back);
        assert!(places().all(|place| placement.owner(place) != Some(0)));
        assert_eq!(placement.shares(0).0, 0.0);
        let settled = back.next(&Change { settles: true, ..staying(&back, &[]) });
        let (again, first) = (Placement::new(&settled), Placement::new(&whole));
        assert!(places().all(|place| again.owner(place) == first.owner(place)));
    }

    #[test]
    fn what_both_holders_took_along_is_cold_and_its_owner_stays_while_it_lives() {
        let whole = pool(&[8001, 8002, 8003, 8004], 2);
        let view = whole.next(&staying(&whole, &[0, 1]));
        let placement = Placement::new(&view);
        let cold: Vec<u32> = places().filter(|place| placement.arc(*place).is_some_and(|arc| arc.is_cold)).collect();
        assert!(!cold.is_empty() && cold.len() < 4_096);
        let back = view.next(&Change { joins: Some(card(8001, 2)), ..staying(&view, &[]) });
        let after = Placement::new(&back);
        assert!(cold.iter().all(|place| after.owner(*place) == placement.owner(*place)));
    }

    #[test]
    fn who_leaves_keeps_its_keys_until_others_have_them() {
        let whole = pool(&[8001, 8002, 8003], 2);
        let leaving = whole.next(&Change { leaves: vec![true, false, false], ..staying(&whole, &[]) });
        let (before, during) = (Placement::new(&whole), Placement::new(&leaving));
        assert!(places().all(|place| before.owner(place) == during.owner(place)));
        let left = leaving.next(&Change { settles: true, leaves: vec![true, false, false], ..staying(&leaving, &[]) });
        let after = Placement::new(&left);
        assert!(left.is_whole() && places().all(|place| !after.arc(place).expect("an arc").is_held_by(0)));
    }

    #[test]
    fn a_named_stand_in_owns_nothing_while_its_node_lives_and_everything_of_it_afterwards() {
        let mut cards: Vec<Card> = [8001, 8002, 8003].map(|port| card(port, 1)).to_vec();
        cards[0].stand_ins = vec![cards[2].address];
        let view = View::first((1, 10), 0, &cards, &[], Past::Lost);
        let placement = Placement::new(&view);
        assert_eq!(placement.shares(2).0, 0.0);
        assert!((placement.shares(2).1 - placement.shares(0).0).abs() < 1e-9);
        let without = view.next(&staying(&view, &[0]));
        let after = Placement::new(&without);
        assert!(places().all(|place| {
            let (old, new) = (placement.owner(place), after.owner(place));
            if old == Some(0) { new == Some(2) } else { new == old }
        }));
    }

    #[test]
    fn the_spans_cover_the_circle_once() {
        let placement = Placement::new(&pool(&[8001, 8002, 8003], 2));
        let mut spans: Vec<(u32, u32)> = placement.spans().map(|(from, to, _)| (from, to)).collect();
        spans.sort_unstable();
        assert_eq!((spans[0].0, spans[spans.len() - 1].1), (0, u32::MAX));
        assert!(spans.windows(2).all(|pair| u64::from(pair[0].1) + 1 == u64::from(pair[1].0)));
        for (from, to, arc) in placement.spans() {
            assert_eq!((placement.arc(from), placement.arc(to)), (Some(arc), Some(arc)));
        }
    }

    /// The holders of a place and how many are complete, by the words of the page alone.
    fn by_the_words(view: &View, place: u32) -> (Vec<usize>, usize) {
        let target = view.target();
        let window = |layout: &[Settled]| -> Vec<usize> {
            let cards = layout.iter().enumerate();
            let ring = Ring::new(cards.map(|(index, member)| (MemberId(index as u16), member.card.name.as_str(), member.card.weight)));
            let around = ring.clockwise(ring.first_at(place)).map(MemberId::index);
            around.filter(|index| layout[*index].role != Role::Skipped).take(view.copies as usize).collect()
        };
        let seat = |member: &Settled| view.seat_up(&member.card.name, member.card.incarnation).filter(|_| member.role.has_keys());
        let mut holders: Vec<usize> = window(&view.settled).into_iter().filter_map(|index| seat(&view.settled[index])).collect();
        let complete = holders.len();
        for seat in window(&target).into_iter().filter_map(|index| seat(&target[index])) {
            if !holders.contains(&seat) {
                holders.push(seat);
            }
        }
        (holders, complete)
    }

    #[test]
    fn arcs_are_drawn_as_the_words_say_through_a_life_of_changes() {
        let mut prng = Prng::new(5);
        for copies in [2, 3, 9] {
            let mut view = pool(&[8001, 8002, 8003, 8004], copies);
            for step in 0..30 {
                let out: Vec<usize> = view.up().filter(|_| prng.chance(1, 9)).take(1).collect();
                let joins = prng.chance(1, 2).then(|| card(8001 + prng.below(6) as u16, 2 + step));
                view = view.next(&Change { joins, settles: prng.chance(1, 2), ..staying(&view, &out) });
                let placement = Placement::new(&view);
                for place in (0..20).map(|_| prng.next_u64() as u32) {
                    let arc = placement.arc(place).expect("an arc");
                    if !arc.is_cold {
                        assert_eq!((arc.holders().collect(), arc.complete().count()), by_the_words(&view, place));
                    }
                }
            }
        }
    }
}
