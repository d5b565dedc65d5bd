//! What is doubtful about a configuration and yet runs.

use std::path::PathBuf;

/// Doubtful, but it runs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Warning {
    /// A secret that can be guessed.
    #[error(
        "{from} has {len} bytes; a secret should have at least {least}: nobody is locked out for guessing, so its length is what protects it"
    )]
    ShortSecret {
        /// The variable or file.
        from: String,
        /// Its length, decoded where the scheme decodes it.
        len: usize,
        /// What it should have.
        least: usize,
    },
    /// `kind = "none-dangerous"`
    #[error(
        "DANGEROUS: nothing is authenticated; anyone who reaches this path can forge events, and all of them are forwarded"
    )]
    NoAuthentication,
    /// No token for the admin listener.
    #[error("no token: nothing but the health endpoints is served there")]
    NoAdminToken,
    /// A plain admin listener that more than this machine can reach.
    #[error(
        "plain HTTP for more than this machine: whoever is on the way reads tokens and payloads. Set admin.tls, or listen on 127.0.0.1"
    )]
    PlainAdmin,
    /// No encryption at rest.
    #[error(
        "not set: events are stored unencrypted, and whoever gets at the disk reads them; `hookward keygen` makes a key"
    )]
    Unencrypted,
    /// Only loopback reaches the listener, and the allowlist has no loopback address.
    #[error(
        "only this machine reaches server.listen, so every caller comes from the TLS terminator's address, and the allowlist does not hold it: all requests will be refused. Name the terminator (such as 127.0.0.1/32) in server.trusted_proxies, if it says in X-Forwarded-For who is calling; or allow the provider's addresses at the terminator, and the terminator's own in allow_ips"
    )]
    AllowsNobody,
    /// `handshake_timeout` where there is no handshake.
    #[error("without effect: there is neither server.tls, admin.tls nor server.proxy_protocol")]
    NoHandshake,
    /// A plain listener that more than this machine can reach.
    #[error(
        "plain HTTP for more than this machine: whoever is on the way can read and change events and credentials. Set server.tls, or listen on 127.0.0.1 behind a TLS terminator, or name the terminator in server.trusted_proxies"
    )]
    PlainInPublic,
    /// `trusted_proxies` with all addresses in it.
    #[error(
        "everyone is trusted to say who is calling, so allow_ips and rate limits keep nobody out"
    )]
    TrustsEveryone,
    /// A certificate whose key makes handshakes costly.
    #[error(
        "{} has an RSA key of {bits} bits: each handshake costs many times what one of {enough} bits does, and anybody can ask for them; ECDSA (P-256) is the cheapest",
        path.display()
    )]
    LargeKey {
        /// The certificate's file.
        path: PathBuf,
        /// Its length.
        bits: usize,
        /// What is enough.
        enough: usize,
    },
    /// A certificate that has ended.
    #[error("{} ended on {on}: it is refused", path.display())]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// The day.
        on: String,
    },
    /// A certificate that will end soon.
    #[error("{} ends on {on}, in {days} days", path.display())]
    Expires {
        /// The certificate's file.
        path: PathBuf,
        /// The day.
        on: String,
        /// Whole days until then.
        days: u64,
    },
    /// A certificate that does not hold yet.
    #[error("{} holds from {on} on: until then it is refused", path.display())]
    NotYetValid {
        /// The certificate's file.
        path: PathBuf,
        /// The day.
        on: String,
    },
    /// A secret that was probably copied with a line break.
    #[error(
        "{from} ends in whitespace, which is taken as a part of the secret: probably it should not be there"
    )]
    SpaceAtTheEnd {
        /// The variable or file.
        from: String,
    },
    /// Two sources with one key.
    #[error(
        "the same secret as {0}: whoever may send to one of the two sources can forge events of the other"
    )]
    SharedKey(String),
    /// No route leads to an upstream.
    #[error("no route leads here: it gets no events")]
    NoRouteTo,
    /// No route takes a source's events.
    #[error("no route takes its events: they are stored and go nowhere")]
    NoRouteFrom,
}
