//! Outages, rehearsed with the binary: a provider that sends again on its schedule, at a time
//! scale, through a gateway that is not there, comes up, or stays away.

use std::path::Path;
use std::time::Duration;

use hookward::provider::Preset;
use serde_json::Value;

use crate::app::App;
use crate::commands::fit;
use crate::pebble::free_port;
use crate::process::{Process, hookward, run, run_within};

/// A gateway for two providers, on a port that is free, in front of nobody. Returns the port.
fn configure(dir: &Path) -> u16 {
    let port = free_port();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\n[store]\nmin_free = \"0B\"\n\
         [source.novamed]\npreset = \"novamed\"\nkeys = [{{ env = \"NOVAMED\" }}]\n\
         [source.drx]\npreset = \"drx\"\nkeys = [{{ env = \"LAB\" }}]\n\
         [upstream.app]\nurl = \"http://127.0.0.1:1/\"\n"
    );
    std::fs::write(dir.join("hookward.toml"), text).unwrap();
    port
}

#[tokio::test]
async fn what_is_sent_while_the_gateway_is_down_arrives_when_it_is_up() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path());
    // A minute takes a fifth of a second; the last attempt comes 16 seconds after the first.
    let send = ["send", "novamed", "--count", "3", "--retries", "--time-scale", "300"];
    let mut provider = Process::start(hookward(dir.path(), &send));
    provider.lines("try 1 of 5, again in 1m  cannot connect", 3).await;
    let (mut gateway, _, _) = Process::serve(dir.path()).await;
    assert_eq!(provider.end().await, Some(0), "{:#?}", provider.said());
    let said = provider.said();
    let sum = "3 events sent: 0 acknowledged at the first try, 3 later, 0 given up";
    assert!(said.iter().any(|line| line == sum), "{said:#?}");
    let later = said.iter().filter(|line| line.starts_with("After ") && line.contains(" tries, "));
    assert!(later.count() >= 1, "{said:#?}");
    gateway.signal("TERM");
    assert_eq!(gateway.end().await, Some(0));
}

#[tokio::test]
async fn who_gives_up_is_told_by_the_exit_code_and_by_each_id() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path());
    let fast = ["--retries", "--time-scale", "60000", "--json"];
    let send = [&["send", "novamed", "--count", "2"], &fast[..]].concat();
    let said = run(hookward(dir.path(), &send)).await;
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{said:?}");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["schedule"], serde_json::json!(["1m", "5m", "15m", "1h"]));
    let given_up = report["given_up"].as_array().unwrap();
    assert_eq!(given_up.len(), 2, "{report}");
    for event in given_up {
        assert!(event["id"].as_str().is_some_and(|id| !id.is_empty()), "{event}");
        assert_eq!((&event["tries"], &event["waited"]), (&5.into(), &"81m".into()), "{event}");
        assert!(event["last_error"].as_str().unwrap().starts_with("cannot connect"), "{event}");
    }
    // A schedule of one's own, where none is published.
    let own = [&["send", "drx", "--schedule", "1m,2m"], &fast[..]].concat();
    let said = run(hookward(dir.path(), &own)).await;
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &report["given_up"][0]["tries"]), (Some(1), &3.into()), "{report}");
}

#[tokio::test]
async fn an_interrupted_rehearsal_says_how_far_it_came() {
    for signal in ["INT", "TERM"] {
        let dir = tempfile::tempdir().unwrap();
        configure(dir.path());
        let send = ["send", "novamed", "--count", "2", "--every", "1d", "--retries"];
        let mut provider = Process::start(hookward(dir.path(), &send));
        provider.line("try 1 of 5, again in 1m").await;
        provider.signal(signal);
        assert_eq!(provider.end().await, Some(130), "{:#?}", provider.said());
        let said = provider.said();
        let sum = "1 event sent: 0 acknowledged at the first try, 0 later, 0 given up, 1 not finished; interrupted";
        assert!(said.iter().any(|line| line == sum), "{said:#?}");
        assert!(said.iter().any(|line| line == "Not finished after 1 try: 1"), "{said:#?}");
    }
}

#[tokio::test]
async fn what_cannot_be_rehearsed_is_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path());
    let usages: [(&[&str], &str); 7] = [
        (&["send", "drx", "--retries"], "retry_schedule in [source.drx]"),
        (&["send", "novamed", "--time-scale", "10"], "--retries"),
        (&["send", "novamed", "--json"], "--retries"),
        (&["send", "novamed", "--schedule", "1m"], "--retries"),
        (&["send", "novamed", "--retries", "--schedule", "1m,soon"], "such as 20m"),
        (&["send", "novamed", "--retries", "--count", "100001"], "at most 100000"),
        (&["demo", "--outage", "--time-scale", "0"], "1 to 10000"),
    ];
    for (usage, why) in usages {
        let said = run(hookward(dir.path(), usage)).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{usage:?}: {said:?}");
        assert!(said.err.contains(why), "{usage:?}: {}", said.err);
    }
}

/// Every preset, as `init` writes it, takes all that `send` sends for it, once or with retries.
#[tokio::test]
async fn what_send_sends_for_a_preset_is_taken_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let presets = Preset::ALL.map(Preset::as_str);
    let mut init = vec!["init"];
    init.extend(presets.iter().flat_map(|preset| ["--source", preset]));
    assert_eq!(run(hookward(dir.path(), &init)).await.code, Some(0));
    let app = App::start().await;
    fit(dir.path(), &app.url());
    let (mut gateway, public, _) = Process::serve(dir.path()).await;
    let url = format!("http://{public}");
    for preset in presets {
        // More than any preset has samples.
        let send = ["send", preset, "--url", &url, "--count", "6"];
        let said = run(hookward(dir.path(), &send)).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{preset}: {said:?}");
        assert_eq!(said.out.matches("200  ").count(), 6, "{preset}: {}", said.out);
        let retries = [&send[..], &["--retries", "--schedule", "1m", "--json"]].concat();
        let said = run(hookward(dir.path(), &retries)).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{preset}: {said:?}");
        let report: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(report["counts"]["first_try"], 6, "{preset}: {report}");
    }
    let expected = presets.len() * 12;
    let seen = app.wait(expected).await;
    assert_eq!(seen.len(), expected, "each is an event of its own");
    gateway.signal("TERM");
    assert_eq!(gateway.end().await, Some(0));
}

#[tokio::test]
async fn the_demo_rehearses_a_day_of_outages_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // The day takes nine seconds.
    let mut command = hookward(dir.path(), &["demo", "--outage", "--time-scale", "10000"]);
    command.env("TMPDIR", dir.path());
    let said = run_within(Duration::from_secs(90), command).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    for provider in ["novamed", "c4hxp", "nimbus", "drx", "rxscale"] {
        let row = said.out.lines().find(|line| line.starts_with(&format!("  {provider:<8}  ")));
        let row = row.unwrap_or_else(|| panic!("{provider}: {}", said.out));
        assert!(row.contains("    48  "), "48 events each: {row}");
    }
    // Nobody bridges three hours with one attempt.
    assert!(said.out.contains("    drx      sent at "), "{}", said.out);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "something was left behind");
}
