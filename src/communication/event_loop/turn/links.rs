//! What peers say in a turn: frames are read, large messages put together, and each is carried out.
//!
//! A peer that does not take its answers is still heard. Only its requests are held back, since only they are answered at length; so neither
//! its heartbeats nor its changes wait for that. How much it may ask meanwhile is its own limit.

use super::{Item, Speaker, Work};
use crate::communication::buffer::Buffer;
use crate::communication::connection::{HIGH_WATER, Output};
use crate::communication::event_loop::sockets::{Sink, Socket};
use crate::communication::peer::pieces::{Assembled, Assembly};
use crate::communication::peer::{self, Frame};
use crate::hash::KeyHash;
use crate::node::message::Message;
use crate::node::requests::MAX_PARKED_BYTES;
use crate::node::{Asked, Node};
use crate::time::{Mono, Now};
use crate::topology::peers::LinkId;

/// Most messages taken from one peer in one turn.
const MESSAGES_A_TURN: usize = 1_024;
/// Most bytes of requests held back for one peer that does not take its answers: its own limit of what may wait, and more for what is on its way.
pub(super) const MOST_HELD_BYTES: usize = 2 * MAX_PARKED_BYTES;

/// Reads what a peer has said, up to the turn's share, or why it made no sense. True if pieces of messages have moved on
/// its link, there or here.
pub(super) fn collect_messages<'a>(
    (token, now): (usize, Mono),
    speaker: &mut Speaker,
    buffer: &'a Buffer,
    output: &mut Output,
    max_message: usize,
    batch: &mut Vec<Item<'a>>,
) -> Result<bool, &'static str> {
    let mut add = |work| batch.push(Item { token, hash: KeyHash::default(), work });
    speaker.hungry = false;
    speaker.held_bytes = 0;
    std::mem::take(&mut speaker.held).into_iter().for_each(&mut add);
    let mut have_moved = false;
    for _ in 0..MESSAGES_A_TURN {
        let input = &buffer.pending()[speaker.taken..];
        match peer::next_frame(input) {
            Frame::Incomplete => {
                speaker.hungry = true;
                speaker.note_begun(!input.is_empty(), input.len(), now);
                break;
            }
            Frame::Whole { consumed, message } => {
                speaker.on_frame(consumed);
                add(Work::Message(message));
            }
            Frame::Piece { consumed, bytes, is_last } => {
                speaker.on_frame(consumed);
                if let Assembled::Whole(bytes) = assembled(&mut speaker.assembly, bytes, is_last, max_message)? {
                    add(Work::Assembled(bytes));
                }
            }
            Frame::Taken { consumed, count } => {
                speaker.on_frame(consumed);
                output.on_taken(count);
                have_moved = true;
            }
            Frame::Invalid(why) => return Err(why),
        }
    }
    if let Some(bytes) = speaker.assembly.tell() {
        output.tell_taken(bytes);
        have_moved = true;
    }
    Ok(have_moved)
}

/// Takes the next piece of a message, which must be one when it is whole.
fn assembled(assembly: &mut Assembly, piece: &[u8], is_last: bool, max_message: usize) -> Result<Assembled, &'static str> {
    let assembled = assembly.take(piece, is_last, max_message).ok_or("a message is larger than any")?;
    if let Assembled::Whole(bytes) = &assembled {
        peer::read(bytes)?;
    }
    Ok(assembled)
}

/// Carries out what a peer says. A request is held back if the peer does not take its answers.
pub(super) fn hear(token: usize, hash: KeyHash, work: Work<'_>, node: &mut Node, speakers: &mut [Speaker], sink: &mut Sink<'_>, now: Now) {
    let Socket { name, dialled, .. } = sink.table.1[token];
    let is_full = !dialled && (speakers[token].is_holding() || sink.table.0[token].unsent() >= HIGH_WATER);
    let link = LinkId(name);
    match work {
        Work::Message(Message::Request { id, view, serial, command }) if is_full => {
            let (bytes, command) = (command.bytes(), command.to_owned());
            speakers[token].hold(Work::Message(Message::Request { id, view, serial, command }), bytes);
        }
        Work::Message(Message::Request { id, view, serial, command }) => {
            node.on_peer_command(now, Asked { link, id, view, serial }, hash, &command, sink);
        }
        Work::Message(message @ Message::Mirror { .. }) => node.on_mirror(now, link, hash, &message, sink),
        Work::Message(message) => node.on_message(now, link, &message, sink),
        Work::Assembled(bytes) => match peer::read(&bytes) {
            Ok(Message::Request { .. }) if is_full => {
                let count = bytes.len();
                speakers[token].hold(Work::Assembled(bytes), count);
            }
            Ok(message) => node.on_message(now, link, &message, sink),
            Err(_) => unreachable!("it was read before"),
        },
        _ => unreachable!("this is not what peers say"),
    }
}

/// Carries out what is urgent before what takes long: heartbeats do not wait for a large value. Says on which links it was.
pub(super) fn hear_first(urgent: Vec<Item<'_>>, node: &mut Node, speakers: &mut [Speaker], sink: &mut Sink<'_>, now: Now) -> Vec<usize> {
    let tokens = urgent.iter().map(|item| item.token).collect();
    urgent.into_iter().for_each(|Item { token, hash, work }| hear(token, hash, work, node, speakers, sink, now));
    tokens
}
