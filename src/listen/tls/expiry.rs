//! The end of the certificate, told in time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Acceptor;
use crate::clock::{Clock, UnixMillis};
use crate::pem::Facts;

/// How long before its end a certificate is warned about: three weeks, in which those that renew
/// by themselves have failed for some days and an authority that works by hand can still answer.
pub const WARN_BEFORE: Duration = Duration::from_secs(21 * DAY);

const DAY: u64 = 86_400;

/// How a certificate stands in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It does not hold yet.
    NotYet,
    /// It holds, for longer than [`WARN_BEFORE`].
    Far,
    /// It holds for this many whole days more.
    Near {
        /// Whole days.
        days: u64,
    },
    /// It holds no more.
    Over,
}

impl Expiry {
    /// How a certificate stands at this time.
    pub fn of(facts: &Facts, now: UnixMillis) -> Self {
        if now < facts.not_before {
            Self::NotYet
        } else if now > facts.not_after {
            Self::Over
        } else if now.after(WARN_BEFORE) < facts.not_after {
            Self::Far
        } else {
            Self::Near { days: facts.not_after.since(now).as_secs() / DAY }
        }
    }
}

impl Acceptor {
    /// Looks at the end of the certificate in place, and warns when it is near, over, or the
    /// certificate does not hold yet. `None`: there is no certificate.
    pub fn check_expiry(&self, now: UnixMillis) -> Option<Expiry> {
        let facts = self.facts()?;
        let expiry = Expiry::of(&facts, now);
        let (serial, until) = (facts.serial.as_str(), facts.not_after);
        let names = shown(&facts.names);
        match expiry {
            Expiry::Far => {}
            Expiry::Near { days } => tracing::warn!(
                target: "hookward::tls",
                names, serial, not_after = %until, days, "the certificate will expire"
            ),
            Expiry::Over => tracing::error!(
                target: "hookward::tls",
                names, serial, not_after = %until, "the certificate has expired"
            ),
            Expiry::NotYet => tracing::error!(
                target: "hookward::tls",
                names, serial, not_before = %facts.not_before, "the certificate does not hold yet"
            ),
        }
        Some(expiry)
    }

    /// Tells which certificate is in place, if there is one.
    pub fn announce(&self, message: &'static str) {
        let Some(facts) = self.facts() else { return };
        tracing::info!(
            target: "hookward::tls",
            names = shown(&facts.names),
            serial = facts.serial,
            not_after = %facts.not_after,
            message
        );
    }
}

/// Looks at the certificate's end at once, then every day and whenever it is replaced, for ever.
/// There is one such watch for an acceptor.
pub async fn watch_expiry(acceptor: Arc<Acceptor>, clock: Clock) {
    loop {
        acceptor.check_expiry(clock.now());
        let replaced = acceptor.replaced.notified();
        drop(timeout(Duration::from_secs(DAY), replaced).await);
    }
}

/// The first few names, and how many more there are, for a log line.
pub(crate) fn shown(names: &[String]) -> String {
    const MOST: usize = 8;
    match names.split_at_checked(MOST) {
        Some((first, rest)) if !rest.is_empty() => {
            format!("{} and {} more", first.join(" "), rest.len())
        }
        Some(_) | None => names.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    fn ends(not_after: UnixMillis) -> Facts {
        Facts {
            names: vec!["gw.example".to_owned()],
            serial: "01".to_owned(),
            not_before: NOW.before(Duration::from_secs(DAY)),
            not_after,
            rsa_bits: None,
        }
    }

    #[test]
    fn a_certificate_is_warned_about_in_its_last_three_weeks() {
        let day = |n| Duration::from_secs(n * DAY);
        let second = Duration::from_secs(1);
        for (not_after, expiry) in [
            (NOW.after(day(90)), Expiry::Far),
            (NOW.after(WARN_BEFORE).after(second), Expiry::Far),
            (NOW.after(WARN_BEFORE), Expiry::Near { days: 21 }),
            (NOW.after(day(21)).before(second), Expiry::Near { days: 20 }),
            (NOW, Expiry::Near { days: 0 }),
            (NOW.before(second), Expiry::Over),
        ] {
            assert_eq!(Expiry::of(&ends(not_after), NOW), expiry, "{not_after}");
        }
        let early = NOW.before(day(2));
        assert_eq!(Expiry::of(&ends(NOW), early), Expiry::NotYet);
    }

    #[test]
    fn a_log_line_shows_a_few_names() {
        let names: Vec<_> = (0..20).map(|n| format!("n{n}")).collect();
        assert_eq!(shown(&names), "n0 n1 n2 n3 n4 n5 n6 n7 and 12 more");
        assert_eq!(shown(&names[..8]), "n0 n1 n2 n3 n4 n5 n6 n7");
        assert_eq!(shown(&names[..2]), "n0 n1");
    }
}
