//! The reader of device trees: structure, names and references.

use super::common::{BLOBS, Machine, blob};
use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};
use tessera_platform::tree::{DeviceNode, MAX_DEPTH, Tree};
use tessera_platform::{Span, board::Board};

/// Compares a node and all below it with what another library reads.
fn compare(ours: DeviceNode, theirs: impl Node) {
    assert_eq!(ours.name(), theirs.name().as_ref());
    let properties: Vec<_> = ours.properties().map(|(name, value)| (name.to_string(), value.to_vec())).collect();
    let expected: Vec<_> = theirs.properties().map(|each| (each.name().to_string(), each.value().to_vec())).collect();
    assert_eq!(properties, expected, "{}", ours.path());
    for (name, value) in &expected {
        assert_eq!(ours.property(name), Some(&value[..]), "{name} of {}", ours.path());
    }
    assert_eq!(ours.children().count(), theirs.children().count(), "{}", ours.path());
    for (ours, theirs) in ours.children().zip(theirs.children()) {
        compare(ours, theirs);
    }
}

#[test]
fn reads_real_trees_as_another_library_does() {
    for (_, blob) in BLOBS {
        compare(Tree::parse(blob).unwrap().root(), Fdt::new(blob).unwrap().root());
    }
}

#[test]
fn every_node_is_found_at_its_path() {
    for (name, blob) in BLOBS {
        let tree = Tree::parse(blob).unwrap();
        for node in tree.nodes() {
            let path = node.path();
            assert_eq!(tree.by_path(&path).unwrap().path(), path, "{name}");
            let depth = path.split('/').filter(|part| !part.is_empty()).count();
            assert_eq!(node.ancestors().count(), depth + 1);
        }
    }
}

#[test]
fn every_phandle_leads_to_its_node() {
    let tree = Tree::parse(blob("bcm2711-rpi-4-b")).unwrap();
    let with_handle: Vec<_> = tree.nodes().filter(|node| node.property("phandle").is_some()).collect();
    assert!(with_handle.len() > 30);
    for node in with_handle {
        assert_eq!(tree.by_phandle(node.u32("phandle").unwrap()).unwrap().path(), node.path());
    }
    assert!(tree.by_phandle(0xffff).is_none() && tree.by_phandle(0).is_none());
}

#[test]
fn a_node_has_a_path_an_alias_and_a_label() {
    let machine = Machine::new()
        .set("/aliases", "serial0", "/uart@9000000")
        .set("/aliases", "loop", "loop")
        .set("/aliases", "again", "serial0")
        .set("/aliases", "bus", "/bus@1")
        .set("/bus@1/device@2", "label", "x")
        .set("/__symbols__", "console", "/uart@9000000")
        .set("/__symbols__", "odd", "serial0");
    let blob = machine.blob();
    let tree = Tree::parse(&blob).unwrap();
    let path = |name| tree.find(name).map(DeviceNode::path);
    for name in ["/uart@9000000", "/uart", "//uart/", "serial0", "console"] {
        assert_eq!(path(name).as_deref(), Some("/uart@9000000"), "{name}");
    }
    assert_eq!(path("bus/device").as_deref(), Some("/bus@1/device@2"));
    assert_eq!(path("/").as_deref(), Some("/"));
    for name in ["", "uart", "/uart@9000001", "/uart@", "loop", "again", "odd", "serial0/x", "serial1"] {
        assert_eq!(path(name), None, "{name}");
    }
}

#[test]
fn the_unit_address_tells_siblings_apart() {
    let machine = Machine::empty().set("/a@1", "x", 1_u32).set("/a@2", "x", 2_u32).set("/a", "x", 3_u32);
    let blob = machine.blob();
    let tree = Tree::parse(&blob).unwrap();
    let x = |path| tree.by_path(path).and_then(|node| node.u32("x"));
    assert_eq!((x("/a@1"), x("/a@2"), x("/a"), x("/a@3")), (Some(1), Some(2), Some(3), None));
}

#[test]
fn values_of_the_wrong_size_or_kind_are_none() {
    let machine = Machine::empty()
        .set("/", "one", 7_u32)
        .set("/", "two", [1_u32, 2])
        .set("/", "three", [1_u32, 2, 3])
        .set("/", "odd", [1_u8, 2, 3])
        .set("/", "empty", [0_u8; 0])
        .set("/", "text", &["a", "bc"][..])
        .set("/", "latin1", [0xe9_u8, 0]);
    let blob = machine.blob();
    let tree = Tree::parse(&blob).unwrap();
    let root = tree.root();
    let numbers = |name| (root.u32(name), root.u64(name));
    assert_eq!(numbers("one"), (Some(7), Some(7)));
    assert_eq!(numbers("two"), (None, Some(0x1_0000_0002)));
    for name in ["three", "odd", "empty", "text", "absent"] {
        assert_eq!(numbers(name), (None, None), "{name}");
    }
    assert_eq!(root.strings("text").collect::<Vec<_>>(), ["a", "bc"]);
    assert_eq!(root.string("latin1"), None);
    assert_eq!((root.string("odd"), root.string("empty"), root.string("absent")), (None, None, None));
    assert!(root.cells("three").is_some_and(|cells| cells.eq([1, 2, 3])) && root.cells("odd").is_none());
}

#[test]
fn a_disabled_bus_disables_what_is_on_it() {
    let machine = Machine::empty()
        .set("/on/device", "status", "okay")
        .set("/on/old", "status", "ok")
        .set("/on/off", "status", "disabled")
        .set("/on/failed", "status", "fail-sss")
        .set("/on/garbled", "status", [0x6f_u8])
        .set("/off", "status", "disabled")
        .set("/off/device", "status", "okay");
    let blob = machine.blob();
    let tree = Tree::parse(&blob).unwrap();
    let enabled = |path| tree.by_path(path).unwrap().is_enabled();
    assert!(enabled("/on") && enabled("/on/device") && enabled("/on/old"));
    for path in ["/on/off", "/on/failed", "/on/garbled", "/off", "/off/device"] {
        assert!(!enabled(path), "{path}");
    }
}

/// A blob with this structure block and these strings, as the specification lays one out.
fn raw(structure: &[u32], strings: &[u8]) -> Vec<u8> {
    let structure: Vec<u8> = structure.iter().flat_map(|word| word.to_be_bytes()).collect();
    let (start, size) = (40 + 16, structure.len() as u32);
    let total = start + size + strings.len() as u32;
    let header = [0xd00d_feed_u32, total, start, start + size, 40, 17, 16, 0, strings.len() as u32, size];
    let mut blob: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
    blob.extend([0; 16]);
    blob.extend(structure);
    blob.extend(strings);
    blob
}

/// The name `a` of a node, in the structure block.
const A: u32 = 0x6100_0000;

#[track_caller]
fn refused(blob: &[u8], problem: &str) {
    let error = Tree::parse(blob).err().expect("it should be refused");
    assert!(error.problem().contains(problem), "{error}");
    assert_eq!(Board::discover(blob).unwrap_err(), error);
}

#[test]
fn reads_the_least_tree_and_skips_nops() {
    let blob = raw(&[4, 1, 0, 4, 3, 4, 0, 99, 4, 1, A, 4, 2, 4, 2, 4, 9], b"x\0");
    let tree = Tree::parse(&blob).unwrap();
    assert_eq!((tree.nodes().count(), tree.root().u32("x")), (2, Some(99)));
    assert_eq!(tree.by_path("/a").unwrap().path(), "/a");
}

#[test]
fn what_stands_before_an_error_can_be_read() {
    let damaged = [3, 4, 99, 0];
    let structure = [&[1, 0, 3, 4, 0, 99][..], &damaged, &[2, 9]].concat();
    let (tree, result) =
        Tree::parse_to_error(&raw(&structure, b"x\0")).map(|(tree, result)| (tree.root().u32("x"), result)).unwrap();
    assert!(result.unwrap_err().problem().contains("outside its block"));
    assert_eq!(tree, Some(99));
}

#[test]
fn tokens_that_do_not_nest_are_refused() {
    refused(&raw(&[1, 0, 2], b""), "no end");
    refused(&raw(&[1, 0], b""), "no end");
    refused(&raw(&[1, 0, 9], b""), "within a node");
    refused(&raw(&[9], b""), "within a node");
    refused(&raw(&[2, 9], b""), "not begun");
    refused(&raw(&[1, 0, 2, 2, 9], b""), "not begun");
    refused(&raw(&[1, 0, 2, 1, 0, 2, 9], b""), "second root");
    refused(&raw(&[1, 0, 7, 2, 9], b""), "0x7 is no token");
    refused(&raw(&[3, 0, 0, 1, 0, 2, 9], b"x\0"), "property");
    refused(&raw(&[1, 0, 1, A, 2, 3, 0, 0, 2, 9], b"x\0"), "behind child nodes");
}

#[test]
fn names_that_are_none_are_refused() {
    refused(&raw(&[1, A, 2, 9], b""), "name is wrong");
    refused(&raw(&[1, 0, 1, 0, 2, 2, 9], b""), "name is wrong");
    refused(&raw(&[1, 0, 1, 0x612f_6200, 2, 2, 9], b""), "name is wrong");
    refused(&raw(&[1, 0, 1, 0x61e9_0000, 2, 2, 9], b""), "no printable text");
    refused(&raw(&[1, 0, 3, 0, 0, 2, 9], b"\0"), "no name");
    refused(&raw(&[1, 0, 3, 0, 0, 2, 9], b"unended"), "outside its block");
    refused(&raw(&[1, 0, 3, 0, 2, 2, 9], b"x\0"), "outside its block");
    refused(&raw(&[1, 0, 3, 100, 0, 2, 9], b"x\0"), "outside its block");
    refused(&raw(&[1, 0, 3, u32::MAX, 0, 2, 9], b"x\0"), "outside its block");
}

#[test]
fn an_error_says_in_which_node() {
    let error = Tree::parse(&raw(&[1, 0, 1, A, 1, A, 7, 2, 2, 2, 9], b"")).err().unwrap();
    assert_eq!(error.path(), "/a/a");
    assert!(error.to_string().contains("offset 0x18 "), "{error}");
}

#[test]
fn headers_that_lie_are_refused() {
    let good = raw(&[1, 0, 2, 9], b"x\0");
    assert!(Tree::parse(&good).is_ok());
    let with = |field: usize, value: u32| {
        let mut blob = good.clone();
        blob[field * 4..field * 4 + 4].copy_from_slice(&value.to_be_bytes());
        blob
    };
    refused(&[], "shorter than its header");
    refused(&good[..40], "there are only 40");
    refused(&good[..20], "shorter than its header");
    refused(&with(0, 0xedfe_0dd0), "no device tree");
    refused(&with(1, good.len() as u32 + 1), "there are only");
    refused(&with(1, 0), "outside");
    refused(&with(1, u32::MAX), "there are only");
    for field in [2, 3, 8, 9] {
        refused(&with(field, u32::MAX), "outside");
        refused(&with(field, 0x7fff_ffff), "outside");
    }
    refused(&with(2, 36), "outside");
    refused(&with(4, 48), "no end");
    refused(&with(4, u32::MAX), "no end");
    refused(&with(5, 16), "version is 16");
    refused(&with(6, 18), "version");
}

#[test]
fn what_follows_the_blob_does_not_matter() {
    let mut blob = Machine::new().blob();
    let board = Board::discover(&blob).unwrap();
    blob.extend([0xff; 5000]);
    assert_eq!(Board::discover(&blob).unwrap(), board);
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| {
        let mut tokens = vec![1, 0];
        tokens.extend([1, A].repeat(depth - 1));
        tokens.extend([2].repeat(depth));
        tokens.push(9);
        raw(&tokens, b"")
    };
    assert_eq!(Tree::parse(&nested(MAX_DEPTH)).unwrap().nodes().count(), MAX_DEPTH);
    refused(&nested(MAX_DEPTH + 1), "nested more than");
    refused(&nested(100_000), "nested more than");
}

#[test]
fn the_number_of_nodes_and_properties_is_bounded() {
    let wide = |nodes: usize, properties: usize| {
        let mut tokens = vec![1, 0];
        tokens.extend([3, 0, 0].repeat(properties));
        tokens.extend([1, A, 2].repeat(nodes));
        tokens.extend([2, 9]);
        raw(&tokens, b"x\0")
    };
    assert_eq!(Tree::parse(&wide(8191, 4096)).unwrap().nodes().count(), 8192);
    refused(&wide(8192, 0), "more than 8192 nodes");
    refused(&wide(0, 4097), "over 4096");
    refused(&wide(200_000, 0), "more than 8192 nodes");
    refused(&raw(&[1, 0, 2, 9], &[0; 2 << 20]), "more than the 2097152");
    assert!(Tree::parse(&raw(&[1, 0, 2, 9], &[0; (2 << 20) - 16])).is_ok());
}

#[test]
fn reservations_are_read_up_to_their_end() {
    let blob = Machine::empty().reserve(0x1000, 0x2000).reserve(0x8000_0000, 0).reserve(5, 1).blob();
    let tree = Tree::parse(&blob).unwrap();
    let expected = [(0x1000, 0x2000), (0x8000_0000, 0), (5, 1)].map(|(start, size)| Span::new(start, size).unwrap());
    assert_eq!(tree.reservations().collect::<Vec<_>>(), expected);
    refused(&Machine::empty().reserve(u64::MAX, 2).blob(), "beyond 52 bits");
}
