//! HTTP/1.x: the promises of any dialect. That what could be read in two ways is refused is the transcripts' part.

use spydercache::communication::http;
use spydercache::communication::protocol::Dialect;

use super::dialogue;

/// Holds the parser to its promises.
pub fn run(data: &[u8]) {
    dialogue::check_sniffing(data);
    dialogue::check(data, || Dialect::Http(http::Parser::default()));
}
