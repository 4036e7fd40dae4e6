//! The physical interrupts that a core takes.

use tessera_platform::IntId;
use tessera_platform::gic::{Acknowledged, Controller};
use tessera_platform::system_registers::wait_for_accesses;

use super::Core;
use crate::exit::Next;
use crate::terminal;
use crate::vcpu::Vcpu;
use crate::vm::interrupt;

impl Core {
    /// Takes one physical interrupt.
    #[inline(never)]
    pub(super) fn interrupt(&mut self, vcpus: &mut [Vcpu]) -> Next {
        self.take_interrupt(vcpus).unwrap_or(Next::Resume)
    }

    /// The same. `None`: it was the virtual timer's, and is pending for the guest of the vCPU that is loaded, which has enabled
    /// it and goes on.
    #[inline(always)]
    pub(super) fn take_interrupt(&mut self, vcpus: &mut [Vcpu]) -> Option<Next> {
        let gic = &self.processor.machine.gic;
        let Some(taken) = gic.acknowledge() else { return Some(Next::Resume) };
        if taken.id() != self.processor.machine.interrupts.virtual_timer {
            return Some(self.other_interrupt(vcpus, taken));
        }
        gic.end(taken);
        match self.loaded_slot().and_then(|slot| vcpus.get_mut(slot)) {
            Some(vcpu) if self.deliver(vcpu, interrupt::GUEST_VIRTUAL_TIMER) => return None,
            Some(_) => {}
            // It came as its vCPU went off: nobody else would end it, and the next vCPU's would not come.
            None => gic.deactivate(taken),
        }
        Some(Next::Resume)
    }

    /// Hands the vCPU that is loaded a physical interrupt of its own. Whether it is known to be pending, and enabled.
    #[inline(always)]
    fn deliver(&self, vcpu: &Vcpu, intid: u32) -> bool {
        let (vgic, registers) = (&vcpu.vm.vgic, &mut self.processor.list_registers());
        let is_renewed = vgic.renew_hardware(vcpu.index, registers, intid);
        if !is_renewed {
            let told = vgic.deliver_first(vcpu.index, registers, intid);
            vcpu.vm.kick(told, vcpu.index, &self.processor);
        }
        is_renewed
    }

    /// The list registers want to be looked at.
    fn maintain(&mut self, vcpus: &mut [Vcpu], taken: Acknowledged) -> Next {
        let is_virtual = self.processor.list_registers().maintain();
        let loaded = self.loaded_slot().and_then(|slot| vcpus.get_mut(slot));
        if let Some(vcpu) = loaded.filter(|_| is_virtual) {
            vcpu.vm.vgic.maintain(vcpu.index);
        }
        let gic = &self.processor.machine.gic;
        gic.end(taken);
        gic.deactivate(taken);
        Next::Resume
    }

    #[inline(never)]
    fn other_interrupt(&mut self, vcpus: &mut [Vcpu], taken: Acknowledged) -> Next {
        let machine = self.processor.machine;
        let gic = &machine.gic;
        let id = taken.id();
        if id == machine.interrupts.maintenance {
            return self.maintain(vcpus, taken);
        }
        gic.end(taken);
        if id == machine.interrupts.kick {
            gic.deactivate(taken);
            // What the sender wrote before is not to be read ahead of the acknowledgement, with a GICv2 a mere load.
            wait_for_accesses();
            return self.hear();
        }
        if let Some(vm) = self.system.owner_of(id) {
            // Stays active until the guest deactivates it.
            return self.deliver_passthrough(vcpus, vm.index, id);
        }
        gic.deactivate(taken);
        if id == machine.interrupts.hypervisor_timer {
            return self.timer_fired(vcpus);
        }
        if Some(id) == machine.interrupts.uart {
            self.system.serve_console(&self.processor, terminal::serve);
            self.processor.watch_console();
            return self.hear();
        }
        // Something nobody asked for.
        Next::Resume
    }

    /// Somebody may have rung: a vCPU that does not wait sees its news before it is entered; for all else the loop has a look.
    #[inline]
    pub(super) fn hear(&mut self) -> Next {
        let rung = self.processor.doorbell.take(self.scheduler.listening());
        self.rung.news |= rung.news & self.scheduler.blocked();
        self.rung.orders |= rung.orders;
        if self.rung.is_empty() { Next::Resume } else { Next::Reschedule }
    }

    /// A device that is passed through interrupts, on a core where its VM has a vCPU or had one to which it was routed.
    fn deliver_passthrough(&mut self, vcpus: &mut [Vcpu], vm: usize, id: IntId) -> Next {
        let Some(vm) = self.system.vms.get(vm) else { return Next::Resume };
        let target = vm.vgic.target_of(id.number());
        let loaded = self.loaded_slot().and_then(|slot| vcpus.get_mut(slot));
        match loaded.filter(|vcpu| vcpu.vm.index == vm.index && target == Some(vcpu.index)) {
            Some(vcpu) => {
                self.deliver(vcpu, id.number());
                Next::Resume
            }
            None => {
                vm.kick(vm.vgic.post_hardware(id.number()), usize::MAX, &self.processor);
                self.hear()
            }
        }
    }

    /// The timer: what the vCPU that is loaded asked for, what the console waits for, or the scheduler's.
    fn timer_fired(&mut self, vcpus: &mut [Vcpu]) -> Next {
        let now = self.now();
        if self.processor.expire_console(now) {
            // What is shown now makes room for those whose bytes had none.
            self.system.serve_console(&self.processor, terminal::send_on);
            self.processor.watch_console();
        }
        if self.until <= now {
            return Next::Reschedule;
        }
        if let Some(vcpu) = self.loaded_slot().and_then(|slot| vcpus.get_mut(slot)) {
            vcpu.update_physical_timer(now);
            self.set_timer_for(vcpu);
        }
        self.hear()
    }
}
