//! What a request's head must be before anything is read out of it (RFC 9112, section 3.2).

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri, Version, header, request};

use crate::admit::Refusal;
use crate::audit::Reason;
use crate::listen::Defect;

/// Refuses a head that could be read in two ways: `defect` is what the listener has found in its
/// raw lines, the rest shows in the head itself.
///
/// # Errors
/// [`Reason::ProtocolError`].
pub(super) fn check(head: &request::Parts, defect: Option<Defect>) -> Result<(), Refusal> {
    match defect {
        Some(defect) => Err(malformed(defect.as_str())),
        None => check_host(&head.uri, &head.headers, head.version),
    }
}

fn check_host(uri: &Uri, headers: &HeaderMap, version: Version) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(malformed("repeated host"));
    }
    match (host, uri.authority()) {
        (None, Some(_)) if version == Version::HTTP_2 => Ok(()),
        (None, _) if version >= Version::HTTP_11 => Err(malformed("no host")),
        (Some(host), Some(authority)) if !is_same(authority, host) => {
            Err(malformed("the target's authority is not the host"))
        }
        (None | Some(_), _) => Ok(()),
    }
}

/// Whether the Host field names the authority: byte for byte, but for case. That a default port
/// may be left out is not considered: whoever sends the absolute form can repeat it.
fn is_same(authority: &Authority, host: &HeaderValue) -> bool {
    authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes())
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::new(Reason::ProtocolError, detail)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(uri: &str, hosts: &[&str], version: Version) -> Result<(), &'static str> {
        let mut request = Request::post(uri).version(version);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        check(&head, None).map_err(|refusal| refusal.detail)
    }

    #[test]
    fn one_host_that_agrees_with_the_target_is_asked_for() {
        let not_the_host = Err("the target's authority is not the host");
        for (uri, hosts, result) in [
            ("/hooks/a", ["gw"].as_slice(), Ok(())),
            ("/hooks/a", &[""], Ok(())),
            ("/hooks/a", &[], Err("no host")),
            ("/hooks/a", &["gw", "gw"], Err("repeated host")),
            ("http://gw/hooks/a", &["gw"], Ok(())),
            ("http://gw:8080/hooks/a", &["GW:8080"], Ok(())),
            ("http://gw/hooks/a", &["other"], not_the_host),
            ("http://gw/hooks/a", &["gw:80"], not_the_host),
            ("http://user@gw/hooks/a", &["gw"], not_the_host),
            ("http://gw/hooks/a", &[], Err("no host")),
        ] {
            assert_eq!(checked(uri, hosts, Version::HTTP_11), result, "{uri} {hosts:?}");
        }
    }

    #[test]
    fn http_1_0_may_come_without_host() {
        assert_eq!(checked("/", &[], Version::HTTP_10), Ok(()));
        assert_eq!(checked("/", &["a", "a"], Version::HTTP_10), Err("repeated host"));
    }

    #[test]
    fn http_2_says_the_host_in_the_authority() {
        for (uri, hosts, result) in [
            ("https://gw/hooks/a", [].as_slice(), Ok(())),
            ("https://gw/hooks/a", &["GW"], Ok(())),
            ("/hooks/a", &["gw"], Ok(())),
            ("https://gw/hooks/a", &["a"], Err("the target's authority is not the host")),
            ("https://gw/hooks/a", &["gw", "gw"], Err("repeated host")),
            ("/hooks/a", &[], Err("no host")),
        ] {
            assert_eq!(checked(uri, hosts, Version::HTTP_2), result, "{uri} {hosts:?}");
        }
    }

    #[test]
    fn what_the_listener_found_is_refused() {
        let (head, ()) = Request::post("/").header("host", "gw").body(()).unwrap().into_parts();
        let refusal = check(&head, Some(Defect::RepeatedLength)).unwrap_err();
        assert_eq!(refusal, Refusal::new(Reason::ProtocolError, "repeated content-length"));
    }
}
