//! What a stranger may say: memcached's way to show a password in its text protocol, with its texts.
//!
//! ```text
//!   > set any_key 0 0 13\r\n
//!   > user password\r\n
//!   < STORED\r\n                                      or CLIENT_ERROR authentication failure
//! ```
//!
//! As in memcached started with `-Y`, whatever is no `set` is refused line by line, and so are the lines of a value that follows: nothing of
//! what a stranger says is ever carried out. `quit` works. There is no state: the few bytes of a login are read again until they are whole.

use std::borrow::Cow;

use super::compose::{Form, UNAUTHENTICATED};
use super::line::{Line, length};
use super::{SHORT_LINE, VALUE_END, answer};
use crate::communication::protocol::Parsed;

/// Longest user and password together.
const MAX_TOKENS: usize = 1024;

const BAD_TERMINATION: &[u8] = b"CLIENT_ERROR bad command line termination\r\n";
const BAD_TOKENS: &[u8] = b"CLIENT_ERROR bad authentication token format\r\n";

/// Takes the next piece off the front of what somebody says who has not shown the password.
pub fn next_of_stranger(input: &[u8]) -> Parsed<'_> {
    let Some(line) = Line::at_front_of(&input[..input.len().min(SHORT_LINE)], 0) else {
        return if input.len() < SHORT_LINE { Parsed::Incomplete { in_command: !input.is_empty() } } else { close() };
    };
    let mut words = line.words();
    match (words.next(), words.nth(2), words.next().and_then(length)) {
        (Some(b"quit"), ..) => close(),
        (Some(b"set"), Some(_), Some(length)) if length > MAX_TOKENS => close(),
        (Some(b"set"), Some(_), Some(length)) => login(line, length, input),
        _ => answer(line.whole, UNAUTHENTICATED),
    }
}

/// The value behind the line: a user, a blank, and the password, which may have blanks itself.
fn login<'a>(line: Line<'a>, length: usize, input: &'a [u8]) -> Parsed<'a> {
    let end = line.whole + length;
    let whole = end + VALUE_END.len();
    let Some(value) = input.get(line.whole..whole) else { return Parsed::Incomplete { in_command: true } };
    let Some(tokens) = value.strip_suffix(VALUE_END) else { return answer(whole, BAD_TERMINATION) };
    match tokens.iter().position(|byte| *byte == b' ').map(|blank| &tokens[blank + 1..]) {
        None | Some(b"") => answer(whole, BAD_TOKENS),
        Some(password) => Parsed::Login { consumed: whole, password: Cow::Borrowed(password), form: Some(Form::LOGIN.into()) },
    }
}

fn close() -> Parsed<'static> {
    Parsed::Close { bytes: Cow::Borrowed(b"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(consumed: usize, text: &'static [u8]) -> Parsed<'static> {
        answer(consumed, text)
    }

    fn shown(consumed: usize, password: &[u8]) -> Parsed<'_> {
        Parsed::Login { consumed, password: Cow::Borrowed(password), form: Some(Form::LOGIN.into()) }
    }

    #[test]
    fn a_set_of_any_key_is_a_login_once_it_is_whole() {
        let bytes = b"set k 0 0 11\r\nuser secret\r\nget k\r\n";
        for length in 1..27 {
            assert_eq!(next_of_stranger(&bytes[..length]), Parsed::Incomplete { in_command: true }, "{length}");
        }
        assert_eq!(next_of_stranger(bytes), shown(27, b"secret"));
        assert_eq!(next_of_stranger(b"set k 0 0 7 noreply\r\nu a b c\r\n"), shown(30, b"a b c"));
        assert_eq!(next_of_stranger(b""), Parsed::Incomplete { in_command: false });
    }

    #[test]
    fn everything_else_is_refused_line_by_line() {
        for line in
            [&b"get k\r\n"[..], b"version\r\n", b"help\r\n", b"\r\n", b"set k 0 0\r\n", b"set k 0 0 -1\r\n", b"add k 0 0 1\r\n", b"stats\n"]
        {
            assert_eq!(next_of_stranger(line), said(line.len(), UNAUTHENTICATED), "{}", line.escape_ascii());
        }
        assert_eq!(next_of_stranger(b"quit\r\n"), close());
    }

    #[test]
    fn a_login_that_is_none_is_told_so_and_the_stream_stays_in_step() {
        assert_eq!(next_of_stranger(b"set k 0 0 4\r\nuser\r\nquit\r\n"), said(19, BAD_TOKENS));
        assert_eq!(next_of_stranger(b"set k 0 0 5\r\nuser \r\n"), said(20, BAD_TOKENS));
        assert_eq!(next_of_stranger(b"set k 0 0 3\r\nu secret\r\n"), said(18, BAD_TERMINATION));
    }

    #[test]
    fn a_stranger_takes_no_more_memory_than_a_login_needs() {
        assert_eq!(next_of_stranger(b"set k 0 0 1025\r\n"), close());
        assert_eq!(next_of_stranger(&[b'x'; SHORT_LINE]), close());
        assert_eq!(next_of_stranger(&[b'x'; SHORT_LINE - 1]), Parsed::Incomplete { in_command: true });
    }
}
