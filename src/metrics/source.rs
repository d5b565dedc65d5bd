//! What is counted of one source's requests.

use std::time::Duration;

use super::ACK;
use super::cells::{Counter, Histogram};
use crate::audit::Reason;

/// Which status a refusal for this reason is answered with, as a rule.
pub type Statuses = fn(Reason) -> u16;

/// Statuses that malformed HTTP is answered with where the rule's does not say enough: each has a
/// count of its own.
const ODD: [u16; 9] = [408, 411, 413, 414, 417, 421, 431, 501, 505];

/// What is counted of one source's requests; or of those that are no source's.
#[derive(Debug)]
pub struct SourceMetrics {
    statuses: Statuses,
    routed: bool,
    ok: Counter,
    refused: [Counter; Reason::ALL.len()],
    odd: [Counter; ODD.len()],
    ack: Histogram,
    /// Events that were stored, those included that no upstream wants or that are kept back.
    pub accepted: Counter,
    /// Those of them that no upstream wants.
    pub filtered: Counter,
    /// Repeats of a stored event.
    pub duplicate: Counter,
    /// Events with the key of a stored one and other content, whatever became of them.
    pub conflict: Counter,
}

/// A series of `hookward_requests_total`, without its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Requests {
    pub(super) status: u16,
    /// Empty for a 200.
    pub(super) reason: &'static str,
    pub(super) count: u64,
}

impl SourceMetrics {
    pub(super) fn new(statuses: Statuses, routed: bool) -> Self {
        Self {
            statuses,
            routed,
            ok: Counter::default(),
            refused: std::array::from_fn(|_| Counter::default()),
            odd: std::array::from_fn(|_| Counter::default()),
            ack: Histogram::new(ACK),
            accepted: Counter::default(),
            filtered: Counter::default(),
            duplicate: Counter::default(),
            conflict: Counter::default(),
        }
    }

    /// A request was answered with 200, so long after the end of its headers.
    pub fn answered(&self, took: Duration) {
        self.ok.add();
        self.ack.observe(took);
    }

    /// A request was refused for this reason, and answered with `status`.
    pub fn refused(&self, reason: Reason, status: u16) {
        if reason == Reason::ProtocolError
            && let Some(at) = ODD.iter().position(|odd| *odd == status)
            && let Some(odd) = self.odd.get(at)
        {
            odd.add();
        } else if let Some(counter) = self.refused.get(reason as usize) {
            counter.add();
        }
    }

    /// Requests that were answered with 200.
    pub fn ok(&self) -> u64 {
        self.ok.get()
    }

    /// Requests that were refused for this reason, with the status that it has as a rule.
    pub fn refused_for(&self, reason: Reason) -> u64 {
        self.refused.get(reason as usize).map_or(0, Counter::get)
    }

    pub(super) fn ack(&self) -> Option<&Histogram> {
        self.routed.then_some(&self.ack)
    }

    pub(super) fn is_routed(&self) -> bool {
        self.routed
    }

    /// What is shown: every series that this source can have from the start, so that the first
    /// refusal is an increase from 0 rather than a series that was not there; others once they
    /// have counted something.
    pub(super) fn requests(&self) -> impl Iterator<Item = Requests> {
        let ok = Requests { status: 200, reason: "", count: self.ok.get() };
        let refused = Reason::ALL.into_iter().zip(&self.refused).map(|(reason, counter)| {
            let (status, count) = ((self.statuses)(reason), counter.get());
            (self.is_usual(reason), Requests { status, reason: reason.as_str(), count })
        });
        let odd = ODD.into_iter().zip(&self.odd).map(|(status, counter)| {
            let (reason, count) = (Reason::ProtocolError.as_str(), counter.get());
            (false, Requests { status, reason, count })
        });
        let all = std::iter::once((self.routed, ok)).chain(refused).chain(odd);
        all.filter(|(usual, series)| *usual || series.count > 0).map(|(_, series)| series)
    }

    fn is_usual(&self, reason: Reason) -> bool {
        if self.routed {
            !matches!(reason, Reason::UnknownRoute | Reason::Conflict | Reason::NotPermitted)
        } else {
            matches!(reason, Reason::UnknownRoute | Reason::ProtocolError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &SourceMetrics) -> Vec<(u16, &'static str, u64)> {
        source.requests().map(|r| (r.status, r.reason, r.count)).collect()
    }

    #[test]
    fn every_reason_is_counted_as_itself() {
        for (nth, reason) in Reason::ALL.into_iter().enumerate() {
            let source = SourceMetrics::new(|_| 400, true);
            assert_eq!(reason as usize, nth, "{reason:?}");
            source.refused(reason, 400);
            assert_eq!(source.refused_for(reason), 1);
            let counted = shown(&source).into_iter().filter(|(_, _, count)| *count > 0);
            assert_eq!(counted.collect::<Vec<_>>(), [(400, reason.as_str(), 1)]);
        }
    }

    #[test]
    fn series_that_a_source_can_have_are_there_before_they_count() {
        let source = SourceMetrics::new(|_| 400, true);
        assert_eq!(shown(&source).len(), 1 + Reason::ALL.len() - 3);
        assert!(shown(&source).contains(&(200, "", 0)));
        let unrouted = SourceMetrics::new(|_| 404, false);
        assert_eq!(shown(&unrouted), [(404, "unknown_route", 0), (404, "protocol_error", 0)]);
    }

    #[test]
    fn another_status_for_malformed_http_is_a_series_of_its_own() {
        let unrouted = SourceMetrics::new(|_| 400, false);
        unrouted.refused(Reason::ProtocolError, 400);
        unrouted.refused(Reason::ProtocolError, 431);
        unrouted.refused(Reason::ProtocolError, 431);
        assert_eq!(
            shown(&unrouted),
            [(400, "unknown_route", 0), (400, "protocol_error", 1), (431, "protocol_error", 2)]
        );
    }
}
