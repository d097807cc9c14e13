//! Dialogues in the binary protocol.

use super::*;
use crate::config::Config;
use crate::node::reply::{Details, Failure, Reply, Value};

const OPAQUE: u32 = 0xdead_beef;

fn limits() -> Limits {
    Limits { max_value: 100, ..Config::default().limits }
}

fn frame(opcode: u8, extras: &[u8], key: &[u8], value: &[u8], cas: u64) -> Vec<u8> {
    let mut bytes = vec![MAGIC, opcode];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras.len() as u8, 0, 0, 0]);
    bytes.extend(((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend(OPAQUE.to_be_bytes());
    bytes.extend(cas.to_be_bytes());
    [extras, key, value].iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

/// What a connection sees of some bytes that are fed in pieces of `step`: requests, and the status of what is said.
fn feed(bytes: &[u8], step: usize) -> (Vec<Request<'static>>, Vec<u16>, bool) {
    let (mut parser, mut requests, mut said, mut start, mut end) = (Parser::default(), Vec::new(), Vec::new(), 0, 0);
    loop {
        match parser.next(&bytes[start..end], &limits(), Access::Open) {
            Parsed::Incomplete { .. } if end == bytes.len() => return (requests, said, false),
            Parsed::Incomplete { .. } => end = bytes.len().min(end + step),
            Parsed::Login { .. } => panic!("a login of who needs none"),
            Parsed::Request { consumed, request, .. } => {
                requests.push(request.to_owned());
                start += consumed;
            }
            Parsed::Answer { consumed, bytes, .. } => {
                said.push(status_of(&bytes));
                start += consumed;
            }
            Parsed::Skip { consumed } => start += consumed,
            Parsed::Close { bytes } => {
                said.extend((!bytes.is_empty()).then(|| status_of(&bytes)));
                return (requests, said, true);
            }
        }
    }
}

fn status_of(response: &[u8]) -> u16 {
    assert_eq!((response[0], &response[12..16]), (0x81, &OPAQUE.to_be_bytes()[..]));
    u16::from_be_bytes([response[6], response[7]])
}

fn asked(bytes: &[u8]) -> Action<'static> {
    match feed(bytes, usize::MAX >> 1).0.pop() {
        Some(Request::Key(command)) => command.action,
        other => panic!("{other:?}"),
    }
}

#[test]
fn writes_carry_flags_expiry_and_version() {
    let extras = [0, 0, 0, 7, 0, 0, 0, 9];
    let store = |mode, expiry| Store { mode, flags: 7, expiry, ..Store::of(&b"v"[..]) };
    assert_eq!(asked(&frame(0x01, &extras, b"k", b"v", 0)), Action::Store(store(StoreMode::Set, Expiry::InMs(9_000))));
    assert_eq!(asked(&frame(0x02, &extras, b"k", b"v", 0)), Action::Store(store(StoreMode::Add, Expiry::InMs(9_000))));
    assert_eq!(asked(&frame(0x13, &extras, b"k", b"v", 5)), Action::Store(store(StoreMode::Cas(Version(5)), Expiry::InMs(9_000))));
    let Action::Store(append) = asked(&frame(0x0e, b"", b"k", b"v", 5)) else { panic!("an append") };
    assert_eq!((append.mode, append.terms.unwrap().only), (StoreMode::Append, Some(Guard::Version(Version(5)))));
}

#[test]
fn a_count_makes_its_number_unless_it_says_that_it_does_not() {
    let extras = |exptime: u32| [&7u64.to_be_bytes()[..], &3u64.to_be_bytes(), &exptime.to_be_bytes()].concat();
    assert_eq!(asked(&frame(0x05, &extras(NO_FIRST), b"k", b"", 0)), Action::Count(Count::by(Delta::Up(7))));
    let Action::Count(count) = asked(&frame(0x06, &extras(0), b"k", b"", 0)) else { panic!("a count") };
    let terms = count.terms.unwrap();
    assert_eq!((count.by, terms.create, terms.first), (Delta::Down(7), Some(Expiry::Never), Number::Natural(3)));
}

#[test]
fn what_cannot_be_carried_out_is_passed_over_in_step() {
    let get = frame(0x00, b"", b"k", b"", 0);
    let cases = [
        (frame(0x99, b"", b"k", b"anything", 0), 0x81),
        (frame(0x00, b"extr", b"k", b"", 0), 0x04),
        (frame(0x00, b"", b"", b"", 0), 0x04),
        (frame(0x00, b"", b"k", b"value", 0), 0x04),
        (frame(0x00, b"", &[b'k'; 251], b"", 0), 0x04),
        (frame(0x01, b"", b"k", b"v", 0), 0x04),
        (frame(0x02, &[0; 8], b"k", &[b'v'; 101], 0), 0x03),
        (frame(0x05, &[0; 8], b"k", b"", 0), 0x04),
        (frame(0x0a, b"", b"k", b"", 0), 0x04),
        (frame(0x10, b"", b"nonsense", b"", 0), 0x01),
    ];
    for (bad, status) in cases {
        let dialogue = [&bad[..], &get].concat();
        for step in [1, 7, usize::MAX >> 1] {
            let (requests, said, closed) = feed(&dialogue, step);
            assert_eq!((requests.len(), &said[..], closed), (1, &[status][..], false), "{bad:?}");
        }
    }
}

#[test]
fn a_set_that_is_too_large_takes_the_old_value_with_it() {
    let (requests, said, _) = feed(&frame(0x01, &[0; 8], b"key", &[b'v'; 101], 0), 5);
    let removal = Command { key: Cow::Borrowed(b"key"), action: Action::Store(Store::of_nothing()) };
    assert_eq!((requests, said), (vec![Request::Key(removal)], vec![]));
}

#[test]
fn statistics_that_there_are_not_are_an_empty_list() {
    for what in ["items", "slabs", "detail on", "detail off", "detail dump"] {
        let (requests, statuses, _) = feed(&frame(0x10, b"", what.as_bytes(), b"", 0), usize::MAX);
        assert_eq!((requests.len(), &statuses[..]), (0, &[0][..]), "{what}");
    }
}

#[test]
fn lengths_that_contradict_each_other_end_the_connection() {
    let mut bytes = frame(0x00, b"", b"key", b"", 0);
    bytes[11] = 2;
    assert_eq!(feed(&bytes, 3), (vec![], vec![0x04], true));
    assert_eq!(feed(b"get k\r\n", 1), (vec![], vec![], true));
    assert_eq!(feed(&frame(0x17, b"", b"", b"", 0), 1), (vec![], vec![], true));
    assert_eq!(feed(&frame(0x07, b"", b"", b"", 0), 1), (vec![], vec![0], true));
}

fn written(opcode: u8, extras: &[u8], reply: &Reply<'_>) -> Vec<u8> {
    let bytes = frame(opcode, extras, b"key", b"", 0);
    let (mut parser, mut output) = (Parser::default(), Vec::new());
    let Parsed::Request { form, .. } = parser.next(&bytes, &limits(), Access::Open) else { panic!("{opcode}") };
    form.compose(b"key", reply, &mut output);
    output
}

#[test]
fn a_value_is_written_with_its_flags_and_with_its_key_if_that_is_wanted() {
    let value = Value { bytes: b"value", flags: 9, version: Version(77), ttl_ms: None, details: Details::default() };
    let response = |opcode, extras: &[u8]| written(opcode, extras, &Reply::Value(value));
    let plain = response(0x00, b"");
    assert_eq!((&plain[..6], &plain[8..12], &plain[16..24]), (&[0x81, 0, 0, 0, 4, 0][..], &[0, 0, 0, 9][..], &77u64.to_be_bytes()[..]));
    assert_eq!(&plain[24..], b"\0\0\0\x09value");
    assert_eq!(&response(0x0d, b"")[24..], b"\0\0\0\x09keyvalue");
    assert_eq!(&response(0x1c, &[0; 4])[24..], b"\0\0\0\x09", "a touch shows no value");
}

#[test]
fn a_quiet_request_says_only_what_is_not_expected() {
    let stored = Reply::Stored { version: Version(1), old: None };
    assert_eq!(written(0x09, b"", &Reply::Miss), b"");
    assert_eq!(status_of(&written(0x00, b"", &Reply::Miss)), 1);
    assert_eq!(&written(0x0c, b"", &Reply::Miss)[24..], b"key");
    assert_eq!(written(0x11, &[0; 8], &stored), b"");
    assert_eq!(status_of(&written(0x01, &[0; 8], &stored)), 0);
    assert_eq!(status_of(&written(0x14, b"", &Reply::Miss)), 1);
    assert_eq!(status_of(&written(0x11, &[0; 8], &Reply::Failed(&Failure::OutOfMemory))), 0x82);
}

#[test]
fn what_was_not_done_is_told_in_the_terms_of_its_verb() {
    let status = |opcode, reply: &Reply<'_>| status_of(&written(opcode, &[0; 8], reply));
    assert_eq!(status(0x02, &Reply::NotStored), 2);
    assert_eq!(status(0x03, &Reply::NotStored), 1);
    assert_eq!(status(0x01, &Reply::Exists), 2);
    assert_eq!(status_of(&written(0x0e, b"", &Reply::NotStored)), 5);
    assert_eq!(status(0x01, &Reply::Failed(&Failure::Unreachable)), 0x86);
    let number = Reply::Number { number: Number::Natural(258), version: Version(3), ttl_ms: None };
    assert_eq!(&written(0x05, &[0; 20], &number)[16..], [0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 2]);
}

/// The first thing that is seen of a request of somebody who may do so much.
fn first_as(access: Access, bytes: &[u8]) -> Result<Vec<u8>, u16> {
    match Parser::default().next(bytes, &limits(), access) {
        Parsed::Login { consumed, password, form } => {
            assert!(consumed == bytes.len() && form.is_some());
            Ok(password.into_owned())
        }
        Parsed::Answer { bytes, .. } => Err(status_of(&bytes)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_password_is_shown_by_sasl() {
    let login = |mechanism: &[u8], tokens: &[u8]| frame(0x21, b"", mechanism, tokens, 0);
    let stranger = |bytes: &[u8]| first_as(Access::Stranger, bytes);
    assert_eq!(stranger(&login(b"PLAIN", b"\0user\0secret")), Ok(b"secret".to_vec()));
    assert_eq!(stranger(&login(b"PLAIN", b"user\0user\0a\0b")), Ok(b"a\0b".to_vec()));
    for bad in [
        login(b"PLAIN", b"\0user\0"),
        login(b"PLAIN", b"secret"),
        login(b"CRAM-MD5", b"\0user\0secret"),
        frame(0x22, b"", b"PLAIN", b"", 0),
    ] {
        assert_eq!(stranger(&bad), Err(0x20));
    }
    assert_eq!(stranger(&login(b"PLAIN", &[b'x'; MAX_TOKENS + 1])), Err(0x04), "it is not waited for");
    assert_eq!(stranger(&frame(0x20, b"", b"", b"", 0)), Err(0));
    assert_eq!(stranger(&frame(0x0b, b"", b"", b"", 0)), Err(0), "a version is no secret, as in memcached");
    for refused in
        [frame(0x00, b"", b"k", b"", 0), frame(0x0a, b"", b"", b"", 0), frame(0x01, &[0; 8], b"k", b"v", 0), frame(0x10, b"", b"", b"", 0)]
    {
        assert_eq!(stranger(&refused), Err(0x20));
    }
    assert_eq!(first_as(Access::Open, &login(b"PLAIN", b"\0user\0secret")), Err(0x81), "where there is no password, SASL is not known");
}
