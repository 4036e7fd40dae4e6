//! The room for the guest's device tree, and the guest's own blob where there is one.

use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use super::super::Sources;
use super::super::description::Blob;
use super::super::files::{FileId, Files};
use super::super::layout::Claim;
use super::super::problem::{Result, size};
use super::{BLOCK, Placing};

/// Room for a generated tree: QEMU's own has 8 KiB, and 64 vCPUs and a long command line fit as well.
const GENERATED_BYTES: u64 = 64 << 10;
/// Where a tree is not put at the start of RAM: so aligned that up to 2 MiB it crosses no 2 MiB boundary.
const ALIGNMENT: u64 = 64 << 10;

impl Placing<'_> {
    /// At the start of RAM if that is free, else as high as possible.
    pub(super) fn device_tree(&mut self, sources: Sources<'_>, files: &mut Files) -> Result<()> {
        let own = self.vm.device_tree.as_ref();
        let blob = own.map(|own| self.own_tree(own, sources)).transpose()?;
        let bytes = blob.as_ref().map_or(self.generated_bytes(), |blob| blob.len().next_multiple_of(8) as u64);
        let at = own.map_or(self.vm.name.clone(), |own| own.path.clone());
        let load = own.and_then(|own| own.load.as_ref());
        let address = match load {
            Some(load) if !load.value.is_multiple_of(8) => {
                let problem = load.problem("a device tree must be at a multiple of 8");
                return Err(problem.help("change `load`, or remove it"));
            }
            Some(load) => self.in_ram(load, bytes, "the device tree")?,
            None => self.tree_address(bytes).ok_or_else(|| {
                let problem = at.problem(format!("no room for a device tree ({})", size(bytes)));
                problem.help("give the VM more memory")
            })?,
        };
        let claim = Claim { start: address, bytes, what: "the device tree".into(), span: at.span.clone() };
        self.contents.claim(claim)?;
        let file: Option<FileId> = blob.map(|blob| files.add(&at.value, blob));
        self.plan.device_tree = (address, bytes, file);
        Ok(())
    }

    /// The guest's own nodes, and what it is given of the board's.
    fn generated_bytes(&self) -> u64 {
        GENERATED_BYTES + self.vm.board_devices.found.tree_bytes.next_multiple_of(GENERATED_BYTES)
    }

    fn tree_address(&self, bytes: u64) -> Option<u64> {
        let ram = self.main_ram();
        let start = ram.start;
        let in_one_block = bytes <= BLOCK && start / BLOCK == (start + bytes - 1) / BLOCK;
        if in_one_block && bytes <= ram.bytes && self.contents.is_free(start, bytes) {
            return Some(start);
        }
        let alignment = ALIGNMENT.max(bytes.next_power_of_two());
        self.room(bytes, alignment).or_else(|| self.room(bytes, ALIGNMENT))
    }

    /// The guest's own blob, with the command line and the initrd that the file gives, as QEMU does it.
    fn own_tree(&self, own: &Blob, sources: Sources<'_>) -> Result<Vec<u8>> {
        let data = sources.load(&own.path)?;
        let tree = Fdt::new(&data).map_err(|error| {
            let message = format!("`{}` is no device tree blob: {error}", own.path.value);
            own.path.problem(message).help("make one from source: `dtc -O dtb`")
        })?;
        if self.vm.command_line.is_none() && self.plan.initrd.is_none() {
            return Ok(data);
        }
        let mut tree = DeviceTree::from_fdt(&tree);
        if tree.find_node("/chosen").is_none() {
            tree.root.add_child(DeviceTreeNode::new_unchecked("chosen"));
        }
        if let Some(chosen) = tree.find_node_mut("/chosen") {
            self.choose(chosen);
        }
        Ok(tree.to_dtb())
    }

    fn choose(&self, chosen: &mut DeviceTreeNode) {
        if let Some(line) = &self.vm.command_line {
            let line = DeviceTreeProperty::new_unchecked("bootargs", &*line.value);
            chosen.add_property(line);
        }
        if let Some((start, bytes)) = self.plan.initrd {
            let end = start.saturating_add(bytes);
            for (name, value) in [("linux,initrd-start", start), ("linux,initrd-end", end)] {
                chosen.add_property(DeviceTreeProperty::new_unchecked(name, value));
            }
        }
    }
}
