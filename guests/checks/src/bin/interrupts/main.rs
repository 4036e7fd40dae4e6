//! The GIC, version 2 or 3, and the timers as the architecture wants them (Arm IHI 0048B, IHI 0069H): what a guest's
//! interrupt code relies on.
//!
//! Most checks keep interrupts masked and take them by reading IAR, so that each says exactly what was
//! delivered, and when. `delivery` has what needs the exception itself.
#![no_std]
#![no_main]

mod delivery;
mod priority;
mod registers;
mod sgi;
mod shared;
mod state;
mod timers;

use guest_runtime::checks::{self, Outcome};
use guest_runtime::gic::{self, current};
use guest_runtime::{Machine, delay, ensure_equal, entry, list, register};

entry!(main);

/// How long to wait to be reasonably sure that an interrupt does not arrive, in microseconds.
const ABSENCE: u64 = 2_000;
/// The first of the shared interrupts that the checks raise by software; no device of `virt` has them.
const FREE_SHARED: u32 = 40;

fn main(machine: &Machine) {
    gic::start(machine);
    checks::run(
        machine,
        list![
            registers::identification,
            registers::redistributors,
            registers::read_back,
            registers::private_registers_are_per_core,
            sgi::to_self,
            sgi::to_each_other_core,
            sgi::to_all_others,
            sgi::of_two_senders_are_two,
            sgi::while_pending_is_one,
            timers::fire_after_the_time,
            timers::are_level_sensitive,
            timers::masked_or_moved_are_not_delivered,
            timers::disabled_stay_pending,
            timers::rewriting_the_compare_value_is_enough,
            timers::fire_on_every_core,
            timers::tick_beside_interrupts_of_another_core,
            state::pending_set_and_clear,
            state::timer_pending_by_write_and_while_active,
            state::active_set_and_clear,
            state::disabled_while_active,
            state::timer_disabled_while_active,
            state::separate_deactivation,
            state::spurious_when_nothing_is_pending,
            priority::most_urgent_first,
            priority::mask,
            priority::running_priority_holds_back,
            priority::more_than_list_registers,
            priority::equal_ones_all_arrive,
            priority::many_active_ones,
            shared::routed_to_each_core,
            shared::rerouted_while_pending,
            shared::pending_again_while_active,
            delivery::exception_is_taken,
            delivery::preemption,
            delivery::wait_wakes_for_timer,
            delivery::wait_wakes_for_other_core,
            registers::every_register_can_be_read,
            registers::beyond_the_last_interrupt,
            registers::odd_sizes_do_not_crash,
            registers::still_working_after_all_that,
        ],
    );
}

/// Takes the next interrupt, which must come.
fn take() -> u32 {
    let mut taken = current::SPURIOUS;
    delay::wait_for("an interrupt", || {
        taken = current::acknowledge();
        taken < 1020
    });
    taken
}

/// Takes and ends `interrupt`, which must be the next.
fn expect(interrupt: u32) -> Outcome {
    ensure_equal!(take(), interrupt, "the next interrupt");
    current::end(interrupt);
    Ok(())
}

/// Makes sure that nothing is delivered for a while.
fn expect_none() -> Outcome {
    let mut taken = current::SPURIOUS;
    delay::until(ABSENCE, || {
        taken = current::acknowledge();
        taken < 1020
    });
    if taken < 1020 {
        current::end(taken);
    }
    ensure_equal!(taken, current::SPURIOUS, "an interrupt that should not come");
    Ok(())
}

/// Readies a shared interrupt for raising it by software: edge-triggered, to this core, enabled.
fn ready(interrupt: u32) {
    current::set_edge(interrupt, true);
    current::set_priority(interrupt, current::DEFAULT_PRIORITY);
    current::route(interrupt, register::core_index());
    current::enable(interrupt);
}

/// Puts everything back as [`gic::start`] left it, whatever a check that failed half-way did.
fn reset(machine: &Machine) {
    // More than there can be priorities, should the running priority never drop.
    for _ in 0..64 {
        if current::running_priority() == 0xff {
            break;
        }
        let active = |&interrupt: &u32| current::bit(current::distributor::ISACTIVER, interrupt);
        current::end((0..current::interrupt_count()).find(active).unwrap_or(0));
    }
    gic::start(machine);
    while current::acknowledge() < 1020 {}
}
