//! The body of a request: JSON, short, and there in time.

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::fault::Fault;
use crate::config::defaults::admin::{API_BODY_TIMEOUT, MAX_API_BODY};

/// Whether there has to be a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// An empty one says nothing, which is fine.
    Optional,
    /// An empty one is refused.
    Required,
}

/// Reads the body as JSON. That it must be said to be JSON keeps pages of other sites from having a
/// browser send it.
pub(super) async fn read<T, B>(head: &Parts, body: B, need: Need) -> Result<T, Fault>
where
    T: DeserializeOwned + Default,
    B: Body<Data = Bytes>,
{
    if body.size_hint().lower() > MAX_API_BODY as u64 {
        return Err(Fault::too_large(MAX_API_BODY));
    }
    let body = timeout(API_BODY_TIMEOUT, collect(body)).await.map_err(|_| Fault::too_slow())??;
    if body.is_empty() && need == Need::Optional {
        return Ok(T::default());
    }
    if !is_json(&head.headers) {
        return Err(Fault::media_type());
    }
    // It would take an array for the members in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Fault::bad("The body is not a JSON object."));
    }
    // What serde says names members and places in the text, and no more of it than an unknown
    // member's name.
    serde_json::from_slice(&body).map_err(|error| {
        let said: String = error.to_string().chars().take(300).collect();
        Fault::bad(format!("The body is not as it is expected: {said}."))
    })
}

async fn collect<B: Body<Data = Bytes>>(body: B) -> Result<Bytes, Fault> {
    let mut body = std::pin::pin!(body);
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let broken = |_| Fault::bad("The body broke off.");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if all.len() + data.len() > MAX_API_BODY {
            return Err(Fault::too_large(MAX_API_BODY));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

/// `application/json`, in UTF-8, as it is.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else { return false };
    let Ok(value) = value.to_str() else { return false };
    let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
    let utf8 = match parameters.trim() {
        "" => true,
        parameter => {
            let charset =
                parameter.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("charset"));
            charset.is_some_and(|(_, set)| set.trim_matches('"').eq_ignore_ascii_case("utf-8"))
        }
    };
    let plain = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|c| c.as_bytes().eq_ignore_ascii_case(b"identity"));
    kind.trim().eq_ignore_ascii_case("application/json") && utf8 && plain
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_json_is_json() {
        for (kind, is) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json;charset=\"utf-8\"", true),
            ("application/json; charset=latin1", false),
            ("application/json; v=1", false),
            ("application/jsonx", false),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_json(&headers), is, "{kind}");
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            assert!(!is_json(&headers), "{kind}, compressed");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
