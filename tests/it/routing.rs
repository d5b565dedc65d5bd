//! Which events go where: `events` and routes.

use crate::app::{App, Down, reply};
use crate::client::Post;
use crate::gateway::setup;
use crate::lines;

fn event(kind: &str, n: u32) -> String {
    format!(r#"{{"type":"{kind}","subject":"s","n":{n}}}"#)
}

fn source(name: &str, keys: &str) -> String {
    format!(
        "[source.{name}]\nauth = {{ kind = \"none-dangerous\" }}\nevent.type = \"/type\"\nevent.subject = \"/subject\"\n{keys}\n"
    )
}

fn upstream(name: &str, app: &App) -> String {
    format!("[upstream.{name}]\nurl = \"{}\"\nconcurrency = 1\n", app.url())
}

fn types(app: &App) -> Vec<String> {
    app.seen().iter().map(|d| d.event()["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn events_that_are_not_wanted_are_acknowledged_and_not_forwarded() {
    let app = App::start().await;
    let text = source("lab", r#"events = ["order.*", "*.late"]"#) + &upstream("app", &app);
    let gateway = setup(&text).start().await;
    let mut ids = Vec::new();
    for kind in
        ["Order:Shipped", "order", "orders.shipped", "refill.late", "refill", "ORDER.x.y", ""]
    {
        ids.push(gateway.accepts(&Post::to("/hooks/lab").body(event(kind, 1))).await);
    }
    let repeat = gateway.accepts(&Post::to("/hooks/lab").body(event("order", 1))).await;
    assert_eq!(repeat, ids[1], "what is left out is known when it comes again, too");
    for (id, outcome) in ids.iter().zip(["stored", "filtered", "filtered", "stored", "filtered"]) {
        assert_eq!(lines::accepted(id).await["outcome"], outcome);
    }
    gateway.accepts(&Post::to("/hooks/lab").body(event("order.last", 1))).await;
    app.wait(4).await;
    assert_eq!(
        types(&app),
        ["lab.order.shipped", "lab.refill.late", "lab.order.x.y", "lab.order.last"]
    );
}

#[tokio::test]
async fn routes_add_up_and_what_none_takes_goes_nowhere() {
    let [one, two, three] = [App::start().await, App::start().await, App::start().await];
    let routes = r#"
[[route]]
source = "a"
type = "results.*"
to = ["one"]

[[route]]
type = "*.final"
to = ["one", "two"]

[[route]]
source = "b"
to = ["three"]
"#;
    let text = [
        source("a", ""),
        source("b", ""),
        upstream("one", &one),
        upstream("two", &two),
        upstream("three", &three),
        routes.to_owned(),
    ];
    let gateway = setup(&text.concat()).start().await;
    for (path, kind, outcome) in [
        ("/hooks/a", "results.new", "stored"),
        ("/hooks/a", "results.final", "stored"),
        ("/hooks/a", "order", "filtered"),
        ("/hooks/b", "results.new", "stored"),
        ("/hooks/b", "order.final", "stored"),
        ("/hooks/a", "last.final", "stored"),
        ("/hooks/b", "last.final", "stored"),
    ] {
        let id = gateway.accepts(&Post::to(path).body(event(kind, 2))).await;
        assert_eq!(lines::accepted(&id).await["outcome"], outcome, "{path} {kind}");
    }
    let last = |app: &App, kind: &'static str| {
        let app = app.seen();
        app.iter().any(|d| d.event()["type"] == kind)
    };
    for app in [&one, &two] {
        app.wait_for(|_| last(app, "a.last.final") && last(app, "b.last.final")).await;
    }
    three.wait_for(|_| last(&three, "b.last.final")).await;
    let sorted = |app: &App| {
        let mut types = types(app);
        types.sort();
        types
    };
    assert_eq!(
        sorted(&one),
        ["a.last.final", "a.results.final", "a.results.new", "b.last.final", "b.order.final"]
    );
    assert_eq!(sorted(&two), ["a.last.final", "a.results.final", "b.last.final", "b.order.final"]);
    assert_eq!(sorted(&three), ["b.last.final", "b.order.final", "b.results.new"]);
}

#[tokio::test]
async fn without_routes_every_upstream_gets_every_event_under_one_id() {
    let [one, two] = [App::start().await, App::start().await];
    let text = source("a", "") + &upstream("one", &one) + &upstream("two", &two);
    let gateway = setup(&text).start().await;
    let id = gateway.accepts(&Post::to("/hooks/a").body(event("x", 1))).await;
    for app in [&one, &two] {
        let seen = app.wait(1).await;
        assert_eq!(seen[0].id(), id);
        assert_eq!(seen[0].event()["type"], "a.x");
    }
}

/// One app refuses an event for good, another takes it at the third attempt, a third one at once, and a
/// fourth is not there: each of them is a delivery of its own.
#[tokio::test]
async fn each_upstream_of_an_event_has_its_own_attempts_and_its_own_end() {
    let refusing = App::answering(|_, _| reply(410)).await;
    let late = App::answering(|_, before| reply(if before.len() < 2 { 503 } else { 200 })).await;
    let prompt = App::start().await;
    let down = Down::new();
    let retry = "retry = { first = \"1ms\", max = \"2ms\", give_up = \"1h\" }\n";
    let text = [
        source("a", ""),
        upstream("refusing", &refusing) + retry,
        upstream("late", &late) + retry,
        upstream("prompt", &prompt) + retry,
        format!("[upstream.absent]\nurl = \"{}\"\n{retry}", down.url()),
    ];
    let gateway = setup(&text.concat()).start().await;
    let id = gateway.accepts(&Post::to("/hooks/a").body(event("x", 1))).await;
    late.wait(3).await;
    prompt.wait(1).await;
    lines::verdict(&id, "dead").await;
    let absent = down.come_up();
    let attempt = absent.wait(1).await[0].attempt();
    assert!(attempt > 1, "{attempt}");
    for (upstream, attempts, verdict) in
        [("refusing", 1, "dead"), ("late", 3, "delivered"), ("prompt", 1, "delivered")]
    {
        let of_it: Vec<_> =
            lines::attempts(&id).into_iter().filter(|line| line["upstream"] == upstream).collect();
        assert_eq!(of_it.len(), attempts, "{upstream}");
        assert_eq!(of_it.last().unwrap()["verdict"], verdict, "{upstream}");
    }
    assert_eq!((refusing.seen().len(), late.seen().len(), prompt.seen().len()), (1, 3, 1));
}
