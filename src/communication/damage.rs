//! Streams for the tests of parsers: pieces of a corpus, joined, and then damaged. However its bytes arrive, a parser must see the same in one.

use std::fmt::Debug;

use crate::prng::Prng;

/// Pieces that are joined to one stream.
const JOINED: u64 = 12;
/// Pieces that are joined to one that is to be damaged, and the most damages to it.
const DAMAGED: u64 = 6;
const MOST_DAMAGES: u64 = 12;
/// More than any stream has.
const ALL: usize = usize::MAX / 2;

/// What a parser sees of a stream that arrives in pieces of the lengths that the function draws, and how much it leaves unread.
pub type Feed<S> = fn(&[u8], &mut dyn FnMut() -> usize) -> (Vec<S>, usize);

/// Each piece of the corpus, and streams of several, mean the same however they arrive.
pub fn assert_the_same_in_any_pieces<S: Debug + PartialEq>(corpus: &[&[u8]], seeds: u64, feed: Feed<S>) {
    for piece in corpus {
        assert_eq!(feed(piece, &mut || 1), feed(piece, &mut || ALL), "{}", piece.escape_ascii());
    }
    for seed in 0..seeds {
        let mut prng = Prng::new(seed);
        let bytes = joined(corpus, JOINED, &mut prng);
        let expected = feed(&bytes, &mut || ALL);
        assert_eq!(feed(&bytes, &mut || 1), expected, "seed {seed}");
        assert_eq!(feed(&bytes, &mut || 1 + prng.below(40) as usize), expected, "seed {seed}");
    }
}

/// Damaged streams never panic, mean the same however they arrive, and make no more of their bytes than there are. Bytes of `spice`, which
/// mean something, come up more often than others.
pub fn assert_no_damage_matters<S: Debug + PartialEq>(corpus: &[&[u8]], spice: &[u8], seeds: u64, feed: Feed<S>) {
    for seed in 0..seeds {
        let mut prng = Prng::new(seed);
        let mut bytes = joined(corpus, DAMAGED, &mut prng);
        for _ in 0..prng.below(MOST_DAMAGES) {
            damage(&mut bytes, spice, &mut prng);
        }
        let (seen, left) = feed(&bytes, &mut || ALL);
        assert!(seen.len() <= bytes.len() && left <= bytes.len(), "seed {seed}");
        assert_eq!(feed(&bytes, &mut || 1), (seen, left), "seed {seed}");
    }
}

fn joined(corpus: &[&[u8]], pieces: u64, prng: &mut Prng) -> Vec<u8> {
    (0..pieces).flat_map(|_| corpus[prng.below(corpus.len() as u64) as usize]).copied().collect()
}

fn damage(bytes: &mut Vec<u8>, spice: &[u8], prng: &mut Prng) {
    let at = prng.below(bytes.len() as u64) as usize;
    match prng.below(4) {
        0 => bytes[at] = prng.next_u64() as u8,
        1 => bytes[at] = spice[prng.below(spice.len() as u64) as usize],
        2 => bytes.truncate(at.max(1)),
        _ => bytes.insert(at, prng.next_u64() as u8),
    }
}
