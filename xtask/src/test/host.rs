//! The crates' own tests: cargo runs them, here its output is read and counted.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::Result;

use super::Tally;
use crate::paths;
use crate::process;
use crate::progress;

/// Runs all host tests whose names contain `filter`.
pub fn test(filter: Option<&str>) -> Result<Tally> {
    let (reader, writer) = std::io::pipe()?;
    let mut cargo = process::host_cargo("test");
    cargo.args(["--no-fail-fast", "--", "--color", "never"]).args(filter);
    // One pipe for both: which program runs is on the one, how its tests end is on the other.
    cargo.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    println!("host: building the tests ...");
    let mut child = cargo.spawn()?;
    // The command holds the pipe's other ends: while it lives, the reader would wait for more.
    drop(cargo);
    fs::create_dir_all(paths::target().join("test-logs"))?;
    let mut log = File::create(paths::target().join("test-logs/host.log"))?;
    let mut results = Results::default();
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        writeln!(log, "{line}")?;
        results.take(&line, &mut |text| println!("{text}"));
    }
    let ended_well = child.wait()?.success();
    Ok(results.finish(ended_well, &mut |text| println!("{text}")))
}

/// Names all host tests whose names contain `filter`.
pub fn list(filter: Option<&str>) -> Result<()> {
    let mut cargo: Command = process::host_cargo("test");
    let names = process::output(cargo.args(["--", "--list"]).args(filter))?;
    let names = names.lines().filter_map(|line| line.strip_suffix(": test"));
    names.for_each(|name| println!("host: {name}"));
    Ok(())
}

/// Reads `cargo test`'s output, line by line.
#[derive(Default)]
struct Results {
    tally: Tally,
    program: String,
    failed_here: usize,
    /// What the program wrote since it started, shown if a test of it fails.
    output: Vec<String>,
}

impl Results {
    fn take(&mut self, line: &str, show: &mut dyn FnMut(&str)) {
        if progress::verbose() {
            show(line);
        }
        let trimmed = line.trim_start();
        if let Some(program) = running(trimmed) {
            self.program = program;
            self.failed_here = 0;
            self.output.clear();
        } else if let Some(passed) = passed(trimmed) {
            self.tally.passed = self.tally.passed.saturating_add(passed);
            if passed > 0 || self.failed_here > 0 {
                show(&format!("host: {}: {passed} passed, {} failed", self.program, self.failed_here));
            }
            if self.failed_here > 0 {
                self.output.iter().for_each(|line| show(&format!("    {line}")));
            }
            self.output.clear();
        } else if let Some(name) = failed(trimmed) {
            self.failed_here = self.failed_here.saturating_add(1);
            self.tally.failed.push(format!("host: {}: {name}", self.program));
        } else if !trimmed.ends_with(" ... ok") {
            self.output.push(line.to_owned());
        }
    }

    /// A program that died in the middle, or one that was not built, is a failure too.
    fn finish(mut self, ended_well: bool, show: &mut dyn FnMut(&str)) -> Tally {
        if !ended_well && self.tally.failed.is_empty() {
            self.output.iter().for_each(|line| show(&format!("    {line}")));
            self.tally.failed.push(format!("host: {}: did not build or did not end", self.program));
        }
        self.tally
    }
}

/// The program of `Running unittests src/lib.rs (target/debug/deps/NAME-HASH)` or `Doc-tests NAME`.
fn running(line: &str) -> Option<String> {
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{name} (documentation)"));
    }
    let (_, path) = line.strip_prefix("Running ")?.rsplit_once('(')?;
    let file = path.trim_end_matches(')').rsplit('/').next()?;
    Some(file.rsplit_once('-').map_or(file, |(name, _)| name).to_owned())
}

/// The count of `test result: ok. 12 passed; 0 failed; ...`.
fn passed(line: &str) -> Option<usize> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    counts.split_once(" passed")?.0.parse().ok()
}

/// The name in `test NAME ... FAILED`.
fn failed(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
   Compiling x v0.1.0
    Finished `test` profile
     Running unittests src/lib.rs (target/debug/deps/tessera_memory-0a1b)

running 3 tests
test a::one ... ok
test a::two ... FAILED
test a::three ... ok

---- a::two stdout ----
it broke

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running unittests src/main.rs (/else/deps/xtask-22ff)
test result: ok. 40 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out
   Doc-tests tessera_memory
test result: ok. 0 passed; 0 failed; 0 ignored
";

    fn read(output: &str, ended_well: bool) -> (Tally, String) {
        let (mut results, mut shown) = (Results::default(), String::new());
        let mut show = |text: &str| {
            shown.push_str(text);
            shown.push('\n');
        };
        output.lines().for_each(|line| results.take(line, &mut show));
        (results.finish(ended_well, &mut show), shown)
    }

    #[test]
    fn all_programs_are_counted_and_failures_shown() {
        let (tally, shown) = read(OUTPUT, false);
        assert_eq!(tally.passed, 42);
        assert_eq!(tally.failed, ["host: tessera_memory: a::two"]);
        assert!(shown.contains("host: tessera_memory: 2 passed, 1 failed"));
        assert!(shown.contains("it broke"));
        assert!(shown.contains("host: xtask: 40 passed, 0 failed"));
    }

    #[test]
    fn what_does_not_build_or_dies_is_a_failure() {
        let (tally, shown) = read("error[E0308]: mismatched types\n", false);
        assert_eq!((tally.passed, tally.failed.len()), (0, 1));
        assert!(shown.contains("E0308"));
    }
}
