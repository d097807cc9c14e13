//! The configuration: any text is understood or refused with a reason, and what was understood is good or refused with a reason.

use std::str;

use spydercache::config::Config;

/// Holds the loader to its promises.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match Config::parse(text) {
        Ok(mut config) => check(&mut config),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let mut config = Config::default();
    for line in text.lines() {
        if let Err(error) = config.set(line) {
            assert!(!error.to_string().is_empty());
        }
    }
    check(&mut config);
}

/// What is good once is good for ever.
fn check(config: &mut Config) {
    match config.validate() {
        Ok(()) => {
            let good = config.clone();
            config.validate().expect("it was good before");
            assert_eq!(*config, good);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
