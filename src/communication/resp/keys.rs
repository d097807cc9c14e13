//! Commands on keys: whether they are there, how long they live, and which there are.

use std::borrow::Cow;

use super::commands::{Call, Each, Handled, Refusal, Step, refuse, repeated};
use super::compose::{Kind, Object, Ttl};
use super::session::Session;
use super::strings::{Clock, integer, invalid_expiry, syntax};
use crate::glob::literal_prefix;
use crate::node::command::{Action, Admin, Claim, Expiry, Removal, Renewal, Request, ScanFor, Walk, When};

/// Keys that `SCAN` looks for, unless it is told otherwise.
const SCANNED: u32 = 10;
/// Keys of which `RANDOMKEY` takes one, from any place of the pool on: of a pool of fewer, all.
const DRAWN_FROM: u32 = 128;

pub(super) fn del<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    each(session, call, Each::Delete, || Action::Delete(Removal::default()))
}

/// `TOUCH` too: to look at a value is to use it.
pub(super) fn exists<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    each(session, call, Each::Exists, || Action::Look)
}

fn each<'a>(session: &Session, call: &Call<'a>, each: Each, action: impl Fn() -> Action<'a>) -> Handled<'a> {
    let [first] = call.words()?;
    if call.args.len() == 1 {
        return session.ask(first, action(), Kind::Flag);
    }
    session.check_keys(call.args)?;
    Ok(Step::Each(each))
}

pub(super) fn expire<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    renew(Clock::Ex, session, call)
}

pub(super) fn pexpire<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    renew(Clock::Px, session, call)
}

pub(super) fn expireat<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    renew(Clock::ExAt, session, call)
}

pub(super) fn pexpireat<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    renew(Clock::PxAt, session, call)
}

/// `EXPIRE k time [NX | XX | GT | LT]`.
fn renew<'a>(clock: Clock, session: &Session, call: &Call<'a>) -> Handled<'a> {
    let [key, time] = call.words()?;
    let when = condition(call)?;
    let expiry = clock.expiry(integer(time)?, session.now_ms).ok_or_else(|| invalid_expiry(call))?;
    session.ask(key, Action::Touch(Renewal { when, ..Renewal::to(expiry) }), Kind::Flag)
}

/// What must be so of the present expiry. A value without one counts as living longest: it is never given a later one.
fn condition(call: &Call<'_>) -> Result<When, Refusal> {
    let [mut nx, mut xx, mut gt, mut lt] = [false; 4];
    for option in call.behind(2) {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        match option {
            _ if is(b"NX") => nx = true,
            _ if is(b"XX") => xx = true,
            _ if is(b"GT") => gt = true,
            _ if is(b"LT") => lt = true,
            _ => return Err(refuse(format!("ERR Unsupported option {}", repeated(option)))),
        }
    }
    match (nx, xx, gt, lt) {
        (true, ..) if xx || gt || lt => Err(refuse("ERR NX and XX, GT or LT options at the same time are not compatible")),
        (_, _, true, true) => Err(refuse("ERR GT and LT options at the same time are not compatible")),
        (_, true, _, true) => Ok(When::SoonerIfOne),
        (true, ..) => Ok(When::HasNone),
        (_, _, true, _) => Ok(When::Later),
        (_, _, _, true) => Ok(When::Sooner),
        (_, true, ..) => Ok(When::HasOne),
        _ => Ok(When::Always),
    }
}

pub(super) fn persist<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key] = call.words()?;
    session.ask(key, Action::Touch(Renewal { when: When::HasOne, ..Renewal::to(Expiry::Never) }), Kind::Flag)
}

pub(super) fn ttl<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    time_left(session, call, Ttl { in_ms: false, since_ms: 0 })
}

pub(super) fn pttl<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    time_left(session, call, Ttl { in_ms: true, since_ms: 0 })
}

pub(super) fn expiretime<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    time_left(session, call, Ttl { in_ms: false, since_ms: session.now_ms })
}

pub(super) fn pexpiretime<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    time_left(session, call, Ttl { in_ms: true, since_ms: session.now_ms })
}

fn time_left<'a>(session: &Session, call: &Call<'a>, ttl: Ttl) -> Handled<'a> {
    let [key] = call.words()?;
    session.ask(key, Action::Look, Kind::Ttl(ttl))
}

pub(super) fn type_of<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [key] = call.words()?;
    session.ask(key, Action::Look, Kind::Type)
}

/// `OBJECT ENCODING | FREQ | IDLETIME | REFCOUNT k`.
pub(super) fn object<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [word] = call.words()?;
    let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
    let object = match word {
        _ if is(b"ENCODING") => Object::Encoding,
        _ if is(b"IDLETIME") => Object::IdleTime,
        _ if is(b"REFCOUNT") => Object::References,
        _ if is(b"FREQ") => Object::Frequency,
        _ => return Err(call.unknown_subcommand(word)),
    };
    let [_, key] = call.words().map_err(|_| refuse(format!("ERR wrong number of arguments for 'object|{}' command", lower(word))))?;
    session.ask(key, Action::Claim(Claim::default()), Kind::Object(object))
}

/// `MEMORY USAGE k [SAMPLES n]`.
pub(super) fn memory<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [word] = call.words()?;
    if !word.eq_ignore_ascii_case(b"USAGE") {
        return Err(call.unknown_subcommand(word));
    }
    let [_, key] = call.words().map_err(|_| refuse("ERR wrong number of arguments for 'memory|usage' command"))?;
    session.ask(key, Action::Look, Kind::Usage { key: key.len() as u32 })
}

pub(super) fn lower(word: &[u8]) -> String {
    repeated(word).to_ascii_lowercase()
}

fn walk<'a>(from: u32, most: u32, pattern: Vec<u8>, what: ScanFor) -> Request<'a> {
    Request::Admin(Admin::Walk(walk_of(from, most, pattern, what)))
}

fn walk_of<'a>(from: u32, most: u32, pattern: Vec<u8>, what: ScanFor) -> Walk<'a> {
    let prefix = Cow::Owned(literal_prefix(&pattern).to_vec());
    Walk { from, most, prefix, pattern: Cow::Owned(pattern), what, all_round: false }
}

pub(super) fn keys<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [pattern] = call.words()?;
    session.check_key(pattern)?;
    let database = session.database;
    Ok(Step::Ask(walk(0, u32::MAX, database.stored_pattern(pattern), ScanFor::Keys), Kind::Keys(database)))
}

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]`. The cursor is a place on the ring: it holds no state here, and goes on at any node.
pub(super) fn scan<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let database = session.database;
    let [cursor] = call.words()?;
    let cursor: Option<u64> = std::str::from_utf8(cursor).ok().and_then(|text| text.parse().ok());
    let cursor = cursor.ok_or_else(|| refuse("ERR invalid cursor"))?;
    let (mut pattern, mut most, mut strings) = (database.all(), SCANNED, true);
    let mut options = call.behind(1);
    while let Some(option) = options.next() {
        let word = options.next().ok_or_else(syntax)?;
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        match option {
            _ if is(b"MATCH") => {
                session.check_key(word)?;
                pattern = database.stored_pattern(word);
            }
            _ if is(b"COUNT") => most = u32::try_from(integer(word)?.max(0)).unwrap_or(u32::MAX),
            _ if is(b"TYPE") => strings = word.eq_ignore_ascii_case(b"string"),
            _ => return Err(syntax()),
        }
    }
    if most == 0 {
        return Err(syntax());
    }
    match u32::try_from(cursor) {
        Ok(from) if strings => Ok(Step::Ask(walk(from, most, pattern, ScanFor::Keys), Kind::Scan(database))),
        // Behind the last place, or of a type that there is not.
        _ => Ok(Step::Say(Cow::Borrowed(b"*2\r\n$1\r\n0\r\n*0\r\n"))),
    }
}

pub(super) fn randomkey<'a>(session: &mut Session, _: &Call<'a>) -> Handled<'a> {
    let (database, place, dice) = (session.database, session.roll(), session.roll());
    let walk = Walk { all_round: true, ..walk_of(place, DRAWN_FROM, database.all(), ScanFor::Keys) };
    Ok(Step::Ask(Request::Admin(Admin::Walk(walk)), Kind::AnyKey(database, dice)))
}

pub(super) fn dbsize<'a>(session: &mut Session, _: &Call<'a>) -> Handled<'a> {
    Ok(Step::Ask(walk(0, u32::MAX, session.database.all(), ScanFor::Count), Kind::Count))
}

pub(super) fn flushdb<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    flush_option(call)?;
    Ok(Step::Ask(walk(0, u32::MAX, session.database.all(), ScanFor::Removal), Kind::Ok))
}

pub(super) fn flushall<'a>(_: &mut Session, call: &Call<'a>) -> Handled<'a> {
    flush_option(call)?;
    Ok(Step::Ask(Request::Admin(Admin::Flush { when: Expiry::InMs(0) }), Kind::Ok))
}

/// `[SYNC | ASYNC]`: it is the same here.
fn flush_option(call: &Call<'_>) -> Result<(), Refusal> {
    let mut options = call.args;
    let known = options.next().is_none_or(|word| word.eq_ignore_ascii_case(b"SYNC") || word.eq_ignore_ascii_case(b"ASYNC"));
    if known && options.next().is_none() { Ok(()) } else { Err(syntax()) }
}
