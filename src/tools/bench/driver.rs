//! The poll loop of `bench`: one thread, all connections, one phase after the other.
//!
//! A turn: hand the operations that may begin to connections with room, by turns; write what was composed, one write a connection; wait;
//! read the answers; dial what is due. Closed and open loop differ in nothing but what the schedule hands out.
//!
//! A phase that is limited in time never waits for the server: after its end the answers under way get GRACE_NS, then they are counted
//! as unanswered. A phase without such a limit is given up once nothing has been answered for STALL_NS.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};

use super::client::Client;
use super::options::Options;
use super::report::{Progress, Report, Tally};
use super::schedule::Schedule;
use crate::tools::password::{self, Password};

const NS_PER_MS: u64 = 1_000_000;
/// How long an address may take to answer at the start.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long the last answers are waited for.
const GRACE_NS: u64 = 500 * NS_PER_MS;
/// Without any answer for so long a phase without a time limit is given up.
const STALL_NS: u64 = 10_000 * NS_PER_MS;
/// The loop looks around at least this often.
const LONGEST_WAIT_MS: u64 = 100;
/// And this often while a connection waits for being dialled again.
const LONGEST_WAIT_DOWN_MS: u64 = 10;
const EVENTS_A_TURN: usize = 1_024;
const READ_BYTES: usize = 128 * 1024;
/// So many lost connections of a phase are told one by one; all are counted.
const LOSSES_TOLD: u32 = 5;

/// The connections and their loop.
pub struct Driver {
    poll: Poll,
    epoch: Instant,
    clients: Vec<Client>,
    /// Connections that may have room, each at most once, the longest idle first.
    roomy: VecDeque<usize>,
    is_roomy: Vec<bool>,
    /// Connections with something to write.
    unflushed: Vec<usize>,
    /// How many connections are not up.
    down: usize,
    buffer: Vec<u8>,
    depth: usize,
    ttl_s: u32,
    quiet: bool,
}

/// A phase on its way.
struct Phase<'a> {
    name: &'static str,
    schedule: &'a mut Schedule,
    tally: Tally,
    losses_told: u32,
}

/// Since when nothing has been handled.
struct Stall {
    handled: u64,
    since_ns: u64,
}

impl Stall {
    /// Has a phase that nothing else would end gone too long without an answer or an error?
    fn lasts(&mut self, phase: &Phase<'_>, now_ns: u64) -> bool {
        let handled = phase.tally.answered() + phase.tally.errors();
        if handled != self.handled {
            *self = Stall { handled, since_ns: now_ns };
        }
        let may_end = phase.schedule.end_ns().is_some();
        !may_end && now_ns - self.since_ns >= STALL_NS
    }
}

impl Driver {
    /// Connects all connections, spread over the addresses, or says which address cannot be reached.
    pub fn connect(options: &Options) -> Result<Driver, String> {
        let password = Password::given(options.password_file.as_deref())?;
        let reach = |address: &String| reachable(address, password.as_ref());
        let servers: Vec<(SocketAddr, Vec<u8>)> = options.addresses.iter().map(reach).collect::<Result<_, _>>()?;
        let client = |(address, login): &(SocketAddr, Vec<u8>)| Client::new(*address, login.clone(), options.check);
        let clients = (0..options.connections).map(|at| client(&servers[at % servers.len()])).collect();
        let poll = Poll::new().map_err(|error| format!("cannot poll: {error}"))?;
        let mut driver = Driver {
            poll,
            epoch: Instant::now(),
            clients,
            roomy: VecDeque::new(),
            is_roomy: vec![false; options.connections],
            unflushed: Vec::new(),
            down: options.connections,
            buffer: vec![0; READ_BYTES],
            depth: options.depth,
            ttl_s: options.ttl_s,
            quiet: options.quiet,
        };
        driver.connect_all()?;
        Ok(driver)
    }

    /// Runs a phase to its end. An error is one of this machine, not of the server.
    pub fn run(&mut self, name: &'static str, schedule: &mut Schedule) -> io::Result<Report> {
        let begin_ns = self.now_ns();
        schedule.begin(begin_ns);
        let mut phase = Phase { name, schedule, tally: Tally::new(), losses_told: 0 };
        let mut progress = Progress::new(begin_ns);
        let mut stall = Stall { handled: 0, since_ns: begin_ns };
        let mut events = Events::with_capacity(EVENTS_A_TURN);
        (0..self.clients.len()).for_each(|at| self.offer(at));
        loop {
            self.hand_out(&mut phase);
            self.flush(&mut phase);
            let now_ns = self.now_ns();
            let is_stalled = stall.lasts(&phase, now_ns);
            if is_stalled || self.is_finished(phase.schedule, now_ns) {
                return Ok(self.settle(phase, begin_ns, is_stalled));
            }
            if !self.quiet && progress.is_due(now_ns) {
                super::tell(&progress.line(name, &phase.tally, now_ns - begin_ns, phase.schedule.percent(), now_ns));
            }
            self.wait(&mut events, self.wake_ns(phase.schedule, now_ns))?;
            events.iter().for_each(|event| self.on_event(event, &mut phase));
            self.dial_lost(&mut phase);
        }
    }

    fn now_ns(&self) -> u64 {
        since(self.epoch)
    }

    /// Dials everything and waits until all of it is up.
    fn connect_all(&mut self) -> Result<(), String> {
        for (at, client) in self.clients.iter_mut().enumerate() {
            client.dial(self.poll.registry(), Token(at)).map_err(|error| cannot_connect(client.address(), &error))?;
        }
        let mut events = Events::with_capacity(EVENTS_A_TURN);
        let until = Instant::now() + CONNECT_LIMIT;
        while self.down > 0 {
            if Instant::now() >= until {
                return Err(format!("cannot connect: {} of {} connections were not accepted in time", self.down, self.clients.len()));
            }
            self.wait(&mut events, None).map_err(|error| format!("cannot poll: {error}"))?;
            for event in &events {
                let client = &mut self.clients[event.token().0];
                let was_up = client.is_up();
                let is_up = client.open().map_err(|error| cannot_connect(client.address(), &error))?;
                self.down -= usize::from(is_up && !was_up);
            }
        }
        Ok(())
    }

    /// Notes that a connection may have room.
    fn offer(&mut self, at: usize) {
        if !self.is_roomy[at] && self.clients[at].has_room(self.depth) {
            self.is_roomy[at] = true;
            self.roomy.push_back(at);
        }
    }

    /// Gives what may begin to connections with room, one operation each by turns.
    fn hand_out(&mut self, phase: &mut Phase<'_>) {
        let now_ns = self.now_ns();
        while let Some(at) = self.roomy.pop_front() {
            self.is_roomy[at] = false;
            if !self.clients[at].has_room(self.depth) {
                continue;
            }
            let operation = phase.schedule.next(now_ns);
            if let Some(operation) = operation
                && self.clients[at].queue(operation, self.ttl_s)
            {
                self.unflushed.push(at);
            }
            self.offer(at);
            if operation.is_none() {
                return;
            }
        }
    }

    fn flush(&mut self, phase: &mut Phase<'_>) {
        while let Some(at) = self.unflushed.pop() {
            if let Err(error) = self.clients[at].flush() {
                self.lose(at, &error, phase);
            }
        }
    }

    /// When the loop has to turn again even if the server says nothing.
    fn wake_ns(&self, schedule: &Schedule, now_ns: u64) -> Option<u64> {
        if schedule.is_over(now_ns) {
            return None;
        }
        // Without room nothing can be handed out, however much is due.
        if self.roomy.is_empty() { schedule.end_ns() } else { schedule.wake_ns() }
    }

    fn wait(&mut self, events: &mut Events, wake_ns: Option<u64>) -> io::Result<()> {
        let longest_ms = if self.down > 0 { LONGEST_WAIT_DOWN_MS } else { LONGEST_WAIT_MS };
        let wake_in_ns = wake_ns.map_or(u64::MAX, |at| at.saturating_sub(self.now_ns()));
        // The kernel waits whole milliseconds and some more; the last one or two are spent awake, so that nothing begins late.
        let wait_ms = (wake_in_ns / NS_PER_MS).saturating_sub(1).min(longest_ms);
        match self.poll.poll(events, Some(Duration::from_millis(wait_ms))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    fn on_event(&mut self, event: &Event, phase: &mut Phase<'_>) {
        let at = event.token().0;
        if let Err(error) = self.serve(at, event, &mut phase.tally) {
            return self.lose(at, &error, phase);
        }
        self.offer(at);
    }

    fn serve(&mut self, at: usize, event: &Event, tally: &mut Tally) -> io::Result<()> {
        let client = &mut self.clients[at];
        if client.is_connecting() {
            if !client.open()? {
                return Ok(());
            }
            self.down -= 1;
        }
        if event.is_writable() {
            client.flush()?;
        }
        let epoch = self.epoch;
        let to_the_end = event.is_read_closed() || event.is_error();
        let mut may_read = event.is_readable() || to_the_end;
        while may_read {
            may_read = client.read(&mut self.buffer, || since(epoch), tally, to_the_end)?;
        }
        Ok(())
    }

    fn lose(&mut self, at: usize, error: &io::Error, phase: &mut Phase<'_>) {
        let client = &mut self.clients[at];
        let was_up = client.is_up();
        let lost = client.lose(since(self.epoch));
        if !was_up {
            return;
        }
        self.down += 1;
        let why = format!("{}: connection lost: {error}", client.address());
        phase.tally.on_lost(lost, &why);
        phase.losses_told += 1;
        if !self.quiet && phase.losses_told <= LOSSES_TOLD {
            let more = if phase.losses_told == LOSSES_TOLD { " (further ones are only counted)" } else { "" };
            super::tell(&format!("{why}; operations lost with it: {lost}{more}"));
        }
    }

    fn dial_lost(&mut self, phase: &mut Phase<'_>) {
        if self.down == 0 {
            return;
        }
        let now_ns = self.now_ns();
        for at in 0..self.clients.len() {
            if self.clients[at].is_due(now_ns)
                && let Err(error) = self.clients[at].dial(self.poll.registry(), Token(at))
            {
                self.lose(at, &error, phase);
            }
        }
    }

    fn is_finished(&self, schedule: &Schedule, now_ns: u64) -> bool {
        let grace_is_over = schedule.end_ns().is_some_and(|end| now_ns >= end.saturating_add(GRACE_NS));
        grace_is_over || (schedule.is_over(now_ns) && self.clients.iter().all(|client| client.under_way().next().is_none()))
    }

    /// Counts what never got its answer, and leaves the connections clean for the next phase.
    fn settle(&mut self, phase: Phase<'_>, begin_ns: u64, is_stalled: bool) -> Report {
        let Phase { name, schedule, mut tally, .. } = phase;
        let now_ns = self.now_ns();
        for client in &mut self.clients {
            client.under_way().for_each(|operation| tally.on_unanswered(operation, now_ns));
            if client.under_way().next().is_some() {
                client.lose(now_ns);
                self.down += 1;
            }
        }
        for (kind, due_ns, number) in schedule.give_up(now_ns) {
            tally.on_unsent(kind, due_ns, number, now_ns);
        }
        Report { name, elapsed_ns: now_ns - begin_ns, is_stalled, tally }
    }
}

fn since(epoch: Instant) -> u64 {
    epoch.elapsed().as_nanos() as u64
}

/// The first of the name's addresses that accepts a connection: `localhost` is often two, of which one is served. With it, what each
/// connection has to say first.
fn reachable(address: &str, password: Option<&Password>) -> Result<(SocketAddr, Vec<u8>), String> {
    let candidates = address.to_socket_addrs().map_err(|error| cannot_connect(address, &error))?;
    let mut told = format!("cannot connect to {address}: the name has no address");
    for candidate in candidates {
        match TcpStream::connect_timeout(&candidate, CONNECT_LIMIT) {
            Ok(stream) => return Ok((candidate, login(stream, password).map_err(|error| format!("{address}: {error}"))?)),
            Err(error) => told = cannot_connect(address, &error),
        }
    }
    Err(told)
}

/// What shows the password to this server; nothing if it wants none. It is tried out, so that a wrong one is told at once.
fn login(mut stream: TcpStream, password: Option<&Password>) -> io::Result<Vec<u8>> {
    let Some(password) = password else { return Ok(Vec::new()) };
    stream.set_read_timeout(Some(CONNECT_LIMIT))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut answer = Vec::new();
    stream.write_all(b"version\r\n")?;
    lines.read_until(b'\n', &mut answer)?;
    if answer != password::WANTED {
        return Ok(Vec::new());
    }
    answer.clear();
    stream.write_all(&password.login())?;
    lines.read_until(b'\n', &mut answer)?;
    if answer == password::ACCEPTED { Ok(password.login()) } else { Err(io::Error::other("the server has another password")) }
}

fn cannot_connect(address: impl Display, error: &io::Error) -> String {
    format!("cannot connect to {address}: {error}")
}
