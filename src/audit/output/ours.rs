//! Whether a file that is there already is an output's, by what it holds.

use std::io::{self, Read, Seek, SeekFrom};

use serde_json::Value;

/// Bytes at its end that are looked through: several times the longest line.
const TAIL: u64 = 1 << 20;

/// How lines of either format begin. Of one that a crash has cut off there may be no more.
const BEGINNINGS: [&[u8]; 2] = [b"{\"id\":\"", b"{\"activity_id\":"];

/// Whether nothing is in it, or a line of an output's among the last. Not the very last: a disk that was full
/// for a while, or a power cut, leaves pieces of lines and zeros behind it.
pub(super) fn is(file: &mut (impl Read + Seek), len: u64) -> io::Result<bool> {
    if len == 0 {
        return Ok(true);
    }
    let skipped = len.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(skipped))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    // The first one is a piece of a line where it does not begin the file.
    let lines = tail.split(|byte| *byte == b'\n').skip(usize::from(skipped > 0));
    let is_piece = |last: &[u8]| BEGINNINGS.iter().any(|ours| ours.starts_with(last));
    // What a rotation, or a power cut behind one, has left: nothing of anybody's.
    if skipped == 0 && tail.iter().all(|byte| *byte == 0 || byte.is_ascii_whitespace()) {
        return Ok(true);
    }
    let last = lines.clone().last().filter(|last| !last.is_empty());
    Ok(last.is_some_and(is_piece) || lines.map(without_zeros).any(is_line))
}

fn without_zeros(line: &[u8]) -> &[u8] {
    let begin = line.iter().position(|byte| *byte != 0).unwrap_or(line.len());
    line.get(begin..).unwrap_or_default()
}

fn is_line(line: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return BEGINNINGS.iter().any(|ours| line.starts_with(ours));
    };
    value["sequence"].is_u64() && value["reason"].is_string() || value["class_uid"].is_u64()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::super::chain::{Listed, Record};
    use super::super::message::Message;
    use super::*;
    use crate::config::AuditFormat;

    fn holds(text: &[u8]) -> bool {
        is(&mut Cursor::new(text), text.len() as u64).unwrap()
    }

    #[test]
    fn what_an_output_has_written_is_its_own_however_much_of_it_there_is() {
        for format in [AuditFormat::Json, AuditFormat::Ocsf] {
            let record = Record {
                id: "i".into(),
                time: "2025-01-15T10:30:00.000Z".into(),
                reason: "started".into(),
                count: 1,
                ..Record::default()
            };
            let line =
                Message { listed: Listed { sequence: 7, record }, previous: None }.line(format);
            let line = format!("{line}\n");
            for upto in 0..=line.len() {
                assert!(holds(&line.as_bytes()[..upto]), "{}", &line[..upto]);
            }
            let piece = &line[..line.len() / 2];
            assert!(holds(b"\n\r\n") && holds(&[0; 5000]), "nothing of anybody's");
            for behind in [piece.to_owned(), format!("{piece}\n\n"), "\0".repeat(5000)] {
                assert!(holds(format!("{line}{behind}").as_bytes()), "{behind:?}");
            }
            assert!(holds(format!("{}\n{line}", "x".repeat(2 << 20)).as_bytes()));
        }
    }

    #[test]
    fn what_is_something_else_s_is_told() {
        for text in [
            "root:x:0:0:root:/root:/bin/bash\n",
            "ssh-ed25519 AAAA me@here\n",
            "0123456789abcdef0123456789abcdef",
            "{\"type\":\"service_account\",\"private_key\":\"k\"}",
            "{\n  \"id\": 1\n}\n",
            "{\n  \"id\": 1\n}",
            "[]\n1\n\"a\"\n",
        ] {
            assert!(!holds(text.as_bytes()), "{text:?}");
        }
        assert!(!holds("x".repeat(2 << 20).as_bytes()));
    }
}
