//! A peer's figures in the form of the bench guest's lines: those of one run, some operations replaced by what better
//! suited runs gave. What a line means belongs to the module that reads them.

use serde_json::json;

use crate::bench::figures::number_after;

/// The lines so far.
pub struct Collected {
    gic: u32,
    text: String,
}

impl Collected {
    /// Begins with a whole run's console.
    pub fn new(gic: u32, console: String) -> Self {
        Self { gic, text: console }
    }

    /// Takes one operation's line from another run; without the run, why there is none.
    pub fn replace(&mut self, operation: &str, console: Result<String, String>) {
        let line = console.and_then(|console| {
            let line = console.lines().find(|line| is_of(line, operation)).map(str::to_owned);
            line.ok_or_else(|| "the guest did not measure it".to_owned())
        });
        self.text = self.text.lines().filter(|line| !is_of(line, operation)).fold(String::new(), add);
        self.push(line.unwrap_or_else(|why| missing(operation, self.gic, &why)));
    }

    /// Adds a figure about the whole system.
    pub fn set(&mut self, operation: &str, value: Result<u64, String>) {
        self.push(match value {
            Ok(value) => figure(operation, self.gic, value),
            Err(why) => missing(operation, self.gic, &why),
        });
    }

    /// All lines.
    pub fn into_text(self) -> String {
        self.text
    }

    fn push(&mut self, line: String) {
        self.text = add(std::mem::take(&mut self.text), &line);
    }
}

fn add(text: String, line: &str) -> String {
    text + line + "\n"
}

fn is_of(line: &str, operation: &str) -> bool {
    line.starts_with("bench: {") && line.contains(&format!("\"op\":\"{operation}\""))
}

fn figure(operation: &str, gic: u32, value: u64) -> String {
    format!("bench: {}", json!({"op": operation, "gic": gic, "min": value, "median": value, "max": value}))
}

fn missing(operation: &str, gic: u32, why: &str) -> String {
    format!("bench: {}", json!({"op": operation, "gic": gic, "missing": why}))
}

/// Instructions from the machine's reset to the bench guest's first one, as its console says.
pub fn began(console: &str) -> Result<u64, String> {
    let counter = number_after(console, "first instruction at", "CNTPCT");
    counter.ok_or_else(|| "the guest did not say when it began".to_owned())
}
