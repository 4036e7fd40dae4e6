//! Measures copy on write: the same image as its neighbour's, with pages in it to be written.
#![no_std]
#![no_main]

guest_runtime::entry!(bench_guest::run_sharing);
