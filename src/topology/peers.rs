//! One link a peer: when to dial, when to greet, when to try again.
//!
//! Every node dials every other one and uses the link it dialled for its own pings and requests; the answers come back on it. A pool of
//! two therefore has two connections, one a direction, and nobody has to agree on which of them counts.
//!
//! ```text
//!            due                dialled             welcome
//!   Idle ──────────▶ Dialling ──────────▶ Greeting ──────────▶ Open
//!    ▲                  │ refused, silent     │ closed, silent   │ closed, silent
//!    └──── back-off ────┴─────────────────────┴──────────────────┘ (dial again at once)
//! ```
//!
//! A link that closes is dialled again at once: if the process is gone, its host refuses, which is known within a round trip and is as
//! good as a proof. A back-off grows only while dialling fails.

use super::heartbeat::{Due, Heartbeat, Pace};
use crate::time::Mono;

/// The first wait after a failed dial.
const BACK_OFF_FIRST_MS: u64 = 50;
/// The wait after a dial that has told nothing.
const RETRY_SOON_MS: u64 = 2;
/// A dial that has come to nothing by then is begun anew; each further one is given twice as long. A listener that is being closed may swallow
/// a dial, and the system asks again only after a second.
const DIAL_AGAIN_MS: u64 = 20;
/// The longest wait between two dials.
const BACK_OFF_MOST_MS: u64 = 1_000;

/// A connection between two nodes, as the driver numbers it. A number is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Where the link to a peer stands.
#[derive(Clone, Debug)]
enum State {
    Idle { dial_at: Mono },
    Dialling { give_up: Mono, again_at: Mono, patience_ms: u64 },
    Greeting { link: LinkId, give_up: Mono },
    Open { link: LinkId, heartbeat: Heartbeat },
}

/// What the owner of a [`Peer`] has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Dial it.
    Dial,
    /// Dial it once more. A refusal may still be that of the first dial: it says nothing of a life that was heard of since.
    DialAgain,
    /// Send a ping on the link.
    Ping(LinkId, u64),
    /// It was silent for too long: close the link, if there is one, and hold it for down.
    Silent(Option<LinkId>),
}

/// The link to one peer.
#[derive(Clone, Debug)]
pub struct Peer {
    state: State,
    back_off_ms: u64,
}

impl Peer {
    /// A peer to be dialled at once.
    #[must_use]
    pub fn new(now: Mono) -> Peer {
        Peer { state: State::Idle { dial_at: now }, back_off_ms: BACK_OFF_FIRST_MS }
    }

    /// What is due at `now`?
    pub fn tick(&mut self, pace: Pace, now: Mono) -> Step {
        match &mut self.state {
            State::Idle { dial_at } if now >= *dial_at => {
                let (give_up, again_at) = (now.plus(pace.silence_ms), now.plus(DIAL_AGAIN_MS));
                self.state = State::Dialling { give_up, again_at, patience_ms: DIAL_AGAIN_MS };
                Step::Dial
            }
            State::Dialling { give_up, .. } if now >= *give_up => self.fall_silent(now),
            State::Dialling { again_at, patience_ms, .. } if now >= *again_at => {
                *patience_ms *= 2;
                *again_at = now.plus(*patience_ms);
                Step::DialAgain
            }
            State::Greeting { give_up, .. } if now >= *give_up => self.fall_silent(now),
            State::Open { link, heartbeat } => match heartbeat.tick(pace, now) {
                Due::Nothing => Step::Nothing,
                Due::Ping(number) => Step::Ping(*link, number),
                Due::Silent => self.fall_silent(now),
            },
            State::Idle { .. } | State::Dialling { .. } | State::Greeting { .. } => Step::Nothing,
        }
    }

    /// The dial has reached it. False if nobody waits for that any more: close the link.
    pub fn on_dialled(&mut self, link: LinkId, pace: Pace, now: Mono) -> bool {
        if !matches!(self.state, State::Dialling { .. }) {
            return false;
        }
        self.state = State::Greeting { link, give_up: now.plus(pace.silence_ms) };
        true
    }

    /// The dial has failed: try again after a back-off. False if nobody waits for that any more: it proves nothing about the present.
    pub fn on_dial_failed(&mut self, now: Mono) -> bool {
        let waited_for = matches!(self.state, State::Dialling { .. });
        if waited_for {
            self.retreat(now);
        }
        waited_for
    }

    /// The dial has failed in a way that says nothing yet: try once more, soon. False if that was done before, or nobody waits for it.
    pub fn retry_soon(&mut self, now: Mono) -> bool {
        let is_first = matches!(self.state, State::Dialling { .. }) && self.back_off_ms == BACK_OFF_FIRST_MS;
        if is_first {
            self.retreat_a_little(now);
        }
        is_first
    }

    /// It has said welcome on this link.
    pub fn on_welcome(&mut self, link: LinkId, now: Mono) -> bool {
        match self.state {
            State::Greeting { link: greeted, .. } if greeted == link => {
                self.state = State::Open { link, heartbeat: Heartbeat::new(now) };
                self.back_off_ms = BACK_OFF_FIRST_MS;
                true
            }
            _ => false,
        }
    }

    /// The link and the number of a ping that is sent now, due or not, if the link is open.
    pub fn ping(&mut self, pace: Pace, now: Mono) -> Option<(LinkId, u64)> {
        match &mut self.state {
            State::Open { link, heartbeat } => Some((*link, heartbeat.ping(pace, now))),
            State::Idle { .. } | State::Dialling { .. } | State::Greeting { .. } => None,
        }
    }

    /// A pong has come.
    pub fn on_pong(&mut self, from: LinkId, number: u64, now: Mono) {
        if let State::Open { link, heartbeat } = &mut self.state
            && *link == from
        {
            heartbeat.on_pong(number, now);
        }
    }

    /// The link has closed. True if it was the one in use.
    pub fn on_closed(&mut self, closed: LinkId, now: Mono) -> bool {
        match self.state {
            State::Open { link, .. } if link == closed => self.state = State::Idle { dial_at: now },
            State::Greeting { link, .. } if link == closed => self.retreat_a_little(now),
            _ => return false,
        }
        true
    }

    /// It would not have us: no hurry to ask again.
    pub fn on_refused(&mut self, now: Mono) {
        self.back_off_ms = BACK_OFF_MOST_MS;
        self.state = State::Idle { dial_at: now.plus(BACK_OFF_MOST_MS) };
    }

    /// It has been heard of by another way: do not wait for the back-off.
    pub fn hurry(&mut self, now: Mono) {
        if let State::Idle { dial_at } = &mut self.state {
            *dial_at = now;
        }
    }

    /// Whoever counts was away: silence until now proves nothing.
    pub fn forgive(&mut self, pace: Pace, now: Mono) {
        match &mut self.state {
            State::Open { heartbeat, .. } => heartbeat.forgive(now),
            State::Dialling { give_up, .. } | State::Greeting { give_up, .. } => *give_up = now.plus(pace.silence_ms),
            State::Idle { .. } => {}
        }
    }

    /// The link for requests, if it is open.
    #[must_use]
    pub fn link(&self) -> Option<LinkId> {
        match self.state {
            State::Open { link, .. } => Some(link),
            _ => None,
        }
    }

    /// Is this the link in use, greeted or only dialled?
    #[must_use]
    pub fn uses(&self, asked: LinkId) -> bool {
        matches!(self.state, State::Greeting { link, .. } | State::Open { link, .. } if link == asked)
    }

    /// When `tick` has something to say at the earliest.
    #[must_use]
    pub fn wake_at(&self, pace: Pace) -> Mono {
        match &self.state {
            State::Idle { dial_at } => *dial_at,
            State::Dialling { give_up, again_at, .. } => *give_up.min(again_at),
            State::Greeting { give_up, .. } => *give_up,
            State::Open { heartbeat, .. } => heartbeat.wake_at(pace),
        }
    }

    /// The last round trip of a heartbeat.
    #[must_use]
    pub fn round_trip_ms(&self) -> u64 {
        match &self.state {
            State::Open { heartbeat, .. } => heartbeat.round_trip_ms(),
            _ => 0,
        }
    }

    fn fall_silent(&mut self, now: Mono) -> Step {
        let link = match self.state {
            State::Greeting { link, .. } | State::Open { link, .. } => Some(link),
            State::Idle { .. } | State::Dialling { .. } => None,
        };
        self.retreat(now);
        Step::Silent(link)
    }

    /// What a process leaves behind when it ends may look like one that lives, for a moment: the first time, the next dial is soon.
    fn retreat_a_little(&mut self, now: Mono) {
        let is_first = self.back_off_ms == BACK_OFF_FIRST_MS;
        self.retreat(now);
        if is_first {
            self.state = State::Idle { dial_at: now.plus(RETRY_SOON_MS) };
        }
    }

    fn retreat(&mut self, now: Mono) {
        self.state = State::Idle { dial_at: now.plus(self.back_off_ms) };
        self.back_off_ms = (self.back_off_ms * 2).min(BACK_OFF_MOST_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { every_ms: 100, silence_ms: 500 };

    fn open(now: Mono) -> Peer {
        let mut peer = Peer::new(now);
        assert_eq!(peer.tick(PACE, now), Step::Dial);
        assert!(peer.on_dialled(LinkId(7), PACE, now));
        assert!(peer.on_welcome(LinkId(7), now));
        peer
    }

    #[test]
    fn a_closed_link_is_dialled_again_at_once() {
        let mut peer = open(Mono(0));
        assert!(peer.on_closed(LinkId(7), Mono(50)));
        assert_eq!(peer.link(), None);
        assert_eq!(peer.tick(PACE, Mono(50)), Step::Dial);
    }

    #[test]
    fn a_dial_that_nobody_answers_is_begun_anew_long_before_it_is_given_up() {
        let mut peer = Peer::new(Mono(0));
        let mut dials = Vec::new();
        for ms in 0..500 {
            match peer.tick(PACE, Mono(ms)) {
                Step::Dial | Step::DialAgain => dials.push(ms),
                step => assert_eq!(step, Step::Nothing),
            }
            assert!(peer.wake_at(PACE) > Mono(ms) && peer.wake_at(PACE) <= Mono(500));
        }
        assert_eq!(dials, [0, 20, 60, 140, 300]);
        assert!(peer.on_dial_failed(Mono(499)));
    }

    #[test]
    fn the_back_off_grows_to_its_limit_and_a_welcome_resets_it() {
        let mut peer = Peer::new(Mono(0));
        let mut now = Mono(0);
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert_eq!(peer.tick(PACE, now), Step::Dial);
            assert!(peer.on_dial_failed(now));
            waits.push(peer.wake_at(PACE).since(now));
            now = peer.wake_at(PACE);
        }
        assert_eq!(waits, [50, 100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(peer.tick(PACE, now), Step::Dial);
        assert!(peer.on_dialled(LinkId(1), PACE, now) && peer.on_welcome(LinkId(1), now));
        assert!(peer.on_closed(LinkId(1), now));
        assert_eq!(peer.tick(PACE, now), Step::Dial);
        assert!(peer.on_dial_failed(now));
        assert_eq!(peer.wake_at(PACE).since(now), 50);
    }

    #[test]
    fn silence_closes_the_link_in_every_state() {
        let mut dialling = Peer::new(Mono(0));
        assert_eq!(dialling.tick(PACE, Mono(0)), Step::Dial);
        assert_eq!(dialling.tick(PACE, Mono(499)), Step::DialAgain);
        assert_eq!(dialling.tick(PACE, Mono(500)), Step::Silent(None));
        let mut greeting = Peer::new(Mono(0));
        assert_eq!(greeting.tick(PACE, Mono(0)), Step::Dial);
        assert!(greeting.on_dialled(LinkId(3), PACE, Mono(1)));
        assert_eq!(greeting.tick(PACE, Mono(501)), Step::Silent(Some(LinkId(3))));
        let mut silent = open(Mono(0));
        assert_eq!(silent.tick(PACE, Mono(500)), Step::Silent(Some(LinkId(7))));
    }

    #[test]
    fn what_a_former_link_says_fits_nothing() {
        let mut peer = open(Mono(0));
        assert!(!peer.on_closed(LinkId(6), Mono(1)));
        assert!(!peer.on_welcome(LinkId(6), Mono(1)));
        assert!(!peer.on_dialled(LinkId(8), PACE, Mono(1)));
        peer.on_pong(LinkId(6), 1, Mono(400));
        assert_eq!(peer.tick(PACE, Mono(500)), Step::Silent(Some(LinkId(7))));
    }
}
