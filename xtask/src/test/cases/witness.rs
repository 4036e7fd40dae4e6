//! What guests say of when they had their core (guests/checks/src/bin/witness.rs), and whether it is what was wanted.

/// Microseconds of a frame, a period, or a turn of all: what repeats.
pub const FRAME: u64 = 20_000;
/// How much a stretch may begin late and end early, in microseconds: to change the guest costs some thousand instructions.
const CHANGE: u64 = 30;

/// When a guest had its core: from when and for how long, in microseconds.
#[derive(Debug)]
pub struct Seen(Vec<(u64, u64)>);

impl Seen {
    /// What the guest `vm` has said of it.
    pub fn of(console: &str, vm: &str) -> Result<Self, String> {
        let start = format!("[{vm}] witness: from ");
        let stretch = |line: &str| {
            let (from, length) = line.trim().strip_prefix(&start)?.strip_suffix(" us")?.split_once(" us for ")?;
            Some((from.parse().ok()?, length.parse().ok()?))
        };
        let seen: Vec<_> = console.lines().filter_map(stretch).collect();
        // Of what repeats three times, the first and the last may be cut.
        if seen.len() < 2 { Err(format!("{vm} had its core only {} times", seen.len())) } else { Ok(Self(seen)) }
    }

    /// When a frame began, if the first stretch began at `offset` of one.
    pub fn begins_at(&self, offset: u64) -> Result<u64, String> {
        let (first, _) = self.0.first().ok_or("it never had its core")?;
        Ok((first + FRAME - offset) % FRAME)
    }

    /// Whether in each frame, the first of which began at `begin`, it had the core in these stretches only.
    pub fn repeats(&self, begin: u64, wanted: &[(u64, u64)]) -> Result<(), String> {
        let first = self.0.first().map(|(from, _)| (from + FRAME - begin + CHANGE) % FRAME);
        let index =
            wanted.iter().position(|(start, _)| first.is_some_and(|first| first.abs_diff(*start) <= 2 * CHANGE));
        let index = index.ok_or(format!("frames begin at {begin}, {wanted:?} are wanted, not {:?}", self.0))?;
        for ((from, length), (start, wanted)) in self.0.iter().zip(wanted.iter().cycle().skip(index)) {
            let at = (from + FRAME - begin + CHANGE) % FRAME;
            if at.abs_diff(start + CHANGE) > CHANGE || !near(*length, *wanted) {
                return Err(format!(
                    "from {start} for {wanted} us is wanted of each frame from {begin}, not {:?}",
                    self.0
                ));
            }
        }
        Ok(())
    }

    /// Whether each stretch took so long.
    pub fn all_take(&self, wanted: u64) -> bool {
        self.0.iter().all(|(_, length)| near(*length, wanted))
    }
}

/// Whether a stretch is as long as it should be, but for what it takes to change the guest.
fn near(length: u64, wanted: u64) -> bool {
    (wanted.saturating_sub(CHANGE)..=wanted).contains(&length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(vm: &str, stretches: &[(u64, u64)]) -> String {
        stretches.iter().map(|(from, length)| format!("[{vm}] witness: from {from} us for {length} us\r\n")).collect()
    }

    #[test]
    fn stretches_that_are_not_those_wanted_are_noticed() {
        let frames = |stretches: &[(u64, u64)]| {
            let seen = Seen::of(&said("a", stretches), "a")?;
            seen.repeats(1_000, &[(0, 4_000), (14_000, 4_000)])
        };
        assert_eq!(frames(&[(41_000, 4_000), (55_010, 3_980), (61_008, 3_990)]), Ok(()));
        assert_eq!(frames(&[(55_010, 3_980), (61_008, 3_990), (75_000, 3_990)]), Ok(()));
        // Too late, too short, too long, elsewhere, one too many, one too few.
        for wrong in [
            [(41_000, 4_000), (55_510, 3_490), (61_008, 3_990)],
            [(41_000, 4_000), (55_010, 3_480), (61_008, 3_990)],
            [(41_000, 4_000), (55_010, 4_480), (61_008, 3_990)],
            [(41_000, 4_000), (45_010, 1_000), (55_010, 3_980)],
            [(51_000, 3_000), (55_010, 3_980), (61_008, 3_990)],
            [(41_000, 4_000), (61_008, 3_990), (75_000, 4_000)],
        ] {
            assert!(frames(&wrong).is_err(), "{wrong:?}");
        }
        assert!(frames(&[(41_000, 4_000)]).is_err());
    }
}
