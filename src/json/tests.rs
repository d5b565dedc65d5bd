use proptest::prelude::*;

use super::*;

fn parse(text: &[u8]) -> Result<(), Malformed> {
    Document::parse(text).map(drop)
}

fn nested(depth: usize, open: &str, inner: &str, close: &str) -> String {
    open.repeat(depth) + inner + &close.repeat(depth)
}

#[test]
fn accepts_every_json_text_that_is_i_json() {
    for text in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-1",
        "10",
        "120",
        "0.5",
        "-0.5",
        "1.25",
        "0e0",
        "1e5",
        "1E5",
        "1e+5",
        "1e-5",
        "1.5E+10",
        "1e400",
        "123456789012345678901234567890",
        "0.00000000001",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[1]",
        "[1,2]",
        "[ 1 , 2 ]",
        "[[],[[]],{}]",
        "[null,true,false]",
        r#""""#,
        r#""a""#,
        r#"{"a":1}"#,
        r#"{"":1}"#,
        r#"{"a":{"a":{"a":1}}}"#,
        r#"{"a":1,"A":2}"#,
        r#"[{"a":1},{"a":2}]"#,
        r#"{"a":{"b":1},"b":{"a":1}}"#,
        " \t\r\n1 \t\r\n",
        " { \"a\" : [ 1 ] } ",
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\u0000""#,
        r#""\u00e9\u00E9""#,
        r#""\ud83d\ude00""#,
        r#""\uD83D\uDE00""#,
        r#""\uffff""#,
        "\"\u{e9}\"",
        "\"\u{1f600}\"",
        "\"\u{7f}\"",
        "\"\u{2028}\u{2029}\"",
        "\"\u{ffff}\"",
        "\"a\u{feff}\"",
        r#""'""#,
        r#""12345678\n12345678""#,
    ] {
        assert_eq!(parse(text.as_bytes()), Ok(()), "{text:?}");
    }
}

#[test]
fn refuses_what_is_not_json() {
    use Malformed::*;
    for (text, why) in [
        ("", Empty),
        (" \r\n\t", Empty),
        ("nul", Truncated),
        ("tru", Truncated),
        ("nulx", UnexpectedByte),
        ("True", UnexpectedByte),
        ("NaN", UnexpectedByte),
        ("Infinity", UnexpectedByte),
        ("-Infinity", InvalidNumber),
        ("undefined", UnexpectedByte),
        ("truetrue", TrailingData),
        ("nullx", TrailingData),
        ("-", InvalidNumber),
        ("--1", InvalidNumber),
        ("+1", UnexpectedByte),
        ("01", TrailingData),
        ("-01", TrailingData),
        ("00", TrailingData),
        ("[01]", UnexpectedByte),
        ("1.", InvalidNumber),
        (".5", UnexpectedByte),
        ("-.5", InvalidNumber),
        ("1.e1", InvalidNumber),
        ("1e", InvalidNumber),
        ("1e+", InvalidNumber),
        ("1E-", InvalidNumber),
        ("1ee1", InvalidNumber),
        ("1e1.5", TrailingData),
        ("0x10", TrailingData),
        ("1_000", TrailingData),
        ("1 2", TrailingData),
        ("1,", TrailingData),
        ("\u{ff11}", UnexpectedByte),
        ("[", Truncated),
        ("[1", Truncated),
        ("[1,", Truncated),
        ("]", UnexpectedByte),
        ("[1}", UnexpectedByte),
        ("[,]", UnexpectedByte),
        ("[1,]", UnexpectedByte),
        ("[,1]", UnexpectedByte),
        ("[1,,2]", UnexpectedByte),
        ("[1 2]", UnexpectedByte),
        ("[1:2]", UnexpectedByte),
        ("[]]", TrailingData),
        ("[][]", TrailingData),
        ("{", Truncated),
        ("{\"a\"", Truncated),
        ("{\"a\":", Truncated),
        ("{\"a\":1", Truncated),
        ("{\"a\":1,", Truncated),
        ("}", UnexpectedByte),
        ("{\"a\":1]", UnexpectedByte),
        ("{,}", UnexpectedByte),
        ("{\"a\":1,}", UnexpectedByte),
        ("{\"a\"}", UnexpectedByte),
        ("{\"a\" 1}", UnexpectedByte),
        ("{\"a\"::1}", UnexpectedByte),
        ("{a:1}", UnexpectedByte),
        ("{'a':1}", UnexpectedByte),
        ("{1:1}", UnexpectedByte),
        ("{\"a\":1 \"b\":2}", UnexpectedByte),
        ("{\"a\":}", UnexpectedByte),
        ("{null:1}", UnexpectedByte),
        ("{}}", TrailingData),
        ("{} x", TrailingData),
        ("{}#c", TrailingData),
        ("\"", Truncated),
        ("\"a", Truncated),
        ("\"\\\"", Truncated),
        ("\"\\", Truncated),
        ("'a'", UnexpectedByte),
        ("a", UnexpectedByte),
        ("\"\n\"", ControlCharacter),
        ("\"\t\"", ControlCharacter),
        ("\"\0\"", ControlCharacter),
        ("\"abcdefgh\u{1f}\"", ControlCharacter),
        ("\"\\x41\"", InvalidEscape),
        ("\"\\'\"", InvalidEscape),
        ("\"\\U0041\"", InvalidEscape),
        ("\"\\a\"", InvalidEscape),
        ("\"\\ \"", InvalidEscape),
        ("\"\\u\"", Truncated),
        ("\"\\u004\"", InvalidEscape),
        ("\"\\u00g0\"", InvalidEscape),
        ("\"\\u+041\"", InvalidEscape),
        ("\"\\u004", Truncated),
        ("\u{b}1", UnexpectedByte),
        ("\u{a0}1", UnexpectedByte),
        ("1\u{c}", TrailingData),
        ("1\0", TrailingData),
        ("/*c*/1", UnexpectedByte),
        ("1//c", TrailingData),
        ("[1,\n/*c*/2]", UnexpectedByte),
    ] {
        assert_eq!(parse(text.as_bytes()), Err(why), "{text:?}");
    }
}

#[test]
fn refuses_json_that_is_not_i_json() {
    use Malformed::*;
    for (text, why) in [
        (r#"{"a":1,"a":1}"#, RepeatedMember),
        (r#"{"a":1,"b":2,"a":3}"#, RepeatedMember),
        (r#"{"a":1,"\u0061":2}"#, RepeatedMember),
        (r#"{"\/":1,"/":2}"#, RepeatedMember),
        (r#"{"":1,"":2}"#, RepeatedMember),
        (r#"[[{"x":{"é":1,"\u00e9":2}}]]"#, RepeatedMember),
        (r#"{"\ud83d\ude00":1,"😀":2}"#, RepeatedMember),
        (r#""\ud800""#, LoneSurrogate),
        (r#""\udbff""#, LoneSurrogate),
        (r#""\udc00""#, LoneSurrogate),
        (r#""\uDFFF""#, LoneSurrogate),
        (r#""\ud83dx""#, LoneSurrogate),
        (r#""\ud83d\n""#, LoneSurrogate),
        (r#""\ud83d\u0041""#, LoneSurrogate),
        (r#""\ud83d\ud83d\ude00""#, LoneSurrogate),
        (r#""\ude00\ud83d""#, LoneSurrogate),
        (r#"{"\ud800":1}"#, LoneSurrogate),
        ("\u{feff}{}", ByteOrderMark),
        ("\u{feff}", ByteOrderMark),
    ] {
        assert_eq!(parse(text.as_bytes()), Err(why), "{text:?}");
    }
}

#[test]
fn refuses_what_is_not_utf_8() {
    for text in [
        &b"\"\xff\""[..],        // no UTF-8 at all
        b"\"\x80\"",             // a continuation on its own
        b"\"\xc0\xaf\"",         // overlong
        b"\"\xe0\x80\xaf\"",     // overlong
        b"\"\xf0\x80\x80\xaf\"", // overlong
        b"\"\xed\xa0\x80\"",     // a surrogate
        b"\"\xf4\x90\x80\x80\"", // beyond U+10FFFF
        b"\"\xc3\"",             // cut
        b"{\"a\":1}\xff",        // behind the value
        b"\xff\xfe{\0}\0",       // UTF-16
    ] {
        assert_eq!(parse(text), Err(Malformed::InvalidUtf8), "{text:?}");
    }
}

#[test]
fn nests_128_deep_and_no_deeper() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        assert_eq!(parse(nested(128, open, "1", close).as_bytes()), Ok(()));
        assert_eq!(parse(nested(129, open, "1", close).as_bytes()), Err(Malformed::TooDeep));
        assert_eq!(parse(open.repeat(1_000_000).as_bytes()), Err(Malformed::TooDeep));
    }
    assert_eq!(parse(nested(127, "[", "[],{}", "]").as_bytes()), Ok(()), "depth is not a count");
}

#[test]
fn finds_a_repeated_name_among_few_and_among_many() {
    for others in [0, 1, 14, 15, 16, 17, 1000] {
        let members: Vec<String> = (0..others).map(|i| format!("\"k{i}\":{i}")).collect();
        let with = |more: &[&str]| {
            let all: Vec<&str> =
                members.iter().map(String::as_str).chain(more.iter().copied()).collect();
            parse(format!("{{{}}}", all.join(",")).as_bytes())
        };
        assert_eq!(with(&["\"x\":1", "\"y\":1"]), Ok(()), "{others}");
        assert_eq!(with(&["\"x\":1", "\"x\":1"]), Err(Malformed::RepeatedMember), "{others}");
        assert_eq!(with(&["\"x\":1", "\"\\u0078\":1"]), Err(Malformed::RepeatedMember), "{others}");
    }
}

#[test]
fn a_hundred_thousand_members_take_no_quadratic_time() {
    let members: Vec<String> = (0..100_000).map(|i| format!("\"{i:x}\":{i}")).collect();
    let text = format!("{{{}}}", members.join(","));
    let document = Document::parse(text.as_bytes()).unwrap();
    assert_eq!(document.pointer(&["1869f"]).unwrap().raw(), "99999");
    let twice = format!("{{{},\"0\":0}}", members.join(","));
    assert_eq!(parse(twice.as_bytes()), Err(Malformed::RepeatedMember));
}

#[test]
fn the_tape_stays_within_eight_bytes_an_entry() {
    assert_eq!(size_of::<Value<'_>>(), 32);
    let text = format!("[{}]", vec!["[]"; 1000].join(","));
    let entries = Document::parse(text.as_bytes()).unwrap().tape.len();
    assert_eq!(entries, 2002);
}

/// RFC 6901 section 5.
const RFC_6901: &str = r#"{ "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4,
    "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8 }"#;

#[test]
fn looks_up_the_pointers_of_rfc_6901() {
    let document = Document::parse(RFC_6901.as_bytes()).unwrap();
    for (tokens, value) in [
        (&["foo"][..], r#"["bar", "baz"]"#),
        (&["foo", "0"], r#""bar""#),
        (&[""], "0"),
        (&["a/b"], "1"),
        (&["c%d"], "2"),
        (&["e^f"], "3"),
        (&["g|h"], "4"),
        (&["i\\j"], "5"),
        (&["k\"l"], "6"),
        (&[" "], "7"),
        (&["m~n"], "8"),
    ] {
        assert_eq!(document.pointer(tokens).unwrap().raw(), value, "{tokens:?}");
    }
    assert_eq!(document.pointer::<&str>(&[]).unwrap().raw(), RFC_6901);
    for tokens in [
        &["bar"][..],
        &["foo", "2"],
        &["foo", "-"],
        &["foo", "00"],
        &["foo", "+1"],
        &["foo", "01"],
        &["foo", ""],
        &["foo", "0", "0"],
        &["foo", "18446744073709551616"],
        &["", ""],
    ] {
        assert!(document.pointer(tokens).is_none(), "{tokens:?}");
    }
}

#[test]
fn pointers_step_over_what_lies_between() {
    let text = r#" {"a":{"x":[1,[2,{"b":0}]],"b":1},"\u0062":[{},[],[[3]],{"c":"d"}],"e":null} "#;
    let document = Document::parse(text.as_bytes()).unwrap();
    let found = |tokens: &[&str]| document.pointer(tokens).unwrap();
    assert_eq!(found(&["b", "3", "c"]).as_str().unwrap(), "d");
    assert_eq!(found(&["b", "2", "0"]).raw(), "[3]");
    assert_eq!(found(&["a", "b"]).raw(), "1");
    assert_eq!(found(&["a", "x", "1", "1"]).raw(), r#"{"b":0}"#);
    assert_eq!((found(&["e"]).kind(), found(&["e"]).raw()), (Kind::Null, "null"));
    assert_eq!(document.root().span(), 1..text.len() as u32 - 1);
    let span = found(&["b", "2"]).span();
    assert_eq!(&text[span.start as usize..span.end as usize], "[[3]]");
}

#[test]
fn strings_are_unescaped_and_numbers_are_not_strings() {
    let text = r#"["a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z", 1.50, "plain"]"#;
    let document = Document::parse(text.as_bytes()).unwrap();
    let value = |i: &str| document.pointer(&[i]).unwrap();
    assert_eq!(value("0").as_str().unwrap(), "a\"\\/\u{8}\u{c}\n\r\té😀z");
    assert_eq!(value("1").as_str(), None);
    assert_eq!((value("1").kind(), value("1").raw()), (Kind::Number, "1.50"));
    assert!(matches!(value("2").as_str(), Some(Cow::Borrowed("plain"))));
}

#[test]
fn the_compact_form_drops_whitespace_and_rewrites_strings_only() {
    for (from, to) in [
        (" [ 1.50 , 1E+2 ,\n\t-0 ] ", "[1.50,1E+2,-0]"),
        (r#"{ "b" : 1, "a" : { } }"#, r#"{"b":1,"a":{}}"#),
        (r#""a b""#, r#""a b""#),
        (r#""\u0061\/\u00e9\n\u001F\u0008\"\\""#, r#""a/é\n\u001f\b\"\\""#),
        (r#"{"\u0061 b":"  \\"}"#, r#"{"a b":"  \\"}"#),
        ("\"\u{7f}\u{2028}\"", "\"\u{7f}\u{2028}\""),
        (r#""\\\\" "#, r#""\\\\""#),
    ] {
        let document = Document::parse(from.as_bytes()).unwrap();
        let mut out = String::new();
        document.root().write_compact(&mut out);
        assert_eq!(out, to, "{from}");
    }
}

#[test]
fn debug_output_shows_no_content() {
    let document = Document::parse(br#"{"patient":"Doe"}"#).unwrap();
    let shown = format!("{document:?} {:?}", document.root());
    assert!(!shown.contains("patient") && !shown.contains("Doe"), "{shown}");
}

/// Our reading of a value, as serde_json would have it.
fn as_serde(value: Value<'_>) -> serde_json::Value {
    match value.kind() {
        Kind::Null => serde_json::Value::Null,
        Kind::Bool => serde_json::Value::Bool(value.raw() == "true"),
        Kind::Number => serde_json::from_str(value.raw()).unwrap(),
        Kind::String => value.as_str().unwrap().into_owned().into(),
        Kind::Array => {
            value.tape.elements(value.text, value.index).map(|i| as_serde(value.at(i))).collect()
        }
        Kind::Object => {
            let members = value
                .tape
                .members(value.text, value.index)
                .map(|i| (value.at(i).as_str().unwrap().into_owned(), as_serde(value.at(i + 1))));
            serde_json::Value::Object(members.collect())
        }
    }
}

/// Both parsers must agree, but for what I-JSON refuses and for numbers beyond a double.
fn agrees_with_serde(text: &[u8]) {
    let theirs = serde_json::from_slice::<serde_json::Value>(text);
    match (Document::parse(text), theirs) {
        (Ok(ours), Ok(theirs)) => {
            assert_eq!(as_serde(ours.root()), theirs);
            let mut compact = String::new();
            ours.root().write_compact(&mut compact);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&compact).unwrap(), theirs);
            assert!(parse(compact.as_bytes()).is_ok());
        }
        (Ok(_), Err(e)) => assert!(e.to_string().starts_with("number out of range"), "{e}"),
        (Err(Malformed::RepeatedMember), Ok(_)) | (Err(_), Err(_)) => {}
        (Err(ours), Ok(_)) => panic!("refused valid JSON as {ours:?}"),
    }
}

fn json_text() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        "[a-z]{0,3}",
        "\\PC{0,12}",
        "(\\\\[\"/bfnrt]|\\\\u[0-9a-fA-F]{4}|[ -~&&[^\"\\\\]]){0,12}"
    ];
    let string = string.prop_map(|s| format!("\"{}\"", s.replace('"', "\\\"")));
    let number = "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,2})?";
    let leaf = prop_oneof!["null|true|false", number, string.clone()];
    leaf.prop_recursive(6, 40, 6, move |inner| {
        let space = "[ \n]{0,2}";
        let member =
            (string.clone(), space, inner.clone()).prop_map(|(k, s, v)| format!("{k}{s}:{s}{v}"));
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(|v| format!("[{}]", v.join(" ,"))),
            prop::collection::vec(member, 0..20).prop_map(|v| format!("{{{}}}", v.join(", "))),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_serde_json_on_json(text in json_text()) {
        agrees_with_serde(text.as_bytes());
    }

    #[test]
    fn agrees_with_serde_json_on_damaged_json(
        text in json_text(), at in any::<prop::sample::Index>(), with in "[\\[\\]{}:,\"\\\\0-9eE.+\\-a-f \u{0}\u{e9}]{0,3}",
        cut in 0..4_usize,
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + cut).min(bytes.len()), with.into_bytes());
        agrees_with_serde(&bytes);
    }

    #[test]
    fn agrees_with_serde_json_on_anything(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        agrees_with_serde(&bytes);
    }

    #[test]
    fn agrees_with_serde_json_on_the_alphabet_of_json(text in "[\\[\\]{}:,\"\\\\01eE.+\\-aunltrfsd ]{0,24}") {
        agrees_with_serde(text.as_bytes());
    }

    #[test]
    fn the_end_of_a_plain_run_is_found_at_any_offset(content in "[ -~é\u{0}-\u{1f}]{0,40}", from in 0..48_usize) {
        let bytes = content.as_bytes();
        let special = |b: &u8| *b < 0x20 || *b == b'"' || *b == b'\\';
        let from = from.min(bytes.len());
        let expected = bytes[from..].iter().position(special).map_or(bytes.len(), |i| from + i);
        prop_assert_eq!(text::end_of_plain(bytes, from), expected);
    }
}
