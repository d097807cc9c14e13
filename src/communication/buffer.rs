//! The bytes of a connection that have arrived and are not done with.
//!
//! ```text
//!   0            start               end            bytes.len()
//!   ├── done with ──┼── to be parsed ──┼── room to read ──┤
//! ```
//!
//! Invariant: `start <= end <= bytes.len()`. Memory follows what has arrived, never what was announced: a client that declares a megabyte
//! and sends sixteen bytes costs a chunk. A buffer that is empty gives its memory back to the pool, so an idle client's connection holds none.

use std::io::{self, ErrorKind, Read};

/// The size of a fresh buffer.
pub const CHUNK: usize = 16 << 10;
/// Most bytes read from one connection in one turn, so that a fast one cannot starve the others.
pub const READ_A_TURN: usize = 256 << 10;
/// The size up to which a link keeps its buffer: what all clients of a node have asked in a turn comes over it.
const KEPT_BY_LINK: usize = 256 << 10;
/// Most empty buffers kept for the next reader.
const POOLED: usize = 256;
/// Buffers that are kept in quiet times too.
const KEPT: usize = 16;

/// Empty buffers, to be used again.
#[derive(Debug, Default)]
pub struct Pool {
    free: Vec<Vec<u8>>,
}

/// What one reading brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// All there was; the socket will tell when there is more.
    Drained(usize),
    /// As much as one turn allows: there may be more.
    More(usize),
    /// All there was, and there will be no more.
    Ended(usize),
}

/// Bytes that have arrived.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Pool {
    /// A vector of [`CHUNK`] zeros, or of what was left in it: to be overwritten.
    pub fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_else(|| vec![0; CHUNK])
    }

    /// Takes a vector back. One that has grown is not kept.
    pub fn give(&mut self, bytes: Vec<u8>) {
        if bytes.len() == CHUNK && self.free.len() < POOLED {
            self.free.push(bytes);
        }
    }

    /// Lets go of half of what is kept: called at a steady pace, it gives a burst's memory back.
    pub fn shrink(&mut self) {
        self.free.truncate((self.free.len() / 2).max(KEPT));
    }

    /// Bytes the pool holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.free.len() * CHUNK
    }
}

impl Buffer {
    /// The bytes to be parsed.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Bytes this buffer occupies.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// `count` bytes are done with.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.end, "a parser consumed more than there was");
    }

    /// Gives the memory back if nothing is pending.
    pub fn release(&mut self, pool: &mut Pool) {
        if self.start == self.end && !self.bytes.is_empty() {
            pool.give(std::mem::take(&mut self.bytes));
            (self.start, self.end) = (0, 0);
        }
    }

    /// Gives the memory back only if it has grown beyond what the next turn will need.
    pub fn keep_room(&mut self) {
        if self.start == self.end && self.bytes.len() > KEPT_BY_LINK {
            *self = Buffer::default();
        }
    }

    /// Reads what `source` has, at most [`READ_A_TURN`] bytes. A read that does not fill the room is taken to have emptied the source,
    /// which saves a system call a turn; an edge-triggered poll tells when more arrives.
    pub fn fill(&mut self, source: &mut impl Read, pool: &mut Pool) -> io::Result<Filled> {
        let mut total = 0;
        while total < READ_A_TURN {
            self.make_room(pool);
            let room = self.bytes.len() - self.end;
            match source.read(&mut self.bytes[self.end..]) {
                Ok(0) => return Ok(Filled::Ended(total)),
                Ok(count) => {
                    self.end += count;
                    total += count;
                    if count < room {
                        return Ok(Filled::Drained(total));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Filled::Drained(total)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Filled::More(total))
    }

    /// Sees to it that at least one byte can be read: from the pool, by moving what is pending to the front, or by doubling.
    fn make_room(&mut self, pool: &mut Pool) {
        if self.bytes.is_empty() {
            self.bytes = pool.take();
        } else if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.bytes.len() && self.start >= self.bytes.len() / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else if self.end == self.bytes.len() {
            self.bytes.resize(2 * self.bytes.len(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out its bytes in reads of at most `most`, then would block.
    struct Trickle {
        bytes: Vec<u8>,
        most: usize,
    }

    impl Read for Trickle {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.bytes.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = self.most.min(into.len()).min(self.bytes.len());
            into[..count].copy_from_slice(&self.bytes[..count]);
            self.bytes.drain(..count);
            Ok(count)
        }
    }

    #[test]
    fn what_is_read_in_pieces_and_consumed_in_pieces_stays_whole() {
        let bytes: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let mut source = Trickle { bytes: bytes.clone(), most: 777 };
        let (mut pool, mut buffer, mut seen) = (Pool::default(), Buffer::default(), Vec::new());
        while seen.len() < bytes.len() {
            buffer.fill(&mut source, &mut pool).expect("the source does not fail");
            let count = buffer.pending().len().min(501);
            seen.extend_from_slice(&buffer.pending()[..count]);
            buffer.consume(count);
        }
        assert_eq!(seen, bytes);
    }

    #[test]
    fn memory_follows_what_arrived_and_goes_back_when_it_is_done_with() {
        let (mut pool, mut buffer) = (Pool::default(), Buffer::default());
        buffer.fill(&mut Trickle { bytes: vec![1; 16], most: 16 }, &mut pool).expect("the source does not fail");
        assert_eq!(buffer.capacity(), CHUNK);
        buffer.consume(16);
        buffer.release(&mut pool);
        assert_eq!((buffer.capacity(), pool.bytes()), (0, CHUNK));
    }

    #[test]
    fn one_turn_reads_a_bounded_part_of_a_flood() {
        let (mut pool, mut buffer) = (Pool::default(), Buffer::default());
        let mut flood = Trickle { bytes: vec![7; 4 * READ_A_TURN], most: usize::MAX };
        assert!(matches!(buffer.fill(&mut flood, &mut pool), Ok(Filled::More(count)) if count <= 2 * READ_A_TURN));
    }
}
