//! The engine against made-up machines: shell scripts that write tagged lines and read the keyboard.

use super::*;
use crate::console::Step;

fn guests() -> Vec<String> {
    vec!["linux".to_owned(), "freertos".to_owned()]
}

fn plan(steps: &[&str], stop_after_script: bool) -> Plan {
    let steps = steps.iter().map(|step| match step.split_once(' ') {
        Some(("expect", argument)) => Step::expect(argument).expect("valid"),
        Some(("send", argument)) => Step::send(argument).expect("valid"),
        _ => panic!("no step: {step}"),
    });
    Plan {
        script: Script::new(steps.collect(), &guests()).expect("valid"),
        stop_after_script,
        limit: Some(Duration::from_secs(20)),
        patience: None,
    }
}

/// Runs a shell script as the machine; the verdict and what reached the sink.
fn run(machine: &str, plan: Plan) -> (Verdict, String) {
    let mut shell = crate::qemu::tied("sh");
    let mut session = Session::start(shell.args(["-c", machine]), &guests(), None).expect("starts");
    let mut seen = Vec::new();
    let verdict = session.run(plan, &mut |bytes| seen.extend_from_slice(bytes)).expect("runs");
    (verdict, String::from_utf8(seen).expect("text"))
}

#[test]
fn a_script_is_carried_out_and_the_machine_stopped() {
    let steps = ["expect linux:# $", "send linux:one\\n", "expect freertos:tick", "expect linux:got"];
    let started = Instant::now();
    let (verdict, seen) = run(
        "printf '[linux] # '; read x; printf 'got %s\\r\\n[freertos] tick\\r\\n' \"$x\"; sleep 60",
        plan(&steps, true),
    );
    assert_eq!(verdict, Verdict::ScriptDone, "{seen}");
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[test]
fn the_machines_own_end_is_told() {
    assert_eq!(run("exit 7", plan(&[], false)).0, Verdict::Ended(Ending::Silent(Some(7))));
    let last = plan(&["expect linux:bye"], false);
    assert_eq!(run("printf '[linux] bye\\r\\n'", last).0, Verdict::Ended(Ending::Silent(Some(0))));
}

#[test]
fn the_verdict_is_tesseras_and_its_machine_goes_off() {
    let token = Token::draw();
    let ending = |machine: &str| {
        let mut shell = crate::qemu::tied("sh");
        shell.args(["-c", machine]).env("ASKED", token.argument());
        let mut session = Session::start(&mut shell, &guests(), Some(&token)).expect("starts");
        session.run(plan(&[], false), &mut |_| ()).expect("runs")
    };
    let said =
        |tag, status| format!("printf '[linux] x\\r\\n[{tag}] verdict %s: 1\\r\\n' ${{ASKED#*=}}; exit {status}");
    assert_eq!(ending(&said("tessera", 0)), Verdict::Ended(Ending::Said(1)));
    assert_eq!(ending(&said("linux", 0)), Verdict::Ended(Ending::Unheard));
    assert_eq!(ending(&said("tessera", 3)), Verdict::Ended(Ending::Silent(Some(3))));
}

#[test]
fn an_end_before_the_last_step_names_the_step() {
    let (verdict, _) = run("printf '[linux] a\\r\\n'; exit 1", plan(&["expect linux:a", "expect linux:b"], true));
    let Verdict::EndedEarly(Ending::Silent(Some(1)), step) = verdict else { panic!("{verdict:?}") };
    assert!(step.starts_with("step 2 of 2") && step.contains('b'), "{step}");
}

#[test]
fn a_silent_machine_runs_into_the_limit() {
    let mut plan = plan(&["expect linux:never"], true);
    plan.limit = Some(Duration::from_millis(200));
    let (verdict, _) = run("sleep 60", plan);
    assert!(matches!(verdict, Verdict::TimedOut(Some(step)) if step.contains("never")));
}

#[test]
fn anothers_output_does_not_match() {
    let (verdict, _) = run("printf '[freertos] ready\\r\\n'", plan(&["expect linux:ready"], true));
    assert!(matches!(verdict, Verdict::EndedEarly(..)));
}

#[test]
fn input_reaches_the_machine_and_quits_a_wedged_one() {
    let plan = plan(&[], false);
    let mut shell = crate::qemu::tied("sh");
    shell.args(["-c", "head -c 3; sleep 60"]);
    let mut session = Session::start(&mut shell, &guests(), None).expect("starts");
    session.sender().send(Event::Input(b"ab\x1d".to_vec())).expect("open");
    session.sender().send(Event::Input(b"q".to_vec())).expect("open");
    let mut seen = Vec::new();
    let started = Instant::now();
    let verdict = session.run(plan, &mut |bytes| seen.extend_from_slice(bytes)).expect("runs");
    assert_eq!((verdict, &*seen), (Verdict::Quit, &b"ab\x1d"[..]));
    assert!(started.elapsed() >= QUIT_LIMIT);
}

#[test]
fn a_doubled_escape_key_is_no_command() {
    let mut keys = QuitKeys::default();
    keys.see(b"\x1d\x1dq x");
    assert!(keys.deadline.is_none());
    keys.see(b"\x1d");
    keys.see(b"x");
    assert!(keys.deadline.is_some());
}

#[test]
fn a_dropped_session_leaves_no_process() {
    let mut shell = crate::qemu::tied("sh");
    shell.args(["-c", "echo $$; exec sleep 60"]);
    let session = Session::start(&mut shell, &guests(), None).expect("starts");
    let Ok(Event::Output(bytes)) = session.events.recv() else { panic!("no output") };
    let process = String::from_utf8(bytes).expect("a number");
    let entry = std::path::Path::new("/proc").join(process.trim());
    assert!(entry.exists());
    drop(session);
    assert!(!entry.exists());
}
