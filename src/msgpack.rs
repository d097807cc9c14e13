//! Fields as msgpack: what peers say to each other and what a node keeps of a view are written and read with the same few words.
//!
//! It knows numbers, texts, bytes and arrays, and nothing of what they mean: whoever owns a thing writes and reads it, in an `impl` of its own.
//! Lengths are checked against what is there before anything is reserved for them.

use std::borrow::Cow;

use rmp::decode::bytes::{Bytes, BytesReadError};
use rmp::{Marker, decode, encode};

/// Writes fields. Writing into a vector cannot fail, so the results are `expect`ed.
pub struct Writer<'o>(pub &'o mut Vec<u8>);

const INFALLIBLE: &str = "a vector takes every byte";

impl Writer<'_> {
    /// Begins an array of so many fields.
    pub fn array(&mut self, length: usize) -> &mut Self {
        let length = u32::try_from(length).expect("lists are limited far below 2^32");
        encode::write_array_len(self.0, length).expect(INFALLIBLE);
        self
    }

    /// A number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        encode::write_uint(self.0, number).expect(INFALLIBLE);
        self
    }

    /// A number or nothing.
    pub fn optional_number(&mut self, number: Option<u64>) -> &mut Self {
        match number {
            Some(number) => self.number(number),
            None => self.nil(),
        }
    }

    /// A text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        encode::write_str(self.0, text).expect(INFALLIBLE);
        self
    }

    /// Bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        encode::write_bin(self.0, bytes).expect(INFALLIBLE);
        self
    }

    /// The length of bytes that are to follow.
    pub fn bytes_length(&mut self, length: usize) -> &mut Self {
        let length = u32::try_from(length).expect("values are limited to 512 MiB");
        encode::write_bin_len(self.0, length).expect(INFALLIBLE);
        self
    }

    /// Bytes or nothing.
    pub fn optional_bytes(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self.nil(),
        }
    }

    /// Nothing.
    pub fn nil(&mut self) -> &mut Self {
        encode::write_nil(self.0).expect(INFALLIBLE);
        self
    }
}

/// The bytes are no message. What is wrong with them matters to nobody: the link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<E> From<decode::ValueReadError<E>> for Malformed
where
    E: decode::RmpReadErr,
{
    fn from(_: decode::ValueReadError<E>) -> Malformed {
        Malformed
    }
}

impl From<decode::NumValueReadError<BytesReadError>> for Malformed {
    fn from(_: decode::NumValueReadError<BytesReadError>) -> Malformed {
        Malformed
    }
}

/// What was read, if it made sense.
pub type Parse<T> = Result<T, Malformed>;

/// Reads fields. Bytes and texts are borrowed from the input, and their lengths are checked against what is there before use.
pub struct Reader<'a> {
    rest: Bytes<'a>,
}

impl<'a> Reader<'a> {
    /// Reads from the beginning of `input`.
    pub fn new(input: &'a [u8]) -> Reader<'a> {
        Reader { rest: Bytes::new(input) }
    }

    /// Has everything been read?
    pub fn is_at_end(&self) -> bool {
        self.rest.remaining_slice().is_empty()
    }

    /// The length of an array that begins here.
    pub fn array(&mut self) -> Parse<usize> {
        Ok(decode::read_array_len(&mut self.rest)? as usize)
    }

    /// The length of an array that begins here and has at most so many elements.
    pub fn array_up_to(&mut self, most: usize) -> Parse<usize> {
        let length = self.array()?;
        if length <= most { Ok(length) } else { Err(Malformed) }
    }

    /// An array of exactly so many fields begins here.
    pub fn array_of(&mut self, fields: usize) -> Parse<()> {
        if self.array()? == fields { Ok(()) } else { Err(Malformed) }
    }

    /// A number.
    pub fn number(&mut self) -> Parse<u64> {
        Ok(decode::read_int(&mut self.rest)?)
    }

    /// A number below 2^32.
    pub fn number_u32(&mut self) -> Parse<u32> {
        u32::try_from(self.number()?).map_err(|_| Malformed)
    }

    /// 0 or 1.
    pub fn flag(&mut self) -> Parse<bool> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// A text.
    pub fn text(&mut self) -> Parse<&'a str> {
        let length = decode::read_str_len(&mut self.rest)? as usize;
        std::str::from_utf8(self.take(length)?).map_err(|_| Malformed)
    }

    /// Bytes.
    pub fn bytes(&mut self) -> Parse<&'a [u8]> {
        let length = decode::read_bin_len(&mut self.rest)? as usize;
        self.take(length)
    }

    /// Bytes or nothing.
    pub fn optional_bytes(&mut self) -> Parse<Option<Cow<'a, [u8]>>> {
        if self.skip_nil() { Ok(None) } else { Ok(Some(Cow::Borrowed(self.bytes()?))) }
    }

    /// A number or nothing.
    pub fn optional_number(&mut self) -> Parse<Option<u64>> {
        if self.skip_nil() { Ok(None) } else { Ok(Some(self.number()?)) }
    }

    /// Is there nothing here? If so, it has been read.
    pub fn skip_nil(&mut self) -> bool {
        let rest = self.rest.remaining_slice();
        let nil = rest.first() == Some(&Marker::Null.to_u8());
        if nil {
            self.rest = Bytes::new(&rest[1..]);
        }
        nil
    }

    fn take(&mut self, length: usize) -> Parse<&'a [u8]> {
        let (taken, rest) = self.rest.remaining_slice().split_at_checked(length).ok_or(Malformed)?;
        self.rest = Bytes::new(rest);
        Ok(taken)
    }
}
