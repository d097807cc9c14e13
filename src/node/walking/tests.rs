//! A node by itself, and one whose peers do not answer.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::*;
use crate::node::command::{Admin, Expiry, Request, Store};
use crate::node::message::Message;
use crate::node::testing::{at, card, settings};
use crate::node::{ClientId, Settings};
use crate::topology::heartbeat::Pace;
use crate::topology::peers::LinkId;

const CLIENT: ClientId = ClientId { connection: 1, slot: 1 };
const TIMEOUT_MS: u64 = 1_000;
/// Pieces of a ring that one node owns.
const PIECES: usize = ((1u64 << 32) / PLACES_A_SCAN as u64) as usize;
/// Turns in which any walk of these tests has come to its end.
const TURNS: u64 = 2 * TIMEOUT_MS;

/// Keeps the pages and failures that clients are told.
#[derive(Default)]
struct Told(Vec<Result<Page, Failure>>);

impl Outputs for Told {
    fn reply(&mut self, _client: ClientId, _key: &[u8], reply: &Reply<'_>) {
        match reply {
            Reply::Page(page) => self.0.push(Ok((*page).clone())),
            Reply::Failed(failure) => self.0.push(Err((*failure).clone())),
            _ => {}
        }
    }
    fn send(&mut self, _link: LinkId, _message: &Message<'_>) {}
    fn dial(&mut self, _member: MemberId, _address: SocketAddr) {}
    fn hang_up(&mut self, _link: LinkId) {}
    fn replay(&mut self) {}
    fn keep(&mut self, _view: &[u8]) {}
}

fn node(peers: &[u16]) -> Node {
    let settings = Settings {
        peers: peers.iter().map(|port| card(*port, 1).address).collect(),
        pace: Pace { every_ms: 100, silence_ms: 10 * TIMEOUT_MS },
        request_timeout_ms: TIMEOUT_MS,
        ..settings(card(8001, 1))
    };
    Node::new(settings, None, None, at(0))
}

fn put(node: &mut Node, key: &str, expiry: Expiry) {
    let action = Action::Store(Store { expiry, ..Store::of(&b"value"[..]) });
    let command = Command { key: Cow::Borrowed(key.as_bytes()), action };
    node.on_command(at(0), CLIENT, node.hash_of(&command), &command, &mut Told::default());
}

/// A node of its own with keys of two kinds.
fn filled(count: usize) -> Node {
    let mut node = node(&[]);
    for number in 0..count {
        put(&mut node, &format!("{}{number}", if number % 3 == 0 { "other" } else { "user" }), Expiry::Never);
    }
    node
}

fn walk<'a>(from: u32, most: u32, prefix: &'a str, what: ScanFor) -> Walk<'a> {
    Walk { from, most, prefix: Cow::Borrowed(prefix.as_bytes()), pattern: Cow::Borrowed(b""), what, all_round: false }
}

/// The answer to a walk, and how many turns it took.
fn answer_to(node: &mut Node, walk: &Walk<'_>) -> (Result<Page, Failure>, u64) {
    let mut told = Told::default();
    node.on_request(at(0), CLIENT, KeyHash::default(), &Request::Admin(Admin::Walk(walk.clone())), &mut told);
    for turn in 1..=TURNS {
        node.on_tick(at(turn), &mut told);
        if let Some(answer) = told.0.pop() {
            assert!(told.0.is_empty(), "it is answered once");
            return (answer, turn);
        }
        assert!(node.wake_at(Mono(turn)) <= Mono(turn + TIMEOUT_MS), "it has asked to be called again");
    }
    panic!("no answer to {walk:?}");
}

/// The pages of a walk from the beginning of the ring to its end.
fn pages(node: &mut Node, most: u32, prefix: &str, what: ScanFor) -> Vec<Page> {
    let mut pages = Vec::new();
    let mut next = Some(0);
    while let Some(from) = next {
        let page = answer_to(node, &walk(from, most, prefix, what)).0.expect("a node by itself reaches all owners");
        next = page.next;
        assert!(next.is_none_or(|next| next > from));
        pages.push(page);
    }
    pages
}

fn listed(node: &mut Node, most: u32, prefix: &str) -> Vec<Vec<u8>> {
    pages(node, most, prefix, ScanFor::Keys).into_iter().flat_map(|page| page.keys).collect()
}

#[test]
fn each_key_is_listed_once_and_in_the_order_of_places_however_few_are_asked_for_at_once() {
    let mut node = filled(900);
    for most in [1, 7, 400, 5_000] {
        let keys = listed(&mut node, most, "");
        assert_eq!((keys.len(), keys.iter().collect::<BTreeSet<_>>().len()), (900, 900), "{most} at once");
        assert!(keys.is_sorted_by_key(|key| node.hash(key).place), "{most} at once");
    }
    let pages = pages(&mut node, 100, "", ScanFor::Keys);
    assert!(pages.iter().rev().skip(1).all(|page| page.keys.len() == 100 && page.count == 100), "a page is full, but for the last");
}

#[test]
fn a_walk_all_round_lists_each_key_once_from_where_it_begins_up_to_there() {
    for (count, most) in [(0, 9), (1, 9), (90, 1_000), (900, 128)] {
        let mut node = filled(count);
        for from in [0, 1, 1 << 20, 1 << 31, u32::MAX] {
            let round = Walk { all_round: true, ..walk(from, most, "", ScanFor::Keys) };
            let page = answer_to(&mut node, &round).0.expect("a node by itself reaches all owners");
            let keys: BTreeSet<_> = page.keys.iter().collect();
            assert_eq!((keys.len(), page.keys.len() as u64), (count.min(most as usize), page.count), "{count} from {from}");
            assert!(page.keys.is_sorted_by_key(|key| node.hash(key).place.wrapping_sub(from)), "{count} from {from}");
        }
    }
}

#[test]
fn only_keys_that_begin_as_asked_and_live_are_listed_and_counted() {
    let mut node = filled(90);
    put(&mut node, "user-gone", Expiry::InMs(0));
    put(&mut node, "user-short", Expiry::InMs(1));
    assert!(listed(&mut node, 1_000, "user").iter().all(|key| key.starts_with(b"user") && !key.starts_with(b"user-")));
    assert_eq!((listed(&mut node, 1_000, "user").len(), listed(&mut node, 1_000, "other").len()), (60, 30));
    assert_eq!(listed(&mut node, 1_000, "nobody"), Vec::<Vec<u8>>::new());
    let counted = pages(&mut node, 1_000, "user", ScanFor::Count);
    assert_eq!(counted, [Page { keys: Vec::new(), count: 60, next: None }]);
}

#[test]
fn a_removal_takes_what_begins_so_up_to_its_limit_and_nothing_else() {
    let mut node = filled(300);
    let (first, _) = answer_to(&mut node, &walk(0, 50, "user", ScanFor::Removal));
    assert_eq!(first.map(|page| (page.count, page.next.is_some())), Ok((50, true)));
    assert_eq!(node.cache().len(), 250);
    let removed: u64 = pages(&mut node, 50, "user", ScanFor::Removal).iter().map(|page| page.count).sum();
    assert_eq!((removed, node.cache().len()), (150, 100));
    assert_eq!((listed(&mut node, 1_000, "user").len(), listed(&mut node, 1_000, "").len()), (0, 100));
}

#[test]
fn an_empty_pool_is_gone_through_in_one_call_and_many_turns() {
    let (page, turns) = answer_to(&mut node(&[]), &walk(0, 1, "", ScanFor::Keys));
    assert_eq!(page, Ok(Page::default()));
    assert_eq!(turns, PIECES.div_ceil(STEPS_A_TURN) as u64 + 1, "no turn takes more than its steps");
}

#[test]
fn a_page_ends_in_time_with_what_it_has() {
    let mut node = node(&[]);
    let mut told = Told::default();
    let request = Request::Admin(Admin::Walk(walk(0, 10, "", ScanFor::Keys)));
    node.on_request(at(0), CLIENT, KeyHash::default(), &request, &mut told);
    node.on_tick(at(1), &mut told);
    assert!(told.0.is_empty(), "it has not come to its end, and there is time");
    node.on_tick(at(TIMEOUT_MS / 2), &mut told);
    let Some(Ok(Page { count: 0, next: Some(_), .. })) = told.0.pop() else { panic!("an empty page that says where to go on") };
}

#[test]
fn a_turn_that_has_looked_at_many_entries_looks_at_no_more() {
    let mut node = filled(3 * ENTRIES_A_TURN);
    let (page, turns) = answer_to(&mut node, &walk(0, u32::MAX, "", ScanFor::Count));
    assert_eq!(page.map(|page| page.count), Ok(3 * ENTRIES_A_TURN as u64));
    assert!(turns > PIECES.div_ceil(STEPS_A_TURN) as u64, "{turns}");
}

#[test]
fn keys_of_one_place_are_never_torn_apart() {
    let keys: Vec<(KeyHash, &[u8])> =
        [(1, "a"), (2, "b"), (2, "c"), (2, "d"), (3, "e")].map(|(place, key)| (KeyHash { place, table: 0 }, key.as_bytes())).to_vec();
    let taken = |keys: &[(KeyHash, &[u8])], most: u32| {
        how_many(keys, &Scan { from: 0, most, prefix: Cow::Borrowed(b""), pattern: Cow::Borrowed(b""), what: ScanFor::Keys })
    };
    assert_eq!([0, 1, 2, 3, 4, 5, 9].map(|most| taken(&keys, most)), [1, 1, 1, 1, 4, 5, 5]);
    assert_eq!([0, 1, 2, 3, 4].map(|most| taken(&keys[1..], most)), [3, 3, 3, 3, 4], "one place at least");
}

#[test]
fn the_answer_to_a_scan_has_no_more_keys_than_fit_in_a_frame() {
    let long = vec![b'x'; BYTES_A_SCAN / 4];
    let keys: Vec<(KeyHash, &[u8])> = (0..9).map(|place| (KeyHash { place, table: 0 }, &long[..])).collect();
    let scan = |what| Scan { from: 0, most: 100, prefix: Cow::Borrowed(b""), pattern: Cow::Borrowed(b""), what };
    assert_eq!([ScanFor::Keys, ScanFor::Count].map(|what| how_many(&keys, &scan(what))), [3, 9]);
}

#[test]
fn pieces_cover_the_ring_once_and_each_is_of_one_owner_and_no_longer_than_it_may_be() {
    let node = node(&[8002, 8003]);
    let (mut from, mut pieces, mut own) = (0u32, 0, 0);
    loop {
        let owner = node.membership.owner(from);
        // A node is asked for what it owns: of another's place it knows where the arc ends.
        let end = if owner == Some(MemberId::ME) { node.piece_end(from) } else { node.membership.end_of(from) };
        own += u32::from(owner == Some(MemberId::ME));
        for place in [from, from + (end - from) / 2, end] {
            assert_eq!(node.membership.owner(place), owner, "{from:#x} to {end:#x}");
        }
        assert!(owner != Some(MemberId::ME) || from / PLACES_A_SCAN == end / PLACES_A_SCAN, "{from:#x} to {end:#x}");
        pieces += 1;
        let Some(next) = end.checked_add(1) else { break };
        from = next;
    }
    assert!(own > PIECES as u32 / 4 && pieces > own, "{own} of {pieces}");
}

#[test]
fn a_walk_fails_when_an_owner_cannot_be_reached_in_time_and_names_no_page_without_its_keys() {
    let mut node = node(&[8002, 8003]);
    let (answer, _) = answer_to(&mut node, &walk(0, 1_000_000, "", ScanFor::Keys));
    assert_eq!(answer, Err(Failure::Unreachable));
    assert!(!node.owes_answers());
}

#[test]
fn more_walks_than_may_wait_are_refused_at_once() {
    let (mut node, mut told) = (filled(1), Told::default());
    for _ in 0..=MOST_WALKS {
        let request = Request::Admin(Admin::Walk(walk(0, 1, "", ScanFor::Keys)));
        node.on_request(at(0), CLIENT, KeyHash::default(), &request, &mut told);
    }
    assert_eq!(told.0, [Err(Failure::Overloaded)]);
}

#[test]
fn only_keys_that_fit_the_pattern_are_listed() {
    let mut node = filled(100);
    let mut listed = |pattern: &'static [u8]| {
        let walk = Walk { pattern: Cow::Borrowed(pattern), ..walk(0, u32::MAX, "", ScanFor::Keys) };
        let mut keys = answer_to(&mut node, &walk).0.expect("a page").keys;
        keys.sort();
        keys
    };
    assert_eq!(
        listed(b"*1?"),
        (10..20)
            .map(|number| if number % 3 == 0 { format!("other{number}") } else { format!("user{number}") }.into_bytes())
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
    assert_eq!(listed(b"[^u]*").len(), 34);
    assert_eq!(listed(b"nothing*"), Vec::<Vec<u8>>::new());
}
