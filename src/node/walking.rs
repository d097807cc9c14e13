//! Keys by their places: what one owner has of them, and a walk over the whole pool.

use super::command::{Scan, Walk};
use super::local::Task;
use super::reply::{Failure, Reply};
use super::{Node, Origin, Outputs};
use crate::time::Now;

impl Node {
    /// Carries out a scan of the keys that this node owns.
    pub(super) fn scan(&mut self, task: &Task<'_>, _scan: &Scan<'_>, out: &mut dyn Outputs) {
        self.answer(task, &Reply::Failed(&Failure::Refused("keys are not listed yet".into())), out);
    }

    /// Goes through the keys of the whole pool.
    pub(super) fn walk(&mut self, _now: Now, origin: Origin, _walk: &Walk<'_>, out: &mut dyn Outputs) {
        self.fail(origin, b"", &Failure::Refused("keys are not listed yet".into()), out);
    }
}
