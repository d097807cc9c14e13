//! Dialogues with the parser and the composer, answered by a shelf that is simpler than any node.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::caching::Version;
use crate::config::Config;
use crate::node::command::{Action, Admin, Command, Expiry, Guard, Request, Store, StoreMode};
use crate::node::reply::{Details, Failure, Reply, Report, Status, Value};
use crate::prng::Prng;

fn limits() -> Limits {
    Limits { max_key: 40, max_value: 300, max_line: 2_000, ..Config::default().limits }
}

/// A parser that knows this node by the name `h`, on a connection from this machine.
fn parser() -> Parser {
    let loopback = "127.0.0.1".parse().ok();
    Parser::new(Visitor::new(Arc::new(Hosts::new(["h"])), loopback, loopback))
}

/// A value on the shelf.
#[derive(Clone)]
struct Kept {
    bytes: Vec<u8>,
    flags: u32,
    version: u64,
    ttl_ms: Option<u64>,
    media: Vec<u8>,
}

/// Keeps values and answers; versions count up from 1.
#[derive(Default)]
struct Shelf {
    values: HashMap<Vec<u8>, Kept>,
    version: u64,
    asked: Vec<String>,
}

impl Shelf {
    fn answer(&mut self, request: &Request<'_>, form: &protocol::Form, output: &mut Vec<u8>) -> bool {
        self.asked.push(format!("{request:?}"));
        match request {
            Request::Key(command) => self.answer_key(command, form, output),
            Request::Admin(admin) => answer_admin(admin, form, output),
        }
    }

    fn answer_key(&mut self, command: &Command<'_>, form: &protocol::Form, output: &mut Vec<u8>) -> bool {
        let key = command.key.to_vec();
        let composed = match &command.action {
            Action::Get | Action::Look => match self.values.get(&key) {
                Some(Kept { bytes, flags, version, ttl_ms, media }) => {
                    let details = Details { media, ..Details::default() };
                    let value = Value { bytes, flags: *flags, version: Version(*version), ttl_ms: *ttl_ms, details };
                    let value = if command.action == Action::Get { value } else { value.without_bytes() };
                    form.compose(&key, &Reply::Value(value), output)
                }
                None => form.compose(&key, &Reply::Miss, output),
            },
            Action::Store(store) => self.store(key, store, form, output),
            Action::Delete(removal) => {
                let only = removal.terms.as_ref().and_then(|terms| terms.only.as_ref());
                match self.values.get(&key) {
                    Some(kept) if only.is_some_and(|guard| *guard != Guard::Version(Version(kept.version))) => {
                        form.compose(&key, &Reply::Exists, output)
                    }
                    Some(kept) => {
                        let composed = form.compose(&key, &Reply::Deleted { old: Some(&kept.bytes) }, output);
                        self.values.remove(&key);
                        composed
                    }
                    None => form.compose(&key, &Reply::Miss, output),
                }
            }
            other => panic!("HTTP has no way to ask for {other:?}"),
        };
        composed.close
    }

    fn store(&mut self, key: Vec<u8>, store: &Store<'_>, form: &protocol::Form, output: &mut Vec<u8>) -> protocol::Composed {
        let refusal = match (store.mode, self.values.get(&key)) {
            (StoreMode::Add, Some(_)) | (StoreMode::Replace, None) => Some(Reply::NotStored),
            (StoreMode::Cas(_), None) => Some(Reply::Miss),
            (StoreMode::Cas(version), Some(kept)) if version.0 != kept.version => Some(Reply::Exists),
            _ => None,
        };
        if let Some(reply) = refusal {
            return form.compose(&key, &reply, output);
        }
        self.version += 1;
        let kept = Kept {
            bytes: store.value.to_vec(),
            flags: store.flags,
            version: self.version,
            ttl_ms: if let Expiry::InMs(ms) = store.expiry { Some(ms) } else { None },
            media: store.terms.as_ref().map(|terms| terms.media.to_vec()).unwrap_or_default(),
        };
        let old = self.values.insert(key.clone(), kept);
        let old = old.as_ref().filter(|_| store.want_old).map(|kept| kept.bytes.as_slice());
        form.compose(&key, &Reply::Stored { version: Version(self.version), old }, output)
    }
}

fn answer_admin(admin: &Admin<'_>, form: &protocol::Form, output: &mut Vec<u8>) -> bool {
    let status = Status {
        node_id: "0".into(),
        name: "n".into(),
        pool: "spyder".into(),
        version: "0.1.0",
        incarnation: 1,
        uptime_ms: 1,
        serving: false,
        view: None,
        part: None,
        ring: Vec::new(),
        peers: Vec::new(),
        stats: vec![("cmd_get".into(), "1".into())],
    };
    let reply = |reply: &Reply<'_>, output: &mut Vec<u8>| form.compose(b"", reply, output).close;
    match admin {
        Admin::Alive => reply(&Reply::Report(&Report::Alive { node_id: "0".into() }), output),
        Admin::Owner(_) => reply(&Reply::Report(&Report::Owner { owner: "0".into(), mirrors: Vec::new(), filling: Vec::new() }), output),
        Admin::Status => reply(&Reply::Report(&Report::Status(Box::new(status))), output),
        Admin::Dead(_) => reply(&Reply::Failed(&Failure::Refused("no such node".into())), output),
        _ => reply(&Reply::Done, output),
    }
}

/// What a connection answered, what the shelf was asked, and whether the connection was closed.
type Played = (String, Vec<String>, bool);

/// Plays a stream against a fresh parser and shelf. The bytes arrive `step` at a time.
fn play(stream: &[u8], step: usize) -> Played {
    let (limits, mut parser, mut shelf) = (limits(), parser(), Shelf::default());
    let (mut output, mut consumed, mut shown) = (Vec::new(), 0, 0);
    let closed = 'connection: loop {
        let input = &stream[consumed..shown];
        match parser.next(input, &limits) {
            Parsed::Incomplete { in_command } => {
                assert!(in_command || input.is_empty());
                if shown == stream.len() {
                    break 'connection false;
                }
                shown = (shown + step).min(stream.len());
            }
            Parsed::Request { consumed: taken, request, form } => {
                assert!(taken > 0);
                consumed += taken;
                if shelf.answer(&request, &form, &mut output) {
                    break 'connection true;
                }
            }
            Parsed::Answer { consumed: taken, bytes, group } => {
                assert!(taken > 0 || &*bytes == CONTINUE);
                assert_eq!(group, Group::Alone);
                consumed += taken;
                output.extend_from_slice(&bytes);
            }
            Parsed::Login { .. } => panic!("a login of who needs none"),
            Parsed::Skip { consumed: taken } => {
                assert!(taken > 0);
                consumed += taken;
            }
            Parsed::Close { bytes } => {
                output.extend_from_slice(&bytes);
                break 'connection true;
            }
        }
        assert!(consumed <= shown);
    };
    (String::from_utf8_lossy(&output).into_owned(), shelf.asked, closed)
}

/// The same at once and at every size of step, which must make no difference.
fn play_split(stream: &[u8]) -> Played {
    let whole = play(stream, stream.len().max(1));
    for step in [1, 2, 3, 5, 8, 13, 31] {
        assert_eq!(play(stream, step), whole, "{:?} by {step}", String::from_utf8_lossy(stream));
    }
    whole
}

/// The status codes and bodies of the answers to requests without HEAD.
fn answers(output: &str) -> Vec<(u16, String)> {
    let mut rest = output;
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let (head, behind) = rest.split_once("\r\n\r\n").expect("a whole head");
        let code = head.strip_prefix("HTTP/1.1 ").and_then(|line| line[..3].parse().ok()).expect("a status line");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().expect("digits"));
        answers.push((code, behind[..length].to_owned()));
        rest = &behind[length..];
    }
    answers
}

/// Plays requests, each given as its head without its last empty line and Host, and its body.
fn dialogue(requests: &[(&str, &str)]) -> Vec<(u16, String)> {
    let stream: String = requests.iter().map(|(head, body)| format!("{head}\r\nHost: h\r\n\r\n{body}")).collect();
    let (output, _, closed) = play_split(stream.as_bytes());
    assert!(!closed, "{output}");
    answers(&output)
}

fn expected(list: &[(u16, &str)]) -> Vec<(u16, String)> {
    list.iter().map(|(code, body)| (*code, (*body).to_owned())).collect()
}

#[test]
fn each_url_of_the_original_works() {
    let played = dialogue(&[
        ("GET /key HTTP/1.1", ""),
        ("PUT /key/value HTTP/1.1", ""),
        ("GET /key HTTP/1.1", ""),
        ("PUT /key/other HTTP/1.1", ""),
        ("DELETE /key HTTP/1.1", ""),
        ("DELETE /key HTTP/1.1", ""),
    ]);
    assert_eq!(
        played,
        expected(&[(404, "--null--"), (201, "--saved--"), (200, "value"), (200, "value"), (200, "other"), (404, "--null--")])
    );
    for (url, status) in [("/", "200 OK"), ("/connect/127.0.0.1:8002", "200 OK"), ("/reconstruct", "200 OK"), ("/dead/1:2", "409 Conflict")]
    {
        let (output, ..) = play_split(format!("HEAD {url} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        assert!(output.starts_with(&format!("HTTP/1.1 {status}\r\n")) && output.ends_with("\r\n\r\n"), "{output}");
        assert_eq!(output.contains("\r\nX-Reason: no such node\r\n"), status != "200 OK");
    }
}

#[test]
fn bodies_are_values_and_only_values() {
    let played = dialogue(&[
        ("PUT /a/b HTTP/1.1\r\nContent-Length: 24", "DELETE /a/b HTTP/1.1\r\n\r\n"),
        ("GET /a/b HTTP/1.1\r\nContent-Length: 24", "DELETE /a/b HTTP/1.1\r\n\r\n"),
        ("GET /a%2fb HTTP/1.1\r\nTransfer-Encoding: chunked", "3\r\nGET\r\n0\r\nT: x\r\n\r\n"),
        ("POST /k HTTP/1.1\r\nTransfer-Encoding: chunked", "5;x=y\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"),
        ("DELETE /k HTTP/1.1\r\nContent-Length: 3", "get"),
        ("PUT /k HTTP/1.1\r\nContent-Length: 0", ""),
        ("PUT /k HTTP/1.1\r\nContent-Length: 1", "x"),
    ]);
    let delete = "DELETE /a/b HTTP/1.1\r\n\r\n";
    assert_eq!(
        played,
        expected(&[(201, "--saved--"), (200, delete), (200, delete), (201, "--saved--"), (200, "hello!"), (201, "--saved--"), (200, "")])
    );
}

#[test]
fn nonsense_is_answered_and_the_connection_stays_in_step() {
    let long = "k".repeat(41);
    let put_long = format!("PUT /{long} HTTP/1.1\r\nContent-Length: 3");
    let get_long = format!("GET /{long} HTTP/1.1");
    let played = dialogue(&[
        ("GET /%zz HTTP/1.1", ""),
        (&put_long, "abc"),
        (&get_long, ""),
        ("PUT /k HTTP/1.1", ""),
        ("PATCH /k HTTP/1.1\r\nTransfer-Encoding: chunked", "1\r\nx\r\n0\r\n\r\n"),
        ("BREW /k HTTP/1.1\r\nContent-Length: 2", "xy"),
        ("PUT /-/healthy HTTP/1.1\r\nContent-Length: 2", "xy"),
        ("GET /-/healthy HTTP/1.1", ""),
        ("GET /-/ready HTTP/1.1", ""),
        ("GET /-/nothing/k HTTP/1.1", ""),
        ("PUT /k?ttl=x HTTP/1.1\r\nContent-Length: 1", "x"),
        ("\r\n\r\nGET http://h/k HTTP/1.1", ""),
    ]);
    let codes: Vec<u16> = played.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [400, 414, 414, 411, 405, 501, 405, 200, 503, 404, 400, 404]);
    assert!(played.iter().all(|(code, body)| matches!(code, 200 | 404) || body.lines().count() == 1), "{played:?}");
    assert_eq!((played[7].1.as_str(), played[11].1.as_str()), ("ok", "--null--"));
}

#[test]
fn flags_and_time_to_live_reach_the_node() {
    let seed = "PUT /k/v?flags=7&ttl=9 HTTP/1.1\r\nHost: h\r\n\r\n";
    let body = "POST /k HTTP/1.1\r\nhost:h\r\ncache-control: max-age=4\r\ncontent-length:1\r\n\r\nx";
    let (_, asked, _) = play_split([seed, body].concat().as_bytes());
    assert!(asked[0].contains("flags: 7, expiry: InMs(9000)"), "{asked:?}");
    assert!(asked[1].contains("flags: 0, expiry: InMs(4000)"), "{asked:?}");
}

#[test]
fn a_body_of_known_length_is_borrowed_and_a_chunked_one_is_whole() {
    let value = |stream: &'static [u8]| {
        let mut parser = parser();
        let mut from = 0;
        loop {
            match parser.next(&stream[from..], &limits()) {
                Parsed::Skip { consumed } => from += consumed,
                Parsed::Request { request: Request::Key(Command { action: Action::Store(store), .. }), .. } => break store.value,
                other => panic!("{other:?}"),
            }
        }
    };
    assert!(matches!(value(b"PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"), Cow::Borrowed(b"ab")));
    let chunked = value(b"PUT /k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n");
    assert!(matches!(&chunked, Cow::Owned(bytes) if bytes == b"ab"));
}

#[test]
fn a_long_body_is_moved_off_as_it_comes_and_costs_what_has_come() {
    let limits = Limits { max_value: 4 << 20, ..limits() };
    let body = vec![b'x'; 3_000_000];
    let head = b"PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n";
    let mut parser = parser();
    assert_eq!(parser.next(head, &limits), Parsed::Skip { consumed: head.len() });
    assert_eq!((parser.held(), parser.next(b"", &limits)), (0, Parsed::Incomplete { in_command: true }));
    assert_eq!(parser.next(&body[..1_000], &limits), Parsed::Skip { consumed: 1_000 });
    assert!((1_000..3_000).contains(&parser.held()), "{}", parser.held());
    let rest = [&body[1_000..], b"GET /k"].concat();
    let Parsed::Request { consumed, request: Request::Key(command), form } = parser.next(&rest, &limits) else { panic!("a request") };
    let Action::Store(store) = command.action else { panic!("a store") };
    assert!(matches!(&store.value, Cow::Owned(bytes) if *bytes == body));
    assert_eq!((consumed, store.want_old, parser.held()), (2_999_000, false, 0));
    let mut output = Vec::new();
    form.compose(b"k", &Reply::Stored { version: Version(7), old: None }, &mut output);
    assert_eq!(output, b"HTTP/1.1 204 No Content\r\nServer: spydercache\r\nETag: \"7\"\r\n\r\n");
}

#[test]
fn a_version_that_the_client_has_is_not_sent_again() {
    for (condition, code) in [
        ("If-None-Match: \"1\"", 304),
        ("If-None-Match: W/\"1\"", 304),
        ("If-None-Match: \"x\", \"7\" , \"1\"", 304),
        ("If-None-Match: \"7\"\r\nIf-None-Match: \"1\"", 304),
        ("If-None-Match: *", 304),
        ("If-None-Match: \"2\"", 200),
        ("If-None-Match: \"x\"", 200),
        ("If-Match: \"1\"", 200),
        ("If-Match: \"2\", \"1\"", 200),
        ("If-Match: *", 200),
        ("If-Match: W/\"1\"", 412),
        ("If-Match: \"2\"", 412),
        ("If-Match: \"1\",\"2\",\"3\",\"4\",\"5\"", 400),
        ("If-Match: \"1\"\r\nIf-None-Match: \"2\"", 400),
    ] {
        for method in ["GET", "HEAD"] {
            let stream = format!("PUT /k/v HTTP/1.1\r\nHost: h\r\n\r\n{method} /k HTTP/1.1\r\nHost: h\r\n{condition}\r\n\r\n");
            let (output, _, closed) = play_split(stream.as_bytes());
            let answer = output.split_once("--saved--").expect("the first answer").1;
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")) && !closed, "{method} {condition}: {answer}");
            assert_eq!(answer.contains("\r\nETag: \"1\"\r\n"), matches!(code, 200 | 304), "{answer}");
            assert_eq!(answer.ends_with("\r\n\r\n"), code == 304 || method == "HEAD", "{answer}");
        }
    }
}

#[test]
fn a_write_on_a_condition_is_made_or_refused_and_nothing_between() {
    let one = "If-Match: \"1\"";
    for (method, there, condition, code, value) in [
        ("PUT", true, one, 200, "new"),
        ("POST", true, one, 200, "new"),
        ("PUT", true, "If-Match: \"2\"", 412, "old"),
        ("PUT", true, "If-Match: W/\"1\"", 412, "old"),
        ("PUT", true, "If-Match: \"abc\"", 412, "old"),
        ("PUT", true, "If-Match: \"1\", \"abc\"", 200, "new"),
        ("PUT", true, "If-Match: \"1\", \"2\"", 400, "old"),
        ("PUT", true, "If-Match: *", 200, "new"),
        ("PUT", true, "If-None-Match: *", 412, "old"),
        ("PUT", true, "If-None-Match: \"2\"", 400, "old"),
        ("PUT", true, "If-Match: *\r\nIf-None-Match: *", 400, "old"),
        ("PUT", false, one, 412, "--null--"),
        ("PUT", false, "If-Match: *", 412, "--null--"),
        ("PUT", false, "If-None-Match: *", 201, "new"),
        ("DELETE", true, one, 200, "--null--"),
        ("DELETE", true, "If-Match: *", 200, "--null--"),
        ("DELETE", true, "If-Match: \"2\"", 412, "old"),
        ("DELETE", true, "If-None-Match: *", 412, "old"),
        ("DELETE", false, one, 412, "--null--"),
        ("DELETE", false, "If-Match: *", 412, "--null--"),
        ("DELETE", false, "If-None-Match: *", 404, "--null--"),
        ("DELETE", true, "If-None-Match: \"2\"", 400, "old"),
    ] {
        let first = if there { "PUT /k/old HTTP/1.1" } else { "GET /k HTTP/1.1" };
        let head = format!("{method} /k HTTP/1.1\r\n{condition}\r\nContent-Length: 3");
        let played = dialogue(&[(first, ""), (&head, "new"), ("GET /k HTTP/1.1", "")]);
        assert_eq!((played[1].0, played[2].1.as_str()), (code, value), "{method} {condition}, {there}");
    }
}

#[test]
fn a_bad_tag_is_no_condition_that_could_be_passed_over() {
    for header in ["If-Match: 1", "If-None-Match:", "If-None-Match: \"1\" \"2\"", "If-Match: *, \"1\""] {
        let (output, asked, closed) = play_split(format!("DELETE /k HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n").as_bytes());
        assert_eq!((answers(&output)[0].0, asked.len(), closed), (400, 0, true), "{header}");
    }
}

#[test]
fn a_content_type_is_kept_and_said_and_a_page_is_put_in_a_sandbox() {
    let long = "m".repeat(201);
    for (media, said, guards) in [
        (&*long, "application/octet-stream", ""),
        ("text/plain", "text/plain", "X-Content-Type-Options: nosniff\r\n"),
        ("application/octet-stream", "application/octet-stream", ""),
        ("", "application/octet-stream", ""),
        ("Text/HTML; charset=utf-8", "Text/HTML; charset=utf-8", "X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox\r\n"),
        ("image/svg+xml", "image/svg+xml", "X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox\r\n"),
    ] {
        let put = format!("PUT /k?ttl=9 HTTP/1.1\r\nHost: h\r\nContent-Type: {media}\r\nContent-Length: 1\r\n\r\nv");
        let (output, ..) = play_split(format!("{put}GET /k HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        let answer = output.split_once("--saved--").expect("the first answer").1;
        let head = format!("HTTP/1.1 200 OK\r\nServer: spydercache\r\nContent-Type: {said}\r\nContent-Length: 1\r\n");
        assert_eq!(answer, format!("{head}ETag: \"1\"\r\nCache-Control: max-age=9\r\n{guards}\r\nv"));
    }
}

#[test]
fn a_request_to_another_host_is_neither_read_nor_written() {
    for host in ["Host: evil.example", "Host: evil.example:8080", "Host:", "Host: h.evil.example", "Host: 192.0.2.1"] {
        for head in ["GET /k HTTP/1.1", "PUT /k/v HTTP/1.1", "GET /-/status HTTP/1.1", "OPTIONS * HTTP/1.1", "HEAD /connect/1:2 HTTP/1.1"] {
            let (output, asked, closed) = play_split(format!("{head}\r\n{host}\r\n\r\n").as_bytes());
            assert!(output.starts_with("HTTP/1.1 403 Forbidden\r\n") && asked.is_empty() && !closed, "{host} {head}: {output}");
        }
    }
    let mut stranger = Parser::new(Visitor::new(Arc::default(), "192.0.2.1".parse().ok(), None));
    let said = stranger.next(b"GET /k HTTP/1.0\r\n\r\n", &limits());
    assert!(matches!(said, Parsed::Close { bytes } if bytes.starts_with(b"HTTP/1.1 403 ")), "only this machine need not say whom it means");
}

#[test]
fn a_page_of_another_origin_changes_nothing_and_is_granted_nothing() {
    for page in ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"] {
        for head in [
            "PUT /k/new HTTP/1.1",
            "DELETE /k HTTP/1.1",
            "POST /k HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 3",
            "HEAD /connect/1:2 HTTP/1.1",
            "HEAD /dead/1:2 HTTP/1.1",
            "POST /reconstruct HTTP/1.1\r\nContent-Length: 3",
        ] {
            let body = if head.ends_with('3') { "new" } else { "" };
            let stream = format!(
                "PUT /k/old HTTP/1.1\r\nHost: h\r\n\r\n{head}\r\nHost: h\r\n{page}\r\n\r\n{body}GET /k HTTP/1.1\r\nHost: h\r\n{page}\r\n\r\n"
            );
            let (output, asked, _) = play_split(stream.as_bytes());
            assert!(output.contains("HTTP/1.1 403 Forbidden\r\n") && output.ends_with("\r\n\r\nold"), "{page} {head}: {output}");
            assert!(asked.len() == 2 && !output.contains("Access-Control"), "{page} {head}");
        }
    }
    let own = "DELETE /k HTTP/1.1\r\nHost: h\r\nOrigin: http://h\r\nSec-Fetch-Site: same-origin\r\n\r\n";
    assert_eq!(play_split(own.as_bytes()).1.len(), 1, "a page of this node's own may");
}

#[test]
fn options_say_what_there_is_and_grant_nothing() {
    for target in ["*", "/", "/k", "/-/status", "/%zz"] {
        let preflight = "Origin: http://evil.example\r\nAccess-Control-Request-Method: PUT";
        let (output, asked, closed) = play_split(format!("OPTIONS {target} HTTP/1.1\r\nHost: h\r\n{preflight}\r\n\r\n").as_bytes());
        let allow = "Allow: GET, HEAD, PUT, POST, DELETE, OPTIONS";
        assert_eq!(output, format!("HTTP/1.1 204 No Content\r\nServer: spydercache\r\n{allow}\r\n\r\n"), "{target}");
        assert_eq!((asked.len(), closed), (0, false));
    }
}

#[test]
fn a_client_that_waits_is_told_once_to_go_on() {
    for (body, rest) in [("Content-Length: 3", "abc"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n")] {
        let stream =
            format!("PUT /k HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\n{body}\r\n\r\n{rest}GET /k HTTP/1.1\r\nHost: h\r\n\r\n");
        let (output, ..) = play_split(stream.as_bytes());
        assert_eq!(answers(&output), expected(&[(100, ""), (201, "--saved--"), (200, "abc")]));
    }
    let (output, _, closed) = play_split(b"PUT /k HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!((answers(&output), closed), (expected(&[(201, "--saved--")]), true));
}

#[test]
fn a_client_that_waits_and_is_refused_is_not_listened_to_any_more() {
    let (output, asked, closed) = play_split(
        b"PUT /%zz HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 40\r\n\r\nDELETE /k HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    assert_eq!((answers(&output)[0].0, asked.len(), closed), (400, 0, true));
}

#[test]
fn the_connection_ends_when_it_should_and_not_before() {
    for (request, closes) in [
        ("GET /k HTTP/1.1\r\nHost: h\r\n", false),
        ("GET /k HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", true),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", true),
        ("GET /%zz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", true),
        ("GET /k HTTP/1.0\r\n", true),
        ("GET /k HTTP/1.0\r\nConnection: keep-alive\r\n", false),
    ] {
        let (output, _, closed) = play_split(format!("{request}\r\n").repeat(2).as_bytes());
        assert_eq!((closed, answers(&output).len()), (closes, if closes { 1 } else { 2 }), "{request}");
        assert_eq!(output.contains("Connection: close"), closes);
        assert_eq!(output.contains("Connection: keep-alive"), request.contains("keep-alive"));
    }
}

/// The parser alone, without the shelf: after a request that closes, nothing more is heard even if its reply takes its time.
#[test]
fn nothing_is_heard_behind_a_request_that_closes() {
    let stream = b"GET /a HTTP/1.0\r\n\r\nDELETE /b HTTP/1.0\r\n\r\n";
    let mut parser = parser();
    let Parsed::Request { consumed, .. } = parser.next(stream, &limits()) else { panic!("a request") };
    for input in [&stream[consumed..], b""] {
        assert_eq!(parser.next(input, &limits()), Parsed::Close { bytes: Cow::Borrowed(b"") });
    }
}

/// Each of these must be refused with exactly this status, and what stands behind it must not be run.
#[test]
fn whatever_could_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    let put = "PUT /k HTTP/1.1\r\nHost: h\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let large = format!("GET /k HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "y".repeat(2_000));
    let many = format!("GET /k HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(64));
    let trailers = format!("{put}{chunked}\r\n0\r\n{}", "t: x\r\n".repeat(1_000));
    let stuffed = format!("{put}{chunked}\r\n{}", format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(200));
    let table = [
        (format!("{put}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"), 400),
        (format!("{put}Content-Length: 1\r\ncontent-length: 2\r\n\r\nx"), 400),
        (format!("{put}Content-Length: 1, 1\r\n\r\nx"), 400),
        (format!("{put}Content-Length: +1\r\n\r\nx"), 400),
        (format!("{put}Content-Length: -1\r\n\r\nx"), 400),
        (format!("{put}Content-Length: 0x1\r\n\r\nx"), 400),
        (format!("{put}Content-Length: 1 1\r\n\r\nx"), 400),
        (format!("{put}Content-Length:\r\n\r\nx"), 400),
        (format!("{put}Content-Length: 301\r\n\r\nx"), 413),
        (format!("{put}Expect: 100-continue\r\nContent-Length: 301\r\n\r\n"), 413),
        (format!("{put}Content-Length: 99999999999999999999999999\r\n\r\nx"), 413),
        (format!("{put}{chunked}Content-Length: 1\r\n\r\n0\r\n\r\n"), 400),
        (format!("{put}Content-Length: 1\r\n{chunked}\r\n0\r\n\r\n"), 400),
        (format!("{put}{chunked}{chunked}\r\n0\r\n\r\n"), 400),
        (format!("{put}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501),
        (format!("{put}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), 501),
        (format!("{put}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 501),
        (format!("{put}Transfer-Encoding:\r\n\r\n0\r\n\r\n"), 501),
        (format!("{put}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"), 400),
        (format!("{put}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400),
        (format!("PUT /k HTTP/1.0\r\n{chunked}\r\n0\r\n\r\n"), 400),
        (format!("{put}{chunked}\r\nz\r\n"), 400),
        (format!("{put}{chunked}\r\n-1\r\n"), 400),
        (format!("{put}{chunked}\r\n1\r\nxy\r\n0\r\n\r\n"), 400),
        (format!("{put}{chunked}\r\n1\nx\r\n0\r\n\r\n"), 400),
        (format!("{put}{chunked}\r\nFFFFFFFFFFFFFFFF\r\n"), 413),
        (format!("{put}{chunked}\r\n12d\r\n"), 413),
        (trailers, 431),
        (stuffed, 400),
        (format!("{put}Expect: the-moon\r\nContent-Length: 1\r\n\r\nx"), 417),
        ("GET /k HTTP/1.1\nHost: h\n\n".to_owned(), 400),
        ("GET /k HTTP/1.1\r\nHost: h\r\nX: y\n\r\n".to_owned(), 400),
        ("GET /k HTTP/1.1\r\nHost: h\r\nX: y\rZ: w\r\n\r\n".to_owned(), 400),
        ("GET /k HTTP/1.1\r\nHost: h\r\nX: y\r\n folded\r\n\r\n".to_owned(), 400),
        ("GET /k HTTP/1.1\r\n Host: h\r\n\r\n".to_owned(), 400),
        ("GET /k HTTP/1.1\r\nHost : h\r\n\r\n".to_owned(), 400),
        ("GET /k HTTP/1.1\r\nHost: h\r\nX: \0\r\n\r\n".to_owned(), 400),
        ("GET /k HTTP/1.1\r\nHost: h\r\nX\0: y\r\n\r\n".to_owned(), 400),
        ("GET /k\0 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("GET  /k HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("GET /k  HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("GET /k x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("\r\n\nGET /k HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("GET /k\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("GET /k HTTP/1.1\r\nno colon\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("GET /k HTTP/1.1\r\n: empty\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("GET /k HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /k HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
        ("GET /k HTTP/2.0\r\nHost: h\r\n\r\n".to_owned(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
        (large, 431),
        (many, 431),
    ];
    for (bytes, code) in table {
        let stream = format!("{bytes}DELETE /canary HTTP/1.1\r\nHost: h\r\n\r\n");
        let (output, asked, closed) = play_split(stream.as_bytes());
        let answered = answers(&output);
        assert_eq!((answered.len(), answered[0].0, closed, asked.len()), (1, code, true, 0), "{bytes:?} got {output}");
        assert!(output.contains("\r\nConnection: close\r\n") && output.ends_with('\n'), "{output}");
    }
}

/// What is known to have been read in two ways by some pair of servers.
#[test]
fn the_known_ways_to_smuggle_a_request_end_the_connection() {
    let put = "PUT /k HTTP/1.1\r\nHost: h\r\n";
    let chunked = format!("{put}Transfer-Encoding: chunked\r\n\r\n");
    let mut streams: Vec<String> = Vec::new();
    for length in
        ["1,1", "1;1", "1.0", "1e0", "1_0", "-0", "+0", "0b1", "\u{ff11}", "1\t1", "\u{b}1", "1\u{c}", "\"1\"", "1\r\nContent-Length: 0"]
    {
        streams.push(format!("{put}Content-Length: {length}\r\n\r\nx"));
    }
    for field in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunk",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked\u{b}",
        "Transfer-Encoding: chunked\0",
        "Transfer-Encoding: \u{a0}chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding:\r\n\tchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding\u{b}: chunked",
        "Transfer-Encoding\r\n: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "\u{b}Transfer-Encoding: chunked",
        "Transfer Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\r\nTransfer-Encoding: chunked",
        "X: y\n\rTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length : 5",
        "Content-Length\0: 5",
        ": 5",
        "Host: h",
        "Host: other",
    ] {
        streams.push(format!("{put}{field}\r\n\r\n0\r\n\r\n"));
    }
    for chunks in [
        "5 \r\nhello\r\n",
        " 5\r\nhello\r\n",
        "\t5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "-5\r\nhello\r\n",
        "5_\r\nhello\r\n",
        "5\nhello\r\n",
        "5;a\nhello\r\n",
        "5;a\rb\r\nhello\r\n",
        "5\r\r\nhello\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "\r\n5\r\nhello\r\n",
        "5,5\r\nhello\r\n",
        "\u{ff15}\r\nhello\r\n",
        "00000000000000005\r\nhello\r\n",
        "10000000000000005\r\nhello\r\n",
        "0\n\r\n",
        "0\r\n\n",
        "0\r\nT: x\n\r\n",
        "0\r\nT\r\n\r\n",
        "0\r\n T: x\r\n\r\n",
        "0\r\nGET /k HTTP/1.1\r\n\r\n",
        "x\r\n",
    ] {
        streams.push(format!("{chunked}{chunks}"));
    }
    for host in ["h, h", "h h", "user@h", "h/k", "h?k", "h\u{b}", "h#", "h\\"] {
        streams.push(format!("GET /k HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
    for line in [
        "GET /k HTTP/0.9",
        "GET /k HTTP/1.2",
        "GET /k HTTP/2.0",
        "GET /k HTTP/3.0",
        "GET /k HTTP/1.10",
        "GET /k HTTP/11",
        "GET /k http/1.1",
        "GET /k HTTP/1.1 ",
        "GET\t/k\tHTTP/1.1",
        "GET /k\tHTTP/1.1",
        " GET /k HTTP/1.1",
        "GET /k\u{b}x HTTP/1.1",
        "GET /k\rx HTTP/1.1",
        "G\0T /k HTTP/1.1",
        "GET /k HTTP/1.1\r",
        "GET /k",
        "GET",
    ] {
        streams.push(format!("{line}\r\nHost: h\r\n\r\n"));
    }
    for stream in streams {
        let stream = format!("{stream}DELETE /canary HTTP/1.1\r\nHost: h\r\n\r\n");
        let (output, asked, closed) = play_split(stream.as_bytes());
        let answered = answers(&output);
        assert_eq!((answered.len(), closed, asked.len()), (1, true, 0), "{stream:?} got {output}");
        assert!(matches!(answered[0].0, 400 | 413 | 431 | 501 | 505), "{stream:?} got {output}");
        assert!(output.contains("\r\nConnection: close\r\n"), "{output}");
    }
}

#[test]
fn a_refused_head_request_gets_no_body() {
    for stream in ["HEAD /%zz HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD /k HTTP/1.1\r\n\r\n", "HEAD /k HTTP/1.1\n"] {
        let (output, ..) = play_split(stream.as_bytes());
        assert!(output.ends_with("\r\n\r\n") && output.contains("\r\nX-Reason: "), "{output}");
    }
}

#[test]
fn a_bad_body_of_an_answered_request_only_closes() {
    let (output, _, closed) = play_split(b"GET /k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n");
    assert_eq!((answers(&output), closed), (expected(&[(404, "--null--")]), true));
}

#[test]
fn first_bytes_tell_http_from_memcached() {
    for (input, sniffed) in [
        ("G", Sniffed::NotYet),
        ("OPTIONS", Sniffed::NotYet),
        ("GET ", Sniffed::NotYet),
        ("GET h", Sniffed::NotYet),
        ("OPTIONS htt", Sniffed::NotYet),
        ("GET /", Sniffed::Http),
        ("OPTIONS https:/", Sniffed::NotYet),
        ("GET http://", Sniffed::Http),
        ("GET HTTPS://h/", Sniffed::Http),
        ("KEYS *\r\n", Sniffed::Memcached),
        ("GET httpd:", Sniffed::Memcached),
        ("OPTIONS *", Sniffed::Http),
        ("PRI * HTTP/2.0\r\n", Sniffed::Http),
        ("BREW /pot", Sniffed::Http),
        ("get /key\r\n", Sniffed::Memcached),
        ("get ", Sniffed::Memcached),
        ("Get /", Sniffed::Memcached),
        ("GET key\r\n", Sniffed::Memcached),
        ("GET hat\r\n", Sniffed::Memcached),
        ("GET\r\n", Sniffed::Memcached),
        ("STATS\r\n", Sniffed::Memcached),
        ("ABCDEFGH", Sniffed::Memcached),
        (" GET /", Sniffed::Memcached),
        ("\r\n", Sniffed::Memcached),
        ("\u{80}", Sniffed::Memcached),
    ] {
        assert_eq!(sniff(input.as_bytes()), sniffed, "{input:?}");
        let longest = (1..=input.len()).filter(|end| sniff(&input.as_bytes()[..*end]) == Sniffed::NotYet).max();
        assert!(longest < Some(16), "{input:?} took too much patience");
    }
}

/// Valid requests with bytes flipped, removed, repeated and joined: never a panic, always progress, and no difference however they arrive.
#[test]
fn damaged_streams_never_panic_and_do_not_depend_on_how_they_arrive() {
    let corpus: [&[u8]; 11] = [
        b"GET /key HTTP/1.1\r\nHost: h\r\n\r\n",
        b"PUT /key/value HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
        b"PUT /k?flags=1&ttl=2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /%41%00 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n",
        b"PUT /k HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        b"HEAD /-/status HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"DELETE http://h/k HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
        b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        b"PUT /key HTTP/1.1\r\nHost: h\r\nIf-Match: \"1\", W/\"2\"\r\nContent-Type: a/b\r\nContent-Length: 1\r\n\r\nx",
        b"GET /key HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"1\"\r\nIf-None-Match: \"2\"\r\nOrigin: http://h\r\n\r\n",
    ];
    let spice: [&[u8]; 12] =
        [b"\n", b"\r", b"\r\n", b"\0", b" ", b":", b"%", b"0\r\n\r\n", b"\xff", b"Content-Length: 1\r\n", b"Host: h\r\n", b"/"];
    for seed in 0..3_000 {
        let mut prng = Prng::new(seed);
        let mut stream = Vec::new();
        for _ in 0..=prng.below(3) {
            stream.extend_from_slice(corpus[prng.below(corpus.len() as u64) as usize]);
        }
        for _ in 0..prng.below(4) {
            if stream.len() < 2 {
                break;
            }
            let at = prng.below(stream.len() as u64) as usize;
            match prng.below(4) {
                0 => stream[at] = prng.next_u64() as u8,
                1 => drop(stream.remove(at)),
                2 => drop(stream.splice(at..at, spice[prng.below(spice.len() as u64) as usize].iter().copied())),
                _ => stream.truncate(at.max(1)),
            }
        }
        let whole = play(&stream, stream.len());
        for step in [1, 1 + prng.below(20) as usize] {
            assert_eq!(play(&stream, step), whole, "seed {seed}, by {step}: {:?}", String::from_utf8_lossy(&stream));
        }
    }
}
