//! Tables for people: aligned columns, cut to the terminal's width where there is one. What the cells
//! hold was sent by others, so that nothing in it may reach the terminal as more than text.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};

use rustix::termios::tcgetwinsize;

use crate::json::escape_if;

/// Rows under a head. Further rows fit themselves to the widths of the first ones.
#[derive(Debug)]
pub(super) struct Table {
    widths: Vec<usize>,
    width: Option<usize>,
    head: Option<Vec<String>>,
}

impl Table {
    /// A table with this head, as wide as the terminal that standard output is, if it is one.
    pub(super) fn new(head: &[&str]) -> Self {
        Self::within(terminal_width(), head)
    }

    fn within(width: Option<usize>, head: &[&str]) -> Self {
        let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
        Self { widths: vec![0; head.len()], width, head: Some(head) }
    }

    /// Prints these rows, and the head before the first ones. Cells of the caller's own words and of
    /// others' are made plain alike.
    pub(super) fn print(&mut self, rows: Vec<Vec<String>>, out: &mut impl Write) -> io::Result<()> {
        let plain = |row: Vec<String>| row.iter().map(|cell| neutral(cell)).collect::<Vec<_>>();
        let rows: Vec<_> = self.head.take().into_iter().chain(rows).map(plain).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        rows.iter().try_for_each(|row| writeln!(out, "{}", self.line(row)))
    }

    fn line(&self, row: &[String]) -> String {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&self.widths) {
            // Writing into a string cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        let line = line.trim_end();
        match self.width {
            Some(most) if line.chars().count() > most => {
                line.chars().take(most.saturating_sub(1)).chain(['…']).collect()
            }
            _ => line.to_owned(),
        }
    }
}

/// How many columns the terminal has that standard output is; `None`: it is none.
fn terminal_width() -> Option<usize> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let columns = tcgetwinsize(&out).ok()?.ws_col;
    (columns > 0).then(|| columns.into())
}

/// The text with everything written out that a terminal would act on: control characters, and those
/// that change the direction of what follows or cannot be seen.
pub(super) fn neutral(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            plain.extend(c.escape_unicode());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// The same for text of several lines.
pub(super) fn neutral_lines(text: &str) -> String {
    let lines =
        text.split('\n').map(|line| line.split('\t').map(neutral).collect::<Vec<_>>().join("\t"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The same for JSON, in which such characters stand within strings only: they are escaped there, so that
/// programs read the same.
pub(super) fn neutral_json(json: &str) -> String {
    // Between its values JSON has these itself.
    escape_if(json, |c| acts(c) && !matches!(c, '\n' | '\r' | '\t'))
}

fn acts(c: char) -> bool {
    // With letters of which nothing is drawn.
    let unseen = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || unseen
}

/// A moment of the API for people: in UTC, to the second.
pub(super) fn time(text: &str) -> String {
    text.get(..19).map_or_else(|| text.to_owned(), |text| text.replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(width: Option<usize>, rows: &[&[&[&str]]]) -> String {
        let mut table = Table::within(width, &["ID", "WHAT"]);
        let mut out = Vec::new();
        for rows in rows {
            let rows = rows.iter().map(|row| row.iter().map(|&cell| cell.to_owned()).collect());
            table.print(rows.collect(), &mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_cut_only_where_there_is_a_width() {
        let rows: &[&[&[&str]]] = &[&[&["1", "first"], &["22", ""]], &[&["3", "größer als"]]];
        assert_eq!(printed(None, rows), "ID  WHAT\n1   first\n22\n3   größer als\n");
        assert_eq!(printed(Some(8), rows), "ID  WHAT\n1   fir…\n22\n3   grö…\n");
    }

    #[test]
    fn nothing_reaches_the_terminal_as_more_than_text() {
        assert_eq!(neutral("a\u{1b}[2Jb\r\n\u{9b}31m"), "a\\u{1b}[2Jb\\u{d}\\u{a}\\u{9b}31m");
        assert_eq!(neutral("\u{202e}txt.exe"), "\\u{202e}txt.exe");
        assert_eq!(neutral("a\u{3164}\u{ffa0}b"), "a\\u{3164}\\u{ffa0}b");
        assert_eq!(neutral("Anaïs € 😀"), "Anaïs € 😀");
        assert_eq!(neutral_lines("{\n\t\"a\": \u{7}}"), "{\n\t\"a\": \\u{7}}");
        assert!(!printed(None, &[&[&["\u{1b}c", "\u{8}"]]]).contains(['\u{1b}', '\u{8}']));
    }

    #[test]
    fn json_says_the_same_without_what_a_terminal_would_act_on() {
        let text = "\u{9b}2J\u{202e}\u{7f}\u{e0041}ü😀";
        let json = format!("{{\n\t\"a\": \"{text}\"}}");
        let plain = neutral_json(&json);
        assert!(plain.chars().all(|c| !acts(c) || c == '\n' || c == '\t'), "{plain:?}");
        let read: serde_json::Value = serde_json::from_str(&plain).unwrap();
        assert_eq!(read["a"], text);
    }
}
