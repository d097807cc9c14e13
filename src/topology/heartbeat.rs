//! When has another node been silent for too long?
//!
//! Each node pings each other one at a steady pace and counts a pong only as the answer to its own ping; so what is measured is the
//! whole way there and back, and a half-open connection is as good as none. Silence is counted from the last sign of life.
//!
//! Silence seen by somebody who was asleep proves nothing: a node that was itself stopped, swapped out or starved would wake, find
//! every peer silent and declare the whole pool dead. So a tick that comes late forgives all silence up to then (Lifeguard: "Local
//! Health Awareness for More Accurate Failure Detection", Dadgar, Phillips, Currey, 2018).
//!
//! This file decides when to ping and when to give up; it does not know what a ping is nor what giving up means.

use crate::time::Mono;

/// The pace of heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time between two pings.
    pub every_ms: u64,
    /// Silence after which the other is given up.
    pub silence_ms: u64,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// Send a ping with this number.
    Ping(u64),
    /// The other has been silent for too long.
    Silent,
}

/// The heartbeat of one peer, from the moment it greeted.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    next_ping: Mono,
    last_heard: Mono,
    number: u64,
    sent: Mono,
    round_trip_ms: u64,
}

impl Heartbeat {
    /// Begins with a sign of life at `now`.
    #[must_use]
    pub fn new(now: Mono) -> Heartbeat {
        Heartbeat { next_ping: now, last_heard: now, number: 0, sent: now, round_trip_ms: 0 }
    }

    /// What is due at `now`?
    pub fn tick(&mut self, pace: Pace, now: Mono) -> Due {
        if now.since(self.last_heard) >= pace.silence_ms {
            return Due::Silent;
        }
        if now < self.next_ping {
            return Due::Nothing;
        }
        Due::Ping(self.ping(pace, now))
    }

    /// The number of a ping that is sent now, due or not.
    pub fn ping(&mut self, pace: Pace, now: Mono) -> u64 {
        self.number += 1;
        self.sent = now;
        self.next_ping = now.plus(pace.every_ms);
        self.number
    }

    /// The pong with this number has come.
    pub fn on_pong(&mut self, number: u64, now: Mono) {
        self.last_heard = now;
        if number == self.number {
            self.round_trip_ms = now.since(self.sent);
        }
    }

    /// Whoever counts was away: silence until now proves nothing.
    pub fn forgive(&mut self, now: Mono) {
        self.last_heard = now;
    }

    /// When `tick` has something to say at the earliest.
    #[must_use]
    pub fn wake_at(&self, pace: Pace) -> Mono {
        self.next_ping.min(self.last_heard.plus(pace.silence_ms))
    }

    /// The last round trip.
    #[must_use]
    pub fn round_trip_ms(&self) -> u64 {
        self.round_trip_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { every_ms: 100, silence_ms: 500 };

    #[test]
    fn pings_keep_their_pace_while_pongs_come() {
        let mut heartbeat = Heartbeat::new(Mono(0));
        let mut pings = 0;
        for ms in 0..10_000 {
            match heartbeat.tick(PACE, Mono(ms)) {
                Due::Ping(number) => {
                    pings += 1;
                    heartbeat.on_pong(number, Mono(ms));
                }
                Due::Nothing => {}
                Due::Silent => panic!("silent at {ms}"),
            }
        }
        assert_eq!(pings, 100);
    }

    #[test]
    fn silence_is_noticed_at_its_time_and_not_before() {
        let mut heartbeat = Heartbeat::new(Mono(0));
        let first = (0..).find(|ms| heartbeat.tick(PACE, Mono(*ms)) == Due::Silent);
        assert_eq!(first, Some(500));
    }

    #[test]
    fn a_sleeper_does_not_blame_the_others() {
        let mut heartbeat = Heartbeat::new(Mono(0));
        heartbeat.forgive(Mono(10_000));
        assert_eq!(heartbeat.tick(PACE, Mono(10_000)), Due::Ping(1));
    }

    #[test]
    fn a_late_pong_is_a_sign_of_life_but_no_round_trip() {
        let mut heartbeat = Heartbeat::new(Mono(0));
        assert_eq!(heartbeat.tick(PACE, Mono(0)), Due::Ping(1));
        assert_eq!(heartbeat.tick(PACE, Mono(100)), Due::Ping(2));
        heartbeat.on_pong(1, Mono(130));
        assert_eq!(heartbeat.round_trip_ms(), 0);
        heartbeat.on_pong(2, Mono(140));
        assert_eq!(heartbeat.round_trip_ms(), 40);
        assert_eq!(heartbeat.tick(PACE, Mono(639)), Due::Ping(3));
        assert_eq!(heartbeat.tick(PACE, Mono(640)), Due::Silent);
    }
}
