//! Loads and stores of every kind, to everywhere.

use super::Actor;
use crate::pad::{self, Run, Use, WORDS};
use crate::random::Random;
use guest_runtime::{machine, mmio};

/// Instructions of one burst: every second one restores the address.
const BURST: u64 = 63;
/// Bursts before the pad is written anew.
const LIFE: u64 = 32;
/// `mov x1, x28`.
const RESTORE: u32 = 0xaa1c_03e1;

/// A burst of them.
pub fn burst(actor: &mut Actor) -> u64 {
    if actor.age % LIFE <= 1 {
        renew(&mut actor.random);
    }
    actor.age += 1;
    let start = pad::start_of(Use::Accesses) + 256 * actor.random.below(WORDS as u64 / 64 - 1);
    Run { start, length: BURST }.carry_out(actor.context, &mut actor.random) / 2
}

fn renew(random: &mut Random) {
    let instructions = (0..WORDS).map(|index| match index % 64 {
        63 => pad::END,
        even if even.is_multiple_of(2) => some_access(random),
        _ => RESTORE,
    });
    pad::write(Use::Accesses, instructions);
}

/// Any of the loads and stores, or cache maintenance by address, on what x1 points to.
pub fn some_access(random: &mut Random) -> u32 {
    // Bit 27 is one and bit 25 is zero (Arm ARM C4.1, loads and stores).
    const GROUP: u32 = 1 << 27;
    const BIT_25: u32 = 1 << 25;
    match random.below(16) {
        0 => maintenance(random),
        1..=6 => plain(random),
        _ => restrained((random.next() >> 16) as u32 & !BIT_25 | GROUP, random),
    }
}

/// The base is x1 and an offset in a register is x2; x28 is not written.
fn restrained(instruction: u32, random: &mut Random) -> u32 {
    const REGISTERS: u32 = 0x1f | 0x1f << 5 | 0x1f << 10;
    const OFFSET: u32 = 0x1f << 16;
    // In all forms but pairs, exclusives and those with an immediate, bits 20 to 16 are a register; at worst one of theirs is 2.
    let data = random.below(8) as u32;
    let second = if instruction >> 27 & 7 == 5 || instruction >> 24 & 0x3f == 8 {
        instruction & !REGISTERS | (random.below(8) as u32 * 0x400)
    } else {
        instruction & !(0x1f | 0x1f << 5)
    };
    let with_offset = if instruction >> 21 & 1 != 0 { second & !OFFSET | 2 << 16 } else { second };
    with_offset | 1 << 5 | data
}

/// LDR and STR of all sizes with an immediate offset: what devices are made for.
fn plain(random: &mut Random) -> u32 {
    let (size, operation) = (random.below(4) as u32, random.below(4) as u32);
    let offset = if random.one_in(4) { random.below(64) as u32 } else { 0 };
    size << 30 | 0x3900_0000 | operation << 22 | offset << 10 | 1 << 5 | random.below(8) as u32
}

/// DC of all kinds, IC and AT by the address in x1; by set and way of what x3 holds.
fn maintenance(random: &mut Random) -> u32 {
    const BY_ADDRESS: [u32; 10] = [
        0xd50b_7421, // DC ZVA
        0xd508_7621, // DC IVAC
        0xd50b_7a21, // DC CVAC
        0xd50b_7b21, // DC CVAU
        0xd50b_7e21, // DC CIVAC
        0xd50b_7521, // IC IVAU
        0xd508_7643, // DC ISW, x3
        0xd508_7a43, // DC CSW, x3
        0xd508_7e43, // DC CISW, x3
        0xd508_7801, // AT S1E1R
    ];
    random.pick(&BY_ADDRESS)
}

/// Much output at once: text, control characters, escape sequences without an end.
pub fn console(actor: &mut Actor) -> u64 {
    const BYTES: u64 = 128;
    let uart = machine::get().uart.base;
    let random = &mut actor.random;
    let kind = random.below(4);
    for index in 0..BYTES {
        let byte = match kind {
            0 => b'#',
            1 => random.pick(b"\x1b[;?mhJ\r\n\x1d"),
            2 => index as u8,
            _ => random.next() as u8,
        };
        mmio::write32(uart, byte.into());
    }
    BYTES
}
