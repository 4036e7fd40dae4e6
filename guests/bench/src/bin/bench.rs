//! Measures every operation but copy on write, which needs another guest from the same image.
#![no_std]
#![no_main]

guest_runtime::entry!(bench_guest::run);
