//! The cluster as this node knows it: layout, voters, addresses.
//!
//! It is kept in the data folder too, so that a node that starts while the registry is away serves with the last
//! layout it stored.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use holdfast_core::ids::{NodeId, Partition};
use holdfast_core::placement::Layout;
use holdfast_core::register::Quorum;
use serde::{Deserialize, Serialize};

use crate::env::Disk;
use crate::registry::{NodeEntry, decode_layout, encode_layout};

/// Where the last known cluster is kept in the data folder.
const FILE: &str = "cluster.json";
/// The same while it is being written.
const FILE_NEW: &str = "cluster.json.new";
/// Largest stored view: a layout and a thousand registrations.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// One consistent picture. Replaced as a whole.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// Who holds what.
    pub layout: Arc<Layout>,
    /// Every node whose registration is known, also when it is not registered now.
    pub nodes: BTreeMap<NodeId, NodeEntry>,
    /// Those registered now, as far as the registry could be asked.
    pub registered: BTreeSet<NodeId>,
    /// Whether the registry answers.
    pub registry_connected: bool,
    /// By partition. Shared by the views of one layout.
    quorums: Arc<[Arc<Quorum>]>,
}

impl ClusterView {
    /// A view of a layout.
    pub fn new(layout: Arc<Layout>, nodes: BTreeMap<NodeId, NodeEntry>) -> Self {
        let quorums = layout.partitions.iter().map(|partition| Arc::new(Quorum::new(partition))).collect();
        Self { layout, nodes, registered: BTreeSet::new(), registry_connected: false, quorums }
    }

    /// The same layout with other nodes.
    pub(super) fn with_nodes(&self, nodes: BTreeMap<NodeId, NodeEntry>) -> Self {
        let (layout, quorums) = (self.layout.clone(), self.quorums.clone());
        Self { layout, nodes, registered: BTreeSet::new(), registry_connected: false, quorums }
    }

    /// Whether `other` has this view's layout, and was made from it.
    pub(super) fn is_layout_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.quorums, &other.quorums)
    }

    /// A partition's voters.
    pub fn quorum(&self, partition: Partition) -> &Arc<Quorum> {
        &self.quorums[partition.index()]
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    /// As in the registry.
    layout: String,
    /// Node id to registration, as in the registry.
    nodes: BTreeMap<String, String>,
    /// First 16 hex digits of the BLAKE3 of all that: a flipped bit must not make another layout of it. Versions before
    /// it was there wrote none.
    #[serde(default)]
    checksum: Option<String>,
}

impl Stored {
    fn sum(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let pairs = self.nodes.iter().flat_map(|(id, entry)| [id, entry]);
        for text in std::iter::once(&self.layout).chain(pairs) {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

/// Writes the view down, atomically.
pub(super) fn store_view(disk: &dyn Disk, view: &ClusterView) -> io::Result<()> {
    let invalid = |error: holdfast_core::error::Invalid| io::Error::other(error.to_string());
    let nodes = view.nodes.iter().map(|(id, entry)| Ok((id.to_string(), entry.encode().map_err(invalid)?)));
    let mut stored = Stored {
        layout: encode_layout(&view.layout).map_err(invalid)?,
        nodes: nodes.collect::<io::Result<_>>()?,
        checksum: None,
    };
    stored.checksum = Some(stored.sum());
    let bytes = serde_json::to_vec(&stored).map_err(io::Error::other)?;
    {
        let file = disk.open(FILE_NEW, true)?;
        file.set_len(0)?;
        file.write_at(0, &bytes)?;
        file.sync_data()?;
    }
    disk.rename(FILE_NEW, FILE)?;
    disk.sync_dir("")
}

/// The view as stored last; `None` when there is none.
pub(super) fn stored_view(disk: &dyn Disk) -> io::Result<Option<ClusterView>> {
    let file = match disk.open(FILE, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = file.len()?;
    if size > FILE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "{FILE} is too large: remove it, the registry has its contents"
        )));
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    file.read_at(0, &mut bytes)?;
    let damaged =
        |what: String| io::Error::other(format!("{FILE}: {what}: remove it, the registry has its contents"));
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if stored.checksum.as_ref().is_some_and(|said| *said != stored.sum()) {
        return Err(damaged("its checksum is wrong".to_owned()));
    }
    let layout = decode_layout(&stored.layout).map_err(|error| damaged(error.to_string()))?;
    let nodes = stored.nodes.iter().map(|(id, entry)| {
        let id = id.parse::<NodeId>().map_err(|error| damaged(error.to_string()))?;
        Ok((id, NodeEntry::decode(entry).map_err(|error| damaged(error.to_string()))?))
    });
    Ok(Some(ClusterView::new(Arc::new(layout), nodes.collect::<io::Result<_>>()?)))
}
