//! Counted instructions: QEMU with the plugin of `xtask/counter`, and what it has written down at which mark.
//!
//! The guest's own counter is no measure of work: it goes on while all cores sleep.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use super::machine;
use crate::build;

/// Marks that programs execute (guests/bench/src/linux): the first process is there, a load begins, it ends.
pub const INIT: Mark = Mark::hint(112);
/// A load begins.
pub const BEGIN: Mark = Mark::hint(113);
/// A load ends.
pub const END: Mark = Mark::hint(114);

/// An instruction to be told of, by its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u32);

impl Mark {
    /// `hint #NUMBER` (Arm ARM C6.2, HINT).
    const fn hint(number: u32) -> Self {
        Self(0xd503_201f | number << 5)
    }

    /// The first instruction of an image.
    pub fn first_of(image: &Path) -> Result<Self> {
        let bytes = fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
        let word = bytes.first_chunk().with_context(|| format!("{} is empty", image.display()))?;
        Ok(Self(u32::from_le_bytes(*word)))
    }
}

/// Executed instructions of all cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    /// All, of all exception levels.
    pub all: u64,
    /// Tessera's own.
    pub el2: u64,
}

/// A mark that was reached, and what had been executed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Which.
    pub mark: Mark,
    /// Since the machine was switched on.
    pub executed: Executed,
}

/// Counts one run.
pub struct Counter {
    plugin: PathBuf,
    marks: Vec<Mark>,
    out: NamedTempFile,
}

impl Counter {
    /// A counter that tells of these marks. `cargo xtask bench` has built the plugin.
    pub fn new(marks: &[Mark]) -> Result<Self> {
        let out = NamedTempFile::new().context("no temporary file")?;
        Ok(Self { plugin: build::counter_path(), marks: marks.to_vec(), out })
    }

    /// QEMU's arguments; a comma in a value is written twice.
    pub fn arguments(&self) -> Vec<String> {
        let escaped = |path: &Path| path.display().to_string().replace(',', ",,");
        let (start, end) = (machine::LOADED, machine::LOADED + machine::LARGEST_IMAGE);
        let (file, out) = (escaped(&self.plugin), escaped(self.out.path()));
        let mut plugin = format!("{file},out={out},within={start:x}-{end:x}");
        for mark in &self.marks {
            plugin.push_str(&format!(",mark={:08x}", mark.0));
        }
        vec!["-plugin".to_owned(), plugin]
    }

    /// What was reached, in its order, once the machine has ended.
    pub fn reached(&self) -> Result<Vec<Reached>> {
        let text = fs::read_to_string(self.out.path())?;
        text.lines().map(|line| parse(line).with_context(|| format!("the counter wrote `{line}`"))).collect()
    }
}

/// `d5032e1f 1200 34`: the mark, what all cores have executed, and what of that lay within Tessera's image.
///
/// A guest that has its MMU off may execute there too; Linux does so for a thousand instructions.
fn parse(line: &str) -> Option<Reached> {
    let mut words = line.split(' ');
    let mark = Mark(u32::from_str_radix(words.next()?, 16).ok()?);
    let executed = Executed { all: words.next()?.parse().ok()?, el2: words.next()?.parse().ok()? };
    words.next().is_none().then_some(Reached { mark, executed })
}

/// What was executed from one to another.
pub fn difference(from: &Reached, to: &Reached) -> Option<Executed> {
    let (from, to) = (from.executed, to.executed);
    Some(Executed { all: to.all.checked_sub(from.all)?, el2: to.el2.checked_sub(from.el2)? })
}

/// What was executed from the last `from` before the first `to` up to that.
pub fn between(reached: &[Reached], from: Mark, to: Mark) -> Option<Executed> {
    let end = reached.iter().position(|reached| reached.mark == to)?;
    let begin = reached.get(..end)?.iter().rev().find(|reached| reached.mark == from)?;
    difference(begin, reached.get(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_two_marks_is_counted_on_all_cores() {
        let lines = ["d5032e1f 5 0", "fa405a4d 10 0", "fa405a4d 120 20", "d5032e1f 4000 30", "d5032e1f 9000 9000"];
        let reached: Vec<_> = lines.iter().map(|line| parse(line).expect(line)).collect();
        let kernel = Mark(0xfa40_5a4d);
        assert_eq!(between(&reached[1..], kernel, INIT), Some(Executed { all: 3_880, el2: 10 }));
        assert_eq!(between(&reached, kernel, INIT), None, "it ended before it began");
        assert_eq!(between(&reached, kernel, END), None);
    }

    #[test]
    fn other_lines_are_refused() {
        for line in ["", "d5032e1f", "d5032e1f 1", "d5032e1f 1 x", "xyz 1 1", "d5032e1f 1 1 1"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_hint_is_encoded_as_the_architecture_says() {
        assert_eq!([INIT, BEGIN, END].map(|mark| mark.0), [0xd503_2e1f, 0xd503_2e3f, 0xd503_2e5f]);
    }
}
