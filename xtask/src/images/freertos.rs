//! The FreeRTOS guest's programs, compiled by the cross compiler as guests/freertos/recipe.toml says.
//! Which sources and flags belongs to the recipe; here is only carrying it out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::paths;
use crate::process;
use crate::progress::Step;
use crate::setup;

/// What stands for the folder of the FreeRTOS kernel in the recipe.
const KERNEL_VARIABLE: &str = "${FREERTOS}";

/// recipe.toml; its `[kernel]` is for people.
#[derive(Debug, Deserialize)]
struct Recipe {
    build: Build,
    output: Vec<Output>,
}

/// What all outputs have in common.
#[derive(Debug, Deserialize)]
struct Build {
    compiler: String,
    flags: Vec<String>,
    includes: Vec<String>,
    sources: Vec<String>,
    link: Vec<String>,
}

/// One program.
#[derive(Debug, Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    includes: Vec<String>,
    #[serde(default)]
    sources: Vec<String>,
}

/// Where the finished program (an ELF) for a GIC of this version lies.
pub fn path(gic: u32) -> PathBuf {
    directory().join(format!("freertos-gicv{gic}.elf"))
}

fn directory() -> PathBuf {
    paths::target().join("freertos")
}

/// Compiles each program whose sources or recipe are newer than it.
pub fn build() -> Result<()> {
    let folder = paths::guests().join("freertos");
    let file = folder.join("recipe.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let recipe: Recipe = toml::from_str(&text).with_context(|| file.display().to_string())?;
    fs::create_dir_all(directory())?;
    let newest = newest(&folder)?;
    for output in &recipe.output {
        let program = directory().join(&output.name);
        let built = fs::metadata(&program).and_then(|data| data.modified()).ok();
        if built.is_some_and(|built| built > newest) {
            continue;
        }
        let step = Step::start(format!("Building {}", output.name));
        let mut compile = Command::new(&recipe.build.compiler);
        compile.args(arguments(&recipe.build, output, &program)).current_dir(&folder);
        process::run(&step, &mut compile)?;
        step.done();
    }
    Ok(())
}

/// The compiler's arguments, in the recipe's order.
fn arguments(build: &Build, output: &Output, program: &Path) -> Vec<String> {
    let kernel = setup::freertos::kernel().display().to_string();
    let includes = build.includes.iter().chain(&output.includes);
    let includes = includes.flat_map(|folder| ["-I".to_owned(), folder.clone()]);
    let into = ["-o".to_owned(), program.display().to_string()];
    let sources = build.sources.iter().chain(&output.sources).cloned();
    let all = build.flags.iter().cloned().chain(includes).chain(into).chain(sources);
    all.chain(build.link.iter().cloned()).map(|argument| argument.replace(KERNEL_VARIABLE, &kernel)).collect()
}

/// When the latest file in a folder was changed.
fn newest(folder: &Path) -> Result<std::time::SystemTime> {
    let mut newest = std::time::SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let changed = match path.is_dir() {
            true => self::newest(&path)?,
            false => fs::metadata(&path)?.modified()?,
        };
        newest = newest.max(changed);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_in_the_recipes_order_with_the_kernels_folder() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let build = Build {
            compiler: "cc".into(),
            flags: words(&["-O2"]),
            includes: words(&["."]),
            sources: words(&["a.c", "${FREERTOS}/tasks.c"]),
            link: words(&["-static"]),
        };
        let output = Output { name: "x.elf".into(), includes: words(&["gic"]), sources: words(&["b.c"]) };
        let tasks = setup::freertos::kernel().join("tasks.c").display().to_string();
        assert_eq!(
            arguments(&build, &output, Path::new("/x.elf")),
            ["-O2", "-I", ".", "-I", "gic", "-o", "/x.elf", "a.c", &tasks, "b.c", "-static"]
        );
    }

    #[test]
    fn the_repositorys_recipe_makes_a_program_for_each_gic() {
        let text = fs::read_to_string(paths::guests().join("freertos/recipe.toml")).expect("there");
        let recipe: Recipe = toml::from_str(&text).expect("valid");
        for gic in [2, 3] {
            let name = path(gic).file_name().expect("a file").to_owned();
            assert!(recipe.output.iter().any(|output| *output.name == *name));
        }
    }
}
