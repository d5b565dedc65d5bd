//! Outputs over several lives of a trail.

use std::fs;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::chain::{
    Checkpoint, DIR, Elsewhere, Options, Own, PublicKey, Reader, Retention, Tail, verify,
};
use super::*;
use crate::config::{AuditFormat, AuditFrom, AuditTarget};
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
    let retention =
        Retention { keep: Duration::from_secs(86_400), max_bytes, archive: None, min_free: 0 };
    let checkpoints = Some(Elsewhere::default());
    let options = Options { retention, required: true, checkpoints };
    let running = chain.start(Arc::new(OsDisk), store, options).unwrap();
    let newest = Newest::default();
    let mut outputs = Outputs::new(Arc::clone(&chain), newest, store, clock, Arc::clone(&metrics));
    outputs.set(&Audit { outputs: output.cloned().into_iter().collect(), ..Audit::defaults() }, 0);
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

/// An output to this file, from now on.
fn output(file: &Path) -> AuditOutput {
    AuditOutput {
        name: OutputName::new("file").unwrap(),
        target: AuditTarget::File(file.to_owned()),
        format: AuditFormat::Json,
        from: AuditFrom::Now,
        checkpoints: false,
    }
}

fn read(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Of each message its own number, and that of the one before it.
fn chained(messages: &[Value], number: &str, previous: &str) -> Vec<(u64, Option<u64>)> {
    let of = |line: &Value| {
        let before = line.pointer(previous).and_then(Value::as_u64);
        (line.pointer(number).unwrap().as_u64().unwrap(), before)
    };
    messages.iter().map(of).collect()
}

/// A cursor that was moved forward left records out unseen: checkpoints have numbers too, so holes are
/// nothing special.
#[tokio::test]
async fn each_message_names_the_one_before_it_and_a_moved_cursor_shows() {
    for (format, number, previous) in [
        (AuditFormat::Json, "/sequence", "/previous"),
        (AuditFormat::Ocsf, "/metadata/sequence", "/unmapped/previous"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (store, file) = (dir.path(), dir.path().join("out.jsonl"));
        let output = Arc::new(AuditOutput { format, ..output(&file) });
        live(store, 1 << 30, None, 0..2).await;
        for numbers in [2..4, 4..4, 4..7] {
            live(store, 1 << 30, Some(&output), numbers).await;
        }
        let all = chained(&read(&file), number, previous);
        assert_eq!(all.len(), 5, "{all:?}");
        assert_eq!(all[0].1, None, "nothing was sent before");
        for pair in all.windows(2) {
            assert_eq!(pair[1].1, Some(pair[0].0), "{all:?}");
        }
        let (last, sent) = (all[4].0, all.len());
        live(store, 1 << 30, None, 7..9).await;
        let at = cursor::path(store, &output.name);
        let mut kept: Value = serde_json::from_slice(&fs::read(&at).unwrap()).unwrap();
        let forward = Tail::mark(&Reader::new(Arc::new(OsDisk), store), last + 4).unwrap().unwrap();
        assert!(forward.sequence > last + 3);
        for (key, value) in serde_json::to_value(&forward).unwrap().as_object().unwrap() {
            kept[key] = value.clone();
        }
        fs::write(&at, kept.to_string()).unwrap();
        live(store, 1 << 30, Some(&output), 9..11).await;
        let all = chained(&read(&file), number, previous);
        let before = all[sent].1.unwrap();
        assert!(before > last && before < all[sent].0, "{before} was never sent: {all:?}");
    }
}

/// What `grep` cuts out of the file is what finds that a trail was cut back.
#[tokio::test]
async fn checkpoints_that_were_sent_are_kept_checkpoints() {
    for format in [AuditFormat::Json, AuditFormat::Ocsf] {
        let dir = tempfile::tempdir().unwrap();
        let (store, copy) = (dir.path().join("store"), dir.path().join("copy"));
        let file = dir.path().join("out.jsonl");
        fs::create_dir_all(&store).unwrap();
        let sending = Arc::new(AuditOutput { format, checkpoints: true, ..output(&file) });
        live(&store, 1 << 30, Some(&sending), 0..3).await;
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(store.join(DIR)).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        live(&store, 1 << 30, Some(&sending), 3..5).await;
        let cut = std::process::Command::new("grep")
            .args(["-o", r#"{"acts":[^}]*}"#])
            .arg(&file)
            .output()
            .unwrap();
        let text = String::from_utf8(cut.stdout).unwrap();
        let kept: Vec<Checkpoint> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(kept.len() >= 3, "starts and stops: {text}");
        let key = PublicKey::beside(&OsDisk, &store.join(DIR)).unwrap();
        assert!(kept.iter().all(|checkpoint| checkpoint.is_signed_by(&key)));
        let sound =
            |dir: &Path, kept: &[Checkpoint]| verify(&OsDisk, dir, &key, kept).unwrap().sound;
        assert!(sound(&store.join(DIR), &kept) && sound(&copy, &[]));
        assert!(!sound(&copy, &kept), "it ends before the newest checkpoint that was sent");
    }
}

#[tokio::test]
async fn what_went_before_it_was_sent_is_told_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (store, file) = (dir.path(), dir.path().join("out.jsonl"));
    let output = Arc::new(output(&file));
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
    let output = Arc::new(output(&file));
    let cursor = cursor::path(store, &output.name);
    live(store, 1 << 30, Some(&output), 0..2).await;
    let strange = format!("{{\"sequence\":2,\"hash\":\"{}\"}}\n", "0a".repeat(32));
    for unfit in ["{", &strange] {
        fs::write(&cursor, unfit).unwrap();
        fs::remove_file(&file).unwrap();
        live(store, 1 << 30, Some(&output), 0..0).await;
        assert_eq!(sent(&file), ["0", "1"], "{unfit}");
    }
}

/// A file took all of a disk that it shared with the store, and events were refused.
#[tokio::test]
async fn a_file_waits_for_room_and_then_gets_all_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (store, file) = (dir.path(), dir.path().join("out.jsonl"));
    let output = Arc::new(output(&file));
    live(store, 1 << 30, Some(&output), 0..2).await;
    let (clock, metrics) = (Clock::System, Arc::new(Metrics::new()));
    let chain = Arc::new(Chain::new(clock.clone()));
    let retention = Retention {
        keep: Duration::from_secs(86_400),
        max_bytes: 1 << 30,
        archive: None,
        min_free: 0,
    };
    let options = Options { retention, required: true, checkpoints: Some(Elsewhere::default()) };
    let running = chain.start(Arc::new(OsDisk), store, options).unwrap();
    let newest = Newest::default();
    let mut outputs = Outputs::new(Arc::clone(&chain), newest, store, clock, Arc::clone(&metrics));
    let audit = Audit { outputs: vec![output], ..Audit::defaults() };
    let shown = |wanted: &str| {
        let mut text = Exposition::default();
        metrics.write(&mut text);
        text.finish().lines().any(|line| line == wanted)
    };
    let (connected, behind) = (
        "hookward_audit_output_connected{output=\"file\"} 1",
        "hookward_audit_output_lag_records{output=\"file\"} 0",
    );
    outputs.set(&audit, 0);
    within(|| shown(connected)).await;
    // Nothing has as much.
    outputs.set(&audit, u64::MAX);
    for n in 2..4 {
        chain.own(Own { reason: "replayed", who: "uid 7".into(), details: json!({ "n": n }) });
    }
    within(|| !shown(connected) && !shown(behind)).await;
    assert_eq!(sent(&file), ["0", "1"]);
    outputs.set(&audit, 0);
    within(|| sent(&file).len() == 4).await;
    assert_eq!(sent(&file), ["0", "1", "2", "3"]);
    within(|| shown(connected)).await;
    let ended = tokio::task::spawn_blocking(move || running.chain().stop());
    assert!(ended.await.unwrap());
    outputs.finish().await;
}

/// Waits until it is so.
async fn within(holds: impl Fn() -> bool) {
    let all = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), all).await.unwrap();
}

/// A link to nothing, or a directory, with a segment's name kept the trail from being opened.
#[tokio::test]
async fn what_is_called_like_a_segment_and_is_no_file_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, audit) = (dir.path(), dir.path().join(DIR));
    live(store, 1 << 30, None, 0..2).await;
    fs::create_dir(audit.join("0000001000.audit")).unwrap();
    std::os::unix::fs::symlink("/nothing", audit.join("0000000002.audit")).unwrap();
    live(store, 1 << 30, None, 2..4).await;
    assert!(audit.join("0000000003.audit").is_file());
    let report =
        verify(&OsDisk, &audit, &PublicKey::beside(&OsDisk, &audit).unwrap(), &[]).unwrap();
    let named = |name| report.notes.iter().any(|note| note.contains(name));
    assert!(report.sound && named("0000001000.audit") && named("0000000002.audit"), "{report:?}");
}
