//! Who makes a value anew: of many clients that miss it, or find it stale or about to end, one.
//!
//! A client that asks so is told that it has *won*, or that another has before it. What was handed out is marked beside the value and
//! mirrored like it, so that it is handed out once; a new value takes the mark away. This is what keeps a thousand clients from asking the
//! database for one key (memcached's `mg` with `N` and `R`, and `md` with `I`).

use super::command::{Claim, Expiry, Trace};
use super::extras::Extras;
use super::local::{Task, conclude, gone, moment_of, seen_version, ttl_of, value_of};
use super::message::Outcome;
use super::reply::{Claimed, Details, Reply, Value};
use super::{Node, Outputs};
use crate::caching::entry::{Entry, Parts};
use crate::time::Mono;

impl Node {
    pub(super) fn claim(&mut self, task: &Task<'_>, claim: &Claim, out: &mut dyn Outputs) {
        let Some(entry) = self.cache.peek(task.key(), task.hash, task.now.mono) else {
            return match claim.create {
                Some(expiry) => self.create_claimed(task, claim, expiry, out),
                None => self.answer(task, &Reply::Miss, out),
            };
        };
        let claimed = self.claimed(task, claim, entry);
        let (was_read, idle_ms) = (entry.was_read(), self.cache.idle_ms(entry, task.now.mono));
        if claimed == Claimed::ByYou || claim.touch.is_some() {
            self.mark_claimed(task, claim.touch, claimed, out);
        }
        let entry = match claim.trace {
            Trace::Use => self.cache.get(task.key(), task.hash, task.now.mono),
            Trace::Claim | Trace::None => self.cache.peek(task.key(), task.hash, task.now.mono),
        };
        let reply = entry.map_or(Reply::Miss, |entry| {
            let mut value = value_of(entry, task.now.mono);
            (value.details.claim, value.details.was_read, value.details.idle_ms) = (claimed, was_read, idle_ms);
            Reply::Value(value)
        });
        conclude(&mut self.stats, &mut self.mirroring, task, &reply, out);
        self.make_room(out);
    }

    /// Who is to make this value anew? Nobody wins while there is no room to tell the mirrors of it.
    fn claimed(&self, task: &Task<'_>, claim: &Claim, entry: &Entry) -> Claimed {
        let extras = Extras::of(entry.extra());
        let left_ms = ttl_of(entry.expires(), task.now.mono);
        let runs_out = claim.renew_below_ms.is_some_and(|below| left_ms.is_some_and(|left| left < below));
        let may_win = claim.trace != Trace::None && !self.has_too_much_under_way(task.hash);
        match (extras.is_claimed, extras.is_stale || runs_out) {
            (true, _) => Claimed::ByAnother,
            (false, true) if may_win => Claimed::ByYou,
            (false, _) => Claimed::No,
        }
    }

    /// It was carried out before: the same is answered again, from what the key is now.
    pub(super) fn repeat_claim(&mut self, task: &Task<'_>, outcome: &Outcome<'_>, out: &mut dyn Outputs) {
        let Some(entry) = self.cache.get(task.key(), task.hash, task.now.mono) else {
            return conclude(&mut self.stats, &mut self.mirroring, task, &gone(task, outcome), out);
        };
        let mut value = value_of(entry, task.now.mono);
        value.details.claim = match Extras::of(entry.extra()).is_claimed {
            _ if *outcome == Outcome::Done => Claimed::ByYou,
            true => Claimed::ByAnother,
            false => Claimed::No,
        };
        conclude(&mut self.stats, &mut self.mirroring, task, &Reply::Value(value), out);
    }

    fn create_claimed(&mut self, task: &Task<'_>, claim: &Claim, expiry: Expiry, out: &mut dyn Outputs) {
        let version = self.next_version();
        let extras = Extras { is_claimed: true, seen_version: claim.seen_version, ..Extras::default() };
        let expires = moment_of(expiry, task.now, None).unwrap_or(task.now.mono);
        let entry = Entry::joined(Parts { key: task.key(), first: b"", second: b"", flags: 0, extra: &extras.bytes(), expires, version });
        let details = Details { claim: Claimed::ByYou, ..Details::default() };
        let (version, ttl_ms) = (seen_version(&entry), ttl_of(expires, task.now.mono));
        let value = Value { bytes: b"", flags: 0, version, ttl_ms, details };
        self.write(task, entry, Outcome::Done, out);
        self.answer(task, &Reply::Value(value), out);
    }

    /// Marks the value, or gives it another expiry, or both; its version stays.
    fn mark_claimed(&mut self, task: &Task<'_>, touch: Option<Expiry>, claimed: Claimed, out: &mut dyn Outputs) {
        let Some(old) = self.cache.peek(task.key(), task.hash, task.now.mono) else { return };
        let expires = touch.map_or(old.expires(), |expiry| self.moment_for(task, expiry, old));
        let extras = Extras::of(old.extra());
        let extra = Extras { is_claimed: extras.is_claimed || claimed == Claimed::ByYou, ..extras }.bytes();
        let entry = Entry::joined(Parts {
            key: task.key(),
            first: old.value(),
            second: b"",
            flags: old.flags(),
            extra: &extra,
            expires,
            version: old.version(),
        });
        let outcome = if claimed == Claimed::ByYou { Outcome::Done } else { Outcome::Touched };
        self.rewrite(task, entry, outcome, out);
    }

    /// Who gives a value a moment that has passed still sees it once, as memcached's clients do.
    fn moment_for(&self, task: &Task<'_>, expiry: Expiry, old: &Entry) -> Mono {
        moment_of(expiry, task.now, Some(old.expires())).unwrap_or(task.now.mono.plus(1))
    }
}
