//! A key's two numbers: its place on the ring, and its hash in the table. Both come from one MD5.
//!
//! The ring is ketama's, which is defined by MD5: a key's place is the first four bytes of its digest, little endian, the same on every
//! node and in every client library. Eight further bytes, mixed with a seed of this process, make the hash for the table: whoever
//! chooses the keys cannot choose their slots, and a second hash function over the key is saved.
//!
//! Nodes that compare what they hold cannot name keys by a number that only one of them knows. They use a third, [`digest_of`], from the
//! same MD5 and without a seed. Whoever chooses the keys can make two with the same: it stands for a key only together with a version.

use md5::{Digest, Md5};

/// The two numbers of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KeyHash {
    /// The place on the ring. Equal on every node.
    pub place: u32,
    /// The hash in this process's tables. Says nothing outside it.
    pub table: u64,
}

/// Hashes keys, with this process's seed.
#[derive(Clone, Debug)]
pub struct Hasher {
    seed: u64,
}

impl Hasher {
    /// A hasher whose table hashes depend on `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Hasher {
        Hasher { seed: seed | 1 }
    }

    /// The two numbers of `key`.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let digest: [u8; 16] = Md5::digest(key).into();
        let word = u64::from_le_bytes([digest[4], digest[5], digest[6], digest[7], digest[8], digest[9], digest[10], digest[11]]);
        KeyHash { place: place_of(&digest, 0), table: fold(word ^ self.seed, 0x9e37_79b9_7f4a_7c15 ^ self.seed) }
    }
}

/// The place of `key`, and 64 bits that stand for it between nodes: both equal on every node.
#[must_use]
pub fn digest_of(key: &[u8]) -> (u32, u64) {
    let digest = md5(key);
    let word = u64::from_le_bytes([digest[8], digest[9], digest[10], digest[11], digest[12], digest[13], digest[14], digest[15]]);
    (place_of(&digest, 0), word)
}

/// The `quarter`-th little-endian 32-bit number (0 to 3) of an MD5 digest.
#[must_use]
pub fn place_of(digest: &[u8; 16], quarter: usize) -> u32 {
    let at = quarter * 4;
    u32::from_le_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]])
}

/// The MD5 of `bytes`.
#[must_use]
pub fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// Multiplies to 128 bits and folds the halves: every input bit reaches every output bit.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ketamas() {
        let hasher = Hasher::new(1);
        for (key, place) in [("a", 3_111_502_092), ("b", 4_267_699_090), ("foo", 3_675_831_724), ("user:1", 282_964_413)] {
            assert_eq!(hasher.hash(key.as_bytes()).place, place, "{key}");
        }
    }

    #[test]
    fn digests_are_the_upper_half_of_the_md5_and_come_with_the_place() {
        // md5("a") is 0cc175b9c0f1b6a8 31c399e269772661.
        assert_eq!(digest_of(b"a"), (0xb975_c10c, 0x6126_7769_e299_c331));
        for key in [&b""[..], b"foo", b"user:1"] {
            assert_eq!(digest_of(key).0, Hasher::new(9).hash(key).place);
        }
    }

    #[test]
    fn table_hashes_depend_on_the_seed_and_places_do_not() {
        let (one, two) = (Hasher::new(1), Hasher::new(2 << 32));
        assert_eq!(one.hash(b"k").place, two.hash(b"k").place);
        assert_ne!(one.hash(b"k").table, two.hash(b"k").table);
        assert_eq!(one.hash(b"k"), one.hash(b"k"));
    }
}
