//! A set of virtual CPUs of one virtual machine.

/// The most virtual CPUs one virtual machine can have: one bit of a [`VcpuSet`] each.
pub const MAXIMUM_VCPUS: usize = 64;

/// A set of virtual CPU indices below [`MAXIMUM_VCPUS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[must_use = "these virtual CPUs have to be kicked or woken"]
pub struct VcpuSet(u64);

impl VcpuSet {
    /// The set without members.
    pub const EMPTY: Self = Self(0);

    /// The set whose members are the set bits of `bits`.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set of `vcpu` alone; empty if that is [`MAXIMUM_VCPUS`] or more.
    pub const fn of(vcpu: usize) -> Self {
        let mut set = Self::EMPTY;
        set.insert(vcpu);
        set
    }

    /// The members as a bit mask.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether nobody is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `vcpu` is a member.
    #[must_use]
    pub const fn contains(self, vcpu: usize) -> bool {
        vcpu < MAXIMUM_VCPUS && self.0 >> vcpu & 1 != 0
    }

    /// Adds `vcpu`; an index of [`MAXIMUM_VCPUS`] or more is ignored.
    pub const fn insert(&mut self, vcpu: usize) {
        if vcpu < MAXIMUM_VCPUS {
            self.0 |= 1 << vcpu;
        }
    }

    /// The set with `vcpu`; an index of [`MAXIMUM_VCPUS`] or more is ignored.
    pub const fn with(mut self, vcpu: usize) -> Self {
        self.insert(vcpu);
        self
    }

    /// The set without `vcpu`.
    pub const fn without(self, vcpu: usize) -> Self {
        if vcpu < MAXIMUM_VCPUS { Self(self.0 & !(1 << vcpu)) } else { self }
    }

    /// The members of both sets.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The members of this set that are in `other`, too.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The members of this set that are not in `other`.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The lowest member.
    #[must_use]
    pub const fn first(self) -> Option<usize> {
        if self.0 == 0 { None } else { Some(self.0.trailing_zeros() as usize) }
    }
}

impl Iterator for VcpuSet {
    type Item = usize;

    /// Takes out the lowest member.
    fn next(&mut self) -> Option<usize> {
        let first = self.first()?;
        self.0 &= self.0 - 1;
        Some(first)
    }
}

/// The positions of the set bits of a word, lowest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits(pub(super) u32);

impl Iterator for Bits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let position = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(position)
    }
}
