//! The flags behind a meta command's key: one letter each, some with an argument right behind it, each at most once.
//!
//! All verbs share one set of letters, and each passes over those that mean nothing to it, as memcached does. The last of several mistakes
//! is the one that is told.

use super::Mistake;
use crate::caching::Version;
use crate::communication::memcached::compose::BAD_FORMAT;
use crate::communication::memcached::line::{Words, expiry, flags, unsigned};
use crate::node::command::Expiry;

/// Most words of a line.
const MAX_WORDS: usize = 20;
/// Most letters whose answers are put out in the order in which they were asked: that is all there are.
pub(super) const MAX_SHOWN: usize = 8;
/// Longest opaque, with its letter.
pub(super) const MAX_OPAQUE: usize = 32;

const DUPLICATE: Mistake = b"CLIENT_ERROR duplicate flag\r\n";
const INVALID: Mistake = b"CLIENT_ERROR invalid flag\r\n";
const TOO_MANY: Mistake = b"CLIENT_ERROR options flags are too long\r\n";
const BAD_TOKEN: Mistake = b"CLIENT_ERROR bad token in command line format\r\n";
const BAD_FIRST: Mistake = b"CLIENT_ERROR invalid numeric initial value\r\n";
const BAD_DELTA: Mistake = b"CLIENT_ERROR invalid numeric delta value\r\n";
const OPAQUE_TOO_LONG: Mistake = b"CLIENT_ERROR opaque token too long\r\n";

/// What the flags say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flags<'a> {
    /// The letters to be answered, in their order; 0 behind the last.
    pub(super) shown: [u8; MAX_SHOWN],
    /// `O`: to be sent back, with its letter.
    pub(super) opaque: &'a [u8],
    /// `b`: the key is written in base64.
    pub(super) is_base64: bool,
    /// `v`: the value is wanted.
    pub(super) wants_value: bool,
    /// `q`: what is as usual is not answered.
    pub(super) is_quiet: bool,
    /// `u`: the read counts for nothing.
    pub(super) is_unnoticed: bool,
    /// `I`: the value is, or may be, stale.
    pub(super) stale: bool,
    /// `x`: the value goes, the key stays.
    pub(super) empties: bool,
    /// `M`
    pub(super) mode: Option<u8>,
    /// `N`: make what is missing.
    pub(super) create: Option<Expiry>,
    /// `T`: the expiry.
    pub(super) touch: Option<Expiry>,
    /// Is `T` behind `N`?
    pub(super) touches_last: bool,
    /// `R`
    pub(super) renew_below_ms: Option<u64>,
    /// `F`: the client's own 32 bits.
    pub(super) client_flags: u32,
    /// `C`: the version that is there, as the client knows it.
    pub(super) version: Option<Version>,
    /// `E`: the version that is to be seen from now on; 0 is none.
    pub(super) seen_version: Option<Version>,
    /// `D`
    pub(super) delta: Option<u64>,
    /// `J`: the first number.
    pub(super) first: u64,
}

impl<'a> Flags<'a> {
    /// Reads `words`, before which the line has so many others.
    pub(super) fn of(words: Words<'a>, before: usize) -> Result<Flags<'a>, Mistake> {
        let (mut flags, mut seen, mut mistake) = (Flags::default(), 0u128, None);
        if !words.clone().all(|word| is_letter(word[0])) {
            return Err(BAD_FORMAT);
        }
        if before + words.clone().count() > MAX_WORDS {
            return Err(TOO_MANY);
        }
        for word in words {
            let bit = 1 << word[0];
            if seen & bit != 0 {
                return Err(DUPLICATE);
            }
            seen |= bit;
            match flags.take(word) {
                Err(INVALID) => return Err(INVALID),
                taken => mistake = taken.err().or(mistake),
            }
        }
        match mistake {
            Some(mistake) => Err(mistake),
            None if flags.opaque.len() > MAX_OPAQUE => Err(OPAQUE_TOO_LONG),
            None => Ok(flags),
        }
    }

    fn take(&mut self, word: &'a [u8]) -> Result<(), Mistake> {
        let argument = &word[1..];
        match word[0] {
            letter @ (b'c' | b'f' | b'h' | b'k' | b'l' | b's' | b't') => self.show(letter),
            b'O' => {
                self.opaque = word;
                self.show(b'O');
            }
            b'b' => self.is_base64 = true,
            b'v' => self.wants_value = true,
            b'q' => self.is_quiet = true,
            b'u' => self.is_unnoticed = true,
            b'x' => self.empties = true,
            b'I' => self.stale = true,
            b'M' => self.mode = Some(argument.first().copied().unwrap_or(b' ')),
            // Known to proxies, which take them away.
            b'P' | b'L' => {}
            _ => return self.take_number(word[0], argument),
        }
        Ok(())
    }

    fn take_number(&mut self, letter: u8, argument: &[u8]) -> Result<(), Mistake> {
        match letter {
            b'N' => (self.create, self.touches_last) = (Some(expiry(argument).ok_or(BAD_TOKEN)?), false),
            b'T' => (self.touch, self.touches_last) = (Some(expiry(argument).ok_or(BAD_TOKEN)?), true),
            b'R' => self.renew_below_ms = below_ms(expiry(argument).ok_or(BAD_TOKEN)?),
            b'F' => self.client_flags = flags(argument).ok_or(BAD_FORMAT)?,
            b'C' => self.version = Some(Version(unsigned(argument).ok_or(BAD_TOKEN)?)),
            b'E' => self.seen_version = Some(Version(unsigned(argument).ok_or(BAD_TOKEN)?)).filter(|version| *version != Version(0)),
            b'D' => self.delta = Some(unsigned(argument).ok_or(BAD_DELTA)?),
            b'J' => self.first = unsigned(argument).ok_or(BAD_FIRST)?,
            _ => return Err(INVALID),
        }
        Ok(())
    }

    fn show(&mut self, letter: u8) {
        if let Some(place) = self.shown.iter_mut().find(|place| **place == 0) {
            *place = letter;
        }
    }

    /// Is this letter to be answered?
    pub(super) fn shows(&self, letter: u8) -> bool {
        self.shown.contains(&letter)
    }

    /// The expiry of what is made because it is missing, if it is to be made: of `N` and `T`, the last says it.
    pub(super) fn expiry_if_made(&self) -> Option<Expiry> {
        let create = self.create?;
        Some(self.touch.filter(|_| self.touches_last).unwrap_or(create))
    }
}

/// May a flag begin so? memcached cannot read a line with any other, whatever it would say.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'A'..=b'z').contains(&byte)
}

/// What `R` says: to win with less than so much time left.
fn below_ms(expiry: Expiry) -> Option<u64> {
    match expiry {
        Expiry::InMs(ms) | Expiry::AtWallMs(ms) => Some(ms),
        Expiry::Never | Expiry::Keep | Expiry::Longer(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Result<Flags<'_>, String> {
        Flags::of(Words::of(words.as_bytes()), 2).map_err(|mistake| String::from_utf8_lossy(mistake).trim_end().to_owned())
    }

    #[test]
    fn letters_are_answered_in_the_order_in_which_they_are_asked() {
        assert_eq!(&read("s t v c f l h Oo k").unwrap().shown, b"stcflhOk");
        assert_eq!(&read("k b s").unwrap().shown, b"ks\0\0\0\0\0\0");
    }

    #[test]
    fn each_argument_is_read_in_its_own_way() {
        let flags = read("N30 T-1 R9 F7 C8 E9 D10 J11 MA O123").unwrap();
        assert_eq!((flags.create, flags.touch), (Some(Expiry::InMs(30_000)), Some(Expiry::InMs(0))));
        assert_eq!((flags.renew_below_ms, flags.client_flags, flags.mode), (Some(9_000), 7, Some(b'A')));
        assert_eq!((flags.version, flags.seen_version), (Some(Version(8)), Some(Version(9))));
        assert_eq!((flags.delta, flags.first, flags.opaque), (Some(10), 11, &b"O123"[..]));
        assert_eq!(read("E0 R0 M").unwrap(), Flags { mode: Some(b' '), ..Flags::default() });
    }

    #[test]
    fn of_two_expiries_the_last_is_that_of_what_is_made() {
        assert_eq!(read("N30 T60").unwrap().expiry_if_made(), Some(Expiry::InMs(60_000)));
        assert_eq!(read("T60 N30").unwrap().expiry_if_made(), Some(Expiry::InMs(30_000)));
        assert_eq!(read("T60").unwrap().expiry_if_made(), None);
    }

    #[test]
    fn each_mistake_has_its_words() {
        let many = "a ".repeat(19);
        let opaque = format!("O{}", "o".repeat(32));
        for (words, text) in [
            ("v v", "CLIENT_ERROR duplicate flag"),
            ("T1 T2", "CLIENT_ERROR duplicate flag"),
            ("m", "CLIENT_ERROR invalid flag"),
            ("Tx m", "CLIENT_ERROR invalid flag"),
            ("7", "CLIENT_ERROR invalid flag"),
            ("-", "CLIENT_ERROR bad command line format"),
            ("{v", "CLIENT_ERROR bad command line format"),
            ("F-1", "CLIENT_ERROR bad command line format"),
            ("Tx", "CLIENT_ERROR bad token in command line format"),
            ("N", "CLIENT_ERROR bad token in command line format"),
            ("R1.5", "CLIENT_ERROR bad token in command line format"),
            ("C-1", "CLIENT_ERROR bad token in command line format"),
            ("E18446744073709551616", "CLIENT_ERROR bad token in command line format"),
            ("Dx", "CLIENT_ERROR invalid numeric delta value"),
            ("Dx Jx", "CLIENT_ERROR invalid numeric initial value"),
            (&many, "CLIENT_ERROR options flags are too long"),
            (&opaque, "CLIENT_ERROR opaque token too long"),
        ] {
            assert_eq!(read(words), Err(text.to_owned()), "{words}");
        }
        assert!(read(&opaque[1..]).is_err() && read(&opaque[..32]).is_ok());
    }
}
