//! The project's one command: set-up, build, run, test, check.
mod system;

fn main() {}
