//! Bytes as they arrive: the first ones, which tell the dialect, and damaged ones.

use super::*;

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
