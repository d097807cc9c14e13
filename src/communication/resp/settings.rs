//! `CONFIG`: what clients look at before they begin, and what they tune.
//!
//! Options of Redis that have a counterpart here are told and not taken: they are set in the configuration file. Those that tune what is not
//! here (how lists and sets are laid out, how hard Redis works in the background) may be set: no answer of this server depends on them, so a
//! connection's setting is remembered, told to it again, and changes nothing. Others are an error.

use std::borrow::Cow;

use super::commands::{Call, Handled, Refusal, Step, refuse, repeated};
use super::compose::{Kind, OK, push_map};
use super::frame::push_string;
use super::keys::lower;
use super::session::Session;
use crate::glob;
use crate::node::command::{Admin, Request};

/// What `CONFIG GET` tells, and `CONFIG SET` does not change.
const FIXED: [(&str, &str); 10] = [
    ("maxmemory", "0"),
    ("maxmemory-policy", "allkeys-lru"),
    ("save", ""),
    ("appendonly", "no"),
    ("databases", "16"),
    ("timeout", "0"),
    ("notify-keyspace-events", ""),
    ("cluster-enabled", "no"),
    ("slave-read-only", "yes"),
    ("replica-read-only", "yes"),
];

/// What tunes nothing here, with Redis's defaults.
const TUNING: [(&str, &str); 22] = [
    ("active-expire-effort", "1"),
    ("activerehashing", "yes"),
    ("dynamic-hz", "yes"),
    ("hash-max-listpack-entries", "512"),
    ("hash-max-listpack-value", "64"),
    ("hash-max-ziplist-entries", "512"),
    ("hash-max-ziplist-value", "64"),
    ("hll-sparse-max-bytes", "3000"),
    ("hz", "10"),
    ("list-compress-depth", "0"),
    ("list-max-listpack-size", "-2"),
    ("list-max-ziplist-size", "-2"),
    ("set-max-intset-entries", "512"),
    ("set-max-listpack-entries", "128"),
    ("set-max-listpack-value", "64"),
    ("stream-node-max-bytes", "4096"),
    ("stream-node-max-entries", "100"),
    ("zset-max-listpack-entries", "128"),
    ("zset-max-listpack-value", "64"),
    ("zset-max-ziplist-entries", "128"),
    ("zset-max-ziplist-value", "64"),
    ("lfu-decay-time", "1"),
];

/// The longest value that is remembered.
const LONGEST_VALUE: usize = 64;

/// What a connection has tuned: the place in [`TUNING`], and the value.
#[derive(Debug, Default)]
pub(super) struct Tuned(Vec<(usize, Vec<u8>)>);

impl Tuned {
    fn set(&mut self, index: usize, value: &[u8]) {
        self.0.retain(|(other, _)| *other != index);
        self.0.push((index, value.to_vec()));
    }

    /// Every option, as this connection is to see it.
    fn told(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let fixed = FIXED.iter().map(|(name, value)| (*name, value.as_bytes()));
        let tuning = TUNING.iter().enumerate().map(|(index, (name, value))| {
            let set = self.0.iter().find(|(other, _)| *other == index);
            (*name, set.map_or(value.as_bytes(), |(_, value)| value))
        });
        fixed.chain(tuning)
    }
}

/// `CONFIG GET pattern... | SET option value... | RESETSTAT`
pub(super) fn config<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [word] = call.words()?;
    let words = call.args.len();
    match &word.to_ascii_uppercase()[..] {
        b"GET" if words > 1 => Ok(Step::Say(Cow::Owned(told(session, call)))),
        b"SET" if words > 2 && words % 2 == 1 => set(session, call),
        b"RESETSTAT" => Ok(Step::Ask(Request::Admin(Admin::ResetStats), Kind::Ok)),
        b"REWRITE" => Err(refuse("ERR The server is running without a config file")),
        b"GET" | b"SET" => Err(refuse(format!("ERR wrong number of arguments for 'config|{}' command", lower(word)))),
        _ => Err(call.unknown_subcommand(word)),
    }
}

fn told(session: &Session, call: &Call<'_>) -> Vec<u8> {
    let fits = |name: &str| call.behind(1).any(|pattern| glob::fits(&pattern.to_ascii_lowercase(), name.as_bytes()));
    let told: Vec<_> = session.tuned.told().filter(|(name, _)| fits(name)).collect();
    let mut answer = Vec::new();
    push_map(session.resp3, told.len(), &mut answer);
    for (name, value) in told {
        push_string(name.as_bytes(), &mut answer);
        push_string(value, &mut answer);
    }
    answer
}

/// All of them, or none.
fn set<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let (mut wanted, mut words) = (Vec::new(), call.behind(1));
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match TUNING.iter().position(|(known, _)| is(known)) {
            Some(index) if value.len() <= LONGEST_VALUE => wanted.push((index, value)),
            // What it is already may be said again.
            None if FIXED.iter().any(|(known, fixed)| is(known) && value == fixed.as_bytes()) => {}
            Some(_) => return Err(failed(name, "the value is too long")),
            None => return Err(failed(name, "options are set in the configuration file")),
        }
    }
    wanted.into_iter().for_each(|(index, value)| session.tuned.set(index, value));
    Ok(Step::Say(Cow::Borrowed(OK)))
}

fn failed(name: &[u8], why: &str) -> Refusal {
    refuse(format!("ERR CONFIG SET failed (possibly related to argument '{}') - {why}", repeated(name)))
}
