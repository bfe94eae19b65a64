//! Whose data folder it is: a small text file.
//!
//! It is read before anything else is touched, so that a wrong folder is refused unchanged. From format 2 on its last
//! line is a checksum of those before.

use std::fmt::Write as _;
use std::io;

use holdfast_core::ids::NodeId;

use crate::env::Disk;

use super::error::OpenError;
use super::format::FORMAT;

const IDENTITY_FILE: &str = "identity";
const IDENTITY_FILE_NEW: &str = "identity.new";
/// Far more than a cluster's name and an id need.
const IDENTITY_BYTES_MAX: u64 = 4096;
/// How the line with the checksum begins.
const CHECK: &str = "checksum: ";
/// The first format that has one.
const FORMAT_CHECKED: u32 = 2;

/// Whose data folder it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    /// The folder's format.
    pub(super) format: u32,
    pub(super) cluster: String,
    pub(super) node: NodeId,
}

impl Identity {
    /// Reads it. `None`: the folder was never used (or its first start did not come to its end).
    pub(super) fn read(disk: &dyn Disk) -> Result<Option<Self>, OpenError> {
        let file = match disk.open(IDENTITY_FILE, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let len = file.len()?;
        if len > IDENTITY_BYTES_MAX {
            return Err(damaged("it is too long"));
        }
        // A killed process may have left it in the page cache only, and it is about to be believed.
        file.sync_data()?;
        disk.sync_dir("")?;
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| damaged("it is too long"))?];
        file.read_at(0, &mut bytes)?;
        Self::parse(std::str::from_utf8(&bytes).map_err(|_| damaged("it is not text"))?).map(Some)
    }

    fn parse(text: &str) -> Result<Self, OpenError> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.ok_or_else(|| damaged(&format!("the line {name:?} is missing")))
        };
        // First the format: a newer one may say the rest in another way.
        let format: u32 = field("format")?.parse().map_err(|_| damaged("the format is not a number"))?;
        if format > FORMAT {
            return Err(OpenError::NewerFormat { found: format, newest: FORMAT });
        }
        if format >= FORMAT_CHECKED {
            let (said, check) = text.rsplit_once(CHECK).ok_or_else(|| damaged("it has no checksum"))?;
            if check.trim_end() != checksum(said) {
                return Err(damaged("its checksum is wrong"));
            }
        }
        let node = field("node")?.parse().map_err(|_| damaged("the node is not an id"))?;
        Ok(Self { format, cluster: field("cluster")?.to_owned(), node })
    }

    /// Writes it, durable before this returns.
    pub(super) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let mut text = String::new();
        writeln!(text, "format: {}\ncluster: {}\nnode: {}", self.format, self.cluster, self.node)
            .expect("writing to a String cannot fail");
        let check = checksum(&text);
        writeln!(text, "{CHECK}{check}").expect("writing to a String cannot fail");
        let file = disk.open(IDENTITY_FILE_NEW, true)?;
        file.set_len(0)?;
        file.write_at(0, text.as_bytes())?;
        file.sync_data()?;
        disk.rename(IDENTITY_FILE_NEW, IDENTITY_FILE)?;
        disk.sync_dir("")
    }
}

fn checksum(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

fn damaged(what: &str) -> OpenError {
    OpenError::Damaged(format!("the file {IDENTITY_FILE}: {what}"))
}
