//! What `send` and `demo` need of the rest of the crate: to load a configuration, and to run a
//! gateway.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use crate::config::Config;

/// Loads the configuration; prints its errors, and no warnings: those are `check`'s and `run`'s.
///
/// # Errors
/// The exit code, when there is none to go on with.
pub(super) fn load_config(_file: Option<&Path>) -> Result<Config, ExitCode> {
    unimplemented!("config::load")
}

/// A gateway that runs in this process.
pub(super) struct Running {}

impl Running {
    /// Starts the gateway that `config` describes.
    ///
    /// # Errors
    /// Why it did not start, for the user.
    pub(super) async fn start(_config: Config) -> Result<Self, String> {
        unimplemented!("Gateway::start")
    }

    /// Where the providers call.
    pub(super) fn public_addr(&self) -> SocketAddr {
        unimplemented!("Gateway::public_addr")
    }

    /// Where health is asked for, if anywhere.
    pub(super) fn admin_addr(&self) -> Option<SocketAddr> {
        unimplemented!("Gateway::admin_addr")
    }

    /// Drains and stops.
    pub(super) async fn shutdown(self) {
        unimplemented!("Gateway::shutdown")
    }
}
