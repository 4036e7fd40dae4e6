//! The UART as drivers expect it (Arm DDI 0183G): what Linux, U-Boot and FreeRTOS probe and use of a PL011.
#![no_std]
#![no_main]

use guest_runtime::checks::{self, Outcome};
use guest_runtime::console::PL011;
use guest_runtime::mmio::{read8, read16, read32, write8, write32};
use guest_runtime::{Machine, catch, console, delay, ensure, ensure_equal, entry, gic, list, println, skip};

entry!(main);

const DR: usize = PL011;
const RSR: usize = PL011 + 0x04;
const FR: usize = PL011 + 0x18;
const IBRD: usize = PL011 + 0x24;
const FBRD: usize = PL011 + 0x28;
const LCR_H: usize = PL011 + 0x2c;
const CR: usize = PL011 + 0x30;
const IFLS: usize = PL011 + 0x34;
const IMSC: usize = PL011 + 0x38;
const RIS: usize = PL011 + 0x3c;
const MIS: usize = PL011 + 0x40;
const ICR: usize = PL011 + 0x44;
const DMACR: usize = PL011 + 0x48;

/// FR: transmitting; FIFOs full or empty.
const FR_BUSY: u32 = 1 << 3;
const FR_RXFE: u32 = 1 << 4;
const FR_TXFF: u32 = 1 << 5;
const FR_RXFF: u32 = 1 << 6;
const FR_TXFE: u32 = 1 << 7;
/// Interrupt bits.
const RECEIVE: u32 = 1 << 4;
const TRANSMIT: u32 = 1 << 5;
const RECEIVE_TIMEOUT: u32 = 1 << 6;
const ALL_INTERRUPTS: u32 = 0x7ff;
/// CR: UART, loopback, transmitter, receiver.
const CR_NORMAL: u32 = 1 | 1 << 8 | 1 << 9;
const CR_LOOPBACK: u32 = CR_NORMAL | 1 << 7;
/// LCR_H: 8 bits with and without FIFOs.
const LCR_FIFO: u32 = 3 << 5 | 1 << 4;
const LCR_NO_FIFO: u32 = 3 << 5;
/// The UART's interrupt on `virt`: SPI 1.
const INTERRUPT: u32 = 33;
/// How long the UART may take for anything, in microseconds.
const LIMIT: u64 = 1_000_000;

fn main(machine: &Machine) {
    gic::start(machine);
    let interactive = machine.argument("receive").unwrap_or(0);
    checks::run(
        machine,
        list![
            identification,
            idle_flags,
            registers_keep_their_bits,
            narrow_accesses,
            reserved_offsets_do_no_harm,
            reading_without_data,
            transmit_interrupt,
            interrupt_line_follows_mask,
            a_long_line_is_not_lost,
            loopback_of_bytes,
            loopback_interrupts,
        ],
    );
    if interactive > 0 {
        receive_by_interrupt(machine, interactive);
    }
}

/// Brings the UART to the state a driver would.
fn begin() {
    write32(IMSC, 0);
    write32(LCR_H, LCR_FIFO);
    write32(CR, CR_NORMAL);
    write32(ICR, ALL_INTERRUPTS);
}

/// PeriphID and PCellID: a PL011, of any revision.
fn identification(_: &Machine) -> Outcome {
    let byte = |index: usize| read32(PL011 + 0xfe0 + 4 * index);
    let part = byte(0) | (byte(1) & 0xf) << 8;
    ensure_equal!(part, 0x011, "part number");
    ensure_equal!(byte(1) >> 4 | (byte(2) & 0xf) << 4, 0x41, "designer");
    ensure_equal!(byte(3), 0, "configuration");
    let cell = [4, 5, 6, 7].map(byte);
    ensure_equal!(cell, [0x0d, 0xf0, 0x05, 0xb1], "PCellID");
    Ok(())
}

/// Nothing to send, nothing received.
fn idle_flags(_: &Machine) -> Outcome {
    begin();
    let idle = || read32(FR) & (FR_TXFE | FR_BUSY) == FR_TXFE;
    ensure!(delay::until(LIMIT, idle), "FR is {:#x}", read32(FR));
    ensure_equal!(read32(FR) & (FR_TXFF | FR_RXFF | FR_RXFE), FR_RXFE, "FR");
    Ok(())
}

fn registers_keep_their_bits(_: &Machine) -> Outcome {
    begin();
    for (name, register, value) in [
        ("IBRD", IBRD, 0x1234),
        ("FBRD", FBRD, 0x2a),
        ("LCR_H", LCR_H, LCR_NO_FIFO),
        ("LCR_H", LCR_H, LCR_FIFO),
        ("IFLS", IFLS, 0b01_0001),
        ("IMSC", IMSC, RECEIVE | RECEIVE_TIMEOUT),
        ("IMSC", IMSC, 0),
        ("DMACR", DMACR, 0),
        ("CR", CR, CR_NORMAL),
    ] {
        write32(register, value);
        ensure_equal!(read32(register), value, "{name}");
    }
    write32(RSR, 0xff);
    ensure_equal!(read32(RSR) & 0xf, 0, "receive errors after clearing them");
    Ok(())
}

/// Early consoles read and write bytes and halfwords.
fn narrow_accesses(_: &Machine) -> Outcome {
    begin();
    ensure_equal!(u32::from(read8(FR)), read32(FR) & 0xff, "FR by byte");
    ensure_equal!(u32::from(read16(FR)), read32(FR) & 0xffff, "FR by halfword");
    ensure_equal!(read16(PL011 + 0xfe0), 0x11, "PeriphID0 by halfword");
    "pl011: written by bytes\r\n".bytes().for_each(|byte| write8(DR, byte));
    Ok(())
}

/// Offsets without a register read as something and ignore writes, up to the end of the page.
fn reserved_offsets_do_no_harm(_: &Machine) -> Outcome {
    begin();
    for offset in (0x4c..0x80).chain(0x90..0xfe0).step_by(4).filter(|offset| offset % 4 == 0) {
        let address = PL011 + offset;
        if let Err(fault) = catch::catch(|| write32(address, 0)) {
            ensure!(false, "writing offset {offset:#x}: {fault}");
        }
        if let Err(fault) = catch::catch(|| read32(address)) {
            ensure!(false, "reading offset {offset:#x}: {fault}");
        }
    }
    ensure_equal!(read32(CR), CR_NORMAL, "CR afterwards");
    Ok(())
}

/// DR with nothing received: a value without meaning, and no change.
fn reading_without_data(_: &Machine) -> Outcome {
    begin();
    if read32(FR) & FR_RXFE == 0 {
        skip!("somebody is typing");
    }
    for _ in 0..40 {
        let _ = read32(DR);
    }
    ensure_equal!(read32(FR) & (FR_RXFE | FR_RXFF), FR_RXFE, "FR after reading too much");
    Ok(())
}

/// After a byte is sent the transmit interrupt is raised, masked by IMSC, and cleared by ICR.
fn transmit_interrupt(_: &Machine) -> Outcome {
    begin();
    write32(DR, u32::from(b'\n'));
    ensure!(delay::until(LIMIT, || read32(RIS) & TRANSMIT != 0), "RIS is {:#x} after a byte", read32(RIS));
    ensure_equal!(read32(MIS) & TRANSMIT, 0, "MIS with IMSC 0");
    write32(IMSC, TRANSMIT);
    ensure_equal!(read32(MIS) & TRANSMIT, TRANSMIT, "MIS with IMSC set");
    write32(ICR, TRANSMIT);
    ensure_equal!(read32(RIS) & TRANSMIT, 0, "RIS after ICR");
    ensure_equal!(read32(MIS) & TRANSMIT, 0, "MIS after ICR");
    begin();
    Ok(())
}

/// The interrupt at the GIC is there exactly while MIS is not zero: it is level-sensitive.
fn interrupt_line_follows_mask(machine: &Machine) -> Outcome {
    begin();
    gic::enable(machine, INTERRUPT);
    write32(IMSC, TRANSMIT);
    write32(DR, u32::from(b'\n'));
    for _ in 0..3 {
        let mut taken = None;
        delay::until(LIMIT, || {
            taken = gic::acknowledge(machine);
            taken.is_some()
        });
        let number = taken.map(|value| value & 0x3ff);
        ensure_equal!(number, Some(INTERRUPT), "the interrupt while MIS is {:#x}", read32(MIS));
        gic::end(machine, taken.unwrap_or_default());
    }
    write32(IMSC, 0);
    let withdrawn = || !gic::is_pending(machine, INTERRUPT);
    ensure!(delay::until(LIMIT, withdrawn), "the interrupt is pending with IMSC 0");
    ensure_equal!(gic::acknowledge(machine), None, "an interrupt with IMSC 0");
    begin();
    Ok(())
}

/// Much more than a FIFO, written by the rules: nothing is lost, the FIFO drains.
fn a_long_line_is_not_lost(_: &Machine) -> Outcome {
    begin();
    println!("pl011: {:-<500}", "long line ");
    let drained = || read32(FR) & (FR_TXFE | FR_BUSY) == FR_TXFE;
    ensure!(delay::until(LIMIT, drained), "FR is {:#x}", read32(FR));
    Ok(())
}

/// Switches loopback on; whether this UART has it shows when a byte comes back.
fn begin_loopback() -> Outcome {
    begin();
    while console::read_byte().is_some() {}
    write32(CR, CR_LOOPBACK);
    write32(DR, u32::from(b'~'));
    let back = delay::until(20_000, || read32(FR) & FR_RXFE == 0);
    if !back {
        begin();
        skip!("no loopback here");
    }
    ensure_equal!(read32(DR), u32::from(b'~'), "the byte that came back");
    Ok(())
}

/// The first of the bytes sent through loopback; a UART may show them on its line as well.
const FIRST: u32 = b'A' as u32;

/// 16 bytes fit, in order, and RXFF says when it is 16.
fn loopback_of_bytes(_: &Machine) -> Outcome {
    begin_loopback()?;
    for byte in FIRST..FIRST + 16 {
        ensure_equal!(read32(FR) & FR_RXFF, 0, "RXFF before byte {byte:#x}");
        write32(DR, byte);
    }
    let full = delay::until(LIMIT, || read32(FR) & FR_RXFF != 0);
    let bytes: [u32; 16] = core::array::from_fn(|_| read32(DR));
    let after = read32(FR);
    begin();
    println!();
    ensure!(full, "RXFF is clear with 16 bytes received");
    ensure_equal!(bytes.map(|byte| byte & 0xff), core::array::from_fn(|index| FIRST + index as u32), "bytes");
    ensure_equal!(after & (FR_RXFE | FR_RXFF), FR_RXFE, "FR after reading all");
    Ok(())
}

/// Without FIFOs one byte raises the receive interrupt, and reading it takes the interrupt back.
fn loopback_interrupts(_: &Machine) -> Outcome {
    begin_loopback()?;
    write32(LCR_H, LCR_NO_FIFO);
    write32(ICR, ALL_INTERRUPTS);
    write32(DR, u32::from(b'r'));
    let raised = delay::until(LIMIT, || read32(RIS) & RECEIVE != 0);
    let byte = read32(DR) & 0xff;
    let after = read32(RIS) & RECEIVE;
    begin();
    println!();
    ensure!(raised, "no receive interrupt after a byte");
    ensure_equal!(byte, u32::from(b'r'), "the byte");
    ensure_equal!(after, 0, "receive interrupt after reading the byte");
    Ok(())
}

/// With `receive=N` on the command line: waits for N bytes, each taken after an interrupt, and says what came.
fn receive_by_interrupt(machine: &Machine, count: usize) {
    begin();
    gic::enable(machine, INTERRUPT);
    write32(IMSC, RECEIVE | RECEIVE_TIMEOUT);
    println!("pl011: waiting for {count} bytes");
    let (mut bytes, mut interrupts) = (0, 0);
    while bytes < count {
        let Some(taken) = gic::acknowledge(machine) else {
            continue;
        };
        interrupts += 1;
        while let Some(byte) = console::read_byte() {
            guest_runtime::print!("<{byte:02x}>");
            bytes += 1;
        }
        write32(ICR, RECEIVE | RECEIVE_TIMEOUT);
        gic::end(machine, taken);
    }
    println!("\npl011: received {bytes} bytes in {interrupts} interrupts");
}
