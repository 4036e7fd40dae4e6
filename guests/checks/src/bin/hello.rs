//! Says what machine it runs on and echoes the lines it is sent; `off` powers it off.
#![no_std]
#![no_main]

use guest_runtime::{Machine, console, entry, print, println, register};

entry!(main);

/// The longest line that is kept; what is longer is cut.
const LINE_SIZE: usize = 128;

fn main(machine: &Machine) {
    println!(
        "hello: {} cores, {} MiB of memory, GIC{:?}",
        machine.cores,
        machine.memory.size >> 20,
        machine.gic
    );
    loop {
        print!("hello> ");
        let mut line = [0; LINE_SIZE];
        let length = read_line(&mut line);
        match line.get(..length) {
            Some(b"off") => break,
            Some(line) => println!("echo: {}", line.escape_ascii()),
            None => {}
        }
    }
    println!("hello: off");
}

/// Reads a line and shows it as it comes; returns its length without the line end.
fn read_line(line: &mut [u8]) -> usize {
    let mut length = 0;
    loop {
        match console::read_byte() {
            Some(b'\r' | b'\n') => break,
            Some(byte) => {
                print!("{}", byte.escape_ascii());
                if let Some(place) = line.get_mut(length) {
                    *place = byte;
                    length += 1;
                }
            }
            None => register::yield_core(),
        }
    }
    println!();
    length
}
