//! What a flush has left behind: no longer to be found by anyone, and freed in bounded steps.
//!
//! To free ten million entries takes seconds; to set them aside takes microseconds. Nothing ever comes back from here.

use hashlink::linked_hash_map::IntoIter;

use super::partition::{Listed, Map};
use crate::caching::expiry::ExpiryIndex;

/// Maps and marks that wait to be freed.
#[derive(Default)]
pub(super) struct Graveyard {
    maps: Vec<Map>,
    open: Option<IntoIter<Listed, ()>>,
    marks: Vec<ExpiryIndex>,
    waiting: usize,
}

impl Graveyard {
    pub fn bury_map(&mut self, map: Map) {
        self.waiting += map.len();
        self.maps.push(map);
    }

    pub fn bury_marks(&mut self, marks: ExpiryIndex) {
        self.waiting += marks.len();
        self.marks.push(marks);
    }

    /// How many entries and marks wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Frees up to `most` entries and marks; returns how many.
    pub fn reclaim(&mut self, most: usize) -> usize {
        let freed = (0..most).take_while(|_| self.free_one()).count();
        self.waiting -= freed;
        freed
    }

    fn free_one(&mut self) -> bool {
        loop {
            if self.open.as_mut().is_some_and(|map| map.next().is_some()) {
                return true;
            }
            self.open = self.maps.pop().map(Map::into_iter);
            if self.open.is_none() {
                return self.free_mark();
            }
        }
    }

    fn free_mark(&mut self) -> bool {
        while let Some(marks) = self.marks.last_mut() {
            if marks.pop().is_some() {
                return true;
            }
            self.marks.pop();
        }
        false
    }
}
