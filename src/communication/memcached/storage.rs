//! Lines that a value follows: `set k flags exptime length [noreply]` and its relatives.
//!
//! Here it is decided what the line says, and what its failure means for the bytes behind it. If the length can be read, a refused value
//! can be passed over. If not, nobody knows where the value ends.

use std::borrow::Cow;

use super::compose::{BAD_FORMAT, Form};
use super::line::{Words, expiry, flags, is_key, length, unsigned};
use crate::caching::Version;
use crate::node::command::{Expiry, StoreMode, Terms};

/// The verbs that a value follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
}

/// What such a line says.
#[derive(Debug, PartialEq)]
pub(super) enum Storage<'a> {
    /// All is well so far.
    Header(Header<'a>),
    /// It cannot be used, but the length of its value is known.
    Refused { length: usize, quiet: bool, error: &'static [u8] },
    /// It cannot be used, and where its value ends is unknown.
    Endless,
}

/// A line that can be used.
#[derive(Debug, PartialEq)]
pub(super) struct Header<'a> {
    pub(super) key: Cow<'a, [u8]>,
    pub(super) mode: StoreMode,
    pub(super) flags: u32,
    pub(super) expiry: Expiry,
    pub(super) length: usize,
    pub(super) want_old: bool,
    pub(super) terms: Option<Box<Terms<'a>>>,
    pub(super) form: Form,
    /// Are errors kept back too?
    pub(super) quiet: bool,
}

impl Verb {
    /// The verb that is written `word`.
    pub(super) fn of(word: &[u8]) -> Option<Verb> {
        Some(match word {
            b"set" => Verb::Set,
            b"add" => Verb::Add,
            b"replace" => Verb::Replace,
            b"append" => Verb::Append,
            b"prepend" => Verb::Prepend,
            b"cas" => Verb::Cas,
            _ => return None,
        })
    }

    /// Reads the `words` behind the verb.
    pub(super) fn parse<'a>(self, mut words: Words<'a>) -> Storage<'a> {
        let (Some(key), Some(flags), Some(exptime)) = (words.next(), words.next(), words.next()) else { return Storage::Endless };
        let Some(length) = words.next().and_then(length) else { return Storage::Endless };
        let quiet = words.end_in_noreply();
        match self.check(key, flags, exptime, words) {
            None => Storage::Refused { length, quiet, error: BAD_FORMAT },
            Some((mode, flags, expiry)) => Storage::Header(Header::plain(key, mode, flags, expiry, length, quiet)),
        }
    }

    fn check(self, key: &[u8], flags_word: &[u8], exptime: &[u8], mut words: Words<'_>) -> Option<(StoreMode, u32, Expiry)> {
        let mode = match self {
            Verb::Set => StoreMode::Set,
            Verb::Add => StoreMode::Add,
            Verb::Replace => StoreMode::Replace,
            Verb::Append => StoreMode::Append,
            Verb::Prepend => StoreMode::Prepend,
            Verb::Cas => StoreMode::Cas(Version(unsigned(words.next()?)?)),
        };
        let (flags, expiry) = (flags(flags_word)?, expiry(exptime)?);
        is_key(key).then_some((mode, flags, expiry))
    }
}

impl<'a> Header<'a> {
    fn plain(key: &'a [u8], mode: StoreMode, flags: u32, expiry: Expiry, length: usize, quiet: bool) -> Header<'a> {
        let (key, form) = (Cow::Borrowed(key), Form::change(quiet));
        Header { key, mode, flags, expiry, length, want_old: false, terms: None, form, quiet }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Storage<'_> {
        let mut words = Words::of(line.as_bytes());
        Verb::of(words.next().unwrap()).unwrap().parse(words)
    }

    #[test]
    fn a_good_line_says_everything_about_its_value() {
        let header = Header::plain(b"k", StoreMode::Set, 7, Expiry::InMs(9_000), 3, false);
        assert_eq!(parsed("set k 7 9 3"), Storage::Header(header));
        let header = Header::plain(b"k", StoreMode::Cas(Version(5)), 0, Expiry::Never, 0, true);
        assert_eq!(parsed(" cas  k 0 0 0 5  noreply "), Storage::Header(header));
    }

    #[test]
    fn a_bad_word_beside_a_good_length_refuses_one_value() {
        let long = format!("append {} 0 0 3", "k".repeat(251));
        for line in ["set k -1 0 3", "set k 4294967296 0 3", "add k 0 soon 3", "cas k 0 0 3", "cas k 0 0 3 x", "prepend k\t 0 0 3", &long] {
            assert_eq!(parsed(line), Storage::Refused { length: 3, quiet: false, error: BAD_FORMAT }, "{line}");
        }
        assert_eq!(parsed("cas k 0 0 3 noreply"), Storage::Refused { length: 3, quiet: true, error: BAD_FORMAT });
    }

    #[test]
    fn without_a_length_the_value_has_no_end() {
        for line in
            ["set", "set k", "set k 0 0", "set k 0 0 -1", "set k 0 0 1e3", "set k 0 0 2147483647", "set k 0 0 99999999999999999999 noreply"]
        {
            assert_eq!(parsed(line), Storage::Endless, "{line}");
        }
    }
}
