//! SpyderCache: a pooled cache that any memcached or HTTP client can use, at any node.
//!
//! # The way of a request
//!
//! ```text
//!  client ──bytes──▶ communication ──Request──▶ node ──here──▶ caching ──Record──▶ journal
//!                     event_loop                 │  ▲
//!                     connection                 │  └─Answer── the owner's node ◀─┐
//!                     memcached, http, resp          └─elsewhere──▶ topology: who? ──Message──▶ (peer channel)
//!  client ◀─bytes─── composed by the codec ◀──Reply── node
//! ```
//!
//! Three layers keep the names of the project that this one re-creates. [`topology`] is WHO: the ring, the members, their heartbeats.
//! [`caching`] is WHAT: entries, limits, expiry, the journal. [`communication`] is HOW: sockets and dialects. [`node`] is the core that
//! joins who and what. Topology, caching and node do no I/O and read no clock: the event loop and the simulator drive the same code.
//!
//! # Lexicon
//!
//! - *owner*: the node that speaks for a key: the first one up, clockwise from the key's place on the ring.
//! - *place*: where a key stands on the ring, 32 bits of its MD5. *Arc*: the ring between two neighbouring points.
//! - *entry node*: the node a client is connected to. It *forwards* what it does not own, and *parks* the request until the answer.
//! - *incarnation*: which life of a node this is; grows at every start of its process.
//! - *version*: (epoch, sequence) of a write; never repeats. memcached calls it cas unique, HTTP calls it ETag.
//! - *turn*: one round of the event loop. *Link*: a connection between two nodes.
//! - *journal*: the segments of records on disk; to *reconstruct* is to read them back.
//!
//! In a pool with mirrors, besides:
//!
//! - *view*: who takes part and where the keys are, agreed on by all. *Epoch*: its number. *Lineage*: views that succeed one another; a
//!   pool that was down as a whole begins a new one.
//! - *seat*: a member in a view.
//! - *holder*: a node that gets a key's writes, its owner included. It is *complete* if it has all there is to have of the key's arc, and
//!   *filling* until then. A *mirror* is a holder that is not the owner.
//! - *lease*: the others' word, for a while, that they will not go on without a node. Only with one does it serve.
//!
//! # Modules, in reading order

pub mod caching;
pub mod communication;
pub mod config;
pub mod disk;
pub mod glob;
pub mod hash;
pub mod msgpack;
pub mod node;
pub mod prng;
pub mod stats;
pub mod time;
pub mod tools;
pub mod topology;
