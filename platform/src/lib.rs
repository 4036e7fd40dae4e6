//! What the machine is: device-tree discovery and drivers.
#![cfg_attr(not(test), no_std)]
