//! GICv2: distributor and memory-mapped CPU interface (Arm IHI 0048).

use crate::mmio::{read32, write8, write32};
use crate::read_register;

/// The distributor of QEMU's `virt`.
pub const DISTRIBUTOR: usize = 0x0800_0000;
/// The CPU interface of QEMU's `virt`.
pub const CPU_INTERFACE: usize = 0x0801_0000;

const ISENABLER: usize = DISTRIBUTOR + 0x100;
const ICENABLER: usize = DISTRIBUTOR + 0x180;
const ISPENDR: usize = DISTRIBUTOR + 0x200;
const ITARGETSR: usize = DISTRIBUTOR + 0x800;
const IAR: usize = CPU_INTERFACE + 0xc;
const EOIR: usize = CPU_INTERFACE + 0x10;

/// Brings the distributor and this core's interface to a known state, everything disabled.
pub fn init() {
    write32(DISTRIBUTOR, 0);
    for bank in 1..=(read32(DISTRIBUTOR + 4) as usize & 0x1f) {
        write32(ICENABLER + 4 * bank, u32::MAX);
    }
    write32(DISTRIBUTOR, 1);
    init_core();
}

/// Brings this core's interface to a known state: its own interrupts disabled, all priorities let through.
pub fn init_core() {
    write32(ICENABLER, u32::MAX);
    write32(CPU_INTERFACE + 4, 0xff);
    write32(CPU_INTERFACE, 1);
}

/// Lets `interrupt` through; a shared one goes to this core.
pub fn enable(interrupt: u32) {
    if interrupt >= 32 {
        write8(ITARGETSR + interrupt as usize, 1 << (read_register!("mpidr_el1") & 7));
    }
    write32(ISENABLER + 4 * (interrupt as usize / 32), 1 << (interrupt % 32));
}

/// Whether `interrupt` is pending.
#[must_use]
pub fn is_pending(interrupt: u32) -> bool {
    read32(ISPENDR + 4 * (interrupt as usize / 32)) & 1 << (interrupt % 32) != 0
}

/// Takes the most urgent pending interrupt: bits 9 to 0 are its number, 1020 and above mean none.
#[must_use]
pub fn acknowledge() -> u32 {
    read32(IAR)
}

/// Ends an interrupt as [`acknowledge`] gave it.
pub fn end(interrupt: u32) {
    write32(EOIR, interrupt);
}
