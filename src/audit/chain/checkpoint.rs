//! Checkpoints: up to which record the trail stands as it was written, signed. What was signed can be kept
//! elsewhere, where nobody who can write to the trail can reach it.

use serde::{Deserialize, Serialize};

use super::bytes::{Link, Position};
use super::keys::{PublicKey, Signer};
use crate::clock::UnixMillis;
use crate::event::Sequence;

/// What every signature begins with, so that no other of ours can be taken for one.
const DOMAIN: &[u8] = b"hookward audit checkpoint 3\0";
/// The same where nothing is said of what is believed of the clock.
const WITHOUT_BELIEVED: &[u8] = b"hookward audit checkpoint 2\0";

/// A signed statement that a trail's record of this number has this link. A line of JSON elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The trail's number, in hexadecimal digits.
    pub trail: String,
    /// The record's number; 0: the trail has just begun.
    pub sequence: u64,
    /// SHA-256 over the records up to it, link by link.
    pub hash: String,
    /// When it was signed: RFC 3339, to the millisecond.
    pub time: String,
    /// Which key has signed it, in hexadecimal digits.
    pub key: String,
    /// Bytes of `acts.jsonl` that are in the trail.
    pub acts: u64,
    /// Bytes that the start which began this segment has cut off the one before.
    #[serde(default, skip_serializing_if = "is_none")]
    pub torn: u64,
    /// Whether it is the last of a gateway that was told to stop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stop: bool,
    /// The number of the segment that it is the first frame of; 0: it is not the first of any.
    #[serde(default, skip_serializing_if = "is_none")]
    pub opens: u64,
    /// What time it was as far as the trail believed the clock, in Unix milliseconds; 0: it does not say.
    #[serde(default, skip_serializing_if = "is_none")]
    pub believed: u64,
    /// The latest time that a record in front of it has, in Unix milliseconds, if that is later than `time`.
    #[serde(default, skip_serializing_if = "is_none")]
    pub latest: u64,
    /// Ed25519, in hexadecimal digits.
    pub signature: String,
}

impl Checkpoint {
    /// Signs that the trail stands like this now.
    pub(super) fn sign(
        signer: &Signer,
        trail: u64,
        at: Position,
        now: UnixMillis,
        noted: Noted,
    ) -> Self {
        let Noted { acts, torn, stop, opens, believed, latest } = noted;
        let latest = latest.filter(|latest| *latest > now);
        let millis = |time: Option<UnixMillis>| time.map_or(0, |time| time.0);
        let mut unsigned = Self {
            trail: format!("{trail:016x}"),
            sequence: at.sequence.0,
            hash: at.link.to_string(),
            time: now.to_string(),
            key: signer.public().id(),
            acts,
            torn,
            stop,
            opens,
            believed: millis(believed),
            latest: millis(latest),
            signature: String::new(),
        };
        unsigned.signature = hex::encode(signer.sign(&unsigned.message()));
        unsigned
    }

    /// Whether this key has signed it, as it stands.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let signature = hex::decode(&self.signature);
        self.key == key.id()
            && signature.is_ok_and(|signature| key.verifies(&self.message(), &signature))
    }

    /// Where the trail was.
    pub(super) fn position(&self) -> Option<Position> {
        Some(Position { sequence: Sequence(self.sequence), link: Link::parse(&self.hash)? })
    }

    /// The trail's number, if that is one as it is written here.
    pub(super) fn trail(&self) -> Option<u64> {
        let trail = u64::from_str_radix(&self.trail, 16).ok()?;
        (format!("{trail:016x}") == self.trail).then_some(trail)
    }

    /// The bytes that are signed. Each text has its length in front of it: what is signed can be read in one
    /// way only.
    fn message(&self) -> Vec<u8> {
        let says = self.believed > 0 || self.latest > 0;
        let mut message = if says { DOMAIN } else { WITHOUT_BELIEVED }.to_vec();
        for text in [&self.trail, &self.hash, &self.key, &self.time] {
            message.extend_from_slice(&(text.len() as u64).to_le_bytes());
            message.extend_from_slice(text.as_bytes());
        }
        for number in [self.sequence, self.acts, self.torn, self.opens] {
            message.extend_from_slice(&number.to_le_bytes());
        }
        message.push(u8::from(self.stop));
        for time in [self.believed, self.latest].into_iter().filter(|_| says) {
            message.extend_from_slice(&time.to_le_bytes());
        }
        message
    }
}

/// What a checkpoint says beside how far the trail goes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Noted {
    pub(super) acts: u64,
    pub(super) torn: u64,
    pub(super) stop: bool,
    pub(super) opens: u64,
    pub(super) believed: Option<UnixMillis>,
    pub(super) latest: Option<UnixMillis>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_none(n: &u64) -> bool {
    *n == 0
}
