//! Running jobs on the other cores: each job starts its core by PSCI CPU_ON and ends with CPU_OFF.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{MAX_CORES, delay, psci, register};

/// What a secondary core does: called with the core's index.
pub type Job = fn(usize);

/// Whether each core has done its job; a core may read as off both before it starts and after it has stopped.
static DONE: [AtomicBool; MAX_CORES] = [const { AtomicBool::new(false) }; MAX_CORES];

static JOBS: [AtomicUsize; MAX_CORES] = [const { AtomicUsize::new(0) }; MAX_CORES];

/// The address at which a core must be started for [`start`]'s jobs, with its index as context.
#[must_use]
pub fn entry_address() -> u64 {
    unsafe extern "C" {
        fn secondary_start();
    }
    secondary_start as *const () as u64
}

/// Sets what core `index` does when it is started, without starting it.
pub fn set_job(index: usize, job: Job) {
    DONE[index % MAX_CORES].store(false, Ordering::SeqCst);
    JOBS[index % MAX_CORES].store(job as usize, Ordering::SeqCst);
}

/// Starts core `index` on `job`; the result is CPU_ON's.
pub fn start(index: usize, job: Job) -> i32 {
    if is_off(index) {
        set_job(index, job);
    }
    psci::call(psci::CPU_ON, [index as u64, entry_address(), index as u64])
}

/// Waits until core `index` has done its job and is off.
pub fn wait_until_off(index: usize) {
    wait_until_off_after(index, || is_done(index));
}

/// Waits until core `index`, started on other code than a job, is off after `done` holds.
pub fn wait_until_off_after(index: usize, done: impl FnMut() -> bool) {
    delay::wait_for("another core to do its job", done);
    delay::wait_for("another core to go off", || is_off(index));
}

fn is_done(index: usize) -> bool {
    DONE[index % MAX_CORES].load(Ordering::SeqCst)
}

fn is_off(index: usize) -> bool {
    psci::call(psci::AFFINITY_INFO, [index as u64, 0, 0]) == psci::STATE_OFF
}

/// Runs `job` on every core but this one, of `cores` in all, and waits for their ends; says whether all started.
#[must_use]
pub fn run_on_others(cores: usize, job: Job) -> bool {
    let me = register::core_index();
    let others = || (0..cores).filter(|&index| index != me);
    let started = others().all(|index| start(index, job) == psci::SUCCESS);
    if started {
        others().for_each(wait_until_off);
    }
    started
}

/// Runs this core's job.
pub(crate) fn run_job(index: usize) {
    let job = JOBS[index % MAX_CORES].load(Ordering::SeqCst);
    // SAFETY: only `set_job` stores there, and a core is started only after it.
    let job: Job = unsafe { core::mem::transmute(job) };
    job(index);
    DONE[index % MAX_CORES].store(true, Ordering::SeqCst);
}
