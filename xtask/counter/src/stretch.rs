//! How long EL2 goes on without taking an interrupt, and how long locks are held and waited for: by core, in instructions
//! that the core itself has executed, whatever time that took on the host.
//!
//! A stretch goes from one point at which EL2 takes interrupts, or lets a guest take them, to the next: its return to a
//! guest (ERET), its sleep (WFI), its look at what is pending (a read of ISR_EL1). What it spends waiting for a lock is not
//! part of it: how long that is, the host decides, for the core that holds the lock may be the one that does not run. So
//! the longest hold of a lock is told too: others wait for as long, once for each core that is before them.

use std::collections::HashMap;
use std::ffi::{c_uint, c_void};
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::CORES;
use crate::image::Role;

/// Blocks of a stretch that are written down, those that took the most.
const SHOWN: usize = 24;

const ERET: u32 = 0xd69f_03e0;
const WFI: u32 = 0xd503_207f;
/// MRS of ISR_EL1 into any register.
const READ_PENDING: u32 = 0xd538_c100;

/// What happens at an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Interrupts are taken after it: a stretch ends.
    End,
    /// Something about a lock.
    Lock(Role),
}

impl Event {
    /// What this instruction is, by its encoding and its role.
    pub fn of(word: u32, role: Option<Role>) -> Option<Self> {
        match (word, role) {
            (ERET | WFI, _) => Some(Self::End),
            (word, _) if word & !0x1f == READ_PENDING => Some(Self::End),
            (_, Some(Role::Skipped) | None) => None,
            (_, Some(role)) => Some(Self::Lock(role)),
        }
    }
}

/// A block of EL2's instructions.
pub struct Block {
    /// The first one's offset.
    pub offset: u64,
    /// How many.
    pub instructions: u64,
}

/// An instruction of a block at which something happens.
pub struct Place {
    /// Its offset.
    pub offset: u64,
    /// How many follow it in its block.
    pub following: u64,
    /// What happens.
    pub event: Event,
}

/// A lock that a core has or waits for.
struct Lock {
    /// When it was looked at for the first time.
    first_look: Option<u64>,
    /// When it was looked at last: then it was had.
    last_look: u64,
}

/// One core. Times are instructions that it has executed at EL2.
struct Core {
    now: u64,
    /// When the stretch began.
    began: u64,
    /// What went into waiting for locks since.
    waited: u64,
    locks: Vec<Lock>,
    blocks: Vec<(u64, u64)>,
}

impl Core {
    const fn new() -> Self {
        Self { now: 0, began: 0, waited: 0, locks: Vec::new(), blocks: Vec::new() }
    }

    /// Ends the stretch; its length.
    fn end(&mut self, now: u64) -> u64 {
        let length = now.wrapping_sub(self.began).saturating_sub(self.waited);
        self.began = now;
        self.waited = 0;
        self.locks.clear();
        length
    }

    /// A ticket is taken. Its store may have to be repeated.
    fn ticket(&mut self) {
        if self.locks.last().is_none_or(|lock| lock.first_look.is_some()) {
            self.locks.push(Lock { first_look: None, last_look: 0 });
        }
    }

    fn look(&mut self, now: u64) {
        if let Some(lock) = self.locks.last_mut() {
            if lock.first_look.is_some() {
                self.waited = self.waited.wrapping_add(now.saturating_sub(lock.last_look));
            }
            lock.first_look.get_or_insert(now);
            lock.last_look = now;
        }
    }

    /// The lock taken last is released: how long it was held, and waited for.
    fn release(&mut self, now: u64) -> Option<(u64, u64)> {
        let lock = self.locks.pop()?;
        let waited = lock.last_look.saturating_sub(lock.first_look?);
        Some((now.saturating_sub(lock.last_look), waited))
    }
}

static ALL: [Mutex<Core>; CORES] = [const { Mutex::new(Core::new()) }; CORES];

/// Whether each core has left boot behind: it has executed something else than EL2 after it.
static HAS_BOOTED: [AtomicBool; CORES] = [const { AtomicBool::new(false) }; CORES];

fn has_booted(core: c_uint) -> bool {
    HAS_BOOTED.get(core as usize).is_some_and(|has_booted| has_booted.load(Ordering::Relaxed))
}

/// A block that is not EL2's is about to be executed. Before EL2 there is a loader's.
pub extern "C" fn left(core: c_uint, _: *mut c_void) {
    let is_after = || matches!(ALL.get(core as usize).map(Mutex::lock), Some(Ok(core)) if core.now > 0);
    if !has_booted(core)
        && is_after()
        && let Some(has_booted) = HAS_BOOTED.get(core as usize)
    {
        has_booted.store(true, Ordering::Relaxed);
    }
}

/// The most of something so far.
struct Most(AtomicU64);

impl Most {
    /// Whether this is more.
    fn is_raised(&self, value: u64) -> bool {
        self.0.fetch_max(value, Ordering::Relaxed) < value
    }
}

static LONGEST: Most = Most(AtomicU64::new(0));
static LONGEST_HOLD: Most = Most(AtomicU64::new(0));
static LONGEST_WAIT: Most = Most(AtomicU64::new(0));

/// A [`Block`] is about to be executed.
pub extern "C" fn entered(core: c_uint, block: *mut c_void) {
    // SAFETY: `translated` has leaked it with this callback.
    let block = unsafe { &*block.cast::<Block>() };
    let Some(Ok(mut core)) = ALL.get(core as usize).map(Mutex::lock) else { return };
    core.now = core.now.wrapping_add(block.instructions);
    core.blocks.push((block.offset, block.instructions));
}

/// A [`Place`] is about to be executed.
pub extern "C" fn reached(index: c_uint, place: *mut c_void) {
    // SAFETY: `translated` has leaked it with this callback.
    let place = unsafe { &*place.cast::<Place>() };
    let Some(Ok(mut core)) = ALL.get(index as usize).map(Mutex::lock) else { return };
    let now = core.now.wrapping_sub(place.following);
    match place.event {
        Event::End => {
            let length = core.end(now);
            if has_booted(index) && crate::is_told_of_each(index) {
                crate::write(&format!("each {length:x}\n"));
            }
            if has_booted(index) && LONGEST.is_raised(length) {
                crate::write(&format!("stretch {length:x}{}\n", most(&core.blocks)));
            }
            core.blocks.clear();
        }
        Event::Lock(Role::Ticket) => core.ticket(),
        Event::Lock(Role::Look) => core.look(now),
        Event::Lock(Role::Release) => {
            let Some((held, waited)) = core.release(now).filter(|_| has_booted(index)) else { return };
            for (name, length, most) in [("hold", held, &LONGEST_HOLD), ("wait", waited, &LONGEST_WAIT)] {
                if most.is_raised(length) {
                    crate::write(&format!("{name} {length:x} {:x}:{length:x}\n", place.offset));
                }
            }
        }
        Event::Lock(Role::Skipped) => {}
    }
}

/// The blocks that took the most, as ` offset:instructions`.
fn most(blocks: &[(u64, u64)]) -> String {
    let mut sums: HashMap<u64, u64> = HashMap::new();
    for (offset, instructions) in blocks {
        let sum = sums.entry(*offset).or_default();
        *sum = sum.wrapping_add(*instructions);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_unstable_by_key(|(offset, sum)| (std::cmp::Reverse(*sum), *offset));
    sums.iter().take(SHOWN).fold(String::new(), |mut text, (offset, sum)| {
        let _ = write!(text, " {offset:x}:{sum:x}");
        text
    })
}
