//! What each provider sends: presets as data, sample events, and how each signs.

mod preset;

pub use preset::Preset;
