//! The day of outages on the screen.

use std::io::{self, Write};
use std::time::Duration;

use super::{Look, Screen, cut};
use crate::cli::demo::outage::{Day, EVERY, ProviderDay, Stage, clock};
use crate::config::units::show_duration;

impl Screen {
    /// Who takes part.
    pub(in crate::cli::demo) fn outage_opening(&mut self, stage: &Stage<'_>) -> io::Result<()> {
        let title = self.look(Look::Bold, "Hookward demo: a day of outages");
        let gateway = self.look(Look::Cyan, &stage.gateway().to_string());
        let app = self.look(Look::Cyan, &stage.app().to_string());
        let seconds = 86_400.0 / f64::from(stage.scale().get());
        writeln!(
            self.out,
            "\n  {title}, {} times as fast: it takes {seconds:.0} seconds\n\n  \
             5 providers --> gateway {gateway} --> clinic app {app}\n\n  \
             Each provider sends an event every {}, and sends again what is not acknowledged, on the\n  \
             schedule that it publishes. One that publishes none is counted on to send it once.\n",
            stage.scale(),
            show_duration(EVERY),
        )?;
        self.out.flush()
    }

    /// Something that happens, at the day's own time.
    pub(in crate::cli::demo) fn moment(&mut self, at: Duration, what: &str) -> io::Result<()> {
        writeln!(self.out, "  {}  {what}", self.look(Look::Cyan, &clock(at)))?;
        self.out.flush()
    }

    /// What came of the day; whether all was as it has to be.
    pub(in crate::cli::demo) fn outage(&mut self, day: &Day) -> io::Result<bool> {
        let head = columns([
            "PROVIDER",
            "SENDS AGAIN FOR",
            "SENT",
            "AT ONCE",
            "LATER",
            "GIVEN UP",
            "IN THE APP",
        ]);
        writeln!(self.out, "\n{}", self.look(Look::Bold, &head))?;
        for provider in &day.providers {
            writeln!(self.out, "{}", row(provider))?;
        }
        self.lost(day)?;
        let sum = |of: fn(&ProviderDay) -> usize| day.providers.iter().map(of).sum::<usize>();
        let (acknowledged, in_app) = (sum(ProviderDay::acknowledged), sum(|p| p.in_app));
        let summary = format!(
            "{acknowledged} events acknowledged, {in_app} of them in the app exactly once; {} given up by their providers.",
            sum(|p| p.given_up.len()),
        );
        let look = if day.differences.is_empty() { Look::Green } else { Look::Red };
        writeln!(self.out, "\n  {}", self.look(look, &summary))?;
        for difference in &day.differences {
            writeln!(self.out, "    {}", cut(difference, 96))?;
        }
        self.out.flush()?;
        Ok(day.differences.is_empty())
    }

    /// What no gateway can help, and what would have.
    fn lost(&mut self, day: &Day) -> io::Result<()> {
        if day.providers.iter().all(|provider| provider.given_up.is_empty()) {
            return Ok(());
        }
        writeln!(
            self.out,
            "\n  Not sent again once the gateway was up, as far as is published, and so lost:\n"
        )?;
        for provider in day.providers.iter().filter(|provider| !provider.given_up.is_empty()) {
            let times: Vec<String> = provider.given_up.iter().map(|at| clock(*at)).collect();
            let line = format!("    {:<8} sent at {}", provider.name, times.join(", "));
            writeln!(self.out, "{}", cut(&line, 100))?;
        }
        let gaps: Vec<String> = day
            .gaps
            .iter()
            .map(|(down, up)| format!("{} to {}", clock(*down), clock(*up)))
            .collect();
        writeln!(
            self.out,
            "\n  The gateway was down from {}. A provider that sends\n  \
             again for longer than that loses nothing; ask the others to send these again.",
            gaps.join(" and from "),
        )
    }
}

impl ProviderDay {
    fn acknowledged(&self) -> usize {
        self.first_try + self.later
    }
}

fn row(provider: &ProviderDay) -> String {
    let horizon = provider.horizon.map_or("not published".to_owned(), show_duration);
    let given_up = provider.given_up.len();
    let sent = provider.acknowledged() + given_up;
    let counts = [sent, provider.first_try, provider.later, given_up, provider.in_app];
    let [sent, first, later, given_up, in_app] = counts.map(|count| count.to_string());
    columns([provider.name, &horizon, &sent, &first, &later, &given_up, &in_app])
}

fn columns([provider, horizon, sent, first, later, given_up, in_app]: [&str; 7]) -> String {
    format!(
        "  {provider:<8}  {horizon:<15}  {sent:>4}  {first:>7}  {later:>5}  {given_up:>8}  {in_app:>10}"
    )
}
