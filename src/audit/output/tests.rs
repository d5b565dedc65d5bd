//! Outputs over several lives of a trail.

use std::fs;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::chain::{Elsewhere, Options, Own, Retention};
use super::*;
use crate::config::{AuditFrom, AuditTarget};
use crate::event::OutputName;
use crate::metrics::Exposition;
use crate::store::disk::OsDisk;

/// A start and a stop with records in between, of which all old ones go if there may be so few bytes.
async fn live(
    store: &Path,
    max_bytes: u64,
    output: Option<&Arc<AuditOutput>>,
    numbers: Range<u64>,
) -> String {
    let (clock, metrics) = (Clock::System, Arc::new(Metrics::new()));
    let chain = Arc::new(Chain::new(clock.clone()));
    let retention = Retention { keep: Duration::from_secs(86_400), max_bytes, archive: None };
    let checkpoints = Some(Elsewhere::default());
    let options = Options { retention, required: true, checkpoints };
    let running = chain.start(Arc::new(OsDisk), store, options).unwrap();
    let newest = Newest::default();
    let mut outputs = Outputs::new(Arc::clone(&chain), newest, store, clock, Arc::clone(&metrics));
    outputs.set(&Audit { outputs: output.cloned().into_iter().collect(), ..Audit::defaults() });
    for n in numbers {
        chain.own(Own { reason: "replayed", who: "uid 7".into(), details: json!({ "n": n }) });
    }
    // A stop alone lets go of nothing.
    let ended = tokio::task::spawn_blocking(move || {
        running.chain().settle(Duration::from_secs(20)) && running.chain().stop()
    });
    assert!(ended.await.unwrap());
    outputs.finish().await;
    let mut text = Exposition::default();
    metrics.write(&mut text);
    text.finish()
}

/// What was sent: the numbers, and the gaps between them.
fn sent(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let shown = lines.map(|line| match line["reason"].as_str().unwrap() {
        "replayed" => line["details"]["n"].to_string(),
        "output_gap" => format!("{} gone up to {}", line["count"], line["details"]["upto"]),
        other => other.to_owned(),
    });
    shown.collect()
}

#[tokio::test]
async fn what_went_before_it_was_sent_is_told_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (store, file) = (dir.path(), dir.path().join("out.jsonl"));
    let name = OutputName::new("file").unwrap();
    let target = AuditTarget::File(file.clone());
    let output = Arc::new(AuditOutput { name, target, from: AuditFrom::Now });
    let much = 1 << 30;
    live(store, much, None, 0..2).await;
    live(store, much, Some(&output), 2..5).await;
    assert_eq!(sent(&file), ["2", "3", "4"], "what was there before is not asked for");
    live(store, much, None, 5..8).await;
    live(store, 1, None, 8..10).await;
    let metrics = live(store, much, Some(&output), 10..12).await;
    let all = sent(&file);
    assert_eq!(all[..3], ["2", "3", "4"], "{all:?}");
    // Three records and the two checkpoints around them, in a segment of their own.
    assert!(all[3].starts_with("5 gone up to "), "{all:?}");
    let mut rest = all[4..].to_vec();
    rest.sort_unstable();
    assert_eq!(rest, ["10", "11", "8", "9", "trail_shortened"]);
    let missing = "hookward_audit_output_missing_total{output=\"file\"} 5";
    assert!(metrics.lines().any(|line| line == missing), "{metrics}");
    let lag = "hookward_audit_output_lag_records{output=\"file\"} 0";
    assert!(metrics.lines().any(|line| line == lag), "{metrics}");
}

#[tokio::test]
async fn a_cursor_that_fits_no_trail_sends_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, file) = (dir.path(), dir.path().join("out.jsonl"));
    let name = OutputName::new("file").unwrap();
    let cursor = cursor::path(store, &name);
    let target = AuditTarget::File(file.clone());
    let output = Arc::new(AuditOutput { name, target, from: AuditFrom::Now });
    live(store, 1 << 30, Some(&output), 0..2).await;
    let strange = format!("{{\"sequence\":2,\"hash\":\"{}\"}}\n", "0a".repeat(32));
    for unfit in ["{", &strange] {
        fs::write(&cursor, unfit).unwrap();
        fs::remove_file(&file).unwrap();
        live(store, 1 << 30, Some(&output), 0..0).await;
        assert_eq!(sent(&file), ["0", "1"], "{unfit}");
    }
}
