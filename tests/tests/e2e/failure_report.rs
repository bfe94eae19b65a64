//! The simulator's page of a failed run in a real headless Chromium, opened as a file.
//!
//! What is checked there is in `sim/report-check/run.mjs`; this brings the pages, and reads the verdict.

use std::env;
use std::process::Command;

use holdfast_tests::place;
use serde_json::Value;

#[test]
fn the_page_of_a_failed_run_passes_its_checks() {
    let scratch = place::scratch().unwrap();
    let pages = scratch.join("failure-report");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let written = Command::new(cargo)
        .args(["run", "--quiet", "--package", "sim", "--example", "failure_report", "--target-dir"])
        .arg(scratch.parent().expect("it is in the build folder"))
        .arg("--")
        .arg(&pages)
        .current_dir(place::repository())
        .status()
        .unwrap();
    assert!(written.success(), "the pages were not written: {written}");
    let output = Command::new("node")
        .arg("sim/report-check/run.mjs")
        .arg("--pages")
        .arg(&pages)
        .arg("--shots")
        .arg(pages.join("screenshots"))
        .arg("--chromium")
        .arg(place::chromium().unwrap())
        .current_dir(place::repository())
        .output()
        .expect("Node.js is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no report; it ended with {}:\n{errors}", output.status));
    let checks = report["checks"].as_array().expect("the report names its checks");
    for check in checks {
        println!("{}: {}", check["name"], if check["ok"] == true { "ok" } else { "FAILED" });
    }
    println!("the pages and their screenshots are in {}", pages.display());
    assert!(!checks.is_empty() && output.status.success(), "{report:#}\n{errors}");
}
