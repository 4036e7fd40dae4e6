//! The device tree a guest is given.
