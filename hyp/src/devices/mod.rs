//! The devices EL2 emulates for its guests, and the bus that finds them.
//!
//! A device is a state machine: it sees offsets, never addresses, and what it needs of the world (a place for output,
//! the time) is handed to it with each access. Interrupt controllers have a module of their own (`interrupts`);
//! decoding the guest's instruction and acting on interrupt levels belong to the caller.

mod bus;
mod pl011;
mod pl031;
mod sub_page;

pub use bus::{Bus, BusError, Span};
pub use pl011::Pl011;
pub use pl031::Pl031;
pub use sub_page::SubPages;

/// What stands for a device of a VM on its bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceSlot {
    /// A GICv3's distributor.
    Distributor,
    /// A GICv2's distributor.
    DistributorV2,
    /// The second page of a GICv2's CPU interface: the first is the hardware's own.
    Deactivation,
    /// The GICv3's redistributors, all of them.
    Redistributors,
    /// One of its UARTs.
    Uart(u8),
    /// Its real-time clock.
    Clock,
}

/// The size of a PrimeCell's register page, in bytes.
pub const PRIMECELL_SIZE: u64 = 0x1000;

/// Whether an access of `size` bytes at `offset` meets a register of a PrimeCell: these are 32 bits wide, and may be
/// accessed in their lower 8 or 16 bits. Everything else reads as zero and ignores writes.
fn meets_register(offset: u64, size: u8) -> bool {
    offset.is_multiple_of(4) && offset < PRIMECELL_SIZE && matches!(size, 1 | 2 | 4)
}

/// The lower `size` bytes of `value`; `size` is 1, 2 or 4.
fn truncate(value: u64, size: u8) -> u32 {
    match size {
        1 => (value & 0xff) as u32,
        2 => (value & 0xffff) as u32,
        _ => (value & 0xffff_ffff) as u32,
    }
}

/// The byte at `offset` in the identification registers, which begin at 0xfe0; 0 elsewhere.
fn identification(bytes: &[u8; 8], offset: u64) -> u32 {
    let index = offset.checked_sub(0xfe0).map(|distance| distance / 4);
    let byte = index.and_then(|index| bytes.get(usize::try_from(index).ok()?));
    byte.copied().unwrap_or(0).into()
}
