//! Which tokens open the door, how fast, and until when.

use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use super::*;
use crate::config::defaults::admin::GUESS_PAUSE;

const NOW: UnixMillis = UnixMillis(1_736_937_000_412);

fn gate(tokens: &[(&str, Role, &str)], guesses: (u32, u32)) -> Gate {
    let count = |n| std::num::NonZeroU32::new(n).unwrap();
    let guesses = RateLimit { per_second: count(guesses.0), burst: count(guesses.1) };
    let holder = |(who, role, secret): &(&str, Role, &str)| Holder {
        who: (*who).into(),
        role: *role,
        secret: Secret::new((*secret).into()),
        withdrawal: Withdrawal::default(),
    };
    Gate { holders: tokens.iter().map(holder).collect(), clients: None, guesses }
}

fn one(secret: &str) -> Gate {
    gate(&[("admin", Role::Admin, secret)], (1, 100))
}

async fn from(access: &Access, peer: [u8; 4], values: &[&str]) -> Result<Caller, Problem> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    let origin = Origin::plain((peer, 9).into());
    access.check(&headers, &origin, || NOW).await.map_err(|denied| denied.problem)
}

async fn check(access: &Access, values: &[&str]) -> Result<Role, Problem> {
    from(access, [127, 0, 0, 1], values).await.map(|caller| caller.role)
}

#[tokio::test]
async fn only_the_token_opens() {
    let access = Access::new(one("correct-horse"));
    for right in ["Bearer correct-horse", "bearer correct-horse", "BEARER  correct-horse"] {
        assert_eq!(check(&access, &[right]).await, Ok(Role::Admin), "{right}");
    }
    for wrong in [
        &[][..],
        &[""],
        &["Bearer"],
        &["Bearer "],
        &["correct-horse"],
        &["Bearercorrect-horse"],
        &["Bearer correct-hors"],
        &["Bearer correct-horse2"],
        &["Bearer Correct-horse"],
        &["Bearer correct-horse, Bearer correct-horse"],
        &["Basic Y29ycmVjdC1ob3JzZQ=="],
        &["Token correct-horse"],
        &["Bearer correct-horse", "Bearer correct-horse"],
        &["Bearer wrong", "Bearer correct-horse"],
    ] {
        assert_eq!(check(&access, wrong).await, Err(Problem::Unauthenticated), "{wrong:?}");
    }
}

#[tokio::test]
async fn each_of_several_tokens_is_its_holder_s() {
    let tokens = [
        ("admin", Role::Admin, "one"),
        ("alice", Role::Viewer, "two"),
        ("bob", Role::Auditor, "three"),
    ];
    let access = Access::new(gate(&tokens, (1, 100)));
    for (who, role, secret) in tokens {
        let caller = from(&access, [192, 0, 2, 1], &[&format!("Bearer {secret}")]).await.unwrap();
        assert_eq!((&*caller.operator.who, caller.role), (who, role));
        assert_eq!(caller.operator.peer, "192.0.2.1");
    }
    assert_eq!(check(&access, &["Bearer onetwo"]).await, Err(Problem::Unauthenticated));
}

/// How long the answer took, and what it was.
async fn timed(access: &Access, value: &str) -> (Duration, Result<Role, Problem>) {
    let begun = Instant::now();
    let answer = check(access, &[value]).await;
    (begun.elapsed(), answer)
}

/// A token could be guessed at as fast as the listener answers: the right one was answered at once.
#[tokio::test(start_paused = true)]
async fn beyond_its_budget_a_client_waits_for_the_right_token_as_for_a_wrong_one() {
    let few = || gate(&[("admin", Role::Admin, "right")], (1, 3));
    let access = Access::new(few());
    for _ in 0..10 {
        assert_eq!(check(&access, &[]).await, Err(Problem::Unauthenticated), "no guess");
    }
    for _ in 0..3 {
        let (took, answer) = timed(&access, "Bearer wrong").await;
        assert_eq!((took, answer), (Duration::ZERO, Err(Problem::Unauthenticated)));
    }
    assert_eq!(check(&access, &["Bearer wrong"]).await, Err(Problem::TooMany(1)));
    assert_eq!(timed(&access, "Bearer right").await, (GUESS_PAUSE, Ok(Role::Admin)));
    assert_eq!(check(&access, &["Bearer wrong"]).await, Err(Problem::Unauthenticated));
    for wrong in ["Basic wrong", "Bearer wrong"] {
        assert_eq!(check(&access, &[wrong]).await, Err(Problem::TooMany(1)), "{wrong}");
        let (took, _) = timed(&access, wrong).await;
        assert_eq!(took, GUESS_PAUSE, "{wrong}");
    }
    // Neither another client nor who shows nothing waits.
    let begun = Instant::now();
    assert_eq!(check(&access, &[]).await, Err(Problem::Unauthenticated));
    let other = from(&access, [192, 0, 2, 1], &["Bearer right"]).await;
    assert!(other.is_ok() && begun.elapsed() == Duration::ZERO);
}

/// Hundreds of connections could wait together.
#[tokio::test(start_paused = true)]
async fn what_comes_beyond_those_that_wait_is_not_looked_at() {
    let access = Access::new(gate(&[("admin", Role::Admin, "right")], (1, 1)));
    for expected in [Problem::Unauthenticated, Problem::TooMany(1)] {
        assert_eq!(check(&access, &["Bearer wrong"]).await, Err(expected));
    }
    let right = || timed(&access, "Bearer right");
    let all = futures_util::future::join_all((0..10).map(|_| right())).await;
    let (waited, at_once): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, a)| a.is_ok());
    assert_eq!(waited, vec![(GUESS_PAUSE, Ok(Role::Admin)); 8]);
    assert_eq!(at_once, vec![(Duration::ZERO, Err(Problem::TooMany(1))); 2]);
}

#[tokio::test]
async fn a_token_that_is_withdrawn_says_so_to_what_was_begun_with_it() {
    let tokens = [("alice", Role::Operator, "one"), ("bob", Role::Operator, "two")];
    let access = Access::new(gate(&tokens, (1, 100)));
    let (alice, bob) = ("Bearer one", "Bearer two");
    let alice = from(&access, [127, 0, 0, 1], &[alice]).await.unwrap().withdrawal;
    let bob = from(&access, [127, 0, 0, 1], &[bob]).await.unwrap().withdrawal;
    access.set(gate(&tokens, (1, 100)));
    assert!(!alice.has_taken_effect() && !bob.has_taken_effect());
    access.set(gate(&[("alice", Role::Operator, "three"), tokens[1]], (1, 100)));
    assert!(alice.has_taken_effect() && !bob.has_taken_effect());
    access.set(gate(&[("bob", Role::Viewer, "two")], (1, 100)));
    assert!(bob.has_taken_effect(), "its role is another");
}

#[tokio::test]
async fn without_a_token_nothing_opens() {
    let access = Access::new(gate(&[], (1, 100)));
    for values in [&[][..], &["Bearer "], &["Bearer x"]] {
        assert_eq!(check(&access, values).await, Err(Problem::NoToken));
    }
}

#[tokio::test]
async fn a_new_token_takes_the_place_of_the_old_one() {
    let access = Access::new(one("old"));
    access.set(one("new"));
    assert_eq!(check(&access, &["Bearer old"]).await, Err(Problem::Unauthenticated));
    assert_eq!(check(&access, &["Bearer new"]).await, Ok(Role::Admin));
    access.set(gate(&[], (1, 100)));
    assert_eq!(check(&access, &["Bearer new"]).await, Err(Problem::NoToken));
}
