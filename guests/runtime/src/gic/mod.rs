//! The interrupt controllers as a guest drives them. Small on purpose: what only one guest checks lives in that guest.

pub mod v3;
