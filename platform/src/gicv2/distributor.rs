//! The distributor (IHI 0048B, 4.3): what the cores share, and behind the same addresses what each has of its own.

use crate::gic::DEFAULT_PRIORITY;
use crate::interrupt_id::IntId;
use crate::mmio::set;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::registers::{ReadOnly, ReadWrite, WriteOnly};
use tock_registers::{register_bitfields, register_structs};

register_bitfields![u32,
    /// GICD_TYPER (4.3.2).
    pub Type [
        /// Number of SPIs / 32.
        LINES OFFSET(0) NUMBITS(5) []
    ],
    /// GICD_SGIR (4.3.15).
    pub Generate [
        /// Whom the interrupt goes to: 0 the list, 2 the core that writes.
        FILTER OFFSET(24) NUMBITS(2) [List = 0, Own = 2],
        /// One bit for each CPU interface.
        TARGETS OFFSET(16) NUMBITS(8) [],
        /// The SGI.
        ID OFFSET(0) NUMBITS(4) []
    ]
];

register_structs! {
    /// Registers of the distributor, IHI 0048B table 4-1.
    pub DistributorRegisters {
        (0x000 => pub(super) ctlr: ReadWrite<u32>),
        (0x004 => pub(super) typer: ReadOnly<u32, Type::Register>),
        (0x008 => _iidr),
        (0x080 => pub(super) igroupr: [ReadWrite<u32>; 32]),
        (0x100 => pub(super) isenabler: [ReadWrite<u32>; 32]),
        (0x180 => pub(super) icenabler: [ReadWrite<u32>; 32]),
        (0x200 => pub(super) ispendr: [ReadWrite<u32>; 32]),
        (0x280 => pub(super) icpendr: [ReadWrite<u32>; 32]),
        (0x300 => pub(super) isactiver: [ReadWrite<u32>; 32]),
        (0x380 => pub(super) icactiver: [ReadWrite<u32>; 32]),
        (0x400 => pub(super) ipriorityr: [ReadWrite<u8>; 1024]),
        (0x800 => pub(super) itargetsr: [ReadWrite<u8>; 1024]),
        (0xc00 => pub(super) icfgr: [ReadWrite<u32>; 64]),
        (0xd00 => _implementation_defined),
        (0xf00 => pub(super) sgir: WriteOnly<u32, Generate::Register>),
        (0xf04 => _reserved),
        (0xf10 => pub(super) cpendsgir: [ReadWrite<u32>; 4]),
        (0xf20 => _spendsgir),
        (0xfd0 => _identification),
        (0xfe8 => pub(super) icpidr2: ReadOnly<u32>),
        (0xfec => _component),
        (0x1000 => @END),
    }
}

/// GICD_CTLR bit 0: forward interrupts. What a Non-secure access calls EnableGrp1 and, without Security Extensions,
/// EnableGrp0 (4.3.1): in either case the group that ours are in.
const ENABLE: u32 = 1;

/// ICPIDR2.ArchRev (4.3.18): is it a GICv2?
pub(super) const fn is_gicv2(icpidr2: u32) -> bool {
    icpidr2 >> 4 & 0xf == 2
}

/// How many INTIDs there are, the private ones included.
pub(super) fn interrupt_count(registers: &DistributorRegisters) -> u32 {
    ((registers.typer.read(Type::LINES) + 1) * 32).min(IntId::LIMIT)
}

/// The calling core's bit in masks of targets. A GICv2 of one core reads as zero there (4.3.12).
pub(super) fn own_mask(registers: &DistributorRegisters) -> u8 {
    // Which private interrupts there are is up to the implementation: of one that is not there the target is zero.
    let mask = registers.itargetsr.iter().take(32).fold(0, |mask, register| mask | register.get());
    if mask == 0 { 1 } else { mask }
}

/// Turns the distributor off, sets every shared interrupt up and turns it on.
pub(super) fn initialize(registers: &DistributorRegisters) {
    registers.ctlr.set(0);
    let count = interrupt_count(registers);
    (1..count.div_ceil(32) as usize).for_each(|index| quiet(registers, index));
    let own = own_mask(registers);
    for index in 32..count as usize {
        set(&registers.ipriorityr, index, DEFAULT_PRIORITY);
        set(&registers.itargetsr, index, own);
    }
    registers.ctlr.set(ENABLE);
}

/// Sets up the calling core's own interrupts: off, idle, of the same group and priority as the shared ones.
pub(super) fn initialize_core(registers: &DistributorRegisters) {
    set(&registers.icenabler, 0, u32::MAX);
    // SGIs are pending by sender, and ICPENDR0 does not reach them (4.3.7).
    registers.cpendsgir.iter().for_each(|register| register.set(u32::MAX));
    set(&registers.icpendr, 0, u32::MAX);
    set(&registers.icactiver, 0, u32::MAX);
    set(&registers.igroupr, 0, 0);
    (0..32).for_each(|index| set(&registers.ipriorityr, index, DEFAULT_PRIORITY));
}

/// Turns off the 32 shared interrupts from `index` * 32 on, level-sensitive and idle.
///
/// Group 0: without Security Extensions that is signalled as IRQ as long as FIQEn is off. With them the register is
/// ignored from the Non-secure side, and firmware has put all that is ours into Group 1.
fn quiet(registers: &DistributorRegisters, index: usize) {
    set(&registers.icenabler, index, u32::MAX);
    set(&registers.icpendr, index, u32::MAX);
    set(&registers.icactiver, index, u32::MAX);
    set(&registers.igroupr, index, 0);
    set(&registers.icfgr, index * 2, 0);
    set(&registers.icfgr, index * 2 + 1, 0);
}
