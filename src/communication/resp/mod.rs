//! Redis's protocol, RESP2 and RESP3, for strings: what a cache is asked.
//!
//! A command arrives as an array of strings, or as a line, and is whole before it is looked at. What the parser makes of it:
//!
//! ```text
//!   GET k                  one request
//!   MGET a b c             *3, a request for each key, and the end of the group             (ahead: Each)
//!   PING  HELLO 3          an answer without the node
//!   PING k "v"\r\n         a line: played again as an array                                 (replay)
//!   MULTI SET.. EXEC       +OK +QUEUED, then *1 and the queue played again                  (replay)
//! ```
//!
//! Several keys may have several owners, so a command of several is several requests, whose replies are held back until all are there: an
//! error takes the place of the whole. Nothing is undone then: what was written before the error stays. A command that has to know what it
//! finds before it writes takes several steps, and the parser waits for each:
//!
//! ```text
//!   RENAME a b             get a    (heard)    set b    (heard)    delete a    (heard)    +OK         (course)
//! ```
//!
//! `frame` finds where a command ends; `commands` is the table; `strings`, `keys`, `client`, `settings`, `server`, `transaction` and `scripts`
//! handle its lines, and `moving`, `patching`, `msetnx`, `bits`, `fields` and `lcs` those lines that take several [`steps`]; `session` is what a
//! connection has told of itself, `database` how sixteen key spaces lie in one; `watch` makes an `EXEC` depend on what its keys were;
//! `compose` and `info` write replies.
//! Not here: lists, sets, hashes, streams, subscriptions, scripts at large, and a cluster's slots.

mod bits;
mod client;
mod commands;
mod compose;
mod database;
mod fields;
mod frame;
mod info;
mod keys;
mod lcs;
mod moving;
mod msetnx;
mod patching;
mod scripts;
mod server;
mod session;
mod settings;
mod steps;
mod strings;
#[cfg(test)]
mod tests;
mod transaction;
mod watch;

use std::borrow::Cow;
use std::net::SocketAddr;

use self::commands::{Call, Each, LONGEST_NAME, Spec, Step, find, unknown};
use self::compose::{Kind, NO_AUTH, OK, error};
use self::frame::{Args, Frame, Framer, array_of_line, push_header, string_at_front};
use self::session::Session;
use self::steps::{Course, Next};
use self::transaction::Queue;
use crate::communication::access::Access;
use crate::communication::protocol::{self, Group, Heard, Parsed, Sniffed};
use crate::config::Limits;
use crate::node::command::{Action, Command, Request};

pub use self::compose::Form;

/// The last word to a client that has begun a command and not finished it.
pub const UNFINISHED: &[u8] = b"-ERR command not finished in time\r\n";
/// The last word to a client for whose command there is no room.
pub const CROWDED: &[u8] = b"-OOM no memory to read this command\r\n";
/// What a client hears when there are too many.
pub const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";

/// Does a connection that begins so speak inline? Only if its first word, in capitals, is a command.
#[must_use]
pub fn sniff(input: &[u8]) -> Sniffed {
    let letters = input.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    match input.get(letters) {
        _ if letters == 0 || letters > LONGEST_NAME => Sniffed::Memcached,
        None => Sniffed::NotYet,
        Some(b' ' | b'\r' | b'\n') if find(&input[..letters]).is_some() => Sniffed::Resp,
        Some(_) => Sniffed::Memcached,
    }
}

/// The parser of one connection.
#[derive(Debug, Default)]
pub struct Parser {
    framer: Framer,
    session: Session,
    /// The rest of a command of several keys.
    ahead: Option<Ahead>,
    /// Commands to be carried out before what arrives.
    replay: Option<Replay>,
    /// An `EXEC` looks at what is watched: so many keys are left to be asked for.
    looking: Option<usize>,
    /// A command of several steps is on its way.
    course: Option<Course>,
    /// What was called last, which is most often called again.
    last: Option<&'static Spec>,
}

/// So many requests of a command of several keys are still to come.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    each: Each,
    left: usize,
}

/// Commands that have arrived before, as arrays.
#[derive(Debug)]
struct Replay {
    bytes: Vec<u8>,
    at: usize,
}

impl Parser {
    /// For the connection of this number and between these addresses, for which its client may ask.
    #[must_use]
    pub fn new(connection: u64, addresses: Option<(SocketAddr, SocketAddr)>) -> Parser {
        Parser { session: Session::of(connection & i64::MAX as u64, addresses), ..Parser::default() }
    }

    /// The wall clock, in milliseconds since 1970: what comes next has come now.
    pub fn set_clock(&mut self, now_ms: u64) {
        self.session.now_ms = now_ms;
    }

    /// The memory that commands take which are not carried out yet, beside the bytes not yet consumed.
    #[must_use]
    pub fn held(&self) -> usize {
        let queued = self.session.queue.as_ref().map_or(0, Queue::held);
        let course = self.course.as_ref().map_or(0, Course::held);
        queued + course + self.session.watch.held() + self.replay.as_ref().map_or(0, |replay| replay.bytes.capacity())
    }

    /// What a request asked for the parser itself has come to this.
    pub fn hear(&mut self, heard: Heard) {
        match (heard, &mut self.course) {
            (Heard::Sighting { number, seen }, _) => self.session.watch.hear(number, seen),
            (Heard::Step(told), Some(course)) => course.hear(told),
            (Heard::Step(_), None) => {}
        }
    }

    /// Can nothing be taken off the input before more is heard?
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        let looks = self.looking == Some(0) && !self.session.watch.has_heard_all();
        looks || self.course.as_ref().is_some_and(Course::is_waiting)
    }

    /// Takes the next piece off the front of `input`.
    pub fn next<'a>(&mut self, input: &'a [u8], limits: &Limits, access: Access) -> Parsed<'a> {
        (self.session.max_key, self.session.max_value, self.session.access) = (limits.max_key, limits.max_value, access);
        if self.is_waiting() {
            return Parsed::Incomplete { in_command: !input.is_empty() };
        }
        if let Some(next) = self.course.as_mut().and_then(Course::next) {
            return self.go_on(next, 0);
        }
        if let Some(left) = self.looking {
            return self.look(left, 0);
        }
        match self.replay.take() {
            // Its last command has taken several steps.
            Some(replay) if replay.at == replay.bytes.len() && self.ahead.is_none() => {
                self.session.watch.forget_guards();
                self.piece(input, limits)
            }
            Some(replay) => self.play(replay, limits),
            None => self.piece(input, limits),
        }
    }

    /// Takes the next piece off what has arrived before. Nothing of the input is consumed by it.
    fn play(&mut self, mut replay: Replay, limits: &Limits) -> Parsed<'static> {
        let (consumed, piece) = detached(self.piece(&replay.bytes[replay.at..], limits));
        replay.at += consumed;
        if replay.at < replay.bytes.len() || self.ahead.is_some() || self.course.is_some() {
            self.replay = Some(replay);
        } else if self.replay.is_none() && self.looking.is_none() {
            self.session.watch.forget_guards();
        }
        piece
    }

    fn piece<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Parsed<'a> {
        if let Some(ahead) = self.ahead {
            return self.next_of(ahead, input);
        }
        match self.framer.next(input, limits) {
            Frame::Incomplete => Parsed::Incomplete { in_command: !input.is_empty() },
            Frame::Nothing(consumed) => Parsed::Skip { consumed },
            Frame::Array(whole, args) => self.command(&input[..whole], args),
            Frame::Inline(consumed, text) => self.line(consumed, text),
            Frame::Invalid(why) => Parsed::Close { bytes: Cow::Owned(error(&format!("ERR Protocol error: {why}"))) },
        }
    }

    fn line(&mut self, consumed: usize, text: &[u8]) -> Parsed<'static> {
        match array_of_line(text) {
            None => Parsed::Close { bytes: Cow::Borrowed(b"-ERR Protocol error: unbalanced quotes in request\r\n") },
            Some(bytes) => {
                self.replay = Some(Replay { bytes, at: 0 });
                Parsed::Skip { consumed }
            }
        }
    }

    /// A command that is whole: `bytes`.
    fn command<'a>(&mut self, bytes: &'a [u8], mut args: Args<'a>) -> Parsed<'a> {
        let words = args.len();
        let name = args.next().unwrap_or_default();
        let known = self.last.filter(|last| last.is_called(name)).or_else(|| find(name));
        self.last = known;
        let refused = match known {
            None => unknown(name, args),
            Some(spec) if !spec.takes(words) => Call { spec, args }.wrong_number(),
            Some(spec) if self.session.access == Access::Stranger && !spec.is_for_strangers() => Cow::Borrowed(NO_AUTH),
            Some(spec) => match &mut self.session.queue {
                Some(queue) if !spec.immediate => return said(bytes.len(), queue.add(bytes)),
                _ => return self.call(&Call { spec, args }, bytes.len()),
            },
        };
        if let Some(queue) = &mut self.session.queue {
            queue.fail();
        }
        said(bytes.len(), refused)
    }

    fn call<'a>(&mut self, call: &Call<'a>, consumed: usize) -> Parsed<'a> {
        match (call.spec.handler)(&mut self.session, call) {
            Err(refusal) => said(consumed, refusal),
            Ok(Step::Say(bytes)) => said(consumed, bytes),
            Ok(Step::Ask(request, kind)) => self.ask(consumed, request, kind, Group::Alone),
            Ok(Step::Login(password, Some(kind))) => {
                let form = Form { kind, resp3: self.session.resp3, group: Group::Alone, guarded: false };
                Parsed::Login { consumed, password: Cow::Borrowed(password), form: Some(protocol::Form::Resp(form)) }
            }
            Ok(Step::Login(password, None)) => Parsed::Login { consumed: 0, password: Cow::Borrowed(password), form: None },
            Ok(Step::Each(each)) => self.begin(each, call.args, consumed),
            Ok(Step::Course(first, plan)) => {
                self.course = Some(Course::of(plan));
                self.go_on(Next::Ask(first), consumed)
            }
            Ok(Step::Close(bytes)) => Parsed::Close { bytes: Cow::Borrowed(bytes) },
            Ok(Step::Exec) => self.look(self.session.watch.len(), consumed),
        }
    }

    /// The next step of a command of several.
    fn go_on(&mut self, next: Next, consumed: usize) -> Parsed<'static> {
        match next {
            Next::Ask(command) => self.ask(consumed, Request::Key(command), Kind::Step, Group::Alone),
            Next::Say(bytes) => {
                self.course = None;
                said(consumed, bytes)
            }
        }
    }

    /// `EXEC` looks at the next watched key, if any is left, and in the end plays what is queued, or not.
    fn look(&mut self, left: usize, consumed: usize) -> Parsed<'static> {
        if let Some(left) = left.checked_sub(1) {
            self.looking = Some(left);
            let (key, number) = self.session.watch.look_again(left);
            let request = Request::Key(Command { key: Cow::Owned(key), action: Action::Look });
            return self.ask(consumed, request, Kind::Seen(number), Group::Alone);
        }
        self.looking = None;
        let queue = self.session.queue.take().unwrap_or_default();
        if !self.session.watch.is_unchanged() {
            self.session.watch.forget();
            return said(consumed, Cow::Borrowed(if self.session.resp3 { b"_\r\n" } else { b"*-1\r\n" }));
        }
        let (mut header, count) = (Vec::new(), queue.count());
        push_header(b'*', count, &mut header);
        self.replay = (count > 0).then(|| Replay { bytes: queue.into_bytes(), at: 0 });
        match self.replay {
            Some(_) => self.session.watch.guard(),
            None => self.session.watch.forget(),
        }
        said(consumed, Cow::Owned(header))
    }

    fn ask<'a>(&mut self, consumed: usize, mut request: Request<'a>, kind: Kind, group: Group) -> Parsed<'a> {
        let guarded = self.session.watch.restrain(&mut request);
        let form = Form { kind, resp3: self.session.resp3, group, guarded };
        Parsed::Request { consumed, request, form: protocol::Form::Resp(form) }
    }

    /// A command of several keys: what is before the first of them is done with.
    fn begin(&mut self, each: Each, args: Args<'_>, whole: usize) -> Parsed<'static> {
        let left = if each == Each::Set { args.len() / 2 } else { args.len() };
        self.ahead = Some(Ahead { each, left });
        let mut header = Vec::new();
        if each == Each::Get {
            push_header(b'*', left, &mut header);
        }
        Parsed::Answer { consumed: whole - args.bytes(), bytes: Cow::Owned(header), group: Group::Part }
    }

    /// The next key of several. The command was whole, so all of them are there.
    fn next_of<'a>(&mut self, ahead: Ahead, input: &'a [u8]) -> Parsed<'a> {
        let Ahead { each, left } = ahead;
        if left == 0 {
            self.ahead = None;
            return each.end();
        }
        self.ahead = Some(Ahead { each, left: left - 1 });
        let (key, mut rest) = string_at_front(input);
        let mut value = &b""[..];
        if each == Each::Set {
            (value, rest) = string_at_front(rest);
        }
        let stored = self.session.database.stored(key);
        let watched = (each == Each::Watch).then(|| Kind::Watched(self.session.watch.add(&stored)));
        let (request, kind) = each.request(stored, value);
        let kind = watched.unwrap_or(kind);
        self.ask(input.len() - rest.len(), request, kind, Group::Part)
    }
}

impl Each {
    /// The end of the group, behind the last key.
    fn end(self) -> Parsed<'static> {
        let (bytes, group): (&'static [u8], _) = match self {
            Each::Get => (b"", Group::Whole),
            Each::Set | Each::Watch => (OK, Group::Whole),
            Each::Delete | Each::Exists => (b":", Group::Sum),
        };
        Parsed::Answer { consumed: 0, bytes: Cow::Borrowed(bytes), group }
    }
}

fn said(consumed: usize, bytes: Cow<'static, [u8]>) -> Parsed<'static> {
    Parsed::Answer { consumed, bytes, group: Group::Alone }
}

/// A piece with bytes of its own, and how many it has consumed of those it came from: of the connection's it consumes none.
fn detached(piece: Parsed<'_>) -> (usize, Parsed<'static>) {
    match piece {
        Parsed::Request { consumed, request, form } => (consumed, Parsed::Request { consumed: 0, request: request.to_owned(), form }),
        Parsed::Login { consumed, password, form } => {
            (consumed, Parsed::Login { consumed: 0, password: Cow::Owned(password.into_owned()), form })
        }
        Parsed::Answer { consumed, bytes, group } => (consumed, Parsed::Answer { consumed: 0, bytes, group }),
        Parsed::Skip { consumed } => (consumed, Parsed::Skip { consumed: 0 }),
        Parsed::Close { bytes } => (0, Parsed::Close { bytes }),
        Parsed::Incomplete { in_command } => (0, Parsed::Incomplete { in_command }),
    }
}
