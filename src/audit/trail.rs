//! The running gateway's hold on the trail of operators' acts: what could not be recorded once it was
//! done is owed, and nothing more is done until it is paid.

use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;
use serde::Serialize;

use super::act::{Acts, Operator};

/// The acts of one store.
#[derive(Debug)]
pub struct Trail {
    store: PathBuf,
    /// Records of what was done, and could not be written. As many as there were acts in hand at most.
    owed: Mutex<Vec<Vec<u8>>>,
}

impl Trail {
    /// The trail of the store in this directory.
    pub fn new(store: PathBuf) -> Self {
        Self { store, owed: Mutex::default() }
    }

    /// Makes sure that what this operator is about to do can be recorded, and writes first what is
    /// owed. Blocks.
    ///
    /// # Errors
    /// As the file system says: then nothing may be done that has to be recorded.
    pub fn open(&self, operator: Operator) -> io::Result<Acts> {
        let acts = Acts::of(&self.store, operator)?;
        let owed = std::mem::take(&mut *self.owed.lock());
        let mut left = owed.into_iter();
        while let Some(line) = left.next() {
            if let Err(error) = acts.write(&line) {
                self.owed.lock().extend(std::iter::once(line).chain(left));
                return Err(error);
            }
        }
        Ok(acts)
    }

    /// Records what was done. If that fails it is told, and owed. Blocks. Whether it was written.
    pub fn done(&self, acts: &Acts, reason: &'static str, details: &impl Serialize) -> bool {
        let line = match acts.line(reason, details) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(target: "hookward::audit", reason, %error, "an act cannot be recorded");
                return false;
            }
        };
        let Err(error) = acts.write(&line) else { return true };
        tracing::error!(
            target: "hookward::audit",
            reason, %error, file = %acts.path().display(),
            "an act was done and cannot be recorded yet; no further one is until it is"
        );
        self.owed.lock().push(line);
        false
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::{Value, json};

    use super::*;

    fn operator() -> Operator {
        Operator { who: "alice".into(), peer: "192.0.2.1".into() }
    }

    fn lines(dir: &std::path::Path) -> usize {
        std::fs::read_to_string(dir.join("audit/acts.jsonl")).unwrap().lines().count()
    }

    #[test]
    fn what_is_owed_is_written_before_anything_else_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let trail = Trail::new(dir.path().to_owned());
        let acts = trail.open(operator()).unwrap();
        assert!(trail.done(&acts, "replayed", &json!({ "event": 1 })));
        trail.owed.lock().push(acts.line("replayed", &json!({ "event": 2 })).unwrap());
        assert_eq!(lines(dir.path()), 1);
        trail.open(operator()).unwrap();
        trail.open(operator()).unwrap();
        assert_eq!(lines(dir.path()), 2);
    }

    /// The disk had taken half a line. What was owed was written straight behind it, and neither could be
    /// read: nobody knew who had done what.
    #[test]
    fn what_is_owed_stands_on_a_line_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let trail = Trail::new(dir.path().to_owned());
        let acts = trail.open(operator()).unwrap();
        assert!(trail.done(&acts, "replayed", &json!({ "event": 1 })));
        let line = acts.line("replayed", &json!({ "event": 2 })).unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).open(acts.path()).unwrap();
        file.write_all(&line[..20]).unwrap();
        trail.owed.lock().push(line);
        trail.open(operator()).unwrap();
        let text = std::fs::read_to_string(acts.path()).unwrap();
        let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        assert_eq!(whole.map(|line| line["event"].clone()).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn without_a_place_to_record_it_nothing_is_begun() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("audit"), "no directory").unwrap();
        assert!(Trail::new(dir.path().to_owned()).open(operator()).is_err());
    }
}
