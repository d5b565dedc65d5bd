//! The Prometheus text format, version 0.0.4: what every scraper understands.

use std::fmt::{Display, Write as _};

use super::cells::Histogram;

/// The content type of what [`Exposition::finish`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They go up and down.
    Gauge,
    /// Observations by upper bounds.
    Histogram,
}

/// A text of families, each written as a whole before the next.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// A family that is being written.
#[derive(Debug)]
pub struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// Begins a family; its name and help are text of our own.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        put(&mut self.0, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { out: &mut self.0, name }
    }

    /// A family of a single sample without labels.
    pub fn single(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &'static str,
        value: impl Display,
    ) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// A sample with these labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// The samples of a histogram with these labels.
    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let observed = histogram.observed();
        for (bound, upto) in &observed.buckets {
            self.line("_bucket", labels, Some(bound), upto);
        }
        self.line("_bucket", labels, Some(&"+Inf"), observed.count);
        self.line("_sum", labels, None, observed.sum);
        self.line("_count", labels, None, observed.count);
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        bound: Option<&dyn Display>,
        value: impl Display,
    ) {
        put(self.out, format_args!("{}{suffix}", self.name));
        let mut opening = '{';
        for (name, label) in labels {
            put(self.out, format_args!("{opening}{name}=\""));
            escape(self.out, label);
            self.out.push('"');
            opening = ',';
        }
        if let Some(bound) = bound {
            put(self.out, format_args!("{opening}le=\"{bound}\""));
            opening = ',';
        }
        let closing = if opening == ',' { "}" } else { "" };
        put(self.out, format_args!("{closing} {value}\n"));
    }
}

fn escape(out: &mut String, label: &str) {
    for c in label.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes all that is written to it.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn families_are_written_as_the_format_says() {
        const BOUNDS: &[Duration] = &[Duration::from_micros(2_500), Duration::from_secs(1)];
        let histogram = Histogram::new(BOUNDS);
        histogram.observe(Duration::from_millis(500));
        let mut text = Exposition::default();
        text.single("up", Kind::Gauge, "Whether it is.", 1);
        let mut family = text.family("seen_total", Kind::Counter, "What was seen.");
        family.sample(&[("source", "lab"), ("reason", "")], 3);
        family.sample(&[("source", "a\"b\\c\nd"), ("reason", "x")], 4);
        text.family("took_seconds", Kind::Histogram, "How long it took.")
            .histogram(&[("source", "lab")], &histogram);
        text.family("bare_seconds", Kind::Histogram, "Without labels.").histogram(&[], &histogram);
        let expected = r#"# HELP up Whether it is.
# TYPE up gauge
up 1
# HELP seen_total What was seen.
# TYPE seen_total counter
seen_total{source="lab",reason=""} 3
seen_total{source="a\"b\\c\nd",reason="x"} 4
# HELP took_seconds How long it took.
# TYPE took_seconds histogram
took_seconds_bucket{source="lab",le="0.0025"} 0
took_seconds_bucket{source="lab",le="1"} 1
took_seconds_bucket{source="lab",le="+Inf"} 1
took_seconds_sum{source="lab"} 0.5
took_seconds_count{source="lab"} 1
# HELP bare_seconds Without labels.
# TYPE bare_seconds histogram
bare_seconds_bucket{le="0.0025"} 0
bare_seconds_bucket{le="1"} 1
bare_seconds_bucket{le="+Inf"} 1
bare_seconds_sum 0.5
bare_seconds_count 1
"#;
        assert_eq!(text.finish(), expected);
    }
}
