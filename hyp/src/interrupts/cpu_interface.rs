//! The registers of a virtual CPU interface that move with a virtual CPU besides the list registers.

/// What a switch of virtual CPUs saves and restores; list registers are [parked](super::Vgic::park) instead. GICv2 uses the
/// low 32 bits of `vmcr` for `GICH_VMCR` and `active_one[0]` for `GICH_APR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct CpuInterface {
    /// `ICH_VMCR_EL2`: priority mask, binary points, group enables, EOI mode.
    pub vmcr: u64,
    /// `ICH_AP0R<n>_EL2`: active priorities of Group 0.
    pub active_zero: [u32; 4],
    /// `ICH_AP1R<n>_EL2`: active priorities of Group 1.
    pub active_one: [u32; 4],
}

impl CpuInterface {
    /// A virtual CPU interface out of reset: everything masked and disabled, nothing active.
    pub const RESET: Self = Self { vmcr: 0, active_zero: [0; 4], active_one: [0; 4] };
}

impl Default for CpuInterface {
    fn default() -> Self {
        Self::RESET
    }
}
