//! WHO: the nodes of the pool, which of them are up, and which of them a key belongs to.
//!
//! [`ring`] places keys on nodes, [`membership`] knows the nodes and their standing, [`heartbeat`] decides when one of them has been
//! silent for too long, [`peers`] decides when to dial, when to wait and when to try again. All of it is pure: it takes what
//! happened, with the time, and returns what to do. It knows no cache, no socket and no clock.

pub mod agreement;
pub mod heartbeat;
pub mod membership;
pub mod peers;
pub mod placement;
pub mod ring;
pub mod view;

/// A member of the pool, by its place in this node's list of members; 0 is this node itself. It means nothing to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u16);

impl MemberId {
    /// This node.
    pub const ME: MemberId = MemberId(0);

    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
