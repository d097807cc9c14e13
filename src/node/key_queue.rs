//! Keys in the order of their coming, one behind the other in one piece of memory.
//!
//! An owner keeps the key of a change until the change is everywhere, and a holder until it knows that it is. Both begin and end in one order, so
//! that keys come at the back and go at the front, and none of them needs an allocation of its own.

/// The capacity up to which an empty queue keeps its memory.
const KEPT_CAPACITY: usize = 64 << 10;

/// A queue of keys.
#[derive(Debug, Default)]
pub struct KeyQueue {
    bytes: Vec<u8>,
    /// Bytes at the front whose keys have gone.
    gone: usize,
    /// Bytes that came before `bytes[0]`.
    base: u64,
}

/// Where a key is in its queue.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    at: u64,
    length: usize,
}

impl KeyQueue {
    /// Adds a key at the back.
    pub fn push(&mut self, key: &[u8]) -> Place {
        let at = self.base + self.bytes.len() as u64;
        self.bytes.extend_from_slice(key);
        Place { at, length: key.len() }
    }

    /// The key at a place that has not gone.
    #[must_use]
    pub fn get(&self, place: Place) -> &[u8] {
        let at = (place.at - self.base) as usize;
        &self.bytes[at..at + place.length]
    }

    /// This key goes, and all before it.
    pub fn drop_to(&mut self, place: Place) {
        self.gone = (place.at - self.base) as usize + place.length;
        if self.gone == self.bytes.len() && self.bytes.capacity() > KEPT_CAPACITY {
            (self.base, self.gone) = (self.base + self.gone as u64, 0);
            self.bytes = Vec::new();
        } else if 2 * self.gone >= self.bytes.len() {
            // To move the rest pays when it is the smaller part.
            self.base += self.gone as u64;
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_what_they_are_while_others_come_and_go() {
        let key = |number: usize| vec![number as u8; number % 7];
        let (mut queue, mut places) = (KeyQueue::default(), std::collections::VecDeque::new());
        for number in 0..1_000 {
            places.push_back((number, queue.push(&key(number))));
            if places.len() > 10 && number % 3 == 0 {
                let (_, place) = places.drain(..5).next_back().expect("five places");
                queue.drop_to(place);
            }
            assert!(places.iter().all(|(number, place)| queue.get(*place) == key(*number)));
        }
    }

    #[test]
    fn memory_is_for_the_keys_that_are_there() {
        let mut queue = KeyQueue::default();
        for _ in 0..1_000 {
            let _ = queue.push(&[1; 1_000]);
            let place = queue.push(&[2; 1_000]);
            queue.drop_to(place);
            assert!(queue.bytes.capacity() < 10_000);
        }
        let place = queue.push(&vec![3; 1 << 20]);
        queue.drop_to(place);
        assert_eq!(queue.bytes.capacity(), 0);
    }
}
