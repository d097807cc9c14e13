//! `cargo fuzz run binary`: what is promised is in `fuzz/src/binary.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spydercache_fuzz::binary::run(data));
