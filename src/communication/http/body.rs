//! A large body on its way: one buffer that grows with what has arrived.
//!
//! A small body waits in the connection's buffer and is borrowed from there. A large one is moved off it as it comes, so that the
//! connection's buffer stays small and the value stands in memory once until it becomes an entry. What is announced costs nothing: the
//! buffer doubles with what has come, and never beyond what was announced. A block of this size is moved by remapping its pages.

/// Bodies up to this wait where they arrive.
pub const MOST_BORROWED: usize = 64 << 10;

/// A body of known length in the course of arriving.
#[derive(Debug)]
pub struct Arriving {
    bytes: Vec<u8>,
    length: usize,
}

impl Arriving {
    /// A body of this length, of which nothing is there.
    #[must_use]
    pub fn of(length: usize) -> Arriving {
        Arriving { bytes: Vec::new(), length }
    }

    /// Takes what belongs to the body off the front of `input`, and says how many bytes that were.
    pub fn take(&mut self, input: &[u8]) -> usize {
        let taken = input.len().min(self.length - self.bytes.len());
        append(&mut self.bytes, &input[..taken], self.length);
        taken
    }

    /// Is all of it there?
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.bytes.len() == self.length
    }

    /// The memory it takes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// The body.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Appends `more` to bytes that will be `most` at most: room is made by doubling, and not beyond that.
pub fn append(bytes: &mut Vec<u8>, more: &[u8], most: usize) {
    let needed = bytes.len() + more.len();
    if needed > bytes.capacity() {
        let capacity = needed.max(bytes.capacity().saturating_mul(2).min(most));
        bytes.reserve_exact(capacity - bytes.len());
    }
    bytes.extend_from_slice(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_body_costs_what_has_arrived() {
        let mut body = Arriving::of(512 << 20);
        assert_eq!((body.held(), body.take(&[1; 1_000])), (0, 1_000));
        assert!(body.held() <= 2_000 && !body.is_whole());
    }

    #[test]
    fn a_body_takes_no_more_than_is_its_own_and_has_no_room_to_spare() {
        let bytes: Vec<u8> = (0..100_000u32).map(|byte| byte as u8).collect();
        let mut body = Arriving::of(99_999);
        let mut taken = 0;
        for piece in bytes.chunks(777) {
            taken += body.take(piece);
        }
        assert!(body.is_whole());
        assert_eq!((taken, body.held()), (99_999, 99_999));
        assert_eq!(body.into_bytes(), bytes[..99_999]);
    }
}
