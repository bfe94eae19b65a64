//! Finding a cluster's nodes in etcd, for servers that are configured with etcd's address only.

use std::time::Duration;

use etcd_client::{ConnectOptions, GetOptions};
use holdfast_core::error::{Code, Error as CoreError};
use holdfast_core::ids::check_cluster_name;
use serde::Deserialize;

use crate::error::Error;

/// How long etcd may take to connect or to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// More nodes than a cluster is made for; bounds what is read.
const NODES_MAX: i64 = 4096;

/// Where etcd is.
#[derive(Clone, Debug, Default)]
pub struct EtcdOptions {
    /// Addresses, such as `http://127.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// Name and password, if etcd asks for them.
    pub user: Option<(String, String)>,
}

/// A node's registration, as far as clients need it.
#[derive(Deserialize)]
struct Registration {
    client: String,
}

/// The client addresses of the nodes that are registered under `/holdfast/<cluster>/nodes/` now: what
/// [`Client::connect`](crate::Client::connect) takes.
///
/// Errors with `Unavailable` when etcd does not answer, or no node is registered.
///
/// ```no_run
/// # async fn example() -> Result<(), holdfast::Error> {
/// use holdfast::{Client, EtcdOptions, endpoints_from_etcd};
///
/// let etcd = EtcdOptions { endpoints: vec!["http://127.0.0.1:2379".into()], user: None };
/// let client = Client::connect(endpoints_from_etcd(&etcd, "main").await?)?;
/// # Ok(()) }
/// ```
pub async fn endpoints_from_etcd(etcd: &EtcdOptions, cluster: &str) -> Result<Vec<String>, Error> {
    let prefix = format!("/holdfast/{}/nodes/", check_cluster_name(cluster)?);
    let mut options = ConnectOptions::new().with_connect_timeout(TIMEOUT).with_timeout(TIMEOUT);
    if let Some((name, password)) = &etcd.user {
        options = options.with_user(name, password);
    }
    let unavailable = |error: etcd_client::Error| {
        Error::from(CoreError::owned(Code::Unavailable, format!("etcd does not answer: {error}")))
    };
    let mut client =
        etcd_client::Client::connect(&etcd.endpoints, Some(options)).await.map_err(unavailable)?;
    let range = GetOptions::new().with_prefix().with_limit(NODES_MAX);
    let answer = client.get(prefix.as_str(), Some(range)).await.map_err(unavailable)?;
    let urls = answer.kvs().iter().filter_map(|pair| {
        let registration: Registration = serde_json::from_slice(pair.value()).ok()?;
        Some(registration.client)
    });
    // The client takes this many addresses, and needs one.
    let urls: Vec<String> = urls.take(64).collect();
    if urls.is_empty() {
        let message = format!("no node of the cluster {cluster} is registered in etcd (under {prefix})");
        return Err(CoreError::owned(Code::Unavailable, message).into());
    }
    Ok(urls)
}
