//! How a provider sends an event again that was not acknowledged: data, and what follows from it.
//! Waits and judges nothing by itself; `send --retries` and the loss windows are built on it.

use std::time::Duration;

/// A provider's retries. What its guide does not say is `None` here, and never guessed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    /// The pauses, each from the end of an attempt that failed to the next one: one fewer than
    /// there are attempts. Empty: nothing is sent twice. `None`: not published.
    pub waits: Option<Vec<Duration>>,
    /// From the first attempt to the last, where that is published or configured by itself.
    pub horizon: Option<Duration>,
    /// How late a repeat can come otherwise: by hand, or where the provider has been told to.
    pub by_hand: Option<Duration>,
    /// How long one attempt may take, from connecting to the end of the answer.
    pub timeout: Option<Duration>,
    /// Which answers acknowledge an event.
    pub success: Success,
    /// Status codes after which nothing is sent again; those of success are none of them.
    pub final_statuses: Vec<u16>,
    /// Where that is published, for people.
    pub published: Option<String>,
}

/// Which answers acknowledge an event. No provider takes a redirect for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Success {
    /// Any 2xx.
    #[default]
    Any2xx,
    /// 200 and nothing else.
    Only200,
}

/// What a provider does after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the event was acknowledged.
    Delivered,
    /// It tries again after this pause.
    Again(Duration),
    /// Nothing: it has given up.
    GivenUp,
}

impl Retries {
    /// The pauses that are kept to: those of [`Retries::waits`] whose attempts lie within the
    /// horizon. `None`: not known.
    pub fn schedule(&self) -> Option<&[Duration]> {
        let waits = self.waits.as_deref()?;
        let Some(horizon) = self.horizon else { return Some(waits) };
        let mut sum = Duration::ZERO;
        let within = waits.iter().take_while(|wait| {
            sum = sum.saturating_add(**wait);
            sum <= horizon
        });
        let count = within.count();
        Some(waits.get(..count).unwrap_or(waits))
    }

    /// The retry horizon: for how long after its first attempt an event is sent again by the
    /// provider itself, and so the longest outage over which none of its events is lost. Attempts
    /// themselves take time, which is left out: it only lengthens the horizon. `None`: not
    /// known, and nothing to be relied upon.
    pub fn horizon(&self) -> Option<Duration> {
        let sum =
            |waits: &Vec<Duration>| waits.iter().fold(Duration::ZERO, |a, b| a.saturating_add(*b));
        self.horizon.or_else(|| self.waits.as_ref().map(sum))
    }

    /// For how long after its first attempt an event may be sent again at all, by hand included.
    /// Whatever refuses old events has to wait longer. `None`: not known.
    pub fn latest_repeat(&self) -> Option<Duration> {
        self.horizon().max(self.by_hand)
    }

    /// What the provider does after its attempt number `tries`, counted from 1, which was answered
    /// `status`, or not at all. Without a known schedule it gives up.
    pub fn after(&self, tries: usize, status: Option<u16>) -> Next {
        match status {
            Some(status) if self.success.takes(status) => return Next::Delivered,
            Some(status) if self.final_statuses.contains(&status) => return Next::GivenUp,
            Some(_) | None => {}
        }
        let waits = self.schedule().unwrap_or_default();
        let wait = tries.checked_sub(1).and_then(|n| waits.get(n));
        wait.map_or(Next::GivenUp, |wait| Next::Again(*wait))
    }
}

impl Success {
    /// Whether this status acknowledges an event.
    pub fn takes(self, status: u16) -> bool {
        match self {
            Self::Any2xx => (200..300).contains(&status),
            Self::Only200 => status == 200,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn minutes(waits: &[u32]) -> Retries {
        let waits = waits.iter().map(|n| MINUTE * *n).collect();
        Retries { waits: Some(waits), ..Retries::default() }
    }

    #[test]
    fn a_provider_tries_until_its_schedule_ends() {
        let retries = minutes(&[1, 5]);
        for status in [None, Some(500), Some(429), Some(302), Some(401), Some(100)] {
            assert_eq!(retries.after(1, status), Next::Again(MINUTE));
            assert_eq!(retries.after(2, status), Next::Again(MINUTE * 5));
            assert_eq!(retries.after(3, status), Next::GivenUp);
        }
        assert_eq!(retries.after(3, Some(204)), Next::Delivered);
        assert_eq!(minutes(&[]).after(1, None), Next::GivenUp);
        assert_eq!(Retries::default().after(1, None), Next::GivenUp);
    }

    #[test]
    fn some_take_only_200_and_some_take_an_answer_for_final() {
        let strict = Retries { success: Success::Only200, ..minutes(&[1]) };
        assert_eq!(strict.after(1, Some(204)), Next::Again(MINUTE));
        assert_eq!(strict.after(2, Some(200)), Next::Delivered);
        let gone = Retries { final_statuses: vec![410], ..minutes(&[1]) };
        assert_eq!(gone.after(1, Some(410)), Next::GivenUp);
        assert_eq!(gone.after(1, Some(404)), Next::Again(MINUTE));
    }

    #[test]
    fn the_horizon_is_what_is_said_else_the_sum_of_the_waits() {
        assert_eq!(minutes(&[1, 5, 15, 60]).horizon(), Some(MINUTE * 81));
        assert_eq!(minutes(&[]).horizon(), Some(Duration::ZERO));
        assert_eq!(Retries::default().horizon(), None);
        let said = Retries { horizon: Some(MINUTE * 60), ..minutes(&[1, 5, 15, 60]) };
        assert_eq!(said.horizon(), Some(MINUTE * 60));
        assert_eq!(said.schedule(), Some(&[MINUTE, MINUTE * 5, MINUTE * 15][..]));
        assert_eq!(said.after(4, None), Next::GivenUp);
    }

    #[test]
    fn a_repeat_by_hand_can_come_later_than_any_retry() {
        let by_hand = Retries { by_hand: Some(MINUTE * 9), ..minutes(&[]) };
        assert_eq!(
            (by_hand.horizon(), by_hand.latest_repeat()),
            (Some(Duration::ZERO), Some(MINUTE * 9))
        );
        assert_eq!(minutes(&[3]).latest_repeat(), Some(MINUTE * 3));
        assert_eq!(Retries::default().latest_repeat(), None);
    }
}
