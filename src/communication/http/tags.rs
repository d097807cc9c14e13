//! Conditions by version: the tags of If-Match and If-None-Match.
//!
//! A tag of this server is a version in quotation marks, as its `ETag` says it. Others may be well-formed and are never matched. A reader
//! may name several (`"1", W/"2"`) or any (`*`). For If-None-Match a weak tag counts as the tag, for If-Match it counts as none: that is
//! how the standard compares them (RFC 9110, 8.8.3.2 and 13.1).
//!
//! A form keeps its tags until the reply is there, for each request that waits: so there are few, without an allocation.

use super::head::digits;
use super::refusal::{self, Refusal};
use crate::caching::Version;

/// Most versions that one condition can name.
pub const MOST_TAGS: usize = 4;

/// The tags of one condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    versions: [Version; MOST_TAGS],
    /// How many versions there are.
    count: u8,
    /// More versions were named than there is room for.
    overflown: bool,
    /// A tag was named that no version has.
    foreign: bool,
    /// `*` was named.
    any: bool,
}

/// How a weak tag compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weak {
    /// As if it were strong.
    Counts,
    /// Equal to nothing.
    IsForeign,
}

impl Tags {
    /// Adds the tags of a header's value; the header may come several times.
    pub fn add(&mut self, list: &[u8], weak: Weak) -> Result<(), Refusal> {
        if list.trim_ascii() == b"*" && !self.are_said() {
            self.any = true;
            return Ok(());
        }
        let mut rest = list.trim_ascii();
        loop {
            rest = self.add_first(rest, weak)?.trim_ascii_start();
            match rest.split_first() {
                None if !self.any => return Ok(()),
                Some((b',', behind)) => rest = behind.trim_ascii_start(),
                _ => return Err(refusal::BAD_TAG),
            }
        }
    }

    /// Was anything said?
    #[must_use]
    pub fn are_said(&self) -> bool {
        self.any || self.foreign || self.count > 0
    }

    /// Is it `*`?
    #[must_use]
    pub fn are_any(&self) -> bool {
        self.any
    }

    /// Is this version among them?
    #[must_use]
    pub fn name(&self, version: Version) -> bool {
        self.any || self.versions().contains(&version)
    }

    /// The versions named, as far as there was room for them.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions[..usize::from(self.count)]
    }

    /// Were more versions named than there is room for?
    #[must_use]
    pub fn are_too_many(&self) -> bool {
        self.overflown
    }

    /// Adds the tag that `list` begins with, and returns what is behind it.
    fn add_first<'a>(&mut self, list: &'a [u8], weak: Weak) -> Result<&'a [u8], Refusal> {
        let (is_weak, quoted) = list.strip_prefix(b"W/").map_or((false, list), |quoted| (true, quoted));
        let text = quoted.strip_prefix(b"\"").ok_or(refusal::BAD_TAG)?;
        let end = text.iter().position(|byte| *byte == b'"').ok_or(refusal::BAD_TAG)?;
        let (tag, behind) = (&text[..end], &text[end + 1..]);
        if tag.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
            return Err(refusal::BAD_TAG);
        }
        match version_in(tag) {
            Some(version) if !is_weak || weak == Weak::Counts => self.add_version(version),
            _ => self.foreign = true,
        }
        Ok(behind)
    }

    fn add_version(&mut self, version: Version) {
        if self.versions().contains(&version) {
            return;
        }
        match self.versions.get_mut(usize::from(self.count)) {
            Some(place) => {
                *place = version;
                self.count += 1;
            }
            None => self.overflown = true,
        }
    }
}

/// The version that a tag says. Only the form in which this server writes it counts.
fn version_in(tag: &[u8]) -> Option<Version> {
    let is_canonical = tag == b"0" || (tag.len() <= 20 && !tag.starts_with(b"0"));
    let text = std::str::from_utf8(tag).ok().filter(|_| is_canonical && digits(tag).is_some())?;
    text.parse().ok().map(Version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(list: &str, weak: Weak) -> Result<Tags, Refusal> {
        let mut tags = Tags::default();
        tags.add(list.as_bytes(), weak).map(|()| tags)
    }

    fn versions(list: &str, weak: Weak) -> Option<Vec<u64>> {
        tags(list, weak).ok().map(|tags| tags.versions().iter().map(|version| version.0).collect())
    }

    #[test]
    fn tags_come_alone_and_in_lists_and_over_several_headers() {
        assert_eq!(versions("\"7\"", Weak::IsForeign), Some(vec![7]));
        assert_eq!(versions(" \"7\" ,\"8\",\t\"7\" ", Weak::IsForeign), Some(vec![7, 8]));
        assert_eq!(versions("\"18446744073709551615\"", Weak::Counts), Some(vec![u64::MAX]));
        let mut both = tags("\"1\"", Weak::Counts).expect("a tag");
        both.add(b"\"2\"", Weak::Counts).expect("another");
        assert!(both.name(Version(1)) && both.name(Version(2)) && !both.name(Version(3)));
    }

    #[test]
    fn a_weak_tag_counts_where_it_should_and_is_nothing_where_it_should_not() {
        assert_eq!(versions("W/\"7\", \"8\"", Weak::Counts), Some(vec![7, 8]));
        assert_eq!(versions("W/\"7\", \"8\"", Weak::IsForeign), Some(vec![8]));
    }

    #[test]
    fn a_tag_that_no_version_has_is_said_and_matches_nothing() {
        for list in ["\"\"", "\"x\"", "\"07\"", "\"+7\"", "\"99999999999999999999\"", "\"a,b\"", "\"\u{e9}\""] {
            let tags = tags(list, Weak::Counts).expect(list);
            assert!(tags.are_said() && tags.versions().is_empty(), "{list}");
        }
    }

    #[test]
    fn a_star_is_any_version_and_stands_alone() {
        let any = tags(" * ", Weak::Counts).expect("a star");
        assert!(any.are_any() && any.name(Version(0)) && any.name(Version(9)));
        for list in ["*, \"7\"", "\"7\", *", "**"] {
            assert_eq!(tags(list, Weak::Counts), Err(refusal::BAD_TAG), "{list}");
        }
        for (first, second) in [("*", "\"7\""), ("\"7\"", "*"), ("*", "*")] {
            let mut both = tags(first, Weak::Counts).expect("one");
            assert_eq!(both.add(second.as_bytes(), Weak::Counts), Err(refusal::BAD_TAG), "{first} and {second}");
        }
    }

    #[test]
    fn what_is_no_tag_is_refused() {
        for list in ["", "7", "\"7", "7\"", "w/\"7\"", "W/7", "\"7\" \"8\"", "\"7\",", ",\"7\"", "\"a b\"", "\"7\"x", "W/ \"7\""] {
            assert_eq!(tags(list, Weak::Counts), Err(refusal::BAD_TAG), "{list}");
        }
    }

    #[test]
    fn there_is_room_for_a_few_and_more_are_noticed() {
        let list = |most: u64| (1..=most).map(|version| format!("\"{version}\"")).collect::<Vec<_>>().join(",");
        assert!(!tags(&list(MOST_TAGS as u64), Weak::Counts).expect("tags").are_too_many());
        assert!(tags(&list(MOST_TAGS as u64 + 1), Weak::Counts).expect("tags").are_too_many());
    }
}
