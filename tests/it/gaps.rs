//! `hookward gaps`, from the files of a store: what it names is what was lost.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hookward::clock::{Clock, UnixMillis};
use hookward::gaps::{Report, SourceReport, Verdict};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use crate::pebble::free_port;
use crate::process::{Process, Said, hookward, run};

/// The pauses of the provider that is rehearsed with.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// A lab that sends again as in [`WAITS`], and two sources of which less is known. Returns where it
/// listens.
fn configure(dir: &Path) -> SocketAddr {
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = format!(
        "[server]\nlisten = \"{listen}\"\n[store]\nmin_free = \"0B\"\n\
         [source.lab]\nauth = {{ kind = \"none-dangerous\" }}\nevent.id = \"/id\"\n\
         retry_schedule = [\"1s\", \"2s\"]\n\
         [source.silent]\nauth = {{ kind = \"none-dangerous\" }}\n\
         [source.github]\npreset = \"github\"\nkeys = [{{ env = \"LAB\" }}]\n\
         [upstream.app]\nurl = \"http://127.0.0.1:1/\"\n"
    );
    std::fs::write(dir.join("hookward.toml"), text).unwrap();
    listen
}

async fn gaps(dir: &Path, args: &[&str]) -> Said {
    run(hookward(dir, &[&["gaps"], args].concat())).await
}

async fn report(dir: &Path) -> Report {
    let said = gaps(dir, &["--json"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"))
}

fn of<'r>(report: &'r Report, source: &str) -> &'r SourceReport {
    report.sources.iter().find(|found| found.name == source).unwrap()
}

/// Waits until the gateway that has just been started has noted that it takes events, which is within a
/// turn of its journal's writer, after so many gaps.
async fn alive(dir: &Path, gaps: usize) -> Report {
    let alive = async {
        loop {
            let report = report(dir).await;
            let is_open = report.gaps.iter().any(|gap| gap.open);
            if report.known_since.is_some() && !is_open && report.gaps.len() == gaps {
                return report;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), alive).await.unwrap()
}

async fn stop(mut gateway: Process) {
    gateway.signal("TERM");
    assert_eq!(gateway.end().await, Some(0));
}

/// An attempt at an event. Whether it is acknowledged.
async fn attempt(to: SocketAddr, n: u32) -> bool {
    let Ok(mut stream) = TcpStream::connect(to).await else { return false };
    let body = format!("{{\"id\":\"e{n}\"}}");
    let request = format!(
        "POST /hooks/lab HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::new();
    let sent = stream.write_all(request.as_bytes()).await.is_ok();
    sent && stream.read_to_end(&mut answer).await.is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

/// An event's life with its provider: when it first came, and whether it was acknowledged in the end.
async fn event(to: SocketAddr, n: u32) -> (UnixMillis, bool) {
    let came = Clock::System.now();
    let mut acknowledged = attempt(to, n).await;
    for wait in WAITS {
        if !acknowledged {
            sleep(wait).await;
            acknowledged = attempt(to, n).await;
        }
    }
    (came, acknowledged)
}

/// A provider's events while the gateway goes down, for longer than the provider tries, and comes up: what
/// it has given up came in the window that the report names, and what came in that window it has given
/// up, but for its edges, where a schedule is no cleverer than its tolerance.
#[tokio::test]
async fn the_report_names_the_window_that_a_rehearsal_lost() {
    const EVERY: Duration = Duration::from_millis(250);
    let dir = tempfile::tempdir().unwrap();
    let to = configure(dir.path());
    let (gateway, _, _) = Process::serve(dir.path()).await;
    let begin = Instant::now();
    let provider = tokio::spawn(async move {
        let mut events = Vec::new();
        for n in 0..56 {
            sleep_until(begin + EVERY * n).await;
            events.push(tokio::spawn(event(to, n)));
        }
        let mut lives = Vec::new();
        for event in events {
            lives.push(event.await.unwrap());
        }
        lives
    });
    sleep_until(begin + EVERY * 6).await;
    stop(gateway).await;
    sleep_until(begin + EVERY * 38).await;
    let (mut gateway, _, _) = Process::serve(dir.path()).await;
    let told = gateway.line("nothing here can tell").await;
    assert!(told.contains("\"source\":\"silent\""), "{told}");
    let lives = provider.await.unwrap();
    let given_up: Vec<_> = lives.iter().filter(|(_, got)| !got).map(|(came, _)| *came).collect();
    assert!(given_up.len() >= 8, "{lives:?}");

    // Until the attempts of all that came are over even for a provider that is slow.
    let over = async {
        loop {
            let report = report(dir.path()).await;
            let window = of(&report, "lab").windows.iter().find(|w| w.verdict == Verdict::Lost);
            let is_over = of(&report, "lab").windows.iter().all(|w| w.verdict != Verdict::Pending);
            if let (true, Some(window)) = (is_over, window) {
                return (report.clone(), window.clone());
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    let (report, window) = tokio::time::timeout(Duration::from_secs(90), over).await.unwrap();
    let [gap] = &report.gaps[..] else { panic!("{report:?}") };
    assert_eq!((gap.cause.as_str(), gap.open), ("stopped", false));
    assert_eq!(window.causes, ["stopped"]);
    for (came, acknowledged) in &lives {
        let named = (window.from..=window.until).contains(came);
        assert!(*acknowledged || named, "{came} was given up: {window:?}");
        // An attempt takes 15 s at most where nothing is published, and the last may come a tenth sooner.
        let early = *came < gap.from;
        // Pauses are somewhat longer than they say, and the gateway takes events before it has noted that.
        let late = *came > gap.until.before(WAITS.iter().sum::<Duration>() + EVERY);
        assert!(!named || !acknowledged || early || late, "{came} was acknowledged: {window:?}");
    }
    let lost = &of(&report, "github").windows[0];
    assert_eq!((lost.verdict, lost.by_hand_until.is_some()), (Verdict::Lost, true));
    let unknown = &of(&report, "silent").windows[0];
    assert_eq!(unknown.verdict, Verdict::Unknown);

    let said = gaps(dir.path(), &[]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    for words in [
        "No events could be taken (UTC):",
        "Ask it to send them again, or reconcile",
        "Perhaps lost",
        "(the first) to",
        "retry_schedule",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    stop(gateway).await;
}

/// A gateway that was killed says so, at its next start and without one, and a store that is stopped is a
/// gap that goes on.
#[tokio::test]
async fn a_kill_is_told_from_a_stop_with_and_without_a_gateway() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path());
    let said = gaps(dir.path(), &[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("there is no store"), "{said:?}");
    let (mut gateway, _, _) = Process::serve(dir.path()).await;
    let running = alive(dir.path(), 0).await;
    assert_eq!(running.gaps, [], "{running:?}");
    let said = gaps(dir.path(), &[]).await;
    assert!(said.out.contains("No gap: events could be taken all the time"), "{said:?}");
    gateway.signal("KILL");
    gateway.end().await;
    let dead = report(dir.path()).await;
    let [gap] = &dead.gaps[..] else { panic!("{dead:?}") };
    assert_eq!((gap.cause.as_str(), gap.open), ("crashed", true));
    assert!(gaps(dir.path(), &[]).await.out.contains("  now  "), "it goes on");
    let (gateway, _, _) = Process::serve(dir.path()).await;
    alive(dir.path(), 1).await;
    stop(gateway).await;
    let stopped = report(dir.path()).await;
    let causes: Vec<_> = stopped.gaps.iter().map(|gap| (gap.cause.as_str(), gap.open)).collect();
    assert_eq!(causes, [("crashed", false), ("stopped", true)]);
    assert_eq!(stopped.known_since, dead.known_since);
}

/// Another configuration is another view of the same store, and an invalid one is none.
#[tokio::test]
async fn the_command_needs_a_configuration_and_says_what_it_looks_at() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path());
    let (gateway, _, _) = Process::serve(dir.path()).await;
    alive(dir.path(), 0).await;
    stop(gateway).await;
    std::fs::rename(dir.path().join("data"), dir.path().join("copy")).unwrap();
    let said = gaps(dir.path(), &["--store", "copy"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let said = run(hookward(dir.path(), &["store", "stat", "--store", "copy"])).await;
    assert!(said.out.contains("takes none since (stopped)"), "{said:?}");
    std::fs::write(dir.path().join("hookward.toml"), "[server]\nlisten = 1\n").unwrap();
    assert_eq!(gaps(dir.path(), &[]).await.code, Some(78));
}
