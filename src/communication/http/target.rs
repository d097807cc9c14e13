//! The target of a request: its path as bytes of a key, and the little that a query may say.
//!
//! A key is any bytes, so escapes are undone exactly and nothing else is: `+` stays a plus, `//` and `..` stay what they are. A name has
//! one meaning however it is escaped: `/%2D/status` is `/-/status`, so nobody passes a proxy's rules by writing a name differently.

use std::borrow::Cow;

use memchr::memchr;

use super::head::digits;
use super::refusal::{self, Refusal};
use crate::node::command::Expiry;

/// A target, divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Behind the first slash, as written.
    pub path: &'a [u8],
    /// Behind the question mark, as written.
    pub query: &'a [u8],
}

impl<'a> Target<'a> {
    /// Divides a target: a path, or the absolute URL that clients of a proxy send.
    pub fn parse(target: &'a str) -> Result<Target<'a>, Refusal> {
        let rest = match target.as_bytes().first() {
            Some(b'/') => target,
            _ => path_of_url(target).ok_or(refusal::BAD_TARGET)?,
        };
        // A fragment is never sent, so what a number sign would mean is anybody's guess.
        if memchr(b'#', rest.as_bytes()).is_some() {
            return Err(refusal::BAD_TARGET);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Ok(Target { path: path.strip_prefix('/').unwrap_or(path).as_bytes(), query: query.as_bytes() })
    }

    /// The client's flags, if the query has any: `flags=N`.
    pub fn flags(&self) -> Result<u32, Refusal> {
        self.number(b"flags=").map_or(Ok(0), |number| number.ok_or(refusal::BAD_FLAGS))
    }

    /// How long the value is to live: `ttl=SECONDS` in the query, or else `max-age=SECONDS` in Cache-Control. As with memcached's
    /// exptime, 0 is for ever; a browser that reloads says `max-age=0` and means nothing by it here.
    pub fn expiry(&self, cache_control: &[u8]) -> Result<Expiry, Refusal> {
        let seconds = match self.number(b"ttl=") {
            Some(seconds) => seconds.ok_or(refusal::BAD_TTL)?,
            None => max_age(cache_control).unwrap_or(0),
        };
        Ok(if seconds == 0 { Expiry::Never } else { Expiry::InMs(u64::from(seconds) * 1000) })
    }

    /// What the query says behind `name`: `Some(None)` if that is no number.
    fn number(&self, name: &[u8]) -> Option<Option<u32>> {
        let text = self.query.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(name))?;
        Some(digits(text).and_then(|number| u32::try_from(number).ok()))
    }
}

/// The host and the port of an absolute URL.
#[must_use]
pub fn authority(target: &str) -> Option<&str> {
    behind_scheme(target).map(|rest| rest.split(['/', '?']).next().unwrap_or_default())
}

fn behind_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")).then_some(rest)
}

/// The path of an absolute URL, with its query; `/` if it has none.
fn path_of_url(target: &str) -> Option<&str> {
    let rest = behind_scheme(target)?;
    match rest.find(['/', '?']) {
        Some(0) => None,
        Some(at) => Some(&rest[at..]),
        None if rest.is_empty() => None,
        None => Some("/"),
    }
}

fn max_age(cache_control: &[u8]) -> Option<u32> {
    let text = cache_control.split(|byte| *byte == b',').find_map(|directive| {
        let (name, seconds) = directive.trim_ascii().split_at_checked(b"max-age=".len())?;
        name.eq_ignore_ascii_case(b"max-age=").then_some(seconds)
    })?;
    digits(text).map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// The bytes that an escaped text stands for.
pub fn unescape(text: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
    let Some(first) = memchr(b'%', text) else { return Ok(Cow::Borrowed(text)) };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut next = Some(first);
    while let Some(at) = next {
        let [_, high, low, ..] = rest[at..] else { return Err(refusal::BAD_ESCAPE) };
        bytes.extend_from_slice(&rest[..at]);
        bytes.push(nibble(high)? << 4 | nibble(low)?);
        rest = &rest[at + 3..];
        next = memchr(b'%', rest);
    }
    bytes.extend_from_slice(rest);
    Ok(Cow::Owned(bytes))
}

fn nibble(digit: u8) -> Result<u8, Refusal> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(refusal::BAD_ESCAPE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    fn divided(target: &str) -> Option<(&str, &str)> {
        let target = Target::parse(target).ok()?;
        Some((std::str::from_utf8(target.path).ok()?, std::str::from_utf8(target.query).ok()?))
    }

    #[test]
    fn paths_and_absolute_urls_are_divided() {
        assert_eq!(divided("/key"), Some(("key", "")));
        assert_eq!(divided("/a/b//c?x=/y?z"), Some(("a/b//c", "x=/y?z")));
        assert_eq!(divided("http://host:80/key?q"), Some(("key", "q")));
        assert_eq!(divided("HTTP://host"), Some(("", "")));
        assert_eq!(divided("http://host?q"), Some(("", "q")));
        for bad in ["*", "key", "host:80", "ftp://host/key", "http:///key", "http://", "/key#part"] {
            assert_eq!(divided(bad), None, "{bad}");
        }
    }

    #[test]
    fn escapes_are_undone_and_nothing_else_is() {
        for (text, bytes) in [
            ("plain", b"plain".as_slice()),
            ("a+b/../c", b"a+b/../c"),
            ("%41%62%2f%2F", b"Ab//"),
            ("x%00%ff%25y", b"x\0\xff%y"),
            ("%2541", b"%41"),
        ] {
            assert_eq!(unescape(text.as_bytes()).as_deref(), Ok(bytes), "{text}");
        }
        for bad in ["%", "%4", "a%4", "%4g", "%g4", "%%41", "% 1", "%+1"] {
            assert_eq!(unescape(bad.as_bytes()), Err(refusal::BAD_ESCAPE), "{bad}");
        }
    }

    #[test]
    fn whatever_is_escaped_comes_back() {
        let mut prng = Prng::new(11);
        for _ in 0..500 {
            let bytes: Vec<u8> = (0..prng.below(20)).map(|_| prng.next_u64() as u8).collect();
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() && *byte != b'a';
            let text: String = bytes.iter().map(|b| if plain(b) { char::from(*b).to_string() } else { format!("%{b:02x}") }).collect();
            assert_eq!(unescape(text.as_bytes()).as_deref(), Ok(bytes.as_slice()), "{text}");
        }
    }

    #[test]
    fn flags_and_time_to_live_come_from_query_and_header() {
        let ask = |target, header: &str| {
            let target = Target::parse(target).expect("a path");
            Ok::<_, Refusal>((target.flags()?, target.expiry(header.as_bytes())?))
        };
        assert_eq!(ask("/k", ""), Ok((0, Expiry::Never)));
        assert_eq!(ask("/k?flags=7&ttl=60", ""), Ok((7, Expiry::InMs(60_000))));
        assert_eq!(ask("/k?x&ttl=5", "max-age=60"), Ok((0, Expiry::InMs(5_000))));
        assert_eq!(ask("/k", "no-store, Max-Age=60"), Ok((0, Expiry::InMs(60_000))));
        assert_eq!(ask("/k", "max-age=99999999999"), Ok((0, Expiry::InMs(u64::from(u32::MAX) * 1000))));
        assert_eq!(ask("/k", "max-age=x, s-maxage=3"), Ok((0, Expiry::Never)));
        assert_eq!(ask("/k?ttl=0", "max-age=60"), Ok((0, Expiry::Never)));
        assert_eq!(ask("/k?flags=4294967296", ""), Err(refusal::BAD_FLAGS));
        assert_eq!(ask("/k?ttl=", ""), Err(refusal::BAD_TTL));
        assert_eq!(ask("/k?ttl=-1", ""), Err(refusal::BAD_TTL));
    }
}
