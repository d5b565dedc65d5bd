//! System calls of the real binary that fail: the check on the seam that the store's own tests
//! fail, `strace -e inject` makes the kernel's answer to the Nth of a kind an error.
//!
//! However it comes: no 200 after a failed write or sync, readiness says so, what is stored is
//! delivered, the log names the error, and after a restart nothing that was acknowledged is lost.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use hyper::StatusCode;

use crate::Plan;
use crate::gateway::Settings;
use crate::stage::Stage;
use crate::volume::run;

/// Events that are there before anything fails, and that are sent while it may.
const EVENTS: usize = 12;
/// How far the long campaign counts calls of a kind.
const DEEPEST: u64 = 40;
/// The longest wait for a store that had no room to take up again.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// What fails, and how.
#[derive(Clone, Copy, Debug)]
struct Fault {
    call: &'static str,
    error: &'static str,
    /// As the log must have it.
    words: &'static str,
    /// Whether a failure while running is the end of acceptance.
    is_final: bool,
}

const fn fault(call: &'static str, error: &'static str, is_final: bool) -> Fault {
    let words = match error.as_bytes() {
        b"ENOSPC" => "No space left on device",
        b"EMFILE" => "Too many open files",
        _ => "Input/output error",
    };
    Fault { call, error, words, is_final }
}

/// Those of the writer's own thread.
const WRITER: [Fault; 4] = [
    fault("fdatasync", "EIO", true),
    fault("fdatasync", "ENOSPC", true),
    fault("write", "EIO", true),
    fault("write", "ENOSPC", false),
];
/// Those of a start, of a new segment, and of reading.
const OTHERS: [Fault; 14] = [
    fault("fsync", "EIO", true),
    fault("fsync", "ENOSPC", false),
    fault("openat", "EIO", false),
    fault("openat", "ENOSPC", false),
    fault("openat", "EMFILE", false),
    fault("pwrite64", "EIO", false),
    fault("pwrite64", "ENOSPC", false),
    fault("pread64", "EIO", false),
    fault("ftruncate", "EIO", false),
    fault("unlink", "EIO", false),
    fault("rename", "EIO", false),
    fault("rename", "ENOSPC", false),
    fault("mkdir", "ENOSPC", false),
    fault("getdents64", "EIO", false),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_system_call_fails_nothing_that_was_acknowledged_is_lost() {
    let plan = Plan::from_env("SYSTEM_CALLS", 0);
    if let Err(why) = run(&["strace", "-o", "/dev/null", "true"]) {
        return plan.skip(&why);
    }
    let mut rng = Rng::with_seed(plan.seed);
    if plan.rounds == 0 {
        // Not the first call of a kind: that is of the start.
        let sample = [WRITER[0], WRITER[2], WRITER[3]].map(|fault| (fault, rng.u64(2..12)));
        let other = (OTHERS[rng.usize(..OTHERS.len())], rng.u64(1..3));
        for (fault, nth) in sample.into_iter().chain([other]) {
            scene(&plan, fault, nth, rng.u64(..)).await;
        }
        return;
    }
    let mut scenes = 0;
    for fault in WRITER.into_iter().chain(OTHERS) {
        for nth in 1..=plan.rounds.min(DEEPEST) {
            let fired = scene(&plan, fault, nth, rng.u64(..)).await;
            scenes += u64::from(fired);
            if !fired && nth > 2 {
                break;
            }
        }
    }
    println!("system calls: {scenes} calls have failed, one in each scene");
}

/// Whether the call was made at all.
async fn scene(plan: &Plan, fault: Fault, nth: u64, seed: u64) -> bool {
    let directory = Plan::directory();
    let story = format!("{} fails with {} at call {nth}", fault.call, fault.error);
    let result = play(directory.path(), fault, nth, seed).await;
    let trace = fs::read_to_string(directory.path().join("trace")).unwrap_or_default();
    let fired = trace.contains("(INJECTED)");
    match &result {
        Ok(what) => println!("{story}: {}", if fired { what } else { "never made" }),
        Err(problem) => println!("{story}: {problem}"),
    }
    let result = result.map(drop).map_err(|problem| format!("{story}: {problem}"));
    plan.conclude(directory, result);
    fired
}

/// What came of it in a word, or what is wrong.
async fn play(directory: &Path, fault: Fault, nth: u64, seed: u64) -> Result<&'static str, String> {
    let store = directory.join("data");
    let settings = Settings { encrypted: seed % 2 == 1, ..Settings::new(store.clone()) };
    let mut stage = Stage::new(directory, &settings, seed).await;
    stage.gateway.start().await;
    stage.send_accepted(EVENTS).await;
    stage.kill();
    leave_work_for_the_start(&store);

    stage.gateway.wrap(strace(directory, &store, fault, nth));
    stage.gateway.spawn();
    let outcome = match stage.gateway.wait_until_it_listens().await {
        Some(status) => {
            if status.code() != Some(1) || !stage.gateway.says(fault.words).await {
                return Err(format!("it ended with {status}: {}", stage.gateway.last_words()));
            }
            stage.ledger.note_end(stage.gateway.life());
            "it did not start"
        }
        None => running(&mut stage, fault).await?,
    };

    stage.gateway.wrap(Vec::<String>::new());
    stage.gateway.start().await;
    stage.send_accepted(1).await;
    stage.deliver_all().await;
    stage.stop().await;
    stage.ledger.verdict().map(|()| outcome)
}

async fn running(stage: &mut Stage, fault: Fault) -> Result<&'static str, String> {
    let mut sender = stage.sender().await;
    let mut refused = false;
    for _ in 0..EVENTS {
        match sender.send_fresh().await {
            Some(StatusCode::OK) if !(refused && fault.is_final) => {}
            Some(StatusCode::SERVICE_UNAVAILABLE) => refused = true,
            other => return Err(format!("an event was answered with {other:?}")),
        }
    }
    let readiness = stage.gateway.readiness().await;
    if refused && fault.is_final && readiness != Some(503) {
        return Err(format!("it refuses events, and readiness is {readiness:?}"));
    }
    if refused && !stage.gateway.says(fault.words).await {
        return Err(format!("the log does not say why: {}", stage.gateway.last_words()));
    }
    stage.deliver_all().await;
    if refused && !fault.is_final {
        let again = async {
            while sender.send_fresh().await != Some(StatusCode::OK) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(LONGEST_WAIT, again).await.is_err() {
            return Err("it does not take up again".to_owned());
        }
    }
    stage.kill();
    Ok(match (refused, fault.is_final) {
        (true, true) => "refused from then on",
        (true, false) => "refused for a while",
        (false, _) => "no request has noticed",
    })
}

/// A torn tail and an index that does not open: so that a start has something to cut off and
/// something to set aside.
fn leave_work_for_the_start(store: &Path) {
    let journal = fs::read_dir(store.join("journal")).unwrap();
    let newest = journal.map(|entry| entry.unwrap().path()).max().unwrap();
    fs::File::options().append(true).open(newest).unwrap().write_all(&[7; 100]).unwrap();
    fs::write(store.join("index/conf"), "no such thing").unwrap();
}

fn strace(directory: &Path, store: &Path, fault: Fault, nth: u64) -> Vec<String> {
    let Fault { call, error, .. } = fault;
    let mut command = ["strace", "-f", "-D", "-o"].map(str::to_owned).to_vec();
    command.push(directory.join("trace").display().to_string());
    for option in [format!("trace={call}"), format!("inject={call}:error={error}:when={nth}")] {
        command.extend(["-e".to_owned(), option]);
    }
    let journal = store.join("journal");
    let segments = (1..6).map(|number| journal.join(format!("{number:010}.journal")));
    let index = store.join("index");
    let paths = [store.to_owned(), journal.clone(), index.clone(), index.join("db")];
    for path in paths.into_iter().chain(segments) {
        command.extend(["-P".to_owned(), path.display().to_string()]);
    }
    command
}
