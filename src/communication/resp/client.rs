//! `CLIENT`: what a connection tells of itself, and is told of itself.
//!
//! A node tells nobody who else is connected: the list has one line, the connection's own. What Redis says there of its buffers is left out.

use std::net::SocketAddr;

use super::commands::{Call, Handled, Refusal, refuse, repeated};
use super::compose::{null, push_number};
use super::keys::lower;
use super::server::{ok, say, string};
use super::session::Session;
use super::strings::{integer, syntax};

/// The longest name of a client or of its library.
const LONGEST_NAME: usize = 1024;

/// Who speaks, and what it calls itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    /// Its address and the one that it has dialled.
    addresses: Option<(SocketAddr, SocketAddr)>,
    library: Vec<u8>,
    library_version: Vec<u8>,
}

impl Caller {
    /// Who has said nothing of itself yet.
    pub(super) fn between(addresses: Option<(SocketAddr, SocketAddr)>) -> Caller {
        Caller { addresses, ..Caller::default() }
    }
}

pub(super) fn checked_name(name: &[u8]) -> Result<&[u8], Refusal> {
    if name.len() <= LONGEST_NAME && name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Ok(name);
    }
    Err(refuse("ERR Client names cannot contain spaces, newlines or special characters."))
}

pub(super) fn client<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [word] = call.words()?;
    let mut number = Vec::new();
    match &word.to_ascii_uppercase()[..] {
        b"SETNAME" => {
            let [_, name] = call.words()?;
            session.name = checked_name(name)?.to_vec();
            ok()
        }
        b"GETNAME" if session.name.is_empty() => say(null(session.resp3)),
        b"GETNAME" => say(string(&session.name)),
        b"ID" => {
            push_number(session.id.cast_signed(), &mut number);
            say(number)
        }
        b"LIST" => list(session, call),
        b"INFO" => say(string(&line_of(session, "info"))),
        b"SETINFO" => set_info(session, call),
        b"NO-EVICT" | b"NO-TOUCH" => match call.words()? {
            [_, switch] if switch.eq_ignore_ascii_case(b"ON") || switch.eq_ignore_ascii_case(b"OFF") => ok(),
            _ => Err(syntax()),
        },
        b"GETREDIR" => say(&b":-1\r\n"[..]),
        _ => Err(call.unknown_subcommand(word)),
    }
}

/// `CLIENT LIST [TYPE type | ID id...]`: this connection, if it is among those that are asked for.
fn list<'a>(session: &Session, call: &Call<'a>) -> Handled<'a> {
    let (mut options, mut shown) = (call.behind(1), true);
    match options.next() {
        None => {}
        Some(option) if option.eq_ignore_ascii_case(b"TYPE") && options.len() == 1 => {
            shown = options.next().is_some_and(|kind| kind.eq_ignore_ascii_case(b"normal"));
        }
        Some(option) if option.eq_ignore_ascii_case(b"ID") && options.len() > 0 => {
            let ids: Vec<i64> = options.map(integer).collect::<Result<_, _>>().map_err(|_| refuse("ERR Invalid client ID"))?;
            shown = ids.contains(&session.id.cast_signed());
        }
        Some(_) => return Err(syntax()),
    }
    say(string(&if shown { line_of(session, "list") } else { Vec::new() }))
}

fn line_of(session: &Session, subcommand: &str) -> Vec<u8> {
    let Session { id, resp3, database, caller, .. } = session;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let addresses = caller.addresses.map_or_else(String::new, |(theirs, ours)| format!(" addr={theirs} laddr={ours}"));
    format!(
        "id={id}{addresses} name={} idle=0 flags=N db={} sub=0 psub=0 ssub=0 multi=-1 watch={} cmd=client|{subcommand} user=default redir=-1 \
        resp={} lib-name={} lib-ver={}\n",
        text(&session.name),
        database.0,
        session.watch.len(),
        if *resp3 { 3 } else { 2 },
        text(&caller.library),
        text(&caller.library_version),
    )
    .into_bytes()
}

/// `CLIENT SETINFO LIB-NAME | LIB-VER text`
fn set_info<'a>(session: &mut Session, call: &Call<'a>) -> Handled<'a> {
    let [_, option, text] = call.words().map_err(|_| refuse("ERR wrong number of arguments for 'client|setinfo' command"))?;
    let kept = match &option.to_ascii_uppercase()[..] {
        b"LIB-NAME" => &mut session.caller.library,
        b"LIB-VER" => &mut session.caller.library_version,
        _ => return Err(refuse(format!("ERR Unrecognized option '{}'", repeated(option)))),
    };
    let wrong = |_| refuse(format!("ERR {} cannot contain spaces, newlines or special characters.", lower(option)));
    *kept = checked_name(text).map_err(wrong)?.to_vec();
    ok()
}
