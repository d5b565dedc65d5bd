//! Every default and every limit of the configuration, each with its reason. The one place where
//! they stand; docs/defaults.md says the same, and a test holds the two together.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::units::{ByteSize, Count, Quantity};
use super::{
    Algorithm, Encoding, Format, LogFormat, OnConflict, Ordering, OriginalSignature, RateLimit,
};
use crate::pem;

pub mod admin;
pub mod audit;
mod server;

pub use server::*;

/// A key with a default and a range.
#[derive(Clone, Copy, Debug)]
pub struct Limit<T> {
    /// The key, as in docs/defaults.md.
    pub key: &'static str,
    /// What holds where the key is absent.
    pub default: T,
    /// The least that is accepted.
    pub least: T,
    /// The most that is accepted.
    pub most: T,
    /// Why the default and the range are what they are.
    pub reason: &'static str,
}

impl<T: Copy> Limit<T> {
    /// What is accepted.
    pub const fn range(&self) -> RangeInclusive<T> {
        RangeInclusive::new(self.least, self.most)
    }
}

/// A rate limit's key. Each of its two numbers is within [`RATE`].
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The key, as in docs/defaults.md.
    pub key: &'static str,
    /// What holds where the key is absent. `None`: no limit.
    pub default: Option<RateLimit>,
    /// Why the default is what it is.
    pub reason: &'static str,
}

/// What `per_second` and `burst` of a rate limit may be.
pub const RATE: RangeInclusive<Count> = Count(1)..=Count(1_000_000);

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

/// `server.listen`
pub const SERVER_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8443);
/// `admin.listen`, where there is an `[admin]` table.
pub const ADMIN_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9443);
/// `store.path`
pub const STORE_PATH: &str = "data";
/// `log.format`
pub const LOG_FORMAT: LogFormat = LogFormat::Json;
/// `log.level`
pub const LOG_LEVEL: LevelFilter = LevelFilter::INFO;
/// `server.tls.acme.directory`: Let's Encrypt's.
pub const ACME_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// `server.tls.acme.cache`, in the store's directory.
pub const ACME_CACHE: &str = "acme";
/// What stands before a source's name in its default path.
pub const PATH_PREFIX: &str = "/hooks/";
/// `source.NAME.on_conflict`
pub const ON_CONFLICT: OnConflict = OnConflict::Quarantine;
/// `source.NAME.auth.algorithm`
pub const ALGORITHM: Algorithm = Algorithm::Sha256;
/// `source.NAME.auth.encoding`
pub const ENCODING: Encoding = Encoding::Hex;
/// `upstream.NAME.format`
pub const FORMAT: Format = Format::CloudEvents;
/// `upstream.NAME.original_signature`
pub const ORIGINAL_SIGNATURE: OriginalSignature = OriginalSignature::Drop;
/// `upstream.NAME.ordering`
pub const ORDERING: Ordering = Ordering::Subject;

/// The defaults that are no quantities: key, value as it is written, reason.
pub const CHOICES: &[(&str, &str, &str)] = &[
    (
        "server.listen",
        "0.0.0.0:8443",
        "providers call from outside, and a port above 1024 needs no privilege",
    ),
    (
        "server.tls.acme.directory",
        ACME_DIRECTORY,
        "Let's Encrypt: free, and every provider trusts it",
    ),
    (
        "server.tls.acme.cache",
        "acme",
        "in the directory that is store.path, which is private and backed up",
    ),
    ("server.trusted_proxies", "[]", "whoever is believed can take any address as its own"),
    ("server.proxy_protocol", "false", "with it, nobody but the proxies gets through"),
    (
        "server.sandbox",
        "false",
        "it needs Landlock (Linux 5.13), and binds the process to the files that it knows at start",
    ),
    (
        "admin.listen",
        "127.0.0.1:9443",
        "operators only; without an [admin] table there is no admin listener, so that several gateways fit on one machine",
    ),
    ("store.path", "data", "beside the configuration file, for a first try"),
    (
        "audit.required",
        "false",
        "an event that is lost cannot be had again, and what was refused is in the log as well",
    ),
    (
        "audit.output.NAME.facility",
        "audit",
        "13, \"log audit\" (RFC 5424): what collectors tell apart first",
    ),
    (
        "audit.output.NAME.checkpoints",
        "false",
        "what proves something belongs elsewhere than the rest: `audit.checkpoints` sends it there",
    ),
    ("audit.output.NAME.format", "json", "the record as the API shows it; nothing is lost in it"),
    (
        "audit.output.NAME.from",
        "now",
        "what is recorded from its first start on; \"beginning\" sends all that there is",
    ),
    ("log.format", "json", "logs are read by machines first"),
    ("log.level", "info", "one line a request and one an attempt"),
    ("source.NAME.path", "/hooks/NAME", "the name is unique already, so the path is"),
    (
        "source.NAME.on_conflict",
        "quarantine",
        "the same key with other content is a fault or a forgery: somebody should look at it",
    ),
    ("source.NAME.require_event_time", "false", "many providers send no time in some events"),
    ("source.NAME.auth.algorithm", "sha256", "what nearly all providers use"),
    ("source.NAME.auth.encoding", "hex", "what nearly all providers use"),
    ("source.NAME.auth.prefix", "", "most signatures stand alone"),
    ("source.NAME.auth.signed", "{body}", "what nearly all providers sign"),
    (
        "upstream.NAME.format",
        "cloudevents",
        "one form for all providers, whole in one document, which the signature covers",
    ),
    (
        "upstream.NAME.original_signature",
        "drop",
        "an app behind a gateway trusts the gateway's own signature; a kept one lets whoever reads the store send the request again",
    ),
    (
        "upstream.NAME.allow_link_local",
        "false",
        "no app has such an address, but a cloud's metadata service does, and a name can be made to lead there",
    ),
    (
        "upstream.NAME.ordering",
        "subject",
        "an app that sees `cancelled` before `created` gets orders wrong",
    ),
];

/// `store.retention`
pub const RETENTION: Limit<Duration> = Limit {
    key: "store.retention",
    default: days(30),
    least: secs(1),
    most: days(3_650),
    reason: "outlives every provider's retries and leaves a month to notice and replay",
};
/// `store.min_free`
pub const MIN_FREE: Limit<ByteSize> = Limit {
    key: "store.min_free",
    default: ByteSize(256 << 20),
    least: ByteSize(0),
    most: ByteSize(1 << 50),
    reason: "leaves room for outcomes and the index when new events are no longer taken",
};
/// `source.NAME.max_event_age`; without a default, since only the operator knows how late events may be.
pub const MAX_EVENT_AGE: Limit<Option<Duration>> = Limit {
    key: "source.NAME.max_event_age",
    default: None,
    least: Some(secs(1)),
    most: Some(days(3_650)),
    reason: "only the operator knows how late events may be; `check` says what its absence leaves open",
};
/// `source.NAME.retry_horizon`; without a default but the preset's, since only the operator can ask the
/// provider.
pub const RETRY_HORIZON: Limit<Option<Duration>> = Limit {
    key: "source.NAME.retry_horizon",
    default: None,
    least: Some(Duration::ZERO),
    most: Some(days(3_650)),
    reason: "what the preset's provider publishes, if it does; only the operator can ask it for more",
};
/// `source.NAME.rate_limit`
pub const SOURCE_RATE_LIMIT: Rate = Rate {
    key: "source.NAME.rate_limit",
    default: None,
    reason: "a provider that catches up after an outage sends much at once, and all of it is wanted",
};
/// `source.NAME.auth.tolerance`
pub const TOLERANCE: Limit<Duration> = Limit {
    key: "source.NAME.auth.tolerance",
    default: secs(300),
    least: secs(1),
    most: days(1),
    reason: "what the Standard Webhooks and Stripe libraries use",
};
/// `upstream.NAME.timeout`
pub const TIMEOUT: Limit<Duration> = Limit {
    key: "upstream.NAME.timeout",
    default: secs(10),
    least: ms(100),
    most: secs(300),
    reason: "an app that needs longer should take the event and work later",
};
/// `upstream.NAME.concurrency`
pub const CONCURRENCY: Limit<Count> = Limit {
    key: "upstream.NAME.concurrency",
    default: Count(16),
    least: Count(1),
    most: Count(1_024),
    reason: "keeps a small app busy without flooding it after an outage",
};
/// `upstream.NAME.rate_limit`
pub const UPSTREAM_RATE_LIMIT: Rate = Rate {
    key: "upstream.NAME.rate_limit",
    default: None,
    reason: "concurrency bounds what an app has in hand, which is what most of them need",
};
/// `upstream.NAME.retry.first`
pub const RETRY_FIRST: Limit<Duration> = Limit {
    key: "upstream.NAME.retry.first",
    default: secs(1),
    least: ms(1),
    most: days(1),
    reason: "bridges a restart of the app",
};
/// `upstream.NAME.retry.max`
pub const RETRY_MAX: Limit<Duration> = Limit {
    key: "upstream.NAME.retry.max",
    default: secs(600),
    least: ms(1),
    most: days(7),
    reason: "after a long outage events arrive within minutes",
};
/// `upstream.NAME.retry.give_up`
pub const GIVE_UP: Limit<Duration> = Limit {
    key: "upstream.NAME.retry.give_up",
    default: days(3),
    least: secs(1),
    most: days(3_650),
    reason: "a weekend without anybody at work; never longer than the retention",
};

/// The longest configuration file that is read, in bytes.
pub const MAX_FILE: usize = 1 << 20;
/// The most parts a dotted key may have on one line.
pub const MAX_DOTS: usize = 16;
/// The most `[source.NAME]` tables.
pub const MAX_SOURCES: usize = 1_024;
/// The most `[upstream.NAME]` tables: an event's targets are 64 bits.
pub const MAX_UPSTREAMS: usize = 64;
/// The most `[[route]]` tables.
pub const MAX_ROUTES: usize = 1_024;
/// The most keys of a source.
pub const MAX_KEYS: usize = 16;
/// The most entries of an allowlist.
pub const MAX_ADDRESSES: usize = 1_024;
/// The most paths in a list that is tried in order, and the most values of a dedupe key.
pub const MAX_PATHS: usize = 16;
/// The most waits of a `retry_schedule`.
pub const MAX_WAITS: usize = 64;
/// The longest of them.
pub const MAX_WAIT: Duration = days(30);
/// The most patterns of a source.
pub const MAX_PATTERNS: usize = 256;
/// The longest request path, pattern or JSON Pointer, in bytes.
pub const MAX_TEXT: usize = 512;
/// The most static headers of an upstream.
pub const MAX_STATIC_HEADERS: usize = 32;
/// The most keys that an upstream's deliveries are signed with at once.
pub const MAX_SIGNING_KEYS: usize = 4;
/// The most headers in `forward_headers`.
pub const MAX_FORWARD_HEADERS: usize = 16;
/// The longest name of such a header, in bytes.
pub const MAX_FORWARD_NAME: usize = 128;
/// What a name of a table is.
pub(super) const NAME: &str = "1 to 64 of a-z, 0-9, `-` and `_`, not starting with `-` or `_`";
/// The most bytes of names and values that are kept of a request's headers with its event.
pub const MAX_FORWARD_BYTES: usize = 4 << 10;
/// The most names of a certificate that is got by ACME: Let's Encrypt takes no more.
pub const MAX_DOMAINS: usize = 100;
/// The most addresses that the certificate authority may write to.
pub const MAX_CONTACTS: usize = 10;
/// A certificate that ends within this time is warned about.
pub const EXPIRY_WARNING: Duration = days(21);
/// A longer RSA key of the server's certificate, in bits, is warned about.
pub const ENOUGH_RSA: usize = 2048;
/// The longest secret, in bytes.
pub const MAX_SECRET: usize = 8 << 10;
/// A secret shorter than this many bytes is warned about.
pub const LEAST_SECRET: usize = 16;

/// The limits that no key changes: what, how much, why.
pub fn fixed() -> Vec<(&'static str, String, &'static str)> {
    let count = |n: usize| n.to_string();
    let size = |n: usize| ByteSize(n as u64).show();
    let mut rows = vec![
        ("configuration file", size(MAX_FILE), "far more than any gateway needs"),
        (
            "dots on one line of it, outside strings",
            count(MAX_DOTS),
            "keys of the schema have at most four",
        ),
        ("sources", count(MAX_SOURCES), "far more than one clinic has providers"),
        ("upstreams", count(MAX_UPSTREAMS), "an event's targets are one bit each in 64"),
        ("routes", count(MAX_ROUTES), "each is looked at for each event"),
        ("keys of one source", count(MAX_KEYS), "a forged request costs one HMAC a key"),
        ("keys of store.encryption_key", count(MAX_KEYS), "two are enough for a rotation"),
        (
            "allow_ips of one source, and trusted_proxies",
            count(MAX_ADDRESSES),
            "they are looked through for each request",
        ),
        (
            "paths tried in order, values of a dedupe key",
            count(MAX_PATHS),
            "each is looked up in each event",
        ),
        ("waits of a retry_schedule", count(MAX_WAITS), "no known provider has more than ten"),
        ("one of them", MAX_WAIT.show(), "nobody tries again after a month"),
        ("patterns in events", count(MAX_PATTERNS), "each is tried on each event"),
        ("bytes of a path, pattern or JSON Pointer", count(MAX_TEXT), "longer ones are mistakes"),
        (
            "headers of one upstream",
            count(MAX_STATIC_HEADERS),
            "servers refuse long header sections",
        ),
        (
            "signing keys of one upstream",
            count(MAX_SIGNING_KEYS),
            "an old and a new one, and room for an interrupted change; each costs one HMAC a delivery",
        ),
        (
            "headers in forward_headers",
            count(MAX_FORWARD_HEADERS),
            "they are stored with each event",
        ),
        ("bytes of a name in forward_headers", count(MAX_FORWARD_NAME), "longer ones are mistakes"),
        (
            "names and values of headers that are kept with one event",
            size(MAX_FORWARD_BYTES),
            "some hundred bytes are usual; what is beyond it is left out, signatures last",
        ),
        ("domains of one ACME certificate", count(MAX_DOMAINS), "Let's Encrypt takes no more"),
        ("contact addresses for ACME", count(MAX_CONTACTS), "authorities take a few"),
        ("file of certificates or a key", size(pem::MAX_FILE), "four times a platform's roots"),
        (
            "certificates of the server's chain",
            count(pem::MAX_CHAIN),
            "all are sent in each handshake",
        ),
        ("certificates of a file of roots", count(pem::MAX_ROOTS), "platforms trust some 150"),
        (
            "time before a certificate's end from which it is warned about",
            EXPIRY_WARNING.show(),
            "authorities renew 30 days ahead: whoever still has it then has missed it",
        ),
        (
            "bits of the server's RSA key, above which it is warned about",
            count(ENOUGH_RSA),
            "authorities ask for no more, and each handshake pays for it",
        ),
        ("secret", size(MAX_SECRET), "longer files are not secrets but mistakes"),
        (
            "bytes of a secret, below which it is warned about",
            count(LEAST_SECRET),
            "shorter ones can be guessed",
        ),
        (
            "bytes of a source's, upstream's, token's or output's name",
            count(crate::event::MAX_NAME_LEN),
            "names are metric labels and file names",
        ),
    ];
    rows.extend(admin::fixed());
    rows.extend(audit::fixed());
    rows
}

/// Every limit as docs/defaults.md shows it: key, default, range, reason.
pub fn limits() -> Vec<[String; 4]> {
    fn row<T: Quantity>(limit: &Limit<T>) -> [String; 4] {
        let range = format!("{} to {}", limit.least.show(), limit.most.show());
        [limit.key.to_owned(), limit.default.show(), range, limit.reason.to_owned()]
    }
    fn rate(rate: &Rate) -> [String; 4] {
        let shown =
            |r: RateLimit| format!("{{ per_second = {}, burst = {} }}", r.per_second, r.burst);
        let default = rate.default.map_or("none".to_owned(), shown);
        let range = format!("{} to {} each", RATE.start().show(), RATE.end().show());
        [rate.key.to_owned(), default, range, rate.reason.to_owned()]
    }
    let mut rows = vec![
        row(&ACK_DEADLINE),
        row(&MAX_BODY),
        row(&BODY_MEMORY),
        row(&MIN_BODY_RATE),
        row(&MAX_CONNECTIONS),
        row(&MAX_CONNECTIONS_PER_CLIENT),
        row(&MAX_REQUESTS),
        row(&MAX_HEADERS),
        row(&MAX_HEADER_BYTES),
        row(&MAX_TARGET),
        row(&MAX_STREAMS),
        row(&HANDSHAKE_TIMEOUT),
        row(&HEADER_TIMEOUT),
        row(&WRITE_TIMEOUT),
        row(&IDLE_TIMEOUT),
        row(&DRAIN_TIMEOUT),
        rate(&CLIENT_RATE_LIMIT),
        rate(&FAILURE_RATE_LIMIT),
        rate(&SOURCE_RATE_LIMIT),
        row(&RETENTION),
        row(&MIN_FREE),
        row(&audit::KEEP),
        row(&audit::MAX_SIZE),
    ];
    for Limit { key, least, most, reason, .. } in [MAX_EVENT_AGE, RETRY_HORIZON] {
        if let (Some(least), Some(most)) = (least, most) {
            let range = format!("{} to {}", least.show(), most.show());
            rows.push([key.to_owned(), "none".to_owned(), range, reason.to_owned()]);
        }
    }
    rows.extend([
        row(&TOLERANCE),
        row(&TIMEOUT),
        row(&CONCURRENCY),
        rate(&UPSTREAM_RATE_LIMIT),
        row(&RETRY_FIRST),
        row(&RETRY_MAX),
        row(&GIVE_UP),
    ]);
    rows
}
