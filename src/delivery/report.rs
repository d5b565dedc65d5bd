//! The log line of an attempt. Holds no payload, no secret and nothing of the URL.

use std::error::Error;
use std::fmt;

use crate::event::{UpstreamName, normalize_type};
use crate::store::{Attempt, AttemptResult, StoredEvent, Verdict};

/// Logs one attempt: at `warn` when it was the last and the event is dead, else at `info`. When
/// that level is off, nothing of the line is worked out.
pub(super) fn report(
    upstream: &UpstreamName,
    event: &StoredEvent,
    number: u32,
    attempt: &Attempt,
    error: Option<&(dyn Error + 'static)>,
) {
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                target: "hookward::delivery",
                $level,
                event = %event.id,
                upstream = upstream.as_str(),
                source = event.source.as_str(),
                r#type = normalize_type(event.meta.provider_type.as_deref()),
                attempt = number,
                status = attempt.result.status(),
                error = class(attempt.result),
                detail = error.map(|error| tracing::field::display(Causes(error))),
                duration_ms = u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
                verdict = verdict(attempt.verdict),
                next_at = next_at(attempt.verdict),
                "delivery attempt"
            )
        };
    }
    match attempt.verdict {
        Verdict::Dead => line!(tracing::Level::WARN),
        Verdict::Delivered | Verdict::RetryAt(_) => line!(tracing::Level::INFO),
    }
}

fn class(result: AttemptResult) -> Option<&'static str> {
    match result {
        AttemptResult::Answered(_) => None,
        AttemptResult::ConnectFailed => Some("connect_failed"),
        AttemptResult::TimedOut => Some("timed_out"),
        AttemptResult::Broken => Some("broken"),
        AttemptResult::Panicked => Some("panicked"),
        AttemptResult::Unreadable => Some("unreadable"),
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Delivered => "delivered",
        Verdict::RetryAt(_) => "retry",
        Verdict::Dead => "dead",
    }
}

fn next_at(verdict: Verdict) -> Option<String> {
    match verdict {
        Verdict::RetryAt(at) => Some(at.to_string()),
        Verdict::Delivered | Verdict::Dead => None,
    }
}

/// An error with its causes. Those of the client name system errors and certificates, never
/// what was sent.
pub(crate) struct Causes<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use parking_lot::Mutex;

    use super::*;
    use crate::clock::UnixMillis;
    use crate::event::{BodyHash, EventId, EventMeta, Sequence, SourceName};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn event() -> StoredEvent {
        let body = Bytes::from_static(br#"{"patient":"a name"}"#);
        StoredEvent {
            sequence: Sequence(1),
            id: EventId::new(UnixMillis(0), [1; 10]),
            received_at: UnixMillis(0),
            source: SourceName::new("lab").unwrap(),
            body_hash: BodyHash::of(&body),
            conflict: false,
            meta: EventMeta {
                provider_type: Some("Order:Done".into()),
                subject: Some("a name".into()),
                ..EventMeta::default()
            },
            body,
        }
    }

    /// What is printed at `level` and above for an attempt with this outcome.
    fn lines(
        level: tracing::Level,
        result: AttemptResult,
        verdict: Verdict,
    ) -> Vec<serde_json::Value> {
        let out = Lines::default();
        let writer = out.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(level)
            .with_writer(move || writer.clone())
            .finish();
        let error = io::Error::other(fmt::Error);
        let failed = !matches!(result, AttemptResult::Answered(_));
        let attempt = Attempt {
            started_at: UnixMillis(0),
            duration: Duration::from_micros(12_900),
            result,
            verdict,
        };
        tracing::subscriber::with_default(subscriber, || {
            let upstream = UpstreamName::new("app").unwrap();
            report(&upstream, &event(), 2, &attempt, failed.then_some(&error));
        });
        let text = String::from_utf8(out.0.lock().clone()).unwrap();
        assert!(!text.contains("a name"), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_attempt_is_one_line_without_the_payload() {
        let at = UnixMillis(1_736_937_000_412);
        for (result, verdict, level, expected) in [
            (
                AttemptResult::Answered(200),
                Verdict::Delivered,
                "INFO",
                serde_json::json!({"status": 200, "verdict": "delivered"}),
            ),
            (
                AttemptResult::ConnectFailed,
                Verdict::RetryAt(at),
                "INFO",
                serde_json::json!({
                    "error": "connect_failed",
                    "detail": fmt::Error.to_string(),
                    "verdict": "retry",
                    "next_at": "2025-01-15T10:30:00.412Z",
                }),
            ),
            (
                AttemptResult::Answered(410),
                Verdict::Dead,
                "WARN",
                serde_json::json!({"status": 410, "verdict": "dead"}),
            ),
        ] {
            let mut all = serde_json::json!({
                "message": "delivery attempt",
                "event": event().id.to_string(),
                "upstream": "app",
                "source": "lab",
                "type": "order.done",
                "attempt": 2,
                "duration_ms": 12,
            });
            all.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
            let got = lines(tracing::Level::INFO, result, verdict);
            let [line] = &got[..] else { panic!("{got:?}") };
            assert_eq!(line["fields"], all);
            assert_eq!(
                (&line["level"], &line["target"]),
                (&level.into(), &"hookward::delivery".into())
            );
        }
    }

    #[test]
    fn the_last_attempt_of_a_dead_event_is_told_at_warn() {
        let timed_out = AttemptResult::TimedOut;
        assert_eq!(lines(tracing::Level::WARN, timed_out, Verdict::Dead).len(), 1);
        assert!(lines(tracing::Level::WARN, timed_out, Verdict::RetryAt(UnixMillis(1))).is_empty());
    }
}
