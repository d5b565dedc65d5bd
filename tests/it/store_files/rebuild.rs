//! `hookward store rebuild-index`

use super::{flip, lab, post, segments, stopped, store, store_json};
use crate::app::Down;

#[tokio::test]
async fn the_index_of_a_running_gateway_is_left_alone() {
    let down = Down::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let gateway = lab(&down.url()).start_in(dir).await;
    let id = gateway.accepts(&post(1)).await;
    let said = store(&path, &["rebuild-index"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.err.contains("in use by another process"), "{said:?}");
    assert!(!path.join("data/index.unusable").exists());
    assert_eq!(gateway.accepts(&post(1)).await, id);
    gateway.stop().await;
}

/// The next start goes on with it, as if the gateway had made it itself.
#[tokio::test]
async fn an_index_is_made_again_and_trusted() {
    let (dir, ids, _down) = stopped(2, 5).await;
    let (_, before) = store_json(dir.path(), &["stat"]).await;
    for broken in [false, true] {
        let index = dir.path().join("data/index");
        if broken {
            std::fs::write(index.join("db"), [0x5a; 9000]).unwrap();
            let (_, stat) = store_json(dir.path(), &["stat"]).await;
            assert_eq!(stat["index"]["trusted"], false, "{stat}");
        }
        let said = store(dir.path(), &["rebuild-index"]).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        assert!(said.out.starts_with("index of 10 events made in "), "{said:?}");
        assert!(said.out.contains(" events a second; the old index is set aside"), "{said:?}");
        assert!(dir.path().join("data/index.unusable").exists());
        let (_, stat) = store_json(dir.path(), &["stat"]).await;
        for key in ["events", "last_sequence", "segment", "offset", "clean", "trusted"] {
            assert_eq!(stat["index"][key], before["index"][key], "{key}: {stat}");
        }
        assert_eq!(
            (&stat["index"]["events"], &stat["index"]["trusted"]),
            (&10.into(), &true.into())
        );
    }
    let down = Down::new();
    let gateway = lab(&down.url()).start_in(dir).await;
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(&gateway.accepts(&post(n)).await, id, "what is stored is known");
    }
    let app = down.come_up();
    app.wait(10).await;
    gateway.stop().await;
}

#[tokio::test]
async fn damage_is_told_and_is_in_the_way_of_nothing_else() {
    let (dir, ids, _down) = stopped(2, 5).await;
    flip(&segments(dir.path())[0], r#""n":2}"#);
    let said = store(dir.path(), &["rebuild-index"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.starts_with("damage: segment 1, offset "), "{said:?}");
    assert!(said.out.starts_with("index of 9 events"), "{said:?}");
    let down = Down::new();
    let gateway = lab(&down.url()).start_in(dir).await;
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(&gateway.accepts(&post(n)).await == id, n != 2, "{n}");
    }
    gateway.stop().await;
}
