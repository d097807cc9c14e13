//! HOW: sockets and dialects.
//!
//! [`event_loop`] is the only part that polls; [`connection`] is a client's two buffers and the replies it is owed; [`buffer`] is one of
//! those buffers. [`protocol`] tells the dialects apart and is the contract that each fulfils: [`memcached`] (with the verbs for people,
//! [`admin`]), [`binary`], [`http`], [`resp`]; [`access`] is the gate between them and the node; [`peer`] is what nodes say to each other. A codec knows
//! requests, replies and messages, and nothing of the node.

pub mod access;
mod admin;
mod base64;
pub mod binary;
pub mod buffer;
pub mod connection;
#[cfg(test)]
mod damage;
pub mod event_loop;
pub mod http;
pub mod lanes;
pub mod memcached;
pub mod peer;
pub mod protocol;
pub mod resp;
