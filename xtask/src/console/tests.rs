//! The hypervisor's console against the demultiplexer, and scripts.

mod properties;
mod screen;
mod scripts;

use super::*;

/// Feeds bytes one at a time and joined; both ways must give the same.
#[track_caller]
fn demultiplexed(bytes: &[u8], vm: &str) -> String {
    let mut whole = Demultiplexer::new(["linux", "rtos"]);
    whole.feed(bytes);
    let mut single = Demultiplexer::new(["linux", "rtos"]);
    bytes.iter().for_each(|byte| drop(single.feed(&[*byte])));
    assert_eq!(whole.output(vm), single.output(vm));
    String::from_utf8_lossy(whole.output(vm)).into_owned()
}

#[test]
fn each_line_goes_to_its_guest() {
    let bytes = b"[linux] a\r\n[rtos] b\r\n[tessera] up\r\n[linux] c";
    assert_eq!(demultiplexed(bytes, "linux"), "a\nc");
    assert_eq!(demultiplexed(bytes, "rtos"), "b\n");
    assert_eq!(demultiplexed(bytes, EL2_NAME), "up\n");
}

#[test]
fn a_broken_line_is_one_line() {
    let bytes = b"[linux] log\x7f\r\n[rtos] tick\r\n[linux>] in: \r\n";
    assert_eq!(demultiplexed(bytes, "linux"), "login: \n");
}

#[test]
fn a_tag_inside_a_line_is_text() {
    assert_eq!(demultiplexed(b"[linux] [rtos] x\r\n", "linux"), "[rtos] x\n");
    assert_eq!(demultiplexed(b"[linux] [rtos] x\r\n", "rtos"), "");
}

#[test]
fn a_carriage_return_of_the_guests_is_kept() {
    assert_eq!(demultiplexed(b"[linux] 10%\r[linux] 20%\r\n", "linux"), "10%\r20%\n");
}

#[test]
fn only_the_consoles_colours_are_taken_away() {
    let bytes = b"\x1b[0;36m[linux]\x1b[0m \x1b[31mred\x1b[0m\x1b[0m\r\n\x1b[0;36m[linux]\x1b[0m plain\r\n";
    assert_eq!(demultiplexed(bytes, "linux"), "\x1b[31mred\x1b[0m\nplain\n");
}

#[test]
fn hidden_bytes_come_back() {
    assert_eq!(demultiplexed(b"[linux] a\x02\x19[2Jb\r\n", "linux"), "a\x1b[2Jb\n");
}

#[test]
fn what_has_no_tag_is_nobodys() {
    let bytes = b"U-Boot 2025\r\n\r\n[other] hm\r\n[linux] a\r\n";
    assert_eq!(demultiplexed(bytes, ""), "U-Boot 2025\n\n[other] hm\n");
    assert_eq!(demultiplexed(bytes, "linux"), "a\n");
}

#[test]
fn events_come_in_order_and_at_once() {
    let mut demultiplexer = Demultiplexer::new(["linux", "rtos"]);
    let event = |vm: &str, bytes: &[u8]| Event { vm: vm.to_string(), bytes: bytes.to_vec() };
    assert_eq!(demultiplexer.feed(b"[rtos] a\r\n[linux] log"), [event("rtos", b"a\n"), event("linux", b"log")]);
    assert_eq!(demultiplexer.feed(b"in: "), [event("linux", b"in: ")]);
    assert_eq!(demultiplexer.feed(b"\r"), []);
}
