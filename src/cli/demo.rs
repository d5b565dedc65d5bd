//! `hookward demo`: the main job on one screen. A gateway on loopback with the embedded store, a
//! stand-in clinic app behind it, and five providers that call: valid, repeated, forged and from
//! a refused address, while the app is down and comes back. Everything is made up: nothing
//! outside the temporary directory is read or written, and nothing but loopback is called.

mod clinic;
mod files;
mod indent;
mod screen;
mod story;

use std::io::Write;
use std::process::ExitCode;

use self::clinic::Clinic;
use self::files::DemoDir;
use self::screen::Screen;
use self::story::{PATIENCE, Story};
use super::seam;
use super::stop::{INTERRUPTED, StopSignal};
use crate::clock::Clock;
use crate::gateway::{Gateway, GatewayError};
use crate::provider::caller::CallError;
use crate::provider::sign::SignError;

/// Show the main job on one screen: five providers, a gateway, and an app that is down at first.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Stop when all has been shown; exit 0 only if every outcome was the expected one
    #[arg(long)]
    pub once: bool,
}

/// Why the demo could not be shown.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the gateway did not start: {0}")]
    Gateway(#[from] GatewayError),
    #[error("its own configuration was refused")]
    Config(ExitCode),
    #[error("its own configuration lacks a {0}")]
    Incomplete(&'static str),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Runs the command: with `once` 0 when every outcome was the expected one, else 1; without, it
/// stays up until Ctrl-C.
pub fn run(once: bool) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into()),
    };
    let outcome = DemoDir::create().map_err(DemoError::from).and_then(|dir| {
        // The directory outlives the gateway and goes when all is over, however it ended.
        runtime.block_on(demo(&dir, once))
    });
    outcome.unwrap_or_else(|error| complain(&error))
}

fn complain(error: &DemoError) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "hookward demo: {error}");
    match error {
        DemoError::Config(code) => *code,
        _ => ExitCode::FAILURE,
    }
}

async fn demo(dir: &DemoDir, once: bool) -> Result<ExitCode, DemoError> {
    let mut stop = StopSignal::new()?;
    let mut screen = Screen::for_terminal();
    let clinic = Clinic::start(dir.signing_key()).await?;
    let config_file = dir.write_config(clinic.addr())?;
    let config = seam::load_config(Some(&config_file)).map_err(DemoError::Config)?;
    let sources = config.sources.clone();
    let gateway = Gateway::start(config, Clock::System).await?;
    screen.opening(gateway.public_addr(), clinic.addr())?;

    let story = tokio::select! {
        biased;
        () = stop.received() => {
            gateway.shutdown().await;
            return Ok(ExitCode::from(INTERRUPTED));
        }
        story = Story::play(&sources, gateway.public_addr(), &clinic, PATIENCE) => story?,
    };
    screen.table(&story)?;
    screen.arrival(story.showpiece())?;
    let as_expected = screen.verdict(&story)?;

    if !once {
        clinic.forget();
        screen.invitation(dir, gateway.public_addr(), gateway.admin_addr())?;
        show_arrivals(&mut screen, &clinic, &mut stop).await?;
    }
    gateway.shutdown().await;
    Ok(if as_expected || !once { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows what else reaches the app, until a signal comes.
async fn show_arrivals(
    screen: &mut Screen,
    clinic: &Clinic,
    stop: &mut StopSignal,
) -> Result<(), DemoError> {
    loop {
        tokio::select! {
            biased;
            () = stop.received() => return Ok(()),
            arrivals = clinic.take() => arrivals.iter().try_for_each(|a| screen.live(a))?,
        }
    }
}
