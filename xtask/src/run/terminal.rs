//! The user's terminal in raw mode, so that every key reaches the guests; put back however the program ends.

use std::io::{IsTerminal, Read};
use std::sync::Mutex;
use std::sync::mpsc::Sender;

use anyhow::{Context, Result};
use rustix::termios::{self, OptionalActions, Termios};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::engine::Event;

/// The modes to put back; None when the terminal is as the user had it.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether a person sits at both ends.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Raw mode; ends when dropped, and before a panic's message.
pub struct RawMode(());

impl RawMode {
    /// Switches the terminal.
    pub fn enter() -> Result<Self> {
        let modes = termios::tcgetattr(std::io::stdin()).context("cannot read the terminal's modes")?;
        let mut raw = modes.clone();
        raw.make_raw();
        if let Ok(mut saved) = SAVED.lock() {
            *saved = Some(modes);
        }
        // Panics abort here: without this the message would be a staircase, and the shell unusable.
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
        termios::tcsetattr(std::io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let saved = SAVED.lock().ok().and_then(|mut saved| saved.take());
    if let Some(modes) = saved {
        // Nobody is left to tell if it fails.
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Drain, &modes);
    }
}

/// Sends what is typed to the run, until the input ends.
pub fn forward_input(sender: Sender<Event>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(count) = std::io::stdin().read(&mut buffer) {
            let typed = buffer.get(..count).unwrap_or_default().to_vec();
            if count == 0 || sender.send(Event::Input(typed)).is_err() {
                return;
            }
        }
    });
}

/// Sends the signals that ask the program to end to the run, which ends in order.
pub fn forward_signals(sender: Sender<Event>) -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if sender.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    });
    Ok(())
}
