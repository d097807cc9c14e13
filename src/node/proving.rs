//! Proving to each other that both know the pool's secret, before anything else is believed on a link.
//!
//! ```text
//!   dialler                                              acceptor
//!      │ Challenge { my nonce, my name } ────────────────────▶ │
//!      │ ◀──────────────────── Challenge { my nonce, my name } │
//!      │ Proof of "dials", Hello ────────────────────────────▶ │ the proof holds: now the Hello is heard
//!      │ ◀──────────────────────── Proof of "accepts", Welcome │
//! ```
//!
//! A proof is HMAC-SHA256, keyed with the secret, over the role of who proves, both nonces and both names. The roles keep a proof from being
//! sent back to where it came from, the nonces from being used again, the names from being used at, or as, another node. The dialler
//! proves first: who only connects to a port is given nothing from which the secret could be guessed at leisure. Until a link is
//! proven any other word on it ends it, and its state is two nonces and two names.
//!
//! Nonces must not repeat, and must not be foreseen by who does not know the secret. They are made with it, from a counter, the number of
//! this life and the seed, which the driver takes from the operating system; the generator that draws jitter is no source for them.
//!
//! What this does not do: nothing on a link is encrypted, and nothing said after the proofs is sealed. Who sits between two nodes can read
//! and change what they say.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use log::warn;
use sha2::Sha256;

use super::message::{Message, NONCE_BYTES, Nonce};
use super::{Node, Outputs};
use crate::time::Now;
use crate::topology::peers::LinkId;

/// Longest name that is kept of who has proven nothing.
const MAX_NAME: usize = 1_024;

const NO_PROOF: &str = "this pool has a secret, and it was not proven to be known: is security.pool_secret the same at both?";
const NO_SECRET: &str = "this node has no secret of the pool to prove: security.pool_secret is missing here";

/// The pool's secret, or none. It is never shown.
#[derive(Clone, Debug, Default)]
pub struct Secret(Option<Hmac<Sha256>>);

/// How far the proofs are, link by link.
#[derive(Debug)]
pub(super) struct Proving {
    secret: Secret,
    /// What makes this life's nonces its own.
    life: [u64; 2],
    nonces: u64,
    links: BTreeMap<LinkId, Stage>,
}

#[derive(Debug)]
enum Stage {
    /// This node has dialled, and sent its challenge.
    Dialled { mine: Nonce },
    /// This node was dialled; both challenges are known.
    Challenged { theirs: Nonce, mine: Nonce, name: String },
    /// This node has proven itself; the other has to, with this.
    Awaited { proof: CtOutput<Hmac<Sha256>>, name: String },
    /// Both have. Who is at the other end.
    Proven { name: String },
}

/// What is proven: both challenges, the dialler's first.
struct Exchange<'a> {
    nonces: [&'a Nonce; 2],
    names: [&'a str; 2],
}

const DIALS: &[u8] = b"dials";
const ACCEPTS: &[u8] = b"accepts";

impl Secret {
    /// The secret that this text is; an empty one is none.
    #[must_use]
    pub fn new(text: &str) -> Secret {
        Secret((!text.is_empty()).then(|| Hmac::new_from_slice(text.as_bytes()).expect("a key may have any length")))
    }
}

impl Proving {
    pub(super) fn new(secret: Secret, seed: u64, incarnation: u64) -> Proving {
        Proving { secret, life: [seed, incarnation], nonces: 0, links: BTreeMap::new() }
    }

    /// Is this to be heard on this link? With a secret only where it was proven, and who introduces itself must be who has proven it;
    /// without one there is nothing to be proven.
    fn admits(&self, link: LinkId, message: &Message<'_>) -> bool {
        let is_proof = matches!(message, Message::Challenge { .. } | Message::Proof(_));
        match (&self.secret.0, self.links.get(&link)) {
            (None, _) => !is_proof,
            (Some(_), Some(Stage::Proven { name })) => match message {
                Message::Hello(introduction) | Message::Welcome(introduction) => introduction.me.name == *name,
                _ => !is_proof,
            },
            (Some(_), _) => false,
        }
    }

    fn nonce(&mut self, key: &Hmac<Sha256>) -> Nonce {
        self.nonces += 1;
        let [seed, incarnation] = self.life;
        let mut mac = key.clone().chain_update(b"nonce");
        [seed, incarnation, self.nonces].iter().for_each(|number| mac.update(&number.to_be_bytes()));
        let bytes = mac.finalize().into_bytes();
        std::array::from_fn(|index| bytes[index])
    }
}

impl Exchange<'_> {
    /// What proves that its sender, in this role, knows the secret. Each text has its length before it: no two exchanges read the same.
    fn proof(&self, key: &Hmac<Sha256>, role: &[u8]) -> CtOutput<Hmac<Sha256>> {
        let mut mac = key.clone().chain_update(b"proof");
        let [first, second] = self.nonces.map(|nonce| nonce.as_slice());
        let [dialler, acceptor] = self.names.map(str::as_bytes);
        for part in [role, first, second, dialler, acceptor] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize()
    }
}

impl Node {
    /// Is there nothing to be proven on this link, or is it done? Before, nobody needs to say anything long.
    #[must_use]
    pub fn trusts(&self, link: LinkId) -> bool {
        self.proving.secret.0.is_none() || matches!(self.proving.links.get(&link), Some(Stage::Proven { .. }))
    }

    /// The first word on a link that this node has dialled.
    pub(super) fn greet(&mut self, link: LinkId, out: &mut dyn Outputs) {
        let Some(key) = self.proving.secret.0.clone() else { return out.send(link, &Message::Hello(self.introduction())) };
        let mine = self.proving.nonce(&key);
        self.proving.links.insert(link, Stage::Dialled { mine });
        self.send_challenge(link, mine, out);
    }

    /// May the message be believed? If not, it has been dealt with.
    pub(super) fn is_believed(&mut self, now: Now, link: LinkId, message: &Message<'_>, out: &mut dyn Outputs) -> bool {
        let is_believed = self.proving.admits(link, message);
        if !is_believed {
            self.on_unproven(now, link, message, out);
        }
        is_believed
    }

    pub(super) fn forget_proof(&mut self, link: LinkId) {
        self.proving.links.remove(&link);
    }

    fn on_unproven(&mut self, now: Now, link: LinkId, message: &Message<'_>, out: &mut dyn Outputs) {
        let Some(key) = self.proving.secret.0.clone() else { return self.distrust(now, link, NO_SECRET, out) };
        match (message, self.proving.links.remove(&link)) {
            (Message::Challenge { nonce, name }, None) if name.len() <= MAX_NAME && self.member_dialled(link).is_none() => {
                let mine = self.proving.nonce(&key);
                self.proving.links.insert(link, Stage::Challenged { theirs: *nonce, mine, name: name.to_string() });
                self.send_challenge(link, mine, out);
            }
            (Message::Challenge { nonce, name }, Some(Stage::Dialled { mine })) if name.len() <= MAX_NAME => {
                let exchange = Exchange { nonces: [&mine, nonce], names: [&self.me().name, name] };
                let (dials, proof) = (exchange.proof(&key, DIALS), exchange.proof(&key, ACCEPTS));
                self.proving.links.insert(link, Stage::Awaited { proof, name: name.to_string() });
                out.send(link, &Message::Proof(dials.into_bytes().into()));
                out.send(link, &Message::Hello(self.introduction()));
            }
            (Message::Proof(proof), Some(Stage::Challenged { theirs, mine, name })) => {
                let exchange = Exchange { nonces: [&theirs, &mine], names: [&name, &self.me().name] };
                if exchange.proof(&key, DIALS) != CtOutput::new((*proof).into()) {
                    return self.distrust(now, link, NO_PROOF, out);
                }
                out.send(link, &Message::Proof(exchange.proof(&key, ACCEPTS).into_bytes().into()));
                self.proving.links.insert(link, Stage::Proven { name });
            }
            (Message::Proof(shown), Some(Stage::Awaited { proof, name })) if proof == CtOutput::new((*shown).into()) => {
                self.proving.links.insert(link, Stage::Proven { name });
            }
            (Message::Refused { reason }, _) => self.on_refused(now, link, reason, out),
            _ => self.distrust(now, link, NO_PROOF, out),
        }
    }

    fn send_challenge(&self, link: LinkId, nonce: Nonce, out: &mut dyn Outputs) {
        out.send(link, &Message::Challenge { nonce, name: Cow::Borrowed(&self.me().name) });
    }

    /// Ends a link on which nothing, or the wrong thing, was proven. Who dialled is told why; who was dialled by this node is unfit for it.
    fn distrust(&mut self, now: Now, link: LinkId, why: &str, out: &mut dyn Outputs) {
        self.proving.links.remove(&link);
        if self.member_dialled(link).is_some() {
            return self.on_refused(now, link, why, out);
        }
        warn!("refused a link: {why}");
        self.greeted.remove(&link);
        out.send(link, &Message::Refused { reason: Cow::Borrowed(why) });
        out.hang_up(link);
    }
}

const _: () = assert!(NONCE_BYTES <= 32, "a nonce is a part of a digest");

#[cfg(test)]
mod tests;
