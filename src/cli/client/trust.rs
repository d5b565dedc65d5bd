//! TLS to the admin listener: whom to believe, and what to show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::Trouble;
use crate::pem::{self, PemError};

/// What `https` needs beside the URL.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Trust {
    /// With --url https://…: believe the certificates of this PEM file, and not the platform's roots
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,

    /// With --url https://…: show the client certificate in this PEM file, with its --key
    #[arg(long, value_name = "FILE", requires_all = ["url", "key"])]
    cert: Option<PathBuf>,

    /// The PEM file of the client certificate's key
    #[arg(long, value_name = "FILE", requires_all = ["url", "cert"])]
    key: Option<PathBuf>,
}

impl Trust {
    /// Whether anything of it was asked for.
    pub(super) fn is_given(&self) -> bool {
        self.ca.is_some() || self.cert.is_some() || self.key.is_some()
    }

    /// The client's side of TLS.
    pub(super) fn config(&self) -> Result<ClientConfig, Trouble> {
        let roots = match &self.ca {
            Some(path) => read(path, pem::roots)?,
            None => platform()?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = versions.map_err(|error| Trouble::Tls(error.to_string()))?;
        let config = config.with_root_certificates(roots);
        Ok(match self.own()? {
            Some(own) => config.with_client_cert_resolver(own),
            None => config.with_no_client_auth(),
        })
    }

    /// The client's own certificate.
    fn own(&self) -> Result<Option<Arc<dyn ResolvesClientCert>>, Trouble> {
        let Some((cert, key)) = self.cert.as_deref().zip(self.key.as_deref()) else {
            return Ok(None);
        };
        let chain = read(cert, |pem| pem::certificates(pem, pem::MAX_CHAIN))?;
        let der = read(key, pem::private_key)?;
        let own = pem::certified(chain, &der).map_err(|error| Trouble::pem(cert, error))?;
        Ok(Some(Arc::new(SingleCertAndKey::from(own))))
    }
}

fn read<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, PemError>) -> Result<T, Trouble> {
    let parsed = pem::read(path).and_then(|pem| parse(&pem));
    parsed.map_err(|error| Trouble::pem(path, error))
}

fn platform() -> Result<RootCertStore, Trouble> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let what = "the platform has no root certificates; --ca names a file of them";
        return Err(Trouble::Tls(what.to_owned()));
    }
    Ok(roots)
}
