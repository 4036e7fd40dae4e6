//! The memory-mapped registers themselves: what they say, keep, and ignore.

use core::sync::atomic::{AtomicU32, Ordering};

use guest_runtime::catch::catch;
use guest_runtime::checks::Outcome;
use guest_runtime::gic::current::{self, DISTRIBUTOR, distributor};
use guest_runtime::gic::v2;
use guest_runtime::gic::v3::{self, redistributor};
use guest_runtime::mmio::{self, read32, write32};
use guest_runtime::{Machine, ensure, ensure_equal, gic, skip, smp};

use crate::{FREE_SHARED, expect, expect_none, ready, reset};

/// Bytes of the distributor's frame.
fn distributor_size() -> usize {
    if current::is_v2() { 0x1000 } else { 0x1_0000 }
}

/// As described, with interrupts enough; a GICv3 with affinity routing.
pub fn identification(machine: &Machine) -> Outcome {
    ensure!(current::interrupt_count() > FREE_SHARED + 20, "only {} interrupts", current::interrupt_count());
    if current::is_v2() {
        ensure_equal!(read32(DISTRIBUTOR + v2::ICPIDR2) >> 4 & 0xf, 2, "GICD ICPIDR2.ArchRev");
        let cores = read32(DISTRIBUTOR + 4) >> 5 & 7;
        ensure_equal!(cores as usize + 1, machine.cores, "GICD_TYPER.CPUNumber + 1");
        return Ok(());
    }
    ensure_equal!(read32(DISTRIBUTOR + distributor::PIDR2) >> 4 & 0xf, 3, "GICD_PIDR2.ArchRev");
    ensure_equal!(read32(v3::redistributor() + distributor::PIDR2) >> 4 & 0xf, 3, "GICR_PIDR2.ArchRev");
    let control = read32(DISTRIBUTOR);
    ensure!(control & 1 << 4 != 0 && control & 1 << 1 != 0, "GICD_CTLR is {control:#x}");
    Ok(())
}

/// One redistributor for each core, in order, the last one marked.
pub fn redistributors(machine: &Machine) -> Outcome {
    if current::is_v2() {
        skip!("a GICv2 has none");
    }
    for core in 0..machine.cores {
        let kind = mmio::read64(v3::redistributor_of(core) + redistributor::TYPER);
        ensure_equal!(kind >> 32, core as u64, "affinity in GICR_TYPER of core {core}");
        ensure_equal!(kind >> 8 & 0xffff, core as u64, "processor number in GICR_TYPER of core {core}");
        ensure_equal!(kind & 1 << 4 != 0, core + 1 == machine.cores, "GICR_TYPER.Last of core {core}");
    }
    Ok(())
}

/// Enables, priorities, configuration and routes keep what is written, and their neighbours what they had.
pub fn read_back(machine: &Machine) -> Outcome {
    reset(machine);
    for interrupt in [20, FREE_SHARED, FREE_SHARED + 1] {
        current::enable(interrupt);
        ensure!(current::bit(distributor::ISENABLER, interrupt), "interrupt {interrupt} is not enabled");
        ensure!(!current::bit(distributor::ISENABLER, interrupt + 2), "interrupt {} is enabled", interrupt + 2);
        current::disable(interrupt);
        ensure!(!current::bit(distributor::ICENABLER, interrupt), "interrupt {interrupt} is not disabled");
        check_priority(interrupt)?;
    }
    check_route(machine)?;
    check_configuration()
}

/// A GICv2 has masks of the cores that there are, and with one core zeros (IHI 0048B 4.3.12).
fn check_route(machine: &Machine) -> Outcome {
    current::route(FREE_SHARED, 1);
    if current::is_v2() {
        let route = mmio::read8(DISTRIBUTOR + v2::ITARGETSR + FREE_SHARED as usize);
        ensure_equal!(route, if machine.cores > 1 { 2 } else { 0 }, "GICD_ITARGETSR");
        let own = mmio::read8(DISTRIBUTOR + v2::ITARGETSR + 20);
        ensure_equal!(own, u8::from(machine.cores > 1), "GICD_ITARGETSR of a private interrupt");
    } else {
        let route = mmio::read64(DISTRIBUTOR + distributor::IROUTER + 8 * FREE_SHARED as usize);
        ensure_equal!(route, 1, "GICD_IROUTER");
    }
    Ok(())
}

/// A priority can be written by byte and read by word, in its upper five bits at least.
fn check_priority(interrupt: u32) -> Outcome {
    let word = current::frame_of(interrupt) + distributor::IPRIORITYR + (interrupt as usize & !3);
    let before = read32(word);
    current::set_priority(interrupt, 0xd8);
    let shift = 8 * (interrupt % 4);
    let expected = before & !(0xff << shift) | 0xd8 << shift;
    ensure_equal!(read32(word), expected, "GICx_IPRIORITYR of interrupt {interrupt}");
    Ok(())
}

fn check_configuration() -> Outcome {
    let word = DISTRIBUTOR + distributor::ICFGR + 4 * (FREE_SHARED as usize / 16);
    current::set_edge(FREE_SHARED, true);
    current::set_edge(FREE_SHARED + 1, false);
    let bits = read32(word) >> (2 * (FREE_SHARED % 16)) & 0xf;
    ensure_equal!(bits & 0b1010, 0b0010, "GICD_ICFGR of two interrupts");
    ensure_equal!(read32(current::frame_of(0) + distributor::ICFGR), 0xaaaa_aaaa, "ICFGR0");
    Ok(())
}

static SEEN: AtomicU32 = AtomicU32::new(0);

/// Enables its own interrupt 20 and says what it saw before.
fn enable_own(_: usize) {
    current::init_core();
    SEEN.fetch_add(u32::from(current::bit(distributor::ISENABLER, 21)), Ordering::SeqCst);
    current::enable(20);
}

/// Interrupts 0 to 31 are each core's own, in its redistributor.
pub fn private_registers_are_per_core(machine: &Machine) -> Outcome {
    reset(machine);
    current::enable(21);
    SEEN.store(0, Ordering::SeqCst);
    ensure!(smp::run_on_others(machine.cores, enable_own), "not every core starts");
    ensure_equal!(SEEN.load(Ordering::SeqCst), 0, "cores that see core 0's enables as their own");
    ensure!(!current::bit(distributor::ISENABLER, 20), "core 0 has another core's enables");
    for core in (1..machine.cores).filter(|_| !current::is_v2()) {
        let enables = v3::redistributor_of(core) + redistributor::SGI_FRAME + distributor::ISENABLER;
        ensure_equal!(read32(enables) & 0b11 << 20, 1 << 20, "core {core}'s enables, from core 0");
    }
    Ok(())
}

/// Every word of both frames reads as something; nothing faults, nothing is disturbed.
pub fn every_register_can_be_read(machine: &Machine) -> Outcome {
    reset(machine);
    for offset in (0..distributor_size()).step_by(4) {
        if let Err(fault) = catch(|| read32(DISTRIBUTOR + offset)) {
            ensure!(false, "GICD offset {offset:#x}: {fault}");
        }
    }
    if current::is_v2() {
        return Ok(());
    }
    let own = v3::redistributor();
    for offset in (0..v3::REDISTRIBUTOR_STRIDE).step_by(4) {
        if let Err(fault) = catch(|| read32(own + offset)) {
            ensure!(false, "GICR offset {offset:#x}: {fault}");
        }
    }
    Ok(())
}

/// Registers of interrupts that do not exist read as zero and ignore writes.
pub fn beyond_the_last_interrupt(machine: &Machine) -> Outcome {
    reset(machine);
    let first = current::interrupt_count().next_multiple_of(32) as usize;
    for bank in first / 32..32 {
        for register in [distributor::ISENABLER, distributor::ISPENDR, distributor::ISACTIVER, distributor::IGROUPR] {
            let address = DISTRIBUTOR + register + 4 * bank;
            write32(address, u32::MAX);
            ensure_equal!(read32(address), 0, "GICD offset {:#x}", address - DISTRIBUTOR);
        }
    }
    for interrupt in (first..1020).step_by(4) {
        let address = DISTRIBUTOR + distributor::IPRIORITYR + interrupt;
        write32(address, u32::MAX);
        ensure_equal!(read32(address), 0, "GICD offset {:#x}", address - DISTRIBUTOR);
        check_no_route(interrupt)?;
    }
    expect_none()
}

fn check_no_route(interrupt: usize) -> Outcome {
    if current::is_v2() {
        let route = DISTRIBUTOR + v2::ITARGETSR + interrupt;
        write32(route, u32::MAX);
        ensure_equal!(read32(route), 0, "GICD offset {:#x}", route - DISTRIBUTOR);
    } else {
        let route = DISTRIBUTOR + distributor::IROUTER + 8 * interrupt;
        mmio::write64(route, 1);
        ensure_equal!(mmio::read64(route), 0, "GICD offset {:#x}", route - DISTRIBUTOR);
    }
    Ok(())
}

/// Accesses of sizes that a register does not offer may fault, but nothing worse (IHI 0069H 12.1.3).
pub fn odd_sizes_do_not_crash(machine: &Machine) -> Outcome {
    reset(machine);
    let frames = [DISTRIBUTOR, v3::redistributor(), v3::redistributor() + redistributor::SGI_FRAME];
    for base in frames.into_iter().take(if current::is_v2() { 1 } else { 3 }) {
        for offset in [0x0, 0x4, 0x8, 0x80, 0x100, 0x204, 0x300, 0x400, 0xc00, 0xc04, 0x6100, 0xfff8] {
            let _ = catch(|| mmio::read8(base + offset));
            let _ = catch(|| mmio::read16(base + offset));
            let _ = catch(|| mmio::read64(base + (offset & !7)));
            let _ = catch(|| mmio::read32(base + offset + 2));
        }
        for offset in [0x84, 0x104, 0x404, 0x6140] {
            let _ = catch(|| mmio::write16(base + offset, 0xffff));
            let _ = catch(|| mmio::write64(base + (offset & !7), u64::MAX));
        }
    }
    Ok(())
}

/// All ones into everything that has no meaning for us, and then a fresh start: it all works again.
pub fn still_working_after_all_that(machine: &Machine) -> Outcome {
    let meaningless = if current::is_v2() { [0xd00..0xf00, 0xfd0..0x1000] } else { [0xd00..0x6000, 0x8000..0x1_0000] };
    for offset in meaningless.into_iter().flatten().step_by(4) {
        if let Err(fault) = catch(|| write32(DISTRIBUTOR + offset, u32::MAX)) {
            ensure!(false, "GICD offset {offset:#x}: {fault}");
        }
    }
    gic::start(machine);
    reset(machine);
    ready(FREE_SHARED);
    current::set_pending(FREE_SHARED);
    expect(FREE_SHARED)?;
    current::enable(2);
    current::send_sgi(2, 0);
    expect(2)?;
    expect_none()
}
