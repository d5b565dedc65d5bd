//! Records as CSV (RFC 4180): a line of names, and no cell is a formula to a spreadsheet.

use serde_json::Value;

use super::super::table::neutral;

/// The columns of CSV, by their names in JSON.
const COLUMNS: [&str; 23] = [
    "id",
    "sequence",
    "time",
    "reason",
    "detail",
    "source",
    "listener",
    "peer",
    "client",
    "who",
    "tls",
    "server_name",
    "method",
    "path",
    "user_agent",
    "declared",
    "size",
    "sha256",
    "credential",
    "status",
    "count",
    "first",
    "last",
];

/// The line of names.
pub(super) fn head() -> String {
    format!("{},details\r", COLUMNS.join(","))
}

/// The line of a record, as JSON has it.
pub(super) fn line(record: &Value) -> String {
    let cells = COLUMNS.iter().chain(&["details"]).map(|name| cell(&record[*name]));
    format!("{}\r", cells.collect::<Vec<_>>().join(","))
}

/// A cell. What a spreadsheet would calculate stands behind an apostrophe.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::Number(number) => return number.to_string(),
        Value::String(text) => neutral(text),
        other => neutral(&other.to_string()),
    };
    let formula = text.starts_with([
        '=', '+', '-', '@', '\t', '\r', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ]);
    let text = if formula { format!("'{text}") } else { text };
    if text.contains(['"', ',', '\n', '\r', '\'', ';']) || text.starts_with(' ') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::chain::Record;

    #[test]
    fn no_cell_is_a_formula_or_more_than_a_cell() {
        for (value, expected) in [
            (json!("/hooks/lab"), "/hooks/lab"),
            (json!("=HYPERLINK(\"http://a\")"), "\"'=HYPERLINK(\"\"http://a\"\")\""),
            (json!("+1"), "\"'+1\""),
            (json!("-1"), "\"'-1\""),
            (json!("@SUM(A1)"), "\"'@SUM(A1)\""),
            (json!("a,b"), "\"a,b\""),
            (json!("a\r\n=1"), "a\\u{d}\\u{a}=1"),
            (json!("\t=1"), "\\u{9}=1"),
            (json!("\u{ff1d}1"), "\"'\u{ff1d}1\""),
            (json!(12), "12"),
            (json!(null), ""),
        ] {
            assert_eq!(cell(&value), expected, "{value}");
        }
    }

    #[test]
    fn every_member_of_a_record_has_a_column() {
        let text = || Some("x".to_owned());
        let record = Record {
            detail: text(),
            source: text(),
            listener: text(),
            peer: text(),
            client: text(),
            who: text(),
            tls: text(),
            server_name: text(),
            method: text(),
            path: text(),
            user_agent: text(),
            declared: Some(1),
            size: Some(1),
            sha256: text(),
            credential: text(),
            status: Some(400),
            first: text(),
            last: text(),
            details: Some(json!({})),
            ..Record::default()
        };
        let value = serde_json::to_value(&record).unwrap();
        for name in value.as_object().unwrap().keys() {
            assert!(name == "details" || COLUMNS.contains(&name.as_str()), "{name}");
        }
        assert_eq!(line(&value).matches(',').count(), COLUMNS.len());
    }
}
