//! Running other programs: found on the path, shown as the detail of a step, bounded in time.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::progress::{self, Step};

/// How many of a failed command's last lines its error repeats.
const TAIL_LINES: usize = 30;

/// The program's full path, if it can be found where shells look.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian keeps administrators' programs off a user's path.
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories.map(|directory| directory.join(program)).find(|candidate| candidate.is_file())
}

/// `cargo SUBCOMMAND` of the toolchain that this program was started with, in the workspace.
pub fn host_cargo(subcommand: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(subcommand).current_dir(crate::paths::workspace());
    command
}

/// The command as one would type it.
pub fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quote(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Runs a command as part of a step; its output is kept for the error message, or shown under `--verbose`.
pub fn run(step: &Step, command: &mut Command) -> Result<()> {
    run_within(step, command, Duration::MAX)
}

/// As [`run`], but stops the command (and fails) after `limit`.
pub fn run_within(step: &Step, command: &mut Command, limit: Duration) -> Result<()> {
    let text = describe(command);
    if progress::verbose() {
        eprintln!("  $ {text}");
        let mut child = command.spawn().with_context(|| format!("cannot start: {text}"))?;
        return judge(&text, wait_within(&mut child, limit)?, &[]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start: {text}"))?;
    let tail = Arc::new(Mutex::new(VecDeque::new()));
    let readers = [
        child.stdout.take().map(|pipe| keep_tail(pipe, step, &tail)),
        child.stderr.take().map(|pipe| keep_tail(pipe, step, &tail)),
    ];
    let ended_well = wait_within(&mut child, limit)?;
    if ended_well.is_some() {
        readers.into_iter().flatten().for_each(|reader| drop(reader.join()));
    }
    let tail = tail.lock().map(|lines| Vec::from_iter(lines.iter().cloned())).unwrap_or_default();
    judge(&text, ended_well, &tail)
}

fn keep_tail(pipe: impl Read + Send + 'static, step: &Step, tail: &Arc<Mutex<VecDeque<String>>>) -> JoinHandle<()> {
    let (tail, shown) = (Arc::clone(tail), step.shown());
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            shown(&line);
            if let Ok(mut lines) = tail.lock() {
                lines.push_back(line);
                let excess = lines.len().saturating_sub(TAIL_LINES);
                lines.drain(..excess);
            }
        }
    })
}

/// Some(ended well) once the child has ended; None, and the child killed, after `limit`.
fn wait_within(child: &mut Child, limit: Duration) -> Result<Option<bool>> {
    if limit == Duration::MAX {
        return Ok(Some(child.wait()?.success()));
    }
    let started = Instant::now();
    while started.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn judge(text: &str, ended_well: Option<bool>, tail: &[String]) -> Result<()> {
    match ended_well {
        Some(true) => Ok(()),
        Some(false) => bail!("failed: {text}\n{}", tail.join("\n")),
        None => bail!("took too long: {text}\n{}", tail.join("\n")),
    }
}

/// What a command prints on its standard output; an error if it cannot be run or fails.
pub fn output(command: &mut Command) -> Result<String> {
    let text = describe(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start: {text}"))?;
    if !output.status.success() {
        bail!("failed: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The commands' programs that were looked for and are not there.
pub fn missing<'a>(programs: &[&'a str]) -> Vec<&'a str> {
    programs.iter().copied().filter(|program| find(program).is_none()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_gives_its_last_lines() {
        let step = Step::start("test");
        let error = run(&step, Command::new("sh").args(["-c", "echo first; echo why >&2; exit 3"]))
            .expect_err("must fail")
            .to_string();
        assert!(error.contains("why") && error.contains("sh -c 'echo first"), "{error}");
        step.done();
    }

    #[test]
    fn a_slow_command_is_stopped() {
        let step = Step::start("test");
        let started = Instant::now();
        let limit = Duration::from_millis(50);
        let error = run_within(&step, Command::new("sleep").arg("20"), limit).expect_err("must stop");
        assert!(error.to_string().starts_with("took too long: sleep 20"));
        assert!(started.elapsed() < Duration::from_secs(10));
        step.done();
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        let mut command = Command::new("echo");
        command.args(["a b", "it's", "", "plain-1"]);
        assert_eq!(describe(&command), r"echo 'a b' 'it'\''s' '' plain-1");
    }
}
