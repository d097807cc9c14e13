//! What could be read in two ways, by this server or by a pair of servers. Each must be refused, and what stands behind it must not be run.

use super::*;

const PUT: &str = "PUT /k HTTP/1.1\r\nHost: h\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// Lines about a body's length, and the status of a request with them.
const LENGTHS: &[(&str, u16)] = &[
    ("Content-Length: 1\r\nContent-Length: 1", 400),
    ("Content-Length: 1\r\ncontent-length: 2", 400),
    ("Content-Length: 1, 1", 400),
    ("Content-Length: +1", 400),
    ("Content-Length: -1", 400),
    ("Content-Length: 0x1", 400),
    ("Content-Length: 1 1", 400),
    ("Content-Length:", 400),
    ("Content-Length: 301", 413),
    ("Expect: 100-continue\r\nContent-Length: 301", 413),
    ("Content-Length: 99999999999999999999999999", 413),
    ("Expect: the-moon\r\nContent-Length: 1", 417),
];

/// Lines about a body's coding.
const CODINGS: &[(&str, u16)] = &[
    ("Transfer-Encoding: chunked\r\nContent-Length: 1", 400),
    ("Content-Length: 1\r\nTransfer-Encoding: chunked", 400),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
    ("Transfer-Encoding: gzip, chunked", 501),
    ("Transfer-Encoding: chunked, identity", 501),
    ("Transfer-Encoding: xchunked", 501),
    ("Transfer-Encoding:", 501),
    ("Transfer-Encoding: \x0bchunked", 400),
    ("Transfer-Encoding : chunked", 400),
];

/// What stands where chunks are due.
const CHUNKS: &[(&str, u16)] = &[
    ("z\r\n", 400),
    ("-1\r\n", 400),
    ("1\r\nxy\r\n0\r\n\r\n", 400),
    ("1\nx\r\n0\r\n\r\n", 400),
    ("FFFFFFFFFFFFFFFF\r\n", 413),
    ("12d\r\n", 413),
];

/// Whole heads.
const HEADS: &[(&str, u16)] = &[
    ("PUT /k HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("GET /k HTTP/1.1\nHost: h\n\n", 400),
    ("GET /k HTTP/1.1\r\nHost: h\r\nX: y\n\r\n", 400),
    ("GET /k HTTP/1.1\r\nHost: h\r\nX: y\rZ: w\r\n\r\n", 400),
    ("GET /k HTTP/1.1\r\nHost: h\r\nX: y\r\n folded\r\n\r\n", 400),
    ("GET /k HTTP/1.1\r\n Host: h\r\n\r\n", 400),
    ("GET /k HTTP/1.1\r\nHost : h\r\n\r\n", 400),
    ("GET /k HTTP/1.1\r\nHost: h\r\nX: \0\r\n\r\n", 400),
    ("GET /k HTTP/1.1\r\nHost: h\r\nX\0: y\r\n\r\n", 400),
    ("GET /k\0 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("GET  /k HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("GET /k  HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("GET /k x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("\r\n\nGET /k HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("GET /k\r\nHost: h\r\n\r\n", 400),
    ("GET /k HTTP/1.1\r\nno colon\r\nHost: h\r\n\r\n", 400),
    ("GET /k HTTP/1.1\r\n: empty\r\nHost: h\r\n\r\n", 400),
    ("GET /k HTTP/1.1\r\n\r\n", 400),
    ("GET /k HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("GET /k HTTP/2.0\r\nHost: h\r\n\r\n", 505),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
];

/// Statuses of what is known to have been read in two ways by some pair of servers.
const ANY: &[u16] = &[400, 413, 431, 501, 505];

const KNOWN_LENGTHS: &[&str] =
    &["1,1", "1;1", "1.0", "1e0", "1_0", "-0", "+0", "0b1", "\u{ff11}", "1\t1", "\u{b}1", "1\u{c}", "\"1\"", "1\r\nContent-Length: 0"];

const KNOWN_FIELDS: &[&str] = &[
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
];

const KNOWN_CHUNKS: &[&str] = &[
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
];

const KNOWN_HOSTS: &[&str] = &["h, h", "h h", "user@h", "h/k", "h?k", "h\u{b}", "h#", "h\\"];

const KNOWN_LINES: &[&str] = &[
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
];

/// It is refused with one of these statuses, the connection ends, and what stands behind it is not run.
fn assert_refused(bytes: &str, statuses: &[u16]) {
    let stream = format!("{bytes}DELETE /canary HTTP/1.1\r\nHost: h\r\n\r\n");
    let (output, asked, closed) = play_split(stream.as_bytes());
    let answered = answers(&output);
    assert_eq!((answered.len(), closed, asked.len()), (1, true, 0), "{bytes:?} got {output}");
    assert!(statuses.contains(&answered[0].0), "{bytes:?} got {output}");
    assert!(output.contains("\r\nConnection: close\r\n") && output.ends_with('\n'), "{output}");
}

#[test]
fn whatever_could_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    LENGTHS.iter().for_each(|(lines, status)| assert_refused(&format!("{PUT}{lines}\r\n\r\nx"), &[*status]));
    CODINGS.iter().for_each(|(lines, status)| assert_refused(&format!("{PUT}{lines}\r\n\r\n0\r\n\r\n"), &[*status]));
    CHUNKS.iter().for_each(|(chunks, status)| assert_refused(&format!("{PUT}{CHUNKED}\r\n{chunks}"), &[*status]));
    HEADS.iter().for_each(|(head, status)| assert_refused(head, &[*status]));
}

#[test]
fn whatever_goes_on_and_on_is_refused_and_the_connection_closed() {
    assert_refused(&format!("GET /k HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "y".repeat(2_000)), &[431]);
    assert_refused(&format!("GET /k HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(64)), &[431]);
    assert_refused(&format!("{PUT}{CHUNKED}\r\n0\r\n{}", "t: x\r\n".repeat(1_000)), &[431]);
    let stuffed = format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(200);
    assert_refused(&format!("{PUT}{CHUNKED}\r\n{stuffed}"), &[400]);
}

#[test]
fn the_known_ways_to_smuggle_a_request_end_the_connection() {
    KNOWN_LENGTHS.iter().for_each(|length| assert_refused(&format!("{PUT}Content-Length: {length}\r\n\r\nx"), ANY));
    KNOWN_FIELDS.iter().for_each(|field| assert_refused(&format!("{PUT}{field}\r\n\r\n0\r\n\r\n"), ANY));
    KNOWN_CHUNKS.iter().for_each(|chunks| assert_refused(&format!("{PUT}{CHUNKED}\r\n{chunks}"), ANY));
    KNOWN_HOSTS.iter().for_each(|host| assert_refused(&format!("GET /k HTTP/1.1\r\nHost: {host}\r\n\r\n"), ANY));
    KNOWN_LINES.iter().for_each(|line| assert_refused(&format!("{line}\r\nHost: h\r\n\r\n"), ANY));
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
