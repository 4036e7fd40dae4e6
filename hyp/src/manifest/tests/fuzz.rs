//! Mutated manifests: an answer, never a panic, and what is accepted holds together.

use proptest::prelude::*;

use super::sample::{archive, blob, shared};
use crate::guest_tree::{self, TreeFacts};
use crate::manifest::{BoardFacts, Manifest, Placement, Span};
use crate::scheduler::CoreSchedule;
use tessera_platform::timer::Clock;

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
        let facts = TreeFacts { cpu_compatible: &[], gic_version: 3, seed: None, board: None };
        let _ = guest_tree::build(vm, &facts);
        assert!((1..=64).contains(&vm.vcpus()));
        let memory = |span: Span| vm.memory.iter().any(|m| Span { start: m.ipa, bytes: m.bytes }.contains(&span));
        for segment in &vm.segments {
            assert!(memory(Span { start: segment.ipa, bytes: segment.bytes }));
        }
    }
    if let Ok(placements) = manifest.validate(&generous()) {
        assert_eq!(placements.len(), manifest.vms.len());
        schedules_hold_together(&manifest, &placements);
    }
}

/// What the scheduler takes for granted.
fn schedules_hold_together(manifest: &Manifest, placements: &[Placement]) {
    for clock in [Clock::new(1).expect("slow"), Clock::new(62_500_000).expect("usual")] {
        for core in placements.iter().flat_map(|placement| &placement.cores) {
            let vms = manifest.vms.iter().zip(placements).enumerate();
            let own = vms.filter(|(_, (_, placement))| placement.cores.contains(core));
            let own = own.map(|(index, (vm, _))| (index, &vm.scheduling));
            let frame = manifest.frames.iter().find(|frame| frame.core == *core);
            let schedule = CoreSchedule::new(own, frame, clock);
            for claims in schedule.vcpus {
                assert!(claims.slice > 0);
                assert!(claims.budget.is_none_or(|budget| 0 < budget.ticks && budget.ticks <= budget.period));
            }
            let Some(frame) = schedule.frame else { continue };
            let ends = frame.windows.iter().map(|window| (window.start, window.end));
            let ends = ends.flat_map(<[u64; 2]>::from).chain([frame.length]);
            assert!(ends.is_sorted());
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let blob = blob(&shared());
    for length in 0..blob.len() {
        assert!(Manifest::parse(&blob[..length], &archive()).is_err(), "{length} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn mutated_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut blob = blob(&shared());
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
        let mut blob = blob(&shared());
        for (at, value) in changes {
            let at = at.index(blob.len() / 4) * 4;
            blob[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        try_all(&blob);
    }
}
