//! The command line of `bench`, and what it means.

use std::str::FromStr;

use getopts::{Matches, Options as Flags, ParsingStyle};

use super::keys::Shape;
use super::schedule::Mix;
use super::wire::MAX_KEYS;
use crate::tools::password;

/// Where a node listens unless it is told otherwise.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";
/// How long a run takes unless told otherwise.
const DEFAULT_SECONDS: f64 = 10.0;
const MAX_SECONDS: f64 = 1e9;
const MAX_VALUE_BYTES: u32 = 64 << 20;
const MAX_CONNECTIONS: usize = 50_000;
const MAX_DEPTH: usize = 10_000;
const MAX_RATE: u64 = 100_000_000;
const MAX_THETA: f64 = 10.0;
/// memcached takes a longer time for a date.
const MAX_TTL_S: u32 = 30 * 24 * 3_600;

const SYNOPSIS: &str = "Usage: spydercache bench [OPTIONS] [ADDR...]

Loads a SpyderCache node, or any server of memcached's text protocol, and reports rates and latencies. ADDR is HOST:PORT, 127.0.0.1:8080
unless given; the connections are spread over several. Exit status: 0 done, 1 failed or wrong values seen, 2 wrong usage.";

/// Everything that can be asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The servers, HOST:PORT.
    pub addresses: Vec<String>,
    /// How many keys there are.
    pub keys: u64,
    /// The smallest and the largest value.
    pub value_bytes: (u32, u32),
    /// How many connections, over all servers.
    pub connections: usize,
    /// How many requests may be under way on each.
    pub depth: usize,
    /// The shares of gets, sets and deletes.
    pub mix: Mix,
    /// How often each key is drawn.
    pub shape: Shape,
    /// Operations a second; `None` is a closed loop.
    pub rate: Option<u64>,
    /// For how long.
    pub duration_ns: Option<u64>,
    /// How many operations.
    pub requests: Option<u64>,
    /// Write each key first.
    pub load: bool,
    /// One of the tests by hand.
    pub preset: Option<Preset>,
    /// Seconds until written values expire; 0 is never.
    pub ttl_s: u32,
    /// Verify whole values.
    pub check: bool,
    /// What the draws depend on.
    pub seed: u64,
    /// Report as JSON.
    pub json: bool,
    /// No progress.
    pub quiet: bool,
    /// Where the password of the servers is.
    pub password_file: Option<String>,
}

/// The tests by hand: how long do puts, gets and deletes take?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Puts each key.
    Load,
    /// Puts each key, then gets each: how many are still there?
    Evict,
    /// Puts, gets and deletes by turns.
    Mixed,
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A run.
    Run(Box<Options>),
    /// This help.
    Help(String),
}

/// Understands the arguments, or says what is wrong with them.
pub fn parse(args: &[String]) -> Result<Asked, String> {
    let flags = flags();
    let given = flags.parse(args).map_err(|error| error.to_string())?;
    if given.opt_present("help") {
        return Ok(Asked::Help(flags.usage(SYNOPSIS)));
    }
    let options = options(&given)?;
    refuse_contradictions(&given, &options)?;
    Ok(Asked::Run(Box::new(options)))
}

fn flags() -> Flags {
    let mut flags = Flags::new();
    flags.parsing_style(ParsingStyle::FloatingFrees);
    flags.optopt("", "keys", "how many keys (100000)", "N");
    flags.optopt("", "value-size", "bytes of each value, or a range to draw from (100)", "BYTES[-BYTES]");
    flags.optopt("", "connections", "how many connections, over all addresses (50)", "N");
    flags.optopt("", "depth", "requests under way on each connection (1)", "N");
    flags.optopt("", "mix", "shares of gets, sets and deletes (90:10)", "GET:SET[:DELETE]");
    flags.optopt("", "distribution", "which keys: uniform, or zipf:THETA, key 0 the hottest (uniform)", "SHAPE");
    flags.optopt("", "rate", "so many operations a second, latencies counted from the intended start; else as fast as answers come", "OPS");
    flags.optopt("", "seconds", "for how long (10, unless --requests)", "S");
    flags.optopt("", "requests", "how many operations", "N");
    flags.optflag("", "load", "first write every key once");
    flags.optopt("", "preset", "load (put each key), evict (put each, then get each), mixed (puts, gets, deletes by turns)", "NAME");
    flags.optopt("", "ttl", "seconds until written values expire; 0 is never (0)", "S");
    flags.optflag("", "check", "verify each value that is read");
    flags.optopt("", "seed", "the same seed draws the same operations (1)", "N");
    flags.optopt("", password::OPTION, password::HELP, "FILE");
    flags.optflag("", "json", "report as one JSON object");
    flags.optflag("q", "quiet", "no progress on stderr");
    flags.optflag("h", "help", "show this");
    flags
}

fn options(given: &Matches) -> Result<Options, String> {
    let preset = given.opt_str("preset").map(|name| preset(&name)).transpose()?;
    let requests = given.opt_str("requests").map(|text| number("requests", &text, 1, u64::MAX)).transpose()?;
    let seconds = match given.opt_str("seconds") {
        Some(text) => Some(number("seconds", &text, 0.001, MAX_SECONDS)?),
        None => (requests.is_none() && preset.is_none()).then_some(DEFAULT_SECONDS),
    };
    Ok(Options {
        addresses: addresses(&given.free)?,
        keys: number_or(given, "keys", 100_000, 1, MAX_KEYS)?,
        value_bytes: given.opt_str("value-size").map_or(Ok((100, 100)), |text| value_bytes(&text))?,
        connections: number_or(given, "connections", 50, 1, MAX_CONNECTIONS)?,
        depth: number_or(given, "depth", 1, 1, MAX_DEPTH)?,
        mix: given.opt_str("mix").map_or(Ok(Mix { get: 90, set: 10, delete: 0 }), |text| mix(&text))?,
        shape: given.opt_str("distribution").map_or(Ok(Shape::Uniform), |text| shape(&text))?,
        rate: given.opt_str("rate").map(|text| number("rate", &text, 1, MAX_RATE)).transpose()?,
        duration_ns: seconds.map(|seconds| (seconds * 1e9) as u64),
        requests,
        load: given.opt_present("load"),
        preset,
        ttl_s: number_or(given, "ttl", 0, 0, MAX_TTL_S)?,
        check: given.opt_present("check"),
        seed: number_or(given, "seed", 1, 0, u64::MAX)?,
        json: given.opt_present("json"),
        quiet: given.opt_present("quiet"),
        password_file: given.opt_str(password::OPTION),
    })
}

fn refuse_contradictions(given: &Matches, options: &Options) -> Result<(), String> {
    if options.preset.is_some() && (options.load || given.opt_present("mix")) {
        return Err("--preset says itself what is done: it goes with neither --load nor --mix".into());
    }
    if options.connections < options.addresses.len() {
        return Err(format!("--connections {} leaves some of {} addresses without any", options.connections, options.addresses.len()));
    }
    Ok(())
}

fn addresses(free: &[String]) -> Result<Vec<String>, String> {
    let well_formed = |address: &String| {
        let host_and_port = address.rsplit_once(':');
        host_and_port.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    match free.iter().find(|address| !well_formed(address)) {
        Some(bad) => Err(format!("{bad:?} is no HOST:PORT")),
        None if free.is_empty() => Ok(vec![DEFAULT_ADDRESS.into()]),
        None => Ok(free.to_vec()),
    }
}

fn number_or<T: FromStr + PartialOrd + std::fmt::Display>(given: &Matches, name: &str, default: T, least: T, most: T) -> Result<T, String> {
    given.opt_str(name).map_or(Ok(default), |text| number(name, &text, least, most))
}

fn number<T: FromStr + PartialOrd + std::fmt::Display>(name: &str, text: &str, least: T, most: T) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(format!("--{name} {text}: must be a number from {least} to {most}")),
    }
}

fn value_bytes(text: &str) -> Result<(u32, u32), String> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let sizes = (number("value-size", least, 0, MAX_VALUE_BYTES)?, number("value-size", most, 0, MAX_VALUE_BYTES)?);
    if sizes.0 > sizes.1 { Err(format!("--value-size {text}: the range is empty")) } else { Ok(sizes) }
}

fn mix(text: &str) -> Result<Mix, String> {
    let parts: Option<Vec<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
    let mix = match parts.as_deref() {
        Some(&[get, set]) => Mix { get, set, delete: 0 },
        Some(&[get, set, delete]) => Mix { get, set, delete },
        _ => return Err(format!("--mix {text}: must be GET:SET or GET:SET:DELETE, as in 90:10")),
    };
    if mix == (Mix { get: 0, set: 0, delete: 0 }) { Err(format!("--mix {text}: nothing to do")) } else { Ok(mix) }
}

fn shape(text: &str) -> Result<Shape, String> {
    if text == "uniform" {
        return Ok(Shape::Uniform);
    }
    match text.strip_prefix("zipf:").map(str::parse::<f64>) {
        Some(Ok(theta)) if theta > 0.0 && theta <= MAX_THETA => Ok(Shape::Zipf(theta)),
        _ => Err(format!("--distribution {text}: must be uniform or zipf:THETA, THETA above 0 and at most {MAX_THETA}, as in zipf:0.99")),
    }
}

fn preset(name: &str) -> Result<Preset, String> {
    match name {
        "load" => Ok(Preset::Load),
        "evict" => Ok(Preset::Evict),
        "mixed" => Ok(Preset::Mixed),
        _ => Err(format!("--preset {name}: must be load, evict or mixed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Asked, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    fn run(line: &str) -> Options {
        match asked(line) {
            Ok(Asked::Run(options)) => *options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn an_empty_line_means_the_defaults() {
        let options = run("");
        assert_eq!(options.addresses, ["127.0.0.1:8080"]);
        assert_eq!((options.keys, options.connections, options.depth, options.rate), (100_000, 50, 1, None));
        assert_eq!((options.duration_ns, options.requests), (Some(10_000_000_000), None));
    }

    #[test]
    fn every_option_is_understood_and_may_follow_an_address() {
        let options = run("a:1 --keys 5 --value-size 10-20 --connections 8 --depth 4 --mix 7:2:1 --distribution zipf:0.99 --rate 300 \
                           --seconds 1.5 --requests 9 --load --ttl 60 --check --seed 3 --json --quiet --password-file p [::1]:2");
        let expected = Options {
            addresses: vec!["a:1".into(), "[::1]:2".into()],
            keys: 5,
            value_bytes: (10, 20),
            connections: 8,
            depth: 4,
            mix: Mix { get: 7, set: 2, delete: 1 },
            shape: Shape::Zipf(0.99),
            rate: Some(300),
            duration_ns: Some(1_500_000_000),
            requests: Some(9),
            load: true,
            preset: None,
            ttl_s: 60,
            check: true,
            seed: 3,
            json: true,
            quiet: true,
            password_file: Some("p".into()),
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn a_number_of_requests_or_a_preset_stands_in_for_the_time() {
        assert_eq!(run("--requests 5").duration_ns, None);
        assert_eq!(run("--preset evict").duration_ns, None);
        assert_eq!(run("--preset mixed --seconds 2").duration_ns, Some(2_000_000_000));
    }

    #[test]
    fn each_wrong_option_is_refused_with_its_name() {
        let cases = "--keys 0|--keys x|--keys 1000000000001|--value-size -1|--value-size 9-5|--value-size 99999999999|--connections 0|\
                     --connections 1 a:1 b:2|--depth 0|--depth 10001|--mix 90|--mix 0:0|--mix 1:2:3:4|--mix a:b|--distribution zipf|\
                     --distribution zipf:0|--distribution zipf:nan|--distribution normal|--rate 0|--rate 1e5|--seconds 0|--seconds nan|\
                     --seconds inf|--requests 0|--preset other|--preset load --load|--preset load --mix 1:1|--ttl 2592001|--seed -1|--nonsense";
        for line in cases.split('|') {
            let told = asked(line).expect_err(line);
            let name = line.split_whitespace().next().unwrap().trim_start_matches('-');
            assert!(told.contains(name), "{line}: {told}");
        }
        for address in ["localhost", ":80", "h:0", "h:65536", "h:x"] {
            assert_eq!(asked(address), Err(format!("{address:?} is no HOST:PORT")));
        }
    }

    #[test]
    fn help_names_every_option() {
        let Ok(Asked::Help(text)) = asked("--help") else { panic!("no help") };
        assert!(text.contains("--distribution SHAPE") && text.contains("ADDR"), "{text}");
    }
}
