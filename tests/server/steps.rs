//! Redis's commands that take several steps, while others get in between them at other nodes.

use crate::harness::client::Client;
use crate::harness::node::Node;
use crate::harness::pool::Pool;
use crate::redis::{ask, reply};

/// Two clients at each node.
fn clients(pool: &Pool) -> Vec<Client> {
    pool.nodes.iter().chain(&pool.nodes).map(Node::client).collect()
}

#[test]
fn no_bit_is_lost_if_all_are_set_at_once_through_all_nodes() {
    const BITS_EACH: usize = 40;
    let pool = Pool::start();
    let mut clients = clients(&pool);
    let set = |place: usize| format!("SETBIT bits {place} 1");
    let place = |number: usize, round: usize| round * 6 + number;
    for (number, client) in clients.iter_mut().enumerate() {
        client.send((0..BITS_EACH).map(|round| set(place(number, round)) + "\r\n").collect::<String>());
    }
    // Who is far from the owner may be overtaken each time, and is told so.
    let mut overtaken = Vec::new();
    for (number, client) in clients.iter_mut().enumerate() {
        for round in 0..BITS_EACH {
            match &reply(client)[..] {
                "-ERR other clients change this key all the time: nothing was done" => overtaken.push(place(number, round)),
                said => assert_eq!(said, ":0"),
            }
        }
    }
    overtaken.into_iter().for_each(|place| assert_eq!(ask(&mut clients[0], &set(place)), ":0"));
    assert_eq!(ask(&mut clients[0], "BITCOUNT bits"), format!(":{}", 6 * BITS_EACH));
}

#[test]
fn of_those_who_want_the_same_keys_together_one_at_most_gets_any() {
    let pool = Pool::start();
    let keys: Vec<String> = (0..3).map(|number| pool.key_of(number, "together")).collect();
    let mut clients = clients(&pool);
    let mut wins = 0;
    for _ in 0..50 {
        for (number, client) in clients.iter_mut().enumerate() {
            let pairs: String = (0..3).map(|turn| format!(" {} {number}", keys[(turn + number) % 3])).collect();
            client.send(format!("MSETNX{pairs}\r\n"));
        }
        let said: Vec<String> = clients.iter_mut().map(reply).collect();
        let winner = said.iter().position(|said| said == ":1");
        assert!(said.iter().filter(|said| *said == ":1").count() <= 1, "{said:?}");
        let value = winner.map_or_else(|| "nil".to_owned(), |number| format!("\"{number}\""));
        assert_eq!(ask(&mut clients[0], &format!("MGET {}", keys.join(" "))), format!("[{value}, {value}, {value}]"));
        wins += usize::from(winner.is_some());
        assert!(ask(&mut clients[0], &format!("DEL {}", keys.join(" "))).starts_with(':'));
    }
    assert!(wins > 0, "nobody ever wins");
}

#[test]
fn a_value_that_goes_from_owner_to_owner_takes_every_increment_along() {
    let pool = Pool::start();
    let keys: Vec<String> = (0..3).map(|number| pool.key_of(number, "counter")).collect();
    let (mut renaming, mut counting) = (pool.nodes[0].client(), pool.nodes[1].client());
    assert_eq!(ask(&mut renaming, &format!("SET {} 1", keys[0])), "OK");
    let mut sum = 1;
    for round in 0..60 {
        let (from, to) = (&keys[round % 3], &keys[(round + 1) % 3]);
        renaming.send(format!("RENAME {from} {to}\r\n"));
        // It comes before the value leaves, and is in it, or while it does, and then the value is moved anew; or it finds nothing.
        counting.send(format!("EVAL {} 1 {from} 1\r\n", COUNT_IF_ANY));
        assert_eq!(reply(&mut renaming), "OK");
        sum += i64::from(reply(&mut counting).starts_with(':'));
        assert_eq!(ask(&mut counting, &format!("GET {from}")), "nil");
        assert_eq!(ask(&mut counting, &format!("GET {to}")), format!("\"{sum}\""));
    }
    assert!(sum > 1, "no increment was ever in time");
}

/// django-redis's increment of what is there.
const COUNT_IF_ANY: &str = "\"local exists = redis.call('EXISTS', KEYS[1]) if (exists == 1) then return redis.call('INCRBY', KEYS[1], ARGV[1]) else return false end\"";
