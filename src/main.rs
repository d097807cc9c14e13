//! The command line: run a node, or one of the tools.
//!
//! Short on purpose: options become a [`Config`], the log is opened, and the event loop takes over. Exit codes are the same
//! everywhere: 0 clean, 1 failed, 2 usage or configuration.

use std::io::{IsTerminal, LineWriter};
use std::path::Path;
use std::process::ExitCode;

use getopts::{Matches, Options};
use simplelog::{ColorChoice, CombinedLogger, ConfigBuilder, LevelFilter, SharedLogger, TermLogger, TerminalMode, WriteLogger};

use spydercache::communication::event_loop;
use spydercache::config::Config;
use spydercache::disk;
use spydercache::tools::{self, CLEAN, FAILED, TOOLS, USAGE};

fn main() -> ExitCode {
    let args: Result<Vec<String>, _> = std::env::args_os().skip(1).map(std::ffi::OsString::into_string).collect();
    let code = match args {
        Ok(args) => run(&args),
        Err(arg) => complain(&format!("{} is not UTF-8", arg.display()), USAGE),
    };
    ExitCode::from(code as u8)
}

fn run(args: &[String]) -> i32 {
    if let Some(tool) = args.first().and_then(|name| TOOLS.iter().find(|tool| tool.name == name)) {
        return (tool.run)(&args[1..]);
    }
    let matches = match tools::read_args(&options(), &usage(), args) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    if matches.opt_present("version") {
        return tools::say(concat!("spydercache ", env!("CARGO_PKG_VERSION"), "\n"));
    }
    let checking = matches.opt_str("check-config");
    match configure(&matches, checking.as_deref()) {
        Err(problem) => complain(&problem, USAGE),
        Ok(config) if checking.is_some() => tools::say(&format!("good: node {} is {}\n", config.local.node_id, config.ring_name())),
        Ok(config) => run_node(config),
    }
}

fn options() -> Options {
    let mut options = Options::new();
    options.optopt("", "check-config", "only read this file, and say what is wrong", "CONF");
    options.optopt("", "port", "local.node_port", "PORT");
    options.optopt("", "address", "local.node_address", "IP");
    options.optopt("", "data-dir", "journal.dir", "DIR");
    options.optmulti("", "set", "any option of the configuration; may be repeated", "SECTION.KEY=VALUE");
    options.optflag("V", "version", "print the version");
    options.optflag("h", "help", "print this");
    options
}

fn usage() -> String {
    let mut usage = "Usage: spydercache [CONF] [options]     run a node; without CONF a standalone one on 127.0.0.1:8080\n".to_owned();
    for tool in TOOLS {
        usage.push_str(&format!("       spydercache {:<27} {}\n", format!("{} {}", tool.name, tool.arguments), tool.purpose));
    }
    usage.push_str(
        "\nconf/spydercache.toml is the manual of every option of CONF. Options here win over it. Each tool has its own --help.\n",
    );
    usage.push_str("Exit codes: 0 clean, 1 failed, 2 usage or configuration.");
    usage
}

/// The file, if there is one, then the command line over it, then what only the whole can tell.
fn configure(matches: &Matches, checking: Option<&str>) -> Result<Config, String> {
    let file = match (checking, matches.free.as_slice()) {
        (Some(file), []) => Some(file),
        (None, []) => None,
        (None, [file]) => Some(file.as_str()),
        _ => return Err("more than one file; see spydercache --help".into()),
    };
    let mut config = match file {
        Some(file) => load(file)?,
        None => Config::default(),
    };
    override_options(&mut config, matches)?;
    config.validate().map_err(|error| error.to_string())?;
    Ok(config)
}

fn load(file: &str) -> Result<Config, String> {
    let text = disk::read_text(Path::new(file)).map_err(|error| format!("{file}: {error}"))?;
    Config::parse(&text).map_err(|error| format!("{file}: {error}"))
}

fn override_options(config: &mut Config, matches: &Matches) -> Result<(), String> {
    let short_forms = [("port", "local.node_port"), ("address", "local.node_address"), ("data-dir", "journal.dir")];
    let short = short_forms.iter().filter_map(|(form, key)| Some(format!("{key}={}", matches.opt_str(form)?)));
    for assignment in short.chain(matches.opt_strs("set")) {
        config.set(&assignment).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn run_node(config: Config) -> i32 {
    if let Err(problem) = open_log(&config) {
        return complain(&problem, FAILED);
    }
    for warning in config.warnings() {
        log::warn!("{warning}");
    }
    match event_loop::run(config) {
        Ok(()) => CLEAN,
        Err(problem) => complain(&problem, FAILED),
    }
}

/// Standard error, and a file if one is named. Times are UTC; module paths and threads say nothing to an operator.
fn open_log(config: &Config) -> Result<(), String> {
    let format = ConfigBuilder::new()
        .set_time_format_custom(simplelog::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"))
        .set_target_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build();
    let level = config.log.level;
    let color = if std::io::stderr().is_terminal() { ColorChoice::Auto } else { ColorChoice::Never };
    let mut logs: Vec<Box<dyn SharedLogger>> = vec![TermLogger::new(level, format.clone(), TerminalMode::Stderr, color)];
    let file = &config.log.file;
    if !file.is_empty() {
        let opened = disk::append_file(Path::new(file)).map_err(|error| format!("log.file: {file}: {error}"))?;
        logs.push(WriteLogger::new(level, format, LineWriter::new(opened)));
    }
    CombinedLogger::init(logs).map_err(|error| error.to_string())
}

fn complain(problem: &str, code: i32) -> i32 {
    tools::complain("spydercache", problem);
    code
}
