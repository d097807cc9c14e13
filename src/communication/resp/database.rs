//! Sixteen databases in one keyspace.
//!
//! Database 0 is the pool's own keys, which every dialect sees. A key of another one stands in the pool behind a hidden prefix:
//!
//! ```text
//!   database 0    key            "key"
//!   database 3    key            "\0" "3:" "key"
//!   database 0    "\0" ...       "\x01\0" "\0" ...      a key that would look like another database's, and the empty one
//! ```
//!
//! So whatever does not begin with a zero byte is of database 0, and no key of one database can name one of another.

use std::borrow::Cow;

/// How many there are.
pub(super) const DATABASES: u8 = 16;
/// Stands before a key of database 0 that would be taken for another's.
const ESCAPE: &[u8] = b"\x01\0";

/// A database, by its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Database(pub u8);

impl Database {
    /// The key as it stands in the pool.
    #[inline]
    pub(super) fn stored<'a>(self, key: &'a [u8]) -> Cow<'a, [u8]> {
        match (self.0, key.first()) {
            (0, Some(first)) if *first > 1 || (*first == 1 && !key.starts_with(ESCAPE)) => Cow::Borrowed(key),
            (0, _) => Cow::Owned([ESCAPE, key].concat()),
            _ => Cow::Owned([&self.prefix(), key].concat()),
        }
    }

    /// The key as this database's clients know it; nothing if it is another's.
    pub(super) fn shown(self, stored: &[u8]) -> Option<&[u8]> {
        match self.0 {
            0 if stored.first() == Some(&0) => None,
            0 => Some(stored.strip_prefix(ESCAPE).unwrap_or(stored)),
            _ => stored.strip_prefix(&self.prefix()[..]),
        }
    }

    /// A pattern that fits this database's keys, as they stand in the pool, and no others.
    pub(super) fn all(self) -> Vec<u8> {
        if self.0 == 0 { b"[^\0]*".to_vec() } else { [&self.prefix()[..], b"*"].concat() }
    }

    /// `pattern`, for keys as they stand in the pool. It may fit keys of other databases, which [`Database::shown`] does not show.
    pub(super) fn stored_pattern(self, pattern: &[u8]) -> Vec<u8> {
        match (self.0, pattern.first()) {
            (0, Some(b'*')) if pattern.len() == 1 => self.all(),
            (0, Some(0)) => [ESCAPE, pattern].concat(),
            (0, _) => pattern.to_vec(),
            _ => [&self.prefix(), pattern].concat(),
        }
    }

    fn prefix(self) -> Vec<u8> {
        format!("\0{}:", self.0).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glob::fits;

    const KEYS: [&[u8]; 8] = [b"", b"key", b"\0", b"\x003:key", b"\x01", b"\x01\0", b"\x01\0\x003:key", b"\xff"];

    #[test]
    fn no_two_keys_of_two_databases_are_one_in_the_pool() {
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for number in 0..DATABASES {
            let database = Database(number);
            for key in KEYS {
                let stored = database.stored(key).into_owned();
                assert_eq!(database.shown(&stored), Some(key));
                assert!(!stored.is_empty() && fits(&database.all(), &stored));
                for other in (0..DATABASES).filter(|other| *other != number).map(Database) {
                    assert_eq!(other.shown(&stored), None, "{}", stored.escape_ascii());
                    assert!(!fits(&other.all(), &stored));
                }
                seen.push(stored);
            }
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn plain_keys_of_database_0_are_the_pools_own() {
        assert!(matches!(Database(0).stored(b"key"), Cow::Borrowed(b"key")));
        assert_eq!(&Database(3).stored(b"key")[..], b"\x003:key");
    }
}
