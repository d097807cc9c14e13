//! The ring against libmemcached's own, and against a model that cannot be wrong because it is slow.
//!
//! `tests/ring/libmemcached.txt` holds what the C library computed: points, and which server it gives keys to. If one of these fails, a
//! client library that is given the pool's addresses no longer reaches a key's owner at once.

use spydercache::hash::{Hasher, md5};
use spydercache::prng::Prng;
use spydercache::topology::MemberId;
use spydercache::topology::ring::Ring;

/// A ring that libmemcached computed.
#[derive(Default)]
struct Vector {
    name: String,
    servers: Vec<(String, u32, usize)>,
    points: Vec<(u32, u16)>,
    md5: String,
    keys: Vec<(u32, u16, String)>,
}

fn vectors() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = Vec::new();
    let lines = include_str!("ring/libmemcached.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        if let ["ring", name] = words[..] {
            vectors.push(Vector { name: name.into(), ..Vector::default() });
            continue;
        }
        let vector = vectors.last_mut().expect("a ring comes first");
        match words[..] {
            ["server", name, weight, points] => vector.servers.push((name.into(), number(weight), number(points) as usize)),
            ["point", place, server] => vector.points.push((number(place), number(server) as u16)),
            ["md5", digest] => vector.md5 = digest.into(),
            ["key", place, server, key] => vector.keys.push((number(place), number(server) as u16, key.into())),
            _ => panic!("no line of this file: {line}"),
        }
    }
    vectors
}

fn number(word: &str) -> u32 {
    word.parse().expect("a number")
}

impl Vector {
    fn ring(&self) -> Ring {
        let members = self.servers.iter().enumerate();
        Ring::new(members.map(|(rank, (name, weight, _))| (MemberId(rank as u16), name.as_str(), *weight)))
    }
}

/// The model: every point as the definition says, in one list, searched from its beginning.
fn model(servers: &[(String, u32, usize)]) -> Vec<(u32, u16)> {
    let mut points = Vec::new();
    for (rank, (name, _, count)) in servers.iter().enumerate() {
        let name = name.strip_suffix(":11211").unwrap_or(name);
        for digest in (0..count / 4).map(|number| md5(format!("{name}-{number}").as_bytes())) {
            let quarters = digest.chunks_exact(4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")));
            points.extend(quarters.map(|place| (place, rank as u16)));
        }
    }
    points.sort_unstable();
    points
}

#[test]
fn points_are_libmemcacheds() {
    let all = vectors();
    assert!(all.len() >= 5, "the rings are there");
    for vector in all {
        let points = model(&vector.servers);
        let bytes: Vec<u8> = points.iter().flat_map(|(place, server)| [*place, u32::from(*server)]).flat_map(u32::to_le_bytes).collect();
        let digest: String = md5(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, vector.md5, "the model of {}", vector.name);
        let ring = vector.ring();
        assert_eq!(ring.len(), points.len(), "{}", vector.name);
        for (place, server) in vector.points.iter().chain(&points) {
            assert_eq!(ring.owner(*place, |_| true), Some(MemberId(*server)), "{} at {place}", vector.name);
        }
    }
}

#[test]
fn keys_go_where_libmemcached_sends_them() {
    let hasher = Hasher::new(1);
    for vector in vectors() {
        let ring = vector.ring();
        for (place, server, key) in &vector.keys {
            assert_eq!(hasher.hash(key.as_bytes()).place, *place, "{key}");
            assert_eq!(ring.owner(*place, |_| true), Some(MemberId(*server)), "{key} in {}", vector.name);
        }
    }
}

#[test]
fn a_look_up_finds_what_a_search_through_all_points_finds_whoever_is_up() {
    let mut prng = Prng::new(7);
    for vector in vectors() {
        let (ring, points) = (vector.ring(), model(&vector.servers));
        for _ in 0..2_000 {
            let (place, up) = (prng.next_u64() as u32, prng.next_u64());
            let is_up = |member: MemberId| up >> (member.0 % 64) & 1 == 1;
            let behind = points.iter().filter(|(at, _)| *at >= place).chain(&points);
            let mut expected: Vec<MemberId> = Vec::new();
            for member in behind.map(|(_, server)| MemberId(*server)).filter(|member| is_up(*member)) {
                if !expected.contains(&member) {
                    expected.push(member);
                }
            }
            assert_eq!(ring.owner(place, is_up), expected.first().copied());
            assert_eq!(ring.holders(place, 3, is_up), expected[..expected.len().min(3)]);
        }
    }
}

#[test]
fn keys_of_the_living_never_move_when_somebody_dies_or_joins() {
    let names: Vec<String> = (0..11).map(|number| format!("10.0.0.{number}:7001")).collect();
    let ring = |count: usize| Ring::new(names[..count].iter().enumerate().map(|(rank, name)| (MemberId(rank as u16), name.as_str(), 1)));
    let (ten, eleven) = (ring(10), ring(11));
    let mut prng = Prng::new(3);
    for place in (0..20_000).map(|_| prng.next_u64() as u32) {
        let before = ten.owner(place, |_| true);
        let without = ten.owner(place, |member| member != MemberId(4));
        assert!(before == without || before == Some(MemberId(4)), "a key of another has moved");
        let with = eleven.owner(place, |_| true);
        assert!(before == with || with == Some(MemberId(10)), "a key has moved to somebody who was there before");
    }
}
