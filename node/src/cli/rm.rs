//! `node rm`.

use clap::Args;
use holdfast::{Condition, DeleteOptions, OpId, Version};
use serde_json::json;

use super::Connection;
use super::failure::Failure;
use super::output::print_json;
use super::target::Target;

/// Delete an object. That there is none is no failure, unless --must-exist is given.
#[derive(Args, Clone, Debug)]
pub struct Rm {
    #[command(flatten)]
    connection: Connection,
    /// Which object
    #[arg(value_name = "BUCKET/KEY")]
    target: Target,
    /// Only if the object still has this version
    #[arg(long, value_name = "VERSION", conflicts_with = "must_exist")]
    if_version: Option<Version>,
    /// Exit with 4 when there is no such object
    #[arg(long)]
    must_exist: bool,
    /// Repeat an rm whose outcome is unknown, under its op id: it takes effect at most once
    #[arg(long, value_name = "ID")]
    op_id: Option<OpId>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Rm {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.connection.client()?;
        let condition = match self.if_version {
            Some(version) => Condition::IfVersion(version),
            None if self.must_exist => Condition::IfPresent,
            None => Condition::Always,
        };
        let options = DeleteOptions { condition, timeout: None, op_id: self.op_id };
        let deleted = client
            .delete(self.target.bucket(), self.target.key(), options)
            .await
            .map_err(|error| Failure::of_mutation(&self.target, &self.connection, &error))?;
        if self.json {
            return print_json(&json!({ "deleted": deleted.found }));
        }
        Ok(())
    }
}
