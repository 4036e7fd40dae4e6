//! Two VMs, two cores, and what can happen next.

use tessera::life::{CrashReason, Life, Order, State, StopReason};

const REASONS: [StopReason; 3] =
    [StopReason::Off, StopReason::Reset, StopReason::Crashed(CrashReason::NoVector { address: 0 })];

/// What happens next. A vCPU's core has its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Start {
        vm: usize,
    },
    Stop {
        vm: usize,
        reason: StopReason,
    },
    Pause {
        vm: usize,
    },
    Resume {
        vm: usize,
    },
    /// The core loads this VM's vCPU.
    Kick {
        core: usize,
        vm: usize,
    },
    /// The loaded vCPU asks for the other one.
    CpuOn {
        core: usize,
    },
    /// The loaded vCPU goes off.
    CpuOff {
        core: usize,
    },
    /// The core looks after whom it was rung for, or whose time has come.
    Serve {
        core: usize,
        vm: usize,
        now: u64,
    },
    /// The core has carried out what it had taken.
    Confirm {
        core: usize,
    },
}

/// What was asked of a VM, and not done or undone since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    Nothing,
    /// To run.
    Run {
        starts: [bool; 2],
    },
    /// To pause, and start these later.
    Pause {
        starts: [bool; 2],
    },
    Stop(StopReason),
    Restart,
    Ended,
}

/// What a core has of one of its vCPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hand {
    #[default]
    Off,
    On,
    Parked,
    Waits {
        until: u64,
    },
    Works,
}

/// What a core has taken and not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doing {
    PutOut,
    Park,
    LastStep,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vm {
    pub life: Life,
    pub asked: Asked,
    /// How often it may start again.
    pub restarts_left: u32,
}

/// One core; arrays are by VM.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Core {
    pub rung: u8,
    pub loaded: Option<usize>,
    pub hands: [Hand; 2],
    pub doing: Option<(usize, Doing)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub vms: [Vm; 2],
    pub cores: [Core; 2],
    pub is_off: bool,
    pub fault: Option<&'static str>,
}

impl World {
    pub fn new(life: &Life, restarts: u32) -> Self {
        let vm = Vm { life: life.clone(), asked: Asked::Nothing, restarts_left: restarts };
        Self { vms: [vm.clone(), vm], cores: Default::default(), is_off: false, fault: None }
    }

    /// What others may do.
    pub fn calls(&self, steps: &mut Vec<Step>) {
        if self.is_off {
            return;
        }
        for vm in 0..2 {
            match self.vms[vm].asked {
                Asked::Nothing => steps.push(Step::Start { vm }),
                Asked::Ended => continue,
                _ => steps.extend([Step::Pause { vm }, Step::Resume { vm }]),
            }
            steps.extend(REASONS.map(|reason| Step::Stop { vm, reason }));
        }
        for core in 0..2 {
            self.guest_calls(core, steps);
        }
    }

    fn guest_calls(&self, core: usize, steps: &mut Vec<Step>) {
        let here = &self.cores[core];
        if here.doing.is_some() {
            return;
        }
        let others = (0..2).filter(|vm| here.hands[*vm] == Hand::On && here.loaded != Some(*vm));
        steps.extend(others.map(|vm| Step::Kick { core, vm }));
        if here.loaded.is_some() {
            steps.extend([Step::CpuOn { core }, Step::CpuOff { core }]);
        }
    }

    /// What cores have to do.
    pub fn core_steps(&self, steps: &mut Vec<Step>) {
        for (core, here) in self.cores.iter().enumerate().filter(|_| !self.is_off) {
            if here.doing.is_some() {
                steps.push(Step::Confirm { core });
                continue;
            }
            for vm in 0..2 {
                match here.hands[vm] {
                    _ if here.rung >> vm & 1 != 0 => steps.push(Step::Serve { core, vm, now: 0 }),
                    Hand::Works => steps.push(Step::Serve { core, vm, now: 0 }),
                    Hand::Waits { until } => steps.push(Step::Serve { core, vm, now: until }),
                    _ => {}
                }
            }
        }
    }

    /// Whether it is where it was to go, with nothing left to do.
    pub fn is_at_rest(&self, vm: usize) -> bool {
        let Vm { life, asked, .. } = &self.vms[vm];
        let is_there = match asked {
            Asked::Nothing => life.state() == State::Off,
            Asked::Run { starts } => matches!(life.state(), State::Running(_)) && *starts == [false; 2],
            Asked::Pause { .. } => matches!(life.state(), State::Paused(_)),
            Asked::Ended => life.has_ended(),
            Asked::Stop(_) | Asked::Restart => self.is_off,
        };
        is_there && (0..2).all(|vcpu| self.is_off || life.clone().order(vcpu, u64::MAX) == Order::Nothing)
    }
}
