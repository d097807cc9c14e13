//! What the tests stand on: nodes that run as processes, pools of them, and clients that speak to them byte by byte.
//!
//! [`node`] starts the real binary on a free port with a folder of its own and ends it, by its own pid, when the test is over or has
//! panicked. [`pool`] starts several that know each other, [`mirrored`] those that hold copies for each other. [`client`] and [`http`] are
//! connections that never wait for ever. [`load`] asks a pool again and again, and judges what it answers.

pub mod client;
pub mod http;
#[allow(dead_code, reason = "tests/chaos measures with it what the tests here only judge")]
pub mod load;
pub mod mirrored;
pub mod node;
pub mod pool;

use std::thread;
use std::time::{Duration, Instant};

/// The longest that anything is waited for. Nothing is decided by it but that a test has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two looks.
const EAGER: Duration = Duration::from_millis(2);

/// Looks again and again until `condition` holds.
///
/// # Panics
/// If it does not for too long; `what` says what was waited for.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(comes_true(PATIENCE, condition), "waited in vain until {what}");
}

/// Looks again and again until `condition` holds. Did it, in all that time?
pub fn comes_true(patience: Duration, condition: impl FnMut() -> bool) -> bool {
    comes_true_every(EAGER, patience, condition)
}

/// The same, with so long a pause between two looks: where what is looked at is measured meanwhile.
pub fn comes_true_every(pause: Duration, patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !condition() {
        if began.elapsed() >= patience {
            return false;
        }
        thread::sleep(pause);
    }
    true
}
