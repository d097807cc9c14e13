//! What one key should do: a register, small enough to be believed.
//!
//! [`step`] says which states a command may leave behind, given the state before, when it was carried out, and its answer if that is known.
//! No state means: this cannot have happened. The model does not know how a state came about; [`history`](super::history) finds an order
//! of commands that explains what clients saw, or that there is none.

use spydercache::node::command::{Action, Count, Delta, Expiry, Renewal, ScanFor, Store, StoreMode};
use spydercache::node::reply::Failure;

use crate::answer::Answer;
use crate::options::MS;

/// What a clock may be wrong by, in a hundred, and besides for rounding.
const DRIFT_PERCENT: u64 = 2;
const ROUNDING_US: u64 = 4 * MS;
/// How much earlier than another copy one may end: each hop between nodes rounds down.
const EARLY_US: u64 = 10 * MS;

/// What may become of a value by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// It may go at any time: it is evicted, or may be lost.
    pub goes: bool,
    /// Where a key has copies: a copy that was filled late ends so much later than the one it was filled from.
    pub lag_us: Option<u64>,
}

/// What time alone has made of a state.
#[derive(Clone, Debug)]
pub struct Aged {
    pub state: State,
    /// The value that is gone here and may still be seen in another copy: the two do not end at the very same moment.
    pub elsewhere: Option<State>,
}

/// A key, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Anything: its history began before the watching.
    Unknown,
    Absent,
    Present(Item),
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    pub value: Vec<u8>,
    pub flags: u32,
    /// `None` until somebody has said it.
    pub version: Option<u64>,
    /// It ends between these two moments.
    pub ends: Span,
}

/// Between two moments, in true microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub from: u64,
    pub to: u64,
}

impl Span {
    const NEVER: Span = Span { from: u64::MAX, to: u64::MAX };
    const WHO_KNOWS: Span = Span { from: 0, to: u64::MAX };

    /// The same, less certain by what a journal rounds.
    pub fn blur(&mut self) {
        self.from = if self.from == u64::MAX { self.from } else { self.from.saturating_sub(ROUNDING_US) };
        self.to = self.to.saturating_add(ROUNDING_US);
    }
}

/// The states that time alone may have made of this one.
pub fn age(state: &State, when: Span, rules: Rules) -> Vec<Aged> {
    let State::Present(item) = state else { return vec![Aged { state: state.clone(), elsewhere: None }] };
    let early = if rules.lag_us.is_some() { EARLY_US } else { 0 };
    let may_have_ended = when.to.saturating_add(early) >= item.ends.from;
    let has_ended = when.from > item.ends.to.saturating_add(rules.lag_us.unwrap_or(0));
    let mut states = Vec::with_capacity(2);
    if !has_ended {
        states.push(Aged { state: state.clone(), elsewhere: None });
    }
    if may_have_ended || rules.goes {
        let elsewhere = (may_have_ended && !has_ended && rules.lag_us.is_some()).then(|| state.clone());
        states.push(Aged { state: State::Absent, elsewhere });
    }
    states
}

/// The states that an action may leave, carried out in `when`; `answer` is what its client was told, if it was.
pub fn step(state: &State, action: &Action<'_>, answer: Option<&Answer>, when: Span) -> Vec<State> {
    if let Some(Answer::Failed(failure)) = answer {
        let honest = *failure != Failure::NotANumber;
        return if honest { vec![state.clone()] } else { Vec::new() };
    }
    match action {
        Action::Get => read(state, answer, None),
        Action::GetAndTouch(expiry) => read(state, answer, Some(ends_of(*expiry, when))),
        Action::Store(store) => write(state, store, answer, when),
        Action::Delete { .. } => remove(state, answer),
        Action::Count(Count { by: Delta::Up(delta), .. }) => count(state, *delta as i64, answer),
        Action::Count(Count { by: Delta::Down(delta), .. }) => count(state, -(*delta as i64), answer),
        Action::Touch(Renewal { expiry, .. }) => touch(state, answer, ends_of(*expiry, when)),
        Action::Scan(scan) if scan.what == ScanFor::Removal => vec![State::Absent],
        Action::Scan(_) => look(state, answer),
        Action::Look | Action::Claim(_) | Action::Count(_) => unreachable!("the simulated clients ask no such thing"),
    }
}

/// When something that is written in `when` with this expiry ends.
fn ends_of(expiry: Expiry, when: Span) -> Span {
    match expiry {
        Expiry::Never => Span::NEVER,
        Expiry::InMs(ms) => {
            let (us, error) = (ms * MS, ms * MS * DRIFT_PERCENT / 100 + ROUNDING_US);
            Span { from: (when.from + us).saturating_sub(error), to: when.to + us + error }
        }
        Expiry::AtWallMs(_) | Expiry::Keep | Expiry::Longer(_) => Span::WHO_KNOWS,
    }
}

fn read(state: &State, answer: Option<&Answer>, renewed: Option<Span>) -> Vec<State> {
    let renew = |item: Item| State::Present(Item { ends: renewed.unwrap_or(item.ends), ..item });
    match (state, answer) {
        (State::Unknown, None) => vec![State::Unknown],
        (State::Absent, None | Some(Answer::Miss)) | (State::Unknown, Some(Answer::Miss)) => vec![State::Absent],
        (State::Present(item), None) => vec![renew(item.clone())],
        (State::Unknown, Some(Answer::Value { bytes, flags, version })) => {
            vec![renew(Item { value: bytes.clone(), flags: *flags, version: Some(*version), ends: Span::WHO_KNOWS })]
        }
        (State::Present(item), Some(Answer::Value { bytes, flags, version })) => {
            let same = item.value == *bytes && item.flags == *flags && item.version.is_none_or(|known| known == *version);
            if same { vec![renew(Item { version: Some(*version), ..item.clone() })] } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}

/// A walk has found the key, or not.
fn look(state: &State, answer: Option<&Answer>) -> Vec<State> {
    match (state, answer) {
        (State::Unknown, Some(Answer::Listed(false))) => vec![State::Absent],
        (State::Unknown | State::Present(_), None | Some(Answer::Listed(true))) => vec![state.clone()],
        (State::Absent, None | Some(Answer::Listed(false))) => vec![State::Absent],
        _ => Vec::new(),
    }
}

fn touch(state: &State, answer: Option<&Answer>, ends: Span) -> Vec<State> {
    match (state, answer) {
        (State::Unknown, None | Some(Answer::Touched)) => vec![State::Unknown],
        (State::Unknown | State::Absent, Some(Answer::Miss)) | (State::Absent, None) => vec![State::Absent],
        (State::Present(item), None | Some(Answer::Touched)) => vec![State::Present(Item { ends, ..item.clone() })],
        _ => Vec::new(),
    }
}

fn remove(state: &State, answer: Option<&Answer>) -> Vec<State> {
    match (state, answer) {
        (_, None) | (State::Unknown, Some(Answer::Deleted | Answer::Miss)) => vec![State::Absent],
        (State::Present(_), Some(Answer::Deleted)) | (State::Absent, Some(Answer::Miss)) => vec![State::Absent],
        _ => Vec::new(),
    }
}

fn write(state: &State, store: &Store<'_>, answer: Option<&Answer>, when: Span) -> Vec<State> {
    let told = match answer {
        Some(Answer::Stored { version }) => Some(*version),
        _ => None,
    };
    let holds = condition(state, store.mode);
    let mut states = Vec::new();
    if holds != Some(false) && matches!(answer, None | Some(Answer::Stored { .. })) {
        states.extend(written(state, store, told, when));
    }
    let refused = match (answer, store.mode, state) {
        (None, ..) => true,
        (Some(Answer::NotStored), StoreMode::Add | StoreMode::Replace | StoreMode::Append | StoreMode::Prepend, _) => true,
        (Some(Answer::Exists), StoreMode::Cas(_), state) => *state != State::Absent,
        (Some(Answer::Miss), StoreMode::Cas(_), State::Unknown | State::Absent) => true,
        _ => false,
    };
    if holds != Some(true) && refused {
        states.push(if answer == Some(&Answer::Miss) { State::Absent } else { state.clone() });
    }
    states
}

/// Does the condition of a write hold? `None` if that is not known.
fn condition(state: &State, mode: StoreMode) -> Option<bool> {
    match (mode, state) {
        (StoreMode::Set, _) => Some(true),
        (_, State::Unknown) => None,
        (StoreMode::Add, state) => Some(*state == State::Absent),
        (StoreMode::Replace | StoreMode::Append | StoreMode::Prepend, state) => Some(*state != State::Absent),
        (StoreMode::Cas(_), State::Absent) => Some(false),
        (StoreMode::Cas(version), State::Present(item)) => item.version.map(|known| known == version.0),
    }
}

/// What a write that was carried out leaves. Versions only grow.
fn written(state: &State, store: &Store<'_>, version: Option<u64>, when: Span) -> Option<State> {
    let before = if let State::Present(item) = state { Some(item) } else { None };
    if let (Some(new), Some(Some(old))) = (version, before.map(|item| item.version))
        && new <= old
    {
        return None;
    }
    let joined = |parts: [&[u8]; 2], item: &Item| Item { value: parts.concat(), version, ..item.clone() };
    Some(match (store.mode, before) {
        (StoreMode::Append, Some(item)) => State::Present(joined([&item.value, &store.value], item)),
        (StoreMode::Prepend, Some(item)) => State::Present(joined([&store.value, &item.value], item)),
        (StoreMode::Append | StoreMode::Prepend, None) => State::Unknown,
        _ => {
            let ends = ends_of(store.expiry, when);
            State::Present(Item { value: store.value.to_vec(), flags: store.flags, version, ends })
        }
    })
}

fn count(state: &State, delta: i64, answer: Option<&Answer>) -> Vec<State> {
    let told = match answer {
        Some(Answer::Number { number, version }) => Some((*number, *version)),
        _ => None,
    };
    let item_of = |number: u64, item: Item| {
        State::Present(Item { value: number.to_string().into_bytes(), version: told.map(|(_, version)| version), ..item })
    };
    match (state, answer) {
        (State::Unknown, None) => vec![State::Unknown],
        (State::Unknown | State::Absent, Some(Answer::Miss)) | (State::Absent, None) => vec![State::Absent],
        // Its flags are not known: the next read says them.
        (State::Unknown, Some(Answer::Number { .. })) => vec![State::Unknown],
        (State::Present(item), None | Some(Answer::Number { .. })) => {
            let Some(number) = number_in(&item.value) else { return Vec::new() };
            let expected = if delta < 0 { number.saturating_sub(delta.unsigned_abs()) } else { number.wrapping_add(delta as u64) };
            let grows = told.is_none_or(|(_, new)| item.version.is_none_or(|old| old < new));
            if told.is_none_or(|(number, _)| number == expected) && grows { vec![item_of(expected, item.clone())] } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}

fn number_in(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
