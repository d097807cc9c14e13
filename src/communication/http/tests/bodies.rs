//! Bodies on their way: borrowed, moved off as they come, or taken out of chunks.

use super::*;

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
