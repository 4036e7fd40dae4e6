//! Linux from its first instruction to its first process, plain, under Tessera and under KVM: the same kernel, file system and
//! command line, one CPU, 256 MiB.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use dtoolkit::Node;
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode};

use super::figures;
use super::machine::{Ours, Plain, folder};
use super::peers::{Guest, kvm};
use crate::build::{self, Hypervisor};
use crate::images::initramfs;
use crate::paths;
use crate::progress::Step;
use crate::setup;

const MEMORY_MIB: u64 = 256;
/// What our guest's device tree has, by the beginnings of its nodes' names.
const KEPT: [&str; 9] = ["psci", "memory@", "pl011@", "intc@", "cpus", "timer", "apb-pclk", "chosen", "aliases"];
/// `quiet`: what the kernel says on its way is the console's cost, not the hypervisor's.
const ARGUMENTS: &str = "console=ttyAMA0 quiet nokaslr panic=-1 rdinit=/bench-init";

/// Instructions on plain QEMU.
pub fn plain(gic: u32) -> Result<u64, String> {
    let initrd = initrd().map_err(|error| format!("{error:#}"))?;
    let kernel = setup::linux::kernel();
    let initrd = Some(initrd.as_path());
    let machine = Plain {
        gic,
        cpus: 1,
        memory_mib: MEMORY_MIB,
        kernel: &kernel,
        initrd,
        arguments: ARGUMENTS,
        tree: None,
        at_el2: false,
    };
    let tree = tree(&machine).map_err(|error| format!("{error:#}"))?;
    counter(&Plain { tree: Some(&tree), ..machine }.run()?)
}

/// Instructions under KVM, whose guest's counter begins when its vCPU is made.
pub fn under_kvm(gic: u32, step: &Step) -> Result<u64, String> {
    let initrd = initrd().map_err(|error| format!("{error:#}"))?;
    let image = setup::linux::kernel();
    let (initrd, memory) = (Some(initrd.as_path()), MEMORY_MIB << 20);
    let guest = Guest { image: &image, command_line: ARGUMENTS, gic, cpus: 1, memory, initrd };
    counter(&kvm::run(&guest, kvm::Pages::Default, step)?)
}

/// The plain machine's device tree with no more in it than our guest's has: Linux must not find other work to do.
fn tree(machine: &Plain) -> Result<PathBuf> {
    let blob = machine.own_tree()?;
    let fdt = Fdt::new(&blob).map_err(|error| anyhow!("QEMU's device tree: {error}"))?;
    let mut tree = DeviceTree::from_fdt(&fdt);
    keep_only(&mut tree.root, &KEPT);
    for node in tree.root.children_mut() {
        match node.name() {
            name if name.starts_with("intc@") => keep_only(node, &[]),
            "cpus" => keep_only(node, &["cpu@"]),
            _ => {}
        }
    }
    let path = folder()?.join(format!("plain-gic{}.dtb", machine.gic));
    fs::write(&path, tree.to_dtb())?;
    Ok(path)
}

/// Removes the children whose names begin otherwise.
fn keep_only(node: &mut DeviceTreeNode, kept: &[&str]) {
    let names: Vec<_> = node.children().map(|child| child.name().to_owned()).collect();
    for name in names.iter().filter(|name| !kept.iter().any(|kept| name.starts_with(kept))) {
        node.remove_child(name);
    }
}

/// Instructions under Tessera, which starts a guest's counter near zero.
pub fn ours(gic: u32, hypervisor: &Hypervisor) -> Result<u64, String> {
    let initrd = initrd().map_err(|error| format!("{error:#}"))?;
    let system = format!(
        "[[vm]]\nname = \"bench\"\ncpus = 1\nmemory = \"{MEMORY_MIB}M\"\nimage = \"tessera:linux\"\n\
         initrd = \"{}\"\ncommand-line = \"{ARGUMENTS}\"\n",
        initrd.display()
    );
    counter(&Ours { name: format!("bench-linux-gic{gic}"), system, gic, extra: Vec::new() }.run(hypervisor)?)
}

fn counter(console: &str) -> Result<u64, String> {
    figures::number_after(console, "bench: init at ", "").ok_or_else(|| {
        let last = console.lines().rev().map(str::trim).find(|line| !line.is_empty());
        format!("no /init: the last line is `{}`", last.unwrap_or_default())
    })
}

/// The Linux guest's initramfs with the init that counts.
fn initrd() -> Result<PathBuf> {
    let list = paths::guests().join("linux/initramfs.list");
    let mut list = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    list.push_str(&format!("\nfile /bench-init {} 0755 0 0\n", build::guest("bench-init")?.display()));
    let path = folder()?.join("initramfs.cpio");
    fs::write(&path, initramfs::pack_list(&list)?)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_tree_keeps_what_our_guest_has_too() {
        let mut root = DeviceTreeNode::new("root").expect("a name");
        for name in ["psci", "pcie@10000000", "pl011@9000000", "pl031@9010000", "cpus"] {
            root.add_child(DeviceTreeNode::new(name).expect("a name"));
        }
        keep_only(&mut root, &KEPT);
        let names: Vec<_> = root.children().map(|child| child.name().to_owned()).collect();
        assert_eq!(names, ["psci", "pl011@9000000", "cpus"]);
    }

    #[test]
    fn the_counter_is_read_or_the_last_line_is_told() {
        assert_eq!(counter("[bench] bench: init at 878600000\r\n"), Ok(878_600_000));
        assert!(counter("x\nKernel panic\n\n").expect_err("no init").contains("Kernel panic"));
    }
}
