//! Who is to be delivered to: a forwarder for each configured upstream, made before anything is
//! switched. All that can fail about a new configuration's upstreams fails here.

use std::sync::Arc;

use super::{Forwarder, StartError, client};
use crate::clock::Clock;
use crate::config::Upstream;

/// A forwarder for each upstream, in the configuration's order.
#[derive(Debug)]
pub struct Plan(pub(super) Vec<Arc<Forwarder>>);

impl Plan {
    /// Forwarders to `upstreams`; those of `running` that forward to the same upstream in the same
    /// way go on, with their connections. May read the platform's roots: blocks.
    ///
    /// # Errors
    /// [`StartError`] for the first upstream that cannot be delivered to.
    pub fn prepare(
        upstreams: &[Arc<Upstream>],
        running: &[Arc<Forwarder>],
        clock: &Clock,
    ) -> Result<Self, StartError> {
        let mut roots = client::PlatformRoots::default();
        let forwarder = |upstream: &Arc<Upstream>| {
            if let Some(same) = running.iter().find(|other| other.upstream() == upstream) {
                return Ok(Arc::clone(same));
            }
            let (upstream, seed) = (Arc::clone(upstream), fastrand::u64(..));
            Forwarder::with_roots(upstream, clock.clone(), seed, &mut roots).map(Arc::new)
        };
        upstreams.iter().map(forwarder).collect::<Result<_, _>>().map(Self)
    }
}
