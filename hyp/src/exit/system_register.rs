//! Trapped system registers: each one that is answered, and how. Any other is an UNDEFINED instruction to the guest.

use tessera_platform::gic::Gic;

use crate::arch::aarch64::registers::{read_register, write_register};
use crate::exit::aarch32::TimerAccess;
use crate::exit::syndrome::{SystemRegisterAccess, encoding};
use crate::exit::{Next, fate, finish, identification, undefined};
use crate::interrupts::SgiRegister;
use crate::processor::Processor;
use crate::vcpu::Vcpu;

const ICC_SGI1R: u32 = encoding(3, 0, 12, 11, 5);
const ICC_ASGI1R: u32 = encoding(3, 0, 12, 11, 6);
const ICC_SGI0R: u32 = encoding(3, 0, 12, 11, 7);
const ICC_DIR: u32 = encoding(3, 0, 12, 11, 1);
const CNTP_TVAL: u32 = encoding(3, 3, 14, 2, 0);
const CNTP_CTL: u32 = encoding(3, 3, 14, 2, 1);
const CNTP_CVAL: u32 = encoding(3, 3, 14, 2, 2);
const ACTLR: u32 = encoding(3, 0, 1, 0, 1);
const MDSCR: u32 = encoding(2, 0, 0, 2, 2);
const OSLAR: u32 = encoding(2, 0, 1, 0, 4);
const ICC_SRE: u32 = encoding(3, 0, 12, 12, 5);

/// MDSCR_EL1 as far as a guest may set it: single step (SS), kernel debug (KDE), and the trap of the debug
/// communications channel (TDCC). Breakpoints stay off (MDE): there are none (see `fate`).
const MDSCR_GUEST: u64 = 1 << 13 | 1 << 12 | 1;
/// ICC_SRE_EL1: SRE, DFB, DIB: there are the system registers, and no bypass. On most processors it is that whatever is done.
const SYSTEM_REGISTERS_ONLY: u64 = 0b111;

/// Handles a trapped MRS, MSR or system instruction.
#[inline(always)]
pub fn handle(processor: &mut Processor, vcpu: &mut Vcpu, access: SystemRegisterAccess) -> Next {
    if access.register() == ICC_SGI1R && !access.is_read() {
        let value = vcpu.register(access.transfer());
        finish::instruction(vcpu);
        return send_sgi(processor, vcpu, SgiRegister::Group1, value);
    }
    other(processor, vcpu, access)
}

#[inline(always)]
fn send_sgi(processor: &Processor, vcpu: &mut Vcpu, which: SgiRegister, value: u64) -> Next {
    let told = vcpu.vm.vgic.send_sgi_here(vcpu.index, &mut processor.list_registers(), which, value);
    vcpu.vm.kick(told, vcpu.index, processor);
    Next::Resume
}

#[inline(never)]
fn other(processor: &mut Processor, vcpu: &mut Vcpu, access: SystemRegisterAccess) -> Next {
    let outcome = if access.is_read() {
        read(processor, vcpu, access.register()).map(|value| vcpu.set_register(access.transfer(), value))
    } else {
        write(processor, vcpu, access.register(), vcpu.register(access.transfer()))
    };
    match outcome {
        Some(()) => {
            finish::instruction(vcpu);
            Next::Resume
        }
        None => {
            vcpu.vm.counters.undefined_register();
            undefined(vcpu)
        }
    }
}

/// Handles MRC to MCRR of the physical timer, of AArch32.
#[cold]
pub fn timer(processor: &mut Processor, vcpu: &mut Vcpu, access: TimerAccess) -> Next {
    const LOWER: u64 = 0xffff_ffff;
    let (access, upper) = match access {
        TimerAccess::Single(access) => return other(processor, vcpu, access),
        TimerAccess::Pair(access, upper) => (access, upper),
    };
    let (register, lower) = (access.register(), access.transfer());
    let done = if access.is_read() {
        read(processor, vcpu, register).map(|value| {
            vcpu.set_register(lower, value & LOWER);
            vcpu.set_register(upper, value >> 32);
        })
    } else {
        let value = vcpu.register(upper) << 32 | vcpu.register(lower) & LOWER;
        write(processor, vcpu, register, value)
    };
    if done.is_none() {
        return undefined(vcpu);
    }
    finish::instruction(vcpu);
    Next::Resume
}

fn read(processor: &mut Processor, vcpu: &Vcpu, register: u32) -> Option<u64> {
    if let Some(value) = feature(register) {
        return Some(value);
    }
    let now = processor.machine.clock.now();
    let timer = vcpu.physical_timer;
    Some(match register {
        CNTP_CTL => timer.control & 3 | u64::from(timer.is_due(now)) << 2,
        CNTP_CVAL => timer.compare,
        CNTP_TVAL => timer.compare.wrapping_sub(now) & 0xffff_ffff,
        ACTLR => read_register!("actlr_el1"),
        MDSCR => read_register!("mdscr_el1"),
        ICC_SRE if has_system_registers(processor) => SYSTEM_REGISTERS_ONLY,
        _ => return fate::answer(register),
    })
}

fn write(processor: &mut Processor, vcpu: &mut Vcpu, register: u32, value: u64) -> Option<()> {
    match register {
        CNTP_CTL => vcpu.physical_timer.control = value & 3,
        CNTP_CVAL => vcpu.physical_timer.compare = value,
        CNTP_TVAL => {
            let ticks = value as u32 as i32 as i64 as u64;
            vcpu.physical_timer.compare = processor.machine.clock.now().wrapping_add(ticks);
        }
        MDSCR => write_register!("mdscr_el1", value & MDSCR_GUEST),
        ICC_ASGI1R => _ = send_sgi(processor, vcpu, SgiRegister::Other, value),
        ICC_SGI0R => _ = send_sgi(processor, vcpu, SgiRegister::Group0, value),
        ICC_SRE if has_system_registers(processor) => {}
        // The auxiliary controls are the board's, and the OS lock stays open: as if the write had no effect.
        ICC_DIR | ACTLR | OSLAR => {}
        _ => _ = fate::answer(register)?,
    }
    if register == ICC_DIR {
        // Traps only while more interrupts are active than the list registers hold.
        let registers = &mut processor.list_registers();
        let told = vcpu.vm.vgic.deactivate_here(vcpu.index, registers, value as u32 & 0xff_ffff);
        vcpu.vm.kick(told, vcpu.index, processor);
    }
    if matches!(register, CNTP_CTL | CNTP_CVAL | CNTP_TVAL) {
        vcpu.physical_timer_changed(processor.machine.clock.now());
        processor.set_earlier(vcpu.physical_timer.deadline);
    }
    Some(())
}

/// Whether the guest's GIC is driven by system registers.
fn has_system_registers(processor: &Processor) -> bool {
    matches!(processor.machine.gic, Gic::V3(_))
}

/// The ID registers of group 3: op0 3, op1 0, CRn 0, CRm 1 to 7.
#[inline(always)]
fn feature(register: u32) -> Option<u64> {
    const GROUP: u32 = encoding(3, 7, 15, 0, 0);
    if register & GROUP != encoding(3, 0, 0, 0, 0) {
        return None;
    }
    // Numbered through, so that each is found by one jump.
    let number = (register >> 1 & 0xf) << 3 | register >> 17 & 7;
    macro_rules! raw {
        ($($crm:literal $op2:literal $name:literal $how:ident,)*) => {
            match number {
                $(number if number == $crm << 3 | $op2 => {
                    identification::$how(encoding(3, 0, 0, $crm, $op2), read_register!($name))
                })*
                // Reserved, or what it would tell of is not offered: read as zero.
                _ => 0,
            }
        };
    }
    Some(raw! {
        1 0 "id_pfr0_el1" aarch32_feature, 1 1 "id_pfr1_el1" aarch32_feature, 1 2 "id_dfr0_el1" aarch32_feature,
        1 4 "id_mmfr0_el1" aarch32_feature, 1 5 "id_mmfr1_el1" aarch32_feature, 1 6 "id_mmfr2_el1" aarch32_feature,
        1 7 "id_mmfr3_el1" aarch32_feature, 2 0 "id_isar0_el1" aarch32_feature, 2 1 "id_isar1_el1" aarch32_feature,
        2 2 "id_isar2_el1" aarch32_feature, 2 3 "id_isar3_el1" aarch32_feature, 2 4 "id_isar4_el1" aarch32_feature,
        2 5 "id_isar5_el1" aarch32_feature, 2 6 "id_mmfr4_el1" aarch32_feature, 3 0 "mvfr0_el1" aarch32_feature,
        3 1 "mvfr1_el1" aarch32_feature, 3 2 "mvfr2_el1" aarch32_feature,
        4 0 "id_aa64pfr0_el1" aarch64_feature, 4 1 "id_aa64pfr1_el1" aarch64_feature,
        5 0 "id_aa64dfr0_el1" aarch64_feature, 6 0 "id_aa64isar0_el1" aarch64_feature,
        6 1 "id_aa64isar1_el1" aarch64_feature, 6 2 "s3_0_c0_c6_2" aarch64_feature, 7 0 "id_aa64mmfr0_el1" aarch64_feature,
        7 1 "id_aa64mmfr1_el1" aarch64_feature, 7 2 "id_aa64mmfr2_el1" aarch64_feature,
    })
}
