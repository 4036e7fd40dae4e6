//! The state machine of 32 interrupts, one bit each, so that a register access is one operation on a word.
//!
//! Here belongs what IHI 0069 chapter 4 and IHI 0048 chapter 3 say of a single interrupt: enabled, pending, active, edge or
//! level, priority, group. Who is told of a change is decided in `vgic` and `distributor`; list registers in `delivery`.

use super::list_register::{ListRegister, Origin};

/// The bits of a priority that are kept: five, as the usual hardware has.
pub(super) const PRIORITY_MASK: u8 = 0xf8;

/// A register that holds one bit for each interrupt of a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BitRegister {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
}

impl BitRegister {
    /// Whether the hardware changes what it holds.
    pub fn is_volatile(self) -> bool {
        matches!(self, Self::SetPending | Self::ClearPending | Self::SetActive | Self::ClearActive)
    }
}

/// What a change of a bank asks for; one bit for each interrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub(super) struct Change {
    /// Not in a list register; look whether they belong into one now.
    pub place: u32,
    /// In a list register which no longer tells the truth.
    pub recall: u32,
}

impl Change {
    /// This change and then another.
    pub fn and(self, other: Self) -> Self {
        Self { place: self.place | other.place, recall: self.recall | other.recall }
    }
}

/// Thirty-two interrupts: the private ones of one virtual CPU, or 32 SPIs.
///
/// While an interrupt is *listed* (in a list register), the hardware changes its state behind our back. Then `active` is
/// what was last seen, `moved` says that the pending latch went along, and wishes wait in `activate` and `deactivate`
/// until the holder of the list register takes the interrupt back.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    pub group: u32,
    pub enabled: u32,
    /// Pending by an edge, by software, or by a physical interrupt.
    pub latch: u32,
    /// The level of the input line.
    pub line: u32,
    /// Edge-triggered; else level-sensitive.
    pub edge: u32,
    pub active: u32,
    /// Stands for a physical interrupt, see `physical`.
    pub hardware: u32,
    /// The physical interrupt is active and waits for the guest's deactivation.
    pub owed: u32,
    /// The physical interrupt fired again after a list register elsewhere had come to its end unseen.
    pub renewed: u32,
    pub listed: u32,
    pub moved: u32,
    pub activate: u32,
    pub deactivate: u32,
    pub priority: [u8; 32],
    /// The priority that an active one was acknowledged with, which its end drops. While it is in a list register, that
    /// knows better; of one that a register write made active it does not matter.
    pub taken: [u8; 32],
    /// The physical interrupt, where `hardware` is set.
    pub physical: [u16; 32],
    /// The list register, where `listed` is set.
    pub slot: [u8; 32],
    /// Which of the interrupts there are: 1020 to 1023 are none.
    pub exists: u32,
}

impl Bank {
    /// A bank out of reset: all in Group 0, disabled, idle, priority 0. `edge` gives the reset configuration.
    pub fn new(edge: u32, exists: u32) -> Self {
        Self {
            exists,
            group: 0,
            enabled: 0,
            latch: 0,
            line: 0,
            edge,
            active: 0,
            hardware: 0,
            owed: 0,
            renewed: 0,
            listed: 0,
            moved: 0,
            activate: 0,
            deactivate: 0,
            priority: [0; 32],
            taken: [0; 32],
            physical: [0; 32],
            slot: [0; 32],
        }
    }

    /// Back to reset; mappings to physical interrupts and input lines stay, they belong to the machine.
    pub fn reset(&mut self, edge: u32) {
        self.lower_hardware_lines();
        let (hardware, physical, line) = (self.hardware, self.physical, self.line);
        *self = Self { hardware, physical, line, ..Self::new(edge, self.exists) };
    }

    /// Makes interrupt `intid` stand for `physical`.
    pub fn map(&mut self, intid: u32, physical: u32) {
        self.hardware |= (1 << (intid & 31)) & self.exists;
        self.physical[intid as usize & 31] = physical as u16;
    }

    /// Pending, as far as it is not in a list register.
    #[inline]
    pub fn pending(&self) -> u32 {
        self.latch | self.line & !self.edge
    }

    /// Unlisted interrupts that a list register has use for: to be delivered, to be deactivated by the guest, or whose
    /// physical interrupt has to be let go.
    #[inline]
    pub fn work(&self) -> u32 {
        (self.pending() & self.enabled | self.active | self.orphans()) & !self.listed
    }

    /// Unlisted interrupts to deliver, where `groups` has the bits of enabled groups.
    #[inline]
    pub fn deliverable(&self, groups: u32) -> u32 {
        self.pending() & self.enabled & groups & !self.active & !self.listed
    }

    /// Physical interrupts that nothing virtual stands for any more: they would stay active, and silent, for ever.
    #[inline]
    pub fn orphans(&self) -> u32 {
        self.owed & !(self.latch | self.active | self.listed)
    }

    /// The level of the input line of the interrupts in `mask`.
    #[inline]
    pub fn set_line(&mut self, mask: u32, high: bool) -> Change {
        let mask = mask & self.exists;
        if high {
            let rising = mask & !self.line;
            self.line |= mask;
            self.latch |= rising & self.edge;
            // A listed level-sensitive one is to be sampled at its end from now on.
            Change { place: rising, recall: rising & self.listed }
        } else {
            let falling = mask & self.line & !self.edge;
            self.line &= !mask;
            Change { place: 0, recall: falling & self.listed }
        }
    }

    /// The lines of the physical interrupts in `mask` would be high if their virtual CPU were not parked.
    pub fn raise_hardware_line(&mut self, mask: u32) {
        let mask = mask & self.hardware;
        self.line |= mask;
        self.latch |= mask & self.edge;
    }

    /// Physical interrupts have lines of their own again.
    pub fn lower_hardware_lines(&mut self) {
        self.line &= !self.hardware;
    }

    /// Private interrupts go off with their virtual CPU: none is active, and a level that is still high fires again.
    pub fn go_off(&mut self) {
        self.active = 0;
        self.latch &= !(self.owed & !self.edge);
        self.lower_hardware_lines();
    }

    /// Makes the interrupts in `mask` pending once (an edge, an SGI, a message).
    #[inline]
    pub fn pulse(&mut self, mask: u32) -> Change {
        let mask = mask & self.exists;
        self.latch |= mask;
        Change { place: mask, recall: mask & self.listed }
    }

    /// Reads a register. Of listed interrupts it gives what was last seen.
    #[inline]
    pub fn read(&self, register: BitRegister) -> u32 {
        match register {
            BitRegister::Group => self.group,
            BitRegister::SetEnable | BitRegister::ClearEnable => self.enabled,
            BitRegister::SetPending | BitRegister::ClearPending => self.pending() | self.moved,
            BitRegister::SetActive | BitRegister::ClearActive => self.active,
        }
    }

    /// Writes a register.
    #[inline(always)]
    pub fn write(&mut self, register: BitRegister, value: u32) -> Change {
        let value = value & self.exists;
        match register {
            BitRegister::Group => {
                let changed = self.group ^ value;
                self.group = value;
                self.reconsider(changed)
            }
            BitRegister::SetEnable => {
                let changed = value & !self.enabled;
                self.enabled |= value;
                self.reconsider(changed)
            }
            BitRegister::ClearEnable => {
                let changed = value & self.enabled;
                self.enabled &= !value;
                Change { place: 0, recall: changed & self.listed }
            }
            BitRegister::SetPending => self.pulse(value),
            BitRegister::ClearPending => {
                self.latch &= !value;
                self.moved &= !value;
                self.reconsider(value)
            }
            BitRegister::SetActive => self.set_active(value),
            BitRegister::ClearActive => self.clear_active(value),
        }
    }

    fn set_active(&mut self, value: u32) -> Change {
        self.active |= value & !self.listed;
        self.activate |= value & self.listed;
        self.deactivate &= !value;
        self.reconsider(value)
    }

    fn clear_active(&mut self, value: u32) -> Change {
        self.active &= !value | self.listed;
        self.deactivate |= value & self.listed;
        self.activate &= !value;
        self.reconsider(value)
    }

    fn reconsider(&self, changed: u32) -> Change {
        Change { place: changed, recall: changed & self.listed }
    }

    /// Sets the priority of one interrupt.
    pub fn set_priority(&mut self, index: usize, priority: u8) -> Change {
        let place = &mut self.priority[index & 31];
        let changed = u32::from(*place != priority & PRIORITY_MASK) << (index & 31);
        *place = priority & PRIORITY_MASK;
        self.reconsider(changed)
    }

    /// Sets which interrupts in `mask` are edge-triggered.
    pub fn set_edge(&mut self, mask: u32, edge: u32) -> Change {
        let changed = (self.edge ^ edge) & mask;
        self.edge ^= changed;
        self.reconsider(changed)
    }

    /// What a list register shall hold for the unlisted interrupt `intid`, which is active or pending. `groups` has the
    /// bits of enabled groups; `combine`: it may be pending and active.
    #[inline]
    pub fn describe(&self, intid: u32, groups: u32, combine: bool) -> ListRegister {
        let index = intid as usize & 31;
        let bit = 1 << index;
        let active = self.active & bit != 0;
        let latched = self.latch & bit != 0;
        let owed = self.owed & bit != 0;
        // A level is sampled at the end; one that is low now calls when it rises.
        let sampled = self.line & !self.edge & bit != 0;
        let priority = if active { self.taken[index] } else { self.priority[index] };
        // HW = 1 does not go with pending and active, nor do two priorities.
        let one_priority = priority == self.priority[index];
        let again = combine && latched && !sampled && !owed && one_priority && self.enabled & groups & bit != 0;
        let pending = !active || again;
        let origin = if owed && !(active && latched) {
            Origin::Hardware(u32::from(self.physical[index]))
        } else {
            Origin::Software { notify_end: sampled || owed || (latched && !pending), source: 0 }
        };
        let group_one = self.group & bit != 0;
        ListRegister { intid, pending, active, priority, group_one, origin }
    }

    /// What a list register shall hold for an interrupt that is pending and no more.
    #[inline]
    pub fn describe_pending(&self, intid: u32, origin: Origin) -> ListRegister {
        let index = intid as usize & 31;
        let group_one = self.group >> index & 1 != 0;
        ListRegister { intid, pending: true, active: false, priority: self.priority[index], group_one, origin }
    }

    /// Whether an interrupt seen active can stay in its list register as it is.
    pub fn is_content(&self, intid: u32, seen: ListRegister) -> bool {
        let bit = 1 << (intid & 31);
        let asks = (self.line & !self.edge | self.owed) & bit != 0;
        let fits = match seen.origin {
            Origin::Hardware(_) => true,
            Origin::Software { notify_end, .. } => notify_end == asks,
        };
        fits && (self.latch | self.activate | self.deactivate) & bit == 0
    }

    /// What a list register shall hold instead of what it was `seen` to: an active interrupt whose line has changed since.
    /// `None` if there is more to do than that.
    pub fn resampled(&self, intid: u32, seen: ListRegister) -> Option<ListRegister> {
        let bit = 1 << (intid & 31);
        let Origin::Software { source: 0, .. } = seen.origin else { return None };
        let notify_end = self.line & !self.edge & bit != 0;
        let origin = Origin::Software { notify_end, source: 0 };
        ((self.latch | self.owed | self.activate | self.deactivate) & bit == 0)
            .then_some(ListRegister { origin, ..seen })
    }

    /// The listed interrupt was seen active and no longer pending.
    pub fn saw_active(&mut self, bit: u32) {
        self.active |= bit;
        self.moved &= !bit;
    }

    /// Records that list register `slot` holds the interrupt, and whether it is pending there.
    #[inline]
    pub fn enlist(&mut self, intid: u32, slot: usize, pending: bool) {
        let index = intid as usize & 31;
        let bit = 1 << index;
        self.listed |= bit;
        self.slot[index] = slot as u8;
        if pending {
            self.moved |= self.latch & bit;
            self.latch &= !bit;
        }
    }

    /// The physical interrupt has become active.
    #[inline]
    pub fn fire(&mut self, bit: u32) -> Change {
        self.owed |= bit;
        self.renewed |= bit & self.listed;
        self.pulse(bit)
    }

    /// The interrupt has come again, and its list register is known to be empty: whether that can be written anew. Whatever
    /// else was asked of it has called for attention and is seen to before the guest runs.
    #[inline]
    pub fn can_repeat(&self, bit: u32, groups: u32) -> bool {
        self.listed & self.enabled & groups & bit != 0
    }

    /// The same of an edge, which has come again and is not recorded yet; the list register is to be looked at.
    #[inline]
    pub fn can_repeat_edge(&self, bit: u32, groups: u32) -> bool {
        let disturbed = self.line & !self.edge | self.latch | self.owed | self.activate | self.deactivate;
        self.listed & self.enabled & groups & !disturbed & bit != 0
    }

    /// The list register was written anew.
    #[inline]
    pub fn repeat(&mut self, bit: u32) {
        self.active &= !bit;
        self.moved |= bit;
    }

    /// An edge has come, and the list register of the interrupt was seen empty: whether that can be written anew just so.
    #[inline]
    pub fn can_relist(&self, bit: u32, groups: u32) -> bool {
        let disturbed = self.line & !self.edge | self.owed | self.activate | self.deactivate;
        self.latch & self.enabled & groups & !disturbed & bit != 0
    }

    /// The list register was written anew for that edge.
    #[inline]
    pub fn relist(&mut self, bit: u32) {
        self.active &= !bit;
        self.moved |= bit;
        self.latch &= !bit;
    }

    /// Whether nothing is to be done about a listed interrupt whose list register was seen empty.
    #[inline]
    pub fn is_over(&self, bit: u32) -> bool {
        let more = self.latch | self.line & !self.edge | self.renewed | self.activate | self.deactivate;
        more & bit == 0
    }

    /// The guest has deactivated the physical interrupts in `mask`, too.
    #[inline]
    pub fn repay(&mut self, mask: u32) {
        self.owed &= !mask | self.renewed;
    }

    /// Notes the priority of a list register that was seen active.
    #[inline]
    pub fn saw_priority(&mut self, seen: ListRegister) {
        self.taken[seen.intid as usize & 31] = seen.priority;
    }

    /// Takes the interrupts in `mask` back from their list registers, where they were seen pending or active or neither.
    #[inline]
    pub fn take_back(&mut self, mask: u32, pending: bool, active: bool) {
        if pending {
            self.latch |= self.moved & mask;
        }
        self.active = if active { self.active | mask } else { self.active & !mask };
        self.listed &= !mask;
        self.moved &= !mask;
        if (self.renewed | self.activate | self.deactivate) & mask != 0 {
            self.active = (self.active | self.activate & mask) & !(self.deactivate & mask);
            self.renewed &= !mask;
            self.activate &= !mask;
            self.deactivate &= !mask;
        }
    }
}
