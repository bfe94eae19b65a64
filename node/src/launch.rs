//! `node serve` as a process: the real environment, the registry that the settings name, signals, the runtime.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{EtcdSettings, RegistrySettings, Settings};
use crate::env::{Env, real};
use crate::logging::start_logging;
use crate::registry::RegistryStore;
use crate::registry::embedded::EmbeddedStore;
use crate::serve::serve;

/// Folder of the embedded registry of a node on its own, within the data folder.
const OWN_REGISTRY_FOLDER: &str = "registry";
/// Threads for work that blocks; each costs memory once it was used.
const BLOCKING_THREADS_MAX: usize = 16;

/// Runs a node until it is told to stop by SIGTERM or SIGINT. Errors are for people.
pub fn run_node(settings: &Settings) -> Result<(), String> {
    start_logging(settings.log_format, &settings.log)?;
    let mut builder = match settings.worker_threads {
        // One thread needs no scheduler that shares work out.
        Some(1) => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            threads.map(|threads| builder.worker_threads(threads));
            builder
        }
    };
    builder.enable_all().thread_name("node").max_blocking_threads(BLOCKING_THREADS_MAX);
    let runtime = builder.build().map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let outcome = runtime.block_on(run(settings));
    // What still blocks is the operating system's to end.
    runtime.shutdown_background();
    outcome
}

async fn run(settings: &Settings) -> Result<(), String> {
    let stop = stop_on_signals().map_err(|error| format!("signals cannot be listened to: {error}"))?;
    let folder = settings.data_dir.display();
    let env = real::env(settings.data_dir.clone())
        .map_err(|error| format!("the data folder {folder} cannot be made: {error}"))?;
    let registry = registry_store(settings, &env)?;
    let capacity = match settings.capacity {
        Some(capacity) => capacity,
        None => free_bytes(&settings.data_dir)
            .map_err(|error| format!("the free space of {folder} is not known ({error}): give --capacity"))?,
    };
    serve(env, registry, settings, capacity, stop).await.map_err(|error| error.to_string())
}

/// The first SIGTERM or SIGINT asks for a stop, the second ends the process at once.
fn stop_on_signals() -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked = stop.clone();
    tokio::spawn(async move {
        for exit in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if exit {
                tracing::warn!("told to stop a second time: ending at once");
                std::process::exit(1);
            }
            asked.cancel();
        }
    });
    Ok(stop)
}

fn registry_store(settings: &Settings, env: &Env) -> Result<Arc<dyn RegistryStore>, String> {
    let folder = match &settings.registry {
        RegistrySettings::Etcd(etcd) => return etcd_store(etcd),
        RegistrySettings::Shared(folder) => folder.clone(),
        RegistrySettings::Alone => settings.data_dir.join(OWN_REGISTRY_FOLDER),
    };
    let store = EmbeddedStore::open(&folder, env.ambient.clone())
        .map_err(|error| format!("the registry's folder {} cannot be used: {error}", folder.display()))?;
    Ok(Arc::new(store))
}

#[cfg(feature = "etcd")]
fn etcd_store(settings: &EtcdSettings) -> Result<Arc<dyn RegistryStore>, String> {
    use crate::registry::etcd::{EtcdConfig, EtcdStore, EtcdTls, EtcdUser};
    let mut config = EtcdConfig::new(&settings.urls.join(","));
    if let Some(ca) = &settings.ca {
        let identity = match &settings.identity {
            Some((certificate, key)) => Some((read_pem(certificate)?, read_pem(key)?)),
            None => None,
        };
        config.tls = Some(EtcdTls { ca: read_pem(ca)?, identity });
    }
    config.user = settings
        .user
        .as_ref()
        .map(|(name, password)| EtcdUser { name: name.clone(), password: password.reveal().to_owned() });
    let store = EtcdStore::new(config).map_err(|invalid| invalid.to_string())?;
    Ok(Arc::new(store))
}

#[cfg(not(feature = "etcd"))]
fn etcd_store(_settings: &EtcdSettings) -> Result<Arc<dyn RegistryStore>, String> {
    Err("this binary was built without etcd: use --registry-dir".to_owned())
}

#[cfg(feature = "etcd")]
fn read_pem(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

/// Bytes that are free where the folder is.
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
