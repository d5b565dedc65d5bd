//! Which source a path belongs to, and which upstreams its events go to. Made once at start.

use std::collections::HashMap;
use std::sync::Arc;

use super::answer;
use crate::admit::{Verifier, VerifierError};
use crate::config::{Config, Pattern, Source};
use crate::identify::Identified;
use crate::metrics::{Metrics, SourceMetrics};
use crate::store::Targets;

/// Every source by its path.
#[derive(Debug)]
pub(crate) struct Routes(HashMap<String, Endpoint>);

/// A source and where its events go.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) source: Arc<Source>,
    pub(super) verifier: Verifier,
    pub(super) metrics: Arc<SourceMetrics>,
    ways: Vec<Way>,
}

#[derive(Debug)]
struct Way {
    kind: Option<Pattern>,
    to: Targets,
}

impl Routes {
    pub(crate) fn new(config: &Config, metrics: &Metrics) -> Result<Self, VerifierError> {
        let endpoint = |source: &Arc<Source>| {
            let endpoint = Endpoint {
                source: Arc::clone(source),
                verifier: Verifier::new(Arc::clone(source))?,
                metrics: metrics.source(source.name.as_str(), answer::status),
                ways: ways(config, source),
            };
            Ok((source.path.clone(), endpoint))
        };
        config.sources.iter().map(endpoint).collect::<Result<_, _>>().map(Self)
    }

    /// The endpoint with exactly this path.
    pub(crate) fn find(&self, path: &str) -> Option<&Endpoint> {
        self.0.get(path)
    }
}

impl Endpoint {
    /// Where this event goes: nowhere when the source's `events` leave it out.
    pub(crate) fn targets(&self, event: &Identified) -> Targets {
        if event.wanted() { self.targets_of(event.normalized_type()) } else { Targets::NONE }
    }

    fn targets_of(&self, kind: &str) -> Targets {
        let fits = |way: &&Way| way.kind.as_ref().is_none_or(|pattern| pattern.matches(kind));
        let to = self.ways.iter().filter(fits).map(|way| way.to.0);
        Targets(to.fold(0, |all, some| all | some))
    }
}

fn ways(config: &Config, source: &Source) -> Vec<Way> {
    let targets =
        |upstreams: &mut dyn Iterator<Item = usize>| upstreams.fold(Targets::NONE, Targets::with);
    if config.routes.is_empty() {
        return vec![Way { kind: None, to: targets(&mut (0..config.upstreams.len())) }];
    }
    let taken = |name: &Option<_>| name.as_ref().is_none_or(|name| *name == source.name);
    config
        .routes
        .iter()
        .filter(|route| taken(&route.source))
        .map(|route| Way { kind: route.kind.clone(), to: targets(&mut route.to.iter().copied()) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;
    use crate::config::Route;
    use crate::event::SourceName;

    fn route(source: Option<&str>, kind: Option<&str>, to: &[usize]) -> Route {
        Route {
            source: source.map(|name| SourceName::new(name).unwrap()),
            kind: kind.map(|kind| Pattern(kind.to_owned())),
            to: to.to_vec(),
        }
    }

    fn targets(config: &Config, path: &str, kind: &str) -> Vec<usize> {
        let routes = Routes::new(config, &Metrics::new()).unwrap();
        routes.find(path).unwrap().targets_of(kind).iter().collect()
    }

    #[test]
    fn without_routes_every_event_goes_everywhere() {
        let config = config(&["a"], 3, vec![]);
        assert_eq!(targets(&config, "/hooks/a", "order.shipped"), [0, 1, 2]);
    }

    #[test]
    fn routes_add_up_and_what_none_takes_goes_nowhere() {
        let routes = vec![
            route(Some("a"), Some("order.*"), &[0]),
            route(None, Some("*.shipped"), &[2]),
            route(Some("b"), None, &[1]),
        ];
        let config = config(&["a", "b"], 3, routes);
        assert_eq!(targets(&config, "/hooks/a", "order.shipped"), [0, 2]);
        assert_eq!(targets(&config, "/hooks/a", "order.created"), [0]);
        assert_eq!(targets(&config, "/hooks/a", "refill.created"), [0; 0]);
        assert_eq!(targets(&config, "/hooks/b", "refill.created"), [1]);
        assert_eq!(targets(&config, "/hooks/b", "order.shipped"), [1, 2]);
    }

    #[test]
    fn paths_match_byte_for_byte() {
        let routes = Routes::new(&config(&["a"], 1, vec![]), &Metrics::new()).unwrap();
        assert!(routes.find("/hooks/a").is_some());
        for other in ["/hooks/A", "/hooks/a/", "/hooks/%61", "//hooks/a", "/hooks/b", "/", ""] {
            assert!(routes.find(other).is_none(), "{other}");
        }
    }
}
