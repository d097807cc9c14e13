//! A node as its own process.
//!
//! A node's folder, with its journal and its log, lives as long as the [`Node`], over kills and restarts; a test that fails shows the end
//! of the log. Whoever starts a node owns its process: it is signalled and killed by its pid and nothing else.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::client::Client;
use super::{PATIENCE, eventually};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_spydercache");
/// Lines of a node's log that a failing test shows.
const SHOWN_LINES: usize = 30;

/// A folder of a test's own, removed when it goes out of scope.
pub struct Folder(PathBuf);

/// How a node is to be started.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    file: Option<String>,
    port: u16,
    options: Vec<String>,
    descriptors: Option<u32>,
    namespace: Option<String>,
}

/// A node, running or not.
pub struct Node {
    /// Its name in the pool, which is its address.
    pub name: String,
    setup: Setup,
    folder: Folder,
    process: Option<Child>,
    lines: Receiver<String>,
}

impl Folder {
    /// An empty folder.
    pub fn new() -> Folder {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("server-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for the test");
        Folder(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left in the build's own folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Setup {
    /// A node by itself on any free port, with the defaults of a configuration.
    pub fn new() -> Setup {
        Setup::default()
    }

    /// With a file of configuration.
    pub fn file(mut self, file: String) -> Setup {
        self.file = Some(file);
        self
    }

    /// On this port.
    pub fn port(mut self, port: u16) -> Setup {
        self.port = port;
        self
    }

    /// With an option of the configuration: `section.key=value`.
    pub fn set(mut self, assignment: impl Into<String>) -> Setup {
        self.options.push(assignment.into());
        self
    }

    /// As a process that may open so many files.
    pub fn descriptors(mut self, most: u32) -> Setup {
        self.descriptors = Some(most);
        self
    }

    /// As a process in a network namespace, which only root may enter.
    #[allow(dead_code, reason = "tests/chaos cuts nodes off")]
    pub fn within(mut self, namespace: impl Into<String>) -> Setup {
        self.namespace = Some(namespace.into());
        self
    }

    /// Starts it, and waits until it is ready.
    pub fn start(self) -> Node {
        let mut node = self.launch();
        node.await_ready();
        node
    }

    /// Starts it.
    pub fn launch(self) -> Node {
        let (_, lines) = mpsc::channel();
        let mut node = Node { name: String::new(), setup: self, folder: Folder::new(), process: None, lines };
        node.launch();
        node
    }

    fn command(&self, data: &Path) -> Command {
        let mut command = match (&self.namespace, self.descriptors) {
            (Some(namespace), _) => {
                // It becomes the program: its pid is the node's.
                let mut ip = Command::new("ip");
                ip.args(["netns", "exec", namespace, PROGRAM]);
                ip
            }
            (None, None) => Command::new(PROGRAM),
            (None, Some(most)) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\""), PROGRAM]);
                shell
            }
        };
        command.args(&self.file).args(["--port", &self.port.to_string()]).arg("--data-dir").arg(data);
        for assignment in &self.options {
            command.args(["--set", assignment]);
        }
        command
    }
}

impl Node {
    /// Starts the process again, with the same folder and on the same port as before.
    pub fn start(&mut self) {
        self.launch();
        self.await_ready();
    }

    /// Starts the process again.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "the node runs");
        let log = fs::OpenOptions::new().append(true).create(true).open(self.log_file()).expect("a log file");
        let mut command = self.setup.command(&self.data());
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().expect("the program starts");
        let (sender, lines) = mpsc::channel();
        let stdout = process.stdout.take().expect("it was piped");
        thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        (self.process, self.lines) = (Some(process), lines);
    }

    /// Waits for the line that says that the node is ready, and learns the name from it.
    pub fn await_ready(&mut self) {
        let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the node is not ready; its log:\n{}", self.log()));
        let name = line.strip_prefix("ready ").and_then(|rest| rest.split(' ').next());
        self.name = name.unwrap_or_else(|| panic!("the first line is {line:?}")).to_owned();
        self.setup.port = self.address().port();
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.name.parse().expect("the name is an address")
    }

    /// A connection to it.
    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// One of its counters, or another number that `stats` shows.
    pub fn stat(&self, name: &str) -> u64 {
        self.client().stat(name)
    }

    /// Where its journal is.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The segments of its journal, oldest first.
    pub fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.data()).expect("the journal's folder");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "msgpack"));
        paths.sort();
        paths
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Its process's number.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the node runs").id()
    }

    /// Bytes of memory that its process occupies.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the state of the process");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line about memory");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") << 10
    }

    /// Was it started, and not ended by a test since?
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// Has it ended by itself?
    pub fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| process.try_wait().expect("a child of this process").is_some())
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} cannot be sent");
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a child of this process");
            process.wait().expect("a child of this process");
        }
    }

    /// SIGTERM, and its exit status.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.await_end()
    }

    /// Waits until it ends.
    pub fn await_end(&mut self) -> ExitStatus {
        eventually("the node ends", || self.has_ended());
        self.process.take().expect("the node ran").wait().expect("a child of this process")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // SIGKILL also ends a process that is stopped.
            let _ = process.kill();
            let _ = process.wait();
        }
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the log of {} ends with", self.name);
            lines[lines.len().saturating_sub(SHOWN_LINES)..].iter().for_each(|line| eprintln!("    {line}"));
        }
    }
}

/// Ports that are free, and below those that the system gives to outgoing connections: they stay free until a node takes them, and
/// while it is down.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const LOWEST: u32 = 12_000;
    const COUNT: u32 = 18_000;
    let start = std::process::id().wrapping_mul(97);
    let mut candidates = std::iter::from_fn(|| {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        Some((LOWEST + start.wrapping_add(step) % COUNT) as u16)
    });
    let mut free = || candidates.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port");
    [(); N].map(|()| free())
}
