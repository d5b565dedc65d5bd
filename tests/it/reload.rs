//! A configuration that takes over while `hookward run` goes on: by SIGHUP, and because its files
//! have changed. What is accepted before, during and after is delivered; what is invalid changes
//! nothing.

mod keys;
mod others;
mod rejected;
mod upstreams;

use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::app::App;
use crate::client::{Answer, Post};
use crate::pki::Issued;
use crate::process::Process;

const RELOADED: &str = "\"message\":\"config reloaded\"";
const REJECTED: &str = "config not reloaded";

/// A configuration file and its secrets.
struct Files {
    dir: TempDir,
    server: String,
    admin: String,
    log: String,
    source: String,
    rest: String,
}

impl Files {
    /// One source with the key in `secrets/one`, and one upstream.
    fn new(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("secrets")).unwrap();
        let files = Self {
            dir,
            server: "listen = \"127.0.0.1:0\"".to_owned(),
            admin: String::new(),
            log: String::new(),
            source: key_files(&["one"]),
            rest: upstream("app", url),
        };
        files.secret("one", &key("one"));
        files.secret("two", &key("two"));
        files.write();
        files
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn text(&self) -> String {
        let Self { server, admin, log, source, rest, .. } = self;
        format!(
            "[server]\n{server}\n\n[admin]\nlisten = \"127.0.0.1:0\"\n{admin}\n\n[store]\nmin_free = \"0B\"\n\n\
             [log]\n{log}\n\n[source.lab]\nauth = {{ kind = \"api-key\", header = \"X-Key\" }}\n{source}\n\
             event.id = \"/id\"\nevent.subject = \"/subject\"\n\n{rest}"
        )
    }

    fn write(&self) {
        self.write_text(&self.text());
    }

    fn write_text(&self, text: &str) {
        // As careful editors do.
        let new = self.path().join("hookward.toml.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path().join("hookward.toml")).unwrap();
    }

    fn secret(&self, name: &str, value: &str) {
        use std::io::Write as _;
        let path = self.path().join("secrets").join(name);
        let mut open = std::fs::OpenOptions::new();
        let mut file = open.create(true).truncate(true).write(true).mode(0o600).open(path).unwrap();
        file.write_all(value.as_bytes()).unwrap();
    }
}

impl Files {
    fn pair(&self, issued: &Issued) {
        self.secret("key.pem", &issued.key_pem);
        self.secret("cert.pem", &issued.pem);
    }
}

fn key(name: &str) -> String {
    format!("the-key-of-{name}-0123456789")
}

fn key_files(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|n| format!("{{ file = \"secrets/{n}\" }}")).collect();
    format!("keys = [{}]", names.join(", "))
}

fn upstream(name: &str, url: &str) -> String {
    format!(
        "[upstream.{name}]\nurl = \"{url}\"\nretry = {{ first = \"1ms\", max = \"2ms\", give_up = \"1h\" }}\n"
    )
}

fn post(n: usize, key_name: &str) -> Post {
    let body = format!(r#"{{"id":"e{n}","subject":"s{}","n":{n}}}"#, n % 3);
    Post::to("/hooks/lab").header("X-Key", &key(key_name)).body(body)
}

async fn accepted(public: SocketAddr, n: usize) -> Answer {
    let answer = post(n, "one").send(public).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

async fn end(mut process: Process) {
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0), "{:#?}", process.said());
}

fn field(line: &str, name: &str) -> Value {
    serde_json::from_str::<Value>(line).unwrap()[name].clone()
}
