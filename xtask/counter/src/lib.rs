//! A plugin of QEMU that counts the instructions of each core exactly, without those it sleeps through. What belongs here
//! is counting and writing down; which instructions are marks, and what lies between two, is xtask's business.
//!
//! QEMU loads it with `-plugin FILE,out=FILE` and more of these:
//! - `mark=WORD`: at each instruction of this encoding (in hexadecimal) a line is written: the encoding; how many
//!   instructions all cores have executed; how many of them were EL2's. `next=WORD` is the same for an instruction that
//!   may come up very often: it is written only after a line of another one.
//! - `image=START-END`: the machine addresses of EL2's image, which tells its instructions from others; see `image`.
//! - `roles=FILE`: what is special about some of them; see `image`.
//! - `stretches=on`: lines about how long EL2 goes on; see `stretch`. `each=CORE` tells of all on this core, too.
//!
//! The interface is QEMU's include/qemu/qemu-plugin.h, version 3 (QEMU 9.1) or newer.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::Write;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

mod image;
mod qemu;
mod stretch;
use image::{Image, Role};
use qemu::{Block, Instruction};

/// Cores that are counted; QEMU's `virt` has no more.
const CORES: usize = 512;

/// The version of the interface that this speaks; QEMU refuses to load what it does not speak itself.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "QEMU looks for this name")]
pub static qemu_plugin_version: c_int = 3;

/// What a run counts.
struct Run {
    marks: Vec<Mark>,
    image: Option<Image>,
    stretches: bool,
    /// The core of which each stretch is written down.
    each: Option<c_uint>,
    out: Mutex<File>,
    /// The mark of the line written last.
    last: AtomicU32,
}

/// An instruction that is written down.
struct Mark {
    word: u32,
    /// Only after another one.
    only_next: bool,
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
    let (mut marks, mut image, mut roles, mut out) = (Vec::new(), None, None, None);
    let (mut stretches, mut each) = (false, None);
    for argument in arguments {
        match argument.split_once('=') {
            Some((kind @ ("mark" | "next"), word)) => {
                let word = u32::from_str_radix(word, 16).map_err(|error| error.to_string())?;
                marks.push(Mark { word, only_next: kind == "next" });
            }
            Some(("image", addresses)) => {
                image = Some(Image::at(addresses).ok_or(format!("no addresses: {addresses}"))?);
            }
            Some(("roles", path)) => roles = Some(path),
            Some(("stretches", "on")) => stretches = true,
            Some(("each", core)) => each = Some(core.parse().map_err(|_| format!("no core: {core}"))?),
            Some(("out", path)) => out = Some(File::create(path).map_err(|error| format!("{path}: {error}"))?),
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    if let (Some(image), Some(path)) = (&mut image, roles) {
        image.read_roles(path)?;
    }
    let out = Mutex::new(out.ok_or("no file")?);
    Ok(Run { marks, image, stretches, each, out, last: AtomicU32::new(0) })
}

/// An instruction while its block is translated.
struct Translated {
    instruction: *mut Instruction,
    word: u32,
    /// Within EL2's image, if it is EL2's.
    offset: Option<u64>,
    role: Option<Role>,
}

/// QEMU has translated a block: what is to be called at it is registered.
extern "C" fn translated(_id: u64, block: *mut Block) {
    let Some(run) = RUN.get() else { return };
    // SAFETY: QEMU lends the block for the length of this call, its instructions and their words with it.
    let instructions: Vec<_> = unsafe {
        let all = (0..qemu::qemu_plugin_tb_n_insns(block)).map(|index| qemu::qemu_plugin_tb_get_insn(block, index));
        all.map(|instruction| look_at(run, instruction)).collect()
    };
    if !run.marks.is_empty() {
        instructions.iter().for_each(|translated| count(run, translated));
    }
    if run.stretches {
        follow(block, &instructions);
    }
}

/// Reads an instruction.
///
/// # Safety
/// `instruction` must be one of the block that QEMU lends.
unsafe fn look_at(run: &Run, instruction: *mut Instruction) -> Translated {
    // SAFETY: as the caller says.
    let (address, host, word) = unsafe {
        let host = qemu::qemu_plugin_insn_haddr(instruction).addr();
        (qemu::qemu_plugin_insn_vaddr(instruction), host, word(instruction))
    };
    let offset = run.image.as_ref().and_then(|image| image.offset(address, host));
    let role = run.image.as_ref().zip(offset).and_then(|(image, offset)| image.role(offset));
    Translated { instruction, word, offset, role }
}

/// Has an instruction counted, and told of if it is a mark.
///
/// By instruction, since an exception ends a block anywhere; by calls, since QEMU 10.0 aborts where its own faster
/// counters meet several cores that take turns.
fn count(run: &Run, translated: &Translated) {
    let counts = translated.offset.is_some() && translated.role != Some(Role::Skipped);
    let callback = if counts { count_within } else { count_elsewhere };
    // SAFETY: of the block that QEMU lends. A number stands in the place of a pointer, which QEMU only hands on.
    unsafe {
        qemu::call_at(translated.instruction, callback, ptr::null_mut());
        if let Some(index) = run.marks.iter().position(|mark| mark.word == translated.word) {
            qemu::call_at(translated.instruction, reached, ptr::without_provenance_mut(index));
        }
    }
}

/// Has a block followed. What is handed over with it stays for as long as QEMU may execute the block.
fn follow(block: *mut Block, instructions: &[Translated]) {
    let Some(offset) = instructions.first().and_then(|first| first.offset) else {
        // SAFETY: the block that QEMU lends.
        return unsafe { qemu::call_at_block(block, stretch::left, ptr::null_mut()) };
    };
    let data = Box::leak(Box::new(stretch::Block { offset, instructions: instructions.len() as u64 }));
    // SAFETY: the block that QEMU lends.
    unsafe { qemu::call_at_block(block, stretch::entered, ptr::from_mut(data).cast()) };
    let following = (0..instructions.len() as u64).rev();
    for (translated, following) in instructions.iter().zip(following) {
        let event = stretch::Event::of(translated.word, translated.role);
        if let (Some(event), Some(offset)) = (event, translated.offset) {
            let place = Box::leak(Box::new(stretch::Place { offset, following, event }));
            // SAFETY: of the block that QEMU lends.
            unsafe { qemu::call_at(translated.instruction, stretch::reached, ptr::from_mut(place).cast()) };
        }
    }
}

/// An instruction of EL2's that counts is about to be executed.
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

/// A mark, of this index, is about to be executed.
extern "C" fn reached(_core: c_uint, index: *mut c_void) {
    let Some((run, mark)) = RUN.get().and_then(|run| Some((run, run.marks.get(index.addr())?))) else { return };
    if run.last.swap(mark.word, Ordering::Relaxed) == mark.word && mark.only_next {
        return;
    }
    let sum =
        |number: fn(&Executed) -> &AtomicU64| EXECUTED.iter().map(|core| number(core).load(Ordering::Relaxed)).sum();
    let (within, elsewhere): (u64, u64) = (sum(|core| &core.within), sum(|core| &core.elsewhere));
    write(&format!("{:08x} {} {within}\n", mark.word, within.wrapping_add(elsewhere)));
}

/// Whether each stretch of this core is to be written down.
fn is_told_of_each(core: c_uint) -> bool {
    RUN.get().is_some_and(|run| run.each == Some(core))
}

/// Writes a line.
fn write(line: &str) {
    if let Some(Ok(mut out)) = RUN.get().map(|run| run.out.lock()) {
        // Whoever reads the file sees what is missing.
        drop(out.write_all(line.as_bytes()));
    }
}
