//! memcached's meta commands: `mg`, `ms`, `md`, `ma`, `me` and `mn`, whose flags say what is wanted, and what of it is to be answered.
//!
//! ```text
//!   mg k v t s        the value, its seconds left and its size, in this order        VA 5 t30 s5 ⏎ value, or EN
//!   mg k v N30 R10    the same; missing, or with less than 10 seconds left, one client wins: W, the others see Z
//!   ms k 5 T30 c ⏎ …  write a value                                                  HD c77, NS, EX or NF
//!   md k I            remove a key, or mark its value as stale: X                    HD, EX or NF
//!   ma k N0 J5 D2     count                                                          HD, VA 1 ⏎ 7, EX or NF
//! ```
//!
//! [`flags`] reads the words behind a key; here it is said what they mean to each verb; [`compose`] writes the replies. What differs from
//! memcached 1.6.45:
//!
//! - A key is echoed as its request wrote it, in base64 or not; memcached echoes it as it was first written.
//! - `t` tells the time left after a `T`, wherever it stands.
//! - `R` always counts from now, and takes no date.
//! - `md` with `x` gives the key a new version, since it gives it another value.
//! - A value that is too large takes the old one with it only if it was to be set without a condition.

mod compose;
mod flags;

use std::borrow::Cow;

use self::flags::Flags;
use super::answer;
use super::compose::{BAD_FORMAT, Form};
use super::line::{MAX_KEY, Words, is_key, length};
use super::storage::{Header, Storage};
use crate::caching::Version;
use crate::communication::base64;
use crate::communication::protocol::Parsed;
use crate::node::command::{Action, Claim, Command, Count, Delta, Expiry, Guard, Number, Removal, Request, StoreMode, Terms, Trace};

pub(super) use self::compose::MetaForm;
use self::compose::Verb;

const NO_OPERATION: &[u8] = b"MN\r\n";
const BAD_KEY: &[u8] = b"CLIENT_ERROR error decoding key\r\n";
const BAD_FLAG: &[u8] = b"CLIENT_ERROR invalid or duplicate flag\r\n";
const BAD_SET_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ms M token\r\n";
const BAD_COUNT_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ma M token\r\n";

/// What a line cannot be used for, in memcached's words.
type Mistake = &'static [u8];

/// Is this one of the verbs? For the limit on their lines.
pub(super) fn is_verb(word: &[u8]) -> bool {
    matches!(word, b"mg" | b"ms" | b"md" | b"ma" | b"me" | b"mn")
}

/// Reads a command that is one line, which takes `consumed` bytes; `None` if its verb is not one of these.
pub(super) fn parse<'a>(verb: &[u8], words: Words<'a>, consumed: usize) -> Option<Parsed<'a>> {
    let read = match verb {
        b"mg" => get(words),
        b"md" => delete(words),
        b"ma" => count(words),
        b"me" => debug(words),
        b"ms" => Err(BAD_FORMAT),
        b"mn" => return Some(answer(consumed, NO_OPERATION)),
        _ => return None,
    };
    Some(match read {
        Ok((command, form)) => Parsed::Request { consumed, request: Request::Key(command), form: Form::meta(form).into() },
        Err(mistake) => answer(consumed, mistake),
    })
}

/// Reads the words behind `ms`, which a value follows; not if there are too few of them to say how long it is.
pub(super) fn storage(mut words: Words<'_>) -> Option<Storage<'_>> {
    let (key, length_word) = (words.next()?, words.next()?);
    let Some(length) = length(length_word) else { return Some(Storage::Endless) };
    Some(match set(key, length, words) {
        Ok(header) => Storage::Header(header),
        Err(error) => Storage::Refused { length, quiet: false, error },
    })
}

/// `mg key flags...`
fn get(mut words: Words<'_>) -> Result<(Command<'_>, MetaForm), Mistake> {
    let key = words.next().ok_or(BAD_FORMAT)?;
    let flags = Flags::of(words, 2)?;
    let claim = Claim {
        create: flags.expiry_if_made(),
        renew_below_ms: flags.renew_below_ms,
        touch: flags.touch,
        seen_version: flags.seen_version,
        trace: if flags.is_unnoticed { Trace::Claim } else { Trace::Use },
    };
    let number = flags.version.map_or(0, |version| version.0);
    Ok((Command { key: key_of(key, &flags)?, action: Action::Claim(claim) }, MetaForm::of(Verb::Get, &flags, number)))
}

/// `md key flags...`
fn delete(mut words: Words<'_>) -> Result<(Command<'_>, MetaForm), Mistake> {
    let key = words.next().ok_or(BAD_FORMAT)?;
    let flags = Flags::of(words, 2)?;
    // What is emptied does not keep its time, as with memcached.
    let expiry = if flags.empties { Some(flags.touch.unwrap_or(Expiry::Never)) } else { flags.touch };
    let only = flags.version.map(Guard::Version);
    let says = only.is_some() || flags.stale || flags.empties;
    let terms = || Terms { only, seen_version: flags.seen_version, stale: flags.stale, empties: flags.empties, expiry, ..Terms::default() };
    let removal = Removal { want_old: false, terms: says.then(|| Box::new(terms())) };
    Ok((Command { key: key_of(key, &flags)?, action: Action::Delete(removal) }, MetaForm::of(Verb::Delete, &flags, 0)))
}

/// `ma key flags...`
fn count(mut words: Words<'_>) -> Result<(Command<'_>, MetaForm), Mistake> {
    let key = words.next().ok_or(BAD_FORMAT)?;
    let flags = Flags::of(words, 2).map_err(|mistake| if mistake == BAD_FORMAT { BAD_FORMAT } else { BAD_FLAG })?;
    let delta = flags.delta.unwrap_or(1);
    let by = match flags.mode {
        None | Some(b'I' | b'+') => Delta::Up(delta),
        Some(b'D' | b'-') => Delta::Down(delta),
        Some(_) => return Err(BAD_COUNT_MODE),
    };
    let (create, expiry) = (flags.expiry_if_made(), flags.touch);
    let (only, seen_version) = (guard_of(&flags), flags.seen_version);
    let says = only.is_some() || seen_version.is_some() || create.is_some() || expiry.is_some();
    let terms = || Terms { only, seen_version, create, first: Number::Natural(flags.first), expiry, ..Terms::default() };
    let count = Count { by, terms: says.then(|| Box::new(terms())) };
    Ok((Command { key: key_of(key, &flags)?, action: Action::Count(count) }, MetaForm::of(Verb::Count, &flags, 0)))
}

/// `me key [b]`: what is known of a value, for people. It leaves no trace.
fn debug(mut words: Words<'_>) -> Result<(Command<'_>, MetaForm), Mistake> {
    let key = words.next().ok_or(BAD_FORMAT)?;
    let flags = Flags { is_base64: words.next() == Some(b"b"), ..Flags::default() };
    let claim = Claim { trace: Trace::None, ..Claim::default() };
    let key = key_of(key, &flags).map_err(|_| BAD_FORMAT)?;
    Ok((Command { key, action: Action::Claim(claim) }, MetaForm::of(Verb::Debug, &flags, 0)))
}

/// `ms key length flags...`
fn set<'a>(key: &'a [u8], length: usize, words: Words<'a>) -> Result<Header<'a>, Mistake> {
    let flags = Flags::of(words, 3)?;
    let mode = mode_of(&flags)?;
    let joins = matches!(mode, StoreMode::Append | StoreMode::Prepend);
    let (only, create) = if joins { (guard_of(&flags), flags.create) } else { (None, None) };
    let (stale, seen_version) = (flags.stale && matches!(mode, StoreMode::Cas(_)), flags.seen_version);
    let says = only.is_some() || create.is_some() || stale || seen_version.is_some();
    Ok(Header {
        key: key_of(key, &flags)?,
        mode,
        flags: flags.client_flags,
        expiry: flags.touch.unwrap_or(Expiry::Never),
        length,
        // The size of what comes to be is that of the old value and of the new one.
        want_old: joins && flags.shows(b's'),
        terms: says.then(|| Box::new(Terms { only, seen_version, stale, create, ..Terms::default() })),
        form: Form::meta(MetaForm::of(Verb::Set, &flags, length as u64)),
        quiet: false,
    })
}

fn mode_of(flags: &Flags<'_>) -> Result<StoreMode, Mistake> {
    Ok(match (flags.mode, flags.version) {
        (None | Some(b'S' | b'R'), Some(version)) => StoreMode::Cas(version),
        (None | Some(b'S'), None) => StoreMode::Set,
        (Some(b'R'), None) => StoreMode::Replace,
        (Some(b'E'), _) => StoreMode::Add,
        (Some(b'A'), _) => StoreMode::Append,
        (Some(b'P'), _) => StoreMode::Prepend,
        (Some(_), _) => return Err(BAD_SET_MODE),
    })
}

/// The version that must be there: none if it is 0, for the verbs to which memcached does not tell whether it was said.
fn guard_of(flags: &Flags<'_>) -> Option<Guard<'static>> {
    flags.version.filter(|version| *version != Version(0)).map(Guard::Version)
}

fn key_of<'a>(word: &'a [u8], flags: &Flags<'_>) -> Result<Cow<'a, [u8]>, Mistake> {
    if !flags.is_base64 {
        return if is_key(word) { Ok(Cow::Borrowed(word)) } else { Err(BAD_FORMAT) };
    }
    if word.len() > MAX_KEY {
        return Err(BAD_FORMAT);
    }
    base64::decode(word).filter(|key| !key.is_empty()).map(Cow::Owned).ok_or(BAD_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Action<'_>, Mistake> {
        let mut words = Words::of(line.as_bytes());
        let verb = words.next().unwrap();
        match parse(verb, words, line.len()).unwrap() {
            Parsed::Request { request: Request::Key(command), .. } => Ok(command.action),
            Parsed::Answer { bytes: Cow::Borrowed(bytes), .. } => Err(bytes),
            other => panic!("{other:?}"),
        }
    }

    fn header(line: &str) -> Header<'_> {
        let Some(Storage::Header(header)) = storage(Words::of(line.as_bytes())) else { panic!("{line}") };
        header
    }

    #[test]
    fn each_read_may_claim_but_that_for_people() {
        assert_eq!(read("mg k v t"), Ok(Action::Claim(Claim::default())));
        let claim = Claim {
            create: Some(Expiry::InMs(60_000)),
            renew_below_ms: Some(10_000),
            touch: Some(Expiry::InMs(60_000)),
            seen_version: Some(Version(5)),
            trace: Trace::Claim,
        };
        assert_eq!(read("mg k N30 T60 R10 E5 u"), Ok(Action::Claim(claim)));
        assert_eq!(read("me k"), Ok(Action::Claim(Claim { trace: Trace::None, ..Claim::default() })));
    }

    #[test]
    fn a_removal_says_only_what_it_has_to() {
        let leaves = |terms: Terms<'static>| Ok(Action::Delete(Removal { want_old: false, terms: Some(Box::new(terms)) }));
        assert_eq!(read("md k q T30 E9"), Ok(Action::Delete(Removal::default())));
        assert_eq!(read("md k C0"), leaves(Terms { only: Some(Guard::Version(Version(0))), ..Terms::default() }));
        assert_eq!(read("md k I T30"), leaves(Terms { stale: true, expiry: Some(Expiry::InMs(30_000)), ..Terms::default() }));
        assert_eq!(read("md k x"), leaves(Terms { empties: true, expiry: Some(Expiry::Never), ..Terms::default() }));
    }

    #[test]
    fn a_count_is_by_one_and_up_unless_it_says_otherwise() {
        assert_eq!(read("ma k C0 v"), Ok(Action::Count(Count::by(Delta::Up(1)))));
        let terms = Terms { create: Some(Expiry::Never), first: Number::Natural(5), ..Terms::default() };
        assert_eq!(read("ma k N0 J5 D2 MD"), Ok(Action::Count(Count { by: Delta::Down(2), terms: Some(Box::new(terms)) })));
        assert_eq!(read("ma k Mx"), Err(BAD_COUNT_MODE));
    }

    #[test]
    fn a_write_says_only_what_it_has_to() {
        for (line, mode) in [
            ("k 1", StoreMode::Set),
            ("k 1 MS I", StoreMode::Set),
            ("k 1 C5", StoreMode::Cas(Version(5))),
            ("k 1 MR C5", StoreMode::Cas(Version(5))),
            ("k 1 ME C5 N9", StoreMode::Add),
            ("k 1 MP C0", StoreMode::Prepend),
        ] {
            let header = header(line);
            assert_eq!((header.mode, header.terms, header.want_old), (mode, None, false), "{line}");
        }
        let terms = Terms { only: Some(Guard::Version(Version(5))), create: Some(Expiry::Never), ..Terms::default() };
        assert_eq!(header("k 1 MA C5 N0 I").terms, Some(Box::new(terms)));
        assert_eq!(header("k 1 C5 I").terms, Some(Box::new(Terms { stale: true, ..Terms::default() })));
        assert!(header("k 1 MA s").want_old, "its size is that of both");
    }

    #[test]
    fn a_key_in_base64_may_hold_anything_and_is_no_longer_than_another() {
        assert_eq!(&*header("AAogDQ== 1 b").key, b"\0\n \r");
        assert_eq!(read(&format!("mg {} b", "A".repeat(252))), Err(BAD_FORMAT));
        assert_eq!(read("mg k b"), Err(BAD_KEY));
        assert_eq!(read(&format!("mg {} ", "k".repeat(251))), Err(BAD_FORMAT));
    }
}
