//! What an HTTP/2 request's head must be beyond what h2 sees to (RFC 9113, section 8).
//!
//! h2 resets the stream for connection-specific fields, TE other than `trailers`, names in upper
//! case, pseudo-header fields that are missing, repeated, unknown, empty or in the wrong place,
//! an `:authority` or `:path` that is none, differing or malformed Content-Lengths, one that is
//! not the length of the DATA, and extended CONNECT. That Host agrees with `:authority` is checked
//! where HTTP/1's is, in `ingress::head`.

use http::header::{CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue};
use http::{Method, Uri, request};

use super::super::{Defect, Limits};

/// What the header sections' size is counted with for each field (section 6.5.2).
const OVERHEAD: usize = 32;

/// How many bytes the head takes.
pub(super) fn size(head: &request::Parts) -> usize {
    let fields = head.headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD);
    fields.sum::<usize>() + target(&head.uri).len()
}

/// The first thing that is wrong with the head. `tls`: whether the connection is encrypted.
pub(super) fn check(head: &request::Parts, limits: &Limits, tls: bool) -> Option<Defect> {
    if target(&head.uri).len() > limits.max_target {
        return Some(Defect::LongTarget);
    }
    if head.headers.len() > limits.max_headers {
        return Some(Defect::ManyFields);
    }
    check_target(&head.method, &head.uri, tls).or_else(|| check_fields(&head.headers))
}

fn target(uri: &Uri) -> &str {
    uri.path_and_query().map_or("", |target| target.as_str())
}

/// Section 8.3.1. The scheme of a request without `:authority` is lost on the way here.
fn check_target(method: &Method, uri: &Uri, tls: bool) -> Option<Defect> {
    let scheme = if tls { "https" } else { "http" };
    if method == Method::CONNECT {
        Some(Defect::Connect)
    } else if uri.scheme_str().is_some_and(|given| given != scheme) {
        Some(Defect::Scheme)
    } else if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        Some(Defect::UserInfo)
    } else if !target(uri).starts_with('/') {
        Some(Defect::TargetForm)
    } else {
        None
    }
}

/// Section 8.2.1; and a repeated Content-Length, which is refused in HTTP/1.1 as well.
fn check_fields(headers: &HeaderMap) -> Option<Defect> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(_), Some(_)) => return Some(Defect::RepeatedLength),
        (Some(length), None) if length.is_empty() => return Some(Defect::BadLength),
        (Some(_) | None, None) | (None, Some(_)) => {}
    }
    let expected = headers
        .get_all(EXPECT)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if !expected {
        return Some(Defect::Expectation);
    }
    headers.values().any(is_padded).then_some(Defect::PaddedValue)
}

fn is_padded(value: &HeaderValue) -> bool {
    let (first, last) = (value.as_bytes().first(), value.as_bytes().last());
    matches!(first, Some(b' ' | b'\t')) || matches!(last, Some(b' ' | b'\t'))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::super::tests::limits;
    use super::*;

    fn fault(request: http::request::Builder) -> Option<Defect> {
        let (head, ()) = request.body(()).unwrap().into_parts();
        check(&head, &limits(), true)
    }

    #[test]
    fn heads_that_h2_lets_pass_are_refused() {
        let post = || Request::post("https://gw/hooks/a");
        for (request, defect) in [
            (post(), None),
            (post().header("x", "").header("content-length", "2"), None),
            (Request::post("/hooks/a"), None),
            (Request::post("http://gw/hooks/a"), Some(Defect::Scheme)),
            (Request::post("ftp://gw/hooks/a"), Some(Defect::Scheme)),
            (Request::post("https://me:key@gw/hooks/a"), Some(Defect::UserInfo)),
            (Request::options("*"), Some(Defect::TargetForm)),
            (Request::connect("gw:443"), Some(Defect::Connect)),
            (post().header("content-length", ""), Some(Defect::BadLength)),
            (
                post().header("content-length", "2").header("content-length", "2"),
                Some(Defect::RepeatedLength),
            ),
            (post().header("expect", "100-Continue"), None),
            (post().header("expect", "200-ok"), Some(Defect::Expectation)),
            (post().header("x", " a"), Some(Defect::PaddedValue)),
            (post().header("x", "a\t"), Some(Defect::PaddedValue)),
        ] {
            let shown = format!("{request:?}");
            assert_eq!(fault(request), defect, "{shown}");
        }
    }

    #[test]
    fn targets_and_sections_have_a_size() {
        let limits = limits();
        let long = format!("https://gw/{}", "a".repeat(limits.max_target));
        assert_eq!(fault(Request::post(&long)), Some(Defect::LongTarget));
        assert_eq!(fault(Request::post(&long[..long.len() - 1])), None);

        let fields = |n| {
            (0..n).fold(Request::post("https://gw/"), |request, n| {
                request.header(format!("x-{n}"), "")
            })
        };
        assert_eq!(fault(fields(limits.max_headers)), None);
        assert_eq!(fault(fields(limits.max_headers + 1)), Some(Defect::ManyFields));
    }
}
