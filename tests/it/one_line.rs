//! Whatever a stranger sends, and whatever a provider's event is called: each request is one line of the
//! log, bounded and escaped, in both formats, and nothing in it steers a terminal; nor does what operators
//! are shown of it, in tables, in JSON and in the audit trail's files.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::api::{ask, command};
use crate::client::{Connection, Post, new_tag};
use crate::process::{Process, hookward};

/// A line of the log is no longer than this, whatever comes.
const LINE: usize = 4096;
const MIB: usize = 1 << 20;

/// Line ends, terminal escapes, the end of a C string, what some take for a line's end, what changes the
/// direction of writing, and what is not seen.
const HOSTILE: [&str; 10] = [
    "\r\n{\"level\":\"INFO\",\"message\":\"forged\"}",
    "\n",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "\0",
    "\u{2028}\u{2029}\u{85}\u{b}\u{c}",
    "\u{202e}\u{2066}\u{200f}\u{61c}",
    "\u{9b}31m",
    "\u{200b}\u{feff}",
    "\u{7f}\u{8}",
    "\u{e0001}\u{fff9}",
];

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{61c}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn configured(format: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [store]\nmin_free = \"0B\"\n[log]\nformat = \"{format}\"\nlevel = \"trace\"\n\
         [source.open]\nauth = {{ kind = \"none-dangerous\" }}\nevent.id = \"/id\"\n\
         event.type = \"/event\"\nevent.subject = \"/subject\"\nevent.tenant = \"/tenant\"\n\
         [upstream.app]\nurl = \"http://127.0.0.1:1/\"\n"
    );
    std::fs::write(dir.path().join("hookward.toml"), text).unwrap();
    dir
}

/// Starts the gateway, whatever the log's format is.
async fn serve(dir: &Path) -> (Process, SocketAddr) {
    let mut process = Process::start(hookward(dir, &["run"]));
    let started = process.line("started").await;
    let (_, listen) = started.split_once("listen").unwrap();
    let listen = listen.trim_start_matches(['"', ':', '=']);
    let end = listen.find(['"', ' ']).unwrap_or(listen.len());
    (process, listen[..end].parse().unwrap())
}

/// Requests as bytes, each of which is refused; whoever sends them can write anything.
fn requests() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let line = |path: &[u8], user_agent: &[u8]| {
        let parts: [&[u8]; 5] =
            [b"GET /", path, b" HTTP/1.1\r\nHost: gw\r\nUser-Agent: ", user_agent, b"\r\n\r\n"];
        parts.concat()
    };
    for hostile in HOSTILE.iter().map(|text| text.as_bytes()).chain([&b"\xff\xfe\xc3\x28\x80"[..]])
    {
        all.push(line(b"nowhere", hostile));
        all.push(line(hostile, b"agent"));
        all.push([b"P", hostile, b"ST / HTTP/1.1\r\nHost: gw\r\n\r\n"].concat());
        all.push(hostile.to_vec());
    }
    all.push(line(&b"a".repeat(MIB), b"agent"));
    all.push(line(b"nowhere", &b"b".repeat(MIB)));
    all.push(line(&[b"../".repeat(MIB / 3), b"\xe2\x80\xae".to_vec()].concat(), b"agent"));
    all
}

/// Every line of the log is one: its own, whole, bounded, and harmless.
fn assert_lines(format: &str, said: &[String]) {
    for line in said {
        assert!(line.len() <= LINE, "{format}: {} bytes: {}", line.len(), &line[..LINE]);
        assert_eq!(line.chars().find(|c| is_hostile(*c)), None, "{format}: {line:?}");
        let begins = match format {
            "json" => {
                serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"].is_string())
            }
            _ => line.get(..10).is_some_and(|date| date.starts_with("20") && date.contains('-')),
        };
        assert!(begins, "{format}: this is no line of its own: {line:?}");
    }
    let forged =
        said.iter().filter(|line| line.starts_with("{\"level\":\"INFO\",\"message\":\"forged"));
    assert_eq!(forged.count(), 0, "{format}");
}

#[tokio::test]
async fn each_request_is_one_bounded_line_whatever_it_holds() {
    for format in ["json", "text"] {
        let dir = configured(format);
        let (mut process, public) = serve(dir.path()).await;
        let requests = requests();
        for request in &requests {
            let mut connection = Connection::open(public, None).await;
            connection.write(request).await;
            connection.end_of_writing().await;
            let answer = connection.rest().await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:?}");
            assert_eq!(answer.chars().find(|c| is_hostile(*c) && !"\r\n".contains(*c)), None);
        }
        // Line ends alone are no request, and a head that is broken off is told once it is.
        let refused = process.lines("refused", requests.len() - 2).await;
        assert!(refused.len() <= requests.len(), "{format}: {} lines", refused.len());
        let page = ask(dir.path(), "GET /api/v1/audit?limit=500", "").await.1.to_string();
        assert!(page.len() < requests.len() * LINE && !page.contains(char::is_control), "{page}");
        for (args, shows) in [
            (&["audit", "list", "--limit", "500"][..], "protocol_error"),
            (&["audit", "list", "--limit", "500", "--json"], "protocol_error"),
            (&["audit", "export"], "protocol_error"),
            (&["audit", "export", "--format", "csv"], "protocol_error"),
        ] {
            let said = command(dir.path(), args).await;
            assert!(said.code == Some(0) && said.out.contains(shows), "{args:?}: {said:?}");
            for line in said.out.lines() {
                let bad = line.chars().find(|c| is_hostile(*c));
                assert_eq!(bad, None, "{args:?}: {line:?}");
            }
        }
        process.signal("TERM");
        assert_eq!(process.end().await, Some(0));
        assert_lines(format, &process.said());
    }
}

/// What a provider that is let in calls its events, their ids and their subjects is shown to operators.
#[tokio::test]
async fn what_events_are_called_breaks_no_line_and_steers_no_terminal() {
    for format in ["json", "text"] {
        let dir = configured(format);
        let (mut process, public) = serve(dir.path()).await;
        let mut ids = Vec::new();
        for hostile in HOSTILE {
            let tag = new_tag();
            let text =
                |name: &str| serde_json::to_string(&format!("{name}{tag}{hostile}.")).unwrap();
            let (id, event, subject) = (text("id"), text("event"), text("subject"));
            let body = format!(
                "{{\"id\":{id},\"event\":{event},\"subject\":{subject},\"tenant\":{subject}}}"
            );
            let answer = Post::to("/hooks/open").body(body).send(public).await;
            assert_eq!(answer.status, 200, "{hostile:?}: {answer:?}");
            ids.push(answer.event_id().to_owned());
        }
        process.lines("accepted", ids.len()).await;
        let list = command(dir.path(), &["events", "list", "--limit", "500"]).await.out;
        assert_eq!(list.lines().count(), ids.len() + 1, "one line each: {list}");
        let mut shown = vec![list];
        for id in &ids {
            shown.push(command(dir.path(), &["events", "show", id]).await.out);
            shown.push(command(dir.path(), &["events", "show", id, "--json"]).await.out);
        }
        shown.push(command(dir.path(), &["events", "list", "--json"]).await.out);
        for text in shown {
            let bad = text.lines().find(|line| line.contains(is_hostile));
            assert_eq!(bad, None, "{format}");
        }
        process.signal("TERM");
        assert_eq!(process.end().await, Some(0));
        assert_lines(format, &process.said());
    }
}
