//! Trees that were damaged: always a board or an error, never a panic, and never for long.
//!
//! All damage comes from a seeded generator, so that a failure repeats.

use super::common::{BLOBS, Machine, blob, with_tree};
use std::time::{Duration, Instant};
use tessera_platform::Board;
use tessera_platform::board::find_console;
use tessera_platform::tree::Tree;

/// A linear congruential generator: Knuth's MMIX constants.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// Asks everything there is to ask, and checks what is promised of a board. Whether it was one.
fn digest(blob: &[u8]) -> bool {
    let console = with_tree(blob, find_console);
    if let Ok(tree) = Tree::parse(blob) {
        for node in tree.nodes() {
            let answers = (node.registers().is_ok(), node.interrupts().is_ok(), node.is_enabled());
            std::hint::black_box((answers, node.clock_frequency(), node.path().len()));
        }
    }
    match Board::discover(blob) {
        Ok(board) => {
            assert_eq!(board.console, console);
            assert!(!board.cores.is_empty() && !board.memory.is_empty());
            assert!(board.memory.windows(2).all(|pair| pair[0].end() < pair[1].start()));
            assert!(board.memory.iter().all(|span| !span.is_empty()));
            assert!(board.reserved.iter().all(|reservation| !reservation.span.is_empty()));
            assert!(!board.to_string().is_empty());
            true
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(shown.len() < 4096 && !shown.contains('\n'), "{shown}");
            false
        }
    }
}

/// Runs `rounds` of damage on every real tree but the largest that are alike.
fn damage(seed: u64, rounds: usize, mut harm: impl FnMut(&mut Random, &mut Vec<u8>)) -> (usize, usize) {
    let mut random = Random(seed);
    let (mut boards, mut errors) = (0, 0);
    for name in ["virt-gicv2-2", "virt-gicv3-4", "bcm2711-rpi-4-b-qemu"] {
        let good = blob(name);
        for _ in 0..rounds {
            let mut blob = good.to_vec();
            harm(&mut random, &mut blob);
            if digest(&blob) { boards += 1 } else { errors += 1 }
        }
    }
    (boards, errors)
}

#[test]
fn bytes_are_flipped() {
    let (boards, errors) = damage(1, 3000, |random, blob| {
        for _ in 0..=random.below(8) {
            let place = random.below(blob.len());
            blob[place] ^= 1 << random.below(8);
        }
    });
    assert!(boards > 1000 && errors > 1000, "{boards} boards, {errors} errors: the damage is one-sided");
}

#[test]
fn words_become_extreme() {
    const EXTREMES: [u32; 16] = [
        0,
        1,
        2,
        3,
        4,
        9,
        16,
        255,
        0x7fff_fffc,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_fff8,
        0xffff_fffc,
        u32::MAX - 1,
        u32::MAX,
        0xd00d_feed,
    ];
    let (boards, errors) = damage(2, 3000, |random, blob| {
        for _ in 0..=random.below(4) {
            let place = random.below(blob.len() / 4) * 4;
            let word = EXTREMES[random.below(EXTREMES.len())];
            blob[place..place + 4].copy_from_slice(&word.to_be_bytes());
        }
    });
    assert!(boards > 1000 && errors > 1000, "{boards} boards, {errors} errors: the damage is one-sided");
}

#[test]
fn pieces_are_copied_over_each_other() {
    damage(3, 2000, |random, blob| {
        for _ in 0..=random.below(3) {
            let length = 4 * (1 + random.below(64));
            let (from, to) = (random.below(blob.len() - length), random.below(blob.len() - length));
            // Aligned, structure meets structure and more of it is understood.
            let mask = if random.chance(2) { !3 } else { !0 };
            blob.copy_within((from & mask)..(from & mask) + length, to & mask);
        }
    });
}

#[test]
fn headers_are_damaged() {
    let (_, errors) = damage(4, 2000, |random, blob| {
        for _ in 0..=random.below(2) {
            let field = random.below(10) * 4;
            let old = u32::from_be_bytes(blob[field..field + 4].try_into().unwrap());
            let near = old.wrapping_add(random.below(129) as u32).wrapping_sub(64);
            let word = if random.chance(2) { near } else { random.below(1 << 31) as u32 };
            blob[field..field + 4].copy_from_slice(&word.to_be_bytes());
        }
    });
    assert!(errors > 1000, "only {errors} errors");
}

#[test]
fn every_truncation_of_a_small_tree_is_refused() {
    let good = Machine::new().blob();
    assert!(digest(&good));
    for length in 0..good.len() {
        assert!(!digest(&good[..length]), "cut to {length} bytes");
        // Cut, but with a header that agrees.
        let mut cut = good[..length].to_vec();
        if let Some(size) = cut.get_mut(4..8) {
            size.copy_from_slice(&(length as u32).to_be_bytes());
            assert!(!digest(&cut), "cut to {length} bytes with the size set so");
        }
    }
}

#[test]
fn every_byte_of_a_small_tree_is_changed() {
    let good = Machine::new().blob();
    for place in 0..good.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, good[place] ^ 0x20] {
            let mut blob = good.clone();
            blob[place] = value;
            digest(&blob);
        }
    }
}

#[test]
fn noise_behind_a_good_header_is_survived() {
    let mut random = Random(5);
    for _ in 0..3000 {
        let mut blob = Machine::empty().blob();
        blob.truncate(56);
        let words = random.below(200);
        for _ in 0..words {
            // Mostly tokens and small numbers, else the first word ends it.
            let word = if random.chance(4) { random.below(1 << 31) } else { random.below(10) } as u32;
            blob.extend(word.to_be_bytes());
        }
        blob.extend(b"reg\0compatible\0phandle\0interrupt-parent\0");
        let (total, strings) = (blob.len() as u32, 56 + words as u32 * 4);
        for (field, value) in [(1, total), (2, 56), (3, strings), (4, 40), (8, total - strings), (9, words as u32 * 4)]
        {
            blob[field * 4..field * 4 + 4].copy_from_slice(&value.to_be_bytes());
        }
        digest(&blob);
    }
}

#[test]
fn references_in_circles_end() {
    let machine = Machine::new()
        .set("/", "phandle", 8_u32)
        .set("/", "interrupt-parent", 9_u32)
        .set("/a", "phandle", 9_u32)
        .set("/a", "interrupt-parent", 9_u32)
        .set("/a", "interrupts", [0_u32, 1, 4])
        .set("/a", "clocks", 9_u32)
        .set("/b", "interrupts", [0_u32, 1, 4])
        .set("/b", "interrupt-parent", 8_u32)
        .set("/aliases", "x", "x")
        .set("/aliases", "y", "z")
        .set("/aliases", "z", "y")
        .set("/aliases", "deep", "/aliases/".repeat(1000))
        .set("/chosen", "stdout-path", "x");
    digest(&machine.blob());
    for path in ["y", "z", "deep"] {
        digest(&machine.clone().set("/chosen", "stdout-path", path).blob());
    }
    machine.refused("/gic@8000000", "interrupt-parent", "circle");
}

/// A node that holds as much as it may, to make every search slow.
#[test]
fn the_largest_trees_take_no_more_than_moments() {
    let mut machine = Machine::new();
    for node in 0..300 {
        let path = format!("/bus{node}");
        machine = machine.set(&path, "compatible", &["arm,gic-v3", "arm,pl011", "arm,armv8-timer"].repeat(20)[..]);
        machine = machine.set(&path, "status", "disabled").set(&path, "device_type", "memory");
        for property in 0..60 {
            machine = machine.set(&path, &format!("p{property}"), vec![0_u32; 12]);
        }
    }
    let blob = machine.blob();
    assert!(blob.len() > 1 << 20);
    let start = Instant::now();
    assert!(digest(&blob));
    let cells = vec![1_u32; 400_000];
    let long = Machine::new().set("/uart@9000000", "interrupts", &cells[..]).set("/memory@40000000", "reg", &cells[..]);
    digest(&long.blob());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// EL2's stacks are 16 KiB; a host's frames are no smaller than a board's.
#[test]
fn discovery_needs_little_stack() {
    const STACK: usize = 24 << 10;
    for (_, blob) in BLOBS {
        // The thread's own start takes some of it, and the system may round it up.
        std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || drop(Board::discover(blob)))
            .unwrap()
            .join()
            .unwrap();
    }
}
