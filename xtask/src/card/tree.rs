//! The device tree on the card: Linux's, in which `serial0` is the UART at GPIO14 and GPIO15.
//!
//! The Raspberry Pi's firmware sets that one up and gives it the pins (raspberrypi/firmware, issue 553), and TF-A makes it the
//! console (plat/rpi/rpi4, `rpi4_prepare_dtb`). In Linux's tree it is always the PL011. The firmware's own overlays for this,
//! like `disable-bt`, find nothing in Linux's tree, which has no `__symbols__` (raspberrypi/firmware, issue 1682).

use anyhow::{Context, Result};
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeProperty};

use super::console::{BAUD, Uart};

/// The tree for a card with this console.
///
/// # Errors
/// The tree is another board's.
pub fn for_console(blob: &[u8], uart: Uart) -> Result<Vec<u8>> {
    // Its node names are longer than the specification allows, which the checking constructor refuses; it is ours.
    let mut tree = DeviceTree::from_fdt(&Fdt::new_unchecked(blob));
    let (own, other) = uart.nodes();
    set(&mut tree, "/aliases", "serial0", own)?;
    set(&mut tree, "/aliases", "serial1", other)?;
    set(&mut tree, "/chosen", "stdout-path", &format!("serial0:{BAUD}n8"))?;
    if uart == Uart::Pl011 {
        // Its pins are the PL011's, and Bluetooth's UART is the console.
        set(&mut tree, other, "status", "disabled")?;
        set(&mut tree, &format!("{own}/bluetooth"), "status", "disabled")?;
    }
    Ok(tree.to_dtb())
}

fn set(tree: &mut DeviceTree, path: &str, name: &str, value: &str) -> Result<()> {
    let node = tree.find_node_mut(path).with_context(|| format!("the board's tree has no {path}"))?;
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_platform::board::{UartKind, find_console};
    use tessera_platform::tree::Tree;

    #[test]
    fn serial0_is_the_console_and_bluetooth_makes_room_for_it() {
        let linux = std::fs::read(crate::raspberry_pi::tree()).expect("there");
        for (uart, kind) in [(Uart::Mini, UartKind::BcmMiniUart), (Uart::Pl011, UartKind::Pl011)] {
            let blob = for_console(&linux, uart).expect("this board's");
            let tree = Tree::parse(&blob).expect("a tree");
            let console = find_console(&tree).expect("a console");
            assert_eq!((console.kind, console.baud), (kind, Some(115_200)));
            assert_eq!(tree.by_path("serial0").expect("a node").path(), console.path);
            assert_eq!(tree.by_path("serial1").expect("a node").path(), uart.nodes().1);
            let bluetooth = tree.by_path("/soc/serial@7e201000/bluetooth").expect("a node");
            assert_eq!(bluetooth.string("status") == Some("disabled"), uart == Uart::Pl011);
        }
    }
}
