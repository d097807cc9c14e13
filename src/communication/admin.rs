//! One-line verbs for people with netcat, beside memcached's in the same text protocol: ask a node who it is, who owns a key, who is up;
//! tell it whom to join or to give up.
//!
//! ```text
//!   put KEY VALUE      STORED                       alive        ALIVE node_id
//!   connect IP:PORT    OK, or SERVER_ERROR why      owner KEY    OWNER node_id, MIRROR node_id ..., FILLING node_id ..., END
//!   dead IP:PORT       OK, or SERVER_ERROR why      ring         NODE ... for each member, VIEW ..., END
//!   reconstruct        OK, or SERVER_ERROR why      peers        PEER ... for each other node, SELF ..., END
//!   keys [PREFIX] [COUNT]                           KEY key ..., MORE if there are more, END
//! ```
//!
//! Scripts read these forms. VIEW, SELF, FILLING, and what stands behind a line's usual words are there only where nodes agree on views. A
//! MIRROR has all that its owner has; one that is FILLING is still being given it. A wrong argument is answered with the verb's usage.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::str;

use memchr::memchr;

use super::memcached::{is_key, push_text};
use crate::node::command::{Action, Admin, Command, Request, ScanFor, Store, Walk};
use crate::node::reply::{FillingLine, Page, PeerLine, Report, RingLine, SelfLine, TieLine, ViewLine, Why};

/// Keys that are shown if nobody says how many, and the most that are.
const KEYS_SHOWN: u32 = 100;
const MOST_KEYS_SHOWN: u32 = 10_000;

const HELP: &[u8] = concat!(
    "for people\r\n",
    "  put KEY VALUE                     store VALUE, to the end of the line\r\n",
    "  alive                             is somebody there, and who?\r\n",
    "  owner KEY                         which node owns KEY, and which mirror it\r\n",
    "  ring                              the members of the ring and their shares\r\n",
    "  peers                             the other nodes, as this one sees them\r\n",
    "  keys [PREFIX] [COUNT]             keys that begin so, of all nodes, in no useful order\r\n",
    "  connect IP:PORT                   take that node into the pool\r\n",
    "  dead IP:PORT                      treat that node as dead, everywhere\r\n",
    "  reconstruct                       read the journal again\r\n",
    "  help                              this page\r\n",
    "memcached's\r\n",
    "  get KEY...  gets KEY...           the values; gets shows their versions\r\n",
    "  gat EXPTIME KEY...  gats ...      the same, and a new expiry\r\n",
    "  set KEY FLAGS EXPTIME LENGTH      store the LENGTH bytes of the next line\r\n",
    "  add, replace, append, prepend     the same, on a condition\r\n",
    "  cas KEY FLAGS EXPTIME LENGTH VERSION\r\n",
    "  delete KEY  touch KEY EXPTIME  incr KEY N  decr KEY N\r\n",
    "  mg, ms, md, ma, me, mn            the meta commands; see memcached's doc/protocol.txt\r\n",
    "  flush_all [DELAY]  stats [settings|reset]  version  quit\r\n",
    "END\r\n",
)
.as_bytes();

/// Reads the verb `word` with the `rest` of its line: a request, or what to answer instead. `None` if there is no such verb.
pub(super) fn parse<'a>(word: &[u8], rest: &'a [u8]) -> Option<Result<Request<'a>, &'static [u8]>> {
    let (usage, request): (&'static [u8], _) = match word {
        b"put" => (b"CLIENT_ERROR usage: put KEY VALUE\r\n", put(rest)),
        b"connect" => (b"CLIENT_ERROR usage: connect IP:PORT\r\n", address(rest).map(Admin::Connect).map(Request::Admin)),
        b"dead" => (b"CLIENT_ERROR usage: dead IP:PORT\r\n", address(rest).map(Admin::Dead).map(Request::Admin)),
        b"owner" => (b"CLIENT_ERROR usage: owner KEY\r\n", key(rest).map(Admin::Owner).map(Request::Admin)),
        b"keys" => (b"CLIENT_ERROR usage: keys [PREFIX] [COUNT]\r\n", keys(rest)),
        b"reconstruct" => (b"CLIENT_ERROR usage: reconstruct\r\n", alone(rest, Admin::Reconstruct)),
        b"alive" => (b"CLIENT_ERROR usage: alive\r\n", alone(rest, Admin::Alive)),
        b"ring" => (b"CLIENT_ERROR usage: ring\r\n", alone(rest, Admin::Ring)),
        b"peers" => (b"CLIENT_ERROR usage: peers\r\n", alone(rest, Admin::Peers)),
        b"help" => (HELP, None),
        _ => return None,
    };
    Some(request.ok_or(usage))
}

/// ` KEY VALUE`: one blank behind the key, and all that follows it is the value.
fn put(rest: &[u8]) -> Option<Request<'_>> {
    let text = rest.trim_ascii_start();
    let (key, value) = text.split_at(memchr(b' ', text)?);
    let value = Cow::Borrowed(&value[1..]);
    let store = Store::of(value);
    is_key(key).then_some(Request::Key(Command { key: Cow::Borrowed(key), action: Action::Store(store) }))
}

fn address(rest: &[u8]) -> Option<Cow<'_, str>> {
    let text = str::from_utf8(rest.trim_ascii()).ok()?;
    text.parse::<SocketAddr>().is_ok().then_some(Cow::Borrowed(text))
}

fn key(rest: &[u8]) -> Option<Cow<'_, [u8]>> {
    let word = rest.trim_ascii();
    is_key(word).then_some(Cow::Borrowed(word))
}

/// ` [PREFIX] [COUNT]`: the first keys of the pool that begin so.
fn keys(rest: &[u8]) -> Option<Request<'_>> {
    let mut words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let prefix = words.next().unwrap_or_default();
    let most: u32 = words.next().map_or(Some(KEYS_SHOWN), |word| str::from_utf8(word).ok()?.parse().ok())?;
    let walk = Walk {
        from: 0,
        most: most.clamp(1, MOST_KEYS_SHOWN),
        prefix: Cow::Borrowed(prefix),
        pattern: Cow::Borrowed(b""),
        what: ScanFor::Keys,
        all_round: false,
    };
    words.next().is_none().then_some(Request::Admin(Admin::Walk(walk)))
}

fn alone<'a>(rest: &[u8], admin: Admin<'a>) -> Option<Request<'a>> {
    rest.trim_ascii().is_empty().then_some(Request::Admin(admin))
}

/// Writes `report` behind `output`.
pub(super) fn compose(report: &Report, output: &mut Vec<u8>) {
    match report {
        Report::Alive { node_id } => return push_line(&["ALIVE ", node_id], output),
        Report::Owner { owner, mirrors, filling } => push_owner(owner, mirrors, filling, output),
        Report::Why(why) => push_why(why, output),
        Report::Ring(lines, view) => {
            lines.iter().for_each(|line| push_member(line, output));
            view.iter().for_each(|view| push_view(view, output));
        }
        Report::Peers(lines, part) => {
            lines.iter().for_each(|line| push_peer(line, output));
            part.iter().for_each(|part| push_self(part, output));
        }
        Report::Stats(stats) => push_stats(stats, output),
        Report::Status(status) => push_stats(&status.stats, output),
    }
    output.extend_from_slice(b"END\r\n");
}

/// Writes a line for each key of a page, and whether there are more.
pub(super) fn compose_keys(page: &Page, output: &mut Vec<u8>) {
    page.keys.iter().for_each(|key| push_line(&["KEY ", &String::from_utf8_lossy(key)], output));
    if page.next.is_some() {
        push_line(&["MORE"], output);
    }
    output.extend_from_slice(b"END\r\n");
}

fn push_owner(owner: &str, mirrors: &[String], filling: &[String], output: &mut Vec<u8>) {
    push_line(&["OWNER ", owner], output);
    mirrors.iter().for_each(|mirror| push_line(&["MIRROR ", mirror], output));
    filling.iter().for_each(|filled| push_line(&["FILLING ", filled], output));
}

/// As `owner` says it, and the reason.
fn push_why(why: &Why, output: &mut Vec<u8>) {
    for (index, holder) in why.holders.iter().enumerate() {
        let word = if index == 0 {
            "OWNER "
        } else if holder.is_complete {
            "MIRROR "
        } else {
            "FILLING "
        };
        push_line(&[word, &holder.node_id], output);
    }
    push_line(&["BECAUSE ", &why.because], output);
}

fn push_stats(stats: &[(String, String)], output: &mut Vec<u8>) {
    for (name, value) in stats {
        push_line(&["STAT ", name, " ", value], output);
    }
}

/// `NODE node_id name up|down weight W share S%`, and with views ` holds H% seat STANDING`, and ` lacks L%` if it is being filled.
fn push_member(line: &RingLine, output: &mut Vec<u8>) {
    let RingLine { node_id, name, weight, share_percent, up, seat } = line;
    let mut figures = format!(" weight {weight} share {share_percent:.1}%");
    if let Some(seat) = seat {
        figures += &format!(" holds {:.1}% seat {}", seat.held_percent, seat.standing);
        if seat.lacked_percent > 0.0 {
            figures += &format!(" lacks {:.1}%", seat.lacked_percent);
        }
    }
    push_line(&["NODE ", node_id, " ", name, if *up { " up" } else { " down" }, &figures], output);
}

/// `VIEW epoch E lineage L up U of N lost_redundancy R`: the same at all nodes of a view.
fn push_view(line: &ViewLine, output: &mut Vec<u8>) {
    let ViewLine { lineage, epoch, up, seats, lost_redundancy } = line;
    push_line(&[&format!("VIEW epoch {epoch} lineage {lineage:x} up {up} of {seats} lost_redundancy {lost_redundancy}")], output);
}

/// `SELF node_id serving|waiting|seatless epoch E lease Nms`: the node that is asked.
fn push_self(line: &SelfLine, output: &mut Vec<u8>) {
    let SelfLine { node_id, epoch, part, lease_ms } = line;
    push_line(&["SELF ", node_id, " ", part.word(), &format!(" epoch {epoch} lease {lease_ms}ms")], output);
}

/// `PEER node_id name address state for Nms round_trip Nms`, and with views what [`of_tie`] says.
fn push_peer(line: &PeerLine, output: &mut Vec<u8>) {
    let PeerLine { node_id, name, address, state, for_ms, round_trip_ms, tie } = line;
    let figures = format!(" for {for_ms}ms round_trip {round_trip_ms}ms");
    let tie = tie.as_ref().map(of_tie).unwrap_or_default();
    push_line(&["PEER ", node_id, " ", name, " ", address, " ", state, &figures, &tie], output);
}

/// ` seat STANDING epoch E lease Nms`, ` fills_others` if it does, and how far this node has filled it.
fn of_tie(tie: &TieLine) -> String {
    let TieLine { seat, epoch, lease_ms, fills_others, filling } = tie;
    let fills_others = if *fills_others { " fills_others" } else { "" };
    let filling = filling.as_ref().map(of_filling).unwrap_or_default();
    format!(" seat {seat} epoch {epoch} lease {lease_ms}ms{fills_others}{filling}")
}

/// ` filling P% keys K rate R MB/s left Nms`
fn of_filling(filling: &FillingLine) -> String {
    let FillingLine { percent, keys, bytes_per_s, left_ms, .. } = filling;
    let left = left_ms.map_or("?".into(), |left| format!("{left}ms"));
    format!(" filling {percent:.1}% keys {keys} rate {:.1}MB/s left {left}", *bytes_per_s as f64 / 1e6)
}

fn push_line(parts: &[&str], output: &mut Vec<u8>) {
    for part in parts {
        push_text(part, output);
    }
    output.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::reply::{Part, SeatLine, Status};

    fn written(report: &Report) -> String {
        let mut output = Vec::new();
        compose(report, &mut output);
        String::from_utf8(output).unwrap()
    }

    fn member(up: bool) -> RingLine {
        RingLine { node_id: "1".into(), name: "127.0.0.1:8001".into(), weight: 2, share_percent: 66.64, up, seat: None }
    }

    fn peer() -> PeerLine {
        let (node_id, name, address) = ("2".into(), "b".into(), "127.0.0.1:8002".into());
        PeerLine { node_id, name, address, state: "up", for_ms: 1500, round_trip_ms: 1, tie: None }
    }

    fn view() -> ViewLine {
        ViewLine { lineage: 65_537, epoch: 7, up: 2, seats: 3, lost_redundancy: 4 }
    }

    fn part() -> SelfLine {
        SelfLine { node_id: "1".into(), epoch: 7, part: Part::Serving, lease_ms: 187 }
    }

    fn owner(mirrors: &[&str], filling: &[&str]) -> Report {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        Report::Owner { owner: "1".into(), mirrors: ids(mirrors), filling: ids(filling) }
    }

    #[test]
    fn reports_have_the_forms_that_scripts_read() {
        for (report, text) in [
            (Report::Alive { node_id: "1".into() }, "ALIVE 1\r\n"),
            (owner(&[], &[]), "OWNER 1\r\nEND\r\n"),
            (owner(&["3", "2"], &[]), "OWNER 1\r\nMIRROR 3\r\nMIRROR 2\r\nEND\r\n"),
            (
                Report::Ring(vec![member(true), member(false)], None),
                "NODE 1 127.0.0.1:8001 up weight 2 share 66.6%\r\nNODE 1 127.0.0.1:8001 down weight 2 share 66.6%\r\nEND\r\n",
            ),
            (Report::Peers(vec![peer()], None), "PEER 2 b 127.0.0.1:8002 up for 1500ms round_trip 1ms\r\nEND\r\n"),
            (Report::Peers(Vec::new(), None), "END\r\n"),
            (Report::Stats(vec![("pid".into(), "7".into())]), "STAT pid 7\r\nEND\r\n"),
        ] {
            assert_eq!(written(&report), text);
        }
    }

    #[test]
    fn with_views_the_forms_are_the_same_and_go_on_behind_their_usual_words() {
        let seat = |standing, lacked_percent| Some(SeatLine { standing, held_percent: 66.66, lacked_percent });
        let filling = FillingLine { percent: 25.04, keys: 10, bytes: 1, bytes_per_s: 12_340_000, left_ms: Some(900) };
        let tie = |filling| Some(TieLine { seat: "up", epoch: 7, lease_ms: 90, fills_others: true, filling });
        for (report, text) in [
            (owner(&["3"], &["2"]), "OWNER 1\r\nMIRROR 3\r\nFILLING 2\r\nEND\r\n"),
            (
                Report::Ring(
                    vec![RingLine { seat: seat("leaving", 0.0), ..member(true) }, RingLine { seat: seat("gone", 3.0), ..member(false) }],
                    Some(view()),
                ),
                "NODE 1 127.0.0.1:8001 up weight 2 share 66.6% holds 66.7% seat leaving\r\n\
                 NODE 1 127.0.0.1:8001 down weight 2 share 66.6% holds 66.7% seat gone lacks 3.0%\r\n\
                 VIEW epoch 7 lineage 10001 up 2 of 3 lost_redundancy 4\r\nEND\r\n",
            ),
            (
                Report::Peers(vec![PeerLine { tie: tie(Some(filling)), ..peer() }, PeerLine { tie: tie(None), ..peer() }], Some(part())),
                "PEER 2 b 127.0.0.1:8002 up for 1500ms round_trip 1ms seat up epoch 7 lease 90ms fills_others \
                 filling 25.0% keys 10 rate 12.3MB/s left 900ms\r\n\
                 PEER 2 b 127.0.0.1:8002 up for 1500ms round_trip 1ms seat up epoch 7 lease 90ms fills_others\r\n\
                 SELF 1 serving epoch 7 lease 187ms\r\nEND\r\n",
            ),
        ] {
            assert_eq!(written(&report), text);
        }
    }

    #[test]
    fn keys_are_asked_for_by_prefix_and_count_and_have_a_line_each() {
        let asked = |rest: &'static [u8]| match parse(b"keys", rest) {
            Some(Ok(Request::Admin(Admin::Walk(walk)))) => Some((walk.prefix.into_owned(), walk.most)),
            _ => None,
        };
        assert_eq!(asked(b""), Some((Vec::new(), KEYS_SHOWN)));
        assert_eq!(asked(b" user:"), Some((b"user:".to_vec(), KEYS_SHOWN)));
        assert_eq!(asked(b" user: 7 "), Some((b"user:".to_vec(), 7)));
        assert_eq!(asked(b" user: 99999999"), Some((b"user:".to_vec(), MOST_KEYS_SHOWN)));
        assert_eq!((asked(b" user: x"), asked(b" user: 7 8")), (None, None));
        let page = |next| Page { keys: vec![b"a".to_vec(), b"b\r\nEND".to_vec()], count: 2, next };
        for (next, text) in [(None, "KEY a\r\nKEY b  END\r\nEND\r\n"), (Some(5), "KEY a\r\nKEY b  END\r\nMORE\r\nEND\r\n")] {
            let mut output = Vec::new();
            compose_keys(&page(next), &mut output);
            assert_eq!(str::from_utf8(&output), Ok(text));
        }
    }

    #[test]
    fn a_status_shows_its_stats_and_no_text_breaks_its_line() {
        let status = Status {
            node_id: "1".into(),
            name: "a".into(),
            pool: "p".into(),
            version: "0",
            incarnation: 1,
            uptime_ms: 1,
            serving: true,
            view: Some(view()),
            part: Some(part()),
            ring: vec![member(true)],
            peers: vec![peer()],
            stats: vec![("name".into(), "a\r\nEND".into())],
        };
        assert_eq!(written(&Report::Status(Box::new(status))), "STAT name a  END\r\nEND\r\n");
    }

    #[test]
    fn the_help_page_ends_like_every_list_and_names_each_verb() {
        let help = parse(b"help", b"").unwrap().unwrap_err();
        assert!(help.ends_with(b"\r\nEND\r\n") && !help.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r'));
        let help = str::from_utf8(help).unwrap();
        for verb in ["put", "connect", "dead", "owner", "reconstruct", "alive", "ring", "peers", "keys", "help"] {
            assert!(help.contains(&format!("\n  {verb} ")) && parse(verb.as_bytes(), b"").is_some(), "{verb}");
        }
        assert_eq!(parse(b"helper", b""), None);
    }
}
