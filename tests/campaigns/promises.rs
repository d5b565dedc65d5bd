//! docs/promises.md and docs/security.md name the tests that hold what they say: all of them are there.

use std::fs;
use std::path::{Path, PathBuf};

const TREES: [&str; 2] = ["src", "tests"];
/// The pages, and how many tests are named at least, or the page is read wrongly.
const PAGES: [(&str, usize); 2] = [("docs/promises.md", 60), ("docs/security.md", 50)];

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code: String = TREES.iter().flat_map(|tree| sources(&root.join(tree))).collect();
    for (page, fewest) in PAGES {
        let text = fs::read_to_string(root.join(page)).unwrap();
        // Every other piece between backticks is code.
        let quoted = text.split('`').skip(1).step_by(2).filter(|word| word.contains("::"));
        let named: Vec<_> =
            quoted.filter(|word| !word.contains([' ', '…']) && !word.ends_with(':')).collect();
        assert!(named.len() >= fewest, "{page}: {} tests are named", named.len());
        for name in named {
            let test = name.rsplit("::").next().unwrap();
            assert!(code.contains(&format!("fn {test}(")), "{page}: {name} does not exist");
        }
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
