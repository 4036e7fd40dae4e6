//! What a user sees, byte by byte. Time is in milliseconds.

use super::*;
use std::{string::String, vec::Vec};

const LINUX: usize = 1;
const RTOS: usize = 2;

struct Bench {
    console: Console,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with(&["linux", "rtos"], false)
    }

    fn with(guests: &[&str], colour: bool) -> Self {
        Self { console: Console::new(guests, Settings { ticks_per_second: 1000, colour }), now: 1000 }
    }

    fn write(&mut self, channel: usize, text: &str) {
        for byte in text.bytes() {
            assert!(self.console.write(channel, byte, self.now), "no room");
        }
    }

    fn log(&mut self, text: &str) {
        self.console.log_line(format_args!("{text}"), self.now);
    }

    /// Lets time pass, with the calls that a timer would make.
    fn pass(&mut self, time: u64) {
        let end = self.now + time;
        while let Some(deadline) = self.console.deadline().filter(|deadline| *deadline <= end) {
            self.now = deadline;
            self.console.expire(deadline);
        }
        self.now = end;
    }

    fn output(&mut self) -> String {
        let bytes: Vec<u8> = core::iter::from_fn(|| self.console.next_output()).collect();
        String::from_utf8(bytes).expect("tests write UTF-8")
    }

    fn press(&mut self, keys: &str) -> Vec<Input> {
        let inputs = keys.bytes().map(|byte| self.console.input(byte, self.now));
        inputs.filter(|input| *input != Input::Nothing).collect()
    }

    /// What was written by `channel` and `text` in one go, and comes out.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut bench = Self::new();
        bench.write(LINUX, text);
        assert_eq!(bench.output(), expected);
    }
}

#[test]
fn a_prompt_is_seen_at_once_and_its_echo_too() {
    let mut bench = Bench::new();
    bench.write(LINUX, "up\n# ");
    assert_eq!(bench.output(), "[linux] up\r\n[linux] # ");
    bench.write(LINUX, "ls\r\n");
    assert_eq!(bench.output(), "ls\r\n");
}

#[test]
fn another_waits_for_the_end_of_a_line_that_is_being_written() {
    let mut bench = Bench::new();
    bench.write(LINUX, "half");
    bench.write(RTOS, "tick\n");
    bench.pass(19);
    assert_eq!(bench.output(), "[linux] half");
    bench.write(LINUX, " whole\n");
    assert_eq!(bench.output(), " whole\r\n[rtos] tick\r\n");
    assert_eq!(bench.console.deadline(), None);
}

#[test]
fn a_complete_line_breaks_an_idle_one_which_is_continued_later() {
    let mut bench = Bench::new();
    bench.write(LINUX, "# ");
    bench.write(RTOS, "tick\n");
    assert_eq!(bench.console.deadline(), Some(bench.now + 20));
    bench.pass(20);
    assert_eq!(bench.output(), "[linux] # \x7f\r\n[rtos] tick\r\n");
    bench.write(LINUX, "ls\n# ");
    assert_eq!(bench.output(), "[linux>] ls\r\n[linux] # ");
}

#[test]
fn an_unfinished_line_is_shown_when_it_falls_silent() {
    let mut bench = Bench::new();
    bench.write(LINUX, "# ");
    bench.write(RTOS, "> ");
    bench.pass(49);
    assert_eq!(bench.output(), "[linux] # ");
    bench.pass(1);
    assert_eq!(bench.output(), "\x7f\r\n[rtos] > ");
}

#[test]
fn nobody_keeps_the_others_waiting() {
    let mut bench = Bench::new();
    bench.write(LINUX, "dot");
    bench.write(RTOS, "tick\n");
    for _ in 0..12 {
        bench.pass(10);
        bench.write(LINUX, ".");
    }
    // 100 ms after it was written.
    assert_eq!(bench.output(), "[linux] dot.........\x7f\r\n[rtos] tick\r\n[linux>] ...");
}

#[test]
fn much_output_breaks_a_line_at_once() {
    let mut bench = Bench::new();
    bench.write(LINUX, "# ");
    bench.write(RTOS, &"x".repeat(255));
    assert_eq!(bench.output(), "[linux] # ");
    bench.write(RTOS, "x");
    assert_eq!(bench.output(), format!("\x7f\r\n[rtos] {}", "x".repeat(256)));
}

#[test]
fn lines_that_wait_take_turns() {
    let mut bench = Bench::with(&["a", "b", "c"], false);
    bench.write(1, "# ");
    bench.write(2, "1\n2\n");
    bench.write(3, "1\n2\n");
    bench.write(1, "\n");
    let order = "[a] # \r\n[b] 1\r\n[c] 1\r\n[b] 2\r\n[c] 2\r\n";
    assert_eq!(bench.output(), order);
}

#[test]
fn line_ends_of_all_kinds_are_one() {
    Bench::check("a\nb\r\nc\r\r\nd\n\n", "[linux] a\r\n[linux] b\r\n[linux] c\r\n[linux] d\r\n[linux] \r\n");
}

#[test]
fn a_carriage_return_goes_back_to_the_text_not_to_the_tag() {
    Bench::check("10%\r20%\n", "[linux] 10%\r[linux] 20%\r\n");
    Bench::check("\x1b[32m10%\r[rtos] 20%\n", "[linux] \x1b[32m10%\x1b[0m\r[linux] [rtos] 20%\r\n");
}

#[test]
fn a_guest_cannot_reach_what_is_not_its_own() {
    // Clearing, positioning, going up, answering, titles, backspaces over the tag: shown as bytes terminals ignore.
    for text in [
        "\x1b[2J",
        "\x1b[1;1H",
        "\x1b[A",
        "\x1b[6n",
        "\x1b]0;t\x07",
        "\x1bc",
        "\x08",
        "\x1b[9D",
        "\u{9b}",
        "\x0c",
        "\x7f",
        "\x1b[?1049h",
    ] {
        let mut bench = Bench::new();
        bench.write(LINUX, text);
        let shown = bench.output().replace("[linux] ", "");
        assert!(shown.bytes().all(|byte| terminal::NIBBLES.contains(&byte)), "{text:?} gives {shown:?}");
        assert_eq!(shown.len(), 2 * text.len(), "{text:?} gives {shown:?}");
    }
}

#[test]
fn control_characters_beyond_ascii_are_hidden_and_letters_are_not() {
    for letter in '\u{80}'..='\u{bf}' {
        let mut bench = Bench::new();
        bench.write(LINUX, &format!("{letter}"));
        let shown = bench.output().ends_with(letter);
        assert_eq!(shown, letter >= '\u{a0}', "{letter:?}");
    }
    Bench::check("\u{e4}\u{20ac}", "[linux] \u{e4}\u{20ac}");
}

#[test]
fn a_line_can_be_edited() {
    let harmless = "abc\x08\x08x\x1b[K\x1b[2D\x1b[C\x1b[P\x1b[J";
    Bench::check(harmless, &format!("[linux] {harmless}"));
    // To the right of what was written there may be the terminal's margin.
    let hidden = "\x02\x19\x10\x19\x04\x04\x06\x06"; // ESC [ 3 D
    Bench::check("ab\x1b[99C\x1b[3D", &format!("[linux] ab\x1b[99C{hidden}"));
}

#[test]
fn colours_end_with_the_line() {
    Bench::check("\x1b[31mred\nplain\n", "[linux] \x1b[31mred\x1b[0m\r\n[linux] plain\r\n");
    let mut bench = Bench::new();
    bench.write(LINUX, "\x1b[31mred");
    bench.log("hello");
    bench.pass(20);
    assert_eq!(bench.output(), "[linux] \x1b[31mred\x1b[0m\x7f\r\n[tessera] hello\r\n");
}

#[test]
fn tags_are_coloured_for_a_terminal() {
    let mut bench = Bench::with(&["linux", "rtos"], true);
    bench.log("up");
    bench.write(LINUX, "a\n");
    bench.write(RTOS, "b\n");
    let expected = "\x1b[0;1m[tessera]\x1b[0m up\r\n\x1b[0;36m[linux]\x1b[0m a\r\n\x1b[0;33m[rtos]\x1b[0m b\r\n";
    assert_eq!(bench.output(), expected);
}

#[test]
fn names_cannot_forge_tags() {
    let mut bench = Bench::with(&["a] [b", "0123456789012345678901234567890123456789"], false);
    bench.write(1, "x\n");
    bench.write(2, "y\n");
    assert_eq!(bench.output(), "[a___b] x\r\n[01234567890123456789012345678901] y\r\n");
}

#[test]
fn log_lines_are_whole() {
    let mut bench = Bench::new();
    bench.write(LINUX, "# ");
    bench.log("one\ntwo");
    assert_eq!(bench.output(), "[linux] # ");
    bench.pass(20);
    assert_eq!(bench.output(), "\x7f\r\n[tessera] one\r\n[tessera] two\r\n");
    bench.log(&"x".repeat(1000));
    assert_eq!(bench.output(), format!("[tessera] {}\r\n", "x".repeat(LOG_LINE_LIMIT)));
}

#[test]
fn only_answers_break_lines_at_once() {
    let mut bench = Bench::new();
    bench.press("\x1d2");
    assert_eq!(bench.output(), "[tessera] focus: rtos\r\n");
    bench.write(LINUX, "# ");
    bench.log("one");
    assert_eq!(bench.output(), "[linux] # ");
    bench.press("\x1d1");
    assert_eq!(bench.output(), "\x7f\r\n[tessera] one\r\n[tessera] focus: linux\r\n");
}

#[test]
fn a_log_that_nobody_takes_keeps_the_newest_lines() {
    // Plain text is on the wire whole or not at all; of other text a line may be cut, and is among the dropped then.
    for text in ["line", "läne"] {
        overflow(text);
    }
}

fn overflow(text: &str) {
    let mut bench = Bench::new();
    for number in 0..10_000 {
        bench.log(&format!("{text} {number}"));
    }
    let output = bench.output();
    let lines: Vec<_> = output.lines().collect();
    let line = |number: usize| format!("[tessera] {text} {number}");
    let oldest = lines.iter().zip(0..).take_while(|(found, number)| **found == line(*number)).count();
    let newest =
        lines.iter().rev().zip((0..10_000).rev()).take_while(|(found, number)| **found == line(*number)).count();
    assert!(oldest > 0 && newest > 0 && output.ends_with("\r\n"));
    let reported = lines.iter().find(|line| line.contains("were dropped")).expect("a report");
    let dropped = reported.strip_prefix("[tessera] ").and_then(|line| line.split(' ').next()).expect("a number");
    assert_eq!(dropped.parse(), Ok(10_000 - oldest - newest), "{reported}");
    // The report is a line too, and one line was perhaps cut.
    let others = lines.len() - oldest - newest;
    assert!((1..=2).contains(&others), "{others}");
}

#[test]
fn a_guest_waits_when_nobody_takes_the_output() {
    let mut bench = Bench::new();
    let mut taken = 0;
    while bench.console.room(LINUX) {
        assert!(bench.console.write(LINUX, b'x', bench.now));
        taken += 1;
        assert!(taken < 100_000, "not bounded");
    }
    assert!(!bench.console.write(LINUX, b'y', bench.now));
    assert!(bench.console.room(RTOS));
    // Nothing is due: only output that is taken helps.
    assert_eq!(bench.console.deadline(), None);
    let output = bench.output();
    assert_eq!(output.len(), taken + "[linux] ".len());
    assert!(bench.console.write(LINUX, b'y', bench.now));
    assert_eq!(bench.output(), "y");
}

#[test]
fn input_goes_to_the_focus_which_digits_move() {
    let mut bench = Bench::new();
    let to = |channel, byte| Input::ToGuest { channel, byte };
    assert_eq!(bench.press("a"), [to(LINUX, b'a')]);
    assert_eq!(bench.press("\x1d2b\x1d\x1d"), [to(RTOS, b'b'), to(RTOS, 0x1d)]);
    assert_eq!(bench.output(), "[tessera] focus: rtos\r\n");
    assert_eq!(bench.press("\x1d3\x1dzc\x1d1d"), [to(RTOS, b'c'), to(LINUX, b'd')]);
    assert_eq!(bench.output(), "[tessera] there is no guest 3; Ctrl-] h helps\r\n[tessera] focus: linux\r\n");
    assert_eq!(bench.press("\x1dq\x1dx\x1db"), [Input::Quit, Input::Quit, Input::Reboot]);
}

#[test]
fn a_console_without_guests_swallows_input() {
    let mut bench = Bench::with(&[], false);
    assert_eq!(bench.press("a\x1d1\x1dr\x1dh"), []);
    assert!(bench.console.write(LINUX, b'a', bench.now));
    assert!(!bench.output().contains('\x1b'));
}

#[test]
fn help_names_the_guests_and_breaks_a_line() {
    let mut bench = Bench::new();
    bench.write(LINUX, "# ");
    bench.press("\x1dh");
    let output = bench.output();
    assert!(output.starts_with("[linux] # \x7f\r\n[tessera] "), "{output}");
    assert!(output.contains("  1 linux (has it)\r\n") && output.contains("  2 rtos\r\n"), "{output}");
}

#[test]
fn raw_mode_gives_one_guest_the_terminal() {
    let mut bench = Bench::new();
    bench.write(LINUX, "# ");
    bench.press("\x1dr");
    assert!(bench.output().ends_with("[tessera] linux has the terminal for itself; Ctrl-] r ends that\r\n"));
    bench.write(LINUX, "\x1b[2J\x1b[1;1Hvi\r\n~");
    bench.write(RTOS, "tick\n");
    bench.log("hello");
    bench.pass(1000);
    assert_eq!(bench.output(), "\x1b[2J\x1b[1;1Hvi\r\n~");
    assert_eq!(bench.press(":q\x1dr").len(), 2);
    let output = bench.output();
    let rest = output.strip_prefix("\x1b[0m").expect("the terminal is reset first");
    let (_, rest) = rest.split_once("\r\n").expect("a fresh line");
    let expected = ["[tessera] hello", "[tessera] the terminal is shared again", "[rtos] tick"];
    let mut lines: Vec<&str> = rest.lines().collect();
    lines.sort_by_key(|line| expected.iter().position(|known| known == line));
    assert_eq!(lines, expected);
    bench.write(LINUX, "\n# ");
    assert_eq!(bench.output(), "[linux>] \r\n[linux] # ");
}

#[test]
fn raw_mode_drops_the_oldest_lines_of_the_others_and_counts_them() {
    let mut bench = Bench::new();
    bench.press("\x1dr");
    bench.output();
    for number in 0..1000 {
        assert!(bench.console.room(RTOS));
        bench.write(RTOS, &format!("line {number}\n"));
    }
    assert_eq!(bench.output(), "");
    bench.press("\x1dr");
    let output = bench.output();
    let shown = output.lines().filter(|line| line.starts_with("[rtos] line ")).count();
    assert!(shown > 100 && output.contains("[rtos] line 999\r\n"));
    assert!(output.contains(&format!(
        "[tessera] {} lines of rtos were dropped\r\n[rtos] line {}\r\n",
        1000 - shown,
        1000 - shown
    )));
}

#[test]
fn moving_the_focus_ends_raw_mode() {
    let mut bench = Bench::new();
    bench.press("\x1dr\x1d2");
    assert!(bench.output().ends_with("[tessera] focus: rtos\r\n"));
    bench.write(LINUX, "\x1b[2J\n");
    assert!(!bench.output().contains('\x1b'));
}

#[test]
fn a_panic_gets_a_fresh_line_and_loses_nothing() {
    let mut bench = Bench::new();
    bench.write(LINUX, "before\n# ");
    let bytes: Vec<u8> = bench.console.emergency().collect();
    assert_eq!(bytes, b"[linux] before\r\n[linux] # \x7f\r\n");
    bench.log("panic");
    assert_eq!(bench.output(), "[tessera] panic\r\n");
    assert_eq!(bench.console.emergency().next(), None);
}

#[test]
fn a_panic_shows_what_still_waits() {
    let mut bench = Bench::new();
    bench.write(LINUX, "# ");
    bench.write(RTOS, "> ");
    bench.log("last words");
    let bytes: Vec<u8> = bench.console.emergency().collect();
    let output = String::from_utf8(bytes).expect("text");
    for line in ["[linux] # \x7f\r\n", "[rtos] > \x7f\r\n", "[tessera] last words\r\n"] {
        assert!(output.contains(line), "{output:?}");
    }
}

/// Two that never end their line, on a wire of 12 bytes a millisecond.
#[test]
fn floods_share_the_wire_without_tearing_it_up() {
    let mut bench = Bench::new();
    let mut wire = String::new();
    for _ in 0..10_000 {
        for (channel, byte) in [(LINUX, b'l'), (RTOS, b'r')] {
            while bench.console.write(channel, byte, bench.now) {}
        }
        bench.pass(1);
        wire.extend((0..12).filter_map(|_| bench.console.next_output().map(char::from)));
    }
    let count = |letter: char| wire.chars().filter(|byte| *byte == letter).count();
    assert!(count('l') > 40_000 && count('r') > 40_000, "{} {}", count('l'), count('r'));
    assert!(count('\x7f') < 200, "{} breaks in 10 seconds", count('\x7f'));
}

/// Neither is EL2 kept out by a guest that never ends its line, nor is its line broken.
#[test]
fn a_flood_does_not_keep_the_log_out() {
    let mut bench = Bench::new();
    let mut wire = String::new();
    for time in 0..3000 {
        while bench.console.write(LINUX, b'l', bench.now) {}
        if time == 1000 {
            bench.log("hello");
        }
        bench.pass(1);
        wire.extend((0..12).filter_map(|_| bench.console.next_output().map(char::from)));
    }
    assert!(wire.contains("\x7f\r\n[tessera] hello\r\n[linux>] l"));
}

#[test]
fn a_panic_ends_raw_mode() {
    let mut bench = Bench::new();
    bench.press("\x1dr");
    bench.output();
    bench.write(LINUX, "vi");
    let bytes: Vec<u8> = bench.console.emergency().collect();
    assert!(bytes.starts_with(b"vi\x1b[0m") && bytes.ends_with(b"\r\n"));
    bench.log("panic");
    assert_eq!(bench.output(), "[tessera] panic\r\n");
}

#[test]
fn time_that_goes_back_does_no_harm() {
    let mut bench = Bench::new();
    bench.write(LINUX, "# ");
    bench.write(RTOS, "tick\n");
    bench.console.expire(0);
    bench.console.expire(5000);
    assert_eq!(bench.output(), "[linux] # \x7f\r\n[rtos] tick\r\n");
    bench.now = 0;
    bench.write(RTOS, "> ");
    bench.write(LINUX, "ls");
    assert_eq!(bench.output(), "[rtos] > ");
}

#[test]
fn the_input_queue_is_bounded_and_stops_when_refused() {
    let mut queue = InputQueue::new();
    assert_eq!((0..2000).filter(|number| queue.push(*number as u8)).count(), 1024);
    let mut received = Vec::new();
    queue.deliver(|byte| {
        let room = received.len() < 16;
        if room {
            received.push(byte);
        }
        room
    });
    assert_eq!(received, (0..16).collect::<Vec<u8>>());
    queue.deliver(|byte| {
        received.push(byte);
        true
    });
    assert_eq!((received.len(), received[16], queue.is_empty()), (1024, 16, true));
}
