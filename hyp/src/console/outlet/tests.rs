//! An outlet on a made-up wire. Time is in milliseconds.

use alloc::collections::VecDeque;
use std::{string::String, vec::Vec};

use super::*;
use crate::console::Settings;

const LINUX: usize = 1;
const RTOS: usize = 2;

/// A wire with room for so many bytes.
#[derive(Default)]
struct Made {
    room: usize,
    sent: Vec<u8>,
    typed: VecDeque<u8>,
    tells: bool,
}

impl Wire for Made {
    fn is_full(&self) -> bool {
        self.room == 0
    }

    fn put(&mut self, byte: u8) {
        self.room = self.room.checked_sub(1).expect("there was room");
        self.sent.push(byte);
    }

    fn get(&mut self) -> Option<u8> {
        self.typed.pop_front()
    }

    fn tell_of_room(&mut self, tells: bool) {
        self.tells = tells;
    }
}

fn outlet(room: usize) -> Outlet<Made> {
    let console = Console::new(&["linux", "rtos"], Settings { ticks_per_second: 1000, colour: false });
    Outlet { wire: Some(Made { room, ..Made::default() }), console: Some(console), ..Outlet::new() }
}

impl Outlet<Made> {
    fn made(&mut self) -> &mut Made {
        self.wire.as_mut().expect("a wire")
    }

    /// As a guest's store does; whether all was taken, and whether the console is to be watched.
    fn say(&mut self, channel: usize, text: &str, now: u64) -> (bool, bool) {
        let (mut taken, mut waits) = (true, false);
        for byte in text.bytes() {
            let written = if self.pass(channel, byte, now) { Written::Shown } else { self.write(channel, byte, now) };
            taken &= written != Written::Refused;
            waits |= written != Written::Shown;
        }
        (taken, waits)
    }

    fn sent(&mut self) -> String {
        String::from_utf8(core::mem::take(&mut self.made().sent)).expect("text")
    }

    /// Writes until there is no room; how many bytes were taken.
    fn fill(&mut self, channel: usize) -> usize {
        (0..).take_while(|_| self.write(channel, b'x', 0) != Written::Refused).count()
    }

    /// Serves as a core does, until nothing is to be done; the channels that were resumed.
    fn work_off(&mut self, now: u64) -> Vec<usize> {
        let work = (0..1000).map_while(|_| self.serve(now));
        work.filter_map(|work| if let Work::Resume(channel) = work { Some(channel) } else { None }).collect()
    }
}

#[test]
fn who_writes_sends_while_there_is_room() {
    let mut outlet = outlet(1000);
    assert_eq!(outlet.say(LINUX, "up\nand ", 0), (true, false));
    assert_eq!(outlet.sent(), "[linux] up\r\n[linux] and ");
    assert!(!outlet.made().tells);
    assert_eq!(outlet.deadline(0), None);
}

#[test]
fn the_rest_follows_when_there_is_room() {
    let mut outlet = outlet(10);
    assert_eq!(outlet.say(LINUX, "a long line\n", 0), (true, false));
    assert_eq!(outlet.sent(), "[linux] a ");
    assert!(outlet.made().tells, "the interrupt is awaited");
    outlet.made().room = 4;
    assert_eq!(outlet.serve(1), None);
    assert_eq!(outlet.sent(), "long");
    outlet.made().room = 100;
    assert_eq!(outlet.serve(2), None);
    assert_eq!(outlet.sent(), " line\r\n");
    assert!(!outlet.made().tells, "no interrupt without need");
}

#[test]
fn nothing_overtakes_what_waits() {
    let mut outlet = outlet(12);
    outlet.say(LINUX, "first ", 0);
    outlet.made().room = 100;
    // The usual way is shut while others wait.
    outlet.say(LINUX, "second", 0);
    assert_eq!(outlet.sent(), "[linux] firs");
    outlet.serve(0);
    assert_eq!(outlet.sent(), "t second");
}

#[test]
fn no_go_is_long() {
    let mut outlet = outlet(0);
    outlet.say(LINUX, &"x".repeat(500), 0);
    outlet.made().room = 1000;
    outlet.serve(0);
    assert_eq!(outlet.sent().len(), SERVED_AT_ONCE);
    outlet.expire(0);
    assert_eq!(outlet.sent().len(), SENT_AT_ONCE);
    assert!(outlet.made().tells, "there is more");
}

#[test]
fn who_had_no_room_may_try_again_once_there_is_some() {
    let mut outlet = outlet(0);
    assert!(outlet.fill(LINUX) > 1000, "much waits");
    assert_eq!(outlet.serve(0), None, "nothing has gone");
    assert_eq!(outlet.deadline(5), None);
    outlet.made().room = 100_000;
    (0..1000).for_each(|_| outlet.pump(SENT_AT_ONCE));
    assert_eq!(outlet.deadline(5), Some(5), "somebody has to be told");
    assert_eq!(outlet.serve(5), Some(Work::Resume(LINUX)));
    assert_eq!(outlet.serve(5), None, "told once");
    assert_eq!(outlet.deadline(5), None);
}

#[test]
fn input_and_output_take_turns() {
    let mut outlet = outlet(0);
    outlet.fill(LINUX);
    // It holds what it can while the line is another's.
    outlet.fill(RTOS);
    outlet.made().typed.extend(b"abc");
    outlet.made().room = usize::MAX;
    let kinds = (0..1000).map_while(|_| {
        outlet.pump(usize::MAX);
        outlet.serve(1000).map(|work| matches!(work, Work::Input(_)))
    });
    let kinds: Vec<_> = kinds.collect();
    assert_eq!(kinds, [true, false, true, false, true]);
}

#[test]
fn only_who_serves_takes_input() {
    let mut outlet = outlet(0);
    outlet.fill(LINUX);
    outlet.made().typed.extend(b"ab");
    outlet.made().room = usize::MAX;
    outlet.pump(usize::MAX);
    // Another core, whose guests wait: it does not take what the one that is interrupted hands on.
    assert_eq!([outlet.send_on(), outlet.send_on()], [Some(Work::Resume(LINUX)), None]);
    let typed: Vec<_> = (0..2).filter_map(|_| outlet.serve(1000)).collect();
    let byte = |byte| Work::Input(Input::ToGuest { channel: LINUX, byte });
    assert_eq!(typed, [byte(b'a'), byte(b'b')]);
}

#[test]
fn a_guest_that_never_stops_keeps_no_input_away() {
    let mut outlet = outlet(0);
    outlet.fill(LINUX);
    outlet.made().room = usize::MAX;
    outlet.made().typed.extend(b"abc");
    let mut inputs = 0;
    for _ in 0..6 {
        outlet.pump(usize::MAX);
        if let Some(Work::Input(_)) = outlet.serve(0) {
            inputs += 1;
        }
        // It has as much again, each time.
        outlet.made().room = 0;
        outlet.fill(LINUX);
        outlet.made().room = usize::MAX;
    }
    assert_eq!(inputs, 3);
}

#[test]
fn what_waits_for_time_is_shown_at_its_time() {
    let mut outlet = outlet(1000);
    outlet.say(LINUX, "# ", 0);
    assert_eq!(outlet.say(RTOS, "tick\n", 0), (true, true));
    assert_eq!(outlet.sent(), "[linux] # ");
    let deadline = outlet.deadline(0).expect("something waits");
    outlet.expire(deadline);
    assert_eq!(outlet.sent(), "\x7f\r\n[rtos] tick\r\n");
    assert_eq!(outlet.deadline(deadline), None);
}

#[test]
fn with_an_attendant_who_writes_only_calls() {
    let mut outlet = outlet(1000);
    outlet.has_attendant = true;
    assert_eq!(outlet.say(LINUX, "up\nand up\n", 0), (true, true));
    assert_eq!(outlet.sent(), "", "others send");
    assert!(outlet.take_call());
    assert!(!outlet.take_call(), "once");
    assert_eq!(outlet.work_off(0), []);
    assert_eq!(outlet.sent(), "[linux] up\r\n[linux] and up\r\n");
    assert_eq!(outlet.deadline(0), None);
    // On its own line, with nobody before it, a byte goes out at once.
    outlet.say(LINUX, "#", 0);
    outlet.work_off(0);
    outlet.take_call();
    assert_eq!(outlet.say(LINUX, " ls", 0), (true, false));
    assert_eq!(outlet.sent(), "[linux] # ls");
    assert!(!outlet.take_call());
}

#[test]
fn an_attendant_that_sends_is_not_called() {
    let mut outlet = outlet(0);
    outlet.has_attendant = true;
    outlet.say(LINUX, "one\n", 0);
    assert!(outlet.take_call());
    outlet.work_off(0);
    assert!(outlet.made().tells, "it waits for room");
    outlet.say(LINUX, "two\n", 0);
    assert!(!outlet.take_call());
    outlet.made().room = 1000;
    outlet.work_off(0);
    assert_eq!(outlet.sent(), "[linux] one\r\n[linux] two\r\n");
}

#[test]
fn an_attendant_is_called_for_what_is_due_before_it_looks() {
    let mut outlet = outlet(1000);
    outlet.has_attendant = true;
    outlet.say(LINUX, "# ", 0);
    outlet.work_off(0);
    outlet.take_call();
    // Not at its end: it is shown when it falls silent.
    outlet.say(RTOS, "ti", 0);
    assert!(outlet.take_call());
    outlet.work_off(0);
    let late = outlet.deadline(0).expect("something waits");
    outlet.say(RTOS, "ck", 0);
    assert!(!outlet.take_call(), "it looks then");
    // The line is whole: it is shown earlier.
    outlet.say(RTOS, "\n", 0);
    assert!(outlet.take_call());
    outlet.work_off(0);
    let early = outlet.deadline(0).expect("something waits");
    assert!(early < late);
    outlet.expire(early);
    assert_eq!(outlet.sent(), "[linux] # \x7f\r\n[rtos] tick\r\n");
}

#[test]
fn an_attendant_looks_again_at_what_its_own_work_left() {
    let mut outlet = outlet(1000);
    outlet.has_attendant = true;
    outlet.say(LINUX, "left\n", 0);
    // It wrote that itself, at its last step.
    assert_eq!(outlet.deadline(7), Some(7));
    outlet.expire(7);
    assert_eq!(outlet.sent(), "[linux] left\r\n");
    assert_eq!(outlet.deadline(7), None);
}

#[test]
fn without_a_wire_nothing_is_lost_or_hangs() {
    let mut outlet = Outlet::<Made>::new();
    assert_eq!(outlet.say(LINUX, "x", 0), (true, false));
    assert_eq!((outlet.serve(0), outlet.deadline(0)), (None, None));
    let mut outlet = self::outlet(0);
    outlet.wire = None;
    outlet.say(LINUX, "x\n", 0);
    assert_eq!(outlet.serve(0), None);
}
