//! The images that systems name with `tessera:`: what each is, and making those that are made.

pub mod disk;
pub mod freertos;
pub mod initramfs;
pub mod kernel;
pub mod modules;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use tessera_platform::Span;

use crate::build;
use crate::qemu::{self, Board};
use crate::raspberry_pi;
use crate::setup;
use crate::setup::linux::Flavour;
use crate::system::{self, Amount, ImageProvider, Target};

/// The names of small guests: `guest/NAME`.
const GUEST: &str = "guest/";

/// The images of this repository, as built for a machine with this version of the GIC.
#[derive(Clone, Copy, Debug)]
pub struct Images {
    /// 2 or 3.
    pub gic: u32,
    /// The board whose devices systems name.
    pub board: Board,
    /// Cores, if the machine's are asked for.
    pub cpus: Option<usize>,
    /// RAM in bytes, if the machine's is asked for.
    pub memory: Option<u64>,
}

impl Images {
    /// For a machine that has what systems need.
    pub const fn new(gic: u32, board: Board) -> Self {
        Self { gic, board, cpus: None, memory: None }
    }
}

impl ImageProvider for Images {
    fn names(&self) -> Vec<String> {
        let fixed = [
            "linux",
            "linux-generic",
            "initramfs",
            "initramfs-disk",
            "initramfs-disk-generic",
            "disk",
            "freertos",
            "freertos-gicv2",
            "freertos-gicv3",
        ];
        let guests = build::guest_names().unwrap_or_default();
        let guests = guests.into_iter().map(|name| format!("{GUEST}{name}"));
        fixed.into_iter().map(str::to_owned).chain(guests).collect()
    }

    fn image(&self, name: &str) -> Result<PathBuf> {
        let path = match name {
            "linux" => setup::linux::kernel(),
            "linux-generic" => disk::generic_kernel()?,
            "initramfs" => initramfs::path(),
            "initramfs-disk" => disk::initramfs(Flavour::Cloud)?,
            "initramfs-disk-generic" => disk::initramfs(Flavour::Generic)?,
            "disk" => disk::image()?,
            "freertos" => freertos::path(self.gic),
            "freertos-gicv2" => freertos::path(2),
            "freertos-gicv3" => freertos::path(3),
            _ => match name.strip_prefix(GUEST) {
                Some(guest) => build::guest(guest)?,
                None => bail!("nothing of this name is built here"),
            },
        };
        path.is_file().then_some(path).context("it has not been built")
    }

    fn gic(&self) -> Option<u64> {
        Some(u64::from(self.gic))
    }

    fn target(&self) -> Target {
        match self.board {
            Board::Virt => qemu::virt_target(self.gic, self.cpus, self.memory),
            Board::Raspi4b => Target {
                name: "QEMU's Raspberry Pi 4 without TF-A",
                memory: Amount::Exactly(raspberry_pi::DESCRIBED_BY_QEMU),
                more_memory: "use `--machine raspi4b-tfa`, which has 2 GiB",
                ..raspberry_pi::target(raspberry_pi::MEMORY)
            },
            Board::Raspi4bTfa => raspberry_pi::target(raspberry_pi::MEMORY),
        }
    }

    fn ram(&self, memory: u64) -> Vec<Span> {
        match self.board {
            Board::Virt => Span::new(system::VIRT_RAM, memory).into_iter().collect(),
            Board::Raspi4b => Span::new(0, memory).into_iter().collect(),
            Board::Raspi4bTfa => raspberry_pi::ram_spans(raspberry_pi::MEMORY),
        }
    }

    fn tree_is_shown_by(&self) -> String {
        match self.board {
            Board::Virt => format!(
                "qemu-system-aarch64 -M virt,virtualization=on,gic-version={},dumpdtb=virt.dtb; dtc -I dtb -O dts virt.dtb",
                self.gic
            ),
            Board::Raspi4b | Board::Raspi4bTfa => format!("dtc -I dtb -O dts {}", raspberry_pi::tree().display()),
        }
    }

    fn board_tree(&self) -> Result<Vec<u8>> {
        match self.board {
            Board::Virt => qemu::virt_tree(self.gic),
            Board::Raspi4b | Board::Raspi4bTfa => {
                raspberry_pi::tree_with_memory(&fs::read(raspberry_pi::tree())?, raspberry_pi::MEMORY)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cover_the_real_guests_and_the_small_ones() {
        let names = Images::new(3, Board::Virt).names();
        assert!(names.contains(&"linux".to_owned()) && names.contains(&"guest/hello".to_owned()));
    }

    #[test]
    fn what_is_unknown_is_refused() {
        assert!(Images::new(3, Board::Virt).image("windows").is_err());
        assert!(Images::new(3, Board::Virt).image("guest/../x").is_err());
    }
}
