//! Under which names this node is addressed, and whether a page of another origin stands behind a request.
//!
//! A browser runs what strangers write, on a machine that may reach this node where the strangers cannot. Two things keep their pages out,
//! without any password:
//!
//! ```text
//!   evil.example resolves to 127.0.0.1      Host: evil.example         ──▶ not a name of this node: nothing is read or written
//!   a form on evil.example posts to us      Origin: http://evil.example ─▶ not from here: nothing is written
//!                                           Sec-Fetch-Site: cross-site
//! ```
//!
//! What is only read across origins needs no refusal: there are no CORS headers, so the browser keeps the answer from the page. Programs
//! send neither Origin nor Sec-Fetch-Site and do not notice. This is no protection from who reaches the port: that is the password's part.

use std::net::IpAddr;
use std::sync::Arc;

use super::head::Head;
use super::refusal::{self, Refusal};
use super::target::authority;

/// The names of a node beside loopback's.
#[derive(Debug, Default)]
pub struct Hosts {
    names: Vec<String>,
}

/// Who is at the other end of a connection, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub struct Visitor {
    hosts: Arc<Hosts>,
    is_local: bool,
    /// The address at which this node was reached.
    reached_at: Option<IpAddr>,
}

impl Hosts {
    /// These names, each with or without a port. `*` is any name.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Hosts {
        let host = |name: &str| {
            let is_address = name.parse::<IpAddr>().is_ok();
            if is_address { Some(name.to_owned()) } else { host_in(name.as_bytes()).map(str::to_owned) }
        };
        Hosts { names: names.into_iter().filter_map(|name| host(name.as_ref())).collect() }
    }

    fn know(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case("localhost") || self.names.iter().any(|name| name == "*" || name.eq_ignore_ascii_case(host))
    }
}

impl Visitor {
    /// A connection from `peer` to `here`; `None` where that is not known.
    #[must_use]
    pub fn new(hosts: Arc<Hosts>, peer: Option<IpAddr>, here: Option<IpAddr>) -> Visitor {
        let is_local = peer.is_some_and(|ip| ip.to_canonical().is_loopback());
        Visitor { hosts, is_local, reached_at: here.map(|ip| ip.to_canonical()) }
    }

    /// Refuses a request that is addressed to somebody else. One that is addressed to nobody, as netcat's, is taken from this machine.
    pub(super) fn check(&self, head: &Head<'_>) -> Result<(), Refusal> {
        let in_target = authority(head.target).map(str::as_bytes);
        if head.host.is_none() && in_target.is_none() && !self.is_local {
            return Err(refusal::NOBODYS_HOST);
        }
        let is_known = [head.host, in_target].into_iter().flatten().all(|authority| self.knows(authority));
        if is_known { Ok(()) } else { Err(refusal::UNKNOWN_HOST) }
    }

    fn knows(&self, authority: &[u8]) -> bool {
        let Some(host) = host_in(authority) else { return false };
        let ip = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        ip.is_some_and(|ip| ip.is_loopback() || self.reached_at == Some(ip)) || self.hosts.know(host)
    }
}

/// Has a page of another origin caused this request? Only browsers say so, and they always do where it matters.
pub(super) fn is_foreign(head: &Head<'_>) -> bool {
    let of_another_site = !matches!(head.fetch_site, b"" | b"none" | b"same-origin");
    of_another_site || head.origin.is_some_and(|origin| !is_own(origin, head.host.unwrap_or_default()))
}

fn is_own(origin: &[u8], host: &[u8]) -> bool {
    let of_origin = [&b"http://"[..], b"https://"].iter().find_map(|scheme| origin.strip_prefix(*scheme));
    !host.is_empty() && of_origin.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// The host of `HOST`, `HOST:PORT` or `[IPv6]:PORT`, without brackets and without the dot of an absolute name.
fn host_in(authority: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(authority).ok()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let host = host.strip_suffix('.').unwrap_or(host);
    (is_port && !host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head<'a>(host: Option<&'a str>, target: &'a str) -> Head<'a> {
        Head { method: "PUT", target, host: host.map(str::as_bytes), ..Head::default() }
    }

    fn visitor(peer: &str) -> Visitor {
        let hosts = Hosts::new(["Cache.example:8080", "192.0.2.7", "[2001:db8::1]:80", "2001:db8::2", ""]);
        Visitor::new(Arc::new(hosts), peer.parse().ok(), "::ffff:198.51.100.1".parse().ok())
    }

    #[test]
    fn a_node_is_known_by_loopback_by_where_it_was_reached_and_by_its_names() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "127.0.0.1",
            "127.1.2.3:9",
            "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:1",
            "198.51.100.1:8080",
            "cache.example",
            "CACHE.EXAMPLE.:1",
            "192.0.2.7:8080",
            "[2001:db8::1]",
            "[2001:db8::2]:8080",
        ] {
            assert_eq!(visitor("203.0.113.9").check(&head(Some(host), "/k")), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_name_that_somebody_else_has_pointed_here_is_refused() {
        for host in [
            "",
            ".",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "evil-localhost",
            "xlocalhost",
            "127.0.0.1.evil.example",
            "cache.example.evil.example",
            "cache.example:x",
            "localhost:80:80",
            "192.0.2.8",
            "0.0.0.0",
            "[::1",
            "[::1]x",
            "::1",
            "[::2]",
            "2130706433",
            "127.1",
        ] {
            assert_eq!(visitor("127.0.0.1").check(&head(Some(host), "/k")), Err(refusal::UNKNOWN_HOST), "{host}");
        }
    }

    #[test]
    fn what_is_addressed_to_nobody_is_taken_from_this_machine_alone() {
        for (peer, result) in [("127.0.0.1", Ok(())), ("::1", Ok(())), ("203.0.113.9", Err(refusal::NOBODYS_HOST))] {
            assert_eq!(visitor(peer).check(&head(None, "/k")), result, "{peer}");
        }
        assert_eq!(Visitor::default().check(&head(None, "/k")), Err(refusal::NOBODYS_HOST));
    }

    #[test]
    fn an_absolute_target_must_name_this_node_as_well() {
        let visitor = visitor("203.0.113.9");
        assert_eq!(visitor.check(&head(Some("localhost"), "http://localhost:8080/k")), Ok(()));
        assert_eq!(visitor.check(&head(None, "http://cache.example")), Ok(()));
        for (host, target) in [("localhost", "http://evil.example/k"), ("evil.example", "http://localhost/k")] {
            assert_eq!(visitor.check(&head(Some(host), target)), Err(refusal::UNKNOWN_HOST), "{host} {target}");
        }
    }

    #[test]
    fn a_star_among_the_names_is_any_name() {
        let visitor = Visitor::new(Arc::new(Hosts::new(["*"])), None, None);
        assert_eq!(visitor.check(&head(Some("whatever:1"), "/k")), Ok(()));
        assert_eq!(visitor.check(&head(Some(""), "/k")), Err(refusal::UNKNOWN_HOST));
    }

    #[test]
    fn a_page_of_another_origin_is_told_by_what_its_browser_says() {
        let own = head(Some("localhost:8080"), "/k");
        for (origin, site, foreign) in [
            (None, "", false),
            (None, "none", false),
            (None, "same-origin", false),
            (None, "same-site", true),
            (None, "cross-site", true),
            (None, "whatever", true),
            (Some("http://localhost:8080"), "same-origin", false),
            (Some("https://LOCALHOST:8080"), "", false),
            (Some("http://localhost:8080"), "cross-site", true),
            (Some("http://localhost"), "", true),
            (Some("http://localhost:3000"), "", true),
            (Some("http://evil.example"), "", true),
            (Some("http://localhost:8080.evil.example"), "", true),
            (Some("null"), "", true),
            (Some(""), "", true),
            (Some("file://localhost:8080"), "", true),
        ] {
            let head = Head { origin: origin.map(str::as_bytes), fetch_site: site.as_bytes(), ..own.clone() };
            assert_eq!(is_foreign(&head), foreign, "{origin:?} {site}");
        }
        assert!(is_foreign(&Head { host: None, origin: Some(b"http://"), ..own }));
    }
}
