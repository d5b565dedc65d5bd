//! Hookward: a receiver-side gateway for webhooks.
//!
//! Providers call it; the clinic's app stands behind it. It proves who is calling, stores the
//! event before it says 200, drops repeats, and hands one normalized stream to the app for as
//! long as it takes. ARCHITECTURE.md has the picture.

pub mod acme;
pub mod admin;
pub mod admit;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod event;
#[doc(hidden)]
pub mod fuzzing;
pub mod gaps;
pub mod gateway;
pub mod hardening;
pub mod identify;
pub mod ingress;
pub mod json;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod network;
pub mod panics;
pub mod pem;
pub mod provider;
pub mod regular;
pub mod reload;
pub mod secret;
pub mod store;
