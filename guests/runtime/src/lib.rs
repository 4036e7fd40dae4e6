//! What every small bare-metal guest needs: start-up, exception vectors, console, PSCI.
#![no_std]
