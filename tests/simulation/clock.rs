//! A machine's two clocks: the monotonic one runs a little too fast or too slow, the wall clock besides is set by people.
//!
//! True time is the world's, in microseconds since its beginning. What a node sees of it is milliseconds that began somewhere else and
//! pass at another rate.

use spydercache::time::{Mono, Now, Wall};

/// What the monotonic clock shows when its process begins: high enough that "before the start" can be said.
const ORIGIN_MS: u64 = 1 << 32;
/// When the world begins, for a wall clock that is right: in 2026.
const WORLD_BEGAN_MS: i64 = 1_780_000_000_000;
const MILLION: u128 = 1_000_000;

/// The clocks of a machine, seen by its present process.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Local microseconds in a million true ones.
    rate: u128,
    /// What the wall clock is off by.
    pub wall_error_ms: i64,
    /// When the process began.
    began: u64,
}

impl Clock {
    /// Clocks that run fast by so many parts in a million, and are set wrong by so much.
    pub fn new(fast_ppm: i64, wall_error_ms: i64) -> Clock {
        Clock { rate: (MILLION as i64 + fast_ppm) as u128, wall_error_ms, began: 0 }
    }

    /// A process begins: its monotonic clock is its own.
    pub fn begin_process(&mut self, true_us: u64) {
        self.began = true_us;
    }

    /// Reads both.
    pub fn read(&self, true_us: u64) -> Now {
        let mono = Mono(ORIGIN_MS + self.local(true_us - self.began) / 1_000);
        let wall = WORLD_BEGAN_MS + self.wall_error_ms + (self.local(true_us) / 1_000) as i64;
        Now { mono, wall: Wall(wall as u64) }
    }

    /// The first true microsecond at which the monotonic clock shows `mono`.
    pub fn when(&self, mono: Mono) -> u64 {
        if mono == Mono::NEVER {
            return u64::MAX;
        }
        let local_us = u128::from(mono.since(Mono(ORIGIN_MS))) * 1_000;
        self.began.saturating_add(u64::try_from((local_us * MILLION).div_ceil(self.rate)).unwrap_or(u64::MAX))
    }

    fn local(&self, true_us: u64) -> u64 {
        (u128::from(true_us) * self.rate / MILLION) as u64
    }
}

#[test]
fn a_moment_is_reached_when_the_clock_shows_it_and_not_before() {
    for ppm in [-10_000, -7, 0, 13, 10_000] {
        let mut clock = Clock::new(ppm, 0);
        clock.begin_process(777);
        for ms in [0, 1, 999, 123_456] {
            let mono = Mono(ORIGIN_MS + ms);
            let when = clock.when(mono);
            assert_eq!(clock.read(when).mono, mono);
            assert!(when == 777 || clock.read(when - 1).mono < mono);
        }
    }
}
