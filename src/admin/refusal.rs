//! Who was turned away: what is recorded of a request that is not let in, in the log and in the audit
//! trail. Of what it has presented only a keyed fingerprint gets there.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, Uri, header};

use super::access::bearer;
use super::answer::{self, Problem};
use super::caller::Caller;
use super::rights::{Asked, Right};
use crate::audit::{Reason, Refusals, Refused};
use crate::listen::{Arrival, Defective, Origin};

/// A request that is turned away, and why.
#[derive(Clone, Debug)]
pub(super) struct Denied {
    /// What it is told.
    pub(super) problem: Problem,
    /// Why, by its public name.
    pub(super) reason: Reason,
    /// Why exactly. Fixed text.
    pub(super) detail: &'static str,
    /// Whose token it has shown, where that is right.
    pub(super) who: Option<String>,
}

impl Denied {
    /// A head that could be read in two ways.
    pub(super) fn malformed(defect: &Defective) -> Self {
        let detail = defect.defect.as_str();
        let (problem, reason) = (Problem::Malformed, Reason::ProtocolError);
        Self { problem, reason, detail, who: None }
    }
}

/// Makes sure that the caller may do what is asked for.
///
/// # Errors
/// [`Problem::Forbidden`].
pub(super) fn permit(caller: &Caller, asked: Asked) -> Result<(), Denied> {
    let needed = Right::needed_for(asked);
    if needed.is_of(caller.role) {
        return Ok(());
    }
    Err(Denied {
        problem: Problem::Forbidden,
        reason: Reason::NotPermitted,
        detail: needed.lacking(),
        who: Some(caller.operator.who.clone()),
    })
}

/// What can be told of a request once it is over.
pub(super) struct Seen {
    begun: Instant,
    origin: Arc<Origin>,
    method: Method,
    uri: Uri,
    user_agent: Option<HeaderValue>,
    authorization: Vec<HeaderValue>,
    declared: Option<u64>,
    defective: Option<Box<Defective>>,
}

impl Seen {
    pub(super) fn of(arrival: &Arrival) -> Self {
        let declared = arrival.declared();
        let Arrival { request, origin, defect } = arrival;
        let headers = request.headers();
        Self {
            begun: Instant::now(),
            origin: Arc::clone(origin),
            method: request.method().clone(),
            uri: request.uri().clone(),
            user_agent: headers.get(header::USER_AGENT).cloned(),
            authorization: headers.get_all(header::AUTHORIZATION).iter().cloned().collect(),
            declared,
            defective: defect.clone(),
        }
    }

    /// Records it.
    pub(super) fn refused(&self, denied: &Denied, refusals: &Refusals) {
        let user_agent = self.user_agent.as_ref().map_or(b"".as_slice(), HeaderValue::as_bytes);
        let (method, path, user_agent) = match &self.defective {
            Some(bad) => (bad.method.as_str(), bad.path.as_str(), bad.user_agent.as_slice()),
            None => (self.method.as_str(), self.uri.path(), user_agent),
        };
        refusals.record(&Refused {
            method,
            path,
            user_agent,
            who: denied.who.as_deref(),
            declared: self.declared,
            size: self.declared.unwrap_or(0),
            credential: &presented(&self.authorization),
            status: answer::status(denied.problem).as_u16(),
            duration: self.begun.elapsed(),
            ..Refused::connection(denied.reason, denied.detail, &self.origin)
        });
    }
}

/// What was shown, without the scheme: a source's key that is shown here has the fingerprint that it
/// has there.
fn presented(values: &[HeaderValue]) -> Vec<HeaderValue> {
    let token = |value: &HeaderValue| HeaderValue::from_bytes(bearer(value.as_bytes())?).ok();
    let shown = values.iter().map(|value| token(value).unwrap_or_else(|| value.clone()));
    shown.filter(|shown| !shown.is_empty()).collect()
}
