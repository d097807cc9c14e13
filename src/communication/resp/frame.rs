//! Where a command ends: arrays of bulk strings, which programs send, and inline commands, which people type.
//!
//! ```text
//!   *3\r\n  $3\r\nSET\r\n  $1\r\nk\r\n  $5\r\nhello\r\n        an array of three
//!   SET k "hello"\r\n                                            the same, inline
//! ```
//!
//! The framer remembers how many of an array's strings it has passed, so that a slow client's bytes are not looked at again. Each length
//! is held against its limit before a byte of what it announces is waited for. Once all are there, [`Args`] cuts them out of the
//! connection's buffer again, one by one: nothing is copied and nothing allocated.

use std::borrow::Cow;

use memchr::memchr;

use crate::config::Limits;

/// Most strings in one command: Redis's own limit.
const MOST_ARGUMENTS: u64 = 1 << 20;
/// Most bytes of one command, unless a single value may be larger.
const MOST_BYTES: usize = 64 << 20;
/// Most digits of a number that is announced.
const MOST_DIGITS: usize = 18;
/// Longest line that announces a number, its end included.
const LONGEST_HEADER: usize = 32;

/// What is at the front of the input.
#[derive(Debug, PartialEq)]
pub(super) enum Frame<'a> {
    /// Nothing whole yet.
    Incomplete,
    /// So many bytes that mean nothing: an empty line, an empty array.
    Nothing(usize),
    /// A command of so many bytes, as an array.
    Array(usize, Args<'a>),
    /// A command of so many bytes, as a line: its text.
    Inline(usize, &'a [u8]),
    /// No command, and nobody knows where the next one begins. The reason.
    Invalid(Cow<'static, str>),
}

/// How far the command at the front of the input has been looked at.
#[derive(Debug, Default)]
pub(super) struct Framer {
    /// Bytes that are known: of a line, to hold no end; of an array, to be whole strings.
    at: usize,
    array: Option<Array>,
}

/// An array whose header has been read.
#[derive(Clone, Copy, Debug)]
struct Array {
    /// The header's length.
    header: usize,
    /// How many strings it has.
    count: usize,
    /// How many of them are not known to be whole.
    left: usize,
}

impl Framer {
    /// Looks for a whole command at the front of `input`.
    pub(super) fn next<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Frame<'a> {
        let frame = match (self.array, input.first()) {
            (None, None) => Frame::Incomplete,
            (None, Some(b'*')) => self.begin(input, limits),
            (None, Some(_)) => self.line(input, limits),
            (Some(array), _) => self.strings(array, input, limits),
        };
        if frame != Frame::Incomplete {
            *self = Framer::default();
        }
        frame
    }

    fn begin<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Frame<'a> {
        match header(input, b'*') {
            Header::NotYet => Frame::Incomplete,
            Header::Number(count, _) if count > MOST_ARGUMENTS => Frame::Invalid(Cow::Borrowed("invalid multibulk length")),
            Header::Number(0, header) | Header::Negative(header) => Frame::Nothing(header),
            Header::Number(count, header) => {
                self.at = header;
                self.strings(Array { header, count: count as usize, left: count as usize }, input, limits)
            }
            Header::Bad => Frame::Invalid(Cow::Borrowed("invalid multibulk length")),
        }
    }

    fn strings<'a>(&mut self, mut array: Array, input: &'a [u8], limits: &Limits) -> Frame<'a> {
        let most = MOST_BYTES.max(limits.max_value.saturating_mul(2));
        while array.left > 0 {
            let (length, begins) = match bulk(&input[self.at..], limits) {
                Ok(Some((length, header))) => (length, self.at + header),
                Ok(None) => break,
                Err(why) => return Frame::Invalid(why),
            };
            let end = begins + length + 2;
            if end > most {
                return Frame::Invalid(Cow::Borrowed("the command is too large"));
            }
            match input.get(end - 2..end) {
                None => break,
                Some(b"\r\n") => (self.at, array.left) = (end, array.left - 1),
                Some(_) => return Frame::Invalid(Cow::Borrowed("a string is longer than announced")),
            }
        }
        if array.left > 0 {
            self.array = Some(array);
            return Frame::Incomplete;
        }
        Frame::Array(self.at, Args { rest: &input[array.header..self.at], left: array.count })
    }

    fn line<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Frame<'a> {
        let end = memchr(b'\n', &input[self.at..]).map(|found| self.at + found);
        if end.unwrap_or(input.len()) > limits.max_line {
            return Frame::Invalid(Cow::Borrowed("too big inline request"));
        }
        let Some(end) = end else {
            self.at = input.len();
            return Frame::Incomplete;
        };
        let text = input[..end].trim_ascii();
        if text.is_empty() { Frame::Nothing(end + 1) } else { Frame::Inline(end + 1, text) }
    }
}

enum Header {
    NotYet,
    /// The number, and the length of its line with its end.
    Number(u64, usize),
    /// A number below 0, and the length of its line with its end.
    Negative(usize),
    Bad,
}

/// Reads `*NUMBER\r\n`, or the same with another first byte.
#[inline]
fn header(input: &[u8], mark: u8) -> Header {
    debug_assert_eq!(input.first(), Some(&mark));
    let (number, end) = leading_number(input);
    if end > 1 && input.get(end..end + 2) == Some(b"\r\n") {
        return Header::Number(number, end + 2);
    }
    header_of_line(input, mark)
}

/// The number behind the first byte, and where it ends: what nearly every header is, most often of a digit or two.
#[inline]
fn leading_number(input: &[u8]) -> (u64, usize) {
    let value = |digit: &u8| u64::from(*digit - b'0');
    match input {
        [_, one @ b'0'..=b'9', b'\r', ..] => (value(one), 2),
        [_, ten @ b'0'..=b'9', one @ b'0'..=b'9', b'\r', ..] => (10 * value(ten) + value(one), 3),
        _ => long_number(input),
    }
}

fn long_number(input: &[u8]) -> (u64, usize) {
    let (mut number, mut end) = (0, 1);
    for digit in input[1..].iter().take(MOST_DIGITS).map(|byte| byte.wrapping_sub(b'0')).take_while(|digit| *digit < 10) {
        (number, end) = (number * 10 + u64::from(digit), end + 1);
    }
    (number, end)
}

/// The same of a line that may be anything.
fn header_of_line(input: &[u8], mark: u8) -> Header {
    let seen = &input[..input.len().min(LONGEST_HEADER)];
    let Some(end) = memchr(b'\n', seen) else { return if seen.len() < LONGEST_HEADER { Header::NotYet } else { Header::Bad } };
    let Some(digits) = seen[1..end].strip_suffix(b"\r") else { return Header::Bad };
    match digits.strip_prefix(b"-") {
        Some(digits) if mark == b'*' => digits_of(digits).map_or(Header::Bad, |_| Header::Negative(end + 1)),
        Some(_) => Header::Bad,
        None => digits_of(digits).map_or(Header::Bad, |number| Header::Number(number, end + 1)),
    }
}

/// The length that `$LENGTH\r\n` announces, and its own; nothing if it is not all there.
fn bulk(input: &[u8], limits: &Limits) -> Result<Option<(usize, usize)>, Cow<'static, str>> {
    match input.first() {
        None => Ok(None),
        Some(b'$') => match header(input, b'$') {
            Header::NotYet => Ok(None),
            Header::Number(length, header) => {
                let fits = usize::try_from(length).ok().filter(|length| *length <= limits.max_value.max(limits.max_line));
                fits.map(|length| Some((length, header))).ok_or(Cow::Borrowed("invalid bulk length: more than limits.max_value"))
            }
            Header::Negative(_) | Header::Bad => Err(Cow::Borrowed("invalid bulk length")),
        },
        Some(other) => Err(Cow::Owned(format!("expected '$', got '{}'", printable(*other)))),
    }
}

/// A byte as it can stand in a line.
fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() { char::from(byte) } else { ' ' }
}

fn digits_of(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > MOST_DIGITS {
        return None;
    }
    digits.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
}

/// The strings of a whole array that are still to be taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Args<'a> {
    /// The strings as they arrived, each with its length before it.
    rest: &'a [u8],
    left: usize,
}

impl<'a> Args<'a> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.left
    }

    /// The bytes they take, with their lengths.
    pub(super) fn bytes(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let (string, rest) = string_at_front(self.rest);
        self.rest = rest;
        Some(string)
    }
}

/// Cuts the first string off an array's bytes, which are known to be whole.
pub(super) fn string_at_front(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, end) = leading_number(bytes);
    let (string, rest) = bytes[end + 2..].split_at(length as usize);
    (string, &rest[2..])
}

/// Adds an array's header.
pub(super) fn push_header(mark: u8, count: usize, output: &mut Vec<u8>) {
    output.push(mark);
    output.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
    output.extend_from_slice(b"\r\n");
}

/// Adds a string.
pub(super) fn push_string(string: &[u8], output: &mut Vec<u8>) {
    push_header(b'$', string.len(), output);
    output.extend_from_slice(string);
    output.extend_from_slice(b"\r\n");
}

/// An inline command as an array; nothing if its quotes do not close. Blanks part words; within quotes they do not, and in double ones a
/// backslash says a byte.
pub(super) fn array_of_line(text: &[u8]) -> Option<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() {
        let mut word = Vec::new();
        rest = take_word(rest, &mut word)?.trim_ascii_start();
        words.push(word);
    }
    let mut array = Vec::with_capacity(text.len() + 16 * words.len());
    push_header(b'*', words.len(), &mut array);
    words.iter().for_each(|word| push_string(word, &mut array));
    Some(array)
}

fn take_word<'a>(text: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut rest = text;
    loop {
        match rest {
            [] => return Some(rest),
            [blank, ..] if blank.is_ascii_whitespace() => return Some(rest),
            [quote @ (b'"' | b'\''), inner @ ..] => {
                rest = take_quoted(*quote, inner, word)?;
                // As in Redis, a quote ends its word.
                return rest.first().is_none_or(u8::is_ascii_whitespace).then_some(rest);
            }
            [byte, behind @ ..] => {
                word.push(*byte);
                rest = behind;
            }
        }
    }
}

fn take_quoted<'a>(quote: u8, text: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut rest = text;
    loop {
        let (byte, behind) = match (quote, rest) {
            (_, []) => return None,
            (_, [byte, behind @ ..]) if *byte == quote => return Some(behind),
            (b'\'', [b'\\', b'\'', behind @ ..]) => (b'\'', behind),
            (b'"', [b'\\', b'x', high, low, behind @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hexadecimal(*high) << 4 | hexadecimal(*low), behind)
            }
            (b'"', [b'\\', escaped, behind @ ..]) => (meaning_of(*escaped), behind),
            (_, [byte, behind @ ..]) => (*byte, behind),
        };
        word.push(byte);
        rest = behind;
    }
}

fn hexadecimal(digit: u8) -> u8 {
    char::from(digit).to_digit(16).map_or(0, |value| value as u8)
}

fn meaning_of(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn limits() -> Limits {
        Limits { max_value: 10, max_line: 64, ..Config::default().limits }
    }

    /// What a framer says once all of `bytes` are there, having seen each byte arrive.
    fn framed(bytes: &[u8]) -> Frame<'_> {
        let mut framer = Framer::default();
        for end in 0..bytes.len() {
            match framer.next(&bytes[..end], &limits()) {
                Frame::Incomplete => {}
                early => return early,
            }
        }
        let late = framer.next(bytes, &limits());
        assert_eq!(late, Framer::default().next(bytes, &limits()), "{}", bytes.escape_ascii());
        late
    }

    #[test]
    fn an_array_is_cut_into_its_strings_whatever_bytes_they_hold() {
        let bytes = b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$6\r\na\r\n$1\0\r\n";
        let Frame::Array(whole, args) = framed(bytes) else { panic!("no array") };
        assert_eq!((whole, args.len()), (bytes.len(), 3));
        assert_eq!(args.collect::<Vec<_>>(), [&b"SET"[..], b"", b"a\r\n$1\0"]);
        assert_eq!(framed(b"*0\r\n"), Frame::Nothing(4));
        assert_eq!(framed(b"*-1\r\n"), Frame::Nothing(5));
    }

    #[test]
    fn a_line_is_a_command_too() {
        assert_eq!(framed(b"PING\r\n"), Frame::Inline(6, b"PING"));
        assert_eq!(framed(b" PING \n"), Frame::Inline(7, b"PING"));
        assert_eq!(framed(b"\r\n"), Frame::Nothing(2));
        assert_eq!(framed(&[b'x'; 66]), Frame::Invalid("too big inline request".into()));
    }

    #[test]
    fn what_cannot_be_framed_is_refused_before_its_bytes_are_waited_for() {
        for (bytes, why) in [
            (&b"*1048577\r\n"[..], "invalid multibulk length"),
            (b"*x\r\n", "invalid multibulk length"),
            (b"*1\n", "invalid multibulk length"),
            (b"*00000000000000000000000000000000000001", "invalid multibulk length"),
            (b"*1\r\n+OK\r\n", "expected '$', got '+'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$65\r\n", "invalid bulk length: more than limits.max_value"),
            (b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
            (b"*1\r\n$4\r\nPING\nx", "a string is longer than announced"),
        ] {
            assert_eq!(framed(bytes), Frame::Invalid(why.into()), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn quotes_hold_a_word_together_and_a_backslash_says_a_byte() {
        let words = |line: &str| {
            let array = array_of_line(line.as_bytes())?;
            let Frame::Array(_, args) = Framer::default().next(&array, &limits()) else { return None };
            Some(args.map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join("|"))
        };
        assert_eq!(words("SET k v").as_deref(), Some("SET|k|v"));
        assert_eq!(words(r#"ECHO "a b\x00\n\"" 'c\'d' "" "#).as_deref(), Some(r#"ECHO|a b\x00\n\"|c\'d|"#));
        for bad in [r#"ECHO "a"#, "ECHO 'a", r#"ECHO "a"b"#] {
            assert_eq!(words(bad), None, "{bad}");
        }
    }
}
