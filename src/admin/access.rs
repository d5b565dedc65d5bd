//! Who may ask for more than health: whoever shows a token (RFC 6750, section 2.1), and a client
//! certificate where those are asked for.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, header};
use subtle::ConditionallySelectable as _;

use super::answer::Problem;
use super::caller::Caller;
use super::guesses::Guesses;
use super::refusal::Denied;
use crate::admit::{ClientRoots, Refusal, VerifierError};
use crate::audit::{Client, Reason};
use crate::clock::UnixMillis;
use crate::config::{Admin, Config, RateLimit, Role};
use crate::listen::Origin;
use crate::secret::{Presented, Secret, Withdrawal};

/// Who is let in, by one configuration.
#[derive(Debug)]
pub struct Gate {
    holders: Vec<Holder>,
    clients: Option<ClientRoots>,
    /// How often a client may show what is wrong before it waits.
    guesses: RateLimit,
}

/// Somebody who has a token.
#[derive(Debug)]
struct Holder {
    who: Arc<str>,
    role: Role,
    secret: Secret,
    withdrawal: Withdrawal,
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

    /// Takes over from this gate: whose token and role are the same goes on, and the others' tokens are
    /// withdrawn.
    fn succeed(&mut self, old: &Self) {
        for before in &old.holders {
            match self.holders.iter_mut().find(|holder| holder.is_as(before)) {
                Some(holder) => holder.withdrawal = before.withdrawal.clone(),
                None => before.withdrawal.take_effect(),
            }
        }
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

impl Holder {
    fn is_as(&self, other: &Self) -> bool {
        (&self.who, self.role, &self.secret) == (&other.who, other.role, &other.secret)
    }
}

fn holders(admin: &Admin) -> Vec<Holder> {
    let all = admin.token.iter().map(|secret| (Admin::NAME, Role::Admin, secret));
    let named = admin.tokens.iter().map(|token| (token.name.as_str(), token.role, &token.secret));
    let holder = |(who, role, secret): (&str, Role, &Secret)| Holder {
        who: who.into(),
        role,
        secret: secret.clone(),
        withdrawal: Withdrawal::default(),
    };
    all.chain(named).map(holder).collect()
}

/// The door of the admin listener.
#[derive(Debug)]
pub(super) struct Access {
    gate: ArcSwap<Gate>,
    guesses: Guesses,
}

impl Access {
    /// Open to those whom the gate lets through; without a token in it, to nobody.
    pub(super) fn new(gate: Gate) -> Self {
        let guesses = Guesses::new(gate.guesses);
        Self { gate: ArcSwap::from_pointee(gate), guesses }
    }

    /// From here on this gate holds.
    pub(super) fn set(&self, mut gate: Gate) {
        self.guesses.reload(gate.guesses);
        gate.succeed(&self.gate.load());
        self.gate.store(Arc::new(gate));
    }

    /// Lets through who shows a token, and a certificate where one is asked for. However often a client
    /// has failed, what is right lets it through; but while it is beyond its budget, it waits for that as
    /// long as for what is wrong.
    ///
    /// # Errors
    /// [`Problem::Unauthenticated`], [`Problem::Certificate`], [`Problem::TooMany`], and
    /// [`Problem::NoToken`] when no token can be right.
    pub(super) async fn check(
        &self,
        headers: &HeaderMap,
        origin: &Origin,
        now: impl Fn() -> UnixMillis,
    ) -> Result<Caller, Denied> {
        // Who shows nothing does not guess, and where there is no token there is nothing to guess.
        let shows = headers.contains_key(header::AUTHORIZATION);
        if shows && !self.gate.load().holders.is_empty() {
            self.guesses
                .turn(origin.address())
                .await
                .map_err(|_| Denied::unseen(Reason::RateLimited, CROWDED))?;
        }
        let gate = self.gate.load();
        let judged = gate.judge(headers, origin, now());
        let token = judged.as_ref().ok().map(|holder| &holder.withdrawal);
        if !origin.has_shown_a_token(token) {
            return Err(Denied::unseen(Reason::Overloaded, DISPLACED));
        }
        let fault = match judged {
            Ok(holder) => return Ok(self.let_in(holder, origin)),
            Err(fault) => fault,
        };
        if gate.holders.is_empty() && !matches!(fault, Fault::Certificate(_)) {
            let (problem, detail) = (Problem::NoToken, "no token is configured");
            return Err(Denied { problem, reason: fault.reason(), detail, who: None });
        }
        Err(self.denied(&fault, origin.address()))
    }

    fn let_in(&self, holder: &Holder, origin: &Origin) -> Caller {
        let failures = self.guesses.succeeded(origin.address());
        if failures > 0 {
            let (client, who) = (Client(Some(origin.address())), &*holder.who);
            tracing::warn!(
                target: "hookward::admin", %client, who, failures, "a right token after wrong ones"
            );
        }
        Caller::of_token(&holder.who, holder.role, &holder.withdrawal, origin)
    }

    fn denied(&self, fault: &Fault, client: IpAddr) -> Denied {
        let guessed = fault.reason() != Reason::CredentialMissing;
        let wait = guessed.then(|| self.guesses.failed(client)).flatten();
        let (problem, reason) = match wait {
            Some(seconds) => (Problem::TooMany(seconds), Reason::RateLimited),
            None => (fault.problem(), fault.reason()),
        };
        Denied { problem, reason, detail: fault.detail(), who: None }
    }
}

/// Why a token was not looked at. For our own records.
const CROWDED: &str = "too many tokens of this client wait to be looked at";
const DISPLACED: &str = "its connection has given way to another";

impl Denied {
    /// What was shown is not looked at.
    fn unseen(reason: Reason, detail: &'static str) -> Self {
        Self { problem: Problem::TooMany(1), reason, detail, who: None }
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
