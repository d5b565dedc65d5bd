//! Writing out what was counted. What the store knows is written beside it, by who can ask it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::exposition::{Exposition, Kind};
use super::{Counter, Metrics, SourceMetrics, UpstreamMetrics, process};
use crate::panics;

type Named<T> = (String, Arc<T>);
type Pick = fn(&SourceMetrics) -> &Counter;

impl Metrics {
    /// Writes everything that was counted, and the process's own metrics. Reads `/proc`.
    pub fn write(&self, text: &mut Exposition) {
        // Copies of the handles: nobody who wants a new one waits for the formatting.
        let sources = self.sources.lock().clone();
        let upstreams = self.upstreams.lock().clone();
        requests(&sources, text);
        events(&sources, text);
        deliveries(&upstreams, text);
        self.listener_and_store(text);
        self.write_outputs(text);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        text.family("hookward_build_info", Kind::Gauge, "Which version runs.").sample(&version, 1);
        text.single(
            "hookward_panics_total",
            Kind::Counter,
            "Panics of any thread, those that were caught included.",
            panics::count(),
        );
        process::write(text);
    }

    fn listener_and_store(&self, text: &mut Exposition) {
        text.single(
            "hookward_connections",
            Kind::Gauge,
            "Open connections of the public listener.",
            self.connections.get(),
        );
        let mut family = text.family(
            "hookward_config_reloads_total",
            Kind::Counter,
            "Reloads of the configuration.",
        );
        family.sample(&[("result", "ok")], self.reloads_ok.get());
        family.sample(&[("result", "rejected")], self.reloads_rejected.get());
        let expiry = self.certificate_expiry.load(Ordering::Relaxed);
        if expiry > 0 {
            text.single(
                "hookward_tls_certificate_expiry_timestamp_seconds",
                Kind::Gauge,
                "When the public listener's certificate ends, in Unix time.",
                expiry / 1000,
            );
        }
        let help = "How long a sync of the journal took.";
        text.family("hookward_journal_sync_duration_seconds", Kind::Histogram, help)
            .histogram(&[], &self.journal_sync);
    }
}

fn requests(sources: &[Named<SourceMetrics>], text: &mut Exposition) {
    let help = "Requests to the public listener, by their answer.";
    let mut family = text.family("hookward_requests_total", Kind::Counter, help);
    for (name, source) in sources {
        for series in source.requests() {
            let status = series.status.to_string();
            let labels = [("source", &**name), ("status", &*status), ("reason", series.reason)];
            family.sample(&labels, series.count);
        }
    }
    let help = "From the end of a request's headers to its 200.";
    let mut family = text.family("hookward_ack_duration_seconds", Kind::Histogram, help);
    for (name, source) in sources {
        if let Some(ack) = source.ack() {
            family.histogram(&[("source", &**name)], ack);
        }
    }
}

fn events(sources: &[Named<SourceMetrics>], text: &mut Exposition) {
    let families: [(&'static str, &'static str, Pick); 4] = [
        ("hookward_events_accepted_total", "Events that were stored.", |s| &s.accepted),
        ("hookward_events_filtered_total", "Stored events that no upstream wants.", |s| {
            &s.filtered
        }),
        ("hookward_events_duplicate_total", "Repeats of a stored event.", |s| &s.duplicate),
        (
            "hookward_events_conflict_total",
            "Events with the key of a stored one and other content.",
            |s| &s.conflict,
        ),
    ];
    for (name, help, pick) in families {
        let mut family = text.family(name, Kind::Counter, help);
        for (source, metrics) in sources.iter().filter(|(_, metrics)| metrics.is_routed()) {
            family.sample(&[("source", &**source)], pick(metrics).get());
        }
    }
}

fn deliveries(upstreams: &[Named<UpstreamMetrics>], text: &mut Exposition) {
    let help = "Attempts to deliver an event, by what followed from them.";
    let mut family = text.family("hookward_delivery_attempts_total", Kind::Counter, help);
    for (name, upstream) in upstreams {
        let UpstreamMetrics { delivered, retry, dead, duration: _ } = &**upstream;
        for (outcome, counter) in [("delivered", delivered), ("retry", retry), ("dead", dead)] {
            family.sample(&[("upstream", &**name), ("outcome", outcome)], counter.get());
        }
    }
    let help = "How long an attempt to deliver took.";
    let mut family = text.family("hookward_delivery_duration_seconds", Kind::Histogram, help);
    for (name, upstream) in upstreams {
        family.histogram(&[("upstream", &**name)], &upstream.duration);
    }
}
