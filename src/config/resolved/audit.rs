//! The audit trail, as the gateway keeps it and sends it on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Authorities;
use crate::event::OutputName;
use crate::pem::Identity;
use crate::secret::Secret;

/// `[audit]`: the trail of what was refused and done.
#[derive(Clone, Debug)]
pub struct Audit {
    /// How long records are kept.
    pub retention: Duration,
    /// Bytes of it beyond which the oldest records go.
    pub max_size: u64,
    /// A directory that they are moved to when they go. `None`: they are removed.
    pub archive: Option<PathBuf>,
    /// Whether events are refused while it cannot be written.
    pub required: bool,
    /// Where its checkpoints go as well.
    pub checkpoints: Checkpoints,
    /// `[audit.output.NAME]`, at most 8, in the order of the file.
    pub outputs: Vec<Arc<AuditOutput>>,
}

/// `audit.checkpoints`: both, one or none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoints {
    /// A file that they are appended to.
    pub file: Option<PathBuf>,
    /// Whom they are sent to.
    pub post: Option<CheckpointPost>,
}

/// Whom checkpoints are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointPost {
    /// `https`, with a host.
    pub url: http::Uri,
    /// What is sent with them, as a bearer token.
    pub token: Option<Secret>,
    /// Whom to trust instead of the platform's roots.
    pub ca: Option<Authorities>,
}

/// `[audit.output.NAME]`: where the trail is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditOutput {
    /// `NAME`
    pub name: OutputName,
    /// Where to.
    pub target: AuditTarget,
    /// As what.
    pub format: AuditFormat,
    /// From where on, where nothing was sent under this name yet.
    pub from: AuditFrom,
    /// Whether checkpoints are sent as well.
    pub checkpoints: bool,
}

/// As what records are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditFormat {
    /// The record as the API shows it.
    Json,
    /// An event of the Open Cybersecurity Schema Framework.
    Ocsf,
}

/// What takes records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTarget {
    /// Somebody who speaks syslog (RFC 5424).
    Syslog(Syslog),
    /// A file that lines are appended to.
    File(PathBuf),
}

/// Somebody who speaks syslog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// Where.
    pub address: SyslogAddress,
    /// What its messages count as.
    pub facility: Facility,
    /// Whom to trust instead of the platform's roots.
    pub ca: Option<Authorities>,
    /// What to prove oneself with.
    pub identity: Option<Identity>,
}

/// Where somebody who speaks syslog is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// Over TLS (RFC 5425).
    Tls {
        /// A name or an address, which the other side's certificate must be for.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket of this machine.
    Unix(PathBuf),
}

/// A facility of syslog: RFC 5424, section 6.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(pub u8);

impl Facility {
    /// Those that can be chosen.
    pub const ALL: &[(&str, Self)] = &[
        ("audit", Self(13)),
        ("authpriv", Self(10)),
        ("local0", Self(16)),
        ("local1", Self(17)),
        ("local2", Self(18)),
        ("local3", Self(19)),
        ("local4", Self(20)),
        ("local5", Self(21)),
        ("local6", Self(22)),
        ("local7", Self(23)),
    ];
}

/// From where on a trail is sent that was not sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditFrom {
    /// What is recorded from then on.
    Now,
    /// All that there is.
    Beginning,
}
