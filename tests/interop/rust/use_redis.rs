//! The crate redis, in both of Redis's protocols, a connection a node.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::{Duration, Instant};

use redis::{Client, Commands, Connection, ExistenceCheck, Script, SetExpiry, SetOptions};

const RELEASE: &str = r#"if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end"#;

type Outcome = Result<(), Box<dyn Error>>;

fn values(a: &mut Connection, b: &mut Connection) -> Outcome {
    let big: Vec<u8> = (0..500_000_u32).map(|n| n as u8).collect();
    a.set::<_, _, ()>("big", &big)?;
    assert!(b.get::<_, Vec<u8>>("big")? == big, "500,000 bytes");
    let only_new = SetOptions::default().conditional_set(ExistenceCheck::NX).with_expiration(SetExpiry::EX(60));
    assert_eq!(a.set_options::<_, _, Option<String>>("a", "1", only_new.clone())?, Some("OK".into()));
    assert_eq!(b.set_options::<_, _, Option<String>>("a", "2", only_new)?, None);
    assert_eq!((b.get::<_, String>("a")?, b.get::<_, Option<String>>("none")?), ("1".into(), None));
    assert_eq!((a.incr::<_, _, i64>("n", 5)?, b.decr::<_, _, i64>("n", 10)?), (5, -5));
    a.mset::<_, _, ()>(&[("m:1", 1), ("m:2", 2)])?;
    assert_eq!(b.mget::<_, Vec<Option<i64>>>(&["m:1", "m:2", "m:3"])?, [Some(1), Some(2), None]);
    let found: BTreeSet<String> = b.scan_match::<_, String>("m:*")?.collect::<Result<_, _>>()?;
    assert_eq!(found, BTreeSet::from(["m:1".to_owned(), "m:2".to_owned()]));
    Ok(())
}

fn batches(a: &mut Connection, b: &mut Connection) -> Outcome {
    let (one, two): (i64, i64) = redis::pipe().atomic().set("p", 1).ignore().incr("p", 1).get("p").query(a)?;
    assert_eq!((one, two), (2, 2));
    b.set::<_, _, ()>("lock", "mine")?;
    let release = Script::new(RELEASE);
    assert_eq!(release.key("lock").arg("yours").invoke::<i64>(a)?, 0);
    assert_eq!(release.key("lock").arg("mine").invoke::<i64>(b)?, 1);
    a.pset_ex::<_, _, ()>("t", "x", 300)?;
    let began = Instant::now();
    while b.exists("t")? {
        assert!(began.elapsed() < Duration::from_secs(8), "an expiry");
    }
    assert!(redis::cmd("LPUSH").arg("list").arg("x").exec(a).is_err());
    redis::cmd("FLUSHDB").exec(a)?;
    assert_eq!(redis::cmd("DBSIZE").query::<i64>(b)?, 0);
    Ok(())
}

fn main() -> Outcome {
    let nodes: Vec<String> = std::env::args().skip(1).collect();
    for protocol in ["resp2", "resp3"] {
        let connect = |node: &String| Client::open(format!("redis://{node}/?protocol={protocol}"))?.get_connection();
        let mut connections = nodes.iter().map(connect).collect::<Result<Vec<_>, _>>()?;
        let [a, b, ..] = connections.as_mut_slice() else { panic!("two nodes at least") };
        values(a, b)?;
        batches(b, a)?;
    }
    Ok(())
}
