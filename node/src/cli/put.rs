//! `node put`.

use std::fs::File;
use std::io::{self, Read};

use clap::Args;
use holdfast::{Condition, OpId, PutOptions, Version};
use holdfast_core::record::{BODY_BYTES_MAX, CONTENT_TYPE_DEFAULT};

use super::failure::Failure;
use super::output::{info_json, print, print_json};
use super::target::Target;
use super::{Connection, output};

/// Store a file as an object. Prints its version and its BLAKE3, which is what `b3sum` prints of the file.
#[derive(Args, Clone, Debug)]
pub struct Put {
    #[command(flatten)]
    connection: Connection,
    /// Where to: the key is everything after the first slash, taken as it is typed
    #[arg(value_name = "BUCKET/KEY")]
    target: Target,
    /// What; '-' is standard input
    #[arg(default_value = "-")]
    file: String,
    /// Media type; guessed from the name of the file, or else of the key
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// A name and value of your own; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_meta)]
    meta: Vec<(String, String)>,
    /// Only if there is no such object yet
    #[arg(long, conflicts_with = "if_version")]
    if_absent: bool,
    /// Only if the object still has this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<Version>,
    /// Repeat a put whose outcome is unknown, under its op id: it takes effect at most once
    #[arg(long, value_name = "ID")]
    op_id: Option<OpId>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Put {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.connection.client()?;
        let body = self.read()?;
        let condition = match self.if_version {
            Some(version) => Condition::IfVersion(version),
            None if self.if_absent => Condition::IfAbsent,
            None => Condition::Always,
        };
        let options = PutOptions {
            content_type: self.content_type(),
            metadata: self.meta.iter().cloned().collect(),
            condition,
            timeout: None,
            op_id: self.op_id,
        };
        let info = client
            .put(self.target.bucket(), self.target.key(), body, options)
            .await
            .map_err(|error| Failure::of_mutation(&self.target, &self.connection, &error))?;
        if self.json {
            print_json(&info_json(&info))
        } else {
            print(format!("version  {}\nblake3   {}\n", info.version, info.hash_hex()).as_bytes())
        }
    }

    /// The whole body, which is bounded: a larger file is not read to its end.
    fn read(&self) -> Result<Vec<u8>, Failure> {
        let (name, source): (&str, Box<dyn Read>) = match self.file.as_str() {
            "-" => ("standard input", Box::new(io::stdin().lock())),
            path => {
                let file = File::open(path).map_err(|error| Failure::file("open", path, &error))?;
                (path, Box::new(file))
            }
        };
        let mut body = Vec::new();
        let limit = BODY_BYTES_MAX as u64;
        source.take(limit + 1).read_to_end(&mut body).map_err(|error| Failure::file("read", name, &error))?;
        if body.len() > BODY_BYTES_MAX {
            return Err(Failure::usage(format!("{name} is over the limit of {limit} bytes for one object")));
        }
        Ok(body)
    }

    fn content_type(&self) -> String {
        if let Some(given) = &self.content_type {
            return given.clone();
        }
        let of_file = mime_guess::from_path(&self.file).first_raw();
        let of_key = || mime_guess::from_path(self.target.key()).first_raw();
        of_file.or_else(of_key).unwrap_or(CONTENT_TYPE_DEFAULT).to_owned()
    }
}

fn parse_meta(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{} is not NAME=VALUE", output::quoted(text))),
    }
}
