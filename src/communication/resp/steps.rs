//! Commands of several steps: what is asked next depends on what came of the last.
//!
//! What Redis does in one stroke to several keys, or to a part of a value, is put together here from requests that the core knows. The
//! parser asks the first, waits for what comes of it, and asks the next, until there is an answer:
//!
//! ```text
//!   RENAME a b       get a ─▶ value, version 7       set b ─▶ done       delete a, if it is version 7 ─▶ done       +OK
//!   SETRANGE k 2 x   get k ─▶ "abc", version 7       set k "abx", if it is version 7 ─▶ refused, and begin again
//! ```
//!
//! Each step is done by its key's owner, and what a command read is a condition of what it writes: nothing is lost by others that come
//! between two steps, and a command whose ground was taken away begins again, a few times. But others may see the keys between two steps,
//! and after an error in the middle of it what was done stays.
//!
//! The plans themselves are in [`moving`](super::moving), [`patching`](super::patching), [`msetnx`](super::msetnx), [`bits`](super::bits)
//! and [`lcs`](super::lcs).

use std::borrow::Cow;
use std::fmt;

use super::compose::{CHANGED, Form, failure_line, is_refused};
use crate::communication::protocol::{Kept, Told};
use crate::node::command::{Action, Command};
use crate::node::reply::Reply;

/// How often a command begins again that others get in the way of.
pub(super) const MOST_TRIES: u32 = 100;
/// What is said then.
pub(super) const TOO_BUSY: &[u8] = b"-ERR other clients change this key all the time: nothing was done\r\n";

/// How a command goes on.
#[derive(Debug)]
pub(super) enum Next {
    /// A request, of which the plan is told what came.
    Ask(Command<'static>),
    /// The answer.
    Say(Cow<'static, [u8]>),
}

/// What a command does step by step.
pub(super) trait Plan: fmt::Debug {
    /// The next step, after what came of the last.
    fn next(&mut self, told: Told) -> Next;
    /// The bytes that it keeps.
    fn held(&self) -> usize;
}

/// A command on its way.
#[derive(Debug)]
pub(super) struct Course {
    plan: Box<dyn Plan>,
    told: Option<Told>,
}

impl Course {
    /// The first step has been asked.
    pub(super) fn of(plan: Box<dyn Plan>) -> Course {
        Course { plan, told: None }
    }

    /// What came of the last step.
    pub(super) fn hear(&mut self, told: Told) {
        self.told = Some(told);
    }

    /// Has nothing come of the last step yet?
    pub(super) fn is_waiting(&self) -> bool {
        self.told.is_none()
    }

    /// The next step, if the last is done.
    pub(super) fn next(&mut self) -> Option<Next> {
        self.told.take().map(|told| self.plan.next(told))
    }

    /// The bytes that it keeps.
    pub(super) fn held(&self) -> usize {
        self.plan.held()
    }
}

impl Next {
    pub(super) fn ask(key: &[u8], action: Action<'static>) -> Next {
        Next::Ask(Command { key: Cow::Owned(key.to_vec()), action })
    }

    pub(super) fn number(number: i64) -> Next {
        Next::Say(Cow::Owned(format!(":{number}\r\n").into_bytes()))
    }

    /// What nobody has reckoned with.
    pub(super) fn confused() -> Next {
        Next::Say(Cow::Borrowed(b"-ERR the answer does not fit the command\r\n"))
    }
}

impl Form {
    /// What `reply` says of a step.
    pub(super) fn told(&self, reply: &Reply<'_>) -> Told {
        match reply {
            _ if self.guarded && is_refused(reply) => Told::Failed(CHANGED.to_vec()),
            Reply::Value(value) => Told::Value(Kept {
                bytes: value.bytes.to_vec(),
                flags: value.flags,
                version: value.version,
                ttl_ms: value.ttl_ms,
                media: value.details.media.to_vec(),
            }),
            Reply::Miss => Told::Nothing,
            Reply::Stored { version, .. } => Told::Done(*version),
            Reply::Deleted { .. } => Told::Done(Default::default()),
            Reply::NotStored | Reply::Exists => Told::Refused,
            Reply::Failed(failure) => Told::Failed(failure_line(failure, self.kind)),
            Reply::Number { .. } | Reply::Touched | Reply::Page(_) | Reply::Done | Reply::Report(_) => {
                Told::Failed(b"-ERR the answer does not fit the command\r\n".to_vec())
            }
        }
    }
}
