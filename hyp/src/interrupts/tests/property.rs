//! Random operations on the virtual GIC, compared after each with the plain model: nothing lost, nothing delivered twice,
//! the most urgent first, levels sampled, physical interrupts let go.

use super::core::Core;
use super::model::{Active, Model};
use super::*;
use crate::interrupts::{SgiRegister, VcpuSet};

const SPIS: usize = 96;
/// Hardware interrupts: the virtual timer, a level-sensitive and an edge-triggered SPI.
const TIMER: u32 = 27;
const HARDWARE: [u32; 3] = [TIMER, 40, 41];
/// The interrupts that take part: SGIs, PPIs, SPIs of several banks.
const NUMBERS: [u32; 20] = [0, 1, 2, 15, 16, 20, TIMER, 30, 31, 32, 33, 40, 41, 63, 64, 65, 95, 96, 100, 127];

/// How much of the log a failure shows.
const LOGGED: usize = 400;

pub struct Random(pub u64);

impl Random {
    /// SplitMix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn flip(&mut self) -> bool {
        self.next() & 1 != 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

struct World {
    vgic: Vgic,
    cores: Vec<Core>,
    model: Model,
    random: Random,
    /// What each virtual CPU has acknowledged: number, and whether its priority is dropped.
    taken: Vec<Vec<(u32, bool)>>,
    parked: Vec<bool>,
    /// Level of the physical timer line of each core, and of the physical SPI 40; edge of 41.
    timers: Vec<bool>,
    level: bool,
    edge: bool,
    split: bool,
    log: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let vcpus = 1 + random.below(3);
        let (vgic, mut cores) = {
            let list_registers = random.pick(&[1, 2, 3, 4, 4, 16]);
            machine_with(vcpus, list_registers, random.below(4) != 0)
        };
        let split = random.flip();
        cores.iter_mut().for_each(|core| core.split = split);
        let mut model = Model::new(vcpus, SPIS);
        for intid in HARDWARE {
            vgic.map_hardware(intid, intid + 100 * u32::from(intid >= 32)).expect("exists");
            (0..vcpus).for_each(|vcpu| model.get(vcpu, intid).hardware = true);
        }
        let mut world = Self {
            vgic,
            cores,
            model,
            random,
            taken: vec![Vec::new(); vcpus],
            parked: vec![false; vcpus],
            timers: vec![false; vcpus],
            level: false,
            edge: false,
            split,
            log: Vec::new(),
        };
        world.configure();
        world
    }

    /// Mostly enabled, mostly Group 1.
    fn configure(&mut self) {
        let _ = configure(&self.vgic, 0, 0, 4, GROUPS);
        self.model.groups = [true, true];
        for vcpu in 0..self.cores.len() {
            for intid in NUMBERS {
                if self.random.below(4) != 0 {
                    let _ = self.write_group(vcpu, intid, 1);
                }
                if self.random.below(4) != 0 {
                    let _ = write_bit(&self.vgic, vcpu, ISENABLER, intid);
                    self.model.get(vcpu, intid).enabled = true;
                }
                let priority = self.random.below(32) as u8 * 8;
                let _ = set_priority(&self.vgic, vcpu, intid, priority);
                self.model.get(vcpu, intid).priority = priority;
            }
        }
        for intid in [33, 41, 64] {
            let _ = self.set_trigger(0, intid, true);
        }
    }

    fn write_group(&mut self, vcpu: usize, intid: u32, group: u8) -> VcpuSet {
        self.model.get(vcpu, intid).group = group;
        let word = (intid / 32 * 32..intid / 32 * 32 + 32)
            .fold(0, |word, other| word | u64::from(self.model.get(vcpu, other).group) << (other % 32));
        if intid < 32 {
            self.vgic.write_redistributor(vcpu, vcpu as u64 * 0x2_0000 + 0x1_0080, 4, word)
        } else {
            configure(&self.vgic, vcpu, 0x80 + u64::from(intid / 32) * 4, 4, word)
        }
    }

    fn set_trigger(&mut self, vcpu: usize, intid: u32, edge: bool) -> VcpuSet {
        self.model.get(0, intid).edge = edge;
        let first = intid / 16 * 16;
        let word = (first..first + 16)
            .fold(0, |word, other| word | u64::from(self.model.get(0, other).edge) << ((other - first) * 2 + 1));
        configure(&self.vgic, vcpu, 0xc00 + u64::from(first) / 4, 4, word)
    }

    fn physical(intid: u32) -> u32 {
        intid + 100 * u32::from(intid >= 32)
    }

    fn running_core(&mut self) -> Option<usize> {
        let first = self.random.below(self.cores.len());
        (0..self.cores.len()).map(|step| (first + step) % self.cores.len()).find(|&vcpu| !self.parked[vcpu])
    }

    /// One random operation of `vcpu`, in the model, too. Returns who has to look.
    fn step(&mut self, vcpu: usize) -> VcpuSet {
        let intid = self.random.pick(&NUMBERS);
        let operation = self.random.below(20);
        self.log.push(format!("vcpu {vcpu} operation {operation} interrupt {intid}"));
        match operation {
            0 | 1 => self.line(vcpu, intid),
            2 if intid >= 32 && !HARDWARE.contains(&intid) => {
                self.model.get(vcpu, intid).latch = true;
                self.vgic.pulse(vcpu, intid)
            }
            3 | 4 => self.sgi(vcpu, intid % 16),
            5 => self.enable(vcpu, intid),
            6 => self.pend(vcpu, intid),
            7 => self.activate(vcpu, intid),
            8 => self.prioritize(vcpu, intid),
            9 if intid >= 32 => self.route(vcpu, intid),
            10 if self.random.below(4) == 0 => {
                let groups = self.random.below(4);
                self.model.groups = [groups & 1 != 0, groups & 2 != 0];
                configure(&self.vgic, vcpu, 0, 4, groups as u64)
            }
            10 => {
                self.model.groups = [true, true];
                configure(&self.vgic, vcpu, 0, 4, GROUPS)
            }
            11 if self.random.below(4) == 0 => {
                let group = self.random.below(2) as u8;
                self.write_group(vcpu, intid, group)
            }
            12 if intid >= 32 && !HARDWARE.contains(&intid) => {
                let edge = self.random.flip();
                self.set_trigger(vcpu, intid, edge)
            }
            13 => self.park(vcpu),
            14 => self.device(),
            15..=17 => self.acknowledge(vcpu),
            _ => self.end(vcpu),
        }
    }

    fn line(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        if intid < 16 || HARDWARE.contains(&intid) {
            return VcpuSet::EMPTY;
        }
        let high = self.random.flip();
        self.model.get(vcpu, intid).set_line(high);
        self.vgic.set_line(vcpu, intid, high)
    }

    fn sgi(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        let (zero, all) = (self.random.below(4) == 0, self.random.below(4) == 0);
        let list = self.random.next() & 0xf;
        for target in 0..self.cores.len() {
            let named = if all { target != vcpu } else { list >> target & 1 != 0 };
            let interrupt = self.model.get(target, intid);
            if named && interrupt.group == u8::from(!zero) {
                interrupt.latch = true;
            }
        }
        let register = if zero { SgiRegister::Group0 } else { SgiRegister::Group1 };
        let value = u64::from(intid) << 24 | u64::from(all) << 40 | list;
        if self.random.flip() {
            self.vgic.send_sgi_here(vcpu, &mut self.cores[vcpu], register, value)
        } else {
            self.vgic.send_sgi(vcpu, register, value)
        }
    }

    fn enable(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        let on = self.random.below(3) != 0;
        self.model.get(vcpu, intid).enabled = on;
        write_bit(&self.vgic, vcpu, if on { ISENABLER } else { ICENABLER }, intid)
    }

    fn pend(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        let on = self.random.flip();
        self.model.get(vcpu, intid).latch = on;
        if on { pend(&self.vgic, &mut self.cores[vcpu], intid) } else { write_bit(&self.vgic, vcpu, ICPENDR, intid) }
    }

    fn activate(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        // With one write to end an interrupt, the guest has to end them in order: see `deactivate_unlisted`.
        if !self.split {
            return VcpuSet::EMPTY;
        }
        let on = self.random.below(4) == 0;
        let interrupt = self.model.get(vcpu, intid);
        interrupt.active = match (on, interrupt.active) {
            (false, _) => Active::No,
            (true, Active::No) => Active::Written,
            (true, other) => other,
        };
        if !on {
            self.taken.iter_mut().enumerate().for_each(|(owner, taken)| {
                // It still has to drop its priority.
                taken.retain(|&(other, dropped)| other != intid || !dropped || (intid < 32 && owner != vcpu));
            });
        }
        write_bit(&self.vgic, vcpu, if on { ISACTIVER } else { ICACTIVER }, intid)
    }

    fn prioritize(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        if !self.split && self.model.get(vcpu, intid).active != Active::No {
            return VcpuSet::EMPTY;
        }
        let priority = self.random.next() as u8;
        self.model.get(vcpu, intid).priority = priority & 0xf8;
        set_priority(&self.vgic, vcpu, intid, priority)
    }

    fn route(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        let target = self.random.below(self.cores.len() + 1);
        self.model.get(0, intid).target = (target < self.cores.len()).then_some(target);
        configure(&self.vgic, vcpu, 0x6000 + u64::from(intid) * 8, 8, target as u64)
    }

    fn park(&mut self, vcpu: usize) -> VcpuSet {
        let told = self.vgic.park(vcpu, &mut self.cores[vcpu]);
        assert!(self.cores[vcpu].listed().is_empty() && !self.cores[vcpu].calls());
        assert!(!self.cores[vcpu].is_active(TIMER), "the timer is left active");
        assert_eq!(self.cores[vcpu].maintenance, crate::interrupts::Maintenance::NONE);
        if self.random.flip() {
            self.log.push("  stays parked".into());
            self.parked[vcpu] = true;
        } else {
            self.vgic.unpark(vcpu, &mut self.cores[vcpu]);
        }
        told
    }

    fn device(&mut self) -> VcpuSet {
        let level = self.random.flip();
        match self.random.below(4) {
            0 => self.level = level,
            1 => self.edge = true,
            _ => {
                let core = self.random.below(self.cores.len());
                self.timers[core] = level;
            }
        }
        VcpuSet::EMPTY
    }

    fn acknowledge(&mut self, vcpu: usize) -> VcpuSet {
        let running = self.cores[vcpu].running.last().copied();
        let best = self.model.deliverable(vcpu).into_iter().min();
        let expected = best.filter(|&(priority, _)| running.is_none_or(|running| priority < running));
        let got = self.cores[vcpu].acknowledge();
        self.log.push(format!("  acknowledged {got:?}"));
        assert_eq!(got.is_some(), expected.is_some(), "acknowledged {got:?}, expected {expected:?}");
        if let (Some(got), Some((priority, _))) = (got, expected) {
            let interrupt = self.model.get(vcpu, got);
            assert_eq!(interrupt.priority, priority, "{got} is not the most urgent");
            assert!(interrupt.target == Some(vcpu) && interrupt.enabled);
            interrupt.acknowledge(vcpu);
            self.taken[vcpu].push((got, false));
        }
        VcpuSet::EMPTY
    }

    /// Ends the innermost, or deactivates any whose priority is dropped.
    fn end(&mut self, vcpu: usize) -> VcpuSet {
        let innermost = self.taken[vcpu].iter().rposition(|&(_, dropped)| !dropped);
        let dropped: Vec<_> = (0..self.taken[vcpu].len()).filter(|&index| self.taken[vcpu][index].1).collect();
        if !dropped.is_empty() && (innermost.is_none() || self.random.flip()) {
            let (intid, _) = {
                let index = self.random.pick(&dropped);
                self.taken[vcpu].remove(index)
            };
            self.log.push(format!("  deactivates {intid}"));
            return self.finish(vcpu, intid);
        }
        let Some(index) = innermost else {
            return VcpuSet::EMPTY;
        };
        let intid = self.taken[vcpu][index].0;
        self.log.push(format!("  ends {intid}"));
        self.cores[vcpu].end(intid);
        if self.split && self.model.get(vcpu, intid).active == Active::By(vcpu) {
            self.taken[vcpu][index].1 = true;
        } else {
            self.taken[vcpu].remove(index);
            if !self.split {
                self.model.get(vcpu, intid).active = Active::No;
            }
        }
        VcpuSet::EMPTY
    }

    fn finish(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        self.model.get(vcpu, intid).active = Active::No;
        if self.cores[vcpu].end_split(intid) { self.vgic.deactivate(vcpu, intid) } else { VcpuSet::EMPTY }
    }

    /// Lets everybody who has to look do so, and devices fire, until all is quiet.
    fn settle(&mut self, mut told: VcpuSet) {
        if self.random.below(4) == 0 {
            // Devices do not wait until everybody has looked.
            told = told.union(self.fire());
        }
        for _ in 0..50 {
            while let Some(vcpu) = told.next() {
                if !self.parked[vcpu] {
                    told = told.union(self.vgic.flush(vcpu, &mut self.cores[vcpu]));
                }
            }
            told = self.fire();
            for vcpu in 0..self.cores.len() {
                if self.cores[vcpu].calls() {
                    self.vgic.maintain(vcpu);
                    told.insert(vcpu);
                }
            }
            if told.is_empty() {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// Physical interrupts that are asserted and not active are acknowledged and delivered.
    fn fire(&mut self) -> VcpuSet {
        let mut told = VcpuSet::EMPTY;
        for core in 0..self.cores.len() {
            if self.timers[core] && !self.parked[core] && !self.cores[core].is_active(TIMER) {
                told = told.union(self.deliver(core, TIMER));
            }
        }
        if self.level && !self.cores[0].is_active(140) {
            told = told.union(self.deliver_anywhere(40));
        }
        if self.edge && !self.cores[0].is_active(141) {
            self.edge = self.parked.iter().all(|&parked| parked);
            told = told.union(self.deliver_anywhere(41));
        }
        told
    }

    fn deliver_anywhere(&mut self, intid: u32) -> VcpuSet {
        self.running_core().map_or(VcpuSet::EMPTY, |core| self.deliver(core, intid))
    }

    fn deliver(&mut self, core: usize, intid: u32) -> VcpuSet {
        self.log.push(format!("  core {core} gets physical {intid}"));
        self.cores[core].fire(Self::physical(intid));
        self.model.get(core, intid).latch = true;
        let mut told = self.vgic.deliver_hardware(core, &mut self.cores[core], intid);
        told.insert(core);
        told
    }

    fn check(&mut self) {
        for vcpu in 0..self.cores.len() {
            let deliverable = self.model.deliverable(vcpu);
            let has = self.vgic.has_pending(vcpu, &mut self.cores[vcpu]);
            assert_eq!(has, !deliverable.is_empty(), "has_pending({vcpu})");
            if self.parked[vcpu] {
                continue;
            }
            let best = deliverable.iter().min().map(|&(priority, _)| priority);
            assert_eq!(self.cores[vcpu].best().map(|(priority, _)| priority), best, "most urgent of {vcpu}");
            for intid in self.cores[vcpu].pending() {
                let interrupt = self.model.get(vcpu, intid);
                assert!(interrupt.pending() && interrupt.enabled, "{intid} is pending at {vcpu} without cause");
            }
        }
        self.check_unique();
        self.check_physical();
    }

    fn check_unique(&self) {
        let mut seen = std::collections::BTreeSet::new();
        for core in &self.cores {
            for intid in core.listed() {
                assert!(seen.insert((if intid < 32 { core.number } else { 0 }, intid)), "{intid} is listed twice");
            }
        }
    }

    /// A physical interrupt is active only while something virtual stands for it.
    fn check_physical(&mut self) {
        for core in 0..self.cores.len() {
            for intid in HARDWARE {
                let interrupt = self.model.get(core, intid);
                let alive = interrupt.pending() || interrupt.active != Active::No;
                let active = self.cores[core].is_active(Self::physical(intid));
                assert!(alive || !active, "physical interrupt of {intid} is stuck");
            }
        }
    }

    /// Reads registers; what others hold is exact when they have looked.
    fn compare_registers(&mut self, vcpu: usize) {
        let intid = self.random.pick(&NUMBERS);
        let interrupt = self.model.get(vcpu, intid).clone();
        assert_eq!(self.read(vcpu, ISENABLER, intid), interrupt.enabled);
        assert_eq!(self.read(vcpu, ISPENDR, intid), interrupt.pending(), "ISPENDR of {intid}");
        assert_eq!(self.read(vcpu, ICACTIVER, intid), interrupt.active != Active::No, "ICACTIVER of {intid}");
    }

    fn read(&mut self, vcpu: usize, offset: u64, intid: u32) -> bool {
        let (_, told) = read_bit(&self.vgic, &mut self.cores[vcpu], offset, intid);
        for other in told {
            assert!(!self.parked[other], "a parked virtual CPU holds something");
            let others = self.vgic.flush(other, &mut self.cores[other]);
            assert!(others.is_empty());
        }
        read_bit(&self.vgic, &mut self.cores[vcpu], offset, intid).0
    }

    fn run(&mut self, steps: usize) {
        self.settle(VcpuSet::from_bits((1 << self.cores.len()) - 1));
        for _ in 0..steps {
            let mut told = match self.running_core() {
                Some(vcpu) => {
                    if self.random.below(4) == 0 {
                        let _ = self.device();
                    }
                    let mut told = self.step(vcpu);
                    if self.random.below(8) == 0 && !self.parked[vcpu] {
                        self.compare_after(vcpu, &mut told);
                    }
                    told.insert(vcpu);
                    told
                }
                None => VcpuSet::EMPTY,
            };
            if let Some(vcpu) = self.parked.iter().position(|&parked| parked).filter(|_| self.random.below(4) == 0) {
                self.parked[vcpu] = false;
                self.vgic.unpark(vcpu, &mut self.cores[vcpu]);
                told.insert(vcpu);
            }
            self.settle(told);
            self.check();
        }
    }

    fn compare_after(&mut self, vcpu: usize, told: &mut VcpuSet) {
        told.insert(vcpu);
        self.settle(*told);
        *told = VcpuSet::EMPTY;
        self.compare_registers(vcpu);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (vcpu, core) in self.cores.iter().enumerate() {
                eprintln!(
                    "{vcpu}: {:x?} {:?}, to deliver {:?}",
                    core.registers,
                    core.maintenance,
                    self.model.deliverable(vcpu)
                );
            }
            self.log.iter().rev().take(LOGGED).rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

#[test]
fn random_operations_agree_with_the_model() {
    let first: u64 = std::env::var("VGIC_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let count: u64 = std::env::var("VGIC_RUNS").ok().and_then(|count| count.parse().ok()).unwrap_or(300);
    for seed in first..first + count {
        eprintln!("seed {seed}");
        World::new(seed).run(400);
    }
}
