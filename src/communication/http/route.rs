//! What a request asks for: method and path, turned into a [`Request`], a page, or an upload whose value is still to come.
//!
//! | path                     | GET      | HEAD      | PUT, POST     | DELETE |
//! |--------------------------|----------|-----------|---------------|--------|
//! | `/`                      | the page | heartbeat | 405           | 405    |
//! | `/connect/ADDRESS`       | a key    | connect   | connect       | a key  |
//! | `/dead/ADDRESS`          | a key    | dead      | dead          | a key  |
//! | `/reconstruct`           | a key    | rebuild   | rebuild       | a key  |
//! | `/metrics`, `/-/...`     | report   | report    | 405           | 405    |
//! | anything else: `/KEY`    | get      | get       | store         | delete |
//!
//! OPTIONS says what there is, of any path, and grants nothing: a browser that asks for a page of another origin hears no leave.
//!
//! A store finds its value in one of two places. If a body comes, the whole path is the key. If none does, `PUT /KEY/VALUE` with exactly
//! one more slash is the form of the project that this one re-creates. A body that is said to be empty, on a path without a second
//! slash, is an empty value; everything between these is refused, not guessed.
//!
//! Conditions of a read are the composer's, which has the version to compare. Those of a write are the node's, which looks and writes at
//! once: `If-Match: "V"` is a store of that version, `If-Match: *` of a key that is there, `If-None-Match: *` of one that is not. A
//! condition that the node has no words for is refused, never left out.

use std::borrow::Cow;

use super::compose::{Form, View};
use super::head::{Body, Head};
use super::refusal::{self, Refusal};
use super::target::{Target, unescape};
use crate::caching::Version;
use crate::config::Limits;
use crate::node::command::{Action, Admin, Command, Expiry, Guard, MAX_MEDIA, Removal, Request, Store, StoreMode, Terms};

/// What a request asks for.
#[derive(Debug, PartialEq)]
pub enum Route<'a> {
    /// Something the node knows; any body is of no interest.
    Ask(Request<'a>, View),
    /// A fixed text.
    Say(&'static str),
    /// What can be asked.
    Options,
    /// A write whose value is the body.
    Upload(Upload<'a>),
}

/// A write that lacks its value.
#[derive(Debug, PartialEq)]
pub struct Upload<'a> {
    key: Cow<'a, [u8]>,
    mode: StoreMode,
    flags: u32,
    expiry: Expiry,
    media: Cow<'a, [u8]>,
}

/// What a write asks of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Anything,
    This(Version),
    Present,
    Absent,
}

/// The methods that do something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Get,
    Head,
    Put,
    Post,
    Delete,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<'n> {
    Root,
    Connect(&'n [u8]),
    Dead(&'n [u8]),
    Reconstruct,
    Metrics,
    /// Behind `/-/`.
    Reserved(&'n [u8]),
    Key,
}

/// The type of content that is not kept, since it is what is said of a value without one.
const DEFAULT_MEDIA: &[u8] = b"application/octet-stream";
/// Longest value whose write is answered with the value it has replaced: what is allowed without being asked for. Who is allowed more, and
/// writes more, does not want as much back.
const MOST_ANSWERED: usize = 1 << 20;

/// What `GET /` says. A page for browsers will stand here.
pub const WELCOME: &str = "\
This is a SpyderCache node: a pooled cache for memcached and HTTP clients, all on this port.

  curl -T FILE http://HOST:PORT/KEY            put a value (?ttl=SECONDS&flags=N)
  curl -X PUT http://HOST:PORT/KEY/VALUE       put a short one
  curl http://HOST:PORT/KEY                    get it
  curl -X DELETE http://HOST:PORT/KEY          delete it

  curl http://HOST:PORT/-/status               node and pool, as JSON
  curl http://HOST:PORT/-/owner/KEY            who holds a key
  curl http://HOST:PORT/-/why/KEY              and why
  curl http://HOST:PORT/metrics                counters, for Prometheus
  curl -I http://HOST:PORT/connect/IP:PORT     take another node into the pool
";

/// Finds out what is asked. Called twice for a body that comes after its head, so it must be cheap and change nothing.
pub fn route<'a>(head: &Head<'a>, limits: &Limits) -> Result<Route<'a>, Refusal> {
    use Method::{Delete, Get, Head as HeadOnly, Post, Put};

    if head.method == "OPTIONS" {
        return Ok(Route::Options);
    }
    let method = Method::parse(head.method)?;
    let target = Target::parse(head.target)?;
    let name = unescape(target.path)?;
    match (Place::of(&name), method) {
        (Place::Root, Get) => Ok(Route::Say(WELCOME)),
        (Place::Root, HeadOnly) => Ok(Route::Ask(Request::Admin(Admin::Alive), View::Plain)),
        (Place::Connect(address), HeadOnly | Put | Post) => Ok(admin(Admin::Connect(text(address)?))),
        (Place::Dead(address), HeadOnly | Put | Post) => Ok(admin(Admin::Dead(text(address)?))),
        (Place::Reconstruct, HeadOnly | Put | Post) => Ok(admin(Admin::Reconstruct)),
        (Place::Metrics, Get | HeadOnly) => Ok(Route::Ask(Request::Admin(Admin::Status), View::Metrics)),
        (Place::Reserved(rest), Get | HeadOnly) => reserved(rest, limits),
        (Place::Root | Place::Metrics | Place::Reserved(_), Put | Post | Delete) => Err(refusal::READ_ONLY),
        (Place::Connect(_) | Place::Dead(_) | Place::Reconstruct, Get | Delete) | (Place::Key, _) => {
            on_key(method, name, &target, head, limits)
        }
    }
}

fn answers_old(length: usize) -> bool {
    length <= MOST_ANSWERED
}

impl Route<'_> {
    /// May a stranger be told? Fixed texts are no secrets, and load balancers ask without a password whether a node is there and ready.
    #[must_use]
    pub fn is_public(&self) -> bool {
        matches!(self, Route::Say(_) | Route::Ask(_, View::Ready))
    }
}

impl Method {
    fn parse(method: &str) -> Result<Method, Refusal> {
        match method {
            "GET" => Ok(Method::Get),
            "HEAD" => Ok(Method::Head),
            "PUT" => Ok(Method::Put),
            "POST" => Ok(Method::Post),
            "DELETE" => Ok(Method::Delete),
            "PATCH" | "TRACE" | "CONNECT" => Err(refusal::NOT_FOR_KEYS),
            _ => Err(refusal::UNKNOWN_METHOD),
        }
    }
}

impl<'n> Place<'n> {
    fn of(name: &'n [u8]) -> Place<'n> {
        match name {
            b"" => Place::Root,
            b"metrics" => Place::Metrics,
            b"reconstruct" => Place::Reconstruct,
            [b'-', b'/', rest @ ..] => Place::Reserved(rest),
            [b'd', b'e', b'a', b'd', b'/', address @ ..] => Place::Dead(address),
            [b'c', b'o', b'n', b'n', b'e', b'c', b't', b'/', address @ ..] => Place::Connect(address),
            _ => Place::Key,
        }
    }
}

fn admin(admin: Admin<'static>) -> Route<'static> {
    Route::Ask(Request::Admin(admin), View::Plain)
}

fn text(address: &[u8]) -> Result<Cow<'static, str>, Refusal> {
    std::str::from_utf8(address).map(|address| Cow::Owned(address.to_owned())).map_err(|_| refusal::BAD_ADDRESS)
}

/// `/-/REST`.
fn reserved<'a>(rest: &[u8], limits: &Limits) -> Result<Route<'a>, Refusal> {
    let about = |key: &[u8], ask: fn(Cow<'static, [u8]>) -> Admin<'static>| {
        check_key(key, limits)?;
        Ok(admin(ask(Cow::Owned(key.to_vec()))))
    };
    match rest {
        b"healthy" => Ok(Route::Say("ok")),
        b"ready" => Ok(Route::Ask(Request::Admin(Admin::Status), View::Ready)),
        b"status" => Ok(Route::Ask(Request::Admin(Admin::Status), View::Plain)),
        [b'o', b'w', b'n', b'e', b'r', b'/', key @ ..] => about(key, Admin::Owner),
        [b'w', b'h', b'y', b'/', key @ ..] => about(key, Admin::Why),
        _ => Err(refusal::NOTHING_HERE),
    }
}

fn on_key<'a>(method: Method, key: Cow<'a, [u8]>, target: &Target<'a>, head: &Head<'a>, limits: &Limits) -> Result<Route<'a>, Refusal> {
    let action = match method {
        Method::Get | Method::Head if head.if_match.are_said() && head.if_none_match.are_said() => return Err(refusal::TWO_CONDITIONS),
        Method::Get | Method::Head if head.if_match.are_too_many() => return Err(refusal::MANY_TAGS),
        Method::Get => Action::Get,
        Method::Head => Action::Look,
        Method::Delete => removal(Wanted::of(head)?),
        Method::Put | Method::Post => return store(method, key, target, head, limits),
    };
    check_key(&key, limits)?;
    Ok(Route::Ask(Request::Key(Command { key, action }), View::Plain))
}

fn store<'a>(method: Method, key: Cow<'a, [u8]>, target: &Target<'a>, head: &Head<'a>, limits: &Limits) -> Result<Route<'a>, Refusal> {
    let mode = Wanted::of(head)?.mode();
    // What is too long to be kept is not sent to the key's owner either: a message has room for a value and not for any header.
    let is_kept = head.media.len() <= MAX_MEDIA && !head.media.eq_ignore_ascii_case(DEFAULT_MEDIA);
    let media = if is_kept { head.media } else { b"" };
    let upload = |key| {
        let (flags, expiry) = (target.flags()?, target.expiry(head.cache_control)?);
        Ok(Upload { key, mode, flags, expiry, media: Cow::Borrowed(media) })
    };
    if head.body.follows() {
        check_key(&key, limits)?;
        return upload(key).map(Route::Upload);
    }
    let mut parts = target.path.split(|byte| *byte == b'/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(key), Some(value), None) if method == Method::Put => {
            let (key, value) = (unescape(key)?, unescape(value)?);
            check_key(&key, limits)?;
            if value.len() > limits.max_value {
                return Err(refusal::VALUE_TOO_LARGE);
            }
            let upload = Upload { media: Cow::Borrowed(b""), ..upload(key)? };
            Ok(Route::Ask(upload.with(value), View::Plain))
        }
        (_, None, _) if head.body == Body::Length(0) => {
            check_key(&key, limits)?;
            upload(key).map(Route::Upload)
        }
        _ if head.body == Body::None => Err(refusal::NO_LENGTH),
        _ => Err(refusal::NO_VALUE),
    }
}

fn check_key(key: &[u8], limits: &Limits) -> Result<(), Refusal> {
    match key.len() {
        0 => Err(refusal::EMPTY_KEY),
        length if length > limits.max_key => Err(refusal::KEY_TOO_LONG),
        _ => Ok(()),
    }
}

fn removal(wanted: Wanted) -> Action<'static> {
    let only = match wanted {
        // It would remove a key that is not there. Whether it is there is all that can be told.
        Wanted::Absent => return Action::Look,
        Wanted::This(version) => Some(Guard::Version(version)),
        Wanted::Anything | Wanted::Present => None,
    };
    let terms = only.map(|guard| Box::new(Terms { only: Some(guard), ..Terms::default() }));
    Action::Delete(Removal { want_old: true, terms })
}

impl Route<'_> {
    /// Is anything different afterwards?
    #[must_use]
    pub fn has_effect(&self) -> bool {
        match self {
            Route::Upload(_) => true,
            Route::Say(_) | Route::Options => false,
            Route::Ask(Request::Key(command), _) => !command.is_read(),
            Route::Ask(Request::Admin(admin), _) => matches!(admin, Admin::Connect(_) | Admin::Dead(_) | Admin::Reconstruct),
        }
    }
}

impl Wanted {
    fn of(head: &Head<'_>) -> Result<Wanted, Refusal> {
        match (head.if_match.are_said(), head.if_none_match.are_said()) {
            (false, false) => Ok(Wanted::Anything),
            (true, true) => Err(refusal::TWO_CONDITIONS),
            (true, false) if head.if_match.are_any() => Ok(Wanted::Present),
            (true, false) => match head.if_match.versions() {
                [] => Err(refusal::CONDITION_FAILED),
                [version] => Ok(Wanted::This(*version)),
                _ => Err(refusal::MANY_TAGS),
            },
            (false, true) if head.if_none_match.are_any() => Ok(Wanted::Absent),
            (false, true) => Err(refusal::NOT_A_STAR),
        }
    }

    fn mode(self) -> StoreMode {
        match self {
            Wanted::Anything => StoreMode::Set,
            Wanted::This(version) => StoreMode::Cas(version),
            Wanted::Present => StoreMode::Replace,
            Wanted::Absent => StoreMode::Add,
        }
    }
}

impl<'a> Upload<'a> {
    /// The write, now that its value is there. The answer to a short value is the value that it replaced.
    #[must_use]
    pub fn with(self, value: Cow<'a, [u8]>) -> Request<'a> {
        let Upload { key, mode, flags, expiry, media } = self;
        let want_old = answers_old(value.len()) && mode != StoreMode::Add;
        let terms = (!media.is_empty()).then(|| Box::new(Terms { media, ..Terms::default() }));
        Request::Key(Command { key, action: Action::Store(Store { mode, value, flags, expiry, want_old, terms }) })
    }

    /// How the answer to a write of so many bytes is to be written.
    #[must_use]
    pub fn form(&self, form: Form, length: usize) -> Form {
        if answers_old(length) || self.mode == StoreMode::Add { form } else { form.without_old() }
    }

    /// The same with a key of its own, to be kept while the value arrives in chunks.
    #[must_use]
    pub fn into_owned(self) -> Upload<'static> {
        let Upload { key, mode, flags, expiry, media } = self;
        Upload { key: Cow::Owned(key.into_owned()), mode, flags, expiry, media: Cow::Owned(media.into_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::communication::http::tags::{Tags, Weak};
    use crate::config::Config;

    fn ask<'a>(method: &'a str, target: &'a str, body: Body) -> Result<Route<'a>, Refusal> {
        ask_as(&Head { method, target, body, ..Head::default() })
    }

    fn ask_as<'a>(head: &Head<'a>) -> Result<Route<'a>, Refusal> {
        let limits = Limits { max_key: 20, max_value: 30, ..Config::default().limits };
        route(head, &limits)
    }

    fn get<'a>(key: &'a [u8]) -> Result<Route<'a>, Refusal> {
        Ok(Route::Ask(Request::Key(Command { key: Cow::Borrowed(key), action: Action::Get }), View::Plain))
    }

    fn upload<'a>(key: &'a [u8]) -> Upload<'a> {
        Upload { key: Cow::Borrowed(key), mode: StoreMode::Set, flags: 0, expiry: Expiry::Never, media: Cow::Borrowed(b"") }
    }

    fn stored<'a>(key: &'a [u8], value: &'a [u8]) -> Result<Route<'a>, Refusal> {
        Ok(Route::Ask(upload(key).with(Cow::Borrowed(value)), View::Plain))
    }

    #[test]
    fn a_path_is_a_key_whatever_it_looks_like() {
        for (target, key) in [
            ("/key", b"key".as_slice()),
            ("/a/b", b"a/b"),
            ("/a%2Fb", b"a/b"),
            ("//", b"/"),
            ("/-", b"-"),
            ("/-x/status", b"-x/status"),
            ("/connect", b"connect"),
            ("/connect/1:2", b"connect/1:2"),
            ("/dead/1:2", b"dead/1:2"),
            ("/reconstruct", b"reconstruct"),
            ("/k?flags=none", b"k"),
            ("/%00%ff+", b"\0\xff+"),
        ] {
            assert_eq!(ask("GET", target, Body::None), get(key), "{target}");
        }
    }

    #[test]
    fn the_value_is_the_body_or_else_behind_the_second_slash() {
        assert_eq!(ask("PUT", "/k/v", Body::None), stored(b"k", b"v"));
        assert_eq!(ask("PUT", "/k/v", Body::Length(0)), stored(b"k", b"v"));
        assert_eq!(ask("PUT", "/k/", Body::None), stored(b"k", b""));
        assert_eq!(ask("PUT", "/a%2Fb/c%2fd%00", Body::None), stored(b"a/b", b"c/d\0"));
        for body in [Body::Length(1), Body::Chunked] {
            assert_eq!(ask("PUT", "/k/v", body), Ok(Route::Upload(upload(b"k/v"))));
            assert_eq!(ask("POST", "/a/b/c", body), Ok(Route::Upload(upload(b"a/b/c"))));
        }
        for method in ["PUT", "POST"] {
            assert_eq!(ask(method, "/k", Body::Length(0)), Ok(Route::Upload(upload(b"k"))));
            assert_eq!(ask(method, "/k", Body::None), Err(refusal::NO_LENGTH));
            assert_eq!(ask(method, "/a/b/c", Body::None), Err(refusal::NO_LENGTH));
            assert_eq!(ask(method, "/a/b/c", Body::Length(0)), Err(refusal::NO_VALUE));
        }
        assert_eq!(ask("POST", "/k/v", Body::None), Err(refusal::NO_LENGTH));
        assert_eq!(ask("POST", "/k/v", Body::Length(0)), Err(refusal::NO_VALUE));
    }

    fn tags(list: &str) -> Tags {
        let mut tags = Tags::default();
        tags.add(list.as_bytes(), Weak::IsForeign).expect("tags");
        tags
    }

    fn mode(if_match: &str, if_none_match: &str) -> Result<StoreMode, Refusal> {
        let mut head = Head { method: "PUT", target: "/k", body: Body::Length(1), ..Head::default() };
        head.if_match = if if_match.is_empty() { Tags::default() } else { tags(if_match) };
        head.if_none_match = if if_none_match.is_empty() { Tags::default() } else { tags(if_none_match) };
        ask_as(&head).map(|route| if let Route::Upload(upload) = route { upload.mode } else { panic!("{route:?}") })
    }

    #[test]
    fn a_condition_is_the_node_s_to_look_at() {
        assert_eq!(mode("", ""), Ok(StoreMode::Set));
        assert_eq!(mode("\"7\"", ""), Ok(StoreMode::Cas(Version(7))));
        assert_eq!(mode("*", ""), Ok(StoreMode::Replace));
        assert_eq!(mode("", "*"), Ok(StoreMode::Add));
        assert_eq!(mode("\"x\"", ""), Err(refusal::CONDITION_FAILED));
        assert_eq!(mode("\"7\",\"8\"", ""), Err(refusal::MANY_TAGS));
        assert_eq!(mode("", "\"7\""), Err(refusal::NOT_A_STAR));
        assert_eq!(mode("*", "*"), Err(refusal::TWO_CONDITIONS));
        let removal = ask_as(&Head { method: "DELETE", target: "/k", if_match: tags("\"7\""), ..Head::default() });
        let terms = Some(Box::new(Terms { only: Some(Guard::Version(Version(7))), ..Terms::default() }));
        let action = Action::Delete(Removal { want_old: true, terms });
        assert_eq!(removal, Ok(Route::Ask(Request::Key(Command { key: Cow::Borrowed(b"k"), action }), View::Plain)));
    }

    #[test]
    fn a_long_value_is_not_answered_with_the_one_it_replaced() {
        for (length, want) in [(MOST_ANSWERED, true), (MOST_ANSWERED + 1, false)] {
            let Request::Key(Command { action: Action::Store(store), .. }) = upload(b"k").with(vec![0; length].into()) else {
                panic!("a store")
            };
            assert_eq!(store.want_old, want);
        }
    }

    #[test]
    fn the_originals_admin_urls_work_by_every_method_but_get() {
        for method in ["HEAD", "PUT", "POST"] {
            let connect = admin(Admin::Connect("127.0.0.1:8002".into()));
            assert_eq!(ask(method, "/connect/127.0.0.1:8002", Body::None), Ok(connect));
            let dead = admin(Admin::Dead("127.0.0.1:8002".into()));
            assert_eq!(ask(method, "/dead/127.0.0.1%3A8002", Body::None), Ok(dead));
            assert_eq!(ask(method, "/reconstruct", Body::None), Ok(admin(Admin::Reconstruct)));
            assert_eq!(ask(method, "/dead/%ff", Body::None), Err(refusal::BAD_ADDRESS));
        }
        assert_eq!(ask("HEAD", "/", Body::None), Ok(admin(Admin::Alive)));
    }

    #[test]
    fn reserved_names_answer_reports_and_take_no_values() {
        let status = |view| Ok(Route::Ask(Request::Admin(Admin::Status), view));
        assert_eq!(ask("GET", "/-/healthy", Body::None), Ok(Route::Say("ok")));
        assert_eq!(ask("GET", "/-/ready", Body::None), status(View::Ready));
        assert_eq!(ask("HEAD", "/%2D/status", Body::None), status(View::Plain));
        assert_eq!(ask("GET", "/metrics", Body::None), status(View::Metrics));
        let owner = admin(Admin::Owner(Cow::Borrowed(b"a/b")));
        assert_eq!(ask("GET", "/-/owner/a%2Fb", Body::None), Ok(owner));
        let why = admin(Admin::Why(Cow::Borrowed(b"key")));
        assert_eq!(ask("GET", "/-/why/key", Body::None), Ok(why));
        for missing in ["/-/", "/-/why", "/-/ready/", "/-/owner"] {
            assert_eq!(ask("GET", missing, Body::None), Err(refusal::NOTHING_HERE), "{missing}");
        }
        for path in ["/", "/metrics", "/-/healthy", "/-/anything", "/-/why/key"] {
            for method in ["PUT", "POST", "DELETE"] {
                assert_eq!(ask(method, path, Body::Length(3)), Err(refusal::READ_ONLY), "{method} {path}");
            }
        }
    }

    #[test]
    fn keys_and_values_have_their_limits() {
        let key = |length: usize| format!("/{}", "k".repeat(length));
        assert!(ask("GET", &key(20), Body::None).is_ok());
        assert_eq!(ask("GET", &key(21), Body::None), Err(refusal::KEY_TOO_LONG));
        assert_eq!(ask("PUT", &key(21), Body::Chunked), Err(refusal::KEY_TOO_LONG));
        assert_eq!(ask("GET", &format!("/-/owner{}", key(21)), Body::None), Err(refusal::KEY_TOO_LONG));
        assert_eq!(ask("GET", "/-/owner/", Body::None), Err(refusal::EMPTY_KEY));
        assert_eq!(ask("PUT", "//v", Body::None), Err(refusal::EMPTY_KEY));
        assert_eq!(ask("PUT", &format!("/k{}", key(31)), Body::None), Err(refusal::VALUE_TOO_LARGE));
        assert_eq!(ask("GET", "/%zz", Body::None), Err(refusal::BAD_ESCAPE));
        assert_eq!(ask("TRACE", "/k", Body::None), Err(refusal::NOT_FOR_KEYS));
        assert_eq!(ask("OPTIONS", "*", Body::None), Ok(Route::Options));
        assert_eq!(ask("get", "/k", Body::None), Err(refusal::UNKNOWN_METHOD));
        assert_eq!(ask("GET", "*", Body::None), Err(refusal::BAD_TARGET));
    }
}
