//! TLS sessions that clients may resume: a bounded number, for a bounded time.
//!
//! A resumed session brings the client certificate of its first handshake back without a new proof
//! of its key: holding the session's secret proves that it is the same client. Whether the
//! certificate is good is judged anew for every request, so resumption skips no check.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use tokio::time::Instant;

/// Sessions that are kept; then the oldest goes. With the longest client certificates that are
/// taken they need 20 MiB, without any a few hundred KiB.
const MOST: usize = 1024;

/// How long a session can be resumed. rustls itself has no limit for those that it keeps in
/// memory; RFC 8446, section 4.6.1, allows a week at most.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Bytes of the time that stands behind each session.
const STAMP: usize = 8;

/// The sessions of one certificate.
pub(super) struct Sessions {
    kept: Arc<ServerSessionMemoryCache>,
    begun: Instant,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self { kept: ServerSessionMemoryCache::new(MOST), begun: Instant::now() }
    }

    /// The session, unless it is too old.
    fn fresh(&self, mut session: Vec<u8>) -> Option<Vec<u8>> {
        let at = session.len().checked_sub(STAMP)?;
        let stamp = <[u8; STAMP]>::try_from(session.get(at..)?).ok()?;
        let age = self.begun.elapsed().checked_sub(Duration::from_secs(u64::from_be_bytes(stamp)));
        session.truncate(at);
        age.is_none_or(|age| age < LIFETIME).then_some(session)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, mut value: Vec<u8>) -> bool {
        value.extend_from_slice(&self.begun.elapsed().as_secs().to_be_bytes());
        self.kept.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.kept.get(key).and_then(|session| self.fresh(session))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.kept.take(key).and_then(|session| self.fresh(session))
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Shows no session.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_is_forgotten_when_its_time_is_over() {
        let sessions = Sessions::new();
        advance(Duration::from_secs(1000)).await;
        assert!(sessions.put(vec![1], vec![2; 40]));
        advance(LIFETIME - Duration::from_secs(1)).await;
        assert_eq!(sessions.get(&[1]), Some(vec![2; 40]));
        advance(Duration::from_secs(1)).await;
        assert_eq!(sessions.get(&[1]), None);
        assert_eq!(sessions.take(&[1]), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_sessions_are_kept_than_the_bound() {
        let sessions = Sessions::new();
        let key = |n: usize| n.to_be_bytes().to_vec();
        for n in 0..2 * MOST {
            sessions.put(key(n), vec![0]);
        }
        let kept = (0..2 * MOST).filter(|n| sessions.get(&key(*n)).is_some()).count();
        assert_eq!(kept, MOST);
        assert_eq!(sessions.take(&key(2 * MOST - 1)), Some(vec![0]));
        assert_eq!(sessions.take(&key(2 * MOST - 1)), None, "a ticket is good for once");
    }
}
