//! Decoded against an independent disassembler; carried out on registers and memory that are arrays.

mod carried_out;
mod disassembler;
