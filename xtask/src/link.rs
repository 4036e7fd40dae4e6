//! The linker of bare-metal programs, as which cargo calls this program: the toolchain's own, to which it says what of the
//! hypervisor's code only boot executes, so that this lies together and can be given away afterwards.
//!
//! What that is follows from the relocations of the object that is linked, anew each time: see [`graph`].

mod graph;
mod proof;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
pub use proof::check as prove;

/// Names the linker that does the work; that it is set makes this program a linker.
pub const VARIABLE: &str = "TESSERA_LINKER";

/// The line of the hypervisor's linker script in whose place the list goes.
const PLACE: &str = "/* What only boot executes: xtask puts the list of its sections here. */";

/// Links as the arguments say, if this program was started for that.
pub fn requested() -> Option<Result<ExitCode>> {
    env::var_os(VARIABLE).map(|linker| link(&linker.into(), env::args_os().skip(1).collect()))
}

fn link(linker: &PathBuf, mut arguments: Vec<OsString>) -> Result<ExitCode> {
    if let Some(sorted) = sorted_script(&arguments)? {
        arguments.retain(|argument| !argument.to_string_lossy().starts_with("-T"));
        arguments.push(sorted);
    }
    let status = Command::new(linker).args(arguments).env_remove(VARIABLE).status();
    let status = status.with_context(|| format!("cannot start the linker {}", linker.display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The argument that names the script with the list, for a program whose script has a place for it.
fn sorted_script(arguments: &[OsString]) -> Result<Option<OsString>> {
    let texts: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    let Some(script) = texts.iter().find_map(|text| text.strip_prefix("-T")) else { return Ok(None) };
    let text = fs::read_to_string(script).with_context(|| format!("cannot read {script}"))?;
    // Unoptimized code comes in many objects, and nobody counts its bytes.
    let objects: Vec<&&str> = texts.iter().filter(|text| text.ends_with(".o")).collect();
    let ([object], true) = (objects.as_slice(), text.contains(PLACE)) else { return Ok(None) };
    let bytes = fs::read(object).with_context(|| format!("cannot read {object}"))?;
    let sections = graph::only_boot(&bytes).with_context(|| format!("cannot sort {object}"))?;
    ensure!(!sections.is_empty(), "no code is only boot's: has the hypervisor's function that leaves boot changed?");
    let list: Vec<String> = sections.iter().map(|section| format!("*({section})")).collect();
    let output = texts.iter().skip_while(|text| **text != "-o").nth(1).context("the linker has no output")?;
    let sorted = Path::new(output).with_extension("ld");
    fs::write(&sorted, text.replace(PLACE, &list.join("\n        ")))?;
    let mut argument = OsString::from("-T");
    argument.push(sorted);
    Ok(Some(argument))
}
