//! memcached's text protocol and the verbs for people: the promises of any dialect, and that no key holds a blank or a control byte, unless
//! a meta command wrote it in base64. To a stranger nothing is answered but refusals.

use spydercache::communication::memcached;
use spydercache::communication::protocol::{Dialect, Parsed};
use spydercache::node::command::Request;

use super::dialogue;

/// Holds the parser to its promises.
pub fn run(data: &[u8]) {
    dialogue::check_sniffing(data);
    dialogue::check(data, || Dialect::Memcached(memcached::Parser::default()));
    check_keys(data);
    check_stranger(data);
}

fn check_stranger(data: &[u8]) {
    let mut input = data;
    loop {
        let consumed = match memcached::next_of_stranger(input) {
            Parsed::Incomplete { .. } => return assert!(input.len() < 4_096, "{} bytes are kept for a stranger", input.len()),
            Parsed::Close { .. } => return,
            Parsed::Answer { consumed, bytes, .. } => {
                assert!(bytes.starts_with(b"CLIENT_ERROR "), "a stranger is told {}", bytes.escape_ascii());
                consumed
            }
            Parsed::Login { consumed, .. } => consumed,
            other => panic!("a stranger gets through to {other:?}"),
        };
        input = &input[consumed..];
    }
}

fn check_keys(data: &[u8]) {
    let limits = dialogue::narrow_limits();
    let mut parser = memcached::Parser::default();
    let mut input = data;
    loop {
        let consumed = match parser.next(input, &limits) {
            Parsed::Incomplete { .. } | Parsed::Close { .. } => return,
            Parsed::Answer { consumed, .. } | Parsed::Skip { consumed } => consumed,
            Parsed::Login { .. } => panic!("a login of who needs none"),
            Parsed::Request { consumed, request, .. } => {
                if let Request::Key(command) = request {
                    let key = &command.key;
                    let is_meta = input.trim_ascii_start().starts_with(b"m");
                    let is_text = !key.iter().any(|byte| *byte <= b' ' || *byte == 0x7f);
                    assert!(key.len() <= 250 && (is_text || is_meta), "{}", key.escape_ascii());
                }
                consumed
            }
        };
        input = &input[consumed..];
    }
}
