//! `LCS`: the longest sequence of bytes that two values have in common, in order and not necessarily side by side.
//!
//! It takes time and memory of the one's length times the other's, so there is a limit on both: nobody else is served meanwhile.

use std::borrow::Cow;

use super::commands::{Call, Handled, Step, refuse};
use super::compose::{push_map, push_number};
use super::frame::{push_header, push_string};
use super::session::Session;
use super::steps::{Next, Plan};
use super::strings::{integer, syntax};
use crate::communication::protocol::Told;
use crate::node::command::{Action, Command};

/// Most cells of the table: some milliseconds of work.
const MOST_CELLS: usize = 1 << 20;

/// What is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Bytes,
    Length,
    Places { least: i64, with_lengths: bool },
}

/// Two values on their way.
#[derive(Debug)]
struct Comparison {
    second_key: Vec<u8>,
    first: Option<Vec<u8>>,
    wanted: Wanted,
    resp3: bool,
}

impl Plan for Comparison {
    fn next(&mut self, told: Told) -> Next {
        let value = match told {
            Told::Value(kept) => kept.bytes,
            Told::Nothing => Vec::new(),
            Told::Failed(why) => return Next::Say(Cow::Owned(why)),
            Told::Done(_) | Told::Refused => return Next::confused(),
        };
        match self.first.take() {
            None => {
                self.first = Some(value);
                Next::ask(&self.second_key, Action::Get)
            }
            Some(first) => Next::Say(self.answer(&first, &value)),
        }
    }

    fn held(&self) -> usize {
        self.second_key.len() + self.first.as_ref().map_or(0, Vec::len)
    }
}

impl Comparison {
    fn answer(&self, first: &[u8], second: &[u8]) -> Cow<'static, [u8]> {
        if (first.len() + 1).saturating_mul(second.len() + 1) > MOST_CELLS {
            return refuse("ERR the values are too long for LCS here");
        }
        let (common, runs) = common(first, second);
        let mut answer = Vec::new();
        match self.wanted {
            Wanted::Bytes => push_string(&common, &mut answer),
            Wanted::Length => push_number(common.len() as i64, &mut answer),
            Wanted::Places { least, with_lengths } => {
                let runs: Vec<&Run> = runs.iter().filter(|run| run.length as i64 >= least).collect();
                push_map(self.resp3, 2, &mut answer);
                push_string(b"matches", &mut answer);
                push_header(b'*', runs.len(), &mut answer);
                runs.iter().for_each(|run| run.push(with_lengths, &mut answer));
                push_string(b"len", &mut answer);
                push_number(common.len() as i64, &mut answer);
            }
        }
        Cow::Owned(answer)
    }
}

/// Bytes side by side in both values, by where they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: usize,
    second: usize,
    length: usize,
}

impl Run {
    fn push(&self, with_length: bool, answer: &mut Vec<u8>) {
        push_header(b'*', if with_length { 3 } else { 2 }, answer);
        for begins in [self.first, self.second] {
            push_header(b'*', 2, answer);
            push_number(begins as i64, answer);
            push_number((begins + self.length) as i64 - 1, answer);
        }
        if with_length {
            push_number(self.length as i64, answer);
        }
    }
}

/// What both have in common, and its runs, the last one first.
fn common(first: &[u8], second: &[u8]) -> (Vec<u8>, Vec<Run>) {
    let lengths = lengths(first, second);
    let at = |i: usize, j: usize| lengths[i * (second.len() + 1) + j];
    let (mut i, mut j) = (first.len(), second.len());
    let (mut common, mut runs): (Vec<u8>, Vec<Run>) = (Vec::new(), Vec::new());
    while i > 0 && j > 0 {
        if first[i - 1] == second[j - 1] {
            (i, j) = (i - 1, j - 1);
            common.push(first[i]);
            match runs.last_mut() {
                Some(run) if run.first == i + 1 && run.second == j + 1 => *run = Run { first: i, second: j, length: run.length + 1 },
                _ => runs.push(Run { first: i, second: j, length: 1 }),
            }
        } else if at(i - 1, j) > at(i, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    common.reverse();
    (common, runs)
}

/// How long the common sequence is of each beginning of the one and each of the other.
fn lengths(first: &[u8], second: &[u8]) -> Vec<u32> {
    let width = second.len() + 1;
    let mut lengths = vec![0; (first.len() + 1) * width];
    for (i, byte) in first.iter().enumerate() {
        for (j, other) in second.iter().enumerate() {
            let here = (i + 1) * width + j + 1;
            lengths[here] = if byte == other { lengths[here - width - 1] + 1 } else { lengths[here - width].max(lengths[here - 1]) };
        }
    }
    lengths
}

/// `LCS k k2 [LEN | IDX] [MINMATCHLEN n] [WITHMATCHLEN]`
pub(super) fn lcs<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [first, second] = call.words()?;
    let (mut length, mut places, mut least, mut with_lengths) = (false, false, 0, false);
    let mut options = call.behind(2);
    while let Some(option) = options.next() {
        match &option.to_ascii_uppercase()[..] {
            b"LEN" => length = true,
            b"IDX" => places = true,
            b"WITHMATCHLEN" => with_lengths = true,
            b"MINMATCHLEN" => least = integer(options.next().ok_or_else(syntax)?)?,
            _ => return Err(syntax()),
        }
    }
    let wanted = match (length, places) {
        (true, true) => return Err(refuse("ERR If you want both the length and indexes, please just use IDX.")),
        (_, true) => Wanted::Places { least, with_lengths },
        (true, _) => Wanted::Length,
        (false, false) => Wanted::Bytes,
    };
    let (first, second_key) = (session.owned_key(session.database, first)?, session.owned_key(session.database, second)?);
    let command = Command { key: Cow::Owned(first), action: Action::Get };
    Ok(Step::Course(command, Box::new(Comparison { second_key, first: None, wanted, resp3: session.resp3 })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_common_keeps_its_order_and_is_told_by_its_runs() {
        let (bytes, runs) = common(b"ohmytext", b"mynewtext");
        assert_eq!(bytes, b"mytext");
        assert_eq!(runs, [Run { first: 4, second: 5, length: 4 }, Run { first: 2, second: 0, length: 2 }]);
        assert_eq!(common(b"", b"abc"), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_would_take_too_long_is_refused() {
        let plan = Comparison { second_key: Vec::new(), first: None, wanted: Wanted::Length, resp3: false };
        let long = vec![b'x'; 1 << 10];
        assert!(plan.answer(&long, &long).starts_with(b"-ERR "));
        assert_eq!(&plan.answer(&long, &long[..1000])[..], b":1000\r\n");
    }
}
