//! Giving devices away: on real trees, on small ones, and on damaged ones.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

#[path = "../discovery/common.rs"]
#[allow(dead_code, reason = "the discovery's tests use the rest")]
mod common;
mod damaged;
mod dma;
mod real;
mod small;
mod sub_page;
