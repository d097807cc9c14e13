//! What the parsers promise for any bytes at all, as functions that panic if one of them breaks it.
//!
//! cargo-fuzz calls them with inputs that it finds (`fuzz_targets/`); the ordinary suite with the same corpus and mutations of it, bounded
//! (`tests/fuzzing.rs`). Each target says in its page what it holds the parser to: more than that it does not panic.

pub mod binary;
pub mod config;
pub mod dialogue;
pub mod http;
pub mod journal;
pub mod memcached;
pub mod peer;
pub mod resp;
