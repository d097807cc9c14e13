//! What there is to say of a pool whose nodes agree on views: the view, the lease, who is being filled and how far that is.
//!
//! What all nodes of a view say alike (seats, shares, lost redundancy) comes from the view and its placement; what is each node's own (its
//! lease, what it fills) from its pact. Nobody knows how far the others are in filling: each owner says it of its own part, and `monitor`
//! shows them side by side. Nothing here decides anything.

use crate::hash::KeyHash;
use crate::node::Node;
use crate::node::filling::Progress;
use crate::node::pact::{Pact, Route};
use crate::node::reply::{CopyLine, FillingLine, HolderLine, Part, RingLine, SeatLine, SelfLine, TieLine, ViewLine, Why};
use crate::time::Mono;
use crate::topology::MemberId;
use crate::topology::membership::Standing;
use crate::topology::placement::Placement;
use crate::topology::view::{Role, Standing as SeatStanding, View};

/// The places of the circle.
const PLACES: f64 = (1u64 << 32) as f64;

/// The parts of the ring that a seat owns, holds, and is to be filled with, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Shares {
    owned: f64,
    held: f64,
    lacked: f64,
}

/// How far this node is with all that it has to fill.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fillings {
    nodes: usize,
    /// The one that is least far.
    percent: f64,
    keys: u64,
    bytes: u64,
    bytes_per_s: u64,
    /// The one that takes longest; unknown if that of any is.
    left_ms: Option<u64>,
}

impl Node {
    /// The view, if nodes agree on views.
    pub(super) fn view_line(&self) -> Option<ViewLine> {
        let pact = self.pact.as_ref()?;
        Some(ViewLine {
            lineage: pact.id.lineage,
            epoch: pact.id.epoch,
            up: pact.view.as_ref().map_or(0, |view| view.up().count()),
            seats: pact.view.as_ref().map_or(0, |view| view.seats.len()),
            lost_redundancy: self.lost_redundancy(),
        })
    }

    /// This node's part in the view, if nodes agree on views.
    pub(super) fn self_line(&self, now: Mono) -> Option<SelfLine> {
        let pact = self.pact.as_ref()?;
        Some(SelfLine {
            node_id: self.me().node_id.clone(),
            epoch: pact.id.epoch,
            part: part_in(pact, now),
            lease_ms: lease_left(pact, now),
        })
    }

    /// The seats of a view, in the order of their names.
    pub(super) fn seat_lines(pact: &Pact, view: &View) -> Vec<RingLine> {
        let shares = shares_of(&pact.placement, view.seats.len());
        let line = |(index, shares): (usize, &Shares)| {
            let seat = &view.seats[index];
            let standing = word_of(view, index);
            RingLine {
                node_id: seat.card.node_id.clone(),
                name: seat.card.name.clone(),
                weight: seat.card.weight,
                share_percent: shares.owned,
                up: seat.is_up(),
                seat: Some(SeatLine { standing, held_percent: shares.held, lacked_percent: shares.lacked }),
            }
        };
        shares.iter().enumerate().map(line).collect()
    }

    /// What binds another node to this one, if nodes agree on views.
    pub(super) fn tie_line(&self, member: MemberId, now: Mono) -> Option<TieLine> {
        let pact = self.pact.as_ref()?;
        let tie = pact.ties.get(member.index());
        let pulse = tie.map(|tie| tie.pulse).unwrap_or_default();
        let seat = pact.seats.iter().position(|seated| *seated == member);
        let granted = tie.and_then(|tie| tie.granted).map_or(0, |sent| sent.plus(pact.lease_ms()).since(now));
        Some(TieLine {
            seat: seat.zip(pact.view.as_ref()).map_or("none", |(seat, view)| word_of(view, seat)),
            epoch: pulse.view.epoch,
            lease_ms: granted,
            fills_others: pulse.takes_part && pulse.view == pact.id && !pulse.has_filled,
            filling: self.filling.progress(now).find(|(filled, _)| *filled == member).map(|(_, progress)| line_of(progress)),
        })
    }

    /// Why a key is where it is, as far as this node knows.
    #[must_use]
    pub fn why(&self, key: &[u8], now: Mono) -> Why {
        let hash = self.hash(key);
        let spans = self.pact.iter().flat_map(|pact| pact.placement.spans());
        let span = spans.into_iter().find(|(from, to, _)| (*from..=*to).contains(&hash.place));
        let copy = self.cache.peek(key, hash, now).map(|entry| {
            let ttl_ms = (entry.expires() != Mono::NEVER).then(|| entry.expires().since(now));
            CopyLine { bytes: entry.value().len(), version: entry.version(), ttl_ms }
        });
        Why {
            node_id: self.me().node_id.clone(),
            because: self.reason(hash, now),
            place: hash.place,
            arc: span.map(|(from, to, _)| (from, to)),
            holders: self.holder_lines(hash),
            lacks_redundancy: span.is_some_and(|(_, _, arc)| arc.lacks_redundancy()),
            is_cold: span.is_some_and(|(_, _, arc)| arc.is_cold),
            copy,
            view: self.view_line(),
            part: self.self_line(now),
        }
    }

    fn holder_lines(&self, hash: KeyHash) -> Vec<HolderLine> {
        let (holders, complete) = self.holders(hash.place);
        if self.pact.as_ref().is_some_and(|pact| pact.view.is_none()) {
            return Vec::new();
        }
        let line = |(index, id): (usize, &MemberId)| {
            let member = self.membership.get(*id);
            let (node_id, name) = (member.card.node_id.clone(), member.card.name.clone());
            HolderLine { node_id, name, is_complete: index < complete, state: member.standing.word() }
        };
        holders.iter().enumerate().map(line).collect()
    }

    /// The reason why a key's owner is who it is, for a person.
    fn reason(&self, hash: KeyHash, now: Mono) -> String {
        let name = |member: MemberId| format!("node {}", self.membership.get(member).card.node_id);
        let Some(pact) = &self.pact else {
            let owner = self.membership.owner(hash.place);
            let first = |owner| format!("{} is the first clockwise from the key's place that is not down", name(owner));
            return owner.map_or_else(|| "no node is up that could own it".into(), first);
        };
        let epoch = pact.id.epoch;
        match pact.route(hash.place, now) {
            _ if pact.me.is_none() => "this node has no seat in a view: it waits to be let in".into(),
            Route::Here => format!("this node owns it by view {epoch} and holds a lease"),
            Route::There(owner) => format!("{} owns it by view {epoch}", name(owner)),
            Route::Later if pact.owns(hash.place) => {
                format!("this node owns it by view {epoch} and waits for a lease, or for the next view")
            }
            Route::Later => "no node is up that could own it".into(),
        }
    }

    /// What `stats` says of a pool whose nodes agree on views, behind all else.
    pub(super) fn view_stats(&self, pact: &Pact, now: Mono) -> Vec<(&'static str, String)> {
        let count = |word: &str| {
            pact.view.iter().map(|view| (0..view.seats.len()).filter(|seat| word_of(view, *seat) == word).count()).sum::<usize>()
        };
        let mut lines = vec![
            ("mirrors", self.mirrors().to_string()),
            ("views_adopted", self.aftermath.views.to_string()),
            ("seated", u8::from(pact.me.is_some()).to_string()),
            ("serving", u8::from(part_in(pact, now) == Part::Serving).to_string()),
            ("lease_ms", lease_left(pact, now).to_string()),
            ("seats_leaving", count("leaving").to_string()),
            ("seats_down", count("down").to_string()),
            ("seats_banned", count("banned").to_string()),
            ("seats_gone", count("gone").to_string()),
        ];
        lines.extend(self.filling_stats(pact, now));
        lines.extend([
            ("cold_arcs", self.aftermath.cold_arcs.to_string()),
            ("mirrored_changes", self.mirroring.mirrored.to_string()),
            ("mirrored_under_way", self.mirroring.under_way().to_string()),
        ]);
        lines
    }

    fn filling_stats(&self, pact: &Pact, now: Mono) -> Vec<(&'static str, String)> {
        let fillings = together(self.filling.progress(now).map(|(_, progress)| line_of(progress)));
        let is_filling = |seat: usize| {
            let pulse = pact.pulse_of(pact.seats[seat]);
            if Some(seat) == pact.me {
                !self.filling.is_done()
            } else {
                pulse.is_none_or(|pulse| pulse.view != pact.id || !pulse.has_filled)
            }
        };
        let owners = pact.view.iter().map(|view| view.up().filter(|seat| is_filling(*seat)).count()).sum::<usize>();
        let mut lines = vec![
            ("filling_owners", owners.to_string()),
            ("filling_nodes", fillings.nodes.to_string()),
            ("filled_nodes", self.filling.filled.to_string()),
            ("filling_percent", format!("{:.1}", fillings.percent)),
            ("filling_keys", fillings.keys.to_string()),
            ("filling_bytes", fillings.bytes.to_string()),
            ("filling_bytes_per_s", fillings.bytes_per_s.to_string()),
        ];
        lines.extend(fillings.left_ms.map(|left| ("filling_left_ms", left.to_string())));
        lines
    }
}

fn part_in(pact: &Pact, now: Mono) -> Part {
    match pact.me {
        None => Part::Seatless,
        Some(_) if pact.is_serving(now) => Part::Serving,
        Some(_) => Part::Waiting,
    }
}

/// Who needs nobody's grant has one for ever: no more is shown than a grant is worth.
fn lease_left(pact: &Pact, now: Mono) -> u64 {
    pact.me.map_or(0, |_| pact.lease_until.since(now).min(pact.lease_ms()))
}

/// A seat that is down is *gone* while the pool has not made good for it: its copies are still counted as lost.
fn word_of(view: &View, seat: usize) -> &'static str {
    let name = &view.seats[seat].card.name;
    let settled = view.settled.binary_search_by(|settled| settled.card.name.cmp(name)).ok();
    match view.seats[seat].standing {
        SeatStanding::Up => Standing::Up.word(),
        SeatStanding::Leaving => "leaving",
        SeatStanding::Banned => "banned",
        SeatStanding::Down if settled.is_some_and(|index| view.settled[index].role == Role::Gone) => "gone",
        SeatStanding::Down => "down",
    }
}

/// Goes once through the circle: a pool has many more arcs than seats.
fn shares_of(placement: &Placement, seats: usize) -> Vec<Shares> {
    let mut shares = vec![Shares::default(); seats];
    for (from, to, arc) in placement.spans() {
        let percent = 100.0 * (f64::from(to) - f64::from(from) + 1.0) / PLACES;
        arc.owner().iter().for_each(|owner| shares[*owner].owned += percent);
        arc.holders().for_each(|seat| shares[seat].held += percent);
        arc.filling().for_each(|seat| shares[seat].lacked += percent);
    }
    shares
}

fn line_of(progress: Progress) -> FillingLine {
    let Progress { percent, keys, bytes, for_ms } = progress;
    let left_ms = (percent > 0.0).then(|| (for_ms as f64 * (100.0 - percent) / percent) as u64);
    FillingLine { percent, keys, bytes, bytes_per_s: bytes.saturating_mul(1_000) / for_ms.max(1), left_ms }
}

fn together(lines: impl Iterator<Item = FillingLine>) -> Fillings {
    let none = Fillings { nodes: 0, percent: 100.0, keys: 0, bytes: 0, bytes_per_s: 0, left_ms: Some(0) };
    lines.fold(none, |sum, line| Fillings {
        nodes: sum.nodes + 1,
        percent: sum.percent.min(line.percent),
        keys: sum.keys + line.keys,
        bytes: sum.bytes + line.bytes,
        bytes_per_s: sum.bytes_per_s + line.bytes_per_s,
        left_ms: sum.left_ms.zip(line.left_ms).map(|(one, other)| one.max(other)),
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::topology::membership::Card;
    use crate::topology::view::{Change, Past};

    fn pool(copies: u32) -> View {
        let card = |port: u16| Card { incarnation: 1, ..Card::of_address(SocketAddr::from(([127, 0, 0, 1], port))) };
        View::first((1, 10), copies, &[card(8001), card(8002), card(8003)], &[], Past::Lost)
    }

    fn staying(view: &View, out: &[usize]) -> Change {
        Change { stays: (0..view.seats.len()).map(|index| !out.contains(&index)).collect(), ..Change::default() }
    }

    fn words(view: &View) -> Vec<&'static str> {
        (0..view.seats.len()).map(|seat| word_of(view, seat)).collect()
    }

    #[test]
    fn a_seat_is_gone_until_the_pool_has_made_good_for_it_and_down_afterwards() {
        let whole = pool(2);
        assert_eq!(words(&whole), ["up", "up", "up"]);
        let without = whole.next(&staying(&whole, &[1]));
        assert_eq!(words(&without), ["up", "gone", "up"]);
        let settled = without.next(&Change { settles: true, ..staying(&without, &[]) });
        assert_eq!(words(&settled), ["up", "down", "up"]);
        let leaving =
            settled.next(&Change { leaves: vec![true, false, false], bans: vec!["127.0.0.1:8003".into()], ..staying(&settled, &[]) });
        assert_eq!(words(&leaving), ["leaving", "down", "banned"]);
    }

    #[test]
    fn the_shares_of_a_view_are_its_placements_and_what_is_lacked_is_held_already() {
        let whole = pool(2);
        for view in [whole.clone(), whole.next(&staying(&whole, &[0]))] {
            let placement = Placement::new(&view);
            let shares = shares_of(&placement, 3);
            for (seat, shares) in shares.iter().enumerate() {
                let (owned, held) = placement.shares(seat);
                assert!((shares.owned - 100.0 * owned).abs() < 1e-6 && (shares.held - 100.0 * held).abs() < 1e-6, "{shares:?}");
                assert!(shares.lacked <= shares.held);
            }
            let lacked: f64 = shares.iter().map(|shares| shares.lacked).sum();
            assert_eq!(lacked > 0.0, placement.lost_redundancy() > 0);
        }
    }

    #[test]
    fn what_is_left_is_told_by_the_pace_so_far_and_not_at_the_very_beginning() {
        let half = line_of(Progress { percent: 25.0, keys: 10, bytes: 4_000, for_ms: 500 });
        assert_eq!(half, FillingLine { percent: 25.0, keys: 10, bytes: 4_000, bytes_per_s: 8_000, left_ms: Some(1_500) });
        assert_eq!(line_of(Progress::default()).left_ms, None);
        assert_eq!(line_of(Progress { percent: 100.0, ..Progress::default() }).left_ms, Some(0));
    }

    #[test]
    fn several_fillings_are_as_far_as_the_last_of_them() {
        let line = |percent, left_ms| FillingLine { percent, keys: 1, bytes: 2, bytes_per_s: 3, left_ms };
        let two = together([line(50.0, Some(10)), line(25.0, Some(30))].into_iter());
        assert_eq!(two, Fillings { nodes: 2, percent: 25.0, keys: 2, bytes: 4, bytes_per_s: 6, left_ms: Some(30) });
        assert_eq!(together([line(50.0, Some(10)), line(0.0, None)].into_iter()).left_ms, None);
        assert_eq!((together(std::iter::empty()).nodes, together(std::iter::empty()).percent), (0, 100.0));
    }
}
