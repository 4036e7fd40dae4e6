//! GICv2: distributor and memory-mapped CPU interface (Arm IHI 0048).

use core::sync::atomic::{AtomicU8, Ordering};

use super::v3::{DEFAULT_PRIORITY, distributor, interrupt_count, set_priority};
use crate::mmio::{read32, write8, write32};
use crate::{MAX_CORES, register};

/// The distributor of QEMU's `virt`.
pub const DISTRIBUTOR: usize = 0x0800_0000;
/// The CPU interface of QEMU's `virt`.
pub const CPU_INTERFACE: usize = 0x0801_0000;

/// Targets, one byte each.
pub const ITARGETSR: usize = 0x800;
/// Sends an SGI.
pub const SGIR: usize = 0xf00;
/// Clears SGIs by sender, one byte each.
pub const CPENDSGIR: usize = 0xf10;
/// Sets SGIs by sender, one byte each.
pub const SPENDSGIR: usize = 0xf20;
/// Peripheral identification 2.
pub const ICPIDR2: usize = 0xfe8;

const CTLR: usize = CPU_INTERFACE;
const PMR: usize = CPU_INTERFACE + 4;
const BPR: usize = CPU_INTERFACE + 8;
const IAR: usize = CPU_INTERFACE + 0xc;
const EOIR: usize = CPU_INTERFACE + 0x10;
const RPR: usize = CPU_INTERFACE + 0x14;
const HPPIR: usize = CPU_INTERFACE + 0x18;
const DIR: usize = CPU_INTERFACE + 0x1000;

/// GICC_CTLR.EOImode, and the enable of the group that all interrupts are in.
const TWO_STEPS: u32 = 1 << 9;
const ENABLE: u32 = 1;

/// Who sent the SGI that each core took last, by its number: its end must say so.
static SENDERS: [[AtomicU8; 16]; MAX_CORES] = [const { [const { AtomicU8::new(0) }; 16] }; MAX_CORES];

/// Brings the distributor and this core's interface to a known state, everything disabled.
pub fn init() {
    write32(DISTRIBUTOR, 0);
    for bank in 1..interrupt_count() as usize / 32 {
        reset_bank(bank);
    }
    for interrupt in 32..interrupt_count() {
        set_priority(interrupt, DEFAULT_PRIORITY);
        route(interrupt, 0);
    }
    write32(DISTRIBUTOR, 1);
    init_core();
}

/// Brings this core's interface to a known state: its own interrupts disabled, all priorities let through.
pub fn init_core() {
    reset_bank(0);
    for word in 0..4 {
        write32(DISTRIBUTOR + CPENDSGIR + 4 * word, u32::MAX);
    }
    for interrupt in 0..32 {
        set_priority(interrupt, DEFAULT_PRIORITY);
    }
    set_priority_mask(0xff);
    write32(BPR, 0);
    set_two_steps(false);
}

/// Puts 32 interrupts into group 0, disabled, neither pending nor active.
fn reset_bank(bank: usize) {
    for register in [distributor::ICENABLER, distributor::ICPENDR, distributor::ICACTIVER] {
        write32(DISTRIBUTOR + register + 4 * bank, u32::MAX);
    }
    write32(DISTRIBUTOR + distributor::IGROUPR + 4 * bank, 0);
}

/// Makes `interrupt` pending by software: an SGI as if this core had sent it.
pub fn set_pending(interrupt: u32) {
    match interrupt {
        0..=15 => write8(DISTRIBUTOR + SPENDSGIR + interrupt as usize, 1 << register::core_index()),
        _ => super::v3::set_bit(distributor::ISPENDR, interrupt),
    }
}

/// Makes `interrupt` no longer pending: an SGI of any sender.
pub fn clear_pending(interrupt: u32) {
    match interrupt {
        0..=15 => write8(DISTRIBUTOR + CPENDSGIR + interrupt as usize, 0xff),
        _ => super::v3::set_bit(distributor::ICPENDR, interrupt),
    }
}

/// Sends shared interrupt `interrupt` to core `index`.
pub fn route(interrupt: u32, index: usize) {
    write8(DISTRIBUTOR + ITARGETSR + interrupt as usize, 1 << index);
}

/// Sends SGI `number` to core `index`.
pub fn send_sgi(number: u32, index: usize) {
    super::v3::barrier();
    write32(DISTRIBUTOR + SGIR, number | 1 << (16 + index));
}

/// Sends SGI `number` to all other cores.
pub fn send_sgi_to_others(number: u32) {
    super::v3::barrier();
    write32(DISTRIBUTOR + SGIR, number | 1 << 24);
}

/// Takes the most urgent pending interrupt and gives its number; 1020 and above mean none.
#[must_use]
pub fn acknowledge() -> u32 {
    let taken = read32(IAR);
    let number = taken & 0x3ff;
    if number < 16 {
        SENDERS[register::core_index()][number as usize].store((taken >> 10) as u8 & 7, Ordering::Relaxed);
    }
    number
}

/// The core that sent the SGI `number` which this core took last.
#[must_use]
pub fn sender(number: u32) -> usize {
    SENDERS[register::core_index()][number as usize].load(Ordering::Relaxed).into()
}

fn with_sender(interrupt: u32) -> u32 {
    if interrupt < 16 { interrupt | (sender(interrupt) as u32) << 10 } else { interrupt }
}

/// Ends an interrupt as [`acknowledge`] gave it.
pub fn end(interrupt: u32) {
    write32(EOIR, with_sender(interrupt));
}

/// Deactivates an interrupt; for ends in two steps.
pub fn deactivate(interrupt: u32) {
    write32(DIR, with_sender(interrupt));
}

/// Lets only more urgent interrupts than `priority` through.
pub fn set_priority_mask(priority: u8) {
    write32(PMR, priority.into());
}

/// The priority of the most urgent active interrupt; 0xff if there is none.
#[must_use]
pub fn running_priority() -> u8 {
    // Of the five bits that there are, all are ones without any.
    match read32(RPR) as u8 {
        0xf8 => 0xff,
        priority => priority,
    }
}

/// The interrupt that would be taken now, 1023 for none.
#[must_use]
pub fn highest_pending() -> u32 {
    read32(HPPIR) & 0x3ff
}

/// Whether end and deactivation are two steps.
pub fn set_two_steps(two_steps: bool) {
    write32(CTLR, ENABLE | if two_steps { TWO_STEPS } else { 0 });
}
