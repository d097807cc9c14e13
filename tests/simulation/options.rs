//! What a seed draws: the pool, its settings, its load, and which faults it has to live with.
//!
//! A swarm (Groce et al., "Swarm Testing", ISSTA 2012): each seed switches most faults off and a few on, at a rate of its own. A run with
//! everything on at once finds less than many runs with two or three things on: faults hide each other.

use spydercache::caching::cache::Bounds;
use spydercache::prng::Prng;
use spydercache::topology::heartbeat::Pace;

/// Microseconds in a millisecond: the world counts in the former, nodes in the latter.
pub const MS: u64 = 1_000;

/// How long a start waits for those who are not there. Longer than any spell.
const BOOT_WAIT_MS: u64 = 3_000;
/// What fault lasts longest.
pub const LONGEST_SPELL_US: u64 = 2_000 * MS;
/// What a lost packet costs at most, and a large value on its way.
pub const LATE_US: u64 = 400 * MS;

/// The kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process ends between two system calls; what it wrote is in the page cache.
    Kill,
    /// The process ends while some of the others do not hear it: what it said last is known to a part of them.
    KillHalfHeard,
    /// The machine goes out; what was not synced may be gone, torn, zeros or garbage.
    PowerLoss,
    /// A process is stopped, and goes on later.
    Pause,
    /// Turns take long.
    Slow,
    /// Nothing passes between some machines, and nobody is told.
    Cut,
    /// The same, in one direction.
    OneWayCut,
    /// A connection is reset.
    Reset,
    /// The disk takes nothing for a while.
    DiskFull,
    /// Syncs fail for a while.
    SyncFails,
    /// A byte of a journal changes while its process is down.
    Rot,
    /// The wall clock jumps.
    WallJump,
    /// An operator says `dead`.
    Dead,
    /// An operator says `connect`.
    Connect,
    /// An operator says `reconstruct`.
    Reconstruct,
    /// A client says `flush_all`.
    Flush,
    /// An operator ends a process in order: it hands over what it has.
    Leave,
    /// All processes end, at once or one shortly after the other.
    KillAll,
    /// All machines go out at once.
    PowerLossEverywhere,
}

impl Fault {
    pub const ALL: [Fault; 19] = [
        Fault::Kill,
        Fault::KillHalfHeard,
        Fault::PowerLoss,
        Fault::Pause,
        Fault::Slow,
        Fault::Cut,
        Fault::OneWayCut,
        Fault::Reset,
        Fault::DiskFull,
        Fault::SyncFails,
        Fault::Rot,
        Fault::WallJump,
        Fault::Dead,
        Fault::Connect,
        Fault::Reconstruct,
        Fault::Flush,
        Fault::Leave,
        Fault::KillAll,
        Fault::PowerLossEverywhere,
    ];
}

/// When a journal is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    No,
    Everysec,
    Always,
}

/// Everything that is drawn before the first step.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How many of them, the last ones, know nobody and are brought in by `connect`.
    pub joiners: usize,
    pub journal: bool,
    pub sync: Sync,
    /// How long a sync takes at most.
    pub sync_us: u64,
    pub segment_size: u64,
    pub bounds: Bounds,
    pub pace: Pace,
    pub request_timeout_ms: u64,
    /// The delay of a packet, at least and at most.
    pub delay_us: (u64, u64),
    /// Packets in a thousand that have to be sent again by TCP.
    pub loss_per_mille: u64,
    /// Clocks run off by so many parts in a million, at most.
    pub drift_ppm: u64,
    pub clients: usize,
    /// Most requests a client has under way.
    pub depth: usize,
    pub keys: u64,
    /// Time between two batches of a client.
    pub think_us: u64,
    /// One write in so many has an expiry; 0 is none.
    pub ttl_one_in: u64,
    /// Calm, storm, calm, storm ...
    pub rounds: u64,
    pub storm_ms: u64,
    pub calm_ms: u64,
    pub faults: Vec<Fault>,
    pub fault_every_ms: u64,
    /// Does a process that returns find its disk empty, sometimes?
    pub empty_disks: bool,
    /// A node's invariants are checked after every so many turns: it takes longer than the turn.
    pub inspect_every: u64,
    /// How many copies of a key there are besides the owner's. Without, each node judges the others for itself; with, views are agreed upon.
    pub mirrors: u32,
    /// A pool of two goes on when one is silent, at the price of the other going on as well.
    pub serve_on_silence: bool,
    pub boot_wait_ms: u64,
    /// Joiners know the first node, and ask to be taken in.
    pub joiners_know: bool,
    /// Nodes prove to each other that they know a secret.
    pub has_secret: bool,
    /// Values are large, as far as that can be seen: what is urgent overtakes the rest on its link, of which some is long under way, and records
    /// are written over several turns.
    pub is_bulky: bool,
    /// Processes end with what only they know of a view, too.
    pub ends_at_views: bool,
}

impl Options {
    /// The options of a seed.
    pub fn draw(seed: u64) -> Options {
        let mut options = Options::draw_unmirrored(seed);
        options.mirror_perhaps();
        options.has_secret = Prng::new(seed ^ 0x5ec2_e700).chance(1, 3);
        options.is_bulky = Prng::new(seed ^ 0x0b01_4e00).chance(1, 3);
        options
    }

    /// The options of a seed, but that its pool has no mirrors.
    pub fn draw_unmirrored(seed: u64) -> Options {
        let mut prng = Prng::new(seed ^ 0x0b5e_55ed);
        let nodes = pick(&mut prng, &[1, 1, 1, 2, 2, 3, 3, 3, 4, 5, 7, 9]);
        let mut options = Options {
            seed,
            nodes,
            joiners: if nodes > 1 && prng.chance(1, 4) { 1 + prng.below(nodes as u64 - 1) as usize } else { 0 },
            journal: prng.chance(7, 8),
            sync: pick(&mut prng, &[Sync::No, Sync::Everysec, Sync::Always, Sync::Always]),
            sync_us: pick(&mut prng, &[200, 5 * MS, 50 * MS]),
            segment_size: pick(&mut prng, &[2 << 10, 8 << 10, 64 << 10]),
            bounds: bounds(&mut prng),
            pace: Pace { every_ms: pick(&mut prng, &[50, 100]), silence_ms: pick(&mut prng, &[400, 500, 800]) },
            request_timeout_ms: pick(&mut prng, &[300, 1_000, 2_000]),
            delay_us: pick(&mut prng, &[(20, 200), (50, 3 * MS), (5 * MS, 40 * MS)]),
            loss_per_mille: pick(&mut prng, &[0, 0, 5, 30]),
            drift_ppm: pick(&mut prng, &[0, 100, 10_000]),
            clients: 1 + prng.below(5) as usize,
            depth: pick(&mut prng, &[1, 4, 8]),
            keys: pick(&mut prng, &[4, 30, 200]),
            think_us: pick(&mut prng, &[5 * MS, 30 * MS, 100 * MS]),
            ttl_one_in: pick(&mut prng, &[0, 4, 10]),
            rounds: 1 + prng.below(3),
            storm_ms: 2_000 + prng.below(8_000),
            calm_ms: 500 + prng.below(2_500),
            faults: Vec::new(),
            fault_every_ms: pick(&mut prng, &[100, 400, 1_500]),
            empty_disks: prng.chance(1, 4),
            inspect_every: pick(&mut prng, &[1, 50, 50, 50, 50, 50, 50, 50]),
            mirrors: 0,
            serve_on_silence: false,
            boot_wait_ms: BOOT_WAIT_MS,
            joiners_know: false,
            has_secret: false,
            is_bulky: false,
            ends_at_views: false,
        };
        options.faults = swarm(&mut prng, &options);
        options
    }

    /// Two pools of three are mirrored.
    fn mirror_perhaps(&mut self) {
        let mut prng = Prng::new(self.seed ^ 0x3177_0225);
        if self.nodes == 1 || prng.chance(1, 3) {
            return;
        }
        self.mirrors = pick(&mut prng, &[1, 1, 2]);
        self.serve_on_silence = self.nodes == 2 && prng.chance(1, 4);
        // A node that knows nobody and has forgotten everybody begins a pool of its own, and rightly so.
        self.joiners_know = prng.chance(1, 2);
        self.joiners = if self.empty_disks { 0 } else { self.joiners };
        // Heartbeats wait for the disk like all that is said: a disk this slow has no lease to hold.
        self.sync_us = self.sync_us.min(5 * MS);
        self.faults = swarm(&mut prng, self);
        self.ends_at_views = prng.chance(1, 2);
    }

    /// Are keys mirrored, and views agreed upon?
    pub fn is_mirrored(&self) -> bool {
        self.mirrors > 0
    }

    /// Must every key be right always? Not if both halves of a pool may go on.
    pub fn is_judged_always(&self) -> bool {
        self.is_mirrored() && !self.serve_on_silence
    }

    /// How much later than the one it was filled from a copy may end: as long as a filling may be on its way.
    pub fn lag_us(&self) -> Option<u64> {
        let late_us = if self.loss_per_mille > 0 || self.is_bulky { 2 * LATE_US } else { 0 };
        let stands_still = [Fault::Pause, Fault::Slow, Fault::Cut, Fault::OneWayCut].into_iter().any(|fault| self.has(fault));
        let still_us = if stands_still { 2 * LONGEST_SPELL_US } else { 0 };
        self.is_mirrored().then_some(10 * MS + 4 * self.delay_us.1 + late_us + still_us)
    }

    /// Does this seed switch the fault on?
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// May a cache be full?
    pub fn evicts(&self) -> bool {
        self.bounds != Bounds::default()
    }
}

/// One of these.
pub fn pick<T: Copy>(prng: &mut Prng, choices: &[T]) -> T {
    choices[prng.below(choices.len() as u64) as usize]
}

fn bounds(prng: &mut Prng) -> Bounds {
    match prng.below(6) {
        0 => Bounds { max_keys: 2 + prng.below(30), max_bytes: 0 },
        1 => Bounds { max_keys: 0, max_bytes: 100_000 + prng.below(10_000) },
        _ => Bounds::default(),
    }
}

/// Each fault that makes sense here, one time in three; never none.
fn swarm(prng: &mut Prng, options: &Options) -> Vec<Fault> {
    let sensible: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| makes_sense(*fault, options)).collect();
    let mut faults: Vec<Fault> = sensible.iter().copied().filter(|_| prng.chance(1, 3)).collect();
    // An expiry leaves no record, and a journal says ends by the wall clock: read again by a clock that was set back, it brings the value
    // back. That is no promise of `reconstruct`.
    if faults.contains(&Fault::WallJump) && options.ttl_one_in > 0 {
        faults.retain(|fault| *fault != Fault::Reconstruct);
    }
    if faults.is_empty() {
        faults.push(pick(prng, &sensible));
    }
    faults
}

fn makes_sense(fault: Fault, options: &Options) -> bool {
    match fault {
        Fault::KillHalfHeard | Fault::Cut | Fault::OneWayCut | Fault::Reset | Fault::Dead | Fault::Connect => options.nodes > 1,
        Fault::Leave | Fault::KillAll | Fault::PowerLossEverywhere => options.is_mirrored(),
        Fault::DiskFull | Fault::SyncFails | Fault::Rot | Fault::Reconstruct => options.journal,
        Fault::Kill | Fault::PowerLoss | Fault::Pause | Fault::Slow | Fault::WallJump | Fault::Flush => true,
    }
}
