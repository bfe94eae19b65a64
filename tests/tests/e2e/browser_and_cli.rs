//! What Chromium puts the command line reads, and the other way round: the same bytes, content type and metadata, for
//! 200 real files with odd names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use holdfast_tests::cluster::RegistryKind;
use holdfast_tests::place;
use serde_json::{Value, json};

use crate::real_files::{RealFile, collect};
use crate::scene::three_nodes;

const FILES: usize = 200;
const BUCKET: &str = "files";

#[test]
fn two_hundred_real_files_both_ways() {
    let cluster = three_nodes(RegistryKind::Embedded);
    let cli = Cli { binary: place::node_binary().unwrap(), endpoints: cluster.urls().join(",") };
    let folder = cluster.folder().join("files");
    fs::create_dir_all(&folder).unwrap();
    let mut from_browser = Vec::new();
    let mut from_cli = Vec::new();
    for (number, file) in collect(FILES).into_iter().enumerate() {
        let path = folder.join(format!("{number}"));
        fs::write(&path, &file.body).unwrap();
        if number % 2 == 0 { from_browser.push((file, path)) } else { from_cli.push((file, path)) }
    }
    for (file, path) in &from_cli {
        cli.put(file, path);
    }

    let puts: Vec<Value> = from_browser
        .iter()
        .map(|(file, path)| {
            json!({ "key": file.key, "path": path, "contentType": file.content_type, "metadata": file.metadata })
        })
        .collect();
    let got = |path: &Path| path.with_extension("got");
    let gets: Vec<Value> =
        from_cli.iter().map(|(file, path)| json!({ "key": file.key, "path": got(path) })).collect();
    let job = json!({ "endpoints": cluster.urls(), "bucket": BUCKET, "put": puts, "get": gets });
    let infos = in_chromium(&folder.join("job.json"), &job);
    assert_eq!(infos.len(), FILES);

    for ((file, path), info) in from_cli.iter().zip(&infos[from_browser.len()..]) {
        assert!(fs::read(got(path)).unwrap() == file.body, "{}: other bytes in Chromium", file.key);
        same_head(file, info, "Chromium");
    }
    for (file, path) in &from_browser {
        cli.get(file, &got(path));
        assert!(fs::read(got(path)).unwrap() == file.body, "{}: other bytes at the command line", file.key);
        same_head(file, &cli.stat(file), "the command line");
    }
    println!(
        "{} files from Chromium and {} from the command line: all equal",
        from_browser.len(),
        from_cli.len()
    );
}

/// `camel` is the field's name in the browser, `snake` at the command line.
fn same_head(file: &RealFile, info: &Value, whose: &str) {
    let field =
        |camel: &str, snake: &str| info.get(camel).or_else(|| info.get(snake)).cloned().unwrap_or_default();
    let key = &file.key;
    assert_eq!(field("key", "key"), json!(key), "{whose}");
    assert_eq!(field("size", "size"), json!(file.body.len()), "{whose}: {key}");
    assert_eq!(field("contentType", "content_type"), json!(file.content_type), "{whose}: {key}");
    let metadata: BTreeMap<String, String> = serde_json::from_value(field("metadata", "metadata")).unwrap();
    assert_eq!(metadata, file.metadata, "{whose}: {key}");
    assert_eq!(field("hash", "blake3"), json!(blake3::hash(&file.body).to_hex().as_str()), "{whose}: {key}");
}

fn in_chromium(path: &Path, job: &Value) -> Vec<Value> {
    fs::write(path, job.to_string()).unwrap();
    let script = place::repository().join("tests/browser/exchange.mjs");
    let output = Command::new("node")
        .arg(script)
        .arg(path)
        .arg(place::chromium().unwrap())
        .output()
        .expect("Node.js is installed");
    let output = succeeded(output, "exchange.mjs");
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn succeeded(output: Output, what: &str) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what} ended with {}:\n{errors}", output.status);
    String::from_utf8(output.stdout).expect("it prints text")
}

/// The command line.
struct Cli {
    binary: PathBuf,
    endpoints: String,
}

impl Cli {
    fn put(&self, file: &RealFile, path: &Path) {
        let mut command = self.verb("put");
        command.args(["--content-type", file.content_type]);
        for (name, value) in &file.metadata {
            command.arg("--meta").arg(format!("{name}={value}"));
        }
        succeeded(command.arg("--").arg(name(file)).arg(path).output().unwrap(), "node put");
    }

    fn get(&self, file: &RealFile, path: &Path) {
        succeeded(self.verb("get").arg("--").arg(name(file)).arg(path).output().unwrap(), "node get");
    }

    fn stat(&self, file: &RealFile) -> Value {
        let output = self.verb("stat").arg("--json").arg("--").arg(name(file)).output().unwrap();
        serde_json::from_str(&succeeded(output, "node stat")).unwrap()
    }

    fn verb(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.args([verb, "--endpoint", &self.endpoints]);
        command
    }
}

fn name(file: &RealFile) -> String {
    format!("{BUCKET}/{}", file.key)
}
