//! The commands that end by themselves.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::app::App;
use crate::pebble::free_port;
use crate::pki::Authority;
use crate::process::{Process, hookward, run};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn wrong_usage_exits_2() {
    let dir = tempfile::tempdir().unwrap();
    let usages: [&[&str]; 7] = [
        &[],
        &["serve"],
        &["run", "--colour"],
        &["run", "--config"],
        &["send"],
        &["init", "--source", "Not A Name"],
        &["keygen", "--form", "morse"],
    ];
    for usage in usages {
        let said = run(hookward(dir.path(), usage)).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{usage:?}: {said:?}");
        assert!(!said.err.is_empty());
    }
    for help in ["--help", "--version"] {
        assert_eq!(run(hookward(dir.path(), &[help])).await.code, Some(0));
    }
}

#[tokio::test]
async fn init_writes_what_check_accepts_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let init = ["init", "--dir", "clinic", "--source", "novamed", "--source", "lab"];
    let said = run(hookward(dir.path(), &init)).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let clinic = dir.path().join("clinic");
    let secrets = clinic.join("secrets");
    assert_eq!(mode(&secrets), 0o700);
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(&secrets).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let text = std::fs::read_to_string(path).unwrap();
        assert!(!said.out.contains(text.trim()), "a secret was printed");
        texts.push(text);
    }
    let count = texts.len();
    texts.sort();
    texts.dedup();
    assert!(texts.len() == count && count >= 2, "each secret is its own");
    let check = run(hookward(&clinic, &["check"])).await;
    assert_eq!(check.code, Some(0), "{check:?}");
    for source in ["source novamed (preset novamed)", "source lab"] {
        assert!(check.out.contains(source), "{}", check.out);
    }
    let before = std::fs::read(clinic.join("hookward.toml")).unwrap();
    let again = run(hookward(dir.path(), &init)).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.err.contains("exists already"), "{}", again.err);
    assert_eq!(std::fs::read(clinic.join("hookward.toml")).unwrap(), before);
}

/// Fits what `init` wrote to this machine: ports that are free, an app that is there, and C4HXP from
/// here.
pub(crate) fn fit(dir: &Path, app: &str) {
    let file = dir.join("hookward.toml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    for (from, to) in [
        ("127.0.0.1:8080\"", "127.0.0.1:0\""),
        ("127.0.0.1:9443", "127.0.0.1:0"),
        ("http://127.0.0.1:3000/webhooks", app),
        ("# allow_ips = [\"127.0.0.1/32\"]", "allow_ips = [\"127.0.0.1/32\"]"),
        ("256MiB", "0B"),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    std::fs::write(&file, text).unwrap();
}

/// What `init` writes runs as it stands.
#[tokio::test]
async fn what_init_writes_runs_and_send_sends_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let init = ["init", "--source", "novamed", "--source", "c4hxp", "--source", "lab"];
    assert_eq!(run(hookward(dir.path(), &init)).await.code, Some(0));
    let app = App::start().await;
    fit(dir.path(), &app.url());
    let (mut process, public, _) = Process::serve(dir.path()).await;
    let url = format!("http://{public}");
    let send = |args: &[&str]| {
        let mut all = vec!["send", "--url", &url];
        all.extend(args);
        run(hookward(dir.path(), &all))
    };
    let mut total = 0;
    for source in ["novamed", "c4hxp", "lab"] {
        let said = send(&[source, "--count", "3"]).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        assert_eq!(said.out.lines().filter(|line| line.starts_with("200  ")).count(), 3);
        total += 3;
        let forged = send(&[source, "--tamper"]).await;
        assert_eq!(forged.code, Some(1), "{forged:?}");
        assert!(forged.out.starts_with("401  "), "{forged:?}");
        // The same id makes the same bytes, and so a repeat.
        let first = send(&[source, "--id", "mine", "--event", "order:shipped"]).await;
        let repeats =
            send(&[source, "--id", "mine", "--event", "order:shipped", "--count", "2"]).await;
        let id = |line: &str| line.split("  ").nth(1).unwrap().to_owned();
        let ids: Vec<_> = first.out.lines().chain(repeats.out.lines()).map(id).collect();
        assert_eq!(ids.len(), 3, "{first:?} {repeats:?}");
        assert!(ids.iter().all(|other| *other == ids[0]), "{source}: {ids:?}");
        total += 1;
    }
    assert_eq!(app.wait(total).await.len(), total);
    let unknown = send(&["nobody"]).await;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.err.contains("novamed, c4hxp, lab"), "{unknown:?}");
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
    let nobody = send(&["novamed"]).await;
    assert_eq!(nobody.code, Some(1), "nobody is there: {nobody:?}");
}

/// Only the file knows that the certificate is good: its authority is nobody's, and the address is
/// not among its names.
#[tokio::test]
async fn send_finds_and_trusts_a_gateway_with_tls_by_its_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let own = Authority::new("nobody knows").server(1);
    own.write_to(dir.path());
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(dir.path().join("key.pem"), private).unwrap();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:{}\"\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n\
         [store]\nmin_free = \"0B\"\n[source.novamed]\npreset = \"novamed\"\n\
         keys = [{{ env = \"NOVAMED\" }}]\n[upstream.app]\nurl = \"http://127.0.0.1:1/\"\n",
        free_port()
    );
    std::fs::write(dir.path().join("hookward.toml"), text).unwrap();
    let (mut process, public, _) = Process::serve(dir.path()).await;
    let said = run(hookward(dir.path(), &["send", "novamed"])).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.out.starts_with("200  "), "{said:?}");
    let url = format!("https://{public}");
    assert_eq!(run(hookward(dir.path(), &["send", "novamed", "--url", &url])).await.code, Some(0));
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
}

#[tokio::test]
async fn sources_are_listed_for_people_and_programs() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[source.novamed]\npreset = \"novamed\"\nkeys = [{ env = \"NOVAMED\" }, { env = \"LAB\" }]\n\n\
                [source.lab]\npath = \"/lab\"\nauth = { kind = \"none-dangerous\" }\nallow_ips = [\"10.0.0.0/8\", \"::1/128\"]\n\n\
                [upstream.app]\nurl = \"http://127.0.0.1:1/\"\n";
    std::fs::write(dir.path().join("hookward.toml"), text).unwrap();
    let table = run(hookward(dir.path(), &["sources"])).await;
    assert_eq!((table.code, table.err.as_str()), (Some(0), ""));
    for words in ["novamed", "/hooks/novamed", "api-key", "/lab", "none-dangerous", "10.0.0.0/8"] {
        assert!(table.out.contains(words), "{}", table.out);
    }
    let json = run(hookward(dir.path(), &["sources", "--json"])).await;
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["next"], serde_json::Value::Null);
    assert_eq!(json["items"][0]["name"], "novamed");
    assert_eq!(json["items"][0]["path"], "/hooks/novamed");
    assert_eq!(json["items"][1]["allow_ips"], serde_json::json!(["10.0.0.0/8", "::1/128"]));
    for name in ["NOVAMED", "LAB"] {
        assert!(!json.to_string().contains(&crate::gateway::secret(name)));
    }
}

#[tokio::test]
async fn keygen_prints_a_new_secret_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let said = run(hookward(dir.path(), &["keygen"])).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        let key = said.out.strip_suffix('\n').unwrap().to_owned();
        assert!(key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
        keys.push(key);
    }
    assert_ne!(keys[0], keys[1]);
}

/// `keygen > file` made a file that everyone could read, which the configuration then refused.
#[tokio::test]
async fn keygen_writes_a_private_file_and_overwrites_none() {
    let dir = tempfile::tempdir().unwrap();
    let keygen = ["keygen", "--form", "whsec", "--out", "key"];
    let said = run(hookward(dir.path(), &keygen)).await;
    let nothing = (Some(0), "", "");
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), nothing);
    let file = dir.path().join("key");
    let key = std::fs::read_to_string(&file).unwrap();
    assert!(key.starts_with("whsec_") && key.ends_with("=\n"), "{} bytes", key.len());
    assert_eq!(mode(&file), 0o600);
    let again = run(hookward(dir.path(), &keygen)).await;
    assert_eq!((again.code, again.out.as_str()), (Some(1), ""));
    assert!(again.err.contains("key exists already"), "{}", again.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), key);
}

#[tokio::test]
async fn the_demo_shows_what_was_expected_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = hookward(dir.path(), &["demo", "--once"]);
    command.env("TMPDIR", dir.path());
    let said = run(command).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let clinical = ["novamed", "c4hxp", "nimbus", "drx", "rxscale"];
    for provider in clinical.iter().chain(&["standard", "stripe", "github", "slack", "shopify"]) {
        assert!(said.out.contains(&format!("\n  {provider} ")), "{}", said.out);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "something was left behind");
}
