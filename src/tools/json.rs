//! JSON, as far as the tools write it: quoted text, and bytes that may not be text.
//!
//! There is no reader here, and no tree: each tool writes its few fields in order.

use std::fmt::Write;

/// `text` in quotes, with what must not stand in them escaped.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                // Control characters all lie below 2^16: one \u is enough.
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A field for bytes: `"name":"text"`, or `"name_hex":"00ff"` if they are not UTF-8.
#[must_use]
pub fn bytes_field(name: &str, bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("\"{name}\":{}", quoted(text)),
        Err(_) => {
            let mut field = format!("\"{name}_hex\":\"");
            for byte in bytes {
                let _ = write!(field, "{byte:02x}");
            }
            field + "\""
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_ends_or_breaks_a_string_stays_unescaped() {
        assert_eq!(quoted("a\"b\\c\n\r\t\0\u{7f}é"), "\"a\\\"b\\\\c\\n\\r\\t\\u0000\\u007fé\"");
    }

    #[test]
    fn bytes_that_are_no_text_become_hex_under_another_name() {
        assert_eq!(bytes_field("key", b"k"), "\"key\":\"k\"");
        assert_eq!(bytes_field("key", b"\xff\x00"), "\"key_hex\":\"ff00\"");
    }
}
