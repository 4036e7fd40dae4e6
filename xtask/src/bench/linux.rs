//! Linux from its first instruction to its first process, plain, under Tessera and under peers: the same kernel, file system
//! and command line, one CPU, 256 MiB. What all cores execute counts, and not the time they sleep.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use dtoolkit::Node;
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode};

use super::counter::{self, Counter, Executed, INIT, Mark};
use super::machine::{NO_SEEDS, Ours, Plain, folder};
use super::peers::{Guest, kvm, xen};
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
    counted(|counter, initrd| {
        let kernel = setup::linux::kernel();
        let machine = Plain {
            memory_mib: MEMORY_MIB,
            initrd: Some(initrd),
            extra: counter.arguments(),
            ..Plain::bench(gic, 1, &kernel, ARGUMENTS)
        };
        let tree = plain_tree(&machine).map_err(|error| format!("{error:#}"))?;
        Plain { tree: Some(&tree), ..machine }.run()
    })
}

/// Instructions under Tessera.
pub fn ours(gic: u32, hypervisor: &Hypervisor) -> Result<Executed, String> {
    executed(|counter, initrd| {
        let name = format!("bench-linux-gic{gic}");
        let system = system(1, MEMORY_MIB, initrd, ARGUMENTS);
        let extra = NO_SEEDS.map(str::to_owned).into_iter().chain(counter.arguments()).collect();
        Ours { extra, ..Ours::counted(name, system, gic) }.run(hypervisor)
    })
}

/// The system whose start is counted.
pub fn booting() -> Result<String> {
    Ok(system(1, MEMORY_MIB, &with_first_process()?, ARGUMENTS))
}

/// A system of one VM with Linux; its name is `bench`.
pub fn system(cpus: usize, memory_mib: u64, initrd: &Path, arguments: &str) -> String {
    format!(
        "[[vm]]\nname = \"bench\"\ncpus = {cpus}\nmemory = \"{memory_mib}M\"\nimage = \"tessera:linux\"\n\
         initrd = \"{}\"\ncommand-line = \"{arguments}\"\n",
        initrd.display()
    )
}

/// Instructions under KVM, its host's and its VMM's included.
pub fn under_kvm(gic: u32, step: &Step) -> Result<u64, String> {
    under_peer(gic, |guest| kvm::run(guest, kvm::Pages::Default, step))
}

/// Instructions under Xen.
pub fn under_xen(gic: u32, step: &Step) -> Result<u64, String> {
    under_peer(gic, |guest| xen::run(guest, step).map(|(console, _)| console))
}

fn under_peer(gic: u32, run: impl FnOnce(&Guest) -> Result<String, String>) -> Result<u64, String> {
    counted(|counter, initrd| {
        let (image, memory) = (setup::linux::kernel(), MEMORY_MIB << 20);
        let counter = Some(counter);
        run(&Guest { image: &image, command_line: ARGUMENTS, gic, cpus: 1, memory, initrd: Some(initrd), counter })
    })
}

fn counted(run: impl FnOnce(&Counter, &Path) -> Result<String, String>) -> Result<u64, String> {
    executed(run).map(|executed| executed.all)
}

/// The instructions from the kernel's first one to the first process, in a run that gets the counter and the initramfs and
/// gives the console.
fn executed(run: impl FnOnce(&Counter, &Path) -> Result<String, String>) -> Result<Executed, String> {
    let why = |error: anyhow::Error| format!("{error:#}");
    let kernel = Mark::first_of(&setup::linux::kernel()).map_err(why)?;
    let counter = Counter::new(&[kernel, INIT]).map_err(why)?;
    let initrd = with_first_process().map_err(why)?;
    has_started(&run(&counter, &initrd)?)?;
    let reached = counter.reached().map_err(why)?;
    counter::between(&reached, kernel, INIT).ok_or_else(|| "QEMU did not count up to /init".to_owned())
}

/// The plain machine's device tree with no more in it than our guest's has: Linux must not find other work to do.
pub fn plain_tree(machine: &Plain) -> Result<PathBuf> {
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
    let path = folder()?.join(format!("plain-gic{}-{}.dtb", machine.gic, machine.cpus));
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

fn with_first_process() -> Result<PathBuf> {
    initrd("linux", &format!("file /bench-init {} 0755 0 0\n", build::guest("bench-init")?.display()))
}

/// Fails with the last line unless the first process has said that it is there.
fn has_started(console: &str) -> Result<(), String> {
    if console.contains("bench: init at ") {
        return Ok(());
    }
    let last = console.lines().rev().map(str::trim).find(|line| !line.is_empty());
    Err(format!("no /init: the last line is `{}`", last.unwrap_or_default()))
}

/// The Linux guest's initramfs with more files in it, as a list in the format of [`initramfs`].
pub fn initrd(name: &str, files: &str) -> Result<PathBuf> {
    let list = paths::guests().join("linux/initramfs.list");
    let mut list = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    list.push_str(files);
    let path = folder()?.join(format!("{name}.cpio"));
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
    fn the_last_line_is_told_if_there_is_no_first_process() {
        assert_eq!(has_started("[bench] bench: init at 878600000\r\n"), Ok(()));
        assert!(has_started("x\nKernel panic\n\n").expect_err("no init").contains("Kernel panic"));
    }
}
