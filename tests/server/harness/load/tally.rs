//! What a load has counted, and the verdict on it.
//!
//! Only what happens at nodes that nobody has touched is held against the pool: a connection that breaks because its node was killed is
//! *excused*, and counted apart. Breaches are never excused, wherever they are seen.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::judge::Breach;

/// The hit ratio is taken for each so many milliseconds.
const WINDOW_MS: u64 = 100;
/// Most windows: half an hour of them. What comes later counts as the last one's.
const WINDOWS: usize = 18_000;
/// A window with fewer reads says nothing about a ratio.
const TELLING_READS: u32 = 20;
/// Most findings that are kept in words.
const EXAMPLES: usize = 20;

/// The counters that all clients share.
pub struct Tally {
    began: Instant,
    operations: AtomicU64,
    excused: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    breaches: Mutex<BTreeMap<Breach, u64>>,
    examples: Mutex<Vec<String>>,
    /// Hits and cold misses, for each window.
    windows: Vec<[AtomicU32; 2]>,
    groups: Vec<Group>,
}

/// The keys that one node owned at first: when one of them was last answered, and the longest that none was.
#[derive(Default)]
struct Group {
    answered: AtomicU64,
    last_us: AtomicU64,
    silence_us: AtomicU64,
}

/// What a load came to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Operations that were answered, errors included.
    pub operations: u64,
    /// Errors and lost connections at nodes that nobody had touched, by their text.
    pub errors: BTreeMap<String, u64>,
    /// Errors and lost connections at nodes that something was done to.
    pub excused: u64,
    /// Promises broken.
    pub breaches: BTreeMap<Breach, u64>,
    /// The first of them, and the first errors, in words.
    pub examples: Vec<String>,
    /// The least share of reads of known keys that hit, of any hundred milliseconds.
    pub lowest_hit_ratio: f64,
    /// How long requests took, in microseconds, for each phase of the load.
    pub took_us: Vec<Histogram<u64>>,
}

impl Tally {
    /// Nothing, for so many groups of keys.
    pub fn new(groups: usize) -> Tally {
        Tally {
            began: Instant::now(),
            operations: AtomicU64::new(0),
            excused: AtomicU64::new(0),
            errors: Mutex::default(),
            breaches: Mutex::default(),
            examples: Mutex::default(),
            windows: (0..WINDOWS).map(|_| Default::default()).collect(),
            groups: (0..groups).map(|_| Group::default()).collect(),
        }
    }

    /// A request about a key of this group was answered well at a node that nobody has touched.
    pub fn answered(&self, group: usize) {
        let group = &self.groups[group];
        let now = self.now_us();
        let last = group.last_us.swap(now, Ordering::SeqCst);
        // Nothing is silent that has never spoken.
        if group.answered.fetch_add(1, Ordering::SeqCst) > 0 {
            group.silence_us.fetch_max(now.saturating_sub(last), Ordering::SeqCst);
        }
    }

    /// How many were, so far.
    pub fn answers(&self, group: usize) -> u64 {
        self.groups[group].answered.load(Ordering::SeqCst)
    }

    /// The longest times without such an answer, for each group, since this was asked last; those that go on count as well.
    pub fn take_silences(&self) -> Vec<Duration> {
        let now = self.now_us();
        let longest = |group: &Group| {
            let lasting = now.saturating_sub(group.last_us.load(Ordering::SeqCst));
            Duration::from_micros(group.silence_us.swap(0, Ordering::SeqCst).max(lasting))
        };
        self.groups.iter().map(longest).collect()
    }

    /// Something was answered.
    pub fn operation(&self) {
        self.operations.fetch_add(1, Ordering::Relaxed);
    }

    /// A read of a known key was a hit, or a cold miss.
    pub fn read(&self, hit: bool) {
        let window = usize::try_from(self.now_us() / 1_000 / WINDOW_MS).unwrap_or(WINDOWS).min(WINDOWS - 1);
        self.windows[window][usize::from(!hit)].fetch_add(1, Ordering::Relaxed);
    }

    /// An error, or the loss of a connection, at a node that something was done to.
    pub fn excuse(&self) {
        self.excused.fetch_add(1, Ordering::Relaxed);
    }

    /// An error, or the loss of a connection, at a node that nobody has touched.
    pub fn error(&self, text: &str, place: &str) {
        *self.errors.lock().expect("no client panics here").entry(text.to_owned()).or_default() += 1;
        self.example(&format!("{text} {place}"));
    }

    /// A promise was broken.
    pub fn breach(&self, breach: Breach, what: &str) {
        *self.breaches.lock().expect("no client panics here").entry(breach).or_default() += 1;
        self.example(&format!("{breach:?}: {what}"));
    }

    /// How it stands.
    pub fn verdict(&self) -> Verdict {
        let ratio = |[hits, colds]: &[AtomicU32; 2]| {
            let (hits, colds) = (hits.load(Ordering::Relaxed), colds.load(Ordering::Relaxed));
            (hits + colds >= TELLING_READS).then(|| f64::from(hits) / f64::from(hits + colds))
        };
        Verdict {
            operations: self.operations.load(Ordering::Relaxed),
            errors: self.errors.lock().expect("no client panics here").clone(),
            excused: self.excused.load(Ordering::Relaxed),
            breaches: self.breaches.lock().expect("no client panics here").clone(),
            examples: self.examples.lock().expect("no client panics here").clone(),
            lowest_hit_ratio: self.windows.iter().filter_map(ratio).fold(1.0, f64::min),
            took_us: Vec::new(),
        }
    }

    fn example(&self, what: &str) {
        let mut examples = self.examples.lock().expect("no client panics here");
        if examples.len() < EXAMPLES {
            examples.push(format!("{:8.3} s  {what}", self.began.elapsed().as_secs_f64()));
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Verdict {
    /// How often this promise was broken.
    pub fn count(&self, breach: Breach) -> u64 {
        self.breaches.get(&breach).copied().unwrap_or_default()
    }

    /// Asserts that no promise was broken, and that nobody was told so.
    pub fn assert_kept(&self) {
        assert!(self.breaches.is_empty() && self.errors.is_empty(), "{self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { operations, errors, excused, breaches, examples, .. } = self;
        writeln!(f, "{operations} operations; promises broken: {breaches:?}; errors: {errors:?}; {excused} excused")?;
        examples.iter().try_for_each(|example| writeln!(f, "    {example}"))
    }
}
