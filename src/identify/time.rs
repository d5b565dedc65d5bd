//! When an event happened, by its provider: read in the forms that providers use, and judged by
//! `max_event_age` and `require_event_time`.

use std::time::Duration;

use jiff::Timestamp;

use super::select::Found;
use crate::admit::Refusal;
use crate::audit::Reason::EventTooOld;
use crate::clock::UnixMillis;
use crate::config::Source;
use crate::json::Kind;

/// Unix times below this are seconds (until the year 5138), from it on milliseconds (since March
/// 1973).
const FIRST_MILLIS: u64 = 100_000_000_000;

/// Unix times from this on (the year 5138 in milliseconds) are in neither unit: microseconds and
/// nanoseconds are not guessed at.
const TOO_LARGE: u64 = FIRST_MILLIS * 1000;

/// How far ahead of its reception an event's time may lie where its age matters. Providers' clocks
/// run ahead by seconds, and by up to 14 hours where local time is passed off as UTC. Further
/// ahead, an event could be replayed once its key is forgotten: that is closed for a retention of
/// at least `max_event_age` and this together.
const MAX_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// The event has no time, and its source requires one.
pub(crate) const NO_TIME: Refusal =
    Refusal::new(EventTooOld, "no readable event time, and one is required");
const TOO_OLD: Refusal = Refusal::new(EventTooOld, "the event is older than max_event_age");
const AHEAD: Refusal = Refusal::new(EventTooOld, "the event's time lies more than a day ahead");

/// Reads RFC 3339 (with an offset; a date alone or a local time is not enough), or Unix seconds or
/// milliseconds with or without a fraction, as a number or as a string.
pub(super) fn read(found: Found<'_>) -> Option<Timestamp> {
    match found {
        Found::Json(value) if value.kind() == Kind::Number => unix(value.raw()),
        Found::Json(value) => text(&value.as_str()?),
        Found::Header(header) => text(header),
    }
}

fn text(text: &str) -> Option<Timestamp> {
    unix(text).or_else(|| text.parse().ok())
}

/// Digits, maybe with a fraction; what is finer than a nanosecond is cut off.
fn unix(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = whole.parse().ok().filter(|whole| *whole < TOO_LARGE)?;
    let billionths = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let billionths = billionths.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let (seconds, nanos) = if whole < FIRST_MILLIS {
        (whole, billionths)
    } else {
        (whole / 1000, (whole % 1000) as i64 * 1_000_000 + billionths / 1000)
    };
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
}

/// Refuses an event that may be a replay by the source's own rules. Without `max_event_age`, no
/// time is refused; without a time, nothing is but by `require_event_time`.
pub(super) fn check_age(
    source: &Source,
    time: Option<Timestamp>,
    received_at: UnixMillis,
) -> Result<(), Refusal> {
    let Some(time) = time else {
        return if source.require_event_time { Err(NO_TIME) } else { Ok(()) };
    };
    let Some(max_age) = source.max_event_age else { return Ok(()) };
    let at = UnixMillis(u64::try_from(time.as_millisecond()).unwrap_or_default());
    if at < received_at.before(max_age) {
        return Err(TOO_OLD);
    }
    if at > received_at.after(MAX_AHEAD) { Err(AHEAD) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Document;

    fn of_json(json: &str) -> Option<String> {
        let document = Document::parse(json.as_bytes()).unwrap();
        read(Found::Json(document.root())).map(|t| t.to_string())
    }

    #[test]
    fn reads_the_forms_that_providers_use() {
        for (json, time) in [
            (r#""2025-01-15T10:30:00Z""#, "2025-01-15T10:30:00Z"),
            (r#""2025-01-15T10:30:00.000Z""#, "2025-01-15T10:30:00Z"),
            (r#""2025-01-15T10:30:00.412Z""#, "2025-01-15T10:30:00.412Z"),
            (r#""2022-11-03T20:26:10.344522Z""#, "2022-11-03T20:26:10.344522Z"),
            (r#""2025-01-15T10:30:00+02:00""#, "2025-01-15T08:30:00Z"),
            (r#""2025-01-15T10:30:00-05:30""#, "2025-01-15T16:00:00Z"),
            (r#""2025-01-15t10:30:00z""#, "2025-01-15T10:30:00Z"),
            (r#""2025-01-15 10:30:00Z""#, "2025-01-15T10:30:00Z"),
            (r#""2016-12-31T23:59:60Z""#, "2016-12-31T23:59:59Z"),
            ("1736937000", "2025-01-15T10:30:00Z"),
            ("1736937000.412", "2025-01-15T10:30:00.412Z"),
            ("1736937000.1234567891", "2025-01-15T10:30:00.123456789Z"),
            ("1736937000412", "2025-01-15T10:30:00.412Z"),
            ("1736937000412.5", "2025-01-15T10:30:00.4125Z"),
            (r#""1736937000""#, "2025-01-15T10:30:00Z"),
            (r#""1736937000412""#, "2025-01-15T10:30:00.412Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("99999999999", "5138-11-16T09:46:39Z"),
            ("100000000000", "1973-03-03T09:46:40Z"),
            ("99999999999999", "5138-11-16T09:46:39.999Z"),
        ] {
            assert_eq!(of_json(json).as_deref(), Some(time), "{json}");
        }
    }

    #[test]
    fn anything_else_is_no_time() {
        for json in [
            "null",
            "true",
            "{}",
            "[1736937000]",
            "-1",
            "-0",
            "1e9",
            "1.736937e9",
            "100000000000000",
            "1736937000412000",
            "99999999999999999999999",
            r#""""#,
            r#"".""#,
            r#""1736937000.""#,
            r#"".5""#,
            r#""+1736937000""#,
            r#"" 1736937000""#,
            r#""2025-01-15""#,
            r#""2025-01-15T10:30:00""#,
            r#""2025-02-30T10:30:00Z""#,
            r#""2025-01-15T25:30:00Z""#,
            r#""Wed, 15 Jan 2025 10:30:00 GMT""#,
            r#""yesterday""#,
        ] {
            assert_eq!(of_json(json), None, "{json}");
        }
    }

    #[test]
    fn age_is_judged_only_where_the_source_asks() {
        let now = UnixMillis(1_736_937_000_412);
        let day = Duration::from_secs(86_400);
        let judge = |max_event_age, require_event_time, time: Option<UnixMillis>| {
            let open = crate::fuzzing::open_source();
            let source = Source { max_event_age, require_event_time, ..open };
            let time = time.map(|t| Timestamp::from_millisecond(t.0 as i64).unwrap());
            check_age(&source, time, now)
        };
        let millisecond = Duration::from_millis(1);
        let oldest = now.before(day);
        for (age, required, time, answer) in [
            (None, false, None, Ok(())),
            (None, false, Some(UnixMillis(0)), Ok(())),
            (None, false, Some(now.after(day * 1000)), Ok(())),
            (None, true, None, Err(NO_TIME)),
            (None, true, Some(UnixMillis(0)), Ok(())),
            (Some(day), false, None, Ok(())),
            (Some(day), true, None, Err(NO_TIME)),
            (Some(day), false, Some(now), Ok(())),
            (Some(day), false, Some(oldest), Ok(())),
            (Some(day), false, Some(oldest.before(millisecond)), Err(TOO_OLD)),
            (Some(day), false, Some(UnixMillis(0)), Err(TOO_OLD)),
            (Some(day), false, Some(now.after(day)), Ok(())),
            (Some(day), false, Some(now.after(day + millisecond)), Err(AHEAD)),
        ] {
            assert_eq!(judge(age, required, time), answer, "{age:?} {required} {time:?}");
        }
        let ancient = Some("-009999-01-02T01:59:59Z".parse().unwrap());
        let source = Source { max_event_age: Some(day), ..crate::fuzzing::open_source() };
        assert_eq!(check_age(&source, ancient, now), Err(TOO_OLD));
    }
}
