//! The distributor (IHI 0069H, 12.8 and 12.9): what the cores share.

use crate::affinity::Affinity;
use crate::gic::{DEFAULT_PRIORITY, GicError};
use crate::interrupt_id::IntId;
use crate::mmio::{set, wait_until};
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::registers::{ReadOnly, ReadWrite};
use tock_registers::{register_bitfields, register_structs};

register_bitfields![u32,
    /// GICD_CTLR (12.9.4), as Non-secure software sees it. With a single Security state the same bits mean the same.
    pub Control [
        /// Group 1 interrupts are forwarded (EnableGrp1A; EnableGrp1 with a single Security state).
        ENABLE_GROUP_1 1,
        /// Affinity routing (ARE_NS; ARE with a single Security state).
        AFFINITY_ROUTING 4,
        /// Writes are still taking effect.
        WRITE_PENDING 31
    ],
    /// GICD_TYPER (12.9.38).
    pub Type [
        /// Number of SPIs / 32.
        LINES OFFSET(0) NUMBITS(5) []
    ]
];

register_structs! {
    /// Registers of the distributor, IHI 0069H table 12-25.
    pub DistributorRegisters {
        (0x0000 => pub(super) ctlr: ReadWrite<u32, Control::Register>),
        (0x0004 => pub(super) typer: ReadOnly<u32, Type::Register>),
        (0x0008 => _iidr),
        (0x0080 => pub(super) igroupr: [ReadWrite<u32>; 32]),
        (0x0100 => pub(super) isenabler: [ReadWrite<u32>; 32]),
        (0x0180 => pub(super) icenabler: [ReadWrite<u32>; 32]),
        (0x0200 => pub(super) ispendr: [ReadWrite<u32>; 32]),
        (0x0280 => pub(super) icpendr: [ReadWrite<u32>; 32]),
        (0x0300 => pub(super) isactiver: [ReadWrite<u32>; 32]),
        (0x0380 => pub(super) icactiver: [ReadWrite<u32>; 32]),
        (0x0400 => pub(super) ipriorityr: [ReadWrite<u8>; 1024]),
        (0x0800 => _itargetsr),
        (0x0c00 => pub(super) icfgr: [ReadWrite<u32>; 64]),
        (0x0d00 => pub(super) igrpmodr: [ReadWrite<u32>; 32]),
        (0x0d80 => _nsacr),
        (0x6000 => pub(super) irouter: [ReadWrite<u64>; 1024]),
        (0x8000 => _implementation_defined),
        (0xffe8 => pub(super) pidr2: ReadOnly<u32>),
        (0xffec => _identification),
        (0x10000 => @END),
    }
}

/// How many INTIDs there are, the private ones included.
pub(super) fn interrupt_count(registers: &DistributorRegisters) -> u32 {
    ((registers.typer.read(Type::LINES) + 1) * 32).min(IntId::LIMIT)
}

/// Waits until earlier writes have taken effect on all cores; whether they have.
pub(super) fn wait_for_writes(registers: &DistributorRegisters) -> bool {
    wait_until(|| !registers.ctlr.is_set(Control::WRITE_PENDING))
}

/// Turns the distributor off, sets every shared interrupt up and turns it on.
pub(super) fn initialize(registers: &DistributorRegisters, core: Affinity) -> Result<(), GicError> {
    let ready = || wait_for_writes(registers).then_some(()).ok_or(GicError::NotReady("distributor"));
    // Affinity routing may only be turned on while the groups are off (12.9.4).
    let routing = registers.ctlr.get() & Control::AFFINITY_ROUTING::SET.value;
    registers.ctlr.set(routing);
    ready()?;
    registers.ctlr.write(Control::AFFINITY_ROUTING::SET);
    ready()?;
    let count = interrupt_count(registers);
    (1..count.div_ceil(32) as usize).for_each(|index| quiet(registers, index));
    for index in 32..count as usize {
        set(&registers.ipriorityr, index, DEFAULT_PRIORITY);
        set(&registers.irouter, index, core.value());
    }
    ready()?;
    registers.ctlr.write(Control::AFFINITY_ROUTING::SET + Control::ENABLE_GROUP_1::SET);
    ready()
}

/// Turns off the 32 interrupts from `index` * 32 on and puts them in Group 1, level-sensitive and idle.
fn quiet(registers: &DistributorRegisters, index: usize) {
    set(&registers.icenabler, index, u32::MAX);
    set(&registers.icpendr, index, u32::MAX);
    set(&registers.icactiver, index, u32::MAX);
    set(&registers.igroupr, index, u32::MAX);
    set(&registers.igrpmodr, index, 0);
    set(&registers.icfgr, index * 2, 0);
    set(&registers.icfgr, index * 2 + 1, 0);
}
