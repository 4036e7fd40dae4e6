//! The devices EL2 emulates for its guests.
