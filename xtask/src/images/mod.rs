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
use crate::system::{self, ImageProvider, Target};

/// The names of small guests: `guest/NAME`.
const GUEST: &str = "guest/";

/// The images of this repository, as built for a machine with this version of the GIC.
#[derive(Clone, Debug)]
pub struct Images {
    /// 2 or 3.
    pub gic: u32,
    /// The board whose devices systems name.
    pub board: Board,
    /// Cores, if the machine's are asked for.
    pub cpus: Option<usize>,
    /// RAM in bytes, if the machine's is asked for.
    pub memory: Option<u64>,
    /// The file with the tree that a card has for the Raspberry Pi; None for QEMU's machines.
    pub card_tree: Option<PathBuf>,
}

impl Images {
    /// For a machine that has what systems need.
    pub const fn new(gic: u32, board: Board) -> Self {
        Self { gic, board, cpus: None, memory: None, card_tree: None }
    }

    /// For a Raspberry Pi with so many bytes of RAM that starts from a card with this tree. It has all of its RAM, which
    /// QEMU's has only behind TF-A.
    pub fn for_card(tree: PathBuf, memory: u64) -> Self {
        Self { memory: Some(memory), card_tree: Some(tree), ..Self::new(2, Board::Raspi4bTfa) }
    }

    fn raspberry_pi_memory(&self) -> u64 {
        self.memory.unwrap_or(raspberry_pi::MEMORY)
    }

    fn raspberry_pi_tree(&self) -> PathBuf {
        self.card_tree.clone().unwrap_or_else(raspberry_pi::tree)
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
                memory: Some(raspberry_pi::DESCRIBED_BY_QEMU),
                more_memory: "use `--machine raspi4b-tfa`, which has 2 GiB",
                ..raspberry_pi::target(raspberry_pi::MEMORY)
            },
            Board::Raspi4bTfa => Target {
                more_memory: self.card_tree.as_ref().map_or("", |_| "say by `--memory` how much the board has"),
                ..raspberry_pi::target(self.raspberry_pi_memory())
            },
        }
    }

    fn ram(&self, memory: u64) -> Vec<Span> {
        match self.board {
            Board::Virt => Span::new(system::VIRT_RAM, memory).into_iter().collect(),
            Board::Raspi4b => Span::new(0, memory).into_iter().collect(),
            Board::Raspi4bTfa => raspberry_pi::ram_spans(self.raspberry_pi_memory()),
        }
    }

    fn tree_is_shown_by(&self) -> String {
        match self.board {
            Board::Virt => format!(
                "qemu-system-aarch64 -M virt,virtualization=on,gic-version={},dumpdtb=virt.dtb; dtc -I dtb -O dts virt.dtb",
                self.gic
            ),
            Board::Raspi4b | Board::Raspi4bTfa => format!("dtc -I dtb -O dts {}", self.raspberry_pi_tree().display()),
        }
    }

    fn board_tree(&self) -> Result<Vec<u8>> {
        match self.board {
            Board::Virt => qemu::virt_tree(self.gic),
            Board::Raspi4b | Board::Raspi4bTfa => {
                raspberry_pi::tree_with_memory(&fs::read(self.raspberry_pi_tree())?, self.raspberry_pi_memory())
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
    fn a_card_is_for_the_board_with_its_own_tree_and_memory() {
        let images = Images::for_card("/card.dtb".into(), 4 << 30);
        assert_eq!(images.tree_is_shown_by(), "dtc -I dtb -O dts /card.dtb");
        assert_eq!(images.target().memory, raspberry_pi::target(4 << 30).memory);
        assert_eq!(images.ram(0), raspberry_pi::ram_spans(4 << 30));
        assert!(images.target().more_memory.contains("--memory") && images.board_tree().is_err());
        let of_qemu = Images::new(2, Board::Raspi4bTfa);
        assert_eq!((of_qemu.target().more_memory, of_qemu.ram(0)), ("", raspberry_pi::ram_spans(2 << 30)));
        assert!(of_qemu.board_tree().is_ok());
    }

    #[test]
    fn what_is_unknown_is_refused() {
        assert!(Images::new(3, Board::Virt).image("windows").is_err());
        assert!(Images::new(3, Board::Virt).image("guest/../x").is_err());
    }
}
