//! What a connection has told of itself: the version of the protocol, the database, its name, the commands it has queued.

use std::net::SocketAddr;

use super::client::Caller;
use super::commands::{Handled, Refusal, Step, refuse};
use super::compose::{Kind, TOO_LARGE};
use super::database::Database;
use super::scripts::Learnt;
use super::settings::Tuned;
use super::transaction::Queue;
use super::watch::Watch;
use crate::communication::access::Access;
use crate::node::command::{Action, Command, Guard, Removal, Renewal, Request, Store, Terms};

/// The state of a connection that outlives a command.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// RESP3, and not RESP2.
    pub(super) resp3: bool,
    pub(super) database: Database,
    pub(super) name: Vec<u8>,
    /// The connection's number.
    pub(super) id: u64,
    /// Commands between `MULTI` and `EXEC`.
    pub(super) queue: Option<Queue>,
    /// Keys that an `EXEC` depends on.
    pub(super) watch: Watch,
    /// What it has tuned.
    pub(super) tuned: Tuned,
    /// Who it is.
    pub(super) caller: Caller,
    /// Scripts that this connection has loaded.
    pub(super) learnt: Learnt,
    /// The wall clock when the present command came, in milliseconds since 1970.
    pub(super) now_ms: u64,
    /// What the client may do.
    pub(super) access: Access,
    /// It has shown a password in a `HELLO` that comes again.
    pub(super) has_shown: bool,
    /// Longest key.
    pub(super) max_key: usize,
    /// Longest value.
    pub(super) max_value: usize,
    dice: u64,
}

impl Session {
    /// The state of a connection of this number that has said nothing, and between which addresses it is.
    pub(super) fn of(id: u64, addresses: Option<(SocketAddr, SocketAddr)>) -> Session {
        Session { id, caller: Caller::between(addresses), ..Session::default() }
    }

    /// A request about `key`, as it is called in the present database.
    #[inline]
    pub(super) fn ask<'a>(&self, key: &'a [u8], action: Action<'a>, kind: Kind) -> Handled<'a> {
        let key = self.database.stored(key);
        self.check_stored(&key)?;
        self.check_value(value_in(&action))?;
        Ok(Step::Ask(Request::Key(Command { key, action }), kind))
    }

    /// May this be a key?
    pub(super) fn check_key(&self, key: &[u8]) -> Result<(), Refusal> {
        self.check_stored(&self.database.stored(key))
    }

    /// A key of `database` as it stands in the pool, with bytes of its own, if it may be one.
    pub(super) fn owned_key(&self, database: Database, key: &[u8]) -> Result<Vec<u8>, Refusal> {
        let stored = database.stored(key);
        self.check_stored(&stored)?;
        Ok(stored.into_owned())
    }

    /// May these be keys? One that may not refuses them all.
    pub(super) fn check_keys<'a>(&self, mut keys: impl Iterator<Item = &'a [u8]>) -> Result<(), Refusal> {
        keys.try_for_each(|key| self.check_key(key))
    }

    fn check_stored(&self, key: &[u8]) -> Result<(), Refusal> {
        if key.len() <= self.max_key { Ok(()) } else { Err(refuse("ERR the key is longer than limits.max_key")) }
    }

    /// May this be a value? A string may be longer, and then would not fit a frame to the key's owner.
    pub(super) fn check_value(&self, value: &[u8]) -> Result<(), Refusal> {
        if value.len() <= self.max_value { Ok(()) } else { Err(refuse(TOO_LARGE)) }
    }

    /// A number that is another each time.
    pub(super) fn roll(&mut self) -> u32 {
        self.dice = (self.dice ^ self.now_ms).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(self.id | 1);
        (self.dice >> 32) as u32
    }

    /// As it was when the connection was opened.
    pub(super) fn reset(&mut self) {
        let Session { id, now_ms, access, max_key, max_value, dice, .. } = *self;
        let (learnt, mut watch) = (std::mem::take(&mut self.learnt), std::mem::take(&mut self.watch));
        watch.forget();
        let caller = std::mem::take(&mut self.caller);
        *self = Session { id, now_ms, access, max_key, max_value, dice, learnt, watch, caller, ..Session::default() };
    }
}

/// What a request brings along to be stored, or to be compared with what is.
fn value_in<'a>(action: &'a Action<'_>) -> &'a [u8] {
    match action {
        Action::Store(Store { value, .. }) => value,
        Action::Delete(Removal { terms: Some(terms), .. }) | Action::Touch(Renewal { terms: Some(terms), .. }) => compared(terms),
        _ => b"",
    }
}

fn compared<'a>(terms: &'a Terms<'_>) -> &'a [u8] {
    if let Some(Guard::Value(value)) = &terms.only { value } else { b"" }
}
