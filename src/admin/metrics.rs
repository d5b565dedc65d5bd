//! `GET /metrics`: what was counted, and what the store knows at the moment it is asked.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use super::answer::{self, Problem};
use crate::audit::chain::{Chain, Status};
use crate::listen::Answer;
use crate::metrics::{CONTENT_TYPE, Exposition, Kind, Metrics};
use crate::store::{CircuitState, LaneStatus, Store, StoreBytes};

/// The whole text. Directories are read for it, so it is not made on a thread that serves others.
///
/// # Errors
/// [`Problem::Internal`] when making it has panicked.
pub(super) async fn answer(
    metrics: Arc<Metrics>,
    store: Arc<Store>,
    chain: Arc<Chain>,
) -> Result<Answer, Problem> {
    let made = tokio::task::spawn_blocking(move || {
        let mut text = Exposition::default();
        metrics.write(&mut text);
        write_lanes(&store.lanes().collect::<Vec<_>>(), &mut text);
        write_store(&store, &mut text);
        write_trail(chain.status(), &mut text);
        text.finish()
    });
    let text = made.await.map_err(|_| Problem::Internal)?;
    Ok(answer::plain(StatusCode::OK, CONTENT_TYPE, Bytes::from(text)))
}

fn write_lanes(lanes: &[LaneStatus], text: &mut Exposition) {
    let help = "Deliveries that wait, those in flight included.";
    let mut family = text.family("hookward_backlog_events", Kind::Gauge, help);
    for lane in lanes {
        family.sample(&[("upstream", &lane.upstream)], lane.backlog);
    }
    let help = "Since when the oldest waiting delivery's event has been here.";
    let mut family = text.family("hookward_backlog_oldest_age_seconds", Kind::Gauge, help);
    for lane in lanes {
        family.sample(&[("upstream", &lane.upstream)], lane.oldest_age.as_secs_f64());
    }
    let help = "Deliveries that were given up, as long as their events are kept.";
    let mut family = text.family("hookward_dead_letters", Kind::Gauge, help);
    for lane in lanes {
        family.sample(&[("upstream", &lane.upstream)], lane.dead_letters);
    }
    write_circuits(lanes, text);
}

fn write_circuits(lanes: &[LaneStatus], text: &mut Exposition) {
    let help = "Where the upstream's circuit breaker stands: 1 for that state, 0 for the others.";
    let mut family = text.family("hookward_circuit_state", Kind::Gauge, help);
    for lane in lanes {
        for state in CircuitState::ALL {
            let labels = [("upstream", &*lane.upstream), ("state", state.as_str())];
            family.sample(&labels, u8::from(lane.circuit.state == state));
        }
    }
    let help = "Attempts at once that the upstream's circuit breaker allows.";
    let mut family = text.family("hookward_circuit_limit", Kind::Gauge, help);
    for lane in lanes {
        family.sample(&[("upstream", &lane.upstream)], lane.circuit.limit);
    }
    let help = "How often the upstream's circuit breaker has opened.";
    let mut family = text.family("hookward_circuit_opened_total", Kind::Counter, help);
    for lane in lanes {
        family.sample(&[("upstream", &lane.upstream)], lane.circuit.opened);
    }
}

fn write_store(store: &Store, text: &mut Exposition) {
    let StoreBytes { journal, index, audit } = store.bytes();
    let mut family =
        text.family("hookward_store_bytes", Kind::Gauge, "Bytes of the store's files.");
    for (part, bytes) in [("journal", journal), ("index", index), ("audit", audit)] {
        family.sample(&[("part", part)], bytes);
    }
    if let Some(free) = store.free_bytes() {
        let help = "Bytes that may still be written to the store's file system.";
        text.single("hookward_store_free_bytes", Kind::Gauge, help, free);
    }
    let writable = u8::from(store.writable().is_ok());
    let help = "Whether new events are taken: 1, or 0.";
    text.single("hookward_store_writable", Kind::Gauge, help, writable);
}

fn write_trail(status: Status, text: &mut Exposition) {
    let Status { writable, written, squeezed } = status;
    let help = "Whether the audit trail can be written: 1, or 0.";
    text.single("hookward_audit_writable", Kind::Gauge, help, u8::from(writable));
    let help = "Records that were written to the audit trail.";
    text.single("hookward_audit_records_total", Kind::Counter, help, written);
    let help = "Refusals that are only counted in the audit trail, for its queue was full.";
    text.single("hookward_audit_queue_full_total", Kind::Counter, help, squeezed);
}
