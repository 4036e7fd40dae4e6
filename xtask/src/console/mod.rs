//! The other end of Tessera's console: taking the guests' output apart again, and carrying out a script on it.
//!
//! [`Demultiplexer`] turns the bytes of the physical UART into each guest's own output. [`Script`] says what to send
//! when. Neither reads or writes anything itself: the caller moves the bytes, keeps the time limit, and prints.
//!
//! ```ignore
//! let mut demultiplexer = Demultiplexer::new(["linux", "freertos"]);
//! let mut script = Script::new(vec![Step::expect("linux:login: $")?, Step::send("linux:root\\n")?], &guests)?;
//! loop {
//!     match script.next(&demultiplexer, Instant::now()) {
//!         Action::Send(bytes) => uart.write_all(&bytes)?,
//!         Action::Wait { until } => demultiplexer.feed(&uart.read_some(until)?),
//!         Action::Done => break,
//!     }
//! }
//! ```

mod argument;
mod demultiplexer;
mod script;
#[cfg(test)]
mod tests;
mod transcript;

#[cfg(test)]
use {argument::ArgumentError, demultiplexer::EL2_NAME, demultiplexer::Event, script::ScriptError};
pub use {
    demultiplexer::Demultiplexer,
    script::{Action, Script, Step},
};
