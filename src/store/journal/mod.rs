//! The journal: append-only segment files of checksummed frames. It is the truth; everything else
//! in the store can be made again from it.

pub mod act;
pub mod files;
pub mod frame;
pub mod head;
mod headers;
pub mod input;
pub mod preamble;
pub mod presence;
pub mod record;
pub mod segment;
pub mod writer;
