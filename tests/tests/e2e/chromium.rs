//! The npm package and the demo page in a real headless Chromium, against three real nodes.
//!
//! What is checked there is in the package's own `e2e` folder; this brings the nodes, and reads the verdict.

use std::process::Command;

use holdfast_tests::cluster::RegistryKind;
use holdfast_tests::place;
use serde_json::Value;

use crate::scene::three_nodes;

#[test]
fn the_package_and_the_page_pass_their_checks() {
    let cluster = three_nodes(RegistryKind::Embedded);
    let shots = place::scratch().unwrap().join("screenshots");
    let output = Command::new("node")
        .arg("e2e/run.mjs")
        .args(["--base", &cluster.urls().join(","), "--page", &format!("{}/", cluster.nodes[0].url())])
        .arg("--shots")
        .arg(&shots)
        .arg("--chromium")
        .arg(place::chromium().unwrap())
        .current_dir(place::repository().join("client-wasm/js"))
        .output()
        .expect("Node.js is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no report; it ended with {}:\n{errors}", output.status));
    let checks = report["checks"].as_array().expect("the report names its checks");
    for check in checks {
        println!(
            "{}: {} in {} ms",
            check["name"],
            if check["ok"] == true { "ok" } else { "FAILED" },
            check["ms"]
        );
    }
    println!("screenshots of the page are in {}", shots.display());
    assert!(!checks.is_empty() && output.status.success(), "{report:#}\n{errors}");
}
