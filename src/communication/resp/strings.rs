//! Commands on values: read, write, count.

use std::borrow::Cow;

use super::commands::{Call, Each, Handled, Refusal, Step, refuse};
use super::compose::Kind;
use super::session::Session;
use crate::node::command::{Action, Command, Count, Delta, Expiry, Number, Removal, Request, Store, StoreMode, Terms};

/// Largest moment, in milliseconds, that Redis takes for one.
const LATEST_MS: i64 = i64::MAX;

/// A word that says when a value ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// Seconds from now.
    Ex,
    /// Milliseconds from now.
    Px,
    /// Seconds since 1970.
    ExAt,
    /// Milliseconds since 1970.
    PxAt,
}

impl Clock {
    fn of(word: &[u8]) -> Option<Clock> {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        Some(match word {
            _ if is(b"EX") => Clock::Ex,
            _ if is(b"PX") => Clock::Px,
            _ if is(b"EXAT") => Clock::ExAt,
            _ if is(b"PXAT") => Clock::PxAt,
            _ => return None,
        })
    }

    /// The expiry that a number of its means, if there can be such a moment. What is over by now is at once.
    pub(super) fn expiry(self, number: i64, now_ms: u64) -> Option<Expiry> {
        let ms = match self {
            Clock::Ex | Clock::ExAt => number.checked_mul(1_000)?,
            Clock::Px | Clock::PxAt => number,
        };
        let from_now = matches!(self, Clock::Ex | Clock::Px);
        if from_now {
            ms.checked_add_unsigned(now_ms).filter(|end| *end < LATEST_MS)?;
        }
        let ms = ms.max(0).cast_unsigned();
        Some(if from_now { Expiry::InMs(ms) } else { Expiry::AtWallMs(ms) })
    }

    /// The same, for a command that takes no moment before the beginning of time.
    fn positive(self, word: &[u8], session: &Session, call: &Call<'_>) -> Result<Expiry, Refusal> {
        let number = integer(word)?;
        let expiry = if number > 0 { self.expiry(number, session.now_ms) } else { None };
        expiry.ok_or_else(|| invalid_expiry(call))
    }
}

/// There is no such moment.
pub(super) fn invalid_expiry(call: &Call<'_>) -> Refusal {
    refuse(format!("ERR invalid expire time in '{}' command", call.spec.name))
}

/// The options do not go together.
pub(super) fn syntax() -> Refusal {
    Cow::Borrowed(b"-ERR syntax error\r\n")
}

/// A whole number, as Redis reads one.
pub(super) fn integer(word: &[u8]) -> Result<i64, Refusal> {
    const WRONG: &[u8] = b"-ERR value is not an integer or out of range\r\n";
    let number = match word {
        [digit @ b'0'..=b'9'] => Some(i64::from(digit - b'0')),
        [b'1'..=b'9', ..] | [b'-', b'1'..=b'9', ..] => std::str::from_utf8(word).ok().and_then(|text| text.parse().ok()),
        _ => None,
    };
    number.ok_or(Cow::Borrowed(WRONG))
}

fn store<'a>(session: &Session, key: &'a [u8], store: Store<'a>, kind: Kind) -> Handled<'a> {
    session.ask(key, Action::Store(store), kind)
}

pub(super) fn get<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key] = call.words()?;
    session.ask(key, Action::Get, Kind::Bulk)
}

pub(super) fn strlen<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key] = call.words()?;
    session.ask(key, Action::Look, Kind::Length)
}

pub(super) fn getrange<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key, from, to] = call.words()?;
    session.ask(key, Action::Get, Kind::Range(place(from)?, place(to)?))
}

/// A place in a value; one that lies beyond any value is as good as the last that can be.
fn place(word: &[u8]) -> Result<i32, Refusal> {
    Ok(integer(word)?.clamp(i32::MIN.into(), i32::MAX.into()) as i32)
}

pub(super) fn getdel<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key] = call.words()?;
    session.ask(key, Action::Delete(Removal { want_old: true, terms: None }), Kind::Old)
}

/// `GETEX k [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`.
pub(super) fn getex<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key] = call.words()?;
    let mut options = call.behind(1);
    let expiry = match (options.next(), options.next(), options.next()) {
        (None, ..) => return session.ask(key, Action::Get, Kind::Bulk),
        (Some(word), None, _) if word.eq_ignore_ascii_case(b"PERSIST") => Expiry::Never,
        (Some(word), Some(number), None) => Clock::of(word).ok_or_else(syntax)?.positive(number, session, call)?,
        _ => return Err(syntax()),
    };
    session.ask(key, Action::GetAndTouch(expiry), Kind::Bulk)
}

/// `SET k v [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`, the options in any order.
pub(super) fn set<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key, value] = call.words()?;
    let mut written = Store::of(value);
    let mut clock: Option<(Clock, &[u8])> = None;
    let mut options = call.behind(2);
    while let Some(option) = options.next() {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        match (Clock::of(option), written.mode) {
            (Some(this), _) if written.expiry == Expiry::Never && clock.is_none_or(|(other, _)| other == this) => {
                clock = Some((this, options.next().ok_or_else(syntax)?));
            }
            (None, _) if is(b"KEEPTTL") && clock.is_none() => written.expiry = Expiry::Keep,
            (None, _) if is(b"GET") => written.want_old = true,
            (None, StoreMode::Set | StoreMode::Add) if is(b"NX") => written.mode = StoreMode::Add,
            (None, StoreMode::Set | StoreMode::Replace) if is(b"XX") => written.mode = StoreMode::Replace,
            _ => return Err(syntax()),
        }
    }
    if let Some((clock, number)) = clock {
        written.expiry = clock.positive(number, session, call)?;
    }
    let kind = if written.want_old { Kind::Old } else { Kind::Ok };
    store(session, key, written, kind)
}

pub(super) fn setnx<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key, value] = call.words()?;
    store(session, key, Store { mode: StoreMode::Add, ..Store::of(value) }, Kind::Flag)
}

pub(super) fn setex<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    set_with(Clock::Ex, session, call)
}

pub(super) fn psetex<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    set_with(Clock::Px, session, call)
}

fn set_with<'a>(clock: Clock, session: &Session, call: &Call<'a>) -> Handled<'a> {
    let [key, time, value] = call.words()?;
    let expiry = clock.positive(time, session, call)?;
    store(session, key, Store { expiry, ..Store::of(value) }, Kind::Ok)
}

pub(super) fn getset<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key, value] = call.words()?;
    store(session, key, Store { want_old: true, ..Store::of(value) }, Kind::Old)
}

/// What was there is asked for, since its length is needed: the reply to a write says nothing of it.
pub(super) fn append<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key, value] = call.words()?;
    let terms = Some(Box::new(Terms { create: Some(Expiry::Never), ..Terms::default() }));
    let appended = Store { mode: StoreMode::Append, want_old: true, terms, ..Store::of(value) };
    store(session, key, appended, Kind::Appended(value.len() as u32))
}

pub(super) fn mget<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [first] = call.words()?;
    if call.args.len() == 1 {
        return session.ask(first, Action::Get, Kind::BulkAlone);
    }
    session.check_keys(call.args)?;
    Ok(Step::Each(Each::Get))
}

pub(super) fn mset<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    if call.args.len() % 2 == 1 {
        return Err(call.wrong_number());
    }
    session.check_keys(call.args.step_by(2))?;
    call.args.skip(1).step_by(2).try_for_each(|value| session.check_value(value))?;
    Ok(Step::Each(Each::Set))
}

pub(super) fn incr<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key] = call.words()?;
    count(session, key, 1)
}

pub(super) fn decr<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key] = call.words()?;
    count(session, key, -1)
}

pub(super) fn incrby<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key, by] = call.words()?;
    count(session, key, integer(by)?)
}

pub(super) fn decrby<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key, by] = call.words()?;
    let by = integer(by)?.checked_neg().ok_or_else(|| refuse("ERR decrement would overflow"))?;
    count(session, key, by)
}

fn count<'a>(session: &Session, key: &'a [u8], by: i64) -> Handled<'a> {
    session.ask(key, counting(Delta::Signed(by), Number::Signed(by)), Kind::Number)
}

pub(super) fn incrbyfloat<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key, by] = call.words()?;
    let text = std::str::from_utf8(by).ok().filter(|text| !text.starts_with(char::is_whitespace));
    let by: f64 = text.and_then(|text| text.parse().ok()).filter(|by: &f64| !by.is_nan()).ok_or_else(not_a_float)?;
    if by.is_infinite() {
        return Err(refuse("ERR increment would produce NaN or Infinity"));
    }
    session.ask(key, counting(Delta::Float(by), Number::Float(by)), Kind::Text)
}

fn not_a_float() -> Refusal {
    refuse("ERR value is not a valid float")
}

/// A count that begins with its delta, if there is nothing.
pub(super) fn counting(by: Delta, first: Number) -> Action<'static> {
    let terms = Terms { create: Some(Expiry::Never), first, ..Terms::default() };
    Action::Count(Count { by, terms: Some(Box::new(terms)) })
}

impl Each {
    /// The request for one key of several.
    pub(super) fn request<'a>(self, key: Cow<'a, [u8]>, value: &'a [u8]) -> (Request<'a>, Kind) {
        let (action, kind) = match self {
            Each::Get => (Action::Get, Kind::Bulk),
            Each::Set => (Action::Store(Store::of(value)), Kind::Nothing),
            Each::Delete => (Action::Delete(Removal::default()), Kind::Mark),
            Each::Exists => (Action::Look, Kind::Mark),
            Each::Watch => (Action::Look, Kind::Nothing),
        };
        (Request::Key(Command { key, action }), kind)
    }
}
