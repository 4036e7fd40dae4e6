//! STUB until the policy lands.
use alloc::vec::Vec;
pub struct CoreSchedule {
    pub vcpus: usize,
    pub slice: u64,
}
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Off,
    Ready,
    Blocked(Option<u64>),
}
pub struct Scheduler {
    states: Vec<State>,
    running: Option<usize>,
    slice: u64,
    end: u64,
    last: usize,
}
pub struct Decision {
    pub run: Option<usize>,
    pub until: Option<u64>,
}
impl Scheduler {
    pub fn new(_now: u64, c: CoreSchedule) -> Self {
        Self { states: alloc::vec![State::Off; c.vcpus], running: None, slice: c.slice, end: 0, last: 0 }
    }
    pub fn wake(&mut self, i: usize, _now: u64) {
        if let Some(s) = self.states.get_mut(i) {
            *s = State::Ready
        }
    }
    pub fn block(&mut self, i: usize, d: Option<u64>, _now: u64) {
        if let Some(s) = self.states.get_mut(i) {
            *s = State::Blocked(d)
        }
    }
    pub fn switch_off(&mut self, i: usize, _now: u64) {
        if let Some(s) = self.states.get_mut(i) {
            *s = State::Off
        }
    }
    pub fn expire(&mut self, now: u64) -> Option<usize> {
        let i = self.states.iter().position(|s| matches!(s, State::Blocked(Some(d)) if *d <= now))?;
        if let Some(s) = self.states.get_mut(i) {
            *s = State::Blocked(None)
        }
        Some(i)
    }
    pub fn is_blocked(&self, i: usize) -> bool {
        matches!(self.states.get(i), Some(State::Blocked(_)))
    }
    pub fn blocked(&self) -> u64 {
        (0..self.states.len()).filter(|i| self.is_blocked(*i)).fold(0, |m, i| m | 1 << i)
    }
    pub fn is_shared(&self) -> bool {
        self.states.iter().filter(|s| **s != State::Off).count() > 1
    }
    pub fn running(&self) -> Option<usize> {
        self.running
    }
    pub fn decide(&mut self, now: u64) -> Decision {
        let ready = |i: &usize| self.states.get(*i) == Some(&State::Ready);
        let n = self.states.len();
        let keeps = self.running.filter(ready).filter(|_| now < self.end);
        let next = keeps.or_else(|| (self.last + 1..self.last + 1 + n).map(|i| i % n).find(ready));
        if next != self.running || keeps.is_none() {
            self.end = now + self.slice
        }
        if let Some(i) = next {
            self.last = i
        }
        self.running = next;
        let contended = (0..n).filter(ready).count() > 1;
        let blocked = self.states.iter().filter_map(|s| if let State::Blocked(d) = s { *d } else { None }).min();
        let until = if contended { Some(self.end) } else { None };
        Decision { run: next, until: until.into_iter().chain(blocked).min() }
    }
}
