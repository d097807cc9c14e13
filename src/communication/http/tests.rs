//! Dialogues with the parser and the composer, answered by a shelf that is simpler than any node.
//!
//! Each is played whole and split in many ways. Here are the shelf, the player, and what each URL does; the files beside it have an idea each,
//! and `framing` the longest lists: whatever could be read in two ways.

mod arrival;
mod bodies;
mod conditions;
mod endings;
mod framing;
mod strangers;

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
fn options_say_what_there_is_and_grant_nothing() {
    for target in ["*", "/", "/k", "/-/status", "/%zz"] {
        let preflight = "Origin: http://evil.example\r\nAccess-Control-Request-Method: PUT";
        let (output, asked, closed) = play_split(format!("OPTIONS {target} HTTP/1.1\r\nHost: h\r\n{preflight}\r\n\r\n").as_bytes());
        let allow = "Allow: GET, HEAD, PUT, POST, DELETE, OPTIONS";
        assert_eq!(output, format!("HTTP/1.1 204 No Content\r\nServer: spydercache\r\n{allow}\r\n\r\n"), "{target}");
        assert_eq!((asked.len(), closed), (0, false));
    }
}
