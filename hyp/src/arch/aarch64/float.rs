//! The SIMD and floating-point registers of a guest: EL2 itself is built without them.

use core::arch::asm;

/// V0 to V31, FPSR and FPCR.
#[repr(C, align(16))]
#[derive(Clone)]
pub struct FloatRegisters {
    v: [[u8; 16]; 32],
    fpsr: u64,
    fpcr: u64,
}

impl FloatRegisters {
    /// All zero: nothing of a neighbour.
    pub const fn reset() -> Self {
        Self { v: [[0; 16]; 32], fpsr: 0, fpcr: 0 }
    }

    /// V0 to V31 as they were saved, the lowest byte of each first.
    pub const fn vectors(&self) -> &[[u8; 16]; 32] {
        &self.v
    }

    /// The same, to be changed: the processor has them when this is restored.
    pub const fn vectors_mut(&mut self) -> &mut [[u8; 16]; 32] {
        &mut self.v
    }

    /// Takes the registers out of the processor.
    pub fn save(&mut self) {
        // SAFETY: stores 512 bytes to `v`, then two words: the layout of this `repr(C)` type. CPTR_EL2 does not trap.
        unsafe {
            asm!(
                ".arch_extension fp", ".arch_extension simd",
                "stp q0, q1, [{r}]", "stp q2, q3, [{r}, #32]",
                "stp q4, q5, [{r}, #64]", "stp q6, q7, [{r}, #96]",
                "stp q8, q9, [{r}, #128]", "stp q10, q11, [{r}, #160]",
                "stp q12, q13, [{r}, #192]", "stp q14, q15, [{r}, #224]",
                "stp q16, q17, [{r}, #256]", "stp q18, q19, [{r}, #288]",
                "stp q20, q21, [{r}, #320]", "stp q22, q23, [{r}, #352]",
                "stp q24, q25, [{r}, #384]", "stp q26, q27, [{r}, #416]",
                "stp q28, q29, [{r}, #448]", "stp q30, q31, [{r}, #480]",
                "mrs {t}, fpsr", "str {t}, [{r}, #512]",
                "mrs {t}, fpcr", "str {t}, [{r}, #520]",
                r = in(reg) self as *mut Self, t = out(reg) _, options(nostack, preserves_flags)
            )
        }
    }

    /// Puts the registers into the processor.
    pub fn restore(&self) {
        // SAFETY: loads what `save` stored; no compiled EL2 code holds values in these registers.
        unsafe {
            asm!(
                ".arch_extension fp", ".arch_extension simd",
                "ldp q0, q1, [{r}]", "ldp q2, q3, [{r}, #32]",
                "ldp q4, q5, [{r}, #64]", "ldp q6, q7, [{r}, #96]",
                "ldp q8, q9, [{r}, #128]", "ldp q10, q11, [{r}, #160]",
                "ldp q12, q13, [{r}, #192]", "ldp q14, q15, [{r}, #224]",
                "ldp q16, q17, [{r}, #256]", "ldp q18, q19, [{r}, #288]",
                "ldp q20, q21, [{r}, #320]", "ldp q22, q23, [{r}, #352]",
                "ldp q24, q25, [{r}, #384]", "ldp q26, q27, [{r}, #416]",
                "ldp q28, q29, [{r}, #448]", "ldp q30, q31, [{r}, #480]",
                "ldr {t}, [{r}, #512]", "msr fpsr, {t}",
                "ldr {t}, [{r}, #520]", "msr fpcr, {t}",
                r = in(reg) self as *const Self, t = out(reg) _, options(nostack, preserves_flags)
            )
        }
    }
}
