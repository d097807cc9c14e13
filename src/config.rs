//! A node's configuration: TOML in, [`Config`] out, and errors that name the key, what was found and what is allowed.
//!
//! ```text
//!   text ──parse──▶ Config ◀──set── section.key=value of the command line
//!                     │
//!                     └──validate──▶ what no key can tell alone; the peers without this node and without repeats
//! ```
//!
//! The options themselves, each with what it allows, are the table in [`options`]; `conf/spydercache.toml` is their manual, and a test
//! holds the two together. Nothing here opens a file, resolves a name or looks whether a folder exists.

pub mod options;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use options::{Found, Opt};

use crate::topology::view::Mirrors;

/// With mirrors, so many heartbeats belong into the time of silence.
const HEARTBEATS_A_SILENCE: u64 = 4;

/// Everything a node can be told. `conf/spydercache.toml` is the manual.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[local]`
    pub local: Local,
    /// `[network]`
    pub network: Network,
    /// `[journal]`
    pub journal: Journal,
    /// `[limits]`
    pub limits: Limits,
    /// `[security]`
    pub security: Security,
    /// `[log]`
    pub log: Log,
}

/// `[local]`: this node.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    /// Any string; shown in logs, metrics and the ring.
    pub node_id: String,
    /// Where to listen.
    pub node_address: String,
    /// Where to listen; 0 takes a free port.
    pub node_port: u16,
    /// How the pool and ketama clients know this node; empty is `address:port`.
    pub name: String,
    /// Its share of the ring, relative to the others'.
    pub weight: u32,
    /// Read the journal at start?
    pub reconstruct: bool,
    /// Most keys held; 0 is no limit.
    pub cache_size: u64,
    /// Most bytes held; 0 is no limit.
    pub max_memory: u64,
}

/// `[network]`: the pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The pool's name; nodes of another pool are refused.
    pub pool: String,
    /// The other nodes.
    pub peers: Vec<SocketAddr>,
    /// Who keeps copies of this node's keys.
    pub mirrors: Mirrors,
    /// Time between two heartbeats.
    pub heartbeat_ms: u64,
    /// After which a silent peer is held for dead.
    pub silence_ms: u64,
    /// What a pool without a majority does.
    pub on_silence: OnSilence,
    /// How long a pool that was down as a whole waits for those that are missing.
    pub boot_wait_ms: u64,
}

/// What a pool without a majority does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSilence {
    /// Wait for the silent ones.
    Wait,
    /// Go on without them.
    Serve,
}

/// `[journal]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    /// Keep a journal?
    pub enabled: bool,
    /// Its folder: one a node, never shared. Empty is `data/<node_id>`.
    pub dir: String,
    /// When it is synced to disk.
    pub sync: Sync,
    /// Size at which a new segment is begun.
    pub segment_size: u64,
}

/// When the journal is synced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// When the operating system likes.
    No,
    /// Once a second.
    Everysec,
    /// Before anything is acknowledged.
    Always,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Most client connections.
    pub max_connections: usize,
    /// Longest key in bytes, for HTTP (and RESP); memcached text stays at its 250.
    pub max_key: usize,
    /// Largest value in bytes.
    pub max_value: usize,
    /// Longest command line, and largest HTTP head, in bytes.
    pub max_line: usize,
    /// Unread replies of one client, in bytes, after which it is closed.
    pub max_output: usize,
    /// Bytes of unfinished commands of all clients, past which who adds to them is closed.
    pub max_input: u64,
    /// Most replies owed to one client while others answer; past it, it is not read from.
    pub max_pipelined: usize,
    /// Time a request may wait for another node.
    pub request_timeout_ms: u64,
    /// Time a client may be silent between two requests; 0 is for ever.
    pub idle_timeout_s: u64,
    /// Time a client may take over a command it has begun, or leave replies unread.
    pub stall_timeout_s: u64,
}

/// `[security]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Security {
    /// What clients must show; empty is none.
    pub password: String,
    /// What peers must prove to know; empty is the password.
    pub pool_secret: String,
    /// Names under which HTTP clients may address this node, beside loopback's and its own.
    pub hosts: Vec<String>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub level: log::LevelFilter,
    /// As well as the terminal; empty is none.
    pub file: String,
}

impl Default for Config {
    /// A standalone node, as the original starts without a configuration: id 0 on 127.0.0.1:8080.
    fn default() -> Config {
        Config {
            local: Local {
                node_id: "0".into(),
                node_address: "127.0.0.1".into(),
                node_port: 8080,
                name: String::new(),
                weight: 1,
                reconstruct: true,
                cache_size: 1_000_000,
                max_memory: 1 << 30,
            },
            network: Network {
                pool: "spyder".into(),
                peers: Vec::new(),
                mirrors: Mirrors::Next(0),
                heartbeat_ms: 100,
                silence_ms: 500,
                on_silence: OnSilence::Wait,
                boot_wait_ms: 10_000,
            },
            journal: Journal { enabled: true, dir: String::new(), sync: Sync::Everysec, segment_size: 64 << 20 },
            limits: Limits {
                max_connections: 10_000,
                max_key: 1024,
                max_value: 1 << 20,
                max_line: 64 << 10,
                max_output: 64 << 20,
                max_input: 256 << 20,
                max_pipelined: 10_000,
                request_timeout_ms: 1000,
                idle_timeout_s: 0,
                stall_timeout_s: 30,
            },
            security: Security { password: String::new(), pool_secret: String::new(), hosts: Vec::new() },
            log: Log { level: log::LevelFilter::Info, file: String::new() },
        }
    }
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The line of the file, from 1; none for an option of the command line and for what concerns several lines.
    pub line: Option<usize>,
    /// The option as `section.key`, or the section in brackets; empty if the text is not TOML.
    pub key: String,
    /// What was found, and what is allowed.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the text of a configuration file over the defaults. What concerns several keys is left to [`Config::validate`], since the
    /// command line may still change them.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        let document = DeTable::parse(text).map_err(|error| not_toml(text, &error))?;
        let mut config = Config::default();
        for (name, section) in in_order_of_lines(document.get_ref()) {
            read_section(&mut config, text, name, section)?;
        }
        Ok(config)
    }

    /// Sets one option as the command line writes it: `section.key=value`. The value is TOML, or else text as it stands, so that
    /// `log.file=/tmp/a.log` and `network.peers=127.0.0.1:8002,127.0.0.1:8003` need no quotes.
    pub fn set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let (path, value) = assignment.split_once('=').ok_or_else(|| not_an_assignment(assignment))?;
        let (section, key) = path.trim().split_once('.').ok_or_else(|| not_an_assignment(assignment))?;
        let option = options::find(section, key).map_err(|problem| ConfigError { line: None, key: path.trim().into(), problem })?;
        let as_text = DeValue::String(value.into());
        let as_toml = DeValue::parse(value.trim());
        let read = |config: &mut Config, value: &DeValue<'_>| option.read(config, Found(value));
        match &as_toml {
            Ok(value) => read(self, value.get_ref()).or_else(|problem| read(self, &as_text).map_err(|_| problem)),
            Err(_) => read(self, &as_text),
        }
        .map_err(|problem| option.error(None, problem))
    }

    /// Checks what no key can tell alone, and takes this node and repeats out of its peers: one list may serve all nodes of a pool.
    pub fn validate(&mut self) -> Result<(), ConfigError> {
        let own = self.own_address();
        let mut others = Vec::new();
        for peer in self.network.peers.drain(..) {
            if Some(peer) != own && !others.contains(&peer) {
                others.push(peer);
            }
        }
        self.network.peers = others;
        self.check_network(own)?;
        self.check_limits()?;
        let names_no_folder = self.local.node_id.contains(['/', '\0']) || matches!(self.local.node_id.as_str(), "." | "..");
        if self.journal.enabled && self.journal.dir.is_empty() && names_no_folder {
            return Err(conflict("journal.dir", "is needed: its default, data/<node_id>, is no folder with this local.node_id"));
        }
        Ok(())
    }

    fn check_network(&self, own: Option<SocketAddr>) -> Result<(), ConfigError> {
        let Network { heartbeat_ms, silence_ms, mirrors, .. } = &self.network;
        if heartbeat_ms >= silence_ms {
            let problem = format!("is {silence_ms}, must be more than network.heartbeat_ms, {heartbeat_ms}");
            return Err(conflict("network.silence_ms", problem));
        }
        let Mirrors::Named(named) = mirrors else { return Ok(()) };
        if named.iter().any(|mirror| Some(*mirror) == own) {
            return Err(conflict("network.mirrors", "names this node itself"));
        }
        match named.iter().enumerate().find(|(i, mirror)| named[..*i].contains(mirror)) {
            Some((_, twice)) => Err(conflict("network.mirrors", format!("names {twice} twice"))),
            None => Ok(()),
        }
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let Limits { max_key, max_value, max_line, max_output, .. } = &self.limits;
        if max_key >= max_line {
            return Err(conflict("limits.max_line", format!("is {max_line}, must be more than limits.max_key, {max_key}")));
        }
        if max_value > max_output {
            let problem = format!("is {max_output}, must be at least limits.max_value, {max_value}: no client could read such a value");
            return Err(conflict("limits.max_output", problem));
        }
        Ok(())
    }

    /// What is allowed and yet deserves a word in the log.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let Network { mirrors, heartbeat_ms, silence_ms, .. } = &self.network;
        if *mirrors != Mirrors::Next(0) && heartbeat_ms * HEARTBEATS_A_SILENCE > *silence_ms {
            let most = silence_ms / HEARTBEATS_A_SILENCE;
            warnings.push(format!(
                "network.heartbeat_ms should be at most {most}: a lease is half of silence_ms, and one lost heartbeat ends it"
            ));
        }
        if self.listens_beyond_this_host() && self.security.password.is_empty() {
            warnings.push(format!(
                "LISTENING ON {} WITHOUT A PASSWORD: whoever reaches this port can read and change everything; set security.password",
                self.local.node_address
            ));
        }
        warnings
    }

    /// May others than this host connect?
    #[must_use]
    pub fn listens_beyond_this_host(&self) -> bool {
        self.local.node_address.parse::<IpAddr>().is_ok_and(|ip| !ip.to_canonical().is_loopback())
    }

    /// What the nodes of the pool prove to each other. Where clients need a password nobody should get around it by speaking like a node.
    #[must_use]
    pub fn pool_secret(&self) -> &str {
        let Security { password, pool_secret, .. } = &self.security;
        if pool_secret.is_empty() { password } else { pool_secret }
    }

    /// Where this node listens, in the form in which its peers list it.
    #[must_use]
    pub fn address(&self) -> String {
        let Local { node_address, node_port, .. } = &self.local;
        match node_address.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, *node_port).to_string(),
            Err(_) => format!("{node_address}:{node_port}"),
        }
    }

    /// The name this node has on the ring.
    #[must_use]
    pub fn ring_name(&self) -> String {
        if self.local.name.is_empty() { self.address() } else { self.local.name.clone() }
    }

    /// The names under which HTTP clients may address this node, beside loopback's.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let own = [self.local.node_address.as_str(), self.local.name.as_str()].into_iter().filter(|name| !name.is_empty());
        own.chain(self.security.hosts.iter().map(String::as_str))
    }

    /// Where the journal is kept.
    #[must_use]
    pub fn journal_dir(&self) -> PathBuf {
        if self.journal.dir.is_empty() { PathBuf::from("data").join(&self.local.node_id) } else { PathBuf::from(&self.journal.dir) }
    }

    /// The address by which others may have listed this node, if its name tells one.
    fn own_address(&self) -> Option<SocketAddr> {
        self.ring_name().parse().ok()
    }
}

fn read_section(config: &mut Config, text: &str, name: &Spanned<Text<'_>>, section: &Spanned<DeValue<'_>>) -> Result<(), ConfigError> {
    let line = Some(line_of(text, name.span().start));
    let Some(keys) = section.get_ref().as_table() else {
        let problem = options::outside_of_sections(name.get_ref());
        return Err(ConfigError { line, key: name.get_ref().to_string(), problem });
    };
    options::find_section(name.get_ref()).map_err(|problem| ConfigError { line, key: format!("[{}]", name.get_ref()), problem })?;
    for (key, value) in in_order_of_lines(keys) {
        let line = Some(line_of(text, key.span().start));
        let unknown = |problem| ConfigError { line, key: format!("{}.{}", name.get_ref(), key.get_ref()), problem };
        let option: &Opt = options::find(name.get_ref(), key.get_ref()).map_err(unknown)?;
        option.read(config, Found(value.get_ref())).map_err(|problem| option.error(line, problem))?;
    }
    Ok(())
}

type Text<'i> = std::borrow::Cow<'i, str>;

/// A table's entries as the file has them, so that the first error named is the first of the file.
fn in_order_of_lines<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(&'t Spanned<Text<'i>>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

fn not_toml(text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error.span().map(|span| line_of(text, span.start));
    let hint = "texts and addresses stand in quotes, lists in [ ], and yes and no are true and false";
    ConfigError { line, key: String::new(), problem: format!("not TOML: {}; {hint}", error.message()) }
}

fn not_an_assignment(found: &str) -> ConfigError {
    // Only what stands before the equals sign is shown: behind it may be a password.
    let shown = found.split('=').next().unwrap_or_default();
    ConfigError { line: None, key: shown.into(), problem: "allowed: section.key=value".into() }
}

fn conflict(key: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError { line: None, key: key.into(), problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::options::OPTIONS;
    use super::*;

    fn parsed(text: &str) -> Config {
        Config::parse(text).expect("the text is a good configuration")
    }

    fn refused(text: &str) -> String {
        Config::parse(text).expect_err("the text is a bad configuration").to_string()
    }

    fn set(assignments: &[&str]) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        for assignment in assignments {
            config.set(assignment)?;
        }
        config.validate()?;
        Ok(config)
    }

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| address.parse().expect("an address")).collect()
    }

    const MANUAL: &str = include_str!("../conf/spydercache.toml");

    #[test]
    fn an_empty_file_is_a_standalone_node_with_every_default() {
        assert_eq!(parsed(""), Config::default());
        assert_eq!(Config::default().ring_name(), "127.0.0.1:8080");
        assert_eq!(Config::default().journal_dir(), PathBuf::from("data/0"));
    }

    #[test]
    fn the_manual_sets_every_option_to_its_default() {
        let manual = parsed(MANUAL);
        assert_eq!(manual, Config::default());
        for option in OPTIONS {
            let (section, key) = (option.section, option.key);
            let part = MANUAL.split_once(&format!("\n[{section}]\n")).unwrap_or_else(|| panic!("[{section}] is in the manual")).1;
            let part = part.split("\n[").next().unwrap();
            let line = part.lines().position(|line| line.starts_with(&format!("{key} = ")));
            let line = line.unwrap_or_else(|| panic!("{section}.{key} is in the manual"));
            assert!(part.lines().nth(line - 1).unwrap().starts_with("# "), "{section}.{key} has its comment above it");
        }
    }

    #[test]
    fn the_sample_nodes_form_one_pool() {
        let texts = [include_str!("../conf/node1.toml"), include_str!("../conf/node2.toml"), include_str!("../conf/node3.toml")];
        for (i, text) in texts.into_iter().enumerate() {
            let mut node = parsed(text);
            node.validate().unwrap();
            let others: Vec<u16> = (8001..=8003).filter(|port| *port != 8001 + i as u16).collect();
            assert_eq!((node.local.node_id.as_str(), node.local.node_port), (["1", "2", "3"][i], 8001 + i as u16));
            assert_eq!(node.network.peers.iter().map(SocketAddr::port).collect::<Vec<_>>(), others);
            assert_eq!(node.journal_dir(), PathBuf::from(format!("data/{}", i + 1)));
            assert_eq!(node.network.mirrors, Mirrors::Next(1));
        }
    }

    #[test]
    fn sizes_are_numbers_or_numbers_with_a_unit() {
        for (written, bytes) in [("67108864", 64 << 20), ("67_108_864", 64 << 20), ("\"64MiB\"", 64 << 20), ("\"1GiB\"", 1 << 30)] {
            assert_eq!(parsed(&format!("[journal]\nsegment_size = {written}")).journal.segment_size, bytes);
        }
        for (written, bytes) in [("\"512KiB\"", 512 << 10), ("\"10_000\"", 10_000), ("\"10_000 B\"", 10_000), ("0x1000", 4096)] {
            assert_eq!(parsed(&format!("[limits]\nmax_value = {written}")).limits.max_value, bytes);
        }
        for written in ["\"64MB\"", "\"MiB\"", "\"\"", "-1", "1.5", "\"1.5MiB\"", "\"99999999999GiB\"", "true", "[1]", "\"_1\"", "\"+1\""] {
            let error = refused(&format!("[local]\nmax_memory = {written}"));
            assert!(error.starts_with("line 2: local.max_memory: found "), "{error}");
            assert!(error.contains("allowed: "), "{error}");
        }
    }

    #[test]
    fn the_original_s_ways_of_writing_are_understood() {
        let list = "[network]\npeers = \"127.0.0.1:8002, 127.0.0.1:8003\"\nmirrors = \"127.0.0.1:8004\"\n[local]\nnode_id = 7";
        let config = parsed(list);
        assert_eq!(config.network.peers, addresses(&["127.0.0.1:8002", "127.0.0.1:8003"]));
        assert_eq!(config.network.mirrors, Mirrors::Named(addresses(&["127.0.0.1:8004"])));
        assert_eq!(config.local.node_id, "7");
        assert_eq!(parsed("[network]\npeers = \"\"").network.peers, []);
        assert_eq!(parsed("[network]\nmirrors = 2").network.mirrors, Mirrors::Next(2));
        assert_eq!(parsed("[network]\nmirrors = []").network.mirrors, Mirrors::Named(Vec::new()));
    }

    #[test]
    fn an_error_names_the_line_the_key_what_was_found_and_what_is_allowed() {
        let error = refused("# pool\n[network]\npool = \"p\"\nheartbeat_ms = \"fast\"");
        assert_eq!(error, "line 4: network.heartbeat_ms: found \"fast\", allowed: a whole number from 1 to 60000");
        let error = refused("[journal]\nenabled = \"yes\"");
        assert_eq!(error, "line 2: journal.enabled: found \"yes\", allowed: true or false");
        let error = refused("[journal]\nsync = \"sometimes\"");
        assert_eq!(error, "line 2: journal.sync: found \"sometimes\", allowed: \"no\", \"everysec\" or \"always\"");
        let error = refused("[local]\nnode_address = \"localhost\"");
        assert!(error.starts_with("line 2: local.node_address: found \"localhost\", allowed: an IP address"), "{error}");
    }

    #[test]
    fn an_unknown_name_is_an_error_that_names_the_nearest_known_one() {
        assert_eq!(refused("[local]\nnode_prot = 1"), "line 2: local.node_prot: no such option; did you mean local.node_port?");
        assert_eq!(refused("[lokal]\nnode_port = 1"), "line 1: [lokal]: no such section; did you mean [local]?");
        assert_eq!(
            refused("[limits]\nsegment_size = 1"),
            "line 2: limits.segment_size: no such option; did you mean journal.segment_size?"
        );
        assert_eq!(refused("node_id = 1"), "line 1: node_id: stands outside of any section; did you mean local.node_id?");
        let error = Config::default().set("local.port=1").unwrap_err().to_string();
        assert_eq!(error, "local.port: no such option; did you mean local.node_port?");
    }

    #[test]
    fn the_first_error_of_the_file_is_the_one_reported() {
        assert!(refused("[network]\nzzz = 1\n[local]\naaa = 1").starts_with("line 2: network.zzz"));
        assert!(refused("[local]\nname = 1\nbbb = 1").starts_with("line 2: local.name"));
    }

    #[test]
    fn text_that_is_not_toml_is_refused_with_its_line() {
        let error = refused("[local]\nreconstruct = False\n");
        assert!(error.starts_with("line 2: not TOML: "), "{error}");
        assert!(refused("[local]\nnode_id = 1\nnode_id = 2\n").starts_with("line 3: not TOML: duplicate key"));
    }

    #[test]
    fn a_secret_is_never_repeated_in_an_error() {
        assert!(!refused("[security]\npassword = 31337").contains("31337"));
        assert!(!Config::default().set(&format!("security.password={}", "31337".repeat(99))).unwrap_err().to_string().contains("31337"));
        assert!(!Config::default().set("password=31337").unwrap_err().to_string().contains("31337"));
    }

    #[test]
    fn the_command_line_wins_and_needs_no_quotes() {
        let config = set(&[
            "local.node_id=5",
            "journal.sync=always",
            "journal.enabled=false",
            "limits.max_value=2MiB",
            "log.file=/tmp/a=b.log",
            "log.level=debug",
            "network.peers=127.0.0.1:1,127.0.0.1:2",
            "network.pool = 1979-05-27",
        ])
        .unwrap();
        assert_eq!(config.local.node_id, "5");
        assert_eq!((config.journal.sync, config.journal.enabled), (Sync::Always, false));
        assert_eq!(config.limits.max_value, 2 << 20);
        assert_eq!((config.log.file.as_str(), config.log.level), ("/tmp/a=b.log", log::LevelFilter::Debug));
        assert_eq!(config.network.peers, addresses(&["127.0.0.1:1", "127.0.0.1:2"]));
        assert_eq!(config.network.pool.trim(), "1979-05-27");
        for bad in ["", "local.node_port", "node_port=1", "local.node_port=x", "journal.enabled=yes", "local.node_id=", "a.b.c=1"] {
            assert!(Config::default().set(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_that_do_not_fit_each_other_are_refused() {
        for (assignments, key) in [
            (vec!["network.heartbeat_ms=500"], "network.silence_ms"),
            (vec!["limits.max_key=65535", "limits.max_line=64KiB", "limits.max_line=1024"], "limits.max_line"),
            (vec!["limits.max_value=512MiB"], "limits.max_output"),
            (vec!["network.mirrors=127.0.0.1:1,127.0.0.1:1"], "network.mirrors"),
            (vec!["network.mirrors=127.0.0.1:8080"], "network.mirrors"),
            (vec!["local.node_id=a/b"], "journal.dir"),
        ] {
            assert_eq!(set(&assignments).unwrap_err().key, key);
        }
        assert!(set(&["local.node_id=a/b", "journal.dir=/tmp/a"]).is_ok());
        assert!(set(&["limits.max_value=512MiB", "limits.max_output=512MiB"]).is_ok());
        assert!(Config::default().set("limits.max_value=513MiB").is_err());
        assert!(Config::default().set("limits.max_key=65536").is_err());
    }

    #[test]
    fn a_port_that_others_reach_without_a_password_is_said_aloud() {
        for (address, is_open) in [("127.0.0.1", false), ("::1", false), ("0.0.0.0", true), ("10.0.0.1", true), ("::", true)] {
            let listen = format!("local.node_address={address}");
            let warnings = set(&[&listen]).unwrap().warnings();
            assert_eq!(warnings.len(), usize::from(is_open), "{warnings:?}");
            assert!(warnings.iter().all(|warning| warning.contains("WITHOUT A PASSWORD") && warning.contains("security.password")));
            assert_eq!(set(&[&listen, "security.password=x"]).unwrap().warnings(), [""; 0]);
        }
    }

    #[test]
    fn a_password_is_the_pools_secret_too_unless_there_is_another() {
        for (assignments, secret) in [
            (&[][..], ""),
            (&["security.password=x"], "x"),
            (&["security.pool_secret=y"], "y"),
            (&["security.password=x", "security.pool_secret=y"], "y"),
        ] {
            assert_eq!(set(assignments).unwrap().pool_secret(), secret);
        }
    }

    #[test]
    fn one_list_of_peers_serves_all_nodes() {
        let config = set(&["network.peers=127.0.0.1:8080,127.0.0.1:1,127.0.0.1:2,127.0.0.1:1"]).unwrap();
        assert_eq!(config.network.peers, addresses(&["127.0.0.1:1", "127.0.0.1:2"]));
        let config = set(&["local.node_address=0.0.0.0", "local.name=10.0.0.1:8080", "network.peers=10.0.0.1:8080,10.0.0.2:8080"]).unwrap();
        assert_eq!(config.network.peers, addresses(&["10.0.0.2:8080"]));
    }

    #[test]
    fn an_ipv6_address_is_named_as_its_peers_write_it() {
        let config = set(&["local.node_address=0:0::1", "network.peers=[::1]:8080,[::1]:8081"]).unwrap();
        assert_eq!(config.ring_name(), "[::1]:8080");
        assert_eq!(config.network.peers, addresses(&["[::1]:8081"]));
    }

    #[test]
    fn no_text_makes_the_reader_panic() {
        let mut prng = crate::prng::Prng::new(11);
        for _ in 0..2_000 {
            let mut text = MANUAL.as_bytes().to_vec();
            for _ in 0..=prng.below(4) {
                let at = prng.below(text.len() as u64) as usize;
                match prng.below(3) {
                    0 => text[at] = prng.below(128) as u8,
                    1 => drop(text.remove(at)),
                    _ => text.truncate(at + 1),
                }
            }
            if let Ok(mut config) = Config::parse(&String::from_utf8_lossy(&text)) {
                let _ = config.validate();
                let _ = config.warnings();
            }
        }
    }
}
