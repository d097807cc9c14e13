//! Who may ask, on the real program: passwords in each dialect, and the secret of a pool.

use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::http::Http;
use crate::harness::node::{Node, Setup, free_ports};
use crate::harness::pool::{Pool, await_up};

const LOGIN: &str = "set any 0 0 11\r\nuser secret\r\n";
const WRONG: &str = "set any 0 0 11\r\nuser Secret\r\n";
/// `user:secret` and `user:Secret`, as HTTP shows them.
const BASIC: &str = "Authorization: Basic dXNlcjpzZWNyZXQ=\r\n";
const WRONG_BASIC: &str = "Authorization: Basic dXNlcjpTZWNyZXQ=\r\n";

fn guarded() -> Node {
    Setup::new().set("security.password=secret").start()
}

/// Everything that a connection answers until it closes.
fn told(node: &Node, said: impl AsRef<[u8]>) -> String {
    let mut client = node.client();
    client.send(said);
    let _ = client.half_close();
    String::from_utf8(client.rest()).expect("text")
}

fn http(method_and_path: &str, headers: &str) -> String {
    format!("{method_and_path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

#[test]
fn a_stranger_is_told_nothing_and_changes_nothing_until_the_password_is_shown() {
    let node = guarded();
    let said = format!("get k\r\nversion\r\nstats\r\nhelp\r\nflush_all\r\n{WRONG}get k\r\n{LOGIN}set k 0 0 1\r\nv\r\nget k\r\n");
    let refused = "CLIENT_ERROR unauthenticated\r\n";
    let expected =
        [&refused.repeat(5), "CLIENT_ERROR authentication failure\r\n", refused, "STORED\r\nSTORED\r\nVALUE k 0 1\r\nv\r\nEND\r\n"];
    assert_eq!(told(&node, said), expected.concat());
    let mut client = node.client();
    client.send(LOGIN);
    assert_eq!(client.line(), "STORED");
    assert_eq!((client.stat("auth_cmds"), client.stat("auth_errors"), client.stat("cmd_flush")), (3, 1, 0));
}

#[test]
fn who_guesses_passwords_is_closed_and_the_others_are_served() {
    let node = guarded();
    let answered = told(&node, [WRONG.repeat(3), LOGIN.to_owned(), "version\r\n".to_owned()].concat());
    assert_eq!(answered, "CLIENT_ERROR authentication failure\r\n".repeat(3));
    assert_eq!(told(&node, LOGIN), "STORED\r\n");
}

#[test]
fn http_shows_its_password_with_each_request() {
    let node = guarded();
    let mut client = node.client();
    let statuses = [
        (http("PUT /k/v", BASIC), "201"),
        (http("GET /k", ""), "401"),
        (http("GET /k", BASIC), "200"),
        (http("GET /k", WRONG_BASIC), "401"),
        (http("PUT /k", "Content-Length: 2\r\n") + "hi", "401"),
        (http("GET /metrics", ""), "401"),
        (http("HEAD /reconstruct", ""), "401"),
        (http("GET /-/healthy", ""), "200"),
        (http("GET /-/ready", ""), "200"),
        (http("GET /-/status", ""), "401"),
    ];
    client.send(statuses.iter().map(|(request, _)| request.as_str()).collect::<String>());
    let _ = client.half_close();
    let answered = String::from_utf8(client.rest()).expect("text");
    let seen: Vec<&str> = answered.split("HTTP/1.1 ").skip(1).map(|response| &response[..3]).collect();
    assert_eq!(seen, statuses.map(|(_, status)| status), "{answered}");
    assert_eq!(answered.matches("WWW-Authenticate: Basic realm=").count(), 6);
}

#[test]
fn without_a_password_http_credentials_mean_nothing() {
    let node = Setup::new().start();
    let mut http = Http::connect(&node);
    assert_eq!(http.ask("PUT", "/k/v").status, 201);
    assert!(told(&node, self::http("GET /k", WRONG_BASIC)).starts_with("HTTP/1.1 200"));
}

#[test]
fn nodes_that_know_the_secret_are_a_pool_and_one_that_does_not_stays_outside() {
    let pool = Pool::start_with(|setup| setup.set("security.pool_secret=shared").set("network.mirrors=1"));
    pool.await_whole();
    let [port] = free_ports();
    for secret in ["", "other"] {
        let setup = Setup::new().port(port).set("local.node_id=4").set(format!("network.peers={}", pool.nodes[0].name));
        let stranger = setup.set(format!("security.pool_secret={secret}")).start();
        eventually("the stranger is told why", || stranger.log().contains("would not have this node: this pool has a secret"));
        await_up(&stranger, 1);
        await_up(&pool.nodes[0], 3);
    }
}

#[test]
fn who_speaks_like_a_node_without_the_secret_is_hung_up_on() {
    let node = guarded();
    for frame in [
        &b"\0\0\0\x04\x93\x08\x01\x00"[..],                            // Flush
        b"\0\0\0\x02\x91\x09",                                         // nothing
        b"\0\0\0\x24\x92\x17\xc4\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", // a Proof
        b"\0\xff\xff\xff",                                             // a frame of 16 MB
    ] {
        let mut client = node.client();
        client.send(frame);
        let answered = client.rest();
        assert!(answered.is_empty() || answered.windows(8).any(|bytes| bytes == b"a secret"), "{}", answered.escape_ascii());
    }
    let mut client: Client = node.client();
    client.send(LOGIN);
    assert_eq!((client.line().as_str(), client.stat("cmd_flush")), ("STORED", 0));
}
