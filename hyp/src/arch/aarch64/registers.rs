//! Reading and writing system registers by name, and the one table of those a vCPU switch carries.

use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, Ordering};

use super::instruction_barrier;

/// Reads a system register by its assembler name.
macro_rules! read_register {
    ($name:expr) => {{
        let value: u64;
        // SAFETY: reading a system register has no memory effect; the name is checked by the assembler.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags))
        };
        value
    }};
}
pub(crate) use read_register;

/// Writes a system register by its assembler name. The caller adds the `isb` where the write must be seen at once.
macro_rules! write_register {
    ($name:expr, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: the registers written so are the guest's own state, or EL2 controls whose meaning for memory the
        // caller answers for at the place of the call.
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags))
        };
    }};
}
pub(crate) use write_register;

/// Whether this machine's cores have VDISR_EL2.
static HAS_DEFERRED_ERRORS: AtomicBool = AtomicBool::new(false);

/// Learns what this core has that others have not, before the first switch.
pub(super) fn prepare(has_deferred_errors: bool) {
    // One core with it is enough to ask for it: in a machine of unlike cores this would fault, and not leak.
    HAS_DEFERRED_ERRORS.fetch_or(has_deferred_errors, Ordering::Relaxed);
}

/// Keeps registers in a [`SystemRegisters`], two at a time: a store is half of what it costs.
macro_rules! save_pairs {
    ($to:ident;) => {};
    ($to:ident; $one:ident: $name:literal, $other:ident: $other_name:literal, $($rest:tt)*) => {
        const { assert!(offset_of!(SystemRegisters, $other) == offset_of!(SystemRegisters, $one) + 8) };
        // SAFETY: reads two system registers into two fields that follow each other.
        unsafe {
            core::arch::asm!(
                concat!("mrs {one}, ", $name), concat!("mrs {other}, ", $other_name), "stp {one}, {other}, [{to}, {at}]",
                one = out(reg) _, other = out(reg) _, to = in(reg) $to, at = const offset_of!(SystemRegisters, $one),
                options(nostack, preserves_flags)
            )
        };
        save_pairs!($to; $($rest)*);
    };
    ($to:ident; $one:ident: $name:literal,) => { $to.$one = read_register!($name); };
}

/// Puts them back, likewise.
macro_rules! restore_pairs {
    ($from:ident;) => {};
    ($from:ident; $one:ident: $name:literal, $other:ident: $other_name:literal, $($rest:tt)*) => {
        // SAFETY: the fields follow each other, as `save_pairs` asserts; the registers are the guest's own state.
        unsafe {
            core::arch::asm!(
                "ldp {one}, {other}, [{from}, {at}]", concat!("msr ", $name, ", {one}"), concat!("msr ", $other_name, ", {other}"),
                one = out(reg) _, other = out(reg) _, from = in(reg) $from, at = const offset_of!(SystemRegisters, $one),
                options(nostack, preserves_flags)
            )
        };
        restore_pairs!($from; $($rest)*);
    };
    ($from:ident; $one:ident: $name:literal,) => { write_register!($name, $from.$one); };
}

/// Declares the system registers of a vCPU: field, assembler name, value out of reset.
/// Those before the first semicolon are EL2's own settings for it, which nothing changes: they are put into the processor,
/// first, and not saved. Those behind the last one are put in last, each behind a barrier.
macro_rules! switched_registers {
    ($($(#[$first_doc:meta])* $first:ident: $first_name:literal = $first_reset:expr,)*;
     $($(#[$doc:meta])* $field:ident: $name:literal = $reset:expr,)*;
     $($(#[$last_doc:meta])* $last:ident: $last_name:literal = $last_reset:expr,)*) => {
        /// The system registers that belong to a vCPU: what a switch saves and restores.
        ///
        /// They stay in the processor for as long as the same vCPU goes on.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[repr(C)]
        pub struct SystemRegisters {
            $($(#[$first_doc])* pub $first: u64,)*
            $($(#[$doc])* pub $field: u64,)*
            $($(#[$last_doc])* pub $last: u64,)*
            /// `VDISR_EL2`, what the guest reads as DISR_EL1, where there is the RAS extension.
            pub deferred_error: u64,
        }

        impl SystemRegisters {
            /// How many registers the table has.
            pub const COUNT: usize = [$($first_name,)* $($name,)* $($last_name,)*].len();

            /// The state out of reset, where it matters (MMU off, timer off); zero where it is UNKNOWN.
            pub const fn reset() -> Self {
                Self { $($first: $first_reset,)* $($field: $reset,)* $($last: $last_reset,)* deferred_error: 0 }
            }

            /// Takes the registers out of the processor.
            #[inline(always)]
            pub fn save(&mut self) {
                let to = &mut *self;
                save_pairs!(to; $($field: $name,)* $($last: $last_name,)*);
                if HAS_DEFERRED_ERRORS.load(Ordering::Relaxed) {
                    self.deferred_error = read_register!("s3_4_c12_c1_1");
                }
            }

            /// Puts the registers into the processor.
            ///
            /// The guest's translation tables change here: no guest instruction runs until the exception return
            /// that follows, which synchronises the context.
            #[inline(always)]
            pub fn restore(&self) {
                Walks::stop();
                if HAS_DEFERRED_ERRORS.load(Ordering::Relaxed) {
                    write_register!("s3_4_c12_c1_1", self.deferred_error);
                }
                let from = self;
                restore_pairs!(from; $($first: $first_name,)* $($field: $name,)*);
                $(
                    instruction_barrier();
                    write_register!($last_name, self.$last);
                )*
            }
        }
    };
}

switched_registers! {
    /// `CNTVOFF_EL2`: one value for all vCPUs of a VM.
    cntvoff: "cntvoff_el2" = 0,
    /// `VMPIDR_EL2`: what the guest reads as MPIDR_EL1.
    vmpidr: "vmpidr_el2" = 0x8000_0000,
    /// `VPIDR_EL2`: what the guest reads as MIDR_EL1.
    vpidr: "vpidr_el2" = 0,
    /// `VTTBR_EL2`: the VM's Stage-2 root and VMID.
    vttbr: "vttbr_el2" = 0,;
    /// `ELR_EL2`: the guest's next instruction.
    pc: "elr_el2" = 0,
    /// `SPSR_EL2`, the guest's PSTATE: EL1 with its own stack pointer, all exceptions masked (PSCI, DEN0022 6.4).
    pstate: "spsr_el2" = 0x3c5,
    /// `ACTLR_EL1`.
    actlr: "actlr_el1" = 0,
    /// `CPACR_EL1`.
    cpacr: "cpacr_el1" = 0,
    /// `TTBR0_EL1`.
    ttbr0: "ttbr0_el1" = 0,
    /// `TTBR1_EL1`.
    ttbr1: "ttbr1_el1" = 0,
    /// `MAIR_EL1`.
    mair: "mair_el1" = 0,
    /// `AMAIR_EL1`.
    amair: "amair_el1" = 0,
    /// `ESR_EL1`.
    esr: "esr_el1" = 0,
    /// `AFSR0_EL1`.
    afsr0: "afsr0_el1" = 0,
    /// `AFSR1_EL1`.
    afsr1: "afsr1_el1" = 0,
    /// `FAR_EL1`.
    far: "far_el1" = 0,
    /// `PAR_EL1`: left over from a neighbour it would tell machine addresses.
    par: "par_el1" = 0,
    /// `VBAR_EL1`.
    vbar: "vbar_el1" = 0,
    /// `ELR_EL1`.
    elr: "elr_el1" = 0,
    /// `SPSR_EL1`.
    spsr: "spsr_el1" = 0,
    /// `SP_EL0`.
    sp_el0: "sp_el0" = 0,
    /// `SP_EL1`.
    sp_el1: "sp_el1" = 0,
    /// `TPIDR_EL0`.
    tpidr_el0: "tpidr_el0" = 0,
    /// `TPIDRRO_EL0`.
    tpidrro_el0: "tpidrro_el0" = 0,
    /// `TPIDR_EL1`.
    tpidr_el1: "tpidr_el1" = 0,
    /// `CONTEXTIDR_EL1`.
    contextidr: "contextidr_el1" = 0,
    /// `CSSELR_EL1`.
    csselr: "csselr_el1" = 0,
    /// `CNTKCTL_EL1`.
    cntkctl: "cntkctl_el1" = 0,
    /// `MDSCR_EL1`: the guest's software single-step.
    mdscr: "mdscr_el1" = 0,
    /// `CNTV_CVAL_EL0`.
    cntv_cval: "cntv_cval_el0" = 0,
    /// `CNTV_CTL_EL0`: off.
    cntv_ctl: "cntv_ctl_el0" = 0,
    /// `HCR_EL2`: what of this vCPU traps.
    hcr: "hcr_el2" = 0,;
    /// `SCTLR_EL1`: MMU and caches off, RES1 bits set. By then Stage 2 is this vCPU's.
    sctlr: "sctlr_el1" = 0x30d0_0800,
    /// `TCR_EL1`. Until it is written no walk of EL1's tables can start.
    tcr: "tcr_el1" = 0,
}

/// EL1's translation as it was before [`Walks::stop`].
pub(super) struct Walks {
    control: u64,
    system_control: u64,
}

impl Walks {
    /// From here on nothing is translated for EL1: an AT instruction that is executed speculatively while the registers are
    /// of two guests would leave a wrong translation in the TLB (Cortex-A72 erratum 1319367, A57 1319537, A53 1530924).
    ///
    /// TCR_EL1.EPD0 and EPD1 forbid walks, but only with the MMU on: while it is off, all addresses have a translation.
    pub fn stop() -> Self {
        const EPD0_EPD1: u64 = 1 << 7 | 1 << 23;
        const MMU: u64 = 1;
        let (control, system_control) = (read_register!("tcr_el1"), read_register!("sctlr_el1"));
        write_register!("tcr_el1", control | EPD0_EPD1);
        // In this order: with the MMU on and walks allowed, they would start from tables that are none.
        instruction_barrier();
        write_register!("sctlr_el1", system_control | MMU);
        instruction_barrier();
        Self { control, system_control }
    }

    /// All is of one guest again.
    pub fn resume(self) {
        instruction_barrier();
        write_register!("sctlr_el1", self.system_control);
        instruction_barrier();
        write_register!("tcr_el1", self.control);
    }
}
