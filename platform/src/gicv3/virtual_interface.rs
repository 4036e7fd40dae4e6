//! The hardware that shows interrupts to a guest (IHI 0069H, 12.4): the calling core's ICH registers, bare.
//!
//! What to write into them is decided by the virtual interrupt controller above.

use crate::system_registers::system_registers;

system_registers! {
    /// Control of the virtual interface (12.4.6).
    IchHcr = "ICH_HCR_EL2";
    /// How many list registers and priorities there are (12.4.10).
    IchVtr = "ICH_VTR_EL2";
    /// Why the maintenance interrupt is raised (12.4.8).
    IchMisr = "ICH_MISR_EL2";
    /// Which list registers ended an interrupt that asked for maintenance (12.4.4).
    IchEisr = "ICH_EISR_EL2";
    /// Which list registers hold no pending or active interrupt (12.4.5).
    IchElrsr = "ICH_ELRSR_EL2";
    /// The guest's priority mask, group enables and control (12.4.9).
    IchVmcr = "ICH_VMCR_EL2";
}

/// Declares a run of registers, and functions that read and write one of them by its index.
macro_rules! register_run {
    ($module:ident, $what:literal, $read:ident, $write:ident, $($index:literal $name:ident $assembly:literal,)*) => {
        mod $module {
            crate::system_registers::system_registers! {$(
                #[doc = $what]
                $name = $assembly;
            )*}
        }

        #[doc = concat!("Reads one of ", $what, "; 0 if there is none of that index.")]
        #[inline]
        pub fn $read(index: usize) -> u64 {
            match index {
                $($index => $module::$name.read(),)*
                _ => 0,
            }
        }

        #[doc = concat!("Writes one of ", $what, "; nothing happens if there is none of that index.")]
        #[inline]
        pub fn $write(index: usize, value: u64) {
            match index {
                $($index => $module::$name.write(value),)*
                _ => {}
            }
        }
    };
}

register_run! {
    list_registers, "the list registers (12.4.7), of which [`list_register_count`] are there",
    list_register, set_list_register,
    0 Lr0 "ICH_LR0_EL2", 1 Lr1 "ICH_LR1_EL2", 2 Lr2 "ICH_LR2_EL2", 3 Lr3 "ICH_LR3_EL2",
    4 Lr4 "ICH_LR4_EL2", 5 Lr5 "ICH_LR5_EL2", 6 Lr6 "ICH_LR6_EL2", 7 Lr7 "ICH_LR7_EL2",
    8 Lr8 "ICH_LR8_EL2", 9 Lr9 "ICH_LR9_EL2", 10 Lr10 "ICH_LR10_EL2", 11 Lr11 "ICH_LR11_EL2",
    12 Lr12 "ICH_LR12_EL2", 13 Lr13 "ICH_LR13_EL2", 14 Lr14 "ICH_LR14_EL2", 15 Lr15 "ICH_LR15_EL2",
}

register_run! {
    active_priorities_0, "the Group 0 active priorities (12.4.1), of which [`active_priority_count`] are there",
    group0_active_priorities, set_group0_active_priorities,
    0 Ap0r0 "ICH_AP0R0_EL2", 1 Ap0r1 "ICH_AP0R1_EL2", 2 Ap0r2 "ICH_AP0R2_EL2", 3 Ap0r3 "ICH_AP0R3_EL2",
}

register_run! {
    active_priorities_1, "the Group 1 active priorities (12.4.2), of which [`active_priority_count`] are there",
    group1_active_priorities, set_group1_active_priorities,
    0 Ap1r0 "ICH_AP1R0_EL2", 1 Ap1r1 "ICH_AP1R1_EL2", 2 Ap1r2 "ICH_AP1R2_EL2", 3 Ap1r3 "ICH_AP1R3_EL2",
}

/// How many list registers there are, 1 to 16: ICH_VTR_EL2.ListRegs + 1. Others must not be touched: UNDEFINED.
pub fn list_register_count() -> usize {
    (IchVtr.read() as usize & 0x1f) + 1
}

/// How many bits a virtual priority has, 5 to 8: ICH_VTR_EL2.PRIbits + 1.
pub fn priority_bits() -> u32 {
    (IchVtr.read() >> 29) as u32 % 8 + 1
}

/// How many active-priority registers each group has, 1, 2 or 4: one for 32 preemption levels (ICH_VTR_EL2.PREbits).
pub fn active_priority_count() -> usize {
    1 << preemption_bits().saturating_sub(5).min(2)
}

/// Whether that is more than one.
#[inline(always)]
pub fn has_many_active_priorities() -> bool {
    preemption_bits() > 5
}

#[inline(always)]
fn preemption_bits() -> u32 {
    (IchVtr.read() >> 26) as u32 % 8 + 1
}
