//! The fuzz targets over their corpus and mutations of it, bounded, so that nobody needs cargo-fuzz to find the coarse mistakes.
//!
//! `FUZZ_ROUNDS=1000000` looks longer. Mutations are drawn from a fixed seed: a failure repeats, and prints its input.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use spydercache::prng::Prng;

/// Mutations of the corpus that each target is given.
const ROUNDS: u64 = 40_000;
/// Longest input.
const LONGEST: usize = 10_000;

#[test]
fn memcached_keeps_its_promises_for_any_bytes() {
    fuzz("memcached", targets::memcached::run);
}

#[test]
fn memcacheds_binary_protocol_keeps_its_promises_for_any_bytes() {
    fuzz("binary", targets::binary::run);
}

#[test]
fn http_keeps_its_promises_for_any_bytes() {
    fuzz("http", targets::http::run);
}

#[test]
fn redis_protocol_keeps_its_promises_for_any_bytes() {
    fuzz("resp", targets::resp::run);
}

#[test]
fn the_peer_channel_keeps_its_promises_for_any_bytes() {
    fuzz("peer", targets::peer::run);
}

#[test]
fn the_journals_reader_keeps_its_promises_for_any_bytes() {
    fuzz("journal", targets::journal::run);
}

#[test]
fn the_configuration_keeps_its_promises_for_any_text() {
    fuzz("config", targets::config::run);
}

fn fuzz(target: &str, run: fn(&[u8])) {
    let corpus = corpus(target);
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let mut prng = Prng::new(0xf022);
    let mutations = (0..rounds).map(|_| mutate(&corpus, &mut prng));
    for input in corpus.iter().cloned().chain([Vec::new()]).chain(mutations) {
        if panic::catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() {
            panic!("{target} breaks its promise for b\"{}\"", input.escape_ascii());
        }
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(folder).expect("a corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let corpus: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("a file")).collect();
    assert!(!corpus.is_empty(), "{target} has a corpus");
    corpus
}

/// A few changes to one input: bytes flipped, set, repeated, removed, or taken from another input.
fn mutate(corpus: &[Vec<u8>], prng: &mut Prng) -> Vec<u8> {
    let pick = |prng: &mut Prng| &corpus[prng.below(corpus.len() as u64) as usize];
    let mut input = pick(prng).clone();
    for _ in 0..1 + prng.below(6) {
        let at = prng.below(input.len() as u64 + 1) as usize;
        let end = at + prng.below((input.len() - at) as u64 + 1) as usize;
        match prng.below(6) {
            0 if at < input.len() => input[at] ^= 1 << prng.below(8),
            1 if at < input.len() => input[at] = b"\0\r\n 09-\xff"[prng.below(8) as usize],
            2 => drop(input.drain(at..end)),
            3 => {
                let repeated = input[at..end].to_vec();
                input.splice(at..at, repeated);
            }
            4 => {
                let other = pick(prng);
                let from = prng.below(other.len() as u64 + 1) as usize;
                input.splice(at..end, other[from..].iter().copied());
            }
            _ => input.insert(at, prng.next_u64() as u8),
        }
        input.truncate(LONGEST);
    }
    input
}
