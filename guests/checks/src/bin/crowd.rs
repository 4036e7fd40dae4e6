//! As many cores as its command line says (`cores=64`), more than other guests know of: each comes, leaves its mark and goes.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::cell::UnsafeCell;

use guest_runtime::{Machine, delay, entry, println, psci};

entry!(main);

/// Most cores of a VM.
const MOST: usize = 64;

/// A core's mark, alone in its cache line: the core writes with its MMU off.
#[repr(C, align(64))]
struct Mark(UnsafeCell<u64>);

// SAFETY: one core writes it once; the other reads it past its own cache.
unsafe impl Sync for Mark {}

static MARKS: [Mark; MOST] = [const { Mark(UnsafeCell::new(0)) }; MOST];

global_asm!(
    r#"
.section .text.come_and_go, "ax"
.global come_and_go
come_and_go:
    mrs     x1, mpidr_el1
    str     x1, [x0]
    dsb     sy
    ldr     x0, =0x84000002
    hvc     #0
    b       .
.ltorg
"#
);

/// What core `index` is called: sixteen to a cluster.
fn affinity(index: usize) -> u64 {
    (index / 16 * 256 + index % 16) as u64
}

/// The affinity that the core read, or 0.
fn read(mark: &Mark) -> u64 {
    let place = mark.0.get();
    // SAFETY: cache maintenance of our own memory, which we only write before any other core starts.
    unsafe {
        core::arch::asm!("dsb sy", "dc civac, {place}", "dsb sy", place = in(reg) place, options(nostack));
        place.read_volatile() & 0xff_00ff_ffff
    }
}

fn is_off(index: usize) -> bool {
    psci::call(psci::AFFINITY_INFO, [affinity(index), 0, 0]) == psci::STATE_OFF
}

fn main(machine: &Machine) {
    unsafe extern "C" {
        fn come_and_go();
    }
    let cores = machine.argument("cores").unwrap_or(1).min(MOST);
    let marks = || MARKS.iter().enumerate().take(cores).skip(1);
    marks().for_each(|(_, mark)| assert_eq!(read(mark), 0));
    for (index, mark) in marks() {
        let arguments = [affinity(index), come_and_go as *const () as u64, mark.0.get() as u64];
        assert_eq!(psci::call(psci::CPU_ON, arguments), psci::SUCCESS, "CPU_ON of core {index}");
    }
    for (index, mark) in marks() {
        delay::wait_for("a core's mark", || read(mark) != 0);
        assert_eq!(read(mark), affinity(index), "MPIDR_EL1 of core {index}");
        delay::wait_for("a core to go off", || is_off(index));
    }
    println!("crowd: {cores} cores came and went");
}
