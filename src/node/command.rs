//! What a client may ask, in no dialect.
//!
//! A codec turns bytes into a [`Request`] and knows nothing of what becomes of it; the node carries it out and knows nothing of the
//! bytes. Keys and values are borrowed from the connection's buffer, and owned only where a dialect had to decode them (HTTP's
//! percent signs and chunks).

use std::borrow::Cow;

use crate::caching::Version;

/// The longest media type that is kept; a longer one is not kept.
pub const MAX_MEDIA: usize = 200;

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
    /// The same, but the value itself is not wanted: it stays where it is.
    Look,
    /// Read the value and give it a new expiry.
    GetAndTouch(Expiry),
    /// Read the value with all that is known of it, as somebody who may have to make it anew.
    Claim(Claim),
    /// Write a value.
    Store(Store<'a>),
    /// Remove the key.
    Delete(Removal<'a>),
    /// Add to a number.
    Count(Count<'a>),
    /// Give the key a new expiry.
    Touch(Renewal<'a>),
    /// List keys. Its command has no key of its own: it goes to the owner of the place where it begins.
    Scan(Scan<'a>),
}

/// Of many clients that miss a value, or find it stale, one is to make it anew: it *wins*, and the others are told that somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// A missing key comes to be, empty and with this expiry, and the client wins.
    pub create: Option<Expiry>,
    /// If less than so many milliseconds are left, the client wins.
    pub renew_below_ms: Option<u64>,
    /// Give the value a new expiry.
    pub touch: Option<Expiry>,
    /// The version that clients are to see of what was created.
    pub seen_version: Option<Version>,
    /// What the reading leaves behind.
    pub trace: Trace,
}

/// What a reading leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    /// It counts as a use, and it claims.
    #[default]
    Use,
    /// It claims, and does not count as a use.
    Claim,
    /// Neither.
    None,
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
    /// Answer with the value that was replaced, or that was in the way.
    pub want_old: bool,
    /// What only some clients say.
    pub terms: Option<Box<Terms<'a>>>,
}

/// A removal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Removal<'a> {
    /// Answer with the value that was removed.
    pub want_old: bool,
    /// What only some clients say.
    pub terms: Option<Box<Terms<'a>>>,
}

/// An addition to a number in decimal digits. The expiry stays, but for what `terms` say.
#[derive(Clone, Debug, PartialEq)]
pub struct Count<'a> {
    /// What to add.
    pub by: Delta,
    /// What only some clients say.
    pub terms: Option<Box<Terms<'a>>>,
}

/// A new expiry.
#[derive(Clone, Debug, PartialEq)]
pub struct Renewal<'a> {
    /// The expiry.
    pub expiry: Expiry,
    /// Only if the present one is so.
    pub when: When,
    /// What only some clients say.
    pub terms: Option<Box<Terms<'a>>>,
}

/// A part of the keys of one owner, in the order of their places on the ring. Keys that share a place are never torn apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan<'a> {
    /// From this place on.
    pub from: u32,
    /// Stop when so many are found; how far it got is answered.
    pub most: u32,
    /// Only keys that begin so.
    pub prefix: Cow<'a, [u8]>,
    /// Only keys that fit this pattern; if it is empty, any ([`crate::glob`]).
    pub pattern: Cow<'a, [u8]>,
    /// What to do with them.
    pub what: ScanFor,
}

/// What to do with the keys of a [`Scan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanFor {
    /// Name them.
    Keys,
    /// Count them.
    Count,
    /// Remove and count them.
    Removal,
}

/// What only some clients say of a write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms<'a> {
    /// Only if this holds. A store, a removal and a count of another version are answered with `Exists`, of another value with `NotStored`.
    pub only: Option<Guard<'a>>,
    /// The version that clients are to see, if they choose it themselves. The order of writes goes by another, which nobody can choose.
    pub seen_version: Option<Version>,
    /// A removal leaves the value, marked as stale. A store of an older version is made, and marked as stale.
    pub stale: bool,
    /// A removal leaves the key, with an empty value.
    pub empties: bool,
    /// Append, prepend and count make a missing value, with this expiry: what is given, or the count's first number.
    pub create: Option<Expiry>,
    /// The first number of a count that makes its value.
    pub first: Number,
    /// A count, and a removal that leaves something, gives this expiry.
    pub expiry: Option<Expiry>,
    /// The value was put together from pieces, as append and prepend do by themselves: some clients ask whether it was.
    pub pieced: bool,
    /// The type of the content, to be kept with the value; empty is none.
    pub media: Cow<'a, [u8]>,
}

/// What a key must have for something to be done with it.
#[derive(Clone, Debug, PartialEq)]
pub enum Guard<'a> {
    /// This version.
    Version(Version),
    /// This value.
    Value(Cow<'a, [u8]>),
}

/// What is added to a number, and how it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delta {
    /// Natural numbers below 2^64, round and round, as memcached counts up.
    Up(u64),
    /// Natural numbers, not below 0, as memcached counts down.
    Down(u64),
    /// Whole numbers from -2^63 to 2^63 - 1, and an error beyond them, as Redis counts.
    Signed(i64),
    /// Floating point, as Redis counts.
    Float(f64),
}

/// A number, as a count leaves it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Below 2^64.
    Natural(u64),
    /// From -2^63 to 2^63 - 1.
    Signed(i64),
    /// Floating point.
    Float(f64),
}

/// What the present expiry must be for a new one to be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// Any, or none.
    #[default]
    Always,
    /// None.
    HasNone,
    /// Any.
    HasOne,
    /// Earlier than the new one.
    Later,
    /// Later than the new one, or none.
    Sooner,
    /// Later than the new one.
    SoonerIfOne,
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
    /// When the present value would have ended; never, if there is none.
    Keep,
    /// So many milliseconds after the present value would have ended; never, if it does not end.
    Longer(u64),
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
    /// Go through the keys of the whole pool.
    Walk(Walk<'a>),
    /// The state of node and pool for programs: `/-/status`, `/-/ready`, `monitor`.
    Status,
}

/// A walk over the keys of the pool, in the order of their places on the ring: nothing that is there all the time is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Walk<'a> {
    /// From this place on: 0 at first, then what the last answer said.
    pub from: u32,
    /// Enough for one answer.
    pub most: u32,
    /// Only keys that begin so.
    pub prefix: Cow<'a, [u8]>,
    /// Only keys that fit this pattern; if it is empty, any ([`crate::glob`]).
    pub pattern: Cow<'a, [u8]>,
    /// What to do with them.
    pub what: ScanFor,
    /// Behind the last place go on with the first, up to where it began. For few keys that are wanted at once.
    pub all_round: bool,
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
            Admin::Walk(walk) => Admin::Walk(walk.to_owned()),
            Admin::Status => Admin::Status,
        }
    }
}

impl Walk<'_> {
    /// The same walk with bytes of its own.
    #[must_use]
    pub fn to_owned(&self) -> Walk<'static> {
        let (prefix, pattern) = (Cow::Owned(self.prefix.to_vec()), Cow::Owned(self.pattern.to_vec()));
        Walk { from: self.from, most: self.most, prefix, pattern, what: self.what, all_round: self.all_round }
    }
}

impl Command<'_> {
    /// The same command with bytes of its own, to be kept for later.
    #[must_use]
    pub fn to_owned(&self) -> Command<'static> {
        Command { key: Cow::Owned(self.key.to_vec()), action: self.action.to_owned() }
    }

    /// The same command, with the bytes of its key and its value borrowed from this one.
    #[must_use]
    pub fn borrowed(&self) -> Command<'_> {
        let action = match &self.action {
            Action::Store(Store { value, mode, flags, expiry, want_old, terms }) => {
                let (value, terms) = (Cow::Borrowed(&value[..]), terms.clone());
                Action::Store(Store { value, mode: *mode, flags: *flags, expiry: *expiry, want_old: *want_old, terms })
            }
            action => action.clone(),
        };
        Command { key: Cow::Borrowed(&self.key), action }
    }

    /// Bytes of its key and its value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let value = if let Action::Store(store) = &self.action { store.value.len() } else { 0 };
        self.key.len() + value
    }

    /// Does it but look? Then it may be carried out twice without harm: the worst is that a claim was won by who never heard of it.
    #[must_use]
    pub fn is_read(&self) -> bool {
        match &self.action {
            Action::Get | Action::Look => true,
            Action::Claim(claim) => claim.create.is_none() && claim.touch.is_none(),
            Action::Scan(scan) => scan.what != ScanFor::Removal,
            _ => false,
        }
    }

    /// May it leave something that its repetition must know of? Looking at a stale value does: who looks first wins it.
    #[must_use]
    pub fn may_write(&self) -> bool {
        !self.is_read() || matches!(self.action, Action::Claim(_))
    }
}

impl Action<'_> {
    /// The same action with bytes of its own.
    #[must_use]
    pub fn to_owned(&self) -> Action<'static> {
        match self {
            Action::Get => Action::Get,
            Action::Look => Action::Look,
            Action::GetAndTouch(expiry) => Action::GetAndTouch(*expiry),
            Action::Claim(claim) => Action::Claim(*claim),
            Action::Store(store) => {
                let Store { mode, value, flags, expiry, want_old, terms } = store;
                let (value, terms) = (Cow::Owned(value.to_vec()), owned(terms.as_deref()));
                Action::Store(Store { mode: *mode, value, flags: *flags, expiry: *expiry, want_old: *want_old, terms })
            }
            Action::Delete(removal) => Action::Delete(Removal { want_old: removal.want_old, terms: owned(removal.terms.as_deref()) }),
            Action::Count(count) => Action::Count(Count { by: count.by, terms: owned(count.terms.as_deref()) }),
            Action::Touch(Renewal { expiry, when, terms }) => {
                Action::Touch(Renewal { expiry: *expiry, when: *when, terms: owned(terms.as_deref()) })
            }
            Action::Scan(Scan { from, most, prefix, pattern, what }) => {
                let (prefix, pattern) = (Cow::Owned(prefix.to_vec()), Cow::Owned(pattern.to_vec()));
                Action::Scan(Scan { from: *from, most: *most, prefix, pattern, what: *what })
            }
        }
    }
}

fn owned(terms: Option<&Terms<'_>>) -> Option<Box<Terms<'static>>> {
    terms.map(|terms| {
        let only = terms.only.as_ref().map(|guard| match guard {
            Guard::Version(version) => Guard::Version(*version),
            Guard::Value(value) => Guard::Value(Cow::Owned(value.to_vec())),
        });
        Box::new(Terms { only, media: Cow::Owned(terms.media.to_vec()), ..*terms })
    })
}

impl<'a> Store<'a> {
    /// A write without a condition, for ever, and of nothing but the value.
    #[must_use]
    pub fn of(value: impl Into<Cow<'a, [u8]>>) -> Store<'a> {
        Store { mode: StoreMode::Set, value: value.into(), flags: 0, expiry: Expiry::Never, want_old: false, terms: None }
    }

    /// A write whose time is over at once: what is left of one whose value was refused. It takes the old value away, and counts as a write.
    #[must_use]
    pub fn of_nothing() -> Store<'static> {
        Store { expiry: Expiry::InMs(0), ..Store::of(&b""[..]) }
    }
}

impl Count<'_> {
    /// An addition to a number that is there.
    #[must_use]
    pub fn by(by: Delta) -> Count<'static> {
        Count { by, terms: None }
    }
}

impl Renewal<'_> {
    /// A new expiry for any value.
    #[must_use]
    pub fn to(expiry: Expiry) -> Renewal<'static> {
        Renewal { expiry, when: When::Always, terms: None }
    }
}

impl Default for Number {
    fn default() -> Number {
        Number::Natural(0)
    }
}
