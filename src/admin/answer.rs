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
    /// No client certificate, or one that does not do.
    Certificate,
    /// A wrong token or certificate, after too many of them from the same client: seconds to wait.
    TooMany(u8),
    /// The token's role does not include it.
    Forbidden,
    /// There is no token that could be right.
    NoToken,
    /// Nothing has this path.
    NotFound,
    /// Another method than GET and HEAD.
    OnlyGet,
    /// A defect of ours.
    Internal,
}

/// The status that it is answered with.
pub(super) fn status(problem: Problem) -> StatusCode {
    match problem {
        Problem::Malformed => StatusCode::BAD_REQUEST,
        Problem::Unauthenticated | Problem::Certificate => StatusCode::UNAUTHORIZED,
        Problem::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        Problem::Forbidden | Problem::NoToken => StatusCode::FORBIDDEN,
        Problem::NotFound => StatusCode::NOT_FOUND,
        Problem::OnlyGet => StatusCode::METHOD_NOT_ALLOWED,
        Problem::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn body(problem: Problem) -> &'static str {
    match problem {
        Problem::Malformed => {
            r#"{"title":"Bad Request","status":400,"detail":"The request is malformed."}"#
        }
        Problem::Unauthenticated => {
            r#"{"title":"Unauthorized","status":401,"detail":"The admin token is missing or wrong."}"#
        }
        Problem::Certificate => {
            r#"{"title":"Unauthorized","status":401,"detail":"A client certificate of admin.tls.client_ca is missing or not valid."}"#
        }
        Problem::TooMany(_) => {
            r#"{"title":"Too Many Requests","status":429,"detail":"Too many wrong tokens; try again later."}"#
        }
        Problem::Forbidden => {
            r#"{"title":"Forbidden","status":403,"detail":"The role of this token does not include this."}"#
        }
        Problem::NoToken => {
            r#"{"title":"Forbidden","status":403,"detail":"Nothing but health is served here until admin.token or admin.tokens is configured."}"#
        }
        Problem::NotFound => {
            r#"{"title":"Not Found","status":404,"detail":"There is nothing here."}"#
        }
        Problem::OnlyGet => {
            r#"{"title":"Method Not Allowed","status":405,"detail":"Only GET is answered here."}"#
        }
        Problem::Internal => INTERNAL_ERROR,
    }
}

/// The answer for it.
pub(super) fn problem(problem: Problem) -> Answer {
    let body = Bytes::from_static(body(problem).as_bytes());
    let mut answer = plain(status(problem), "application/problem+json", body);
    let headers = answer.headers_mut();
    // RFC 6750, section 3.
    let challenge = match problem {
        Problem::Unauthenticated | Problem::Certificate => Some("Bearer"),
        Problem::Forbidden => Some("Bearer error=\"insufficient_scope\""),
        _ => None,
    };
    if let Some(challenge) = challenge {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if let Problem::TooMany(seconds) = problem {
        headers.insert(header::RETRY_AFTER, u16::from(seconds).into());
    }
    if problem == Problem::OnlyGet {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
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
            Problem::Certificate,
            Problem::TooMany(7),
            Problem::Forbidden,
            Problem::NoToken,
            Problem::NotFound,
            Problem::OnlyGet,
            Problem::Internal,
        ] {
            let answer = problem(kind);
            let status = answer.status().as_u16();
            let challenged = answer.headers().contains_key(header::WWW_AUTHENTICATE);
            assert_eq!(challenged, status == 401 || kind == Problem::Forbidden, "{kind:?}");
            let waits = answer.headers().get(header::RETRY_AFTER);
            assert_eq!(waits.is_some_and(|wait| wait == "7"), kind == Problem::TooMany(7));
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["status"], status, "{kind:?}");
            assert!(body["title"].is_string() && body["detail"].is_string(), "{kind:?}");
        }
    }
}
