//! Patterns of keys, as Redis has them: `*` is any bytes, `?` any byte, `[a-c]` and `[^a]` one of some, and a backslash takes a byte as it is.
//!
//! A star that has eaten too little is tried again with one byte more, and only the last one: an earlier star need not be, since the later
//! one can eat whatever it could. So a pattern costs at most its length times the key's, whoever wrote it.

/// Does the whole of `key` fit `pattern`?
#[must_use]
pub fn fits(pattern: &[u8], key: &[u8]) -> bool {
    let (mut pattern, mut key) = (pattern, key);
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', behind @ ..] = pattern {
            again = Some((behind, key));
            pattern = behind;
            continue;
        }
        let step = match key.split_first() {
            None => return pattern.is_empty(),
            Some((byte, rest)) => one(pattern, *byte).map(|behind| (behind, rest)),
        };
        (pattern, key) = match (step, again) {
            (Some(step), _) => step,
            (None, None) => return false,
            (None, Some((behind, from))) => {
                let from = &from[1..];
                again = Some((behind, from));
                (behind, from)
            }
        };
    }
}

/// The bytes that every key that fits `pattern` begins with.
#[must_use]
pub fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(pattern.len());
    &pattern[..end]
}

/// The pattern behind its first element, if that one fits `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', behind @ ..] => Some(behind),
        [b'[', set @ ..] => {
            let (found, behind) = in_set(set, byte);
            found.then_some(behind)
        }
        [b'\\', literal, behind @ ..] | [literal, behind @ ..] => (*literal == byte).then_some(behind),
    }
}

/// Is `byte` in the set that `set` begins with, and what is behind it? A set that does not end ends with the pattern.
fn in_set(set: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut rest) = match set {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    loop {
        match rest {
            [] => return (found != negated, rest),
            [b']', behind @ ..] => return (found != negated, behind),
            [b'\\', literal, behind @ ..] => {
                found |= *literal == byte;
                rest = behind;
            }
            [low, b'-', high, behind @ ..] => {
                found |= (*low.min(high)..=*low.max(high)).contains(&byte);
                rest = behind;
            }
            [literal, behind @ ..] => {
                found |= *literal == byte;
                rest = behind;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_what_redis_says_it_fits() {
        for (pattern, key, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXcYb", false),
            ("?", "", false),
            ("h?llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            (r"[\]]", "]", true),
            ("[a", "a", true),
            ("[^\0]*", "\0x", false),
            ("[^\0]*", "x", true),
            ("[^\0]*", "", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), key.as_bytes()), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let (pattern, key) = ("a*".repeat(200), "a".repeat(5_000));
        assert!(!fits((pattern + "b").as_bytes(), key.as_bytes()));
    }

    #[test]
    fn what_stands_before_the_first_special_byte_is_common_to_all() {
        assert_eq!(literal_prefix(b"user:*"), b"user:");
        assert_eq!(literal_prefix(b"plain"), b"plain");
        assert_eq!(literal_prefix(b"*"), b"");
    }
}
