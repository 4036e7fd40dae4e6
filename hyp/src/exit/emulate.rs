//! Accesses to emulated devices that the syndrome does not describe (ESR_EL2.ISV = 0): the instruction is fetched from
//! the guest's memory and carried out.
//!
//! All is looked up before the first element moves: the guest never sees half an instruction. Elements beside the
//! device, on the next page, may be in another device or in the guest's memory (`page_bus`); a stretch that is passed
//! through, or nothing, makes the whole instruction an external abort. So does a device of the board, which EL2 passes
//! elements on to, if the hardware refuses one; those before have been carried out then, as a bus would have it.
//!
//! Exclusive accesses: a return from EL2 clears the exclusive monitor, so a store exclusive after an emulated load
//! exclusive could never succeed, and a loop around the two would never end. No device behind a bus offers a monitor
//! either. So a load exclusive takes the fault that the architecture has for this, "unsupported exclusive" (Arm ARM
//! "Synchronization and semaphores"; DFSC 0b110101), and a store exclusive fails: nothing marked its address. Atomic
//! instructions are carried out: a read and a write of the device, one such instruction of a VM after the other; only
//! another vCPU's plain store can come between the two.
//!
//! What an instruction means is decided in `instruction`, what a device does in `devices`.

mod page_bus;

use tessera_memory::Ipa;

use crate::arch::aarch64::registers::{read_register, write_register};
use crate::arch::aarch64::traps::Stage1Access;
use crate::exit::byte_order::is_big_endian;
use crate::exit::instruction::{Instruction, MAX_BYTES, Operation, Registers, Vectors};
use crate::exit::{finish, gate, inject};
use crate::processor::Processor;
use crate::vcpu::Vcpu;
use page_bus::{PageBus, Pages};

/// DFSC: alignment fault.
const ALIGNMENT: u64 = 0b10_0001;
/// DFSC: unsupported exclusive or atomic access.
const UNSUPPORTED_EXCLUSIVE: u64 = 0b11_0101;

/// Why an access is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The guest changed its tables or its code meanwhile: let it try again.
    Changed,
    /// The instruction is none that is emulated, or something it accesses is not there.
    External,
    /// The guest's own translation, or the architecture, forbids it.
    Fault {
        /// The virtual address for FAR_EL1.
        address: u64,
        /// The DFSC for ESR_EL1.
        status: u64,
        /// Whether it is a write that is forbidden.
        is_write: bool,
    },
}

/// Carries out the instruction that accessed virtual `address`, which is `ipa`, on an emulated device; it faulted as it wrote
/// (`is_write`) or read.
///
/// # Errors
/// See [`Refusal`]; no register has changed then, and nothing else, unless memory went away in the middle or the
/// hardware refused.
pub fn access(
    processor: &mut Processor,
    vcpu: &mut Vcpu,
    address: u64,
    ipa: Ipa,
    is_write: bool,
) -> Result<(), Refusal> {
    let instruction = fetch(vcpu)?;
    let footprint = instruction.footprint(&Guest(vcpu), zero_block_bytes());
    // The processor may have executed what was there before: a guest that changes code and does not see to its caches repeats
    // the access until they forget. Those are exits like others, in its own time.
    if !footprint.contains(address) || !instruction.may_fault(is_write) {
        return Err(Refusal::Changed);
    }
    if let Operation::LoadExclusive(_) = instruction.operation {
        return Err(Refusal::Fault { address, status: UNSUPPORTED_EXCLUSIVE, is_write: false });
    }
    // DC ZVA of large blocks, which would take long: of any Device memory, the architecture has this fault for it (Arm ARM C5.3, DC
    // ZVA), whose FAR is the address that it was given.
    if footprint.bytes > MAX_BYTES as u64 {
        return Err(Refusal::Fault { address, status: ALIGNMENT, is_write: true });
    }
    // All else the processor has asked of Stage 1, which comes before Stage 2.
    if (instruction.is_unprivileged || instruction.reads() && instruction.writes())
        && Ipa::new(translate(vcpu, &instruction, address)?).page() != ipa.page()
    {
        return Err(Refusal::Changed);
    }
    let pages = Pages::of(vcpu, &instruction, &footprint, address, ipa)?;
    let mut bus = PageBus { processor, vm: vcpu.vm, vcpu: vcpu.index, pages };
    bus.check(&footprint, instruction.writes())?;
    let vm = vcpu.vm;
    let _alone = (instruction.reads() && instruction.writes()).then(|| vm.atomics.lock());
    instruction.execute(&footprint, &mut Guest(vcpu), &mut bus)?;
    finish::instruction(vcpu);
    Ok(())
}

/// The instruction that the guest is at.
fn fetch(vcpu: &Vcpu) -> Result<Instruction, Refusal> {
    let pstate = vcpu.pstate();
    if inject::from_aarch32(pstate) || is_big_endian(pstate, read_register!("sctlr_el1")) {
        return Err(Refusal::External);
    }
    Instruction::decode(gate::instruction(vcpu)?).ok_or(Refusal::External)
}

/// What DC ZVA zeroes at once (DCZID_EL0.BS).
fn zero_block_bytes() -> u64 {
    4 << (read_register!("dczid_el0") & 0xf)
}

/// Where the guest's own tables lead for an access of `instruction` at `address`.
fn translate(vcpu: &Vcpu, instruction: &Instruction, address: u64) -> Result<u64, Refusal> {
    let is_write = instruction.writes();
    let from_user = inject::has_user_rights(vcpu.pstate(), instruction.is_unprivileged);
    gate::translate(vcpu.vm, address, Stage1Access { from_user, is_write })
}

/// The guest's registers: partly in `Vcpu`, partly in the processor.
struct Guest<'a>(&'a mut Vcpu);

impl Guest<'_> {
    /// PSTATE is EL1 with its own stack pointer; the other is EL0's.
    fn uses_own_stack_pointer(&self) -> bool {
        self.0.pstate() & 0b101 == 0b101
    }
}

impl Registers for Guest<'_> {
    fn general(&self, index: u8) -> u64 {
        self.0.register(usize::from(index))
    }

    fn set_general(&mut self, index: u8, value: u64) {
        self.0.set_register(usize::from(index), value);
    }

    fn stack_pointer(&self) -> u64 {
        if self.uses_own_stack_pointer() { read_register!("sp_el1") } else { read_register!("sp_el0") }
    }

    fn set_stack_pointer(&mut self, value: u64) {
        if self.uses_own_stack_pointer() {
            write_register!("sp_el1", value);
        } else {
            write_register!("sp_el0", value);
        }
    }

    fn program_counter(&self) -> u64 {
        self.0.pc()
    }

    fn vectors(&mut self) -> &Vectors {
        self.0.float.save();
        self.0.float.vectors()
    }

    fn change_vectors(&mut self, change: impl FnOnce(&mut Vectors)) {
        self.0.float.save();
        change(self.0.float.vectors_mut());
        self.0.float.restore();
    }
}
