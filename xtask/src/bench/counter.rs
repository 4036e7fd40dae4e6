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
    next: Option<Mark>,
    roles: Option<NamedTempFile>,
    stretches: bool,
    each: Option<usize>,
    out: NamedTempFile,
}

impl Counter {
    /// A counter that tells of these marks. `cargo xtask bench` has built the plugin.
    pub fn new(marks: &[Mark]) -> Result<Self> {
        let out = NamedTempFile::new().context("no temporary file")?;
        let plugin = build::counter_path();
        Ok(Self { plugin, marks: marks.to_vec(), next: None, roles: None, stretches: false, each: None, out })
    }

    /// Tells of this mark too, where it follows another one: it may be executed as often as may be.
    pub fn and_next(self, mark: Mark) -> Self {
        Self { next: Some(mark), ..self }
    }

    /// Knows what is special about instructions of Tessera's: lines of [`super::roles`].
    pub fn with_roles(self, roles: &str) -> Result<Self> {
        let file = NamedTempFile::new().context("no temporary file")?;
        fs::write(file.path(), roles)?;
        Ok(Self { roles: Some(file), ..self })
    }

    /// Tells how long Tessera goes on, and holds locks.
    pub fn with_stretches(self) -> Self {
        Self { stretches: true, ..self }
    }

    /// Tells of all stretches of one core, too.
    pub fn with_each_stretch_of(self, core: usize) -> Self {
        Self { stretches: true, each: Some(core), ..self }
    }

    /// QEMU's arguments; a comma in a value is written twice.
    pub fn arguments(&self) -> Vec<String> {
        let escaped = |path: &Path| path.display().to_string().replace(',', ",,");
        let (start, end) = (machine::LOADED, machine::LOADED + machine::LARGEST_IMAGE);
        let (file, out) = (escaped(&self.plugin), escaped(self.out.path()));
        let mut plugin = format!("{file},out={out},image={start:x}-{end:x}");
        for mark in &self.marks {
            plugin.push_str(&format!(",mark={:08x}", mark.0));
        }
        if let Some(mark) = self.next {
            plugin.push_str(&format!(",next={:08x}", mark.0));
        }
        if let Some(roles) = &self.roles {
            plugin.push_str(&format!(",roles={}", escaped(roles.path())));
        }
        if self.stretches {
            plugin.push_str(",stretches=on");
        }
        if let Some(core) = self.each {
            plugin.push_str(&format!(",each={core}"));
        }
        vec!["-plugin".to_owned(), plugin]
    }

    /// What was reached, in its order, once the machine has ended.
    pub fn reached(&self) -> Result<Vec<Reached>> {
        self.lines(parse)
    }

    /// The longest of each kind, once the machine has ended.
    pub fn longest(&self) -> Result<Vec<Longest>> {
        self.lines(Longest::parse)
    }

    fn lines<T>(&self, parse: fn(&str) -> Option<T>) -> Result<Vec<T>> {
        let text = fs::read_to_string(self.out.path())?;
        // The last line is not whole if the machine was stopped as it was written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| parse(line).with_context(|| format!("the counter wrote `{line}`"))).collect()
    }
}

/// `d5032e1f 1200 34`: the mark, what all cores have executed, and what of that was Tessera's.
fn parse(line: &str) -> Option<Reached> {
    let mut words = line.split(' ');
    let mark = Mark(u32::from_str_radix(words.next()?, 16).ok()?);
    let executed = Executed { all: words.next()?.parse().ok()?, el2: words.next()?.parse().ok()? };
    words.next().is_none().then_some(Reached { mark, executed })
}

/// What the counter tells the length of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Tessera without taking an interrupt.
    Stretch,
    /// Each stretch of one core, the longest or not.
    Each,
    /// A lock held.
    Hold,
    /// A lock waited for.
    Wait,
}

/// The longest so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Longest {
    /// Of what.
    pub of: Length,
    /// In instructions.
    pub instructions: u64,
    /// Where most of them were executed: addresses in the image, and how many.
    pub places: Vec<(u64, u64)>,
}

impl Longest {
    /// `stretch 1f40 40:20 1a2b4:1000`, in hexadecimal.
    fn parse(line: &str) -> Option<Self> {
        let number = |word: &str| u64::from_str_radix(word, 16).ok();
        let mut words = line.split(' ');
        let of = match words.next()? {
            "stretch" => Length::Stretch,
            "each" => Length::Each,
            "hold" => Length::Hold,
            "wait" => Length::Wait,
            _ => return None,
        };
        let instructions = number(words.next()?)?;
        let place = |word: &str| {
            let (address, count) = word.split_once(':')?;
            Some((number(address)?, number(count)?))
        };
        Some(Self { of, instructions, places: words.map(place).collect::<Option<_>>()? })
    }
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
/// What was executed from each `from` to the `to` that follows it.
pub fn each(reached: &[Reached], from: Mark, to: Mark) -> Vec<Executed> {
    let pairs = reached.iter().zip(reached.iter().skip(1));
    pairs.filter(|(begin, end)| begin.mark == from && end.mark == to).filter_map(|(b, e)| difference(b, e)).collect()
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
    fn each_pair_of_marks_is_counted() {
        let lines = ["d5032e3f 10 1", "d5032e5f 30 15", "d5032e3f 50 20", "d5032e3f 60 20", "d5032e5f 90 41"];
        let reached: Vec<_> = lines.iter().map(|line| parse(line).expect(line)).collect();
        assert_eq!(each(&reached, BEGIN, END).iter().map(|executed| executed.el2).collect::<Vec<_>>(), [14, 21]);
    }

    #[test]
    fn the_longest_of_each_kind_is_read() {
        let longest = Longest::parse("stretch 1f40 40:20 1a2b4:1000");
        let places = vec![(0x40, 0x20), (0x1a2b4, 0x1000)];
        assert_eq!(longest, Some(Longest { of: Length::Stretch, instructions: 8000, places }));
        assert_eq!(Longest::parse("hold 10").map(|longest| longest.of), Some(Length::Hold));
        for line in ["", "stretch", "stretch x", "stretch 1 2", "d5032e1f 1 1"] {
            assert_eq!(Longest::parse(line), None, "{line}");
        }
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
