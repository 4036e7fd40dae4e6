//! An entry of `devices`.

use tessera_abi::manifest::{self as abi, value};
use toml::de::DeValue;

use super::super::description::{BoardDevice, BoardDevices, Device, DeviceKind, Interrupt};
use super::super::problem::{At, Problem, Result, one_of};
use super::super::table::{Table, Value, array, integer, string, wrong};
use super::spi;

const KEYS: [&str; 9] =
    ["kind", "address", "size", "machine", "sub-page", "interrupts", "compatible", "name", "properties"];

/// Reads all devices: those that are described, and those that the board's tree describes.
pub(super) fn all(table: &Table<'_>) -> Result<(Vec<At<Device>>, BoardDevices)> {
    let (mut described, mut board) = (Vec::new(), BoardDevices::default());
    for value in table.array("devices")? {
        match board_device(value)? {
            Some(named) => board.named.push(named),
            None => described.push(read(value)?),
        }
    }
    if let Some(value) = table.get("everything-except") {
        board.except = Some(At::new(except(value)?, value.span()));
        if let Some(named) = board.named.first() {
            let problem = named.problem("a VM has devices by name or `everything-except`, not both");
            return Err(problem.help("remove one of them"));
        }
    }
    let except = board.except.as_ref().map_or(0, |except| except.value.len());
    at_most(table, "devices of the board", board.named.len().max(except), abi::MAX_BOARD_DEVICES)?;
    Ok((described, board))
}

fn except(value: Value<'_>) -> Result<Vec<At<String>>> {
    array(value, "everything-except")?.into_iter().map(|name| string(name, "everything-except")).collect()
}

/// A name, or a table with the key `device`; nothing if it is another kind of entry.
fn board_device(value: Value<'_>) -> Result<Option<At<BoardDevice>>> {
    if value.get_ref().is_str() {
        let name = string(value, "devices")?;
        let device = BoardDevice { name: name.value, may_master_dma: true, by_sub_page: false, without: Vec::new() };
        return Ok(Some(At::new(device, name.span)));
    }
    if !value.get_ref().as_table().is_some_and(|table| table.contains_key("device")) {
        return Ok(None);
    }
    let table = Table::from(value, "a device of the board", &["device", "dma", "sub-page", "without"])?;
    let name = table.required("device", table.string("device")?)?;
    let may_master_dma = table.boolean("dma")?.is_none_or(|dma| dma.value);
    let by_sub_page = by_sub_page(&table)?;
    let without = table.array("without")?.into_iter().map(|name| string(name, "without")).collect::<Result<_>>()?;
    Ok(Some(At::new(BoardDevice { name: name.value, may_master_dma, by_sub_page, without }, name.span)))
}

fn by_sub_page(table: &Table<'_>) -> Result<bool> {
    Ok(table.boolean("sub-page")?.is_some_and(|given| given.value))
}

/// Reads one device.
fn read(value: Value<'_>) -> Result<At<Device>> {
    let table = Table::from(value, "a device", &KEYS)?;
    let kind = table.string("kind")?.unwrap_or(At::new(value::PASSTHROUGH.into(), table.head()));
    let device = match &*kind.value {
        value::PASSTHROUGH => passthrough(&table)?,
        value::PL011 => emulated(&table, &kind, DeviceKind::Pl011, None)?,
        value::PL031 => emulated(&table, &kind, DeviceKind::Pl031, Some((0x0901_0000, 2)))?,
        unknown => {
            let known = [value::PASSTHROUGH, value::PL011, value::PL031];
            let problem = kind.problem(format!("there is no kind of device `{unknown}`"));
            return Err(problem.help(one_of(unknown, known)));
        }
    };
    let device = At::new(device, value.span());
    match device.value.kind {
        DeviceKind::Passthrough { machine, by_sub_page: true } => part_of_page(device, machine),
        _ => whole_pages(device),
    }
}

/// At the address and interrupt that QEMU has it at, if `default` says so.
fn emulated(table: &Table<'_>, kind: &At<String>, device: DeviceKind, default: Option<(u64, u64)>) -> Result<Device> {
    let only_passed = ["size", "machine", "sub-page", "compatible", "name", "properties"];
    if let Some(key) = only_passed.into_iter().find(|key| table.get(key).is_some()) {
        let message = format!("an emulated device has no `{key}`");
        return Err(kind.problem(message).help(format!("remove `{key}`")));
    }
    let address = table.integer("address")?.map(|address| address.value);
    let mut interrupts = interrupts(table)?;
    if interrupts.len() > 1 {
        return Err(kind.problem("an emulated device has one interrupt"));
    }
    if let (Some((_, spi)), true) = (default, interrupts.is_empty()) {
        interrupts.push(kind.with(Interrupt { spi, edge: false }));
    }
    Ok(Device {
        kind: device,
        address: table.required("address", address.or(default.map(|(address, _)| address)))?,
        bytes: abi::PAGE_BYTES,
        interrupts,
        compatible: Vec::new(),
        name: kind.value.clone(),
        properties: Vec::new(),
    })
}

fn passthrough(table: &Table<'_>) -> Result<Device> {
    let address = table.integer("address")?.map(|address| address.value);
    let machine = table.integer("machine")?.map(|machine| machine.value);
    let machine = table.required("machine", machine.or(address))?;
    let compatible = compatible(table)?;
    Ok(Device {
        kind: DeviceKind::Passthrough { machine, by_sub_page: by_sub_page(table)? },
        address: address.unwrap_or(machine),
        bytes: table.size("size")?.map_or(abi::PAGE_BYTES, |size| size.value),
        interrupts: interrupts(table)?,
        name: node_name(table, &compatible)?,
        compatible,
        properties: properties(table)?,
    })
}

fn whole_pages(device: At<Device>) -> Result<At<Device>> {
    let Device { address, bytes, kind, .. } = &device.value;
    let machine = match kind {
        DeviceKind::Passthrough { machine, .. } => *machine,
        _ => 0,
    };
    let whole = [*address, *bytes, machine].iter().all(|n| n.is_multiple_of(abi::PAGE_BYTES));
    if *bytes == 0 || !whole {
        let problem = device.problem("a device must be whole pages");
        let whole = "make addresses and size multiples of 4096 (0x1000, \"4K\")";
        let help = match kind {
            DeviceKind::Passthrough { .. } => {
                format!("{whole}, or write `sub-page = true`, then EL2 passes single accesses on, which is slower")
            }
            DeviceKind::Pl011 | DeviceKind::Pl031 => whole.to_owned(),
        };
        return Err(problem.help(help));
    }
    Ok(device)
}

/// A part of a page is as far from its start in the guest as in the machine.
fn part_of_page(device: At<Device>, machine: u64) -> Result<At<Device>> {
    let Device { address, bytes, .. } = &device.value;
    if *bytes == 0 || !address.abs_diff(machine).is_multiple_of(abi::PAGE_BYTES) {
        let problem =
            device.problem("a device with `sub-page` must lie as far from the start of a page as in the machine");
        return Err(problem.help("make `address` and `machine` differ by a multiple of 4096, and `size` not zero"));
    }
    Ok(device)
}

fn interrupts(table: &Table<'_>) -> Result<Vec<At<Interrupt>>> {
    let list = table.array("interrupts")?;
    at_most(table, "interrupts", list.len(), abi::MAX_INTERRUPTS)?;
    list.into_iter().map(interrupt).collect()
}

/// EL2 refuses longer lists.
fn at_most(table: &Table<'_>, key: &str, count: usize, limit: usize) -> Result<()> {
    if count > limit {
        let message = format!("{count} {key}, at most {limit} are possible");
        return Err(Problem::new(table.head(), message).help("shorten the list"));
    }
    Ok(())
}

/// A number, which is level triggered, or a table that says how it is triggered.
fn interrupt(value: Value<'_>) -> Result<At<Interrupt>> {
    if value.get_ref().is_integer() {
        let number = spi(Some(integer(value, "interrupts")?))?.unwrap_or_default();
        return Ok(At::new(Interrupt { spi: number, edge: false }, value.span()));
    }
    let table = Table::from(value, "an interrupt", &["spi", "trigger"])?;
    let number = table.required("spi", spi(table.integer("spi")?)?)?;
    let trigger = table.string("trigger")?;
    let edge = match trigger.as_ref().map(|trigger| &*trigger.value) {
        None | Some("level") => false,
        Some("edge") => true,
        Some(_) => {
            let span = trigger.map_or(value.span(), |trigger| trigger.span);
            return Err(Problem::new(span, "`trigger` must be \"level\" or \"edge\""));
        }
    };
    Ok(At::new(Interrupt { spi: number, edge }, value.span()))
}

fn compatible(table: &Table<'_>) -> Result<Vec<String>> {
    let Some(value) = table.get("compatible") else {
        return Ok(Vec::new());
    };
    if value.get_ref().is_str() {
        return Ok(vec![string(value, "compatible")?.value]);
    }
    let strings = array(value, "compatible")?.into_iter();
    strings.map(|value| Ok(string(value, "compatible")?.value)).collect()
}

/// The name of the device's node: what is given, or the part of `compatible` behind the maker.
fn node_name(table: &Table<'_>, compatible: &[String]) -> Result<String> {
    if let Some(name) = table.string("name")? {
        if !is_node_name(&name.value) {
            let problem = name.problem(format!("a node cannot be called `{}`", name.value));
            return Err(problem.help("use 1 to 31 of a-z, A-Z, 0-9 and `,._+-`"));
        }
        return Ok(name.value);
    }
    let product = compatible.first().and_then(|name| name.rsplit(',').next());
    Ok(product.filter(|name| is_node_name(name)).unwrap_or("device").to_string())
}

/// Devicetree Specification v0.4, 2.2.1; property names are much the same (2.2.4.1).
fn is_node_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b",._+-".contains(&byte);
    (1..=31).contains(&name.len()) && name.bytes().all(allowed)
}

/// What the guest's device tree is to say of the device beyond the usual.
fn properties(table: &Table<'_>) -> Result<Vec<(String, Vec<u8>)>> {
    let Some(value) = table.get("properties") else {
        return Ok(Vec::new());
    };
    let mut properties = Vec::new();
    let entries = Table::free_entries(value, "properties")?;
    at_most(table, "properties", entries.len(), abi::MAX_DEVICE_PROPERTIES)?;
    for (key, value) in entries {
        let name = key.get_ref();
        let problem = |message| Err(Problem::new(key.span(), message));
        if ["reg", "compatible", "interrupts"].contains(&&**name) {
            return problem(format!("`{name}` follows from the device's own keys"));
        }
        if !is_node_name(name.trim_matches(['#', '?'])) || name.len() > 31 {
            return problem(format!("a property cannot be called `{name}`"));
        }
        properties.push((name.to_string(), property(value, name)?));
    }
    Ok(properties)
}

/// `true` is an empty property; numbers are cells; strings end with a NUL.
fn property(value: Value<'_>, name: &str) -> Result<Vec<u8>> {
    match value.get_ref() {
        DeValue::Boolean(true) => Ok(Vec::new()),
        DeValue::Array(_) => {
            let parts = array(value, name)?.into_iter().map(|part| scalar(part, name));
            Ok(parts.collect::<Result<Vec<_>>>()?.concat())
        }
        _ => scalar(value, name),
    }
}

fn scalar(value: Value<'_>, name: &str) -> Result<Vec<u8>> {
    match value.get_ref() {
        DeValue::String(_) => {
            let mut text = string(value, name)?.value.into_bytes();
            text.push(0);
            Ok(text)
        }
        DeValue::Integer(_) => {
            let number = integer(value, name)?;
            let cell = u32::try_from(number.value);
            let cell = cell.map_err(|_| number.problem("a cell has 32 bits").help("write two"))?;
            Ok(cell.to_be_bytes().to_vec())
        }
        _ => Err(wrong(value, name, "true, numbers or strings")),
    }
}
