//! Several virtual machines on one core: whoever is in the processor has its list registers and its private physical
//! interrupts to itself, and leaves nothing behind, however it goes.

use super::property::Random;
use super::*;

/// The physical interrupt behind [`TIMER`].
const PHYSICAL_TIMER: u32 = 26;
const VMS: usize = 3;

/// One core and virtual machines of one virtual CPU each, which take turns on it.
struct Shared {
    core: Core,
    vgics: Vec<Vgic>,
    loaded: Option<usize>,
    is_on: [bool; VMS],
}

impl Shared {
    fn new(list_registers: usize) -> Self {
        let affinities = [Affinity::default()];
        let config = Config { affinities: &affinities, spis: 64, list_registers };
        let vgic = |_| {
            let vgic = Vgic::new(&config).expect("valid");
            vgic.map_hardware(TIMER, PHYSICAL_TIMER).expect("exists");
            vgic
        };
        Self {
            core: Core::alone(list_registers),
            vgics: (0..VMS).map(vgic).collect(),
            loaded: None,
            is_on: [false; VMS],
        }
    }

    fn switch_on(&mut self, vm: usize) {
        assert!(self.vgics[vm].set_online(0).is_empty());
        self.is_on[vm] = true;
        enable_groups(&self.vgics[vm], 1);
        (0..64).for_each(|intid| enable(&self.vgics[vm], intid));
    }

    fn load(&mut self, vm: usize) {
        self.unload();
        self.vgics[vm].unpark(0, &mut self.core);
        self.loaded = Some(vm);
    }

    fn unload(&mut self) {
        if let Some(vm) = self.loaded.take() {
            assert!(self.vgics[vm].park(0, &mut self.core).is_empty());
        }
    }

    /// Its virtual CPU goes off, in the processor or not.
    fn switch_off(&mut self, vm: usize) {
        let _ = self.vgics[vm].set_offline(0, &mut self.core);
        self.is_on[vm] = false;
        if self.loaded == Some(vm) {
            self.core.running.clear();
            self.loaded = None;
        }
    }

    fn step(&mut self, random: &mut Random) {
        let vm = random.below(VMS);
        let ours = self.loaded == Some(vm);
        match random.below(9) {
            0 if self.is_on[vm] && self.core.running.is_empty() => self.load(vm),
            1 if self.core.running.is_empty() => self.unload(),
            2 if self.is_on[vm] => self.switch_off(vm),
            2 if random.flip() => self.vgics[vm].reset(|_| panic!("no SPI is physical")),
            3 if !self.is_on[vm] => self.switch_on(vm),
            4 if !ours => _ = self.vgics[vm].raise_parked_timer(0, TIMER),
            5 => _ = self.vgics[vm].pulse(0, 33 + random.below(4) as u32),
            6 => _ = self.vgics[vm].set_line(0, 40 + random.below(2) as u32, random.flip()),
            7 => _ = self.core.acknowledge(),
            _ => {
                if let Some(intid) = self.core.active_last() {
                    self.core.end(intid);
                }
            }
        }
        self.look(random);
    }

    /// The timer of whoever is loaded fires, it looks, and enters.
    fn look(&mut self, random: &mut Random) {
        let Some(vm) = self.loaded else { return };
        if random.below(3) == 0 && !self.core.is_active(PHYSICAL_TIMER) {
            self.core.fire(PHYSICAL_TIMER);
            assert!(self.vgics[vm].deliver_hardware(0, &mut self.core, TIMER).is_empty());
        }
        if self.core.calls() {
            self.vgics[vm].maintain(0);
        }
        flush(&self.vgics[vm], &mut self.core);
    }

    fn check(&mut self) {
        if self.loaded.is_none() {
            assert!(self.core.listed().is_empty(), "somebody's interrupts are left");
            assert!(!self.core.is_active(PHYSICAL_TIMER), "a timer is left that nobody ends");
            assert!(!self.core.calls());
        }
        let asked = (0..VMS).filter(|vm| self.loaded != Some(*vm));
        asked.for_each(|vm| _ = self.vgics[vm].has_pending(0, &mut self.core));
    }
}

#[test]
fn nobody_finds_what_another_left() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut shared = Shared::new(random.pick(&[1, 2, 4]));
        for _ in 0..300 {
            shared.step(&mut random);
            shared.check();
        }
    }
}

#[test]
fn going_off_while_parked_touches_nothing_of_the_neighbours() {
    let mut shared = Shared::new(4);
    (0..2).for_each(|vm| shared.switch_on(vm));
    for vm in 0..2 {
        shared.load(vm);
        shared.core.fire(PHYSICAL_TIMER);
        let _ = shared.vgics[vm].deliver_hardware(0, &mut shared.core, TIMER);
    }
    shared.switch_off(0);
    assert!(shared.core.is_active(PHYSICAL_TIMER), "the neighbour's");
    assert_eq!(shared.core.listed(), [TIMER]);
    shared.switch_off(1);
    assert!(!shared.core.is_active(PHYSICAL_TIMER));
    assert!(shared.core.listed().is_empty());
}

#[test]
fn a_timer_that_is_due_while_parked_is_a_level_until_the_hardware_speaks() {
    let mut shared = Shared::new(4);
    shared.switch_on(0);
    let vgic = &shared.vgics[0];
    let _ = write_bit(vgic, 0, ICENABLER, TIMER);
    assert!(!vgic.raise_parked_timer(0, TIMER), "disabled");
    assert!(!vgic.wakes(0));
    let told = vgic.write_redistributor(9, 0x1_0000 + ISENABLER, 4, 1 << TIMER);
    assert_eq!(told.bits(), 1, "enabled by another, it is announced");
    assert!(vgic.wakes(0) && vgic.wakes(0));
    let _ = vgic.write_redistributor(9, 0x1_0000 + ICPENDR, 4, 1 << TIMER);
    assert!(vgic.wakes(0), "a level stays");
    shared.load(0);
    flush(&shared.vgics[0], &mut shared.core);
    assert!(shared.core.listed().is_empty(), "the guest may have moved its timer before it was parked");
    assert!(!shared.vgics[0].raise_parked_timer(0, TIMER), "it is not parked");
    shared.core.fire(PHYSICAL_TIMER);
    let _ = shared.vgics[0].deliver_hardware(0, &mut shared.core, TIMER);
    assert_eq!(shared.core.acknowledge(), Some(TIMER));
    shared.core.end(TIMER);
    assert!(!shared.core.is_active(PHYSICAL_TIMER));
}

#[test]
fn an_interrupt_that_comes_as_its_virtual_cpu_leaves_is_kept() {
    let mut shared = Shared::new(4);
    shared.switch_on(0);
    shared.core.fire(PHYSICAL_TIMER);
    let told = shared.vgics[0].deliver_hardware(0, &mut shared.core, TIMER);
    assert_eq!(told.bits(), 1);
    assert!(!shared.core.is_active(PHYSICAL_TIMER) && shared.core.listed().is_empty());
    assert!(shared.vgics[0].wakes(0));
}
