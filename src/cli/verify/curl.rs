//! A curl command line as the request that curl would send. Only what a copied command has is known;
//! an option that would change the request in another way is an error, never passed over.

use std::io;
use std::path::Path;

use http::Uri;

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
    #[error("cannot read {path}: {error}")]
    File { path: String, error: io::Error },
    #[error("`@-` is standard input: name a file")]
    StandardInput,
    #[error("the curl command's body is longer than server.max_body")]
    TooLong,
}

/// Reads a file that the command names, whole or not at all.
pub(super) type Files<'f> = &'f dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// What an option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Method,
    Header,
    /// `-d`: a file's line ends are left out.
    Data,
    DataRaw,
    DataBinary,
    Json,
    Url,
    /// Sets this header.
    Sets(&'static str),
    Head,
    /// The credentials of basic authentication.
    User,
    /// Nothing to the request.
    Flag,
    /// Nothing to the request, and takes a value.
    Value,
    Unfit,
}

fn long(name: &str) -> Option<Does> {
    Some(match name {
        "request" => Does::Method,
        "header" => Does::Header,
        "data" | "data-ascii" => Does::Data,
        "data-raw" => Does::DataRaw,
        "data-binary" => Does::DataBinary,
        "json" => Does::Json,
        "url" => Does::Url,
        "user-agent" => Does::Sets("User-Agent"),
        "referer" => Does::Sets("Referer"),
        "cookie" => Does::Sets("Cookie"),
        "head" => Does::Head,
        "user" => Does::User,
        "silent"
        | "show-error"
        | "verbose"
        | "include"
        | "insecure"
        | "location"
        | "fail"
        | "compressed"
        | "http1.0"
        | "http1.1"
        | "http2"
        | "http2-prior-knowledge"
        | "http3"
        | "no-progress-meter"
        | "progress-bar"
        | "globoff"
        | "path-as-is"
        | "ipv4"
        | "ipv6"
        | "no-keepalive"
        | "no-buffer"
        | "fail-with-body"
        | "tlsv1.2"
        | "tlsv1.3" => Does::Flag,
        "output" | "write-out" | "max-time" | "connect-timeout" | "cacert" | "cert" | "key"
        | "resolve" | "connect-to" | "proxy" | "retry" | "retry-delay" | "interface"
        | "dump-header" | "cookie-jar" | "trace" | "trace-ascii" | "stderr" | "max-redirs"
        | "retry-max-time" => Does::Value,
        "get" | "form" | "form-string" | "upload-file" | "data-urlencode" => Does::Unfit,
        _ => return None,
    })
}

fn short(letter: char) -> Option<Does> {
    Some(match letter {
        'X' => Does::Method,
        'H' => Does::Header,
        'd' => Does::Data,
        'A' => Does::Sets("User-Agent"),
        'e' => Does::Sets("Referer"),
        'b' => Does::Sets("Cookie"),
        'I' => Does::Head,
        'u' => Does::User,
        's' | 'S' | 'v' | 'i' | 'k' | 'L' | 'f' | '0' | '#' | 'g' | '4' | '6' | 'N' => Does::Flag,
        'o' | 'w' | 'm' | 'x' | 'D' | 'c' | 'E' => Does::Value,
        'G' | 'F' | 'T' => Does::Unfit,
        _ => return None,
    })
}

impl Does {
    fn takes_value(self) -> bool {
        !matches!(self, Self::Flag | Self::Head | Self::Unfit)
    }
}

/// Whether this looks like a curl command: its first word is curl, perhaps behind a prompt.
pub(super) fn is_command(text: &[u8]) -> bool {
    let rest = without_prompt(text).strip_prefix(b"curl").unwrap_or_default();
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
                    let name = String::from_utf8_lossy(name);
                    let does = known(long(&name), || format!("--{name}"))?;
                    let value = if does.takes_value() {
                        words.next().ok_or_else(|| CurlError::NoValue(format!("--{name}")))?
                    } else {
                        word
                    };
                    self.option(does, value, files)?;
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
            let name = || format!("-{}", char::from(*letter));
            let does = known(short(char::from(*letter)), name)?;
            if does.takes_value() {
                let value = match behind {
                    [] => words.next().ok_or_else(|| CurlError::NoValue(name()))?,
                    value => value,
                };
                return self.option(does, value, files);
            }
            self.option(does, letters, files)?;
            rest = behind;
        }
        Ok(())
    }

    fn option(&mut self, does: Does, value: &[u8], files: Files<'_>) -> Result<(), CurlError> {
        match does {
            Does::Method => self.method = Some(value.to_vec()),
            Does::Header => return self.header(value),
            Does::Data => {
                let data = match value.strip_prefix(b"@") {
                    Some(path) => {
                        let mut data = file(path, files)?;
                        data.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
                        data
                    }
                    None => value.to_vec(),
                };
                return self.data(&data, b"&");
            }
            Does::DataRaw => return self.data(value, b"&"),
            Does::DataBinary => {
                let data = from_file(value, files)?;
                return self.data(&data, b"&");
            }
            Does::Json => {
                self.json = true;
                let data = from_file(value, files)?;
                return self.data(&data, b"");
            }
            Does::Url => return self.url(value),
            Does::Sets(name) => self.headers.push((name.into(), value.to_vec())),
            Does::Head => self.head = true,
            Does::User => self.note(Note::UserLeftOut),
            Does::Flag | Does::Value => {}
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
    fn header(&mut self, line: &[u8]) -> Result<(), CurlError> {
        if line.starts_with(b"@") {
            return Err(CurlError::Unknown("-H @FILE".to_owned()));
        }
        // Copied from a browser that spoke HTTP/2.
        if line.starts_with(b":") {
            self.note(Note::PseudoHeaders);
            return Ok(());
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            if let Some(name) = line.strip_suffix(b";") {
                self.headers.push((name.to_vec(), Vec::new()));
            }
            return Ok(());
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
        Ok(())
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

fn known(does: Option<Does>, name: impl Fn() -> String) -> Result<Does, CurlError> {
    match does {
        Some(Does::Unfit) => Err(CurlError::Unfit(shown(name().as_bytes()))),
        Some(does) => Ok(does),
        None => Err(CurlError::Unknown(shown(name().as_bytes()))),
    }
}

/// An option's name, fit for a message: what stands behind it could be anything.
fn shown(name: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-.#".contains(b);
    let text = name.iter().take_while(|b| plain(b)).take(40).map(|b| char::from(*b));
    text.collect()
}

fn from_file(value: &[u8], files: Files<'_>) -> Result<Vec<u8>, CurlError> {
    match value.strip_prefix(b"@") {
        Some(path) => file(path, files),
        None => Ok(value.to_vec()),
    }
}

fn file(path: &[u8], files: Files<'_>) -> Result<Vec<u8>, CurlError> {
    if path == b"-" {
        return Err(CurlError::StandardInput);
    }
    let path = String::from_utf8_lossy(path).into_owned();
    files(Path::new(&path)).map_err(|error| CurlError::File { path, error })
}

#[cfg(test)]
mod tests;
