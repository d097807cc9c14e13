//! HTTP/1.x: keys under their own URLs, and what a node says about itself.
//!
//! ```text
//!  input ──▶ head: where does it end, can its frame be trusted? ──▶ route: what is asked? ──┬─▶ Request ──▶ node ──Reply──▶ compose
//!              │ no: refuse, close      hosts: of us, by one of us?  │                      └─▶ upload: the body first
//!              │                           no, or nonsense: refuse,  │                            short: waits for it, borrows it
//!              ▼                                              go on  ▼                            long: moves it off as it comes
//!         refusal ───────────────────────────────────────────────▶ bytes                          chunks: takes it apart as it comes
//! ```
//!
//! The frame of a request comes first: [`head`] trusts only what can be read in one way. Then [`hosts`] looks whether the request is meant
//! for this node, and whether a stranger's page is behind it. What is asked is [`route`]'s table, with [`target`] for paths and queries and
//! [`tags`] for conditions; [`body`] and [`chunks`] gather what is to be stored; [`refusal`] lists every answer that no node is needed for;
//! [`compose`] and [`report`] write. The parser below is the order of these things and the little it must remember between two calls.
//!
//! A connection that has spoken HTTP speaks nothing else: a body is passed over or stored, never run. There are no ranges, no
//! compression, no upgrade and no CORS headers. Where there is a password, each request shows its own (Basic) to the gate,
//! [`access`](super::access), before it is looked at any further.

mod body;
mod chunks;
mod compose;
mod head;
mod hosts;
mod refusal;
mod report;
mod route;
mod tags;
mod target;

use std::borrow::Cow;
use std::mem;

use self::body::{Arriving, MOST_BORROWED};
use self::chunks::Chunks;
use self::compose::View;
use self::head::{Body, Head, Search};
use self::refusal::Refusal;
use self::route::{Route, Upload, route};
use super::access::Access;
use super::protocol::{self, Group, Parsed, Sniffed};
use crate::config::Limits;

pub use self::compose::Form;
pub use self::hosts::{Hosts, Visitor};

/// The last word to a client that has begun a request and not finished it.
pub const UNFINISHED: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nServer: spydercache\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// The last word to a client for whose upload there is no room.
pub const CROWDED: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nServer: spydercache\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Longest method waited for, while a connection's dialect is not known.
const MAX_SNIFFED_METHOD: usize = 7;
/// Whose target may be `*`: a question about the server, and the greeting of HTTP/2.
const METHODS_OF_ALL: [&[u8]; 2] = [b"OPTIONS", b"PRI"];

/// Sent when a client waits for it with its body. Always, even if the body is there already: so the stream of answers does not depend
/// on how the bytes happened to arrive.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Tells HTTP from memcached by the first bytes of a connection, which are at least one. Not yet decided are at most 16 bytes.
///
/// An upper-case word, a blank, and the beginning of a target are HTTP; memcached's verbs are lower-case. A target is a path or a URL. `*` is
/// one for those alone of whom HTTP says so: for others it is a word (`KEYS *`, typed to see what is there).
#[must_use]
pub fn sniff(input: &[u8]) -> Sniffed {
    let method = input.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    if method == 0 || method > MAX_SNIFFED_METHOD {
        return Sniffed::Memcached;
    }
    match &input[method..] {
        [] | [b' '] => Sniffed::NotYet,
        [b' ', b'/', ..] => Sniffed::Http,
        [b' ', b'*', ..] if METHODS_OF_ALL.contains(&&input[..method]) => Sniffed::Http,
        [b' ', target @ ..] => sniff_url(target),
        _ => Sniffed::Memcached,
    }
}

fn sniff_url(target: &[u8]) -> Sniffed {
    let begins = |scheme: &[u8]| {
        let seen = target.len().min(scheme.len());
        (scheme[..seen].eq_ignore_ascii_case(&target[..seen])).then_some(seen == scheme.len())
    };
    match (begins(b"http://"), begins(b"https://")) {
        (None, None) => Sniffed::Memcached,
        (Some(true), _) | (_, Some(true)) => Sniffed::Http,
        _ => Sniffed::NotYet,
    }
}

/// The state of a connection between two pieces.
#[derive(Debug, Default)]
pub struct Parser {
    visitor: Visitor,
    stage: Stage,
    search: Search,
    /// Nothing can be done before the input has so many bytes: the head, which was read once already, and the body.
    needed: usize,
    /// This request's client was told to go on.
    continued: bool,
    /// Where there is a password: what this request's client may do, as far as it was shown.
    guarded: Option<Access>,
    /// The gate was shown what this request says of a password.
    shown: bool,
}

/// What the input begins with.
#[derive(Debug, Default)]
enum Stage {
    /// A head.
    #[default]
    Head,
    /// So many bytes of a body that nobody wants.
    PassOver(u64),
    /// The rest of a long body, and what it is for.
    Body(Arriving, Box<(Upload<'static>, Form)>),
    /// The rest of a chunked body, and what it is for; `None` if nobody wants it.
    Chunks(Chunks, Option<Box<(Upload<'static>, Form)>>),
    /// Whatever comes is not heard any more.
    Ended,
}

impl Parser {
    /// A connection of this visitor. The default knows nobody: it takes what is addressed to loopback.
    #[must_use]
    pub fn new(visitor: Visitor) -> Parser {
        Parser { visitor, ..Parser::default() }
    }

    /// The memory that a body on its way takes here, beside the bytes not yet consumed.
    #[must_use]
    pub fn held(&self) -> usize {
        match &self.stage {
            Stage::Body(body, _) => body.held(),
            Stage::Chunks(chunks, _) => chunks.held(),
            Stage::Head | Stage::PassOver(_) | Stage::Ended => 0,
        }
    }

    /// Takes the next piece off the front of what somebody says who may do so much. Where there is a password each request shows its own, or
    /// none: what was granted to one means nothing for the next, since a proxy may send them for different people.
    pub fn next_for<'a>(&mut self, access: Access, input: &'a [u8], limits: &Limits) -> Parsed<'a> {
        self.guarded = (access != Access::Open).then_some(access);
        self.next(input, limits)
    }

    /// Takes the next piece off the front of `input`: all bytes not yet consumed.
    pub fn next<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Parsed<'a> {
        match &mut self.stage {
            Stage::Head => self.next_head(input, limits),
            &mut Stage::PassOver(left) => self.pass_over(left, input),
            Stage::Chunks(chunks, _) => {
                let (taken, over) = (chunks.take(input, limits.max_value), chunks.are_over());
                self.on_chunks(taken, over)
            }
            Stage::Body(body, _) => {
                let taken = body.take(input);
                self.on_body(taken)
            }
            Stage::Ended => Parsed::Close { bytes: Cow::Borrowed(b"") },
        }
    }

    fn next_head<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Parsed<'a> {
        if input.is_empty() || input.len() < self.needed {
            return Parsed::Incomplete { in_command: !input.is_empty() };
        }
        // Old clients send an empty line behind a body.
        if input.starts_with(b"\r\n") {
            self.search = Search::default();
            return Parsed::Skip { consumed: 2 };
        }
        let end = match self.search.find_end(input, limits.max_line) {
            Ok(Some(end)) => end,
            Ok(None) => return Parsed::Incomplete { in_command: true },
            Err(refusal) => return self.end_with(refusal, Form::last_word(input)),
        };
        match Head::parse(&input[..end]) {
            Ok(head) => self.on_head(&head, end, input, limits),
            Err(refusal) => self.end_with(refusal, Form::last_word(input)),
        }
    }

    fn on_head<'a>(&mut self, head: &Head<'a>, end: usize, input: &'a [u8], limits: &Limits) -> Parsed<'a> {
        if matches!(head.body, Body::Length(length) if length > limits.max_value as u64) {
            return self.end_with(refusal::BODY_TOO_LARGE, Form::new(head, View::Plain));
        }
        if self.guarded.is_some() && !mem::replace(&mut self.shown, true) {
            return Parsed::Login { consumed: 0, password: Cow::Owned(head.password()), form: None };
        }
        let route = match self.admit(head, limits) {
            Ok(route) if self.guarded == Some(Access::Stranger) && !route.is_public() => {
                return self.refuse(refusal::UNAUTHENTICATED, head, end);
            }
            Ok(route) => route,
            Err(refusal) => return self.refuse(refusal, head, end),
        };
        if head.expects && head.body.follows() && !self.continued {
            self.continued = true;
            return Parsed::Answer { consumed: 0, bytes: Cow::Borrowed(CONTINUE), group: Group::Alone };
        }
        match route {
            Route::Ask(request, view) => {
                let form = Form::new(head, view);
                self.expect_after(head.body, form);
                Parsed::Request { consumed: end, request, form: protocol::Form::Http(form) }
            }
            Route::Say(text) => self.answer(head.body, Form::new(head, View::Plain), end, |form, output| form.say(text, output)),
            Route::Options => self.answer(head.body, Form::new(head, View::Plain), end, Form::options),
            Route::Upload(upload) => self.on_upload(upload, head, end, input),
        }
    }

    /// What is asked, if this node is asked and may be.
    fn admit<'a>(&self, head: &Head<'a>, limits: &Limits) -> Result<Route<'a>, Refusal> {
        self.visitor.check(head)?;
        let route = route(head, limits)?;
        if route.has_effect() && hosts::is_foreign(head) { Err(refusal::FOREIGN) } else { Ok(route) }
    }

    fn on_upload<'a>(&mut self, upload: Upload<'a>, head: &Head<'a>, end: usize, input: &'a [u8]) -> Parsed<'a> {
        let form = Form::new(head, View::Plain);
        let length = match head.body {
            Body::Chunked => {
                self.stage = Stage::Chunks(Chunks::kept(), Some(Box::new((upload.into_owned(), form))));
                return Parsed::Skip { consumed: end };
            }
            Body::Length(length) => usize::try_from(length).expect("a length within limits.max_value"),
            Body::None => 0,
        };
        let form = upload.form(form, length);
        if length > MOST_BORROWED {
            self.stage = Stage::Body(Arriving::of(length), Box::new((upload.into_owned(), form)));
            return Parsed::Skip { consumed: end };
        }
        let whole = end + length;
        let Some(value) = input.get(end..whole) else {
            self.needed = whole;
            return Parsed::Incomplete { in_command: true };
        };
        self.expect_after(Body::None, form);
        Parsed::Request { consumed: whole, request: upload.with(Cow::Borrowed(value)), form: protocol::Form::Http(form) }
    }

    /// So many bytes of a chunked body were taken; `over` says whether it ends with them.
    fn on_chunks<'a>(&mut self, taken: Result<usize, Refusal>, over: bool) -> Parsed<'a> {
        match taken {
            Ok(consumed) if over => self.end_of_chunks(consumed),
            Ok(0) => Parsed::Incomplete { in_command: true },
            Ok(consumed) => Parsed::Skip { consumed },
            Err(refusal) => match mem::replace(&mut self.stage, Stage::Ended) {
                Stage::Chunks(_, Some(upload)) => self.end_with(refusal, upload.1),
                // Its request was answered before the body came, and has no second answer to get.
                _ => Parsed::Close { bytes: Cow::Borrowed(b"") },
            },
        }
    }

    fn end_of_chunks<'a>(&mut self, consumed: usize) -> Parsed<'a> {
        match mem::take(&mut self.stage) {
            Stage::Chunks(chunks, Some(upload)) => self.store(*upload, chunks.into_data(), consumed),
            // Its request was answered before the body came.
            _ => {
                self.begin(Stage::Head);
                Parsed::Skip { consumed }
            }
        }
    }

    /// So many bytes of a long body were taken.
    fn on_body<'a>(&mut self, taken: usize) -> Parsed<'a> {
        match mem::take(&mut self.stage) {
            Stage::Body(body, upload) if body.is_whole() => self.store(*upload, body.into_bytes(), taken),
            stage => {
                self.stage = stage;
                if taken == 0 { Parsed::Incomplete { in_command: true } } else { Parsed::Skip { consumed: taken } }
            }
        }
    }

    fn store<'a>(&mut self, (upload, form): (Upload<'static>, Form), value: Vec<u8>, consumed: usize) -> Parsed<'a> {
        let form = upload.form(form, value.len());
        self.expect_after(Body::None, form);
        Parsed::Request { consumed, request: upload.with(Cow::Owned(value)), form: protocol::Form::Http(form) }
    }

    fn pass_over<'a>(&mut self, left: u64, input: &'a [u8]) -> Parsed<'a> {
        let consumed = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        if consumed == 0 {
            return Parsed::Incomplete { in_command: true };
        }
        let left = left - consumed as u64;
        self.stage = if left == 0 { Stage::Head } else { Stage::PassOver(left) };
        Parsed::Skip { consumed }
    }

    /// Refuses a request whose end is known.
    fn refuse<'a>(&mut self, refusal: Refusal, head: &Head<'_>, end: usize) -> Parsed<'a> {
        let form = Form::new(head, View::Plain);
        // Who waits to be told to go on may send the body after a refusal, or may not: nobody could say where the next request begins.
        let in_doubt = head.expects && head.body.follows() && !self.continued;
        let form = if in_doubt { form.closing() } else { form };
        self.answer(head.body, form, end, |form, output| form.refuse(refusal, output))
    }

    /// Answers without the node; `write` writes.
    fn answer<'a>(&mut self, body: Body, form: Form, end: usize, write: impl FnOnce(&Form, &mut Vec<u8>)) -> Parsed<'a> {
        let mut bytes = Vec::new();
        write(&form, &mut bytes);
        self.expect_after(body, form);
        let bytes = Cow::Owned(bytes);
        if form.closes() { Parsed::Close { bytes } } else { Parsed::Answer { consumed: end, bytes, group: Group::Alone } }
    }

    /// Refuses a request whose end is not known, or too far away.
    fn end_with<'a>(&mut self, refusal: Refusal, form: Form) -> Parsed<'a> {
        self.answer(Body::None, form.closing(), 0, |form, output| form.refuse(refusal, output))
    }

    /// A request is done with, but for a `body` that nobody wants.
    fn expect_after(&mut self, body: Body, form: Form) {
        let stage = match body {
            _ if form.closes() => Stage::Ended,
            Body::None | Body::Length(0) => Stage::Head,
            Body::Length(length) => Stage::PassOver(length),
            Body::Chunked => Stage::Chunks(Chunks::dropped(), None),
        };
        self.begin(stage);
    }

    fn begin(&mut self, stage: Stage) {
        *self = Parser { stage, ..Parser::new(mem::take(&mut self.visitor)) };
    }
}

#[cfg(test)]
mod tests;
