//! The crate memcache, over memcached's text and binary protocols, with all nodes in one client and with one.

use std::collections::HashMap;
use std::error::Error;
use std::time::{Duration, Instant};

use memcache::Client;

type Outcome = Result<(), Box<dyn Error>>;

fn values(a: &Client, b: &Client) -> Outcome {
    let big: Vec<u8> = (0..500_000_u32).map(|n| n as u8).collect();
    a.set("big", big.as_slice(), 60)?;
    assert!(b.get::<Vec<u8>>("big")? == Some(big), "500,000 bytes");
    a.set("a", "1", 60)?;
    // Neither does anything. The crate says so in an error over the binary protocol, and not at all over the text protocol.
    (b.add("a", "2", 60).ok(), b.replace("none", "2", 60).ok());
    b.append("a", "2")?;
    a.prepend("a", "0")?;
    assert_eq!((b.get::<String>("a")?, a.get::<String>("none")?), (Some("012".into()), None));
    let (_, _, version) = a.gets::<(Vec<u8>, u32, Option<u64>)>(&["a"])?.remove("a").expect("what was set");
    let version = version.expect("a version");
    assert_eq!((b.cas("a", "new", 60, version)?, a.cas("a", "newer", 60, version)?), (true, false));
    a.set("n", 10, 60)?;
    assert_eq!((b.increment("n", 5)?, a.decrement("n", 20)?), (15, 0));
    Ok(())
}

fn many_and_times(a: &Client, b: &Client) -> Outcome {
    let keys: Vec<String> = (0..300).map(|n| format!("many:{n}")).collect();
    keys.iter().try_for_each(|key| a.set(key, key.as_str(), 60))?;
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let got: HashMap<String, String> = b.gets(&keys)?;
    assert!(got.len() == keys.len() && got.iter().all(|(key, value)| key == value), "get of many");
    a.set("t", "x", 1)?;
    a.set("kept", "x", 1)?;
    assert!(b.touch("kept", 600)?);
    let began = Instant::now();
    while a.get::<String>("t")?.is_some() {
        assert!(began.elapsed() < Duration::from_secs(8), "an expiry");
    }
    assert!(b.delete("kept")? && !a.delete("kept")?);
    a.flush()?;
    assert_eq!(b.get::<String>("big")?, None);
    Ok(())
}

fn main() -> Outcome {
    let nodes: Vec<String> = std::env::args().skip(1).collect();
    for protocol in ["ascii", "binary"] {
        let url = |node: &String| format!("memcache://{node}?protocol={protocol}&timeout=10");
        let (one, all) = (memcache::connect(url(&nodes[0]))?, memcache::connect(nodes.iter().map(url).collect::<Vec<_>>())?);
        for (a, b) in [(&one, &all), (&all, &one)] {
            values(a, b)?;
            many_and_times(b, a)?;
        }
    }
    Ok(())
}
