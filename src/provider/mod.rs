//! What each provider sends: presets as data, sample events, and how each signs.

pub mod caller;
pub mod generic;
mod preset;
pub mod sample;
pub mod sign;
pub mod trust;

pub use preset::Preset;
