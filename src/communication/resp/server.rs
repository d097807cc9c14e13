//! Commands on the connection and on the server.
//!
//! What clients ask before they begin is answered as by a Redis that stands alone; what has no counterpart here is an error, and the
//! connection stays open.

use std::borrow::Cow;

use super::client::checked_name;
use super::commands::{COMMANDS, Call, Handled, Refusal, Spec, Step, find, refuse, repeated};
use super::compose::{HELLO_NO_AUTH, Kind, OK, PONG, RESET, WRONG_PASSWORD, error, push_map, push_number};
use super::database::{DATABASES, Database};
use super::frame::{Args, push_header, push_string};
use super::info::{REDIS_VERSION, Sections};
use super::session::Session;
use super::strings::{integer, syntax};
use crate::communication::access::Access;
use crate::node::command::{Admin, Request};

const NO_CLUSTER: &[u8] = b"-ERR This instance has cluster support disabled\r\n";
const LOLWUT: &[u8] = b"A spider on its web: it feels each thread that breaks.\nRedis ver. 7.2.4\n";

pub(super) fn say<'a>(bytes: impl Into<Cow<'static, [u8]>>) -> Handled<'a> {
    Ok(Step::Say(bytes.into()))
}

pub(super) fn ok<'a>() -> Handled<'a> {
    say(OK)
}

fn empty_array<'a>() -> Handled<'a> {
    say(&b"*0\r\n"[..])
}

pub(super) fn string(bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    push_string(bytes, &mut answer);
    answer
}

pub(super) fn ping<'a>(_: &mut Session, call: &Call<'a>) -> Handled<'a> {
    match (call.args.len(), call.words()) {
        (0, _) => say(PONG),
        (1, Ok([word])) => say(string(word)),
        _ => Err(call.wrong_number()),
    }
}

pub(super) fn echo<'a>(_: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [word] = call.words()?;
    say(string(word))
}

pub(super) fn quit<'a>(_: &mut Session, _: &Call<'a>) -> Handled<'a> {
    Ok(Step::Close(OK))
}

/// Whoever had shown the password is a stranger again.
pub(super) fn reset<'a>(session: &mut Session, _: &Call<'a>) -> Handled<'a> {
    session.reset();
    match session.access {
        Access::Granted => Ok(Step::Login(b"", Some(Kind::Reset))),
        Access::Open | Access::Stranger => say(RESET),
    }
}

pub(super) fn select<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [number] = call.words()?;
    let number = integer(number).map_err(|_| refuse("ERR value is not an integer or out of range"))?;
    match u8::try_from(number).ok().filter(|number| *number < DATABASES) {
        None => Err(refuse("ERR DB index is out of range")),
        Some(number) => {
            session.database = Database(number);
            ok()
        }
    }
}

/// `HELLO [2|3 [AUTH user password] [SETNAME name]]`
pub(super) fn hello<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let mut options = call.args;
    let resp3 = match options.next().map(integer) {
        None => session.resp3,
        Some(Ok(2)) => false,
        Some(Ok(3)) => true,
        Some(Ok(_)) => return Err(refuse("NOPROTO unsupported protocol version")),
        Some(Err(_)) => return Err(refuse("ERR Protocol version is not an integer or out of range")),
    };
    let (mut name, mut password) = (None, None);
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"AUTH") && options.len() >= 2 {
            check_user(session, options.next().unwrap_or_default())?;
            password = options.next();
        } else if option.eq_ignore_ascii_case(b"SETNAME") && options.len() >= 1 {
            name = options.next().map(checked_name).transpose()?;
        } else {
            return Err(refuse(format!("ERR Syntax error in HELLO option '{}'", repeated(option))));
        }
    }
    if session.access != Access::Open {
        match password.filter(|_| !std::mem::take(&mut session.has_shown)) {
            Some(password) => {
                session.has_shown = true;
                return Ok(Step::Login(password, None));
            }
            None if session.access == Access::Granted => {}
            None => return Err(Cow::Borrowed(if password.is_some() { WRONG_PASSWORD } else { HELLO_NO_AUTH })),
        }
    }
    session.resp3 = resp3;
    session.name = name.map_or(std::mem::take(&mut session.name), <[u8]>::to_vec);
    say(greeting(session))
}

fn greeting(session: &Session) -> Vec<u8> {
    let mut answer = Vec::new();
    push_map(session.resp3, 7, &mut answer);
    let pair = |name: &str, value: &str, answer: &mut Vec<u8>| {
        push_string(name.as_bytes(), answer);
        push_string(value.as_bytes(), answer);
    };
    pair("server", "redis", &mut answer);
    pair("version", REDIS_VERSION, &mut answer);
    push_string(b"proto", &mut answer);
    push_number(if session.resp3 { 3 } else { 2 }, &mut answer);
    push_string(b"id", &mut answer);
    push_number(session.id.cast_signed(), &mut answer);
    pair("mode", "standalone", &mut answer);
    pair("role", "master", &mut answer);
    push_string(b"modules", &mut answer);
    answer.extend_from_slice(b"*0\r\n");
    answer
}

/// `AUTH [user] password`. Where there is no password, the default user needs none.
pub(super) fn auth<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let words = call.args.len();
    let password = call.args.last().unwrap_or_default();
    match (words, call.words()?) {
        (1, [_]) => Ok(Step::Login(password, Some(Kind::Ok))),
        (2, [user]) => {
            check_user(session, user)?;
            if session.access == Access::Open { ok() } else { Ok(Step::Login(password, Some(Kind::Ok))) }
        }
        _ => Err(syntax()),
    }
}

/// There are no users: with a password any name may stand beside it, without one only Redis's own.
fn check_user(session: &Session, user: &[u8]) -> Result<(), Refusal> {
    if user == b"default" || session.access != Access::Open { Ok(()) } else { Err(Cow::Borrowed(WRONG_PASSWORD)) }
}

pub(super) fn cluster<'a>(_: &mut Session, _: &Call<'a>) -> Handled<'a> {
    say(NO_CLUSTER)
}

/// `COMMAND [COUNT | LIST | DOCS | INFO name... | GETKEYS name word...]`
pub(super) fn command<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let mut names = call.args;
    let mut answer = Vec::new();
    match names.next() {
        None => {
            push_header(b'*', COMMANDS.len(), &mut answer);
            COMMANDS.iter().for_each(|spec| spec.describe(&mut answer));
        }
        Some(word) if word.eq_ignore_ascii_case(b"COUNT") => push_number(COMMANDS.len() as i64, &mut answer),
        Some(word) if word.eq_ignore_ascii_case(b"LIST") => {
            push_header(b'*', COMMANDS.len(), &mut answer);
            COMMANDS.iter().for_each(|spec| push_string(spec.name.as_bytes(), &mut answer));
        }
        Some(word) if word.eq_ignore_ascii_case(b"DOCS") => push_map(session.resp3, 0, &mut answer),
        Some(word) if word.eq_ignore_ascii_case(b"INFO") => describe(names, session, &mut answer),
        Some(word) if word.eq_ignore_ascii_case(b"GETKEYS") => {
            let keys = keys_of(names)?;
            push_header(b'*', keys.len(), &mut answer);
            keys.iter().for_each(|key| push_string(key, &mut answer));
        }
        Some(word) => return Err(call.unknown_subcommand(word)),
    }
    say(answer)
}

fn describe(names: Args<'_>, session: &Session, answer: &mut Vec<u8>) {
    push_header(b'*', names.len(), answer);
    for name in names {
        match find(name) {
            Some(spec) => spec.describe(answer),
            None => answer.extend_from_slice(if session.resp3 { b"_\r\n" } else { b"*-1\r\n" }),
        }
    }
}

/// The keys among the words of a command.
fn keys_of(command: Args<'_>) -> Result<Vec<&[u8]>, Refusal> {
    let words: Vec<&[u8]> = command.collect();
    let spec = words.first().and_then(|name| find(name)).ok_or_else(|| refuse("ERR Invalid command specified"))?;
    if !spec.takes(words.len()) {
        return Err(refuse("ERR Invalid number of arguments specified for command"));
    }
    let (first, last, step) = match (spec.name, spec.keys) {
        // How many there are stands before them.
        ("eval" | "evalsha", _) => (3, integer(words[2])?.saturating_add(2), 1),
        (_, (0, ..)) => return Err(refuse("ERR The command has no key arguments")),
        (_, (first, last, step)) if last < 0 => (first.into(), words.len() as i64 + i64::from(last), i64::from(step)),
        (_, (first, last, step)) => (first.into(), last.into(), i64::from(step)),
    };
    let places = (first..=last).step_by(step.unsigned_abs() as usize);
    let keys = places.map(|place| usize::try_from(place).ok().and_then(|place| words.get(place).copied())).collect::<Option<Vec<_>>>();
    keys.ok_or_else(|| refuse("ERR Invalid arguments specified for command"))
}

impl Spec {
    /// As `COMMAND` tells it: name, arity, flags, where the keys are, and four lists of which nothing is said.
    fn describe(&self, answer: &mut Vec<u8>) {
        push_header(b'*', 10, answer);
        push_string(self.name.as_bytes(), answer);
        push_number(self.arity.into(), answer);
        answer.extend_from_slice(if self.writes { b"*1\r\n+write\r\n" } else { b"*1\r\n+readonly\r\n" });
        let (first, last, step) = self.keys;
        [first, last, step].iter().for_each(|place| push_number((*place).into(), answer));
        answer.extend_from_slice(b"*0\r\n*0\r\n*0\r\n*0\r\n");
    }
}

/// `INFO [section...]`
pub(super) fn info<'a>(_: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let none = if call.args.len() == 0 { Sections::ALL } else { Sections::NONE };
    let sections = call.args.fold(none, Sections::with);
    Ok(Step::Ask(Request::Admin(Admin::Status), Kind::Info(sections)))
}

/// `WAIT copies timeout`: a write is answered when all holders have it, so there is nothing to wait for.
pub(super) fn wait<'a>(_: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [copies, timeout] = call.words()?;
    integer(copies)?;
    let timeout = integer(timeout).map_err(|_| refuse("ERR timeout is not an integer or out of range"))?;
    if timeout < 0 {
        return Err(refuse("ERR timeout is negative"));
    }
    Ok(Step::Ask(Request::Admin(Admin::Owner(Cow::Borrowed(b"wait"))), Kind::Copies))
}

pub(super) fn time<'a>(session: &mut Session, _: &Call<'a>) -> Handled<'a> {
    let (seconds, us) = (session.now_ms / 1_000, session.now_ms % 1_000 * 1_000);
    let mut answer = b"*2\r\n".to_vec();
    [seconds, us].iter().for_each(|number| push_string(number.to_string().as_bytes(), &mut answer));
    say(answer)
}

pub(super) fn lastsave<'a>(session: &mut Session, _: &Call<'a>) -> Handled<'a> {
    let mut answer = Vec::new();
    push_number((session.now_ms / 1_000).cast_signed(), &mut answer);
    say(answer)
}

pub(super) fn role<'a>(_: &mut Session, _: &Call<'a>) -> Handled<'a> {
    say(&b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"[..])
}

/// Nothing is logged here; what is slow is in `/metrics`.
pub(super) fn slowlog<'a>(_: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [word] = call.words()?;
    match &word.to_ascii_uppercase()[..] {
        b"GET" => empty_array(),
        b"LEN" => say(&b":0\r\n"[..]),
        b"RESET" => ok(),
        _ => Err(call.unknown_subcommand(word)),
    }
}

pub(super) fn latency<'a>(_: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [word] = call.words()?;
    match &word.to_ascii_uppercase()[..] {
        b"LATEST" | b"HISTORY" => empty_array(),
        b"RESET" => say(&b":0\r\n"[..]),
        _ => Err(call.unknown_subcommand(word)),
    }
}

pub(super) fn lolwut<'a>(_: &mut Session, _: &Call<'a>) -> Handled<'a> {
    say(string(LOLWUT))
}

/// `DEBUG ERROR text`: answers with that error, which tests of clients ask for. There is nothing else to look into here.
pub(super) fn debug<'a>(_: &mut Session, call: &Call<'a>) -> Handled<'a> {
    match call.words()? {
        [word] if !word.eq_ignore_ascii_case(b"ERROR") => Err(refuse("ERR DEBUG command not allowed, but for DEBUG ERROR")),
        _ => {
            let [_, text] = call.words()?;
            Err(refuse(repeated(text).replace(['\r', '\n'], " ")))
        }
    }
}

pub(super) fn shutdown<'a>(_: &mut Session, _: &Call<'a>) -> Handled<'a> {
    say(error("ERR a node is ended by SIGTERM, not by a client"))
}
