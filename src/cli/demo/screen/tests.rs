use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::cli::demo::outage;
use crate::cli::demo::story::tests::{Fault, story};

/// An output that can be read afterwards.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All that is printed about the story with this gateway, and the verdict.
async fn printed(fault: Fault, colour: bool) -> (String, bool) {
    let paper = Paper::default();
    let mut screen = Screen { out: Box::new(paper.clone()), colour };
    let addr = "127.0.0.1:65535".parse().unwrap();
    screen.opening(addr, addr).unwrap();
    let story = story(fault).await;
    screen.table(&story).unwrap();
    screen.arrival(story.showpiece()).unwrap();
    let verdict = screen.verdict(&story).unwrap();
    let text = String::from_utf8(paper.0.lock().clone()).unwrap();
    (text, verdict)
}

#[tokio::test]
async fn fits_a_hundred_plain_columns() {
    let (text, verdict) = printed(Fault::None, false).await;
    println!("{text}");
    assert!(verdict);
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        assert!(!line.contains('\x1b') && line.trim_end() == line, "{line:?}");
    }
    let row = "  novamed  order:shipped                  200     200     401       403  once";
    assert!(text.lines().any(|line| line == row), "{text}");
    assert!(text.contains("100 of 100 requests answered as expected, 25 of 25 events"), "{text}");
    assert!(text.contains("\"type\": \"drx.waiting.bin\""), "{text}");
}

#[tokio::test]
async fn says_what_differed() {
    let (text, verdict) = printed(Fault::LetsEverybodyIn, false).await;
    assert!(!verdict);
    assert!(text.contains("50 of 100 requests answered as expected"), "{text}");
    assert!(text.contains("forged: expected 401, got 200 OK"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[tokio::test]
async fn colours_change_the_looks_and_nothing_else() {
    let (plain, _) = printed(Fault::None, false).await;
    let (coloured, _) = printed(Fault::None, true).await;
    let table = |text: &str| text.lines().skip(6).take(20).collect::<Vec<_>>().join("\n");
    assert!(coloured.contains("\x1b[32m  200\x1b[0m"));
    let mut stripped = table(&coloured);
    for look in [1, 2, 31, 32, 36, 0] {
        stripped = stripped.replace(&format!("\x1b[{look}m"), "");
    }
    assert_eq!(stripped, table(&plain));
}

#[test]
fn long_lines_are_cut() {
    assert_eq!(cut("abcdef", 6), "abcdef");
    assert_eq!(cut("abcdefg", 6), "abc...");
}

/// What is printed about a day of outages, and the verdict.
fn printed_day(day: &outage::Day) -> (String, bool) {
    let paper = Paper::default();
    let mut screen = Screen { out: Box::new(paper.clone()), colour: false };
    let verdict = screen.outage(day).unwrap();
    let text = String::from_utf8(paper.0.lock().clone()).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    (text, verdict)
}

#[test]
fn a_day_of_outages_is_told_with_what_was_lost() {
    let (text, verdict) = printed_day(&outage::tests::good_day());
    assert!(verdict);
    let row = "  novamed   81m                 3        1      1         1           2";
    assert!(text.lines().any(|line| line == row), "{text}");
    assert!(text.contains("    novamed  sent at 13:00\n"), "{text}");
    assert!(text.contains("down from 12:00 to 15:00."), "{text}");
    assert!(text.contains("2 events acknowledged, 2 of them in the app exactly once; 1 given up"));
}

#[test]
fn a_day_that_lost_what_was_acknowledged_says_so() {
    let (text, verdict) = printed_day(&outage::tests::day(13, &[]));
    assert!(!verdict);
    assert!(text.contains("2 events acknowledged, 0 of them in the app exactly once"), "{text}");
    assert!(
        text.contains("    novamed: a of 05:00, acknowledged, is in the app 0 times\n"),
        "{text}"
    );
}
