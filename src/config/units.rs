//! Quantities with their units in the text: `"30s"`, `"1MiB"`, and plain counts. Whole numbers
//! only, so that what stands in the file is exactly what holds.

use std::time::Duration;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A number of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u64);

/// A kind of value that has a range.
pub trait Quantity: Copy + PartialOrd {
    /// As it stands in the file, without quotes.
    fn show(self) -> String;
}

impl Quantity for Duration {
    fn show(self) -> String {
        show_duration(self)
    }
}

impl Quantity for ByteSize {
    fn show(self) -> String {
        show_size(self.0)
    }
}

impl Quantity for Count {
    fn show(self) -> String {
        self.0.to_string()
    }
}

const DURATIONS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// What people write when they mean one of the units.
const ALIASES: [(&str, &str); 34] = [
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hr", "h"),
    ("hrs", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("msec", "ms"),
    ("millis", "ms"),
    ("S", "s"),
    ("M", "m"),
    ("H", "h"),
    ("D", "d"),
    ("b", "B"),
    ("k", "KiB"),
    ("K", "KiB"),
    ("kb", "KiB"),
    ("KB", "KiB"),
    ("kib", "KiB"),
    ("M", "MiB"),
    ("mb", "MiB"),
    ("MB", "MiB"),
    ("mib", "MiB"),
    ("G", "GiB"),
    ("GB", "GiB"),
    ("gb", "GiB"),
    ("gib", "GiB"),
];

/// Reads a duration: a whole number and `ms`, `s`, `m`, `h` or `d`. `Err` holds what was probably
/// meant.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, Option<String>> {
    parse(text, &DURATIONS).map(Duration::from_millis)
}

/// Reads a size: a whole number and `B`, `KiB`, `MiB` or `GiB`. `Err` holds what was probably
/// meant.
pub(super) fn parse_size(text: &str) -> Result<ByteSize, Option<String>> {
    parse(text, &SIZES).map(ByteSize)
}

/// A duration in the largest unit that fits it exactly.
pub fn show_duration(d: Duration) -> String {
    show(u64::try_from(d.as_millis()).unwrap_or(u64::MAX), &DURATIONS, "0s")
}

/// A size in the largest unit that fits it exactly.
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES, "0B")
}

fn parse(text: &str, units: &[(&str, u64)]) -> Result<u64, Option<String>> {
    let (number, unit) = split(text);
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    match (number.parse::<u64>().ok(), factor) {
        (Some(n), Some(factor)) => n.checked_mul(factor).ok_or(None),
        _ => Err(guess(text, units)),
    }
}

fn split(text: &str) -> (&str, &str) {
    text.find(|c: char| !c.is_ascii_digit()).map_or((text, ""), |at| text.split_at(at))
}

fn guess(text: &str, units: &[(&str, u64)]) -> Option<String> {
    let (number, unit) = split(text.trim());
    let unit = unit.trim();
    let known = |name: &str| units.iter().any(|(u, _)| *u == name);
    let meant = if known(unit) {
        unit
    } else {
        ALIASES.iter().find(|(from, to)| *from == unit && known(to)).map(|(_, to)| *to)?
    };
    number.parse::<u64>().ok().map(|n| format!("\"{n}{meant}\""))
}

fn show(value: u64, units: &[(&str, u64)], zero: &str) -> String {
    match units.iter().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", value / factor),
        None => zero.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        for (text, ms) in [("4s", 4_000), ("4500ms", 4_500), ("0s", 0), ("1d", 86_400_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for (text, meant) in [
            ("4", None),
            ("", None),
            ("s", None),
            ("-4s", None),
            ("4.5s", None),
            ("4 s", Some("\"4s\"")),
            ("4sec", Some("\"4s\"")),
            ("2M", Some("\"2m\"")),
            ("4MiB", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(parse_duration(text), Err(meant.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn sizes_are_whole_numbers_with_a_unit() {
        assert_eq!(parse_size("1MiB"), Ok(ByteSize(1 << 20)));
        assert_eq!(parse_size("17B"), Ok(ByteSize(17)));
        for (text, meant) in
            [("1", None), ("1MB", Some("\"1MiB\"")), ("2M", Some("\"2MiB\"")), ("1s", None)]
        {
            assert_eq!(parse_size(text), Err(meant.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn quantities_show_as_they_are_written() {
        for text in ["4500ms", "90s", "30d", "81m", "0s"] {
            assert_eq!(parse_duration(text).unwrap().show(), text);
        }
        for text in ["1MiB", "1500B", "256MiB", "0B"] {
            assert_eq!(parse_size(text).unwrap().show(), text);
        }
    }
}
