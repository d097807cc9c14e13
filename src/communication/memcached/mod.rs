//! memcached's text protocol, as memcached 1.6 speaks it.
//!
//! A command is a line; the storage commands have a value behind it, whose length the line says. The parser remembers what comes next:
//!
//! ```text
//!   get k            one request
//!   get a b c        a request for each key, then END                                   (ahead: Keys)
//!   set k 0 0 5      wait until all of the value is here, then one request              (ahead: Value)
//!   set k ? 0 5      an error, and 7 bytes are passed over                              (ahead: Refused)
//!   set k 0 0 ?      an error, and nothing behind it is carried out                     (ahead: Lost)
//!   set k 0 0 5      with a value of 9: an error, and the rest of its line is another   (ahead: Remains)
//! ```
//!
//! The rule behind the last three: *what may be a value is never carried out as a command*. memcached itself does carry it out when the
//! length of a value is senseless. Whoever sends that loses the connection here, except for making the same mistake again.
//!
//! `line` cuts lines into words and numbers; `storage` reads the lines that a value follows; `verbs` reads the others; `meta` has the meta
//! commands (`mg`, `ms` ...), with keys in base64; `compose` writes replies. Where there is a password, `login` hears who has not shown it,
//! and nothing else does. Not here: memcached's binary protocol, which is a dialect of its own.

mod compose;
mod line;
mod login;
mod meta;
mod storage;
mod verbs;

use std::borrow::Cow;

use self::compose::{BAD_CHUNK, BAD_EXPTIME, BAD_FORMAT, END, ERROR, LINE_TOO_LONG, TOO_LARGE};
use self::line::{Line, Words, expiry};
use self::storage::{Header, Storage, Verb};
use crate::communication::protocol::{self, Group, Parsed};
use crate::config::Limits;
use crate::node::command::{Action, Command, Expiry, Request, Store, StoreMode};

pub use self::compose::Form;
pub(super) use self::compose::push_text;
pub(super) use self::line::{MAX_KEY, expiry_of, is_key};
pub use self::login::next_of_stranger;

/// The last word to a client that has begun a command and not finished it.
pub const UNFINISHED: &[u8] = b"CLIENT_ERROR command not finished in time\r\n";

/// The last word to a client for whose command there is no room, in memcached's own words.
pub const CROWDED: &[u8] = b"SERVER_ERROR out of memory reading request\r\n";
/// What a client hears when there are too many.
pub const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// Longest line of a command that has no use for a longer one: memcached's own limit.
const SHORT_LINE: usize = 2048;

/// A line of keys may be so many times as long as other lines: clients ask for thousands of keys at once.
const KEYS_LINE_FACTOR: usize = 4;

/// The end of a value.
const VALUE_END: &[u8] = b"\r\n";

/// The parser of one connection.
#[derive(Debug, Default)]
pub struct Parser {
    /// Bytes at the front of the input that hold no end of a line.
    searched: usize,
    ahead: Ahead,
}

/// What the input begins with.
#[derive(Clone, Copy, Debug, Default)]
enum Ahead {
    /// A command.
    #[default]
    Command,
    /// A storage line, read before; its value is there once the input is this long.
    Value { whole: usize },
    /// The rest of a line of keys.
    Keys(Keys),
    /// So many bytes of a value that has been refused.
    Refused { left: usize },
    /// The rest of a line whose beginning was taken for a value's end.
    Remains,
    /// Nobody knows: the length of the value here was senseless.
    Lost,
}

/// The rest of a line of keys, all of them good.
#[derive(Clone, Copy, Debug)]
struct Keys {
    read: Read,
    /// Bytes before the line's end.
    left: usize,
    /// Bytes of the line's end.
    end: usize,
}

/// What is wanted of each key.
#[derive(Clone, Copy, Debug)]
struct Read {
    with_version: bool,
    touch: Option<Expiry>,
}

impl Parser {
    /// Takes the next piece off the front of `input`.
    pub fn next<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Parsed<'a> {
        match self.ahead {
            Ahead::Keys(keys) => self.next_key(keys, input),
            Ahead::Refused { left } => self.pass_over(left, input),
            Ahead::Value { whole } if input.len() < whole => Parsed::Incomplete { in_command: true },
            Ahead::Command | Ahead::Value { .. } | Ahead::Remains | Ahead::Lost => self.next_line(input, limits),
        }
    }

    fn next_line<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Parsed<'a> {
        let line = Line::at_front_of(input, self.searched);
        // A carriage return at the end of what is here may be a part of the line's end.
        let length = line.map_or(input.strip_suffix(b"\r").unwrap_or(input).len(), |line| line.text.len());
        if length > SHORT_LINE.min(limits.max_line)
            && let Some(close) = self.too_long(length, input, limits)
        {
            return close;
        }
        let Some(line) = line else {
            self.searched = input.len();
            return Parsed::Incomplete { in_command: !input.is_empty() || matches!(self.ahead, Ahead::Lost) };
        };
        self.searched = 0;
        match std::mem::take(&mut self.ahead) {
            Ahead::Remains => answer(line.whole, ERROR),
            Ahead::Lost => self.still_lost(line),
            _ => self.command(line, input, limits),
        }
    }

    /// Closes if the line at the front of `input`, `length` bytes of which are here, is longer than its command may be. memcached does
    /// so without a word, and its short commands are left to that; whoever sent anything else is told why.
    fn too_long(&self, length: usize, input: &[u8], limits: &Limits) -> Option<Parsed<'static>> {
        let verb = Words::of(&input[..length.min(SHORT_LINE)]).next().unwrap_or_default();
        let (limit, bytes): (usize, &'static [u8]) = match (self.ahead, verb) {
            (Ahead::Remains | Ahead::Lost, _) | (_, b"") => (SHORT_LINE, b""),
            (_, b"get" | b"gets" | b"gat" | b"gats") => (limits.max_line.saturating_mul(KEYS_LINE_FACTOR), LINE_TOO_LONG),
            _ if Verb::of(verb).is_some() || verbs::is_short(verb) || meta::is_verb(verb) => (SHORT_LINE, b""),
            _ => (limits.max_line, LINE_TOO_LONG),
        };
        (length > limit).then_some(Parsed::Close { bytes: Cow::Borrowed(bytes) })
    }

    fn command<'a>(&mut self, line: Line<'a>, input: &'a [u8], limits: &Limits) -> Parsed<'a> {
        let mut words = line.words();
        match words.next().unwrap_or_default() {
            b"get" => self.read(Read { with_version: false, touch: None }, words, line),
            b"gets" => self.read(Read { with_version: true, touch: None }, words, line),
            b"gat" => self.read_and_touch(false, words, line),
            b"gats" => self.read_and_touch(true, words, line),
            verb => match storage_of(verb, words.clone()) {
                Some(storage) => self.store(storage, line, input, limits),
                None => meta::parse(verb, words.clone(), line.whole).unwrap_or_else(|| verbs::parse(verb, words, line.whole)),
            },
        }
    }

    /// `gat exptime k...`
    fn read_and_touch<'a>(&mut self, with_version: bool, mut words: Words<'a>, line: Line<'a>) -> Parsed<'a> {
        let exptime = words.next().unwrap_or_default();
        if words.at_end() {
            return answer(line.whole, BAD_FORMAT);
        }
        match expiry(exptime) {
            None => answer(line.whole, BAD_EXPTIME),
            touch => self.read(Read { with_version, touch }, words, line),
        }
    }

    /// `get k...`: all keys are looked at before the first is asked for, because one bad key refuses them all.
    fn read<'a>(&mut self, read: Read, mut words: Words<'a>, line: Line<'a>) -> Parsed<'a> {
        let Some(key) = words.next_key() else { return answer(line.whole, BAD_FORMAT) };
        if words.at_end() {
            return read.request(key, Group::Alone, line.whole);
        }
        if !words.clone().all(is_key) {
            return answer(line.whole, BAD_FORMAT);
        }
        let left = words.rest().len();
        self.ahead = Ahead::Keys(Keys { read, left, end: line.whole - line.text.len() });
        read.request(key, Group::Member, line.text.len() - left)
    }

    fn next_key<'a>(&mut self, keys: Keys, input: &'a [u8]) -> Parsed<'a> {
        let Some(text) = input.get(..keys.left) else { return Parsed::Incomplete { in_command: true } };
        let mut words = Words::of(text);
        let key = words.next();
        let Some(key) = key else {
            self.ahead = Ahead::Command;
            return Parsed::Answer { consumed: keys.left + keys.end, bytes: Cow::Borrowed(END), group: Group::Last };
        };
        let left = words.rest().len();
        self.ahead = Ahead::Keys(Keys { left, ..keys });
        keys.read.request(key, Group::Member, keys.left - left)
    }

    fn store<'a>(&mut self, storage: Storage<'a>, line: Line<'a>, input: &'a [u8], limits: &Limits) -> Parsed<'a> {
        match storage {
            Storage::Header(header) if header.length > limits.max_value => self.refuse_too_large(header, line),
            Storage::Header(header) => self.store_whole(header, line, input),
            Storage::Refused { length, quiet, error } => self.refuse(length, quiet, error, line),
            Storage::Endless => self.lose(line),
        }
    }

    /// A storage line that is good: it is carried out once its value is here, with its end.
    fn store_whole<'a>(&mut self, header: Header<'a>, line: Line<'a>, input: &'a [u8]) -> Parsed<'a> {
        let end = line.whole + header.length;
        let whole = end + VALUE_END.len();
        if input.len() < whole {
            (self.searched, self.ahead) = (line.whole - 1, Ahead::Value { whole });
            return Parsed::Incomplete { in_command: true };
        }
        if &input[end..whole] != VALUE_END {
            self.ahead = if input[whole - 1] == b'\n' { Ahead::Command } else { Ahead::Remains };
            return answer_unless(header.quiet, whole, BAD_CHUNK);
        }
        let Header { key, mode, flags, expiry, want_old, terms, form, .. } = header;
        let store = Store { mode, value: Cow::Borrowed(&input[line.whole..end]), flags, expiry, want_old, terms };
        let request = Request::Key(Command { key, action: Action::Store(store) });
        Parsed::Request { consumed: whole, request, form: form.into() }
    }

    /// As in memcached, a `set` that is too large takes the old value with it: a client that ignores the error must not go on reading
    /// what it meant to replace.
    fn refuse_too_large<'a>(&mut self, header: Header<'a>, line: Line<'a>) -> Parsed<'a> {
        let refused = self.refuse(header.length, header.quiet, TOO_LARGE, line);
        if header.mode != StoreMode::Set {
            return refused;
        }
        let request = Request::Key(Command { key: header.key, action: Action::Store(Store::of_nothing()) });
        Parsed::Request { consumed: line.whole, request, form: Form::refusal(header.quiet).into() }
    }

    fn refuse<'a>(&mut self, length: usize, quiet: bool, error: &'static [u8], line: Line<'a>) -> Parsed<'a> {
        self.ahead = Ahead::Refused { left: length + VALUE_END.len() };
        answer_unless(quiet, line.whole, error)
    }

    fn lose<'a>(&mut self, line: Line<'a>) -> Parsed<'a> {
        self.ahead = Ahead::Lost;
        answer(line.whole, BAD_FORMAT)
    }

    /// What follows a senseless length may be the value that was meant, so nothing of it is carried out. The same mistake again is no more
    /// than that; anything else ends the connection.
    fn still_lost<'a>(&mut self, line: Line<'a>) -> Parsed<'a> {
        let mut words = line.words();
        match storage_of(words.next().unwrap_or_default(), words) {
            Some(Storage::Endless) => self.lose(line),
            _ => Parsed::Close { bytes: Cow::Borrowed(b"") },
        }
    }

    fn pass_over<'a>(&mut self, left: usize, input: &'a [u8]) -> Parsed<'a> {
        let consumed = left.min(input.len());
        if consumed == 0 {
            return Parsed::Incomplete { in_command: true };
        }
        self.ahead = if consumed == left { Ahead::Command } else { Ahead::Refused { left: left - consumed } };
        Parsed::Skip { consumed }
    }
}

impl Read {
    fn request<'a>(&self, key: &'a [u8], group: Group, consumed: usize) -> Parsed<'a> {
        let action = self.touch.map_or(Action::Get, Action::GetAndTouch);
        let request = Request::Key(Command { key: Cow::Borrowed(key), action });
        Parsed::Request { consumed, request, form: Form::read(self.with_version, group).into() }
    }
}

impl From<Form> for protocol::Form {
    fn from(form: Form) -> protocol::Form {
        protocol::Form::Memcached(form)
    }
}

/// What a line says that a value follows; `None` if its verb is not of that kind.
fn storage_of<'a>(verb: &[u8], words: Words<'a>) -> Option<Storage<'a>> {
    if verb == b"ms" { meta::storage(words) } else { Verb::of(verb).map(|verb| verb.parse(words)) }
}

/// A line answered by itself.
fn answer(consumed: usize, bytes: &'static [u8]) -> Parsed<'static> {
    Parsed::Answer { consumed, bytes: Cow::Borrowed(bytes), group: Group::Alone }
}

/// A line answered by itself, or by nothing if its client said `noreply`.
fn answer_unless(quiet: bool, consumed: usize, bytes: &'static [u8]) -> Parsed<'static> {
    if quiet { Parsed::Skip { consumed } } else { answer(consumed, bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caching::Version;
    use crate::communication::damage;
    use crate::config::Config;
    use crate::node::command::{Admin, Count, Delta, Removal, Renewal};
    use crate::prng::Prng;

    /// What a connection would see of a parsed piece; bytes passed over are not seen.
    #[derive(Debug, PartialEq)]
    enum Seen {
        Asked(Request<'static>, protocol::Form),
        Said(String, Group),
        Closed(String),
    }

    fn limits() -> Limits {
        Limits { max_value: 1000, max_line: 4096, ..Config::default().limits }
    }

    /// Feeds `bytes` in pieces whose lengths `step` draws, as a connection does, and tells what is seen and how much is left unread.
    fn feed(bytes: &[u8], mut step: impl FnMut() -> usize) -> (Vec<Seen>, usize) {
        let (mut parser, limits, mut seen, mut start, mut end) = (Parser::default(), limits(), Vec::new(), 0, 0);
        loop {
            let input = &bytes[start..end];
            let consumed = match parser.next(input, &limits) {
                Parsed::Incomplete { in_command } => {
                    assert!(in_command || input.is_empty());
                    if end == bytes.len() {
                        return (seen, bytes.len() - start);
                    }
                    end = bytes.len().min(end + step());
                    continue;
                }
                Parsed::Request { consumed, request, form } => {
                    seen.push(Seen::Asked(request.to_owned(), form));
                    consumed
                }
                Parsed::Answer { consumed, bytes, group } => {
                    assert!(!bytes.is_empty());
                    seen.push(Seen::Said(String::from_utf8(bytes.into_owned()).unwrap(), group));
                    consumed
                }
                Parsed::Skip { consumed } => consumed,
                Parsed::Login { .. } => panic!("a login of who needs none"),
                Parsed::Close { bytes } => {
                    seen.push(Seen::Closed(String::from_utf8(bytes.into_owned()).unwrap()));
                    return (seen, 0);
                }
            };
            assert!(consumed > 0 && consumed <= input.len(), "no progress at {start}");
            start += consumed;
        }
    }

    fn whole(bytes: impl AsRef<[u8]>) -> Vec<Seen> {
        feed(bytes.as_ref(), || usize::MAX / 2).0
    }

    fn said(text: &str) -> Seen {
        Seen::Said(text.into(), Group::Alone)
    }

    fn asked(key: &[u8], action: Action<'static>, form: Form) -> Seen {
        Seen::Asked(Request::Key(Command { key: Cow::Owned(key.to_vec()), action }), form.into())
    }

    fn stored(key: &[u8], mode: StoreMode, value: &'static [u8], quiet: bool) -> Seen {
        let store = Store { mode, value: Cow::Borrowed(value), flags: 0, expiry: Expiry::Never, want_old: false, terms: None };
        asked(key, Action::Store(store), Form::change(quiet))
    }

    fn version() -> Seen {
        said("VERSION 1.6.45\r\n")
    }

    const BAD: &str = "CLIENT_ERROR bad command line format\r\n";

    #[test]
    fn a_single_get_is_one_request_that_ends_itself() {
        for line in ["get k\r\n", "  get   k  \r\n", "get k\n"] {
            assert_eq!(whole(line), [asked(b"k", Action::Get, Form::read(false, Group::Alone))], "{line:?}");
        }
        assert_eq!(whole("gets k\r\n"), [asked(b"k", Action::Get, Form::read(true, Group::Alone))]);
        assert_eq!(whole("gat 5 k\r\n"), [asked(b"k", Action::GetAndTouch(Expiry::InMs(5000)), Form::read(false, Group::Alone))]);
    }

    #[test]
    fn a_get_of_many_keys_is_a_group_that_ends_with_end() {
        let member = |key| asked(key, Action::GetAndTouch(Expiry::Never), Form::read(true, Group::Member));
        let end = Seen::Said("END\r\n".into(), Group::Last);
        assert_eq!(whole("gats 0 a  b a \r\nversion\r\n"), [member(b"a"), member(b"b"), member(b"a"), end, version()]);
    }

    #[test]
    fn no_key_of_a_line_is_asked_for_before_the_line_is_whole_and_all_keys_are_good() {
        let mut parser = Parser::default();
        assert_eq!(parser.next(b"get a b", &limits()), Parsed::Incomplete { in_command: true });
        assert_eq!(whole(format!("get a {} b\r\n", "k".repeat(251))), [said(BAD)]);
        assert_eq!(whole("get a b\tc\r\nversion\r\n"), [said(BAD), version()]);
    }

    #[test]
    fn each_storage_verb_carries_its_value_and_condition() {
        for (verb, mode) in [
            ("set", StoreMode::Set),
            ("add", StoreMode::Add),
            ("replace", StoreMode::Replace),
            ("append", StoreMode::Append),
            ("prepend", StoreMode::Prepend),
        ] {
            assert_eq!(whole(format!("{verb} k 0 0 3\r\nab\n\r\n")), [stored(b"k", mode, b"ab\n", false)]);
            assert_eq!(whole(format!("{verb} k 0 0 0 noreply \r\n\r\n")), [stored(b"k", mode, b"", true)]);
        }
        assert_eq!(whole("cas k 0 0 1 9\r\nv\r\n"), [stored(b"k", StoreMode::Cas(Version(9)), b"v", false)]);
    }

    #[test]
    fn a_refused_value_is_passed_over_and_the_stream_stays_in_step() {
        let long = format!("set {} 0 0 8\r\nget stop\r\nversion\r\n", "k".repeat(251));
        for bytes in [
            "set k x 0 8\r\nget stop\r\nversion\r\n",
            "set a\tb 0 0 8\r\nget stop\r\nversion\r\n",
            &long,
            "cas k 0 0 4\r\nquit\r\nversion\r\n",
        ] {
            assert_eq!(whole(bytes), [said(BAD), version()], "{bytes}");
        }
        assert_eq!(whole("add k x 0 4 noreply\r\nquit\r\nversion\r\n"), [version()]);
        assert_eq!(whole("ms k 4 v v\r\nquit\r\nversion\r\n"), [said("CLIENT_ERROR duplicate flag\r\n"), version()]);
    }

    #[test]
    fn a_value_that_is_too_large_is_passed_over_and_a_set_takes_the_old_one_with_it() {
        let value = "x".repeat(1001);
        let too_large = said("SERVER_ERROR object too large for cache\r\n");
        assert_eq!(whole(format!("add k 0 0 1001\r\n{value}\r\nversion\r\n")), [too_large, version()]);
        for (noreply, quiet) in [("", false), (" noreply", true)] {
            let gone = asked(b"k", Action::Store(Store::of_nothing()), Form::refusal(quiet));
            assert_eq!(whole(format!("set k 0 0 1001{noreply}\r\n{value}\r\nversion\r\n")), [gone, version()]);
        }
        let gone = asked(b"k", Action::Store(Store::of_nothing()), Form::refusal(false));
        assert_eq!(whole(format!("ms k 1001 q\r\n{value}\r\nversion\r\n")), [gone, version()]);
        let too_large = said("SERVER_ERROR object too large for cache\r\n");
        assert_eq!(whole(format!("ms k 1001 q ME\r\n{value}\r\nversion\r\n")), [too_large, version()]);
    }

    #[test]
    fn behind_a_senseless_length_nothing_is_carried_out() {
        for line in [
            "set k 0 0 -1",
            "append k 0 0 abc",
            "set k 0 0 1e3",
            "add k 0 0 2147483647",
            "cas k 0 0 18446744073709551615 1",
            "set k 0",
            "set",
            "ms k -1 c",
        ] {
            let bytes = format!("{line}\r\n{line} noreply\r\ndelete canary\r\nversion\r\n");
            assert_eq!(whole(bytes), [said(BAD), said(BAD), Seen::Closed(String::new())], "{line}");
        }
        let mut parser = Parser::default();
        assert!(matches!(parser.next(b"set k 0 0 -1\r\n", &limits()), Parsed::Answer { .. }));
        assert_eq!(
            parser.next(b"", &limits()),
            Parsed::Incomplete { in_command: true },
            "the connection is given no more than a stalled one"
        );
    }

    #[test]
    fn a_value_of_another_length_than_said_is_refused_with_the_rest_of_its_line() {
        let chunk = || said("CLIENT_ERROR bad data chunk\r\n");
        assert_eq!(whole("set k 0 0 3\r\nabcdef\r\nversion\r\n"), [chunk(), said("ERROR\r\n"), version()]);
        assert_eq!(whole("set k 0 0 1\r\nabcquit\r\nversion\r\n"), [chunk(), said("ERROR\r\n"), version()]);
        assert_eq!(whole("set k 0 0 7\r\nabc\r\nquit\r\nversion\r\n"), [chunk(), said("ERROR\r\n"), version()]);
        assert_eq!(whole("set k 0 0 3\r\nabcd\nversion\r\n"), [chunk(), version()]);
        assert_eq!(whole("set k 0 0 3 noreply\r\nabcdef\r\nversion\r\n"), [said("ERROR\r\n"), version()]);
    }

    #[test]
    fn one_line_commands_say_what_they_mean() {
        let change = |action| asked(b"k", action, Form::change(false));
        for (line, expected) in [
            ("delete k", change(Action::Delete(Removal { want_old: false, terms: None }))),
            ("delete k 0", change(Action::Delete(Removal { want_old: false, terms: None }))),
            ("incr k 18446744073709551615", change(Action::Count(Count::by(Delta::Up(u64::MAX))))),
            ("decr k 1 extra", change(Action::Count(Count::by(Delta::Down(1))))),
            ("touch k -1", change(Action::Touch(Renewal::to(Expiry::InMs(0))))),
            ("touch k 2592001", change(Action::Touch(Renewal::to(Expiry::AtWallMs(2_592_001_000))))),
            ("put k  two words ", stored(b"k", StoreMode::Set, b" two words ", false)),
            ("put k ", stored(b"k", StoreMode::Set, b"", false)),
            ("delete noreply", asked(b"noreply", Action::Delete(Removal { want_old: false, terms: None }), Form::change(false))),
        ] {
            assert_eq!(whole(format!("{line}\r\n")), [expected], "{line}");
        }
    }

    #[test]
    fn questions_and_orders_reach_the_node() {
        for (line, admin, form) in [
            ("flush_all", Admin::Flush { when: Expiry::InMs(0) }, Form::ADMIN),
            ("flush_all -1", Admin::Flush { when: Expiry::InMs(0) }, Form::ADMIN),
            ("flush_all 10", Admin::Flush { when: Expiry::InMs(10_000) }, Form::ADMIN),
            ("flush_all  noreply", Admin::Flush { when: Expiry::InMs(0) }, Form::ADMIN.quiet_if(true)),
            ("flush_all 4102444800 noreply", Admin::Flush { when: Expiry::AtWallMs(4_102_444_800_000) }, Form::ADMIN.quiet_if(true)),
            ("stats", Admin::Stats, Form::ADMIN),
            ("stats  settings", Admin::Settings, Form::ADMIN),
            ("stats reset", Admin::ResetStats, Form::RESET),
            ("alive", Admin::Alive, Form::ADMIN),
            ("ring ", Admin::Ring, Form::ADMIN),
            ("peers", Admin::Peers, Form::ADMIN),
            ("reconstruct", Admin::Reconstruct, Form::ADMIN),
            ("owner k", Admin::Owner(b"k".as_slice().into()), Form::ADMIN),
            ("connect 127.0.0.1:8002", Admin::Connect("127.0.0.1:8002".into()), Form::ADMIN),
            ("dead [::1]:8002", Admin::Dead("[::1]:8002".into()), Form::ADMIN),
        ] {
            assert_eq!(whole(format!("{line}\r\n")), [Seen::Asked(Request::Admin(admin), form.into())], "{line}");
        }
    }

    #[test]
    fn each_bad_line_has_its_answer() {
        let long = "k".repeat(251);
        for (line, text) in [
            ("", BAD),
            ("  ", BAD),
            ("x", "ERROR\r\n"),
            ("GET k", "ERROR\r\n"),
            ("bogus noreply", "ERROR\r\n"),
            ("mg", BAD),
            ("ms", BAD),
            ("ms k", BAD),
            ("mn", "MN\r\n"),
            ("get", BAD),
            ("gets ", BAD),
            ("gat", BAD),
            ("gat 10", BAD),
            ("gats x k", "CLIENT_ERROR invalid exptime argument\r\n"),
            (&format!("get {long}"), BAD),
            (&format!("delete {long}"), BAD),
            (&format!("incr {long} 1"), BAD),
            (&format!("touch {long} 0"), BAD),
            ("delete", BAD),
            ("delete k 1", "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"),
            ("incr k", BAD),
            ("incr k x", "CLIENT_ERROR invalid numeric delta argument\r\n"),
            ("decr k -1", "CLIENT_ERROR invalid numeric delta argument\r\n"),
            ("incr k 18446744073709551616", "CLIENT_ERROR invalid numeric delta argument\r\n"),
            ("touch k", BAD),
            ("touch k soon", "CLIENT_ERROR invalid exptime argument\r\n"),
            ("flush_all invalid", "CLIENT_ERROR invalid exptime argument\r\n"),
            ("verbosity", BAD),
            ("verbosity invalid", BAD),
            ("slabs automove invalid", BAD),
            ("shutdown", "SERVER_ERROR: shutdown not enabled\r\n"),
            ("stats bogus", "ERROR\r\n"),
            ("stats detail", "CLIENT_ERROR usage: stats detail on|off|dump\r\n"),
            ("stats cachedump 1", "CLIENT_ERROR bad command line\r\n"),
            ("stats cachedump x 1", BAD),
            ("stats cachedump 200 0 0", "CLIENT_ERROR Illegal slab id\r\n"),
            ("put k", "CLIENT_ERROR usage: put KEY VALUE\r\n"),
            (&format!("put {long} v"), "CLIENT_ERROR usage: put KEY VALUE\r\n"),
            ("connect here", "CLIENT_ERROR usage: connect IP:PORT\r\n"),
            ("dead", "CLIENT_ERROR usage: dead IP:PORT\r\n"),
            ("owner a b", "CLIENT_ERROR usage: owner KEY\r\n"),
            ("alive now", "CLIENT_ERROR usage: alive\r\n"),
        ] {
            assert_eq!(whole(format!("{line}\r\nversion\r\n")), [said(text), version()], "{line}");
        }
    }

    #[test]
    fn noreply_hides_errors_too() {
        for line in
            ["incr k x noreply", "incr k noreply", "touch k x noreply", "delete k 10 noreply", "flush_all x noreply", "verbosity noreply"]
        {
            assert_eq!(whole(format!("{line}\r\nversion\r\n")), [version()], "{line}");
        }
    }

    #[test]
    fn quit_and_http_end_the_connection_in_silence() {
        for line in ["quit", "quit noreply", "POST /k HTTP/1.1", "DELETE HTTP/1.1"] {
            assert_eq!(whole(format!("{line}\r\nversion\r\n")), [Seen::Closed(String::new())], "{line}");
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_its_command_needs() {
        let blanks = " ".repeat(2048);
        assert_eq!(whole(format!("get {blanks} k\r\n")).len(), 1);
        let silent = || [Seen::Closed(String::new())];
        for line in [format!("incr {blanks} k 1"), format!("set {blanks}"), blanks.clone() + " ", format!("stats {blanks}\r\n")] {
            assert_eq!(whole(&line), silent());
        }
        let told = || [Seen::Closed("CLIENT_ERROR line too long\r\n".into())];
        for line in ["x".repeat(4097), format!("put k {}", "v".repeat(4096)), format!("get {}", "k ".repeat(8192))] {
            assert_eq!(whole(&line), told());
            assert_eq!(whole(line + "\r\n"), told());
        }
        assert_eq!(whole(format!("get {}\r\n", "k ".repeat(8000))).len(), 8001);
    }

    #[test]
    fn bytes_are_searched_once_and_a_value_is_waited_for_without_searching() {
        let (mut parser, limits) = (Parser::default(), limits());
        assert_eq!(parser.next(b"get a", &limits), Parsed::Incomplete { in_command: true });
        assert_eq!(parser.searched, 5);
        let mut parser = Parser::default();
        assert_eq!(parser.next(b"set k 0 0 9\r\nab", &limits), Parsed::Incomplete { in_command: true });
        assert!(matches!(parser.ahead, Ahead::Value { whole: 24 }) && parser.searched == 12);
        assert_eq!(parser.next(b"", &Limits { max_value: 1, ..limits }), Parsed::Incomplete { in_command: true });
    }

    /// One of everything, good and bad.
    const CORPUS: &[&[u8]] = &[
        b"get a\r\n",
        b"gets a b c \r\n",
        b"gat 10 a b\n",
        b"set k 1 2 3\r\nabc\r\n",
        b"set k 0 0 3 noreply\r\nabc\r\n",
        b"add k 0 -1 10\r\nab\r\nget x\r\n\r\n",
        b"cas k 0 0 1 77\r\nv\r\n",
        b"append k 0 0 0\r\n\r\n",
        b"set k 0 0 3\r\nabcdef\r\n",
        b"set k 0 0 9\r\nabc\r\nquit\r\n",
        b"set k\x01 0 0 5\r\nvalue\r\n",
        b"set k 0 0 1001\r\n",
        b"ms k 2 c T30 MA N60 q b\r\nhi\r\n",
        b"ms azE= 2 b s Oo C5 I E6\r\nhi\r\nms k 2 v v\r\nhi\r\nms k 1001\r\n",
        b"mg k v t s k Oabc N30 R10 T60 q\r\nmg azE= b k\r\nmg k v v\r\nme k\r\nmn\r\n",
        b"md k I T30 C7 q\r\nmd k x\r\nma n N0 J5 D2 MD v c t\r\nma n MX\r\n",
        b"delete k\r\ndelete k noreply\r\n",
        b"incr n 1\r\ndecr n 1 noreply\r\nincr n x\r\n",
        b"touch k 0\r\nflush_all 5 noreply\r\n",
        b"version\r\nverbosity 1\r\nstats\r\nstats settings\r\nstats reset\r\nstats detail dump\r\n",
        b"put k some words\r\nowner k\r\nring\r\npeers\r\nalive\r\nhelp\r\nconnect 127.0.0.1:1\r\n",
        b"\r\n \r\nbogus\r\nget\r\n",
        b"set k 0 0 -1\r\nset k 0\r\n",
        b"quit\r\n",
    ];

    #[test]
    fn bytes_in_any_pieces_mean_the_same() {
        damage::assert_the_same_in_any_pieces(CORPUS, 200, |bytes, step| feed(bytes, step));
    }

    #[test]
    fn damaged_streams_are_taken_without_panic_and_answered_within_bounds() {
        damage::assert_no_damage_matters(CORPUS, b" \r\n-0k", 2_000, |bytes, step| feed(bytes, step));
    }

    #[test]
    fn noise_is_taken_without_panic() {
        for seed in 0..500 {
            let mut prng = Prng::new(seed);
            let bytes: Vec<u8> = (0..prng.below(6000)).map(|_| prng.next_u64() as u8).collect();
            assert_eq!(feed(&bytes, || 7), feed(&bytes, || usize::MAX / 2), "seed {seed}");
        }
    }
}
