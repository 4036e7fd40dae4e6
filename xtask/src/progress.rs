//! Progress lines: one per step, a spinner on a terminal, plain text elsewhere. No step is decided here.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Makes the commands that steps run print their own output.
pub fn set_verbose(verbose: bool) {
    VERBOSE.store(verbose, Ordering::Relaxed);
}

/// Whether the commands that steps run print their own output.
pub fn verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// One step under way. Dropped without [`Step::done`], it is shown as failed.
pub struct Step {
    name: String,
    bar: ProgressBar,
    started: Instant,
    finished: bool,
}

impl Step {
    /// Announces a step.
    pub fn start(name: impl Into<String>) -> Self {
        let name = name.into();
        let bar = ProgressBar::new_spinner();
        if verbose() || !std::io::stderr().is_terminal() {
            bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
            eprintln!("{name} ...");
        } else {
            let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_prefix(name.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self { name, bar, started: Instant::now(), finished: false }
    }

    /// A function that shows what the step is doing now (its command's latest line), for use by other threads.
    pub fn shown(&self) -> impl Fn(&str) + Send + 'static {
        let bar = self.bar.clone();
        move |text| bar.set_message(text.trim().to_owned())
    }

    /// Ends the step well.
    pub fn done(mut self) {
        self.finish("done");
    }

    /// Ends the step in another way that is no failure.
    pub fn ended(mut self, how: &str) {
        self.finish(how);
    }

    fn finish(&mut self, how: &str) {
        self.finished = true;
        self.bar.finish_and_clear();
        eprintln!("{} ... {how} ({:.1} s)", self.name, self.started.elapsed().as_secs_f32());
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            self.finish("failed");
        }
    }
}
