//! The gatekeeper on bytes in memory, whole and cut to pieces.

use proptest::prelude::*;

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\n\r\n\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fn limits() -> HeadLimits {
    HeadLimits::new(1024, 100, 10)
}

/// What became of the bytes that one connection has brought.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// What has passed.
    passed: Vec<u8>,
    heads: u64,
    defect: Option<Defect>,
    mid_head: bool,
}

/// Lets bytes arrive in pieces, as [`super::super::wire`] does.
fn after<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut framing = Framing::new(limits());
    let (mut held, mut passed) = (Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        let length = framing.advance(&held);
        passed.extend(held.drain(..length));
        if !framing.is_open() {
            break;
        }
        assert!(held.len() <= 1024 + 8, "{} bytes are held back", held.len());
        assert!(held.is_empty() || framing.is_at_head(), "a part of a body is held back");
    }
    let defect = framing.bad_head().map(|bad| bad.defect).or(framing.bad_body());
    Outcome { passed, heads: framing.heads(), defect, mid_head: framing.is_mid_head() }
}

fn whole(bytes: impl AsRef<[u8]>) -> Outcome {
    after([bytes.as_ref()])
}

fn head(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")
}

#[test]
fn plain_requests_pass_as_they_are() {
    let bytes =
        [GET, POST, "\r\n", POST, CHUNKED, "2;a=b\r\n\r\n\r\n0\r\nT: u\r\n\r\n", GET].concat();
    let outcome = whole(&bytes);
    assert_eq!(outcome.defect, None);
    assert_eq!((outcome.heads, outcome.mid_head), (5, false));
    assert_eq!(outcome.passed, bytes.as_bytes());
}

#[test]
fn a_head_is_kept_back_until_it_is_complete() {
    let outcome = whole([POST, "GET / HTTP/1.1\r\nHost: a\r\n"].concat());
    assert_eq!(outcome.passed, POST.as_bytes());
    assert_eq!((outcome.heads, outcome.mid_head), (1, true));
    // Line breaks are none yet.
    let outcome = whole([POST, "\r\n\r"].concat());
    assert_eq!((outcome.heads, outcome.mid_head), (1, false));
}

#[test]
fn nothing_passes_from_a_defective_head_on() {
    let outcome = whole([POST, &head("Content-Length: 1, 1"), GET].concat());
    assert_eq!(outcome.passed, POST.as_bytes());
    assert_eq!((outcome.heads, outcome.defect), (2, Some(Defect::RepeatedLength)));
}

#[test]
fn the_first_defect_is_the_one_that_is_told() {
    for (fields, defect) in [
        ("Content-Length: 2\r\nTransfer-Encoding: chunked", Defect::LengthAndEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 2", Defect::LengthAndEncoding),
        ("Content-Length: 2\r\nContent-Length: 2", Defect::RepeatedLength),
        ("content-length: 2, 2", Defect::RepeatedLength),
        ("Content-Length: +2", Defect::BadLength),
        ("Content-Length:", Defect::BadLength),
        ("Content-Length: 18446744073709551614", Defect::BadLength),
        ("Content-Length: 000000000000000000002", Defect::BadLength),
        ("Transfer-Encoding: gzip, chunked", Defect::BadEncoding),
        ("Transfer-Encoding: chunked\r\nTRANSFER-ENCODING: chunked", Defect::BadEncoding),
        ("X: a\nContent-Length: 2", Defect::BareLf),
        ("X: a\rb", Defect::BareCr),
        ("X : a\rb", Defect::BareCr),
        (": a", Defect::FieldName),
        ("X", Defect::FieldName),
        ("X: a\r\n b", Defect::Folded),
        ("Host: a", Defect::RepeatedHost),
    ] {
        let outcome = whole(head(fields));
        assert_eq!((outcome.defect, outcome.heads), (Some(defect), 1), "{fields:?}");
        assert_eq!(outcome.passed, b"", "{fields:?}");
    }
}

#[test]
fn limits_are_met_and_not_exceeded() {
    let request = |target: usize, value: usize, fields: usize| {
        let target = "a".repeat(target - 1);
        let start =
            format!("GET /{target} HTTP/1.1\r\nHost: a\r\n{}X: ", "b:\r\n".repeat(fields - 2));
        let value = "c".repeat(value - start.len() - 4);
        format!("\r\n{start}{value}\r\n\r\n")
    };
    assert_eq!(whole(request(100, 1024, 10)).defect, None);
    assert_eq!(whole(request(101, 1024, 10)).defect, Some(Defect::LongTarget));
    assert_eq!(whole(request(100, 1025, 10)).defect, Some(Defect::LongHead));
    assert_eq!(whole(request(100, 1024, 11)).defect, Some(Defect::ManyFields));
    // What has no end is given up as early.
    assert_eq!(whole(format!("GET /{}", "a".repeat(200))).defect, Some(Defect::LongTarget));
    assert_eq!(
        whole(format!("{}X: {}", head("Y: z").trim_end(), "a".repeat(1024))).defect,
        Some(Defect::LongHead)
    );
}

#[test]
fn a_first_byte_that_begins_no_method_is_enough() {
    for (first, defect) in [
        // One byte could be either.
        (b"\x16".as_slice(), None),
        (b"\x16\x03", Some(Defect::Tls)),
        (b"\x16\x01", Some(Defect::Method)),
        (b"{", Some(Defect::Method)),
        (b" ", Some(Defect::Method)),
        (b"\n", Some(Defect::BareLf)),
        (b"\r\n\n", Some(Defect::BareLf)),
        (b"G", None),
        (b"\r", None),
    ] {
        assert_eq!(whole(first).defect, defect, "{first:?}");
    }
}

#[test]
fn a_chunked_body_passes_up_to_its_defect() {
    for (good, bad, defect) in [
        ("", "\r\n", Defect::ChunkSize),
        ("", "+2\r\n", Defect::ChunkSize),
        ("", " 2\r\n", Defect::ChunkSize),
        ("2", "g\r\n", Defect::ChunkSize),
        ("0", "x2\r\n", Defect::ChunkSize),
        ("2", "\nab", Defect::ChunkSize),
        ("2\r", "ab", Defect::ChunkSize),
        ("0000000000000002", "0\r\n", Defect::ChunkSize),
        ("2 ", "\r\n", Defect::ChunkExtension),
        ("2 ", "2\r\n", Defect::ChunkExtension),
        ("2;", "\r\n", Defect::ChunkExtension),
        ("2;a=", "\r\n", Defect::ChunkExtension),
        ("2;a ", "\r\n", Defect::ChunkExtension),
        ("2;a=\"b", "\r\n", Defect::ChunkExtension),
        ("2;a=\"b\"", "c\r\n", Defect::ChunkExtension),
        ("2;a", "\n", Defect::ChunkExtension),
        ("2\r\nab", "c\r\n", Defect::ChunkEnd),
        ("2\r\nab\r", "\r", Defect::ChunkEnd),
        ("2\r\nab", "\n", Defect::ChunkEnd),
        ("0\r\n", "\n", Defect::Trailer),
        ("0\r\n", " a: b", Defect::Trailer),
        ("0\r\n", ": b", Defect::Trailer),
        ("0\r\na", " : b", Defect::Trailer),
        ("0\r\na: b", "\n", Defect::Trailer),
        ("0\r\na: b", "\0", Defect::Trailer),
        ("0\r\na: b\r", "c", Defect::Trailer),
        ("0\r\na: b\r\n", "\tc", Defect::Trailer),
        ("0\r\n\r", "\r", Defect::Trailer),
    ] {
        let outcome = whole([CHUNKED, good, bad].concat());
        assert_eq!(outcome.defect, Some(defect), "{good:?} {bad:?}");
        assert_eq!(outcome.passed, [CHUNKED, good].concat().as_bytes(), "{good:?} {bad:?}");
    }
}

#[test]
fn a_chunked_body_that_is_well_formed_passes() {
    for body in [
        "0\r\n\r\n",
        "000\r\n\r\n",
        "a\r\n0123456789\r\n0\r\n\r\n",
        "A\r\n0123456789\r\n0\r\n\r\n",
        "0000000000000001\r\na\r\n0\r\n\r\n",
        "1;a\r\nb\r\n0;c\r\n\r\n",
        "1 ; a = b ;c=\"d \\\" ; \u{e4}\"\r\ne\r\n0\r\n\r\n",
        "0\r\na:\r\nb: \tc\u{e4} \r\n\r\n",
    ] {
        let bytes = [CHUNKED, body, GET].concat();
        let outcome = whole(&bytes);
        assert_eq!((outcome.defect, outcome.heads), (None, 2), "{body:?}");
        assert_eq!(outcome.passed, bytes.as_bytes(), "{body:?}");
    }
}

#[test]
fn what_surrounds_chunks_is_bounded() {
    let long = "a".repeat(1023);
    let line = format!("1;{long}\r\nb\r\n");
    assert_eq!(whole(format!("{CHUNKED}{line}0\r\n\r\n")).defect, None);
    for (body, defect) in [
        (format!("1;{long}a\r\n"), Defect::ChunkExtension),
        (line.repeat(9), Defect::ChunkExtension),
        (format!("0\r\na: {}\r\n", "b".repeat(8 << 10)), Defect::LongTrailers),
        (format!("0\r\n{}", "a: b\r\n".repeat(11)), Defect::LongTrailers),
    ] {
        assert_eq!(whole(format!("{CHUNKED}{body}")).defect, Some(defect));
    }
}

#[test]
fn a_head_that_is_given_up_is_a_defective_one() {
    let begun = b"POST /a HTTP/1.1\r\nUser-Agent: b\r\nHo";
    let mut framing = Framing::new(limits());
    framing.give_up(b"");
    assert!(framing.is_open(), "nothing has begun");
    assert_eq!(framing.advance(begun), 0);
    framing.give_up(begun);
    let bad = framing.bad_head().unwrap();
    assert_eq!((bad.defect, &*bad.method, &*bad.path), (Defect::LateHead, "POST", "/a"));
    assert_eq!(bad.user_agent, b"b");
    assert_eq!((framing.heads(), framing.advance(begun)), (1, 0));
}

/// What connections are made of: right, wrong, and in any order.
const PARTS: [&str; 44] = [
    GET,
    POST,
    CHUNKED,
    "GET / HTTP/1.1\r\n",
    "POST http://a/b?c HTTP/1.1\r\n",
    "GET / HTTP/1.0\r\n",
    "PRI * HTTP/2.0\r\n",
    "GET /",
    " HTTP/1.1",
    "Host: a\r\n",
    "Host: b",
    "Content-Length: 3\r\n",
    "content-length:0",
    "Transfer-Encoding: chunked\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: x\r\n",
    "X-Y: z\r\n",
    "X: \u{e4}\t \r\n",
    "\r\n",
    "\r\n\r\n",
    "\r",
    "\n",
    " ",
    "\t",
    "\0",
    ":",
    ";",
    "#",
    "1\r\na\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "3;a=\"b\"\r\nabc\r\n",
    "a",
    "A",
    "/",
    "10",
    "-",
    "\"",
    "\u{e4}",
    "T: u\r\n",
    "0;",
    "ffffffffffffffff",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
];

fn connections() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&PARTS[..]), 1..40)
        .prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn where_the_bytes_are_cut_makes_no_difference(
        bytes in connections(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let expected = whole(&bytes);
        prop_assert_eq!(&after(bytes.chunks(1)), &expected);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        prop_assert_eq!(&after(cuts.windows(2).map(|at| &bytes[at[0]..at[1]])), &expected);
    }

    #[test]
    fn what_passes_is_a_beginning_of_what_came(bytes in connections()) {
        let outcome = whole(&bytes);
        prop_assert!(bytes.starts_with(&outcome.passed));
        prop_assert!(outcome.defect.is_some() || outcome.mid_head || bytes.len() - outcome.passed.len() < 10);
    }
}
