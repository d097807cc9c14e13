//! All that nodes say to each other.
//!
//! A link begins with [`Message::Hello`] from the one who dialled, answered by `Welcome` or by `Refused` with the reason; in a pool that has a
//! secret both ends prove before, by `Challenge` and `Proof`, that they know it. After that the
//! dialler pings and asks, the other pongs and answers. Requests carry an id, so many can be in flight; the id carries the asker's
//! generation, so that an answer that comes late fits nothing.
//!
//! In a pool with mirrors pings and pongs carry a [`Pulse`], and a pong may carry a lease. `Prepare` to `Commit` are how a view is agreed on;
//! `Mirror` to `Doubts` how copies are kept; `Survey` and `Holdings` how those are filled who come back or are new. All of these name the
//! view they are said in, and count for nothing in another.

use std::borrow::Cow;

use super::command::{Command, Number};
use super::reply::{Details, Failure, Page, Reply, Value};
use crate::caching::Version;
pub use crate::caching::content::{Block, Content};
pub use crate::caching::entry::{MAX_EXTRA, MAX_KEY};
pub use crate::topology::agreement::Promised;
use crate::topology::membership::Card;
use crate::topology::view::{View, ViewId};

/// The version of this vocabulary. Nodes that differ refuse each other.
pub const PROTOCOL_VERSION: u32 = 10;

/// Bytes of a [`Nonce`].
pub const NONCE_BYTES: usize = 16;
/// A number that is used once.
pub type Nonce = [u8; NONCE_BYTES];

/// The number of a parked request: its place in the asker's table and the generation of that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What one node says to another.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// Who I am, and whom I know. The first word on a link.
    Hello(Introduction<'a>),
    /// You fit; this is who I am, and whom I know.
    Welcome(Introduction<'a>),
    /// You do not fit.
    Refused {
        /// Why, for a person.
        reason: Cow<'a, str>,
    },
    /// Prove that you know the pool's secret. The first word on a link, from both ends, where there is one.
    Challenge {
        /// To be proven over.
        nonce: Nonce,
        /// The name of who speaks.
        name: Cow<'a, str>,
    },
    /// I know it.
    Proof([u8; 32]),
    /// Are you there?
    Ping {
        /// To be repeated in the pong.
        number: u64,
        /// How it is with me.
        pulse: Pulse,
    },
    /// I am.
    Pong {
        /// The ping's.
        number: u64,
        /// The view in which I grant you a lease, if I do.
        grant: Option<ViewId>,
        /// How it is with me.
        pulse: Pulse,
    },
    /// Carry this out: to my knowledge the key is yours.
    Request {
        /// To be repeated in the answer.
        id: RequestId,
        /// The view by which it is yours.
        view: ViewId,
        /// The number of a write among all that its entry node ever forwards; 0 for what may be done twice.
        serial: u64,
        /// What to carry out.
        command: Command<'a>,
    },
    /// What came of a request.
    Answer {
        /// The request's.
        id: RequestId,
        /// What came of it.
        outcome: Outcome<'a>,
    },
    /// Forget every key you hold.
    Flush {
        /// To be repeated in the answer.
        id: RequestId,
        /// Milliseconds from now.
        delay_ms: u64,
    },
    /// These nodes are in the pool.
    Members(Vec<Card>),
    /// Treat this life of this node as dead, or, if `dead` is false, no longer so.
    Declare {
        /// The node's name.
        name: Cow<'a, str>,
        /// Which of its lives.
        incarnation: u64,
        /// Dead, or back.
        dead: bool,
    },
    /// Stop serving in this view: I want to propose the next one.
    Prepare {
        /// The view to be followed; the nameless one at a pool's beginning.
        base: ViewId,
        /// The number of the proposal.
        ballot: u64,
    },
    /// I have stopped.
    Promise(Box<Promise>),
    /// I have promised more to another.
    Outbid {
        /// The view to be followed.
        base: ViewId,
        /// What I have promised.
        ballot: u64,
    },
    /// Let this be the next view.
    Accept {
        /// The view that it follows.
        base: ViewId,
        /// The number of the proposal.
        ballot: u64,
        /// The proposed view.
        view: Box<View>,
        /// The seats that were not heard and may believe that they still serve.
        silent: Vec<u16>,
    },
    /// Let it be.
    Accepted {
        /// The view that is followed.
        base: ViewId,
        /// The number of the proposal.
        ballot: u64,
    },
    /// This is the view.
    Commit(Box<View>),
    /// Hold this.
    Mirror {
        /// The view in which I own the key.
        view: ViewId,
        /// The number of the change among all of mine.
        number: u64,
        /// All holders have everything up to here.
        done: u64,
        /// The request that it answers, if another node forwarded it.
        tag: Option<Tag<'a>>,
        /// What to hold.
        change: Change<'a>,
    },
    /// I hold everything up to here.
    Mirrored {
        /// The view it was said in.
        view: ViewId,
        /// The number of the last change.
        number: u64,
    },
    /// I hold these keys in a state of which I do not know whether all have it; you own them.
    Doubts {
        /// The view in which you own them.
        view: ViewId,
        /// The keys.
        keys: Vec<Cow<'a, [u8]>>,
    },
    /// What do you have in these places?
    Survey {
        /// The view in which I own them.
        view: ViewId,
        /// From this place.
        from: u32,
        /// To this one, which belongs to them.
        to: u32,
        /// The digest of what I have there.
        digest: Digest,
    },
    /// This is what I have there.
    Holdings {
        /// The view it was asked in.
        view: ViewId,
        /// From this place.
        from: u32,
        /// To this one.
        to: u32,
        /// Keys, by digest, and their versions; nothing if the digests are equal.
        list: Option<Vec<(u64, u64)>>,
    },
}

impl Message<'_> {
    /// May it overtake, on its link, what is not? Heartbeats, and what is said to agree on a view. They tell of no write, so they do not
    /// wait for the journal either; and nothing relies on their order with the rest: changes and their confirmations count in their own
    /// view alone, pulses are numbered, and a request below the watermark comes too late.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        match self {
            Message::Ping { .. } | Message::Pong { .. } | Message::Prepare { .. } | Message::Promise(_) => true,
            Message::Outbid { .. } | Message::Accept { .. } | Message::Accepted { .. } | Message::Commit(_) => true,
            Message::Hello(_) | Message::Welcome(_) | Message::Refused { .. } | Message::Challenge { .. } | Message::Proof(_) => false,
            Message::Request { .. } | Message::Answer { .. } | Message::Flush { .. } | Message::Members(_) => false,
            Message::Declare { .. } | Message::Mirror { .. } | Message::Mirrored { .. } | Message::Doubts { .. } => false,
            Message::Survey { .. } | Message::Holdings { .. } => false,
        }
    }

    /// Bytes of the value that it brings.
    #[must_use]
    pub fn value_len(&self) -> usize {
        match self {
            Message::Request { command, .. } => command.bytes(),
            Message::Answer { outcome: Outcome::Value { bytes, .. }, .. } => bytes.len(),
            Message::Mirror { change: Change::Put { value, .. }, .. } => value.len(),
            _ => 0,
        }
    }

    /// May it be large?
    #[must_use]
    pub fn is_of_values(&self) -> bool {
        matches!(
            self,
            Message::Request { .. } | Message::Answer { .. } | Message::Mirror { .. } | Message::Doubts { .. } | Message::Holdings { .. }
        )
    }
}

/// How it is with a node, said with every ping and pong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Whose it is: the life of the node that says it.
    pub life: u64,
    /// Grows with each that is said: two links do not keep one order.
    pub number: u64,
    /// The view it knows.
    pub view: ViewId,
    /// Does it take part in it?
    pub takes_part: bool,
    /// Does it hold a lease?
    pub is_active: bool,
    /// Are all filled that it has to fill?
    pub has_filled: bool,
    /// Does it want to leave?
    pub leaves: bool,
    /// The lineage that its view's went on from without having the right to; 0 if it is an heir by right.
    pub parent: u64,
    /// How many take part in its view.
    pub size: u64,
    /// It forwards no write below this serial any more.
    pub watermark: u64,
    /// All holders have its changes up to here.
    pub done: u64,
    /// Do bytes of large values move on its links, or to its journal?
    pub moves: bool,
}

/// A promise not to serve in a view any more, nor to heed lower proposals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The view to be followed.
    pub base: ViewId,
    /// The number of the proposal.
    pub ballot: u64,
    /// What came with it.
    pub promised: Promised,
}

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<'a> {
    /// It has this value.
    Put {
        /// The key.
        key: Cow<'a, [u8]>,
        /// The value.
        value: Content<'a>,
        /// The client's own 32 bits.
        flags: u32,
        /// What travels with the value, at most [`MAX_EXTRA`] bytes; empty is none.
        extra: Cow<'a, [u8]>,
        /// Milliseconds it has left; `None` is for ever.
        ttl_ms: Option<u64>,
        /// Its version.
        version: Version,
    },
    /// It is gone.
    Delete {
        /// The key.
        key: Cow<'a, [u8]>,
        /// The version of the removal.
        version: Version,
    },
    /// The value you have is right, and this is what it has left.
    Keep {
        /// The key.
        key: Cow<'a, [u8]>,
        /// The version it has.
        version: Version,
        /// Milliseconds it has left; `None` is for ever.
        ttl_ms: Option<u64>,
    },
    /// These are no longer there.
    Drop {
        /// From this place.
        from: u32,
        /// To this one.
        to: u32,
        /// The keys' digests.
        digests: Vec<u64>,
    },
}

impl Change<'_> {
    /// The key that it changes, if it is one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Change::Put { key, .. } | Change::Delete { key, .. } | Change::Keep { key, .. } => Some(key),
            Change::Drop { .. } => None,
        }
    }
}

/// Whose request a change answers, and how: a new owner that is asked again repeats the answer and not the change.
#[derive(Clone, Debug, PartialEq)]
pub struct Tag<'a> {
    /// The entry node's seat.
    pub seat: u16,
    /// The request's serial there.
    pub serial: u64,
    /// What was, or will be, answered.
    pub outcome: Outcome<'a>,
}

/// What somebody has in a range of places, in two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many keys; those whose time ends are never equal.
    pub count: u64,
    /// The sum of the keys' and versions' mixed digests.
    pub sum: u64,
}

/// Who a node is, and whom it knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Introduction<'a> {
    /// [`PROTOCOL_VERSION`] of the one who speaks.
    pub protocol: u32,
    /// The pool's name.
    pub pool: Cow<'a, str>,
    /// Who speaks.
    pub me: Card,
    /// Whom it knows besides.
    pub others: Vec<Card>,
    /// How many nodes hold a key, its owner included; 0 if each names its stand-ins.
    pub copies: u32,
}

/// A [`Reply`] as it travels: without the reports, which never leave their node.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// The key's value.
    Value {
        /// The bytes.
        bytes: Cow<'a, [u8]>,
        /// The client's own 32 bits.
        flags: u32,
        /// The version.
        version: Version,
        /// Milliseconds it has left; `None` is for ever.
        ttl_ms: Option<u64>,
        /// The type of the content.
        media: Cow<'a, [u8]>,
        /// The other details, [packed](super::reply::Details::packed).
        marks: u64,
        /// How many of its bytes do not travel, since nobody wants them.
        left_out: usize,
    },
    /// There is no such key.
    Miss,
    /// Written.
    Stored {
        /// The version the write was given.
        version: Version,
        /// The value that was replaced, if it was asked for.
        old: Option<Cow<'a, [u8]>>,
    },
    /// The condition did not hold.
    NotStored,
    /// The version was another.
    Exists,
    /// Removed.
    Deleted {
        /// The value that was removed, if it was asked for.
        old: Option<Cow<'a, [u8]>>,
    },
    /// The number after an increment or a decrement.
    Number {
        /// The new number.
        number: Number,
        /// The version the write was given.
        version: Version,
        /// Milliseconds it has left; `None` is for ever.
        ttl_ms: Option<u64>,
    },
    /// The expiry was set.
    Touched,
    /// A part of the owner's keys.
    Page(Page),
    /// Done.
    Done,
    /// Not done.
    Failed(Failure),
}

impl<'a> Outcome<'a> {
    /// The reply in the form that travels; a report has none.
    #[must_use]
    pub fn of(reply: &Reply<'a>) -> Outcome<'a> {
        match reply {
            Reply::Value(value) => {
                let Value { bytes, flags, version, ttl_ms, details } = *value;
                let (media, marks) = (Cow::Borrowed(details.media), details.packed());
                Outcome::Value { bytes: Cow::Borrowed(bytes), flags, version, ttl_ms, media, marks, left_out: details.left_out }
            }
            Reply::Miss => Outcome::Miss,
            Reply::Stored { version, old } => Outcome::Stored { version: *version, old: old.map(Cow::Borrowed) },
            Reply::NotStored => Outcome::NotStored,
            Reply::Exists => Outcome::Exists,
            Reply::Deleted { old } => Outcome::Deleted { old: old.map(Cow::Borrowed) },
            Reply::Number { number, version, ttl_ms } => Outcome::Number { number: *number, version: *version, ttl_ms: *ttl_ms },
            Reply::Touched => Outcome::Touched,
            Reply::Page(page) => Outcome::Page((*page).clone()),
            Reply::Done => Outcome::Done,
            Reply::Report(_) => Outcome::Failed(Failure::Refused("a report does not travel between nodes".into())),
            Reply::Failed(failure) => Outcome::Failed((*failure).clone()),
        }
    }

    /// The same with bytes of its own.
    #[must_use]
    pub fn into_owned(self) -> Outcome<'static> {
        let owned = |old: Option<Cow<'a, [u8]>>| old.map(|old| Cow::Owned(old.into_owned()));
        match self {
            Outcome::Value { bytes, flags, version, ttl_ms, media, marks, left_out } => {
                let (bytes, media) = (Cow::Owned(bytes.into_owned()), Cow::Owned(media.into_owned()));
                Outcome::Value { bytes, flags, version, ttl_ms, media, marks, left_out }
            }
            Outcome::Stored { version, old } => Outcome::Stored { version, old: owned(old) },
            Outcome::Deleted { old } => Outcome::Deleted { old: owned(old) },
            Outcome::Number { number, version, ttl_ms } => Outcome::Number { number, version, ttl_ms },
            Outcome::Page(page) => Outcome::Page(page),
            Outcome::Miss => Outcome::Miss,
            Outcome::NotStored => Outcome::NotStored,
            Outcome::Exists => Outcome::Exists,
            Outcome::Touched => Outcome::Touched,
            Outcome::Done => Outcome::Done,
            Outcome::Failed(failure) => Outcome::Failed(failure),
        }
    }

    /// The outcome as a reply to the client who asked.
    #[must_use]
    pub fn reply(&self) -> Reply<'_> {
        match self {
            Outcome::Value { bytes, flags, version, ttl_ms, media, marks, left_out } => {
                let details = Details { left_out: *left_out, ..Details::unpacked(media, *marks) };
                Reply::Value(Value { bytes, flags: *flags, version: *version, ttl_ms: *ttl_ms, details })
            }
            Outcome::Miss => Reply::Miss,
            Outcome::Stored { version, old } => Reply::Stored { version: *version, old: old.as_deref() },
            Outcome::NotStored => Reply::NotStored,
            Outcome::Exists => Reply::Exists,
            Outcome::Deleted { old } => Reply::Deleted { old: old.as_deref() },
            Outcome::Number { number, version, ttl_ms } => Reply::Number { number: *number, version: *version, ttl_ms: *ttl_ms },
            Outcome::Page(page) => Reply::Page(page),
            Outcome::Touched => Reply::Touched,
            Outcome::Done => Reply::Done,
            Outcome::Failed(failure) => Reply::Failed(failure),
        }
    }
}
