//! Names for the addresses in EL2's register dumps: a filter on the console's bytes, which it never holds back.

use std::path::Path;

use anyhow::{Result, anyhow};

/// What precedes an address, relative to the image's start, in EL2's dumps.
const MARK: &str = "backtrace: 0x";
/// Longer lines are no line of a dump.
const LONGEST: usize = 200;

/// Adds ` function (file:line)` to each line of a backtrace.
pub struct Symbolizer {
    symbols: Option<addr2line::Loader>,
    line: Vec<u8>,
}

impl Symbolizer {
    /// With the symbols of the hypervisor's ELF, which is linked at address 0.
    pub fn new(elf: &Path) -> Result<Self> {
        let symbols =
            addr2line::Loader::new(elf).map_err(|error| anyhow!("no symbols in {}: {error}", elf.display()))?;
        Ok(Self { symbols: Some(symbols), line: Vec::new() })
    }

    /// The bytes with names added where a line of a backtrace ends.
    pub fn filter(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if matches!(byte, b'\r' | b'\n') {
                out.extend(self.name_of_line().unwrap_or_default().bytes());
                self.line.clear();
            } else if self.line.len() < LONGEST {
                self.line.push(*byte);
            }
            out.push(*byte);
        }
        out
    }

    fn name_of_line(&self) -> Option<String> {
        let address = address(&self.line)?;
        let name = self.symbols.as_ref().and_then(|symbols| name(symbols, address));
        Some(format!(" {}", name.unwrap_or_else(|| "(unknown)".to_owned())))
    }
}

/// The address that ends a line of a backtrace.
fn address(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?;
    let (_, rest) = line.split_once(MARK)?;
    let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
    u64::from_str_radix(rest.get(..end)?, 16).ok()
}

/// `function (file:line)`, and what it was inlined into.
fn name(symbols: &addr2line::Loader, address: u64) -> Option<String> {
    let mut frames = symbols.find_frames(address).ok()?;
    let mut names = Vec::new();
    while let Ok(Some(frame)) = frames.next() {
        let function = frame.function.and_then(|function| Some(function.demangle().ok()?.into_owned()));
        let place =
            frame.location.and_then(|location| Some(format!(" ({}:{})", location.file?, location.line.unwrap_or(0))));
        names.push(format!("{}{}", function.unwrap_or_default(), place.unwrap_or_default()));
    }
    if names.is_empty() {
        names.push(symbols.find_symbol(address)?.to_owned());
    }
    Some(names.join(", inlined into "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_a_backtrace_have_an_address() {
        assert_eq!(address(b"[tessera] backtrace: 0x1a2c"), Some(0x1a2c));
        assert_eq!(address(b"\x1b[31m[tessera]\x1b[0m backtrace: 0x10\x1b[0m"), Some(0x10));
        assert_eq!(address(b"backtrace: 0x"), None);
        assert_eq!(address(b"image at 0x40200000"), None);
        assert_eq!(address(b"backtrace: 0x11112222333344445"), None);
    }

    #[test]
    fn bytes_pass_at_once_and_unchanged_but_for_the_names() {
        let mut symbolizer = Symbolizer { symbols: None, line: Vec::new() };
        assert_eq!(symbolizer.filter(b"[linux] # "), b"[linux] # ");
        assert_eq!(symbolizer.filter(b"ls\r\nbackt"), b"ls\r\nbackt");
        assert_eq!(symbolizer.filter(b"race: 0x4\r\n"), b"race: 0x4 (unknown)\r\n");
    }

    #[inline(never)]
    fn marker() -> u32 {
        std::hint::black_box(line!())
    }

    /// This test's own program stands for the hypervisor: it too is linked at 0.
    #[test]
    fn an_address_of_a_program_is_named_with_its_line() {
        use object::{Object, ObjectSymbol};
        let line = marker();
        let own = std::env::current_exe().expect("a file");
        let symbols = addr2line::Loader::new(&own).expect("debug information");
        let file = std::fs::read(&own).expect("readable");
        let parsed = object::File::parse(&*file).expect("ELF");
        let is_marker = |name: &str| name.contains("symbols") && name.contains("marker");
        let mut functions = parsed.symbols();
        let function = functions.find(|symbol| symbol.name().is_ok_and(is_marker)).expect("a symbol");
        let name = name(&symbols, function.address()).expect("a name");
        assert!(name.contains("tests::marker (") && name.contains("symbols.rs:"), "{name}");
        let shown = name.rsplit(':').next().and_then(|rest| rest.trim_end_matches(')').parse().ok());
        let shown: u32 = shown.expect("a line");
        assert!(shown.abs_diff(line) <= 2, "{name}, not {line}");
    }
}
