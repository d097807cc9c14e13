//! The possibilities that a history follows, without those that add nothing.
//!
//! A command whose outcome nobody will tell may happen at any time or never. So of two possibilities with the same state, which have carried out
//! the same answered commands, the one that has carried out fewer of the others can become all that the other one can: only that one
//! is followed. Without this, n such commands would make 2^n possibilities.

use std::collections::BTreeMap;

use spydercache::node::ClientId;

use crate::model::State;

/// A state of the model, and what has been carried out in it of the open commands; each list in the order of ids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Configuration {
    pub state: State,
    /// With an answer.
    pub done: Vec<ClientId>,
    /// Without.
    pub untold: Vec<ClientId>,
}

impl Configuration {
    pub fn unknown() -> Configuration {
        Configuration { state: State::Unknown, done: Vec::new(), untold: Vec::new() }
    }

    /// Has it been carried out?
    pub fn has_done(&self, id: ClientId) -> bool {
        self.done.contains(&id) || self.untold.contains(&id)
    }

    /// The same, with one more carried out.
    pub fn with(&self, id: ClientId, is_told: bool, state: State) -> Configuration {
        let mut next = Configuration { state, ..self.clone() };
        let list = if is_told { &mut next.done } else { &mut next.untold };
        list.push(id);
        list.sort_unstable();
        next
    }

    /// The same, as far as the other commands go.
    pub fn without(mut self, id: ClientId) -> Configuration {
        self.done.retain(|done| *done != id);
        self.untold.retain(|done| *done != id);
        self
    }
}

/// What was done, and what state it left.
type Outcome = (State, Vec<ClientId>);

/// A set of possibilities.
#[derive(Debug, Default)]
pub struct Ways {
    untold: BTreeMap<Outcome, Vec<Vec<ClientId>>>,
    count: usize,
}

impl Ways {
    /// One more. False if it adds nothing.
    pub fn insert(&mut self, way: Configuration) -> bool {
        let known = self.untold.entry((way.state, way.done)).or_default();
        if known.iter().any(|less| less.iter().all(|id| way.untold.contains(id))) {
            return false;
        }
        let before = known.len();
        known.retain(|more| !way.untold.iter().all(|id| more.contains(id)));
        self.count = self.count + 1 - (before - known.len());
        known.push(way.untold);
        true
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// All of them, in order.
    pub fn into_all(self) -> Vec<Configuration> {
        let each = |((state, done), untold): (Outcome, Vec<Vec<ClientId>>)| {
            untold.into_iter().map(move |untold| Configuration { state: state.clone(), done: done.clone(), untold })
        };
        self.untold.into_iter().flat_map(each).collect()
    }
}

#[test]
fn what_could_have_been_had_with_less_is_not_followed() {
    let id = |slot| ClientId { connection: 1, slot };
    let way = |untold: &[u64]| Configuration { untold: untold.iter().map(|slot| id(*slot)).collect(), ..Configuration::unknown() };
    let mut ways = Ways::default();
    assert!(ways.insert(way(&[1, 2])) && ways.insert(way(&[3])));
    assert!(!ways.insert(way(&[1, 2, 4])) && ways.insert(way(&[2])));
    assert_eq!(ways.into_all(), [way(&[3]), way(&[2])]);
}
