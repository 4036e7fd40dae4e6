//! Physical addresses that the guest does not have.

use core::arch::asm;

use guest_runtime::catch::{self, Fault, catch};
use guest_runtime::checks::{Failure, Outcome};
use guest_runtime::gic::v3;
use guest_runtime::machine::GicVersion;
use guest_runtime::{Machine, ensure, ensure_equal, mmio, skip};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// Addresses where `virt` has nothing: the hole between virtio-mmio and the platform bus, and far above memory.
const NOTHING: [u64; 4] = [0x0b00_0000, 0x0bff_fff8, 100 * GIB, 200 * GIB + 0x1234_5678];

/// What an access to nothing must give: a synchronous external abort that names the address.
fn check_abort<T>(result: Result<T, Fault>, address: u64, write: bool) -> Outcome {
    let Err(fault) = result else {
        return Err(Failure::failed(format_args!("{address:#x} is there")));
    };
    ensure_equal!(fault.class(), catch::CLASS_DATA_ABORT, "class of the fault at {address:#x} ({fault})");
    ensure!(fault.is_external_abort(), "fault at {address:#x} is no external abort: {fault}");
    ensure_equal!(fault.address, address, "FAR_EL1");
    ensure_equal!(fault.is_write(), write, "ESR_EL1.WnR at {address:#x}");
    Ok(())
}

pub fn reads_of_nothing(_: &Machine) -> Outcome {
    for address in NOTHING {
        check_abort(catch(|| mmio::read32(address as usize)), address, false)?;
    }
    Ok(())
}

pub fn writes_to_nothing(_: &Machine) -> Outcome {
    for address in NOTHING {
        check_abort(catch(|| mmio::write32(address as usize, 0x1234_5678)), address, true)?;
    }
    Ok(())
}

pub fn every_access_size(_: &Machine) -> Outcome {
    let place = NOTHING[0] as usize;
    check_abort(catch(|| mmio::read8(place + 1)), NOTHING[0] + 1, false)?;
    check_abort(catch(|| mmio::read16(place + 2)), NOTHING[0] + 2, false)?;
    check_abort(catch(|| mmio::read64(place + 8)), NOTHING[0] + 8, false)?;
    check_abort(catch(|| mmio::write8(place + 3, 1)), NOTHING[0] + 3, true)?;
    check_abort(catch(|| mmio::write16(place + 6, 1)), NOTHING[0] + 6, true)?;
    check_abort(catch(|| mmio::write64(place + 16, 1)), NOTHING[0] + 16, true)
}

/// Runs one instruction on an address with x-registers or vector registers at hand.
macro_rules! attempt {
    ($address:expr, $($instruction:literal),+) => {{
        let address: u64 = $address;
        catch(|| {
            // SAFETY: the address is not ours, so that the fault ends the closure.
            unsafe {
                asm!(
                    ".arch_extension fp", ".arch_extension simd", $($instruction),+,
                    inout("x0") address => _, out("x1") _, out("x2") _, out("x3") _, options(nostack)
                );
            }
        })
    }};
}

/// The base register of an aborted access with write-back keeps its value (Arm ARM D1.3.6).
pub fn faulting_write_back_changes_nothing(_: &Machine) -> Outcome {
    let [place, ..] = NOTHING;
    for result in [
        attempt!(place, "ldr x1, [x0], #8"),
        attempt!(place, "ldr x1, [x0, #16]!"),
        attempt!(place, "ldp x1, x2, [x0], #16"),
        attempt!(place, "str x1, [x0], #8"),
        attempt!(place, "stp x1, x2, [x0, #32]!"),
    ] {
        let Err(fault) = result else {
            return Err(Failure::failed(format_args!("{place:#x} is there")));
        };
        ensure_equal!(fault.x0, place, "the base after {fault}");
    }
    Ok(())
}

/// Instructions whose syndrome says nothing about them (ESR_EL2.ISV is 0): whoever emulates must decode them itself.
pub fn pairs_and_vectors(_: &Machine) -> Outcome {
    guest_runtime::write_register!("cpacr_el1", 3 << 20);
    let [place, ..] = NOTHING;
    check_abort(attempt!(place, "ldp x1, x2, [x0]"), place, false)?;
    check_abort(attempt!(place, "ldp x1, x2, [x0], #16"), place, false)?;
    check_abort(attempt!(place, "ldr x1, [x0, #16]!"), place + 16, false)?;
    check_abort(attempt!(place, "ldr q0, [x0]"), place, false)?;
    check_abort(attempt!(place, "ldp q0, q1, [x0, #32]"), place + 32, false)?;
    check_abort(attempt!(place, "ld1 {{v0.16b}}, [x0]"), place, false)?;
    check_abort(attempt!(place, "stp x1, x2, [x0]"), place, true)?;
    check_abort(attempt!(place, "stp q0, q1, [x0], #32"), place, true)?;
    check_abort(attempt!(place, "str x1, [x0], #8"), place, true)?;
    check_abort(attempt!(place, "str q0, [x0]"), place, true)?;
    check_abort(attempt!(place, "st1 {{v0.16b, v1.16b}}, [x0]"), place, true)
}

/// These may fault in ways of their own on device memory; that they end, and end here, is what counts.
pub fn exclusives_and_cache_operations(_: &Machine) -> Outcome {
    let [place, ..] = NOTHING;
    for result in [
        attempt!(place, "ldxr x1, [x0]"),
        attempt!(place, "ldaxr x1, [x0]", "stlxr w2, x1, [x0]"),
        attempt!(place, "ldar x1, [x0]"),
        attempt!(place, "stlr x1, [x0]"),
    ] {
        ensure!(result.is_err(), "an exclusive or ordered access to {place:#x} is done");
    }
    ensure!(attempt!(place, "dc zva, x0").is_err(), "DC ZVA of {place:#x} is done");
    for result in [
        attempt!(place, "dc civac, x0"),
        attempt!(place, "dc cvac, x0"),
        attempt!(place, "dc ivac, x0"),
        attempt!(place, "ic ivau, x0"),
        attempt!(place, "prfm pldl1keep, [x0]"),
        attempt!(place, "prfm pstl1keep, [x0]"),
    ] {
        // On a board these do nothing or fault.
        let _ = result;
    }
    Ok(())
}

/// The first pages behind the end of memory, one by one: maps that are a page too long show here.
pub fn just_beyond_memory(machine: &Machine) -> Outcome {
    let end = machine.memory.end();
    ensure!(catch(|| mmio::read64(end as usize - 8)).is_ok(), "the last word of memory is not there");
    for page in 0..64 {
        let address = end + page * 4096;
        check_abort(catch(|| mmio::read64(address as usize)), address, false)?;
        check_abort(catch(|| mmio::write64(address as usize, 0)), address, true)?;
    }
    Ok(())
}

/// Physical addresses above memory, where machine memory may lie: the hypervisor, the other guests. Each 2 MiB of four
/// gigabytes, then each gigabyte up to where `virt` has its high devices.
pub fn all_above_memory(machine: &Machine) -> Outcome {
    let end = machine.memory.end().next_multiple_of(2 * MIB);
    let near = (end..end + 4 * GIB).step_by(2 * MIB as usize);
    let far = ((end + 4 * GIB).next_multiple_of(GIB)..255 * GIB).step_by(GIB as usize);
    for address in near.chain(far) {
        check_abort(catch(|| mmio::read64(address as usize)), address, false)?;
        check_abort(catch(|| mmio::write64(address as usize, 0)), address, true)?;
    }
    Ok(())
}

/// Around the devices: just before and behind the interrupt controller, where `virt` has nothing either.
pub fn between_devices(machine: &Machine) -> Outcome {
    let behind_controller = match machine.gic {
        // The CPU interface's 8 KiB; 64 KiB of which `virt` gives away.
        GicVersion::V2 => 0x080f_0000,
        // 64 MiB are kept for redistributors, but only as many as cores are there.
        GicVersion::V3 => 0x0900_0000 - 0x1_0000,
    };
    let mut present = 0;
    for address in (behind_controller..0x0900_0000u64).step_by(0x1000) {
        present += u64::from(catch(|| mmio::read32(address as usize)).is_ok());
    }
    ensure_equal!(present, 0, "pages behind the interrupt controller that answer");
    if machine.gic == GicVersion::V3 {
        let missing = v3::redistributor_of(machine.cores);
        check_abort(catch(|| mmio::read32(missing)), missing as u64, false)?;
    }
    check_abort(catch(|| mmio::read32(0x0b80_0000)), 0x0b80_0000, false)
}

/// An unaligned access to device memory is an alignment fault of the guest's own stage 1 (Arm ARM B2.9.1); where nobody
/// looks at that, an external abort. Never a value.
pub fn unaligned_device_access(machine: &Machine) -> Outcome {
    if machine.is_plain_qemu && machine.cores == 1 {
        skip!("QEMU does not look at alignment with one CPU");
    }
    for address in [0x0900_0001u64, NOTHING[0] + 2] {
        let Err(fault) = catch(|| mmio::read32(address as usize)) else {
            return Err(Failure::failed(format_args!("reading 4 bytes at {address:#x} gives a value")));
        };
        ensure_equal!(fault.class(), catch::CLASS_DATA_ABORT, "class of {fault}");
        ensure!(fault.status() == 0x21 || fault.is_external_abort(), "at {address:#x}: {fault}");
    }
    Ok(())
}

/// The guest's own memory is as it was: written and read back all over, in pages that nobody else uses.
pub fn own_memory_still_works(machine: &Machine) -> Outcome {
    let start = machine.memory.start + 16 * MIB;
    let pages = (start..machine.memory.end()).step_by(MIB as usize);
    // SAFETY: the image, its stacks and its heap end within the first 16 MiB of memory.
    pages.clone().for_each(|address| unsafe { (address as *mut u64).write_volatile(!address) });
    for address in pages {
        // SAFETY: as above.
        let value = unsafe { (address as *const u64).read_volatile() };
        ensure_equal!(value, !address, "memory at {address:#x}");
    }
    Ok(())
}
