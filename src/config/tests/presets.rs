//! Presets: whole, true to what the providers publish, and overridden by what the file says.

use super::*;

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
