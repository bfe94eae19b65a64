//! What is kept of the cluster's view in the data folder, so that a node that starts while the registry is away serves
//! with the last layout it took.
//!
//! Two files, since addresses come and go and the layout is long: each begins with a line that has its checksum, and is
//! replaced as a whole.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use holdfast_core::error::Invalid;
use holdfast_core::ids::NodeId;
use holdfast_core::placement::Layout;
use parking_lot::Mutex;

use super::view::ClusterView;
use crate::env::Disk;
use crate::registry::{NodeEntry, decode_layout, encode_layout};

/// The layout, as in the registry.
const LAYOUT_FILE: &str = "layout.json";
/// Node id to registration, as in the registry.
const NODES_FILE: &str = "nodes.json";
/// Largest of either: a layout, or a thousand registrations.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Hex digits of the BLAKE3 in the first line: a flipped bit must not make another layout.
const SUM_DIGITS: usize = 16;

/// The view in the data folder.
#[derive(Debug, Default)]
pub(super) struct KeptView {
    /// The layout that is certainly there.
    layout: Mutex<Option<Arc<Layout>>>,
}

impl KeptView {
    /// Writes down what of the view is not there yet. Addresses that cannot be written are only logged: the registry has
    /// them, and peers do.
    pub(super) fn keep(&self, disk: &dyn Disk, view: &ClusterView) -> io::Result<()> {
        let invalid = |error: Invalid| io::Error::other(error.to_string());
        let mut kept = self.layout.lock();
        if kept.as_ref() != Some(&view.layout) {
            *kept = None;
            write(disk, LAYOUT_FILE, &encode_layout(&view.layout).map_err(invalid)?)?;
            *kept = Some(view.layout.clone());
        }
        let nodes =
            view.nodes.iter().map(|(id, entry)| Ok((id.to_string(), entry.encode().map_err(invalid)?)));
        let nodes: BTreeMap<String, String> = nodes.collect::<io::Result<_>>()?;
        let nodes = serde_json::to_string(&nodes).map_err(io::Error::other)?;
        if let Err(error) = write(disk, NODES_FILE, &nodes) {
            tracing::error!(%error, "the nodes' addresses could not be kept in the data folder");
        }
        Ok(())
    }

    /// The view as kept last; `None` when there is none.
    pub(super) fn load(&self, disk: &dyn Disk) -> io::Result<Option<ClusterView>> {
        let Some(text) = read(disk, LAYOUT_FILE)? else { return Ok(None) };
        let layout = Arc::new(decode_layout(&text).map_err(|error| damaged(LAYOUT_FILE, error))?);
        let nodes: BTreeMap<String, String> = match read(disk, NODES_FILE)? {
            Some(text) => serde_json::from_str(&text).map_err(|error| damaged(NODES_FILE, error))?,
            // A crash came between the two: the registry has the addresses.
            None => BTreeMap::new(),
        };
        let nodes = nodes.iter().map(|(id, entry)| {
            let id = id.parse::<NodeId>().map_err(|error| damaged(NODES_FILE, error))?;
            Ok((id, NodeEntry::decode(entry).map_err(|error| damaged(NODES_FILE, error))?))
        });
        let nodes = nodes.collect::<io::Result<_>>()?;
        *self.layout.lock() = Some(layout.clone());
        Ok(Some(ClusterView::new(layout, nodes)))
    }
}

fn damaged(file: &str, what: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{file}: {what}: remove it, the registry has its contents"))
}

fn sum(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..SUM_DIGITS].to_owned()
}

/// Replaces a file, atomically.
fn write(disk: &dyn Disk, name: &str, text: &str) -> io::Result<()> {
    let new = format!("{name}.new");
    {
        let file = disk.open(&new, true)?;
        file.set_len(0)?;
        file.write_at(0, format!("{}\n{text}", sum(text)).as_bytes())?;
        file.sync_data()?;
    }
    disk.rename(&new, name)?;
    disk.sync_dir("")
}

fn read(disk: &dyn Disk, name: &str) -> io::Result<Option<String>> {
    let file = match disk.open(name, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = file.len()?;
    if size > FILE_BYTES_MAX {
        return Err(damaged(name, format_args!("it has {size} bytes")));
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    file.read_at(0, &mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|error| damaged(name, error))?;
    match text.split_once('\n') {
        Some((said, text)) if said == sum(text) => Ok(Some(text.to_owned())),
        _ => Err(damaged(name, "its checksum is wrong")),
    }
}
