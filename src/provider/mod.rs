//! What each provider sends: presets as data, sample events, how each signs, and how it retries.

pub mod caller;
pub mod generic;
mod preset;
mod retries;
pub mod sample;
pub mod sign;
pub mod trust;

pub use preset::Preset;
pub use retries::{Next, Retries, Success};
