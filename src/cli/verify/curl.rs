//! A curl command line as the request that curl would send. Only what a copied command has is known;
//! an option that would change the request in another way is an error, never passed over.

mod options;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use http::Uri;

use self::options::{Does, long, short};
use super::beside::NotRead;
use super::capture::{Capture, Form, Note};
use super::shell::{self, ShellError};

/// Why no request can be told from a command.
#[derive(Debug, thiserror::Error)]
pub(super) enum CurlError {
    #[error("the curl command: {0}")]
    Shell(#[from] ShellError),
    #[error("the curl command was copied for Windows' cmd: copy it as cURL (bash)")]
    Windows,
    #[error("the curl command has no URL")]
    NoUrl,
    #[error("the curl command has two URLs")]
    TwoUrls,
    #[error("the curl command's URL is none that can be called here")]
    BadUrl,
    #[error("the curl command ends where {0} needs a value")]
    NoValue(String),
    #[error(
        "the curl option {0} is not known here: leave it out if it does not change the request"
    )]
    Unknown(String),
    #[error("the curl option {0} makes a request that no source takes")]
    Unfit(String),
    #[error("the curl option {option} names a file{}: {why}", named(path))]
    File { option: String, path: Vec<u8>, why: NotRead },
    #[error(
        "the curl option {0} `@-` reads standard input: put it into a file beside the capture and name that"
    )]
    StandardInput(String),
    #[error(
        "the curl option {0} reads a file, which is not done: put what is in it into the command"
    )]
    NoFile(String),
    #[error("the curl command's body is longer than server.max_body")]
    TooLong,
}

/// Reads a file that the command names, whole or not at all.
pub(super) type Files<'f> = &'f dyn Fn(&Path) -> Result<Vec<u8>, NotRead>;

/// An option as it stands in a command, and its value.
#[derive(Clone, Copy)]
struct Given<'g> {
    does: Does,
    name: &'g str,
    value: &'g [u8],
}

impl Given<'_> {
    /// The data that it means, with `@` a file's.
    fn data(&self, files: Files<'_>) -> Result<Vec<u8>, CurlError> {
        match self.value.strip_prefix(b"@") {
            Some(path) => self.file(path, files),
            None => Ok(self.value.to_vec()),
        }
    }

    fn file(&self, path: &[u8], files: Files<'_>) -> Result<Vec<u8>, CurlError> {
        let option = self.name.to_owned();
        if path == b"-" {
            return Err(CurlError::StandardInput(option));
        }
        let read = files(Path::new(OsStr::from_bytes(path)));
        read.map_err(|why| CurlError::File { option, path: path.to_vec(), why })
    }

    /// For what curl reads out of a file, and this does not.
    fn no_file(&self) -> CurlError {
        CurlError::NoFile(self.name.to_owned())
    }
}

/// Whether this looks like a curl command: its first word is curl, perhaps behind a prompt. On Windows it is
/// called `curl.exe` where PowerShell has another `curl`.
pub(super) fn is_command(text: &[u8]) -> bool {
    let rest = without_prompt(text).strip_prefix(b"curl").unwrap_or_default();
    let rest = rest.strip_prefix(b".exe").unwrap_or(rest);
    rest.first().is_some_and(u8::is_ascii_whitespace)
}

fn without_prompt(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii_start();
    text.strip_prefix(b"$ ").unwrap_or(text).trim_ascii_start()
}

/// The request that the command would send; files of up to `max_body` bytes are read through `files`.
///
/// # Errors
/// [`CurlError`] when that cannot be told.
pub(super) fn read(text: &[u8], max_body: usize, files: Files<'_>) -> Result<Capture, CurlError> {
    if text.windows(2).any(|pair| pair == b"^\"") && !text.contains(&b'\'') {
        return Err(CurlError::Windows);
    }
    let command = shell::split(without_prompt(text))?;
    let mut call = Call { max_body, ..Call::default() };
    if command.more {
        call.notes.push(Note::MoreThanCurl);
    }
    call.arguments(command.words.get(1..).unwrap_or_default(), files)?;
    call.capture()
}

#[derive(Default)]
struct Call {
    method: Option<Vec<u8>>,
    url: Option<String>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Headers that curl is told not to send.
    without: Vec<Vec<u8>>,
    body: Option<Vec<u8>>,
    json: bool,
    head: bool,
    notes: Vec<Note>,
    max_body: usize,
}

impl Call {
    fn arguments(&mut self, words: &[Vec<u8>], files: Files<'_>) -> Result<(), CurlError> {
        let mut words = words.iter();
        let mut options = true;
        while let Some(word) = words.next() {
            match word.as_slice() {
                b"--" if options => options = false,
                [b'-', b'-', name @ ..] if options => {
                    let does = known(long(&String::from_utf8_lossy(name)), word)?;
                    let name = shown(word);
                    let value = if does.takes_value() {
                        words.next().ok_or_else(|| CurlError::NoValue(name.clone()))?
                    } else {
                        word
                    };
                    self.option(Given { does, name: &name, value }, files)?;
                }
                [b'-', letters @ ..] if options && !letters.is_empty() => {
                    self.short_options(letters, &mut words, files)?;
                }
                url => self.url(url)?,
            }
        }
        Ok(())
    }

    /// `-sSXPOST`: flags, and at last one with a value, which may follow at once.
    fn short_options<'w>(
        &mut self,
        letters: &[u8],
        words: &mut impl Iterator<Item = &'w Vec<u8>>,
        files: Files<'_>,
    ) -> Result<(), CurlError> {
        let mut rest = letters;
        while let Some((letter, behind)) = rest.split_first() {
            let name = shown(&[b'-', *letter]);
            let name = name.as_str();
            let does = known(short(char::from(*letter)), name.as_bytes())?;
            if does.takes_value() {
                let value = match behind {
                    [] => words.next().ok_or_else(|| CurlError::NoValue(name.to_owned()))?,
                    value => value,
                };
                return self.option(Given { does, name, value }, files);
            }
            self.option(Given { does, name, value: letters }, files)?;
            rest = behind;
        }
        Ok(())
    }

    fn option(&mut self, given: Given<'_>, files: Files<'_>) -> Result<(), CurlError> {
        let value = given.value;
        match given.does {
            Does::Method => self.method = Some(value.to_vec()),
            Does::Header if value.starts_with(b"@") => return Err(given.no_file()),
            Does::Header => self.header(value),
            Does::Data => {
                let mut data = given.data(files)?;
                if value.starts_with(b"@") {
                    data.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
                }
                return self.data(&data, b"&");
            }
            Does::DataRaw => return self.data(value, b"&"),
            Does::DataBinary => return self.data(&given.data(files)?, b"&"),
            Does::Json => {
                self.json = true;
                return self.data(&given.data(files)?, b"");
            }
            Does::Url if value.starts_with(b"@") => return Err(given.no_file()),
            Does::Url => return self.url(value),
            // What holds no cookie is the name of a file of them.
            Does::Cookie if !value.contains(&b'=') => return Err(given.no_file()),
            Does::Cookie => self.headers.push((b"Cookie".into(), value.to_vec())),
            Does::Sets(name) => self.headers.push((name.into(), value.to_vec())),
            Does::Head => self.head = true,
            Does::User => self.note(Note::UserLeftOut),
            Does::Flag | Does::Value => {}
            Does::Config => return Err(given.no_file()),
            Does::Unfit => return Err(CurlError::Unfit(shown(value))),
        }
        Ok(())
    }

    fn note(&mut self, note: Note) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn url(&mut self, url: &[u8]) -> Result<(), CurlError> {
        let text = std::str::from_utf8(url).map_err(|_| CurlError::BadUrl)?;
        match self.url.replace(text.to_owned()) {
            Some(_) => Err(CurlError::TwoUrls),
            None => Ok(()),
        }
    }

    /// `Name: value`, `Name:` (not to be sent) or `Name;` (sent empty).
    fn header(&mut self, line: &[u8]) {
        // Copied from a browser that spoke HTTP/2.
        if line.starts_with(b":") {
            self.note(Note::PseudoHeaders);
            return;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            if let Some(name) = line.strip_suffix(b";") {
                self.headers.push((name.to_vec(), Vec::new()));
            }
            return;
        };
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if value.is_empty() {
            self.without.push(name.to_vec());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.note(Note::EncodingLeftOut);
        } else {
            self.headers.push((name.to_vec(), value.to_vec()));
        }
    }

    fn data(&mut self, data: &[u8], between: &[u8]) -> Result<(), CurlError> {
        let body = match &mut self.body {
            Some(body) => {
                body.extend_from_slice(between);
                body
            }
            none => none.insert(Vec::new()),
        };
        // A little more than is taken, so that the size is what is refused.
        if body.len().saturating_add(data.len()) > self.max_body.saturating_mul(2) {
            return Err(CurlError::TooLong);
        }
        body.extend_from_slice(data);
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
    }

    fn may_add(&self, name: &str) -> bool {
        let unwanted = |other: &Vec<u8>| other.eq_ignore_ascii_case(name.as_bytes());
        !self.has(name) && !self.without.iter().any(unwanted)
    }

    /// The request as it would go out, but for headers of curl's own that say nothing.
    fn capture(mut self) -> Result<Capture, CurlError> {
        let url = self.url.take().ok_or(CurlError::NoUrl)?;
        let url = if url.contains("://") { url } else { format!("http://{url}") };
        let uri: Uri = url.parse().map_err(|_| CurlError::BadUrl)?;
        let authority = uri.authority().ok_or(CurlError::BadUrl)?.as_str();
        let host = match authority.rsplit_once('@') {
            Some((_, host)) => {
                self.note(Note::UserLeftOut);
                host
            }
            None => authority,
        };
        let default: &[u8] = match (self.head, &self.body) {
            (true, _) => b"HEAD",
            (false, Some(_)) => b"POST",
            (false, None) => b"GET",
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let target = if target.starts_with('?') { format!("/{target}") } else { target.to_owned() };
        let mut head = Vec::new();
        head.extend_from_slice(self.method.as_deref().unwrap_or(default));
        head.extend_from_slice(format!(" {target} HTTP/1.1\r\n").as_bytes());
        let mut line = |name: &[u8], value: &[u8]| {
            head.extend([name, b": ", value, b"\r\n"].concat());
        };
        if self.may_add("host") {
            line(b"Host", host.as_bytes());
        }
        if self.body.is_some() && self.may_add("content-type") {
            let form: &[u8] = b"application/x-www-form-urlencoded";
            line(b"Content-Type", if self.json { b"application/json" } else { form });
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        let may_add = self.may_add("content-length");
        let body = self.body.unwrap_or_default();
        if may_add {
            line(b"Content-Length", body.len().to_string().as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        Ok(Capture { form: Form::Curl, head, rest: body.into(), notes: self.notes })
    }
}

fn known(does: Option<Does>, name: &[u8]) -> Result<Does, CurlError> {
    match does {
        Some(Does::Unfit) => Err(CurlError::Unfit(shown(name))),
        Some(does) => Ok(does),
        None => Err(CurlError::Unknown(shown(name))),
    }
}

/// An option's name, fit for a message: what stands behind it could be anything.
fn shown(name: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-.#".contains(b);
    let text = name.iter().take_while(|b| plain(b)).take(40).map(|b| char::from(*b));
    text.collect()
}

/// A file's name, behind a space, where it looks like one: else it could be a body.
fn named(path: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._/".contains(b);
    if path.is_empty() || path.len() > 256 || !path.iter().all(plain) {
        return String::new();
    }
    format!(" ({})", String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests;
