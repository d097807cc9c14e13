//! One key's history: is there an order of its commands that explains every answer?
//!
//! Just-in-time linearization (Lowe, "Testing for linearizability", 2017). A *configuration* is a state of the model together with the
//! commands that have been carried out in it before their answers came. At each answer, every configuration is carried on in all
//! ways that make the command happen by now, with any of the open ones before it; what contradicts an answer is dropped. If nothing is
//! left, no order explains what clients saw.
//!
//! Events are looked at only when the fate of every command asked until then is known, so that a command carried out early is carried
//! out with the answer it will get. A command whose outcome nobody will ever tell (its connection ended, or the answer was "unknown") has
//! no answer: it may have happened, or happen later, or never. Such commands pile up, so what need not be followed is not: see [`Ways`].
//!
//! Where keys are mirrored, a history runs from the first answer to the last, whatever happens. Then the world says when a value may be
//! gone without a reason of its own, because too many copies were lost, and until when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use spydercache::node::ClientId;
use spydercache::node::command::{Action, ScanFor};

use crate::answer::Answer;
use crate::model::{self, Rules, Span, State};
use crate::ways::{Configuration, Ways};

/// More configurations than these are not followed.
const MOST: usize = 300;

/// What clients have seen of one key.
#[derive(Clone, Debug)]
pub struct History {
    configurations: Vec<Configuration>,
    /// Asked and not answered, as far as the events have been looked at.
    open: Vec<Asked>,
    /// Not looked at yet.
    events: VecDeque<Event>,
    /// What came of those commands; `None` if nobody will tell.
    fates: BTreeMap<ClientId, Option<Answer>>,
    /// Their answers say nothing: each may have happened before the watching began.
    earlier: BTreeSet<ClientId>,
    rules: Rules,
    evicts: bool,
    /// A loss is over when these have been answered: each may have been carried out before it was.
    mending: Option<BTreeSet<ClientId>>,
    /// How often there were too many possibilities: the key is not watched any more, or, where it is watched for good, from an unknown
    /// state on.
    pub unclear: u64,
}

#[derive(Clone, Debug)]
enum Event {
    Asked(Asked),
    Answered(ClientId, u64),
    /// An earlier command is answered: from now on it cannot happen any more.
    Settled(ClientId, u64),
    /// Whoever holds the key has begun anew from a journal.
    Restarted,
    /// From now on the value may be gone, or no more so.
    Lossy(bool),
    /// It may be anything.
    Forgotten,
    /// Nothing is under way any more of what nobody will tell.
    Quiet(u64),
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
    /// A key of which nothing is known. `lag_us` if it has copies: see [`Rules`].
    pub fn new(evicts: bool, lag_us: Option<u64>) -> History {
        History {
            configurations: vec![Configuration::unknown()],
            open: Vec::new(),
            events: VecDeque::new(),
            fates: BTreeMap::new(),
            earlier: BTreeSet::new(),
            rules: Rules { goes: evicts, lag_us },
            evicts,
            mending: None,
            unclear: 0,
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

    /// Whoever holds the key has begun anew from a journal.
    pub fn on_restarted(&mut self) {
        self.events.push_back(Event::Restarted);
    }

    /// From now on its value may be gone; or, from now on, no more so.
    pub fn on_loss(&mut self, begins: bool) {
        self.events.push_back(Event::Lossy(begins));
    }

    /// From now on it may be anything.
    pub fn on_forgotten(&mut self) {
        self.events.push_back(Event::Forgotten);
    }

    /// What nobody will tell of and has not happened by now will not happen any more, but for flushes, which may have been asked for later.
    pub fn on_quiet(&mut self, now: u64) {
        self.events.push_back(Event::Quiet(now));
    }

    /// What the key may be, for people.
    pub fn describe(&self) -> String {
        let states: BTreeSet<String> = self.configurations.iter().map(|configuration| describe(&configuration.state)).collect();
        states.into_iter().collect::<Vec<_>>().join(" or ")
    }

    fn is_given_up(&self) -> bool {
        self.unclear > 0 && self.rules.lag_us.is_none()
    }

    /// Looks at all events up to the first command whose fate is not known.
    fn look(&mut self) -> Verdict {
        let mut explained = 0;
        while !self.is_given_up()
            && let Some(event) = self.events.pop_front()
        {
            match event {
                Event::Asked(asked) if !self.fates.contains_key(&asked.id) => {
                    self.events.push_front(Event::Asked(asked));
                    break;
                }
                Event::Asked(asked) => self.open(asked),
                Event::Restarted => self.blur(),
                Event::Lossy(begins) => self.lose(begins),
                Event::Forgotten => self.forget(),
                Event::Quiet(now) => self.close_the_untold(now),
                Event::Settled(id, now) => drop(self.close(id, now, false)),
                Event::Answered(id, now) => {
                    let certain = !self.earlier.remove(&id);
                    if !self.close(id, now, certain) {
                        return Verdict::Impossible;
                    }
                    explained += u64::from(certain);
                }
            }
        }
        if self.is_given_up() {
            self.events.clear();
            self.fates.clear();
        }
        Verdict::Explained(explained)
    }

    fn open(&mut self, mut asked: Asked) {
        let Some(fate) = self.fates.remove(&asked.id) else { return };
        asked.answer = fate;
        let changes_nothing = matches!(asked.action, Some(Action::Get)) || is_look(asked.action.as_ref());
        let changes_nothing = changes_nothing && asked.answer.is_none();
        if !changes_nothing {
            self.open.push(asked);
        }
    }

    /// Ends become known less exactly: a journal says them by the wall clock.
    fn blur(&mut self) {
        for configuration in &mut self.configurations {
            if let State::Present(item) = &mut configuration.state {
                item.ends.blur();
            }
        }
    }

    fn lose(&mut self, begins: bool) {
        if begins {
            (self.rules.goes, self.mending) = (true, None);
        } else {
            self.mending = Some(self.open.iter().filter(|asked| asked.answer.is_some()).map(|asked| asked.id).collect());
            self.mend_perhaps();
        }
    }

    /// The loss is over: whatever the key is now, its value may have been lost before.
    fn mend_perhaps(&mut self) {
        if !self.mending.as_ref().is_some_and(BTreeSet::is_empty) {
            return;
        }
        (self.rules.goes, self.mending) = (self.evicts, None);
        let mut ways = Ways::default();
        for configuration in std::mem::take(&mut self.configurations) {
            if matches!(configuration.state, State::Present(_)) {
                ways.insert(Configuration { state: State::Absent, ..configuration.clone() });
            }
            ways.insert(configuration);
        }
        self.configurations = ways.into_all();
    }

    fn close_the_untold(&mut self, now: u64) {
        let is_over = |asked: &&Asked| asked.answer.is_none() && asked.action.is_some() && !self.earlier.contains(&asked.id);
        let over: Vec<ClientId> = self.open.iter().filter(is_over).map(|asked| asked.id).collect();
        for id in over {
            self.close(id, now, false);
        }
    }

    /// A command has happened by now, or, if that is not `certain`, will not happen any more. False if nothing explains that.
    fn close(&mut self, id: ClientId, now: u64, certain: bool) -> bool {
        let Some(target) = self.open.iter().position(|asked| asked.id == id) else { return true };
        let (mut found, mut seen) = (Ways::default(), Ways::default());
        let mut ways: VecDeque<Configuration> = self.configurations.iter().cloned().collect();
        for way in &ways {
            seen.insert(way.clone());
        }
        while let Some(way) = ways.pop_front() {
            let is_done = way.has_done(id);
            if is_done || !certain {
                found.insert(way.clone().without(id));
            }
            if is_done {
                continue;
            }
            for next in (0..self.open.len()).filter(|next| self.may_be_next(&way, *next)) {
                let carried_on = self.carried_out(&way, next, now);
                ways.extend(carried_on.into_iter().filter(|way| seen.insert(way.clone())));
            }
            if seen.len() > MOST {
                self.give_in(target);
                return true;
            }
        }
        if found.len() == 0 {
            return false;
        }
        self.open.remove(target);
        self.configurations = found.into_all();
        self.on_closed(id);
        true
    }

    /// Too many possibilities. What is open may have happened in any of them.
    fn give_in(&mut self, target: usize) {
        self.unclear += 1;
        let id = self.open.remove(target).id;
        self.forget();
        self.on_closed(id);
    }

    /// The key may be anything. What is open may have been carried out before, so its answers say nothing.
    fn forget(&mut self) {
        for asked in self.open.iter_mut().filter(|asked| asked.answer.is_some()) {
            asked.answer = None;
            self.earlier.insert(asked.id);
        }
        self.configurations = vec![Configuration::unknown()];
    }

    fn on_closed(&mut self, id: ClientId) {
        if let Some(mending) = &mut self.mending {
            mending.remove(&id);
            self.mend_perhaps();
        }
    }

    /// A connection's commands on a key are carried out in their order, but for those of which nobody knows whether they were, and for reads: one that
    /// was lost with its link is asked again, and may then see a write that was sent behind it before it was answered. A walk keeps to no order with
    /// commands on keys that are not answered yet.
    fn may_be_next(&self, way: &Configuration, index: usize) -> bool {
        let asked = &self.open[index];
        let goes_before = |other: &&Asked| other.id.connection == asked.id.connection && other.id.slot < asked.id.slot;
        let is_read = |other: &Asked| matches!(other.action, Some(Action::Get | Action::GetAndTouch(_) | Action::Scan(_)));
        let is_walk = matches!(asked.action, Some(Action::Scan(_)));
        let is_waited_for = |other: &Asked| other.answer.is_some() && !is_read(other) && !way.has_done(other.id);
        !way.has_done(asked.id) && (asked.answer.is_none() || is_walk || !self.open.iter().filter(goes_before).any(is_waited_for))
    }

    fn carried_out(&self, way: &Configuration, index: usize, now: u64) -> Vec<Configuration> {
        let asked = &self.open[index];
        let when = Span { from: asked.at, to: now };
        let mut ways = Vec::new();
        for aged in model::age(&way.state, when, self.rules) {
            let states = match (&asked.action, &asked.answer) {
                (Some(action), answer) => model::step(&aged.state, action, answer.as_ref(), when),
                (None, _) => vec![State::Absent],
            };
            let still_elsewhere = aged.elsewhere.filter(|_| asked.action.is_some() && states.contains(&State::Absent));
            let states = states.into_iter().chain(still_elsewhere);
            ways.extend(states.map(|state| way.with(asked.id, asked.answer.is_some(), state)));
        }
        ways
    }
}

/// Does it only look whether the key is there?
fn is_look(action: Option<&Action<'_>>) -> bool {
    matches!(action, Some(Action::Scan(scan)) if scan.what != ScanFor::Removal)
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
        Some(Action::Store(Store { mode: StoreMode::Set, value, flags: 0, expiry: Expiry::Never, want_old: false, terms: None }))
    }

    fn value(text: &str, version: u64) -> Answer {
        Answer::Value { bytes: text.as_bytes().to_vec(), flags: 0, version }
    }

    /// A key that is known to be "old".
    fn history() -> History {
        let mut history = History::new(false, None);
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
            let mut history = History { rules: Rules { goes: evicts, lag_us: None }, ..history() };
            history.on_asked(id(2, 0), Some(Action::Get), 30);
            assert_eq!(history.on_answered(id(2, 0), &Answer::Miss, 40), verdict);
        }
    }

    fn read(history: &mut History, slot: u64, at: u64, answer: &Answer) -> Verdict {
        history.on_asked(id(2, slot), Some(Action::Get), at);
        history.on_answered(id(2, slot), answer, at + 1)
    }

    #[test]
    fn what_may_be_lost_is_there_or_gone_but_does_not_come_back() {
        let mut history = history();
        history.on_loss(true);
        assert_eq!(read(&mut history, 0, 30, &value("old", 1)), Verdict::Explained(1));
        assert_eq!(read(&mut history, 1, 40, &Answer::Miss), Verdict::Explained(1));
        assert_eq!(read(&mut history, 2, 50, &value("old", 1)), Verdict::Impossible);
    }

    #[test]
    fn a_loss_that_is_over_shows_itself_later_and_no_new_one_is_explained_by_it() {
        for (answers, verdict) in
            [([Answer::Miss, Answer::Miss], Verdict::Explained(1)), ([value("old", 1), Answer::Miss], Verdict::Impossible)]
        {
            let mut history = history();
            history.on_loss(true);
            history.on_loss(false);
            assert_eq!(read(&mut history, 0, 30, &answers[0]), Verdict::Explained(1));
            assert_eq!(read(&mut history, 1, 40, &answers[1]), verdict);
        }
    }

    #[test]
    fn once_all_is_quiet_nothing_happens_late() {
        let mut history = history();
        history.on_asked(id(3, 0), set("perhaps"), 5);
        history.on_given_up(id(3, 0));
        assert_eq!(read(&mut history, 0, 30, &value("old", 1)), Verdict::Explained(1));
        history.on_quiet(35);
        let mut early = history.clone();
        assert_eq!(read(&mut early, 1, 40, &value("perhaps", 9)), Verdict::Explained(1), "it has happened before");
        assert_eq!(read(&mut history, 1, 40, &value("old", 1)), Verdict::Explained(1));
        assert_eq!(read(&mut history, 2, 50, &value("perhaps", 9)), Verdict::Impossible);
    }

    #[test]
    fn a_hundred_writes_of_unknown_outcome_are_no_burden() {
        let mut history = history();
        for slot in 0..100 {
            history.on_asked(id(3, slot), set("perhaps"), 5);
            history.on_given_up(id(3, slot));
        }
        assert_eq!(read(&mut history, 0, 30, &value("perhaps", 9)), Verdict::Explained(1));
        assert_eq!(history.unclear, 0);
    }

    #[test]
    fn copies_end_a_little_apart_and_so_a_value_may_be_missed_once_and_seen_again() {
        let expiring = |text: &'static str| {
            let Some(Action::Store(store)) = set(text) else { unreachable!("it is a store") };
            Some(Action::Store(Store { expiry: Expiry::InMs(100), ..store }))
        };
        for (lag_us, verdict) in [(None, Verdict::Impossible), (Some(50_000), Verdict::Explained(1))] {
            let mut history = History::new(false, lag_us);
            history.on_asked(id(1, 0), expiring("brief"), 0);
            history.on_answered(id(1, 0), &Answer::Stored { version: 1 }, 1_000);
            assert_eq!(read(&mut history, 0, 100_000, &Answer::Miss), Verdict::Explained(1));
            assert_eq!(read(&mut history, 1, 120_000, &value("brief", 1)), verdict);
        }
    }
}
