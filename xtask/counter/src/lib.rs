//! A plugin of QEMU that counts the instructions of each core exactly, without those it sleeps through. What belongs here
//! is counting and writing down; which instructions are marks, and what lies between two, is xtask's business.
//!
//! QEMU loads it with `-plugin FILE,out=FILE,mark=WORD,mark=WORD,within=START-END`. At each instruction whose encoding is a
//! mark's, a line is written: the encoding in hexadecimal; how many instructions all cores have executed; and how many of
//! them lay within those addresses, virtual and in hexadecimal.
//! The interface is QEMU's include/qemu/qemu-plugin.h, version 3 (QEMU 9.1) or newer.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

mod qemu;
use qemu::{Block, Instruction};

/// Cores that are counted; QEMU's `virt` has no more.
const CORES: usize = 512;

/// The version of the interface that this speaks; QEMU refuses to load what it does not speak itself.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "QEMU looks for this name")]
pub static qemu_plugin_version: c_int = 3;

/// What a run counts.
struct Run {
    marks: Vec<u32>,
    within: Range<u64>,
    out: Mutex<File>,
}

/// What a core has executed; alone on its cache line, since only its own thread writes to it.
#[repr(align(64))]
struct Executed {
    within: AtomicU64,
    elsewhere: AtomicU64,
}

static EXECUTED: [Executed; CORES] =
    [const { Executed { within: AtomicU64::new(0), elsewhere: AtomicU64::new(0) } }; CORES];

static RUN: OnceLock<Run> = OnceLock::new();

/// QEMU's call after loading: 0, or anything else to say that the plugin cannot be used.
///
/// # Safety
/// `arguments` must be `count` strings, as QEMU hands them over; `information` is not used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _information: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: the caller says that there are so many.
    let arguments = if count == 0 { &[] } else { unsafe { slice::from_raw_parts(arguments, count) } };
    // SAFETY: the caller says that they are strings; they outlive this call.
    let arguments = arguments.iter().map(|text| unsafe { CStr::from_ptr(*text) }.to_string_lossy().into_owned());
    let arguments: Vec<_> = arguments.collect();
    let started = start(&arguments).and_then(|run| RUN.set(run).map_err(|_| "loaded twice".to_owned()));
    if let Err(why) = started {
        eprintln!("bench-counter: {why}");
        return 1;
    }
    // SAFETY: `translated` is of the type asked for and stays for as long as QEMU does.
    unsafe { qemu::qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    0
}

/// Reads the arguments and opens the file.
fn start(arguments: &[String]) -> Result<Run, String> {
    let (mut marks, mut within, mut out) = (Vec::new(), 0..0, None);
    for argument in arguments {
        match argument.split_once('=') {
            Some(("mark", word)) => marks.push(u32::from_str_radix(word, 16).map_err(|error| error.to_string())?),
            Some(("within", addresses)) => within = range(addresses).ok_or(format!("no addresses: {addresses}"))?,
            Some(("out", path)) => out = Some(File::create(path).map_err(|error| format!("{path}: {error}"))?),
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    let out = Mutex::new(out.ok_or("no file")?);
    Ok(Run { marks, within, out })
}

/// `40200000-40300000`.
fn range(text: &str) -> Option<Range<u64>> {
    let (start, end) = text.split_once('-')?;
    Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
}

/// QEMU has translated a block: each of its instructions shall count, and the marks shall tell.
///
/// By instruction, since an exception ends a block anywhere; by calls, since QEMU 10.0 aborts where its own faster
/// counters meet several cores that take turns.
extern "C" fn translated(_id: u64, block: *mut Block) {
    let Some(run) = RUN.get() else { return };
    // SAFETY: QEMU lends the block for the length of this call, its instructions and their words with it.
    unsafe {
        for index in 0..qemu::qemu_plugin_tb_n_insns(block) {
            let instruction = qemu::qemu_plugin_tb_get_insn(block, index);
            let is_within = run.within.contains(&qemu::qemu_plugin_insn_vaddr(instruction));
            qemu::call_at(instruction, if is_within { count_within } else { count_elsewhere }, ptr::null_mut());
            let word = word(instruction);
            if run.marks.contains(&word) {
                // A number in the place of a pointer, which QEMU only hands on.
                qemu::call_at(instruction, reached, ptr::without_provenance_mut(word as usize));
            }
        }
    }
}

/// An instruction within the addresses is about to be executed.
extern "C" fn count_within(core: c_uint, _: *mut c_void) {
    if let Some(executed) = EXECUTED.get(core as usize) {
        increment(&executed.within);
    }
}

/// Another instruction is about to be executed.
extern "C" fn count_elsewhere(core: c_uint, _: *mut c_void) {
    if let Some(executed) = EXECUTED.get(core as usize) {
        increment(&executed.elsewhere);
    }
}

/// By one; no other thread writes to this number.
fn increment(number: &AtomicU64) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// The instruction's encoding.
///
/// # Safety
/// `instruction` must be one of the block that QEMU lends.
unsafe fn word(instruction: *const Instruction) -> u32 {
    let mut bytes = [0; 4];
    // SAFETY: QEMU writes no more than the length given.
    unsafe { qemu::qemu_plugin_insn_data(instruction, bytes.as_mut_ptr().cast(), bytes.len()) };
    u32::from_le_bytes(bytes)
}

/// A mark is about to be executed.
extern "C" fn reached(_core: c_uint, word: *mut c_void) {
    let Some(run) = RUN.get() else { return };
    let sum =
        |number: fn(&Executed) -> &AtomicU64| EXECUTED.iter().map(|core| number(core).load(Ordering::Relaxed)).sum();
    let (within, elsewhere): (u64, u64) = (sum(|core| &core.within), sum(|core| &core.elsewhere));
    let line = format!("{:08x} {} {within}\n", word.addr(), within.wrapping_add(elsewhere));
    if let Ok(mut out) = run.out.lock() {
        // Whoever reads the file sees what is missing.
        drop(out.write_all(line.as_bytes()));
    }
}
