//! Running the guests' cases: two at a time, each in a QEMU of its own, its console kept in target/test-logs.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dtoolkit::fdt::Fdt;
use dtoolkit::model::DeviceTree;

use super::Tally;
use super::cases::{Archive, Case, End, System};
use crate::build::Hypervisor;
use crate::card::{self, CardOptions, Uart};
use crate::console::{Script, Step};
use crate::paths;
use crate::qemu::{self, Machine};
use crate::run::ending::Ending;
use crate::run::engine::{Plan, Session, Verdict};
use crate::run::prepare::{self, Request};
use crate::run::recorder::Recorder;
use crate::run::{Symbolizer, failure};
use crate::system::{self, Disk, broken};

/// How many cases run at the same time.
const WORKERS: usize = 2;

/// Runs the cases and prints a line for each, and the console's tail for those that fail.
pub fn test(cases: Vec<Case>, hypervisor: &Hypervisor) -> Tally {
    let queue = Mutex::new(VecDeque::from(cases));
    let tally = Mutex::new(Tally::default());
    // Cases that measure time take the machine for themselves.
    let machine = RwLock::new(());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = next(&queue) {
                    let passed = run_with_the_machine(&case, hypervisor, &machine);
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.count(&format!("guest: {}", case.name), passed);
                }
            });
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn next(queue: &Mutex<VecDeque<Case>>) -> Option<Case> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

fn run_with_the_machine(case: &Case, hypervisor: &Hypervisor, machine: &RwLock<()>) -> bool {
    if case.alone {
        let _whole = machine.write().unwrap_or_else(PoisonError::into_inner);
        run_and_show(case, hypervisor)
    } else {
        let _share = machine.read().unwrap_or_else(PoisonError::into_inner);
        run_and_show(case, hypervisor)
    }
}

fn run_and_show(case: &Case, hypervisor: &Hypervisor) -> bool {
    let started = Instant::now();
    let problem = match run(case, hypervisor) {
        Ok(problem) => problem,
        Err(error) => Some(format!("{error:#}")),
    };
    let seconds = started.elapsed().as_secs_f32();
    match &problem {
        None => println!("guest: {} ... ok ({seconds:.1} s)", case.name),
        Some(problem) => println!("guest: {} ... FAILED ({seconds:.1} s)\n{problem}", case.name),
    }
    problem.is_none()
}

/// Runs one case; Some(why) if it failed.
fn run(case: &Case, hypervisor: &Hypervisor) -> Result<Option<String>> {
    let (mut machine, guests) = machine(case, hypervisor)?;
    // A reset is not to look like the end.
    machine.starts_anew = true;
    machine.extra.extend(case.qemu.iter().map(|argument| (*argument).to_owned()));
    let steps = case.steps.iter().map(|step| parse_step(step)).collect::<Result<Vec<_>>>()?;
    let plan = Plan {
        script: Script::new(steps, &guests)?,
        stop_after_script: case.end == End::Script,
        limit: case.patience.is_none().then_some(Duration::from_secs(case.seconds)),
        patience: case.patience.map(Duration::from_secs),
    };
    let logs = paths::target().join("test-logs");
    fs::create_dir_all(&logs)?;
    let log = logs.join(format!("{}.log", case.file_name()));
    let symbolizer = Symbolizer::new(&hypervisor.elf).ok();
    let mut recorder = Recorder::new(symbolizer, false, Some(&log))?;
    let mut session = Session::start(&mut machine.command(), &guests, Some(&machine.token))?;
    let verdict = session.run(plan, &mut |bytes| recorder.take(bytes));
    session.stop();
    recorder.note(session.errors().as_bytes());
    let problem = judge(&verdict?, case.end).or_else(|| {
        let console = fs::read(&log).map_err(|error| error.to_string());
        console.and_then(|console| (case.verify)(&String::from_utf8_lossy(&console))).err()
    });
    Ok(problem.map(|problem| format!("{}\n  {problem}; all of it in {}", recorder.tail(), log.display())))
}

/// The machine with the case's system, spoilt as the case wants.
fn machine(case: &Case, hypervisor: &Hypervisor) -> Result<(Machine, Vec<String>)> {
    let name = format!("test-{}", case.file_name());
    let request = Request {
        system: system_file(case, &name)?,
        name: name.clone(),
        cpus: case.cpus,
        memory: case.memory_mib.map(|mib| mib << 20),
        board: case.board,
        gic: Some(case.gic),
        disks: Vec::new(),
        arguments: case.arguments,
    };
    let broken = match case.archive {
        Archive::Broken(name) => broken::CASES.into_iter().find(|broken| broken.name == name),
        Archive::AsItIs | Archive::Missing => None,
    };
    let mut prepared = prepare::prepare_with(&request, hypervisor, |path, images| match broken {
        Some(broken) => broken.compile(path, images),
        None => system::compile(path, images),
    })?;
    if case.archive == Archive::Missing {
        prepared.machine.initrd = None;
    }
    if let Some(uart) = case.from_card {
        start_from_card(&mut prepared.machine, &name, uart, hypervisor)?;
    }
    if let Some(change) = case.tree {
        change_tree(&mut prepared.machine, &name, case.gic, change)?;
    }
    Ok((prepared.machine, prepared.guests))
}

/// Puts all into a card's image, and takes from there what its `config.txt` names.
fn start_from_card(machine: &mut Machine, name: &str, uart: Uart, hypervisor: &Hypervisor) -> Result<()> {
    let archive = fs::read(machine.initrd.as_ref().context("there is no archive")?)?;
    let folder = paths::target().join("systems").join(format!("{name}.card"));
    let image = folder.with_extension("img");
    let options = CardOptions {
        system: name.to_owned(),
        out: image.clone(),
        memory: machine.memory,
        uart,
        tfa: false,
        firmware: None,
        disk: machine.disks.first().map(|disk| disk.path.clone()),
    };
    card::write(&image, &card::own_files(&options, hypervisor, archive)?, options.disk.as_deref())?;
    let config = String::from_utf8(card::disk::read(&image, "config.txt")?)?;
    let extract = |key: &str| {
        let value = config.lines().find_map(|line| line.strip_prefix(key));
        let file = value.and_then(|value| value.split(' ').next()).with_context(|| format!("no {key} in {config}"))?;
        let contents = card::disk::read(&image, file)?;
        card::write(&folder, &[card::CardFile { name: file.to_owned(), contents }], None)?;
        anyhow::Ok(folder.join(file))
    };
    machine.kernel = extract("kernel=")?;
    machine.tree = Some(extract("device_tree=")?);
    machine.initrd = Some(extract("initramfs ")?);
    machine.uart = uart;
    machine.disks = vec![Disk { path: image, keeps_changes: false }];
    Ok(())
}

fn change_tree(machine: &mut Machine, name: &str, gic: u32, change: fn(&mut DeviceTree)) -> Result<()> {
    let blob = match &machine.tree {
        Some(path) => fs::read(path)?,
        None => qemu::virt_tree(gic)?,
    };
    // Names of its nodes are longer than the checking constructor allows.
    let mut tree = DeviceTree::from_fdt(&Fdt::new_unchecked(&blob));
    change(&mut tree);
    let path = paths::target().join("systems").join(format!("{name}.changed.dtb"));
    fs::write(&path, tree.to_dtb())?;
    machine.tree = Some(path);
    Ok(())
}

fn system_file(case: &Case, name: &str) -> Result<PathBuf> {
    match &case.system {
        System::Named(system) => prepare::find_system(system),
        System::Inline(text) => write_system(text, name),
        System::Made(make) => write_system(&make()?, name),
    }
}

fn write_system(text: &str, name: &str) -> Result<PathBuf> {
    let folder = paths::target().join("systems");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, text)?;
    Ok(path)
}

/// `expect VM:REGEX` or `send VM:TEXT`, as on the command line of `run`.
fn parse_step(step: &str) -> Result<Step> {
    let (kind, argument) = step.split_once(' ').context("a step needs a kind")?;
    match kind {
        "expect" => Ok(Step::expect(argument)?),
        "send" => Ok(Step::send(argument)?),
        _ => anyhow::bail!("a step is `expect` or `send`, not `{kind}`"),
    }
}

/// Why the end is not the one the case wants; None if it is.
fn judge(verdict: &Verdict, wanted: End) -> Option<String> {
    match (verdict, wanted) {
        (Verdict::ScriptDone, End::Script) => None,
        (Verdict::Ended(Ending::Said(code)), End::Exit(wanted)) if *code == wanted => None,
        (Verdict::Ended(Ending::Said(code)), End::Exit(wanted)) => Some(format!("the verdict is {code}, not {wanted}")),
        (Verdict::Ended(Ending::Unheard), End::Unheard) => None,
        (Verdict::TimedOut(None), End::Exit(_) | End::Unheard) => Some("the machine does not end".to_owned()),
        (verdict, _) => failure(verdict).or_else(|| Some(format!("{verdict:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wanted_end_is_good() {
        assert_eq!(judge(&Verdict::ScriptDone, End::Script), None);
        assert_eq!(judge(&Verdict::Ended(Ending::Said(1)), End::Exit(1)), None);
        assert_eq!(judge(&Verdict::Ended(Ending::Unheard), End::Unheard), None);
        for (verdict, wanted) in [
            (Verdict::Ended(Ending::Said(0)), End::Exit(1)),
            (Verdict::Ended(Ending::Silent(Some(0))), End::Exit(0)),
            (Verdict::Ended(Ending::Unheard), End::Exit(0)),
            (Verdict::Ended(Ending::Silent(Some(0))), End::Unheard),
            (Verdict::Ended(Ending::Silent(None)), End::Exit(0)),
            (Verdict::Ended(Ending::Silent(None)), End::Unheard),
            (Verdict::Ended(Ending::Said(0)), End::Unheard),
            (Verdict::Ended(Ending::Said(0)), End::Script),
            (Verdict::ScriptDone, End::Exit(0)),
            (Verdict::EndedEarly(Ending::Said(0), "step".into()), End::Exit(0)),
            (Verdict::TimedOut(None), End::Exit(0)),
            (Verdict::TimedOut(Some("step".into())), End::Script),
        ] {
            assert!(judge(&verdict, wanted).is_some(), "{verdict:?} {wanted:?}");
        }
    }
}
