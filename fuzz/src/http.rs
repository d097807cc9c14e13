//! HTTP/1.x: the promises of any dialect. That what could be read in two ways is refused is the transcripts' part.

use std::sync::Arc;

use spydercache::communication::http::{self, Hosts, Visitor};
use spydercache::communication::protocol::Dialect;

use super::dialogue;

/// A connection from this machine to a node that is known as `h`.
fn visitor() -> Visitor {
    let loopback = "127.0.0.1".parse().ok();
    Visitor::new(Arc::new(Hosts::new(["h"])), loopback, loopback)
}

/// Holds the parser to its promises.
pub fn run(data: &[u8]) {
    dialogue::check_sniffing(data);
    dialogue::check(data, || Dialect::Http(http::Parser::new(visitor())));
}
