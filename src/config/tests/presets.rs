//! Presets: whole, true to what the providers publish, and overridden by what the file says.

use super::*;
use crate::provider::{Retries, Success};

#[test]
fn every_preset_is_whole_and_only_fills_in() {
    for preset in Preset::ALL {
        assert_eq!(Preset::from_name(preset.as_str()), Some(preset));
        let text = around(
            &format!("preset = \"{}\"\nkeys = [{{ env = \"WHSEC\" }}]", preset.as_str()),
            "",
            "",
        );
        let (config, warnings) =
            check(&text).unwrap_or_else(|problems| panic!("{preset:?}: {problems:?}"));
        assert_eq!(warnings.len(), 2, "{preset:?}: {warnings:?}");
        let source = &config.sources[0];
        assert_eq!((source.preset, source.path.as_str()), (Some(preset), "/hooks/s"));
        assert!(!source.event.kind.0.is_empty(), "{preset:?} has no type");
        assert!(source.max_event_age.is_none(), "{preset:?} sets a max_event_age");
    }
    let text = around(
        "preset = \"c4hxp\"\nauth = { kind = \"api-key\", header = \"X\" }\nkeys = [{ env = \"KEY\" }]\n\
         event.type = \"/other\"\nevent.id = []\nallow_ips = [\"0.0.0.0/0\"]",
        "",
        "",
    );
    let (config, _) = check(&text).unwrap();
    let source = &config.sources[0];
    let pointer = |tokens: &[&str]| {
        Selector(vec![Place::Pointer(tokens.iter().map(|t| (*t).to_owned()).collect())])
    };
    assert!(matches!(source.auth, Auth::ApiKey { .. }));
    assert_eq!(source.event.kind, pointer(&["other"]));
    assert_eq!(source.event.id, Selector(vec![]));
    assert_eq!(source.event.time, pointer(&["meta", "timestamp"]));
    assert_eq!(source.on_conflict, OnConflict::Deliver);
    assert_eq!(source.allow_ips.as_ref().map(Vec::len), Some(1));
}

#[test]
fn presets_hold_the_schemes_that_the_providers_publish() {
    let source = |preset: &str| {
        let text =
            around(&format!("preset = \"{preset}\"\nkeys = [{{ env = \"WHSEC\" }}]"), "", "");
        let (config, _) = check(&text).unwrap();
        config.sources.into_iter().next().unwrap()
    };
    let stripe = source("stripe");
    let Auth::Hmac(scheme) = &stripe.auth else { panic!("{:?}", stripe.auth) };
    assert_eq!(scheme.header, "stripe-signature");
    assert_eq!(
        scheme.signed,
        [SignedPart::Timestamp, SignedPart::Literal(".".into()), SignedPart::Body]
    );
    assert_eq!(scheme.timestamp, Some(TimestampPlace::Item("t".into())));
    assert_eq!(scheme.signature_key.as_deref(), Some("v1"));
    assert_eq!(scheme.tolerance, Some(Duration::from_secs(300)));
    let slack = source("slack");
    let Auth::Hmac(scheme) = &slack.auth else { panic!("{:?}", slack.auth) };
    let header = http::HeaderName::from_static("x-slack-request-timestamp");
    assert_eq!(scheme.timestamp, Some(TimestampPlace::Header(header)));
    assert_eq!((scheme.prefix.as_str(), scheme.signature_key.is_none()), ("v0=", true));
    let standard = source("standard-webhooks");
    let Auth::StandardWebhooks { decoded, .. } = &standard.auth else {
        panic!("{:?}", standard.auth)
    };
    assert!(decoded[0].matches(b"0123456789abcdef"));
    assert!(standard.keys[0].matches(b"whsec_MDEyMzQ1Njc4OWFiY2RlZg=="));
    // RxScale keys its HMAC with the secret as it stands, prefix and all.
    assert!(source("rxscale").keys[0].matches(b"whsec_MDEyMzQ1Njc4OWFiY2RlZg=="));
    assert_eq!(source("nimbus").dedupe.as_ref().map(Vec::len), Some(4));
}

#[test]
fn ages_and_retention_outlast_the_providers_retries() {
    let keys = "keys = [{ env = \"KEY\" }]";
    one_error(
        &around(&format!("preset = \"novamed\"\n{keys}\nmax_event_age = \"81m\""), "", ""),
        "4:17: error: source.s.max_event_age: found 81m; accepted: longer than 81m, over which the provider retries",
    );
    let longer = around(&format!("preset = \"novamed\"\n{keys}\nmax_event_age = \"82m\""), "", "");
    assert_eq!(errors(&longer), [""; 0]);
    one_error(
        &around(
            &format!("preset = \"c4hxp\"\n{keys}"),
            "retry = { give_up = \"1h\" }",
            "[store]\nretention = \"8h\"",
        ),
        "8:13: error: store.retention: found 8h; accepted: longer than 516m, over which the provider of source.s retries",
    );
}

/// What the preset says of its provider's retries.
pub(super) fn retries(preset: Preset) -> Retries {
    let preset = preset.as_str();
    let text = around(&format!("preset = \"{preset}\"\nkeys = [{{ env = \"WHSEC\" }}]"), "", "");
    check(&text).unwrap().0.sources[0].retries.clone()
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn presets_hold_the_retries_that_the_providers_publish() {
    let minutes = |all: &[u32]| Some(all.iter().map(|n| MINUTE * *n).collect::<Vec<_>>());
    for preset in Preset::ALL {
        let known = retries(preset);
        assert!(known.published.is_some(), "{preset:?} does not say where that stands");
        assert!(known.final_statuses.iter().all(|s| !known.success.takes(*s)), "{preset:?}");
    }
    for preset in [Preset::NovaMed, Preset::Nimbus] {
        let known = retries(preset);
        assert_eq!(known.waits, minutes(&[1, 5, 15, 60]));
        assert_eq!((known.success, known.timeout), (Success::Only200, Some(MINUTE / 12)));
        assert_eq!(known.horizon(), Some(MINUTE * 81));
    }
    let c4hxp = retries(Preset::C4hxp);
    assert_eq!(c4hxp.waits, minutes(&[1, 5, 30, 120, 360]));
    assert_eq!((c4hxp.success, c4hxp.timeout), (Success::Any2xx, Some(MINUTE / 2)));
    assert_eq!(c4hxp.horizon(), Some(MINUTE * 516));
    for preset in [Preset::Drx, Preset::RxScale, Preset::StandardWebhooks] {
        assert_eq!((retries(preset).schedule(), retries(preset).horizon()), (None, None));
    }
    assert_eq!(retries(Preset::StandardWebhooks).final_statuses, [410]);
    assert_eq!(retries(Preset::GitHub).horizon(), Some(Duration::ZERO));
    assert_eq!(retries(Preset::GitHub).latest_repeat(), Some(MINUTE * 60 * 72));
    assert_eq!(retries(Preset::Slack).horizon(), Some(MINUTE * 6));
    assert_eq!(retries(Preset::Stripe).horizon(), Some(MINUTE * 60 * 72));
}

#[test]
fn what_the_operator_knows_of_retries_goes_before_what_is_published() {
    let with = |keys: &str| {
        let keys = format!("keys = [{{ env = \"KEY\" }}]\n{keys}");
        let text = around(&format!("preset = \"novamed\"\n{keys}"), "", "");
        check(&text).unwrap().0.sources[0].retries.clone()
    };
    let own = with("retry_schedule = [\"2m\", \"3m\"]");
    assert_eq!(own.schedule(), Some(&[MINUTE * 2, MINUTE * 3][..]));
    assert_eq!((own.horizon(), own.success), (Some(MINUTE * 5), Success::Only200));
    assert_eq!(with("retry_schedule = []").horizon(), Some(Duration::ZERO));
    // The published attempts that would come later are left out.
    let shorter = with("retry_horizon = \"1h\"");
    assert_eq!(shorter.schedule(), Some(&[MINUTE, MINUTE * 5, MINUTE * 15][..]));
    assert_eq!(shorter.horizon(), Some(MINUTE * 60));
    let both = with("retry_schedule = [\"2m\"]\nretry_horizon = \"9m\"");
    assert_eq!((both.schedule(), both.horizon()), (Some(&[MINUTE * 2][..]), Some(MINUTE * 9)));
    one_error(
        &around(
            "preset = \"drx\"\nkeys = [{ env = \"KEY\" }]\nmax_event_age = \"1h\"\nretry_horizon = \"1h\"",
            "",
            "",
        ),
        "4:17: error: source.s.max_event_age: found 1h; accepted: longer than 1h, over which the provider retries",
    );
}
