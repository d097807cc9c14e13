//! The judge: what clients were told, against what they may be told.
//!
//! At all times: every request is answered once, in time, by an answer of its kind and for its key; a value consists of what was written to
//! that very key. While the pool is *agreed* (every node names the same owner for every key, and nothing is on its way that was asked
//! before it was so), each key is moreover linearizable: see [`history`](crate::history). While it is calm besides, nothing fails.
//!
//! Agreed is the most that may be asked of nodes that judge one another each for itself: as long as two nodes disagree about an owner, both
//! may write. Where views are agreed upon and keys are mirrored, every key is linearizable always, from the first request to the last; only
//! what may be lost, the world says: see [`losses`](crate::losses).

use std::collections::BTreeMap;

use spydercache::node::ClientId;
use spydercache::node::command::{Action, Admin, Expiry, Request};

use crate::answer::Answer;
use crate::clients::{Clients, key_of};
use crate::finding::{Check, Finding, answer_in_words, found, in_words, text};
use crate::history::{History, Verdict};
use crate::network::Holder;
use crate::options::{MS, Options, Sync};
use crate::walks::{self, said_of, walk_in};

/// Longer than what has no deadline of its own, or many in a row.
const LONG_US: u64 = 30_000 * MS;
/// A delayed flush has happened by then, even at nodes that were paused meanwhile.
const DELAYED_FLUSH_US: u64 = 10_000 * MS;
/// What a turn, a clock and a disk may add to a deadline.
const SLACK_US: u64 = 150 * MS;

/// A request under way.
#[derive(Clone, Debug)]
struct Asked {
    holder: Holder,
    request: Request<'static>,
    at: u64,
    in_calm: bool,
    answered: bool,
}

/// What was checked.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    pub requests: u64,
    pub answers: u64,
    pub explained: u64,
    pub unclear: u64,
    pub failures: u64,
}

impl Checked {
    fn note(&mut self, history: &mut History, key: usize, verdict: Verdict) -> Check {
        match verdict {
            Verdict::Explained(count) => self.explained += count,
            Verdict::Impossible => {
                let what = format!("no order explains what clients saw of key-{key}; before it was {}", history.describe());
                return Err(Finding { what, key: Some(key as u64) });
            }
        }
        Ok(())
    }
}

/// All that is asked and known.
pub struct Checker {
    asked: BTreeMap<ClientId, Asked>,
    /// One a key, while the pool is agreed; in a mirrored pool always.
    histories: Option<Vec<History>>,
    /// When it was last left open what became of a request: until then, it may have been sent on.
    pub given_up_at: u64,
    /// Until then, a flush that was asked for may still happen.
    flushes_until: u64,
    keys: usize,
    evicts: bool,
    lag_us: Option<u64>,
    timeout_us: u64,
    connect_us: u64,
    sync_us: u64,
    pub checked: Checked,
}

impl Checker {
    pub fn new(options: &Options) -> Checker {
        let waits_for_disk = options.journal && options.sync == Sync::Always;
        let (keys, evicts, lag_us) = (options.keys as usize, options.evicts(), options.lag_us());
        Checker {
            asked: BTreeMap::new(),
            histories: options.is_judged_always().then(|| vec![History::new(evicts, lag_us); keys]),
            given_up_at: 0,
            flushes_until: 0,
            keys,
            evicts,
            lag_us,
            timeout_us: options.request_timeout_ms * MS,
            connect_us: 2 * options.pace.silence_ms * MS,
            sync_us: if waits_for_disk { options.sync_us } else { 0 },
            checked: Checked::default(),
        }
    }

    /// Is every key watched exactly?
    pub fn is_watching(&self) -> bool {
        self.histories.is_some()
    }

    /// The pool agrees, since then. Nothing is on its way that is older.
    pub fn begin_watching(&mut self, since: u64) {
        assert!(self.asked.values().all(|asked| asked.at >= since), "what was asked before is done with");
        let mut histories = vec![History::new(self.evicts, self.lag_us); self.keys];
        for (id, asked) in &self.asked {
            for key in keys_of(&asked.request, self.keys) {
                histories[key].on_asked_earlier(*id, action_of(&asked.request), asked.at);
            }
        }
        self.histories = Some(histories);
    }

    /// The pool no longer agrees: what is not answered yet may become anything.
    pub fn end_watching(&mut self) -> Check {
        let Some(mut histories) = self.histories.take() else { return Ok(()) };
        self.checked.unclear += histories.iter().map(|history| history.unclear).sum::<u64>();
        for (id, asked) in &self.asked {
            for key in keys_of(&asked.request, self.keys) {
                let verdict = histories[key].on_given_up(*id);
                self.checked.note(&mut histories[key], key, verdict)?;
            }
        }
        Ok(())
    }

    /// All nodes there are begin anew, with all they had.
    pub fn on_restarted(&mut self) {
        self.histories.iter_mut().flatten().for_each(History::on_restarted);
    }

    /// From now on any key may be gone; or, from now on, no more so.
    pub fn on_loss(&mut self, begins: bool) {
        self.histories.iter_mut().flatten().for_each(|history| history.on_loss(begins));
    }

    /// From now on any key may be anything that was ever written to it.
    pub fn on_relapse(&mut self) {
        self.histories.iter_mut().flatten().for_each(History::on_forgotten);
    }

    /// What was given up is not under way any more.
    pub fn on_quiet(&mut self, now: u64) {
        self.histories.iter_mut().flatten().for_each(|history| history.on_quiet(now));
    }

    /// When the oldest request that is not answered was asked.
    pub fn oldest(&self) -> u64 {
        self.asked.values().map(|asked| asked.at).min().unwrap_or(u64::MAX)
    }

    /// May a flush still happen that was answered long ago?
    pub fn expects_flush(&self, now: u64) -> bool {
        now < self.flushes_until
    }

    /// A client asks.
    pub fn on_asked(&mut self, id: ClientId, holder: Holder, request: Request<'static>, at: u64, in_calm: bool) {
        self.checked.requests += 1;
        if matches!(request, Request::Admin(Admin::Flush { .. })) && !is_immediate(&request) {
            self.flushes_until = at + DELAYED_FLUSH_US;
        }
        let asked = Asked { holder, request, at, in_calm, answered: false };
        if let Some(histories) = &mut self.histories {
            for key in keys_of(&asked.request, self.keys) {
                histories[key].on_asked(id, action_of(&asked.request), at);
            }
        }
        self.asked.insert(id, asked);
    }

    /// A node answers. It does so once, about the right key, in a fitting way.
    pub fn on_reply(&mut self, id: ClientId, key: &[u8], answer: &Answer, clients: &Clients, is_calm: bool) -> Check {
        self.checked.answers += 1;
        let words = answer_in_words(answer);
        let Some(asked) = self.asked.get_mut(&id) else { return found(format!("{id:?} is answered and has asked nothing: {words}")) };
        if std::mem::replace(&mut asked.answered, true) {
            return found(format!("{id:?} is answered twice: {words}"));
        }
        let right_key = match &asked.request {
            Request::Key(command) => *command.key == *key,
            Request::Admin(_) => true,
        };
        if !right_key || !answer.fits(&asked.request) {
            let key = String::from_utf8_lossy(key);
            return found(format!("{id:?} has asked {} and is answered, about {key}, {words}", in_words(&asked.request)));
        }
        self.checked.failures += u64::from(answer.is_outage());
        if is_calm && asked.in_calm && answer.is_outage() {
            return found(format!("the pool is calm and whole, and {} fails: {words}", in_words(&asked.request)));
        }
        match (answer, key_of(&asked.request)) {
            (Answer::Value { bytes, .. }, Some(key)) if !clients.wrote(key, bytes) => {
                let what = format!("{} is answered with what was never written there: {}", in_words(&asked.request), text(bytes));
                Err(Finding { what, key: Some(key) })
            }
            _ => Ok(()),
        }
    }

    /// A client gets to see an answer.
    pub fn on_handed(&mut self, id: ClientId, answer: &Answer, now: u64) -> Check {
        let Some(asked) = self.asked.remove(&id) else { return Ok(()) };
        if answer.is_outage() {
            self.given_up_at = now;
        }
        let Some(mut histories) = self.histories.take() else { return Ok(()) };
        for key in keys_of(&asked.request, self.keys) {
            let said = match walk_in(&asked.request) {
                Some(walk) => said_of(key, walk, answer),
                None => Some(answer.clone()),
            };
            let tells = match &asked.request {
                Request::Admin(Admin::Walk(_)) => said.is_some(),
                Request::Key(_) => !answer.is_unknown(),
                Request::Admin(_) => *answer == Answer::Done && is_immediate(&asked.request),
            };
            let history = &mut histories[key];
            let said = said.filter(|_| tells);
            let verdict = match said {
                Some(said) => history.on_answered(id, &said, now),
                None => history.on_given_up(id),
            };
            self.checked.note(history, key, verdict)?;
        }
        self.histories = Some(histories);
        Ok(())
    }

    /// A request's connection has ended with its process.
    pub fn on_lost(&mut self, id: ClientId, now: u64) -> Check {
        let Some(asked) = self.asked.remove(&id) else { return Ok(()) };
        self.given_up_at = now;
        let Some(mut histories) = self.histories.take() else { return Ok(()) };
        for key in keys_of(&asked.request, self.keys) {
            let verdict = histories[key].on_given_up(id);
            self.checked.note(&mut histories[key], key, verdict)?;
        }
        self.histories = Some(histories);
        Ok(())
    }

    /// Is everything answered that should be? A host that was hindered until some moment has its time from then on.
    pub fn check_deadlines(&self, now: u64, hindered_until: impl Fn(Holder) -> u64) -> Check {
        for (id, asked) in self.asked.iter().filter(|(_, asked)| !asked.answered) {
            let since = asked.at.max(hindered_until(asked.holder));
            if now > since.saturating_add(self.patience(&asked.request)) {
                let (waited, request) = ((now - asked.at) / MS, in_words(&asked.request));
                return found(format!("{id:?} has waited {waited} ms for an answer to {request} from node {}", asked.holder.host + 1));
            }
        }
        Ok(())
    }

    fn patience(&self, request: &Request<'_>) -> u64 {
        let own = match request {
            Request::Admin(Admin::Connect(_)) => self.timeout_us.max(self.connect_us),
            Request::Admin(Admin::Reconstruct | Admin::Walk(_)) => LONG_US,
            _ => self.timeout_us,
        };
        own + own / 50 + 3 * self.sync_us + SLACK_US
    }
}

/// What a request does to a key; `None` is a flush.
fn action_of(request: &Request<'_>) -> Option<Action<'static>> {
    match request {
        Request::Key(command) => Some(command.to_owned().action),
        Request::Admin(_) => walk_in(request).map(walks::action_of),
    }
}

/// The keys that a request may change or tell of.
fn keys_of(request: &Request<'_>, keys: usize) -> std::ops::Range<usize> {
    match (request, key_of(request)) {
        (Request::Key(_), Some(key)) => key as usize..key as usize + 1,
        (Request::Admin(Admin::Flush { .. } | Admin::Walk(_)), _) => 0..keys,
        (Request::Key(_) | Request::Admin(_), _) => 0..0,
    }
}

/// Has it happened by the time it is answered?
fn is_immediate(request: &Request<'_>) -> bool {
    matches!(request, Request::Admin(Admin::Flush { when: Expiry::InMs(0) | Expiry::Never }))
}
