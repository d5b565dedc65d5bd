//! Clocks that jump, a machine that has been started again, and a store that moves to another.
//!
//! The clock is that of one process, with `libfaketime`: it can be set while the process runs, and
//! monotonic time goes on as it does when an operator or NTP sets a machine's clock.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hyper::StatusCode;

use crate::Plan;
use crate::gateway::{Gateway, Settings};
use crate::stage::Stage;
use crate::volume::run;

const EVENTS: usize = 30;
/// So short that a look at retention and the end of a segment come every two seconds.
const RETENTION: &str = "60s";
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
];

/// Far more than the retention and than `give_up`, both ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_a_day_loses_no_event_and_no_key() {
    let plan = Plan::from_env("CLOCKS", 1);
    let Some(library) = LIBRARIES.iter().map(Path::new).find(|path| path.exists()) else {
        return plan.skip("there is no libfaketime (package faketime)");
    };
    let directory = Plan::directory();
    let (clock, store) = (directory.path().join("clock"), directory.path().join("data"));
    let set = |to: &str| fs::write(&clock, to).unwrap();
    let settings = Settings { retention: RETENTION, give_up: RETENTION, ..Settings::new(store) };
    let mut stage = Stage::new(directory.path(), &settings, plan.seed).await;
    stage.gateway.set_environment(&[
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", &clock),
        ("FAKETIME_NO_CACHE", Path::new("1")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", Path::new("1")),
    ]);
    set("+0");
    stage.gateway.start().await;
    for jump in ["+1d", "+0", "-1d", "+0"] {
        stage.send_accepted(EVENTS).await;
        set(jump);
        // Attempts fail after the jump, and are not the last; retention looks, and lets nothing go.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let mut sender = stage.sender().await;
        for _ in 0..EVENTS {
            assert_eq!(sender.send_repeat().await, Some(StatusCode::OK));
        }
        stage.deliver_all().await;
        for _ in 0..EVENTS {
            assert_eq!(sender.send_repeat().await, Some(StatusCode::OK));
        }
    }
    stage.stop().await;
    let log = stage.gateway.log();
    assert!(!log.contains(r#""verdict":"dead""#) && !log.contains(r#""ERROR""#), "{log}");
    stage.ledger.verdict().unwrap();
    println!("clocks: {}", stage.ledger.summary());
}

/// The index may have lost what was not synced: it is trusted after a clean stop only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_boot_id_costs_the_index_and_nothing_else() {
    const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
    let plan = Plan::from_env("BOOT_ID", 1);
    if let Err(why) = run(&["unshare", "--mount", "true"]) {
        return plan.skip(&why);
    }
    let directory = Plan::directory();
    let settings = Settings::new(directory.path().join("data"));
    let mut stage = Stage::new(directory.path(), &settings, plan.seed).await;
    stage.gateway.start().await;
    stage.send_accepted(EVENTS).await;
    stage.kill();
    let boot_id = directory.path().join("boot_id");
    let mount = format!(r#"mount --bind "$0" {BOOT_ID} && exec "$@""#);
    stage.gateway.wrap(["unshare", "--mount", "sh", "-c", &mount, boot_id.to_str().unwrap()]);
    for (boot, rebuilt) in [("one", true), ("another", false), ("a third", false)] {
        fs::write(&boot_id, boot).unwrap();
        stage.gateway.start().await;
        let rebuilt = format!(r#""index_rebuilt":{rebuilt}"#);
        assert!(stage.gateway.says(&rebuilt).await, "{boot}: {}", stage.gateway.last_words());
        let mut sender = stage.sender().await;
        for _ in 0..EVENTS {
            assert_eq!(sender.send_repeat().await, Some(StatusCode::OK));
        }
        stage.send_accepted(EVENTS).await;
        stage.stop().await;
    }
    stage.gateway.start().await;
    stage.deliver_all().await;
    stage.kill();
    stage.ledger.verdict().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_copied_while_stopped_goes_on_where_it_is() {
    let plan = Plan::from_env("COPY", 1);
    let directory = Plan::directory();
    let [before, after] = ["before", "after"].map(|name| directory.path().join(name));
    fs::create_dir_all(&before).unwrap();
    fs::create_dir_all(&after).unwrap();
    let mut stage = Stage::new(&before, &Settings::new(before.join("data")), plan.seed).await;
    stage.gateway.start().await;
    stage.send_accepted(EVENTS).await;
    stage.stop().await;
    let copied = Command::new("cp").arg("-r").arg(before.join("data")).arg(&after).status();
    assert!(copied.unwrap().success());
    let life = stage.gateway.life();
    let settings = Settings::new(after.join("data"));
    stage.gateway = Gateway::new(&after, &settings, stage.app.address()).after(life);
    stage.gateway.start().await;
    let mut sender = stage.sender().await;
    for _ in 0..EVENTS {
        assert_eq!(sender.send_repeat().await, Some(StatusCode::OK));
    }
    stage.deliver_all().await;
    let log = stage.gateway.log();
    assert!(!log.contains(r#""ERROR""#), "{log}");
    stage.kill();
    stage.ledger.verdict().unwrap();
}
