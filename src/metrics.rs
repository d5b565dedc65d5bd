//! What the gateway counts and measures, for Prometheus.

/// All metrics of one gateway.
#[derive(Debug, Default)]
pub struct Metrics(());

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new configuration has taken over, or was rejected.
    pub fn config_reloaded(&self, _taken: bool) {}
}
