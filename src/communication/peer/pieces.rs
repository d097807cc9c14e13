//! Large messages go in pieces, so that what cannot wait goes between them.
//!
//! ```text
//!   the two upper bits of a frame's length:   00  a whole message
//!                                             10  a piece of a message, and there is more
//!                                             11  its last piece
//!                                             01  no frame: so many bytes of pieces were taken
//!
//!   owner                                     holder
//!     │── piece ── piece ── ping ── piece ──────▶│
//!     │◀──────────────────── pong, so many taken ┤
//!     │── piece ...                              │
//! ```
//!
//! The pieces of one message are not mixed with another's, nor with any message that may not overtake: the order of all of those is that in
//! which they were said. A sender is at most [`WINDOW`] ahead of what the receiver says it has taken. Without that, megabytes would lie in
//! the kernels' buffers, where nothing overtakes them, and a heartbeat would take as long as they do.

use crate::node::message::Block;

/// The most of a message that one frame carries, if the message may be large.
pub const PIECE: usize = 64 << 10;
/// How far the sender of pieces may be ahead.
pub const WINDOW: usize = 1 << 20;
/// The receiver says so each time it has taken so much, and at the end of a message.
const TOLD_EVERY: usize = WINDOW / 4;

/// Bytes of the length before a frame.
pub(super) const LENGTH_BYTES: usize = 4;
const KIND: u32 = 3 << 30;
const TAKEN: u32 = 1 << 30;
const MORE: u32 = 2 << 30;
const LAST: u32 = 3 << 30;

/// What a frame's length says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// A message of so many bytes follows.
    Whole(usize),
    /// A piece of so many bytes follows.
    Piece { length: usize, is_last: bool },
    /// So many bytes of pieces were taken.
    Taken(usize),
}

impl Header {
    /// The header at the front of `bytes`, if it is there.
    pub(super) fn read(bytes: &[u8]) -> Option<Header> {
        let word = u32::from_be_bytes(*bytes.first_chunk()?);
        let length = (word & !KIND) as usize;
        Some(match word & KIND {
            TAKEN => Header::Taken(length),
            MORE => Header::Piece { length, is_last: false },
            LAST => Header::Piece { length, is_last: true },
            _ => Header::Whole(length),
        })
    }

    pub(super) fn bytes(self) -> [u8; LENGTH_BYTES] {
        let (kind, length) = match self {
            Header::Whole(length) => (0, length),
            Header::Piece { length, is_last: false } => (MORE, length),
            Header::Piece { length, is_last: true } => (LAST, length),
            Header::Taken(count) => (TAKEN, count),
        };
        let length = u32::try_from(length).ok().filter(|length| length & KIND == 0).expect("values are limited to 512 MiB");
        (kind | length).to_be_bytes()
    }

    /// Bytes up to the next header.
    fn frame(self) -> usize {
        match self {
            Header::Whole(length) | Header::Piece { length, .. } => LENGTH_BYTES + length,
            Header::Taken(_) => LENGTH_BYTES,
        }
    }
}

/// The length of the frame that begins here.
///
/// # Panics
/// If its header is not there: for frames that were composed here.
#[must_use]
pub fn measure(frames: &[u8]) -> usize {
    Header::read(frames).expect("what was composed begins with a header").frame()
}

/// The word that so many bytes were taken.
#[must_use]
pub fn taken(count: usize) -> [u8; LENGTH_BYTES] {
    Header::Taken(count).bytes()
}

/// A large message that is to be cut into pieces: these parts, one behind the other.
#[derive(Debug)]
pub struct Large {
    /// Room for a header, then the message up to a value that is shared, or all of it.
    before: Vec<u8>,
    block: Option<Block>,
    behind: Vec<u8>,
    /// How much of it is cut off.
    cut: usize,
}

impl Large {
    pub(super) fn new(before: Vec<u8>, block: Option<Block>, behind: Vec<u8>) -> Large {
        Large { before, block, behind, cut: 0 }
    }

    fn parts(&self) -> [&[u8]; 3] {
        [&self.before[LENGTH_BYTES..], self.block.as_deref().unwrap_or_default(), &self.behind]
    }

    /// Bytes of the message that are not cut off.
    fn uncut(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum::<usize>() - self.cut
    }

    /// Bytes of the pieces that are not cut off, with their headers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.uncut() + self.uncut().div_ceil(PIECE) * LENGTH_BYTES
    }

    /// Memory that nothing else shares.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        self.before.capacity() + self.behind.capacity()
    }

    /// Cuts the next piece off, behind `output`. True if it is the last.
    pub fn cut(&mut self, output: &mut Vec<u8>) -> bool {
        let size = self.uncut().min(PIECE);
        let is_last = size == self.uncut();
        output.extend_from_slice(&Header::Piece { length: size, is_last }.bytes());
        let (mut from, mut left) = (self.cut, size);
        for part in self.parts() {
            let rest = &part[from.min(part.len())..];
            let taken = &rest[..left.min(rest.len())];
            output.extend_from_slice(taken);
            from = from.saturating_sub(part.len());
            left -= taken.len();
        }
        self.cut += size;
        is_last
    }
}

/// A message that arrives in pieces. Its memory follows what has arrived.
#[derive(Debug, Default)]
pub struct Assembly {
    bytes: Vec<u8>,
    untold: usize,
}

impl Assembly {
    /// Takes the next piece. If it is the last, the message is whole. Nothing if it is larger than any message.
    pub fn take(&mut self, piece: &[u8], is_last: bool, max_message: usize) -> Option<Assembled> {
        if self.bytes.len() + piece.len() > max_message {
            return None;
        }
        self.bytes.extend_from_slice(piece);
        self.untold += LENGTH_BYTES + piece.len();
        Some(if is_last { Assembled::Whole(std::mem::take(&mut self.bytes)) } else { Assembled::InPart })
    }

    /// How many bytes the sender is to be told of, if it is time to.
    pub fn tell(&mut self) -> Option<usize> {
        let is_time = self.untold >= TOLD_EVERY || self.bytes.is_empty() && self.untold > 0;
        is_time.then(|| std::mem::take(&mut self.untold))
    }

    /// The memory it takes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }
}

/// What a piece has made of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Assembled {
    /// There is more to come.
    InPart,
    /// All of it.
    Whole(Vec<u8>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length as u32).map(|number| (number ^ number >> 8) as u8).collect()
    }

    #[test]
    fn a_message_that_was_cut_is_put_together_as_it_was() {
        for (before, block, behind) in
            [(1, 0, 0), (PIECE, 0, 0), (PIECE + 1, 0, 0), (50, 3 * PIECE, 9), (PIECE - 1, 40 * PIECE + 5, PIECE + 1)]
        {
            let (before, block, behind) = (bytes(before), bytes(block), bytes(behind));
            let message = [&before[..], &block, &behind].concat();
            let mut large = Large::new([&[0; LENGTH_BYTES], &before[..]].concat(), Some(block.into()), behind);
            let (expected, mut output, mut assembly, mut told) = (large.bytes(), taken(7).to_vec(), Assembly::default(), 0);
            let whole = loop {
                let at = output.len();
                let is_last = large.cut(&mut output);
                assert_eq!(measure(&output[at..]), output.len() - at);
                assert_eq!(expected, output.len() - LENGTH_BYTES + large.bytes());
                let made = assembly.take(&output[at + LENGTH_BYTES..], is_last, message.len()).expect("it is not too large");
                told += assembly.tell().unwrap_or(0);
                if let Assembled::Whole(whole) = made {
                    break whole;
                }
            };
            assert!(whole == message && output[..LENGTH_BYTES] == taken(7));
            assert_eq!(told, expected, "the sender hears of every byte");
        }
    }

    #[test]
    fn a_message_that_grows_beyond_any_is_refused() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.take(&[1; 10], false, 19), Some(Assembled::InPart));
        assert_eq!(assembly.take(&[1; 10], true, 19), None);
    }
}
