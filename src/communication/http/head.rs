//! The head of a request: where it ends, and what it says about the request's own frame.
//!
//! Everything by which two programs could come to see different requests in the same bytes is refused here, before anybody looks at
//! the path: bare LF, folded lines, blanks before the colon, control bytes (the tokens themselves are httparse's work), two lengths, a
//! length beside a coding, a coding other than `chunked`, a second Host or one that is none. A proxy in front of this node that is more lenient cannot be
//! used to slip one request into another.
//!
//! What the head asks for is [`route`](super::route)'s business.

use std::mem::MaybeUninit;

use memchr::memchr_iter;

use super::refusal::{self, Refusal};
use super::tags::{Tags, Weak};
use crate::communication::base64;

/// Most headers of a request.
pub const MAX_HEADERS: usize = 64;

/// A head that can be trusted to say where its request ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head<'a> {
    /// As written; methods are case-sensitive.
    pub method: &'a str,
    /// As written: a path, or an absolute URL.
    pub target: &'a str,
    /// What becomes of the connection after the reply.
    pub connection: Connection,
    /// What follows the head.
    pub body: Body,
    /// The client waits to be told to go on before it sends the body.
    pub expects: bool,
    /// Host: what the client takes this node for.
    pub host: Option<&'a [u8]>,
    /// Authorization: the password, and whose it is.
    pub authorization: &'a [u8],
    /// Origin: whose page a browser acts for.
    pub origin: Option<&'a [u8]>,
    /// Sec-Fetch-Site: what that page has to do with this node; empty if nothing is said.
    pub fetch_site: &'a [u8],
    /// The value of Cache-Control.
    pub cache_control: &'a [u8],
    /// The type of the body's content; empty if nothing is said.
    pub media: &'a [u8],
    /// The tags of If-Match.
    pub if_match: Tags,
    /// The tags of If-None-Match.
    pub if_none_match: Tags,
}

/// What becomes of the connection after the reply, and whether that must be said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connection {
    /// It stays, as is usual in HTTP/1.1.
    #[default]
    Stay,
    /// It stays, as an HTTP/1.0 client has asked for.
    KeepAlive,
    /// It is closed.
    Close,
}

/// What follows the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// Nothing, and nothing was said about it.
    #[default]
    None,
    /// So many bytes; perhaps 0, but said.
    Length(u64),
    /// Chunks.
    Chunked,
}

impl Body {
    /// Do any bytes follow?
    #[must_use]
    pub fn follows(self) -> bool {
        !matches!(self, Body::None | Body::Length(0))
    }
}

/// How far a head was searched for its end, so that a slow client's bytes are looked at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Search {
    searched: usize,
    past_first_line: bool,
}

impl Search {
    /// The length of the head that `input` begins with, or `None` if its end is not there yet.
    pub fn find_end(&mut self, input: &[u8], max_line: usize) -> Result<Option<usize>, Refusal> {
        let window = &input[..input.len().min(max_line)];
        let from = self.searched;
        for at in memchr_iter(b'\n', &window[from..]).map(|offset| from + offset) {
            if at == 0 || window[at - 1] != b'\r' {
                return Err(refusal::BARE_LF);
            }
            // Somebody with netcat who forgets the version should not have to wait for an answer.
            if !self.past_first_line && !ends_with_version(&window[..at - 1]) {
                return Err(refusal::NO_REQUEST_LINE);
            }
            self.past_first_line = true;
            if at >= 2 && window[at - 2] == b'\n' {
                self.searched = at;
                return Ok(Some(at + 1));
            }
        }
        self.searched = window.len();
        if input.len() >= max_line { Err(refusal::HEAD_TOO_LARGE) } else { Ok(None) }
    }
}

/// Does a request line end as in `GET / HTTP/1.1`? Which version it is comes later.
fn ends_with_version(line: &[u8]) -> bool {
    line.len() >= 9 && line[line.len() - 9..].starts_with(b" HTTP/")
}

impl<'a> Head<'a> {
    /// Reads a whole head: `bytes` ends with its empty line.
    pub fn parse(bytes: &'a [u8]) -> Result<Head<'a>, Refusal> {
        let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, &mut slots) {
            // Two views of where the head ends would be a way to smuggle.
            Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
            Ok(_) => return Err(refusal::MALFORMED_HEAD),
            Err(httparse::Error::TooManyHeaders) => return Err(refusal::TOO_MANY_HEADERS),
            Err(httparse::Error::Version) if has_three_words(bytes) => return Err(refusal::UNKNOWN_VERSION),
            Err(_) => return Err(refusal::MALFORMED_HEAD),
        }
        let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
            return Err(refusal::MALFORMED_HEAD);
        };
        let mut fields = Fields::default();
        for header in request.headers.iter() {
            fields.take(header.name, header.value)?;
        }
        let body = fields.body(minor)?;
        let connection = fields.connection(minor);
        Ok(Head { method, target, connection, body, expects: fields.head.expects && minor > 0, ..fields.head })
    }

    /// The password shown with the request, as RFC 7617 writes it: `Basic`, and in base64 a user, a colon and the password. Empty if none is.
    pub fn password(&self) -> Vec<u8> {
        let scheme = self.authorization.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case(b"basic "));
        let shown = scheme.and_then(|scheme| base64::decode(self.authorization[scheme.len()..].trim_ascii())).unwrap_or_default();
        shown.iter().position(|byte| *byte == b':').map(|colon| shown[colon + 1..].to_vec()).unwrap_or_default()
    }
}

/// Is it only the version that is wrong with this head's first line?
fn has_three_words(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = 0;
    line.split(|byte| *byte == b' ').inspect(|_| words += 1).all(|word| !word.is_empty()) && words == 3
}

/// The headers that this server heeds.
#[derive(Default)]
struct Fields<'a> {
    hosts: u32,
    length: Option<u64>,
    codings: u32,
    close: bool,
    keep_alive: bool,
    /// What needs no second look.
    head: Head<'a>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str, value: &'a [u8]) -> Result<(), Refusal> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("host") {
            self.hosts += 1;
            self.head.host = Some(is_authority(value).then_some(value).ok_or(refusal::BAD_HOST)?);
        } else if is("content-length") {
            self.take_length(value)?;
        } else if is("transfer-encoding") {
            self.codings += 1;
            must_be(b"chunked", value, refusal::UNKNOWN_CODING)?;
        } else if is("connection") {
            self.close |= has_token(value, b"close");
            self.keep_alive |= has_token(value, b"keep-alive");
        } else if is("expect") {
            self.head.expects = true;
            must_be(b"100-continue", value, refusal::UNKNOWN_EXPECTATION)?;
        } else {
            self.take_other(name, value)?;
        }
        Ok(())
    }

    /// What does not concern the frame.
    fn take_other(&mut self, name: &str, value: &'a [u8]) -> Result<(), Refusal> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("cache-control") {
            self.head.cache_control = value;
        } else if is("authorization") {
            self.head.authorization = value;
        } else if is("content-type") {
            self.head.media = value;
        } else if is("if-match") {
            self.head.if_match.add(value, Weak::IsForeign)?;
        } else if is("if-none-match") {
            self.head.if_none_match.add(value, Weak::Counts)?;
        } else if is("origin") {
            // Of two origins, neither is believed.
            self.head.origin = Some(if self.head.origin.is_none() { value } else { b"null" });
        } else if is("sec-fetch-site") {
            self.head.fetch_site = if self.head.fetch_site.is_empty() { value } else { b"cross-site" };
        }
        Ok(())
    }

    /// Even a repetition of the same length is refused: whoever sends it twice may have a proxy that believes the other one.
    fn take_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let length = digits(value).ok_or(refusal::BAD_LENGTH)?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(refusal::BAD_LENGTH),
        }
    }

    fn body(&self, minor: u8) -> Result<Body, Refusal> {
        match (self.codings, self.length) {
            _ if self.hosts > 1 || (self.hosts == 0 && minor > 0) => Err(refusal::NO_HOST),
            (0, None) => Ok(Body::None),
            (0, Some(length)) => Ok(Body::Length(length)),
            (_, Some(_)) => Err(refusal::TWO_LENGTHS),
            (_, None) if minor == 0 => Err(refusal::CODING_IN_1_0),
            (1, None) => Ok(Body::Chunked),
            (_, None) => Err(refusal::TWO_CODINGS),
        }
    }

    fn connection(&self, minor: u8) -> Connection {
        match minor {
            _ if self.close => Connection::Close,
            0 if self.keep_alive => Connection::KeepAlive,
            0 => Connection::Close,
            _ => Connection::Stay,
        }
    }
}

/// A number of digits alone: no sign, no blank, no list. What does not fit 64 bits is larger than any limit, so it saturates.
pub fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

fn must_be(known: &[u8], value: &[u8], otherwise: Refusal) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(known) { Ok(()) } else { Err(otherwise) }
}

/// May this stand for a host and a port? Lists, user names and paths are what somebody else could read in another way.
fn is_authority(host: &[u8]) -> bool {
    host.iter().all(|byte| byte.is_ascii_graphic() && !b",/@?#\\".contains(byte))
}

fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Head<'_>, Refusal> {
        Head::parse(text.as_bytes())
    }

    #[test]
    fn the_end_is_found_at_any_split_and_searched_for_once() {
        let input = b"GET /k HTTP/1.1\r\nHost: h\r\n\r\nrest";
        let mut search = Search::default();
        for length in 0..28 {
            assert_eq!(search.find_end(&input[..length], 1_000), Ok(None), "{length}");
            assert_eq!(search.searched, length);
        }
        assert_eq!(search.find_end(input, 1_000), Ok(Some(28)));
        assert_eq!(search.find_end(input, 1_000), Ok(Some(28)), "it can be asked again");
    }

    #[test]
    fn a_head_of_the_limit_passes_and_a_larger_one_does_not() {
        let input = b"GET /k HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(Search::default().find_end(input, 28), Ok(Some(28)));
        assert_eq!(Search::default().find_end(input, 27), Err(refusal::HEAD_TOO_LARGE));
        assert_eq!(Search::default().find_end(&input[..27], 27), Err(refusal::HEAD_TOO_LARGE));
    }

    #[test]
    fn the_connection_follows_the_version_and_the_header() {
        for (version, header, connection) in [
            ("1.1", "X: y", Connection::Stay),
            ("1.1", "Connection: close", Connection::Close),
            ("1.1", "connection: Foo, CLOSE ,bar", Connection::Close),
            ("1.1", "Connection: keep-alive", Connection::Stay),
            ("1.0", "X: y", Connection::Close),
            ("1.0", "Connection: Keep-Alive", Connection::KeepAlive),
            ("1.0", "Connection: keep-alive, close", Connection::Close),
        ] {
            let text = format!("GET / HTTP/{version}\r\nHost: h\r\n{header}\r\n\r\n");
            assert_eq!(parse(&text).map(|head| head.connection), Ok(connection), "{text}");
        }
    }

    #[test]
    fn a_password_stands_behind_the_colon_and_nothing_else_is_one() {
        for (header, password) in [
            ("Authorization: Basic dTpzZWNyZXQ=", &b"secret"[..]),
            ("authorization: bAsIc dTpzZWNyZXQ=", b"secret"),
            ("Authorization: Basic Onc6eA==", b"w:x"),
            ("Authorization: Basic dQ==", b""),
            ("Authorization: Basic dTpzZWNyZXQ", b""),
            ("Authorization: Bearer dTpzZWNyZXQ=", b""),
            ("Authorization: Basic", b""),
            ("X: y", b""),
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n");
            assert_eq!(parse(&text).map(|head| head.password()), Ok(password.to_vec()), "{header}");
        }
    }

    #[test]
    fn sixty_four_headers_pass_and_one_more_does_not() {
        let with = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
        assert!(parse(&with(MAX_HEADERS)).is_ok());
        assert_eq!(parse(&with(MAX_HEADERS + 1)), Err(refusal::TOO_MANY_HEADERS));
    }

    #[test]
    fn a_number_is_digits_alone() {
        for (text, number) in [("0", Some(0)), ("007", Some(7)), ("99999999999999999999999", Some(u64::MAX))] {
            assert_eq!(digits(text.as_bytes()), number);
        }
        for text in ["", "+1", "-1", " 1", "1 ", "1,1", "0x1", "1e3", "\u{661}"] {
            assert_eq!(digits(text.as_bytes()), None, "{text}");
        }
    }
}
