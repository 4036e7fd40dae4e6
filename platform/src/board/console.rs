//! The UART to talk to people through (Devicetree Specification 0.4, 3.6 `stdout-path`).

use crate::interrupt_id::Interrupt;
use crate::span::Span;
use crate::tree::{DeviceNode, Models, Tree};
use crate::uart;
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
    /// Whether `stdout-path` names something else, for which there is no driver.
    pub is_replacement: bool,
}

const PL011: &[&str] = &["arm,pl011", "arm,pl011-axi"];
const SBSA_UART: &[&str] = &["arm,sbsa-uart"];
const BCM_MINI_UART: &[&str] = &["brcm,bcm2835-aux-uart"];

/// The console of a board whose tree may be wrong elsewhere: to say what is wrong with it.
///
/// The UART that `stdout-path` names or, if that is none with a driver, the first that has one and is on: better there
/// than nowhere.
pub fn find_console(tree: &Tree) -> Option<Console> {
    let wanted = stdout_path(tree);
    let (path, options) = wanted.and_then(|value| value.split_once(':')).unwrap_or((wanted.unwrap_or(""), ""));
    let named = tree.by_path(path);
    if let Some((node, registers)) = named.and_then(with_driver) {
        return Some(read(node, registers, options));
    }
    match tree.nodes().filter(|node| node.is_enabled()).find_map(with_driver) {
        Some((node, registers)) => Some(Console { is_replacement: wanted.is_some(), ..read(node, registers, "") }),
        None => named.and_then(|node| Some(read(node, registers(node)?, options))),
    }
}

fn stdout_path<'tree>(tree: &'tree Tree) -> Option<&'tree str> {
    let chosen = tree.by_path("/chosen")?;
    chosen.string("stdout-path").or_else(|| chosen.string("linux,stdout-path"))
}

/// A node for which [`Uart::new`](uart::Uart::new) has a driver, and where its registers are.
fn with_driver(node: DeviceNode) -> Option<(DeviceNode, Span)> {
    const KNOWN: Models = Models::new(&[PL011, SBSA_UART, BCM_MINI_UART]);
    let registers = if node.is_one_of(&KNOWN) { registers(node) } else { None };
    registers.filter(|registers| uart::fits(*registers)).map(|registers| (node, registers))
}

/// The rate in options like `115200n8`.
fn baud(options: &str) -> Option<u32> {
    let digits = options.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(options.len());
    options.get(..digits)?.parse().ok().filter(|&rate| rate > 0)
}

fn registers(node: DeviceNode) -> Option<Span> {
    node.registers().ok()?.first().copied().filter(|registers| !registers.is_empty())
}

#[inline(never)]
fn read(node: DeviceNode, registers: Span, options: &str) -> Console {
    Console {
        path: node.path(),
        kind: kind(node),
        registers,
        interrupt: node.interrupts().ok().and_then(|interrupts| interrupts.first().copied()),
        clock: node.clock_frequency(),
        baud: baud(options),
        is_replacement: false,
    }
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
