//! One key's history: is there an order of its commands that explains every answer?
//!
//! Just-in-time linearization (Lowe, "Testing for linearizability", 2017). A *configuration* is a state of the model together with the
//! commands that have been carried out in it before their answers came. At each answer, every configuration is carried on in all
//! ways that make the command happen by now, with any of the open ones before it; what contradicts an answer is dropped. If nothing is
//! left, no order explains what clients saw.
//!
//! Events are looked at only when the fate of every command asked until then is known, so that a command carried out early is carried
//! out with the answer it will get. A command whose outcome nobody will ever tell (its connection ended, or the answer was "unknown") has
//! no answer: it may have happened, or happen later, or never.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use spydercache::node::ClientId;
use spydercache::node::command::Action;

use crate::answer::Answer;
use crate::model::{self, Span, State};

/// More configurations than these are not followed.
const MOST: usize = 300;

/// What clients have seen of one key.
#[derive(Clone, Debug)]
pub struct History {
    configurations: BTreeSet<Configuration>,
    /// Asked and not answered, as far as the events have been looked at.
    open: Vec<Asked>,
    /// Not looked at yet.
    events: VecDeque<Event>,
    /// What came of those commands; `None` if nobody will tell.
    fates: BTreeMap<ClientId, Option<Answer>>,
    /// Asked before the watching began: each may have happened before it, so its answer says nothing.
    earlier: BTreeSet<ClientId>,
    evicts: bool,
    /// There were too many possibilities: the key is not watched any more.
    pub is_unclear: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration {
    state: State,
    /// Which of the open commands have been carried out, in order of their ids.
    done: Vec<ClientId>,
}

#[derive(Clone, Debug)]
enum Event {
    Asked(Asked),
    Answered(ClientId, u64),
    /// An earlier command is answered: from now on it cannot happen any more.
    Settled(ClientId, u64),
    /// The only process that holds the key has begun anew from its journal.
    Restarted,
}

#[derive(Clone, Debug)]
struct Asked {
    id: ClientId,
    /// `None` stands for a flush of everything.
    action: Option<Action<'static>>,
    at: u64,
    answer: Option<Answer>,
}

/// What the events say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So many answers have been explained.
    Explained(u64),
    Impossible,
}

impl History {
    /// A key of which nothing is known.
    pub fn new(evicts: bool) -> History {
        let (configurations, open) = (BTreeSet::from([Configuration::unknown()]), Vec::new());
        History {
            configurations,
            open,
            events: VecDeque::new(),
            fates: BTreeMap::new(),
            earlier: BTreeSet::new(),
            evicts,
            is_unclear: false,
        }
    }

    /// A command is sent; `None` is a flush.
    pub fn on_asked(&mut self, id: ClientId, action: Option<Action<'static>>, at: u64) {
        self.events.push_back(Event::Asked(Asked { id, action, at, answer: None }));
    }

    /// A command was sent before the watching began.
    pub fn on_asked_earlier(&mut self, id: ClientId, action: Option<Action<'static>>, at: u64) {
        self.earlier.insert(id);
        self.fates.insert(id, None);
        self.on_asked(id, action, at);
    }

    /// An answer has come.
    pub fn on_answered(&mut self, id: ClientId, answer: &Answer, now: u64) -> Verdict {
        if self.earlier.remove(&id) {
            self.events.push_back(Event::Settled(id, now));
            return self.look();
        }
        self.fates.insert(id, Some(answer.clone()));
        self.events.push_back(Event::Answered(id, now));
        self.look()
    }

    /// Nobody will tell what came of a command.
    pub fn on_given_up(&mut self, id: ClientId) -> Verdict {
        if self.earlier.remove(&id) {
            return Verdict::Explained(0);
        }
        self.fates.insert(id, None);
        self.look()
    }

    /// The process that holds the key has begun anew from its journal.
    pub fn on_restarted(&mut self) {
        self.events.push_back(Event::Restarted);
    }

    /// What the key may be, for people.
    pub fn describe(&self) -> String {
        let states: BTreeSet<String> = self.configurations.iter().map(|configuration| describe(&configuration.state)).collect();
        states.into_iter().collect::<Vec<_>>().join(" or ")
    }

    /// Looks at all events up to the first command whose fate is not known.
    fn look(&mut self) -> Verdict {
        let mut explained = 0;
        while !self.is_unclear
            && let Some(event) = self.events.pop_front()
        {
            match event {
                Event::Asked(asked) if !self.fates.contains_key(&asked.id) => {
                    self.events.push_front(Event::Asked(asked));
                    break;
                }
                Event::Asked(asked) => self.open(asked),
                Event::Restarted => self.blur(),
                Event::Settled(id, now) => drop(self.close(id, now, false)),
                Event::Answered(id, now) => {
                    if !self.close(id, now, true) {
                        return Verdict::Impossible;
                    }
                    explained += 1;
                }
            }
        }
        if self.is_unclear {
            self.events.clear();
            self.fates.clear();
        }
        Verdict::Explained(explained)
    }

    fn open(&mut self, mut asked: Asked) {
        let Some(fate) = self.fates.remove(&asked.id) else { return };
        asked.answer = fate;
        let changes_nothing = asked.answer.is_none() && matches!(asked.action, Some(Action::Get));
        if !changes_nothing {
            self.open.push(asked);
        }
    }

    /// Ends become known less exactly: a journal says them by the wall clock.
    fn blur(&mut self) {
        let blurred = std::mem::take(&mut self.configurations).into_iter().map(|mut configuration| {
            if let State::Present(item) = &mut configuration.state {
                item.ends.blur();
            }
            configuration
        });
        self.configurations = blurred.collect();
    }

    /// A command has happened by now, or, if that is not `certain`, will not happen any more. False if nothing explains that.
    fn close(&mut self, id: ClientId, now: u64, certain: bool) -> bool {
        let Some(target) = self.open.iter().position(|asked| asked.id == id) else { return true };
        let mut found = BTreeSet::new();
        let before = std::mem::take(&mut self.configurations);
        let mut seen = before.clone();
        let mut ways: Vec<Configuration> = before.iter().cloned().collect();
        while let Some(mut way) = ways.pop() {
            if way.done.contains(&id) {
                way.done.retain(|done| *done != id);
                found.insert(way);
                continue;
            }
            if !certain {
                found.insert(way.clone());
            }
            for next in (0..self.open.len()).filter(|next| self.may_be_next(&way, *next)) {
                let carried_on = self.carried_out(&way, next, now);
                ways.extend(carried_on.into_iter().filter(|way| seen.insert(way.clone())));
            }
            if seen.len() > MOST {
                self.is_unclear = true;
                return true;
            }
        }
        self.open.remove(target);
        if found.is_empty() {
            self.configurations = before;
            return false;
        }
        self.configurations = found;
        true
    }

    /// A connection's commands on a key are carried out in their order, but for those of which nobody knows whether they were: a read that was
    /// lost with its link is asked again, and may then see a write that was sent behind it and lost with the same link.
    fn may_be_next(&self, way: &Configuration, index: usize) -> bool {
        let asked = &self.open[index];
        let goes_before = |other: &&Asked| other.id.connection == asked.id.connection && other.id.slot < asked.id.slot;
        let is_waited_for = |other: &Asked| other.answer.is_some() && !way.done.contains(&other.id);
        !way.done.contains(&asked.id) && (asked.answer.is_none() || !self.open.iter().filter(goes_before).any(is_waited_for))
    }

    fn carried_out(&self, way: &Configuration, index: usize, now: u64) -> Vec<Configuration> {
        let asked = &self.open[index];
        let when = Span { from: asked.at, to: now };
        let mut ways = Vec::new();
        for aged in model::age(&way.state, when, self.evicts) {
            let states = match (&asked.action, &asked.answer) {
                (Some(action), answer) => model::step(&aged, action, answer.as_ref(), when),
                (None, _) => vec![State::Absent],
            };
            ways.extend(states.into_iter().map(|state| {
                let mut done = way.done.clone();
                done.push(asked.id);
                done.sort_unstable();
                Configuration { state, done }
            }));
        }
        ways
    }
}

impl Configuration {
    fn unknown() -> Configuration {
        Configuration { state: State::Unknown, done: Vec::new() }
    }
}

fn describe(state: &State) -> String {
    match state {
        State::Unknown => "unknown".into(),
        State::Absent => "absent".into(),
        State::Present(item) => {
            let text: String = String::from_utf8_lossy(&item.value).chars().filter(|letter| *letter != '.').take(80).collect();
            format!("{text:?} version {:?}", item.version)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use spydercache::node::command::{Expiry, Store, StoreMode};

    use super::*;

    fn id(connection: u64, slot: u64) -> ClientId {
        ClientId { connection, slot }
    }

    fn set(value: &'static str) -> Option<Action<'static>> {
        let value = Cow::Borrowed(value.as_bytes());
        Some(Action::Store(Store { mode: StoreMode::Set, value, flags: 0, expiry: Expiry::Never, want_old: false }))
    }

    fn value(text: &str, version: u64) -> Answer {
        Answer::Value { bytes: text.as_bytes().to_vec(), flags: 0, version }
    }

    /// A key that is known to be "old".
    fn history() -> History {
        let mut history = History::new(false);
        history.on_asked(id(1, 0), set("old"), 0);
        assert_eq!(history.on_answered(id(1, 0), &Answer::Stored { version: 1 }, 1), Verdict::Explained(1));
        history
    }

    #[test]
    fn what_was_overwritten_before_the_read_began_is_not_read_any_more() {
        let mut history = history();
        history.on_asked(id(1, 1), set("new"), 10);
        history.on_answered(id(1, 1), &Answer::Stored { version: 2 }, 20);
        history.on_asked(id(2, 0), Some(Action::Get), 30);
        assert_eq!(history.clone().on_answered(id(2, 0), &value("new", 2), 40), Verdict::Explained(1));
        assert_eq!(history.on_answered(id(2, 0), &value("old", 1), 40), Verdict::Impossible);
    }

    #[test]
    fn a_read_beside_a_write_may_see_either_but_not_first_the_new_and_then_the_old() {
        for (first, second, fits) in [("old", "old", true), ("old", "new", true), ("new", "new", true), ("new", "old", false)] {
            let version = |text| if text == "old" { 1 } else { 2 };
            let mut history = history();
            history.on_asked(id(1, 1), set("new"), 10);
            history.on_asked(id(2, 0), Some(Action::Get), 11);
            history.on_answered(id(2, 0), &value(first, version(first)), 12);
            history.on_asked(id(2, 1), Some(Action::Get), 13);
            history.on_answered(id(2, 1), &value(second, version(second)), 14);
            let verdict = history.on_answered(id(1, 1), &Answer::Stored { version: 2 }, 20);
            assert_eq!(verdict != Verdict::Impossible, fits, "{first}, {second}");
        }
    }

    #[test]
    fn a_write_of_unknown_outcome_may_happen_late_or_never() {
        let mut history = history();
        history.on_asked(id(3, 0), set("perhaps"), 5);
        history.on_given_up(id(3, 0));
        for (slot, text, version) in [(0, "old", 1), (1, "perhaps", 9), (2, "perhaps", 9)] {
            history.on_asked(id(2, slot), Some(Action::Get), 30);
            assert_eq!(history.on_answered(id(2, slot), &value(text, version), 40), Verdict::Explained(1));
        }
        history.on_asked(id(2, 3), Some(Action::Get), 50);
        assert_eq!(history.on_answered(id(2, 3), &value("old", 1), 60), Verdict::Impossible);
    }

    #[test]
    fn a_connection_reads_what_it_has_just_written() {
        let mut history = history();
        history.on_asked(id(1, 1), set("new"), 10);
        history.on_asked(id(1, 2), Some(Action::Get), 10);
        history.on_answered(id(1, 1), &Answer::Stored { version: 2 }, 20);
        assert_eq!(history.on_answered(id(1, 2), &value("old", 1), 20), Verdict::Impossible);
    }

    #[test]
    fn a_miss_needs_a_reason() {
        for (evicts, verdict) in [(false, Verdict::Impossible), (true, Verdict::Explained(1))] {
            let mut history = History { evicts, ..history() };
            history.on_asked(id(2, 0), Some(Action::Get), 30);
            assert_eq!(history.on_answered(id(2, 0), &Answer::Miss, 40), verdict);
        }
    }
}
