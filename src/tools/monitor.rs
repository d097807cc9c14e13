//! `spydercache monitor`: which nodes are alive, since when, and what they do.
//!
//! Every interval each node is asked for its `stats`, all at the same time and each over a connection of its own, so that a node that
//! hangs costs its own line and nothing else. Alive is who answers whole and in time; all others are dead, with the reason. What is
//! shown is what each node says of itself and this monitor saw: it decides nothing and tells nobody.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use getopts::{Matches, Options};

use super::password::{self, Password};
use super::{CLEAN, FAILED, USAGE, complain, finish, json, read_args};
use crate::config::Config;
use crate::disk;

/// A node that has not answered whole within this time is held for dead.
const PATIENCE: Duration = Duration::from_millis(500);
/// Most bytes of an answer: about ten times what a node says.
const MAX_ANSWER: usize = 64 << 10;
/// Most nodes watched at a time: each costs a thread while it is asked.
const MAX_NODES: usize = 1_000;

const USAGE_TEXT: &str = "Usage: spydercache monitor [options] FILE|ADDR...

FILE is a node's configuration (that node and its peers are shown) or a list of addresses, one a line, with # comments.
FOR is the uptime of a node that is alive, and how long this monitor has seen it dead. OPS/S is since the last look; with --once it
is since the node's start. Of pools with mirrors: VIEW is the number of a node's view, LEASE how long it may serve without hearing from the
others (or that it waits for one, or has no seat), LOST how many arcs of the ring have too few copies, FILLING how many nodes it fills, how
far it is, how fast, and what time is left. With --once the exit code is 0 if all nodes are alive and 1 if one is dead.

Nodes that want a password are shown --password-file's, else SPYDERCACHE_PASSWORD, else the one of the configuration that names them.";

/// Runs the tool.
pub fn run(args: &[String]) -> i32 {
    let mut options = Options::new();
    options.optflag("", "once", "look once, and tell by the exit code");
    options.optflag("", "json", "one JSON object a look, on a line of its own");
    options.optopt("", "interval", "seconds between two looks, 0.1 to 3600; 1 is the default", "SECONDS");
    options.optopt("", password::OPTION, password::HELP, "FILE");
    options.optflag("h", "help", "print this");
    let matches = match read_args(&options, USAGE_TEXT, args) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    let (interval, mut nodes) = match understand(&matches) {
        Ok(understood) => understood,
        Err(problem) => {
            complain("spydercache monitor", &problem);
            return USAGE;
        }
    };
    let show = if matches.opt_present("json") { as_json } else { as_table };
    if matches.opt_present("once") {
        look(&mut nodes);
        let code = if nodes.iter().all(|node| node.stats.is_ok()) { CLEAN } else { FAILED };
        return finish(io::stdout().write_all(show(&nodes, true).as_bytes()), code);
    }
    finish(watch(&mut nodes, interval, show, matches.opt_present("json")), CLEAN)
}

/// How often to look, and at whom.
fn understand(matches: &Matches) -> Result<(Duration, Vec<Node>), String> {
    let interval = matches.opt_str("interval").map_or(Ok(Duration::from_secs(1)), |text| parse_interval(&text))?;
    let given = Password::given(matches.opt_str(password::OPTION).as_deref())?;
    let named = find_addresses(&matches.free)?;
    let nodes = named.into_iter().map(|(address, own)| Node { password: given.clone().or(own), ..Node::new(address) }).collect();
    Ok((interval, nodes))
}

/// Looks for ever, or for as long as somebody reads.
fn watch(nodes: &mut [Node], interval: Duration, show: fn(&[Node], bool) -> String, json: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let redraw = stdout.is_terminal() && !json;
    loop {
        let begun = Instant::now();
        look(nodes);
        let clear = if redraw { "\x1b[H\x1b[2J" } else { "" };
        write!(stdout, "{clear}{}", show(nodes, false))?;
        stdout.flush()?;
        thread::sleep(interval.saturating_sub(begun.elapsed()));
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("--interval: found {text}, allowed: seconds from 0.1 to 3600"))
}

/// An address, and the password of the configuration that names it.
type Named = (String, Option<Password>);

/// The addresses that the arguments name, each once.
fn find_addresses(args: &[String]) -> Result<Vec<Named>, String> {
    let mut found: Vec<Named> = Vec::new();
    for arg in args {
        let named = if is_address(arg) { vec![(arg.clone(), None)] } else { read_file(arg)? };
        for (address, password) in named {
            match found.iter_mut().find(|(known, _)| *known == address) {
                Some((_, known)) => *known = known.take().or(password),
                None => found.push((address, password)),
            }
        }
    }
    match found.len() {
        0 => Err("no nodes named; see spydercache monitor --help".into()),
        1..=MAX_NODES => Ok(found),
        many => Err(format!("{many} nodes are more than the {MAX_NODES} that one monitor watches")),
    }
}

fn read_file(file: &str) -> Result<Vec<Named>, String> {
    let text = disk::read_text(Path::new(file)).map_err(|error| format!("{file}: {error}"))?;
    addresses_in(&text).map_err(|problem| format!("{file}: {problem}"))
}

/// A list of addresses if every line is one, else a configuration.
fn addresses_in(text: &str) -> Result<Vec<Named>, String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty());
    if lines.clone().all(is_address) {
        return Ok(lines.map(|address| (address.to_owned(), None)).collect());
    }
    let mut config = Config::parse(text).map_err(|error| error.to_string())?;
    config.validate().map_err(|error| error.to_string())?;
    let addresses = [dialled(&config)].into_iter().chain(config.network.peers.iter().map(SocketAddr::to_string));
    Ok(addresses.map(|address| (address, Password::new(&config.security.password))).collect())
}

/// Where a node with this configuration is reached: by its name if that is an address, as its peers do.
fn dialled(config: &Config) -> String {
    Some(config.ring_name()).filter(|name| is_address(name)).unwrap_or_else(|| config.address())
}

/// Has it the form HOST:PORT? The host may be a name; it is looked up when it is dialled.
fn is_address(text: &str) -> bool {
    let host_and_port = text.rsplit_once(':');
    host_and_port
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains(['/', ' ', '=']) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// A node, as the monitor sees it.
struct Node {
    address: String,
    password: Option<Password>,
    /// The last answer, or why there is none.
    stats: Result<Counters, String>,
    /// When it answered, or was found not to.
    seen: Instant,
    /// Since when it has been dead, as far as this monitor knows.
    dead_since: Option<Instant>,
    /// Operations a second between the last two answers.
    rate: Option<f64>,
}

type Counters = BTreeMap<String, String>;

impl Node {
    fn new(address: String) -> Node {
        Node { address, password: None, stats: Err("not asked yet".into()), seen: Instant::now(), dead_since: None, rate: None }
    }

    fn learn(&mut self, answer: Result<Counters, String>, now: Instant) {
        self.rate = match (&self.stats, &answer) {
            (Ok(before), Ok(after)) => rate(operations(before), operations(after), now.duration_since(self.seen)),
            _ => None,
        };
        self.dead_since = if answer.is_ok() { None } else { self.dead_since.or(Some(now)) };
        self.seen = now;
        self.stats = answer;
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.stats.as_ref().ok().and_then(|stats| number(stats, name))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.stats.as_ref().ok().and_then(|stats| stats.get(name)).map(String::as_str)
    }

    /// How long it has been alive or dead, in seconds.
    fn for_s(&self) -> u64 {
        self.dead_since.map_or_else(|| self.number("uptime").unwrap_or(0), |since| self.seen.duration_since(since).as_secs())
    }

    /// The number of its view, if its pool agrees on views and it knows one.
    fn view(&self) -> Option<u64> {
        self.part().and_then(|_| self.number("epoch")).filter(|epoch| *epoch > 0)
    }

    /// Its part in the view, in the word that `peers` has for it; none if its pool does not agree on views.
    fn part(&self) -> Option<&'static str> {
        match (self.number("seated")?, self.number("serving")?) {
            (0, _) => Some("seatless"),
            (_, 0) => Some("waiting"),
            _ => Some("serving"),
        }
    }

    /// How many others it fills, how far it is, how fast, and what time is left.
    fn filling(&self) -> Option<String> {
        let nodes = self.number("filling_nodes").filter(|nodes| *nodes > 0)?;
        let (percent, keys) = (self.text("filling_percent")?, self.number("filling_keys")?);
        let rate = bytes(self.number("filling_bytes_per_s")?);
        let left = self.number("filling_left_ms").map_or_else(|| "?".into(), |left| duration(left.div_ceil(1_000)));
        Some(format!("{nodes}: {}% {keys} keys {rate}/s {left} left", printable(percent)))
    }

    /// In percent, since the node's start; none before the first read.
    fn hits(&self) -> Option<f64> {
        let (hits, misses) = (self.number("get_hits")?, self.number("get_misses")?);
        (hits + misses > 0).then(|| 100.0 * hits as f64 / (hits + misses) as f64)
    }

    /// Since the last look; with `whole`, since the node's start.
    fn operations_a_second(&self, whole: bool) -> Option<f64> {
        let stats = self.stats.as_ref().ok()?;
        if whole { rate(Some(0), operations(stats), Duration::from_secs(number(stats, "uptime")?)) } else { self.rate }
    }
}

fn number(stats: &Counters, name: &str) -> Option<u64> {
    stats.get(name)?.parse().ok()
}

/// All that clients had done, as far as the node counts it.
fn operations(stats: &Counters) -> Option<u64> {
    const COUNTED: [&str; 9] =
        ["cmd_get", "cmd_set", "cmd_touch", "delete_hits", "delete_misses", "incr_hits", "incr_misses", "decr_hits", "decr_misses"];
    let known: Vec<u64> = COUNTED.iter().filter_map(|name| number(stats, name)).collect();
    if known.is_empty() { None } else { Some(known.iter().sum()) }
}

/// None over no time, and none if the counter went back: the node restarted, or its counters were reset.
fn rate(before: Option<u64>, after: Option<u64>, elapsed: Duration) -> Option<f64> {
    let done = after?.checked_sub(before?)?;
    (!elapsed.is_zero()).then(|| done as f64 / elapsed.as_secs_f64())
}

/// Asks every node, all at the same time.
fn look(nodes: &mut [Node]) {
    thread::scope(|scope| {
        for node in nodes.iter_mut() {
            scope.spawn(move || {
                let answer = ask(&node.address, node.password.as_ref(), Instant::now() + PATIENCE).map_err(|error| error.to_string());
                node.learn(answer, Instant::now());
            });
        }
    });
}

fn ask(address: &str, password: Option<&Password>, deadline: Instant) -> io::Result<Counters> {
    let address = address.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("no such host"))?;
    let mut stream = TcpStream::connect_timeout(&address, time_left(deadline)?)?;
    stream.set_write_timeout(Some(time_left(deadline)?))?;
    stream.write_all(b"stats\r\n")?;
    let mut answer = hear(&mut stream, deadline)?;
    if answer == password::WANTED {
        let password = password.ok_or_else(|| io::Error::other("wants a password, see spydercache monitor --help"))?;
        stream.write_all(&password.login())?;
        if hear(&mut stream, deadline)? != password::ACCEPTED {
            return Err(io::Error::other("has another password"));
        }
        stream.write_all(b"stats\r\n")?;
        answer = hear(&mut stream, deadline)?;
    }
    if !answer.starts_with(b"STAT ") && !answer.starts_with(b"END") {
        return Err(io::Error::other("does not speak the text protocol"));
    }
    Ok(parse_stats(&answer))
}

/// The next answer: a list up to its `END`, or a line that is none.
fn hear(stream: &mut TcpStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    while !answer.ends_with(b"END\r\n") && (answer.starts_with(b"STAT ") || !answer.ends_with(b"\n")) {
        stream.set_read_timeout(Some(time_left(deadline)?))?;
        let mut part = [0; 4096];
        match stream.read(&mut part) {
            Ok(0) => return Err(io::Error::other("closed the connection")),
            Ok(count) => answer.extend_from_slice(&part[..count]),
            // A socket with a time limit says so after the process was stopped and woken; `man 7 signal`.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(as_timeout(error)),
        }
        if answer.len() > MAX_ANSWER {
            return Err(io::Error::other("does not speak the text protocol"));
        }
    }
    Ok(answer)
}

fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")) } else { Ok(left) }
}

/// A socket whose time is up says "try again", which says nothing to a person.
fn as_timeout(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
        _ => error,
    }
}

fn parse_stats(answer: &[u8]) -> Counters {
    let text = String::from_utf8_lossy(answer);
    let stats = text.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    stats.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The columns: a heading, and what a node has to say to it.
type Column = (&'static str, fn(&Node, bool) -> Option<String>);

const COLUMNS: [Column; 14] = [
    ("NODE", |node, _| node.text("node_id").map(printable)),
    ("ADDRESS", |node, _| Some(node.address.clone())),
    ("STATE", |node, _| Some(if node.stats.is_ok() { "alive" } else { "dead" }.into())),
    ("FOR", |node, _| Some(duration(node.for_s()))),
    ("POOL", |node, _| Some(format!("{}/{}", node.text("nodes_up")?, node.text("nodes")?))),
    ("ITEMS", |node, _| node.number("curr_items").map(|items| items.to_string())),
    ("MEMORY", |node, _| node.number("bytes").map(bytes)),
    ("HITS", |node, _| node.hits().map(|hits| format!("{hits:.1}%"))),
    ("OPS/S", |node, whole| node.operations_a_second(whole).map(|rate| format!("{rate:.0}"))),
    ("FORWARDED", |node, _| node.number("forwarded").map(|forwarded| forwarded.to_string())),
    ("VIEW", |node, _| node.view().map(|epoch| epoch.to_string())),
    ("LEASE", |node, _| node.part().map(|part| if part == "serving" { lease(node) } else { part.into() })),
    ("LOST", |node, _| node.number("lost_redundancy").map(|lost| lost.to_string())),
    ("FILLING", |node, _| node.filling()),
];

fn lease(node: &Node) -> String {
    node.number("lease_ms").map_or_else(|| "?".into(), |left| format!("{left}ms"))
}

fn as_table(nodes: &[Node], whole: bool) -> String {
    let mut rows = vec![COLUMNS.map(|(heading, _)| heading.to_owned())];
    rows.extend(nodes.iter().map(|node| COLUMNS.map(|(_, cell)| cell(node, whole).unwrap_or_else(|| "-".into()))));
    let widths: [usize; COLUMNS.len()] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut table = String::new();
    for (i, row) in rows.iter().enumerate() {
        let line: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        // A dead node has no figures: the reason stands behind its line.
        let why = i.checked_sub(1).and_then(|node| nodes[node].stats.as_ref().err()).map_or("", String::as_str);
        table.push_str(format!("{}  {why}", line.join("  ")).trim_end());
        table.push('\n');
    }
    table
}

fn as_json(nodes: &[Node], whole: bool) -> String {
    let alive = nodes.iter().filter(|node| node.stats.is_ok()).count();
    let nodes: Vec<String> = nodes.iter().map(|node| node_as_json(node, whole)).collect();
    format!("{{\"alive\":{alive},\"dead\":{},\"nodes\":[{}]}}\n", nodes.len() - alive, nodes.join(","))
}

fn node_as_json(node: &Node, whole: bool) -> String {
    let text = |name: &str, text: Option<&str>| format!("\"{name}\":{}", text.map_or("null".into(), json::quoted));
    let integer = |name: &str, stat: &str| format!("\"{name}\":{}", node.number(stat).map_or("null".into(), |number| number.to_string()));
    let real = |name: &str, number: Option<f64>| format!("\"{name}\":{}", number.map_or("null".into(), |number| format!("{number:.1}")));
    let fields = [
        text("address", Some(&node.address)),
        text("node_id", node.text("node_id")),
        format!("\"alive\":{}", node.stats.is_ok()),
        format!("\"for_s\":{}", node.for_s()),
        text("why", node.stats.as_ref().err().map(String::as_str)),
        integer("nodes_up", "nodes_up"),
        integer("nodes", "nodes"),
        integer("items", "curr_items"),
        integer("bytes", "bytes"),
        integer("max_bytes", "limit_maxbytes"),
        real("hits_percent", node.hits()),
        real("operations_per_s", node.operations_a_second(whole)),
        integer("forwarded", "forwarded"),
        format!("\"epoch\":{}", node.view().map_or("null".into(), |epoch| epoch.to_string())),
        text("part", node.part()),
        integer("lease_ms", "lease_ms"),
        integer("lost_redundancy", "lost_redundancy"),
        integer("filling_nodes", "filling_nodes"),
        real("filling_percent", node.text("filling_percent").and_then(|percent| percent.parse().ok())),
        integer("filling_keys", "filling_keys"),
        integer("filling_bytes_per_s", "filling_bytes_per_s"),
        integer("filling_left_ms", "filling_left_ms"),
    ];
    format!("{{{}}}", fields.join(","))
}

/// What a node says of itself is shown on a terminal: no control characters get there.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut shown = (bytes as f64, "B");
    for unit in UNITS {
        if shown.0 < 1024.0 {
            break;
        }
        shown = (shown.0 / 1024.0, unit);
    }
    if shown.1 == "B" { format!("{bytes}B") } else { format!("{:.1}{}", shown.0, shown.1) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server on a free port that answers its first client with `answer` and closes.
    fn server_saying(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut question = [0; 7];
            client.read_exact(&mut question).unwrap();
            assert_eq!(&question, b"stats\r\n");
            client.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    fn node_with(stats: &[(&str, &str)]) -> Node {
        let mut node = Node::new("127.0.0.1:1".into());
        let stats = stats.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        node.learn(Ok(stats), Instant::now());
        node
    }

    fn nobody() -> String {
        // The port was free a moment ago, and nothing listens there once the listener is gone.
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
    }

    #[test]
    fn a_node_that_answers_whole_is_alive_and_all_others_are_dead_with_the_reason() {
        let mut nodes: Vec<Node> = [
            server_saying("STAT node_id 1\r\nSTAT uptime 7\r\nSTAT curr_items 3\r\nEND\r\n"),
            server_saying("STAT node_id 1\r\nSTAT upt"),
            server_saying("HTTP/1.1 400 Bad Request\r\n"),
            nobody(),
        ]
        .into_iter()
        .map(Node::new)
        .collect();
        look(&mut nodes);
        assert_eq!((nodes[0].text("node_id"), nodes[0].for_s(), nodes[0].number("curr_items")), (Some("1"), 7, Some(3)));
        assert_eq!(nodes[1].stats, Err("closed the connection".into()));
        assert_eq!(nodes[2].stats, Err("does not speak the text protocol".into()));
        assert!(nodes[3].stats.as_ref().is_err_and(|why| why.contains("refused")));
        let table = as_table(&nodes, true);
        assert_eq!(table.lines().map(|line| line.contains("alive")).collect::<Vec<_>>(), [false, true, false, false, false]);
        assert!(table.lines().nth(2).unwrap().ends_with("closed the connection"), "{table}");
    }

    #[test]
    fn a_file_is_a_list_of_addresses_or_a_configuration() {
        let list = "# the pool\n127.0.0.1:8001\n\nlocalhost:8002 # the other\n[::1]:8003\n";
        let addresses_in = |text| addresses_in(text).map(|named| named.into_iter().map(|(address, _)| address).collect::<Vec<_>>());
        assert_eq!(addresses_in(list).unwrap(), ["127.0.0.1:8001", "localhost:8002", "[::1]:8003"]);
        let config = include_str!("../../conf/node1.toml");
        assert_eq!(addresses_in(config).unwrap(), ["127.0.0.1:8001", "127.0.0.1:8002", "127.0.0.1:8003"]);
        let named = "[local]\nname = \"10.0.0.1:8001\"\nnode_address = \"0.0.0.0\"\n";
        assert_eq!(addresses_in(named).unwrap(), ["10.0.0.1:8001"]);
        assert_eq!(addresses_in("[local]\nname = \"a\"\n").unwrap(), ["127.0.0.1:8080"]);
        assert!(addresses_in("127.0.0.1:8001\nnonsense\n").unwrap_err().contains("line "));
    }

    #[test]
    fn each_node_is_watched_once_and_some_node_must_be_named() {
        let args = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:1"].map(str::to_owned);
        let found: Vec<String> = find_addresses(&args).unwrap().into_iter().map(|(address, _)| address).collect();
        assert_eq!(found, ["127.0.0.1:1", "127.0.0.1:2"]);
        assert!(find_addresses(&[]).is_err());
        for text in ["conf/node1.toml", "127.0.0.1", ":80", "a:0", "a:99999", "a = \"b:1"] {
            assert!(!is_address(text), "{text}");
        }
    }

    #[test]
    fn operations_a_second_are_counted_between_two_looks_and_not_over_a_restart() {
        let start = Instant::now();
        let mut node = Node::new("a:1".into());
        let answer = |gets: u64| Ok(Counters::from([("cmd_get".into(), gets.to_string()), ("uptime".into(), "10".into())]));
        node.learn(answer(100), start);
        assert_eq!((node.operations_a_second(false), node.operations_a_second(true)), (None, Some(10.0)));
        node.learn(answer(300), start + Duration::from_secs(2));
        assert_eq!(node.operations_a_second(false), Some(100.0));
        node.learn(answer(5), start + Duration::from_secs(4));
        assert_eq!(node.operations_a_second(false), None);
    }

    #[test]
    fn a_dead_node_is_dead_since_it_was_first_seen_dead() {
        let start = Instant::now();
        let mut node = Node::new("a:1".into());
        for second in [0, 3, 65] {
            node.learn(Err("refused".into()), start + Duration::from_secs(second));
            assert_eq!(node.for_s(), second);
        }
        node.learn(Ok(Counters::from([("uptime".into(), "2".into())])), start + Duration::from_secs(70));
        assert_eq!(node.for_s(), 2);
    }

    #[test]
    fn the_json_form_says_the_same_and_nothing_unescaped() {
        let node = node_with(&[("node_id", "a\"b"), ("get_hits", "3"), ("get_misses", "1"), ("curr_items", "5"), ("uptime", "4")]);
        let json = as_json(&[node, Node::new("a:1".into())], true);
        assert!(json.starts_with(
            "{\"alive\":1,\"dead\":1,\"nodes\":[{\"address\":\"127.0.0.1:1\",\"node_id\":\"a\\\"b\",\"alive\":true,\"for_s\":4"
        ));
        assert!(
            json.contains("\"items\":5") && json.contains("\"hits_percent\":75.0") && json.contains("\"why\":\"not asked yet\""),
            "{json}"
        );
    }

    #[test]
    fn a_node_of_a_pool_with_mirrors_shows_its_view_its_lease_and_whom_it_fills() {
        let node = node_with(&[
            ("epoch", "7"),
            ("seated", "1"),
            ("serving", "1"),
            ("lease_ms", "187"),
            ("lost_redundancy", "4"),
            ("filling_nodes", "1"),
            ("filling_percent", "25.0"),
            ("filling_keys", "10"),
            ("filling_bytes_per_s", "2097152"),
            ("filling_left_ms", "1500"),
        ]);
        let waiting = node_with(&[("epoch", "7"), ("seated", "1"), ("serving", "0"), ("lost_redundancy", "0"), ("filling_nodes", "0")]);
        let alone = node_with(&[("epoch", "1700000000"), ("lost_redundancy", "0")]);
        let nodes = [node, waiting, node_with(&[("epoch", "0"), ("seated", "0"), ("serving", "0")]), alone];
        let table = as_table(&nodes, true);
        let ends = [
            "7     187ms     4     1: 25.0% 10 keys 2.0MiB/s 2s left",
            "7     waiting   0     -",
            "-     seatless  -     -",
            "-     -         0     -",
        ];
        for (line, end) in table.lines().skip(1).zip(ends) {
            assert!(line.ends_with(end), "{end} in {table}");
        }
        let json = as_json(&nodes, true);
        assert!(
            json.contains(
                "\"epoch\":7,\"part\":\"serving\",\"lease_ms\":187,\"lost_redundancy\":4,\"filling_nodes\":1,\"filling_percent\":25.0,"
            ),
            "{json}"
        );
        assert!(json.ends_with("\"filling_left_ms\":null}]}\n") && json.contains("\"epoch\":null,\"part\":null,"), "{json}");
    }

    #[test]
    fn figures_are_shown_in_the_largest_unit_that_fits() {
        assert_eq!([0, 59, 61, 3_661, 90_000].map(duration), ["0s", "59s", "1m01s", "1h01m", "1d01h"]);
        assert_eq!([0, 1023, 1024, 1 << 20, 3 << 29].map(bytes), ["0B", "1023B", "1.0KiB", "1.0MiB", "1.5GiB"]);
    }

    #[test]
    fn the_interval_has_limits() {
        assert_eq!(parse_interval("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "nan", "inf", "x", "4000"] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }
}
