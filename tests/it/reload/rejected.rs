//! Configurations that do not take over.

use super::*;

#[tokio::test]
async fn a_broken_file_changes_nothing_and_is_told_once_with_every_problem() {
    let app = App::start().await;
    let mut files = Files::new(&app.url());
    let (mut process, public, _) = Process::serve(files.path()).await;
    files.source = "keys = [{ file = \"secrets/none\" }]\nkeyz = 1".to_owned();
    files.write();
    process.signal("HUP");
    let line = process.line(REJECTED).await;
    assert_eq!(field(&line, "errors"), 2);
    let path = files.path().join("hookward.toml").display().to_string();
    let said = process.said();
    for problem in ["source.lab.keyz: unknown key", "secrets/none: no such file"] {
        let told = said.iter().find(|line| line.contains(problem));
        let told = told.unwrap_or_else(|| panic!("{problem}: {said:#?}"));
        assert_eq!(field(told, "level"), "ERROR");
        let message = field(told, "message").as_str().unwrap().to_owned();
        assert!(message.starts_with("hookward.toml:"), "{message} in {path}");
    }
    accepted(public, 1).await;
    // What was missing comes: that is a change.
    files.source = "keys = [{ file = \"secrets/none\" }]".to_owned();
    files.write();
    process.lines(REJECTED, 2).await;
    accepted(public, 2).await;
    files.secret("none", &key("two"));
    process.line(RELOADED).await;
    assert_eq!(post(3, "two").send(public).await.status, 200);
    // The file is gone: tried once.
    std::fs::remove_file(files.path().join("hookward.toml")).unwrap();
    process.lines(REJECTED, 3).await;
    assert_eq!(post(4, "two").send(public).await.status, 200);
    files.write();
    // It is what it was.
    let line = process.lines(RELOADED, 2).await.pop().unwrap();
    assert_eq!(field(&line, "changed"), "nothing");
    let rejected = process.said().iter().filter(|line| line.contains(REJECTED)).count();
    assert_eq!(rejected, 3, "{:#?}", process.said());
    end(process).await;
}

#[tokio::test]
async fn what_cannot_change_is_named_and_nothing_else_of_it_taken() {
    let app = App::start().await;
    let mut files = Files::new(&app.url());
    let (mut process, public, _) = Process::serve(files.path()).await;
    files.log = "format = \"text\"".to_owned();
    files.server = "listen = \"127.0.0.1:1\"\nmax_body = \"1KiB\"".to_owned();
    files.source = key_files(&["two"]);
    let text = files.text();
    let text = text.replace("[admin]\nlisten = \"127.0.0.1:0\"\n", "");
    files.write_text(&text.replace("min_free", "path = \"elsewhere\"\nmin_free"));
    process.signal("HUP");
    process.line(REJECTED).await;
    for fixed in ["server.listen", "admin", "store.path", "log.format"] {
        let line = process.line(&format!("\"message\":\"{fixed}: a change needs a restart")).await;
        assert_eq!(field(&line, "level"), "ERROR");
    }
    accepted(public, 1).await;
    assert_eq!(post(1, "two").send(public).await.status, 401);
    end(process).await;
}
