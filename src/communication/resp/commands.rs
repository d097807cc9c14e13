//! The table of commands: what each is called, how many words it takes, where its keys are, and who handles it.
//!
//! A name is looked up as a number of 128 bits, its letters made lower on the way: nothing is allocated, and seven comparisons find one of
//! a hundred. What is not in the table gets Redis's own answer to an unknown command, and the connection stays open.

use std::borrow::Cow;

use super::compose::{Kind, error};
use super::frame::Args;
use super::session::Session;
use super::steps::Plan;
use super::{bits, client, fields, keys, lcs, moving, msetnx, patching, scripts, server, settings, strings, transaction};
use crate::node::command::{Command, Request};

/// The longest name.
pub(super) const LONGEST_NAME: usize = 16;
/// Most bytes of a client's words that are repeated to it in an error.
const MOST_REPEATED: usize = 128;

/// What a handler makes of a call.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// One request, and what its reply is.
    Ask(Request<'a>, Kind),
    /// A request for each of the words that follow the name.
    Each(Each),
    /// The first request of several, and what is done with what comes of each.
    Course(Command<'static>, Box<dyn Plan>),
    /// An answer that needs no node.
    Say(Cow<'static, [u8]>),
    /// The client shows a password; what comes of it is the reply, or, with no kind, the same command is read again.
    Login(&'a [u8], Option<Kind>),
    /// What is queued is to be carried out, if what is watched is as it was.
    Exec,
    /// The last word.
    Close(&'static [u8]),
}

/// How a command of several keys is taken apart, and its replies put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Each {
    /// An array of the values.
    Get,
    /// OK, once all are written; the words are keys and values.
    Set,
    /// How many were removed.
    Delete,
    /// How many there are.
    Exists,
    /// OK, once all are looked at.
    Watch,
}

/// An answer instead of what was asked: a whole line.
pub(super) type Refusal = Cow<'static, [u8]>;

/// What a handler says.
pub(super) type Handled<'a> = Result<Step<'a>, Refusal>;

type Handler = for<'a> fn(&mut Session, &Call<'a>) -> Handled<'a>;

/// A command as it was called: its words behind the name, and what the table says of it.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) spec: &'static Spec,
    pub(super) args: Args<'a>,
}

/// A line of the table.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    /// How many words it has, its name included; at least so many, if below 0.
    pub(super) arity: i8,
    /// The first key's place among the words, the last one's, and the step between: as `COMMAND` says it.
    pub(super) keys: (i8, i8, i8),
    pub(super) writes: bool,
    /// Carried out at once, also between `MULTI` and `EXEC`.
    pub(super) immediate: bool,
    pub(super) handler: Handler,
}

const NO_KEYS: (i8, i8, i8) = (0, 0, 0);
const ONE_KEY: (i8, i8, i8) = (1, 1, 1);
const TWO_KEYS: (i8, i8, i8) = (1, 2, 1);
const ALL_KEYS: (i8, i8, i8) = (1, -1, 1);

const fn reads(name: &'static str, arity: i8, keys: (i8, i8, i8), handler: Handler) -> Spec {
    Spec { name, arity, keys, writes: false, immediate: false, handler }
}

const fn writes(name: &'static str, arity: i8, keys: (i8, i8, i8), handler: Handler) -> Spec {
    Spec { name, arity, keys, writes: true, immediate: false, handler }
}

const fn at_once(name: &'static str, arity: i8, handler: Handler) -> Spec {
    Spec { name, arity, keys: NO_KEYS, writes: false, immediate: true, handler }
}

/// In the order of the alphabet, which the look-up needs.
pub(super) static COMMANDS: [Spec; 87] = [
    writes("append", 3, ONE_KEY, strings::append),
    reads("auth", -2, NO_KEYS, server::auth),
    reads("bitcount", -2, ONE_KEY, bits::bitcount),
    writes("bitfield", -2, ONE_KEY, fields::bitfield),
    reads("bitfield_ro", -2, ONE_KEY, fields::bitfield_ro),
    writes("bitop", -4, (2, -1, 1), patching::bitop),
    reads("bitpos", -3, ONE_KEY, bits::bitpos),
    reads("client", -2, NO_KEYS, client::client),
    reads("cluster", -2, NO_KEYS, server::cluster),
    reads("command", -1, NO_KEYS, server::command),
    reads("config", -2, NO_KEYS, settings::config),
    writes("copy", -3, TWO_KEYS, moving::copy),
    reads("dbsize", 1, NO_KEYS, keys::dbsize),
    reads("debug", -2, NO_KEYS, server::debug),
    writes("decr", 2, ONE_KEY, strings::decr),
    writes("decrby", 3, ONE_KEY, strings::decrby),
    writes("del", -2, ALL_KEYS, keys::del),
    at_once("discard", 1, transaction::discard),
    reads("echo", 2, NO_KEYS, server::echo),
    writes("eval", -3, NO_KEYS, scripts::eval),
    writes("evalsha", -3, NO_KEYS, scripts::evalsha),
    at_once("exec", 1, transaction::exec),
    reads("exists", -2, ALL_KEYS, keys::exists),
    writes("expire", -3, ONE_KEY, keys::expire),
    writes("expireat", -3, ONE_KEY, keys::expireat),
    reads("expiretime", 2, ONE_KEY, keys::expiretime),
    writes("flushall", -1, NO_KEYS, keys::flushall),
    writes("flushdb", -1, NO_KEYS, keys::flushdb),
    reads("function", -2, NO_KEYS, scripts::function),
    reads("get", 2, ONE_KEY, strings::get),
    reads("getbit", 3, ONE_KEY, bits::getbit),
    writes("getdel", 2, ONE_KEY, strings::getdel),
    writes("getex", -2, ONE_KEY, strings::getex),
    reads("getrange", 4, ONE_KEY, strings::getrange),
    writes("getset", 3, ONE_KEY, strings::getset),
    reads("hello", -1, NO_KEYS, server::hello),
    writes("incr", 2, ONE_KEY, strings::incr),
    writes("incrby", 3, ONE_KEY, strings::incrby),
    writes("incrbyfloat", 3, ONE_KEY, strings::incrbyfloat),
    reads("info", -1, NO_KEYS, server::info),
    reads("keys", 2, NO_KEYS, keys::keys),
    reads("lastsave", 1, NO_KEYS, server::lastsave),
    reads("latency", -2, NO_KEYS, server::latency),
    reads("lcs", -3, TWO_KEYS, lcs::lcs),
    reads("lolwut", -1, NO_KEYS, server::lolwut),
    reads("memory", -2, NO_KEYS, keys::memory),
    reads("mget", -2, ALL_KEYS, strings::mget),
    writes("move", 3, ONE_KEY, moving::move_to),
    writes("mset", -3, (1, -1, 2), strings::mset),
    writes("msetnx", -3, (1, -1, 2), msetnx::msetnx),
    at_once("multi", 1, transaction::multi),
    reads("object", -2, (2, 2, 1), keys::object),
    writes("persist", 2, ONE_KEY, keys::persist),
    writes("pexpire", -3, ONE_KEY, keys::pexpire),
    writes("pexpireat", -3, ONE_KEY, keys::pexpireat),
    reads("pexpiretime", 2, ONE_KEY, keys::pexpiretime),
    reads("ping", -1, NO_KEYS, server::ping),
    writes("psetex", 4, ONE_KEY, strings::psetex),
    reads("pttl", 2, ONE_KEY, keys::pttl),
    at_once("quit", -1, server::quit),
    reads("randomkey", 1, NO_KEYS, keys::randomkey),
    reads("readonly", 1, NO_KEYS, server::cluster),
    reads("readwrite", 1, NO_KEYS, server::cluster),
    writes("rename", 3, TWO_KEYS, moving::rename),
    writes("renamenx", 3, TWO_KEYS, moving::renamenx),
    at_once("reset", 1, server::reset),
    reads("role", 1, NO_KEYS, server::role),
    reads("scan", -2, NO_KEYS, keys::scan),
    reads("script", -2, NO_KEYS, scripts::script),
    reads("select", 2, NO_KEYS, server::select),
    writes("set", -3, ONE_KEY, strings::set),
    writes("setbit", 4, ONE_KEY, patching::setbit),
    writes("setex", 4, ONE_KEY, strings::setex),
    writes("setnx", 3, ONE_KEY, strings::setnx),
    writes("setrange", 4, ONE_KEY, patching::setrange),
    reads("shutdown", -1, NO_KEYS, server::shutdown),
    reads("slowlog", -2, NO_KEYS, server::slowlog),
    reads("strlen", 2, ONE_KEY, strings::strlen),
    reads("substr", 4, ONE_KEY, strings::getrange),
    reads("time", 1, NO_KEYS, server::time),
    reads("touch", -2, ALL_KEYS, keys::exists),
    reads("ttl", 2, ONE_KEY, keys::ttl),
    reads("type", 2, ONE_KEY, keys::type_of),
    writes("unlink", -2, ALL_KEYS, keys::del),
    reads("unwatch", 1, NO_KEYS, transaction::unwatch),
    reads("wait", 3, NO_KEYS, server::wait),
    at_once("watch", -2, transaction::watch),
];

/// The names, as numbers in the table's order.
static NAMES: [u128; COMMANDS.len()] = {
    let mut names = [0; COMMANDS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = word(COMMANDS[index].name.as_bytes());
        assert!(index == 0 || names[index - 1] < names[index], "the table is in order");
        index += 1;
    }
    names
};

/// A name as a number, its letters lower. The bit that makes them so makes a letter of nothing else, and all names are letters.
const fn word(name: &[u8]) -> u128 {
    let mut bytes = [0; LONGEST_NAME];
    bytes.split_at_mut(name.len()).0.copy_from_slice(name);
    let lower = u128::from_be_bytes([b' '; LONGEST_NAME]);
    u128::from_be_bytes(bytes) | lower.unbounded_shl(8 * (LONGEST_NAME - name.len()) as u32)
}

/// The command of this name, however it is written.
pub(super) fn find(name: &[u8]) -> Option<&'static Spec> {
    if name.len() > LONGEST_NAME {
        return None;
    }
    let found = NAMES.binary_search(&word(name)).ok().map(|index| &COMMANDS[index]);
    found.filter(|spec| spec.name.len() == name.len())
}

impl Spec {
    /// Is this its name, however it is written?
    pub(super) fn is_called(&self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(self.name.as_bytes())
    }

    /// May it be called before the password was shown?
    pub(super) fn is_for_strangers(&self) -> bool {
        matches!(self.name, "auth" | "hello" | "quit" | "reset")
    }

    /// Does it take so many words, its name included?
    pub(super) fn takes(&self, words: usize) -> bool {
        let least = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { words >= least } else { words == least }
    }
}

impl<'a> Call<'a> {
    /// The next word.
    #[inline]
    pub(super) fn words<const N: usize>(&self) -> Result<[&'a [u8]; N], Refusal> {
        let mut args = self.args;
        let mut words = [&b""[..]; N];
        for word in &mut words {
            *word = args.next().ok_or_else(|| self.wrong_number())?;
        }
        Ok(words)
    }

    /// What is behind so many words.
    pub(super) fn behind(&self, words: usize) -> Args<'a> {
        let mut args = self.args;
        args.by_ref().take(words).for_each(drop);
        args
    }

    /// Too many words, or too few.
    pub(super) fn wrong_number(&self) -> Refusal {
        refuse(format!("ERR wrong number of arguments for '{}' command", self.spec.name))
    }

    /// A subcommand that is not known.
    pub(super) fn unknown_subcommand(&self, word: &[u8]) -> Refusal {
        let container = self.spec.name.to_ascii_uppercase();
        refuse(format!("ERR unknown subcommand '{}'. Try {container} HELP.", repeated(word)))
    }
}

/// An error as an answer.
pub(super) fn refuse(text: impl AsRef<str>) -> Refusal {
    Cow::Owned(error(text.as_ref()))
}

/// A client's word, as it can stand in an error.
pub(super) fn repeated(word: &[u8]) -> String {
    String::from_utf8_lossy(&word[..word.len().min(MOST_REPEATED)]).into_owned()
}

/// The answer to a command that is not in the table: Redis's, word for word.
pub(super) fn unknown(name: &[u8], args: Args<'_>) -> Refusal {
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", repeated(name));
    let begins = text.len();
    for arg in args {
        if text.len() - begins >= MOST_REPEATED {
            break;
        }
        text += &format!("'{}' ", repeated(arg));
    }
    refuse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_however_it_is_written() {
        for spec in &COMMANDS {
            let upper = spec.name.to_ascii_uppercase();
            assert_eq!(find(upper.as_bytes()).map(|found| found.name), Some(spec.name));
            assert_eq!(find(spec.name.as_bytes()).map(|found| found.name), Some(spec.name));
        }
        for unknown in [&b""[..], b"ge", b"gett", b"get\0", b"get ", b"LPUSH", b"incrbyfloatincrbyfloat"] {
            assert!(find(unknown).is_none(), "{}", unknown.escape_ascii());
        }
    }
}
