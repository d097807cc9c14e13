//! One connection: a socket that does not block, what waits to be written to it, and the operations whose answers it owes.
//!
//! ```text
//!             dial                    opened                    lost
//!   Waiting ────────▶ Connecting ──────────────▶ Up ──────────────────────▶ Waiting
//!      ▲                   │ refused                     its operations are errors
//!      └───────────────────┘ each time longer, up to MAX_BACKOFF_NS
//! ```
//!
//! Answers come in the order of the questions, so the operations under way are a queue. The output is bounded: while OUTPUT_BYTES wait
//! nothing more is composed, so no connection holds more than that and one value.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::report::Tally;
use super::schedule::Operation;
use super::wire::{self, ReplyParser};
use crate::tools::password;

/// With so much unwritten nothing more is composed.
const OUTPUT_BYTES: usize = 256 * 1024;
/// The first wait before a lost connection is dialled again; each further one is twice as long.
const FIRST_BACKOFF_NS: u64 = 10_000_000;
const MAX_BACKOFF_NS: u64 = 1_000_000_000;

#[derive(Debug)]
enum State {
    /// To be dialled at this time.
    Waiting {
        until_ns: u64,
    },
    Connecting(TcpStream),
    Up(TcpStream),
}

/// A connection to one server.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    /// What is to be said first on each connection; mostly nothing.
    login: Vec<u8>,
    /// What of the answer to that is still to come.
    login_awaits: &'static [u8],
    state: State,
    backoff_ns: u64,
    check: bool,
    parser: ReplyParser,
    out: Vec<u8>,
    written: usize,
    under_way: VecDeque<Operation>,
}

impl Client {
    /// A connection that is still to be dialled.
    pub fn new(address: SocketAddr, login: Vec<u8>, check: bool) -> Client {
        Client {
            address,
            login,
            login_awaits: b"",
            state: State::Waiting { until_ns: 0 },
            backoff_ns: FIRST_BACKOFF_NS,
            check,
            parser: ReplyParser::new(check),
            out: Vec::new(),
            written: 0,
            under_way: VecDeque::new(),
        }
    }

    /// Where it leads.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Can it be used?
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Is it on its way?
    pub fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting(_))
    }

    /// Is it time to dial?
    pub fn is_due(&self, now_ns: u64) -> bool {
        matches!(self.state, State::Waiting { until_ns } if until_ns <= now_ns)
    }

    /// May another operation be given to it?
    pub fn has_room(&self, depth: usize) -> bool {
        self.is_up() && self.under_way.len() < depth && self.out.len() - self.written < OUTPUT_BYTES
    }

    /// The operations it owes an answer to, oldest first.
    pub fn under_way(&self) -> impl Iterator<Item = &Operation> {
        self.under_way.iter()
    }

    /// Begins to connect.
    pub fn dial(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let mut socket = TcpStream::connect(self.address)?;
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        self.state = State::Connecting(socket);
        Ok(())
    }

    /// The socket became writable, or failed: is the connection up now?
    pub fn open(&mut self) -> io::Result<bool> {
        let State::Connecting(socket) = &self.state else { return Ok(self.is_up()) };
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) => socket.set_nodelay(true)?,
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
            Err(error) => return Err(error),
        }
        let waiting = State::Waiting { until_ns: 0 };
        if let State::Connecting(socket) = std::mem::replace(&mut self.state, waiting) {
            self.state = State::Up(socket);
            self.log_in()?;
        }
        Ok(true)
    }

    fn log_in(&mut self) -> io::Result<()> {
        if self.login.is_empty() {
            return Ok(());
        }
        self.login_awaits = password::ACCEPTED;
        self.out.extend_from_slice(&self.login);
        self.flush()
    }

    /// Closes it until the back-off is over. Returns how many operations are lost.
    pub fn lose(&mut self, now_ns: u64) -> usize {
        let lost = self.under_way.len();
        self.state = State::Waiting { until_ns: now_ns + self.backoff_ns };
        self.backoff_ns = (self.backoff_ns * 2).min(MAX_BACKOFF_NS);
        self.parser = ReplyParser::new(self.check);
        self.login_awaits = b"";
        self.out.clear();
        self.written = 0;
        self.under_way.clear();
        lost
    }

    /// Composes an operation. Returns whether a flush is called for: output that waits already leaves when the socket is writable.
    pub fn queue(&mut self, operation: Operation, ttl_s: u32) -> bool {
        let was_empty = self.out.is_empty();
        wire::compose(&operation, ttl_s, &mut self.out);
        self.under_way.push_back(operation);
        was_empty
    }

    /// Writes as much as the socket takes.
    pub fn flush(&mut self) -> io::Result<()> {
        let State::Up(socket) = &mut self.state else { return Ok(()) };
        while self.written < self.out.len() {
            match socket.write(&self.out[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // Move what is left only when it pays, and before the written part has grown without end.
        if self.written == self.out.len() || self.written >= OUTPUT_BYTES {
            self.out.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }

    /// Reads one buffer and counts the answers in it. Returns whether to read on.
    ///
    /// A short read means that the socket was empty; whatever comes later is an event of its own, unless the end of the stream came
    /// with this one: then read `to_the_end`.
    pub fn read(&mut self, buffer: &mut [u8], clock: impl Fn() -> u64, tally: &mut Tally, to_the_end: bool) -> io::Result<bool> {
        let State::Up(socket) = &mut self.state else { return Ok(false) };
        match socket.read(buffer) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "closed by the server")),
            Ok(read) => {
                self.on_bytes(&buffer[..read], clock(), tally)?;
                Ok(to_the_end || read == buffer.len())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn on_bytes(&mut self, mut bytes: &[u8], now_ns: u64, tally: &mut Tally) -> io::Result<()> {
        while let (Some((awaited, rest)), Some((byte, others))) = (self.login_awaits.split_first(), bytes.split_first()) {
            if byte != awaited {
                return Err(io::Error::other("the password was refused"));
            }
            (self.login_awaits, bytes) = (rest, others);
        }
        while !bytes.is_empty() {
            let Some(asked) = self.under_way.front() else { return Err(io::Error::other("an answer without a question")) };
            let (used, outcome) = self.parser.parse(bytes, asked).map_err(|error| io::Error::other(error.0))?;
            bytes = &bytes[used..];
            if let Some(outcome) = outcome {
                tally.on_outcome(asked, outcome, now_ns);
                self.under_way.pop_front();
                // Only an answer proves that the server is well again.
                self.backoff_ns = FIRST_BACKOFF_NS;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Kind;
    use super::*;

    fn client() -> Client {
        Client::new("127.0.0.1:1".parse().unwrap(), Vec::new(), true)
    }

    fn get(key: u64) -> Operation {
        Operation { kind: Kind::Get, key, value_bytes: 0, start_ns: 0 }
    }

    #[test]
    fn answers_are_those_of_the_oldest_questions() {
        let (mut client, mut tally) = (client(), Tally::new());
        let flush_wanted: Vec<bool> = (1..=3).map(|key| client.queue(get(key), 0)).collect();
        assert_eq!(flush_wanted, [true, false, false]);
        client.on_bytes(b"END\r\nEND\r\nEN", 5, &mut tally).unwrap();
        assert_eq!(client.under_way().map(|operation| operation.key).collect::<Vec<_>>(), [3]);
        client.on_bytes(b"D\r\n", 5, &mut tally).unwrap();
        assert_eq!(tally.answered(), 3);
        assert!(client.on_bytes(b"END\r\n", 5, &mut tally).is_err(), "nobody asked");
    }

    #[test]
    fn the_back_off_doubles_to_its_limit_and_forgets_only_with_an_answer() {
        let (mut client, mut tally) = (client(), Tally::new());
        let mut waits = Vec::new();
        for _ in 0..9 {
            client.lose(0);
            let State::Waiting { until_ns } = client.state else { panic!("{:?}", client.state) };
            waits.push(until_ns / 1_000_000);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
        client.queue(get(1), 0);
        client.on_bytes(b"END\r\n", 5, &mut tally).unwrap();
        client.lose(0);
        assert!(!client.is_due(9_999_999) && client.is_due(10_000_000));
    }

    #[test]
    fn a_lost_connection_owes_nothing_and_begins_afresh() {
        let (mut client, mut tally) = (client(), Tally::new());
        client.queue(get(1), 0);
        client.queue(get(2), 0);
        client.on_bytes(b"VALUE key-0000", 5, &mut tally).unwrap();
        assert_eq!(client.lose(0), 2);
        assert_eq!((client.under_way().count(), client.out.len()), (0, 0));
        client.queue(get(3), 0);
        client.on_bytes(b"END\r\n", 5, &mut tally).unwrap();
        assert_eq!(tally.answered(), 1);
    }
}
