//! What a caller is told. All of it is fixed but an event's id and Slack's challenge, so that no
//! answer says anything an attacker could use: one body for every 401, one for every 400.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use crate::audit::Reason;
use crate::listen::{self, Answer};
use crate::store::Accepted;

/// Hookward's own id of the event, on every 200 for one.
const EVENT_ID: HeaderName = HeaderName::from_static("hookward-event-id");

/// Seconds after which a sender may try again what was not its fault. Shorter than any provider's
/// first retry, long enough for a restart.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The event is on stable storage.
pub(super) fn received(accepted: &Accepted) -> Answer {
    let mut answer = plain(StatusCode::OK, JSON, Bytes::from_static(b"{\"received\":true}"));
    if let Ok(id) = HeaderValue::try_from(accepted.id().to_string()) {
        answer.headers_mut().insert(EVENT_ID, id);
    }
    answer
}

/// Slack's `url_verification`: the challenge comes back as plain text, as its guide allows.
pub(super) fn challenge(challenge: String) -> Answer {
    plain(StatusCode::OK, TEXT, Bytes::from(challenge))
}

/// A refusal: `application/problem+json` (RFC 9457). One for what could be read in two ways ends
/// the connection: what follows on it may have been meant as part of the same request.
/// `retry_after`: when the sender may try again, in seconds, if that is known.
pub(super) fn refused(reason: Reason, retry_after: Option<u8>) -> Answer {
    let Problem { status, body } = problem(reason);
    let mut answer = plain(status, PROBLEM, Bytes::from_static(body.as_bytes()));
    if reason == Reason::ProtocolError {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        let known = retry_after.map(|seconds| HeaderValue::from(u16::from(seconds)));
        answer.headers_mut().insert(header::RETRY_AFTER, known.unwrap_or(RETRY_AFTER));
    }
    answer
}

/// The status that a refusal for this reason is answered with.
pub(super) fn status(reason: Reason) -> u16 {
    problem(reason).status.as_u16()
}

/// A refusal of what is not HTTP as the RFCs have it. It ends the connection.
pub(super) fn defective(status: StatusCode) -> Answer {
    let body = match status {
        StatusCode::REQUEST_TIMEOUT => LATE_HEAD,
        StatusCode::URI_TOO_LONG => LONG_TARGET,
        StatusCode::EXPECTATION_FAILED => EXPECTATION,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => LONG_HEAD,
        StatusCode::HTTP_VERSION_NOT_SUPPORTED => OTHER_VERSION,
        _ => return refused(Reason::ProtocolError, None),
    };
    let mut answer = plain(status, PROBLEM, Bytes::from_static(body.as_bytes()));
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Which answer a refusal gets. The one place that says so.
fn problem(reason: Reason) -> Problem {
    match reason {
        Reason::ProtocolError | Reason::MalformedJson | Reason::EventTooOld => MALFORMED,
        Reason::CredentialMissing
        | Reason::CredentialInvalid
        | Reason::SignatureMissing
        | Reason::SignatureMalformed
        | Reason::SignatureInvalid
        | Reason::TimestampMissing
        | Reason::TimestampInvalid
        | Reason::TimestampOutOfRange => UNAUTHENTICATED,
        // The second is an operator's, and never answered here.
        Reason::IpNotAllowed | Reason::NotPermitted => FORBIDDEN,
        Reason::UnknownRoute => NOT_FOUND,
        Reason::MethodNotAllowed => NOT_ALLOWED,
        Reason::BodyTimeout => TIMEOUT,
        Reason::BodyTooLarge => TOO_LARGE,
        Reason::UnsupportedMediaType => UNSUPPORTED,
        Reason::RateLimited => TOO_MANY,
        // A conflict is acknowledged and stands in the audit trail only. Were a request ever
        // refused for one, its sender should try again rather than forget the event.
        Reason::Overloaded | Reason::StoreUnavailable | Reason::Conflict => UNAVAILABLE,
        Reason::InternalError => INTERNAL,
    }
}

/// A status and the body that goes with it.
#[derive(Clone, Copy)]
struct Problem {
    status: StatusCode,
    body: &'static str,
}

const MALFORMED: Problem = Problem {
    status: StatusCode::BAD_REQUEST,
    body: r#"{"title":"Bad Request","status":400,"detail":"The request is malformed."}"#,
};
const UNAUTHENTICATED: Problem = Problem {
    status: StatusCode::UNAUTHORIZED,
    body: r#"{"title":"Unauthorized","status":401,"detail":"The request is not authenticated."}"#,
};
const FORBIDDEN: Problem = Problem {
    status: StatusCode::FORBIDDEN,
    body: r#"{"title":"Forbidden","status":403,"detail":"The client address is not allowed."}"#,
};
const NOT_FOUND: Problem = Problem {
    status: StatusCode::NOT_FOUND,
    body: r#"{"title":"Not Found","status":404,"detail":"There is nothing here."}"#,
};
const NOT_ALLOWED: Problem = Problem {
    status: StatusCode::METHOD_NOT_ALLOWED,
    body: r#"{"title":"Method Not Allowed","status":405,"detail":"Only POST is answered here."}"#,
};
const TIMEOUT: Problem = Problem {
    status: StatusCode::REQUEST_TIMEOUT,
    body: r#"{"title":"Request Timeout","status":408,"detail":"The body did not arrive in time."}"#,
};
const TOO_LARGE: Problem = Problem {
    status: StatusCode::PAYLOAD_TOO_LARGE,
    body: r#"{"title":"Content Too Large","status":413,"detail":"The body is too large."}"#,
};
const UNSUPPORTED: Problem = Problem {
    status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
    body: r#"{"title":"Unsupported Media Type","status":415,"detail":"The body must be unencoded JSON in UTF-8."}"#,
};
const TOO_MANY: Problem = Problem {
    status: StatusCode::TOO_MANY_REQUESTS,
    body: r#"{"title":"Too Many Requests","status":429,"detail":"Too many requests; try again later."}"#,
};
const UNAVAILABLE: Problem = Problem {
    status: StatusCode::SERVICE_UNAVAILABLE,
    body: r#"{"title":"Service Unavailable","status":503,"detail":"Nothing can be stored now; try again later."}"#,
};
const INTERNAL: Problem =
    Problem { status: StatusCode::INTERNAL_SERVER_ERROR, body: listen::INTERNAL_ERROR };

const LATE_HEAD: &str =
    r#"{"title":"Request Timeout","status":408,"detail":"The headers did not arrive in time."}"#;
const LONG_TARGET: &str =
    r#"{"title":"URI Too Long","status":414,"detail":"The request target is too long."}"#;
const EXPECTATION: &str =
    r#"{"title":"Expectation Failed","status":417,"detail":"Only 100-continue can be expected."}"#;
const LONG_HEAD: &str = r#"{"title":"Request Header Fields Too Large","status":431,"detail":"The headers are too many or too large."}"#;
const OTHER_VERSION: &str = r#"{"title":"HTTP Version Not Supported","status":505,"detail":"Only HTTP/1.0 and HTTP/1.1 are spoken here."}"#;

fn plain(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    answer
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn body_of(answer: Answer) -> Bytes {
        answer.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn every_refusal_is_a_problem_whose_body_agrees_with_its_status() {
        for reason in Reason::ALL {
            let answer = refused(reason, None);
            let status = answer.status();
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
            let problem: serde_json::Value =
                serde_json::from_slice(&body_of(answer).await).unwrap();
            assert_eq!(problem["status"], status.as_u16(), "{reason:?}");
            assert!(!problem["title"].as_str().unwrap().is_empty(), "{reason:?}");
            assert!(!problem["detail"].as_str().unwrap().is_empty(), "{reason:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_http_is_a_problem_too_and_ends_the_connection() {
        for status in [400, 408, 414, 417, 431, 505] {
            let answer = defective(StatusCode::from_u16(status).unwrap());
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
            assert_eq!(answer.headers()[header::CONNECTION], "close");
            let problem: serde_json::Value =
                serde_json::from_slice(&body_of(answer).await).unwrap();
            assert_eq!(problem["status"], status);
        }
    }

    #[test]
    fn senders_are_told_when_to_come_back_and_how() {
        for reason in [Reason::RateLimited, Reason::Overloaded, Reason::StoreUnavailable] {
            let answer = refused(reason, None);
            assert_eq!(answer.headers()[header::RETRY_AFTER], "5", "{reason:?}");
            let answer = refused(reason, Some(17));
            assert_eq!(answer.headers()[header::RETRY_AFTER], "17", "{reason:?}");
        }
        assert_eq!(refused(Reason::MethodNotAllowed, None).headers()[header::ALLOW], "POST");
        let malformed = refused(Reason::MalformedJson, None);
        assert!(!malformed.headers().contains_key(header::RETRY_AFTER));
    }

    #[tokio::test]
    async fn a_challenge_comes_back_as_plain_text() {
        let answer = challenge("3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P".to_owned());
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
        let body = body_of(answer).await;
        assert_eq!(body, "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P");
    }
}
