//! Whether the body says it is JSON in UTF-8, and as it stands: Content-Type (RFC 9110 section
//! 8.3) and Content-Encoding (section 8.4).

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use crate::admit::Refusal;
use crate::audit::Reason::UnsupportedMediaType;

const REPEATED: Refusal = Refusal::new(UnsupportedMediaType, "repeated Content-Type");
const UNPRINTABLE: Refusal =
    Refusal::new(UnsupportedMediaType, "Content-Type with bytes outside visible ASCII");
const NOT_JSON: Refusal = Refusal::new(UnsupportedMediaType, "Content-Type is not JSON");
const PARAMETERS: Refusal =
    Refusal::new(UnsupportedMediaType, "Content-Type with malformed parameters");
const CHARSET: Refusal = Refusal::new(UnsupportedMediaType, "Content-Type with another charset");
const ENCODED: Refusal =
    Refusal::new(UnsupportedMediaType, "Content-Encoding is another than identity");

/// The content type as it was sent, if there is one: `application/json` or `application/*+json`
/// with any parameters, a charset among them being UTF-8 (`utf8` is taken as that).
pub(super) fn check(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    check_encoding(headers)?;
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(REPEATED);
    }
    let content_type = value.to_str().map_err(|_| UNPRINTABLE)?;
    let essence_end = content_type.find(';').unwrap_or(content_type.len());
    let (essence, parameters) = content_type.split_at_checked(essence_end).ok_or(NOT_JSON)?;
    if !is_json(essence.trim_matches(OWS)) {
        return Err(NOT_JSON);
    }
    check_parameters(parameters)?;
    Ok(Some(content_type))
}

/// Optional whitespace (RFC 9110 section 5.6.3).
const OWS: [char; 2] = [' ', '\t'];

fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let identity = |value: &[u8]| {
        let codings = value.split(|b| *b == b',').map(<[u8]>::trim_ascii);
        codings
            .into_iter()
            .all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity"))
    };
    let all = headers.get_all(CONTENT_ENCODING).iter().all(|value| identity(value.as_bytes()));
    if all { Ok(()) } else { Err(ENCODED) }
}

fn is_json(essence: &str) -> bool {
    let essence = essence.to_ascii_lowercase();
    let Some(subtype) = essence.strip_prefix("application/") else { return false };
    let suffixed = subtype.strip_suffix("+json").is_some_and(is_token);
    subtype == "json" || suffixed
}

/// Goes through `*( OWS ";" OWS [ parameter ] )`.
fn check_parameters(parameters: &str) -> Result<(), Refusal> {
    let mut rest = parameters;
    while let Some(parameter) = rest.strip_prefix(';') {
        rest = parameter.trim_start_matches(OWS);
        if !rest.is_empty() && !rest.starts_with(';') {
            rest = check_parameter(rest)?;
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(PARAMETERS) }
}

/// Reads `name=value` and gives back what follows.
fn check_parameter(parameter: &str) -> Result<&str, Refusal> {
    let (name, value) = parameter.split_once('=').ok_or(PARAMETERS)?;
    let (value, rest) = split_value(value).ok_or(PARAMETERS)?;
    if !is_token(name) {
        return Err(PARAMETERS);
    }
    let utf8 = value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8");
    if name.eq_ignore_ascii_case("charset") && !utf8 {
        return Err(CHARSET);
    }
    Ok(rest.trim_start_matches(OWS))
}

/// Splits a token or a quoted string off. What is quoted comes without its quotes, its backslashes
/// as they are: UTF-8 needs none.
fn split_value(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c| !is_token_char(c)).unwrap_or(text.len());
        return text.split_at_checked(end).filter(|(token, _)| !token.is_empty());
    };
    let mut escaped = false;
    let end = quoted.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })?;
    let (value, rest) = quoted.split_at_checked(end)?;
    Some((value, rest.strip_prefix('"')?))
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_token_char)
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn answer(headers: &[(HeaderName, &[u8])]) -> Result<Option<String>, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        check(&map).map(|content_type| content_type.map(str::to_owned))
    }

    fn content_type(value: &str) -> Result<(), Refusal> {
        answer(&[(CONTENT_TYPE, value.as_bytes())]).map(drop)
    }

    #[test]
    fn json_in_utf_8_is_taken_with_any_parameters() {
        assert_eq!(answer(&[]), Ok(None));
        for value in [
            "application/json",
            "Application/JSON",
            "application/json;charset=utf-8",
            "application/json; charset=UTF-8",
            "application/json ; Charset=\"Utf-8\"",
            "application/json; charset=utf8",
            "application/json;",
            "application/json; ;charset=utf-8;",
            "application/json; version=2; charset=utf-8",
            "application/json; v=\"a;charset=latin1\\\"\"; charset=utf-8",
            "application/cloudevents+json; charset=utf-8",
            "application/vnd.lab.v2+json",
        ] {
            assert_eq!(content_type(value), Ok(()), "{value}");
        }
        let kept = answer(&[(CONTENT_TYPE, b"application/json; a=b")]);
        assert_eq!(kept, Ok(Some("application/json; a=b".to_owned())));
    }

    #[test]
    fn anything_else_is_unsupported() {
        for (value, refusal) in [
            ("", NOT_JSON),
            ("json", NOT_JSON),
            ("text/json", NOT_JSON),
            ("text/plain", NOT_JSON),
            ("application/xml", NOT_JSON),
            ("application/jsonp", NOT_JSON),
            ("application/+json", NOT_JSON),
            ("application/a b+json", NOT_JSON),
            ("application/json-seq", NOT_JSON),
            ("application/json+xml", NOT_JSON),
            ("application/json, application/json", NOT_JSON),
            ("application/x-www-form-urlencoded", NOT_JSON),
            ("multipart/form-data; boundary=x", NOT_JSON),
            ("application/json; charset=latin1", CHARSET),
            ("application/json; charset=utf-16", CHARSET),
            ("application/json; charset=utf-8; charset=utf-16", CHARSET),
            ("application/json; a=b; CHARSET=\"iso-8859-1\"", CHARSET),
            ("application/json; charset=\"\"", CHARSET),
            ("application/json; charset=", PARAMETERS),
            ("application/json; charset", PARAMETERS),
            ("application/json; charset=\"utf-8", PARAMETERS),
            ("application/json; charset=utf-8 utf-8", PARAMETERS),
            ("application/json; charset =utf-8", PARAMETERS),
            ("application/json; a=b, application/json", PARAMETERS),
        ] {
            assert_eq!(content_type(value), Err(refusal), "{value}");
        }
        let json = (CONTENT_TYPE, &b"application/json"[..]);
        assert_eq!(answer(&[json.clone(), json]), Err(REPEATED));
        assert_eq!(answer(&[(CONTENT_TYPE, b"application/json; a=\xff")]), Err(UNPRINTABLE));
    }

    #[test]
    fn only_the_identity_encoding_is_taken() {
        let encoded = |values: &[&[u8]]| {
            answer(&values.iter().map(|v| (CONTENT_ENCODING, *v)).collect::<Vec<_>>()).map(drop)
        };
        for fine in [&[&b"identity"[..]][..], &[b"Identity"], &[b""], &[b"identity", b"identity"]] {
            assert_eq!(encoded(fine), Ok(()), "{fine:?}");
        }
        for other in [
            &[&b"gzip"[..]][..],
            &[b"br"],
            &[b"identity, gzip"],
            &[b"identity", b"gzip"],
            &[b"\xff"],
        ] {
            assert_eq!(encoded(other), Err(ENCODED), "{other:?}");
        }
    }
}
