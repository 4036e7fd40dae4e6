//! Priorities: the order of delivery, the mask, preemption, and more interrupts than there are list registers.

use guest_runtime::checks::Outcome;
use guest_runtime::gic::current;
use guest_runtime::{Machine, delay, ensure, ensure_equal};

use crate::{FREE_SHARED, expect, expect_none, ready, reset, take};

/// More than any implementation has list registers (16).
const MANY: u32 = 20;

/// Readies and raises a shared interrupt at a priority.
fn raise(interrupt: u32, priority: u8) {
    ready(interrupt);
    current::set_priority(interrupt, priority);
    current::set_pending(interrupt);
}

/// Of two pending interrupts, the one with the lower number as priority comes first.
pub fn most_urgent_first(machine: &Machine) -> Outcome {
    for (first, second) in [(FREE_SHARED, FREE_SHARED + 1), (FREE_SHARED + 1, FREE_SHARED)] {
        reset(machine);
        raise(second, 0x80);
        raise(first, 0x40);
        let shown = || current::highest_pending() == first;
        delay::wait_for("the most urgent one to be shown", shown);
        expect(first)?;
        expect(second)?;
        expect_none()?;
    }
    Ok(())
}

/// The priority mask lets only more urgent interrupts through.
pub fn mask(machine: &Machine) -> Outcome {
    reset(machine);
    current::set_priority_mask(0x80);
    raise(FREE_SHARED, 0x80);
    expect_none()?;
    raise(FREE_SHARED + 1, 0x78);
    expect(FREE_SHARED + 1)?;
    expect_none()?;
    current::set_priority_mask(0x88);
    expect(FREE_SHARED)?;
    current::set_priority_mask(0);
    raise(FREE_SHARED, 0);
    expect_none()?;
    current::set_priority_mask(0xff);
    expect(FREE_SHARED)
}

/// While one is active, only a more urgent one is delivered, and the running priority goes up and down with them.
pub fn running_priority_holds_back(machine: &Machine) -> Outcome {
    let running = || current::running_priority();
    reset(machine);
    raise(FREE_SHARED, 0x60);
    ensure_equal!(take(), FREE_SHARED, "the first");
    ensure_equal!(running(), 0x60, "running priority of the first");
    raise(FREE_SHARED + 1, 0x60);
    raise(FREE_SHARED + 2, 0x90);
    expect_none()?;
    raise(FREE_SHARED + 3, 0x20);
    ensure_equal!(take(), FREE_SHARED + 3, "the more urgent one");
    ensure_equal!(running(), 0x20, "running priority of the more urgent one");
    current::end(FREE_SHARED + 3);
    ensure_equal!(running(), 0x60, "running priority after its end");
    expect_none()?;
    current::end(FREE_SHARED);
    expect(FREE_SHARED + 1)?;
    expect(FREE_SHARED + 2)?;
    ensure_equal!(running(), 0xff, "running priority at the end");
    expect_none()
}

/// The priority of the `index`th of many: all different, in no order, of the upper five bits.
fn scrambled(index: u32) -> u8 {
    ((index * 7 + 3) % MANY * 8 + 8) as u8
}

/// Many pending interrupts come in the order of their priorities, each once.
pub fn more_than_list_registers(machine: &Machine) -> Outcome {
    reset(machine);
    // Raised while nothing is let through, so that all of them are pending when the first is delivered.
    current::set_priority_mask(0);
    for index in 0..MANY {
        raise(FREE_SHARED + index, scrambled(index));
    }
    current::set_priority_mask(0xff);
    for rank in 0..MANY {
        let index = (0..MANY).find(|&index| u32::from(scrambled(index)) == rank * 8 + 8).unwrap_or(0);
        expect(FREE_SHARED + index)?;
    }
    expect_none()
}

/// Many interrupts of one priority all arrive, each once, also when they are deactivated late (EOImode 1).
pub fn equal_ones_all_arrive(machine: &Machine) -> Outcome {
    reset(machine);
    current::set_two_steps(true);
    for index in 0..MANY {
        raise(FREE_SHARED + index, 0x80);
    }
    take_many("the first time", false)?;
    expect_none()?;
    Ok(())
}

/// With all of them active and none deactivated, none comes again before its deactivation, and then each does.
pub fn many_active_ones(machine: &Machine) -> Outcome {
    equal_ones_all_arrive(machine)?;
    (0..MANY).for_each(|index| current::set_pending(FREE_SHARED + index));
    expect_none()?;
    (0..MANY).for_each(|index| current::deactivate(FREE_SHARED + index));
    take_many("after the deactivation", true)?;
    expect_none()?;
    reset(machine);
    Ok(())
}

/// Takes all of the many, in any order, and drops their priority; each must come once.
fn take_many(when: &str, deactivate: bool) -> Outcome {
    let mut seen = 0u32;
    for _ in 0..MANY {
        let taken = take();
        let known = (FREE_SHARED..FREE_SHARED + MANY).contains(&taken);
        ensure!(known, "took {taken} {when}, with {seen:#x} taken before");
        current::end(taken);
        if deactivate {
            current::deactivate(taken);
        }
        let bit = 1 << (taken - FREE_SHARED);
        ensure!(seen & bit == 0, "{taken} came twice {when}");
        seen |= bit;
    }
    Ok(())
}
