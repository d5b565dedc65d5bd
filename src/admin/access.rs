//! Who may ask for more than health: whoever shows the token (RFC 6750, section 2.1).

use std::net::IpAddr;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::answer::Problem;
use crate::listen::Occasionally;
use crate::secret::Secret;

/// The door of the admin listener.
#[derive(Debug)]
pub(super) struct Access {
    token: ArcSwapOption<Secret>,
    failures: Mutex<Occasionally>,
}

impl Access {
    /// Open to who shows this token; without one, to nobody.
    pub(super) fn new(token: Option<Secret>) -> Self {
        Self { token: ArcSwapOption::from_pointee(token), failures: Mutex::default() }
    }

    /// From here on this token is asked for.
    pub(super) fn set(&self, token: Option<Secret>) {
        self.token.store(token.map(std::sync::Arc::new));
    }

    /// Lets through who shows the token. Failures are logged, a few a minute however many there
    /// are, with the latest peer; what was shown is not.
    ///
    /// # Errors
    /// [`Problem::Unauthenticated`], and [`Problem::NoToken`] when no token can be right.
    pub(super) fn check(&self, headers: &HeaderMap, peer: IpAddr) -> Result<(), Problem> {
        let token = self.token.load();
        let Some(token) = token.as_deref() else { return Err(Problem::NoToken) };
        let Some(detail) = fault(token, headers) else { return Ok(()) };
        let told = self.failures.lock().now(Instant::now());
        if let Some(times) = told {
            tracing::warn!(target: "hookward::admin", %peer, detail, times, "not let in");
        }
        Err(Problem::Unauthenticated)
    }
}

/// What is wrong with the credential, for our own log.
fn fault(token: &Secret, headers: &HeaderMap) -> Option<&'static str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, further) = (values.next(), values.next());
    let Some(value) = value else { return Some("no credential") };
    if further.is_some() {
        return Some("a repeated Authorization header");
    }
    match bearer(value.as_bytes()) {
        None => Some("not a bearer token"),
        Some(shown) if token.matches(shown) => None,
        Some(_) => Some("a wrong token"),
    }
}

/// What follows the scheme, whose name has no case (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"Bearer ";
    let (scheme, shown) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| shown.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn secret(text: &str) -> Option<Secret> {
        Some(Secret::new(text.into()))
    }

    fn check(access: &Access, values: &[&str]) -> Result<(), Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        access.check(&headers, PEER)
    }

    #[test]
    fn only_the_token_opens() {
        let access = Access::new(secret("correct-horse"));
        for right in ["Bearer correct-horse", "bearer correct-horse", "BEARER  correct-horse"] {
            assert_eq!(check(&access, &[right]), Ok(()), "{right}");
        }
        for wrong in [
            &[][..],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["correct-horse"],
            &["Bearercorrect-horse"],
            &["Bearer correct-hors"],
            &["Bearer correct-horse2"],
            &["Bearer Correct-horse"],
            &["Bearer correct-horse, Bearer correct-horse"],
            &["Basic Y29ycmVjdC1ob3JzZQ=="],
            &["Token correct-horse"],
            &["Bearer correct-horse", "Bearer correct-horse"],
            &["Bearer wrong", "Bearer correct-horse"],
        ] {
            assert_eq!(check(&access, wrong), Err(Problem::Unauthenticated), "{wrong:?}");
        }
    }

    #[test]
    fn without_a_token_nothing_opens() {
        let access = Access::new(None);
        for values in [&[][..], &["Bearer "], &["Bearer x"]] {
            assert_eq!(check(&access, values), Err(Problem::NoToken));
        }
    }

    #[test]
    fn a_new_token_takes_the_place_of_the_old_one() {
        let access = Access::new(secret("old"));
        access.set(secret("new"));
        assert_eq!(check(&access, &["Bearer old"]), Err(Problem::Unauthenticated));
        assert_eq!(check(&access, &["Bearer new"]), Ok(()));
        access.set(None);
        assert_eq!(check(&access, &["Bearer new"]), Err(Problem::NoToken));
    }
}
