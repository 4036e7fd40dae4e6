//! What a guest's PSCI and SMCCC calls do. Nothing of a guest's registers goes to the firmware.

use crate::exit::Next;
use crate::exit::psci::{self, Call};
use crate::life::{Power, Refusal, StopReason};
use crate::processor::Processor;
use crate::vcpu::Vcpu;
use crate::vm::{VcpuControl, Vm};

/// Handles an HVC or SMC. `immediate` must be zero for a standard call (SMCCC, DEN0028 2.9).
#[inline(always)]
pub fn handle(processor: &Processor, vcpu: &mut Vcpu, immediate: u16) -> Next {
    let function = vcpu.general.x[0] as u32;
    vcpu.general.x[0] = match immediate {
        0 if function == psci::VERSION => psci::PSCI_VERSION,
        0 if psci::may_be_known(function) => return rarer(processor, vcpu),
        _ => psci::NOT_SUPPORTED,
    };
    Next::Resume
}

#[inline(never)]
fn rarer(processor: &Processor, vcpu: &mut Vcpu) -> Next {
    let x = &vcpu.general.x;
    let result = match Call::decode(x[0], x[1], x[2], x[3]) {
        Call::Version => psci::PSCI_VERSION,
        Call::MigrateInfoType => psci::NO_TRUSTED_OS,
        Call::SmcccVersion => psci::SMCCC_VERSION,
        Call::Features(function) => psci::features(function),
        Call::ArchFeatures(psci::PV_TIME_FEATURES) => pv_time(vcpu),
        Call::PvTimeFeatures(psci::PV_TIME_FEATURES | psci::PV_TIME_ST) => pv_time(vcpu),
        Call::PvTimeStolen => {
            vcpu.vm.stolen_time.map_or(psci::NOT_SUPPORTED, |stolen_time| stolen_time.address(vcpu.index))
        }
        Call::ArchFeatures(function) => {
            psci::arch_features(function, |workaround| processor.hardening.offer(workaround))
        }
        Call::Workaround(workaround) if processor.hardening.carry_out(workaround) => psci::SUCCESS,
        Call::CpuOn { target, entry, context } => cpu_on(vcpu.vm, target, entry, context),
        Call::AffinityInfo { target, level } => affinity_info(vcpu.vm, target, level),
        Call::CpuSuspend => {
            vcpu.general.x[0] = psci::SUCCESS;
            return Next::Wait;
        }
        Call::CpuOff => return Next::Off,
        Call::SystemOff => return Next::Stop(StopReason::Off),
        Call::SystemReset => return Next::Stop(StopReason::Reset),
        Call::OtherReset => psci::INVALID_PARAMETERS,
        Call::PvTimeFeatures(_) | Call::Workaround(_) | Call::Unknown => psci::NOT_SUPPORTED,
    };
    vcpu.general.x[0] = result;
    Next::Resume
}

/// Whether paravirtualized time is there.
fn pv_time(vcpu: &Vcpu) -> u64 {
    if vcpu.vm.stolen_time.is_some() { psci::SUCCESS } else { psci::NOT_SUPPORTED }
}

fn cpu_on(vm: &'static Vm, target: u64, entry: u64, context: u64) -> u64 {
    let Some(index) = vm.vcpus.iter().position(|vcpu| vcpu.affinity == target) else {
        return psci::INVALID_PARAMETERS;
    };
    if !vm.has_memory_at(entry) {
        return psci::INVALID_ADDRESS;
    }
    match vm.cpu_on(index, entry, context) {
        Ok(()) => psci::SUCCESS,
        Err(Refusal::AlreadyOn) => psci::ALREADY_ON,
        Err(Refusal::OnPending) => psci::ON_PENDING,
        Err(Refusal::Denied) => psci::DENIED,
    }
}

fn affinity_info(vm: &Vm, target: u64, level: u32) -> u64 {
    const ON: u64 = 0;
    const OFF: u64 = 1;
    const ON_PENDING: u64 = 2;
    const AFFINITY: u64 = 0xff_00ff_ffff;
    if target & !AFFINITY != 0 {
        return psci::INVALID_PARAMETERS;
    }
    // Affinity fields below `level` do not count (DEN0022 5.7).
    let fields = match level {
        0 => AFFINITY,
        1 => 0xff_00ff_ff00,
        2 => 0xff_00ff_0000,
        3 => 0xff_0000_0000,
        _ => return psci::INVALID_PARAMETERS,
    };
    let state = |(index, _): (usize, &VcpuControl)| match vm.affinity(index) {
        Power::On => ON,
        Power::OnPending => ON_PENDING,
        Power::Off => OFF,
    };
    let affected = vm.vcpus.iter().enumerate().filter(|(_, vcpu)| (vcpu.affinity ^ target) & fields == 0);
    // The most awake one tells.
    affected.map(state).min_by_key(|state| [0, 2, 1][*state as usize]).unwrap_or(psci::INVALID_PARAMETERS)
}
