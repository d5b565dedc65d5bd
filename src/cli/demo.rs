//! `hookward demo`: the main job on one screen. A gateway on loopback with the embedded store, a
//! stand-in clinic app behind it, and a provider of each preset that calls: valid, repeated, forged
//! and from a refused address, while the app is down and comes back; or, with `--outage`, a whole
//! day of outages in a minute. Everything is made up: nothing outside the temporary directory is
//! read or written, and nothing but loopback is called.

mod clinic;
mod files;
mod indent;
mod outage;
mod screen;
mod story;

use std::io::Write;
use std::num::NonZeroU32;
use std::process::ExitCode;

use self::clinic::Clinic;
use self::files::DemoDir;
use self::outage::Stage;
use self::screen::Screen;
use self::story::{PATIENCE, Story};
use super::seam;
use super::sender::SenderError;
use super::stop::{INTERRUPTED, StopSignal};
use crate::clock::Clock;
use crate::gateway::{Gateway, GatewayError};
use crate::provider::caller::CallError;
use crate::provider::sign::SignError;

/// Show the main job on one screen: providers, a gateway, and an app that is down at first.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Stop when all has been shown; exit 0 only if every outcome was the expected one
    #[arg(long)]
    pub once: bool,

    /// Rehearse a day of outages instead: the app is down all day, the gateway for an hour and for
    /// three, and the providers send again on their published schedules; ends by itself, and exits
    /// 0 only if nothing was lost that had been acknowledged
    #[arg(long, conflicts_with = "once")]
    pub outage: bool,

    /// With --outage, how many times faster it goes: with 1440 the day takes a minute
    #[arg(long, value_name = "N", default_value = "1440", requires = "outage", value_parser = time_scale)]
    pub time_scale: NonZeroU32,
}

/// At most 10000: beyond that the gateway takes longer to start than it is to be down.
fn time_scale(text: &str) -> Result<NonZeroU32, &'static str> {
    let scale = text.parse().ok().filter(|scale: &NonZeroU32| scale.get() <= 10_000);
    scale.ok_or("accepted: 1 to 10000")
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
    #[error(transparent)]
    Sender(#[from] SenderError),
}

/// Runs the command: with `once` or `outage` 0 when every outcome was the expected one, else 1;
/// without, it stays up until Ctrl-C.
pub fn run(args: Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into()),
    };
    let outcome = DemoDir::create().map_err(DemoError::from).and_then(|dir| {
        // The directory outlives the gateway and goes when all is over, however it ended.
        runtime.block_on(async {
            if args.outage {
                outage(&dir, args.time_scale).await
            } else {
                demo(&dir, args.once).await
            }
        })
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
    let config_file = dir.write_config(clinic.addr(), files::FAST)?;
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

/// The day of outages.
async fn outage(dir: &DemoDir, scale: NonZeroU32) -> Result<ExitCode, DemoError> {
    let mut stop = StopSignal::new()?;
    let mut screen = Screen::for_terminal();
    let clinic = Clinic::start_for_long(dir.signing_key()).await?;
    let config_file = dir.write_config(clinic.addr(), &files::shortened_retries(scale))?;
    let config = seam::load_config(Some(&config_file)).map_err(DemoError::Config)?;
    let mut stage = Stage::open(config, &clinic, scale).await?;
    screen.outage_opening(&stage)?;
    let day = tokio::select! {
        biased;
        () = stop.received() => None,
        day = stage.play(&mut screen) => Some(day),
    };
    stage.close().await;
    match day {
        None => Ok(ExitCode::from(INTERRUPTED)),
        Some(day) => {
            let as_expected = screen.outage(&day?)?;
            Ok(if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
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
