//! What the tests of a node's parts share: a driver that does nothing, and the settings of a node that knows nobody.

use std::net::SocketAddr;

use super::message::Message;
use super::reply::Reply;
use super::{ClientId, Mistakes, Outputs, Secret, Settings};
use crate::caching::cache::Bounds;
use crate::time::{Mono, Now, Wall};
use crate::topology::MemberId;
use crate::topology::heartbeat::Pace;
use crate::topology::membership::Card;
use crate::topology::peers::LinkId;
use crate::topology::view::Mirrors;

/// Nothing that leaves the node arrives.
pub(super) struct Nowhere;

impl Outputs for Nowhere {
    fn reply(&mut self, _client: ClientId, _key: &[u8], _reply: &Reply<'_>) {}
    fn send(&mut self, _link: LinkId, _message: &Message<'_>) {}
    fn dial(&mut self, _member: MemberId, _address: SocketAddr) {}
    fn hang_up(&mut self, _link: LinkId) {}
    fn replay(&mut self) {}
    fn keep(&mut self, _view: &[u8]) {}
}

/// Nothing that leaves the node arrives, and of its messages what is picked is kept.
pub(super) struct Overheard<T>(pub Vec<T>, pub fn(&Message<'_>) -> Option<T>);

impl<T> Outputs for Overheard<T> {
    fn reply(&mut self, _client: ClientId, _key: &[u8], _reply: &Reply<'_>) {}
    fn send(&mut self, _link: LinkId, message: &Message<'_>) {
        self.0.extend((self.1)(message));
    }
    fn dial(&mut self, _member: MemberId, _address: SocketAddr) {}
    fn hang_up(&mut self, _link: LinkId) {}
    fn replay(&mut self) {}
    fn keep(&mut self, _view: &[u8]) {}
}

/// Both clocks show so many milliseconds.
pub(super) fn at(ms: u64) -> Now {
    Now { mono: Mono(ms), wall: Wall(ms) }
}

/// The card of a life on a port of this host.
pub(super) fn card(port: u16, incarnation: u64) -> Card {
    Card { incarnation, ..Card::of_address(([127, 0, 0, 1], port).into()) }
}

/// The settings of a node that knows nobody and keeps no mirrors.
pub(super) fn settings(me: Card) -> Settings {
    Settings {
        me,
        pool: "pool".into(),
        peers: Vec::new(),
        mirrors: Mirrors::Next(0),
        serve_on_silence: false,
        boot_wait_ms: 10_000,
        bounds: Bounds::default(),
        max_value: 1 << 20,
        pace: Pace { every_ms: 100, silence_ms: 500 },
        request_timeout_ms: 1_000,
        sync_matters: false,
        seed: 1,
        secret: Secret::default(),
        shown: Vec::new(),
        mistakes: Mistakes::default(),
    }
}
