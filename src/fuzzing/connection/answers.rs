//! What comes back over HTTP/1, read strictly: a sequence of answers of which each is one that the
//! contract knows.

use std::fmt;

use super::reading::split;

/// Bytes of one answer at most: Slack's challenge, escaped nowhere, is the longest.
const MOST: usize = 2 << 10;

/// An answer, with the `100 Continue` before it.
pub(super) struct Answer {
    pub(super) continued: bool,
    pub(super) status: u16,
    pub(super) fields: Vec<(String, String)>,
    /// Empty where the request was HEAD.
    pub(super) body: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { continued, status, fields, body } = self;
        write!(f, "[{status} {fields:?} {continued} {}]", body.escape_ascii())
    }
}

impl Answer {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let (first, second) = (values.next(), values.next());
        assert!(second.is_none(), "{name} stands twice in {self:?}");
        first.map(|(_, value)| value.as_str())
    }

    pub(super) fn closes(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// All answers. `whole`: whether the last must be complete. `heads`: which of the answers, counted
/// from 0, are to HEAD.
pub(super) fn read(mut bytes: &[u8], whole: bool, is_head: impl Fn(usize) -> bool) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        match one(bytes, is_head(answers.len())) {
            Some((answer, rest)) => {
                let length = bytes.len() - rest.len();
                assert!(length <= MOST, "an answer of {length} bytes");
                check(&answer);
                answers.push(answer);
                bytes = rest;
            }
            None => {
                let left = String::from_utf8_lossy(bytes);
                assert!(!whole, "the connection ends within an answer: {left}");
                break;
            }
        }
    }
    for (at, answer) in answers.iter().enumerate() {
        let last = at + 1 == answers.len();
        assert!(last || !answer.closes(), "more answers behind one that closes: {answers:?}");
    }
    answers
}

fn one(bytes: &[u8], is_head: bool) -> Option<(Answer, &[u8])> {
    let (continued, bytes) = match bytes.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n") {
        Some(rest) => (true, rest),
        None => (false, bytes),
    };
    let (head, rest) = split(bytes, b"\r\n\r\n")?;
    let head = str::from_utf8(head);
    assert!(head.is_ok(), "bytes in a head: {head:?}");
    let mut lines = head.unwrap_or_default().split("\r\n");
    let line = lines.next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
    let status = status.and_then(|status| status.get(..3)?.parse().ok());
    assert!(status.is_some(), "no status line: {line}");
    let field = |line: &str| line.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned()));
    let fields: Option<Vec<_>> = lines.map(field).collect();
    assert!(fields.is_some(), "not a field: {head:?}");
    let (status, fields) = (status.unwrap_or_default(), fields.unwrap_or_default());
    let mut answer = Answer { continued, status, fields, body: Vec::new() };
    let length = answer.field("content-length").and_then(|length| length.parse().ok());
    assert!(length.is_some(), "an answer without a length: {answer:?}");
    // One whose HEAD was never understood as such, as the head had a defect, has no body either.
    let none = is_head || (rest.is_empty() && answer.closes());
    let (body, rest) = rest.split_at_checked(if none { 0 } else { length.unwrap_or_default() })?;
    answer.body = body.to_vec();
    Some((answer, rest))
}

/// What is true of each answer, whatever was asked.
fn check(answer: &Answer) {
    let Answer { status, body, .. } = answer;
    let type_and_id = (answer.field("content-type"), answer.field("hookward-event-id"));
    check_head(*status, type_and_id, answer.field("allow"));
    if *status != 200 {
        let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let said = problem.as_ref().and_then(|problem| problem.get("status")?.as_u64());
        assert!(body.is_empty() || said == Some((*status).into()), "{answer:?}");
    } else if type_and_id.1.is_some() {
        assert_eq!(body, b"{\"received\":true}");
    }
}

/// What is true of each answer's head: its status, the type of its body and an event's id, and
/// what is allowed.
pub(super) fn check_head(
    status: u16,
    type_and_id: (Option<&str>, Option<&str>),
    allow: Option<&str>,
) {
    match (status, type_and_id) {
        (200, (Some("application/json"), Some(_)) | (Some("text/plain; charset=utf-8"), None)) => {}
        (
            400 | 401 | 403 | 404 | 405 | 408 | 413 | 414 | 415 | 417 | 431 | 505,
            (Some("application/problem+json"), None),
        ) => {}
        // No rate is reached here, the store does not fail, and nothing panics.
        _ => unreachable!("an answer that nothing here may cause: {status} {type_and_id:?}"),
    }
    assert_eq!(allow, (status == 405).then_some("POST"));
}
