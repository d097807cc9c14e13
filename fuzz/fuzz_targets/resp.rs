//! `cargo fuzz run resp`: what is promised is in `fuzz/src/resp.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spydercache_fuzz::resp::run(data));
