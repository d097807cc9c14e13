//! When a client is told to go on, and when its connection ends.

use super::*;

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
