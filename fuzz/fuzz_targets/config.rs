//! `cargo fuzz run config`: what is promised is in `fuzz/src/config.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spydercache_fuzz::config::run(data));
