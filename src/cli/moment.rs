//! Points in time on the command line: a time, a day, or how long ago.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::clock::UnixMillis;
use crate::config::units::parse_duration;

/// What is accepted.
const FORMS: &str = "a time such as 2025-01-15T10:30:00Z, a day such as 2025-01-15 (UTC), or how long ago, such as 24h (ms, s, m, h, d)";

/// A point in time, as it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    At(UnixMillis),
    Ago(Duration),
}

impl When {
    pub(super) fn resolve(self, now: UnixMillis) -> UnixMillis {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.before(ago),
        }
    }
}

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ago) = parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        let whole = text.contains(['T', 't', ' ']) && !text.contains('[');
        let time = || Timestamp::from_str(text).ok().filter(|_| whole);
        let day = || Date::from_str(text).ok()?.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp());
        // A time has a day in it, too, and must not be taken for its beginning.
        let time = if text.len() == 10 { day() } else { time() };
        let millis = time.map(|time| u64::try_from(time.as_millisecond()).unwrap_or(0));
        millis.map(|millis| Self::At(UnixMillis(millis))).ok_or(FORMS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_days_and_ages_are_points_in_time() {
        const NOW: UnixMillis = UnixMillis(1_736_937_000_000);
        for (text, expected) in [
            ("2025-01-15T10:30:00Z", "2025-01-15T10:30:00.000Z"),
            ("2025-01-15T10:30:00.412+02:00", "2025-01-15T08:30:00.412Z"),
            ("2025-01-15", "2025-01-15T00:00:00.000Z"),
            ("24h", "2025-01-14T10:30:00.000Z"),
            ("90s", "2025-01-15T10:28:30.000Z"),
            ("1960-01-01", "1970-01-01T00:00:00.000Z"),
        ] {
            let found = text.parse::<When>().map(|when| when.resolve(NOW).to_string());
            assert_eq!(found.as_deref(), Ok(expected), "{text}");
        }
        for wrong in ["", "today", "10:30", "2025-01-15T10:30", "2025-13-01", "24", "1y", "-1h"] {
            assert_eq!(wrong.parse::<When>(), Err(FORMS), "{wrong}");
        }
    }
}
