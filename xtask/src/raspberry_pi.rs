//! The Raspberry Pi 4 in QEMU: its device tree, and what stands for the firmware that starts Tessera behind TF-A.
//! QEMU's command line is `qemu`'s.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeProperty};

use tessera_abi::early_console::{self, EarlyConsole};

use crate::{paths, system};

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

/// The mini UART, by its registers AUX_MU_IO and AUX_MU_LSR (BCM2711 peripherals, 2.2.2): bit 5 says that it takes a byte.
pub const MINI_UART: EarlyConsole =
    EarlyConsole { magic: early_console::MAGIC, data: 0xfe21_5040, status: 0xfe21_5054, mask: 1 << 5, ready: 1 << 5 };
/// The PL011, by UARTDR and UARTFR (Arm DDI 0183): bit 5 says that it takes none.
pub const PL011: EarlyConsole =
    EarlyConsole { magic: early_console::MAGIC, data: 0xfe20_1000, status: 0xfe20_1018, mask: 1 << 5, ready: 0 };

/// RAM below what the GPU keeps for itself, and that from 1 GiB on; first address and bytes.
const RAM: [(u32, u32); 2] = [(0, LOW_RAM_END as u32), (0x4000_0000, 0x4000_0000)];

/// What the GPU's firmware tells the first program at EL3 (tools' armstubs/armstub8.S): a magic number, which it clears,
/// and the addresses of device tree and kernel.
const STUB_MAGIC: usize = 0xf0;
const STUB_TREE: usize = 0xf8;
const STUB_KERNEL: usize = 0xfc;
const MAGIC: u32 = 0x5afe_570b;

/// Whether a system that needs this machine fits onto the board with so many bytes of RAM.
///
/// # Errors
/// It does not.
pub fn check_fits(needed: &system::Machine, memory: u64) -> Result<()> {
    ensure!(needed.cpus <= CPUS, "the system needs {} cores, but the Raspberry Pi 4 has {CPUS}", needed.cpus);
    ensure!(
        needed.memory <= memory,
        "the system needs {} MiB of memory, but the board has {} MiB: give its VMs less",
        needed.memory >> 20,
        memory >> 20
    );
    Ok(())
}

/// The board's device tree, as Linux has it. The firmware, or QEMU, adds memory and `/chosen`.
pub fn tree() -> PathBuf {
    paths::workspace().join("platform/tests/blobs/bcm2711-rpi-4-b.dtb")
}

/// Writes the tree as the board's firmware would hand it over: with all RAM, the initrd and the arguments.
pub fn write_complete_tree(path: &Path, initrd_bytes: u64, arguments: &str) -> Result<()> {
    let blob = fs::read(tree())?;
    fs::write(path, complete_tree(&blob, initrd_bytes, arguments)?)?;
    Ok(())
}

/// The tree with all RAM.
pub fn tree_with_memory() -> Result<Vec<u8>> {
    complete_tree(&fs::read(tree())?, 0, "")
}

fn complete_tree(blob: &[u8], initrd_bytes: u64, arguments: &str) -> Result<Vec<u8>> {
    // Its node names are longer than the specification allows, which the checking constructor refuses; it is ours.
    let mut tree = DeviceTree::from_fdt(&Fdt::new_unchecked(blob));
    let memory = tree.find_node_mut("/memory@0").context("the board's tree has no memory node")?;
    let cells: Vec<u32> = RAM.iter().flat_map(|(start, bytes)| [0, *start, *bytes]).collect();
    memory.property_mut("reg").context("the board's memory has no reg")?.set_value(cells);
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
        let complete = complete_tree(&blob, 0x1234, "a=b").expect("complete");
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
    fn the_firmware_is_told_where_tree_and_kernel_are() {
        let mut bl31 = vec![0; 0x200];
        bl31[0xf0..0xf4].copy_from_slice(&MAGIC.to_le_bytes());
        let told = told_firmware(bl31).expect("told");
        assert_eq!(told[0xf0..0x100], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0x20, 0]);
        assert!(told_firmware(vec![0; 0x200]).is_err() && told_firmware(Vec::new()).is_err());
    }
}
