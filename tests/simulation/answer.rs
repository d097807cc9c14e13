//! A reply as a client keeps it: with bytes of its own, and without the reports.

use spydercache::node::command::{self, Action, Admin, Request, StoreMode};
use spydercache::node::reply::{Failure, Reply};

use crate::walks::is_page_of;

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Value {
        bytes: Vec<u8>,
        flags: u32,
        version: u64,
    },
    Miss,
    Stored {
        version: u64,
    },
    NotStored,
    Exists,
    Deleted,
    Number {
        number: u64,
        version: u64,
    },
    Touched,
    Done,
    Report,
    Page {
        keys: Vec<Vec<u8>>,
        next: Option<u32>,
    },
    /// Of a key: has a walk found it?
    Listed(bool),
    Failed(Failure),
}

impl Answer {
    pub fn of(reply: &Reply<'_>) -> Answer {
        match reply {
            Reply::Value(value) => Answer::Value { bytes: value.bytes.to_vec(), flags: value.flags, version: value.version.0 },
            Reply::Miss => Answer::Miss,
            Reply::Stored { version, .. } => Answer::Stored { version: version.0 },
            Reply::NotStored => Answer::NotStored,
            Reply::Exists => Answer::Exists,
            Reply::Deleted { .. } => Answer::Deleted,
            Reply::Number { number: command::Number::Natural(number), version, .. } => {
                Answer::Number { number: *number, version: version.0 }
            }
            Reply::Page(page) => Answer::Page { keys: page.keys.clone(), next: page.next },
            Reply::Number { .. } => unreachable!("the simulated clients ask for no such thing"),
            Reply::Touched => Answer::Touched,
            Reply::Done => Answer::Done,
            Reply::Report(_) => Answer::Report,
            Reply::Failed(failure) => Answer::Failed((*failure).clone()),
        }
    }

    /// Is it of a kind that this request may be answered with?
    pub fn fits(&self, request: &Request<'_>) -> bool {
        use Answer::{Deleted, Done, Exists, Failed, Miss, NotStored, Number, Page, Report, Stored, Touched, Value};
        match request {
            _ if matches!(self, Failed(_)) => true,
            Request::Key(command) => match &command.action {
                Action::Get | Action::Look | Action::GetAndTouch(_) => matches!(self, Value { .. } | Miss),
                Action::Store(store) => match store.mode {
                    StoreMode::Set => matches!(self, Stored { .. }),
                    StoreMode::Cas(_) => matches!(self, Stored { .. } | Exists | Miss),
                    StoreMode::Add | StoreMode::Replace | StoreMode::Append | StoreMode::Prepend => {
                        matches!(self, Stored { .. } | NotStored)
                    }
                },
                Action::Delete(_) => matches!(self, Deleted | Miss),
                Action::Count(_) => matches!(self, Number { .. } | Miss),
                Action::Claim(_) | Action::Scan(_) => false,
                Action::Touch(_) => matches!(self, Touched | Miss),
            },
            Request::Admin(Admin::Flush { .. } | Admin::Connect(_) | Admin::Dead(_) | Admin::Reconstruct | Admin::ResetStats) => {
                *self == Done
            }
            Request::Admin(Admin::Walk(walk)) => matches!(self, Page { keys, next } if is_page_of(walk, keys, *next)),
            Request::Admin(_) => *self == Report,
        }
    }

    /// The version that it tells.
    pub fn version(&self) -> Option<u64> {
        match self {
            Answer::Value { version, .. } | Answer::Stored { version } | Answer::Number { version, .. } => Some(*version),
            _ => None,
        }
    }

    /// Does it leave open whether the request was carried out?
    pub fn is_unknown(&self) -> bool {
        *self == Answer::Failed(Failure::OutcomeUnknown)
    }

    /// Does it say that the pool could not do it?
    pub fn is_outage(&self) -> bool {
        matches!(self, Answer::Failed(Failure::Unreachable | Failure::OutcomeUnknown | Failure::Overloaded | Failure::Refused(_)))
    }
}
