//! Accepting an event: is it a repeat, and if not, is it on stable storage. The only place that
//! makes an [`Accepted`].

use std::sync::Arc;

use tokio::sync::oneshot;

use super::core::Core;
use super::journal::files::ReadError;
use super::journal::record::decode_event;
use super::journal::segment::Place;
use super::queue::{Reply, Submission};
use super::shares::Share;
use super::{AcceptError, Accepted, Outcome, Recipients, Store, StoredEvent};
use crate::config::OnConflict;
use crate::event::{BodyHash, DedupeKey, EventId, Sequence};
use crate::identify::Identified;

/// A stored event that a key was found to belong to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    id: EventId,
    body_hash: BodyHash,
}

impl Store {
    /// Stores the event durably, or finds that it is stored already. Cancelling the returned
    /// future does not cancel a write that has begun.
    ///
    /// # Errors
    /// [`AcceptError`]; then the event is not acknowledged.
    pub async fn accept(&self, event: Identified, to: Recipients) -> Result<Accepted, AcceptError> {
        self.accept_if(event, to, || true).await
    }

    /// The same; what is no repeat is stored only if `may` says so when that has been found out.
    ///
    /// # Errors
    /// [`AcceptError`]; then the event is not acknowledged.
    pub async fn accept_if(
        &self,
        event: Identified,
        to: Recipients,
        may: impl Fn() -> bool,
    ) -> Result<Accepted, AcceptError> {
        let on_conflict = event.source().on_conflict;
        let mut key = event.key();
        let mut quarantined = false;
        let mut event = self.new_event(event);
        let mut share = self.core.shares.enter(&event.source, event.body.len())?;
        // The key that the event conflicts under, and where that may stand.
        let mut conflicts: Option<(DedupeKey, Vec<Place>)> = None;
        let mut against = None;
        loop {
            let fingerprint = self.core.dedupe.fingerprint(&key);
            let mut places = self.core.dedupe.candidates(fingerprint);
            let found;
            (found, share) = self.find(&key, &places, share).await?;
            if let Some(stored) = found {
                if stored.body_hash == event.body_hash || event.conflict {
                    return Ok(repeat(stored.id));
                }
                match on_conflict {
                    OnConflict::Drop => {
                        let (id, outcome) = (stored.id, Outcome::ConflictDropped);
                        return Ok(Accepted { id, outcome, against: Some(id) });
                    }
                    OnConflict::Quarantine => quarantined = true,
                    OnConflict::Deliver => {}
                }
                conflicts = Some((key, places));
                against = Some(stored.id);
                key = key.with_content(&event.body_hash);
                event.conflict = true;
                continue;
            }
            let other_fingerprint = match &conflicts {
                Some((first, its_places)) => {
                    places.extend(its_places);
                    self.core.dedupe.fingerprint(first)
                }
                // What conflicted with an event that retention has let go since is still the same.
                None => {
                    let kept = key.with_content(&event.body_hash);
                    let its_fingerprint = self.core.dedupe.fingerprint(&kept);
                    let its_places = self.core.dedupe.candidates(its_fingerprint);
                    let found;
                    (found, share) = self.find(&kept, &its_places, share).await?;
                    if let Some(stored) = found {
                        return Ok(repeat(stored.id));
                    }
                    places.extend(its_places);
                    its_fingerprint
                }
            };
            self.core.writable()?;
            if !may() {
                return Err(AcceptError::Barred);
            }
            let conflict = event.conflict;
            let (reply, answer) = oneshot::channel();
            let submission = Submission {
                event,
                key,
                fingerprint,
                other_fingerprint,
                quarantined,
                to: to.clone(),
                checked: places,
                share,
                reply,
            };
            self.core.queue.submit(submission)?;
            match answer.await.unwrap_or(Reply::Refused(AcceptError::Failed)) {
                Reply::Stored(id) => {
                    let outcome = outcome(conflict, quarantined, &to);
                    return Ok(Accepted { id, outcome, against });
                }
                Reply::Raced(again) => {
                    (event, share) = *again;
                    if let Some((first, _)) = conflicts.take() {
                        (key, event.conflict, quarantined) = (first, false, false);
                        against = None;
                    }
                }
                Reply::Refused(error) => return Err(error),
            }
        }
    }

    fn new_event(&self, event: Identified) -> StoredEvent {
        let received_at = event.received_at();
        let id = EventId::new(received_at, std::array::from_fn(|_| fastrand::u8(..)));
        let source = event.source().name.clone();
        let body_hash = event.body_hash();
        let (meta, body) = event.into_parts();
        let sequence = Sequence::default();
        StoredEvent { sequence, id, received_at, source, body_hash, conflict: false, meta, body }
    }

    /// The stored event with this key, if one of `places` holds it. The share is with the look-up
    /// until that is over, which it is not when its request is cancelled.
    async fn find(
        &self,
        key: &DedupeKey,
        places: &[Place],
        share: Share,
    ) -> Result<(Option<Stored>, Share), AcceptError> {
        if places.is_empty() {
            return Ok((None, share));
        }
        let (core, key, places) = (Arc::clone(&self.core), *key, places.to_vec());
        let look = move || look_up(&core, &key, places).map(|found| (found, share));
        self.core.tuning.blocking.begin(look).done().await.unwrap_or(Err(AcceptError::Unreadable))
    }
}

/// The stored event with this key. What is found nowhere may have been carried elsewhere meanwhile.
pub(super) fn look_up(
    core: &Core,
    key: &DedupeKey,
    mut places: Vec<Place>,
) -> Result<Option<Stored>, AcceptError> {
    loop {
        let found = places.iter().find_map(|place| read(core, key, *place).transpose());
        if let Some(found) = found {
            return found.map(Some);
        }
        let now = core.dedupe.candidates(core.dedupe.fingerprint(key));
        if now.iter().all(|place| places.contains(place)) {
            return Ok(None);
        }
        places = now;
    }
}

/// The event at `place`, if its key is this one. What is damaged there is told and counts as
/// another event: then the new one is stored, which at worst delivers it twice.
fn read(core: &Core, key: &DedupeKey, place: Place) -> Result<Option<Stored>, AcceptError> {
    let damaged = || {
        let Place { segment, offset } = place;
        tracing::error!(target: "hookward::store", segment, offset, "a stored event cannot be read");
    };
    match core.files.event(place) {
        Ok((sequence, payload)) => match decode_event(sequence, &payload) {
            Some(record) if record.key == *key && core.is_unwritten(place.segment) => {
                Err(AcceptError::NoRoom)
            }
            Some(record) if record.key == *key => {
                Ok(Some(Stored { id: record.event.id, body_hash: record.event.body_hash }))
            }
            Some(_) => Ok(None),
            None => {
                damaged();
                Ok(None)
            }
        },
        Err(ReadError::Damaged(_) | ReadError::Forged(_) | ReadError::Keyless(_)) => {
            damaged();
            Ok(None)
        }
        // Retention has let its segment go between the look-up and the read; if it has carried the
        // event elsewhere, the table knows by now.
        Err(error) if core.is_lost(place.segment, &error) => Ok(None),
        Err(error @ (ReadError::Io(_) | ReadError::NoKey { .. })) => {
            tracing::error!(target: "hookward::store", %error, "the journal cannot be read");
            Err(AcceptError::Unreadable)
        }
    }
}

fn repeat(id: EventId) -> Accepted {
    Accepted { id, outcome: Outcome::Repeat, against: None }
}

fn outcome(conflict: bool, quarantined: bool, to: &Recipients) -> Outcome {
    match (conflict, quarantined) {
        (_, true) => Outcome::ConflictQuarantined,
        (true, false) => Outcome::ConflictDelivered,
        (false, false) if to.is_empty() => Outcome::Filtered,
        (false, false) => Outcome::Stored,
    }
}
