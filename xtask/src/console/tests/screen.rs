//! A terminal as far as the hypervisor's console may use it: whatever else arrives is an error.

use proptest::test_runner::TestCaseError;

/// Rows of bytes (one byte is one column) and a cursor.
#[derive(Default)]
pub struct Screen {
    rows: Vec<Vec<u8>>,
    current: Vec<u8>,
    column: usize,
}

impl Screen {
    /// The rows after all of `wire`; the last, unfinished one is left out.
    pub fn show(wire: &[u8]) -> Result<Vec<Vec<u8>>, TestCaseError> {
        let mut screen = Self::default();
        let mut rest = wire.iter().copied();
        while let Some(byte) = rest.next() {
            match byte {
                b'\r' => screen.column = 0,
                b'\n' if screen.column == 0 => screen.rows.push(std::mem::take(&mut screen.current)),
                0x08 => screen.column = screen.column.saturating_sub(1),
                b'\t' => screen.column += 8 - screen.column % 8,
                0x07 | 0x7f => {}
                0x1b => screen.sequence(&mut rest)?,
                b' '..=b'~' => screen.print(byte),
                // UTF-8: count nothing, which is the worst case (a combining character).
                0x80..=0xff => {}
                0x00 | 0x05 | 0x0a..=0x0f | 0x11 | 0x13 | 0x18 | 0x1a => {
                    return Err(TestCaseError::fail(format!("control character {byte:#x}")));
                }
                0x01..=0x1f => {}
            }
        }
        Ok(screen.rows)
    }

    fn sequence(&mut self, rest: &mut impl Iterator<Item = u8>) -> Result<(), TestCaseError> {
        let mut bytes = Vec::new();
        for byte in rest {
            bytes.push(byte);
            if byte != b'[' && (0x40..=0x7e).contains(&byte) {
                break;
            }
        }
        let [b'[', parameters @ .., last] = bytes.as_slice() else {
            return Err(TestCaseError::fail(format!("sequence {}", bytes.escape_ascii())));
        };
        let number = String::from_utf8_lossy(parameters).parse::<usize>().unwrap_or(1).max(1);
        match last {
            b'm' | b'@' | b'P' | b'X' => {}
            b'J' | b'K' if matches!(parameters, [] | [b'0']) => self.current.truncate(self.column),
            // A terminal of 80 columns does not go further.
            b'C' => self.column = (self.column + number).min(79.max(self.column)),
            b'D' => self.column = self.column.saturating_sub(number),
            _ => {
                return Err(TestCaseError::fail(format!("sequence {}", bytes.escape_ascii())));
            }
        }
        Ok(())
    }

    fn print(&mut self, byte: u8) {
        if self.current.len() <= self.column {
            self.current.resize(self.column + 1, b' ');
        }
        self.current[self.column] = byte;
        self.column += 1;
    }
}
