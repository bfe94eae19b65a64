//! ARCHITECTURE.md stays true: every path that it names exists.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

#[test]
fn every_path_in_the_map_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let named = text.split('`').skip(1).step_by(2).filter(|name| {
        let path = name.contains('/') && !name.contains([' ', '*', ':']);
        path && !name.starts_with("grpc")
    });
    let paths: Vec<&str> = links.chain(named).collect();
    assert!(paths.len() > 15, "the paths were not found: {paths:?}");
    let missing: Vec<_> = paths.into_iter().filter(|path| !root.join(path).exists()).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there: {missing:?}");
}
