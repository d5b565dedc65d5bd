//! Configuration: raw TOML -> checked, immutable [`Config`]; every problem at once, each with its
//! place. Imports only `event`, `clock`, `secret` and the presets' data.

mod resolved;

pub use resolved::*;
