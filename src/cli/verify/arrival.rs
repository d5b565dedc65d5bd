//! The checks of a body before anything is made of it: how long it says it is, and whether it is there.
//! As the gateway has it: the declared length is judged first, then what of the credential the head shows,
//! and then the body is read.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::request::{Broken, Request};
use super::steps::{Court, Outcome, Step, Verdict};
use super::tries;
use crate::admit::Refusal;
use crate::audit::Reason;
use crate::config::units::show_size;
use crate::ingress;

/// What the head says of a body, of which no more is asked.
struct Declared(u64);

impl Body for Declared {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

impl Court<'_> {
    /// What the head alone says of the credential.
    pub(super) fn head(&self, request: &Request) -> Result<(), Refusal> {
        tries::judge_head(tries::offline(self.source), &request.parts.headers, self.moment.at)
    }

    /// The declared length.
    pub(super) fn size(&self, request: &Request, verdict: &mut Verdict) {
        let most = show_size(self.config.server.max_body);
        let Some(declared) = request.declared else {
            return verdict.pass("size", format!("none is declared: chunked; at most {most}"));
        };
        match ingress::check_declared(&Declared(declared), self.config.server.max_body) {
            Ok(()) => verdict.pass("size", format!("{declared} bytes; at most {most}")),
            Err(refusal) => verdict.fail("size", refusal, &format!("; at most {most}")),
        }
    }

    /// Whether all of it comes, and no more than may; told only if not.
    pub(super) fn body(&self, request: &Request, verdict: &mut Verdict) {
        let most = self.config.server.max_body;
        let read = u64::try_from(request.body.len()).unwrap_or(u64::MAX);
        if request.declared.is_none() && read > most {
            let long = Refusal::new(Reason::BodyTooLarge, "the body");
            return verdict.fail("body", long, &format!("; at most {}", show_size(most)));
        }
        let what = match request.broken {
            None => return,
            Some(Broken::Chunks(defect)) => {
                let (reason, status) = (Reason::ProtocolError, defect.status().as_u16());
                let outcome = Outcome::Fail { reason, status };
                let detail = defect.to_string();
                return verdict.steps.push(Step { check: "body", outcome, detail });
            }
            Some(Broken::Cut) => ": its last chunk is missing in the capture".to_owned(),
            Some(Broken::Short(missing @ 1..=2)) => format!(
                ": {missing} fewer than Content-Length says; an editor may have taken a newline away or changed CRLF to LF"
            ),
            Some(Broken::Short(missing)) => {
                format!(": {missing} bytes fewer than Content-Length says")
            }
        };
        let late = Refusal::new(Reason::BodyTimeout, "the body is not whole");
        verdict.fail("body", late, &format!("{what}{IF_IT_WAS}"));
    }
}

/// What a capture cannot show.
const IF_IT_WAS: &str = "; if it was sent so: 408 once it is too late, and 400 protocol_error where the sender has ended the connection";
