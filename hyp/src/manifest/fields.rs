//! Typed access to a node's properties: each wrong type, length or name is an error that names node and property.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

use tessera_abi::manifest::{self as abi, node};
use tessera_platform::tree::DeviceNode;

use super::{ManifestError, Span};

type Result<T> = core::result::Result<T, ManifestError>;

/// Most numbers in any list: pairs for each of a device's interrupts.
const MAX_CELLS: usize = 2 * abi::MAX_INTERRUPTS;
const _: () = assert!(MAX_CELLS >= abi::MAX_VCPUS);

/// A node of the manifest, and the VM it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    node: DeviceNode<'a>,
    vm: Option<&'a str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(node: DeviceNode<'a>, vm: Option<&'a str>) -> Self {
        Self { node, vm }
    }

    /// The same node, once it is known which VM it describes.
    pub(super) fn of_vm(self, vm: &'a str) -> Self {
        Self { vm: Some(vm), ..self }
    }

    /// The node's name, with the unit address.
    pub(super) fn name(&self) -> &'a str {
        match self.node.name() {
            "" => "/",
            name => name,
        }
    }

    /// The node's name without the unit address.
    pub(super) fn kind(&self) -> &'a str {
        let name = self.node.name();
        name.split_once('@').map_or(name, |(kind, _)| kind)
    }

    /// All children.
    pub(super) fn children(&self) -> impl Iterator<Item = Fields<'a>> + use<'a> {
        let vm = self.vm;
        self.node.children().map(move |node| Fields { node, vm })
    }

    /// The children called `kind`, at most `limit`.
    pub(super) fn children_called(&self, kind: &str, limit: usize) -> Result<Vec<Fields<'a>>> {
        // No more than one too many is kept: EL2's heap is small, and the blob may hold thousands.
        let all = self.children().filter(|child| child.node.has_base_name(kind));
        let found: Vec<_> = all.take(limit.saturating_add(1)).collect();
        if found.len() > limit {
            return Err(self.error_here(format!("more than {limit} nodes `{kind}`")));
        }
        Ok(found)
    }

    /// The one child called `kind`.
    pub(super) fn only_child(&self, kind: &str) -> Result<Fields<'a>> {
        let found = self.children_called(kind, 1)?;
        found.first().copied().ok_or_else(|| self.error_here(format!("there is no node `{kind}`")))
    }

    /// Refuses properties and children that are not listed.
    pub(super) fn expect_only(&self, properties: &[&str], children: &[&str]) -> Result<()> {
        if let Some(property) = self.node.unknown_property(properties) {
            return Err(self.error_at(property, "unknown property"));
        }
        let is_known = |child: &Fields| children.iter().any(|kind| child.node.has_base_name(kind));
        match self.children().find(|child| !is_known(child)) {
            Some(child) => Err(child.error_here("unknown node")),
            None => Ok(()),
        }
    }

    pub(super) fn error_here(&self, problem: impl Display) -> ManifestError {
        self.error(&self.name(), &problem)
    }

    pub(super) fn error_at(&self, property: &str, problem: impl Display) -> ManifestError {
        match self.kind() {
            "" | node::VM => self.error(&property, &problem),
            _ => self.error(&format_args!("{}/{property}", self.name()), &problem),
        }
    }

    fn error(&self, place: &dyn Display, problem: &dyn Display) -> ManifestError {
        ManifestError::new(self.vm, place, problem)
    }

    fn value(&self, property: &str) -> Option<&'a [u8]> {
        self.node.property(property)
    }

    fn required<T>(&self, property: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.error_at(property, "missing"))
    }

    /// Whether an empty property is there.
    pub(super) fn flag(&self, property: &str) -> Result<bool> {
        match self.value(property) {
            None => Ok(false),
            Some([]) => Ok(true),
            Some(_) => Err(self.error_at(property, "must have no value")),
        }
    }

    /// A list of u32, if there.
    pub(super) fn cells(&self, property: &str) -> Result<Option<Vec<u32>>> {
        let Some(value) = self.value(property) else {
            return Ok(None);
        };
        let (cells, rest) = value.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(self.error_at(property, "must be a list of 32-bit numbers"));
        }
        if cells.len() > MAX_CELLS {
            let problem = format!("more than {MAX_CELLS} numbers: shorten the list");
            return Err(self.error_at(property, problem));
        }
        let cells = cells.iter().map(|cell| u32::from_be_bytes(*cell));
        Ok(Some(cells.collect()))
    }

    /// One u32, if there.
    pub(super) fn u32(&self, property: &str) -> Result<Option<u32>> {
        match self.cells(property)?.as_deref() {
            None => Ok(None),
            Some([value]) => Ok(Some(*value)),
            Some(_) => Err(self.error_at(property, "must be one 32-bit number")),
        }
    }

    /// One u64, if there.
    pub(super) fn u64(&self, property: &str) -> Result<Option<u64>> {
        match self.value(property).map(<[u8; 8]>::try_from) {
            None => Ok(None),
            Some(Ok(bytes)) => Ok(Some(u64::from_be_bytes(bytes))),
            Some(Err(_)) => Err(self.error_at(property, "must be one 64-bit number")),
        }
    }

    /// One u64.
    pub(super) fn required_u64(&self, property: &str) -> Result<u64> {
        let value = self.u64(property)?;
        self.required(property, value)
    }

    /// An address and a length, if there.
    pub(super) fn span(&self, property: &str) -> Result<Option<Span>> {
        let Some(value) = self.value(property) else {
            return Ok(None);
        };
        match value.as_chunks::<8>() {
            ([start, bytes], []) => {
                Ok(Some(Span { start: u64::from_be_bytes(*start), bytes: u64::from_be_bytes(*bytes) }))
            }
            _ => Err(self.error_at(property, "must be an address and a length, each 64-bit")),
        }
    }

    /// An address and a length.
    pub(super) fn required_span(&self, property: &str) -> Result<Span> {
        let value = self.span(property)?;
        self.required(property, value)
    }

    /// A list of strings, empty if not there.
    pub(super) fn strings(&self, property: &str) -> Result<Vec<String>> {
        self.strings_up_to(property, abi::MAX_STRINGS)
    }

    /// A list of at most `limit` strings, if there; one without any is an empty value.
    pub(super) fn list(&self, property: &str, limit: usize) -> Result<Option<Vec<String>>> {
        match self.value(property) {
            None => Ok(None),
            Some([]) => Ok(Some(Vec::new())),
            Some(_) => self.strings_up_to(property, limit).map(Some),
        }
    }

    fn strings_up_to(&self, property: &str, limit: usize) -> Result<Vec<String>> {
        let Some(value) = self.value(property) else {
            return Ok(Vec::new());
        };
        let Some(value) = value.strip_suffix(&[0]) else {
            return Err(self.error_at(property, "must be text that ends with a NUL"));
        };
        let text = core::str::from_utf8(value).map_err(|_| self.error_at(property, "must be text in UTF-8"))?;
        if text.split('\0').count() > limit {
            let problem = format!("more than {limit} strings: shorten the list");
            return Err(self.error_at(property, problem));
        }
        Ok(text.split('\0').map(str::to_string).collect())
    }

    /// One string, borrowed, if there.
    pub(super) fn str(&self, property: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.value(property) else {
            return Ok(None);
        };
        let text = core::ffi::CStr::from_bytes_with_nul(value).ok().and_then(|c| c.to_str().ok());
        text.map(Some).ok_or_else(|| self.error_at(property, "must be one string in UTF-8"))
    }

    /// One string.
    pub(super) fn required_str(&self, property: &str) -> Result<&'a str> {
        let value = self.str(property)?;
        self.required(property, value)
    }

    /// All properties, as they are.
    pub(super) fn raw(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let raw = |(name, value): (&str, &[u8])| (name.to_string(), value.to_vec());
        let limit = abi::MAX_DEVICE_PROPERTIES;
        if self.node.properties().nth(limit).is_some() {
            return Err(self.error_here(format!("more than {limit} properties: remove some")));
        }
        Ok(self.node.properties().map(raw).collect())
    }
}
