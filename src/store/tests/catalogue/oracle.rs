//! The journal, read whole by other means than the catalogue's.

use super::*;

/// What the journal says, to who reads all of it each time.
#[derive(Default)]
pub(super) struct Oracle {
    pub(super) events: BTreeMap<u64, EventRecord>,
    /// Attempts at each delivery that still stand somewhere.
    pub(super) attempts: HashMap<(u64, String), Vec<(u32, Attempt)>>,
    /// The last ones of all, also of those that went with their segments since the store was opened.
    pub(super) last: HashMap<(u64, String), Verdict>,
}

impl Oracle {
    pub(super) fn read(&mut self, store: &Store) {
        assert!(store.sync());
        self.events.clear();
        self.attempts.clear();
        let files = &store.core.files;
        let numbers: Vec<u32> =
            store.core.segments.lock().iter().map(|s| s.header.number).collect();
        for number in numbers {
            let mut scanner = files.scan(number, 0, Sequence(0)).unwrap();
            while let Some(scanned) = scanner.step().unwrap() {
                let Scanned::Frame(frame) = scanned else { panic!("{scanned:?}") };
                let payload = Bytes::copy_from_slice(frame.payload);
                match frame.header.kind {
                    Kind::Event | Kind::Carried => {
                        let (sequence, payload) = event_in(&frame.header, &payload).unwrap();
                        let record = decode_event(sequence, &payload).unwrap();
                        self.events.insert(sequence.0, record);
                    }
                    Kind::Attempt => {
                        let record = decode_attempt(frame.payload).unwrap();
                        let key = (record.event.0, record.upstream.to_owned());
                        self.last.insert(key.clone(), record.attempt.verdict);
                        let attempts = self.attempts.entry(key).or_default();
                        attempts.push((record.number, record.attempt));
                    }
                    _ => {}
                }
            }
        }
    }

    pub(super) fn deliveries(&self, store: &Store, record: &EventRecord) -> Vec<Delivery> {
        if record.quarantined {
            return Vec::new();
        }
        let event = record.event.sequence;
        let delivery = |upstream: &String| {
            let key = (event.0, upstream.clone());
            let lane = store.core.backlog.lane(upstream);
            let waits = lane.is_some_and(|slot| {
                let lane = slot.lane.lock();
                let beyond = lane.cursor().is_some_and(|c| (c.sequence..=c.last).contains(&event));
                beyond || lane.entries().any(|entry| entry.sequence == event)
            });
            let state = match self.last.get(&key) {
                Some(Verdict::Delivered) => DeliveryState::Delivered,
                Some(Verdict::Dead) => DeliveryState::Dead,
                _ if waits => DeliveryState::Pending,
                _ => DeliveryState::Unknown,
            };
            let last = self.attempts.get(&key).and_then(|attempts| attempts.last());
            let next_at = last.and_then(|(_, attempt)| match attempt.verdict {
                Verdict::RetryAt(at) if state == DeliveryState::Pending => Some(at),
                _ => None,
            });
            Delivery {
                upstream: upstream.clone(),
                state,
                attempts: last.map_or(0, |(number, _)| *number),
                last_status: last.and_then(|(_, attempt)| match attempt.result {
                    AttemptResult::Answered(status) => Some(status),
                    _ => None,
                }),
                next_at,
            }
        };
        record.targets.iter().map(delivery).collect()
    }

    pub(super) fn state(
        store: &Store,
        record: &EventRecord,
        deliveries: &[Delivery],
    ) -> EventState {
        let any = |state| deliveries.iter().any(|delivery| delivery.state == state);
        if record.quarantined {
            let quarantine = store.core.backlog.quarantine.lock();
            let is_there = quarantine.contains_key(&record.event.sequence);
            return if is_there { EventState::Quarantined } else { EventState::Unknown };
        }
        match () {
            () if deliveries.is_empty() => EventState::Filtered,
            () if any(DeliveryState::Pending) => EventState::Pending,
            () if any(DeliveryState::Dead) => EventState::Dead,
            () if any(DeliveryState::Unknown) => EventState::Unknown,
            () => EventState::Delivered,
        }
    }

    /// Newest first.
    pub(super) fn list(
        &self,
        store: &Store,
        filter: &Filter,
    ) -> Vec<(u64, EventState, Vec<Delivery>)> {
        let mut found = Vec::new();
        for (number, record) in self.events.iter().rev() {
            let event = &record.event;
            let deliveries = self.deliveries(store, record);
            let state = Self::state(store, record, &deliveries);
            let name = normalize_type(event.meta.provider_type.as_deref());
            let Filter { source, state: wanted, kind, subject, since, until, upstream } = filter;
            let outcome = match (upstream, wanted) {
                (None, wanted) => wanted.is_none_or(|wanted| wanted == state),
                (Some(upstream), None) => record.targets.contains(upstream),
                (Some(upstream), Some(wanted)) if record.quarantined => {
                    record.targets.contains(upstream) && *wanted == state
                }
                (Some(upstream), Some(wanted)) => deliveries.iter().any(|delivery| {
                    delivery.upstream == *upstream && delivery.state.as_str() == wanted.as_str()
                }),
            };
            let fits = source.as_ref().is_none_or(|source| event.source.as_str() == source)
                && kind.as_ref().is_none_or(|kind| kind.matches(&name))
                && subject.as_ref().is_none_or(|s| event.meta.subject.as_ref() == Some(s))
                && since.is_none_or(|since| event.received_at >= since)
                && until.is_none_or(|until| event.received_at < until)
                && outcome;
            if fits {
                found.push((*number, state, deliveries));
            }
        }
        found
    }
}
