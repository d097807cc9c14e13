//! Every request that this dialect refuses by itself, as one table: the status, and the one line that tells a person why.
//!
//! A refusal says nothing about the connection. Where the end of the request is known, the connection goes on; where it is not
//! (whatever is wrong with the head's framing), the parser closes it, because the next byte might be anybody's.

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status line behind the protocol's version.
    pub status: &'static str,
    /// The reason, for a person: one line.
    pub line: &'static str,
    /// The methods that would do, where it is the method that does not.
    pub allow: &'static str,
}

const fn refusal(status: &'static str, line: &'static str) -> Refusal {
    Refusal { status, line, allow: "" }
}

const fn bad(line: &'static str) -> Refusal {
    refusal("400 Bad Request", line)
}

const fn not_allowed(allow: &'static str) -> Refusal {
    Refusal { status: "405 Method Not Allowed", line: "this method does nothing here", allow }
}

/// What can be done with keys.
pub const METHODS: &str = "GET, HEAD, PUT, POST, DELETE, OPTIONS";
/// The answer says how to log in.
pub const UNAUTHENTICATED: Refusal = refusal("401 Unauthorized", "unauthenticated");

// Heads whose end, or whose body's end, cannot be trusted. The connection closes.
pub const BARE_LF: Refusal = bad("a line of the head ends without a carriage return");
pub const NO_REQUEST_LINE: Refusal = bad("the first line is not METHOD /KEY HTTP/1.1");
pub const MALFORMED_HEAD: Refusal = bad("malformed head");
pub const NO_HOST: Refusal = bad("HTTP/1.1 needs one Host header");
pub const BAD_HOST: Refusal = bad("Host is HOST or HOST:PORT, and nothing else");
pub const BAD_LENGTH: Refusal = bad("one Content-Length of digits alone, please");
pub const TWO_LENGTHS: Refusal = bad("Content-Length and Transfer-Encoding exclude each other");
pub const CODING_IN_1_0: Refusal = bad("HTTP/1.0 has no Transfer-Encoding");
pub const TWO_CODINGS: Refusal = bad("one Transfer-Encoding, please");
pub const UNKNOWN_CODING: Refusal = refusal("501 Not Implemented", "the only Transfer-Encoding known here is chunked");
pub const UNKNOWN_EXPECTATION: Refusal = refusal("417 Expectation Failed", "the only expectation known here is 100-continue");
pub const HEAD_TOO_LARGE: Refusal = refusal("431 Request Header Fields Too Large", "the head is larger than limits.max_line");
pub const TOO_MANY_HEADERS: Refusal = refusal("431 Request Header Fields Too Large", "too many headers");
pub const UNKNOWN_VERSION: Refusal = refusal("505 HTTP Version Not Supported", "HTTP/1.1 and HTTP/1.0 are spoken here");
pub const BAD_TAG: Refusal = bad("a condition is * or a list of tags, as ETag says them");

// Bodies. The connection closes.
pub const BODY_TOO_LARGE: Refusal = refusal("413 Content Too Large", "the body is larger than limits.max_value");
pub const BAD_CHUNK: Refusal = bad("malformed chunk");
pub const TOO_MUCH_FRAMING: Refusal = bad("the chunks hold more framing than data");
pub const TRAILERS_TOO_LARGE: Refusal = refusal("431 Request Header Fields Too Large", "the trailers are too large");

// What is asked makes no sense, but where it ends is known. The connection goes on.
pub const UNKNOWN_HOST: Refusal = refusal("403 Forbidden", "this node is not known by that Host: see security.hosts");
pub const NOBODYS_HOST: Refusal = refusal("403 Forbidden", "without a Host only this machine is heard");
pub const FOREIGN: Refusal = refusal("403 Forbidden", "a page of another origin changes nothing here");
pub const BAD_TARGET: Refusal = bad("the target must be a path");
pub const BAD_ESCAPE: Refusal = bad("a percent sign must be followed by two hexadecimal digits");
pub const BAD_ADDRESS: Refusal = bad("the address is not text");
pub const BAD_FLAGS: Refusal = bad("flags must be a number below 2^32");
pub const BAD_TTL: Refusal = bad("ttl must be a number of seconds below 2^32");
pub const TWO_CONDITIONS: Refusal = bad("If-Match and If-None-Match at once are one condition too many");
pub const MANY_TAGS: Refusal = bad("too many tags: If-Match names one for a write, and at most four for a read");
pub const NOT_A_STAR: Refusal = bad("If-None-Match of a write must be *");
pub const CONDITION_FAILED: Refusal = refusal("412 Precondition Failed", "the condition does not hold");
pub const EMPTY_KEY: Refusal = bad("the key is empty");
pub const NO_VALUE: Refusal = bad("no value: send it as the body, or write PUT /KEY/VALUE");
pub const NO_LENGTH: Refusal = refusal("411 Length Required", "no value: send it as a body with its length, or write PUT /KEY/VALUE");
pub const KEY_TOO_LONG: Refusal = refusal("414 URI Too Long", "the key is longer than limits.max_key");
pub const VALUE_TOO_LARGE: Refusal = refusal("413 Content Too Large", "the value is larger than limits.max_value");
pub const NOTHING_HERE: Refusal = refusal("404 Not Found", "nothing here; names under /-/ are reserved");
pub const UNKNOWN_METHOD: Refusal = refusal("501 Not Implemented", "unknown method");
pub const READ_ONLY: Refusal = not_allowed("GET, HEAD, OPTIONS");
pub const NOT_FOR_KEYS: Refusal = not_allowed(METHODS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_plain_line() {
        for refusal in [BARE_LF, NO_VALUE, HEAD_TOO_LARGE, NOTHING_HERE, READ_ONLY] {
            assert!(refusal.line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", refusal.line);
            assert!(refusal.status.as_bytes()[..3].iter().all(u8::is_ascii_digit), "{}", refusal.status);
        }
    }
}
