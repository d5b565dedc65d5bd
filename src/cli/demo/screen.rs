//! What the demo prints: at most 100 columns, in colour only on a terminal that wants it.

mod outage;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;

use super::super::pipe;
use super::clinic::Arrival;
use super::files::DemoDir;
use super::indent::pretty;
use super::story::{Case, ELSEWHERE, PROVIDERS, Row, Story, is_expected};
use crate::provider::caller::{Answer, CallError};

/// Where the demo is printed.
pub(super) struct Screen {
    out: Box<dyn Write + Send>,
    colour: bool,
}

/// A look, as an ANSI "select graphic rendition" parameter (ECMA-48).
#[derive(Clone, Copy)]
enum Look {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Cyan = 36,
}

impl Screen {
    /// Standard output; plain when that is no terminal or `NO_COLOR` is set (no-color.org).
    pub(super) fn for_terminal() -> Self {
        let terminal = io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let colour = terminal && !refused;
        Self { out: Box::new(pipe::stdout()), colour }
    }

    /// Who takes part.
    pub(super) fn opening(&mut self, gateway: SocketAddr, app: SocketAddr) -> io::Result<()> {
        let title = self.look(Look::Bold, "Hookward demo");
        let providers = PROVIDERS.len();
        let gateway = self.look(Look::Cyan, &gateway.to_string());
        let app = self.look(Look::Cyan, &app.to_string());
        writeln!(
            self.out,
            "\n  {title}   {providers} providers --> gateway {gateway} --> clinic app {app}\n\n  \
             The app is down while they call: it answers 503. Every event is tried four ways:\n    \
             valid     as the provider sends it      forged    wrong key, or body changed after signing\n    \
             repeat    the same request again        wrong IP  from {ELSEWHERE}, not on the allowlist\n"
        )
    }

    /// What was sent, what was answered, and what reached the app.
    pub(super) fn table(&mut self, story: &Story) -> io::Result<()> {
        let head =
            columns(["PROVIDER", "EVENT", "VALID", "REPEAT", "FORGED", "WRONG IP", "APP"], "");
        writeln!(self.out, "{}", self.look(Look::Bold, &head))?;
        let [valid, repeat, forged, elsewhere] = Case::ALL.map(|case| case.expected().to_string());
        let expected = ["expected", "", &valid, &repeat, &forged, &elsewhere, "once"];
        writeln!(self.out, "{}", self.look(Look::Dim, &columns(expected, "")))?;
        let mut before = "";
        for row in &story.rows {
            let provider = if row.provider == before { "" } else { row.provider };
            before = row.provider;
            writeln!(self.out, "{}", self.row(provider, row))?;
        }
        let refused = story.refused;
        writeln!(
            self.out,
            "\n  While it was down the app refused {refused} deliveries; \
             the gateway kept the events and tried again."
        )
    }

    fn row(&self, provider: &str, row: &Row) -> String {
        let [valid, repeat, forged, elsewhere] = &row.answers;
        let answers = [
            self.answer(Case::Valid, valid, 5),
            self.answer(Case::Repeat, repeat, 6),
            self.answer(Case::Forged, forged, 6),
            self.answer(Case::Elsewhere, elsewhere, 8),
        ];
        let taken = match row.taken {
            0 => "no".to_owned(),
            1 => "once".to_owned(),
            n => format!("{n} x"),
        };
        let look = if row.taken == 1 { Look::Green } else { Look::Red };
        let taken = self.look(look, &format!("{taken:>4}"));
        let note = self.look(Look::Dim, row.sample.note);
        let event = row.sample.event_type;
        let line = format!("  {provider:<8} {event:<27}  {}  {taken}  {note}", answers.join("  "));
        line.trim_end().to_owned()
    }

    /// An answer's status, to the right of so many columns.
    fn answer(&self, case: Case, answer: &Result<Answer, CallError>, width: usize) -> String {
        let text = answer.as_ref().map_or("none", |a| a.status.as_str());
        let look = if is_expected(case, answer) { Look::Green } else { Look::Red };
        self.look(look, &format!("{text:>width$}"))
    }

    /// An event as the app got it.
    pub(super) fn arrival(&mut self, arrival: Option<&Arrival>) -> io::Result<()> {
        let Some(arrival) = arrival else { return Ok(()) };
        let title = self.look(Look::Bold, "What the app gets, one event of them:");
        writeln!(self.out, "\n  {title}\n")?;
        for name in ["content-type", "webhook-id", "webhook-signature", "hookward-attempt"] {
            let value = arrival.header(name);
            writeln!(self.out, "    {}: {value}", self.look(Look::Cyan, name))?;
        }
        let body = pretty(&String::from_utf8_lossy(&arrival.body));
        writeln!(self.out)?;
        body.lines().try_for_each(|line| writeln!(self.out, "    {}", cut(line, 96)))
    }

    /// Whether all was as expected, and if not, what was not. Returns the former.
    pub(super) fn verdict(&mut self, story: &Story) -> io::Result<bool> {
        let differences = story.differences();
        let (events, calls) = (story.rows.len(), story.rows.len() * Case::ALL.len());
        let summary = format!(
            "{} of {calls} requests answered as expected, {} of {events} events in the app exactly once.",
            story.right_answers(),
            story.once(),
        );
        let look = if differences.is_empty() { Look::Green } else { Look::Red };
        writeln!(self.out, "\n  {}", self.look(look, &summary))?;
        for difference in &differences {
            writeln!(self.out, "    {}", cut(difference, 96))?;
        }
        self.out.flush()?;
        Ok(differences.is_empty())
    }

    /// What to try while the demo stays up.
    pub(super) fn invitation(
        &mut self,
        dir: &DemoDir,
        gateway: SocketAddr,
        admin: Option<SocketAddr>,
    ) -> io::Result<()> {
        let program = std::env::args().next().unwrap_or_else(|| "hookward".to_owned());
        let (config, key) = (dir.config_file(), dir.key_file("novamed"));
        let title = self.look(Look::Bold, "It stays up. Call it yourself:");
        writeln!(
            self.out,
            "\n  {title}\n\n    \
             curl -i http://{gateway}/hooks/novamed \\\n      \
             -H \"x-api-key: $(cat {})\" -H 'content-type: application/json' \\\n      \
             -d '{{\"event_type\":\"order:delivered\",\"event_id\":\"evt_1\",\"data\":{{\"order_id\":\"ord_1\"}}}}'\n\n    \
             {program} send c4hxp --url http://{gateway} \\\n      --config {}\n",
            key.display(),
            config.display(),
        )?;
        if let Some(admin) = admin {
            writeln!(self.out, "    curl http://{admin}/readyz\n")?;
        }
        let hint =
            "What reaches the app is shown here. Ctrl-C ends the demo and removes its files.";
        writeln!(self.out, "  {}\n", self.look(Look::Dim, hint))?;
        self.out.flush()
    }

    /// A delivery that came after the story was told.
    pub(super) fn live(&mut self, arrival: &Arrival) -> io::Result<()> {
        let label = self.look(Look::Green, "app got");
        let (kind, subject) = (arrival.attribute("type"), arrival.attribute("subject"));
        writeln!(self.out, "  {label}  {}  {kind}  {subject}", arrival.id())?;
        self.out.flush()
    }

    fn look(&self, look: Look, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = write!(out, "\x1b[{}m{text}\x1b[0m", look as u8);
        out
    }
}

/// A line of the table without looks.
fn columns(
    [provider, event, valid, repeat, forged, elsewhere, app]: [&str; 7],
    note: &str,
) -> String {
    let line = format!(
        "  {provider:<8} {event:<27}  {valid:>5}  {repeat:>6}  {forged:>6}  {elsewhere:>8}  {app:>4}  {note}"
    );
    line.trim_end().to_owned()
}

/// At most `width` characters of the line.
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(3)).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests;
