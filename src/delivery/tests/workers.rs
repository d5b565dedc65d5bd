//! The workers' life: panics, stops and drains.

use super::*;

#[tokio::test]
async fn an_attempt_that_panics_is_tried_again_and_in_the_end_given_up() {
    let give_up = Duration::from_secs(72 * 3600);
    for (now, dead) in [(NOW, false), (NOW.after(give_up), true)] {
        let upstream = Arc::new(upstream("http://127.0.0.1:9/"));
        let forwarder = Forwarder::new(upstream, Clock::manual(now), 1).unwrap();
        let (event, begun) = (event(), AtomicUsize::new(0));
        let left = NOW.after(give_up).since(now);
        let attempt = guard::guarded(&forwarder, &event, 3, left, || async {
            begun.fetch_add(1, AtomicOrdering::Relaxed);
            tokio::task::yield_now().await;
            panic!("a test's own")
        });
        let attempt = attempt.await.attempt;
        assert_eq!((begun.into_inner(), attempt.result), (1, AttemptResult::Panicked));
        assert_eq!((attempt.started_at, retried(&attempt)), (now, !dead));
        assert_eq!(attempt.verdict == Verdict::Dead, dead, "{attempt:?}");
    }
}

#[tokio::test]
async fn attempts_are_counted_by_what_follows_from_them() {
    let metrics = Metrics::new();
    let counts = metrics.upstream("app");
    for (verdict, times) in
        [(Verdict::Delivered, 3), (Verdict::RetryAt(NOW), 2), (Verdict::Dead, 1)]
    {
        let (result, duration) = (AttemptResult::Answered(200), Duration::from_millis(20));
        for _ in 0..times {
            count(&counts, &Attempt { started_at: NOW, duration, result, verdict });
        }
    }
    let counted = [&counts.delivered, &counts.retry, &counts.dead].map(|counter| counter.get());
    assert_eq!((counted, counts.duration.observed().count), ([3, 2, 1], 6));
}

#[tokio::test]
async fn a_worker_that_panics_is_noticed_by_name() {
    let mut delivery = Delivery::idle(Arc::default());
    delivery.spawn("delivery/app/1".into(), std::future::pending());
    delivery.spawn("delivery/app/2".into(), async { panic!("a test's own") });
    let failed = tokio::time::timeout(PATIENCE, delivery.failed()).await.unwrap();
    assert_eq!(failed, WorkerFailed { task: "delivery/app/2".into() });
    assert_eq!(failed.to_string(), "delivery/app/2 has panicked");
}

#[tokio::test]
async fn a_stop_gives_up_claims_and_lets_attempts_finish() {
    let mut delivery = Delivery::idle(Arc::default());
    let [begun, go, claims, settled] = std::array::from_fn(|_| Arc::new(Notify::new()));
    let claimed = Arc::new(AtomicUsize::new(0));
    let worker = {
        let stop = delivery.stopped();
        let (begun, go, claims, settled) =
            (Arc::clone(&begun), Arc::clone(&go), Arc::clone(&claims), Arc::clone(&settled));
        let claimed = Arc::clone(&claimed);
        async move {
            let claim = || async {
                claimed.fetch_add(1, AtomicOrdering::SeqCst);
                claims.notified().await;
            };
            let deliver = |()| async {
                begun.notify_one();
                go.notified().await;
                settled.notify_one();
            };
            work(stop, claim, deliver).await;
        }
    };
    delivery.spawn("delivery/app/1".into(), worker);
    let waits = delivery.stopped();
    delivery.spawn("delivery/app/2".into(), work(waits, std::future::pending::<()>, |()| async {}));

    claims.notify_one();
    begun.notified().await;
    delivery.stop();
    claims.notify_one();
    let drain = tokio::spawn(delivery.drain(Instant::now() + PATIENCE));
    go.notify_one();
    assert_eq!(drain.await.unwrap(), Drained { given_up: 0, failed: None });
    tokio::time::timeout(PATIENCE, settled.notified()).await.unwrap();
    assert_eq!(claimed.load(AtomicOrdering::SeqCst), 1, "nothing was claimed after the stop");
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let mut delivery = Delivery::idle(Arc::default());
    let begun = Arc::new(Notify::new());
    let (stop, begin) = (delivery.stopped(), Arc::clone(&begun));
    let worker = async move {
        let deliver = |()| {
            begin.notify_one();
            std::future::pending::<()>()
        };
        work(stop, || std::future::ready(()), deliver).await;
    };
    delivery.spawn("delivery/app/1".into(), worker);
    begun.notified().await;
    let drained = delivery.drain(Instant::now() + Duration::from_millis(50)).await;
    assert_eq!(drained, Drained { given_up: 1, failed: None });
}
