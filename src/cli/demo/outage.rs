//! A day of outages, many times as fast: the app is down all day, the gateway for an hour and for
//! three, and five providers go on sending and sending again on the schedules that they publish.
//!
//! What is expected follows from what happened, not from the clock: starting a gateway takes its
//! own time, which on a busy machine is long at this scale. Nothing that was acknowledged may be
//! lost or doubled, and nothing may fail or be given up but for the gateway being down.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use http::Uri;
use tokio::time::{Instant, sleep_until};

use super::DemoError;
use super::clinic::{Arrival, Clinic};
use super::screen::Screen;
use super::story::PROVIDERS;
use crate::cli::send::maker::Maker;
use crate::cli::sender::{Attempt, Journey, Outcome, Pace, Sender};
use crate::clock::Clock;
use crate::config::{Config, Source};
use crate::gateway::Gateway;
use crate::provider::caller::{CallError, Caller};
use crate::provider::{Next, Retries};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How many of the demo's providers take part: those that a clinic has.
const CLINICAL: usize = 5;

/// How often each provider has news.
pub(super) const EVERY: Duration = Duration::from_secs(30 * 60);

/// When the gateway is down.
const OUTAGES: [(Duration, Duration, &str); 2] = [
    (Duration::from_secs(6 * 3600), Duration::from_secs(7 * 3600), "for an hour"),
    (Duration::from_secs(12 * 3600), Duration::from_secs(15 * 3600), "for three hours"),
];

/// How long the app may take to get everything once it is up, in real time. Ends as soon as it
/// has.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long is watched then whether more comes than should.
const WATCH: Duration = Duration::from_millis(500);

/// The gateway, the app and the time between which it plays.
pub(super) struct Stage<'a> {
    config: Config,
    clinic: &'a Clinic,
    gateway: Option<Gateway>,
    scale: NonZeroU32,
}

/// What came of the day.
#[derive(Debug)]
pub(super) struct Day {
    /// One for each provider.
    pub(super) providers: Vec<ProviderDay>,
    /// When the gateway really was down, at the day's own time.
    pub(super) gaps: Vec<(Duration, Duration)>,
    /// What was not as it has to be; empty when all was.
    pub(super) differences: Vec<String>,
}

/// A provider's day.
#[derive(Debug)]
pub(super) struct ProviderDay {
    /// The source's name.
    pub(super) name: &'static str,
    /// For how long it sends again, if that is published.
    pub(super) horizon: Option<Duration>,
    /// Events that were acknowledged at the first try.
    pub(super) first_try: usize,
    /// Events that were acknowledged at a later one.
    pub(super) later: usize,
    /// When each event was first sent that it gave up, at the day's own time.
    pub(super) given_up: Vec<Duration>,
    /// Events that are in the app, once.
    pub(super) in_app: usize,
}

/// The day's own time.
#[derive(Clone, Copy, Debug)]
struct Dial {
    begin: Instant,
    scale: NonZeroU32,
}

impl Dial {
    fn read(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.begin).saturating_mul(self.scale.get())
    }

    async fn until(&self, time: Duration) {
        sleep_until(self.begin + time / self.scale.get()).await;
    }
}

/// A provider's events, and the attempts that failed: from when to when, and why.
struct Sent {
    name: &'static str,
    horizon: Option<Duration>,
    events: Vec<Journey>,
    first: HashMap<String, Instant>,
    failed: Vec<(Instant, Instant, String)>,
}

impl<'a> Stage<'a> {
    /// Starts the gateway. It keeps its address over the day.
    pub(super) async fn open(
        mut config: Config,
        clinic: &'a Clinic,
        scale: NonZeroU32,
    ) -> Result<Self, DemoError> {
        let gateway = Gateway::start(config.clone(), Clock::System).await?;
        config.server.listen = gateway.public_addr();
        Ok(Self { config, clinic, gateway: Some(gateway), scale })
    }

    /// Where the gateway listens.
    pub(super) fn gateway(&self) -> SocketAddr {
        self.config.server.listen
    }

    /// Where the app listens.
    pub(super) fn app(&self) -> SocketAddr {
        self.clinic.addr()
    }

    /// How many times faster it goes.
    pub(super) fn scale(&self) -> NonZeroU32 {
        self.scale
    }

    /// Stops the gateway, if it is up.
    pub(super) async fn close(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.shutdown().await;
        }
    }

    /// Lets the day pass, and tells what happens on `screen` as it does.
    pub(super) async fn play(&mut self, screen: &mut Screen) -> Result<Day, DemoError> {
        let dial = Dial { begin: Instant::now(), scale: self.scale };
        let (sources, gateway) = (self.config.sources.clone(), self.gateway());
        let acknowledged = Cell::new(0);
        let providers = PROVIDERS.iter().take(CLINICAL).map(|(name, _)| {
            let source = sources.iter().find(|source| source.name.as_str() == *name);
            send(name, source, gateway, self.scale, &acknowledged)
        });
        let clinic = self.clinic;
        let (sent, gaps) = tokio::try_join!(
            try_join_all(providers),
            self.rise_and_fall(dial, screen, &acknowledged),
        )?;
        let ids = acknowledged_ids(&sent);
        clinic.wait(PATIENCE, |arrivals| ids.iter().all(|id| taken(arrivals, id) > 0)).await;
        clinic.wait(WATCH, |arrivals| arrivals.len() > ids.len()).await;
        let all = format!("the app has got {} deliveries", clinic.arrivals().len());
        screen.moment(dial.read(Instant::now()), &all)?;
        Ok(judge(sent, &gaps, &clinic.arrivals(), dial))
    }

    /// Takes the gateway down and up again, and at last the app up. Returns when the gateway was down.
    async fn rise_and_fall(
        &mut self,
        dial: Dial,
        screen: &mut Screen,
        acknowledged: &Cell<usize>,
    ) -> Result<Vec<(Instant, Instant)>, DemoError> {
        screen.moment(Duration::ZERO, "the app is down, and stays so until midnight")?;
        let mut gaps = Vec::new();
        for (from, to, long) in OUTAGES {
            dial.until(from).await;
            let down = Instant::now();
            self.close().await;
            let so_far = acknowledged.get();
            let what = format!("the gateway goes down {long}; {so_far} events acknowledged so far");
            screen.moment(dial.read(down), &what)?;
            dial.until(to).await;
            self.gateway = Some(Gateway::start(self.config.clone(), Clock::System).await?);
            let up = Instant::now();
            screen.moment(dial.read(up), "the gateway is up again")?;
            gaps.push((down, up));
        }
        dial.until(DAY).await;
        let refused = self.clinic.refused();
        self.clinic.come_up();
        let what = format!("the app comes up; it has refused {refused} deliveries until now");
        screen.moment(dial.read(Instant::now()), &what)?;
        Ok(gaps)
    }
}

/// A provider's day: an event every half hour, each sent again until it is acknowledged or given
/// up.
async fn send(
    name: &'static str,
    source: Option<&Arc<Source>>,
    gateway: SocketAddr,
    scale: NonZeroU32,
    acknowledged: &Cell<usize>,
) -> Result<Sent, DemoError> {
    let source = source.ok_or(DemoError::Incomplete(name))?;
    let key = source.keys.first().ok_or(DemoError::Incomplete("key"))?;
    let url = Uri::builder().scheme("http").authority(gateway.to_string());
    let url = url.path_and_query(source.path.as_str()).build().map_err(CallError::from)?;
    let (mut first, mut failed) = (HashMap::new(), Vec::new());
    let seen = |attempt: &Attempt<'_>| {
        if attempt.number == 1 {
            first.insert(attempt.event.id.clone(), attempt.began);
        }
        match attempt.next {
            Next::Delivered => acknowledged.set(acknowledged.get() + 1),
            Next::Again(_) | Next::GivenUp => {
                failed.push((attempt.began, attempt.ended, why(attempt)));
            }
        }
        Ok(())
    };
    let events = DAY.as_secs() / EVERY.as_secs();
    let sender = Sender {
        source,
        key,
        url: &url,
        caller: &Caller::plain(None)?,
        tamper: false,
        retries: &relied_upon(&source.retries),
        clock: &Clock::System,
        pace: Pace { count: events, every: EVERY, scale },
    };
    let mut maker = Maker::new(source, None, None);
    let journeys = sender.run(|now| maker.next(now), seen, std::future::pending()).await?;
    let horizon = source.retries.horizon();
    Ok(Sent { name, horizon, events: journeys.events, first, failed })
}

/// A provider that publishes no schedule is not relied upon to send anything twice.
fn relied_upon(retries: &Retries) -> Retries {
    let waits = Some(retries.waits.clone().unwrap_or_default());
    Retries { waits, ..retries.clone() }
}

fn why(attempt: &Attempt<'_>) -> String {
    match attempt.answer {
        Ok(answer) => answer.status.to_string(),
        Err(error) => error.to_string(),
    }
}

fn acknowledged_ids(sent: &[Sent]) -> Vec<String> {
    let events = sent.iter().flat_map(|sent| &sent.events);
    events.filter_map(|journey| journey.event_id.clone()).collect()
}

fn taken(arrivals: &[Arrival], id: &str) -> usize {
    arrivals.iter().filter(|a| a.taken() && a.id() == id).count()
}

/// What came of the day, and what of it had no reason to be.
fn judge(sent: Vec<Sent>, gaps: &[(Instant, Instant)], arrivals: &[Arrival], dial: Dial) -> Day {
    let known = acknowledged_ids(&sent);
    let mut differences = Vec::new();
    let excused =
        |began: Instant, ended: Instant| gaps.iter().any(|gap| began <= gap.1 && ended >= gap.0);
    let mut providers = Vec::new();
    for Sent { name, horizon, events, first, failed } in sent {
        for (began, ended, why) in failed {
            if !excused(began, ended) {
                let at = clock(dial.read(began));
                differences.push(format!("{name}: refused at {at}, with the gateway up: {why}"));
            }
        }
        let mut day =
            ProviderDay { name, horizon, first_try: 0, later: 0, given_up: Vec::new(), in_app: 0 };
        for journey in events {
            let at = first.get(&journey.id).map_or(Duration::ZERO, |first| dial.read(*first));
            match (journey.outcome, journey.tries) {
                (Outcome::Delivered, 1) => day.first_try += 1,
                (Outcome::Delivered, _) => day.later += 1,
                (Outcome::GivenUp | Outcome::Unfinished, _) => {
                    day.given_up.push(at);
                    continue;
                }
            }
            let times = journey.event_id.as_ref().map_or(0, |id| taken(arrivals, id));
            day.in_app += usize::from(times == 1);
            if times != 1 {
                let (id, at) = (&journey.id, clock(at));
                differences.push(format!(
                    "{name}: {id} of {at}, acknowledged, is in the app {times} times"
                ));
            }
        }
        providers.push(day);
    }
    let stranger = |a: &&Arrival| !a.authentic || !known.iter().any(|id| id == a.id());
    let strangers = arrivals.iter().filter(stranger).count();
    if strangers > 0 {
        differences.push(format!("{strangers} deliveries that nobody sent or signed"));
    }
    let gaps = gaps.iter().map(|gap| (dial.read(gap.0), dial.read(gap.1))).collect();
    Day { providers, gaps, differences }
}

/// `HH:MM` of the day.
pub(super) fn clock(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    format!("{:02}:{:02}", minutes / (HOUR.as_secs() / 60), minutes % 60)
}

#[cfg(test)]
pub(super) mod tests;
