//! Mistakes that are planted to see whether the checker finds them.
//!
//! A checker that has never failed proves nothing. Each of these is a way in which a driver of the node, or its world, can be wrong; the
//! sweep over them must fail for each, within the number of seeds that is written beside it.

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Replies leave before the turn's records are written.
    ReplyBeforeWrite,
    /// With `sync = "always"`, replies leave before the records are on disk.
    ReplyBeforeSync,
    /// A reply is lost, one in a thousand.
    ReplyLost,
    /// A reply is given twice, one in a thousand.
    ReplyTwice,
    /// Two replies of a turn change places.
    RepliesSwapped,
    /// The last segment is not read at a start.
    SegmentForgotten,
    /// The journal is read from its end to its beginning.
    ReplayBackwards,
    /// The node is called when something arrives, and never because time has passed.
    NoTimer,
    /// The monotonic clock is the wall clock.
    ExpiryByWall,
    /// The frames of a link arrive in any order.
    FramesReordered,
}

impl Mistake {
    /// All of them, and within how many seeds each has to be found.
    pub const ALL: [(Mistake, u64); 10] = [
        (Mistake::ReplyBeforeWrite, 100),
        (Mistake::ReplyBeforeSync, 100),
        (Mistake::ReplyLost, 10),
        (Mistake::ReplyTwice, 10),
        (Mistake::RepliesSwapped, 10),
        (Mistake::SegmentForgotten, 100),
        (Mistake::ReplayBackwards, 100),
        (Mistake::NoTimer, 10),
        (Mistake::ExpiryByWall, 100),
        (Mistake::FramesReordered, 100),
    ];
}
