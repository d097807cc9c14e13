//! The ring: which node a key belongs to, exactly as libmemcached's weighted ketama says.
//!
//! Each member puts points on a circle of 2^32 places; a key belongs to the member of the first point at or after the key's own place.
//! A client library that is given the same list of servers computes the same ring, so it reaches the owner without a hop. The
//! arithmetic is therefore libmemcached's down to the rounding of its 32-bit floats: 25 equal servers get 156 points each and not 160.
//!
//! The ring is made of all members of the pool, up or not. Who is down is skipped when a key is looked up: the keys of the living
//! never move because somebody died.
//!
//! ```text
//!        place of key
//!             │
//!   ──●───────┴────●──────●─────────●──▶ 2^32 ─▶ 0
//!     B            A      A         C
//!                  └ owner; the next distinct members clockwise, here C and B, are its successors
//! ```

use super::MemberId;
use crate::hash;

/// Points of a member of average weight.
const POINTS_PER_MEMBER: f32 = 160.0;
/// One MD5 digest gives four points.
const POINTS_PER_DIGEST: u32 = 4;
/// The places of the ring.
const PLACES: u64 = 1 << 32;
/// The port that ketama leaves out of a server's name.
const UNNAMED_PORT: &str = ":11211";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    place: u32,
    /// Position in the list that the ring was made of: libmemcached's order among equal places.
    rank: u16,
    member: MemberId,
}

/// The points of all members, in order.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    points: Vec<Point>,
}

impl Ring {
    /// The ring of `members`: their names and weights. A member of weight 0 has no points.
    #[must_use]
    pub fn new<'a>(members: impl IntoIterator<Item = (MemberId, &'a str, u32)>) -> Ring {
        let members: Vec<_> = members.into_iter().collect();
        let total: u32 = members.iter().map(|(_, _, weight)| *weight).sum();
        let mut points = Vec::with_capacity(members.len() * POINTS_PER_MEMBER as usize);
        for (rank, (member, name, weight)) in members.iter().enumerate() {
            let base = name.strip_suffix(UNNAMED_PORT).unwrap_or(name);
            for digest_number in 0..digests_of(*weight, total, members.len()) {
                let digest = hash::md5(format!("{base}-{digest_number}").as_bytes());
                points.extend((0..POINTS_PER_DIGEST as usize).map(|quarter| Point {
                    place: hash::place_of(&digest, quarter),
                    rank: rank as u16,
                    member: *member,
                }));
            }
        }
        points.sort_unstable();
        Ring { points }
    }

    /// The first member clockwise from `place` that `is_up`.
    #[must_use]
    pub fn owner(&self, place: u32, is_up: impl Fn(MemberId) -> bool) -> Option<MemberId> {
        let first = self.first_at(place);
        let (before, after) = self.points.split_at(first);
        after.iter().chain(before).map(|point| point.member).find(|member| is_up(*member))
    }

    /// The last place that is between the same two points as this one, or the last of the ring.
    #[must_use]
    pub fn end_of(&self, place: u32) -> u32 {
        self.points.get(self.points.partition_point(|point| point.place < place)).map_or(u32::MAX, |point| point.place)
    }

    /// The members that are up, clockwise from `place`, each once, the owner first.
    #[must_use]
    pub fn holders(&self, place: u32, most: usize, is_up: impl Fn(MemberId) -> bool) -> Vec<MemberId> {
        let mut holders: Vec<MemberId> = Vec::with_capacity(most);
        let (before, after) = self.points.split_at(self.first_at(place));
        for member in after.iter().chain(before).map(|point| point.member) {
            if holders.len() == most {
                break;
            }
            if is_up(member) && !holders.contains(&member) {
                holders.push(member);
            }
        }
        holders
    }

    /// The part of the ring that `member` owns among those that are up, between 0 and 1.
    #[must_use]
    pub fn share(&self, member: MemberId, is_up: impl Fn(MemberId) -> bool) -> f64 {
        let up: Vec<&Point> = self.points.iter().filter(|point| is_up(point.member)).collect();
        let Some(last) = up.last() else { return 0.0 };
        let mut previous = u64::from(last.place);
        let mut owned = 0u64;
        for point in &up {
            let place = u64::from(point.place);
            // The first arc wraps; a ring of a single point is owned whole.
            let arc = (place + PLACES - previous) % PLACES;
            if point.member == member {
                owned += if arc == 0 && up.len() == 1 { PLACES } else { arc };
            }
            previous = place;
        }
        owned as f64 / PLACES as f64
    }

    /// The points in their order: where, and whose.
    pub fn points(&self) -> impl ExactSizeIterator<Item = (u32, MemberId)> {
        self.points.iter().map(|point| (point.place, point.member))
    }

    /// The members of the points from this number on, clockwise, once around: each as often as it has points.
    pub fn onward(&self, point: usize) -> impl Iterator<Item = MemberId> {
        let (before, after) = self.points.split_at(point.min(self.points.len()));
        after.iter().chain(before).map(|point| point.member)
    }

    /// The members clockwise from the point of this number, each once.
    pub fn clockwise(&self, point: usize) -> impl Iterator<Item = MemberId> {
        let mut seen: Vec<MemberId> = Vec::new();
        self.onward(point).filter(move |member| {
            let is_new = !seen.contains(member);
            if is_new {
                seen.push(*member);
            }
            is_new
        })
    }

    /// How many points there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Is there no point at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The number of the first point at or after `place`.
    #[must_use]
    pub fn first_at(&self, place: u32) -> usize {
        let at = self.points.partition_point(|point| point.place < place);
        if at == self.points.len() { 0 } else { at }
    }
}

/// How many digests a member of `weight` puts on the ring: libmemcached's arithmetic, step by step in 32-bit floats.
fn digests_of(weight: u32, total: u32, members: usize) -> u32 {
    if weight == 0 {
        return 0;
    }
    let part = weight as f32 / total as f32;
    let digests = f64::from(part * POINTS_PER_MEMBER / POINTS_PER_DIGEST as f32 * members as f32) + 1e-10;
    (digests as f32).floor() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(servers: &[(&str, u32)]) -> Ring {
        Ring::new(servers.iter().enumerate().map(|(index, (name, weight))| (MemberId(index as u16), *name, *weight)))
    }

    fn digest(ring: &Ring) -> String {
        let mut bytes = Vec::new();
        for point in &ring.points {
            bytes.extend(point.place.to_le_bytes());
            bytes.extend(u32::from(point.member.0).to_le_bytes());
        }
        hash::md5(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn four_rings_equal_libmemcacheds() {
        let a = ring(&[("10.0.0.1:11211", 1), ("10.0.0.2:11211", 1), ("10.0.0.3:11211", 1)]);
        assert_eq!((a.len(), digest(&a).as_str()), (480, "31f192fd9beec2eb57b5794c2320a6ca"));
        let b = ring(&[("127.0.0.1:7001", 1), ("127.0.0.1:7002", 1), ("127.0.0.1:7003", 1)]);
        assert_eq!((b.len(), digest(&b).as_str()), (480, "03d99cef44e32bdaa9c173f9ed44ba3e"));
        let c = ring(&[("127.0.0.1:7001", 1), ("127.0.0.1:7002", 2), ("127.0.0.1:7003", 5)]);
        assert_eq!((c.len(), digest(&c).as_str()), (480, "dabace96e647cfd6b31792249ca5a44a"));
        let names: Vec<String> = (1..=25).map(|n| format!("10.9.0.{n}:7001")).collect();
        let d = ring(&names.iter().map(|name| (name.as_str(), 1)).collect::<Vec<_>>());
        assert_eq!((d.len(), digest(&d).as_str()), (3_900, "316fcc83b0d131349e674e6ca9def164"));
    }

    #[test]
    fn a_dead_member_moves_its_own_keys_and_no_others() {
        let ring = ring(&[("a:1", 1), ("b:1", 2), ("c:1", 5), ("d:1", 1)]);
        for step in 0..4_096u32 {
            let place = step << 20;
            let before = ring.owner(place, |_| true).expect("somebody is up");
            let after = ring.owner(place, |member| member != MemberId(2)).expect("somebody is up");
            if before == MemberId(2) {
                assert_eq!(Some(&after), ring.holders(place, 2, |_| true).get(1));
            } else {
                assert_eq!(before, after);
            }
        }
    }

    #[test]
    fn holders_are_distinct_and_begin_with_the_owner() {
        let ring = ring(&[("a:1", 1), ("b:1", 1), ("c:1", 1)]);
        let holders = ring.holders(99, 5, |_| true);
        assert_eq!(holders.len(), 3);
        assert_eq!(holders.first().copied(), ring.owner(99, |_| true));
        assert_eq!(ring.holders(99, 2, |_| false), []);
        assert_eq!(Ring::default().owner(1, |_| true), None);
    }

    #[test]
    fn shares_add_up_and_three_equal_nodes_are_nearly_equal() {
        // The original put 3 points a node on its ring: its own three nodes got 7.9 %, 27.4 % and 64.8 % of the keys.
        let ring = ring(&[("127.0.0.1:8001", 1), ("127.0.0.1:8002", 1), ("127.0.0.1:8003", 1)]);
        let shares: Vec<f64> = (0..3).map(|member| ring.share(MemberId(member), |_| true)).collect();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(shares.iter().all(|share| (0.25..0.42).contains(share)), "{shares:?}");
        assert_eq!(ring.share(MemberId(1), |member| member == MemberId(1)), 1.0);
        assert_eq!(ring.share(MemberId(1), |member| member != MemberId(1)), 0.0);
    }

    #[test]
    fn a_member_without_weight_owns_nothing() {
        let ring = ring(&[("a:1", 0), ("b:1", 1)]);
        assert!((0..100).all(|step| ring.owner(step << 25, |_| true) == Some(MemberId(1))));
    }
}
