//! `kill -9` at any moment under load.
//!
//! Rounds of the real binary on one store: senders on several connections mix fresh events,
//! repeats, retries of what was never answered, and forgeries; the process is killed at a random
//! moment, some rounds while it is still recovering from the last. The app behind it is down in
//! some rounds and fails now and then in the others. After the last round it is started once more,
//! and must deliver the rest.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::Plan;
use crate::app::App;
use crate::gateway::{Gateway, Settings};
use crate::ledger::Ledger;
use crate::senders::{self, Sender};
use crate::trail::Trail;

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
    let plan = Plan::from_env("KILL", ROUNDS);
    let directory = Plan::directory();
    let result = campaign(directory.path(), &plan).await;
    plan.conclude(directory, result);
}

async fn campaign(directory: &Path, plan: &Plan) -> Result<(), String> {
    let mut rng = Rng::with_seed(plan.seed);
    let ledger = Arc::new(Ledger::default());
    let app = App::start(Arc::clone(&ledger), rng.fork()).await;
    // Keys and events go after a while, so that a long campaign does not fill the disk.
    let settings = Settings {
        retention: "5m",
        give_up: "5m",
        encrypted: plan.encrypted(),
        ..Settings::new(directory.join("data"))
    };
    let mut gateway = Gateway::new(directory, &settings, app.address());
    let mut trail = Trail::new(settings.store.clone(), gateway.checkpoints());
    let begun = Instant::now();

    for round in 0..plan.rounds {
        app.set_down(rng.bool());
        if rng.u8(..) < 64 {
            gateway.spawn();
            tokio::time::sleep(LONGEST_START.mul_f64(rng.f64())).await;
            ledger.note_end(gateway.life());
            gateway.kill();
        }
        gateway.start().await;
        let senders = senders::start(CONNECTIONS, &gateway, &ledger, &mut rng);
        tokio::time::sleep(LONGEST_ROUND.mul_f64(rng.f64())).await;
        ledger.note_end(gateway.life());
        gateway.kill();
        senders.join_all().await;
        if round % 20 == 0 {
            println!("kill: round {round}: {}", ledger.summary());
        }
        if Trail::is_due(round) {
            trail.check(&ledger);
        }
        if round % 64 == 63 {
            deliver(&app, &mut gateway, &ledger, &mut trail, &mut rng).await;
        }
    }

    deliver(&app, &mut gateway, &ledger, &mut trail, &mut rng).await;
    println!("kill: {} rounds in {:?}: {}", plan.rounds, begun.elapsed(), ledger.summary());
    println!("kill: {}", trail.summary());
    ledger.verdict()
}

/// The app is there, and nothing happens until it has everything, or not. What is missing stands
/// in the verdict.
async fn deliver(
    app: &App,
    gateway: &mut Gateway,
    ledger: &Arc<Ledger>,
    trail: &mut Trail,
    rng: &mut Rng,
) {
    app.set_down(false);
    gateway.start().await;
    let sender = Sender::connect(gateway.public(), gateway.life(), ledger, rng).await;
    let mark = trail.mark(&mut sender.expect("it listens")).await;
    if !ledger.all_delivered(LONGEST_DELIVERY).await {
        ledger.note_problem("not everything was delivered in time".to_owned());
    }
    trail.settle(mark).await;
    ledger.note_end(gateway.life());
    gateway.kill();
    trail.check(ledger);
}
