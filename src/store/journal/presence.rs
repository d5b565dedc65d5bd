//! Signs of life of the gateway, as frames tell them: a later start knows from them when nobody was there
//! to take events.

use super::input::Input;
use crate::clock::UnixMillis;

/// A sign of life's frame, opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Events could be taken then.
    Alive(UnixMillis),
    /// From one moment to the other no event could be taken.
    Away {
        /// The last moment at which events could be taken before.
        from: UnixMillis,
        /// The first one at which they could be taken again.
        until: UnixMillis,
        /// Why not.
        cause: Cause,
    },
}

/// Why no event could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The gateway was stopped.
    Stopped,
    /// It had ended without being stopped: a crash, or a power cut.
    Crashed,
    /// The store could not be written to: the disk was full or had failed.
    Unwritable,
}

impl Cause {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::Unwritable => "unwritable",
        }
    }
}

/// Writes its payload.
pub fn encode_presence(presence: Presence, out: &mut Vec<u8>) {
    match presence {
        Presence::Alive(at) => {
            out.push(1);
            out.extend_from_slice(&at.0.to_le_bytes());
        }
        Presence::Away { from, until, cause } => {
            out.push(2);
            out.extend_from_slice(&from.0.to_le_bytes());
            out.extend_from_slice(&until.0.to_le_bytes());
            out.push(match cause {
                Cause::Stopped => 1,
                Cause::Crashed => 2,
                Cause::Unwritable => 3,
            });
        }
    }
}

/// Opens a sign of life's frame.
pub fn decode_presence(payload: &[u8]) -> Option<Presence> {
    let mut input = Input(payload);
    match input.u8()? {
        1 => Some(Presence::Alive(UnixMillis(input.u64()?))),
        2 => {
            let (from, until) = (UnixMillis(input.u64()?), UnixMillis(input.u64()?));
            let cause = match input.u8()? {
                1 => Cause::Stopped,
                2 => Cause::Crashed,
                3 => Cause::Unwritable,
                _ => return None,
            };
            Some(Presence::Away { from, until, cause })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_is_read_as_it_was_written_and_never_in_part() {
        let (from, until) = (UnixMillis(5), UnixMillis(9));
        let away = |cause| Presence::Away { from, until, cause };
        let causes = [Cause::Stopped, Cause::Crashed, Cause::Unwritable];
        for presence in causes.map(away).into_iter().chain([Presence::Alive(from)]) {
            let mut bytes = Vec::new();
            encode_presence(presence, &mut bytes);
            assert_eq!(decode_presence(&bytes), Some(presence));
            for len in 0..bytes.len() {
                assert_eq!(decode_presence(&bytes[..len]), None, "{len} bytes");
            }
        }
    }
}
