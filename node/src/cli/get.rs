//! `node get`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use holdfast::{GetOptions, OpId, Range};

use super::Connection;
use super::failure::Failure;
use super::output::print;
use super::target::Target;

/// Fetch an object. A file appears whole and verified, or not at all.
#[derive(Args, Clone, Debug)]
pub struct Get {
    #[command(flatten)]
    connection: Connection,
    /// Which object
    #[arg(value_name = "BUCKET/KEY")]
    target: Target,
    /// Where to; '-' is standard output; a folder gets a file named after the key
    #[arg(default_value = "-")]
    file: String,
    /// Only these bytes: FIRST-LAST, FIRST- or -COUNT (the last ones), as in HTTP
    #[arg(long, value_name = "RANGE", value_parser = parse_range, allow_hyphen_values = true)]
    range: Option<Range>,
}

impl Get {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.connection.client()?;
        let options = GetOptions { range: self.range, ..GetOptions::default() };
        let object = client
            .get(self.target.bucket(), self.target.key(), options)
            .await
            .map_err(|error| Failure::of(&self.target, &error))?;
        if self.file == "-" {
            return print(&object.body);
        }
        let path = self.path()?;
        // A name that nobody else has, beside the file, so that the rename stays on its disk.
        let temporary = temporary_beside(&path, client.fresh_op_id());
        write_then_rename(&temporary, &path, &object.body).map_err(|error| {
            // What was not finished is of no use; that it cannot be removed is the lesser problem.
            drop(fs::remove_file(&temporary));
            Failure::file("write", &path.display().to_string(), &error)
        })
    }

    fn path(&self) -> Result<PathBuf, Failure> {
        let path = Path::new(&self.file);
        if !path.is_dir() {
            return Ok(path.to_owned());
        }
        let name = self.target.file_name().ok_or_else(|| {
            Failure::usage(format!("{}: its name ends with a slash, give a file to write to", self.target))
        })?;
        Ok(path.join(name))
    }
}

fn temporary_beside(path: &Path, id: OpId) -> PathBuf {
    path.with_file_name(format!(".holdfast-{id}.part"))
}

fn write_then_rename(temporary: &Path, path: &Path, body: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).open(temporary)?;
    file.write_all(body)?;
    file.sync_all()?;
    fs::rename(temporary, path)
}

fn parse_range(text: &str) -> Result<Range, String> {
    let bad = || format!("{text} is no range: give FIRST-LAST, FIRST- or -COUNT");
    let number = |digits: &str| digits.parse::<u64>().map_err(|_| bad());
    match text.split_once('-').ok_or_else(bad)? {
        ("", count) => Ok(Range::Last(number(count)?)),
        (first, "") => Ok(Range::From(number(first)?)),
        (first, last) => match (number(first)?, number(last)?) {
            (first, last) if first <= last => Ok(Range::FromTo(first, last)),
            _ => Err(bad()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_writes_them() {
        assert_eq!(parse_range("0-9"), Ok(Range::FromTo(0, 9)));
        assert_eq!(parse_range("5-"), Ok(Range::From(5)));
        assert_eq!(parse_range("-5"), Ok(Range::Last(5)));
        for bad in ["", "-", "5", "9-0", "a-b", "1-2-3"] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }
}
