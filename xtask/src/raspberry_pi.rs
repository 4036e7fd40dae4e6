//! The Raspberry Pi 4 in QEMU: its device tree, and what stands for the firmware that starts Tessera behind TF-A.
//! QEMU's command line is `qemu`'s.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeProperty};
use tessera_platform::Span;

use crate::paths;
use crate::system::{Amount, Target};

/// The only number of cores that there is.
pub const CPUS: usize = 4;
/// The RAM of QEMU's model, in bytes.
pub const MEMORY: u64 = 2 << 30;
/// Where newer firmware loads the kernel.
pub const KERNEL: u64 = 0x20_0000;
/// Where the device tree is loaded, with room for what TF-A adds to it.
pub const TREE: u64 = 0x0800_0000;
/// Where the initrd is loaded.
pub const INITRD: u64 = 0x1000_0000;

/// The end of the RAM below what the GPU keeps for itself.
pub const LOW_RAM_END: u64 = 0x3b40_0000;

/// The RAM of a board with so many bytes of it: below what the GPU keeps for itself, from 1 GiB to the devices, from 4 GiB;
/// first address and bytes. Pieces of 2 GiB, as the tree has 32 bits for sizes.
pub fn ram(memory: u64) -> impl Iterator<Item = (u64, u64)> {
    const PIECES: [(u64, u64); 5] = [
        (0, LOW_RAM_END),
        (0x4000_0000, 0xc000_0000),
        (0xc000_0000, 0xfc00_0000),
        (0x1_0000_0000, 0x1_8000_0000),
        (0x1_8000_0000, 0x2_0000_0000),
    ];
    let piece = move |(start, end): (u64, u64)| Some((start, end.min(memory).checked_sub(start)?));
    PIECES.into_iter().filter_map(piece).filter(|(_, bytes)| *bytes > 0)
}

/// What the GPU's firmware tells the first program at EL3 (tools' armstubs/armstub8.S): a magic number, which it clears,
/// and the addresses of device tree and kernel.
const STUB_MAGIC: usize = 0xf0;
const STUB_TREE: usize = 0xf8;
const STUB_KERNEL: usize = 0xfc;
const MAGIC: u32 = 0x5afe_570b;

/// The RAM of which QEMU tells whoever is started without firmware, in bytes from 0: it writes the memory node itself
/// (hw/arm/raspi.c), without what is above 1 GiB.
pub const DESCRIBED_BY_QEMU: u64 = 0x3c00_0000;

/// [`ram`], as spans.
pub fn ram_spans(memory: u64) -> Vec<Span> {
    ram(memory).filter_map(|(start, bytes)| Span::new(start, bytes)).collect()
}

/// What a board with so many bytes of RAM offers to systems.
pub fn target(memory: u64) -> Target {
    Target {
        name: "the Raspberry Pi 4",
        cpus: Amount::Exactly(CPUS as u64),
        memory: Some(ram(memory).map(|(_, bytes)| bytes).sum()),
        more_cpus: "",
        more_memory: "",
    }
}

/// The board's device tree, as Linux has it. The firmware, or QEMU, adds memory and `/chosen`.
pub fn tree() -> PathBuf {
    paths::workspace().join("platform/tests/blobs/bcm2711-rpi-4-b.dtb")
}

/// Writes the tree as the board's firmware would hand it over: with all RAM, the initrd and the arguments.
pub fn write_complete_tree(path: &Path, initrd_bytes: u64, arguments: &str) -> Result<()> {
    let blob = fs::read(tree())?;
    fs::write(path, complete_tree(&blob, MEMORY, initrd_bytes, arguments)?)?;
    Ok(())
}

/// The tree with so many bytes of RAM.
///
/// # Errors
/// It is no tree of a Raspberry Pi's.
pub fn tree_with_memory(blob: &[u8], memory: u64) -> Result<Vec<u8>> {
    complete_tree(blob, memory, 0, "")
}

fn complete_tree(blob: &[u8], memory: u64, initrd_bytes: u64, arguments: &str) -> Result<Vec<u8>> {
    // Its node names are longer than the specification allows, which the checking constructor refuses; it is ours.
    let mut tree = DeviceTree::from_fdt(&Fdt::new_unchecked(blob));
    let node = tree.find_node_mut("/memory@0").context("the board's tree has no memory node")?;
    let cells = ram(memory).flat_map(|(start, bytes)| [(start >> 32) as u32, start as u32, bytes as u32]);
    node.property_mut("reg").context("the board's memory has no reg")?.set_value(cells.collect::<Vec<_>>());
    let chosen = tree.find_node_mut("/chosen").context("the board's tree has no chosen node")?;
    let end = u32::try_from(INITRD + initrd_bytes)?;
    chosen.add_property(DeviceTreeProperty::new_unchecked("bootargs", arguments));
    chosen.add_property(DeviceTreeProperty::new_unchecked("linux,initrd-start", u32::try_from(INITRD)?));
    chosen.add_property(DeviceTreeProperty::new_unchecked("linux,initrd-end", end));
    Ok(tree.to_dtb())
}

/// Writes TF-A's BL31 as the GPU's firmware would leave it in memory.
pub fn write_told_firmware(bl31: &Path, path: &Path) -> Result<()> {
    let bytes = fs::read(bl31).with_context(|| format!("cannot read {}", bl31.display()))?;
    fs::write(path, told_firmware(bytes)?)?;
    Ok(())
}

fn told_firmware(mut bl31: Vec<u8>) -> Result<Vec<u8>> {
    let magic = bl31.get(STUB_MAGIC..STUB_MAGIC + 4) == Some(MAGIC.to_le_bytes().as_slice());
    ensure!(magic, "this is no BL31 for the Raspberry Pi");
    for (offset, value) in [(STUB_MAGIC, 0), (STUB_TREE, TREE), (STUB_KERNEL, KERNEL)] {
        let place = bl31.get_mut(offset..offset + 4).context("this BL31 is cut short")?;
        place.copy_from_slice(&u32::try_from(value)?.to_le_bytes());
    }
    Ok(bl31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dtoolkit::{Node, Property};

    #[test]
    fn the_tree_gets_memory_above_1_gib_and_the_initrd() {
        let blob = fs::read(tree()).expect("there");
        let complete = complete_tree(&blob, MEMORY, 0x1234, "a=b").expect("complete");
        let tree = Fdt::new_unchecked(&complete);
        let words = |path: &str, name: &str| {
            let value = tree.find_node(path).expect("a node").property(name).expect("a property").value().to_vec();
            value.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word)).collect::<Vec<_>>()
        };
        assert_eq!(words("/memory@0", "reg"), [0, 0, 0x3b40_0000, 0, 0x4000_0000, 0x4000_0000]);
        assert_eq!(words("/chosen", "linux,initrd-start"), [0x1000_0000]);
        assert_eq!(words("/chosen", "linux,initrd-end"), [0x1000_1234]);
        let first = tree.memory_reservations().next().expect("the spin table's page");
        assert_eq!((first.address(), first.size()), (0, 0x1000));
    }

    #[test]
    fn ram_leaves_out_what_the_gpu_and_the_devices_have() {
        let of = |memory: u64| ram(memory).collect::<Vec<_>>();
        assert_eq!(of(1 << 30), [(0, 0x3b40_0000)]);
        assert_eq!(of(2 << 30), [(0, 0x3b40_0000), (0x4000_0000, 0x4000_0000)]);
        assert_eq!(of(4 << 30), [(0, 0x3b40_0000), (0x4000_0000, 0x8000_0000), (0xc000_0000, 0x3c00_0000)]);
        assert_eq!(of(8 << 30)[3..], [(0x1_0000_0000, 0x8000_0000), (0x1_8000_0000, 0x8000_0000)]);
    }

    #[test]
    fn the_firmware_is_told_where_tree_and_kernel_are() {
        let mut bl31 = vec![0; 0x200];
        bl31[0xf0..0xf4].copy_from_slice(&MAGIC.to_le_bytes());
        let told = told_firmware(bl31).expect("told");
        assert_eq!(told[0xf0..0x100], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0x20, 0]);
        assert!(told_firmware(vec![0; 0x200]).is_err() && told_firmware(Vec::new()).is_err());
    }
}
