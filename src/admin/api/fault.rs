//! Why the API does not do what it was asked for: a problem (RFC 9457) whose detail says what would be
//! right.

use std::borrow::Cow;

use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::super::answer::plain;
use crate::listen::Answer;
use crate::store::query::{ActError, EventState, QueryError};

/// How many seconds to wait before asking again, where there is nothing better to say.
const LATER: u16 = 1;
/// The same, while the catalogue is made.
const NOT_READY: u16 = 5;

/// A request that is not answered with what it asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    status: StatusCode,
    detail: Cow<'static, str>,
    allow: Option<&'static str>,
    retry_after: Option<u16>,
    /// What a program can read beside the detail.
    more: Option<Box<Map<String, Value>>>,
}

impl Fault {
    fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into(), allow: None, retry_after: None, more: None }
    }

    /// A parameter, or a member of the body, is wrong.
    pub(super) fn bad(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// Nothing has this path.
    pub(super) fn no_such_path() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "There is nothing here. /api/v1/openapi.json says what there is.",
        )
    }

    /// No event has this id.
    pub(super) fn no_such_event() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "There is no such event. An id is a UUID, as in Hookward-Event-Id; events go when they are older than store.retention.",
        )
    }

    /// Another method.
    pub(super) fn method(allow: &'static str) -> Self {
        let detail = format!("Only {allow} is answered here.");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// The body is not said to be JSON.
    pub(super) fn media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "A body is JSON: Content-Type: application/json, in UTF-8 and without Content-Encoding.",
        )
    }

    /// The body is too long.
    pub(super) fn too_large(most: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("A body has at most {most} bytes."))
    }

    /// The body was not there in time.
    pub(super) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time.")
    }

    /// What is there does not allow it.
    pub(super) fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// It is well formed, and names what is not configured.
    pub(super) fn no_such_upstream() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "upstream: no upstream of that name is configured.",
        )
    }

    /// Not now.
    pub(super) fn later(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { retry_after: Some(LATER), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// A defect of ours.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The request could not be handled.")
    }

    /// With these members.
    pub(super) fn with(mut self, more: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let more = more.into_iter().map(|(name, value)| (name.to_owned(), value));
        self.more.get_or_insert_default().extend(more);
        self
    }

    /// The answer for it.
    pub(super) fn into_answer(self) -> Answer {
        let Self { status, detail, allow, retry_after, more } = self;
        let mut body =
            json!({ "title": title(status), "status": status.as_u16(), "detail": detail });
        if let (Some(more), Some(body)) = (more, body.as_object_mut()) {
            body.extend(*more);
        }
        let mut answer = plain(status, "application/problem+json", body.to_string().into());
        let headers = answer.headers_mut();
        if let Some(allow) = allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        answer
    }
}

/// The names of RFC 9110; the library has those of older ones.
fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => "Content Too Large",
        StatusCode::UNPROCESSABLE_ENTITY => "Unprocessable Content",
        _ => status.canonical_reason().unwrap_or("Error"),
    }
}

impl From<QueryError> for Fault {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::NotReady { done, all } => {
                let detail = format!(
                    "The catalogue of events is being made after the start: {done} of {all} segments are in it."
                );
                let later = Self { retry_after: Some(NOT_READY), ..Self::later(detail) };
                later.with([("done", done.into()), ("all", all.into())])
            }
            QueryError::Io(error) => {
                tracing::error!(target: "hookward::admin", %error, "the journal cannot be read");
                Self::later("The journal cannot be read now; the log says why.")
            }
        }
    }
}

impl From<ActError> for Fault {
    fn from(error: ActError) -> Self {
        match error {
            ActError::NotFound => Self::no_such_event(),
            ActError::State(state) => {
                let detail = format!("The event is {}: {}.", state.as_str(), allowed(state));
                Self::conflict(detail).with([("state", state.as_str().into())])
            }
            ActError::UnknownUpstream => Self::no_such_upstream(),
            ActError::NoUpstream => Self::conflict(
                "The event goes to no upstream that is configured: name one in upstream.",
            ),
            ActError::Unwritable => Self::later(
                "The journal cannot be written to now, so nothing was done; /readyz says why.",
            ),
            ActError::Query(error) => error.into(),
        }
    }
}

/// What can be done with an event in this state.
fn allowed(state: EventState) -> &'static str {
    match state {
        EventState::Quarantined => {
            "it can be released or discarded, and replayed once it is released"
        }
        EventState::Dead => "it can be replayed or discarded",
        EventState::Pending
        | EventState::Delivered
        | EventState::Filtered
        | EventState::Unknown => {
            "it can be replayed; only a quarantined one is released, and only that or a dead one discarded"
        }
        EventState::Discarded => {
            "what was discarded out of quarantine stays so; a discarded dead letter can be replayed"
        }
    }
}
