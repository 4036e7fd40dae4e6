//! The UART to talk to people through (Devicetree Specification 0.4, 3.6 `stdout-path`).

use crate::interrupt_id::Interrupt;
use crate::span::Span;
use crate::tree::{DeviceNode, Tree};
use alloc::string::String;

/// What kind of UART it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UartKind {
    /// Arm PrimeCell PL011.
    Pl011,
    /// The subset of a PL011 that the Server Base System Architecture asks for: firmware has set it up.
    SbsaUart,
    /// The mini UART of BCM2835 and its successors.
    BcmMiniUart,
    /// One that no driver here knows, by its first `compatible`.
    Unsupported(String),
}

/// The console UART.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// Path of its node.
    pub path: String,
    /// What it is.
    pub kind: UartKind,
    /// Where its registers are.
    pub registers: Span,
    /// Its interrupt; without one it must be polled.
    pub interrupt: Option<Interrupt>,
    /// Frequency in Hz of its clock, if the tree tells it: without it the baud rate must stay as it is.
    pub clock: Option<u32>,
    /// Baud rate that `stdout-path` asks for.
    pub baud: Option<u32>,
}

const PL011: &[&str] = &["arm,pl011", "arm,pl011-axi"];
const SBSA_UART: &[&str] = &["arm,sbsa-uart"];
const BCM_MINI_UART: &[&str] = &["brcm,bcm2835-aux-uart"];

/// The console of a board whose tree may be wrong elsewhere: to say what is wrong with it.
///
/// The UART that `stdout-path` names or, if it names none that is there, the first PL011.
pub fn find_console(tree: &Tree) -> Option<Console> {
    let fallback = || read(tree.compatible_with(PL011).next()?, None);
    chosen(tree).or_else(fallback)
}

fn chosen(tree: &Tree) -> Option<Console> {
    let chosen = tree.by_path("/chosen")?;
    let value = chosen.string("stdout-path").or_else(|| chosen.string("linux,stdout-path"))?;
    let (path, options) = value.split_once(':').unwrap_or((value, ""));
    read(tree.by_path(path)?, baud(options))
}

/// The rate in options like `115200n8`.
fn baud(options: &str) -> Option<u32> {
    let digits = options.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(options.len());
    options.get(..digits)?.parse().ok().filter(|&rate| rate > 0)
}

fn read(node: DeviceNode, baud: Option<u32>) -> Option<Console> {
    let registers = node.registers().ok()?.first().copied().filter(|registers| !registers.is_empty())?;
    let interrupt = node.interrupts().ok().and_then(|interrupts| interrupts.first().copied());
    Some(Console { path: node.path(), kind: kind(node), registers, interrupt, clock: node.clock_frequency(), baud })
}

fn kind(node: DeviceNode) -> UartKind {
    if node.is_compatible(PL011) {
        UartKind::Pl011
    } else if node.is_compatible(SBSA_UART) {
        UartKind::SbsaUart
    } else if node.is_compatible(BCM_MINI_UART) {
        UartKind::BcmMiniUart
    } else {
        UartKind::Unsupported(node.string("compatible").unwrap_or("unnamed").into())
    }
}
