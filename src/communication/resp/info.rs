//! What `INFO` tells, in Redis's names.
//!
//! Clients read some of it before they begin (`loading`, `role`, `cluster_enabled`, `redis_version`), monitors the rest. What is counted is
//! this node's, and what has no counterpart is left out rather than made up. The keys are this node's entries too: to count the pool's is a walk
//! through all of it (`DBSIZE`), and monitors ask every few seconds.

use std::fmt::Write;

use crate::node::reply::Status;

/// The Redis whose dialect is spoken: clients look at it to learn what they may send.
pub(super) const REDIS_VERSION: &str = "7.2.4";

/// Which sections are wanted: a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sections(u16);

type Section = fn(&Status, &mut String);

const SECTIONS: [(&str, Section); 8] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("Cluster", cluster),
    ("Keyspace", keyspace),
];

impl Sections {
    /// No section yet.
    pub(super) const NONE: Sections = Sections(0);
    /// Every section.
    pub(super) const ALL: Sections = Sections(u16::MAX);

    /// With the section of this name too; one that is not known adds nothing.
    pub(super) fn with(self, name: &[u8]) -> Sections {
        if [&b"all"[..], b"default", b"everything"].iter().any(|all| name.eq_ignore_ascii_case(all)) {
            return Sections::ALL;
        }
        let found = SECTIONS.iter().position(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
        Sections(self.0 | found.map_or(0, |index| 1 << index))
    }
}

/// The sections that are wanted, each under its name.
pub(super) fn text(sections: Sections, status: &Status) -> String {
    let mut text = String::new();
    for (index, (name, write)) in SECTIONS.iter().enumerate().filter(|(index, _)| sections.0 & 1 << index != 0) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let _ = write!(text, "# {name}\r\n");
        write(status, &mut text);
        debug_assert!(index < SECTIONS.len());
    }
    text
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    // To write to a string never fails.
    let _ = write!(text, "{name}:{value}\r\n");
}

/// A counter of `stats`, by its name.
fn stat<'a>(status: &'a Status, name: &str) -> &'a str {
    status.stats.iter().find(|(known, _)| known == name).map_or("0", |(_, value)| value)
}

fn number(status: &Status, name: &str) -> u64 {
    stat(status, name).parse().unwrap_or(0)
}

fn server(status: &Status, text: &mut String) {
    line(text, "redis_version", REDIS_VERSION);
    line(text, "redis_mode", "standalone");
    line(text, "spydercache_version", status.version);
    line(text, "arch_bits", usize::BITS);
    line(text, "process_id", stat(status, "pid"));
    line(text, "run_id", format!("{:040x}", status.incarnation));
    line(text, "tcp_port", status.name.rsplit(':').next().unwrap_or("0"));
    line(text, "uptime_in_seconds", status.uptime_ms / 1_000);
    line(text, "uptime_in_days", status.uptime_ms / 86_400_000);
    line(text, "node_id", &status.node_id);
}

fn clients(status: &Status, text: &mut String) {
    line(text, "connected_clients", stat(status, "curr_connections"));
    line(text, "maxclients", stat(status, "max_connections"));
    line(text, "blocked_clients", 0);
}

fn memory(status: &Status, text: &mut String) {
    let used = number(status, "bytes") + number(status, "overhead_bytes");
    line(text, "used_memory", used);
    line(text, "used_memory_human", format!("{:.2}M", used as f64 / 1_048_576.0));
    line(text, "used_memory_rss", stat(status, "resident_bytes"));
    line(text, "used_memory_peak", used);
    line(text, "maxmemory", stat(status, "limit_maxbytes"));
    line(text, "maxmemory_human", format!("{:.2}M", number(status, "limit_maxbytes") as f64 / 1_048_576.0));
    line(text, "maxmemory_policy", "allkeys-lru");
    line(text, "mem_fragmentation_ratio", "1.00");
}

fn persistence(status: &Status, text: &mut String) {
    line(text, "loading", 0);
    line(text, "async_loading", 0);
    line(text, "rdb_bgsave_in_progress", 0);
    line(text, "rdb_last_bgsave_status", "ok");
    let journals = status.stats.iter().any(|(name, _)| name == "journal_ok");
    line(text, "aof_enabled", u8::from(journals));
    line(text, "aof_last_write_status", if journals && stat(status, "journal_ok") == "0" { "err" } else { "ok" });
}

fn stats(status: &Status, text: &mut String) {
    line(text, "total_connections_received", stat(status, "total_connections"));
    let commands = ["cmd_get", "cmd_set", "cmd_touch", "cmd_flush"].iter().map(|name| number(status, name)).sum::<u64>();
    line(text, "total_commands_processed", commands);
    line(text, "total_net_input_bytes", stat(status, "bytes_read"));
    line(text, "total_net_output_bytes", stat(status, "bytes_written"));
    line(text, "rejected_connections", stat(status, "rejected_connections"));
    line(text, "expired_keys", stat(status, "expirations"));
    line(text, "evicted_keys", stat(status, "evictions"));
    line(text, "keyspace_hits", stat(status, "get_hits"));
    line(text, "keyspace_misses", stat(status, "get_misses"));
}

fn replication(_: &Status, text: &mut String) {
    line(text, "role", "master");
    line(text, "connected_slaves", 0);
}

fn cluster(_: &Status, text: &mut String) {
    line(text, "cluster_enabled", 0);
}

fn keyspace(status: &Status, text: &mut String) {
    let keys = number(status, "curr_items");
    if keys > 0 {
        line(text, "db0", format!("keys={keys},expires=0,avg_ttl=0"));
    }
}
