//! Says when it had its core: the stretches of the machine's counter in which nobody took it, from `from=` for `for=`
//! microseconds.
//!
//! It goes on as long again before it says so: others are to see it beside themselves till their end. It also says how much
//! of its time was gone meanwhile, and how much was stolen by what it is told (DEN0057A); and then, `rests=` times, waits.
#![no_std]
#![no_main]

use guest_runtime::psci::{self, Conduit};
use guest_runtime::timer::{Timer, microseconds, ticks};
use guest_runtime::{Machine, delay, entry, gic, mmio, println, register};

entry!(main);

/// Stretches that are kept.
const MOST: usize = 64;
/// What nobody needs who looks at the counter again and again, in microseconds: somebody had the core.
const BREAK: u64 = 10;
/// From when, and for how long it looks unless it is told, in microseconds.
const USUAL: [usize; 2] = [0, 50_000];
/// How long a rest is, in microseconds.
const REST: u64 = 5_000;
/// The function that tells where the stolen time is (DEN0057A 3.3.2).
const PV_TIME_ST: u64 = 0xc500_0021;

/// From when to when it ran, in ticks of the machine's counter.
type Stretch = (u64, u64);

fn main(machine: &Machine) {
    let [from, looks] = ["from", "for"].map(|name| machine.argument(name));
    let (from, looks) = (from.unwrap_or(USUAL[0]) as u64, looks.unwrap_or(USUAL[1]) as u64);
    println!("witness: looks");
    while Timer::Physical.counter() < ticks(from) {}
    let mut kept = [(0, 0); MOST];
    let before = stolen();
    let (count, gone) = look(ticks(looks), &mut kept);
    let after = stolen();
    delay::microseconds(looks);
    for (start, end) in &kept[..count] {
        println!("witness: from {} us for {} us", microseconds(*start), microseconds(end - start));
    }
    if let (Some(before), Some(after)) = (before, after) {
        println!("witness: gone {} us, stolen {} us", microseconds(gone), after - before);
        rest(machine, machine.argument("rests").unwrap_or(0) as u64);
    }
    println!("witness: done");
}

/// How much of this core's time was stolen, in microseconds, if it is told.
fn stolen() -> Option<u64> {
    let place = psci::call_raw(Conduit::Hvc, PV_TIME_ST, [0; 3]) as i64;
    let told = usize::try_from(place).ok()? + 8;
    Some(mmio::read64(told) / 1000)
}

/// Waits so many times, and says how much was stolen of that.
fn rest(machine: &Machine, rests: u64) {
    gic::start(machine);
    gic::enable(machine, Timer::Virtual.interrupt());
    let before = stolen();
    for _ in 0..rests {
        Timer::Virtual.start(REST);
        register::wait_for_interrupt();
        Timer::Virtual.stop();
        if let Some(taken) = gic::acknowledge(machine) {
            gic::end(machine, taken);
        }
    }
    let stolen = stolen().unwrap_or(0) - before.unwrap_or(0);
    println!("witness: rested {} us, stolen {stolen} us", rests * REST);
}

/// Looks for so many ticks, and keeps whole stretches: neither the one that it begins in nor the one that it ends in. How many
/// these are, and the ticks in which somebody had the core.
fn look(time: u64, kept: &mut [Stretch]) -> (usize, u64) {
    let (begin, pause) = (Timer::Physical.counter(), ticks(BREAK));
    let (mut start, mut last, mut count, mut gone) = (None, begin, 0, 0);
    while last - begin < time && count < kept.len() {
        let now = Timer::Physical.counter();
        if now - last > pause {
            gone += now - last;
            if let Some(start) = start {
                kept[count] = (start, last);
                count += 1;
            }
            start = Some(now);
        }
        last = now;
    }
    (count, gone)
}
