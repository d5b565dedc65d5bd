//! Asking the running gateway: through the Unix socket of the store that the configuration names, or at
//! a URL with the token. What it answers is bounded, and is never trusted to be plain text.

mod trouble;
mod trust;

use std::future::Future;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

pub(super) use self::trouble::Trouble;
use self::trust::Trust;
use super::{pipe, seam, table};
use crate::admin::socket;
use crate::config::{Placeholders, check_text};
use crate::hardening;
use crate::secret::Secret;

/// Where the token stands.
const TOKEN: &str = "HOOKWARD_ADMIN_TOKEN";
/// How long a request may take, from connecting to the end of its answer. The gateway says itself
/// after less that something takes too long.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The same, where the answer is only an addition.
const SOON: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes: the largest body that a gateway takes, escaped.
const MAX_ANSWER: usize = 144 << 20;
/// Exit code of a wrong command line.
const WRONG_USAGE: u8 = 2;

/// How the gateway is reached.
#[derive(Clone, Debug, clap::Args)]
pub struct Via {
    /// The configuration file that names the store, in which the gateway's socket is [default:
    /// HOOKWARD_CONFIG, else hookward.toml here, else /etc/hookward/hookward.toml]
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,

    #[command(flatten)]
    at: At,
}

/// The admin listener, if that is to be asked.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct At {
    /// Ask the admin listener at this URL instead, such as http://127.0.0.1:9443, with the token in
    /// HOOKWARD_ADMIN_TOKEN
    #[arg(long, value_name = "URL")]
    url: Option<Uri>,

    #[command(flatten)]
    trust: Trust,
}

/// A wrong command line, in words.
pub(super) fn usage(message: &str) -> Trouble {
    complain(message);
    Trouble::Told(WRONG_USAGE)
}

/// What cannot be done, in words.
pub(super) fn failed(message: &str) -> Trouble {
    complain(message);
    Trouble::Told(1)
}

/// Does this with the gateway: 0 done, 1 failed, 2 for what the API calls wrong, 78 for an invalid
/// configuration.
pub(super) fn run<F>(via: &Via, work: impl FnOnce(Client) -> F) -> ExitCode
where
    F: Future<Output = Result<(), Trouble>>,
{
    // Payloads pass through this process.
    let _ = hardening::harden();
    match Client::new(via) {
        Ok(client) => alone(work(client)),
        Err(code) => code,
    }
}

/// Does this without a gateway; the same exit codes.
pub(super) fn alone(work: impl Future<Output = Result<(), Trouble>>) -> ExitCode {
    ask(work).map_or_else(|code| code, |()| ExitCode::SUCCESS)
}

/// What comes of this; what has failed is told, and its exit code returned.
pub(super) fn ask<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Trouble::Runtime).and_then(|runtime| runtime.block_on(work));
    done.map_err(|trouble| match trouble {
        Trouble::Output(error) if pipe::is_closed(&error) => ExitCode::SUCCESS,
        Trouble::Told(code) => ExitCode::from(code),
        trouble => told(&trouble),
    })
}

/// What the gateway on this store says of its sources; `None`: it does not run, or says nothing soon.
pub(super) fn sources(store: &Path) -> Option<Value> {
    let client = Client(Way::Socket(socket::path(store)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let asked = async { tokio::time::timeout(SOON, client.get("/api/v1/sources")).await };
    runtime.block_on(asked).ok()?.ok()?.json().ok()
}

fn told(trouble: &Trouble) -> ExitCode {
    complain(&format!("error: {trouble}"));
    ExitCode::from(trouble.code())
}

pub(super) fn complain(message: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "{}", table::neutral(message));
}

/// Somebody who asks the gateway.
pub(super) struct Client(Way);

enum Way {
    Socket(PathBuf),
    Url { url: Uri, token: Secret, trust: Trust },
}

impl At {
    /// Whoever asks there; `None`: no URL was given.
    pub(super) fn client(&self) -> Result<Option<Client>, ExitCode> {
        let Some(url) = &self.url else { return Ok(None) };
        let way = by_url(url, &self.trust).map_err(|trouble| told(&trouble))?;
        Ok(Some(Client(way)))
    }

    /// The same for a command that otherwise looks at files: `given` says which others were named.
    pub(super) fn instead_of(&self, given: bool) -> Result<Option<Client>, ExitCode> {
        if self.url.is_some() && given {
            complain("error: --url asks a gateway: --config and --store are for the files here");
            return Err(ExitCode::from(WRONG_USAGE));
        }
        self.client()
    }
}

/// What was answered, with success.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn json(&self) -> Result<Value, Trouble> {
        serde_json::from_slice(&self.body).map_err(|_| Trouble::Unexpected)
    }

    /// Prints it as it came, but for what a terminal would act on, which stands there as JSON escapes it.
    pub(super) fn print(&self, out: &mut impl io::Write) -> Result<(), Trouble> {
        let body = std::str::from_utf8(&self.body).map_err(|_| Trouble::Unexpected)?;
        out.write_all(table::neutral_json(body).as_bytes())?;
        Ok(out.write_all(b"\n")?)
    }
}

impl Client {
    fn new(via: &Via) -> Result<Self, ExitCode> {
        if let Some(client) = via.at.client()? {
            return Ok(client);
        }
        Ok(Self(Way::Socket(socket::path(&store_of(via.config.as_deref())?))))
    }

    /// The store whose gateway it asks; `None`: the one at a URL.
    pub(super) fn store(&self) -> Option<&Path> {
        match &self.0 {
            Way::Socket(socket) => socket.parent(),
            Way::Url { .. } => None,
        }
    }

    /// Gets what is at this path.
    pub(super) async fn get(&self, path: &str) -> Result<Reply, Trouble> {
        self.ask(Method::GET, path, None).await
    }

    /// Posts this there.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Reply, Trouble> {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, Trouble> {
        let asked = tokio::time::timeout(TIMEOUT, self.exchange(method, path, body));
        asked.await.unwrap_or(Err(Trouble::TimedOut))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, Trouble> {
        let stream = self.0.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(self.0.request(method, path, body)?).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(Trouble::Answer)?.to_bytes();
        connection.abort();
        if status.is_success() {
            return Ok(Reply { status, body });
        }
        let problem: Option<Value> = serde_json::from_slice(&body).ok();
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
        let detail = detail.map_or_else(|| format!("the answer was {status}"), str::to_owned);
        Err(Trouble::Refused { status, detail })
    }
}

impl Way {
    async fn connect(&self) -> Result<Box<dyn Stream>, Trouble> {
        match self {
            Self::Socket(path) => connect_local(path).await,
            Self::Url { url, trust, .. } => connect_url(url, trust).await,
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, Trouble> {
        let (host, base) = match self {
            Self::Socket(_) => ("localhost", ""),
            Self::Url { url, .. } => (
                url.authority().map_or("", |authority| authority.as_str()),
                url.path().trim_end_matches('/'),
            ),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}{path}"))
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("hookward/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Self::Url { token, .. } = self {
            let shown = [b"Bearer ", token.expose()].concat();
            let mut value = HeaderValue::from_bytes(&shown).map_err(|_| Trouble::Token)?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        Ok(request.body(Full::new(body))?)
    }
}

/// The store that the configuration names. Its secrets are not needed, and may be out of reach here.
pub(super) fn store_of(file: Option<&Path>) -> Result<PathBuf, ExitCode> {
    let file = seam::config_file(file);
    let text = std::fs::read_to_string(&file).ok();
    let read = text.and_then(|text| check_text(&file, &text, &Placeholders).ok());
    match read {
        Some((config, _)) => Ok(config.store.path),
        // Whatever is wrong is told as always.
        None => seam::load_config(Some(&file)).map(|config| config.store.path),
    }
}

fn by_url(url: &Uri, trust: &Trust) -> Result<Way, Trouble> {
    let (Some(scheme), Some(host), None) = (url.scheme_str(), url.host(), url.query()) else {
        return Err(Trouble::Url);
    };
    // A password there would be shown with the URL.
    let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if !matches!(scheme, "http" | "https") || has_user {
        return Err(Trouble::Url);
    }
    if scheme == "http" && trust.is_given() {
        return Err(Trouble::NotTls);
    }
    let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
    let token = Secret::new(token.ok_or(Trouble::NoToken)?.into_bytes());
    let here = bare(host).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    if scheme == "http" && !here && host != "localhost" {
        complain(&format!("warning: the token goes to {host} unencrypted"));
    }
    Ok(Way::Url { url: url.clone(), token, trust: trust.clone() })
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connect_local(path: &Path) -> Result<Box<dyn Stream>, Trouble> {
    if !socket::fits(path) {
        return Err(Trouble::TooLong(path.to_owned()));
    }
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(Trouble::Denied(path.to_owned()))
        }
        // Not there, or left behind by a process that is gone.
        Err(_) => Err(Trouble::NotRunning(path.to_owned())),
    }
}

async fn connect_url(url: &Uri, trust: &Trust) -> Result<Box<dyn Stream>, Trouble> {
    let https = url.scheme_str() == Some("https");
    let host = bare(url.host().unwrap_or_default());
    let port = url.port_u16().unwrap_or(if https { 443 } else { 80 });
    let failed = |source| Trouble::Connect { url: url.to_string(), source };
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    if !https {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Trouble::Url)?;
    let connector = TlsConnector::from(Arc::new(trust.config()?));
    let failed = |source| Trouble::Handshake { url: url.to_string(), source };
    Ok(Box::new(connector.connect(name, stream).await.map_err(failed)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_a_listener() {
        let user = "https://me:hunter2@a/";
        for wrong in ["127.0.0.1:9443", "ftp://a/", "/only/a/path", "http://a/?x=1", user] {
            let url: Uri = wrong.parse().unwrap();
            let Err(said) = by_url(&url, &Trust::default()) else { panic!("{wrong}") };
            assert!(matches!(said, Trouble::Url), "{wrong}");
            assert!(!said.to_string().contains("hunter2"));
        }
        assert_eq!((bare("[::1]"), bare("a.example")), ("::1", "a.example"));
    }
}
