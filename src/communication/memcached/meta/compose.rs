//! How the replies to meta commands are written: two letters for what came of it, then what was asked to be told, in the order asked.
//!
//! Of a `mg`, three more letters may follow by themselves: `Z` says that another client makes the value anew, `X` that it is stale, `W`
//! that the client who reads this has won. A quiet command keeps silent about what is as usual, never about an error.

use super::flags::{Flags, MAX_OPAQUE, MAX_SHOWN};
use crate::caching::Version;
use crate::communication::base64;
use crate::communication::memcached::compose::{UNFITTING, push_failure, push_number};
use crate::communication::protocol::Composed;
use crate::node::command::Number;
use crate::node::reply::{Claimed, Reply, Value};

/// Room for a line's letters, numbers and blanks, but for a value, a key and an opaque.
const LINE: usize = 128;

const HIT: &[u8] = b"HD";
const VALUE: &[u8] = b"VA ";
const NOT_STORED: &[u8] = b"NS";
const EXISTS: &[u8] = b"EX";
const MISS: &[u8] = b"EN";
const NOT_FOUND: &[u8] = b"NF";

/// How the reply to a meta command is to be written. It is copied with every request, and so it is small and holds no pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::communication::memcached) struct MetaForm {
    verb: Verb,
    is_quiet: bool,
    wants_value: bool,
    is_base64: bool,
    opaque_len: u8,
    opaque: [u8; MAX_OPAQUE],
    shown: [u8; MAX_SHOWN],
    /// Of a `mg`, the version whose value the client has; of a `ms`, the length of the value that it sent.
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Set,
    Delete,
    Count,
    Debug,
}

/// What can be told of a value.
#[derive(Default)]
struct Facts {
    version: Version,
    size: u64,
    ttl_ms: Option<u64>,
    flags: u32,
    was_read: bool,
    idle_ms: u64,
}

impl MetaForm {
    pub(super) fn of(verb: Verb, flags: &Flags<'_>, number: u64) -> MetaForm {
        let mut opaque = [0; MAX_OPAQUE];
        opaque[..flags.opaque.len()].copy_from_slice(flags.opaque);
        MetaForm {
            verb,
            is_quiet: flags.is_quiet,
            wants_value: flags.wants_value,
            is_base64: flags.is_base64,
            opaque_len: flags.opaque.len() as u8,
            opaque,
            shown: flags.shown,
            number,
        }
    }

    /// Writes `reply`, about `key`, behind `output`.
    pub(in crate::communication::memcached) fn compose(&self, key: &[u8], reply: &Reply<'_>, output: &mut Vec<u8>) -> Composed {
        if !(self.is_quiet && self.is_as_usual(reply)) {
            self.push(key, reply, output);
        }
        Composed { failed: matches!(reply, Reply::Failed(_)), close: false }
    }

    fn is_as_usual(&self, reply: &Reply<'_>) -> bool {
        match self.verb {
            Verb::Get | Verb::Debug => matches!(reply, Reply::Miss),
            Verb::Set => matches!(reply, Reply::Stored { .. }),
            Verb::Delete => matches!(reply, Reply::Deleted { .. }),
            Verb::Count => matches!(reply, Reply::Number { .. }),
        }
    }

    fn push(&self, key: &[u8], reply: &Reply<'_>, output: &mut Vec<u8>) {
        match (self.verb, reply) {
            (_, Reply::Failed(failure)) => push_failure(failure, output),
            (Verb::Get, Reply::Value(value)) => self.push_hit(key, value, output),
            (Verb::Get | Verb::Debug, Reply::Miss) => self.push_line(MISS, key, None, output),
            (Verb::Debug, Reply::Value(value)) => self.push_debug(key, value, output),
            (Verb::Set, Reply::Stored { version, old }) => {
                let size = self.number + old.map_or(0, |old| old.len() as u64);
                self.push_line(HIT, key, Some(&Facts { version: *version, size, ..Facts::default() }), output);
            }
            (Verb::Delete, Reply::Deleted { .. }) => self.push_line(HIT, key, None, output),
            (Verb::Count, Reply::Number { number, version, ttl_ms }) => {
                self.push_count(key, *number, &Facts { version: *version, ttl_ms: *ttl_ms, ..Facts::default() }, output);
            }
            (_, Reply::NotStored) => self.push_refusal(NOT_STORED, key, output),
            (_, Reply::Exists) => self.push_refusal(EXISTS, key, output),
            (_, Reply::Miss) => self.push_refusal(NOT_FOUND, key, output),
            _ => output.extend_from_slice(UNFITTING),
        }
    }

    fn push_hit(&self, key: &[u8], value: &Value<'_>, output: &mut Vec<u8>) {
        let size = value.bytes.len() as u64;
        output.reserve(LINE + key.len() + value.bytes.len());
        let has_it = self.number == value.version.0 && self.number != 0;
        let bytes = Some(value.bytes).filter(|_| self.wants_value && !has_it);
        push_word(bytes, output);
        let (flags, details) = (value.flags, value.details);
        let (was_read, idle_ms) = (details.was_read, details.idle_ms);
        self.push_facts(key, Some(&Facts { version: value.version, size, ttl_ms: value.ttl_ms, flags, was_read, idle_ms }), output);
        for (is_so, letter) in
            [(details.claim == Claimed::ByAnother, b" Z"), (details.is_stale, b" X"), (details.claim == Claimed::ByYou, b" W")]
        {
            output.extend_from_slice(if is_so { letter } else { b"" });
        }
        push_end(bytes, output);
    }

    fn push_count(&self, key: &[u8], number: Number, facts: &Facts, output: &mut Vec<u8>) {
        let digits = number.digits();
        let bytes = Some(digits.as_bytes()).filter(|_| self.wants_value);
        push_word(bytes, output);
        self.push_facts(key, Some(facts), output);
        push_end(bytes, output);
    }

    /// Nothing is known of what is there, but for the size of what was sent.
    fn push_refusal(&self, word: &[u8], key: &[u8], output: &mut Vec<u8>) {
        let facts = Facts { size: self.number, ..Facts::default() };
        self.push_line(word, key, Some(&facts).filter(|_| self.verb == Verb::Set), output);
    }

    fn push_line(&self, word: &[u8], key: &[u8], facts: Option<&Facts>, output: &mut Vec<u8>) {
        output.extend_from_slice(word);
        self.push_facts(key, facts, output);
        output.extend_from_slice(b"\r\n");
    }

    fn push_facts(&self, key: &[u8], facts: Option<&Facts>, output: &mut Vec<u8>) {
        for letter in self.shown.iter().take_while(|letter| **letter != 0) {
            match (letter, facts) {
                (b'O', _) => {
                    output.push(b' ');
                    output.extend_from_slice(&self.opaque[..self.opaque_len.into()]);
                }
                (b'k', _) => {
                    output.extend_from_slice(b" k");
                    self.push_key(key, output);
                    output.extend_from_slice(if self.is_base64 { b" b" } else { b"" });
                }
                (letter, Some(facts)) => self.push_fact(*letter, facts, output),
                (_, None) => {}
            }
        }
    }

    /// A letter with what it asks for, if the verb can tell it.
    fn push_fact(&self, letter: u8, facts: &Facts, output: &mut Vec<u8>) {
        let number = match (self.verb, letter) {
            (_, b'c') => facts.version.0,
            (Verb::Get | Verb::Set, b's') => facts.size,
            (Verb::Get | Verb::Count, b't') => match facts.ttl_ms {
                Some(ms) => ms.div_ceil(1000),
                None => return output.extend_from_slice(b" t-1"),
            },
            (Verb::Get, b'f') => facts.flags.into(),
            (Verb::Get, b'h') => facts.was_read.into(),
            (Verb::Get, b'l') => facts.idle_ms / 1000,
            _ => return,
        };
        output.extend_from_slice(&[b' ', letter]);
        push_number(number, output);
    }

    fn push_key(&self, key: &[u8], output: &mut Vec<u8>) {
        if self.is_base64 { base64::encode(key, output) } else { output.extend_from_slice(key) }
    }

    /// There are no slab classes: memcached's first stands for all of them.
    fn push_debug(&self, key: &[u8], value: &Value<'_>, output: &mut Vec<u8>) {
        output.extend_from_slice(b"ME ");
        self.push_key(key, output);
        let ttl_s = value.ttl_ms.map_or_else(|| "-1".to_owned(), |ms| ms.div_ceil(1000).to_string());
        let (idle_s, version) = (value.details.idle_ms / 1000, value.version.0);
        let fetched = if value.details.was_read { "yes" } else { "no" };
        let size = key.len() + value.bytes.len();
        let line = format!(" exp={ttl_s} la={idle_s} cas={version} fetch={fetched} cls=1 size={size}\r\n");
        output.extend_from_slice(line.as_bytes());
    }
}

/// The word before a hit's facts: with a value's size, or without a value.
fn push_word(bytes: Option<&[u8]>, output: &mut Vec<u8>) {
    match bytes {
        None => output.extend_from_slice(HIT),
        Some(bytes) => {
            output.extend_from_slice(VALUE);
            push_number(bytes.len() as u64, output);
        }
    }
}

/// The end of a hit's line, and the value behind it.
fn push_end(bytes: Option<&[u8]>, output: &mut Vec<u8>) {
    output.extend_from_slice(b"\r\n");
    if let Some(bytes) = bytes {
        output.extend_from_slice(bytes);
        output.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::communication::memcached::line::Words;
    use crate::communication::protocol;
    use crate::node::reply::{Details, Failure};

    fn form(verb: Verb, words: &str, number: u64) -> MetaForm {
        MetaForm::of(verb, &Flags::of(Words::of(words.as_bytes()), 2).unwrap(), number)
    }

    fn written(form: MetaForm, key: &[u8], reply: &Reply<'_>) -> String {
        let mut output = b"|".to_vec();
        form.compose(key, reply, &mut output);
        String::from_utf8(output).unwrap()
    }

    fn value(details: Details<'static>) -> Reply<'static> {
        Reply::Value(Value { bytes: b"value", flags: 7, version: Version(77), ttl_ms: Some(29_001), details })
    }

    #[test]
    fn a_form_is_small_enough_to_be_copied_with_every_request() {
        assert!(size_of::<protocol::Form>() <= 64, "{}", size_of::<protocol::Form>());
    }

    #[test]
    fn a_hit_tells_what_was_asked_in_its_order_and_then_who_makes_it_anew() {
        let details = Details { is_stale: true, claim: Claimed::ByYou, was_read: true, idle_ms: 5_999, ..Details::default() };
        let all = form(Verb::Get, "s t c f l h Oo k v", 0);
        assert_eq!(written(all, b"k", &value(details)), "|VA 5 s5 t30 c77 f7 l5 h1 Oo kk X W\r\nvalue\r\n");
        let details = Details { claim: Claimed::ByAnother, ..details };
        assert_eq!(written(form(Verb::Get, "k b", 0), b"a b", &value(details)), "|HD kYSBi b Z X\r\n");
        assert_eq!(written(form(Verb::Get, "v c", 77), b"k", &value(Details::default())), "|HD c77\r\n");
        assert_eq!(written(form(Verb::Get, "v", 76), b"k", &value(Details::default())), "|VA 5\r\nvalue\r\n");
    }

    #[test]
    fn each_verb_has_its_words() {
        let stored = Reply::Stored { version: Version(5), old: None };
        let joined = Reply::Stored { version: Version(5), old: Some(b"old") };
        let number = Reply::Number { number: Number::Natural(42), version: Version(6), ttl_ms: None };
        for (verb, reply, text) in [
            (Verb::Get, Reply::Miss, "|EN Oo kk\r\n"),
            (Verb::Set, stored, "|HD Oo kk c5 s2\r\n"),
            (Verb::Set, joined, "|HD Oo kk c5 s5\r\n"),
            (Verb::Set, Reply::NotStored, "|NS Oo kk c0 s2\r\n"),
            (Verb::Set, Reply::Exists, "|EX Oo kk c0 s2\r\n"),
            (Verb::Set, Reply::Miss, "|NF Oo kk c0 s2\r\n"),
            (Verb::Delete, Reply::Deleted { old: None }, "|HD Oo kk\r\n"),
            (Verb::Delete, Reply::Exists, "|EX Oo kk\r\n"),
            (Verb::Delete, Reply::Miss, "|NF Oo kk\r\n"),
            (Verb::Count, number, "|HD Oo kk c6 t-1\r\n"),
            (Verb::Count, Reply::Miss, "|NF Oo kk\r\n"),
        ] {
            assert_eq!(written(form(verb, "Oo k c s t", 2), b"k", &reply), text, "{verb:?}");
        }
    }

    #[test]
    fn a_quiet_command_is_silent_about_what_is_as_usual_and_about_nothing_else() {
        let failed = Reply::Failed(&Failure::TooLarge);
        for (verb, reply, is_silent) in [
            (Verb::Get, Reply::Miss, true),
            (Verb::Get, value(Details::default()), false),
            (Verb::Set, Reply::Stored { version: Version(5), old: None }, true),
            (Verb::Set, Reply::NotStored, false),
            (Verb::Delete, Reply::Deleted { old: None }, true),
            (Verb::Delete, Reply::Miss, false),
            (Verb::Count, Reply::Number { number: Number::Natural(1), version: Version(6), ttl_ms: None }, true),
            (Verb::Count, Reply::Exists, false),
            (Verb::Set, failed, false),
        ] {
            assert_eq!(written(form(verb, "q v", 0), b"k", &reply) == "|", is_silent, "{verb:?}");
        }
    }
}
