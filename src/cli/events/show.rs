//! One event for people: what it is, where it stands, and what has happened to it.

use std::io::{self, Write};

use serde_json::Value;

use super::super::listing::text;
use super::super::table::{self, Table};

/// Prints an event with its history.
pub(super) fn print(event: &Value, out: &mut impl Write) -> io::Result<()> {
    for (label, member) in [
        ("event", "id"),
        ("source", "source"),
        ("type", "type"),
        ("provider's id", "provider_id"),
        ("provider's type", "provider_type"),
        ("subject", "subject"),
        ("state", "state"),
        ("received", "received_at"),
        ("bytes", "size"),
        ("sha256", "sha256"),
    ] {
        writeln!(out, "{label:<16} {}", table::neutral(&text(&event[member])))?;
    }
    let deliveries = rows(&event["deliveries"], delivery);
    if !deliveries.is_empty() {
        writeln!(out)?;
        let head = ["UPSTREAM", "STATE", "ATTEMPTS", "LAST STATUS", "NEXT (UTC)"];
        Table::new(&head).print(deliveries, out)?;
    }
    writeln!(out)?;
    Table::new(&["TIME (UTC)", "WHAT"]).print(rows(&event["timeline"], moment), out)?;
    if let Some(payload) = event["payload"].as_str() {
        writeln!(out, "\n{}", table::neutral_lines(payload))?;
    }
    Ok(())
}

fn rows(values: &Value, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    values.as_array().into_iter().flatten().map(row).collect()
}

fn delivery(delivery: &Value) -> Vec<String> {
    vec![
        text(&delivery["upstream"]),
        text(&delivery["state"]),
        text(&delivery["attempts"]),
        text(&delivery["last_status"]),
        table::time(&text(&delivery["next_at"])),
    ]
}

fn moment(moment: &Value) -> Vec<String> {
    let at = text(&moment["at"]).replace('T', " ").replace('Z', "");
    let what = text(&moment["what"]);
    let said = match &*what {
        "stored" => stored(moment),
        "attempt" => attempt(moment),
        "replayed" | "released" | "discarded" => act(&what, moment),
        _ => what,
    };
    vec![at, said]
}

fn stored(moment: &Value) -> String {
    let upstreams = moment["upstreams"].as_array().into_iter().flatten().map(text);
    let upstreams = upstreams.collect::<Vec<_>>().join(", ");
    match (moment["quarantined"] == true, &*upstreams) {
        (true, _) => "stored, and kept back (quarantined)".to_owned(),
        (false, "") => "stored; no upstream wants it".to_owned(),
        (false, upstreams) => format!("stored, for {upstreams}"),
    }
}

fn attempt(moment: &Value) -> String {
    let answer = match moment["status"].as_u64() {
        Some(status) => status.to_string(),
        None => text(&moment["result"]).replace('_', " "),
    };
    let follows = match moment["verdict"].as_str() {
        Some("retry") => format!("; again at {}", table::time(&text(&moment["next_at"]))),
        Some("dead") => "; given up".to_owned(),
        _ => String::new(),
    };
    let excerpt = moment["excerpt"].as_str().map(|said| format!(": {said}")).unwrap_or_default();
    let (number, upstream) = (text(&moment["number"]), text(&moment["upstream"]));
    let took = text(&moment["duration_ms"]);
    format!("attempt {number} to {upstream}: {answer} in {took} ms{follows}{excerpt}")
}

fn act(what: &str, moment: &Value) -> String {
    let to = moment["upstream"].as_str().map(|to| format!(" to {to}")).unwrap_or_default();
    let why = moment["reason"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{what}{to} by {}{why}", text(&moment["who"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_told_from_its_beginning_to_its_end() {
        let event = json!({
            "id": "e", "source": "lab", "type": "lab.done", "provider_id": null,
            "provider_type": "Done\u{1b}[31m", "subject": "o-1", "state": "pending",
            "received_at": "2025-01-15T10:30:00.412Z", "size": 7, "sha256": "ab",
            "deliveries": [
                { "upstream": "app", "state": "pending", "attempts": 1, "last_status": 503,
                  "next_at": "2025-01-15T10:30:02.500Z" },
            ],
            "timeline": [
                { "at": "2025-01-15T10:30:00.412Z", "what": "received" },
                { "at": "2025-01-15T10:30:00.413Z", "what": "stored", "upstreams": ["app"],
                  "quarantined": false },
                { "at": "2025-01-15T10:30:00.500Z", "what": "attempt", "upstream": "app",
                  "number": 1, "duration_ms": 12, "result": "answered", "status": 503,
                  "verdict": "retry", "next_at": "2025-01-15T10:30:02.500Z", "excerpt": "busy" },
                { "at": "2025-01-15T10:31:00.000Z", "what": "replayed", "who": "uid 0 (root)",
                  "reason": "mended", "upstream": null },
            ],
            "payload": "{\n \"a\": 1}",
        });
        let mut out = Vec::new();
        print(&event, &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        for line in [
            "event            e\n",
            "provider's id    -\n",
            "provider's type  Done\\u{1b}[31m\n",
            "app       pending  1         503          2025-01-15 10:30:02\n",
            "2025-01-15 10:30:00.412  received\n",
            "2025-01-15 10:30:00.413  stored, for app\n",
            "attempt 1 to app: 503 in 12 ms; again at 2025-01-15 10:30:02: busy\n",
            "replayed by uid 0 (root): mended\n",
            "\n{\n \"a\": 1}\n",
        ] {
            assert!(said.contains(line), "{line:?} in\n{said}");
        }
    }
}
