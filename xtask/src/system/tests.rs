//! System files compiled, and read back by EL2's own reader, by an independent cpio reader, and by device tree tools.

mod board;
mod compiled;
mod errors;
mod fuzz;
mod images;
mod placed;
mod sharing;
mod support;
mod target;
