//! The serial line at GPIO14 and GPIO15: what the image is told of it, so that it speaks from its first instruction whatever
//! the board's firmware made of the pins. BCM2711 ARM Peripherals: 2.2 (mini UART), 5.2 and 5.3 (GPIO), 11 (PL011).

use anyhow::{Context, Result};
use tessera_abi::early_console::{EarlyConsole, MAGIC, OFFSET, SETTINGS, Setting};

/// The serial line at GPIO14 and GPIO15.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Uart {
    /// The mini UART.
    #[default]
    Mini,
    /// The PL011, which Bluetooth has otherwise: it goes without.
    Pl011,
}

/// Hz of the clock that `config.txt` gives the PL011 (`init_uart_clock`).
pub const PL011_CLOCK: u32 = 48_000_000;
/// MHz of the GPU's clock, which is the mini UART's, as `config.txt` keeps it (`core_freq_min`, the highest there is).
pub const CORE_MHZ: u32 = 500;
/// Bits a second.
pub const BAUD: u32 = 115_200;

/// Where both UARTs are in the board's low address map (1.2).
const GPIO: u64 = 0xfe20_0000;
const PL011: u64 = 0xfe20_1000;
const AUX: u64 = 0xfe21_5000;

/// GPFSEL1: three bits for each of GPIO10 to 19.
fn pins(function: u32) -> Setting {
    Setting::write(GPIO + 0x04, 0o770000, function << 12 | function << 15)
}

/// GPIO_PUP_PDN_CNTRL_REG0: none for GPIO14, up for GPIO15, where nothing may be connected.
const PULLS: Setting = Setting::write(GPIO + 0xe4, 0xf << 28, 1 << 30);
/// GPFSEL3: GPIO30 to 33, by which Bluetooth is connected to the PL011, become inputs: it may listen at one pin only.
const NO_BLUETOOTH: Setting = Setting::write(GPIO + 0x0c, 0o7777, 0);
/// TXD0, RXD0 and TXD1, RXD1 (5.3).
const ALT0: u32 = 0b100;
const ALT5: u32 = 0b010;

impl Uart {
    /// The record for the image.
    pub fn early_console(self) -> EarlyConsole {
        match self {
            Self::Mini => mini(),
            Self::Pl011 => pl011(),
        }
    }

    /// Its node in Linux's device tree, and the other UART's.
    pub const fn nodes(self) -> (&'static str, &'static str) {
        const PL011: &str = "/soc/serial@7e201000";
        const MINI: &str = "/soc/serial@7e215040";
        match self {
            Self::Mini => (MINI, PL011),
            Self::Pl011 => (PL011, MINI),
        }
    }
}

/// AUX_MU_IO and AUX_MU_LSR, whose bit 5 says that it takes a byte (2.2.2).
fn mini() -> EarlyConsole {
    const ENABLES: u64 = AUX + 0x04;
    let divisor = CORE_MHZ * 1_000_000 / (8 * BAUD) - 1;
    let settings = [
        pins(ALT5),
        PULLS,
        Setting::unless(ENABLES, 1, 1),
        Setting::write(ENABLES, 1, 1),
        // AUX_MU_LCR: 8 bits (bit 1 is missing in the manual); AUX_MU_BAUD; AUX_MU_CNTL: both directions.
        Setting::write(AUX + 0x4c, 0xff, 3),
        Setting::write(AUX + 0x68, 0xffff, divisor),
        Setting::write(AUX + 0x60, 0xff, 3),
    ];
    EarlyConsole { mask: 1 << 5, ready: 1 << 5, ..console(AUX + 0x40, AUX + 0x54, &settings) }
}

/// UARTDR and UARTFR, whose bit 5 says that it takes none (Arm DDI 0183, 3.3).
fn pl011() -> EarlyConsole {
    const CONTROL: u64 = PL011 + 0x30;
    let divisor = (PL011_CLOCK * 4 + BAUD / 2) / BAUD;
    let settings = [
        pins(ALT0),
        PULLS,
        NO_BLUETOOTH,
        Setting::unless(CONTROL, 1, 1),
        // UARTIBRD and UARTFBRD in 64ths; UARTLCR_H: FIFOs, 8 bits; UARTCR: on, both directions.
        Setting::write(PL011 + 0x24, 0xffff, divisor / 64),
        Setting::write(PL011 + 0x28, 0x3f, divisor % 64),
        Setting::write(PL011 + 0x2c, 0xff, 0x70),
        Setting::write(CONTROL, 0xffff, 0x301),
    ];
    EarlyConsole { mask: 1 << 5, ready: 0, ..console(PL011, PL011 + 0x18, &settings) }
}

fn console(data: u64, status: u64, settings: &[Setting]) -> EarlyConsole {
    let mut all = [Setting::default(); SETTINGS];
    all.iter_mut().zip(settings).for_each(|(place, setting)| *place = *setting);
    EarlyConsole { magic: MAGIC, data, status, mask: 0, ready: 0, settings: all, end: Setting::default() }
}

/// Tells the image of the board's UART.
///
/// # Errors
/// It is no image of Tessera's.
pub fn tell(image: &mut [u8], uart: Uart) -> Result<()> {
    let record = uart.early_console().to_bytes();
    let place = image.get_mut(OFFSET..OFFSET + record.len());
    let place = place.filter(|place| place.starts_with(&MAGIC)).context("this is no image of Tessera's")?;
    place.copy_from_slice(&record);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// What the registers hold after the settings, as the image's first instructions make them.
    fn after(uart: Uart, mut registers: HashMap<u64, u32>) -> HashMap<u64, u32> {
        for Setting { address, mask, value } in uart.early_console().settings {
            match (address, address & Setting::QUESTION) {
                (0, _) => break,
                (_, 0) => {
                    let register = registers.entry(address).or_default();
                    *register = *register & !mask | value;
                }
                _ if registers.get(&(address & !1)).is_some_and(|held| held & mask == value) => break,
                _ => {}
            }
        }
        registers
    }

    #[test]
    fn pins_are_the_uarts_whatever_they_were() {
        let before = HashMap::from([(0xfe20_0004, u32::MAX), (0xfe20_00e4, u32::MAX), (0xfe20_000c, u32::MAX)]);
        let mini = after(Uart::Mini, before.clone());
        // GPIO14 is bits 12 to 14 and GPIO15 bits 15 to 17: 2 is ALT5, 4 is ALT0.
        assert_eq!((mini[&0xfe20_0004], mini[&0xfe20_000c]), (0xfffc_0fff | 0x1_2000, u32::MAX));
        assert_eq!(mini[&0xfe20_00e4], 0x4fff_ffff);
        let pl011 = after(Uart::Pl011, before);
        assert_eq!((pl011[&0xfe20_0004], pl011[&0xfe20_000c]), (0xfffc_0fff | 0x2_4000, 0xffff_f000));
    }

    #[test]
    fn a_uart_that_is_off_is_set_up_and_one_that_is_on_is_left_alone() {
        let mini = after(Uart::Mini, HashMap::new());
        let registers = [0x04, 0x4c, 0x68, 0x60].map(|offset| mini[&(0xfe21_5000 + offset)]);
        assert_eq!(registers, [1, 3, 541, 3]);
        assert!(!after(Uart::Mini, HashMap::from([(0xfe21_5004, 1)])).contains_key(&0xfe21_5068));
        let pl011 = after(Uart::Pl011, HashMap::new());
        let registers = [0x24, 0x28, 0x2c, 0x30].map(|offset| pl011[&(0xfe20_1000 + offset)]);
        // 48 MHz / (16 * 115200) is 26 and 3/64 (Arm DDI 0183, 3.3.6).
        assert_eq!(registers, [26, 3, 0x70, 0x301]);
        assert!(!after(Uart::Pl011, HashMap::from([(0xfe20_1030, 0x301)])).contains_key(&0xfe20_1024));
    }

    #[test]
    fn only_an_image_of_tesseras_is_told() {
        let mut image = vec![0; 512];
        assert!(tell(&mut image, Uart::Mini).is_err() && tell(&mut [], Uart::Mini).is_err());
        image[OFFSET..OFFSET + 8].copy_from_slice(&MAGIC);
        tell(&mut image, Uart::Mini).expect("told");
        assert_eq!(image[OFFSET + 8..OFFSET + 16], 0xfe21_5040_u64.to_le_bytes());
        // The first setting: its address, its bits, their value.
        assert_eq!(image[OFFSET + 32..OFFSET + 40], 0xfe20_0004_u64.to_le_bytes());
        assert_eq!(image[OFFSET + 40..OFFSET + 48], [0, 0xf0, 3, 0, 0, 0x20, 1, 0]);
        assert!(image[OFFSET + 160..OFFSET + 176].iter().all(|byte| *byte == 0));
    }
}
