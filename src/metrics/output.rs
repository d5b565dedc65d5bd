//! What is counted of the audit trail's outputs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::exposition::{Exposition, Kind};
use super::{Counter, Metrics, handle};

/// What is counted of one output of the audit trail.
#[derive(Debug)]
pub struct OutputMetrics {
    /// Records that were sent, repeats included.
    pub sent: Counter,
    /// Records that were gone, or not readable, before they were sent.
    pub missing: Counter,
    /// The number of the trail's last record on stable storage.
    end: Arc<AtomicU64>,
    /// The number of the last record that was sent.
    reached: AtomicU64,
    connected: AtomicBool,
    running: AtomicBool,
}

/// What is counted of checkpoints that are sent elsewhere.
#[derive(Debug, Default)]
pub struct CheckpointMetrics {
    /// Those that were taken.
    pub taken: Counter,
    /// Attempts that failed.
    pub failed: Counter,
}

impl OutputMetrics {
    fn new(end: Arc<AtomicU64>) -> Self {
        Self {
            sent: Counter::default(),
            missing: Counter::default(),
            end,
            reached: AtomicU64::new(0),
            connected: AtomicBool::new(false),
            running: AtomicBool::new(false),
        }
    }

    /// All up to the record with this number was sent.
    pub fn reached(&self, sequence: u64) {
        self.reached.store(sequence, Ordering::Relaxed);
        self.running.store(true, Ordering::Relaxed);
    }

    /// Whether records can be sent now.
    pub fn connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// It is configured no more: nothing waits for it.
    pub fn ended(&self) {
        self.running.store(false, Ordering::Relaxed);
        self.connected(false);
    }

    fn lag(&self) -> Option<u64> {
        let (end, reached) =
            (self.end.load(Ordering::Relaxed), self.reached.load(Ordering::Relaxed));
        self.running.load(Ordering::Relaxed).then(|| end.saturating_sub(reached))
    }
}

impl Metrics {
    /// The handle of the output with this name; `end` is how far the trail goes.
    pub fn output(&self, name: &str, end: &Arc<AtomicU64>) -> Arc<OutputMetrics> {
        handle(&mut self.outputs.lock(), name, || OutputMetrics::new(Arc::clone(end)))
    }

    /// The handle of the checkpoints that are sent elsewhere. From then on they are told of.
    pub fn checkpoints(&self) -> Arc<CheckpointMetrics> {
        Arc::clone(self.checkpoints.lock().get_or_insert_default())
    }

    /// Families that nothing is in yet are announced all the same.
    pub(super) fn write_outputs(&self, text: &mut Exposition) {
        let outputs = self.outputs.lock().clone();
        let help = "Numbers of the audit trail that were not sent yet.";
        let mut family = text.family("hookward_audit_output_lag_records", Kind::Gauge, help);
        for (name, output) in &outputs {
            if let Some(lag) = output.lag() {
                family.sample(&[("output", name)], lag);
            }
        }
        let help = "Whether the output can be sent to: 1, or 0.";
        let mut family = text.family("hookward_audit_output_connected", Kind::Gauge, help);
        for (name, output) in &outputs {
            let connected = u8::from(output.connected.load(Ordering::Relaxed));
            family.sample(&[("output", name)], connected);
        }
        let help = "Records of the audit trail that were sent, repeats included.";
        let mut family = text.family("hookward_audit_output_sent_total", Kind::Counter, help);
        for (name, output) in &outputs {
            family.sample(&[("output", name)], output.sent.get());
        }
        let help = "Numbers of the audit trail that were gone before they were sent.";
        let mut family = text.family("hookward_audit_output_missing_total", Kind::Counter, help);
        for (name, output) in &outputs {
            family.sample(&[("output", name)], output.missing.get());
        }
        let help = "Attempts to send a checkpoint of the audit trail elsewhere.";
        let name = "hookward_audit_checkpoint_posts_total";
        let mut family = text.family(name, Kind::Counter, help);
        if let Some(posts) = self.checkpoints.lock().clone() {
            family.sample(&[("result", "ok")], posts.taken.get());
            family.sample(&[("result", "failed")], posts.failed.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_lags_by_what_it_has_not_sent_and_one_that_is_gone_does_not() {
        let (metrics, end) = (Metrics::new(), Arc::new(AtomicU64::new(7)));
        let shown = |series: &str| {
            let mut text = Exposition::default();
            metrics.write_outputs(&mut text);
            text.finish().lines().find_map(|line| line.strip_prefix(series).map(str::to_owned))
        };
        assert_eq!(shown("hookward_audit_output"), None);
        let output = metrics.output("siem", &end);
        output.reached(5);
        output.sent.plus(3);
        let lag = "hookward_audit_output_lag_records{output=\"siem\"} ";
        assert_eq!(shown(lag), Some("2".to_owned()));
        end.store(9, Ordering::Relaxed);
        assert_eq!(shown(lag), Some("4".to_owned()));
        let sent = "hookward_audit_output_sent_total{output=\"siem\"} ";
        assert_eq!(shown(sent), Some("3".to_owned()));
        output.ended();
        assert_eq!(shown(lag), None);
    }
}
