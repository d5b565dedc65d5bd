//! Secrets: references in the file, and reading what they refer to. The file never holds a
//! secret, and no problem ever repeats one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::context::{At, Context};
use super::defaults::{LEAST_SECRET, MAX_SECRET};
use super::problem::{Contradiction, ProblemKind, SecretProblem, Warning};
use super::tree::Node;
use crate::clock::{Clock, UnixMillis};
use crate::pem;
use crate::secret::{Key, Secret};

pub(super) const REFERENCE: &str = "{ env = \"NAME\" } or { file = \"PATH\" }";
pub(super) const KEYS: &[&str] = &["env", "file", "allow_readable"];

/// Bits of a file's mode that let others than its owner read or change it.
pub(super) const OPEN_TO_OTHERS: u32 = 0o066;

/// Base64 as the Standard Webhooks libraries take it: padding may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where the configuration's secrets and certificates come from.
pub trait SecretReader {
    /// The environment variable of this name.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// A secret's file.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn file(&self, path: &Path) -> io::Result<SecretFile>;

    /// A PEM file: certificates, or a key.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn pem(&self, path: &Path) -> io::Result<SecretFile>;

    /// The time by which certificates hold or have ended.
    fn now(&self) -> UnixMillis;
}

/// A secret's file, as read.
pub struct SecretFile {
    /// Its content, up to a little more than a limit.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Its permission bits.
    pub mode: u32,
}

/// The machine that this runs on, with an environment that is handed in.
pub struct Machine<'e> {
    /// Looks a variable up.
    pub env: &'e dyn Fn(&str) -> Option<OsString>,
}

impl SecretReader for Machine<'_> {
    fn variable(&self, name: &str) -> Option<OsString> {
        (self.env)(name)
    }

    fn file(&self, path: &Path) -> io::Result<SecretFile> {
        read_regular(path, MAX_SECRET)
    }

    fn pem(&self, path: &Path) -> io::Result<SecretFile> {
        read_regular(path, pem::MAX_FILE)
    }

    fn now(&self) -> UnixMillis {
        Clock::System.now()
    }
}

/// No machine at all: every variable and file has a fixed value that fits anywhere, each another
/// one. For checking a configuration whose secrets are elsewhere, and for fuzzing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Placeholders;

impl Placeholders {
    fn secret(name: &[u8]) -> String {
        BASE64.encode(Sha256::digest(name))
    }
}

impl SecretReader for Placeholders {
    fn variable(&self, name: &str) -> Option<OsString> {
        Some(Self::secret(name.as_bytes()).into())
    }

    fn file(&self, path: &Path) -> io::Result<SecretFile> {
        let bytes = Self::secret(path.as_os_str().as_bytes()).into_bytes();
        Ok(SecretFile { bytes: bytes.into(), mode: 0o600 })
    }

    fn pem(&self, _: &Path) -> io::Result<SecretFile> {
        let bytes = include_bytes!("placeholder.pem").to_vec();
        Ok(SecretFile { bytes: bytes.into(), mode: 0o600 })
    }

    /// The first day of 2030, when the placeholder certificate holds.
    fn now(&self) -> UnixMillis {
        UnixMillis(1_893_456_000_000)
    }
}

/// Where a secret is to be read.
pub(super) enum Reference {
    Variable(String),
    File { path: PathBuf, allow_readable: bool },
}

impl Reference {
    /// Reads a reference. Anything that is no table is taken for the secret itself.
    pub(super) fn read(node: &Node<'_>, cx: &mut Context<'_>) -> Option<At<Self>> {
        if node.is_list() {
            node.wrong_type(REFERENCE, cx);
            return None;
        }
        if !node.is_table() {
            cx.problem(node.spot(), SecretProblem::Plaintext);
            return None;
        }
        let table = node.table(KEYS, cx)?;
        let open = table.get("allow_readable").and_then(|n| Some(n.at(n.flag(cx)?)));
        let reference = match (table.get("env"), table.get("file")) {
            (Some(_), Some(_)) => {
                cx.problem(node.spot(), Contradiction::TwoSecretPlaces);
                return None;
            }
            (None, None) => {
                cx.problem(node.spot(), ProblemKind::Missing { accepted: REFERENCE.into() });
                return None;
            }
            (Some(env), None) => {
                if let Some(open) = open {
                    let accepted = "file".to_owned();
                    cx.problem(&open.spot, ProblemKind::UnknownKey { accepted, nearest: None });
                }
                Self::Variable(variable_name(&env, cx)?.to_owned())
            }
            (None, Some(file)) => {
                let path = file.text("a file's path", cx)?;
                Self::File { path: cx.path(path), allow_readable: open.is_some_and(|o| o.value) }
            }
        };
        Some(node.at(reference))
    }
}

fn variable_name<'t>(node: &Node<'t>, cx: &mut Context<'_>) -> Option<&'t str> {
    let name = node.text("an environment variable's name", cx)?;
    let start = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if start && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Some(name);
    }
    cx.problem(node.spot(), SecretProblem::NotAVariable);
    None
}

/// Reads the key that `reference` refers to: 256 bits as `hookward keygen` writes them.
pub(super) fn key(reference: &At<Reference>, cx: &mut Context<'_>) -> Option<Key> {
    let key = fetch(&reference.value, cx)
        .and_then(|(text, from)| decode_key(text.expose()).ok_or(SecretProblem::NotAKey(from)));
    key.map_err(|problem| cx.problem(&reference.spot, problem)).ok()
}

/// 64 hexadecimal digits, or 32 bytes in base64, with or without `whsec_` before it. No text is
/// both.
fn decode_key(text: &[u8]) -> Option<Key> {
    let mut bytes = Zeroizing::new([0; 32]);
    if hex::decode_to_slice(text, bytes.as_mut_slice()).is_err() {
        let decoded = decode(text)?;
        *bytes = decoded.expose().try_into().ok()?;
    }
    Some(Key::new(bytes))
}

/// What a secret is for, which decides what it may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Compared with or sent as the value of a header.
    Header,
    /// Keys an HMAC as it is.
    Verbatim,
    /// Keys an HMAC after `whsec_` is cut off and base64 is decoded.
    Encoded,
}

/// A secret as it was given, and as it is used.
pub(super) struct Resolved {
    pub(super) given: Secret,
    pub(super) used: Secret,
    /// Where it was read, which is no secret.
    pub(super) from: String,
}

/// Reads the secret that `reference` refers to.
pub(super) fn resolve(
    reference: &At<Reference>,
    purpose: Use,
    cx: &mut Context<'_>,
) -> Option<Resolved> {
    match fetch(&reference.value, cx).and_then(|(given, from)| prepare(given, from, purpose)) {
        Ok((resolved, warnings)) => {
            for warning in warnings {
                cx.problem(&reference.spot, warning);
            }
            Some(resolved)
        }
        Err(problem) => {
            cx.problem(&reference.spot, problem);
            None
        }
    }
}

fn prepare(
    given: Secret,
    from: String,
    purpose: Use,
) -> Result<(Resolved, Vec<Warning>), SecretProblem> {
    let used = match purpose {
        Use::Header if !survives_in_a_header(given.expose()) => {
            return Err(SecretProblem::NotAHeaderValue(from));
        }
        Use::Header | Use::Verbatim => given.clone(),
        Use::Encoded => match decode(given.expose()) {
            Some(decoded) => decoded,
            None => return Err(SecretProblem::NotBase64(from)),
        },
    };
    let len = used.len();
    let mut warnings = Vec::new();
    let place = from.clone();
    if ends_in_whitespace(used.expose()) {
        warnings.push(Warning::SpaceAtTheEnd { from: from.clone() });
    }
    if len < LEAST_SECRET {
        warnings.push(Warning::ShortSecret { from, len, least: LEAST_SECRET });
    }
    Ok((Resolved { given, used, from: place }, warnings))
}

/// Of text. Random bytes may end in anything.
fn ends_in_whitespace(bytes: &[u8]) -> bool {
    let text = bytes.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace());
    text && bytes.last().is_some_and(u8::is_ascii_whitespace)
}

/// Printable ASCII. HTTP strips whitespace off both ends of a value, so none may stand there.
fn survives_in_a_header(bytes: &[u8]) -> bool {
    bytes.trim_ascii().len() == bytes.len() && bytes.iter().all(|b| (0x20..0x7f).contains(b))
}

fn decode(text: &[u8]) -> Option<Secret> {
    let text = text.strip_prefix(b"whsec_").unwrap_or(text);
    let mut bytes = Zeroizing::new(Vec::new());
    BASE64.decode_vec(text, &mut bytes).ok()?;
    (!bytes.is_empty()).then(|| Secret::new(std::mem::take(&mut *bytes)))
}

fn fetch(reference: &Reference, cx: &mut Context<'_>) -> Result<(Secret, String), SecretProblem> {
    let (bytes, from) = match reference {
        Reference::Variable(name) => {
            let value = cx.variable(name).ok_or_else(|| SecretProblem::Unset(name.clone()))?;
            (Secret::new(value.into_vec()), format!("the environment variable {name}"))
        }
        Reference::File { path, allow_readable } => {
            let file = cx.secret_file(path).map_err(|error| SecretProblem::Unreadable {
                path: path.clone(),
                error: error.kind(),
            })?;
            let mode = file.mode & 0o7777;
            let mut bytes = file.bytes;
            let secret = Secret::new(without_newline(std::mem::take(&mut *bytes)));
            if mode & OPEN_TO_OTHERS != 0 && !allow_readable {
                return Err(SecretProblem::Exposed { path: path.clone(), mode });
            }
            (secret, path.display().to_string())
        }
    };
    if bytes.is_empty() {
        return Err(SecretProblem::Empty(from));
    }
    if bytes.len() > MAX_SECRET {
        return Err(SecretProblem::TooLong { from, most: MAX_SECRET });
    }
    Ok((bytes, from))
}

fn without_newline(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

/// Reads at most a little more than `most` bytes of a regular file; a pipe would block for ever.
fn read_regular(path: &Path, most: usize) -> io::Result<SecretFile> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    // Room for all of it at once: a buffer that grows leaves copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 16));
    file.take(most as u64 + 3).read_to_end(&mut bytes)?;
    Ok(SecretFile { bytes, mode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trailing_newline_goes() {
        for (from, to) in [
            ("a", "a"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a\r", "a\r"),
            (" a \n", " a "),
            ("\n", ""),
        ] {
            assert_eq!(without_newline(from.into()), to.as_bytes(), "{from:?}");
        }
    }

    #[test]
    fn keys_of_the_standard_scheme_are_decoded() {
        for text in ["whsec_aGVsbG8=", "aGVsbG8=", "aGVsbG8"] {
            assert_eq!(decode(text.as_bytes()).unwrap().expose(), b"hello", "{text}");
        }
        for text in ["", "whsec_", "whsec_*", "aGVsbG8=\n", "aGVs bG8="] {
            assert!(decode(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_key_is_what_keygen_writes() {
        let (hex, base64) = ("07".repeat(32), "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
        for text in [hex.clone(), base64.into(), base64.replace('=', ""), format!("whsec_{base64}")]
        {
            assert_eq!(decode_key(text.as_bytes()), Some(Key::new([7; 32].into())), "{text}");
        }
        let upper = decode_key(hex.replace('7', "A").to_uppercase().as_bytes());
        assert_eq!(upper, Some(Key::new([10; 32].into())));
        let raw = "k".repeat(32);
        for text in [&hex[2..], &format!("{hex}07"), &base64[4..], &raw, "", "hunter2"] {
            assert_eq!(decode_key(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_secret_is_read_from_a_regular_file_only() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_regular(dir.path(), 8).err().unwrap().kind(), io::ErrorKind::IsADirectory);
        let path = dir.path().join("s");
        assert_eq!(read_regular(&path, 8).err().unwrap().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, "x".repeat(100)).unwrap();
        assert_eq!(read_regular(&path, 8).unwrap().bytes.len(), 11);
    }
}
