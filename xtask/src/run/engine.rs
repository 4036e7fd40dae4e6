//! One run of a machine: its console's bytes in and out, a script carried out on them, the time limit, the verdict.
//! Nothing here knows QEMU's options or prints anything: output goes to a sink, the command comes from the caller.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::ending::{Ending, Last, Token};
use super::patience::Patience;
use crate::console::{Action, Demultiplexer, Script};

/// How long the console's escape command to quit may take before the machine is simply stopped.
const QUIT_LIMIT: Duration = Duration::from_secs(2);
/// `Ctrl-]`.
const ESCAPE_KEY: u8 = 0x1d;

/// What reaches the run from its threads.
pub enum Event {
    /// The machine's console wrote this.
    Output(Vec<u8>),
    /// The machine's console is closed: the machine has ended.
    End,
    /// The user typed this.
    Input(Vec<u8>),
    /// The program is asked to end.
    Signal(i32),
}

/// What is to be done with the machine.
pub struct Plan {
    /// What to wait for and to send; may be empty.
    pub script: Script,
    /// When the script is done: true stops the machine, false waits for it to end by itself.
    pub stop_after_script: bool,
    /// The longest it may take, of the time in which it could run.
    pub limit: Option<Duration>,
    /// The longest that one step may take, likewise.
    pub patience: Option<Duration>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All steps were done, and the machine was stopped.
    ScriptDone,
    /// The machine ended by itself after all steps.
    Ended(Ending),
    /// The machine ended by itself before this step was done.
    EndedEarly(Ending, String),
    /// The time was over; the step that was waited for, if any.
    TimedOut(Option<String>),
    /// The user stopped the machine.
    Quit,
    /// A signal of this number asked the program to end.
    Signalled(i32),
}

/// A machine that runs; killed when dropped.
pub struct Session {
    child: Child,
    input: Option<ChildStdin>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    errors: Option<JoinHandle<String>>,
    demultiplexer: Demultiplexer,
    /// Where Tessera's verdict is looked for; None for a machine without Tessera.
    last: Option<Last>,
    quit: QuitKeys,
}

impl Session {
    /// Starts the machine. Tessera's verdict is known by `token`; None for a machine without Tessera, which has none.
    pub fn start(command: &mut Command, guests: &[String], token: Option<&Token>) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        let (sender, events) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            forward(output, sender.clone());
        }
        let errors = child.stderr.take().map(|errors| std::thread::spawn(|| read_all(errors)));
        Ok(Self {
            input: child.stdin.take(),
            child,
            events,
            sender,
            errors,
            demultiplexer: Demultiplexer::new(guests),
            last: token.map(Last::new),
            quit: QuitKeys::default(),
        })
    }

    /// Where other threads put input and signals.
    pub fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Carries the plan out; the console's bytes go to `sink` as they come.
    pub fn run(&mut self, mut plan: Plan, sink: &mut dyn FnMut(&[u8])) -> Result<Verdict> {
        let mut patience = Patience::with(self.child.id());
        let (mut step, mut step_end) = (None, None);
        loop {
            let wake = match plan.script.next(&self.demultiplexer, Instant::now()) {
                Action::Send(bytes) => {
                    self.type_in(&bytes);
                    continue;
                }
                Action::Wait { until } => until,
                Action::Done if plan.stop_after_script => return Ok(Verdict::ScriptDone),
                Action::Done => None,
            };
            let current = plan.script.current().map(|(number, _)| number);
            if step_end.is_none() || current != step {
                step = current;
                step_end = plan.patience.map(|limit| patience.spent() + limit);
            }
            let end = plan.limit.into_iter().chain(step_end).min();
            let earliest = end.and_then(|end| patience.earliest(end));
            let until = [earliest, wake, self.quit.deadline].into_iter().flatten().min();
            let verdict = match self.receive(until) {
                Some(event) => self.take(event, &mut plan, sink)?,
                None => self.overdue(&plan, end.is_some_and(|end| end <= patience.spent())),
            };
            if let Some(verdict) = verdict {
                return Ok(verdict);
            }
        }
    }

    /// What the machine wrote on its standard error; waits for it to end, so call it after [`Self::stop`].
    pub fn errors(&mut self) -> String {
        self.errors.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }

    /// Ends the machine if it still runs.
    pub fn stop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    fn receive(&self, until: Option<Instant>) -> Option<Event> {
        match until {
            // The session holds a sender itself, so neither form can find the channel closed.
            None => self.events.recv().ok(),
            Some(until) => self.events.recv_timeout(until.saturating_duration_since(Instant::now())).ok(),
        }
    }

    fn take(&mut self, event: Event, plan: &mut Plan, sink: &mut dyn FnMut(&[u8])) -> Result<Option<Verdict>> {
        match event {
            Event::Output(bytes) => {
                sink(&bytes);
                self.demultiplexer.feed(&bytes);
                self.last.iter_mut().for_each(|last| last.take(&bytes));
            }
            Event::Input(bytes) => {
                self.quit.see(&bytes);
                self.type_in(&bytes);
            }
            Event::End => return self.ended(plan).map(Some),
            Event::Signal(number) => return Ok(Some(Verdict::Signalled(number))),
        }
        Ok(None)
    }

    fn ended(&mut self, plan: &mut Plan) -> Result<Verdict> {
        let ending = self.ending()?;
        if self.quit.deadline.is_some() {
            return Ok(Verdict::Quit);
        }
        // What came last may have been what the last step waits for; a pause between bytes typed has no meaning any more.
        let later = Instant::now() + Duration::from_secs(60);
        let done = matches!(plan.script.next(&self.demultiplexer, later), Action::Done);
        Ok(match waiting_for(plan).filter(|_| !done) {
            Some(step) => Verdict::EndedEarly(ending, step),
            None => Verdict::Ended(ending),
        })
    }

    /// Waits for the program to end too.
    fn ending(&mut self) -> Result<Ending> {
        let status = self.child.wait()?.code();
        Ok(self.last.as_ref().map_or(Ending::Silent(status), |last| last.ending(status)))
    }

    fn overdue(&self, plan: &Plan, is_over: bool) -> Option<Verdict> {
        if self.quit.deadline.is_some_and(|time| time <= Instant::now()) {
            Some(Verdict::Quit)
        } else {
            is_over.then(|| Verdict::TimedOut(waiting_for(plan)))
        }
    }

    fn type_in(&mut self, bytes: &[u8]) {
        // A machine that has ended takes nothing; its end is noticed by its output.
        if let Some(input) = &mut self.input {
            drop(input.write_all(bytes).and_then(|()| input.flush()));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop();
    }
}

fn waiting_for(plan: &Plan) -> Option<String> {
    let (number, step) = plan.script.current()?;
    Some(format!("step {number} of {}: {step}", plan.script.len()))
}

/// Recognizes `Ctrl-] q` and `Ctrl-] x`, which EL2 obeys, in case EL2 no longer does.
#[derive(Default)]
struct QuitKeys {
    escaped: bool,
    deadline: Option<Instant>,
}

impl QuitKeys {
    fn see(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if std::mem::take(&mut self.escaped) {
                if matches!(byte, b'q' | b'x') {
                    self.deadline = Instant::now().checked_add(QUIT_LIMIT);
                }
            } else {
                self.escaped = *byte == ESCAPE_KEY;
            }
        }
    }
}

fn forward(mut output: impl Read + Send + 'static, sender: Sender<Event>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let event = match output.read(&mut buffer) {
                Ok(count) if count > 0 => Event::Output(buffer.get(..count).unwrap_or_default().to_vec()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                _ => Event::End,
            };
            let is_end = matches!(event, Event::End);
            if sender.send(event).is_err() || is_end {
                return;
            }
        }
    });
}

fn read_all(mut errors: impl Read) -> String {
    let mut bytes = Vec::new();
    // What could be read is what there is to show.
    drop(errors.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
