//! A plot of a few series over time, one above the other, as SVG.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const PANEL: f64 = 170.0;
/// Room for titles above a panel, and for numbers beside and below.
const TOP: f64 = 34.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const BOTTOM: f64 = 40.0;
/// About how many lines a grid has.
const LINES: f64 = 4.0;

/// One panel: values at the times that all panels share.
pub(crate) struct Panel {
    /// What stands above it, unit included.
    pub(crate) title: &'static str,
    /// One for each time.
    pub(crate) values: Vec<f64>,
}

/// Draws the panels over `times` in seconds, under a title.
pub(crate) fn draw(title: &str, times: &[f64], panels: &[Panel]) -> String {
    let height = TOP + panels.len() as f64 * (PANEL + TOP) + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{title}</text>\n"
    );
    let across = Scale::new(times.iter().copied().fold(1.0, f64::max), LEFT, WIDTH - RIGHT);
    for (nth, panel) in panels.iter().enumerate() {
        let top = TOP + nth as f64 * (PANEL + TOP) + TOP;
        draw_panel(&mut svg, panel, times, &across, top);
    }
    let foot = height - BOTTOM + 16.0;
    for at in across.lines() {
        text(&mut svg, across.place(at), foot, "middle", &format!("{at} s"));
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_panel(svg: &mut String, panel: &Panel, times: &[f64], across: &Scale, top: f64) {
    let bottom = top + PANEL;
    let most = panel.values.iter().copied().fold(0.0, f64::max);
    let up = Scale::new(most, bottom, top);
    text(svg, LEFT, top - 8.0, "start", panel.title);
    for at in up.lines() {
        let y = up.place(at);
        line(svg, [LEFT, y, WIDTH - RIGHT, y]);
        text(svg, LEFT - 6.0, y + 4.0, "end", &format!("{at}"));
    }
    for at in across.lines() {
        let x = across.place(at);
        line(svg, [x, top, x, bottom]);
    }
    let points = times.iter().zip(&panel.values);
    let points: Vec<_> = points
        .map(|(at, value)| format!("{:.1},{:.1}", across.place(*at), up.place(*value)))
        .collect();
    let points = points.join(" ");
    let style = "fill=\"none\" stroke=\"#1f5fa8\" stroke-width=\"1.5\"";
    let _ = writeln!(svg, "<polyline points=\"{points}\" {style}/>");
}

fn line(svg: &mut String, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ =
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

/// Values from zero to a round number, and where they are drawn.
struct Scale {
    step: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(most: f64, from: f64, to: f64) -> Self {
        let least = f64::max(most, 1e-9) / LINES;
        let power = 10f64.powf(least.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|s| *s >= least);
        let step = step.unwrap_or(10.0 * power);
        Self { step, most: step * (most / step).ceil().max(1.0), from, to }
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (self.to - self.from) * value / self.most
    }

    fn lines(&self) -> impl Iterator<Item = f64> {
        let (step, count) = (self.step, (self.most / self.step).round() as u32);
        // Rounded: what is written there must not end in a row of nines.
        (0..=count).map(move |n| (f64::from(n) * step * 1e6).round() / 1e6)
    }
}
