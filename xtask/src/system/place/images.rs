//! Where an image goes: where it says, where the file says, or where QEMU would put it.

use super::super::Sources;
use super::super::files::Files;
use super::super::image::{self, Loadable, Part};
use super::super::layout::Claim;
use super::super::problem::{Result, size};
use super::{BLOCK, Placing};

/// Where QEMU puts a raw image, behind the start of RAM (hw/arm/boot.c, `KERNEL64_LOAD_ADDR`).
const RAW_OFFSET: u64 = 0x8_0000;

impl Placing<'_> {
    /// Reads and places the image.
    pub(super) fn image(&mut self, sources: Sources<'_>, files: &mut Files) -> Result<()> {
        let image = &self.vm.image;
        let (parts, entry) = self.image_parts(image::read(image, sources.load(&image.path)?)?)?;
        for part in parts {
            self.content(part, &image.path, "the image", true, files)?;
        }
        self.plan.entry = image.entry.as_ref().map_or(entry, |entry| entry.value);
        Ok(())
    }

    /// The image's parts and its entry, with the addresses that the image leaves open.
    fn image_parts(&self, image: Loadable) -> Result<(Vec<Part>, u64)> {
        let load = self.vm.image.load.as_ref();
        match image {
            Loadable::Elf { parts, entry } => match load {
                Some(load) => {
                    let problem = load.problem("an ELF file says itself where it is loaded");
                    Err(problem.help("remove `load`, or make a raw image of it: `objcopy -O binary`"))
                }
                None => Ok((parts, entry)),
            },
            Loadable::Raw(data) => {
                let default = self.main_ram().start.saturating_add(RAW_OFFSET);
                let address = load.map_or(default, |load| load.value);
                let bytes = data.len() as u64;
                Ok((vec![Part { address, data, bytes }], address))
            }
            Loadable::Linux { data, text_offset, bytes } => {
                let address = self.linux_address(text_offset)?;
                self.check_linux_fits(address, bytes)?;
                Ok((vec![Part { address, data, bytes }], address))
            }
        }
    }

    /// 2 MiB behind the start of RAM, which leaves room for the device tree there.
    fn linux_address(&self, text_offset: u64) -> Result<u64> {
        let Some(load) = &self.vm.image.load else {
            let block = self.main_ram().start.saturating_add(BLOCK).next_multiple_of(BLOCK);
            return Ok(block.saturating_add(text_offset));
        };
        if load.value % BLOCK != text_offset % BLOCK {
            let message = format!("this Linux Image must be {text_offset:#x} bytes behind a multiple of 2 MiB");
            return Err(load.problem(message).help("change `load`, or remove it"));
        }
        Ok(load.value)
    }

    /// For Linux the size is known, so say what memory it takes.
    fn check_linux_fits(&self, address: u64, bytes: u64) -> Result<()> {
        let end = address.saturating_add(bytes);
        let fits = |ram: &Claim| ram.start <= address && end <= ram.end();
        if self.ram.iter().any(fits) {
            return Ok(());
        }
        let ram = self.main_ram();
        let message = format!(
            "the Linux Image occupies {address:#x} to {end:#x}, but the VM's memory is {:#x} to {:#x}",
            ram.start,
            ram.end()
        );
        let needed = end.saturating_sub(ram.start).next_multiple_of(BLOCK);
        Err(ram.problem(message).help(format!("give it more than {} at {:#x}", size(needed), ram.start)))
    }
}
