//! Random seeds for the guests, from the one the board's firmware gave.
//!
//! A guest without a seed has hardly any entropy for minutes, and until then every process it starts waits for one lock
//! (Linux: `crng_make_state`). What is handed out says nothing about the board's seed nor about other guests' seeds.

use sha2::{Digest, Sha256};

/// What one start of a guest is given (Linux bindings: `rng-seed` and `kaslr-seed` of `/chosen`).
#[derive(Clone)]
pub struct Seed {
    /// For the random number generator.
    pub rng: [u8; 32],
    /// For the address that the kernel chooses for itself.
    pub kaslr: u64,
}

/// 192 bits: a hash leaves a word besides.
type Key = [u64; 3];

/// Where seeds come from.
pub struct SeedSource {
    key: Key,
}

impl SeedSource {
    /// From what the firmware gave, and the `count` of the counter, in case the firmware always gives the same.
    /// `None` if it gave nothing: a guest believes in what it is given.
    pub fn new(given: &[u8], count: u64) -> Option<Self> {
        if given.is_empty() {
            return None;
        }
        let (key, _) = split(Sha256::new().chain_update(given).chain_update(count.to_le_bytes()));
        Some(Self { key })
    }

    /// A seed like no other. The source is changed so that it cannot be computed again.
    pub fn draw(&mut self) -> Seed {
        let derive = |purpose| Sha256::new().chain_update(bytemuck::bytes_of(&self.key)).chain_update([purpose]);
        let (rng, (key, kaslr)) = (derive(1).finalize().into(), split(derive(0)));
        self.key = key;
        Seed { rng, kaslr }
    }
}

/// A hash in two parts, neither of which says anything about the other.
fn split(hash: Sha256) -> (Key, u64) {
    let hash: [u8; 32] = hash.finalize().into();
    let [a, b, c, word]: [u64; 4] = bytemuck::cast(hash);
    ([a, b, c], word)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nothing_given_is_no_seed() {
        assert!(SeedSource::new(&[], 5).is_none());
    }

    #[test]
    fn seeds_differ_and_depend_on_all_that_was_given() {
        let sources = [(&[1, 2][..], 0), (&[1, 3], 0), (&[1, 2], 1), (&[1, 2, 0], 0)];
        let (mut seen, mut keys) = (HashSet::new(), HashSet::new());
        for (given, count) in sources {
            let mut source = SeedSource::new(given, count).expect("a seed was given");
            for _ in 0..3 {
                let seed = source.draw();
                assert!(seen.insert(seed.rng) && keys.insert(source.key), "twice the same");
                assert!(!seed.rng.starts_with(&seed.kaslr.to_le_bytes()), "the two seeds are one");
            }
        }
    }

    #[test]
    fn same_source_same_seeds() {
        let draw = || SeedSource::new(&[7], 9).expect("a seed was given").draw();
        assert_eq!((draw().rng, draw().kaslr), (draw().rng, draw().kaslr));
    }
}
