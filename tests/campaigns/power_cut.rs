//! Power cuts at any moment under load, on a real ext4 and a real XFS. `kill -9` cannot show what
//! they do: the kernel's page cache survives it.
//!
//! The store is on a file system of its own. Its power is cut (XFS's shutdown ioctl, which ext4 has
//! too): what is not on the disk by then never will be. The process goes on for a moment without a
//! disk and is killed, the file system is mounted again, which replays its log, and the gateway
//! starts on it under another boot id. Beside moments under load there are cuts during recovery,
//! while the index is rebuilt, at the rotation of a segment, when retention lets one go, while the
//! segments of an encrypted store get other keys, and during and after a stop.
//!
//! Some events are kept back (quarantined) from the first moment on. In a long campaign they are
//! carried beyond the retention again and again, and are known to the end.
//!
//! A machine without power says nothing: what is acknowledged or delivered after the word for the
//! cut was given does not count. (It is not idle talk: ext4 may confirm a sync that was under way
//! when it was shut down, although it has dropped what was to be synced.)
//!
//! What this does not show: a disk that confirms a flush and loses it all the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::task::JoinSet;

use crate::Plan;
use crate::app::App;
use crate::event::TestEvent;
use crate::gateway::{Gateway, Settings};
use crate::ledger::Ledger;
use crate::senders::{self, Sender};
use crate::trail::Trail;
use crate::volume::{FileSystem, Volume, run};

const ROUNDS: u64 = 4;
const CONNECTIONS: usize = 8;
/// Enough for a long campaign, in which few lives are long enough for retention to look around.
const VOLUME_MIB: u64 = 4096;
/// A cut under load comes within this time.
const LONGEST_ROUND: Duration = Duration::from_millis(700);
/// A segment's age and a look at retention come a thirtieth of the retention apart.
const RETENTION: &str = "90s";
const LONGEST_WATCH: Duration = Duration::from_secs(8);
/// For a backlog to reach an app that fails now and then.
const LONGEST_DELIVERY: Duration = Duration::from_secs(60);
/// Every so many rounds the app gets everything that waits.
const DELIVER_EVERY: u64 = 8;
/// Events that are kept back.
const KEPT_BACK: usize = 5;
/// The boot id of a machine that has just been switched on is another one.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_on_ext4_lose_nothing_that_was_acknowledged() {
    run_on(FileSystem::Ext4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_on_xfs_lose_nothing_that_was_acknowledged() {
    run_on(FileSystem::Xfs).await;
}

/// The control: with a disk that syncs nothing, the campaign must report lost events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_campaign_notices_a_disk_that_does_not_sync() {
    let plan = Plan { rounds: 2, ..Plan::from_env("POWER_CUT_CONTROL", 0) };
    let directory = Plan::directory();
    if let Err(why) = run(&["strace", "-V"]).map(drop) {
        return plan.skip(&why);
    }
    let volume = match Volume::new(directory.path(), FileSystem::Ext4, VOLUME_MIB) {
        Ok(volume) => volume,
        Err(why) => return plan.skip(&why),
    };
    let mut campaign = Campaign::new(directory.path(), volume, &plan).await;
    campaign.without_sync = true;
    for _ in 0..plan.rounds {
        campaign.power_on();
        campaign.app.set_down(true);
        campaign.gateway.start().await;
        let senders = campaign.load();
        tokio::time::sleep(Duration::from_millis(500)).await;
        campaign.cut(senders, false).await;
    }
    campaign.without_sync = false;
    let all = campaign.deliver(Duration::from_secs(2)).await;
    println!("power cut, control: {}", campaign.ledger.summary());
    assert!(!all, "events whose sync was left out are there all the same: the cuts show nothing");
    let verdict = campaign.ledger.verdict().unwrap_err();
    assert!(verdict.contains("never arrived"), "{verdict}");
}

async fn run_on(kind: FileSystem) {
    let plan = Plan::from_env("POWER_CUT", ROUNDS);
    let directory = Plan::directory();
    let volume = match Volume::new(directory.path(), kind, VOLUME_MIB) {
        Ok(volume) => volume,
        Err(why) => return plan.skip(&why),
    };
    let mut campaign = Campaign::new(directory.path(), volume, &plan).await;
    let begun = Instant::now();
    campaign.keep_back().await;
    for round in 0..plan.rounds {
        let moment = Moment::choose(round, &mut campaign.rng, plan.encrypted());
        campaign.round(moment).await;
        if Trail::is_due(round) {
            campaign.trail.check(&campaign.ledger);
        }
        if round % 20 == 0 {
            println!("{kind:?}: round {round}, {moment:?}: {}", campaign.ledger.summary());
        }
        if round % DELIVER_EVERY == DELIVER_EVERY - 1 {
            campaign.deliver_all().await;
        }
    }
    campaign.deliver_all().await;
    let segments = campaign.segments();
    let (first, last) = (segments.first(), segments.last());
    let Campaign { ledger, moments, longest_start, .. } = &campaign;
    println!("{kind:?}: {} rounds in {:?}: {}", plan.rounds, begun.elapsed(), ledger.summary());
    println!("{kind:?}: cut at {moments:?}; the longest start took {longest_start:?}");
    println!("{kind:?}: segments {first:?} to {last:?} are left");
    println!("{kind:?}: {}", campaign.trail.summary());
    let result = ledger.verdict();
    drop(campaign);
    plan.conclude(directory, result);
}

/// When the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// Some time after the first request.
    Load,
    /// Before the gateway has finished starting.
    Recovery,
    /// The same, after somebody has deleted the index.
    Rebuild,
    /// When a segment has just been begun under load.
    Rotation,
    /// When retention has just let a segment go.
    Retention,
    /// While the segments of an encrypted store get other keys.
    Rekeying,
    /// While it stops.
    Stopping,
    /// Right after it has stopped.
    Stopped,
}

impl Moment {
    fn choose(round: u64, rng: &mut Rng, encrypted: bool) -> Self {
        // A short campaign has one of each of these.
        match round {
            0 => return Self::Load,
            1 => return Self::Recovery,
            2 => return Self::Rotation,
            3 if encrypted => return Self::Rekeying,
            _ => {}
        }
        match rng.u8(..100) {
            0..20 => Self::Recovery,
            20..32 => Self::Rebuild,
            32..38 => Self::Rotation,
            38..44 => Self::Retention,
            44..50 => Self::Stopping,
            50..54 => Self::Stopped,
            54..62 if encrypted => Self::Rekeying,
            _ => Self::Load,
        }
    }
}

struct Campaign {
    // Dropped in this order: nothing may use the volume when it goes.
    gateway: Gateway,
    app: App,
    ledger: Arc<Ledger>,
    rng: Rng,
    store: PathBuf,
    boot_id: PathBuf,
    /// How long a start takes.
    start: Duration,
    longest_start: Duration,
    moments: std::collections::BTreeMap<Moment, u64>,
    without_sync: bool,
    /// What is kept back, by the events whose ids it has, and what the gateway calls it.
    kept_back: Vec<(TestEvent, String)>,
    trail: Trail,
    volume: Volume,
}

impl Campaign {
    async fn new(directory: &Path, volume: Volume, plan: &Plan) -> Self {
        let mut rng = Rng::with_seed(plan.seed);
        let ledger = Arc::new(Ledger::of_a_machine());
        let app = App::start(Arc::clone(&ledger), rng.fork()).await;
        let store = volume.path().join("data");
        let settings = Settings {
            min_free: "32MiB",
            retention: RETENTION,
            give_up: RETENTION,
            encrypted: plan.encrypted(),
            ..Settings::new(store.clone())
        };
        let gateway = Gateway::new(directory, &settings, app.address());
        let trail = Trail::new(store.clone(), gateway.checkpoints());
        Self {
            gateway,
            app,
            ledger,
            rng,
            store,
            boot_id: directory.join("boot_id"),
            start: Duration::from_millis(100),
            longest_start: Duration::ZERO,
            moments: std::collections::BTreeMap::new(),
            without_sync: false,
            kept_back: Vec::new(),
            trail,
            volume,
        }
    }

    async fn round(&mut self, moment: Moment) {
        *self.moments.entry(moment).or_default() += 1;
        self.app.set_down(self.rng.u8(..) < 64);
        self.power_on();
        match moment {
            Moment::Recovery | Moment::Rebuild => {
                if moment == Moment::Rebuild {
                    let _ = fs::remove_dir_all(self.store.join("index"));
                }
                self.gateway.spawn();
                let wait = self.start.mul_f64(self.rng.f64() * 1.2);
                tokio::time::sleep(wait).await;
                // A start that finds the disk gone may end.
                return self.cut(JoinSet::new(), false).await;
            }
            _ => self.start().await,
        }
        let senders = self.load();
        match moment {
            Moment::Rotation => self.watch(|before, now| now.last() > before.last()).await,
            Moment::Retention => self.watch(|before, now| now.first() > before.first()).await,
            Moment::Rekeying => self.rekey().await,
            Moment::Stopping => {
                tokio::time::sleep(LONGEST_ROUND.mul_f64(self.rng.f64())).await;
                self.gateway.ask_to_stop();
                tokio::time::sleep(Duration::from_millis(self.rng.u64(..200))).await;
            }
            Moment::Stopped => {
                tokio::time::sleep(LONGEST_ROUND.mul_f64(self.rng.f64())).await;
                self.gateway.stop().await;
            }
            Moment::Load | Moment::Recovery | Moment::Rebuild => {
                tokio::time::sleep(LONGEST_ROUND.mul_f64(self.rng.f64())).await;
            }
        }
        let must_live = !matches!(moment, Moment::Stopping | Moment::Stopped);
        self.cut(senders, must_live).await;
    }

    async fn start(&mut self) {
        let begun = Instant::now();
        self.gateway.start().await;
        self.start = begun.elapsed();
        self.longest_start = self.longest_start.max(self.start);
    }

    fn load(&mut self) -> JoinSet<()> {
        senders::start(CONNECTIONS, &self.gateway, &self.ledger, &mut self.rng)
    }

    /// Waits until the journal's segments are as they should be, and a moment longer.
    async fn watch(&mut self, there: impl Fn(&[String], &[String]) -> bool) {
        let before = self.segments();
        let happens = async {
            while !there(&before, &self.segments()) {
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
        };
        // In a young store there is nothing that retention could let go.
        let _ = tokio::time::timeout(LONGEST_WATCH, happens).await;
        tokio::time::sleep(Duration::from_micros(self.rng.u64(..4000))).await;
    }

    /// Begins to put all segments under the other key; the end is the cut's.
    async fn rekey(&mut self) {
        self.gateway.turn_keys();
        self.gateway.ask_to_reload();
        let end = Instant::now() + LONGEST_ROUND.mul_f64(self.rng.f64());
        let mut rekeying = self.gateway.rekey();
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
            match rekeying.try_wait().unwrap() {
                Some(done) if done.success() => return,
                // Until the gateway has begun a segment under the new key, nothing is changed.
                Some(_) => rekeying = self.gateway.rekey(),
                None => {}
            }
        }
        let _ = rekeying.kill();
        rekeying.wait().unwrap();
    }

    fn segments(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.store.join("journal")) else { return Vec::new() };
        let name =
            |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
        let mut names: Vec<_> = entries.filter_map(name).collect();
        names.sort();
        names
    }

    /// The machine that the gateway will run on has just been switched on.
    fn power_on(&mut self) {
        self.volume.arm();
        fs::write(&self.boot_id, format!("{:032x}\n", self.rng.u128(..))).unwrap();
        let boot = format!(r#"mount --bind "$0" {BOOT_ID} && exec "$@""#);
        let machine = ["unshare", "--mount", "sh", "-c", &boot, self.boot_id.to_str().unwrap()];
        let broken = "-e inject=fdatasync,fsync:retval=0 -e trace=fdatasync,fsync -o /dev/null";
        let strace = ["strace", "-f", "-D"].into_iter().chain(broken.split(' '));
        match self.without_sync {
            true => self.gateway.wrap(strace.chain(machine)),
            false => self.gateway.wrap(machine),
        }
    }

    /// Cuts the power and puts the machine together again, switched off.
    async fn cut(&mut self, senders: JoinSet<()>, must_live: bool) {
        for line in self.gateway.log().lines().filter(|line| line.contains(r#""ERROR""#)) {
            self.ledger.note_problem(format!("before the cut it said: {line}"));
        }
        let flush_log = self.rng.u8(..4) == 0;
        self.ledger.note_end(self.gateway.life());
        let kept = self.trail.kept();
        self.volume.cut_power(flush_log);
        if self.rng.bool() {
            tokio::time::sleep(Duration::from_millis(self.rng.u64(..60))).await;
        }
        if must_live {
            self.gateway.kill()
        } else {
            self.gateway.end()
        }
        senders.join_all().await;
        self.trail.forget_behind(kept);
        self.volume.remount().await;
    }

    async fn sender(&mut self) -> Sender {
        let (place, life) = (self.gateway.public(), self.gateway.life());
        let sender = Sender::connect(place, life, &self.ledger, &mut self.rng).await;
        sender.expect("it listens")
    }

    /// Has some events kept back.
    async fn keep_back(&mut self) {
        self.power_on();
        self.start().await;
        let mut sender = self.sender().await;
        for _ in 0..KEPT_BACK {
            let kept = sender.send_conflict().await.expect("both are acknowledged");
            self.kept_back.push(kept);
        }
        self.cut(JoinSet::new(), true).await;
    }

    /// What is kept back is still known.
    async fn check_kept_back(&mut self) {
        let mut sender = self.sender().await;
        for (event, id) in &self.kept_back {
            let now = sender.send_other(*event).await;
            if now.as_ref() != Some(id) {
                let problem = format!("{} was kept back as {id} and is {now:?}", event.id());
                self.ledger.note_problem(problem);
            }
        }
    }

    async fn deliver_all(&mut self) {
        if !self.deliver(LONGEST_DELIVERY).await {
            self.ledger.note_problem("not everything was delivered in time".to_owned());
        }
    }

    /// The app is there, and nothing happens until it has everything; whether it has.
    async fn deliver(&mut self, longest: Duration) -> bool {
        self.app.set_down(false);
        self.power_on();
        self.start().await;
        let mut sender = self.sender().await;
        let mark = self.trail.mark(&mut sender).await;
        let all = self.ledger.all_delivered(longest).await;
        self.check_kept_back().await;
        if !self.without_sync {
            self.trail.settle(mark).await;
        }
        self.cut(JoinSet::new(), true).await;
        all
    }
}
