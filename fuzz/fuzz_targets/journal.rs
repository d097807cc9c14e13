//! `cargo fuzz run journal`: what is promised is in `fuzz/src/journal.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spydercache_fuzz::journal::run(data));
