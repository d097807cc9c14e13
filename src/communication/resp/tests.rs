//! What the parser asks and says, however the bytes arrive. Whole dialogues are in `tests/transcripts/resp`.

use super::*;
use crate::communication::damage;
use crate::config::Config;
use crate::node::command::{Action, Admin, Count, Delta, Expiry, Renewal, Store, StoreMode, When};

/// What a connection would see of a parsed piece; bytes passed over are not seen.
#[derive(Debug, PartialEq)]
enum Seen {
    Asked(Request<'static>, protocol::Form),
    Said(String, Group),
    Shown(String, bool),
    Closed(String),
}

fn limits() -> Limits {
    Limits { max_value: 1000, max_line: 4096, max_key: 100, ..Config::default().limits }
}

/// Feeds `bytes` in pieces whose lengths `step` draws, as a connection does, and tells what is seen and how much is left unread.
fn feed(bytes: &[u8], step: impl FnMut() -> usize) -> (Vec<Seen>, usize) {
    feed_as(Access::Open, bytes, step)
}

/// The password.
const SECRET: &[u8] = b"secret";

/// The same, for a client who may do so much until it shows a password.
fn feed_as(mut access: Access, bytes: &[u8], mut step: impl FnMut() -> usize) -> (Vec<Seen>, usize) {
    let (mut parser, limits, mut seen, mut start, mut end) = (Parser::new(7, None), limits(), Vec::new(), 0, 0);
    loop {
        let input = &bytes[start..end];
        start += match parser.next(input, &limits, access) {
            Parsed::Incomplete { in_command } => {
                assert_eq!(in_command, !input.is_empty());
                if end == bytes.len() {
                    return (seen, bytes.len() - start);
                }
                end = bytes.len().min(end + step());
                0
            }
            Parsed::Request { consumed, request, form } => {
                seen.push(Seen::Asked(request.to_owned(), form));
                consumed
            }
            Parsed::Answer { consumed, bytes, group } => {
                seen.push(Seen::Said(bytes.escape_ascii().to_string(), group));
                consumed
            }
            Parsed::Login { consumed, password, form } => {
                access = if *password == *SECRET { Access::Granted } else { Access::Stranger };
                seen.push(Seen::Shown(password.escape_ascii().to_string(), form.is_some()));
                consumed
            }
            Parsed::Skip { consumed } => {
                assert!(consumed > 0);
                consumed
            }
            Parsed::Close { bytes } => {
                seen.push(Seen::Closed(bytes.escape_ascii().to_string()));
                return (seen, 0);
            }
        };
        assert!(start <= end);
    }
}

fn all_at_once(bytes: &[u8]) -> Vec<Seen> {
    feed(bytes, || usize::MAX / 2).0
}

/// The requests that a line makes.
fn asked(line: &str) -> Vec<Request<'static>> {
    let seen = all_at_once(format!("{line}\r\n").as_bytes());
    seen.into_iter().filter_map(|seen| if let Seen::Asked(request, _) = seen { Some(request) } else { None }).collect()
}

fn said(line: &str) -> String {
    match &all_at_once(format!("{line}\r\n").as_bytes())[..] {
        [Seen::Said(text, Group::Alone)] => text.clone(),
        other => panic!("{line}: {other:?}"),
    }
}

fn on_key(key: &[u8], action: Action<'static>) -> Vec<Request<'static>> {
    vec![Request::Key(crate::node::command::Command { key: Cow::Owned(key.to_vec()), action })]
}

#[test]
fn a_form_stays_small_for_the_sake_of_those_who_speak_otherwise() {
    assert!(size_of::<Form>() <= 24, "{}", size_of::<Form>());
}

#[test]
fn options_may_come_in_any_order_and_case() {
    let value = || Store { mode: StoreMode::Add, expiry: Expiry::InMs(10_000), want_old: true, ..Store::of(b"v".to_vec()) };
    for line in ["SET k v NX EX 10 GET", "set k v get ex 10 nx", "Set k v Px 10000 gEt Nx"] {
        assert_eq!(asked(line), on_key(b"k", Action::Store(value())), "{line}");
    }
    assert_eq!(asked("EXPIRE k 10 XX GT"), on_key(b"k", Action::Touch(Renewal { when: When::Later, ..Renewal::to(Expiry::InMs(10_000)) })));
    assert_eq!(asked("PEXPIREAT k 17"), on_key(b"k", Action::Touch(Renewal::to(Expiry::AtWallMs(17)))));
    assert_eq!(asked("EXPIRE k -5"), on_key(b"k", Action::Touch(Renewal::to(Expiry::InMs(0)))));
}

#[test]
fn a_read_of_one_key_is_one_request_and_nothing_else() {
    let seen = all_at_once(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    assert!(
        matches!(&seen[..], [Seen::Asked(Request::Key(command), _)] if command.action == Action::Get && &command.key[..] == b"k"),
        "{seen:?}"
    );
}

#[test]
fn several_keys_are_several_requests_in_one_group() {
    let seen = all_at_once(b"*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n");
    let groups: Vec<Group> = seen
        .iter()
        .map(|seen| match seen {
            Seen::Asked(_, form) => form.group(),
            Seen::Said(_, group) => *group,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(groups, [Group::Part, Group::Part, Group::Part, Group::Whole]);
    assert_eq!(asked("MSET a 1 b 2").len(), 2);
    assert_eq!(asked("DEL a b c").len(), 3);
}

#[test]
fn a_key_that_is_too_long_refuses_the_whole_command() {
    let long = "k".repeat(101);
    for line in [format!("GET {long}"), format!("MGET a {long}"), format!("MSET a 1 {long} 2"), format!("DEL a {long}")] {
        assert_eq!(said(&line), r"-ERR the key is longer than limits.max_key\r\n", "{line}");
    }
    assert_eq!(asked(&format!("MSET a {long}")).len(), 1, "a value may be longer than a key");
}

#[test]
fn what_is_queued_is_played_in_order_when_it_is_executed() {
    let seen = all_at_once(b"MULTI\r\nINCR n\r\nMGET a b\r\nSELECT 1\r\nGET k\r\nEXEC\r\nPING\r\n");
    let texts: Vec<String> = seen
        .iter()
        .map(|seen| match seen {
            Seen::Asked(Request::Key(command), _) => command.key.escape_ascii().to_string(),
            Seen::Said(text, _) => text.trim_end_matches(r"\r\n").to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(texts, ["+OK", "+QUEUED", "+QUEUED", "+QUEUED", "+QUEUED", "*4", "n", "*2", "a", "b", "", "+OK", r"\x001:k", "+PONG"]);
}

#[test]
fn what_is_queued_counts_as_held_until_it_is_carried_out() {
    let (mut parser, limits) = (Parser::new(7, None), limits());
    let value = "v".repeat(900);
    for (line, least, most) in [("MULTI", 0, 0), (&*format!("SET k {value}"), 900, 4000), ("GET k", 900, 4000), ("EXEC", 900, 4000)] {
        let command = array_of_line(line.as_bytes()).expect("a line");
        parser.next(&command, &limits, Access::Open);
        assert!((least..=most).contains(&parser.held()), "{line}: {}", parser.held());
    }
    (0..2).for_each(|_| assert!(matches!(parser.next(b"", &limits, Access::Open), Parsed::Request { .. })));
    assert_eq!(parser.held(), 0);
}

#[test]
fn counting_makes_what_is_missing() {
    let Some(Request::Key(command)) = asked("DECRBY n 5").pop() else { panic!("no request") };
    let Action::Count(Count { by: Delta::Signed(-5), terms: Some(terms) }) = command.action else { panic!("no count") };
    assert_eq!((terms.create, terms.first.digits().as_str()), (Some(Expiry::Never), "-5"));
}

#[test]
fn a_walk_names_its_database() {
    let walks = |line: &str| match asked(line).pop() {
        Some(Request::Admin(Admin::Walk(walk))) => (walk.from, walk.most),
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(walks("SCAN 17 COUNT 5 MATCH a*"), (17, 5));
    assert_eq!(walks("KEYS *"), (0, u32::MAX));
    assert_eq!(said("SCAN 99999999999"), r"*2\r\n$1\r\n0\r\n*0\r\n");
    assert_eq!(said("SCAN x"), r"-ERR invalid cursor\r\n");
    assert_eq!(said("SCAN 0 COUNT 0"), r"-ERR syntax error\r\n");
}

#[test]
fn the_first_bytes_tell_redis_clients_from_others() {
    for (input, told) in [
        ("*", Sniffed::Resp),
        ("PING\r\n", Sniffed::Resp),
        ("PING", Sniffed::NotYet),
        ("GET key\r\n", Sniffed::Resp),
        ("INCRBYFLOAT k 1", Sniffed::Resp),
        ("GET httpd:1\r\n", Sniffed::Resp),
        ("GET http", Sniffed::NotYet),
        ("GET http:/", Sniffed::NotYet),
        ("GET *", Sniffed::Resp),
        ("KEYS *\r\n", Sniffed::Resp),
        ("KEYS /path*", Sniffed::Resp),
        ("SET foo bar\r\n", Sniffed::Resp),
        ("SET http://x v", Sniffed::Resp),
        ("DEL /x", Sniffed::Resp),
        ("PUT", Sniffed::NotYet),
        ("PUT foo", Sniffed::Memcached),
        ("PUT /foo", Sniffed::Http),
        ("DELETE /x", Sniffed::Http),
        ("BREW /pot", Sniffed::Http),
        ("GET /key", Sniffed::Http),
        ("GET http://h/", Sniffed::Http),
        ("OPTIONS *", Sniffed::Http),
        ("PRI * HTTP/2.0", Sniffed::Http),
        ("STATS\r\n", Sniffed::Memcached),
        ("get key\r\n", Sniffed::Memcached),
        ("ping\r\n", Sniffed::Memcached),
        ("ABCDEFGHIJKLMNOPQRSTUVW", Sniffed::Memcached),
        ("\0", Sniffed::Peer),
    ] {
        assert_eq!(protocol::sniff(input.as_bytes()), told, "{input}");
    }
}

#[test]
fn of_http_s_methods_only_get_is_a_command_of_redis() {
    for method in ["HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI"] {
        assert!(find(method.as_bytes()).is_none(), "{method}");
    }
    assert!(find(b"GET").is_some());
}

#[test]
fn a_value_that_is_too_long_refuses_the_whole_command() {
    let long = "v".repeat(1001);
    let release = "EVAL \"if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end\" 1 k";
    for line in ["SET k", "SETNX k", "GETSET k", "APPEND k", "MSET a 1 k", "MSETNX k", release] {
        let refused = r"-ERR string exceeds maximum allowed size (limits.max_value)\r\n";
        assert_eq!(said(&format!("{line} {long}")), refused, "{line}");
        assert!(!asked(&format!("{line} {}", &long[1..])).is_empty(), "{line}");
    }
}

/// One of everything, good and bad.
const CORPUS: &[&[u8]] = &[
    b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    b"*3\r\n$3\r\nset\r\n$2\r\n\r\n\r\n$0\r\n\r\n",
    b"*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\na\r\n",
    b"*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$0\r\n\r\n",
    b"DEL a b c\r\nEXISTS a b\r\nUNLINK a\r\n",
    b"SET k \"a b\\x00\" EX 10\r\nSET k v EX\r\n",
    b"MULTI\r\nSET k v\r\nMGET a b\r\nDEL a b\r\nEXEC\r\n",
    b"*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nEXEC\r\n",
    b"MULTI\r\nWHAT\r\nEXEC\r\nDISCARD\r\n",
    b"HELLO 3 SETNAME me\r\nSELECT 4\r\nCLIENT GETNAME\r\n",
    b"*0\r\n\r\n*-1\r\n \r\n",
    b"EVALSHA c3f8721cbb97f72bc19e972846bd7aaf91901658 1 k v\r\n",
    b"KEYS *\r\nSCAN 0 MATCH a* COUNT 9\r\nFLUSHDB\r\nINFO\r\nDBSIZE\r\n",
    b"LPUSH a b\r\nGET\r\nCONFIG GET *\r\nCOMMAND\r\n",
];

#[test]
fn bytes_in_any_pieces_mean_the_same() {
    damage::assert_the_same_in_any_pieces(CORPUS, 100, |bytes, step| feed(bytes, step));
}

#[test]
fn damaged_streams_are_taken_without_panic_and_answered_within_bounds() {
    damage::assert_no_damage_matters(CORPUS, b" \r\n*$0", 1_000, |bytes, step| feed(bytes, step));
}

/// What a client sees who has not shown the password, in few words.
fn as_stranger(lines: &str) -> Vec<String> {
    let seen = feed_as(Access::Stranger, lines.as_bytes(), || 3).0;
    let brief = |seen: &Seen| match seen {
        Seen::Asked(..) => "asked".to_owned(),
        Seen::Said(text, _) | Seen::Closed(text) => text.split([' ', '\\']).next().unwrap_or_default().to_owned(),
        Seen::Shown(password, is_answered) => format!("shows {password}{}", if *is_answered { "" } else { " first" }),
    };
    seen.iter().map(brief).collect()
}

#[test]
fn a_stranger_can_do_nothing_but_log_in() {
    assert_eq!(
        as_stranger("GET k\r\nPING\r\nMULTI\r\nCOMMAND\r\nHELLO 3\r\nRESET\r\n"),
        ["-NOAUTH"; 5].iter().chain(&["+RESET"]).copied().collect::<Vec<_>>()
    );
    assert_eq!(as_stranger("AUTH wrong\r\nGET k\r\n"), ["shows wrong", "-NOAUTH"]);
    assert_eq!(as_stranger("AUTH secret\r\nGET k\r\nRESET\r\nGET k\r\n"), ["shows secret", "asked", "shows ", "-NOAUTH"]);
    assert_eq!(as_stranger("AUTH anybody secret\r\nGET k\r\n"), ["shows secret", "asked"]);
    assert_eq!(as_stranger("QUIT\r\n"), ["+OK"]);
}

#[test]
fn a_greeting_may_show_the_password() {
    assert_eq!(as_stranger("HELLO 3 AUTH default secret SETNAME me\r\nGET k\r\n"), ["shows secret first", "%7", "asked"]);
    assert_eq!(as_stranger("HELLO 3 AUTH default wrong\r\nHELLO 3\r\n"), ["shows wrong first", "-WRONGPASS", "-NOAUTH"]);
    let array = "*5\r\n$5\r\nHELLO\r\n$1\r\n2\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$6\r\nsecret\r\n";
    assert_eq!(as_stranger(array), ["shows secret first", "*14"]);
}
