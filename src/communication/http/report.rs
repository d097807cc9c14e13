//! Reports for programs: JSON for `/-/status` and `/-/owner/KEY`, Prometheus' text for `/metrics`.
//!
//! Both are asked for rarely, so they are plain strings, written by hand: a few dozen lines are less than a serializer.

use std::fmt::{Display, Write};

use crate::node::reply::{PeerLine, Report, RingLine, Status};
use crate::stats::Stats;

/// Of what [`Stats`] counts, what is no counter: it does not only grow.
const GAUGES: [&str; 1] = ["longest_turn_us"];

/// A report as JSON.
#[must_use]
pub fn json(report: &Report) -> String {
    let mut out = String::new();
    match report {
        Report::Alive { node_id } => object(&mut out, |o| o.text("node_id", node_id)),
        Report::Owner { owner, mirrors } => object(&mut out, |o| {
            o.text("owner", owner);
            o.list("mirrors", mirrors, |out, mirror| quote(out, mirror));
        }),
        Report::Ring(ring) => list(&mut out, ring, ring_line),
        Report::Peers(peers) => list(&mut out, peers, peer_line),
        Report::Stats(stats) => stats_object(&mut out, stats),
        Report::Status(status) => status_object(&mut out, status),
    }
    out.push('\n');
    out
}

fn status_object(out: &mut String, status: &Status) {
    object(out, |o| {
        o.text("node_id", &status.node_id);
        o.text("name", &status.name);
        o.text("pool", &status.pool);
        o.text("version", status.version);
        o.plain("incarnation", status.incarnation);
        o.plain("uptime_ms", status.uptime_ms);
        o.plain("serving", status.serving);
        o.list("ring", &status.ring, ring_line);
        o.list("peers", &status.peers, peer_line);
        stats_object(o.name("stats"), &status.stats);
    });
}

fn ring_line(out: &mut String, line: &RingLine) {
    object(out, |o| {
        o.text("node_id", &line.node_id);
        o.text("name", &line.name);
        o.plain("weight", line.weight);
        o.plain("share_percent", percent(line.share_percent));
        o.plain("up", line.up);
    });
}

fn peer_line(out: &mut String, line: &PeerLine) {
    object(out, |o| {
        o.text("node_id", &line.node_id);
        o.text("name", &line.name);
        o.text("address", &line.address);
        o.text("state", line.state);
        o.plain("for_ms", line.for_ms);
        o.plain("round_trip_ms", line.round_trip_ms);
    });
}

fn stats_object(out: &mut String, stats: &[(String, String)]) {
    object(out, |o| {
        for (name, value) in stats {
            if is_number(value) { o.plain(name, value) } else { o.text(name, value) }
        }
    });
}

/// Neither JSON nor Prometheus' readers agree on what a share that is no number would be.
fn percent(share: f64) -> f64 {
    if share.is_finite() { (share * 1000.0).round() / 1000.0 } else { 0.0 }
}

/// Is this a number by JSON's grammar, without exponent?
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(fraction) && (whole == "0" || !whole.starts_with('0'))
}

/// An object in the course of being written.
struct Object<'o> {
    out: &'o mut String,
    empty: bool,
}

fn object(out: &mut String, fields: impl FnOnce(&mut Object<'_>)) {
    out.push('{');
    let mut object = Object { out, empty: true };
    fields(&mut object);
    out.push('}');
}

impl Object<'_> {
    fn name(&mut self, name: &str) -> &mut String {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        quote(self.out, name);
        self.out.push(':');
        self.out
    }

    fn text(&mut self, name: &str, value: &str) {
        quote(self.name(name), value);
    }

    fn plain(&mut self, name: &str, value: impl Display) {
        write!(self.name(name), "{value}").expect("a string takes whatever is written");
    }

    fn list<T>(&mut self, name: &str, items: &[T], item: impl Fn(&mut String, &T)) {
        list(self.name(name), items, item);
    }
}

fn list<T>(out: &mut String, items: &[T], item: impl Fn(&mut String, &T)) {
    out.push('[');
    for (index, one) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        item(out, one);
    }
    out.push(']');
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes whatever is written"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A report as Prometheus reads it. Reports without numbers are empty.
#[must_use]
pub fn metrics(report: &Report) -> String {
    let mut out = String::new();
    match report {
        Report::Stats(stats) => stats_metrics(&mut out, stats),
        Report::Status(status) => status_metrics(&mut out, status),
        Report::Alive { .. } | Report::Owner { .. } | Report::Ring(_) | Report::Peers(_) => {}
    }
    out
}

fn status_metrics(out: &mut String, status: &Status) {
    stats_metrics(out, &status.stats);
    describe(out, "node_serving", "gauge", "Does this node take part?");
    line(out, format_args!("spydercache_node_serving {}", u8::from(status.serving)));
    describe(out, "ring_share_percent", "gauge", "The part of the ring that a member owns now; 0 while it is down.");
    for member in &status.ring {
        let (name, share) = (label(&member.name), percent(member.share_percent));
        line(out, format_args!("spydercache_ring_share_percent{{node=\"{name}\"}} {share}"));
    }
    describe(out, "peer_up", "gauge", "Is the other node up, as this one sees it?");
    for peer in &status.peers {
        let (name, up) = (label(&peer.name), u8::from(peer.state == "up"));
        line(out, format_args!("spydercache_peer_up{{node=\"{name}\"}} {up}"));
    }
}

fn stats_metrics(out: &mut String, stats: &[(String, String)]) {
    let mut meanings = Vec::new();
    Stats::default().each(|name, meaning, _| meanings.push((name, meaning)));
    for (name, value) in stats.iter().filter(|(_, value)| is_number(value)) {
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        match meanings.iter().find(|(counted, _)| *counted == name) {
            Some((_, meaning)) if !GAUGES.contains(&name.as_str()) => describe(out, &name, "counter", meaning),
            Some((_, meaning)) => describe(out, &name, "gauge", meaning),
            None => describe(out, &name, "gauge", "As in memcached's stats."),
        }
        line(out, format_args!("spydercache_{name} {value}"));
    }
}

fn describe(out: &mut String, name: &str, kind: &str, meaning: &str) {
    line(out, format_args!("# HELP spydercache_{name} {meaning}\n# TYPE spydercache_{name} {kind}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes whatever is written");
    out.push('\n');
}

/// A label's value: backslashes, quotes and line ends escaped.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Report {
        let stat = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Report::Status(Box::new(Status {
            node_id: "o\"ne\u{1}".into(),
            name: "127.0.0.1:8001".into(),
            pool: "spyder".into(),
            version: "0.1.0",
            incarnation: u64::MAX,
            uptime_ms: 5,
            serving: true,
            ring: vec![RingLine { node_id: "1".into(), name: "a".into(), weight: 1, share_percent: 100.0 / 3.0, up: true }],
            peers: vec![PeerLine {
                node_id: "2".into(),
                name: "b\"".into(),
                address: "127.0.0.1:8002".into(),
                state: "silent",
                for_ms: 7,
                round_trip_ms: 0,
            }],
            stats: vec![stat("cmd_get", "3"), stat("version", "1.6.45"), stat("longest_turn_us", "12"), stat("rusage_user", "0.25")],
        }))
    }

    #[test]
    fn status_is_json_with_every_field() {
        assert_eq!(
            json(&status()),
            concat!(
                r#"{"node_id":"o\"ne\u0001","name":"127.0.0.1:8001","pool":"spyder","version":"0.1.0","incarnation":18446744073709551615,"#,
                r#""uptime_ms":5,"serving":true,"ring":[{"node_id":"1","name":"a","weight":1,"share_percent":33.333,"up":true}],"#,
                r#""peers":[{"node_id":"2","name":"b\"","address":"127.0.0.1:8002","state":"silent","for_ms":7,"round_trip_ms":0}],"#,
                r#""stats":{"cmd_get":3,"version":"1.6.45","longest_turn_us":12,"rusage_user":0.25}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn an_owner_is_json_with_its_mirrors() {
        let report = Report::Owner { owner: "1".into(), mirrors: vec!["2".into(), "3".into()] };
        assert_eq!(json(&report), "{\"owner\":\"1\",\"mirrors\":[\"2\",\"3\"]}\n");
    }

    #[test]
    fn metrics_explain_each_number_and_leave_out_what_is_none() {
        let text = metrics(&status());
        assert!(text.starts_with("# HELP spydercache_cmd_get Reads of a key"), "{text}");
        assert!(text.contains("\n# TYPE spydercache_cmd_get counter\nspydercache_cmd_get 3\n"), "{text}");
        assert!(text.contains("\n# TYPE spydercache_longest_turn_us gauge\nspydercache_longest_turn_us 12\n"), "{text}");
        assert!(text.contains("\nspydercache_rusage_user 0.25\n") && !text.contains("1.6.45"), "{text}");
        assert!(text.ends_with("spydercache_peer_up{node=\"b\\\"\"} 0\n"), "{text}");
    }

    #[test]
    fn a_number_is_what_json_calls_one() {
        for text in ["0", "10", "-3", "0.5", "12.250"] {
            assert!(is_number(text), "{text}");
        }
        for text in ["", "-", "01", "1.", ".5", "1.6.45", "1e3", "NaN", "inf", "+1", "1 "] {
            assert!(!is_number(text), "{text}");
        }
    }
}
