//! Settings, resolved and checked: what leaves this file can be acted on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_core::ids::check_cluster_name;

use crate::store::{CHECKPOINT_LOG_BYTES, CHECKPOINT_QUIET_S};

use super::amount::{ByteCount, Secret};
use super::input::{LogFormat, SettingsInput};

/// Most copies of an object: more cost every write and add nothing.
const REPLICATION_MAX: u8 = 7;
/// Shortest lease: a node's hiccup must not look like its death.
const LEASE_TTL_S_MIN: u32 = 2;
const LEASE_TTL_S_MAX: u32 = 600;
const WORKER_THREADS_MAX: u16 = 256;
/// Below, a checkpoint costs more than what it writes; above, a start takes long.
const CHECKPOINT_LOG_RANGE: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 30;
/// Largest settings file.
const FILE_BYTES_MAX: usize = 1 << 20;

/// What is wrong with the settings, for people.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ConfigError(String);

/// How etcd is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    /// Its addresses, at least one.
    pub urls: Vec<String>,
    /// PEM file with the authority that signed its certificate.
    pub ca: Option<PathBuf>,
    /// PEM files with the certificate shown to it, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// User and password.
    pub user: Option<(String, Secret)>,
}

/// Where the cluster's facts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrySettings {
    /// etcd.
    Etcd(EtcdSettings),
    /// Embedded, in a folder that the nodes of one machine share.
    Shared(PathBuf),
    /// Embedded, within the data folder: a node on its own.
    Alone,
}

/// The settings of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Folder with everything that the node keeps.
    pub data_dir: PathBuf,
    /// Name of the cluster, checked.
    pub cluster: String,
    /// `host:port` for clients.
    pub client_listen: String,
    /// `host:port` for nodes.
    pub peer_listen: String,
    /// URL that clients are told; `None`: from the address bound.
    pub client_advertise: Option<String>,
    /// `host:port` that nodes are told; `None`: the address bound.
    pub peer_advertise: Option<String>,
    /// Failure zone; `None`: the node's id.
    pub zone: Option<String>,
    /// Bytes offered; `None`: the disk's free space.
    pub capacity: Option<u64>,
    /// Where the cluster's facts are.
    pub registry: RegistrySettings,
    /// Copies of every object in the first layout, 1 to 7.
    pub replication: u8,
    /// Nodes that the first layout waits for, at least `replication`.
    pub bootstrap_nodes: u16,
    /// How long a node's registration outlives its last sign of life.
    pub lease_ttl: Duration,
    /// False with `--no-fsync`.
    pub fsync: bool,
    /// Log bytes that begin a checkpoint, 4 KiB to 1 GiB.
    pub checkpoint_log: u64,
    /// How long after the last write the rest is checkpointed, 1 s to 1 h.
    pub checkpoint_quiet: Duration,
    /// How long a stop waits for requests in flight.
    pub stop_grace: Duration,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged.
    pub log: String,
    /// Threads that serve requests; `None`: as many as there are processors.
    pub worker_threads: Option<usize>,
}

impl Settings {
    /// From flags and environment (`given`), and the file that those may name.
    pub fn resolve(given: SettingsInput) -> Result<Self, ConfigError> {
        let file = match &given.config {
            Some(path) => read_file(path)?,
            None => SettingsInput::default(),
        };
        Self::check(given.or(file))
    }

    /// Applies defaults and checks.
    pub fn check(input: SettingsInput) -> Result<Self, ConfigError> {
        let cluster = check_cluster_name(input.cluster.as_deref().unwrap_or("holdfast"))
            .map_err(|invalid| wrong(invalid.to_string()))?;
        let registry = registry_settings(&input)?;
        let alone = registry == RegistrySettings::Alone;
        let replication = input.replication.unwrap_or(if alone { 1 } else { 3 });
        if alone && replication != 1 {
            return Err(wrong(
                "a node on its own keeps one copy: give --etcd or --registry-dir for --replication",
            ));
        }
        if !(1..=REPLICATION_MAX).contains(&replication) {
            return Err(wrong(format!("replication is {replication}: it must be 1 to {REPLICATION_MAX}")));
        }
        let bootstrap_nodes = input.bootstrap_nodes.unwrap_or(u16::from(replication));
        if bootstrap_nodes < u16::from(replication) {
            return Err(wrong(format!(
                "bootstrap-nodes is {bootstrap_nodes}: {replication} copies need at least {replication} nodes"
            )));
        }
        let lease_ttl_s = in_range("lease-ttl-s", input.lease_ttl_s, 10, LEASE_TTL_S_MIN..=LEASE_TTL_S_MAX)?;
        let stop_grace_s = in_range("stop-grace-s", input.stop_grace_s, 10, 0..=3600)?;
        let checkpoint_log = input.checkpoint_log.map_or(CHECKPOINT_LOG_BYTES, |count| count.0);
        if !CHECKPOINT_LOG_RANGE.contains(&checkpoint_log) {
            return Err(wrong(format!("checkpoint-log is {checkpoint_log} bytes: it must be 4Ki to 1Gi")));
        }
        let checkpoint_quiet_s =
            in_range("checkpoint-quiet-s", input.checkpoint_quiet_s, CHECKPOINT_QUIET_S, 1..=3600)?;
        if let Some(threads) =
            input.worker_threads.filter(|threads| !(1..=WORKER_THREADS_MAX).contains(threads))
        {
            return Err(wrong(format!("worker-threads is {threads}: it must be 1 to {WORKER_THREADS_MAX}")));
        }
        if input.capacity == Some(ByteCount(0)) {
            return Err(wrong("capacity is 0: a node must offer something"));
        }
        let client_listen = address("client-listen", input.client_listen.unwrap_or("127.0.0.1:7070".into()))?;
        let peer_listen = address("peer-listen", input.peer_listen.unwrap_or("127.0.0.1:7071".into()))?;
        needs_advertise("client", &client_listen, input.client_advertise.as_ref())?;
        needs_advertise("peer", &peer_listen, input.peer_advertise.as_ref())?;
        let client_advertise = input.client_advertise.map(|url| client_url(&url)).transpose()?;
        let peer_advertise = input.peer_advertise.map(|text| address("peer-advertise", text)).transpose()?;
        Ok(Self {
            data_dir: input.data_dir.unwrap_or_else(|| PathBuf::from("holdfast-data")),
            cluster,
            client_listen,
            peer_listen,
            client_advertise,
            peer_advertise,
            zone: input.zone,
            capacity: input.capacity.map(|count| count.0),
            registry,
            replication,
            bootstrap_nodes,
            lease_ttl: Duration::from_secs(lease_ttl_s.into()),
            fsync: !input.no_fsync.unwrap_or(false),
            checkpoint_log,
            checkpoint_quiet: Duration::from_secs(checkpoint_quiet_s.into()),
            stop_grace: Duration::from_secs(stop_grace_s.into()),
            log_format: input.log_format.unwrap_or_default(),
            log: input.log.unwrap_or_else(|| "info".to_owned()),
            worker_threads: input.worker_threads.map(usize::from),
        })
    }
}

fn wrong(what: impl Into<String>) -> ConfigError {
    ConfigError(what.into())
}

fn read_file(path: &Path) -> Result<SettingsInput, ConfigError> {
    let shown = path.display();
    // There is no Env yet: what it is made of is in this file.
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(format!("the settings file {shown} cannot be read: {error}")))?;
    if text.len() > FILE_BYTES_MAX {
        return Err(wrong(format!("the settings file {shown} is over {FILE_BYTES_MAX} bytes")));
    }
    toml::from_str(&text).map_err(|error| wrong(format!("in the settings file {shown}: {error}")))
}

fn registry_settings(input: &SettingsInput) -> Result<RegistrySettings, ConfigError> {
    let etcd_only = [
        ("etcd-ca", input.etcd_ca.is_some()),
        ("etcd-cert", input.etcd_cert.is_some()),
        ("etcd-key", input.etcd_key.is_some()),
        ("etcd-user", input.etcd_user.is_some()),
        ("etcd-password", input.etcd_password.is_some()),
    ];
    match (&input.etcd, &input.registry_dir) {
        (Some(_), Some(_)) => Err(wrong("give either etcd or registry-dir, not both")),
        (None, folder) => {
            if let Some((name, _)) = etcd_only.iter().find(|(_, given)| *given) {
                return Err(wrong(format!("{name} is given without etcd")));
            }
            Ok(folder.clone().map_or(RegistrySettings::Alone, RegistrySettings::Shared))
        }
        (Some(urls), None) => etcd_settings(urls, input).map(RegistrySettings::Etcd),
    }
}

fn etcd_settings(urls: &[String], input: &SettingsInput) -> Result<EtcdSettings, ConfigError> {
    let urls: Vec<String> =
        urls.iter().map(|url| url.trim().to_owned()).filter(|url| !url.is_empty()).collect();
    if urls.is_empty() {
        return Err(wrong("etcd names no address: write http://host:2379"));
    }
    for url in &urls {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(wrong(format!("etcd's address {url:?} does not start with http:// or https://")));
        }
    }
    let identity = match (&input.etcd_cert, &input.etcd_key) {
        (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
        (None, None) => None,
        _ => return Err(wrong("etcd-cert and etcd-key go together: give both")),
    };
    let user = match (&input.etcd_user, &input.etcd_password) {
        (Some(user), Some(password)) => Some((user.clone(), password.clone())),
        (None, None) => None,
        _ => return Err(wrong("etcd-user and etcd-password go together: give both")),
    };
    Ok(EtcdSettings { urls, ca: input.etcd_ca.clone(), identity, user })
}

fn in_range(
    name: &str,
    given: Option<u32>,
    default: u32,
    range: std::ops::RangeInclusive<u32>,
) -> Result<u32, ConfigError> {
    let value = given.unwrap_or(default);
    if range.contains(&value) {
        return Ok(value);
    }
    Err(wrong(format!("{name} is {value}: it must be {} to {}", range.start(), range.end())))
}

/// `host:port`.
fn address(name: &str, text: String) -> Result<String, ConfigError> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text),
        _ => Err(wrong(format!("{name} is {text:?}: write host:port"))),
    }
}

/// Nobody can connect to "every address": whoever listens there must say how to be reached.
fn needs_advertise(who: &str, listen: &str, advertise: Option<&String>) -> Result<(), ConfigError> {
    let everywhere = listen.starts_with("0.0.0.0:") || listen.starts_with("[::]:");
    if everywhere && advertise.is_none() {
        return Err(wrong(format!(
            "{who}-listen is {listen}, every address: say with {who}-advertise under which one others reach it"
        )));
    }
    Ok(())
}

/// A base URL, without a slash at the end.
fn client_url(url: &str) -> Result<String, ConfigError> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match rest.map(|rest| rest.trim_end_matches('/')) {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', ' ']) => {
            Ok(url.trim_end_matches('/').to_owned())
        }
        _ => Err(wrong(format!("client-advertise is {url:?}: write http://host:port, without a path"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<SettingsInput, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_a_node_on_its_own() {
        let settings = Settings::check(SettingsInput::default()).unwrap();
        assert_eq!(settings.registry, RegistrySettings::Alone);
        assert_eq!((settings.replication, settings.bootstrap_nodes, settings.fsync), (1, 1, true));
        assert_eq!(settings.client_listen, "127.0.0.1:7070");
    }

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_named() {
        let from_file = file("cluster = 'f'\nzone = 'f'\ncapacity = '1Gi'\netcd = ['http://e:1']").unwrap();
        let flags = SettingsInput { cluster: Some("c".into()), ..SettingsInput::default() };
        let settings = Settings::check(flags.or(from_file)).unwrap();
        assert_eq!((settings.cluster.as_str(), settings.zone.as_deref()), ("c", Some("f")));
        assert_eq!((settings.capacity, settings.replication), (Some(1 << 30), 3));
        assert!(file("clutser = 'f'").unwrap_err().contains("clutser"));
        assert!(file("config = 'x'").is_err());
    }

    #[test]
    fn wrong_settings_say_what_to_do() {
        let message = |text: &str| Settings::check(file(text).unwrap()).unwrap_err().to_string();
        assert!(message("cluster = 'A b'").contains("cluster name"));
        assert!(message("replication = 3").contains("registry-dir"));
        assert!(message("registry-dir = 'r'\nreplication = 9").contains("1 to 7"));
        assert!(message("registry-dir = 'r'\nbootstrap-nodes = 2").contains("at least 3"));
        assert!(message("etcd = ['http://e:1']\nregistry-dir = 'r'").contains("not both"));
        assert!(message("etcd = ['e:1']").contains("http://"));
        assert!(message("etcd = ['']").contains("no address"));
        assert!(message("etcd-user = 'u'").contains("without etcd"));
        assert!(message("etcd = ['http://e:1']\netcd-user = 'u'").contains("go together"));
        assert!(message("client-listen = 'x'").contains("host:port"));
        assert!(message("client-listen = '0.0.0.0:1'").contains("client-advertise"));
        assert!(message("client-advertise = 'h:1'").contains("http://host:port"));
        assert!(message("lease-ttl-s = 1").contains("2 to 600"));
        assert!(message("capacity = 0").contains("capacity"));
        assert!(message("checkpoint-log = '1Ki'").contains("4Ki to 1Gi"));
        assert!(message("checkpoint-quiet-s = 0").contains("1 to 3600"));
        assert!(message("worker-threads = 0").contains("worker-threads"));
    }

    #[test]
    fn the_password_is_not_shown() {
        let input = file("etcd = ['http://e:1']\netcd-user = 'u'\netcd-password = 'hush'").unwrap();
        assert!(!format!("{:?}", Settings::check(input).unwrap()).contains("hush"));
    }
}
