//! Says what machine it runs on and echoes the lines it is sent; `off` powers it off.
#![no_std]
#![no_main]

use guest_runtime::{Machine, console, entry, println};

entry!(main);

fn main(machine: &Machine) {
    println!("hello: {} cores, {} MiB of memory, GIC{:?}", machine.cores, machine.memory.size >> 20, machine.gic);
    let mut line = [0; 128];
    loop {
        match console::read_line("hello> ", &mut line) {
            "off" => break,
            text => println!("echo: {text}"),
        }
    }
    println!("hello: off");
}
