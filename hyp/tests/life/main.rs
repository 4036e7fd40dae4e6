//! Every order of what happens to two VMs of two vCPUs each on two cores, by `stateright`.
//!
//! Each core has one vCPU of each VM, and the first ones share a core, which does the work of both restarts. Anybody may
//! stop, pause and resume at any time; guests switch vCPUs on and off; kicks decide which vCPU a core has loaded; and what
//! a core has taken as an order, it carries out and confirms only later. What must be true is told by a record of what was
//! asked and of what the cores have in hand, which knows nothing of the machine's own state.
//!
//! A ring is heard at once, and acted upon at any time: one that is late finds nothing to do, or what an earlier one is for.
//! That none is lost on its way is shown where the doorbell is.

mod happen;
mod world;

use stateright::{Checker, HasDiscoveries, Model, Property};

use tessera::life::{Life, Order, RestartPolicy, State};
use tessera::manifest::Policy;
use world::{Asked, Hand, Step, World};

/// How many times a VM may start again bounds the states, and nothing else does.
struct Machine {
    restarts: u32,
}

impl Model for Machine {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let policy = RestartPolicy {
            on_reset: Policy::Restart,
            on_crash: Policy::Stop,
            limit: Some(self.restarts),
            delay: 1,
            longest_delay: 2,
            forgotten_after: u64::MAX,
        };
        vec![World::new(&Life::new(2, policy), self.restarts)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        world.calls(steps);
        world.core_steps(steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        next.take(step);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what is answered and ordered fits what was asked", |_, world: &World| {
                world.fault.is_none()
            }),
            Property::always("a core has at most one vCPU loaded, which is its own", |_, world: &World| owners(world)),
            Property::always("no order without a ring, or a core that has it in hand", |_, world: &World| wakes(world)),
            Property::always("who is paused is whole in memory", |_, world: &World| pauses(world)),
            Property::always("the work of a restart runs alone", |_, world: &World| works_alone(world)),
            Property::always("the machine is on as long as somebody lives", |_, world: &World| ends_last(world)),
            Property::always("left alone, everything comes to rest where it was to go", |_, world: &World| {
                rests(world)
            }),
            Property::sometimes("both restart at once", |_, world: &World| both(world, is_restarting)),
            Property::sometimes("both are paused", |_, world: &World| {
                both(world, |life| matches!(life.state(), State::Paused(_)))
            }),
            Property::sometimes("a restart waits", |_, world: &World| waits(world)),
            Property::sometimes("the machine goes off", |_, world: &World| world.is_off),
        ]
    }
}

fn both(world: &World, is_so: fn(&Life) -> bool) -> bool {
    world.vms.iter().all(|vm| is_so(&vm.life))
}

fn is_restarting(life: &Life) -> bool {
    matches!(life.state(), State::Restarting(_))
}

fn waits(world: &World) -> bool {
    world.cores.iter().any(|core| core.hands.iter().any(|hand| matches!(hand, Hand::Waits { .. })))
}

fn owners(world: &World) -> bool {
    world.cores.iter().all(|core| core.loaded.is_none_or(|vm| core.hands[vm] == Hand::On))
}

fn wakes(world: &World) -> bool {
    let is_awaited = |vm: usize, vcpu: usize| {
        let core = &world.cores[vcpu];
        let has = core.rung >> vm & 1 != 0 || core.doing.is_some_and(|(doing, _)| doing == vm);
        match world.vms[vm].life.clone().order(vcpu, 0) {
            Order::Nothing => true,
            Order::Work => has || core.hands[vm] == Hand::Works,
            Order::Wait { until } => has || core.hands[vm] == Hand::Waits { until },
            _ => has,
        }
    };
    (0..2).all(|vm| (0..2).all(|vcpu| is_awaited(vm, vcpu)))
}

fn pauses(world: &World) -> bool {
    let is_whole = |vm: usize| world.cores.iter().all(|core| matches!(core.hands[vm], Hand::Off | Hand::Parked));
    (0..2).all(|vm| !matches!(world.vms[vm].life.state(), State::Paused(_)) || is_whole(vm))
}

fn works_alone(world: &World) -> bool {
    let is_on = |vm: usize| world.cores.iter().any(|core| matches!(core.hands[vm], Hand::On | Hand::Parked));
    (0..2).all(|vm| world.cores[0].hands[vm] != Hand::Works || !is_on(vm))
}

fn ends_last(world: &World) -> bool {
    let lives = |vm: &world::Vm| !matches!(vm.asked, Asked::Ended);
    !world.is_off || !world.vms.iter().any(lives)
}

/// Lets the cores alone do what they have to.
fn rests(world: &World) -> bool {
    let mut world = world.clone();
    let mut steps = Vec::new();
    for _ in 0..64 {
        steps.clear();
        world.core_steps(&mut steps);
        let Some(step) = steps.first() else { break };
        world.take(*step);
    }
    world.fault.is_none() && steps.is_empty() && (0..2).all(|vm| world.is_at_rest(vm))
}

#[test]
fn no_order_of_events_leaves_a_vm_without_a_way_out() {
    // In breadth, so that what is found comes by the shortest way to it.
    let checker =
        Machine { restarts: 2 }.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    checker.assert_properties();
    // Fewer would mean that something can no longer happen.
    assert!(checker.unique_state_count() > 1_800_000, "{} states", checker.unique_state_count());
}
