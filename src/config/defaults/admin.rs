//! What operators can ask of the admin API at once.

use std::time::Duration;

use super::super::units::{ByteSize, Quantity as _};

/// The longest body of a request, in bytes.
pub const MAX_API_BODY: usize = 64 << 10;
/// How long a body may take to arrive.
pub const API_BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// The most items of one page.
pub const MAX_PAGE: usize = 500;
/// The items of a page where nothing is said.
pub const PAGE: usize = 50;
/// The longest reason of an operator, in bytes.
pub const MAX_REASON: usize = 1 << 10;
/// How many requests the store is busy with at once.
pub const MAX_ASKING: usize = 4;
/// How long one waits for its turn.
pub const ASKING_WAIT: Duration = Duration::from_secs(2);
/// How long an answer of the store is waited for.
pub const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// How long a bulk replay is waited for before it goes on by itself.
pub const BULK_WAIT: Duration = Duration::from_secs(4);
/// The most events a second that a bulk replay can be told to make.
pub const MAX_PER_SECOND: u32 = 1000;
/// Connections at once over the Unix socket.
pub const MAX_LOCAL_CONNECTIONS: usize = 16;
/// How long a client beyond `server.failure_rate_limit` waits for what its token comes to.
pub const GUESS_PAUSE: Duration = Duration::from_secs(1);
/// How many of such a client's requests wait at once.
pub const MAX_WAITING_GUESSES: usize = 8;
/// How many of [`MAX_ASKING`] may be questions: the others are for what is to be done.
pub const MAX_QUESTIONS: usize = 3;
/// Bytes of long answers that wait for their readers, of all of them together.
pub const MAX_UNREAD: usize = 32 << 20;
/// The most bytes of an answer that is not counted among those.
pub const SHORT_ANSWER: usize = 64 << 10;
/// The most tables `[admin.tokens.NAME]`.
pub const MAX_TOKENS: usize = 64;

/// These limits: what, how much, why.
pub(super) fn fixed() -> Vec<(&'static str, String, &'static str)> {
    let count = |n: usize| n.to_string();
    let size = |n: usize| ByteSize(n as u64).show();
    vec![
        ("body of a request to the admin API", size(MAX_API_BODY), "filters and a reason"),
        ("time for it to arrive", API_BODY_TIMEOUT.show(), "it is short"),
        (
            "items of a page of the admin API",
            count(MAX_PAGE),
            "50 where nothing is said; a cursor leads on",
        ),
        ("bytes of an operator's reason", count(MAX_REASON), "a sentence or two"),
        (
            "requests of operators that the store is busy with at once",
            count(MAX_ASKING),
            "listings must not take the disk and the processors from the providers",
        ),
        (
            "those of them that only ask",
            count(MAX_QUESTIONS),
            "whoever reads, the trail or events, leaves a place to whoever must act",
        ),
        (
            "answers of more than 64KiB that wait for their readers",
            size(MAX_UNREAD),
            "then 503: connections that ask and do not read must not take all memory",
        ),
        (
            "time that a token waits to be looked at, of a client that has shown too many wrong ones",
            GUESS_PAUSE.show(),
            "right or wrong: else the one that is answered is the right one",
        ),
        (
            "requests of such a client that wait",
            count(MAX_WAITING_GUESSES),
            "eight tries a second, and twice that for an IPv6 /48; what comes beyond them is 429 at once",
        ),
        ("time that others wait for their turn", ASKING_WAIT.show(), "then 503: better to say so"),
        ("time that an answer of the store is waited for", ANSWER_WAIT.show(), "then 503"),
        (
            "time that a bulk replay is waited for",
            BULK_WAIT.show(),
            "then 202, and it goes on by itself: clients give up after five seconds and more",
        ),
        (
            "events a second in per_second of a bulk replay",
            MAX_PER_SECOND.to_string(),
            "without it events go as fast as they can be written down",
        ),
        (
            "connections over the Unix socket",
            count(MAX_LOCAL_CONNECTIONS),
            "the people of one machine",
        ),
        (
            "tables [admin.tokens.NAME]",
            count(MAX_TOKENS),
            "a presented token is compared with all of them",
        ),
    ]
}
