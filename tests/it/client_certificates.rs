//! Client certificates: who gets through to a source that asks for one, and that nothing gets
//! around it.

use std::time::Duration;

use hookward::clock::{Clock, UnixMillis};
use hookward::config::{Authorities, Config};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use crate::client::Post;
use crate::lines;
use crate::pki::{Authority, Caller, Issued, ask, padding, status};
use crate::tls::{Plan, Secured, source};

/// Two sources that ask for certificates of their own roots, and one that asks for none.
const SOURCES: &str = "
[source.one]
auth = { kind = \"none-dangerous\" }
[source.two]
auth = { kind = \"api-key\", header = \"X-Key\" }
keys = [{ env = \"LAB\" }]
[source.open]
auth = { kind = \"none-dangerous\" }
[upstream.app]
url = \"http://127.0.0.1:1/\"
";

/// The authorities of one test.
struct World {
    server: Authority,
    one: Authority,
    two: Authority,
}

impl World {
    fn new() -> Self {
        let [server, one, two] = ["server", "one", "two"].map(Authority::new);
        Self { server, one, two }
    }

    fn plan(&self) -> Plan {
        let authorities = |authority: &Authority| {
            Authorities::new("roots.pem".into(), authority.pem.as_bytes()).unwrap()
        };
        let (one, two) = (authorities(&self.one), authorities(&self.two));
        let change = move |config: &mut Config| {
            source(config, "one").client_ca = Some(one.clone());
            source(config, "two").client_ca = Some(two.clone());
        };
        Plan::new(SOURCES).with(change)
    }

    async fn start(&self) -> Secured {
        self.plan().start(&self.server.server(1)).await
    }

    fn caller(&self, shows: Option<&Issued>) -> Caller {
        let caller = Caller::trusting(&self.server);
        shows.map_or(caller.clone(), |own| caller.showing(own))
    }
}

fn to(path: &str) -> Post {
    Post::to(path).header("X-Key", &crate::gateway::secret("LAB"))
}

const MISSING: &str = "credential_missing";
const INVALID: &str = "credential_invalid";

#[tokio::test]
async fn only_a_certificate_of_the_sources_own_roots_gets_through() {
    let world = World::new();
    let gateway = world.start().await;
    let one = world.one.client();
    let two = world.two.client();
    let unknown = Authority::new("unknown").client();
    // Another authority that goes by the same name.
    let namesake = Authority::new("one").client();
    let expired = world.one.issue(|params| params.not_after = rcgen::date_time_ymd(2021, 1, 1));
    let early = world.one.issue(|params| params.not_before = rcgen::date_time_ymd(2039, 1, 1));
    let server = world.one.server(7);
    let both = world.one.issue(|params| {
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    });
    for (case, shown, refused_by_one, refused_by_two) in [
        ("none", None, Some(MISSING), Some(MISSING)),
        ("of the first source", Some(&one), None, Some(INVALID)),
        ("of the second source", Some(&two), Some(INVALID), None),
        ("of somebody else", Some(&unknown), Some(INVALID), Some(INVALID)),
        ("of a namesake", Some(&namesake), Some(INVALID), Some(INVALID)),
        ("expired", Some(&expired), Some(INVALID), Some(INVALID)),
        ("not yet", Some(&early), Some(INVALID), Some(INVALID)),
        ("for servers", Some(&server), Some(INVALID), Some(INVALID)),
        ("for both", Some(&both), None, Some(INVALID)),
    ] {
        for version in [&TLS12, &TLS13] {
            let client = world.caller(shown).version(version).ready();
            let mut stream = client.connect(gateway.address).await.unwrap();
            for (path, refused) in [
                ("/hooks/one", refused_by_one),
                ("/hooks/two", refused_by_two),
                ("/hooks/open", None),
            ] {
                let post = to(path);
                let answered = ask(&mut stream, &post).await.unwrap();
                let expected = if refused.is_some() { 401 } else { 200 };
                assert_eq!(status(&answered), Some(expected), "{case} {path}: {answered}");
                if let Some(reason) = refused {
                    assert_eq!(lines::refusal(&post.tag).await["reason"], reason, "{case} {path}");
                    assert!(answered.ends_with(
                        r#"{"title":"Unauthorized","status":401,"detail":"The request is not authenticated."}"#
                    ));
                }
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_is_no_key_and_the_sources_other_credential_still_counts() {
    let world = World::new();
    let gateway = world.start().await;
    let client = world.caller(Some(&world.two.client())).ready();
    let post = Post::to("/hooks/two").header("X-Key", "wrong");
    assert_eq!(status(&client.send(gateway.address, &post).await.unwrap()), Some(401));
    assert_eq!(lines::refusal(&post.tag).await["reason"], INVALID);
}

#[tokio::test]
async fn whoever_shows_a_certificate_must_hold_its_key() {
    let world = World::new();
    let gateway = world.start().await;
    let (shown, own) = (world.one.client(), world.one.client());
    for version in [&TLS12, &TLS13] {
        let caller = Caller::trusting(&world.server).version(version).pretending(&shown, &own);
        let sent = caller.ready().send(gateway.address, &to("/hooks/open")).await;
        // In TLS 1.3 the client learns of it when it reads.
        let error = sent.expect_err("no connection").to_string();
        assert!(error.contains("DecryptError"), "{version:?}: {error}");
    }
    let needle = "\"failure\":\"unacceptable client certificate\"";
    lines::said(needle, "connections without a request").await;
}

#[tokio::test]
async fn what_a_client_shows_is_bounded() {
    let world = World::new();
    let gateway = world.start().await;
    let with_padding =
        |bytes| world.one.issue(|params| params.custom_extensions = vec![padding(bytes)]);
    for (bytes, taken) in [(12 << 10, true), (17 << 10, false)] {
        let client = world.caller(Some(&with_padding(bytes))).ready();
        let answered = client.send(gateway.address, &to("/hooks/one")).await;
        let answered = answered.ok().and_then(|answered| status(&answered));
        assert_eq!(answered, taken.then_some(200), "{bytes}");
    }
}

/// A chain of eight, all named like the root, had a thread check 100 signatures with every request.
#[tokio::test]
async fn a_chain_may_be_as_long_as_honest_ones_are_and_no_longer() {
    let world = World::new();
    let gateway = world.start().await;
    let upper = world.one.intermediate("upper");
    let lower = upper.intermediate("lower");
    let another = lower.intermediate("another");
    // Made up by somebody who knows the root's name.
    let namesakes = [(); 7].map(|()| Authority::new("one"));
    let made_up = |behind: usize| {
        let behind: Vec<_> = namesakes.iter().take(behind).collect();
        Authority::new("one").client().behind(&behind)
    };
    for (case, shown, answered) in [
        ("one intermediate", upper.client().behind(&[&upper]), Some(200)),
        ("two", lower.client().behind(&[&lower, &upper]), Some(200)),
        ("two, in another order", lower.client().behind(&[&upper, &lower]), Some(200)),
        ("two, and the root", lower.client().behind(&[&lower, &upper, &world.one]), Some(200)),
        ("one is missing", lower.client().behind(&[&lower]), Some(401)),
        ("five", another.client().behind(&[&another, &lower, &upper, &world.one]), None),
        ("one namesake of the root", made_up(1), Some(401)),
        ("two namesakes", made_up(2), None),
        ("seven namesakes", made_up(7), None),
    ] {
        for version in [&TLS12, &TLS13] {
            let client = world.caller(Some(&shown)).version(version).ready();
            let sent = client.send(gateway.address, &to("/hooks/one")).await;
            assert_eq!(sent.ok().and_then(|sent| status(&sent)), answered, "{case} {version:?}");
        }
    }
}

#[tokio::test]
async fn a_resumed_session_is_judged_like_a_new_one() {
    let world = World::new();
    let end = UnixMillis(2_208_988_800_000);
    for version in [&TLS12, &TLS13] {
        let clock = Clock::manual(end.before(Duration::from_secs(60)));
        let plan = world.plan();
        let gateway = plan.at(clock.clone()).start(&world.server.server(1)).await;
        let client = world.caller(Some(&world.one.client())).version(version).ready();
        client.send(gateway.address, &to("/hooks/open")).await.unwrap();

        for (case, path, expected) in
            [("its own source", "/hooks/one", 200), ("another source", "/hooks/two", 401)]
        {
            let mut stream = client.connect(gateway.address).await.unwrap();
            let kind = stream.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Resumed), "{version:?}");
            let answered = ask(&mut stream, &to(path)).await.unwrap();
            assert_eq!(status(&answered), Some(expected), "{case} {version:?}");
        }

        // The certificate ends while a connection and a session go on.
        let mut open = client.connect(gateway.address).await.unwrap();
        assert_eq!(status(&ask(&mut open, &to("/hooks/one")).await.unwrap()), Some(200));
        clock.advance(Duration::from_secs(120));
        assert_eq!(status(&ask(&mut open, &to("/hooks/one")).await.unwrap()), Some(401));
        let mut resumed = client.connect(gateway.address).await.unwrap();
        assert_eq!(resumed.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
        let post = to("/hooks/one");
        assert_eq!(status(&ask(&mut resumed, &post).await.unwrap()), Some(401));
        let line = lines::refusal(&post.tag).await;
        assert_eq!(line["detail"], "the client certificate has expired", "{line}");
    }
}

#[tokio::test]
async fn a_session_without_a_certificate_does_not_gain_one() {
    let world = World::new();
    let gateway = world.start().await;
    for version in [&TLS12, &TLS13] {
        let client = world.caller(None).version(version).ready();
        client.send(gateway.address, &to("/hooks/open")).await.unwrap();
        let mut stream = client.connect(gateway.address).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
        let answered = ask(&mut stream, &to("/hooks/one")).await.unwrap();
        assert_eq!(status(&answered), Some(401), "{version:?}");
    }
}

#[tokio::test]
async fn nothing_gets_around_it_on_a_plain_listener() {
    let world = World::new();
    let plan = world.plan();
    let gateway = plan.plain().start(&world.server.server(1)).await;
    let post = to("/hooks/one");
    assert_eq!(post.send(gateway.address).await.status, 401);
    let line = lines::refusal(&post.tag).await;
    assert_eq!(line["reason"], MISSING);
    assert_eq!(line["detail"], "no client certificate: the connection is not TLS");
}
