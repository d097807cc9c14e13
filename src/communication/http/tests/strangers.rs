//! What browsers and the pages in them may do: kinds of content, other hosts, other origins.

use super::*;

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
