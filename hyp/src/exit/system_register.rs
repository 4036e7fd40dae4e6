//! Trapped system registers: each one that is answered, and how. Any other is an UNDEFINED instruction to the guest.

use crate::arch::aarch64::registers::{read_register, write_register};
use crate::exit::syndrome::{SystemRegisterAccess, encoding};
use crate::exit::{Next, identification, undefined};
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
const OSLSR: u32 = encoding(2, 0, 1, 1, 4);
const OSDLR: u32 = encoding(2, 0, 1, 3, 4);
const DBGPRCR: u32 = encoding(2, 0, 1, 4, 4);
const MDRAR: u32 = encoding(2, 0, 1, 0, 0);
const MDCCINT: u32 = encoding(2, 0, 0, 2, 0);
const MDCCSR: u32 = encoding(2, 3, 0, 1, 0);
const OSDTRRX: u32 = encoding(2, 0, 0, 0, 2);
const OSDTRTX: u32 = encoding(2, 0, 0, 3, 2);
const OSECCR: u32 = encoding(2, 0, 0, 6, 2);
const DBGCLAIMSET: u32 = encoding(2, 0, 7, 8, 6);
const DBGCLAIMCLR: u32 = encoding(2, 0, 7, 9, 6);
const DBGAUTHSTATUS: u32 = encoding(2, 0, 7, 14, 6);

/// MDSCR_EL1 as far as a guest may set it: single step (SS), kernel debug (KDE), and the trap of the debug
/// communications channel (TDCC). Breakpoints stay off (MDE): there are none (see `is_breakpoint`).
const MDSCR_GUEST: u64 = 1 << 13 | 1 << 12 | 1;
/// OSLSR_EL1: the OS lock is implemented and not locked.
const OS_LOCK_OPEN: u64 = 1 << 3;

/// Handles a trapped MRS, MSR or system instruction.
#[inline(always)]
pub fn handle(processor: &mut Processor, vcpu: &mut Vcpu, access: SystemRegisterAccess) -> Next {
    if matches!(access.register, ICC_SGI1R | ICC_ASGI1R | ICC_SGI0R) && !access.is_read {
        vcpu.skip_instruction();
        let value = vcpu.register(access.transfer);
        return send_sgi(processor, vcpu, access.register, value);
    }
    other(processor, vcpu, access)
}

fn send_sgi(processor: &Processor, vcpu: &mut Vcpu, register: u32, value: u64) -> Next {
    use crate::interrupts::SgiRegister;
    let which = match register {
        ICC_SGI0R => SgiRegister::Group0,
        ICC_ASGI1R => SgiRegister::Other,
        _ => SgiRegister::Group1,
    };
    let told = vcpu.vm.vgic.send_sgi_here(vcpu.index, &mut processor.list_registers(), which, value);
    vcpu.vm.kick(told, vcpu.index, processor);
    Next::Resume
}

#[inline(never)]
fn other(processor: &mut Processor, vcpu: &mut Vcpu, access: SystemRegisterAccess) -> Next {
    let outcome = if access.is_read {
        read(processor, vcpu, access.register).map(|value| vcpu.set_register(access.transfer, value))
    } else {
        write(processor, vcpu, access.register, vcpu.register(access.transfer))
    };
    match outcome {
        Some(()) => {
            vcpu.skip_instruction();
            Next::Resume
        }
        None => {
            vcpu.vm.counters.undefined_register();
            undefined(vcpu)
        }
    }
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
        OSLSR => OS_LOCK_OPEN,
        OSDLR | DBGPRCR | MDRAR | MDCCINT | MDCCSR | OSDTRRX | OSDTRTX | OSECCR => 0,
        DBGCLAIMSET => 0xff,
        DBGCLAIMCLR | DBGAUTHSTATUS => 0,
        _ if is_breakpoint(register) => 0,
        _ => return None,
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
        // The auxiliary controls are the board's, and the OS lock stays open: as if the write had no effect.
        ICC_DIR | ACTLR | OSLAR | OSDLR | DBGPRCR | MDCCINT | OSDTRRX | OSDTRTX | OSECCR | DBGCLAIMSET
        | DBGCLAIMCLR => {}
        _ if is_breakpoint(register) => {}
        _ => return None,
    }
    if register == ICC_DIR {
        // Traps only while more interrupts are active than the list registers hold.
        let registers = &mut processor.list_registers();
        let told = vcpu.vm.vgic.deactivate_here(vcpu.index, registers, value as u32 & 0xff_ffff);
        vcpu.vm.kick(told, vcpu.index, processor);
    }
    if matches!(register, CNTP_CTL | CNTP_CVAL | CNTP_TVAL) {
        vcpu.update_physical_timer(processor.machine.clock.now());
        if let Some(deadline) = vcpu.physical_timer.deadline() {
            processor.set_earlier(deadline);
        }
    }
    Some(())
}

/// DBGBVR, DBGBCR, DBGWVR and DBGWCR: read zero, writes ignored. ID_AA64DFR0_EL1 must promise two of each; a guest's
/// hardware breakpoints never hit, its software ones (BRK) and single steps work.
fn is_breakpoint(register: u32) -> bool {
    const KIND: u32 = encoding(3, 7, 15, 0, 0);
    register & KIND == encoding(2, 0, 0, 0, 0) && (4..=7).contains(&(register >> 17 & 7))
}

/// The ID registers of group 3: op0 3, op1 0, CRn 0, CRm 1 to 7.
fn feature(register: u32) -> Option<u64> {
    const GROUP: u32 = encoding(3, 7, 15, 0, 0);
    if register & GROUP != encoding(3, 0, 0, 0, 0) {
        return None;
    }
    macro_rules! raw {
        ($($crm:literal $op2:literal $name:literal $how:ident,)*) => {
            $(if register == encoding(3, 0, 0, $crm, $op2) {
                return Some(identification::$how(register, read_register!($name)));
            })*
        };
    }
    raw! {
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
    }
    // The rest of the group is reserved, or what it would tell of is not offered: read as zero.
    Some(0)
}
