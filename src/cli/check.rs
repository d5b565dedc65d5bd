//! `hookward check`: every problem of a configuration, or what would run with it. Starts nothing
//! and connects to nothing; of the store it looks at what stands in front of the segments.

mod audit;
mod store;
mod summary;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use self::summary::{Summary, counted};
use super::pipe;
use crate::config::{self, Config, Problem, Severity};
use crate::store::Survey;
use crate::store::crypt::Keyring;

/// The exit code of an invalid configuration (`EX_CONFIG` of sysexits.h).
pub const INVALID_CONFIGURATION: u8 = 78;

/// Checks `file`: problems go to stderr and the code is 78, or a summary goes to stdout.
pub fn run(file: &Path) -> ExitCode {
    let (mut out, err) = (pipe::stdout(), io::stderr());
    let code = check(file, &config::process_env, &mut out, &mut err.lock());
    // Nobody is left to tell when stdout or stderr is gone.
    code.unwrap_or(ExitCode::FAILURE)
}

/// Loads `file` for a command that needs it. Prints to stderr exactly what [`run`] would print
/// when it is invalid; its warnings are handed on.
///
/// # Errors
/// The process's exit code, when the file is invalid.
pub fn load(file: &Path) -> Result<(Config, Vec<Problem>), ExitCode> {
    config::load(file, &config::process_env).map_err(|invalid| {
        let _ = refuse(&invalid.problems, &mut io::stderr().lock());
        ExitCode::from(INVALID_CONFIGURATION)
    })
}

fn check(
    file: &Path,
    env: &dyn Fn(&str) -> Option<OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<ExitCode> {
    match config::load(file, env) {
        Ok((config, warnings)) => {
            let keys = Arc::new(Keyring::new(config.store.encryption_keys.iter().cloned()));
            // A store that cannot be looked at is for the start to tell.
            let survey = Survey::of(&config.store.path, &keys).ok().flatten();
            if let Some(Err(missing)) = survey.as_ref().map(|survey| survey.check(&keys)) {
                writeln!(err, "hookward: {missing}")?;
                return Ok(ExitCode::from(INVALID_CONFIGURATION));
            }
            let mut doubts = store::doubts(&config.store);
            doubts.extend(store::absent(&config));
            doubts.extend(store::sharing(&config));
            let (config, warnings, doubts) = (&config, &warnings, &doubts);
            writeln!(out, "{}", Summary { config, warnings, doubts, keys: &keys, survey })?;
            Ok(ExitCode::SUCCESS)
        }
        Err(invalid) => {
            refuse(&invalid.problems, err)?;
            Ok(ExitCode::from(INVALID_CONFIGURATION))
        }
    }
}

fn refuse(problems: &[Problem], err: &mut dyn Write) -> io::Result<()> {
    for problem in problems {
        writeln!(err, "{problem}")?;
    }
    let errors = problems.iter().filter(|p| p.severity() == Severity::Error).count();
    writeln!(err, "{}: nothing is started", counted(errors, "error"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn checked(text: &str) -> (String, String, ExitCode) {
        checked_with(None, text)
    }

    /// Checks `text` with a private `tls.pem` beside it.
    fn checked_with(pem: Option<&str>, text: &str) -> (String, String, ExitCode) {
        let dir = tempfile::tempdir().unwrap();
        if let Some(pem) = pem {
            let file = dir.path().join("tls.pem");
            std::fs::write(&file, pem).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let file = dir.path().join("hookward.toml");
        std::fs::write(&file, text).unwrap();
        let env = |name: &str| (name == "KEY").then(|| OsString::from("0123456789abcdef"));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = check(&file, &env, &mut out, &mut err).unwrap();
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).unwrap().replace(&format!("{}/", dir.path().display()), "")
        };
        (text(out), text(err), code)
    }

    #[test]
    fn a_valid_file_is_summed_up_on_stdout() {
        let (out, err, code) = checked(
            "[source.novamed]\npreset = \"novamed\"\nkeys = [{ env = \"KEY\" }]\n\
             [source.c4hxp]\npreset = \"c4hxp\"\nkeys = [{ env = \"KEY\" }]\nmax_event_age = \"2d\"\n\
             [source.open]\nauth = { kind = \"none-dangerous\" }\nevents = [\"a.*\"]\n\
             [upstream.app]\nurl = \"http://127.0.0.1:3000/webhooks?token=hunter2\"\n",
        );
        assert_eq!((err.as_str(), code), ("", ExitCode::SUCCESS));
        assert_eq!(
            out,
            "\
hookward.toml is valid. With it would run:

listener  http://0.0.0.0:8443, 4096 connections (1024 from one address), bodies to 1MiB, answers within 4s
  proxies none: X-Forwarded-For is ignored
  rates   no limit; failed authentications: 5 a second (500 at once) from one address
admin     none
store     data, kept 30d, unencrypted, closed to new events below 256MiB free
audit     kept 2192d, to 2GiB, then removed

source novamed (preset novamed)
  path    /hooks/novamed
  auth    api key in x-api-key, 1 key
  from    any address
  repeats known by the event id (/event_id), at last the SHA-256 of the body; other content is quarantined
  replays OPEN: a captured request is taken again once its key is gone, after 30d; max_event_age closes that
  resent  by its provider after 1m, 5m, 15m, 1h, for 81m in all

source c4hxp (preset c4hxp)
  path    /hooks/c4hxp
  auth    hmac-sha256 in x-c4hxp-signature, 1 key
  from    52.1.1.1/32, 52.1.1.2/32, 52.1.1.3/32
  repeats known by /meta/webhook_id, at last the SHA-256 of the body; other content is another event
  replays events older than 2d are refused; events without a readable time are taken at any age (require_event_time = false)
  resent  by its provider after 1m, 5m, 30m, 2h, 6h, for 516m in all

source open
  path    /hooks/open
  auth    NONE: anyone can forge events, 0 keys
  from    any address
  repeats known by the SHA-256 of the body
  replays OPEN: a captured request is taken again once its key is gone, after 30d; its events have no time to judge that by
  resent  not known for how long: an outage of any length may lose events
  events  a.* (others are acknowledged and not forwarded)

upstream app
  url     http://127.0.0.1:3000/webhooks
  sends   CloudEvents, NOT signed (no signing_key), 16 at once, each subject in order
  retries after 1s growing to 10m, for 3d; 10s an attempt

routes    none: every event goes to every upstream

4 warnings:
hookward.toml:1:1: warning: server.listen: plain HTTP for more than this machine: whoever is on the way can read and change events and credentials. Set server.tls, or listen on 127.0.0.1 behind a TLS terminator, or name the terminator in server.trusted_proxies
hookward.toml:1:1: warning: store.encryption_key: not set: events are stored unencrypted, and whoever gets at the disk reads them; `hookward keygen` makes a key
hookward.toml:6:9: warning: source.c4hxp.keys[0]: the same secret as a key of source.novamed: whoever may send to one of the two sources can forge events of the other
hookward.toml:9:8: warning: source.open.auth: DANGEROUS: nothing is authenticated; anyone who reaches this path can forge events, and all of them are forwarded
"
        );
    }

    #[test]
    fn tls_proxies_and_rates_are_summed_up() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["hooks.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(3000, 1, 1);
        let pem = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        let (out, err, code) = checked_with(
            Some(&pem),
            "[server]\ntls = { cert = \"tls.pem\", key = \"tls.pem\" }\ntrusted_proxies = [\"10.0.0.0/8\"]\n\
             client_rate_limit = { per_second = 50, burst = 200 }\nsandbox = true\n\
             [source.lab]\npreset = \"novamed\"\nkeys = [{ env = \"KEY\" }]\nclient_ca = \"tls.pem\"\n\
             rate_limit = { per_second = 20, burst = 100 }\n\
             [upstream.app]\nurl = \"http://127.0.0.1:3000/\"\n",
        );
        assert_eq!((err.as_str(), code), ("", ExitCode::SUCCESS));
        for lines in [
            "\
listener  https://0.0.0.0:8443, 4096 connections (1024 from one address), bodies to 1MiB, answers within 4s
  tls     hooks.example, until 3000-01-01 (tls.pem)
  proxies 10.0.0.0/8, believed in X-Forwarded-For
  rates   50 a second (200 at once) from one address; failed authentications: 5 a second (500 at once) from one address
  sandbox on
",
            "\
  from    any address
  shows   a client certificate of tls.pem
  rate    20 a second (100 at once)
",
        ] {
            assert!(out.contains(lines), "{out}");
        }
    }

    #[test]
    fn where_the_audit_trail_goes_is_summed_up_without_secrets() {
        let (out, err, code) = checked(
            "[audit]\ncheckpoints = { url = \"https://n.example/c?token=hunter2\", token = { env = \"KEY\" } }\n\
             [audit.output.siem]\nkind = \"syslog\"\naddress = \"tls://siem.example\"\n\
             [audit.output.local]\nkind = \"syslog\"\naddress = \"unix:/dev/log\"\nfacility = \"authpriv\"\n\
             [audit.output.file]\nkind = \"file\"\npath = \"audit.jsonl\"\nfrom = \"beginning\"\n\
             [source.lab]\npreset = \"novamed\"\nkeys = [{ env = \"KEY\" }]\n\
             [upstream.app]\nurl = \"http://127.0.0.1:3000/\"\n",
        );
        assert_eq!((err.as_str(), code), ("", ExitCode::SUCCESS));
        let lines = "\
audit     kept 2192d, to 2GiB, then removed
  proof   checkpoints to https://n.example/c, with a token
  output  siem: syslog to siem.example over TLS, port 6514, facility 13
  output  local: syslog to /dev/log, facility 10
  output  file: lines of JSON in audit.jsonl, from the beginning
";
        assert!(out.contains(lines), "{out}");
        let shared = "warning: audit.output.file.path: on the store's file system: it grows with what is refused, and waits while less than 512MiB is free (twice store.min_free)";
        assert!(out.contains(shared), "{out}");
    }

    /// A segment that should have been kept was not moved in months: there was no such directory, and nobody
    /// had been told before.
    #[test]
    fn a_directory_that_is_not_there_is_told() {
        let (out, _, _) = checked(
            "[audit]\narchive = \"gone\"\ncheckpoints = { file = \"here.jsonl\" }\n\
             [audit.output.a]\nkind = \"file\"\npath = \"far/audit.jsonl\"\n\
             [audit.output.b]\nkind = \"syslog\"\naddress = \"unix:/nowhere/log\"\n\
             [source.lab]\npreset = \"novamed\"\nkeys = [{ env = \"KEY\" }]\n\
             [upstream.app]\nurl = \"http://127.0.0.1:3000/\"\n",
        );
        let told: Vec<_> = out.lines().filter(|line| line.contains("no directory")).collect();
        let [archive, output] = &told[..] else { panic!("{out}") };
        assert!(archive.contains("warning: audit.archive: no directory gone: make it"), "{out}");
        assert!(output.contains("warning: audit.output.a.path: no directory far: make"), "{out}");
    }

    /// What went from the trail stayed on the disk that it should have made room on.
    #[test]
    fn an_archive_on_the_store_s_file_system_is_told() {
        let (out, _, _) = checked(
            "[audit]\narchive = \"beside\"\n[source.lab]\npreset = \"novamed\"\nkeys = [{ env = \"KEY\" }]\n\
             [upstream.app]\nurl = \"http://127.0.0.1:3000/\"\n",
        );
        let told = "warning: audit.archive: on the store's file system: what goes there from the audit trail takes its space for good, and nothing goes, so that the trail grows beyond audit.max_size, while less than 512MiB is free";
        assert!(out.contains(told), "{out}");
    }

    #[test]
    fn an_invalid_file_is_told_on_stderr_with_code_78() {
        let (out, err, code) =
            checked("[upstream.app]\nurl = \"http://127.0.0.1/\"\ntime = \"1s\"\n");
        assert_eq!((out.as_str(), code), ("", ExitCode::from(78)));
        assert_eq!(
            err,
            "\
hookward.toml:1:1: warning: server.listen: plain HTTP for more than this machine: whoever is on the way can read and change events and credentials. Set server.tls, or listen on 127.0.0.1 behind a TLS terminator, or name the terminator in server.trusted_proxies
hookward.toml:1:1: error: source: missing; accepted: 1 to 1024 tables [source.NAME]
hookward.toml:1:1: warning: store.encryption_key: not set: events are stored unencrypted, and whoever gets at the disk reads them; `hookward keygen` makes a key
hookward.toml:3:1: error: upstream.app.time: unknown key; accepted: url, format, headers, signing_key, original_signature, resign, ca, client_cert, allow_link_local, timeout, concurrency, rate_limit, ordering, retry
2 errors: nothing is started
"
        );
    }
}
