//! memcached's text protocol, from the client's side: requests composed, replies recognised.
//!
//! Each value begins with its key and goes on with a filler that depends on the position alone, so every reply can be verified without
//! remembering what was written. Replies are read as a stream: a value is compared as it passes and never collected, so a reply of any
//! size takes no room; only a line that is cut off is kept, and lines have a limit.

use super::schedule::{Kind, Operation};

/// The bytes of each key.
pub const KEY_BYTES: usize = KEY_PREFIX.len() + KEY_DIGITS;
/// How many keys can have names.
pub const MAX_KEYS: u64 = 10u64.pow(KEY_DIGITS as u32);

const KEY_PREFIX: &[u8] = b"key-";
const KEY_DIGITS: usize = 12;
/// The longest line that a server may answer with.
const MAX_LINE_BYTES: usize = 2_048;
/// The filler repeats after so many bytes: a prime, so that it does not line up with pages and buffers that went astray.
const FILLER_BYTES: usize = 4_093;

static FILLER: [u8; FILLER_BYTES] = filler();

const fn filler() -> [u8; FILLER_BYTES] {
    let (mut bytes, mut state, mut at) = ([0; FILLER_BYTES], 1u32, 0);
    while at < FILLER_BYTES {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes[at] = b'a' + ((state >> 16) % 26) as u8;
        at += 1;
    }
    bytes
}

/// The name of key `number`.
pub fn key_name(mut number: u64) -> [u8; KEY_BYTES] {
    let mut name = [b'0'; KEY_BYTES];
    name[..KEY_PREFIX.len()].copy_from_slice(KEY_PREFIX);
    for digit in name[KEY_PREFIX.len()..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    name
}

/// A value's bytes from position `at` on: as many as lie in one piece.
fn value_piece(key: &[u8; KEY_BYTES], at: usize) -> &[u8] {
    if at < KEY_BYTES { &key[at..] } else { &FILLER[at % FILLER_BYTES..] }
}

/// Appends the request for `operation`; what it writes expires after `ttl_s` seconds, or never if that is 0.
pub fn compose(operation: &Operation, ttl_s: u32, out: &mut Vec<u8>) {
    let key = key_name(operation.key);
    let verb: &[u8] = match operation.kind {
        Kind::Get => b"get ",
        Kind::Set => b"set ",
        Kind::Delete => b"delete ",
    };
    out.extend_from_slice(verb);
    out.extend_from_slice(&key);
    if operation.kind == Kind::Set {
        compose_value(&key, operation.value_bytes as usize, ttl_s, out);
    }
    out.extend_from_slice(b"\r\n");
}

fn compose_value(key: &[u8; KEY_BYTES], length: usize, ttl_s: u32, out: &mut Vec<u8>) {
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(b" 0 ");
    out.extend_from_slice(number.format(ttl_s).as_bytes());
    out.push(b' ');
    out.extend_from_slice(number.format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut at = 0;
    while at < length {
        let piece = value_piece(key, at);
        let piece = &piece[..piece.len().min(length - at)];
        out.extend_from_slice(piece);
        at += piece.len();
    }
}

/// What the server made of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A get that found its key.
    Hit,
    /// A get that did not.
    Miss,
    /// A set or a delete, carried out (a delete of nothing is).
    Done,
    /// A value that belongs to another key, or that nobody has written.
    Wrong,
    /// Not carried out: the server's words.
    Refused(String),
}

/// An answer that is none to what was asked: the connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfStep(pub String);

/// Reads the replies of one connection.
#[derive(Clone, Debug)]
pub struct ReplyParser {
    /// Compare whole values, or only the key they are sent under?
    check: bool,
    /// The begin of a line that is not all there yet.
    line: Vec<u8>,
    /// The value that is passing: bytes seen, and bytes there are before the line end.
    value: Option<(usize, usize)>,
    /// What a get has brought so far.
    found: Option<Outcome>,
}

impl ReplyParser {
    /// A parser at the begin of a stream, that compares whole values if `check` is set.
    pub fn new(check: bool) -> ReplyParser {
        ReplyParser { check, line: Vec::new(), value: None, found: None }
    }

    /// Reads on in the reply to `asked`: how many bytes of `input` it took, and the outcome if the reply is complete.
    pub fn parse(&mut self, input: &[u8], asked: &Operation) -> Result<(usize, Option<Outcome>), OutOfStep> {
        let mut used = 0;
        while used < input.len() {
            let rest = &input[used..];
            if let Some((seen, length)) = self.value {
                used += self.pass_value(rest, seen, length, asked)?;
                continue;
            }
            let (taken, outcome) = self.take_line(rest, asked)?;
            used += taken;
            if outcome.is_some() {
                return Ok((used, outcome));
            }
        }
        Ok((used, None))
    }

    fn take_line(&mut self, input: &[u8], asked: &Operation) -> Result<(usize, Option<Outcome>), OutOfStep> {
        let end = memchr::memchr(b'\n', input);
        let taken = end.map_or(input.len(), |at| at + 1);
        if self.line.len() + taken > MAX_LINE_BYTES {
            return Err(OutOfStep("a line without end".into()));
        }
        if end.is_none() {
            self.line.extend_from_slice(input);
            return Ok((taken, None));
        }
        if self.line.is_empty() {
            return Ok((taken, self.on_line(&input[..taken], asked)?));
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(&input[..taken]);
        Ok((taken, self.on_line(&line, asked)?))
    }

    fn on_line(&mut self, line: &[u8], asked: &Operation) -> Result<Option<Outcome>, OutOfStep> {
        let Some(line) = line.strip_suffix(b"\r\n") else { return Err(out_of_step(line)) };
        if line == b"ERROR" || line.starts_with(b"CLIENT_ERROR") || line.starts_with(b"SERVER_ERROR") || line == b"NOT_STORED" {
            self.found = None;
            return Ok(Some(Outcome::Refused(String::from_utf8_lossy(line).into_owned())));
        }
        match (asked.kind, line) {
            (Kind::Get, b"END") => Ok(Some(self.found.take().unwrap_or(Outcome::Miss))),
            (Kind::Get, _) => self.on_value_line(line, asked).map(|()| None),
            (Kind::Set, b"STORED") | (Kind::Delete, b"DELETED" | b"NOT_FOUND") => Ok(Some(Outcome::Done)),
            (Kind::Set | Kind::Delete, _) => Err(out_of_step(line)),
        }
    }

    /// `VALUE key flags bytes`; a second one in the same reply is nothing we asked for.
    fn on_value_line(&mut self, line: &[u8], asked: &Operation) -> Result<(), OutOfStep> {
        let mut words = line.split(|&byte| byte == b' ');
        let (verb, key, _flags, length) = (words.next(), words.next(), words.next(), words.next());
        let length = length.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
        let (Some(b"VALUE"), Some(key), Some(length), None) = (verb, key, length, &self.found) else { return Err(out_of_step(line)) };
        self.found = Some(if key == key_name(asked.key) { Outcome::Hit } else { Outcome::Wrong });
        self.value = Some((0, length as usize));
        Ok(())
    }

    /// Lets the next piece of a value or of its line end pass by.
    fn pass_value(&mut self, input: &[u8], seen: usize, length: usize, asked: &Operation) -> Result<usize, OutOfStep> {
        let line_end = b"\r\n";
        let passed = if seen < length {
            let name = key_name(asked.key);
            let whole = if self.check { value_piece(&name, seen).len() } else { length };
            let piece = &input[..input.len().min(length - seen).min(whole)];
            if self.check && !value_piece(&name, seen).starts_with(piece) {
                self.found = Some(Outcome::Wrong);
            }
            piece.len()
        } else if input[0] == line_end[seen - length] {
            1
        } else {
            return Err(OutOfStep("a value that does not end where it should".into()));
        };
        let seen = seen + passed;
        self.value = (seen < length + line_end.len()).then_some((seen, length));
        Ok(passed)
    }
}

fn out_of_step(line: &[u8]) -> OutOfStep {
    /// As much of a strange line as is worth showing.
    const SHOWN: usize = 80;
    let text = String::from_utf8_lossy(&line[..line.len().min(SHOWN)]);
    OutOfStep(format!("unexpected answer {:?}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(kind: Kind, key: u64, value_bytes: u32) -> Operation {
        Operation { kind, key, value_bytes, start_ns: 0 }
    }

    fn composed(operation: &Operation, ttl_s: u32) -> Vec<u8> {
        let mut out = Vec::new();
        compose(operation, ttl_s, &mut out);
        out
    }

    /// The value that a set of this size sends.
    fn value(key: u64, length: u32) -> Vec<u8> {
        let request = composed(&operation(Kind::Set, key, length), 0);
        request[request.len() - 2 - length as usize..request.len() - 2].to_vec()
    }

    fn found(key: u64, value: &[u8]) -> Vec<u8> {
        let name = String::from_utf8(key_name(key).to_vec()).unwrap();
        [format!("VALUE {name} 0 {}\r\n", value.len()).as_bytes(), value, b"\r\nEND\r\n"].concat()
    }

    /// All outcomes of a stream that arrives in these pieces.
    fn outcomes(pieces: &[&[u8]], asked: &[Operation], check: bool) -> Result<Vec<Outcome>, OutOfStep> {
        let (mut parser, mut seen) = (ReplyParser::new(check), Vec::new());
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (used, outcome) = parser.parse(rest, &asked[seen.len()])?;
                assert!(used > 0);
                rest = &rest[used..];
                seen.extend(outcome);
            }
        }
        Ok(seen)
    }

    #[test]
    fn requests_are_memcacheds() {
        assert_eq!(composed(&operation(Kind::Get, 7, 0), 0), b"get key-000000000007\r\n");
        assert_eq!(composed(&operation(Kind::Delete, 123_456_789_012, 0), 0), b"delete key-123456789012\r\n");
        assert_eq!(composed(&operation(Kind::Set, 7, 3), 60), b"set key-000000000007 0 60 3\r\nkey\r\n");
        assert_eq!(composed(&operation(Kind::Set, 7, 0), 0), b"set key-000000000007 0 0 0\r\n\r\n");
        assert_eq!(value(7, 10_000).len(), 10_000);
        assert!(value(7, 10_000).starts_with(b"key-000000000007"));
    }

    #[test]
    fn a_stream_of_replies_means_the_same_wherever_it_is_cut() {
        let kinds = [Kind::Get, Kind::Get, Kind::Set, Kind::Delete, Kind::Delete, Kind::Set, Kind::Get, Kind::Get];
        let asked = kinds.map(|kind| operation(kind, 5, 40));
        let stream = [
            &found(5, &value(5, 40))[..],
            b"END\r\nSTORED\r\nDELETED\r\nNOT_FOUND\r\nSERVER_ERROR out of memory storing object\r\n",
            &found(5, b""),
            &found(5, &value(6, 40)),
        ]
        .concat();
        let refused = Outcome::Refused("SERVER_ERROR out of memory storing object".into());
        let expected =
            [Outcome::Hit, Outcome::Miss, Outcome::Done, Outcome::Done, Outcome::Done, refused, Outcome::Hit, Outcome::Wrong].to_vec();
        for cut in 0..=stream.len() {
            let (head, tail) = stream.split_at(cut);
            assert_eq!(outcomes(&[head, tail], &asked, true), Ok(expected.clone()), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(outcomes(&bytes, &asked, true), Ok(expected));
    }

    #[test]
    fn each_changed_byte_of_a_value_is_seen_if_values_are_checked() {
        let asked = [operation(Kind::Get, 5, 0)];
        let sound = value(5, FILLER_BYTES as u32 + 100);
        assert_eq!(outcomes(&[&found(5, &sound)], &asked, true), Ok(vec![Outcome::Hit]));
        for at in [0, 1, KEY_BYTES - 1, KEY_BYTES, 1_000, FILLER_BYTES - 1, FILLER_BYTES, sound.len() - 1] {
            let mut changed = sound.clone();
            changed[at] ^= 1;
            assert_eq!(outcomes(&[&found(5, &changed)], &asked, true), Ok(vec![Outcome::Wrong]), "byte {at}");
            assert_eq!(outcomes(&[&found(5, &changed)], &asked, false), Ok(vec![Outcome::Hit]), "byte {at}");
        }
    }

    #[test]
    fn a_value_under_another_key_is_wrong_without_any_check() {
        let asked = [operation(Kind::Get, 5, 0)];
        assert_eq!(outcomes(&[&found(6, b"x")], &asked, false), Ok(vec![Outcome::Wrong]));
    }

    #[test]
    fn answers_to_something_else_put_the_connection_out_of_step() {
        let endless = vec![b'x'; MAX_LINE_BYTES + 1];
        let twice = [&found(5, b"x")[..found(5, b"x").len() - 5], &found(5, b"x")].concat();
        let cases: [(Kind, &[u8]); 9] = [
            (Kind::Get, b"STORED\r\n"),
            (Kind::Set, b"END\r\n"),
            (Kind::Delete, b"STORED\r\n"),
            (Kind::Get, b"END\n"),
            (Kind::Get, b"VALUE key-000000000005 0 x\r\n"),
            (Kind::Get, b"VALUE key-000000000005 0 1\r\nabc\r\n"),
            (Kind::Set, b"HTTP/1.1 400 Bad Request\r\n"),
            (Kind::Get, &endless),
            (Kind::Get, &twice),
        ];
        for (kind, answer) in cases {
            let seen = outcomes(&[answer], &[operation(kind, 5, 0)], false);
            assert!(seen.is_err(), "{}: {seen:?}", String::from_utf8_lossy(answer));
        }
    }
}
