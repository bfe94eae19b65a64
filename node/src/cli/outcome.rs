//! `node outcome`.

use clap::Args;
use holdfast::{OpId, Outcome};
use serde_json::json;

use super::Connection;
use super::failure::Failure;
use super::output::{print, print_json};
use super::target::Target;

/// Settle what became of a put or rm whose outcome is unknown: it took effect, or from now on it never will.
#[derive(Args, Clone, Debug)]
pub struct Settle {
    #[command(flatten)]
    connection: Connection,
    /// The object that it was about
    #[arg(value_name = "BUCKET/KEY")]
    target: Target,
    /// The op id that was printed
    #[arg(value_name = "OP-ID")]
    op_id: OpId,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Settle {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.connection.client()?;
        let outcome = client
            .outcome(self.target.bucket(), self.target.key(), self.op_id)
            .await
            .map_err(|error| Failure::of(&self.target, &error))?;
        let (value, text) = match outcome {
            Outcome::Committed(version) => (
                json!({ "outcome": "committed", "version": version.to_text() }),
                format!("committed: it took effect, as version {version}\n"),
            ),
            Outcome::Fenced => (
                json!({ "outcome": "fenced" }),
                "fenced: it did not take effect, and never will\n".to_owned(),
            ),
            Outcome::Unknown => {
                return Err(Failure::unknown(
                    "unknown: it was so long ago that the object's history cannot tell".to_owned(),
                ));
            }
        };
        if self.json { print_json(&value) } else { print(text.as_bytes()) }
    }
}
