//! Hardware interrupts where the GIC forgets those that guests end, for the rest of the virtual GIC as if it did not.

use super::core::Core;
use super::*;
use crate::interrupts::forgetful::CALM;
use crate::interrupts::{Book, Forgetful, HardwareEnd, ListRegister, ListRegisters, Maintenance, SgiRegister};

/// The list registers of a core as EL2 drives them there.
pub struct Shown<'a> {
    core: &'a mut Core,
    book: &'a Book,
}

pub fn shown<'a>(core: &'a mut Core, book: &'a Book) -> Shown<'a> {
    Shown { core, book }
}

impl Shown<'_> {
    pub fn maintain(&mut self) -> bool {
        self.book.is_plain() || Forgetful::new(self.core, self.book).maintain()
    }
}

/// Calls a method of the core, or of what hides that it forgets.
macro_rules! either {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match $self.book.is_plain() {
            true => $self.core.$method($($argument),*),
            false => Forgetful::new($self.core, $self.book).$method($($argument),*),
        }
    };
}

impl ListRegisters for Shown<'_> {
    fn read(&mut self, index: usize) -> ListRegister {
        either!(self.read(index))
    }

    fn write(&mut self, index: usize, value: ListRegister) {
        either!(self.write(index, value));
    }

    fn write_directly(&mut self, index: usize, value: ListRegister) -> bool {
        let is_direct = self.book.writes_through(index, value.origin);
        if is_direct {
            self.core.write(index, value);
        }
        is_direct
    }

    fn clear(&mut self, index: usize) {
        either!(self.clear(index));
    }

    fn empty(&mut self) -> u32 {
        either!(self.empty())
    }

    fn ended(&mut self) -> u32 {
        either!(self.ended())
    }

    fn set_maintenance(&mut self, maintenance: Maintenance) {
        either!(self.set_maintenance(maintenance));
    }

    fn take_unlisted_deactivations(&mut self) -> u32 {
        either!(self.take_unlisted_deactivations())
    }

    fn deactivate(&mut self, physical: u32) {
        either!(self.deactivate(physical));
    }

    fn activate(&mut self, physical: u32) {
        either!(self.activate(physical));
    }
}

/// One virtual CPU whose timer's line is high for ever.
struct Ticking {
    vgic: Vgic,
    core: Core,
    book: Book,
}

impl Ticking {
    fn new(end: HardwareEnd) -> Self {
        let (vgic, core) = with_hardware(3);
        let _ = write_bit(&vgic, 0, ISENABLER, 3);
        Self { vgic, core, book: Book::new(end) }
    }

    /// One that has been alone for so long that it is nudged.
    fn nudged() -> Self {
        let mut machine = Self::new(HardwareEnd::Nudged);
        machine.tick_until_calm();
        machine
    }

    fn tick_until_calm(&mut self) {
        for _ in 0..CALM {
            self.tick();
            assert_eq!(self.maintain(), 1);
        }
        self.core.deactivated.clear();
    }

    /// The timer comes, if the GIC thinks of it.
    fn fire(&mut self) {
        assert!(self.core.is_ready(26), "the GIC has forgotten the timer");
        self.core.fire(26);
        assert!(self.vgic.deliver_hardware(0, &mut shown(&mut self.core, &self.book), TIMER).is_empty());
        self.flush();
    }

    fn flush(&mut self) {
        assert!(self.vgic.flush(0, &mut shown(&mut self.core, &self.book)).is_empty());
    }

    fn send_sgi(&mut self) {
        let registers = &mut shown(&mut self.core, &self.book);
        assert!(self.vgic.send_sgi_here(0, registers, SgiRegister::Group1, 3 << 24 | 1).is_empty());
        self.flush();
    }

    /// The guest takes what is most urgent.
    fn take(&mut self, intid: u32) {
        assert_eq!(self.core.acknowledge(), Some(intid));
    }

    /// The timer comes, and the guest takes and ends it.
    fn tick(&mut self) {
        self.fire();
        self.take(TIMER);
        self.core.end(TIMER);
    }

    /// Takes maintenance interrupts until there are none.
    fn maintain(&mut self) -> usize {
        let mut count = 0;
        while self.core.calls() {
            if shown(&mut self.core, &self.book).maintain() {
                self.vgic.maintain(0);
            }
            self.flush();
            count += 1;
            assert!(count < 4, "maintenance does not cease");
        }
        count
    }
}

#[test]
fn a_nudged_timer_comes_again_without_el2() {
    let mut machine = Ticking::nudged();
    for round in 0..4 {
        machine.core.accesses = 0;
        machine.fire();
        assert!(round == 0 || machine.core.accesses == 1, "one write, {} accesses", machine.core.accesses);
        machine.take(TIMER);
        machine.core.end(TIMER);
        assert!(machine.core.deactivated.is_empty());
        assert_eq!(machine.maintain(), 0);
    }
}

#[test]
fn without_a_nudge_el2_ends_it() {
    let mut machine = Ticking::new(HardwareEnd::Forgotten);
    for round in 1..4 {
        machine.tick();
        assert!(machine.core.is_active(26));
        assert_eq!((machine.maintain(), machine.core.deactivated.len()), (1, round));
    }
}

#[test]
fn beside_another_interrupt_el2_ends_it_and_nudges_again_later() {
    let mut machine = Ticking::nudged();
    let _ = set_priority(&machine.vgic, 0, 3, 0xf0);
    machine.send_sgi();
    machine.tick();
    assert_eq!((machine.maintain(), machine.core.deactivated.len()), (1, 1));
    machine.take(3);
    machine.core.end(3);
    machine.tick_until_calm();
    machine.tick();
    assert_eq!((machine.maintain(), machine.core.deactivated.len()), (0, 0));
    machine.fire();
}

#[test]
fn another_interrupt_that_comes_meanwhile_has_el2_end_it() {
    for taken in [false, true] {
        let mut machine = Ticking::nudged();
        machine.fire();
        if taken {
            machine.take(TIMER);
        }
        let _ = set_priority(&machine.vgic, 0, 3, 0xf0);
        machine.send_sgi();
        if !taken {
            machine.take(TIMER);
        }
        machine.core.end(TIMER);
        assert_eq!((machine.maintain(), machine.core.deactivated.len()), (1, 1));
        machine.fire();
    }
}

#[test]
fn a_timer_that_is_over_is_not_ended_again_for_another_interrupt() {
    let mut machine = Ticking::nudged();
    machine.tick();
    machine.send_sgi();
    assert_eq!((machine.maintain(), machine.core.deactivated.len()), (0, 0));
    machine.fire();
}
