//! What is found wrong, and the story that leads up to it.

use std::collections::VecDeque;

use spydercache::node::command::{Action, Admin, Expiry, Request, StoreMode};

use crate::answer::Answer;
use crate::clients::key_of;

/// Events that are remembered, and how many of them are told in the end.
const REMEMBERED: usize = 20_000;
const TOLD: usize = 60;

/// The outcome of whatever may find something.
pub type Check = Result<(), Finding>;

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Finding {
    pub what: String,
    /// The key that it is about.
    pub key: Option<u64>,
}

/// Finds something that is about no key.
pub fn found(what: String) -> Check {
    Err(Finding { what, key: None })
}

/// The last events, as they are told to people.
#[derive(Default)]
pub struct Story {
    events: VecDeque<(Option<u64>, String)>,
}

impl Story {
    /// One more event; `key` if it is about one.
    pub fn add(&mut self, key: Option<u64>, event: String) {
        self.events.push_back((key, event));
        if self.events.len() > REMEMBERED {
            self.events.pop_front();
        }
    }

    /// The last events; if one key is in question, those of the other keys are left out.
    pub fn tell(&self, about: Option<u64>) -> String {
        let concerns = |key: &Option<u64>| about.is_none() || key.is_none() || *key == about;
        let events: Vec<&str> = self.events.iter().filter(|(key, _)| concerns(key)).map(|(_, event)| event.as_str()).collect();
        let told = crate::sweep::number("TOLD").map_or(TOLD, |told| told as usize);
        events[events.len().saturating_sub(told)..].join("\n")
    }
}

/// A request in few words.
pub fn in_words(request: &Request<'_>) -> String {
    match request {
        Request::Key(command) => format!("{} key-{}", action_in_words(&command.action), key_of(request).unwrap_or_default()),
        Request::Admin(Admin::Flush { when }) => format!("flush {when:?}"),
        Request::Admin(Admin::Connect(address)) => format!("connect {address}"),
        Request::Admin(Admin::Dead(address)) => format!("dead {address}"),
        Request::Admin(other) => format!("{other:?}").to_lowercase(),
    }
}

fn action_in_words(action: &Action<'_>) -> String {
    let Action::Store(store) = action else { return format!("{action:?}").to_lowercase() };
    let verb = match store.mode {
        StoreMode::Cas(version) => format!("cas({})", version.0),
        mode => format!("{mode:?}").to_lowercase(),
    };
    let expiry = if store.expiry == Expiry::Never { String::new() } else { format!(", {:?}", store.expiry) };
    format!("{verb}({}{expiry})", text(&store.value))
}

/// An answer in few words.
pub fn answer_in_words(answer: &Answer) -> String {
    match answer {
        Answer::Value { bytes, version, .. } => format!("{}, version {version}", text(bytes)),
        other => format!("{other:?}"),
    }
}

/// A value without its padding.
pub fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).replace('.', "")
}
