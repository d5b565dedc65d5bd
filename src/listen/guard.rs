//! The edge of a request: a handler that panics costs its own request an answer of 500, and nobody
//! else anything.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use super::{Answer, Arrival};
use crate::panics;

/// The body of the answer that stands in for one that a panic has cut short.
pub const INTERNAL_ERROR: &str = r#"{"title":"Internal Server Error","status":500,"detail":"The request could not be handled."}"#;

/// The handler's answer, or a 500 that ends the connection: what of the request is still unread is
/// not to be trusted to anyone.
///
/// That the handler is left in a state that others can go on with is its own to see to: what it
/// shares must be whole whenever it may panic. What the roads share is atomic, or behind locks that
/// are held for single steps; a request that was cut short is dropped like one whose client has
/// gone away.
pub(super) async fn answer<H, F>(handler: &H, arrival: Arrival) -> Answer
where
    H: Fn(Arrival) -> F,
    F: Future<Output = Answer>,
{
    match panics::caught(|| handler(arrival)).await {
        Ok(answer) => answer,
        Err(panics::Panicked) => internal_error(),
    }
}

fn internal_error() -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(INTERNAL_ERROR.as_bytes())));
    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let problem = HeaderValue::from_static("application/problem+json");
    answer.headers_mut().insert(header::CONTENT_TYPE, problem);
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}
