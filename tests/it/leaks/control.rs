//! That the search finds what it is to find, in every form and in every kind of place: without this,
//! finding nothing would prove nothing.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use tempfile::TempDir;

use super::needles::Needles;
use super::{Found, forms};
use crate::api::{ask, command};
use crate::client::Post;
use crate::gateway::{secret, setup};
use crate::lines;
use crate::process::{Process, hookward, run};

/// A word that the rule of the suite does not know of.
fn word() -> String {
    (0..24).map(|_| fastrand::lowercase()).collect()
}

fn looking_for(word: &str) -> Needles {
    let needles = Needles::default();
    needles.add("the planted word", word.as_bytes(), 1);
    needles
}

#[test]
fn a_word_is_found_in_every_form_and_by_each_piece_of_it() {
    let (word, other) = (word(), word());
    let needles = looking_for(&word);
    for (form, bytes) in forms::of(word.as_bytes()) {
        let text = [b"in front of it ", &bytes[..], b" behind it"].concat();
        assert!(!needles.search(&text).is_empty(), "{form}");
    }
    for front in 0..6 {
        let text = STANDARD.encode(format!("{}{word} and more", "x".repeat(front)));
        assert!(!needles.search(text.as_bytes()).is_empty(), "behind {front} bytes: {text}");
    }
    for at in 0..=word.len() - 16 {
        assert!(!needles.search(&word.as_bytes()[at..at + 16]).is_empty(), "{at}");
    }
    for clean in ["", &word[..15], &other, "nothing of it at all"] {
        assert!(needles.search(clean.as_bytes()).is_empty(), "{clean}");
    }
}

/// What cannot be printed as it is comes out escaped, and is known all the same.
#[test]
fn what_needs_escapes_is_found_with_them() {
    let value = "Jane \"Doe\"\n\u{1b}[31m\u{e9}/\\ 1970";
    let needles = looking_for(value);
    let json = serde_json::to_string(value).unwrap();
    let bytes = format!("{:?}", value.as_bytes());
    let debug =
        format!("{:?}", bytes::Bytes::from_static(b"Jane \"Doe\"\n\x1b[31m\xc3\xa9/\\ 1970"));
    for text in [&json, &format!("{value:?}"), &bytes, &debug] {
        assert!(!needles.search(text.as_bytes()).is_empty(), "{text}");
    }
}

/// A body is known by its beginning, by values that are no part of the event's identity, and no others.
#[test]
fn of_a_body_its_payload_is_looked_for() {
    let needles = Needles::default();
    let body = br#"{"event_id":"evt_Abc123xyz","patient":{"name":"Jane Q. Doe"},"n":1}"#;
    super::payload::note(&needles, body);
    for leak in [&body[..], b"name=Jane Q. Doe", &hex::encode("Jane Q. Doe").into_bytes()] {
        assert!(!needles.search(leak).is_empty(), "{}", leak.escape_ascii());
    }
    assert!(needles.search(b"provider_id=evt_Abc123xyz").is_empty(), "it is shown on purpose");
}

/// An encrypted gateway with a source of this name.
fn configured(source: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken = {{ env = \"ADMIN\" }}\n\
         [store]\nmin_free = \"0B\"\nencryption_key = {{ env = \"LAB\" }}\n\
         [source.{source}]\nauth = {{ kind = \"none-dangerous\" }}\n\
         [upstream.app]\nurl = \"http://127.0.0.1:1/\"\n"
    );
    fs::write(dir.path().join("hookward.toml"), text).unwrap();
    dir
}

/// A request that is refused, with this word where the log and the trail show it.
fn showing(word: &str) -> Post {
    let mut post = Post::to(&format!("/{word}"));
    post.tag = word.to_owned();
    post
}

fn has(found: &Found, place: &str) -> bool {
    found.keys().any(|key| key.contains(place))
}

#[tokio::test]
async fn a_word_is_found_in_all_that_a_gateway_says_answers_and_leaves() {
    let word = word();
    let dir = configured(&word);
    let (mut process, public, _) = Process::serve(dir.path()).await;
    assert_eq!(showing(&word).send(public).await.status, 404);
    assert_eq!(Post::to(&format!("/hooks/{word}")).send(public).await.status, 200);
    let temporary = process.temporary().join("put-aside");
    let data = dir.path().join("data");
    let strays = [data.join("stray"), data.join("index/stray"), data.join("journal/stray")];
    for file in strays.iter().chain([&dir.path().join("gateway.log"), &temporary]) {
        fs::write(file, STANDARD.encode(&word)).unwrap();
    }
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
    let found = process.search(&looking_for(&word));
    for place in [
        "it said: ",
        "/metrics: ",
        "/api/v1/sources: ",
        "/api/v1/events?limit=500: ",
        "/api/v1/events/",
        "/api/v1/audit?limit=500: ",
        "data/audit/00",
        "data/stray",
        "data/index/stray",
        "data/journal/stray",
        "gateway.log",
        "put-aside",
    ] {
        assert!(has(&found, place), "not found in {place}: {:#?}", found.keys());
    }
    assert!(!has(&found, ".journal"), "the segments are encrypted: {:#?}", found.keys());
}

/// The same with a word that the suite's rule knows: whatever tells it fails its test.
#[tokio::test]
async fn a_gateway_or_a_command_or_an_answer_that_tells_fails_the_test() {
    let word = word();
    let dir = configured("open");
    let (process, public, admin) = Process::serve(dir.path()).await;
    assert_eq!(showing(&word).send(public).await.status, 404);
    super::secret("that is planted", word.as_bytes());
    let token = format!("Bearer {}", secret("ADMIN"));
    let asking = Post::to("/api/v1/audit").method("GET").without("content-type").body("");
    let asking = asking.header("Authorization", &token);
    let by_listener = tokio::spawn(async move { asking.send(admin.unwrap()).await });
    assert!(by_listener.await.unwrap_err().is_panic(), "an answer of the listener");
    let path = dir.path().to_owned();
    let by_socket = tokio::spawn(async move { ask(&path, "GET /api/v1/audit", "").await });
    assert!(by_socket.await.unwrap_err().is_panic(), "an answer over the socket");
    let path = dir.path().to_owned();
    let by_command = tokio::spawn(async move { command(&path, &["audit", "list"]).await });
    assert!(by_command.await.unwrap_err().is_panic(), "a command");
    let ended = catch_unwind(AssertUnwindSafe(|| drop(process)));
    let told = ended.unwrap_err().downcast::<String>().unwrap();
    for place in ["it said: ", "data/audit/00", "/api/v1/audit"] {
        assert!(told.contains(place), "{place}: {told}");
    }
}

#[tokio::test]
async fn a_word_is_found_in_the_log_of_a_gateway_of_this_process() {
    let word = word();
    let rest = "[source.open]\nauth = { kind = \"none-dangerous\" }\n[upstream.app]\nurl = \"http://127.0.0.1:1/\"";
    let gateway = setup(rest).start().await;
    assert_eq!(gateway.send(&showing(&word)).await.status, 404);
    lines::refusal(&word).await;
    let (needles, mut found) = (looking_for(&word), Found::new());
    lines::search(&Mutex::new(0), |line| needles.search(line), &mut found);
    assert!(has(&found, "the log: "), "{found:#?}");
}

/// What a command puts aside and leaves behind is found, too.
#[tokio::test]
async fn each_command_has_a_temporary_directory_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = hookward(dir.path(), &["--version"]);
    let first = super::Temporary::of(&mut command);
    let path = first.path().unwrap().to_owned();
    let named = command.get_envs().any(|(_, value)| value == Some(path.as_os_str()));
    assert!(named && path.is_dir());
    let word = word();
    fs::write(path.join("left"), &word).unwrap();
    let mut found = Found::new();
    first.search(&looking_for(&word), &mut found);
    assert!(has(&found, "left"), "{found:#?}");
    drop(first);
    assert!(!path.exists());
    assert_eq!(run(command).await.code, Some(0));
}

/// Whoever wants a gateway gets it from the harness, and the search with it.
#[test]
fn no_test_starts_a_gateway_past_the_harness() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let (start, binary) = (concat!("Gateway", "::start("), concat!("CARGO_BIN_EXE", "_hookward"));
    let mut users = Vec::new();
    visit(&root, &mut |file, text| {
        for needle in [start, binary] {
            let times = text.matches(needle).count();
            users.extend((times > 0).then(|| (file.to_owned(), needle, times)));
        }
    });
    users.sort();
    // The one of `acme` is refused.
    let expected = [("acme.rs", start, 1), ("gateway.rs", start, 1), ("process.rs", binary, 2)];
    assert_eq!(users, expected.map(|(file, needle, times)| (file.to_owned(), needle, times)));
}

fn visit(dir: &Path, look: &mut impl FnMut(&str, &str)) {
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            visit(&path, look);
        } else {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            look(&name, &fs::read_to_string(&path).unwrap());
        }
    }
}
