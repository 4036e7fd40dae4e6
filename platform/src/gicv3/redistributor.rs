//! The redistributors (IHI 0069H, 12.10 and 12.11): each core's private interrupts.

use super::is_gicv3;
use crate::board::GicV3;
use crate::gic::{DEFAULT_PRIORITY, GicError};
use crate::mmio::{Registers, wait_until};
use crate::span::Span;
use alloc::vec::Vec;
use tock_registers::interfaces::{ReadWriteable, Readable, Writeable};
use tock_registers::registers::{ReadOnly, ReadWrite};
use tock_registers::{register_bitfields, register_structs};

register_bitfields![u32,
    /// GICR_CTLR (12.11.2).
    pub Control [
        /// Writes are still taking effect.
        WRITE_PENDING 3
    ],
    /// GICR_WAKER (12.11.42).
    pub Waker [
        /// The core's interface is to be asleep.
        PROCESSOR_SLEEP 1,
        /// The core's interface is asleep.
        CHILDREN_ASLEEP 2
    ]
];

register_bitfields![u64,
    /// GICR_TYPER (12.11.36).
    pub Type [
        /// It has the two further frames of a GICv4.
        VIRTUAL_LPIS OFFSET(1) NUMBITS(1) [],
        /// It is the last one of its region.
        LAST OFFSET(4) NUMBITS(1) [],
        /// The core it belongs to.
        AFFINITY OFFSET(32) NUMBITS(32) []
    ]
];

register_structs! {
    /// Registers of a redistributor: the frames RD_base and SGI_base, IHI 0069H tables 12-27 and 12-29.
    pub RedistributorRegisters {
        (0x00000 => pub(super) ctlr: ReadWrite<u32, Control::Register>),
        (0x00004 => _iidr),
        (0x00008 => pub(super) typer: ReadOnly<u64, Type::Register>),
        (0x00010 => _statusr),
        (0x00014 => pub(super) waker: ReadWrite<u32, Waker::Register>),
        (0x00018 => _lpis),
        (0x0ffe8 => pub(super) pidr2: ReadOnly<u32>),
        (0x0ffec => _identification),
        (0x10080 => pub(super) igroupr0: ReadWrite<u32>),
        (0x10084 => _igroupr),
        (0x10100 => pub(super) isenabler0: ReadWrite<u32>),
        (0x10104 => _isenabler),
        (0x10180 => pub(super) icenabler0: ReadWrite<u32>),
        (0x10184 => _icenabler),
        (0x10200 => pub(super) ispendr0: ReadWrite<u32>),
        (0x10204 => _ispendr),
        (0x10280 => pub(super) icpendr0: ReadWrite<u32>),
        (0x10284 => _icpendr),
        (0x10300 => pub(super) isactiver0: ReadWrite<u32>),
        (0x10304 => _isactiver),
        (0x10380 => pub(super) icactiver0: ReadWrite<u32>),
        (0x10384 => _icactiver),
        (0x10400 => pub(super) ipriorityr: [ReadWrite<u8>; 32]),
        (0x10420 => _ipriorityr),
        (0x10c00 => pub(super) icfgr: [ReadWrite<u32>; 2]),
        (0x10c08 => _icfgr),
        (0x10d00 => pub(super) igrpmodr0: ReadWrite<u32>),
        (0x10d04 => _igrpmodr),
        (0x20000 => @END),
    }
}

/// Size in bytes of a GICv3 redistributor, and of one of a GICv4 (12.10).
const SIZE: u64 = 0x2_0000;
const SIZE_WITH_VIRTUAL_LPIS: u64 = 0x4_0000;

/// A core's redistributor.
#[derive(Debug)]
pub(super) struct Redistributor {
    /// The core, as [`crate::Affinity::packed`].
    pub(super) core: u32,
    pub(super) registers: Registers<RedistributorRegisters>,
}

/// Lists the redistributors of all regions.
///
/// # Safety
///
/// The regions must be mapped at their machine addresses (or the MMU off), for good.
pub(super) unsafe fn find(layout: &GicV3) -> Vec<Redistributor> {
    let mut found = Vec::new();
    for region in &layout.redistributors {
        let mut address = region.start();
        // SAFETY: as promised by the caller.
        let redistributor_at = |address| unsafe { at(address, *region, layout.redistributor_stride) };
        while let Some((redistributor, next)) = redistributor_at(address) {
            let last = redistributor.registers.typer.is_set(Type::LAST);
            found.push(redistributor);
            if last {
                break;
            }
            address = next;
        }
    }
    found
}

/// The redistributor at `address`, if there is one and it is wholly in `region`, and the address of the next.
///
/// # Safety
///
/// As for [`find`].
unsafe fn at(address: u64, region: Span, stride: Option<u64>) -> Option<(Redistributor, u64)> {
    if !region.covers(Span::new(address, SIZE)?) || !address.is_multiple_of(8) {
        return None;
    }
    let start = usize::try_from(address).ok()?;
    // SAFETY: it is in the region; the rest is as promised by the caller.
    let registers = unsafe { Registers::<RedistributorRegisters>::new(start) };
    if !is_gicv3(registers.pidr2.get()) {
        return None;
    }
    let own_size = if registers.typer.is_set(Type::VIRTUAL_LPIS) { SIZE_WITH_VIRTUAL_LPIS } else { SIZE };
    let core = registers.typer.read(Type::AFFINITY) as u32;
    // Never less than its size, so that a walk comes to an end.
    let next = address.checked_add(stride.unwrap_or(own_size).max(SIZE))?;
    Some((Redistributor { core, registers }, next))
}

/// Waits until earlier writes have taken effect; whether they have.
pub(super) fn wait_for_writes(registers: &RedistributorRegisters) -> bool {
    wait_until(|| !registers.ctlr.is_set(Control::WRITE_PENDING))
}

impl Redistributor {
    /// Wakes it and sets its private interrupts up: off, idle, in Group 1.
    pub(super) fn initialize(&self) -> Result<(), GicError> {
        let registers = &self.registers;
        registers.waker.modify(Waker::PROCESSOR_SLEEP::CLEAR);
        if !wait_until(|| !registers.waker.is_set(Waker::CHILDREN_ASLEEP)) {
            return Err(GicError::NotReady("redistributor"));
        }
        registers.icenabler0.set(u32::MAX);
        if !wait_for_writes(registers) {
            return Err(GicError::NotReady("redistributor"));
        }
        registers.icpendr0.set(u32::MAX);
        registers.icactiver0.set(u32::MAX);
        registers.igroupr0.set(u32::MAX);
        registers.igrpmodr0.set(0);
        registers.ipriorityr.iter().for_each(|register| register.set(DEFAULT_PRIORITY));
        Ok(())
    }
}
