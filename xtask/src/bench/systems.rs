//! Operations that need several VMs on one core, or that the guest cannot count itself: the bench guest in its roles
//! (guests/bench/src/roles.rs).

use anyhow::Result;

use super::counter::{self, BEGIN, Counter, END};
use super::figures::{self, Cell, Figures};
use super::machine::Ours;
use super::{image, roles};
use crate::build::Hypervisor;
use crate::setup;

/// The key of a VM that is more urgent than others.
pub const URGENT: &str = "priority = 20\n";
/// VMs that sleep beside the one that is woken.
const IDLE_VMS: usize = 15;
/// Memory of a small guest, in MiB.
const SMALL_MIB: u64 = 4;
/// Memory of the guest that restarts, in MiB.
const RESTARTED_MIB: u64 = 256;
/// Starts of the guest that restarts.
const STARTS: usize = 5;

/// Measures an operation of [`Kind::System`](super::operation::Kind::System).
pub fn measure(name: &str, gic: u32, hypervisor: &Hypervisor) -> Result<Figures, String> {
    let bench = System { gic, hypervisor };
    match name {
        "vcpu_switch" => bench.switches(),
        "idle_wake" => bench.timer_beside(&idle_vms(), ""),
        "wake_preempt" => bench.timer_beside(&vm("busy", SMALL_MIB, "role=busy", ""), URGENT),
        "restart" => bench.restarts(),
        _ => Err(format!("nobody measures {name}")),
    }
}

/// Bytes that EL2 keeps for itself with 16 VMs.
pub fn memory_of_many(gic: u32, hypervisor: &Hypervisor) -> Result<u64, String> {
    let system = vm("bench", SMALL_MIB, "ops=none", "") + &idle_vms();
    let ours = Ours::counted(format!("bench-many-gic{gic}"), system, gic);
    image::memory_kept(&ours.run_until(hypervisor, "bench: done", 1)?)
}

struct System<'a> {
    gic: u32,
    hypervisor: &'a Hypervisor,
}

impl System<'_> {
    fn ours(&self, name: &str, system: String) -> Ours {
        Ours::counted(format!("bench-{name}-gic{}", self.gic), system, self.gic)
    }

    /// What EL2 executes from one vCPU's WFI to the instruction of another VM's vCPU that was ready meanwhile.
    fn switches(&self) -> Result<Figures, String> {
        let system = vm("bench", SMALL_MIB, "role=waiter", "") + &vm("busy", SMALL_MIB, "role=busy", "");
        let counter = Counter::new(&[BEGIN]).map_err(text)?.and_next(END);
        self.spans(&self.ours("switch", system), &counter, "bench: done", 1)
    }

    /// The virtual timer's way to the guest's vector while the guest sleeps, with others on its core.
    fn timer_beside(&self, others: &str, more: &str) -> Result<Figures, String> {
        let system = vm("bench", SMALL_MIB, "ops=vtimer_wfi", more) + others;
        let console = self.ours("wake", system).run_until(self.hypervisor, "bench: done", 1)?;
        let cells = figures::read(&console, self.gic).map_err(|why| why.to_string())?;
        match cells.get("vtimer_wfi") {
            Some(Cell::Measured(figures)) => Ok(*figures),
            Some(Cell::Missing(why)) => Err(why.clone()),
            _ => Err("the guest did not measure it".to_owned()),
        }
    }

    /// What EL2 executes from a guest's call to restart until it runs again, but for filling its memory.
    fn restarts(&self) -> Result<Figures, String> {
        let system = restarting().map_err(text)?;
        let roles = roles::fillers(&self.hypervisor.elf).map_err(text)?;
        let counter = Counter::new(&[BEGIN, END]).and_then(|counter| counter.with_roles(&roles)).map_err(text)?;
        self.spans(&self.ours("restart", system), &counter, "bench: started", STARTS)
    }

    /// EL2's instructions from each beginning to the end that follows.
    fn spans(&self, ours: &Ours, counter: &Counter, line: &str, times: usize) -> Result<Figures, String> {
        let counted = Ours { extra: counter.arguments(), ..ours.clone() };
        counted.run_until(self.hypervisor, line, times)?;
        let spans = counter::each(&counter.reached().map_err(text)?, BEGIN, END);
        let el2 = spans.iter().map(|executed| executed.el2).collect();
        Figures::of(el2).ok_or_else(|| "it was never seen".to_owned())
    }
}

fn text(error: anyhow::Error) -> String {
    format!("{error:#}")
}

/// VMs that sleep for ever.
pub fn idle_vms() -> String {
    (1..=IDLE_VMS).map(|number| vm(&format!("idle{number}"), SMALL_MIB, "role=idle", "")).collect()
}

/// A VM that restarts as soon as it has started, with as much to be copied into its memory as Linux has.
pub fn restarting() -> Result<String> {
    let initrd = format!("initrd = \"{}\"\n", setup::linux::kernel().display());
    Ok(vm("bench", RESTARTED_MIB, "role=resetter", &initrd))
}

fn vm(name: &str, memory_mib: u64, command_line: &str, more: &str) -> String {
    vm_on("[0]", name, memory_mib, command_line, more)
}

/// A VM with the bench guest on these cores, and more keys.
pub fn vm_on(cores: &str, name: &str, memory_mib: u64, command_line: &str, more: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\ncpus = {cores}\nmemory = \"{memory_mib}M\"\nimage = \"tessera:guest/bench\"\n\
         command-line = \"{command_line}\"\n{more}"
    )
}
