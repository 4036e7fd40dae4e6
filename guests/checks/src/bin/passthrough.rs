//! A device of the machine in a guest's hands: the PL031 real-time clock (Arm DDI 0224) and its interrupt, as QEMU's `virt`
//! has them. On the command line: `at=ADDRESS` where the guest finds it, `clock=SECONDS` what it shows about now (all
//! decimal); `owner=0` for a guest that must not have it; `resets=1` to reset the machine with the interrupt pending, and
//! then with it active, before anything is checked.
#![no_std]
#![no_main]

use guest_runtime::catch::catch;
use guest_runtime::checks::{self, Outcome};
use guest_runtime::gic::{self, v3};
use guest_runtime::machine::GicVersion;
use guest_runtime::register::{mask_interrupts, wait_for_interrupt};
use guest_runtime::{Machine, delay, ensure, ensure_equal, entry, list, machine, mmio, println, psci, skip, smp};

entry!(main);

/// Where `virt` has the clock.
const USUAL_PLACE: usize = 0x0901_0000;
/// SPI 2.
const INTERRUPT: u32 = 34;
const DATA: usize = 0x00;
const MATCH: usize = 0x04;
const LOAD: usize = 0x08;
const INTERRUPT_MASK: usize = 0x10;
const RAW_INTERRUPT: usize = 0x14;
const INTERRUPT_CLEAR: usize = 0x1c;

/// How far from `clock=` the clock may be: as long as a test may take.
const TOLERANCE: u32 = 3600;
/// How long an interrupt may take, in microseconds. An alarm has whole seconds.
const ARRIVAL_LIMIT: u64 = 5_000_000;
/// How long is waited for what must not come, in microseconds.
const ABSENCE: u64 = 30_000;
/// How often alarms are raised at once.
const ROUNDS: usize = 50;

fn main(machine: &Machine) {
    mask_interrupts();
    gic::start(machine);
    gic::enable(machine, INTERRUPT);
    if machine.argument("owner") == Some(0) {
        return checks::run(machine, list![belongs_to_somebody_else]);
    }
    if machine.argument("resets") == Some(1) {
        reset_twice();
    }
    checks::run(
        machine,
        list![
            shows_its_own_time,
            alarm_at_a_second,
            stays_asserted_until_cleared,
            alarms_again_and_again,
            alarm_while_disabled,
            alarm_on_another_core,
        ],
    );
}

fn place() -> usize {
    machine::get().argument("at").unwrap_or(USUAL_PLACE)
}

fn read(register: usize) -> u32 {
    mmio::read32(place() + register)
}

fn write(register: usize, value: u32) {
    mmio::write32(place() + register, value);
}

/// Clears the alarm and lets it interrupt.
fn arm() {
    write(INTERRUPT_CLEAR, 1);
    write(INTERRUPT_MASK, 1);
}

/// Raises the alarm at once, once: by setting the clock back, as a second may pass between reading and writing.
fn alarm_now() {
    let time = read(DATA).wrapping_sub(2);
    write(MATCH, time);
    write(LOAD, time);
}

/// Takes the next interrupt within `limit` microseconds.
fn take(limit: u64) -> Option<u32> {
    let mut taken = None;
    delay::until(limit, || {
        taken = gic::acknowledge(machine::get());
        taken.is_some()
    });
    taken
}

fn end() {
    gic::end(machine::get(), INTERRUPT);
}

/// The device does not notice a reset of the guest: its match register counts this guest's lives.
fn reset_twice() {
    let life = read(MATCH);
    match life {
        0 => {
            arm();
            alarm_now();
            delay::until(ARRIVAL_LIMIT, || gic::is_pending(machine::get(), INTERRUPT));
        }
        1 => {
            // The alarm of the life before is still asserted.
            let taken = take(ARRIVAL_LIMIT);
            println!("after a reset: {taken:?}");
        }
        _ => {
            write(INTERRUPT_CLEAR, 1);
            // Under a hypervisor it may be pending already, though its line has fallen.
            if take(ABSENCE) == Some(INTERRUPT) {
                end();
            }
            return;
        }
    }
    write(MATCH, life + 1);
    psci::call(psci::SYSTEM_RESET, [0; 3]);
}

fn shows_its_own_time(machine: &Machine) -> Outcome {
    let Some(expected) = machine.argument("clock") else { skip!("nobody says what time it is") };
    let shown = read(DATA);
    ensure!(shown.abs_diff(expected as u32) < TOLERANCE, "the clock shows {shown}");
    Ok(())
}

/// The core sleeps until the clock's next second.
fn alarm_at_a_second(machine: &Machine) -> Outcome {
    for _ in 0..2 {
        arm();
        let alarm = read(DATA) + 1;
        write(MATCH, alarm);
        let mut taken = None;
        while taken.is_none() {
            wait_for_interrupt();
            taken = gic::acknowledge(machine);
        }
        ensure_equal!(taken, Some(INTERRUPT), "what woke the core");
        ensure_equal!(read(RAW_INTERRUPT), 1, "RTCRIS");
        ensure!(read(DATA) >= alarm, "it came at {}, before {alarm}", read(DATA));
        write(INTERRUPT_CLEAR, 1);
        end();
    }
    ensure_equal!(take(ABSENCE), None, "after the alarms");
    Ok(())
}

/// The line is a level: it interrupts again after each end, until the alarm is cleared.
fn stays_asserted_until_cleared(_: &Machine) -> Outcome {
    arm();
    alarm_now();
    for _ in 0..5 {
        ensure_equal!(take(ARRIVAL_LIMIT), Some(INTERRUPT), "a line that is asserted");
        ensure_equal!(take(ABSENCE), None, "while it is active");
        end();
    }
    ensure_equal!(take(ARRIVAL_LIMIT), Some(INTERRUPT), "the last time");
    write(INTERRUPT_CLEAR, 1);
    end();
    ensure_equal!(take(ABSENCE), None, "after it was cleared");
    Ok(())
}

fn alarms_again_and_again(_: &Machine) -> Outcome {
    arm();
    for round in 0..ROUNDS {
        alarm_now();
        let taken = take(ARRIVAL_LIMIT);
        let (raw, time, alarm) = (read(RAW_INTERRUPT), read(DATA), read(MATCH));
        ensure_equal!(taken, Some(INTERRUPT), "alarm {round}; RTCRIS {raw}, RTCDR {time}, RTCMR {alarm}");
        write(INTERRUPT_CLEAR, 1);
        end();
    }
    ensure_equal!(take(ABSENCE), None, "after all alarms");
    Ok(())
}

/// Raised while the guest has it disabled, it comes when it is enabled.
fn alarm_while_disabled(machine: &Machine) -> Outcome {
    if machine.gic != GicVersion::V3 {
        skip!("this check speaks to a GICv3");
    }
    arm();
    v3::disable(INTERRUPT);
    alarm_now();
    ensure_equal!(take(ABSENCE), None, "while it is disabled");
    v3::enable(INTERRUPT);
    ensure_equal!(take(ARRIVAL_LIMIT), Some(INTERRUPT), "when it is enabled");
    write(INTERRUPT_CLEAR, 1);
    end();
    ensure_equal!(take(ABSENCE), None, "after its end");
    Ok(())
}

/// What core 1 takes while the interrupt is routed to it; core 0 raises it again and again.
fn alarm_on_another_core(machine: &Machine) -> Outcome {
    use core::sync::atomic::{AtomicUsize, Ordering};
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    fn listen(_: usize) {
        gic::start_core(machine::get());
        while TAKEN.load(Ordering::SeqCst) < ROUNDS && take(ARRIVAL_LIMIT) == Some(INTERRUPT) {
            write(INTERRUPT_CLEAR, 1);
            end();
            TAKEN.fetch_add(1, Ordering::SeqCst);
        }
    }
    if machine.cores < 2 || machine.gic != GicVersion::V3 {
        skip!("one core, or a GICv2");
    }
    arm();
    v3::route(INTERRUPT, 1);
    ensure_equal!(smp::start(1, listen), psci::SUCCESS, "CPU_ON");
    for round in 0..ROUNDS {
        alarm_now();
        let taken = delay::until(ARRIVAL_LIMIT, || TAKEN.load(Ordering::SeqCst) > round);
        ensure!(taken, "core 1 took only {round} alarms");
    }
    smp::wait_until_off(1);
    ensure_equal!(take(ABSENCE), None, "on this core");
    Ok(())
}

/// Neither the registers nor the interrupt of another guest's device are here.
fn belongs_to_somebody_else(_: &Machine) -> Outcome {
    let stay = machine::get().argument("stay").unwrap_or(0) as u64;
    let began = guest_runtime::timer::counter();
    loop {
        for (name, result) in [
            ("read", catch(|| read(DATA))),
            (
                "written",
                catch(|| {
                    write(INTERRUPT_CLEAR, 1);
                    0
                }),
            ),
        ] {
            match result {
                Ok(_) => ensure!(false, "the clock can be {name}"),
                Err(fault) => ensure!(fault.is_external_abort(), "the clock {name}: {fault}"),
            }
        }
        ensure_equal!(take(ABSENCE), None, "an interrupt that is not ours");
        if guest_runtime::timer::counter() - began > guest_runtime::timer::ticks(stay * 1_000_000) {
            return Ok(());
        }
    }
}
