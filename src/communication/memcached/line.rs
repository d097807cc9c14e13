//! A command line: where it ends, its words, and the numbers among them.
//!
//! Words are cut by hand and borrowed from the connection's buffer: nothing here allocates. Only the blank parts words, as in memcached;
//! other control bytes make a bad key.

use memchr::memchr;

use crate::node::command::Expiry;

/// Longest key.
pub(crate) const MAX_KEY: usize = 250;

/// Largest exptime, in seconds, that counts from now; a larger one is a date: seconds since 1970.
const MAX_RELATIVE_S: u64 = 60 * 60 * 24 * 30;

/// -1 in 32 bits: what libmemcached writes for an exptime below 0, and memcached reads as one.
const MINUS_ONE: u64 = u32::MAX as u64;

/// Largest length of a value that is a length at all: memcached's, whose lengths are 32 bits with the line's end counted in.
const MAX_LENGTH: u64 = i32::MAX as u64 - 2;

/// A whole line at the front of the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// The line without its end.
    pub(super) text: &'a [u8],
    /// Its length with its end, which is `\r\n` or, from netcat, `\n`.
    pub(super) whole: usize,
}

impl<'a> Line<'a> {
    /// The line at the front of `input`, whose first `searched` bytes are known to hold no end.
    pub(super) fn at_front_of(input: &'a [u8], searched: usize) -> Option<Line<'a>> {
        let end = searched + memchr(b'\n', input.get(searched..)?)?;
        let text = &input[..end];
        Some(Line { text: text.strip_suffix(b"\r").unwrap_or(text), whole: end + 1 })
    }

    /// Its words.
    pub(super) fn words(&self) -> Words<'a> {
        Words { rest: self.text }
    }
}

/// What is left of a line, word by word.
#[derive(Clone, Debug)]
pub(super) struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    /// The words of `text`.
    pub(super) fn of(text: &'a [u8]) -> Words<'a> {
        Words { rest: text }
    }

    /// What is behind the words taken so far, from the blank on.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Is there nothing but blanks left?
    pub(super) fn at_end(&self) -> bool {
        self.rest.iter().all(|byte| *byte == b' ')
    }

    /// Is `noreply` the last of the words left? They must begin with a blank: the command itself is not among them.
    pub(super) fn end_in_noreply(&self) -> bool {
        self.rest.trim_ascii_end().ends_with(b" noreply")
    }

    /// The next word, if it is a key.
    pub(super) fn next_key(&mut self) -> Option<&'a [u8]> {
        self.next().filter(|word| is_key(word))
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.rest.iter().position(|byte| *byte != b' ').unwrap_or(self.rest.len());
        let text = &self.rest[start..];
        let length = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
        let (word, rest) = text.split_at(length);
        self.rest = rest;
        if word.is_empty() { None } else { Some(word) }
    }
}

/// May `word` be a key? The fold looks at every byte without a branch, so that it is done many bytes at a time.
pub(crate) fn is_key(word: &[u8]) -> bool {
    let control = word.iter().fold(false, |found, byte| found | (*byte <= b' ') | (*byte == 0x7f));
    !word.is_empty() && word.len() <= MAX_KEY && !control
}

/// A number without sign.
pub(super) fn unsigned(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// The client's own 32 bits.
pub(super) fn flags(word: &[u8]) -> Option<u32> {
    u32::try_from(unsigned(word)?).ok()
}

/// The length of a value, if it can be one.
pub(super) fn length(word: &[u8]) -> Option<usize> {
    let number = unsigned(word).filter(|number| *number <= MAX_LENGTH)?;
    usize::try_from(number).ok()
}

/// An exptime, in one of its three senses: never, so many seconds from now (below 0 is at once), or a date.
pub(super) fn expiry(word: &[u8]) -> Option<Expiry> {
    if let Some(digits) = word.strip_prefix(b"-") {
        return unsigned(digits).map(|seconds| if seconds == 0 { Expiry::Never } else { Expiry::InMs(0) });
    }
    unsigned(word).map(expiry_of)
}

/// What so many seconds mean: never, at once, from now, or a date.
pub(crate) fn expiry_of(seconds: u64) -> Expiry {
    match seconds {
        0 => Expiry::Never,
        MINUS_ONE => Expiry::InMs(0),
        seconds if seconds <= MAX_RELATIVE_S => Expiry::InMs(seconds * 1000),
        seconds => Expiry::AtWallMs(seconds.saturating_mul(1000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_part_words_wherever_they_are() {
        let words: Vec<&[u8]> = Words::of(b"  set  k 0 ").collect();
        assert_eq!(words, [&b"set"[..], b"k", b"0"]);
        assert_eq!(Words::of(b"   ").next(), None);
        assert!(Words::of(b"  ").at_end() && Words::of(b"").at_end() && !Words::of(b" a").at_end());
    }

    #[test]
    fn a_line_ends_with_or_without_a_carriage_return() {
        for (input, text, whole) in
            [(&b"ab\r\nc"[..], &b"ab"[..], 4), (b"ab\nc", b"ab", 3), (b"\n", b"", 1), (b"\r\n", b"", 2), (b"a\r\r\n", b"a\r", 4)]
        {
            let line = Line::at_front_of(input, 0).unwrap();
            assert_eq!((line.text, line.whole), (text, whole));
        }
        assert!(Line::at_front_of(b"abc\r", 0).is_none());
        assert!(Line::at_front_of(b"abc", 9).is_none());
    }

    #[test]
    fn noreply_counts_as_the_last_word_only() {
        for (rest, quiet) in
            [(&b" noreply"[..], true), (b"  0  noreply ", true), (b" noreply 1", false), (b"noreply", false), (b" xnoreply", false)]
        {
            assert_eq!(Words::of(rest).end_in_noreply(), quiet, "{}", rest.escape_ascii());
        }
    }

    #[test]
    fn keys_are_1_to_250_bytes_without_blanks_and_control_bytes() {
        assert!(is_key(&[b'k'; 250]) && is_key("schlüssel".as_bytes()) && is_key(&[0xff]));
        for bad in [&b""[..], &[b'k'; 251], b"a\tb", b"a\0", b"a\x7f", b"a b", b"a\r"] {
            assert!(!is_key(bad), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn numbers_are_digits_within_their_width() {
        assert_eq!(unsigned(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"18446744073709551616", b"-1", b"+1", b"1e3", b"0x1", b"1 "] {
            assert_eq!(unsigned(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!((flags(b"4294967295"), flags(b"4294967296"), flags(b"-1")), (Some(u32::MAX), None, None));
        assert_eq!((length(b"2147483645"), length(b"2147483646"), length(b"-1")), (Some(2_147_483_645), None, None));
    }

    #[test]
    fn an_exptime_has_three_senses() {
        for (word, meant) in [
            (&b"0"[..], Some(Expiry::Never)),
            (b"-0", Some(Expiry::Never)),
            (b"1", Some(Expiry::InMs(1000))),
            (b"2592000", Some(Expiry::InMs(2_592_000_000))),
            (b"2592001", Some(Expiry::AtWallMs(2_592_001_000))),
            (b"4102444800", Some(Expiry::AtWallMs(4_102_444_800_000))),
            (b"-1", Some(Expiry::InMs(0))),
            (b"4294967295", Some(Expiry::InMs(0))),
            (b"18446744073709551615", Some(Expiry::AtWallMs(u64::MAX))),
            (b"soon", None),
            (b"-", None),
            (b"--1", None),
        ] {
            assert_eq!(expiry(word), meant, "{}", word.escape_ascii());
        }
    }
}
