//! A gateway with an app behind it and a ledger of both: where the smaller campaigns play.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use hyper::StatusCode;

use crate::app::App;
use crate::gateway::{Gateway, Settings};
use crate::ledger::Ledger;
use crate::senders::Sender;

/// For what waits to reach an app that fails now and then, on a busy machine. An event that could not
/// be read is tried again after half a minute, and `strace` lets each thread's nth call fail.
pub(crate) const LONGEST_DELIVERY: Duration = Duration::from_secs(300);

/// All that a scene needs.
pub(crate) struct Stage {
    pub(crate) gateway: Gateway,
    pub(crate) app: App,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rng: Rng,
}

impl Stage {
    /// A gateway that has not been started, and an app that is down. Outcomes may get lost at any
    /// time here.
    pub(crate) async fn new(directory: &Path, settings: &Settings, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let ledger = Arc::new(Ledger::with_outcomes_lost());
        let app = App::start(Arc::clone(&ledger), rng.fork()).await;
        app.set_down(true);
        let gateway = Gateway::new(directory, settings, app.address());
        Self { gateway, app, ledger, rng }
    }

    /// A connection to the gateway.
    pub(crate) async fn sender(&mut self) -> Sender {
        let (gateway, life) = (self.gateway.public(), self.gateway.life());
        Sender::connect(gateway, life, &self.ledger, &mut self.rng).await.expect("it listens")
    }

    /// Sends new events one after the other, all of which must be acknowledged.
    pub(crate) async fn send_accepted(&mut self, events: usize) {
        let mut sender = self.sender().await;
        for _ in 0..events {
            assert_eq!(sender.send_fresh().await, Some(StatusCode::OK), "{}", self.last_words());
        }
    }

    /// The app is there, and gets everything that was acknowledged.
    pub(crate) async fn deliver_all(&mut self) {
        self.app.set_down(false);
        let all = self.ledger.all_delivered(LONGEST_DELIVERY).await;
        assert!(all, "{}\n{}", self.ledger.summary(), self.last_words());
        self.app.set_down(true);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.ledger.note_end(self.gateway.life());
        self.gateway.kill();
    }

    /// SIGTERM, and all that follows from it.
    pub(crate) async fn stop(&mut self) {
        self.gateway.stop().await;
        self.ledger.note_end(self.gateway.life());
    }

    fn last_words(&self) -> String {
        self.gateway.last_words()
    }
}
