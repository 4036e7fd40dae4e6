//! The interrupt controller EL2 emulates for its guests.
