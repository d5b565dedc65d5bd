//! Heads that must be refused, and how.

use super::{Case, bad, exactly, fields, line};

pub fn all() -> Vec<Case> {
    let mut cases = request_lines();
    cases.extend(targets());
    cases.extend(lines());
    cases.extend(values());
    cases.extend(hosts());
    cases.extend(lengths());
    cases.extend(encodings());
    cases.extend(sizes());
    cases
}

const PARTS: &str = "the request line is not method, target and version";
const METHOD: &str = "the method is no token";
const VERSION: &str = "malformed version";
const OTHER_VERSION: &str = "a version other than HTTP/1.0 and HTTP/1.1";

fn request_lines() -> Vec<Case> {
    let empty_lines = "\r\n".repeat(5) + &fields("");
    vec![
        bad("no HTTP at all", "3", "hello\r\n\r\n", PARTS),
        bad("two words", "3", "hello there\r\n\r\n", PARTS),
        bad("HTTP/0.9", "3", "GET /hooks/open\r\n", PARTS),
        bad("four parts", "3", line("POST /hooks/open /x HTTP/1.1"), PARTS),
        bad("two spaces before the target", "3", line("POST  /hooks/open HTTP/1.1"), PARTS),
        bad("two spaces before the version", "3", line("POST /hooks/open  HTTP/1.1"), PARTS),
        bad("a space behind the version", "3", line("POST /hooks/open HTTP/1.1 "), PARTS),
        bad("no target", "3", line("POST  HTTP/1.1"), PARTS),
        bad("tabs for spaces", "3", line("POST\t/hooks/open\tHTTP/1.1"), PARTS),
        bad("a tab before the version", "3", line("POST /hooks/open\tHTTP/1.1"), PARTS),
        bad("a tab in the target", "3", line("POST /hooks\t/open HTTP/1.1"), PARTS),
        bad("a vertical tab for a space", "3", line("POST\x0b/hooks/open HTTP/1.1"), PARTS),
        bad("a space before the method", "3", line(" POST /hooks/open HTTP/1.1"), METHOD),
        bad("a tab before the method", "3", line("\tPOST /hooks/open HTTP/1.1"), METHOD),
        bad("a method with a delimiter", "3.1", line("PO(ST /hooks/open HTTP/1.1"), METHOD),
        bad("a method with a slash", "3.1", line("PO/ST /hooks/open HTTP/1.1"), METHOD),
        bad("a method outside ASCII", "3.1", line("PÖST /hooks/open HTTP/1.1"), METHOD),
        bad("a quoted method", "3.1", line("\"POST\" /hooks/open HTTP/1.1"), METHOD),
        bad("NUL in the method", "3.1", line("PO\0ST /hooks/open HTTP/1.1"), METHOD),
        bad("NUL before the method", "3.1", line("\0POST /hooks/open HTTP/1.1"), METHOD),
        bad(
            "TLS on the plain port",
            "3",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "TLS on a plain listener",
        ),
        bad("a body in a head's place", "3", "{\"a\":\n1}\r\n\r\n", METHOD),
        bad("a version in lower case", "2.3", line("POST /hooks/open http/1.1"), VERSION),
        bad("a version of one figure", "2.3", line("POST /hooks/open HTTP/1"), VERSION),
        bad("a version of three figures", "2.3", line("POST /hooks/open HTTP/1.1.1"), VERSION),
        bad("a version of long figures", "2.3", line("POST /hooks/open HTTP/1.10"), VERSION),
        bad("a version with a comma", "2.3", line("POST /hooks/open HTTP/1,1"), VERSION),
        bad("a signed version", "2.3", line("POST /hooks/open HTTP/+1.1"), VERSION),
        bad("another protocol", "2.3", line("POST /hooks/open ICAP/1.0"), VERSION),
        bad("junk behind the version", "2.3", line("POST /hooks/open HTTP/1.1x"), VERSION),
        bad("HTTP/3.7", "9110 15.6.6", line("POST /hooks/open HTTP/3.7"), OTHER_VERSION)
            .status(505),
        bad("HTTP/1.2", "9110 15.6.6", line("POST /hooks/open HTTP/1.2"), OTHER_VERSION)
            .status(505),
        bad("HTTP/0.9 in words", "9110 15.6.6", line("GET / HTTP/0.9"), OTHER_VERSION).status(505),
        bad("HTTP/2 without TLS", "9113 3.3", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", OTHER_VERSION)
            .status(505),
        bad("five empty lines", "2.2", empty_lines, "too many empty lines before a request"),
    ]
}

const TARGET: &str = "a byte in the target that no target may hold";
const FORM: &str = "the target is neither a path nor an absolute http URI";
const FRAGMENT: &str = "fragment in the request target";
const USER: &str = "user information in the target";
const OTHER_HOST: &str = "the target's authority is not the host";

fn targets() -> Vec<Case> {
    vec![
        bad("a fragment", "3.2", line("POST /hooks/open#a HTTP/1.1"), FRAGMENT),
        bad("a fragment behind a query", "3.2", line("POST /hooks/open?a#b HTTP/1.1"), FRAGMENT),
        bad("nothing but a fragment", "3.2", line("POST # HTTP/1.1"), FORM),
        bad("a target outside ASCII", "3.2", line("POST /hooks/öpen HTTP/1.1"), TARGET),
        bad("a query outside ASCII", "3.2", line("POST /hooks/open?ö HTTP/1.1"), TARGET),
        bad("NUL in the target", "3.2", line("POST /hooks/open\0 HTTP/1.1"), TARGET),
        bad("DEL in the target", "3.2", line("POST /hooks/open\x7f HTTP/1.1"), TARGET),
        bad("ESC in the query", "3.2", line("POST /hooks/open?\x1b[2J HTTP/1.1"), TARGET),
        bad("a backslash in the path", "3.2", line("POST /hooks\\open HTTP/1.1"), TARGET),
        bad("angle brackets in the path", "3.2", line("POST /hooks/<open> HTTP/1.1"), TARGET),
        bad("a quotation mark in the path", "3.2", line("POST /hooks/\"open HTTP/1.1"), TARGET),
        bad("a path without slash", "3.2.1", line("POST hooks/open HTTP/1.1"), FORM),
        bad("only a query", "3.2.1", line("POST ?a HTTP/1.1"), FORM),
        bad("asterisk-form", "3.2.4", line("OPTIONS * HTTP/1.1"), FORM),
        bad("asterisk-form of a POST", "3.2.4", line("POST * HTTP/1.1"), FORM),
        bad("authority-form", "3.2.3", line("POST gw:80 HTTP/1.1"), FORM),
        bad("CONNECT", "3.2.3", line("CONNECT gw:443 HTTP/1.1"), "CONNECT"),
        bad("CONNECT with a path", "3.2.3", line("CONNECT /hooks/open HTTP/1.1"), "CONNECT"),
        bad("another scheme", "3.2.2", line("POST ftp://gw/hooks/open HTTP/1.1"), FORM),
        bad("a scheme without slashes", "3.2.2", line("POST http:gw/hooks/open HTTP/1.1"), FORM),
        bad("no authority", "9110 4.2.1", line("POST http:///hooks/open HTTP/1.1"), TARGET),
        bad("a bad authority", "3.2.2", line("POST http://g%77/hooks/open HTTP/1.1"), TARGET),
        bad("a bad port", "3.2.2", line("POST http://gw:x/hooks/open HTTP/1.1"), TARGET),
        bad(
            "another authority",
            "3.2.2",
            line("POST http://other/hooks/open HTTP/1.1"),
            OTHER_HOST,
        ),
        bad("another port", "3.2.2", line("POST http://gw:81/hooks/open HTTP/1.1"), OTHER_HOST),
        bad(
            "a longer authority",
            "3.2.2",
            line("POST http://gw.x/hooks/open HTTP/1.1"),
            OTHER_HOST,
        ),
        bad("a user", "9110 4.2.4", line("POST http://u@gw/hooks/open HTTP/1.1"), USER),
        bad("a password", "9110 4.2.4", line("POST http://u:p@gw/hooks/open HTTP/1.1"), USER),
        bad("an empty user", "9110 4.2.4", line("POST http://@gw/hooks/open HTTP/1.1"), USER),
        bad(
            "an authority as user",
            "9110 4.2.4",
            line("POST http://gw@x/hooks/open HTTP/1.1"),
            USER,
        ),
    ]
}

const BARE_LF: &str = "a line ends in LF without CR";
const BARE_CR: &str = "CR without LF";
const FOLDED: &str = "folded field line";
const LEADING: &str = "whitespace before the first field";
const SPACED: &str = "whitespace before a field's colon";
const NAME: &str = "malformed field name";

fn lines() -> Vec<Case> {
    let start = "POST /hooks/open HTTP/1.1\r\n";
    vec![
        bad(
            "LF behind the request line",
            "2.2",
            "POST /hooks/open HTTP/1.1\nHost: gw\r\n",
            BARE_LF,
        ),
        bad("LF behind a field", "2.2", fields("X: a\n"), BARE_LF),
        bad("LF for the empty line", "2.2", format!("{start}Host: gw\r\n\n"), BARE_LF),
        bad("LF before a request", "2.2", format!("\n{}", fields("")), BARE_LF),
        bad("LF everywhere", "2.2", "POST /hooks/open HTTP/1.1\nHost: gw\n\n", BARE_LF),
        bad("CR in the request line", "2.2", line("POST /hooks/open\r HTTP/1.1"), BARE_CR),
        bad("CR for a space", "2.2", line("POST\r/hooks/open HTTP/1.1"), BARE_CR),
        bad("two CR behind the request line", "2.2", line("POST /hooks/open HTTP/1.1\r"), BARE_CR),
        bad("CR in a name", "2.2", fields("X\rY: a\r\n"), BARE_CR),
        bad("CR in a value", "2.2", fields("X: a\rb\r\n"), BARE_CR),
        bad("CR for a line's end", "2.2", fields("X: a\rY: b\r\n"), BARE_CR),
        bad("two CR behind a value", "2.2", fields("X: a\r\r\n"), BARE_CR),
        bad("two CR for the empty line", "2.2", format!("{start}Host: gw\r\n\r\r\n"), BARE_CR),
        bad("CR before a request", "2.2", "\rPOST /hooks/open HTTP/1.1\r\n\r\n", BARE_CR),
        bad("a folded line", "5.2", fields("X: a\r\n b\r\n"), FOLDED),
        bad("a line folded with a tab", "5.2", fields("X: a\r\n\tb\r\n"), FOLDED),
        bad("a fold of nothing", "5.2", fields("X: a\r\n \r\n"), FOLDED),
        bad("a folded length", "5.2", exactly("Host: gw\r\nContent-Length:\r\n 2\r\n"), BAD_LENGTH),
        bad(
            "a folded encoding",
            "5.2",
            exactly("Host: gw\r\nTransfer-Encoding:\r\n chunked\r\n"),
            ENCODING,
        ),
        bad("a space before the first field", "2.2", exactly(" Host: gw\r\n"), LEADING),
        bad("a tab before the first field", "2.2", exactly("\tX: a\r\nHost: gw\r\n"), LEADING),
        bad("a line of a space", "2.2", exactly(" \r\nHost: gw\r\n"), LEADING),
        bad("a space before the colon", "5.1", fields("X : a\r\n"), SPACED),
        bad("a tab before the colon", "5.1", fields("X\t: a\r\n"), SPACED),
        bad("a spaced length", "5.1", exactly("Host: gw\r\nContent-Length : 2\r\n"), SPACED),
        bad("a spaced host", "5.1", exactly("Host : gw\r\n"), SPACED),
        bad(
            "a spaced encoding",
            "5.1",
            exactly("Host: gw\r\nTransfer-Encoding : chunked\r\n"),
            SPACED,
        ),
        bad("a line without colon", "5", fields("nonsense\r\n"), NAME),
        bad("no name", "5.1", fields(": a\r\n"), NAME),
        bad("a space in a name", "9110 5.1", fields("X Y: a\r\n"), NAME),
        bad("a delimiter in a name", "9110 5.1", fields("X(Y): a\r\n"), NAME),
        bad("a name outside ASCII", "9110 5.1", fields("Ä: a\r\n"), NAME),
        bad("NUL in a name", "9110 5.1", fields("X\0: a\r\n"), NAME),
        bad(
            "a vertical tab before the colon",
            "9110 5.1",
            fields("Content-Length\x0b: 2\r\n"),
            NAME,
        ),
        bad("a vertical tab before a name", "9110 5.1", fields("\x0bContent-Length: 2\r\n"), NAME),
        bad("HTTP/2's own field", "9113 8.3", fields(":authority: gw\r\n"), NAME),
    ]
}

const VALUE: &str = "control byte in a field's value";
const EXPECT: &str = "an expectation other than 100-continue";

fn values() -> Vec<Case> {
    let expect = |value: &str| fields(&format!("Expect: {value}\r\n"));
    vec![
        bad("NUL in a value", "9110 5.5", fields("X: a\0b\r\n"), VALUE),
        bad("a value of NUL", "9110 5.5", fields("X: \0\r\n"), VALUE),
        bad("ESC in a value", "9110 5.5", fields("X: \x1b[2J\r\n"), VALUE),
        bad("DEL in a value", "9110 5.5", fields("X: a\x7f\r\n"), VALUE),
        bad("BEL in a value", "9110 5.5", fields("User-Agent: \x07\r\n"), VALUE),
        bad("a vertical tab in a value", "9110 5.5", fields("X: \x0b\r\n"), VALUE),
        bad("a form feed around a length", "9110 5.5", fields("Content-Length: \x0c2\r\n"), VALUE),
        bad(
            "an upgrade to HTTP/2",
            "9110 7.8",
            fields("Connection: Upgrade\r\nUpgrade: h2c\r\n"),
            "upgrade",
        ),
        bad("a WebSocket", "9110 7.8", fields("Upgrade: websocket\r\n"), "upgrade"),
        bad("an upgrade to nothing", "9110 7.8", fields("Upgrade:\r\n"), "upgrade"),
        bad("an unknown expectation", "9110 10.1.1", expect("200-ok"), EXPECT).status(417),
        bad("an empty expectation", "9110 10.1.1", expect(""), EXPECT).status(417),
        bad("two expectations", "9110 10.1.1", expect("100-continue, x"), EXPECT).status(417),
        bad(
            "an expectation twice",
            "9110 10.1.1",
            fields("Expect: 100-continue\r\nExpect: 100-continue\r\n"),
            EXPECT,
        )
        .status(417),
    ]
}

const BAD_HOST: &str = "malformed host";
const TWO_HOSTS: &str = "repeated host";

fn hosts() -> Vec<Case> {
    let host = |value: &str| exactly(&format!("Host: {value}\r\nContent-Length: 2\r\n"));
    let http10 = |fields: &str| format!("POST /hooks/open HTTP/1.0\r\n{fields}\r\n{{}}");
    vec![
        bad("no host", "3.2", exactly("Content-Length: 2\r\n"), "no host"),
        bad("no field at all", "3.2", "POST /hooks/open HTTP/1.1\r\n\r\n", "no host"),
        bad(
            "no host but an authority",
            "3.2",
            "POST http://gw/hooks/open HTTP/1.1\r\n\r\n",
            "no host",
        ),
        bad("one host twice", "3.2", fields("Host: gw\r\n"), TWO_HOSTS),
        bad("two hosts", "3.2", fields("host: other\r\n"), TWO_HOSTS),
        bad(
            "two hosts in HTTP/1.0",
            "3.2",
            http10("Host: gw\r\nHost: gw\r\nContent-Length: 2\r\n"),
            TWO_HOSTS,
        ),
        bad("an empty host", "3.2", host(""), BAD_HOST),
        bad("a host of spaces", "3.2", host(" \t "), BAD_HOST),
        bad("an empty host in HTTP/1.0", "3.2", http10("Host:\r\nContent-Length: 2\r\n"), BAD_HOST),
        bad("a list of hosts", "3.2", host("gw, other/x"), BAD_HOST),
        bad("a space in the host", "3.2", host("g w"), BAD_HOST),
        bad("a path in the host", "3.2", host("gw/hooks"), BAD_HOST),
        bad("a user in the host", "3.2", host("u@gw"), BAD_HOST),
        bad("a scheme in the host", "3.2", host("http://gw"), BAD_HOST),
        bad("a query in the host", "3.2", host("gw?x"), BAD_HOST),
        bad("a host outside ASCII", "3.2", host("gẃ"), BAD_HOST),
        bad("no name but a port", "3.2", host(":80"), BAD_HOST),
        bad("a port of letters", "3.2", host("gw:http"), BAD_HOST),
        bad("a port too high", "3.2", host("gw:65536"), BAD_HOST),
        bad("two ports", "3.2", host("gw:80:80"), BAD_HOST),
        bad("half an IPv6 address", "3.2", host("[::1"), BAD_HOST),
        bad("no IPv6 address", "3.2", host("[gw]"), BAD_HOST),
        bad("an IPv6 address without brackets", "3.2", host("::1"), BAD_HOST),
    ]
}

const TWO_LENGTHS: &str = "repeated content-length";
const BAD_LENGTH: &str = "content-length is no number";

fn lengths() -> Vec<Case> {
    let length = |value: &str| exactly(&format!("Host: gw\r\nContent-Length:{value}\r\n"));
    vec![
        bad("one length twice", "6.3", fields("Content-Length: 2\r\n"), TWO_LENGTHS),
        bad("two lengths", "6.3", fields("Content-Length: 3\r\n"), TWO_LENGTHS),
        bad("two lengths, the first nothing", "6.3", fields("Content-Length: 0\r\n"), TWO_LENGTHS),
        bad("two lengths in two cases", "6.3", fields("cONTENT-lENGTH: 5\r\n"), TWO_LENGTHS),
        bad("a list of one length", "6.3", length(" 2, 2"), TWO_LENGTHS),
        bad("a list of lengths", "6.3", length(" 2,3"), TWO_LENGTHS),
        bad("a list with a gap", "6.3", length(" 2,"), TWO_LENGTHS),
        bad("no length", "6.3", length(""), BAD_LENGTH),
        bad("a length of spaces", "6.3", length("  "), BAD_LENGTH),
        bad("a positive length", "6.3", length(" +2"), BAD_LENGTH),
        bad("a negative length", "6.3", length(" -2"), BAD_LENGTH),
        bad("minus nothing", "6.3", length(" -0"), BAD_LENGTH),
        bad("a hexadecimal length", "6.3", length(" 0x2"), BAD_LENGTH),
        bad("a length of letters", "6.3", length(" two"), BAD_LENGTH),
        bad("a length in hexadecimal digits", "6.3", length(" a"), BAD_LENGTH),
        bad("a broken length", "6.3", length(" 2.0"), BAD_LENGTH),
        bad("a length with an exponent", "6.3", length(" 2e0"), BAD_LENGTH),
        bad("a length with an underscore", "6.3", length(" 0_2"), BAD_LENGTH),
        bad("a length with a space", "6.3", length(" 0 2"), BAD_LENGTH),
        bad("a quoted length", "6.3", length(" \"2\""), BAD_LENGTH),
        bad("a length in other digits", "6.3", length(" ٢"), BAD_LENGTH),
        bad("2^64", "6.3", length(" 18446744073709551616"), BAD_LENGTH),
        bad("2^64 and 2", "6.3", length(" 18446744073709551618"), BAD_LENGTH),
        bad("an endless length", "6.3", length(&format!(" {}2", "0".repeat(20))), BAD_LENGTH),
    ]
}

const BOTH: &str = "content-length together with transfer-encoding";
const ENCODING: &str = "transfer-encoding other than chunked";
const OLD: &str = "transfer-encoding in HTTP/1.0";

fn encodings() -> Vec<Case> {
    let encoding = |fields: &str| {
        format!("POST /hooks/open HTTP/1.1\r\nHost: gw\r\n{fields}\r\n2\r\n{{}}\r\n0\r\n\r\n")
    };
    let one = |value: &str| encoding(&format!("Transfer-Encoding: {value}\r\n"));
    let length_first = "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n";
    let encoding_first = "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n";
    let nothing = "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n";
    let http10 = "POST /hooks/open HTTP/1.0\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n";
    vec![
        bad("length and encoding", "6.3", encoding(length_first), BOTH),
        bad("encoding and length", "6.3", encoding(encoding_first), BOTH),
        bad("no length and encoding", "6.3", encoding(nothing), BOTH),
        bad("HTTP/1.0 with an encoding", "6.1", format!("{http10}\r\n2\r\n{{}}\r\n0\r\n\r\n"), OLD),
        bad("HTTP/1.0 with both", "6.1", format!("{http10}Content-Length: 2\r\n\r\n{{}}"), OLD),
        bad("identity", "6.1", one("identity"), ENCODING),
        bad("an unknown coding", "6.1", one("cow"), ENCODING),
        bad("a coding before chunked", "6.1", one("gzip, chunked"), ENCODING),
        bad("a coding behind chunked", "6.3", one("chunked, gzip"), ENCODING),
        bad("chunked twice in a list", "6.1", one("chunked, chunked"), ENCODING),
        bad("a list with a gap", "6.1", one("chunked,"), ENCODING),
        bad("a list with a gap before it", "6.1", one(", chunked"), ENCODING),
        bad("no coding", "6.1", one(""), ENCODING),
        bad("a parameter", "7.1", one("chunked;q=1"), ENCODING),
        bad("a quoted coding", "6.1", one("\"chunked\""), ENCODING),
        bad("half a coding", "6.1", one("chunke"), ENCODING),
        bad("more than a coding", "6.1", one("xchunked"), ENCODING),
        bad("two codings", "6.1", one("chunked\r\nTransfer-Encoding: identity"), ENCODING),
        bad("chunked twice", "6.1", one("chunked\r\ntransfer-encoding: chunked"), ENCODING),
        bad("a control before the coding", "9110 5.5", one("\x0bchunked"), VALUE),
    ]
}

fn sizes() -> Vec<Case> {
    let target = |length: usize| line(&format!("POST /hooks/{} HTTP/1.1", "a".repeat(length - 7)));
    let long = "a".repeat(40 << 10);
    let (target_detail, long_detail) = ("the target is too long", "the head is too large");
    vec![
        bad("a long target", "9110 15.5.15", target(8193), target_detail).status(414),
        bad("an endless target", "9110 15.5.15", format!("POST /{long}"), target_detail)
            .status(414),
        bad("an endless method", "3", long.clone(), target_detail).status(414),
        bad("a long value", "9110 5.4", fields(&format!("X: {long}\r\n")), long_detail).status(431),
        bad("an endless value", "9110 5.4", exactly(&format!("X: {long}")), long_detail)
            .status(431),
        bad("a long name", "9110 5.4", fields(&format!("{long}: a\r\n")), long_detail).status(431),
        bad(
            "a name of 257 bytes",
            "9110 5.4",
            fields(&format!("{}: a\r\n", "a".repeat(257))),
            long_detail,
        )
        .status(431),
        bad("many small fields", "9110 5.4", fields(&"a: b\r\n".repeat(99)), "too many fields")
            .status(431),
    ]
}
