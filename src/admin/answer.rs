//! What is answered beside what was asked for: `application/problem+json` (RFC 9457), as on the
//! public side.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use crate::listen::{Answer, INTERNAL_ERROR};

/// Why a request does not get what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// It could be read in two ways.
    Malformed,
    /// No token, or a wrong one.
    Unauthenticated,
    /// A wrong token, after too many of them from the same client: seconds to wait.
    TooMany(u8),
    /// There is no token that could be right.
    NoToken,
    /// Nothing has this path.
    NotFound,
    /// Another method than GET and HEAD.
    OnlyGet,
    /// A defect of ours.
    Internal,
}

/// The answer for it.
pub(super) fn problem(problem: Problem) -> Answer {
    let (status, body) = match problem {
        Problem::Malformed => (
            StatusCode::BAD_REQUEST,
            r#"{"title":"Bad Request","status":400,"detail":"The request is malformed."}"#,
        ),
        Problem::Unauthenticated => (
            StatusCode::UNAUTHORIZED,
            r#"{"title":"Unauthorized","status":401,"detail":"The admin token is missing or wrong."}"#,
        ),
        Problem::TooMany(_) => (
            StatusCode::TOO_MANY_REQUESTS,
            r#"{"title":"Too Many Requests","status":429,"detail":"Too many wrong tokens; try again later."}"#,
        ),
        Problem::NoToken => (
            StatusCode::FORBIDDEN,
            r#"{"title":"Forbidden","status":403,"detail":"Nothing but health is served here until admin.token is configured."}"#,
        ),
        Problem::NotFound => (
            StatusCode::NOT_FOUND,
            r#"{"title":"Not Found","status":404,"detail":"There is nothing here."}"#,
        ),
        Problem::OnlyGet => (
            StatusCode::METHOD_NOT_ALLOWED,
            r#"{"title":"Method Not Allowed","status":405,"detail":"Only GET is answered here."}"#,
        ),
        Problem::Internal => (StatusCode::INTERNAL_SERVER_ERROR, INTERNAL_ERROR),
    };
    let mut answer = plain(status, "application/problem+json", Bytes::from_static(body.as_bytes()));
    if problem == Problem::Unauthenticated {
        // RFC 6750, section 3.
        let bearer = HeaderValue::from_static("Bearer");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    if let Problem::TooMany(seconds) = problem {
        answer.headers_mut().insert(header::RETRY_AFTER, u16::from(seconds).into());
    }
    if problem == Problem::OnlyGet {
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    answer
}

/// An answer with this body. No cache may keep it.
pub(super) fn plain(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn bodies_agree_with_their_status() {
        for kind in [
            Problem::Malformed,
            Problem::Unauthenticated,
            Problem::TooMany(7),
            Problem::NoToken,
            Problem::NotFound,
            Problem::OnlyGet,
            Problem::Internal,
        ] {
            let answer = problem(kind);
            let status = answer.status().as_u16();
            let challenged = answer.headers().contains_key(header::WWW_AUTHENTICATE);
            assert_eq!(challenged, kind == Problem::Unauthenticated);
            let waits = answer.headers().get(header::RETRY_AFTER);
            assert_eq!(waits.is_some_and(|wait| wait == "7"), kind == Problem::TooMany(7));
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["status"], status, "{kind:?}");
            assert!(body["title"].is_string() && body["detail"].is_string(), "{kind:?}");
        }
    }
}
