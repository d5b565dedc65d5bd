//! Chunked bodies that must be refused: their heads are right, so it is a body's error.

use super::{Case, bad, chunked};

const SIZE: &str = "malformed chunk size";
const EXTENSION: &str = "malformed or too long chunk extension";
const END: &str = "chunk data without its line end";
const TRAILER: &str = "malformed trailer";
const LONG: &str = "too many trailers";

pub fn all() -> Vec<Case> {
    let mut cases = chunks();
    cases.extend(extensions());
    cases.extend(trailers());
    cases
}

fn chunks() -> Vec<Case> {
    let size = |size: &str| chunked(format!("{size}\r\n{{}}\r\n0\r\n\r\n"));
    vec![
        bad("no size", "7.1", size(""), SIZE),
        bad("a size of letters", "7.1", size("two"), SIZE),
        bad("a size with a prefix", "7.1", size("0x2"), SIZE),
        bad("a positive size", "7.1", size("+2"), SIZE),
        bad("a negative size", "7.1", size("-2"), SIZE),
        bad("a broken size", "7.1", size("2.0"), SIZE),
        bad("a size with an underscore", "7.1", size("0_2"), SIZE),
        bad("a space before the size", "7.1", size(" 2"), SIZE),
        bad("a tab before the size", "7.1", size("\t2"), SIZE),
        bad("a space behind the size", "7.1", size("2 "), EXTENSION),
        bad("a tab behind the size", "7.1", size("2\t"), EXTENSION),
        bad("a space in the size", "7.1", size("0 2"), EXTENSION),
        bad("a size of 17 digits", "7.1", size("00000000000000002"), SIZE),
        bad("a size beyond 64 bits", "7.1", size("10000000000000002"), SIZE),
        bad("NUL behind the size", "7.1", size("2\0"), SIZE),
        bad("a size outside ASCII", "7.1", size("٢"), SIZE),
        bad("LF behind the size", "2.2", chunked("2\n{}\r\n0\r\n\r\n"), SIZE),
        bad("CR behind the size", "2.2", chunked("2\r{}\r\n0\r\n\r\n"), SIZE),
        bad("two CR behind the size", "2.2", chunked("2\r\r\n{}\r\n0\r\n\r\n"), SIZE),
        bad("LF behind the data", "2.2", chunked("2\r\n{}\n0\r\n\r\n"), END),
        bad("CR behind the data", "2.2", chunked("2\r\n{}\r0\r\n\r\n"), END),
        bad("nothing behind the data", "7.1", chunked("2\r\n{}0\r\n\r\n"), END),
        bad("more data than the size", "7.1", chunked("2\r\n{}}\r\n0\r\n\r\n"), END),
        bad("less data than the size", "7.1", chunked("3\r\n{}\r\n0\r\n\r\n"), END),
        bad("a body without chunks", "7.1", chunked("{}"), SIZE),
    ]
}

fn extensions() -> Vec<Case> {
    let extension = |text: &str| chunked(format!("2{text}\r\n{{}}\r\n0\r\n\r\n"));
    let long = "a".repeat(1024);
    let many = format!("1;{}\r\n \r\n", "a".repeat(1000)).repeat(9);
    vec![
        bad("an extension without name", "7.1.1", extension(";"), EXTENSION),
        bad("an extension of spaces", "7.1.1", extension("; "), EXTENSION),
        bad("an extension with a value only", "7.1.1", extension(";=a"), EXTENSION),
        bad("an extension without value", "7.1.1", extension(";a="), EXTENSION),
        bad("two names", "7.1.1", extension(";a b"), EXTENSION),
        bad("a space behind an extension", "7.1.1", extension(";a "), EXTENSION),
        bad("two semicolons", "7.1.1", extension(";;a"), EXTENSION),
        bad("an open quotation", "7.1.1", extension(";a=\"b"), EXTENSION),
        bad("something behind a quotation", "7.1.1", extension(";a=\"b\"c"), EXTENSION),
        bad("a control in a quotation", "7.1.1", extension(";a=\"\0\""), EXTENSION),
        bad("a delimiter in a name", "7.1.1", extension(";a(b)"), EXTENSION),
        bad("LF in an extension", "7.1.1", extension(";a\nb"), EXTENSION),
        bad("LF behind an extension", "2.2", chunked("2;a\n{}\r\n0\r\n\r\n"), EXTENSION),
        bad("CR in an extension", "2.2", extension(";a\rb"), SIZE),
        bad("a long extension", "7.1.1", extension(&format!(";{long}")), EXTENSION),
        bad("many extensions", "7.1.1", chunked(many), EXTENSION),
        bad("an extension of the last chunk", "7.1.1", chunked("2\r\n{}\r\n0;\r\n\r\n"), EXTENSION),
    ]
}

fn trailers() -> Vec<Case> {
    let trailer = |text: &str| chunked(format!("2\r\n{{}}\r\n0\r\n{text}\r\n\r\n"));
    let long = "a".repeat(8 << 10);
    let many = vec!["a: b"; 101].join("\r\n");
    vec![
        bad("a trailer without colon", "7.1.2", trailer("nonsense"), TRAILER),
        bad("a trailer without name", "7.1.2", trailer(": a"), TRAILER),
        bad("a space before the colon", "7.1.2", trailer("X : a"), TRAILER),
        bad("a space before a trailer", "7.1.2", trailer(" X: a"), TRAILER),
        bad("a folded trailer", "7.1.2", trailer("X: a\r\n b"), TRAILER),
        bad("NUL in a trailer", "7.1.2", trailer("X: \0"), TRAILER),
        bad("CR in a trailer", "2.2", trailer("X: a\rb"), TRAILER),
        bad("LF behind a trailer", "2.2", trailer("X: a\nY: b"), TRAILER),
        bad("LF for the last line", "2.2", chunked("2\r\n{}\r\n0\r\n\n"), TRAILER),
        bad(
            "no last line, but a request",
            "7.1",
            chunked("2\r\n{}\r\n0\r\nPOST /hooks/open HTTP/1.1\r\n"),
            TRAILER,
        ),
        bad("a long trailer", "7.1.2", trailer(&format!("X: {long}")), LONG),
        bad("many trailers", "7.1.2", trailer(&many), LONG),
    ]
}
