//! Two nodes, and whoever else can say something on a link.

use std::net::SocketAddr;

use super::*;
use crate::node::message::{Introduction, PROTOCOL_VERSION, RequestId};
use crate::node::reply::Reply;
use crate::node::testing;
use crate::node::{ClientId, Settings};
use crate::time::{Mono, Wall};
use crate::topology::MemberId;
use crate::topology::membership::{Card, Reason, Standing};

const NOW: Now = Now { mono: Mono(1_000), wall: Wall(1_000) };
/// Both ends call the link so.
const LINK: LinkId = LinkId(7);
const OTHER: MemberId = MemberId(1);

/// What a node has said on the link, and whether it has hung up.
#[derive(Default)]
struct Said {
    messages: Vec<Message<'static>>,
    hung_up: bool,
}

impl Outputs for Said {
    fn reply(&mut self, _client: ClientId, _key: &[u8], _reply: &Reply<'_>) {}
    fn send(&mut self, _link: LinkId, message: &Message<'_>) {
        self.messages.push(match message {
            Message::Hello(introduction) => Message::Hello(owned(introduction)),
            Message::Welcome(introduction) => Message::Welcome(owned(introduction)),
            Message::Challenge { nonce, name } => Message::Challenge { nonce: *nonce, name: Cow::Owned(name.to_string()) },
            Message::Proof(proof) => Message::Proof(*proof),
            Message::Refused { reason } => Message::Refused { reason: Cow::Owned(reason.to_string()) },
            Message::Ping { number, pulse } => Message::Ping { number: *number, pulse: *pulse },
            other => panic!("{other:?}"),
        });
    }
    fn dial(&mut self, _member: MemberId, _address: SocketAddr) {}
    fn hang_up(&mut self, _link: LinkId) {
        self.hung_up = true;
    }
    fn replay(&mut self) {}
    fn keep(&mut self, _view: &[u8]) {}
}

fn owned(introduction: &Introduction<'_>) -> Introduction<'static> {
    let Introduction { protocol, pool, me, others, copies } = introduction.clone();
    Introduction { protocol, pool: Cow::Owned(pool.into_owned()), me, others, copies }
}

fn card(port: u16) -> Card {
    testing::card(port, 1)
}

fn node(port: u16, secret: &str) -> Node {
    let peers = vec![card(16_003 - port).address];
    let settings = Settings { peers, secret: Secret::new(secret), ..testing::settings(card(port)) };
    Node::new(settings, None, None, NOW)
}

/// What a node says to this.
fn say(node: &mut Node, message: &Message<'_>) -> Said {
    let mut said = Said::default();
    node.on_message(NOW, LINK, message, &mut said);
    said
}

/// Lets `dialler` dial `acceptor`, and both talk until nobody has anything to say. Everything said, in order.
fn meet(dialler: &mut Node, acceptor: &mut Node) -> Vec<Message<'static>> {
    let mut said = Said::default();
    dialler.on_tick(NOW, &mut said);
    dialler.on_dialled(NOW, OTHER, LINK, &mut said);
    let (mut all, mut to_acceptor, mut under_way) = (Vec::new(), true, said.messages);
    while !under_way.is_empty() {
        let listener = if to_acceptor { &mut *acceptor } else { &mut *dialler };
        let mut answers = Said::default();
        for message in under_way {
            if !matches!(message, Message::Ping { .. }) {
                listener.on_message(NOW, LINK, &message, &mut answers);
            }
            all.push(message);
        }
        (to_acceptor, under_way) = (!to_acceptor, answers.messages);
    }
    all
}

fn standing(node: &Node) -> Standing {
    node.membership().get(OTHER).standing
}

#[test]
fn nodes_with_the_same_secret_prove_it_and_meet() {
    let (mut dialler, mut acceptor) = (node(8001, "secret"), node(8002, "secret"));
    let said = meet(&mut dialler, &mut acceptor);
    assert!(matches!(
        said[..],
        [
            Message::Challenge { .. },
            Message::Challenge { .. },
            Message::Proof(_),
            Message::Hello(_),
            Message::Proof(_),
            Message::Welcome(_),
            ..
        ]
    ));
    assert_eq!(standing(&dialler), Standing::Up);
    assert!(acceptor.knows(LINK) && dialler.trusts(LINK) && acceptor.trusts(LINK));
}

#[test]
fn nodes_that_differ_refuse_each_other_and_say_why() {
    for (dialling, accepting, why) in [("secret", "other", NO_PROOF), ("secret", "", NO_SECRET), ("", "secret", NO_PROOF)] {
        let (mut dialler, mut acceptor) = (node(8001, dialling), node(8002, accepting));
        let said = meet(&mut dialler, &mut acceptor);
        let reasons: Vec<_> = said.iter().filter(|message| matches!(message, Message::Refused { .. })).collect();
        assert_eq!(reasons.first(), Some(&&Message::Refused { reason: why.into() }), "{dialling:?} {accepting:?}");
        assert_eq!(standing(&dialler), Standing::Down(Reason::Unfit));
        assert!(!acceptor.knows(LINK));
    }
}

#[test]
fn before_the_proofs_every_other_word_ends_the_link_and_changes_nothing() {
    let introduction =
        || Introduction { protocol: PROTOCOL_VERSION, pool: "pool".into(), me: card(9_999), others: vec![card(9_998)], copies: 1 };
    for message in [
        Message::Hello(introduction()),
        Message::Welcome(introduction()),
        Message::Members(vec![card(9_997)]),
        Message::Flush { id: RequestId(1), delay_ms: 0 },
        Message::Declare { name: "127.0.0.1:8001".into(), incarnation: 1, dead: true },
        Message::Ping { number: 1, pulse: Default::default() },
        Message::Proof([0; 32]),
    ] {
        let mut acceptor = node(8002, "secret");
        let said = say(&mut acceptor, &message);
        assert!(said.hung_up && said.messages == [Message::Refused { reason: NO_PROOF.into() }], "{message:?}");
        assert!(acceptor.membership().len() == 2 && !acceptor.knows(LINK), "{message:?}");
        assert_eq!(standing(&acceptor), Standing::Unknown);
    }
}

#[test]
fn a_proof_is_good_for_one_exchange_and_one_role() {
    let (mut dialler, mut acceptor) = (node(8001, "secret"), node(8002, "secret"));
    let said = meet(&mut dialler, &mut acceptor);
    let [challenge, _, dials, hello, accepts, ..] = &said[..] else { panic!("{said:?}") };
    acceptor.on_closed(NOW, LINK, &mut Said::default());
    for proof in [dials, accepts] {
        let answer = say(&mut acceptor, challenge);
        assert!(matches!(answer.messages[..], [Message::Challenge { .. }]) && answer.messages[0] != said[1], "nonces are never repeated");
        assert!(say(&mut acceptor, proof).hung_up, "what was said on another link proves nothing here");
        assert!(say(&mut acceptor, hello).hung_up && !acceptor.knows(LINK));
    }
}

#[test]
fn a_nodes_own_challenge_and_proof_sent_back_to_it_prove_nothing() {
    let mut dialler = node(8001, "secret");
    let mut said = Said::default();
    dialler.on_tick(NOW, &mut said);
    dialler.on_dialled(NOW, OTHER, LINK, &mut said);
    let answer = say(&mut dialler, &said.messages[0]);
    let [proof @ Message::Proof(_), Message::Hello(_)] = &answer.messages[..] else { panic!("{:?}", answer.messages) };
    assert!(say(&mut dialler, proof).hung_up && !dialler.trusts(LINK));
    assert_eq!(standing(&dialler), Standing::Down(Reason::Unfit));
}

#[test]
fn who_has_proven_to_be_one_node_cannot_introduce_itself_as_another() {
    let (mut dialler, mut acceptor) = (node(8001, "secret"), node(8002, "secret"));
    let said = meet(&mut dialler, &mut acceptor);
    let Message::Hello(introduction) = &said[3] else { panic!("{said:?}") };
    let other = Introduction { me: card(9_999), ..introduction.clone() };
    assert!(say(&mut acceptor, &Message::Hello(other)).hung_up);
    assert_eq!(acceptor.membership().len(), 2);
}

#[test]
fn a_link_that_proves_nothing_leaves_nothing_behind() {
    let mut acceptor = node(8002, "secret");
    let long = Message::Challenge { nonce: [1; NONCE_BYTES], name: "n".repeat(MAX_NAME + 1).into() };
    assert!(say(&mut acceptor, &long).hung_up && acceptor.proving.links.is_empty());
    let challenge = Message::Challenge { nonce: [1; NONCE_BYTES], name: "n".into() };
    assert!(!say(&mut acceptor, &challenge).hung_up);
    assert!(say(&mut acceptor, &challenge).hung_up && acceptor.proving.links.is_empty(), "a second challenge is one too many");
    say(&mut acceptor, &challenge);
    acceptor.on_closed(NOW, LINK, &mut Said::default());
    assert!(acceptor.proving.links.is_empty());
}
