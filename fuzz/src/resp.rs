//! Redis's protocol: the promises of any dialect. That its answers are Redis's is the transcripts' part.

use spydercache::communication::protocol::Dialect;
use spydercache::communication::resp;

use super::dialogue;

/// Holds the parser to its promises.
pub fn run(data: &[u8]) {
    dialogue::check_sniffing(data);
    dialogue::check(data, || Dialect::Resp(Box::new(resp::Parser::new(1, None))));
}
