//! The defaults and limits of `[server]`.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Limit, Rate, ms, secs};
use crate::config::RateLimit;
use crate::config::units::{ByteSize, Count};

/// `server.ack_deadline`
pub const ACK_DEADLINE: Limit<Duration> = Limit {
    key: "server.ack_deadline",
    default: secs(4),
    least: ms(100),
    most: ms(4_500),
    reason: "providers give up after 5s; the rest is left for the network and TLS",
};
/// `server.max_body`
pub const MAX_BODY: Limit<ByteSize> = Limit {
    key: "server.max_body",
    default: ByteSize(1 << 20),
    least: ByteSize(1 << 10),
    most: ByteSize(64 << 20),
    reason: "the largest events of the known providers are tens of KiB; a body is held in memory until it is stored",
};
/// `server.max_connections`
pub const MAX_CONNECTIONS: Limit<Count> = Limit {
    key: "server.max_connections",
    default: Count(4_096),
    least: Count(1),
    most: Count(1_000_000),
    reason: "bounds memory and file descriptors; far more than providers open",
};
/// `server.handshake_timeout`
pub const HANDSHAKE_TIMEOUT: Limit<Duration> = Limit {
    key: "server.handshake_timeout",
    default: secs(5),
    least: ms(100),
    most: secs(60),
    reason: "a peer that does not finish its PROXY header and TLS handshake must not hold a connection",
};
/// `server.header_timeout`
pub const HEADER_TIMEOUT: Limit<Duration> = Limit {
    key: "server.header_timeout",
    default: secs(5),
    least: ms(100),
    most: secs(60),
    reason: "a client that sends its headers byte by byte must not hold a connection",
};
/// `server.idle_timeout`
pub const IDLE_TIMEOUT: Limit<Duration> = Limit {
    key: "server.idle_timeout",
    default: secs(60),
    least: secs(1),
    most: secs(3_600),
    reason: "long enough to reuse connections in a burst, short enough to free forgotten ones",
};
/// `server.drain_timeout`
pub const DRAIN_TIMEOUT: Limit<Duration> = Limit {
    key: "server.drain_timeout",
    default: secs(10),
    least: ms(0),
    most: secs(600),
    reason: "longer than ack_deadline, and the time that supervisors commonly give a stop",
};
/// `server.write_timeout`
pub const WRITE_TIMEOUT: Limit<Duration> = Limit {
    key: "server.write_timeout",
    default: secs(5),
    least: ms(100),
    most: secs(60),
    reason: "answers are short; a client that does not read its own must not hold a connection",
};
/// `server.max_connections_per_client`
pub const MAX_CONNECTIONS_PER_CLIENT: Limit<Count> = Limit {
    key: "server.max_connections_per_client",
    default: Count(1_024),
    least: Count(1),
    most: Count(1_000_000),
    reason: "a quarter of all: one address cannot keep the others out, and a provider that calls from one has room; an IPv6 /48 has twice as many, however many clients are in it; so many requests of one client behind trusted proxies may wait for their bodies",
};
/// `server.max_requests_per_connection`
pub const MAX_REQUESTS: Limit<Count> = Limit {
    key: "server.max_requests_per_connection",
    default: Count(10_000),
    least: Count(1),
    most: Count(1_000_000_000),
    reason: "a connection is renewed now and then, and takes up new settings and certificates",
};
/// `server.max_headers`
pub const MAX_HEADERS: Limit<Count> = Limit {
    key: "server.max_headers",
    default: Count(100),
    least: Count(16),
    most: Count(1_024),
    reason: "providers send 10 to 20, and proxies add a few",
};
/// `server.max_header_bytes`
pub const MAX_HEADER_BYTES: Limit<ByteSize> = Limit {
    key: "server.max_header_bytes",
    default: ByteSize(32 << 10),
    least: ByteSize(8 << 10),
    most: ByteSize(1 << 20),
    reason: "a request's whole head; each connection can make the gateway hold as much",
};
/// `server.max_target`
pub const MAX_TARGET: Limit<ByteSize> = Limit {
    key: "server.max_target",
    default: ByteSize(8 << 10),
    least: ByteSize(1 << 10),
    most: ByteSize(64 << 10),
    reason: "paths have at most 512 bytes; the rest is for queries that nobody reads",
};
/// `server.max_streams`
pub const MAX_STREAMS: Limit<Count> = Limit {
    key: "server.max_streams",
    default: Count(100),
    least: Count(1),
    most: Count(1_000),
    reason: "the least that RFC 9113 recommends; more would let one connection do what many may not",
};
/// `server.body_memory`
pub const BODY_MEMORY: Limit<ByteSize> = Limit {
    key: "server.body_memory",
    default: ByteSize(256 << 20),
    least: ByteSize(1 << 20),
    most: ByteSize(1 << 40),
    reason: "bounds memory whatever comes in: 256 of the largest bodies, or some 10000 usual ones, at once",
};
/// `server.min_body_rate`, a second
pub const MIN_BODY_RATE: Limit<ByteSize> = Limit {
    key: "server.min_body_rate",
    default: ByteSize(1 << 10),
    least: ByteSize(0),
    most: ByteSize(1 << 20),
    reason: "a second, once the first is over: slower than any network that providers use; 0B turns it off, and ack_deadline still ends such a body",
};
/// `server.client_rate_limit`
pub const CLIENT_RATE_LIMIT: Rate = Rate {
    key: "server.client_rate_limit",
    default: None,
    reason: "only the operator knows how many providers call from one address, or through one proxy",
};
/// What failures may cost where the configuration says nothing.
pub const FAILURES: RateLimit = RateLimit { per_second: whole(5), burst: whole(500) };
/// `server.failure_rate_limit`
pub const FAILURE_RATE_LIMIT: Rate = Rate {
    key: "server.failure_rate_limit",
    default: Some(FAILURES),
    reason: "a provider with an outdated key still reads 401 for a while, then 429; a right key passes at any time, so what keeps it from being guessed is its length. At the admin listener a client beyond it gets eight tries a second, an IPv6 /48 sixteen, and waits a second for each",
};

const fn whole(n: u32) -> NonZeroU32 {
    match NonZeroU32::new(n) {
        Some(n) => n,
        None => NonZeroU32::MIN,
    }
}
