//! The audit trail's defaults.

use std::time::Duration;

use super::super::units::{ByteSize, Quantity as _};
use super::super::{AuditFormat, AuditFrom, Facility};
use super::{Limit, days};

/// `audit.retention`
pub const KEEP: Limit<Duration> = Limit {
    key: "audit.retention",
    default: days(2_192),
    least: days(1),
    most: days(36_500),
    reason: "six years, which 45 CFR 164.316 asks of the documentation of security measures",
};
/// `audit.max_size`
pub const MAX_SIZE: Limit<ByteSize> = Limit {
    key: "audit.max_size",
    default: ByteSize(2 << 30),
    least: ByteSize(64 << 20),
    most: ByteSize(1 << 50),
    reason: "some four million records; a flood cannot fill the disk, nor take more of it than a fourteenth a day; beyond it the oldest go, to audit.archive if that is set",
};
/// `audit.required`
pub const REQUIRED: bool = false;
/// `audit.output.NAME.facility`: log audit.
pub const FACILITY: Facility = Facility(13);
/// `audit.output.NAME.format`
pub const FORMAT: AuditFormat = AuditFormat::Json;
/// `audit.output.NAME.from`
pub const FROM: AuditFrom = AuditFrom::Now;
/// `audit.output.NAME.checkpoints`
pub const SENDS_CHECKPOINTS: bool = false;

/// The most `[audit.output.NAME]` tables.
pub const MAX_OUTPUTS: usize = 8;
/// How long connecting may take, with the TLS handshake, and how long a checkpoint's answer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what is sent at once may take to be taken.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may leave what was sent unacknowledged (`TCP_USER_TIMEOUT`).
pub const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// How long a connection must have stood after something was sent over it, so that it counts as
/// taken. Longer than [`UNACKNOWLEDGED`].
pub const SETTLED: Duration = Duration::from_secs(30);
/// The longest wait between two attempts to connect, or to send a checkpoint.
pub const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// How long a stop waits for the last records and the last checkpoint to go out.
pub const LAST_SENDS: Duration = Duration::from_secs(2);
/// Bytes that are read of one connection, with the TLS handshake: certificates, session tickets, and of
/// whoever takes checkpoints the answer.
pub const MAX_HEARD: usize = 128 << 10;
/// So many times `store.min_free` an output's file leaves free on its file system: it stops well before new
/// events are refused.
pub const LEFT_FREE: u64 = 2;
/// The longest message of syslog, in bytes; of one that is longer, the details are left out.
pub const MAX_MESSAGE: usize = 8 << 10;

/// These limits: what, how much, why.
pub(super) fn fixed() -> Vec<(&'static str, String, &'static str)> {
    vec![
        (
            "outputs of the audit trail",
            MAX_OUTPUTS.to_string(),
            "each reads the trail and keeps a connection and a cursor of its own",
        ),
        (
            "time for an output to connect, with TLS, and for a checkpoint's answer",
            CONNECT_TIMEOUT.show(),
            "then it is tried again",
        ),
        (
            "time for an output's peer to take what is sent at once (64KiB)",
            SEND_TIMEOUT.show(),
            "then it is connected to anew",
        ),
        (
            "time for it to acknowledge that (TCP)",
            UNACKNOWLEDGED.show(),
            "else a peer that has vanished would be noticed after a quarter of an hour",
        ),
        (
            "time after which what was sent over TLS counts as taken, if the connection stands",
            SETTLED.show(),
            "syslog has no acknowledgement of its own; what was sent since is sent again over the next connection",
        ),
        (
            "longest wait between attempts to connect, or to send a checkpoint",
            MAX_BACKOFF.show(),
            "from a second on, doubled each time, with jitter",
        ),
        (
            "time that a stop takes for the last records and the last checkpoint to go out",
            LAST_SENDS.show(),
            "what did not get out is sent after the next start",
        ),
        (
            "bytes that are read of a connection, with the TLS handshake and an answer to a checkpoint",
            ByteSize(MAX_HEARD as u64).show(),
            "whoever takes records or checkpoints has nothing more to say; beyond it the connection is closed",
        ),
        (
            "free space that an output's file leaves on its file system",
            format!("{LEFT_FREE} times `store.min_free`"),
            "what is sent on must not take the space that events need; the trail keeps what waits",
        ),
        (
            "message of syslog",
            ByteSize(MAX_MESSAGE as u64).show(),
            "what RFC 5425 recommends receivers to take; of a longer one, the details are left out",
        ),
    ]
}
