use proptest::prelude::*;

use super::*;

fn none(_: &Path) -> Result<Vec<u8>, NotRead> {
    Err(NotRead::Missing)
}

fn call(text: &str) -> (String, String) {
    let capture = read(text.as_bytes(), 1 << 20, &none).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&capture.head), text(&capture.rest))
}

/// As Chrome copies it on Linux, and as dashboards show it.
#[test]
fn a_copied_command_is_the_request_that_it_sends() {
    let copied = "$ curl 'https://gw.example/hooks/lab?x=1' \\\n  -X POST \\\n  \
        -H 'content-type: application/json' \\\n  -H 'x-signature: sha256=00' \\\n  \
        --data-raw $'{\"a\":\"it\\'s \\u0021\"}' --compressed --insecure | jq .";
    let (head, body) = call(copied);
    assert_eq!(
        head,
        "POST /hooks/lab?x=1 HTTP/1.1\r\nHost: gw.example\r\ncontent-type: application/json\r\n\
         x-signature: sha256=00\r\nContent-Length: 14\r\n\r\n"
    );
    assert_eq!(body, r#"{"a":"it's !"}"#);
}

#[test]
fn options_do_what_curl_makes_of_them() {
    for (text, line, body) in [
        ("curl x/h", "GET /h HTTP/1.1", ""),
        ("curl.exe x/h", "GET /h HTTP/1.1", ""),
        ("curl -I x/h", "HEAD /h HTTP/1.1", ""),
        ("curl x/h -d a -d b", "POST /h HTTP/1.1", "a&b"),
        ("curl -sSXPUT x/h --json '{' --json '}'", "PUT /h HTTP/1.1", "{}"),
        ("curl --request DELETE --url http://x", "DELETE / HTTP/1.1", ""),
        ("curl x?a --data-raw @f", "POST /?a HTTP/1.1", "@f"),
        ("curl -dx -- x/h", "POST /h HTTP/1.1", "x"),
        ("curl x/h -H 'Content-Length: 7' -d a", "Content-Length: 7", "a"),
        ("curl x/h -d a", "Content-Type: application/x-www-form-urlencoded", "a"),
        ("curl x/h --json a", "Content-Type: application/json", "a"),
        ("curl x/h -A me", "User-Agent: me", ""),
        ("curl x/h -H 'X-Empty;'", "X-Empty: ", ""),
        ("curl x/h -H 'Host: other'", "Host: other", ""),
        ("curl u:p@x:8/h", "Host: x:8", ""),
    ] {
        let (head, sent) = call(text);
        assert!(head.lines().any(|sent| sent == line), "{text}: {head}");
        assert_eq!(sent, body, "{text}");
    }
    let (head, _) = call("curl x/h -d a -H 'Content-Type:' -u hunter2:hunter2");
    assert!(!head.contains("Content-Type") && !head.contains("hunter2"), "{head}");
}

#[test]
fn files_are_read_as_curl_reads_them() {
    let files = |path: &Path| {
        assert_eq!(path, Path::new("body.json"));
        Ok(b"{\r\n}\n".to_vec())
    };
    for (option, body) in [("-d", "{}"), ("--data-binary", "{\r\n}\n"), ("--json", "{\r\n}\n")] {
        let text = format!("curl x {option} @body.json");
        let capture = read(text.as_bytes(), 100, &files).unwrap();
        assert_eq!(capture.rest, body, "{option}");
    }
}

/// What curl would read beside data: nothing of it is read here, and none of it is passed over.
#[test]
fn a_file_that_is_not_read_is_an_error_that_names_the_option() {
    let never = |path: &Path| -> Result<Vec<u8>, NotRead> { panic!("{path:?} is read") };
    for (text, says) in [
        ("curl x -H @headers", "option -H reads a file"),
        ("curl x --header @headers", "option --header reads a file"),
        ("curl x -K config", "option -K reads a file"),
        ("curl x --config config", "option --config reads a file"),
        ("curl x -b jar", "option -b reads a file"),
        ("curl --url @urls", "option --url reads a file"),
        ("curl x --data-urlencode a@file", "option --data-urlencode makes"),
        ("curl x -F a=@file", "option -F makes"),
        ("curl x -T file", "option -T makes"),
        ("curl x --netrc-file file", "option --netrc-file is not known"),
        ("curl x -sd @-", "option -d `@-` reads standard input"),
    ] {
        let error = read(text.as_bytes(), 100, &never).err().unwrap().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let elsewhere = |_: &Path| -> Result<Vec<u8>, NotRead> { Err(NotRead::Elsewhere) };
    for (text, says) in [
        ("curl x -d@/etc/shadow", "option -d names a file (/etc/shadow): a command may name only"),
        ("curl x --json @../a", "option --json names a file (../a): a command"),
        ("curl x --data-binary '@{\"a\"}'", "option --data-binary names a file: a command"),
    ] {
        let error = read(text.as_bytes(), 100, &elsewhere).err().unwrap().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn what_cannot_be_told_is_an_error_without_values() {
    for text in [
        "curl",
        "curl x y",
        "curl 'http://a b/'",
        "curl x -d",
        "curl x --frobnicate hunter2",
        "curl x -F hunter2=@x",
        "curl x -G -d hunter2",
        "curl x -d @-",
        "curl x -d @hunter",
        "curl x -d $KEY",
        "curl x -Hhunter2: -Zhunter2",
        "curl ^\"http://x^\" -H ^\"hunter2: x^\"",
    ] {
        let error = read(text.as_bytes(), 10, &none).err().unwrap();
        assert!(!error.to_string().contains("hunter2"), "{text}: {error}");
    }
    let long = format!("curl x -d {}", "a".repeat(21));
    assert!(matches!(read(long.as_bytes(), 10, &none), Err(CurlError::TooLong)));
}

#[test]
fn a_command_is_told_from_a_request() {
    for (text, is) in [
        ("curl x", true),
        ("\n $ curl\\\n x", false),
        ("$ curl 'x'", true),
        ("POST /curl HTTP/1.1", false),
        ("curly x", false),
        ("curl.exe x", true),
        ("curl.execute x", false),
    ] {
        assert_eq!(is_command(text.as_bytes()), is, "{text}");
    }
}

proptest! {
    #[test]
    fn no_command_is_too_much(rest in ".*") {
        let _ = read(format!("curl {rest}").as_bytes(), 100, &none);
    }
}
