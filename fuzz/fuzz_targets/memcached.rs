//! `cargo fuzz run memcached`: what is promised is in `fuzz/src/memcached.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spydercache_fuzz::memcached::run(data));
