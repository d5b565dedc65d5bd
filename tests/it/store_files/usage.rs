//! Stores that are empty or not there, and wrong usage.

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{stopped, store, store_json};
use crate::process::{hookward, run};

const COMMANDS: [&str; 4] = ["verify", "stat", "rebuild-index", "export"];

#[tokio::test]
async fn a_store_that_is_not_there_is_an_error_and_an_empty_one_is_none() {
    let dir = tempfile::tempdir().unwrap();
    for command in COMMANDS {
        let said = store(dir.path(), &[command]).await;
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{command}: {said:?}");
        assert!(said.err.contains("no store in data"), "{command}: {said:?}");
    }
    assert!(!dir.path().join("data").exists(), "nothing is made by looking");
    std::fs::create_dir_all(dir.path().join("data/journal")).unwrap();
    let (code, verified) = store_json(dir.path(), &["verify"]).await;
    assert_eq!((code, &verified["clean"]), (Some(0), &true.into()), "{verified}");
    let (code, stat) = store_json(dir.path(), &["stat"]).await;
    assert_eq!((code, &stat["events"]["count"]), (Some(0), &0.into()), "{stat}");
    for command in COMMANDS {
        let said = store(dir.path(), &[command]).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{command}: {said:?}");
    }
}

/// A pipe among the segments held every command up, and the start, until somebody wrote to it.
#[tokio::test]
async fn a_pipe_among_the_segments_is_named_and_holds_nothing_up() {
    let (dir, ..) = stopped(1, 1).await;
    let pipe = dir.path().join("data/journal/0000000009.journal");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let told = "0000000009.journal is a pipe, not a regular file";
    for command in COMMANDS {
        let said = store(dir.path(), &[command]).await;
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{command}: {said:?}");
        assert!(said.err.contains(told), "{command}: {said:?}");
    }
    let text = "[server]\nlisten = \"127.0.0.1:0\"\n[store]\nmin_free = \"0B\"\n\
                [source.lab]\nauth = { kind = \"none-dangerous\" }\nevent.id = \"/id\"\n\
                [upstream.app]\nurl = \"http://127.0.0.1:9\"\n";
    std::fs::write(dir.path().join("hookward.toml"), text).unwrap();
    // What the start will tell is not looked into, nor waited for.
    let said = run(hookward(dir.path(), &["check", "--config", "hookward.toml"])).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    // A gateway in the tests' process has their umask.
    let mut private = std::process::Command::new("chmod");
    assert!(private.args(["-R", "go-rwx", "data"]).current_dir(&dir).status().unwrap().success());
    let said = run(hookward(dir.path(), &["run", "--config", "hookward.toml"])).await;
    assert!(said.code == Some(1) && said.err.contains(told), "{said:?}");
}

#[tokio::test]
async fn wrong_arguments_exit_2() {
    let dir = tempfile::tempdir().unwrap();
    let usages: [&[&str]; 10] = [
        &["store"],
        &["store", "repair"],
        &["store", "verify", "--fix"],
        &["store", "rebuild-index", "--store"],
        &["store", "export", "--since", "yesterday"],
        &["store", "export", "--until", "2025-13-01"],
        &["store", "export", "--state", "lost"],
        &["store", "export", "--type", "Order Shipped"],
        &["store", "export", "--source", "Not A Name"],
        &["store", "export", "--since", "2025-01-02", "--until", "2025-01-01"],
    ];
    for usage in usages {
        let said = run(hookward(dir.path(), usage)).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{usage:?}: {said:?}");
        assert!(!said.err.is_empty());
    }
}

#[tokio::test]
async fn without_a_valid_configuration_only_a_store_that_is_named_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    for text in [None, Some("[store]\npath = 3\n")] {
        if let Some(text) = text {
            std::fs::write(dir.path().join("hookward.toml"), text).unwrap();
        }
        for command in COMMANDS {
            let said = run(hookward(dir.path(), &["store", command])).await;
            assert_eq!((said.code, said.out.as_str()), (Some(78), ""), "{command}: {said:?}");
            assert!(said.err.contains("hookward.toml"), "{command}: {said:?}");
        }
    }
    std::fs::create_dir_all(dir.path().join("data/journal")).unwrap();
    for command in COMMANDS {
        assert_eq!(store(dir.path(), &[command]).await.code, Some(0), "{command}");
    }
}

/// By its configuration, which also says how long events are kept.
#[tokio::test]
async fn a_configuration_names_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[store]\npath = \"data\"\nretention = \"9d\"\n[source.lab]\nauth = { kind = \"none-dangerous\" }\n\
                [upstream.app]\nurl = \"http://127.0.0.1:1/\"\n";
    std::fs::write(dir.path().join("hookward.toml"), text).unwrap();
    std::fs::create_dir_all(dir.path().join("data/journal")).unwrap();
    for command in COMMANDS {
        let said = run(hookward(dir.path(), &["store", command])).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{command}: {said:?}");
    }
    let said = run(hookward(dir.path(), &["store", "stat", "--json"])).await;
    let stat: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(stat["retention"]["seconds"], 9 * 86_400);
}
