//! `cargo fuzz run http`: what is promised is in `fuzz/src/http.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spydercache_fuzz::http::run(data));
