//! Replies as HTTP writes them.
//!
//! Every response is one [`Response`]: a status, a kind of content, a body and the few headers that may stand beside them. [`Form`] is
//! what the request left behind: how the client wants a report to look, whether it wants the body, which versions it has already, what
//! becomes of the connection.
//! The reply to a read is copied straight from the entry into the output, with no allocation and no formatting machinery.

use super::head::{Connection, Head};
use super::refusal::{self, Refusal};
use super::report;
use super::tags::Tags;
use crate::caching::Version;
use crate::communication::protocol::Composed;
use crate::node::reply::{Failure, Reply, Report, Value};

/// How one reply is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    view: View,
    head_only: bool,
    /// A write that replaced something has nothing to say of it.
    without_old: bool,
    condition: Condition,
    connection: Connection,
}

/// On what condition a reply is what it seems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// On none that is not the node's to look at.
    None,
    /// The client has these versions, and wants only another.
    NoneOf(Tags),
    /// The client wants only these versions.
    OneOf(Tags),
    /// The node was told what must be there: a miss is a condition that does not hold.
    Present,
    /// Nothing must be there.
    Absent,
}

/// What a report is to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// JSON; and every reply that is no report.
    Plain,
    /// A status code for load balancers.
    Ready,
    /// Prometheus' text.
    Metrics,
}

/// A response before it is bytes.
#[derive(Clone, Copy)]
struct Response<'a> {
    /// Code and phrase.
    status: &'static str,
    /// Of a response without one, the body is left out.
    content_type: &'a [u8],
    body: &'a [u8],
    /// Bytes of a body that those who asked for none are only told of.
    left_out: usize,
    etag: Option<Version>,
    /// How long the value has, in seconds.
    max_age: Option<u64>,
    flags: u32,
    /// Whole header lines, each with its end.
    headers: &'a str,
    /// The body without its line end, for those who asked for no body.
    reason: &'a str,
}

const OK: &str = "200 OK";
const NO_CONTENT: &str = "204 No Content";
const NOT_MODIFIED: &str = "304 Not Modified";
const CREATED: &str = "201 Created";
const NOT_FOUND: &str = "404 Not Found";
const UNAUTHORIZED: &str = "401 Unauthorized";
const UNAVAILABLE: &str = "503 Service Unavailable";

const BYTES: &[u8] = b"application/octet-stream";
const TEXT: &[u8] = b"text/plain; charset=utf-8";
const JSON: &[u8] = b"application/json";
const PROMETHEUS: &[u8] = b"text/plain; version=0.0.4; charset=utf-8";
const NOTHING: &[u8] = b"";

const WHO_ARE_YOU: &str = "WWW-Authenticate: Basic realm=\"spydercache\"\r\n";
const RETRY_SOON: &str = "Retry-After: 1\r\n";
/// Beside a content type that a client has chosen: it is to be taken at its word.
const NO_SNIFFING: &str = "X-Content-Type-Options: nosniff\r\n";
/// Beside one that may bring scripts: in a browser they run as a stranger's, not as this node's.
const IN_A_SANDBOX: &str = "X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox\r\n";

/// Longest value that the write which has replaced it is answered with. Who uploads makes room for a short answer: Bazel takes one of more
/// than 10 KiB for a failure.
const LONGEST_OLD: usize = 8 << 10;

/// Room for a response's head: it is reserved together with the body's.
const TYPICAL_HEAD: usize = 256;

impl Form {
    /// The form that the request with this head wants.
    #[must_use]
    pub(super) fn new(head: &Head<'_>, view: View) -> Form {
        let condition = Condition::of(head);
        Form { view, head_only: head.method == "HEAD", without_old: false, condition, connection: head.connection }
    }

    /// The form of a last word about bytes that are no request: the method is looked at, nothing else can be trusted.
    #[must_use]
    pub(super) fn last_word(input: &[u8]) -> Form {
        let head_only = input.starts_with(b"HEAD ");
        Form { view: View::Plain, head_only, without_old: false, condition: Condition::None, connection: Connection::Close }
    }

    /// The same, but the connection closes.
    #[must_use]
    pub(super) fn closing(self) -> Form {
        Form { connection: Connection::Close, ..self }
    }

    /// The same, for a write that does not ask for what it replaces.
    #[must_use]
    pub(super) fn without_old(self) -> Form {
        Form { without_old: true, ..self }
    }

    /// Does the connection close after this reply?
    #[must_use]
    pub(super) fn closes(&self) -> bool {
        self.connection == Connection::Close
    }

    /// Does every reply in this form say nothing that a stranger may not know? Whether a node is ready, load balancers ask without a password.
    #[must_use]
    pub fn tells_no_secret(&self) -> bool {
        self.view == View::Ready
    }

    /// Writes `reply` behind `output`. The key is not repeated to the client.
    pub fn compose(&self, _key: &[u8], reply: &Reply<'_>, output: &mut Vec<u8>) -> Composed {
        match reply {
            Reply::Value(value) => self.value(value, output),
            Reply::Miss if self.condition.fails_without_a_value() => self.condition_failed(output),
            Reply::Miss => self.write(&Response::new(NOT_FOUND, TEXT, b"--null--"), output),
            Reply::Stored { version, old } => {
                let response = match old {
                    Some(old) if old.len() <= LONGEST_OLD => Response::new(OK, BYTES, old),
                    None if !self.without_old => Response::new(CREATED, TEXT, b"--saved--"),
                    Some(_) | None => Response::new(NO_CONTENT, NOTHING, b""),
                };
                self.write(&Response { etag: Some(*version), ..response }, output);
            }
            Reply::NotStored | Reply::Exists => self.condition_failed(output),
            Reply::Deleted { old } => self.write(&Response::new(OK, BYTES, old.unwrap_or_default()), output),
            Reply::Number { number, version, .. } => {
                let digits = number.digits();
                let response = Response::new(OK, TEXT, digits.as_bytes());
                self.write(&Response { etag: Some(*version), ..response }, output);
            }
            Reply::Touched | Reply::Done => self.say("ok", output),
            Reply::Report(report) => self.report(report, output),
            Reply::Page(_) => self.say("ok", output),
            Reply::Failed(failure) => self.failure(failure, output),
        }
        Composed { failed: matches!(reply, Reply::Failed(_)), close: self.closes() }
    }

    /// Writes a value, or that it is not the one that was meant.
    fn value(&self, value: &Value<'_>, output: &mut Vec<u8>) {
        let response = match self.condition {
            Condition::NoneOf(tags) if tags.name(value.version) => Response::new(NOT_MODIFIED, NOTHING, b""),
            Condition::OneOf(tags) if !tags.name(value.version) => return self.condition_failed(output),
            Condition::Absent => return self.condition_failed(output),
            Condition::None | Condition::NoneOf(_) | Condition::OneOf(_) | Condition::Present => {
                let (content_type, headers) = media_of(value.details.media);
                Response {
                    content_type,
                    headers,
                    flags: value.flags,
                    left_out: value.details.left_out,
                    ..Response::new(OK, BYTES, value.bytes)
                }
            }
        };
        let max_age = value.ttl_ms.map(|ms| ms / 1_000);
        self.write(&Response { etag: Some(value.version), max_age, ..response }, output);
    }

    fn condition_failed(&self, output: &mut Vec<u8>) {
        self.refuse(refusal::CONDITION_FAILED, output);
    }

    /// Writes what can be asked.
    pub(super) fn options(&self, output: &mut Vec<u8>) {
        let headers = ["Allow: ", refusal::METHODS, "\r\n"].concat();
        self.write(&Response { headers: &headers, ..Response::new(NO_CONTENT, NOTHING, b"") }, output);
    }

    /// Writes a fixed text.
    pub(super) fn say(&self, text: &str, output: &mut Vec<u8>) {
        self.write(&Response::new(OK, TEXT, text.as_bytes()), output);
    }

    /// Writes what this dialect refuses by itself.
    pub(super) fn refuse(&self, refusal: Refusal, output: &mut Vec<u8>) {
        if refusal.allow.is_empty() {
            let headers = if refusal == refusal::UNAUTHENTICATED { WHO_ARE_YOU } else { "" };
            self.error(refusal.status, refusal.line, headers, output);
        } else {
            self.error(refusal.status, refusal.line, &["Allow: ", refusal.allow, "\r\n"].concat(), output);
        }
    }

    fn failure(&self, failure: &Failure, output: &mut Vec<u8>) {
        let (status, headers) = match failure {
            Failure::NotANumber | Failure::Overflow => ("400 Bad Request", ""),
            Failure::TooLarge => ("413 Content Too Large", ""),
            Failure::OutOfMemory => ("507 Insufficient Storage", ""),
            Failure::Unreachable | Failure::Overloaded | Failure::Elsewhere => (UNAVAILABLE, RETRY_SOON),
            Failure::OutcomeUnknown | Failure::Undecided => ("502 Bad Gateway", ""),
            Failure::Refused(_) => ("409 Conflict", ""),
            Failure::Unauthenticated | Failure::WrongPassword | Failure::NoPassword => (UNAUTHORIZED, WHO_ARE_YOU),
            Failure::Forbidden => ("403 Forbidden", ""),
        };
        self.error(status, failure.text(), headers, output);
    }

    fn report(&self, report: &Report, output: &mut Vec<u8>) {
        match (self.view, report) {
            (View::Plain, Report::Alive { node_id }) => self.say(node_id, output),
            (View::Plain, report) => self.write(&Response::new(OK, JSON, report::json(report).as_bytes()), output),
            (View::Ready, Report::Status(status)) if !status.serving => self.error(UNAVAILABLE, "not serving", RETRY_SOON, output),
            (View::Ready, _) => self.say("ready", output),
            (View::Metrics, report) => self.write(&Response::new(OK, PROMETHEUS, report::metrics(report).as_bytes()), output),
        }
    }

    /// Writes an error: its body is one line, whatever the reason (which may quote a client) is made of.
    fn error(&self, status: &'static str, reason: &str, headers: &str, output: &mut Vec<u8>) {
        let plain = |c: char| if (' '..='~').contains(&c) { c } else { '?' };
        let body: String = reason.chars().map(plain).chain(['\n']).collect();
        let response = Response::new(status, TEXT, body.as_bytes());
        self.write(&Response { headers, reason: body.trim_end(), ..response }, output);
    }

    fn write(&self, response: &Response<'_>, output: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        output.reserve(TYPICAL_HEAD + response.body.len());
        put(output, &["HTTP/1.1 ", response.status, "\r\nServer: spydercache\r\n"]);
        if !response.content_type.is_empty() {
            put(output, &["Content-Type: "]);
            output.extend_from_slice(response.content_type);
            put(output, &["\r\nContent-Length: ", digits.format(response.body.len() + response.left_out), "\r\n"]);
        }
        if let Some(version) = response.etag {
            put(output, &["ETag: \"", digits.format(version.0), "\"\r\n"]);
        }
        if let Some(seconds) = response.max_age {
            put(output, &["Cache-Control: max-age=", digits.format(seconds), "\r\n"]);
        }
        if response.flags != 0 {
            put(output, &["X-Flags: ", digits.format(response.flags), "\r\n"]);
        }
        put(output, &[response.headers, self.connection.header()]);
        if !self.head_only {
            put(output, &["\r\n"]);
            output.extend_from_slice(response.body);
        } else if response.reason.is_empty() {
            put(output, &["\r\n"]);
        } else {
            put(output, &["X-Reason: ", response.reason, "\r\n\r\n"]);
        }
    }
}

impl Connection {
    fn header(self) -> &'static str {
        match self {
            Connection::Stay => "",
            Connection::KeepAlive => "Connection: keep-alive\r\n",
            Connection::Close => "Connection: close\r\n",
        }
    }
}

impl<'a> Response<'a> {
    fn new(status: &'static str, content_type: &'a [u8], body: &'a [u8]) -> Response<'a> {
        Response { status, content_type, body, left_out: 0, etag: None, max_age: None, flags: 0, headers: "", reason: "" }
    }
}

impl Condition {
    fn of(head: &Head<'_>) -> Condition {
        match head.method {
            "GET" | "HEAD" if head.if_match.are_said() => Condition::OneOf(head.if_match),
            "GET" | "HEAD" if head.if_none_match.are_said() => Condition::NoneOf(head.if_none_match),
            "DELETE" if head.if_none_match.are_said() => Condition::Absent,
            "PUT" | "POST" | "DELETE" if head.if_match.are_said() => Condition::Present,
            _ => Condition::None,
        }
    }

    fn fails_without_a_value(self) -> bool {
        matches!(self, Condition::OneOf(_) | Condition::Present)
    }
}

/// The content type that was kept with a value, and what a browser is to be told with it. What cannot stand in a header is not said.
fn media_of(media: &[u8]) -> (&[u8], &'static str) {
    let is_text = media.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    if media.is_empty() || !is_text {
        return (BYTES, "");
    }
    let holds = |word: &[u8]| media.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
    (media, if holds(b"html") || holds(b"xml") { IN_A_SANDBOX } else { NO_SNIFFING })
}

fn put(output: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        output.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::command::Number;
    use crate::node::reply::Details;

    const STAY: Form =
        Form { view: View::Plain, head_only: false, without_old: false, condition: Condition::None, connection: Connection::Stay };
    const HEAD: Form = Form { head_only: true, ..STAY };

    fn composed(form: Form, reply: &Reply<'_>) -> String {
        let mut output = Vec::new();
        form.compose(b"key", reply, &mut output);
        String::from_utf8(output).expect("these replies are text")
    }

    fn value(flags: u32) -> Reply<'static> {
        Reply::Value(Value { bytes: b"value", flags, version: Version(7 << 32 | 9), ttl_ms: Some(5_900), details: Details::default() })
    }

    #[test]
    fn a_value_comes_with_its_version_and_its_flags() {
        let head = "HTTP/1.1 200 OK\r\nServer: spydercache\r\nContent-Type: application/octet-stream\r\nContent-Length: 5\r\n\
                    ETag: \"30064771081\"\r\nCache-Control: max-age=5\r\n";
        assert_eq!(composed(STAY, &value(0)), format!("{head}\r\nvalue"));
        assert_eq!(composed(STAY, &value(9)), format!("{head}X-Flags: 9\r\n\r\nvalue"));
        assert_eq!(composed(HEAD, &value(9)), format!("{head}X-Flags: 9\r\n\r\n"));
    }

    #[test]
    fn the_connection_is_spoken_of_where_it_must_be() {
        for (connection, line) in
            [(Connection::KeepAlive, "\r\nConnection: keep-alive\r\n"), (Connection::Close, "\r\nConnection: close\r\n")]
        {
            let form = Form { connection, ..STAY };
            assert!(composed(form, &value(0)).contains(line));
            assert_eq!(form.compose(b"", &value(0), &mut Vec::new()).close, connection == Connection::Close);
        }
        assert!(!composed(STAY, &value(0)).contains("Connection"));
    }

    #[test]
    fn every_reply_has_its_status_and_its_body() {
        let alive = Report::Alive { node_id: "one".into() };
        let version = Version(3);
        for (reply, status, body) in [
            (Reply::Miss, "404", "--null--"),
            (Reply::Stored { version, old: None }, "201", "--saved--"),
            (Reply::Stored { version, old: Some(b"") }, "200", ""),
            (Reply::Stored { version, old: Some(b"old") }, "200", "old"),
            (Reply::NotStored, "412", "the condition does not hold\n"),
            (Reply::Exists, "412", "the condition does not hold\n"),
            (Reply::Deleted { old: Some(b"old") }, "200", "old"),
            (Reply::Deleted { old: None }, "200", ""),
            (Reply::Number { number: Number::Natural(u64::MAX), version, ttl_ms: None }, "200", "18446744073709551615"),
            (Reply::Touched, "200", "ok"),
            (Reply::Done, "200", "ok"),
            (Reply::Report(&alive), "200", "one"),
            (Reply::Failed(&Failure::TooLarge), "413", "object too large for cache\n"),
            (Reply::Failed(&Failure::NotANumber), "400", "cannot increment or decrement non-numeric value\n"),
            (Reply::Failed(&Failure::OutOfMemory), "507", "out of memory storing object\n"),
            (Reply::Failed(&Failure::Refused("no such node".into())), "409", "no such node\n"),
        ] {
            let text = composed(STAY, &reply);
            assert_eq!(&text[9..12], status, "{reply:?}");
            assert!(text.contains(&format!("Content-Length: {}\r\n", body.len())), "{text}");
            assert!(text.ends_with(&format!("\r\n\r\n{body}")), "{text}");
            let head = composed(HEAD, &reply);
            assert!(head.ends_with("\r\n\r\n") && head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        }
    }

    #[test]
    fn a_write_is_not_answered_with_a_long_value_that_it_replaced() {
        let version = Version(7);
        let long = vec![b'x'; LONGEST_OLD + 1];
        let text = composed(STAY, &Reply::Stored { version, old: Some(&long[1..]) });
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.as_bytes().ends_with(&long[1..]), "{text}");
        let text = composed(STAY, &Reply::Stored { version, old: Some(&long) });
        assert_eq!(text, "HTTP/1.1 204 No Content\r\nServer: spydercache\r\nETag: \"7\"\r\n\r\n");
    }

    #[test]
    fn an_unreachable_owner_says_when_to_try_again_and_an_unknown_outcome_does_not() {
        for (failure, status, retry) in
            [(Failure::Unreachable, "503", true), (Failure::Overloaded, "503", true), (Failure::OutcomeUnknown, "502", false)]
        {
            let text = composed(STAY, &Reply::Failed(&failure));
            assert_eq!((&text[9..12], text.contains("\r\nRetry-After: 1\r\n")), (status, retry), "{text}");
        }
    }

    #[test]
    fn a_reason_that_quotes_a_client_cannot_add_a_header() {
        let failure = Failure::Refused("no node at 1\r\nSet-Cookie: x=\u{e9}".into());
        let text = composed(HEAD, &Reply::Failed(&failure));
        assert!(text.ends_with("\r\nX-Reason: no node at 1??Set-Cookie: x=?\r\n\r\n"), "{text}");
    }
}
