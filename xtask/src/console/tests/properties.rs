//! Random output of several guests through the hypervisor's console, the wire cut anywhere, and back.

use super::{Demultiplexer, EL2_NAME, screen::Screen};
use proptest::prelude::*;
use tessera::console::{Console, Settings};

const NAMES: [&str; 3] = ["ga", "gb", "gc"];
/// A letter that only this guest prints.
const LETTERS: [u8; 3] = [b'x', b'y', b'z'];

/// Something that happens at the console.
#[derive(Debug, Clone)]
enum Event {
    Write(usize, Vec<u8>),
    Log(u8),
    Pass(u64),
    Take(usize),
}

/// Bytes that are likely to confuse: pieces of tags, line ends, sequences, half sequences, hidden bytes.
fn output(guest: usize) -> impl Strategy<Value = Vec<u8>> {
    let letter = LETTERS[guest];
    let pieces: Vec<&'static [u8]> = vec![
        b"\n",
        b"\r\n",
        b"\r",
        b"\r\r\n",
        b"[gb] ",
        b"[ga>] ",
        b"[tessera] ",
        b"\x1b[0m",
        b"\x1b[31m",
        b"\x1b[2J",
        b"\x1b[5D",
        b"\x1b[D",
        b"\x1b[C",
        b"\x1b[99C",
        b"\x1b[K",
        b"\x1b[A",
        b"\x1b[1;1H",
        b"\x1b",
        b"\x1b[",
        b"\x08",
        b"\x08\x08\x08\x08\x08\x08",
        b"\t",
        b"\x7f",
        b"\x01",
        b"\x1d",
        b"\0",
        b"\x1b]0;title\x07",
        b"\x1b]0;title\x1b\\",
        b"\xc2\x9b2J",
        b"\xc3\xa4",
        b"\xc2\xa9",
        b"\xff",
        b"\x1b7",
        b"\x1b(B",
        b"\x0c",
        b"\x1bc",
        b"\x1b[38;2;255;255;255;48;2;1;2;3m",
        b"\x1b[1111111111111111111111111111111111111111111111111m",
    ];
    let piece = prop_oneof![
        3 => proptest::sample::select(pieces).prop_map(<[u8]>::to_vec),
        4 => (1usize..12).prop_map(move |count| vec![letter; count]),
        1 => proptest::collection::vec((0u8..=255).prop_filter("the others' letters", |byte| !LETTERS.contains(byte)), 0..6),
        1 => (200usize..400).prop_map(move |count| vec![letter; count]),
    ];
    proptest::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0usize..3).prop_flat_map(|guest| output(guest).prop_map(move |bytes| Event::Write(guest, bytes))),
        1 => (0u8..100).prop_map(Event::Log),
        2 => prop_oneof![0u64..5, 15u64..30, 40u64..120].prop_map(Event::Pass),
        2 => (0usize..2000).prop_map(Event::Take),
    ]
}

/// What the demultiplexer is to give for `bytes`: `\r...\r\n` is `\n`, several `\r` are one.
fn normalized(bytes: &[u8]) -> Vec<u8> {
    let mut result: Vec<u8> = Vec::new();
    for byte in bytes {
        match (result.last(), byte) {
            (Some(b'\r'), b'\r') => {}
            (Some(b'\r'), b'\n') => *result.last_mut().expect("just seen") = b'\n',
            _ => result.push(*byte),
        }
    }
    result
}

/// A console, what was written to it, and what it sent.
struct Run {
    console: Console,
    written: [Vec<u8>; 3],
    logged: String,
    wire: Vec<u8>,
    now: u64,
}

impl Run {
    /// One tick is one millisecond.
    fn new(colour: bool) -> Self {
        let console = Console::new(&NAMES, Settings { ticks_per_second: 1000, colour });
        Self { console, written: Default::default(), logged: String::new(), wire: Vec::new(), now: 0 }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Write(guest, bytes) => bytes.iter().for_each(|byte| self.write(*guest, *byte)),
            Event::Log(number) => {
                self.take(usize::MAX);
                self.console.log_line(format_args!("log {number}"), self.now);
                self.logged += &format!("log {number}\n");
            }
            Event::Pass(time) => self.pass(*time, 0),
            Event::Take(count) => self.take(*count),
        }
    }

    fn write(&mut self, guest: usize, byte: u8) {
        let room = self.console.room(guest + 1);
        let mut taken = self.console.write(guest + 1, byte, self.now);
        assert_eq!(room, taken, "room() must foretell write()");
        for _ in 0..20_000 {
            if taken {
                break;
            }
            self.take(1);
            taken = self.console.write(guest + 1, byte, self.now);
        }
        assert!(taken, "the console is wedged");
        self.written[guest].push(byte);
    }

    /// Time passes while the UART takes `count` bytes whenever something is brought on.
    fn pass(&mut self, time: u64, count: usize) {
        let end = self.now + time;
        while let Some(deadline) = self.console.deadline().filter(|deadline| *deadline <= end) {
            assert!(deadline > self.now, "a deadline in the past would be served for ever");
            self.now = deadline;
            self.console.expire(deadline);
            self.take(count);
        }
        self.now = end;
        // Whoever takes output later has come by the clock.
        self.console.expire(end);
        self.take(count);
    }

    fn take(&mut self, count: usize) {
        self.wire.extend(core::iter::from_fn(|| self.console.next_output()).take(count));
    }

    /// Ends every line and waits until everything is shown.
    fn finish(&mut self) {
        (0..3).for_each(|guest| self.write(guest, b'\n'));
        for _ in 0..20 {
            self.take(usize::MAX);
            self.pass(100, 0);
        }
        assert_eq!(self.console.deadline(), None);
    }
}

fn run(events: &[Event], colour: bool) -> Run {
    let mut run = Run::new(colour);
    events.iter().for_each(|event| run.happen(event));
    run.finish();
    run
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec(event(), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_guest_gets_its_own_output_back(events in events(), colour: bool, cuts in proptest::collection::vec(1usize..50, 1..20)) {
        let run = run(&events, colour);
        let mut demultiplexer = Demultiplexer::new(NAMES);
        let mut rest = run.wire.as_slice();
        for cut in cuts.iter().cycle() {
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            demultiplexer.feed(chunk);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        for (name, written) in NAMES.iter().zip(&run.written) {
            let (got, expected) = (demultiplexer.output(name), normalized(written));
            prop_assert_eq!(got.escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
        prop_assert_eq!(demultiplexer.output(EL2_NAME), run.logged.as_bytes());
        prop_assert_eq!(demultiplexer.output(""), b"");
    }

    #[test]
    fn no_guest_writes_on_anothers_line(events in events(), colour: bool) {
        let run = run(&events, colour);
        let rows = Screen::show(&run.wire)?;
        for row in rows {
            let owner = ["[ga", "[gb", "[gc", "[tessera"].iter().position(|tag| {
                let rest = row.strip_prefix(tag.as_bytes()).unwrap_or_default();
                rest.starts_with(b"] ") || rest.starts_with(b">] ")
            });
            prop_assert!(owner.is_some(), "no tag: {}", row.escape_ascii());
            let foreign = |byte: &u8| LETTERS.iter().position(|letter| letter == byte).is_some_and(|guest| Some(guest) != owner);
            prop_assert!(!row.iter().any(foreign), "foreign text: {}", row.escape_ascii());
        }
    }

    #[test]
    fn what_waits_is_shown_within_its_time(events in events()) {
        let mut run = Run::new(false);
        for event in &events {
            run.happen(event);
            run.take(usize::MAX);
        }
        // 100 ms for the lines that are complete, as much again for what follows them.
        run.pass(200, usize::MAX);
        prop_assert_eq!(run.console.deadline(), None);
        let mut demultiplexer = Demultiplexer::new(NAMES);
        demultiplexer.feed(&run.wire);
        for (name, written) in NAMES.iter().zip(&run.written) {
            // Only what the next byte decides may be missing: a sequence of at most 40 bytes, a carriage return.
            let expected = normalized(written);
            let got = demultiplexer.output(name);
            prop_assert!(expected.starts_with(got) && expected.len() - got.len() <= 41);
        }
    }
}
