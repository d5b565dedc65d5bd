//! The writer's signs of life: written while events can be taken, when nothing else tells so.

use std::io;

use super::{WriteError, Writer};
use crate::store::core::State;
use crate::store::journal::presence::{Absence, Presence};

impl Writer {
    /// Writes a sign of life, if one is due. The next sync, within a second, makes it durable.
    pub(super) fn watch(&mut self) -> io::Result<()> {
        let can = self.core.state() == State::Open && self.has_begun() && !self.lags;
        let signs = self.core.signs.look(self.core.backlog.timeline.moment(), can);
        self.sign(signs)
    }

    /// The last sign of life, and everything on stable storage.
    pub(super) fn sign_off(&mut self) -> io::Result<()> {
        if self.has_begun() && !self.lags {
            let signs = self.core.signs.closing(self.core.backlog.timeline.moment());
            self.sign(signs)?;
        }
        self.head.sync(&self.core)
    }

    /// Writes signs of life. There is no event behind them: what finds no room is left out.
    fn sign(&mut self, signs: Vec<Presence>) -> io::Result<()> {
        if signs.is_empty() {
            return Ok(());
        }
        let before = self.next;
        self.batch.clear();
        for sign in &signs {
            self.next = self.batch.push_presence(self.next, sign);
        }
        let written = self.write_batch(false);
        let now = self.core.backlog.timeline.moment();
        match written {
            Ok(()) => {
                signs.iter().for_each(tell);
                self.core.signs.wrote(signs, now);
            }
            Err(WriteError::NoRoom(_)) => {
                self.next = before;
                self.core.signs.left_out(now);
            }
            Err(WriteError::Failed(error)) => return Err(error),
        }
        Ok(())
    }
}

fn tell(sign: &Presence) {
    if let Presence::Away(Absence { from, until, cause }) = sign {
        let (seconds, cause) = (until.since(*from).as_secs(), cause.as_str());
        tracing::info!(target: "hookward::store", %from, %until, seconds, cause, "no event could be taken");
    }
}
