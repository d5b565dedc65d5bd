use bytes::Bytes;
use http::HeaderValue;

use super::*;
use crate::delivery::tests::{event, header, upstream};

fn excerpt_of(kind: Option<&'static str>, answer: &[u8], body: &str) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.extend(kind.map(|kind| (CONTENT_TYPE, HeaderValue::from_static(kind))));
    let event = StoredEvent { body: Bytes::copy_from_slice(body.as_bytes()), ..event() };
    let mut upstream = upstream("http://127.0.0.1:9/hook?key=pst9&x=1");
    upstream.headers.extend([header("authorization", "Bearer hush")]);
    upstream.signing_keys = vec![crate::secret::Secret::new(b"sign me".to_vec())];
    let whole = answer.len() <= BYTES;
    let read = &answer[..answer.len().min(BYTES)];
    of(&headers, read, whole, &event, &upstream).map(String::from)
}

fn excerpt(answer: &str, body: &str) -> String {
    excerpt_of(Some("text/plain"), answer.as_bytes(), body).unwrap_or_default()
}

#[test]
fn what_the_event_says_is_left_out_and_the_rest_is_kept() {
    let body = r#"{"name":"Jane M\u00fcller","mrn":1234567,"dob":"1980-02-03","note":"see O'Hara \"Al Bo\"","dose":12.75}"#;
    for (answer, shown) in [
        ("no column named shipped_at", "no column named shipped_at"),
        ("patient Jane Müller unknown", "patient … unknown"),
        ("patient JANE is unknown", "patient … is unknown"),
        (r#"{"error":"bad name Jane M\u00fcller"}"#, r#"{"error":"bad name …"}"#),
        ("mrn=1234567x", "mrn=…x"),
        ("born 1980-02-03, dose 12.75 mg", "born …, dose … mg"),
        ("O'Hara is not a doctor", "O'… is not a doctor"),
        // In JSON within JSON, and as Python shows bytes.
        (
            r#"{"error":"cannot take {\"name\":\"Jane M\\u00fcller\"}"}"#,
            r#"{"error":"cannot take {"name":"…"}"}"#,
        ),
        (r"KeyError: 'Jane M\xfcller'", "KeyError: '…'"),
    ] {
        assert_eq!(excerpt(answer, body), shown, "{answer}");
    }
}

#[test]
fn what_looks_like_a_secret_or_identifies_somebody_is_left_out() {
    for (answer, shown) in [
        ("write to jane@example.org, please", "write to …, please"),
        ("Authorization: Bearer abc", "Authorization: … …"),
        ("password=letmein; user=app", "password=…; user=app"),
        ("{\"api_key\": \"short\"}", "{\"api_key\": \"…\"}"),
        ("{\"token\":\"short\"}", "{\"token\":\"…\"}"),
        ("key 0123456789abcdef is wrong", "key … is wrong"),
        ("aGVsbG8gd29ybGQgaGVsbG8gd29ybGQg", "…"),
        ("call 555-123-4567 or 12345, within 24 hours", "call … or …, within 24 hours"),
        ("status 502 at line 17", "status 502 at line 17"),
        ("the header says hush, and sign me", "the header says …, and …"),
        ("Cannot POST /hook?key=pst9&x=1", "Cannot POST /hook?key=…&x=1"),
    ] {
        assert_eq!(excerpt(answer, "{}"), shown, "{answer}");
    }
}

#[test]
fn it_is_short_printable_text_or_nothing() {
    assert_eq!(excerpt("a\u{1b}[31mb\u{202e}c\r\nd", "{}"), "a\\u{1b}[31mb\\u{202e}c  d");
    assert_eq!(excerpt(&"no ".repeat(200), "{}").chars().count(), 256);
    assert_eq!(excerpt(&"no ".repeat(4000), "{}").chars().count(), 256);
    assert_eq!(excerpt(&"ä".repeat(4000), "{}"), "", "a word without an end");
    let image = Some("image/png");
    assert_eq!(excerpt_of(image, b"text", "{}"), None);
    assert_eq!(excerpt_of(Some("application/problem+json"), b"{}", "{}"), Some("{}".to_owned()));
    assert_eq!(excerpt_of(None, b"oh", "{}"), Some("oh".to_owned()));
    assert_eq!(excerpt_of(None, b"\xff\xfe", "{}"), None);
    assert_eq!(excerpt_of(None, b"  ", "{}"), None);
}

/// A string of the event that an answer repeats in any way must not come out, wherever it stands.
#[test]
fn no_string_of_the_event_comes_out() {
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let word = |rng: &mut fastrand::Rng| -> String {
            (0..rng.usize(4..12))
                .map(|_| rng.choice(['a', 'b', 'c', 'F', ' ', 'Ü', '-', '\'', '7']).unwrap())
                .collect()
        };
        let said: Vec<String> = (0..3).map(|_| word(&mut rng)).collect();
        let body = serde_json::to_string(&said).unwrap();
        let echoed = said[rng.usize(..3)].clone();
        let answer = match rng.u8(..3) {
            0 => format!("no {echoed}!"),
            1 => serde_json::to_string(&[&echoed]).unwrap(),
            _ => format!("x{}y", echoed.to_uppercase()),
        };
        let shown = excerpt(&answer, &body);
        let folded: String = shown.chars().map(event::fold).collect();
        let secret: String = echoed.trim().chars().map(event::fold).collect();
        assert!(secret.len() < 4 || !folded.contains(&secret), "{answer} of {body}: {shown}");
    }
}

/// What stands in `text` of these strings and their words, found without anything that is quick.
fn plainly(text: &Text, said: &[&str]) -> Vec<bool> {
    let mut hidden = vec![false; text.chars.len()];
    let all = 0..text.chars.len();
    let ranges =
        all.clone().flat_map(|from| (from + 4..=all.end.min(from + 64)).map(move |to| from..to));
    for range in ranges {
        if said.contains(&text.folded(&range)) {
            fill(&mut hidden, range);
        }
    }
    let is_word = |word: &&str| word.chars().count() >= 4;
    let words = said.iter().flat_map(|said| said.split(|c: char| !c.is_alphanumeric()));
    let words: Vec<&str> = words.filter(is_word).collect();
    for run in text.runs(char::is_alphanumeric) {
        if words.contains(&text.folded(&run)) {
            fill(&mut hidden, run);
        }
    }
    hidden
}

#[test]
fn the_quick_way_finds_what_a_plain_one_does() {
    let mut rng = fastrand::Rng::with_seed(7);
    for round in 0..300 {
        let signs = ['a', 'A', 'b', 'ü', ' ', '-', '€'];
        let mut some = |most: usize| -> String {
            (0..rng.usize(..most)).map(|_| signs[rng.usize(..signs.len())]).collect()
        };
        let mut text = Text::new(some(90).chars().collect());
        let said: Vec<String> = (0..12).map(|n| some(if n < 9 { 8 } else { 90 })).collect();
        let folded: Vec<String> =
            said.iter().map(|said| said.chars().map(event::fold).collect()).collect();
        let folded: Vec<&str> = folded.iter().map(String::as_str).collect();
        let wanted = plainly(&text, &folded);
        text.hide_known(serde_json::to_string(&said).unwrap().as_bytes());
        assert_eq!(text.hidden, wanted, "{round}: {said:?} in {:?}", text.folded);
    }
}
