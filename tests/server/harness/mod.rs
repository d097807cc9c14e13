//! What the tests stand on: nodes that run as processes, pools of them, and clients that speak to them byte by byte.
//!
//! [`node`] starts the real binary on a free port with a folder of its own and ends it, by its own pid, when the test is over or has
//! panicked. [`pool`] starts several that know each other. [`client`] and [`http`] are connections that never wait for ever.

pub mod client;
pub mod http;
pub mod node;
pub mod pool;

use std::thread;
use std::time::{Duration, Instant};

/// The longest that anything is waited for. Nothing is decided by it but that a test has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Looks again and again until `condition` holds.
///
/// # Panics
/// If it does not for too long; `what` says what was waited for.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
