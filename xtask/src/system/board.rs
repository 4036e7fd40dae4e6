//! Devices that a system names by the board's tree: found, and checked as EL2 will check them, each problem at its place
//! in the file.

use tessera_platform::assignment::{Assignment, Conflict, Kept, LeftOut, between, everything_except, with_kept};
use tessera_platform::board::Board;
use tessera_platform::tree::{BoardError, DeviceNode, Tree};
use tessera_platform::{IntId, Span};

use super::board_tree::{BoardTree, Read};
use super::description::{FoundDevices, System, Vm};
use super::place::claims;
use super::problem::{At, Problem, Result, one_of};

/// Finds out what the devices are that VMs are given, and whether they can have them. `shown_by` is the command that shows
/// the tree.
pub(super) fn find(system: &mut System, board: &BoardTree<'_>, shown_by: String) -> Result<()> {
    let Some(first) = system.vms.iter().find_map(place) else { return Ok(()) };
    let Read { tree, board, bytes } = board.read(&first)?;
    let finding = Finding { tree: &tree, kept: kept(&board), kept_ids: kept_ids(&board), shown_by };
    let assignments = finding.assignments(&system.vms)?;
    for (vm, assignment) in system.vms.iter_mut().zip(assignments) {
        if let Some((names, assignment)) = assignment {
            vm.board_devices.found = finding.found(vm, &names, &assignment);
            vm.board_devices.found.tree_bytes = bytes;
        }
    }
    Ok(())
}

/// Where a VM asks for devices of the board.
fn place(vm: &Vm) -> Option<std::ops::Range<usize>> {
    let except = vm.board_devices.except.as_ref().map(|except| except.span.clone());
    vm.board_devices.named.first().map(|named| named.span.clone()).or(except)
}

fn kept(board: &Board) -> Vec<Span> {
    board.own_registers()
}

fn kept_ids(board: &Board) -> Vec<IntId> {
    board.console.iter().filter_map(|uart| Some(uart.interrupt?.id)).collect()
}

/// A named (or excepted) node, and where the file names it.
type Named<'tree> = At<DeviceNode<'tree>>;

struct Finding<'tree> {
    tree: &'tree Tree<'tree>,
    /// The registers that EL2 keeps.
    kept: Vec<Span>,
    kept_ids: Vec<IntId>,
    /// The command that shows the tree.
    shown_by: String,
}

type Found<'tree> = Option<(Vec<Named<'tree>>, Assignment<'tree>)>;

impl<'tree> Finding<'tree> {
    /// What each VM is given.
    fn assignments(&self, vms: &[Vm]) -> Result<Vec<Found<'tree>>> {
        let mut found = vms.iter().map(|vm| self.named(vm)).collect::<Result<Vec<_>>>()?;
        between_vms(vms, &found)?;
        for (index, vm) in vms.iter().enumerate() {
            if let Some(all) = self.all_others(vm, &found)? {
                found[index] = Some(all);
            }
        }
        for (vm, given) in vms.iter().zip(&found) {
            if let Some((names, assignment)) = given {
                self.safe(vm, names, assignment)?;
            }
        }
        Ok(found)
    }

    fn named(&self, vm: &Vm) -> Result<Found<'tree>> {
        let devices = &vm.board_devices;
        if devices.named.is_empty() {
            return Ok(None);
        }
        let names = self.nodes(devices.named.iter().map(|device| device.with(device.value.name.as_str())))?;
        let left_out = left_out(vm, &names)?;
        // One by one first, so that what is wrong is said of the right one.
        for name in &names {
            Assignment::new(self.tree, &[name.value], &left_out).map_err(|error| of_tree(name, &error))?;
        }
        let nodes: Vec<_> = names.iter().map(|name| name.value).collect();
        let assignment = Assignment::new(self.tree, &nodes, &left_out).map_err(|error| of_tree(&names[0], &error))?;
        let by_sub_page: Vec<_> = by_sub_page(vm, &names).collect();
        let assignment = assignment.by_sub_page(&by_sub_page).map_err(|error| {
            let name = names.iter().find(|name| name.value.path() == error.path());
            of_tree(name.unwrap_or(&names[0]), &error)
        })?;
        Ok(Some((names, assignment)))
    }

    fn all_others(&self, vm: &Vm, found: &[Found<'tree>]) -> Result<Found<'tree>> {
        let Some(except) = &vm.board_devices.except else { return Ok(None) };
        let names = self.nodes(except.value.iter().map(|name| name.with(name.value.as_str())))?;
        let nodes: Vec<_> = names.iter().map(|name| name.value).collect();
        let others: Vec<_> = found.iter().flatten().map(|(_, assignment)| assignment).collect();
        // The guest's own machine comes first where both are at the same address.
        let own = vm.memory.iter().map(claims::ram).chain(claims::devices(vm));
        let own = own.filter_map(|claim| Some(Kept { owner: "the guest", span: Span::new(claim.start, claim.bytes)? }));
        let kept: Vec<_> = self.kept().into_iter().chain(own).collect();
        let wanted = everything_except(self.tree, &nodes, &others, &kept, &self.kept_ids);
        if wanted.is_empty() {
            let message =
                format!("no device is left for VM `{}`: EL2 and the other VMs have all others", vm.name.value);
            return Err(except.problem(message).help("except from another VM's devices what this one is to have"));
        }
        let assignment = Assignment::new(self.tree, &wanted, &[]).map_err(|error| of_tree(except, &error))?;
        Ok(Some((names, assignment)))
    }

    fn nodes<'a>(&self, names: impl Iterator<Item = At<&'a str>>) -> Result<Vec<Named<'tree>>> {
        let mut found: Vec<Named> = Vec::new();
        for name in names {
            let node = self.node(&name)?;
            if let Some(earlier) = found.iter().find(|earlier| earlier.value == node) {
                let message = format!("`{}` is named twice: it is {}", name.value, earlier.value.path());
                return Err(name.problem(message).help("name it once"));
            }
            found.push(name.with(node));
        }
        Ok(found)
    }

    /// By path, alias or label, or by the node's own name if only one has it.
    fn node(&self, name: &At<&str>) -> Result<DeviceNode<'tree>> {
        if let Some(node) = self.tree.find(name.value) {
            return Ok(node);
        }
        let mut called = self.tree.nodes().filter(|node| !name.value.is_empty() && node.name() == name.value);
        match (called.next(), called.next()) {
            (Some(node), None) => Ok(node),
            (Some(one), Some(other)) => {
                let message = format!("`{}` is {} or {}", name.value, one.path(), other.path());
                Err(name.problem(message).help("write the whole path"))
            }
            (None, _) => Err(self.unknown(name)),
        }
    }

    /// What was meant, if it can be guessed.
    fn unknown(&self, name: &At<&str>) -> Problem {
        let paths: Vec<String> = self.tree.nodes().map(DeviceNode::path).collect();
        let near = one_of(name.value, paths.iter().cloned().chain(self.aliases()));
        let alike: Vec<_> = paths.iter().filter(|path| !name.value.is_empty() && path.contains(name.value)).collect();
        let has_labels = self.tree.by_path("/__symbols__").is_some() || name.value.contains('/');
        let of_kind = self.of_kind(name.value);
        let hint = match (near.starts_with("did you mean"), alike.last()) {
            (true, _) if of_kind.len() < 2 => near,
            _ if !of_kind.is_empty() => format!("did you mean one of {}?", of_kind.join(", ")),
            (_, Some(path)) => format!("did you mean `{path}`?"),
            (_, None) => format!("`{}` shows the board's tree (package device-tree-compiler)", self.shown_by),
        };
        let labels =
            if has_labels { "" } else { "; this tree has no labels (no /__symbols__): write a path or an alias" };
        name.problem(format!("this board's tree has no device `{}`", name.value)).help(hint + labels)
    }

    /// The enabled devices that a label like `name` may be of: `i2c1` of an `i2c@...`.
    fn of_kind(&self, name: &str) -> Vec<String> {
        let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let is_alike = |node: &DeviceNode| node.name().split_once('@').is_some_and(|(base, _)| base == kind);
        let nodes = self.tree.nodes().filter(|node| is_alike(node) && node.is_enabled());
        nodes.map(|node| format!("`{}`", node.path())).collect()
    }

    fn aliases(&self) -> Vec<String> {
        let aliases = self.tree.by_path("/aliases");
        aliases.into_iter().flat_map(|node| node.properties()).map(|(name, _)| name.to_owned()).collect()
    }

    fn kept(&self) -> Vec<Kept<'static>> {
        self.kept.iter().map(|span| Kept { owner: "EL2", span: *span }).collect()
    }

    /// Nothing of it is EL2's, and it stays within the VM's memory.
    fn safe(&self, vm: &Vm, names: &[Named<'tree>], assignment: &Assignment<'tree>) -> Result<()> {
        if let Some(conflict) = with_kept((&vm.name.value, assignment), &self.kept(), &self.kept_ids) {
            return Err(problem(vm, names, conflict));
        }
        let is_one_to_one = vm.memory.iter().all(|memory| memory.value.machine == Some(memory.value.base));
        let Some(master) = dma_master(vm, names, assignment) else { return Ok(()) };
        if is_one_to_one {
            let memory = vm.memory.iter().filter_map(|memory| Span::new(memory.value.base, memory.value.bytes));
            let harmless: Vec<_> = harmless(vm, names).collect();
            let unreached = assignment.out_of_reach(&vm.name.value, &harmless, &memory.collect::<Vec<_>>());
            let unreached = unreached.map_err(|error| of_tree(&At::new((), place(vm).unwrap_or_default()), &error))?;
            return unreached.map_or(Ok(()), |conflict| Err(problem(vm, names, conflict)));
        }
        let span = span(vm, names, assignment.cause(master));
        let along = if assignment.gives(master) { "" } else { ", in a page that comes along," };
        let message = format!("{}{along} can access memory by itself (DMA), which no SMMU checks", master.path());
        Err(Problem::new(span, message).help(DMA))
    }

    fn found(&self, vm: &Vm, names: &[Named<'tree>], assignment: &Assignment<'tree>) -> FoundDevices {
        let named = names.iter().map(|name| name.value.path());
        let whole = place(vm).unwrap_or_default();
        let place_of = |registers: Span| {
            let region = assignment.regions().iter().find(|region| registers.overlaps(region.span));
            region.map_or(whole.clone(), |region| span(vm, names, assignment.cause(region.node)))
        };
        let registers = [assignment.pages(), assignment.sub_pages()].concat().into_iter();
        let interrupts = assignment.interrupts().iter();
        let mut interrupts: Vec<_> = interrupts
            .map(|(node, one)| At::new(u64::from(one.id.number() - 32), span(vm, names, assignment.cause(*node))))
            .collect();
        interrupts.sort_by_key(|interrupt| interrupt.value);
        interrupts.dedup_by_key(|interrupt| interrupt.value);
        FoundDevices {
            paths: named.collect(),
            left_out: left_out(vm, names).into_iter().flatten().map(|left| path_and_name(&left)).collect(),
            dma_master: dma_master(vm, names, assignment).map(DeviceNode::path),
            without_dma: harmless(vm, names).map(DeviceNode::path).collect(),
            by_sub_page: by_sub_page(vm, names).map(DeviceNode::path).collect(),
            registers: registers.map(|one| At::new((one.start(), one.size()), place_of(one))).collect(),
            interrupts,
            tree_bytes: 0,
        }
    }
}

fn of_tree<T>(at: &At<T>, error: &BoardError) -> Problem {
    let place = if error.property().is_empty() { String::new() } else { format!(", {}", error.property()) };
    at.problem(format!("{}{place}: {}", error.path(), error.problem())).help(error.remedy())
}

/// What the file says that guests go without.
fn left_out<'tree>(vm: &Vm, names: &[Named<'tree>]) -> Result<Vec<LeftOut<'tree>>> {
    let of_device = vm.board_devices.named.iter().zip(names);
    let all = of_device.flat_map(|(device, name)| device.value.without.iter().map(|property| (name.value, property)));
    all.map(|(node, property)| LeftOut::new(node, &property.value).map_err(|error| of_tree(property, &error))).collect()
}

fn path_and_name(left: &LeftOut) -> (String, String) {
    (left.node.path(), left.property.to_owned())
}

const DMA: &str = "give the VM memory where it is in the machine: \
    `memory = [{ base = ADDRESS, size = SIZE, one-to-one = true }]`; nothing then keeps this VM from having the device read \
    and write all of the machine's memory, EL2's and other VMs' too. If the device does no DMA, write \
    `{ device = \"NAME\", dma = false }`";

/// The devices of which the file says that they do no DMA.
fn harmless<'tree>(vm: &Vm, names: &[Named<'tree>]) -> impl Iterator<Item = DeviceNode<'tree>> {
    let without = vm.board_devices.named.iter().zip(names).filter(|(device, _)| !device.value.may_master_dma);
    without.map(|(_, name)| name.value).collect::<Vec<_>>().into_iter()
}

/// The devices of which the file says that pages they share are not mapped.
fn by_sub_page<'tree>(vm: &Vm, names: &[Named<'tree>]) -> impl Iterator<Item = DeviceNode<'tree>> {
    let shared = vm.board_devices.named.iter().zip(names).filter(|(device, _)| device.value.by_sub_page);
    shared.map(|(_, name)| name.value).collect::<Vec<_>>().into_iter()
}

/// A device that may access memory by itself, for all that the file says.
fn dma_master<'tree>(vm: &Vm, names: &[Named<'tree>], assignment: &Assignment<'tree>) -> Option<DeviceNode<'tree>> {
    let harmless: Vec<_> = harmless(vm, names).collect();
    assignment.dma_masters().into_iter().find(|node| !harmless.contains(node))
}

fn between_vms(vms: &[Vm], found: &[Found]) -> Result<()> {
    let mut earlier: Vec<(&str, &Assignment)> = Vec::new();
    for (vm, found) in vms.iter().zip(found) {
        let Some((names, assignment)) = found else { continue };
        let own = (vm.name.value.as_str(), assignment);
        if let Some(conflict) = earlier.iter().find_map(|other| between(own, *other)) {
            return Err(problem(vm, names, conflict));
        }
        earlier.push(own);
    }
    Ok(())
}

fn problem(vm: &Vm, names: &[Named], conflict: Conflict) -> Problem {
    Problem::new(span(vm, names, conflict.cause), conflict.problem).help(conflict.remedy)
}

/// Where the file names `node`; where it names anything, if it does not.
fn span(vm: &Vm, names: &[Named], node: DeviceNode) -> std::ops::Range<usize> {
    let named = names.iter().find(|name| name.value == node).map(|name| name.span.clone());
    named.or_else(|| place(vm)).unwrap_or_default()
}
