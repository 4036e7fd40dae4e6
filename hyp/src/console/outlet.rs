//! The console on its wire: what goes out as there is room, what has come in, and whose turn is next.
//!
//! Whoever writes sends what the wire takes at once, and what is left follows by the wire's interrupt. With an *attendant*
//! (a core that works for all) he leaves that to it: see [`Outlet::take_call`].

use super::{Console, Input};

/// A UART, as far as the console needs one.
pub trait Wire {
    /// Whether there is no room for another byte.
    fn is_full(&self) -> bool;
    /// Sends a byte: there is room.
    fn put(&mut self, byte: u8);
    /// Sends a byte if there is room for it; whether there was.
    fn offer(&mut self, byte: u8) -> bool {
        let has_room = !self.is_full();
        if has_room {
            self.put(byte);
        }
        has_room
    }
    /// The next byte that has come.
    fn get(&mut self) -> Option<u8>;
    /// Interrupts when there is room again, or no longer does.
    fn tell_of_room(&mut self, tells: bool);
}

/// So many bytes are sent in one go by a guest's write. More than the UART's interrupt leaves in its FIFO, so it comes when
/// there is room.
const SENT_AT_ONCE: usize = 32;
/// The same for a line of EL2's own, and where that is all there is to do.
const SERVED_AT_ONCE: usize = 64;
/// To bring on what waited in the channels costs as much as to send so many bytes.
const BRINGING_ON: usize = 16;

/// What has become of a guest's byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is on its way.
    Shown,
    /// It is taken; something waits for its time: see [`Outlet::deadline`].
    Waiting,
    /// There is no room: [`Outlet::serve`] tells when it may be tried again.
    Refused,
}

/// One thing to do for the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A byte has come.
    Input(Input),
    /// The guest of this channel may try again with what it holds back.
    Resume(usize),
}

/// The wire, and what decides whose bytes go to it.
#[derive(Debug)]
pub struct Outlet<W> {
    /// The wire, once there is one.
    pub wire: Option<W>,
    /// The console, once there is one.
    pub console: Option<Console>,
    /// A core serves that need not be the one that writes.
    pub has_attendant: bool,
    /// Output waits, and the wire's interrupt is to come when there is room.
    is_sending: bool,
    /// Channels with a byte that found no room.
    refused: u64,
    /// What was served last was input: others have their turn.
    has_served_input: bool,
    /// The attendant has to look, and nobody has called it.
    is_wanted: bool,
    /// When the attendant looks by itself, in ticks.
    watched: Option<u64>,
}

impl<W: Wire> Default for Outlet<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Wire> Outlet<W> {
    /// Without wire and console.
    pub const fn new() -> Self {
        Self {
            wire: None,
            console: None,
            has_attendant: false,
            is_sending: false,
            refused: 0,
            has_served_input: false,
            is_wanted: false,
            watched: None,
        }
    }

    /// Gives the wire what it has room for, at most `count` bytes; the rest follows by interrupt.
    pub fn pump(&mut self, count: usize) {
        let (Some(wire), Some(console)) = (&mut self.wire, &mut self.console) else { return };
        let (mut left, mut has_room) = (count, true);
        while left > 0 && has_room {
            left = left.saturating_sub(if console.is_drained() { BRINGING_ON } else { 0 });
            let bytes = console.output();
            if bytes.is_empty() {
                if core::mem::take(&mut self.is_sending) {
                    wire.tell_of_room(false);
                }
                return;
            }
            let bytes = bytes.get(..left.max(1)).unwrap_or(bytes);
            let sent = bytes.iter().take_while(|byte| wire.offer(**byte)).count();
            has_room = sent == bytes.len();
            left = left.saturating_sub(sent);
            console.sent(sent);
        }
        if !core::mem::replace(&mut self.is_sending, true) {
            wire.tell_of_room(true);
        }
    }

    /// Sends a line of EL2's own, which the console has.
    pub fn pump_line(&mut self) {
        self.pump(SERVED_AT_ONCE);
        if self.has_attendant {
            self.leave_to_attendant(Written::Shown);
        }
    }

    /// The usual case: a byte that the wire takes at once; whether it is one.
    #[inline]
    pub fn pass(&mut self, channel: usize, byte: u8, now: u64) -> bool {
        let (Some(wire), Some(console)) = (&mut self.wire, &mut self.console) else { return false };
        let passes = !self.is_sending && !wire.is_full() && console.pass(channel, byte, now);
        if passes {
            wire.put(byte);
        }
        passes
    }

    /// Takes a byte of a guest's output at `now`, in ticks.
    #[inline(never)]
    pub fn write(&mut self, channel: usize, byte: u8, now: u64) -> Written {
        let Some(console) = &mut self.console else { return Written::Shown };
        let written = match console.write(channel, byte, now) {
            false => Written::Refused,
            true if console.is_waiting() => Written::Waiting,
            true => Written::Shown,
        };
        if written == Written::Refused {
            self.refused |= 1 << (channel & 63);
        }
        // Who is sending goes on by himself.
        match self.is_sending {
            true => written,
            false if self.has_attendant => self.leave_to_attendant(written),
            false => {
                self.pump(SENT_AT_ONCE);
                written
            }
        }
    }

    /// Whoever wrote has nothing to do but to call the attendant, if even that.
    fn leave_to_attendant(&mut self, written: Written) -> Written {
        let deadline = self.console.as_ref().and_then(Console::deadline);
        let is_earlier = deadline.is_some_and(|deadline| self.watched.is_none_or(|watched| deadline < watched));
        self.is_wanted = is_earlier || self.is_left();
        if self.is_wanted && written == Written::Shown { Written::Waiting } else { written }
    }

    /// Whether output waits that nobody sends.
    fn is_left(&self) -> bool {
        !self.is_sending && self.console.as_ref().is_some_and(|console| !console.is_drained())
    }

    /// Whether the attendant is to be called; whoever asks calls it.
    pub fn take_call(&mut self) -> bool {
        core::mem::take(&mut self.is_wanted)
    }

    /// When [`expire`](Self::expire) wants to be called, in ticks, by who serves.
    pub fn deadline(&mut self, now: u64) -> Option<u64> {
        let is_due = self.has_attendant && self.is_left() || self.next_resumable().is_some();
        self.watched = if is_due { Some(now) } else { self.console.as_ref().and_then(Console::deadline) };
        self.watched
    }

    /// Shows what has waited long enough. [`send_on`](Self::send_on) goes on from there.
    pub fn expire(&mut self, now: u64) {
        if let Some(console) = &mut self.console {
            console.expire(now);
        }
        self.pump(SENT_AT_ONCE);
    }

    /// Sends what waits for room and says what is to be done next, if anything: also input, so only the core that the wire
    /// interrupts may ask. Two that took bytes in turn could hand them on in another order. To be called again a few times, and
    /// if something is left then, at [`deadline`](Self::deadline) or by the wire's interrupt.
    pub fn serve(&mut self, now: u64) -> Option<Work> {
        self.pump(SERVED_AT_ONCE);
        if self.has_served_input {
            self.resume().or_else(|| self.serve_input(now))
        } else {
            self.serve_input(now).or_else(|| self.resume())
        }
    }

    /// The same but for input: any core may ask.
    pub fn send_on(&mut self) -> Option<Work> {
        self.pump(SERVED_AT_ONCE);
        self.resume()
    }

    /// The next channel that had no room and has some.
    fn next_resumable(&self) -> Option<usize> {
        let console = self.console.as_ref()?;
        let mut refused = self.refused;
        core::iter::from_fn(|| {
            let channel = refused.trailing_zeros() as usize;
            refused &= refused.wrapping_sub(1);
            (channel < 64).then_some(channel)
        })
        .find(|channel| console.room(*channel))
    }

    fn resume(&mut self) -> Option<Work> {
        let channel = self.next_resumable()?;
        self.refused &= !(1 << channel);
        self.has_served_input = false;
        Some(Work::Resume(channel))
    }

    fn serve_input(&mut self, now: u64) -> Option<Work> {
        let byte = self.wire.as_mut().and_then(Wire::get);
        self.has_served_input = byte.is_some();
        Some(Work::Input(self.console.as_mut()?.input(byte?, now)))
    }
}

#[cfg(test)]
mod tests;
