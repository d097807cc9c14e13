//! `MULTI` and `EXEC`: commands that are queued and carried out one after the other.
//!
//! The queue holds the commands' bytes; `EXEC` plays them to the parser again, and their replies become one array. They are carried out in
//! order by the node that the client is connected to, each key's at its owner: other clients may come between two of them, and an error
//! of one does not undo those before it. What may not happen to a key meanwhile is said by `WATCH` ([`watch`](super::watch)).

use std::borrow::Cow;

use super::commands::{Call, Each, Handled, Step, refuse};
use super::compose::{OK, QUEUED};
use super::session::Session;

/// Most bytes that may be queued.
const MOST_BYTES: usize = 64 << 20;

/// Commands between `MULTI` and `EXEC`.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    count: usize,
    /// One of them was no command: nothing will be carried out.
    failed: bool,
}

impl Queue {
    /// Takes a command in, by its bytes.
    pub(super) fn add(&mut self, command: &[u8]) -> Cow<'static, [u8]> {
        if self.bytes.len() + command.len() > MOST_BYTES {
            self.failed = true;
            return refuse("ERR too much is queued");
        }
        self.bytes.extend_from_slice(command);
        self.count += 1;
        Cow::Borrowed(QUEUED)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The commands, one behind the other.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The memory that it takes.
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// A command was refused before it could be queued.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }
}

pub(super) fn multi<'a>(session: &mut Session, _: &Call<'a>) -> Handled<'a> {
    if session.queue.is_some() {
        return Err(refuse("ERR MULTI calls can not be nested"));
    }
    session.queue = Some(Queue::default());
    Ok(Step::Say(Cow::Borrowed(OK)))
}

pub(super) fn exec<'a>(session: &mut Session, _: &Call<'a>) -> Handled<'a> {
    match session.queue.take() {
        None => Err(refuse("ERR EXEC without MULTI")),
        Some(queue) if queue.failed => {
            session.watch.forget();
            Err(refuse("EXECABORT Transaction discarded because of previous errors."))
        }
        Some(queue) => {
            session.queue = Some(queue);
            Ok(Step::Exec)
        }
    }
}

pub(super) fn discard<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    match session.queue.take() {
        None => Err(refuse("ERR DISCARD without MULTI")),
        Some(_) => unwatch(session, call),
    }
}

pub(super) fn watch<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    if session.queue.is_some() {
        return Err(refuse("ERR WATCH inside MULTI is not allowed"));
    }
    session.check_keys(call.args)?;
    session.watch.check_room(call.args.len())?;
    Ok(Step::Each(Each::Watch))
}

pub(super) fn unwatch<'a>(session: &mut Session, _: &Call<'a>) -> Handled<'a> {
    session.watch.forget();
    Ok(Step::Say(Cow::Borrowed(OK)))
}
