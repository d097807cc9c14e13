//! The real program on free ports: its dialects, its pools, its faults, its scripts and its tools.
//!
//! [`harness`] starts and ends what is needed. Nothing here is told when to be ready by a clock: every test waits for what it needs.

mod access;
mod bad_input;
mod bulk;
mod clients;
mod defects;
mod faults;
mod harness;
mod keys;
mod mirrors;
mod original;
mod pool;
mod redis;
mod reports;
mod scripts;
mod steps;
mod tokens;
mod tools;
mod transcripts;
mod uploads;
