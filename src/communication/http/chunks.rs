//! A chunked body, taken apart as it arrives.
//!
//! ```text
//!   5;ext=1 CRLF hello CRLF  3 CRLF abc CRLF  0 CRLF  Trailer: x CRLF  CRLF
//!   └ size line    └ data               last size ┘   └ passed over  ┘ └ end
//! ```
//!
//! Data is moved off the input at once, so a body never stands in memory twice, and only what has arrived is reserved, not what was
//! announced. Extensions and trailers are read and forgotten. All of it has limits: a size line, the framing as a whole (a body of
//! single bytes with long extensions costs its sender, not this server), the trailers, and the data.

use memchr::memchr;

use super::body::append;
use super::refusal::{self, Refusal};

/// Longest size line, with its extensions and its end.
const MAX_SIZE_LINE: usize = 256;
/// Most hexadecimal digits of a size: leading zeros have no use.
const MAX_SIZE_DIGITS: usize = 16;
/// Framing (size lines and line ends) that any body may have, in bytes.
const FREE_FRAMING: u64 = 16 << 10;
/// Beyond that, bytes of framing for each byte of data. Single bytes with no extensions need 5.
const FRAMING_PER_BYTE: u64 = 8;
/// Most bytes of trailers.
const MAX_TRAILERS: usize = 4 << 10;

/// A chunked body in the course of arriving.
#[derive(Debug)]
pub struct Chunks {
    step: Step,
    /// The data so far, unless nobody wants it.
    kept: Option<Vec<u8>>,
    /// Bytes of data announced so far.
    length: u64,
    framing: u64,
    trailers: usize,
}

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Over,
}

impl Chunks {
    /// A body whose data is wanted.
    #[must_use]
    pub fn kept() -> Chunks {
        Chunks { kept: Some(Vec::new()), ..Chunks::dropped() }
    }

    /// A body that is only to be passed over.
    #[must_use]
    pub fn dropped() -> Chunks {
        Chunks { step: Step::Size, kept: None, length: 0, framing: 0, trailers: 0 }
    }

    /// Takes what it can off the front of `input`, up to the body's end, and says how many bytes that were.
    pub fn take(&mut self, input: &[u8], max_value: usize) -> Result<usize, Refusal> {
        let mut consumed = 0;
        while self.step != Step::Over {
            let taken = self.take_one(&input[consumed..], max_value)?;
            if taken == 0 {
                break;
            }
            consumed += taken;
        }
        Ok(consumed)
    }

    /// Has the end been taken?
    #[must_use]
    pub fn are_over(&self) -> bool {
        self.step == Step::Over
    }

    /// The memory that the data takes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.kept.as_ref().map_or(0, Vec::capacity)
    }

    /// The data.
    #[must_use]
    pub fn into_data(self) -> Vec<u8> {
        self.kept.unwrap_or_default()
    }

    fn take_one(&mut self, input: &[u8], max_value: usize) -> Result<usize, Refusal> {
        match self.step {
            Step::Size => self.take_size(input, max_value),
            Step::Data(left) => Ok(self.take_data(input, left, max_value)),
            Step::DataEnd => self.take_data_end(input),
            Step::Trailer => self.take_trailer(input),
            Step::Over => Ok(0),
        }
    }

    fn take_size(&mut self, input: &[u8], max_value: usize) -> Result<usize, Refusal> {
        let Some(line) = line(input, MAX_SIZE_LINE, refusal::BAD_CHUNK)? else { return Ok(0) };
        let size = size(line).ok_or(refusal::BAD_CHUNK)?;
        self.length = self.length.saturating_add(size);
        if self.length > max_value as u64 {
            return Err(refusal::BODY_TOO_LARGE);
        }
        let taken = line.len() + 2;
        self.framing += taken as u64 + 2;
        // Counted without this chunk's own data, so that the answer does not depend on a promise.
        if self.framing > FREE_FRAMING + FRAMING_PER_BYTE * (self.length - size) {
            return Err(refusal::TOO_MUCH_FRAMING);
        }
        self.step = if size == 0 { Step::Trailer } else { Step::Data(size) };
        Ok(taken)
    }

    fn take_data(&mut self, input: &[u8], left: u64, max_value: usize) -> usize {
        let taken = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        if let Some(kept) = &mut self.kept {
            append(kept, &input[..taken], max_value);
        }
        let left = left - taken as u64;
        self.step = if left == 0 { Step::DataEnd } else { Step::Data(left) };
        taken
    }

    fn take_data_end(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        match input {
            [b'\r', b'\n', ..] => {
                self.step = Step::Size;
                Ok(2)
            }
            [] | [b'\r'] => Ok(0),
            _ => Err(refusal::BAD_CHUNK),
        }
    }

    fn take_trailer(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        let Some(line) = line(input, MAX_TRAILERS - self.trailers, refusal::TRAILERS_TOO_LARGE)? else { return Ok(0) };
        match line.first() {
            None => self.step = Step::Over,
            Some(first) if first.is_ascii_whitespace() || !line.contains(&b':') => return Err(refusal::BAD_CHUNK),
            Some(_) => self.trailers += line.len() + 2,
        }
        Ok(line.len() + 2)
    }
}

/// The first line of `input` without its CRLF, or `None` if its end is not there yet. With its CRLF it has at most `limit` bytes.
fn line(input: &[u8], limit: usize, too_long: Refusal) -> Result<Option<&[u8]>, Refusal> {
    let window = &input[..input.len().min(limit)];
    let Some(at) = memchr(b'\n', window) else {
        return if input.len() >= limit { Err(too_long) } else { Ok(None) };
    };
    let line = window[..at].strip_suffix(b"\r").ok_or(refusal::BAD_CHUNK)?;
    let is_text = line.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
    if is_text { Ok(Some(line)) } else { Err(refusal::BAD_CHUNK) }
}

/// The number that a size line begins with. Behind it come extensions or nothing.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().position(|byte| *byte == b';').map_or(line, |end| &line[..end]);
    if digits.is_empty() || digits.len() > MAX_SIZE_DIGITS {
        return None;
    }
    digits.iter().try_fold(0u64, |size, byte| Some(size << 4 | u64::from(char::from(*byte).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data and the bytes consumed, with the input shown in pieces that grow by `step` bytes.
    fn take(input: &[u8], step: usize, max_value: usize) -> Result<Option<(Vec<u8>, usize)>, Refusal> {
        let mut chunks = Chunks::kept();
        let mut consumed = 0;
        let mut shown = 0;
        while shown < input.len() && !chunks.are_over() {
            shown = (shown + step).min(input.len());
            consumed += chunks.take(&input[consumed..shown], max_value)?;
        }
        Ok(chunks.are_over().then(|| (chunks.into_data(), consumed)))
    }

    fn check(input: &[u8], expected: Result<Option<(Vec<u8>, usize)>, Refusal>) {
        for step in [1, 2, 3, 7, usize::MAX >> 1] {
            assert_eq!(take(input, step, 100), expected, "{:?} by {step}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn the_data_is_put_together_and_the_rest_is_left() {
        check(b"0\r\n\r\nnext", Ok(Some((b"".to_vec(), 5))));
        check(b"5\r\nhello\r\n0\r\n\r\nnext", Ok(Some((b"hello".to_vec(), 15))));
        check(b"5;name=\"v\";x\r\nhello\r\nA\r\n0123456789\r\n0;last\r\nT: x\r\nU:\r\n\r\n", Ok(Some((b"hello0123456789".to_vec(), 56))));
        check(b"0000000000000002\r\n\r\n\r\n00\r\n\r\n", Ok(Some((b"\r\n".to_vec(), 28))));
        check(b"5\r\nhello\r\n0\r\n", Ok(None));
    }

    #[test]
    fn bad_sizes_and_bad_ends_are_refused() {
        let bad: [&[u8]; 16] = [
            b"\r\n",
            b";x\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"0x1\r\n",
            b"1\n",
            b"1;\x00\r\n",
            b"1;a\rb\r\n",
            b"00000000000000001\r\n",
            b"2\r\nabc\r\n",
            b"2\r\nab\n0\r\n\r\n",
            b"0\r\n folded: x\r\n\r\n",
            b"0\r\nGET / HTTP/1.1\r\n\r\n",
        ];
        for input in bad {
            check(input, Err(refusal::BAD_CHUNK));
        }
    }

    #[test]
    fn every_part_has_its_limit() {
        check(b"65\r\n", Err(refusal::BODY_TOO_LARGE));
        check(b"FFFFFFFFFFFFFFFF\r\n", Err(refusal::BODY_TOO_LARGE));
        check(&[b'1'; MAX_SIZE_LINE], Err(refusal::BAD_CHUNK));
        let trailers = [b"0\r\n".as_slice(), &b"name: value\r\n".repeat(400)].concat();
        check(&trailers, Err(refusal::TRAILERS_TOO_LARGE));
        let padded = format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(90);
        check(padded.as_bytes(), Err(refusal::TOO_MUCH_FRAMING));
    }

    #[test]
    fn single_bytes_without_extensions_pass() {
        let input = [b"1\r\nx\r\n".repeat(50_000).as_slice(), b"0\r\n\r\n"].concat();
        let (data, consumed) = take(&input, 1_000, 1 << 20).expect("no refusal").expect("an end");
        assert_eq!((data.len(), consumed), (50_000, input.len()));
    }
}
