//! What this node's clients asked, and what came of it.
//!
//! A request is counted once, at the node its client talks to, when it is answered: whoever looks at a node's `stats` sees what its
//! clients saw, as with memcached, and the sum over the pool is the pool's. What is held (`curr_items`, `total_items`, `evictions`) is
//! counted where it is held.

use super::command::{Action, StoreMode};
use super::reply::Reply;
use crate::stats::Stats;

/// Counts a client's request by its verb and its answer. An error counts as asked and as nothing else.
pub(super) fn count(stats: &mut Stats, action: &Action<'_>, reply: &Reply<'_>) {
    let found = match reply {
        Reply::Failed(_) => None,
        reply => Some(!matches!(reply, Reply::Miss)),
    };
    match action {
        Action::Get | Action::Look | Action::Claim(_) => {
            stats.cmd_get += 1;
            tally(found, &mut stats.get_hits, &mut stats.get_misses);
        }
        Action::GetAndTouch(_) => {
            stats.cmd_get += 1;
            stats.cmd_touch += 1;
            tally(found, &mut stats.get_hits, &mut stats.get_misses);
            tally(found, &mut stats.touch_hits, &mut stats.touch_misses);
        }
        Action::Touch(_) => {
            stats.cmd_touch += 1;
            tally(found, &mut stats.touch_hits, &mut stats.touch_misses);
        }
        Action::Store(store) => {
            stats.cmd_set += 1;
            if matches!(store.mode, StoreMode::Cas(_)) {
                count_cas(stats, reply);
            }
        }
        Action::Delete { .. } => tally(found, &mut stats.delete_hits, &mut stats.delete_misses),
        Action::Count(count) if count.by.is_down() => tally(found, &mut stats.decr_hits, &mut stats.decr_misses),
        Action::Count(_) => tally(found, &mut stats.incr_hits, &mut stats.incr_misses),
        Action::Scan(_) => {}
    }
}

fn count_cas(stats: &mut Stats, reply: &Reply<'_>) {
    match reply {
        Reply::Miss => stats.cas_misses += 1,
        Reply::Exists => stats.cas_badval += 1,
        Reply::Stored { .. } => stats.cas_hits += 1,
        Reply::Value(_)
        | Reply::NotStored
        | Reply::Deleted { .. }
        | Reply::Number { .. }
        | Reply::Touched
        | Reply::Page(_)
        | Reply::Done
        | Reply::Report(_)
        | Reply::Failed(_) => {}
    }
}

fn tally(found: Option<bool>, hits: &mut u64, misses: &mut u64) {
    *hits += u64::from(found == Some(true));
    *misses += u64::from(found == Some(false));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caching::Version;
    use crate::node::command::{Count, Delta, Expiry, Removal, Store};
    use crate::node::reply::Failure;

    #[test]
    fn a_request_is_counted_by_its_verb_and_its_answer() {
        let mut stats = Stats::default();
        count(&mut stats, &Action::Get, &Reply::Miss);
        count(&mut stats, &Action::GetAndTouch(Expiry::Never), &Reply::Touched);
        count(&mut stats, &Action::Count(Count::by(Delta::Up(1))), &Reply::Failed(&Failure::NotANumber));
        count(&mut stats, &Action::Delete(Removal { want_old: false, terms: None }), &Reply::Deleted { old: None });
        assert_eq!((stats.cmd_get, stats.get_hits, stats.get_misses), (2, 1, 1));
        assert_eq!((stats.cmd_touch, stats.touch_hits), (1, 1));
        assert_eq!((stats.incr_hits, stats.incr_misses, stats.delete_hits), (0, 0, 1));
    }

    #[test]
    fn a_cas_has_three_ends() {
        let mut stats = Stats::default();
        let store = Store {
            mode: StoreMode::Cas(Version(1)),
            value: (&b""[..]).into(),
            flags: 0,
            expiry: Expiry::Never,
            want_old: false,
            terms: None,
        };
        for reply in [Reply::Miss, Reply::Exists, Reply::Stored { version: Version(2), old: None }] {
            count(&mut stats, &Action::Store(store.clone()), &reply);
        }
        assert_eq!((stats.cmd_set, stats.cas_misses, stats.cas_badval, stats.cas_hits), (3, 1, 1, 1));
    }
}
