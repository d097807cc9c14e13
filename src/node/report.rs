//! How things stand: what `stats`, `ring`, `peers`, `owner` and the pages for programs show.
//!
//! Without views a node shows the pool as it judges it itself. Where nodes agree on views, the ring, its shares and who is up are the
//! view's, and [`agreed`] has more to say: leases, fillings, lost redundancy. Scripts read the first words of each line, and the names in
//! `stats`: what is new comes behind them.

mod agreed;

use super::pact::Pact;
use super::reply::{MEMCACHED_VERSION, PeerLine, Reply, Report, RingLine, Status};
use super::{Node, Origin, Outputs, answer};
use crate::stats::Stats;
use crate::time::{Mono, Now};
use crate::topology::MemberId;
use crate::topology::membership::{Reason, Standing};

/// What the driver measures, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// The process's number.
    pub pid: u32,
    /// Other hosts may connect, and there is no password.
    pub is_unprotected: bool,
    /// Client connections that are open.
    pub curr_connections: u64,
    /// Most client connections.
    pub max_connections: u64,
    /// Bytes that the connections' buffers hold.
    pub buffer_bytes: u64,
    /// Bytes that the process occupies.
    pub resident_bytes: u64,
    /// CPU time of the process, in microseconds: in its own code, and in the kernel for it.
    pub cpu_us: (u64, u64),
}

impl Node {
    pub(super) fn report_alive(&self) -> Report {
        Report::Alive { node_id: self.me().node_id.clone() }
    }

    pub(super) fn report_owner(&self, place: u32) -> Option<Report> {
        let (holders, complete) = self.holders(place);
        let ids = |ids: &[MemberId]| ids.iter().map(|id| self.membership.get(*id).card.node_id.clone()).collect();
        let (owner, others) = holders.split_first()?;
        let (mirrors, filling) = others.split_at(complete.saturating_sub(1).min(others.len()));
        Some(Report::Owner { owner: self.membership.get(*owner).card.node_id.clone(), mirrors: ids(mirrors), filling: ids(filling) })
    }

    pub(super) fn report_why(&self, key: &[u8], now: Now) -> Report {
        Report::Why(Box::new(self.why(key, now.mono)))
    }

    pub(super) fn report_ring(&self) -> Report {
        Report::Ring(self.ring_lines(), self.view_line())
    }

    pub(super) fn report_peers(&self, now: Now) -> Report {
        Report::Peers(self.peer_lines(now.mono), self.self_line(now.mono))
    }

    pub(super) fn report_stats(&self, now: Now) -> Report {
        Report::Stats(self.stat_lines(now))
    }

    pub(super) fn report_settings(&self) -> Report {
        Report::Stats(self.settings.shown.clone())
    }

    pub(super) fn report_status(&self, now: Now) -> Report {
        let me = self.membership.me();
        Report::Status(Box::new(Status {
            node_id: me.card.node_id.clone(),
            name: me.card.name.clone(),
            pool: self.settings.pool.clone(),
            version: env!("CARGO_PKG_VERSION"),
            incarnation: me.card.incarnation,
            uptime_ms: now.mono.since(self.started.mono),
            serving: if self.pact.is_some() { self.is_serving(now.mono) } else { me.standing == Standing::Up },
            view: self.view_line(),
            part: self.self_line(now.mono),
            ring: self.ring_lines(),
            peers: self.peer_lines(now.mono),
            stats: self.stat_lines(now),
        }))
    }

    pub(super) fn reset_stats(&mut self, origin: Origin, out: &mut dyn Outputs) {
        self.stats = Stats::default();
        answer(out, origin, b"", &Reply::Done);
    }

    fn ring_lines(&self) -> Vec<RingLine> {
        if let Some((pact, view)) = self.pact.as_ref().and_then(Pact::with_view) {
            return Node::seat_lines(pact, view);
        }
        // Who awaits its first view owns nothing yet, and neither does anybody it knows of.
        let awaits_view = self.pact.is_some();
        let met = |standing: Standing| !matches!(standing, Standing::Down(Reason::Unfit | Reason::Unmet));
        self.membership
            .all()
            .filter(|(_, member)| met(member.standing))
            .map(|(id, member)| RingLine {
                node_id: member.card.node_id.clone(),
                name: member.card.name.clone(),
                weight: member.card.weight,
                share_percent: if awaits_view { 0.0 } else { 100.0 * self.membership.share(id) },
                up: member.standing == Standing::Up && !awaits_view,
                seat: None,
            })
            .collect()
    }

    fn peer_lines(&self, now: Mono) -> Vec<PeerLine> {
        self.membership
            .others()
            .map(|(id, member)| PeerLine {
                node_id: member.card.node_id.clone(),
                name: member.card.name.clone(),
                address: member.card.address.to_string(),
                state: member.standing.word(),
                for_ms: now.since(member.since),
                round_trip_ms: self.peers[id.index()].round_trip_ms(),
                tie: self.tie_line(id, now),
            })
            .collect()
    }

    /// memcached's names first, in its order; then this server's own.
    fn stat_lines(&self, now: Now) -> Vec<(String, String)> {
        let bounds = self.cache.bounds();
        let gauges = &self.gauges;
        let (epoch, nodes, nodes_up) = self.pool_figures();
        let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
        let mut lines: Vec<(&str, String)> = vec![
            ("pid", gauges.pid.to_string()),
            ("uptime", (now.mono.since(self.started.mono) / 1_000).to_string()),
            ("time", (now.wall.0 / 1_000).to_string()),
            ("version", MEMCACHED_VERSION.to_string()),
            ("spydercache_version", env!("CARGO_PKG_VERSION").to_string()),
            ("pointer_size", usize::BITS.to_string()),
            ("rusage_user", seconds(gauges.cpu_us.0)),
            ("rusage_system", seconds(gauges.cpu_us.1)),
            ("max_connections", gauges.max_connections.to_string()),
            ("unprotected", u8::from(gauges.is_unprotected).to_string()),
            ("curr_connections", gauges.curr_connections.to_string()),
            ("accepting_conns", u8::from(gauges.curr_connections < gauges.max_connections).to_string()),
            ("threads", "1".to_string()),
            ("limit_maxbytes", bounds.max_bytes.to_string()),
            ("limit_maxitems", bounds.max_keys.to_string()),
            ("curr_items", self.cache.len().to_string()),
            ("bytes", self.cache.bytes().to_string()),
            ("overhead_bytes", self.cache.overhead_bytes().to_string()),
            ("buffer_bytes", gauges.buffer_bytes.to_string()),
            ("resident_bytes", gauges.resident_bytes.to_string()),
        ];
        self.stats.each(|name, _, value| lines.push((name, value.to_string())));
        lines.extend([
            ("node_id", self.me().node_id.clone()),
            ("node_name", self.me().name.clone()),
            ("incarnation", self.me().incarnation.to_string()),
            ("epoch", epoch.to_string()),
            ("nodes", nodes.to_string()),
            ("nodes_up", nodes_up.to_string()),
            ("parked_requests", self.requests.len().to_string()),
        ]);
        if let Some(journal) = &self.journal {
            lines.extend([
                ("journal_ok", u8::from(journal.is_ok()).to_string()),
                ("journal_size", journal.total_bytes().to_string()),
                ("journal_segments", journal.segments().len().to_string()),
            ]);
        }
        lines.push(("lost_redundancy", self.lost_redundancy().to_string()));
        lines.extend(self.pact.iter().flat_map(|pact| self.view_stats(pact, now.mono)));
        lines.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }

    /// The epoch, how many nodes are known, and how many are up: the view's, if nodes agree on views.
    fn pool_figures(&self) -> (u64, usize, usize) {
        match &self.pact {
            None => (self.version.epoch().into(), self.membership.len(), self.membership.count_up()),
            Some(Pact { view: None, .. }) => (0, self.membership.len(), 0),
            Some(Pact { view: Some(view), .. }) => (view.epoch, view.seats.len(), view.up().count()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Settings;
    use crate::node::reply::{Part, SelfLine};
    use crate::node::testing::{Nowhere, at, card, settings};
    use crate::topology::view::Mirrors;

    /// A node that knows nobody.
    fn alone(mirrors: u32) -> Node {
        let settings = Settings { mirrors: Mirrors::Next(mirrors), boot_wait_ms: 1_000, ..settings(card(8001, 1)) };
        Node::new(settings, None, None, at(1_000))
    }

    fn status(node: &Node, now: Now) -> Status {
        let Report::Status(status) = node.report_status(now) else { panic!("a status") };
        *status
    }

    fn stat(status: &Status, name: &str) -> Option<u64> {
        status.stats.iter().find(|(found, _)| found == name).and_then(|(_, value)| value.parse().ok())
    }

    #[test]
    fn without_mirrors_a_node_says_what_it_always_said_and_that_no_copy_is_missed() {
        let node = alone(0);
        let status = status(&node, at(1_000));
        assert!(status.serving && status.view.is_none() && status.part.is_none());
        assert_eq!((status.ring[0].share_percent, status.ring[0].up, status.ring[0].seat.clone()), (100.0, true, None));
        assert_eq!(status.stats.last(), Some(&("lost_redundancy".to_string(), "0".to_string())));
        assert_eq!((stat(&status, "nodes_up"), stat(&status, "seated")), (Some(1), None));
    }

    #[test]
    fn a_node_that_awaits_its_view_owns_nothing_serves_nothing_and_says_that_copies_are_missed() {
        let node = alone(1);
        let status = status(&node, at(1_000));
        let part = SelfLine { node_id: "127.0.0.1:8001".into(), epoch: 0, part: Part::Seatless, lease_ms: 0 };
        assert_eq!((status.serving, status.part.as_ref()), (false, Some(&part)));
        assert_eq!((status.ring[0].share_percent, status.ring[0].up), (0.0, false));
        assert_eq!((stat(&status, "epoch"), stat(&status, "nodes_up"), stat(&status, "seated")), (Some(0), Some(0), Some(0)));
        assert!(stat(&status, "lost_redundancy") > Some(0));
        let why = node.why(b"k", Mono(1_000));
        assert!(why.because.contains("no seat") && why.holders.is_empty(), "{why:?}");
    }

    #[test]
    fn a_node_with_a_seat_shows_the_view_and_no_longer_a_lease_than_it_could_be_granted() {
        let mut node = alone(1);
        let mut serves_after = |ms: &u64| {
            node.on_tick(at(*ms), &mut Nowhere);
            node.is_serving(Mono(*ms))
        };
        let ms = (1_000..60_000).step_by(10).find(|ms| serves_after(ms)).expect("a view of its own");
        let status = status(&node, at(ms));
        let (view, part) = (status.view.as_ref().expect("a view"), status.part.as_ref().expect("a part"));
        assert_eq!((status.serving, part.part, part.lease_ms), (true, Part::Serving, 250));
        assert_eq!((view.up, view.seats, stat(&status, "epoch"), part.epoch), (1, 1, Some(view.epoch), view.epoch));
        let seat = status.ring[0].seat.as_ref().expect("a seat");
        assert!((status.ring[0].share_percent - 100.0).abs() < 1e-6 && (seat.held_percent - 100.0).abs() < 1e-6);
        // Alone, it has nobody to keep its copies.
        assert_eq!(stat(&status, "lost_redundancy"), Some(view.lost_redundancy as u64));
        assert!(view.lost_redundancy > 0);
        let why = node.why(b"k", Mono(ms));
        assert!(why.because.starts_with("this node owns it by view ") && why.holders.len() == 1, "{}", why.because);
        assert!(why.lacks_redundancy && why.arc.is_some_and(|(first, last)| (first..=last).contains(&why.place)));
    }
}
