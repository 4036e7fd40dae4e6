//! A plain model of the interrupts of a virtual machine, one interrupt at a time, after IHI 0069 chapter 4. It knows no
//! list registers, words, masks or locks.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    No,
    /// Acknowledged by this virtual CPU.
    By(usize),
    /// Made so by a register write.
    Written,
}

#[derive(Clone, Debug)]
pub struct Interrupt {
    pub enabled: bool,
    pub group: u8,
    pub edge: bool,
    pub line: bool,
    pub latch: bool,
    pub active: Active,
    pub priority: u8,
    /// The virtual CPU it goes to; none if that does not exist.
    pub target: Option<usize>,
    /// It stands for a physical interrupt.
    pub hardware: bool,
}

impl Interrupt {
    fn new(edge: bool, target: usize) -> Self {
        Self {
            enabled: false,
            group: 0,
            edge,
            line: false,
            latch: false,
            active: Active::No,
            priority: 0,
            target: Some(target),
            hardware: false,
        }
    }

    pub fn pending(&self) -> bool {
        self.latch || (self.line && !self.edge)
    }

    pub fn set_line(&mut self, high: bool) {
        if high && !self.line && self.edge {
            self.latch = true;
        }
        self.line = high;
    }

    /// It is acknowledged by `vcpu`.
    pub fn acknowledge(&mut self, vcpu: usize) {
        assert!(self.pending() && self.active == Active::No);
        self.latch = false;
        self.active = Active::By(vcpu);
    }
}

pub struct Model {
    pub private: Vec<Vec<Interrupt>>,
    pub shared: Vec<Interrupt>,
    /// Group 0 and Group 1 are enabled.
    pub groups: [bool; 2],
}

impl Model {
    pub fn new(vcpus: usize, spis: usize) -> Self {
        let private = |vcpu| (0..32).map(|intid| Interrupt::new(intid < 16, vcpu)).collect();
        Self {
            private: (0..vcpus).map(private).collect(),
            shared: (0..spis).map(|_| Interrupt::new(false, 0)).collect(),
            groups: [false; 2],
        }
    }

    pub fn get(&mut self, vcpu: usize, intid: u32) -> &mut Interrupt {
        if intid < 32 { &mut self.private[vcpu][intid as usize] } else { &mut self.shared[intid as usize - 32] }
    }

    fn all(&self, vcpu: usize) -> impl Iterator<Item = (u32, &Interrupt)> {
        let shared = self.shared.iter().enumerate().map(|(index, interrupt)| (index as u32 + 32, interrupt));
        self.private[vcpu].iter().enumerate().map(|(index, interrupt)| (index as u32, interrupt)).chain(shared)
    }

    /// What `vcpu` may be given: priority and number.
    pub fn deliverable(&self, vcpu: usize) -> Vec<(u8, u32)> {
        let ours = self.all(vcpu).filter(|(_, interrupt)| {
            interrupt.pending()
                && interrupt.enabled
                && self.groups[usize::from(interrupt.group)]
                && interrupt.active == Active::No
                && interrupt.target == Some(vcpu)
        });
        ours.map(|(intid, interrupt)| (interrupt.priority, intid)).collect()
    }
}
