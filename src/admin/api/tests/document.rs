//! The OpenAPI document says what there is.

use super::*;

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[tokio::test]
async fn every_path_of_the_document_is_answered_and_its_methods_alone() {
    let bench = bench(&[EventState::Dead]);
    let document = bench.get("/api/v1/openapi.json").await.body;
    assert_eq!(document, self::document());
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", &id(1).to_string());
        for (name, method) in [("get", Method::GET), ("post", Method::POST), ("put", Method::PUT)] {
            let documented = item.get(name).is_some();
            let got = bench.ask(request(method, &path, None, "")).await;
            assert_eq!(got.status != 405, documented, "{name} {path}: {}", got.body);
            assert_ne!(got.status, 404, "{name} {path}: {}", got.body);
        }
    }
}

/// Of two members with one name most readers keep the last, and some of the paths lose their parameter.
#[test]
fn no_member_of_the_document_stands_there_twice() {
    crate::json::Document::parse(OPENAPI.as_bytes()).map(drop).unwrap();
}

#[test]
fn the_document_s_limits_are_those_that_hold() {
    use crate::config::defaults::admin::{MAX_PAGE, MAX_PER_SECOND, MAX_REASON, PAGE};
    let document = document();
    let (parameters, schemas) =
        (&document["components"]["parameters"], &document["components"]["schemas"]);
    let limit = &parameters["limit"]["schema"];
    assert_eq!((&limit["maximum"], &limit["default"]), (&json!(MAX_PAGE), &json!(PAGE)));
    let bulk = &schemas["BulkRequest"]["properties"];
    assert_eq!(bulk["per_second"]["maximum"], json!(MAX_PER_SECOND));
    assert_eq!(bulk["reason"]["maxLength"], json!(MAX_REASON));
    let states: Vec<_> = EventState::ALL.iter().map(|state| json!(state.as_str())).collect();
    assert_eq!(schemas["State"]["enum"], json!(states));
    for (path, filters) in
        [("/api/v1/events", &FILTERS[..]), ("/api/v1/audit", &super::super::audit::FILTERS[..])]
    {
        let documented = document["paths"][path]["get"]["parameters"].as_array().unwrap();
        let named: Vec<_> = documented
            .iter()
            .map(|parameter| parameter["$ref"].as_str().unwrap().rsplit('/').next().unwrap())
            .map(|key| parameters[key]["name"].as_str().unwrap())
            .collect();
        assert_eq!(named, [filters, &PAGING[..]].concat(), "{path}");
    }
}
