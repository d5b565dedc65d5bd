//! One order, from the account to the certificate (RFC 8555, section 7; RFC 8737 for the proof).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountBuilder, AccountCredentials, AuthorizationHandle, AuthorizationStatus,
    ChallengeType, Error, Identifier, KeyAuthorization, NewAccount, NewOrder, OrderStatus, Problem,
    RetryPolicy,
};
use rcgen::{
    CertificateParams, CertificateSigningRequest, CustomExtension, DistinguishedName, KeyPair,
};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::authority::{Asked, Authority};
use super::cache::{self, Cache};
use super::failure::{Failure, is_bad_nonce};
use crate::clock::Clock;
use crate::config::Acme;
use crate::listen::tls::Challenges;
use crate::pem::{Identity, PemError};

/// How often an order is looked at until it has got further.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(5 * 60));

/// How often a step is made again whose nonce was not taken; the library has tried some times by
/// itself then.
const NONCES: usize = 5;

/// Makes a step, and again if only its nonce was not taken: authorities may refuse any.
macro_rules! again {
    ($step:expr) => {{
        let mut left = NONCES;
        loop {
            match $step.await.map_err(Failure::from) {
                Err(Failure::Authority(error)) if left > 0 && is_bad_nonce(&error) => left -= 1,
                other => break other,
            }
        }
    }};
}

/// What an order is made with.
pub(super) struct Order<'a> {
    pub(super) acme: &'a Acme,
    pub(super) cache: &'a Cache,
    pub(super) challenges: &'a Challenges,
    pub(super) clock: &'a Clock,
    pub(super) asked: &'a Asked,
}

/// What was issued: the key and the chain, as PEM.
pub(super) struct Issued(Zeroizing<Vec<u8>>);

impl Issued {
    pub(super) fn identity(&self) -> Result<Identity, PemError> {
        cache::identity(&self.0)
    }

    pub(super) fn into_pem(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

/// The account with one authority, as it is kept.
#[derive(Deserialize, Serialize)]
struct KeptAccount {
    /// Whom the authority was told that it may write to.
    contact: Vec<String>,
    credentials: AccountCredentials,
}

impl Order<'_> {
    /// Makes the order and sees it through. Answers are on offer to the authority meanwhile, and
    /// none any more afterwards.
    pub(super) async fn fulfil(&self) -> Result<Issued, Failure> {
        let authority = Authority::new(self.acme, self.clock, self.asked).await?;
        if let Some(kept) = self.kept_account().await {
            match self.place_with(&authority, kept).await {
                // Authorities may forget accounts; that is worth a new one, once.
                Err(failure) if failure.is_unknown_account() => {}
                other => return other,
            }
        }
        self.place(&self.new_account(&authority).await?).await
    }

    async fn place_with(&self, to: &Authority, kept: KeptAccount) -> Result<Issued, Failure> {
        self.place(&self.known_account(to, kept).await?).await
    }

    async fn place(&self, account: &Account) -> Result<Issued, Failure> {
        let _offered = Offered(self.challenges);
        let names: Vec<_> = self.acme.domains.iter().cloned().map(Identifier::Dns).collect();
        let wanted = NewOrder::new(&names);
        let mut order = again!(account.new_order(&wanted))?;
        let mut told = BTreeSet::new();
        again!(self.prove(&mut order, &mut told))?;
        match again!(order.poll_ready(&POLL)) {
            Ok(OrderStatus::Ready) => {}
            Ok(_) => return Err(unproved(&mut order, None).await),
            Err(Failure::Authority(Error::Api(problem))) => {
                return Err(unproved(&mut order, Some(problem)).await);
            }
            Err(failure) => return Err(failure),
        }
        let (key, request) = self.request()?;
        again!(order.finalize_csr(request.der()))?;
        let chain = again!(order.poll_certificate(&POLL))?;
        Ok(Issued(Zeroizing::new([key.as_bytes(), chain.as_bytes()].concat())))
    }

    /// The account that is kept; the authority is told whom it may write to, if that has changed.
    async fn known_account(
        &self,
        authority: &Authority,
        kept: KeptAccount,
    ) -> Result<Account, Failure> {
        let KeptAccount { contact, credentials } = kept;
        let account = builder(authority).from_credentials(credentials).await?;
        if contact != self.acme.contact {
            let contact = self.contact();
            let contact: Vec<_> = contact.iter().map(String::as_str).collect();
            again!(account.update_contacts(&contact))?;
            // As they were: reading has used them up.
            if let Some(KeptAccount { credentials, .. }) = self.kept_account().await {
                self.keep_account(credentials).await?;
            }
        }
        Ok(account)
    }

    async fn new_account(&self, authority: &Authority) -> Result<Account, Failure> {
        let contact = self.contact();
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = &self.acme.directory;
        let (account, credentials) =
            again!(builder(authority).create(&new, directory.clone(), None))?;
        self.keep_account(credentials).await?;
        Ok(account)
    }

    fn contact(&self) -> Vec<String> {
        self.acme.contact.iter().map(|address| format!("mailto:{address}")).collect()
    }

    /// One that cannot be read is as good as none: accounts cost nothing.
    async fn kept_account(&self) -> Option<KeptAccount> {
        let bytes = self.cache.find(cache::account_file(self.acme)).await?;
        serde_json::from_slice(&bytes).ok()
    }

    async fn keep_account(&self, credentials: AccountCredentials) -> Result<(), Failure> {
        let kept = KeptAccount { contact: self.acme.contact.clone(), credentials };
        let bytes = serde_json::to_vec(&kept).map_err(Error::Json)?;
        let file = cache::account_file(self.acme);
        Ok(self.cache.write(file, Zeroizing::new(bytes)).await?)
    }

    /// Offers an answer for each name that is to be proved, and tells the authority to look; not a
    /// second time for names that it has been `told`.
    async fn prove(
        &self,
        order: &mut instant_acme::Order,
        told: &mut BTreeSet<String>,
    ) -> Result<(), Failure> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let Some(name) = name(&authorization).filter(|n| self.acme.domains.contains(n)) else {
                return Err(Failure::UnknownName);
            };
            match authorization.status {
                AuthorizationStatus::Pending if !told.contains(&name) => {}
                AuthorizationStatus::Pending | AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Invalid
                | AuthorizationStatus::Revoked
                | AuthorizationStatus::Expired
                | AuthorizationStatus::Deactivated => return Err(refused(&authorization, name)),
            }
            let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
                return Err(Failure::NoChallenge(name));
            };
            self.challenges.offer(&name, answer(&name, &challenge.key_authorization())?)?;
            challenge.set_ready().await?;
            told.insert(name);
        }
        Ok(())
    }

    /// A new key, as PEM, and a request for its certificate.
    fn request(&self) -> Result<(Zeroizing<String>, CertificateSigningRequest), Failure> {
        let key = KeyPair::generate()?;
        let mut request = CertificateParams::new(self.acme.domains.clone())?;
        request.distinguished_name = DistinguishedName::new();
        let request = request.serialize_request(&key)?;
        Ok((Zeroizing::new(key.serialize_pem()), request))
    }
}

/// While it is there, answers may be on offer.
struct Offered<'a>(&'a Challenges);

impl Drop for Offered<'_> {
    fn drop(&mut self) {
        self.0.withdraw();
    }
}

fn builder(authority: &Authority) -> AccountBuilder {
    Account::builder_with_http(Box::new(authority.clone()))
}

fn name(authorization: &AuthorizationHandle<'_>) -> Option<String> {
    match authorization.identifier().identifier {
        Identifier::Dns(name) => Some(name.clone()),
        _ => None,
    }
}

/// The certificate that proves a name (RFC 8737, section 3). Its key is for this one use.
fn answer(name: &str, expected: &KeyAuthorization) -> Result<Arc<CertifiedKey>, Failure> {
    let key = KeyPair::generate()?;
    let mut answer = CertificateParams::new([name.to_owned()])?;
    let digest = expected.digest();
    answer.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
    let answer = answer.self_signed(&key)?;
    let key = Zeroizing::new(PrivateKeyDer::Pkcs8(key.serialize_der().into()));
    let key = any_ecdsa_type(&key)?;
    // Not looked at: a verifier refuses it, as it is meant to, for the extension that it holds.
    Ok(Arc::new(CertifiedKey::new(vec![answer.der().clone()], key)))
}

/// By which name the authority did not find us, and what it says about that; else `problem`.
async fn unproved(order: &mut instant_acme::Order, problem: Option<Problem>) -> Failure {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        // What cannot be asked stays unknown.
        drop(authorization.refresh().await);
        if authorization.status == AuthorizationStatus::Invalid {
            return match name(&authorization) {
                Some(name) => refused(&authorization, name),
                None => Failure::UnknownName,
            };
        }
    }
    Failure::Authority(problem.map_or(Error::Str("a reason for an invalid order"), Error::Api))
}

fn refused(authorization: &AuthorizationHandle<'_>, name: String) -> Failure {
    let problem = authorization.challenges.iter().find_map(|challenge| challenge.error.clone());
    Failure::Unproved { name, problem }
}
