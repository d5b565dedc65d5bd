//! What every reader of the configuration carries along: the text, the problems so far, and the
//! way out to the secrets.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::problem::{Position, Problem, ProblemKind};
use super::secrets::{SecretFile, SecretReader};
use crate::clock::UnixMillis;

/// A key's dotted path and where in the text it (or its value) begins.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    /// The dotted path.
    pub(super) key: String,
    /// Byte offset into the text.
    pub(super) at: usize,
}

impl Spot {
    /// The spot of a key that could stand in this table and does not.
    pub(super) fn child(&self, key: &str) -> Self {
        let key = if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) };
        Self { key, at: self.at }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    /// The value.
    pub(super) value: T,
    /// Where it stands; where it would, for a default.
    pub(super) spot: Spot,
}

/// The problems of one file, and what is needed to find more.
pub(super) struct Context<'t> {
    file: &'t Path,
    text: &'t str,
    /// Byte offsets at which lines begin.
    lines: Vec<usize>,
    problems: Vec<Problem>,
    /// All files asked for so far, the configuration's own first.
    files: Vec<PathBuf>,
    secrets: &'t dyn SecretReader,
}

impl<'t> Context<'t> {
    /// Nothing found yet.
    pub(super) fn new(file: &'t Path, text: &'t str, secrets: &'t dyn SecretReader) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        Self { file, text, lines, problems: Vec::new(), files: vec![file.into()], secrets }
    }

    /// Notes a problem.
    pub(super) fn problem(&mut self, spot: &Spot, kind: impl Into<ProblemKind>) {
        let position = Some(self.position(spot.at));
        let key = spot.key.clone();
        self.problems.push(Problem { file: self.file.into(), position, key, kind: kind.into() });
    }

    /// Notes that a key is missing in the table at `spot`.
    pub(super) fn missing(&mut self, spot: &Spot, key: &str, accepted: &'static str) {
        self.problem(&spot.child(key), ProblemKind::Missing { accepted: accepted.into() });
    }

    /// A path of the file: relative ones are relative to the directory that the file is in.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The environment variable of this name.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        self.secrets.variable(name)
    }

    /// Reads a secret's file.
    pub(super) fn secret_file(&mut self, path: &Path) -> io::Result<SecretFile> {
        self.note(path);
        self.secrets.file(path)
    }

    /// Reads a PEM file.
    pub(super) fn pem(&mut self, path: &Path) -> io::Result<SecretFile> {
        self.note(path);
        self.secrets.pem(path)
    }

    /// All files asked for so far, the configuration's own first.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The time at which the configuration is checked.
    pub(super) fn now(&self) -> UnixMillis {
        self.secrets.now()
    }

    /// Remembers a file, even one that is not there yet: what it says when it comes matters.
    fn note(&mut self, path: &Path) {
        if !self.files.iter().any(|known| known == path) {
            self.files.push(path.into());
        }
    }

    /// All problems, in the order of the file; and the files that they, or the settings, come from.
    ///
    /// A file that is not TOML yields a tree with holes. What such a hole would cause is left
    /// out: on the lines of the syntax errors everything else (further ones too), on other lines
    /// what only a whole file has.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<PathBuf>) {
        let mut problems = self.problems;
        problems.sort_by(|a, b| (a.position, &a.key).cmp(&(b.position, &b.key)));
        let broken: Vec<usize> = problems
            .iter()
            .filter(|p| matches!(p.kind, ProblemKind::Syntax(_)))
            .filter_map(|p| p.position.map(|p| p.line))
            .collect();
        if !broken.is_empty() {
            problems.retain(|p| {
                let hit = p.position.is_some_and(|p| broken.contains(&p.line));
                matches!(p.kind, ProblemKind::Syntax(_)) || (!hit && !needs_a_whole_file(&p.kind))
            });
            let line = |p: &Problem| match p.kind {
                ProblemKind::Syntax(_) => p.position.map(|p| p.line),
                _ => None,
            };
            problems.dedup_by(|b, a| line(a).is_some() && line(a) == line(b));
        }
        (problems, self.files)
    }

    fn position(&self, at: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= at);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..at.min(self.text.len())).unwrap_or_default();
        Position { line: line.max(1), column: before.chars().count() + 1 }
    }
}

fn needs_a_whole_file(kind: &ProblemKind) -> bool {
    match kind {
        ProblemKind::Missing { .. }
        | ProblemKind::Taken { .. }
        | ProblemKind::NotLonger { .. }
        | ProblemKind::NotShorter { .. }
        | ProblemKind::Longer { .. }
        | ProblemKind::Less { .. }
        | ProblemKind::Contradiction(_)
        | ProblemKind::Warning(_) => true,
        ProblemKind::Unreadable(_)
        | ProblemKind::NotUtf8
        | ProblemKind::TooLong { .. }
        | ProblemKind::Syntax(_)
        | ProblemKind::UnknownKey { .. }
        | ProblemKind::NotAccepted { .. }
        | ProblemKind::NotAvailable(_)
        | ProblemKind::Pem { .. }
        | ProblemKind::Secret(_) => false,
    }
}
