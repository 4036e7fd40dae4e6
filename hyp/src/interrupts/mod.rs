//! The interrupt controller EL2 emulates for its guests: GICv3 (IHI 0069) or GICv2 (IHI 0048) in front of one state machine.
//!
//! Here belong the state of virtual interrupts, the registers by which guests see and change it, and the choice of what is
//! in which list register. Not here: system registers, MMIO, physical interrupts (the caller acknowledges them and passes
//! them in), waking and kicking of virtual CPUs (the caller is told whom).
//!
//! # The way of an interrupt
//! 1. It comes in: [`Vgic::deliver_hardware`] (a physical interrupt this core acknowledged), [`Vgic::set_line`] and
//!    [`Vgic::pulse`] (emulated devices), [`Vgic::send_sgi_here`] (SGIs), or a write of the distributor or a redistributor.
//! 2. Its bank of 32 (`bank`) records it: one word operation.
//! 3. If a virtual CPU has to look, its *attention* word gets a bit and the call returns it in a [`VcpuSet`]; the caller
//!    kicks those that run on other cores and wakes those that wait. A hardware interrupt for the virtual CPU that runs here,
//!    or its SGI to itself, goes straight into a list register instead.
//! 4. Before the guest is entered, [`Vgic::flush`] loads the attention word. If it is zero, that was all. Else it
//!    takes back the list registers whose interrupts were changed, and places what is pending. A list register that the
//!    guest has emptied is found so only when it is needed.
//! 5. The guest acknowledges and ends the interrupt without us. With HW = 1 the physical one ends with it. One of
//!    ours whose line is high asks for maintenance at its end, and is sampled then: still high, it comes again.
//! 6. When more is pending than fits, the most urgent are inside and maintenance is asked for when nothing inside is
//!    pending; when more is active than fits, the least urgent wait outside and the hardware counts their ends.
//!
//! Reads of pending and active state take list registers of the reader back first, so they are exact for interrupts it
//! holds; of those in list registers of another core they tell what was last seen there.
//!
//! # Locks
//! One lock for each virtual CPU (its SGIs, PPIs and the book on its list registers), one for all SPIs. **The lock of a
//! virtual CPU comes before that of the SPIs, and nobody holds the locks of two virtual CPUs.** Attention words are atomic
//! and set after the change they announce, with or without a lock. The caller holds none of its own that an interrupt
//! handler takes: interrupts are masked at EL2.

mod affinity;
mod bank;
mod best;
mod cpu_interface;
mod delivery;
mod distributor;
mod forgetful;
mod list_register;
mod listing;
mod parking;
mod registers;
mod routing;
mod running;
mod senders;
mod slots;
#[cfg(test)]
mod tests;
mod v2;
mod v3;
mod vcpu_set;
mod vgic;

pub use affinity::Affinity;
pub use cpu_interface::CpuInterface;
pub use forgetful::{Book, Forgetful, HardwareEnd, Nudge};
pub use list_register::{ListRegister, ListRegisters, MAXIMUM_LIST_REGISTERS, Maintenance, Origin};
pub use v2::DISTRIBUTOR_SIZE as V2_DISTRIBUTOR_SIZE;
pub use v3::{REDISTRIBUTOR_SIZE, SgiRegister};
pub use vcpu_set::{MAXIMUM_VCPUS, VcpuSet};
pub use vgic::{Attention, Config, ConfigError, Vgic};
