//! What people and scripts use beside a node: watch a pool, read a journal, measure.
//!
//! A tool is a function from its arguments to an exit code: [`CLEAN`], [`FAILED`] or [`USAGE`]. It talks to nodes as any client does, over
//! plain blocking sockets, and shares nothing with a running node but the protocol and the journal's format.

pub mod bench;
pub mod journal;
pub mod json;
pub mod monitor;
pub mod password;

use std::io::{self, Write};

use getopts::{Matches, Options};

/// All went well.
pub const CLEAN: i32 = 0;
/// It was tried, and failed.
pub const FAILED: i32 = 1;
/// The command line or the configuration is wrong: nothing was tried.
pub const USAGE: i32 = 2;

/// One tool, as the command line knows it.
pub struct Tool {
    /// The first argument.
    pub name: &'static str,
    /// What follows it, for the usage.
    pub arguments: &'static str,
    /// What it is for, in a few words.
    pub purpose: &'static str,
    /// Runs it on the arguments behind its name.
    pub run: fn(&[String]) -> i32,
}

/// All of them.
pub const TOOLS: &[Tool] = &[
    Tool { name: "monitor", arguments: "FILE|ADDR...", purpose: "show which nodes are alive, and what they do", run: monitor::run },
    Tool { name: "journal", arguments: "FILE...", purpose: "print a journal's records, or repair it", run: journal::run },
    Tool { name: "bench", arguments: "[OPTIONS] [ADDR...]", purpose: "load a server and measure it", run: bench::run },
];

/// Reads a command line. `Err` is an exit code: help was asked for and given, or the usage was wrong and that was said.
pub fn read_args(options: &Options, usage: &str, args: &[String]) -> Result<Matches, i32> {
    let matches = options.parse(args).map_err(|error| {
        complain("spydercache", &format!("{error}\n\n{}", options.usage(usage)));
        USAGE
    })?;
    if matches.opt_present("help") { Err(say(&options.usage(usage))) } else { Ok(matches) }
}

/// Prints to standard output; the exit code says whether that worked.
pub fn say(text: &str) -> i32 {
    let mut stdout = io::stdout().lock();
    finish(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()), CLEAN)
}

/// The exit code of a tool that printed for as long as somebody read: a closed pipe (`| head`) is no failure.
#[must_use]
pub fn finish(printed: io::Result<()>, code: i32) -> i32 {
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain("spydercache", &format!("standard output: {error}"));
            FAILED
        }
        _ => code,
    }
}

/// Says on standard error what is wrong. There is nobody left to tell if that fails.
pub fn complain(who: &str, problem: &str) {
    let _ = writeln!(io::stderr(), "{who}: {problem}");
}
