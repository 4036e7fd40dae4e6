//! A model of one core's virtual CPU interface and of the guest's side of it, after IHI 0069 chapter 6 and 12.4. It works on
//! raw register values and shares nothing with the code under test but the trait.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::interrupts::{ListRegister, ListRegisters, Maintenance, Nudge, Origin};

/// The physical interrupts that are active: (core, number), with core 0 for SPIs.
pub type Physical = Arc<Mutex<BTreeSet<(usize, u32)>>>;

const PENDING: u64 = 1;
const ACTIVE: u64 = 2;

pub struct Core {
    pub number: usize,
    pub registers: Vec<u64>,
    /// GICv2: the sender in each list register.
    pub senders: Vec<u8>,
    pub physical: Physical,
    pub maintenance: Maintenance,
    /// `ICH_HCR_EL2.EOIcount`.
    pub unlisted: u32,
    /// Priorities of acknowledged interrupts whose priority is not dropped yet, the running one last.
    pub running: Vec<u8>,
    /// `ICC_CTLR_EL1.EOImode`: ending drops the priority only.
    pub split: bool,
    /// Accesses of list registers so far.
    pub accesses: usize,
    /// Physical interrupts deactivated by EL2, in order.
    pub deactivated: Vec<u32>,
    /// Physical interrupts that the guest has deactivated and the GIC has not looked at since.
    pub unseen: BTreeSet<u32>,
    /// The maintenance interrupt is active: it cannot come, and its line is that of an underflow.
    held: bool,
    /// The level of its line when it last changed.
    line: bool,
}

fn state(register: u64) -> u64 {
    register >> 62
}

fn intid(register: u64) -> u32 {
    register as u32
}

fn priority(register: u64) -> u8 {
    (register >> 48) as u8
}

fn is_hardware(register: u64) -> bool {
    register & 1 << 61 != 0
}

fn notifies(register: u64) -> bool {
    !is_hardware(register) && register & 1 << 41 != 0
}

impl Core {
    pub fn new(number: usize, list_registers: usize, physical: Physical) -> Self {
        Self {
            number,
            registers: vec![0; list_registers],
            senders: vec![0; list_registers],
            physical,
            maintenance: Maintenance::NONE,
            unlisted: 0,
            running: Vec::new(),
            split: false,
            accesses: 0,
            deactivated: Vec::new(),
            unseen: BTreeSet::new(),
            held: false,
            line: false,
        }
    }

    pub fn alone(list_registers: usize) -> Self {
        Self::new(0, list_registers, Physical::default())
    }

    fn physical_key(&self, physical: u32) -> (usize, u32) {
        if physical < 32 { (self.number, physical) } else { (0, physical) }
    }

    /// Whether a line that is high would make the physical interrupt come.
    pub fn is_ready(&self, physical: u32) -> bool {
        !self.is_active(physical) && !self.unseen.contains(&physical)
    }

    pub fn is_active(&self, physical: u32) -> bool {
        self.physical.lock().expect("not poisoned").contains(&self.physical_key(physical))
    }

    /// A physical interrupt is acknowledged at EL2.
    pub fn fire(&mut self, physical: u32) {
        assert!(
            self.physical.lock().expect("not poisoned").insert(self.physical_key(physical)),
            "{physical} fired while active"
        );
    }

    fn let_go(&mut self, physical: u32) {
        let was = self.physical.lock().expect("not poisoned").remove(&self.physical_key(physical));
        assert!(was, "physical interrupt {physical} deactivated while it was not active");
        self.unseen.remove(&physical);
    }

    /// The most urgent pending list register.
    pub fn best(&self) -> Option<(u8, u32)> {
        let pending = self.registers.iter().filter(|&&register| state(register) == PENDING);
        pending.map(|&register| (priority(register), intid(register))).min()
    }

    /// An interrupt that the guest may end: the active one in a list register whose priority runs.
    pub fn active_last(&self) -> Option<u32> {
        let running = *self.running.last()?;
        let found = self.registers.iter().find(|&&it| state(it) & ACTIVE != 0 && priority(it) == running)?;
        Some(intid(*found))
    }

    /// Interrupt numbers in list registers, whatever their state but empty.
    pub fn listed(&self) -> Vec<u32> {
        self.registers.iter().filter(|&&register| state(register) != 0).map(|&register| intid(register)).collect()
    }

    pub fn pending(&self) -> Vec<u32> {
        let pending = self.registers.iter().filter(|&&register| state(register) & PENDING != 0);
        pending.map(|&register| intid(register)).collect()
    }

    /// The guest reads `ICC_IAR1_EL1` (or `IAR0`): acknowledges the most urgent, if it preempts what runs.
    pub fn acknowledge(&mut self) -> Option<u32> {
        let (urgency, number) = self.best()?;
        if self.running.last().is_some_and(|&running| running <= urgency) {
            return None;
        }
        self.running.push(urgency);
        let register = self
            .registers
            .iter_mut()
            .find(|register| **register << 32 >> 32 == u64::from(number) && state(**register) == PENDING);
        let register = register.expect("the best is there");
        *register = *register & !(3 << 62) | ACTIVE << 62;
        self.look_if_line_changed();
        Some(number)
    }

    /// The sender of SGI `number`, which a list register holds.
    pub fn sender(&self, number: u32) -> u8 {
        let holds = |&register: &u64| state(register) != 0 && intid(register) == number;
        self.senders[self.registers.iter().position(holds).expect("it is listed")]
    }

    /// The guest writes `ICC_EOIR1_EL1`.
    pub fn end(&mut self, number: u32) {
        let dropped = self.running.pop().expect("something runs");
        let holds = |register: u64| intid(register) == number && state(register) & ACTIVE != 0;
        if self.registers.iter().any(|&register| holds(register) && priority(register) != dropped) {
            // A list register that is active with another priority than was dropped is not meant.
            return;
        }
        if !self.split {
            self.deactivate_listed(number);
        }
    }

    /// The guest writes `ICC_DIR_EL1`. True if that traps.
    pub fn end_split(&mut self, number: u32) -> bool {
        let traps = self.maintenance.ich_hcr() >> 14 & 1 != 0;
        if !traps {
            self.deactivate_listed(number);
        }
        traps
    }

    fn deactivate_listed(&mut self, number: u32) {
        let found =
            self.registers.iter().position(|&register| intid(register) == number && state(register) & ACTIVE != 0);
        let Some(index) = found else {
            self.unlisted += 1;
            return;
        };
        let register = self.registers[index];
        self.registers[index] = register & !(ACTIVE << 62);
        if is_hardware(register) {
            let physical = (register >> 32) as u32 & 0x1fff;
            self.let_go(physical);
            self.unseen.insert(physical);
        }
        self.look_if_line_changed();
    }

    /// The maintenance interrupt's line is an input of the GIC, which looks at all of them when one changes.
    fn look_if_line_changed(&mut self) {
        // One more list register is always in use.
        let used = 1 + self.registers.iter().filter(|&&register| state(register) != 0).count();
        let line = if self.held { used <= 1 } else { self.asks() };
        if line != self.line {
            self.unseen.clear();
        }
        self.line = line;
    }

    /// Whether the maintenance interrupt comes.
    pub fn calls(&self) -> bool {
        !self.held && self.asks()
    }

    /// Whether maintenance is asked for (`ICH_MISR_EL2`).
    fn asks(&self) -> bool {
        let hcr = self.maintenance.ich_hcr();
        let none_pending = self.registers.iter().all(|&register| state(register) != PENDING);
        self.registers.iter().any(|&register| state(register) == 0 && notifies(register))
            || hcr & 8 != 0 && none_pending
            || hcr & 4 != 0 && self.unlisted != 0
    }

    fn mask(&self, holds: impl Fn(u64) -> bool) -> u32 {
        let bits = self.registers.iter().enumerate().filter(|&(_, &register)| holds(register));
        bits.fold(0, |mask, (index, _)| mask | 1 << index)
    }
}

impl ListRegisters for Core {
    fn read(&mut self, index: usize) -> ListRegister {
        self.accesses += 1;
        let mut entry = ListRegister::from_ich_lr(self.registers[index]);
        if let Origin::Software { source, .. } = &mut entry.origin {
            *source = self.senders[index];
        }
        entry
    }

    fn write(&mut self, index: usize, value: ListRegister) {
        self.accesses += 1;
        let raw = value.to_ich_lr();
        assert!(!(is_hardware(raw) && state(raw) == PENDING | ACTIVE), "pending and active with HW = 1");
        assert!(state(raw) != 0, "an empty list register is cleared, not written");
        self.registers[index] = 0;
        assert!(!self.listed().contains(&intid(raw)), "{} is in two list registers", intid(raw));
        if is_hardware(raw) {
            assert!(self.is_active((raw >> 32) as u32 & 0x1fff), "HW = 1 for an inactive physical interrupt");
        }
        self.registers[index] = raw;
        self.senders[index] = match value.origin {
            Origin::Software { source, .. } => source,
            Origin::Hardware(_) => 0,
        };
        self.look_if_line_changed();
    }

    fn clear(&mut self, index: usize) {
        self.accesses += 1;
        self.registers[index] = 0;
        self.look_if_line_changed();
    }

    fn empty(&mut self) -> u32 {
        self.accesses += 1;
        self.mask(|register| state(register) == 0 && !notifies(register))
    }

    fn ended(&mut self) -> u32 {
        self.accesses += 1;
        self.mask(|register| state(register) == 0 && notifies(register))
    }

    fn set_maintenance(&mut self, maintenance: Maintenance) {
        self.accesses += 1;
        assert!(!self.held, "asked for while held back");
        self.maintenance = maintenance;
        self.unlisted = 0;
        self.look_if_line_changed();
    }

    fn take_unlisted_deactivations(&mut self) -> u32 {
        self.accesses += 1;
        std::mem::take(&mut self.unlisted)
    }

    fn deactivate(&mut self, physical: u32) {
        self.deactivated.push(physical);
        self.let_go(physical);
    }

    fn activate(&mut self, physical: u32) {
        self.fire(physical);
    }
}

impl Nudge for Core {
    fn hold_maintenance(&mut self) {
        assert!(!self.held && !self.asks(), "held back though something asks for it");
        self.held = true;
        self.look_if_line_changed();
    }

    fn release_maintenance(&mut self) {
        assert!(self.held);
        self.held = false;
        self.look_if_line_changed();
    }
}
