//! `hookward store stat`

use super::{lab, post, stopped, store, store_json};
use crate::app::{App, reply};
use crate::lines;

#[tokio::test]
async fn events_are_counted_by_source_and_state_while_the_gateway_runs() {
    let app = App::answering(|d, _| match d.event()["id"].as_str().unwrap() {
        "e1" => reply(410),
        "e2" => reply(503),
        _ => reply(200),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let gateway = lab(&app.url()).start_in(dir).await;
    for (n, verdict) in [(0, "delivered"), (1, "dead"), (2, "retry"), (3, "delivered")] {
        let id = gateway.accepts(&post(n)).await;
        if verdict == "retry" {
            lines::attempt(&id, 2).await;
        } else {
            lines::verdict(&id, verdict).await;
        }
    }
    // Outcomes are written a little later than they are told.
    let counted = async {
        loop {
            let (code, stat) = store_json(&path, &["stat"]).await;
            assert_eq!(code, Some(0), "{stat}");
            if stat["events"]["states"]["delivered"] == 2 {
                return stat;
            }
        }
    };
    let stat = tokio::time::timeout(crate::client::BOUND, counted).await.unwrap();
    assert_eq!(stat["in_use"], true);
    assert_eq!(
        (&stat["events"]["count"], &stat["events"]["sources"]["lab"]),
        (&4.into(), &4.into())
    );
    let states = &stat["events"]["states"];
    assert_eq!([&states["delivered"], &states["dead"], &states["pending"]], [2, 1, 1]);
    let app = &stat["upstreams"]["app"];
    assert_eq!([&app["delivered"], &app["dead"], &app["pending"]], [2, 1, 1]);
    assert_eq!((&stat["index"]["present"], &stat["index"]["clean"]), (&true.into(), &false.into()));
    assert_eq!(stat["retention"]["first_unsettled_segment"], 1);
    gateway.stop().await;
}

#[tokio::test]
async fn the_figures_of_a_stopped_store_are_for_people_and_programs() {
    let (dir, ids, _down) = stopped(2, 3).await;
    let (_, stat) = store_json(dir.path(), &["stat"]).await;
    let (journal, index) = (&stat["journal"], &stat["index"]);
    assert_eq!(
        [&journal["segments"], &journal["first_segment"], &journal["last_segment"]],
        [2, 1, 2]
    );
    assert_eq!((&journal["damages"], &stat["in_use"]), (&0.into(), &false.into()));
    assert_eq!(stat["events"]["count"], ids.len());
    assert_eq!(
        (&index["clean"], &index["trusted"], &index["format"]),
        (&true.into(), &true.into(), &2.into())
    );
    assert_eq!((&index["events"], &index["last_sequence"]), (&6.into(), &journal["last_sequence"]));
    assert!(stat["free_bytes"].as_u64().unwrap() > 0);
    let retention = &stat["retention"];
    assert_eq!(
        (&retention["oldest_segment"], &retention["first_unsettled_segment"]),
        (&1.into(), &1.into())
    );
    let said = store(dir.path(), &["stat"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    for words in [
        "not in use",
        "2 segments (1 to 2)",
        "6 from lab",
        "6 pending",
        "app: 0 delivered, 6 pending, 0 dead",
        "closed in order: a start goes on with it",
        "is the first unsettled one",
        "none found",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
}

#[tokio::test]
async fn damage_is_counted() {
    let (dir, _, _down) = stopped(2, 3).await;
    super::flip(&super::segments(dir.path())[0], r#""n":1}"#);
    let (code, stat) = store_json(dir.path(), &["stat"]).await;
    assert_eq!((code, &stat["journal"]["damages"]), (Some(0), &1.into()), "{stat}");
    assert_eq!(stat["events"]["count"], 5);
    let said = store(dir.path(), &["stat"]).await;
    assert!(said.out.contains("1 place: hookward store verify names them"), "{said:?}");
}
