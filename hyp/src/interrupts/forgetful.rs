//! List registers with HW = 1 on a GIC that forgets: when a guest ends such an interrupt, the physical one becomes
//! inactive, but if its line is still high, it comes again only once something else makes the GIC look at its lines.
//!
//! QEMU's GICv2 is so (up to 10.0 at least). Here belongs what makes HW = 1 mean there what it means elsewhere, so that
//! nothing above has to know. Two ways, of which the first costs the guest nothing:
//! - *Nudged.* The line of the maintenance interrupt is an input of the GIC, too: whenever it changes, the GIC looks at all.
//!   GICH_HCR.UIE has it rise when of two used list registers one remains. One is kept used for ever, so the
//!   end of the only other one is such a change. The maintenance interrupt itself is held back meanwhile: it is active.
//! - *In its stead.* With more list registers in use, or while the maintenance interrupt is needed, the interrupt is shown
//!   with HW = 0, asks for maintenance at its end, and EL2 deactivates the physical one then. To change from one way to the
//!   other costs accesses, so it is changed to the first only after [`CALM`] interrupts that were alone.

use core::cell::Cell;

use super::list_register::{ListRegister, ListRegisters, MAXIMUM_LIST_REGISTERS, Maintenance, Origin};
use super::vcpu_set::Bits;

/// So many hardware interrupts in a row must have been alone before the first way is taken.
pub const CALM: u8 = 8;

/// How the end of an interrupt by the guest reaches the physical interrupt behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HardwareEnd {
    /// As the architecture says.
    Works,
    /// The GIC forgets, but looks again when the line of the maintenance interrupt changes.
    Nudged,
    /// The GIC forgets.
    Forgotten,
}

impl HardwareEnd {
    /// What is done where the GIC forgets.
    #[must_use]
    pub const fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Works => None,
            Self::Nudged => Some("it is reminded of them"),
            Self::Forgotten => Some("EL2 ends them"),
        }
    }

    /// How many of `count` list registers are left for interrupts.
    #[must_use]
    pub const fn usable(self, count: usize) -> usize {
        match self {
            Self::Nudged => count - 1,
            _ => count,
        }
    }
}

/// List registers of such a GIC.
pub trait Nudge: ListRegisters {
    /// Holds the maintenance interrupt back, whose line rises from now on when only one list register remains in use.
    fn hold_maintenance(&mut self);

    /// Lets the maintenance interrupt through again, for what [`ListRegisters::set_maintenance`] and the list registers ask.
    fn release_maintenance(&mut self);
}

/// What is known of one core's list registers. Masks have a bit for each.
#[derive(Debug)]
pub struct Book {
    end: HardwareEnd,
    /// Those that can be written again just so with what EL2 makes and wants no notice of.
    direct: Cell<u32>,
    /// Written and not seen empty since.
    used: Cell<u32>,
    /// With HW = 1: while there is one, it is the only one used, and maintenance is held back. It can be written again just
    /// so. Where HW = 1 works, all.
    hardware: Cell<u32>,
    /// Of these, in the stead of HW = 1.
    stand_ins: Cell<u32>,
    /// Of these, others that ask for maintenance.
    notified: Cell<u32>,
    /// The physical interrupt behind each stand-in.
    physical: [Cell<u16>; MAXIMUM_LIST_REGISTERS],
    maintenance: Cell<Maintenance>,
    is_held: Cell<bool>,
    /// How many hardware interrupts have been alone since one was not, up to [`CALM`].
    calm: Cell<u8>,
}

impl Book {
    /// Of a core with empty list registers, whose maintenance interrupt is let through.
    #[must_use]
    pub fn new(end: HardwareEnd) -> Self {
        let all = if end == HardwareEnd::Works { u32::MAX } else { 0 };
        Self {
            end,
            direct: Cell::new(all),
            used: Cell::new(0),
            hardware: Cell::new(all),
            stand_ins: Cell::new(0),
            notified: Cell::new(0),
            physical: [const { Cell::new(0) }; MAXIMUM_LIST_REGISTERS],
            maintenance: Cell::new(Maintenance::NONE),
            is_held: Cell::new(false),
            calm: Cell::new(0),
        }
    }

    /// Whether list registers are as the architecture says.
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        self.end == HardwareEnd::Works
    }

    /// Whether an interrupt of this origin can be written to list register `index` just so.
    #[inline(always)]
    pub fn writes_through(&self, index: usize, origin: Origin) -> bool {
        match origin {
            Origin::Hardware(_) => self.hardware.get() >> (index & 15) & 1 != 0,
            Origin::Software { notify_end: false, .. } => self.direct.get() >> (index & 15) & 1 != 0,
            Origin::Software { .. } => self.is_plain(),
        }
    }

    /// Whether list register `index` holds something in the stead of HW = 1.
    #[inline(always)]
    pub fn has_stand_in(&self, index: usize) -> bool {
        self.stand_ins.get() >> (index & 15) & 1 != 0
    }

    /// Whether nobody needs the maintenance interrupt.
    fn is_quiet(&self) -> bool {
        self.notified.get() | self.stand_ins.get() == 0 && self.maintenance.get() == Maintenance::NONE
    }

    fn forget(&self, bits: u32) {
        for mask in [&self.used, &self.hardware, &self.stand_ins, &self.notified] {
            mask.set(mask.get() & !bits);
        }
    }

    /// Notes which list registers can be written again just so.
    fn note_direct(&self) {
        let software = self.used.get() & !self.stand_ins.get() & !self.notified.get();
        self.direct.set(if self.hardware.get() == 0 { software } else { 0 });
    }
}

/// The list registers of the core we run on, with the book on them.
pub struct Forgetful<'a, R> {
    registers: &'a mut R,
    book: &'a Book,
}

impl<'a, R: Nudge> Forgetful<'a, R> {
    /// `registers` are those of the core that `book` is on.
    pub fn new(registers: &'a mut R, book: &'a Book) -> Self {
        Self { registers, book }
    }

    /// The maintenance interrupt was taken: deactivates what guests have ended. True if somebody else may have asked for it.
    pub fn maintain(&mut self) -> bool {
        self.collect(self.book.stand_ins.get());
        self.book.notified.get() != 0 || self.book.maintenance.get() != Maintenance::NONE
    }

    /// Deactivates what the stand-ins among `candidates` stood for, where guests have ended it.
    fn collect(&mut self, candidates: u32) {
        if candidates == 0 {
            return;
        }
        for slot in Bits(self.registers.ended() & candidates) {
            // Or it would go on asking for maintenance.
            self.registers.clear(slot);
            self.book.forget(1 << slot);
            self.registers.deactivate(u32::from(self.book.physical[slot & 15].get()));
        }
    }

    /// Has the interrupt with HW = 1 in `slot`, if it is not over, end by EL2.
    fn replace(&mut self, slot: usize) {
        let seen = self.registers.read(slot);
        self.book.forget(1 << slot);
        if seen.pending || seen.active {
            self.book.calm.set(0);
            self.write_instead(slot, seen);
        }
    }

    fn write_instead(&mut self, slot: usize, entry: ListRegister) {
        self.release();
        let Origin::Hardware(physical) = entry.origin else { return };
        self.book.physical[slot & 15].set(physical as u16);
        self.book.stand_ins.set(self.book.stand_ins.get() | 1 << slot);
        self.book.used.set(self.book.used.get() | 1 << slot);
        let origin = Origin::Software { notify_end: true, source: 0 };
        self.registers.write(slot, ListRegister { origin, ..entry });
    }

    /// The maintenance interrupt is needed.
    fn release(&mut self) {
        if self.book.is_held.replace(false) {
            self.registers.release_maintenance();
        }
    }

    /// With another interrupt beside it, the end of one with HW = 1 is no nudge.
    fn replace_hardware(&mut self) {
        for slot in Bits(self.book.hardware.get()) {
            self.replace(slot);
        }
    }

    /// Whether a hardware interrupt can be written with HW = 1.
    fn can_nudge(&mut self) -> bool {
        if self.book.end != HardwareEnd::Nudged {
            return false;
        }
        self.collect(self.book.stand_ins.get());
        if self.book.used.get() != 0 {
            let empty = self.registers.empty();
            self.book.forget(empty);
        }
        self.book.used.get() == 0 && self.book.is_quiet()
    }

    fn write_hardware(&mut self, slot: usize, entry: ListRegister) {
        let is_alone = self.can_nudge();
        let calm = self.book.calm.get();
        self.book.calm.set(if is_alone { (calm + 1).min(CALM) } else { 0 });
        if !is_alone || calm < CALM {
            self.replace_hardware();
            return self.write_instead(slot, entry);
        }
        if !self.book.is_held.replace(true) {
            self.registers.hold_maintenance();
        }
        self.book.hardware.set(1 << slot);
        self.book.used.set(1 << slot);
        self.registers.write(slot, entry);
    }

    fn write_software(&mut self, slot: usize, entry: ListRegister, notify_end: bool) {
        self.replace_hardware();
        self.book.used.set(self.book.used.get() | 1 << slot);
        if notify_end {
            self.book.notified.set(self.book.notified.get() | 1 << slot);
            self.release();
        }
        self.registers.write(slot, entry);
    }
}

// Out of line: what drives list registers is made of the ways that are taken everywhere else.
impl<R: Nudge> ListRegisters for Forgetful<'_, R> {
    #[inline(never)]
    fn read(&mut self, index: usize) -> ListRegister {
        let seen = self.registers.read(index);
        if !self.book.has_stand_in(index) {
            return seen;
        }
        if !seen.pending && !seen.active {
            self.collect(1 << (index & 15));
        }
        ListRegister { origin: Origin::Hardware(u32::from(self.book.physical[index & 15].get())), ..seen }
    }

    #[inline(never)]
    fn write(&mut self, index: usize, value: ListRegister) {
        let slot = index & 15;
        self.book.forget(1 << slot);
        match value.origin {
            Origin::Hardware(_) => self.write_hardware(slot, value),
            Origin::Software { notify_end, .. } => self.write_software(slot, value, notify_end),
        }
        self.book.note_direct();
    }

    #[inline(never)]
    fn clear(&mut self, index: usize) {
        self.collect(self.book.stand_ins.get() & 1 << (index & 15));
        self.book.forget(1 << (index & 15));
        self.book.note_direct();
        self.registers.clear(index);
    }

    #[inline(never)]
    fn empty(&mut self) -> u32 {
        self.collect(self.book.stand_ins.get());
        self.registers.empty()
    }

    #[inline(never)]
    fn ended(&mut self) -> u32 {
        self.registers.ended() & !self.book.stand_ins.get()
    }

    #[inline(never)]
    fn set_maintenance(&mut self, maintenance: Maintenance) {
        self.book.maintenance.set(maintenance);
        if maintenance != Maintenance::NONE {
            self.replace_hardware();
            self.release();
            self.book.note_direct();
        }
        if !self.book.is_held.get() {
            self.registers.set_maintenance(maintenance);
        }
    }

    fn take_unlisted_deactivations(&mut self) -> u32 {
        self.registers.take_unlisted_deactivations()
    }

    fn deactivate(&mut self, physical: u32) {
        self.registers.deactivate(physical);
    }

    fn activate(&mut self, physical: u32) {
        self.registers.activate(physical);
    }
}
