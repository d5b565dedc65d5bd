//! How the gateway treats an app that is in trouble, or does not want more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::app::{App, reply};
use crate::client::Post;
use crate::gateway::{Setup, setup};
use crate::lines;

const OPENED: &str = "circuit opened: the upstream fails, and only probes go to it";
const CLOSED: &str =
    "circuit closed: the upstream answers again, and gets one more at once with each good answer";
const RECOVERED: &str = "slow start over: the upstream gets as much at once as is configured";

fn to(name: &str, url: &str, keys: &str) -> Setup {
    setup(&format!(
        "[source.lab]\nauth = {{ kind = \"none-dangerous\" }}\nevent.subject = \"/subject\"\n\n\
         [upstream.{name}]\nurl = \"{url}\"\n{keys}\n"
    ))
}

fn post(n: usize) -> Post {
    Post::to("/hooks/lab").body(format!("{{\"n\":{n}}}"))
}

/// At least so far are two probes apart.
const PROBES_APART: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_rate_is_never_exceeded() {
    let app = App::start().await;
    let rate = "concurrency = 8\nrate_limit = { per_second = 50, burst = 5 }";
    let gateway = to("app", &app.url(), rate).start().await;
    for n in 0..25 {
        gateway.accepts(&post(n)).await;
    }
    let seen = app.wait(25).await;
    let took = seen[24].at - seen[0].at;
    // 20 of them had to wait for a token, which come every 20 ms.
    assert!(took >= Duration::from_millis(380), "{took:?}");
}

/// The app answers 503 to everything, and takes its time once it is back: then it gets one event at a
/// time at first, and never more at once than it has answered well since, and one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_fails_is_left_alone_and_then_comes_back_slowly() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let app = App::answering(move |_, _| match is_up.load(Ordering::SeqCst) {
        true => reply(200).takes(Duration::from_millis(10)),
        false => reply(503),
    });
    let app = app.await;
    let keys = "concurrency = 16\nretry = { first = \"1ms\", max = \"2ms\", give_up = \"1h\" }";
    let gateway = to("faltering", &app.url(), keys).start().await;
    for n in 0..100 {
        gateway.accepts(&post(n)).await;
    }
    let opened = lines::said("faltering", OPENED).await;
    assert_eq!(opened["level"], "WARN");
    // From then on it hears of the gateway now and then.
    let apart = |pair: &[crate::app::Delivery]| pair[1].at - pair[0].at >= PROBES_APART;
    app.wait_for(|seen| seen.windows(2).filter(|pair| apart(pair)).count() >= 3).await;
    up.store(true, Ordering::SeqCst);
    let taken = |seen: &[crate::app::Delivery]| seen.iter().filter(|d| d.status == 200).count();
    let seen = app.wait_for(|seen| taken(seen) == 100).await;
    let back: Vec<_> = seen.iter().filter(|d| d.status == 200).collect();
    for (begun, delivery) in back.iter().enumerate() {
        let answered = begun + 1 - delivery.in_hand;
        assert!(
            delivery.in_hand <= answered.max(1),
            "{} at once after {answered} good answers",
            delivery.in_hand
        );
    }
    assert!(back.iter().any(|d| d.in_hand >= 12), "in the end it gets as many as configured");
    lines::said("faltering", CLOSED).await;
    lines::said("faltering", RECOVERED).await;
}

/// A name that leads to a metadata service: the attempt fails before anything is connected to.
#[tokio::test]
async fn a_name_that_leads_to_a_metadata_service_is_not_called() {
    // 169.254.169.254, as the system's resolver reads numbers.
    let gateway = to("app", "http://2852039166/latest", "timeout = \"20s\"").start().await;
    let id = gateway.accepts(&post(1)).await;
    let line = lines::attempt(&id, 1).await;
    assert_eq!((&line["error"], &line["verdict"]), (&"connect_failed".into(), &"retry".into()));
    let detail = line["detail"].as_str().unwrap();
    assert!(detail.contains("169.254.169.254 is link-local or a metadata service"), "{detail}");
}
