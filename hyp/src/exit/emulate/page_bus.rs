//! What is behind the addresses that an instruction accesses, found out once for each stretch rather than for each element.

use tessera_memory::{Ipa, PAGE_SIZE};

use super::{Refusal, translate};
use crate::devices::DeviceSlot;
use crate::exit::gate;
use crate::exit::instruction::{Bus, Footprint, Instruction, number, write_number};
use crate::processor::Processor;
use crate::vcpu::Vcpu;
use crate::vm::Vm;

/// Where the pages of a footprint lead: the first, and the second if there is one.
pub struct Pages {
    /// Where in the first page the footprint begins.
    start: u64,
    first: u64,
    second: Option<u64>,
}

impl Pages {
    /// The page that faulted is known, and the guest is asked for the other.
    ///
    /// # Errors
    /// The guest's tables do not lead to the other.
    pub fn of(
        vcpu: &Vcpu,
        instruction: &Instruction,
        footprint: &Footprint,
        address: u64,
        ipa: Ipa,
    ) -> Result<Self, Refusal> {
        let start = footprint.start % PAGE_SIZE;
        let room = PAGE_SIZE - start;
        if footprint.bytes <= room {
            return Ok(Self { start, first: ipa.page().get(), second: None });
        }
        let second = footprint.start.wrapping_add(room);
        let page = ipa.page().get();
        let is_in_second = (address ^ second) << 8 >> 8 < PAGE_SIZE;
        let other = if is_in_second { footprint.start } else { second };
        let other_page = translate(vcpu, instruction, other)? & !(PAGE_SIZE - 1);
        let (first, second) = if is_in_second { (other_page, page) } else { (page, other_page) };
        Ok(Self { start, first, second: Some(second) })
    }
    /// The guest physical address of a byte of the footprint.
    fn ipa(&self, offset: u64) -> Result<u64, Refusal> {
        let in_first = self.start + offset;
        match in_first.checked_sub(PAGE_SIZE) {
            None => Ok(self.first | in_first),
            Some(in_second) => Ok(self.second.ok_or(Refusal::External)? | in_second),
        }
    }
}

/// The guest's physical addresses behind a footprint.
pub struct PageBus<'a> {
    /// The core that the vCPU runs on.
    pub processor: &'a mut Processor,
    /// The VM.
    pub vm: &'static Vm,
    /// The vCPU's number.
    pub vcpu: usize,
    /// Where the footprint is.
    pub pages: Pages,
}

/// Bytes of a footprint behind which is one thing.
struct Stretch {
    ipa: u64,
    bytes: u64,
    /// How many are moved at once.
    unit: u64,
    target: Target,
}

enum Target {
    /// A device of EL2's, from this offset on.
    Device(DeviceSlot, u64),
    /// A device of the board that shares its page.
    Passed,
    /// Memory, or nothing.
    Memory,
}

impl PageBus<'_> {
    /// Whether all that is moved is a device's or memory that may be accessed so; a shared page that is to be written gets
    /// its own frame.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self, footprint: &Footprint, writes: bool) -> Result<(), Refusal> {
        let mut offset = 0;
        while offset < footprint.bytes {
            let stretch = self.stretch(offset, footprint.bytes - offset, footprint.unit)?;
            if !self.is_there(&stretch, writes) {
                return Err(Refusal::External);
            }
            offset += stretch.bytes;
        }
        Ok(())
    }

    fn is_there(&self, stretch: &Stretch, writes: bool) -> bool {
        let Stretch { ipa, bytes, unit, .. } = *stretch;
        match stretch.target {
            Target::Device(..) => true,
            Target::Passed => self.vm.sub_pages.target(ipa, unit).is_some(),
            Target::Memory => gate::is_open(self.vm, Ipa::new(ipa), bytes, writes),
        }
    }

    /// The first stretch of `bytes` of the footprint from `offset` on.
    fn stretch(&self, offset: u64, bytes: u64, unit: u64) -> Result<Stretch, Refusal> {
        let ipa = self.pages.ipa(offset)?;
        let (bytes, unit) = on_page(offset, bytes, unit, PAGE_SIZE - ipa % PAGE_SIZE);
        let (target, bytes) = match self.vm.bus.find_stretch(ipa) {
            // What begins in a device is the device's.
            Some((device, at, left)) => (Target::Device(device, at), bytes.min(left.next_multiple_of(unit))),
            None if self.vm.sub_pages.contains(ipa) => (Target::Passed, unit),
            None => (Target::Memory, bytes),
        };
        Ok(Stretch { ipa, bytes, unit, target })
    }

    fn load_stretch(&mut self, stretch: &Stretch, data: &mut [u8]) -> Option<()> {
        let unit = stretch.unit;
        match stretch.target {
            Target::Device(device, first) => {
                for (index, place) in (0..).zip(data.chunks_exact_mut(unit as usize)) {
                    let value = self.vm.device_read(self.processor, self.vcpu, device, first + index * unit, unit);
                    write_number(value, place);
                }
            }
            Target::Passed => write_number(self.vm.passed_load(stretch.ipa, unit)?, data),
            Target::Memory => self.vm.memory().lock().load(Ipa::new(stretch.ipa), data)?,
        }
        Some(())
    }

    fn store_stretch(&mut self, stretch: &Stretch, data: &[u8]) -> Option<()> {
        let unit = stretch.unit;
        match stretch.target {
            Target::Device(device, first) => {
                for (index, value) in (0..).zip(data.chunks_exact(unit as usize)) {
                    let (offset, value) = (first + index * unit, number(value));
                    self.vm.device_write(self.processor, self.vcpu, device, offset, unit, value);
                }
            }
            Target::Passed => self.vm.passed_store(stretch.ipa, unit, number(data))?,
            Target::Memory => self.vm.memory().lock().store(Ipa::new(stretch.ipa), data)?,
        }
        Some(())
    }
}

/// How many of `bytes` are moved in one way, and how many of them at once, where `room` are left on the page: a unit that has
/// a part on each page is moved byte by byte.
fn on_page(offset: u64, bytes: u64, unit: u64, room: u64) -> (u64, u64) {
    let begun = offset & (unit - 1);
    if begun != 0 {
        return ((unit - begun).min(bytes), 1);
    }
    match room & !(unit - 1) {
        _ if bytes <= room => (bytes, unit),
        0 => (room, 1),
        whole => (whole, unit),
    }
}

impl Bus for PageBus<'_> {
    type Error = Refusal;

    fn load(&mut self, offset: u64, unit: u64, data: &mut [u8]) -> Result<(), Refusal> {
        let mut rest = data;
        let mut offset = offset;
        while !rest.is_empty() {
            let stretch = self.stretch(offset, rest.len() as u64, unit)?;
            let (now, later) = rest.split_at_mut_checked(stretch.bytes as usize).ok_or(Refusal::External)?;
            self.load_stretch(&stretch, now).ok_or(Refusal::External)?;
            (rest, offset) = (later, offset + stretch.bytes);
        }
        Ok(())
    }

    fn store(&mut self, offset: u64, unit: u64, data: &[u8]) -> Result<(), Refusal> {
        let mut rest = data;
        let mut offset = offset;
        while !rest.is_empty() {
            let stretch = self.stretch(offset, rest.len() as u64, unit)?;
            let (now, later) = rest.split_at_checked(stretch.bytes as usize).ok_or(Refusal::External)?;
            self.store_stretch(&stretch, now).ok_or(Refusal::External)?;
            (rest, offset) = (later, offset + stretch.bytes);
        }
        Ok(())
    }
}
