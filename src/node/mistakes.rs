//! Mistakes on purpose: the simulator plants them, one at a time, to see that its checks find what they would do to a pool.
//!
//! Each is a way in which a draft of the protocol could be, or was, wrong. Nothing but a test ever sets one.

/// Mistakes that tests plant, to see that they are found. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mistakes {
    /// A node serves by its view without a lease.
    pub no_lease: bool,
    /// Holders take changes said in any view.
    pub no_fence: bool,
    /// Writes are acknowledged before the mirrors have them.
    pub ack_before_mirrors: bool,
    /// A returning node counts as complete with what its journal says.
    pub trust_journal: bool,
    /// A holder that is filled keeps what its owner does not have.
    pub keep_unlisted: bool,
    /// A view is formed without a majority.
    pub no_majority: bool,
    /// A silent node is replaced before its lease has run out.
    pub no_lease_wait: bool,
    /// Reads do not wait for writes under way.
    pub read_pending: bool,
    /// What was accepted and not committed is not reported.
    pub forget_accepted: bool,
    /// A node that finds the others dead starts from its own journal.
    pub own_journal: bool,
    /// New mirrors count as complete at once.
    pub complete_at_once: bool,
    /// A view is acted on as soon as a majority has accepted it.
    pub commit_early: bool,
    /// What was under way at a takeover is not made equal.
    pub no_restate: bool,
    /// Any proof of death, witnessed or not, shrinks the majority.
    pub any_death_shrinks: bool,
    /// A node that leaves ends when it has handed over, with a seat that counts.
    pub ends_unrelieved: bool,
    /// A view leaves out the last who have a key as soon as they are gone, if it was begun before.
    pub no_last_wait: bool,
    /// Of journals, only those of nodes that have heard of the newest view count.
    pub newest_only: bool,
    /// A write that may have been carried out is asked for again of anybody, known or not.
    pub asks_anybody: bool,
    /// What was done for an entry node is done again when it asks again.
    pub done_twice: bool,
}
