//! Mutated manifests: an answer, never a panic, and what is accepted holds together.

use proptest::prelude::*;

use super::sample::{archive, blob, good};
use crate::guest_tree::{self, TreeFacts};
use crate::manifest::{BoardFacts, Manifest, Span};

const RAM: [Span; 1] = [Span { start: 0, bytes: u64::MAX }];

/// A board that has room for nearly everything, so that mutants get far.
fn generous() -> BoardFacts<'static> {
    BoardFacts {
        cores: 1000,
        available_memory: u64::MAX,
        ram: &RAM,
        reserved: &[],
        gic_version: 3,
        spis: 988,
        reserved_spis: &[],
        ipa_bits: 48,
    }
}

/// Takes a blob as far as it goes.
fn try_all(blob: &[u8]) {
    let Ok(manifest) = Manifest::parse(blob, &archive()) else {
        return;
    };
    for vm in &manifest.vms {
        let facts = TreeFacts { cpu_compatible: &[], gic_version: 3, seed: None };
        let _ = guest_tree::build(vm, &facts);
        assert!((1..=64).contains(&vm.vcpus()));
        let memory = |span: Span| vm.memory.iter().any(|m| Span { start: m.ipa, bytes: m.bytes }.contains(&span));
        for segment in &vm.segments {
            assert!(memory(Span { start: segment.ipa, bytes: segment.bytes }));
        }
    }
    if let Ok(placements) = manifest.validate(&generous()) {
        assert_eq!(placements.len(), manifest.vms.len());
    }
}

#[test]
fn every_truncation_is_refused() {
    let blob = blob(&good());
    for length in 0..blob.len() {
        assert!(Manifest::parse(&blob[..length], &archive()).is_err(), "{length} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn mutated_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut blob = blob(&good());
        for (at, value) in changes {
            let at = at.index(blob.len());
            blob[at] = value;
        }
        try_all(&blob);
    }

    /// Whole cells: lengths, offsets, addresses and numbers at their extremes.
    #[test]
    fn mutated_cells_never_panic(changes in prop::collection::vec(
        (any::<prop::sample::Index>(), prop_oneof![Just(0u32), Just(1), Just(0x7fff_ffff), Just(u32::MAX), Just(0xffff_f000), any::<u32>()]),
        1..6,
    )) {
        let mut blob = blob(&good());
        for (at, value) in changes {
            let at = at.index(blob.len() / 4) * 4;
            blob[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        try_all(&blob);
    }
}
