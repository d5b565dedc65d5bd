//! The story told with a stand-in gateway that is as good or as bad as a test wants it.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::*;
use crate::config::Auth;
use crate::event::SourceName;
use crate::provider::sign::standard_webhooks_signature;
use crate::provider::sign::tests::{plain_hmac, source};
use crate::secret::Secret;

/// What the stand-in gateway gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli::demo) enum Fault {
    None,
    LetsEverybodyIn,
    DeliversTwice,
    KnowsNoRepeats,
    LosesDrx,
}

struct Gateway {
    fault: Fault,
    sources: Vec<Arc<Source>>,
    app: SocketAddr,
    app_key: Secret,
    /// Hookward's ids by path and body.
    stored: Mutex<HashMap<(String, Bytes), String>>,
}

fn key() -> Secret {
    Secret::new(b"0123456789abcdef0123456789abcdef".to_vec())
}

fn sources() -> Vec<Arc<Source>> {
    let header = HeaderName::from_static("x-api-key");
    PROVIDERS
        .into_iter()
        .map(|(name, preset)| {
            let auth = match preset {
                Preset::C4hxp | Preset::RxScale => Auth::Hmac(plain_hmac("x-signature", "sha256=")),
                _ => Auth::ApiKey { header: header.clone() },
            };
            Arc::new(Source {
                name: SourceName::new(name).unwrap(),
                preset: Some(preset),
                path: format!("/hooks/{name}"),
                keys: vec![key()],
                ..source(auth)
            })
        })
        .collect()
}

impl Gateway {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let gateway = self.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let gateway = gateway.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let path = head.uri.path().to_owned();
                    let (status, id) = gateway.answer(peer.ip(), path, head.headers, body);
                    let answer = Response::builder().status(status);
                    let answer = match id {
                        Some(id) => answer.header("hookward-event-id", id),
                        None => answer,
                    };
                    Ok::<_, hyper::Error>(answer.body(Empty::<Bytes>::new()).unwrap())
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }

    fn answer(
        self: Arc<Self>,
        peer: IpAddr,
        path: String,
        headers: HeaderMap,
        body: Bytes,
    ) -> (u16, Option<String>) {
        let source = self.sources.iter().find(|s| s.path == path).unwrap().clone();
        if self.fault != Fault::LetsEverybodyIn {
            if peer == ELSEWHERE {
                return (403, None);
            }
            let event =
                Outgoing { event_type: String::new(), id: String::new(), body: body.to_vec() };
            let right = sign::sign(&source, &key(), UnixMillis(0), &event).unwrap();
            for name in ["x-api-key", "x-signature"] {
                if right.get(name) != headers.get(name) {
                    return (401, None);
                }
            }
        }
        let mut stored = self.stored.lock();
        let new = format!("0193-{}", stored.len());
        let place = (path, body.clone());
        let known = stored.get(&place).filter(|_| self.fault != Fault::KnowsNoRepeats).cloned();
        if known.is_some() {
            return (200, known);
        }
        stored.insert(place, new.clone());
        drop(stored);
        let kind = kind(&headers, &body);
        tokio::spawn(self.clone().deliver(source.name.clone(), new.clone(), kind, body));
        (200, Some(new))
    }

    async fn deliver(self: Arc<Self>, source: SourceName, id: String, kind: String, data: Bytes) {
        let data: serde_json::Value = serde_json::from_slice(&data).unwrap();
        let kind = format!("{source}.{}", normalize_type(Some(&kind)));
        let body = serde_json::json!({"type": kind, "providertype": "p", "data": data}).to_string();
        let mut headers = HeaderMap::new();
        let signature = standard_webhooks_signature(&self.app_key, &id, "1", body.as_bytes());
        for (name, value) in [
            ("webhook-id", id.as_str()),
            ("webhook-timestamp", "1"),
            ("webhook-signature", &signature),
            ("hookward-source", source.as_str()),
            ("hookward-attempt", "2"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let url: Uri = format!("http://{}/", self.app).parse().unwrap();
        let caller = Caller::plain(None).unwrap();
        let mut wanted = if self.fault == Fault::DeliversTwice { 2 } else { 1 };
        while wanted > 0 {
            let answer = caller.post(&url, headers.clone(), body.clone().into()).await.unwrap();
            wanted -= usize::from(answer.status.is_success());
            if self.fault == Fault::LosesDrx && source.as_str() == "drx" {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// The event's name, wherever one of the providers has it.
fn kind(headers: &HeaderMap, body: &Bytes) -> String {
    let header = ["x-github-event", "x-shopify-topic"].iter().find_map(|name| headers.get(*name));
    if let Some(header) = header {
        return header.to_str().unwrap().to_owned();
    }
    let data: serde_json::Value = serde_json::from_slice(body).unwrap();
    let places = ["/event/type", "/event_type", "/event_name", "/event", "/type"];
    places.iter().find_map(|place| data.pointer(place)?.as_str()).unwrap().to_owned()
}

/// The story as it goes with this gateway.
pub(in crate::cli::demo) async fn story(fault: Fault) -> Story {
    let clinic = Clinic::start(key()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let gateway = Arc::new(Gateway {
        fault,
        sources: sources(),
        app: clinic.addr(),
        app_key: key(),
        stored: Mutex::default(),
    });
    let server = tokio::spawn(gateway.serve(listener));
    let patience = match fault {
        Fault::LosesDrx => Duration::from_millis(300),
        _ => PATIENCE,
    };
    let story = Story::play(&sources(), addr, &clinic, patience).await.unwrap();
    server.abort();
    story
}

#[tokio::test]
async fn a_good_gateway_gives_no_differences() {
    let story = story(Fault::None).await;
    assert_eq!(story.differences(), Vec::<String>::new());
    assert_eq!(story.rows.len(), 25);
    assert_eq!(story.right_answers(), 100);
    assert_eq!(story.once(), 25);
    assert!(story.refused >= PROVIDERS.len());
    assert_eq!(story.showpiece().unwrap().attribute("type"), "drx.waiting.bin");
}

#[tokio::test]
async fn a_gateway_that_lets_everybody_in_is_found_out() {
    let found = story(Fault::LetsEverybodyIn).await.differences();
    let named = |text: &str| found.iter().any(|f| f == text);
    assert!(named("c4hxp order.created, forged: expected 401, got 200 OK"), "{found:?}");
    assert!(named("drx Waiting Bin, from another address: expected 403, got 200 OK"), "{found:?}");
    assert!(found.iter().any(|f| f.ends_with("that nobody sent or signed")), "{found:?}");
}

#[tokio::test]
async fn a_gateway_that_delivers_twice_is_found_out() {
    let story = story(Fault::DeliversTwice).await;
    let found = story.differences();
    assert!(found.iter().any(|f| f.ends_with("reached the app 2 times")), "{found:?}");
}

#[tokio::test]
async fn a_gateway_that_knows_no_repeats_is_found_out() {
    let found = story(Fault::KnowsNoRepeats).await.differences();
    let same = "nimbus shipment:created, the repeat was taken for another event";
    assert!(found.iter().any(|f| f == same), "{found:?}");
}

#[tokio::test]
async fn a_gateway_that_loses_events_is_found_out() {
    let story = story(Fault::LosesDrx).await;
    let found = story.differences();
    assert!(found.contains(&"drx Waiting Bin, reached the app 0 times".to_owned()), "{found:?}");
    assert!(story.showpiece().is_some());
}
