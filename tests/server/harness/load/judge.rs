//! What may be answered about a key, and what may not.
//!
//! A key has one writer, which numbers what it does to the key: event 1, 2, 3. Nobody has to guess, then, which of two writes came first,
//! and one number says all that is known: `known` is the latest event that was acknowledged *or that any read has shown*. A read takes it
//! before the request is sent; whatever comes back must be that event or a later one. So a value that is older than an acknowledged
//! write, that was deleted before, or that goes back behind what somebody else has already seen, is told from a good one exactly.
//!
//! ```text
//!   writer  issued = 8 ──▶ set ... 8 ──▶ STORED ──▶ known = 8
//!   reader         known was 7 ──▶ get ──────▶ 7 or 8: good, 6: stale, a miss: cold, 9: never written
//! ```
//!
//! A write whose fate is unknown is the key's last: it may have happened or not, once seen it must stay, and nothing after it would be
//! told apart from it. What is not judged: keys that expire or are evicted.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Set again and again.
    Overwritten,
    /// Set once.
    Once,
    /// Set and deleted by turns.
    Deleted,
    /// Set to 1 and then incremented: executed twice, an increment cannot hide.
    Counted,
}

/// How a promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// A read returned what was older than what was acknowledged or seen before it began.
    Stale,
    /// A key that was acknowledged, and not deleted, was missed.
    Cold,
    /// A value that was never written, or another key's.
    Wrong,
    /// A change was carried out twice.
    Repeated,
    /// After all, a node does not have what was acknowledged.
    Lost,
}

/// A key, and what is known of it.
#[derive(Debug)]
pub struct Key {
    /// The key.
    pub name: String,
    /// What is done to it.
    pub kind: Kind,
    issued: AtomicU64,
    known: AtomicU64,
}

impl Key {
    /// A key that nobody has written yet.
    pub fn new(name: String, kind: Kind) -> Key {
        Key { name, kind, issued: AtomicU64::new(0), known: AtomicU64::new(0) }
    }

    /// What the writer is about to do: the number of the event.
    pub fn issue(&self) -> u64 {
        self.issued.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// An event was acknowledged, or seen.
    pub fn know(&self, event: u64) {
        self.known.fetch_max(event, Ordering::SeqCst);
    }

    /// The latest event that is known: what a read that begins now must show, or a later one.
    pub fn known(&self) -> u64 {
        self.known.load(Ordering::SeqCst)
    }

    /// Has anything ever been done to it?
    pub fn is_issued(&self) -> bool {
        self.issued.load(Ordering::SeqCst) > 0
    }

    /// Has its writer nothing more to do?
    pub fn is_done(&self) -> bool {
        self.kind == Kind::Once && self.is_issued()
    }

    /// Does the key not exist after this event?
    pub fn is_absent_after(&self, event: u64) -> bool {
        event == 0 || self.kind == Kind::Deleted && event.is_multiple_of(2)
    }

    /// The value that an event gives the key.
    pub fn value(&self, event: u64) -> String {
        const PADDING: &str = "................................................................";
        match self.kind {
            Kind::Counted => event.to_string(),
            Kind::Overwritten | Kind::Once | Kind::Deleted => format!("{} {event} {PADDING}", self.name),
        }
    }

    /// Judges what a read returned that began when `known` was the latest known event.
    pub fn judge(&self, known: u64, value: Option<&[u8]>) -> Result<(), (Breach, String)> {
        let issued = self.issued.load(Ordering::SeqCst);
        match value {
            Some(value) => self.judge_value(known, issued, value),
            None => self.judge_miss(known, issued),
        }
    }

    fn judge_value(&self, known: u64, issued: u64, value: &[u8]) -> Result<(), (Breach, String)> {
        let event = self.event_of(value).filter(|event| (1..=issued).contains(event) && !self.is_absent_after(*event));
        let event = event.ok_or_else(|| (Breach::Wrong, format!("{:?} of {issued} events", value.escape_ascii().to_string())))?;
        if event < known {
            return Err((Breach::Stale, format!("event {event} when {known} was known")));
        }
        self.know(event);
        Ok(())
    }

    /// Only a delete explains a miss: the first that may have happened is then known to have.
    fn judge_miss(&self, known: u64, issued: u64) -> Result<(), (Breach, String)> {
        let deleted = (known..=issued).find(|event| self.is_absent_after(*event));
        self.know(deleted.ok_or_else(|| (Breach::Cold, format!("missed when event {known} was known")))?);
        Ok(())
    }

    fn event_of(&self, value: &[u8]) -> Option<u64> {
        let text = str::from_utf8(value).ok()?;
        let number = match self.kind {
            Kind::Counted => text,
            Kind::Overwritten | Kind::Once | Kind::Deleted => text.strip_prefix(&self.name)?.split(' ').nth(1)?,
        };
        let event = number.parse().ok()?;
        (self.value(event) == text).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(key: &Key, known: u64, event: Option<u64>) -> Option<Breach> {
        let value = event.map(|event| key.value(event));
        key.judge(known, value.as_deref().map(str::as_bytes)).err().map(|(breach, _)| breach)
    }

    #[test]
    fn a_read_shows_what_was_known_when_it_began_or_something_later() {
        let key = Key::new("k".into(), Kind::Overwritten);
        assert_eq!(judged(&key, 0, None), None, "not written yet");
        (0..8).for_each(|_| key.know(key.issue()));
        key.issue();
        let verdicts = [6, 8, 9, 10].map(|event| judged(&key, 8, Some(event)));
        assert_eq!(verdicts, [Some(Breach::Stale), None, None, Some(Breach::Wrong)]);
        assert_eq!((judged(&key, 8, None), key.known()), (Some(Breach::Cold), 9), "what was seen is known");
        assert_eq!(key.judge(8, Some(b"another 9 ")).unwrap_err().0, Breach::Wrong);
    }

    #[test]
    fn what_was_deleted_does_not_come_back_and_a_delete_that_was_seen_is_known() {
        let key = Key::new("k".into(), Kind::Deleted);
        key.know(key.issue());
        key.issue();
        assert_eq!(judged(&key, 1, Some(1)), None, "the delete is under way");
        assert_eq!((judged(&key, 1, None), key.known()), (None, 2));
        assert_eq!(judged(&key, 2, Some(1)), Some(Breach::Stale));
        assert_eq!(judged(&key, 2, Some(2)), Some(Breach::Wrong), "a delete has no value");
        key.know(key.issue());
        assert_eq!((judged(&key, 3, None), judged(&key, 3, Some(3))), (Some(Breach::Cold), None));
    }

    #[test]
    fn a_counter_is_its_own_event() {
        let key = Key::new("k".into(), Kind::Counted);
        (0..5).for_each(|_| key.know(key.issue()));
        assert_eq!((key.value(5), judged(&key, 5, Some(5)), judged(&key, 5, Some(4))), ("5".into(), None, Some(Breach::Stale)));
    }
}
