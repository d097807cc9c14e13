//! The dialogues of `tests/transcripts`, played against the real server. `tests/transcripts/README.md` says how to read one.
//!
//! To split at each byte means that the server has seen every byte before the next one leaves: behind each, another connection asks a
//! question, and its answer shows that the turn in which the byte arrived is over.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::harness::client::{Client, is_the_end};
use crate::harness::node::{Node, Setup};
use crate::harness::pool::Pool;

/// Files that show what one node alone says about itself and its pool.
const OF_A_NODE_ALONE: [&str; 2] = ["memcached/verbs.txt", "http/reports.txt"];

/// Dialogues with nodes that have a password: this one.
const GUARDED: &str = "password";
const PASSWORD: &str = "open sesame";

/// A dialogue with a server.
struct Transcript {
    name: String,
    turns: Vec<Turn>,
    closes: bool,
}

/// What the client says, line by line, and what the server answers to it.
#[derive(Default)]
struct Turn {
    said: Vec<Vec<u8>>,
    answers: Vec<Pattern>,
}

/// The bytes of a line of an answer; `None` stands for any bytes but a line's end.
type Pattern = Vec<Option<u8>>;

/// A way to play a dialogue up to its end.
type Way = fn(&Transcript, &mut Client, SocketAddr) -> Result<(), String>;

#[test]
fn each_dialogue_goes_as_it_is_written() {
    transcripts().iter().for_each(|transcript| on_a_fresh_node(transcript, line_by_line));
}

#[test]
fn each_dialogue_goes_the_same_if_everything_is_said_at_once() {
    transcripts().iter().for_each(|transcript| on_a_fresh_node(transcript, at_once));
}

#[test]
fn each_dialogue_goes_the_same_if_it_is_split_at_each_byte() {
    transcripts().iter().for_each(|transcript| on_a_fresh_node(transcript, byte_by_byte));
}

#[test]
fn each_dialogue_goes_the_same_through_each_node_of_a_pool() {
    let pool = Pool::start_with(|setup| setup.set("journal.enabled=false"));
    let is_of_a_pool = |transcript: &&Transcript| !OF_A_NODE_ALONE.contains(&transcript.name.as_str()) && !transcript.is_guarded();
    for transcript in transcripts().iter().filter(is_of_a_pool) {
        for node in &pool.nodes {
            for way in [line_by_line, at_once] {
                assert_eq!(node.client().ask("flush_all"), "OK");
                transcript.play(node, way);
            }
        }
    }
}

fn on_a_fresh_node(transcript: &Transcript, way: Way) {
    let setup = Setup::new().set("journal.enabled=false");
    let setup = if transcript.is_guarded() { setup.set(format!("security.password={PASSWORD}")) } else { setup };
    transcript.play(&setup.start(), way);
}

fn line_by_line(transcript: &Transcript, client: &mut Client, _: SocketAddr) -> Result<(), String> {
    transcript.turns.iter().try_for_each(|turn| {
        turn.said.iter().try_for_each(|line| transcript.say(client, line))?;
        turn.answers.iter().try_for_each(|pattern| expect(client, pattern))
    })
}

fn at_once(transcript: &Transcript, client: &mut Client, _: SocketAddr) -> Result<(), String> {
    transcript.say(client, &transcript.all_said())?;
    transcript.answers().try_for_each(|pattern| expect(client, pattern))
}

fn byte_by_byte(transcript: &Transcript, client: &mut Client, address: SocketAddr) -> Result<(), String> {
    let mut other = Client::connect(address);
    for byte in transcript.all_said() {
        transcript.say(client, &[byte])?;
        await_turn(&mut other);
    }
    transcript.answers().try_for_each(|pattern| expect(client, pattern))
}

/// A question on another connection, and its answer: the turn in which the last byte arrived is over. Strangers are told nothing, but at once.
fn await_turn(other: &mut Client) {
    let answer = other.ask("alive");
    assert!(answer.starts_with("ALIVE ") || answer == "CLIENT_ERROR unauthenticated", "{answer}");
}

/// Reads what fits the pattern, or says what came instead.
fn expect(client: &mut Client, pattern: &Pattern) -> Result<(), String> {
    let shown = show(pattern);
    let wildcard = pattern.contains(&None);
    let line_end = |bytes: &[u8]| bytes.ends_with(b"\n");
    let mut got = Vec::new();
    loop {
        let done = if wildcard { line_end(&got) } else { got.len() == pattern.len() };
        if done {
            return if fits(&got, pattern) { Ok(()) } else { Err(format!("expected {shown}, got {}", got.escape_ascii())) };
        }
        if !wildcard && !fits(&got, &pattern[..got.len()]) {
            got.extend_from_slice(client.arrived().unwrap_or_default());
            return Err(format!("expected {shown}, got {}", got.escape_ascii()));
        }
        match client.try_bytes(1) {
            Ok(byte) => got.extend(byte),
            Err(error) => return Err(format!("expected {shown}, got {} and then: {error}", got.escape_ascii())),
        }
    }
}

fn fits(bytes: &[u8], pattern: &[Option<u8>]) -> bool {
    match (bytes, pattern) {
        (_, []) => bytes.is_empty(),
        ([byte, rest @ ..], [Some(wanted), patterns @ ..]) => byte == wanted && fits(rest, patterns),
        ([], [Some(_), ..]) => false,
        (_, [None, patterns @ ..]) => {
            fits(bytes, patterns) || bytes.split_first().is_some_and(|(byte, rest)| !b"\r\n".contains(byte) && fits(rest, pattern))
        }
    }
}

fn show(pattern: &[Option<u8>]) -> String {
    pattern.iter().map(|byte| byte.map_or_else(|| "*".into(), |byte| byte.escape_ascii().to_string())).collect()
}

impl Transcript {
    /// Is it with a node that has a password?
    fn is_guarded(&self) -> bool {
        self.name.starts_with(GUARDED)
    }

    fn play(&self, node: &Node, way: Way) {
        let mut client = node.client();
        let played = way(self, &mut client, node.address()).and_then(|()| self.expect_end(&mut client, node.address()));
        played.unwrap_or_else(|problem| panic!("{} through {}: {problem}", self.name, node.name));
    }

    /// Says something. Where the server closes, it may have done so by now.
    fn say(&self, client: &mut Client, bytes: &[u8]) -> Result<(), String> {
        match client.try_send(bytes) {
            Err(error) if !(self.closes && is_the_end(&error)) => Err(format!("cannot say {}: {error}", bytes.escape_ascii())),
            _ => Ok(()),
        }
    }

    fn all_said(&self) -> Vec<u8> {
        self.turns.iter().flat_map(|turn| turn.said.concat()).collect()
    }

    fn answers(&self) -> impl Iterator<Item = &Pattern> {
        self.turns.iter().flat_map(|turn| &turn.answers)
    }

    /// The connection is closed, or open and silent, as the file's name says.
    fn expect_end(&self, client: &mut Client, address: SocketAddr) -> Result<(), String> {
        let more = if self.closes {
            client.rest()
        } else {
            await_turn(&mut Client::connect(address));
            client.arrived().map_err(|error| format!("expected to stay connected: {error}"))?.to_vec()
        };
        if more.is_empty() { Ok(()) } else { Err(format!("expected nothing more, got {}", more.escape_ascii())) }
    }

    fn read(path: &Path, name: String) -> Transcript {
        let text = fs::read_to_string(path).expect("a transcript");
        let mut turns: Vec<Turn> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
            match mark {
                ">" => {
                    if turns.last().is_none_or(|turn| !turn.answers.is_empty()) {
                        turns.push(Turn::default());
                    }
                    let said = unescape(rest, false).into_iter().flatten().collect();
                    turns.last_mut().expect("one was added").said.push(said);
                }
                "<" | "<~" => turns.last_mut().expect("the client speaks first").answers.push(unescape(rest, mark == "<~")),
                _ => panic!("{name}: no line of a transcript: {line}"),
            }
        }
        let closes = path.file_name().is_some_and(|file| file.to_string_lossy().starts_with("closes_"));
        Transcript { name, turns, closes }
    }
}

fn unescape(text: &str, wildcards: bool) -> Pattern {
    let mut bytes = text.bytes();
    let mut pattern = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' if wildcards => pattern.push(None),
            b'\\' => match bytes.next() {
                None => return pattern,
                Some(b'r') => pattern.push(Some(b'\r')),
                Some(b'n') => pattern.push(Some(b'\n')),
                Some(b'x') => pattern.push(Some(hexadecimal(bytes.next(), bytes.next()))),
                Some(itself @ (b'\\' | b'*')) => pattern.push(Some(itself)),
                Some(other) => panic!("no such escape: \\{}", char::from(other)),
            },
            byte => pattern.push(Some(byte)),
        }
    }
    pattern.extend([Some(b'\r'), Some(b'\n')]);
    pattern
}

fn hexadecimal(high: Option<u8>, low: Option<u8>) -> u8 {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).expect("two hexadecimal digits");
    (digit(high) << 4 | digit(low)) as u8
}

fn transcripts() -> Vec<Transcript> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut all = Vec::new();
    for dialect in ["memcached", "http", "resp", GUARDED] {
        let entries = fs::read_dir(root.join(dialect)).expect("a folder of transcripts");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        for path in paths {
            let name = format!("{dialect}/{}", path.file_name().expect("a file").to_string_lossy());
            all.push(Transcript::read(&path, name));
        }
    }
    assert!(all.len() > 30 && all.iter().all(|transcript| !transcript.turns.is_empty()), "the transcripts are there");
    all
}
