//! EL2's image: which instructions are its own, and what is special about some of them.
//!
//! A guest may run at the same virtual addresses, so an instruction is known by where QEMU keeps the machine's memory:
//! guests cannot reach EL2's.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::sync::OnceLock;

/// What an instruction does, as far as the counter cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It belongs to what is not to be counted.
    Skipped,
    /// It takes a lock's ticket.
    Ticket,
    /// It looks whether the ticket has its turn.
    Look,
    /// It releases a lock.
    Release,
}

impl Role {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "skip" => Self::Skipped,
            "ticket" => Self::Ticket,
            "look" => Self::Look,
            "release" => Self::Release,
            _ => return None,
        })
    }
}

/// EL2's image in the machine's memory.
pub struct Image {
    /// Its machine addresses. EL2 enters at the first one, before any guest runs.
    addresses: Range<u64>,
    /// Where QEMU keeps the first one.
    host: OnceLock<usize>,
    roles: HashMap<u64, Role>,
}

impl Image {
    /// An image at these addresses: `40200000-40300000`.
    pub fn at(addresses: &str) -> Option<Self> {
        let (start, end) = addresses.split_once('-')?;
        let addresses = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
        Some(Self { addresses, host: OnceLock::new(), roles: HashMap::new() })
    }

    /// Reads what is special, from lines as `look 1a2b4`: the role, and the offset within the image.
    pub fn read_roles(&mut self, path: &str) -> Result<(), String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        let role = |line: &str| {
            let (name, offset) = line.split_once(' ')?;
            Some((u64::from_str_radix(offset, 16).ok()?, Role::named(name)?))
        };
        let roles = text.lines().map(|line| role(line).ok_or_else(|| format!("{path}: `{line}`")));
        self.roles = roles.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The offset of an instruction at this virtual address, which QEMU keeps there, if it is EL2's.
    pub fn offset(&self, address: u64, host: usize) -> Option<u64> {
        if address == self.addresses.start {
            self.host.get_or_init(|| host);
        }
        let offset = host.checked_sub(*self.host.get()?)? as u64;
        (offset < self.addresses.end.checked_sub(self.addresses.start)?).then_some(offset)
    }

    /// The role of the instruction at this offset.
    pub fn role(&self, offset: u64) -> Option<Role> {
        self.roles.get(&offset).copied()
    }
}
