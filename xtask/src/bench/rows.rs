//! Filling the table: which machine gives which cells.

use anyhow::Result;

use super::counter::Length;
#[cfg(test)]
use super::figures::Figures;
use super::figures::{self, Cell, Cells};
use super::machine::{Ours, Plain, stubbed};
use super::operation::{Kind, OPERATIONS, Operation};
use super::{image, linux, peers, stretches, systems};
use crate::build::{self, Hypervisor};
use crate::paths;
use crate::progress::Step;

/// The operations that the stub serves.
const STUB_SERVES: &str =
    "hvc_psci_version,hvc_unknown,id_register_read,gicd_typer_read,gicd_isenabler_read,gicr_isenabler_write";
/// Memory of the guest whose start is counted, in MiB, and of the second that shows what scrubbing costs.
const BOOTED_MIB: [u64; 2] = [128, 64];

/// Rows of the longest stretches, which the same runs give.
const LENGTHS: [(&str, Length); 2] = [("el2_longest", Length::Stretch), ("lock_longest", Length::Hold)];

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is measured.
    pub operation: &'static Operation,
    /// The GIC's version.
    pub gic: u32,
    /// Plain QEMU.
    pub floor: Cell,
    /// The least EL2.
    pub stub: Cell,
    /// Tessera.
    pub ours: Cell,
    /// KVM, nVHE.
    pub kvm: Cell,
    /// Xen, dom0less.
    pub xen: Cell,
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Versions of the GIC.
    pub gics: Vec<u32>,
    /// Only this operation.
    pub only: Option<&'static Operation>,
    /// The peers too.
    pub peers: bool,
}

impl Wanted {
    /// The operations wanted, in the table's order.
    pub fn operations(&self) -> impl Iterator<Item = &'static Operation> {
        OPERATIONS.iter().filter(|operation| self.only.is_none_or(|only| only.name == operation.name))
    }

    fn wants(&self, kind: Kind) -> bool {
        self.operations().any(|operation| operation.kind == kind)
    }

    fn wants_named(&self, name: &str) -> bool {
        self.operations().any(|operation| operation.name == name)
    }

    /// The guest's argument that names the operations, if not all.
    fn arguments(&self) -> String {
        self.only.map_or(String::new(), |only| format!("ops={}", only.name))
    }
}

/// The columns of one version of the GIC while they fill.
struct Column<'a> {
    gic: u32,
    wanted: &'a Wanted,
    hypervisor: &'a Hypervisor,
}

/// Measures everything wanted.
pub fn measure(wanted: &Wanted, hypervisor: &Hypervisor) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for gic in wanted.gics.iter().copied() {
        let column = Column { gic, wanted, hypervisor };
        let floor = column.step("plain QEMU", |column| column.floor())?;
        let stub = column.step("the stub", |column| column.stub())?;
        let ours = column.ours()?;
        let [kvm, xen] = column.peers()?;
        rows.extend(wanted.operations().map(|operation| Row {
            operation,
            gic,
            floor: take(&floor, operation),
            stub: take(&stub, operation),
            ours: take(&ours, operation),
            kvm: take(&kvm, operation),
            xen: take(&xen, operation),
        }));
    }
    Ok(rows)
}

/// Our columns alone.
pub fn measure_ours(wanted: &Wanted, hypervisor: &Hypervisor) -> Result<Vec<(&'static Operation, u32, Cell)>> {
    let mut cells = Vec::new();
    for gic in wanted.gics.iter().copied() {
        let ours = Column { gic, wanted, hypervisor }.ours()?;
        cells.extend(wanted.operations().map(|operation| (operation, gic, take(&ours, operation))));
    }
    Ok(cells)
}

fn take(cells: &Cells, operation: &Operation) -> Cell {
    cells.get(operation.name).cloned().unwrap_or(Cell::Inapplicable)
}

/// A console's cells, or the same reason for all operations of these kinds.
fn cells_or_why(console: Result<String, String>, gic: u32, kinds: &[Kind]) -> Cells {
    let read = console.and_then(|text| figures::read(&text, gic).map_err(|why| why.to_string()));
    read.unwrap_or_else(|why| all_missing(&why, kinds))
}

fn all_missing(why: &str, kinds: &[Kind]) -> Cells {
    let of_kind = OPERATIONS.iter().filter(|operation| kinds.contains(&operation.kind));
    of_kind.map(|operation| (operation.name.to_owned(), Cell::Missing(why.to_owned()))).collect()
}

impl Column<'_> {
    fn step(&self, name: &str, measure: impl FnOnce(&Self) -> Result<Cells>) -> Result<Cells> {
        let step = Step::start(format!("GICv{}: {name}", self.gic));
        let cells = measure(self)?;
        step.done();
        Ok(cells)
    }

    /// Runs the bench guest with one vCPU and with two, as wanted; an operation's cell comes from the run it needs.
    fn guest(&self, run: impl Fn(usize, &str) -> Result<String, String>) -> Cells {
        let mut cells = Cells::new();
        if self.wanted.wants(Kind::Guest) {
            cells = cells_or_why(run(1, &self.wanted.arguments()), self.gic, &[Kind::Guest]);
        }
        if self.wanted.wants(Kind::Pair) {
            cells.extend(cells_or_why(run(2, "ops=sgi_other_vcpu"), self.gic, &[Kind::Pair]));
        }
        cells
    }

    fn floor(&self) -> Result<Cells> {
        let kernel = build::guest("bench")?;
        let machine = |cpus, arguments: &str| Plain::bench(self.gic, cpus, &kernel, arguments).run();
        let mut cells = self.guest(machine);
        if self.wanted.wants_named("linux_to_init") {
            cells.insert("linux_to_init".into(), linux::plain(self.gic).into());
        }
        Ok(cells)
    }

    fn stub(&self) -> Result<Cells> {
        let served = |name: &str| STUB_SERVES.split(',').any(|served| served == name);
        if !self.wanted.operations().any(|operation| served(operation.name)) {
            return Ok(Cells::new());
        }
        let (gic, kernel) = (self.gic, stubbed()?);
        let arguments = &format!("ops={STUB_SERVES}");
        let machine = Plain { at_el2: true, ..Plain::bench(gic, 1, &kernel, arguments) };
        let mut cells = cells_or_why(machine.run(), gic, &[Kind::Guest]);
        cells.retain(|name, _| served(name));
        Ok(cells)
    }

    fn ours(&self) -> Result<Cells> {
        let mut cells = self.step("Tessera", |column| {
            Ok(column.guest(|cpus, arguments| Ours::bench(column.gic, cpus, 128, arguments).run(column.hypervisor)))
        })?;
        if self.wanted.wants(Kind::Sharing) {
            cells.extend(self.step("Tessera, a shared image", |column| Ok(column.sharing()))?);
        }
        for operation in self.wanted.operations().filter(|operation| operation.kind == Kind::System) {
            if LENGTHS.iter().any(|(name, _)| *name == operation.name) {
                continue;
            }
            cells.extend(self.step(&format!("Tessera, {}", operation.label), |column| {
                let figures = systems::measure(operation.name, column.gic, column.hypervisor);
                Ok([(operation.name.to_owned(), figures.into())].into())
            })?);
        }
        if LENGTHS.iter().any(|(name, _)| self.wanted.wants_named(name)) {
            cells.extend(self.stretches()?);
        }
        if self.wanted.wants(Kind::Whole) {
            cells.extend(self.step("Tessera, the whole system", |column| column.whole())?);
        }
        if self.wanted.wants_named("linux_to_init") || self.wanted.wants_named("linux_el2") {
            cells.extend(self.step("Tessera, Linux", |column| Ok(column.linux()))?);
        }
        Ok(cells)
    }

    /// Runs the scenarios of the longest stretches; shows them, since where they come from is no figure.
    fn stretches(&self) -> Result<Cells> {
        let step = Step::start(format!("GICv{}: Tessera at its longest", self.gic));
        let shown = stretches::measure(self.gic, self.hypervisor, &step)?;
        step.done();
        println!("{}", stretches::render(&shown, self.gic, &self.hypervisor.elf)?);
        Ok(LENGTHS.map(|(name, of)| (name.to_owned(), stretches::figures(&shown, of).into())).into())
    }

    fn linux(&self) -> Cells {
        let executed = linux::ours(self.gic, self.hypervisor);
        let parts = [("linux_to_init", executed.clone().map(|of| of.all)), ("linux_el2", executed.map(|of| of.el2))];
        parts.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect()
    }

    fn sharing(&self) -> Cells {
        let path = paths::guests().join("systems/bench-shared.toml");
        let console = std::fs::read_to_string(path).map_err(|error| error.to_string()).and_then(|system| {
            let name = format!("bench-shared-gic{}", self.gic);
            Ours::counted(name, system, self.gic).run(self.hypervisor)
        });
        cells_or_why(console, self.gic, &[Kind::Sharing])
    }

    fn whole(&self) -> Result<Cells> {
        let [console, smaller] = BOOTED_MIB.map(|memory_mib| {
            let console = Ours::bench(self.gic, 1, memory_mib, "ops=none").run(self.hypervisor)?;
            figures::read(&console, self.gic).map_err(|why| why.to_string())?;
            Ok::<_, String>(console)
        });
        let kept = console.clone().and_then(|console| image::memory_kept(&console));
        let [boot, scrubbing] = match start(console, smaller) {
            Ok(both) => both.map(Ok),
            Err(why) => [Err(why.clone()), Err(why)],
        };
        let size = image::size(&self.hypervisor.flat).map_err(|error| error.to_string());
        let many = systems::memory_of_many(self.gic, self.hypervisor);
        let named = [
            ("el2_memory_16_vms", many),
            ("boot_to_guest", boot),
            ("scrub_128_mib", scrubbing),
            ("el2_memory_bytes", kept),
            ("image_bytes", size),
        ];
        Ok(named.into_iter().map(|(name, result)| (name.to_owned(), result.into())).collect())
    }

    fn peers(&self) -> Result<[Cells; 2]> {
        let kinds = [Kind::Guest, Kind::Pair, Kind::Sharing, Kind::Whole];
        if !self.wanted.peers {
            return Ok([const { "only with --peers" }; 2].map(|why| all_missing(why, &kinds)));
        }
        let (guest, writer) = (build::guest("bench")?, build::guest("bench-shared")?);
        Ok(peers::ALL.map(|(name, measure)| {
            let step = Step::start(format!("GICv{}: {name}", self.gic));
            let console = measure(&guest, &writer, self.gic, &step);
            let failed = console.is_err();
            let cells = cells_or_why(console, self.gic, &kinds);
            if failed {
                drop(step)
            } else {
                step.done()
            }
            cells
        }))
    }
}

/// Instructions from EL2's entry to the guest's first one, without and for scrubbing the guest's memory.
///
/// Only scrubbing depends on the memory's size, and evenly: two guests tell it apart.
fn start(console: Result<String, String>, smaller: Result<String, String>) -> Result<[u64; 2], String> {
    let counter = |console: String| {
        let counter = figures::number_after(&console, "first instruction at", "CNTPCT");
        counter.ok_or_else(|| "the guest did not say when it started".to_owned())
    };
    let (whole, less) = (counter(console?)?, counter(smaller?)?);
    let [larger_mib, smaller_mib] = BOOTED_MIB;
    let scrubbing = whole.saturating_sub(less).saturating_mul(larger_mib) / (larger_mib - smaller_mib);
    Ok([whole.saturating_sub(scrubbing), scrubbing])
}

/// Rows for tests of what shows them.
#[cfg(test)]
pub fn sample() -> Vec<Row> {
    let row = |name: &str, ours| Row {
        operation: super::operation::find(name).expect("known"),
        gic: 3,
        floor: Cell::Measured(Figures::single(1)),
        stub: Cell::Inapplicable,
        ours,
        kvm: Cell::Missing("no package qemu-user".into()),
        xen: Cell::Measured(Figures::single(475)),
    };
    let measured = Cell::Measured(Figures { min: 110, median: 114, max: 130 });
    vec![row("hvc_psci_version", measured), row("spi", Cell::Missing("the guest stopped after `x`".into()))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrubbing_is_told_apart_by_a_smaller_guest() {
        let console = |counter: u64| Ok(format!("bench: first instruction at CNTPCT {counter}, CNTVCT 3\n"));
        assert_eq!(start(console(1_000 + 1280), console(1_000 + 640)), Ok([1_000, 1_280]));
        assert!(start(Err("why".into()), console(1)).is_err());
        assert!(start(console(1), Ok("nothing".into())).is_err());
    }

    #[test]
    fn a_failed_run_is_the_reason_in_each_of_its_cells() {
        let cells = cells_or_why(Err("QEMU was killed".into()), 3, &[Kind::Guest]);
        let spi = super::super::operation::find("spi").expect("known");
        assert_eq!(take(&cells, spi), Cell::Missing("QEMU was killed".into()));
        let cow = super::super::operation::find("cow_break").expect("known");
        assert_eq!(take(&cells, cow), Cell::Inapplicable);
    }
}
