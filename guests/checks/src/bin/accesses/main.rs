//! Device accesses by every kind of load and store: those that the syndrome describes (ESR_EL2.ISV is 1) and those that
//! an emulator has to decode itself.
#![no_std]
#![no_main]

mod compared;
mod known;
mod pages;
mod refused;
mod run;

use guest_runtime::checks;
use guest_runtime::{Machine, entry, list, mmio, write_register};

entry!(main);

fn main(machine: &Machine) {
    // CPACR_EL1.FPEN: vector registers may be used.
    write_register!("cpacr_el1", 3 << 20);
    let divisors = known::divisors();
    checks::run(
        machine,
        list![
            known::plain_loads,
            known::sign_extension,
            known::pre_and_post_index,
            known::register_offsets,
            known::pairs,
            known::vector_loads,
            known::zero_register,
            known::loads_into_their_own_base,
            known::stores_of_every_kind,
            compared::at_el1,
            compared::at_el1_untranslated,
            compared::at_el0,
            compared::unprivileged,
            compared::atomics,
            compared::release_consistent,
            pages::from_a_device_to_memory,
            pages::from_memory_to_a_device,
            pages::elements_on_two_pages,
            pages::faults_on_the_other_page,
            pages::nothing_on_the_other_page,
            pages::literals,
            pages::zeroing_a_block,
            refused::load_exclusive,
            refused::store_exclusive,
            refused::unpredictable,
            refused::harmless,
        ],
    );
    mmio::write32(known::IBRD as usize, divisors.0);
    mmio::write32(known::FBRD as usize, divisors.1);
}
