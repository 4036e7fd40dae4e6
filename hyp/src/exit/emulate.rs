//! Accesses to emulated devices that the syndrome does not describe (ESR_EL2.ISV = 0): the instruction is fetched from
//! the guest's memory and carried out register by register.
//!
//! All is looked up before the first element moves: the guest never sees half an instruction. Elements beside the
//! device, on the next page, may be in another device or in the guest's memory; a stretch that is passed through, or
//! nothing, makes the whole instruction an external abort. So does a device of the board, which EL2 passes elements on to,
//! if the hardware refuses one; those before have been carried out then, as a bus would have it.
//!
//! Exclusive accesses: a return from EL2 clears the exclusive monitor, so a store exclusive after an emulated load
//! exclusive could never succeed, and a loop around the two would never end. No device behind a bus offers a monitor
//! either. So a load exclusive takes the fault that the architecture has for this, "unsupported exclusive" (Arm ARM
//! "Synchronization and semaphores"; DFSC 0b110101), and a store exclusive fails: nothing marked its address. Atomic
//! instructions are carried out: a read and a write of the device, one such instruction of a VM after the other; only
//! another vCPU's plain store can come between the two.
//!
//! What an instruction means is decided in `instruction`, what a device does in `devices`.

use tessera_memory::{Ipa, PAGE_SIZE};

use crate::arch::aarch64::registers::{read_register, write_register};
use crate::arch::aarch64::traps::Stage1Access;
use crate::exit::instruction::{Bus, Footprint, Instruction, Operation, Registers};
use crate::exit::{finish, gate, inject};
use crate::processor::Processor;
use crate::vcpu::Vcpu;
use crate::vm::Vm;

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

/// Carries out the instruction that accessed virtual `address`, which is `ipa`, on an emulated device.
///
/// # Errors
/// See [`Refusal`]; no register has changed then, and nothing else, unless memory went away in the middle or the
/// hardware refused.
pub fn access(processor: &mut Processor, vcpu: &mut Vcpu, address: u64, ipa: Ipa) -> Result<(), Refusal> {
    let instruction = fetch(vcpu)?;
    let footprint = instruction.footprint(&Guest(vcpu), zero_block_bytes());
    if !footprint.contains(address) {
        return Err(Refusal::Changed);
    }
    if let Operation::LoadExclusive(_) = instruction.operation {
        return Err(Refusal::Fault { address, status: UNSUPPORTED_EXCLUSIVE, is_write: false });
    }
    let pages = Pages::of(vcpu, &instruction, &footprint, address, ipa)?;
    let mut bus = PageBus { processor, vm: vcpu.vm, vcpu: vcpu.index, start: footprint.start, pages };
    bus.check(&instruction, &footprint)?;
    let vm = vcpu.vm;
    let _alone = (instruction.reads() && instruction.writes()).then(|| vm.atomics.lock());
    instruction.execute(&footprint, &mut Guest(vcpu), &mut bus)?;
    finish::instruction(vcpu);
    Ok(())
}

/// The instruction that the guest is at.
fn fetch(vcpu: &Vcpu) -> Result<Instruction, Refusal> {
    if inject::from_aarch32(vcpu.pstate()) {
        return Err(Refusal::External);
    }
    Instruction::decode(gate::instruction(vcpu)?).ok_or(Refusal::External)
}

/// What DC ZVA zeroes at once (DCZID_EL0.BS).
fn zero_block_bytes() -> u64 {
    4 << (read_register!("dczid_el0") & 0xf)
}

/// Where the pages of a footprint lead: the first, and the second if there is one.
struct Pages {
    first: u64,
    second: Option<u64>,
}

impl Pages {
    /// The page that faulted is known, and the guest is asked for the other.
    fn of(
        vcpu: &Vcpu,
        instruction: &Instruction,
        footprint: &Footprint,
        address: u64,
        ipa: Ipa,
    ) -> Result<Self, Refusal> {
        let room = PAGE_SIZE - footprint.start % PAGE_SIZE;
        if footprint.bytes <= room {
            return Ok(Self { first: ipa.page().get(), second: None });
        }
        let second = footprint.start.wrapping_add(room);
        let page = ipa.page().get();
        let is_in_second = (address ^ second) << 8 >> 8 < PAGE_SIZE;
        let other = if is_in_second { footprint.start } else { second };
        let other_page = translate(vcpu, instruction, other)? & !(PAGE_SIZE - 1);
        let (first, second) = if is_in_second { (other_page, page) } else { (page, other_page) };
        Ok(Self { first, second: Some(second) })
    }
}

/// Where the guest's own tables lead for an access of `instruction` at `address`.
fn translate(vcpu: &Vcpu, instruction: &Instruction, address: u64) -> Result<u64, Refusal> {
    let is_write = instruction.writes();
    let from_user = instruction.is_unprivileged || inject::from_user(vcpu.pstate());
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

    fn vector(&mut self, index: u8) -> u128 {
        self.0.float.save();
        self.0.float.register(index)
    }

    fn set_vector(&mut self, index: u8, value: u128) {
        self.0.float.save();
        self.0.float.set_register(index, value);
        self.0.float.restore();
    }
}

/// The guest's physical addresses behind a footprint.
struct PageBus<'a> {
    processor: &'a mut Processor,
    vm: &'static Vm,
    vcpu: usize,
    start: u64,
    pages: Pages,
}

impl PageBus<'_> {
    /// The guest physical address of a byte of the footprint.
    fn ipa(&self, offset: u64) -> Result<u64, Refusal> {
        let in_first = self.start % PAGE_SIZE + offset;
        match in_first.checked_sub(PAGE_SIZE) {
            None => Ok(self.pages.first | in_first),
            Some(in_second) => Ok(self.pages.second.ok_or(Refusal::External)? | in_second),
        }
    }

    /// Whether all that is moved is a device's or memory that may be accessed so; a shared page that is to be written gets
    /// its own frame.
    fn check(&self, instruction: &Instruction, footprint: &Footprint) -> Result<(), Refusal> {
        for (offset, bytes) in instruction.accesses(footprint) {
            let parts = if self.is_divided(offset, bytes) { bytes } else { 1 };
            for part in 0..parts {
                let ipa = self.ipa(offset + part)?;
                if !self.is_there(ipa, bytes / parts, instruction.writes()) {
                    return Err(Refusal::External);
                }
            }
        }
        Ok(())
    }

    fn is_there(&self, ipa: u64, bytes: u64, writes: bool) -> bool {
        self.vm.bus.find(ipa).is_some() || self.vm.sub_pages.target(ipa, bytes).is_some() || {
            gate::is_open(self.vm, Ipa::new(ipa), writes)
        }
    }

    /// Whether an element has a part on each page; it is moved byte by byte then.
    fn is_divided(&self, offset: u64, bytes: u64) -> bool {
        (self.start.wrapping_add(offset)) % PAGE_SIZE + bytes > PAGE_SIZE
    }

    fn load_whole(&mut self, offset: u64, bytes: u64) -> Result<u64, Refusal> {
        let ipa = self.ipa(offset)?;
        match self.vm.bus.find(ipa) {
            Some((device, offset)) => Ok(self.vm.device_read(self.processor, self.vcpu, device, offset, bytes)),
            None if self.vm.sub_pages.contains(ipa) => self.vm.passed_load(ipa, bytes).ok_or(Refusal::External),
            None => self.vm.memory().lock().load(Ipa::new(ipa), bytes).ok_or(Refusal::External),
        }
    }

    fn store_whole(&mut self, offset: u64, bytes: u64, value: u64) -> Result<(), Refusal> {
        let ipa = self.ipa(offset)?;
        match self.vm.bus.find(ipa) {
            Some((device, offset)) => {
                self.vm.device_write(self.processor, self.vcpu, device, offset, bytes, value);
                Ok(())
            }
            None if self.vm.sub_pages.contains(ipa) => self.vm.passed_store(ipa, bytes, value).ok_or(Refusal::External),
            None => self.vm.memory().lock().store(Ipa::new(ipa), bytes, value).ok_or(Refusal::External),
        }
    }
}

impl Bus for PageBus<'_> {
    type Error = Refusal;

    fn load(&mut self, offset: u64, bytes: u64) -> Result<u64, Refusal> {
        if !self.is_divided(offset, bytes) {
            return self.load_whole(offset, bytes);
        }
        (0..bytes).try_fold(0, |value, byte| Ok(value | (self.load_whole(offset + byte, 1)? & 0xff) << (8 * byte)))
    }

    fn store(&mut self, offset: u64, bytes: u64, value: u64) -> Result<(), Refusal> {
        if !self.is_divided(offset, bytes) {
            return self.store_whole(offset, bytes, value);
        }
        (0..bytes).try_for_each(|byte| self.store_whole(offset + byte, 1, value >> (8 * byte) & 0xff))
    }
}
