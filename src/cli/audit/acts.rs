//! What acts have done, in a line.

use serde_json::Value;

/// The longest of a line that is shown, in characters.
const MOST: usize = 400;
/// What acts have in common that were asked for at once: for programs.
const RUN: &str = "run";

/// The details of an act as words: `event e, upstreams app, why "called them"`. What is null or empty
/// is left out, and so is the run; `None`: there is nothing.
pub(super) fn told(details: &Value) -> Option<String> {
    let Value::Object(members) = details else { return None };
    let told = members.iter().filter(|(name, _)| *name != RUN);
    let parts = told.filter_map(|(name, value)| {
        let value = shown(value)?;
        Some(format!("{} {value}", name.replace('_', " ")))
    });
    let line = parts.collect::<Vec<_>>().join(", ");
    let cut = line.chars().count() > MOST;
    let line = if cut { line.chars().take(MOST).chain(['…']).collect() } else { line };
    Some(line).filter(|line| !line.is_empty())
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.contains([' ', ',']) => Some(format!("\"{text}\"")),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(shown).collect();
            Some(items.join(" ")).filter(|items| !items.is_empty())
        }
        Value::Object(_) => told(value).map(|told| format!("({told})")),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn acts_are_told_in_a_line() {
        for (details, expected) in [
            (json!(null), None),
            (json!({}), None),
            (json!({ "cause": "SIGHUP", "changed": [] }), Some("cause SIGHUP")),
            (
                json!({ "cause": "SIGHUP", "changed": ["source.lab.keys", "log.level"] }),
                Some("cause SIGHUP, changed source.lab.keys log.level"),
            ),
            (
                json!({ "run": "4f", "event": "e", "upstreams": ["app"], "why": "called, and asked" }),
                Some("event e, upstreams app, why \"called, and asked\""),
            ),
            (
                json!({ "filter": { "source": "lab", "type": null }, "matched": 3, "per_second": null }),
                Some("filter (source lab), matched 3"),
            ),
        ] {
            assert_eq!(told(&details).as_deref(), expected);
        }
        let long = told(&json!({ "why": "x".repeat(1000) })).unwrap();
        assert_eq!(long.chars().count(), MOST + 1);
    }
}
