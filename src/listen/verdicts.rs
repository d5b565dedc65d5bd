//! What was found out about a connection's client certificates, for its next requests.
//!
//! Building a chain costs a signature check for each certificate in it, and anybody can ask for it
//! with every request, a hundred at once on HTTP/2. So it is done once a connection, not once
//! a request.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::RootCertStore;

/// How many seconds a chain that leads nowhere goes on leading nowhere. It could only get better
/// by beginning to hold meanwhile; who makes these chains up is not to be paid for each of them.
const REFUSED_FOR: u64 = 60;

/// Why certificates do not do, for our own log.
pub type Fault = &'static str;

/// Which roots a connection's client certificates lead to, as far as somebody has asked. Has an
/// entry for each set of roots that was asked for within the last minute.
#[derive(Debug, Default)]
pub struct Verdicts(Mutex<Vec<Verdict>>);

#[derive(Debug)]
struct Verdict {
    roots: Arc<RootCertStore>,
    /// Seconds since the Unix epoch.
    at: u64,
    outcome: Result<(), Fault>,
}

impl Verdict {
    /// Certificates begin and end with a whole second (RFC 5280, section 4.1.2.5), so within one
    /// second nothing changes. A good verdict is given anew with the next, so that no certificate
    /// is good for longer than it says.
    fn holds(&self, now: u64) -> bool {
        let lasts = if self.outcome.is_ok() { 1 } else { REFUSED_FOR };
        now.checked_sub(self.at).is_some_and(|age| age < lasts)
    }

    /// By what they are: sources that share their roots share the verdict, too.
    fn is_of(&self, roots: &Arc<RootCertStore>) -> bool {
        Arc::ptr_eq(&self.roots, roots) || self.roots.roots == roots.roots
    }
}

impl Verdicts {
    /// Whether the certificates lead to these roots at this time, in seconds since the Unix epoch:
    /// what `judge` says, or has said if that still holds.
    ///
    /// # Errors
    /// Why they do not.
    pub fn of(
        &self,
        roots: &Arc<RootCertStore>,
        now: u64,
        judge: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        // A connection's requests are one task: nobody waits here while somebody judges.
        let mut verdicts = self.0.lock();
        verdicts.retain(|verdict| verdict.holds(now));
        if let Some(verdict) = verdicts.iter().find(|verdict| verdict.is_of(roots)) {
            return verdict.outcome;
        }
        let outcome = judge();
        verdicts.push(Verdict { roots: Arc::clone(roots), at: now, outcome });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> Arc<RootCertStore> {
        let key = rcgen::KeyPair::generate().unwrap();
        let root = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// Every request had the chain built anew: 200 on two connections took all threads for seconds.
    #[test]
    fn a_chain_is_judged_once_and_not_with_every_request() {
        for (outcome, lasts) in [(Ok(()), 1), (Err("unknown"), REFUSED_FOR)] {
            let (verdicts, roots) = (Verdicts::default(), roots());
            let mut judged = 0;
            let mut ask = |now| {
                let judge = || {
                    judged += 1;
                    outcome
                };
                assert_eq!(verdicts.of(&roots, now, judge), outcome);
                judged
            };
            for _ in 0..100 {
                assert_eq!(ask(1000), 1);
            }
            assert_eq!(ask(1000 + lasts - 1), 1);
            assert_eq!(ask(1000 + lasts), 2);
            assert_eq!(ask(1000), 3, "a clock that is set back brings no old verdict back");
        }
    }

    #[test]
    fn each_set_of_roots_has_a_verdict_of_its_own_and_equal_sets_share_one() {
        let verdicts = Verdicts::default();
        let (one, two) = (roots(), roots());
        let again = Arc::new(RootCertStore::clone(&one));
        assert_eq!(verdicts.of(&one, 7, || Ok(())), Ok(()));
        assert_eq!(verdicts.of(&two, 7, || Err("unknown")), Err("unknown"));
        assert_eq!(verdicts.of(&again, 7, || Err("not judged again")), Ok(()));
        assert_eq!(verdicts.of(&two, 7, || Ok(())), Err("unknown"));
        // What no longer holds is not kept.
        assert_eq!(verdicts.of(&one, 70, || Ok(())), Ok(()));
        assert_eq!(verdicts.0.lock().len(), 1);
    }
}
