//! The committed corpus of the fuzz targets, run on stable. An input that once broke something
//! stays here as a file.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test names its input, and stops")]

use std::fs;
use std::path::Path;

use hookward::fuzzing;

fn run(target: &str, mut entry: impl FnMut(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs = 0;
    for file in fs::read_dir(&corpus).unwrap() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        entry(&fs::read(&path).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "no input in {}", corpus.display());
}

#[test]
fn json() {
    run("json", fuzzing::json);
}

#[test]
fn signature_headers() {
    run("signature_headers", fuzzing::signature_headers);
}

#[test]
fn identity() {
    run("identity", fuzzing::identity);
}

#[test]
fn journal() {
    run("journal", fuzzing::journal);
}

#[test]
fn configuration() {
    run("configuration", fuzzing::configuration);
}

#[test]
fn proxy_header() {
    run("proxy_header", fuzzing::proxy_header);
}

#[test]
fn forwarded() {
    run("forwarded", fuzzing::forwarded);
}

#[test]
fn trail() {
    run("trail", fuzzing::trail);
}

#[test]
fn capture() {
    run("capture", fuzzing::capture);
}

#[test]
fn request() {
    let mut gateway = in_memory();
    run("request", |data| gateway.request(data));
}

#[test]
fn http2() {
    let mut gateway = in_memory();
    run("http2", |data| gateway.http2(data));
}

fn in_memory() -> fuzzing::InMemory {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    fuzzing::InMemory::new(runtime.enable_time().start_paused(true).build().unwrap())
}
