//! Settings as given: by flags, by the environment, by a file. One list for all three.

use std::path::PathBuf;

use serde::Deserialize;

use super::amount::{ByteCount, Secret};

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Every setting of `node serve`, each optional. In the file, the names are those of the flags without the dashes.
#[derive(Clone, Debug, Default, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SettingsInput {
    /// A TOML file with any of these settings, under the names of the flags: `data-dir = "/var/lib/holdfast"`.
    /// Flags and environment win over it
    #[arg(long, env = "HOLDFAST_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// Folder with everything that this node keeps; made if missing. One node each, never shared or copied
    /// [default: holdfast-data]
    #[arg(long, env = "HOLDFAST_DATA_DIR", value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,

    /// Name of the cluster: a data folder of another one is refused [default: holdfast]
    #[arg(long, env = "HOLDFAST_CLUSTER", value_name = "NAME")]
    pub cluster: Option<String>,

    /// Where clients connect: gRPC, grpc-web and HTTP on one port (port 0: any free one) [default: 127.0.0.1:7070]
    #[arg(long, env = "HOLDFAST_CLIENT_LISTEN", value_name = "HOST:PORT")]
    pub client_listen: Option<String>,

    /// Where other nodes connect [default: 127.0.0.1:7071]
    #[arg(long, env = "HOLDFAST_PEER_LISTEN", value_name = "HOST:PORT")]
    pub peer_listen: Option<String>,

    /// URL under which clients reach this node [default: http:// and the address it listens on]
    #[arg(long, env = "HOLDFAST_CLIENT_ADVERTISE", value_name = "URL")]
    pub client_advertise: Option<String>,

    /// Address under which other nodes reach this one [default: the address it listens on]
    #[arg(long, env = "HOLDFAST_PEER_ADVERTISE", value_name = "HOST:PORT")]
    pub peer_advertise: Option<String>,

    /// Failure zone (a rack, a room): replicas go to distinct zones where there are enough
    /// [default: the node's id, so that every node is a zone]
    #[arg(long, env = "HOLDFAST_ZONE", value_name = "NAME")]
    pub zone: Option<String>,

    /// Bytes this node offers, such as 500G or 2Ti: load is spread in proportion
    /// [default: the free space of the data folder's disk when the folder is made]
    #[arg(long, env = "HOLDFAST_CAPACITY", value_name = "BYTES")]
    pub capacity: Option<ByteCount>,

    /// etcd's addresses, separated by commas: http://10.0.0.5:2379,http://10.0.0.6:2379. Without --etcd and
    /// --registry-dir the node is on its own [default: none]
    #[arg(
        long,
        env = "HOLDFAST_ETCD",
        value_name = "URL,…",
        value_delimiter = ',',
        conflicts_with = "registry_dir"
    )]
    pub etcd: Option<Vec<String>>,

    /// PEM file with the authority that signed etcd's certificate [default: none]
    #[arg(long, env = "HOLDFAST_ETCD_CA", value_name = "FILE")]
    pub etcd_ca: Option<PathBuf>,

    /// PEM file with the certificate shown to etcd; needs --etcd-key [default: none]
    #[arg(long, env = "HOLDFAST_ETCD_CERT", value_name = "FILE")]
    pub etcd_cert: Option<PathBuf>,

    /// PEM file with the key of --etcd-cert [default: none]
    #[arg(long, env = "HOLDFAST_ETCD_KEY", value_name = "FILE")]
    pub etcd_key: Option<PathBuf>,

    /// User at etcd; needs --etcd-password [default: none]
    #[arg(long, env = "HOLDFAST_ETCD_USER", value_name = "NAME")]
    pub etcd_user: Option<String>,

    /// Password at etcd; give it by environment or file, since others can see a command line [default: none]
    #[arg(long, env = "HOLDFAST_ETCD_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub etcd_password: Option<Secret>,

    /// Folder of the embedded registry, which the nodes of one machine share [default: none]
    #[arg(long, env = "HOLDFAST_REGISTRY_DIR", value_name = "FOLDER")]
    pub registry_dir: Option<PathBuf>,

    /// Copies of every object, when the first layout is made [default: 3; 1 for a node on its own]
    #[arg(long, env = "HOLDFAST_REPLICATION", value_name = "COPIES")]
    pub replication: Option<u8>,

    /// The first layout is made when so many nodes are registered [default: --replication]
    #[arg(long, env = "HOLDFAST_BOOTSTRAP_NODES", value_name = "NODES")]
    pub bootstrap_nodes: Option<u16>,

    /// A node counts as gone so many seconds after its last sign of life at the registry [default: 10]
    #[arg(long, env = "HOLDFAST_LEASE_TTL_S", value_name = "SECONDS")]
    pub lease_ttl_s: Option<u32>,

    /// Acknowledge writes before they are on disk: a power loss takes them. For experiments only [default: false]
    #[arg(long, env = "HOLDFAST_NO_FSYNC", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub no_fsync: Option<bool>,

    /// So much log begins a checkpoint: what is in memory until then, and what a start reads again; twice as much at most
    /// [default: 16Mi]
    #[arg(long, env = "HOLDFAST_CHECKPOINT_LOG", value_name = "BYTES")]
    pub checkpoint_log: Option<ByteCount>,

    /// So many seconds after the last write the rest is checkpointed [default: 5]
    #[arg(long, env = "HOLDFAST_CHECKPOINT_QUIET_S", value_name = "SECONDS")]
    pub checkpoint_quiet_s: Option<u32>,

    /// On a stop, requests in flight have so many seconds to finish [default: 10]
    #[arg(long, env = "HOLDFAST_STOP_GRACE_S", value_name = "SECONDS")]
    pub stop_grace_s: Option<u32>,

    /// How log lines look [default: text]
    #[arg(long, env = "HOLDFAST_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// What is logged: error, warn, info, debug or trace, also per module: info,node::peer=debug [default: info]
    #[arg(long, env = "HOLDFAST_LOG", value_name = "FILTER")]
    pub log: Option<String>,

    /// Threads that serve requests [default: the number of processors]
    #[arg(long, env = "HOLDFAST_WORKER_THREADS", value_name = "THREADS")]
    pub worker_threads: Option<u16>,
}

impl SettingsInput {
    /// Takes what is missing from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            config: self.config.or(other.config),
            data_dir: self.data_dir.or(other.data_dir),
            cluster: self.cluster.or(other.cluster),
            client_listen: self.client_listen.or(other.client_listen),
            peer_listen: self.peer_listen.or(other.peer_listen),
            client_advertise: self.client_advertise.or(other.client_advertise),
            peer_advertise: self.peer_advertise.or(other.peer_advertise),
            zone: self.zone.or(other.zone),
            capacity: self.capacity.or(other.capacity),
            etcd: self.etcd.or(other.etcd),
            etcd_ca: self.etcd_ca.or(other.etcd_ca),
            etcd_cert: self.etcd_cert.or(other.etcd_cert),
            etcd_key: self.etcd_key.or(other.etcd_key),
            etcd_user: self.etcd_user.or(other.etcd_user),
            etcd_password: self.etcd_password.or(other.etcd_password),
            registry_dir: self.registry_dir.or(other.registry_dir),
            replication: self.replication.or(other.replication),
            bootstrap_nodes: self.bootstrap_nodes.or(other.bootstrap_nodes),
            lease_ttl_s: self.lease_ttl_s.or(other.lease_ttl_s),
            no_fsync: self.no_fsync.or(other.no_fsync),
            checkpoint_log: self.checkpoint_log.or(other.checkpoint_log),
            checkpoint_quiet_s: self.checkpoint_quiet_s.or(other.checkpoint_quiet_s),
            stop_grace_s: self.stop_grace_s.or(other.stop_grace_s),
            log_format: self.log_format.or(other.log_format),
            log: self.log.or(other.log),
            worker_threads: self.worker_threads.or(other.worker_threads),
        }
    }
}
