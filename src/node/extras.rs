//! What stands beside a value: a few bytes of which the cache knows nothing.
//!
//! ```text
//!   ┌───────┬────────────────┬───────┐
//!   │ marks │ (seen version) │ media │     nothing at all, if there is nothing to say
//!   │   1   │     0 or 8     │   …   │
//!   └───────┴────────────────┴───────┘
//! ```

use super::command::MAX_MEDIA;
use crate::caching::Version;

const STALE: u8 = 1;
const CLAIMED: u8 = 2;
const HAS_SEEN_VERSION: u8 = 4;
const PIECED: u8 = 8;

/// What stands beside a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras<'a> {
    /// Somebody has said that the value is out of date.
    pub is_stale: bool,
    /// Somebody has been told to make it anew.
    pub is_claimed: bool,
    /// The value was put together from pieces.
    pub is_pieced: bool,
    /// The version that clients see, if one of them has chosen it.
    pub seen_version: Option<Version>,
    /// The type of the content.
    pub media: &'a [u8],
}

impl<'a> Extras<'a> {
    /// Reads what [`Extras::bytes`] has written. Bytes that make no sense say nothing.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Extras<'a> {
        let Some((marks, rest)) = bytes.split_first() else { return Extras::default() };
        let (seen_version, media) = match rest.split_first_chunk() {
            Some((version, media)) if marks & HAS_SEEN_VERSION != 0 => (Some(Version(u64::from_be_bytes(*version))), media),
            _ => (None, rest),
        };
        let is = |mark: u8| marks & mark != 0;
        Extras { is_stale: is(STALE), is_claimed: is(CLAIMED), is_pieced: is(PIECED), seen_version, media }
    }

    /// What is kept beside the value.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        if *self == Extras::default() {
            return Vec::new();
        }
        let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let of_value = bit(self.is_stale, STALE) | bit(self.is_claimed, CLAIMED) | bit(self.is_pieced, PIECED);
        let marks = of_value | bit(self.seen_version.is_some(), HAS_SEEN_VERSION);
        let mut bytes = vec![marks];
        bytes.extend(self.seen_version.iter().flat_map(|version| version.0.to_be_bytes()));
        bytes.extend_from_slice(if self.media.len() <= MAX_MEDIA { self.media } else { b"" });
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_again_and_nothing_takes_nothing() {
        assert_eq!(Extras::default().bytes(), b"");
        for mark in 0..8 {
            let (is_stale, is_claimed, is_pieced) = (mark & 1 != 0, mark & 2 != 0, mark & 4 != 0);
            for seen_version in [None, Some(Version(0)), Some(Version(u64::MAX))] {
                for media in [&b""[..], b"text/plain", &[b'm'; MAX_MEDIA]] {
                    let extras = Extras { is_stale, is_claimed, is_pieced, seen_version, media };
                    assert_eq!(Extras::of(&extras.bytes()), extras);
                    assert!(extras.bytes().len() < 255);
                }
            }
        }
        let long = [b'm'; MAX_MEDIA + 1];
        assert_eq!(Extras::of(&Extras { media: &long, ..Extras::default() }.bytes()), Extras::default());
    }
}
