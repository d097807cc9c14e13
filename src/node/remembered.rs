//! The answers to forwarded writes, until those who asked for them have them.
//!
//! A write that another node has forwarded must not be carried out twice: between the two, another client's acknowledged write could be
//! buried. So each carries a serial of its entry node, and whoever holds the key remembers what was answered; asked again, it answers the same.
//! What the entry node no longer waits for (its *watermark*, said with every heartbeat) is forgotten, and what comes below it has come too
//! late and is dropped. (Lee et al., "Implementing Linearizability at Large Scale and Low Latency", SOSP 2015, call it RIFL.)

use std::collections::BTreeMap;

use super::message::Outcome;
use crate::topology::MemberId;

/// Most answers remembered for one entry node. Past it the oldest go, and whoever asks for those is told that the outcome is unknown.
const MAX_REMEMBERED: usize = 200_000;

/// What is known of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// Nothing: it was not carried out here.
    New,
    /// It was, and this was the answer.
    Answered(Outcome<'static>),
    /// Nobody waits for it any more.
    Late,
    /// It was so long ago that nobody knows.
    Unknown,
}

/// The answers, by entry node and serial.
#[derive(Debug, Default)]
pub struct Remembered {
    of: BTreeMap<MemberId, Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    answers: BTreeMap<u64, Outcome<'static>>,
    watermark: u64,
    /// Below it, answers may have been given up for want of room.
    lost_below: u64,
}

impl Remembered {
    /// What is known of a request.
    #[must_use]
    pub fn look_up(&self, entry: MemberId, serial: u64) -> Known {
        let Some(of) = self.of.get(&entry) else { return Known::New };
        match of.answers.get(&serial) {
            _ if serial < of.watermark => Known::Late,
            Some(outcome) => Known::Answered(outcome.clone()),
            None if serial < of.lost_below => Known::Unknown,
            None => Known::New,
        }
    }

    /// This is, or will be, answered.
    pub fn note(&mut self, entry: MemberId, serial: u64, outcome: Outcome<'static>) {
        let of = self.of.entry(entry).or_default();
        if serial < of.watermark {
            return;
        }
        of.answers.insert(serial, outcome);
        if of.answers.len() > MAX_REMEMBERED
            && let Some((oldest, _)) = of.answers.pop_first()
        {
            of.lost_below = oldest + 1;
        }
    }

    /// The entry node waits for nothing below this serial.
    pub fn forget_below(&mut self, entry: MemberId, watermark: u64) {
        let of = self.of.entry(entry).or_default();
        if watermark > of.watermark {
            of.watermark = watermark;
            of.answers = of.answers.split_off(&watermark);
        }
    }

    /// How many answers are remembered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.of.values().map(|of| of.answers.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: MemberId = MemberId(3);

    #[test]
    fn what_was_answered_is_answered_again_until_nobody_waits_for_it() {
        let mut remembered = Remembered::default();
        assert_eq!(remembered.look_up(ENTRY, 7), Known::New);
        remembered.note(ENTRY, 7, Outcome::Touched);
        remembered.note(ENTRY, 9, Outcome::NotStored);
        assert_eq!(remembered.look_up(ENTRY, 7), Known::Answered(Outcome::Touched));
        remembered.forget_below(ENTRY, 8);
        assert_eq!(remembered.look_up(ENTRY, 7), Known::Late);
        assert_eq!(remembered.look_up(ENTRY, 9), Known::Answered(Outcome::NotStored));
        remembered.note(ENTRY, 5, Outcome::Done);
        assert_eq!(remembered.count(), 1);
    }

    #[test]
    fn there_is_a_limit_and_what_falls_out_is_known_to_be_unknown() {
        let mut remembered = Remembered::default();
        for serial in 0..=MAX_REMEMBERED as u64 {
            remembered.note(ENTRY, serial, Outcome::Done);
        }
        assert_eq!(remembered.count(), MAX_REMEMBERED);
        assert_eq!(remembered.look_up(ENTRY, 0), Known::Unknown);
        assert_eq!(remembered.look_up(ENTRY, MAX_REMEMBERED as u64 + 1), Known::New);
    }
}
