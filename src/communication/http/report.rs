//! Reports for programs: JSON for `/-/status`, `/-/owner/KEY` and `/-/why/KEY`, Prometheus' text for `/metrics`.
//!
//! What only pools have whose nodes agree on views is left out of any other's.
//!
//! Both are asked for rarely, so they are plain strings, written by hand: a few dozen lines are less than a serializer.

use std::fmt::{Display, Write};

use crate::node::reply::{
    CopyLine, FillingLine, HolderLine, PeerLine, Report, RingLine, SeatLine, SelfLine, Status, TieLine, ViewLine, Why,
};
use crate::stats::Stats;

/// Of what [`Stats`] counts, what is no counter: it does not only grow.
const GAUGES: [&str; 1] = ["longest_turn_us"];

/// Of what a node says of a view, what only grows while it lives.
const COUNTERS: [&str; 3] = ["views_adopted", "cold_arcs", "mirrored_changes"];

/// What a node says of its pool, and what it means.
const OF_THE_POOL: [(&str, &str); 25] = [
    ("epoch", "The number of the view, or of this life's versions where nodes do not agree on views."),
    ("nodes", "Nodes that are known."),
    ("nodes_up", "Nodes that take part."),
    ("parked_requests", "Requests that wait for other nodes."),
    ("lost_redundancy", "Arcs of the ring of which fewer nodes have everything than are asked for."),
    ("mirrors", "Copies of each key that are asked for beside its owner's."),
    ("views_adopted", "Views taken for its own since the start."),
    ("seated", "Does this node take part in the view?"),
    ("serving", "Does this node hold a lease, so that it answers for its keys?"),
    ("lease_ms", "How long this node may go on without hearing from the others."),
    ("seats_leaving", "Seats that are being relieved of their keys."),
    ("seats_down", "Seats that are down, with all their keys' copies made good for."),
    ("seats_banned", "Seats that were declared dead."),
    ("seats_gone", "Seats that are down, whose copies are still missed."),
    ("filling_owners", "Nodes that have others to fill, or have not said that they have none."),
    ("filling_nodes", "Nodes that this one fills."),
    ("filled_nodes", "Nodes that this one has filled in this view."),
    ("filling_percent", "How far the one is that is least far of those this node fills."),
    ("filling_keys", "Keys sent to those that this node fills."),
    ("filling_bytes", "Bytes sent to those that this node fills."),
    ("filling_bytes_per_s", "Bytes a second sent to those that this node fills."),
    ("filling_left_ms", "How long it takes at this pace until all are filled that this node fills."),
    ("cold_arcs", "Arcs that began empty here since the start, as all that held them were gone."),
    ("mirrored_changes", "Changes that all holders have confirmed since the start."),
    ("mirrored_under_way", "Changes that some holder has not confirmed."),
];

/// A report as JSON.
#[must_use]
pub fn json(report: &Report) -> String {
    let mut out = String::new();
    match report {
        Report::Alive { node_id } => object(&mut out, |o| o.text("node_id", node_id)),
        Report::Owner { owner, mirrors, filling } => object(&mut out, |o| {
            o.text("owner", owner);
            o.list("mirrors", mirrors, |out, mirror| quote(out, mirror));
            if !filling.is_empty() {
                o.list("filling", filling, |out, filled| quote(out, filled));
            }
        }),
        Report::Why(why) => why_object(&mut out, why),
        Report::Ring(ring, _) => list(&mut out, ring, ring_line),
        Report::Peers(peers, _) => list(&mut out, peers, peer_line),
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
        o.maybe("view", status.view.as_ref(), view_line);
        o.maybe("self", status.part.as_ref(), self_line);
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
        o.maybe("seat", line.seat.as_ref(), seat_line);
    });
}

fn seat_line(out: &mut String, line: &SeatLine) {
    object(out, |o| {
        o.text("standing", line.standing);
        o.plain("held_percent", percent(line.held_percent));
        o.plain("lacked_percent", percent(line.lacked_percent));
    });
}

fn view_line(out: &mut String, line: &ViewLine) {
    object(out, |o| {
        o.plain("epoch", line.epoch);
        // More digits than a reader that takes numbers for doubles would keep.
        o.text("lineage", &format!("{:x}", line.lineage));
        o.plain("up", line.up);
        o.plain("seats", line.seats);
        o.plain("lost_redundancy", line.lost_redundancy);
    });
}

fn self_line(out: &mut String, line: &SelfLine) {
    object(out, |o| {
        o.text("node_id", &line.node_id);
        o.text("part", line.part.word());
        o.plain("epoch", line.epoch);
        o.plain("lease_ms", line.lease_ms);
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
        o.maybe("tie", line.tie.as_ref(), tie_line);
    });
}

fn tie_line(out: &mut String, line: &TieLine) {
    object(out, |o| {
        o.text("seat", line.seat);
        o.plain("epoch", line.epoch);
        o.plain("lease_ms", line.lease_ms);
        o.plain("fills_others", line.fills_others);
        o.maybe("filling", line.filling.as_ref(), filling_line);
    });
}

fn filling_line(out: &mut String, line: &FillingLine) {
    object(out, |o| {
        o.plain("percent", percent(line.percent));
        o.plain("keys", line.keys);
        o.plain("bytes", line.bytes);
        o.plain("bytes_per_s", line.bytes_per_s);
        o.maybe("left_ms", line.left_ms.as_ref(), plain);
    });
}

fn why_object(out: &mut String, why: &Why) {
    object(out, |o| {
        o.text("node_id", &why.node_id);
        o.text("because", &why.because);
        o.plain("place", why.place);
        o.maybe("arc", why.arc.as_ref(), |out, (first, last)| list(out, &[*first, *last], plain));
        o.list("holders", &why.holders, holder_line);
        o.plain("lacks_redundancy", why.lacks_redundancy);
        o.plain("is_cold", why.is_cold);
        o.maybe("copy_here", why.copy.as_ref(), copy_line);
        o.maybe("view", why.view.as_ref(), view_line);
        o.maybe("self", why.part.as_ref(), self_line);
    });
}

fn holder_line(out: &mut String, line: &HolderLine) {
    object(out, |o| {
        o.text("node_id", &line.node_id);
        o.text("name", &line.name);
        o.plain("is_complete", line.is_complete);
        o.text("state", line.state);
    });
}

fn copy_line(out: &mut String, line: &CopyLine) {
    object(out, |o| {
        o.plain("bytes", line.bytes);
        o.plain("version", line.version.0);
        o.maybe("ttl_ms", line.ttl_ms.as_ref(), plain);
    });
}

fn plain<T: Display>(out: &mut String, value: &T) {
    write!(out, "{value}").expect("a string takes whatever is written");
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
        plain(self.name(name), &value);
    }

    /// Left out if there is none.
    fn maybe<T>(&mut self, name: &str, value: Option<&T>, write: impl Fn(&mut String, &T)) {
        if let Some(value) = value {
            write(self.name(name), value);
        }
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
        Report::Alive { .. } | Report::Owner { .. } | Report::Why(_) | Report::Ring(..) | Report::Peers(..) => {}
    }
    out
}

fn status_metrics(out: &mut String, status: &Status) {
    stats_metrics(out, &status.stats);
    describe(out, "node_serving", "gauge", "Does this node take part?");
    line(out, format_args!("spydercache_node_serving {}", u8::from(status.serving)));
    let (ring, peers) = (&status.ring, &status.peers);
    let meaning = "The part of the ring that a member owns now; 0 while it is down.";
    family(out, "ring_share_percent", meaning, ring.iter().map(|member| (&member.name, percent(member.share_percent))));
    let meaning = "Is the other node up, as this one sees it?";
    family(out, "peer_up", meaning, peers.iter().map(|peer| (&peer.name, f64::from(u8::from(peer.state == "up")))));
    if status.view.is_some() {
        let seats = || ring.iter().filter_map(|member| Some((&member.name, member.seat.as_ref()?)));
        let meaning = "The part of the ring whose writes a member gets: what it owns and what it mirrors.";
        family(out, "ring_held_percent", meaning, seats().map(|(name, seat)| (name, percent(seat.held_percent))));
        let meaning = "The part of the ring that a member is still being filled with.";
        family(out, "ring_lacked_percent", meaning, seats().map(|(name, seat)| (name, percent(seat.lacked_percent))));
        let ties = || peers.iter().filter_map(|peer| Some((&peer.name, peer.tie.as_ref()?)));
        let meaning = "For how long this node may count on the other one.";
        family(out, "peer_lease_ms", meaning, ties().map(|(name, tie)| (name, tie.lease_ms as f64)));
        let meaning = "How far this node is in filling the other one.";
        let fillings = ties().filter_map(|(name, tie)| Some((name, percent(tie.filling?.percent))));
        family(out, "peer_filling_percent", meaning, fillings);
    }
}

/// A gauge of which each node has its own.
fn family<'a>(out: &mut String, name: &str, meaning: &str, values: impl Iterator<Item = (&'a String, f64)>) {
    describe(out, name, "gauge", meaning);
    for (node, value) in values {
        line(out, format_args!("spydercache_{name}{{node=\"{}\"}} {value}", label(node)));
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
            None => describe_pools(out, &name),
        }
        line(out, format_args!("spydercache_{name} {value}"));
    }
}

fn describe_pools(out: &mut String, name: &str) {
    let meaning =
        OF_THE_POOL.iter().find(|(of_the_pool, _)| *of_the_pool == name).map_or("As in memcached's stats.", |(_, meaning)| meaning);
    describe(out, name, if COUNTERS.contains(&name) { "counter" } else { "gauge" }, meaning);
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
    use crate::caching::Version;
    use crate::node::reply::Part;

    fn status() -> Report {
        Report::Status(Box::new(alone()))
    }

    fn alone() -> Status {
        let stat = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Status {
            node_id: "o\"ne\u{1}".into(),
            name: "127.0.0.1:8001".into(),
            pool: "spyder".into(),
            version: "0.1.0",
            incarnation: u64::MAX,
            uptime_ms: 5,
            serving: true,
            view: None,
            part: None,
            ring: vec![RingLine { node_id: "1".into(), name: "a".into(), weight: 1, share_percent: 100.0 / 3.0, up: true, seat: None }],
            peers: vec![PeerLine {
                node_id: "2".into(),
                name: "b\"".into(),
                address: "127.0.0.1:8002".into(),
                state: "silent",
                for_ms: 7,
                round_trip_ms: 0,
                tie: None,
            }],
            stats: vec![stat("cmd_get", "3"), stat("version", "1.6.45"), stat("longest_turn_us", "12"), stat("rusage_user", "0.25")],
        }
    }

    fn view() -> ViewLine {
        ViewLine { lineage: 65_537, epoch: 7, up: 2, seats: 3, lost_redundancy: 4 }
    }

    fn part() -> SelfLine {
        SelfLine { node_id: "1".into(), epoch: 7, part: Part::Waiting, lease_ms: 0 }
    }

    /// The same node in a pool whose nodes agree on views.
    fn in_a_view() -> Report {
        let mut status = Status { view: Some(view()), part: Some(part()), ..alone() };
        status.ring[0].seat = Some(SeatLine { standing: "leaving", held_percent: 66.6666, lacked_percent: 12.5 });
        let filling = FillingLine { percent: 25.0, keys: 10, bytes: 4_000, bytes_per_s: 8_000, left_ms: None };
        status.peers[0].tie = Some(TieLine { seat: "up", epoch: 7, lease_ms: 90, fills_others: false, filling: Some(filling) });
        status.stats = [("lease_ms", "0"), ("mirrored_changes", "3")].map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Report::Status(Box::new(status))
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
        let owner = |filling| Report::Owner { owner: "1".into(), mirrors: vec!["2".into(), "3".into()], filling };
        assert_eq!(json(&owner(Vec::new())), "{\"owner\":\"1\",\"mirrors\":[\"2\",\"3\"]}\n");
        assert_eq!(json(&owner(vec!["4".into()])), "{\"owner\":\"1\",\"mirrors\":[\"2\",\"3\"],\"filling\":[\"4\"]}\n");
    }

    #[test]
    fn a_status_in_a_view_says_who_serves_and_who_is_filled() {
        let text = json(&in_a_view());
        for part in [
            r#""serving":true,"view":{"epoch":7,"lineage":"10001","up":2,"seats":3,"lost_redundancy":4},"#,
            r#""self":{"node_id":"1","part":"waiting","epoch":7,"lease_ms":0},"ring":["#,
            r#""up":true,"seat":{"standing":"leaving","held_percent":66.667,"lacked_percent":12.5}}],"#,
            r#""tie":{"seat":"up","epoch":7,"lease_ms":90,"fills_others":false,"filling":{"percent":25,"keys":10,"bytes":4000,"bytes_per_s":8000}}}],"#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn why_is_json_with_the_reason_and_all_that_hold_the_key() {
        let holder = |node_id: &str, is_complete| HolderLine { node_id: node_id.into(), name: "n".into(), is_complete, state: "up" };
        let why = Why {
            node_id: "1".into(),
            because: "node 2 owns it by view 7".into(),
            place: 20,
            arc: Some((10, 30)),
            holders: vec![holder("2", true), holder("3", false)],
            lacks_redundancy: true,
            is_cold: false,
            copy: Some(CopyLine { bytes: 5, version: Version(9), ttl_ms: None }),
            view: None,
            part: None,
        };
        assert_eq!(
            json(&Report::Why(Box::new(why))),
            concat!(
                r#"{"node_id":"1","because":"node 2 owns it by view 7","place":20,"arc":[10,30],"#,
                r#""holders":[{"node_id":"2","name":"n","is_complete":true,"state":"up"},{"node_id":"3","name":"n","is_complete":false,"state":"up"}],"#,
                r#""lacks_redundancy":true,"is_cold":false,"copy_here":{"bytes":5,"version":9}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn metrics_in_a_view_have_a_line_for_each_seat_and_each_tie() {
        let text = metrics(&in_a_view());
        for line in [
            "# TYPE spydercache_lease_ms gauge",
            "# TYPE spydercache_mirrored_changes counter",
            "spydercache_mirrored_changes 3",
            "spydercache_ring_held_percent{node=\"a\"} 66.667",
            "spydercache_ring_lacked_percent{node=\"a\"} 12.5",
            "spydercache_peer_lease_ms{node=\"b\\\"\"} 90",
            "spydercache_peer_filling_percent{node=\"b\\\"\"} 25",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(!text.contains("As in memcached's"), "{text}");
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
