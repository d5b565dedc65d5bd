//! Who may ask for more than health: whoever shows the token (RFC 6750, section 2.1).

use std::net::IpAddr;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::answer::Problem;
use crate::admit::Failures;
use crate::config::RateLimit;
use crate::listen::Occasionally;
use crate::secret::Secret;

/// Clients whose wrong tokens are remembered: the listener is for few.
const REMEMBERED: usize = 1024;

/// The door of the admin listener.
#[derive(Debug)]
pub(super) struct Access {
    token: ArcSwapOption<Secret>,
    guesses: Failures,
    failures: Mutex<Occasionally>,
}

impl Access {
    /// Open to who shows this token; without one, to nobody. `guesses`: how often a client may show
    /// a wrong one.
    pub(super) fn new(token: Option<Secret>, guesses: RateLimit) -> Self {
        Self {
            token: ArcSwapOption::from_pointee(token),
            guesses: Failures::new(guesses, REMEMBERED),
            failures: Mutex::default(),
        }
    }

    /// From here on this token is asked for, and so many guesses are answered.
    pub(super) fn set(&self, token: Option<Secret>, guesses: RateLimit) {
        self.token.store(token.map(std::sync::Arc::new));
        self.guesses.reload(guesses, REMEMBERED);
    }

    /// Lets through who shows the token. Failures are logged, a few a minute however many there
    /// are, with the latest peer; what was shown is not. However often a client has failed, the
    /// token lets it through.
    ///
    /// # Errors
    /// [`Problem::Unauthenticated`], [`Problem::TooMany`], and [`Problem::NoToken`] when no token can
    /// be right.
    pub(super) fn check(&self, headers: &HeaderMap, peer: IpAddr) -> Result<(), Problem> {
        let token = self.token.load();
        let Some(token) = token.as_deref() else { return Err(Problem::NoToken) };
        let Some(fault) = fault(token, headers) else { return Ok(()) };
        let told = self.failures.lock().now(Instant::now());
        if let Some(times) = told {
            let detail = fault.as_str();
            tracing::warn!(target: "hookward::admin", %peer, detail, times, "not let in");
        }
        // Who shows nothing does not guess.
        let wait = (fault != Fault::Nothing).then(|| self.guesses.count(Some(peer))).flatten();
        Err(wait.map_or(Problem::Unauthenticated, Problem::TooMany))
    }
}

/// What is wrong with a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    Repeated,
    NotBearer,
    Wrong,
}

impl Fault {
    /// For our own log.
    fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "no credential",
            Self::Repeated => "a repeated Authorization header",
            Self::NotBearer => "not a bearer token",
            Self::Wrong => "a wrong token",
        }
    }
}

fn fault(token: &Secret, headers: &HeaderMap) -> Option<Fault> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, further) = (values.next(), values.next());
    let Some(value) = value else { return Some(Fault::Nothing) };
    if further.is_some() {
        return Some(Fault::Repeated);
    }
    match bearer(value.as_bytes()) {
        None => Some(Fault::NotBearer),
        Some(shown) if token.matches(shown) => None,
        Some(_) => Some(Fault::Wrong),
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
        let access = Access::new(secret("correct-horse"), guesses(1, 100));
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

    fn guesses(per_second: u32, burst: u32) -> RateLimit {
        let count = |n| std::num::NonZeroU32::new(n).unwrap();
        RateLimit { per_second: count(per_second), burst: count(burst) }
    }

    /// A token could be guessed at as fast as the listener answers.
    #[tokio::test(start_paused = true)]
    async fn guesses_are_slowed_for_their_client_and_the_token_never_is() {
        let access = Access::new(secret("right"), guesses(1, 3));
        for _ in 0..10 {
            assert_eq!(check(&access, &[]), Err(Problem::Unauthenticated), "no guess");
        }
        for _ in 0..3 {
            assert_eq!(check(&access, &["Bearer wrong"]), Err(Problem::Unauthenticated));
        }
        for wrong in ["Bearer wrong", "Basic wrong"] {
            assert_eq!(check(&access, &[wrong]), Err(Problem::TooMany(1)));
        }
        assert_eq!(check(&access, &["Bearer right"]), Ok(()));
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer wrong"));
        let other = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(access.check(&headers, other), Err(Problem::Unauthenticated));
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert_eq!(check(&access, &["Bearer wrong"]), Err(Problem::Unauthenticated));
        // A reload that changes nothing of it forgets nothing.
        access.set(secret("right"), guesses(1, 3));
        assert_eq!(check(&access, &["Bearer wrong"]), Err(Problem::TooMany(1)));
        access.set(secret("right"), guesses(1, 4));
        assert_eq!(check(&access, &["Bearer wrong"]), Err(Problem::Unauthenticated));
    }

    #[test]
    fn without_a_token_nothing_opens() {
        let access = Access::new(None, guesses(1, 100));
        for values in [&[][..], &["Bearer "], &["Bearer x"]] {
            assert_eq!(check(&access, values), Err(Problem::NoToken));
        }
    }

    #[test]
    fn a_new_token_takes_the_place_of_the_old_one() {
        let access = Access::new(secret("old"), guesses(1, 100));
        access.set(secret("new"), guesses(1, 100));
        assert_eq!(check(&access, &["Bearer old"]), Err(Problem::Unauthenticated));
        assert_eq!(check(&access, &["Bearer new"]), Ok(()));
        access.set(None, guesses(1, 100));
        assert_eq!(check(&access, &["Bearer new"]), Err(Problem::NoToken));
    }
}
