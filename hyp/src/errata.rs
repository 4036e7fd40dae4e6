//! Faults of processors that ask EL2 for something it does not do on others. What it does on all, for it costs little, is
//! where it is done; ARCHITECTURE.md has the table of both.

/// Whether TLB maintenance that is broadcast may complete before another core's accesses by the old translation have
/// (CVE-2025-10263): it is then to be done twice. `midr` is MIDR_EL1 of any of the machine's cores.
///
/// Arm's affected cores begin with the Cortex-A76, and vendors' follow; these came before, and stand in no cluster with them.
pub fn completes_early(midr: u64) -> bool {
    const ARM: u64 = 0x41;
    /// Cortex-A34, A53, A35, A57, A72 and A73.
    const EARLIER: [u64; 6] = [0xd02, 0xd03, 0xd04, 0xd07, 0xd08, 0xd09];
    let (implementer, part) = (midr >> 24 & 0xff, midr >> 4 & 0xfff);
    implementer != ARM || !EARLIER.contains(&part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_raspberry_pi_4_is_not_affected_and_its_successor_is() {
        // Cortex-A72 r0p3; A53 r0p4.
        assert!(!completes_early(0x410f_d083) && !completes_early(0x410f_d034));
        // Cortex-A76 r4p1; an A55, which may stand beside one; another implementer's; QEMU's `max`.
        assert!([0x414f_d0b1, 0x412f_d050, 0x4e0f_0100, 0x000f_0510].into_iter().all(completes_early));
    }
}
