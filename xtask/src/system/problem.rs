//! What is wrong with a system file, at which place of it, and how it is shown.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

pub(super) type Result<T> = core::result::Result<T, Problem>;

/// A value and where in the file it stands, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<T> At<T> {
    pub(super) fn new(value: T, span: Range<usize>) -> Self {
        Self { value, span }
    }

    /// Something is wrong with this value.
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.span.clone(), message)
    }

    /// Another value that stands at the same place.
    pub(super) fn with<U>(&self, value: U) -> At<U> {
        At::new(value, self.span.clone())
    }
}

/// Something wrong at a place of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Problem {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: visible(&message.into()), help: None }
    }

    /// Adds what to change.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(visible(&help.into())), ..self }
    }
}

/// A message that may quote the file, without what would change how a terminal shows the rest: such characters by number.
fn visible(message: &str) -> String {
    let is_plain =
        |character: char| character == '\n' || character.is_ascii_graphic() || character.escape_debug().len() == 1;
    let mut shown = String::new();
    for character in message.chars() {
        match is_plain(character) {
            true => shown.push(character),
            false => shown.extend(character.escape_unicode()),
        }
    }
    shown
}

/// What is wrong with a system file: message, line and column, and what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemError {
    path: PathBuf,
    /// The file's text; `None` if it could not be read.
    source: Option<String>,
    problem: Problem,
}

impl SystemError {
    pub(super) fn new(path: &Path, source: String, problem: Problem) -> Self {
        Self { path: path.to_path_buf(), source: Some(source), problem }
    }

    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let message = format!("cannot read {}: {error}", path.display());
        Self { path: path.to_path_buf(), source: None, problem: Problem::new(0..0, message) }
    }

    /// The error with the lines it is about, as rustc shows its own; with colours if `styled`.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let title = Level::ERROR.primary_title(&self.problem.message);
        let mut report = Group::with_title(title);
        if let Some(source) = &self.source {
            let path = self.path.display().to_string();
            let mark = AnnotationKind::Primary.span(self.problem.span.clone());
            report = report.element(Snippet::source(source).path(path).annotation(mark));
        }
        if let Some(help) = &self.problem.help {
            report = report.element(Level::HELP.message(help));
        }
        renderer.render(&[report])
    }
}

/// The parts, for tests: users are shown the whole.
#[cfg(test)]
impl SystemError {
    /// What is wrong, in one line.
    pub(super) fn message(&self) -> &str {
        &self.problem.message
    }

    /// What to change, if there is more to say than the message does.
    pub(super) fn help(&self) -> Option<&str> {
        self.problem.help.as_deref()
    }

    /// Line and column, both from 1, the column in characters; `None` if the file could not be read.
    pub(super) fn position(&self) -> Option<(usize, usize)> {
        let before = self.source.as_ref()?.get(..self.problem.span.start)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Some((line, column))
    }
}

impl fmt::Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for SystemError {}

/// "Did you mean" the nearest of `known`, or all of them if none is near.
pub(super) fn one_of(given: &str, known: impl IntoIterator<Item = impl Into<String>>) -> String {
    let known: Vec<String> = known.into_iter().map(Into::into).collect();
    let distance = |name: &String| strsim::damerau_levenshtein(given, name);
    let nearest = known.iter().min_by_key(|name| distance(name));
    match nearest.filter(|name| distance(name) <= given.len().div_ceil(3)) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known are: {}", known.join(", ")),
    }
}

/// `bytes` with the largest unit that divides it.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |shift: u32| bytes != 0 && bytes.trailing_zeros() >= shift;
    match UNITS.into_iter().find(|(shift, _)| fits(*shift)) {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

/// `nanoseconds` with the largest unit that divides it.
pub(super) fn time(nanoseconds: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    match UNITS.into_iter().find(|(unit, _)| nanoseconds.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", nanoseconds / unit),
        None => format!("{nanoseconds}ns"),
    }
}
