//! What a node and its driver say to each other, beside commands and messages: whom an answer is for, what is to be done in the world, and
//! what the configuration says.

use std::net::SocketAddr;

use super::message::{Message, RequestId};
use super::reply::Reply;
use super::{Mistakes, Secret};
use crate::caching::cache::Bounds;
use crate::topology::MemberId;
use crate::topology::heartbeat::Pace;
use crate::topology::membership::Card;
use crate::topology::peers::LinkId;
use crate::topology::view::{Mirrors, ViewId};

/// A client's request that is owed an answer: the connection, which is never numbered twice, and which of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId {
    /// The connection.
    pub connection: u64,
    /// The request, in the order of the connection.
    pub slot: u64,
}

/// How another node asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// On this link.
    pub link: LinkId,
    /// To be repeated in the answer.
    pub id: RequestId,
    /// The view by which the key is this node's.
    pub view: ViewId,
    /// The request's number among the writes it forwards; 0 for what may be done twice.
    pub serial: u64,
}

/// What leaves the node. The driver carries it out in this order.
pub trait Outputs {
    /// Answer a client. `key` is the one it asked about.
    fn reply(&mut self, client: ClientId, key: &[u8], reply: &Reply<'_>);
    /// Say something to another node.
    fn send(&mut self, link: LinkId, message: &Message<'_>);
    /// Dial another node, and say how it went through [`Node::on_dialled`](super::Node::on_dialled) or [`Node::on_dial_failed`](super::Node::on_dial_failed).
    fn dial(&mut self, member: MemberId, address: SocketAddr);
    /// Close a link once everything said on it has left. [`Node::on_closed`](super::Node::on_closed) may follow, and changes nothing that counts.
    fn hang_up(&mut self, link: LinkId);
    /// Read the journal from its beginning to its present end, through [`Node::on_record`](super::Node::on_record), then call [`Node::on_replayed`](super::Node::on_replayed);
    /// or [`Node::on_replay_failed`](super::Node::on_replay_failed), if that cannot be begun.
    fn replay(&mut self);
    /// Write this down before anything else of this turn leaves, in place of what was kept before; [`Node::new`](super::Node::new) is given it in the next life.
    /// A power cut may undo it for as long as it may undo the records of the turn, and no longer.
    fn keep(&mut self, view: &[u8]);
}

/// What a node needs to know of its configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who it is.
    pub me: Card,
    /// The pool's name.
    pub pool: String,
    /// Whom it knows from the start.
    pub peers: Vec<SocketAddr>,
    /// Who keeps copies of this node's keys. With none, each node judges the others for itself; else they agree on views.
    pub mirrors: Mirrors,
    /// Go on without the silent ones, if they are too many for the others to decide?
    pub serve_on_silence: bool,
    /// How long a pool that was down as a whole waits for those that are missing.
    pub boot_wait_ms: u64,
    /// Its limits.
    pub bounds: Bounds,
    /// The largest value.
    pub max_value: usize,
    /// The pace of heartbeats.
    pub pace: Pace,
    /// How long a request may wait for another node.
    pub request_timeout_ms: u64,
    /// Must segments be on disk before those they replace are removed?
    pub sync_matters: bool,
    /// The seed of everything that is drawn; from the operating system, where there are attackers.
    pub seed: u64,
    /// What the nodes of the pool prove to each other.
    pub secret: Secret,
    /// What `stats settings` shows.
    pub shown: Vec<(String, String)>,
    /// For tests.
    pub mistakes: Mistakes,
}
