//! `spydercache bench`: a load generator for this server and for any other of memcached's text protocol.
//!
//! ```text
//!   options ──▶ phases: [load] run
//!                 │
//!   schedule ──Operation──▶ driver ──▶ client ──bytes──▶ server
//!   (what and when; keys)   (mio)      (wire)  ◀─bytes──
//!                             └─Outcome, latency──▶ report
//! ```
//!
//! One thread and one poll loop, so that a single core is enough to load a server on another. `schedule` decides what is asked and from
//! when its latency counts, and knows no sockets; `wire` knows the protocol and no clock; `driver` joins them. The project's tests by
//! hand (load data, evict, mixed; average times of puts, gets and deletes) are presets of the same machine.
//!
//! It does not follow the ring: each connection asks whichever node it leads to, as ordinary clients do.

mod client;
mod driver;
mod keys;
mod options;
mod report;
mod schedule;
mod wire;

use driver::Driver;
use keys::Keys;
use options::{Asked, Options, Preset};
use report::Report;
use schedule::{Kind, Mix, Pace, Schedule, Work};

use super::{CLEAN, FAILED, USAGE, complain, say};

/// Runs the tool with the arguments after its name; returns the process's exit code.
pub fn run(args: &[String]) -> i32 {
    match options::parse(args) {
        Ok(Asked::Run(options)) => bench(&options).unwrap_or_else(|why| {
            tell(&why);
            FAILED
        }),
        Ok(Asked::Help(text)) => say(&text),
        Err(wrong) => {
            tell(&format!("{wrong}\nTry: spydercache bench --help"));
            USAGE
        }
    }
}

/// Runs and reports. `Ok` is the exit code of a run that did what it should.
fn bench(options: &Options) -> Result<i32, String> {
    let mut driver = Driver::connect(options)?;
    let mut reports: Vec<Report> = Vec::new();
    let mut printed = CLEAN;
    for (name, mut schedule) in phases(options) {
        let report = driver.run(name, &mut schedule).map_err(|error| format!("cannot poll: {error}"))?;
        if !options.json {
            printed = printed.max(say(&report.to_string()));
        }
        reports.push(report);
        if reports.last().is_some_and(|report| report.is_stalled) {
            break;
        }
    }
    if options.json {
        let objects: Vec<String> = reports.iter().map(Report::json).collect();
        printed = say(&format!("{{{}}}\n", objects.join(",")));
    }
    reports.iter().find_map(Report::failure).map_or(Ok(printed), Err)
}

/// What is done one after the other. Loading knows neither rate nor time: it is there to be over.
fn phases(options: &Options) -> Vec<(&'static str, Schedule)> {
    let each_key = |kind, pace: Pace, seed| {
        let operations = Some(pace.operations.map_or(options.keys, |requests| requests.min(options.keys)));
        Schedule::new(Work::EachKey(kind), Pace { operations, ..pace }, options.value_bytes, seed)
    };
    let mixed = |mix, pace| {
        let keys = Keys::new(options.keys, options.shape);
        Schedule::new(Work::Mixed(mix, keys), pace, options.value_bytes, options.seed)
    };
    let pace = Pace { rate: options.rate, operations: options.requests, duration_ns: options.duration_ns };
    let seed = options.seed;
    match options.preset {
        None if options.load => vec![("load", each_key(Kind::Set, Pace::default(), !seed)), ("run", mixed(options.mix, pace))],
        None => vec![("run", mixed(options.mix, pace))],
        Some(Preset::Load) => vec![("puts", each_key(Kind::Set, pace, seed))],
        Some(Preset::Evict) => vec![("puts", each_key(Kind::Set, pace, seed)), ("gets", each_key(Kind::Get, pace, seed))],
        Some(Preset::Mixed) => {
            let operations = pace.operations.or_else(|| pace.duration_ns.is_none().then_some(options.keys));
            vec![("mixed", mixed(Mix { get: 1, set: 1, delete: 1 }, Pace { operations, ..pace }))]
        }
    }
}

/// A line for people, on standard error.
fn tell(line: &str) {
    complain("spydercache bench", line);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::thread;

    use super::*;

    type Store = Arc<Mutex<HashMap<String, Vec<u8>>>>;

    /// A listener on a free port whose connections, numbered from 0, are each served by `serve` in a thread of its own.
    fn server(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for (number, socket) in listener.incoming().flatten().enumerate() {
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(number, socket));
            }
        });
        address
    }

    /// The smallest memcached that bench can be pointed at.
    fn cache(store: &Store, socket: TcpStream) -> std::io::Result<()> {
        let (mut reader, mut writer) = (BufReader::new(socket.try_clone()?), socket);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 {
            let words: Vec<&str> = line.split_whitespace().collect();
            let key = words[1].to_owned();
            let answer = match words[0] {
                "set" => {
                    let mut value = vec![0; words[4].parse::<usize>().unwrap() + 2];
                    reader.read_exact(&mut value)?;
                    store.lock().unwrap().insert(key, value);
                    b"STORED\r\n".to_vec()
                }
                "delete" => match store.lock().unwrap().remove(&key) {
                    Some(_) => b"DELETED\r\n".to_vec(),
                    None => b"NOT_FOUND\r\n".to_vec(),
                },
                _ => match store.lock().unwrap().get(&key) {
                    Some(value) => [format!("VALUE {key} 0 {}\r\n", value.len() - 2).as_bytes(), value, b"END\r\n"].concat(),
                    None => b"END\r\n".to_vec(),
                },
            };
            writer.write_all(&answer)?;
            line.clear();
        }
        Ok(())
    }

    fn caching_server(store: &Store) -> String {
        let store = Arc::clone(store);
        server(move |_, socket| cache(&store, socket).unwrap_or_default())
    }

    fn parsed(line: &str) -> Options {
        match options::parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>()) {
            Ok(Asked::Run(options)) => *options,
            other => panic!("{line}: {other:?}"),
        }
    }

    /// The reports of a whole run, as JSON.
    fn reports(line: &str) -> Vec<String> {
        let options = parsed(line);
        let mut driver = Driver::connect(&options).unwrap();
        phases(&options).into_iter().map(|(name, mut schedule)| driver.run(name, &mut schedule).unwrap().json()).collect()
    }

    fn exit_code(line: &str) -> i32 {
        run(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_was_loaded_is_found_and_verified_through_every_server() {
        let store = Store::default();
        let (one, two) = (caching_server(&store), caching_server(&store));
        let line = format!(
            "--quiet --load --check --keys 200 --requests 3000 --mix 8:1 --value-size 0-9000 --connections 3 --depth 7 \
             --distribution zipf:0.9 {one} {two}"
        );
        let reports = reports(&line);
        assert!(reports[0].contains("\"operations\":200,") && reports[0].contains("\"sets\":200,"), "{}", reports[0]);
        assert!(
            reports[1].contains("\"operations\":3000,") && reports[1].contains("\"misses\":0,\"wrong\":0,\"errors\":0"),
            "{}",
            reports[1]
        );
        assert_eq!(store.lock().unwrap().len(), 200);
    }

    #[test]
    fn an_open_loop_sends_each_operation_that_is_due() {
        let store = Store::default();
        let reports = reports(&format!("--quiet --rate 20000 --requests 2000 --connections 2 {}", caching_server(&store)));
        assert!(reports[0].contains("\"operations\":2000,"), "{}", reports[0]);
        assert!(reports[0].contains("\"errors\":0"), "{}", reports[0]);
    }

    #[test]
    fn the_evict_preset_gets_back_what_it_put() {
        let reports = reports(&format!("--quiet --preset evict --keys 300 --connections 2 {}", caching_server(&Store::default())));
        assert!(reports[0].starts_with("\"puts\":") && reports[0].contains("\"sets\":300,"), "{}", reports[0]);
        assert!(reports[1].starts_with("\"gets\":") && reports[1].contains("\"hits\":300,"), "{}", reports[1]);
    }

    #[test]
    fn a_server_that_never_answers_does_not_hold_the_run_beyond_its_time() {
        let silent = server(|_, mut socket| while socket.read(&mut [0; 512]).is_ok_and(|read| read > 0) {});
        let report = &reports(&format!("--quiet --seconds 0.01 --rate 1000 --connections 2 --depth 2 {silent}"))[0];
        assert!(report.contains("\"operations\":0,") && report.contains("\"errors\":10,"), "{report}");
        assert!(report.contains("\"get\":{\"count\":"), "what waited has its latency: {report}");
        assert_eq!(exit_code(&format!("--quiet --seconds 0.01 {silent}")), FAILED);
    }

    #[test]
    fn a_lost_connection_costs_its_operations_and_is_dialled_again() {
        let store = Store::default();
        // Connection 0 is the look whether anybody is there; 1 is closed over its first question.
        let flaky = server(move |number, mut socket| match number {
            1 => drop(socket.read(&mut [0; 512])),
            _ => cache(&store, socket).unwrap_or_default(),
        });
        let report = &reports(&format!("--quiet --requests 50 --connections 1 {flaky}"))[0];
        assert!(report.contains("\"operations\":49,") && report.contains("\"lost\":1,"), "{report}");
        assert!(report.contains("\"lost_connections\":1,\"first_error\":\"127.0.0.1:"), "{report}");
    }

    #[test]
    fn exit_codes_tell_wrong_usage_and_no_server_apart() {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(exit_code(&format!("--quiet --seconds 1 {unused}")), FAILED);
        assert_eq!(exit_code("--keys none"), USAGE);
        assert_eq!(exit_code("--help"), CLEAN);
    }

    #[test]
    fn wrong_values_make_the_exit_code_a_failure() {
        let liar = server(|_, socket| {
            let (mut reader, mut writer) = (BufReader::new(socket.try_clone().unwrap()), socket);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                let key = line.split_whitespace().nth(1).unwrap_or_default();
                let _ = writer.write_all(format!("VALUE {key} 0 4\r\noops\r\nEND\r\n").as_bytes());
                line.clear();
            }
        });
        let line = format!("--quiet --json --mix 1:0 --requests 10 --connections 1 {liar}");
        assert_eq!(exit_code(&line), CLEAN);
        assert_eq!(exit_code(&format!("{line} --check")), FAILED);
    }
}
