//! What the Linux guest with the loads says on its console (guests/bench/loads, guests/bench/src/linux/mark.rs).

use std::ops::Range;

use super::LOADS;

/// When a load began and ended, by the guest's counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    begin: u64,
    end: u64,
    /// Ticks in a second.
    frequency: u64,
}

impl Span {
    /// Its length.
    pub fn microseconds(&self) -> u64 {
        let ticks = u128::from(self.end.saturating_sub(self.begin));
        u64::try_from(ticks * 1_000_000 / u128::from(self.frequency.max(1))).unwrap_or(u64::MAX)
    }
}

/// A device, where the guest's kernel has mapped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Virtual addresses.
    pub mapped: Range<u64>,
    /// The guest's physical address of the first.
    pub address: u64,
}

/// All that the guest said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Of each load, in their order.
    pub spans: Vec<Span>,
    /// The devices.
    pub devices: Vec<Device>,
}

/// Reads a console; why it is of no use if the guest did not come to its end, or found a result wrong.
pub fn read(console: &str) -> Result<Said, String> {
    let lines: Vec<_> = console.lines().filter_map(marked).collect();
    if let Some(wrong) = lines.iter().find(|line| line.starts_with("WRONG")) {
        return Err(format!("a result was wrong: {wrong}"));
    }
    if !lines.contains(&"done") {
        let last = console.lines().rev().map(str::trim).find(|line| !line.is_empty());
        return Err(format!("the guest did not finish; last line: {}", last.unwrap_or("none")));
    }
    let spans = LOADS.iter().map_while(|load| span(&lines, load.name)).collect();
    Ok(Said { spans, devices: lines.iter().filter_map(|line| device(line)).collect() })
}

/// What follows the mark, of a line with or without the guest's name.
fn marked(line: &str) -> Option<&str> {
    let line = line.trim();
    line.strip_prefix("[bench] ").unwrap_or(line).strip_prefix("bench: ")
}

/// From the last begin to the first end: each core has its own.
fn span(lines: &[&str], load: &str) -> Option<Span> {
    let times = |place| lines.iter().filter_map(move |line| time(line, place, load));
    let (begin, frequency) = times("begin").next_back()?;
    let (end, _) = times("end").next()?;
    Some(Span { begin, end, frequency })
}

/// `begin switches at 123 of 62500000 Hz`: ticks, and ticks in a second.
fn time(line: &str, place: &str, load: &str) -> Option<(u64, u64)> {
    let words: Vec<_> = line.split(' ').collect();
    match words.as_slice() {
        [at, name, "at", ticks, "of", frequency, "Hz"] if *at == place && *name == load => {
            Some((ticks.parse().ok()?, frequency.parse().ok()?))
        }
        _ => None,
    }
}

/// `device at 0xffff800009ac0000 to 0xffff800009ad0000 is 0x0000000008000000`.
fn device(line: &str) -> Option<Device> {
    let words: Vec<_> = line.split(' ').collect();
    let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    match words.as_slice() {
        ["device", "at", from, "to", to, "is", address] => {
            Some(Device { mapped: number(from)?..number(to)?, address: number(address)? })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "[bench] bench: device at 0xffff800009ac0000 to 0xffff800009ad0000 is 0x0000000008000000\r\n\
        [bench] bench: begin switches at 900 of 1000 Hz\r\n\
        [bench] bench: begin switches at 1000 of 1000 Hz\r\n\
        [bench] bench: end switches at 3500 of 1000 Hz\r\n\
        [bench] bench: end switches at 3900 of 1000 Hz\r\n\
        bench: begin faults at 4000 of 1000 Hz\n\
        bench: end faults at 4001 of 1000 Hz\n\
        bench: done\n";

    #[test]
    fn loads_and_devices_are_read() {
        let said = read(CONSOLE).expect("whole");
        let times: Vec<_> = said.spans.iter().map(Span::microseconds).collect();
        assert_eq!(times, [2_500_000, 1_000]);
        let device = Device { mapped: 0xffff_8000_09ac_0000..0xffff_8000_09ad_0000, address: 0x0800_0000 };
        assert_eq!(said.devices, [device]);
    }

    #[test]
    fn a_guest_that_did_not_finish_or_was_wrong_gives_no_figure() {
        let why = read(&CONSOLE.replace("bench: done", "Kernel panic")).expect_err("no end");
        assert!(why.ends_with("last line: Kernel panic"), "{why}");
        let why = read(&format!("bench: WRONG line\n{CONSOLE}")).expect_err("wrong");
        assert!(why.contains("WRONG line"), "{why}");
        assert_eq!(read(&CONSOLE.replace("end switches", "x")).expect("done").spans, []);
    }
}
