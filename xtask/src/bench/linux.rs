//! Linux from its first instruction to its first process, plain and under Tessera: the same kernel, file system and
//! command line, one CPU, 256 MiB.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::figures;
use super::machine::{Ours, Plain, folder};
use crate::build::{self, Hypervisor};
use crate::images::initramfs;
use crate::paths;
use crate::setup;

const MEMORY_MIB: u64 = 256;
/// `quiet`: what the kernel says on its way is the console's cost, not the hypervisor's.
const ARGUMENTS: &str = "console=ttyAMA0 quiet nokaslr panic=-1 rdinit=/bench-init";

/// Instructions on plain QEMU.
pub fn plain(gic: u32) -> Result<u64, String> {
    let initrd = initrd().map_err(|error| format!("{error:#}"))?;
    let kernel = setup::linux::kernel();
    let machine = Plain {
        gic,
        cpus: 1,
        memory_mib: MEMORY_MIB,
        kernel: &kernel,
        initrd: Some(&initrd),
        arguments: ARGUMENTS,
        at_el2: false,
    };
    counter(&machine.run()?)
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
    fn the_counter_is_read_or_the_last_line_is_told() {
        assert_eq!(counter("[bench] bench: init at 878600000\r\n"), Ok(878_600_000));
        assert!(counter("x\nKernel panic\n\n").expect_err("no init").contains("Kernel panic"));
    }
}
