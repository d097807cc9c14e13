//! Walks over the keys of the pool, and what they say of each.
//!
//! To a key's history a walk is one command among others: it has looked whether the key is there, or removed it, at some moment between
//! its question and its answer; of a key that its page does not reach it says nothing. So whatever is promised of a walk follows: a key
//! that is there all the time is listed, one that is not there at any moment is not.

use spydercache::hash::Hasher;
use spydercache::node::command::{Action, Admin, Request, Scan, ScanFor, Walk};
use spydercache::node::reply::Failure;

use crate::answer::Answer;
use crate::clients::name_of;

/// A walk, if this request is one.
pub fn walk_in<'r>(request: &'r Request<'_>) -> Option<&'r Walk<'r>> {
    if let Request::Admin(Admin::Walk(walk)) = request { Some(walk) } else { None }
}

/// What a walk does to a key.
pub fn action_of(walk: &Walk<'_>) -> Action<'static> {
    let Walk { from, most, prefix, pattern, what, .. } = walk.to_owned();
    Action::Scan(Scan { from, most, prefix, pattern, what })
}

/// Is a page of a walk such as it must be: in the order of places, each key once, all of them in the part of the ring that it is about?
pub fn is_page_of(walk: &Walk<'_>, keys: &[Vec<u8>], next: Option<u32>) -> bool {
    let places: Vec<u32> = keys.iter().map(|key| place_of(key)).collect();
    let is_within = |place: &u32| is_reached(walk.from, next, *place);
    let is_once = (1..keys.len()).all(|at| !keys[..at].contains(&keys[at]));
    next.is_none_or(|next| next > walk.from) && places.is_sorted() && places.iter().all(is_within) && is_once
}

/// What a walk's answer says of a key; nothing, if nobody can tell.
pub fn said_of(key: usize, walk: &Walk<'_>, answer: &Answer) -> Option<Answer> {
    let name = name_of(key as u64);
    match answer {
        // A part of the removal may have been made, or be on its way.
        Answer::Failed(_) if walk.what == ScanFor::Removal => None,
        Answer::Page { next, .. } if !is_reached(walk.from, *next, place_of(&name)) => {
            Some(Answer::Failed(Failure::Refused("not as far as this key".into())))
        }
        Answer::Page { keys, .. } if walk.what == ScanFor::Keys => Some(Answer::Listed(keys.contains(&name))),
        Answer::Page { .. } => Some(Answer::Deleted),
        answer => Some(answer.clone()),
    }
}

fn place_of(key: &[u8]) -> u32 {
    Hasher::new(0).hash(key).place
}

fn is_reached(from: u32, next: Option<u32>, place: u32) -> bool {
    from <= place && next.is_none_or(|next| place < next)
}
