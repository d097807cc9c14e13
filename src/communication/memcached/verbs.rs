//! Commands that are one line and need no memory of it: everything but reads and storage lines.

use std::borrow::Cow;

use super::compose::{BAD_DELTA, BAD_EXPTIME, BAD_FORMAT, END, ERROR, Form, OK};
use super::line::{Words, expiry, unsigned};
use super::{answer, answer_unless};
use crate::communication::admin;
use crate::communication::protocol::{Group, Parsed};
use crate::node::command::{Action, Admin, Command, Count, Delta, Expiry, Removal, Renewal, Request};
use crate::node::reply::MEMCACHED_VERSION;

/// `stats cachedump` and its like know this many slab classes.
const SLAB_CLASSES: u64 = 64;

const NO_DELAYED_DELETE: &[u8] = b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n";
const NO_SHUTDOWN: &[u8] = b"SERVER_ERROR: shutdown not enabled\r\n";
const DETAIL_USAGE: &[u8] = b"CLIENT_ERROR usage: stats detail on|off|dump\r\n";
const BAD_LINE: &[u8] = b"CLIENT_ERROR bad command line\r\n";
const BAD_SLAB: &[u8] = b"CLIENT_ERROR Illegal slab id\r\n";
const NO_SIZES: &[u8] = b"STAT sizes_status disabled\r\nEND\r\n";

/// Reads the command `verb` with the `words` behind it; its line takes `consumed` bytes.
pub(super) fn parse<'a>(verb: &[u8], words: Words<'a>, consumed: usize) -> Parsed<'a> {
    match verb {
        b"delete" => delete(words, consumed),
        b"incr" => arithmetic(Delta::Up, words, consumed),
        b"decr" => arithmetic(Delta::Down, words, consumed),
        b"touch" => touch(words, consumed),
        b"flush_all" => flush_all(words, consumed),
        b"version" => version(consumed),
        b"verbosity" => verbosity(words, consumed),
        b"stats" => stats(words, consumed),
        b"" => answer(consumed, BAD_FORMAT),
        b"quit" => Parsed::Close { bytes: Cow::Borrowed(b"") },
        b"shutdown" => answer(consumed, NO_SHUTDOWN),
        // There are no slabs to move here; so memcached answers a line of this kind that it cannot use.
        b"slabs" => answer(consumed, BAD_FORMAT),
        _ => other(verb, words, consumed),
    }
}

/// Is this one of memcached's short commands? For the limit on their lines.
pub(super) fn is_short(verb: &[u8]) -> bool {
    matches!(verb, b"delete" | b"incr" | b"decr" | b"touch" | b"flush_all" | b"version" | b"verbosity" | b"stats" | b"quit")
}

fn change<'a>(key: &'a [u8], action: Action<'a>, quiet: bool, consumed: usize) -> Parsed<'a> {
    let request = Request::Key(Command { key: Cow::Borrowed(key), action });
    Parsed::Request { consumed, request, form: Form::change(quiet).into() }
}

fn ask<'a>(admin: Admin<'a>, form: Form, consumed: usize) -> Parsed<'a> {
    Parsed::Request { consumed, request: Request::Admin(admin), form: form.into() }
}

/// `delete k [0] [noreply]`. A time to delete at is no longer known to memcached, but a 0 is what old clients send.
fn delete(mut words: Words<'_>, consumed: usize) -> Parsed<'_> {
    let Some(key) = words.next_key() else { return answer(consumed, BAD_FORMAT) };
    let quiet = words.end_in_noreply();
    if !matches!(words.next(), None | Some(b"0" | b"noreply")) {
        return answer_unless(quiet, consumed, NO_DELAYED_DELETE);
    }
    change(key, Action::Delete(Removal { want_old: false, terms: None }), quiet, consumed)
}

/// `incr k delta [noreply]`, `decr k delta [noreply]`.
fn arithmetic(delta: fn(u64) -> Delta, mut words: Words<'_>, consumed: usize) -> Parsed<'_> {
    let key = words.next_key();
    let quiet = words.end_in_noreply();
    let (Some(key), Some(by)) = (key, words.next()) else { return answer(consumed, BAD_FORMAT) };
    match unsigned(by) {
        Some(by) => change(key, Action::Count(Count::by(delta(by))), quiet, consumed),
        None => answer_unless(quiet, consumed, BAD_DELTA),
    }
}

/// `touch k exptime [noreply]`.
fn touch(mut words: Words<'_>, consumed: usize) -> Parsed<'_> {
    let key = words.next_key();
    let quiet = words.end_in_noreply();
    let (Some(key), Some(exptime)) = (key, words.next()) else { return answer(consumed, BAD_FORMAT) };
    match expiry(exptime) {
        Some(expiry) => change(key, Action::Touch(Renewal::to(expiry)), quiet, consumed),
        None => answer_unless(quiet, consumed, BAD_EXPTIME),
    }
}

/// `flush_all [delay] [noreply]`. A delay is an exptime: below 0 is at once, above 30 days it is a date, handed on as such in
/// milliseconds since 1970: only the node knows what the clock says.
fn flush_all(mut words: Words<'_>, consumed: usize) -> Parsed<'_> {
    let quiet = words.end_in_noreply();
    let delay = words.next().filter(|word| *word != b"noreply");
    let when = match delay.map(expiry) {
        None | Some(Some(Expiry::Never)) => Expiry::InMs(0),
        Some(Some(when)) => when,
        Some(None) => return answer_unless(quiet, consumed, BAD_EXPTIME),
    };
    ask(Admin::Flush { when }, Form::ADMIN.quiet_if(quiet), consumed)
}

/// `version`: of the memcached whose dialect is spoken here, not of this program.
fn version(consumed: usize) -> Parsed<'static> {
    let bytes = format!("VERSION {MEMCACHED_VERSION}\r\n").into_bytes();
    Parsed::Answer { consumed, bytes: bytes.into(), group: Group::Alone }
}

/// `verbosity level [noreply]`. The level is the configuration's affair: it is taken note of politely, and that is all.
fn verbosity(mut words: Words<'_>, consumed: usize) -> Parsed<'_> {
    let quiet = words.end_in_noreply();
    let level = words.next().and_then(unsigned);
    answer_unless(quiet, consumed, if level.is_some() { OK } else { BAD_FORMAT })
}

/// `stats [what]`. What is said of slabs and connections by memcached has no counterpart here and is empty.
fn stats(mut words: Words<'_>, consumed: usize) -> Parsed<'_> {
    match words.next().unwrap_or_default() {
        b"" => ask(Admin::Stats, Form::ADMIN, consumed),
        b"settings" => ask(Admin::Settings, Form::ADMIN, consumed),
        b"reset" => ask(Admin::ResetStats, Form::RESET, consumed),
        b"items" | b"slabs" | b"conns" => answer(consumed, END),
        b"sizes" => answer(consumed, NO_SIZES),
        b"detail" => answer(consumed, stats_detail(words)),
        b"cachedump" => answer(consumed, stats_cachedump(words)),
        _ => answer(consumed, ERROR),
    }
}

fn stats_detail(mut words: Words<'_>) -> &'static [u8] {
    match words.next().unwrap_or_default() {
        b"on" | b"off" => OK,
        b"dump" => END,
        _ => DETAIL_USAGE,
    }
}

/// `stats cachedump class limit`: there are no classes whose keys could be shown, but clients walk through all of them.
fn stats_cachedump(mut words: Words<'_>) -> &'static [u8] {
    let (Some(class), Some(limit)) = (words.next(), words.next()) else { return BAD_LINE };
    match (unsigned(class), unsigned(limit)) {
        (Some(class), Some(_)) if class < SLAB_CLASSES => END,
        (Some(_), Some(_)) => BAD_SLAB,
        _ => BAD_FORMAT,
    }
}

/// Not memcached's: a verb for people, or nothing known.
fn other<'a>(verb: &[u8], words: Words<'a>, consumed: usize) -> Parsed<'a> {
    match admin::parse(verb, words.rest()) {
        Some(Ok(request)) => {
            let form = if matches!(request, Request::Key(_)) { Form::change(false) } else { Form::ADMIN };
            Parsed::Request { consumed, request, form: form.into() }
        }
        Some(Err(text)) => answer(consumed, text),
        None if is_http(words) => Parsed::Close { bytes: Cow::Borrowed(b"") },
        None => answer(consumed, ERROR),
    }
}

/// Somebody's browser was made to speak to us: what follows would be taken for commands.
fn is_http(words: Words<'_>) -> bool {
    words.last().is_some_and(|word| word.starts_with(b"HTTP/"))
}
