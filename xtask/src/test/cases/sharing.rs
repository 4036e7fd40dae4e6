//! Guests that share an image; the counts that EL2 gives are compared with counts of our own.

use super::*;

/// Guests that share an image; the counts that EL2 gives are compared with counts of our own.
pub(super) fn cases() -> Vec<Case> {
    let linux = [
        "expect linux-a:linux# $",
        "expect linux-b:linux# $",
        "expect hello:hello> $",
        "send linux-a:md5sum /bin/busybox\\n",
        "expect linux-a:[0-9a-f]{32}  /bin/busybox",
        "send linux-a:poweroff -f\\n",
        "expect tessera:linux-a: off",
        "send linux-b:md5sum /bin/busybox\\n",
        "expect linux-b:[0-9a-f]{32}  /bin/busybox",
        "send linux-b:poweroff -f\\n",
        "expect tessera:linux-b: off",
        "send hello:still here\\n",
        "expect hello:echo: still here",
        "send hello:off\\n",
    ];
    let name = "two linux guests share their kernel";
    let linux = Case::new(name, System::Named("two-linux-shared")).steps(&linux);
    let linux = Case { seconds: 150, verify: shares_the_whole_kernel, ..linux.ends(0) };
    vec![linux, writers(), writers_that_start_again(), tables()]
}

/// Each shares as many pages as the kernel's file has, and copies some of them.
fn shares_the_whole_kernel(console: &str) -> Result<(), String> {
    let kernel = std::fs::metadata(crate::setup::linux::kernel()).map_err(|error| error.to_string())?;
    let pages = kernel.len() / tessera_abi::manifest::PAGE_BYTES;
    for vm in ["linux-a", "linux-b"] {
        let shared = counter(console, vm, "pages shared at first")?;
        // The last page may be whole or not.
        if shared.abs_diff(pages) > 1 {
            return Err(format!("{vm} shares {shared} pages; the kernel has {pages}"));
        }
        let copied = counter(console, vm, "pages copied")?;
        if copied == 0 || copied >= shared {
            return Err(format!("{vm} copied {copied} of {shared} pages"));
        }
    }
    Ok(())
}

/// How many more pages the first writer is told to write than the second.
const MORE_PAGES: u64 = 90;

fn writer(name: &str, share: bool) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\ncpus = 1\nmemory = \"16M\"\nimage = \"tessera:guest/writer\"\nshare-image = {share}\n"
    )
}

/// Two guests from one image differ only in how many pages they write; a third has the image for itself.
fn writers() -> Case {
    let system = System::Inline(writer("many", true) + &writer("few", true) + &writer("alone", false));
    let steps = [
        "expect many:writer> $",
        "expect few:writer> $",
        "expect alone:writer> $",
        "send many:write 100\\n",
        "expect many:wrote 100 pages",
        "send few:write 10\\n",
        "expect few:wrote 10 pages",
        "send many:check\\n",
        "expect many:check ok, 100 written",
        "send few:check\\n",
        "expect few:check ok, 10 written",
        "send alone:check\\n",
        "expect alone:check ok, 0 written",
        "send many:off\\n",
        "send few:off\\n",
        "send alone:off\\n",
    ];
    let case = Case::new("writers of a shared image copy what they write", system).steps(&steps);
    Case { verify: copies_what_is_written, ..case.ends(0) }
}

/// Whatever a guest wrote before it starts again: each life begins with the image as it was, and with empty memory; and a
/// neighbour that shares the image keeps what it wrote.
fn writers_that_start_again() -> Case {
    let system = System::Inline(writer("many", true) + &writer("alone", false) + &writer("neighbour", true));
    let mut steps = vec!["expect neighbour:writer> $", "send neighbour:write 9\\n", "expect neighbour:wrote 9 pages"];
    for _ in 0..3 {
        steps.extend(["expect many:check ok, 0 written", "expect many:writer> $"]);
        steps.extend(["send many:write 1024\\n", "expect many:wrote 1024 pages", "expect many:writer> $"]);
        steps.extend(["send many:reset\\n", "expect alone:check ok, 0 written", "expect alone:writer> $"]);
        steps.extend(["send alone:write 700\\n", "expect alone:wrote 700 pages", "expect alone:writer> $"]);
        steps.push("send alone:reset\\n");
    }
    steps.extend(["expect many:check ok, 0 written", "expect many:writer> $", "send many:off\\n"]);
    steps.extend(["expect alone:check ok, 0 written", "expect alone:writer> $", "send alone:off\\n"]);
    steps.extend(["send neighbour:check\\n", "expect neighbour:check ok, 9 written", "send neighbour:off\\n"]);
    Case::new("writers of a shared image start afresh", system).steps(&steps).ends(0)
}

fn copies_what_is_written(console: &str) -> Result<(), String> {
    let [many, few] = ["many", "few"].map(|vm| counter(console, vm, "pages copied"));
    let (many, few) = (many?, few?);
    match few.checked_add(MORE_PAGES) == Some(many) {
        true => Ok(()),
        false => Err(format!("{many} and {few} pages were copied: the difference should be {MORE_PAGES}")),
    }
}

/// A counter in EL2's last words about a VM.
fn counter(console: &str, vm: &str, name: &str) -> Result<u64, String> {
    let start = format!("[tessera] {vm}: off");
    let line = console.lines().find(|line| line.starts_with(&start)).ok_or(format!("no line `{start}`"))?;
    let value = line.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix(": "));
    let number = value.and_then(|value| value.trim().parse().ok());
    number.ok_or(format!("no `{name}` in `{line}`"))
}

/// Tables on shared pages and in a device's registers, on a processor that sets access flags itself.
fn tables() -> Case {
    let system = "[[vm]]\nname = \"tables\"\ncpus = 1\nmemory = \"16M\"\nimage = \"tessera:guest/tables\"\n\
                  share-image = true\n\
                  devices = [{ machine = 0x9010000, interrupts = [2], compatible = \"arm,pl031\" }]\n";
    let case = Case::new("tables of a guest on shared pages and in a device", System::Inline(system.to_owned()));
    Case { qemu: &["-cpu", "max"], ..case.steps(&["expect tables:^PASS: 4 checks$"]).ends(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_last_words() {
        let console =
            "[tessera] a: 16384 KiB\r\n[a] x\r\n[tessera] a: off, pages shared at first: 12, pages copied: 3\r\n";
        assert_eq!(counter(console, "a", "pages copied"), Ok(3));
        assert_eq!(counter(console, "a", "pages shared at first"), Ok(12));
        assert!(counter(console, "b", "pages copied").is_err() && counter(console, "a", "pages lost").is_err());
    }

    #[test]
    fn wrong_counts_of_copies_are_noticed() {
        let console = |many: u64| {
            format!("[tessera] many: off, pages copied: {many}\r\n[tessera] few: off, pages copied: 15\r\n")
        };
        assert!(copies_what_is_written(&console(105)).is_ok());
        assert!(copies_what_is_written(&console(104)).is_err());
    }
}
