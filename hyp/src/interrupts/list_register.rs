//! The list registers: how pending and active interrupts reach a running guest.
//!
//! Here belong the value that one list register holds, its encodings, and what the rest of the virtual GIC asks of the
//! hardware. Which interrupt goes where is decided in `delivery`; system registers and MMIO are behind the trait.

/// The most list registers the architecture allows (`ICH_VTR_EL2.ListRegs` + 1).
pub const MAXIMUM_LIST_REGISTERS: usize = 16;

/// Where an interrupt in a list register comes from, which decides how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The guest's deactivation also deactivates this physical interrupt (HW = 1).
    Hardware(u32),
    /// EL2 made it.
    Software {
        /// Ask for a maintenance interrupt when the guest deactivates it.
        notify_end: bool,
        /// GICv2 only: the virtual CPU that sent the SGI, else 0.
        source: u8,
    },
}

/// What one list register holds. Neither pending nor active means that it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRegister {
    /// The interrupt number the guest sees.
    pub intid: u32,
    /// The guest may acknowledge it.
    pub pending: bool,
    /// The guest has acknowledged it and not yet deactivated it.
    pub active: bool,
    /// Lower is more urgent.
    pub priority: u8,
    /// Group 1 (IRQ) or else Group 0 (FIQ).
    pub group_one: bool,
    /// What its deactivation does.
    pub origin: Origin,
}

impl ListRegister {
    /// The encoding of `ICH_LR<n>_EL2` (IHI 0069, 12.4.8).
    #[inline(always)]
    #[must_use]
    pub const fn to_ich_lr(self) -> u64 {
        let common = self.intid as u64
            | (self.priority as u64) << 48
            | (self.group_one as u64) << 60
            | (self.pending as u64) << 62
            | (self.active as u64) << 63;
        match self.origin {
            Origin::Hardware(physical) => common | 1 << 61 | (physical as u64 & 0x1fff) << 32,
            Origin::Software { notify_end, .. } => common | (notify_end as u64) << 41,
        }
    }

    /// Decodes `ICH_LR<n>_EL2`.
    #[inline(always)]
    #[must_use]
    pub const fn from_ich_lr(value: u64) -> Self {
        let origin = if value >> 61 & 1 != 0 {
            Origin::Hardware((value >> 32) as u32 & 0x1fff)
        } else {
            Origin::Software { notify_end: value >> 41 & 1 != 0, source: 0 }
        };
        Self {
            intid: value as u32,
            pending: value >> 62 & 1 != 0,
            active: value >> 63 != 0,
            priority: (value >> 48) as u8,
            group_one: value >> 60 & 1 != 0,
            origin,
        }
    }

    /// The encoding of `GICH_LR<n>` (IHI 0048, 5.3.11): five bits of priority, ten of each interrupt number.
    #[inline(always)]
    #[must_use]
    pub const fn to_gich_lr(self) -> u32 {
        let common = self.intid & 0x3ff
            | (self.priority as u32 >> 3) << 23
            | (self.pending as u32) << 28
            | (self.active as u32) << 29
            | (self.group_one as u32) << 30;
        match self.origin {
            Origin::Hardware(physical) => common | 1 << 31 | (physical & 0x3ff) << 10,
            Origin::Software { notify_end, source } => common | (notify_end as u32) << 19 | (source as u32 & 7) << 10,
        }
    }

    /// Decodes `GICH_LR<n>`.
    #[inline(always)]
    #[must_use]
    pub const fn from_gich_lr(value: u32) -> Self {
        let origin = if value >> 31 != 0 {
            Origin::Hardware(value >> 10 & 0x3ff)
        } else {
            Origin::Software { notify_end: value >> 19 & 1 != 0, source: (value >> 10 & 7) as u8 }
        };
        Self {
            intid: value & 0x3ff,
            pending: value >> 28 & 1 != 0,
            active: value >> 29 & 1 != 0,
            priority: (value >> 23 & 0x1f) as u8 * 8,
            group_one: value >> 30 & 1 != 0,
            origin,
        }
    }
}

/// When the hardware must call EL2 back because the list registers do not hold everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintenance {
    /// More is pending than fits: call when no list register is pending any more.
    pub pending_outside: bool,
    /// More is active than fits: call when the guest deactivates what no list register holds.
    pub active_outside: bool,
}

impl Maintenance {
    /// Nothing to call back for.
    pub const NONE: Self = Self { pending_outside: false, active_outside: false };

    /// `NPIE`, `LRENPIE` and `TDIR` of `ICH_HCR_EL2`; the caller adds `En` and its own trap bits. On GICv2 take the low
    /// byte for `GICH_HCR`, which has no `TDIR`. Where `ICH_VTR_EL2.TDS` is 0 use `TC` in place of `TDIR`.
    #[must_use]
    pub const fn ich_hcr(self) -> u32 {
        (self.pending_outside as u32) << 3 | if self.active_outside { 1 << 2 | 1 << 14 } else { 0 }
    }
}

/// The virtual CPU interface of the core we run on, as far as the virtual GIC drives it. Indices are below the number of
/// list registers that the virtual GIC was built with.
pub trait ListRegisters {
    /// Reads list register `index`.
    fn read(&mut self, index: usize) -> ListRegister;

    /// Whether list register `index` is empty.
    #[inline(always)]
    fn is_empty(&mut self, index: usize) -> bool {
        let seen = self.read(index);
        !seen.pending && !seen.active
    }

    /// Writes list register `index`.
    fn write(&mut self, index: usize, value: ListRegister);

    /// Writes list register `index` if that is one access and no more. Otherwise false: [`Self::write`] does it.
    #[inline(always)]
    fn write_directly(&mut self, index: usize, value: ListRegister) -> bool {
        self.write(index, value);
        true
    }

    /// Makes list register `index` zero.
    fn clear(&mut self, index: usize);

    /// One bit for each list register that is empty and asked for no maintenance (`ICH_ELRSR_EL2`).
    fn empty(&mut self) -> u32;

    /// One bit for each list register that is empty and asked for maintenance at its end (`ICH_EISR_EL2`).
    fn ended(&mut self) -> u32;

    /// Asks to be called back, and makes `ICH_HCR_EL2.EOIcount` zero.
    fn set_maintenance(&mut self, maintenance: Maintenance);

    /// Reads `ICH_HCR_EL2.EOIcount` and makes it zero: how often the guest deactivated what no list register held.
    fn take_unlisted_deactivations(&mut self) -> u32;

    /// Deactivates a physical interrupt that was acknowledged on this core (`ICC_DIR_EL1`).
    fn deactivate(&mut self, physical: u32);

    /// Makes a private physical interrupt of this core active (`GICR_ISACTIVER0`) without it having fired.
    fn activate(&mut self, physical: u32);
}
