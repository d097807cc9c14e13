//! What clients ask and what becomes of it, as fields of a peer's message.

use std::borrow::Cow;

use crate::caching::Version;
use crate::msgpack::{Malformed, Parse, Reader, Writer};
use crate::node::command::{
    Action, Claim, Count, Delta, Expiry, Guard, Number, Removal, Renewal, Scan, ScanFor, Store, StoreMode, Terms, Trace, When,
};
use crate::node::message::Outcome;
use crate::node::reply::{Failure, Page};

impl Writer<'_> {
    pub(super) fn action(&mut self, action: &Action<'_>) -> &mut Self {
        match action {
            Action::Get => self.array(1).number(0),
            Action::Look => self.array(1).number(9),
            Action::GetAndTouch(expiry) => self.array(3).number(1).expiry(*expiry),
            Action::Store(store) => {
                let (mode, version) = match store.mode {
                    StoreMode::Set => (0, 0),
                    StoreMode::Add => (1, 0),
                    StoreMode::Replace => (2, 0),
                    StoreMode::Append => (3, 0),
                    StoreMode::Prepend => (4, 0),
                    StoreMode::Cas(version) => (5, version.0),
                };
                self.array(9).number(2).number(mode).number(version).bytes(&store.value).number(store.flags.into());
                self.expiry(store.expiry).number(store.want_old.into()).terms(store.terms.as_deref())
            }
            Action::Delete(removal) => self.array(3).number(3).number(removal.want_old.into()).terms(removal.terms.as_deref()),
            Action::Count(count) => self.array(4).number(4).delta(count.by).terms(count.terms.as_deref()),
            Action::Touch(renewal) => {
                self.array(5).number(6).expiry(renewal.expiry).number(renewal.when as u64).terms(renewal.terms.as_deref())
            }
            Action::Claim(claim) => {
                self.array(6).number(7).optional_expiry(claim.create).optional_number(claim.renew_below_ms);
                self.optional_expiry(claim.touch).optional_number(claim.seen_version.map(|version| version.0)).number(claim.trace as u64)
            }
            Action::Scan(scan) => {
                self.array(6).number(8).number(scan.from.into()).number(scan.most.into()).bytes(&scan.prefix).bytes(&scan.pattern);
                self.number(scan.what as u64)
            }
        }
    }

    fn terms(&mut self, terms: Option<&Terms<'_>>) -> &mut Self {
        let Some(terms) = terms else { return self.nil() };
        let Terms { only, seen_version, stale, empties, create, first, expiry, pieced, media } = terms;
        self.array(7).guard(only.as_ref()).optional_number(seen_version.map(|version| version.0));
        self.number(u64::from(*stale) | u64::from(*empties) << 1 | u64::from(*pieced) << 2);
        self.optional_expiry(*create).written_number(*first).optional_expiry(*expiry).bytes(media)
    }

    fn guard(&mut self, guard: Option<&Guard<'_>>) -> &mut Self {
        match guard {
            None => self.nil(),
            Some(Guard::Version(version)) => self.array(2).number(0).number(version.0),
            Some(Guard::Value(value)) => self.array(2).number(1).bytes(value),
        }
    }

    fn delta(&mut self, delta: Delta) -> &mut Self {
        match delta {
            Delta::Up(by) => self.number(0).number(by),
            Delta::Down(by) => self.number(1).number(by),
            Delta::Signed(by) => self.number(2).number(by.cast_unsigned()),
            Delta::Float(by) => self.number(3).number(by.to_bits()),
        }
    }

    fn written_number(&mut self, number: Number) -> &mut Self {
        match number {
            Number::Natural(number) => self.array(2).number(0).number(number),
            Number::Signed(number) => self.array(2).number(1).number(number.cast_unsigned()),
            Number::Float(number) => self.array(2).number(2).number(number.to_bits()),
        }
    }

    fn optional_expiry(&mut self, expiry: Option<Expiry>) -> &mut Self {
        match expiry {
            None => self.nil(),
            Some(expiry) => self.array(2).expiry(expiry),
        }
    }

    fn page(&mut self, page: &Page) -> &mut Self {
        self.number(page.count).optional_number(page.next.map(u64::from)).array(page.keys.len());
        page.keys.iter().fold(self, |writer, key| writer.bytes(key))
    }

    fn expiry(&mut self, expiry: Expiry) -> &mut Self {
        match expiry {
            Expiry::Never => self.number(0).number(0),
            Expiry::InMs(ms) => self.number(1).number(ms),
            Expiry::AtWallMs(ms) => self.number(2).number(ms),
            Expiry::Keep => self.number(3).number(0),
            Expiry::Longer(ms) => self.number(4).number(ms),
        }
    }

    pub(super) fn outcome(&mut self, outcome: &Outcome<'_>) -> &mut Self {
        match outcome {
            Outcome::Value { bytes, flags, version, ttl_ms, media, marks, left_out } => {
                self.array(8).number(0).bytes(bytes).number((*flags).into()).number(version.0).optional_number(*ttl_ms);
                self.bytes(media).number(*marks).number(*left_out as u64)
            }
            Outcome::Miss => self.array(1).number(1),
            Outcome::Stored { version, old } => self.array(3).number(2).number(version.0).optional_bytes(old.as_deref()),
            Outcome::NotStored => self.array(1).number(3),
            Outcome::Exists => self.array(1).number(4),
            Outcome::Deleted { old } => self.array(2).number(5).optional_bytes(old.as_deref()),
            Outcome::Number { number, version, ttl_ms } => {
                self.array(4).number(6).written_number(*number).number(version.0).optional_number(*ttl_ms)
            }
            Outcome::Touched => self.array(1).number(7),
            Outcome::Done => self.array(1).number(8),
            Outcome::Failed(failure) => self.array(3).number(9).failure(failure),
            Outcome::Page(page) => self.array(4).number(10).page(page),
        }
    }

    fn failure(&mut self, failure: &Failure) -> &mut Self {
        let (code, why) = match failure {
            Failure::NotANumber => (0, ""),
            Failure::TooLarge => (1, ""),
            Failure::OutOfMemory => (2, ""),
            Failure::Unreachable => (3, ""),
            Failure::OutcomeUnknown => (4, ""),
            Failure::Overloaded => (5, ""),
            Failure::Refused(why) => (6, why.as_str()),
            Failure::Elsewhere => (7, ""),
            Failure::Overflow => (8, ""),
            Failure::Undecided => (9, ""),
            // Who may ask is decided where the client is: these are never said between nodes.
            Failure::Unauthenticated | Failure::WrongPassword | Failure::NoPassword | Failure::Forbidden => (6, failure.text()),
        };
        self.number(code).text(why)
    }
}

impl<'a> Reader<'a> {
    pub(super) fn action(&mut self) -> Parse<Action<'a>> {
        let fields = self.array()?;
        Ok(match (self.number()?, fields) {
            (0, 1) => Action::Get,
            (9, 1) => Action::Look,
            (1, 3) => Action::GetAndTouch(self.expiry()?),
            (2, 9) => Action::Store(self.store()?),
            (3, 3) => Action::Delete(Removal { want_old: self.flag()?, terms: self.terms()? }),
            (4, 4) => Action::Count(Count { by: self.delta()?, terms: self.terms()? }),
            (6, 5) => Action::Touch(Renewal { expiry: self.expiry()?, when: self.when()?, terms: self.terms()? }),
            (7, 6) => Action::Claim(self.claim()?),
            (8, 6) => {
                let (from, most) = (self.number_u32()?, self.number_u32()?);
                let (prefix, pattern) = (Cow::Borrowed(self.bytes()?), Cow::Borrowed(self.bytes()?));
                Action::Scan(Scan { from, most, prefix, pattern, what: self.scan_for()? })
            }
            _ => return Err(Malformed),
        })
    }

    fn store(&mut self) -> Parse<Store<'a>> {
        let (mode, version) = (self.number()?, Version(self.number()?));
        let mode = match mode {
            0 => StoreMode::Set,
            1 => StoreMode::Add,
            2 => StoreMode::Replace,
            3 => StoreMode::Append,
            4 => StoreMode::Prepend,
            5 => StoreMode::Cas(version),
            _ => return Err(Malformed),
        };
        let value = Cow::Borrowed(self.bytes()?);
        let (flags, expiry) = (self.number_u32()?, self.expiry()?);
        Ok(Store { mode, value, flags, expiry, want_old: self.flag()?, terms: self.terms()? })
    }

    fn claim(&mut self) -> Parse<Claim> {
        let (create, renew_below_ms) = (self.optional_expiry()?, self.optional_number()?);
        Ok(Claim { create, renew_below_ms, touch: self.optional_expiry()?, seen_version: self.optional_version()?, trace: self.trace()? })
    }

    fn trace(&mut self) -> Parse<Trace> {
        Ok(match self.number()? {
            0 => Trace::Use,
            1 => Trace::Claim,
            2 => Trace::None,
            _ => return Err(Malformed),
        })
    }

    fn terms(&mut self) -> Parse<Option<Box<Terms<'a>>>> {
        if self.skip_nil() {
            return Ok(None);
        }
        self.array_of(7)?;
        let (only, seen_version, marks) = (self.guard()?, self.optional_version()?, self.number()?);
        let (create, first, expiry) = (self.optional_expiry()?, self.written_number()?, self.optional_expiry()?);
        let (stale, empties, pieced) = (marks & 1 != 0, marks & 2 != 0, marks & 4 != 0);
        let media = Cow::Borrowed(self.bytes()?);
        Ok(Some(Box::new(Terms { only, seen_version, stale, empties, create, first, expiry, pieced, media })))
    }

    fn guard(&mut self) -> Parse<Option<Guard<'a>>> {
        if self.skip_nil() {
            return Ok(None);
        }
        self.array_of(2)?;
        Ok(Some(match self.number()? {
            0 => Guard::Version(Version(self.number()?)),
            1 => Guard::Value(Cow::Borrowed(self.bytes()?)),
            _ => return Err(Malformed),
        }))
    }

    fn delta(&mut self) -> Parse<Delta> {
        Ok(match (self.number()?, self.number()?) {
            (0, by) => Delta::Up(by),
            (1, by) => Delta::Down(by),
            (2, by) => Delta::Signed(by.cast_signed()),
            (3, by) => Delta::Float(f64::from_bits(by)),
            _ => return Err(Malformed),
        })
    }

    fn written_number(&mut self) -> Parse<Number> {
        self.array_of(2)?;
        Ok(match (self.number()?, self.number()?) {
            (0, number) => Number::Natural(number),
            (1, number) => Number::Signed(number.cast_signed()),
            (2, number) => Number::Float(f64::from_bits(number)),
            _ => return Err(Malformed),
        })
    }

    fn when(&mut self) -> Parse<When> {
        let all = [When::Always, When::HasNone, When::HasOne, When::Later, When::Sooner, When::SoonerIfOne];
        all.get(self.number()? as usize).copied().ok_or(Malformed)
    }

    fn scan_for(&mut self) -> Parse<ScanFor> {
        [ScanFor::Keys, ScanFor::Count, ScanFor::Removal].get(self.number()? as usize).copied().ok_or(Malformed)
    }

    fn optional_version(&mut self) -> Parse<Option<Version>> {
        Ok(self.optional_number()?.map(Version))
    }

    fn optional_expiry(&mut self) -> Parse<Option<Expiry>> {
        if self.skip_nil() {
            return Ok(None);
        }
        self.array_of(2)?;
        self.expiry().map(Some)
    }

    fn expiry(&mut self) -> Parse<Expiry> {
        Ok(match (self.number()?, self.number()?) {
            (0, _) => Expiry::Never,
            (1, ms) => Expiry::InMs(ms),
            (2, ms) => Expiry::AtWallMs(ms),
            (3, _) => Expiry::Keep,
            (4, ms) => Expiry::Longer(ms),
            _ => return Err(Malformed),
        })
    }

    pub(super) fn outcome(&mut self) -> Parse<Outcome<'a>> {
        let fields = self.array()?;
        Ok(match (self.number()?, fields) {
            (0, 8) => {
                let bytes = Cow::Borrowed(self.bytes()?);
                let (flags, version, ttl_ms) = (self.number_u32()?, Version(self.number()?), self.optional_number()?);
                let (media, marks, left_out) = (Cow::Borrowed(self.bytes()?), self.number()?, self.number_u32()? as usize);
                Outcome::Value { bytes, flags, version, ttl_ms, media, marks, left_out }
            }
            (1, 1) => Outcome::Miss,
            (2, 3) => Outcome::Stored { version: Version(self.number()?), old: self.optional_bytes()? },
            (3, 1) => Outcome::NotStored,
            (4, 1) => Outcome::Exists,
            (5, 2) => Outcome::Deleted { old: self.optional_bytes()? },
            (6, 4) => {
                let (number, version) = (self.written_number()?, Version(self.number()?));
                Outcome::Number { number, version, ttl_ms: self.optional_number()? }
            }
            (7, 1) => Outcome::Touched,
            (8, 1) => Outcome::Done,
            (9, 3) => Outcome::Failed(self.failure()?),
            (10, 4) => Outcome::Page(self.page()?),
            _ => return Err(Malformed),
        })
    }

    fn page(&mut self) -> Parse<Page> {
        let (count, next) = (self.number()?, self.optional_number()?);
        let next = next.map(u32::try_from).transpose().map_err(|_| Malformed)?;
        let keys = (0..self.array()?).map(|_| Ok(self.bytes()?.to_vec())).collect::<Parse<_>>()?;
        Ok(Page { keys, count, next })
    }

    fn failure(&mut self) -> Parse<Failure> {
        Ok(match (self.number()?, self.text()?) {
            (0, _) => Failure::NotANumber,
            (1, _) => Failure::TooLarge,
            (2, _) => Failure::OutOfMemory,
            (3, _) => Failure::Unreachable,
            (4, _) => Failure::OutcomeUnknown,
            (5, _) => Failure::Overloaded,
            (6, why) => Failure::Refused(why.to_string()),
            (7, _) => Failure::Elsewhere,
            (8, _) => Failure::Overflow,
            (9, _) => Failure::Undecided,
            _ => return Err(Malformed),
        })
    }
}
