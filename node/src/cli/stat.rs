//! `node stat`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::Connection;
use super::failure::Failure;
use super::output::{info_json, print, print_json, time_text};
use super::target::Target;

/// Show what is known of an object, and which nodes keep it.
#[derive(Args, Clone, Debug)]
pub struct Stat {
    #[command(flatten)]
    connection: Connection,
    /// Which object
    #[arg(value_name = "BUCKET/KEY")]
    target: Target,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Stat {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.connection.client()?;
        let head = client
            .head(self.target.bucket(), self.target.key())
            .await
            .map_err(|error| Failure::of(&self.target, &error))?;
        let replicas: Vec<_> = head.replicas.iter().map(ToString::to_string).collect();
        let info = &head.info;
        if self.json {
            let mut value = info_json(info);
            value["bucket"] = json!(self.target.bucket());
            value["replicas"] = json!(replicas);
            return print_json(&value);
        }
        let mut text = format!(
            "key       {}\nversion   {}\nsize      {}\ntype      {}\nmodified  {}\nblake3    {}\n",
            info.key,
            info.version,
            info.size,
            info.content_type,
            time_text(info.modified_unix_ms),
            info.hash_hex(),
        );
        for (name, value) in &info.metadata {
            writeln!(text, "meta      {name}={value}").expect("writing to a String cannot fail");
        }
        for (at, replica) in replicas.iter().enumerate() {
            let label = if at == 0 { "replicas" } else { "" };
            writeln!(text, "{label:8}  {replica}").expect("writing to a String cannot fail");
        }
        print(text.as_bytes())
    }
}
