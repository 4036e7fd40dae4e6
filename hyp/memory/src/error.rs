//! What can be refused. Every operation of this crate that fails has changed nothing, unless its documentation says
//! so.

use crate::address::{Ipa, Pa};
use crate::frames::Owner;
use core::fmt;

/// Why a memory operation was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// An address or a size is not a multiple of what the operation needs (a page, or a block's size).
    Unaligned,
    /// The span does not fit the guest's physical address space.
    OutsideIpaSpace(Ipa),
    /// The span does not fit the machine's physical address space.
    OutsidePaSpace(Pa),
    /// Something is already mapped here.
    AlreadyMapped(Ipa),
    /// Nothing is mapped here.
    NotMapped(Ipa),
    /// The page may not be written, and not because it is shared.
    NotCopyOnWrite(Ipa),
    /// No IPA space of this many bits can be had on this machine.
    IpaBits(u8),
    /// Not enough free frames.
    OutOfFrames,
    /// The reservation is used up.
    ReservationEmpty,
    /// EL2's own heap is full.
    OutOfHeap,
    /// All VMIDs are in use.
    OutOfVmids,
    /// The VMID was not in use.
    VmidNotInUse(u16),
    /// The frame is in use, or was never given to the pool.
    FrameNotFree(Pa),
    /// The span was given to the pool, or recorded, before.
    FrameKnown(Pa),
    /// The frame is not recorded for this owner: a double free, or somebody else's memory.
    NotOwner(Pa),
    /// The frame is not shared (any more).
    NotShared(Pa),
    /// The frame is shared, so it cannot be freed as if it were private.
    Shared(Pa),
    /// Archive memory is never freed.
    Pinned(Pa),
    /// A frame has as many sharers as can be counted.
    TooManySharers(Pa),
    /// An owner is gone and so many of its frames have not been given back.
    Leaked(Owner, u64),
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned => write!(out, "address or size is not aligned"),
            Self::OutsideIpaSpace(ipa) => {
                write!(out, "{ipa} is outside the guest's physical address space")
            }
            Self::OutsidePaSpace(pa) => {
                write!(out, "{pa} is outside the machine's physical address space")
            }
            Self::AlreadyMapped(ipa) => write!(out, "guest address {ipa} is already mapped"),
            Self::NotMapped(ipa) => write!(out, "guest address {ipa} is not mapped"),
            Self::NotCopyOnWrite(ipa) => write!(out, "guest address {ipa} is read-only, and not for being shared"),
            Self::IpaBits(bits) => {
                write!(out, "no guest address space of {bits} bits on this machine")
            }
            Self::OutOfFrames => write!(out, "out of memory"),
            Self::ReservationEmpty => write!(out, "the memory reservation is used up"),
            Self::OutOfHeap => write!(out, "the hypervisor's heap is full"),
            Self::OutOfVmids => write!(out, "all VMIDs are in use"),
            Self::VmidNotInUse(vmid) => write!(out, "VMID {vmid} is not in use"),
            other => other.fmt_frame(out),
        }
    }
}

impl Error {
    /// The errors that are about one frame or its owner.
    fn fmt_frame(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameNotFree(pa) => write!(out, "frame {pa} is not free"),
            Self::FrameKnown(pa) => write!(out, "frame {pa} was added twice"),
            Self::NotOwner(pa) => write!(out, "frame {pa} belongs to somebody else or to nobody"),
            Self::NotShared(pa) => write!(out, "frame {pa} is not shared"),
            Self::Shared(pa) => write!(out, "frame {pa} is shared"),
            Self::Pinned(pa) => write!(out, "frame {pa} is part of the archive"),
            Self::TooManySharers(pa) => write!(out, "frame {pa} has too many sharers"),
            Self::Leaked(owner, frames) => {
                write!(out, "{owner} has not given back {frames} frames")
            }
            _ => Ok(()),
        }
    }
}

impl core::error::Error for Error {}
