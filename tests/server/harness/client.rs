//! A connection to a node, byte by byte, with the little of memcached's text protocol that tests ask for most.
//!
//! Everything that is read is waited for at most so long: a server that does not answer fails the test that asked.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::PATIENCE;

/// A connection.
pub struct Client {
    stream: TcpStream,
    /// Read, and not given to anybody yet.
    pending: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).unwrap_or_else(|error| panic!("{address} does not let anybody in: {error}"))
    }

    /// Connects, if somebody listens.
    pub fn try_connect(address: SocketAddr) -> io::Result<Client> {
        Client::try_connect_for(address, PATIENCE)
    }

    /// Connects, if somebody listens, and waits no longer than so for anything.
    pub fn try_connect_for(address: SocketAddr, patience: Duration) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Client { stream, pending: Vec::new() })
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// Sends bytes, if the connection still stands.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Says that nothing more will be sent.
    pub fn half_close(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Closes the connection with a reset: an answer lies unread in it.
    pub fn reset(self) {
        let answered = self.stream.peek(&mut [0]).expect("an answer");
        assert_eq!((answered, self.pending.len()), (1, 0), "something is unread");
    }

    /// Another handle on the same connection, to send by.
    pub fn sender(&self) -> Client {
        Client { stream: self.stream.try_clone().expect("a socket"), pending: Vec::new() }
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> String {
        self.try_line().unwrap_or_else(|error| panic!("no line: {error}; before it: {}", self.pending.escape_ascii()))
    }

    /// The next line, without its end, if one comes.
    pub fn try_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            self.fill()?;
        }
    }

    /// The next so many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.try_bytes(count).unwrap_or_else(|error| panic!("not {count} bytes: {error}"))
    }

    /// The next so many bytes, if they come.
    pub fn try_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.pending.len() < count {
            self.fill()?;
        }
        Ok(self.pending.drain(..count).collect())
    }

    /// Everything until the server closes the connection, whether or not it does so with a reset.
    pub fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(error) if is_the_end(&error) => return std::mem::take(&mut self.pending),
                Err(error) => panic!("the server does not close the connection: {error}"),
            }
        }
    }

    /// What has arrived by now and was not read; an error if the connection is closed.
    pub fn arrived(&mut self) -> io::Result<&[u8]> {
        self.stream.set_nonblocking(true)?;
        let end = loop {
            if let Err(error) = self.fill() {
                break error;
            }
        };
        self.stream.set_nonblocking(false)?;
        if end.kind() == ErrorKind::WouldBlock { Ok(&self.pending) } else { Err(end) }
    }

    /// Sends one line and returns the first line of the answer.
    pub fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n"));
        self.line()
    }

    /// Sends one line, if the connection still stands, and returns the first line of the answer, if one comes.
    pub fn try_ask(&mut self, command: &str) -> io::Result<String> {
        self.try_send(format!("{command}\r\n"))?;
        self.try_line()
    }

    /// Sends one line and returns the lines of the answer up to `END`.
    pub fn list(&mut self, command: &str) -> Vec<String> {
        self.send(format!("{command}\r\n"));
        let mut lines = Vec::new();
        loop {
            match self.line() {
                line if line == "END" => return lines,
                line if line.contains("ERROR") => panic!("{command}: {line}"),
                line => lines.push(line),
            }
        }
    }

    /// Stores a value; the first line of the answer.
    pub fn set(&mut self, key: &str, value: impl AsRef<[u8]>) -> String {
        self.try_set(key, value).unwrap_or_else(|error| panic!("set {key}: {error}"))
    }

    /// Stores a value, if the connection still stands.
    pub fn try_set(&mut self, key: &str, value: impl AsRef<[u8]>) -> io::Result<String> {
        let value = value.as_ref();
        let mut command = format!("set {key} 0 0 {}\r\n", value.len()).into_bytes();
        command.extend_from_slice(value);
        command.extend_from_slice(b"\r\n");
        self.try_send(command)?;
        self.try_line()
    }

    /// Reads a value. `None` is a miss.
    pub fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        self.try_get(key).unwrap_or_else(|error| panic!("get {key}: {error}")).unwrap_or_else(|error| panic!("get {key}: {error}"))
    }

    /// Reads a value: `Ok(Ok(None))` is a miss, `Ok(Err)` the server's word that it cannot.
    pub fn try_get(&mut self, key: &str) -> io::Result<Result<Option<Vec<u8>>, String>> {
        self.try_send(format!("get {key}\r\n"))?;
        self.try_value()
    }

    /// The answer to a `get` of one key that was sent before.
    pub fn try_value(&mut self) -> io::Result<Result<Option<Vec<u8>>, String>> {
        let head = self.try_line()?;
        let Some(rest) = head.strip_prefix("VALUE ") else {
            return Ok(if head == "END" { Ok(None) } else { Err(head) });
        };
        let length = rest.rsplit(' ').next().and_then(|word| word.parse().ok()).expect("VALUE key flags length");
        let value = self.try_bytes(length)?;
        assert_eq!(self.try_bytes(7)?, b"\r\nEND\r\n");
        Ok(Ok(Some(value)))
    }

    /// The id of the node that owns a key.
    pub fn owner(&mut self, key: &str) -> String {
        let lines = self.list(&format!("owner {key}"));
        lines[0].strip_prefix("OWNER ").expect("OWNER node_id").to_owned()
    }

    /// A number that `stats` shows.
    pub fn stat(&mut self, name: &str) -> u64 {
        let start = format!("STAT {name} ");
        let lines = self.list("stats");
        let value = lines.iter().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("no stat {name}"));
        value.parse().expect("a number")
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; 64 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.pending.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            // A socket with a time limit says so if the whole machine was halted for a moment; `man 7 signal`.
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Does this error say that the other side has closed the connection?
pub fn is_the_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe)
}
