//! The project's one command: set-up, build, run, test, check.
mod console;
mod system;

fn main() {}
