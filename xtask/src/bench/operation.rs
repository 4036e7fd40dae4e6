//! The rows: what is measured, in the table's order, and what others were found to cost.
//!
//! The quoted figures are published or were counted once, with the peers built and configured as their own
//! documentation says, in QEMU 10.0.2 with `-icount shift=0`, cortex-a72, one CPU. They are not measured again.

/// What a row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An operation of a guest on one vCPU.
    Guest,
    /// An operation that needs two vCPUs.
    Pair,
    /// An operation that needs a neighbour from the same image.
    Sharing,
    /// An operation among several VMs, or one that is counted from outside.
    System,
    /// Something about the whole system: one figure.
    Whole,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its name in all files.
    pub name: &'static str,
    /// What people read.
    pub label: &'static str,
    /// What it counts.
    pub kind: Kind,
    /// Bao and hvisor on GICv3, quoted.
    pub quoted: [Option<u64>; 2],
}

const fn row(name: &'static str, label: &'static str, kind: Kind, bao: u64, hvisor: u64) -> Operation {
    const fn known(figure: u64) -> Option<u64> {
        if figure == 0 { None } else { Some(figure) }
    }
    Operation { name, label, kind, quoted: [known(bao), known(hvisor)] }
}

/// All rows. A quoted figure of 0 stands for none.
pub const OPERATIONS: [Operation; 32] = [
    row("hvc_psci_version", "HVC PSCI_VERSION", Kind::Guest, 193, 155),
    row("hvc_unknown", "HVC, unknown function", Kind::Guest, 0, 0),
    row("id_register_read", "read a trapped ID register", Kind::Guest, 0, 0),
    row("gicd_typer_read", "read GICD_TYPER", Kind::Guest, 225, 321),
    row("gicd_isenabler_read", "read GICD_ISENABLER1", Kind::Guest, 1290, 715),
    row("gicr_isenabler_write", "write GICR/GICD_ISENABLER0", Kind::Guest, 3589, 354),
    row("vuart_flag_read", "read the UART's flags", Kind::Guest, 0, 0),
    row("uart_write", "write a byte to the UART", Kind::Guest, 0, 0),
    row("self_sgi", "SGI to itself and back", Kind::Guest, 838, 395),
    row("sgi_mixed", "SGIs of changing numbers to itself", Kind::Guest, 0, 0),
    row("sgi_other_vcpu", "SGI to another vCPU's vector", Kind::Pair, 0, 0),
    row("vtimer_spin", "virtual timer to vector, spinning", Kind::Guest, 200, 224),
    row("vtimer_wfi", "virtual timer to vector, in WFI", Kind::Guest, 201, 225),
    row("spi", "SPI and back", Kind::Guest, 3786, 986),
    row("spi_level", "level-sensitive SPI and back", Kind::Guest, 0, 0),
    row("eoi", "end of interrupt", Kind::Guest, 0, 0),
    row("dir", "deactivate interrupt", Kind::Guest, 0, 0),
    row("page_first_touch", "first write to a page", Kind::Guest, 0, 0),
    row("cow_break", "first write to a shared page", Kind::Sharing, 0, 0),
    row("vcpu_switch", "from a vCPU that waits to another VM's", Kind::System, 0, 0),
    row("idle_wake", "virtual timer in WFI, 15 idle VMs beside", Kind::System, 0, 0),
    row("wake_preempt", "virtual timer in WFI, a busy VM beside", Kind::System, 0, 0),
    row("restart", "restart of 256 MiB, without filling them", Kind::System, 0, 0),
    row("el2_longest", "interrupts kept waiting, at most", Kind::System, 0, 0),
    row("lock_longest", "a lock held, at most", Kind::System, 0, 0),
    row("boot_to_guest", "EL2 entry to guest, unscrubbed", Kind::Whole, 362_383, 842_500),
    row("scrub_128_mib", "scrubbing 128 MiB", Kind::Whole, 0, 0),
    row("el2_memory_bytes", "memory kept by EL2, bytes", Kind::Whole, 284 << 10, 69_101_158),
    row("el2_memory_16_vms", "the same with 16 VMs, bytes", Kind::Whole, 0, 0),
    row("image_bytes", "image, bytes", Kind::Whole, 94_000, 156_000),
    row("linux_to_init", "Linux to /init", Kind::Whole, 0, 0),
    row("linux_el2", "Linux to /init, EL2's part", Kind::Whole, 0, 0),
];

/// What figures are to come down to: they are bounded by what they are, and no more is promised, until they do.
const GOALS: [(&str, u64); 12] = [
    ("uart_write", 400),
    ("sgi_other_vcpu", 600),
    ("spi_level", 700),
    ("vcpu_switch", 900),
    ("idle_wake", 300),
    ("wake_preempt", 1_500),
    ("restart", 3_000_000),
    ("el2_longest", LONGEST),
    ("lock_longest", LONGEST),
    ("boot_to_guest", 240_000),
    ("el2_memory_bytes", 340 << 10),
    ("el2_memory_16_vms", 600 << 10),
];

/// The most that EL2 may go on, or hold a lock, whatever guests do.
const LONGEST: u64 = 20_000;

/// What the figure of this name is to come down to.
pub fn goal(name: &str) -> Option<u64> {
    GOALS.iter().find(|(of, _)| *of == name).map(|(_, goal)| *goal)
}

/// What the most of this figure may be although it was less, for it comes from cores that run at once.
pub fn allowance(name: &str) -> Option<u64> {
    ["el2_longest", "lock_longest"].contains(&name).then_some(LONGEST)
}

/// The row of this name.
pub fn find(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}

/// What was found once and is quoted: on GICv3 only.
pub fn quoted(operation: &Operation, gic: u32) -> [Option<u64>; 2] {
    if gic == 3 { operation.quoted } else { quoted_gic2(operation.name) }
}

/// On GICv2: Bao only.
fn quoted_gic2(name: &str) -> [Option<u64>; 2] {
    let bao = match name {
        "hvc_psci_version" => 193,
        "gicd_typer_read" => 225,
        "self_sgi" => 872,
        "vtimer_spin" => 205,
        _ => return [None; 2],
    };
    [Some(bao), None]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_and_labels_are_unique() {
        let names: HashSet<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
        let labels: HashSet<_> = OPERATIONS.iter().map(|operation| operation.label).collect();
        assert_eq!((names.len(), labels.len()), (OPERATIONS.len(), OPERATIONS.len()));
        assert_eq!(find("spi").map(|operation| operation.label), Some("SPI and back"));
    }

    #[test]
    fn goals_are_those_of_rows() {
        assert!(GOALS.iter().all(|(name, _)| find(name).is_some()));
        assert_eq!((goal("spi_level"), goal("eoi")), (Some(700), None));
    }

    #[test]
    fn quoted_figures_are_of_their_version_of_the_gic() {
        let sgi = find("self_sgi").expect("there");
        assert_eq!(quoted(sgi, 3), [Some(838), Some(395)]);
        assert_eq!(quoted(sgi, 2), [Some(872), None]);
        assert_eq!(quoted(find("spi").expect("there"), 2), [None, None]);
    }
}
