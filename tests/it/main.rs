//! The contract with Hookward's users, over real sockets: what the public listener answers, what
//! the app behind it receives, and what the commands do. Most tests start the gateway in this
//! process, each with a store of its own; those of commands and signals run the binary.
//!
//! Nothing here sleeps for luck: what must happen is waited for with a bound, and what must not
//! happen is ruled out by something that happens after it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test stops at the first surprise, and says what it skips"
)]

mod app;
mod client;
mod gateway;
mod lines;
mod pebble;
mod pki;
mod process;

mod acme;
mod addresses;
mod api;
mod api_events;
mod audit;
mod bodies;
mod canaries;
mod client_certificates;
mod commands;
mod configuration;
mod conflicts;
mod credentials;
mod delivery;
mod encryption;
mod formats;
mod framing;
mod gaps;
mod hardening;
mod http2;
mod kindness;
mod limits;
mod metrics;
mod ordering;
mod outputs;
mod presets;
mod providers;
mod proxies;
mod rates;
mod rehearsal;
mod reload;
mod restarts;
mod routing;
mod signals;
mod storage;
mod store_files;
mod tls;
mod verify;
