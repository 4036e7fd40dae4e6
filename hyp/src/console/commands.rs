//! What the user asks of EL2 with `Ctrl-]`: who has the keyboard, who has the terminal, help.
//!
//! Which key means what is `input`'s business.

use super::{Console, EL2_CHANNEL, Mode};
use core::fmt;

impl Console {
    pub(super) fn set_focus(&mut self, guest: usize) {
        if guest >= self.channels.len() {
            return self.answer(format_args!("there is no guest {guest}; Ctrl-] h helps"));
        }
        self.leave_raw();
        self.focus = guest;
        let name = self.terminal.name(guest);
        self.answer(format_args!("focus: {name}"));
    }

    pub(super) fn toggle_raw(&mut self) {
        let name = self.terminal.name(self.focus);
        match self.mode {
            Mode::Tagged if self.focus < self.channels.len() => {
                self.mode = Mode::Entering;
                self.raw_channel = self.focus;
                self.answer(format_args!("{name} has the terminal for itself; Ctrl-] r ends that"));
            }
            Mode::Entering | Mode::Raw => self.leave_raw(),
            Mode::Tagged | Mode::Leaving => {}
        }
    }

    fn leave_raw(&mut self) {
        match self.mode {
            Mode::Entering => self.mode = Mode::Tagged,
            Mode::Raw => self.mode = Mode::Leaving,
            Mode::Tagged | Mode::Leaving => return,
        }
        self.answer(format_args!("the terminal is shared again"));
    }

    pub(super) fn help(&mut self) {
        self.answer(format_args!("Ctrl-] and then: (h) this help (r) terminal for one guest, on or off"));
        self.answer(format_args!("  (q) switch off (b) reboot (Ctrl-]) send Ctrl-] (digit) give the keyboard to:"));
        for guest in 1..self.channels.len().min(11) {
            let (name, key) = (self.terminal.name(guest), guest % 10);
            let mark = if guest == self.focus { " (has it)" } else { "" };
            self.answer(format_args!("  {key} {name}{mark}"));
        }
    }

    /// A line that the user waits for: it may break any other.
    fn answer(&mut self, text: fmt::Arguments) {
        if let Some(channel) = self.channels.get_mut(EL2_CHANNEL) {
            channel.urgent = true;
        }
        self.log_line(text, self.now);
    }
}
