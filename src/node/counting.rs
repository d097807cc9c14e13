//! Numbers that are values: what counts are allowed to make of them.
//!
//! memcached's clients count in natural numbers below 2^64, Redis's in whole numbers from -2^63 on, or in floating point; a value is what
//! its digits say, whoever wrote them.

use super::Node;
use super::Outputs;
use super::command::{Count, Delta, Number, Terms};
use super::extras::Extras;
use super::local::{Task, conclude, guarded, moment_of, ttl_of};
use super::message::Outcome;
use super::reply::{Failure, Reply};
use crate::caching::entry::{Entry, Parts};

/// The most digits of a decimal number below 2^64.
const MAX_DIGITS: usize = 20;
/// The longest floating-point number that is read: the smallest of all is written with 326 characters.
const MAX_FLOAT: usize = 400;

impl Node {
    pub(super) fn count(&mut self, task: &Task<'_>, count: &Count<'_>, out: &mut dyn Outputs) {
        let terms = count.terms.as_deref();
        let present = self.cache.peek(task.key(), task.hash, task.now.mono);
        let sum = match present {
            None => match terms.and_then(|terms| terms.create.map(|_| terms.first)) {
                None => return self.answer(task, &Reply::Miss, out),
                Some(first) => Ok(first),
            },
            Some(entry) => match guarded(terms.and_then(|terms| terms.only.as_ref()), entry) {
                Some(refusal) => return self.answer(task, &refusal, out),
                None => count.by.added_to(entry.value()),
            },
        };
        match sum {
            Ok(number) => self.write_number(task, number, terms, out),
            Err(failure) => self.answer(task, &Reply::Failed(&failure), out),
        }
    }

    fn write_number(&mut self, task: &Task<'_>, number: Number, terms: Option<&Terms<'_>>, out: &mut dyn Outputs) {
        let version = self.next_version();
        let present = self.cache.peek(task.key(), task.hash, task.now.mono);
        let expiry = terms.and_then(|terms| if present.is_some() { terms.expiry } else { terms.create });
        let kept = present.map(Entry::expires);
        let expires = expiry.map_or(kept, |expiry| moment_of(expiry, task.now, kept)).unwrap_or(task.now.mono);
        let seen_version = terms.and_then(|terms| terms.seen_version);
        let media = present.map_or(&b""[..], |entry| Extras::of(entry.extra()).media);
        let extra = Extras { seen_version, media, ..Extras::default() }.bytes();
        let flags = present.map_or(0, Entry::flags);
        let entry = Entry::joined(Parts {
            key: task.key(),
            first: number.digits().as_bytes(),
            second: b"",
            flags,
            extra: &extra,
            expires,
            version,
        });
        let (version, ttl_ms) = (seen_version.unwrap_or(version), ttl_of(expires, task.now.mono));
        self.write(task, entry, Outcome::Number { number, version, ttl_ms }, out);
        self.answer(task, &Reply::Number { number, version, ttl_ms }, out);
    }

    /// Answers with something that lies not in the cache.
    pub(super) fn answer(&mut self, task: &Task<'_>, reply: &Reply<'_>, out: &mut dyn Outputs) {
        conclude(&mut self.stats, &mut self.mirroring, task, reply, out);
    }
}

impl Delta {
    /// Does it count down?
    #[must_use]
    pub fn is_down(self) -> bool {
        matches!(self, Delta::Down(_)) || matches!(self, Delta::Signed(by) if by < 0)
    }

    fn added_to(self, value: &[u8]) -> Result<Number, Failure> {
        match self {
            Delta::Up(by) => natural(value).map(|number| Number::Natural(number.wrapping_add(by))).ok_or(Failure::NotANumber),
            Delta::Down(by) => natural(value).map(|number| Number::Natural(number.saturating_sub(by))).ok_or(Failure::NotANumber),
            Delta::Signed(by) => signed(value).ok_or(Failure::NotANumber)?.checked_add(by).map(Number::Signed).ok_or(Failure::Overflow),
            Delta::Float(by) => {
                let sum = float(value).ok_or(Failure::NotANumber)? + by;
                if sum.is_finite() { Ok(Number::Float(sum)) } else { Err(Failure::Overflow) }
            }
        }
    }
}

impl Number {
    /// The number as it stands in a value.
    #[must_use]
    pub fn digits(self) -> String {
        match self {
            Number::Natural(number) => itoa::Buffer::new().format(number).to_owned(),
            Number::Signed(number) => itoa::Buffer::new().format(number).to_owned(),
            Number::Float(number) => number.to_string(),
        }
    }
}

/// The decimal number that a value holds; blanks behind it are no part of it.
fn natural(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii_end();
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The whole number that a value is, digit for digit: no blanks, no plus, no leading zeros.
fn signed(value: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (itoa::Buffer::new().format(number).as_bytes() == value).then_some(number)
}

/// The finite number that a value is.
fn float(value: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_FLOAT)?;
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_and_below_two_to_the_sixty_four() {
        assert_eq!(natural(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(natural(b"18446744073709551616"), None);
        assert_eq!(natural(b"0012 "), Some(12));
        for bad in [&b""[..], b" ", b"-1", b"1.0", b"1a", b"hi", b" 1", b"000000000000000000001"] {
            assert_eq!(natural(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn whole_numbers_are_as_redis_writes_them() {
        assert_eq!(signed(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(signed(b"0"), Some(0));
        for bad in [&b""[..], b"-0", b"+1", b"01", b" 1", b"1 ", b"1.0", b"9223372036854775808"] {
            assert_eq!(signed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn each_way_of_counting_has_its_own_end() {
        assert_eq!(Delta::Up(2).added_to(b"18446744073709551615"), Ok(Number::Natural(1)));
        assert_eq!(Delta::Down(2).added_to(b"1"), Ok(Number::Natural(0)));
        assert_eq!(Delta::Signed(-2).added_to(b"1"), Ok(Number::Signed(-1)));
        assert_eq!(Delta::Signed(1).added_to(b"9223372036854775807"), Err(Failure::Overflow));
        assert_eq!(Delta::Float(f64::MAX).added_to(b"1.7e308"), Err(Failure::Overflow));
        assert_eq!(Delta::Float(0.1).added_to(b"ten"), Err(Failure::NotANumber));
    }

    #[test]
    fn floating_point_is_written_as_short_as_it_can_be_read_again() {
        let sum = |value: &[u8], by| Delta::Float(by).added_to(value).map(Number::digits);
        assert_eq!(sum(b"10.50", 0.1), Ok("10.6".into()));
        assert_eq!(sum(b"5.0e3", 200.0), Ok("5200".into()));
        assert_eq!(sum(b"3", -5.0), Ok("-2".into()));
        for number in [f64::MAX, f64::MIN, f64::from_bits(1), -f64::from_bits(1)] {
            let written = sum(b"0", number).expect("a finite number");
            assert_eq!(sum(written.as_bytes(), -number), Ok("0".into()), "{number:e}");
        }
    }
}
