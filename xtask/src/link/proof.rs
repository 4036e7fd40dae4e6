//! The proof, from the linked program alone, that code which stays does not lead to code that boot gives away: all its jumps
//! are decoded. (Addresses that are made by code or stand in constants are not looked at: what has its address taken stays by
//! the list, which is made of relocations.)

use anyhow::{Context, Result, ensure};
use object::{File, Object, ObjectSection, ObjectSymbol, SectionKind};

/// The first instructions, which enter boot once.
const ENTRY: &str = "EARLY_CONSOLE";

/// Checks a linked hypervisor.
pub fn check(program: &[u8]) -> Result<()> {
    let file = File::parse(program)?;
    let symbol = |name: &str| file.symbols().find(|symbol| symbol.name() == Ok(name)).map(|symbol| symbol.address());
    let address = |name: &str| symbol(name).with_context(|| format!("the hypervisor has no symbol {name}"));
    let (start, end) = (address("__boot_text_start")?, address("__boot_text_end")?);
    let entry = address(ENTRY)?;
    let (vectors, text_end) = (address("__vectors_start")?, address("__text_end")?);
    ensure!(entry < vectors && vectors < start && end < text_end, "the hypervisor's code is not in its order");
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        for (offset, word) in section.data()?.chunks_exact(4).enumerate() {
            let from = section.address() + offset as u64 * 4;
            let stays = (vectors..start).contains(&from) || (end..text_end).contains(&from);
            let to = word.try_into().ok().and_then(|word| destination(from, u32::from_le_bytes(word)));
            let leads_away = stays && to.is_some_and(|to| (start..end).contains(&to));
            ensure!(!leads_away, "code that stays, at {from:#x}, leads to boot's, which is given away");
        }
    }
    Ok(())
}

/// Where the instruction `word` at `from` jumps to, if it is a jump with its destination in it (Arm ARM C4.1.93).
fn destination(from: u64, word: u32) -> Option<u64> {
    let signed = |low: u32, bits: u32| i64::from((word >> low << (32 - bits)) as i32 >> (32 - bits)) * 4;
    let offset = match word {
        // B, BL.
        _ if word & 0x7c00_0000 == 0x1400_0000 => signed(0, 26),
        // B.cond; CBZ, CBNZ.
        _ if word & 0xff00_0000 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000 => signed(5, 19),
        // TBZ, TBNZ.
        _ if word & 0x7e00_0000 == 0x3600_0000 => signed(5, 14),
        _ => return None,
    };
    Some(from.wrapping_add_signed(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_are_decoded() {
        // As `llvm-mc --disassemble` has them.
        for (word, offset) in [
            (0x9400_0002_u32, Some(8_i64)),
            (0x17ff_ffff, Some(-4)),
            (0x5400_0040, Some(8)),
            (0xb4ff_ffe0, Some(-4)),
            (0x3707_ffe3, Some(-4)),
            (0xd65f_03c0, None),
            (0x9000_0000, None),
        ] {
            assert_eq!(
                destination(0x1000, word),
                offset.map(|offset| 0x1000_u64.wrapping_add_signed(offset)),
                "{word:#x}"
            );
        }
    }
}
