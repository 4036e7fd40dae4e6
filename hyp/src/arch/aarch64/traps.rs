//! What of a guest traps to EL2, and the registers that tell of a trap. What they mean is decoded in `exit::syndrome`.
//!
//! References are to the Arm ARM (DDI 0487), D24.2, for each register.

use super::controls;
use super::registers::{self, read_register, write_register};

/// HCR_EL2 bits (Arm ARM D24.2.53).
pub mod hcr {
    /// Stage-2 translation on.
    pub const VM: u64 = 1 << 0;
    /// Set/way invalidation also cleans: a guest cannot discard another's data.
    pub const SWIO: u64 = 1 << 1;
    /// A Stage-1 walk may not read device memory.
    pub const PTW: u64 = 1 << 2;
    /// Physical FIQ to EL2, virtual FIQ enabled.
    pub const FMO: u64 = 1 << 3;
    /// Physical IRQ to EL2, virtual IRQ enabled.
    pub const IMO: u64 = 1 << 4;
    /// Physical SError to EL2, virtual SError enabled.
    pub const AMO: u64 = 1 << 5;
    /// A virtual SError is pending.
    pub const VSE: u64 = 1 << 8;
    /// The guest's local TLB and instruction-cache maintenance is broadcast.
    pub const FB: u64 = 1 << 9;
    /// The guest's barriers reach at least the inner shareable domain.
    pub const BSU_INNER: u64 = 1 << 10;
    /// WFI traps.
    pub const TWI: u64 = 1 << 13;
    /// ID group 3 (feature registers) traps.
    pub const TID3: u64 = 1 << 18;
    /// SMC traps.
    pub const TSC: u64 = 1 << 19;
    /// Implementation-defined registers trap.
    pub const TIDCP: u64 = 1 << 20;
    /// ACTLR_EL1 traps.
    pub const TACR: u64 = 1 << 21;
    /// EL1 is AArch64.
    pub const RW: u64 = 1 << 31;
    /// LORegion registers trap.
    pub const TLOR: u64 = 1 << 35;
    /// RAS error records trap.
    pub const TERR: u64 = 1 << 36;
    /// GMID_EL1 traps: memory tagging is hidden.
    pub const TID5: u64 = 1 << 58;
}

/// HCR_EL2 for a vCPU that has its core for itself. What is hidden traps while its bit is zero: pointer authentication (API,
/// APK), memory tags (ATA), SCXTNUM_EL1 and _EL0 (EnSCXT), injected RAS errors (FIEN), nested virtualization (NV).
pub const HCR_GUEST: u64 = hcr::VM
    | hcr::SWIO
    | hcr::PTW
    | hcr::FMO
    | hcr::IMO
    | hcr::AMO
    | hcr::FB
    | hcr::BSU_INNER
    | hcr::TID3
    | hcr::TSC
    | hcr::TIDCP
    | hcr::TACR
    | hcr::RW
    | hcr::TLOR
    | hcr::TERR
    | hcr::TID5;

/// CPTR_EL2 (E2H = 0): RES1 bits, SVE, SME, trace and activity monitors trap; floating point is the guest's.
const CPTR: u64 = 0x33ff | 1 << 20 | 1 << 30;
/// CPTR_EL2's bits that are RES1 whatever the processor has: nothing traps.
const CPTR_OPEN: u64 = 0x22ff;
/// MDCR_EL2: debug registers (TDA, TDOSA, TDRA), performance monitors (TPM, TPMCR) trap. HPMN is [`counters`].
const MDCR: u64 = 1 << 11 | 1 << 10 | 1 << 9 | 1 << 6 | 1 << 5;
/// CNTHCTL_EL2 (E2H = 0): the guest reads the physical counter; its physical timer traps.
const CNTHCTL: u64 = 1;

/// Whether the field of four bits at `shift` of an ID register says that something is there: neither 0 nor 0xf.
fn has_feature(register: u64, shift: u32) -> bool {
    !matches!(register >> shift & 0xf, 0 | 0xf)
}

/// How many event counters there are (PMCR_EL0.N): MDCR_EL2.HPMN must say so, 0 would be UNPREDICTABLE.
fn counters() -> u64 {
    let has_monitors = has_feature(read_register!("id_aa64dfr0_el1"), 8);
    if has_monitors { read_register!("pmcr_el0") >> 11 & 0x1f } else { 0 }
}

/// Sets the traps that are the same for every guest, on this core. No reset value is relied on.
pub fn configure_core(vtcr: u64) {
    write_register!("cptr_el2", CPTR_OPEN);
    super::instruction_barrier();
    controls::write();
    registers::prepare(controls::has_deferred_errors());
    write_register!("cptr_el2", CPTR);
    write_register!("mdcr_el2", MDCR | counters() | controls::debug_traps());
    write_register!("hstr_el2", 0);
    write_register!("cnthctl_el2", CNTHCTL);
    write_register!("vtcr_el2", vtcr);
    // Nobody's VMID, so that nothing translated before the first vCPU is taken for a guest's.
    write_register!("vttbr_el2", 0);
    silence();
    // Whatever ran before may have left translations under the VMIDs we are going to use.
    // SAFETY: drops cached translations only; no guest runs on this core yet.
    unsafe { core::arch::asm!("isb", "tlbi alle1", "dsb nsh", "isb", options(nostack, preserves_flags)) };
}

/// Ends what firmware or a boot loader may have left on: timers, whose interrupts would come before there is a vCPU to end
/// them, and the OS lock, under which a guest cannot step through its programs.
fn silence() {
    write_register!("cntv_ctl_el0", 0);
    write_register!("cntp_ctl_el0", 0);
    write_register!("cnthp_ctl_el2", 0);
    write_register!("osdlr_el1", 0);
    write_register!("oslar_el1", 0);
}

/// The syndrome of the exit that is being handled, read once.
#[inline(always)]
pub fn syndrome() -> u64 {
    read_register!("esr_el2")
}

/// The virtual address of a fault (FAR_EL2).
#[inline(always)]
pub fn fault_virtual_address() -> u64 {
    read_register!("far_el2")
}

/// The page of guest physical memory of a Stage-2 fault, where the architecture gives it (HPFAR_EL2): not for
/// permission faults outside a table walk.
#[inline(always)]
pub fn fault_page() -> u64 {
    // FIPA, address bits 12 and up, starts at bit 4; what is below it is RES0, and NS (bit 63) is shifted out.
    read_register!("hpfar_el2") << 8
}

/// An access to be translated by the guest's own tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage1Access {
    /// With EL0's permissions rather than EL1's.
    pub from_user: bool,
    /// A store rather than a load.
    pub is_write: bool,
}

/// Why the guest's own tables lead nowhere (PAR_EL1 with F = 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage1Fault {
    /// The fault status code, as a data abort would have it.
    pub status: u64,
    /// One of the tables is where Stage 2 has nothing.
    pub is_stage2: bool,
}

impl Stage1Fault {
    /// A permission was missing, of whatever level.
    pub const fn is_permission(self) -> bool {
        self.status & 0x3c == 0x0c
    }
}

/// Asks the processor where the guest's own Stage 1 leads for `address`. PSTATE.PAN does not count.
///
/// PAR_EL1 is the guest's and is put back.
///
/// # Errors
/// Its tables say fault.
pub fn stage1_translate(address: u64, access: Stage1Access) -> Result<u64, Stage1Fault> {
    macro_rules! ask {
        ($instruction:literal) => {
            // SAFETY: AT changes PAR_EL1 only, which is restored below.
            unsafe { core::arch::asm!($instruction, "isb", in(reg) address, options(nostack)) }
        };
    }
    let saved = read_register!("par_el1");
    match (access.from_user, access.is_write) {
        (true, false) => ask!("at s1e0r, {}"),
        (true, true) => ask!("at s1e0w, {}"),
        (false, false) => ask!("at s1e1r, {}"),
        (false, true) => ask!("at s1e1w, {}"),
    }
    let result = read_register!("par_el1");
    write_register!("par_el1", saved);
    if result & 1 == 0 {
        return Ok((result & 0xf_ffff_ffff_f000) | (address & 0xfff));
    }
    Err(Stage1Fault { status: result >> 1 & 0x3f, is_stage2: result >> 9 & 1 != 0 })
}

/// Drops what this core's TLB holds of the guest's own translation for `address`, under any ASID.
pub fn forget_translation(address: u64) {
    // SAFETY: drops cached translations only, of the VMID that is loaded.
    unsafe {
        core::arch::asm!("tlbi vaae1, {}", "dsb nsh", "isb", in(reg) address << 8 >> 20, options(nostack));
    }
}
