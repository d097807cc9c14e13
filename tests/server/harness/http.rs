//! An HTTP client by hand: one request, one response, on a connection that stays.

use super::client::Client;
use super::node::Node;

/// A response.
#[derive(Debug, PartialEq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The head's lines behind the first.
    pub headers: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// A connection that speaks HTTP.
pub struct Http(Client);

impl Http {
    /// Connects.
    pub fn connect(node: &Node) -> Http {
        Http(node.client())
    }

    /// Asks without a body.
    pub fn ask(&mut self, method: &str, path: &str) -> Response {
        self.0.send(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        self.response(method)
    }

    /// Asks with a body.
    pub fn ask_with(&mut self, method: &str, path: &str, body: &[u8]) -> Response {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        self.0.send([head.as_bytes(), body].concat());
        self.response(method)
    }

    fn response(&mut self, method: &str) -> Response {
        let first = self.0.line();
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no status line: {first}"));
        let headers: Vec<String> = std::iter::from_fn(|| Some(self.0.line()).filter(|line| !line.is_empty())).collect();
        let length = headers.iter().find_map(|line| line.strip_prefix("Content-Length: ")).and_then(|word| word.parse().ok());
        let has_body = method != "HEAD" && !matches!(status, 204 | 304);
        let body = if has_body { self.0.bytes(length.expect("a length")) } else { Vec::new() };
        Response { status, headers, body }
    }
}

impl Response {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Status and body, for a glance.
    pub fn brief(&self) -> (u16, String) {
        (self.status, String::from_utf8_lossy(&self.body).into_owned())
    }
}
