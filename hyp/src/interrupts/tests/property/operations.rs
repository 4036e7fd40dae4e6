//! The random operations, each done to the virtual GIC and to the model.

use super::*;

impl World {
    /// One random operation of `vcpu`, in the model, too. Returns who has to look.
    pub(super) fn step(&mut self, vcpu: usize) -> VcpuSet {
        let operation = self.random.below(20);
        self.carry_out(vcpu, operation)
    }

    /// The same of one that traps, so that others may have changed what list registers hold since they were last looked at.
    pub(super) fn trap(&mut self, vcpu: usize) -> VcpuSet {
        let operation = self.random.pick(&[0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 14]);
        self.carry_out(vcpu, operation)
    }

    fn carry_out(&mut self, vcpu: usize, operation: usize) -> VcpuSet {
        let intid = self.random.pick(&NUMBERS);
        self.log.push(format!("vcpu {vcpu} operation {operation} interrupt {intid}"));
        match operation {
            0 | 1 => self.line(vcpu, intid),
            2 if intid >= 32 && !HARDWARE.contains(&intid) => {
                self.model.get(vcpu, intid).latch = true;
                self.vgic.pulse(vcpu, intid)
            }
            3 | 4 => self.sgi(vcpu, intid % 16),
            5 => self.enable(vcpu, intid),
            6 => self.pend(vcpu, intid),
            7 => self.activate(vcpu, intid),
            8 => self.prioritize(vcpu, intid),
            9 if intid >= 32 => self.route(vcpu, intid),
            10 if self.random.below(4) == 0 => {
                let groups = self.random.below(4);
                self.model.groups = [groups & 1 != 0, groups & 2 != 0];
                configure(&self.vgic, vcpu, 0, 4, groups as u64)
            }
            10 => {
                self.model.groups = [true, true];
                configure(&self.vgic, vcpu, 0, 4, GROUPS)
            }
            11 if self.random.below(4) == 0 => {
                let group = self.random.below(2) as u8;
                self.write_group(vcpu, intid, group)
            }
            12 if intid >= 32 && !HARDWARE.contains(&intid) => {
                let edge = self.random.flip();
                self.set_trigger(vcpu, intid, edge)
            }
            13 => self.park(vcpu),
            14 => self.device(),
            15..=17 => self.acknowledge(vcpu),
            _ => self.end(vcpu),
        }
    }

    fn line(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        if intid < 16 || HARDWARE.contains(&intid) {
            return VcpuSet::EMPTY;
        }
        let high = self.random.flip();
        self.model.get(vcpu, intid).set_line(high);
        self.vgic.set_line(vcpu, intid, high)
    }

    fn sgi(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        let (zero, all) = (self.random.below(4) == 0, self.random.below(4) == 0);
        let list = self.random.next() & 0xf;
        for target in 0..self.cores.len() {
            let named = if all { target != vcpu } else { list >> target & 1 != 0 };
            let interrupt = self.model.get(target, intid);
            if named && interrupt.group == u8::from(!zero) {
                interrupt.latch = true;
            }
        }
        let register = if zero { SgiRegister::Group0 } else { SgiRegister::Group1 };
        let value = u64::from(intid) << 24 | u64::from(all) << 40 | list;
        if self.random.flip() {
            self.vgic.send_sgi_here(vcpu, &mut shown(&mut self.cores[vcpu], &self.books[vcpu]), register, value)
        } else {
            self.vgic.send_sgi(vcpu, register, value)
        }
    }

    fn enable(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        let on = self.random.below(3) != 0;
        self.model.get(vcpu, intid).enabled = on;
        write_bit(&self.vgic, vcpu, if on { ISENABLER } else { ICENABLER }, intid)
    }

    fn pend(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        let on = self.random.flip();
        self.model.get(vcpu, intid).latch = on;
        if on {
            pend_at(&self.vgic, vcpu, &mut shown(&mut self.cores[vcpu], &self.books[vcpu]), intid)
        } else {
            write_bit(&self.vgic, vcpu, ICPENDR, intid)
        }
    }

    fn activate(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        // With one write to end an interrupt, the guest has to end them in order: see `deactivate_unlisted`.
        if !self.split {
            return VcpuSet::EMPTY;
        }
        let on = self.random.below(4) == 0;
        let interrupt = self.model.get(vcpu, intid);
        interrupt.active = match (on, interrupt.active) {
            (false, _) => Active::No,
            (true, Active::No) => Active::Written,
            (true, other) => other,
        };
        if !on {
            self.taken.iter_mut().enumerate().for_each(|(owner, taken)| {
                // It still has to drop its priority.
                taken.retain(|&(other, dropped)| other != intid || !dropped || (intid < 32 && owner != vcpu));
            });
        }
        write_bit(&self.vgic, vcpu, if on { ISACTIVER } else { ICACTIVER }, intid)
    }

    fn prioritize(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        let priority = self.random.next() as u8;
        self.model.get(vcpu, intid).priority = priority & 0xf8;
        set_priority(&self.vgic, vcpu, intid, priority)
    }

    fn route(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        let target = self.random.below(self.cores.len() + 1);
        self.model.get(0, intid).target = (target < self.cores.len()).then_some(target);
        configure(&self.vgic, vcpu, 0x6000 + u64::from(intid) * 8, 8, target as u64)
    }

    fn park(&mut self, vcpu: usize) -> VcpuSet {
        let told = self.vgic.park(vcpu, &mut shown(&mut self.cores[vcpu], &self.books[vcpu]));
        assert!(self.cores[vcpu].listed().is_empty() && !self.cores[vcpu].calls());
        assert!(!self.cores[vcpu].is_active(TIMER), "the timer is left active");
        // With its registers its line changes, so the GIC looks.
        self.cores[vcpu].unseen.remove(&TIMER);
        assert_eq!(self.cores[vcpu].maintenance, crate::interrupts::Maintenance::NONE);
        if self.random.flip() {
            self.log.push("  stays parked".into());
            self.parked[vcpu] = true;
        } else {
            self.vgic.unpark(vcpu, &mut shown(&mut self.cores[vcpu], &self.books[vcpu]));
        }
        told
    }

    pub(super) fn device(&mut self) -> VcpuSet {
        let level = self.random.flip();
        match self.random.below(4) {
            0 => self.level = level,
            1 => self.edge = true,
            _ => {
                let core = self.random.below(self.cores.len());
                self.timers[core] = level;
            }
        }
        VcpuSet::EMPTY
    }

    fn acknowledge(&mut self, vcpu: usize) -> VcpuSet {
        let running = self.cores[vcpu].running.last().copied();
        let best = self.model.deliverable(vcpu).into_iter().min();
        let expected = best.filter(|&(priority, _)| running.is_none_or(|running| priority < running));
        let got = self.cores[vcpu].acknowledge();
        self.log.push(format!("  acknowledged {got:?}"));
        assert_eq!(got.is_some(), expected.is_some(), "acknowledged {got:?}, expected {expected:?}");
        if let (Some(got), Some((priority, _))) = (got, expected) {
            let interrupt = self.model.get(vcpu, got);
            assert_eq!(interrupt.priority, priority, "{got} is not the most urgent");
            assert!(interrupt.target == Some(vcpu) && interrupt.enabled);
            interrupt.acknowledge(vcpu);
            self.taken[vcpu].push((got, false));
        }
        VcpuSet::EMPTY
    }

    /// Ends the innermost, or deactivates any whose priority is dropped.
    fn end(&mut self, vcpu: usize) -> VcpuSet {
        let innermost = self.taken[vcpu].iter().rposition(|&(_, dropped)| !dropped);
        let dropped: Vec<_> = (0..self.taken[vcpu].len()).filter(|&index| self.taken[vcpu][index].1).collect();
        if !dropped.is_empty() && (innermost.is_none() || self.random.flip()) {
            let (intid, _) = {
                let index = self.random.pick(&dropped);
                self.taken[vcpu].remove(index)
            };
            self.log.push(format!("  deactivates {intid}"));
            return self.finish(vcpu, intid);
        }
        let Some(index) = innermost else {
            return VcpuSet::EMPTY;
        };
        let intid = self.taken[vcpu][index].0;
        self.log.push(format!("  ends {intid}"));
        self.cores[vcpu].end(intid);
        if self.split && self.model.get(vcpu, intid).active == Active::By(vcpu) {
            self.taken[vcpu][index].1 = true;
        } else {
            self.taken[vcpu].remove(index);
            if !self.split {
                self.model.get(vcpu, intid).active = Active::No;
            }
        }
        VcpuSet::EMPTY
    }

    fn finish(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        self.model.get(vcpu, intid).active = Active::No;
        match self.cores[vcpu].end_split(intid) {
            true if self.random.flip() => {
                self.vgic.deactivate_here(vcpu, &mut shown(&mut self.cores[vcpu], &self.books[vcpu]), intid)
            }
            true => self.vgic.deactivate(vcpu, intid),
            false => VcpuSet::EMPTY,
        }
    }
}
