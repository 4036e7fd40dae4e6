//! What instructions do. The words are those of GNU as; what each is stands beside it.

use super::super::{Bus, Footprint, Instruction, Operation, Registers, Vectors};

/// The address of the first byte of memory.
const MEMORY: u64 = 0x1000;

/// Registers and memory, each with a value that tells which it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Machine {
    x: [u64; 31],
    sp: u64,
    v: Vectors,
    memory: [u8; 128],
    /// Offset and width of each access, as it came.
    accesses: Vec<(u64, u64)>,
    /// The first byte that cannot be accessed.
    end: u64,
}

/// What faulted as a write is no load: the word is not what the processor executed.
#[test]
fn each_instruction_faults_as_what_it_does() {
    // ldp w5, w6, [x1]; stp w5, w6, [x1]; ldxr; stxr; ldadd w5, w6, [x1]; cas w5, w6, [x1]; dc zva, x1.
    let words = [
        (0x2940_1825, true, false),
        (0x2900_1825, false, true),
        (0x885f_7c25, true, false),
        (0x8807_7c25, false, true),
        (0xb825_0026, true, true),
        (0x88a5_7c26, true, true),
        (0xd50b_7421, false, true),
    ];
    for (word, reads, writes) in words {
        let instruction = Instruction::decode(word).unwrap();
        assert_eq!((instruction.may_fault(false), instruction.may_fault(true)), (reads, writes), "{word:#x}");
    }
}

/// Memory as a footprint sees it.
struct Window<'a> {
    machine: &'a mut Machine,
    start: usize,
}

impl Machine {
    /// Xn is 0x...0n in each byte, Vn likewise; memory counts from 0x80. X1 is the address of memory, X3 is 8.
    fn new() -> Self {
        let mut x = core::array::from_fn(|index| 0x0101_0101_0101_0101 * index as u64);
        (x[1], x[3]) = (MEMORY, 8);
        Self {
            x,
            sp: MEMORY + 16,
            v: core::array::from_fn(|index| [0x40 + index as u8; 16]),
            memory: core::array::from_fn(|index| 0x80 + index as u8),
            accesses: Vec::new(),
            end: 128,
        }
    }

    /// V`index` as a number.
    fn vector(&self, index: usize) -> u128 {
        u128::from_le_bytes(self.v[index])
    }

    fn run(&mut self, word: u32) -> Result<Footprint, u64> {
        let instruction = Instruction::decode(word).unwrap();
        let footprint = instruction.footprint(self, 64);
        let mut memory = self.clone();
        let mut window = Window { start: (footprint.start - MEMORY) as usize, machine: &mut memory };
        let result = instruction.execute(&footprint, self, &mut window);
        let moved = &memory.accesses[self.accesses.len()..];
        let units = footprint.bytes / footprint.unit;
        let told: Vec<_> = (0..units).map(|number| (number * footprint.unit, footprint.unit)).collect();
        assert!(moved.iter().all(|access| told.contains(access)), "{moved:?} {told:?}");
        if result.is_ok() && !matches!(instruction.operation, Operation::StoreExclusive { .. }) {
            assert!(moved.starts_with(&told), "{moved:?} {told:?}");
        }
        (self.memory, self.accesses) = (memory.memory, memory.accesses);
        result.map(|()| footprint)
    }

    /// As [`Self::run`], on a fresh machine.
    fn after(word: u32) -> Self {
        let mut machine = Self::new();
        machine.run(word).unwrap();
        machine
    }
}

impl Registers for Machine {
    fn general(&self, index: u8) -> u64 {
        self.x.get(usize::from(index)).copied().unwrap_or(0)
    }

    fn set_general(&mut self, index: u8, value: u64) {
        if let Some(register) = self.x.get_mut(usize::from(index)) {
            *register = value;
        }
    }

    fn stack_pointer(&self) -> u64 {
        self.sp
    }

    fn set_stack_pointer(&mut self, value: u64) {
        self.sp = value;
    }

    fn program_counter(&self) -> u64 {
        MEMORY - 0x100
    }

    fn vectors(&mut self) -> &Vectors {
        &self.v
    }

    fn change_vectors(&mut self, change: impl FnOnce(&mut Vectors)) {
        change(&mut self.v);
    }
}

impl Bus for Window<'_> {
    type Error = u64;

    fn load(&mut self, offset: u64, unit: u64, data: &mut [u8]) -> Result<(), u64> {
        for (index, part) in (0..).zip(data.chunks_mut(unit as usize)) {
            let place = self.place(offset + index * unit, unit)?;
            part.copy_from_slice(&self.machine.memory[place]);
        }
        Ok(())
    }

    fn store(&mut self, offset: u64, unit: u64, data: &[u8]) -> Result<(), u64> {
        for (index, part) in (0..).zip(data.chunks(unit as usize)) {
            let place = self.place(offset + index * unit, unit)?;
            self.machine.memory[place].copy_from_slice(part);
        }
        Ok(())
    }
}

impl Window<'_> {
    fn place(&mut self, offset: u64, bytes: u64) -> Result<core::ops::Range<usize>, u64> {
        if offset + bytes > self.machine.end {
            return Err(offset);
        }
        self.machine.accesses.push((offset, bytes));
        let start = self.start + offset as usize;
        Ok(start..start + bytes as usize)
    }
}

#[test]
fn pairs_move_their_first_register_first() {
    let machine = Machine::after(0xa8c1_0820); // ldp x0, x2, [x1], #16
    assert_eq!((machine.x[0], machine.x[2]), (0x8786_8584_8382_8180, 0x8f8e_8d8c_8b8a_8988));
    assert_eq!((machine.x[1], machine.accesses), (MEMORY + 16, vec![(0, 8), (8, 8)]));
    let machine = Machine::after(0x6941_0820); // ldpsw x0, x2, [x1, #8]
    assert_eq!((machine.x[0], machine.x[2], machine.x[1]), (0xffff_ffff_8b8a_8988, 0xffff_ffff_8f8e_8d8c, MEMORY));
    let machine = Machine::after(0x2981_0825); // stp w5, w2, [x1, #8]!
    assert_eq!(&machine.memory[8..16], &[5, 5, 5, 5, 2, 2, 2, 2]);
    assert_eq!((machine.x[1], machine.memory[16]), (MEMORY + 8, 0x90));
}

#[test]
fn sixteen_bytes_go_in_two_halves() {
    let machine = Machine::after(0x3dc0_0420); // ldr q0, [x1, #16]
    assert_eq!(machine.vector(0), 0x9f9e_9d9c_9b9a_9998_9796_9594_9392_9190);
    assert_eq!(machine.accesses, [(0, 8), (8, 8)]);
    let machine = Machine::after(0x3c81_0022); // stur q2, [x1, #16]
    assert_eq!((&machine.memory[16..32], machine.memory[32]), (&[0x42; 16][..], 0xa0));
}

#[test]
fn loads_extend_as_their_names_say() {
    for (word, value) in [
        (0x3840_1420, 0x80),                  // ldrb w0, [x1], #1
        (0x3880_1420, 0xffff_ffff_ffff_ff80), // ldrsb x0, [x1], #1
        (0x38c0_1420, 0xffff_ff80),           // ldrsb w0, [x1], #1
        (0x78c0_1420, 0xffff_8180),           // ldrsh w0, [x1], #1
        (0xb880_1420, 0xffff_ffff_8382_8180), // ldrsw x0, [x1], #1
    ] {
        let machine = Machine::after(word);
        assert_eq!((machine.x[0], machine.x[1]), (value, MEMORY + 1), "{word:#x}");
    }
}

#[test]
fn scalar_loads_clear_the_rest_of_a_vector_register() {
    assert_eq!(Machine::after(0x3d40_0020).vector(0), 0x80); // ldr b0, [x1]
    assert_eq!(Machine::after(0xbd40_0020).vector(0), 0x8382_8180); // ldr s0, [x1]
    let machine = Machine::after(0x0c40_7020); // ld1 {v0.8b}, [x1]
    assert_eq!((machine.vector(0), machine.accesses.len()), (0x8786_8584_8382_8180, 8));
}

#[test]
fn structures_go_element_by_element() {
    let machine = Machine::after(0x4c9f_0820); // st4 {v0.4s-v3.4s}, [x1], #64
    assert_eq!(&machine.memory[..20], &[[0x40; 4], [0x41; 4], [0x42; 4], [0x43; 4], [0x40; 4]].concat()[..]);
    assert_eq!(machine.x[1], MEMORY + 64);
    let machine = Machine::after(0x0d40_9021); // ld1 {v1.s}[1], [x1]
    assert_eq!(machine.vector(1) & 0xffff_ffff_ffff_ffff, 0x8382_8180_4141_4141);
    assert_eq!(machine.vector(1) >> 64, 0x4141_4141_4141_4141);
    let machine = Machine::after(0x0d60_c43f); // ld2r {v31.4h, v0.4h}, [x1]
    assert_eq!((machine.vector(31), machine.vector(0)), (0x8180_8180_8180_8180, 0x8382_8382_8382_8382));
}

#[test]
fn the_base_may_be_the_stack_pointer_or_the_program_counter() {
    let machine = Machine::after(0xb840_47e0); // ldr w0, [sp], #4
    assert_eq!((machine.x[0], machine.sp), (0x9392_9190, MEMORY + 20));
    assert_eq!(Machine::after(0x5800_0800).x[0], 0x8786_8584_8382_8180); // ldr x0, . + 0x100
    assert_eq!(Machine::after(0xb863_6820).x[0], 0x8b8a_8988); // ldr w0, [x1, x3]
    assert_eq!(Machine::after(0xb863_7820).x[0], 0xa3a2_a1a0); // ldr w0, [x1, x3, lsl #2]
    for (word, offset) in [(0xb863_c820, 0x1234_5678_ffff_fff8), (0xb863_4820, 0x1234_5678_0000_0008)] {
        // ldr w0, [x1, w3, sxtw]; ldr w0, [x1, w3, uxtw]
        let mut machine = Machine::new();
        (machine.x[1], machine.x[3]) = (MEMORY + 16, offset);
        machine.run(word).unwrap();
        let start = 16_u64.wrapping_add_signed(i64::from(offset as i32)) as usize;
        assert_eq!(machine.x[0] as u32, u32::from_le_bytes(machine.memory[start..start + 4].try_into().unwrap()));
    }
}

#[test]
fn atomics_read_and_write() {
    for (word, value) in [
        (0xb824_0020, 0x8786_8584_u32), // ldadd w4, w0, [x1]
        (0xb824_1020, 0x8382_8180),     // ldclr w4, w0, [x1]
        (0xb824_2020, 0x8786_8584),     // ldeor w4, w0, [x1]
        (0xb824_3020, 0x8786_8584),     // ldset w4, w0, [x1]
        (0xb824_4020, 0x0404_0404),     // ldsmax w4, w0, [x1]
        (0xb824_5020, 0x8382_8180),     // ldsmin w4, w0, [x1]
        (0xb824_6020, 0x8382_8180),     // ldumax w4, w0, [x1]
        (0xb824_7020, 0x0404_0404),     // ldumin w4, w0, [x1]
        (0xb824_8020, 0x0404_0404),     // swp w4, w0, [x1]
    ] {
        let machine = Machine::after(word);
        assert_eq!(&machine.memory[..8], &[&value.to_le_bytes()[..], &[0x84, 0x85, 0x86, 0x87]].concat(), "{word:#x}");
        assert_eq!(machine.x[0], 0x8382_8180, "{word:#x}");
    }
}

#[test]
fn compare_and_swap_stores_only_what_it_may() {
    let mut machine = Machine::new();
    machine.run(0x88a0_7c24).unwrap(); // cas w0, w4, [x1]
    assert_eq!((machine.x[0], machine.memory[0]), (0x8382_8180, 0x80));
    // The upper half of the register does not count.
    machine.x[0] |= 0x1234 << 32;
    machine.run(0x88a0_7c24).unwrap();
    assert_eq!((machine.x[0], &machine.memory[..5]), (0x8382_8180, &[4, 4, 4, 4, 0x84][..]));
    let mut machine = Machine::new();
    (machine.x[6], machine.x[7]) = (0x8786_8584_8382_8180, 0x8f8e_8d8c_8b8a_8988);
    machine.run(0x4826_7c24).unwrap(); // casp x6, x7, x4, x5, [x1]
    assert_eq!(&machine.memory[..16], &[[4; 8], [5; 8]].concat());
    machine.run(0x4826_7c24).unwrap();
    assert_eq!((machine.x[6], machine.x[7]), (0x0404_0404_0404_0404, 0x0505_0505_0505_0505));
}

#[test]
fn a_store_exclusive_fails_and_says_so() {
    let mut expected = Machine::new();
    expected.x[5] = 1;
    assert_eq!(Machine::after(0x8805_7c20), expected); // stxr w5, w0, [x1]
}

#[test]
fn zva_zeroes_the_block_that_the_address_is_in() {
    let mut machine = Machine::new();
    machine.x[9] = MEMORY + 64 + 17;
    let footprint = machine.run(0xd50b_7429).unwrap(); // dc zva, x9
    assert_eq!((footprint.start, footprint.bytes), (MEMORY + 64, 64));
    assert_eq!((&machine.memory[64..], machine.memory[63]), (&[0; 64][..], 0xbf));
}

#[test]
fn an_access_that_fails_changes_no_register() {
    for word in [0xa8c1_0820, 0x4cdf_0820, 0xb824_0020, 0x4826_7c24] {
        let mut machine = Machine { end: 4, ..Machine::new() };
        machine.x[1] += 4;
        let before = machine.clone();
        let result = machine.run(word);
        assert_eq!(result.is_err(), word != 0xb824_0020, "{word:#x}");
        if result.is_err() {
            assert_eq!((machine.x, machine.v, machine.memory), (before.x, before.v, before.memory), "{word:#x}");
        }
    }
}

#[test]
fn footprints_ignore_tags_and_wrap() {
    let mut machine = Machine::new();
    machine.x[1] = u64::MAX - 3;
    let footprint = Instruction::decode(0xa8c1_0820).unwrap().footprint(&machine, 64); // ldp x0, x2, [x1], #16
    assert!(footprint.contains(u64::MAX) && footprint.contains(11) && !footprint.contains(12));
    assert!(footprint.contains(0x12ff_ffff_ffff_fffc) && !footprint.contains(u64::MAX - 4));
}

#[test]
fn direction_is_told() {
    for (word, reads, writes) in [
        (0xa8c1_0820, true, false), // ldp
        (0x2981_0825, false, true), // stp
        (0xb824_0020, true, true),  // ldadd
        (0x88a0_7c24, true, true),  // cas
        (0x8805_7c20, false, true), // stxr
        (0xd50b_7429, false, true), // dc zva
        (0x885f_7c20, true, false), // ldxr
    ] {
        let instruction = Instruction::decode(word).unwrap();
        assert_eq!((instruction.reads(), instruction.writes()), (reads, writes), "{word:#x}");
    }
}
