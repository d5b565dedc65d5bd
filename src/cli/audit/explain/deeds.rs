//! Acts in words: what operators and the gateway itself have done.

use serde_json::Value;

use super::super::super::listing::text;
use super::Explanation;
use super::case::Case;

/// What a record that is no refusal means.
pub(super) fn of(case: &Case<'_>) -> Explanation {
    let who = case.record.who.as_deref().unwrap_or("somebody");
    let details = case.record.details.as_ref().unwrap_or(&Value::Null);
    let event = text(&details["event"]);
    let explanation = match case.record.reason.as_str() {
        "payload_viewed" => Explanation::new(format!("{who} has looked at the body of event {event}, and at what upstreams answered. Bodies may hold a patient's data; each look is recorded before it is answered."))
            .check("whether that person had a reason to see it"),
        "replayed" if details["matched"].is_u64() => Explanation::new(format!("{who} has begun to send {} again. Each that was sent has a record of its own.", dead_letters(&details["matched"])))
            .check("that the app drops repeats by webhook-id"),
        "replayed" => Explanation::new(format!("{who} has sent event {event} again.")).check("`hookward events show` with the event's id: what has become of it"),
        "released" => Explanation::new(format!("{who} has let go of event {event}, which was kept back in quarantine: it is delivered like any other."))
            .check("`hookward events show` with the event's id: what it was kept back for"),
        "discarded" => Explanation::new(format!("{who} has discarded event {event}: it is not delivered any more. It stays in the store until retention ends."))
            .check("whether the app has what the event says in another way"),
        "exported" => exported(who, details),
        "rekeyed" => Explanation::new(format!("{who} has put what is stored under another key; its id is in the details, never the key."))
            .check("that the new key is kept where the old one was, and the old one only as long as backups need it"),
        "config_reloaded" => Explanation::new("The gateway has taken another configuration over, without a restart.")
            .check("whether somebody meant to change these keys; their values are not recorded"),
        "started" => Explanation::new("The gateway was started.").check("when in doubt why: the service manager's log, and `hookward gaps` for what could not be received meanwhile"),
        "stopped" if details["safe"] == false => Explanation::new("The gateway was stopped, and could not write everything down before it ended.")
            .check("the log of that time, and `hookward store verify`"),
        "stopped" => Explanation::new("The gateway was stopped. All that it had accepted is on stable storage.")
            .check("when in doubt why: the service manager's log, and `hookward gaps` for what could not be received meanwhile"),
        "trail_shortened" if case.record.lost_evidence() => Explanation::new(format!("Segments of the trail were let go of because there was no more room by audit.max_size, although what stood in some was not what had been written: {}. Nobody can vouch for that any more.", details["damaged"]))
            .check("the log from before: it has told of the damage, and what the disk said")
            .check("if the disk is sound, who can write to the store, and whether a flood was to push the segments out")
            .check("audit.archive, where they are if it was set then"),
        "trail_shortened" => Explanation::new("The oldest segments of the trail were let go of, by audit.retention or audit.max_size. That is signed, so that the trail stays sound.")
            .check("that audit.archive is set, if they are to be kept"),
        "act_unreadable" => Explanation::new("A line of acts.jsonl is no record of an act: a crash has cut it off, or somebody has written there. What it stood for is not known.")
            .check("whether the machine lost power then; if not, who can write to the store"),
        "acts_replaced" => Explanation::new("acts.jsonl was not the file that it had been: shorter, gone, or another one. What it has was read from its beginning; what it had may be missing.")
            .check("whether somebody has edited, rotated or restored it: it is not to be touched while the store is in use"),
        "trail_missing" if details["segments"].is_array() => Explanation::new(format!("Segments of the trail were not there at this start, although it goes on behind them, and nothing says that they went by audit.retention or audit.max_size: {}.", numbers(&details["segments"])))
            .check("whether somebody has moved them away; if not, who can write to the store")
            .check("`hookward audit verify`, which names the records that went with them, and the receivers of the trail's outputs, which may have these"),
        "trail_missing" => Explanation::new("The trail, or a part of it, or its key was not there where it should have been, and was begun anew.")
            .check("whether the store was restored from a copy without it; if not, who has removed it, and what checkpoints that are kept elsewhere vouch for"),
        other => Explanation::new(format!("This version does not know {other}: the record is of a newer one.")).check("the documentation of the version that wrote it"),
    };
    let why = details["why"].as_str().map(|why| format!("as a reason was given: {why}"));
    let unrecorded = case.record.detail.as_deref().filter(|_| case.record.first.is_some());
    let sum = unrecorded.map(|detail| {
        format!("it stands for {} acts, of which no more is known: {detail}", case.record.count)
    });
    explanation.known(why).known(sum)
}

/// Numbers of segments, one or more to each text.
fn numbers(segments: &Value) -> String {
    let segments = segments.as_array().into_iter().flatten().filter_map(Value::as_str);
    segments.collect::<Vec<_>>().join(", ")
}

fn dead_letters(matched: &Value) -> String {
    if *matched == 1 { "1 dead letter".to_owned() } else { format!("{matched} dead letters") }
}

fn exported(who: &str, details: &Value) -> Explanation {
    let payload = if details["filter"]["payload"] == true { " with their bodies" } else { "" };
    let said = match details["phase"].as_str() {
        Some("begun") => {
            format!("{who} has begun to export events{payload} out of the store's files.")
        }
        _ => format!(
            "{who} has exported {} events{payload} out of the store's files.",
            text(&details["count"])
        ),
    };
    Explanation::new(said).check("where the export was written to, and who can read it there")
}

#[cfg(test)]
mod tests {
    use super::super::near::Near;
    use super::*;
    use crate::audit::ACTS;
    use crate::audit::chain::Record;

    #[test]
    fn one_dead_letter_is_one() {
        assert_eq!(dead_letters(&1.into()), "1 dead letter");
        assert_eq!(dead_letters(&2.into()), "2 dead letters");
    }

    #[test]
    fn every_act_is_explained() {
        for act in ACTS {
            let details = Some(serde_json::json!({ "event": "e", "why": "asked for" }));
            let record = Record { reason: act.to_owned(), details, ..Record::default() };
            let near = Near::default();
            let said = of(&Case { record: &record, near: &near, setup: None, store: None });
            assert!(!said.meaning.contains("does not know"), "{act}");
            assert!(
                !said.check.is_empty() && said.known == ["as a reason was given: asked for"],
                "{act}"
            );
        }
    }
}
