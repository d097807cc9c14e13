//! Scripts that are known: the locks of client libraries, and little else.
//!
//! No Lua runs here. But libraries that lock by Redis say what they mean in a handful of scripts: compare and delete, compare and give more
//! time, add if there is nothing. Those are recognised by what they say, whatever their blanks, comments and quotes, and carried
//! out by the key's owner as the one step that they mean. A few are known by their SHA1 too, for clients that begin with `EVALSHA`; others
//! a connection has to have shown before. Any other script is refused.

use std::borrow::Cow;

use sha1::{Digest, Sha1};

use super::commands::{Call, Handled, Refusal, Step, refuse};
use super::compose::{Kind, OK, push_number};
use super::frame::{push_header, push_string};
use super::session::Session;
use super::strings::{counting, integer};
use crate::node::command::{Action, Count, Delta, Expiry, Guard, Number, Removal, Renewal, Store, StoreMode, Terms, When};

/// Most scripts that a connection is remembered to have shown.
const MOST_LEARNT: usize = 64;

/// What a script does with its one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    /// Remove it if its value is `ARGV[1]`: 1 or 0.
    Release,
    /// If its value is `ARGV[1]`, let it live so many milliseconds or seconds (`ARGV[2]`): 1 or 0.
    Renew { in_ms: bool },
    /// redis-py's: the same, or so many milliseconds longer if `ARGV[3]` is 0.
    Extend,
    /// Write `ARGV[1]` for `ARGV[2]` seconds if there is nothing: OK or nothing.
    Add,
    /// Write `ARGV[1]` for `ARGV[2]` milliseconds if there is nothing: 1 or 0.
    Acquire,
    /// Add `ARGV[1]` to it if it is there: the sum or nothing.
    CountIfAny,
    /// Add `ARGV[1]` to it: the sum.
    Count,
}

/// What scripts say, without what does not matter ([`essence`]).
const KNOWN: [(&str, Script); 17] = [
    // The release of Redis's own documentation, which most libraries use (Laravel, Spring, redislock, redsync), in its spellings.
    ("ifredis.call('get',keys[1])==argv[1]thenreturnredis.call('del',keys[1])elsereturn0end", Script::Release),
    ("ifredis.call('get',keys[1])==argv[1]thenreturnredis.call('del',keys[1])endreturn0", Script::Release),
    ("if(redis.call('get',keys[1])==argv[1])thenreturnredis.call('del',keys[1])elsereturn0end", Script::Release),
    ("if(redis.call('get',keys[1])==argv[1])thenreturnredis.call('del',keys[1])endreturn0", Script::Release),
    // redis-py
    ("localtoken=redis.call('get',keys[1])ifnottokenortoken~=argv[1]thenreturn0endredis.call('del',keys[1])return1", Script::Release),
    (
        "localtoken=redis.call('get',keys[1])ifnottokenortoken~=argv[1]thenreturn0endredis.call('pexpire',keys[1],argv[2])return1",
        Script::Renew { in_ms: true },
    ),
    (
        "localtoken=redis.call('get',keys[1])ifnottokenortoken~=argv[1]thenreturn0endlocalexpiration=redis.call('pttl',keys[1])\
         ifnotexpirationthenexpiration=0endifexpiration<0thenreturn0endlocalnewttl=argv[2]ifargv[3]=='0'thennewttl=argv[2]+expirationend\
         redis.call('pexpire',keys[1],newttl)return1",
        Script::Extend,
    ),
    // More time, in the spellings of Laravel, redislock and redsync.
    ("ifredis.call('get',keys[1])==argv[1]thenreturnredis.call('pexpire',keys[1],argv[2])elsereturn0end", Script::Renew { in_ms: true }),
    ("ifredis.call('get',keys[1])==argv[1]thenreturnredis.call('pexpire',keys[1],argv[2])endreturn0", Script::Renew { in_ms: true }),
    ("ifredis.call('get',keys[1])==argv[1]thenreturnredis.call('expire',keys[1],argv[2])elsereturn0end", Script::Renew { in_ms: false }),
    ("ifredis.call('get',keys[1])==argv[1]thenreturnredis.call('expire',keys[1],argv[2])endreturn0", Script::Renew { in_ms: false }),
    // Laravel's add
    ("returnredis.call('exists',keys[1])<1andredis.call('setex',keys[1],argv[2],argv[1])", Script::Add),
    // django-redis
    (
        "localexists=redis.call('exists',keys[1])if(exists==1)thenreturnredis.call('incrby',keys[1],argv[1])elsereturnfalseend",
        Script::CountIfAny,
    ),
    ("returnredis.call('incrby',keys[1],argv[1])", Script::Count),
    // node-redlock, for one key
    (
        "fori,keyinipairs(keys)doifredis.call('exists',key)==1thenreturn0endendfori,keyinipairs(keys)do\
         redis.call('set',key,argv[1],'px',argv[2])endreturn#keys",
        Script::Acquire,
    ),
    (
        "localcount=0fori,keyinipairs(keys)doifredis.call('get',key)==argv[1]thenredis.pcall('del',key)count=count+1endendreturncount",
        Script::Release,
    ),
    (
        "fori,keyinipairs(keys)doifredis.call('get',key)~=argv[1]thenreturn0endendfori,keyinipairs(keys)do\
         redis.call('set',key,argv[1],'px',argv[2])endreturn#keys",
        Script::Renew { in_ms: true },
    ),
];

/// Scripts of which clients send nothing but the SHA1 at first: redis-py's three, in the bytes of its releases.
const KNOWN_BY_SHA1: [(&str, Script); 3] = [
    ("c3f8721cbb97f72bc19e972846bd7aaf91901658", Script::Release),
    ("a4e8783852e6b949f9ef3a97212805108459a890", Script::Extend),
    ("1cac51482acf5858da00f6d685d68f886cd6b6b2", Script::Renew { in_ms: true }),
];

/// The scripts that a connection has shown, by their SHA1.
#[derive(Debug, Default)]
pub(super) struct Learnt(Vec<(String, Script)>);

impl Learnt {
    fn find(&self, sha1: &[u8]) -> Option<Script> {
        let is = |known: &str| known.as_bytes().eq_ignore_ascii_case(sha1);
        let of_old = KNOWN_BY_SHA1.iter().find(|(known, _)| is(known)).map(|(_, script)| *script);
        of_old.or_else(|| self.0.iter().find(|(known, _)| is(known)).map(|(_, script)| *script))
    }

    fn learn(&mut self, body: &[u8]) -> Option<(String, Script)> {
        let script = script_of(body)?;
        let sha1 = sha1_of(body);
        if self.find(sha1.as_bytes()).is_none() {
            if self.0.len() >= MOST_LEARNT {
                self.0.remove(0);
            }
            self.0.push((sha1.clone(), script));
        }
        Some((sha1, script))
    }
}

fn sha1_of(body: &[u8]) -> String {
    Sha1::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn script_of(body: &[u8]) -> Option<Script> {
    const LONGEST: usize = 8 << 10;
    let essence = essence(body.get(..body.len().min(LONGEST))?);
    KNOWN.iter().find(|(known, _)| known.as_bytes() == essence).map(|(_, script)| *script)
}

/// A script without comments, blanks and semicolons, its letters small and its quotes single. None of the known ones has a string in
/// which that would make a difference.
fn essence(body: &[u8]) -> Vec<u8> {
    let mut essence = Vec::with_capacity(body.len());
    for line in body.split(|byte| *byte == b'\n') {
        let end = line.windows(2).position(|pair| pair == b"--").unwrap_or(line.len());
        let kept = line[..end].iter().filter(|byte| !byte.is_ascii_whitespace() && **byte != b';');
        essence.extend(kept.map(|byte| if *byte == b'"' { b'\'' } else { byte.to_ascii_lowercase() }));
    }
    essence
}

/// `EVAL body numkeys key... arg...`
pub(super) fn eval<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [body] = call.words()?;
    match session.learnt.learn(body) {
        Some((_, script)) => run(script, session, call),
        None => Err(not_known()),
    }
}

/// `EVALSHA sha1 numkeys key... arg...`
pub(super) fn evalsha<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [sha1] = call.words()?;
    match session.learnt.find(sha1) {
        Some(script) => run(script, session, call),
        None => Err(refuse("NOSCRIPT No matching script. Please use EVAL.")),
    }
}

/// `SCRIPT LOAD body | EXISTS sha1... | FLUSH`
pub(super) fn script<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [word] = call.words()?;
    let mut answer = Vec::new();
    if word.eq_ignore_ascii_case(b"LOAD") {
        let [_, body] = call.words()?;
        let (sha1, _) = session.learnt.learn(body).ok_or_else(not_known)?;
        push_string(sha1.as_bytes(), &mut answer);
    } else if word.eq_ignore_ascii_case(b"EXISTS") {
        push_header(b'*', call.args.len() - 1, &mut answer);
        call.behind(1).for_each(|sha1| push_number(session.learnt.find(sha1).is_some().into(), &mut answer));
    } else if word.eq_ignore_ascii_case(b"FLUSH") {
        session.learnt = Learnt::default();
        answer.extend_from_slice(OK);
    } else {
        return Err(call.unknown_subcommand(word));
    }
    Ok(Step::Say(Cow::Owned(answer)))
}

/// `FUNCTION FLUSH [SYNC | ASYNC] | LIST`: there are none, so they are soon removed and listed.
pub(super) fn function<'a>(_: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [word] = call.words()?;
    match &word.to_ascii_uppercase()[..] {
        b"FLUSH" => Ok(Step::Say(Cow::Borrowed(OK))),
        b"LIST" => Ok(Step::Say(Cow::Borrowed(b"*0\r\n"))),
        _ => Err(call.unknown_subcommand(word)),
    }
}

fn not_known() -> Refusal {
    refuse("ERR scripts are not supported, but for the locks of well-known clients")
}

fn run<'a>(script: Script, session: &Session, call: &Call<'a>) -> Handled<'a> {
    let [_, numkeys] = call.words()?;
    let keys = integer(numkeys)?;
    if keys < 0 {
        return Err(refuse("ERR Number of keys can't be negative"));
    }
    if keys as usize > call.args.len() - 2 {
        return Err(refuse("ERR Number of keys can't be greater than number of args"));
    }
    let [key, first, second, third] = first_four(call);
    if keys != 1 {
        return Err(refuse("ERR this script is known for one key: several may have several owners"));
    }
    let (action, kind) = script.action(first, second, third)?;
    session.ask(key, action, kind)
}

/// The words behind the number of keys, empty where there are none.
fn first_four<'a>(call: &Call<'a>) -> [&'a [u8]; 4] {
    let mut args = call.behind(2);
    [(); 4].map(|()| args.next().unwrap_or_default())
}

impl Script {
    /// What it means, by its arguments, and what its reply is.
    fn action<'a>(self, first: &'a [u8], second: &'a [u8], third: &'a [u8]) -> Result<(Action<'a>, Kind), Refusal> {
        let only = || Some(Box::new(Terms { only: Some(Guard::Value(Cow::Borrowed(first))), ..Terms::default() }));
        let add = |expiry| Action::Store(Store { mode: StoreMode::Add, expiry, ..Store::of(first) });
        let renew = |expiry, when| Action::Touch(Renewal { expiry, when, terms: only() });
        Ok(match self {
            Script::Release => (Action::Delete(Removal { want_old: false, terms: only() }), Kind::Flag),
            Script::Renew { in_ms } => (renew(time(second, in_ms)?, When::Always), Kind::Flag),
            Script::Extend if third == b"0" => (renew(longer(second)?, When::HasOne), Kind::Flag),
            Script::Extend => (renew(time(second, true)?, When::HasOne), Kind::Flag),
            Script::Add => (add(lasting(second, false)?), Kind::Ok),
            Script::Acquire => (add(lasting(second, true)?), Kind::Flag),
            Script::CountIfAny => (Action::Count(Count::by(Delta::Signed(integer(first)?))), Kind::NumberIfAny),
            Script::Count => {
                let by = integer(first)?;
                (counting(Delta::Signed(by), Number::Signed(by)), Kind::Number)
            }
        })
    }
}

/// A time to live; one that is over ends the key at once. Lua's numbers may have a fraction.
fn time(word: &[u8], in_ms: bool) -> Result<Expiry, Refusal> {
    let number = whole(word)?;
    let ms = if in_ms { Some(number) } else { number.checked_mul(1_000) };
    let ms = ms.ok_or_else(|| refuse("ERR invalid expire time in script"))?;
    Ok(Expiry::InMs(ms.max(0).cast_unsigned()))
}

fn longer(word: &[u8]) -> Result<Expiry, Refusal> {
    Ok(Expiry::Longer(whole(word)?.max(0).cast_unsigned()))
}

/// The same, for a command that takes none that is over.
fn lasting(word: &[u8], in_ms: bool) -> Result<Expiry, Refusal> {
    match time(word, in_ms)? {
        Expiry::InMs(0) => Err(refuse("ERR invalid expire time in script")),
        expiry => Ok(expiry),
    }
}

fn whole(word: &[u8]) -> Result<i64, Refusal> {
    let digits = word.strip_suffix(b".0").unwrap_or(word);
    integer(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_known_by_what_it_says() {
        let laravel = "if redis.call(\"get\",KEYS[1]) == ARGV[1] then\n    return redis.call(\"del\",KEYS[1])\nelse\n    return 0\nend";
        assert_eq!(script_of(laravel.as_bytes()), Some(Script::Release));
        let commented =
            "-- free it\nif redis.call('GET', KEYS[1]) == ARGV[1] then -- ours\n  return redis.call('DEL', KEYS[1]);\nend\nreturn 0\n";
        assert_eq!(script_of(commented.as_bytes()), Some(Script::Release));
        for unknown in ["return 1", "return redis.call('del', KEYS[1])", "", "--"] {
            assert_eq!(script_of(unknown.as_bytes()), None, "{unknown}");
        }
    }

    #[test]
    fn what_was_shown_is_known_by_its_sha1_and_only_so_much_is_remembered() {
        let mut learnt = Learnt::default();
        let body = b"return redis.call('incrby', KEYS[1], ARGV[1])";
        assert_eq!(learnt.find(sha1_of(body).as_bytes()), None);
        assert_eq!(learnt.learn(body), Some((sha1_of(body), Script::Count)));
        assert_eq!(learnt.find(sha1_of(body).to_uppercase().as_bytes()), Some(Script::Count));
        for blanks in 1..200 {
            assert!(learnt.learn(&[&body[..], &vec![b' '; blanks]].concat()).is_some());
        }
        assert_eq!((learnt.0.len(), learnt.find(sha1_of(body).as_bytes())), (MOST_LEARNT, None));
    }

    #[test]
    fn an_essence_is_what_essence_leaves_of_it() {
        for (known, _) in KNOWN {
            assert_eq!(essence(known.as_bytes()), known.as_bytes());
        }
    }
}
