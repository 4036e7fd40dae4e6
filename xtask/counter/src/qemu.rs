//! The functions and types of QEMU's plugin interface that the counter uses (include/qemu/qemu-plugin.h).

use std::ffi::{c_int, c_uint, c_void};

/// A translated block.
#[repr(C)]
pub struct Block {
    _opaque: [u8; 0],
}

/// An instruction of a translated block.
#[repr(C)]
pub struct Instruction {
    _opaque: [u8; 0],
}

/// What QEMU calls before an instruction: the core, and the data given with it.
pub type Executed = extern "C" fn(c_uint, *mut c_void);

/// `enum qemu_plugin_cb_flags`: the function called reads no registers.
const NO_REGISTERS: c_int = 0;

unsafe extern "C" {
    pub fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: extern "C" fn(u64, *mut Block));
    pub fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    pub fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    pub fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    pub fn qemu_plugin_insn_haddr(instruction: *const Instruction) -> *const c_void;
    pub fn qemu_plugin_insn_data(instruction: *const Instruction, to: *mut c_void, bytes: usize) -> usize;
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: Executed,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_tb_exec_cb(block: *mut Block, callback: Executed, flags: c_int, data: *mut c_void);
}

/// Has `callback` called with `data` before this instruction is executed.
///
/// # Safety
/// `instruction` must be one of the block that QEMU lends.
pub unsafe fn call_at(instruction: *mut Instruction, callback: Executed, data: *mut c_void) {
    // SAFETY: the caller's instruction; the data is only handed on.
    unsafe { qemu_plugin_register_vcpu_insn_exec_cb(instruction, callback, NO_REGISTERS, data) };
}

/// Has `callback` called with `data` before this block is executed, and before what [`call_at`] asks for in it.
///
/// # Safety
/// `block` must be the one that QEMU lends.
pub unsafe fn call_at_block(block: *mut Block, callback: Executed, data: *mut c_void) {
    // SAFETY: the caller's block; the data is only handed on.
    unsafe { qemu_plugin_register_vcpu_tb_exec_cb(block, callback, NO_REGISTERS, data) };
}
