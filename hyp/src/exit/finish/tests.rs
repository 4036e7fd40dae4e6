//! The end of an instruction, compared with a model that is written from the manual's pseudocode, field by field.

use proptest::prelude::*;

use super::{Successor, after, is_plain};

/// PSTATE's fields that an instruction's end may touch, and all else.
struct Model {
    is_aarch32: bool,
    is_thumb: bool,
    /// IT<7> first.
    it: [bool; 8],
    /// BTYPE<1> first.
    btype: [bool; 2],
    step: bool,
    rest: u64,
}

/// Where SPSR_EL2 has IT<7:0> of an exception from AArch32 (Arm ARM, SPSR_EL2: IT[7:2] in [15:10], IT[1:0] in [26:25]).
const IT: [u32; 8] = [15, 14, 13, 12, 11, 10, 26, 25];

impl Model {
    fn unpack(spsr: u64) -> Self {
        let bit = |index: u32| spsr & (1 << index) != 0;
        let is_aarch32 = bit(4);
        let own: &[u32] = if is_aarch32 { &IT } else { &[11, 10] };
        let rest = own.iter().chain(&[21]).fold(spsr, |rest, index| rest & !(1 << index));
        Self {
            is_aarch32,
            is_thumb: is_aarch32 && bit(5),
            it: IT.map(bit),
            btype: [bit(11), bit(10)],
            step: bit(21),
            rest,
        }
    }

    fn pack(&self) -> u64 {
        let own: &[(u32, bool)] = match self.is_aarch32 {
            true => &core::array::from_fn::<_, 8, _>(|index| (IT[index], self.it[index])),
            false => &[(11, self.btype[0]), (10, self.btype[1])],
        };
        own.iter().chain(&[(21, self.step)]).fold(self.rest, |spsr, (index, set)| spsr | u64::from(*set) << index)
    }

    /// `if PSTATE.IT<2:0> == '000' then PSTATE.IT = '00000000'; else PSTATE.IT<4:0> = LSL(PSTATE.IT<4:0>, 1);`
    fn advance_it(&mut self) {
        if self.it[5..] == [false; 3] {
            self.it = [false; 8];
        } else {
            self.it[3..].rotate_left(1);
            self.it[7] = false;
        }
    }

    /// What the processor does at the end of an instruction: ITAdvance, SSAdvance, `PSTATE.BTYPE = BTypeNext`, which is
    /// '00' but for branches.
    fn end_instruction(&mut self) {
        if self.is_thumb {
            self.advance_it();
        }
        if !self.is_aarch32 {
            self.btype = [false; 2];
        }
        self.step = false;
    }
}

fn expected(pc: u64, pstate: u64, bytes: u64) -> Successor {
    let mut model = Model::unpack(pstate);
    model.end_instruction();
    let next = u128::from(pc) + u128::from(bytes);
    let pc = if model.is_aarch32 { next as u32 as u64 } else { next as u64 };
    Successor { pc, pstate: model.pack() }
}

proptest! {
    #[test]
    fn every_state_goes_on_as_the_manual_says(pc: u64, pstate in 0u64..1 << 32, is_short: bool) {
        let is_aarch32 = pstate >> 4 & 1 != 0;
        let pc = if is_aarch32 { pc & 0xffff_fffe } else { pc & !3 };
        let bytes = if is_aarch32 && is_short { 2 } else { 4 };
        prop_assert_eq!(after(pc, pstate, bytes), expected(pc, pstate, bytes), "{:#x} {:#x}", pc, pstate);
    }

    /// The short way gives what the long one would.
    #[test]
    fn what_is_plain_changes_its_address_only(pc: u64, pstate in 0u64..1 << 32) {
        if is_plain(pstate) {
            prop_assert_eq!(after(pc, pstate, 4), Successor { pc: pc.wrapping_add(4), pstate });
        }
    }
}

#[test]
fn ordinary_kernels_and_programs_are_plain() {
    // EL1h masked, EL1h with flags, PAN and SSBS, EL0t.
    for pstate in [0x3c5, 0x6040_1005, 0x8000_0000] {
        assert!(is_plain(pstate), "{pstate:#x}");
    }
    // A step, behind BLR, AArch32.
    for pstate in [0x20_0005, 0x805, 0x405, 0x1d0, 0x30] {
        assert!(!is_plain(pstate), "{pstate:#x}");
    }
}

#[test]
fn addresses_wrap_at_the_end_of_their_space() {
    assert_eq!(after(0xffff_fffe, 0x30, 2), Successor { pc: 0, pstate: 0x30 });
    assert_eq!(after(u64::MAX - 3, 0x3c5, 4), Successor { pc: 0, pstate: 0x3c5 });
}

/// ITETT EQ: four instructions, of which each takes its condition's last bit from the mask.
#[test]
fn an_it_block_ends_with_its_last_instruction() {
    let spsr = |it: u64| 0x30 | (it >> 2) << 10 | (it & 3) << 25;
    let mut state = spsr(0b0000_1001);
    for it in [0b0001_0010, 0b0000_0100, 0b0000_1000, 0] {
        let next = after(0x1000, state, 2);
        assert_eq!(next, Successor { pc: 0x1002, pstate: spsr(it) });
        state = next.pstate;
    }
}
