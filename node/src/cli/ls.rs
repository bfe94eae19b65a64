//! `node ls`.

use std::fmt::Write as _;

use clap::Args;
use futures_util::TryStreamExt as _;
use holdfast::{Entry, ListOptions};
use serde_json::json;

use super::Connection;
use super::failure::Failure;
use super::output::{info_json, print, time_text};
use super::target::Scope;

/// List a bucket: size, time and key of each object. Keys below a slash are rolled up, as folders are.
#[derive(Args, Clone, Debug)]
pub struct Ls {
    #[command(flatten)]
    connection: Connection,
    /// The bucket, and what keys must start with
    #[arg(value_name = "BUCKET[/PREFIX]")]
    scope: Scope,
    /// All keys, nothing rolled up
    #[arg(short, long)]
    recursive: bool,
    /// Print JSON: one line for each entry
    #[arg(long)]
    json: bool,
}

impl Ls {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.connection.client()?;
        let options = ListOptions {
            prefix: self.scope.prefix.clone(),
            delimiter: if self.recursive { String::new() } else { "/".to_owned() },
            ..ListOptions::default()
        };
        let lister = client.list(self.scope.bucket.as_str(), options)?;
        // All of it before the first line: half a listing must not look like a whole one.
        let entries: Vec<Entry> = lister.entries().try_collect().await?;
        let mut text = String::new();
        let width = entries.iter().map(|entry| size_text(entry).len()).max().unwrap_or(0);
        for entry in &entries {
            let written = match entry {
                Entry::Object(info) if self.json => writeln!(text, "{}", info_json(info)),
                Entry::Prefix(prefix) if self.json => writeln!(text, "{}", json!({ "prefix": prefix })),
                Entry::Object(info) => {
                    let (size, time) = (size_text(entry), time_text(info.modified_unix_ms));
                    writeln!(text, "{size:>width$}  {time}  {}", info.key)
                }
                Entry::Prefix(prefix) => writeln!(text, "{:>width$}  {:20}  {prefix}", "", ""),
            };
            written.expect("writing to a String cannot fail");
        }
        print(text.as_bytes())
    }
}

fn size_text(entry: &Entry) -> String {
    match entry {
        Entry::Object(info) => info.size.to_string(),
        Entry::Prefix(_) => String::new(),
    }
}
