//! Damaged trees: an assignment or an error, never a panic, and what is given holds together.

use super::common::blob;
use tessera_platform::assignment::{Assignment, between, everything_except};
use tessera_platform::tree::Tree;

/// A linear congruential generator: Knuth's MMIX constants.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Asks for each node, and for everything. How many could be given.
fn digest(tree: &Tree) -> usize {
    let mut count = 0;
    for node in tree.nodes() {
        let Ok(given) = Assignment::new(tree, &[node], &[]) else { continue };
        count += 1;
        assert!(given.gives(node));
        assert!(given.given().iter().all(|one| given.cause(one.node) == node && given.explain(one.node).len() < 16384));
        assert!(given.regions().iter().all(|region| !region.span.is_empty() && region.pages().covers(region.span)));
        assert!(given.interrupts().iter().all(|(_, interrupt)| !interrupt.id.is_private()));
        assert!(between(("a", &given), ("b", &given)).is_some(), "a named node can be given once");
    }
    count
}

fn damage(seed: u64, rounds: usize, mut harm: impl FnMut(&mut Random, &mut Vec<u8>)) {
    let mut random = Random(seed);
    let (mut given, mut trees) = (0, 0);
    for name in ["virt-gicv2-2", "bcm2711-rpi-4-b-qemu"] {
        for round in 0..rounds {
            let mut blob = blob(name).to_vec();
            harm(&mut random, &mut blob);
            let Ok(tree) = Tree::parse(&blob) else { continue };
            trees += 1;
            given += digest(&tree);
            if round % 8 == 0 {
                let all = everything_except(&tree, &[], &[], &[], &[]);
                std::hint::black_box(Assignment::new(&tree, &all, &[]).is_ok());
            }
        }
    }
    assert!(trees > rounds / 2 && given > trees, "{trees} trees, {given} devices: too much damage");
}

#[test]
fn whole_trees_are_asked_for_every_node() {
    for name in ["virt-gicv3-4", "bcm2711-rpi-4-b"] {
        let tree = Tree::parse(blob(name)).unwrap();
        assert!(digest(&tree) > 30, "{name}");
    }
}

#[test]
fn words_become_other_words() {
    damage(11, 120, |random, blob| {
        for _ in 0..=random.below(3) {
            let (place, other) = (random.below(blob.len() / 4 - 16) + 16, random.below(blob.len() / 4));
            let small = (random.below(48) as u32).to_be_bytes();
            match random.below(3) {
                0 => blob[place * 4..place * 4 + 4].copy_from_slice(&small),
                1 => blob[place * 4..place * 4 + 4].copy_from_slice(&u32::MAX.to_be_bytes()),
                _ => blob.copy_within(other * 4..other * 4 + 4, place * 4),
            }
        }
    });
}

#[test]
fn bits_are_flipped() {
    damage(12, 120, |random, blob| {
        for _ in 0..=random.below(3) {
            let place = random.below(blob.len() - 64) + 64;
            blob[place] ^= 1 << random.below(8);
        }
    });
}
