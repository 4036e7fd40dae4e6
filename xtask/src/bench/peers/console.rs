//! Watching a machine's serial line: lines out, a few keys in, a limit to the time. Which lines matter, the caller says.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What to do after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for more.
    Wait,
    /// Type this.
    Type(&'static str),
    /// Stop the machine; all is known.
    Stop,
}

/// A machine that runs; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs the machine until it ends or `decide` stops it; its lines without their ends, and what it wrote on standard error.
/// An error after `limit`, with the last line seen.
pub fn watch(mut command: Command, limit: Duration, mut decide: impl FnMut(&str) -> Next) -> Result<Vec<String>> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let mut machine = Running(child);
    let lines = merged_lines(&mut machine.0);
    let end = Instant::now() + limit;
    let mut seen: Vec<String> = Vec::new();
    loop {
        let line = match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(seen),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("not done after {} s; last line: {}", limit.as_secs(), seen.last().map_or("none", String::as_str))
            }
        };
        let next = decide(&line);
        seen.push(line);
        match next {
            Next::Wait => {}
            Next::Stop => return Ok(seen),
            Next::Type(keys) => machine.0.stdin.as_mut().context("no console")?.write_all(keys.as_bytes())?,
        }
    }
}

/// The lines of both outputs as they come; closed when both are.
fn merged_lines(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let output = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    let errors = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    for pipe in output.into_iter().chain(errors) {
        let sender = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}
