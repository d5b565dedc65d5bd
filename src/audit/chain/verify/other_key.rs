//! A trail that the key it is verified with has not signed at all: another installation's, or the wrong key was
//! given. That is one thing that is wrong with it, and not one at each checkpoint.

use std::io;
use std::path::Path;

use super::super::bytes;
use super::super::keys::PublicKey;
use super::super::open::checkpoint;
use super::Break;
use crate::store::disk::Disk;

/// So many other keys are named.
const NAMED: usize = 3;
/// Hexadecimal digits of a key's id.
const ID: usize = 16;

/// Which keys have signed a trail, as its own checkpoints say: nobody has verified that.
#[derive(Default)]
struct Said {
    ids: Vec<String>,
    more: bool,
    /// The first segment with a record, and that record's number.
    first: Option<(u32, u64)>,
}

/// What is wrong with a trail in these segments if its checkpoints are other keys', and none is signed by `key`.
pub(super) fn whole_trail(
    disk: &dyn Disk,
    dir: &Path,
    numbers: &[u32],
    key: &PublicKey,
) -> io::Result<Option<Break>> {
    let mut said = Said::default();
    for number in numbers {
        let segment = bytes::load(disk, dir, *number)?;
        for frame in bytes::frames(&segment) {
            said.first.get_or_insert((*number, frame.sequence.0));
            let Some(checkpoint) = checkpoint(&frame) else { continue };
            if checkpoint.is_signed_by(key) {
                return Ok(None);
            }
            if checkpoint.key != key.id() {
                said.add(checkpoint.key);
            }
        }
    }
    Ok(said.told(key))
}

impl Said {
    fn add(&mut self, id: String) {
        // Whoever can write there can write anything: what is no id is not repeated.
        let is_id = id.len() == ID && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_id || self.ids.contains(&id) {
            return;
        }
        if self.ids.len() < NAMED {
            self.ids.push(id);
        } else {
            self.more = true;
        }
    }

    fn told(self, key: &PublicKey) -> Option<Break> {
        let (segment, sequence) = self.first?;
        let whose = match self.ids.as_slice() {
            [] => return None,
            [id] => format!("the key {id} has"),
            ids => format!(
                "the keys {}{} have",
                ids.join(", "),
                if self.more { " and more" } else { "" }
            ),
        };
        let message = format!(
            "the trail is not signed with this key: by its own checkpoints {whose} signed it, and it is verified with the key {}. It is another installation's, or the wrong key was given",
            key.id()
        );
        Some(Break { kind: "other_key", segment, offset: 0, sequence, message })
    }
}
