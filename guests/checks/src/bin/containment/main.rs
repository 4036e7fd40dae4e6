//! Reaches for everything that is not the guest's own. Each attempt must end in a fault or an error code, as on a real
//! board; the guest itself, and everybody else, goes on.
#![no_std]
#![no_main]

mod calls;
mod instructions;
mod memory;
mod registers;

use guest_runtime::checks;
use guest_runtime::{Machine, entry, list};

entry!(main);

fn main(machine: &Machine) {
    checks::run(
        machine,
        list![
            memory::reads_of_nothing,
            memory::writes_to_nothing,
            memory::every_access_size,
            memory::faulting_write_back_changes_nothing,
            memory::pairs_and_vectors,
            memory::exclusives_and_cache_operations,
            memory::just_beyond_memory,
            memory::all_above_memory,
            memory::between_devices,
            memory::unaligned_device_access,
            memory::own_memory_still_works,
            instructions::fetch_from_nothing,
            instructions::fetch_from_device,
            instructions::undefined_instructions,
            instructions::semihosting,
            instructions::illegal_return_to_higher_level,
            instructions::set_and_way_keeps_memory,
            instructions::translation_of_higher_levels,
            instructions::tlb_maintenance,
            registers::sweep_of_reads,
            registers::sweep_of_implementation_defined_writes,
            registers::debug_and_performance_writes,
            calls::unknown_immediates,
            calls::every_service,
            calls::junk_arguments,
            memory::own_memory_still_works,
        ],
    );
}
