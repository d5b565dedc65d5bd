//! A disk that is full, on a small ext4 of its own: events are refused at once and in so many
//! words, what is stored is delivered, a restart works without a single free byte, and when there
//! is room again events are taken without one.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tempfile::TempDir;

use crate::Plan;
use crate::gateway::Settings;
use crate::stage::Stage;
use crate::volume::{FileSystem, Volume};

const VOLUME_MIB: u64 = 64;
const MIN_FREE: &str = "8MiB";
const BELOW_MIN_FREE: u64 = 4 << 20;
const EVENTS: usize = 20;
/// The promise is a second; a busy machine gets more.
const LONGEST_ANSWER: Duration = Duration::from_secs(4);
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// A scene on a volume of its own.
struct Scene {
    stage: Stage,
    // Behind what uses it: dropped in this order.
    volume: Volume,
    _directory: TempDir,
}

impl Scene {
    /// `None`, with words, where there cannot be such a volume.
    async fn new(min_free: &'static str) -> Option<Self> {
        let plan = Plan::from_env("FULL_DISK", 1);
        let directory = Plan::directory();
        let volume = match Volume::new(directory.path(), FileSystem::Ext4, VOLUME_MIB) {
            Ok(volume) => volume,
            Err(why) => {
                plan.skip(&why);
                return None;
            }
        };
        let settings = Settings { min_free, ..Settings::new(volume.path().join("data")) };
        let mut stage = Stage::new(directory.path(), &settings, plan.seed).await;
        stage.gateway.start().await;
        stage.send_accepted(EVENTS).await;
        Some(Self { stage, volume, _directory: directory })
    }

    /// Sends events until one is refused; how long that took.
    async fn send_until_refused(&mut self) -> Duration {
        let (mut sender, begun) = (self.stage.sender().await, Instant::now());
        loop {
            match sender.send_fresh().await {
                Some(StatusCode::OK) => assert!(begun.elapsed() < LONGEST_ANSWER),
                Some(StatusCode::SERVICE_UNAVAILABLE) => return begun.elapsed(),
                other => panic!("an event was answered with {other:?}"),
            }
        }
    }

    /// Nothing new is taken, and what is stored is known and delivered.
    async fn refuses_and_delivers(&mut self) {
        let mut sender = self.stage.sender().await;
        let mut longest = Duration::ZERO;
        for _ in 0..EVENTS {
            let begun = Instant::now();
            assert_eq!(sender.send_fresh().await, Some(StatusCode::SERVICE_UNAVAILABLE));
            longest = longest.max(begun.elapsed());
        }
        assert!(longest < LONGEST_ANSWER, "{longest:?}");
        println!("full disk: a refusal took {longest:?} at most");
        assert_eq!(sender.send_repeat().await, Some(StatusCode::OK), "a repeat is known");
        assert_eq!(self.stage.gateway.readiness().await, Some(503));
        assert!(self.stage.gateway.says("new events are refused").await);
        self.stage.deliver_all().await;
    }

    /// Without a restart.
    async fn takes_up_again(&mut self, filler: &Path) {
        fs::remove_file(filler).unwrap();
        let (mut sender, begun) = (self.stage.sender().await, Instant::now());
        while sender.send_fresh().await != Some(StatusCode::OK) {
            assert!(begun.elapsed() < LONGEST_WAIT);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("full disk: taken up again {:?} after there was room", begun.elapsed());
        assert_eq!(self.stage.gateway.readiness().await, Some(200));
    }

    /// All is there after one more restart, and on a volume with room it starts without a word.
    async fn concludes(mut self) {
        self.stage.kill();
        self.stage.gateway.start().await;
        self.stage.deliver_all().await;
        let log = self.stage.gateway.log();
        assert!(!log.contains(r#""ERROR""#), "{log}");
        self.stage.kill();
        self.stage.ledger.verdict().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_min_free_events_are_refused_within_a_second_until_there_is_room() {
    let Some(mut scene) = Scene::new(MIN_FREE).await else { return };
    let filler = scene.volume.fill(BELOW_MIN_FREE);
    let refused_after = scene.send_until_refused().await;
    println!("full disk: the first refusal came {refused_after:?} after it was full");
    scene.refuses_and_delivers().await;
    scene.takes_up_again(&filler).await;
    scene.concludes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_on_a_full_disk_delivers_what_is_stored() {
    for left in [BELOW_MIN_FREE, 0] {
        let Some(mut scene) = Scene::new(MIN_FREE).await else { return };
        let filler = scene.volume.fill(left);
        scene.stage.kill();
        scene.stage.gateway.spawn();
        assert_eq!(scene.stage.gateway.wait_until_it_listens().await, None);
        scene.refuses_and_delivers().await;
        scene.takes_up_again(&filler).await;
        scene.concludes().await;
    }
}

/// With no reserve, a write is what finds out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_does_not_fit_is_taken_back() {
    let Some(mut scene) = Scene::new("0B").await else { return };
    let filler = scene.volume.fill(64 << 10);
    scene.send_until_refused().await;
    scene.volume.fill(0);
    scene.refuses_and_delivers().await;
    scene.takes_up_again(&filler).await;
    scene.concludes().await;
}
