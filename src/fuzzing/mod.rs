//! What the fuzz targets call, and the tests that run their committed corpus: parsers that meet
//! bytes from outside, each with the properties that must hold whatever comes in. Not part of the
//! library's interface.

mod address;
mod connection;
mod evidence;
mod journal;
mod request;

pub use address::{forwarded, proxy_header};
pub use connection::InMemory;
pub use evidence::{capture, trail};
pub use journal::journal;
pub use request::*;

/// A configuration: any text is checked or refused with problems that have a place, never a panic.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = std::path::Path::new("hookward.toml");
    let checked = crate::config::check_text(file, text, &crate::config::Placeholders);
    if let Err(invalid) = checked {
        assert!(!invalid.problems.is_empty(), "refused without a reason");
    }
}
