//! Random operations on the virtual GIC, compared after each with the plain model: nothing lost, nothing delivered twice,
//! the most urgent first, levels sampled, physical interrupts let go.

mod operations;

use super::core::Core;
use super::forgetful::shown;
use super::model::{Active, Model};
use super::*;
use crate::interrupts::{Book, HardwareEnd, SgiRegister, VcpuSet};

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
    /// What becomes of interrupts that guests end, and what is known of list registers where that is forgotten.
    end: HardwareEnd,
    books: Vec<Book>,
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
            machine(vcpus, list_registers)
        };
        let end = random.pick(&[HardwareEnd::Works, HardwareEnd::Nudged, HardwareEnd::Forgotten]);
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
            books: (0..vcpus).map(|_| Book::new(end)).collect(),
            end,
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

    /// Lets everybody who has to look do so, and devices fire, until all is quiet.
    fn settle(&mut self, mut told: VcpuSet) {
        if self.random.below(4) == 0 {
            // Devices do not wait until everybody has looked.
            told = told.union(self.fire());
        }
        for _ in 0..50 {
            while let Some(vcpu) = told.next() {
                if !self.parked[vcpu] {
                    told = told.union(self.vgic.flush(vcpu, &mut shown(&mut self.cores[vcpu], &self.books[vcpu])));
                }
            }
            told = self.fire();
            for vcpu in 0..self.cores.len() {
                if self.cores[vcpu].calls() {
                    if shown(&mut self.cores[vcpu], &self.books[vcpu]).maintain() {
                        self.vgic.maintain(vcpu);
                    }
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
            if self.timers[core] && !self.parked[core] && self.is_ready(core, TIMER) {
                told = told.union(self.deliver(core, TIMER));
            }
            if self.timers[core] && self.parked[core] {
                self.raise(core);
            }
        }
        if self.level && self.is_ready(0, 140) {
            told = told.union(self.deliver_anywhere(40));
        }
        if self.edge && self.is_ready(0, 141) {
            self.edge = self.parked.iter().all(|&parked| parked);
            told = told.union(self.deliver_anywhere(41));
        }
        told
    }

    /// Whether a physical interrupt comes if its line is high.
    fn is_ready(&self, core: usize, physical: u32) -> bool {
        match self.end {
            HardwareEnd::Works => !self.cores[core].is_active(physical),
            _ if physical < 32 => self.cores[core].is_ready(physical),
            // An SPI is forgotten on whichever core it was ended.
            _ => self.cores.iter().all(|core| core.is_ready(physical)),
        }
    }

    fn deliver_anywhere(&mut self, intid: u32) -> VcpuSet {
        if self.random.below(3) == 0 {
            return self.post(intid);
        }
        self.running_core().map_or(VcpuSet::EMPTY, |core| self.deliver(core, intid))
    }

    /// A core that has none of these virtual CPUs takes a physical SPI.
    fn post(&mut self, intid: u32) -> VcpuSet {
        self.log.push(format!("  some core gets physical {intid}"));
        self.cores[0].fire(Self::physical(intid));
        self.model.get(0, intid).latch = true;
        self.vgic.post_hardware(intid)
    }

    /// The time of a parked virtual CPU's timer comes.
    fn raise(&mut self, vcpu: usize) {
        self.log.push(format!("  the timer of parked {vcpu} is due"));
        let wakes = self.vgic.raise_parked_timer(vcpu, TIMER);
        self.model.get(vcpu, TIMER).set_line(true);
        assert_eq!(wakes, self.model.deliverable(vcpu).iter().any(|&(_, intid)| intid == TIMER));
    }

    fn deliver(&mut self, core: usize, intid: u32) -> VcpuSet {
        self.log.push(format!("  core {core} gets physical {intid}"));
        self.cores[core].fire(Self::physical(intid));
        self.model.get(core, intid).latch = true;
        let mut told = self.vgic.deliver_hardware(core, &mut shown(&mut self.cores[core], &self.books[core]), intid);
        told.insert(core);
        told
    }

    fn check(&mut self) {
        for vcpu in 0..self.cores.len() {
            let deliverable = self.model.deliverable(vcpu);
            let has = self.vgic.has_pending(vcpu, &mut shown(&mut self.cores[vcpu], &self.books[vcpu]));
            assert_eq!(has, !deliverable.is_empty(), "has_pending({vcpu})");
            if self.parked[vcpu] {
                // What it said does not change by its having been asked.
                assert_eq!(self.vgic.wakes(vcpu), has, "wakes({vcpu})");
                assert!(has || !self.vgic.attention(vcpu).is_asked_for(), "{vcpu} would be looked at again");
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

    /// A physical interrupt is active while its line is high, and only while something virtual stands for it.
    fn check_physical(&mut self) {
        for core in 0..self.cores.len() {
            let high = self.timers[core] && !self.parked[core];
            assert!(!high || self.cores[core].is_active(TIMER), "the timer of {core} is forgotten");
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
        let (_, told) =
            read_bit_at(&self.vgic, vcpu, &mut shown(&mut self.cores[vcpu], &self.books[vcpu]), offset, intid);
        for other in told {
            assert!(!self.parked[other], "a parked virtual CPU holds something");
            let others = self.vgic.flush(other, &mut shown(&mut self.cores[other], &self.books[other]));
            assert!(others.is_empty());
        }
        read_bit_at(&self.vgic, vcpu, &mut shown(&mut self.cores[vcpu], &self.books[vcpu]), offset, intid).0
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
                    while self.random.below(3) == 0 {
                        let Some(other) = self.running_core() else { break };
                        told = told.union(self.trap(other));
                        told.insert(other);
                    }
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
                self.model.get(vcpu, TIMER).set_line(false);
                self.vgic.unpark(vcpu, &mut shown(&mut self.cores[vcpu], &self.books[vcpu]));
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
