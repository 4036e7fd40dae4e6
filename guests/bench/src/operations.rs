//! The operations by name, and their results as lines: one for people and one for programs.

use alloc::format;
use alloc::string::String;

use guest_runtime::catch::catch;
use guest_runtime::machine::GicVersion;
use guest_runtime::{Machine, println, psci, register};

use crate::gic::{self, Controller, Trigger};
use crate::samples::{self, Figures, SAMPLES};
use crate::{calls, clock, devices, head, interrupts, memory};

/// An SMCCC function that nobody defines, among the fast 32-bit calls of the vendor's hypervisor services.
const UNKNOWN_FUNCTION: u32 = 0x8600_fe00;

/// One operation: its name in all results, and how it is measured; `None` means that the interrupt never came.
struct Operation {
    name: &'static str,
    measure: fn(&Machine) -> Option<Figures>,
}

macro_rules! operations {
    ($($name:literal: $measure:expr),* $(,)?) => {
        &[$(Operation { name: $name, measure: $measure }),*]
    };
}

const OPERATIONS: &[Operation] = operations! {
    "hvc_psci_version": |_| synchronous(|| calls::hvc(psci::VERSION)),
    "hvc_unknown": |_| synchronous(|| calls::hvc(UNKNOWN_FUNCTION)),
    "id_register_read": |_| synchronous(calls::id_register),
    "gicd_typer_read": |machine| synchronous(|| devices::read(machine.gic_frames.distributor + gic::TYPER)),
    "gicd_isenabler_read": |machine| synchronous(|| devices::read(machine.gic_frames.distributor + gic::ISENABLER + 4)),
    "gicr_isenabler_write": write_private_enable,
    "vuart_flag_read": |machine| synchronous(|| devices::read(machine.uart.base + devices::UART_FLAGS)),
    "uart_write": write_to_uart,
    "self_sgi": interrupts::self_sgi,
    "sgi_mixed": interrupts::mixed_sgis,
    "sgi_other_vcpu": interrupts::other_sgi,
    "vtimer_spin": interrupts::timer_spinning,
    "vtimer_wfi": interrupts::timer_sleeping,
    "spi": |machine| interrupts::shared(machine, Trigger::Edge),
    "spi_level": |machine| interrupts::shared(machine, Trigger::Level),
    "eoi": interrupts::end,
    "dir": interrupts::deactivate,
    "page_first_touch": memory::first_touch,
};

const SHARING: &[Operation] = operations! { "cow_break": memory::first_write_to_image };

/// Measures all operations but those of shared images; on the command line, `ops=A,B` names those wanted.
pub fn run(machine: &Machine) {
    run_all(machine, OPERATIONS);
}

/// Measures what needs a neighbour from the same image.
pub fn run_sharing(machine: &Machine) {
    run_all(machine, SHARING);
}

fn run_all(machine: &Machine, operations: &[Operation]) {
    let gic = version(machine);
    println!("bench: GICv{gic}, {} cores, UART at {:#x}", machine.cores, machine.uart.base);
    let [physical, own] = head::counters_at_entry();
    println!("bench: first instruction at CNTPCT {physical}, CNTVCT {own}");
    clock::report();
    let wanted = machine.text_argument("ops");
    let is_wanted = |name: &str| wanted.is_none_or(|list| list.split(',').any(|wanted| wanted == name));
    for operation in operations.iter().filter(|operation| is_wanted(operation.name)) {
        show(gic, operation.name, measure(machine, operation));
    }
    println!("bench: done");
}

fn version(machine: &Machine) -> u32 {
    match machine.gic {
        GicVersion::V2 => 2,
        GicVersion::V3 => 3,
    }
}

/// One operation's figures, or why there are none.
fn measure(machine: &Machine, operation: &Operation) -> Result<Figures, String> {
    if operation.name == "sgi_other_vcpu" && machine.cores < 2 {
        return Err("one vCPU only".into());
    }
    let outcome = catch(|| (operation.measure)(machine));
    register::mask_interrupts();
    match outcome {
        Ok(Some(figures)) => Ok(figures),
        Ok(None) => Err("the interrupt never came".into()),
        Err(fault) => Err(format!("{fault}")),
    }
}

fn show(gic: u32, name: &str, result: Result<Figures, String>) {
    match result {
        Ok(Figures { min, median, max }) => {
            println!("{name:<22}{min:>8}{median:>8}{max:>8}");
            println!(
                r#"bench: {{"op":"{name}","gic":{gic},"min":{min},"median":{median},"max":{max},"samples":{SAMPLES}}}"#
            );
        }
        Err(why) => {
            println!("{name:<22} not measured: {why}");
            println!(r#"bench: {{"op":"{name}","gic":{gic},"missing":"{why}"}}"#);
        }
    }
}

/// An operation that ends with the instruction that causes it.
fn synchronous(mut operation: impl FnMut() -> u64) -> Option<Figures> {
    samples::measure(|| Some(operation()), calls::nothing)
}

/// Enabling an interrupt of this core that is enabled already.
fn write_private_enable(machine: &Machine) -> Option<Figures> {
    let controller = Controller::new(machine.gic_frames);
    controller.reset();
    synchronous(|| devices::write(controller.private() + gic::ISENABLER, 1 << gic::SGI))
}

/// Writing a byte to the UART, which has room for it. The bytes are a line of their own.
fn write_to_uart(machine: &Machine) -> Option<Figures> {
    let figures = samples::measure(|| devices::write_when_empty(machine.uart.base, b'.'), calls::nothing);
    println!();
    figures
}
