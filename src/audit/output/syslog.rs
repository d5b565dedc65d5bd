//! Messages of syslog (RFC 5424), one for each record. What a stranger has chosen stands in them escaped,
//! and can be taken neither for another element nor for another message.

use std::fmt::Write as _;

use super::super::chain::{Listed, Record};
use super::message::{CHECKPOINT, GAP, Message};
use crate::config::defaults::audit::MAX_MESSAGE;
use crate::config::{AuditFormat, Facility};

/// The private element's name. Hookward has no number of its own at IANA; 32473 is the one that stands
/// for "any" (RFC 5612).
const ELEMENT: &str = "hookward@32473";

/// The longest value of a parameter, in characters; all of it stands in the message's JSON.
const LONGEST_VALUE: usize = 256;

/// What all messages of a process have in common.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    facility: Facility,
    host: String,
    process: u32,
}

impl Sender {
    /// This process on this machine.
    pub(super) fn here(facility: Facility) -> Self {
        let name = rustix::system::uname();
        let host = field(&name.nodename().to_string_lossy(), 255);
        Self { facility, host, process: std::process::id() }
    }

    /// The message as syslog has it.
    pub(super) fn message(&self, message: &Message, format: AuditFormat) -> Vec<u8> {
        let record = &message.listed.record;
        let priority = u32::from(self.facility.0) * 8 + u32::from(severity_of(record));
        let mut out = format!(
            "<{priority}>1 {} {} hookward {} {} ",
            time(&record.time),
            self.host,
            self.process,
            field(&record.reason, 32),
        );
        elements(message, &mut out);
        out.push(' ');
        let room = MAX_MESSAGE.saturating_sub(out.len());
        out.push_str(&message.body(format, room));
        out.into_bytes()
    }
}

/// Section 6.3: what a receiver may want to sort by, and who sends.
fn elements(message: &Message, out: &mut String) {
    let Message { listed: Listed { sequence, record }, previous } = message;
    let version = env!("CARGO_PKG_VERSION");
    let _ = write!(
        out,
        "[origin software=\"hookward\" swVersion=\"{version}\"][{ELEMENT} sequence=\"{sequence}\""
    );
    if let Some(previous) = previous {
        let _ = write!(out, " previous=\"{previous}\"");
    }
    let texts = [
        ("id", Some(&record.id)),
        ("source", record.source.as_ref()),
        ("listener", record.listener.as_ref()),
        ("client", record.client.as_ref()),
        ("peer", record.peer.as_ref()),
        ("who", record.who.as_ref()),
        ("method", record.method.as_ref()),
        ("path", record.path.as_ref()),
    ];
    for (name, value) in texts {
        let Some(value) = value else { continue };
        let _ = write!(out, " {name}=\"");
        escape(value, out);
        out.push('"');
    }
    if let Some(status) = record.status {
        let _ = write!(out, " status=\"{status}\"");
    }
    let _ = write!(out, " count=\"{}\"]", record.count);
}

/// A parameter's value: section 6.3.3. What controls a terminal, or ends a line, is replaced.
fn escape(value: &str, out: &mut String) {
    for c in value.chars().take(LONGEST_VALUE) {
        match c {
            '"' | '\\' | ']' => out.extend(['\\', c]),
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
}

/// A field of the header: printable ASCII without spaces, never empty.
fn field(text: &str, most: usize) -> String {
    let plain = text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' });
    let text: String = plain.take(most).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

/// The record's time is one already (section 6.2.3); what is none is left out.
fn time(text: &str) -> &str {
    let is_time = text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok();
    if is_time && text.len() <= 27 { text } else { "-" }
}

/// How serious it is, by section 6.2.1.
fn severity_of(record: &Record) -> u8 {
    if record.lost_evidence() { ERROR } else { severity(&record.reason) }
}

const ERROR: u8 = 3;

fn severity(reason: &str) -> u8 {
    const WARNING: u8 = 4;
    const NOTICE: u8 = 5;
    const INFORMATIONAL: u8 = 6;
    match reason {
        // Something of ours does not work, or is not there any more.
        "internal_error" | "store_unavailable" | "act_unreadable" | "acts_replaced"
        | "trail_missing" | GAP => ERROR,
        // Somebody could not prove who it is, or something was not what it had been.
        "ip_not_allowed"
        | "credential_missing"
        | "credential_invalid"
        | "not_permitted"
        | "signature_missing"
        | "signature_malformed"
        | "signature_invalid"
        | "timestamp_missing"
        | "timestamp_invalid"
        | "timestamp_out_of_range"
        | "event_too_old"
        | "conflict"
        | "rate_limited"
        | "overloaded" => WARNING,
        "started" | "stopped" | "trail_shortened" | CHECKPOINT => INFORMATIONAL,
        // What was refused for its form; what operators do; and what comes in a later version.
        _ => NOTICE,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::Reason;
    use super::*;

    fn sender() -> Sender {
        Sender { facility: Facility(13), host: "gw.example".to_owned(), process: 77 }
    }

    fn refused() -> Record {
        let text = |text: &str| Some(text.to_owned());
        Record {
            id: "0190b0a8-7d1c-7000-8000-000000000000".to_owned(),
            time: "2025-01-15T10:30:00.412Z".to_owned(),
            reason: "signature_invalid".to_owned(),
            source: text("lab"),
            client: text("192.0.2.1"),
            method: text("POST"),
            path: text("/hooks/lab"),
            status: Some(401),
            count: 1,
            ..Record::default()
        }
    }

    fn message(record: Record) -> String {
        message_as(record, AuditFormat::Json)
    }

    fn message_as(record: Record, format: AuditFormat) -> String {
        let message = Message { listed: Listed { sequence: 17, record }, previous: Some(15) };
        String::from_utf8(sender().message(&message, format)).unwrap()
    }

    #[test]
    fn a_message_is_as_rfc_5424_says() {
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "<108>1 2025-01-15T10:30:00.412Z gw.example hookward 77 signature_invalid \
             [origin software=\"hookward\" swVersion=\"{version}\"]\
             [hookward@32473 sequence=\"17\" previous=\"15\" id=\"0190b0a8-7d1c-7000-8000-000000000000\" source=\"lab\" \
             client=\"192.0.2.1\" method=\"POST\" path=\"/hooks/lab\" status=\"401\" count=\"1\"] \
             {{\"id\":\"0190b0a8-7d1c-7000-8000-000000000000\",\"time\":\"2025-01-15T10:30:00.412Z\",\
             \"reason\":\"signature_invalid\",\"source\":\"lab\",\"client\":\"192.0.2.1\",\
             \"method\":\"POST\",\"path\":\"/hooks/lab\",\"status\":401,\"count\":1,\"sequence\":17,\"previous\":15}}"
        );
        assert_eq!(message(refused()), expected);
    }

    fn path(text: &str) -> String {
        let message = message(Record { path: Some(text.to_owned()), ..refused() });
        let (_, rest) = message.split_once(" path=\"").unwrap();
        rest.split_once("\" status=").unwrap().0.to_owned()
    }

    #[test]
    fn what_a_stranger_chose_cannot_leave_its_place() {
        for (chosen, shown) in [
            ("/\"][x@1 a=\"b\"] <1>1", "/\\\"\\][x@1 a=\\\"b\\\"\\] <1>1"),
            ("/a\\", "/a\\\\"),
            ("/\u{fc}\u{1f600}", "/\u{fc}\u{1f600}"),
            ("/a\r\n<0>1 - - - - - - forged", "/a\u{fffd}\u{fffd}<0>1 - - - - - - forged"),
            ("/\0\x1b[2J\u{9b}", "/\u{fffd}\u{fffd}[2J\u{fffd}"),
        ] {
            assert_eq!(path(chosen), shown);
        }
        assert_eq!(path(&"/".repeat(9_000)).len(), LONGEST_VALUE);
    }

    #[test]
    fn the_body_is_json_in_one_line_of_ascii_whatever_is_in_it() {
        let path = "/\"\\]\r\n\0\u{85}\u{2028}\u{fc}\u{1f600}".to_owned();
        let message = message(Record { path: Some(path.clone()), ..refused() });
        let (head, body) = message.split_once("] {").unwrap();
        assert!(!head.contains(['\r', '\n', '\0']));
        let body = format!("{{{body}");
        assert!(body.bytes().all(|b| (0x20..0x7f).contains(&b)), "{body}");
        let parsed: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(parsed["path"], path);
    }

    #[test]
    fn details_that_are_too_long_are_left_out_as_a_whole() {
        let details = json!({ "changed": vec!["source.lab.keys"; 2_000] });
        let message = message(Record { details: Some(details), ..refused() });
        assert!(message.len() <= MAX_MESSAGE, "{}", message.len());
        let (_, body) = message.split_once("] {").unwrap();
        let parsed: Value = serde_json::from_str(&format!("{{{body}")).unwrap();
        assert!(parsed["details"]["left_out"].as_u64().unwrap() > 20_000, "{parsed}");
    }

    #[test]
    fn the_first_message_names_none_before_it() {
        let listed = Listed { sequence: 17, record: refused() };
        let first = Message { listed, previous: None };
        let text = String::from_utf8(sender().message(&first, AuditFormat::Json)).unwrap();
        assert!(
            text.contains(" sequence=\"17\" id=") && text.ends_with("\"previous\":null}"),
            "{text}"
        );
    }

    /// The longest that strangers can make a record is an event of JSON all the same.
    #[test]
    fn an_event_of_ocsf_is_the_message_and_never_cut() {
        let long = |n: usize| Some("\u{fffd}".repeat(n));
        let record = Record {
            path: long(85),
            user_agent: long(42),
            method: Some("\"".repeat(32)),
            server_name: long(85),
            details: Some(json!({ "changed": vec!["source.lab.keys"; 2_000] })),
            ..refused()
        };
        for details in [record.details.clone(), None] {
            let text = message_as(Record { details, ..record.clone() }, AuditFormat::Ocsf);
            assert!(text.len() <= MAX_MESSAGE, "{}", text.len());
            let (_, body) = text.split_once("] {").unwrap();
            let event: Value = serde_json::from_str(&format!("{{{body}")).unwrap();
            assert_eq!(
                (&event["class_uid"], &event["metadata"]["sequence"]),
                (&json!(6003), &json!(17))
            );
            assert_eq!(event["unmapped"]["previous"], 15);
        }
    }

    #[test]
    fn a_header_holds_nothing_but_its_fields() {
        let odd = Record {
            reason: "a b\n\u{fc}".to_owned(),
            time: "yesterday Z".to_owned(),
            ..refused()
        };
        assert!(message(odd).starts_with("<109>1 - gw.example hookward 77 a_b__ ["));
        assert_eq!(field("", 32), "-");
        assert_eq!(field(&"a".repeat(99), 32).len(), 32);
        let host = Sender::here(Facility(10)).host;
        assert!(!host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic()), "{host}");
    }

    #[test]
    fn evidence_that_went_damaged_is_an_error() {
        let shortened = |details| Record {
            reason: "trail_shortened".to_owned(),
            details: Some(details),
            ..refused()
        };
        let whole = shortened(serde_json::json!({ "segment": 7 }));
        let damaged = shortened(serde_json::json!({ "segment": 7, "damaged": [6] }));
        assert_eq!((severity_of(&whole), severity_of(&damaged)), (6, 3));
    }

    #[test]
    fn severities_are_those_that_are_documented() {
        let text = include_str!("../../../docs/audit.md");
        let row = |n: u8| text.lines().find(|line| line.starts_with(&format!("| {n} "))).unwrap();
        let names = Reason::ALL.map(Reason::as_str);
        for reason in names.iter().chain(&super::super::super::ACTS).chain(&[GAP, CHECKPOINT]) {
            let named = format!("`{reason}`");
            let severity = severity(reason);
            for n in 3..=6 {
                let stands = row(n).contains(&named);
                assert!(!stands || n == severity, "{reason} is {severity}, not {n}");
            }
            assert!(severity == 5 || row(severity).contains(&named), "{reason} is {severity}");
        }
    }
}
