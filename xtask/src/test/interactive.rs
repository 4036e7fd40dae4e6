//! `cargo xtask run` as a person has it: this very program on a terminal of its own, with a full-screen program in a guest.
//! What a script of `expect` and `send` can see belongs in `cases`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use regex::bytes::Regex;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, tcgetattr};

/// The case's name.
pub const NAME: &str = "a full-screen program on an interactive terminal";
/// The longest it may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What is typed, and what is then to be seen, as a regular expression.
const CONVERSATION: [(&str, &str); 9] = [
    ("", "linux# "),
    ("\x1dr", "linux has the terminal for itself"),
    ("\r", "linux# "),
    ("vi /tmp/x\r", r"(?s)\x1b\[\?1049h.*- /tmp/x"),
    ("ihello world\x1b", r"\[Modified\]"),
    (":wq\r", r"(?s)\x1b\[\?1049l.*linux# "),
    ("\x1dr", "the terminal is shared again"),
    ("cat /tmp/x\r", r"\[linux\]\S* hello world"),
    ("\x1dq", "quit at the console"),
];
/// The steps in which the guest has the terminal for itself: no tag may be in between.
const RAW: std::ops::Range<usize> = 2..6;

/// Runs the case and prints a line for it; whether it passed.
pub fn test() -> bool {
    let started = Instant::now();
    let result = run();
    let seconds = started.elapsed().as_secs_f32();
    match &result {
        Ok(()) => println!("guest: {NAME} ... ok ({seconds:.1} s)"),
        Err(error) => println!("guest: {NAME} ... FAILED ({seconds:.1} s)\n  {error:#}"),
    }
    result.is_ok()
}

fn run() -> Result<()> {
    let (master, terminal) = open()?;
    let before = tcgetattr(&terminal)?;
    let mut child = start(&terminal)?;
    let result = converse(&mut child, master);
    // If the conversation broke off, it would go on for ever.
    let _ = child.kill();
    let status = child.wait()?;
    result?;
    ensure!(status.success(), "`xtask run` ended with {status}");
    ensure!(is_same(&before, &tcgetattr(&terminal)?), "the terminal's modes are not as they were");
    Ok(())
}

/// A new terminal: the side of the person, and the side of the program.
fn open() -> Result<(File, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).context("no terminal can be had")?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let terminal = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
    Ok((File::from(master), terminal))
}

fn start(terminal: &OwnedFd) -> Result<Child> {
    let side = || terminal.try_clone().map(Stdio::from);
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--system", "linux"]);
    Ok(command.stdin(side()?).stdout(side()?).stderr(side()?).spawn()?)
}

fn is_same(one: &Termios, other: &Termios) -> bool {
    one.input_modes == other.input_modes
        && one.output_modes == other.output_modes
        && one.local_modes == other.local_modes
        && one.control_modes == other.control_modes
}

fn converse(child: &mut Child, master: File) -> Result<()> {
    let shown = listen(master.try_clone()?);
    let mut person = master;
    let end = Instant::now() + LIMIT;
    for (step, (typed, expected)) in CONVERSATION.into_iter().enumerate() {
        person.write_all(typed.as_bytes())?;
        let seen = wait(&shown, &Regex::new(expected)?, end)?;
        ensure!(!RAW.contains(&step) || !seen.contains("[linux]"), "tagged in raw mode: {seen:?}");
    }
    while child.try_wait()?.is_none() {
        ensure!(Instant::now() < end, "`xtask run` does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Takes what the program shows, until it has ended.
fn listen(mut master: File) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            if sender.send(buffer.get(..count).unwrap_or_default().to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Everything up to and with what is expected.
fn wait(shown: &Receiver<Vec<u8>>, expected: &Regex, end: Instant) -> Result<String> {
    let mut seen = Vec::new();
    while !expected.is_match(&seen) {
        match shown.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(bytes) => seen.extend(bytes),
            Err(_) => bail!("no `{expected}`, but {:?}", String::from_utf8_lossy(&seen)),
        }
    }
    Ok(String::from_utf8_lossy(&seen).into_owned())
}
