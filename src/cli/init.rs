//! `hookward init`: a commented configuration and random secrets, to start from. Overwrites
//! nothing: what exists is kept and told.

mod template;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use self::template::{HEAD, PLAIN_SOURCE, TAIL};
use super::{pipe, seam};
use crate::config::{Auth, Placeholders, check_text, nearest};
use crate::event::SourceName;
use crate::provider::Preset;

const CONFIG: &str = "hookward.toml";
const SECRETS: &str = "secrets";
const ADMIN_TOKEN: &str = "admin.token";
const UPSTREAM_KEY: &str = "upstream.key";
const STORE_KEY: &str = "store.key";

/// Wrong usage.
const USAGE: u8 = 2;

/// The source that is written when none is named.
const DEFAULT_SOURCE: &str = "novamed";

/// Why nothing, or not all, was written.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error(
        "--source {0}: a name is 1 to 64 of a-z, 0-9, '-' and '_', and starts with a letter or digit"
    )]
    Name(String),
    #[error("--source {0}: named twice")]
    Twice(String),
    #[error("{0} exists already; it is left as it is")]
    Exists(PathBuf),
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("no random bytes from the operating system: {0}")]
    Random(getrandom::Error),
    #[error("cannot print: {0}")]
    Print(io::Error),
}

/// Writes `hookward.toml` and `secrets/` into `dir`, with a source for each of `sources`: a
/// preset's name, or any other for a spelled-out example. Exits 1 when the file exists already.
pub fn run(dir: &Path, sources: &[String]) -> ExitCode {
    match init(dir, sources, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "hookward init: {error}");
            match error {
                InitError::Name(_) | InitError::Twice(_) => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn init(dir: &Path, sources: &[String], out: &mut dyn Write) -> Result<(), InitError> {
    let sources = named_sources(sources)?;
    let config = dir.join(CONFIG);
    if config.symlink_metadata().is_ok() {
        return Err(InitError::Exists(config));
    }
    std::fs::create_dir_all(dir).map_err(|e| at(dir, e))?;
    let secrets = dir.join(SECRETS);
    match DirBuilder::new().mode(0o700).create(&secrets) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => say(out, &secrets, "kept")?,
        Err(error) => return Err(at(&secrets, error)),
    }
    for source in &sources {
        let form = if takes_base64(source) { Form::Base64 } else { Form::Hex };
        write_secret(&secrets.join(source.as_str()), form, out)?;
    }
    write_secret(&secrets.join(UPSTREAM_KEY), Form::Base64, out)?;
    write_secret(&secrets.join(ADMIN_TOKEN), Form::Hex, out)?;
    write_secret(&secrets.join(STORE_KEY), Form::Hex, out)?;
    // Last, so that a first run that was cut short can be run again.
    write_new(&config, 0o644, text(&sources).as_bytes())?;
    say(out, &config, "written")?;
    tell_made(&sources, out).map_err(InitError::Print)?;
    let next = writeln!(
        out,
        "\nNext: read {0}, then\n  hookward check --config {0}\n  hookward run --config {0}",
        config.display()
    );
    pipe::printed(next).map_err(InitError::Print)
}

/// What has become of each source: a name that is misspelt makes another source than was meant.
fn tell_made(sources: &[SourceName], out: &mut dyn Write) -> io::Result<()> {
    let known = Preset::ALL.map(Preset::as_str);
    let mut text = "\n".to_owned();
    for source in sources {
        let name = source.as_str();
        if known.contains(&name) {
            let _ = writeln!(text, "source {name}: preset {name}");
            continue;
        }
        let meant = match nearest(name, &known) {
            Some(preset) => format!("if you meant {preset}, begin again with --source {preset}"),
            None => format!("presets are {}", known.join(", ")),
        };
        let _ = writeln!(
            text,
            "source {name}: no preset has this name, so it is an example to fill in, with HMAC-SHA256 in \
             X-Signature; {meant}"
        );
    }
    pipe::printed(out.write_all(text.as_bytes()))
}

fn named_sources(names: &[String]) -> Result<Vec<SourceName>, InitError> {
    let default = [DEFAULT_SOURCE.to_owned()];
    let names = if names.is_empty() { &default[..] } else { names };
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for name in names {
        let source = SourceName::new(name).map_err(|_| InitError::Name(name.clone()))?;
        if !seen.insert(name) {
            return Err(InitError::Twice(name.clone()));
        }
        sources.push(source);
    }
    Ok(sources)
}

/// How a random secret is written.
#[derive(Clone, Copy)]
enum Form {
    /// 64 hexadecimal digits.
    Hex,
    /// Base64 after `whsec_`, as the Standard Webhooks scheme has its keys.
    Base64,
}

fn takes_base64(source: &SourceName) -> bool {
    Preset::from_name(source.as_str()) == Some(Preset::StandardWebhooks)
}

fn write_secret(path: &Path, form: Form, out: &mut dyn Write) -> Result<(), InitError> {
    let mut random = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut *random).map_err(InitError::Random)?;
    let text = Zeroizing::new(match form {
        Form::Hex => format!("{}\n", hex::encode(random.as_slice())),
        Form::Base64 => format!("whsec_{}\n", STANDARD.encode(random.as_slice())),
    });
    match write_new(path, 0o600, text.as_bytes()) {
        Ok(()) => say(out, path, "written"),
        Err(InitError::Exists(_)) => say(out, path, "kept"),
        Err(error) => Err(error),
    }
}

fn write_new(path: &Path, mode: u32, content: &[u8]) -> Result<(), InitError> {
    seam::write_new(path, mode, content).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => InitError::Exists(path.to_owned()),
        _ => at(path, error),
    })
}

fn at(path: &Path, error: io::Error) -> InitError {
    InitError::Io { path: path.to_owned(), error }
}

fn say(out: &mut dyn Write, path: &Path, what: &str) -> Result<(), InitError> {
    // Who reads no further gets all files all the same.
    pipe::printed(writeln!(out, "{what:8}{}", path.display())).map_err(InitError::Print)
}

fn text(sources: &[SourceName]) -> String {
    let mut text = HEAD.to_owned();
    for source in sources {
        let name = source.as_str();
        let _ = write!(text, "\n[source.{name}]    # POST http://127.0.0.1:8080/hooks/{name}\n");
        match Preset::from_name(name) {
            Some(preset) => text.push_str(&preset_source(preset)),
            None => text.push_str(&PLAIN_SOURCE.replace("NAME", name)),
        }
    }
    text.push_str(TAIL);
    text
}

fn preset_source(preset: Preset) -> String {
    let name = preset.as_str();
    let mut text = format!(
        "preset = \"{name}\"    # fills in what is not given here\n\
         # A random secret. Give it to the provider, or write the one that it gave you into the file.\n\
         # During a rotation list both: any of them will do.\n\
         keys = [{{ file = \"{SECRETS}/{name}\" }}]\n"
    );
    text.push_str(match preset {
        Preset::C4hxp => {
            "# The preset lets in only the provider's three published addresses; ask its support for the\n\
             # current ones. To try it out from this machine:\n\
             # allow_ips = [\"127.0.0.1/32\"]\n"
        }
        Preset::Drx => {
            "# The header is the `header_key` of your subscription; the preset has the guide's:\n\
             # auth = { kind = \"api-key\", header = \"X-Webhook-Key\" }\n"
        }
        _ => "# allow_ips = [\"203.0.113.0/24\"]    # who may call; without it, anyone with the key\n",
    });
    text.push_str(
        "# rate_limit = { per_second = 50, burst = 200 }    # verified requests; 429 beyond\n",
    );
    if signs_no_time(preset) {
        text.push_str(
            "# max_event_age = \"24h\"    # older events are refused as replays; longer than the provider retries\n",
        );
    }
    text
}

/// Whether `max_event_age` has something to add: a signed timestamp bounds a request's age
/// already, and an event without a time has no age.
fn signs_no_time(preset: Preset) -> bool {
    let probe = format!(
        "[source.p]\npreset = \"{}\"\nkeys = [{{ env = \"K\" }}]\n[upstream.u]\nurl = \"http://u/\"\n",
        preset.as_str()
    );
    let Ok((config, _)) = check_text(Path::new(CONFIG), &probe, &Placeholders) else {
        return false;
    };
    config.sources.iter().all(|source| match &source.auth {
        Auth::Hmac(scheme) => scheme.timestamp.is_none() && !source.event.time.0.is_empty(),
        Auth::ApiKey { .. } => !source.event.time.0.is_empty(),
        Auth::StandardWebhooks { .. } | Auth::NoneDangerous => false,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::{self, Severity};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_written_loads_for_every_preset_and_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut sources: Vec<&str> = Preset::ALL.iter().map(|preset| preset.as_str()).collect();
        sources.push("my-lab");
        let dir = dir.path().join("new/place");
        init(&dir, &names(&sources), &mut Vec::new()).unwrap();
        let (config, warnings) = config::load(&dir.join(CONFIG), &|_| None).unwrap();
        let warned: Vec<&str> = warnings.iter().map(|w| w.key.as_str()).collect();
        // c4hxp's preset lets in its provider's addresses, which never reach a loopback listener.
        assert_eq!(warned, ["source.c4hxp"]);
        assert_eq!(config.store.encryption_keys.len(), 1);
        let loaded: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(loaded, sources);
        assert!(config.admin.unwrap().token.is_some());
        assert!(!config.upstreams[0].signing_keys.is_empty());
        let secrets: BTreeSet<_> =
            config.sources.iter().map(|source| source.keys[0].expose().to_vec()).collect();
        assert_eq!(secrets.len(), sources.len(), "secrets are repeated");
    }

    #[test]
    fn what_is_commented_out_would_be_valid_too() {
        for preset in Preset::ALL {
            let text = text(&[SourceName::new(preset.as_str()).unwrap()]);
            let uncommented: String = text
                .lines()
                .map(|line| match line.strip_prefix("# ") {
                    Some(key) if key.split_once(" = ").is_some_and(|(k, _)| !k.contains(' ')) => {
                        key
                    }
                    Some(table) if table.starts_with("[audit") => table,
                    _ => line,
                })
                .fold(String::new(), |all, line| all + line + "\n");
            for written in
                ["\n[audit]", "\n[audit.output.siem]", "\narchive = ", "\ncheckpoints = "]
            {
                assert!(uncommented.contains(written), "{written}");
            }
            let checked = check_text(Path::new(CONFIG), &uncommented, &Placeholders);
            let problems = checked.err().map(|e| e.problems).unwrap_or_default();
            assert!(problems.iter().all(|p| p.severity() == Severity::Warning), "{problems:?}");
        }
    }

    /// A misspelt preset was made a source with HMAC without a word.
    #[test]
    fn what_was_made_of_each_name_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut out = Vec::new();
        init(dir.path(), &names(&["drx", "novamde", "my-lab"]), &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        for line in [
            "\nsource drx: preset drx\n",
            "X-Signature; if you meant novamed, begin again with --source novamed\n",
            "source my-lab: no preset has this name, so it is an example to fill in",
            "X-Signature; presets are novamed, c4hxp, ",
        ] {
            assert!(out.contains(line), "{line}: {out}");
        }
    }

    #[test]
    fn secrets_are_private() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &[], &mut Vec::new()).unwrap();
        let secrets = dir.path().join(SECRETS);
        assert_eq!(mode(&secrets), 0o700);
        for name in [DEFAULT_SOURCE, UPSTREAM_KEY, ADMIN_TOKEN, STORE_KEY] {
            assert_eq!(mode(&secrets.join(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join(SECRETS).join("drx");
        std::fs::create_dir(dir.path().join(SECRETS)).unwrap();
        std::fs::write(&secret, "mine").unwrap();
        let mut out = Vec::new();
        init(dir.path(), &names(&["drx"]), &mut out).unwrap();
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "mine");
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains(&format!("kept    {}\n", secret.display())), "{out}");

        let before = std::fs::read_to_string(dir.path().join(CONFIG)).unwrap();
        let again = init(dir.path(), &names(&["stripe"]), &mut Vec::new());
        assert!(matches!(again, Err(InitError::Exists(_))));
        assert_eq!(std::fs::read_to_string(dir.path().join(CONFIG)).unwrap(), before);
        assert!(!dir.path().join(SECRETS).join("stripe").exists());
    }

    #[test]
    fn bad_names_write_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for bad in [&["../x"][..], &["Lab"], &["drx", "drx"], &[""]] {
            assert!(init(dir.path(), &names(bad), &mut Vec::new()).is_err(), "{bad:?}");
        }
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }
}
