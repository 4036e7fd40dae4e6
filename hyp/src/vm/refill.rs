//! Filling a guest's memory anew: work in steps, so that whoever shares the core with the guest hardly notices.
//!
//! The guest's own frames stay its own, mapped where they are: they are scrubbed and filled in place. Only pages of the image
//! that were copied when they were written are the archive's again. Nothing runs under the map meanwhile.

use tessera_memory::{Ipa, Span};

use super::memory::{GuestMemory, MemoryError, guest_span, shared_bytes, shared_spans};
use crate::arch::aarch64::machine::invalidate_instruction_caches;
use crate::manifest::VmConfig;
use crate::seed::Seed;
use crate::supply::Supply;

/// How much memory a step scrubs, in bytes: about 8,000 instructions.
const SCRUBBED: u64 = 128 * 1024;
/// How much a step copies, in bytes.
const COPIED: usize = 32 * 1024;
/// How many shared pages a step goes back to.
const SHARED: usize = 8;

/// Where the work is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refill {
    /// It has not begun.
    #[default]
    Begin,
    /// Memory of region `region` is scrubbed from `ipa` on.
    Scrub {
        /// The region's number in the manifest.
        region: usize,
        /// Guest physical.
        ipa: u64,
    },
    /// Segment `segment` is copied from byte `done` of its file on.
    Copy {
        /// Its number in the manifest.
        segment: usize,
        /// In bytes.
        done: usize,
    },
    /// All but the device tree is done.
    Finish,
}

impl Refill {
    /// Does a step; [`None`] is the end.
    ///
    /// # Errors
    /// The books and the map disagree: the guest cannot run.
    pub fn step(
        self,
        memory: &mut GuestMemory,
        config: &VmConfig,
        supply: &Supply,
    ) -> Result<Option<Self>, MemoryError> {
        match self {
            Self::Begin => Ok(Some(Self::scrub(config, 0))),
            Self::Scrub { region, ipa } => scrub(memory, config, region, ipa).map(Some),
            Self::Copy { segment, done } => copy(memory, config, segment, done).map(Some),
            Self::Finish => {
                let seed = supply.seed();
                finish(memory, config, seed).map(|()| None)
            }
        }
    }

    fn scrub(config: &VmConfig, region: usize) -> Self {
        match config.memory.get(region) {
            Some(found) => Self::Scrub { region, ipa: found.ipa },
            None => Self::copy(config, 0),
        }
    }

    fn copy(config: &VmConfig, segment: usize) -> Self {
        match config.segments.get(segment) {
            // What is mapped in place is there.
            Some(found) => Self::Copy { segment, done: shared_bytes(found) as usize },
            None => Self::Finish,
        }
    }
}

fn scrub(memory: &mut GuestMemory, config: &VmConfig, region: usize, ipa: u64) -> Result<Refill, MemoryError> {
    let Some(end) = config.memory.get(region).map(|found| found.ipa + found.bytes).filter(|end| ipa < *end) else {
        return Ok(Refill::scrub(config, region + 1));
    };
    let shared = shared_spans(config).filter(|(span, _)| span.end().get() > ipa).min_by_key(|(span, _)| span.start());
    let ipa = match shared {
        Some((span, offset)) if span.start().get() <= ipa => {
            share_again(memory, Span::new(Ipa::new(ipa), span.end().get() - ipa), offset + ipa - span.start().get())?
        }
        next => {
            let end = next.map_or(end, |(span, _)| end.min(span.start().get()));
            let bytes = SCRUBBED.min(end - ipa);
            ipa + memory.scrub(guest_span(ipa, bytes)?)?
        }
    };
    Ok(Refill::Scrub { region, ipa })
}

/// Has pages from the start of `span` on, at `offset` in the archive, be the archive's again. Returns how far it got.
fn share_again(memory: &mut GuestMemory, span: Option<Span<Ipa>>, offset: u64) -> Result<u64, MemoryError> {
    let Some(span) = span else { return Ok(u64::MAX) };
    let (mut ipa, mut offset) = (span.start(), offset);
    for _ in 0..SHARED {
        let done = memory.share_again(ipa, offset)?;
        let Some(next) = ipa.checked_add(done) else { break };
        (ipa, offset) = (next, offset + done);
        if ipa >= span.end() {
            return Ok(span.end().get());
        }
    }
    Ok(ipa.get())
}

fn copy(memory: &GuestMemory, config: &VmConfig, segment: usize, done: usize) -> Result<Refill, MemoryError> {
    let Some(found) = config.segments.get(segment).filter(|found| done < found.file_bytes) else {
        return Ok(Refill::copy(config, segment + 1));
    };
    let bytes = COPIED.min(found.file_bytes - done);
    memory.write_file(Ipa::new(found.ipa + done as u64), found.archive_offset + done, bytes)?;
    Ok(Refill::Copy { segment, done: done + bytes })
}

fn finish(memory: &mut GuestMemory, config: &VmConfig, seed: Option<Seed>) -> Result<(), MemoryError> {
    memory.write_device_tree_again(config, seed)?;
    invalidate_instruction_caches();
    Ok(())
}
