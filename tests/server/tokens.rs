//! Who makes a value anew, in a pool: whatever nodes they ask, of all clients one is told that it has won, and the death of the key's owner
//! does not make it two.

use crate::harness::client::Client;
use crate::harness::mirrored::Mirrored;
use crate::harness::node::Node;

/// Clients that ask at once, one after the other at each node.
const CLIENTS: usize = 12;

/// All ask before the first answer is read; how many win.
fn winners<'a>(nodes: impl Iterator<Item = &'a Node>, command: &str) -> usize {
    let nodes: Vec<&Node> = nodes.collect();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|number| nodes[number % nodes.len()].client()).collect();
    clients.iter_mut().for_each(|client| client.send(format!("{command}\r\n")));
    let answers: Vec<String> = clients.iter_mut().map(Client::line).collect();
    let told = |letter: &str| answers.iter().filter(|answer| answer.split(' ').any(|word| word == letter)).count();
    let (won, lost) = (told("W"), told("Z"));
    assert_eq!(won + lost, CLIENTS, "{answers:?}");
    won
}

/// A key that the third node owns.
fn key_of_the_third(pool: &Mirrored, prefix: &str) -> String {
    (0..1_000).map(|number| format!("{prefix}{number}")).find(|key| pool.owner(0, key) == 2).expect("a fair share")
}

#[test]
fn one_client_wins_a_missing_key_at_whatever_node_it_asks() {
    let pool = Mirrored::start(3);
    for number in 0..20 {
        assert_eq!(winners(pool.running(), &format!("mg missing{number} s N30")), 1);
    }
}

#[test]
fn one_client_wins_a_stale_value_at_whatever_node_it_asks() {
    let pool = Mirrored::start(3);
    let mut client = pool.nodes[0].client();
    for number in 0..20 {
        assert_eq!(client.set(&format!("stale{number}"), "v"), "STORED");
        assert_eq!(client.ask(&format!("md stale{number} I T30")), "HD");
        assert_eq!(winners(pool.running(), &format!("mg stale{number} s")), 1);
    }
}

#[test]
fn what_was_won_stays_won_when_the_owner_dies() {
    let mut pool = Mirrored::start(3);
    let (missing, stale) = (key_of_the_third(&pool, "missing"), key_of_the_third(&pool, "stale"));
    let mut client = pool.nodes[0].client();
    assert_eq!(client.set(&stale, "v"), "STORED");
    assert_eq!(client.ask(&format!("md {stale} I")), "HD");
    assert_eq!(client.ask(&format!("mg {stale} s")), "HD s1 X W");
    assert_eq!(client.ask(&format!("mg {missing} s N300")), "HD s0 W");
    pool.nodes[2].kill();
    assert_eq!(winners(pool.running(), &format!("mg {missing} s N300")), 0);
    assert_eq!(winners(pool.running(), &format!("mg {stale} s")), 0);
}

#[test]
fn what_nobody_has_won_is_won_once_after_the_owner_died() {
    let mut pool = Mirrored::start(3);
    let stale = key_of_the_third(&pool, "stale");
    let mut client = pool.nodes[0].client();
    assert_eq!(client.set(&stale, "v"), "STORED");
    assert_eq!(client.ask(&format!("md {stale} I")), "HD");
    pool.nodes[2].kill();
    assert_eq!(winners(pool.running(), &format!("mg {stale} s")), 1);
}

/// A mark leaves the value its version: who returns with that version in its journal has the value and not the mark.
#[test]
fn what_was_won_while_a_mirror_was_away_stays_won_when_it_follows_as_owner() {
    let mut pool = Mirrored::start(2);
    let mut client = pool.nodes[0].client();
    for (key, removal) in [("lasts", "md lasts I"), ("ends", "md ends I T3000")] {
        assert_eq!((client.set(key, "v"), client.ask(removal)), ("STORED".into(), "HD".into()));
    }
    pool.nodes[1].kill();
    for key in ["lasts", "ends"] {
        assert_eq!(client.ask(&format!("mg {key} s")), "HD s1 X W");
    }
    pool.nodes[1].start();
    pool.await_redundant();
    pool.nodes[0].kill();
    for key in ["lasts", "ends"] {
        assert_eq!(winners(pool.running(), &format!("mg {key} s")), 0, "{key}");
    }
}
