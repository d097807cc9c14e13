//! `cargo fuzz run peer`: what is promised is in `fuzz/src/peer.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spydercache_fuzz::peer::run(data));
