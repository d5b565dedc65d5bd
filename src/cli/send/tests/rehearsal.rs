//! `--retries`: what is printed, and how it ends.

use super::*;
use crate::cli::send::rehearsal::send_and_retry;

fn retrying(minutes: &[u64]) -> Source {
    let waits = minutes.iter().map(|n| Duration::from_secs(n * 60)).collect();
    Source { retries: Retries { waits: Some(waits), ..Retries::default() }, ..novamed() }
}

/// Sends with `--retries` to a listener that answers `status`; what was printed, and the end.
async fn rehearse(source: Source, args: Args, status: StatusCode) -> (String, Sent) {
    let (addr, _) = listener(status).await;
    let mut out = Vec::new();
    let args = Args { retries: true, time_scale: NonZeroU32::new(60_000).unwrap(), ..args };
    let (config, never) = (config(addr, source), std::future::pending());
    let clock = Clock::manual(NOW);
    let sent = send_and_retry(&config, &args, &clock, &mut out, never).await.unwrap();
    (String::from_utf8(out).unwrap(), sent)
}

#[tokio::test]
async fn a_rehearsal_tells_each_attempt_and_each_end() {
    let one = Args { id: Some("evt_1".into()), ..args() };
    let (printed, sent) = rehearse(retrying(&[1, 5]), one.clone(), StatusCode::OK).await;
    assert_eq!(sent, Sent::All);
    let expected = "lab sends again after 1m, 5m, 6m in all (as given)\n\
                    pauses are 60000 times shorter here\n\n\
                    200  order:shipped  evt_1  try 1 of 3\n\n\
                    1 event sent: 1 acknowledged at the first try, 0 later, 0 given up\n\n\
                    At the first try: 1\n  evt_1  order:shipped  0193\n";
    assert_eq!(printed, expected);
    let (printed, sent) = rehearse(retrying(&[1, 5]), one, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(sent, Sent::NotAll);
    let lines: Vec<_> = printed.lines().skip(3).collect();
    let expected = [
        "503  order:shipped  evt_1  try 1 of 3, again in 1m  why",
        "503  order:shipped  evt_1  try 2 of 3, again in 5m  why",
        "503  order:shipped  evt_1  try 3 of 3, given up  why",
        "",
        "1 event sent: 0 acknowledged at the first try, 0 later, 1 given up",
        "",
        "Given up after 3 tries, 6m: 1",
        "  evt_1  order:shipped  503",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_rehearsal_is_told_to_programs_too() {
    let two = Args { count: 2, json: true, ..args() };
    let (printed, sent) = rehearse(retrying(&[1]), two, StatusCode::TOO_MANY_REQUESTS).await;
    assert_eq!(sent, Sent::NotAll);
    let json: Value = serde_json::from_str(&printed).unwrap();
    let counts = serde_json::json!({"first_try": 0, "retried": 0, "given_up": 2, "unfinished": 0});
    assert_eq!(json["counts"], counts);
    assert_eq!((&json["sent"], &json["interrupted"]), (&2.into(), &false.into()));
    let item = &json["given_up"][1];
    assert_eq!(
        (&item["tries"], &item["waited"], &item["last_status"]),
        (&2.into(), &"1m".into(), &429.into())
    );
    assert!(item["id"].as_str().unwrap().starts_with("evt_"), "{item}");
}

#[tokio::test]
async fn without_a_schedule_there_is_nothing_to_rehearse_unless_one_is_given() {
    let rehearsed = |source, args: Args| async move {
        let (addr, _) = listener(StatusCode::OK).await;
        let config = config(addr, source);
        let never = std::future::pending();
        let args = Args { retries: true, ..args };
        send_and_retry(&config, &args, &Clock::System, &mut Vec::new(), never).await
    };
    let error = rehearsed(novamed(), args()).await.unwrap_err();
    assert!(error.to_string().contains("retry_schedule in [source.lab]"), "{error}");
    let given = Args { schedule: Some(vec![Duration::from_secs(60)]), ..args() };
    assert_eq!(rehearsed(novamed(), given).await.unwrap(), Sent::All);
    let many = Args { count: 100_001, ..args() };
    let error = rehearsed(retrying(&[1]), many).await.unwrap_err();
    assert_eq!(error.to_string(), "--count takes at most 100000 with --retries");
}
