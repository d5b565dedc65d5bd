//! Who may ask for more than health: whoever shows a token (RFC 6750, section 2.1), and a client
//! certificate where those are asked for.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, header};
use subtle::ConditionallySelectable as _;

use super::answer::Problem;
use super::caller::Caller;
use super::refusal::Denied;
use crate::admit::{ClientRoots, Failures, Refusal, VerifierError};
use crate::audit::Reason;
use crate::clock::UnixMillis;
use crate::config::{Admin, Config, RateLimit, Role};
use crate::listen::Origin;
use crate::secret::{Presented, Secret};

/// Clients whose wrong tokens are remembered: the listener is for few.
const REMEMBERED: usize = 1024;

/// Who is let in, by one configuration.
#[derive(Debug)]
pub struct Gate {
    holders: Vec<Holder>,
    clients: Option<ClientRoots>,
    /// How often a client may show what is wrong.
    guesses: RateLimit,
}

/// Somebody who has a token.
#[derive(Debug)]
struct Holder {
    who: Arc<str>,
    role: Role,
    secret: Secret,
}

impl Gate {
    /// Those whom the configuration names.
    ///
    /// # Errors
    /// When the roots of `admin.tls.client_ca` cannot judge anybody.
    pub fn of(config: &Config) -> Result<Self, VerifierError> {
        let guesses = config.server.failure_rate_limit;
        let Some(admin) = &config.admin else {
            return Ok(Self { holders: Vec::new(), clients: None, guesses });
        };
        let asked = admin.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
        let clients = asked.map(|roots| ClientRoots::trusting(roots, || "admin.tls".to_owned()));
        Ok(Self { holders: holders(admin), clients: clients.transpose()?, guesses })
    }

    fn judge(
        &self,
        headers: &HeaderMap,
        origin: &Origin,
        now: UnixMillis,
    ) -> Result<&Holder, Fault> {
        if let Some(clients) = &self.clients {
            clients.check(origin, now).map_err(Fault::Certificate)?;
        }
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (value, further) = (values.next(), values.next());
        let value = value.ok_or(Fault::Nothing)?;
        if further.is_some() {
            return Err(Fault::Repeated);
        }
        let shown = bearer(value.as_bytes()).ok_or(Fault::NotBearer)?;
        self.holder(shown).ok_or(Fault::Wrong)
    }

    /// Whose token it is. All are compared, whichever it is: how long it takes says nothing.
    fn holder(&self, shown: &[u8]) -> Option<&Holder> {
        let (shown, mut found) = (Presented::new(shown), u32::MAX);
        for (nth, holder) in (0..u32::MAX).zip(&self.holders) {
            found.conditional_assign(&nth, holder.secret.is(&shown));
        }
        self.holders.get(usize::try_from(found).ok()?)
    }
}

fn holders(admin: &Admin) -> Vec<Holder> {
    let all = admin.token.iter().map(|secret| (Admin::NAME, Role::Admin, secret));
    let named = admin.tokens.iter().map(|token| (token.name.as_str(), token.role, &token.secret));
    let holder = |(who, role, secret): (&str, Role, &Secret)| Holder {
        who: who.into(),
        role,
        secret: secret.clone(),
    };
    all.chain(named).map(holder).collect()
}

/// The door of the admin listener.
#[derive(Debug)]
pub(super) struct Access {
    gate: ArcSwap<Gate>,
    guesses: Failures,
}

impl Access {
    /// Open to those whom the gate lets through; without a token in it, to nobody.
    pub(super) fn new(gate: Gate) -> Self {
        let guesses = Failures::new(gate.guesses, REMEMBERED);
        Self { gate: ArcSwap::from_pointee(gate), guesses }
    }

    /// From here on this gate holds.
    pub(super) fn set(&self, gate: Gate) {
        self.guesses.reload(gate.guesses, REMEMBERED);
        self.gate.store(Arc::new(gate));
    }

    /// Lets through who shows a token, and a certificate where one is asked for. However often a client
    /// has failed, what is right lets it through.
    ///
    /// # Errors
    /// [`Problem::Unauthenticated`], [`Problem::Certificate`], [`Problem::TooMany`], and
    /// [`Problem::NoToken`] when no token can be right.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        origin: &Origin,
        now: UnixMillis,
    ) -> Result<Caller, Denied> {
        let gate = self.gate.load();
        let fault = match gate.judge(headers, origin, now) {
            Ok(holder) => return Ok(Caller::of_token(&holder.who, holder.role, origin)),
            Err(fault) => fault,
        };
        if gate.holders.is_empty() && !matches!(fault, Fault::Certificate(_)) {
            let (problem, detail) = (Problem::NoToken, "no token is configured");
            return Err(Denied { problem, reason: fault.reason(), detail, who: None });
        }
        Err(self.denied(&fault, origin.address()))
    }

    fn denied(&self, fault: &Fault, client: IpAddr) -> Denied {
        // Who shows nothing does not guess.
        let guessed = fault.reason() != Reason::CredentialMissing;
        let wait = guessed.then(|| self.guesses.count(Some(client))).flatten();
        let (problem, reason) = match wait {
            Some(seconds) => (Problem::TooMany(seconds), Reason::RateLimited),
            None => (fault.problem(), fault.reason()),
        };
        Denied { problem, reason, detail: fault.detail(), who: None }
    }
}

/// What is wrong with a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Certificate(Refusal),
    Nothing,
    Repeated,
    NotBearer,
    Wrong,
}

impl Fault {
    fn reason(&self) -> Reason {
        match self {
            Self::Certificate(refusal) => refusal.reason,
            Self::Nothing => Reason::CredentialMissing,
            Self::Repeated | Self::NotBearer | Self::Wrong => Reason::CredentialInvalid,
        }
    }

    fn problem(&self) -> Problem {
        match self {
            Self::Certificate(_) => Problem::Certificate,
            Self::Nothing | Self::Repeated | Self::NotBearer | Self::Wrong => {
                Problem::Unauthenticated
            }
        }
    }

    /// For our own records.
    fn detail(&self) -> &'static str {
        match self {
            Self::Certificate(refusal) => refusal.detail,
            Self::Nothing => "no credential",
            Self::Repeated => "a repeated Authorization header",
            Self::NotBearer => "not a bearer token",
            Self::Wrong => "a wrong token",
        }
    }
}

/// What follows the scheme, whose name has no case (RFC 9110, section 11.1).
pub(super) fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"Bearer ";
    let (scheme, shown) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| shown.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_736_937_000_412);

    fn gate(tokens: &[(&str, Role, &str)], guesses: (u32, u32)) -> Gate {
        let count = |n| std::num::NonZeroU32::new(n).unwrap();
        let guesses = RateLimit { per_second: count(guesses.0), burst: count(guesses.1) };
        let holder = |(who, role, secret): &(&str, Role, &str)| Holder {
            who: (*who).into(),
            role: *role,
            secret: Secret::new((*secret).into()),
        };
        Gate { holders: tokens.iter().map(holder).collect(), clients: None, guesses }
    }

    fn one(secret: &str) -> Gate {
        gate(&[("admin", Role::Admin, secret)], (1, 100))
    }

    fn from(access: &Access, peer: [u8; 4], values: &[&str]) -> Result<Caller, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let origin = Origin::plain((peer, 9).into());
        access.check(&headers, &origin, NOW).map_err(|denied| denied.problem)
    }

    fn check(access: &Access, values: &[&str]) -> Result<Role, Problem> {
        from(access, [127, 0, 0, 1], values).map(|caller| caller.role)
    }

    #[test]
    fn only_the_token_opens() {
        let access = Access::new(one("correct-horse"));
        for right in ["Bearer correct-horse", "bearer correct-horse", "BEARER  correct-horse"] {
            assert_eq!(check(&access, &[right]), Ok(Role::Admin), "{right}");
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
    fn each_of_several_tokens_is_its_holder_s() {
        let tokens = [
            ("admin", Role::Admin, "one"),
            ("alice", Role::Viewer, "two"),
            ("bob", Role::Auditor, "three"),
        ];
        let access = Access::new(gate(&tokens, (1, 100)));
        for (who, role, secret) in tokens {
            let caller = from(&access, [192, 0, 2, 1], &[&format!("Bearer {secret}")]).unwrap();
            assert_eq!((&*caller.operator.who, caller.role), (who, role));
            assert_eq!(caller.operator.peer, "192.0.2.1");
        }
        assert_eq!(check(&access, &["Bearer onetwo"]), Err(Problem::Unauthenticated));
    }

    /// A token could be guessed at as fast as the listener answers.
    #[tokio::test(start_paused = true)]
    async fn guesses_are_slowed_for_their_client_and_the_token_never_is() {
        let few = || gate(&[("admin", Role::Admin, "right")], (1, 3));
        let access = Access::new(few());
        for _ in 0..10 {
            assert_eq!(check(&access, &[]), Err(Problem::Unauthenticated), "no guess");
        }
        for _ in 0..3 {
            assert_eq!(check(&access, &["Bearer wrong"]), Err(Problem::Unauthenticated));
        }
        for wrong in ["Bearer wrong", "Basic wrong"] {
            assert_eq!(check(&access, &[wrong]), Err(Problem::TooMany(1)));
        }
        assert_eq!(check(&access, &["Bearer right"]), Ok(Role::Admin));
        let other = from(&access, [192, 0, 2, 1], &["Bearer wrong"]);
        assert_eq!(other.unwrap_err(), Problem::Unauthenticated);
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert_eq!(check(&access, &["Bearer wrong"]), Err(Problem::Unauthenticated));
        // A reload that changes nothing of it forgets nothing.
        access.set(few());
        assert_eq!(check(&access, &["Bearer wrong"]), Err(Problem::TooMany(1)));
        access.set(gate(&[("admin", Role::Admin, "right")], (1, 4)));
        assert_eq!(check(&access, &["Bearer wrong"]), Err(Problem::Unauthenticated));
    }

    #[test]
    fn without_a_token_nothing_opens() {
        let access = Access::new(gate(&[], (1, 100)));
        for values in [&[][..], &["Bearer "], &["Bearer x"]] {
            assert_eq!(check(&access, values), Err(Problem::NoToken));
        }
    }

    #[test]
    fn a_new_token_takes_the_place_of_the_old_one() {
        let access = Access::new(one("old"));
        access.set(one("new"));
        assert_eq!(check(&access, &["Bearer old"]), Err(Problem::Unauthenticated));
        assert_eq!(check(&access, &["Bearer new"]), Ok(Role::Admin));
        access.set(gate(&[], (1, 100)));
        assert_eq!(check(&access, &["Bearer new"]), Err(Problem::NoToken));
    }
}
