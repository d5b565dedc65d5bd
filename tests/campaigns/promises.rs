//! docs/promises.md names the tests that hold each promise: all of them are there.

use std::fs;
use std::path::{Path, PathBuf};

const TREES: [&str; 2] = ["src", "tests"];
/// So many are named at least, or the page is read wrongly.
const FEWEST: usize = 60;

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/promises.md")).unwrap();
    let code: String = TREES.iter().flat_map(|tree| sources(&root.join(tree))).collect();
    // Every other piece between backticks is code.
    let quoted = page.split('`').skip(1).step_by(2).filter(|word| word.contains("::"));
    let named: Vec<_> =
        quoted.filter(|word| !word.contains([' ', '…']) && !word.ends_with(':')).collect();
    assert!(named.len() >= FEWEST, "{} tests are named", named.len());
    for name in named {
        let test = name.rsplit("::").next().unwrap();
        assert!(code.contains(&format!("fn {test}(")), "{name} does not exist");
    }
}

/// The text of every source file below.
fn sources(directory: &Path) -> Vec<String> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false if path.extension().is_some_and(|e| e == "rs") => {
            vec![fs::read_to_string(path).unwrap()]
        }
        false => Vec::new(),
    };
    paths.flat_map(read).collect()
}
