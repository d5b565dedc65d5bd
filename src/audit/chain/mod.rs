//! The audit trail on disk: records in segments under `PATH/audit`, each chained to the one before by
//! SHA-256, with checkpoints that are signed. See docs/storage-format.md for the bytes.
//!
//! One thread writes (`writer`), out of a bounded queue (`queue`) that never holds a request up. What is
//! read needs no lock and no key (`read`, `verify`): whoever has a copy of the files and the public key
//! can tell whether they are what was written.

mod believed;
mod bytes;
mod checkpoint;
mod elsewhere;
mod entry;
pub mod filter;
mod intake;
mod keys;
mod open;
mod opening;
mod options;
mod ours;
mod parts;
mod queue;
mod read;
mod record;
mod resume;
mod retain;
mod tail;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use self::bytes::DIR;
pub use self::checkpoint::Checkpoint;
pub use self::entry::{Own, Sum};
pub use self::filter::Filter;
pub use self::keys::{BadKey, Fingerprinted, PublicKey};
pub use self::options::{Elsewhere, Newest, Options, Retention};
pub(super) use self::queue::new_id;
pub use self::queue::{Chain, Running, StartError, Status};
pub use self::read::{Damage, Listed, Page, Reader};
pub use self::record::{Record, Shown};
pub use self::tail::{Item, Known, Mark, Piece, Tail};
pub(crate) use self::verify::verify_segment;
pub use self::verify::{Break, End, Report, TakenOver, Unverifiable, Vouched, verify};
