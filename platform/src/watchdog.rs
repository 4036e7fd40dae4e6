//! The power management block of BCM2835 to BCM2711: resets the machine, and switches it off where no firmware does.
//!
//! Its manual is not public; registers and values are those of Linux's `drivers/watchdog/bcm2835_wdt.c`. Power domains
//! and clocks, which the block has too, do not belong here.

use crate::mmio::Registers;
use crate::span::Span;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::register_structs;
use tock_registers::registers::ReadWrite;

register_structs! {
    /// Registers of the block as far as they are used.
    pub PowerRegisters {
        (0x00 => _others),
        (0x1c => rstc: ReadWrite<u32>),
        (0x20 => rsts: ReadWrite<u32>),
        (0x24 => wdog: ReadWrite<u32>),
        (0x28 => @END),
    }
}

/// In the upper byte of what is written: without it nothing happens.
const PASSWORD: u32 = 0x5a00_0000;
/// PM_RSTC.WRCFG: what follows when the time is over.
const RESET_KIND: u32 = 0x30;
const FULL_RESET: u32 = 0x20;
/// PM_RSTS: the bits that tell the boot ROM from which partition to start, and the one that means not at all.
const PARTITION: u32 = 0x555;
const HALT: u32 = 0x555;
/// PM_WDOG: ticks of 16 us until the reset.
const SOON: u32 = 10;

/// The watchdog.
#[derive(Debug)]
pub struct Watchdog {
    registers: Registers<PowerRegisters>,
}

impl Watchdog {
    /// The one whose registers are at `registers`; `None` if there is no room for them.
    ///
    /// # Safety
    ///
    /// They must be mapped at their machine addresses (or the MMU off), for good.
    pub unsafe fn new(registers: Span) -> Option<Self> {
        let address = usize::try_from(registers.start()).ok()?;
        if !address.is_multiple_of(4) || registers.size() < size_of::<PowerRegisters>() as u64 {
            return None;
        }
        // SAFETY: as promised by the caller.
        Some(Self { registers: unsafe { Registers::new(address) } })
    }

    /// Switches the machine off: a reset, after which the boot ROM does not start it. Takes a fraction of a millisecond.
    pub fn power_off(&self) {
        self.registers.rsts.set(PASSWORD | self.registers.rsts.get() & !PASSWORD_BITS | HALT);
        self.expire();
    }

    /// Resets the machine; it starts again. Takes a fraction of a millisecond.
    pub fn reset(&self) {
        self.registers.rsts.set(PASSWORD | self.registers.rsts.get() & !(PASSWORD_BITS | PARTITION));
        self.expire();
    }

    fn expire(&self) {
        self.registers.wdog.set(PASSWORD | SOON);
        let kept = self.registers.rstc.get() & !(PASSWORD_BITS | RESET_KIND);
        self.registers.rstc.set(PASSWORD | kept | FULL_RESET);
    }
}

/// Where the password is.
const PASSWORD_BITS: u32 = 0xff00_0000;

#[cfg(test)]
mod tests {
    use super::*;

    /// What RSTC, RSTS and WDOG hold after `operation`, from these values before.
    fn after(before: [u32; 3], operation: impl Fn(&Watchdog)) -> [u32; 3] {
        let mut words = [0u32; 10];
        words[7..].copy_from_slice(&before);
        let start = (&raw mut words).expose_provenance() as u64;
        // SAFETY: the array outlives the driver.
        let watchdog = unsafe { Watchdog::new(Span::new(start, 0x28).unwrap()) }.unwrap();
        operation(&watchdog);
        // SAFETY: elements of the array, past what the compiler may think of it.
        [7, 8, 9].map(|index| unsafe { (&raw const words[index]).read_volatile() })
    }

    #[test]
    fn off_is_a_reset_that_the_boot_rom_does_not_start_from() {
        let off = after([0x102, 0x1000, 0], Watchdog::power_off);
        assert_eq!(off, [0x5a00_0122, 0x5a00_1555, 0x5a00_000a]);
        let reset = after([0x132, 0x1555, 0xf_ffff], Watchdog::reset);
        assert_eq!(reset, [0x5a00_0122, 0x5a00_1000, 0x5a00_000a]);
    }

    #[test]
    fn registers_cut_short_are_no_watchdog() {
        // SAFETY: nothing is accessed.
        unsafe {
            assert!(Watchdog::new(Span::new(0x1000, 0x24).unwrap()).is_none());
            assert!(Watchdog::new(Span::new(0x1002, 0x100).unwrap()).is_none());
        }
    }
}
