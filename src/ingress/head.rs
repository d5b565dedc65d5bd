//! What a request's head must be before anything is read out of it (RFC 9112, section 3.2; RFC
//! 9113, section 8.3.1).

use http::{HeaderMap, Uri, Version, header, request};

use crate::listen::Defect;
use crate::listen::framing::is_host;

/// Refuses a head that could be read in two ways: `defect` is what the listener has found in its
/// bytes. What HTTP/1 says of the host was judged there as well; here it is for HTTP/2, and once
/// more for all.
///
/// # Errors
/// The defect.
pub(crate) fn check(head: &request::Parts, defect: Option<Defect>) -> Result<(), Defect> {
    match defect {
        Some(defect) => Err(defect),
        None => check_host(&head.uri, &head.headers, head.version),
    }
}

/// HTTP/1.1 needs a Host. HTTP/2 has its authority in the target, and a Host that came with it
/// must agree.
fn check_host(uri: &Uri, headers: &HeaderMap, version: Version) -> Result<(), Defect> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().map(|host| host.as_bytes());
    if hosts.next().is_some() {
        return Err(Defect::RepeatedHost);
    }
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    if authority.is_some_and(|authority| authority.contains(&b'@')) {
        return Err(Defect::UserInfo);
    }
    if !authority.is_none_or(is_host) {
        return Err(Defect::Target);
    }
    if !host.is_none_or(is_host) {
        return Err(Defect::BadHost);
    }
    match (host, authority) {
        (None, _) if version == Version::HTTP_11 => Err(Defect::NoHost),
        (None, None) if version > Version::HTTP_11 => Err(Defect::NoHost),
        (Some(host), Some(authority)) if !authority.eq_ignore_ascii_case(host) => {
            Err(Defect::OtherHost)
        }
        (None | Some(_), None | Some(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(uri: &str, hosts: &[&str], version: Version) -> Result<(), Defect> {
        let mut request = Request::post(uri).version(version);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        check(&head, None)
    }

    #[test]
    fn one_host_that_agrees_with_the_target_is_asked_for() {
        for (uri, hosts, result) in [
            ("/hooks/a", ["gw"].as_slice(), Ok(())),
            ("/hooks/a", &[""], Err(Defect::BadHost)),
            ("/hooks/a", &["g w"], Err(Defect::BadHost)),
            ("/hooks/a", &[], Err(Defect::NoHost)),
            ("/hooks/a", &["gw", "gw"], Err(Defect::RepeatedHost)),
            ("http://gw/hooks/a", &["gw"], Ok(())),
            ("http://gw:8080/hooks/a", &["GW:8080"], Ok(())),
            ("http://gw/hooks/a", &["other"], Err(Defect::OtherHost)),
            ("http://gw/hooks/a", &["gw:80"], Err(Defect::OtherHost)),
            ("http://user@gw/hooks/a", &["gw"], Err(Defect::UserInfo)),
            ("http://gw/hooks/a", &[], Err(Defect::NoHost)),
        ] {
            assert_eq!(checked(uri, hosts, Version::HTTP_11), result, "{uri} {hosts:?}");
        }
    }

    #[test]
    fn http_1_0_may_come_without_host() {
        assert_eq!(checked("/", &[], Version::HTTP_10), Ok(()));
        assert_eq!(checked("/", &["a", "a"], Version::HTTP_10), Err(Defect::RepeatedHost));
    }

    #[test]
    fn http_2_has_its_host_in_the_target() {
        for (uri, hosts, result) in [
            ("https://gw/hooks/a", [].as_slice(), Ok(())),
            ("https://gw/hooks/a", &["gw"], Ok(())),
            ("https://gw/hooks/a", &["other"], Err(Defect::OtherHost)),
            ("https://gw/hooks/a", &["gw", "gw"], Err(Defect::RepeatedHost)),
            ("https://user@gw/hooks/a", &[], Err(Defect::UserInfo)),
            ("/hooks/a", &["gw"], Ok(())),
            ("/hooks/a", &[], Err(Defect::NoHost)),
        ] {
            assert_eq!(checked(uri, hosts, Version::HTTP_2), result, "{uri} {hosts:?}");
        }
    }

    #[test]
    fn what_the_listener_found_is_refused() {
        let (head, ()) = Request::post("/").header("host", "gw").body(()).unwrap().into_parts();
        assert_eq!(check(&head, Some(Defect::RepeatedLength)), Err(Defect::RepeatedLength));
    }
}
