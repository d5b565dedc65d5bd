//! `hookward verify`, run as a user would, beside a gateway that gets the same requests.

use std::fmt::Write as _;
use std::path::Path;

use hookward::clock::Clock;
use hookward::provider::sample;
use hookward::provider::{Preset, sign};
use serde_json::Value;

use crate::app::App;
use crate::client::{Connection, Post};
use crate::gateway::{Setup, secret, setup};
use crate::process::{Said, hookward, run};

/// The presets whose keys the binary's environment has, and one that signs.
fn sources(app: &str) -> Setup {
    setup(&format!(
        "[upstream.app]\nurl = \"{app}\"\n\
         [source.novamed]\npreset = \"novamed\"\nkeys = [{{ env = \"NOVAMED\" }}]\n\
         [source.github]\npreset = \"github\"\nkeys = [{{ env = \"LAB\" }}, {{ env = \"APP\" }}]\n\
         [source.stripe]\npreset = \"stripe\"\nkeys = [{{ env = \"TOKEN\" }}]\n"
    ))
}

/// A signed sample, as it goes over the wire, and what the gateway answers to it.
struct Sent {
    headers: http::HeaderMap,
    path: String,
    body: Vec<u8>,
}

fn sent(setup: &Setup, preset: Preset, forged: bool) -> Sent {
    let config = setup.config(Path::new("/nowhere"));
    let source = config.sources.iter().find(|source| source.preset == Some(preset)).unwrap();
    let event = sample::all(preset).next().unwrap().verbatim();
    let (key, now) = (&source.keys[0], Clock::System.now());
    let (headers, body) = if forged {
        sign::forge(source, key, now, &event).unwrap()
    } else {
        (sign::sign(source, key, now, &event).unwrap(), event.body)
    };
    Sent { headers, path: source.path.clone(), body }
}

impl Sent {
    fn raw(&self) -> Vec<u8> {
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: gw\r\nContent-Type: application/json\r\n",
            self.path
        );
        for (name, value) in &self.headers {
            write!(head, "{name}: {}\r\n", value.to_str().unwrap()).unwrap();
        }
        write!(head, "Content-Length: {}\r\n\r\n", self.body.len()).unwrap();
        [head.as_bytes(), &self.body].concat()
    }

    fn curl(&self) -> Vec<u8> {
        let mut text =
            format!("curl -X POST 'http://gw{}' -H 'Content-Type: application/json'", self.path);
        for (name, value) in &self.headers {
            write!(text, " \\\n -H '{name}: {}'", value.to_str().unwrap()).unwrap();
        }
        text += " --data-binary @body.json";
        text.into_bytes()
    }
}

async fn verify(dir: &Path, capture: &[u8], args: &[&str]) -> (Said, Value) {
    std::fs::write(dir.join("captured"), capture).unwrap();
    let mut all = vec!["verify", "--request", "captured", "--json"];
    all.extend(args);
    let said = run(hookward(dir, &all)).await;
    for name in crate::process::VARIABLES {
        assert!(!said.out.contains(&secret(name)) && !said.err.contains(&secret(name)));
    }
    let json = serde_json::from_str(&said.out).unwrap_or_default();
    (said, json)
}

/// Both go by the same code; this is the proof that they are asked the same.
#[tokio::test]
async fn the_command_and_the_gateway_agree() {
    let app = App::start().await;
    let setup = sources(&app.url());
    let gateway = setup.start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hookward.toml"), setup.text()).unwrap();
    for preset in [Preset::NovaMed, Preset::GitHub, Preset::Stripe] {
        for forged in [false, true] {
            let sent = sent(&setup, preset, forged);
            let post = Post::to(&sent.path).headers(&sent.headers).body(sent.body.clone());
            let answer = gateway.send(&post).await;
            std::fs::write(dir.path().join("body.json"), &sent.body).unwrap();
            for capture in [sent.raw(), sent.curl()] {
                let (said, json) = verify(dir.path(), &capture, &[preset.as_str()]).await;
                assert_eq!(json["status"], answer.status, "{preset:?} {said:?}");
                assert_eq!(said.code, Some(i32::from(forged)), "{said:?}");
            }
        }
    }
}

/// What comes of a body that is not as its head says.
#[tokio::test]
async fn the_command_and_the_gateway_agree_on_broken_bodies() {
    let setup = sources("http://127.0.0.1:1/").server("max_body = \"64KiB\"");
    let gateway = setup.start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hookward.toml"), setup.text()).unwrap();
    let whole = sent(&setup, Preset::NovaMed, false);
    let large = format!("12000\r\n{}", "a".repeat(0x11_000));
    for (framing, body) in [
        ("Content-Length: 70000", "{}"),
        ("Content-Length: 10", "{}"),
        ("Transfer-Encoding: chunked", "2\r\n{}\r\n"),
        ("Transfer-Encoding: chunked", "2x\r\n{}\r\n"),
        ("Transfer-Encoding: chunked", &large),
    ] {
        for key in ["right", "wrong"] {
            let mut head = format!("POST {} HTTP/1.1\r\nHost: gw\r\n", whole.path);
            for (name, value) in &whole.headers {
                let value = if key == "right" { value.to_str().unwrap() } else { "wrong" };
                write!(head, "{name}: {value}\r\n").unwrap();
            }
            let capture = format!("{head}{framing}\r\n\r\n{body}");
            let mut connection = Connection::open(gateway.address, None).await;
            connection.write(capture.as_bytes()).await;
            let status = connection.status().await;
            let (said, json) = verify(dir.path(), capture.as_bytes(), &["novamed"]).await;
            assert_eq!(json["status"], status, "{framing}, {key}: {said:?}");
        }
    }
}

#[tokio::test]
async fn exit_codes_tell_wrong_usage_from_a_refusal() {
    let setup = sources("http://127.0.0.1:1/");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hookward.toml"), setup.text()).unwrap();
    let whole = sent(&setup, Preset::GitHub, false).raw();
    for (capture, args, code) in [
        (&whole[..], &["github"][..], 0),
        (&whole[..], &["stripe"], 1),
        (&whole[..], &["nobody"], 2),
        (&whole[..], &["github", "--at", "yesterday"], 2),
        (b"", &["github"], 2),
        (b"curl $URL", &["github"], 2),
        (b"curl x -d @/dev/zero", &["github"], 2),
        (b"curl x -d @../captured", &["github"], 2),
        (b"no request", &["github"], 1),
        (&whole[..], &["github", "--config", "absent.toml"], 78),
    ] {
        let (said, _) = verify(dir.path(), capture, args).await;
        assert_eq!(said.code, Some(code), "{args:?}: {said:?}");
    }
    // An editor has added a newline and a length that fits it.
    let body = String::from_utf8(whole.clone()).unwrap();
    let length = sent(&setup, Preset::GitHub, false).body.len();
    let edited =
        body.replace(&format!("Length: {length}"), &format!("Length: {}", length + 1)) + "\n";
    let (said, json) = verify(dir.path(), edited.as_bytes(), &["github"]).await;
    assert_eq!((said.code, &json["reason"]), (Some(1), &"signature_invalid".into()), "{said:?}");
    let hint = &json["would_pass"][0];
    assert_eq!(hint["changes"][0]["change"], "body_without_newline", "{said:?}");
    assert_eq!(hint["key"]["place"], "the environment variable LAB");
}
