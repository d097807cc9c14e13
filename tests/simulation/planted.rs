//! Mistakes that are planted to see whether the checker finds them.
//!
//! A checker that has never failed proves nothing. The first of these are ways in which a driver of the node, or its world, can be wrong; the others
//! are wrong turns of the core itself, which it takes if [`Mistakes`] say so: each leaves out something that the design of mirrored pools
//! rests on. The sweep over them must fail for each, within the number of seeds that is written beside it.
//!
//! For a mistake of the core, seeds draw small pools under the very faults that it should stand up to, for a short time.

use spydercache::node::Mistakes;
use spydercache::prng::Prng;
use spydercache::topology::heartbeat::Pace;

use crate::options::{Fault, MS, Options, Sync, pick};

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
    /// An owner answers without a lease.
    NoLease,
    /// A mirror takes what an owner of another epoch says.
    NoFence,
    /// A write is answered before its mirrors have it.
    AckBeforeMirrors,
    /// A node that returns is complete with what its journal says.
    TrustJournal,
    /// A node that is filled keeps what its owner does not have.
    KeepUnlisted,
    /// A view is formed by whoever is there.
    NoMajority,
    /// A silent node is replaced before its lease has run out.
    NoLeaseWait,
    /// Reads do not wait for the write under way.
    ReadPending,
    /// A view that was accepted and not committed is not reported.
    ForgetAccepted,
    /// A view stands before all who have promised have accepted it.
    CommitEarly,
    /// A node that finds the others dead starts from its own journal.
    OwnJournal,
    /// New mirrors count as complete at once.
    CompleteAtOnce,
    /// Writes in flight are not made equal at a takeover.
    NoRestate,
    /// Any proof of death, witnessed or not, makes the majority smaller.
    AnyDeathShrinks,
    /// A node that leaves ends with a seat that counts in what decides.
    EndsUnrelieved,
    /// A view that was begun before the last who have a key were gone leaves them out at once.
    NoLastWait,
    /// Of journals, only those of nodes that have heard of the newest view count.
    NewestOnly,
    /// What was done for an entry node is done again when it asks again.
    DoneTwice,
}

impl Mistake {
    /// Those of drivers and worlds, and within how many seeds each has to be found.
    pub const OF_DRIVERS: [(Mistake, u64); 10] = [
        (Mistake::ReplyBeforeWrite, 100),
        (Mistake::ReplyBeforeSync, 100),
        (Mistake::ReplyLost, 10),
        (Mistake::ReplyTwice, 10),
        (Mistake::RepliesSwapped, 10),
        (Mistake::SegmentForgotten, 100),
        (Mistake::ReplayBackwards, 100),
        (Mistake::NoTimer, 50),
        (Mistake::ExpiryByWall, 100),
        (Mistake::FramesReordered, 100),
    ];

    /// Those of the core, and within how many of their own seeds.
    pub const OF_THE_CORE: [(Mistake, u64); 18] = [
        (Mistake::NoLease, 100),
        (Mistake::NoFence, 300),
        (Mistake::AckBeforeMirrors, 100),
        (Mistake::TrustJournal, 100),
        (Mistake::KeepUnlisted, 100),
        (Mistake::NoMajority, 100),
        (Mistake::NoLeaseWait, 300),
        (Mistake::ReadPending, 500),
        (Mistake::ForgetAccepted, 300),
        (Mistake::CommitEarly, 300),
        (Mistake::OwnJournal, 100),
        (Mistake::CompleteAtOnce, 100),
        (Mistake::NoRestate, 100),
        (Mistake::AnyDeathShrinks, 300),
        (Mistake::EndsUnrelieved, 300),
        (Mistake::NoLastWait, 300),
        (Mistake::NewestOnly, 300),
        (Mistake::DoneTwice, 100),
    ];

    /// What the core is told to do wrong.
    pub fn of_the_core(self) -> Mistakes {
        let none = Mistakes::default();
        match self {
            Mistake::NoLease => Mistakes { no_lease: true, ..none },
            Mistake::NoFence => Mistakes { no_fence: true, ..none },
            Mistake::AckBeforeMirrors => Mistakes { ack_before_mirrors: true, ..none },
            Mistake::TrustJournal => Mistakes { trust_journal: true, ..none },
            Mistake::KeepUnlisted => Mistakes { keep_unlisted: true, ..none },
            Mistake::NoMajority => Mistakes { no_majority: true, ..none },
            Mistake::NoLeaseWait => Mistakes { no_lease_wait: true, ..none },
            Mistake::ReadPending => Mistakes { read_pending: true, ..none },
            Mistake::ForgetAccepted => Mistakes { forget_accepted: true, ..none },
            Mistake::CommitEarly => Mistakes { commit_early: true, ..none },
            Mistake::OwnJournal => Mistakes { own_journal: true, ..none },
            Mistake::CompleteAtOnce => Mistakes { complete_at_once: true, ..none },
            Mistake::NoRestate => Mistakes { no_restate: true, ..none },
            Mistake::AnyDeathShrinks => Mistakes { any_death_shrinks: true, ..none },
            Mistake::EndsUnrelieved => Mistakes { ends_unrelieved: true, ..none },
            Mistake::NoLastWait => Mistakes { no_last_wait: true, ..none },
            Mistake::NewestOnly => Mistakes { newest_only: true, ..none },
            Mistake::DoneTwice => Mistakes { done_twice: true, ..none },
            _ => none,
        }
    }

    /// The faults under which a mistake of the core shows; none for the others.
    fn faults(self) -> &'static [Fault] {
        match self {
            Mistake::NoLease | Mistake::NoLeaseWait => &[Fault::Pause, Fault::Cut, Fault::OneWayCut],
            Mistake::NoFence => &[Fault::Pause, Fault::Slow, Fault::Cut, Fault::OneWayCut],
            Mistake::NoMajority => &[Fault::Cut, Fault::Pause],
            Mistake::AckBeforeMirrors => &[Fault::Kill, Fault::Reset, Fault::Cut],
            Mistake::NoRestate => &[Fault::KillHalfHeard],
            Mistake::DoneTwice => &[Fault::Kill, Fault::Reset],
            Mistake::ReadPending => &[Fault::Kill, Fault::Cut, Fault::Slow],
            Mistake::TrustJournal | Mistake::KeepUnlisted | Mistake::CompleteAtOnce => &[Fault::Kill],
            Mistake::ForgetAccepted | Mistake::CommitEarly => &[Fault::Kill, Fault::Reset, Fault::OneWayCut],
            Mistake::OwnJournal => &[Fault::Kill, Fault::KillAll],
            Mistake::AnyDeathShrinks => &[Fault::Kill, Fault::Cut],
            Mistake::EndsUnrelieved => &[Fault::Leave],
            Mistake::NoLastWait | Mistake::NewestOnly => &[Fault::KillAll],
            _ => &[],
        }
    }

    /// What a seed draws to find this mistake.
    pub fn options(self, seed: u64) -> Options {
        let drawn = Options::draw_unmirrored(seed);
        if self.faults().is_empty() {
            return drawn;
        }
        let mut prng = Prng::new(seed ^ 0x00e4_4a4d);
        let options = Options {
            nodes: pick(&mut prng, &[2, 3, 3, 4, 5]),
            joiners: 0,
            mirrors: pick(&mut prng, &[1, 1, 2]),
            serve_on_silence: false,
            journal: true,
            sync: pick(&mut prng, &[Sync::No, Sync::Everysec]),
            bounds: Default::default(),
            pace: Pace { every_ms: 50, silence_ms: 400 },
            delay_us: pick(&mut prng, &[(20, 200), (50, 3 * MS), (MS, 10 * MS)]),
            loss_per_mille: 0,
            clients: 4,
            depth: 4,
            keys: pick(&mut prng, &[4, 30]),
            think_us: 5 * MS,
            ttl_one_in: 0,
            rounds: 1,
            storm_ms: 3_000,
            calm_ms: 500,
            fault_every_ms: pick(&mut prng, &[100, 300, 1_000]),
            empty_disks: false,
            ends_at_views: matches!(self, Mistake::ForgetAccepted | Mistake::CommitEarly),
            inspect_every: u64::MAX,
            faults: self.faults().to_vec(),
            ..drawn
        };
        match self {
            // What differs between copies is to be seen before the next write makes it equal.
            Mistake::NoRestate => Options {
                nodes: pick(&mut prng, &[3, 4]),
                mirrors: 2,
                keys: 2_000,
                fault_every_ms: 300,
                rounds: 5,
                storm_ms: 1_000,
                ..options
            },
            // A pool that nobody can go on with begins anew before those who have left are back.
            Mistake::EndsUnrelieved => Options { boot_wait_ms: 300, storm_ms: 5_000, fault_every_ms: 1_000, ..options },
            _ => options,
        }
    }
}
