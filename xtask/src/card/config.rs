//! What the board's firmware reads first: `config.txt` (Raspberry Pi documentation, "config.txt"). Every address is said, so
//! that nothing overlaps whatever a firmware's defaults are.

use anyhow::{Result, ensure};

use super::console::{BAUD, CORE_MHZ, PL011_CLOCK, Uart};
use crate::raspberry_pi::{INITRD, KERNEL, LOW_RAM_END, TREE};

/// The hypervisor's name on the card.
pub const KERNEL_FILE: &str = "kernel8.img";
/// The system archive's.
pub const ARCHIVE_FILE: &str = "system.cpio";
/// The device tree's.
pub const TREE_FILE: &str = "bcm2711-rpi-4-b.dtb";
/// TF-A's, where it is used.
pub const TFA_FILE: &str = "bl31.bin";

/// The text of `config.txt`.
///
/// # Errors
/// The hypervisor or the archive is too large for its place.
pub fn text(system: &str, uart: Uart, tfa: bool, kernel_bytes: u64, archive_bytes: u64) -> Result<String> {
    ensure!(KERNEL + kernel_bytes <= TREE, "the hypervisor has {kernel_bytes} bytes, more than there is room for");
    let room = LOW_RAM_END - INITRD;
    ensure!(
        archive_bytes <= room,
        "the system's archive has {} MiB, but the board's firmware has room for {} MiB: make its images smaller",
        archive_bytes.div_ceil(1 << 20),
        room >> 20
    );
    // Old firmware cuts lines of more than 80 characters.
    let mut text = format!(
        "# Tessera with the system {system}.\n\
         arm_64bit=1\n\
         enable_gic=1\n\
         # GPIO14 and GPIO15 are serial0 of the device tree.\n\
         enable_uart=1\n\
         init_uart_baud={BAUD}\n\
         init_uart_clock={PL011_CLOCK}\n\
         # MiB of the GPU, at the end of the first GiB.\n\
         gpu_mem={}\n\
         kernel={KERNEL_FILE}\n\
         kernel_address={KERNEL:#x}\n\
         device_tree={TREE_FILE}\n\
         device_tree_address={TREE:#x}\n\
         initramfs {ARCHIVE_FILE} {INITRD:#x}\n",
        ((1 << 30) - LOW_RAM_END) >> 20,
    );
    if uart == Uart::Mini {
        text +=
            &format!("# The GPU's clock, which is the mini UART's too, stays as it is.\ncore_freq_min={CORE_MHZ}\n");
    }
    if tfa {
        text +=
            &format!("# TF-A at EL3: cores are started, and the board is switched off, by PSCI.\narmstub={TFA_FILE}\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(['=', ' ']))
    }

    fn number(text: &str) -> u64 {
        u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("a number")
    }

    #[test]
    fn nothing_overlaps() {
        let (kernel_bytes, archive_bytes) = (1 << 20, 600 << 20);
        let text = text("a", Uart::Mini, false, kernel_bytes, archive_bytes).expect("fits");
        let (archive, at) = value(&text, "initramfs").and_then(|line| line.split_once(' ')).expect("an archive");
        let kernel = number(value(&text, "kernel_address").expect("an address"));
        let tree = number(value(&text, "device_tree_address").expect("an address"));
        assert!(kernel + kernel_bytes <= tree && tree + (2 << 20) <= number(at));
        assert!(
            number(at) + archive_bytes <= 0x3b40_0000 && number(at).is_multiple_of(4096) && archive == "system.cpio"
        );
        assert_eq!((value(&text, "arm_64bit"), value(&text, "enable_gic")), (Some("1"), Some("1")));
        assert_eq!((value(&text, "core_freq_min"), value(&text, "armstub")), (Some("500"), None));
        assert_eq!(value(&text, "gpu_mem"), Some("76"));
        assert!(text.lines().all(|line| line.len() < 80));
    }

    #[test]
    fn uart_and_firmware_are_as_asked() {
        let text = text("a", Uart::Pl011, true, 1, 1).expect("fits");
        assert_eq!((value(&text, "core_freq_min"), value(&text, "armstub")), (None, Some("bl31.bin")));
        assert_eq!(value(&text, "init_uart_clock"), Some("48000000"));
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert!(
            text("a", Uart::Mini, false, 1 << 20, 700 << 20).expect_err("too large").to_string().contains("700 MiB")
        );
        assert!(text("a", Uart::Mini, false, 200 << 20, 1).is_err());
    }
}
