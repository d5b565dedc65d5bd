//! What would become of the audit trail, in words.

use std::fmt;

use crate::config::certificates::day;
use crate::config::units::{show_duration, show_size};
use crate::config::{
    Audit, AuditFrom, AuditOutput, AuditTarget, Authorities, CheckpointPost, SyslogAddress,
};
use crate::pem::Facts;

/// How long it is kept, and who else gets it. Without secrets.
pub(super) fn summarize(f: &mut fmt::Formatter<'_>, audit: &Audit) -> fmt::Result {
    write!(
        f,
        "audit     kept {}, to {}, then ",
        show_duration(audit.retention),
        show_size(audit.max_size)
    )?;
    match &audit.archive {
        Some(dir) => write!(f, "moved to {}", dir.display())?,
        None => write!(f, "removed")?,
    }
    if let Some(file) = &audit.checkpoints.file {
        write!(f, ", checkpoints to {}", file.display())?;
    }
    if audit.required {
        write!(f, "; no events without it")?;
    }
    writeln!(f)?;
    if let Some(CheckpointPost { url, token, ca }) = &audit.checkpoints.post {
        // Without the query: it may hold a token.
        let authority = url.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let token = if token.is_some() { ", with a token" } else { "" };
        let trusts = trusts(ca.as_ref());
        writeln!(f, "  proof   checkpoints to https://{authority}{}{token}{trusts}", url.path())?;
    }
    audit.outputs.iter().try_for_each(|output| output_of(f, output))
}

fn output_of(f: &mut fmt::Formatter<'_>, output: &AuditOutput) -> fmt::Result {
    write!(f, "  output  {}: ", output.name)?;
    match &output.target {
        AuditTarget::File(path) => write!(f, "lines of JSON in {}", path.display())?,
        AuditTarget::Syslog(syslog) => {
            match &syslog.address {
                SyslogAddress::Unix(path) => write!(f, "syslog to {}", path.display())?,
                SyslogAddress::Tls { host, port } => {
                    let trusts = trusts(syslog.ca.as_ref());
                    write!(f, "syslog to {host} over TLS, port {port}{trusts}")?;
                }
            }
            let facility = syslog.facility.0;
            write!(f, ", facility {facility}")?;
            if let Some(identity) = &syslog.identity {
                let Facts { names, not_after, .. } = &identity.facts;
                let (names, until) = (names.join(", "), day(*not_after));
                write!(f, ", showing a certificate of {names}, until {until}")?;
            }
        }
    }
    match output.from {
        AuditFrom::Now => writeln!(f),
        AuditFrom::Beginning => writeln!(f, ", from the beginning"),
    }
}

fn trusts(ca: Option<&Authorities>) -> String {
    ca.map(|ca| format!(", trusting {}", ca.file.display())).unwrap_or_default()
}
