//! Says when it had its core: the stretches of the machine's counter in which nobody took it, from `from=` for `for=`
//! microseconds.
//!
//! It goes on as long again before it says so: others are to see it beside themselves till their end.
#![no_std]
#![no_main]

use guest_runtime::timer::{Timer, microseconds, ticks};
use guest_runtime::{Machine, delay, entry, println};

entry!(main);

/// Stretches that are kept.
const MOST: usize = 64;
/// What nobody needs who looks at the counter again and again, in microseconds: somebody had the core.
const BREAK: u64 = 10;
/// From when, and for how long it looks unless it is told, in microseconds.
const USUAL: [usize; 2] = [0, 50_000];

/// From when to when it ran, in ticks of the machine's counter.
type Stretch = (u64, u64);

fn main(machine: &Machine) {
    let [from, looks] = ["from", "for"].map(|name| machine.argument(name));
    let (from, looks) = (from.unwrap_or(USUAL[0]) as u64, looks.unwrap_or(USUAL[1]) as u64);
    println!("witness: looks");
    while Timer::Physical.counter() < ticks(from) {}
    let mut kept = [(0, 0); MOST];
    let count = look(ticks(looks), &mut kept);
    delay::microseconds(looks);
    for (start, end) in &kept[..count] {
        println!("witness: from {} us for {} us", microseconds(*start), microseconds(end - start));
    }
    println!("witness: done");
}

/// Looks for so many ticks, and keeps whole stretches: neither the one that it begins in nor the one that it ends in.
fn look(time: u64, kept: &mut [Stretch]) -> usize {
    let (begin, gone) = (Timer::Physical.counter(), ticks(BREAK));
    let (mut start, mut last, mut count) = (None, begin, 0);
    while last - begin < time && count < kept.len() {
        let now = Timer::Physical.counter();
        if now - last > gone {
            if let Some(start) = start {
                kept[count] = (start, last);
                count += 1;
            }
            start = Some(now);
        }
        last = now;
    }
    count
}
