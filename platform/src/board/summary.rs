//! A board in a few lines, for the boot log.

use super::{Board, Console, InterruptController, UartKind};
use core::fmt;

/// Several lines, without a line end after the last.
impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", if self.model.is_empty() { "unnamed board" } else { &self.model })?;
        write!(f, "{} cores", self.cores.len())?;
        write!(f, ", {}", self.interrupt_controller)?;
        writeln!(f, ", {}", if self.psci.is_some() { "PSCI" } else { "no PSCI" })?;
        write!(f, "memory")?;
        self.memory.iter().try_for_each(|span| write!(f, " {span}"))?;
        match &self.console {
            Some(console) => write!(f, "\nconsole {console}"),
            None => write!(f, "\nno console"),
        }
    }
}

impl fmt::Display for InterruptController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GicV2(gic) => write!(f, "GICv2 at {:#x}", gic.distributor.start()),
            Self::GicV3(gic) => write!(f, "GICv3 at {:#x}", gic.distributor.start()),
        }
    }
}

impl fmt::Display for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) at {:#x}", self.path, self.kind, self.registers.start())
    }
}

impl fmt::Display for UartKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pl011 => "PL011",
            Self::SbsaUart => "SBSA UART",
            Self::BcmMiniUart => "mini UART",
            Self::Unsupported(compatible) => compatible,
        })
    }
}
