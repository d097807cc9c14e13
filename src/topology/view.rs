//! A view: who takes part, and by which layout the keys are known to be in place. All nodes agree on it.
//!
//! A view is numbered by its epoch. It lists every known member as a *seat*, since the ring is made of all of them, and says which seats
//! are up. Two layouts follow from it. The *target* is where keys are to be: the ring of all seats, those skipped that are not up or are
//! about to leave. *Settled* is where keys are known to be: a former target, written down when every one of its holders had everything.
//! Who has left a settled layout, by death or for a moment's silence, is *gone* from it for good: whoever comes back comes back empty-handed
//! and is filled. When all are filled, the next view settles on its target. What this means for a single key, [`placement`](super::placement) says.
//!
//! A view follows from the one before by a [`Change`]. Views of one *lineage* succeed one another; a pool that was down as a whole begins a
//! new one. How nodes agree is [`agreement`](super::agreement)'s; a view knows only which of its seats make a quorum.

use std::net::SocketAddr;

use super::membership::{Card, MAX_MEMBERS};
use super::placement::Placement;
use crate::msgpack::{Malformed, Parse, Reader, Writer};

/// Copies of a key, at least, where nodes name their stand-ins.
const NAMED_COPIES: usize = 2;
/// The form in which a view is written.
const FORM: u64 = 2;

/// Which view. No lineage is 0, so the one with zeros is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewId {
    /// Its succession.
    pub lineage: u64,
    /// Its number.
    pub epoch: u64,
}

/// Who keeps copies of a node's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirrors {
    /// The next so many distinct nodes on the ring.
    Next(u32),
    /// These nodes, which stand by for this one alone.
    Named(Vec<SocketAddr>),
}

/// How a seat stands in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes part.
    Up,
    /// It takes part, and is to be relieved of its keys.
    Leaving,
    /// It does not take part.
    Down,
    /// Somebody said `dead`. It stays so until `connect` names it or it begins a new life.
    Banned,
}

/// A member in a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// What it says of itself.
    pub card: Card,
    /// How it stands.
    pub standing: Standing,
}

/// What a member is to a settled layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is on the ring and was passed over.
    Skipped,
    /// It has what it is to hold.
    Here,
    /// It had it; this life of it is out.
    Gone,
    /// It has what its journal says, after a start from journals: believed if nobody is here.
    Written,
}

/// A member in a settled layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// As it was then.
    pub card: Card,
    /// What it is.
    pub role: Role,
}

/// Who takes part, and where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Which succession of views it is in.
    pub lineage: u64,
    /// The lineage that this one went on from without a majority, as `on_silence = "serve"` allows; else 0.
    pub parent: u64,
    /// Its number.
    pub epoch: u64,
    /// The number of the first view of its lineage.
    pub began: u64,
    /// How often everything was forgotten in this lineage.
    pub flushes: u64,
    /// The epoch of the versions that are given by it: after those of all views before.
    pub versions: u32,
    /// How many nodes hold a key, its owner included; 0 if each names its stand-ins.
    pub copies: u32,
    /// After a start from journals: only the first holder of a key is taken at its word.
    pub first_only: bool,
    /// All members, by name.
    pub seats: Vec<Seat>,
    /// Where the keys are known to be, by name.
    pub settled: Vec<Settled>,
}

/// What a pool begins with.
#[derive(Clone, Copy, Debug)]
pub enum Past<'a> {
    /// Nobody knows of a former view: each is taken at its word about what it would own.
    Unknown,
    /// There was one, and not all of it is here: everybody begins empty.
    Lost,
    /// This one: who was in it, and whether that life goes on or has left a journal.
    Kept(&'a View, &'a [(String, Role)]),
}

/// What the next view does differently.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// For each seat that is up: does it stay?
    pub stays: Vec<bool>,
    /// For each seat that is up: does it want to leave?
    pub leaves: Vec<bool>,
    /// Who takes part from now on.
    pub joins: Option<Card>,
    /// Who is told to stay out, by name.
    pub bans: Vec<String>,
    /// Who may take part again, by name.
    pub pardons: Vec<String>,
    /// Everyone has been filled.
    pub settles: bool,
    /// Everything is to be forgotten.
    pub flushes: bool,
    /// Others that are known; they get their seats.
    pub known: Vec<Card>,
    /// The last epoch of which versions are known to have been given.
    pub versions: u32,
}

impl Role {
    /// Does it have keys?
    #[must_use]
    pub fn has_keys(self) -> bool {
        matches!(self, Role::Here | Role::Written)
    }
}

impl Seat {
    /// Does it take part?
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.standing, Standing::Up | Standing::Leaving)
    }
}

impl View {
    /// The first view of a lineage: these take part, those are known.
    #[must_use]
    pub fn first(number: (u64, u64), copies: u32, present: &[Card], known: &[Card], past: Past<'_>) -> View {
        let (lineage, epoch) = number;
        let versions = u32::try_from(epoch).unwrap_or(u32::MAX);
        let (seats, settled) = (Vec::new(), Vec::new());
        let mut view = View { lineage, parent: 0, epoch, began: epoch, flushes: 0, versions, copies, first_only: false, seats, settled };
        present.iter().for_each(|card| view.take_in(card, Standing::Up));
        known.iter().for_each(|card| view.take_in(card, Standing::Down));
        view.first_only = !matches!(past, Past::Lost);
        view.settled = match past {
            Past::Kept(kept, witnesses) => kept.settled.iter().map(|settled| revived(settled, present, witnesses)).collect(),
            Past::Unknown | Past::Lost => view.target(),
        };
        view
    }

    /// The view after this one.
    #[must_use]
    pub fn next(&self, change: &Change) -> View {
        let mut next = View { epoch: self.epoch + 1, flushes: self.flushes + u64::from(change.flushes), ..self.clone() };
        next.begin_versions_after(self.versions.max(change.versions));
        for (index, seat) in next.seats.iter_mut().enumerate().filter(|(_, seat)| seat.is_up()) {
            seat.standing = match (change.stays.get(index), change.leaves.get(index)) {
                (Some(true), Some(true)) => Standing::Leaving,
                (Some(true), _) => Standing::Up,
                _ => Standing::Down,
            };
        }
        for seat in &mut next.seats {
            if change.bans.contains(&seat.card.name) {
                seat.standing = Standing::Banned;
            } else if seat.standing == Standing::Banned && change.pardons.contains(&seat.card.name) {
                seat.standing = Standing::Down;
            }
        }
        change.known.iter().for_each(|card| next.take_in(card, Standing::Down));
        change.joins.iter().for_each(|card| next.take_in(card, Standing::Up));
        if change.settles {
            next.settled = self.target();
            next.first_only = false;
        }
        next.part_with_the_gone();
        next.settle_if_nothing_moves();
        next
    }

    /// Versions of this epoch may have been given elsewhere.
    pub fn begin_versions_after(&mut self, given: u32) {
        self.versions = self.versions.max(given.saturating_add(1));
    }

    /// Which view this is.
    #[must_use]
    pub fn id(&self) -> ViewId {
        ViewId { lineage: self.lineage, epoch: self.epoch }
    }

    /// The seats that are up.
    pub fn up(&self) -> impl Iterator<Item = usize> {
        self.seats.iter().enumerate().filter(|(_, seat)| seat.is_up()).map(|(index, _)| index)
    }

    /// Does a member that has kept `view` have all that this one says it has, which follows it at once and of which the member may never have
    /// heard? Yes, if this one gives it its place: nothing was written there without it.
    #[must_use]
    pub fn goes_on_from(&self, view: &View, name: &str) -> bool {
        let Some(here) = self.settled.iter().find(|settled| settled.card.name == name && settled.role.has_keys()) else { return false };
        let is_next = self.lineage == view.lineage && self.epoch == view.epoch + 1 && self.flushes == view.flushes;
        let is_same_life = || view.seat_up(name, here.card.incarnation).is_some();
        let is_revived = || self.epoch == self.began && self.lineage != view.lineage && here.role == Role::Written;
        (is_next && is_same_life()) || is_revived()
    }

    /// The seat of this name.
    #[must_use]
    pub fn seat(&self, name: &str) -> Option<usize> {
        self.seats.binary_search_by(|seat| seat.card.name.as_str().cmp(name)).ok()
    }

    /// Is everything where it is to be without this seat, which leaves?
    #[must_use]
    pub fn is_dispensable(&self, seat: usize) -> bool {
        let stays = |seat: &Seat| seat.standing == Standing::Up;
        self.seats[seat].standing == Standing::Leaving && self.is_whole() && self.seats.iter().any(stays)
    }

    /// Has an operator told this member to stay out?
    #[must_use]
    pub fn is_banned(&self, name: &str) -> bool {
        self.seat(name).is_some_and(|index| self.seats[index].standing == Standing::Banned)
    }

    /// The seat of this life of a member, if it takes part.
    #[must_use]
    pub fn seat_up(&self, name: &str, incarnation: u64) -> Option<usize> {
        self.seat(name).filter(|index| self.seats[*index].is_up() && self.seats[*index].card.incarnation == incarnation)
    }

    /// Do those seats who say `yes` decide? More than half of those that are up; or half of them with the first; or all but those who are
    /// `excused`. Any two such sets that do not meet differ in the excused only, who must therefore never act again.
    #[must_use]
    pub fn decides(&self, yes: impl Fn(usize) -> bool, excused: impl Fn(usize) -> bool) -> bool {
        let (mut all, mut for_it, mut against, mut first) = (0, 0, 0, None);
        for seat in self.up() {
            all += 1;
            let says_yes = yes(seat);
            first = first.or(Some(says_yes));
            for_it += usize::from(says_yes);
            against += usize::from(!says_yes && !excused(seat));
        }
        2 * for_it > all || (2 * for_it == all && first == Some(true)) || (against == 0 && for_it > 0)
    }

    /// May a view of only those that stay leave keys without anybody who has them?
    #[must_use]
    pub fn may_lose_keys(&self, stays: impl Fn(usize) -> bool) -> bool {
        let has_keys = |seat: &usize| {
            let card = &self.seats[*seat].card;
            let is_it = |settled: &Settled| settled.card.name == card.name && settled.card.incarnation == card.incarnation;
            self.settled.iter().any(|settled| settled.role.has_keys() && is_it(settled))
        };
        let lost = self.up().filter(|seat| !stays(*seat)).filter(has_keys).count();
        let gone = self.settled.iter().filter(|settled| settled.role == Role::Gone).count();
        let copies = if self.copies == 0 { NAMED_COPIES } else { self.copies as usize };
        lost > 0 && lost + gone >= copies
    }

    /// The layout that is aimed at.
    #[must_use]
    pub fn target(&self) -> Vec<Settled> {
        let everyone_leaves = self.seats.iter().all(|seat| seat.standing != Standing::Up);
        let role = |seat: &Seat| {
            let stays = seat.standing == Standing::Up || (everyone_leaves && seat.is_up());
            if stays { Role::Here } else { Role::Skipped }
        };
        self.seats.iter().map(|seat| Settled { card: seat.card.clone(), role: role(seat) }).collect()
    }

    /// Is everything where it is to be?
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.first_only && self.settled == self.target()
    }

    /// Writes it down.
    pub fn write(&self, output: &mut Vec<u8>) {
        let mut writer = Writer(output);
        writer
            .array(11)
            .number(FORM)
            .number(self.lineage)
            .number(self.parent)
            .number(self.epoch)
            .number(self.began)
            .number(self.flushes)
            .number(self.versions.into())
            .number(self.copies.into());
        writer.number(self.first_only.into()).array(self.seats.len());
        for seat in &self.seats {
            let standing = match seat.standing {
                Standing::Up => 0,
                Standing::Leaving => 1,
                Standing::Down => 2,
                Standing::Banned => 3,
            };
            writer.card(&seat.card).number(standing);
        }
        writer.array(self.settled.len());
        for settled in &self.settled {
            let role = match settled.role {
                Role::Skipped => 0,
                Role::Here => 1,
                Role::Gone => 2,
                Role::Written => 3,
            };
            writer.card(&settled.card).number(role);
        }
    }

    /// Reads what [`write`](View::write) wrote.
    ///
    /// # Errors
    /// If it is nothing of the kind.
    pub fn read(input: &[u8]) -> Parse<View> {
        let mut reader = Reader::new(input);
        reader.array_of(11)?;
        if reader.number()? != FORM {
            return Err(Malformed);
        }
        let (lineage, parent, epoch) = (reader.number()?, reader.number()?, reader.number()?);
        let (began, flushes, versions) = (reader.number()?, reader.number()?, reader.number_u32()?);
        let (copies, first_only) = (reader.number_u32()?, reader.flag()?);
        let seats = (0..reader.array_up_to(MAX_MEMBERS)?).map(|_| seat_in(&mut reader)).collect::<Parse<Vec<Seat>>>()?;
        let settled = (0..reader.array_up_to(MAX_MEMBERS)?).map(|_| settled_in(&mut reader)).collect::<Parse<Vec<Settled>>>()?;
        let is_sorted = seats.is_sorted_by(|a, b| a.card.name < b.card.name) && settled.is_sorted_by(|a, b| a.card.name < b.card.name);
        let view = View { lineage, parent, epoch, began, flushes, versions, copies, first_only, seats, settled };
        if is_sorted && reader.is_at_end() { Ok(view) } else { Err(Malformed) }
    }

    /// Gives a member a seat, or its new life the old seat. One that is banned stays so in this life.
    fn take_in(&mut self, card: &Card, standing: Standing) {
        let nameless = |seat: &Seat| seat.card.incarnation == 0 && seat.card.address == card.address && seat.card.name != card.name;
        if let Some(index) = self.seats.iter().position(nameless) {
            self.seats.remove(index);
        }
        let place = match self.seats.binary_search_by(|seat| seat.card.name.cmp(&card.name)) {
            Ok(index) => index,
            Err(_) if self.seats.len() >= MAX_MEMBERS => return,
            Err(index) => {
                self.seats.insert(index, Seat { card: card.clone(), standing });
                return;
            }
        };
        let seat = &mut self.seats[place];
        let is_newer = card.incarnation > seat.card.incarnation;
        let may_join = standing == Standing::Up && seat.standing == Standing::Down && card.incarnation == seat.card.incarnation;
        if is_newer && standing == Standing::Up || may_join {
            *seat = Seat { card: card.clone(), standing };
        } else if is_newer && !seat.is_up() {
            seat.card = card.clone();
        }
    }

    /// Who is not up, or not in the same life, is gone from where the keys are.
    fn part_with_the_gone(&mut self) {
        let is_up = |card: &Card| self.seat_up(&card.name, card.incarnation).is_some();
        let gone: Vec<bool> = self.settled.iter().map(|settled| settled.role.has_keys() && !is_up(&settled.card)).collect();
        for (settled, _) in self.settled.iter_mut().zip(gone).filter(|(_, gone)| *gone) {
            settled.role = Role::Gone;
        }
    }

    /// If nobody has to be filled, and nothing was lost, the target is where the keys are.
    fn settle_if_nothing_moves(&mut self) {
        if !self.first_only && Placement::new(self).is_filled() {
            self.settled = self.target();
        }
    }
}

/// A member of a layout that was kept, in its new life: taken at its word only if its journal is of that view.
fn revived(settled: &Settled, present: &[Card], witnesses: &[(String, Role)]) -> Settled {
    let Settled { card, role } = settled;
    if !role.has_keys() {
        return settled.clone();
    }
    let present = present.iter().find(|present| present.name == card.name);
    let witness = witnesses.iter().find(|(name, _)| *name == card.name);
    match (present, witness) {
        (Some(present), Some((_, role))) => {
            let card = Card { incarnation: present.incarnation, address: present.address, ..card.clone() };
            Settled { card, role: *role }
        }
        _ => Settled { card: card.clone(), role: Role::Gone },
    }
}

fn seat_in(reader: &mut Reader<'_>) -> Parse<Seat> {
    let card = reader.card()?;
    let standing = match reader.number()? {
        0 => Standing::Up,
        1 => Standing::Leaving,
        2 => Standing::Down,
        3 => Standing::Banned,
        _ => return Err(Malformed),
    };
    Ok(Seat { card, standing })
}

fn settled_in(reader: &mut Reader<'_>) -> Parse<Settled> {
    let card = reader.card()?;
    let role = match reader.number()? {
        0 => Role::Skipped,
        1 => Role::Here,
        2 => Role::Gone,
        3 => Role::Written,
        _ => return Err(Malformed),
    };
    Ok(Settled { card, role })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(port: u16, incarnation: u64) -> Card {
        Card { incarnation, ..Card::of_address(SocketAddr::from(([127, 0, 0, 1], port))) }
    }

    fn pool(ports: &[u16]) -> View {
        let cards: Vec<Card> = ports.iter().map(|port| card(*port, 1)).collect();
        View::first((1, 10), 2, &cards, &[], Past::Lost)
    }

    fn without(view: &View, seat: usize) -> View {
        let stays = (0..view.seats.len()).map(|index| index != seat).collect();
        view.next(&Change { stays, ..Change::default() })
    }

    fn all_stay(view: &View) -> Change {
        Change { stays: vec![true; view.seats.len()], ..Change::default() }
    }

    #[test]
    fn a_view_comes_back_from_its_bytes_and_nothing_else_does() {
        let view = without(&pool(&[8001, 8002, 8003]), 1);
        let mut bytes = Vec::new();
        view.write(&mut bytes);
        assert_eq!(View::read(&bytes), Ok(view));
        for cut in 0..bytes.len() {
            assert_eq!(View::read(&bytes[..cut]), Err(Malformed));
        }
    }

    #[test]
    fn a_view_gives_versions_after_those_of_all_before() {
        let view = pool(&[8001, 8002]);
        assert_eq!(view.versions, 10, "a first view's as its number, which is after all clocks");
        assert_eq!(view.next(&all_stay(&view)).versions, 11);
        let next = view.next(&Change { versions: 70, ..all_stay(&view) });
        assert_eq!((next.versions, next.next(&all_stay(&next)).versions), (71, 72), "somebody has given later ones");
    }

    #[test]
    fn a_first_view_without_a_past_is_whole() {
        assert!(pool(&[8001, 8002, 8003]).is_whole());
    }

    #[test]
    fn who_goes_is_gone_from_where_the_keys_are_even_if_the_same_life_returns() {
        let two = without(&pool(&[8001, 8002, 8003]), 0);
        assert!(!two.is_whole());
        assert_eq!(two.settled[0].role, Role::Gone);
        let back = two.next(&Change { joins: Some(card(8001, 1)), ..all_stay(&two) });
        assert!(back.seats[0].is_up() && back.settled[0].role == Role::Gone);
        let settled = back.next(&Change { settles: true, ..all_stay(&back) });
        assert!(settled.is_whole());
    }

    #[test]
    fn the_last_of_two_is_whole_at_once_since_nobody_has_to_be_filled() {
        assert!(without(&pool(&[8001, 8002]), 1).is_whole());
    }

    #[test]
    fn a_ban_lasts_until_a_pardon_or_a_new_life() {
        let view = pool(&[8001, 8002, 8003]);
        let banned = view.next(&Change { bans: vec![view.seats[1].card.name.clone()], ..all_stay(&view) });
        let again = banned.next(&Change { joins: Some(card(8002, 1)), ..all_stay(&banned) });
        assert_eq!(again.seats[1].standing, Standing::Banned);
        let newer = banned.next(&Change { joins: Some(card(8002, 2)), ..all_stay(&banned) });
        assert_eq!(newer.seats[1].standing, Standing::Up);
        let pardoned = banned.next(&Change { pardons: vec![view.seats[1].card.name.clone()], ..all_stay(&banned) });
        assert_eq!(pardoned.seats[1].standing, Standing::Down);
    }

    #[test]
    fn deciding_takes_more_than_half_or_half_with_the_first_or_all_but_the_excused() {
        let view = pool(&[8001, 8002, 8003, 8004]);
        let decides = |yes: &[usize], excused: &[usize]| view.decides(|seat| yes.contains(&seat), |seat| excused.contains(&seat));
        assert!(decides(&[1, 2, 3], &[]) && decides(&[0, 3], &[]) && !decides(&[2, 3], &[]));
        assert!(decides(&[3], &[0, 1, 2]) && !decides(&[3], &[0, 1]) && !decides(&[], &[0, 1, 2, 3]));
    }

    #[test]
    fn a_pool_that_starts_from_journals_believes_only_those_of_the_last_view() {
        let two = without(&pool(&[8001, 8002, 8003]), 2);
        let settled = two.next(&Change { settles: true, ..all_stay(&two) });
        let present: Vec<Card> = [8001, 8002, 8003].map(|port| card(port, 2)).to_vec();
        let witnesses = [8001, 8002].map(|port| (card(port, 2).name, Role::Written));
        let again = View::first((2, 50), 2, &present, &[], Past::Kept(&settled, &witnesses));
        let roles: Vec<Role> = again.settled.iter().map(|settled| settled.role).collect();
        assert_eq!(roles, [Role::Written, Role::Written, Role::Skipped]);
        assert!(again.first_only && !again.is_whole());
    }

    #[test]
    fn who_has_not_heard_of_the_next_view_is_believed_if_that_gives_it_its_place() {
        let view = pool(&[8001, 8002, 8003]);
        let next = without(&view, 0);
        let believes = |next: &View, port: u16| next.goes_on_from(&view, &card(port, 1).name);
        assert!(believes(&next, 8002) && !believes(&next, 8001), "the first is gone by it");
        assert!(!believes(&without(&next, 1), 8003), "it has promised to go on from a view between");
        assert!(!believes(&View { flushes: 1, ..next }, 8002), "what it has was flushed");
    }

    #[test]
    fn who_has_not_heard_of_a_start_from_journals_is_believed_at_the_next_start() {
        let view = pool(&[8001, 8002]);
        let present = [card(8001, 2), card(8002, 2)];
        let start = |role| {
            let witnesses = [8001, 8002].map(|port| (card(port, 2).name, role));
            View::first((2, 50), 2, &present, &[], Past::Kept(&view, &witnesses))
        };
        let name = &card(8002, 1).name;
        assert!(start(Role::Written).goes_on_from(&view, name) && !start(Role::Here).goes_on_from(&view, name));
        let started = start(Role::Written);
        assert!(!started.next(&all_stay(&started)).goes_on_from(&view, name));
    }

    #[test]
    fn keys_may_be_lost_when_as_many_go_as_there_are_copies() {
        let view = pool(&[8001, 8002, 8003]);
        assert!(!view.may_lose_keys(|seat| seat != 0) && view.may_lose_keys(|seat| seat == 1));
        let two = without(&view, 0);
        assert!(two.may_lose_keys(|seat| seat == 1) && !two.may_lose_keys(|_| true));
    }
}
