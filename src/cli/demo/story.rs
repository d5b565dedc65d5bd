//! What happens in the demo: who calls with what, what should come of it, and what did.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::DemoError;
use super::clinic::{Arrival, Clinic};
use crate::clock::{Clock, UnixMillis};
use crate::config::Source;
use crate::event::normalize_type;
use crate::provider::Preset;
use crate::provider::caller::{Answer, CallError, Caller};
use crate::provider::sample::{self, Outgoing, Sample};
use crate::provider::sign;

/// Who calls: a source's name and its preset. Those that a clinic has come first.
pub(super) const PROVIDERS: [(&str, Preset); 10] = [
    ("novamed", Preset::NovaMed),
    ("c4hxp", Preset::C4hxp),
    ("nimbus", Preset::Nimbus),
    ("drx", Preset::Drx),
    ("rxscale", Preset::RxScale),
    ("standard", Preset::StandardWebhooks),
    ("stripe", Preset::Stripe),
    ("github", Preset::GitHub),
    ("slack", Preset::Slack),
    ("shopify", Preset::Shopify),
];

/// Where the refused caller calls from: loopback as well, but on no allowlist.
pub(super) const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// How long the first deliveries to the app that is down may take, and how long all events may
/// take to arrive once it is up. Both end as soon as it has happened.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How long is watched, when all is there, whether more comes than should.
const WATCH: Duration = Duration::from_millis(500);

/// A way to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// As the provider does.
    Valid,
    /// The same request once more.
    Repeat,
    /// By somebody without the key.
    Forged,
    /// As the provider does, but from an address that is not on the allowlist.
    Elsewhere,
}

impl Case {
    /// In the order in which they are called.
    pub(super) const ALL: [Self; 4] = [Self::Valid, Self::Repeat, Self::Forged, Self::Elsewhere];

    /// The status that the gateway should answer.
    pub(super) fn expected(self) -> u16 {
        match self {
            Self::Valid | Self::Repeat => 200,
            Self::Forged => 401,
            Self::Elsewhere => 403,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Repeat => "repeated",
            Self::Forged => "forged",
            Self::Elsewhere => "from another address",
        }
    }
}

/// One sample event and all that was tried with it.
#[derive(Debug)]
pub(super) struct Row {
    /// The source's name.
    pub(super) provider: &'static str,
    /// What was sent.
    pub(super) sample: &'static Sample,
    /// What was answered, in the order of [`Case::ALL`].
    pub(super) answers: [Result<Answer, CallError>; 4],
    /// How often the app took it.
    pub(super) taken: usize,
    /// The attempt that the app took.
    arrival: Option<Arrival>,
}

/// All that happened.
#[derive(Debug)]
pub(super) struct Story {
    /// A row for each sample event.
    pub(super) rows: Vec<Row>,
    /// Deliveries that the app refused while it was down.
    pub(super) refused: usize,
    /// Whether each provider's events were tried while the app was down.
    tried_while_down: bool,
    /// Deliveries to the app of what no provider sent, or with a wrong signature.
    strangers: usize,
}

impl Story {
    /// Lets the providers call the gateway while the app is down, brings the app up, and waits
    /// until it has everything, at most for `patience`.
    pub(super) async fn play(
        sources: &[Arc<Source>],
        gateway: SocketAddr,
        clinic: &Clinic,
        patience: Duration,
    ) -> Result<Self, DemoError> {
        let mut rows = Vec::new();
        let callers =
            Callers { provider: Caller::plain(None)?, elsewhere: Caller::plain(Some(ELSEWHERE))? };
        for (provider, preset) in PROVIDERS {
            let named = |source: &&Arc<Source>| source.name.as_str() == provider;
            let source = sources.iter().find(named).ok_or(DemoError::Incomplete(provider))?;
            for (n, sample) in sample::all(preset).filter(|s| !s.handshake).enumerate() {
                let mut event = sample.verbatim();
                if preset == Preset::GitHub {
                    // Its samples share the documentation's one example of an id.
                    event.id = format!("demo-{n}");
                }
                let answers = callers.call(source, gateway, &event).await?;
                rows.push(Row { provider, sample, answers, taken: 0, arrival: None });
            }
        }
        let tried_while_down = clinic.wait(patience, tried_for_all).await;
        let refused = clinic.arrivals().iter().filter(|a| !a.taken()).count();
        clinic.come_up();
        let ids: HashSet<String> = rows.iter().filter_map(Row::id).map(str::to_owned).collect();
        clinic.wait(patience, |arrivals| ids.iter().all(|id| taken(arrivals, id) > 0)).await;
        clinic.wait(WATCH, |arrivals| more_than_expected(arrivals, &ids)).await;
        Ok(Self::told(rows, &clinic.arrivals(), refused, tried_while_down))
    }

    fn told(
        mut rows: Vec<Row>,
        arrivals: &[Arrival],
        refused: usize,
        tried_while_down: bool,
    ) -> Self {
        let known: HashSet<String> = rows.iter().filter_map(Row::id).map(str::to_owned).collect();
        for row in &mut rows {
            let Some(id) = row.id().map(str::to_owned) else { continue };
            row.taken = taken(arrivals, &id);
            row.arrival = arrivals.iter().find(|a| a.taken() && a.id() == id).cloned();
        }
        let stranger = |a: &&Arrival| !a.authentic || !known.contains(a.id());
        let strangers = arrivals.iter().filter(stranger).count();
        Self { rows, refused, tried_while_down, strangers }
    }

    /// What one event looked like to the app: of those that came, one whose name had to be
    /// normalized and that is short.
    pub(super) fn showpiece(&self) -> Option<&Arrival> {
        let of = |name| {
            let row = self.rows.iter().find(move |r| r.sample.event_type == name);
            row.and_then(|r| r.arrival.as_ref())
        };
        of("Waiting Bin").or_else(|| self.rows.iter().find_map(|r| r.arrival.as_ref()))
    }

    /// How many requests were answered as they should be.
    pub(super) fn right_answers(&self) -> usize {
        let cells = self.rows.iter().flat_map(|r| Case::ALL.into_iter().zip(&r.answers));
        cells.filter(|(case, answer)| is_expected(*case, answer)).count()
    }

    /// How many events reached the app exactly once.
    pub(super) fn once(&self) -> usize {
        self.rows.iter().filter(|r| r.taken == 1).count()
    }

    /// Everything that was not as expected; empty when all was.
    pub(super) fn differences(&self) -> Vec<String> {
        let mut found: Vec<String> = self.rows.iter().flat_map(Row::differences).collect();
        if !self.tried_while_down {
            found.push("not every provider's events were tried while the app was down".to_owned());
        }
        if self.strangers > 0 {
            found.push(format!("{} deliveries that nobody sent or signed", self.strangers));
        }
        found
    }
}

impl Row {
    /// Hookward's id of the event, if it was accepted.
    fn id(&self) -> Option<&str> {
        let [valid, ..] = &self.answers;
        valid.as_ref().ok().and_then(|a| a.event_id.as_deref())
    }

    fn differences(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (case, answer) in Case::ALL.into_iter().zip(&self.answers) {
            if !is_expected(case, answer) {
                let got =
                    answer.as_ref().map_or_else(ToString::to_string, |a| a.status.to_string());
                let expected = case.expected();
                found.push(format!("{}: expected {expected}, got {got}", case.name()));
            }
        }
        let [valid, repeat, ..] = &self.answers;
        if let (Ok(valid), Ok(repeat)) = (valid, repeat)
            && valid.event_id != repeat.event_id
        {
            found.push("the repeat was taken for another event".to_owned());
        }
        if self.taken != 1 {
            found.push(format!("reached the app {} times", self.taken));
        }
        let kind = format!("{}.{}", self.provider, normalize_type(Some(self.sample.event_type)));
        if let Some(arrival) = &self.arrival
            && arrival.attribute("type") != kind
        {
            found.push(format!("reached the app as {:?}, not {kind}", arrival.attribute("type")));
        }
        let name = |what| format!("{} {}, {what}", self.provider, self.sample.event_type);
        found.into_iter().map(name).collect()
    }
}

/// Whether the gateway answered as it should.
pub(super) fn is_expected(case: Case, answer: &Result<Answer, CallError>) -> bool {
    answer.as_ref().is_ok_and(|answer| answer.status.as_u16() == case.expected())
}

/// The provider's servers, and somebody else's.
struct Callers {
    provider: Caller,
    elsewhere: Caller,
}

impl Callers {
    /// Calls in every way there is.
    async fn call(
        &self,
        source: &Source,
        gateway: SocketAddr,
        event: &Outgoing,
    ) -> Result<[Result<Answer, CallError>; 4], DemoError> {
        let url = Uri::builder().scheme("http").authority(gateway.to_string());
        let url = url.path_and_query(source.path.as_str()).build().map_err(CallError::from)?;
        let now = Clock::System.now();
        Ok([
            self.one(source, &url, now, event, Case::Valid).await?,
            self.one(source, &url, now, event, Case::Repeat).await?,
            self.one(source, &url, now, event, Case::Forged).await?,
            self.one(source, &url, now, event, Case::Elsewhere).await?,
        ])
    }

    async fn one(
        &self,
        source: &Source,
        url: &Uri,
        now: UnixMillis,
        event: &Outgoing,
        case: Case,
    ) -> Result<Result<Answer, CallError>, DemoError> {
        let key = source.keys.first().ok_or(DemoError::Incomplete("key"))?;
        let (headers, body) = match case {
            Case::Forged => sign::forge(source, key, now, event)?,
            Case::Valid | Case::Repeat | Case::Elsewhere => {
                (sign::sign(source, key, now, event)?, event.body.clone())
            }
        };
        let caller = if case == Case::Elsewhere { &self.elsewhere } else { &self.provider };
        Ok(caller.post(url, headers, body).await)
    }
}

fn tried_for_all(arrivals: &[Arrival]) -> bool {
    let tried = |source: &str| arrivals.iter().any(|a| a.header("hookward-source") == source);
    PROVIDERS.iter().all(|(name, _)| tried(name))
}

fn taken(arrivals: &[Arrival], id: &str) -> usize {
    arrivals.iter().filter(|a| a.taken() && a.id() == id).count()
}

/// Whether there is an event in the app that nobody sent, or one twice.
fn more_than_expected(arrivals: &[Arrival], expected: &HashSet<String>) -> bool {
    let taken: Vec<&str> = arrivals.iter().filter(|a| a.taken()).map(Arrival::id).collect();
    taken.len() > expected.len() || taken.iter().any(|id| !expected.contains(*id))
}

#[cfg(test)]
pub(super) mod tests;
