//! From TOML to typed values. Types, keys, names and numbers are checked here, each by itself.

mod device;
mod sharing;

use tessera_abi::manifest as abi;
use toml::de::DeTable;

use super::description::{Blob, Cpus, Image, Kind, Layout, Memory, System, Vm};
use super::problem::{At, Problem, Result, one_of};
use super::table::{Table, Value, array, integer, size, string, wrong};

/// Reads the whole file.
pub(super) fn system(source: &str) -> Result<System> {
    let document = DeTable::parse(source).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        Problem::new(span, format!("this is no TOML: {}", error.message().trim_end()))
    })?;
    let keys = ["description", "machine", "housekeeping", "vm", "core"];
    let root = Table::new(document.get_ref(), 0..source.len(), "a system file", &keys)?;
    let (machine_cpus, machine_memory, disks) = machine(&root)?;
    let vms = root.array("vm")?;
    if vms.is_empty() {
        return Err(Problem::new(root.head(), "there is no VM").help("describe one under `[[vm]]`"));
    }
    let description = root.string("description")?.map(|text| text.value);
    Ok(System {
        description: description.unwrap_or_default(),
        machine_cpus,
        machine_memory,
        disks,
        vms: vms.into_iter().map(vm).collect::<Result<_>>()?,
        housekeeping: sharing::housekeeping(&root)?,
        cores: root.array("core")?.into_iter().map(sharing::core).collect::<Result<_>>()?,
        span: root.head(),
    })
}

type MachineKeys = (Option<At<u64>>, Option<At<u64>>, Vec<At<String>>);

fn machine(root: &Table<'_>) -> Result<MachineKeys> {
    let Some(value) = root.get("machine") else {
        return Ok((None, None, Vec::new()));
    };
    let machine = Table::from(value, "[machine]", &["cpus", "memory", "disks"])?;
    let disks = machine.array("disks")?.into_iter().map(|disk| string(disk, "disks")).collect::<Result<_>>()?;
    Ok((machine.integer("cpus")?, machine.size("memory")?, disks))
}

const VM_KEYS: [&str; 23] = [
    "name",
    "cpus",
    "memory",
    "image",
    "initrd",
    "command-line",
    "device-tree",
    "share-image",
    "files",
    "console",
    "gic",
    "devices",
    "everything-except",
    "layout",
    "on-reset",
    "on-crash",
    "restart-limit",
    "restart-delay",
    "priority",
    "weight",
    "budget",
    "period",
    "dedicated",
];

fn vm(value: Value<'_>) -> Result<Vm> {
    let table = Table::from(value, "[[vm]]", &VM_KEYS)?;
    let name = name(&table)?;
    let layout = layout(&table, &name)?;
    let console = table.boolean("console")?.is_none_or(|console| console.value);
    let (devices, board_devices) = device::all(&table)?;
    let vm = Vm {
        cpus: cpus(&table)?,
        memory: memory(&table, &layout)?,
        image: image(&table)?,
        initrd: table.get("initrd").map(|value| blob(value, "initrd")).transpose()?,
        command_line: command_line(&table)?,
        device_tree: table.get("device-tree").map(|value| blob(value, "device-tree")).transpose()?,
        share_image: table.boolean("share-image")?.is_some_and(|share| share.value),
        files: files(&table)?,
        console,
        gic_version: gic_version(&table)?,
        devices,
        board_devices,
        on_reset: policy(&table, "on-reset")?,
        on_crash: policy(&table, "on-crash")?,
        restart_limit: sharing::number(&table, "restart-limit", 0..=u32::MAX.into())?,
        restart_delay: sharing::time(&table, "restart-delay", 0..=abi::MAX_TIME)?,
        scheduling: sharing::of_vm(&table)?,
        name,
        layout,
    };
    may_start_again(&vm)?;
    Ok(vm)
}

/// Who never starts again is not told how often.
fn may_start_again(vm: &Vm) -> Result<()> {
    let is = |policy: &Option<At<String>>, wanted: &str| policy.as_ref().is_some_and(|policy| policy.value == wanted);
    if !is(&vm.on_reset, abi::value::STOP) || is(&vm.on_crash, abi::value::RESTART) {
        return Ok(());
    }
    let told = [("restart-limit", &vm.restart_limit), ("restart-delay", &vm.restart_delay)];
    match told.into_iter().find_map(|(key, value)| Some((key, value.as_ref()?))) {
        None => Ok(()),
        Some((key, value)) => {
            let problem = value.problem(format!("a `{key}` for a VM that never starts again"));
            Err(problem.help("remove it, or say `on-reset = \"restart\"` or `on-crash = \"restart\"`"))
        }
    }
}

fn name(table: &Table<'_>) -> Result<At<String>> {
    let name = table.required("name", table.string("name")?)?;
    if !abi::is_valid_vm_name(&name.value) {
        let help =
            "use 1 to 31 of a-z, 0-9, `-` and `_`, beginning with a letter or digit; `tessera` is the hypervisor's own";
        return Err(name.problem(format!("a VM cannot be called `{}`", name.value)).help(help));
    }
    Ok(name)
}

fn cpus(table: &Table<'_>) -> Result<At<Cpus>> {
    let value = table.required("cpus", table.get("cpus"))?;
    let (count, cpus) = if value.get_ref().is_array() {
        let cores = array(value, "cpus")?.into_iter().map(|core| integer(core, "cpus"));
        let cores = cores.collect::<Result<Vec<_>>>()?;
        (cores.len() as u64, Cpus::Cores(cores))
    } else if value.get_ref().is_integer() {
        let count = integer(value, "cpus")?.value;
        (count, Cpus::Count(count))
    } else {
        return Err(wrong(value, "cpus", "a number of cores or a list of cores"));
    };
    let cpus = At::new(cpus, value.span());
    if !(1..=abi::MAX_VCPUS as u64).contains(&count) {
        let limit = abi::MAX_VCPUS;
        return Err(cpus.problem(format!("a VM has 1 to {limit} cpus, not {count}")));
    }
    no_core_twice(&cpus)?;
    Ok(cpus)
}

fn no_core_twice(cpus: &At<Cpus>) -> Result<()> {
    let Cpus::Cores(cores) = &cpus.value else {
        return Ok(());
    };
    for (position, core) in cores.iter().enumerate() {
        sharing::is_core(core)?;
        if cores.iter().take(position).any(|earlier| earlier.value == core.value) {
            let problem = core.problem(format!("core {} is listed twice", core.value));
            return Err(problem.help("a VM can have one vCPU on a core; list another core"));
        }
    }
    Ok(())
}

fn memory(table: &Table<'_>, layout: &Layout) -> Result<Vec<At<Memory>>> {
    let value = table.required("memory", table.get("memory"))?;
    if !value.get_ref().is_array() {
        let bytes = size(value, "memory")?;
        let memory = Memory { base: layout.ram, bytes: bytes.value, machine: None };
        return Ok(vec![whole_pages(At::new(memory, value.span()))?]);
    }
    let regions = array(value, "memory")?;
    if regions.is_empty() || regions.len() > abi::MAX_MEMORY_REGIONS {
        let message = format!("a VM has 1 to {} regions of memory", abi::MAX_MEMORY_REGIONS);
        return Err(Problem::new(value.span(), message));
    }
    regions.into_iter().map(memory_region).collect()
}

fn memory_region(value: Value<'_>) -> Result<At<Memory>> {
    let keys = ["base", "size", "machine", "one-to-one"];
    let table = Table::from(value, "a region of memory", &keys)?;
    let base = table.required("base", table.integer("base")?)?;
    let bytes = table.required("size", table.size("size")?)?;
    let machine = table.integer("machine")?;
    let one_to_one = table.boolean("one-to-one")?.filter(|one| one.value);
    let machine = match (machine, one_to_one) {
        (Some(machine), Some(_)) => {
            let problem = machine.problem("a region has `machine` or `one-to-one`, not both");
            return Err(problem.help("remove one of them"));
        }
        (machine, None) => machine.map(|machine| machine.value),
        (None, Some(_)) => Some(base.value),
    };
    let memory = Memory { base: base.value, bytes: bytes.value, machine };
    whole_pages(At::new(memory, value.span()))
}

fn whole_pages(memory: At<Memory>) -> Result<At<Memory>> {
    let Memory { base, bytes, machine } = memory.value;
    let aligned = |number: u64| number.is_multiple_of(abi::PAGE_BYTES);
    if bytes == 0 {
        return Err(memory.problem("memory of no bytes").help("give at least \"4K\""));
    }
    if !aligned(base) || !aligned(bytes) || !machine.is_none_or(aligned) {
        let problem = memory.problem("memory must be whole pages");
        return Err(problem.help("make addresses and size multiples of 4096 (0x1000, \"4K\")"));
    }
    Ok(memory)
}

fn image(table: &Table<'_>) -> Result<Image> {
    let value = table.required("image", table.get("image"))?;
    if value.get_ref().is_str() {
        return Ok(Image { path: string(value, "image")?, kind: None, load: None, entry: None });
    }
    if !value.get_ref().is_table() {
        return Err(wrong(value, "image", "a path or a table"));
    }
    let table = Table::from(value, "`image`", &["path", "kind", "load", "entry"])?;
    Ok(Image {
        path: table.required("path", table.string("path")?)?,
        kind: table.string("kind")?.map(kind).transpose()?,
        load: table.integer("load")?,
        entry: table.integer("entry")?,
    })
}

fn kind(name: At<String>) -> Result<At<Kind>> {
    let kinds = [("linux", Kind::Linux), ("elf", Kind::Elf), ("raw", Kind::Raw)];
    match kinds.iter().find(|(known, _)| *known == name.value) {
        Some((_, kind)) => Ok(name.with(*kind)),
        None => {
            let problem = name.problem(format!("there is no kind of image `{}`", name.value));
            Err(problem.help(one_of(&name.value, kinds.map(|(name, _)| name))))
        }
    }
}

fn blob(value: Value<'_>, key: &'static str) -> Result<Blob> {
    if value.get_ref().is_str() {
        return Ok(Blob { path: string(value, key)?, load: None });
    }
    if !value.get_ref().is_table() {
        return Err(wrong(value, key, "a path or a table"));
    }
    let table = Table::from(value, "a file", &["path", "load"])?;
    let path = table.required("path", table.string("path")?)?;
    Ok(Blob { path, load: table.integer("load")? })
}

fn files(table: &Table<'_>) -> Result<Vec<Blob>> {
    let file = |value| {
        let file = blob(value, "files")?;
        if file.load.is_none() {
            let problem = file.path.problem("this file has no address");
            return Err(problem.help("write { path = \"...\", load = 0x... }"));
        }
        Ok(file)
    };
    table.array("files")?.into_iter().map(file).collect()
}

fn command_line(table: &Table<'_>) -> Result<Option<At<String>>> {
    let line = table.string("command-line")?;
    match &line {
        Some(line) if line.value.len() > abi::MAX_COMMAND_LINE => {
            let (bytes, limit) = (line.value.len(), abi::MAX_COMMAND_LINE);
            Err(line.problem(format!("a command line of {bytes} bytes; Linux reads {limit}")))
        }
        _ => Ok(line),
    }
}

fn gic_version(table: &Table<'_>) -> Result<Option<At<u64>>> {
    let version = table.integer("gic")?;
    match &version {
        Some(version) if !(2..=3).contains(&version.value) => {
            let problem = version.problem(format!("there is no GICv{} for guests", version.value));
            Err(problem.help("write 2 or 3, or remove the line for the board's own version"))
        }
        _ => Ok(version),
    }
}

fn policy(table: &Table<'_>, key: &str) -> Result<Option<At<String>>> {
    let policy = table.string(key)?;
    let known = [abi::value::RESTART, abi::value::STOP];
    match &policy {
        Some(policy) if !known.contains(&&*policy.value) => {
            let problem = policy.problem(format!("`{key}` cannot be `{}`", policy.value));
            Err(problem.help(one_of(&policy.value, known)))
        }
        _ => Ok(policy),
    }
}

const LAYOUT_KEYS: [&str; 6] =
    ["ram", "gic-distributor", "gic-cpu-interface", "gic-redistributors", "uart", "uart-interrupt"];

fn layout(table: &Table<'_>, name: &At<String>) -> Result<Layout> {
    let Some(value) = table.get("layout") else {
        return Ok(Layout::qemu_virt(name.span.clone()));
    };
    if value.get_ref().is_str() {
        let layout = string(value, "layout")?;
        if layout.value != "qemu-virt" {
            let problem = layout.problem(format!("there is no layout `{}`", layout.value));
            return Err(problem.help("write \"qemu-virt\", or a table of addresses"));
        }
        return Ok(Layout::qemu_virt(layout.span));
    }
    let table = Table::from(value, "`layout`", &LAYOUT_KEYS)?;
    let default = Layout::qemu_virt(table.head());
    let address = |key, default| match table.integer(key)? {
        Some(given) if !given.value.is_multiple_of(abi::PAGE_BYTES) => {
            let problem = given.problem(format!("`{key}` must be at a page"));
            Err(problem.help("make it a multiple of 4096 (0x1000)"))
        }
        given => Ok(given.map_or(default, |given| given.value)),
    };
    Ok(Layout {
        ram: address("ram", default.ram)?,
        gic_distributor: address("gic-distributor", default.gic_distributor)?,
        gic_cpu_interface: address("gic-cpu-interface", default.gic_cpu_interface)?,
        gic_redistributors: address("gic-redistributors", default.gic_redistributors)?,
        uart: address("uart", default.uart)?,
        uart_interrupt: spi(table.integer("uart-interrupt")?)?.unwrap_or(default.uart_interrupt),
        span: default.span,
    })
}

/// The number of a shared peripheral interrupt, if there.
fn spi(number: Option<At<u64>>) -> Result<Option<u64>> {
    match number {
        Some(number) if number.value >= u64::from(abi::SPI_LIMIT) => {
            let problem = number.problem(format!("there is no SPI {}", number.value));
            Err(problem.help("SPIs are counted from 0 to 987: an INTID less 32"))
        }
        number => Ok(number.map(|number| number.value)),
    }
}
