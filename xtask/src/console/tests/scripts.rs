//! Scripts against made-up consoles.

use super::*;
use std::time::{Duration, Instant};

const GUESTS: [&str; 2] = ["linux", "rtos"];

/// A script, the console it watches, and a clock.
struct Session {
    script: Script,
    console: Demultiplexer,
    now: Instant,
}

impl Session {
    fn new(steps: &[Result<Step, ArgumentError>]) -> Self {
        let steps = steps.iter().map(|step| step.clone().expect("a good argument")).collect();
        let script = Script::new(steps, &GUESTS).expect("a good script");
        Self { script, console: Demultiplexer::new(GUESTS), now: Instant::now() }
    }

    /// All that is sent until the script waits for output (false) or is done (true).
    fn go_on(&mut self) -> (Vec<u8>, bool) {
        let mut sent = Vec::new();
        loop {
            match self.script.next(&self.console, self.now) {
                Action::Send(bytes) => sent.extend(bytes),
                Action::Wait { until: Some(time) } => self.now = time,
                Action::Wait { until: None } => return (sent, false),
                Action::Done => return (sent, true),
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        self.console.feed(bytes);
        self.go_on()
    }
}

#[test]
fn waits_then_sends_with_the_focus() {
    let mut session = Session::new(&[
        Step::expect("linux:login: $"),
        Step::send(r"linux:root\n"),
        Step::expect("rtos:tick"),
        Step::send("rtos:s"),
        Step::send("rtos:t"),
    ]);
    assert_eq!(session.go_on(), (vec![], false));
    assert_eq!(session.feed(b"[rtos] login: \r\n[linux] log"), (vec![], false));
    assert_eq!(session.feed(b"in: "), (b"\x1d1root\n".to_vec(), false));
    assert_eq!(
        session.script.current().map(|(number, step)| format!("{number} {step}")),
        Some("3 expect rtos: tick".into())
    );
    assert_eq!(session.feed(b"\x7f\r\n[rtos] tick"), (b"\x1d2st".to_vec(), true));
    assert_eq!(session.script.current().map(|(number, _)| number), None);
}

#[test]
fn a_match_is_used_up_by_its_guest_alone() {
    let mut session = Session::new(&[
        Step::expect("linux:a+"),
        Step::expect("rtos:b"),
        Step::expect("linux:a"),
        Step::expect("rtos:b"),
    ]);
    assert_eq!(session.feed(b"[rtos] b\r\n[linux] aa\r\n"), (vec![], false));
    assert_eq!(session.script.current().map(|(number, _)| number), Some(3));
    assert_eq!(session.feed(b"[linux] a\r\n"), (vec![], false));
    assert_eq!(session.feed(b"[rtos] b\r\n"), (vec![], true));
}

#[test]
fn patterns_see_lines_and_cross_them() {
    let mut session =
        Session::new(&[Step::expect("linux:^two$"), Step::expect(r"linux:three\nfour"), Step::expect("linux:^# $")]);
    let bytes = b"[linux] one two\r\n[linux] two\r\n[linux] three\r\n[linux] four\r\n[linux] # \x02\x19[6n";
    assert_eq!(session.feed(bytes), (vec![], true));
}

#[test]
fn text_is_sent_in_chunks_with_pauses_and_the_escape_key_doubled() {
    let text = format!("linux:{}\\x1d", "x".repeat(100));
    let mut session = Session::new(&[Step::send(&text)]);
    let (mut sent, mut pauses) = (Vec::new(), 0);
    loop {
        match session.script.next(&session.console, session.now) {
            Action::Send(bytes) => sent.push(bytes),
            Action::Wait { until } => {
                assert!(until.is_some_and(|time| time > session.now));
                session.now += Duration::from_millis(1);
                pauses += 1;
            }
            Action::Done => break,
        }
    }
    assert_eq!(sent, [b"\x1d1".to_vec(), vec![b'x'; 64], [vec![b'x'; 36], b"\x1d\x1d".to_vec()].concat()]);
    assert!(pauses >= 40);
}

#[test]
fn what_is_sent_to_el2_are_keys_of_its_own() {
    let mut session =
        Session::new(&[Step::send("rtos:a"), Step::send("tessera:1h"), Step::send("rtos:b"), Step::send("rtos:c")]);
    // Who has the keyboard afterwards is not known: the guest gets it anew.
    assert_eq!(session.go_on(), (b"\x1d2a\x1d1\x1dh\x1d2bc".to_vec(), true));
}

#[test]
fn what_cannot_work_is_refused_at_once() {
    let refused = |argument: &str| {
        Script::new(vec![Step::send(argument).expect("well formed")], &GUESTS).map(|_| ()).expect_err(argument)
    };
    assert_eq!(refused("lunix:a").to_string(), "there is no guest 'lunix'; there are: linux, rtos");
    let many: Vec<String> = (1..=11).map(|number| format!("vm{number}")).collect();
    let to = |argument: &str| Script::new(vec![Step::send(argument).expect("well formed")], &many).map(|_| ());
    assert_eq!((to("vm10:a"), to("vm11:a")), (Ok(()), Err(ScriptError::Unreachable { vm: "vm11".into() })));
    assert!(Step::expect("linux:(").is_err_and(|error| error.to_string().contains("linux:(")));
    assert!(Script::new(vec![Step::expect("tessera:up").expect("well formed")], &GUESTS).is_ok());
}
