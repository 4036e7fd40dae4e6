//! How long a machine is waited for: by the time in which it could have run, not by the host's clock alone.
//!
//! A thread of the machine's that wants one of the host's processors and gets none makes no progress, which is nobody's
//! fault. Linux counts that time for each thread (`Documentation/scheduler/sched-stats`: the second number in
//! `/proc/PID/task/TID/schedstat`, in nanoseconds); what the thread that waited most has waited does not count here. Where
//! the host does not say it, its clock is all there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a machine has had.
#[derive(Debug)]
pub struct Patience {
    began: Instant,
    /// Where its threads are listed.
    threads: PathBuf,
    /// How long it waited for a processor, as far as is known.
    waited: Duration,
}

impl Patience {
    /// With the machine that is this process, from now on.
    pub fn with(process: u32) -> Self {
        Self::of(format!("/proc/{process}/task").into(), Instant::now())
    }

    fn of(threads: PathBuf, began: Instant) -> Self {
        Self { began, threads, waited: Duration::ZERO }
    }

    /// For how long it could have run until now.
    pub fn spent(&mut self) -> Duration {
        // Threads end, and what they waited is no longer told.
        self.waited = self.waited.max(longest_wait(&self.threads));
        self.began.elapsed().saturating_sub(self.waited)
    }

    /// When `spent` is that much, if the machine does not wait any more; None for never.
    pub fn earliest(&self, spent: Duration) -> Option<Instant> {
        self.began.checked_add(self.waited)?.checked_add(spent)
    }
}

/// How long the thread that waited most for a processor has waited.
fn longest_wait(threads: &Path) -> Duration {
    let entries = fs::read_dir(threads).into_iter().flatten().flatten();
    let waits = entries.filter_map(|entry| wait(&fs::read_to_string(entry.path().join("schedstat")).ok()?));
    waits.max().unwrap_or_default()
}

/// The time in a thread's `schedstat`.
fn wait(statistics: &str) -> Option<Duration> {
    Some(Duration::from_nanos(statistics.split_whitespace().nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn write(threads: &Path, thread: &str, statistics: &str) {
        let folder = threads.join(thread);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("schedstat"), statistics).expect("a file");
    }

    #[test]
    fn waiting_for_a_processor_does_not_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let began = Instant::now().checked_sub(MINUTE).expect("the host runs for longer");
        let mut patience = Patience::of(folder.path().to_owned(), began);
        write(folder.path(), "1", "70000000000 1000000000 5\n");
        write(folder.path(), "2", "1000000000 50000000000 5\n");
        write(folder.path(), "3", "no numbers");
        let spent = patience.spent();
        assert!(spent >= MINUTE - Duration::from_secs(50) && spent < MINUTE, "{spent:?}");
        assert_eq!(patience.earliest(MINUTE), began.checked_add(MINUTE + Duration::from_secs(50)));
        // The thread that waited so long ends.
        fs::remove_dir_all(folder.path().join("2")).expect("removed");
        patience.spent();
        assert_eq!(patience.earliest(MINUTE), began.checked_add(MINUTE + Duration::from_secs(50)));
    }

    #[test]
    fn a_host_that_says_nothing_has_a_clock() {
        let began = Instant::now().checked_sub(MINUTE).expect("the host runs for longer");
        let mut patience = Patience::of("/nowhere".into(), began);
        assert!(patience.spent() >= MINUTE);
        assert_eq!(patience.earliest(MINUTE), began.checked_add(MINUTE));
    }
}
