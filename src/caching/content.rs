//! A value on its way out of the cache: a slice of its entry, or a share in it.
//!
//! A large value takes a while to be written and sent, and its entry may be gone by then. It is not copied for each who still needs it: entry,
//! journal and links hold the same bytes, which go with the last of them. A small one is cheaper copied.

use std::ops::Deref;
use std::sync::Arc;

/// The bytes of a large value.
pub type Block = Arc<[u8]>;

/// A value's bytes.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// A slice of what holds them.
    Borrowed(&'a [u8]),
    /// A share in them.
    Shared(Block),
}

impl Content<'_> {
    /// The share in them, if it is one.
    #[must_use]
    pub fn block(&self) -> Option<&Block> {
        match self {
            Content::Borrowed(_) => None,
            Content::Shared(block) => Some(block),
        }
    }
}

impl Deref for Content<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Content::Borrowed(bytes) => bytes,
            Content::Shared(block) => block,
        }
    }
}

impl PartialEq for Content<'_> {
    fn eq(&self, other: &Content<'_>) -> bool {
        self[..] == other[..]
    }
}
