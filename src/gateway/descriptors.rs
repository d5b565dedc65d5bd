//! Descriptors: how many connections there may be so that everything else can be opened as well.
//!
//! Strangers decide how many connections there are. Were they to use up the process's descriptors,
//! the journal could not be read and operators could not look.

use rustix::process::{Resource, getrlimit};

use crate::admin;
use crate::config::Config;
use crate::config::defaults::admin::MAX_LOCAL_CONNECTIONS;
use crate::store::journal::files::MAX_OPEN;

/// What is open whatever is configured: standard streams, the runtime's own, listeners, the store's
/// lock, index and newest segment; and now and then files that are read again, and look-ups of names.
const OWN: usize = 64;

/// What part of all descriptors connections get at least, whatever else is configured: an eighth.
const LEAST: usize = 8;

/// Lowers `max_connections` to what the process's limit of open files allows, and
/// `max_connections_per_client` in proportion, so that one client's share stays a share. Tells when
/// it does, and when even that may not be enough.
pub(super) fn fit(config: &mut Config) {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (wanted, others) = (config.server.max_connections, others(config));
    fit_into(config, limit);
    let max_connections = config.server.max_connections;
    if max_connections < wanted {
        tracing::warn!(
            target: "hookward",
            wanted, max_connections, limit, others,
            "the limit of open files (RLIMIT_NOFILE) allows fewer connections than server.max_connections"
        );
    }
    if limit.saturating_sub(others) < max_connections {
        tracing::warn!(
            target: "hookward",
            limit, others,
            "the limit of open files (RLIMIT_NOFILE) is too low for upstream.NAME.concurrency and the rest: with many connections the journal may become unreadable"
        );
    }
}

fn fit_into(config: &mut Config, limit: usize) {
    let left = limit.saturating_sub(others(config)).max(limit / LEAST);
    let server = &mut config.server;
    let wanted = server.max_connections;
    if left < wanted {
        let of_client = server.max_connections_per_client.min(wanted).saturating_mul(left);
        server.max_connections_per_client = of_client.checked_div(wanted).unwrap_or(0).max(1);
        server.max_connections = left;
    }
}

/// Descriptors that may be open at once beside connections of the public listener.
fn others(config: &Config) -> usize {
    let listener = if config.admin.is_some() { admin::MAX_CONNECTIONS } else { 0 };
    let operators = listener + MAX_LOCAL_CONNECTIONS;
    // A connection or a file, and what of the trail it reads.
    let outputs = 2 * config.audit.outputs.len();
    let upstreams = config.upstreams.iter().map(|upstream| upstream.concurrency);
    upstreams.fold(OWN + MAX_OPEN + operators + outputs, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::super::tests::config;
    use super::*;

    /// What is made of this many connections, and of one client's, under this limit, when upstreams
    /// may have so many.
    fn fitted(connections: [usize; 2], upstreams: &[usize], limit: usize) -> [usize; 2] {
        let mut toml = "[source.lab]\nauth = { kind = \"none-dangerous\" }\n".to_owned();
        for (n, concurrency) in upstreams.iter().enumerate() {
            let url = "http://127.0.0.1:9/";
            writeln!(toml, "[upstream.u{n}]\nurl = \"{url}\"\nconcurrency = {concurrency}")
                .unwrap();
        }
        let mut config = config(Path::new("/"), &toml);
        [config.server.max_connections, config.server.max_connections_per_client] = connections;
        fit_into(&mut config, limit);
        [config.server.max_connections, config.server.max_connections_per_client]
    }

    /// A fixed number was kept, so that one hanging upstream with more than that and idle strangers
    /// used up all descriptors: the journal could not be read.
    #[test]
    fn connections_leave_descriptors_to_all_that_is_configured() {
        let all = [4096, 1024];
        assert_eq!(fitted(all, &[16], 1 << 20), all);
        assert_eq!(fitted(all, &[16], 4096 + 144 + 16), all);
        assert_eq!(fitted(all, &[16], 1024), [864, 216]);
        assert_eq!(fitted(all, &[300], 1024), [580, 145]);
        assert_eq!(fitted(all, &[300, 300], 1024), [280, 70]);
        // Even where it cannot be enough, providers are let in.
        assert_eq!(fitted(all, &[1024; 64], 1024), [128, 32]);
        assert_eq!(fitted(all, &[16], 64), [8, 2]);
        // A share stays a share, and all stays all.
        assert_eq!(fitted([4096, 1], &[16], 1024), [864, 1]);
        assert_eq!(fitted([4096, 5000], &[16], 1024), [864, 864]);
        assert_eq!(fitted([100, 50], &[16], 1024), [100, 50]);
    }
}
