//! The actions, and how often each is chosen.

mod accesses;
mod calls;
mod interrupts;
mod power;
mod registers;
mod returns;
mod tables;

use crate::leap::{self, Context};
use crate::random::Random;

/// One core's state from action to action.
pub struct Actor {
    /// What is random.
    pub random: Random,
    /// What it leaps with.
    pub context: &'static mut Context,
    /// Which core it is.
    pub core: usize,
    /// How many cores there are.
    pub cores: usize,
    /// Runs since the pads were written.
    age: u64,
    /// The next of all encodings of system registers and instructions.
    sweep: u32,
}

impl Actor {
    /// On this core.
    pub fn new(seed: u64, core: usize, cores: usize) -> Self {
        let mut random = Random::new(seed, core);
        // Where the sweep begins, so that cores and starts see different parts first.
        let sweep = random.next() as u32;
        Self { random, context: leap::context(), core, cores, age: 0, sweep }
    }

    /// Does something, or what `only` names, and gives of how many actions it consisted.
    pub fn act(&mut self, only: Option<usize>) -> u64 {
        let chosen = match only {
            Some(index) => KINDS.get(index),
            None => self.choose(),
        };
        chosen.map_or(1, |(_, _, act)| act(self))
    }

    fn choose(&mut self) -> Option<&'static Kind> {
        let mut left = self.random.below(KINDS.iter().map(|(weight, ..)| weight).sum());
        KINDS.iter().find(|(weight, ..)| {
            let found = left < *weight;
            left = left.wrapping_sub(*weight);
            found
        })
    }
}

/// The kind of action of this name.
pub fn index_of(name: &str) -> Option<usize> {
    KINDS.iter().position(|(_, known, _)| *known == name)
}

/// How often it is chosen, its name on the command line (`only=NAME`), and what it does.
type Kind = (u64, &'static str, fn(&mut Actor) -> u64);

const KINDS: [Kind; 11] = [
    (36, "registers", registers::burst),
    (40, "accesses", accesses::burst),
    (16, "calls", calls::call),
    (6, "tables", tables::burst),
    (6, "control", tables::control),
    (6, "storm", interrupts::storm),
    (5, "timers", interrupts::timers),
    (1, "wait", interrupts::wait),
    (9, "returns", returns::some),
    (1, "console", accesses::console),
    (2, "power", power::other_core),
];
