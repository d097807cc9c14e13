//! memcached's binary protocol: the promises of any dialect, and that the connection stays in step for as long as lengths make sense.

use spydercache::communication::access::Access;
use spydercache::communication::binary;
use spydercache::communication::protocol::{Dialect, Parsed};

use super::dialogue;

/// Bytes of a header.
const HEADER: usize = 24;

/// Holds the parser to its promises.
pub fn run(data: &[u8]) {
    dialogue::check_sniffing(data);
    dialogue::check(data, || Dialect::Binary(binary::Parser::default()));
    check_step(data);
}

/// Whatever a request is, the next one begins where its header says that it ends.
fn check_step(data: &[u8]) {
    let limits = dialogue::narrow_limits();
    let mut parser = binary::Parser::default();
    let (mut at, mut ends) = (0, 0);
    loop {
        if at == ends && data.len() - at >= HEADER {
            let body = u32::from_be_bytes([data[at + 8], data[at + 9], data[at + 10], data[at + 11]]);
            ends = at + HEADER + body as usize;
        }
        at += match parser.next(&data[at..], &limits, Access::Granted) {
            Parsed::Incomplete { .. } | Parsed::Close { .. } => return,
            Parsed::Login { consumed, .. } => consumed,
            Parsed::Request { consumed, .. } | Parsed::Answer { consumed, .. } | Parsed::Skip { consumed } => consumed,
        };
        assert!(at <= ends, "it went on to {at}, and the request ends at {ends}");
    }
}
