//! Decoded against an independent disassembler, and carried out on registers and memory that are arrays.
