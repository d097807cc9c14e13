//! How things stand: what `stats`, `ring`, `peers`, `owner` and the pages for programs show.

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

    pub(super) fn report_owner(&self, holders: &[MemberId]) -> Option<Report> {
        let mut ids = holders.iter().map(|id| self.membership.get(*id).card.node_id.clone());
        Some(Report::Owner { owner: ids.next()?, mirrors: ids.collect() })
    }

    pub(super) fn report_ring(&self) -> Report {
        Report::Ring(self.ring_lines())
    }

    pub(super) fn report_peers(&self, now: Now) -> Report {
        Report::Peers(self.peer_lines(now.mono))
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
            serving: me.standing == Standing::Up,
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
        let met = |standing: Standing| !matches!(standing, Standing::Down(Reason::Unfit | Reason::Unmet));
        self.membership
            .all()
            .filter(|(_, member)| met(member.standing))
            .map(|(id, member)| RingLine {
                node_id: member.card.node_id.clone(),
                name: member.card.name.clone(),
                weight: member.card.weight,
                share_percent: 100.0 * self.membership.share(id),
                up: member.standing == Standing::Up,
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
            })
            .collect()
    }

    /// memcached's names first, in its order; then this server's own.
    fn stat_lines(&self, now: Now) -> Vec<(String, String)> {
        let bounds = self.cache.bounds();
        let gauges = &self.gauges;
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
            ("epoch", self.version.epoch().to_string()),
            ("nodes", self.membership.len().to_string()),
            ("nodes_up", self.membership.count_up().to_string()),
            ("parked_requests", self.requests.len().to_string()),
        ]);
        if let Some(journal) = &self.journal {
            lines.extend([
                ("journal_ok", u8::from(journal.is_ok()).to_string()),
                ("journal_size", journal.total_bytes().to_string()),
                ("journal_segments", journal.segments().len().to_string()),
            ]);
        }
        lines.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }
}
