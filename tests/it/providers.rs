//! Every preset takes what its provider sends, and nothing else: samples signed as `send` and
//! `demo` sign them, through the configuration and admission.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hookward::admit::{self, Received};
use hookward::audit::Reason;
use hookward::clock::UnixMillis;
use hookward::config::{self, Source};
use hookward::listen::Origin;
use hookward::provider::sample::{self, Outgoing};
use hookward::provider::{Preset, sign};
use http::HeaderMap;

const NOW: UnixMillis = UnixMillis(1_800_000_000_123);

/// A source for every preset, as a user would write it.
fn sources() -> Vec<Arc<Source>> {
    let mut text = "[upstream.app]\nurl = \"http://127.0.0.1:1/\"\n".to_owned();
    for preset in Preset::ALL {
        let name = preset.as_str();
        writeln!(text, "[source.{name}]\npreset = \"{name}\"\nkeys = [{{ env = \"KEY\" }}]")
            .unwrap();
    }
    let env = |_: &str| Some("c2VjcmV0c2VjcmV0c2VjcmV0".into());
    let secrets = config::Machine { env: &env };
    match config::check_text(Path::new("hookward.toml"), &text, &secrets) {
        Ok((config, _)) => config.sources,
        Err(invalid) => panic!("{invalid:?}"),
    }
}

fn verify(source: &Arc<Source>, headers: HeaderMap, body: Vec<u8>) -> Result<(), Reason> {
    let (source, body) = (source.clone(), Bytes::from(body));
    let request = Received { source, headers, body, received_at: NOW, origin: Origin::nowhere() };
    admit::verify(request).map(drop).map_err(|refusal| refusal.reason)
}

fn cases() -> impl Iterator<Item = (Arc<Source>, Outgoing)> {
    sources().into_iter().flat_map(|source| {
        let samples = sample::all(source.preset.unwrap());
        samples.map(move |sample| (source.clone(), sample.verbatim()))
    })
}

#[test]
fn every_sample_of_every_preset_is_admitted() {
    let mut count = 0;
    for (source, event) in cases() {
        let headers = sign::sign(&source, &source.keys[0], NOW, &event).unwrap();
        assert_eq!(
            verify(&source, headers, event.body.clone()),
            Ok(()),
            "{} {event:?}",
            source.name
        );
        count += 1;
    }
    assert!(count >= Preset::ALL.len());
}

#[test]
fn no_forged_sample_is_admitted() {
    for (source, event) in cases() {
        let (headers, body) = sign::forge(&source, &source.keys[0], NOW, &event).unwrap();
        let refused = verify(&source, headers, body).unwrap_err();
        let expected = [Reason::CredentialInvalid, Reason::SignatureInvalid];
        assert!(expected.contains(&refused), "{} {event:?}: {refused:?}", source.name);
    }
}
