//! `kill -9` at any moment under load: what was acknowledged is delivered, and what was not
//! validly sent never is.
//!
//! Rounds of the real binary on one store: senders on several connections mix fresh events,
//! repeats, retries of what was never answered, and forgeries; the process is killed at a random
//! moment, some rounds while it is still recovering from the last. The app behind it is down in
//! some rounds and fails now and then in the others. After the last round it is started once more, and must deliver the rest.
//!
//! `HOOKWARD_KILL_ROUNDS` asks for more rounds than five, `HOOKWARD_KILL_SEED` for the moments of
//! a run that failed.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test in several functions: it may stop at the first surprise and say what it did"
)]

mod app;
mod gateway;
mod ledger;
mod senders;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use crate::app::App;
use crate::gateway::Gateway;
use crate::ledger::Ledger;

const ROUNDS: u64 = 5;
const CONNECTIONS: usize = 8;
/// A round lasts up to this long, from the first request to the kill.
const LONGEST_ROUND: Duration = Duration::from_millis(1200);
/// A kill while starting comes within this time.
const LONGEST_START: Duration = Duration::from_millis(150);
/// After the last start, for the backlog to reach an app that fails now and then.
const LONGEST_DELIVERY: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_delivers_every_acknowledged_event_and_nothing_else() {
    let rounds = number_from_env("HOOKWARD_KILL_ROUNDS").unwrap_or(ROUNDS);
    let seed = number_from_env("HOOKWARD_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("HOOKWARD_KILL_SEED={seed} HOOKWARD_KILL_ROUNDS={rounds}");

    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let result = campaign(directory.path(), rounds, seed).await;
    if let Err(problems) = result {
        let kept = directory.keep();
        panic!("HOOKWARD_KILL_SEED={seed}, the store is in {}:\n{problems}", kept.display());
    }
}

async fn campaign(directory: &Path, rounds: u64, seed: u64) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    let ledger = Arc::new(Ledger::default());
    let app = App::start(Arc::clone(&ledger), rng.fork()).await;
    let mut gateway = Gateway::new(directory, app.address());

    for round in 0..rounds {
        app.set_down(rng.bool());
        if rng.u8(..) < 64 {
            gateway.spawn();
            tokio::time::sleep(LONGEST_START.mul_f64(rng.f64())).await;
            gateway.kill();
        }
        gateway.spawn();
        gateway.wait_until_ready().await;
        let senders = senders::start(CONNECTIONS, &gateway, &ledger, &mut rng);
        tokio::time::sleep(LONGEST_ROUND.mul_f64(rng.f64())).await;
        gateway.kill();
        senders.join_all().await;
        println!("round {round}: {}", ledger.summary());
    }

    app.set_down(false);
    gateway.spawn();
    gateway.wait_until_ready().await;
    let delivered = tokio::time::timeout(LONGEST_DELIVERY, ledger.all_acknowledged_delivered());
    // What is missing stands in the verdict.
    let _ = delivered.await;
    gateway.kill();
    println!("{}", ledger.summary());
    ledger.verdict()
}

fn number_from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number in the environment"))
}
