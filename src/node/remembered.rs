//! The answers to forwarded writes, until those who asked for them have them.
//!
//! A write that another node has forwarded must not be carried out twice: between the two, another client's acknowledged write could be
//! buried. So each carries a serial of its entry node, and whoever holds the key remembers what was answered; asked again, it answers the same.
//! What the entry node no longer waits for (its *watermark*, said with every heartbeat) is forgotten, and what comes below it has come too
//! late and is dropped. Mirrors are told only of what has changed something. So of a write that a mirror does not know, while it knows a later
//! one of the same entry node to the same key, nobody can say what was answered: done now, it would come after what came after it. (Lee et al., "Implementing Linearizability at Large Scale and Low Latency", SOSP 2015, call it RIFL.)

use std::collections::{BTreeMap, VecDeque};

use super::message::Outcome;
use crate::hash::KeyHash;
use crate::topology::MemberId;

/// Most answers remembered for one entry node. Past it the oldest go, and whoever asks for those is told that the outcome is unknown.
const MAX_REMEMBERED: usize = 200_000;
/// Most bytes of old values in them.
const MAX_BYTES: usize = 64 << 20;

/// What is known of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// Nothing: it was not carried out here.
    New,
    /// It was, and this was the answer.
    Answered(Outcome<'static>),
    /// Nobody waits for it any more.
    Late,
    /// It may have been, and nobody knows: it was long ago, or what came after it was.
    Unknown,
}

/// The answers, by entry node and serial.
#[derive(Debug, Default)]
pub struct Remembered {
    of: BTreeMap<MemberId, Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    /// Each with its serial and the key's hash in the table; in the order of their serials, which is nearly that of their coming.
    answers: VecDeque<(u64, u64, Outcome<'static>)>,
    /// Bytes of old values among them.
    bytes: usize,
    watermark: u64,
    /// Below it, answers may have been given up for want of room.
    lost_below: u64,
}

impl Remembered {
    /// What is known of a request about a key.
    #[must_use]
    pub fn look_up(&self, entry: MemberId, serial: u64, key: KeyHash) -> Known {
        let Some(of) = self.of.get(&entry) else { return Known::New };
        match of.find(serial) {
            _ if serial < of.watermark => Known::Late,
            Ok(place) => Known::Answered(of.answers[place].2.clone()),
            Err(_) if serial < of.lost_below => Known::Unknown,
            Err(place) if of.answers.range(place..).any(|(_, table, _)| *table == key.table) => Known::Unknown,
            Err(_) => Known::New,
        }
    }

    /// This is, or will be, answered about a key.
    pub fn note(&mut self, entry: MemberId, serial: u64, key: KeyHash, outcome: Outcome<'static>) {
        let of = self.of.entry(entry).or_default();
        if serial < of.watermark {
            return;
        }
        of.bytes += bytes_of(&outcome);
        match of.find(serial) {
            Ok(place) => {
                let (.., before) = std::mem::replace(&mut of.answers[place], (serial, key.table, outcome));
                of.bytes -= bytes_of(&before);
            }
            Err(place) => of.answers.insert(place, (serial, key.table, outcome)),
        }
        while (of.answers.len() > MAX_REMEMBERED || of.bytes > MAX_BYTES)
            && let Some((oldest, _, outcome)) = of.answers.pop_front()
        {
            of.bytes -= bytes_of(&outcome);
            of.lost_below = oldest + 1;
        }
    }

    /// The entry node waits for nothing below this serial.
    pub fn forget_below(&mut self, entry: MemberId, watermark: u64) {
        let of = self.of.entry(entry).or_default();
        if watermark > of.watermark {
            of.watermark = watermark;
            let kept_from = of.find(watermark).unwrap_or_else(|place| place);
            of.bytes -= of.answers.drain(..kept_from).map(|(.., outcome)| bytes_of(&outcome)).sum::<usize>();
        }
    }

    /// How many answers are remembered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.of.values().map(|of| of.answers.len()).sum()
    }
}

impl Answers {
    /// The place of a serial, or where it belongs: mostly at the end.
    fn find(&self, serial: u64) -> Result<usize, usize> {
        match self.answers.back() {
            Some((last, ..)) if *last >= serial => self.answers.binary_search_by_key(&serial, |(serial, ..)| *serial),
            _ => Err(self.answers.len()),
        }
    }
}

/// The bytes that an answer holds besides itself.
fn bytes_of(outcome: &Outcome<'_>) -> usize {
    match outcome {
        Outcome::Stored { old, .. } | Outcome::Deleted { old } => old.as_ref().map_or(0, |old| old.len()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: MemberId = MemberId(3);
    const KEY: KeyHash = KeyHash { place: 0, table: 1 };
    const OTHER: KeyHash = KeyHash { place: 0, table: 2 };

    #[test]
    fn what_was_answered_is_answered_again_until_nobody_waits_for_it() {
        let mut remembered = Remembered::default();
        assert_eq!(remembered.look_up(ENTRY, 7, KEY), Known::New);
        remembered.note(ENTRY, 7, KEY, Outcome::Touched);
        remembered.note(ENTRY, 9, KEY, Outcome::NotStored);
        assert_eq!(remembered.look_up(ENTRY, 7, KEY), Known::Answered(Outcome::Touched));
        remembered.forget_below(ENTRY, 8);
        assert_eq!(remembered.look_up(ENTRY, 7, KEY), Known::Late);
        assert_eq!(remembered.look_up(ENTRY, 9, KEY), Known::Answered(Outcome::NotStored));
        remembered.note(ENTRY, 5, KEY, Outcome::Done);
        assert_eq!(remembered.count(), 1);
    }

    #[test]
    fn what_a_later_write_to_the_key_has_passed_is_not_carried_out_behind_it() {
        let mut remembered = Remembered::default();
        remembered.note(ENTRY, 8, KEY, Outcome::Done);
        assert_eq!(remembered.look_up(ENTRY, 7, KEY), Known::Unknown);
        assert_eq!(remembered.look_up(ENTRY, 7, OTHER), Known::New);
        assert_eq!(remembered.look_up(ENTRY, 9, KEY), Known::New);
    }

    #[test]
    fn there_is_a_limit_and_what_falls_out_is_known_to_be_unknown() {
        let mut remembered = Remembered::default();
        for serial in 0..=MAX_REMEMBERED as u64 {
            remembered.note(ENTRY, serial, KEY, Outcome::Done);
        }
        assert_eq!(remembered.count(), MAX_REMEMBERED);
        assert_eq!(remembered.look_up(ENTRY, 0, KEY), Known::Unknown);
        assert_eq!(remembered.look_up(ENTRY, MAX_REMEMBERED as u64 + 1, KEY), Known::New);
    }

    #[test]
    fn old_values_are_remembered_up_to_a_limit_of_their_own() {
        let mut remembered = Remembered::default();
        let old = || Outcome::Deleted { old: Some(vec![0; MAX_BYTES / 4].into()) };
        for serial in 0..4 {
            remembered.note(ENTRY, serial, KEY, old());
            remembered.note(ENTRY, serial, KEY, old());
        }
        assert_eq!(remembered.count(), 4, "what is noted twice counts once");
        remembered.note(ENTRY, 4, KEY, old());
        assert_eq!((remembered.count(), remembered.look_up(ENTRY, 0, KEY)), (4, Known::Unknown));
        remembered.forget_below(ENTRY, 3);
        (5..7).for_each(|serial| remembered.note(ENTRY, serial, KEY, old()));
        assert_eq!(remembered.count(), 4, "what is forgotten makes room");
    }
}
