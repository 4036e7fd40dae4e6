//! Writes to pages of its own image, as many as it is told: for counting what copy on write copies.
//!
//! The image holds a table of 1024 pages, no two alike, aligned to 4 MiB's worth of pages. `write N` writes the first N
//! of them, `check` compares every page with what it must hold, `off` powers off, `reset` starts again. With `pages=N` on
//! the command line, N pages are written at the start, and with `timed=N` how long a first write to each of N pages took is
//! said. Whatever is written, a word of memory outside the image is, too:
//! after a reset both must be as they were at first.
#![no_std]
#![no_main]

use core::cell::UnsafeCell;

use guest_runtime::timer::{self, ENABLE, MASK, Timer};
use guest_runtime::{Machine, console, delay, entry, machine, println, psci};

entry!(main);

/// Bytes of a page, and pages of the table.
const PAGE_SIZE: usize = 4096;
const PAGES: usize = 1024;
/// Words of a page.
const WORDS: usize = PAGE_SIZE / 8;

/// From one timed write to the next: so many turns, of so many microseconds.
const TURNS: usize = 10;
const TURN: u64 = 20;

type Page = [u64; WORDS];

/// The pages as the image has them: part of what is loaded, since they are not zero.
#[repr(C, align(4096))]
struct Table(UnsafeCell<[Page; PAGES]>);

// SAFETY: this guest has one core.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new(fresh_table()));

/// The first word of page `index` in the image; the others repeat it.
const fn original(index: usize) -> u64 {
    (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What page `index` holds once it is written.
fn written(index: usize) -> u64 {
    !original(index)
}

const fn fresh_table() -> [Page; PAGES] {
    let mut table = [[0; WORDS]; PAGES];
    let mut index = 0;
    while index < PAGES {
        table[index] = [original(index); WORDS];
        index += 1;
    }
    table
}

fn page(index: usize) -> *mut u64 {
    TABLE.0.get().cast::<Page>().wrapping_add(index).cast()
}

/// Reads a word of the table as memory has it now.
fn read_word(index: usize, word: usize) -> u64 {
    // SAFETY: inside the table; volatile since the compiler must not take the image's word for it.
    unsafe { page(index).add(word).read_volatile() }
}

/// Writes one word of a page, or all of them in turn.
fn write_page(index: usize) {
    for word in 0..WORDS {
        // SAFETY: inside the table, and nobody holds a reference to it.
        unsafe { page(index).add(word).write_volatile(written(index)) };
    }
}

/// A word of memory that nothing else uses: zero at the start of every life.
fn spare_word() -> *mut u64 {
    let memory = machine::get().memory;
    (memory.start + memory.size / 4 * 3) as *mut u64
}

/// A checksum of the whole table (FNV-1a by words).
fn checksum() -> u64 {
    let words = (0..PAGES).flat_map(|index| (0..WORDS).map(move |word| read_word(index, word)));
    words.fold(0xcbf2_9ce4_8422_2325, |sum: u64, word| (sum ^ word).wrapping_mul(0x100_0000_01b3))
}

/// The first page that does not hold what it must, if `pages` pages have been written.
fn first_wrong_page(pages: usize) -> Option<usize> {
    (0..PAGES).find(|&index| {
        let expected = if index < pages { written(index) } else { original(index) };
        (0..WORDS).any(|word| read_word(index, word) != expected)
    })
}

fn write(pages: usize, already: &mut usize) {
    let pages = pages.min(PAGES);
    (0..pages).for_each(write_page);
    *already = pages.max(*already);
    // SAFETY: memory that is the guest's and nobody's.
    unsafe { spare_word().write_volatile(1) };
    println!("writer: wrote {pages} pages, checksum {:016x}", checksum());
}

/// Writes to one page after another, and says how long the longest write took.
fn time(pages: usize) {
    println!("writer: writes for a time");
    let longest = (0..pages.min(PAGES)).map(time_one).max().unwrap_or_default();
    println!("writer: the longest of {pages} writes took {} us", timer::microseconds(longest));
}

/// How long it takes to write one word of a page, in ticks, a while after the last one.
fn time_one(index: usize) -> u64 {
    for _ in 0..TURNS {
        begin_turn();
        delay::microseconds(TURN);
    }
    begin_turn();
    let before = timer::counter();
    // SAFETY: inside the table, and nobody holds a reference to it.
    unsafe { page(index).write_volatile(written(index)) };
    timer::counter() - before
}

/// Sets a timer that nobody waits for: on a machine that counts instructions the cores take turns at its time at the latest.
fn begin_turn() {
    Timer::Virtual.set_control(ENABLE | MASK);
    Timer::Virtual.set_compare(timer::counter() + timer::ticks(TURN));
}

fn check(pages: usize) {
    // SAFETY: as in `write`.
    if unsafe { spare_word().read_volatile() } != u64::from(pages > 0) {
        return println!("writer: FAIL: memory outside the image is not as it was left");
    }
    match first_wrong_page(pages) {
        None => println!("writer: check ok, {pages} written, {} original", PAGES - pages),
        Some(index) => println!("writer: FAIL: page {index} holds {:016x}", read_word(index, 0)),
    }
}

fn main(machine: &Machine) {
    println!("writer: {PAGES} pages at {:#x}, checksum {:016x}", page(0) as usize, checksum());
    let mut pages = 0;
    check(pages);
    if let Some(count) = machine.argument("pages") {
        write(count, &mut pages);
        check(pages);
    }
    if let Some(count) = machine.argument("timed") {
        return time(count);
    }
    let mut line = [0; 32];
    loop {
        let text = console::read_line("writer> ", &mut line);
        let mut words = text.split_ascii_whitespace();
        match (words.next(), words.next().and_then(|word| word.parse().ok())) {
            (Some("write"), Some(count)) => write(count, &mut pages),
            (Some("check"), None) => check(pages),
            (Some("off"), None) => return println!("writer: off"),
            (Some("reset"), None) => _ = psci::call(psci::SYSTEM_RESET, [0; 3]),
            (None, _) => {}
            _ => println!("writer: write N, check, reset, off"),
        }
    }
}
