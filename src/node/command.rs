//! What a client may ask, in no dialect.
//!
//! A codec turns bytes into a [`Request`] and knows nothing of what becomes of it; the node carries it out and knows nothing of the
//! bytes. Keys and values are borrowed from the connection's buffer, and owned only where a dialect had to decode them (HTTP's
//! percent signs and chunks).

use std::borrow::Cow;

use crate::caching::Version;

/// Anything a client may ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request<'a> {
    /// Concerns one key: carried out by the key's owner.
    Key(Command<'a>),
    /// Concerns the node or the pool: carried out by the node that is asked.
    Admin(Admin<'a>),
}

/// What to do with one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Command<'a> {
    /// The key, as the client wrote it.
    pub key: Cow<'a, [u8]>,
    /// What to do with it.
    pub action: Action<'a>,
}

/// The verbs on a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<'a> {
    /// Read the value.
    Get,
    /// Read the value and give it a new expiry.
    GetAndTouch(Expiry),
    /// Write a value.
    Store(Store<'a>),
    /// Remove the key. `want_old` asks for the value that was removed.
    Delete {
        /// Answer with the value that was removed.
        want_old: bool,
    },
    /// Add to a decimal number; wraps at 2^64, as memcached does.
    Increment(u64),
    /// Subtract from a decimal number; stops at 0, as memcached does.
    Decrement(u64),
    /// Give the key a new expiry.
    Touch(Expiry),
}

/// A write of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Store<'a> {
    /// On what condition, and where the bytes go.
    pub mode: StoreMode,
    /// The bytes.
    pub value: Cow<'a, [u8]>,
    /// The client's own 32 bits. Append and prepend leave the old ones.
    pub flags: u32,
    /// When the value ends. Append and prepend leave the old one.
    pub expiry: Expiry,
    /// Answer with the value that was replaced.
    pub want_old: bool,
}

/// The conditions of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMode {
    /// Always.
    Set,
    /// Only if the key is absent.
    Add,
    /// Only if the key is present.
    Replace,
    /// Behind the present value.
    Append,
    /// Before the present value.
    Prepend,
    /// Only if the key still has this version.
    Cas(Version),
}

/// When a value ends, as a client may say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// So many milliseconds from now; 0 is at once.
    InMs(u64),
    /// When the wall clock shows so many milliseconds since 1970.
    AtWallMs(u64),
}

/// What concerns the node or the pool, not a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Admin<'a> {
    /// Forget every key of the pool.
    Flush {
        /// `InMs(0)` is at once.
        when: Expiry,
    },
    /// Take the node at this address into the pool.
    Connect(Cow<'a, str>),
    /// Treat the node at this address as dead, everywhere.
    Dead(Cow<'a, str>),
    /// Read the journal into the cache again.
    Reconstruct,
    /// Is somebody there? Answered with [`Report::Alive`](super::reply::Report).
    Alive,
    /// Who owns this key, and who mirrors it?
    Owner(Cow<'a, [u8]>),
    /// Why does it, and what has this node of the key?
    Why(Cow<'a, [u8]>),
    /// The nodes and their shares of the ring.
    Ring,
    /// The other nodes, as this one sees them.
    Peers,
    /// The counters.
    Stats,
    /// The settings that `stats settings` shows.
    Settings,
    /// Set the counters that may be reset to zero.
    ResetStats,
    /// The state of node and pool for programs: `/-/status`, `/-/ready`, `monitor`.
    Status,
}

impl Request<'_> {
    /// The same request with bytes of its own, to be kept for later.
    #[must_use]
    pub fn to_owned(&self) -> Request<'static> {
        match self {
            Request::Key(command) => Request::Key(command.to_owned()),
            Request::Admin(admin) => Request::Admin(admin.to_owned()),
        }
    }
}

impl Admin<'_> {
    /// The same request with bytes of its own.
    #[must_use]
    pub fn to_owned(&self) -> Admin<'static> {
        match self {
            Admin::Flush { when } => Admin::Flush { when: *when },
            Admin::Connect(address) => Admin::Connect(Cow::Owned(address.to_string())),
            Admin::Dead(address) => Admin::Dead(Cow::Owned(address.to_string())),
            Admin::Owner(key) => Admin::Owner(Cow::Owned(key.to_vec())),
            Admin::Why(key) => Admin::Why(Cow::Owned(key.to_vec())),
            Admin::Reconstruct => Admin::Reconstruct,
            Admin::Alive => Admin::Alive,
            Admin::Ring => Admin::Ring,
            Admin::Peers => Admin::Peers,
            Admin::Stats => Admin::Stats,
            Admin::Settings => Admin::Settings,
            Admin::ResetStats => Admin::ResetStats,
            Admin::Status => Admin::Status,
        }
    }
}

impl Command<'_> {
    /// The same command with bytes of its own, to be kept for later.
    #[must_use]
    pub fn to_owned(&self) -> Command<'static> {
        let action = match &self.action {
            Action::Get => Action::Get,
            Action::GetAndTouch(expiry) => Action::GetAndTouch(*expiry),
            Action::Store(store) => {
                let Store { mode, value, flags, expiry, want_old } = store;
                let value = Cow::Owned(value.to_vec());
                Action::Store(Store { mode: *mode, value, flags: *flags, expiry: *expiry, want_old: *want_old })
            }
            Action::Delete { want_old } => Action::Delete { want_old: *want_old },
            Action::Increment(delta) => Action::Increment(*delta),
            Action::Decrement(delta) => Action::Decrement(*delta),
            Action::Touch(expiry) => Action::Touch(*expiry),
        };
        Command { key: Cow::Owned(self.key.to_vec()), action }
    }

    /// May it be carried out twice without anyone being able to tell?
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self.action, Action::Get)
    }
}
