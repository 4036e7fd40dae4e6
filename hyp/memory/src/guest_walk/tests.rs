//! Tables laid out by hand, with division instead of masks, so that nothing is shared with the walker.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const MMU_ON: u64 = 1;
const PAGE_AF: u64 = 0x403;
const BLOCK_AF: u64 = 0x401;
const TABLE: u64 = 3;

/// TCR with the 4 KiB granule in both halves, 39-bit addresses (TxSZ 25), IPS 40 bits.
const TCR_4K_39: u64 = 2 << 32 | 0b10 << 30 | 25 << 16 | 25;

fn registers(tcr: u64) -> Registers {
    Registers { sctlr: MMU_ON, tcr, ttbr0: 0x1000, ttbr1: 0x8000 }
}

fn walk_in(memory: &[(u64, u64)], registers: &Registers, va: u64) -> Result<Translation, Fault> {
    let words: HashMap<u64, u64> = memory.iter().copied().collect();
    let backed = |address: u64| address < 0x10_0000;
    let read = |ipa: Ipa| backed(ipa.get()).then(|| words.get(&ipa.get()).copied().unwrap_or(0));
    walk(registers, Va::new(va), read)
}

fn fault(kind: FaultKind, level: u8) -> Result<Translation, Fault> {
    Err(Fault { kind, level })
}

#[test]
fn mmu_off_is_flat() {
    let off = Registers { sctlr: 0, ..registers(TCR_4K_39) };
    assert_eq!(walk_in(&[], &off, 0x4008_0123).unwrap().ipa, Ipa::new(0x4008_0123));
    assert_eq!(walk_in(&[], &off, 1 << 50), fault(FaultKind::AddressSize, 0));
}

#[test]
fn three_levels_to_a_page_and_blocks_above() {
    let memory = [
        (0x1000 + 8, 0x2000 | TABLE),
        (0x2000 + 2 * 8, 0x3000 | TABLE),
        (0x3000 + 3 * 8, 0x4567_8000 | PAGE_AF),
        (0x2000 + 5 * 8, 0x4020_0000 | BLOCK_AF),
        (0x1000 + 6 * 8, 0x1_4000_0000 | BLOCK_AF),
    ];
    let at = |va| walk_in(&memory, &registers(TCR_4K_39), va).map(|found| (found.ipa.get(), found.bytes));
    assert_eq!(at(0x4040_3abc), Ok((0x4567_8abc, 0x1000)));
    assert_eq!(at(0x40a1_2345), Ok((0x4021_2345, 0x20_0000)));
    assert_eq!(at(0x1_8123_4567), Ok((0x1_4123_4567, 0x4000_0000)));
    let missing = |va| walk_in(&memory, &registers(TCR_4K_39), va);
    assert_eq!(missing(0), fault(FaultKind::Translation, 1));
    assert_eq!(missing(0x4000_0000), fault(FaultKind::Translation, 2));
    assert_eq!(missing(0x4040_0000), fault(FaultKind::Translation, 3));
}

#[test]
fn the_upper_half_uses_the_other_table() {
    let memory = [(0x8000 + 511 * 8, 0x4000_0000 | BLOCK_AF)];
    let at = |va| walk_in(&memory, &registers(TCR_4K_39), va);
    assert_eq!(at(0xffff_ffff_c000_0010).unwrap().ipa, Ipa::new(0x4000_0010));
    // Between the halves, and with a tag that is not ignored.
    assert_eq!(at(0x0080_0000_0000_0000), fault(FaultKind::Translation, 0));
    assert_eq!(at(0xff7f_ffff_c000_0010), fault(FaultKind::Translation, 0));
    assert_eq!(at(0x00ff_ffff_c000_0010), fault(FaultKind::Translation, 0));
    let tagged = registers(TCR_4K_39 | 1 << 38);
    assert_eq!(walk_in(&memory, &tagged, 0x12ff_ffff_c000_0010).unwrap().ipa, Ipa::new(0x4000_0010));
    assert_eq!(walk_in(&memory, &registers(TCR_4K_39 | 1 << 37), 0x12ff_ffff_c000_0010), at(0x80 << 48));
}

#[test]
fn walks_can_be_disabled() {
    let memory = [(0x1000, BLOCK_AF), (0x8000, BLOCK_AF)];
    let (low, high) = (0x123, 0xffff_ff80_0000_0123);
    for (bit, bad, good) in [(7, low, high), (23, high, low)] {
        let registers = registers(TCR_4K_39 | 1 << bit);
        assert_eq!(walk_in(&memory, &registers, bad), fault(FaultKind::Translation, 0));
        assert_eq!(walk_in(&memory, &registers, good).unwrap().ipa, Ipa::new(0x123));
    }
}

#[test]
fn bad_descriptors_fault_at_their_level() {
    let at = |entry| walk_in(&[(0x1000, entry)], &registers(TCR_4K_39), 0);
    assert_eq!(at(0x4000_0001), fault(FaultKind::AccessFlag, 1));
    assert_eq!(at(0x100_0000_0000 | BLOCK_AF), fault(FaultKind::AddressSize, 1));
    assert_eq!(at(0x100_0000_0000 | TABLE), fault(FaultKind::AddressSize, 1));
    assert_eq!(at(0x80_0000_0000 | TABLE), fault(FaultKind::TableWalk, 2));
    let reserved = [(0x1000, 0x2000 | TABLE), (0x2000, 0x3000 | TABLE), (0x3000, 0x5000 | BLOCK_AF)];
    assert_eq!(walk_in(&reserved, &registers(TCR_4K_39), 0), fault(FaultKind::Translation, 3));
    // A block at level 0.
    let tcr = 5 << 32 | 16;
    assert_eq!(walk_in(&[(0x1000, BLOCK_AF)], &registers(tcr), 0), fault(FaultKind::Translation, 0));
    let root = Registers { ttbr0: 1 << 41, ..registers(TCR_4K_39) };
    assert_eq!(walk_in(&[], &root, 0), fault(FaultKind::AddressSize, 0));
}

#[test]
fn sizes_out_of_range_fault() {
    for size in [0, 15, 40, 63] {
        assert_eq!(walk_in(&[(0x1000, BLOCK_AF)], &registers(size), 0), fault(FaultKind::Translation, 0));
    }
    let no_such_granule = 0b11 << 14 | 25;
    assert_eq!(walk_in(&[], &registers(no_such_granule), 0), fault(FaultKind::Translation, 0));
}

#[test]
fn a_table_that_points_to_itself_ends_at_level_three() {
    let mut reads = 0;
    let tcr = 5 << 32 | 16;
    let result = walk(&registers(tcr), Va::new(0), |_| {
        reads += 1;
        Some(0x1000 | PAGE_AF)
    });
    assert_eq!((result.unwrap().ipa, reads), (Ipa::new(0x1000), 4));
}

/// EL1 and EL0, as `rwx` strings.
fn permissions(sctlr: u64, table: u64, leaf: u64) -> (String, String) {
    let memory = [(0x1000, 0x2000 | TABLE | table), (0x2000, BLOCK_AF | leaf)];
    let registers = Registers { sctlr, ..registers(TCR_4K_39) };
    let found = walk_in(&memory, &registers, 0).unwrap();
    let text = |allowed: Permissions| {
        let letters = [(allowed.read, 'r'), (allowed.write, 'w'), (allowed.execute, 'x')];
        letters.into_iter().map(|(allowed, letter)| if allowed { letter } else { '-' }).collect()
    };
    (text(found.el1), text(found.el0))
}

#[test]
fn permissions_of_leaf_tables_and_system_combine() {
    let (el0_access, read_only, pxn, uxn) = (1 << 6, 1 << 7, 1 << 53, 1 << 54);
    let (table_pxn, table_uxn, table_no_el0, table_read_only) = (1 << 59, 1 << 60, 1 << 61, 1 << 62);
    let cases = [
        (0, 0, 0, "rwx", "--x"),
        (0, 0, el0_access, "rw-", "rwx"),
        (0, 0, read_only, "r-x", "--x"),
        (0, 0, read_only | el0_access, "r-x", "r-x"),
        (0, 0, pxn | uxn, "rw-", "---"),
        (0, table_read_only, el0_access, "r-x", "r-x"),
        (0, table_no_el0, el0_access, "rwx", "--x"),
        (0, table_pxn, read_only, "r--", "--x"),
        (0, table_uxn, read_only | el0_access, "r-x", "r--"),
        (1 << 19, 0, 0, "rw-", "--x"),
        (1 << 19, 0, el0_access, "rw-", "rw-"),
        (1 << 19, 0, read_only, "r-x", "--x"),
    ];
    for (sctlr, table, leaf, el1, el0) in cases {
        let found = permissions(MMU_ON | sctlr, table, leaf);
        assert_eq!(found, (el1.to_string(), el0.to_string()), "{sctlr:x} {table:x} {leaf:x}");
    }
}

#[test]
fn small_roots_are_aligned_to_their_size_only() {
    // 4 KiB granule, T0SZ 28: 64 GiB, 64 entries at level 1, so that the root is aligned to 512 bytes.
    let registers = Registers { ttbr0: 0x1600 | 1 << 48, ..registers(2 << 32 | 28) };
    let memory = [(0x1600 + 63 * 8, 0x4000_0000 | BLOCK_AF)];
    assert_eq!(walk_in(&memory, &registers, 0xf_c000_0042).unwrap().ipa, Ipa::new(0x4000_0042));
}

#[test]
fn the_attribute_index_is_reported() {
    let found = walk_in(&[(0x1000, BLOCK_AF | 5 << 2)], &registers(TCR_4K_39), 0).unwrap();
    assert_eq!(found.attribute_index, Some(5));
    assert_eq!(Fault { kind: FaultKind::Translation, level: 2 }.status_code(), 0b00_0110);
    assert_eq!(Fault { kind: FaultKind::TableWalk, level: 3 }.status_code(), 0b01_0111);
}

/// A granule: its size, its value in TG0 and in TG1, and from which level on blocks exist.
const GRANULES: [(u64, u64, u64, u32); 3] = [(4096, 0, 2, 1), (16384, 2, 1, 2), (65536, 1, 3, 2)];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Builds the tables for one address from the leaf up, for any granule, size, half and leaf level.
    #[test]
    fn every_shape_leads_where_the_tables_say(
        granule in 0..3usize, size in 16u64..=39, upper in any::<bool>(), leaf in 1u32..=3,
        low in any::<u64>(), output in any::<u64>(), tag in any::<u8>(),
    ) {
        let (bytes, tg0, tg1, first_block) = GRANULES[granule];
        let entries = bytes / 8;
        let input = low % (1 << (64 - size));
        // The levels that there are: from the one whose table alone spans the input, down to 3.
        let mut covered = vec![bytes];
        while *covered.last().unwrap() * entries < 1 << (64 - size) {
            covered.push(covered.last().unwrap() * entries);
        }
        let start = 4 - covered.len() as u32;
        prop_assume!(leaf >= start && (leaf == 3 || leaf >= first_block));
        let covers = |level: u32| covered[3 - level as usize];
        let output = output % (1 << 48) / covers(leaf) * covers(leaf);
        let mut memory = HashMap::new();
        for level in start..=leaf {
            let table = 0x10_0000 * u64::from(level + 1);
            let index = input / covers(level) % entries;
            let entry = match (level == leaf, leaf) {
                (true, 3) => output | PAGE_AF,
                (true, _) => output | BLOCK_AF,
                (false, _) => (0x10_0000 * u64::from(level + 2)) | TABLE,
            };
            memory.insert(table + index * 8, entry);
        }
        let root = 0x10_0000 * u64::from(start + 1);
        let (fields, high) = if upper {
            ((tg1 << 14 | size) << 16, u64::MAX << (64 - size))
        } else {
            (tg0 << 14 | size, 0)
        };
        let ignored = 0b11 << 37;
        let registers = Registers { sctlr: MMU_ON, tcr: 5 << 32 | ignored | fields, ttbr0: root, ttbr1: root };
        let va = (input | high) & !(0xff << 56) | u64::from(tag) << 56;
        let found = walk(&registers, Va::new(va), |ipa| Some(memory.get(&ipa.get()).copied().unwrap_or(0)));
        let found = found.unwrap();
        prop_assert_eq!(found.ipa.get(), output + input % covers(leaf));
        prop_assert_eq!(found.bytes, covers(leaf));
    }

    /// Whatever the registers and the memory say, the walk ends, soon and without a panic.
    #[test]
    fn no_registers_and_no_tables_do_harm(
        sctlr in any::<u64>(), tcr in any::<u64>(), ttbr0 in any::<u64>(), ttbr1 in any::<u64>(), va in any::<u64>(),
        words in prop::collection::vec(any::<u64>(), 4),
    ) {
        let mut reads = 0;
        let registers = Registers { sctlr: sctlr | MMU_ON, tcr, ttbr0, ttbr1 };
        let _ = walk(&registers, Va::new(va), |ipa| {
            assert!(ipa.get() % 8 == 0);
            reads += 1;
            words.get(reads - 1).map(|word| word | 3)
        });
        prop_assert!(reads <= 4);
    }
}
