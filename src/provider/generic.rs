//! A made-up event for a source that no preset describes: a body with a value at every place
//! where the source looks for one.

use serde_json::{Map, Value};

use super::sample::{Outgoing, whole_seconds};
use crate::clock::UnixMillis;
use crate::config::{Place, Selector, Source};

/// An event named `event_type`, known by `id`, that happened at `time`, laid out as `source`
/// reads it. The same arguments make the same bytes.
pub fn event(source: &Source, event_type: &str, id: &str, time: UnixMillis) -> Outgoing {
    let paths = &source.event;
    let mut body = Value::Object(Map::new());
    // Parts of the data come after the data itself, so that they find an object to stand in.
    put(&mut body, &paths.data, || Value::Object(Map::from_iter([("sample".into(), true.into())])));
    put(&mut body, &paths.subject, || format!("entity_{id}").into());
    put(&mut body, &paths.tenant, || "sample-tenant".into());
    put(&mut body, &paths.time, || whole_seconds(time).into());
    put(&mut body, &paths.kind, || event_type.into());
    put(&mut body, &paths.id, || id.into());
    for part in source.dedupe.iter().flatten() {
        put(&mut body, part, || id.into());
    }
    Outgoing {
        event_type: event_type.to_owned(),
        id: id.to_owned(),
        body: body.to_string().into_bytes(),
    }
}

/// Puts the value at the selector's first place that is in the body, unless something of use to
/// it stands there already. Array indexes become member names, which pointers find as well.
fn put(body: &mut Value, selector: &Selector, value: impl FnOnce() -> Value) {
    let pointer = selector.0.iter().find_map(|place| match place {
        Place::Pointer(tokens) => Some(tokens),
        Place::Header(_) => None,
    });
    let Some((last, parents)) = pointer.and_then(|tokens| tokens.split_last()) else { return };
    let mut at = body;
    for token in parents {
        let Value::Object(members) = at else { return };
        at = members.entry(token).or_insert_with(|| Value::Object(Map::new()));
    }
    if let Value::Object(members) = at {
        members.entry(last).or_insert_with(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::sign::tests::source;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_123);

    fn pointer(text: &str) -> Selector {
        Selector(vec![Place::Pointer(text.split('/').skip(1).map(str::to_owned).collect())])
    }

    fn header(name: &'static str) -> Place {
        Place::Header(http::HeaderName::from_static(name))
    }

    #[test]
    fn every_place_the_source_reads_holds_something() {
        let mut lab = source(crate::config::Auth::NoneDangerous);
        lab.event.kind = pointer("/event");
        lab.event.id = Selector(vec![header("x-id"), pointer("/id").0.remove(0)]);
        lab.event.time = pointer("/created");
        lab.event.subject = pointer("/data/order/id");
        lab.event.data = pointer("/data");
        lab.dedupe = Some(vec![pointer("/event"), pointer("/data/status")]);
        let event = event(&lab, "order.made", "e1", NOW);
        let expected = serde_json::json!({
            "event": "order.made", "id": "e1", "created": "2027-01-15T08:00:00Z",
            "data": {"sample": true, "order": {"id": "entity_e1"}, "status": "e1"},
        });
        assert_eq!(serde_json::from_slice::<Value>(&event.body).unwrap(), expected);
    }

    #[test]
    fn places_that_cannot_be_filled_are_left_out() {
        let mut lab = source(crate::config::Auth::NoneDangerous);
        lab.event.kind = Selector(vec![header("x-event")]);
        lab.event.id = pointer("/id");
        lab.event.subject = pointer("/id");
        lab.event.time = pointer("/id/time");
        lab.event.data = Selector(vec![Place::Pointer(Vec::new())]);
        let event = event(&lab, "order.made", "e1", NOW);
        assert_eq!(event.body, br#"{"id":"entity_e1"}"#);
    }
}
