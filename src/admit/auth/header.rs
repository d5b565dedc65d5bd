//! Credential headers: there is exactly one, and all of it is printable ASCII.

use http::{HeaderMap, HeaderName};

use crate::admit::Refusal;

/// What to say when a credential header is not as it must be.
pub(super) struct Faults {
    pub(super) missing: Refusal,
    pub(super) repeated: Refusal,
    /// It has bytes outside 0x20 to 0x7e.
    pub(super) unprintable: Refusal,
}

/// The value of the only header of this name.
pub(super) fn exactly_one<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    faults: &Faults,
) -> Result<&'h str, Refusal> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(faults.missing)?;
    if values.next().is_some() {
        return Err(faults.repeated);
    }
    // `to_str` lets tabs through besides.
    let text = value.to_str().map_err(|_| faults.unprintable)?;
    if text.contains('\t') { Err(faults.unprintable) } else { Ok(text) }
}
